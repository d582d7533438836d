//! The compiled contracts, embedded at build time.

use std::sync::OnceLock;

use alloy_primitives::Bytes;
use serde::Deserialize;

/// One compiled contract. See `contracts/build.mjs` for how it is made.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Name in the Solidity source.
    pub contract: String,
    /// Compiler version.
    pub compiler: String,
    /// SHA-256 of the compiler's complete input.
    pub input_sha256: String,
    /// Interface, as Solidity's JSON ABI.
    pub abi: serde_json::Value,
    /// Init code without constructor arguments.
    pub bytecode: Bytes,
    /// Code after deployment, zeros in place of the immutables.
    pub deployed_bytecode: Bytes,
    /// Start and length of the immutables in the deployed code.
    immutables: Vec<(usize, usize)>,
}

impl Artifact {
    /// The init code with its ABI-encoded constructor arguments.
    pub fn init_code(&self, arguments: &[u8]) -> Bytes {
        [self.bytecode.as_ref(), arguments].concat().into()
    }

    /// True when `code` is this contract, whatever its immutables are.
    pub fn is_code(&self, code: &[u8]) -> bool {
        if code.len() != self.deployed_bytecode.len() {
            return false;
        }
        let mut masked = code.to_vec();
        for &(start, length) in &self.immutables {
            masked[start..start + length].fill(0);
        }
        masked == self.deployed_bytecode.as_ref()
    }

    fn parse(text: &str) -> Self {
        let artifact: Self = serde_json::from_str(text)
            .expect("the committed artifact is JSON that build.mjs wrote; a test reads all four");
        let length = artifact.deployed_bytecode.len();
        assert!(artifact.immutables.iter().all(|(start, size)| start + size <= length));
        artifact
    }
}

/// Defines an accessor that parses an embedded artifact once.
macro_rules! embedded {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        pub fn $name() -> &'static Artifact {
            static PARSED: OnceLock<Artifact> = OnceLock::new();
            PARSED.get_or_init(|| Artifact::parse(include_str!(concat!("../../../../contracts/artifacts/", $file))))
        }
    };
}

embedded!(
    /// The registry of households.
    registry, "Registry.json");
embedded!(
    /// The chain of epoch headers.
    anchor, "Anchor.json");
embedded!(
    /// The claims, which also creates the token.
    rewards, "Rewards.json");
embedded!(
    /// The token.
    grid_token, "GridToken.json");
