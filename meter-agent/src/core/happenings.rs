//! What happened to the registers since the last reading, for the next one to tell.

use std::collections::BTreeMap;

use protocol::{EventKind, MAX_EVENTS, MeterEvent};

/// In the place of a register: the journal.
pub const JOURNAL: &str = "journal";

/// Events by register and kind: what happens again is counted, so that there are never many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Happenings(BTreeMap<(String, EventKind), MeterEvent>);

impl Happenings {
    /// Those that were noted before a restart.
    #[must_use]
    pub fn resume(noted: Vec<MeterEvent>) -> Self {
        let keyed = |event: MeterEvent| {
            let kind = event.kind.parse().ok()?;
            Some(((event.register.clone(), kind), event))
        };
        Self(noted.into_iter().filter_map(keyed).take(MAX_EVENTS).collect())
    }

    /// What must be kept over a restart: what happened to the journal. What happened to a counter is
    /// found again, for the counter is what the newest reading left.
    #[must_use]
    pub fn noted(&self) -> Vec<MeterEvent> {
        self.0.values().filter(|event| event.register == JOURNAL).cloned().collect()
    }

    /// Notes an event; whether it is the first of its kind since the last reading. A repetition
    /// keeps what was before and takes over what came after.
    pub fn add(
        &mut self,
        register: &str,
        kind: EventKind,
        before: i64,
        after: i64,
        time_ms: i64,
    ) -> bool {
        if let Some(event) = self.0.get_mut(&(register.to_owned(), kind)) {
            // The same gap is met again each time that the edge is tried.
            if kind != EventKind::Gap || event.after != after {
                event.times = event.times.saturating_add(1);
            }
            event.after = after;
            return false;
        }
        if self.0.len() >= MAX_EVENTS {
            return true;
        }
        let event = MeterEvent {
            register: register.to_owned(),
            kind: kind.to_string(),
            before,
            after,
            times: 1,
            time_ms,
        };
        self.0.insert((register.to_owned(), kind), event);
        true
    }

    /// Everything so far, in the order in which it was first seen.
    pub fn take(&mut self) -> Vec<MeterEvent> {
        let mut events: Vec<_> = std::mem::take(&mut self.0).into_values().collect();
        events.sort_by_key(|event| event.time_ms);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_counted_and_the_list_is_bounded() {
        let mut happenings = Happenings::default();
        assert!(happenings.add("import", EventKind::Zero, 50, 0, 9));
        assert!(!happenings.add("import", EventKind::Zero, 50, 1, 10));
        assert!(happenings.add("export", EventKind::Dip, 7, 6, 3));
        let events = happenings.take();
        let told: Vec<_> = events.iter().map(|e| (e.register.as_str(), e.after, e.times)).collect();
        assert_eq!(told, [("export", 6, 1), ("import", 1, 2)]);
        assert_eq!(happenings.take(), []);
        for device in 0..100 {
            happenings.add(&format!("produced.{device}"), EventKind::Dip, 1, 0, device);
        }
        assert_eq!(happenings.take().len(), MAX_EVENTS);
    }
}
