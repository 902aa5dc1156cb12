//! Refusals by entry, in so many series at most.

use std::collections::BTreeMap;

use crate::policy::{
    build::Policy,
    reservations::{Kind, Reservation},
};

/// Most entries with a series of their own.
const MOST: usize = 100;
/// What stands in the place of the port for all others together.
pub const OTHERS: &str = "other";

/// What tells entries apart: protocol, ports, job. It stays the same when lines move.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// A port, a range such as `4000-4099`, or `unreserved`.
    pub ports: String,
    /// For whom it is, as written.
    pub job: String,
}

impl Labels {
    /// Those of `reservation`.
    pub fn of(reservation: &Reservation) -> Self {
        let (first, last) = (reservation.first, reservation.last);
        Self {
            protocol: reservation.protocol.name(),
            ports: match reservation.kind {
                Kind::Unreserved => "unreserved".into(),
                Kind::Port => first.to_string(),
                Kind::Range => format!("{first}-{last}"),
            },
            job: reservation.user.to_string(),
        }
    }
}

/// The entries that have a series of their own: those that refused first. Once it has one
/// an entry keeps it as long as it has refused, so that the sum of the others never falls
/// but with a change of the policy.
#[derive(Debug, Default)]
pub struct Exposed(BTreeMap<Labels, u64>);

impl Exposed {
    /// Takes in what the entries of `policy` have refused. Gives each that has a series
    /// its count, and the sum of the others.
    pub fn take_in(
        &mut self,
        policy: &Policy,
        refusals: &[(u32, u64)],
    ) -> (&BTreeMap<Labels, u64>, u64) {
        let mut now: BTreeMap<Labels, u64> = BTreeMap::new();
        for (index, count) in refusals {
            if let Some(reservation) = policy.reservation_of(*index) {
                *now.entry(Labels::of(reservation)).or_default() += count;
            }
        }
        self.count(now)
    }

    fn count(&mut self, now: BTreeMap<Labels, u64>) -> (&BTreeMap<Labels, u64>, u64) {
        self.0.retain(|labels, _| now.contains_key(labels));
        let mut others = 0;
        for (labels, count) in now {
            if self.0.len() < MOST || self.0.contains_key(&labels) {
                self.0.insert(labels, count);
            } else {
                others += count;
            }
        }
        (&self.0, others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(port: u16) -> Labels {
        Labels {
            protocol: "tcp",
            ports: port.to_string(),
            job: "A".into(),
        }
    }

    #[test]
    fn who_has_a_series_keeps_it() {
        let mut exposed = Exposed::default();
        let late = 0..3u16;
        let first = (1000..1000 + MOST as u16).map(|port| (labels(port), 1));
        let mut counts: BTreeMap<Labels, u64> = first.collect();
        assert_eq!(exposed.count(counts.clone()).1, 0);
        counts.extend(late.map(|port| (labels(port), 5)));
        counts.insert(labels(1000), 7);
        let (series, others) = exposed.count(counts.clone());
        assert_eq!((series.len(), others), (MOST, 15));
        assert_eq!(series[&labels(1000)], 7);
        // A place is free when an entry is gone.
        counts.remove(&labels(1000));
        let (series, others) = exposed.count(counts);
        assert_eq!((series.len(), others), (MOST, 10));
        assert_eq!(series[&labels(0)], 5);
    }
}
