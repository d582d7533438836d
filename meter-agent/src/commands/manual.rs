//! What a shell and `man` want to know of the commands.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell.
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Folder for a page per command, made when it is not there; without it the first page is printed.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Completions {
    pub fn execute<A: CommandFactory>(&self) -> ExitCode {
        clap_complete::generate(self.shell, &mut A::command(), NAME, &mut io::stdout());
        ExitCode::SUCCESS
    }
}

impl Man {
    pub fn execute<A: CommandFactory>(&self, json: bool) -> Result<ExitCode> {
        let Some(out) = &self.out else {
            clap_mangen::Man::new(A::command().disable_help_subcommand(true))
                .render(&mut io::stdout())?;
            return Ok(ExitCode::SUCCESS);
        };
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        clap_mangen::generate_to(A::command(), out)
            .with_context(|| format!("cannot write into {}", out.display()))?;
        if json {
            println!("{}", json!({ "folder": out }));
        } else {
            println!("pages: {}", out.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

const NAME: &str = "meter-agent";
