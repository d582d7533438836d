//! The feeder as a tree, the substation on the left: how full its branches were at most, and how far
//! its voltages went.

use std::collections::BTreeMap;

use super::super::report::{Feeder, FeederFigures, Report};
use super::super::text::{count, kwh, pu, whole_percent};
use super::chart::{self, WIDTH, tenths};
use super::{escape, put};

/// Heights of one row of the tree: of a small one, and of one with many leaves.
const ROWS: (i64, i64) = (30, 15);
/// Leaves from which on a tree has many.
const MANY: i64 = 12;

pub fn section(html: &mut String, report: &Report) {
    let feeder = &report.feeder;
    html.push_str(
        "<section aria-labelledby=\"feeder\"><h2 id=\"feeder\">What the cables say</h2>\
         <p class=\"lead\">The street's network from the substation (left) outwards. Lines are cables \
         and the transformer, as full as they ever were; dots are buses, by how far their voltage went \
         from nominal.</p><div class=\"switch\" role=\"radiogroup\" aria-label=\"Dispatch\">",
    );
    let states = [
        ("grid-before", "Everybody alone", Some(&feeder.before)),
        ("grid-after", "With the auction's batteries", feeder.after.as_ref()),
    ];
    let last = if feeder.after.is_some() { "grid-after" } else { "grid-before" };
    for (id, label, figures) in &states {
        if figures.is_some() {
            let checked = if *id == last { " checked" } else { "" };
            put(
                html,
                format_args!(
                    "<input type=\"radio\" name=\"grid\" id=\"{id}\"{checked}><label for=\"{id}\">{label}</label>"
                ),
            );
        }
    }
    for (id, label, figures) in states {
        if let Some(figures) = figures {
            put(html, format_args!("<div class=\"pane pane-{id}\">"));
            pane(html, id, label, feeder, figures);
            html.push_str("</div>");
        }
    }
    html.push_str("</div></section>");
}

fn pane(html: &mut String, id: &str, label: &str, feeder: &Feeder, figures: &FeederFigures) {
    let extreme = |found: &Option<super::super::report::Extreme>| {
        found.as_ref().map_or_else(String::new, |found| {
            format!(
                "<b>{} pu</b> at {} ({})",
                pu(found.upu),
                escape(&found.bus),
                escape(&found.slot)
            )
        })
    };
    put(
        html,
        format_args!(
            "<p>Lowest voltage {}, highest {}. {} with a voltage outside {}–{} pu, {} with a branch \
             beyond its rating. {} kWh were lost on the way.</p>",
            extreme(&figures.lowest_voltage),
            extreme(&figures.highest_voltage),
            count(figures.voltage_violation_slots, "quarter-hour", "quarter-hours"),
            pu(feeder.band_low_upu),
            pu(feeder.band_high_upu),
            count(figures.overload_slots, "quarter-hour", "quarter-hours"),
            kwh(figures.losses_wh)
        ),
    );
    html.push_str("<figure class=\"wide\">");
    picture(html, id, label, figures);
    html.push_str(
        "<p class=\"key\"><span><i class=\"l0\"></i>up to 25 %</span> <span><i class=\"l1\"></i>50 %</span> \
         <span><i class=\"l2\"></i>75 %</span> <span><i class=\"l3\"></i>100 %</span> <span><i \
         class=\"l4\"></i>overloaded</span></p><p class=\"key\"><span><i class=\"dot v0\"></i>within \
         ±3 % of nominal</span> <span><i class=\"dot v1\"></i>±6 %</span> <span><i class=\"dot v2\"></i>±10 \
         %</span> <span><i class=\"dot v3\"></i>beyond</span></p></figure>",
    );
    tables(html, figures);
}

/// Where each bus is drawn: column by depth, row by the order of the leaves.
struct Layout {
    place: BTreeMap<String, (i64, i64)>,
    columns: i64,
    /// In twentieths of a row.
    rows: i64,
}

fn layout(figures: &FeederFigures) -> Layout {
    let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut depth: BTreeMap<&str, i64> = BTreeMap::new();
    let fed: Vec<&str> = figures.branches.iter().map(|branch| branch.to_bus.as_str()).collect();
    let is_root = |id: &str| !fed.contains(&id);
    for branch in &figures.branches {
        let (from, to) = (branch.from_bus.as_str(), branch.to_bus.as_str());
        children.entry(from).or_default().push(to);
        let above = depth.get(from).copied().unwrap_or(0);
        depth.insert(to, above + 1);
    }
    let mut leaves = 0;
    let mut row: BTreeMap<&str, i64> = BTreeMap::new();
    // Depth first from the roots: a bus is placed once all that it feeds are.
    let roots = figures.buses.iter().map(|bus| bus.id.as_str()).filter(|id| is_root(id));
    let mut stack: Vec<(&str, bool)> = roots.map(|root| (root, false)).collect();
    stack.reverse();
    while let Some((bus, is_closed)) = stack.pop() {
        let below = children.get(bus).map_or(&[][..], Vec::as_slice);
        match (below, is_closed) {
            ([], _) => {
                row.insert(bus, leaves * 20);
                leaves += 1;
            }
            (below, false) => {
                stack.push((bus, true));
                stack.extend(below.iter().rev().map(|child| (*child, false)));
            }
            ([first, .., last], true) => {
                row.insert(bus, i64::midpoint(row[first], row[last]));
            }
            ([only], true) => {
                row.insert(bus, row[only]);
            }
        }
    }
    let columns = depth.values().copied().max().unwrap_or(0).max(1);
    let place = row
        .into_iter()
        .map(|(bus, row)| (bus.to_owned(), (depth.get(bus).copied().unwrap_or(0), row)));
    Layout { place: place.collect(), columns, rows: leaves.max(1) * 20 }
}

fn picture(html: &mut String, id: &str, label: &str, figures: &FeederFigures) {
    let layout = layout(figures);
    let row_height = if layout.rows < MANY * 20 { ROWS.0 } else { ROWS.1 };
    let height = layout.rows * row_height / 20 + 20;
    let busiest = figures.branches.iter().max_by_key(|branch| branch.highest_loading_ppm);
    let description = busiest.map_or_else(String::new, |branch| {
        format!(
            "{} branches; the fullest is {} with {}.",
            figures.branches.len(),
            escape(&branch.id),
            whole_percent(branch.highest_loading_ppm)
        )
    });
    chart::open(html, &format!("{id}-p"), height, &format!("Feeder, {label}"), &description);
    // Tenths of a picture unit.
    let at = |bus: &str| -> (i64, i64) {
        let (column, row) = layout.place[bus];
        (100 + column * (WIDTH - 60) * 10 / layout.columns, 180 + row * row_height * 10 / 20)
    };
    for branch in &figures.branches {
        let ((x0, y0), (x1, y1)) = (at(&branch.from_bus), at(&branch.to_bus));
        put(
            html,
            format_args!(
                "<path class=\"wire {}\" d=\"M{} {}V{}H{}\"><title>{}: {}</title></path>",
                loading_class(branch.highest_loading_ppm),
                tenths(x0),
                tenths(y0),
                tenths(y1),
                tenths(x1),
                escape(&branch.id),
                whole_percent(branch.highest_loading_ppm)
            ),
        );
    }
    for bus in &figures.buses {
        let (x, y) = at(&bus.id);
        put(
            html,
            format_args!(
                "<circle class=\"{}\" cx=\"{}\" cy=\"{}\" r=\"3\"><title>{}: {} to {} pu</title></circle>",
                voltage_class(bus.lowest_upu, bus.highest_upu),
                tenths(x),
                tenths(y),
                escape(&bus.id),
                pu(bus.lowest_upu),
                pu(bus.highest_upu)
            ),
        );
    }
    if let Some(branch) = busiest {
        let (x, y) = at(&branch.to_bus);
        let anchor = if x > WIDTH * 5 { "end" } else { "start" };
        put(
            html,
            format_args!(
                "<text class=\"tick strong\" x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{} {}</text>",
                tenths(x),
                tenths(y - 70),
                escape(&branch.id),
                whole_percent(branch.highest_loading_ppm)
            ),
        );
    }
    html.push_str("</svg>");
}

/// The first class whose bound is not exceeded, else the last.
fn class_of(value: i64, bounds: &[(i64, &'static str)], beyond: &'static str) -> &'static str {
    bounds.iter().find(|(bound, _)| value <= *bound).map_or(beyond, |(_, class)| class)
}

fn loading_class(ppm: i64) -> &'static str {
    class_of(ppm, &[(250_000, "l0"), (500_000, "l1"), (750_000, "l2"), (1_000_000, "l3")], "l4")
}

fn voltage_class(lowest_upu: i64, highest_upu: i64) -> &'static str {
    let apart = (1_000_000 - lowest_upu).max(highest_upu - 1_000_000);
    class_of(apart, &[(30_000, "v0"), (60_000, "v1"), (100_000, "v2")], "v3")
}

fn tables(html: &mut String, figures: &FeederFigures) {
    html.push_str(
        "<details><summary>Branches and buses as a table</summary><div class=\"scroll\" tabindex=\"0\" \
         role=\"region\" aria-label=\"Branches and buses\"><table><thead><tr><th scope=\"col\">Branch</th>\
         <th scope=\"col\">From</th><th scope=\"col\">To</th><th scope=\"col\">Fullest</th>\
         <th scope=\"col\">When</th><th scope=\"col\">Lowest voltage there, pu</th>\
         <th scope=\"col\">Highest</th></tr></thead><tbody>",
    );
    let voltages: BTreeMap<&str, (i64, i64)> = figures
        .buses
        .iter()
        .map(|bus| (bus.id.as_str(), (bus.lowest_upu, bus.highest_upu)))
        .collect();
    for branch in &figures.branches {
        let (low, high) = voltages[branch.to_bus.as_str()];
        put(
            html,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{}</td></tr>",
                escape(&branch.id),
                escape(&branch.from_bus),
                escape(&branch.to_bus),
                whole_percent(branch.highest_loading_ppm),
                escape(branch.slot.as_deref().unwrap_or("never")),
                pu(low),
                pu(high)
            ),
        );
    }
    html.push_str("</tbody></table></div></details>");
}
