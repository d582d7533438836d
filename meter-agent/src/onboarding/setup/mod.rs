//! The same steps as on the command line, in a browser: find, look, write down, sign, check.
//!
//! One page from the program itself, no other host, no file. It is for the owner at this computer:
//! every request needs the token of the printed address, comes from the page itself, and names this
//! computer by its address, so that no other page in the same browser can ask anything. It listens
//! where it is told, on this computer alone unless told otherwise, and ends when nobody asks any more.

mod jobs;
mod tasks;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::assign::{AssignError, Draft, still_missing};
use crate::http::{HTML, JSON, Limits, Page, Request, serve};
use jobs::Jobs;
use tasks::Assignment;

const PAGE: &str = include_str!("page.html");
const LIMITS: Limits = Limits { body_bytes: 16 * 1024, patience: Duration::from_secs(10) };
/// When nobody has asked anything for so long, nobody is there.
const IDLE: Duration = Duration::from_secs(3_600);
/// How often is looked whether somebody is there.
const LOOK: Duration = Duration::from_secs(30);

/// Why the page cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration.
    #[error(transparent)]
    Draft(#[from] AssignError),
    /// The port.
    #[error("cannot listen on {listen}: {error}; choose another port with --listen 127.0.0.1:0")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// The system's answer.
        error: std::io::Error,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness for the address: {0}")]
    NoRandomness(getrandom::Error),
}

/// The page's server, ready to serve.
pub struct Setup {
    listener: TcpListener,
    desk: Arc<Desk>,
}

/// What answers requests.
struct Desk {
    config: PathBuf,
    token: String,
    port: u16,
    jobs: Mutex<Jobs>,
    asked: Mutex<Instant>,
}

impl Setup {
    /// Opens the port and makes the token. Needs a runtime.
    ///
    /// # Errors
    /// [`SetupError`].
    pub async fn open(config: &Path, listen: SocketAddr) -> Result<Self, SetupError> {
        Draft::open(config)?;
        let failed = |error| SetupError::Listen { listen, error };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(SetupError::NoRandomness)?;
        let desk = Desk {
            config: config.to_owned(),
            token: hex::encode(bytes),
            port,
            jobs: Mutex::default(),
            asked: Mutex::new(Instant::now()),
        };
        Ok(Self { listener, desk: Arc::new(desk) })
    }

    /// The address to open, with its token.
    ///
    /// # Errors
    /// [`SetupError::Listen`] when the system does not say where it listens.
    pub fn url(&self) -> Result<String, SetupError> {
        let listen = SocketAddr::from(([127, 0, 0, 1], self.desk.port));
        let address =
            self.listener.local_addr().map_err(|error| SetupError::Listen { listen, error })?;
        let shown = if address.ip().is_unspecified() { listen } else { address };
        Ok(format!("http://{shown}/?token={}", self.desk.token))
    }

    /// Serves until nobody has asked anything for an hour.
    pub async fn serve(self) {
        let desk = Arc::clone(&self.desk);
        let idle = async {
            loop {
                sleep(LOOK).await;
                let asked = *self.desk.asked.lock().expect("nobody panics while holding it");
                if asked.elapsed() > IDLE {
                    return;
                }
            }
        };
        tokio::select! {
            () = idle => {}
            () = serve(self.listener, LIMITS, move |request| desk.answer(&request)) => {}
        }
    }
}

/// Compares without telling by its time how much is the same.
fn is_same(one: &str, other: &str) -> bool {
    let differs = one.bytes().zip(other.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    one.len() == other.len() && differs == 0
}

/// Whether a `Host` is this computer by an address. A name could be anybody's who wants to be taken
/// for it.
fn is_address(host: &str, port: u16) -> bool {
    let Some((name, own)) = host.rsplit_once(':') else { return false };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let named = bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok();
    own.parse() == Ok(port) && named
}

fn refusal(status: &'static str, what: &str) -> Page {
    Page { status, ..Page::ok(JSON, json!({ "error": what }).to_string()) }
}

fn told(value: &Value) -> Page {
    Page::ok(JSON, value.to_string())
}

impl Desk {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().expect("nobody panics while holding it")
    }

    fn answer(self: &Arc<Self>, request: &Request) -> Page {
        if let Some(refused) = self.refused(request) {
            return refused;
        }
        *self.asked.lock().expect("nobody panics while holding it") = Instant::now();
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => page(),
            ("GET", "/api/state") => self.state(),
            ("GET", "/api/job") => self.job(request),
            ("POST", "/api/stop") => {
                self.jobs().stop();
                told(&json!({}))
            }
            ("POST", "/api/assign") => self.assign(&request.body),
            ("POST", path) => match tasks::task(path, &request.body, &self.config) {
                None => refusal("404 Not Found", "there is nothing at this address"),
                Some(Err(what)) => refusal("400 Bad Request", &what),
                Some(Ok(task)) => match self.jobs().start(task) {
                    Some(job) => told(&json!({ "job": job })),
                    None => refusal("409 Conflict", "something is going on already: stop it first"),
                },
            },
            ("GET", _) => refusal("404 Not Found", "there is nothing at this address"),
            _ => refusal("405 Method Not Allowed", "only GET and POST"),
        }
    }

    /// Why a request is not answered: it must come from the page, and know the token.
    fn refused(&self, request: &Request) -> Option<Page> {
        let host = request.header("host").unwrap_or_default();
        if !is_address(host, self.port) {
            let what =
                "open the address that setup has printed: it begins with this computer's address";
            return Some(refusal("421 Misdirected Request", what));
        }
        let foreign =
            request.header("origin").is_some_and(|origin| origin != format!("http://{host}"));
        let site = request.header("sec-fetch-site").unwrap_or("same-origin");
        if foreign || !["same-origin", "none"].contains(&site) {
            return Some(refusal("403 Forbidden", "another page may not ask this one"));
        }
        let given = request.header("x-setup-token");
        let given = if request.path == "/" { request.asked("token") } else { given };
        if !is_same(given.unwrap_or_default(), &self.token) {
            let what = "open the whole address that setup has printed, with its token";
            return Some(refusal("403 Forbidden", what));
        }
        let is_data = request.header("content-type").is_some_and(|kind| kind.starts_with(JSON));
        (request.method == "POST" && !is_data)
            .then(|| refusal("415 Unsupported Media Type", "send application/json"))
    }

    fn state(&self) -> Page {
        let config = match Draft::open(&self.config) {
            Ok(draft) => draft.config(),
            Err(error) => return refusal("500 Internal Server Error", &error.to_string()),
        };
        let devices = config.devices.iter().map(|device| {
            let place = device.place().map(|place| place.to_string());
            let topic = device.mqtt.as_ref().map(|mqtt| mqtt.topic.clone());
            json!({
                "name": device.name, "role": device.role, "map": device.map, "unit": device.unit,
                "place": place.or(topic),
            })
        });
        told(&json!({
            "config": self.config.display().to_string(),
            "point": config.point,
            "devices": devices.collect::<Vec<_>>(),
            "missing": still_missing(&config),
        }))
    }

    fn job(&self, request: &Request) -> Page {
        let id = request.asked("id").and_then(|id| id.parse().ok());
        match id.and_then(|id| self.jobs().told(id)) {
            Some(value) => told(&value),
            None => refusal("404 Not Found", "that is over: begin again"),
        }
    }

    /// Writes a device down, or shows what would be written.
    fn assign(&self, body: &[u8]) -> Page {
        let assignment: Assignment = match serde_json::from_slice(body) {
            Ok(assignment) => assignment,
            Err(error) => return refusal("400 Bad Request", &error.to_string()),
        };
        match assignment.carry_out(&self.config) {
            Ok(changes) => told(&json!({ "changes": changes })),
            Err(what) => refusal("422 Unprocessable Content", &what),
        }
    }
}

/// The page, with a word that only its own script and style know.
fn page() -> Page {
    let Ok(nonce) = getrandom::u64() else {
        return Page::error("500 Internal Server Error", "the system gives no randomness");
    };
    let nonce = format!("{nonce:016x}");
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Page {
        headers: format!(
            "Content-Security-Policy: {policy}\r\nReferrer-Policy: no-referrer\r\n\
             X-Frame-Options: DENY\r\n"
        ),
        ..Page::ok(HTML, PAGE.replace("%NONCE%", &nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_computer_by_its_address_is_meant() {
        for (host, ours) in [
            ("127.0.0.1:8088", true),
            ("localhost:8088", true),
            ("LOCALHOST:8088", true),
            ("[::1]:8088", true),
            ("192.0.2.7:8088", true),
            ("127.0.0.1:80", false),
            ("127.0.0.1", false),
            ("evil.example:8088", false),
            ("127.0.0.1.evil.example:8088", false),
            ("", false),
        ] {
            assert_eq!(is_address(host, 8_088), ours, "{host}");
        }
    }

    #[test]
    fn a_token_is_the_same_or_it_is_not() {
        assert!(is_same("abc", "abc"));
        for (one, other) in [("abc", "abd"), ("abc", "ab"), ("", "a"), ("abc", "abcd")] {
            assert!(!is_same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn the_page_is_one_small_file_that_asks_nobody_else() {
        assert!(PAGE.len() < 30_000, "{} bytes", PAGE.len());
        for foreign in ["http://", "https://", "//cdn", "@import", "innerHTML", "eval("] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
    }
}
