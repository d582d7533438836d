//! The answer in words: is it worth it for our street?

use super::report::{FeederFigures, Report, RuleFigures};
use super::rule::Rule;
use super::text::{count, hundredths, kwh, money, percent, pu, whole_money, whole_percent};

/// What a board should know after half a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Yes, hardly or no, with the figure that says so.
    pub headline: String,
    /// The rule that the page shows first: of those that leave nobody worse off, the one that saves
    /// most, and among equals the one that spreads it most evenly.
    pub rule: Option<String>,
    /// What is behind it, one sentence or two each.
    pub reasons: Vec<String>,
}

/// A saving below this share of the bill is hardly worth a community's trouble.
const HARDLY_PPM: i64 = 20_000;
/// Days of a mean month, in hundredths.
const MONTH_HUNDREDTH_DAYS: i64 = 3_044;

/// Reads the report for a board.
#[must_use]
pub fn verdict(report: &Report) -> Verdict {
    let sharing = || report.rules.iter().filter(|rule| rule.rule != Rule::None.name());
    let fair = sharing().filter(|rule| rule.worse_off.is_empty() && rule.saving_nano > 0);
    // Sums of the same energy may differ by a last unit; a thousandth is the same.
    let best_saving = fair.clone().map(|rule| rule.saving_nano).max();
    let best = best_saving.and_then(|most| {
        let near = fair.filter(|rule| rule.saving_nano >= most - most / 1_000);
        near.min_by_key(|rule| rule.gini_ppm.unwrap_or(i64::MAX))
    });
    let mut reasons = Vec::new();
    let headline = match best {
        Some(best) => {
            reasons.push(spread(report, best));
            headline(report, best)
        }
        None if sharing().next().is_none() => {
            "Choose at least one rule beside “none” to compare.".to_owned()
        }
        None => no(report),
    };
    reasons.extend(ties(report, best));
    reasons.extend(losers(report));
    reasons.push(energy(report, best));
    reasons.push(feeder(&report.feeder.before, report.feeder.after.as_ref()));
    reasons.extend(peaks(report));
    reasons.push(
        "Not in these figures: what the community itself costs (meters, operator, work), and \
         lower grid fees that your country may grant for shared energy."
            .to_owned(),
    );
    Verdict { headline, rule: best.map(|rule| rule.rule.clone()), reasons }
}

fn headline(report: &Report, best: &RuleFigures) -> String {
    let trouble =
        |figures: &FeederFigures| figures.voltage_violation_slots + figures.overload_slots;
    let feeder = &report.feeder;
    let answer = match (best.saving_ppm, &feeder.after) {
        (Some(ppm), _) if ppm < HARDLY_PPM => "Hardly",
        (_, Some(after)) if trouble(after) > trouble(&feeder.before) => {
            "Yes, if the feeder is looked after"
        }
        _ => "Yes",
    };
    let share = best.saving_ppm.map_or_else(String::new, |ppm| format!(" ({})", percent(ppm)));
    format!(
        "{answer}: in {} the street would have paid {} {} less{share}, and nobody more than alone.",
        days(report),
        whole_money(best.saving_nano),
        report.run.currency
    )
}

fn no(report: &Report) -> String {
    if report.street.inverted_slots == report.run.slots {
        return "No: this tariff never pays less for surplus than energy costs, so neighbours \
                cannot gain from each other."
            .to_owned();
    }
    let gains = report.rules.iter().any(|rule| rule.saving_nano > 0);
    if gains {
        "Not like this: the street as a whole would save, but every rule tested leaves somebody \
         worse off than alone."
            .to_owned()
    } else {
        "No: the street would not have saved anything.".to_owned()
    }
}

fn days(report: &Report) -> String {
    count(report.days.len() as u64, "day", "days")
}

fn spread(report: &Report, best: &RuleFigures) -> String {
    let customers = i64::try_from(report.customers.len()).expect("a street").max(1);
    let days = i64::try_from(report.days.len()).expect("days").max(1);
    let monthly = best.saving_nano / customers / days * MONTH_HUNDREDTH_DAYS / 100;
    format!(
        "That is about {} {} per customer and month on average with the rule “{}”; {} of {} gain.",
        money(monthly),
        report.run.currency,
        best.title,
        best.better_off,
        report.customers.len()
    )
}

/// Rules that save as much as the best one, and how they differ.
fn ties(report: &Report, best: Option<&RuleFigures>) -> Option<String> {
    let best = best?;
    let near = |rule: &&RuleFigures| {
        rule.worse_off.is_empty()
            && rule.rule != best.rule
            && (best.saving_nano - rule.saving_nano).abs() <= best.saving_nano / 1_000
    };
    let others: Vec<&str> =
        report.rules.iter().filter(near).map(|rule| rule.title.as_str()).collect();
    let even = best.gini_ppm.map_or_else(String::new, |gini| {
        format!(" “{}” spreads it most evenly (Gini {}).", best.title, hundredths(gini))
    });
    (!others.is_empty()).then(|| {
        format!(
            "{} would have saved the street the same, without losers; rules differ in who gets \
             it.{even}",
            joined(&others)
        )
    })
}

fn joined(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("“{one}”"),
        [rest @ .., last] => {
            let rest: Vec<String> = rest.iter().map(|name| format!("“{name}”")).collect();
            format!("{} and “{last}”", rest.join(", "))
        }
    }
}

fn losers(report: &Report) -> Option<String> {
    let worst = report.rules.iter().max_by_key(|rule| rule.worse_off.len())?;
    let first = worst.worse_off.first()?;
    let loss = worst.customers.iter().find(|one| one.customer == *first)?;
    Some(format!(
        "Beware of “{}”: {} would have paid more than alone, {first} most with {} {}.",
        worst.title,
        count(worst.worse_off.len() as u64, "customer", "customers"),
        money(-loss.benefit_nano),
        report.run.currency
    ))
}

fn energy(report: &Report, best: Option<&RuleFigures>) -> String {
    let street = &report.street;
    let Some(best) = best else {
        return format!(
            "Own roofs cover {} of the {} kWh that the street uses.",
            whole_percent(street.own_ppm),
            kwh(street.load_wh)
        );
    };
    let from_grid = 1_000_000 - best.self_sufficiency_ppm;
    format!(
        "Of the {} kWh used, {} come from own roofs and batteries, {} from neighbours and {} from \
         the grid. Of the {} kWh produced, {} stay in the street instead of {}.",
        kwh(street.load_wh),
        whole_percent(best.self_sufficiency_ppm - best.from_neighbours_ppm),
        whole_percent(best.from_neighbours_ppm),
        whole_percent(from_grid),
        kwh(street.generation_wh),
        whole_percent(best.self_consumption_ppm),
        whole_percent(street.own_use_ppm)
    )
}

fn feeder(before: &FeederFigures, after: Option<&FeederFigures>) -> String {
    let now = after.unwrap_or(before);
    let busiest = now.branches.iter().max_by_key(|branch| branch.highest_loading_ppm);
    let busiest = busiest.map_or_else(String::new, |branch| {
        format!("{} reaches {}", branch.id, whole_percent(branch.highest_loading_ppm))
    });
    let (Some(low), Some(high)) = (&now.lowest_voltage, &now.highest_voltage) else {
        return String::new();
    };
    let voltages = format!("voltages lie between {} and {} pu", pu(low.upu), pu(high.upu));
    if now.voltage_violation_slots == 0 && now.overload_slots == 0 {
        return format!("The feeder carries it: {voltages} (0.9 to 1.1 are allowed), {busiest}.");
    }
    let was = match after {
        Some(_) => format!(
            " With everybody alone it was {} and {}.",
            count(before.voltage_violation_slots, "quarter-hour", "quarter-hours"),
            count(before.overload_slots, "quarter-hour", "quarter-hours")
        ),
        None => " Sharing as such moves no energy, so this is so today.".to_owned(),
    };
    format!(
        "The feeder is in trouble: {} with a voltage out of band, {} with an overloaded branch \
         ({voltages}, {busiest}).{was}",
        count(now.voltage_violation_slots, "quarter-hour", "quarter-hours"),
        count(now.overload_slots, "quarter-hour", "quarter-hours")
    )
}

/// Batteries that chase prices may raise the street's peak; that deserves a sentence.
fn peaks(report: &Report) -> Option<String> {
    let after = report.street_after.as_ref()?;
    let (before, now) = (report.street.peak_import_w, after.peak_import_w);
    let kilowatts = super::text::kilowatts;
    Some(if now > before + before / 50 {
        format!(
            "Mind the peak: batteries that follow prices together draw up to {} kW instead of {} \
             kW.",
            kilowatts(now),
            kilowatts(before)
        )
    } else {
        format!(
            "Batteries in the market leave the street's peak at {} kW (alone {} kW).",
            kilowatts(now),
            kilowatts(before)
        )
    })
}
