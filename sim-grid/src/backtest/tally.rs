//! Sums over a run: what one rule did, and what the street did.

use market::{Clearing, Metered};
use units::Slot;

use super::metering::{House, Quarter};
use super::report::{
    CustomerFigures, DayFigures, LocalPrice, MonthFigures, PricePoint, RuleFigures, StreetFigures,
};
use super::rule::Rule;
use super::settling::Settled;

/// Points of a price duration curve.
const CURVE_POINTS: usize = 100;
/// W for a Wh in a quarter of an hour.
const W_PER_WH: i64 = 4;

/// One rule's sums.
pub(super) struct Tally {
    pub rule: Rule,
    /// Per customer, nano-currency.
    pub amounts: Vec<i128>,
    bought: Vec<i64>,
    sold: Vec<i64>,
    local: i64,
    supplied: i64,
    taken: i64,
    paid_nano: i128,
    earned_nano: i128,
    at_retail_nano: i128,
    at_feed_in_nano: i128,
    trading_slots: u64,
    congested_slots: u64,
    grid_fees_nano: i128,
    congestion_nano: i128,
    peak_import: i64,
    peak_export: i64,
    /// Mean local price and energy of every slot with local energy.
    prices: Vec<(i64, i64)>,
}

impl Tally {
    pub fn new(rule: Rule, customers: usize) -> Self {
        Self {
            rule,
            amounts: vec![0; customers],
            bought: vec![0; customers],
            sold: vec![0; customers],
            local: 0,
            supplied: 0,
            taken: 0,
            paid_nano: 0,
            earned_nano: 0,
            at_retail_nano: 0,
            at_feed_in_nano: 0,
            trading_slots: 0,
            congested_slots: 0,
            grid_fees_nano: 0,
            congestion_nano: 0,
            peak_import: 0,
            peak_export: 0,
            prices: Vec::new(),
        }
    }

    /// Adds a slot.
    pub fn add(&mut self, quarter: &Quarter<'_>, settled: &Settled) {
        let (mut import, mut export, mut local) = (0, 0, 0);
        for (i, metered) in quarter.metered.iter().enumerate() {
            let (bought, sold) = (settled.bought[i].wh(), settled.sold[i].wh());
            self.amounts[i] += i128::from(settled.amounts[i].nano());
            self.bought[i] += bought;
            self.sold[i] += sold;
            local += bought;
            let (used, given) = flow_wh(metered);
            import += used;
            export += given;
        }
        let (supplied, taken) = (import - local, export - local);
        self.local += local;
        self.supplied += supplied;
        self.taken += taken;
        self.peak_import = self.peak_import.max(supplied * W_PER_WH);
        self.peak_export = self.peak_export.max(taken * W_PER_WH);
        if local > 0 {
            self.trading_slots += 1;
            let wide = i128::from(local);
            self.paid_nano += settled.paid_nano;
            self.earned_nano += settled.earned_nano;
            self.at_retail_nano += wide * i128::from(quarter.terms.retail().nano_per_wh());
            self.at_feed_in_nano += wide * i128::from(quarter.terms.feed_in().nano_per_wh());
            self.prices.push((per_wh(settled.paid_nano, local), local));
        }
    }

    /// Adds what the grid made of an auction.
    pub fn add_grid(&mut self, clearing: &Clearing, is_congested: bool) {
        self.congested_slots += u64::from(is_congested);
        if let Some(nodal) = &clearing.nodal {
            self.grid_fees_nano += nodal.fees;
            self.congestion_nano += nodal.rent;
        }
    }

    /// The figures, compared with everybody's bill alone; `left` is what simulated batteries hold at
    /// the end beyond what they hold alone, in nano-currency.
    pub fn figures(
        mut self,
        street: &StreetFigures,
        names: &[String],
        alone: &[i128],
        left: &[i128],
    ) -> RuleFigures {
        let bill: i128 = self.amounts.iter().sum();
        let bill_alone: i128 = alone.iter().sum();
        let amounts = alone.iter().zip(&self.amounts).zip(left);
        let benefits: Vec<i128> =
            amounts.map(|((alone, amount), left)| alone - amount + left).collect();
        let saving: i128 = benefits.iter().sum();
        let customers = names.iter().enumerate().map(|(i, name)| CustomerFigures {
            customer: name.clone(),
            bill_nano: narrow(self.amounts[i]),
            benefit_nano: narrow(benefits[i]),
            bought_wh: self.bought[i],
            sold_wh: self.sold[i],
        });
        let mut losers: Vec<usize> = (0..names.len()).filter(|&i| benefits[i] < 0).collect();
        losers.sort_by_key(|&i| benefits[i]);
        let covered = |part: i64, whole: i64| ppm(i128::from(part), i128::from(whole));
        let local_price = (self.local > 0).then(|| LocalPrice {
            paid_nano_per_wh: per_wh(self.paid_nano, self.local),
            earned_nano_per_wh: per_wh(self.earned_nano, self.local),
            retail_nano_per_wh: per_wh(self.at_retail_nano, self.local),
            feed_in_nano_per_wh: per_wh(self.at_feed_in_nano, self.local),
        });
        RuleFigures {
            rule: self.rule.name().to_owned(),
            title: self.rule.title().to_owned(),
            meaning: self.rule.meaning().to_owned(),
            bill_nano: narrow(bill),
            saving_nano: narrow(saving),
            saving_ppm: (bill_alone != 0).then(|| ppm(saving, bill_alone.abs())),
            local_wh: self.local,
            supplied_wh: self.supplied,
            taken_wh: self.taken,
            self_sufficiency_ppm: covered(street.load_wh - self.supplied, street.load_wh),
            from_neighbours_ppm: covered(self.local, street.load_wh),
            self_consumption_ppm: covered(street.generation_wh - self.taken, street.generation_wh),
            to_neighbours_ppm: covered(self.local, street.generation_wh),
            local_price,
            trading_slots: self.trading_slots,
            congested_slots: self.congested_slots,
            supplier_peak_import_w: self.peak_import,
            supplier_peak_export_w: self.peak_export,
            gini_ppm: gini_ppm(&benefits),
            better_off: benefits.iter().filter(|benefit| **benefit > 0).count() as u64,
            worse_off: losers.into_iter().map(|i| names[i].clone()).collect(),
            grid_fees_nano: narrow(self.grid_fees_nano),
            congestion_nano: narrow(self.congestion_nano),
            customers: customers.collect(),
            price_duration: duration(&mut self.prices),
        }
    }
}

pub(super) fn flow_wh(metered: &Metered) -> (i64, i64) {
    let flow = metered.flow.expect("the back-test reads every meter");
    (flow.import.wh(), flow.export.wh())
}

/// An amount per Wh, rounded to the nearest nano-currency (halves up).
fn per_wh(nano: i128, wh: i64) -> i64 {
    let wh = i128::from(wh);
    narrow((2 * nano + wh).div_euclid(2 * wh))
}

/// `part / whole` in millionths, rounded to the nearest; nothing of nothing is nothing.
fn ppm(part: i128, whole: i128) -> i64 {
    if whole == 0 { 0 } else { narrow((2 * part * 1_000_000 + whole).div_euclid(2 * whole)) }
}

/// Bills of a street over years are far inside 9 billion of the currency.
fn narrow(value: i128) -> i64 {
    i64::try_from(value).expect("a street's sum fits 64 bits")
}

/// Gini coefficient: half the mean absolute difference over the mean. 0 when all gain the same, near
/// 1 when one gains all. Losses count as no gain; they are listed by name instead.
fn gini_ppm(benefits: &[i128]) -> Option<i64> {
    let mut gains: Vec<i128> = benefits.iter().map(|benefit| (*benefit).max(0)).collect();
    gains.sort_unstable();
    let sum: i128 = gains.iter().sum();
    let count = gains.len() as i128;
    // Σ (2i − n − 1)·x_i over n·Σx, with x ascending and i counted from 1.
    let ranked: i128 =
        gains.iter().zip(1..).map(|(gain, i): (&i128, i128)| (2 * i - count - 1) * gain).sum();
    (sum > 0).then(|| ppm(ranked, count * sum))
}

/// Prices by descending height over the share of the energy, thinned to [`CURVE_POINTS`] steps.
fn duration(prices: &mut [(i64, i64)]) -> Vec<PricePoint> {
    prices.sort_unstable_by(|a, b| b.cmp(a));
    let all: i128 = prices.iter().map(|(_, wh)| i128::from(*wh)).sum();
    let (mut curve, mut sum) = (Vec::new(), 0);
    let mut next = 0;
    for (i, (price, wh)) in prices.iter().enumerate() {
        sum += i128::from(*wh);
        let share = ppm(sum, all);
        let last = i + 1 == prices.len();
        if curve.is_empty() {
            curve.push(PricePoint { share_ppm: 0, nano_per_wh: *price });
        }
        if share >= next || last {
            curve.push(PricePoint { share_ppm: share, nano_per_wh: *price });
            next = share + 1_000_000 / i64::try_from(CURVE_POINTS).expect("small");
        }
    }
    curve
}

/// What the street did with one dispatch of its batteries.
#[derive(Default)]
pub(super) struct StreetTally {
    figures: StreetFigures,
    slots: u64,
    retail: i128,
    feed_in: i128,
    pub loads: Vec<i64>,
    pub generations: Vec<i64>,
    pub imports: Vec<i64>,
    pub exports: Vec<i64>,
    days: Vec<DayFigures>,
    months: Vec<Month>,
}

/// Sums of a calendar month by quarter-hour of the day.
struct Month {
    name: String,
    days: [i64; DAY],
    load: [i64; DAY],
    generation: [i64; DAY],
    covered: [i64; DAY],
}

/// Quarter-hours of a day.
const DAY: usize = 96;

impl StreetTally {
    pub fn new(customers: usize) -> Self {
        Self {
            loads: vec![0; customers],
            generations: vec![0; customers],
            imports: vec![0; customers],
            exports: vec![0; customers],
            ..Self::default()
        }
    }

    /// Adds a slot.
    pub fn add(&mut self, quarter: &Quarter<'_>, houses: &[House]) {
        let (mut load, mut generation, mut import, mut export) = (0, 0, 0, 0);
        for (i, (house, metered)) in houses.iter().zip(quarter.metered).enumerate() {
            let (used, given) = flow_wh(metered);
            self.loads[i] += house.load;
            self.generations[i] += house.generation;
            self.imports[i] += used;
            self.exports[i] += given;
            load += house.load;
            generation += house.generation;
            import += used;
            export += given;
        }
        let shareable = import.min(export);
        let figures = &mut self.figures;
        figures.load_wh += load;
        figures.generation_wh += generation;
        figures.import_wh += import;
        figures.export_wh += export;
        figures.shareable_wh += shareable;
        let net = import - export;
        figures.peak_import_w = figures.peak_import_w.max(net * W_PER_WH);
        figures.peak_export_w = figures.peak_export_w.max(-net * W_PER_WH);
        figures.inverted_slots += u64::from(!quarter.terms.leave_room());
        self.slots += 1;
        self.retail += i128::from(quarter.terms.retail().nano_per_wh());
        self.feed_in += i128::from(quarter.terms.feed_in().nano_per_wh());

        let text = quarter.slot.to_string();
        let (date, month) = (&text[..10], &text[..7]);
        if self.days.last().is_none_or(|day| day.date != date) {
            self.days.push(DayFigures { date: date.to_owned(), ..DayFigures::default() });
        }
        let day = self.days.last_mut().expect("just made sure");
        day.load_wh += load;
        day.generation_wh += generation;
        day.import_wh += import;
        day.export_wh += export;
        day.shareable_wh += shareable;
        if self.months.last().is_none_or(|last| last.name != month) {
            self.months.push(Month::new(month));
        }
        let last = self.months.last_mut().expect("just made sure");
        last.add(quarter.slot, load, generation, load - import + shareable);
    }

    pub fn figures(&self) -> StreetFigures {
        let mut figures = self.figures.clone();
        let share = |part: i64, whole: i64| ppm(i128::from(part), i128::from(whole));
        figures.own_ppm = share(figures.load_wh - figures.import_wh, figures.load_wh);
        figures.own_use_ppm =
            share(figures.generation_wh - figures.export_wh, figures.generation_wh);
        let slots = i64::try_from(self.slots).expect("counted one by one").max(1);
        figures.retail_nano_per_wh = per_wh(self.retail, slots);
        figures.feed_in_nano_per_wh = per_wh(self.feed_in, slots);
        figures
    }

    pub fn days(&self) -> Vec<DayFigures> {
        self.days.clone()
    }

    pub fn months(&self) -> Vec<MonthFigures> {
        self.months.iter().map(Month::figures).collect()
    }
}

impl Month {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            days: [0; DAY],
            load: [0; DAY],
            generation: [0; DAY],
            covered: [0; DAY],
        }
    }

    fn add(&mut self, slot: Slot, load: i64, generation: i64, covered: i64) {
        let quarter = usize::try_from(slot.number().rem_euclid(Slot::PER_DAY)).expect("below 96");
        self.days[quarter] += 1;
        self.load[quarter] += load;
        self.generation[quarter] += generation;
        self.covered[quarter] += covered;
    }

    fn figures(&self) -> MonthFigures {
        let mean = |sums: &[i64; DAY]| -> Vec<i64> {
            sums.iter().zip(&self.days).map(|(sum, days)| sum * W_PER_WH / (*days).max(1)).collect()
        };
        MonthFigures {
            month: self.name.clone(),
            load_w: mean(&self.load),
            generation_w: mean(&self.generation),
            covered_w: mean(&self.covered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gini_is_nothing_for_equals_and_near_one_for_a_single_winner() {
        let table: [(&[i128], Option<i64>); 5] = [
            (&[5, 5, 5, 5], Some(0)),
            (&[0, 0, 0, 8], Some(750_000)),
            (&[-9, 0, 0, 8], Some(750_000)),
            (&[1, 3], Some(250_000)),
            (&[0, -1], None),
        ];
        for (benefits, expected) in table {
            assert_eq!(gini_ppm(benefits), expected, "{benefits:?}");
        }
    }

    #[test]
    fn a_duration_curve_falls_and_spans_all_energy() {
        let mut prices = vec![(10, 1), (30, 2), (20, 1)];
        let curve: Vec<(i64, i64)> = duration(&mut prices)
            .into_iter()
            .map(|point| (point.share_ppm, point.nano_per_wh))
            .collect();
        assert_eq!(curve, [(0, 30), (500_000, 30), (750_000, 20), (1_000_000, 10)]);
        assert!(duration(&mut []).is_empty());
    }

    #[test]
    fn means_are_rounded_to_the_nearest() {
        assert_eq!(per_wh(10, 4), 3);
        assert_eq!(per_wh(-10, 4), -2);
        assert_eq!(ppm(1, 3), 333_333);
        assert_eq!(ppm(2, 3), 666_667);
        assert_eq!(ppm(1, 0), 0);
    }
}
