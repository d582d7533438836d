//! The anchor history: what has gone to the chain.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::error::{ApiError, ErrorView};
use super::slots::limit;
use crate::store::read::{AnchorRow, AnchorState};

/// Most epochs per answer.
const MAX_ANCHORS: u32 = 500;

/// One epoch on its way to the chain.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AnchorSummary {
    /// Number of the epoch, from 1.
    seq: u64,
    /// First slot.
    from_slot: i64,
    /// Last slot.
    to_slot: i64,
    /// Settled slots in the log up to here.
    log_size: u64,
    /// Root of the log, hex.
    log_root: String,
    /// Root of the rewards tree, hex; zero while nobody has earned any.
    rewards_root: String,
    /// `queued`, `prepared` (signed), `sent`, or `final` (in a block that stays).
    #[schema(example = "final")]
    state: &'static str,
    /// The transaction, hex, once it is signed.
    tx_hash: Option<String>,
    /// The block, once it is final.
    block: Option<u64>,
    /// When it was written down, Unix milliseconds of market time.
    queued_ms: i64,
    /// When it was seen to be final.
    final_ms: Option<i64>,
    /// Sums over the epoch.
    totals: AnchorTotals,
}

/// Sums over an epoch.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AnchorTotals {
    /// Metered import.
    import_wh: i64,
    /// Metered export.
    export_wh: i64,
    /// From the grid above.
    grid_import_wh: i64,
    /// To the grid above.
    grid_export_wh: i64,
    /// Export that neighbours used.
    local_wh: i64,
    /// Money that went into the pool.
    debit_nano: i64,
    /// Money that left the pool.
    credit_nano: i64,
    /// What the supplier got, less what it paid.
    supplier_nano: i64,
    /// Energy that earned rewards.
    reward_wh: i64,
    /// All rewards since the beginning, a decimal number of 10^-18 tokens.
    reward_total: String,
}

/// Newest epochs first.
#[derive(Serialize, ToSchema)]
pub struct AnchorsView {
    /// The epochs.
    anchors: Vec<AnchorSummary>,
}

/// Which epochs.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AnchorsQuery {
    /// How many, 1 to 500; 50 when absent.
    limit: Option<u32>,
    /// Only epochs before this number.
    before: Option<u64>,
}

/// Epochs, newest first
#[utoipa::path(
    get,
    path = "/api/v1/anchors",
    params(AnchorsQuery),
    responses((status = 200, body = AnchorsView), (status = 400, body = ErrorView))
)]
pub async fn anchors(
    api: web::Data<Api>,
    query: web::Query<AnchorsQuery>,
) -> Result<HttpResponse, ApiError> {
    let limit = limit(query.limit, 50, MAX_ANCHORS)?;
    let rows = api.reader.anchors(query.before, limit).await?;
    let anchors = rows.into_iter().map(AnchorSummary::from).collect();
    Ok(HttpResponse::Ok().json(AnchorsView { anchors }))
}

impl From<AnchorRow> for AnchorSummary {
    fn from(row: AnchorRow) -> Self {
        let AnchorRow { draft, rewards_root, state, tx_hash, block, queued_ms, final_ms, .. } = row;
        let totals = &draft.totals;
        Self {
            seq: draft.seq,
            from_slot: draft.from_slot.number(),
            to_slot: draft.to_slot.number(),
            log_size: draft.log_size,
            log_root: draft.log_root.to_string(),
            rewards_root: rewards_root.to_string(),
            state: state_word(state),
            tx_hash: tx_hash.map(|hash| hash.to_string()),
            block,
            queued_ms,
            final_ms,
            totals: AnchorTotals {
                import_wh: totals.import_wh,
                export_wh: totals.export_wh,
                grid_import_wh: totals.grid_import_wh,
                grid_export_wh: totals.grid_export_wh,
                local_wh: totals.local_wh,
                debit_nano: totals.debit,
                credit_nano: totals.credit,
                supplier_nano: totals.supplier,
                reward_wh: totals.reward_wh,
                reward_total: totals.reward_total.to_string(),
            },
        }
    }
}

/// A block that may still be replaced counts as sent, a failure as queued again.
const fn state_word(state: AnchorState) -> &'static str {
    match state {
        AnchorState::Queued | AnchorState::Failed => "queued",
        AnchorState::Prepared => "prepared",
        AnchorState::Sent | AnchorState::Included => "sent",
        AnchorState::Final => "final",
    }
}
