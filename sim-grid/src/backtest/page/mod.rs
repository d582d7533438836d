//! The report as one page for a co-op's board: words first, pictures second, tables third.
//!
//! One file without any outside part and without a script: style sheet and SVG are inside, and
//! choosing a rule works with radio buttons alone. Every picture has a title, a description and its
//! figures as a table.

mod benefits;
mod chart;
mod days;
mod feeder_map;
mod prices;
mod summary;

use std::fmt::Write;

use super::report::{Report, RuleFigures};
use super::text::{cents, count, kilowatts, whole_percent};
use super::verdict::verdict;

const STYLE: &str = include_str!("style.css");

/// A report as a page of HTML.
#[must_use]
pub fn page(report: &Report) -> String {
    let verdict = verdict(report);
    let mut html = String::with_capacity(1 << 18);
    let name = escape(&report.run.scenario);
    put(
        &mut html,
        format_args!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <title>Is it worth it for {name}?</title><style>{STYLE}{}</style></head><body>\
             <a class=\"skip\" href=\"#table\">Skip to the table</a>\
             <header><p class=\"eyebrow\">Streetwatt back-test · {name} · {} to {}</p>\
             <h1>Is it worth it for our street?</h1><p class=\"verdict\">{}</p></header><main>",
            switches(report),
            day(&report.run.from),
            day(&report.run.to),
            escape(&verdict.headline),
        ),
    );
    html.push_str("<section aria-labelledby=\"why\"><h2 id=\"why\">Why</h2><div class=\"two\"><ul class=\"reasons\">");
    for reason in verdict.reasons.iter().filter(|reason| !reason.is_empty()) {
        put(&mut html, format_args!("<li>{}</li>", escape(reason)));
    }
    html.push_str("</ul>");
    let shown = shown(report, verdict.rule.as_deref());
    if let Some(rule) = shown {
        facts(&mut html, report, rule);
    }
    html.push_str("</div></section>");
    days::section(&mut html, report);
    html.push_str("<div class=\"pair\">");
    prices::section(&mut html, report);
    feeder_map::section(&mut html, report);
    html.push_str("</div>");
    if let Some(rule) = shown {
        benefits::section(&mut html, report, &rule.rule);
    }
    summary::section(&mut html, report, shown.map(|rule| rule.rule.as_str()));
    notes(&mut html, report);
    html.push_str("</main></body></html>\n");
    html
}

/// The rule that is shown first: the verdict's, else the first that shares anything.
fn shown<'r>(report: &'r Report, rule: Option<&str>) -> Option<&'r RuleFigures> {
    let named = rule.and_then(|name| report.rules.iter().find(|rule| rule.rule == name));
    named.or_else(|| report.rules.iter().find(|rule| rule.local_wh > 0)).or(report.rules.first())
}

/// One style rule per radio button: what it shows.
fn switches(report: &Report) -> String {
    let mut css = String::new();
    let rules = report.rules.iter().map(|rule| format!("rule-{}", rule.rule));
    for id in rules.chain(["grid-before".to_owned(), "grid-after".to_owned()]) {
        put(&mut css, format_args!("#{id}:checked~.pane-{id}{{display:block}}"));
    }
    css
}

/// The four figures that pilots publish, as bars and numbers.
fn facts(html: &mut String, report: &Report, rule: &RuleFigures) {
    let own = rule.self_sufficiency_ppm - rule.from_neighbours_ppm;
    let own_use = rule.self_consumption_ppm - rule.to_neighbours_ppm;
    html.push_str("<div class=\"facts\">");
    stack(
        html,
        "Where the energy comes from",
        "self-sufficiency",
        &[
            ("own", "own roofs", own),
            ("near", "neighbours", rule.from_neighbours_ppm),
            ("grid", "grid", 1_000_000 - rule.self_sufficiency_ppm),
        ],
    );
    stack(
        html,
        "Where the sun goes",
        "self-consumption",
        &[
            ("own", "own use", own_use),
            ("near", "neighbours", rule.to_neighbours_ppm),
            ("grid", "grid", 1_000_000 - rule.self_consumption_ppm),
        ],
    );
    let price = rule.local_price.map_or_else(
        || "no local energy".to_owned(),
        |price| {
            format!(
                "<b>{}</b> ct/kWh between neighbours; the supplier asks {} and pays {}",
                cents(price.paid_nano_per_wh),
                cents(price.retail_nano_per_wh),
                cents(price.feed_in_nano_per_wh)
            )
        },
    );
    put(html, format_args!("<div class=\"fact\"><h3>Local price</h3><p>{price}</p></div>"));
    let street = report.street_after.as_ref().filter(|_| rule.rule.starts_with("auction"));
    let street = street.unwrap_or(&report.street);
    put(
        html,
        format_args!(
            "<div class=\"fact\"><h3>Residual peak</h3><p><b>{}</b> kW drawn, <b>{}</b> kW fed in \
             at most; without the market {} and {} kW</p></div></div>",
            kilowatts(street.peak_import_w),
            kilowatts(street.peak_export_w),
            kilowatts(report.street.peak_import_w),
            kilowatts(report.street.peak_export_w)
        ),
    );
}

fn stack(html: &mut String, title: &str, word: &str, parts: &[(&str, &str, i64)]) {
    let inside: i64 = parts[..2].iter().map(|(.., ppm)| ppm).sum();
    put(
        html,
        format_args!(
            "<div class=\"fact\"><h3>{title}</h3><p><b>{}</b> {word}</p><div class=\"stack\" \
             aria-hidden=\"true\">",
            whole_percent(inside)
        ),
    );
    for (class, _, ppm) in parts {
        put(html, format_args!("<i class=\"{class}\" style=\"flex-grow:{}\"></i>", (*ppm).max(0)));
    }
    html.push_str("</div><p class=\"key\">");
    for (class, name, ppm) in parts {
        let share = whole_percent(*ppm);
        put(html, format_args!("<span><i class=\"{class}\"></i>{name} {share}</span> "));
    }
    html.push_str("</p></div>");
}

fn notes(html: &mut String, report: &Report) {
    let run = &report.run;
    put(
        html,
        format_args!(
            "<section aria-labelledby=\"notes\"><h2 id=\"notes\">How this was found</h2>\
             <ul class=\"notes\"><li>{} with {} each went through the program that runs live \
             streets: metering, orders, auction with its proof, settlement, bills. Amounts are exact; \
             the page rounds them. The same input gives the same page, byte by byte.</li>",
            count(report.customers.len() as u64, "customer", "customers"),
            count(run.slots, "quarter-hour", "quarter-hours"),
        ),
    );
    put(
        html,
        format_args!(
            "<li>Tariff “{}”. In {} the scenario's file gave the orders, in {} the households \
             ordered by themselves, knowing only what they had metered before.</li>",
            escape(&run.tariff),
            count(run.slots_ordered_by_file, "quarter-hour", "quarter-hours"),
            count(run.slots_ordered_by_households, "quarter-hour", "quarter-hours"),
        ),
    );
    let fees = [
        ("leaving or entering a building", run.fees.building_nano_per_wh),
        ("the street's cables", run.fees.street_nano_per_wh),
        ("a transformer", run.fees.transformer_nano_per_wh),
        ("medium voltage", run.fees.substation_nano_per_wh),
    ];
    let fees = fees.into_iter().filter(|(_, fee)| *fee > 0 && run.on_feeder);
    let fees: Vec<String> =
        fees.map(|(what, fee)| format!("{} ct/kWh for {what}", cents(fee))).collect();
    if !fees.is_empty() {
        put(
            html,
            format_args!(
                "<li>In the auctions, traded energy pays the grid for what it uses, losses included: \
                 {}.</li>",
                fees.join(", ")
            ),
        );
    }
    html.push_str(if run.batteries == "simulated" {
        "<li>Batteries start empty and are run here: alone, each serves its own house; in the \
         auction, each follows its household's plan. Rules that share afterwards tell a battery \
         nothing beforehand, so there it serves its own house. What is left in them at the end counts \
         at the feed-in price.</li>"
    } else {
        "<li>Batteries did what was metered. Sharing rules move money, not energy, so the feeder's \
         figures are the same with and without them.</li>"
    });
    html.push_str(
        "<li>“Alone” is retail for every kWh drawn and feed-in for every kWh given. Benefit is the \
         bill alone minus the bill with the rule. The Gini coefficient says how unevenly benefits are \
         spread: 0 when all gain the same, near 1 when one gains everything.</li>\
         <li>Voltages and loadings come from an exact power flow per quarter-hour (balanced phases, \
         constant power, cables and transformer by their series impedance). The allowed band is \
         ±10 % (EN 50160). Single-phase devices and peaks within a quarter-hour are not seen.</li>\
         <li>Elsewhere: in the Quartierstrom pilot (37 households, a year) self-sufficiency was 33 % = \
         18 % own roof + 15 % neighbours, self-consumption about 60 % = 33 % + 27 %. A simulation of 100 \
         households by Mengelkamp and others (2018) saw up to 40 % less residual peak.</li>\
         </ul></section>",
    );
}

fn put(html: &mut String, arguments: std::fmt::Arguments<'_>) {
    html.write_fmt(arguments).expect("a string takes everything");
}

/// The date of a slot.
fn day(slot: &str) -> &str {
    slot.get(..10).unwrap_or(slot)
}

/// Text that is safe inside of HTML and its attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            _ => safe.push(c),
        }
    }
    safe
}
