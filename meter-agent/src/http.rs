//! The smallest HTTP server that is right for a few pages and short questions.
//!
//! One request per connection, few connections at a time, short heads, bounded bodies, short patience.
//! It knows nothing of what it serves: whoever uses it makes a [`Page`] of a [`Request`].

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Most connections at a time; others wait in the system's queue.
const MAX_CONNECTIONS: usize = 8;
/// Longest request head, bytes.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Pause after the system refused a connection, for example for want of file handles.
const PAUSE: Duration = Duration::from_millis(200);

/// Text.
pub const PLAIN: &str = "text/plain; charset=utf-8";
/// Data.
pub const JSON: &str = "application/json";
/// A page for people.
pub const HTML: &str = "text/html; charset=utf-8";

/// How much is read, and how long a connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest body, bytes.
    pub body_bytes: usize,
    /// From beginning to end, real time.
    pub patience: Duration,
}

/// A request as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// Up to the question mark.
    pub path: String,
    /// Behind it.
    pub query: String,
    headers: Vec<(String, String)>,
    /// What was sent along.
    pub body: Vec<u8>,
}

impl Request {
    /// The only header of this name; none when there is none, or more than one.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = all.next();
        first.filter(|_| all.next().is_none()).map(|(_, value)| value.as_str())
    }

    /// A value of the query, as it stands there.
    #[must_use]
    pub fn asked(&self, key: &str) -> Option<&str> {
        self.query.split('&').find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
    }

    /// Reads a head; `Err` for what is none of HTTP/1.
    pub(crate) fn parse(head: &str) -> Result<Self, Page> {
        let mut lines = head.lines();
        let mut parts = lines.next().unwrap_or_default().split(' ');
        let (method, target, version) = (parts.next(), parts.next(), parts.next());
        let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
            (method, target, version, parts.next())
        else {
            return Err(Page::error("400 Bad Request", "no HTTP/1.1 request"));
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Ok(Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers.collect(),
            body: Vec::new(),
        })
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// For example `200 OK`.
    pub status: &'static str,
    /// [`PLAIN`], [`JSON`] or another.
    pub content_type: &'static str,
    /// Further headers, each ended by a line's end.
    pub headers: String,
    /// What is sent.
    pub body: String,
}

impl Page {
    /// A page that is right.
    #[must_use]
    pub fn ok(content_type: &'static str, body: String) -> Self {
        Self { status: "200 OK", content_type, headers: String::new(), body }
    }

    /// A refusal, in words.
    #[must_use]
    pub fn error(status: &'static str, what: &str) -> Self {
        let body = format!("{what}\n");
        Self { status, content_type: PLAIN, headers: String::new(), body }
    }

    fn to_bytes(&self, with_body: bool) -> Vec<u8> {
        let Self { status, content_type, headers, body } = self;
        let length = body.len();
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{headers}\
             Connection: close\r\n\r\n"
        );
        if with_body {
            answer.push_str(body);
        }
        answer.into_bytes()
    }
}

/// Answers requests until it is dropped.
pub async fn serve<H>(listener: TcpListener, limits: Limits, handler: H)
where
    H: Fn(Request) -> Page + Clone + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        // Finished ones make room without being waited for.
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let handler = handler.clone();
                connections.spawn(timeout(limits.patience, answer(stream, limits, handler)));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Answers one request; whoever hangs up early gets nothing.
async fn answer(mut stream: TcpStream, limits: Limits, handler: impl Fn(Request) -> Page) {
    let Some((head, rest)) = head(&mut stream).await else { return };
    let with_body = !head.starts_with("HEAD ");
    let page = match Request::parse(&head) {
        Err(refusal) => refusal,
        Ok(request) => match body(&mut stream, &request, rest, limits.body_bytes).await {
            Ok(body) => handler(Request { body, ..request }),
            Err(refusal) => refusal,
        },
    };
    if stream.write_all(&page.to_bytes(with_body)).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

/// The request up to its empty line, and what came behind it; none when it is too long or ends before.
async fn head(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut chunk = [0; 1_024];
    loop {
        let count = stream.read(&mut chunk).await.ok().filter(|&count| count > 0)?;
        head.extend_from_slice(&chunk[..count]);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = head.split_off(end + 4);
            return Some((String::from_utf8_lossy(&head).into_owned(), rest));
        }
        if head.len() > MAX_HEAD_BYTES {
            return None;
        }
    }
}

/// What is sent along, as long as the head says.
async fn body(
    stream: &mut TcpStream,
    request: &Request,
    mut body: Vec<u8>,
    most: usize,
) -> Result<Vec<u8>, Page> {
    if request.header("transfer-encoding").is_some() {
        return Err(Page::error("411 Length Required", "say how long the body is"));
    }
    let length = match request.header("content-length") {
        None => 0,
        Some(text) => {
            text.parse::<usize>().ok().filter(|&length| length <= most).ok_or_else(|| {
                Page::error("413 Content Too Large", &format!("a body has {most} bytes at most"))
            })?
        }
    };
    let mut chunk = [0; 1_024];
    while body.len() < length {
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => body.extend_from_slice(&chunk[..count]),
            _ => return Err(Page::error("400 Bad Request", "the body ends early")),
        }
    }
    body.truncate(length);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_taken_apart() {
        let head =
            "POST /a/b?x=1&token=ff HTTP/1.1\r\nHost: localhost:1\r\nX-A: 1\r\nx-a: 2\r\n\r\n";
        let request = Request::parse(head).expect("a request");
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/a/b"));
        assert_eq!((request.asked("token"), request.asked("tok")), (Some("ff"), None));
        assert_eq!(request.header("HOST"), Some("localhost:1"));
        assert_eq!(request.header("x-a"), None, "said twice is not said");
        for head in ["", "GET /\r\n", "GET / HTTP/2\r\n", "GET  / HTTP/1.1", "GET / HTTP/1.1 x"] {
            assert_eq!(Request::parse(head).expect_err(head).status, "400 Bad Request");
        }
    }
}
