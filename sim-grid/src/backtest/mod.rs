//! The back-test: what a street would have paid under another rule, another tariff, with other
//! batteries, before it votes on it.
//!
//! A scenario's slots go through the market's own code, one after the other, without network or
//! clock: meters are read, orders placed, the book cleared and certified, the slot settled, and
//! every bill added up. All rules see the same slot in the same pass. The same scenario and options
//! give the same report, bit by bit.
//!
//! Rules move money and the auction moves batteries: with simulated batteries, the auction's rules
//! are settled on meters behind batteries that follow the households' policies, all others on meters
//! behind batteries that serve their own house, because a rule that is applied to meters afterwards
//! tells a battery nothing beforehand. Without simulated batteries both are what was metered.

mod bidding;
mod community;
mod error;
mod metering;
mod network;
mod page;
mod power;
mod report;
mod rule;
mod settling;
mod storage;
mod table;
mod tally;
mod text;
mod verdict;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use market::{Clearing, Terms, Tier};
use units::{Price, Slot};

pub use bidding::OrderSource;
pub use community::{Community, RULES_FILE};
pub use error::BacktestError;
pub use network::Fees;
pub use page::page;
pub use power::BAND_PU;
pub use report::*;
pub use rule::Rule;
pub use table::table;
pub use verdict::{Verdict, verdict};

use bidding::{Before, Bidders};
use metering::{Meters, Quarter};
use network::Wires;
use power::FeederWatch;
use settling::Settler;
use storage::Batteries;
use tally::{StreetTally, Tally};

use crate::scenario::{DeviceKind, Profiles, Scenario, Tariff};

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Tariff of the scenario; the first one if left out.
    pub tariff: Option<String>,
    /// The rules; each counts once.
    pub rules: Vec<Rule>,
    /// Where orders come from.
    pub orders: OrderSource,
    /// Whether the back-test runs the batteries behind raw PV; otherwise what they did is as the
    /// scenario publishes it. Where it publishes nothing they are run in any case.
    pub batteries: bool,
    /// Whether the auction respects the feeder's branches; otherwise it is a copper plate.
    pub on_feeder: bool,
    /// What the community wrote down about its grid, for the auction when it respects the feeder,
    /// and its key.
    pub community: Community,
    /// First slot; the scenario's first if left out.
    pub from: Option<Slot>,
    /// First slot left out; the scenario's end if left out.
    pub to: Option<Slot>,
    /// Seed of the policies and of last watt-hours.
    pub seed: u64,
    /// What the tariff's currency is called; only for people.
    pub currency: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tariff: None,
            rules: Rule::ALL.to_vec(),
            orders: OrderSource::Auto,
            batteries: false,
            on_feeder: true,
            community: Community::default(),
            from: None,
            to: None,
            seed: 1,
            currency: "EUR".to_owned(),
        }
    }
}

/// A run that goes on slot by slot.
pub struct Backtest<'s> {
    scenario: &'s Scenario,
    tariff: &'s Tariff,
    options: Options,
    rows: Range<usize>,
    bidders: Bidders,
    /// None on a copper plate.
    wires: Option<Wires>,
    settlers: Vec<(Settler, Tally)>,
    alone: Settler,
    alone_tally: Tally,
    /// Every battery serves its own house.
    before: Dispatch,
    /// Batteries follow the auction; only when there are both.
    after: Option<Dispatch>,
    done: usize,
}

/// Meters, batteries and network under one way of running the batteries.
struct Dispatch {
    meters: Meters,
    /// None where they are as published.
    batteries: Option<Batteries>,
    street: StreetTally,
    feeder: FeederWatch,
}

impl Dispatch {
    fn new(scenario: &Scenario, seed: u64, simulates: bool) -> Self {
        Self {
            meters: Meters::new(scenario, seed),
            batteries: simulates.then(|| Batteries::of(scenario)),
            street: StreetTally::new(scenario.customers.len()),
            feeder: FeederWatch::new(&scenario.network),
        }
    }

    /// Reads what happens behind the meters without batteries.
    fn read(&mut self, scenario: &Scenario, row: usize, slot: Slot) {
        self.meters.read(scenario, row, self.batteries.is_some());
        self.meters.draw_ranks(slot);
    }

    /// Takes down the slot once the batteries have done their part.
    fn close(
        &mut self,
        scenario: &Scenario,
        row: usize,
        slot: Slot,
        terms: Terms,
    ) -> Result<(), BacktestError> {
        self.meters.close();
        let quarter = Quarter { slot, terms, metered: &self.meters.metered };
        self.street.add(&quarter, &self.meters.houses);
        self.feeder.observe(scenario, row, slot, &self.meters.houses)
    }

    fn figures(&self) -> StreetFigures {
        let stored_wh = self.batteries.as_ref().map_or(0, Batteries::stored_wh);
        StreetFigures { stored_wh, ..self.street.figures() }
    }
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
        options.community.check(scenario)?;
        if rules.contains(&Rule::OwnKey) && !options.community.has_key() {
            return Err(BacktestError::NoKey);
        }
        let unpublished = |all: &Profiles| all.runs_battery && all.published.is_none();
        let simulates = scenario.profiles.iter().any(|all| all.runs_battery)
            && (options.batteries || scenario.profiles.iter().any(unpublished));
        let seed = options.seed;
        let before = Dispatch::new(scenario, seed, simulates);
        let trades = rules.iter().any(|rule| rule.takes_orders());
        let after = (simulates && trades).then(|| Dispatch::new(scenario, seed, true));
        let batteries = before.batteries.as_ref();
        let bidders = Bidders::new(scenario, tariff, folder, options.orders, seed, batteries)?;
        let wires = if options.on_feeder && trades {
            Some(Wires::of(scenario, &options.community)?)
        } else {
            None
        };
        let customers = scenario.customers.len();
        let settler = |rule| {
            let settler = Settler::new(rule, &before.meters.metered, &options.community);
            (settler, Tally::new(rule, customers))
        };
        let settlers = rules.into_iter().map(settler).collect();
        let (alone, alone_tally) = settler(Rule::None);
        Ok(Self {
            scenario,
            tariff,
            options,
            rows,
            bidders,
            wires,
            settlers,
            alone,
            alone_tally,
            before,
            after,
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
        self.before.read(self.scenario, row, slot);
        if let Some(batteries) = &mut self.before.batteries {
            batteries.serve_houses(&mut self.before.meters.houses);
        }
        self.before.close(self.scenario, row, slot, terms)?;
        let clearing = self.trade(row, slot, terms)?;
        let is_congested = match (&mut self.wires, &clearing) {
            (Some(wires), Some(clearing)) => wires.observe(clearing),
            _ => false,
        };
        let metered = &self.before.meters.metered;
        let alone = Quarter { slot, terms, metered };
        let metered = self.after.as_ref().map_or(metered, |after| &after.meters.metered);
        let traded = Quarter { slot, terms, metered };
        for (settler, tally) in &mut self.settlers {
            let quarter = if settler.rule.takes_orders() { &traded } else { &alone };
            settler.settle(quarter, clearing.as_ref())?;
            tally.add(quarter, &settler.settled);
            if let Some(clearing) = clearing.as_ref().filter(|_| settler.rule.takes_orders()) {
                tally.add_grid(clearing, is_congested);
            }
        }
        self.alone.settle(&alone, None)?;
        self.alone_tally.add(&alone, &self.alone.settled);
        self.done += 1;
        Ok(true)
    }

    /// The auction of a slot, and what batteries do after it; nothing when no rule has one.
    fn trade(
        &mut self,
        row: usize,
        slot: Slot,
        terms: Terms,
    ) -> Result<Option<Clearing>, BacktestError> {
        if !self.settlers.iter().any(|(settler, _)| settler.rule.takes_orders()) {
            return Ok(None);
        }
        if let Some(after) = &mut self.after {
            after.read(self.scenario, row, slot);
        }
        let dispatch = self.after.as_ref().unwrap_or(&self.before);
        let orders = self.bidders.orders(&Before {
            row,
            slot,
            terms,
            tariff: self.tariff,
            metered: &dispatch.meters.metered,
            nodes: self.wires.as_ref().map_or(&[], |wires| &wires.nodes),
            houses: &dispatch.meters.houses,
            batteries: dispatch.batteries.as_ref(),
        });
        let clearing =
            settling::auction(slot, terms, orders, self.wires.as_ref().map(|wires| &wires.grid))?;
        self.bidders.learn(slot, &dispatch.meters.houses);
        if let Some(after) = &mut self.after {
            if let Some(batteries) = &mut after.batteries {
                batteries.follow(&self.bidders.standings, &clearing, &mut after.meters);
            }
            after.close(self.scenario, row, slot, terms)?;
        }
        Ok(Some(clearing))
    }

    /// What every battery holds at the end beyond what it holds when it serves its own house, at the
    /// last feed-in price, nano-currency.
    fn left(&self) -> Vec<i128> {
        let last = self.rows.start + self.done.max(1) - 1;
        let feed_in = Price::from_e5_per_kwh(i64::from(self.tariff.feed_in_e5[last]));
        let left = |dispatch: &Dispatch, i: usize| {
            dispatch.batteries.as_ref().map_or(0, |all| all.left_nano(i, feed_in))
        };
        let customers = 0..self.scenario.customers.len();
        let more =
            |i| self.after.as_ref().map_or(0, |after| left(after, i)) - left(&self.before, i);
        customers.map(more).collect()
    }

    fn facts(&self) -> RunFacts {
        let timeline = &self.scenario.timeline;
        let slot = |row: usize| timeline.slot_of(row).expect("a row of the timeline");
        let last = self.rows.start + self.done.max(1) - 1;
        let community = &self.options.community;
        let fee = |tier| community.grid.fee(tier).nano_per_wh();
        let tests_key = self.settlers.iter().any(|(settler, _)| settler.rule == Rule::OwnKey);
        RunFacts {
            scenario: self.scenario.name.clone(),
            tariff: self.tariff.name.clone(),
            from: slot(self.rows.start).to_string(),
            to: slot(last).next().to_string(),
            slots: self.done as u64,
            slots_ordered_by_file: self.bidders.from_file,
            slots_ordered_by_households: self.bidders.from_households,
            batteries: match self.before.batteries {
                None => "published".to_owned(),
                Some(_) => "simulated".to_owned(),
            },
            seed: self.options.seed,
            currency: self.options.currency.clone(),
            on_feeder: self.options.on_feeder,
            fees: FeeFacts {
                building_nano_per_wh: fee(Tier::Building),
                street_nano_per_wh: fee(Tier::Street),
                transformer_nano_per_wh: fee(Tier::Transformer),
                substation_nano_per_wh: fee(Tier::Substation),
            },
            own_key: community.key_in_words().filter(|_| tests_key),
        }
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
        let street = self.before.figures();
        let street_after = self.after.as_ref().map(Dispatch::figures);
        let alone = &self.alone_tally.amounts;
        let customers = customers(self.scenario, &self.before.street, alone);
        let names: Vec<String> =
            customers.iter().map(|customer| customer.customer.clone()).collect();
        let (nothing, left, run) = (vec![0; customers.len()], self.left(), self.facts());
        let rules = self.settlers.into_iter().map(|(settler, tally)| match &street_after {
            Some(after) if settler.rule.takes_orders() => {
                tally.figures(after, &names, alone, &left)
            }
            _ => tally.figures(&street, &names, alone, &nothing),
        });
        let mut rules: Vec<RuleFigures> = rules.collect();
        if let (Some(own), Some(key)) = (rules.last_mut(), &run.own_key) {
            // It is the last of all rules.
            own.meaning = format!("{} It allocates {key}.", own.meaning);
        }
        let upu = |pu: f64| -> i64 {
            #[expect(clippy::cast_possible_truncation, reason = "about 10^6")]
            let upu = (pu * 1e6).round() as i64;
            upu
        };
        let network = &self.scenario.network;
        let bound = self.wires.iter().flat_map(Wires::bound);
        let bound = bound.map(|(branch, slots)| BoundBranch { branch, slots });
        let feeder = Feeder {
            band_low_upu: upu(BAND_PU.0),
            band_high_upu: upu(BAND_PU.1),
            bound: bound.collect(),
            before: self.before.feeder.figures(network),
            after: self.after.as_ref().map(|after| after.feeder.figures(network)),
        };
        Ok(Report {
            format: FORMAT,
            run,
            rules,
            customers,
            feeder,
            days: self.before.street.days(),
            months: self.before.street.months(),
            street,
            street_after,
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
