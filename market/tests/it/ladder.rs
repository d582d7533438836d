//! The ladder: solvers that fail in every way, an unknown topology, and a slot without a market.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use market::solver::{MicroLp, Patch, Program, ProgramFault, Solver, Status, Watched};
use market::{
    Book, Clearing, Envelope, Fallback, LadderCounts, Limits, LpFault, Method, Node, Order, Rung,
    Side, Standby, Terms, Violation, clear, envelopes, plate, propose_by,
};
use proptest::prelude::*;
use units::Energy;

use crate::nodal::book_on;
use crate::radial_street::tied;
use crate::street::{Draw, SLOT, book_of, draws, e5, point, terms, wh, wide_book};

/// How a solver goes wrong.
#[derive(Debug, Clone, Copy)]
enum Failing {
    /// `Optimal` with nothing filled, as after a time limit.
    Zeros,
    /// `Optimal` with what is no number.
    NotANumber,
    /// `Optimal` with the true answer scaled: infeasible or too little.
    Scaled(f64),
    /// `Optimal` with every column at its bound.
    Everything,
    /// `Optimal` for another number of columns.
    TooShort,
    Infeasible,
    Unbounded,
    Numerical,
    Panics,
}

struct Faulty {
    failing: Failing,
    right: MicroLp,
    columns: Vec<f64>,
}

impl Faulty {
    fn new(failing: Failing) -> Self {
        Self { failing, right: MicroLp::default(), columns: Vec::new() }
    }
}

impl Solver for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn load(&mut self, program: Program) {
        self.columns = program.columns().iter().map(|column| column.upper).collect();
        self.right.load(program);
    }

    fn patch(&mut self, patch: &Patch) -> Result<(), ProgramFault> {
        self.right.patch(patch)
    }

    fn solve(&mut self) -> Status {
        let count = self.columns.len();
        match self.failing {
            Failing::Zeros => Status::Optimal(vec![0.0; count]),
            Failing::NotANumber => Status::Optimal(vec![f64::NAN; count]),
            Failing::Scaled(factor) => match self.right.solve() {
                Status::Optimal(values) => {
                    Status::Optimal(values.into_iter().map(|value| value * factor).collect())
                }
                other => other,
            },
            Failing::Everything => Status::Optimal(self.columns.clone()),
            Failing::TooShort => Status::Optimal(vec![0.0; count / 2]),
            Failing::Infeasible => Status::Infeasible,
            Failing::Unbounded => Status::Unbounded,
            Failing::Numerical => Status::Numerical("Singular matrix".to_owned()),
            Failing::Panics => panic!("index out of bounds"),
        }
    }
}

fn failing() -> impl Strategy<Value = Failing> {
    prop_oneof![
        Just(Failing::Zeros),
        Just(Failing::NotANumber),
        prop_oneof![0.0..0.99, 1.01..3.0].prop_map(Failing::Scaled),
        Just(Failing::Everything),
        Just(Failing::TooShort),
        Just(Failing::Infeasible),
        Just(Failing::Unbounded),
        Just(Failing::Numerical),
        Just(Failing::Panics),
    ]
}

/// Asks the solver on its own thread, and clears with whatever comes back.
fn answered(book: &Book, mut solver: Watched) -> Clearing {
    let standby = Standby::of(book);
    let proposal = propose_by(book, &mut solver);
    standby.answer(Some(proposal))
}

/// Long enough for any program of these tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whatever the solver says, the exact answer stands, and the remark is right.
fn check(book: &Book, failing: Failing) -> Result<(), TestCaseError> {
    let clearing = answered(book, Watched::new(PATIENCE, move || Faulty::new(failing)));
    let exact = clear(book, None);
    prop_assert_eq!(clearing.certify(book), Ok(()));
    if exact.cleared.is_positive() && !matches!(failing, Failing::Everything | Failing::Scaled(_)) {
        prop_assert_eq!(clearing.method.rung(), Rung::Exact, "{:?}", failing);
    }
    prop_assert_eq!(Clearing { method: exact.method.clone(), ..clearing }, exact);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_solver_changes_what_is_traded_at_one_node(draws in draws(20, 500), how in failing()) {
        check(&wide_book(&draws), how)?;
    }

    #[test]
    fn no_solver_changes_what_is_traded_on_a_grid(market in tied(8, 20), how in failing()) {
        check(&book_on(&market), how)?;
    }

    #[test]
    fn envelopes_cut_orders_off_and_match_the_rest(
        draws in draws(20, 200), caps in prop::collection::vec((0_i64..250, 0_i64..250), 20)
    ) {
        let connections = (0..).zip(&caps).map(|(i, &(import, export))| Envelope {
            name: format!("P{i:03}"),
            import: wh(import),
            export: wh(export),
        });
        let grid = Arc::new(envelopes(connections.collect()).expect("distinct names"));
        let (terms, limits) = (terms(1_000, -1_000), Limits::default());
        let mut book = Book::on_envelopes(SLOT, terms, limits, grid, "the switch is unknown");
        let mut cut = Vec::new();
        for (draw, (node, &(import, export))) in draws.iter().zip((1..).zip(&caps)) {
            let order = draw.order(format_args!("P{:03}", node - 1));
            book.place(Order { node: Node(node), ..order }).expect("valid");
            let most = if draw.side == Side::Buy { import } else { export };
            cut.push(Draw { wh: draw.wh.min(most), ..*draw });
        }
        let clearing = Standby::of(&book).answer(Some(Err(LpFault::Late)));
        prop_assert_eq!(clearing.certify(&book), Ok(()));
        let reason = "the switch is unknown".to_owned();
        prop_assert_eq!(&clearing.method, &Method::Envelopes { reason });
        let lots = book_of(terms_of(&book), &cut_to_something(&cut)).lots();
        let plate = plate::clear(&lots, |_| [0; 32]).expect("in range");
        prop_assert_eq!((clearing.cleared, clearing.welfare), (plate.cleared, plate.welfare));
        prop_assert_eq!(clearing.nodal.expect("per connection").fees, 0);
    }
}

fn terms_of(book: &Book) -> Terms {
    book.terms()
}

fn cut_to_something(draws: &[Draw]) -> Vec<Draw> {
    draws.iter().filter(|draw| draw.wh > 0).copied().collect()
}

fn example() -> Book {
    let draw = |side, wh, e5| Draw { side, wh, e5, rank: 0 };
    wide_book(&[draw(Side::Buy, 10, 30), draw(Side::Buy, 5, 20), draw(Side::Sell, 8, 10)])
}

/// A solver that waits until the test lets it go.
struct Late(Arc<Mutex<Receiver<()>>>);

impl Solver for Late {
    fn name(&self) -> &'static str {
        "late"
    }
    fn load(&mut self, _: Program) {}
    fn patch(&mut self, _: &Patch) -> Result<(), ProgramFault> {
        Ok(())
    }
    fn solve(&mut self) -> Status {
        let _ = self.0.lock().expect("one thread waits").recv();
        Status::Optimal(Vec::new())
    }
}

#[test]
fn a_late_solver_is_not_waited_for() {
    let (release, wait): (Sender<()>, _) = channel();
    let wait = Arc::new(Mutex::new(wait));
    let solver = Watched::new(Duration::from_millis(1), move || Late(Arc::clone(&wait)));
    let book = example();
    let clearing = answered(&book, solver);
    assert_eq!(clearing.method, Method::Exact(Fallback::NoAnswer(LpFault::Late)));
    assert_eq!(clearing.cleared, wh(8));
    drop(release);
}

#[test]
fn what_a_solver_said_is_told() {
    let book = example();
    let check = |failing: Failing, expected: &str| {
        let clearing = answered(&book, Watched::new(PATIENCE, move || Faulty::new(failing)));
        let Method::Exact(fallback) = clearing.method else { panic!("{:?}", clearing.method) };
        assert!(fallback.to_string().contains(expected), "{fallback}");
    };
    check(Failing::Zeros, "no price supports it");
    check(Failing::NotANumber, "is NaN");
    check(Failing::Scaled(2.0), "is not between nothing and");
    check(Failing::Everything, "15 Wh bought but 8 Wh sold");
    check(Failing::TooShort, "values for 3 columns");
    check(Failing::Infeasible, "infeasible");
    check(Failing::Unbounded, "unbounded");
    check(Failing::Numerical, "Singular matrix");
    check(Failing::Panics, "index out of bounds");
    let right = answered(&book, Watched::new(PATIENCE, MicroLp::default));
    assert_eq!(right.method, Method::Lp);
}

#[test]
fn a_slot_without_a_market_trades_nothing_and_says_why() {
    let book = example();
    let clearing = Clearing::shared(SLOT, "the orders are lost");
    assert_eq!(clearing.certify(&book), Ok(()));
    assert_eq!(clearing.price_at(Node::ROOT), None);
    let mut sly = clear(&book, None);
    sly.method = clearing.method.clone();
    assert_eq!(sly.certify(&book), Err(Violation::NoMarket));
    let mut priced = clearing;
    priced.price = Some(e5(20));
    assert_eq!(priced.certify(&book), Err(Violation::NoMarket));
}

#[test]
fn rungs_are_counted() {
    let mut counts = LadderCounts::default();
    assert_eq!(counts.degraded_ppm(), None);
    let book = example();
    for clearing in [
        clear(&book, Some(market::propose(&book))),
        clear(&book, None),
        clear(&book, Some(Err(LpFault::Late))),
        Clearing::shared(SLOT, "the orders are lost"),
    ] {
        counts.count(clearing.method.rung());
    }
    assert_eq!(counts, LadderCounts { lp: 1, exact: 2, envelopes: 0, shared: 1 });
    assert_eq!((counts.total(), counts.degraded_ppm()), (4, Some(250_000)));
    let full = LadderCounts { lp: u64::MAX, exact: 0, envelopes: u64::MAX, shared: u64::MAX };
    assert_eq!(full.total(), u64::MAX, "counts stop at the end of numbers");
    assert!(Rung::Lp < Rung::Exact && Rung::Envelopes < Rung::Shared);
}

#[test]
fn envelopes_are_held_to_the_rules_of_grids() {
    let envelope = |name: &str, import| Envelope {
        name: name.to_owned(),
        import: wh(import),
        export: Energy::ZERO,
    };
    assert!(envelopes(vec![envelope("A", 5), envelope("A", 5)]).is_err());
    assert!(envelopes(vec![envelope("A", -1)]).is_err());
    assert_eq!(envelopes(vec![envelope("A", 5)]).map(|grid| grid.size()), Ok(2));
    let point = point("A");
    let grid = Arc::new(envelopes(vec![envelope("A", 5)]).expect("fine"));
    let book = Book::on_envelopes(SLOT, terms(300, 100), Limits::default(), grid, "no file");
    assert_eq!((book.order(&point, Side::Buy), book.unknown_topology()), (None, Some("no file")));
    #[cfg(feature = "serde")]
    {
        let text = serde_json::to_string(&book).expect("written");
        assert_eq!(serde_json::from_str::<Book>(&text).expect(&text), book);
    }
}
