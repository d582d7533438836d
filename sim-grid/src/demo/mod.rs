//! A whole street in one process: simulated devices, one agent per household, the controller.
//!
//! Every part is started from a configuration file that is written first, and talks to the others
//! over Modbus, MQTT and HTTP only, so that nothing here can do what separate processes could not.

mod households;
mod plan;
mod sharing;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clock::{Clock, ClockConfig};
use controller::config::GridConfig;
use controller::run::Running;
use units::{PointId, Slot};

pub use households::Household;
pub use plan::WATCHDOG_S;
pub(crate) use plan::{Plan, devices, free_address};
pub use sharing::{KeyKind, SharingChoice};

use crate::faces::{BrokerUrl, FaceKind};
use crate::scenario::Scenario;
use crate::street::{Street, StreetOptions};

/// How to start a street with everything in it.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Folder of the scenario.
    pub scenario: PathBuf,
    /// Tariff; the scenario's first if left out.
    pub tariff: Option<String>,
    /// First slot of the world.
    pub from: Slot,
    /// Seed of the world.
    pub seed: u64,
    /// Where configurations, keys, journals and the record go.
    pub data_dir: PathBuf,
    /// Where the web app is served.
    pub http: SocketAddr,
    /// A broker elsewhere; otherwise one in the process, on a free port.
    pub broker: Option<BrokerUrl>,
    /// An EVM node; otherwise one in the process.
    pub rpc: Option<RpcNode>,
    /// Limits and fees of the scenario's network in the auction; none: everybody is at one place.
    pub grid: Option<GridConfig>,
    /// What members pay each other, and how the grid operator allocates.
    pub sharing: SharingChoice,
    /// Whether owners let their batteries be steered, so that they follow what was traded.
    pub steer: bool,
    /// Settled slots per anchored epoch.
    pub anchor_every_slots: u32,
    /// The `[clock]` section of every configuration; none when the clock is moved by hand.
    pub clock: Option<ClockConfig>,
}

/// An EVM node and an account on it that pays for transactions.
#[derive(Debug, Clone)]
pub struct RpcNode {
    /// `http://host:port`.
    pub url: String,
    /// File with the account's key, readable by its owner only.
    pub key_file: PathBuf,
}

/// A running street.
pub struct Demo {
    /// The devices.
    pub street: Street,
    /// The desk.
    pub controller: Running,
    /// The agents.
    pub households: BTreeMap<PointId, Household>,
    plan: plan::Plan,
}

impl Demo {
    /// Writes the configurations and starts everything: broker and controller, devices, agents.
    ///
    /// # Errors
    /// What cannot start, and why.
    pub async fn start(options: DemoOptions, clock: Clock) -> anyhow::Result<Self> {
        let scenario =
            Arc::new(Scenario::load(&options.scenario).context("the scenario is refused")?);
        let plan = plan::Plan::make(options, &scenario)?;
        let controller = controller::run::start(plan.controller_config()?, clock.clone()).await?;
        let street_options = StreetOptions {
            broker: Some(plan.broker.clone()),
            ..StreetOptions::new(plan.options.seed, plan.options.from)
        };
        let mut street = Street::start(scenario, &street_options).await?;
        // A street that is started again goes on where the clock is by now.
        let now_ms = clock.now_ms().min(street.world().end_ms());
        if now_ms > street.world().now_ms() {
            street.advance_to(now_ms).await?;
        }
        let mut households = BTreeMap::new();
        for face in street.faces() {
            let file = plan.write_agent(face)?;
            let household = Household::start(file, clock.clone())?;
            households.insert(face.customer.clone(), household);
        }
        Ok(Self { street, controller, households, plan })
    }

    /// Where the web app is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.controller.http)
    }

    /// The controller's configuration file.
    #[must_use]
    pub fn controller_file(&self) -> PathBuf {
        self.plan.controller_file()
    }

    /// Houses by the kind of their meter.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<&'static str, usize> {
        let mut kinds = BTreeMap::new();
        for face in self.street.faces() {
            *kinds.entry(FaceKind::name(&face.kind)).or_default() += 1;
        }
        kinds
    }

    /// Stops everything in an orderly way.
    ///
    /// # Errors
    /// When the record cannot be closed.
    pub async fn stop(self) -> anyhow::Result<()> {
        for household in self.households.into_values() {
            household.stop().await;
        }
        self.controller.stop().await?;
        Ok(())
    }
}
