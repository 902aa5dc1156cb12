//! What the agent said so far, and what of it is to be seen.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

use jiff::{Timestamp, Zoned};
use serde::Serialize;

use super::{
    feed::News,
    rates::{Counted, Happened},
};
use crate::{
    daemon::protocol::{EventLine, EventRecord, Status, TakenPort},
    diagnostics::escaped,
    report::refusals::{count, is_refusal},
};

/// Callers that are remembered; those refused longest ago give way.
const MOST_CALLERS: usize = 5000;
/// Changes of ports that are remembered.
const MOST_CHANGES: usize = 200;

/// Who was refused what, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Caller {
    /// `tcp` or `udp`.
    pub protocol: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The process's name.
    pub comm: Option<String>,
    /// The job that it is.
    pub job: Option<String>,
    /// Its effective user.
    pub uid: u32,
    /// Its cgroup.
    pub cgroup: String,
    /// `deny` or `would-deny`.
    pub verdict: String,
    /// The reason's id.
    pub reason: String,
}

impl Caller {
    fn of(event: &EventRecord) -> Self {
        Self {
            protocol: event.protocol.clone(),
            port: event.port,
            comm: event.comm.clone(),
            job: event.job.clone(),
            uid: event.uid,
            cgroup: event.cgroup.clone(),
            verdict: event.verdict.clone(),
            reason: event.reason.clone(),
        }
    }

    /// The port as it is written.
    pub fn target(&self) -> String {
        match (&self.protocol, self.port) {
            (Some(protocol), Some(port)) => format!("{protocol}/{port}"),
            (Some(protocol), None) => protocol.clone(),
            _ => "unknown".into(),
        }
    }

    /// The process's name as it may be shown.
    pub fn name(&self) -> String {
        self.comm.as_deref().map_or("somebody".into(), escaped)
    }

    /// Why, in a word or two.
    pub fn why(&self) -> String {
        match self.verdict.as_str() {
            "deny" => self.reason.clone(),
            _ => format!("{} (audit)", self.reason),
        }
    }
}

/// How often a caller was refused.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    /// In all.
    pub count: u64,
    /// The last time, as RFC 3339.
    pub last: String,
    /// When.
    pub happened: Happened,
    /// The entry that did it the last time: where it is written, and how.
    pub entry: Option<String>,
}

/// A port that is another than it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// When it was seen, as RFC 3339.
    pub time: String,
    /// Such as `tcp/21`.
    pub port: String,
    /// What it was, as in the register.
    pub was: String,
    /// What it is.
    pub is: String,
    /// Who has it, or had it until now.
    pub holder: Option<String>,
}

/// What the agent said.
#[derive(Clone, Default)]
pub struct Seen {
    /// How things are, once it is known.
    pub status: Option<Status>,
    /// Since when the agent doesn't answer, as RFC 3339, and why.
    pub gone: Option<(String, String)>,
    /// Verdicts by reason; those of audit mode are set apart.
    pub verdicts: BTreeMap<(bool, String), Counted>,
    /// Who was refused.
    pub callers: BTreeMap<Caller, Refused>,
    /// Reserved ports that somebody has; `None` before they were looked at.
    pub taken: Option<BTreeMap<(String, u16), TakenPort>>,
    /// Ports that changed, the last one first.
    pub changes: VecDeque<Change>,
    /// Events that came too fast.
    pub missed: u64,
    /// The time of the newest event, as RFC 3339.
    newest: String,
    /// Events up to this time are known from an earlier stream.
    known_until: String,
}

impl Seen {
    /// Takes in `news`, which came `now`.
    pub fn take_in(&mut self, news: News, now: &Zoned) {
        match news {
            News::Figures(status) => self.figures(*status, now),
            News::Taken(taken) => self.ports(taken, now),
            News::Begins => self.known_until.clone_from(&self.newest),
            News::Event(EventLine::Missed { missed }) => self.missed += missed,
            News::Event(EventLine::Event(event)) => self.event(&event),
            // Not asked for.
            News::Event(EventLine::Port(_)) => {}
            News::Gone(why) => {
                let since = self.gone.take().map(|(since, _)| since);
                self.gone = Some((since.unwrap_or_else(|| stamp(now)), why));
            }
        }
    }

    fn figures(&mut self, status: Status, now: &Zoned) {
        let time = now.timestamp().as_millisecond() as f64 / 1000.0;
        for (audited, counts) in [(false, &status.counters), (true, &status.audited)] {
            for (reason, count) in counts {
                let counted = self.verdicts.entry((audited, reason.clone()));
                counted.or_default().add(time, *count);
            }
        }
        self.gone = None;
        self.status = Some(status);
    }

    fn event(&mut self, event: &EventRecord) {
        if !is_refusal(event) || event.time <= self.known_until {
            return;
        }
        if event.time > self.newest {
            self.newest.clone_from(&event.time);
        }
        let refused = self.callers.entry(Caller::of(event)).or_default();
        refused.count += count(event);
        if event.time > refused.last {
            refused.last.clone_from(&event.time);
        }
        if let Ok(time) = event.time.parse::<Timestamp>() {
            refused.happened.add(time.as_second(), count(event));
        }
        refused.entry = event.entry.as_ref().map(|entry| {
            let file = entry.file.as_deref().unwrap_or("line");
            let text = entry.text.as_deref().unwrap_or_default();
            escaped(&format!("{file}:{}: {text}", entry.line))
        });
        if self.callers.len() > MOST_CALLERS {
            let oldest = self.callers.iter().min_by_key(|(_, refused)| &refused.last);
            if let Some(oldest) = oldest.map(|(caller, _)| caller.clone()) {
                self.callers.remove(&oldest);
            }
        }
    }

    fn ports(&mut self, taken: Vec<TakenPort>, now: &Zoned) {
        let key = |port: TakenPort| ((port.protocol.clone(), port.port), port);
        let taken: BTreeMap<(String, u16), TakenPort> = taken.into_iter().map(key).collect();
        // What is there at first hasn't changed.
        if let Some(before) = self.taken.take() {
            let vanished = before.iter().filter(|(key, _)| !taken.contains_key(key));
            let mut changes: Vec<Change> = vanished
                .map(|(_, port)| change(port, &port.state, "closed", now))
                .collect();
            for (key, port) in &taken {
                let was = before.get(key).map_or("closed", |port| &port.state);
                if was != port.state {
                    changes.push(change(port, was, &port.state, now));
                }
            }
            for change in changes {
                self.changes.push_front(change);
            }
            self.changes.truncate(MOST_CHANGES);
        }
        self.taken = Some(taken);
    }

    /// How many reserved ports are in each state in which somebody has them.
    pub fn states(&self) -> BTreeMap<&str, usize> {
        let mut states = BTreeMap::new();
        for port in self.taken.iter().flatten() {
            *states.entry(port.1.state.as_str()).or_default() += 1;
        }
        states
    }

    /// What programs are told; the field names are a contract.
    pub fn report(&self) -> serde_json::Value {
        let now = Timestamp::now();
        let callers: Vec<serde_json::Value> = self
            .callers
            .iter()
            .map(|(caller, refused)| {
                let mut told = serde_json::json!(caller);
                told["count"] = refused.count.into();
                told["rate"] = refused.happened.rate(now.as_second()).into();
                told["last"] = refused.last.clone().into();
                told
            })
            .collect();
        let verdicts = |audited: bool| -> serde_json::Value {
            let of = self.verdicts.iter().filter(|((of, _), _)| *of == audited);
            of.map(|((_, reason), counted)| {
                let told = serde_json::json!({"count": counted.total(), "rate": counted.rate()});
                (reason.clone(), told)
            })
            .collect()
        };
        serde_json::json!({
            "time": format!("{now:.3}"),
            "agent": self.status.as_ref().filter(|_| self.gone.is_none()).and_then(|s| s.agent),
            "gone": self.gone.as_ref().map(|(_, why)| why),
            "mode": self.status.as_ref().map(|status| &status.mode),
            "generation": self.status.as_ref().map(|status| status.generation),
            "selftest": self.status.as_ref().map(|status| &status.selftest),
            "verdicts": verdicts(false),
            "audited": verdicts(true),
            "refusals": callers,
            "missed": self.missed,
            "ports": self.taken.as_ref().map(|taken| taken.values().collect::<Vec<_>>()),
            "changes": self.changes,
        })
    }
}

fn change(port: &TakenPort, was: &str, is: &str, now: &Zoned) -> Change {
    Change {
        time: stamp(now),
        port: format!("{}/{}", port.protocol, port.port),
        was: was.to_owned(),
        is: is.to_owned(),
        holder: match (&port.comm, port.pid) {
            (Some(comm), Some(pid)) => Some(format!("{} ({pid})", escaped(comm))),
            _ => None,
        },
    }
}

fn stamp(now: &Zoned) -> String {
    format!("{:.3}", now.timestamp())
}

/// In which order callers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Whoever is refused most often now comes first.
    #[default]
    Rate,
    /// In all.
    Count,
    /// The last one comes first.
    Last,
    /// By protocol and port.
    Port,
    /// By name.
    Who,
}

impl Sort {
    /// What comes first, in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Rate => "most often now first",
            Self::Count => "most often first",
            Self::Last => "last first",
            Self::Port => "by port",
            Self::Who => "by name",
        }
    }

    /// The next one in turn.
    pub const fn next(self) -> Self {
        match self {
            Self::Rate => Self::Count,
            Self::Count => Self::Last,
            Self::Last => Self::Port,
            Self::Port => Self::Who,
            Self::Who => Self::Rate,
        }
    }
}

/// What is known, and what of it is shown.
#[derive(Clone, Default)]
pub struct State {
    /// What is known.
    pub live: Seen,
    /// What was known when the view was paused.
    pub paused: Option<Box<(Seen, Zoned)>>,
    /// The order of the callers.
    pub sort: Sort,
    /// What shown callers have in them, in lower case.
    pub filter: String,
    /// Whether keys are letters of the filter.
    pub is_typing: bool,
    /// Whether the keys are explained.
    pub help: bool,
    /// The caller that is chosen.
    pub chosen: Option<Caller>,
}

impl State {
    /// What is shown, and when it was so: now, unless the view is paused.
    pub fn shown<'a>(&'a self, now: &'a Zoned) -> (&'a Seen, &'a Zoned) {
        match &self.paused {
            Some(paused) => (&paused.0, &paused.1),
            None => (&self.live, now),
        }
    }

    /// The callers that are shown, in order.
    pub fn rows<'a>(&'a self, now: &'a Zoned) -> Vec<(&'a Caller, &'a Refused)> {
        let (seen, now) = self.shown(now);
        rows(seen, now, self.sort, &self.filter)
    }
}

/// Those of the callers that have `filter` in them, by `sort`.
pub fn rows<'a>(
    seen: &'a Seen,
    now: &Zoned,
    sort: Sort,
    filter: &str,
) -> Vec<(&'a Caller, &'a Refused)> {
    let has = |caller: &Caller| {
        let job = caller.job.as_deref().unwrap_or_default();
        let (target, name, why) = (caller.target(), caller.name(), caller.why());
        let text = format!(
            "{target} {name} {job} {} {} {why}",
            caller.uid, caller.cgroup
        );
        text.to_lowercase().contains(filter)
    };
    let callers = seen.callers.iter();
    let mut rows: Vec<(&Caller, &Refused)> = callers.filter(|(caller, _)| has(caller)).collect();
    let second = now.timestamp().as_second();
    let rate = |refused: &Refused| (refused.happened.rate(second) * 10.0) as u64;
    // What is alike stays in the order of the ports.
    match sort {
        Sort::Rate => rows.sort_by_key(|(_, refused)| Reverse((rate(refused), &refused.last))),
        Sort::Count => rows.sort_by_key(|(_, refused)| Reverse(refused.count)),
        Sort::Last => rows.sort_by_key(|(_, refused)| Reverse(&refused.last)),
        Sort::Port => {}
        Sort::Who => rows.sort_by_key(|(caller, _)| caller.name().to_lowercase()),
    }
    rows
}
