//! The smallest HTTP server that is right for three pages of text: `/metrics`, `/figures`, `/health`.
//!
//! One request per connection, few connections at a time, short heads, short patience. It reads
//! nothing but the request line and answers nothing but GET and HEAD.

use std::net::TcpListener;
use std::time::Duration;

use clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use super::{Picture, metrics};

/// Most connections at a time; others wait in the system's queue.
const MAX_CONNECTIONS: usize = 8;
/// Longest request head, bytes.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// How long a connection may take from beginning to end, real time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause after the system refused a connection, for example for want of file handles.
const PAUSE: Duration = Duration::from_millis(200);

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Serves pictures until nobody draws them any more.
pub async fn serve(listener: TcpListener, mut pictures: watch::Receiver<Picture>, clock: Clock) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            warn!(%error, "metrics cannot be served");
            return;
        }
    };
    let latest = pictures.clone();
    let ended = async { while pictures.changed().await.is_ok() {} };
    let accepted = async {
        let mut connections = JoinSet::new();
        loop {
            if connections.len() >= MAX_CONNECTIONS {
                connections.join_next().await;
            }
            // Finished ones make room without being waited for.
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (latest, clock) = (latest.clone(), clock.clone());
                    connections.spawn(timeout(PATIENCE, answer(stream, latest, clock)));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::select! {
        () = ended => {}
        () = accepted => {}
    }
}

/// Answers one request; whoever hangs up early gets nothing.
async fn answer(mut stream: TcpStream, pictures: watch::Receiver<Picture>, clock: Clock) {
    let Some(head) = head(&mut stream).await else { return };
    let now_ms = clock.now_ms();
    let page = page(&head, &pictures.borrow(), now_ms);
    let with_body = !head.starts_with("HEAD ");
    let answer = page.to_bytes(with_body);
    if stream.write_all(&answer).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

/// The request up to its empty line; none when it is too long or ends before.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut chunk = [0; 1_024];
    loop {
        let count = stream.read(&mut chunk).await.ok().filter(|&count| count > 0)?;
        head.extend_from_slice(&chunk[..count]);
        if head.windows(4).any(|window| window == b"\r\n\r\n") {
            return Some(String::from_utf8_lossy(&head).into_owned());
        }
        if head.len() > MAX_HEAD_BYTES {
            return None;
        }
    }
}

struct Page {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

impl Page {
    fn error(status: &'static str, what: &str) -> Self {
        Self { status, content_type: PLAIN, body: format!("{what}\n") }
    }

    fn to_bytes(&self, with_body: bool) -> Vec<u8> {
        let Self { status, content_type, body } = self;
        let length = body.len();
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        );
        if with_body {
            answer.push_str(body);
        }
        answer.into_bytes()
    }
}

fn page(head: &str, picture: &Picture, now_ms: i64) -> Page {
    let mut parts = head.lines().next().unwrap_or_default().split(' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (method, target, version, parts.next())
    else {
        return Page::error("400 Bad Request", "no HTTP/1.1 request");
    };
    if !["GET", "HEAD"].contains(&method) {
        return Page::error("405 Method Not Allowed", "only GET and HEAD: nothing can be changed");
    }
    match target.split('?').next().unwrap_or_default() {
        "/metrics" => Page {
            status: "200 OK",
            content_type: metrics::CONTENT_TYPE,
            body: metrics::text(picture, now_ms),
        },
        "/figures" => Page { status: "200 OK", content_type: JSON, body: picture.to_json() },
        "/health" => {
            let (is_well, answer) = metrics::health(picture, now_ms);
            let status = if is_well { "200 OK" } else { "503 Service Unavailable" };
            Page { status, content_type: JSON, body: answer.to_string() }
        }
        _ => Page::error("404 Not Found", "there are /metrics, /figures and /health"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reading_requests_for_known_pages_are_answered() {
        for (line, status) in [
            ("GET /metrics HTTP/1.1", "200 OK"),
            ("GET /metrics?x=1 HTTP/1.0", "200 OK"),
            ("HEAD /figures HTTP/1.1", "200 OK"),
            ("GET / HTTP/1.1", "404 Not Found"),
            ("GET /metrics/../health HTTP/1.1", "404 Not Found"),
            ("POST /metrics HTTP/1.1", "405 Method Not Allowed"),
            ("GET /metrics", "400 Bad Request"),
            ("GET  /metrics HTTP/1.1", "400 Bad Request"),
            ("GET /metrics HTTP/1.1 x", "400 Bad Request"),
            ("", "400 Bad Request"),
        ] {
            let page = page(&format!("{line}\r\n\r\n"), &Picture::default(), 0);
            assert_eq!(page.status, status, "{line}");
        }
    }
}
