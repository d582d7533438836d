//! What `run` tells a person at the start: when the first signed reading is due, and that it is there.

use std::path::PathBuf;

use clock::Clock;
use meter_agent::{Agent, Config, Status, journal};
use protocol::{Domain, Reading};
use serde_json::json;
use tokio::sync::watch;
use units::Slot;

/// Waits for the first reading after the start.
pub struct FirstReading {
    status: watch::Receiver<Status>,
    /// Sequence number of the newest reading before the start.
    before: u64,
    data_dir: PathBuf,
    domain: Domain,
    epoch: u32,
    /// Public half of the household's key, hexadecimal.
    key: String,
    json: bool,
}

impl FirstReading {
    /// Says when it is due.
    pub fn awaited(config: &Config, agent: &Agent, key: String, clock: &Clock, json: bool) -> Self {
        let status = agent.status();
        let before = status.borrow().journalled_seq;
        let now_ms = clock.now_ms();
        let slot = Slot::at_ms(now_ms);
        #[expect(clippy::cast_possible_truncation, reason = "a quarter-hour in seconds")]
        let wait_s = ((slot.end_ms() - now_ms) as f64 / clock.speed().max(0.01) / 1_000.0) as u64;
        if !json {
            let devices: Vec<&str> =
                config.devices.iter().map(|device| device.name.as_str()).collect();
            println!(
                "Reading {}. The next reading is signed at the end of the quarter-hour {slot}, in {} \
                 min {:02} s.",
                devices.join(", "),
                wait_s / 60,
                wait_s % 60
            );
        }
        Self {
            status,
            before,
            data_dir: config.data_dir.clone(),
            domain: Domain::new(config.community.clone()),
            epoch: config.epoch,
            key,
            json,
        }
    }

    /// Says that it is there, once.
    pub async fn tell(mut self) {
        let waited = self.status.wait_for(|status| status.journalled_seq > self.before).await;
        let Ok(connected) = waited.map(|status| status.connected) else { return };
        let entries = journal::read(&self.data_dir, &self.domain, self.epoch).unwrap_or_default();
        let first = entries.into_iter().find(|entry| entry.reading.body.seq > self.before);
        if let Some(entry) = first {
            self.print(&entry.reading.body, connected);
        }
    }

    fn print(&self, reading: &Reading, connected: bool) {
        let slot = Slot::new(reading.slot);
        if self.json {
            let told = json!({
                "first_reading": {
                    "seq": reading.seq,
                    "slot": slot.to_string(),
                    "import_wh": reading.import_wh,
                    "export_wh": reading.export_wh,
                    "quality": reading.quality,
                    "key": self.key,
                    "connected": connected,
                }
            });
            println!("{told}");
            return;
        }
        let kwh = |wh: u64| format!("{}.{:03} kWh", wh / 1_000, wh % 1_000);
        println!(
            "Signed reading {} for the quarter-hour {slot}: {} from the grid, {} to the grid ({}).",
            reading.seq,
            kwh(reading.import_wh),
            kwh(reading.export_wh),
            reading.quality,
        );
        println!("It is in {} and signed with the key {}.", self.data_dir.display(), self.key);
        if !connected {
            println!(
                "The operator's broker is not connected: readings wait in the journal until it is."
            );
        }
    }
}
