//! Turning lists into a tree: every check that a network must pass, and the walk from the slacks
//! that gives the branches their order and direction.

use std::collections::BTreeMap;

use crate::error::{Fault, NetworkError, Place};
use crate::grid_files;
use crate::network::{Branch, Element, NetworkParts, Places, Transformer};

/// The checked topology of a network.
pub(crate) struct Tree {
    /// Bus name → position.
    pub index: BTreeMap<String, usize>,
    /// Parents before children.
    pub branches: Vec<Branch>,
    /// Bus of each slack.
    pub roots: Vec<usize>,
}

/// Checks all parts and walks the tree.
pub(crate) fn grow(parts: &NetworkParts, places: &Places) -> Result<Tree, NetworkError> {
    let index = check_buses(parts, places)?;
    check_branches(parts, places, &index)?;
    let roots = check_slacks(parts, places, &index)?;
    check_no_cycle(parts, places, &index, &roots)?;
    let branches = walk(parts, places, &index, &roots)?;
    Ok(Tree { index, branches, roots })
}

fn invalid(place: &Place, fault: Fault) -> NetworkError {
    NetworkError::Invalid { place: place.clone(), fault }
}

/// Two ends and a name, whatever the element.
struct Edge<'p> {
    owner: String,
    from: &'p str,
    to: &'p str,
    place: &'p Place,
    element: Element,
}

/// Lines first, then transformers, in the order they were written.
fn edges<'p>(parts: &'p NetworkParts, places: &'p Places) -> impl Iterator<Item = Edge<'p>> {
    let lines = parts.lines.iter().zip(&places.lines).enumerate().map(|(i, (line, place))| Edge {
        owner: format!("line {}", line.id),
        from: &line.from_bus,
        to: &line.to_bus,
        place,
        element: Element::Line(i),
    });
    let transformers =
        parts.transformers.iter().zip(&places.transformers).enumerate().map(|(i, (t, place))| {
            Edge {
                owner: format!("transformer {}", t.id),
                from: &t.hv_bus,
                to: &t.lv_bus,
                place,
                element: Element::Transformer(i),
            }
        });
    lines.chain(transformers)
}

fn check_ids<'p>(
    kind: &'static str,
    ids: impl Iterator<Item = (&'p str, &'p Place)>,
) -> Result<BTreeMap<String, usize>, NetworkError> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut places: Vec<&Place> = Vec::new();
    for (i, (id, place)) in ids.enumerate() {
        if id.is_empty() {
            return Err(invalid(place, Fault::EmptyId { kind }));
        }
        if let Some(first) = seen.insert(id.to_owned(), i) {
            let first = places[first].clone();
            return Err(invalid(place, Fault::Duplicate { kind, id: id.to_owned(), first }));
        }
        places.push(place);
    }
    Ok(seen)
}

fn finite(
    place: &Place,
    owner: &str,
    quantity: &'static str,
    value: f64,
) -> Result<(), NetworkError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(invalid(place, Fault::NotFinite { owner: owner.to_owned(), quantity, value }))
}

fn positive(
    place: &Place,
    owner: &str,
    quantity: &'static str,
    value: f64,
) -> Result<(), NetworkError> {
    finite(place, owner, quantity, value)?;
    if value > 0.0 {
        return Ok(());
    }
    Err(invalid(place, Fault::NotPositive { owner: owner.to_owned(), quantity, value }))
}

fn resistance(place: &Place, owner: &str, value: f64) -> Result<(), NetworkError> {
    finite(place, owner, "resistance (ohm)", value)?;
    if value >= 0.0 {
        return Ok(());
    }
    Err(invalid(place, Fault::NegativeResistance { owner: owner.to_owned(), value }))
}

fn check_buses(
    parts: &NetworkParts,
    places: &Places,
) -> Result<BTreeMap<String, usize>, NetworkError> {
    if parts.buses.is_empty() {
        let place =
            places.buses.first().cloned().unwrap_or_else(|| Place::new(grid_files::BUSES, 1));
        return Err(invalid(&place, Fault::NoBus));
    }
    for (bus, place) in parts.buses.iter().zip(&places.buses) {
        positive(place, &format!("bus {}", bus.id), "nominal voltage (kV)", bus.vn_kv)?;
    }
    check_ids("bus", parts.buses.iter().map(|bus| bus.id.as_str()).zip(&places.buses))
}

fn check_branches(
    parts: &NetworkParts,
    places: &Places,
    index: &BTreeMap<String, usize>,
) -> Result<(), NetworkError> {
    check_ids("line", parts.lines.iter().map(|line| line.id.as_str()).zip(&places.lines))?;
    check_ids(
        "transformer",
        parts.transformers.iter().map(|t| t.id.as_str()).zip(&places.transformers),
    )?;
    for edge in edges(parts, places) {
        for bus in [edge.from, edge.to] {
            known(edge.place, &edge.owner, bus, index)?;
        }
        if edge.from == edge.to {
            let (owner, bus) = (edge.owner, edge.from.to_owned());
            return Err(invalid(edge.place, Fault::SelfLoop { owner, bus }));
        }
        match edge.element {
            Element::Line(i) => check_line(parts, i, &edge, index)?,
            Element::Transformer(i) => check_transformer(&parts.transformers[i], &edge)?,
        }
    }
    Ok(())
}

fn known(
    place: &Place,
    owner: &str,
    bus: &str,
    index: &BTreeMap<String, usize>,
) -> Result<usize, NetworkError> {
    index.get(bus).copied().ok_or_else(|| {
        invalid(place, Fault::UnknownBus { owner: owner.to_owned(), bus: bus.to_owned() })
    })
}

fn check_line(
    parts: &NetworkParts,
    i: usize,
    edge: &Edge<'_>,
    index: &BTreeMap<String, usize>,
) -> Result<(), NetworkError> {
    let line = &parts.lines[i];
    resistance(edge.place, &edge.owner, line.r_ohm)?;
    finite(edge.place, &edge.owner, "reactance (ohm)", line.x_ohm)?;
    positive(edge.place, &edge.owner, "ampacity (kA)", line.max_i_ka)?;
    let from_kv = parts.buses[index[&line.from_bus]].vn_kv;
    let to_kv = parts.buses[index[&line.to_bus]].vn_kv;
    if (from_kv - to_kv).abs() > 1e-9 * from_kv {
        let fault = Fault::VoltageLevels {
            owner: edge.owner.clone(),
            from: line.from_bus.clone(),
            from_kv,
            to: line.to_bus.clone(),
            to_kv,
        };
        return Err(invalid(edge.place, fault));
    }
    Ok(())
}

fn check_transformer(transformer: &Transformer, edge: &Edge<'_>) -> Result<(), NetworkError> {
    let (place, owner) = (edge.place, &edge.owner);
    resistance(place, owner, transformer.r_lv_ohm)?;
    finite(place, owner, "reactance (ohm)", transformer.x_lv_ohm)?;
    positive(place, owner, "rated power (kVA)", transformer.sn_kva)?;
    positive(place, owner, "rated high voltage (kV)", transformer.vn_hv_kv)?;
    positive(place, owner, "rated low voltage (kV)", transformer.vn_lv_kv)?;
    positive(place, owner, "ratio (pu)", transformer.ratio_pu)
}

fn check_slacks(
    parts: &NetworkParts,
    places: &Places,
    index: &BTreeMap<String, usize>,
) -> Result<Vec<usize>, NetworkError> {
    if parts.slacks.is_empty() {
        return Err(invalid(&Place::new(grid_files::SLACK, 1), Fault::NoSlack));
    }
    check_ids("slack", parts.slacks.iter().map(|slack| slack.bus.as_str()).zip(&places.slacks))?;
    let mut roots = Vec::with_capacity(parts.slacks.len());
    for (slack, place) in parts.slacks.iter().zip(&places.slacks) {
        let owner = format!("slack {}", slack.bus);
        roots.push(known(place, &owner, &slack.bus, index)?);
        positive(place, &owner, "voltage (pu)", slack.vm_pu)?;
        finite(place, &owner, "angle (degrees)", slack.va_degree)?;
    }
    Ok(roots)
}

/// Joins buses branch by branch; a branch between two buses that are already joined closes a
/// cycle. All slacks count as joined: the grid above connects them.
fn check_no_cycle(
    parts: &NetworkParts,
    places: &Places,
    index: &BTreeMap<String, usize>,
    roots: &[usize],
) -> Result<(), NetworkError> {
    let mut group: Vec<usize> = (0..parts.buses.len()).collect();
    for root in roots {
        group[*root] = roots[0];
    }
    for edge in edges(parts, places) {
        let from = head_of(&mut group, index[edge.from]);
        let to = head_of(&mut group, index[edge.to]);
        if from == to {
            let (from, to) = (edge.from.to_owned(), edge.to.to_owned());
            return Err(invalid(edge.place, Fault::Cycle { owner: edge.owner, from, to }));
        }
        group[from] = to;
    }
    Ok(())
}

/// The representative of a bus's group; halves the path on the way.
fn head_of(group: &mut [usize], mut bus: usize) -> usize {
    while group[bus] != bus {
        group[bus] = group[group[bus]];
        bus = group[bus];
    }
    bus
}

/// Walks from the slacks outwards, breadth first, and turns every branch so that its parent faces
/// the slack.
fn walk(
    parts: &NetworkParts,
    places: &Places,
    index: &BTreeMap<String, usize>,
    roots: &[usize],
) -> Result<Vec<Branch>, NetworkError> {
    let all: Vec<Edge<'_>> = edges(parts, places).collect();
    let mut at_bus: Vec<Vec<usize>> = vec![Vec::new(); parts.buses.len()];
    for (i, edge) in all.iter().enumerate() {
        at_bus[index[edge.from]].push(i);
        at_bus[index[edge.to]].push(i);
    }
    let mut reached = vec![false; parts.buses.len()];
    let mut queue: Vec<usize> = roots.to_vec();
    for root in roots {
        reached[*root] = true;
    }
    let mut branches = Vec::with_capacity(all.len());
    let mut next = 0;
    while let Some(parent) = queue.get(next).copied() {
        next += 1;
        for edge in at_bus[parent].iter().map(|i| &all[*i]) {
            let (from, to) = (index[edge.from], index[edge.to]);
            let child = if from == parent { to } else { from };
            if reached[child] {
                continue;
            }
            reached[child] = true;
            queue.push(child);
            branches.push(branch(parts, edge, parent, child)?);
        }
    }
    match reached.iter().position(|reached| !reached) {
        None => Ok(branches),
        Some(bus) => {
            let fault = Fault::Disconnected { bus: parts.buses[bus].id.clone() };
            Err(invalid(&places.buses[bus], fault))
        }
    }
}

fn branch(
    parts: &NetworkParts,
    edge: &Edge<'_>,
    parent: usize,
    child: usize,
) -> Result<Branch, NetworkError> {
    let (r_ohm, x_ohm, ratio_pu) = match edge.element {
        Element::Line(i) => (parts.lines[i].r_ohm, parts.lines[i].x_ohm, 1.0),
        Element::Transformer(i) => {
            let transformer = &parts.transformers[i];
            if parts.buses[parent].id != transformer.hv_bus {
                let (owner, lv_bus) = (edge.owner.clone(), transformer.lv_bus.clone());
                return Err(invalid(edge.place, Fault::Backwards { owner, lv_bus }));
            }
            (transformer.r_lv_ohm, transformer.x_lv_ohm, transformer.ratio_pu)
        }
    };
    Ok(Branch { element: edge.element, parent, child, r_ohm, x_ohm, ratio_pu })
}
