//! Transactions, trees and wallets against what independent libraries make of the same inputs
//! (`contracts/vectors.mjs` writes the file).

use std::collections::BTreeMap;

use chain::{
    Address, B256, Bytes, Call, EpochHeader, Fees, RewardsError, RewardsTree, SignedTx,
    TxDecodeError, TxRequest, U256, Wallet, WalletError, keccak256, verify_reward,
};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    key: String,
    transactions: Vec<Transaction>,
    trees: Vec<Tree>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    chain_id: u64,
    nonce: u64,
    to: Option<Address>,
    value: String,
    data: Bytes,
    gas_limit: u64,
    max_fee: String,
    tip: String,
    raw: Bytes,
    hash: B256,
    from: Address,
}

#[derive(Deserialize)]
struct Tree {
    leaves: Vec<(Address, String)>,
    root: B256,
    proofs: Vec<Vec<B256>>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../golden/vectors.json")).unwrap()
}

#[test]
fn transactions_are_signed_like_everywhere() {
    let Vectors { key, transactions, .. } = vectors();
    let wallet = Wallet::from_hex(&key).unwrap();
    for expected in transactions {
        let call = Call {
            from: None,
            to: expected.to,
            data: expected.data.clone(),
            value: expected.value.parse().unwrap(),
        };
        let fees = Fees {
            max_fee_per_gas: expected.max_fee.parse().unwrap(),
            max_priority_fee_per_gas: expected.tip.parse().unwrap(),
        };
        let request =
            TxRequest::new(expected.chain_id, expected.nonce, fees, expected.gas_limit, &call);
        let signed = wallet.sign(&request);
        assert_eq!(signed.raw, expected.raw);
        assert_eq!(signed.hash, expected.hash);
        assert_eq!(signed.from, expected.from);
        let (decoded, again) = SignedTx::decode(&expected.raw).unwrap();
        assert_eq!((decoded, again), (request, signed));
    }
}

#[test]
fn reward_trees_are_openzeppelins() {
    for expected in vectors().trees {
        let earned: BTreeMap<Address, u128> = expected
            .leaves
            .iter()
            .map(|(account, amount)| (*account, amount.parse().unwrap()))
            .collect();
        let tree = RewardsTree::new(earned).unwrap();
        assert_eq!(tree.root(), expected.root, "{} leaves", expected.leaves.len());
        for ((account, _), proof) in expected.leaves.iter().zip(&expected.proofs) {
            assert_eq!(tree.proof(*account).as_ref(), Some(proof));
        }
    }
}

#[test]
fn reward_trees_at_the_edges() {
    let one = Address::repeat_byte(1);
    let empty = RewardsTree::new(BTreeMap::from([(one, 0)])).unwrap();
    assert_eq!((empty.root(), empty.total(), empty.proof(one)), (B256::ZERO, 0, None));
    let zero = RewardsTree::new(BTreeMap::from([(Address::ZERO, 1)]));
    assert_eq!(zero, Err(RewardsError::ZeroAddress));
    let much = RewardsTree::new(BTreeMap::from([(one, u128::MAX), (Address::repeat_byte(2), 1)]));
    assert_eq!(much, Err(RewardsError::Overflow));
}

#[test]
fn unusable_keys_are_refused_without_repeating_them() {
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let table = [
        ("", WalletError::NotHex),
        ("0x", WalletError::NotHex),
        ("zz0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80", WalletError::NotHex),
        ("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff", WalletError::NotHex),
        ("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80ff", WalletError::NotHex),
        (&"0".repeat(64), WalletError::OutOfRange),
        (order, WalletError::OutOfRange),
    ];
    for (text, expected) in table {
        let refused = Wallet::from_hex(text).unwrap_err();
        assert_eq!(refused, expected, "{text:?}");
        assert!(text.len() < 8 || !refused.to_string().contains(&text[..8]));
    }
    let key = vectors().key;
    let spelled = Wallet::from_hex(&format!("  0x{}\n", key.to_uppercase())).unwrap();
    assert_eq!(spelled.to_hex().as_str(), key);
    assert_eq!(format!("{spelled:?}"), format!("Wallet({})", spelled.address()));
}

#[test]
fn damaged_transactions_are_refused() {
    let good = vectors().transactions.swap_remove(2);
    assert_eq!(SignedTx::decode(&[]), Err(TxDecodeError::Empty));
    assert_eq!(SignedTx::decode(&[0xf8, 0x6c]), Err(TxDecodeError::WrongType(0xf8)));
    for length in 1..good.raw.len() {
        assert!(SignedTx::decode(&good.raw[..length]).is_err(), "{length} bytes");
    }
    let longer = [good.raw.as_ref(), &[0]].concat();
    assert!(matches!(SignedTx::decode(&longer), Err(TxDecodeError::Malformed(_))));
    for at in 1..good.raw.len() {
        let mut bad = good.raw.to_vec();
        bad[at] ^= 0x10;
        // Either refused, or it is another account's (or another hash's) transaction: never the same sender's.
        if let Ok((_, signed)) = SignedTx::decode(&bad) {
            assert_ne!(signed.from, good.from, "byte {at}");
        }
    }
    // The same signature with the other s is valid mathematics and refused (EIP-2).
    let (r, s) =
        (&good.raw[good.raw.len() - 65..good.raw.len() - 33], &good.raw[good.raw.len() - 32..]);
    assert_eq!(r.len(), 32);
    let order: U256 =
        "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse().unwrap();
    let mut high = good.raw.to_vec();
    let from = high.len() - 32;
    high[from..].copy_from_slice(&(order - U256::from_be_slice(s)).to_be_bytes::<32>());
    let parity = good.raw.len() - 67;
    high[parity] = if high[parity] == 0x80 { 0x01 } else { 0x80 };
    assert_eq!(SignedTx::decode(&high), Err(TxDecodeError::BadSignature));
}

#[test]
fn headers_in_json_keep_every_digit() {
    let header = EpochHeader { reward_total: u128::MAX, ..crate::bench::header_after(None) };
    let text = serde_json::to_string(&header).unwrap();
    assert!(text.contains(r#""reward_total":"340282366920938463463374607431768211455""#), "{text}");
    assert_eq!(serde_json::from_str::<EpochHeader>(&text).unwrap(), header);
    for bad in [r#""-1""#, r#""01""#, r#""""#, "7", r#""340282366920938463463374607431768211456""#]
    {
        let broken = text.replace(r#""340282366920938463463374607431768211455""#, bad);
        assert!(serde_json::from_str::<EpochHeader>(&broken).is_err(), "{bad}");
    }
}

#[test]
fn metering_points_are_hidden_by_salt_and_community() {
    let of = chain::metering_point_commitment;
    let all = [
        of(&[1; 32], "elm-street", "DE01"),
        of(&[2; 32], "elm-street", "DE01"),
        of(&[1; 32], "oak-street", "DE01"),
        of(&[1; 32], "elm-street", "DE02"),
        of(&[1; 32], "elm-streetD", "E01"),
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    // Written out once, so that other programs can be compared.
    let preimage = [
        b"Streetwatt metering point v1".as_slice(),
        &[1; 32],
        keccak256("elm-street").as_slice(),
        b"DE01",
    ]
    .concat();
    assert_eq!(all[0], keccak256(preimage));
}

proptest! {
    #[test]
    fn every_leaf_of_every_tree_is_proved_and_no_other(
        earned in prop::collection::btree_map(any::<[u8; 20]>(), 1u128..u128::MAX >> 8, 1..60),
        forged in any::<u128>(),
    ) {
        let earned: BTreeMap<Address, u128> = earned
            .into_iter()
            .map(|(account, amount)| (Address::from(account), amount))
            .filter(|(account, _)| *account != Address::ZERO)
            .collect();
        let tree = RewardsTree::new(earned.clone()).unwrap();
        for (account, amount) in &earned {
            let proof = tree.proof(*account).unwrap();
            prop_assert!(verify_reward(*account, *amount, &proof, tree.root()));
            prop_assert!(forged == *amount || !verify_reward(*account, forged, &proof, tree.root()));
        }
    }

    #[test]
    fn whatever_is_signed_is_read_back(
        chain_id in 1u64.., nonce in any::<u64>(), gas_limit in any::<u64>(),
        max_fee in any::<u128>(), tip in any::<u128>(), value in any::<[u64; 4]>(),
        to in prop::option::of(any::<[u8; 20]>()),
        data in prop::collection::vec(any::<u8>(), 0..200), secret in any::<[u8; 32]>(),
    ) {
        let Ok(wallet) = Wallet::from_secret(&secret) else { return Ok(()) };
        let request = TxRequest {
            chain_id, nonce, gas_limit,
            fees: Fees { max_fee_per_gas: max_fee, max_priority_fee_per_gas: tip },
            to: to.map(Address::from), value: U256::from_limbs(value), data: data.into(),
        };
        let signed = wallet.sign(&request);
        let (decoded, again) = SignedTx::decode(&signed.raw).unwrap();
        prop_assert_eq!(again.from, wallet.address());
        prop_assert_eq!((decoded, again), (request, signed));
    }

    #[test]
    fn arbitrary_bytes_never_crash_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let typed = [&[2u8], bytes.as_slice()].concat();
        SignedTx::decode(&bytes).ok();
        SignedTx::decode(&typed).ok();
        chain::Revert::decode(bytes.into());
    }
}
