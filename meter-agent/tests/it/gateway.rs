//! Lines behind gateways that are late, noisy and confused: never a register that is another's.

use std::time::Duration;

use meter_agent::Chance;
use meter_agent::modbus::{Ask, Function, Line, Place, Rank, Read, ReadError};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::gateway::{Framing, Gateway, Trouble, Weather, truth};

const TIMEOUT: Duration = Duration::from_millis(12);

fn line(gateway: &Gateway, framing: Framing) -> Line {
    let place = match framing {
        Framing::Tcp => Place::Tcp(gateway.host()),
        Framing::Rtu => Place::RtuOverTcp(gateway.host()),
    };
    Line::open(place, Chance::seeded(11))
}

fn ask(unit: u8, address: u16, count: u16, timeout: Duration) -> Ask {
    let read = Read::new(unit, Function::Holding, address, count).expect("possible");
    // Slot edges are never put off, so that the test does not wait for silent units.
    Ask { rank: Rank::Edge, ..Ask::new(read, timeout) }
}

fn right(read: Read) -> Vec<u16> {
    let function = read.function().code();
    (read.address()..)
        .take(read.count().into())
        .map(|at| truth(read.unit(), function, at))
        .collect()
}

/// Polls registers of sixteen units in blocks of the same length, as fast as it goes; returns how many
/// came, after checking every single one. A poll that was never sent is none.
async fn poll(line: &Line, times: u32, what: &str) -> u32 {
    let (mut answered, mut time, mut unit) = (0, 0, 0);
    while time < times {
        unit = unit % 16 + 1;
        let address = u16::try_from(time % 997).expect("small") * 10;
        let ask = ask(unit, address, 10, TIMEOUT);
        match line.read(ask).await {
            Ok(answer) => {
                assert_eq!(answer, right(ask.read), "{what}: poll {time} of unit {unit}");
                answered += 1;
            }
            Err(ReadError::LeftAlone { .. }) => {
                tokio::task::yield_now().await;
                continue;
            }
            Err(_) => {}
        }
        time += 1;
    }
    answered
}

/// Late by more than the agent waits: by a little, by a lot, and by several requests.
fn late() -> Weather {
    vec![
        (3, Trouble::Late(14)),
        (3, Trouble::Late(45)),
        (2, Trouble::LateRenumbered(14)),
        (2, Trouble::LateRenumbered(25)),
    ]
}

fn everything() -> Weather {
    vec![
        (6, Trouble::Late(14)),
        (3, Trouble::Late(40)),
        (3, Trouble::LateRenumbered(25)),
        (5, Trouble::Previous),
        (5, Trouble::Twice),
        (5, Trouble::Half),
        (5, Trouble::Noise),
        (5, Trouble::Exception(4)),
        (5, Trouble::Exception(6)),
        (3, Trouble::GivenUp),
        (4, Trouble::Silence),
        (3, Trouble::Reset),
    ]
}

/// Ten thousand polls without a register that is another's, and most of them answered.
async fn never_a_wrong_register(framing: Framing, weather: Weather) {
    let gateway = Gateway::start(framing, weather).await;
    let line = line(&gateway, framing);
    let answered = poll(&line, 10_000, "through a bad gateway").await;
    let troubles = gateway.troubles();
    assert!(troubles > 60, "{troubles} troubles are no test");
    assert!(answered > 9_000, "{answered} of 10000 came, {troubles} troubles");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_polls_through_a_late_rtu_gateway() {
    never_a_wrong_register(Framing::Rtu, late()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_polls_through_a_late_tcp_gateway() {
    never_a_wrong_register(Framing::Tcp, late()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_polls_through_an_rtu_gateway_with_every_trouble() {
    never_a_wrong_register(Framing::Rtu, everything()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_polls_through_a_tcp_gateway_with_every_trouble() {
    never_a_wrong_register(Framing::Tcp, everything()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_bit_never_passes_the_checksum() {
    let gateway = Gateway::start(Framing::Rtu, vec![(500, Trouble::Flip)]).await;
    let answered = poll(&line(&gateway, Framing::Rtu), 200, "flips").await;
    assert!((40..160).contains(&answered), "{answered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_stall_right_values_come_within_two_polls() {
    for framing in [Framing::Tcp, Framing::Rtu] {
        let gateway = Gateway::start(framing, Vec::new()).await;
        let line = line(&gateway, framing);
        let timeout = Duration::from_millis(150);
        line.read(ask(1, 0, 10, timeout)).await.expect("well");
        gateway.weather(vec![(1_000, Trouble::Late(400))]);
        let error = line.read(ask(1, 10, 10, timeout)).await.expect_err("stalled");
        assert!(matches!(error, ReadError::Timeout { .. }), "{error}");
        gateway.weather(Vec::new());
        // Polls come once a second; the stall is over when the next one comes.
        let mut polls = 0;
        let started = Instant::now();
        let answer = loop {
            polls += 1;
            let next = ask(1, 20, 10, Duration::from_millis(400));
            match line.read(next).await {
                Ok(answer) => break answer,
                Err(error) => assert!(polls < 2, "{framing:?}: {error}"),
            }
        };
        assert_eq!(answer, right(ask(1, 20, 10, timeout).read), "{framing:?}");
        assert!(started.elapsed() < Duration::from_secs(1), "{framing:?}");
    }
}

/// Polls units side by side once every 20 ms for a while; returns how often each answered.
async fn side_by_side(line: &Line, units: u8, timeout: Duration, rounds: u32) -> Vec<u32> {
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for unit in 1..=units {
        let line = line.clone();
        tasks.spawn(async move {
            let mut answered = 0;
            for round in 0..rounds {
                let due = start + Duration::from_millis(20) * round;
                if Instant::now() > due + Duration::from_millis(20) {
                    continue;
                }
                tokio::time::sleep_until(due).await;
                let ask = Ask { rank: Rank::Poll, ..ask(unit, 0, 10, timeout) };
                answered += u32::from(line.read(ask).await.is_ok());
            }
            (unit, answered)
        });
    }
    let mut answered = tasks.join_all().await;
    answered.sort_unstable();
    answered.into_iter().map(|(_, answered)| answered).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_dead_units_of_five_leave_the_others_their_rate() {
    for framing in [Framing::Tcp, Framing::Rtu] {
        let gateway = Gateway::start(framing, Vec::new()).await;
        gateway.slow(2, None);
        gateway.slow(4, None);
        let line = line(&gateway, framing);
        let answered = side_by_side(&line, 5, Duration::from_millis(60), 300).await;
        for unit in [1, 3, 5] {
            assert!(answered[unit - 1] >= 270, "{framing:?}: {answered:?} of 300");
        }
        assert_eq!((answered[1], answered[3]), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_unit_keeps_to_its_share() {
    let gateway = Gateway::start(Framing::Tcp, Vec::new()).await;
    gateway.slow(3, Some(Duration::from_millis(200)));
    let line = line(&gateway, Framing::Tcp);
    let answered = side_by_side(&line, 5, Duration::from_secs(1), 1_000).await;
    // Two seconds are saved up at the start, then a fifth of the time.
    assert!((10..=40).contains(&answered[2]), "{answered:?}");
    for unit in [1, 2, 4, 5] {
        assert!(answered[unit - 1] >= 600, "{answered:?} of 1000");
    }
}

#[tokio::test]
async fn a_device_that_is_deaf_after_connecting_is_given_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = listener.local_addr().expect("bound").to_string();
    let deaf = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut connections = 0;
        loop {
            let (mut stream, _) = listener.accept().await.expect("a client");
            connections += 1;
            // Whatever comes in the first 700 ms is lost.
            let started = Instant::now();
            let mut request = [0; 12];
            while stream.read_exact(&mut request).await.is_ok() {
                if started.elapsed() < Duration::from_millis(700) {
                    continue;
                }
                let bytes = request[11] * 2;
                let mut answer = vec![request[0], request[1], 0, 0, 0, 3 + bytes, 1, 3, bytes];
                answer.resize(9 + usize::from(bytes), 42);
                stream.write_all(&answer).await.expect("still there");
                if bytes == 8 {
                    return connections;
                }
            }
        }
    });
    let line = Line::open(Place::Tcp(host), Chance::seeded(1));
    let ask = ask(1, 0, 4, Duration::from_millis(30));
    let mut tries = 1;
    while line.read(ask).await.is_err() {
        tries += 1;
        assert!(tries < 9, "it never hears");
    }
    let connections = deaf.await.expect("answered");
    assert!((4..=6).contains(&connections), "{connections}");
}
