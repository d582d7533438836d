//! The grid of a configuration: the network's files, and the community's fees and limits on them.

use std::collections::BTreeMap;
use std::path::Path;

use market::{Branch, Grid, GridRules, Node, TierRule, UNCAPPED};
use units::Price;

use crate::config::{Config, GridConfig};
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
    let homes = config.households.iter();
    let points = homes.map(|home| (&home.point, home.bus.as_ref().map(units::BusId::as_str)));
    street(GridForm { buses, grid }, &nodes, points)
}

fn street<'a>(
    form: GridForm,
    nodes: &BTreeMap<String, Node>,
    points: impl Iterator<Item = (&'a units::PointId, Option<&'a str>)>,
) -> Result<StreetGrid, String> {
    StreetGrid::new(form, nodes, points).map_err(|fault| format!("[grid]: {fault}"))
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
    }
}

/// The same grid with room everywhere.
fn unlimited(grid: &Grid) -> Result<Grid, String> {
    let open =
        |branch: &Branch| Branch { import_cap: UNCAPPED, export_cap: UNCAPPED, ..branch.clone() };
    Grid::new(grid.branches().iter().map(open).collect()).map_err(|fault| fault.to_string())
}
