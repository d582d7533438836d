//! What local energy cost: prices by how much energy they moved, between the supplier's two.

use super::super::report::{Report, RuleFigures};
use super::super::text::{cents, decimal, kwh};
use super::chart::{self, Frame, tenths};
use super::{escape, put};

const HEIGHT: i64 = 230;

pub fn section(html: &mut String, report: &Report) {
    let priced = |rule: &&RuleFigures| {
        rule.price_duration.iter().any(|point| point.nano_per_wh != 0) && rule.local_price.is_some()
    };
    let rules: Vec<&RuleFigures> = report.rules.iter().filter(priced).collect();
    html.push_str(
        "<section aria-labelledby=\"prices\"><h2 id=\"prices\">What local energy costs</h2>",
    );
    let Some(first) = rules.iter().find_map(|rule| rule.local_price) else {
        html.push_str("<p class=\"lead\">No local energy had a price in this run.</p></section>");
        return;
    };
    html.push_str(
        "<p class=\"lead\">Local energy sorted by its price: how large a part of it cost at least \
         that much. Between the supplier's two prices (the grey band) buyer and seller both gain; \
         rules only differ in how they split it. Rules that share bills have no price inside.</p>",
    );
    let references = [first.retail_nano_per_wh, first.feed_in_nano_per_wh];
    picture(html, &rules, references);
    table(html, &rules);
    html.push_str("</section>");
}

/// The curves over the band between `references`, retail and feed-in.
fn picture(html: &mut String, rules: &[&RuleFigures], references: [i64; 2]) {
    let all = rules.iter().flat_map(|rule| &rule.price_duration).map(|point| point.nano_per_wh);
    let high = all.clone().chain(references).max().unwrap_or(1);
    let low = all.chain(references).min().unwrap_or(0).min(0);
    let frame = Frame { area: (30, 12, 310, 180), span: 1_000_000, low, high: high + high / 20 };
    let description = rules.iter().filter_map(|rule| {
        let price = rule.local_price?;
        Some(format!(
            "{}: {} ct/kWh on average. ",
            escape(&rule.title),
            cents(price.paid_nano_per_wh)
        ))
    });
    let description: String = description.collect();
    html.push_str("<figure class=\"wide\">");
    chart::open(html, "prices-p", HEIGHT, "Price duration of local energy", &description);
    let (top, bottom) = (frame.y(references[0]), frame.y(references[1]));
    put(
        html,
        format_args!(
            "<rect class=\"band\" x=\"30\" y=\"{}\" width=\"310\" height=\"{}\"/>",
            tenths(top),
            tenths((bottom - top).max(0))
        ),
    );
    frame.scale(html, |nano| decimal(nano, 10_000, 0));
    frame.below(html, &[0, 25, 50, 75, 100].map(|share| (share * 10_000, format!("{share} %"))));
    put(
        html,
        format_args!(
            "<text class=\"tick\" x=\"338\" y=\"{}\" text-anchor=\"end\">retail {}</text>\
             <text class=\"tick\" x=\"338\" y=\"{}\" text-anchor=\"end\">feed-in {}</text>",
            tenths(top - 30),
            cents(references[0]),
            tenths(bottom + 110),
            cents(references[1])
        ),
    );
    for (i, rule) in rules.iter().enumerate() {
        let points = rule.price_duration.iter().map(|point| (point.share_ppm, point.nano_per_wh));
        let path = frame.line(points);
        put(html, format_args!("<path class=\"curve c{i}\" d=\"{path}\"/>"));
    }
    html.push_str("<text class=\"tick\" x=\"30\" y=\"224\">part of the local energy · ct/kWh upwards</text></svg><p class=\"key\">");
    for (i, rule) in rules.iter().enumerate() {
        put(
            html,
            format_args!(
                "<span><svg class=\"dash\" viewBox=\"0 0 28 8\" aria-hidden=\"true\"><path class=\"curve \
                 c{i}\" d=\"M0 4h28\"/></svg>{}</span> ",
                escape(&rule.title)
            ),
        );
    }
    html.push_str("</p></figure>");
}

fn table(html: &mut String, rules: &[&RuleFigures]) {
    html.push_str(
        "<details><summary>These figures as a table</summary><div class=\"scroll\" tabindex=\"0\" \
         role=\"region\" aria-label=\"Local prices\"><table><thead><tr><th scope=\"col\">Rule</th>\
         <th scope=\"col\">Local energy, kWh</th><th scope=\"col\">Buyers pay, ct/kWh</th>\
         <th scope=\"col\">Sellers get</th><th scope=\"col\">Retail then</th>\
         <th scope=\"col\">Feed-in then</th><th scope=\"col\">25 % cost at least</th>\
         <th scope=\"col\">50 %</th><th scope=\"col\">75 %</th></tr></thead><tbody>",
    );
    for rule in rules {
        let Some(price) = rule.local_price else { continue };
        let [quarter, half, most] = [250_000, 500_000, 750_000].map(|share| at_least(rule, share));
        put(
            html,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{quarter}</td><td>{half}</td><td>{most}</td></tr>",
                escape(&rule.title),
                kwh(rule.local_wh),
                cents(price.paid_nano_per_wh),
                cents(price.earned_nano_per_wh),
                cents(price.retail_nano_per_wh),
                cents(price.feed_in_nano_per_wh)
            ),
        );
    }
    html.push_str("</tbody></table></div></details>");
}

/// The price that this part of a rule's local energy cost at least.
fn at_least(rule: &RuleFigures, share_ppm: i64) -> String {
    let reached = rule.price_duration.iter().find(|point| point.share_ppm >= share_ppm);
    reached.map_or_else(|| "–".to_owned(), |point| cents(point.nano_per_wh))
}
