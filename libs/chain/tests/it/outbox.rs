//! The outbox rules: as a table, against a random chain, and against anvil with fee bumps and reorganisations.

use chain::{
    Action, At, Broadcast, ChainError, Effect, EpochHeader, Fees, Observation, OutboxRules,
    SignedTx, TxFailure, TxState, broadcast, observe, prepare,
};
use proptest::prelude::*;
use serde_json::json;

use crate::bench::{Bench, CHAIN_ID, header_after, wallet};

const RULES: OutboxRules =
    OutboxRules { checks_before_bump: 3, max_bumps: 2, max_fee_per_gas: 1_000, patience: 2 };

fn fees(max: u128) -> Fees {
    Fees { max_fee_per_gas: max, max_priority_fee_per_gas: max / 10 }
}

fn seen(effect: Effect, nonce_used: bool) -> Observation {
    Observation { effect, nonce_used, reverted: false, market: fees(100) }
}

fn sent(checks: u32, bumps: u32, used_checks: u32) -> TxState {
    TxState::Sent { checks, bumps, used_checks }
}

#[test]
fn every_rule() {
    use Effect::{Absent, Final, Latest};
    let reverted = Observation { reverted: true, ..seen(Absent, true) };
    let failed = |reason| TxState::Failed { reason };
    // state, observation, fees of the newest variant -> state, action
    let table = [
        (TxState::Prepared, seen(Absent, false), 100, sent(0, 0, 0), Action::Broadcast),
        (sent(0, 0, 0), seen(Absent, false), 100, sent(1, 0, 0), Action::Broadcast),
        (sent(1, 0, 0), seen(Absent, false), 100, sent(2, 0, 0), Action::Broadcast),
        // Three checks without inclusion: an eighth more, rounded up.
        (
            sent(2, 0, 0),
            seen(Absent, false),
            100,
            sent(0, 1, 0),
            Action::Replace(Fees { max_fee_per_gas: 113, max_priority_fee_per_gas: 12 }),
        ),
        // The market moved further than an eighth.
        (
            sent(2, 0, 0),
            Observation { market: fees(400), ..seen(Absent, false) },
            100,
            sent(0, 1, 0),
            Action::Replace(fees(400)),
        ),
        // No more bumps, or no room below the limit: keep sending, tell a person.
        (sent(2, 2, 0), seen(Absent, false), 100, sent(0, 2, 0), Action::BroadcastAndAlarm),
        (sent(2, 0, 0), seen(Absent, false), 950, sent(0, 0, 0), Action::BroadcastAndAlarm),
        // The contract shows the effect: that is success, whatever a receipt says.
        (sent(2, 1, 0), seen(Latest, true), 100, TxState::Included { bumps: 1 }, Action::Wait),
        (
            sent(2, 1, 0),
            Observation { reverted: true, ..seen(Latest, true) },
            100,
            TxState::Included { bumps: 1 },
            Action::Wait,
        ),
        (TxState::Prepared, seen(Latest, false), 100, TxState::Included { bumps: 0 }, Action::Wait),
        (TxState::Included { bumps: 1 }, seen(Final, true), 100, TxState::Final, Action::Stop),
        (TxState::Prepared, seen(Final, true), 100, TxState::Final, Action::Stop),
        // Reorganised away: send it again.
        (
            TxState::Included { bumps: 1 },
            seen(Absent, false),
            100,
            sent(0, 1, 0),
            Action::Broadcast,
        ),
        // The nonce is used and nothing happened.
        (sent(1, 0, 0), reverted, 100, failed(TxFailure::Reverted), Action::Stop),
        (sent(1, 0, 0), seen(Absent, true), 100, sent(1, 0, 1), Action::Wait),
        (sent(1, 0, 1), seen(Absent, true), 100, sent(1, 0, 2), Action::Wait),
        (sent(1, 0, 2), seen(Absent, true), 100, failed(TxFailure::NonceUsed), Action::Stop),
        (TxState::Prepared, seen(Absent, true), 100, sent(0, 0, 1), Action::Wait),
        // A node that lagged behind comes round.
        (sent(1, 0, 2), seen(Absent, false), 100, sent(2, 0, 0), Action::Broadcast),
        // The end is the end.
        (TxState::Final, seen(Absent, false), 100, TxState::Final, Action::Stop),
        (
            failed(TxFailure::Reverted),
            seen(Latest, true),
            100,
            failed(TxFailure::Reverted),
            Action::Stop,
        ),
    ];
    for (row, (state, observation, fee, after, action)) in table.into_iter().enumerate() {
        assert_eq!(state.next(&observation, fees(fee), &RULES), (after, action), "row {row}");
        let stored = serde_json::to_string(&after).unwrap();
        assert_eq!(serde_json::from_str::<TxState>(&stored).unwrap(), after, "row {row}");
    }
}

proptest! {
    /// A chain that takes, forgets, includes and reorganises at will. Whatever it does: all variants share one nonce,
    /// fees rise and stay below the limit, the rules end once the chain is calm, and end successfully if and only if
    /// the effect is there.
    #[test]
    fn a_hostile_chain_gets_exactly_one_effect(events in prop::collection::vec(0u8..6, 0..60)) {
        let mut state = TxState::Prepared;
        let mut newest = fees(100);
        let (mut pending, mut included) = (false, false);
        // The storm, then calm: everything that waits is included, and final one look later.
        let calm = std::iter::repeat_n(6, 40);
        for event in events.into_iter().chain(calm) {
            match event {
                0 => pending = false,
                1 | 2 => included |= pending,
                3 => (included, pending) = (false, included || pending),
                6 => included |= pending,
                _ => {}
            }
            let effect = match (included, event) {
                (false, _) => Effect::Absent,
                (true, 6) => Effect::Final,
                (true, _) => Effect::Latest,
            };
            let observation =
                Observation { effect, nonce_used: included, reverted: false, market: fees(100) };
            let (after, action) = state.next(&observation, newest, &RULES);
            state = after;
            match action {
                Action::Broadcast | Action::BroadcastAndAlarm => pending = true,
                Action::Replace(raised) => {
                    prop_assert!(raised.max_fee_per_gas > newest.max_fee_per_gas);
                    prop_assert!(raised.max_fee_per_gas <= RULES.max_fee_per_gas);
                    newest = raised;
                    pending = true;
                }
                Action::Wait => prop_assert!(included),
                Action::Stop => break,
            }
        }
        prop_assert_eq!(state, TxState::Final);
        prop_assert!(included);
    }
}

/// The controller's loop around the rules, with a vector for its table.
struct Outbox {
    call: chain::Call,
    header: EpochHeader,
    at: chain::Deployment,
    variants: Vec<SignedTx>,
    state: TxState,
}

impl Outbox {
    async fn check(&mut self, bench: &Bench, rules: &OutboxRules, finality: At) -> Action {
        let chain = bench.chain();
        let newest = self.variants.last().unwrap().clone();
        let effect = self.at.submit_effect(chain, &self.header, finality).await.unwrap();
        let observation = observe(chain, &self.variants, effect).await.unwrap();
        let (state, action) = self.state.next(&observation, newest.fees, rules);
        self.state = state;
        if let Action::Replace(fees) = action {
            let gas = newest.gas_limit;
            self.variants.push(prepare(&wallet(0), CHAIN_ID, &self.call, newest.nonce, fees, gas));
        }
        if matches!(action, Action::Broadcast | Action::BroadcastAndAlarm | Action::Replace(_)) {
            let outcome = broadcast(chain, self.variants.last().unwrap()).await.unwrap();
            assert_ne!(outcome, Broadcast::NonceUsed);
        }
        action
    }

    async fn start(bench: &Bench, fees: Fees) -> Self {
        let at = bench.deploy().await;
        let header = header_after(None);
        let call = at.submit(&header);
        let nonce = bench.chain.nonce(wallet(0).address()).await.unwrap();
        let first = prepare(&wallet(0), CHAIN_ID, &call, nonce, fees, 400_000);
        Self { call, header, at, variants: vec![first], state: TxState::Prepared }
    }
}

#[tokio::test]
async fn fees_are_raised_until_one_variant_is_included() {
    let Some(bench) = Bench::anvil(&[]) else { return };
    let low = Fees { max_fee_per_gas: 1_000_000_000, max_priority_fee_per_gas: 1_000 };
    let mut outbox = Outbox::start(&bench, low).await;
    bench.raw("evm_setAutomine", json!([false]));
    let rules = OutboxRules { checks_before_bump: 2, ..OutboxRules::default() };
    let mut replaced = 0;
    for _ in 0..9 {
        if matches!(outbox.check(&bench, &rules, At::Finalized).await, Action::Replace(_)) {
            replaced += 1;
        }
    }
    assert_eq!(replaced, 4, "{:?}", outbox.state);
    bench.raw("evm_mine", json!([]));
    assert_eq!(outbox.check(&bench, &rules, At::Finalized).await, Action::Wait);
    assert!(matches!(outbox.state, TxState::Included { .. }), "{:?}", outbox.state);
    let mut included = 0;
    for variant in &outbox.variants {
        included += u32::from(bench.chain.receipt(variant.hash).await.unwrap().is_some());
    }
    assert_eq!((outbox.variants.len(), included), (5, 1), "one nonce, one inclusion");
}

#[tokio::test]
async fn what_a_reorganisation_undoes_is_sent_again() {
    let Some(bench) = Bench::anvil(&[]) else { return };
    let market = bench.chain.fees().await.unwrap();
    let mut outbox = Outbox::start(&bench, market).await;
    let rules = OutboxRules::default();
    assert_eq!(outbox.check(&bench, &rules, At::Finalized).await, Action::Broadcast);
    bench.wait(outbox.variants[0].hash).await;
    assert_eq!(outbox.check(&bench, &rules, At::Finalized).await, Action::Wait);
    // The chain goes back one block and forgets the transaction.
    bench.raw("anvil_rollback", json!([1]));
    assert_eq!(outbox.check(&bench, &rules, At::Finalized).await, Action::Broadcast);
    bench.wait(outbox.variants[0].hash).await;
    assert_eq!(outbox.check(&bench, &rules, At::Finalized).await, Action::Wait);
    assert_eq!(outbox.at.head(bench.chain(), At::Latest).await.unwrap().seq, 1);
    assert_eq!(outbox.variants.len(), 1, "the same bytes");
    // Two epochs of 32 slots later nothing can undo it.
    bench.raw("anvil_mine", json!(["0x80"]));
    assert_eq!(outbox.check(&bench, &rules, At::Finalized).await, Action::Stop);
    assert_eq!(outbox.state, TxState::Final);
}

#[tokio::test]
async fn one_loop_serves_every_chain() {
    for bench in [Some(Bench::embedded()), Some(Bench::over_http()), Bench::anvil(&[])] {
        let Some(bench) = bench else { continue };
        let market = bench.chain.fees().await.unwrap();
        let mut outbox = Outbox::start(&bench, market).await;
        let rules = OutboxRules::default();
        assert_eq!(outbox.check(&bench, &rules, At::Latest).await, Action::Broadcast);
        bench.wait(outbox.variants[0].hash).await;
        assert_eq!(outbox.check(&bench, &rules, At::Latest).await, Action::Stop);
        assert_eq!(outbox.state, TxState::Final);
        // Another instance wrote this epoch differently: said loudly, not taken for success.
        let other = EpochHeader { log_root: chain::keccak256("other"), ..outbox.header.clone() };
        let found = outbox.at.submit_effect(bench.chain(), &other, At::Latest).await.unwrap_err();
        assert!(matches!(found, ChainError::OtherHeader { seq: 1, .. }), "{found}");
        // A transaction that reverts is a failure, and known to be one from its receipt.
        let nonce = bench.chain.nonce(wallet(0).address()).await.unwrap();
        outbox.variants = vec![prepare(&wallet(0), CHAIN_ID, &outbox.call, nonce, market, 400_000)];
        outbox.header = header_after(Some(&outbox.header));
        outbox.state = TxState::Prepared;
        assert_eq!(outbox.check(&bench, &rules, At::Latest).await, Action::Broadcast);
        assert!(!bench.wait(outbox.variants[0].hash).await.success);
        assert_eq!(outbox.check(&bench, &rules, At::Latest).await, Action::Stop);
        assert_eq!(outbox.state, TxState::Failed { reason: TxFailure::Reverted });
    }
}
