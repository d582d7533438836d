//! `kill -9` at any moment: the real program loses nothing and never signs one number twice.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clock::{Clock, ClockConfig};
use meter_agent::Chance;
use meter_agent::journal::Journal;

use crate::agent::config;
use crate::support::broker::{Cable, broker};
use crate::support::desk::Desk;
use crate::support::device::{Device, meter_203, sunspec};
use crate::support::operator::{Operator, point};
use crate::support::world::FIRST;

/// A quarter-hour in a third of a second.
const SPEED: f64 = 2_700.0;
const KILLS: usize = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_the_program_goes_on_where_its_disk_ends() {
    let community = "street-kill";
    let folder = tempfile::tempdir().expect("a folder");
    let device = Device::start().await;
    device.put(2, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter_203(5_000, 0, 400))]));
    let broker = broker().await;
    let cable = Cable::to(broker).await;
    let mut config = config(folder.path(), &device.host(), &cable, community);
    let market = ClockConfig {
        anchor_wall_ms: clock::wall_ms(),
        anchor_market_ms: FIRST.start_ms(),
        speed: SPEED,
    };
    config.clock = Some(market);
    let clock = Clock::from_config(config.clock);
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, config.to_toml()).expect("written");

    let mut desk = Desk::open(broker, Operator::in_community(community, 1), point()).await;
    let mut chance = Chance::seeded(0x5eed);
    for kill in 0..KILLS {
        let mut agent = start(&file);
        // Every third life ends before the first receipt, the others somewhere on the way.
        desk.signs = kill % 3 != 2;
        let life = Duration::from_millis(100 + chance.below(900));
        desk.work_for(life, clock.now_ms()).await;
        agent.kill().expect("SIGKILL");
        agent.wait().expect("gone");
    }
    desk.signs = true;
    let mut agent = start(&file);
    let enough = desk.stored.len() + 3;
    desk.await_readings(enough, clock.now_ms()).await;
    agent.kill().expect("SIGKILL");
    agent.wait().expect("gone");

    // The desk checked the chain as it came; the journal says the same, reading by reading.
    let (journal, _) = Journal::open(folder.path(), &desk.operator.domain, 1).expect("usable");
    let entries = journal.newest(10_000).expect("readable");
    let journalled: Vec<_> = entries.iter().map(|entry| entry.reading.body.clone()).collect();
    assert!(journalled.len() >= desk.stored.len());
    assert_eq!(journalled[..desk.stored.len()], desk.stored[..]);
    let slots: Vec<i64> = journalled.iter().map(|reading| reading.slot).collect();
    assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "one reading per slot: {slots:?}");
    assert!(journalled.len() > 8, "{} readings", journalled.len());
}

fn start(config: &std::path::Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_meter-agent"))
        .args(["run", "--config"])
        .arg(config)
        .env("RUST_LOG", "error")
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts")
}
