//! Ports for servers that are stopped and started again at the same address.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range that the system hands out to clients (32 768 and up on Linux), so that nobody
/// else is given the port while its server is away, and no client can connect to itself.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port on loopback that nobody listens on and that this process has not handed out before.
pub fn quiet_port() -> u16 {
    static TURN: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("less than 10 000");
    for _ in 0..COUNT {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(turn.wrapping_mul(7)) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("all ports from {FIRST} on are taken");
}
