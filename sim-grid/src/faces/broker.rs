//! Where the broker is: `mqtt://[user:password@]host[:port]`.

use std::str::FromStr;
use std::time::Duration;

use rumqttc::v5::MqttOptions;

/// Port of MQTT without TLS.
const DEFAULT_PORT: u16 = 1883;
/// Longest silence before the client pings.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The address of an MQTT broker.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    host: String,
    port: u16,
    login: Option<(String, String)>,
}

/// Why a text is no broker address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no broker address ({reason}); write mqtt://host:port or mqtt://user:password@host:port"
)]
pub struct InvalidBrokerUrl {
    text: String,
    reason: &'static str,
}

impl BrokerUrl {
    /// A broker without a login.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, login: None }
    }

    /// Host and port.
    pub(crate) fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Connection options for a client.
    pub(crate) fn options(&self, client_id: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client_id, self.host.clone(), self.port);
        options.set_keep_alive(KEEP_ALIVE).set_clean_start(true);
        // Without it the client keeps a table for 65 535 unacknowledged messages.
        options.set_outgoing_inflight_upper_limit(64);
        if let Some((user, password)) = &self.login {
            options.set_credentials(user.clone(), password.clone());
        }
        options
    }
}

impl std::fmt::Debug for BrokerUrl {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mqtt://{}:{}", self.host, self.port)
    }
}

impl std::fmt::Display for BrokerUrl {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mqtt://{}:{}", self.host, self.port)
    }
}

impl FromStr for BrokerUrl {
    type Err = InvalidBrokerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBrokerUrl> {
        // A password never reaches a message.
        let shown = match (text.find("://"), text.rfind('@')) {
            (Some(scheme), Some(at)) if scheme < at => {
                format!("{}…{}", &text[..scheme + 3], &text[at..])
            }
            _ => text.to_owned(),
        };
        let refuse = |reason| InvalidBrokerUrl { text: shown.clone(), reason };
        let rest = text
            .strip_prefix("mqtt://")
            .or_else(|| text.strip_prefix("tcp://"))
            .ok_or_else(|| refuse("it does not start with mqtt://"))?;
        let rest = rest.trim_end_matches('/');
        let (login, place) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((login, place)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (Some((user.to_owned(), password.to_owned())), place)
            }
        };
        let (host, port) = match place.rsplit_once(':') {
            // An IPv6 address in brackets has colons of its own.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| refuse("the port is no number up to 65535"))?)
            }
            _ => (place, DEFAULT_PORT),
        };
        if host.is_empty() || host.contains(['/', ' ', '?', '#']) {
            return Err(refuse("the host is empty or has a path"));
        }
        Ok(Self { host: host.to_owned(), port, login })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_brokers() {
        for (text, host, port, login) in [
            ("mqtt://localhost", "localhost", 1883, None),
            ("mqtt://127.0.0.1:18830/", "127.0.0.1", 18_830, None),
            ("tcp://[::1]:1884", "[::1]", 1884, None),
            ("mqtt://[::1]", "[::1]", 1883, None),
            ("mqtt://me:p@ss@home:1", "home", 1, Some(("me", "p@ss"))),
        ] {
            let url: BrokerUrl = text.parse().expect(text);
            assert_eq!((url.host.as_str(), url.port), (host, port), "{text}");
            let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
            assert_eq!(url.login, login, "{text}");
        }
        for text in ["localhost:1883", "http://x", "mqtt://", "mqtt://x:99999", "mqtt://a/b"] {
            assert!(text.parse::<BrokerUrl>().is_err(), "{text}");
        }
        let error = "mqtt://me:secret@home:x".parse::<BrokerUrl>().expect_err("no port");
        assert!(!error.to_string().contains("secret"), "{error}");
        let url: BrokerUrl = "mqtt://me:secret@home".parse().expect("fine");
        assert_eq!(format!("{url} {url:?}"), "mqtt://home:1883 mqtt://home:1883");
    }
}
