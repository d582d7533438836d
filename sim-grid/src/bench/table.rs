//! The figures as a person reads them.

use std::fmt::Write;

use super::agent::{AgentCost, LoadCost};
use super::clearing::ClearingCost;
use super::readings::ReadingCost;
use super::speed::{Figure, Goal, Share, Unit};
use super::street::StreetCost;
use super::{Report, Spread};

/// A report as text, at most 100 columns wide.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    line(&mut text, format_args!("{}", report.machine.describe()));
    let memory = report.memory.as_ref().map(super::speed::MemoryCost::figure);
    let figures: Vec<Figure> = report.speed.iter().flatten().cloned().chain(memory).collect();
    if !figures.is_empty() {
        speed(&mut text, &figures);
    }
    if let Some(costs) = &report.clearing {
        clearing(&mut text, costs);
    }
    if let Some(cost) = &report.readings {
        readings(&mut text, cost);
    }
    if let Some(cost) = &report.street {
        street(&mut text, cost);
    }
    if let Some(cost) = &report.agent {
        agent(&mut text, cost);
    }
    line(&mut text, format_args!("\nmeasured in {:.0} s", report.seconds));
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a string takes everything");
}

fn speed(text: &mut String, figures: &[Figure]) {
    line(text, format_args!("\nSpeed beside its goals (processor time, best of several runs)"));
    for figure in figures {
        let times = match (figure.ours_us, figure.yardstick) {
            (Some(ours), Some((name, theirs))) => {
                format!("{} : {name} {}", duration(ours), duration(theirs))
            }
            _ => String::new(),
        };
        let goal = match figure.goal {
            Some(Goal::AtMost(most)) => format!("<= {}", amount(most, figure.unit)),
            Some(Goal::AtLeast(least)) => format!(">= {}", amount(least, figure.unit)),
            None => String::new(),
        };
        let met = match figure.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let measured = amount(figure.measured, figure.unit);
        let row = format!("  {:<41}{times:>25}{measured:>13}{goal:>12} {met}", figure.what);
        line(text, format_args!("{}", row.trim_end()));
        if let Some(Share { share, of, us }) = figure.also {
            let share = amount(share, Unit::Share);
            line(text, format_args!("    and {share} of {of}, {}", duration(us)));
        }
        if let Some(flaw) = &figure.flaw {
            line(text, format_args!("    {}", flaw.chars().take(90).collect::<String>()));
        }
    }
}

fn amount(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Times | Unit::TimesFaster if value < 9.995 => format!("{value:.2}x"),
        Unit::Times | Unit::TimesFaster => format!("{value:.0}x"),
        Unit::Share => format!("{:.1} %", value * 100.0),
        Unit::Seconds => duration(value * 1e6),
        Unit::SlotsPerSecond => format!("{} /s", rounded(value)),
        Unit::Megabytes => format!("{value:.0} MB"),
    }
}

fn clearing(text: &mut String, costs: &[ClearingCost]) {
    line(text, format_args!("\nClearing one slot (median, best in brackets)"));
    line(
        text,
        format_args!(
            "{:>8} {:>15} {:>23} {:>23} {:>13} {:>13}",
            "orders", "price levels", "linear program", "merit order", "LP / merit", "merit / sort"
        ),
    );
    for cost in costs {
        line(
            text,
            format_args!(
                "{:>8} {:>15} {:>23} {:>23} {:>12.1}x {:>12.1}x",
                grouped(cost.orders),
                format!("{} + {}", grouped(cost.bid_levels), grouped(cost.ask_levels)),
                spread(cost.lp),
                spread(cost.merit_order),
                cost.lp_by_merit_order,
                cost.merit_order_by_sort,
            ),
        );
        if cost.method != "lp" {
            line(text, format_args!("         the merit order answered: {}", cost.method));
        }
    }
    line(
        text,
        format_args!(
            "  linear program and merit order with proof and everybody's share; sort: match limits only"
        ),
    );
}

fn readings(text: &mut String, cost: &ReadingCost) {
    line(
        text,
        format_args!(
            "\nReadings ({} households, {} slots, {} bytes each)",
            cost.households, cost.slots, cost.message_bytes
        ),
    );
    let mut rate = |what: &str, per_s: f64, desk_share: Option<f64>| {
        let share = desk_share.map(|share| {
            format!("   (desk {:.0} %, record {:.0} %)", share * 100.0, 100.0 - share * 100.0)
        });
        let (per_s, share) = (rounded(per_s), share.unwrap_or_default());
        line(text, format_args!("  {what:<54} {per_s:>10} /s{share}"));
    };
    rate("verified (parsed, digest, Ed25519, one core)", cost.verified_per_s, None);
    for stored in &cost.stored {
        let what = format!("verified and stored, {} in a transaction", stored.batch);
        rate(&what, stored.per_s, Some(stored.desk_share));
    }
    let settled = &cost.settled;
    let what = format!("verified, stored and settled, with {} bills", grouped(settled.bills));
    rate(&what, settled.per_s, Some(settled.desk_share));
    line(
        text,
        format_args!(
            "  {:<54} {:>13}",
            "one fsync of this disk (median)",
            duration(cost.fsync.median_us)
        ),
    );
}

fn street(text: &mut String, cost: &StreetCost) {
    line(
        text,
        format_args!(
            "\nStreet end to end ({} households, Modbus, MQTT, SQLite, EVM in one process)",
            cost.households
        ),
    );
    line(
        text,
        format_args!(
            "  {:<54} {:>10.2} /s   ({} in {:.1} s)",
            "slots, from offer to verified bill", cost.slots_per_s, cost.slots, cost.seconds
        ),
    );
    line(
        text,
        format_args!(
            "  {} orders, {} kWh traded, {} bills verified, {} epochs anchored",
            cost.orders,
            cost.cleared_wh / 1_000,
            cost.bills_verified,
            cost.epochs
        ),
    );
}

fn agent(text: &mut String, cost: &AgentCost) {
    line(text, format_args!("\nAgent process (Modbus devices polled each second, a slot in 10 s)"));
    let mut row = |what: &str, goal: &str, value: &dyn Fn(&LoadCost) -> String| {
        let cells: String = cost.loads.iter().map(|load| format!(" {:>11}", value(load))).collect();
        line(text, format_args!("  {what:<40} {goal:<14}{cells}"));
    };
    row("devices", "", &|load| load.devices.to_string());
    row("start to first signed reading", "<= 1 s", &|load| duration(load.cold_start_ms * 1e3));
    row("slot edges missed", "0", &|load| format!("{} of {}", load.missed_edges, load.edges));
    row("answers/s of the slowest device", "1", &|load| {
        format!("{:.2}", load.fewest_answers_per_s)
    });
    row("polls without an answer", "0", &|load| load.failures.to_string());
    row("resident memory", "<= 20 MiB", &|load| mebibytes(load.resident_kib * 1_024));
    row("most resident memory", "", &|load| mebibytes(load.peak_resident_kib * 1_024));
    row("of it not from the program file", "", &|load| mebibytes(load.own_kib * 1_024));
    row("threads", "", &|load| load.threads.to_string());
    row("part of one core", "<= 3 %", &|load| {
        load.cpu_ms_per_s.map_or_else(|| "unknown".to_owned(), |ms| format!("{:.2} %", ms / 10.0))
    });
    row("watched", "", &|load| format!("{:.0} s", load.watched_s));
    for program in &cost.programs {
        let what = format!("program file {}", program.name);
        line(text, format_args!("  {what:<54} {:>11}", mebibytes(program.bytes)));
    }
}

fn spread(spread: Spread) -> String {
    format!("{} ({})", duration(spread.median_us), duration(spread.best_us))
}

/// Three significant digits with a unit.
pub(super) fn duration(micros: f64) -> String {
    let (value, unit) = match micros {
        micros if micros < 999.5 => (micros, "us"),
        micros if micros < 999_500.0 => (micros / 1e3, "ms"),
        micros => (micros / 1e6, "s"),
    };
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {unit}")
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// A rate without decimals that nobody believes.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are small")]
fn rounded(per_s: f64) -> String {
    grouped(per_s.round().max(0.0) as usize)
}

/// 1234567 as 1,234,567.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::speed::MemoryCost;
    use super::super::{Machine, agent, readings};
    use super::*;

    fn figures() -> Vec<Figure> {
        vec![
            Figure {
                ours_us: Some(2_500.0),
                yardstick: Some(("sort", 1_000.0)),
                ..Figure::new(
                    "feeder, 10,000 lots, proven",
                    2.5,
                    Unit::Times,
                    Some(Goal::AtMost(4.0)),
                )
            },
            Figure::new("back-test", 4_000.0, Unit::SlotsPerSecond, Some(Goal::AtLeast(5e3))),
            Figure {
                also: Some(Share { share: 0.25, of: "clearing", us: 4_000.0 }),
                ..Figure::new("its proof", 0.0123, Unit::Share, None)
            },
        ]
    }

    fn agent_cost() -> AgentCost {
        AgentCost {
            loads: vec![agent::LoadCost {
                devices: 20,
                cold_start_ms: 412.5,
                watched_s: 30.2,
                edges: 4,
                missed_edges: 1,
                fewest_answers_per_s: 0.987,
                failures: 7,
                resident_kib: 8_192,
                peak_resident_kib: 9_216,
                own_kib: 2_048,
                threads: 2,
                cpu_ms_per_s: Some(4.25),
            }],
            programs: vec![agent::ProgramSize { name: "meter-agent", bytes: 4_946_144 }],
        }
    }

    fn report() -> Report {
        let spread = |best_us: f64| Spread { runs: 3, best_us, median_us: best_us * 1.5 };
        Report {
            machine: Machine {
                processor: Some("Example CPU".to_owned()),
                cores: 2,
                build: "release",
                load: Some(0.25),
            },
            speed: Some(figures()),
            memory: Some(MemoryCost { lots: 1_000_000, book_kib: 24_000, clearing_kib: 66_000 }),
            clearing: Some(vec![ClearingCost {
                orders: 100_000,
                bid_levels: 15_725,
                ask_levels: 15_703,
                cleared_wh: 1,
                method: "the solver was late".to_owned(),
                solve: spread(1.0),
                lp: spread(40_000.0),
                merit_order: spread(20_000.0),
                sort_and_match: spread(5_000.0),
                lp_by_merit_order: 2.0,
                merit_order_by_sort: 4.0,
            }]),
            readings: Some(ReadingCost {
                households: 200,
                slots: 50,
                message_bytes: 421,
                fsync: spread(100.0),
                verified_per_s: 20_000.4,
                stored: vec![readings::StoredRate {
                    batch: 512,
                    readings: 10_000,
                    per_s: 4_242.6,
                    desk_share: 0.2,
                }],
                settled: readings::SettledRate {
                    readings: 10_000,
                    slots: 50,
                    bills: 10_000,
                    per_s: 1_866.0,
                    desk_share: 0.456,
                },
            }),
            street: Some(StreetCost {
                households: 41,
                slots: 24,
                seconds: 3.0,
                slots_per_s: 8.0,
                orders: 882,
                cleared_wh: 129_999,
                bills_verified: 984,
                epochs: 6,
            }),
            agent: Some(agent_cost()),
            seconds: 61.4,
        }
    }

    #[test]
    fn a_report_fits_a_terminal_and_keeps_every_figure() {
        let text = table(&report());
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line:?} is too wide");
        }
        for figure in [
            "2 cores of Example CPU, release build, load 0.2",
            "2.50 ms : sort 1.00 ms        2.50x    <= 4.00x met",
            "4,000 /s >= 5,000 /s MISSED",
            "1.2 %\n    and 25.0 % of clearing, 4.00 ms\n",
            "92 MB   <= 200 MB met",
            "100,000 15,725 + 15,703",
            "60.0 ms (40.0 ms)       30.0 ms (20.0 ms)          2.0x          4.0x",
            "the merit order answered: the solver was late",
            "20,000 /s",
            "4,243 /s   (desk 20 %, record 80 %)",
            "150 us",
            "8.00 /s",
            "882 orders, 129 kWh traded, 984 bills verified, 6 epochs anchored",
            "8.0 MiB",
            "9.0 MiB",
            "0.42 %",
            "1 of 4",
            "0.99",
            "4.7 MiB",
            "measured in 61 s",
        ] {
            assert!(text.contains(figure), "no {figure:?} in\n{text}");
        }
    }

    #[test]
    fn a_part_that_was_not_measured_is_not_reported() {
        let report = Report { clearing: None, readings: None, street: None, ..report() };
        let text = table(&report);
        assert!(text.contains("Agent process") && !text.contains("Clearing"), "{text}");
        let json = serde_json::to_value(&report).expect("plain figures");
        assert!(json.get("clearing").is_none());
        assert_eq!(json["agent"]["programs"][0]["bytes"], 4_946_144);
    }

    #[test]
    fn numbers_for_people() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (100_000, "100,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), expected);
        }
        for (micros, expected) in [
            (0.5, "0.50 us"),
            (99.96, "100 us"),
            (12.34, "12.3 us"),
            (999.7, "1.00 ms"),
            (1_500_000.0, "1.50 s"),
        ] {
            assert_eq!(duration(micros), expected);
        }
        assert_eq!(mebibytes(5_767_168), "5.5 MiB");
    }
}
