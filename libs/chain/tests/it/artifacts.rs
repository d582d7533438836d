//! The committed artifacts: what the Rust bindings say of them, and whether the sources still compile to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use alloy_sol_types::{SolCall, SolEvent};
use chain::contracts::abi::{IAnchor, IGridToken, IOperated, IRegistry, IRewards};
use chain::contracts::{Artifact, anchor, grid_token, registry, rewards};
use chain::{Revert, keccak256};
use serde_json::Value;

fn all() -> [&'static Artifact; 4] {
    [registry(), anchor(), rewards(), grid_token()]
}

/// The ABI's spelling of a parameter type, tuples written out.
fn spell(parameter: &Value) -> String {
    let kind = parameter["type"].as_str().unwrap();
    match kind.strip_prefix("tuple") {
        Some(suffix) => format!("({}){suffix}", spell_all(&parameter["components"])),
        None => kind.to_owned(),
    }
}

fn spell_all(parameters: &Value) -> String {
    parameters.as_array().unwrap().iter().map(spell).collect::<Vec<_>>().join(",")
}

/// Signatures of one kind ("function", "event", "error") in an artifact.
fn signatures(artifact: &Artifact, kind: &str) -> BTreeSet<String> {
    let entries = artifact.abi.as_array().unwrap().iter().filter(|entry| entry["type"] == kind);
    entries
        .map(|entry| {
            format!("{}({})", entry["name"].as_str().unwrap(), spell_all(&entry["inputs"]))
        })
        .collect()
}

#[test]
fn bindings_match_the_compiled_interfaces() {
    macro_rules! check {
        ($artifact:expr; $($call:ty),+; $($event:ty),*) => {{
            let functions = signatures($artifact, "function");
            for signature in [$(<$call as SolCall>::SIGNATURE),+] {
                assert!(functions.contains(signature), "{}: {signature}", $artifact.contract);
            }
            let events = signatures($artifact, "event");
            for signature in [$(<$event as SolEvent>::SIGNATURE),*] as [&str; _] {
                assert!(events.contains(signature), "{}: {signature}", $artifact.contract);
            }
        }};
    }
    check!(anchor();
        IAnchor::submitCall, IAnchor::headCall, IAnchor::headHashCall, IAnchor::headSeqCall,
        IAnchor::rewardTotalCall, IAnchor::rewardsRootCall, IAnchor::rootOfCall, IAnchor::epochCall,
        IAnchor::hashOfCall, IAnchor::epochRewardCapCall, IAnchor::totalRewardCapCall,
        IOperated::ownerCall, IOperated::pendingOwnerCall, IOperated::transferOwnershipCall,
        IOperated::acceptOwnershipCall, IOperated::renounceOwnershipCall, IOperated::communityCall;
        IAnchor::Anchored);
    check!(registry();
        IRegistry::enrolCall, IRegistry::rotateCall, IRegistry::retireCall, IRegistry::householdCall,
        IRegistry::commitmentOfCall, IRegistry::isActiveKeyCall, IRegistry::activeCountCall,
        IOperated::communityCall, IOperated::ownerCall;
        IRegistry::Enrolled, IRegistry::Rotated, IRegistry::Retired);
    check!(rewards();
        IRewards::claimCall, IRewards::claimedCall, IRewards::totalClaimedCall, IRewards::anchorCall,
        IRewards::tokenCall;
        IRewards::Claimed);
    check!(grid_token();
        IGridToken::minterCall, IGridToken::mintCall, IGridToken::capCall, IGridToken::balanceOfCall,
        IGridToken::totalSupplyCall, IGridToken::transferCall;);
}

#[test]
fn every_error_of_the_contracts_is_named() {
    let mut named = BTreeMap::new();
    for artifact in all() {
        for signature in signatures(artifact, "error") {
            // Zeros decode as any static fields; dynamic ones need an offset, here to an empty tail.
            let name = signature.split('(').next().unwrap();
            let dynamic = signature.contains("string");
            let mut data = keccak256(&signature)[..4].to_vec();
            data.extend([0; 4 * 32]);
            if dynamic {
                data[4 + 31] = 32;
            }
            let revert = Revert::decode(data.into());
            assert_eq!(revert.name, name, "{}: {signature}", artifact.contract);
            named.insert(name.to_owned(), revert.text);
        }
    }
    assert!(named.len() > 25, "{named:?}");
    assert_eq!(named["WrongSeq"], "WrongSeq { expected: 0, given: 0 }");
    // Not ours: shown, not guessed.
    let foreign = Revert::decode(vec![1, 2, 3, 4, 5].into());
    assert_eq!((foreign.name, foreign.text.as_str()), ("", "0x0102030405"));
    assert!(Revert::decode(Default::default()).text.contains("without a reason"));
    let message = [
        &keccak256("Error(string)")[..4],
        &[[0; 31].as_slice(), &[32], &[0; 31], &[2], b"no", &[0; 30]].concat(),
    ]
    .concat();
    assert_eq!(Revert::decode(message.into()).text, r#"Error { message: "no" }"#);
}

#[test]
fn artifacts_are_complete_and_of_one_compilation() {
    for artifact in all() {
        let size = artifact.deployed_bytecode.len();
        assert!(size > 1_000 && size <= 24_576, "{}: {size} bytes", artifact.contract);
        assert!(artifact.bytecode.len() > size);
        assert_eq!(artifact.input_sha256, anchor().input_sha256);
        assert!(artifact.compiler.starts_with("0.8."), "{}", artifact.compiler);
        assert!(artifact.is_code(&artifact.deployed_bytecode));
        assert!(!artifact.is_code(&artifact.deployed_bytecode[1..]));
        let mut other = artifact.deployed_bytecode.to_vec();
        other[0] ^= 1;
        assert!(!artifact.is_code(&other));
    }
}

#[test]
fn sources_compile_to_the_committed_artifacts() {
    if std::env::var_os("STREETWATT_NODE").is_none() {
        println!(
            "SKIPPED: STREETWATT_NODE is not set; it says that Node and contracts/node_modules are there"
        );
        return;
    }
    let contracts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts");
    for script in ["build.mjs", "vectors.mjs"] {
        let output = Command::new("node")
            .args([script, "--check"])
            .current_dir(&contracts)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "node {script} --check: {text}");
    }
}
