//! From a network of cables and transformers to the caps and fees of the market.
//!
//! A cap is what the element carries for ever: √3 · U · I for a cable (line-to-line voltage,
//! ampacity), the rated power for a transformer, times the power factor (the market trades active
//! energy), less a margin that absorbs what the market does not see (reactive power, voltage away
//! from nominal, losses, the spread within a slot), times a quarter of an hour. Floats end here:
//! caps are rounded down to whole watt-hours.
//!
//! Fees follow tiers, not metres: a member pays once for using the street's cables, once for the
//! transformer, once for the medium voltage. So the fee of a tier stands on the branch by which a
//! path *enters* it (the first cable behind the transformer, the transformer itself, the first
//! medium-voltage cable below the root), and the cables behind it are free; charging every piece of
//! cable would make the bill depend on the number of joints.

use std::collections::BTreeMap;

use feeder::Network;
use units::{Energy, Price};

use super::{Branch, Grid, GridFault, Node, Tier, UNCAPPED};

/// Parts per million of a whole.
const WHOLE_PPM: u32 = 1_000_000;

/// Below this line-to-line voltage a cable belongs to a street (EN 50160: low voltage, kV).
const LOW_VOLTAGE_KV: f64 = 1.0;

/// What energy pays that enters a tier from either side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct TierRule {
    /// Grid fee per Wh, on the tick, not negative.
    pub fee: Price,
    /// Share of the energy that is lost in the tier, parts per million, at most a whole.
    pub loss_ppm: u32,
}

/// How a community prices and protects its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct GridRules {
    /// Connections of buildings: what [`Grid::with_buildings`] adds.
    #[cfg_attr(feature = "serde", serde(default))]
    pub building: TierRule,
    /// Cables of the street.
    pub street: TierRule,
    /// Transformers.
    pub transformer: TierRule,
    /// Medium voltage.
    pub substation: TierRule,
    /// What a lost Wh costs, not negative; the loss of a tier is charged as
    /// `loss_ppm · loss_price`, rounded up to the tick.
    pub loss_price: Price,
    /// Active over apparent power that caps are calculated with, parts per million, positive.
    pub power_factor_ppm: u32,
    /// Part of every cap that the market leaves alone, parts per million.
    pub margin_ppm: u32,
}

impl Default for GridRules {
    /// No fees, power factor 0.95, a margin of 10 %.
    fn default() -> Self {
        Self {
            building: TierRule::default(),
            street: TierRule::default(),
            transformer: TierRule::default(),
            substation: TierRule::default(),
            loss_price: Price::ZERO,
            power_factor_ppm: 950_000,
            margin_ppm: 100_000,
        }
    }
}

/// What is wrong with [`GridRules`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum RulesFault {
    /// A fee or price is negative, off the tick or too large.
    #[error(
        "{name} {price} is negative, beyond {} or off the tick of {}",
        crate::MAX_PRICE,
        Price::TICK
    )]
    Price {
        /// Which one.
        name: &'static str,
        /// Its value.
        price: Price,
    },
    /// A share is beyond a whole, or nothing where something is needed.
    #[error("{name} of {ppm} parts per million must be {range}")]
    Ppm {
        /// Which one.
        name: &'static str,
        /// Its value.
        ppm: u32,
        /// What it must be.
        range: &'static str,
    },
}

impl GridRules {
    /// Checks every number.
    ///
    /// # Errors
    /// [`RulesFault`] that names the first number out of range.
    pub fn check(&self) -> Result<(), RulesFault> {
        let prices = [
            ("building fee", self.building.fee),
            ("street fee", self.street.fee),
            ("transformer fee", self.transformer.fee),
            ("substation fee", self.substation.fee),
            ("loss price", self.loss_price),
        ];
        for (name, price) in prices {
            if price < Price::ZERO || price > crate::MAX_PRICE || !price.is_on_tick() {
                return Err(RulesFault::Price { name, price });
            }
        }
        let losses = [
            ("building loss", self.building.loss_ppm),
            ("street loss", self.street.loss_ppm),
            ("transformer loss", self.transformer.loss_ppm),
            ("substation loss", self.substation.loss_ppm),
            ("margin", self.margin_ppm),
        ];
        for (name, ppm) in losses {
            if ppm > WHOLE_PPM {
                return Err(RulesFault::Ppm { name, ppm, range: "at most 1000000" });
            }
        }
        let ppm = self.power_factor_ppm;
        if ppm == 0 || ppm > WHOLE_PPM {
            return Err(RulesFault::Ppm { name: "power factor", ppm, range: "1 to 1000000" });
        }
        Ok(())
    }

    fn tier(&self, tier: Tier) -> TierRule {
        match tier {
            Tier::Building => self.building,
            Tier::Street => self.street,
            Tier::Transformer => self.transformer,
            Tier::Substation => self.substation,
        }
    }

    /// Fee and losses of a tier per Wh, on the tick.
    #[must_use]
    pub fn fee(&self, tier: Tier) -> Price {
        let TierRule { fee, loss_ppm } = self.tier(tier);
        let tick = Price::TICK.nano_per_wh();
        let lost = self.loss_price.nano_per_wh() * i64::from(loss_ppm);
        let ticks = lost.div_euclid(i64::from(WHOLE_PPM) * tick)
            + i64::from(lost.rem_euclid(i64::from(WHOLE_PPM) * tick) > 0);
        fee + Price::from_nano_per_wh(ticks * tick)
    }

    /// Energy per slot that an element of this apparent power may carry, rounded down.
    fn cap(&self, kva: f64) -> Energy {
        const QUARTER_HOUR_WH_PER_KW: f64 = 250.0;
        let usable = f64::from(WHOLE_PPM - self.margin_ppm) / f64::from(WHOLE_PPM);
        let factor = f64::from(self.power_factor_ppm) / f64::from(WHOLE_PPM);
        whole_wh(kva * factor * usable * QUARTER_HOUR_WH_PER_KW)
    }
}

/// Rounds down; what is beyond every limit is no limit.
#[expect(clippy::cast_possible_truncation, reason = "compared with the largest cap before")]
#[expect(
    clippy::cast_precision_loss,
    reason = "a power of ten below 2⁶⁰ is exact enough to compare"
)]
fn whole_wh(wh: f64) -> Energy {
    if wh >= UNCAPPED.wh() as f64 { UNCAPPED } else { Energy::from_wh(wh.max(0.0).floor() as i64) }
}

impl Grid {
    /// The market's view of a network, and the node of every bus.
    ///
    /// All slack buses become the root: the grid above joins them. A cable above 1 kV is of the
    /// tier [`Tier::Substation`], any other is of the [`Tier::Street`].
    ///
    /// # Errors
    /// [`GridFault`] when the rules are out of range, or the network is larger than a grid may be.
    pub fn from_network(
        network: &Network,
        rules: &GridRules,
    ) -> Result<(Self, BTreeMap<String, Node>), GridFault> {
        rules.check()?;
        let nodes = network.branches().len() + 1;
        if nodes > super::MAX_NODES {
            return Err(GridFault::TooManyNodes { nodes });
        }
        let buses = network.buses();
        let mut node_of = vec![Node::ROOT; buses.len()];
        // Tier of the branch that feeds a node; the root is fed by none.
        let mut tiers: Vec<Option<Tier>> = vec![None];
        let mut branches = Vec::with_capacity(network.branches().len());
        let rated_kva: BTreeMap<&str, f64> =
            network.transformers().iter().map(|t| (t.id.as_str(), t.sn_kva)).collect();
        let ampacity_ka: BTreeMap<&str, f64> =
            network.lines().iter().map(|line| (line.id.as_str(), line.max_i_ka)).collect();
        for edge in network.branches() {
            let parent = node_of[edge.parent];
            let name = network.branch_id(edge);
            let (tier, kva) = match rated_kva.get(name) {
                Some(&rated_kva) => (Tier::Transformer, rated_kva),
                None => {
                    let kv = buses[edge.child].vn_kv;
                    let tier = if kv > LOW_VOLTAGE_KV { Tier::Substation } else { Tier::Street };
                    (tier, 3.0_f64.sqrt() * kv * ampacity_ka[name] * 1_000.0)
                }
            };
            // A transformer is a tier of its own wherever it stands.
            let enters = tier == Tier::Transformer || tiers[parent.index()] != Some(tier);
            let cap = rules.cap(kva);
            branches.push(Branch {
                name: name.to_owned(),
                parent,
                import_cap: cap,
                export_cap: cap,
                fee: if enters { rules.fee(tier) } else { Price::ZERO },
                tier,
            });
            node_of[edge.child] = Node::at(branches.len());
            tiers.push(Some(tier));
        }
        let by_name = buses.iter().zip(node_of).map(|(bus, node)| (bus.id.clone(), node)).collect();
        Ok((Self::new(branches)?, by_name))
    }

    /// The same grid with a building at each of these nodes, and the building's own node: its
    /// connection is a branch of the tier [`Tier::Building`] with room for everything. Who lives in
    /// one building shares its node, so energy pays the tier that leaves the building or enters it.
    ///
    /// # Errors
    /// [`GridFault`] when a node is not there, a name is taken, or the grid gets too large.
    pub fn with_buildings(
        &self,
        at: &BTreeMap<Node, String>,
        rules: &GridRules,
    ) -> Result<(Self, BTreeMap<Node, Node>), GridFault> {
        let nodes = self.size() + at.len();
        if nodes > super::MAX_NODES {
            return Err(GridFault::TooManyNodes { nodes });
        }
        let mut branches = self.branches().to_vec();
        let mut home_of = BTreeMap::new();
        for (&parent, name) in at {
            branches.push(Branch {
                name: name.clone(),
                parent,
                import_cap: UNCAPPED,
                export_cap: UNCAPPED,
                fee: rules.fee(Tier::Building),
                tier: Tier::Building,
            });
            home_of.insert(parent, Node::at(branches.len()));
        }
        Ok((Self::new(branches)?, home_of))
    }
}
