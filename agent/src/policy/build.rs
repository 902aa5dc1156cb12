//! Texts to a policy: what every way of reading one has in common.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use portreeve_common::{
    PolicyView as _,
    abi::{MAX_PERMITS, Mode, NO_ENTRY, Protocol},
};

use super::{
    accounts::{Accounts, FixedAccounts},
    audit::{Audited, Extent},
    autolog::{self, Autolog},
    compile::{Compiled, Surroundings, compile},
    expect::Expectations,
    ibmi,
    identity::exes::{Inodes, Presence},
    jobs::Jobs,
    lacking::Needs,
    lint::{Host, Lint},
    listeners, own_port,
    pool::{self, Plan},
    reservations::{Reservation, Rules, resolve},
    restrictions::{self, Restriction},
    servauth::ServAuth,
    source::Files,
    subagent::{self, Subagent},
    unsupported::{AtListen, keep_supported},
};
use crate::{
    config::Config,
    diagnostics::{Code, Diagnostic, Diagnostics, Severity, Sources},
    kernel::{features::Features, lsm::BpfLsm, sysctl::PortSettings},
    ports::{Holder, Listeners},
    profile::Profile,
};

/// What a policy is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be enforced: what the kernel side can't do yet is an error and left out.
    Enforce,
    /// To be asked: everything that is said has its meaning.
    Explain,
}

/// A policy, and what it was made of.
pub struct Policy {
    /// The settings.
    pub config: Config,
    /// The texts, for lines and descriptions.
    pub sources: Sources,
    /// The entries that take effect, in the order in which they are written.
    pub reservations: Vec<Reservation>,
    /// The jobs that the config defines.
    pub jobs: Jobs,
    /// Who may read which SAF resource.
    pub servauth: ServAuth,
    /// Ports that the config or its commands keep for certain users.
    pub restrictions: Vec<Restriction>,
    /// The ports whose rules are in audit while the others are enforced.
    pub audited: Audited,
    /// What is expected of ports.
    pub expected: Expectations,
    /// How many entries were meant to take effect; fewer do if some were dropped.
    pub configured: usize,
    /// The tables.
    pub compiled: Compiled,
    /// What becomes of the ports that the kernel hands out.
    pub pool: Plan,
    /// The procedures that are started and watched.
    pub autolog: Autolog,
    /// Whether managers are told by SNMP.
    pub subagent: Subagent,
    /// What becomes of its rules for listen.
    pub at_listen: AtListen,
    /// The files it was read from; none if it was made from texts.
    pub files: Files,
    /// The system's name in SAF resources.
    pub sysname: String,
    /// The users and groups that were found for it.
    pub accounts: FixedAccounts,
    /// How long it took to make it.
    pub making: Making,
}

/// How long the steps took in which a policy was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Making {
    /// Reading the files, to statements.
    pub parse: Duration,
    /// Settling which entries take effect, and what else is looked at.
    pub resolve: Duration,
    /// Making tables of them.
    pub compile: Duration,
}

/// Texts that have been read and parsed.
pub struct Ingredients<'a> {
    /// The config, parsed into `sources`.
    pub config: Config,
    /// The profile, parsed into `sources`.
    pub profile: Profile,
    /// IBM i commands, if the config names a file of them.
    pub commands: Option<(PathBuf, String)>,
    /// The texts.
    pub sources: Sources,
    /// The system's name in SAF resources.
    pub sysname: String,
    /// Where names of users and groups are looked up.
    pub accounts: &'a dyn Accounts,
    /// Where the executables of jobs are looked up.
    pub inodes: &'a dyn Inodes,
    /// What the policy is for.
    pub purpose: Purpose,
    /// Report what may not be wise on this host.
    pub lint: Option<Host>,
    /// The host's settings without portreeve's own, if the policy is for it.
    pub host: Option<PortSettings>,
    /// Whether the kernel can judge at listen, if the policy is for this host.
    pub lsm: Option<BpfLsm>,
    /// What the kernel has, if the policy is for it and that could be told.
    pub features: Option<Features>,
    /// Says why listeners can't be destroyed on the host that the policy is for.
    pub destroying: fn() -> Option<String>,
    /// Compare with what listens on this host.
    pub listeners: Option<&'a dyn Listeners>,
    /// The agent that is to have the policy, if it runs already.
    pub agent: Option<Holder>,
    /// What the host can do for procedures, if the policy is for it.
    pub autolog_host: Option<autolog::Host>,
}

impl Ingredients<'_> {
    /// What was parsed, to be asked, whatever host it is for: nothing is known of one,
    /// nor of its accounts. The stack is on HOST1.
    pub fn of_no_host(config: Config, profile: Profile, sources: Sources) -> Self {
        Self {
            config,
            profile,
            commands: None,
            sources,
            sysname: "HOST1".into(),
            accounts: FixedAccounts::NONE,
            inodes: &Presence,
            purpose: Purpose::Explain,
            lint: None,
            host: None,
            lsm: None,
            features: None,
            destroying: || None,
            listeners: None,
            agent: None,
            autolog_host: None,
        }
    }
}

/// Makes a policy. Whatever is wrong is reported and left out; whether that
/// refuses the whole is for the caller to say.
pub fn build(ingredients: Ingredients<'_>, diagnostics: &mut Diagnostics) -> Policy {
    let Ingredients {
        config,
        profile,
        commands,
        mut sources,
        sysname,
        accounts,
        inodes,
        purpose,
        lint,
        host,
        lsm,
        features,
        destroying,
        listeners,
        agent,
        autolog_host,
    } = ingredients;
    let began = Instant::now();
    let mut unheard = Diagnostics::new();
    let heard = match purpose {
        Purpose::Enforce => &mut *diagnostics,
        Purpose::Explain => &mut unheard,
    };
    let procedures = autolog::settle(&profile, &config, autolog_host, heard);
    let jobs = Jobs::new(&autolog::jobs(&config, &procedures), accounts, diagnostics);
    let servauth = ServAuth::new(
        &config.servauth,
        &sysname,
        &config.tcpname,
        accounts,
        diagnostics,
    );
    let mut restricted = restrictions::of_config(&config.restrictions, accounts, diagnostics);
    if let Some((path, text)) = &commands {
        restricted.extend(ibmi::read(path, text, accounts, &mut sources, diagnostics));
    }
    let mut rules = resolve(&profile, diagnostics);
    let configured = profile.written.saturating_sub(rules.deleted);
    let audited = Audited::new(&config.audit, &profile, &restricted, diagnostics);
    report_uncovered(&rules.entries, &servauth, diagnostics);
    if let Some(host) = &lint {
        Lint {
            profile: &profile,
            entries: &rules.entries,
            jobs: &jobs,
            servauth: &config.servauth,
            pool_is_managed: config.ephemeral.manage,
            host,
        }
        .run(diagnostics);
        autolog::advise(&procedures, &config, &rules.entries, diagnostics);
        subagent::advise(&profile, &rules.entries, diagnostics);
    }
    let at_listen = AtListen::of(&rules, &config, lsm.as_ref(), destroying);
    let mut pool = Plan::default();
    let mut snmp = Subagent::default();
    if purpose == Purpose::Enforce {
        confirm(&rules, diagnostics);
        rules = keep_supported(&profile, rules, &at_listen, diagnostics);
        snmp = subagent::settle(&profile, diagnostics);
        pool = pool::plan(
            &profile,
            &rules.entries,
            &restricted,
            &audited,
            &config,
            host.as_ref(),
            diagnostics,
        );
    }
    let expected = Expectations::new(&config.expect, &procedures, &rules.entries, diagnostics);
    let with = Surroundings {
        grant: config.grant,
        jobs: &jobs,
        inodes,
        servauth: &servauth,
        authport: &config.authport,
        restrictions: &restricted,
        audited: &audited,
        sources: &sources,
    };
    let compiling = Instant::now();
    let compiled = compile(&rules, &with, diagnostics);
    let compiled_in = compiling.elapsed();
    if let Some(features) = features.filter(|_| purpose == Purpose::Enforce) {
        let needs = Needs {
            config: &config,
            entries: &rules.entries,
            compiled: &compiled,
            jobs: &jobs,
            audited: &audited,
        };
        needs.report(features, diagnostics);
    }
    if compiled.image.permits.is_exceeded() {
        let message = format!(
            "the policy permits more than {MAX_PERMITS} users and groups; what is left over is permitted to nobody"
        );
        diagnostics.push(Diagnostic::of_file(
            Code::TooManyPermits,
            Severity::Error,
            &config.profile,
            message,
        ));
    }
    let mut policy = Policy {
        config,
        sources,
        reservations: rules.entries,
        jobs,
        servauth,
        restrictions: restricted,
        audited,
        expected,
        configured,
        compiled,
        pool,
        autolog: procedures,
        subagent: snmp,
        at_listen,
        files: Files::default(),
        sysname,
        accounts: FixedAccounts::default(),
        making: Making::default(),
    };
    if purpose == Purpose::Enforce {
        own_port::check(&policy, agent, diagnostics);
    }
    if let Some(listeners) = listeners {
        let advice = lint.as_ref().map(|host| &host.ports);
        listeners::compare(&policy, listeners, host.as_ref(), advice, diagnostics);
    }
    // It takes its time too.
    drop(profile);
    policy.making.compile = compiled_in;
    policy.making.resolve = began.elapsed().saturating_sub(compiled_in);
    policy
}

/// `LOW-08`: what operators look for when low ports are restricted.
fn confirm(rules: &Rules, diagnostics: &mut Diagnostics) {
    for (protocol, restricted) in Protocol::ALL.into_iter().zip(rules.restrict_low) {
        if let Some(span) = restricted {
            let name = protocol.name().to_ascii_uppercase();
            let message = format!("unreserved {name} ports below 1024 are restricted");
            diagnostics.push(Diagnostic::info(Code::LowPortsRestricted, span, message));
        }
    }
}

/// `LNT-05`: a check whose answer is always no.
fn report_uncovered(entries: &[Reservation], servauth: &ServAuth, diagnostics: &mut Diagnostics) {
    for saf in entries
        .iter()
        .filter_map(|entry| entry.options.saf.as_ref())
    {
        if servauth.profile_of(&saf.value).is_none() {
            let resource = servauth.resource(&saf.value);
            diagnostics.push(
                Diagnostic::warning(
                    Code::UncoveredResource,
                    saf.span,
                    format!(
                        "no profile under [servauth] covers {resource}, so nobody is permitted"
                    ),
                )
                .help(format!(
                    "add [servauth.\"{resource}\"] with the users it is for"
                )),
            );
        }
    }
}

impl Policy {
    /// The entry of the rules that entry `index` of the tables came from.
    pub fn reservation_of(&self, index: u32) -> Option<&Reservation> {
        if index == NO_ENTRY {
            return None;
        }
        let origin = self.compiled.origins.get(index as usize)?;
        self.reservations.get(*origin as usize)
    }

    /// The entries of the tables that a port has; none if nothing names it.
    pub fn entries_of(&self, protocol: Protocol, port: u16) -> Range<u32> {
        let slot = self.compiled.image.slot(protocol, port);
        slot.map_or(0..0, |slot| slot.first()..slot.first() + slot.count())
    }

    /// How many entries were written and don't take effect (`LNT-06`).
    pub fn dropped(&self) -> usize {
        self.configured.saturating_sub(self.reservations.len())
    }

    /// How much of an entry is in audit, by `[audit]` or with the whole policy.
    pub fn extent_in_audit(&self, reservation: &Reservation) -> Extent {
        match self.config.mode {
            Mode::Audit => Extent::All,
            Mode::Enforce => self.audited.extent_of(reservation),
        }
    }

    /// How many entries of the tables `[audit]` names, with one of their ports at least.
    pub fn audited_entries(&self) -> u32 {
        if self.audited.is_empty() {
            return 0;
        }
        let origins = self.compiled.origins.iter();
        let entries = origins.filter_map(|origin| self.reservations.get(*origin as usize));
        let audited = entries.filter(|entry| self.audited.extent_of(entry) != Extent::None);
        audited.count() as u32
    }

    /// What an operator could take for enforced, and isn't: RESTRICTLOWPORTS is no entry
    /// that a report could mark.
    pub fn low_ports_in_audit(&self) -> Vec<String> {
        let is_so = |protocol: &Protocol| {
            let rules = self.compiled.image.unreserved[*protocol as usize];
            rules.restricts_low_ports() && rules.entries.is_audited()
        };
        let say = |protocol: Protocol| {
            let name = protocol.name();
            format!(
                "RESTRICTLOWPORTS: for {name} it is in audit ([audit] ports), so what it refuses is only told"
            )
        };
        Protocol::ALL.into_iter().filter(is_so).map(say).collect()
    }

    /// Whether listeners that it refuses are destroyed, because listen can't be refused.
    pub fn destroys_listeners(&self) -> bool {
        matches!(self.at_listen, AtListen::Destroyed { .. })
    }

    /// The profile's path.
    pub fn profile(&self) -> &Path {
        &self.config.profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Span;

    /// `LOW-08`: one confirmation per protocol that is restricted in the end.
    #[test]
    fn restricted_low_ports_are_confirmed() {
        let mut sources = Sources::new();
        let source = sources.add("p".into(), "TCPCONFIG RESTRICTLOWPORTS");
        let (start, end) = (10, 26);
        let span = Span { source, start, end };
        for (restrict_low, said) in [
            ([None, None], &[][..]),
            (
                [Some(span), None],
                &["unreserved TCP ports below 1024 are restricted"],
            ),
            (
                [None, Some(span)],
                &["unreserved UDP ports below 1024 are restricted"],
            ),
        ] {
            let mut diagnostics = Diagnostics::new();
            let rules = Rules {
                restrict_low,
                ..Rules::default()
            };
            confirm(&rules, &mut diagnostics);
            let found: Vec<&str> = diagnostics.iter().map(|d| d.message.as_str()).collect();
            assert_eq!(found, said);
            let is_ibms = |d: &Diagnostic| d.code.ibm_message() == Some("EZZ0338I");
            assert!(diagnostics.iter().all(is_ibms));
            assert!(!diagnostics.has_errors());
        }
    }
}
