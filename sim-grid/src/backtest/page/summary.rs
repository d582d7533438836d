//! All rules side by side.

use super::super::report::{Report, RuleFigures};
use super::super::text::{cents, hundredths, kilowatts, kwh, money, percent};
use super::{escape, put};

pub fn section(html: &mut String, report: &Report, shown: Option<&str>) {
    put(
        html,
        format_args!(
            "<section aria-labelledby=\"table\"><h2 id=\"table\">All rules side by side</h2>\
             <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"All rules\"><table \
             class=\"rules\"><thead><tr><th scope=\"col\">Rule</th><th scope=\"col\">Bill, {0}</th>\
             <th scope=\"col\">Saved, {0}</th><th scope=\"col\">Self-sufficiency</th>\
             <th scope=\"col\">Self-consumption</th><th scope=\"col\">Local energy, kWh</th>\
             <th scope=\"col\">Local price, ct/kWh</th><th scope=\"col\">Supplier's peak, kW</th>\
             <th scope=\"col\">Gini</th><th scope=\"col\">Worse off</th>\
             <th scope=\"col\">Congested</th></tr></thead><tbody>",
            escape(&report.run.currency)
        ),
    );
    for rule in &report.rules {
        row(html, rule, Some(rule.rule.as_str()) == shown);
    }
    html.push_str("</tbody></table></div><dl class=\"meanings\">");
    for rule in &report.rules {
        let (title, meaning) = (escape(&rule.title), escape(&rule.meaning));
        put(html, format_args!("<dt>{title}</dt><dd>{meaning}</dd>"));
    }
    html.push_str("</dl></section>");
}

fn row(html: &mut String, rule: &RuleFigures, is_shown: bool) {
    let class = if is_shown { " class=\"best\"" } else { "" };
    let worse = match rule.worse_off.len() {
        0 => "nobody".to_owned(),
        many => format!("<b class=\"bad\">{many}</b>"),
    };
    put(
        html,
        format_args!(
            "<tr{class}><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{worse}</td><td>{}</td></tr>",
            escape(&rule.title),
            money(rule.bill_nano),
            money(rule.saving_nano),
            percent(rule.self_sufficiency_ppm),
            percent(rule.self_consumption_ppm),
            kwh(rule.local_wh),
            rule.local_price.map_or("–".to_owned(), |price| cents(price.paid_nano_per_wh)),
            kilowatts(rule.supplier_peak_import_w),
            rule.gini_ppm.map_or("–".to_owned(), hundredths),
            rule.congested_slots
        ),
    );
}
