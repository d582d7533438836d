//! Every built-in map: what is put in, and what must come out.

use meter_agent::device::{
    Absence, BlockAnswer, Direction, Figures, Inbox, Library, LibraryError, Observed, Quantity,
    Read, Readout, Span, built_in_ids, decode_block, plan, readout,
};

use crate::support::device::{meter_203, model};

fn library() -> Library {
    Library::load(None).expect("the built-in maps are sound")
}

/// Decodes the content of models (without id and length) with a map.
fn decode(map: &str, models: &[(u16, Vec<u16>)]) -> Readout {
    decode_with(map, None, models)
}

fn decode_with(map: &str, sign: Option<Direction>, models: &[(u16, Vec<u16>)]) -> Readout {
    let library = library();
    let map = library.find(map).expect("known").clone();
    let map = match sign {
        Some(direction) => map.with_positive_means(direction),
        None => map,
    };
    let mut figures = Figures::new();
    for block in &map.blocks {
        let found =
            models.iter().find(|(id, _)| block.models.is_empty() || block.models.contains(id));
        let answer = found.map_or(BlockAnswer::Unsupported, |(id, content)| {
            let mut words = content.clone();
            if !block.models.is_empty() {
                words =
                    [&[*id, u16::try_from(content.len()).expect("bounded")], &content[..]].concat();
            }
            words.truncate(usize::from(block.count));
            BlockAnswer::Words(words)
        });
        decode_block(block, &answer, !block.models.is_empty(), 5, &mut figures);
    }
    readout(&map, &figures)
}

fn check(readout: &Readout, expected: &[(Quantity, i64)]) {
    let found: Vec<(Quantity, i64)> = readout
        .iter()
        .filter_map(|(quantity, figure)| Some((quantity, *figure.value.as_value()?)))
        .collect();
    assert_eq!(found, expected);
}

fn float(value: f32) -> [u16; 2] {
    let bits = value.to_bits();
    [(bits >> 16) as u16, (bits & 0xffff) as u16]
}

use Quantity::{
    EnergyExport, EnergyImport, EnergyProduced, Power, StateOfCharge, VoltageL1, VoltageL2,
    VoltageL3,
};

#[test]
fn sunspec_integer_meters() {
    for model in [201, 202, 203, 204] {
        let readout = decode(
            &format!("sunspec-meter-{model}"),
            &[(model, meter_203(4_000_000_000, 0, -1_500))],
        );
        check(
            &readout,
            &[
                (Power, -1_500_000),
                (EnergyImport, 4_000_000_000_000),
                (EnergyExport, 0),
                (VoltageL1, 230_100),
                (VoltageL2, 230_200),
                (VoltageL3, 230_300),
            ],
        );
    }
    let flipped = decode_with(
        "sunspec-meter-203",
        Some(Direction::Export),
        &[(203, meter_203(1, 2, -1_500))],
    );
    assert_eq!(flipped.observed(Power), Observed::Value(1_500_000));
}

#[test]
fn sunspec_float_meters() {
    let mut content = vec![0x7fc0; 124];
    for (offset, value) in [(12, 229.5), (28, 1_234.5), (60, 1_000.0), (68, 2_000_000.3)] {
        content[offset - 2..offset].copy_from_slice(&float(value));
    }
    let readout = decode("sunspec-meter-213", &[(213, content)]);
    check(
        &readout,
        &[
            (Power, 1_234_500),
            (EnergyImport, 2_000_000_250),
            (EnergyExport, 1_000_000),
            (VoltageL1, 229_500),
        ],
    );
    assert_eq!(readout.observed(VoltageL2), Observed::Absent(Absence::Sentinel));
}

#[test]
fn sunspec_inverters() {
    for id in [101, 102, 103] {
        let content = model(
            50,
            &[(10, 2_310), (13, 0xffff), (14, 4_321), (15, 0), (24, 1), (25, 2), (26, 0)],
        );
        let readout = decode(&format!("sunspec-inverter-{id}"), &[(id, content)]);
        let expected = [(Power, -4_321_000), (EnergyProduced, 65_538_000), (VoltageL1, 231_000)];
        let found = |quantity| readout.observed(quantity);
        for (quantity, value) in expected {
            assert_eq!(found(quantity), Observed::Value(value));
        }
    }
}

#[test]
fn sunspec_batteries_old_and_new() {
    let old = model(62, &[(11, 875), (56, 0xffff), (47, (-2_500_i16).cast_unsigned()), (63, 0)]);
    check(
        &decode("sunspec-battery-802", &[(802, old)]),
        &[(Power, -2_500_000), (StateOfCharge, 875)],
    );

    let storage = model(24, &[(8, 4_200), (22, (-2_i16).cast_unsigned())]);
    check(&decode("sunspec-battery", &[(124, storage)]), &[(StateOfCharge, 420)]);

    let capacity = model(7, &[(4, 66), (8, 0)]);
    let flows = model(43, &[(6, 1_200), (17, 0)]);
    check(
        &decode("sunspec-battery-714", &[(713, capacity), (714, flows)]),
        &[(Power, -1_200_000), (StateOfCharge, 660)],
    );
    // What the first model does not say, the next may.
    let silent = model(62, &[(47, 100), (63, 0)]);
    let storage = model(24, &[(8, 50), (22, 0)]);
    check(
        &decode("sunspec-battery", &[(802, silent), (124, storage)]),
        &[(Power, 100_000), (StateOfCharge, 500)],
    );
}

#[test]
fn eastron_sdm630() {
    let mut content = vec![0; 76];
    for (at, value) in [
        (0x00, 230.1),
        (0x02, 231.5),
        (0x04, f32::NAN),
        (0x34, -1_750.25),
        (0x48, 12_345.678),
        (0x4a, 0.0),
    ] {
        content[at..at + 2].copy_from_slice(&float(value));
    }
    let readout = decode("eastron-sdm630", &[(0, content)]);
    check(
        &readout,
        &[
            (Power, -1_750_250),
            // The float nearest to 12 345.678 kWh.
            (EnergyImport, 12_345_677_734),
            (EnergyExport, 0),
            (VoltageL1, 230_100),
            (VoltageL2, 231_500),
        ],
    );
    assert_eq!(readout.observed(VoltageL3), Observed::Absent(Absence::Sentinel));
}

fn inbox(map: &str, topic: &str) -> Inbox {
    Inbox::new(library().find(map).expect("known").clone(), topic)
}

fn take(inbox: &mut Inbox, topic: &str, payload: &str) -> Readout {
    inbox.take(topic, payload.as_bytes(), false, 9).expect("readable").expect("its topic")
}

#[test]
fn shelly_second_generation() {
    let mut inbox = inbox("shelly-gen2", "shelly/roof");
    let status =
        r#"{"id":0,"a_voltage":230.1,"b_voltage":null,"total_act_power":-1234.567,"x":[1]}"#;
    check(
        &take(&mut inbox, "shelly/roof/status/em:0", status),
        &[(Power, -1_234_567), (VoltageL1, 230_100)],
    );
    let counters = r#"{"id":0,"total_act":1234567.89,"total_act_ret":7}"#;
    check(
        &take(&mut inbox, "shelly/roof/status/emdata:0", counters),
        &[(EnergyImport, 1_234_567_890), (EnergyExport, 7_000)],
    );
    assert_eq!(inbox.take("shelly/other/status/em:0", b"{}", false, 9), Ok(None));
}

#[test]
fn tasmota_telegrams() {
    let mut inbox = inbox("tasmota", "cellar");
    let telegram = r#"{"Time":"2026-01-01T12:00:00","ENERGY":{"Total":1290.396,"ExportActive":3.5,"Power":47,"Voltage":231}}"#;
    check(
        &take(&mut inbox, "tele/cellar/SENSOR", telegram),
        &[
            (Power, 47_000),
            (EnergyImport, 1_290_396_000),
            (EnergyExport, 3_500_000),
            (VoltageL1, 231_000),
        ],
    );
    let plug = r#"{"ENERGY":{"Total":1.25,"Power":"nan"}}"#;
    let readout = take(&mut inbox, "tele/cellar/SENSOR", plug);
    assert_eq!(readout.observed(EnergyExport), Observed::Absent(Absence::Unsupported));
    assert_eq!(readout.observed(Power), Observed::Absent(Absence::Sentinel));
    let channels = r#"{"ENERGY":{"Total":1.25,"Power":[1,2]}}"#;
    let readout = take(&mut inbox, "tele/cellar/SENSOR", channels);
    assert!(matches!(readout.observed(Power), Observed::Fault(_)));
}

#[test]
fn tasmota_reading_heads() {
    let mut inbox = inbox("tasmota-sml", "meter");
    let telegram = r#"{"SML":{"Total_in":34507.4761,"Total_out":14737.1422,"Power_curr":-894}}"#;
    check(
        &take(&mut inbox, "tele/meter/SENSOR", telegram),
        &[(Power, -894_000), (EnergyImport, 34_507_476_100), (EnergyExport, 14_737_142_200)],
    );
}

#[test]
fn dsmr_reader_sums_are_whole_or_not_there() {
    let mut inbox = inbox("dsmr-reader", "dsmr/reading");
    let mut say =
        |name: &str, payload: &str| take(&mut inbox, &format!("dsmr/reading/{name}"), payload);
    check(&say("electricity_delivered_1", "1000.5"), &[]);
    check(&say("electricity_delivered_2", "2000.25"), &[(EnergyImport, 3_000_750_000)]);
    // The first half of the next telegram is no new sum.
    check(&say("electricity_delivered_1", "1000.6"), &[]);
    check(&say("electricity_delivered_2", "2000.25"), &[(EnergyImport, 3_000_850_000)]);
    check(&say("electricity_returned_1", "1"), &[]);
    check(&say("electricity_returned_2", "0.5"), &[(EnergyExport, 1_500_000)]);
    check(&say("electricity_currently_delivered", "0.000"), &[]);
    check(&say("electricity_currently_returned", "1.234"), &[(Power, -1_234_000)]);
    check(&say("phase_voltage_l1", "229.9"), &[(VoltageL1, 229_900)]);
}

#[test]
fn kept_messages_are_stale_and_garbage_is_a_fault_never_zero() {
    let mut inbox = inbox("tasmota", "cellar");
    let topic = "tele/cellar/SENSOR";
    let telegram = br#"{"ENERGY":{"Total":1.0,"ExportActive":0,"Power":5}}"#;
    let readout = inbox.take(topic, telegram, true, 9).expect("readable").expect("its topic");
    assert_eq!(readout.observed(EnergyImport), Observed::Absent(Absence::Stale));
    for garbage in [&b"{"[..], b"", b"\xff\xfe", b"[]]"] {
        assert!(inbox.take(topic, garbage, false, 9).is_err());
    }
    for odd in ["[]", "7", "null", r#"{"ENERGY":5}"#, r#"{"ENERGY":{"Total":{}}}"#] {
        let readout = take(&mut inbox, topic, odd);
        assert!(readout.observed(EnergyImport).as_value().is_none(), "{odd}");
    }
    let huge = r#"{"ENERGY":{"Total":1e300,"Power":1e-300}}"#;
    let readout = take(&mut inbox, topic, huge);
    assert!(matches!(readout.observed(EnergyImport), Observed::Fault(_)));
}

#[test]
fn every_built_in_map_has_a_golden_vector_here() {
    let tested: Vec<String> = [201, 202, 203, 204, 211, 212, 213, 214]
        .iter()
        .map(|id| format!("sunspec-meter-{id}"))
        .chain([101, 102, 103].iter().map(|id| format!("sunspec-inverter-{id}")))
        .chain(
            [
                "sunspec-battery",
                "sunspec-battery-714",
                "sunspec-battery-802",
                "eastron-sdm630",
                "shelly-gen2",
                "tasmota",
                "tasmota-sml",
                "dsmr-reader",
            ]
            .map(str::to_owned),
        )
        .collect();
    let mut tested = tested;
    tested.sort();
    assert_eq!(built_in_ids(), tested);
}

const GOOD: &str = r#"
id = "my-meter"
name = "My meter"
transport = "modbus"
status = "unverified"
sources = ["a drawer"]
registration = "net"
[modbus]
function = 4
[[block]]
address = 10
count = 6
[[block.field]]
key = "power"
at = 10
type = "int32"
order = "CDAB"
unit = "W"
positive_means = "import"
[[block.field]]
key = "energy_import"
at = 12
type = "uint32"
unit = "Wh"
rolls_over_bits = 32
counter = { resolution_mwh = 1_000, reset = "never" }
[[block.field]]
key = "energy_export"
at = 14
type = "uint32"
unit = "Wh"
counter = { resolution_mwh = 1_000, reset = "never" }
"#;

#[test]
fn a_users_map_comes_before_the_built_in_ones_and_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("my.toml");
    std::fs::write(&file, GOOD).expect("written");
    std::fs::write(folder.path().join("readme.txt"), "not a map").expect("written");
    let library = Library::load(Some(folder.path())).expect("sound");
    assert_eq!(library.find("my-meter").expect("there").name, "My meter");
    let unknown = library.find("no-meter").expect_err("unknown").to_string();
    assert!(unknown.contains("my-meter") && unknown.contains("shelly-gen2"), "{unknown}");

    for (find, put, expected) in [
        ("function = 4", "function = 16", "not a reading one"),
        ("count = 6", "count = 5", "outside the block"),
        ("count = 6", "count = 126", "count must be"),
        ("address = 10\n", "address = 65535\n", "past register 65535"),
        ("at = 12", "at = 11", "overlap"),
        ("positive_means = \"import\"", "", "power needs positive_means"),
        ("unit = \"W\"\n", "unit = \"V\"\n", "unit does not fit power"),
        ("key = \"energy_export\"", "key = \"energy_import\"", "is there twice"),
        ("rolls_over_bits = 32", "rolls_over_bits = 64", "rolls_over_bits"),
        ("rolls_over_bits = 32", "scale_at = 99", "must be read together"),
        ("sources = [\"a drawer\"]", "sources = []", "sources is empty"),
        ("id = \"my-meter\"", "", "either an id or"),
        ("status = \"unverified\"", "status = \"perfect\"", "unknown variant"),
        ("[modbus]", "[modbus]\ncolour = 3", "unknown field"),
        ("key = \"power\"", "key = \"Power\"", "small letters"),
        ("address = 10\ncount = 6", "address = 10", "leave both to the planner"),
        ("at = 12\ntype", "at = 65_535\ntype", "past register 65535"),
        ("type = \"int32\"", "type = \"float32\"\nsentinels = [3]", "needs no sentinels"),
        ("resolution_mwh = 1_000, ", "", "needs resolution_mwh"),
        ("counter = { resolution_mwh = 1_000, reset = \"never\" }", "", "energy needs counter"),
        ("registration = \"net\"", "", "registration is missing"),
        ("[modbus]", "[modbus]\nno_read = [{ from = 11, to = 11 }]", "crosses no_read 11 to 11"),
        ("[modbus]", "[modbus]\naddress_base = 30_001", "below address_base"),
        ("count = 6", "count = 6\nfunction = 6", "not a reading one"),
        ("unit = \"W\"\n", "unit = \"W\"\nstates = { 1 = \"off\" }\n", "go with unit state"),
    ] {
        assert!(GOOD.contains(find), "{find}");
        std::fs::write(&file, GOOD.replacen(find, put, 1)).expect("written");
        let error: LibraryError = Library::load(Some(folder.path())).expect_err(put);
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains("my.toml"), "{put:?}: {text}");
    }
}

/// Documents number input registers from 30001; a file has to say so, or that it does not.
#[test]
fn reference_numbers_are_only_taken_knowingly() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("my.toml");
    let numbered = GOOD.replace("address = 10\ncount = 6", "").replace("at = 1", "at = 3001");
    std::fs::write(&file, &numbered).expect("written");
    let text = Library::load(Some(folder.path())).expect_err("ambiguous").to_string();
    assert!(text.contains("looks like a reference number"), "{text}");
    for (base, first) in [(0, 30_010), (1, 30_009), (30_001, 9)] {
        let said = numbered.replace("[modbus]", &format!("[modbus]\naddress_base = {base}"));
        std::fs::write(&file, said).expect("written");
        let map = Library::load(Some(folder.path())).expect("sound").find("my-meter");
        let reads = plan(&map.expect("there"));
        let asked: Vec<Span> = reads.iter().flat_map(Read::requests).collect();
        assert_eq!(asked, [Span { address: first, count: 6 }], "base {base}");
    }
}
