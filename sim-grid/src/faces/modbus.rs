//! One house as a Modbus TCP server: read-only, function codes 3 and 4, several units behind one
//! port.
//!
//! A request is answered from one image, so values and scale factors of an answer belong to the
//! same moment. Refusals are Modbus exceptions: 1 for any other function, 2 for an address that
//! does not exist, 3 for a count that no device accepts, 11 for a unit that is not there.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_modbus::prelude::{ExceptionCode, Request, Response, SlaveRequest};
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;

use crate::devices::{Bank, DeviceImage};

/// Most clients of one house at a time.
const MAX_CLIENTS: usize = 8;
/// Pause after a failed accept (out of file descriptors, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The server of a house; it ends when this is dropped.
pub(crate) struct ModbusHouse {
    addr: SocketAddr,
    image: watch::Sender<Arc<DeviceImage>>,
    _server: JoinSet<()>,
}

impl ModbusHouse {
    /// Binds the address (port 0: any free port) and starts to answer from the image.
    pub async fn start(addr: SocketAddr, image: Arc<DeviceImage>) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let (sender, receiver) = watch::channel(image);
        let mut server = JoinSet::new();
        server.spawn(serve(Server::new(listener), receiver));
        Ok(Self { addr, image: sender, _server: server })
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Shows a new image from now on.
    pub fn show(&self, image: Arc<DeviceImage>) {
        self.image.send_replace(image);
    }
}

async fn serve(server: Server, image: watch::Receiver<Arc<DeviceImage>>) {
    let clients = Arc::new(AtomicUsize::new(0));
    let on_connected = |stream: TcpStream, peer: SocketAddr| {
        let connection = Connection::admit(&clients, &image);
        async move {
            let Some(connection) = connection else {
                tracing::warn!(%peer, "refused: this house already has {MAX_CLIENTS} clients");
                return Ok(None);
            };
            stream.set_nodelay(true).ok();
            Ok(Some((connection, stream)))
        }
    };
    loop {
        let on_error = |error: io::Error| tracing::debug!(%error, "a client went away");
        if let Err(error) = server.serve(&on_connected, on_error).await {
            tracing::warn!(%error, "cannot accept clients; trying again");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// One client of a house.
struct Connection {
    image: watch::Receiver<Arc<DeviceImage>>,
    clients: Arc<AtomicUsize>,
}

impl Connection {
    /// Counts a client, unless there are too many.
    fn admit(
        clients: &Arc<AtomicUsize>,
        image: &watch::Receiver<Arc<DeviceImage>>,
    ) -> Option<Self> {
        let admitted = clients
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count < MAX_CLIENTS).then_some(count + 1)
            })
            .is_ok();
        admitted.then(|| Self { image: image.clone(), clients: Arc::clone(clients) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.clients.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Service for Connection {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let image = Arc::clone(&self.image.borrow());
        ready(answer(&image, request.slave, &request.request))
    }
}

/// The answer of a house to one request.
fn answer(image: &DeviceImage, unit: u8, request: &Request<'_>) -> Result<Response, ExceptionCode> {
    let unit = image.units.get(&unit).ok_or(ExceptionCode::GatewayTargetDevice)?;
    let (banks, address, count) = match *request {
        Request::ReadHoldingRegisters(address, count) => (&unit.holding, address, count),
        Request::ReadInputRegisters(address, count) => (&unit.input, address, count),
        _ => return Err(ExceptionCode::IllegalFunction),
    };
    if banks.is_empty() {
        return Err(ExceptionCode::IllegalFunction);
    }
    if count == 0 || count > unit.max_registers || (unit.even && !count.is_multiple_of(2)) {
        return Err(ExceptionCode::IllegalDataValue);
    }
    if unit.even && !address.is_multiple_of(2) {
        return Err(ExceptionCode::IllegalDataAddress);
    }
    let registers = read(banks, address, count).ok_or(ExceptionCode::IllegalDataAddress)?;
    Ok(match request {
        Request::ReadInputRegisters(..) => Response::ReadInputRegisters(registers),
        _ => Response::ReadHoldingRegisters(registers),
    })
}

/// Registers that lie in one bank as a whole.
fn read(banks: &[Bank], address: u16, count: u16) -> Option<Vec<u16>> {
    banks.iter().find_map(|bank| {
        let first = usize::from(address.checked_sub(bank.start)?);
        bank.registers.get(first..first + usize::from(count)).map(<[u16]>::to_vec)
    })
}
