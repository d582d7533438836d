//! The controller's face to people and programs: JSON under `/api/v1`, server-sent events, the web
//! app, and one request that moves something: a producer's claim.
//!
//! Every answer is read from the record or from the live board; the desk does not know that this
//! exists. It listens on loopback unless the configuration says otherwise, and then refuses host
//! names that are not this machine's, so that no web page elsewhere can read it through a visitor's
//! browser.

mod anchors;
mod chain_rpc;
mod claim;
mod error;
pub mod events;
mod export;
mod feeder;
mod feeder_slot;
mod guard;
mod health;
mod households;
mod meter;
mod openapi;
mod refusals;
mod sharing;
mod slots;
mod street;
mod web_app;
mod why;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use ::chain::{Chain, Deployment};
use ::feeder::Network;
use actix_web::dev::ServerHandle;
use actix_web::middleware::{Compress, from_fn};
use actix_web::{App, HttpServer, web};
use clock::Clock;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use utoipa::ToSchema;

use crate::config::Config;
use crate::live::Board;
use crate::store::read::Reader;
use crate::tariff::Tariff;
use events::{Event, Hub};

pub use claim::ClaimAnswer;
pub use openapi::document;

/// Threads that answer requests.
const WORKERS: usize = 2;
/// Open connections per thread.
const MAX_CONNECTIONS: usize = 256;
/// How long a client may take to send its request, and how long it may be silent afterwards.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);
/// How long open answers may take to finish when the server stops.
const SHUTDOWN_SECONDS: u64 = 2;

/// Asks the EVM in this process: a JSON-RPC request in, its answer out.
pub type Rpc = Arc<dyn Fn(Value) -> BoxFuture<'static, Value> + Send + Sync>;

/// Takes a household's claim; the error says why the chain cannot be asked.
pub type Claim =
    Arc<dyn Fn(units::PointId) -> BoxFuture<'static, Result<ClaimAnswer, String>> + Send + Sync>;

/// Where the chain runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChainKind {
    /// In this process.
    Embedded,
    /// At a node.
    Rpc,
}

/// The street's contracts, once they are there.
#[derive(Clone)]
pub struct OnChain {
    /// Where the chain runs.
    pub kind: ChainKind,
    /// EIP-155 id.
    pub chain_id: u64,
    /// Addresses of the contracts.
    pub deployment: Deployment,
    /// For reading what was claimed.
    pub chain: Arc<dyn Chain>,
}

/// Everything that requests are answered from; clones share it.
#[derive(Clone)]
pub struct Api {
    /// Who the street is.
    pub config: Arc<Config>,
    /// The supplier's prices.
    pub tariff: Arc<Tariff>,
    /// The low-voltage network, when it is known.
    pub network: Option<Arc<Network>>,
    /// The record.
    pub reader: Reader,
    /// The present.
    pub board: Arc<Board>,
    /// Market time.
    pub clock: Clock,
    /// What happens, announced after it was committed.
    pub events: broadcast::Sender<Event>,
    /// The contracts; empty until they are deployed.
    pub chain: watch::Receiver<Option<OnChain>>,
    /// The EVM in this process, when it shall be readable at `/rpc`.
    pub rpc: Option<Rpc>,
    /// Takes claims.
    pub claim: Claim,
}

/// A listening server.
pub struct Running {
    address: SocketAddr,
    handle: ServerHandle,
    server: JoinHandle<io::Result<()>>,
    pump: JoinHandle<()>,
}

/// Listens and serves until [`Running::stop`].
///
/// # Errors
/// When the address cannot be listened on.
pub fn start(api: Api, bind: SocketAddr) -> io::Result<Running> {
    let listener = TcpListener::bind(bind)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let hub = Hub::new();
    let pump = tokio::spawn(hub.clone().pump(api.clone()));
    let guard = guard::Guard::for_address(address);
    let shelf = why::Shelf::default();
    let server = HttpServer::new(move || {
        let guard = guard.clone();
        App::new()
            .app_data(web::Data::new(api.clone()))
            .app_data(web::Data::new(hub.clone()))
            .app_data(web::Data::new(shelf.clone()))
            .app_data(web::PathConfig::default().error_handler(error::bad_path))
            .app_data(web::QueryConfig::default().error_handler(error::bad_query))
            .configure(routes)
            .wrap(Compress::default())
            .wrap(from_fn(move |request, next| guard.clone().watch(request, next)))
    })
    .workers(WORKERS)
    .max_connections(MAX_CONNECTIONS)
    .client_request_timeout(CLIENT_PATIENCE)
    .keep_alive(CLIENT_PATIENCE)
    .shutdown_timeout(SHUTDOWN_SECONDS)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    Ok(Running { address, handle, server: tokio::spawn(server), pump })
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all event streams, lets other answers finish, and stops listening.
    pub async fn stop(self) {
        self.pump.abort();
        self.handle.stop(true).await;
        match self.server.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the HTTP server had failed"),
            Err(error) => tracing::error!(%error, "the HTTP server has panicked"),
        }
    }
}

/// All paths, from the most particular to the web app that answers everything else.
fn routes(app: &mut web::ServiceConfig) {
    let get = web::get;
    app.service(
        web::scope("/api/v1")
            .route("/street", get().to(street::street))
            .route("/slots", get().to(slots::slots))
            .route("/slots/{slot}", get().to(slots::slot))
            .route("/feeder", get().to(feeder::feeder))
            .route("/feeder/{slot}", get().to(feeder_slot::feeder_slot))
            .route("/households", get().to(households::households))
            .route("/households/{point}", get().to(households::household))
            .route("/households/{point}/proof/{slot}", get().to(households::proof))
            .route("/households/{point}/why/{slot}", get().to(why::why))
            .route("/households/{point}/claim", web::post().to(claim::claim))
            .route("/anchors", get().to(anchors::anchors))
            .route("/refusals", get().to(refusals::refusals))
            .route("/allocation", get().to(sharing::allocation))
            .route("/bundle", get().to(export::bundle))
            .route("/events", get().to(events::events))
            .route("/openapi.json", get().to(openapi::openapi))
            .route("/healthz", get().to(health::healthz))
            .default_service(web::to(error::no_such_path)),
    )
    .route("/rpc", web::post().to(chain_rpc::rpc))
    .default_service(web::to(web_app::file));
}
