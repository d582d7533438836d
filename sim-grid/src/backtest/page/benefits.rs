//! Who gains how much by each rule: a bar and a row per customer, the largest gain first.

use super::super::report::{CustomerFacts, CustomerFigures, Report, RuleFigures};
use super::super::rule::Rule;
use super::super::text::{count, kwh, money, whole_money, whole_percent};
use super::chart::{self, WIDTH, tenths};
use super::{escape, put};

/// Customers that get a labelled bar; larger streets get a silhouette.
const LABELLED: usize = 60;
/// Bars in one column; more stand in two where there is room.
const COLUMN: usize = 24;
/// Height of a labelled bar.
const BAR: i64 = 13;

pub fn section(html: &mut String, report: &Report, first: &str) {
    put(
        html,
        format_args!(
            "<section aria-labelledby=\"who\"><h2 id=\"who\">Who gains how much</h2>\
             <p class=\"lead\">The bill alone minus the bill with the rule, in {}. Bars to the left \
             are losses. Choose a rule:</p><div class=\"switch\" role=\"radiogroup\" \
             aria-label=\"Rule\">",
            escape(&report.run.currency)
        ),
    );
    let rules = || report.rules.iter().filter(|rule| rule.rule != Rule::None.name());
    for rule in rules() {
        let (id, title) = (&rule.rule, escape(&rule.title));
        let checked = if rule.rule == first { " checked" } else { "" };
        put(
            html,
            format_args!(
                "<input type=\"radio\" name=\"rule\" id=\"rule-{id}\"{checked}>\
                 <label for=\"rule-{id}\">{title}</label>"
            ),
        );
    }
    for rule in rules() {
        pane(html, report, rule);
    }
    html.push_str("</div></section>");
}

fn pane(html: &mut String, report: &Report, rule: &RuleFigures) {
    let mut order: Vec<(&CustomerFacts, &CustomerFigures)> =
        report.customers.iter().zip(&rule.customers).collect();
    order.sort_by_key(|(_, figures)| std::cmp::Reverse(figures.benefit_nano));
    put(
        html,
        format_args!(
            "<div class=\"pane pane-rule-{}\"><p>{} Saves the street <b>{} {}</b>; {} of {} gain{}.</p>",
            rule.rule,
            escape(&rule.meaning),
            whole_money(rule.saving_nano),
            escape(&report.run.currency),
            rule.better_off,
            report.customers.len(),
            match rule.worse_off.len() {
                0 => ", nobody loses".to_owned(),
                1 => ", <b class=\"bad\">1 loses</b>".to_owned(),
                many => format!(", <b class=\"bad\">{many} lose</b>"),
            }
        ),
    );
    if order.len() <= LABELLED {
        html.push_str(
            "<p class=\"key\"><span><i class=\"home\"></i>buys only</span> <span><i class=\"sun\"></i>has \
             a roof with PV</span> <span><i class=\"loss\"></i>loses</span></p>",
        );
    }
    html.push_str("<div class=\"who\">");
    if order.len() <= LABELLED {
        let reach = reach(&order);
        let columns = if order.len() > COLUMN { 2 } else { 1 };
        for (column, part) in order.chunks(order.len().div_ceil(columns).max(1)).enumerate() {
            html.push_str("<figure class=\"wide\">");
            bars(html, &format!("{}-{column}", rule.rule), &rule.title, part, reach);
            html.push_str("</figure>");
        }
    } else {
        html.push_str("<figure class=\"wide\">");
        silhouette(html, rule, &order);
        html.push_str("</figure>");
    }
    html.push_str("<div class=\"groups\">");
    let currency = escape(&report.run.currency);
    group(html, "Who only buys", &currency, &order, |facts| facts.generation_wh == 0);
    group(html, "Who has a roof with PV", &currency, &order, |facts| facts.generation_wh > 0);
    html.push_str("</div></div>");
    table(html, rule, &order);
    html.push_str("</div>");
}

type Order<'o> = [(&'o CustomerFacts, &'o CustomerFigures)];

/// What a group gains on average, and from whom to whom.
fn group(
    html: &mut String,
    title: &str,
    currency: &str,
    order: &Order<'_>,
    is_in: impl Fn(&CustomerFacts) -> bool,
) {
    let group: Vec<_> = order.iter().filter(|(facts, _)| is_in(facts)).collect();
    let (Some((_, most)), Some((_, least))) = (group.first(), group.last()) else { return };
    let sum = |of: &dyn Fn(&CustomerFacts, &CustomerFigures) -> i64| -> i128 {
        group.iter().map(|(facts, figures)| i128::from(of(facts, figures))).sum()
    };
    let gain = sum(&|_, figures| figures.benefit_nano);
    let mean = i64::try_from(gain / group.len() as i128).expect("a mean lies inside");
    let alone = sum(&|facts, _| facts.alone_nano);
    let part =
        (alone > 0).then(|| gain * 1_000_000 / alone).and_then(|ppm| i64::try_from(ppm).ok());
    let part = part.map_or_else(String::new, |ppm| {
        format!(", {} of what they pay alone", whole_percent(ppm.abs()))
    });
    put(
        html,
        format_args!(
            "<div class=\"fact\"><h3>{title}: {}</h3><p>{} <b>{}</b> {currency} on average{part}</p>\
             <p class=\"key\">From {} ({}) to {} ({}); half of them above {}.</p></div>",
            count(group.len() as u64, "customer", "customers"),
            if mean < 0 { "lose" } else { "gain" },
            money(mean.abs()),
            money(least.benefit_nano),
            escape(&least.customer),
            money(most.benefit_nano),
            escape(&most.customer),
            money(group[group.len() / 2].1.benefit_nano)
        ),
    );
}

fn describe(order: &Order<'_>) -> String {
    let text = |pair: Option<&(&CustomerFacts, &CustomerFigures)>| {
        pair.map_or_else(String::new, |(_, figures)| {
            format!("{} {}", escape(&figures.customer), money(figures.benefit_nano))
        })
    };
    format!("Largest benefit: {}. Smallest: {}.", text(order.first()), text(order.last()))
}

/// Left and right end of all bars, zero included.
fn reach(order: &Order<'_>) -> (i64, i64) {
    let all = order.iter().map(|(_, figures)| figures.benefit_nano);
    (all.clone().min().unwrap_or(0).min(0), all.max().unwrap_or(0).max(1))
}

/// A column of bars; all columns have the same scale, from `low` to `high`.
fn bars(html: &mut String, id: &str, title: &str, order: &Order<'_>, (low, high): (i64, i64)) {
    let height = BAR * i64::try_from(order.len()).expect("a street") + 4;
    let title = format!("Benefit per customer, {title}");
    chart::open(html, &format!("who-{id}"), height, &title, &describe(order));
    // Room for the name on the left and the amount at the bar's end.
    let (left, width) = (66_i64, WIDTH - 66 - 46);
    let wide = |nano: i64| -> i64 {
        let span = i128::from(high) - i128::from(low);
        let part = (i128::from(nano) - i128::from(low)) * i128::from(width * 10) / span;
        left * 10 + i64::try_from(part).expect("inside of the picture")
    };
    for (i, (facts, figures)) in order.iter().enumerate() {
        let y = BAR * i64::try_from(i).expect("a street") + 2;
        let (zero, end) = (wide(0), wide(figures.benefit_nano));
        let class = match (figures.benefit_nano < 0, facts.generation_wh > 0) {
            (true, _) => "loss",
            (false, true) => "sun",
            (false, false) => "home",
        };
        put(
            html,
            format_args!(
                "<text class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
                 <rect class=\"{class} fill\" x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{}\"><title>{}: \
                 {}</title></rect><text class=\"tick\" x=\"{}\" y=\"{}\">{}</text>",
                left - 5,
                y + 9,
                escape(&figures.customer),
                tenths(zero.min(end)),
                tenths((zero - end).abs().max(5)),
                BAR - 3,
                escape(&figures.customer),
                money(figures.benefit_nano),
                tenths(zero.max(end) + 30),
                y + 9,
                money(figures.benefit_nano)
            ),
        );
    }
    let zero = tenths(wide(0));
    put(html, format_args!("<path class=\"axis\" d=\"M{zero} 0V{height}\"/></svg>"));
}

/// Many customers: their benefits from left to right as one shape.
fn silhouette(html: &mut String, rule: &RuleFigures, order: &Order<'_>) {
    let (low, high) = reach(order);
    let span = i64::try_from(order.len()).expect("a street");
    // Thousandths of the currency keep the picture's arithmetic small.
    let small = |nano: i64| nano / 1_000_000;
    let frame =
        chart::Frame { area: (40, 10, 312, 170), span, low: small(low), high: small(high).max(1) };
    let id = format!("who-{}", rule.rule);
    chart::open(html, &id, 206, &format!("Benefit per customer, {}", rule.title), &describe(order));
    frame.scale(html, |value| super::super::text::decimal(value, 1_000, 0));
    let steps = (0..).zip(order).flat_map(|(i, (_, figures))| {
        let value = small(figures.benefit_nano);
        [(i, value), (i + 1, value)]
    });
    let points: Vec<(i64, i64)> = steps.collect();
    put(html, format_args!("<path class=\"near fill\" d=\"{}\"/>", frame.area(&points, 0)));
    put(
        html,
        format_args!(
            "<path class=\"axis\" d=\"M40 {}h312\"/><text class=\"tick\" x=\"40\" y=\"200\">customers, \
             the largest benefit first</text></svg>",
            tenths(frame.y(0))
        ),
    );
}

fn table(html: &mut String, rule: &RuleFigures, order: &Order<'_>) {
    put(
        html,
        format_args!(
            "<details><summary>Every customer as a table</summary><div class=\"scroll\" tabindex=\"0\" \
             role=\"region\" aria-label=\"Customers, {}\"><table><thead><tr><th scope=\"col\">Customer</th>\
             <th scope=\"col\">Has</th><th scope=\"col\">Alone</th><th scope=\"col\">With the rule</th>\
             <th scope=\"col\">Benefit</th><th scope=\"col\">From neighbours, kWh</th>\
             <th scope=\"col\">To neighbours, kWh</th></tr></thead><tbody>",
            escape(&rule.title)
        ),
    );
    for (facts, figures) in order {
        let has =
            if facts.devices.is_empty() { facts.kind.clone() } else { facts.devices.join(", ") };
        let class = if figures.benefit_nano < 0 { " class=\"bad\"" } else { "" };
        put(
            html,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td{class}>{}</td><td>{}</td>\
                 <td>{}</td></tr>",
                escape(&facts.customer),
                escape(&has.replace('_', " ")),
                money(facts.alone_nano),
                money(figures.bill_nano),
                money(figures.benefit_nano),
                kwh(figures.bought_wh),
                kwh(figures.sold_wh)
            ),
        );
    }
    html.push_str("</tbody></table></div></details>");
}
