//! Why a price was what it was, asked over HTTP: from the record alone, for one household at a time.

use market::sharing::{Rule, Sharing};
use serde_json::{Value, json};

use crate::desk::{pass, read_all};
use crate::grid::grid;
use crate::http::{World, world_of};
use crate::record::{past, slot};
use crate::street::{START, Street};

/// Home 0 sells 500 Wh at 15 ct or more; home 1 wants 300 Wh at up to 25 ct behind a cable for
/// 100 Wh, home 2 400 Wh at up to 20 ct; home 3 stays away and buys 100 Wh all the same.
async fn on_the_grid() -> World {
    settled(Street::open_on(4, grid()).await).await
}

/// The first slot of a street, traded as far as its rule has trade, and settled.
async fn settled(mut street: Street) -> World {
    pass(&mut street, START).await;
    let readings = street.homes.iter_mut().map(|home| home.reading(START, 0, 0)).collect();
    street.step(readings).await;
    street.at(slot(1).end_ms() + 500).await;
    let readings = read_all(&mut street, slot(1));
    street.step(readings).await;
    world_of(street).await
}

async fn why(world: &World, home: u8, number: i64) -> Value {
    world.json(&format!("/api/v1/households/H0{home}/why/{}", slot(number).number())).await
}

#[tokio::test]
async fn a_full_cable_is_told_without_telling_who_is_behind_it() {
    let world = on_the_grid().await;
    let told = why(&world, 1, 1).await;
    assert_eq!(told["rule"], "auction");
    assert_eq!(
        (&told["bus"], &told["price"], &told["rung"]),
        (&json!("B1"), &json!(250_000), &json!("exact"))
    );
    let parts =
        json!({ "reference": "B0", "energy": 175_000, "grid_fee": 20_000, "congestion": 55_000 });
    assert_eq!(told["parts"], parts);
    let own =
        json!({ "price": 250_000, "side": "buy", "limit": 250_000, "filled": true, "own": true });
    assert_eq!(told["high"], own, "its own limit is what keeps the price from rising");
    assert_eq!(told["full"], json!([{ "name": "L1", "towards": true, "energy_wh": 100 }]));
    let step = &told["orders"][0]["steps"][0];
    assert_eq!(
        (&step["filled_wh"], &step["rest"], &step["would_trade_at"]),
        (&json!(100), &json!("volume"), &Value::Null)
    );
    assert_eq!(told["missed"], json!([]), "it has ordered what it wanted");

    // Home 1 is the only one behind the cable: what the cable carries would be its trade.
    let seller = why(&world, 0, 1).await;
    assert_eq!(seller["full"], json!([{ "name": "L1", "towards": false, "energy_wh": null }]));
    assert_eq!(
        seller["parts"],
        json!({ "reference": "B0", "energy": 175_000, "grid_fee": 0, "congestion": 0 })
    );
    let text = seller.to_string();
    assert!(["H01", "H02", "H03"].iter().all(|other| !text.contains(other)), "{text}");

    let absent = why(&world, 3, 1).await;
    assert_eq!((&absent["orders"], &absent["price"]), (&json!([]), &json!(175_000)));
    // All 500 Wh are sold: at the limit of home 2 it would have shared with it.
    let missed = json!([{ "side": "buy", "quantity_wh": 100, "would_trade_at": 200_000 }]);
    assert_eq!(absent["missed"], missed);
    world.server.stop().await;
}

#[tokio::test]
async fn a_home_without_an_order_learns_what_would_have_traded() {
    let world = world_of(past().await).await;
    // Everybody ordered for slot 3, and home 3's last word is what counts.
    let told = why(&world, 3, 3).await;
    assert_eq!(
        (&told["bus"], &told["parts"]["reference"]),
        (&Value::Null, &Value::Null),
        "all are at one bus"
    );
    assert_eq!(told["orders"][0]["steps"][0]["quantity_wh"], 151);
    // 500 Wh for 601: the two at 20 ct share what is left by size, and only more than 20 ct is ahead.
    let step = &told["orders"][0]["steps"][0];
    assert_eq!((&step["rest"], &step["would_trade_at"]), (&json!("volume"), &json!(200_010)));

    // Nobody ordered for slot 7: no price, no bound, and nothing that would have traded.
    let told = why(&world, 1, 7).await;
    let nothing = [&told["price"], &told["parts"], &told["low"], &told["high"]];
    assert!(nothing.iter().all(|part| part.is_null()), "{told}");
    assert_eq!(
        told["missed"],
        json!([{ "side": "buy", "quantity_wh": 320, "would_trade_at": null }])
    );
    // The next slot is cleared and not yet metered.
    assert_eq!(why(&world, 1, 11).await["missed"], json!([]));
    world.server.stop().await;
}

#[tokio::test]
async fn a_street_that_does_not_auction_says_by_which_rule_it_shares() {
    let sharing = Sharing { rule: Rule::MidMarket, ..Sharing::default() };
    let world = settled(Street::open_sharing(4, sharing).await).await;
    let told = why(&world, 1, 1).await;
    assert_eq!((&told["rule"], &told["price"]), (&json!("mid-market"), &Value::Null));
    // It has bought without an order, and none would have changed anything.
    assert_eq!((&told["orders"], &told["missed"]), (&json!([]), &json!([])));
    world.server.stop().await;
}

#[tokio::test]
async fn a_record_that_contradicts_itself_explains_nothing() {
    let world = world_of(past().await).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.street.store.path());
    let mut db = sqlx::ConnectOptions::connect(&options).await.expect("opened");
    let lost = sqlx::query("DELETE FROM book_order WHERE slot = ? AND point = 'H01'");
    lost.bind(slot(2).number()).execute(&mut db).await.expect("deleted");
    let path = format!("/api/v1/households/H00/why/{}", slot(2).number());
    let answer = world.get(&path).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.json()["error"]["code"], "record_contradicts_itself");
    // Others are explained, even when all ask at once.
    let path = format!("/api/v1/households/H00/why/{}", slot(3).number());
    let all = futures_util::future::join_all((0..64).map(|_| world.json(&path))).await;
    assert!(all.iter().all(|told| *told == all[0]));
    world.server.stop().await;
}

#[tokio::test]
async fn the_network_shows_what_a_full_branch_cost_and_what_was_delivered_over_it() {
    let world = on_the_grid().await;
    let told = world.json(&format!("/api/v1/feeder/{}", slot(1).number())).await;
    let traded = &told["traded"];
    assert_eq!(
        (&traded["cleared_wh"], &traded["fees_nano"], &traded["congestion_nano"]),
        (&json!(500), &json!(2_000_000), &json!(5_500_000))
    );
    let full = json!({
        "id": "L1", "from": "B0", "to": "B1", "flow_wh": 100, "import_cap_wh": 100,
        "export_cap_wh": 100, "fee": 20_000, "full": true, "congestion": 55_000,
    });
    assert_eq!(traded["branches"][0], full);
    let free = &traded["branches"][1];
    assert_eq!(
        (&free["flow_wh"], &free["import_cap_wh"], &free["full"], &free["congestion"]),
        (&json!(400), &Value::Null, &json!(false), &json!(0))
    );
    assert_eq!(traded["buses"][1], json!({ "id": "B1", "price": 250_000 }));

    // Metered: home 0 gave 450 Wh, the others took 320, 390 and 100.
    let delivered = &told["delivered"];
    assert_eq!((&delivered["reporting"], &delivered["age_ms"]), (&json!(4), &Value::Null));
    let (low, high) = (&delivered["lowest"], &delivered["highest"]);
    assert_eq!(
        (&low["bus"], &high["bus"]),
        (&json!("B3"), &json!("HV")),
        "the far end of the cable"
    );
    let p_w = |id: &str| -> i64 {
        let branches = delivered["branches"].as_array().expect("a list");
        let branch = branches.iter().find(|branch| branch["id"] == id).expect("the branch");
        branch["p_w"].as_i64().expect("known")
    };
    let losses_wh = delivered["losses_wh"].as_f64().expect("solved");
    let at_the_transformer = p_w("T");
    assert!((1_440..1_500).contains(&at_the_transformer), "4 · (810 − 450) W and losses");
    let lost = (at_the_transformer - 1_440) as f64 / 4.0;
    assert!((losses_wh - lost).abs() < 0.5, "{losses_wh} Wh, {lost} by the balance");
    assert_eq!(delivered["assumed_losses_wh"], Value::Null, "this configuration has no [grid]");

    // The next slot is cleared and not delivered.
    let next = world.json(&format!("/api/v1/feeder/{}", slot(2).number())).await;
    assert_eq!(next["delivered"], Value::Null);
    world.server.stop().await;
}
