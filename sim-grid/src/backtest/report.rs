//! What a back-test found: whole numbers with the unit in their name, in a fixed order.
//!
//! Money is in nano-currency (`_nano`), energy in Wh (`_wh`), power in W (`_w`), prices in
//! nano-currency per Wh (`_nano_per_wh`; 10 000 are a hundredth of the currency per kWh), shares in
//! millionths (`_ppm`), voltages in millionths of the nominal one (`_upu`). `docs/backtest.md`
//! describes every field.

use serde::Serialize;

/// Version of the report's layout; it changes when a field is renamed, removed or redefined.
pub const FORMAT: u32 = 1;

/// Everything that a run found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// What was run.
    pub run: RunFacts,
    /// What the street did with every battery serving its own house.
    pub street: StreetFigures,
    /// What it did with the batteries following the auction; none when that is the same.
    pub street_after: Option<StreetFigures>,
    /// Who lives there, in the order of the scenario.
    pub customers: Vec<CustomerFacts>,
    /// One entry per rule, in the order of [`Rule::ALL`](super::Rule::ALL).
    pub rules: Vec<RuleFigures>,
    /// The cables and transformers.
    pub feeder: Feeder,
    /// Day by day (UTC).
    pub days: Vec<DayFigures>,
    /// The average day of every calendar month.
    pub months: Vec<MonthFigures>,
}

/// What was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunFacts {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the tariff.
    pub tariff: String,
    /// First slot.
    pub from: String,
    /// First slot after the last.
    pub to: String,
    /// Slots that were run; the scenario may leave out days between.
    pub slots: u64,
    /// Slots whose orders the scenario's file gave.
    pub slots_ordered_by_file: u64,
    /// Slots whose orders the households gave by themselves.
    pub slots_ordered_by_households: u64,
    /// `published`: as metered. `simulated`: run by the back-test, in the auctions by the households'
    /// policies, otherwise for the own house.
    pub batteries: String,
    /// Seed of the policies and of last watt-hours.
    pub seed: u64,
    /// What the currency is called.
    pub currency: String,
    /// Whether the auction respected the feeder's branches.
    pub on_feeder: bool,
    /// What energy paid for the feeder's parts then.
    pub fees: FeeFacts,
    /// The community's own key in words, when it was tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_key: Option<String>,
}

/// Grid fees by tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FeeFacts {
    /// The connection of a building.
    pub building_nano_per_wh: i64,
    /// The street's cables.
    pub street_nano_per_wh: i64,
    /// A transformer.
    pub transformer_nano_per_wh: i64,
    /// The medium voltage.
    pub substation_nano_per_wh: i64,
}

/// What the street did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StreetFigures {
    /// Used by all.
    pub load_wh: i64,
    /// Produced by all.
    pub generation_wh: i64,
    /// Import of all meters.
    pub import_wh: i64,
    /// Export of all meters.
    pub export_wh: i64,
    /// Most that neighbours could have given each other: Σ min(import, export) of every slot.
    pub shareable_wh: i64,
    /// Share of the load that own roofs and batteries covered.
    pub own_ppm: i64,
    /// Share of the generation that was used behind the own meter.
    pub own_use_ppm: i64,
    /// Highest mean power of a slot into the street.
    pub peak_import_w: i64,
    /// Highest mean power of a slot out of the street.
    pub peak_export_w: i64,
    /// Left in simulated batteries at the end; they start empty.
    pub stored_wh: i64,
    /// Slots in which retail was not above feed-in, so that nothing could be gained inside.
    pub inverted_slots: u64,
    /// Retail price, mean over slots.
    pub retail_nano_per_wh: i64,
    /// Feed-in price, mean over slots.
    pub feed_in_nano_per_wh: i64,
}

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CustomerFacts {
    /// Metering point.
    pub customer: String,
    /// As the scenario says: `household`, `business` …
    pub kind: String,
    /// Name of its bus.
    pub bus: String,
    /// Kinds of devices beside the base load, each once.
    pub devices: Vec<String>,
    /// Used.
    pub load_wh: i64,
    /// Produced.
    pub generation_wh: i64,
    /// Import at the meter.
    pub import_wh: i64,
    /// Export at the meter.
    pub export_wh: i64,
    /// The bill without neighbours: retail for import, feed-in for export.
    pub alone_nano: i64,
}

/// What a rule did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleFigures {
    /// Name of the rule.
    pub rule: String,
    /// As a heading.
    pub title: String,
    /// In a sentence.
    pub meaning: String,
    /// Paid by all customers together; negative when they earn.
    pub bill_nano: i64,
    /// The benefits of all customers together.
    pub saving_nano: i64,
    /// The saving over the size of the bill alone; none when that is nothing.
    pub saving_ppm: Option<i64>,
    /// Energy that neighbours gave each other.
    pub local_wh: i64,
    /// Bought from the supplier.
    pub supplied_wh: i64,
    /// Sold to the supplier.
    pub taken_wh: i64,
    /// Share of the load covered by own roofs, batteries and neighbours.
    pub self_sufficiency_ppm: i64,
    /// The neighbours' part of it.
    pub from_neighbours_ppm: i64,
    /// Share of the generation used inside the street.
    pub self_consumption_ppm: i64,
    /// The neighbours' part of it.
    pub to_neighbours_ppm: i64,
    /// Prices of the local energy; none without any.
    pub local_price: Option<LocalPrice>,
    /// Slots with local energy.
    pub trading_slots: u64,
    /// Slots in which a branch of the feeder bound the trade.
    pub congested_slots: u64,
    /// Highest mean power of a slot bought from the supplier.
    pub supplier_peak_import_w: i64,
    /// Highest mean power of a slot sold to the supplier.
    pub supplier_peak_export_w: i64,
    /// Gini coefficient of the benefits, a loss counted as none; absent when nobody gains.
    pub gini_ppm: Option<i64>,
    /// Customers who pay less than alone.
    pub better_off: u64,
    /// Customers who pay more than alone, the largest loss first.
    pub worse_off: Vec<String>,
    /// Collected for the use of branches.
    pub grid_fees_nano: i64,
    /// Collected where branches bound.
    pub congestion_nano: i64,
    /// In the order of [`Report::customers`].
    pub customers: Vec<CustomerFigures>,
    /// Local price over the share of the local energy, dearest first.
    pub price_duration: Vec<PricePoint>,
}

/// Means over the local energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LocalPrice {
    /// What buyers paid.
    pub paid_nano_per_wh: i64,
    /// What sellers got; less than buyers paid by grid fees and congestion.
    pub earned_nano_per_wh: i64,
    /// What the same energy would have cost at the supplier.
    pub retail_nano_per_wh: i64,
    /// What the same energy would have earned at the supplier.
    pub feed_in_nano_per_wh: i64,
}

/// What a rule did for a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CustomerFigures {
    /// Metering point.
    pub customer: String,
    /// To be paid; negative when it is income.
    pub bill_nano: i64,
    /// The bill alone minus this one, plus what is left in a simulated battery at the end beyond what
    /// is left in it alone, at the last feed-in price.
    pub benefit_nano: i64,
    /// From neighbours.
    pub bought_wh: i64,
    /// To neighbours.
    pub sold_wh: i64,
}

/// A point of a duration curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PricePoint {
    /// Share of the local energy that was at least this dear.
    pub share_ppm: i64,
    /// The price.
    pub nano_per_wh: i64,
}

/// The feeder without and with the dispatch that the market leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Feeder {
    /// Lower end of the allowed band.
    pub band_low_upu: i64,
    /// Upper end of the allowed band.
    pub band_high_upu: i64,
    /// Branches that bound the auction's trade, the most frequent first.
    pub bound: Vec<BoundBranch>,
    /// Everybody alone.
    pub before: FeederFigures,
    /// With the market's dispatch; none when it is the same, because rules alone move no energy.
    pub after: Option<FeederFigures>,
}

/// A branch that was full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BoundBranch {
    /// Its name.
    pub branch: String,
    /// Slots in which it was full.
    pub slots: u64,
}

/// Power flows of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeederFigures {
    /// Power flows solved.
    pub slots: u64,
    /// Slots with a bus outside of the band.
    pub voltage_violation_slots: u64,
    /// Buses outside of the band, summed over slots.
    pub voltage_violations: u64,
    /// Slots with a branch beyond its rating.
    pub overload_slots: u64,
    /// Lost in cables and windings.
    pub losses_wh: i64,
    /// Where and when it was lowest.
    pub lowest_voltage: Option<Extreme>,
    /// Where and when it was highest.
    pub highest_voltage: Option<Extreme>,
    /// Per bus.
    pub buses: Vec<BusFigures>,
    /// Per branch, each after the one that feeds it.
    pub branches: Vec<BranchFigures>,
}

/// An extreme voltage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extreme {
    /// How much.
    pub upu: i64,
    /// Where.
    pub bus: String,
    /// When.
    pub slot: String,
}

/// A bus over a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BusFigures {
    /// Its name.
    pub id: String,
    /// Lowest voltage.
    pub lowest_upu: i64,
    /// Highest voltage.
    pub highest_upu: i64,
}

/// A cable or transformer over a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BranchFigures {
    /// Its name.
    pub id: String,
    /// On the side of the slack.
    pub from_bus: String,
    /// The bus it feeds.
    pub to_bus: String,
    /// Highest loading.
    pub highest_loading_ppm: i64,
    /// When.
    pub slot: Option<String>,
}

/// A day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DayFigures {
    /// `YYYY-MM-DD`.
    pub date: String,
    /// Used.
    pub load_wh: i64,
    /// Produced.
    pub generation_wh: i64,
    /// Import of all meters.
    pub import_wh: i64,
    /// Export of all meters.
    pub export_wh: i64,
    /// Σ min(import, export).
    pub shareable_wh: i64,
}

/// The average day of a calendar month, mean power of each quarter-hour; quarter-hours that were
/// not run are zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MonthFigures {
    /// `YYYY-MM`.
    pub month: String,
    /// Used.
    pub load_w: Vec<i64>,
    /// Produced.
    pub generation_w: Vec<i64>,
    /// Used behind the own meter or by a neighbour.
    pub covered_w: Vec<i64>,
}
