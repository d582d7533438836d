//! The MQTT broker in the process, for streets that bring none of their own.
//!
//! It trusts nobody more than any other broker does: every message that matters is signed by its
//! sender, and only the controller's receipts release a household's journal.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Largest packet it takes, bytes; the desk refuses messages far smaller, with a reason.
pub const MAX_PACKET_BYTES: usize = 64 * 1024;
/// Most clients at a time.
const MAX_CLIENTS: usize = 2_000;
/// Pause between two looks whether it listens.
const WAIT: Duration = Duration::from_millis(10);

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
#[error(
    "no MQTT broker at {listen}: {source}; give another address as [broker] listen, \
     or the broker that runs there already as [broker] url"
)]
pub struct BrokerFault {
    listen: SocketAddr,
    source: std::io::Error,
}

/// Starts the broker on its own threads; it lives as long as the process.
///
/// # Errors
/// [`BrokerFault`] when the address cannot be listened on.
pub fn start(listen: SocketAddr) -> Result<(), BrokerFault> {
    // The broker would only log that the address is taken; ask the system first.
    let probe = TcpListener::bind(listen).map_err(|source| BrokerFault { listen, source })?;
    drop(probe);
    let mut broker = Broker::new(config(listen));
    std::thread::Builder::new()
        .name("broker".to_owned())
        .spawn(move || {
            if let Err(error) = broker.start() {
                tracing::error!(%error, "the broker in the process stopped");
            }
        })
        .map_err(|source| BrokerFault { listen, source })?;
    await_listening(listen);
    Ok(())
}

/// Waits until the broker takes connections, so that nobody's first attempt fails and is worth a
/// warning. It is not waited for long: clients try again anyway.
fn await_listening(listen: SocketAddr) {
    for _ in 0..100 {
        if TcpStream::connect_timeout(&listen, WAIT).is_ok() {
            return;
        }
        std::thread::sleep(WAIT);
    }
}

fn config(listen: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: MAX_PACKET_BYTES,
        max_inflight_count: 200,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "streetwatt-v5".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    Config {
        id: 0,
        router: RouterConfig {
            max_connections: MAX_CLIENTS,
            max_outgoing_packet_count: 200,
            max_segment_size: 256 * 1024,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v5: Some(HashMap::from([("v5".to_owned(), server)])),
        ..Config::default()
    }
}
