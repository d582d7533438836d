//! The HTTP face over real sockets: what it shows, what it refuses, and how it tells what happens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clock::{Clock, ManualHand};
use controller::http::events::Event;
use controller::http::{Api, ClaimAnswer, Rpc, Running, document, start};
use controller::live::Board;
use controller::tariff::Tariff;
use feeder::{Bus, Line, Network, NetworkParts, Slack, Transformer};
use protocol::Live;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, watch};

use crate::record::{SLOTS, config, past, reader, slot};
use crate::street::{START, Street};

/// A server over a street with a past.
pub struct World {
    pub street: Street,
    pub server: Running,
    board: Arc<Board>,
    events: broadcast::Sender<Event>,
    _hand: ManualHand,
}

/// Transformer, then one bus per home along a cable.
fn network() -> Network {
    let bus = |id: &str, vn_kv: f64| Bus { id: id.to_owned(), vn_kv };
    let line = |id: &str, from: &str, to: &str| Line {
        id: id.to_owned(),
        from_bus: from.to_owned(),
        to_bus: to.to_owned(),
        r_ohm: 0.05,
        x_ohm: 0.02,
        length_m: Some(30.0),
        max_i_ka: 0.2,
    };
    Network::new(NetworkParts {
        buses: vec![
            bus("HV", 20.0),
            bus("B0", 0.4),
            bus("B1", 0.4),
            bus("B2", 0.4),
            bus("B3", 0.4),
        ],
        lines: vec![line("L1", "B0", "B1"), line("L2", "B2", "B1"), line("L3", "B2", "B3")],
        transformers: vec![Transformer {
            id: "T".to_owned(),
            hv_bus: "HV".to_owned(),
            lv_bus: "B0".to_owned(),
            sn_kva: 100.0,
            vn_hv_kv: 20.0,
            vn_lv_kv: 0.4,
            ratio_pu: 1.0,
            r_lv_ohm: 0.01,
            x_lv_ohm: 0.03,
        }],
        slacks: vec![Slack { bus: "HV".to_owned(), vm_pu: 1.0, va_degree: 0.0 }],
    })
    .expect("a tree")
}

async fn world() -> World {
    world_of(past().await).await
}

pub async fn world_of(street: Street) -> World {
    let config = Arc::new(config(&street));
    let (clock, hand) = Clock::manual(street.now_ms);
    let board = Arc::new(Board::new(config.households.iter().map(|home| home.point.clone()), 1.0));
    let (events, _) = broadcast::channel(64);
    let (_, chain) = watch::channel(None);
    let rpc: Rpc = Arc::new(|call| Box::pin(async move { json!({ "asked": call["method"] }) }));
    let api = Api {
        tariff: Arc::new(Tariff::load(&config.tariff).expect("flat")),
        network: Some(Arc::new(network())),
        reader: reader(&street).await,
        board: board.clone(),
        clock,
        events: events.clone(),
        chain,
        rpc: Some(rpc),
        claim: Arc::new(|_| Box::pin(async { Ok(ClaimAnswer::Queued) })),
        config,
    };
    let server = start(api, SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    World { street, server, board, events, _hand: hand }
}

pub struct Answer {
    pub status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl World {
    async fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.server.address()).await.expect("listening");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("in time").expect("read");
        let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..at].to_vec()).expect("text");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        let mut answer = Answer { status, head, body: bytes[at + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = joined(&answer.body);
        }
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        let host = self.server.address();
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }

    pub async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    fn live(&self, home: usize, power: i64) {
        self.board.update(
            Live {
                point: self.street.homes[home].point.to_string(),
                time_ms: self.street.now_ms,
                power_w: vec![power],
                pv_w: vec![],
                battery_w: vec![],
                soc_permille: vec![],
                voltage_mv: vec![230_000],
            },
            self.street.now_ms,
        );
    }
}

/// The body of a chunked answer.
fn joined(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..at]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("hexadecimal");
        body.extend(&rest[at + 2..at + 2 + size]);
        rest = &rest[at + 2 + size + 2..];
    }
    body
}

#[test]
fn the_description_is_the_golden_one() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let description = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &description).expect("written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == description,
        "the API has changed: look at the difference after UPDATE_GOLDEN=1 cargo test -p controller"
    );
}

#[tokio::test]
async fn every_described_path_answers_as_described() {
    let world = world().await;
    let description: Value = serde_json::from_str(&document()).expect("JSON");
    let paths = description["paths"].as_object().expect("paths");
    for (path, _) in paths {
        if path.ends_with("/events") || path.ends_with("/claim") {
            continue;
        }
        let last = slot(SLOTS).number();
        let asked = path.replace("{point}", "H00").replace("{slot}", &last.to_string());
        let asked = match path.as_str() {
            "/api/v1/bundle" | "/api/v1/allocation" => format!("{asked}?from={last}&to={last}"),
            _ => asked,
        };
        let answer = world.get(&asked).await;
        assert_eq!(answer.status, 200, "{asked}: {}", String::from_utf8_lossy(&answer.body));
        assert!(answer.header("content-security-policy").is_some(), "{asked}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{asked}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{asked}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn the_street_shows_what_is_and_not_what_is_unknown() {
    let world = world().await;
    let street = world.json("/api/v1/street").await;
    assert_eq!(street["live"]["pv_w"], Value::Null, "nobody has reported");
    assert_eq!(street["live"]["households"], 4);
    assert_eq!(street["chain"], Value::Null);
    assert_eq!(street["last"]["slot"], slot(SLOTS).number());
    assert_eq!(street["last"]["state"], "settled");
    assert_eq!(street["anchor"]["seq"], 2);
    assert_eq!(street["today"]["slots"], SLOTS);
    // Two slots are without orders, so that there is nothing to ask the solver.
    let ladder = json!({ "lp": 10, "exact": 1, "envelopes": 0, "shared": 0, "degraded_ppm": 0 });
    assert_eq!((&street["ladder"], &street["today"]["ladder"]), (&ladder, &ladder));
    assert_eq!(street["last"]["rung"], "lp");
    let now_ms = street["now_ms"].as_i64().expect("a time");
    for offer in street["offers"].as_array().expect("a list") {
        assert!(offer["gate_ms"].as_i64().expect("a time") > now_ms);
        assert_eq!(offer["retail"], 288_000);
    }

    world.live(0, -2_500);
    world.live(1, 1_000);
    let live = &world.json("/api/v1/street").await["live"];
    assert_eq!((&live["reporting"], &live["shared_w"]), (&json!(2), &json!(1_000)));
    assert_eq!((&live["grid_export_w"], &live["grid_import_w"]), (&json!(1_500), &json!(0)));
    world.server.stop().await;
}

#[tokio::test]
async fn slots_are_paged_and_their_curves_are_the_book() {
    let world = world().await;
    let newest = world.json("/api/v1/slots?limit=3").await;
    let numbers = |view: &Value| -> Vec<i64> {
        let slots = view["slots"].as_array().expect("a list");
        slots.iter().map(|slot| slot["slot"].as_i64().expect("a number")).collect()
    };
    let last = slot(SLOTS).number();
    // The next slot is cleared already.
    assert_eq!(numbers(&newest), [last + 1, last, last - 1]);
    assert_eq!(newest["slots"][0]["state"], "cleared");
    assert_eq!(newest["slots"][0]["import_wh"], Value::Null);
    let older = world.json(&format!("/api/v1/slots?before={last}&limit=2")).await;
    assert_eq!(numbers(&older), [last - 1, last - 2]);

    let third = world.json(&format!("/api/v1/slots/{}", slot(3).number())).await;
    // Home 3 was silent and came back, so the slot was settled again.
    assert_eq!((&third["measured"], &third["missing"]), (&json!(4), &json!(0)));
    assert_eq!((&third["version"], &third["header"]["version"]), (&json!(2), &json!(2)));
    let versions = third["versions"].as_array().expect("a list");
    let versions: Vec<_> =
        versions.iter().map(|header| (&header["version"], &header["missing"])).collect();
    assert_eq!(versions, [(&json!(1), &json!(1)), (&json!(2), &json!(0))]);
    assert_eq!(third["anchored_seq"], 1);
    let bids = &third["curves"]["bids"];
    assert_eq!(bids[0], json!({ "price": 250_000, "quantity_wh": 300 }));
    assert_eq!(
        bids[1],
        json!({ "price": 200_000, "quantity_wh": 301 }),
        "the replaced order is gone"
    );
    assert_eq!(third["curves"]["asks"], json!([{ "price": 150_000, "quantity_wh": 500 }]));
    assert_eq!(third["header"]["slot"], slot(3).number());
    assert!(third["clearing"]["sig"].is_string() && third["checkpoint"]["sig"].is_string());

    for (path, status, code) in [
        ("/api/v1/slots/1", 404, "no_such_slot"),
        ("/api/v1/slots/x", 400, "bad_path"),
        ("/api/v1/slots?limit=0", 400, "bad_limit"),
        ("/api/v1/slots?limit=100000", 400, "bad_limit"),
        ("/api/v1/slots?colour=red", 400, "bad_query"),
        ("/api/v1/nothing", 404, "no_such_path"),
        ("/api/v1/households/H99", 404, "no_such_household"),
        ("/api/v1/households/%2e%2e%2f", 404, "no_such_household"),
        ("/api/v1/households/H00/proof/1", 404, "no_such_statement"),
        ("/api/v1/households/H00/why/1", 404, "no_such_slot"),
        ("/api/v1/households/H00/why/-9223372036854775808", 404, "no_such_slot"),
        ("/api/v1/households/H00/why/9223372036854775807", 404, "no_such_slot"),
        ("/api/v1/households/H00/why/9223372036854775808", 400, "bad_path"),
        ("/api/v1/households/H00/why/now", 400, "bad_path"),
        ("/api/v1/households/H99/why/1", 404, "no_such_household"),
        ("/api/v1/feeder/1", 404, "no_such_slot"),
        ("/api/v1/feeder/-9223372036854775808", 404, "no_such_slot"),
        ("/api/v1/feeder/yesterday", 400, "bad_path"),
        ("/api/v1/bundle?from=1&to=2", 404, "not_settled"),
        ("/api/v1/bundle?from=2&to=1", 400, "bad_range"),
        ("/api/v1/bundle?from=-9223372036854775808&to=9223372036854775807", 400, "bad_range"),
        ("/assets/missing.js", 404, "no_such_file"),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        let error = &answer.json()["error"];
        assert_eq!(error["code"], code, "{path}");
        assert!(!error["hint"].as_str().expect("a hint").is_empty(), "{path}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn households_show_their_money_and_their_proofs() {
    let world = world().await;
    let all = world.json("/api/v1/households").await;
    let states: Vec<&Value> = (0..4).map(|home| &all["households"][home]["audit"]).collect();
    assert_eq!(states, ["verified", "verified", "failed", "verified"]);
    let today = &all["households"][0]["today"];
    assert!(today["amount_nano"].as_i64().expect("money") < 0, "the producer is paid");
    assert!(today["saved_nano"].as_i64().expect("money") > 0, "and better than by the supplier");

    for home in 0..4 {
        let view = world.json(&format!("/api/v1/households/H0{home}")).await;
        let statements = view["statements"].as_array().expect("a list");
        assert_eq!(statements.len(), usize::try_from(SLOTS).expect("small"));
        let sum = |name: &str| -> i64 {
            statements.iter().map(|row| row[name].as_i64().expect("a number")).sum()
        };
        // All slots are of one day, so day, all time and the rows agree.
        assert_eq!(view["totals"]["amount_nano"], sum("amount_nano"));
        assert_eq!(view["today"]["amount_nano"], sum("amount_nano"));
        let saved = sum("alone_nano") - sum("amount_nano");
        assert_eq!(view["totals"]["saved_nano"], saved);
        assert_eq!(view["today"]["saved_nano"], saved);
        assert_eq!(view["today"]["grid_import_wh"], sum("grid_import_wh"));
        assert_eq!(view["reward_wh"], sum("reward_wh"));
        for row in statements {
            let wh = |name: &str| row[name].as_i64().expect("energy");
            assert_eq!(wh("local_import_wh") + wh("grid_import_wh"), wh("import_wh"));
            assert_eq!(wh("local_export_wh") + wh("grid_export_wh"), wh("export_wh"));
        }
    }
    // What was silent in slot 3 is in slot 3 again, with both bills and what was told about each.
    let late = world.json("/api/v1/households/H03").await;
    let row = |number: i64| {
        let mut rows = late["statements"].as_array().expect("a list").iter();
        rows.find(|row| row["slot"] == slot(number).number()).expect("settled").clone()
    };
    assert_eq!((&row(4)["late_import_wh"], &row(4)["versions"]), (&json!(0), &json!([])));
    let again = row(3);
    assert_eq!((&again["version"], &again["import_wh"]), (&json!(2), &json!(100)));
    let versions = again["versions"].as_array().expect("a list");
    let told: Vec<_> = versions
        .iter()
        .map(|told| (&told["version"], &told["measured"], &told["missing"], &told["log_index"]))
        .collect();
    assert_eq!(told[0], (&json!(1), &json!(false), &json!(1), &json!(2)));
    assert_eq!(told[1], (&json!(2), &json!(true), &json!(0), &json!(3)));
    assert_eq!(versions[1]["amount_nano"], again["amount_nano"]);
    let found_in: Vec<_> = versions.iter().map(|told| &told["found_in"]).collect();
    assert_eq!(found_in, [&json!(slot(3).number()), &json!(slot(4).number())]);
    assert_ne!(versions[0]["amount_nano"], again["amount_nano"]);
    let path = format!("/api/v1/households/H03/proof/{}", slot(3).number());
    for (query, version) in [("", 2), ("?version=1", 1), ("?version=2", 2)] {
        let proof = world.json(&format!("{path}{query}")).await;
        assert_eq!(proof["statement"]["version"], version, "{query}");
        assert_eq!(proof["header"]["version"], version, "{query}");
    }
    let answer = world.get(&format!("{path}?version=3")).await;
    assert_eq!(answer.status, 404);

    let proof = world.json(&format!("/api/v1/households/H01/proof/{}", slot(2).number())).await;
    let delivery = world.street.delivery(1, slot(2)).expect("settled");
    assert_eq!(proof["statement"], serde_json::to_value(&delivery.statement).expect("plain"));
    assert_eq!(proof["checkpoint"], serde_json::to_value(&delivery.checkpoint).expect("plain"));
    assert_eq!(proof["anchor"]["seq"], 1);
    assert_eq!(proof["anchor"]["state"], "final");
    world.server.stop().await;
}

#[tokio::test]
async fn the_feeder_is_calculated_from_the_meters_that_report() {
    let world = world().await;
    let silent = world.json("/api/v1/feeder").await;
    let buses = silent["buses"].as_array().expect("a list");
    assert_eq!(buses[0]["id"], "HV");
    assert!(buses.iter().all(|bus| bus["vm_pu"].is_null() && bus["band"] == "unknown"));

    for (home, power) in [(0, 0), (1, 2_000), (3, 25_000)] {
        world.live(home, power);
    }
    let feeder = world.json("/api/v1/feeder").await;
    let bus = |id: &str| -> Value {
        let buses = feeder["buses"].as_array().expect("a list");
        buses.iter().find(|bus| bus["id"] == id).expect("the bus").clone()
    };
    assert_eq!(bus("B2")["band"], "unknown", "home 2 is silent");
    let (near, far) = (bus("B1")["vm_pu"].as_f64(), bus("B3")["vm_pu"].as_f64());
    assert!(near.expect("known") > far.expect("known"), "the voltage falls along the cable");
    assert_eq!(bus("B3")["parent"], "B2");
    assert_eq!(bus("B3")["points"], json!(["H03"]));
    let branches = feeder["branches"].as_array().expect("a list");
    let turned = branches.iter().find(|branch| branch["id"] == "L2").expect("the cable");
    assert_eq!(turned["length_m"], 30.0);
    assert_eq!(
        (&turned["from"], &turned["to"]),
        (&json!("B1"), &json!("B2")),
        "away from the grid"
    );
    assert!(turned["p_w"].as_i64().expect("power") > 25_000, "with losses");
    assert_eq!(feeder["reporting"], 3);
    world.server.stop().await;
}

#[tokio::test]
async fn foreign_hosts_methods_and_bodies_are_refused() {
    let world = world().await;
    let host = world.server.address();
    let post = |host: &str, path: &str, kind: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let here = host.to_string();
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}"#;
    let large = format!("{{\"method\":\"eth_call\",\"params\":\"{}\"}}", "x".repeat(70_000));
    let long = format!("/{}", "x".repeat(3_000));
    for (request, status) in [
        (
            "GET /api/v1/street HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".into(),
            421,
        ),
        (format!("GET {long} HTTP/1.1\r\nHost: {here}\r\nConnection: close\r\n\r\n"), 414),
        (post(&here, "/api/v1/street", "application/json", "{}"), 405),
        (
            format!("DELETE /api/v1/street HTTP/1.1\r\nHost: {here}\r\nConnection: close\r\n\r\n"),
            405,
        ),
        (post("evil.example", "/rpc", "application/json", call), 421),
        (post(&here, "/rpc", "text/plain", call), 415),
        (post(&here, "/rpc", "application/json", &large), 413),
        (post(&here, "/rpc", "application/json; charset=utf-8", call), 200),
    ] {
        let answer = world.ask(&request).await;
        let start: String = request.chars().take(60).collect();
        assert_eq!(answer.status, status, "{start}: {}", String::from_utf8_lossy(&answer.body));
        assert!(answer.header("content-security-policy").is_some(), "{start}");
    }
    // A claim needs a header that a foreign page cannot send.
    let claim = post(&here, "/api/v1/households/H00/claim", "text/plain", "");
    assert_eq!(world.ask(&claim).await.status, 403);
    let claim = claim.replace("\r\n\r\n", "\r\nX-Streetwatt: claim\r\n\r\n");
    let answer = world.ask(&claim).await;
    assert_eq!((answer.status, answer.json()), (202, json!({ "claim": "queued" })));

    let answer = world.ask(&post(&here, "/rpc", "application/json", call)).await;
    assert_eq!(answer.json(), json!({ "asked": "eth_blockNumber" }));
    let sends = call.replace("eth_blockNumber", "eth_sendRawTransaction");
    let answer = world.ask(&post(&here, "/rpc", "application/json", &sends)).await;
    assert_eq!(answer.json()["error"]["code"], -32_601);
    world.server.stop().await;
}

#[tokio::test]
async fn pages_are_compressed_and_remembered() {
    let world = world().await;
    let host = world.server.address();
    let page = world.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").expect("typed").starts_with("text/html"));
    // The app finds its own pages.
    assert_eq!(world.get("/household/H00").await.body, page.body);
    let packed = world
        .ask(&format!(
            "GET /api/v1/slots HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Accept-Encoding: gzip\r\n\r\n"
        ))
        .await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("cache-control"), Some("no-store"));
    if let Some(tag) = page.header("etag") {
        let again = world
            .ask(&format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nIf-None-Match: {tag}\r\n\r\n"
            ))
            .await;
        assert_eq!((again.status, again.body.len()), (304, 0));
    }
    world.server.stop().await;
}

/// Reads an event stream line by line.
struct Stream(BufReader<TcpStream>);

impl Stream {
    async fn open(world: &World) -> Self {
        let host = world.server.address();
        let mut stream = TcpStream::connect(host).await.expect("listening");
        let request =
            format!("GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        Self(BufReader::new(stream))
    }

    /// The next event of a kind.
    async fn next(&mut self, name: &str) -> Value {
        let wanted = format!("event: {name}");
        let mut found = false;
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line);
            let read = tokio::time::timeout(Duration::from_secs(10), read).await;
            assert_ne!(read.expect("in time").expect("text"), 0, "the stream ended");
            if line.trim() == wanted {
                found = true;
            } else if let Some(data) = line.trim().strip_prefix("data: ")
                && found
            {
                return serde_json::from_str(data).expect("JSON");
            }
        }
    }
}

#[tokio::test]
async fn what_happens_is_told_as_it_happens() {
    let world = world().await;
    let mut stream = Stream::open(&world).await;
    assert_eq!(stream.next("live").await["pv_w"], Value::Null, "the present comes first");
    let last = slot(SLOTS);
    for event in [
        Event::Settled(last),
        Event::Corrected(slot(3)),
        Event::Cleared(last.next()),
        Event::Anchored(1),
        Event::Offer(last.offset(2)),
        Event::Audit {
            point: world.street.homes[1].point.clone(),
            slot: last,
            version: 1,
            verified: true,
        },
        // Something the record does not know is not told.
        Event::Settled(START.offset(500)),
    ] {
        world.events.send(event).expect("the pump listens");
    }
    assert_eq!(stream.next("settled").await["state"], "settled");
    assert_eq!(stream.next("corrected").await["version"], 2);
    assert_eq!(stream.next("cleared").await["slot"], last.next().number());
    assert_eq!(stream.next("anchored").await["state"], "final");
    assert_eq!(stream.next("offer").await["slot"], last.offset(2).number());
    let audit = stream.next("audit").await;
    assert_eq!(
        audit,
        json!({ "point": "H01", "slot": last.number(), "version": 1, "verified": true })
    );
    world.live(0, 500);
    assert_eq!(stream.next("live").await["grid_import_w"], 500);
    // A stopping server ends its streams instead of waiting for them.
    let stopped = tokio::time::timeout(Duration::from_secs(10), world.server.stop());
    stopped.await.expect("in time");
}

#[tokio::test]
async fn streams_are_bounded_and_freed() {
    let world = world().await;
    let mut open = Vec::new();
    for _ in 0..128 {
        let mut stream = Stream::open(&world).await;
        stream.next("live").await;
        open.push(stream);
    }
    let refused = world.get("/api/v1/events").await;
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].clone()),
        (503, json!("too_many_streams"))
    );
    drop(open);
    // A place is free again as soon as the server has noticed a closed line; it writes to find out.
    let mut freed = false;
    for _ in 0..100 {
        world.events.send(Event::Offer(slot(2))).expect("the pump listens");
        let host = world.server.address();
        let mut stream = TcpStream::connect(host).await.expect("listening");
        let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.expect("an answer");
        freed = status.ends_with(b"200");
        if freed {
            break;
        }
    }
    assert!(freed, "closed streams give their places back");
    world.server.stop().await;
}
