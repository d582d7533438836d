//! The parts that all pictures share: a frame with round ticks, lines and areas.

use super::put;

/// Width of a picture in its own units; a phone shows it at about this many pixels.
pub const WIDTH: i64 = 360;

/// A frame from (0, top) to (span, bottom) in data units.
pub struct Frame {
    /// Left, top, width and height of the plot inside of the picture.
    pub area: (i64, i64, i64, i64),
    /// Largest value across.
    pub span: i64,
    /// Lowest value upwards.
    pub low: i64,
    /// Highest value upwards.
    pub high: i64,
}

impl Frame {
    /// Tenths of a picture unit from the left.
    pub fn x(&self, value: i64) -> i64 {
        let (left, _, width, _) = self.area;
        left * 10 + value * width * 10 / self.span.max(1)
    }

    /// Tenths of a picture unit from the top.
    pub fn y(&self, value: i64) -> i64 {
        let (_, top, _, height) = self.area;
        top * 10 + (self.high - value) * height * 10 / (self.high - self.low).max(1)
    }

    /// Horizontal lines with labels at round values.
    pub fn scale(&self, svg: &mut String, label: impl Fn(i64) -> String) {
        let (left, _, width, _) = self.area;
        let step = round_step((self.high - self.low) / 4);
        let first = self.low.div_euclid(step) * step;
        let mut value = if first < self.low { first + step } else { first };
        while value <= self.high {
            let y = tenths(self.y(value));
            put(
                svg,
                format_args!(
                    "<path class=\"rule\" d=\"M{left} {y}h{width}\"/><text class=\"tick\" x=\"{}\" \
                     y=\"{y}\" dy=\".32em\" text-anchor=\"end\">{}</text>",
                    left - 4,
                    label(value)
                ),
            );
            value += step;
        }
    }

    /// Labels below the plot.
    pub fn below(&self, svg: &mut String, labels: &[(i64, String)]) {
        let (_, top, _, height) = self.area;
        for (value, label) in labels {
            put(
                svg,
                format_args!(
                    "<text class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                    tenths(self.x(*value)),
                    top + height + 13
                ),
            );
        }
    }

    /// A line through points.
    pub fn line(&self, points: impl Iterator<Item = (i64, i64)>) -> String {
        let mut path = String::new();
        for (x, y) in points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            put(&mut path, format_args!("{command}{} {}", tenths(self.x(x)), tenths(self.y(y))));
        }
        path
    }

    /// The area between a line and a height.
    pub fn area(&self, points: &[(i64, i64)], down_to: i64) -> String {
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return String::new();
        };
        let base = tenths(self.y(down_to));
        let line = self.line(points.iter().copied());
        format!("{line}L{} {base}L{} {base}Z", tenths(self.x(last.0)), tenths(self.x(first.0)))
    }
}

/// A number of tenths as a decimal.
pub fn tenths(value: i64) -> String {
    let (sign, size) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    match size % 10 {
        0 => format!("{sign}{}", size / 10),
        rest => format!("{sign}{}.{rest}", size / 10),
    }
}

/// The next of 1, 2, 5, 10, 20 … that is not below.
pub fn round_step(least: i64) -> i64 {
    let mut power = 1;
    loop {
        for factor in [1, 2, 5] {
            if power * factor >= least.max(1) {
                return power * factor;
            }
        }
        power *= 10;
    }
}

/// The start of a picture that screen readers announce.
pub fn open(svg: &mut String, id: &str, height: i64, title: &str, description: &str) {
    put(
        svg,
        format_args!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{description}</desc>"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_numbers_short() {
        for (least, step) in [(0, 1), (1, 1), (3, 5), (12, 20), (51, 100), (1_001, 2_000)] {
            assert_eq!(round_step(least), step, "{least}");
        }
        assert_eq!([tenths(-15), tenths(0), tenths(120)], ["-1.5", "0", "12"]);
    }
}
