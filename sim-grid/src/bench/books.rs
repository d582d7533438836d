//! Drawn order books and a drawn street: the same for every engine, ours and others'.
//!
//! Half of the lots buy at 12 to 30 ct/kWh and half sell at 8 to 26 ct/kWh, 10 to 1,500 Wh each. The
//! other kinds are the books that auctions stumble over: many equal limits, limits that never
//! meet, and buyers who pay anything.

use std::cmp::Reverse;

use market::{Branch, Lot, Node, Rank, Side, Tier};
use serde::Serialize;
use units::{Energy, Price};

use crate::world::chance::Chance;

/// Highest limit of a drawn lot, 10⁻⁵ currency per kWh.
pub const DEAREST_E5: i64 = 30_000;
/// Lowest limit of a drawn lot, 10⁻⁵ currency per kWh.
pub const CHEAPEST_E5: i64 = 8_000;
/// Limits of buyers, 10⁻⁵ currency per kWh, without the end.
const BUYS_E5: (i64, i64) = (12_000, DEAREST_E5 + 1);
/// Limits of sellers, 10⁻⁵ currency per kWh, without the end.
const SELLS_E5: (i64, i64) = (CHEAPEST_E5, 26_001);
/// Where all limits are the same, 10⁻⁵ currency per kWh.
const ONE_PRICE_E5: i64 = 20_000;
/// Energy of a lot, Wh, without the end.
const ENERGY_WH: (u64, u64) = (10, 1_501);
/// Fee of a branch, 10⁻⁵ currency per kWh, without the end.
const FEE_E5: (u64, u64) = (50, 301);

/// What a drawn book is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Limits anywhere in their ranges.
    Random,
    /// Limits from a handful of round prices, with most of the energy at the margin.
    Ties,
    /// Every buyer offers less than any seller asks.
    NoCrossing,
    /// Every buyer pays the dearest limit for what little there is.
    Inelastic,
    /// One limit for all.
    OnePrice,
    /// One limit for all, and every buyer wants the same: only ranks tell them apart.
    Alike,
}

impl Kind {
    /// In a few letters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Ties => "ties",
            Self::NoCrossing => "no crossing",
            Self::Inelastic => "inelastic",
            Self::OnePrice => "one price",
            Self::Alike => "all alike",
        }
    }

    fn limit_e5(self, side: Side, chance: &mut Chance) -> i64 {
        let mut within = |(low, end): (i64, i64)| {
            let width = u64::try_from(end - low).expect("a range to draw from");
            low + i64::try_from(chance.between(0, width)).expect("a price")
        };
        match (self, side) {
            (Self::Random, Side::Buy) => within(BUYS_E5),
            (Self::Random | Self::Inelastic, Side::Sell) => within(SELLS_E5),
            (Self::Ties, Side::Buy) => 16_000 + 4_000 * within((0, 3)),
            (Self::Ties, Side::Sell) => 12_000 + 4_000 * within((0, 3)),
            (Self::NoCrossing, Side::Buy) => within((CHEAPEST_E5, 12_000)),
            (Self::NoCrossing, Side::Sell) => within((12_500, 26_001)),
            (Self::Inelastic, Side::Buy) => DEAREST_E5,
            (Self::OnePrice | Self::Alike, _) => ONE_PRICE_E5,
        }
    }
}

/// `orders` lots on one node; every second one buys.
#[must_use]
pub fn book(kind: Kind, orders: usize, seed: u64) -> Vec<Lot> {
    spread(kind, orders, 1, seed)
}

/// `orders` lots on the nodes below the root of a street with `nodes` nodes, or all on the root
/// when there is no other.
#[must_use]
pub fn spread(kind: Kind, orders: usize, nodes: u32, seed: u64) -> Vec<Lot> {
    let mut chance = Chance::new(seed, "bench: lots");
    (0..orders)
        .map(|number| {
            let side = if number % 2 == 0 { Side::Buy } else { Side::Sell };
            let wh = chance.between(ENERGY_WH.0, ENERGY_WH.1);
            let wh = match (kind, side) {
                // Scarce supply: sellers offer about half of what is wanted.
                (Kind::Inelastic, Side::Sell) => wh.div_ceil(2),
                (Kind::Alike, Side::Buy) => 1_000,
                _ => wh,
            };
            let limit = Price::from_e5_per_kwh(kind.limit_e5(side, &mut chance));
            let node = match nodes {
                0 | 1 => Node::ROOT,
                _ => Node(u32::try_from(chance.between(1, u64::from(nodes))).expect("a node")),
            };
            let quantity = Energy::from_wh(i64::try_from(wh).expect("a small quantity"));
            Lot { node, side, quantity, limit }
        })
        .collect()
}

/// The rank of a lot, for the last watt-hour of a tie.
#[must_use]
pub fn rank(seed: u64, lot: usize) -> Rank {
    let mut chance = Chance::new(seed.wrapping_add(lot as u64), "bench: ranks");
    let mut rank = [0; 32];
    rank.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&chance.bits().to_be_bytes()));
    rank
}

/// The branches of a random radial street with `nodes` nodes, a fee on each and no caps: every
/// node hangs on a random earlier one.
#[must_use]
pub fn street(nodes: u32, seed: u64) -> Vec<Branch> {
    let mut chance = Chance::new(seed, "bench: street");
    (1..nodes)
        .map(|node| {
            let parent = Node(u32::try_from(chance.between(0, u64::from(node))).expect("a node"));
            let fee_e5 = i64::try_from(chance.between(FEE_E5.0, FEE_E5.1)).expect("a fee");
            Branch {
                name: format!("branch {node}"),
                parent,
                import_cap: market::UNCAPPED,
                export_cap: market::UNCAPPED,
                fee: Price::from_e5_per_kwh(fee_e5),
                tier: Tier::Street,
            }
        })
        .collect()
}

/// Caps about every tenth branch at 70 % of what flows through it without caps; `flows` has one
/// entry per node.
pub fn cap_some(branches: &mut [Branch], flows: &[Energy], seed: u64) {
    let mut chance = Chance::new(seed, "bench: caps");
    for (branch, flow) in branches.iter_mut().zip(&flows[1..]) {
        if chance.between(0, 10) == 0 {
            let cap = Energy::from_wh(flow.wh().abs() * 7 / 10);
            (branch.import_cap, branch.export_cap) = (cap, cap);
        }
    }
}

/// The best that any matching of a book can do, without a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Optimum {
    /// What buyers would pay at most less what sellers would take at least, nano-currency.
    pub welfare: i128,
    /// Least energy that reaches it, Wh.
    pub least_wh: i64,
    /// Most energy that reaches it, Wh.
    pub most_wh: i64,
}

/// Matches the dearest buyers with the cheapest sellers: the least that any engine has to do, with
/// no ties shared out, nobody's fill and no proof.
#[must_use]
pub fn sort_and_match(lots: &[Lot]) -> Optimum {
    let of = |side: Side| {
        let lots = lots.iter().filter(move |lot| lot.side == side);
        lots.map(|lot| (lot.limit.nano_per_wh(), lot.quantity.wh())).collect::<Vec<_>>()
    };
    let (mut bids, mut asks) = (of(Side::Buy), of(Side::Sell));
    bids.sort_unstable_by_key(|&(limit, _)| Reverse(limit));
    asks.sort_unstable_by_key(|&(limit, _)| limit);
    let mut optimum = Optimum { welfare: 0, least_wh: 0, most_wh: 0 };
    let (mut bid, mut ask) = (0, 0);
    while let (Some((dearest, wanted)), Some((cheapest, offered))) =
        (bids.get_mut(bid), asks.get_mut(ask))
    {
        if dearest < cheapest {
            break;
        }
        let energy = (*wanted).min(*offered);
        (*wanted, *offered) = (*wanted - energy, *offered - energy);
        optimum.welfare += i128::from(*dearest - *cheapest) * i128::from(energy);
        optimum.most_wh += energy;
        if dearest > cheapest {
            optimum.least_wh += energy;
        }
        bid += usize::from(*wanted == 0);
        ask += usize::from(*offered == 0);
    }
    optimum
}

/// The yardstick of speed: sorting and matching with nothing that could be left out. Limit and
/// energy of a lot are one integer, both sides are sorted unstably, and two pointers meet. Returns
/// the energy that trades, Wh, and the last buyer's limit, ticks; no fills, no ties, no proof.
///
/// # Panics
/// When a lot is not one that is drawn here: at most 2³² − 1 Wh at a limit that is not negative.
#[must_use]
pub fn yardstick(lots: &[Lot]) -> (u64, u64) {
    const ENERGY: u64 = 0xffff_ffff;
    let mut sides = [Side::Buy, Side::Sell].map(|side| {
        let packed = lots.iter().filter(|lot| lot.side == side).map(|lot| {
            let ticks = lot.limit.nano_per_wh() / Price::TICK.nano_per_wh();
            let energy = u32::try_from(lot.quantity.wh()).expect("a drawn lot is small");
            u64::try_from(ticks).expect("a drawn limit is positive") << 32 | u64::from(energy)
        });
        let mut packed: Vec<u64> = packed.collect();
        packed.sort_unstable();
        packed
    });
    let [bids, asks] = &mut sides;
    let (mut bids, mut asks) = (bids.iter().rev(), asks.iter());
    let (mut bid, mut ask) = (bids.next().copied(), asks.next().copied());
    let (mut traded, mut last) = (0, 0);
    while let (Some(buy), Some(sell)) = (bid, ask) {
        if buy >> 32 < sell >> 32 {
            break;
        }
        let energy = (buy & ENERGY).min(sell & ENERGY);
        (traded, last) = (traded + energy, buy >> 32);
        bid = if buy & ENERGY == energy { bids.next().copied() } else { Some(buy - energy) };
        ask = if sell & ENERGY == energy { asks.next().copied() } else { Some(sell - energy) };
    }
    (traded, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Kind; 6] =
        [Kind::Random, Kind::Ties, Kind::NoCrossing, Kind::Inelastic, Kind::OnePrice, Kind::Alike];

    #[test]
    fn a_drawn_book_is_the_same_for_a_seed_and_of_its_kind() {
        for kind in ALL {
            let lots = book(kind, 1_001, 7);
            assert_eq!(lots, book(kind, 1_001, 7));
            assert_ne!(lots, book(kind, 1_001, 8));
            for lot in &lots {
                assert!((10..=1_500).contains(&lot.quantity.wh()) || kind == Kind::Inelastic);
                let e5 = lot.limit.nano_per_wh() / 10;
                assert!((CHEAPEST_E5..=DEAREST_E5).contains(&e5), "{e5}");
            }
            let best = sort_and_match(&lots);
            assert_eq!(yardstick(&lots).0, best.most_wh.unsigned_abs());
            assert_eq!(best.most_wh == 0, kind == Kind::NoCrossing);
            let at_one_price = matches!(kind, Kind::OnePrice | Kind::Alike);
            assert_eq!(best.welfare == 0, kind == Kind::NoCrossing || at_one_price);
            assert!(best.least_wh <= best.most_wh);
            let has_ties = kind == Kind::Ties || at_one_price;
            assert_eq!(best.least_wh < best.most_wh, has_ties, "{kind:?}");
        }
    }

    #[test]
    fn a_drawn_street_is_a_tree_with_some_narrow_branches() {
        let mut branches = street(100, 3);
        assert_eq!(branches.len(), 99);
        market::Grid::new(branches.clone()).expect("a valid tree");
        let flows = vec![Energy::from_wh(-1_000); 100];
        cap_some(&mut branches, &flows, 3);
        let narrow = branches.iter().filter(|branch| branch.import_cap.wh() == 700).count();
        assert!((3..=20).contains(&narrow), "{narrow}");
        market::Grid::new(branches).expect("still valid");
        let lots = spread(Kind::Random, 500, 100, 3);
        assert!(lots.iter().all(|lot| (1..100).contains(&lot.node.0)));
    }

    #[test]
    fn matching_by_hand() {
        let lot = |side, wh, e5| Lot {
            node: Node::ROOT,
            side,
            quantity: Energy::from_wh(wh),
            limit: Price::from_e5_per_kwh(e5),
        };
        let lots = [
            lot(Side::Buy, 5, 20_000),
            lot(Side::Sell, 3, 10_000),
            lot(Side::Sell, 9, 20_000),
            lot(Side::Buy, 1, 19_000),
        ];
        let expected = Optimum { welfare: 3 * 100_000, least_wh: 3, most_wh: 5 };
        assert_eq!(sort_and_match(&lots), expected);
        assert_eq!(sort_and_match(&[]).most_wh, 0);
    }
}
