//! What a household asks of the market: one side, and how much of it at which price.
//!
//! An order is a price curve of up to sixteen steps, and each step's limit is a price or hangs on
//! the supplier's: "two cent less than retail" is right in every slot of a dynamic tariff.

use units::{Energy, PointId, Price};

use crate::{Node, Refusal, Terms};

/// Most energy that one order or one slot's register difference may carry, in either direction.
///
/// 10 GWh in a quarter-hour is far beyond any street; together with
/// [`MAX_PRICE`](crate::MAX_PRICE) the bound keeps every product of the two inside an `i64`. A
/// community sets its own, smaller bound in [`Limits`](crate::Limits).
pub const MAX_QUANTITY: Energy = Energy::from_wh(10_000_000_000);

/// Key that orders equals, smaller first, where a single watt-hour cannot be divided further.
///
/// The caller derives it from hashes that neither the operator nor a household can choose, for
/// example over the order, the slot and a value published only after the gate.
pub type Rank = [u8; 32];

/// Which way the energy goes, seen from the household.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Side {
    /// The household imports: a bid.
    Buy,
    /// The household exports: an ask.
    Sell,
}

impl Side {
    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    /// Whether a limit gives way less than another one: a lower bid, a higher ask.
    pub(crate) fn is_less_eager(self, limit: Price, than: Price) -> bool {
        match self {
            Self::Buy => limit < than,
            Self::Sell => limit > than,
        }
    }

    /// Whether an order of this side with this limit gains strictly at `price`.
    pub(crate) fn gains(self, limit: Price, price: Price) -> bool {
        match self {
            Self::Buy => limit > price,
            Self::Sell => limit < price,
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        })
    }
}

/// Most steps of one order's price curve.
pub const MAX_STEPS: usize = 16;

/// The worst price at which a step trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Limit {
    /// This price.
    At(Price),
    /// The supplier's retail price less this much, whatever the tariff is in the slot.
    BelowRetail(Price),
    /// The supplier's feed-in price plus this much.
    AboveFeedIn(Price),
}

impl Limit {
    /// The limit as a price under the supplier's terms; nothing when it leaves the range of prices.
    #[must_use]
    pub fn under(self, terms: Terms) -> Option<Price> {
        match self {
            Self::At(price) => Some(price),
            Self::BelowRetail(less) => terms.retail().checked_sub(less),
            Self::AboveFeedIn(more) => terms.feed_in().checked_add(more),
        }
    }
}

/// A part of an order: up to `quantity` at `limit` or better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Step {
    /// Most energy of this step, Wh, positive.
    pub quantity: Energy,
    /// Its worst acceptable price.
    pub limit: Limit,
}

/// The price curve of an order: 1 to [`MAX_STEPS`] steps, the most eager first.
///
/// A buyer's limits fall from step to step and a seller's rise, strictly; the
/// [`Book`](crate::Book) checks it under the slot's terms. Most orders have one step, which is kept
/// without an allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Vec<Step>", into = "Vec<Step>"))]
pub struct Steps(Curve);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Curve {
    One(Step),
    Many(Box<[Step]>),
}

impl Steps {
    /// A price curve.
    ///
    /// # Errors
    /// [`Refusal::TooManySteps`] beyond [`MAX_STEPS`], [`Refusal::NoSteps`] without any.
    pub fn new(steps: Vec<Step>) -> Result<Self, Refusal> {
        match *steps.as_slice() {
            [] => Err(Refusal::NoSteps),
            [step] => Ok(Self(Curve::One(step))),
            _ if steps.len() > MAX_STEPS => Err(Refusal::TooManySteps { steps: steps.len() }),
            _ => Ok(Self(Curve::Many(steps.into_boxed_slice()))),
        }
    }

    /// One step.
    #[must_use]
    pub const fn one(quantity: Energy, limit: Limit) -> Self {
        Self(Curve::One(Step { quantity, limit }))
    }

    /// The steps, the most eager first; at least one.
    #[must_use]
    pub const fn as_slice(&self) -> &[Step] {
        match &self.0 {
            Curve::One(step) => std::slice::from_ref(step),
            Curve::Many(steps) => steps,
        }
    }
}

impl TryFrom<Vec<Step>> for Steps {
    type Error = Refusal;
    fn try_from(steps: Vec<Step>) -> Result<Self, Refusal> {
        Self::new(steps)
    }
}

impl From<Steps> for Vec<Step> {
    fn from(steps: Steps) -> Self {
        steps.as_slice().to_vec()
    }
}

/// A divisible limit order for one slot: any part of each step at its limit or better.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Order {
    /// The metering point that will be billed.
    pub point: PointId,
    /// Where the point is in the grid; [`Node::ROOT`] on a copper plate.
    pub node: Node,
    /// Buy or sell.
    pub side: Side,
    /// How much at which limit.
    pub steps: Steps,
    /// Tie key among orders of the same side and limit.
    pub rank: Rank,
}

impl Order {
    /// A plain limit order at the root: one quantity, one price.
    #[must_use]
    pub const fn plain(
        point: PointId,
        side: Side,
        quantity: Energy,
        limit: Price,
        rank: Rank,
    ) -> Self {
        let steps = Steps::one(quantity, Limit::At(limit));
        Self { point, node: Node::ROOT, side, steps, rank }
    }

    /// All steps together, Wh; nothing when the sum leaves the range of energies, which no order
    /// in a book does.
    #[must_use]
    pub fn quantity(&self) -> Option<Energy> {
        let mut steps = self.steps.as_slice().iter();
        steps.try_fold(Energy::ZERO, |sum, step| sum.checked_add(step.quantity))
    }
}
