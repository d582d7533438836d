//! Four weeks of a real street under four tariffs, against what an independent implementation
//! computed: every local price, every member's bill by every rule, and the street's energy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use market::sharing::{Per, Period, Rule, Shares, share};
use market::{Flow, Metered, Terms};
use units::{Energy, Money, PointId, Slot};

use crate::street::{point, rank, terms, wh};

/// Quarter-hours from the Unix epoch to the first one of the files.
const ORIGIN: i64 = 1_612_896;
const TARIFFS: [&str; 4] = ["flat", "tou", "dyn", "lcl"];

/// A table: column names, then integers; what is no integer counts as absent.
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Option<i64>>>,
}

impl Table {
    fn read(path: &Path) -> Self {
        let mut reader = csv::Reader::from_path(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let columns = reader.headers().expect("a header").iter().map(str::to_owned).collect();
        let rows = reader
            .records()
            .map(|row| row.expect("a row").iter().map(|cell| cell.parse().ok()).collect())
            .collect();
        Self { columns, rows }
    }

    fn column(&self, name: &str) -> Vec<i64> {
        let i = self.columns.iter().position(|column| column == name).expect(name);
        self.rows.iter().map(|row| row[i].expect("an integer")).collect()
    }
}

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/semiurb4").join(file)
}

/// The demo's scenario folder: the same street's meters and the supplier's prices.
fn scenario(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim-grid/scenarios/semiurb4").join(file)
}

pub struct Weeks {
    pub points: Vec<PointId>,
    /// By slot and point: import, export beyond the own use.
    pub meters: Vec<(Slot, Vec<Metered>)>,
    tariffs: Table,
}

pub fn weeks() -> Weeks {
    let (load, gen_) =
        (Table::read(&scenario("ts/load_wh.csv")), Table::read(&scenario("ts/gen_wh.csv")));
    let tariffs = Table::read(&scenario("tariffs.csv"));
    let names: Vec<&String> = load.columns.iter().filter(|name| name.starts_with('C')).collect();
    let producing: Vec<Option<Vec<i64>>> =
        names.iter().map(|name| gen_.columns.contains(name).then(|| gen_.column(name))).collect();
    let using: Vec<Vec<i64>> = names.iter().map(|name| load.column(name)).collect();
    let meters = load
        .column("t")
        .into_iter()
        .enumerate()
        .map(|(row, t)| {
            let metered = names.iter().enumerate().map(|(i, name)| {
                let load = using[i][row];
                let made = producing[i].as_ref().map_or(0, |column| column[row]);
                let flow = Flow {
                    import: wh((load - made).max(0)),
                    export: wh((made - load).max(0)),
                    produced: Some(wh(made)),
                };
                let rank = rank(u64::try_from(i).expect("small"));
                Metered { point: point(name), rank, renewable: true, flow: Some(flow) }
            });
            (Slot::new(ORIGIN + t), metered.collect())
        })
        .collect();
    Weeks { points: names.iter().map(point).collect(), meters, tariffs }
}

impl Weeks {
    pub fn terms(&self, tariff: &str) -> Vec<Terms> {
        let retail = self.tariffs.column(&format!("{tariff}_retail_e5"));
        let feed_in = self.tariffs.column(&format!("{tariff}_feedin_e5"));
        retail.into_iter().zip(feed_in).map(|(retail, feed_in)| terms(retail, feed_in)).collect()
    }
}

/// Who lives where.
pub struct Customer {
    pub point: PointId,
    pub bus: String,
    pub kind: String,
}

/// The customers, by point.
pub fn customers() -> Vec<Customer> {
    let mut reader = csv::Reader::from_path(scenario("customers.csv")).expect("readable");
    let customer = |row: csv::StringRecord| Customer {
        point: point(&row[0]),
        bus: row[1].to_owned(),
        kind: row[2].to_owned(),
    };
    reader.records().map(|row| customer(row.expect("a row"))).collect()
}

/// The bus that feeds each bus over a cable.
pub fn lines() -> BTreeMap<String, String> {
    let mut reader = csv::Reader::from_path(scenario("grid/lines.csv")).expect("readable");
    let rows = reader.records().map(|row| row.expect("a row"));
    rows.map(|row| (row[2].to_owned(), row[1].to_owned())).collect()
}

/// `bills.csv` by tariff, mechanism and customer, and `bills_total.csv` by tariff and mechanism.
struct Bills {
    members: BTreeMap<(String, String, String), i128>,
    totals: BTreeMap<(String, String), (i128, i128)>,
}

impl Bills {
    fn read() -> Self {
        let rows = |file: &str| -> Vec<csv::StringRecord> {
            let mut reader = csv::Reader::from_path(data(file)).expect("readable");
            reader.records().map(|row| row.expect("a row")).collect()
        };
        let int = |text: &str| text.parse::<i128>().expect("an integer");
        let members = rows("bills.csv")
            .iter()
            .map(|row| ((row[1].into(), row[2].into(), row[0].into()), int(&row[3])))
            .collect();
        let totals = rows("bills_total.csv")
            .iter()
            .map(|row| ((row[0].into(), row[1].into()), (int(&row[2]), int(&row[3]))))
            .collect();
        Self { members, totals }
    }

    fn check(&self, tariff: &str, mechanism: &str, e12: &BTreeMap<PointId, i128>, supplier: i128) {
        assert_eq!(e12.len(), 41);
        for (point, &amount) in e12 {
            let key = (tariff.to_owned(), mechanism.to_owned(), point.to_string());
            assert_eq!(amount, self.members[&key], "{key:?}");
        }
        let (rounded, exact) = self.totals[&(tariff.to_owned(), mechanism.to_owned())];
        assert_eq!(e12.values().sum::<i128>(), rounded, "{tariff} {mechanism}");
        assert_eq!(supplier * 1_000, exact, "{tariff} {mechanism}: the street's bill");
    }
}

#[test]
fn the_streets_energy_is_as_in_the_reference() {
    let weeks = weeks();
    let expected = Table::read(&data("community_intervals.csv"));
    let column = |name: &str| expected.column(name);
    let (demand, surplus) = (column("demand_net_wh"), column("surplus_net_wh"));
    let (pooled, load, made) = (column("pooled_wh"), column("load_wh"), column("gen_wh"));
    let (from_grid, to_grid) = (column("grid_import_wh"), column("grid_export_wh"));
    let own = column("self_individual_wh");
    let community = column("self_community_wh");
    let flat = terms(28_800, 12_310);
    assert_eq!(weeks.meters.len(), 2_688);
    let mut by_point: BTreeMap<PointId, (i64, i64)> = BTreeMap::new();
    for (row, (slot, metered)) in weeks.meters.iter().enumerate() {
        let shares = share(Rule::None, *slot, flat, metered, None).expect("sound");
        let street = shares.street;
        assert_eq!(street.import, wh(demand[row]), "{slot}");
        assert_eq!(street.export, wh(surplus[row]), "{slot}");
        assert_eq!(street.pooled(), wh(pooled[row]), "{slot}");
        assert_eq!(street.import - street.pooled(), wh(from_grid[row]), "{slot}");
        assert_eq!(street.export - street.pooled(), wh(to_grid[row]), "{slot}");
        assert_eq!(load[row] - own[row], demand[row], "{slot}");
        assert_eq!(made[row] - own[row], surplus[row], "{slot}");
        assert_eq!(community[row], load[row].min(made[row]), "{slot}");
        for one in shares.shares {
            let sums = by_point.entry(one.point).or_default();
            *sums = (sums.0 + one.import.wh(), sums.1 + one.export.wh());
        }
    }
    let customers = Table::read(&data("customer_energy.csv"));
    let (import, export) = (customers.column("import_wh"), customers.column("export_wh"));
    let expected: Vec<(i64, i64)> = import.into_iter().zip(export).collect();
    assert_eq!(by_point.into_values().collect::<Vec<_>>(), expected);
}

#[test]
fn prices_and_bills_are_exact_under_a_flat_tariff() {
    check_tariff("flat");
}

#[test]
fn prices_and_bills_are_exact_under_a_time_of_use_tariff() {
    check_tariff("tou");
}

#[test]
fn prices_and_bills_are_exact_under_a_dynamic_tariff() {
    check_tariff("dyn");
}

#[test]
fn prices_and_bills_are_exact_where_retail_falls_below_feed_in() {
    check_tariff("lcl");
}

/// The sums of one rule over the weeks.
#[derive(Default)]
struct Sums {
    published: BTreeMap<PointId, i128>,
    exact: BTreeMap<PointId, i64>,
    supplier: i128,
}

impl Sums {
    fn add(&mut self, shares: &Shares) {
        let published = shares.published().expect("a rule with one price");
        for one in &shares.shares {
            let e12 = published.amount_e12(one.import, one.export);
            *self.published.entry(one.point.clone()).or_default() += e12;
            *self.exact.entry(one.point.clone()).or_default() += one.amount().nano();
        }
        self.supplier += i128::from(shares.supplier().nano());
    }
}

fn check_tariff(tariff: &str) {
    assert!(TARIFFS.contains(&tariff));
    let (weeks, bills) = (weeks(), Bills::read());
    let terms = weeks.terms(tariff);
    let prices = Table::read(&data(&format!("prices_{tariff}.csv")));
    let rules = [
        ("none", "", Rule::None),
        ("mmr", "mmr", Rule::MidMarket),
        ("sdr", "sdr", Rule::SupplyDemand),
        ("bill_sharing_interval", "bs", Rule::BillSharing { per: Per::Interval }),
    ];
    for (mechanism, short, rule) in rules {
        let expected = (!short.is_empty()).then(|| {
            let column = |side: &str| prices.column(&format!("{short}_{side}_e9"));
            (column("buy"), column("sell"))
        });
        let mut sums = Sums::default();
        for (row, (slot, metered)) in weeks.meters.iter().enumerate() {
            let shares = share(rule, *slot, terms[row], metered, None).expect("sound");
            let published = shares.published().expect("one price");
            if let Some((buy, sell)) = &expected {
                let figures = (published.buy_e9, published.sell_e9);
                assert_eq!(figures, (buy[row], sell[row]), "{tariff} {mechanism} {slot}");
            }
            check_gains(rule, &shares);
            sums.add(&shares);
        }
        bills.check(tariff, mechanism, &sums.published, sums.supplier);
        // What is really billed is exact, and near the published figure: half a unit of the
        // price per Wh and one of money per slot at most.
        let billed: i128 = sums.exact.values().map(|&nano| i128::from(nano)).sum();
        assert_eq!(billed, sums.supplier, "{tariff} {mechanism}");
        for (point, &nano) in &sums.exact {
            let off = (i128::from(nano) * 1_000 - sums.published[point]).abs();
            assert!(off < 1_000 * 2_688 * 2, "{tariff} {mechanism} {point} is off by {off}e-12");
        }
    }
    check_period(tariff, &weeks, &terms, &bills);
}

/// Nobody is worse off than alone, except exporters whose energy bill sharing gives away.
fn check_gains(rule: Rule, shares: &Shares) {
    for one in &shares.shares {
        let alone = one.alone(shares.terms);
        let may_lose = rule == Rule::BillSharing { per: Per::Interval } && !one.export.is_zero();
        assert!(may_lose || one.amount() <= alone, "{}: {one:?}", shares.slot);
        let inverted = !shares.terms.leave_room();
        assert!(!inverted || one.amount() == alone, "nothing is shared inside");
    }
}

fn check_period(tariff: &str, weeks: &Weeks, terms: &[Terms], bills: &Bills) {
    let mut period = Period::default();
    for ((slot, metered), &terms) in weeks.meters.iter().zip(terms) {
        period.add(*slot, terms, metered).expect("sound");
    }
    let shared = period.bills(|_| [0; 32]).expect("adds up");
    let supplier = period.supplier().expect("in range");
    assert_eq!(shared.iter().map(|bill| bill.amount).sum::<Money>(), supplier);
    let e12 = shared.iter().map(|bill| (bill.point.clone(), bill.exact_e12)).collect();
    bills.check(tariff, "bill_sharing_period", &e12, i128::from(supplier.nano()));
    for bill in &shared {
        let off = (i128::from(bill.amount.nano()) * 1_000 - bill.exact_e12).abs();
        assert!(off <= 2_000, "{bill:?}");
    }
    assert!(period.missing().is_empty());
    assert_eq!(shared.len(), weeks.points.len());
    assert!(shared.iter().map(|bill| bill.import).sum::<Energy>().is_positive());
}
