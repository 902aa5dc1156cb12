//! Every metric: its name, what it means, and what it is now.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_common::abi::{ABI_VERSION, Mode, Protocol};
use prometheus::{
    CounterVec, Encoder as _, GaugeVec, Histogram, HistogramOpts, Opts, Registry, TextEncoder,
};

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

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// It only grows, or begins anew.
    Counter,
    /// It comes and goes.
    Gauge,
    /// Durations by size.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Type,
    /// What it means, in a sentence.
    pub help: &'static str,
    /// What its series differ in.
    pub labels: &'static [&'static str],
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(const $constant: Family = Family {
            name: $name,
            kind: Type::$kind,
            help: $help,
            labels: &[$($label),*],
        };)+

        /// All of them, as `docs/metrics.md` has them.
        pub const FAMILIES: &[Family] = &[$($constant),+];
    };
}

families! {
    BUILD_INFO = Gauge "portreeve_build_info" ["version", "abi"]
        "Always 1; the agent's version and that of the layout of its maps.";
    MODE = Gauge "portreeve_mode" ["mode"]
        "1 for the mode that is in force: enforce, audit, or none when nothing is judged.";
    READY = Gauge "portreeve_ready" []
        "1 if the mode asked for is proven by a self-test that is not too old, which /readyz says too.";
    SELFTEST_OK = Gauge "portreeve_selftest_ok" []
        "1 if the last self-test found every hook alive.";
    SELFTEST_TIME = Gauge "portreeve_selftest_timestamp_seconds" []
        "When the last self-test ended, in seconds since 1970.";
    HOOK_ATTACHED = Gauge "portreeve_hook_attached" ["hook"]
        "1 if the hook is attached.";
    NEIGHBOURS = Gauge "portreeve_neighbour_programs" ["after_ours"]
        "Programs of others on the same hooks; those that run after ours can allow what is refused.";
    MISSING = Gauge "portreeve_missing" ["what"]
        "1 for each thing that could be taken for enforced, and isn't; status says why.";
    DRIFT = Gauge "portreeve_drift_active" []
        "Things that others have changed and that are not mended.";
    DRIFTS = Counter "portreeve_drift_total" []
        "How often something was found that others had changed, mended or not, among the last 64 things.";
    GENERATION = Gauge "portreeve_policy_generation" []
        "Number of the policy in force; it grows with each that comes into force.";
    PUBLISHED = Gauge "portreeve_policy_published_timestamp_seconds" []
        "When the policy in force came into force, in seconds since 1970: its age is time() less this.";
    ENTRIES = Gauge "portreeve_policy_entries" []
        "Entries in force.";
    AUDITED = Gauge "portreeve_policy_entries_audited" []
        "Entries in force whose refusals are only told, as [audit] says.";
    DROPPED = Gauge "portreeve_policy_entries_dropped" []
        "Entries that were written and dropped for their errors, as on_error = \"skip\" allows.";
    DIFFERS = Gauge "portreeve_policy_differs_from_file" []
        "1 if the profile, an included file or the config is not what is in force.";
    CHANGES = Gauge "portreeve_policy_obeyed_files" []
        "Change files on top of the profile, which the next reload drops.";
    PENDING = Gauge "portreeve_policy_confirm_pending" []
        "1 if the policy in force is taken back unless it is confirmed.";
    RELOAD_REFUSED = Gauge "portreeve_reload_refused" []
        "1 if the last reload was refused, so that an older policy goes on.";
    PUBLISHING = Histogram "portreeve_publish_duration_seconds" []
        "How long it took to fill the tables and put a policy in force, the wait for running programs included.";
    VERDICTS = Counter "portreeve_verdicts_total" ["mode", "verdict", "reason", "protocol"]
        "Binds that were judged by a rule, by what came out.";
    REFUSALS = Counter "portreeve_entry_refusals_total" ["protocol", "port", "jobname"]
        "Binds that an entry refused since it is in force: 100 entries each by itself, the others together as port=\"other\".";
    EVENTS_LOST = Counter "portreeve_events_lost_total" []
        "Refusals whose event found no room; they were made and counted all the same.";
    EVENTS_SUPPRESSED = Counter "portreeve_events_suppressed_total" []
        "Refusals that were only counted, because the same second told enough like them.";
    REPORTS_LOST = Counter "portreeve_reports_lost_total" []
        "Events of binds that went on which found no room.";
    LISTENERS = Counter "portreeve_listeners_total" ["fate"]
        "Listeners that could not be refused at listen, by what became of them: stay and lost are left to listen.";
    POOL_MANAGED = Gauge "portreeve_pool_managed" []
        "1 if reserved ports are kept out of those that the kernel hands out.";
    POOL_FREE = Gauge "portreeve_pool_free_ports" []
        "Ports that are left for the kernel to hand out.";
    POOL_DROPPED = Counter "portreeve_pool_dropped_total" []
        "How often others undid what keeps reserved ports from being handed out.";
    PORTS = Gauge "portreeve_ports" ["protocol", "state"]
        "How many of the 65535 ports are in each state.";
    PORT_OPEN = Gauge "portreeve_port_open" ["protocol", "port", "jobname"]
        "Whether somebody listens whom this entry admits: 1 open, 0 closed. The first 1000 entries that are for a job.";
    CONTRADICTED = Gauge "portreeve_port_contradicted" ["protocol", "port", "jobname"]
        "1 for a port that somebody has whom the policy would refuse; jobname is whom it is reserved for. At most 1000 ports.";
    OMITTED = Gauge "portreeve_port_series_omitted" []
        "Entries and contradicted ports that have no series of their own for want of room.";
    SOCKETS_UP = Gauge "portreeve_sockets_up" []
        "1 if the kernel lists its sockets, without which nothing is said of ports.";
    ALERTS = Gauge "portreeve_port_alerts" ["alert"]
        "Ports that are not as expected for too long (broken), or change all the time (flapping).";
    WATCHED = Gauge "portreeve_watched_sockets" []
        "Sockets that have a port and whose end the kernel will tell.";
    WATCH_LOST = Counter "portreeve_watch_lost_total" []
        "How often the kernel had no room to tell what became of a socket; then it was looked for.";
    WATCH_MISTAKES = Counter "portreeve_watch_mistakes_total" []
        "Sockets that were not known as the kernel lists them, though nothing was lost: mistakes of portreeve.";
}

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
