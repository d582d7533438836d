//! anvil, an EVM node that is not ours, on a port of its own choice; killed when dropped.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// First key of the well-known development mnemonic, which anvil funds.
pub const FUNDED_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// A running node.
pub struct Anvil {
    child: Child,
    /// Where it answers.
    pub url: String,
}

impl Anvil {
    /// Starts a node; none, with the reason on stdout, when this machine has no anvil.
    pub fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("STREETWATT_ANVIL").filter(|path| !path.is_empty())
        else {
            println!("SKIPPED: STREETWATT_ANVIL does not name an anvil (`make test` brings one)");
            return None;
        };
        let mut child = Command::new(program)
            .args(["--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("anvil starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.strip_prefix("Listening on ")?.to_owned()))
            .expect("anvil says where it listens");
        // Its output must keep flowing, or it blocks when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, url: format!("http://{address}") })
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
