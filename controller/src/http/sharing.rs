//! How the street shares, and the legal allocation as a file for the grid operator.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use protocol::{LegalLine, SharingLine};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use units::Slot;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::error::{ApiError, ErrorView};
use crate::config::Config;
use crate::store::read::AllocationRow;

/// Longest range: a week.
const MAX_SLOTS: i64 = 7 * Slot::PER_DAY;
/// Names of the columns of the file.
const COLUMNS: &str = "slot,start,point,import_wh,export_wh,taken_wh,given_wh,rest_import_wh,rest_export_wh,version\n";

/// What members pay each other, and how the grid operator allocates, from the next gate on.
#[derive(Debug, Serialize, ToSchema)]
pub struct SharingView {
    /// The rule, in words: `auction`, `mid-market`, `allocated at 180000` (nano-currency per Wh), …
    #[schema(example = "mid-market")]
    rule: String,
    /// Kind of the legal key: `none`, `pro-rata`, `static`, `cascade`, `hierarchical` or `pairs`.
    #[schema(example = "pro-rata")]
    key: &'static str,
    /// Whether members place orders.
    takes_orders: bool,
    /// Rule and key as they are configured.
    #[schema(value_type = Object)]
    form: Value,
}

/// How one household's energy of a slot was shared. Positive amounts are paid.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatementSharingView {
    /// The rule, in words.
    rule: String,
    /// Kind of the legal key.
    key: String,
    /// What the import costs by the rule.
    pays_nano: i64,
    /// What the export earns by the rule.
    gets_nano: i64,
    /// What the grid operator allocated; null without a key or without a reading.
    legal: Option<LegalView>,
}

/// What the grid operator allocated to a household in a slot.
#[derive(Debug, Serialize, ToSchema)]
pub struct LegalView {
    /// Of the import, what neighbours gave.
    taken_wh: i64,
    /// Of the export, what neighbours took.
    given_wh: i64,
    /// What the supplier bills for the rest.
    residual_nano: i64,
    /// The household's part of what the allocation costs the street.
    shortfall_nano: i64,
    /// What is paid to the neighbours.
    difference_nano: i64,
}

/// The legal allocation of some slots.
#[derive(Debug, Serialize, ToSchema)]
pub struct AllocationView {
    /// By slot and metering point; a household without a reading in a slot is not there.
    allocation: Vec<AllocatedView>,
}

/// What one metering point was allocated in one slot.
#[derive(Debug, Serialize, ToSchema)]
pub struct AllocatedView {
    /// The slot.
    slot: i64,
    /// Which settlement of the slot: the newest.
    version: u32,
    /// Metering point.
    point: String,
    /// Metered import.
    import_wh: i64,
    /// Metered export.
    export_wh: i64,
    /// Of the import, what neighbours gave; the rest is the supplier's.
    taken_wh: i64,
    /// Of the export, what neighbours took; the rest is the supplier's.
    given_wh: i64,
}

/// In which form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// For programs.
    #[default]
    Json,
    /// For spreadsheets and grid operators.
    Csv,
}

/// Which slots, and in which form.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AllocationQuery {
    /// First slot.
    from: i64,
    /// Last slot; at most a week after the first.
    to: i64,
    /// `json` or `csv`.
    #[serde(default)]
    format: Form,
}

/// The legal allocation: whose energy was whose, as the grid operator counts it
///
/// Empty where no key is configured. What a later version of a slot changed is already in it.
#[utoipa::path(
    get,
    path = "/api/v1/allocation",
    params(AllocationQuery),
    responses(
        (status = 200, body = AllocationView, description = "JSON, or CSV with `format=csv`"),
        (status = 400, body = ErrorView),
    )
)]
pub async fn allocation(
    api: web::Data<Api>,
    query: web::Query<AllocationQuery>,
) -> Result<HttpResponse, ApiError> {
    let AllocationQuery { from, to, format } = *query;
    if to < from || to.saturating_sub(from) >= MAX_SLOTS {
        return Err(ApiError::bad_request(
            "bad_range",
            format!("slots {from} to {to} are no range of 1 to {MAX_SLOTS} slots"),
            "ask for at most a week at a time",
        ));
    }
    let rows = api.reader.allocation(Slot::new(from), Slot::new(to)).await?;
    if format == Form::Json {
        let allocation = rows.into_iter().map(AllocatedView::from).collect();
        return Ok(HttpResponse::Ok().json(AllocationView { allocation }));
    }
    let text: String = std::iter::once(COLUMNS.to_owned()).chain(rows.iter().map(line)).collect();
    let name = format!("attachment; filename=\"allocation-{from}-{to}.csv\"");
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, name))
        .body(text))
}

/// A row of the file. Names of metering points have no character that would need quoting.
fn line(row: &AllocationRow) -> String {
    let AllocationRow { slot, version, point, import, export, taken, given } = row;
    let (rest_in, rest_out) = (*import - *taken, *export - *given);
    let numbers = [*import, *export, *taken, *given, rest_in, rest_out].map(|one| one.wh());
    let numbers = numbers.map(|wh| wh.to_string()).join(",");
    format!("{},{slot},{point},{numbers},{version}\n", slot.number())
}

impl SharingView {
    /// As the configuration says.
    pub fn of(config: &Config) -> Self {
        let sharing = &config.sharing;
        Self {
            rule: sharing.rule.to_string(),
            key: sharing.key.name(),
            takes_orders: sharing.rule.takes_orders(),
            form: serde_json::to_value(sharing).expect("a rule and a key are plain data"),
        }
    }
}

impl From<&SharingLine> for StatementSharingView {
    fn from(line: &SharingLine) -> Self {
        let legal = |legal: &LegalLine| LegalView {
            taken_wh: legal.taken_wh,
            given_wh: legal.given_wh,
            residual_nano: legal.residual,
            shortfall_nano: legal.shortfall,
            difference_nano: legal.difference,
        };
        Self {
            rule: line.rule.clone(),
            key: line.key.clone(),
            pays_nano: line.pays,
            gets_nano: line.gets,
            legal: line.legal.first().map(legal),
        }
    }
}

impl From<AllocationRow> for AllocatedView {
    fn from(row: AllocationRow) -> Self {
        Self {
            slot: row.slot.number(),
            version: row.version,
            point: row.point.to_string(),
            import_wh: row.import.wh(),
            export_wh: row.export.wh(),
            taken_wh: row.taken.wh(),
            given_wh: row.given.wh(),
        }
    }
}
