//! When the street uses energy and when it makes it: the average day of every month.

use super::super::report::{MonthFigures, Report};
use super::super::text::{decimal, kilowatts};
use super::chart::{self, Frame, tenths};
use super::put;

const HEIGHT: i64 = 178;
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub fn section(html: &mut String, report: &Report) {
    let all = report.months.iter().flat_map(|month| month.load_w.iter().chain(&month.generation_w));
    let high = all.copied().max().unwrap_or(0).max(1_000);
    html.push_str(
        "<section aria-labelledby=\"days\"><h2 id=\"days\">When the street uses and makes energy</h2>\
         <p class=\"lead\">The average day of each month, in kW and UTC. Where green fills the amber \
         hill, the sun is used inside the street; amber above it leaves the street.</p>\
         <p class=\"key\"><span><i class=\"home\"></i>used</span> <span><i class=\"sun\"></i>made \
         from sun</span> <span><i class=\"near\"></i>used inside the street</span></p>\
         <div class=\"grid\">",
    );
    for month in &report.months {
        picture(html, month, high);
    }
    html.push_str(
        "</div><details><summary>These figures as a table</summary><div class=\"scroll\" \
                   tabindex=\"0\" role=\"region\" aria-label=\"Average days\"><table><thead><tr>\
                   <th scope=\"col\">Month</th><th scope=\"col\">Hour, UTC</th>\
                   <th scope=\"col\">Used, kW</th><th scope=\"col\">Made, kW</th>\
                   <th scope=\"col\">Used inside, kW</th></tr></thead><tbody>",
    );
    for month in &report.months {
        for hour in (0..24).step_by(3) {
            let mean = |series: &[i64]| series[hour * 4..hour * 4 + 12].iter().sum::<i64>() / 12;
            put(
                html,
                format_args!(
                    "<tr><th scope=\"row\">{}</th><td>{hour}–{}</td><td>{}</td><td>{}</td>\
                     <td>{}</td></tr>",
                    name(&month.month),
                    hour + 3,
                    kilowatts(mean(&month.load_w)),
                    kilowatts(mean(&month.generation_w)),
                    kilowatts(mean(&month.covered_w))
                ),
            );
        }
    }
    html.push_str("</tbody></table></div></details></section>");
}

/// `July 2016` of `2016-07`.
fn name(month: &str) -> String {
    let number = month.get(5..7).and_then(|text| text.parse::<usize>().ok());
    let name = number.and_then(|number| MONTHS.get(number.wrapping_sub(1)));
    name.map_or_else(|| month.to_owned(), |name| format!("{name} {}", &month[..4]))
}

fn picture(html: &mut String, month: &MonthFigures, high: i64) {
    let frame = Frame { area: (30, 10, 310, 140), span: 96, low: 0, high };
    let title = name(&month.month);
    let peak = |series: &[i64]| kilowatts(series.iter().copied().max().unwrap_or(0));
    let description = format!(
        "Mean power over the day. Use peaks at {} kW, production at {} kW.",
        peak(&month.load_w),
        peak(&month.generation_w)
    );
    put(html, format_args!("<figure><figcaption>{title}</figcaption>"));
    chart::open(html, &format!("d{}", month.month), HEIGHT, &title, &description);
    frame.scale(html, |w| decimal(w, 1_000, 0));
    let hours = [0, 6, 12, 18, 24].map(|hour| (hour * 4, format!("{hour}:00")));
    frame.below(html, &hours);
    let points = |series: &[i64]| -> Vec<(i64, i64)> {
        // Each value holds for its quarter-hour: a point in its middle would hide noon's edge.
        (0..).zip(series.iter().copied()).flat_map(|(i, w)| [(i, w), (i + 1, w)]).collect()
    };
    put(
        html,
        format_args!(
            "<path class=\"sun fill\" d=\"{}\"/>",
            frame.area(&points(&month.generation_w), 0)
        ),
    );
    put(
        html,
        format_args!(
            "<path class=\"near fill\" d=\"{}\"/>",
            frame.area(&points(&month.covered_w), 0)
        ),
    );
    let load = frame.line(points(&month.load_w).into_iter());
    put(html, format_args!("<path class=\"home line\" d=\"{load}\"/>"));
    let base = tenths(frame.y(0));
    put(html, format_args!("<path class=\"axis\" d=\"M30 {base}h310\"/></svg></figure>"));
}
