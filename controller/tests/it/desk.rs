//! The desk's rounds on a real record: what is settled, what is refused, what survives a crash.

use controller::config::MarketConfig;
use controller::rules::StreetGrid;
use protocol::{B256, Up, merkle};
use units::Slot;

use crate::street::{Home, START, Street, domain, message, operator};

/// Brings a street of four homes past its first readings, with orders for the slot after.
pub async fn with_baseline() -> Street {
    let mut street = Street::open(4).await;
    pass(&mut street, START).await;
    let readings = street.homes.iter_mut().map(|home| home.reading(START, 0, 0)).collect();
    street.step(readings).await;
    street
}

/// Lets a slot pass: orders for the next one, its gate, and the end of the slot.
pub async fn pass(street: &mut Street, slot: Slot) {
    street.at(slot.end_ms() - 300_000).await;
    let orders = vec![
        street.homes[0].order(slot.next(), "sell", 500, 15_000),
        street.homes[1].order(slot.next(), "buy", 300, 25_000),
        street.homes[2].order(slot.next(), "buy", 400, 20_000),
    ];
    street.step(orders).await;
    street.at(slot.end_ms() - 60_000).await;
    street.at(slot.end_ms() + 500).await;
}

/// What the four homes meter in every slot: one exports, the others import.
const USE: [(u64, u64); 4] = [(0, 450), (320, 0), (390, 0), (100, 0)];

pub fn read_all(street: &mut Street, slot: Slot) -> Vec<controller::desk::Input> {
    let homes = street.homes.iter_mut().zip(USE);
    homes.map(|(home, (import, export))| home.reading(slot, import, export)).collect()
}

#[tokio::test]
async fn a_slot_is_traded_metered_settled_and_logged() {
    let mut street = with_baseline().await;
    let slot = START.next();
    pass(&mut street, slot).await;
    assert!(street.delivery(0, slot).is_none(), "nothing is settled before the readings are in");
    let readings = read_all(&mut street, slot);
    street.step(readings).await;

    let seller = street.delivery(0, slot).expect("settled as soon as all readings are in");
    assert_eq!(seller.statement.sold_wh, 500);
    assert_eq!(seller.statement.export_wh, 450);
    assert_eq!(seller.statement.export_deviation_wh, 50);
    let price = seller.header.price[0];
    assert!((150_000..=200_000).contains(&price), "{price}");
    assert_eq!(seller.header.totals.import_wh, 810);
    assert_eq!(seller.header.totals.export_wh, 450);
    assert_eq!(seller.header.totals.local_wh, 450);
    assert_eq!(seller.statement.reward_wh, 450);

    // Everyone can check: statement in the header, header in the log, log signed.
    for home in 0..4 {
        let delivery = street.delivery(home, slot).expect("one for each");
        let leaf = merkle::leaf(domain().digest(&delivery.statement));
        let header = &delivery.header;
        let statements = u64::from(header.statements);
        let position = delivery.position;
        assert!(merkle::includes(
            header.statements_root,
            statements,
            position,
            leaf,
            &delivery.path
        ));
        let log = delivery.checkpoint.verify_operator(&domain(), operator().address());
        let log = log.expect("signed").body().clone();
        let leaf = merkle::leaf(domain().digest(header));
        assert!(merkle::includes(log.root, log.size, header.index, leaf, &delivery.log_path));
    }
    assert_eq!(street.settled_balance().await["pool"], 0);
}

#[tokio::test]
async fn a_crash_at_any_point_changes_nothing() {
    // The same run with and without a crash after every single step must end in the same log.
    let mut roots = Vec::new();
    for crashing in [false, true] {
        let mut street = with_baseline().await;
        for slot in (1..=6).map(|count| START.offset(count)) {
            pass(&mut street, slot).await;
            for input in read_all(&mut street, slot) {
                street.step(vec![input]).await;
                if crashing {
                    street = street.crash().await;
                }
            }
        }
        assert_eq!(street.count("SELECT COUNT(*) FROM header").await, 6);
        assert_eq!(street.count("SELECT COUNT(*) FROM anchor").await, 1);
        assert_eq!(street.count("SELECT SUM(cleared_wh) FROM clearing WHERE slot <= (SELECT MAX(slot) FROM header)").await, 6 * 500);
        let last = street.delivery(0, START.offset(6)).expect("settled");
        roots.push(last.checkpoint.body.root);
    }
    assert_eq!(roots[0], roots[1]);
    assert_ne!(roots[0], B256::ZERO);
}

#[tokio::test]
async fn late_energy_is_found_again_and_booked_once() {
    // Two slots back is too far, and "never" is as far as nothing.
    for (correct_within_slots, expected) in [(0, [0, 0]), (1, [0, 100])] {
        let market = MarketConfig { correct_within_slots, ..MarketConfig::default() };
        let mut street = Street::open_with(4, StreetGrid::default(), market).await;
        pass(&mut street, START).await;
        let readings = street.homes.iter_mut().map(|home| home.reading(START, 0, 0)).collect();
        street.step(readings).await;
        // Home 3 is silent for two slots; the street does not wait for ever.
        let mut withheld = Vec::new();
        for slot in [START.next(), START.offset(2)] {
            pass(&mut street, slot).await;
            let mut readings = read_all(&mut street, slot);
            withheld.extend(readings.pop());
            street.step(readings).await;
            street.at(slot.end_ms() + 900_001).await;
            let missing = street.delivery(3, slot).expect("settled at the deadline");
            assert!(!missing.statement.measured);
            assert_eq!((missing.statement.import_wh, missing.header.missing), (0, 1));
        }
        let third = START.offset(3);
        street.at(third.end_ms() + 500).await;
        let mut readings = withheld;
        readings.extend(read_all(&mut street, third));
        street.step(readings).await;
        let found: Vec<i64> = [1, 2]
            .map(|count| street.bill(3, START.offset(count)).expect("settled").statement.import_wh)
            .into();
        assert_eq!(found, expected, "{correct_within_slots}");
        let bill = street.bill(3, third).expect("settled").statement;
        assert!(bill.measured);
        assert_eq!(bill.import_wh, 100);
        // What has no slot of its own any more goes with the household's next bill.
        let late: Vec<_> = street
            .deliveries()
            .iter()
            .filter(|delivery| delivery.statement.point == "H03")
            .flat_map(|delivery| delivery.statement.late.clone())
            .map(|line| (line.slot - START.number(), line.import_wh))
            .collect();
        let expected: &[_] =
            if correct_within_slots == 0 { &[(1, 100), (2, 100)] } else { &[(1, 100)] };
        assert_eq!(late, expected);

        let balance = street.settled_balance().await;
        assert_eq!(balance["import"], 3 * (320 + 390 + 100));
        assert_eq!(balance["export"], 3 * 450);
        assert_eq!(balance["pool"], 0);
    }
}

#[tokio::test]
async fn what_is_not_right_is_refused_counted_and_stops_nothing() {
    let mut street = with_baseline().await;
    let slot = START.next();
    street.at(slot.end_ms() + 500).await;
    let home = &street.homes[0];
    let point = home.point.clone();
    let stranger = Home::new(77);
    let mut gap = home.next_reading(slot);
    gap.seq += 3;
    let mut unlinked = home.next_reading(slot);
    unlinked.prev = B256::repeat_byte(1);
    let mut epoch = home.next_reading(slot);
    epoch.epoch = 2;
    let mut other = home.next_reading(slot);
    other.point = street.homes[1].point.to_string();
    let mut twin = home.next_reading(START);
    twin.seq = home.seq;
    let inputs = vec![
        ("gap", home.message(Up::Reading, gap)),
        ("broken chain", home.message(Up::Reading, unlinked)),
        ("unknown epoch", home.message(Up::Reading, epoch)),
        ("another metering point", home.message(Up::Reading, other)),
        ("equivocation", home.message(Up::Reading, twin)),
        ("bad signature", {
            let body = home.next_reading(slot);
            let signed = protocol::Signed::by_household(body, &domain(), &stranger.key);
            message(&point, Up::Reading, signed.to_json())
        }),
        ("malformed", message(&point, Up::Reading, b"{\"body\":7}".to_vec())),
        ("oversize", message(&point, Up::Reading, vec![b'x'; 20_000])),
        ("unknown metering point", message(&stranger.point, Up::Reading, vec![])),
        (
            "unknown topic",
            controller::desk::Input::Message {
                topic: "streetwatt/elsewhere/H00/up/reading".into(),
                payload: vec![1, 2, 3],
            },
        ),
        ("after the gate", street.homes[0].order(slot, "buy", 10, 20_000)),
        ("order", street.homes[0].order(slot.offset(2), "buy", 10, 99_000)),
        ("order", street.homes[0].order(slot.offset(2), "buy", -5, 20_000)),
        ("order", street.homes[0].order(slot.offset(2), "buy", 1_000_000, 20_000)),
    ];
    let (reasons, inputs): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
    street.step(inputs).await;
    for reason in reasons {
        let sql = match reason {
            "order" => "SELECT count FROM refusal_count WHERE reason = 'order'",
            _ => "SELECT 1",
        };
        assert!(street.count(sql).await >= 1, "{reason}");
    }
    assert_eq!(street.count("SELECT COUNT(*) FROM refusal_count").await, 12);
    assert_eq!(street.count("SELECT SUM(count) FROM refusal_count").await, 14);
    assert_eq!(street.receipts(0).last().expect("answered").seq, 1);

    // None of it stopped the slot.
    let readings = read_all(&mut street, slot);
    street.step(readings).await;
    assert!(street.delivery(0, slot).is_some());
}

#[tokio::test]
async fn impossible_energy_stays_in_the_chain_but_counts_for_nothing() {
    let mut street = with_baseline().await;
    let (first, second) = (START.next(), START.offset(2));
    street.at(first.end_ms() + 500).await;
    // 30 kW for a quarter-hour are 7.5 kWh; 40 kWh are a fault of the meter, which then recovers.
    let (import, _) = USE[3];
    let glitch = street.homes[3].reading(first, 40_000, 0);
    street.homes[3].import_wh -= 40_000 - import;
    let mut readings = read_all(&mut street, first);
    readings.pop();
    street.homes[3].import_wh -= import;
    street.homes[3].seq -= 1;
    readings.push(glitch);
    street.step(readings).await;
    assert_eq!(street.receipts(3).last().expect("receipted").seq, 2, "the chain goes on");
    assert_eq!(street.count("SELECT COUNT(*) FROM reading WHERE quarantine IS NOT NULL").await, 1);

    street.homes[3].seq = 2;
    street.homes[3].head = street.receipts(3).last().expect("receipted").head;
    street.at(first.end_ms() + 900_001).await;
    street.at(second.end_ms() + 500).await;
    let readings = read_all(&mut street, second);
    street.step(readings).await;
    let found = street.delivery(3, second).expect("settled").statement;
    assert_eq!(found.late.len(), 1, "the span over the glitch is booked when it is known");
    assert_eq!((found.late[0].slots, found.late[0].import_wh), (2, 200));
}

#[tokio::test]
async fn the_order_and_number_of_deliveries_do_not_matter() {
    let mut roots = Vec::new();
    for shuffle in 0..3_usize {
        let mut street = with_baseline().await;
        let slot = START.next();
        pass(&mut street, slot).await;
        let mut readings = read_all(&mut street, slot);
        readings.rotate_left(shuffle);
        let again: Vec<_> = readings.iter().map(copy).collect();
        // The newest reading of everyone twice, the older ones once more at the end.
        readings.extend(again);
        street.step(readings).await;
        let delivery = street.delivery(0, slot).expect("settled");
        roots.push((delivery.header.statements_root, delivery.header.readings_root));
        assert_eq!(street.count("SELECT COUNT(*) FROM reading").await, 8);
    }
    assert!(roots.windows(2).all(|pair| pair[0] == pair[1]));
}

pub fn copy(input: &controller::desk::Input) -> controller::desk::Input {
    match input {
        controller::desk::Input::Message { topic, payload } => {
            controller::desk::Input::Message { topic: topic.clone(), payload: payload.clone() }
        }
        _ => panic!("only messages are copied"),
    }
}

#[tokio::test]
async fn orders_are_replaced_until_the_gate_and_replays_are_refused() {
    let mut street = with_baseline().await;
    let slot = START.offset(3);
    street.at(slot.start_ms() - 800_000).await;
    let first = street.homes[1].order(slot, "buy", 300, 25_000);
    let second = street.homes[1].order(slot, "buy", 200, 24_000);
    let replay = copy(&first);
    street.step(vec![first, second, replay]).await;
    let verdicts = street.verdicts(1).split_off(1);
    let accepted: Vec<_> = verdicts.iter().map(|verdict| verdict.accepted).collect();
    assert_eq!(accepted, [true, true, false]);
    assert!(verdicts[2].reason.starts_with("replayed"), "{}", verdicts[2].reason);

    // A crash before the gate keeps the order that stands.
    let mut street = street.crash().await;
    let offer = street.homes[0].order(slot, "sell", 900, 13_000);
    street.step(vec![offer]).await;
    street.at(slot.start_ms() - 100_000).await;
    assert_eq!(
        street.count("SELECT cleared_wh FROM clearing ORDER BY slot DESC LIMIT 1").await,
        200
    );
}

#[tokio::test]
async fn a_clock_that_was_wrong_once_does_not_block_the_meter() {
    let mut street = with_baseline().await;
    let slot = START.next();
    pass(&mut street, slot).await;
    // Home 3 believes that it is next month, then its clock is set right.
    let future = street.homes[3].reading(slot.offset(3_000), 0, 0);
    street.step(vec![future]).await;
    assert_eq!(street.count("SELECT COUNT(*) FROM reading WHERE quarantine IS NOT NULL").await, 1);
    for crashed in [false, true] {
        if crashed {
            street = street.crash().await;
        }
        let slot = if crashed { slot.next() } else { slot };
        street.at(slot.end_ms() + 500).await;
        let readings = read_all(&mut street, slot);
        street.step(readings).await;
        let found = street.delivery(3, slot).expect("settled").statement;
        assert!(found.measured, "crashed: {crashed}");
        assert_eq!(found.import_wh, 100);
    }
}

#[tokio::test]
async fn readings_from_before_the_street_count_for_nothing_even_after_a_crash() {
    let mut street = Street::open(4).await;
    // Home 3 was metered before; its journal brings old readings along.
    let old: Vec<_> =
        [-3, -2].map(|count| street.homes[3].reading(START.offset(count), 70, 0)).into();
    street.step(old).await;
    street = street.crash().await;
    pass(&mut street, START).await;
    let readings = street.homes.iter_mut().map(|home| home.reading(START, 0, 0)).collect();
    street.step(readings).await;
    let slot = START.next();
    pass(&mut street, slot).await;
    let readings = read_all(&mut street, slot);
    street.step(readings).await;
    let found = street.delivery(3, slot).expect("settled").statement;
    assert_eq!((found.late.len(), found.import_wh), (0, 100));
}

#[tokio::test]
async fn statements_whose_verdict_was_lost_are_found_again() {
    let mut street = with_baseline().await;
    for number in 1..=3 {
        let slot = START.offset(number);
        pass(&mut street, slot).await;
        let readings = read_all(&mut street, slot);
        street.step(readings).await;
    }
    // Home 1 has judged the second slot, and nobody else has said anything.
    let slot = START.offset(2);
    let delivery = street.delivery(1, slot).expect("settled");
    let audit = protocol::Audit {
        point: street.homes[1].point.to_string(),
        slot: slot.number(),
        version: 1,
        verified: true,
        reason: String::new(),
        statement: domain().digest(&delivery.statement),
        time_ms: street.now_ms,
    };
    let audit = street.homes[1].message(Up::Audit, audit);
    street.step(vec![audit]).await;

    let home = street.homes[1].point.clone();
    for (point, newest, until, most, expected) in [
        (Some(&home), 3, 3, 96, vec![1, 3]),
        (Some(&home), 2, 3, 96, vec![3]),
        (Some(&home), 9, 2, 96, vec![1]),
        (Some(&home), 3, 3, 1, vec![1]),
        (None, 1, 2, 96, vec![2, 2, 2]),
        (None, 24, 3, 8_192, vec![1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3]),
    ] {
        let found = street.store.unaudited(point, (newest, until), most).await.expect("readable");
        let mut slots = Vec::new();
        for (found, payload) in found {
            let delivery: protocol::Delivery = serde_json::from_str(&payload).expect("as sent");
            assert_eq!(delivery.statement.point, found.as_str());
            assert!(point.is_none_or(|point| *point == found));
            slots.push(delivery.statement.slot - START.number());
        }
        assert_eq!(slots, expected, "{point:?}, {newest} before {until}");
    }
}

#[tokio::test]
async fn the_controllers_own_absence_does_not_count_against_the_households() {
    let mut street = with_baseline().await;
    let slot = START.next();
    pass(&mut street, slot).await;
    // The controller is away until long after the deadline; the households kept their readings.
    let readings = read_all(&mut street, slot);
    street.now_ms = slot.end_ms() + 5_000_000;
    let mut street = street.crash().await;
    street.step(vec![]).await;
    assert!(street.delivery(0, slot).is_none(), "they get time to deliver");
    street.step(readings).await;
    assert!(street.delivery(0, slot).expect("settled").statement.measured);

    // Whoever stays silent is waited for no longer than usual.
    let next = slot.next();
    let mut readings = read_all(&mut street, next);
    readings.pop();
    street.step(readings).await;
    assert!(street.delivery(0, next).is_none());
    street.at(street.now_ms + 900_000).await;
    assert_eq!(street.delivery(0, next).expect("settled").header.missing, 1);
}
