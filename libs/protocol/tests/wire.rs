//! The wire formats as they must stay: golden digests, readable JSON, and what is refused.

use protocol::{
    Address, B256, Domain, Fill, HouseholdKey, MAX_MESSAGE_BYTES, MeterEvent, OperatorKey, Order,
    RawSample, Reading, Receipt, Refused, Signed, Step, Topic, Up, public_key_from_hex,
};
use units::{CommunityId, PointId};

fn domain(name: &str) -> Domain {
    Domain::new(CommunityId::new(name).expect("valid"))
}

fn reading() -> Reading {
    Reading {
        point: "C001".into(),
        epoch: 1,
        seq: 7,
        prev: B256::repeat_byte(0xab),
        slot: 1_614_528,
        time_ms: 1_453_076_100_000,
        clock: "synchronised".into(),
        import_wh: 1_234_567,
        export_wh: 89,
        produced_wh: vec![],
        power_w: vec![-350],
        quality: "measured".into(),
        resolution_mwh: vec![1_000],
        device_offset_ms: vec![-2_300],
        samples: vec![
            RawSample {
                register: "import".into(),
                time_ms: 1_453_076_095_000,
                raw_mwh: 1_234_560_000,
            },
            RawSample {
                register: "import".into(),
                time_ms: 1_453_076_105_000,
                raw_mwh: 1_234_574_000,
            },
        ],
        events: vec![MeterEvent {
            register: "export".into(),
            kind: "zero".into(),
            before: 89_000,
            after: 0,
            times: 3,
            time_ms: 1_453_075_400_000,
        }],
    }
}

fn order() -> Order {
    Order {
        point: "C001".into(),
        slot: 1_614_528,
        seq: 9,
        buy: vec![Step::fixed(300, 140_000)],
        sell: vec![
            Step::fixed(250, 150_000),
            Step { quantity_wh: 100, peg: "below retail".into(), limit: 40_000 },
        ],
        time_ms: 1_453_075_000_000,
    }
}

fn fill() -> Fill {
    Fill {
        point: "C001".into(),
        slot: 1_614_528,
        seq: 9,
        order: B256::repeat_byte(0xcd),
        bought_wh: 0,
        sold_wh: 170,
        price: vec![200_000],
        bus: vec![],
        position: 0,
        path: vec![],
        time_ms: 1_453_075_500_000,
    }
}

#[test]
fn digests_are_what_any_eip_712_library_computes() {
    // Computed with eth-account 0.14.0 (`encode_typed_data`), an independent implementation.
    let street = domain("street");
    assert_eq!(
        hex::encode(street.digest(&reading())),
        include_str!("golden/reading.digest").trim()
    );
    assert_eq!(hex::encode(street.digest(&order())), include_str!("golden/order.digest").trim());
    assert_eq!(hex::encode(street.digest(&fill())), include_str!("golden/fill.digest").trim());
}

#[test]
fn json_stays_readable_and_stable() {
    let key = HouseholdKey::from_bytes(&[7; 32]);
    let signed = Signed::by_household(reading(), &domain("street"), &key);
    let json = String::from_utf8(signed.to_json()).expect("JSON is text");
    assert_eq!(json, include_str!("golden/reading.json").trim());
    assert_eq!(Signed::parse(json.as_bytes()).expect("own output"), signed);

    let signed = Signed::by_household(order(), &domain("street"), &key);
    let json = String::from_utf8(signed.to_json()).expect("JSON is text");
    assert_eq!(json, include_str!("golden/order.json").trim());
    assert_eq!(Signed::parse(json.as_bytes()).expect("own output"), signed);
}

#[test]
fn an_order_of_one_side_or_with_other_fields_is_not_an_order() {
    let key = HouseholdKey::from_bytes(&[7; 32]);
    let json = Signed::by_household(order(), &domain("street"), &key).to_json();
    let json = String::from_utf8(json).expect("JSON is text");
    for (from, to, part) in [
        (r#""buy":["#, r#""side":"buy","buy":["#, "unknown field `side`"),
        (r#""sell":["#, r#""steps":["#, "unknown field `steps`"),
        (r#""buy":[{"quantity_wh":300,"peg":"fixed","limit":140000}],"#, "", "missing field `buy`"),
        (r#""quantity_wh":300"#, r#""quantity_wh":300.5"#, "floating point"),
        (r#""limit":140000"#, r#""limit":9223372036854775808"#, "invalid value"),
    ] {
        let changed = json.replacen(from, to, 1);
        assert_ne!(changed, json, "{from}");
        let error = Signed::<Order>::parse(changed.as_bytes()).expect_err("no order");
        assert!(error.to_string().contains(part), "{error} should name {part}");
    }
}

#[test]
fn a_household_signature_holds_for_one_body_key_and_community_only() {
    let key = HouseholdKey::from_bytes(&[7; 32]);
    let street = domain("street");
    let signed = Signed::by_household(reading(), &street, &key);
    let public = public_key_from_hex(&key.public_hex()).expect("own key");
    assert!(signed.clone().verify_household(&street, &public).is_ok());

    let refused = |signed: Signed<Reading>, domain: &Domain, seed: u8| {
        let public = HouseholdKey::from_bytes(&[seed; 32]).public();
        assert_eq!(signed.verify_household(domain, &public), Err(Refused::BadSignature));
    };
    refused(signed.clone(), &domain("other"), 7);
    refused(signed.clone(), &street, 8);
    let mut forged = signed;
    forged.body.export_wh += 1;
    refused(forged, &street, 7);
}

#[test]
fn an_operator_signature_names_its_address() {
    let key = OperatorKey::from_bytes(&[3; 32]).expect("in range");
    let street = domain("street");
    let receipt = Receipt { point: "C001".into(), epoch: 1, seq: 7, head: B256::ZERO, time_ms: 1 };
    let signed = Signed::by_operator(receipt, &street, &key);
    assert!(signed.clone().verify_operator(&street, key.address()).is_ok());
    assert!(signed.clone().verify_operator(&street, Address::ZERO).is_err());
    assert!(signed.clone().verify_operator(&domain("other"), key.address()).is_err());
    let mut forged = signed;
    forged.body.seq += 1;
    assert!(forged.verify_operator(&street, key.address()).is_err());
}

#[test]
fn nonsense_is_refused_with_its_reason() {
    let malformed = |text: &str, part: &str| {
        let error = Signed::<Reading>::parse(text.as_bytes()).expect_err("nonsense");
        assert!(error.to_string().contains(part), "{error} should name {part}");
    };
    malformed("", "malformed");
    malformed("{}", "missing field");
    malformed(r#"{"body":{},"sig":"00","x":1}"#, "");
    let key = HouseholdKey::from_bytes(&[7; 32]);
    let good = Signed::by_household(reading(), &domain("street"), &key);
    let text = String::from_utf8(good.to_json()).expect("text");
    malformed(&text.replace("\"epoch\":1", "\"epoch\":-1"), "invalid value");
    malformed(&text.replace("\"epoch\":1", "\"epoch\":1,\"extra\":0"), "unknown field");
    let oversize = Signed::<Reading>::parse(&vec![b' '; MAX_MESSAGE_BYTES + 1]);
    assert!(matches!(oversize, Err(Refused::Oversize { .. })));
}

#[test]
fn topics_round_trip_and_strangers_are_none_of_ours() {
    let street = CommunityId::new("street").expect("valid");
    let point = PointId::new("C001").expect("valid");
    let topic = Topic::Up(point, Up::Reading);
    assert_eq!(topic.name(&street), "streetwatt/street/C001/up/reading");
    assert_eq!(Topic::parse(&street, &topic.name(&street)), Some(topic));
    for strange in [
        "streetwatt/street/C001/up",
        "streetwatt/street/C001/up/reading/x",
        "streetwatt/other/C001/up/reading",
        "streetwatt/streets/C001/up/reading",
        "streetwatt/street/C 1/up/reading",
        "streetwatt/street/C001/up/firmware",
        "",
    ] {
        assert_eq!(Topic::parse(&street, strange), None, "{strange:?}");
    }
}
