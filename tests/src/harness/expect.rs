//! A bind and everything that must come of it: errno, event and counts.

use std::{collections::HashMap, fmt, path::Path, rc::Rc};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use super::{
    Agent, Binder, Caller, Need, Sandbox, Servant, Settings, Want, refusal,
    servant::Said,
    snapshot::{Line, Snapshot, milliseconds},
};
use crate::ensure_eq;

/// What must come of a bind. Entries are given as they stand in the profile.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// The policy refuses it.
    Refused {
        /// Id of the reason.
        reason: &'a str,
        /// The entry that stands for it.
        entry: &'a str,
    },
    /// An entry admits it, and it succeeds.
    Permitted {
        /// The entry.
        entry: &'a str,
        /// The bind needed no capability.
        granted: bool,
    },
    /// An entry admits it, and the host's own rule for low ports refuses it.
    LeftToHost {
        /// The entry.
        entry: &'a str,
    },
    /// No entry names the port, and it succeeds.
    Unreserved,
    /// No entry names the port, and the host's own rule refuses it.
    UnreservedLeftToHost,
    /// No entry names the port, and the policy refuses it all the same.
    RefusedUnreserved {
        /// Id of the reason.
        reason: &'a str,
    },
    /// No entry names the port, and the policy lets it be for this reason.
    AllowedUnreserved {
        /// Id of the reason.
        reason: &'a str,
    },
    /// It is none of the policy's business, and it succeeds.
    NotJudged,
    /// In audit mode: the policy would refuse it, and it succeeds.
    WouldRefuse {
        /// Id of the reason.
        reason: &'a str,
        /// The entry that stands for it.
        entry: &'a str,
    },
}

/// One bind by one process.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// Who.
    pub caller: Caller,
    /// What.
    pub want: Want,
    /// What comes of it.
    pub outcome: Outcome<'a>,
    /// Fields of the event that are otherwise than the bind as such has them.
    pub but: Vec<(&'static str, Value)>,
}

impl<'a> Case<'a> {
    fn new(caller: &Caller, want: Want, outcome: Outcome<'a>) -> Self {
        Self {
            caller: caller.clone(),
            want,
            outcome,
            but: Vec::new(),
        }
    }

    /// The same, but for a field of its event.
    pub fn but(mut self, field: &'static str, value: impl Into<Value>) -> Self {
        self.but.push((field, value.into()));
        self
    }

    /// The port is reserved by `entry` for other jobs.
    pub fn other_job(caller: &Caller, want: Want, entry: &'a str) -> Self {
        let reason = "other-job";
        Self::new(caller, want, Outcome::Refused { reason, entry })
    }

    /// `entry` refuses the caller for this reason.
    pub fn refused(caller: &Caller, want: Want, reason: &'a str, entry: &'a str) -> Self {
        Self::new(caller, want, Outcome::Refused { reason, entry })
    }

    /// The port is RESERVED by `entry`.
    pub fn blocked(caller: &Caller, want: Want, entry: &'a str) -> Self {
        let reason = "blocked";
        Self::new(caller, want, Outcome::Refused { reason, entry })
    }

    /// `entry` admits the caller.
    pub fn permitted(caller: &Caller, want: Want, entry: &'a str) -> Self {
        let granted = false;
        Self::new(caller, want, Outcome::Permitted { entry, granted })
    }

    /// `entry` admits the caller and takes the place of a capability, if the kernel
    /// lets it.
    pub fn granted(caller: &Caller, want: Want, entry: &'a str) -> Self {
        if !matches!(Need::Grant.is_there(), Ok(false)) {
            let granted = true;
            return Self::new(caller, want, Outcome::Permitted { entry, granted });
        }
        // It needs the capability then, which root has.
        match caller.uid() {
            0 => Self::permitted(caller, want, entry),
            _ => Self::left_to_host(caller, want, entry),
        }
    }

    /// `entry` admits the caller, but not the host's own rule.
    pub fn left_to_host(caller: &Caller, want: Want, entry: &'a str) -> Self {
        Self::new(caller, want, Outcome::LeftToHost { entry })
    }

    /// No entry names the port.
    pub fn unreserved(caller: &Caller, want: Want) -> Self {
        Self::new(caller, want, Outcome::Unreserved)
    }

    /// No entry names the port, and the host's own rule refuses it.
    pub fn unreserved_left_to_host(caller: &Caller, want: Want) -> Self {
        Self::new(caller, want, Outcome::UnreservedLeftToHost)
    }

    /// RESTRICTLOWPORTS refuses the caller an unreserved port.
    pub fn low_port(caller: &Caller, want: Want) -> Self {
        let reason = "low-port";
        Self::new(caller, want, Outcome::RefusedUnreserved { reason })
    }

    /// RESTRICTLOWPORTS doesn't concern the caller.
    pub fn privileged(caller: &Caller, want: Want) -> Self {
        let reason = "privileged-low-port";
        Self::new(caller, want, Outcome::AllowedUnreserved { reason })
    }

    /// The policy has no say.
    pub fn not_judged(caller: &Caller, want: Want) -> Self {
        Self::new(caller, want, Outcome::NotJudged)
    }

    /// In audit mode: `entry` would have refused it.
    pub fn would_refuse(caller: &Caller, want: Want, reason: &'a str, entry: &'a str) -> Self {
        Self::new(caller, want, Outcome::WouldRefuse { reason, entry })
    }

    /// How the bind ends without any agent.
    fn without_agent(&self) -> Result<(), Errno> {
        match self.outcome {
            Outcome::LeftToHost { .. } | Outcome::UnreservedLeftToHost => Err(Errno::EACCES),
            // The grant is what makes it possible.
            Outcome::Permitted { granted: true, .. } if self.caller.uid() != 0 => {
                Err(Errno::EACCES)
            }
            _ => Ok(()),
        }
    }

    /// How the bind ends under the policy.
    fn result(&self) -> Result<(), Errno> {
        match self.outcome {
            Outcome::Refused { .. } | Outcome::RefusedUnreserved { .. } => Err(refusal()),
            Outcome::LeftToHost { .. } | Outcome::UnreservedLeftToHost => Err(Errno::EACCES),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            caller,
            want,
            outcome,
            ..
        } = self;
        write!(
            formatter,
            "{want} by {} ({:?}), to be {outcome:?}",
            caller.name, caller.thread
        )
    }
}

/// Shows that each bind is as free as the host leaves it without an agent, starts
/// one, and then that each comes out as the case says.
pub fn judge<'s>(
    sandbox: &'s Sandbox,
    profile: &str,
    settings: Settings,
    cases: &[Case<'_>],
) -> Result<Agent<'s>> {
    judge_with(sandbox, profile, settings, "", cases)
}

/// The same with more text in the config, such as definitions of jobs.
pub fn judge_with<'s>(
    sandbox: &'s Sandbox,
    profile: &str,
    settings: Settings,
    config: &str,
    cases: &[Case<'_>],
) -> Result<Agent<'s>> {
    for case in cases {
        let result = Binder::attempt(&case.caller, &case.want)?;
        ensure_eq!(result, case.without_agent(), "without an agent: {case}");
    }
    sandbox.set_policy_with(profile, settings, config)?;
    let agent = sandbox.agent_again()?.start()?;
    expect(&agent, profile, settings, cases)?;
    Ok(agent)
}

/// Makes each bind in a process of its own and checks what comes of it.
pub fn expect(
    agent: &Agent<'_>,
    profile: &str,
    settings: Settings,
    cases: &[Case<'_>],
) -> Result<()> {
    expect_of(
        agent,
        &[(&agent.sandbox.profile(), profile)],
        settings,
        cases,
    )
}

/// The same with entries from several files.
pub fn expect_of(
    agent: &Agent<'_>,
    files: &[(&Path, &str)],
    settings: Settings,
    cases: &[Case<'_>],
) -> Result<()> {
    let lines = Lines::new(files);
    let mut before = Snapshot::take(agent)?;
    for case in cases {
        let cases = std::slice::from_ref(case);
        before = step(agent, &lines, settings, cases, &before)?;
    }
    Ok(())
}

/// Makes all binds in one process, that of the first case, and checks what comes
/// of them together.
pub fn expect_at_once(
    agent: &Agent<'_>,
    profile: &str,
    settings: Settings,
    cases: &[Case<'_>],
) -> Result<()> {
    let before = Snapshot::take(agent)?;
    let lines = Lines::new(&[(&agent.sandbox.profile(), profile)]);
    step(agent, &lines, settings, cases, &before).map(drop)
}

/// What a test does itself, by a servant that is still there when it is done.
pub type Deed<'t> = dyn Fn() -> Result<(Rc<Servant>, Said<()>)> + 't;

/// Lets a test do itself what makes the bind of `case`, and checks what comes of it.
pub fn expect_of_deed(
    agent: &Agent<'_>,
    profile: &str,
    settings: Settings,
    case: &Case<'_>,
    deed: &Deed<'_>,
) -> Result<()> {
    let before = Snapshot::take(agent)?;
    let lines = Lines::new(&[(&agent.sandbox.profile(), profile)]);
    let (servant, said) = deed()?;
    let cases = std::slice::from_ref(case);
    let made = (servant.pid, &[said][..]);
    check(agent, &lines, settings, cases, &before, made).map(drop)
}

/// Refusals of one rule, cgroup and user that make an event each within a second,
/// and fewer.
const TOLD: usize = 30;

/// Makes the binds in several processes, each in a cgroup of its own, so that each
/// refusal makes an event of its own, and checks what comes of them.
pub fn expect_apart(
    agent: &Agent<'_>,
    profile: &str,
    settings: Settings,
    cases: &[Case<'_>],
) -> Result<()> {
    for (number, cases) in cases.chunks(TOLD).enumerate() {
        let cgroup = agent.sandbox.cgroup_below(&format!("apart{number}"))?;
        let mut cases = cases.to_vec();
        for case in &mut cases {
            case.caller.cgroup.clone_from(&cgroup);
        }
        expect_at_once(agent, profile, settings, &cases)?;
    }
    Ok(())
}

fn step(
    agent: &Agent<'_>,
    lines: &Lines,
    settings: Settings,
    cases: &[Case<'_>],
    before: &Snapshot,
) -> Result<Snapshot> {
    let first = cases.first().context("no case")?;
    let wants: Vec<Want> = cases.iter().map(|case| case.want.clone()).collect();
    // The process is there until all is checked: its cgroup can be looked up.
    let binder = Binder::start(&first.caller, &wants)?;
    let made = (binder.pid, binder.results.as_slice());
    check(agent, lines, settings, cases, before, made)
}

/// Checks what came of binds that were made: by which process, and how they ended.
fn check(
    agent: &Agent<'_>,
    lines: &Lines,
    settings: Settings,
    cases: &[Case<'_>],
    before: &Snapshot,
    (pid, results): (u32, &[Said<()>]),
) -> Result<Snapshot> {
    let first = cases.first().context("no case")?;
    let mut expected = before.clone();
    for (case, result) in cases.iter().zip(results) {
        ensure_eq!(*result, case.result(), "{case}");
        count(&mut expected, case, lines, settings)?;
        let event = event(agent.sandbox, case, lines, settings, before, pid)?;
        expected.events.extend(event);
    }
    let after = Snapshot::with_events(agent, expected.events.len())?;
    ensure_eq!(after.counters, expected.counters, "counters after {first}");
    ensure_eq!(
        after.audited,
        expected.audited,
        "audit counters after {first}"
    );
    ensure_eq!(
        after.refusals,
        expected.refusals,
        "refusals by line after {first}"
    );
    let new = after.events.get(before.events.len()..).unwrap_or_default();
    let expected = &expected.events[before.events.len()..];
    ensure!(
        new.len() == expected.len(),
        "{} events instead of {} after {first}: {new:#?}",
        new.len(),
        expected.len()
    );
    for (found, expected) in new.iter().zip(expected) {
        let mut found = found.clone();
        let time = found.as_object_mut().and_then(|event| event.remove("time"));
        let time = milliseconds(&time.unwrap_or_default())?;
        ensure!(
            before.at <= time && time <= after.at,
            "the event of {first} has the time {time}, not one from {} to {}",
            before.at,
            after.at
        );
        ensure!(
            found == *expected,
            "the event of {first}\n  expected {expected}\n  found    {found}"
        );
    }
    Ok(after)
}

/// Adds to the counts what `case` adds.
fn count(
    snapshot: &mut Snapshot,
    case: &Case<'_>,
    lines: &Lines,
    settings: Settings,
) -> Result<()> {
    let (counters, reason) = match case.outcome {
        Outcome::Refused { reason, entry } => {
            *snapshot
                .refusals
                .get_mut(&lines.of(entry)?)
                .context("no row for the entry")? += 1;
            (&mut snapshot.counters, reason)
        }
        Outcome::RefusedUnreserved { reason } | Outcome::AllowedUnreserved { reason } => {
            (&mut snapshot.counters, reason)
        }
        Outcome::WouldRefuse { reason, .. } => (&mut snapshot.audited, reason),
        Outcome::Permitted { .. } | Outcome::LeftToHost { .. } if settings.audit => {
            (&mut snapshot.audited, "permitted")
        }
        Outcome::Permitted { .. } | Outcome::LeftToHost { .. } => {
            (&mut snapshot.counters, "permitted")
        }
        Outcome::Unreserved | Outcome::UnreservedLeftToHost | Outcome::NotJudged => return Ok(()),
    };
    *counters
        .get_mut(reason)
        .with_context(|| format!("no counter {reason}"))? += 1;
    Ok(())
}

/// The event `case` makes, if any, but for its time.
fn event(
    sandbox: &Sandbox,
    case: &Case<'_>,
    lines: &Lines,
    settings: Settings,
    before: &Snapshot,
    pid: u32,
) -> Result<Option<Value>> {
    let refused = format!("{:?}", refusal());
    let refused = Some(refused.as_str());
    let (verdict, reason, errno, entry, granted) = match case.outcome {
        Outcome::Refused { reason, entry } => ("deny", reason, refused, Some(entry), false),
        Outcome::WouldRefuse { reason, entry } => ("would-deny", reason, None, Some(entry), false),
        Outcome::RefusedUnreserved { reason } => ("deny", reason, refused, None, false),
        Outcome::NotJudged => return Ok(None),
        _ if !settings.report_all => return Ok(None),
        Outcome::Permitted { entry, granted } => ("allow", "permitted", None, Some(entry), granted),
        Outcome::LeftToHost { entry } => ("allow", "permitted", None, Some(entry), false),
        Outcome::AllowedUnreserved { reason } => ("allow", reason, None, None, false),
        Outcome::Unreserved | Outcome::UnreservedLeftToHost => {
            ("allow", "unreserved", None, None, false)
        }
    };
    let entry = match entry {
        Some(text) => {
            let (file, line) = lines.of(text)?;
            json!({"file": file, "line": line, "text": text})
        }
        None => Value::Null,
    };
    let Case { caller, want, .. } = case;
    let cgroup = want.from.as_ref().unwrap_or(&caller.cgroup);
    let below = cgroup.strip_prefix(&sandbox.cgroup)?;
    let cgroup = match below.to_str() {
        Some("") => sandbox.cgroup_name(),
        Some(below) => format!("{}/{below}", sandbox.cgroup_name()),
        None => String::new(),
    };
    let mut event = json!({
        "hook": want.hook(),
        "verdict": verdict,
        "reason": reason,
        "errno": errno,
        "protocol": want.protocol(),
        "address": want.address,
        "port": want.port,
        "pid": pid,
        "comm": caller.name,
        "job": caller.job,
        "kernel": false,
        "uid": caller.uid(),
        "cgroup": cgroup,
        "granted": granted,
        "rewritten": null,
        "sharing": null,
        "listener": null,
        "generation": before.generation,
        "entry": entry,
        "repeated": 0,
    });
    for (field, value) in &case.but {
        event[field] = value.clone();
    }
    Ok(Some(event))
}

/// Where each entry of a policy stands.
struct Lines(HashMap<String, Line>);

impl Lines {
    fn new(files: &[(&Path, &str)]) -> Self {
        let entry = |line: &str| squeezed(line.split(';').next().unwrap_or_default());
        let lines = files.iter().flat_map(|(file, text)| {
            let numbered = text.lines().map(entry).zip(1..);
            numbered.map(|(text, line)| (text, (file.display().to_string(), line)))
        });
        Self(lines.collect())
    }

    /// The line of `entry`, blanks and comments aside.
    fn of(&self, entry: &str) -> Result<Line> {
        let line = self.0.get(&squeezed(entry)).cloned();
        line.with_context(|| format!("no entry {entry:?} in the profile"))
    }
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
