//! Claims that the operator sends for a producer: queued here, carried out by the outbox.

use std::sync::Arc;

use chain::At;
use clock::Clock;
use tokio::sync::{Mutex, Notify, watch};
use units::PointId;

use crate::config::Config;
use crate::http::{Claim, ClaimAnswer, OnChain};
use crate::store::Store;

/// A desk that takes claims; anyone may ask, and only the account that earned is ever paid.
pub(super) fn desk(
    config: &Arc<Config>,
    store: &Arc<Mutex<Store>>,
    clock: &Clock,
    wake: &Arc<Notify>,
    on_chain: &watch::Receiver<Option<OnChain>>,
) -> Claim {
    let (config, store, clock) = (config.clone(), store.clone(), clock.clone());
    let (wake, on_chain) = (wake.clone(), on_chain.clone());
    Arc::new(move |point: PointId| {
        let (config, store, clock) = (config.clone(), store.clone(), clock.clone());
        let (wake, on_chain) = (wake.clone(), on_chain.clone());
        Box::pin(async move {
            let answer = queue(&config, &store, &clock, &on_chain, &point).await;
            if matches!(answer, Ok(ClaimAnswer::Queued)) {
                wake.notify_one();
            }
            answer
        })
    })
}

async fn queue(
    config: &Config,
    store: &Mutex<Store>,
    clock: &Clock,
    on_chain: &watch::Receiver<Option<OnChain>>,
    point: &PointId,
) -> Result<ClaimAnswer, String> {
    let home = config.households.iter().find(|household| household.point == *point);
    let Some(home) = home else { return Ok(ClaimAnswer::UnknownPoint) };
    let Some(on_chain) = on_chain.borrow().clone() else {
        return Err("the contracts are not deployed yet".to_owned());
    };
    let claimed = on_chain
        .deployment
        .claimed(&*on_chain.chain, home.payout, At::Latest)
        .await
        .map_err(|error| error.to_string())?;
    let mut store = store.lock().await;
    let newest = store.newest_final_anchor().await.map_err(|error| error.to_string())?;
    let Some(newest) = newest else { return Ok(ClaimAnswer::Nothing) };
    let earned = newest.rewards_tree().earned(home.payout);
    if earned <= claimed {
        return Ok(ClaimAnswer::Nothing);
    }
    let queued = store
        .queue_claim(home.payout, earned, newest.seq, clock.now_ms())
        .await
        .map_err(|error| error.to_string())?;
    Ok(if queued { ClaimAnswer::Queued } else { ClaimAnswer::UnderWay })
}
