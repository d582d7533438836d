//! The Modbus servers of the houses, asked by a client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sim_grid::faces::{FaceKind, UnitRole};
use sim_grid::scenario::Scenario;
use sim_grid::street::{Street, StreetError, StreetOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::ExceptionCode;
use tokio_modbus::client::{Context, Reader, Writer, tcp};
use tokio_modbus::slave::{Slave, SlaveContext};

use crate::small;
use crate::world::shipped;

const PATIENCE: Duration = Duration::from_secs(10);

async fn connect(addr: SocketAddr, unit: u8) -> Context {
    timeout(PATIENCE, tcp::connect_slave(addr, Slave(unit))).await.expect("in time").expect("opens")
}

async fn holding(
    context: &mut Context,
    address: u16,
    count: u16,
) -> Result<Vec<u16>, ExceptionCode> {
    let answer = timeout(PATIENCE, context.read_holding_registers(address, count)).await;
    answer.expect("in time").expect("an answer")
}

async fn input(context: &mut Context, address: u16, count: u16) -> Result<Vec<u16>, ExceptionCode> {
    let answer = timeout(PATIENCE, context.read_input_registers(address, count)).await;
    answer.expect("in time").expect("an answer")
}

fn long(registers: &[u16], at: usize) -> u64 {
    u64::from(registers[at]) << 16 | u64::from(registers[at + 1])
}

/// Import register of the meter of a house, Wh.
async fn import_wh(kind: &FaceKind) -> u64 {
    let addr = kind.modbus_addr().expect("a Modbus house");
    let unit = kind.unit_of(UnitRole::Meter).expect("every house has a meter");
    let mut context = connect(addr, unit).await;
    match kind {
        FaceKind::Sdm630 { .. } => {
            let registers = input(&mut context, 0x48, 2).await.expect("registers");
            let kwh = f32::from_bits(u32::try_from(long(&registers, 0)).expect("32 bits"));
            (f64::from(kwh) * 1_000.0).round() as u64
        }
        // Marker, model 1 with ID and length, then model 203.
        _ => {
            let registers = holding(&mut context, 40_000 + 2 + 68, 107).await.expect("registers");
            assert_eq!(registers[0], 203);
            long(&registers, 46)
        }
    }
}

async fn small_street() -> (Arc<Scenario>, Street) {
    let scenario = Arc::new(small::load(&small::files()).expect("loads"));
    let options = StreetOptions::new(1, scenario.timeline.first());
    let street = Street::start(Arc::clone(&scenario), &options).await.expect("starts");
    (scenario, street)
}

#[tokio::test]
async fn every_house_answers_on_a_port_of_its_own_and_follows_the_world() {
    let scenario = shipped();
    let from = scenario.timeline.first();
    let mut street = Street::start(scenario, &StreetOptions::new(3, from)).await.expect("starts");
    for slot in 0..3 {
        street.advance_to(from.offset(slot).start_ms() + 300_000).await.expect("runs");
        for (index, face) in street.faces().iter().enumerate() {
            let truth = street.world().customer(index);
            assert_eq!(import_wh(&face.kind).await, truth.import_wh, "{}", face.customer);
        }
    }
    let mut ports: Vec<u16> =
        street.faces().iter().filter_map(|face| Some(face.kind.modbus_addr()?.port())).collect();
    assert_eq!(ports.len(), 41, "without a broker every house speaks Modbus");
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 41);
}

#[tokio::test]
async fn whatever_is_not_there_is_refused_with_the_right_exception() {
    let (_, street) = small_street().await;
    let sunspec = street.faces().iter().find(|face| face.kind.name() == "sunspec").expect("one");
    let addr = sunspec.kind.modbus_addr().expect("Modbus");
    let mut meter = connect(addr, 2).await;
    for (address, count, expected) in [
        (39_999, 2, ExceptionCode::IllegalDataAddress),
        (40_002 + 68 + 107, 3, ExceptionCode::IllegalDataAddress),
        (65_535, 2, ExceptionCode::IllegalDataAddress),
        (40_000, 0, ExceptionCode::IllegalDataValue),
        (40_000, 126, ExceptionCode::IllegalDataValue),
    ] {
        assert_eq!(holding(&mut meter, address, count).await, Err(expected), "{address} {count}");
    }
    assert_eq!(holding(&mut meter, 40_000, 125).await.expect("fits").len(), 125);
    let end = holding(&mut meter, 40_002 + 68 + 107, 2).await;
    assert_eq!(end, Ok(vec![0xffff, 0]));
    assert_eq!(input(&mut meter, 40_000, 2).await, Err(ExceptionCode::IllegalFunction));
    let write = timeout(PATIENCE, meter.write_single_register(40_010, 1)).await;
    let write = write.expect("in time").expect("an answer");
    assert_eq!(write, Err(ExceptionCode::IllegalFunction));
    let coils = timeout(PATIENCE, meter.read_coils(0, 1)).await.expect("in time").expect("answer");
    assert_eq!(coils, Err(ExceptionCode::IllegalFunction));
    meter.set_slave(Slave(99));
    let stranger = holding(&mut meter, 40_000, 2).await;
    assert_eq!(stranger, Err(ExceptionCode::GatewayTargetDevice));
    // After all refusals the connection still works.
    meter.set_slave(Slave(2));
    assert_eq!(holding(&mut meter, 40_000, 2).await, Ok(vec![0x5375, 0x6e53]));
}

#[tokio::test]
async fn an_sdm630_wants_even_requests_of_at_most_80_registers() {
    let (_, street) = small_street().await;
    let eastron = street.faces().iter().find(|face| face.kind.name() == "sdm630").expect("one");
    let mut meter = connect(eastron.kind.modbus_addr().expect("Modbus"), 2).await;
    assert_eq!(input(&mut meter, 0, 80).await.expect("fits").len(), 80);
    for (address, count, expected) in [
        (0, 82, ExceptionCode::IllegalDataValue),
        (0, 3, ExceptionCode::IllegalDataValue),
        (1, 2, ExceptionCode::IllegalDataAddress),
        (0x182, 2, ExceptionCode::IllegalDataAddress),
    ] {
        assert_eq!(input(&mut meter, address, count).await, Err(expected), "{address} {count}");
    }
    let serial = holding(&mut meter, 0xfc00, 2).await.expect("a serial number");
    assert!(eastron.meter_serial.ends_with(&format!("{:08}", long(&serial, 0))));
}

#[tokio::test]
async fn a_house_has_room_for_eight_clients_and_again_when_one_leaves() {
    let (_, street) = small_street().await;
    let addr = street.faces()[0].kind.modbus_addr().expect("Modbus");
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = connect(addr, 1).await;
        holding(&mut client, 40_000, 2).await.expect("served");
        clients.push(client);
    }
    let mut ninth = connect(addr, 1).await;
    let refused = timeout(PATIENCE, ninth.read_holding_registers(40_000, 2)).await;
    assert!(refused.expect("in time").is_err(), "the ninth client is hung up on");
    clients.pop();
    let again = async {
        loop {
            let mut client = connect(addr, 1).await;
            if client.read_holding_registers(40_000, 2).await.is_ok() {
                break;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("a place becomes free");
}

#[tokio::test]
async fn ports_that_cannot_be_had_are_named() {
    let (scenario, street) = small_street().await;
    let taken = street.faces()[0].kind.modbus_addr().expect("Modbus").port();
    let from = scenario.timeline.first();
    let options = StreetOptions { base_port: Some(taken), ..StreetOptions::new(1, from) };
    let error = Street::start(Arc::clone(&scenario), &options).await.err().expect("taken");
    let expected = format!("the Modbus port 127.0.0.1:{taken} of customer H1 cannot be opened");
    assert!(error.to_string().starts_with(&expected), "{error}");
    let options = StreetOptions { base_port: Some(65_534), ..StreetOptions::new(1, from) };
    let error = Street::start(scenario, &options).await.err().expect("no room");
    assert!(matches!(error, StreetError::PortRange { .. } | StreetError::Bind { .. }), "{error}");
}

#[tokio::test]
async fn garbage_costs_only_its_own_connection() {
    let (_, street) = small_street().await;
    let addr = street.faces()[0].kind.modbus_addr().expect("Modbus");
    let header = |length: u8| [0, 1, 0, 0, 0, length, 2];
    let garbage: [Vec<u8>; 6] = [
        vec![0xff; 300],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        // No PDU, an empty length, a cut request, a write whose byte count lies, a foreign code.
        [header(1).to_vec(), vec![0; 20]].concat(),
        header(0).to_vec(),
        [header(8).to_vec(), vec![16, 0, 0, 0, 9, 200, 1]].concat(),
        [header(2).to_vec(), vec![0x7f]].concat(),
    ];
    let mut good = connect(addr, 2).await;
    for bytes in garbage {
        let mut stream = TcpStream::connect(addr).await.expect("connects");
        stream.write_all(&bytes).await.expect("sends");
        stream.shutdown().await.expect("says no more");
        let mut answer = Vec::new();
        // Hung up on, or refused with an exception: either way it ends.
        let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        ended.expect("in time").ok();
        assert_eq!(holding(&mut good, 40_000, 2).await, Ok(vec![0x5375, 0x6e53]), "{bytes:?}");
    }
}
