//! The broker in the house that `deploy/mosquitto/home.conf` sets up: a password each, over TLS, and
//! nobody says what is not theirs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clock::Clock;
use meter_agent::Agent;
use meter_agent::config::{MqttConfig, TlsConfig};
use meter_agent::outlets::{Discovery, HomeAssistantConfig};
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use tls::BrokerUrl;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::agent::config;
use crate::mosquitto::Mosquitto;
use crate::private::{connect, publish};
use crate::support::broker::{Cable, broker as open_broker};
use crate::support::device::{Device, meter_203, sunspec};
use crate::support::listener::Listener;
use crate::support::world::FIRST;

const PATIENCE: Duration = Duration::from_secs(20);
/// Who has a password in the house; it is their name, backwards.
const USERS: [&str; 4] = ["streetwatt", "homeassistant", "evcc", "shellypro3em-0123456789ab"];

fn password(user: &str) -> String {
    user.chars().rev().collect()
}

/// The broker as it is copied from `deploy/mosquitto`, with a password for everybody of `home.acl`.
fn home(test: &str) -> Option<Mosquitto> {
    Mosquitto::deployed(test, "home.conf", "example-street", |folder| {
        let file = folder.join("home.passwords");
        std::fs::write(&file, "").expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, mode).expect("set");
        for user in USERS {
            let arguments = [file.to_str().expect("text"), user, &password(user)];
            let set = Command::new("mosquitto_passwd").arg("-b").args(arguments).output();
            let set = set.expect("mosquitto_passwd is there");
            assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
        }
    })
}

fn authority(folder: &Path) -> TlsConfig {
    TlsConfig { ca_file: Some(folder.join("ca.crt")), cert_file: None, key_file: None }
}

fn options(broker: &Mosquitto, id: &str, login: Option<(&str, &str)>) -> MqttOptions {
    let url = BrokerUrl::parse(&broker.url()).expect("an address");
    let mut options = MqttOptions::new(id, &url.host, url.port);
    let tls = authority(broker.folder());
    options.set_transport(tls::transport(&url, Some(&tls)).expect("files that fit"));
    if let Some((user, password)) = login {
        options.set_credentials(user, password);
    }
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_in_the_house_says_what_is_theirs() {
    let Some(broker) = home("the access list of the house") else { return };
    let announced = "homeassistant/sensor/streetwatt_example-street_C001/import/config";
    for (user, topic, fine) in [
        ("streetwatt", "streetwatt-home/C001/state", true),
        ("streetwatt", announced, true),
        ("streetwatt", "homeassistant/device/streetwatt_example-street_C001/config", true),
        ("streetwatt", "homeassistant/sensor/somebody_else/power/config", false),
        ("streetwatt", "homeassistant/status", false),
        ("streetwatt", "shellypro3em-0123456789ab/rpc", false),
        ("streetwatt", "evcc/loadpoints/1/mode/set", false),
        ("homeassistant", "homeassistant/status", true),
        ("homeassistant", "streetwatt-home/C001/state", false),
        ("evcc", "evcc/status", true),
        ("evcc", "streetwatt-home/C001/state", false),
        ("shellypro3em-0123456789ab", "shellypro3em-0123456789ab/status/em:0", true),
        ("shellypro3em-0123456789ab", "streetwatt-home/C001/state", false),
        ("shellypro3em-0123456789ab", announced, false),
    ] {
        let options = options(&broker, user, Some((user, &password(user))));
        let answer = publish(options, topic, b"x".to_vec()).await.expect("connected");
        assert_eq!(answer != PubAckReason::NotAuthorized, fine, "{user} to {topic}: {answer:?}");
    }
    for login in [None, Some(("streetwatt", "wrong")), Some(("nobody", "streetwatt"))] {
        let refused = connect(options(&broker, "stranger", login)).await;
        assert!(refused.is_err(), "{login:?} was let in");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_logs_in_over_tls_and_shows_itself_to_home_assistant() {
    let Some(broker) = home("an agent at the broker of the house") else { return };
    let device = Device::start().await;
    device.put(2, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter_203(1_000, 0, 400))]));
    let folder = tempfile::tempdir().expect("a folder");
    let cable = Cable::to(open_broker().await).await;
    let mut config = config(folder.path(), &device.host(), &cable, "example-street");
    config.poll_interval_ms = 100;
    let file = folder.path().join("home.password");
    let write = |word: &str, mode: u32| {
        std::fs::write(&file, format!("{word}\n")).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&file, mode).expect("set");
    };
    config.home_assistant = Some(HomeAssistantConfig {
        broker: MqttConfig {
            username: Some("streetwatt".into()),
            password_file: Some(file.clone()),
            tls: Some(authority(broker.folder())),
            ..MqttConfig::open(broker.url())
        },
        topic: None,
        interval_s: 1,
        discovery: Discovery::Components,
        discovery_prefix: "homeassistant".into(),
    });
    let login = Some(("homeassistant", "tnatsissaemoh"));
    let filters = ["streetwatt-home/#", "homeassistant/#"];
    let mut owner = Listener::with(options(&broker, "ha", login), &filters).await;
    // Others can read the password: that is said before anything is started.
    write(&password("streetwatt"), 0o644);
    let (clock, _hand) = Clock::manual(FIRST.start_ms() + 1_000);
    let refused = Agent::open(&config, clock.clone()).err().expect("not kept").to_string();
    assert!(refused.contains("chmod 600"), "{refused}");
    for (word, is_heard) in [("wrong".to_owned(), false), (password("streetwatt"), true)] {
        write(&word, 0o600);
        let agent = Agent::open(&config, clock.clone()).expect("opens");
        let mut status = agent.status();
        let (shutdown, stopped) = watch::channel(false);
        let task = tokio::spawn(agent.run(stopped));
        let read = status.wait_for(|status| status.journalled_seq == 1);
        timeout(PATIENCE, read).await.expect("in time").expect("runs");
        if is_heard {
            let state = "streetwatt-home/C001/state";
            let heard = owner.until("its figures", |topics| topics.contains_key(state)).await;
            assert!(heard[state].payload.contains("\"import_wh\":1000"), "{heard:?}");
            let announced = |topics: &std::collections::BTreeMap<String, _>| {
                topics.keys().any(|name| name.ends_with("_C001/import/config"))
            };
            owner.until("its announcements", announced).await;
        } else {
            // A word of another user shows that what came before was not let in.
            tokio::time::sleep(Duration::from_millis(500)).await;
            owner.say("homeassistant/status", "online", false).await;
            let heard = owner.until("its own", |topics| !topics.is_empty()).await;
            assert_eq!(heard.len(), 1, "{heard:?}");
        }
        shutdown.send_replace(true);
        task.await.expect("ends").expect("without a fault");
    }
}
