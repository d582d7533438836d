//! The figures of docs/sharing.md, computed: what every rule and key does to a real street in four
//! weeks. The tables in the docs are these lines, to the last digit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use market::sharing::{
    Allocation, Groups, HourLength, Inside, Key, Keys, Levels, Per, Period, Quarter, Rounds, Rule,
    allocate, overlay, roll_up, share,
};
use market::{Metered, Terms};
use units::{Energy, Money, PointId, Slot, split};

use crate::sharing_reference::{Weeks, customers, lines, weeks};

/// Gains against being alone, nano-currency.
#[derive(Default)]
struct Gains {
    by_point: BTreeMap<PointId, i64>,
}

impl Gains {
    fn add(&mut self, point: &PointId, gain: Money) {
        *self.by_point.entry(point.clone()).or_default() += gain.nano();
    }

    /// Gains of households and businesses without a roof, of the roofs, of all; and how many are
    /// worse off than alone.
    fn line(&self, kinds: &BTreeMap<PointId, Kind>) -> String {
        let sum = |kind: Kind| -> i64 {
            let of = self.by_point.iter().filter(|(point, _)| kinds[point] == kind);
            of.map(|(_, gain)| gain).sum()
        };
        let sums = [sum(Kind::Household), sum(Kind::Business), sum(Kind::Roof)];
        let all = money(sums.iter().sum());
        let losers = self.by_point.values().filter(|&&gain| gain < 0).count();
        let [households, businesses, roofs] = sums.map(money);
        format!("{households} | {businesses} | {roofs} | {all} | {losers}")
    }
}

/// Who is looked at together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Household,
    Business,
    Roof,
}

/// Two decimals, half away from zero.
fn money(nano: i64) -> String {
    let cents = (nano.abs() + 5_000_000) / 10_000_000;
    let sign = if nano < 0 && cents > 0 { "−" } else { "" };
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}

fn kwh(energy: Energy) -> String {
    format!("{}.{:03}", energy.wh() / 1_000, energy.wh() % 1_000)
}

/// What a key does over the weeks.
#[derive(Default)]
struct ByKey {
    allocated: Energy,
    inside: Gains,
    /// Nano-currency.
    shortfall: i64,
    on_top: Gains,
}

struct Street {
    weeks: Weeks,
    kinds: BTreeMap<PointId, Kind>,
}

impl Street {
    fn slots<'a>(
        &'a self,
        terms: &'a [Terms],
    ) -> impl Iterator<Item = (Slot, Terms, &'a [Metered])> {
        let slots = self.weeks.meters.iter().zip(terms);
        slots.map(|((slot, metered), &terms)| (*slot, terms, metered.as_slice()))
    }

    fn by_rule(&self, rule: Rule, terms: &[Terms]) -> Gains {
        let mut gains = Gains::default();
        for (slot, terms, metered) in self.slots(terms) {
            let shares = share(rule, slot, terms, metered, None).expect("sound");
            for one in &shares.shares {
                gains.add(&one.point, one.alone(terms) - one.amount());
            }
        }
        gains
    }

    fn by_period(&self, terms: &[Terms]) -> Gains {
        let (mut gains, mut period) = (Gains::default(), Period::default());
        for (slot, terms, metered) in self.slots(terms) {
            period.add(slot, terms, metered).expect("sound");
            let alone = share(Rule::None, slot, terms, metered, None).expect("sound");
            alone.shares.iter().for_each(|one| gains.add(&one.point, one.amount()));
        }
        for bill in period.bills(|_| [0; 32]).expect("adds up") {
            gains.add(&bill.point, -bill.amount);
        }
        gains
    }

    /// A key's allocation at the middle price, and a market at the middle on top of it.
    fn by_key(&self, key: &Key, terms: &[Terms]) -> ByKey {
        let mut by_key = ByKey::default();
        for (slot, terms, metered) in self.slots(terms) {
            let legal = self.allocated(key, slot, metered);
            by_key.allocated += legal.total;
            let rule = Rule::Allocated { price: Inside::Middle };
            let inside = share(rule, slot, terms, metered, Some(&legal)).expect("sound");
            let market = share(Rule::MidMarket, slot, terms, metered, None).expect("sound");
            let both = overlay(terms, &legal, &market.transfers()).expect("sound");
            by_key.shortfall += both.shortfall.nano();
            for (one, line) in inside.shares.iter().zip(&both.lines) {
                let alone = one.alone(terms);
                by_key.inside.add(&one.point, alone - one.amount());
                by_key.on_top.add(&one.point, alone - line.residual - line.difference);
            }
        }
        by_key
    }

    fn allocated(&self, key: &Key, slot: Slot, metered: &[Metered]) -> Allocation {
        allocate(key, slot, metered, &[]).expect("sound")
    }

    fn fixed(&self, weights: &[i64], rounds: u8) -> Key {
        let parts = split(1_000_000, weights, |i| i);
        let parts = parts.into_iter().map(|part| u32::try_from(part).expect("at most a million"));
        let keys = self.weeks.points.iter().cloned().zip(parts).collect();
        let keys = Keys::new(keys).expect("a million");
        Key::Static { keys, rounds: Rounds::new(rounds).expect("few") }
    }

    fn keys(&self) -> Vec<(&'static str, Key)> {
        let mut import = vec![0; self.weeks.points.len()];
        for (_, metered) in &self.weeks.meters {
            for (sum, one) in import.iter_mut().zip(metered) {
                *sum += one.flow.map_or(0, |flow| flow.import.wh());
            }
        }
        let equal = vec![1; import.len()];
        let members = customers();
        let households = members.iter().filter(|member| member.kind == "household");
        let households = households.map(|member| member.point.clone()).collect();
        let mut cables: BTreeMap<String, Vec<PointId>> = BTreeMap::new();
        for member in &members {
            cables.entry(cable(&member.bus)).or_default().push(member.point.clone());
        }
        assert!(cables.len() > 1, "several cables leave the transformer");
        let levels = Levels::new(vec![households]).expect("once");
        let tiers = vec![Groups::new(cables).expect("one cable each")];
        vec![
            ("static, equal parts, 1 round", self.fixed(&equal, 1)),
            ("static, by consumption, 1 round", self.fixed(&import, 1)),
            ("static, equal parts, 3 rounds", self.fixed(&equal, 3)),
            ("pro rata", Key::ProRata),
            ("cascade, households first", Key::Cascade { levels }),
            ("hierarchical, own cable first", Key::Hierarchical { tiers }),
        ]
    }
}

/// The first bus after the transformer on the way to a bus.
fn cable(bus: &str) -> String {
    let lines = lines();
    let mut bus = bus;
    while let Some(from) = lines.get(bus) {
        if !lines.contains_key(from) {
            break;
        }
        bus = from;
    }
    bus.to_owned()
}

fn rules_table(street: &Street, tariff: &str) -> String {
    let terms = street.weeks.terms(tariff);
    let mut text = String::new();
    let mut row = |name: &str, gains: Gains| {
        writeln!(text, "| {name} | {} |", gains.line(&street.kinds)).expect("a string");
    };
    row("mid-market", street.by_rule(Rule::MidMarket, &terms));
    row("supply-demand", street.by_rule(Rule::SupplyDemand, &terms));
    let interval = Rule::BillSharing { per: Per::Interval };
    row("bill sharing per interval", street.by_rule(interval, &terms));
    row("bill sharing per period", street.by_period(&terms));
    text
}

/// What the keys allocate at the middle price, and a market on top of them.
fn key_tables(street: &Street, tariff: &str) -> (String, String) {
    let terms = street.weeks.terms(tariff);
    let (mut inside, mut on_top) = (String::new(), String::new());
    for (name, key) in street.keys() {
        let by_key = street.by_key(&key, &terms);
        let gains = by_key.inside.line(&street.kinds);
        writeln!(inside, "| {name} | {} | {gains} |", kwh(by_key.allocated)).expect("a string");
        let gains = by_key.on_top.line(&street.kinds);
        writeln!(on_top, "| {name} | {} | {gains} |", money(by_key.shortfall)).expect("a string");
    }
    (inside, on_top)
}

/// A key for every hour of the day and week of the year, from what pro rata gave in the same weeks.
fn hourly_keys_line(street: &Street, tariff: &str) -> String {
    let terms = street.weeks.terms(tariff);
    // Weeks begin on Monday; the epoch began on a Thursday.
    let class = |slot: Slot| ((slot.number() + 3 * 96) / (7 * 96), slot.number() % 96 / 4);
    let mut history: BTreeMap<(i64, i64), Vec<Allocation>> = BTreeMap::new();
    for (slot, _, metered) in street.slots(&terms) {
        history.entry(class(slot)).or_default().push(street.allocated(
            &Key::ProRata,
            slot,
            metered,
        ));
    }
    let rounds = Rounds::default();
    let keys: BTreeMap<(i64, i64), Key> = history
        .iter()
        .filter_map(|(class, history)| {
            Some((*class, Key::Static { keys: Keys::of_history(history)?, rounds }))
        })
        .collect();
    let total: Energy = street
        .slots(&terms)
        .filter_map(|(slot, _, metered)| {
            Some(street.allocated(keys.get(&class(slot))?, slot, metered).total)
        })
        .sum();
    format!("{} kWh", kwh(total))
}

fn hours_table(street: &Street) -> String {
    let quarters: Vec<Quarter> = street
        .weeks
        .meters
        .iter()
        .map(|(slot, metered)| Quarter { slot: *slot, metered })
        .collect();
    let shared = |length| -> Energy {
        let hours = roll_up(length, &quarters).expect("in order");
        hours.iter().map(|hour| hour.shared().expect("complete")).sum()
    };
    let quarter: Energy = street
        .weeks
        .meters
        .iter()
        .map(|(slot, metered)| street.allocated(&Key::ProRata, *slot, metered).total)
        .sum();
    let (half, hour) = (shared(HourLength::HalfHour), shared(HourLength::Hour));
    format!("| {} | {} | {} |\n", kwh(quarter), kwh(half), kwh(hour))
}

#[test]
fn the_tables_in_the_docs_are_computed() {
    let weeks = weeks();
    let mut exports = vec![0; weeks.points.len()];
    for (_, metered) in &weeks.meters {
        for (sum, one) in exports.iter_mut().zip(metered) {
            *sum += one.flow.map_or(0, |flow| flow.export.wh());
        }
    }
    let kinds: BTreeMap<PointId, Kind> = customers()
        .into_iter()
        .zip(exports)
        .map(|(member, wh)| {
            let household = member.kind == "household";
            let without = if household { Kind::Household } else { Kind::Business };
            (member.point, if wh > 0 { Kind::Roof } else { without })
        })
        .collect();
    let count = |kind: Kind| kinds.values().filter(|one| **one == kind).count();
    let counts = [Kind::Household, Kind::Business, Kind::Roof].map(count);
    assert_eq!(counts, [25, 6, 10]);
    let street = Street { weeks, kinds };
    let (inside, on_top) = key_tables(&street, "flat");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sharing.md");
    let docs = std::fs::read_to_string(&path).unwrap_or_default();
    let tables = [
        ("rules, flat", rules_table(&street, "flat")),
        ("rules, dyn", rules_table(&street, "dyn")),
        ("rules, lcl", rules_table(&street, "lcl")),
        ("keys, flat", inside),
        ("ledgers, flat", on_top),
        ("hours", hours_table(&street)),
        ("static by the hour", hourly_keys_line(&street, "flat")),
    ];
    let wrong: Vec<String> = tables
        .iter()
        .filter(|(_, table)| !docs.contains(table.as_str()))
        .map(|(name, table)| format!("{name}:\n{table}"))
        .collect();
    assert!(wrong.is_empty(), "{} does not have these rows:\n{}", path.display(), wrong.join("\n"));
}
