//! The comparison as a person reads it.

use std::fmt::Write;

use super::feeder::FeederResult;
use super::sharing::SharingResult;
use super::{BookResult, Comparison, Finding, Judged};
use crate::bench::table::{duration, grouped};

/// A comparison as text, at most 118 columns wide.
#[must_use]
pub fn table(comparison: &Comparison) -> String {
    let mut text = String::new();
    let machine = &comparison.machine;
    line(&mut text, format_args!("{}", machine.describe()));
    for book in &comparison.books {
        one(&mut text, book);
    }
    for result in &comparison.feeder {
        feeder(&mut text, result);
    }
    sharing(&mut text, &comparison.sharing);
    line(
        &mut text,
        format_args!(
            "\nwelfare: share of the best possible, from fills alone; volume: distance to the nearest optimal \
         energy;\nkept: what buyers pay beyond what sellers get, as a share of the best welfare; beyond: lots \
         past limit + past quantity;\nagain, shuffled: whether a second run and a shuffled book give everybody \
         the same. Processor time, best of up to 5 runs."
        ),
    );
    line(&mut text, format_args!("compared in {:.0} s", comparison.seconds));
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a string takes everything");
}

fn one(text: &mut String, book: &BookResult) {
    line(text, format_args!("\n{} orders, {}", grouped(book.orders), book.kind.name()));
    line(
        text,
        format_args!(
            "  {:<24}{:<15}{:>10}{:>10}{:>11}{:>9}{:>14}{:>7}{:>10}",
            "engine", "method", "time", "welfare", "volume", "kept", "beyond", "again", "shuffled"
        ),
    );
    for row in &book.rows {
        match &row.finding {
            Finding::Judged(judged) => judged_line(text, row.engine, row.method, judged),
            Finding::Nothing { error } => nothing(text, row.engine, row.method, error),
        }
    }
}

fn judged_line(text: &mut String, engine: &str, method: &str, judged: &Judged) {
    let verdict = &judged.verdict;
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
    let volume = if verdict.welfare.is_some() {
        signed_percent(verdict.volume_error)
    } else {
        format!("{:.0} Wh", verdict.volume_error)
    };
    line(
        text,
        format_args!(
            "  {engine:<24}{method:<15}{:>10}{:>10}{:>11}{:>9}{:>14}{:>7}{:>10}",
            duration(judged.seconds * 1e6),
            share(verdict.welfare),
            volume,
            share(verdict.kept),
            format!("{} + {}", grouped(verdict.beyond_limit), grouped(verdict.beyond_quantity)),
            yes(judged.repeats),
            yes(judged.shuffles),
        ),
    );
    if verdict.imbalance_wh.abs() >= 0.5 {
        let wh = verdict.imbalance_wh;
        line(text, format_args!("  {:<39}  buyers get {wh:.0} Wh more than sellers give", ""));
    }
}

fn feeder(text: &mut String, result: &FeederResult) {
    let (orders, nodes) = (grouped(result.orders), result.nodes);
    line(
        text,
        format_args!("\n{orders} orders, random, on a feeder of {nodes} nodes with caps and fees"),
    );
    line(
        text,
        format_args!(
            "  {:<24}{:<15}{:>10}{:>13}{:>11}{:>14}{:>7}{:>10}",
            "engine", "method", "time", "welfare", "past cap", "beyond", "again", "shuffled"
        ),
    );
    for row in &result.rows {
        match &row.finding {
            Finding::Judged(judged) => line(
                text,
                format_args!(
                    "  {:<24}{:<15}{:>10}{:>13}{:>11}{:>14}{:>7}{:>10}",
                    row.engine,
                    row.method,
                    duration(judged.seconds * 1e6),
                    format!("{:.6} %", judged.welfare * 100.0),
                    judged.beyond_cap,
                    grouped(judged.beyond_limit),
                    yes(judged.repeats),
                    yes(judged.shuffles),
                ),
            ),
            Finding::Nothing { error } => nothing(text, row.engine, row.method, error),
        }
    }
}

fn sharing(text: &mut String, result: &SharingResult) {
    line(
        text,
        format_args!(
            "\nSharing {} slots of {} members from their meters alone",
            grouped(result.slots),
            result.members
        ),
    );
    line(
        text,
        format_args!(
            "  {:<24}{:<15}{:>10}{:>13}{:>22}{:>10}{:>10}",
            "engine", "key", "time", "shared", "most apart per slot", "again", "shuffled"
        ),
    );
    for row in &result.rows {
        match &row.finding {
            Finding::Judged(shared) => line(
                text,
                format_args!(
                    "  {:<24}{:<15}{:>10}{:>13}{:>22}{:>10}{:>10}",
                    row.engine,
                    row.key,
                    duration(shared.seconds * 1e6),
                    format!("{:.1} kWh", shared.total_kwh),
                    format!("{:.2} Wh", shared.most_apart_wh),
                    yes(shared.repeats),
                    yes(shared.shuffles),
                ),
            ),
            Finding::Nothing { error } => nothing(text, row.engine, row.key, error),
        }
    }
}

/// Why there is nothing to judge.
fn nothing(text: &mut String, engine: &str, method: &str, error: &str) {
    let reason: String = error.chars().take(76).collect();
    line(text, format_args!("  {engine:<24}{method:<15}  {reason}"));
}

const fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "NO" }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0 + 0.0)
}

fn signed_percent(share: f64) -> String {
    if share == 0.0 { "0".to_owned() } else { format!("{:+.2} %", share * 100.0) }
}
