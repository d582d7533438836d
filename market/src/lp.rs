//! The clearing as a linear program: the one place in the market where floats decide anything,
//! and then only what to propose.
//!
//! One column per side and price level (orders with the same limit are interchangeable, so a
//! hundred thousand orders stay a small program), one row that balances both sides:
//!
//! ```text
//! max  Σ (v_b − m + ½ tick)·x_b − Σ (c_s − m)·y_s     0 ≤ x_b ≤ q_b,  0 ≤ y_s ≤ q_s
//! s.t. Σ x_b − Σ y_s = 0
//! ```
//!
//! Energies are in kWh and prices in ct/kWh from the middle m of the supplier's terms, which the
//! balance row cancels: every column is bounded and every coefficient near one, because solvers
//! have been seen to answer nonsense otherwise. The bonus of half a tick per kWh makes the program
//! trade at equal limits, too, and is too small to pay for any trade at a loss.

use good_lp::{
    Expression, ProblemVariables, Solution, SolutionStatus, SolverModel, Variable, WithTimeLimit,
    microlp, variable,
};
use units::Price;

use crate::level::{Level, Levels};
use crate::{Book, Terms};

/// Most columns that are given to the solver: more price levels than any tariff has ticks between
/// feed-in and retail on both sides together.
const MAX_COLUMNS: usize = 100_000;

/// When the solver is stopped, in seconds: no answer takes nearly as long, unless the simplex
/// method cycles. What is decided does not depend on it, only whether the solver is asked in vain.
const STOP_AFTER_S: f64 = 30.0;

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
    #[error("{columns} price levels are more than the {MAX_COLUMNS} the solver is given")]
    TooLarge {
        /// Price levels of both sides.
        columns: usize,
    },
    /// The caller's deadline passed before the solver answered.
    #[error("the solver was late")]
    Late,
}

/// Energy for one price level, as a solver sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Share {
    /// The limit that the level's orders have in common.
    pub price: Price,
    /// Energy in kWh, anything a solver may say.
    pub kwh: f64,
}

/// A solver's answer: nothing is believed until [`clear`](crate::clear) has proven it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Proposal {
    /// Per bid level, dearest first.
    pub bids: Vec<Share>,
    /// Per ask level, cheapest first.
    pub asks: Vec<Share>,
}

/// Maximises welfare with the linear program of this module.
///
/// Takes a millisecond for a street and a second at most for a hundred thousand orders; run it off
/// the thread that keeps time, and give [`clear`](crate::clear) [`LpFault::Late`] instead when it
/// is not back at the deadline.
///
/// # Errors
/// [`LpFault`] when the solver fails or the program is too large for it.
pub fn propose(book: &Book) -> Result<Proposal, LpFault> {
    let levels = Levels::of(book);
    let columns = levels.bids.len() + levels.asks.len();
    if columns > MAX_COLUMNS {
        return Err(LpFault::TooLarge { columns });
    }
    if levels.bids.is_empty() || levels.asks.is_empty() {
        let nothing = |levels: &[Level]| levels.iter().map(|l| share(l, 0.0)).collect();
        return Ok(Proposal { bids: nothing(&levels.bids), asks: nothing(&levels.asks) });
    }

    let mut problem = ProblemVariables::new();
    let bids = columns_of(&mut problem, &levels.bids);
    let asks = columns_of(&mut problem, &levels.asks);
    let mut welfare = Expression::with_capacity(columns);
    let mut balance = Expression::with_capacity(columns);
    for (&column, level) in bids.iter().zip(&levels.bids) {
        welfare.add_mul(cents(level.price, book.terms()) + HALF_A_TICK_CT, column);
        balance.add_mul(1.0, column);
    }
    for (&column, level) in asks.iter().zip(&levels.asks) {
        welfare.add_mul(-cents(level.price, book.terms()), column);
        balance.add_mul(-1.0, column);
    }
    let solution = problem
        .maximise(welfare)
        .using(microlp)
        .with_time_limit(STOP_AFTER_S)
        .with(balance.eq(0.0))
        .solve()
        .map_err(|fault| LpFault::Solver { detail: fault.to_string() })?;
    if !matches!(solution.status(), SolutionStatus::Optimal) {
        return Err(LpFault::Solver { detail: format!("stopped with {:?}", solution.status()) });
    }
    let shares = |columns: &[Variable], levels: &[Level]| {
        columns.iter().zip(levels).map(|(&c, level)| share(level, solution.value(c))).collect()
    };
    Ok(Proposal { bids: shares(&bids, &levels.bids), asks: shares(&asks, &levels.asks) })
}

/// Half of [`Price::TICK`] in ct/kWh.
const HALF_A_TICK_CT: f64 = 0.000_5;

fn share(level: &Level, kwh: f64) -> Share {
    Share { price: level.price, kwh }
}

fn columns_of(problem: &mut ProblemVariables, levels: &[Level]) -> Vec<Variable> {
    levels
        .iter()
        .map(|level| problem.add(variable().min(0.0).max(float(level.quantity.wh()) / 1_000.0)))
        .collect()
}

/// A price in ct/kWh, counted from the middle of the terms.
fn cents(price: Price, terms: Terms) -> f64 {
    float((price - terms.middle()).nano_per_wh()) / 10_000.0
}

#[expect(clippy::cast_precision_loss, reason = "a proposal may be off; it is checked exactly")]
fn float(value: i64) -> f64 {
    value as f64
}
