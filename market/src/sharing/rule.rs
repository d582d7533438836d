//! What a community writes down: the rule its members pay each other by, and the key by which the
//! grid operator allocates.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use units::{PointId, Price, split};

use super::Allocation;
use crate::Terms;

/// Most rounds of a static key.
pub const MAX_ROUNDS: u8 = 8;

/// What the parts of a static key must add up to: a million parts are everything.
pub const KEYS_TOTAL: u32 = 1_000_000;

/// How a community shares: a value of its configuration.
///
/// ```
/// # #[cfg(feature = "serde")] {
/// use market::sharing::{Key, Rule, Sharing};
///
/// let text = r#"
///     rule = "mid-market"
///     [key.static]
///     rounds = 2
///     keys = { C001 = 250_000, C002 = 750_000 }
/// "#;
/// let sharing: Sharing = toml::from_str(text)?;
/// assert_eq!(sharing.rule, Rule::MidMarket);
/// assert!(matches!(sharing.key, Key::Static { .. }));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Sharing {
    /// What members pay each other.
    #[cfg_attr(feature = "serde", serde(default))]
    pub rule: Rule,
    /// Whose energy was whose, as the grid operator counts it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub key: Key,
}

/// What members pay for what they use of each other's energy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum Rule {
    /// Everybody is alone with the supplier.
    None,
    /// The double auction and its two-step settlement: [`settle`](crate::settle).
    #[default]
    Auction,
    /// Pooled energy at the middle of retail and feed-in.
    MidMarket,
    /// One price that falls from retail to feed-in as supply grows to demand.
    SupplyDemand,
    /// What the street pays outside is shared by energy; energy inside is free.
    BillSharing {
        /// Over which time the bill is shared.
        per: Per,
    },
    /// What the key allocated, at a price the members agreed on.
    Allocated {
        /// The price inside.
        price: Inside,
    },
}

impl Rule {
    /// Whether members place orders.
    #[must_use]
    pub const fn takes_orders(self) -> bool {
        matches!(self, Self::Auction)
    }
}

/// A text that names no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no rule {0:?}: choose none, auction, mid-market, supply-demand, bill-sharing per \
     interval, bill-sharing per period, allocated at the middle, or allocated at so many \
     nano-currency per Wh"
)]
pub struct UnknownRule(String);

/// Rules that are named by a word alone.
const WORDS: [(&str, Rule); 7] = [
    ("none", Rule::None),
    ("auction", Rule::Auction),
    ("mid-market", Rule::MidMarket),
    ("supply-demand", Rule::SupplyDemand),
    ("bill-sharing per interval", Rule::BillSharing { per: Per::Interval }),
    ("bill-sharing per period", Rule::BillSharing { per: Per::Period }),
    ("allocated at the middle", Rule::Allocated { price: Inside::Middle }),
];
/// What stands before an agreed price.
const ALLOCATED_AT: &str = "allocated at ";

impl fmt::Display for Rule {
    /// The rule in the words that it is read from; an agreed price in nano-currency per Wh.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allocated { price: Inside::Fixed(price) } => {
                write!(f, "{ALLOCATED_AT}{}", price.nano_per_wh())
            }
            _ => {
                let word = WORDS.iter().find(|(_, rule)| rule == self);
                f.pad(word.expect("all but agreed prices have a word").0)
            }
        }
    }
}

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(text: &str) -> Result<Self, UnknownRule> {
        if let Some((_, rule)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*rule);
        }
        let nano = text.strip_prefix(ALLOCATED_AT).and_then(|nano| nano.parse().ok());
        let price =
            nano.map(Price::from_nano_per_wh).ok_or_else(|| UnknownRule(text.to_owned()))?;
        Ok(Self::Allocated { price: Inside::Fixed(price) })
    }
}

/// Over which time a bill is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Per {
    /// Every slot by itself.
    Interval,
    /// A billing period as a whole.
    Period,
}

/// The price of allocated energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Inside {
    /// The middle of retail and feed-in.
    Middle,
    /// An agreed price, held between feed-in and retail so that nobody pays for taking part.
    Fixed(Price),
}

impl Inside {
    /// What a Wh inside costs under these terms: an agreed price is held between them.
    #[must_use]
    pub fn price(self, terms: Terms) -> Price {
        match self {
            Self::Fixed(price) if terms.leave_room() => {
                price.clamp(terms.feed_in(), terms.retail())
            }
            // Allocated all the same: retail below feed-in makes it a loss, and halves are fair.
            Self::Middle | Self::Fixed(_) => terms.middle(),
        }
    }
}

/// Who is allocated whose energy, from meters alone. Every key allocates at most what is metered.
///
/// Producers give in proportion to what is left of their export, unless a pair says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum Key {
    /// Nothing is allocated.
    #[default]
    None,
    /// In proportion to consumption, all that can be.
    ProRata,
    /// By fixed parts, each capped by consumption; what is left goes round again.
    Static {
        /// A part for every consumer.
        keys: Keys,
        /// How often the parts are applied, the later times among those who still need.
        #[cfg_attr(feature = "serde", serde(default))]
        rounds: Rounds,
    },
    /// One level after the other, in proportion to consumption within; who is not named comes
    /// last.
    Cascade {
        /// First come first.
        levels: Levels,
    },
    /// First inside the smallest groups, in the end among everybody.
    Hierarchical {
        /// For example the buildings, then the courtyards.
        tiers: Vec<Groups>,
    },
    /// As the market traded, scaled down to what was metered.
    Pairs {
        /// How what is left is allocated.
        then: Box<Key>,
    },
}

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// The parts are not everything.
    #[error(
        "the parts of a static key add up to {sum}, not to {KEYS_TOTAL}: state them in \
         millionths, 250000 for a quarter"
    )]
    Sum {
        /// What they add up to.
        sum: u64,
    },
    /// Too many rounds or none.
    #[error("{rounds} rounds: a static key has 1 to {MAX_ROUNDS}")]
    Rounds {
        /// The number that was given.
        rounds: u8,
    },
    /// A point stands in two places of which it can only be in one.
    #[error("{point} is named twice {place}")]
    Twice {
        /// The point.
        point: PointId,
        /// Where.
        place: &'static str,
    },
    /// A name of nobody.
    #[error("the key names {point}, which is not a metering point of the community")]
    Unknown {
        /// The name.
        point: PointId,
    },
    /// Pairs after pairs would share the same trades again.
    #[error("what is left after pairs cannot be shared by pairs: choose pro-rata or another key")]
    PairsAgain,
    /// Bills by allocated energy need an allocation.
    #[error("the rule \"allocated\" bills what a key allocates, but the key is \"none\"")]
    NothingAllocated,
}

/// Parts per million, one for every consumer; together exactly [`KEYS_TOTAL`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "BTreeMap<PointId, u32>"))]
#[cfg_attr(feature = "serde", serde(into = "BTreeMap<PointId, u32>"))]
pub struct Keys(BTreeMap<PointId, u32>);

impl Keys {
    /// From parts in millionths.
    ///
    /// # Errors
    /// [`KeyFault::Sum`] when they are not everything.
    pub fn new(keys: BTreeMap<PointId, u32>) -> Result<Self, KeyFault> {
        let sum = keys.values().map(|&part| u64::from(part)).sum();
        if sum == u64::from(KEYS_TOTAL) { Ok(Self(keys)) } else { Err(KeyFault::Sum { sum }) }
    }

    /// The parts that follow what members were allocated in the past: for countries where a static
    /// key is chosen ahead, hour by hour if the history is given so. Nothing without a history.
    #[must_use]
    pub fn of_history<'a>(history: impl IntoIterator<Item = &'a Allocation>) -> Option<Self> {
        let mut taken: BTreeMap<&PointId, i64> = BTreeMap::new();
        for line in history.into_iter().flat_map(|allocation| &allocation.lines) {
            *taken.entry(&line.point).or_default() += line.taken.wh();
        }
        let weights: Vec<i64> = taken.values().copied().collect();
        if weights.iter().all(|&wh| wh == 0) {
            return None;
        }
        let parts = split(i64::from(KEYS_TOTAL), &weights, |i| i);
        let part = |part: i64| u32::try_from(part).expect("at most a million");
        Some(Self(taken.into_keys().cloned().zip(parts.into_iter().map(part)).collect()))
    }

    /// A point's part; nothing for one that is not named.
    #[must_use]
    pub fn part(&self, point: &PointId) -> u32 {
        self.0.get(point).copied().unwrap_or(0)
    }
}

impl TryFrom<BTreeMap<PointId, u32>> for Keys {
    type Error = KeyFault;
    fn try_from(keys: BTreeMap<PointId, u32>) -> Result<Self, KeyFault> {
        Self::new(keys)
    }
}

impl From<Keys> for BTreeMap<PointId, u32> {
    fn from(keys: Keys) -> Self {
        keys.0
    }
}

/// How often a static key is applied to what is left, 1 to [`MAX_ROUNDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "u8", into = "u8"))]
pub struct Rounds(u8);

impl Rounds {
    /// From a number.
    ///
    /// # Errors
    /// [`KeyFault::Rounds`] outside of 1 to [`MAX_ROUNDS`].
    pub const fn new(rounds: u8) -> Result<Self, KeyFault> {
        if rounds >= 1 && rounds <= MAX_ROUNDS {
            Ok(Self(rounds))
        } else {
            Err(KeyFault::Rounds { rounds })
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Rounds {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u8> for Rounds {
    type Error = KeyFault;
    fn try_from(rounds: u8) -> Result<Self, KeyFault> {
        Self::new(rounds)
    }
}

impl From<Rounds> for u8 {
    fn from(rounds: Rounds) -> Self {
        rounds.0
    }
}

/// Consumers in order of priority, each at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Vec<Vec<PointId>>"))]
#[cfg_attr(feature = "serde", serde(into = "Vec<Vec<PointId>>"))]
pub struct Levels(Vec<Vec<PointId>>);

impl Levels {
    /// From levels, the first served first.
    ///
    /// # Errors
    /// [`KeyFault::Twice`] when a point has two places.
    pub fn new(levels: Vec<Vec<PointId>>) -> Result<Self, KeyFault> {
        once("in the cascade", levels.iter().flatten())?;
        Ok(Self(levels))
    }

    /// The levels, the first served first.
    #[must_use]
    pub fn levels(&self) -> &[Vec<PointId>] {
        &self.0
    }
}

impl TryFrom<Vec<Vec<PointId>>> for Levels {
    type Error = KeyFault;
    fn try_from(levels: Vec<Vec<PointId>>) -> Result<Self, KeyFault> {
        Self::new(levels)
    }
}

impl From<Levels> for Vec<Vec<PointId>> {
    fn from(levels: Levels) -> Self {
        levels.0
    }
}

/// One tier of a hierarchy: named groups that share no member. Who is in none waits for the next
/// tier.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "BTreeMap<String, Vec<PointId>>"))]
#[cfg_attr(feature = "serde", serde(into = "BTreeMap<String, Vec<PointId>>"))]
pub struct Groups(BTreeMap<String, Vec<PointId>>);

impl Groups {
    /// From members by the group's name.
    ///
    /// # Errors
    /// [`KeyFault::Twice`] when a point is in two groups.
    pub fn new(groups: BTreeMap<String, Vec<PointId>>) -> Result<Self, KeyFault> {
        once("in one tier of the hierarchy", groups.values().flatten())?;
        Ok(Self(groups))
    }

    /// The members of every group, by the group's name.
    pub fn members(&self) -> impl Iterator<Item = &[PointId]> {
        self.0.values().map(Vec::as_slice)
    }
}

impl TryFrom<BTreeMap<String, Vec<PointId>>> for Groups {
    type Error = KeyFault;
    fn try_from(groups: BTreeMap<String, Vec<PointId>>) -> Result<Self, KeyFault> {
        Self::new(groups)
    }
}

impl From<Groups> for BTreeMap<String, Vec<PointId>> {
    fn from(groups: Groups) -> Self {
        groups.0
    }
}

fn once<'a>(
    place: &'static str,
    points: impl Iterator<Item = &'a PointId>,
) -> Result<(), KeyFault> {
    let mut seen = BTreeSet::new();
    for point in points {
        if !seen.insert(point) {
            return Err(KeyFault::Twice { point: point.clone(), place });
        }
    }
    Ok(())
}

impl Sharing {
    /// Whether rule and key fit together and name members only.
    ///
    /// # Errors
    /// [`KeyFault`] names what does not fit.
    pub fn check(&self, members: &BTreeSet<PointId>) -> Result<(), KeyFault> {
        if matches!((self.rule, &self.key), (Rule::Allocated { .. }, Key::None)) {
            return Err(KeyFault::NothingAllocated);
        }
        self.key.check(|point| members.contains(point))
    }
}

impl Key {
    /// Whether the key names members only and does not nest pairs.
    ///
    /// # Errors
    /// [`KeyFault::Unknown`] or [`KeyFault::PairsAgain`].
    pub fn check(&self, is_member: impl Fn(&PointId) -> bool) -> Result<(), KeyFault> {
        let key = match self {
            Self::Pairs { then } if matches!(**then, Self::Pairs { .. }) => {
                return Err(KeyFault::PairsAgain);
            }
            Self::Pairs { then } => then,
            key => key,
        };
        match key.named().into_iter().find(|point| !is_member(point)) {
            Some(point) => Err(KeyFault::Unknown { point: point.clone() }),
            None => Ok(()),
        }
    }

    /// The key's kind, as it is configured.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ProRata => "pro-rata",
            Self::Static { .. } => "static",
            Self::Cascade { .. } => "cascade",
            Self::Hierarchical { .. } => "hierarchical",
            Self::Pairs { .. } => "pairs",
        }
    }

    fn named(&self) -> Vec<&PointId> {
        match self {
            Self::None | Self::ProRata | Self::Pairs { .. } => Vec::new(),
            Self::Static { keys, .. } => keys.0.keys().collect(),
            Self::Cascade { levels } => levels.0.iter().flatten().collect(),
            Self::Hierarchical { tiers } => {
                tiers.iter().flat_map(|tier| tier.members().flatten()).collect()
            }
        }
    }
}
