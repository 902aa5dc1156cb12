//! What an agent counts and tells, step by step, where a test says itself what that
//! must be. Nothing else may be counted or told.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use super::{Agent, Binder, Caller, Need, Want, refusal, snapshot::Snapshot};
use crate::ensure_eq;

/// What is known of an agent's counts and events so far.
pub struct Watch<'a, 's> {
    agent: &'a Agent<'s>,
    before: Snapshot,
}

/// Ids of the reasons that are counted, and how often.
pub type Counts<'a> = &'a [(&'a str, u64)];

impl<'a, 's> Watch<'a, 's> {
    /// From now on.
    pub fn start(agent: &'a Agent<'s>) -> Result<Self> {
        let before = Snapshot::take(agent)?;
        Ok(Self { agent, before })
    }

    /// Since the last look, exactly this was counted, and there were exactly these
    /// events. Of an event only the fields given are compared.
    pub fn expect(&mut self, counts: Counts<'_>, events: &[Value]) -> Result<()> {
        let (counters, audited) = (self.before.counters.clone(), self.before.audited.clone());
        self.expect_all(add(counters, counts)?, audited, events)
    }

    /// The same in audit mode.
    pub fn expect_audited(&mut self, counts: Counts<'_>, events: &[Value]) -> Result<()> {
        let (counters, audited) = (self.before.counters.clone(), self.before.audited.clone());
        self.expect_all(counters, add(audited, counts)?, events)
    }

    fn expect_all(
        &mut self,
        counters: BTreeMap<String, u64>,
        audited: BTreeMap<String, u64>,
        events: &[Value],
    ) -> Result<()> {
        let known = self.before.events.len();
        let after = Snapshot::with_events(self.agent, known + events.len())?;
        let new = after.events.get(known..).unwrap_or_default();
        ensure!(
            new.len() == events.len(),
            "{} events instead of {}\n  expected {events:#?}\n  found    {new:#?}",
            new.len(),
            events.len(),
        );
        for (found, expected) in new.iter().zip(events) {
            for (field, value) in expected.as_object().context("no fields")? {
                let found = found.pointer(&format!("/{field}"));
                let found = found.with_context(|| format!("no {field} in {new:#?}"))?;
                ensure_eq!(found, value, "{field} in {new:#?}");
            }
        }
        ensure_eq!(after.counters, counters, "counters");
        ensure_eq!(after.audited, audited, "audit counters");
        self.before = after;
        Ok(())
    }
}

fn add(mut counters: BTreeMap<String, u64>, counts: Counts<'_>) -> Result<BTreeMap<String, u64>> {
    for (reason, count) in counts {
        let counter = counters.get_mut(*reason);
        *counter.with_context(|| format!("no counter {reason}"))? += count;
    }
    Ok(counters)
}

/// A bind by a process of its own and what the policy says to it.
#[derive(Debug)]
pub struct Judged<'a> {
    caller: &'a Caller,
    want: Want,
    result: Result<(), Errno>,
    reason: &'a str,
    line: Option<u64>,
    granted: bool,
}

impl<'a> Judged<'a> {
    fn new(caller: &'a Caller, want: Want, reason: &'a str, line: u64) -> Self {
        Self {
            caller,
            want,
            result: Ok(()),
            reason,
            line: (line != 0).then_some(line),
            granted: false,
        }
    }

    /// Allowed for this reason by the entry on this line; 0 for none.
    pub fn allow(caller: &'a Caller, want: Want, reason: &'a str, line: u64) -> Self {
        Self::new(caller, want, reason, line)
    }

    /// The same, and the entry takes the place of a capability, if the kernel lets it.
    pub fn grant(caller: &'a Caller, want: Want, line: u64) -> Self {
        if matches!(Need::Grant.is_there(), Ok(false)) {
            // It needs the capability then, which root has.
            return match caller.uid() {
                0 => Self::allow(caller, want, "permitted", line),
                _ => Self::left_to_host(caller, want, line),
            };
        }
        let granted = true;
        Self {
            granted,
            ..Self::new(caller, want, "permitted", line)
        }
    }

    /// Allowed by the entry on this line, and then refused by the host's own rule.
    pub fn left_to_host(caller: &'a Caller, want: Want, line: u64) -> Self {
        let result = Err(Errno::EACCES);
        Self {
            result,
            ..Self::new(caller, want, "permitted", line)
        }
    }

    /// Refused for this reason by the entry on this line; 0 for none.
    pub fn deny(caller: &'a Caller, want: Want, reason: &'a str, line: u64) -> Self {
        let result = Err(refusal());
        Self {
            result,
            ..Self::new(caller, want, reason, line)
        }
    }

    /// Whether the policy refuses it, and not the host.
    fn is_refused(&self) -> bool {
        self.result.is_err() && self.reason != "permitted"
    }

    /// How it ends without an agent.
    fn without_agent(&self) -> Result<(), Errno> {
        let needs_capability = self.granted && self.caller.uid() != 0;
        match self.result {
            Ok(()) if needs_capability => Err(Errno::EACCES),
            Err(_) if self.is_refused() => Ok(()),
            result => result,
        }
    }

    fn event(&self, pid: u32) -> Value {
        json!({
            "hook": self.want.hook(),
            "verdict": if self.is_refused() { "deny" } else { "allow" },
            "reason": self.reason,
            "errno": self.is_refused().then(|| format!("{:?}", refusal())),
            "protocol": self.want.protocol(),
            "address": self.want.address,
            "port": self.want.port,
            "pid": pid,
            "comm": self.caller.name,
            "uid": self.caller.uid(),
            "granted": self.granted,
        })
    }
}

impl fmt::Display for Judged<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caller, want, .. } = self;
        let (name, uid) = (&caller.name, caller.uid());
        let (reason, line) = (self.reason, self.line.unwrap_or(0));
        write!(
            formatter,
            "{want} by {name}, user {uid}: {reason}, line {line}"
        )
    }
}

/// Shows how each bind ends where no agent judges.
pub fn free(cases: &[Judged<'_>]) -> Result<()> {
    for case in cases {
        let result = Binder::attempt(case.caller, &case.want)?;
        ensure_eq!(result, case.without_agent(), "without an agent: {case}");
    }
    Ok(())
}

/// Makes each bind under an agent that reports all, and checks errno, event and
/// counters of it.
pub fn judged(agent: &Agent<'_>, cases: &[Judged<'_>]) -> Result<()> {
    let mut watch = Watch::start(agent)?;
    for case in cases {
        let binder = Binder::start(case.caller, std::slice::from_ref(&case.want))?;
        ensure_eq!(binder.results, [case.result], "{case}");
        // What no rule is about is told, but not counted.
        let is_counted = case.reason != "unreserved";
        let mut event = case.event(binder.pid);
        match case.line {
            Some(line) => event["entry/line"] = line.into(),
            None => event["entry"] = Value::Null,
        }
        let counts = if is_counted {
            &[(case.reason, 1)][..]
        } else {
            &[]
        };
        watch
            .expect(counts, &[event])
            .with_context(|| case.to_string())?;
    }
    Ok(())
}
