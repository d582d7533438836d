//! Steering devices: off unless the owner says so, within the owner's limits, with a way back.
//!
//! Who may write is a matter of types. The only request that writes ([`crate::modbus::Write`]) is
//! made from an [`Enabled`], and an `Enabled` is made from nothing but a checked `[device.control]`
//! table of the owner's file. The side that reads has no function that writes, the proxy neither.
//!
//! What to set is decided by pure functions ([`follow`] for a battery, [`guard`] for the limits of
//! generators and charging points); [`hand`] carries it to the device, writes it
//! again before the device's own watchdog runs out, and gives the device back when nobody has asked
//! for anything lately, when the agent ends, and when it must not be trusted any more.

mod enabled;
pub mod follow;
pub mod guard;
pub(crate) mod hand;

pub use enabled::{Enabled, Setpoint};
pub use hand::Wanted;

use crate::config::Config;
use crate::device::DeviceMap;

/// What an owner should know before a device is steered: what nobody has checked of its map, and that
/// it has no watchdog.
#[must_use]
pub fn warnings(config: &Config, maps: &[DeviceMap]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (device, map) in config.devices.iter().zip(maps) {
        let Ok(Some(leave)) = Enabled::of(device, map) else { continue };
        let name = &device.name;
        for control in leave.controls() {
            let what = control.kind.in_words();
            warnings.extend(
                control.unverified.iter().map(|own| format!("{name}: {what}: not checked: {own}")),
            );
            if control.watchdog.is_none() {
                warnings.push(format!(
                    "{name}: {what}: it has no watchdog of its own: when the agent dies, the last \
                     setpoint stays until somebody changes it"
                ));
            }
        }
    }
    warnings
}
