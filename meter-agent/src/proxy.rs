//! Lets other programs of the household read on through the agent.
//!
//! Most inverters take a single client, and that is the agent. `[proxy]` opens a Modbus TCP server
//! that passes readings on to the same lines: functions 3 and 4 and nothing else, so that no program
//! can change a device through it. An answer that is fresh enough comes from memory. What has to be
//! asked for waits until the household's own polls have nothing to ask, and around a slot edge until
//! the registers of the edge are in. Everything is bounded: clients, waiting requests, idle time.
//!
//! The framing stands here although tokio-modbus has a server: that one waits for the rest of a
//! request for ever, keeps a client that says nothing for ever, and takes requests to write apart before
//! anybody can refuse them. What is asked of devices does go through it (`modbus/wire.rs`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clock::Clock;
use serde::{Deserialize, Deserializer, Serialize, de};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use units::Slot;

use crate::config::{Config, ConfigError, DeviceConfig, invalid, range};
use crate::device::DeviceMap;
use crate::modbus::{Ask, Exception, Function, Guest, Place, Read, ReadError};

/// A client that has asked nothing for so long is sent away.
const IDLE: Duration = Duration::from_secs(600);
/// How long a client may take over one request, and over taking one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a unit that is not in the configuration may take to answer.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Before and after a slot edge the lines belong to the edge, real time.
const EDGE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(250));
/// Longest wait for an edge to pass.
const LONGEST_EDGE: Duration = Duration::from_secs(2);
const MAX_CLIENTS: u64 = 32;

/// `[proxy]`, or several `[[proxy]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Proxies(pub Vec<ProxyConfig>);

impl Proxies {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Proxies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> de::Visitor<'de> for OneOrMany {
            type Value = Proxies;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("[proxy], or [[proxy]] for several")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Proxies, A::Error> {
                let one = ProxyConfig::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Proxies(vec![one]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Proxies, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(Proxies)
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// One `[proxy]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// Where other programs connect, `address:port`. `127.0.0.1` lets in this computer only.
    pub listen: SocketAddr,
    /// Names of the devices that can be read; empty = every Modbus device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// An answer that is this old at most comes from memory, milliseconds, 0 to 60 000.
    #[serde(default = "max_age_ms")]
    pub max_age_ms: u64,
    /// Programs that may be connected at once, 1 to 32.
    #[serde(default = "max_clients")]
    pub max_clients: u64,
}

const fn max_age_ms() -> u64 {
    1_000
}

const fn max_clients() -> u64 {
    8
}

impl ProxyConfig {
    /// The devices that can be read through it.
    fn targets<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a DeviceConfig> {
        config.devices.iter().filter(|device| {
            let named = self.devices.is_empty() || self.devices.contains(&device.name);
            named && device.place().is_some() && device.unit.is_some()
        })
    }

    /// Checks one proxy.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn check(&self, config: &Config) -> Result<(), ConfigError> {
        range("proxy.max_age_ms", self.max_age_ms, 0, 60_000)?;
        range("proxy.max_clients", self.max_clients, 1, MAX_CLIENTS)?;
        for name in &self.devices {
            if !self.targets(config).any(|device| device.name == *name) {
                let problem = format!("{name:?} is no device that is read over Modbus");
                return invalid("proxy.devices", problem);
            }
        }
        let mut units: BTreeMap<u8, (Place, &str)> = BTreeMap::new();
        for device in self.targets(config) {
            let (Some(place), Some(unit)) = (device.place(), device.unit) else { continue };
            let (known, other) = units.entry(unit).or_insert((place.clone(), &device.name));
            if *known != place {
                let problem = format!(
                    "{other:?} and {:?} both have unit {unit}, on different lines: make two \
                     [[proxy]] entries on two ports, each with one of them in devices",
                    device.name
                );
                return invalid("proxy.devices", problem);
            }
        }
        if units.is_empty() {
            return invalid("proxy.devices", "no device is read over Modbus".to_owned());
        }
        Ok(())
    }
}

/// Why a proxy cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("proxy: cannot listen on {listen}: {error}; is another program on that port?")]
pub struct ProxyError {
    listen: SocketAddr,
    error: std::io::Error,
}

/// A proxy that listens and serves nobody yet.
pub struct Proxy {
    listener: std::net::TcpListener,
    config: ProxyConfig,
    /// By unit: which line, and in which circumstances.
    targets: BTreeMap<u8, (Place, Duration, Duration)>,
}

impl Proxy {
    /// Opens the port of every proxy in a configuration.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub fn open_all(config: &Config, maps: &[DeviceMap]) -> Result<Vec<Self>, ProxyError> {
        config.proxy.0.iter().map(|proxy| Self::open(proxy, config, maps)).collect()
    }

    /// Opens the port.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub fn open(
        proxy: &ProxyConfig,
        config: &Config,
        maps: &[DeviceMap],
    ) -> Result<Self, ProxyError> {
        let failed = |error| ProxyError { listen: proxy.listen, error };
        let listener = std::net::TcpListener::bind(proxy.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let mut targets = BTreeMap::new();
        for device in proxy.targets(config) {
            let map = config.devices.iter().position(|d| d.name == device.name);
            let rules = map.and_then(|at| maps.get(at)?.modbus.as_ref());
            let (Some(place), Some(unit), Some(rules)) = (device.place(), device.unit, rules)
            else {
                continue;
            };
            let limit = device.timeout_ms.unwrap_or(rules.timeout_ms);
            let gap = Duration::from_millis(rules.min_gap_ms);
            targets.insert(unit, (place, Duration::from_millis(limit), gap));
        }
        Ok(Self { listener, config: proxy.clone(), targets })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's answer.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves clients for as long as it is polled, through these lines.
    pub async fn serve(self, lines: BTreeMap<Place, Guest>, clock: Clock) {
        let Self { listener, config, targets } = self;
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return warn!(listen = %config.listen, %error, "the proxy cannot listen"),
        };
        let mut routes = BTreeMap::new();
        for (unit, (place, limit, gap)) in &targets {
            if let Some(guest) = lines.get(place) {
                routes.insert(*unit, (guest.clone(), *limit, *gap));
            }
        }
        let first = targets.values().next().map(|(place, ..)| place);
        let one_line = targets.values().all(|(place, ..)| Some(place) == first);
        let only = first.filter(|_| one_line).and_then(|place| lines.get(place)).cloned();
        let max_age = Duration::from_millis(config.max_age_ms);
        let desk = Arc::new(Desk { routes, only, max_age, clock, clients: AtomicUsize::new(0) });
        let most = usize::try_from(config.max_clients).unwrap_or(1);
        let mut clients = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = clients.join_next() => continue,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: that passes or everything stops.
                    warn!(listen = %config.listen, %error, "the proxy cannot accept");
                    sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            if clients.len() >= most {
                info!(listen = %config.listen, %from, most, "the proxy has too many clients");
                continue;
            }
            clients.spawn(client(stream, from, Arc::clone(&desk)));
        }
    }
}

/// What the clients of a proxy share.
struct Desk {
    routes: BTreeMap<u8, (Guest, Duration, Duration)>,
    /// Where other units are asked; none when that would be a guess.
    only: Option<Guest>,
    max_age: Duration,
    clock: Clock,
    clients: AtomicUsize,
}

async fn client(mut stream: TcpStream, from: SocketAddr, desk: Arc<Desk>) {
    let _ = stream.set_nodelay(true);
    let count = desk.clients.fetch_add(1, Ordering::Relaxed) + 1;
    debug!(%from, count, "a program reads through the proxy");
    let mut head = [0; 7];
    // The first byte may be long in coming; the rest of the request may not.
    while let Ok(Ok(_)) = timeout(IDLE, stream.read_exact(&mut head[..1])).await {
        let Ok(Some(request)) = timeout(PATIENCE, request(&mut stream, &mut head)).await else {
            break;
        };
        let mut answer = desk.answer(head[6], &request).await;
        let length = u16::try_from(answer.len() + 1).expect("at most 252 bytes");
        let mut bytes = head[..4].to_vec();
        bytes.extend(length.to_be_bytes());
        bytes.push(head[6]);
        bytes.append(&mut answer);
        if !matches!(timeout(PATIENCE, stream.write_all(&bytes)).await, Ok(Ok(()))) {
            break;
        }
    }
    desk.clients.fetch_sub(1, Ordering::Relaxed);
    debug!(%from, "a program has gone from the proxy");
}

/// The rest of a request after its first byte; none when it is no Modbus TCP.
async fn request(stream: &mut TcpStream, head: &mut [u8; 7]) -> Option<Vec<u8>> {
    stream.read_exact(&mut head[1..]).await.ok()?;
    let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
    if head[2..4] != [0, 0] || !(2..=254).contains(&length) {
        return None;
    }
    let mut body = vec![0; length - 1];
    stream.read_exact(&mut body).await.ok()?;
    Some(body)
}

impl Desk {
    /// Function and content of the answer to a request.
    async fn answer(&self, unit: u8, request: &[u8]) -> Vec<u8> {
        let code = request[0];
        let refusal = |exception: Exception| vec![code | 0x80, exception.0];
        let Some(function) = Function::of_code(code) else {
            return refusal(Exception::ILLEGAL_FUNCTION);
        };
        let &[_, a1, a0, c1, c0] = request else { return refusal(Exception::ILLEGAL_VALUE) };
        let (address, count) = (u16::from_be_bytes([a1, a0]), u16::from_be_bytes([c1, c0]));
        let Some(read) = Read::new(unit, function, address, count) else {
            return refusal(Exception::ILLEGAL_VALUE);
        };
        match self.read(read).await {
            Ok(words) => {
                let bytes = words.iter().flat_map(|word| word.to_be_bytes());
                let length = u8::try_from(words.len() * 2).expect("at most 125 registers");
                [code, length].into_iter().chain(bytes).collect()
            }
            Err(error) => refusal(match error {
                ReadError::Exception { code, .. } => code,
                ReadError::Crowded { .. } => Exception::BUSY,
                ReadError::Unreachable { .. } => Exception::NO_PATH,
                _ => Exception::NO_TARGET,
            }),
        }
    }

    async fn read(&self, read: Read) -> Result<Vec<u16>, ReadError> {
        let unit = read.unit();
        let (guest, ask) = match (self.routes.get(&unit), &self.only) {
            (Some((guest, limit, gap)), _) => {
                (guest, Ask { min_gap: *gap, ..Ask::new(read, *limit) })
            }
            (None, Some(only)) => (only, Ask::new(read, STRANGER_TIMEOUT)),
            (None, None) => {
                let (address, code) = (read.address(), Exception::NO_PATH);
                return Err(ReadError::Exception { unit, address, code });
            }
        };
        if let Some(words) = guest.kept(read, self.max_age) {
            return Ok(words);
        }
        self.let_the_edge_pass().await;
        guest.read(ask, self.max_age).await
    }

    /// Waits while a slot edge is near: its registers come first.
    async fn let_the_edge_pass(&self) {
        let now_ms = self.clock.now_ms();
        let slot = Slot::at_ms(now_ms);
        let market = |real: Duration| real.mul_f64(self.clock.speed()).as_millis();
        let market = |real| i64::try_from(market(real)).unwrap_or(i64::MAX);
        let (before, after) = (market(EDGE.0), market(EDGE.1));
        let until_ms = if slot.end_ms() - now_ms <= before {
            slot.end_ms().saturating_add(after)
        } else if now_ms - slot.start_ms() < after {
            slot.start_ms().saturating_add(after)
        } else {
            return;
        };
        // A clock that stands still is not waited for.
        let _ = timeout(LONGEST_EDGE, self.clock.sleep_until(until_ms)).await;
    }
}
