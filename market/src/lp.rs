//! The clearing as a linear program: the one place in the auction where floats decide anything,
//! and then only what to propose.
//!
//! One column per node, side and price level (orders alike in all three are interchangeable, so a
//! hundred thousand orders stay a small program), two per branch for the flow either way, and one
//! row per node that balances it:
//!
//! ```text
//! max  Σ (v_b − m + ½ tick)·x_b − Σ (c_s − m)·y_s − Σ fee·(F⁺ + F⁻)
//! s.t. Σ x_b − Σ y_s − (F⁺_n − F⁻_n) + Σ_children (F⁺_c − F⁻_c) = 0        per node n
//!      0 ≤ x_b ≤ q_b,  0 ≤ y_s ≤ q_s,  0 ≤ F± ≤ cap
//! ```
//!
//! Energies are in kWh and prices in ct/kWh from the middle m of the supplier's terms, which the
//! balance rows cancel: every column is bounded and every coefficient near one, because solvers
//! have been seen to answer nonsense otherwise. The bonus of half a tick per kWh makes the program
//! trade at equal limits, too, and is too small to pay for any trade at a loss.

use units::{Energy, Price};

use crate::level::{Level, Levels};
use crate::solver::{MicroLp, Program, Solver, Status};
use crate::{Book, Node, Terms};

/// Most columns that are given to the solver: more price levels than any tariff has ticks between
/// feed-in and retail on both sides together.
const MAX_COLUMNS: usize = 100_000;

/// Why there is no proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LpFault {
    /// The solver gave up.
    #[error("the solver failed: {detail}")]
    Solver {
        /// In the solver's words.
        detail: String,
    },
    /// The program is larger than the solver is trusted with.
    #[error("{columns} columns are more than the {MAX_COLUMNS} the solver is given")]
    TooLarge {
        /// Price levels of both sides and directions of flow.
        columns: usize,
    },
    /// The caller's deadline passed before the solver answered.
    #[error("the solver was late")]
    Late,
}

/// Energy for one price level at one node, as a solver sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Share {
    /// Where the level's orders are.
    pub node: Node,
    /// The limit that they have in common.
    pub price: Price,
    /// Energy in kWh, anything a solver may say.
    pub kwh: f64,
}

/// A solver's answer: nothing is believed until [`clear`](crate::clear) has proven it. Flows are
/// not part of it, because on a tree they follow from the energies.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Proposal {
    /// Per bid level, dearest first, then by node.
    pub bids: Vec<Share>,
    /// Per ask level, cheapest first, then by node.
    pub asks: Vec<Share>,
}

/// Maximises welfare with the linear program of this module and the default solver.
///
/// Takes a millisecond for a street and a second at most for a hundred thousand orders at one node;
/// run it off the thread that keeps time, and give [`clear`](crate::clear) [`LpFault::Late`]
/// instead when it is not back at the deadline.
///
/// # Errors
/// [`LpFault`] when the solver fails or the program is too large for it.
pub fn propose(book: &Book) -> Result<Proposal, LpFault> {
    propose_by(book, &mut MicroLp::default())
}

/// Maximises welfare with a solver of choice; one in [`Watched`](crate::solver::Watched) is stopped
/// at its deadline, and its panics are failures like others.
///
/// # Errors
/// [`LpFault`] when the solver fails or the program is too large for it.
pub fn propose_by(book: &Book, solver: &mut dyn Solver) -> Result<Proposal, LpFault> {
    let levels = Levels::of(book);
    let columns = levels.bids.len() + levels.asks.len() + 2 * book.grid().branches().len();
    if columns > MAX_COLUMNS {
        return Err(LpFault::TooLarge { columns });
    }
    if levels.bids.is_empty() || levels.asks.is_empty() {
        let nothing = |levels: &[Level]| levels.iter().map(|l| share(l, 0.0)).collect();
        return Ok(Proposal { bids: nothing(&levels.bids), asks: nothing(&levels.asks) });
    }
    solver.load(program(book, &levels));
    let values = match solver.solve() {
        Status::Optimal(values) if values.len() == columns => values,
        Status::Optimal(values) => {
            let detail = format!("{} values for {columns} columns", values.len());
            return Err(LpFault::Solver { detail });
        }
        Status::Deadline => return Err(LpFault::Late),
        Status::Infeasible => return Err(failed("it calls the program infeasible")),
        Status::Unbounded => return Err(failed("it calls the program unbounded")),
        Status::Numerical(detail) => return Err(LpFault::Solver { detail }),
    };
    let (bids, rest) = values.split_at(levels.bids.len());
    let shares = |levels: &[Level], values: &[f64]| {
        levels.iter().zip(values).map(|(level, &kwh)| share(level, kwh)).collect()
    };
    Ok(Proposal { bids: shares(&levels.bids, bids), asks: shares(&levels.asks, rest) })
}

fn failed(detail: &str) -> LpFault {
    LpFault::Solver { detail: detail.to_owned() }
}

/// Bids, asks, then both directions of every branch.
fn program(book: &Book, levels: &Levels) -> Program {
    let mut program = Program::new();
    let mut rows: Vec<Vec<(usize, f64)>> = vec![Vec::new(); book.grid().size()];
    let terms = book.terms();
    for level in &levels.bids {
        let worth = cents(level.price, terms) + HALF_A_TICK_CT;
        let column = program.column(0.0, kwh(level.quantity), worth);
        rows[level.node.index()].push((column, 1.0));
    }
    for level in &levels.asks {
        let column = program.column(0.0, kwh(level.quantity), -cents(level.price, terms));
        rows[level.node.index()].push((column, -1.0));
    }
    // No branch carries more than everybody buys, however large its cap.
    let most: Energy = levels.bids.iter().map(|level| level.quantity).sum();
    for (node, branch) in (1..).zip(book.grid().branches()) {
        let fee = float(branch.fee.nano_per_wh()) / NANO_PER_CT;
        for (cap, into) in [(branch.import_cap, 1.0), (branch.export_cap, -1.0)] {
            let column = program.column(0.0, kwh(cap.min(most)), -fee);
            rows[node].push((column, -into));
            rows[branch.parent.index()].push((column, into));
        }
    }
    for row in rows.into_iter().filter(|row| !row.is_empty()) {
        program.row(0.0, 0.0, row);
    }
    program
}

/// Half of [`Price::TICK`] in ct/kWh.
const HALF_A_TICK_CT: f64 = 0.000_5;
/// Nano-currency per Wh in one ct/kWh.
const NANO_PER_CT: f64 = 10_000.0;

fn share(level: &Level, kwh: f64) -> Share {
    Share { node: level.node, price: level.price, kwh }
}

fn kwh(energy: Energy) -> f64 {
    float(energy.wh()) / 1_000.0
}

/// A price in ct/kWh, counted from the middle of the terms.
fn cents(price: Price, terms: Terms) -> f64 {
    float((price - terms.middle()).nano_per_wh()) / NANO_PER_CT
}

#[expect(clippy::cast_precision_loss, reason = "a proposal may be off; it is checked exactly")]
fn float(value: i64) -> f64 {
    value as f64
}
