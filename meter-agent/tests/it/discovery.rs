//! Finding devices that publish, and looking at addresses that a person names.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use meter_agent::config::{MqttConfig, Role};
use meter_agent::device::Library;
use meter_agent::onboarding::Progress;
use meter_agent::onboarding::discover::{ListenError, listen};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, MqttOptions};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::broker::broker;
use crate::support::device::{Device, meter_203, sunspec};

/// A Shelly Pro 3EM, a plug behind zigbee2mqtt and much that is neither, again and again.
fn publishing(broker: SocketAddr) -> JoinHandle<()> {
    let options = MqttOptions::new("devices", broker.ip().to_string(), broker.port());
    let (client, mut eventloop) = AsyncClient::new(options, 64);
    tokio::spawn(async move {
        let pump = async { while eventloop.poll().await.is_ok() {} };
        let talk = async {
            loop {
                for (topic, payload) in [
                    (
                        "shellypro3em-a1b2c3d4e5f6/status/em:0",
                        r#"{"id":0,"a_voltage":231.0,"b_voltage":230.5,"c_voltage":232.1,
                            "a_act_power":400.0,"b_act_power":-50.0,"c_act_power":100.0,
                            "a_current":1.8,"b_current":0.3,"c_current":0.5,
                            "total_act_power":450.0}"#,
                    ),
                    (
                        "shellypro3em-a1b2c3d4e5f6/status/emdata:0",
                        r#"{"id":0,"total_act":12345.6,"total_act_ret":99.0}"#,
                    ),
                    ("zigbee2mqtt/washer", r#"{"power":12,"energy":80.7,"voltage":233}"#),
                    ("zigbee2mqtt/lamp", r#"{"state":"ON"}"#),
                    ("shellies/announce", r#"{"id":"shellyem-AA","model":"SHEM"}"#),
                    ("tele/broken/SENSOR", "{\"ENERGY\":"),
                    ("tele/odd/SENSOR", r#"{"ENERGY":{"Power":5,"Voltage":12}}"#),
                ] {
                    let sent = client.publish(topic, QoS::AtMostOnce, false, payload).await;
                    if sent.is_err() {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        tokio::select! {
            () = pump => {}
            () = talk => {}
        }
    })
}

#[tokio::test]
async fn what_publishes_is_found_by_its_topics_and_figures() {
    let address = broker().await;
    let devices = publishing(address);
    let maps = Library::load(None).expect("built in").all().expect("sound");
    let broker = MqttConfig::open(format!("mqtt://{address}"));
    let span = Duration::from_secs(3);
    let heard = listen(&broker, &maps, None, span, 0, &Progress::silent()).await.expect("heard");
    devices.abort();
    let topics: Vec<&str> = heard.devices.iter().map(|device| device.topic.as_str()).collect();
    assert_eq!(topics, ["shellypro3em-a1b2c3d4e5f6", "washer"], "{heard:#?}");
    let shelly = &heard.devices[0].fits[0];
    assert_eq!((shelly.map.as_str(), &shelly.roles[..]), ("shelly-gen2", &[Role::Meter][..]));
    assert!(shelly.reasons.iter().any(|reason| reason.contains("add up")), "{shelly:?}");
    assert!(heard.announced.iter().any(|said| said.contains("shellyem-AA")), "{heard:?}");

    let nobody = MqttConfig::open("mqtt://127.0.0.1:1");
    let error = listen(&nobody, &maps, None, span, 0, &Progress::silent()).await;
    let error = error.expect_err("nobody is there");
    assert!(matches!(error, ListenError::NoBroker { .. }), "{error}");
    assert!(error.to_string().contains("--mqtt-user"), "{error}");
}

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_meter-agent"))
        .args(arguments)
        .env("RUST_LOG", "error")
        .output()
        .expect("the program starts")
}

async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || {
        program(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let output = output.await.expect("ran");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("plain")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_publishes_is_written_down_with_its_broker() {
    let address = broker().await;
    let devices = publishing(address);
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("home");
    assert_eq!(run(&["init", "--dir", path(&dir)]).await.0, Some(0));
    let config = dir.join("agent.toml");
    let shelly = format!("mqtt://{address}/shellypro3em-a1b2c3d4e5f6");
    let assign = ["assign", "--config", path(&config), "--role", "meter", "--map", "shelly-gen2"];
    let (code, said, complained) = run(&[&assign[..], &[&shelly]].concat()).await;
    devices.abort();
    assert_eq!(code, Some(0), "{said}{complained}");
    let config = meter_agent::Config::load(&config).expect("right");
    let mqtt = config.devices[0].mqtt.as_ref().expect("it publishes");
    assert_eq!(mqtt.topic, "shellypro3em-a1b2c3d4e5f6");
    let own = mqtt.broker.as_ref().expect("another broker than the operator's");
    assert_eq!(own.url, format!("mqtt://{address}"));

    for (target, said) in
        [("mqtt://127.0.0.1:1883", "which device?"), ("mqtt://x/+", "which device?")]
    {
        let (code, _, complained) = run(&[&assign[..], &[target]].concat()).await;
        assert!(code == Some(2) && complained.contains(said), "{complained}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_addresses_that_are_named_are_asked() {
    let device = Device::start().await;
    device.put(1, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter_203(123, 4, 321))]));
    for unit in [2, 3, 71, 100, 126, 200, 201, 202, 203, 204, 240, 247] {
        device.mute(unit);
    }
    let (code, said, complained) = run(&["discover", "--no-mdns", "--json"]).await;
    let found: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(found["modbus"], serde_json::json!([]), "{complained}");
    let nothing = if found["serial"] == serde_json::json!([]) { 6 } else { 0 };
    assert_eq!((code, device.requests()), (Some(nothing), 0));

    let host = device.host();
    let look = ["discover", "--no-mdns", "--modbus", &host, "--modbus", "127.0.0.1:1"];
    let (code, said, complained) = run(&look).await;
    assert_eq!(code, Some(0), "{said}{complained}");
    let next = format!("assign --config agent.toml --role meter {host}/1");
    assert!(said.contains(&next) && said.contains("nobody listens at this port"), "{said}");
    let (code, _, complained) = run(&["discover", "--mqtt", "http://x"]).await;
    assert!(code == Some(3) && complained.contains("is no broker"), "{complained}");
}
