//! The back-test: what a street would have paid under another rule, another tariff, with other
//! batteries, before it votes on it.
//!
//! A scenario's slots go through the market's own code, one after the other, without network or
//! clock: meters are read, orders placed, the book cleared and certified, the slot settled, and
//! every bill added up. All rules see the same meters in the same pass. The same scenario and
//! options give the same report, bit by bit.

mod bidding;
mod error;
mod metering;
mod power;
mod report;
mod rule;
mod settling;
mod table;
mod tally;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use market::Terms;
use units::{Price, Slot};

pub use bidding::OrderSource;
pub use error::BacktestError;
pub use power::BAND_PU;
pub use report::*;
pub use rule::Rule;
pub use table::table;

use bidding::Bidders;
use metering::{Meters, Quarter};
use power::FeederWatch;
use settling::Settler;
use tally::{StreetTally, Tally};

use crate::scenario::{DeviceKind, Scenario, Tariff};

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Tariff of the scenario; the first one if left out.
    pub tariff: Option<String>,
    /// The rules; each counts once.
    pub rules: Vec<Rule>,
    /// Where orders come from.
    pub orders: OrderSource,
    /// First slot; the scenario's first if left out.
    pub from: Option<Slot>,
    /// First slot left out; the scenario's end if left out.
    pub to: Option<Slot>,
    /// Seed of the policies and of last watt-hours.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tariff: None,
            rules: Rule::ALL.to_vec(),
            orders: OrderSource::Auto,
            from: None,
            to: None,
            seed: 1,
        }
    }
}

/// A run that goes on slot by slot.
pub struct Backtest<'s> {
    scenario: &'s Scenario,
    tariff: &'s Tariff,
    options: Options,
    rows: Range<usize>,
    meters: Meters,
    bidders: Bidders,
    settlers: Vec<(Settler, Tally)>,
    alone: Settler,
    alone_tally: Tally,
    street: StreetTally,
    feeder: FeederWatch,
    done: usize,
}

impl<'s> Backtest<'s> {
    /// Checks the options and reads the orders. `folder` is where the scenario came from, if it
    /// came from a folder: its order files are there.
    ///
    /// # Errors
    /// [`BacktestError`] for options that do not fit the scenario and orders that are refused.
    pub fn new(
        scenario: &'s Scenario,
        folder: Option<&Path>,
        options: Options,
    ) -> Result<Self, BacktestError> {
        let tariff = tariff(scenario, options.tariff.as_deref())?;
        let rows = rows(scenario, options.from, options.to)?;
        let rules: BTreeSet<Rule> = options.rules.iter().copied().collect();
        if rules.is_empty() {
            return Err(BacktestError::NoRule);
        }
        let meters = Meters::new(scenario, options.seed);
        let customers = scenario.customers.len();
        let bidders = Bidders::new(scenario, tariff, folder, options.orders, options.seed)?;
        let settler = |rule| (Settler::new(rule, &meters.metered), Tally::new(rule, customers));
        let settlers = rules.into_iter().map(settler).collect();
        let (alone, alone_tally) = settler(Rule::None);
        Ok(Self {
            scenario,
            tariff,
            options,
            rows,
            meters,
            bidders,
            settlers,
            alone,
            alone_tally,
            street: StreetTally::new(customers),
            feeder: FeederWatch::new(&scenario.network),
            done: 0,
        })
    }

    /// Slots in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to run; never so after [`Self::new`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Slots that are done.
    #[must_use]
    pub const fn done(&self) -> usize {
        self.done
    }

    /// Runs the next slot; `false` once all are done.
    ///
    /// # Errors
    /// [`BacktestError`] names the slot; there is no report then.
    pub fn step(&mut self) -> Result<bool, BacktestError> {
        if self.done == self.rows.len() {
            return Ok(false);
        }
        let row = self.rows.start + self.done;
        let slot = self.scenario.timeline.slot_of(row).expect("a row of the timeline");
        let terms = terms(self.tariff, row, slot)?;
        self.meters.read(self.scenario, row, false);
        self.meters.close(slot);
        let quarter = Quarter { slot, terms, metered: &self.meters.metered };
        self.street.add(&quarter, &self.meters.houses);
        self.street.add_alone(quarter.metered);
        self.feeder.observe(self.scenario, row, slot, &self.meters.houses)?;

        let trades = self.settlers.iter().any(|(settler, _)| settler.rule.takes_orders());
        let clearing = if trades {
            let wishes = self.bidders.wishes(row, slot, terms, &self.meters.houses);
            Some(settling::auction(&quarter, wishes)?)
        } else {
            None
        };
        for (settler, tally) in &mut self.settlers {
            settler.settle(&quarter, clearing.as_ref())?;
            tally.add(&quarter, &settler.settled);
        }
        self.alone.settle(&quarter, None)?;
        self.alone_tally.add(&quarter, &self.alone.settled);
        self.done += 1;
        Ok(true)
    }

    /// What was found in the slots that are done.
    ///
    /// # Errors
    /// [`BacktestError::Sharing`] when the bills of the whole time leave the range of money.
    pub fn finish(mut self) -> Result<Report, BacktestError> {
        for (settler, tally) in &mut self.settlers {
            let when = || "the whole time".to_owned();
            let fault = |source| BacktestError::Sharing { when: when(), source };
            if let Some(amounts) = settler.close().map_err(fault)? {
                tally.amounts = amounts.iter().map(|amount| i128::from(amount.nano())).collect();
            }
        }
        let street = self.street.figures();
        let alone = &self.alone_tally.amounts;
        let customers = customers(self.scenario, &self.street, alone);
        let names: Vec<String> =
            customers.iter().map(|customer| customer.customer.clone()).collect();
        let rules =
            self.settlers.into_iter().map(|(_, tally)| tally.figures(&street, &names, alone));
        let timeline = &self.scenario.timeline;
        let slot = |row: usize| timeline.slot_of(row).expect("a row of the timeline");
        let last = self.rows.start + self.done.max(1) - 1;
        let run = RunFacts {
            scenario: self.scenario.name.clone(),
            tariff: self.tariff.name.clone(),
            from: slot(self.rows.start).to_string(),
            to: slot(last).next().to_string(),
            slots: self.done as u64,
            slots_ordered_by_file: self.bidders.from_file as u64,
            slots_ordered_by_policy: self.bidders.from_policy as u64,
            batteries: "published".to_owned(),
            seed: self.options.seed,
        };
        let upu = |pu: f64| -> i64 {
            #[expect(clippy::cast_possible_truncation, reason = "about 10^6")]
            let upu = (pu * 1e6).round() as i64;
            upu
        };
        let feeder = Feeder {
            band_low_upu: upu(BAND_PU.0),
            band_high_upu: upu(BAND_PU.1),
            before: self.feeder.figures(&self.scenario.network),
            after: None,
        };
        Ok(Report {
            format: FORMAT,
            run,
            rules: rules.collect(),
            customers,
            feeder,
            days: self.street.days(),
            months: self.street.months(),
            street,
        })
    }
}

fn tariff<'s>(scenario: &'s Scenario, name: Option<&str>) -> Result<&'s Tariff, BacktestError> {
    scenario.tariff(name).ok_or_else(|| {
        let known: Vec<&str> = scenario.tariffs.iter().map(|tariff| tariff.name.as_str()).collect();
        let name = name.unwrap_or_default().to_owned();
        BacktestError::UnknownTariff { name, known: known.join(", ") }
    })
}

fn rows(
    scenario: &Scenario,
    from: Option<Slot>,
    to: Option<Slot>,
) -> Result<Range<usize>, BacktestError> {
    let timeline = &scenario.timeline;
    let end = timeline.blocks().last().expect("a loaded scenario has a slot").end();
    let (from, to) = (from.unwrap_or_else(|| timeline.first()), to.unwrap_or(end));
    if to <= from {
        return Err(BacktestError::Backwards { from, to });
    }
    let rows = timeline.rows_between(from, to);
    if rows.is_empty() {
        let blocks = timeline.blocks().iter();
        let covered: Vec<String> =
            blocks.map(|block| format!("{} to {}", block.first, block.end())).collect();
        return Err(BacktestError::NothingThere { from, to, covered: covered.join(", ") });
    }
    Ok(rows)
}

fn terms(tariff: &Tariff, row: usize, slot: Slot) -> Result<Terms, BacktestError> {
    let price = |e5: i32| Price::from_e5_per_kwh(i64::from(e5));
    Terms::new(price(tariff.retail_e5[row]), price(tariff.feed_in_e5[row]))
        .map_err(|source| BacktestError::Terms { slot, source })
}

fn customers(scenario: &Scenario, street: &StreetTally, alone: &[i128]) -> Vec<CustomerFacts> {
    let list = scenario.customers.iter().enumerate();
    list.map(|(i, customer)| {
        let kinds: BTreeSet<DeviceKind> = scenario
            .devices
            .iter()
            .filter(|device| device.customer == i && device.kind != DeviceKind::Base)
            .map(|device| device.kind)
            .collect();
        CustomerFacts {
            customer: customer.id.to_string(),
            kind: customer.kind.clone(),
            bus: scenario.network.buses()[customer.bus].id.clone(),
            devices: kinds.into_iter().map(|kind| kind.name().to_owned()).collect(),
            load_wh: street.loads[i],
            generation_wh: street.generations[i],
            import_wh: street.imports[i],
            export_wh: street.exports[i],
            alone_nano: i64::try_from(alone[i]).expect("a household's bill fits 64 bits"),
        }
    })
    .collect()
}
