//! The grid of a configuration: the network's files, and the community's fees and limits on them.

use std::collections::BTreeMap;
use std::path::Path;

use market::{Branch, Grid, GridRules, Node, TierRule, UNCAPPED};
use units::{PointId, Price};

use crate::config::{Config, GridConfig, HouseholdConfig};
use crate::rules::{GridForm, StreetGrid};

/// Reads the grid that the members trade on; a plate without `[grid]`.
///
/// # Errors
/// The place and the reason, in words.
pub fn load(config: &Config) -> Result<StreetGrid, String> {
    let Some(rules) = &config.grid else { return Ok(StreetGrid::default()) };
    let dir = rules.dir.as_ref().or(config.feeder.as_ref().map(|feeder| &feeder.dir));
    let dir = dir.ok_or("[grid] needs the network's folder: give `dir`, or [feeder] `dir`")?;
    let network = network(dir)?;
    let (grid, nodes) = Grid::from_network(&network, &rules_of(rules))
        .map_err(|fault| format!("[grid]: {fault}"))?;
    let grid = if rules.thermal_limits { grid } else { unlimited(&grid)? };
    let mut buses = vec![String::new(); grid.size()];
    for (bus, node) in &nodes {
        if buses[node.index()].is_empty() {
            bus.clone_into(&mut buses[node.index()]);
        }
    }
    let homes = homes(config, &nodes, &buses)?;
    StreetGrid::new(GridForm { buses, grid, homes }).map_err(|fault| format!("[grid]: {fault}"))
}

/// Everybody's bus, by the one name that its node has.
fn homes(
    config: &Config,
    nodes: &BTreeMap<String, Node>,
    buses: &[String],
) -> Result<BTreeMap<PointId, String>, String> {
    let home = |home: &HouseholdConfig| {
        let point = home.point.clone();
        let Some(bus) = &home.bus else {
            let what = "say in its [[household]] where it is connected";
            return Err(format!("[grid]: {point} has no bus: {what}"));
        };
        let Some(node) = nodes.get(bus.as_str()) else {
            return Err(format!("[grid]: {point} is at bus {bus}, which is not in the grid"));
        };
        Ok((point, buses[node.index()].clone()))
    };
    config.households.iter().map(home).collect()
}

/// Reads the files of a network.
///
/// # Errors
/// The file, the line and the reason.
pub fn network(dir: &Path) -> Result<feeder::Network, String> {
    feeder::Network::read(|name| std::fs::File::open(dir.join(name)))
        .map_err(|error| format!("{}: {error}", dir.display()))
}

fn rules_of(config: &GridConfig) -> GridRules {
    let tier = |fee_e5, loss_ppm| TierRule { fee: Price::from_e5_per_kwh(fee_e5), loss_ppm };
    GridRules {
        street: tier(config.street_fee_e5, config.street_loss_ppm),
        transformer: tier(config.transformer_fee_e5, config.transformer_loss_ppm),
        substation: tier(config.substation_fee_e5, config.substation_loss_ppm),
        loss_price: Price::from_e5_per_kwh(config.loss_price_e5),
        power_factor_ppm: config.power_factor_ppm,
        margin_ppm: config.margin_ppm,
        ..GridRules::default()
    }
}

/// The same grid with room everywhere.
fn unlimited(grid: &Grid) -> Result<Grid, String> {
    let open =
        |branch: &Branch| Branch { import_cap: UNCAPPED, export_cap: UNCAPPED, ..branch.clone() };
    Grid::new(grid.branches().iter().map(open).collect()).map_err(|fault| fault.to_string())
}
