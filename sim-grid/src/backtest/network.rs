//! The feeder as the auction sees it: what its branches may carry, and what using them costs.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use market::{Branch, Clearing, Grid, Node, Tier, UNCAPPED};
use units::Price;

use super::community::Community;
use super::error::BacktestError;
use crate::scenario::{Customer, Scenario};

/// Grid fees by tier, as people type them: `street=1.2,transformer=2,substation=0.5`, in hundredths of
/// the currency per kWh. What is not named stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fees {
    /// For leaving or entering a building.
    pub building: Option<Price>,
    /// For using the street's cables.
    pub street: Option<Price>,
    /// For passing a transformer.
    pub transformer: Option<Price>,
    /// For using the medium voltage.
    pub substation: Option<Price>,
}

impl FromStr for Fees {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut fees = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (tier, fee) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not of the form street=1.2"))?;
            let place = match tier {
                "building" => &mut fees.building,
                "street" => &mut fees.street,
                "transformer" => &mut fees.transformer,
                "substation" => &mut fees.substation,
                _ => {
                    return Err(format!(
                        "there is no tier {tier:?}; choose from building, street, transformer, \
                         substation"
                    ));
                }
            };
            let fee = fee_of(fee).ok_or_else(|| {
                format!(
                    "the fee {fee:?} of tier {tier} is no number of ct/kWh from 0 to 100 with at \
                     most three decimals"
                )
            })?;
            *place = Some(fee);
        }
        Ok(fees)
    }
}

/// Hundredths of the currency per kWh with at most three decimals: a whole number of ticks.
fn fee_of(text: &str) -> Option<Price> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 3
        || decimals.len() > 3
        || !digits(whole)
        || !digits(decimals)
    {
        return None;
    }
    let ticks: i64 = format!("{whole}{decimals:0<3}").parse().ok()?;
    (ticks <= 100_000).then(|| Price::from_e5_per_kwh(ticks))
}

/// The same branch with room for everything.
fn open(branch: &Branch) -> Branch {
    Branch { import_cap: UNCAPPED, export_cap: UNCAPPED, ..branch.clone() }
}

/// The market's grid and where everybody is in it.
#[derive(Debug, Clone)]
pub(super) struct Wires {
    pub grid: Arc<Grid>,
    /// By customer.
    pub nodes: Vec<Node>,
    /// Slots in which a branch was full, by its node.
    bound: BTreeMap<usize, u64>,
}

impl Wires {
    pub fn of(scenario: &Scenario, community: &Community) -> Result<Self, BacktestError> {
        let rules = &community.grid;
        let (mut grid, by_bus) = Grid::from_network(&scenario.network, rules)?;
        if !community.thermal_limits {
            grid = Grid::new(grid.branches().iter().map(open).collect())?;
        }
        let buses = scenario.network.buses();
        let bus = |customer: &Customer| buses[customer.bus].id.as_str();
        let at = scenario.customers.iter().map(|customer| by_bus[bus(customer)]);
        let mut nodes: Vec<Node> = at.collect();
        if rules.fee(Tier::Building) > Price::ZERO {
            let name = |customer| format!("building at {}", bus(customer));
            let at = nodes.iter().copied().zip(scenario.customers.iter().map(name)).collect();
            let (built, home_of) = grid.with_buildings(&at, rules)?;
            grid = built;
            nodes.iter_mut().for_each(|node| *node = home_of[node]);
        }
        Ok(Self { nodes, grid: Arc::new(grid), bound: BTreeMap::new() })
    }

    /// Whether a branch was full in a slot; counts which.
    pub fn observe(&mut self, clearing: &Clearing) -> bool {
        let Some(nodal) = &clearing.nodal else { return false };
        let mut any = false;
        for (node, branch) in (1..).zip(self.grid.branches()) {
            let flow = nodal.flows[node];
            let is_full = flow.is_positive() && flow == branch.import_cap
                || (-flow).is_positive() && -flow == branch.export_cap;
            if is_full {
                any = true;
                *self.bound.entry(node).or_default() += 1;
            }
        }
        any
    }

    /// Names of the branches that were full, and in how many slots, the most frequent first.
    pub fn bound(&self) -> Vec<(String, u64)> {
        let mut bound: Vec<(String, u64)> = self
            .bound
            .iter()
            .map(|(node, slots)| (self.grid.branches()[node - 1].name.clone(), *slots))
            .collect();
        bound.sort_by_key(|(_, slots)| std::cmp::Reverse(*slots));
        bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_are_whole_ticks() {
        let fees: Fees = "street=1.2,transformer=2".parse().expect("fees");
        assert_eq!(fees.street, Some(Price::from_e5_per_kwh(1_200)));
        assert_eq!(fees.transformer, Some(Price::from_e5_per_kwh(2_000)));
        assert_eq!((fees.building, fees.substation), (None, None));
        for (text, told) in [
            ("street", "\"street\" is not of the form street=1.2"),
            (
                "house=1",
                "there is no tier \"house\"; choose from building, street, transformer, substation",
            ),
            (
                "street=-1",
                "the fee \"-1\" of tier street is no number of ct/kWh from 0 to 100 with at most three decimals",
            ),
            (
                "street=0.0001",
                "the fee \"0.0001\" of tier street is no number of ct/kWh from 0 to 100 with at most three decimals",
            ),
        ] {
            assert_eq!(text.parse::<Fees>(), Err(told.to_owned()));
        }
    }
}
