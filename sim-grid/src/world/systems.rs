//! The systems, in the order in which they run: weather and profiles → generation and demand →
//! storage → power flow → meters → register images.

use std::sync::Arc;

use bevy_ecs::prelude::*;
use bevy_ecs::schedule::{Schedule, SingleThreadedExecutor};
use feeder::BusPower;
use units::Slot;

use super::parts::{
    Balance, Battery, Bus, Consumer, ConsumerKind, Customer, Flow, Ground, Image, Line, Meter,
    Solar, Span, Transformer, Weather,
};
use super::storage::Window;
use super::truth::{BatteryTruth, SolarTruth};
use crate::devices::DeviceImage;
use crate::scenario::Series;

/// The fixed order, on one thread: a run repeats bit by bit.
pub(super) fn schedule() -> Schedule {
    let mut schedule = Schedule::default();
    schedule.set_executor(SingleThreadedExecutor::new());
    schedule.add_systems(
        (
            look_at_the_sky,
            read_profiles,
            run_batteries,
            solve_power_flow,
            count_energy,
            measure,
            draw_images,
        )
            .chain(),
    );
    schedule
}

fn at(series: &Option<Series>, row: usize) -> i64 {
    series.as_ref().and_then(|series| series.get(row)).map_or(0, |power| i64::from(*power))
}

/// Weather: how much of the street's PV rating the sky allows in this slot.
fn look_at_the_sky(ground: Res<Ground>, span: Res<Span>, mut weather: ResMut<Weather>) {
    if !span.starts_slot {
        return;
    }
    let output: i64 = ground.0.profiles.iter().map(|all| all.generation(span.row)).sum();
    let rated_w: u64 = ground
        .0
        .devices
        .iter()
        .filter(|device| device.kind.is_solar())
        .map(|device| u64::from(device.rated_w))
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
    let sun = if rated_w == 0 { 0.0 } else { output as f64 / (rated_w as f64 * 10.0) };
    weather.sun = sun;
}

/// Generation and demand: every device takes its power from its profile, every customer adds up.
fn read_profiles(
    ground: Res<Ground>,
    span: Res<Span>,
    mut consumers: Query<&mut Consumer>,
    mut solars: Query<&mut Solar>,
    mut customers: Query<(&Customer, &mut Balance)>,
) {
    if !span.starts_slot {
        return;
    }
    for (customer, mut balance) in &mut customers {
        let reactive = at(&ground.0.profiles[customer.index].reactive, span.row);
        *balance = Balance { reactive, ..Balance::default() };
    }
    for mut consumer in &mut consumers {
        let profiles = &ground.0.profiles[consumer.customer];
        consumer.power = match consumer.kind {
            ConsumerKind::Load => at(&profiles.base, span.row),
            ConsumerKind::HeatPump => at(&profiles.heat_pump, span.row),
            ConsumerKind::Ev => at(&profiles.ev, span.row),
        };
        let (_, mut balance) = customers.get_mut(consumer.owner).expect("a device has an owner");
        balance.load += consumer.power;
    }
    for mut solar in &mut solars {
        solar.power = ground.0.profiles[solar.customer].generation(span.row);
        let (_, mut balance) = customers.get_mut(solar.owner).expect("a device has an owner");
        balance.generation += solar.power;
    }
}

/// Storage: every battery decides for the whole slot, one after the other where a house has two. One
/// that is steered decides anew in every span, one that was let go of for what is left of the slot.
fn run_batteries(
    span: Res<Span>,
    mut flow: ResMut<Flow>,
    mut batteries: Query<&mut Battery>,
    mut balances: Query<&mut Balance>,
) {
    let rest = span.slot.end_ms() - span.end_ms;
    let left_ms = span.length_ms + u64::try_from(rest).unwrap_or(0);
    for mut battery in &mut batteries {
        let turned = std::mem::take(&mut battery.turned);
        if !span.starts_slot && battery.window.is_none() && !turned {
            continue;
        }
        let mut balance = balances.get_mut(battery.owner).expect("a device has an owner");
        if !span.starts_slot {
            balance.storage -= battery.power;
        }
        let net = balance.net();
        let power = match battery.window {
            // A span of no length is a look at what will be.
            Some(window) if span.length_ms > 0 => battery.storage.obey(net, window, span.length_ms),
            Some(window) => battery.storage.obey(net, window, left_ms),
            None if span.starts_slot => battery.storage.decide(net),
            None => battery.storage.obey(net, Window::FREE, left_ms),
        };
        flow.moved |= power != battery.power;
        battery.power = power;
        balance.storage += power;
    }
}

/// Power flow: voltages and currents for the powers of this slot.
fn solve_power_flow(
    ground: Res<Ground>,
    span: Res<Span>,
    mut flow: ResMut<Flow>,
    customers: Query<(&Customer, &Balance)>,
    mut buses: Query<&mut Bus>,
    mut lines: Query<&mut Line>,
    mut transformers: Query<&mut Transformer>,
) {
    if !span.starts_slot && !flow.moved {
        return;
    }
    // Summed as integers first, so that the order of the customers cannot matter.
    let mut sums = vec![(0_i64, 0_i64); ground.0.network.buses().len()];
    for (customer, balance) in &customers {
        sums[customer.bus].0 += balance.net();
        sums[customer.bus].1 += balance.reactive;
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let powers: Vec<BusPower> = sums
        .into_iter()
        .map(|(p, q)| BusPower { p_kw: p as f64 / 10_000.0, q_kvar: q as f64 / 10_000.0 })
        .collect();
    flow.moved = false;
    match ground.0.network.sweep(&powers) {
        Err(fault) => flow.fault = Some(fault),
        Ok(solved) => {
            for mut bus in &mut buses {
                bus.voltage = solved.buses[bus.index];
            }
            for mut line in &mut lines {
                line.flow = solved.lines[line.index];
            }
            for mut transformer in &mut transformers {
                transformer.flow = solved.transformers[transformer.index];
            }
            let (slack, loss_kw) = (solved.slack, solved.loss_kw);
            *flow = Flow { slack, loss_kw, ..Flow::default() };
        }
    }
}

/// Meters: the energy of the span goes into the registers.
fn count_energy(
    span: Res<Span>,
    balances: Query<&Balance>,
    mut meters: Query<&mut Meter>,
    mut solars: Query<&mut Solar>,
    mut batteries: Query<&mut Battery>,
) {
    let ms = span.length_ms;
    let low = is_low_tariff(span.slot);
    for mut meter in &mut meters {
        let balance = balances.get(meter.owner).expect("a meter has an owner");
        let (import_wh, export_wh) = (meter.import.wh(), meter.export.wh());
        let net = balance.net();
        let power = net.unsigned_abs();
        if net >= 0 {
            meter.import.add(power, ms)
        } else {
            meter.export.add(power, ms)
        }
        let reactive = balance.reactive.unsigned_abs();
        if balance.reactive >= 0 {
            meter.reactive_import.add(reactive, ms);
        } else {
            meter.reactive_export.add(reactive, ms);
        }
        // Like a pulse counter: a Wh belongs to the tariff in which it became complete, so both
        // tariffs always add up to the total.
        if low {
            meter.low_import_wh += meter.import.wh() - import_wh;
            meter.low_export_wh += meter.export.wh() - export_wh;
        }
    }
    for mut solar in &mut solars {
        let power = solar.power.unsigned_abs();
        solar.produced.add(power, ms);
    }
    for mut battery in &mut batteries {
        let power = battery.power;
        battery.storage.count(power, ms);
    }
}

/// The low tariff of a Dutch meter: nights from 23:00 to 07:00 and weekends, on a clock that stays
/// at UTC+1.
fn is_low_tariff(slot: Slot) -> bool {
    let local = slot.number() + 4;
    let hour = local.rem_euclid(Slot::PER_DAY) / 4;
    // 1970-01-01 was a Thursday: day 0 is weekday 3, counted from Monday.
    let weekday = (local.div_euclid(Slot::PER_DAY) + 3).rem_euclid(7);
    !(7..23).contains(&hour) || weekday >= 5
}

/// What is really the case at each connection, at the end of the span.
fn measure(
    ground: Res<Ground>,
    span: Res<Span>,
    customers: Query<(&Customer, &Balance)>,
    buses: Query<&Bus>,
    solars: Query<&Solar>,
    batteries: Query<&Battery>,
    mut meters: Query<(&Meter, &mut Image)>,
) {
    if !span.draws_images {
        return;
    }
    let mut vm_pu = vec![0.0; ground.0.network.buses().len()];
    for bus in &buses {
        vm_pu[bus.index] = bus.voltage.vm_pu;
    }
    for (meter, mut image) in &mut meters {
        let (customer, balance) = customers.get(meter.owner).expect("a meter has an owner");
        let vn_kv = ground.0.network.buses()[customer.bus].vn_kv;
        let truth = &mut image.truth;
        truth.at_ms = span.end_ms;
        truth.net_dw = balance.net();
        truth.load_dw = balance.load;
        truth.reactive_dvar = balance.reactive;
        truth.import_wh = meter.import.wh();
        truth.export_wh = meter.export.wh();
        truth.low_import_wh = meter.low_import_wh;
        truth.low_export_wh = meter.low_export_wh;
        truth.reactive_import_varh = meter.reactive_import.wh();
        truth.reactive_export_varh = meter.reactive_export.wh();
        truth.low_tariff = is_low_tariff(span.slot);
        truth.vm_pu = vm_pu[customer.bus];
        truth.voltage_v = truth.vm_pu * vn_kv * 1_000.0 / 3f64.sqrt();
        truth.solar = solars
            .iter()
            .find(|solar| solar.owner == meter.owner)
            .map(|solar| SolarTruth { power_dw: solar.power, produced_wh: solar.produced.wh() });
        truth.battery =
            battery_truth(batteries.iter().filter(|battery| battery.owner == meter.owner));
    }
}

/// All batteries of a house as one.
fn battery_truth<'b>(batteries: impl Iterator<Item = &'b Battery>) -> Option<BatteryTruth> {
    let (mut stored, mut capacity) = (0.0, 0.0);
    let mut sum: Option<BatteryTruth> = None;
    for battery in batteries {
        let energy = f64::from(battery.storage.rating().energy_wh);
        stored += energy * battery.storage.state_of_charge();
        capacity += energy;
        let sum = sum.get_or_insert(BatteryTruth {
            power_dw: 0,
            state_of_charge: 0.0,
            charged_wh: 0,
            discharged_wh: 0,
        });
        sum.power_dw += battery.power;
        sum.charged_wh += battery.storage.charged().wh();
        sum.discharged_wh += battery.storage.discharged().wh();
    }
    sum.map(|sum| BatteryTruth {
        state_of_charge: if capacity > 0.0 { stored / capacity } else { 0.0 },
        ..sum
    })
}

/// Register images: what the devices show of it.
fn draw_images(span: Res<Span>, mut images: Query<&mut Image>) {
    if !span.draws_images {
        return;
    }
    for mut image in &mut images {
        let device = DeviceImage::draw(&image.equipment, &image.truth);
        image.device = Arc::new(device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nights_and_weekends_are_cheap() {
        // 2016-01-18 was a Monday; its first slot is 1 614 528.
        let monday = 1_614_528;
        for (quarter, low) in [(0, true), (23, true), (24, false), (87, false), (88, true)] {
            assert_eq!(is_low_tariff(Slot::new(monday + quarter)), low, "quarter {quarter}");
        }
        let saturday_noon = monday + 5 * 96 + 48;
        assert!(is_low_tariff(Slot::new(saturday_noon)));
        assert!(!is_low_tariff(Slot::new(saturday_noon + 2 * 96)));
    }
}
