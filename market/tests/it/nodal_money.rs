//! Books on a grid: prices per node, and a settlement in which the network earns what it must.

use std::sync::Arc;

use market::{
    Account, Balances, Book, Branch, Flow, Grid, Limits, Metered, Node, Order, Reason, Settlement,
    Side, Tier, UNCAPPED, clear, post, settle,
};
use proptest::prelude::*;
use units::{Energy, Money, Price, Slot};

use crate::street::point;

fn e5(price: i64) -> Price {
    Price::from_e5_per_kwh(price)
}

fn wh(energy: i64) -> Energy {
    Energy::from_wh(energy)
}

fn terms() -> market::Terms {
    market::Terms::new(e5(30_000), e5(10_000)).expect("on the tick")
}

fn branch(number: usize, parent: u32, cap: i64, fee: i64) -> Branch {
    let cap = if cap < 0 { UNCAPPED } else { wh(cap) };
    Branch {
        name: format!("L{number}"),
        parent: Node(parent),
        import_cap: cap,
        export_cap: cap,
        fee: e5(fee),
        tier: Tier::Street,
    }
}

/// Orders as (name, node, side, Wh, limit in 10⁻⁵ currency per kWh).
fn book(grid: Grid, orders: &[(&str, u32, Side, i64, i64)]) -> Book {
    let mut book = Book::on_grid(Slot::new(7), terms(), Limits::default(), Arc::new(grid));
    for &(name, node, side, quantity, limit) in orders {
        let order = Order::plain(point(name), side, wh(quantity), e5(limit), [quantity as u8; 32]);
        book.place(Order { node: Node(node), ..order }).expect("placed");
    }
    book
}

/// Everybody's meter shows what was traded.
fn settled(book: &Book, off: i64) -> Settlement {
    let clearing = clear(book, None);
    clearing.certify(book).expect("right");
    let metered = |order: &Order| {
        let filled = clearing.filled(&order.point, order.side) + wh(off);
        let (import, export) = match order.side {
            Side::Buy => (filled, wh(0)),
            Side::Sell => (wh(0), filled),
        };
        let flow = Some(Flow { import, export, produced: None });
        Metered { point: order.point.clone(), rank: order.rank, renewable: true, flow }
    };
    let metered: Vec<Metered> = book.orders().map(metered).collect();
    settle(&clearing, book.terms(), &metered, &[]).expect("settles")
}

#[test]
fn a_full_cable_and_its_fee_show_in_the_price_and_in_the_ledger() {
    // A sells at the root, B buys behind a cable for 100 Wh that costs 2 ct, C buys at the root.
    let grid = Grid::new(vec![branch(1, 0, 100, 2_000)]).expect("a tree");
    let book = book(
        grid,
        &[
            ("A", 0, Side::Sell, 500, 12_000),
            ("B", 1, Side::Buy, 400, 28_000),
            ("C", 0, Side::Buy, 200, 20_000),
        ],
    );
    let clearing = clear(&book, None);
    assert_eq!(clearing.cleared, wh(300));
    // At the root A has more to sell; at B's node B wants more.
    assert_eq!(clearing.price, Some(e5(12_000)));
    assert_eq!(clearing.fill(&point("B"), Side::Buy).expect("filled").price, e5(28_000));
    let nodal = clearing.nodal.as_ref().expect("on a grid");
    assert_eq!(nodal.flows, [wh(0), wh(100)]);
    let nano = |money: Money| i128::from(money.nano());
    let (fees, rent) = (wh(100) * e5(2_000), wh(100) * e5(14_000));
    assert_eq!((nodal.fees, nodal.rent), (nano(fees), nano(rent)));
    let parts = clearing.parts_at(book.grid(), Node(1)).expect("a price");
    assert_eq!((parts.energy, parts.grid_fee), (e5(12_000), e5(2_000)));
    assert_eq!((parts.congestion, parts.price()), (e5(14_000), e5(28_000)));

    let settlement = settled(&book, 0);
    let transfers = post(&settlement).expect("balanced");
    let balances = Balances::of(&transfers).expect("sound");
    assert_eq!(balances.of_account(&Account::GridFees), fees);
    assert_eq!(balances.of_account(&Account::Congestion), rent);
    assert_eq!(balances.of_account(&Account::Pool), Money::ZERO);
    assert!(transfers.iter().any(|transfer| transfer.reason == Reason::Congestion));

    let mut wrong = clearing.clone();
    wrong.nodal.as_mut().expect("there").fees = 0;
    assert!(wrong.certify(&book).is_err(), "fees that nobody collects");
    let mut wrong = clearing.clone();
    wrong.fills[1].price = e5(27_000);
    assert!(wrong.certify(&book).is_err(), "a price of another node");
    let mut wrong = clearing;
    wrong.nodal = None;
    assert!(wrong.certify(&book).is_err(), "a plate that is none");
}

type Draw = (u32, bool, i64, i64);

proptest! {
    #[test]
    fn whatever_the_grid_money_and_energy_balance(
        branches in prop::collection::vec((any::<prop::sample::Index>(), -40_i64..400, 0_i64..4), 1..7),
        orders in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 1_i64..300, 0_i64..=20), 0..14),
        off in 0_i64..40,
    ) {
        let branches: Vec<Branch> = branches
            .iter()
            .enumerate()
            .map(|(i, (parent, cap, fee))| {
                branch(i, u32::try_from(parent.index(i + 1)).expect("small"), *cap, fee * 1_000)
            })
            .collect();
        let nodes = branches.len() + 1;
        let draws: Vec<Draw> = orders
            .iter()
            .map(|(node, buys, wh, limit)| (u32::try_from(node.index(nodes)).expect("small"), *buys, *wh, *limit))
            .collect();
        let names: Vec<String> = (0..draws.len()).map(|i| format!("H{i:02}")).collect();
        let orders: Vec<_> = draws
            .iter()
            .zip(&names)
            .map(|(&(node, buys, wh, limit), name)| {
                let side = if buys { Side::Buy } else { Side::Sell };
                (name.as_str(), node, side, wh, 10_000 + limit * 1_000)
            })
            .collect();
        let book = book(Grid::new(branches).expect("a tree"), &orders);
        let clearing = clear(&book, None);
        let nodal = clearing.nodal.as_ref().expect("on a grid");
        prop_assert!(nodal.fees >= 0 && nodal.rent >= 0);
        for node in book.grid().nodes() {
            if let Some(parts) = clearing.parts_at(book.grid(), node) {
                prop_assert_eq!(Some(parts.price()), nodal.prices[node.index()].price);
            }
        }
        let settlement = settled(&book, off);
        let balances = Balances::of(&post(&settlement).expect("balanced")).expect("sound");
        prop_assert_eq!(balances.of_account(&Account::Pool), Money::ZERO);
        prop_assert_eq!(i128::from(balances.of_account(&Account::GridFees).nano()), nodal.fees);
        prop_assert_eq!(i128::from(balances.of_account(&Account::Congestion).nano()), nodal.rent);
    }
}
