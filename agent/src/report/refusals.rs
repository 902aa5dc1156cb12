//! Who was refused which port lately, from the events that an agent keeps.

use std::{collections::BTreeMap, ops::RangeInclusive};

use crate::{
    daemon::protocol::{EventRecord, PortRefusal},
    policy::reservations::Reservation,
};

/// Callers that the register names for one entry.
const SHOWN: usize = 5;

/// Refusals by protocol and port.
#[derive(Debug, Default)]
pub struct Refusals(BTreeMap<(String, u16), Vec<PortRefusal>>);

impl Refusals {
    /// Those among `events`, which are in the order of time. Of repetitions that were
    /// only counted, the port is that of the last that had an event of its own; if
    /// that isn't known, they are left out.
    pub fn new(events: impl IntoIterator<Item = EventRecord>) -> Self {
        let mut refusals = Self::default();
        for event in events {
            let (Some(protocol), Some(port)) = (event.protocol.clone(), event.port) else {
                continue;
            };
            if !is_refusal(&event) {
                continue;
            }
            let known = refusals.0.entry((protocol, port)).or_default();
            add(known, one(event, port));
        }
        refusals
    }

    /// Those of the ports of `reservation`.
    pub fn of(&self, reservation: &Reservation) -> Vec<PortRefusal> {
        let (first, last) = (reservation.first, reservation.last);
        self.of_ports(reservation.protocol.name(), first..=last)
    }

    /// Those of `ports`: of each caller one, the last one first.
    pub fn of_ports(&self, protocol: &str, ports: RangeInclusive<u16>) -> Vec<PortRefusal> {
        let of = |port: &u16| (protocol.to_owned(), *port);
        let ports = of(ports.start())..=of(ports.end());
        let mut found = Vec::new();
        for (_, refusals) in self.0.range(ports) {
            for refusal in refusals {
                add(&mut found, refusal.clone());
            }
        }
        found.sort_by(|a, b| b.time.cmp(&a.time));
        found.truncate(SHOWN);
        found
    }
}

/// Whether a bind was refused, or would have been but for audit mode.
pub(crate) fn is_refusal(event: &EventRecord) -> bool {
    matches!(event.verdict.as_str(), "deny" | "would-deny")
}

/// How many refusals an event stands for.
pub(crate) fn count(event: &EventRecord) -> u64 {
    event.repeated.max(1)
}

fn one(event: EventRecord, port: u16) -> PortRefusal {
    PortRefusal {
        count: count(&event),
        time: event.time,
        port,
        verdict: event.verdict,
        reason: event.reason,
        comm: event.comm,
        job: event.job,
        uid: event.uid,
        cgroup: event.cgroup,
    }
}

/// Adds `new` to those of the same caller, for the same reason.
fn add(known: &mut Vec<PortRefusal>, new: PortRefusal) {
    let is_like_it = |old: &&mut PortRefusal| {
        (&old.verdict, &old.reason, &old.comm, &old.job)
            == (&new.verdict, &new.reason, &new.comm, &new.job)
            && (old.uid, &old.cgroup) == (new.uid, &new.cgroup)
    };
    match known.iter_mut().find(is_like_it) {
        Some(old) => {
            old.count += new.count;
            // RFC 3339 in UTC, all of one length: the later one is the greater one.
            if new.time > old.time {
                (old.time, old.port) = (new.time, new.port);
            }
        }
        None => known.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::events::tests::event;

    fn refused(time: &str, port: u16, comm: &str, repeated: u64) -> EventRecord {
        EventRecord {
            time: time.into(),
            port: Some(port),
            comm: Some(comm.into()),
            repeated,
            ..event()
        }
    }

    fn reservation(first: u16, last: u16) -> Reservation {
        let text = format!("PORTRANGE {first} {} TCP OMVS", last - first + 1);
        let options = crate::profile::ReadOptions::default();
        let parsed = crate::profile::parse("p".as_ref(), text.as_bytes(), &options);
        let mut diagnostics = crate::diagnostics::Diagnostics::new();
        let rules = crate::policy::reservations::resolve(&parsed.profile, &mut diagnostics);
        rules.entries[0].clone()
    }

    /// Each caller once, with the last time and how often; allowed binds don't count.
    #[test]
    fn callers_are_told_once() {
        let allowed = EventRecord {
            verdict: "allow".into(),
            errno: None,
            ..refused("T9", 4000, "good", 0)
        };
        let audited = EventRecord {
            verdict: "would-deny".into(),
            errno: None,
            ..refused("T4", 4000, "wrong", 0)
        };
        let nowhere = EventRecord {
            port: None,
            ..refused("T8", 0, "wrong", 7)
        };
        let refusals = Refusals::new([
            refused("T1", 4000, "wrong", 0),
            refused("T2", 4001, "wrong", 0),
            refused("T3", 4001, "other", 0),
            audited,
            refused("T5", 4000, "wrong", 40),
            refused("T6", 5000, "wrong", 0),
            allowed,
            nowhere,
        ]);
        let told = |first, last| -> Vec<(String, u16, String, u64)> {
            let found = refusals.of(&reservation(first, last)).into_iter();
            found
                .map(|found| (found.time, found.port, found.verdict, found.count))
                .collect()
        };
        let row = |time: &str, port, verdict: &str, count| {
            (time.to_owned(), port, verdict.to_owned(), count)
        };
        assert_eq!(
            told(4000, 4009),
            [
                row("T5", 4000, "deny", 42),
                row("T4", 4000, "would-deny", 1),
                row("T3", 4001, "deny", 1),
            ]
        );
        assert_eq!(told(4001, 4001)[1], row("T2", 4001, "deny", 1));
        assert_eq!(told(4002, 4999), []);
    }

    #[test]
    fn the_last_callers_are_told() {
        let events = (0..9).map(|n| refused(&format!("T{n}"), 4000, &format!("c{n}"), 0));
        let told = Refusals::new(events).of(&reservation(4000, 4000));
        let times: Vec<&str> = told.iter().map(|told| told.time.as_str()).collect();
        assert_eq!(times, ["T8", "T7", "T6", "T5", "T4"]);
    }
}
