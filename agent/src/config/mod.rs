//! The config: how the agent runs, in TOML. Unknown keys are refused, and
//! everything that is wrong is reported in one run.
//!
//! Names of users and groups stay names here; the policy looks them up.

mod access;
mod audit;
mod autolog;
mod degraded;
mod ephemeral;
mod expect;
mod jobs;
mod log;
mod metrics;
mod privileges;
mod reload;
mod snmp;
mod table;
#[cfg(test)]
mod tests;
mod watch;

use std::path::{Path, PathBuf};

use portreeve_common::abi::Mode;
use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

pub(crate) use self::access::number;
use self::table::{Reader, Section};
pub use self::{
    access::{Account, Restriction, ServAuthProfile, Uacc},
    audit::AuditedPorts,
    autolog::{Autolog, Backend, Bus, Condition, DelayStart, JOB, MAX_UNIT, PARM, Proc, Runs},
    degraded::{Degraded, Feature},
    ephemeral::{BelowFloor, Ephemeral},
    expect::{ExpectedPorts, ExpectedState},
    jobs::{Definition, Job, KERNEL},
    log::{Log, Place},
    metrics::{DEFAULT_ADDRESS, Listen, Metrics},
    privileges::{Capabilities, Privileges, Syscalls},
    reload::Reload,
    snmp::{DEFAULT_MASTER, Master, Snmp},
    watch::Watch,
};
use crate::{
    diagnostics::{Diagnostics, Severity, Sources},
    profile::{Symbols, ast::Spanned},
};

/// Where the config is unless the command line says otherwise.
pub const DEFAULT: &str = "/etc/portreeve/portreeve.toml";
/// Where the profile is unless config or command line say otherwise.
pub const DEFAULT_PROFILE: &str = "/etc/portreeve/profile.tcpip";

/// What a profile with errors does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It is refused whole.
    #[default]
    Refuse,
    /// z/OS's way: bad entries are dropped and reported, the rest applies.
    Skip,
}

/// Which entries let their job bind a low port without `CAP_NET_BIND_SERVICE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantRule {
    /// Those whose match rests on more than what a process says of itself.
    #[default]
    Verified,
    /// All, as on z/OS (`PRT-39`).
    Any,
}

/// Which network namespaces are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScopeNetns {
    /// The agent's own: on a host, the host's.
    #[default]
    Own,
    /// Every one, containers' private ones included.
    All,
}

/// Which judged binds make events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Report {
    /// Refusals.
    #[default]
    Refusals,
    /// Permitted and unreserved binds too.
    All,
}

/// What becomes of several sockets of one job on a port without SHAREPORT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameJob {
    /// The second is refused, as on z/OS.
    #[default]
    Refuse,
    /// They share the port if they ask the kernel for it.
    Allow,
}

/// The name of the stack unless the config has another.
const DEFAULT_TCPNAME: &str = "TCPIP";

/// A config as read, with defaults where it is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Path of the profile.
    pub profile: PathBuf,
    /// Whether refusals are made or only reported.
    pub mode: Mode,
    /// Ports whose rules are in audit while the others are enforced.
    pub audit: Vec<AuditedPorts>,
    /// What is expected of ports, in the order in which it is written.
    pub expect: Vec<ExpectedPorts>,
    /// What a profile with errors does.
    pub on_error: OnError,
    /// Which entries grant low ports.
    pub grant: GrantRule,
    /// Which network namespaces are judged.
    pub scope: ScopeNetns,
    /// Which judged binds make events.
    pub report: Report,
    /// Where messages and events go.
    pub log: Log,
    /// What the agent keeps of its privileges.
    pub privileges: Privileges,
    /// System symbols besides SYSNAME, by name without `&` and `.`.
    pub symbols: Symbols,
    /// The system's name in SAF resources, in upper case; `None` takes
    /// [`sysname_of`] the host's name.
    pub sysname: Option<String>,
    /// The stack's name in SAF resources, in upper case.
    pub tcpname: String,
    /// The defined jobs, in the order in which they are written.
    pub jobs: Vec<Job>,
    /// The jobs that AUTHPORT stands for, in upper case: names or patterns.
    pub authport: Vec<String>,
    /// Who may read which SAF resource, in the order in which it is written.
    pub servauth: Vec<ServAuthProfile>,
    /// Ports for certain users only.
    pub restrictions: Vec<Restriction>,
    /// A file of ADDTCPPORT and RMVTCPPORT commands.
    pub ibmi_commands: Option<Spanned<PathBuf>>,
    /// How procedures are started.
    pub autolog: Autolog,
    /// What stands for procedures on this host, in the order in which it is written.
    pub procs: Vec<Proc>,
    /// What procedures with DELAYSTART wait for.
    pub delaystart: DelayStart,
    /// Whether a job may share its port with itself.
    pub same_job: SameJob,
    /// What is done about the ports that the kernel hands out.
    pub ephemeral: Ephemeral,
    /// Whether files that change are put in force by themselves.
    pub reload: Reload,
    /// Where metrics and the status page are served, if they are.
    pub metrics: Option<Metrics>,
    /// Where the SNMP agent is that the subagent talks to.
    pub snmp: Snmp,
    /// When ports that are not as expected are worth an alert.
    pub watch: Watch,
    /// What the policy may do without where the kernel lacks it.
    pub degraded: Degraded,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: DEFAULT_PROFILE.into(),
            mode: Mode::Enforce,
            audit: Vec::new(),
            expect: Vec::new(),
            on_error: OnError::default(),
            grant: GrantRule::default(),
            scope: ScopeNetns::default(),
            report: Report::default(),
            log: Log::default(),
            privileges: Privileges::default(),
            sysname: None,
            symbols: Symbols::new(),
            tcpname: DEFAULT_TCPNAME.to_owned(),
            jobs: Vec::new(),
            authport: Vec::new(),
            servauth: Vec::new(),
            restrictions: Vec::new(),
            ibmi_commands: None,
            autolog: Autolog::default(),
            procs: Vec::new(),
            delaystart: DelayStart::default(),
            same_job: SameJob::default(),
            ephemeral: Ephemeral::default(),
            reload: Reload::default(),
            metrics: None,
            snmp: Snmp::default(),
            watch: Watch::default(),
            degraded: Degraded::default(),
        }
    }
}

/// The system's name on a host called `host`: the first label in upper case.
pub fn sysname_of(host: &str) -> String {
    let label = host.split('.').next().unwrap_or_default();
    label.to_ascii_uppercase()
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeName {
    Enforce,
    Audit,
}

/// Reads the config that `text`, found at `path`, holds. `None` if it is not
/// valid; then `diagnostics` says why.
pub fn parse(
    path: &Path,
    text: &str,
    sources: &mut Sources,
    diagnostics: &mut Diagnostics,
) -> Option<Config> {
    let before = diagnostics.count(Severity::Error);
    let source = sources.add(path.into(), text);
    let mut reader = Reader::new(source, path, diagnostics);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        reader.refuse(error);
    }
    // Keys that the parser had to guess are not worth a word.
    if !errors.is_empty() {
        return None;
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let config = read(Section::new(table.into_inner()), folder, &mut reader);
    (diagnostics.count(Severity::Error) == before).then_some(config)
}

/// System symbols (`SYN-06`); their names fold to upper case.
fn symbols(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Symbols {
    let section = reader.section(top, "symbols");
    let mut symbols = Symbols::new();
    for (name, value) in section.into_entries() {
        let span = reader.span(value.span());
        match value.into_inner() {
            DeValue::String(text) => {
                symbols.insert(name.into_inner().to_ascii_uppercase(), text.into_owned());
            }
            other => reader.wrong_type(span, "a symbol", "text", &other),
        }
    }
    symbols
}

/// Paths in a config are relative to its folder.
fn read(mut top: Section<'_>, folder: &Path, reader: &mut Reader<'_>) -> Config {
    let default = Config::default();
    let profile: Option<PathBuf> = reader.value(&mut top, "profile");
    let mode = reader.value(&mut top, "mode");
    let audit = audit::audited(&mut top, reader);
    let expect = expect::expected(&mut top, reader);
    let on_error = reader.value(&mut top, "on_error");
    let symbols = symbols(&mut top, reader);
    let sysname = access::qualifier(&mut top, "sysname", reader);
    let tcpname = access::qualifier(&mut top, "tcpname", reader);
    let scope = reader.only(&mut top, "scope", "netns");
    let grant = reader.only(&mut top, "grant", "require");
    let report = reader.only(&mut top, "events", "report");
    let log = log::log(&mut top, folder, reader);
    let privileges = privileges::privileges(&mut top, reader);
    let same_job = reader.only(&mut top, "sharing", "same_job");
    let ephemeral = ephemeral::ephemeral(&mut top, reader);
    let reload = reload::reload(&mut top, reader);
    let metrics = metrics::metrics(&mut top, reader);
    let snmp = snmp::snmp(&mut top, reader);
    let watch = watch::watch(&mut top, reader);
    let degraded = degraded::degraded(&mut top, reader);
    let jobs = jobs::defined(&mut top, reader);
    let authport = jobs::authport(&mut top, reader);
    let servauth = access::servauth(&mut top, reader);
    let autolog = autolog::autolog(&mut top, reader);
    let procs = autolog::procs(&mut top, reader);
    let delaystart = autolog::delaystart(&mut top, folder, reader);
    let restrictions = access::restrictions(&mut top, reader);
    let mut ibmi = reader.section(&mut top, "ibmi");
    let commands = reader.word(&mut ibmi, "commands");
    reader.finish(ibmi);
    reader.finish(top);
    Config {
        profile: profile.map_or(default.profile, |path| folder.join(path)),
        mode: match mode {
            None | Some(ModeName::Enforce) => Mode::Enforce,
            Some(ModeName::Audit) => Mode::Audit,
        },
        audit,
        expect,
        on_error: on_error.unwrap_or_default(),
        grant: grant.unwrap_or_default(),
        scope: scope.unwrap_or_default(),
        report: report.unwrap_or_default(),
        log,
        privileges,
        symbols,
        sysname,
        tcpname: tcpname.unwrap_or(default.tcpname),
        jobs,
        authport,
        servauth,
        restrictions,
        ibmi_commands: commands.map(|path| Spanned {
            value: folder.join(path.value),
            span: path.span,
        }),
        autolog,
        procs,
        delaystart,
        same_job: same_job.unwrap_or_default(),
        ephemeral,
        reload,
        metrics,
        snmp,
        watch,
        degraded,
    }
}
