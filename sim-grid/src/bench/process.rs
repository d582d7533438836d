//! A running agent as the system sees it: memory, threads, processor time.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

/// A running agent; killed when dropped, which is an end that it is made for.
pub(super) struct AgentProcess {
    child: Child,
    log: PathBuf,
}

impl AgentProcess {
    pub(super) fn start(program: &Path, config: &Path, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("agent.log");
        let said = File::create(&log)?;
        let child = Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        Ok(Self { child, log })
    }

    pub(super) fn must_run(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the agent stopped with {status}\n{}", self.said()),
        }
    }

    /// The last lines of what it wrote.
    pub(super) fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn file(&self, name: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{name}", self.child.id());
        std::fs::read_to_string(&path)
            .with_context(|| format!("{path} cannot be read; the agent is measured on Linux only"))
    }

    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        Usage::parse(&self.file("status")?).context("/proc/PID/status has another form")
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory and threads of a process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) resident_kib: u64,
    pub(super) peak_resident_kib: u64,
    pub(super) own_kib: u64,
    pub(super) threads: u64,
}

impl Usage {
    /// Of this process.
    pub(super) fn here() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    /// Reads `/proc/PID/status` (proc(5)).
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().trim_end_matches("kB").trim_end().parse().ok()
        };
        Some(Self {
            resident_kib: field("VmRSS")?,
            peak_resident_kib: field("VmHWM")?,
            own_kib: field("RssAnon")?,
            threads: field("Threads")?,
        })
    }
}

/// Processor time of a process by thread. Its own account in `/proc/PID/stat` is kept in hundredths
/// of a second, in which an agent that sleeps nearly always is not seen at all.
#[derive(Default)]
pub(super) struct ProcessorTime {
    /// By thread id, nanoseconds; threads that have ended keep what they had when last seen.
    threads: BTreeMap<u32, u64>,
}

impl ProcessorTime {
    /// Notes `/proc/PID/task/TID/schedstat` of all threads.
    pub(super) fn note(&mut self, process: &AgentProcess) {
        let folder = format!("/proc/{}/task", process.child.id());
        for thread in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let id = thread.file_name().to_str().and_then(|name| name.parse().ok());
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok();
            if let (Some(id), Some(time)) = (id, text.as_deref().and_then(on_processor_ns)) {
                self.threads.insert(id, time);
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    pub(super) fn total_ns(&self) -> Option<f64> {
        let known = !self.threads.is_empty();
        known.then(|| self.threads.values().sum::<u64>() as f64)
    }
}

/// The first field of `schedstat`: time on a processor, nanoseconds. Kernels that do not keep it
/// say 0.
fn on_processor_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok().filter(|&time| time > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_about_a_process() {
        assert_eq!(on_processor_ns("74056 3909885 2\n"), Some(74_056));
        assert_eq!(on_processor_ns("0 0 0\n"), None);
        assert_eq!(on_processor_ns(""), None);
        let status =
            "Name:\ta\nVmHWM:\t    1764 kB\nVmRSS:\t    1700 kB\nRssAnon:\t  96 kB\nThreads:\t3\n";
        let usage = Usage::parse(status).expect("complete");
        assert_eq!(
            usage,
            Usage { resident_kib: 1_700, peak_resident_kib: 1_764, own_kib: 96, threads: 3 }
        );
        assert_eq!(Usage::parse("Name:\ta\nVmRSS:\t1 kB\n"), None);
    }
}
