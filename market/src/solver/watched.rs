//! A deadline from outside: solvers are known to overshoot their own limits several times over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::solver::{Patch, Program, ProgramFault, Solver, Status};

/// Most threads that may still be busy with a program nobody waits for any more. With more of them
/// a new one would only compete with the old, and [`Watched::solve`] answers [`Status::Deadline`]
/// at once.
const MOST_ABANDONED: usize = 2;

/// Makes a solver on the thread that will run it.
type Make = Arc<dyn Fn() -> Box<dyn Solver> + Send + Sync>;

/// A solver on a thread of its own, with a deadline that holds.
///
/// Every question has a generation number and an answer carries the number of its question: one
/// that comes after the deadline is never read as the answer to the next. A panic inside the
/// solver becomes [`Status::Numerical`], and the next question gets a fresh solver.
pub struct Watched {
    make: Make,
    name: String,
    deadline: Duration,
    program: Option<Program>,
    generation: u64,
    worker: Option<Worker>,
    abandoned: Arc<AtomicUsize>,
}

struct Worker {
    questions: Sender<(u64, Program)>,
    answers: Receiver<(u64, Status)>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Watched {
    /// A solver that answers within `deadline` or not at all. `make` is called on the solver's
    /// thread, again after each failure.
    pub fn new<S: Solver + 'static>(
        deadline: Duration,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        let name = make().name().to_owned();
        let make: Make = Arc::new(move || Box::new(make()));
        let abandoned = Arc::new(AtomicUsize::new(0));
        Self { make, name, deadline, program: None, generation: 0, worker: None, abandoned }
    }

    /// Replaces the deadline of the questions to come.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Threads that are still busy with a question nobody waits for.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }

    fn ask(&mut self, program: Program) -> Status {
        self.generation += 1;
        let question = (self.generation, program);
        let worker = match self.worker.take().or_else(|| spawn(&self.make)) {
            Some(worker) => worker,
            None => return Status::Numerical("no thread could be started".to_owned()),
        };
        if worker.questions.send(question).is_err() {
            return Status::Numerical("the solver's thread has ended".to_owned());
        }
        match worker.answers.recv_timeout(self.deadline) {
            Ok((generation, status)) if generation == self.generation => {
                if !matches!(status, Status::Numerical(_)) {
                    self.worker = Some(worker);
                }
                status
            }
            Ok((generation, _)) => {
                Status::Numerical(format!("an answer to question {generation} came out of turn"))
            }
            Err(RecvTimeoutError::Timeout) => {
                self.abandon(worker);
                Status::Deadline
            }
            Err(RecvTimeoutError::Disconnected) => {
                Status::Numerical("the solver's thread has ended".to_owned())
            }
        }
    }

    /// Lets a late thread finish on its own and counts it until it has.
    fn abandon(&self, worker: Worker) {
        let abandoned = Arc::clone(&self.abandoned);
        abandoned.fetch_add(1, Ordering::SeqCst);
        let Worker { questions, answers } = worker;
        drop(questions);
        let waits = thread::Builder::new().name("late solver".to_owned()).spawn({
            let abandoned = Arc::clone(&abandoned);
            move || {
                // Ends when the solver's thread does: it has no questions left and drops its end.
                while answers.recv().is_ok() {}
                abandoned.fetch_sub(1, Ordering::SeqCst);
            }
        });
        if waits.is_err() {
            abandoned.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Solver for Watched {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&mut self, program: Program) {
        self.program = Some(program);
    }

    fn patch(&mut self, patch: &Patch) -> Result<(), ProgramFault> {
        self.program.as_mut().ok_or(ProgramFault::NothingLoaded)?.patch(patch)
    }

    fn solve(&mut self) -> Status {
        let Some(program) = self.program.clone() else {
            return Status::Numerical(ProgramFault::NothingLoaded.to_string());
        };
        if self.abandoned() >= MOST_ABANDONED {
            return Status::Deadline;
        }
        self.ask(program)
    }
}

fn spawn(make: &Make) -> Option<Worker> {
    let (questions, asked) = channel::<(u64, Program)>();
    let (answer, answers) = channel();
    let make = Arc::clone(make);
    let work = move || {
        let mut solver = None;
        for (generation, program) in asked {
            let columns = program.columns().len();
            let status = catch_unwind(AssertUnwindSafe(|| {
                let solver = solver.get_or_insert_with(|| make());
                solver.load(program);
                solver.solve()
            }));
            let status = match status {
                Ok(Status::Optimal(values)) => Status::optimal(values, columns),
                Ok(status) => status,
                Err(panic) => Status::Numerical(format!("the solver panicked: {}", text(&*panic))),
            };
            let failed = matches!(status, Status::Numerical(_));
            if answer.send((generation, status)).is_err() || failed {
                return;
            }
        }
    };
    thread::Builder::new().name("solver".to_owned()).spawn(work).ok()?;
    Some(Worker { questions, answers })
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
