//! The legal allocation: whose export was whose import, from meters alone.
//!
//! A key is applied in rounds. In each round some consumers take energy and producers give it in
//! proportion to what is left of theirs, so that nobody is ever allocated more than was metered,
//! and both sides of every round are the same energy. All keys but `none` and `static` go on until
//! one side is used up: they allocate exactly `min(Σ export, Σ import)`.

use std::collections::BTreeMap;

use units::{Energy, PointId, Slot, split};

use super::pairs::{Trade, scaled, transport};
use super::{Key, Keys, Parties, Party, SharingFault};
use crate::{MAX_QUANTITY, Metered, Rank};

/// What one metering point is allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Allocated {
    /// Whose.
    pub point: PointId,
    /// Tie key.
    pub rank: Rank,
    /// Metered import, Wh.
    pub import: Energy,
    /// Metered export, Wh.
    pub export: Energy,
    /// Of the import, what neighbours gave, Wh.
    pub taken: Energy,
    /// Of the export, what neighbours took, Wh.
    pub given: Energy,
}

/// The legal allocation of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Allocation {
    /// The slot.
    pub slot: Slot,
    /// One line per metered point, by point.
    pub lines: Vec<Allocated>,
    /// Who has no reading yet: neither gives nor takes until a correction.
    pub missing: Vec<PointId>,
    /// What stays inside, Wh.
    pub total: Energy,
    rounds: Vec<Round>,
}

/// One application of a key: energy given and taken by lines, both with the same sum.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
enum Round {
    /// Whose is whose follows in proportion.
    Pooled { given: Vec<(usize, i64)>, taken: Vec<(usize, i64)> },
    /// Producer, consumer, Wh.
    Paired(Vec<(usize, usize, i64)>),
}

/// Allocates a slot's metered energy by a key.
///
/// `trades` are the market's ([`trades`](super::trades)); only [`Key::Pairs`] looks at them. The
/// result does not depend on the order of either argument.
///
/// # Errors
/// [`SharingFault`] when the meters contradict each other or leave the range, or the key or a trade
/// names a point that is not there.
pub fn allocate(
    key: &Key,
    slot: Slot,
    metered: &[Metered],
    trades: &[Trade],
) -> Result<Allocation, SharingFault> {
    let parties = Parties::of(metered)?;
    let is_there = |point: &PointId| {
        parties.missing.binary_search(&point).is_ok() || position(&parties.present, point).is_some()
    };
    key.check(is_there)?;
    let mut open = Open::of(&parties.present);
    if let Key::Pairs { then } = key {
        check_trades(trades, is_there)?;
        open.pairs(trades);
        open.apply(then);
    } else {
        open.apply(key);
    }
    let allocation = open.allocation(slot, &parties);
    allocation.prove()?;
    Ok(allocation)
}

/// Trades of points that are there, of a possible energy.
fn check_trades(trades: &[Trade], is_there: impl Fn(&PointId) -> bool) -> Result<(), SharingFault> {
    for Trade { producer, consumer, energy } in trades {
        if let Some(point) = [producer, consumer].into_iter().find(|point| !is_there(point)) {
            let point = point.clone();
            return Err(SharingFault::UnknownPoint { point, what: "a trade" });
        }
        if !(Energy::ZERO..=MAX_QUANTITY).contains(energy) {
            let (point, energy) = (producer.clone(), *energy);
            return Err(SharingFault::ImpossibleEnergy { point, name: "traded energy", energy });
        }
    }
    Ok(())
}

fn position(present: &[Party], point: &PointId) -> Option<usize> {
    present.binary_search_by(|party| party.point.cmp(point)).ok()
}

/// What is still to be allocated.
struct Open<'a> {
    parties: &'a [Party<'a>],
    /// Export that nobody has taken, by party.
    left: Vec<i64>,
    /// Import that nobody has covered, by party.
    need: Vec<i64>,
    rounds: Vec<Round>,
}

impl<'a> Open<'a> {
    fn of(parties: &'a [Party<'a>]) -> Self {
        let left = parties.iter().map(|party| party.export.wh()).collect();
        let need = parties.iter().map(|party| party.import.wh()).collect();
        Self { parties, left, need, rounds: Vec::new() }
    }

    fn apply(&mut self, key: &Key) {
        let all: Vec<usize> = (0..self.parties.len()).collect();
        match key {
            Key::None | Key::Pairs { .. } => {}
            Key::ProRata => self.pro_rata(&all, &all),
            Key::Static { keys, rounds } => self.fixed(keys, rounds.get(), &all),
            Key::Cascade { levels } => {
                for level in levels.levels() {
                    let level = self.positions(level);
                    self.pro_rata(&all, &level);
                }
                self.pro_rata(&all, &all);
            }
            Key::Hierarchical { tiers } => {
                for group in tiers.iter().flat_map(super::Groups::members) {
                    let group = self.positions(group);
                    self.pro_rata(&group, &group);
                }
                self.pro_rata(&all, &all);
            }
        }
    }

    /// Those of the named points that have a reading.
    fn positions(&self, points: &[PointId]) -> Vec<usize> {
        points.iter().filter_map(|point| position(self.parties, point)).collect()
    }

    /// As much as possible from producers to consumers, both in proportion to what is open.
    fn pro_rata(&mut self, producers: &[usize], consumers: &[usize]) {
        let of = |energies: &[i64], who: &[usize]| -> Vec<i64> {
            who.iter().map(|&i| energies[i]).collect()
        };
        let needs = of(&self.need, consumers);
        let total = needs.iter().sum::<i64>().min(of(&self.left, producers).iter().sum());
        let takes = split(total, &needs, |i| self.parties[consumers[i]].rank);
        self.book(producers, consumers, &takes);
    }

    /// Fixed parts of what is left, capped by what is needed; then again among who still needs.
    fn fixed(&mut self, keys: &Keys, rounds: u8, all: &[usize]) {
        let part = |party: &Party| i64::from(keys.part(party.point));
        for round in 0..rounds {
            let left: i64 = self.left.iter().sum();
            let mut weights: Vec<i64> = self.parties.iter().map(part).collect();
            if round > 0 {
                for (weight, &need) in weights.iter_mut().zip(&self.need) {
                    *weight *= i64::from(need > 0);
                }
            }
            // A key counts even while its meter is missing: its part stays with the producers.
            let absent = if round > 0 {
                0
            } else {
                i64::from(super::KEYS_TOTAL) - weights.iter().sum::<i64>()
            };
            weights.push(absent);
            if left == 0 || weights.iter().sum::<i64>() == 0 {
                return;
            }
            let rank = |i: usize| self.parties.get(i).map_or([u8::MAX; 32], |party| party.rank);
            let offers = split(left, &weights, rank);
            let takes: Vec<i64> =
                offers.iter().zip(&self.need).map(|(&offer, &need)| offer.min(need)).collect();
            self.book(all, all, &takes);
        }
    }

    /// Books what consumers take, and gives it in proportion to what is left of the producers'.
    fn book(&mut self, producers: &[usize], consumers: &[usize], takes: &[i64]) {
        let total: i64 = takes.iter().sum();
        if total == 0 {
            return;
        }
        let lefts: Vec<i64> = producers.iter().map(|&i| self.left[i]).collect();
        let gives = split(total, &lefts, |i| self.parties[producers[i]].rank);
        for (&i, give) in producers.iter().zip(&gives) {
            self.left[i] -= give;
        }
        for (&i, take) in consumers.iter().zip(takes) {
            self.need[i] -= take;
        }
        let sparse = |who: &[usize], energies: &[i64]| -> Vec<(usize, i64)> {
            who.iter().copied().zip(energies.iter().copied()).filter(|&(_, wh)| wh > 0).collect()
        };
        let (given, taken) = (sparse(producers, &gives), sparse(consumers, takes));
        self.rounds.push(Round::Pooled { given, taken });
    }

    /// Trades as far as both meters bear them out.
    fn pairs(&mut self, trades: &[Trade]) {
        let mut matrix: BTreeMap<(usize, usize), i64> = BTreeMap::new();
        for trade in trades {
            let ends = position(self.parties, &trade.producer)
                .zip(position(self.parties, &trade.consumer));
            // A trade with a missing meter waits for the correction.
            if let Some(ends) = ends {
                *matrix.entry(ends).or_default() += trade.energy.wh();
            }
        }
        let ranks: Vec<Rank> = self.parties.iter().map(|party| party.rank).collect();
        let pairs = scaled(matrix, &self.left, &self.need, &ranks);
        for &(producer, consumer, wh) in &pairs {
            self.left[producer] -= wh;
            self.need[consumer] -= wh;
        }
        if !pairs.is_empty() {
            self.rounds.push(Round::Paired(pairs));
        }
    }

    fn allocation(self, slot: Slot, parties: &Parties) -> Allocation {
        let line = |(i, party): (usize, &Party)| Allocated {
            point: party.point.clone(),
            rank: party.rank,
            import: party.import,
            export: party.export,
            taken: party.import - Energy::from_wh(self.need[i]),
            given: party.export - Energy::from_wh(self.left[i]),
        };
        let lines: Vec<Allocated> = parties.present.iter().enumerate().map(line).collect();
        let total = lines.iter().map(|line| line.taken).sum();
        Allocation { slot, lines, missing: parties.missing(), total, rounds: self.rounds }
    }
}

impl Allocation {
    /// The line of a metering point.
    #[must_use]
    pub fn of(&self, point: &PointId) -> Option<&Allocated> {
        let i = self.lines.binary_search_by(|line| line.point.cmp(point)).ok()?;
        Some(&self.lines[i])
    }

    /// Whose energy was whose, by producer and consumer: the pairs of the market where the key
    /// follows it, and otherwise in proportion within every round. Exact on both sides.
    #[must_use]
    pub fn pairs(&self) -> Vec<Trade> {
        let mut matrix: BTreeMap<(usize, usize), i64> = BTreeMap::new();
        for round in &self.rounds {
            let pairs = match round {
                Round::Paired(pairs) => pairs.clone(),
                Round::Pooled { given, taken } => transport(given, taken, |i| self.lines[i].rank),
            };
            for (producer, consumer, wh) in pairs {
                *matrix.entry((producer, consumer)).or_default() += wh;
            }
        }
        let trade = |((producer, consumer), wh): ((usize, usize), i64)| Trade {
            producer: self.lines[producer].point.clone(),
            consumer: self.lines[consumer].point.clone(),
            energy: Energy::from_wh(wh),
        };
        matrix.into_iter().map(trade).collect()
    }

    /// Whether nobody is allocated more than was metered and both sides add up.
    ///
    /// # Errors
    /// [`SharingFault`] names what is wrong.
    pub fn prove(&self) -> Result<(), SharingFault> {
        for line in &self.lines {
            let pairs = [
                ("taken energy", line.taken, line.import),
                ("given energy", line.given, line.export),
            ];
            for (name, energy, most) in pairs {
                if !(Energy::ZERO..=most).contains(&energy) {
                    let point = line.point.clone();
                    return Err(SharingFault::ImpossibleEnergy { point, name, energy });
                }
            }
        }
        let sum = |part: fn(&Allocated) -> Energy| -> i128 {
            self.lines.iter().map(|line| i128::from(part(line).wh())).sum()
        };
        let (taken, given) = (sum(|line| line.taken), sum(|line| line.given));
        for (what, left, right) in [
            ("energy taken is energy given", taken, given),
            ("what stays inside is stated", i128::from(self.total.wh()), taken),
        ] {
            if left != right {
                return Err(SharingFault::NotConserved { what, left, right });
            }
        }
        Ok(())
    }
}
