//! Limits that hold whatever is traded: how much the roof may produce so that no more is fed in than the
//! owner allows, and how much a car may draw so that the connection carries it. Pure functions of the
//! meters, computed anew at every look.

/// Voltage between phase and neutral that currents are reckoned with, V.
const PHASE_V: i64 = 230;

/// The most that a generator may produce, mW; none while nothing limits it.
///
/// `grid_mw` flows from the grid, `produced_mw` comes from this generator, `rated_mw` is what it can do.
/// What the house takes itself may be produced in addition to what may be fed in.
#[must_use]
pub fn production(
    grid_mw: i64,
    produced_mw: i64,
    max_export_mw: i64,
    rated_mw: i64,
) -> Option<i64> {
    let allowed = produced_mw.saturating_add(grid_mw).saturating_add(max_export_mw).max(0);
    (allowed < rated_mw).then_some(allowed)
}

/// The most current that a charging point may draw per phase, mA, so that the connection is not asked
/// for more than `connection_mw`.
#[must_use]
pub fn charging_current(grid_mw: i64, charger_mw: i64, connection_mw: i64, phases: i64) -> i64 {
    let power_mw = connection_mw.saturating_sub(grid_mw).saturating_add(charger_mw).max(0);
    power_mw / (PHASE_V * phases.clamp(1, 3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KW: i64 = 1_000_000;

    #[test]
    fn a_limit_is_what_the_house_takes_and_what_may_be_fed_in() {
        for (grid, produced, export, rated, expected) in [
            // 2 kW are fed in and 2 kW used; 1 kW may be fed in.
            (-2 * KW, 4 * KW, KW, 10 * KW, Some(3 * KW)),
            // Nothing may be fed in, and the house takes 500 W from the grid as it is.
            (KW / 2, KW, 0, 10 * KW, Some(3 * KW / 2)),
            (-2 * KW, 4 * KW, 10 * KW, 10 * KW, None),
            (-9 * KW, 4 * KW, 0, 10 * KW, Some(0)),
        ] {
            assert_eq!(production(grid, produced, export, rated), expected, "{grid} {produced}");
        }
        // 10 kW connection, 8 kW drawn of which 5 kW charge: 7 kW on three phases.
        assert_eq!(charging_current(8 * KW, 5 * KW, 10 * KW, 3), 10_144);
        assert_eq!(charging_current(20 * KW, 5 * KW, 10 * KW, 3), 0);
    }

    proptest! {
        #[test]
        fn whoever_keeps_the_limits_keeps_the_connection(
            house in -20_000_000_i64..20_000_000, produced in 0_i64..20_000_000,
            export in 0_i64..10_000_000, charger in 0_i64..22_000_000, phases in 1_i64..=3,
        ) {
            let limit = production(house - produced, produced, export, 20_000_000);
            let next = produced.min(limit.unwrap_or(20_000_000));
            prop_assert!(next - house <= export || next == 0, "{next} produced, {house} used");
            let current = charging_current(house + charger, charger, 10_000_000, phases);
            let drawn = current * 230 * phases;
            prop_assert!(drawn == 0 || house + drawn <= 10_000_000, "{drawn} with {house}");
        }
    }
}
