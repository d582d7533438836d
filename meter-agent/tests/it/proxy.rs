//! Other programs read on through the agent, and the agent's own polls do not notice.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use clock::Clock;
use meter_agent::Chance;
use meter_agent::config::Config;
use meter_agent::device::{Observed, Quantity};
use meter_agent::modbus::{Line, Place, Rank, Unit};
use meter_agent::proxy::{Proxy, ProxyConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::device::{Device, Fault, meter_203, sunspec};

const METER: u8 = 2;

/// A household with a meter and an inverter behind one line, a proxy, and the agent's own reading.
struct Household {
    device: Device,
    line: Line,
    meter: Unit,
    proxy: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Household {
    async fn new(max_age_ms: u64, max_clients: u64) -> Self {
        let device = Device::start().await;
        let image = sunspec(&[(1, &[0; 66]), (203, &meter_203(123_456, 789, -321))]);
        device.put(METER, 3, 40_000, &image);
        let text = crate::support::HOUSEHOLD.replace("127.0.0.1:5020", &device.host());
        let config = Config::parse(&text, "example").expect("a configuration");
        let maps = config.maps().expect("known");
        let listen = "127.0.0.1:0".parse().expect("an address");
        let proxy = ProxyConfig { listen, devices: Vec::new(), max_age_ms, max_clients };
        proxy.check(&config).expect("in order");
        let meter = Unit::new(METER, maps[0].clone(), Some(1_000));
        let proxy = Proxy::open(&proxy, &config, &maps).expect("a port");
        let address = proxy.address().expect("bound");
        let place = Place::Tcp(device.host());
        let line = Line::open(place.clone(), Chance::seeded(4));
        let lines = [(place, line.guest())].into_iter().collect();
        let (clock, _hand) = Clock::manual(units::Slot::new(1_000).start_ms() + 60_000);
        let mut tasks = JoinSet::new();
        tasks.spawn(proxy.serve(lines, clock));
        Self { device, line, meter, proxy: address, _tasks: tasks }
    }

    async fn poll(&mut self) {
        let readout = self.meter.read(&self.line, Rank::Poll, 0).await.expect("polled");
        assert_eq!(readout.observed(Quantity::EnergyImport), Observed::Value(123_456_000));
    }
}

/// One request over a connection: unit, function, address, count; the answer from the function on.
async fn request(stream: &mut TcpStream, unit: u8, function: u8, at: u16, count: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0, 0, 0, 6, unit, function];
    bytes.extend(at.to_be_bytes());
    bytes.extend(count.to_be_bytes());
    stream.write_all(&bytes).await.expect("sent");
    let mut head = [0; 7];
    stream.read_exact(&mut head).await.expect("answered");
    assert_eq!((&head[..4], head[6]), (&bytes[..4], unit));
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) - 1];
    stream.read_exact(&mut body).await.expect("whole");
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_read_while_the_household_polls_over_the_same_connection() {
    let mut household = Household::new(0, 8).await;
    household.poll().await;
    let mut guests = JoinSet::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(household.proxy).await.expect("let in");
        guests.spawn(async move {
            for _ in 0..50 {
                let answer = request(&mut stream, METER, 3, 40_000, 4).await;
                assert_eq!(answer, [3, 8, 0x53, 0x75, 0x6e, 0x53, 0, 1, 0, 66]);
            }
        });
    }
    for _ in 0..50 {
        household.poll().await;
    }
    guests.join_all().await;
    assert_eq!(household.device.connections(), 1, "one client for the device");
    assert_eq!(household.device.functions(), [3], "nothing but reading");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fresh_comes_from_memory() {
    let mut household = Household::new(60_000, 8).await;
    household.poll().await;
    let mut stream = TcpStream::connect(household.proxy).await.expect("let in");
    let before = household.device.requests();
    // The meter's block, which the household has just read: its id and length, and a part of it.
    let first = request(&mut stream, METER, 3, 40_070, 2).await;
    assert_eq!(first, [3, 4, 0, 203, 0, 105]);
    request(&mut stream, METER, 3, 40_086, 3).await;
    assert_eq!(household.device.requests(), before);
    request(&mut stream, METER, 3, 40_175, 4).await;
    request(&mut stream, METER, 3, 40_176, 2).await;
    assert_eq!(household.device.requests(), before + 1, "asked once, then remembered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_not_reading_is_refused_and_refusals_pass() {
    let mut household = Household::new(0, 1).await;
    household.device.mute(77);
    household.poll().await;
    let mut stream = TcpStream::connect(household.proxy).await.expect("let in");
    for function in [1, 2, 5, 6, 15, 16, 22, 23, 43] {
        let answer = request(&mut stream, METER, function, 40_000, 1).await;
        assert_eq!(answer, [function | 0x80, 1], "function {function}");
    }
    for (unit, at, count, exception) in [
        (METER, 0, 0, 3),
        (METER, 0, 126, 3),
        (METER, 65_535, 2, 3),
        (METER, 10, 2, 2),
        (77, 0, 1, 11),
    ] {
        let answer = request(&mut stream, unit, 3, at, count).await;
        assert_eq!(answer, [0x83, exception], "{count} from {at} of unit {unit}");
    }
    // A guest's vain questions are not held against the unit.
    household.device.fail(&[Fault::Close, Fault::Close, Fault::Close]);
    for _ in 0..3 {
        request(&mut stream, METER, 3, 40_000, 1).await;
    }
    household.device.heal();
    household.poll().await;
    // A second client is one too many; it is sent away, and the first stays.
    let mut second = TcpStream::connect(household.proxy).await.expect("accepted");
    assert_eq!(second.read(&mut [0]).await.expect("closed in order"), 0);
    assert_eq!(request(&mut stream, METER, 6, 40_000, 1).await, [0x86, 1]);
    // What is no Modbus TCP ends the connection.
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pysunspec2_pymodbus_and_mbpoll_read_through_it_while_the_agent_polls() {
    let mut household = Household::new(500, 8).await;
    household.poll().await;
    let port = household.proxy.port().to_string();
    let judges = tokio::task::spawn_blocking(move || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/through_proxy.py");
        let python = std::env::var_os("STREETWATT_PYTHON").map(|python| {
            let judged = Command::new(python).arg(script).args([&port, "2", "123456"]).output();
            let judged = judged.expect("STREETWATT_PYTHON can be started");
            (judged.status.success(), String::from_utf8_lossy(&judged.stderr).into_owned())
        });
        // Holding registers as hexadecimal numbers, once; mbpoll counts from 1.
        let wire = ["-m", "tcp", "-a", "2", "-r", "40001", "-c", "2", "-t", "4:hex", "-1", "-p"];
        let wire = Command::new("mbpoll").args(wire).args([&port, "127.0.0.1"]).output();
        (python, wire.ok().map(|judged| String::from_utf8_lossy(&judged.stdout).into_owned()))
    });
    let mut polls = 0;
    while !judges.is_finished() {
        household.poll().await;
        polls += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (python, wire) = judges.await.expect("no panic");
    assert!(polls > 0);
    match python {
        Some((fine, said)) => assert!(fine, "{said}"),
        None => println!("skipped: STREETWATT_PYTHON names no Python with pysunspec2"),
    }
    match wire {
        Some(said) => assert!(said.contains("0x5375") && said.contains("0x6E53"), "{said}"),
        None => println!("skipped: there is no mbpoll"),
    }
    assert_eq!(household.device.connections(), 1);
    assert_eq!(household.device.functions(), [3], "nothing but reading");
}

#[test]
fn a_proxy_that_cannot_be_is_refused_with_what_would_be_right() {
    let example = crate::support::HOUSEHOLD;
    let second = "[[device]]\nname = \"cellar\"\nrole = \"pv\"\nmap = \"sunspec-inverter-103\"\n\
                  host = \"127.0.0.1:5021\"\nunit = 2\n";
    let listen = "listen = \"127.0.0.1:1502\"\n";
    for (proxy, devices, expected) in [
        ("max_age_ms = 60001\n", "", "proxy.max_age_ms: 60001 is not between"),
        ("max_clients = 0\n", "", "proxy.max_clients: 0 is not between"),
        ("max_clients = 33\n", "", "proxy.max_clients: 33 is not between"),
        ("devices = [\"attic\"]\n", "", "\"attic\" is no device that is read over Modbus"),
        ("", second, "both have unit 2, on different lines"),
        ("", "", ""),
        ("devices = [\"cellar\"]\n", second, ""),
    ] {
        let text = format!("{example}\n[proxy]\n{listen}{proxy}\n{devices}");
        let config = Config::parse(&text, "example").expect("well-formed");
        match config.check() {
            Ok(()) => assert_eq!(expected, "", "{proxy}"),
            Err(error) => {
                assert!(!expected.is_empty(), "{proxy}: {error}");
                assert!(error.to_string().contains(expected), "{proxy}: {error}");
            }
        }
    }
    let wrong = format!("{example}\n[proxy]\nlisten = \"nowhere\"\n");
    assert!(Config::parse(&wrong, "example").is_err());
}

/// The whole agent: what is configured is served, over the connection that the agent polls with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_serves_its_proxies_and_says_when_a_port_is_taken() {
    let device = Device::start().await;
    let image = sunspec(&[(1, &[0; 66]), (203, &meter_203(123_456, 789, -321))]);
    device.put(METER, 3, 40_000, &image);
    let folder = tempfile::tempdir().expect("a folder");
    let cable = crate::support::broker::Cable::to(crate::support::broker::broker().await).await;
    let mut config = crate::agent::config(folder.path(), &device.host(), &cable, "street-proxy");
    config.poll_interval_ms = 100;
    config.devices[0].unit = Some(METER);
    let place = |port| ProxyConfig {
        listen: (std::net::Ipv4Addr::LOCALHOST, port).into(),
        devices: Vec::new(),
        max_age_ms: 0,
        max_clients: 2,
    };
    let ports = [crate::mosquitto::quiet_port(), crate::mosquitto::quiet_port()];
    config.proxy.0 = ports.map(place).to_vec();
    let (clock, _hand) = Clock::manual(units::Slot::new(1_612_896).start_ms() + 60_000);
    let agent = meter_agent::Agent::open(&config, clock.clone()).expect("opens");
    let taken = meter_agent::Agent::open(
        &Config { data_dir: folder.path().join("other"), ..config.clone() },
        clock,
    );
    let taken = taken.err().expect("the port is taken").to_string();
    assert!(taken.contains(&ports[0].to_string()) && taken.contains("another program"), "{taken}");
    let mut status = agent.status();
    let (shutdown, stopped) = tokio::sync::watch::channel(false);
    let task = tokio::spawn(agent.run(stopped));
    status.wait_for(|status| status.journalled_seq == 1).await.expect("it reads");
    for port in ports {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("let in");
        let answer = request(&mut stream, METER, 3, 40_000, 4).await;
        assert_eq!(answer, [3, 8, 0x53, 0x75, 0x6e, 0x53, 0, 1, 0, 66]);
        assert_eq!(request(&mut stream, METER, 6, 40_000, 1).await, [0x86, 1], "nobody writes");
    }
    assert_eq!(device.connections(), 1, "the agent's own");
    assert_eq!(device.functions(), [3]);
    shutdown.send_replace(true);
    task.await.expect("ends").expect("without a fault");
    // With the agent its ports are gone.
    let mut gone = false;
    for _ in 0..200 {
        gone = TcpStream::connect(("127.0.0.1", ports[0])).await.is_err();
        if gone {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(gone);
}
