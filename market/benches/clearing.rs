//! How long a clearing takes, beside sorting the same lots and beside a linear program.
//!
//! `cargo bench -p market --bench clearing` runs everything but the slowest program; a filter such
//! as `-- radial` picks rows, `-- --include-ignored` adds the program of a hundred thousand orders
//! (a minute and a half). Columns are wall time: compare the fastest samples on a quiet machine.
//!
//! The market is drawn from a seed: half buys at 12 to 30 ct, half sells at 8 to 26 ct, 10 to
//! 1,500 Wh, at random nodes of a random tree of 100, in which one branch in ten is capped at 70 %
//! of what would flow through it without caps, with fees of 0 to 0.2 ct per branch.
//!
//! The yardstick is a good plain sort-and-match, not a straw man: price and quantity of a lot
//! packed into one integer, both sides sorted unstably, and two pointers that meet. It yields the
//! energy and the last price, no fills, no ties, no network.

use divan::{Bencher, black_box};
use good_lp::{Expression, ProblemVariables, Solution, SolverModel, Variable, microlp, variable};
use market::{Branch, Grid, Lot, Node, Rank, Side, Tier, UNCAPPED, plate, radial};
use units::{Energy, Price};

const NODES: u64 = 100;
const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

fn main() {
    divan::main();
}

/// Xorshift with a multiplier: a seed and nothing else.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let drawn = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % bound;
        i64::try_from(drawn).expect("shifted")
    }

    fn node(&mut self, nodes: u64) -> Node {
        Node(u32::try_from(self.below(nodes)).expect("small"))
    }
}

struct Market {
    lots: Vec<Lot>,
    grid: Grid,
}

/// A book in which all limits are the same, and everybody shares.
fn at_one_price(orders: usize) -> Vec<Lot> {
    let limit = Price::from_e5_per_kwh(20_000);
    Market::drawn(orders).lots.into_iter().map(|lot| Lot { limit, ..lot }).collect()
}

impl Market {
    fn drawn(orders: usize) -> Self {
        let mut draws = Draws(0x5EED + orders as u64);
        let lots: Vec<Lot> = (0..orders)
            .map(|_| {
                let (side, low) =
                    if draws.below(2) == 0 { (Side::Buy, 12_000) } else { (Side::Sell, 8_000) };
                Lot {
                    node: draws.node(NODES),
                    side,
                    quantity: Energy::from_wh(10 + draws.below(1_491)),
                    limit: Price::from_e5_per_kwh(low + draws.below(18_001)),
                }
            })
            .collect();
        let mut branches: Vec<Branch> = (1..NODES)
            .map(|i| Branch {
                name: format!("b{i}"),
                parent: draws.node(i),
                import_cap: UNCAPPED,
                export_cap: UNCAPPED,
                fee: Price::from_e5_per_kwh(10 * draws.below(21)),
                tier: Tier::Street,
            })
            .collect();
        let free = Grid::new(branches.clone()).expect("a tree");
        let free = radial::clear(&lots, &free, None, rank).expect("valid lots");
        for (branch, flow) in branches.iter_mut().zip(&free.flows[1..]) {
            if draws.below(10) == 0 {
                let cap = Energy::from_wh(flow.wh().abs() * 7 / 10);
                (branch.import_cap, branch.export_cap) = (cap, cap);
            }
        }
        Self { lots, grid: Grid::new(branches).expect("a tree") }
    }
}

fn rank(lot: usize) -> Rank {
    let mut rank = [0; 32];
    rank[..8].copy_from_slice(&(lot as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    rank
}

/// Energy and the price between the last pair.
fn sort_and_match(lots: &[Lot]) -> (i64, i64) {
    const QUANTITY_BITS: u32 = 34;
    let (mut bids, mut asks) = (Vec::with_capacity(lots.len()), Vec::with_capacity(lots.len()));
    for lot in lots {
        let ticks = lot.limit.nano_per_wh() / Price::TICK.nano_per_wh() + 10_000_000;
        let packed = ticks << QUANTITY_BITS | lot.quantity.wh();
        if lot.side == Side::Buy { bids.push(packed) } else { asks.push(packed) }
    }
    bids.sort_unstable();
    asks.sort_unstable();
    let unpack = |packed: i64| (packed >> QUANTITY_BITS, packed & ((1 << QUANTITY_BITS) - 1));
    let (mut bids, mut asks) = (bids.into_iter().rev().map(unpack), asks.into_iter().map(unpack));
    let (mut bid, mut ask) = (bids.next(), asks.next());
    let (mut total, mut price) = (0, 0);
    while let (Some((limit, wanted)), Some((least, offered))) = (&mut bid, &mut ask) {
        if *limit < *least {
            break;
        }
        let energy = (*wanted).min(*offered);
        (total, price) = (total + energy, i64::midpoint(*limit, *least));
        *wanted -= energy;
        *offered -= energy;
        if *wanted == 0 {
            bid = bids.next();
        }
        if *offered == 0 {
            ask = asks.next();
        }
    }
    (total, price)
}

#[divan::bench(args = SIZES)]
fn a_plain_sort_and_match(bencher: Bencher, orders: usize) {
    let market = Market::drawn(orders);
    bencher.bench_local(|| sort_and_match(black_box(&market.lots)));
}

#[divan::bench(args = SIZES)]
fn b_plate(bencher: Bencher, orders: usize) {
    let market = Market::drawn(orders);
    bencher.bench_local(|| plate::clear(black_box(&market.lots), rank).expect("valid lots"));
}

#[divan::bench(args = SIZES)]
fn c_plate_with_certificate(bencher: Bencher, orders: usize) {
    let market = Market::drawn(orders);
    bencher.bench_local(|| {
        let cleared = plate::clear(black_box(&market.lots), rank).expect("valid lots");
        cleared.certify(&market.lots, rank).expect("proven");
        cleared
    });
}

#[divan::bench(args = SIZES)]
fn d_radial(bencher: Bencher, orders: usize) {
    let market = Market::drawn(orders);
    bencher.bench_local(|| {
        radial::clear(black_box(&market.lots), &market.grid, None, rank).expect("valid lots")
    });
}

#[divan::bench(args = SIZES)]
fn e_radial_with_certificate(bencher: Bencher, orders: usize) {
    let market = Market::drawn(orders);
    bencher.bench_local(|| {
        let lots = black_box(&market.lots);
        let cleared = radial::clear(lots, &market.grid, None, rank).expect("valid lots");
        cleared.certify(lots, &market.grid, None, rank).expect("proven");
        cleared
    });
}

#[divan::bench(args = SIZES)]
fn f_certificate_alone(bencher: Bencher, orders: usize) {
    let market = Market::drawn(orders);
    let cleared = radial::clear(&market.lots, &market.grid, None, rank).expect("valid lots");
    bencher.bench_local(|| {
        black_box(&cleared).certify(&market.lots, &market.grid, None, rank).expect("proven");
    });
}

/// The radial program with a column per lot and two per branch; returns the welfare in ct.
fn program(market: &Market) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a program is in floats")]
    let float = |value: i64| value as f64;
    let kwh = |wh: Energy| float(wh.wh().min(1_000_000_000)) / 1_000.0;
    let cents = |price: Price| float(price.nano_per_wh()) / 10_000.0;
    let mut problem = ProblemVariables::new();
    let mut welfare = Expression::default();
    let mut balance = vec![Expression::default(); market.grid.size()];
    let mut column = |most: Energy| -> Variable { problem.add(variable().min(0.0).max(kwh(most))) };
    for lot in &market.lots {
        let sign = if lot.side == Side::Buy { 1.0 } else { -1.0 };
        let fill = column(lot.quantity);
        welfare.add_mul(sign * cents(lot.limit), fill);
        balance[lot.node.index()].add_mul(sign, fill);
    }
    for (i, branch) in market.grid.branches().iter().enumerate() {
        for (cap, sign) in [(branch.import_cap, 1.0), (branch.export_cap, -1.0)] {
            let flow = column(cap);
            welfare.add_mul(-cents(branch.fee), flow);
            balance[i + 1].add_mul(-sign, flow);
            balance[branch.parent.index()].add_mul(sign, flow);
        }
    }
    let mut model = problem.maximise(welfare.clone()).using(microlp);
    for balance in balance {
        model = model.with(balance.eq(0.0));
    }
    model.solve().expect("nothing traded is feasible").eval(&welfare)
}

#[divan::bench(args = [1_000, 10_000], sample_count = 5, sample_size = 1)]
fn g_good_lp(bencher: Bencher, orders: usize) {
    let market = Market::drawn(orders);
    bencher.bench_local(|| program(black_box(&market)));
}

#[divan::bench(args = [100_000], sample_count = 1, sample_size = 1, ignore)]
fn h_good_lp_slow(bencher: Bencher, orders: usize) {
    let market = Market::drawn(orders);
    bencher.bench_local(|| program(black_box(&market)));
}

#[divan::bench(args = SIZES)]
fn i_sort_at_one_price(bencher: Bencher, orders: usize) {
    let lots = at_one_price(orders);
    bencher.bench_local(|| sort_and_match(black_box(&lots)));
}

#[divan::bench(args = SIZES)]
fn j_plate_at_one_price_with_certificate(bencher: Bencher, orders: usize) {
    let lots = at_one_price(orders);
    bencher.bench_local(|| {
        let cleared = plate::clear(black_box(&lots), rank).expect("valid lots");
        cleared.certify(&lots, rank).expect("proven");
        cleared
    });
}
