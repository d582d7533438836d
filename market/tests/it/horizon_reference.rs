//! Weekly cost of a street with four batteries against an independent linear program
//! (`battery_bounds.csv`): perfect foresight, each house alone and all behind one meter.

use std::collections::BTreeMap;
use std::path::PathBuf;

use market::Node;
use market::horizon::{
    Battery, Class, End, Horizon, Method, Offer, PPM, Period, Plan, Supply, plan,
};
use market::solver::Simplex;
use units::{Energy, Price, Slot};

/// A table by column name, one number per row.
type Table = BTreeMap<String, Vec<f64>>;

const WEEK: usize = 672;
const EFFICIENCY_PPM: i64 = 950_000;

fn records(path: &str) -> csv::Reader<std::fs::File> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join(path);
    csv::Reader::from_path(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

fn table(path: &str) -> Table {
    let mut reader = records(path);
    let names: Vec<String> =
        reader.headers().expect("a header").iter().map(str::to_owned).collect();
    let mut columns = vec![Vec::new(); names.len()];
    for record in reader.records() {
        for (column, field) in columns.iter_mut().zip(&record.expect("a record")) {
            column.push(field.parse().unwrap_or(f64::NAN));
        }
    }
    names.into_iter().zip(columns).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "small numbers from files")]
fn whole(value: f64) -> i64 {
    value.round_ties_even() as i64
}

struct Street {
    load: Table,
    generation: Table,
    tariffs: Table,
    batteries: BTreeMap<String, (i64, i64)>,
}

impl Street {
    fn read() -> Self {
        let scenario = |file: &str| format!("../sim-grid/scenarios/semiurb4/{file}");
        let mut generation = table(&scenario("ts/gen_wh.csv"));
        let (pv, raw) =
            (table(&scenario("ts/pv_p_kw.csv")), table(&scenario("ts/pvbat_raw_pv_p_kw.csv")));
        let mut batteries = BTreeMap::new();
        for record in records(&scenario("devices.csv")).records() {
            let record = record.expect("a record");
            if &record[3] == "pv_battery" {
                let number = |i: usize| record[i].parse::<f64>().expect("a number");
                let house = record[1].to_owned();
                // Its generation without the battery, in tenths of a watt over a quarter-hour.
                let tenths = |row: usize| {
                    let kw = raw[&house][row] + pv.get(&house).map_or(0.0, |pv| pv[row]);
                    (kw * 10_000.0).round()
                };
                let wh = (0..raw[&house].len()).map(|row| tenths(row) / 40.0);
                generation.insert(house.clone(), wh.map(|wh| wh.round_ties_even()).collect());
                batteries.insert(house, (whole(number(8) * 1_000.0), whole(number(7) * 250.0)));
            }
        }
        let (load, tariffs) = (table(&scenario("ts/load_wh.csv")), table(&scenario("tariffs.csv")));
        Self { load, generation, tariffs, batteries }
    }

    /// Net load per slot of a week of some houses, and the supplier's prices.
    fn week(&self, start: f64, tariff: &str, houses: &[&str]) -> (Vec<i64>, Vec<(i64, i64)>) {
        let first = self.load["t"].iter().position(|&t| t == start).expect("the week is there");
        let net = (first..first + WEEK).map(|row| {
            let of = |table: &Table| {
                houses.iter().filter_map(|h| table.get(*h)).map(|c| c[row]).sum::<f64>()
            };
            whole(of(&self.load) - of(&self.generation))
        });
        let prices = (first..first + WEEK).map(|row| {
            let of = |what: &str| whole(self.tariffs[&format!("{tariff}_{what}_e5")][row]);
            (of("retail"), of("feedin"))
        });
        (net.collect(), prices.collect())
    }

    fn battery(&self, house: &str, feed_in: i64) -> Battery {
        let (energy, power) = self.batteries[house];
        Battery {
            name: house.to_owned(),
            node: Node::ROOT,
            charge_cap: Energy::from_wh(power),
            discharge_cap: Energy::from_wh(power),
            min: Energy::ZERO,
            max: Energy::from_wh(energy),
            start: Energy::ZERO,
            charge_ppm: EFFICIENCY_PPM,
            discharge_ppm: EFFICIENCY_PPM,
            wear: Price::ZERO,
            end: End::Value(Price::from_nano_per_wh(feed_in * 10 * EFFICIENCY_PPM / PPM)),
            class: Class::Any,
        }
    }
}

/// What the supplier is paid, in currency.
#[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
fn cost(net: &[i64], prices: &[(i64, i64)]) -> f64 {
    let money = net
        .iter()
        .zip(prices)
        .map(|(&wh, &(retail, feed_in))| wh * if wh > 0 { retail } else { feed_in });
    money.sum::<i64>() as f64 * 1e-8
}

fn planned(net: &[i64], prices: &[(i64, i64)], batteries: Vec<Battery>) -> (Horizon, Plan) {
    let periods = net.iter().zip(prices).map(|(&wh, &(retail, feed_in))| {
        let (cap, quantity) = (Price::from_e5_per_kwh(200_000), Energy::from_wh(wh.abs()));
        let offers = match wh {
            0 => vec![],
            1.. => vec![Offer::load(Node::ROOT, quantity, cap)],
            _ => vec![Offer::generation(Node::ROOT, quantity)],
        };
        let price = Price::from_e5_per_kwh;
        Period { supply: Supply::at(price(retail), price(feed_in)), offers }
    });
    let horizon = Horizon::household(Slot::new(1_612_800), periods.collect(), batteries);
    let plan = plan(&horizon, &mut Simplex::default(), None).expect("a valid horizon");
    assert!(matches!(plan.method, Method::Lp { .. }), "{:?}", plan.method);
    (horizon, plan)
}

/// The supplier's bill with batteries, what is left in them credited.
#[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
fn with_batteries(net: &[i64], prices: &[(i64, i64)], batteries: Vec<Battery>) -> f64 {
    let (horizon, plan) = planned(net, prices, batteries);
    let flows: Vec<i64> = plan.periods.iter().map(|dispatch| dispatch.flows[0].wh()).collect();
    let left = horizon.batteries.iter().zip(&plan.batteries).map(|(battery, steps)| {
        let End::Value(value) = battery.end else { panic!("batteries here have a value") };
        let stored = steps.last().expect("a week").stored_uwh as f64;
        stored * 1e-6 * value.nano_per_wh() as f64 * 1e-9
    });
    cost(&flows, prices) - left.sum::<f64>()
}

#[test]
fn four_batteries_cost_what_an_independent_program_says() {
    let street = Street::read();
    let all: Vec<&str> =
        street.load.keys().map(String::as_str).filter(|k| k.starts_with('C')).collect();
    let expected = table("tests/data/semiurb4/battery_bounds.csv");
    let mut tariffs = records("tests/data/semiurb4/battery_bounds.csv");
    let tariffs: Vec<String> =
        tariffs.records().map(|record| record.expect("a record")[1].to_owned()).collect();
    std::thread::scope(|scope| {
        for wanted in ["flat", "tou", "dyn"] {
            let rows = tariffs.iter().enumerate().filter(move |(_, tariff)| *tariff == wanted);
            let (street, all, expected) = (&street, &all, &expected);
            scope.spawn(move || {
                rows.for_each(|(row, tariff)| week(street, all, expected, row, tariff))
            });
        }
    });
}

/// Compares one line of the reference.
fn week(street: &Street, all: &[&str], expected: &Table, row: usize, tariff: &str) {
    let start = expected["week_start_t"][row];
    let close = |what: &str, own: f64| {
        let reference = expected[what][row];
        assert!(
            (own - reference).abs() < 2e-5 * reference.abs() + 0.005,
            "week {start}, {tariff}, {what}: {own} instead of {reference}"
        );
    };
    let (net, prices) = street.week(start, tariff, all);
    close("no_battery_pooled", cost(&net, &prices));
    let pooled = street.batteries.keys().map(|house| street.battery(house, prices[WEEK - 1].1));
    close("lp_pooled", with_batteries(&net, &prices, pooled.collect()));
    let (mut alone, mut none) = (0.0, 0.0);
    for house in all {
        let (net, prices) = street.week(start, tariff, &[house]);
        none += cost(&net, &prices);
        alone += if street.batteries.contains_key(*house) {
            with_batteries(&net, &prices, vec![street.battery(house, prices[WEEK - 1].1)])
        } else {
            cost(&net, &prices)
        };
    }
    close("no_battery_individual", none);
    close("lp_individual", alone);
}
