//! What the energy of a slot was, for those who pay for it: from the own street, from the
//! community's plant, or green.
//!
//! Energy is planned and cleared first, without regard to what it is; then the attributes of what
//! flows are a market of their own. A kWh is worth the same to the network whatever it is, so
//! this order costs nobody a kWh, keeps prices of energy free of tastes, and is exact: the classes
//! form a tree (each street's energy also counts as plant energy, and that as green), attributes
//! flow only towards the root, and the engine that clears feeders clears them, with a premium per
//! class and ties shared. What is given up is a trade that only happens because of a premium.
//!
//! A battery takes part with what it can prove: it asks for its class, at no premium, when it
//! charges, and passes on what it got when it discharges. What it held before the horizon counts
//! as nothing.

use units::{Energy, Price};

use crate::horizon::dispatch::rank;
use crate::horizon::problem::{Class, Horizon, PPM};
use crate::horizon::schedule::Step;
use crate::{Branch, Grid, Lot, Node, Side, Tier, UNCAPPED, radial};

/// What a class costs on top of the price of any energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Premium {
    /// Which class, never [`Class::Any`].
    pub class: Class,
    /// For [`Class::OwnStreet`], the node below whose transformer the street is.
    pub street: Option<Node>,
    /// Per Wh, paid by the buyer and received by the seller.
    pub price: Price,
}

/// The attributes traded in one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Attributes {
    /// Per offer: how much of its fill was bought or sold with the attribute, Wh.
    pub energy: Vec<Energy>,
    /// Classes that were traded.
    pub premiums: Vec<Premium>,
}

/// The tree of classes: node 0 is green, node 1 the plant, then one node per street.
struct Classes {
    grid: Grid,
    /// Per node of the network, the node below whose transformer it is.
    street: Vec<usize>,
    heads: Vec<usize>,
}

impl Classes {
    fn of(network: &Grid) -> Self {
        let mut street = vec![0; network.size()];
        for (node, branch) in (1..).zip(network.branches()) {
            let starts = branch.tier == Tier::Transformer;
            street[node] = if starts { node } else { street[branch.parent.index()] };
        }
        let mut heads = street.clone();
        heads.sort_unstable();
        heads.dedup();
        let branch = |name: String, parent| Branch {
            name,
            parent: Node(parent),
            import_cap: Energy::ZERO,
            export_cap: UNCAPPED,
            fee: Price::ZERO,
            tier: Tier::Street,
        };
        let streets = heads.iter().map(|head| branch(format!("street {head}"), 1));
        let branches = std::iter::once(branch("plant".to_owned(), 0)).chain(streets);
        let grid = Grid::new(branches.collect()).expect("at most one more than the network");
        Self { grid, street, heads }
    }

    /// Where energy of a class from, or for, a node of the network is traded.
    fn node(&self, class: Class, at: Node) -> Option<Node> {
        match class {
            Class::OwnStreet => {
                let place = self.heads.binary_search(&self.street[at.index()]);
                Some(Node::at(2 + place.expect("every node is in a street")))
            }
            Class::Plant => Some(Node(1)),
            Class::Green => Some(Node::ROOT),
            Class::Any => None,
        }
    }

    fn premium(&self, node: usize, price: Price) -> Premium {
        let (class, street) = match node {
            0 => (Class::Green, None),
            1 => (Class::Plant, None),
            _ => (Class::OwnStreet, Some(Node::at(self.heads[node - 2]))),
        };
        Premium { class, street, price }
    }
}

/// Who stands behind a lot.
#[derive(Clone, Copy)]
enum Who {
    Offer(usize),
    Charge(usize),
    Discharge(usize),
}

/// Trades the attributes of what was filled, slot by slot; none where nobody asked for any.
pub(super) fn trade(
    horizon: &Horizon,
    fills: &[&[Energy]],
    batteries: &[Vec<Step>],
) -> Vec<Option<Attributes>> {
    let asked = |t: usize| horizon.periods[t].offers.iter().any(|offer| offer.wish.is_some());
    let slots = horizon.periods.len();
    if !(0..slots).any(asked) || horizon.grid.size() + 2 > crate::MAX_NODES {
        return vec![None; slots];
    }
    let classes = Classes::of(&horizon.grid);
    let mut content = vec![0; batteries.len()];
    (0..slots)
        .map(|t| {
            let steps: Vec<Step> = batteries.iter().map(|steps| steps[t]).collect();
            let traded = trade_slot(horizon, &classes, t, fills[t], &steps, &mut content);
            asked(t).then_some(traded)
        })
        .collect()
}

/// One slot. `content` is what each battery holds with its attribute, micro-Wh.
fn trade_slot(
    horizon: &Horizon,
    classes: &Classes,
    t: usize,
    fills: &[Energy],
    steps: &[Step],
    content: &mut [i64],
) -> Attributes {
    let (mut lots, mut who): (Vec<Lot>, Vec<Who>) = (Vec::new(), Vec::new());
    let mut add = |node: Option<Node>, side, quantity: Energy, limit, by| {
        if let (Some(node), true) = (node, quantity.is_positive()) {
            lots.push(Lot { node, side, quantity, limit });
            who.push(by);
        }
    };
    for (i, (offer, &fill)) in horizon.periods[t].offers.iter().zip(fills).enumerate() {
        let at = offer.lot.node;
        match (offer.lot.side, offer.wish) {
            (Side::Sell, _) => {
                add(classes.node(offer.class, at), Side::Sell, fill, Price::ZERO, Who::Offer(i));
            }
            (Side::Buy, Some(wish)) => {
                add(classes.node(wish.class, at), Side::Buy, fill, wish.premium, Who::Offer(i));
            }
            (Side::Buy, None) => {}
        }
    }
    for (i, (battery, step)) in horizon.batteries.iter().zip(steps).enumerate() {
        let node = classes.node(battery.class, battery.node);
        let proven = battery.gives(content[i]).min(step.discharge);
        add(node, Side::Buy, step.charge, Price::ZERO, Who::Charge(i));
        add(node, Side::Sell, proven, Price::ZERO, Who::Discharge(i));
    }
    let cleared = radial::clear(&lots, &classes.grid, None, rank)
        .expect("fills and premia of a checked horizon are in range");
    let mut energy = vec![Energy::ZERO; fills.len()];
    for (who, &traded) in who.iter().zip(&cleared.fills) {
        match *who {
            Who::Offer(i) => energy[i] = traded,
            Who::Charge(i) => content[i] += traded.wh() * horizon.batteries[i].charge_ppm,
            Who::Discharge(i) => {
                content[i] = (content[i] - horizon.batteries[i].taken_uwh(traded.wh())).max(0);
            }
        }
    }
    let prices = cleared.price.iter().enumerate();
    let premiums = prices.filter_map(|(node, &price)| Some(classes.premium(node, price?)));
    Attributes { energy, premiums: premiums.collect() }
}

impl crate::horizon::problem::Battery {
    /// What comes out of so much content, whole Wh.
    fn gives(&self, content_uwh: i64) -> Energy {
        let out = i128::from(content_uwh) * i128::from(self.discharge_ppm);
        let wh = out / (i128::from(PPM) * i128::from(PPM));
        Energy::from_wh(i64::try_from(wh).expect("less than what is stored"))
    }

    /// What giving so many Wh takes out of the content, micro-Wh, rounded up.
    fn taken_uwh(&self, discharge: i64) -> i64 {
        let exact = i128::from(discharge) * i128::from(PPM) * i128::from(PPM);
        let ppm = i128::from(self.discharge_ppm);
        i64::try_from((exact + ppm - 1) / ppm).expect("bounded by the largest quantity")
    }
}
