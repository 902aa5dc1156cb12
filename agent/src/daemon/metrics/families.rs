//! Every metric: what it is now.

pub mod declared;

use std::collections::{BTreeMap, BTreeSet};

use portreeve_common::abi::{ABI_VERSION, Mode, Protocol};
use prometheus::{
    CounterVec, Encoder as _, GaugeVec, Histogram, HistogramOpts, Opts, Registry, TextEncoder,
};

use self::declared::*;
use super::{
    entries::{Exposed, Labels, OTHERS},
    map::PortState,
    observer::Sockets,
    snapshot::Snapshot,
};
use crate::{
    daemon::{
        alerts::Kind as AlertKind,
        protocol::{DriftStatus, Status, WatchStatus},
        run::PROOF_INTERVAL,
    },
    kernel::hooks::HOOKS,
    policy::{
        holdings::{Holding, State},
        reservations::Kind,
    },
    profile::ast::User,
};

/// Most entries of which it is told whether their ports are open, and most ports of which
/// it is told that somebody else has them.
const MOST_PORTS: usize = 1000;

/// The durations of publishing, of which there are none yet.
///
/// # Errors
///
/// None; that name and buckets are right is found here.
pub fn publishing() -> prometheus::Result<Histogram> {
    const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
    let options = HistogramOpts::new(PUBLISHING.name, PUBLISHING.help).buckets(BUCKETS.into());
    Histogram::with_opts(options)
}

/// How old a self-test may be that proves anything.
fn is_fresh(status: &Status) -> bool {
    let at = status.selftest.as_ref().and_then(|test| seconds(&test.at));
    let now = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0;
    at.is_some_and(|at| now - at <= 3.0 * PROOF_INTERVAL.as_secs_f64())
}

/// Why the mode asked for is not proven; `None` if it is.
pub fn not_ready(status: &Status) -> Option<String> {
    let missing = HOOKS
        .iter()
        .find(|hook| !status.hooks.iter().any(|attached| attached == *hook));
    match &status.selftest {
        _ if status.mode == "none" => Some("nothing is in force".into()),
        _ if missing.is_some() => missing.map(|hook| format!("hook {hook} is not attached")),
        None => Some("there was no self-test yet".into()),
        Some(test) if !test.ok => Some(format!(
            "the self-test failed: {}",
            test.problem.as_deref().unwrap_or("no reason known")
        )),
        Some(test) if !is_fresh(status) => {
            Some(format!("the last self-test was long ago, at {}", test.at))
        }
        Some(_) => None,
    }
}

/// RFC 3339 to seconds since 1970.
fn seconds(time: &str) -> Option<f64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(time.as_millisecond() as f64 / 1000.0)
}

/// The text that Prometheus reads.
///
/// # Errors
///
/// If two series are the same, or a family isn't as it was declared.
pub fn text(
    snapshot: &Snapshot,
    sockets: Option<&Sockets>,
    exposed: &mut Exposed,
) -> prometheus::Result<Vec<u8>> {
    let page = Page(Registry::new());
    page.0.register(Box::new(snapshot.publishing.clone()))?;
    page.agent(snapshot)?;
    page.policy(&snapshot.status)?;
    if let Some(watch) = &snapshot.status.watch {
        page.watch(watch)?;
    }
    page.judged(snapshot, exposed)?;
    page.pool(&snapshot.status)?;
    let listed = sockets.is_some_and(|sockets| sockets.holdings.is_ok());
    page.one(&SOCKETS_UP, f64::from(listed))?;
    if let Some(sockets) = sockets.filter(|_| listed) {
        page.ports(sockets)?;
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.0.gather(), &mut text)?;
    Ok(text)
}

/// The series of one answer.
struct Page(Registry);

impl Page {
    fn one(&self, family: &Family, value: f64) -> prometheus::Result<()> {
        self.all(family, [(vec![], value)])
    }

    /// The series of a family, each with the values of its labels.
    fn all<'s>(
        &self,
        family: &Family,
        series: impl IntoIterator<Item = (Vec<&'s str>, f64)>,
    ) -> prometheus::Result<()> {
        let options = Opts::new(family.name, family.help);
        if family.kind == Type::Counter {
            let counters = CounterVec::new(options, family.labels)?;
            for (labels, value) in series {
                counters
                    .get_metric_with_label_values(&labels)?
                    .inc_by(value);
            }
            return self.0.register(Box::new(counters));
        }
        let gauges = GaugeVec::new(options, family.labels)?;
        for (labels, value) in series {
            gauges.get_metric_with_label_values(&labels)?.set(value);
        }
        self.0.register(Box::new(gauges))
    }

    fn agent(&self, snapshot: &Snapshot) -> prometheus::Result<()> {
        let status = &snapshot.status;
        let abi = ABI_VERSION.to_string();
        self.all(&BUILD_INFO, [(vec![env!("CARGO_PKG_VERSION"), &abi], 1.0)])?;
        let modes = [Mode::Enforce.name(), Mode::Audit.name(), "none"];
        let modes = modes.map(|mode| (vec![mode], f64::from(status.mode == mode)));
        self.all(&MODE, modes)?;
        self.one(&READY, f64::from(not_ready(status).is_none()))?;
        let selftest = status.selftest.as_ref();
        self.one(
            &SELFTEST_OK,
            f64::from(selftest.is_some_and(|test| test.ok)),
        )?;
        if let Some(at) = selftest.and_then(|test| seconds(&test.at)) {
            self.one(&SELFTEST_TIME, at)?;
        }
        let attached: BTreeSet<&str> = status.hooks.iter().map(String::as_str).collect();
        let hooks = HOOKS.into_iter().chain(attached.iter().copied());
        let hooks: BTreeSet<&str> = hooks.collect();
        let hooks = hooks.into_iter();
        self.all(
            &HOOK_ATTACHED,
            hooks.map(|hook| (vec![hook], f64::from(attached.contains(hook)))),
        )?;
        let behind = status.neighbours.iter().filter(|other| other.after_ours);
        let behind = behind.count();
        let before = status.neighbours.len() - behind;
        let neighbours = [("true", behind), ("false", before)];
        self.all(
            &NEIGHBOURS,
            neighbours.map(|(after, count)| (vec![after], count as f64)),
        )?;
        // What stands before the colon names it; what follows is for people.
        let missing = status.missing.iter();
        let missing: BTreeSet<&str> = missing
            .map(|text| text.split(':').next().unwrap_or(text))
            .collect();
        self.all(&MISSING, missing.into_iter().map(|what| (vec![what], 1.0)))?;
        let lasts = |drift: &&DriftStatus| drift.until.is_none();
        self.one(&DRIFT, status.drift.iter().filter(lasts).count() as f64)?;
        let times: u64 = status.drift.iter().map(|drift| drift.times).sum();
        self.one(&DRIFTS, times as f64)
    }

    fn policy(&self, status: &Status) -> prometheus::Result<()> {
        let profile = &status.profile;
        self.one(&GENERATION, f64::from(status.generation))?;
        if let Some(published) = seconds(&profile.published) {
            self.one(&PUBLISHED, published)?;
        }
        self.one(&ENTRIES, f64::from(profile.entries))?;
        self.one(&AUDITED, f64::from(profile.audited))?;
        self.one(&DROPPED, profile.dropped.unwrap_or_default() as f64)?;
        let differs = profile.differs_from_file.unwrap_or_default();
        self.one(&DIFFERS, f64::from(differs))?;
        let changes = profile.changes.as_ref().map_or(0, Vec::len);
        self.one(&CHANGES, changes as f64)?;
        self.one(&PENDING, f64::from(status.pending_confirm.is_some()))?;
        let reload = status.reload.as_ref();
        let refused = reload.is_some_and(|reload| reload.refused.is_some());
        self.one(&RELOAD_REFUSED, f64::from(refused))
    }

    fn watch(&self, watch: &WatchStatus) -> prometheus::Result<()> {
        let count = |kind: AlertKind| {
            let alerts = watch.alerts.iter();
            let same = alerts.filter(|alert| alert.alert.as_deref() == Some(kind.name()));
            (vec![kind.name()], same.count() as f64)
        };
        self.all(&ALERTS, [AlertKind::Broken, AlertKind::Flapping].map(count))?;
        self.one(&WATCHED, watch.sockets as f64)?;
        self.one(&WATCH_LOST, watch.lost as f64)?;
        self.one(&WATCH_MISTAKES, watch.mistakes as f64)
    }

    fn judged(&self, snapshot: &Snapshot, exposed: &mut Exposed) -> prometheus::Result<()> {
        let verdicts = snapshot.judged.iter().map(|judged| {
            let verdict = match (judged.reason.refuses(), judged.mode) {
                (false, _) => "allow",
                (true, Mode::Enforce) => "deny",
                (true, Mode::Audit) => "would-deny",
            };
            let (reason, protocol) = (judged.reason.id(), judged.protocol.name());
            let labels = vec![judged.mode.name(), verdict, reason, protocol];
            (labels, judged.count as f64)
        });
        self.all(&VERDICTS, verdicts)?;
        let (entries, others) = exposed.take_in(&snapshot.policy, &snapshot.refusals);
        let entries = entries.iter().map(|(labels, count)| {
            let Labels {
                protocol,
                ports,
                job,
            } = labels;
            (vec![*protocol, ports.as_str(), job.as_str()], *count as f64)
        });
        self.all(
            &REFUSALS,
            entries.chain([(vec!["", OTHERS, ""], others as f64)]),
        )?;
        let events = &snapshot.status.events;
        self.one(&EVENTS_LOST, events.lost as f64)?;
        self.one(&EVENTS_SUPPRESSED, events.suppressed as f64)?;
        self.one(&REPORTS_LOST, events.reports_lost as f64)?;
        let listeners = &snapshot.status.listeners;
        let fates = [
            ("destroyed", listeners.destroyed.unwrap_or_default()),
            ("closed", listeners.closed.unwrap_or_default()),
            ("stay", listeners.stay.unwrap_or_default()),
            ("late", listeners.late),
            ("lost", listeners.lost),
        ];
        self.all(
            &LISTENERS,
            fates.map(|(fate, count)| (vec![fate], count as f64)),
        )
    }

    fn pool(&self, status: &Status) -> prometheus::Result<()> {
        let pool = &status.pool;
        self.one(&POOL_MANAGED, f64::from(pool.managed))?;
        if let Some(free) = pool.free {
            self.one(&POOL_FREE, f64::from(free))?;
        }
        let dropped = pool.dropped.as_ref().map_or(0, |dropped| dropped.times);
        self.one(&POOL_DROPPED, dropped as f64)
    }

    fn ports(&self, sockets: &Sockets) -> prometheus::Result<()> {
        let states = Protocol::ALL.into_iter().flat_map(|protocol| {
            let counts = sockets.map.counts(protocol);
            let states = PortState::ALL.into_iter().zip(counts);
            states.map(move |(state, count)| {
                let labels = vec![protocol.name(), state.name()];
                (labels, f64::from(count))
            })
        });
        self.all(&PORTS, states)?;
        let mut omitted = 0;
        let mut bounded = |series: BTreeMap<Labels, bool>| {
            omitted += series.len().saturating_sub(MOST_PORTS);
            series.into_iter().take(MOST_PORTS).collect::<Vec<_>>()
        };
        let open = bounded(open(sockets));
        let contradicted = bounded(contradicted(sockets));
        for (family, series) in [(&PORT_OPEN, open), (&CONTRADICTED, contradicted)] {
            let series = series.iter().map(|(labels, value)| {
                let Labels {
                    protocol,
                    ports,
                    job,
                } = labels;
                (
                    vec![*protocol, ports.as_str(), job.as_str()],
                    f64::from(*value),
                )
            });
            self.all(family, series)?;
        }
        self.one(&OMITTED, omitted as f64)
    }
}

/// Of each entry that is for a job, whether somebody listens whom it admits.
fn open(sockets: &Sockets) -> BTreeMap<Labels, bool> {
    let policy = &sockets.policy;
    let holdings = sockets.holdings.as_deref().unwrap_or_default();
    let open = holdings
        .iter()
        .filter(|holding| holding.state() == State::Open);
    // Where nobody is to be seen the kernel itself listens, for whichever entry.
    let (seen, unseen): (Vec<_>, Vec<_>) = open.partition(|holding| holding.speaker.is_some());
    let admitted: BTreeSet<u32> = seen
        .iter()
        .filter_map(|holding| Some(holding.speaker.as_ref()?.verdict.entry))
        .collect();
    let mut found: BTreeMap<Labels, bool> = BTreeMap::new();
    for index in 0..policy.compiled.image.entries.len() as u32 {
        let Some(entry) = policy.reservation_of(index) else {
            continue;
        };
        if entry.kind == Kind::Unreserved || entry.user == User::Reserved {
            continue;
        }
        let ports = entry.first..=entry.last;
        let by_kernel = unseen.iter().any(|holding| {
            holding.socket.protocol == entry.protocol && ports.contains(&holding.socket.port)
        });
        *found.entry(Labels::of(entry)).or_default() |= by_kernel || admitted.contains(&index);
    }
    found
}

/// The ports that somebody has whom the policy would refuse, and whom they are for.
fn contradicted(sockets: &Sockets) -> BTreeMap<Labels, bool> {
    let holdings = sockets.holdings.as_deref().unwrap_or_default();
    let wrong = holdings
        .iter()
        .filter(|holding| holding.state() == State::Contradicted);
    let label = |holding: &Holding| {
        let socket = &holding.socket;
        let of_port = sockets.policy.reservations.iter().filter(|entry| {
            entry.kind != Kind::Unreserved
                && entry.protocol == socket.protocol
                && (entry.first..=entry.last).contains(&socket.port)
        });
        let jobs: Vec<String> = of_port.map(|entry| entry.user.to_string()).collect();
        Labels {
            protocol: socket.protocol.name(),
            ports: socket.port.to_string(),
            job: jobs.join(" "),
        }
    };
    wrong.map(|holding| (label(holding), true)).collect()
}

#[cfg(test)]
mod tests;
