//! A Modbus TCP device made of raw bytes, so that it can misbehave in every way.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the next answer does instead of being right.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Comes late.
    Late(Duration),
    /// Ends in the middle.
    HalfFrame,
    /// Has one register too few.
    TooShort,
    /// Has one register too many.
    TooLong,
    /// Belongs to another request.
    WrongTransaction,
    /// Comes from another unit.
    WrongUnit,
    /// Is an exception.
    Exception(u8),
    /// The connection closes instead.
    Close,
    /// Never comes.
    Silence,
}

#[derive(Debug, Default)]
pub struct Content {
    /// By unit, function and address.
    registers: BTreeMap<(u8, u8, u16), u16>,
    faults: VecDeque<Fault>,
    requests: u64,
    /// Units that never answer, and how often they were asked.
    mute: BTreeMap<u8, u64>,
    connections: u64,
    functions: Vec<u8>,
    /// Unit, function, first register and words of everything that was written.
    writes: Vec<Written>,
    /// What a writing is answered with instead of being done.
    refuses: Option<u8>,
}

/// Unit, function, first register and words.
pub type Written = (u8, u8, u16, Vec<u16>);

/// The device; it goes away when dropped.
#[derive(Debug)]
pub struct Device {
    pub address: SocketAddr,
    content: Arc<Mutex<Content>>,
    _tasks: JoinSet<()>,
}

impl Device {
    pub async fn start() -> Self {
        Self::listen(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port"))
    }

    fn listen(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("bound");
        let content = Arc::new(Mutex::new(Content::default()));
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&content);
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().expect("not poisoned").connections += 1;
                serving.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, content, _tasks: tasks }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Puts registers at an address of a unit, for one function code.
    pub fn put(&self, unit: u8, function: u8, address: u16, words: &[u16]) {
        let mut content = self.content.lock().expect("not poisoned");
        for (&word, address) in words.iter().zip(address..) {
            content.registers.insert((unit, function, address), word);
        }
    }

    /// Forgets the faults to come.
    pub fn heal(&self) {
        self.content.lock().expect("not poisoned").faults.clear();
    }

    pub fn fail(&self, faults: &[Fault]) {
        self.content.lock().expect("not poisoned").faults.extend(faults);
    }

    /// Makes a unit silent.
    pub fn mute(&self, unit: u8) {
        self.content.lock().expect("not poisoned").mute.insert(unit, 0);
    }

    /// How often a silent unit was asked.
    pub fn asked_in_vain(&self, unit: u8) -> u64 {
        self.content.lock().expect("not poisoned").mute[&unit]
    }

    pub fn requests(&self) -> u64 {
        self.content.lock().expect("not poisoned").requests
    }

    pub fn connections(&self) -> u64 {
        self.content.lock().expect("not poisoned").connections
    }

    /// Everything that was ever written, or tried to be.
    pub fn writes(&self) -> Vec<Written> {
        self.content.lock().expect("not poisoned").writes.clone()
    }

    /// Refuses every writing with an exception.
    pub fn refuse(&self, code: u8) {
        self.content.lock().expect("not poisoned").refuses = Some(code);
    }

    /// Every function code that was ever asked for.
    pub fn functions(&self) -> Vec<u8> {
        self.content.lock().expect("not poisoned").functions.clone()
    }
}

async fn serve(mut stream: TcpStream, content: Arc<Mutex<Content>>) {
    let _ = stream.set_nodelay(true);
    loop {
        let mut head = [0; 12];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let (unit, function) = (head[6], head[7]);
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let (address, count) = (word(8), word(10));
        let mut tail = [0; 256];
        if function == 16 {
            let bytes = usize::from(count) * 2 + 1;
            if stream.read_exact(&mut tail[..bytes]).await.is_err() {
                return;
            }
        }
        if matches!(function, 6 | 16) {
            let reply = write(&head, &tail, &content);
            if stream.write_all(&reply).await.is_err() {
                return;
            }
            continue;
        }
        let (fault, words) = {
            let mut content = content.lock().expect("not poisoned");
            content.requests += 1;
            if let Some(asked) = content.mute.get_mut(&unit) {
                *asked += 1;
                continue;
            }
            if !content.functions.contains(&function) {
                content.functions.push(function);
            }
            let words: Option<Vec<u16>> = (address..)
                .take(usize::from(count))
                .map(|at| content.registers.get(&(unit, function, at)).copied())
                .collect();
            (content.faults.pop_front(), words.filter(|words| words.len() == usize::from(count)))
        };
        let mut words = words;
        let mut reply = head[..2].to_vec();
        let mut answering_unit = unit;
        match fault {
            Some(Fault::Late(wait)) => tokio::time::sleep(wait).await,
            Some(Fault::TooShort) => words = words.map(|w| w[..w.len() - 1].to_vec()),
            Some(Fault::TooLong) => words.iter_mut().for_each(|w| w.push(0)),
            Some(Fault::WrongTransaction) => reply[1] = reply[1].wrapping_add(1),
            Some(Fault::WrongUnit) => answering_unit = unit.wrapping_add(1),
            Some(Fault::Close) => return,
            Some(Fault::Silence) => continue,
            Some(Fault::HalfFrame | Fault::Exception(_)) | None => {}
        }
        let body = body(function, fault, words);
        let length = u16::try_from(body.len() + 1).expect("bounded");
        reply.extend([0, 0]);
        reply.extend(length.to_be_bytes());
        reply.push(answering_unit);
        reply.extend(body);
        if matches!(fault, Some(Fault::HalfFrame)) {
            reply.truncate(reply.len() / 2);
            let _ = stream.write_all(&reply).await;
            return;
        }
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}

/// Function code and content of an answer.
fn body(function: u8, fault: Option<Fault>, words: Option<Vec<u16>>) -> Vec<u8> {
    match (fault, words) {
        (Some(Fault::Exception(code)), _) => vec![function | 0x80, code],
        (_, None) => vec![function | 0x80, 2],
        (_, Some(words)) => {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let mut body = vec![function, u8::try_from(bytes.len()).expect("bounded")];
            body.extend(bytes);
            body
        }
    }
}

/// Writes what a request says, and answers it.
fn write(head: &[u8; 12], tail: &[u8], content: &Mutex<Content>) -> Vec<u8> {
    let (unit, function) = (head[6], head[7]);
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (address, count) = (word(8), word(10));
    let words: Vec<u16> = match function {
        6 => vec![count],
        _ => tail[1..=usize::from(count) * 2]
            .chunks(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect(),
    };
    let mut content = content.lock().expect("not poisoned");
    content.requests += 1;
    content.functions.push(function);
    content.writes.push((unit, function, address, words.clone()));
    let mut reply = head[..4].to_vec();
    match content.refuses {
        Some(code) => reply.extend([0, 3, unit, function | 0x80, code]),
        None => {
            for (&word, at) in words.iter().zip(address..) {
                content.registers.insert((unit, 3, at), word);
            }
            reply.extend([0, 6]);
            reply.extend(&head[6..12]);
        }
    }
    reply
}

/// A SunSpec image from a base address: marker, then (id, content after id and length), then the
/// end.
pub fn sunspec(models: &[(u16, &[u16])]) -> Vec<u16> {
    let mut image = vec![0x5375, 0x6e53];
    for (id, content) in models {
        image.push(*id);
        image.push(u16::try_from(content.len()).expect("bounded"));
        image.extend_from_slice(content);
    }
    image.extend([0xffff, 0]);
    image
}

/// Content of a model with some registers set, the rest not available; offsets count from the id.
pub fn model(length: usize, set: &[(usize, u16)]) -> Vec<u16> {
    let mut content = vec![0x8000; length];
    for &(offset, word) in set {
        content[offset - 2] = word;
    }
    content
}

/// A model-203 meter: import and export in Wh, power in W, 230 V.
pub fn meter_203(import_wh: u32, export_wh: u32, power_w: i16) -> Vec<u16> {
    let half = |value: u32| [(value >> 16) as u16, (value & 0xffff) as u16];
    let ([import_high, import_low], [export_high, export_low]) = (half(import_wh), half(export_wh));
    model(
        105,
        &[
            (8, 2_301),
            (9, 2_302),
            (10, 2_303),
            (15, -1_i16 as u16),
            (18, power_w as u16),
            (22, 0),
            (38, export_high),
            (39, export_low),
            (46, import_high),
            (47, import_low),
            (54, 0),
        ],
    )
}
