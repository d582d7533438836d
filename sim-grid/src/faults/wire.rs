//! What becomes of one right answer on its way to the client.

use std::time::Duration;

use super::Fault;
use crate::world::chance::Chance;

/// Length of the header in front of function code and content, with the unit id.
const HEADER: usize = 7;

/// A fault that a house has right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Active {
    /// The unit concerned; none: all behind the port.
    pub unit: Option<u8>,
    /// What it does.
    pub fault: Fault,
    /// Share of the requests that it happens to, percent.
    pub chance_percent: u8,
}

/// What a connection remembers.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Draws whether a fault happens.
    pub chance: Chance,
    asked: u64,
    answered: u32,
    previous: Option<Vec<u8>>,
}

impl Memory {
    /// Of a fresh connection.
    pub const fn new(chance: Chance) -> Self {
        Self { chance, asked: 0, answered: 0, previous: None }
    }

    /// Counts a question; whether it is the second, the fourth and so on.
    pub const fn turn(&mut self) -> bool {
        self.asked += 1;
        self.asked.is_multiple_of(2)
    }
}

/// What is done about a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// These bytes are sent, after a while.
    Answer {
        /// The frame.
        frame: Vec<u8>,
        /// How long to wait first.
        after: Duration,
    },
    /// Nothing is sent.
    Silence,
    /// The connection is reset.
    Reset,
}

/// Decides about a request whose right answer (a whole frame) is known. `age`: how long the
/// connection has been open.
pub(crate) fn react(
    active: &[Active],
    memory: &mut Memory,
    age: Duration,
    right: Vec<u8>,
) -> Reaction {
    let unit = right[HEADER - 1];
    let mut frame = right.clone();
    let mut after = Duration::ZERO;
    let (mut half, mut silent) = (false, false);
    for one in active {
        let concerned = one.unit.is_none_or(|only| only == unit);
        if !concerned || memory.chance.between(0, 100) >= u64::from(one.chance_percent) {
            continue;
        }
        match &one.fault {
            Fault::Reset { after_requests } if memory.answered >= *after_requests => {
                return Reaction::Reset;
            }
            Fault::Deaf { connect_ms } => {
                silent |= age < Duration::from_millis((*connect_ms).into())
            }
            Fault::UnitOffline { code: None } => silent = true,
            Fault::UnitOffline { code: Some(code) } | Fault::Exception { code } => {
                frame = refusal(&right, *code);
            }
            Fault::PreviousReply { renumbered } => {
                if let Some(previous) = &memory.previous {
                    frame.clone_from(previous);
                    if *renumbered {
                        frame[..2].copy_from_slice(&right[..2]);
                    }
                }
            }
            Fault::HalfFrame {} => half = true,
            Fault::LateReply { delay_ms } => {
                after = after.max(Duration::from_millis((*delay_ms).into()));
            }
            _ => {}
        }
    }
    memory.previous = Some(right);
    if silent {
        return Reaction::Silence;
    }
    memory.answered = memory.answered.saturating_add(1);
    if half {
        frame.truncate(frame.len() / 2);
    }
    Reaction::Answer { frame, after }
}

/// The same question refused.
fn refusal(right: &[u8], code: u8) -> Vec<u8> {
    let mut frame = right[..HEADER].to_vec();
    frame[4..6].copy_from_slice(&3_u16.to_be_bytes());
    frame.extend([right[HEADER] | 0x80, code]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Duration = Duration::from_secs(60);

    fn memory() -> Memory {
        Memory::new(Chance::new(1, "wire"))
    }

    /// An answer of unit 2 with two registers.
    fn answer(number: u8, value: u8) -> Vec<u8> {
        vec![0, number, 0, 0, 0, 7, 2, 3, 4, 0, value, 0, value]
    }

    fn active(fault: Fault) -> [Active; 1] {
        [Active { unit: Some(2), fault, chance_percent: 100 }]
    }

    fn sent(frame: Vec<u8>) -> Reaction {
        Reaction::Answer { frame, after: Duration::ZERO }
    }

    #[test]
    fn each_fault_does_what_it_says() {
        let late = Duration::from_millis(400);
        let cases = [
            (
                Fault::LateReply { delay_ms: 400 },
                Reaction::Answer { frame: answer(2, 9), after: late },
            ),
            (Fault::PreviousReply { renumbered: false }, sent(answer(1, 8))),
            (Fault::PreviousReply { renumbered: true }, sent(answer(2, 8))),
            (Fault::Exception { code: 6 }, sent(vec![0, 2, 0, 0, 0, 3, 2, 0x83, 6])),
            (Fault::UnitOffline { code: Some(11) }, sent(vec![0, 2, 0, 0, 0, 3, 2, 0x83, 11])),
            (Fault::UnitOffline { code: None }, Reaction::Silence),
            (Fault::HalfFrame {}, sent(answer(2, 9)[..6].to_vec())),
            (Fault::Reset { after_requests: 1 }, Reaction::Reset),
            (Fault::Reset { after_requests: 2 }, sent(answer(2, 9))),
            (Fault::Deaf { connect_ms: 1_500 }, sent(answer(2, 9))),
        ];
        for (fault, expected) in cases {
            let mut memory = memory();
            assert_eq!(react(&[], &mut memory, OLD, answer(1, 8)), sent(answer(1, 8)));
            let reaction = react(&active(fault.clone()), &mut memory, OLD, answer(2, 9));
            assert_eq!(reaction, expected, "{fault:?}");
        }
        let deaf = active(Fault::Deaf { connect_ms: 1_500 });
        let young = Duration::from_millis(1_499);
        assert_eq!(react(&deaf, &mut memory(), young, answer(1, 8)), Reaction::Silence);
    }

    #[test]
    fn other_units_are_left_alone_and_chance_is_kept() {
        let mut other = active(Fault::UnitOffline { code: None });
        other[0].unit = Some(1);
        assert_eq!(react(&other, &mut memory(), OLD, answer(1, 8)), sent(answer(1, 8)));
        let mut rare = active(Fault::UnitOffline { code: None });
        rare[0].chance_percent = 10;
        let mut memory = memory();
        let silent = (0..10_000)
            .filter(|_| react(&rare, &mut memory, OLD, answer(1, 8)) == Reaction::Silence)
            .count();
        assert!((900..1_100).contains(&silent), "{silent} of 10000");
    }
}
