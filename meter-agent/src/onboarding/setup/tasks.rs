//! What the page can ask for, as the same engine does it for the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clock::Clock;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::assign::Draft;
use super::super::discover::{announced, listen, serial_ports};
use super::super::plausible::plausible;
use super::super::progress::Progress;
use super::super::sign_test::{APPLIANCE_W, SPAN, apply_signs, sign_test};
use super::super::watching::Watching;
use super::super::whereabouts::Whereabouts;
use super::jobs::Task;
use crate::config::{Config, MqttConfig, Role};
use crate::device::Library;

/// `POST /api/discover`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Around {
    mqtt: Option<String>,
    seconds: u64,
}

/// `POST /api/probe`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    address: String,
}

/// `POST /api/sign-test`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kettle {
    watts: i64,
}

/// `POST /api/check`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Watch {
    seconds: u64,
}

/// `POST /api/assign`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    address: String,
    role: Role,
    map: String,
    unit: u8,
    replace: Option<String>,
    dry_run: bool,
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(said)
}

/// The task of an address of the page; none when there is no such address.
pub fn task(path: &str, body: &[u8], config: &Path) -> Option<Result<Task, String>> {
    let config = config.to_owned();
    Some(match path {
        "/api/discover" => read::<Around>(body).map(|wish| -> Task {
            Box::new(move |progress| Box::pin(around(config, wish, progress)))
        }),
        "/api/probe" => read::<Look>(body).and_then(|wish| {
            let place: Whereabouts = wish.address.parse()?;
            let task: Task = Box::new(move |progress| Box::pin(look(config, place, progress)));
            Ok(task)
        }),
        "/api/sign-test" => read::<Kettle>(body).and_then(|wish| {
            if !APPLIANCE_W.contains(&wish.watts) {
                let (least, most) = (APPLIANCE_W.start(), APPLIANCE_W.end());
                return Err(format!("the appliance has {least} to {most} W"));
            }
            let task: Task =
                Box::new(move |progress| Box::pin(kettle(config, wish.watts, progress)));
            Ok(task)
        }),
        "/api/check" => read::<Watch>(body).map(|wish| -> Task {
            Box::new(move |progress| Box::pin(check(config, wish.seconds, progress)))
        }),
        _ => return None,
    })
}

/// The broker of an address: the operator's with its login when it is that one.
fn broker_of(config: &Config) -> impl Fn(&str) -> MqttConfig + use<> {
    let operators = config.mqtt.clone();
    move |url| if url == operators.url { operators.clone() } else { MqttConfig::open(url) }
}

async fn around(config: PathBuf, wish: Around, progress: Progress) -> Result<Value, String> {
    let span = Duration::from_secs(wish.seconds.clamp(1, 60));
    let draft = Draft::open(&config).map_err(said)?;
    progress.tell("Asking the network who is there");
    let found = announced(span).await;
    let mut heard = None;
    if let Some(url) = wish.mqtt.filter(|url| !url.is_empty()) {
        let url = if url.contains("://") { url } else { format!("mqtt://{url}") };
        let broker = broker_of(&draft.config())(&url);
        if !broker.is_an_address() {
            return Err(format!("{url:?} is no broker: write mqtt://192.0.2.10:1883"));
        }
        let maps = Library::load(draft.devices_dir().as_deref()).and_then(|own| own.all());
        let maps = maps.map_err(said)?;
        let now_ms = Clock::system().now_ms();
        let outcome = listen(&broker, &maps, None, span.max(SPAN), now_ms, &progress).await;
        heard = Some(outcome.map_err(said)?);
    }
    let (announced, error) = match found {
        Ok(all) => (all, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let serial = serial_ports(Path::new("/dev"));
    Ok(json!({ "announced": announced, "error": error, "mqtt": heard, "serial": serial }))
}

async fn look(config: PathBuf, place: Whereabouts, progress: Progress) -> Result<Value, String> {
    let draft = Draft::open(&config).map_err(said)?;
    let maps = Library::load(draft.devices_dir().as_deref()).and_then(|own| own.all());
    let maps = maps.map_err(said)?;
    let now_ms = Clock::system().now_ms();
    let report = place.look(&maps, broker_of(&draft.config()), now_ms, &progress).await;
    report.map(|report| json!(report)).map_err(said)
}

async fn kettle(config: PathBuf, watts: i64, progress: Progress) -> Result<Value, String> {
    let loaded = Config::load(&config).map_err(said)?;
    let clock = Clock::from_config(loaded.clock);
    let signs = sign_test(&loaded, &clock, watts, SPAN, &progress).await.map_err(said)?;
    let mut draft = Draft::open(&config).map_err(said)?;
    apply_signs(&mut draft, &signs).map_err(said)?;
    let changes = draft.changes();
    if !changes.is_empty() {
        draft.save().map_err(said)?;
    }
    Ok(json!({ "devices": signs, "changes": changes }))
}

async fn check(config: PathBuf, seconds: u64, progress: Progress) -> Result<Value, String> {
    let loaded = Config::load(&config).map_err(said)?;
    let maps = loaded.maps().map_err(said)?;
    let site = loaded.bidding.wishes().map_err(said)?.site;
    let clock = Clock::from_config(loaded.clock);
    let span = Duration::from_secs(seconds.clamp(3, 120));
    progress.tell(&format!("Watching {} devices for {} s", loaded.devices.len(), span.as_secs()));
    let mut watching = Watching::start(&loaded, &clock).map_err(said)?;
    let tracks = watching.watch(span, |_| false).await;
    let remarks = plausible(&loaded, &maps, &tracks, site, clock.now_ms());
    Ok(json!({ "remarks": remarks }))
}

impl Assignment {
    /// Writes it into the configuration, or only looks what would change; returns the lines.
    pub fn carry_out(&self, config: &Path) -> Result<Vec<String>, String> {
        let place: Whereabouts = self.address.parse()?;
        let mut draft = Draft::open(config).map_err(said)?;
        let name = self.replace.clone().unwrap_or_else(|| draft.free_name(self.role));
        let own = draft.config();
        let what = (name.as_str(), self.role, self.map.as_str());
        let device = place.device(self.unit, what, broker_of(&own), &own.mqtt);
        draft.assign(&device, self.replace.as_deref(), "by setup").map_err(said)?;
        let changes = draft.changes();
        if !self.dry_run {
            draft.save().map_err(said)?;
        }
        Ok(changes)
    }
}
