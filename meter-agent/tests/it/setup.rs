//! The setup page's server: who gets in, and what it does for whoever does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meter_agent::onboarding::setup::{Setup, SetupError};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::device::{Device, meter_203, sunspec};

/// A page that is served, and its configuration.
struct Served {
    address: SocketAddr,
    token: String,
    config: PathBuf,
    _folder: tempfile::TempDir,
    serving: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn served() -> Served {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("agent.toml");
    std::fs::write(&config, include_str!("../../example.toml")).expect("written");
    let setup = Setup::open(&config, ([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let url = setup.url().expect("bound");
    let rest = url.strip_prefix("http://").expect("plain");
    let (address, token) = rest.split_once("/?token=").expect("with its token");
    let (address, token) = (address.parse().expect("an address"), token.to_owned());
    let serving = tokio::spawn(setup.serve());
    Served { address, token, config, _folder: folder, serving }
}

impl Served {
    /// Sends a request as it is written, with `HOST` and `TOKEN` filled in; status, head and body.
    async fn raw(&self, request: &str) -> (u16, String, String) {
        let request =
            request.replace("HOST", &self.address.to_string()).replace("TOKEN", &self.token);
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, head.to_owned(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let head = format!("GET {path} HTTP/1.1\r\nHost: HOST\r\nX-Setup-Token: TOKEN\r\n\r\n");
        let (status, _, body) = self.raw(&head).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nX-Setup-Token: TOKEN\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, _, body) = self.raw(&request).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// The end of a job, when it has come to one.
    async fn outcome(&self, id: &Value) -> Value {
        for _ in 0..600 {
            let (status, job) = self.get(&format!("/api/job?id={id}")).await;
            assert_eq!(status, 200, "{job}");
            if job["state"] != "running" {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not end");
    }
}

#[tokio::test]
async fn only_the_page_with_its_token_gets_in() {
    let served = served().await;
    for (request, expected) in [
        ("GET /?token=TOKEN HTTP/1.1\r\nHost: HOST\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n", 403),
        ("GET /?token=TOKE HTTP/1.1\r\nHost: HOST\r\n\r\n", 403),
        ("GET /?token= HTTP/1.1\r\nHost: HOST\r\n\r\n", 403),
        ("GET /?token=TOKEN HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        ("GET /?token=TOKEN HTTP/1.1\r\n\r\n", 421),
        ("GET /api/state?token=TOKEN HTTP/1.1\r\nHost: HOST\r\n\r\n", 403),
        ("GET /api/state HTTP/1.1\r\nHost: HOST\r\nX-Setup-Token: TOKEN\r\n\r\n", 200),
        (
            "GET /api/state HTTP/1.1\r\nHost: HOST\r\nX-Setup-Token: TOKEN\r\n\
             X-Setup-Token: TOKEN\r\n\r\n",
            403,
        ),
        (
            "GET /api/state HTTP/1.1\r\nHost: HOST\r\nX-Setup-Token: TOKEN\r\n\
             Origin: http://evil.example\r\n\r\n",
            403,
        ),
        (
            "GET /api/state HTTP/1.1\r\nHost: HOST\r\nX-Setup-Token: TOKEN\r\n\
             Sec-Fetch-Site: cross-site\r\n\r\n",
            403,
        ),
        (
            "POST /api/check HTTP/1.1\r\nHost: HOST\r\nX-Setup-Token: TOKEN\r\n\
             Content-Length: 2\r\n\r\n{}",
            415,
        ),
        (
            "POST /api/check HTTP/1.1\r\nHost: HOST\r\nX-Setup-Token: TOKEN\r\n\
             Content-Length: 99999999\r\n\r\n{}",
            413,
        ),
        ("DELETE /api/state HTTP/1.1\r\nHost: HOST\r\nX-Setup-Token: TOKEN\r\n\r\n", 405),
        ("GET /etc/passwd HTTP/1.1\r\nHost: HOST\r\nX-Setup-Token: TOKEN\r\n\r\n", 404),
        ("nonsense\r\n\r\n", 400),
    ] {
        let (status, _, body) = served.raw(request).await;
        assert_eq!(status, expected, "{request:?}: {body}");
    }
    let (_, head, page) = served.raw("GET /?token=TOKEN HTTP/1.1\r\nHost: HOST\r\n\r\n").await;
    assert!(head.contains("default-src 'none'") && !head.contains("unsafe-inline"), "{head}");
    assert!(!page.contains(&served.token), "the page does not hold the token");
    assert!(!page.contains("%NONCE%"));
}

#[tokio::test]
async fn the_page_finds_and_writes_down_as_the_command_does() {
    let device = Device::start().await;
    device.put(2, 3, 40_000, &sunspec(&[(1, &[0; 66]), (203, &meter_203(123, 4, 321))]));
    let served = served().await;
    let (status, state) = served.get("/api/state").await;
    assert_eq!((status, &state["devices"]), (200, &json!([])));
    assert!(state["missing"].as_str().is_some_and(|missing| missing.contains("meter")), "{state}");

    let address = format!("{}/2", device.host());
    let (status, job) = served.post("/api/probe", &json!({ "address": address })).await;
    assert_eq!(status, 200, "{job}");
    // One thing at a time.
    assert_eq!(served.post("/api/check", &json!({ "seconds": 3 })).await.0, 409);
    let outcome = served.outcome(&job["job"]).await;
    let fit = &outcome["result"]["units"][0]["fits"][0];
    assert_eq!((&fit["map"], &fit["roles"]), (&json!("sunspec-meter-203"), &json!(["meter"])));
    assert!(outcome["log"].as_array().is_some_and(|log| log.len() > 2), "{outcome}");

    let before = std::fs::read_to_string(&served.config).expect("there");
    let wish = |role: &str, dry_run: bool| {
        json!({ "address": address, "role": role, "map": "sunspec-meter-203", "unit": 2,
            "replace": null, "dry_run": dry_run })
    };
    let (status, told) = served.post("/api/assign", &wish("meter", true)).await;
    assert_eq!(status, 200, "{told}");
    let lines = told["changes"].as_array().expect("lines").clone();
    assert!(lines.contains(&json!("+ role = \"meter\"")), "{told}");
    assert_eq!(std::fs::read_to_string(&served.config).expect("there"), before);
    assert_eq!(served.post("/api/assign", &wish("meter", false)).await.0, 200);
    let config = meter_agent::Config::load(&served.config).expect("it can run");
    assert_eq!(config.devices[0].unit, Some(2));
    let (status, told) = served.post("/api/assign", &wish("meter", false)).await;
    assert_eq!(status, 422);
    assert!(told["error"].as_str().is_some_and(|what| what.contains("only one")), "{told}");

    // What is going on can be stopped.
    let (_, job) = served.post("/api/check", &json!({ "seconds": 60 })).await;
    served.post("/api/stop", &json!({})).await;
    assert_eq!(served.outcome(&job["job"]).await["error"], "stopped");
    let (_, job) = served.post("/api/check", &json!({ "seconds": 3 })).await;
    let remarks = served.outcome(&job["job"]).await;
    assert!(remarks["result"]["remarks"].to_string().contains("voltage within"), "{remarks}");
}

#[tokio::test]
async fn nonsense_is_answered_in_words() {
    let served = served().await;
    for (path, body, expected, said) in [
        ("/api/probe", json!({ "address": "http://x" }), 400, "leave http:// away"),
        ("/api/probe", json!({ "address": "mqtt://x/+" }), 400, "which device?"),
        ("/api/probe", json!({}), 400, "address"),
        ("/api/probe", json!({ "address": "x", "more": 1 }), 400, "more"),
        ("/api/sign-test", json!({ "watts": -5 }), 400, "300 to 20000 W"),
        ("/api/fly", json!({}), 404, "nothing"),
        ("/api/assign", json!([]), 400, "invalid"),
        (
            "/api/assign",
            json!({ "address": "192.0.2.7", "role": "pv", "map": "no-such-map", "unit": 1,
                "replace": null, "dry_run": true }),
            422,
            "no device map",
        ),
    ] {
        let (status, told) = served.post(path, &body).await;
        assert_eq!(status, expected, "{path} {body}: {told}");
        assert!(told["error"].as_str().is_some_and(|error| error.contains(said)), "{told}");
    }
    // Nothing can be checked yet, and that is said.
    let (_, job) = served.post("/api/check", &json!({ "seconds": 3 })).await;
    let outcome = served.outcome(&job["job"]).await;
    assert!(outcome["error"].as_str().is_some_and(|e| e.contains("no device yet")), "{outcome}");
    assert_eq!(served.get("/api/job?id=77").await.0, 404);

    let taken = Setup::open(&served.config, served.address).await;
    assert!(matches!(taken, Err(SetupError::Listen { .. })));
    let nowhere = Setup::open(Path::new("/nowhere/agent.toml"), ([127, 0, 0, 1], 0).into()).await;
    assert!(nowhere.err().is_some_and(|error| error.to_string().contains("meter-agent init")));
}
