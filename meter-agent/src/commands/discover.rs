//! `discover`: what is there?

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use clock::Clock;
use meter_agent::ConfigError;
use meter_agent::config::MqttConfig;
use meter_agent::device::Library;
use meter_agent::onboarding::discover::{Announced, Heard, announced, listen, serial_ports};
use meter_agent::onboarding::{Confidence, Fit, ProbeReport, Target, probe};
use serde_json::{Value, json};

use super::NOTHING_FITS;
use super::target::{end_progress, progress, runtime};

/// How a broker is logged in to.
#[derive(Debug, Args)]
pub struct Login {
    /// User name at the broker of your devices.
    #[arg(long, value_name = "NAME")]
    mqtt_user: Option<String>,
    /// File with the password there, readable by its owner only.
    #[arg(long, value_name = "FILE", requires = "mqtt_user")]
    mqtt_password_file: Option<PathBuf>,
}

/// A broker that cannot be one.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no broker: write mqtt://192.0.2.10:1883 or mqtts://broker.local:8883")]
pub struct BrokerError(String);

impl Login {
    /// The broker as it stands in a configuration.
    pub fn named(&self, url: &str) -> MqttConfig {
        MqttConfig {
            username: self.mqtt_user.clone(),
            // A configuration's paths are relative to it, not to where this is called.
            password_file: self
                .mqtt_password_file
                .as_ref()
                .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())),
            ..MqttConfig::open(url)
        }
    }

    /// The same, checked.
    pub fn broker(&self, url: &str) -> Result<MqttConfig, BrokerError> {
        let broker = self.named(url);
        if broker.is_an_address() { Ok(broker) } else { Err(BrokerError(url.to_owned())) }
    }
}

/// Arguments of `discover`.
#[derive(Debug, Args)]
pub struct Discover {
    /// Also look at this address over Modbus; may be given several times. Only addresses that you name are
    /// asked, slowly, and never written to.
    #[arg(long, value_name = "ADDRESS")]
    modbus: Vec<Target>,
    /// Also listen at this broker of yours, mqtt://host:port.
    #[arg(long, value_name = "URL")]
    mqtt: Option<String>,
    #[command(flatten)]
    login: Login,
    /// How long to wait for announcements and messages, seconds.
    #[arg(long, value_name = "S", default_value_t = 6,
        value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Do not ask the network for announcements (mDNS).
    #[arg(long)]
    no_mdns: bool,
    /// A folder with device maps of your own.
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
}

/// Everything that was found.
struct Found {
    announced: Result<Vec<Announced>, String>,
    heard: Option<Heard>,
    looked: Vec<(String, Result<ProbeReport, String>)>,
    ports: Vec<String>,
}

impl Discover {
    pub fn execute(&self, json: bool) -> Result<ExitCode> {
        let maps = Library::load(self.maps.as_deref())
            .and_then(|library| library.all())
            .map_err(ConfigError::from)?;
        let broker = self.mqtt.as_deref().map(|url| self.login.broker(url)).transpose()?;
        let clock = Clock::from_config(None);
        let telling = progress(json);
        let span = Duration::from_secs(self.seconds);
        let found: Result<Found> = runtime()?.block_on(async {
            let announced = if self.no_mdns {
                Ok(Vec::new())
            } else {
                telling.tell(&format!("asking the network for {} s who is there", span.as_secs()));
                announced(span).await
            };
            let heard = match &broker {
                Some(broker) => {
                    Some(listen(broker, &maps, None, span, clock.now_ms(), &telling).await?)
                }
                None => None,
            };
            let mut modbus = maps.clone();
            modbus.retain(|_, map| map.transport.is_modbus());
            let mut looked = Vec::new();
            for target in &self.modbus {
                let report = probe(target, &modbus, clock.now_ms(), &telling).await;
                looked.push((target.to_string(), report.map_err(|error| error.to_string())));
            }
            let ports = serial_ports(Path::new("/dev")).into_iter().map(|port| port.path);
            Ok(Found { announced, heard, looked, ports: ports.collect() })
        });
        end_progress(json);
        let found = found?;
        if json {
            println!("{}", found.to_json());
        } else {
            found.print();
        }
        Ok(if found.is_empty() { ExitCode::from(NOTHING_FITS) } else { ExitCode::SUCCESS })
    }
}

impl Found {
    fn is_empty(&self) -> bool {
        let named =
            self.announced.as_ref().is_ok_and(|all| all.iter().any(|one| one.hint.is_some()));
        let heard = self
            .heard
            .as_ref()
            .is_some_and(|heard| !heard.devices.is_empty() || !heard.announced.is_empty());
        let fits = |report: &ProbeReport| report.units.iter().any(|unit| !unit.fits.is_empty());
        let answers = self.looked.iter().any(|(_, report)| report.as_ref().is_ok_and(fits));
        !named && !heard && !answers && self.ports.is_empty()
    }

    fn to_json(&self) -> Value {
        let announced = match &self.announced {
            Ok(all) => json!(all),
            Err(error) => json!({ "error": error }),
        };
        let looked = self.looked.iter().map(|(target, report)| match report {
            Ok(report) => json!(report),
            Err(error) => json!({ "target": target, "error": error }),
        });
        json!({
            "announced": announced,
            "mqtt": self.heard,
            "modbus": looked.collect::<Vec<_>>(),
            "serial": self.ports,
        })
    }

    fn print(&self) {
        match &self.announced {
            Err(error) => println!("The network could not be asked for announcements: {error}"),
            Ok(all) => {
                let (useful, others): (Vec<_>, Vec<_>) =
                    all.iter().partition(|one| one.hint.is_some());
                for one in useful {
                    println!("{} at {}:{} ({})", one.name, one.address, one.port, one.service);
                    println!("  {}", one.hint.as_deref().unwrap_or_default());
                }
                if !others.is_empty() {
                    let names: Vec<&str> =
                        others.iter().map(|one| one.name.as_str()).take(12).collect();
                    println!("Also there, and nothing for the agent: {}", names.join(", "));
                }
            }
        }
        if let Some(heard) = &self.heard {
            print_heard(heard);
        }
        for (target, report) in &self.looked {
            match report {
                Ok(report) => print_units(target, report),
                Err(error) => println!("{error}"),
            }
        }
        for port in &self.ports {
            println!("{port}: a serial adapter\n  meter-agent probe {port}@9600-8N1");
        }
        if self.is_empty() {
            println!(
                "Nothing was found. Devices that do not announce themselves are in your router's list: \
                 meter-agent probe ADDRESS. Devices that publish: --mqtt mqtt://YOUR_BROKER."
            );
        }
    }
}

fn print_heard(heard: &Heard) {
    println!("{}: {} messages", heard.broker, heard.messages);
    for device in &heard.devices {
        let Some(best) = device.fits.first() else { continue };
        println!("  {}: {} ({})", device.topic, best.name, best.confidence);
        println!("    {}", next(best, &format!("{}/{}", heard.broker, device.topic)));
    }
    heard.announced.iter().for_each(|sentence| println!("  {sentence}"));
}

fn print_units(target: &str, report: &ProbeReport) {
    for unit in &report.units {
        let best = unit.fits.first().filter(|fit| fit.confidence > Confidence::Possible);
        match best {
            Some(fit) => {
                println!("{target}, unit {}: {} ({})", unit.unit, fit.name, fit.confidence);
                let place = target.split('/').next().unwrap_or(target);
                println!("  {}", next(fit, &format!("{place}/{}", unit.unit)));
            }
            None => println!("{target}, unit {}: answers, but no map surely fits", unit.unit),
        }
    }
}

/// The command that goes on with a device.
fn next(fit: &Fit, place: &str) -> String {
    match fit.roles.first() {
        Some(role) => {
            let role = json!(role);
            let role = role.as_str().unwrap_or_default();
            format!("meter-agent assign --config agent.toml --role {role} {place}")
        }
        None => "its figures are not enough for a role of its own".to_owned(),
    }
}
