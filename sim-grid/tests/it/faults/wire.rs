//! Each fault on the wire, byte by byte.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use sim_grid::faces::UnitRole;
use sim_grid::faults::{ChainEnd, Fault, Newcomer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{addr, of, of_port, street};

const METER: u8 = 2;
const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough to be sure that nothing comes: everything here is on the same machine.
const QUIET: Duration = Duration::from_millis(150);

struct Client(TcpStream);

impl Client {
    async fn connect(addr: SocketAddr) -> Self {
        Self(timeout(PATIENCE, TcpStream::connect(addr)).await.expect("in time").expect("opens"))
    }

    async fn ask(&mut self, number: u8, unit: u8, address: u16, count: u8) {
        let [high, low] = address.to_be_bytes();
        let request = [0, number, 0, 0, 0, 6, unit, 3, high, low, 0, count];
        self.0.write_all(&request).await.expect("sent");
    }

    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = timeout(PATIENCE, self.0.read_exact(&mut bytes)).await;
        read.expect("in time").expect("bytes");
        bytes
    }

    /// A whole frame: number, and everything from the unit on.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let header = self.bytes(6).await;
        assert_eq!(header[2..5], [0, 0, 0]);
        (header[1], self.bytes(header[5].into()).await)
    }

    async fn is_silent(&mut self) -> bool {
        timeout(QUIET, self.0.read_u8()).await.is_err()
    }

    /// How the connection ends; none when it was closed in good order.
    async fn end(&mut self) -> Option<ErrorKind> {
        let mut byte = [0];
        match timeout(PATIENCE, self.0.read(&mut byte)).await.expect("in time") {
            Ok(0) => None,
            Ok(_) => panic!("a byte"),
            Err(error) => Some(error.kind()),
        }
    }
}

const MARKER: [u8; 7] = [METER, 3, 4, 0x53, 0x75, 0x6e, 0x53];

#[tokio::test]
async fn a_late_reply_comes_late_and_the_next_one_behind_it() {
    let street = street(vec![of(UnitRole::Meter, Fault::LateReply { delay_ms: 300 })]).await;
    let mut client = Client::connect(addr(&street, "H2")).await;
    let asked = clock::stopwatch();
    client.ask(1, METER, 40_000, 2).await;
    client.ask(2, METER, 40_002, 1).await;
    assert!(client.is_silent().await);
    assert_eq!(client.frame().await, (1, MARKER.to_vec()));
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert_eq!(client.frame().await, (2, vec![METER, 3, 2, 0, 1]));
    assert!(asked.elapsed() >= Duration::from_millis(600));
}

#[tokio::test]
async fn the_previous_reply_keeps_its_number_or_gets_the_present_one() {
    for (renumbered, number) in [(false, 1), (true, 2)] {
        let street = street(vec![of_port(Fault::PreviousReply { renumbered })]).await;
        let mut client = Client::connect(addr(&street, "H2")).await;
        client.ask(1, METER, 40_000, 2).await;
        assert_eq!(client.frame().await, (1, MARKER.to_vec()));
        client.ask(2, METER, 40_002, 1).await;
        assert_eq!(client.frame().await, (number, MARKER.to_vec()));
    }
}

#[tokio::test]
async fn exceptions_are_those_that_were_ordered_and_of_that_unit_alone() {
    for code in [2, 4, 5, 6, 0x0a, 0x0b] {
        let street = street(vec![of(UnitRole::Meter, Fault::Exception { code })]).await;
        let mut client = Client::connect(addr(&street, "H2")).await;
        client.ask(1, METER, 40_000, 2).await;
        assert_eq!(client.frame().await, (1, vec![METER, 0x83, code]));
        client.ask(2, 1, 40_000, 2).await;
        assert_eq!(client.frame().await.1[2..], MARKER[2..]);
    }
}

#[tokio::test]
async fn half_a_frame_is_all_that_comes() {
    let street = street(vec![of(UnitRole::Meter, Fault::HalfFrame {})]).await;
    let mut client = Client::connect(addr(&street, "H2")).await;
    client.ask(1, METER, 40_000, 2).await;
    assert_eq!(client.bytes(6).await, [0, 1, 0, 0, 0, 7]);
    assert!(client.is_silent().await);
}

#[tokio::test]
async fn a_connection_is_reset_after_its_answers() {
    let street = street(vec![of_port(Fault::Reset { after_requests: 2 })]).await;
    for _ in 0..2 {
        let mut client = Client::connect(addr(&street, "H2")).await;
        for number in 1..=2 {
            client.ask(number, METER, 40_000, 2).await;
            assert_eq!(client.frame().await, (number, MARKER.to_vec()));
        }
        client.ask(3, METER, 40_000, 2).await;
        assert_eq!(client.end().await, Some(ErrorKind::ConnectionReset));
    }
}

#[tokio::test]
async fn a_second_client_is_refused_or_takes_the_place() {
    for newcomer in [Newcomer::Refused, Newcomer::Replaces] {
        let street = street(vec![of_port(Fault::SingleClient { newcomer })]).await;
        let mut first = Client::connect(addr(&street, "H2")).await;
        first.ask(1, METER, 40_000, 2).await;
        assert_eq!(first.frame().await, (1, MARKER.to_vec()));
        let second = Client::connect(addr(&street, "H2")).await;
        let (mut gone, mut stays) = match newcomer {
            Newcomer::Refused => (second, first),
            Newcomer::Replaces => (first, second),
        };
        gone.end().await;
        stays.ask(2, METER, 40_000, 2).await;
        assert_eq!(stays.frame().await, (2, MARKER.to_vec()), "{newcomer:?}");
    }
}

#[tokio::test]
async fn a_device_is_deaf_after_connecting() {
    let street = street(vec![of_port(Fault::Deaf { connect_ms: 400 })]).await;
    let mut client = Client::connect(addr(&street, "H2")).await;
    let connected = clock::stopwatch();
    client.ask(1, METER, 40_000, 2).await;
    assert!(client.is_silent().await);
    tokio::time::sleep(Duration::from_millis(450).saturating_sub(connected.elapsed())).await;
    client.ask(2, METER, 40_000, 2).await;
    assert_eq!(client.frame().await, (2, MARKER.to_vec()), "what was asked before is lost");
}

#[tokio::test]
async fn a_unit_behind_a_gateway_is_offline_and_the_others_are_not() {
    for code in [None, Some(10), Some(11)] {
        let street = street(vec![of(UnitRole::Meter, Fault::UnitOffline { code })]).await;
        let mut client = Client::connect(addr(&street, "H2")).await;
        client.ask(1, METER, 40_000, 2).await;
        match code {
            None => assert!(client.is_silent().await),
            Some(code) => assert_eq!(client.frame().await, (1, vec![METER, 0x83, code])),
        }
        client.ask(2, 3, 40_000, 2).await;
        assert_eq!(client.frame().await.1[2..], MARKER[2..]);
    }
}

#[tokio::test]
async fn chains_start_and_end_elsewhere() {
    // The meter's models end after marker, model 1 (68 registers) and model 203 (107).
    const END: u16 = 40_002 + 68 + 107;
    let ends: [(ChainEnd, &[u8]); 3] = [
        (ChainEnd::Zero, &[3, 4, 0, 0, 0, 0]),
        (ChainEnd::Refused, &[0x83, 2]),
        (ChainEnd::Loop, &[3, 4, 0xfa, 1, 0xff, 0xfe]),
    ];
    for (how, answer) in ends {
        let street = street(vec![of(UnitRole::Meter, Fault::ChainEnd { how })]).await;
        let mut client = Client::connect(addr(&street, "H2")).await;
        client.ask(1, METER, END, 2).await;
        assert_eq!(client.frame().await.1[1..], *answer, "{how:?}");
    }
    for address in [0, 40_001, 50_000] {
        let street = street(vec![of(UnitRole::Meter, Fault::Base { address })]).await;
        let mut client = Client::connect(addr(&street, "H2")).await;
        client.ask(1, METER, address, 2).await;
        assert_eq!(client.frame().await, (1, MARKER.to_vec()));
        client.ask(2, METER, 40_000, 2).await;
        assert_eq!(client.frame().await, (2, vec![METER, 0x83, 2]));
    }
}
