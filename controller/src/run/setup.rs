//! From a configuration to the parts that run.

use std::path::PathBuf;
use std::sync::Arc;

use chain::{At, Chain, EmbeddedChain, EmbeddedConfig, RpcChain, RpcConfig, Wallet};
use clock::Clock;
use market::Policy;
use protocol::{Address, Domain, OperatorKey, U256, public_key_from_hex};
use tokio::sync::{Mutex, Notify, broadcast, watch};

use super::RunFault;
use crate::chain_worker::Worker;
use crate::config::{ChainConfig, Config, RewardConfig};
use crate::desk::{Enrolment, Setup};
use crate::http::events::Event;
use crate::http::{ChainKind, OnChain, Rpc};
use crate::keys;
use crate::rules::{StreetGrid, StreetSharing};
use crate::store::{Store, StoreFault};
use crate::tariff::Tariff;

/// Ether of the operator on a chain in the process, where gas costs nothing real.
const EMBEDDED_WEI: u128 = 1_000_000 * WEI;
/// Smallest units per token, and per ether.
const WEI: u128 = 1_000_000_000_000_000_000;

/// The controller's secrets.
pub(super) struct Secrets {
    operator: [u8; 32],
    chain: [u8; 32],
    salt: [u8; 32],
}

impl Secrets {
    pub(super) fn load(config: &Config) -> Result<Self, RunFault> {
        let operator_path = config.data_dir.join("operator.key");
        let operator = keys::load_or_create(&operator_path)?;
        let chain = match &config.chain.key_file {
            Some(path) => keys::load(path)?,
            None => operator,
        };
        let salt = keys::load_or_create(&config.data_dir.join("salt.key"))?;
        let content = |path: PathBuf| keys::KeyFault::Content {
            path,
            reason: "not a number on the secp256k1 curve".to_owned(),
        };
        OperatorKey::from_bytes(&operator).map_err(|_| content(operator_path))?;
        Ok(Self { operator, chain, salt })
    }

    fn key(&self) -> OperatorKey {
        OperatorKey::from_bytes(&self.operator).expect("checked when it was loaded")
    }

    pub(super) fn operator(&self) -> Address {
        self.key().address()
    }

    fn wallet(&self) -> Result<Wallet, RunFault> {
        Wallet::from_secret(&self.chain).map_err(|error| RunFault::Chain(error.to_string()))
    }
}

/// The operator's address of a configuration, for its members' agents; makes the key on first use.
///
/// # Errors
/// [`RunFault::Key`].
pub fn operator_address(config: &Config) -> Result<Address, RunFault> {
    Ok(Secrets::load(config)?.operator())
}

/// The operator's key of a configuration, for what the operator signs by hand; makes it on first use.
///
/// # Errors
/// [`RunFault::Key`].
pub fn operator_key(config: &Config) -> Result<OperatorKey, RunFault> {
    Ok(Secrets::load(config)?.key())
}

/// How a configuration rewards the Wh of one slot.
#[must_use]
pub fn policy(config: &RewardConfig) -> Policy {
    // 10⁻³ token per kWh = 10⁻⁶ token per Wh = 10¹² of the smallest unit.
    Policy {
        rate_wei_per_wh: u128::from(config.millitokens_per_kwh) * 1_000_000_000_000,
        cap_wei: u128::from(config.max_tokens_per_slot) * WEI,
    }
}

/// Members as the configuration enrols them.
#[must_use]
pub fn enrolments(config: &Config) -> Vec<Enrolment> {
    let enrol = |household: &crate::config::HouseholdConfig| Enrolment {
        point: household.point.clone(),
        name: household.name.clone().unwrap_or_else(|| household.point.to_string()),
        bus: household.bus.clone(),
        key: public_key_from_hex(&household.key).expect("checked when it was loaded"),
        epoch: household.epoch,
        payout: household.payout,
        max_import_w: household.max_import_w,
        max_export_w: household.max_export_w,
        renewable: household.renewable,
        kind: household.kind.clone(),
        devices: household.devices.clone(),
    };
    config.households.iter().map(enrol).collect()
}

/// How the members share, as the configuration says.
#[must_use]
pub fn sharing(config: &Config) -> Arc<StreetSharing> {
    let members = config.households.iter().map(|household| household.point.clone()).collect();
    let sharing = StreetSharing::new(config.sharing.clone(), &members);
    Arc::new(sharing.expect("checked when it was loaded"))
}

pub(super) fn desk(
    config: &Config,
    secrets: &Secrets,
    tariff: &Tariff,
    grid: Arc<StreetGrid>,
) -> Result<Setup, RunFault> {
    Ok(Setup {
        domain: Domain::new(config.community.clone()),
        key: secrets.key(),
        salt_secret: secrets.salt,
        market: config.market.clone(),
        tariff: tariff.clone(),
        grid,
        sharing: sharing(config),
        policy: policy(&config.rewards),
        anchor_every_slots: config.chain.anchor_every_slots,
        enrolments: enrolments(config),
    })
}

pub(super) fn network(config: &Config) -> Result<Option<Arc<feeder::Network>>, RunFault> {
    let Some(feeder) = &config.feeder else { return Ok(None) };
    let network = crate::grid::network(&feeder.dir).map_err(RunFault::Feeder)?;
    Ok(Some(Arc::new(network)))
}

/// The chain that a configuration names.
pub(super) struct Connected {
    chain: Arc<dyn Chain>,
    kind: ChainKind,
    chain_id: u64,
    /// The EVM in the process, readable for everyone.
    pub(super) rpc: Option<Rpc>,
}

impl Connected {
    pub(super) fn on_chain(&self) -> impl FnOnce(chain::Deployment) -> OnChain + Send + 'static {
        let (kind, chain_id, chain) = (self.kind, self.chain_id, self.chain.clone());
        move |deployment| OnChain { kind, chain_id, deployment, chain }
    }
}

pub(super) fn chain(
    config: &Config,
    secrets: &Secrets,
    clock: &Clock,
) -> Result<Connected, RunFault> {
    let fault = |error: String| RunFault::Chain(error);
    let chain_id = config.chain.chain_id;
    if let Some(url) = &config.chain.rpc {
        let rpc = RpcConfig::new(url.clone(), chain_id);
        let chain = Arc::new(RpcChain::new(rpc).map_err(|error| fault(error.to_string()))?);
        return Ok(Connected { chain, kind: ChainKind::Rpc, chain_id, rpc: None });
    }
    let clock = clock.clone();
    let embedded = EmbeddedChain::open(EmbeddedConfig {
        dir: config.data_dir.join("chain"),
        chain_id,
        fund: vec![(secrets.wallet()?.address(), U256::from(EMBEDDED_WEI))],
        now_unix_s: Arc::new(move || u64::try_from(clock.now_ms() / 1_000).unwrap_or_default()),
    })
    .map_err(|error| fault(error.to_string()))?;
    let asked = embedded.clone();
    let rpc: Rpc = Arc::new(move |request| {
        let chain = asked.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || chain.handle_json_rpc(request))
                .await
                .unwrap_or(serde_json::Value::Null)
        })
    });
    let kind = ChainKind::Embedded;
    Ok(Connected { chain: Arc::new(embedded), kind, chain_id, rpc: Some(rpc) })
}

pub(super) fn worker(
    config: &Config,
    secrets: &Secrets,
    chain: &Connected,
    store: &Arc<Mutex<Store>>,
    clock: &Clock,
    wake: &Arc<Notify>,
    events: &broadcast::Sender<Event>,
) -> Result<Worker, RunFault> {
    let per_slot = policy(&config.rewards).cap_wei;
    Ok(Worker {
        chain: chain.chain.clone(),
        wallet: secrets.wallet()?,
        store: store.clone(),
        clock: clock.clone(),
        community: config.community.clone(),
        enrolments: enrolments(config),
        salt_secret: secrets.salt,
        epoch_reward_cap: per_slot * u128::from(config.chain.anchor_every_slots),
        finality: finality(&config.chain),
        wake: wake.clone(),
        events: events.clone(),
    })
}

fn finality(config: &ChainConfig) -> At {
    match (config.finality.as_deref(), &config.rpc) {
        (Some("latest"), _) | (None, None) => At::Latest,
        (Some("safe"), _) => At::Safe,
        _ => At::Finalized,
    }
}

/// Plans the deployment, waiting for the chain as long as it takes, then works.
pub(super) async fn work(
    worker: Worker,
    on_chain: impl FnOnce(chain::Deployment) -> OnChain,
    deployed: watch::Sender<Option<OnChain>>,
) -> Result<(), StoreFault> {
    let plan = worker.plan_patiently().await?;
    deployed.send_replace(Some(on_chain(plan.deployment())));
    worker.run(plan).await
}
