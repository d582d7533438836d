//! What the contracts and the client promise, on every kind of chain.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_sol_types::SolCall;
use chain::contracts::abi::{IAnchor, IGridToken, IOperated, IRegistry};
use chain::{
    Address, At, B256, Broadcast, Bytes, Call, ChainError, DeployProgress, Effect, EpochHeader,
    Fees, Head, RewardsTree, TxRejection, U256, Wallet, broadcast, metering_point_commitment,
    prepare, status,
};

use crate::bench::{Bench, CHAIN_ID, COMMUNITY, EPOCH_CAP, TOTAL_CAP, header_after, plan, wallet};

/// Makes one test per scenario and chain.
macro_rules! on_every_chain {
    ($($scenario:ident)+) => {
        mod embedded { $(#[tokio::test] async fn $scenario() {
            super::$scenario(super::Bench::embedded()).await;
        })+ }
        mod over_http { $(#[tokio::test] async fn $scenario() {
            super::$scenario(super::Bench::over_http()).await;
        })+ }
        mod anvil { $(#[tokio::test] async fn $scenario() {
            if let Some(bench) = super::Bench::anvil(&[]) { super::$scenario(bench).await; }
        })+ }
    };
}

on_every_chain! {
    deployment_resumes_after_any_step
    deployment_is_verified_before_it_is_believed
    epochs_are_anchored_and_read_back
    broken_headers_are_refused_by_name
    only_the_operator_writes
    rewards_are_claimed_cumulatively
    claims_never_exceed_what_was_anchored
    registry_keeps_commitments_and_keys_unique
    operator_hands_over_in_two_steps
    handing_in_twice_is_harmless
}

async fn deployment_resumes_after_any_step(bench: Bench) {
    let deployer = wallet(0);
    let chain = bench.chain();
    for stop_after in 0..3u64 {
        let first_nonce = chain.nonce(deployer.address()).await.unwrap();
        let plan = plan(deployer.address(), first_nonce);
        for sent in 0..stop_after {
            let DeployProgress::Next(step) = plan.progress(chain).await.unwrap() else {
                panic!("complete after {sent} transactions");
            };
            assert_eq!(step.nonce, first_nonce + sent);
            let receipt = bench
                .send_with_gas(&deployer, &Call::create(step.init_code.clone()), 5_000_000)
                .await;
            assert!(receipt.success);
            assert_eq!(receipt.contract_address, Some(step.address));
        }
        // The process died here; another one takes the stored plan up.
        let deployed = plan.run(chain, &deployer, 200, Duration::from_millis(20)).await.unwrap();
        assert_eq!(deployed, plan.deployment());
        let nonce = chain.nonce(deployer.address()).await.unwrap();
        assert_eq!(nonce, first_nonce + 3, "three transactions make four contracts");
        // Once more: nothing is sent.
        plan.run(chain, &deployer, 0, Duration::ZERO).await.unwrap();
        assert_eq!(chain.nonce(deployer.address()).await.unwrap(), nonce);
        deployed.verify(chain, COMMUNITY).await.unwrap();
        assert_eq!(deployed.operator(chain).await.unwrap(), deployer.address());
        assert_eq!(deployed.reward_caps(chain).await.unwrap(), (EPOCH_CAP, TOTAL_CAP));
    }
    // A nonce that went elsewhere makes the planned address unreachable.
    let first_nonce = chain.nonce(deployer.address()).await.unwrap();
    let transfer = Call::new(wallet(1).address(), Bytes::new());
    assert!(bench.send(&deployer, &transfer).await.success);
    let refused = plan(deployer.address(), first_nonce).progress(chain).await.unwrap_err();
    assert!(
        matches!(refused, ChainError::DeployConflict { contract: "Registry", next, .. }
            if next == first_nonce + 1),
        "{refused}"
    );
}

async fn deployment_is_verified_before_it_is_believed(bench: Bench) {
    let chain = bench.chain();
    let good = bench.deploy().await;
    let other = bench.deploy().await;
    good.verify(chain, COMMUNITY).await.unwrap();
    let wrong = |deployment: chain::Deployment, community: &'static str| async move {
        match deployment.verify(chain, community).await.unwrap_err() {
            ChainError::WrongContract { what, .. } => what,
            other => panic!("{other}"),
        }
    };
    assert_eq!(wrong(good, "oak-street").await, "Registry.community");
    assert_eq!(
        wrong(chain::Deployment { anchor: other.anchor, ..good }, COMMUNITY).await,
        "Rewards"
    );
    assert_eq!(wrong(chain::Deployment { token: other.token, ..good }, COMMUNITY).await, "Rewards");
    let swapped = chain::Deployment { anchor: good.registry, ..good };
    assert_eq!(wrong(swapped, COMMUNITY).await, "Anchor");
    let nobody = chain::Deployment { registry: Address::repeat_byte(0x77), ..good };
    assert_eq!(wrong(nobody, COMMUNITY).await, "Registry");
    // Reading from an address without a contract is an error, not a zero.
    let nowhere = chain::Deployment { anchor: Address::repeat_byte(0x77), ..good };
    assert!(matches!(
        nowhere.head(chain, At::Latest).await,
        Err(ChainError::WrongContract { what: "Anchor.head", .. })
    ));
    // The token belongs to nobody but Rewards.
    let minter = chain.call(good.token, IGridToken::minterCall {}.abi_encode().into()).await;
    assert_eq!(Address::from_word(B256::from_slice(&minter.unwrap())), good.rewards);
    let mint = IGridToken::mintCall { to: wallet(0).address(), amount: U256::from(1) };
    let mint = Call::new(good.token, mint.abi_encode().into());
    assert_eq!(bench.refused(&wallet(0), &mint).await, "NotMinter");
}

async fn epochs_are_anchored_and_read_back(bench: Bench) {
    let chain = bench.chain();
    let at = bench.deploy().await;
    assert_eq!(at.head(chain, At::Latest).await.unwrap(), Head::default());
    assert_eq!(at.epoch(chain, 1, At::Latest).await.unwrap(), None);
    let mut sent: Vec<EpochHeader> = Vec::new();
    for _ in 0..4 {
        let header = header_after(sent.last());
        let hash_of = IAnchor::hashOfCall { header: abi_header(&header) };
        let on_chain = chain.call(at.anchor, hash_of.abi_encode().into()).await.unwrap();
        assert_eq!(on_chain.as_ref(), header.hash().as_slice(), "Rust and Solidity hash alike");
        let receipt = bench.send(&wallet(0), &at.submit(&header)).await;
        assert!(receipt.success);
        assert!(receipt.gas_used < 200_000, "{} gas", receipt.gas_used);
        sent.push(header);
    }
    let last = sent.last().unwrap();
    let expected = Head {
        seq: 4,
        hash: last.hash(),
        to_slot: last.to_slot,
        log_size: last.log_size,
        reward_total: 0,
    };
    assert_eq!(at.head(chain, At::Latest).await.unwrap(), expected);
    for header in &sent {
        let epoch = at.epoch(chain, header.seq, At::Latest).await.unwrap().unwrap();
        assert_eq!(epoch.header_hash, header.hash());
        assert_eq!(epoch.log_root, header.log_root);
    }
    assert_eq!(at.headers(chain, 0).await.unwrap(), sent, "events carry the full headers");
}

async fn broken_headers_are_refused_by_name(bench: Bench) {
    let at = bench.deploy().await;
    let first = header_after(None);
    type Change = fn(&mut EpochHeader);
    // The very first header may start anywhere, but not out of order.
    let early: [(&str, Change); 3] = [
        ("AlreadyAnchored", |h| h.seq = 0),
        ("WrongSeq", |h| h.seq = 2),
        ("WrongPrev", |h| h.prev = B256::repeat_byte(1)),
    ];
    for (expected, change) in early {
        let mut header = first.clone();
        change(&mut header);
        assert_eq!(bench.refused(&wallet(0), &at.submit(&header)).await, expected);
    }
    assert!(bench.send(&wallet(0), &at.submit(&first)).await.success);
    let good = header_after(Some(&first));
    let table: [(&str, Change); 17] = [
        ("AlreadyAnchored", |h| h.seq = 1),
        ("WrongSeq", |h| h.seq = 3),
        ("WrongSeq", |h| h.seq = u64::MAX),
        ("WrongPrev", |h| h.prev = B256::ZERO),
        ("NotContiguous", |h| h.from_slot += 1),
        ("NotContiguous", |h| h.from_slot -= 1),
        ("EmptyRange", |h| h.to_slot = h.from_slot - 1),
        ("LogNotGrowing", |h| h.log_size = 96),
        ("ZeroLogRoot", |h| h.log_root = B256::ZERO),
        ("EnergyNotConserved", |h| h.import_wh += 1),
        ("EnergyNotConserved", |h| h.grid_export_wh -= 1),
        ("EnergyNotConserved", |h| (h.import_wh, h.grid_import_wh) = (u64::MAX, 0)),
        ("LocalExceedsMetered", |h| h.local_wh = h.export_wh + 1),
        ("MoneyNotConserved", |h| h.credit += 1),
        ("EpochRewardAboveCap", |h| {
            (h.reward_total, h.rewards_root) = (EPOCH_CAP + 1, B256::repeat_byte(9));
        }),
        ("EpochRewardAboveCap", |h| h.reward_total = u128::MAX),
        ("MissingRewardsRoot", |h| h.reward_total = 1),
    ];
    for (expected, change) in table {
        let mut header = good.clone();
        change(&mut header);
        let found = bench.refused(&wallet(0), &at.submit(&header)).await;
        assert_eq!(found, expected, "{header:?}");
    }
    let head = at.head(bench.chain(), At::Latest).await.unwrap();
    assert_eq!((head.seq, head.hash), (1, first.hash()), "no refused header left a trace");

    // Rewards: monotone, capped per epoch and in total.
    let mut last = first;
    for total in [EPOCH_CAP, 2 * EPOCH_CAP] {
        let mut header = header_after(Some(&last));
        (header.reward_total, header.rewards_root) = (total, B256::repeat_byte(7));
        assert!(bench.send(&wallet(0), &at.submit(&header)).await.success);
        last = header;
    }
    let mut header = header_after(Some(&last));
    header.reward_total = TOTAL_CAP + 1;
    let refused = bench.refused(&wallet(0), &at.submit(&header)).await;
    assert_eq!(refused, "RewardTotalAboveCap");
    header.reward_total = last.reward_total - 1;
    assert_eq!(bench.refused(&wallet(0), &at.submit(&header)).await, "RewardTotalShrinks");
    // A second write of an anchored epoch, even with the same bytes.
    assert_eq!(bench.refused(&wallet(0), &at.submit(&last)).await, "AlreadyAnchored");
    header.reward_total = TOTAL_CAP;
    assert!(bench.send(&wallet(0), &at.submit(&header)).await.success);
}

async fn only_the_operator_writes(bench: Bench) {
    let at = bench.deploy().await;
    let stranger = wallet(1);
    let header = header_after(None);
    let commitment = B256::repeat_byte(1);
    let calls = [
        at.submit(&header),
        at.enrol(stranger.address(), &[1; 32], commitment),
        at.rotate(commitment, stranger.address(), &[1; 32]),
        at.retire(commitment),
    ];
    for call in calls {
        assert_eq!(bench.refused(&stranger, &call).await, "OwnableUnauthorizedAccount");
    }
    assert_eq!(at.head(bench.chain(), At::Latest).await.unwrap().seq, 0);
}

async fn rewards_are_claimed_cumulatively(bench: Bench) {
    let chain = bench.chain();
    let at = bench.deploy().await;
    let producers: Vec<Address> = (1..=5).map(|i| Address::repeat_byte(0x50 + i)).collect();
    let mut last: Option<EpochHeader> = None;
    let mut trees = Vec::new();
    for epoch in 1..=3u128 {
        let earned: BTreeMap<_, _> = producers
            .iter()
            .enumerate()
            .map(|(i, account)| (*account, epoch * (1_000 + i as u128)))
            .collect();
        let tree = RewardsTree::new(earned).unwrap();
        let mut header = header_after(last.as_ref());
        (header.rewards_root, header.reward_total) = (tree.root(), tree.total());
        assert!(bench.send(&wallet(0), &at.submit(&header)).await.success);
        last = Some(header);
        trees.push(tree);
        if epoch == 1 {
            // Nobody claims in the second epoch; one producer claims in the first.
            claim(&bench, &wallet(2), &at, &trees[0], producers[0]).await;
            assert_eq!(at.token_balance(chain, producers[0]).await.unwrap(), 1_000);
        }
    }
    let newest = &trees[2];
    for account in &producers {
        // Anyone may send it; it always pays the account in the leaf.
        claim(&bench, &wallet(1), &at, newest, *account).await;
        assert_eq!(at.token_balance(chain, *account).await.unwrap(), newest.earned(*account));
        assert_eq!(at.claimed(chain, *account, At::Latest).await.unwrap(), newest.earned(*account));
    }
    let paid = newest.earned(producers[0]);
    let effect = |cumulative| at.claim_effect(chain, producers[0], cumulative, At::Latest);
    assert_eq!(effect(paid).await.unwrap(), Effect::Final);
    assert_eq!(effect(paid + 1).await.unwrap(), Effect::Absent);
    // Twice: nothing happens, and it is no error.
    let again = claim(&bench, &wallet(1), &at, newest, producers[3]).await;
    assert!(again.logs.is_empty(), "a repeated claim pays nothing");
    assert_eq!(at.token_balance(chain, producers[3]).await.unwrap(), newest.earned(producers[3]));
    assert_eq!(at.token_balance(chain, wallet(1).address()).await.unwrap(), 0);
    // Forged: another amount, another account, another epoch's proof, no proof.
    let mine = newest.earned(producers[0]);
    let proof = newest.proof(producers[0]).unwrap();
    let stale = trees[1].proof(producers[0]).unwrap();
    let forged = [
        at.claim(producers[0], mine + 1, &proof),
        at.claim(producers[1], mine, &proof),
        at.claim(producers[0], trees[1].earned(producers[0]), &stale),
        at.claim(producers[0], mine, &[]),
        at.claim(Address::repeat_byte(0x99), u128::MAX, &proof),
    ];
    for call in forged {
        assert_eq!(bench.refused(&wallet(1), &call).await, "InvalidProof");
    }
}

async fn claims_never_exceed_what_was_anchored(bench: Bench) {
    let chain = bench.chain();
    let at = bench.deploy().await;
    let (honest, greedy) = (Address::repeat_byte(0xa1), Address::repeat_byte(0xa2));
    // Before anything is anchored there is no root, and nothing to claim.
    let early = at.claim(honest, 1, &[]);
    assert_eq!(bench.refused(&wallet(1), &early).await, "InvalidProof");
    // An operator anchors a tree that holds more than the total it declares.
    let tree = RewardsTree::new(BTreeMap::from([(honest, 600), (greedy, EPOCH_CAP)])).unwrap();
    let mut header = header_after(None);
    (header.rewards_root, header.reward_total) = (tree.root(), 1_000);
    assert!(bench.send(&wallet(0), &at.submit(&header)).await.success);
    let too_much = at.claim(greedy, EPOCH_CAP, &tree.proof(greedy).unwrap());
    assert_eq!(bench.refused(&wallet(1), &too_much).await, "AboveAnchoredTotal");
    claim(&bench, &wallet(1), &at, &tree, honest).await;
    assert_eq!(bench.refused(&wallet(1), &too_much).await, "AboveAnchoredTotal");
    assert_eq!(at.token_balance(chain, honest).await.unwrap(), 600);
    assert_eq!(at.token_balance(chain, greedy).await.unwrap(), 0);
    let supply = chain.call(at.token, IGridToken::totalSupplyCall {}.abi_encode().into()).await;
    assert_eq!(U256::from_be_slice(&supply.unwrap()), U256::from(600));
    // A single leaf is its own root, with an empty proof.
    let alone = RewardsTree::new(BTreeMap::from([(honest, 900)])).unwrap();
    let mut next = header_after(Some(&header));
    next.rewards_root = alone.root();
    assert!(bench.send(&wallet(0), &at.submit(&next)).await.success);
    claim(&bench, &wallet(1), &at, &alone, honest).await;
    assert_eq!(at.token_balance(chain, honest).await.unwrap(), 900);
}

async fn registry_keeps_commitments_and_keys_unique(bench: Bench) {
    let chain = bench.chain();
    let at = bench.deploy().await;
    let operator = wallet(0);
    let (home, other) = (Address::repeat_byte(0x11), Address::repeat_byte(0x22));
    let point = |n: u8| metering_point_commitment(&[n; 32], COMMUNITY, "DE0001");
    assert_eq!(at.household(chain, point(1)).await.unwrap(), None);
    assert!(bench.send(&operator, &at.enrol(home, &[1; 32], point(1))).await.success);
    let found = at.household(chain, point(1)).await.unwrap().unwrap();
    assert_eq!((found.owner, found.key, found.retired_at), (home, [1; 32], None));
    assert!(found.enrolled_at > 0);
    let refused = [
        ("CommitmentTaken", at.enrol(other, &[2; 32], point(1))),
        ("KeyTaken", at.enrol(other, &[1; 32], point(2))),
        ("ZeroOwner", at.enrol(Address::ZERO, &[2; 32], point(2))),
        ("ZeroKey", at.enrol(other, &[0; 32], point(2))),
        ("ZeroCommitment", at.enrol(other, &[2; 32], B256::ZERO)),
        ("UnknownHousehold", at.rotate(point(2), other, &[2; 32])),
        ("UnknownHousehold", at.retire(point(2))),
        ("NothingChanged", at.rotate(point(1), home, &[1; 32])),
        ("ZeroOwner", at.rotate(point(1), Address::ZERO, &[2; 32])),
        ("ZeroKey", at.rotate(point(1), home, &[0; 32])),
    ];
    for (expected, call) in refused {
        assert_eq!(bench.refused(&operator, &call).await, expected);
    }
    // A new key; the old one stays taken for ever.
    assert!(bench.send(&operator, &at.rotate(point(1), other, &[3; 32])).await.success);
    let rotated = at.household(chain, point(1)).await.unwrap().unwrap();
    assert_eq!((rotated.owner, rotated.key), (other, [3; 32]));
    let active = |key: [u8; 32]| async move {
        let call = IRegistry::isActiveKeyCall { key: B256::from(key) };
        let answer = chain.call(at.registry, call.abi_encode().into()).await.unwrap();
        answer.last() == Some(&1)
    };
    assert!(active([3; 32]).await && !active([1; 32]).await && !active([0; 32]).await);
    assert_eq!(bench.refused(&operator, &at.enrol(home, &[1; 32], point(2))).await, "KeyTaken");
    let back = at.rotate(point(1), other, &[1; 32]);
    assert_eq!(bench.refused(&operator, &back).await, "KeyTaken");
    assert!(bench.send(&operator, &at.retire(point(1))).await.success);
    assert!(!active([3; 32]).await);
    assert!(at.household(chain, point(1)).await.unwrap().unwrap().retired_at.is_some());
    assert_eq!(bench.refused(&operator, &at.retire(point(1))).await, "HouseholdRetired");
    let late = at.rotate(point(1), home, &[4; 32]);
    assert_eq!(bench.refused(&operator, &late).await, "HouseholdRetired");
    let again = at.enrol(home, &[5; 32], point(1));
    assert_eq!(bench.refused(&operator, &again).await, "CommitmentTaken");
}

async fn operator_hands_over_in_two_steps(bench: Bench) {
    let at = bench.deploy().await;
    let (old, new) = (wallet(0), wallet(1));
    let to_anchor = |data: Vec<u8>| Call::new(at.anchor, data.into());
    let renounce = to_anchor(IOperated::renounceOwnershipCall {}.abi_encode());
    assert_eq!(bench.refused(&old, &renounce).await, "RenounceDisabled");
    let hand_over = IOperated::transferOwnershipCall { newOwner: new.address() };
    assert!(bench.send(&old, &to_anchor(hand_over.abi_encode())).await.success);
    // Until the new operator accepts, the old one is in charge.
    let first = header_after(None);
    let refused = bench.refused(&new, &at.submit(&first)).await;
    assert_eq!(refused, "OwnableUnauthorizedAccount");
    assert!(bench.send(&old, &at.submit(&first)).await.success);
    let accept = to_anchor(IOperated::acceptOwnershipCall {}.abi_encode());
    assert_eq!(bench.refused(&wallet(2), &accept).await, "OwnableUnauthorizedAccount");
    assert!(bench.send(&new, &accept).await.success);
    let second = header_after(Some(&first));
    let refused = bench.refused(&old, &at.submit(&second)).await;
    assert_eq!(refused, "OwnableUnauthorizedAccount");
    assert!(bench.send(&new, &at.submit(&second)).await.success);
    assert_eq!(at.operator(bench.chain()).await.unwrap(), new.address());
    // Accepting cleared the offer, so it cannot be accepted again later.
    let pending = IOperated::pendingOwnerCall {}.abi_encode().into();
    assert!(bench.chain().call(at.anchor, pending).await.unwrap().iter().all(|byte| *byte == 0));
    assert_eq!(bench.refused(&new, &accept).await, "OwnableUnauthorizedAccount");
}

async fn handing_in_twice_is_harmless(bench: Bench) {
    let chain = bench.chain();
    let at = bench.deploy().await;
    let operator = wallet(0);
    let nonce = chain.nonce(operator.address()).await.unwrap();
    let fees = chain.fees().await.unwrap();
    let call = at.submit(&header_after(None));
    let gas = chain::estimate(chain, &operator, &call).await.unwrap();
    let tx = prepare(&operator, CHAIN_ID, &call, nonce, fees, gas);
    assert_eq!(tx, prepare(&operator, CHAIN_ID, &call, nonce, fees, gas), "deterministic");
    assert_eq!(broadcast(chain, &tx).await.unwrap(), Broadcast::Accepted);
    let receipt = bench.wait(tx.hash).await;
    assert!(receipt.success);
    assert!(
        receipt.gas_used <= gas && gas < receipt.gas_used * 2,
        "{gas} for {}",
        receipt.gas_used
    );
    assert_eq!(status(chain, tx.hash).await.unwrap(), Some(receipt));
    let again = broadcast(chain, &tx).await.unwrap();
    assert!(matches!(again, Broadcast::AlreadyKnown | Broadcast::NonceUsed), "{again:?}");
    // Another transaction with the used nonce.
    let other = Call::new(wallet(1).address(), Bytes::new());
    let other = prepare(&operator, CHAIN_ID, &other, nonce, fees, 30_000);
    assert_eq!(broadcast(chain, &other).await.unwrap(), Broadcast::NonceUsed);
    assert_eq!(status(chain, other.hash).await.unwrap(), None);
    assert_eq!(at.head(chain, At::Latest).await.unwrap().seq, 1);
    // Too cheap for any block.
    let cheap = Fees { max_fee_per_gas: 1, max_priority_fee_per_gas: 0 };
    let call = Call::new(wallet(1).address(), Bytes::new());
    let tx = prepare(&operator, CHAIN_ID, &call, nonce + 1, cheap, 30_000);
    assert_eq!(broadcast(chain, &tx).await.unwrap(), Broadcast::Underpriced);
    // An account without funds, and another chain's transaction: repeating does not mend it.
    let poor = Wallet::from_secret(&[7; 32]).unwrap();
    let tx = prepare(&poor, CHAIN_ID, &call, 0, fees, 30_000);
    let refused = broadcast(chain, &tx).await.unwrap_err();
    assert!(matches!(refused, ChainError::Rejected(TxRejection::InsufficientFunds)), "{refused}");
    let elsewhere = prepare(&operator, 1, &call, nonce + 1, fees, 30_000);
    let refused = broadcast(chain, &elsewhere).await.unwrap_err();
    assert!(matches!(refused, ChainError::Rejected(TxRejection::Other(_))), "{refused}");
}

async fn claim(
    bench: &Bench,
    sender: &Wallet,
    at: &chain::Deployment,
    tree: &RewardsTree,
    account: Address,
) -> chain::Receipt {
    let call = at.claim(account, tree.earned(account), &tree.proof(account).unwrap());
    let receipt = bench.send(sender, &call).await;
    assert!(receipt.success);
    receipt
}

fn abi_header(header: &EpochHeader) -> chain::contracts::abi::AnchorHeader {
    // Through the calldata of `submit`, so that no second conversion exists.
    let at = plan(Address::ZERO, 0).deployment();
    IAnchor::submitCall::abi_decode(&at.submit(header).data).unwrap().header
}
