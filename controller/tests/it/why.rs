//! Why a price was what it was, asked over HTTP: from the record alone, for one household at a time.

use serde_json::{Value, json};

use crate::desk::{pass, read_all};
use crate::grid::grid;
use crate::http::{World, world_of};
use crate::record::{past, slot};
use crate::street::{START, Street};

/// Home 0 sells 500 Wh at 15 ct or more; home 1 wants 300 Wh at up to 25 ct behind a cable for
/// 100 Wh, home 2 400 Wh at up to 20 ct; home 3 stays away and buys 100 Wh all the same.
async fn on_the_grid() -> World {
    let mut street = Street::open_on(4, grid()).await;
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
    // Others are explained, again and again.
    for _ in 0..3 {
        assert_eq!(why(&world, 0, 3).await, why(&world, 0, 3).await);
    }
    world.server.stop().await;
}
