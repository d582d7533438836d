//! The report as a person reads it in a terminal.

use std::fmt::Write;

use super::report::{Report, RuleFigures};
use super::text::{cents, hundredths, kilowatts, kwh, money, percent, pu};

/// A report as text, at most 100 columns wide.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    let (run, street) = (&report.run, &report.street);
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        writeln!(text, "{arguments}").expect("a string takes everything");
    };
    line(format_args!(
        "{}: {} customers, {} slots from {} to {}, tariff {}",
        run.scenario,
        report.customers.len(),
        run.slots,
        run.from,
        run.to,
        run.tariff
    ));
    line(format_args!(
        "  used {} kWh, produced {} kWh; own roofs cover {}; neighbours could share {} kWh",
        kwh(street.load_wh),
        kwh(street.generation_wh),
        percent(street.own_ppm),
        kwh(street.shareable_wh)
    ));
    line(format_args!(
        "  supplier: retail {} ct/kWh, feed-in {} ct/kWh on average{}",
        cents(street.retail_nano_per_wh),
        cents(street.feed_in_nano_per_wh),
        match street.inverted_slots {
            0 => String::new(),
            slots => format!("; in {slots} slots retail is not above feed-in"),
        }
    ));
    line(format_args!(
        "\n{:<25}{:>11}{:>10}{:>8}{:>10}{:>10}{:>9}{:>7}{:>8}",
        "rule", "bill", "saved", "self-", "self-", "local", "peak", "Gini", "worse"
    ));
    line(format_args!(
        "{:<25}{:>11}{:>10}{:>8}{:>10}{:>10}{:>9}{:>7}{:>8}",
        "", "", "", "suff.", "consum.", "ct/kWh", "kW", "", "off"
    ));
    for rule in &report.rules {
        line(format_args!(
            "{:<25}{:>11}{:>10}{:>8}{:>10}{:>10}{:>9}{:>7}{:>8}",
            rule.title,
            money(rule.bill_nano),
            money(rule.saving_nano),
            percent(rule.self_sufficiency_ppm),
            percent(rule.self_consumption_ppm),
            rule.local_price.map_or("–".to_owned(), |price| cents(price.paid_nano_per_wh)),
            kilowatts(rule.supplier_peak_import_w),
            gini(rule),
            rule.worse_off.len()
        ));
    }
    feeder(&mut text, report);
    text
}

fn feeder(text: &mut String, report: &Report) {
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        writeln!(text, "{arguments}").expect("a string takes everything");
    };
    line(format_args!(""));
    let states = [("before", Some(&report.feeder.before)), ("after", report.feeder.after.as_ref())];
    for (name, figures) in states {
        let Some(figures) = figures else { continue };
        let voltage = |extreme: &Option<super::report::Extreme>| {
            extreme.as_ref().map_or_else(String::new, |extreme| {
                format!("{} pu at {}", pu(extreme.upu), extreme.bus)
            })
        };
        let loading = figures.branches.iter().max_by_key(|branch| branch.highest_loading_ppm);
        line(format_args!(
            "feeder {name}: voltage {} to {}; {} slots out of band, {} overloaded; {} up to {}",
            voltage(&figures.lowest_voltage),
            voltage(&figures.highest_voltage),
            figures.voltage_violation_slots,
            figures.overload_slots,
            loading.map_or("", |branch| branch.id.as_str()),
            loading.map_or_else(String::new, |branch| percent(branch.highest_loading_ppm)),
        ));
    }
}

fn gini(rule: &RuleFigures) -> String {
    rule.gini_ppm.map_or("–".to_owned(), hundredths)
}
