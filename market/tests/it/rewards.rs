//! Shares of an epoch's mint.

use market::{Cumulative, Eligible, Mint, Policy, RewardFault, mint};
use proptest::prelude::*;

use crate::street::{point, rank, wh};

fn producers(energies: &[i64]) -> Vec<Eligible> {
    (0_u64..)
        .zip(energies)
        .map(|(i, &energy)| Eligible {
            point: point(format_args!("P{i:03}")),
            energy: wh(energy),
            rank: rank(i),
        })
        .collect()
}

fn policy(rate_wei_per_wh: u128, cap_wei: u128) -> Policy {
    Policy { rate_wei_per_wh, cap_wei }
}

fn check(policy: Policy, energies: &[i64], expected: &[u128]) {
    let mints = mint(policy, &producers(energies)).expect("sound");
    let mut shares = vec![0; energies.len()];
    for Mint { point, wei } in mints {
        assert!(wei > 0, "nobody is minted nothing");
        let i: usize = point.as_str()[1..].parse().expect("numbered");
        shares[i] = wei;
    }
    assert_eq!(shares, expected, "{energies:?} under {policy:?}");
}

#[test]
fn tokens_follow_the_energy_up_to_the_cap() {
    let e18 = 1_000_000_000_000_000_000;
    check(policy(e18, u128::MAX), &[3, 0, 5], &[3 * e18, 0, 5 * e18]);
    check(policy(10, 40), &[3, 0, 5], &[15, 0, 25]);
    check(policy(10, 10), &[1, 1, 1], &[4, 3, 3]);
    check(policy(10, 11), &[1, 1, 1], &[4, 4, 3]);
    check(policy(10, 1), &[1, 2], &[0, 1]);
    check(policy(0, 100), &[1, 2], &[0, 0]);
    check(policy(10, 0), &[1, 2], &[0, 0]);
    check(policy(10, 100), &[0, 0], &[0, 0]);
    check(policy(10, 100), &[], &[]);
    // Beyond what 128 bits can multiply, the cap still holds exactly.
    let huge = [10_000_000_000_000_000; 3];
    check(policy(u128::MAX, u128::MAX), &huge, &[u128::MAX / 3; 3]);
    check(policy(u128::MAX, u128::MAX - 1), &huge, &{
        let third = (u128::MAX - 1) / 3;
        [third + 1, third + 1, third]
    });
}

#[test]
fn impossible_energy_and_duplicates_are_refused() {
    let twice = [producers(&[1]), producers(&[2])].concat();
    let expected = RewardFault::Duplicate { point: point("P000") };
    assert_eq!(mint(policy(1, 1), &twice), Err(expected));
    for energy in [-1, i64::MAX] {
        let expected = RewardFault::ImpossibleEnergy { point: point("P001"), energy: wh(energy) };
        assert_eq!(mint(policy(1, 1), &producers(&[1, energy])), Err(expected));
    }
    let many = mint(policy(1, 1), &producers(&[10_000_000_000_000_000; 1_845]));
    assert!(matches!(many, Err(RewardFault::OutOfRange { .. })), "{many:?}");
}

#[test]
fn totals_only_grow_and_never_overflow() {
    let credit = |name: &str, wei: u128| Mint { point: point(name), wei };
    let mut totals = Cumulative::default();
    totals.add(&[credit("A", 5), credit("B", 7)]).expect("in range");
    totals.add(&[credit("B", 1), credit("C", 2)]).expect("in range");
    assert_eq!(totals.total(), 15);
    let table: Vec<(&str, u128)> =
        totals.iter().map(|(point, wei)| (point.as_str(), wei)).collect();
    assert_eq!(table, [("A", 5), ("B", 8), ("C", 2)]);
    assert_eq!((totals.of(&point("B")), totals.of(&point("X"))), (8, 0));
    let before = totals.clone();
    let expected = RewardFault::OutOfRange { point: point("B") };
    assert_eq!(totals.add(&[credit("A", 1), credit("B", u128::MAX - 15)]), Err(expected));
    assert_eq!(totals, before, "nothing is added");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_mint_is_exact_and_fair(
        energies in prop::collection::vec(0_i64..1_000_000, 0..30),
        rate in 0_u128..1_000_000_000,
        cap in 0_u128..10_000_000_000_000_000,
    ) {
        let sum: u128 = energies.iter().map(|&energy| u128::try_from(energy).unwrap()).sum();
        let total = cap.min(rate * sum);
        let mints = mint(policy(rate, cap), &producers(&energies)).expect("sound");
        prop_assert_eq!(mints.iter().map(|mint| mint.wei).sum::<u128>(), total);
        for Mint { point, wei } in mints {
            let i: usize = point.as_str()[1..].parse().expect("numbered");
            let energy = u128::try_from(energies[i]).unwrap();
            prop_assert!(wei <= rate * energy, "more than the rate");
            prop_assert!((wei * sum).abs_diff(total * energy) < sum, "more than a wei off");
        }
    }
}
