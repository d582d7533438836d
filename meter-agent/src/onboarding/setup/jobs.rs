//! What takes longer than an answer: one at a time, with what it says meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::task::AbortHandle;

use super::super::progress::Progress;

/// Sentences that are kept of a job.
const MOST_SENTENCES: usize = 200;

/// Something to be done, which tells how it goes on.
pub type Task =
    Box<dyn FnOnce(Progress) -> Pin<Box<dyn Future<Output = Result<Value, String>> + Send>> + Send>;

/// How a job stands.
#[derive(Default)]
struct Standing {
    log: Vec<String>,
    outcome: Option<Result<Value, String>>,
}

struct Job {
    id: u64,
    standing: Arc<Mutex<Standing>>,
    handle: AbortHandle,
}

/// The job that runs, or ran last.
#[derive(Default)]
pub struct Jobs {
    last: u64,
    job: Option<Job>,
}

impl Jobs {
    /// Starts a task; none while another one runs.
    pub fn start(&mut self, task: Task) -> Option<u64> {
        if self.job.as_ref().is_some_and(|job| !job.handle.is_finished()) {
            return None;
        }
        self.last += 1;
        let standing: Arc<Mutex<Standing>> = Arc::default();
        let (written, finished) = (Arc::clone(&standing), Arc::clone(&standing));
        let progress = Progress::to(move |sentence| {
            let mut standing = written.lock().expect("nobody panics while holding it");
            if standing.log.len() == MOST_SENTENCES {
                standing.log.remove(0);
            }
            standing.log.push(sentence.to_owned());
        });
        let doing = task(progress);
        let handle = tokio::spawn(async move {
            let outcome = doing.await;
            finished.lock().expect("nobody panics while holding it").outcome = Some(outcome);
        });
        self.job = Some(Job { id: self.last, standing, handle: handle.abort_handle() });
        Some(self.last)
    }

    /// Ends what runs.
    pub fn stop(&mut self) {
        let Some(job) = &self.job else { return };
        job.handle.abort();
        let mut standing = job.standing.lock().expect("nobody panics while holding it");
        standing.outcome.get_or_insert_with(|| Err("stopped".to_owned()));
    }

    /// How a job stands; none when it is not the newest one.
    pub fn told(&self, id: u64) -> Option<Value> {
        let job = self.job.as_ref().filter(|job| job.id == id)?;
        let standing = job.standing.lock().expect("nobody panics while holding it");
        let log = &standing.log;
        Some(match &standing.outcome {
            None if job.handle.is_finished() => {
                json!({ "state": "failed", "log": log, "error": "it broke off; try again" })
            }
            None => json!({ "state": "running", "log": log }),
            Some(Ok(result)) => json!({ "state": "done", "log": log, "result": result }),
            Some(Err(error)) => json!({ "state": "failed", "log": log, "error": error }),
        })
    }
}
