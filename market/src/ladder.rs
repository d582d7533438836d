//! The ladder: what answers when something better cannot.
//!
//! | rung | who answers | what it needs |
//! |---|---|---|
//! | [`Rung::Lp`] | the linear program, proven in integers | a solver in time, the topology |
//! | [`Rung::Exact`] | the exact clearing, computed before the solver is asked | the topology |
//! | [`Rung::Envelopes`] | the exact clearing within what each connection may import and export | the connections |
//! | [`Rung::Shared`] | nobody trades; the settlement shares what was metered at the mid-market rate | meters |
//!
//! Every slot has an answer, each is proven before it stands, and [`Clearing::method`] tells members
//! which rung it came from. [`LadderCounts`] adds them up: below the second rung there should be
//! fewer than one slot in a thousand.

use units::{Energy, Slot};

use crate::{Branch, Clearing, Grid, GridFault, Method, Node, Tier};

/// How far down the ladder a slot's answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Rung {
    /// The linear program's answer, proven.
    Lp,
    /// The exact answer.
    Exact,
    /// The topology is unknown: every connection keeps to its own limits.
    Envelopes,
    /// There is no market: energy is shared afterwards.
    Shared,
}

impl Method {
    /// The rung that this way of answering stands on.
    #[must_use]
    pub const fn rung(&self) -> Rung {
        match self {
            Self::Lp => Rung::Lp,
            Self::Exact(_) => Rung::Exact,
            Self::Envelopes { .. } => Rung::Envelopes,
            Self::Shared { .. } => Rung::Shared,
        }
    }
}

/// Slots per rung.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct LadderCounts {
    /// Slots that the linear program answered.
    pub lp: u64,
    /// Slots that the exact clearing answered.
    pub exact: u64,
    /// Slots that cleared without a known topology.
    pub envelopes: u64,
    /// Slots without a market.
    pub shared: u64,
}

impl LadderCounts {
    /// Counts a slot.
    pub const fn count(&mut self, rung: Rung) {
        let count = match rung {
            Rung::Lp => &mut self.lp,
            Rung::Exact => &mut self.exact,
            Rung::Envelopes => &mut self.envelopes,
            Rung::Shared => &mut self.shared,
        };
        *count = count.saturating_add(1);
    }

    /// All slots.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.lp
            .saturating_add(self.exact)
            .saturating_add(self.envelopes)
            .saturating_add(self.shared)
    }

    /// Slots below the exact clearing, per million; none without any slot.
    #[must_use]
    pub fn degraded_ppm(&self) -> Option<u64> {
        let below = u128::from(self.envelopes) + u128::from(self.shared);
        let ppm = (below * 1_000_000).checked_div(u128::from(self.total()))?;
        u64::try_from(ppm).ok()
    }
}

/// What one connection may exchange in a slot, whatever the network behind it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Envelope {
    /// What people call the connection; unique.
    pub name: String,
    /// Most energy from the network, Wh, `0 ..= UNCAPPED`.
    pub import: Energy,
    /// Most energy into the network, Wh, `0 ..= UNCAPPED`.
    pub export: Energy,
}

/// A grid for [`Book::on_envelopes`](crate::Book::on_envelopes): every connection hangs on the root
/// by a branch of its own, with its limits and without a fee. The `i`-th is node `i + 1`.
///
/// # Errors
/// [`GridFault`] when names repeat or limits are out of range.
pub fn envelopes(connections: Vec<Envelope>) -> Result<Grid, GridFault> {
    let branch = |envelope: Envelope| Branch {
        name: envelope.name,
        parent: Node::ROOT,
        import_cap: envelope.import,
        export_cap: envelope.export,
        fee: units::Price::ZERO,
        tier: Tier::Building,
    };
    Grid::new(connections.into_iter().map(branch).collect())
}

impl Clearing {
    /// The result of a slot without a market: nobody trades, and the settlement shares what was
    /// metered at the middle of the supplier's terms.
    ///
    /// For a slot whose orders are lost, and for one whose exact answer failed its proof.
    #[must_use]
    pub fn shared(slot: Slot, reason: impl Into<String>) -> Self {
        Self {
            slot,
            cleared: Energy::ZERO,
            welfare: 0,
            price: None,
            interval: None,
            fills: Vec::new(),
            nodal: None,
            method: Method::Shared { reason: reason.into() },
        }
    }
}
