//! The append-only log: RFC 6962 trees over Keccak-256, with `0x00` before leaves and `0x01` before
//! inner nodes, so that neither can pass for the other.

use alloy_primitives::{B256, Keccak256};
use serde::{Deserialize, Serialize};

/// Longest inclusion path that is looked at.
const MAX_PATH: usize = 64;

/// Hash of a leaf: `keccak256(0x00 ‖ digest)`.
#[must_use]
pub fn leaf(digest: B256) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([0x00]);
    hasher.update(digest);
    hasher.finalize()
}

/// Hash of an inner node: `keccak256(0x01 ‖ left ‖ right)`.
#[must_use]
pub fn node(left: B256, right: B256) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([0x01]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize()
}

/// Root over leaf hashes; zero for an empty tree.
#[must_use]
pub fn root(leaves: &[B256]) -> B256 {
    match leaves {
        [] => B256::ZERO,
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split_point(leaves.len()));
            node(root(left), root(right))
        }
    }
}

/// Siblings of the leaf at `index`, from the leaf upwards (RFC 6962, 2.1.1); empty when there is no
/// such leaf.
#[must_use]
pub fn path(leaves: &[B256], index: usize) -> Vec<B256> {
    if leaves.len() <= 1 || index >= leaves.len() {
        return Vec::new();
    }
    let middle = split_point(leaves.len());
    let (left, right) = leaves.split_at(middle);
    let (mut siblings, sibling) = if index < middle {
        (path(left, index), root(right))
    } else {
        (path(right, index - middle), root(left))
    };
    siblings.push(sibling);
    siblings
}

/// Largest power of two smaller than `size` (at least 2).
fn split_point(size: usize) -> usize {
    1 << (usize::BITS - 1 - (size - 1).leading_zeros())
}

/// Whether `leaf` stands at `index` in a tree of `size` leaves with this root (RFC 9162, 2.1.3.2).
#[must_use]
pub fn includes(root: B256, size: u64, index: u64, leaf: B256, path: &[B256]) -> bool {
    if index >= size || path.len() > MAX_PATH {
        return false;
    }
    let (mut position, mut last, mut hash) = (index, size - 1, leaf);
    for &sibling in path {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            hash = node(sibling, hash);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// The right edge of a log: all that is needed to append to it and to know its root.
///
/// Whoever keeps one (each household does) sees at once when the operator rewrites history: after
/// appending the next header, its own root must equal the operator's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, largest first.
    peaks: Vec<B256>,
}

/// A frontier as it stands in a file, before it is believed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    size: u64,
    peaks: Vec<B256>,
}

impl TryFrom<Written> for Frontier {
    type Error = String;

    fn try_from(Written { size, peaks }: Written) -> Result<Self, String> {
        let expected = size.count_ones();
        if u32::try_from(peaks.len()) == Ok(expected) {
            return Ok(Self { size, peaks });
        }
        Err(format!("a log of {size} leaves has {expected} peaks, not {}", peaks.len()))
    }
}

impl Frontier {
    /// The log before its last leaf, from that leaf's index and inclusion path: the siblings of the
    /// last leaf are the complete subtrees to its left. `None` when the path cannot be one.
    ///
    /// This is how a witness joins a log that is older than itself.
    #[must_use]
    pub fn before_last(index: u64, path: &[B256]) -> Option<Self> {
        let peaks: Vec<B256> = path.iter().rev().copied().collect();
        let expected = usize::try_from(index.count_ones()).ok()?;
        (peaks.len() == expected).then_some(Self { size: index, peaks })
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Root of the log; zero while it is empty.
    #[must_use]
    pub fn root(&self) -> B256 {
        let mut peaks = self.peaks.iter().rev();
        let Some(&smallest) = peaks.next() else { return B256::ZERO };
        peaks.fold(smallest, |right, &left| node(left, right))
    }

    /// Appends a leaf hash and returns its inclusion path in the grown log.
    pub fn append(&mut self, leaf: B256) -> Vec<B256> {
        let path: Vec<B256> = self.peaks.iter().rev().copied().collect();
        let mut hash = leaf;
        let mut size = self.size;
        while size & 1 == 1 {
            let left = self.peaks.pop().expect("one peak for each bit of the size");
            hash = node(left, hash);
            size >>= 1;
        }
        self.peaks.push(hash);
        self.size += 1;
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: usize) -> Vec<B256> {
        (0..count).map(|i| leaf(B256::with_last_byte(u8::try_from(i).expect("small")))).collect()
    }

    #[test]
    fn every_leaf_is_provably_included_and_nothing_else_is() {
        for size in 1..40 {
            let leaves = leaves(size);
            let root = root(&leaves);
            let count = size as u64;
            for (index, &leaf) in leaves.iter().enumerate() {
                let path = path(&leaves, index);
                let at = index as u64;
                assert!(includes(root, count, at, leaf, &path), "{index} of {size}");
                assert!(!includes(root, count, at, B256::ZERO, &path));
                assert!(!includes(root, count, count, leaf, &path));
                if size > 1 {
                    assert!(!includes(root, count, (at + 1) % count, leaf, &path));
                    assert!(!includes(root, count, at, leaf, &path[1..]));
                }
                let mut longer = path.clone();
                longer.push(B256::ZERO);
                assert!(!includes(root, count, at, leaf, &longer));
            }
        }
    }

    #[test]
    fn a_frontier_that_cannot_be_is_not_read() {
        let mut frontier = Frontier::default();
        for leaf in leaves(6) {
            frontier.append(leaf);
        }
        let text = serde_json::to_string(&frontier).expect("plain data");
        assert_eq!(serde_json::from_str::<Frontier>(&text).expect("as written"), frontier);
        let wrong = text.replace("\"size\":6", "\"size\":7");
        assert!(serde_json::from_str::<Frontier>(&wrong).is_err());
    }

    #[test]
    fn the_frontier_agrees_with_the_whole_tree() {
        let all = leaves(70);
        let mut frontier = Frontier::default();
        assert_eq!(frontier.root(), B256::ZERO);
        for (index, &leaf) in all.iter().enumerate() {
            let before = frontier.clone();
            let path = frontier.append(leaf);
            assert_eq!(Frontier::before_last(index as u64, &path), Some(before));
            let mut longer = path.clone();
            longer.push(B256::ZERO);
            assert_eq!(Frontier::before_last(index as u64, &longer), None);
            assert_eq!(frontier.root(), root(&all[..=index]));
            assert_eq!(path, super::path(&all[..=index], index));
        }
        assert_eq!(frontier.size(), 70);
    }
}
