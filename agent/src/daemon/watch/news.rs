//! What is told of ports that change, and of those that are not as expected.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::PortWatch;
use crate::{
    daemon::{
        agent::Agent,
        alerts::{Alert, Cause, Change, Level, Output},
        events::{Group, comm_bytes, since_boot, text_of, wall_clock},
        history::{Past, Who},
        outputs,
        protocol::{PortChange, PortNews},
    },
    policy::{build::Policy, holdings::State},
    ports::{
        Holder,
        register::{Actor, Port},
    },
};

/// How it came that a port is looked at.
pub enum Origin {
    /// A process did something to a socket.
    Process(Actor),
    /// Another policy is in force.
    Policy,
    /// It was found by a look.
    Look,
}

impl Agent {
    /// Notes that `port` was `from` and is `to`, and tells what is news of that; `who` has
    /// it now.
    pub(super) fn note_port(
        &self,
        policy: &Policy,
        port: Port,
        from: State,
        to: State,
        origin: &Origin,
        who: Option<&Holder>,
    ) {
        let watch = &self.watch;
        let (protocol, number) = port;
        let expected = policy.expected.of(protocol, number);
        let expected = expected.filter(|it| it.is_of_each()).map(|it| it.state);
        let now = Duration::from_nanos(since_boot());
        // What was so before anybody watched is no change.
        if from == to || !watch.is_settled.get() {
            let settled = watch.alerts.borrow_mut().settle(port, to, expected, now);
            return watch.tell(settled);
        }
        let change = Change {
            port,
            from,
            to,
            expected,
            cause: cause(origin),
        };
        let who = match origin {
            Origin::Process(actor) => Some(Who {
                pid: actor.pid,
                comm: text_of(comm_bytes(actor.comm)),
            }),
            Origin::Policy | Origin::Look => who.map(|holder| Who {
                pid: holder.pid,
                comm: holder.comm.clone(),
            }),
        };
        watch.history.borrow_mut().observe(&change, who, now);
        let news = watch.alerts.borrow_mut().observe(change, now);
        watch.tell(news);
    }

    /// Tells what time alone has made of ports that are not as expected.
    pub(super) fn tend_alerts(&self) {
        let now = Duration::from_nanos(since_boot());
        let news = self.watch.alerts.borrow_mut().tick(now);
        self.watch.tell(news);
    }
}

impl PortWatch {
    /// When [`Agent::tend_alerts`] has something to tell, from now.
    pub(super) fn next_alert(&self) -> Option<Duration> {
        let due = self.alerts.borrow().next_deadline()?;
        Some(due.saturating_sub(Duration::from_nanos(since_boot())))
    }

    /// What ports became lately, by port; the last first.
    pub fn changes(&self) -> BTreeMap<Port, Vec<PortChange>> {
        let history = self.history.borrow();
        let of_port = |(port, changes): (Port, &VecDeque<Past>)| {
            let change = |past: &Past| PortChange {
                port: port.1,
                time: wall_clock(past.at.as_nanos() as u64),
                from: past.from.name().to_owned(),
                to: past.to.name().to_owned(),
                cause: past.cause.name().to_owned(),
                pid: past.who.as_ref().map(|who| who.pid),
                comm: past.who.as_ref().map(|who| who.comm.clone()),
            };
            (port, changes.iter().rev().map(change).collect())
        };
        history.iter().map(of_port).collect()
    }

    /// The alerts that are raised.
    pub(super) fn raised(&self) -> Vec<PortNews> {
        let history = self.history.borrow();
        let raised = self.alerts.borrow();
        let of_alert = |alert: &Alert| {
            let who = history.last_by(alert.port);
            PortNews {
                pid: who.as_ref().map(|who| who.pid),
                comm: who.map(|who| who.comm),
                ..of_alert(alert)
            }
        };
        raised.raised().map(of_alert).collect()
    }

    fn tell(&self, news: Vec<Output>) {
        for output in news {
            let mut news = match output {
                Output::Event(change) => of_change(&change),
                Output::Raised(alert) => of_alert(&alert),
                Output::Cleared { alert, lasted } => PortNews {
                    news: "cleared".into(),
                    level: Level::Notice.name().into(),
                    lasted: Some(lasted.as_secs()),
                    ..of_alert(&alert)
                },
            };
            let port = port_of(&output);
            if let Some(who) = self.history.borrow().last_by(port) {
                news.pid = Some(who.pid);
                news.comm = Some(who.comm);
            }
            if let Ok(line) = serde_json::to_string(&news) {
                let group = Group::Port(port);
                self.news.borrow_mut().push(group, line.into());
            }
            // Ports that nobody expects anything of can change without end.
            if news.news != "change" {
                outputs::port(&news);
            }
        }
    }
}

const fn port_of(output: &Output) -> Port {
    match output {
        Output::Event(change) => change.port,
        Output::Raised(alert) | Output::Cleared { alert, .. } => alert.port,
    }
}

/// Why a port has changed that is looked at because of `origin`.
fn cause(origin: &Origin) -> Cause {
    match origin {
        Origin::Process(actor) if has_ended(actor.pid) => Cause::Ended,
        Origin::Process(_) => Cause::Owner,
        Origin::Policy => Cause::Policy,
        Origin::Look => Cause::Found,
    }
}

/// Whether a process is gone, or about to go: it closes what it had on its way out.
fn has_ended(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // The name before may have any character.
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

fn of_change(change: &Change) -> PortNews {
    let (protocol, port) = change.port;
    PortNews {
        time: wall_clock(since_boot()),
        news: "change".into(),
        level: "info".into(),
        protocol: protocol.name().into(),
        port,
        from: Some(change.from.name().into()),
        state: change.to.name().into(),
        expected: change.expected.map(|expected| expected.name().into()),
        cause: change.cause.name().into(),
        pid: None,
        comm: None,
        alert: None,
        since: None,
        lasted: None,
    }
}

fn of_alert(alert: &Alert) -> PortNews {
    let (protocol, port) = alert.port;
    PortNews {
        time: wall_clock(since_boot()),
        news: "alert".into(),
        level: alert.level.name().into(),
        protocol: protocol.name().into(),
        port,
        from: None,
        state: alert.state.name().into(),
        expected: Some(alert.expected.name().into()),
        cause: alert.cause.name().into(),
        pid: None,
        comm: None,
        alert: Some(alert.kind.name().into()),
        since: Some(wall_clock(alert.since.as_nanos() as u64)),
        lasted: None,
    }
}
