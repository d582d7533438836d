//! Transfers: a row per transfer, and sums that are zero.

use std::collections::BTreeMap;

use market::{Account, Balances, LedgerFault, Reason, Transfer, post};
use units::Money;

use crate::settlement::settled_example;
use crate::street::{SLOT, point};

fn line(transfer: &Transfer) -> String {
    let Transfer { debit, credit, amount, reason, .. } = transfer;
    format!("{debit} -> {credit} {} {reason:?}", amount.nano())
}

#[test]
fn a_settlement_becomes_one_row_per_line_of_a_bill() {
    let transfers = post(&settled_example()).expect("a sound settlement");
    let late = 70 * 310_000 - 5 * 110_000;
    let expected = [
        "household:A -> pool 200000000 Purchase".to_owned(),
        "household:A -> pool 40000000 ImportDeviation".to_owned(),
        "household:B -> pool 100000000 Purchase".to_owned(),
        "pool -> household:B 16200000 ImportDeviation".to_owned(),
        "pool -> household:C 300000000 Sale".to_owned(),
        "household:C -> pool 10000000 ExportDeviation".to_owned(),
        "pool -> household:D 48800000 ExportDeviation".to_owned(),
        format!("household:E -> supplier {late} Late({:?})", SLOT.offset(-2)),
        "supplier -> pool 15000000 FeedIn".to_owned(),
    ];
    assert_eq!(transfers.iter().map(line).collect::<Vec<_>>(), expected);
    assert!(transfers.iter().all(|transfer| transfer.slot == SLOT));

    let balances = Balances::of(&transfers).expect("sound transfers");
    assert_eq!(balances.of_account(&Account::Pool), Money::ZERO);
    let expected: BTreeMap<String, i64> = [
        ("household:A", -240_000_000),
        ("household:B", -83_800_000),
        ("household:C", 290_000_000),
        ("household:D", 48_800_000),
        ("household:E", -late),
        ("pool", 0),
        ("supplier", late - 15_000_000),
    ]
    .map(|(account, nano)| (account.to_owned(), nano))
    .into();
    let table: BTreeMap<String, i64> =
        balances.iter().map(|(account, balance)| (account.to_string(), balance.nano())).collect();
    assert_eq!(table, expected);
    assert_eq!(balances.iter().map(|(_, balance)| balance).sum::<Money>(), Money::ZERO);
}

#[test]
fn a_wrong_settlement_is_not_posted() {
    let mut settlement = settled_example();
    settlement.bills[0].charges.import.trade += Money::from_nano(1);
    assert!(matches!(post(&settlement), Err(LedgerFault::Settlement(_))));
}

#[test]
fn only_real_movements_are_booked() {
    let household = |name: &str| Account::Household(point(name));
    let transfer = |debit: Account, credit: Account, nano: i64| Transfer {
        slot: SLOT,
        debit,
        credit,
        amount: Money::from_nano(nano),
        reason: Reason::Sale,
    };
    let mut balances = Balances::default();
    balances.apply(&transfer(household("A"), Account::Pool, i64::MAX)).expect("in range");
    let before = balances.clone();
    let mut check = |transfer: Transfer, expected: LedgerFault| {
        assert_eq!(balances.apply(&transfer), Err(expected));
        assert_eq!(balances, before, "nothing is moved");
    };
    for nano in [0, -1] {
        let (debit, credit) = (household("A"), Account::Pool);
        let amount = Money::from_nano(nano);
        let expected =
            LedgerFault::NotPositive { debit: debit.clone(), credit: credit.clone(), amount };
        check(transfer(debit, credit, nano), expected);
    }
    let account = Account::Supplier;
    let expected = LedgerFault::SameAccount { account: account.clone() };
    check(transfer(account.clone(), account, 1), expected);
    let full = LedgerFault::OutOfRange { account: Account::Pool };
    check(transfer(household("B"), Account::Pool, 1), full);
    let empty = LedgerFault::OutOfRange { account: household("A") };
    check(transfer(household("A"), Account::Supplier, 2), empty);
}

#[test]
fn accounts_have_names_that_read_back() {
    for account in [
        Account::Pool,
        Account::Supplier,
        Account::GridFees,
        Account::Congestion,
        Account::Household(point("DE-01_x.2")),
    ] {
        assert_eq!(account.to_string().parse(), Ok(account));
    }
    for bad in ["", "Pool", "household", "household:", "household:a/b", "household:pool:x"] {
        assert!(bad.parse::<Account>().is_err(), "{bad:?}");
    }
    // A point may be called like another account without being taken for it.
    assert_ne!("household:pool".parse(), Ok(Account::Pool));
}
