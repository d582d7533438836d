//! A gateway with a serial line behind it, made of raw bytes, that misbehaves as real ones do: the
//! line is one for all connections, its devices answer in order, and what comes late goes to whoever
//! is connected then.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meter_agent::Chance;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What the gateway makes of the serial line's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Modbus TCP.
    Tcp,
    /// It passes the bytes on.
    Rtu,
}

/// How a unit treats one request.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// The answer comes after this many milliseconds.
    Late(u64),
    /// The same, with the number of the newest request: the gateway takes it for that one's answer.
    LateRenumbered(u64),
    /// The answer to the request before comes instead, as if it were for this one.
    Previous,
    /// The answer comes twice.
    Twice,
    /// Half of the answer comes.
    Half,
    /// Noise comes before the answer.
    Noise,
    /// A bit is wrong (RTU: the checksum tells).
    Flip,
    /// An exception comes.
    Exception(u8),
    /// The gateway says that the device does not answer, and then it does.
    GivenUp,
    /// Nothing comes.
    Silence,
    /// The connection is reset.
    Reset,
}

/// What a register holds: no two registers of the first ten thousand hold the same.
pub fn truth(unit: u8, function: u8, address: u16) -> u16 {
    address.wrapping_mul(5).wrapping_add(u16::from(unit) << 8).wrapping_add(u16::from(function))
}

/// Which troubles come, each with its weight out of a thousand requests.
pub type Weather = Vec<(u64, Trouble)>;

struct Shared {
    framing: Framing,
    weather: Mutex<(Weather, Chance)>,
    /// Units that take so long, or never answer.
    slow: Mutex<BTreeMap<u8, Option<Duration>>>,
    troubles: AtomicU64,
    /// Where answers go: the newest connection.
    out: Mutex<Option<mpsc::UnboundedSender<Option<Vec<u8>>>>>,
    line: mpsc::UnboundedSender<Request>,
    newest: Mutex<[u8; 2]>,
}

struct Request {
    transaction: [u8; 2],
    unit: u8,
    function: u8,
    address: u16,
    count: u16,
}

/// The gateway; it goes away when dropped.
pub struct Gateway {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Gateway {
    /// Listens on a free port.
    pub async fn start(framing: Framing, weather: Weather) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (shared, mut tasks) = shared(framing, weather);
        let accepting = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                serving.spawn(connection(stream, Arc::clone(&accepting)));
            }
        });
        Self { address, shared, _tasks: tasks }
    }

    /// Sits at the other end of a serial line.
    pub fn on_wire(wire: impl AsyncRead + AsyncWrite + Send + 'static, weather: Weather) -> Self {
        let (shared, mut tasks) = shared(Framing::Rtu, weather);
        tasks.spawn(connection(wire, Arc::clone(&shared)));
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self { address, shared, _tasks: tasks }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// A unit takes this long for every answer; `None` = it never answers.
    pub fn slow(&self, unit: u8, takes: Option<Duration>) {
        self.shared.slow.lock().expect("not poisoned").insert(unit, takes);
    }

    /// Changes which troubles come.
    pub fn weather(&self, weather: Weather) {
        self.shared.weather.lock().expect("not poisoned").0 = weather;
    }

    /// How many requests met with trouble.
    pub fn troubles(&self) -> u64 {
        self.shared.troubles.load(Ordering::Relaxed)
    }
}

fn shared(framing: Framing, weather: Weather) -> (Arc<Shared>, JoinSet<()>) {
    let (line, requests) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        framing,
        weather: Mutex::new((weather, Chance::seeded(2026))),
        slow: Mutex::default(),
        troubles: AtomicU64::new(0),
        out: Mutex::new(None),
        line,
        newest: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(serial_line(Arc::clone(&shared), requests));
    (shared, tasks)
}

/// Takes requests off a connection and brings answers to it, until it is replaced.
async fn connection(stream: impl AsyncRead + AsyncWrite, shared: Arc<Shared>) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (out, mut answers) = mpsc::unbounded_channel();
    *shared.out.lock().expect("not poisoned") = Some(out);
    let head = if shared.framing == Framing::Tcp { 12 } else { 8 };
    let mut request = vec![0; head];
    let reading = async {
        while reader.read_exact(&mut request).await.is_ok() {
            let body = if shared.framing == Framing::Tcp { &request[6..] } else { &request[..] };
            let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
            *shared.newest.lock().expect("not poisoned") = [request[0], request[1]];
            let _ = shared.line.send(Request {
                transaction: [request[0], request[1]],
                unit: body[0],
                function: body[1],
                address: word(2),
                count: word(4),
            });
        }
    };
    let writing = async {
        while let Some(Some(bytes)) = answers.recv().await {
            if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

/// The line: one request after the other, whoever asked.
async fn serial_line(shared: Arc<Shared>, mut requests: mpsc::UnboundedReceiver<Request>) {
    let mut before: Option<Vec<u8>> = None;
    while let Some(mut request) = requests.recv().await {
        let takes = shared.slow.lock().expect("not poisoned").get(&request.unit).copied();
        match takes {
            Some(None) => continue,
            Some(Some(takes)) => sleep(takes).await,
            None => {}
        }
        let trouble = draw(&shared);
        if let Some(Trouble::Late(ms) | Trouble::LateRenumbered(ms)) = trouble {
            sleep(Duration::from_millis(ms)).await;
        }
        if let Some(Trouble::LateRenumbered(_)) = trouble {
            request.transaction = *shared.newest.lock().expect("not poisoned");
        }
        let bytes: Vec<u8> = (request.address..)
            .take(usize::from(request.count))
            .flat_map(|address| truth(request.unit, request.function, address).to_be_bytes())
            .collect();
        let mut body =
            vec![request.unit, request.function, u8::try_from(bytes.len()).expect("≤ 250")];
        body.extend(bytes);
        let right = body.clone();
        match trouble {
            Some(Trouble::Previous) => body = before.clone().unwrap_or(body),
            Some(Trouble::Exception(code)) => {
                body = vec![request.unit, request.function | 0x80, code]
            }
            Some(Trouble::GivenUp) => {
                let refusal = vec![request.unit, request.function | 0x80, 0x0b];
                send(&shared, Some(framed(&shared, &request, &refusal)));
            }
            Some(Trouble::Silence) => continue,
            Some(Trouble::Reset) => {
                send(&shared, None);
                continue;
            }
            _ => {}
        }
        before = Some(right);
        let mut answer = framed(&shared, &request, &body);
        match trouble {
            Some(Trouble::Twice) => answer.extend(answer.clone()),
            Some(Trouble::Half) => answer.truncate(answer.len() / 2),
            Some(Trouble::Noise) => answer.splice(0..0, [0xff, 0x00, 0x37]).for_each(drop),
            Some(Trouble::Flip) => {
                let at = answer.len() - 3;
                answer[at] ^= 4;
            }
            _ => {}
        }
        send(&shared, Some(answer));
    }
}

fn draw(shared: &Shared) -> Option<Trouble> {
    let mut weather = shared.weather.lock().expect("not poisoned");
    let mut ball = weather.1.below(1_000);
    let drawn = weather.0.iter().find_map(|(weight, trouble)| {
        if ball < *weight {
            return Some(*trouble);
        }
        ball -= weight;
        None
    });
    shared.troubles.fetch_add(u64::from(drawn.is_some()), Ordering::Relaxed);
    drawn
}

/// Over TCP an answer carries the number of the request that the gateway thinks it answers.
fn framed(shared: &Shared, request: &Request, body: &[u8]) -> Vec<u8> {
    match shared.framing {
        Framing::Tcp => {
            let length = u16::try_from(body.len()).expect("≤ 253");
            [&request.transaction[..], &[0, 0], &length.to_be_bytes()[..], body].concat()
        }
        Framing::Rtu => [body, &checksum(body).to_le_bytes()].concat(),
    }
}

fn send(shared: &Shared, bytes: Option<Vec<u8>>) {
    if let Some(out) = &*shared.out.lock().expect("not poisoned") {
        let _ = out.send(bytes);
    }
}

/// CRC-16 by table-free long division, written apart from the agent's.
fn checksum(bytes: &[u8]) -> u16 {
    let mut crc: u32 = 0xffff;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc % 2;
            crc /= 2;
            if carry == 1 {
                crc ^= 0xa001;
            }
        }
    }
    u16::try_from(crc).expect("16 bits")
}
