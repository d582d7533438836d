//! The shell's part in steering: what is wanted goes to the hands, and what came of it comes back.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Agent, AgentError};
use crate::control::{Enabled, Setpoint, Wanted, guard};
use crate::core::Input;
use crate::device::ControlKind;
use crate::running::Running;

/// How long a setpoint stands without a further look at the meters: so many polls, and never less than
/// the time, real time.
const LOOKS: u32 = 5;
const LEAST_TRUST: Duration = Duration::from_secs(15);

/// What the shell holds of a device that is steered.
pub struct Grip {
    /// The owner's leave.
    pub leave: Enabled,
    /// Where to say what is wanted.
    pub wanted: watch::Sender<Option<Wanted>>,
    /// What is set in it, as far as is known.
    pub set: Option<i64>,
}

impl Agent {
    /// Says what is wanted of the devices that are steered, as the newest figures have it.
    pub(super) fn want(&self) {
        let now_ms = self.clock.now_ms();
        let until = Instant::now() + LEAST_TRUST.max(self.poll_interval * LOOKS);
        for (index, hand) in &self.hands {
            let wanted = if self.battery == Some(*index) {
                self.core.steered_by_ms().map(|at_ms| (at_ms, self.core.steer(now_ms)))
            } else {
                self.limit(*index, now_ms)
            };
            if let Some((at_ms, setpoint)) = wanted {
                hand.wanted.send_replace(Some(Wanted { at_ms, setpoint, until }));
            }
        }
    }

    /// The limit of a generator or a charging point, and when the figures were taken that it follows
    /// from; nothing without fresh figures.
    fn limit(&self, index: usize, now_ms: i64) -> Option<(i64, Option<Setpoint>)> {
        let leave = &self.hands.get(&index)?.leave;
        let (grid_mw, own_mw, at_ms) = self.house.beside_meter(index, now_ms)?;
        let limit = match leave.kind() {
            ControlKind::PvLimit => {
                guard::production(grid_mw, -own_mw, leave.max_export_mw(), leave.most())
            }
            _ => {
                let connection_mw = self.connection_w.saturating_mul(1_000);
                let phases = leave.phases();
                Some(guard::charging_current(grid_mw, own_mw, connection_mw, phases))
            }
        };
        Some((at_ms, limit.map(|limit| leave.within(limit))))
    }

    /// Takes what came of a setpoint.
    pub(super) async fn steered(
        &mut self,
        index: usize,
        at_ms: i64,
        outcome: Result<Option<Setpoint>, String>,
        running: &mut Running,
    ) -> Result<(), AgentError> {
        let is_battery = self.battery == Some(index);
        let point = self.point.clone();
        let device = self.house.device_mut(index).map_or("?", |device| &device.name).to_owned();
        let value = match outcome {
            Ok(setpoint) => setpoint.map(Setpoint::value),
            Err(reason) => {
                warn!(%point, device, reason, "cannot be steered");
                None
            }
        };
        let Some(hand) = self.hands.get_mut(&index) else { return Ok(()) };
        let before = std::mem::replace(&mut hand.set, value);
        match (before, value) {
            (None, Some(_)) => info!(%point, device, "is steered"),
            (Some(_), None) => info!(%point, device, "is on its own"),
            _ => {}
        }
        if is_battery {
            self.step(Input::Steered(at_ms, value), running).await?;
        }
        Ok(())
    }
}
