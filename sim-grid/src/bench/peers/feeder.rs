//! Books on a radial feeder: ours against HiGHS as an oracle.
//!
//! The flow through a branch of a tree follows from the fills below it, so whoever clears need not
//! be asked for it: welfare, fees and caps are computed here from fills alone.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use market::{Grid, Lot, Radial, Side, radial};
use serde::Serialize;
use units::{Energy, Price};

use super::judge::{Outcome, judge};
use super::{Asked, Finding, Setup};
use crate::bench::books::rank;
use crate::bench::cpu_best;
use crate::bench::speed::feeder_problem;
use crate::world::chance::Chance;

/// Lots in the books.
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

/// One book on a feeder.
#[derive(Debug, Serialize)]
pub struct FeederResult {
    /// Lots in it.
    pub orders: usize,
    /// Nodes of the feeder.
    pub nodes: usize,
    /// Who did what.
    pub rows: Vec<FeederRow>,
}

/// What one engine did with it.
#[derive(Debug, Serialize)]
pub struct FeederRow {
    /// Whose engine.
    pub engine: &'static str,
    /// Which of its ways.
    pub method: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub finding: Finding<FeederJudged>,
}

/// A matching on a feeder under scrutiny.
#[derive(Debug, Serialize)]
pub struct FeederJudged {
    /// Processor time of the fastest run, seconds.
    pub seconds: f64,
    /// Welfare less fees as a share of the proven best.
    pub welfare: f64,
    /// Branches with more energy than they take.
    pub beyond_cap: usize,
    /// Lots that pay more, or are paid less, than their limit, and lots past their quantity.
    pub beyond_limit: usize,
    /// Whether a second run gives everybody the same.
    pub repeats: bool,
    /// Whether a shuffled book gives everybody the same.
    pub shuffles: bool,
}

/// Clears every book by ours and by the oracle.
pub(super) fn compare(setup: &Setup, scratch: &Path) -> anyhow::Result<Vec<FeederResult>> {
    let mut asked = Asked::new(setup.home("highs", "highs_feeder"), setup);
    let mut results = Vec::new();
    for orders in SIZES {
        let (lots, grid) = feeder_problem(orders, setup.seed)?;
        let problem = Problem::new(&lots, &grid, setup.seed)?;
        let (plain, mixed) = (scratch.join("feeder.csv"), scratch.join("feeder-mixed.csv"));
        problem.write(&plain, 0..lots.len())?;
        problem.write(&mixed, problem.shuffle.iter().copied())?;
        tracing::info!("streetwatt: {orders} orders on a feeder");
        let mut rows = vec![problem.ours()?];
        for method in ["default", "no presolve"] {
            tracing::info!("highspy {method}: {orders} orders on a feeder");
            let answer = asked.ask::<Outcome>(method, (&plain, &mixed));
            let finding = answer.and_then(|(seconds, [first, again, shuffled])| {
                problem.judged(seconds, [&first, &again, &shuffled])
            });
            let finding = match finding {
                Ok(judged) => Finding::Judged(judged),
                Err(error) => Finding::Nothing { error },
            };
            rows.push(FeederRow { engine: "highspy 1.15.1", method, finding });
        }
        results.push(FeederResult { orders, nodes: grid.size(), rows });
    }
    Ok(results)
}

/// A whole watt-hour, by which rounding may let a branch carry too much.
const ROUNDING_UWH: i128 = 1_000_000;

struct Problem<'a> {
    lots: &'a [Lot],
    grid: &'a Grid,
    seed: u64,
    /// A mixed order of the lots.
    shuffle: Vec<usize>,
    /// The proven best.
    cleared: Radial,
}

impl<'a> Problem<'a> {
    fn new(lots: &'a [Lot], grid: &'a Grid, seed: u64) -> anyhow::Result<Self> {
        let mut shuffle: Vec<usize> = (0..lots.len()).collect();
        Chance::new(seed, "bench: shuffle").shuffle(&mut shuffle);
        let rank = |lot: usize| rank(seed, lot);
        let cleared = radial::clear(lots, grid, None, rank)?;
        cleared.certify(lots, grid, None, rank).context("the feeder's clearing is not proven")?;
        Ok(Self { lots, grid, seed, shuffle, cleared })
    }

    fn ours(&self) -> anyhow::Result<FeederRow> {
        let rank = |lot: usize| rank(self.seed, lot);
        let clear = || radial::clear(black_box(self.lots), self.grid, None, rank);
        let seconds = cpu_best(Duration::from_millis(500), clear).as_secs_f64();
        let mixed: Vec<Lot> = self.shuffle.iter().map(|&lot| self.lots[lot]).collect();
        let mixed = radial::clear(&mixed, self.grid, None, |at| rank(self.shuffle[at]))?;
        let mut fills = vec![Energy::ZERO; self.lots.len()];
        for (&lot, &fill) in self.shuffle.iter().zip(&mixed.fills) {
            fills[lot] = fill;
        }
        let first = self.outcome(&self.cleared.fills, &self.cleared);
        let (again, shuffled) =
            (self.outcome(&clear()?.fills, &clear()?), self.outcome(&fills, &mixed));
        let judged =
            self.judged(seconds, [&first, &again, &shuffled]).map_err(anyhow::Error::msg)?;
        Ok(FeederRow { engine: "streetwatt", method: "curves", finding: Finding::Judged(judged) })
    }

    /// Everybody pays the price of its node.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn outcome(&self, fills: &[Energy], cleared: &Radial) -> Outcome {
        let price = |lot: &Lot| cleared.price[lot.node.index()].map_or(0, Price::nano_per_wh);
        let kwh = fills.iter().map(|fill| fill.wh() as f64 / 1e3).collect();
        let ct =
            fills.iter().zip(self.lots).map(|(fill, lot)| (fill.wh() * price(lot)) as f64 / 1e7);
        Outcome { kwh, ct: ct.collect() }
    }

    fn judged(
        &self,
        seconds: f64,
        [first, again, shuffled]: [&Outcome; 3],
    ) -> Result<FeederJudged, String> {
        let verdict = judge(self.lots, first)?;
        let energy = first.micro_wh(self.lots.len())?;
        let mut towards = vec![0_i128; self.grid.size()];
        let mut welfare = 0_i128;
        for (lot, &energy) in self.lots.iter().zip(&energy) {
            let signed = i128::from(if lot.side == Side::Buy { energy } else { -energy });
            welfare += signed * i128::from(lot.limit.nano_per_wh());
            towards[lot.node.index()] += signed;
        }
        let mut beyond_cap = 0;
        for (number, branch) in self.grid.branches().iter().enumerate().rev() {
            let flow = towards[number + 1];
            towards[branch.parent.index()] += flow;
            welfare -= flow.abs() * i128::from(branch.fee.nano_per_wh());
            let cap = if flow > 0 { branch.import_cap } else { branch.export_cap };
            let most = i128::from(cap.wh()) * 1_000_000 + ROUNDING_UWH;
            beyond_cap += usize::from(flow.abs() > most);
        }
        // Nobody delivers to the root.
        beyond_cap += usize::from(towards[0].abs() > ROUNDING_UWH);
        #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
        let welfare = welfare as f64 / (self.cleared.welfare as f64 * 1e6);
        Ok(FeederJudged {
            seconds,
            welfare,
            beyond_cap,
            beyond_limit: verdict.beyond_limit + verdict.beyond_quantity,
            repeats: first.same(again),
            shuffles: first.same(shuffled),
        })
    }

    /// Writes the lots in an order, and the grid beside them.
    fn write(&self, path: &Path, order: impl Iterator<Item = usize>) -> anyhow::Result<()> {
        super::write(path, self.lots, order)?;
        let mut grid = path.as_os_str().to_owned();
        grid.push(".grid");
        let mut file = csv::Writer::from_path(grid)?;
        file.write_record(["parent", "import_wh", "export_wh", "fee_e5"])?;
        let tick = Price::TICK.nano_per_wh();
        for branch in self.grid.branches() {
            let (import, export) = (branch.import_cap.wh(), branch.export_cap.wh());
            let fee = branch.fee.nano_per_wh() / tick;
            let numbers = [i64::from(branch.parent.0), import, export, fee];
            file.write_record(numbers.map(|number| number.to_string()))?;
        }
        Ok(file.flush()?)
    }
}
