//! A street with a past: traded, missed, found again, anchored. What the API shows and a bundle
//! exports.

use controller::bundle::Export;
use controller::chain_worker::epoch_header;
use controller::config::{Config, MarketConfig};
use controller::desk::Input;
use controller::rules::StreetGrid;
use controller::store::outbox::{Outbox, Progress};
use controller::store::read::Reader;
use protocol::{Audit, B256, Up};
use units::Slot;

use crate::street::{START, Street, community, domain};

/// Slots that are settled in [`past`].
pub const SLOTS: i64 = 10;

/// What the four homes meter in every slot: one exports, the others import.
const USE: [(u64, u64); 4] = [(0, 450), (320, 0), (390, 0), (100, 0)];

pub fn slot(number: i64) -> Slot {
    START.offset(number)
}

/// Orders for a slot, before its gate; then its gate.
async fn trade(street: &mut Street, slot: Slot) {
    street.at(slot.start_ms() - 300_000).await;
    let orders = vec![
        street.homes[0].order(slot, "sell", 500, 15_000),
        street.homes[1].order(slot, "buy", 300, 25_000),
        street.homes[2].order(slot, "buy", 150, 20_000),
        street.homes[3].order(slot, "buy", 150, 20_000),
    ];
    // One changes its mind.
    let again = street.homes[3].order(slot, "buy", 151, 20_000);
    street.step(orders).await;
    street.step(vec![again]).await;
    street.at(slot.start_ms() - 60_000).await;
}

fn read(street: &mut Street, home: usize, slot: Slot) -> Input {
    let (import, export) = USE[home];
    street.homes[home].reading(slot, import, export)
}

fn read_all(street: &mut Street, slot: Slot) -> Vec<Input> {
    (0..USE.len()).map(|home| read(street, home, slot)).collect()
}

/// Ten settled slots with everything that can happen in them.
pub async fn past() -> Street {
    past_with(MarketConfig::default()).await
}

/// The same, with other times and bounds.
pub async fn past_with(market: MarketConfig) -> Street {
    let mut street = Street::open_with(4, StreetGrid::default(), market).await;
    trade(&mut street, slot(1)).await;
    street.at(START.end_ms() + 1_000).await;
    let readings = street.homes.iter_mut().map(|home| home.reading(START, 0, 0)).collect();
    street.step(readings).await;
    let mut withheld = Vec::new();
    for number in 1..=SLOTS {
        // Nobody orders anything for slot 7.
        if number != 6 {
            trade(&mut street, slot(number + 1)).await;
        }
        street.at(slot(number).end_ms() + 500).await;
        let mut readings = std::mem::take(&mut withheld);
        match number {
            // Home 3 is silent, and the slot is settled without it.
            3 => {
                let mut all = read_all(&mut street, slot(number));
                withheld.extend(all.pop());
                readings.extend(all);
            }
            // Home 2's meter shows nonsense once; the next reading spans two slots.
            5 => {
                readings.extend([0, 1, 3].map(|home| read(&mut street, home, slot(number))));
                let home = &mut street.homes[2];
                readings.push(home.reading(slot(number), 40_000, 0));
                home.import_wh -= 40_000 - USE[2].0;
            }
            _ => readings.extend(read_all(&mut street, slot(number))),
        }
        street.step(readings).await;
    }
    anchor(&mut street).await;
    audit(&mut street).await;
    street
}

/// Both full epochs: the first is final, the second signed.
async fn anchor(street: &mut Street) {
    let mut prev = B256::ZERO;
    for seq in 1..=2 {
        let draft = street.store.anchor_draft(seq).await.expect("readable").expect("full");
        let header = epoch_header(&draft, prev);
        prev = header.hash();
        street.store.set_epoch_header(&header).await.expect("written");
    }
    let fees = chain::Fees { max_fee_per_gas: 1, max_priority_fee_per_gas: 1 };
    let progress = Progress { state: chain::TxState::Final, fees, gas_limit: 1 };
    let done = street.store.progress(Outbox::Anchor, 1, &progress, Some(7), Some(street.now_ms));
    done.await.expect("written");
}

/// Every home agrees with its newest bill, but for home 2.
async fn audit(street: &mut Street) {
    let newest = street.deliveries().last().expect("settled").statement.slot;
    for home in 0..4 {
        let delivery = street.delivery(home, Slot::new(newest)).expect("settled");
        let verified = home != 2;
        let audit = Audit {
            point: street.homes[home].point.to_string(),
            slot: newest,
            version: 1,
            verified,
            reason: if verified { String::new() } else { "amount differs".to_owned() },
            statement: domain().digest(&delivery.statement),
            time_ms: street.now_ms,
        };
        let audit = street.homes[home].message(Up::Audit, audit);
        street.step(vec![audit]).await;
    }
}

/// The configuration that such a street runs with.
pub fn config(street: &Street) -> Config {
    let mut text = format!(
        "community = \"{}\"\ndata_dir = {:?}\n\
         [tariff]\nretail_e5 = 28800\nfeed_in_e5 = 12310\n",
        community(),
        street.folder.path(),
    );
    for (number, home) in street.homes.iter().enumerate() {
        let payout = home.payout();
        text.push_str(&format!(
            "[[household]]\npoint = \"{}\"\nname = \"Home {number}\"\nkey = \"{}\"\n\
             bus = \"B{number}\"\npayout = \"{payout}\"\nmax_import_w = 30000\n\
             max_export_w = 30000\nrenewable = true\ndevices = [\"pv\"]\n",
            home.point,
            home.enrolled.public_hex(),
        ));
    }
    let path = street.folder.path().join("controller.toml");
    std::fs::write(&path, text).expect("written");
    let sharing = street.sharing.form().clone();
    Config { sharing, market: street.market.clone(), ..Config::load(&path).expect("right") }
}

pub async fn reader(street: &Street) -> Reader {
    Reader::open(street.store.path()).await.expect("readable")
}

/// The bundle of some slots.
pub async fn bundle(street: &Street, first: i64, last: i64) -> String {
    let reader = reader(street).await;
    let range = (slot(first), slot(last));
    let export = Export::begin(&config(street), &reader, range).await.expect("settled");
    let mut text = String::new();
    export
        .write(async |part| {
            text.push_str(&part);
            Ok(())
        })
        .await
        .expect("consistent");
    text
}
