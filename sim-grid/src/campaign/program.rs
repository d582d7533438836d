//! The programs of a street as children: started, killed, asked to stop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for a program that was asked to stop.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// Where the programs are: beside this one.
///
/// # Errors
/// Which one is missing, and how to build it.
pub(super) fn folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program is not known")?;
    let folder = own.parent().context("a program is in a folder")?.to_owned();
    for name in ["controller", "meter-agent"] {
        if !folder.join(name).is_file() {
            bail!(
                "there is no {name} beside {}; build all three together: cargo build -p controller -p meter-agent -p sim-grid",
                own.display()
            );
        }
    }
    Ok(folder)
}

/// A child that is killed when this is dropped.
pub(super) struct Program {
    name: String,
    executable: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Program {
    /// Prepares a program; what it says goes behind `log`.
    pub fn new(name: &str, executable: PathBuf, arguments: &[&str], log: &Path) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { name: name.to_owned(), executable, arguments, log: log.to_owned(), child: None }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub const fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Starts it, for the first time or again.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let child = Command::new(&self.executable)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        let child = child.with_context(|| format!("{} does not start", self.executable.display()));
        self.child = Some(child?);
        Ok(())
    }

    /// SIGKILL: it ends between two instructions.
    ///
    /// # Errors
    /// When it had ended by itself before.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.check()?;
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Fails when the program has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        if let Some(status) = child.try_wait()? {
            bail!("{} has ended by itself ({status}); see {}", self.name, self.log.display());
        }
        Ok(())
    }

    /// SIGTERM, and its end in good order.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.check()?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no process")?;
        kill_process(pid, Signal::TERM)?;
        let ended = tokio::time::timeout(PATIENCE, ended(&mut child)).await;
        let Ok(status) = ended else {
            child.kill()?;
            child.wait()?;
            bail!("{} does not stop within {PATIENCE:?}; see {}", self.name, self.log.display());
        };
        if !status?.success() {
            bail!("{} stopped with a fault; see {}", self.name, self.log.display());
        }
        Ok(())
    }
}

async fn ended(child: &mut Child) -> std::io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nothing can be done about a child that is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
