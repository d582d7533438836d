//! The real agent's reader in front of faulty devices.

use meter_agent::Chance;
use meter_agent::device::{Library, Observed, Quantity, Readout};
use meter_agent::modbus::{Line, Place, Rank, ReadError, Unit};
use sim_grid::faces::UnitRole;
use sim_grid::faults::{ChainEnd, Fault, Spell};
use sim_grid::street::Street;

use super::{face, of, of_port, street};

/// Patience of the reader with one answer, milliseconds.
const TIMEOUT_MS: u64 = 100;
/// The same where many answers do not come in time.
const SHORT_TIMEOUT_MS: u64 = 25;

/// One line and the devices behind it, as the agent reads them.
struct Home {
    line: Line,
    units: Vec<(UnitRole, Unit)>,
}

impl Home {
    fn new(street: &Street, customer: &str, timeout_ms: u64) -> Self {
        let kind = &face(street, customer).kind;
        let library = Library::load(None).expect("built in");
        let map = |role| match role {
            UnitRole::Meter if kind.name() == "sdm630" => "eastron-sdm630",
            UnitRole::Meter => "sunspec-meter-203",
            UnitRole::Inverter => "sunspec-inverter-103",
            UnitRole::Battery => "sunspec-battery-802",
        };
        let unit = |unit: &sim_grid::faces::ModbusUnit| {
            let map = library.find(map(unit.role)).expect("known").clone();
            (unit.role, Unit::new(unit.unit, map, Some(timeout_ms)))
        };
        let host = kind.modbus_addr().expect("Modbus").to_string();
        let units = kind.units().iter().map(unit).collect();
        Self { line: Line::open(Place::Tcp(host), Chance::seeded(3)), units }
    }

    async fn read(&mut self, index: usize) -> (UnitRole, Result<Readout, ReadError>) {
        let (role, unit) = &mut self.units[index];
        (*role, unit.read(&self.line, Rank::Poll, 0).await)
    }

    async fn read_meter(&mut self) -> Result<Readout, ReadError> {
        let meter = self.units.iter().position(|(role, _)| *role == UnitRole::Meter);
        self.read(meter.expect("every house has a meter")).await.1
    }
}

/// What a device must say, mWh and mW; what it does not say is not wrong.
fn expected(street: &Street, customer: &str, role: UnitRole) -> Vec<(Quantity, i64)> {
    let truth = street.world().customer_by_id(customer).expect("a house");
    let mwh = |wh: u64| i64::try_from(wh).expect("small") * 1_000;
    match role {
        UnitRole::Meter => vec![
            (Quantity::EnergyImport, mwh(truth.import_wh)),
            (Quantity::EnergyExport, mwh(truth.export_wh)),
            (Quantity::Power, truth.net_dw * 100),
        ],
        UnitRole::Inverter => {
            let solar = truth.solar.expect("a roof");
            vec![
                (Quantity::EnergyProduced, mwh(solar.produced_wh)),
                (Quantity::Power, -solar.power_dw * 100),
            ]
        }
        UnitRole::Battery => {
            let power_dw = truth.battery.expect("a battery").power_dw;
            vec![(Quantity::Power, power_dw * 100)]
        }
    }
}

/// Fails when a figure is another one's.
fn assert_right(street: &Street, customer: &str, role: UnitRole, readout: &Readout) {
    for (quantity, right) in expected(street, customer, role) {
        if let Observed::Value(value) = readout.observed(quantity) {
            // Powers have the resolution of their scale factor, energies are exact to the Wh.
            let resolution = if quantity == Quantity::Power { 10_000 } else { 500 };
            let off = (value - right).abs();
            assert!(off <= resolution, "{customer} {role}: {quantity:?} is {value}, not {right}");
        }
    }
}

fn says_all(street: &Street, customer: &str, role: UnitRole, readout: &Readout) -> bool {
    let wanted = expected(street, customer, role);
    wanted.iter().all(|(quantity, _)| readout.observed(*quantity).as_value().is_some())
}

fn sometimes(chance_percent: u8, fault: Fault) -> Spell {
    Spell { chance_percent, ..of_port(fault) }
}

/// Late answers, answers to the question before, halves, refusals and resets, mixed; three devices
/// on one line. The devices stand still meanwhile, so that every figure is known.
#[tokio::test]
async fn ten_thousand_readings_of_a_faulty_gateway_and_no_wrong_register() {
    let mut spells = vec![
        sometimes(1, Fault::LateReply { delay_ms: 40 }),
        sometimes(1, Fault::PreviousReply { renumbered: false }),
        sometimes(1, Fault::PreviousReply { renumbered: true }),
        sometimes(1, Fault::HalfFrame {}),
        of_port(Fault::Reset { after_requests: 400 }),
    ];
    spells.extend([4, 11].map(|code| sometimes(1, Fault::Exception { code })));
    spells.push(of(UnitRole::Meter, Fault::Exception { code: 6 }));
    spells.last_mut().expect("just pushed").chance_percent = 1;
    let mut street = street(spells).await;
    let from_ms = street.world().now_ms();
    street.advance_to(from_ms + 17 * 60_000).await.expect("runs");
    let mut home = Home::new(&street, "H2", SHORT_TIMEOUT_MS);
    let (mut right, mut failed, mut in_a_row) = (0, 0, [0; 3]);
    for poll in 0.. {
        let index = poll % 3;
        match home.read(index).await {
            (role, Ok(readout)) => {
                assert_right(&street, "H2", role, &readout);
                right += usize::from(says_all(&street, "H2", role, &readout));
                in_a_row[index] = 0;
            }
            (_, Err(_)) => {
                failed += 1;
                in_a_row[index] += 1;
            }
        }
        if right == 10_000 {
            break;
        }
        // A unit that was silent twice is not asked for a while; nobody waits for that here.
        if in_a_row[index] > 3 {
            home = Home::new(&street, "H2", SHORT_TIMEOUT_MS);
            in_a_row = [0; 3];
        }
        assert!(failed < 10_000, "{right} whole readings only");
    }
    println!("{right} whole readings, {failed} failed");
    assert!(failed > 100, "the gateway was faulty: {failed}");
}

/// A client that keeps a connection after one answer came too late is one answer behind for ever.
#[tokio::test]
async fn after_one_stall_the_second_poll_is_right_again() {
    let mut street = street(vec![Spell {
        until_ms: super::scenario().timeline.first().start_ms() + 60_000,
        ..of(UnitRole::Meter, Fault::LateReply { delay_ms: 400 })
    }])
    .await;
    let mut home = Home::new(&street, "H2", TIMEOUT_MS);
    assert!(home.read_meter().await.is_err(), "stalled");
    let from_ms = street.world().now_ms();
    street.advance_to(from_ms + 120_000).await.expect("runs");
    let mut polls = 0;
    loop {
        polls += 1;
        if let Ok(readout) = home.read_meter().await {
            assert_right(&street, "H2", UnitRole::Meter, &readout);
            assert!(says_all(&street, "H2", UnitRole::Meter, &readout));
            break;
        }
        assert!(polls < 2, "right again within two polls");
    }
}

#[tokio::test]
async fn chains_that_end_oddly_or_start_elsewhere_are_read() {
    let ends = [ChainEnd::Zero, ChainEnd::Refused].map(|how| Fault::ChainEnd { how });
    let bases = [0, 50_000, 40_001].map(|address| Fault::Base { address });
    for fault in ends.into_iter().chain(bases) {
        let street = street(vec![of(UnitRole::Meter, fault.clone())]).await;
        let readout = Home::new(&street, "H2", TIMEOUT_MS).read_meter().await.expect("read");
        assert_right(&street, "H2", UnitRole::Meter, &readout);
        assert!(says_all(&street, "H2", UnitRole::Meter, &readout), "{fault}");
    }
}

/// Nothing can be read, and the reader comes back with a reason instead of running for ever.
#[tokio::test]
async fn a_chain_that_leads_back_to_itself_ends_with_a_reason() {
    let fault = Fault::ChainEnd { how: ChainEnd::Loop };
    let street = street(vec![of(UnitRole::Meter, fault)]).await;
    let error = Home::new(&street, "H2", TIMEOUT_MS).read_meter().await.expect_err("refused");
    assert!(error.to_string().contains("leads back to register"), "{error}");
}

/// Each of these keeps one device silent, and costs the others behind the same port nothing.
#[tokio::test]
async fn one_faulty_unit_leaves_the_others_alone() {
    let faults = [
        Fault::UnitOffline { code: None },
        Fault::UnitOffline { code: Some(11) },
        Fault::Exception { code: 2 },
        Fault::Exception { code: 4 },
        Fault::Exception { code: 5 },
        Fault::HalfFrame {},
    ];
    for fault in faults {
        let street = street(vec![of(UnitRole::Inverter, fault.clone())]).await;
        let mut home = Home::new(&street, "H2", TIMEOUT_MS);
        for _ in 0..2 {
            for index in 0..3 {
                let (role, outcome) = home.read(index).await;
                if role == UnitRole::Inverter {
                    let said = outcome.is_ok_and(|readout| says_all(&street, "H2", role, &readout));
                    assert!(!said, "{fault}: {role}");
                } else {
                    let readout =
                        outcome.unwrap_or_else(|error| panic!("{fault}: {role}: {error}"));
                    assert!(says_all(&street, "H2", role, &readout), "{fault}: {role}");
                    assert_right(&street, "H2", role, &readout);
                }
            }
        }
    }
}
