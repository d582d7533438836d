//! Random feeders and books for the tests of the radial clearing.

use market::radial::{self, RadialViolation, Supplier};
use market::{Branch, Grid, Lot, Node, Radial, Rank, Side, Tier, UNCAPPED};
use proptest::prelude::*;

use crate::street::{e5, rank, side, wh};

/// A market: a tree, lots with ranks, and perhaps a supplier.
#[derive(Debug, Clone)]
pub struct Market {
    pub branches: Vec<Branch>,
    pub lots: Vec<Lot>,
    pub ranks: Vec<u64>,
    pub supplier: Option<Supplier>,
}

impl Market {
    pub fn grid(&self) -> Grid {
        Grid::new(self.branches.clone()).expect("a tree")
    }

    pub fn rank(&self, lot: usize) -> Rank {
        rank(self.ranks[lot])
    }

    pub fn clear(&self) -> Radial {
        radial::clear(&self.lots, &self.grid(), self.supplier.as_ref(), |i| self.rank(i))
            .expect("a valid market")
    }

    pub fn certify(&self, result: &Radial) -> Result<(), RadialViolation> {
        result.certify(&self.lots, &self.grid(), self.supplier.as_ref(), |i| self.rank(i))
    }

    /// Cleared and proven.
    pub fn cleared(&self) -> Radial {
        let result = self.clear();
        assert_eq!(self.certify(&result), Ok(()), "{self:#?}\n{result:#?}");
        result
    }
}

/// What random markets are made of.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub nodes: usize,
    pub lots: usize,
    pub max_wh: i64,
    /// Most price levels around zero; few make ties.
    pub levels: i64,
    pub max_cap: i64,
    pub max_fee: i64,
}

pub fn branch(i: usize, parent: usize, import_cap: i64, export_cap: i64, fee: i64) -> Branch {
    Branch {
        name: format!("b{i}"),
        parent: Node(u32::try_from(parent).expect("small")),
        import_cap: wh(import_cap),
        export_cap: wh(export_cap),
        fee: e5(fee),
        tier: Tier::Street,
    }
}

fn cap(max: i64) -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(UNCAPPED.wh()), 1 => Just(0), 4 => 0..=max]
}

fn branches(shape: Shape) -> impl Strategy<Value = Vec<Branch>> {
    let one = (any::<prop::sample::Index>(), cap(shape.max_cap), cap(shape.max_cap));
    let fee = prop_oneof![1 => Just(0), 1 => 0..=shape.max_fee];
    prop::collection::vec((one, fee), 0..shape.nodes).prop_map(|drawn| {
        drawn
            .into_iter()
            .enumerate()
            .map(|(i, ((parent, import, export), fee))| {
                branch(i, parent.index(i + 1), import, export, fee)
            })
            .collect()
    })
}

fn supplier(shape: Shape) -> impl Strategy<Value = Option<Supplier>> {
    let levels = shape.levels;
    let one = (-levels..=levels, 0..=levels, cap(shape.max_cap), cap(shape.max_cap));
    prop::option::of(one.prop_map(|(price, spread, import_cap, export_cap)| Supplier {
        import_price: e5(price + spread),
        import_cap: wh(import_cap),
        export_price: e5(price),
        export_cap: wh(export_cap),
    }))
}

pub fn markets(shape: Shape) -> impl Strategy<Value = Market> {
    (1..=shape.levels)
        .prop_flat_map(move |levels| {
            let shape = Shape { levels, ..shape };
            let lot = (any::<prop::sample::Index>(), side(), 1..=shape.max_wh, -levels..=levels);
            let lots = prop::collection::vec((lot, any::<u64>()), 0..=shape.lots);
            (branches(shape), lots, supplier(shape))
        })
        .prop_map(|(branches, drawn, supplier)| {
            let nodes = branches.len() + 1;
            let lots = drawn
                .iter()
                .map(|((node, side, quantity, limit), _)| Lot {
                    node: Node(u32::try_from(node.index(nodes)).expect("small")),
                    side: *side,
                    quantity: wh(*quantity),
                    limit: e5(*limit),
                })
                .collect();
            // Distinct ranks.
            let ranks = (0..).zip(&drawn).map(|(i, (_, rank))| (rank & !0xFFFF) | i).collect();
            Market { branches, lots, ranks, supplier }
        })
}

/// A street of up to `nodes` nodes with many ties and binding branches.
pub fn tied(nodes: usize, lots: usize) -> impl Strategy<Value = Market> {
    markets(Shape { nodes, lots, max_wh: 60, levels: 4, max_cap: 120, max_fee: 2 })
}

/// A street with many prices.
pub fn varied(nodes: usize, lots: usize) -> impl Strategy<Value = Market> {
    markets(Shape { nodes, lots, max_wh: 2_000, levels: 400, max_cap: 6_000, max_fee: 60 })
}

/// `+1` for a buyer, `-1` for a seller.
pub fn sign(side: Side) -> i64 {
    if side == Side::Buy { 1 } else { -1 }
}
