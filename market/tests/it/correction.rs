//! A slot settled again: only differences move, and the ledger stands as if the meters had been
//! right at once.

use market::{
    Account, Balances, CorrectionFault, Reason, Revision, Transfer, differences, post, settle,
};
use proptest::prelude::*;
use units::{Money, PointId};

use crate::settlement::{World, example, flow, metered, settled, settled_example, world};
use crate::street::{SLOT, point, terms};

fn line(transfer: &Transfer) -> String {
    let Transfer { debit, credit, amount, .. } = transfer;
    format!("{debit} -> {credit} {}", amount.nano())
}

#[test]
fn a_silent_seller_is_made_whole_and_so_are_its_neighbours() {
    // C sold 1500 and was silent at the deadline: all of it counts as short.
    let (clearing, terms, mut street, _) = example();
    street.truncate(4);
    let right = street[2].clone();
    street[2].flow = None;
    let first = Revision::first(settle(&clearing, terms, &street, &[]).expect("sound"));
    street[2] = right;
    let correction =
        first.correct(&clearing, &street, &[]).expect("sound").expect("something changes");
    assert_eq!(correction.revision.version, 2);
    let lines: Vec<String> = correction.transfers.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            // 153 of the 200 that A used beyond its order had become the supplier's.
            "pool -> household:A 15300000",
            "household:B -> pool 3800000",
            "pool -> household:C 404700000",
            "household:D -> pool 11200000",
            "supplier -> pool 405000000",
        ]
    );
    let reason = Reason::Correction { slot: SLOT, version: 2 };
    assert!(correction.transfers.iter().all(|one| one.reason == reason && one.slot == SLOT));
    // And again: the same meters change nothing.
    assert_eq!(correction.revision.correct(&clearing, &street, &[]), Ok(None));
}

#[test]
fn only_meters_are_corrected() {
    let old = Revision::first(settled_example());
    let (clearing, own_terms, street, late) = example();
    let check = |new: Revision, text: &str| {
        let fault = differences(&old, &new).expect_err(text);
        assert!(fault.to_string().contains(text), "{fault}");
    };
    check(Revision::first(settled_example()), "version 1 of");
    check(Revision { version: 3, settlement: settled_example() }, "does not follow version 1");
    let again = |settlement| Revision { version: 2, settlement };
    let other = settle(&clearing, terms(31_000, 10_000), &street, &late).expect("sound");
    check(again(other), "the supplier's prices");
    let mut later = clearing.clone();
    later.slot = SLOT.next();
    check(again(settle(&later, own_terms, &street, &late).expect("sound")), "its slot");
    let mut dearer = clearing.clone();
    dearer.price = Some(units::Price::from_e5_per_kwh(21_000));
    check(again(settle(&dearer, own_terms, &street, &late).expect("sound")), "the clearing price");
    let mut more = street.clone();
    more.push(metered("F", 1, 1));
    check(again(settle(&clearing, own_terms, &more, &late).expect("sound")), "its metering points");
    let mut moved = clearing.clone();
    moved.fills[0].energy += units::Energy::from_wh(5);
    moved.fills[1].energy -= units::Energy::from_wh(5);
    check(again(settle(&moved, own_terms, &street, &late).expect("sound")), "what was traded");
    let mut wrong = settled_example();
    wrong.bills[0].charges.amount += Money::from_nano(1);
    check(again(wrong), "not what its figures give");
    let full = Revision { version: u32::MAX, settlement: settled_example() };
    let mut street = street;
    street[0] = metered("A", 1, 0);
    let fault = full.correct(&clearing, &street, &late).expect_err("no version left");
    assert!(matches!(fault, CorrectionFault::OtherVersion { .. }), "{fault}");
}

/// A slot whose meters become known step by step: new flows for some points in each version.
fn corrected() -> impl Strategy<Value = (World, Vec<World>)> {
    world().prop_flat_map(|world| {
        let points = world.metered.len();
        let change = prop::collection::vec((0..points, flow()), 0..4);
        (Just(world), prop::collection::vec(change, 1..4)).prop_map(|(world, changes)| {
            let mut versions = Vec::new();
            let mut current = world.clone();
            for change in changes {
                for (i, flow) in change {
                    current.metered[i].flow = flow;
                }
                versions.push(current.clone());
            }
            (world, versions)
        })
    })
}

fn accounts(balances: &Balances) -> Vec<(Account, Money)> {
    let moved = balances.iter().filter(|(_, balance)| !balance.is_zero());
    moved.map(|(account, balance)| (account.clone(), balance)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn versions_lead_to_where_the_last_meters_alone_lead((world, versions) in corrected()) {
        let mut revision = Revision::first(settled(&world));
        let mut ledger = post(&revision.settlement).expect("sound");
        for version in &versions {
            let correction = revision
                .correct(&version.clearing, &version.metered, &version.late)
                .expect("sound");
            let Some(correction) = correction else {
                prop_assert_eq!(&settled(version), &revision.settlement);
                continue;
            };
            let moved = Balances::of(&correction.transfers).expect("sound");
            prop_assert_eq!(moved.of_account(&Account::Pool), Money::ZERO);
            let supplier = correction.revision.settlement.totals.supplier
                - revision.settlement.totals.supplier;
            prop_assert_eq!(moved.of_account(&Account::Supplier), supplier);
            prop_assert_eq!(correction.revision.version, revision.version + 1);
            ledger.extend(correction.transfers);
            revision = correction.revision;
        }
        let last = versions.last().unwrap_or(&world);
        let at_once = post(&settled(last)).expect("sound");
        prop_assert_eq!(
            accounts(&Balances::of(&ledger).expect("sound")),
            accounts(&Balances::of(&at_once).expect("sound"))
        );
    }

    #[test]
    fn the_same_meters_post_nothing(world in world()) {
        let revision = Revision::first(settled(&world));
        let again = revision.correct(&world.clearing, &world.metered, &world.late);
        prop_assert_eq!(again, Ok(None));
        let same = Revision { version: 2, settlement: revision.settlement.clone() };
        prop_assert_eq!(differences(&revision, &same), Ok(Vec::new()));
    }

    #[test]
    fn meters_that_keep_the_schedule_move_no_stage_two_money(world in world()) {
        let mut world = world;
        for metered in &mut world.metered {
            let side = |side| world.clearing.filled(&metered.point, side);
            let (import, export) = (side(market::Side::Buy), side(market::Side::Sell));
            metered.flow = Some(market::Flow { import, export, produced: None });
        }
        world.late.clear();
        let settlement = settled(&world);
        prop_assert!(settlement.totals.supplier.is_zero());
        for bill in &settlement.bills {
            prop_assert!(bill.charges.import.balancing.is_zero());
            prop_assert!(bill.charges.export.balancing.is_zero());
        }
    }
}

#[test]
fn a_correction_names_every_household_it_moves() {
    let (clearing, terms, mut street, late) = example();
    let first = Revision::first(settle(&clearing, terms, &street, &late).expect("sound"));
    assert_eq!(first.settlement.late(), late, "a corrected version can keep its late lines");
    street[4] = metered("E", 0, 0);
    let correction = first.correct(&clearing, &street, &late).expect("sound").expect("E is there");
    // A meter that turns out to have stood still changes a figure, but no money.
    assert_eq!(correction.transfers, []);
    let missing = |revision: &Revision| revision.settlement.totals.missing;
    assert_eq!((missing(&first), missing(&correction.revision)), (1, 0));
    street[3] = metered("D", 0, 100);
    let next = correction.revision.correct(&clearing, &street, &late).expect("sound").expect("D");
    let households: Vec<PointId> = ["A", "B", "D"].map(point).into();
    for household in &households {
        let account = Account::Household(household.clone());
        assert!(
            next.transfers.iter().any(|one| one.debit == account || one.credit == account),
            "{household} in {:?}",
            next.transfers.iter().map(line).collect::<Vec<_>>()
        );
    }
}
