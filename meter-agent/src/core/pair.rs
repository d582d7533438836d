//! The two registers of a meter, looked at together: they are exchanged, reset and garbled together.
//!
//! A counter on its own cannot tell that its meter was exchanged when the new one happens to stand a
//! little above the old one: that looks like energy that flowed. Its other register can. So while
//! one register shows what cannot be, neither books; when one starts anew, so does the other, and
//! when the old one comes back, it comes back with the other. Energy may be left out that way (what
//! flowed in the minutes of doubt), but none is made.

use protocol::EventKind;

use super::counter::{Bounds, Look, Standing, Watched};
use super::sample::Count;

/// Takes a look at both registers of one meter at the same time; counts are not negative.
pub fn look_at_both(
    watched: [&mut Watched; 2],
    counts: [Count; 2],
    identity: Option<&str>,
    now_ms: i64,
    bounds: Bounds,
) -> [Look; 2] {
    let [first, second] = watched;
    let (mut one, mut other) = (first.clone(), second.clone());
    let [a, b] = counts;
    let mut looks =
        [one.look(a, identity, now_ms, bounds), other.look(b, identity, now_ms, bounds)];
    let anew = [gives_up(&looks[0]), gives_up(&looks[1])];
    match (anew, looks.each_ref().map(is_held)) {
        // One starts anew: the other with it, unless nobody knows yet what that one shows.
        ([Some(kind), None], [_, held]) => {
            if held && !other.is_steady() {
                return [doubted(), take(second, other, looks).1];
            }
            other.clone_from(second);
            looks[1] = other.follow(kind, b.mwh, now_ms);
        }
        ([None, Some(kind)], [held, _]) => {
            if held && !one.is_steady() {
                return [take(first, one, looks).0, doubted()];
            }
            one.clone_from(first);
            looks[0] = one.follow(kind, a.mwh, now_ms);
        }
        (_, [true, false]) => return [take(first, one, looks).0, doubted()],
        (_, [false, true]) => return [doubted(), take(second, other, looks).1],
        _ => {}
    }
    let back = looks.each_ref().map(returned);
    if back == [true, false] {
        looks[1] = other.follow_back(b.mwh, now_ms, bounds).unwrap_or(looks[1].clone());
    }
    if back == [false, true] {
        looks[0] = one.follow_back(a.mwh, now_ms, bounds).unwrap_or(looks[0].clone());
    }
    (*first, *second) = (one, other);
    looks
}

/// Keeps what a trial made of one register.
fn take(place: &mut Watched, tried: Watched, looks: [Look; 2]) -> (Look, Look) {
    *place = tried;
    let [first, second] = looks;
    (first, second)
}

fn is_held(look: &Look) -> bool {
    matches!(look.standing, Standing::Held(_))
}

/// Whether a look ends a counter's past because an impossible value has stayed.
fn gives_up(look: &Look) -> Option<EventKind> {
    let (kind, ..) = look.event?;
    let anew = look.standing == Standing::Rebased;
    (anew && matches!(kind, EventKind::Reset | EventKind::Jump)).then_some(kind)
}

fn returned(look: &Look) -> bool {
    matches!(look.event, Some((EventKind::Return, ..)))
}

/// What a register says that is right by itself, or about to start anew, beside one in doubt.
fn doubted() -> Look {
    let why = "the meter's other register shows what cannot be".to_owned();
    Look { standing: Standing::Held(why), event: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::counter::Counter;
    use crate::device::Resets;

    const BOUNDS: Bounds = Bounds { limit_w: 40_000, slack_ms: 60_000 };
    const WH: i64 = 1_000;

    fn count(mwh: i64) -> Count {
        Count { mwh, rolls_over_at: None, resolution_mwh: None, resets: Resets::Never }
    }

    /// A meter that shows what it is told to.
    struct Meter {
        watched: [Watched; 2],
        start: [i64; 2],
    }

    impl Meter {
        fn starting(start_wh: [i64; 2]) -> Self {
            let start = start_wh.map(|wh| wh * WH);
            Self { watched: start.map(|mwh| Watched::resume(Counter::starting(mwh, 0))), start }
        }

        fn shows(&mut self, second: i64, mwh: [i64; 2]) -> [Look; 2] {
            let [import, export] = &mut self.watched;
            look_at_both([import, export], mwh.map(count), None, second * 1_000, BOUNDS)
        }

        /// What is booked so far, mWh.
        fn booked(&self) -> [i64; 2] {
            [0, 1].map(|i| self.watched[i].counter().total_mwh - self.start[i])
        }

        /// Restarts the agent: what is only suspected is forgotten.
        fn restart(&mut self) {
            self.watched = self.watched.clone().map(|w| Watched::resume(w.counter().clone()));
        }
    }

    /// Shows (second, import Wh, export Wh) one after another; the booked Wh, and the kinds of events
    /// of both registers without repetitions.
    fn after(
        start: [i64; 2],
        looks: &[(i64, i64, i64)],
    ) -> ([i64; 2], Vec<EventKind>, Vec<EventKind>) {
        let mut meter = Meter::starting(start);
        let mut kinds = [Vec::new(), Vec::new()];
        for &(second, import, export) in looks {
            let looks = meter.shows(second, [import * WH, export * WH]);
            for (kinds, look) in kinds.iter_mut().zip(looks) {
                kinds.extend(look.event.map(|(kind, ..)| kind));
                kinds.dedup();
            }
        }
        let [import, export] = kinds;
        (meter.booked().map(|mwh| mwh / WH), import, export)
    }

    #[test]
    fn both_registers_are_exchanged_together() {
        use EventKind::{Implausible, Jump, Reset, Return, Zero};
        let start = [1_400_000, 500];
        // Import far below the old one's, export a little above it.
        let new =
            [(10, 1_200, 1_200), (110, 1_201, 1_200), (210, 1_202, 1_202), (311, 1_203, 1_203)];
        let and = |more: &[(i64, i64, i64)]| [&new[..], more].concat();
        let two = || (vec![Implausible, Reset], vec![Reset]);
        let cases = [
            ("held and given up", and(&[]), [0, 0], two()),
            ("and counts on", and(&[(320, 1_210, 1_207)]), [7, 4], two()),
            (
                "the old one back after a year of the new one's minutes",
                and(&[(400, 1_400_020, 530)]),
                [20, 30],
                (vec![Implausible, Reset, Return], vec![Reset, Return]),
            ),
            (
                "a register in doubt for a moment",
                vec![(10, 1_200, 520), (20, 1_400_009, 540)],
                [9, 40],
                (vec![Implausible], vec![]),
            ),
            (
                "import jumps, and export is put aside with it",
                [1, 101, 201, 301].map(|s| (s, 9_400_000 + s, 500 + s)).to_vec(),
                [0, 0],
                (vec![Implausible, Jump], vec![Jump]),
            ),
            (
                "a new meter that has delivered nothing",
                [1, 101, 201, 301].map(|s| (s, s, 0)).to_vec(),
                [0, 0],
                (vec![Implausible, Reset], vec![Zero, Reset]),
            ),
            (
                "and starts to",
                [1, 101, 201, 301, 310].map(|s| (s, s, i64::from(s == 310))).to_vec(),
                [9, 1],
                (vec![Implausible, Reset], vec![Zero, Reset]),
            ),
            (
                // Wild at the very look at which import is given up: no baseline from that.
                "garbage while the other is given up",
                [(1, 3), (101, 4), (201, 5), (301, 6)]
                    .map(|(s, wh)| (s, wh, if s == 301 { 77_000_000 } else { 510 }))
                    .into_iter()
                    .chain([(310, 7, 511), (320, 8, 512)])
                    .collect(),
                [1, 1],
                (vec![Implausible, Reset], vec![Implausible, Reset]),
            ),
        ];
        for (name, looks, booked, (import, export)) in cases {
            assert_eq!(after(start, &looks), (booked, import, export), "{name}");
        }
    }

    #[test]
    fn what_is_put_aside_with_a_jump_can_be_confirmed() {
        let mut meter = Meter::starting([1_000, 500]);
        for second in [1, 100, 200, 301] {
            meter.shows(second, [900_000_000, (500 + second) * WH]);
        }
        let aside = meter.watched.each_ref().map(|watched| watched.counter().aside_mwh);
        assert_eq!((meter.booked(), aside), ([0, 0], [899_000_000, 301_000]));
        assert_eq!(meter.watched.each_mut().map(Watched::confirm), aside);
        assert_eq!(meter.booked(), [899_000_000, 301_000]);
    }

    proptest::proptest! {
        /// Whatever a new meter shows, as long as one of its registers gives the exchange away, no
        /// more is booked than flowed through both meters; and all of it before the exchange.
        #[test]
        fn an_exchange_makes_no_energy(
            before in proptest::collection::vec((0..100_000_i64, 0..100_000_i64), 1..20),
            behind in proptest::collection::vec((0..100_000_i64, 0..100_000_i64), 1..80),
            export_first in proptest::bool::ANY,
            above_mwh in -50_000_000..2_000_000_i64,
            fresh_mwh in 0..5_000_000_i64,
            restart_after in 0..80_usize,
        ) {
            let mut meter = Meter::starting([60_000, 60_000]);
            let mut shown = [60_000 * WH; 2];
            let mut flowed = [0; 2];
            let mut second = 0;
            for (a, b) in before {
                second += 10;
                (shown, flowed) = ([shown[0] + a, shown[1] + b], [flowed[0] + a, flowed[1] + b]);
                meter.shows(second, shown);
            }
            proptest::prop_assert_eq!(meter.booked(), flowed);
            // One register starts from little, the other anywhere around the old one.
            let near = (shown[usize::from(!export_first)] + above_mwh).max(0);
            shown = if export_first { [near, fresh_mwh] } else { [fresh_mwh, near] };
            for (index, (a, b)) in behind.into_iter().enumerate() {
                second += 10;
                (shown, flowed) = ([shown[0] + a, shown[1] + b], [flowed[0] + a, flowed[1] + b]);
                meter.shows(second, shown);
                if index == restart_after {
                    meter.restart();
                }
                for (booked, flowed) in meter.booked().into_iter().zip(flowed) {
                    proptest::prop_assert!(booked <= flowed, "{booked} mWh of {flowed}");
                }
            }
        }
    }
}
