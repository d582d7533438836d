//! What holds for every tree and every load.

use feeder::{Bus, BusPower, Line, Network, NetworkParts, PowerFlowError, Slack};
use proptest::prelude::*;

/// A random tree of 0.4 kV lines: bus i hangs on some earlier bus.
fn tree() -> impl Strategy<Value = (Network, Vec<BusPower>)> {
    let limb =
        (any::<prop::sample::Index>(), 0.0..0.05f64, 0.0..0.03f64, -5.0..5.0f64, -2.0..2.0f64);
    prop::collection::vec(limb, 1..40).prop_map(|limbs| {
        let bus = |i: usize| Bus { id: format!("B{i}"), vn_kv: 0.4 };
        let mut parts = NetworkParts {
            buses: (0..=limbs.len()).map(bus).collect(),
            slacks: vec![Slack { bus: "B0".into(), vm_pu: 1.0, va_degree: 0.0 }],
            ..NetworkParts::default()
        };
        let mut powers = vec![BusPower::default()];
        for (i, (parent, r_ohm, x_ohm, p_kw, q_kvar)) in limbs.iter().enumerate() {
            parts.lines.push(Line {
                id: format!("L{i}"),
                from_bus: format!("B{}", parent.index(i + 1)),
                to_bus: format!("B{}", i + 1),
                r_ohm: *r_ohm,
                x_ohm: *x_ohm,
                length_m: None,
                max_i_ka: 0.27,
            });
            powers.push(BusPower { p_kw: *p_kw, q_kvar: *q_kvar });
        }
        (Network::new(parts).expect("a tree"), powers)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// What the slack delivers is what the buses draw plus the losses.
    #[test]
    fn power_balances((network, powers) in tree()) {
        if let Ok(solved) = network.sweep(&powers) {
            let drawn: f64 = powers.iter().map(|power| power.p_kw).sum();
            prop_assert!((solved.slack.p_kw - drawn - solved.loss_kw).abs() < 1e-7);
            prop_assert!(solved.loss_kw >= 0.0);
            let lines: f64 = solved.lines.iter().map(|line| line.loss_kw).sum();
            prop_assert!((lines - solved.loss_kw).abs() < 1e-9);
        }
    }

    /// Where losses vanish, the linear and the exact flow agree.
    #[test]
    fn linear_is_the_limit_of_small_loads((network, powers) in tree()) {
        let small: Vec<BusPower> = powers
            .iter()
            .map(|power| BusPower { p_kw: power.p_kw * 1e-4, q_kvar: power.q_kvar * 1e-4 })
            .collect();
        let solved = network.sweep(&small).expect("small loads always have a solution");
        let linear = network.lin_dist(&small).expect("linear");
        for (exact, linear) in solved.buses.iter().zip(&linear.vm_pu) {
            prop_assert!((exact.vm_pu - linear).abs() < 1e-6);
        }
    }
}

#[test]
fn overload_is_an_error_after_bounded_rounds() {
    let network = super::references::network("semiurb4");
    let mut powers = vec![BusPower::default(); network.buses().len()];
    powers[43] = BusPower { p_kw: 5_000.0, q_kvar: 0.0 };
    let error = network.sweep(&powers).expect_err("5 MW through a house connection");
    assert!(
        matches!(error, PowerFlowError::NotConverged { rounds, .. } if rounds <= 200),
        "{error}"
    );
    powers[43] = BusPower { p_kw: f64::NAN, q_kvar: 0.0 };
    assert_eq!(network.sweep(&powers), Err(PowerFlowError::NotFinite { bus: "B043".to_owned() }));
    assert_eq!(
        network.sweep(&powers[1..]),
        Err(PowerFlowError::WrongLength { given: 43, buses: 44 })
    );
}

#[test]
fn without_load_every_bus_has_the_slack_voltage() {
    let network = super::references::network("semiurb4");
    let solved = network.sweep(&vec![BusPower::default(); 44]).expect("no load");
    assert!(solved.buses.iter().all(|bus| (bus.vm_pu - 1.025).abs() < 1e-12));
    assert_eq!(solved.rounds, 1);
}
