//! What a battery must do so that the household takes from the grid what it traded: a pure function of
//! the meters, computed anew at every look.
//!
//! What has flowed since the slot began stands in the meter's registers; what the house takes now is
//! what the grid brings less what the battery takes. The power that is left over for the battery is
//! the one with which the slot comes out even. Whatever went wrong before, and whatever the house does
//! next, is in the next look.

/// A slot as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// Until the slot ends, milliseconds of market time.
    pub left_ms: i64,
    /// What should flow from the grid in the whole slot (negative: into it), mWh.
    pub goal_mwh: i64,
    /// What has flowed since it began, mWh.
    pub so_far_mwh: i64,
    /// Power from the grid now, mW.
    pub grid_mw: i64,
    /// Power into the battery now, mW.
    pub battery_mw: i64,
    /// How long a setpoint stands until the next look can correct it, milliseconds of market time: what
    /// is left is not hurried into less.
    pub react_ms: i64,
}

/// Milliseconds in an hour.
const HOUR_MS: i128 = 3_600_000;

impl Course {
    /// What the house itself takes now, without the battery (negative: its roof gives), mW.
    #[must_use]
    pub const fn house_mw(&self) -> i64 {
        self.grid_mw.saturating_sub(self.battery_mw)
    }

    /// What the house will have taken by the slot's end as it goes on now, without the battery, of
    /// which `stored_mwh` went into the battery so far, mWh.
    #[must_use]
    pub fn net_mwh(&self, stored_mwh: i64) -> i64 {
        let to_come = i128::from(self.house_mw()) * i128::from(self.left_ms.max(0)) / HOUR_MS;
        let so_far = i128::from(self.so_far_mwh) - i128::from(stored_mwh);
        narrow(so_far + to_come)
    }

    /// Power into the battery with which the slot comes out even, mW. No limit is kept here.
    #[must_use]
    pub fn battery_mw(&self) -> i64 {
        let left_ms = i128::from(self.left_ms.max(self.react_ms).max(1_000));
        let missing = i128::from(self.goal_mwh) - i128::from(self.so_far_mwh);
        narrow(missing * HOUR_MS / left_ms - i128::from(self.house_mw()))
    }
}

fn narrow(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value > 0 { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{ControlConfig, DeviceConfig, Role};
    use crate::control::Enabled;
    use crate::device::Library;

    const SLOT_MS: i64 = 900_000;

    fn leave(charge_w: u32, discharge_w: u32, min: u8, max: u8) -> Enabled {
        let device = DeviceConfig {
            control: Some(ControlConfig {
                enabled: true,
                max_charge_w: Some(charge_w),
                max_discharge_w: Some(discharge_w),
                min_soc_percent: Some(min),
                max_soc_percent: Some(max),
                ..ControlConfig::default()
            }),
            ..DeviceConfig::new("battery", Role::Battery, "sunspec-battery-802")
        };
        let map = Library::load(None).expect("sound").find(&device.map).expect("built in");
        Enabled::of(&device, &map).expect("allowed").expect("enabled")
    }

    #[test]
    fn the_power_is_what_is_missing_less_what_the_house_takes() {
        let course = Course {
            left_ms: SLOT_MS,
            goal_mwh: 0,
            so_far_mwh: 0,
            grid_mw: 0,
            battery_mw: 0,
            react_ms: 30_000,
        };
        for (course, expected) in [
            (course, 0),
            // The house takes 2 kW, nothing was bought: the battery gives them.
            (Course { grid_mw: 2_000_000, ..course }, -2_000_000),
            (Course { grid_mw: 0, battery_mw: -2_000_000, ..course }, -2_000_000),
            // 1 kWh was bought for the slot: 4 kW.
            (Course { goal_mwh: 1_000_000, grid_mw: 1_000_000, ..course }, 3_000_000),
            // Two thirds of the slot went by with half of what was sold.
            (
                Course {
                    left_ms: SLOT_MS / 3,
                    goal_mwh: -600_000,
                    so_far_mwh: -300_000,
                    grid_mw: -3_000_000,
                    ..course
                },
                -600_000,
            ),
            // A second before the end nothing is hurried.
            (Course { left_ms: 1_000, goal_mwh: 10_000, ..course }, 1_200_000),
        ] {
            assert_eq!(course.battery_mw(), expected, "{course:?}");
        }
        let course = Course {
            left_ms: SLOT_MS / 2,
            grid_mw: 3_000_000,
            battery_mw: 1_000_000,
            so_far_mwh: 400_000,
            ..course
        };
        assert_eq!(course.net_mwh(150_000), 500_000);
    }

    proptest! {
        #[test]
        fn no_limit_is_ever_exceeded(
            goal in -50_000_000_i64..50_000_000, so_far in -50_000_000_i64..50_000_000,
            grid in -200_000_000_i64..200_000_000, battery in -50_000_000_i64..50_000_000,
            left in -10_000_i64..SLOT_MS, charge in 0_u32..20_000, discharge in 0_u32..20_000,
            min in 0_u8..50, max in 51_u8..=100, soc in 0_i64..=1_000,
        ) {
            let course = Course {
                left_ms: left, goal_mwh: goal, so_far_mwh: so_far, grid_mw: grid,
                battery_mw: battery, react_ms: 30_000,
            };
            let leave = leave(charge, discharge, min, max);
            let set = leave.battery(course.battery_mw(), soc, course.house_mw()).value();
            prop_assert!((-i64::from(discharge) * 1_000..=i64::from(charge) * 1_000).contains(&set));
            prop_assert!(soc > i64::from(min) * 10 || set >= 0, "{soc} of {min}: {set}");
            prop_assert!(soc < i64::from(max) * 10 || set <= 0, "{soc} of {max}: {set}");
        }

        /// A house whose load changes at every look, a battery that does what it is told: the slot comes
        /// out even up to what flows between the last look and the end, unless a limit stands in the way.
        #[test]
        fn a_slot_comes_out_even(
            goal in -700_000_i64..700_000,
            loads in proptest::collection::vec(-2_000_000_i64..2_000_000, 30),
        ) {
            let step_ms = SLOT_MS / 30;
            let leave = leave(20_000, 20_000, 0, 100);
            let (mut so_far, mut battery) = (0_i64, 0_i64);
            let mut house = loads[0];
            for (step, &load) in loads.iter().enumerate() {
                let left_ms = SLOT_MS - i64::try_from(step).expect("small") * step_ms;
                let course = Course {
                    left_ms, goal_mwh: goal, so_far_mwh: so_far, grid_mw: house + battery,
                    battery_mw: battery, react_ms: step_ms,
                };
                battery = leave.battery(course.battery_mw(), 500, course.house_mw()).value();
                // The load changes right after the look.
                house = load;
                so_far += (house + battery) * step_ms / 3_600_000;
            }
            // 4 kW of change at most for the last thirtieth of the slot.
            prop_assert!((so_far - goal).abs() <= 4_000_000 * step_ms / 3_600_000 + 30, "{so_far} {goal}");
        }
    }
}
