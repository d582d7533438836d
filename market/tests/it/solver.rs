//! Solvers: the project's own against microlp, and what a watched one lets through.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use market::solver::{
    Label, MicroLp, Patch, Program, ProgramFault, Simplex, Solver, Status, Watched,
};
use proptest::prelude::*;

fn optimum(solver: &mut dyn Solver, program: &Program) -> Result<f64, Status> {
    solver.load(program.clone());
    match solver.solve() {
        Status::Optimal(values) => {
            let violation = program.violation(&values);
            assert!(violation < 1e-6, "{}: off by {violation}", solver.name());
            Ok(program.objective(&values))
        }
        other => Err(other),
    }
}

/// Bounded columns and rows that zero satisfies, so that there always is an optimum.
fn programs() -> impl Strategy<Value = Program> {
    let column = (0..=3_i32, 0..=20_i32, -20..=20_i32);
    let entry = (0..12_usize, -3..=3_i32);
    let row = (prop::collection::vec(entry, 1..5), 0..=15_i32, 0..=2_u8);
    let columns = prop::collection::vec(column, 12..30);
    (columns, prop::collection::vec(row, 1..20)).prop_map(|(columns, rows)| {
        let mut program = Program::new();
        for (below, above, cost) in columns {
            let j = program.column(f64::from(-below), f64::from(above), f64::from(cost));
            program.label_column(j, Label(j as u64));
        }
        for (i, (entries, room, kind)) in rows.into_iter().enumerate() {
            let mut sums = std::collections::BTreeMap::new();
            for (column, coefficient) in entries {
                *sums.entry(column).or_insert(0.0) += f64::from(coefficient);
            }
            let (low, high) = match kind {
                0 => (0.0, 0.0),
                1 => (f64::NEG_INFINITY, f64::from(room)),
                _ => (f64::from(-room), f64::INFINITY),
            };
            let row = program.row(low, high, sums);
            program.label_row(row, Label(1_000 + i as u64));
        }
        program
    })
}

proptest! {
    #[test]
    fn both_solvers_find_the_same_optimum(program in programs()) {
        let expected = optimum(&mut MicroLp::default(), &program).expect("zero is feasible");
        let own = optimum(&mut Simplex::default(), &program).expect("zero is feasible");
        prop_assert!((expected - own).abs() < 1e-6 * (1.0 + expected.abs()), "{expected} {own}");
        #[cfg(feature = "highs")]
        {
            let mut highs = market::solver::Highs::default();
            let third = optimum(&mut highs, &program).expect("zero is feasible");
            prop_assert!((expected - third).abs() < 1e-6 * (1.0 + expected.abs()), "{third}");
        }
    }

    #[test]
    fn a_remembered_basis_changes_the_way_and_not_the_optimum(
        first in programs(), second in programs(), changes in prop::collection::vec(-3..=3_i32, 12),
    ) {
        let mut solver = Simplex::default();
        optimum(&mut solver, &first).expect("zero is feasible");
        let own = optimum(&mut solver, &second).expect("zero is feasible");
        let cold = optimum(&mut Simplex::default(), &second).expect("zero is feasible");
        prop_assert!((cold - own).abs() < 1e-6 * (1.0 + cold.abs()), "{cold} {own}");
        let costs: Vec<(usize, f64)> = changes.into_iter().map(f64::from).enumerate().collect();
        let bounds = vec![(0, -1.0, 2.5), (3, 0.0, 0.5)];
        let patch = Patch { bounds, costs, rows: Vec::new() };
        solver.patch(&patch).expect("the columns exist");
        let mut patched = second;
        patched.patch(&patch).expect("the columns exist");
        let Status::Optimal(values) = solver.solve() else { panic!("zero is feasible") };
        let cold = optimum(&mut MicroLp::default(), &patched).expect("zero is feasible");
        prop_assert!((cold - patched.objective(&values)).abs() < 1e-6 * (1.0 + cold.abs()));
    }
}

/// A program and the same one that says what of it is implied: sums of what came before, within
/// bounds that often bind, and surpluses that cost something.
fn implying() -> impl Strategy<Value = (Program, Program)> {
    let sum =
        (prop::collection::vec((0..24_usize, -2..=2_i32), 1..5), 0..=6_i32, 0..=6_i32, -9..=9_i32);
    let surplus = (0..12_usize, 0..=4_i32, 1..=9_i32);
    let sums = prop::collection::vec(sum, 0..12);
    (programs(), sums, prop::collection::vec(surplus, 0..6)).prop_map(
        |(program, sums, surpluses)| {
            let (mut plain, mut implied) = (program, Vec::new());
            for (entries, below, above, cost) in sums {
                let first = plain.columns().len();
                let column = plain.column(f64::from(-below), f64::from(above), f64::from(cost));
                let mut sums = std::collections::BTreeMap::new();
                for (j, a) in entries {
                    *sums.entry(j.min(first - 1)).or_insert(0.0) += f64::from(a);
                }
                let row = plain.row(0.0, 0.0, sums.into_iter().chain([(column, -1.0)]));
                plain.label_column(column, Label(2_000 + row as u64));
                implied.push((column, row));
            }
            for (x, need, cost) in surpluses {
                // need + beyond − x is never negative: beyond is what x is more than the need.
                let x = plain.column(0.0, 5.0, f64::from(cost) + plain.columns()[x].cost.abs());
                let beyond = plain.column(0.0, 9.0, -f64::from(cost));
                let rest = plain.column(0.0, 20.0, 0.0);
                let need = f64::from(need);
                let row = plain.row(need, need, [(rest, 1.0), (x, 1.0), (beyond, -1.0)]);
                implied.push((rest, row));
            }
            let mut lean = plain.clone();
            implied.iter().for_each(|&(column, row)| lean.imply(column, row));
            (plain, lean)
        },
    )
}

proptest! {
    #[test]
    fn what_is_implied_changes_no_optimum((plain, lean) in implying()) {
        let expected = optimum(&mut MicroLp::default(), &plain).expect("zero is feasible");
        let (mut own, mut other) = (Simplex::default(), MicroLp::default());
        for solver in [&mut own as &mut dyn Solver, &mut other] {
            // The second time it starts with the bounds that held the first time.
            for _ in 0..2 {
                let found = optimum(solver, &lean).expect("zero is feasible");
                let close = (expected - found).abs() < 1e-6 * (1.0 + expected.abs());
                prop_assert!(close, "{}: {expected} {found}", solver.name());
            }
        }
    }
}

#[test]
fn what_implies_nothing_is_said() {
    let mut program = Program::new();
    let (x, y) = (program.column(0.0, 1.0, 1.0), program.column(0.0, 1.0, 1.0));
    let (open, equation) = (program.row(0.0, 1.0, [(x, 1.0)]), program.row(0.0, 0.0, [(x, 1.0)]));
    let chain = program.row(0.0, 0.0, [(x, 1.0), (y, -1.0)]);
    let refused = |implied: &[(usize, usize)], says: &str| {
        let mut program = program.clone();
        implied.iter().for_each(|&(column, row)| program.imply(column, row));
        let fault = program.check().expect_err(says);
        assert!(fault.to_string().contains(says), "{fault}");
        for solver in [&mut Simplex::default() as &mut dyn Solver, &mut MicroLp::default()] {
            solver.load(program.clone());
            assert!(matches!(solver.solve(), Status::Numerical(why) if why.contains(says)));
        }
    };
    refused(&[(x, open)], "no equation");
    refused(&[(y, equation)], "not in the row");
    refused(&[(x, equation), (x, chain)], "twice");
    refused(&[(y, chain), (x, equation)], "implied later");
    refused(&[(x, 9)], "row 9 does not exist");
    program.imply(x, equation);
    program.imply(y, chain);
    assert_eq!(program.check(), Ok(()));
}

#[test]
fn what_has_no_answer_has_no_values() {
    let mut program = Program::new();
    let x = program.column(0.0, 1.0, 1.0);
    program.row(2.0, 3.0, [(x, 1.0)]);
    for solver in [&mut Simplex::default() as &mut dyn Solver, &mut MicroLp::default()] {
        assert!(matches!(solver.solve(), Status::Numerical(_)), "nothing loaded");
        let fault = solver.patch(&Patch::default());
        assert_eq!(fault, Err(ProgramFault::NothingLoaded));
        assert_eq!(optimum(solver, &program), Err(Status::Infeasible));
        let patch = Patch { rows: vec![(0, 0.5, 3.0)], ..Patch::default() };
        solver.patch(&patch).expect("the row exists");
        assert_eq!(solver.solve(), Status::Optimal(vec![1.0]));
        let patch = Patch { bounds: vec![(0, 0.0, f64::INFINITY)], ..Patch::default() };
        assert!(matches!(solver.patch(&patch), Err(ProgramFault::Number { .. })));
        let patch = Patch { costs: vec![(7, 1.0)], ..Patch::default() };
        assert!(matches!(solver.patch(&patch), Err(ProgramFault::Unknown { .. })));
        assert_eq!(solver.solve(), Status::Optimal(vec![1.0]), "nothing was changed");
    }
}

/// Does in turn what it is told, over all instances.
#[derive(Clone)]
struct Told(Arc<Mutex<Vec<Answer>>>);

enum Answer {
    Says(Status),
    Panics,
    Waits(std::sync::mpsc::Receiver<()>),
}

impl Solver for Told {
    fn name(&self) -> &str {
        "told"
    }
    fn load(&mut self, _: Program) {}
    fn patch(&mut self, _: &Patch) -> Result<(), ProgramFault> {
        Ok(())
    }
    fn solve(&mut self) -> Status {
        let answer = self.0.lock().expect("not poisoned").remove(0);
        match answer {
            Answer::Says(status) => status,
            Answer::Panics => panic!("on purpose"),
            Answer::Waits(until) => {
                until.recv().expect("the test lets it go");
                Status::Optimal(vec![13.0])
            }
        }
    }
}

#[test]
fn a_watched_solver_is_never_late_and_never_takes_the_caller_down() {
    let (release, held) = channel();
    let answers = vec![
        Answer::Says(Status::Optimal(vec![1.0])),
        Answer::Panics,
        Answer::Says(Status::Optimal(vec![f64::NAN])),
        Answer::Says(Status::Optimal(vec![])),
        Answer::Waits(held),
        Answer::Says(Status::Optimal(vec![2.0])),
    ];
    let told = Told(Arc::new(Mutex::new(answers)));
    let mut watched = Watched::new(Duration::from_secs(60), move || told.clone());
    assert!(matches!(watched.solve(), Status::Numerical(_)), "nothing loaded");
    let mut program = Program::new();
    program.column(0.0, 20.0, 1.0);
    watched.load(program);
    assert_eq!(watched.solve(), Status::Optimal(vec![1.0]));
    assert_eq!(watched.solve(), Status::Numerical("the solver panicked: on purpose".to_owned()));
    assert!(matches!(watched.solve(), Status::Numerical(why) if why.contains("NaN")));
    assert!(matches!(watched.solve(), Status::Numerical(why) if why.contains("0 values")));
    watched.set_deadline(Duration::from_millis(20));
    assert_eq!(watched.solve(), Status::Deadline);
    assert_eq!(watched.abandoned(), 1);
    // The late 13 must not be taken for the answer to the next question.
    release.send(()).expect("the solver waits");
    watched.set_deadline(Duration::from_secs(60));
    assert_eq!(watched.solve(), Status::Optimal(vec![2.0]));
}
