//! The register: what is reserved, who has it, who wanted it, and what would let them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{
    agent::{Agent, reply},
    protocol::{EventRecord, PortRow, Reply, TakenPort},
    wishes,
};
use crate::{
    diagnostics::{Diagnostics, render},
    kernel::{pool::settings_without_ours, sysctl::PortSettings},
    policy::{
        holdings::{self, Holding},
        listeners, orphans,
        suggestions::{self, Wish, open_ports},
    },
    ports::{Holder, HostListeners, connections},
    report::{
        expect,
        ports::{Observed, rows},
        refusals::Refusals,
        sockets,
    },
};

impl Agent {
    /// The register of what is reserved, with the sockets of the agent's own network
    /// namespace that have it.
    pub fn ports(&self) -> Vec<PortRow> {
        let policy = self.policy();
        let mut holdings = holdings::of(&policy, &HostListeners, |holder| self.exe_of(holder));
        if let Ok(holdings) = &mut holdings {
            orphans::mark(&policy, holdings);
            self.date(holdings);
        }
        let observed = Observed {
            holdings: holdings
                .inspect_err(|error| log::warn!("the kernel doesn't list its sockets: {error}"))
                .ok(),
            refusals: Refusals::new(self.kept_events()),
            changes: self.watch.changes(),
        };
        let tables = self.tables.borrow();
        rows(&policy, |entry| tables.refusals(entry), &observed)
    }

    /// Says when `holdings` were bound.
    fn date(&self, holdings: &mut [Holding]) {
        let register = self.watch.register.borrow();
        for holding in holdings {
            let held = register.socket(holding.socket.inode);
            let binder = held.and_then(|held| held.binder.as_ref());
            holding.bound = binder.map(|binder| binder.at);
        }
    }

    /// Whether ports are as they are expected to be.
    pub(super) fn expectations(&self) -> Reply {
        let policy = self.policy();
        let is_expected = |protocol, port| policy.expected.of(protocol, port).is_some();
        let exe_of = |holder: &Holder| self.exe_of(holder);
        match holdings::of_ports(&policy, &HostListeners, &is_expected, exe_of) {
            Ok(mut holdings) => {
                orphans::mark(&policy, &mut holdings);
                self.date(&mut holdings);
                reply(&expect::rows(&policy, &holdings))
            }
            Err(error) => Reply::Failed(format!("the kernel doesn't list its sockets: {error}")),
        }
    }

    /// Every socket of the agent's own network namespace.
    pub(super) fn sockets(&self) -> Reply {
        let mut found = match connections() {
            Ok(found) => found,
            Err(error) => {
                return Reply::Failed(format!("the kernel doesn't list its sockets: {error}"));
            }
        };
        for holder in found.iter_mut().flat_map(|(_, holders)| holders) {
            if let Some(exe) = self.exe_of(holder) {
                holder.exe = Some(exe);
            }
        }
        reply(&sockets::rows(&self.policy(), &found))
    }

    /// The reserved ports that somebody has, in order.
    pub(super) fn taken(&self) -> Reply {
        let policy = self.policy();
        let holdings = match holdings::of(&policy, &HostListeners, |holder| self.exe_of(holder)) {
            Ok(holdings) => holdings,
            Err(error) => {
                return Reply::Failed(format!("the kernel doesn't list its sockets: {error}"));
            }
        };
        let mut worst = BTreeMap::new();
        for holding in &holdings {
            let socket = &holding.socket;
            let port = worst
                .entry((socket.protocol.name(), socket.port))
                .or_insert(holding);
            if holding.state() > port.state() {
                *port = holding;
            }
        }
        let taken = worst.into_iter().map(|((protocol, port), holding)| {
            let holder = holding.speaker.as_ref().map(|speaker| &speaker.holder);
            TakenPort {
                protocol: protocol.to_owned(),
                port,
                state: holding.state().name().to_owned(),
                pid: holder.map(|holder| holder.pid),
                comm: holder.map(|holder| holder.comm.clone()),
            }
        });
        reply(&taken.collect::<Vec<_>>())
    }

    /// What would let those have their ports who were refused `since` then, and with
    /// `listeners` those who have one that nobody reserves.
    pub(super) fn suggest(&self, since: Option<&str>, listeners: bool) -> Reply {
        let since = match since.map(str::parse::<jiff::Timestamp>).transpose() {
            Ok(since) => since,
            Err(error) => return Reply::Failed(format!("since when? {error}")),
        };
        let is_new = |event: &EventRecord| {
            let time = event.time.parse::<jiff::Timestamp>().ok();
            since.is_none_or(|since| time.is_none_or(|time| time >= since))
        };
        let policy = self.policy();
        let events = self.kept_events().into_iter().filter(is_new);
        let mut wanted: Vec<Wish> = events
            .filter_map(|event| wishes::of_event(&policy, &event))
            .collect();
        if listeners {
            match open_ports(&policy, &HostListeners, |holder| self.exe_of(holder)) {
                Ok(open) => wanted.extend(open),
                Err(error) => {
                    return Reply::Failed(format!("the kernel doesn't list its sockets: {error}"));
                }
            }
        }
        let settings = PortSettings::of_host();
        reply(&suggestions::suggest(&policy, &settings, &wanted))
    }

    /// Logs who has a port that the policy in force would refuse (`LNT-07`), where nobody
    /// asked for that policy, so that nobody was told.
    pub(super) fn log_contradictions(&self) {
        let policy = self.policy();
        let mut diagnostics = Diagnostics::new();
        let host = settings_without_ours(&self.source.bpffs);
        listeners::compare(&policy, &HostListeners, Some(&host), None, &mut diagnostics);
        if diagnostics.iter().next().is_some() {
            let said = render::all(&diagnostics, &policy.sources, false);
            log::warn!("about who has ports already:\n{said}");
        }
    }

    fn kept_events(&self) -> Vec<EventRecord> {
        let kept: Vec<Rc<str>> = self.log.borrow().kept();
        let read = |line: &Rc<str>| serde_json::from_str(line).ok();
        kept.iter().filter_map(read).collect()
    }

    /// The executable as definitions of jobs name it: by the file, whatever its name is
    /// by now.
    pub(super) fn exe_of(&self, holder: &Holder) -> Option<PathBuf> {
        let executables = self.executables.in_force();
        let file = format!("/proc/{}/exe", holder.pid);
        executables.path_of(Path::new(&file)).map(Path::to_owned)
    }
}
