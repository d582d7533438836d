//! The grid: what is a tree, what a network becomes, and what is refused.

use std::collections::BTreeMap;
use std::fs::File;

use feeder::Network;
use market::{Branch, Grid, GridFault, GridRules, Node, Tier, TierRule, UNCAPPED};
use units::{Energy, Price};

use crate::street::{e5, wh};

fn branch(name: &str, parent: u32) -> Branch {
    let parent = Node(parent);
    let (import_cap, export_cap) = (wh(1_000), wh(500));
    Branch {
        name: name.to_owned(),
        parent,
        import_cap,
        export_cap,
        fee: e5(100),
        tier: Tier::Street,
    }
}

#[test]
fn a_tree_knows_its_paths_and_fees() {
    let grid = Grid::new(vec![branch("a", 0), branch("b", 1), branch("c", 0)]).expect("a tree");
    assert_eq!((grid.size(), grid.is_plate(), grid.contains(Node(4))), (4, false, false));
    assert_eq!(grid.path(Node(2)).collect::<Vec<_>>(), [Node(2), Node(1), Node(0)]);
    assert_eq!(grid.path(Node(9)).count(), 0);
    assert_eq!(grid.fees_to_root(Node(2)), e5(200));
    assert_eq!(grid.branch(Node(3)).map(|b| b.name.as_str()), Some("c"));
    assert_eq!((grid.branch(Node(0)), grid.parent(Node(1))), (None, Some(Node(0))));
    assert_eq!((Grid::plate().size(), Grid::plate().is_plate()), (1, true));
    assert_eq!(Grid::new(Vec::new()), Ok(Grid::plate()));
}

#[test]
fn what_is_no_tree_is_refused_with_the_branch() {
    let check = |branches: Vec<Branch>, message: &str| {
        let fault = Grid::new(branches).expect_err("must be refused").to_string();
        assert!(fault.contains(message), "{fault}");
    };
    check(vec![branch("a", 1)], "branch a feeds node 1 from node 1: list every branch after");
    check(vec![branch("a", 0), branch("a", 1)], "two branches are called \"a\"");
    check(vec![Branch { import_cap: wh(-1), ..branch("a", 0) }], "import cap -1 Wh is not between");
    let beyond = UNCAPPED + wh(1);
    check(vec![Branch { export_cap: beyond, ..branch("a", 0) }], "branch a: export cap");
    check(vec![Branch { fee: e5(-1), ..branch("a", 0) }], "is negative or off the tick");
    let off = Price::from_nano_per_wh(5);
    check(vec![Branch { fee: off, ..branch("a", 0) }], "is negative or off the tick");
    let dear = |name, parent| Branch { fee: e5(6_000_000), ..branch(name, parent) };
    check(vec![dear("a", 0), dear("b", 1)], "branch b: the fees up to the root add up to 12000");
    let chain = (0..=1_024).map(|i| Branch { fee: Price::ZERO, ..branch(&format!("b{i}"), i) });
    check(chain.collect(), "branch b1024 is 1025 branches deep");
    let many = (0..65_536).map(|i| branch(&format!("b{i}"), 0)).collect();
    assert_eq!(Grid::new(many), Err(GridFault::TooManyNodes { nodes: 65_537 }));
}

#[cfg(feature = "serde")]
#[test]
fn a_grid_is_its_list_of_branches_and_is_checked_when_read() {
    let grid = Grid::new(vec![branch("a", 0), branch("b", 1)]).expect("a tree");
    let json = serde_json::to_string(&grid).expect("plain data");
    assert!(json.contains(r#""parent":1,"import_cap":1000"#), "{json}");
    assert_eq!(serde_json::from_str::<Grid>(&json).expect("reads back"), grid);
    let wrong = json.replace(r#""parent":1"#, r#""parent":7"#);
    let fault = serde_json::from_str::<Grid>(&wrong).expect_err("refused").to_string();
    assert!(fault.contains("branch b feeds node 2 from node 7"), "{fault}");
}

fn semiurb4() -> Network {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../sim-grid/scenarios/semiurb4/");
    Network::read(|name| File::open(format!("{folder}{name}"))).expect("the shipped scenario")
}

fn rule(fee_e5: i64, loss_ppm: u32) -> TierRule {
    TierRule { fee: e5(fee_e5), loss_ppm }
}

#[test]
fn a_network_becomes_caps_and_fees() {
    let rules = GridRules {
        building: rule(100, 0),
        street: rule(200, 20_000),
        transformer: rule(300, 10_001),
        substation: rule(400, 0),
        loss_price: e5(10_000),
        power_factor_ppm: 950_000,
        margin_ppm: 100_000,
    };
    let (grid, nodes): (Grid, BTreeMap<String, Node>) =
        Grid::from_network(&semiurb4(), &rules).expect("a real street");
    assert_eq!((grid.size(), nodes.len(), nodes["B000"]), (44, 44, Node::ROOT));
    let transformer = grid.branch(nodes["B001"]).expect("below the slack");
    // 400 kVA · 0.95 · 0.9 · ¼ h, and 3 % of 10 ct for the losses, rounded up to the tick.
    assert_eq!((transformer.name.as_str(), transformer.tier), ("T1", Tier::Transformer));
    assert_eq!((transformer.import_cap, transformer.export_cap), (wh(85_500), wh(85_500)));
    assert_eq!(transformer.fee, e5(300 + 101));
    let cable = grid.branch(nodes["B002"]).expect("L001");
    // √3 · 0.4 kV · 0.27 kA = 187.06 kVA, and the first cable of a street carries its fee.
    assert_eq!((cable.name.as_str(), cable.import_cap), ("L001", wh(39_984)));
    assert_eq!((cable.tier, cable.fee), (Tier::Street, e5(200 + 200)));
    // Every house pays street and transformer once, however many pieces of cable there are.
    for node in grid.nodes().filter(|&node| grid.path(node).count() > 2) {
        assert_eq!(grid.fees_to_root(node), e5(401 + 400));
    }
    assert!(grid.nodes().any(|node| grid.path(node).count() > 5), "the street has long cables");
    // A building hangs on its bus by a connection of its own.
    let bus = nodes["B002"];
    let at = BTreeMap::from([(bus, "house 2".to_owned()), (nodes["B009"], "house 9".to_owned())]);
    let (built, homes) = grid.with_buildings(&at, &rules).expect("two houses");
    assert_eq!((built.size(), homes.len()), (46, 2));
    let connection = built.branch(homes[&bus]).expect("its own");
    assert_eq!((connection.name.as_str(), connection.tier), ("house 2", Tier::Building));
    assert_eq!(
        (connection.parent, connection.fee, connection.import_cap),
        (bus, e5(100), UNCAPPED)
    );
    assert_eq!(built.fees_to_root(homes[&bus]), grid.fees_to_root(bus) + e5(100));
    let taken = BTreeMap::from([(bus, "L001".to_owned())]);
    let fault = grid.with_buildings(&taken, &rules).expect_err("a cable has this name");
    assert!(fault.to_string().contains("L001"), "{fault}");
}

#[test]
fn rules_out_of_range_are_refused() {
    let check = |rules: GridRules, message: &str| {
        let fault = Grid::from_network(&semiurb4(), &rules).expect_err("refused").to_string();
        assert!(fault.contains(message), "{fault}");
    };
    let rules = GridRules::default();
    check(GridRules { street: rule(-1, 0), ..rules }, "street fee -0.0010 ct/kWh is negative");
    check(GridRules { substation: rule(0, 1_000_001), ..rules }, "substation loss of 1000001");
    check(GridRules { building: rule(0, 1_000_001), ..rules }, "building loss of 1000001");
    check(GridRules { building: rule(-1, 0), ..rules }, "building fee -0.0010 ct/kWh is negative");
    check(GridRules { power_factor_ppm: 0, ..rules }, "power factor of 0 parts per million");
    check(GridRules { loss_price: Price::from_nano_per_wh(7), ..rules }, "off the tick");
    let closed = GridRules { margin_ppm: 1_000_000, ..rules };
    let (grid, _) = Grid::from_network(&semiurb4(), &closed).expect("a margin of a whole is valid");
    assert!(grid.branches().iter().all(|branch| branch.import_cap == Energy::ZERO));
}
