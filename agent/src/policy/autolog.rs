//! The procedures that AUTOLOG lists, and what stands for each of them on this host.

mod host;
mod lint;
#[cfg(test)]
mod tests;
mod units;

use std::{collections::HashMap, net::IpAddr, path::Path, time::Duration};

use self::host::{acts, manager, slice};
pub use self::{
    host::{Host, Manager},
    lint::advise,
    units::{cgroups_of, slice_of},
};
use super::reservations::{Kind, Reservation};
use crate::{
    config::{self, Backend, Condition, Config, KERNEL},
    diagnostics::{Code, Diagnostic, Diagnostics, Span, quoted},
    profile::ast::{self, Profile, Statement, User},
};

/// How long an active procedure has to end where AUTOLOG doesn't say (`ALG-06`).
const DEFAULT_WAIT: u8 = 5;
/// What AUTOLOG asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Autolog {
    /// Whether procedures are started and cancelled, or only watched.
    pub acts: bool,
    /// Who does that.
    pub manager: Manager,
    /// The cgroup that procedures have theirs in, from the root of the cgroups.
    pub slice: String,
    /// The procedures, in the order in which they are listed.
    pub procedures: Vec<Procedure>,
}

impl Autolog {
    /// Whether the agent itself has commands to start.
    pub fn starts_itself(&self) -> bool {
        let is_command = |one: &Procedure| matches!(one.runs, Some(Runs::Command { .. }));
        self.acts && self.manager == Manager::Agent && self.procedures.iter().any(is_command)
    }
}

/// A procedure that is started and watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Procedure {
    /// Its name.
    pub name: String,
    /// The job that its ports are reserved for (`ALG-07`).
    pub job: String,
    /// The text of PARMSTRING (`ALG-08`). It may be a secret.
    pub parm: Option<String>,
    /// DELAYSTART DVIPA.
    pub after_dvipa: bool,
    /// DELAYSTART TTLS.
    pub after_ttls: bool,
    /// How long it has to end where it is active already, in minutes (`ALG-02`).
    pub wait: u8,
    /// What is started; `None` if nothing is, and nobody said what it would be.
    pub runs: Option<Runs>,
    /// Where it is listed.
    pub span: Span,
}

impl Procedure {
    /// The same, in minutes as a duration.
    pub fn wait(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.wait))
    }

    /// What it waits for, as the profile says it.
    pub fn delays(&self) -> Vec<&'static str> {
        let delays = [(self.after_dvipa, "dvipa"), (self.after_ttls, "ttls")];
        let given = delays.into_iter().filter(|(given, _)| *given);
        given.map(|(_, word)| word).collect()
    }

    /// Whether `other` is listed as the same thing, wherever that stands.
    pub fn is_same(&self, other: &Self) -> bool {
        let moved = Self {
            span: self.span,
            ..other.clone()
        };
        *self == moved
    }

    /// Its name, and its job's if that is another.
    pub fn title(&self) -> String {
        match self.name == self.job {
            true => self.name.clone(),
            false => format!("{} ({})", self.name, self.job),
        }
    }
}

/// What is started for a procedure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// A unit that somebody has written.
    Unit {
        /// Its name.
        name: String,
    },
    /// A command, in a unit that is made for it and gone with it; without systemd in a
    /// cgroup that is called like that.
    Command {
        /// The unit's name.
        name: String,
        /// The program and its arguments.
        words: Vec<String>,
    },
}

impl Runs {
    /// The unit's name.
    pub fn unit(&self) -> &str {
        match self {
            Self::Unit { name } | Self::Command { name, .. } => name,
        }
    }
}

/// Settles what `profile` lists under `config`; `host` is the host that it is for, if it
/// is known. What can't be had is reported, and left out.
pub fn settle(
    profile: &Profile,
    config: &Config,
    host: Option<Host>,
    diagnostics: &mut Diagnostics,
) -> Autolog {
    let listed = listed(profile);
    let Some((first, _)) = listed.first() else {
        return Autolog::default();
    };
    let manager = manager(config, host.as_ref());
    let slice = slice(config, manager, host.as_ref());
    let acts = acts(config, host.as_ref(), first.span, diagnostics);
    let mut settled = Settled {
        config,
        acts,
        manager,
        slice: &slice,
        host: host.as_ref(),
        procedures: Vec::new(),
        units: HashMap::new(),
    };
    for (procedure, wait) in listed {
        if let Err(why) = settled.add(procedure, wait) {
            diagnostics.push(*why);
        }
    }
    let procedures = settled.procedures;
    Autolog {
        acts,
        manager,
        slice,
        procedures,
    }
}

/// The procedures in order, each with the minutes of its statement: the first AUTOLOG of a
/// change file takes the place of what was before, others add to it (`ALG-24`).
fn listed(profile: &Profile) -> Vec<(&ast::Procedure, u8)> {
    let mut listed = Vec::new();
    for statement in &profile.statements {
        let Statement::Autolog(autolog) = statement else {
            continue;
        };
        if autolog.replaces {
            listed.clear();
        }
        let wait = autolog.wait.unwrap_or(DEFAULT_WAIT);
        listed.extend(autolog.procedures.iter().map(|one| (one, wait)));
    }
    listed
}

struct Settled<'a> {
    config: &'a Config,
    acts: bool,
    manager: Manager,
    slice: &'a str,
    host: Option<&'a Host>,
    procedures: Vec<Procedure>,
    /// Where the procedure of a unit is listed.
    units: HashMap<String, Span>,
}

impl Settled<'_> {
    fn add(&mut self, listed: &ast::Procedure, wait: u8) -> Result<(), Box<Diagnostic>> {
        let name = listed.name.clone();
        let job = listed.jobname.clone().unwrap_or_else(|| name.clone());
        let span = listed.span;
        let mut known = self.procedures.iter();
        if let Some(same) = known.find(|one| one.name == name && one.job == job) {
            let message = format!("the procedure {name} is listed already for job {job}");
            let said = Diagnostic::error(Code::DuplicateProcedure, span, message)
                .related(same.span, "this came first")
                .help("the same procedure may be listed again with another JOBNAME");
            return Err(Box::new(said));
        }
        let runs = self.runs(listed, &job)?;
        if let Some(runs) = &runs {
            let earlier = self.units.get(runs.unit()).copied();
            if let Some(earlier) = earlier.filter(|_| self.acts) {
                let unit = runs.unit();
                let message = format!("{name} is {unit}, and so is a procedure before it");
                let said = Diagnostic::error(Code::BadProcedure, span, message)
                    .related(earlier, "this came first")
                    .help("a unit is one procedure; an instance such as x@{job}.service or x@{parm}.service is another one for each");
                return Err(Box::new(said));
            }
            self.units.insert(runs.unit().to_owned(), span);
        }
        let ttls = self.config.delaystart.ttls.as_ref();
        let lacks = match (ttls, self.manager) {
            (None, _) => Some("nothing says when that is: Linux has no AT-TLS to ask"),
            (Some(Condition::Unit(_)), Manager::Agent) => {
                Some("there is no systemd that knows of its unit")
            }
            _ => None,
        };
        if let Some(lacks) = lacks.filter(|_| self.acts && listed.after_ttls) {
            let message = format!("{name} is to wait for TTLS, and {lacks}");
            let help = match self.manager {
                Manager::Systemd => "name a unit or files under [delaystart] ttls",
                Manager::Agent => "name files under [delaystart] ttls",
            };
            let said = Diagnostic::error(Code::NoCondition, span, message).help(help);
            return Err(Box::new(said));
        }
        self.procedures.push(Procedure {
            name,
            job,
            parm: listed.parameters.clone(),
            after_dvipa: listed.after_dvipa,
            after_ttls: listed.after_ttls,
            wait,
            runs,
            span,
        });
        Ok(())
    }

    fn runs(&self, listed: &ast::Procedure, job: &str) -> Result<Option<Runs>, Box<Diagnostic>> {
        let name = &listed.name;
        let mut procs = self.config.procs.iter();
        let Some(proc) = procs.find(|proc| proc.name == *name) else {
            if !self.acts {
                return Ok(None);
            }
            let unit = name.to_ascii_lowercase();
            let message = format!("nothing says what the procedure {name} is on this host");
            let help = format!(
                "write [procs.{name}] with unit = \"{unit}.service\" or exec = [\"/path/of/it\"]"
            );
            let said = Diagnostic::error(Code::NoProcedure, listed.span, message).help(help);
            return Err(Box::new(said));
        };
        let bad = |why: String| {
            let said = Diagnostic::error(Code::BadProcedure, listed.span, why);
            Box::new(said.related(proc.span, "this is what stands for it"))
        };
        let other = match (self.config.autolog.backend, &proc.runs) {
            (Backend::Unit, config::Runs::Exec(_)) => Some("command"),
            (Backend::Exec, config::Runs::Unit(_)) => Some("unit"),
            _ => None,
        };
        if let Some(other) = other {
            let word = self.config.autolog.backend.word();
            return Err(bad(format!(
                "{name} is a {other}, and [autolog] backend = {} starts none",
                quoted(word)
            )));
        }
        if self.acts && self.manager == Manager::Agent {
            self.can_be_started(name, &proc.runs, listed.span)?;
        }
        let parm = listed.parameters.as_deref();
        let runs = match &proc.runs {
            config::Runs::Unit(unit) => {
                units::instance(unit, parm, job).map(|name| Runs::Unit { name })
            }
            config::Runs::Exec(words) => units::command(words, parm, job).and_then(|words| {
                let name = units::of_command(name, job)?;
                Ok(Runs::Command { name, words })
            }),
        };
        runs.map(Some).map_err(|why| bad(format!("{name} {why}")))
    }

    /// Whether the agent can start what stands for the procedure `name`, without systemd.
    fn can_be_started(
        &self,
        name: &str,
        runs: &config::Runs,
        span: Span,
    ) -> Result<(), Box<Diagnostic>> {
        let attached = self.host.map(|host| &host.attached);
        let (message, help) = match runs {
            config::Runs::Unit(unit) => (
                format!("{name} is {unit}, and the first process here is not systemd"),
                "write exec = [\"/path/of/it\"], which takes no systemd, or [autolog] backend = \"none\" to have procedures watched only",
            ),
            config::Runs::Exec(_) if self.host.is_some_and(|host| !host.starts) => (
                format!("{name} can't be started by an agent that began without any command"),
                "start the agent again: before it has a policy in force it gives up what that takes",
            ),
            config::Runs::Exec(_) => match attached {
                Some(Err(why)) => (
                    format!("{name} can't have a cgroup of its own: {why}"),
                    "write [autolog] backend = \"none\" to have procedures watched only",
                ),
                Some(Ok(attached)) if !Path::new(self.slice).starts_with(attached) => (
                    format!(
                        "{name} would run in {}, and enforced is only what is in {attached}",
                        self.slice
                    ),
                    "name a cgroup below that with [autolog] slice",
                ),
                _ => return Ok(()),
            },
        };
        let said = Diagnostic::error(Code::NoManager, span, message).help(help);
        Err(Box::new(said))
    }
}

/// The jobs of the config and, for each job of a procedure that it doesn't define, that
/// job: it is whoever is in the unit's cgroup, or in that of the socket unit of the same
/// name.
pub fn jobs(config: &Config, autolog: &Autolog) -> Vec<config::Job> {
    let mut jobs = config.jobs.clone();
    let defined = jobs.len();
    for Procedure {
        job, runs, span, ..
    } in &autolog.procedures
    {
        let Some(runs) = runs.as_ref().filter(|_| job != KERNEL) else {
            continue;
        };
        if jobs[..defined].iter().any(|known| known.name == *job) {
            continue;
        }
        let definition = config::Definition {
            cgroup: cgroups_of(runs.unit(), &autolog.slice),
            ..config::Definition::default()
        };
        match jobs[defined..].iter_mut().find(|known| known.name == *job) {
            Some(known) => known.alternatives.push(definition),
            None => jobs.push(config::Job {
                name: job.clone(),
                span: *span,
                alternatives: vec![definition],
            }),
        }
    }
    jobs
}

/// The entries that are watched for `job` (`ALG-14`): those of exactly this name, without
/// NOAUTOLOG (`ALG-19`). A pattern is no name (port-control 5.3).
pub fn watched<'e>(entries: &'e [Reservation], job: &str) -> impl Iterator<Item = &'e Reservation> {
    entries.iter().filter(move |entry| {
        entry.kind != Kind::Unreserved
            && entry.options.no_autolog.is_none()
            && matches!(&entry.user, User::Job(name) if name == job)
    })
}

/// The ports of an entry, such as `tcp/21`.
pub fn ports(entry: &Reservation) -> String {
    let protocol = entry.protocol.name();
    match (entry.first, entry.last) {
        (first, last) if first == last => format!("{protocol}/{first}"),
        (first, last) => format!("{protocol}/{first}-{last}"),
    }
}

/// The addresses that DELAYSTART DVIPA waits for: those of the config, else those that
/// the entries of `job` bind.
pub fn awaited(config: &Config, entries: &[Reservation], job: &str) -> Vec<IpAddr> {
    if !config.delaystart.dvipa.is_empty() {
        return config.delaystart.dvipa.clone();
    }
    let of_job = |entry: &&Reservation| matches!(&entry.user, User::Job(name) if name == job);
    let bound = entries.iter().filter(of_job);
    let mut addresses: Vec<IpAddr> = bound
        .filter_map(|entry| entry.options.bind.as_ref().map(|bind| bind.value))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
