//! One house as a Modbus TCP server: function codes 3 and 4, several units behind one port. What a
//! battery lets be steered is written with 6 and 16.
//!
//! A request is answered from one image, so values and scale factors of an answer belong to the
//! same moment. Refusals are Modbus exceptions: 1 for any other function, 2 for an address that
//! does not exist, 3 for a count that no device accepts, 11 for a unit that is not there. What then
//! becomes of an answer is up to the faults that the house has at the time.
//!
//! The watch of a battery over whoever steers it runs in seconds of the wall, however fast the street's
//! time runs: it guards against a process that has died.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::mbap::{Refusal, Request};
use crate::devices::{Bank, BatteryPlate, DeviceImage, Levers, UnitImage};
use crate::faults::{Active, Fault, Memory, Newcomer, Reaction, react};
use crate::world::Window;
use crate::world::chance::Chance;

/// Most clients of one house at a time.
const MAX_CLIENTS: usize = 8;
/// Pause after a failed accept (out of file descriptors, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

const ILLEGAL_FUNCTION: Refusal = Refusal(1);
const ILLEGAL_ADDRESS: Refusal = Refusal(2);
const ILLEGAL_VALUE: Refusal = Refusal(3);
const NO_SUCH_UNIT: Refusal = Refusal(11);

/// What a house shows at a moment, and what is the matter with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scene {
    pub image: Arc<DeviceImage>,
    /// What every second question of a client is answered from, if not from the same.
    pub other: Option<Arc<DeviceImage>>,
    /// Faults on the wire, or of messages.
    pub faults: Vec<Active>,
}

impl Scene {
    /// A house with nothing the matter.
    pub const fn of(image: Arc<DeviceImage>) -> Self {
        Self { image, other: None, faults: Vec::new() }
    }

    /// What becomes of a second client, where there is room for one only.
    fn single_client(&self) -> Option<Newcomer> {
        self.faults.iter().find_map(|active| match active.fault {
            Fault::SingleClient { newcomer } => Some(newcomer),
            _ => None,
        })
    }
}

/// The server of a house; it ends when this is dropped.
pub(crate) struct ModbusHouse {
    addr: SocketAddr,
    scene: watch::Sender<Arc<Scene>>,
    desk: Arc<Mutex<Desk>>,
    _server: JoinSet<()>,
}

impl ModbusHouse {
    /// Binds the address (port 0: any free port) and starts to answer. `chance` draws what happens
    /// only now and then.
    pub async fn start(addr: SocketAddr, scene: Scene, chance: Chance) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let (sender, receiver) = watch::channel(Arc::new(scene));
        let mut server = JoinSet::new();
        let desk = Arc::default();
        server.spawn(serve(listener, receiver, Arc::clone(&desk), chance));
        Ok(Self { addr, scene: sender, desk, _server: server })
    }

    /// What somebody has set in the battery, and has not let go of.
    pub fn window(&self, unit: u8, plate: &BatteryPlate) -> Option<Window> {
        let scene = Arc::clone(&self.scene.borrow());
        let image = scene.image.units.get(&unit)?;
        let mut desk = self.desk.lock().expect("nobody panics while holding it");
        desk.levers(unit, image)?.window(image, plate)
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Shows something else from now on.
    pub fn show(&self, scene: Scene) {
        self.scene.send_replace(Arc::new(scene));
    }
}

/// What was written to the units of a house, and when.
#[derive(Default)]
struct Desk(BTreeMap<u8, (Levers, std::time::Instant)>);

impl Desk {
    /// What stands in a unit; what nobody has spoken for in time is forgotten.
    fn levers(&mut self, unit: u8, image: &UnitImage) -> Option<&Levers> {
        let (levers, since) = self.0.get(&unit)?;
        if levers.reverts_after(image).is_some_and(|after| since.elapsed() > after) {
            self.0.remove(&unit);
        }
        self.0.get(&unit).map(|(levers, _)| levers)
    }

    fn write(&mut self, unit: u8, image: &UnitImage, address: u16, words: &[u16]) -> bool {
        self.levers(unit, image);
        let (levers, since) =
            self.0.entry(unit).or_insert_with(|| (Levers::default(), clock::stopwatch()));
        let taken = levers.write(image, address, words);
        if taken {
            *since = clock::stopwatch();
        }
        taken
    }
}

/// Accepts clients for ever.
async fn serve(
    listener: TcpListener,
    scene: watch::Receiver<Arc<Scene>>,
    desk: Arc<Mutex<Desk>>,
    mut chance: Chance,
) {
    let mut clients = JoinSet::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept clients; trying again");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while clients.try_join_next().is_some() {}
        let newcomer = scene.borrow().single_client().filter(|_| !clients.is_empty());
        match newcomer {
            Some(Newcomer::Refused) => {
                tracing::debug!(%peer, "hung up on: this house has room for one client");
                continue;
            }
            Some(Newcomer::Replaces) => clients.abort_all(),
            None if clients.len() >= MAX_CLIENTS => {
                tracing::warn!(%peer, "refused: this house already has {MAX_CLIENTS} clients");
                continue;
            }
            None => {}
        }
        let memory = Memory::new(Chance::new(chance.bits(), "connection"));
        let (scene, desk) = (scene.clone(), Arc::clone(&desk));
        clients.spawn(async move {
            if let Err(error) = converse(stream, scene, &desk, memory).await {
                tracing::debug!(%peer, %error, "a client went away");
            }
        });
    }
}

/// Answers one client until it goes.
async fn converse(
    mut stream: TcpStream,
    scene: watch::Receiver<Arc<Scene>>,
    desk: &Mutex<Desk>,
    mut memory: Memory,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let opened = clock::stopwatch();
    while let Some(request) = Request::read(&mut stream).await? {
        let scene = Arc::clone(&scene.borrow());
        let image = match (&scene.other, memory.turn()) {
            (Some(other), true) => other,
            _ => &scene.image,
        };
        let right = match request.function {
            6 | 16 => match write(image, desk, &request) {
                Ok(()) => request.written(),
                Err(refusal) => request.frame(Err(refusal)),
            },
            _ => request.frame(answer(image, desk, &request)),
        };
        match react(&scene.faults, &mut memory, opened.elapsed(), right) {
            Reaction::Answer { frame, after } => {
                if !after.is_zero() {
                    sleep(after).await;
                }
                stream.write_all(&frame).await?;
            }
            Reaction::Silence => {}
            Reaction::Reset => return stream.set_zero_linger(),
        }
    }
    Ok(())
}

/// Writes what can be written; a unit without anything to steer knows no such function.
fn write(image: &DeviceImage, desk: &Mutex<Desk>, request: &Request) -> Result<(), Refusal> {
    let unit = image.units.get(&request.unit).ok_or(NO_SUCH_UNIT)?;
    if !Levers::are_on(unit) {
        return Err(ILLEGAL_FUNCTION);
    }
    let (address, words) = request.writes().ok_or(ILLEGAL_VALUE)?;
    let mut desk = desk.lock().expect("nobody panics while holding it");
    let taken = desk.write(request.unit, unit, address, &words);
    if taken { Ok(()) } else { Err(ILLEGAL_ADDRESS) }
}

/// The answer of a house to one request.
fn answer(image: &DeviceImage, desk: &Mutex<Desk>, request: &Request) -> Result<Vec<u16>, Refusal> {
    let unit = image.units.get(&request.unit).ok_or(NO_SUCH_UNIT)?;
    let banks = match request.function {
        3 => &unit.holding,
        4 => &unit.input,
        _ => return Err(ILLEGAL_FUNCTION),
    };
    if banks.is_empty() {
        return Err(ILLEGAL_FUNCTION);
    }
    let (address, count) = request.registers().ok_or(ILLEGAL_VALUE)?;
    if count == 0 || count > unit.max_registers || (unit.even && !count.is_multiple_of(2)) {
        return Err(ILLEGAL_VALUE);
    }
    if unit.even && !address.is_multiple_of(2) {
        return Err(ILLEGAL_ADDRESS);
    }
    let mut words = read(banks, address, count).ok_or(ILLEGAL_ADDRESS)?;
    let mut desk = desk.lock().expect("nobody panics while holding it");
    if let (3, Some(levers)) = (request.function, desk.levers(request.unit, unit)) {
        levers.overlay(address, &mut words);
    }
    Ok(words)
}

/// Registers that lie in one bank as a whole.
fn read(banks: &[Bank], address: u16, count: u16) -> Option<Vec<u16>> {
    banks.iter().find_map(|bank| {
        let first = usize::from(address.checked_sub(bank.start)?);
        bank.registers.get(first..first + usize::from(count)).map(<[u16]>::to_vec)
    })
}
