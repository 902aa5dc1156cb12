//! The command line: one file per verb.
//!
//! Exit status: 0 yes or done; 1 no, refused or not done; 2 wrong usage, an
//! unreadable file, no agent: anything that isn't an answer.

mod autolog;
mod check;
mod completions;
mod confirm;
mod detach;
mod events;
mod explain;
mod fleet;
mod logger;
mod man;
mod obey;
mod policy;
mod ports;
mod probe;
mod reload;
mod run;
mod status;
mod suggest;
mod top;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use anstream::{AutoStream, ColorChoice};
use anyhow::Result;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, ValueHint, error::ErrorKind};

use crate::{
    config::OnError,
    daemon::{protocol::DEFAULT_SOCKET, selftest},
    diagnostics::{Diagnostics, Sources, render},
    files::Trust,
    kernel::pins,
    policy::{build::Purpose, source::Source},
    report::Format,
    state,
};

/// What the command is called.
const NAME: &str = "portreeve";

/// Done, or yes.
const YES: u8 = 0;
/// Refused, not done, or no.
const NO: u8 = 1;
/// No answer at all.
const NO_ANSWER: u8 = 2;

/// The version, and which compiler the kernel programs came from.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (eBPF object: ",
    env!("PORTREEVE_EBPF_ROUTE"),
    ")"
);

/// Mainframe port control for Linux: says who may bind which port, enforced in
/// the kernel.
#[derive(Debug, Parser)]
#[command(
    name = NAME,
    version,
    long_version = LONG_VERSION,
    max_term_width = 100,
    propagate_version = true
)]
#[command(after_help = "Examples:
  portreeve check profile.tcpip           is this profile right?
  portreeve run --profile profile.tcpip   enforce it
  portreeve explain tcp/21 --job FTPD1    may FTPD1 have TCP port 21, and why?
  portreeve status                        is it really enforced?
  portreeve top                           who is refused what at this moment?

Exit status: 0 yes or done, 1 no or refused, 2 no answer (usage, unreadable file, no agent).")]
struct Cli {
    #[command(flatten)]
    paths: Paths,
    #[command(flatten)]
    color: Color,
    #[command(subcommand)]
    verb: Verb,
}

/// Where things are; several agents run side by side with different ones.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where things are")]
struct Paths {
    /// The profile, in the language of PROFILE.TCPIP [default: the config's, else
    /// /etc/portreeve/profile.tcpip]
    #[arg(long, global = true, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// The config [default: /etc/portreeve/portreeve.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The cgroup v2 directory to enforce on [default: the root of the hierarchy,
    /// which covers every process]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    cgroup: Option<PathBuf>,
    /// The directory on a BPF file system that holds what is in force
    #[arg(long, global = true, value_name = "DIR", default_value = pins::DEFAULT,
        value_hint = ValueHint::DirPath)]
    bpffs: PathBuf,
    /// The agent's control socket
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// The folder in which the agent remembers what is in force
    #[arg(long, global = true, value_name = "DIR", default_value = state::DEFAULT,
        value_hint = ValueHint::DirPath)]
    state: PathBuf,
    /// For people or for programs; markdown and csv only of the register that `ports` shows
    #[arg(
        id = "format",
        long = "format",
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "How to answer"
    )]
    style: Style,
    /// The same, for verbs that have two ways to answer.
    #[arg(skip)]
    format: Format,
}

/// The ways to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Style {
    /// For people.
    #[default]
    Text,
    /// For programs; streams are one object per line.
    Json,
    /// A table for a document.
    Markdown,
    /// A table for a spreadsheet.
    Csv,
}

impl Style {
    /// The way of a verb that has two; `None` for another one.
    const fn format(self) -> Option<Format> {
        match self {
            Self::Text => Some(Format::Text),
            Self::Json => Some(Format::Json),
            Self::Markdown | Self::Csv => None,
        }
    }
}

/// Whether answers are coloured.
#[derive(Debug, Args)]
#[command(next_help_heading = "How to answer")]
struct Color {
    /// Colour: auto, always or never; auto is on a terminal, unless NO_COLOR is set or TERM
    /// is dumb
    #[arg(
        long = "color",
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        hide_possible_values = true
    )]
    when: clap::ColorChoice,
}

/// Change files for a profile that need not be in force.
#[derive(Debug, Args)]
struct Changes {
    /// Put this change file on top of the profile, as `portreeve obey` would; may be
    /// given more than once, in order
    #[arg(long = "obey", value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the agent: put the policy in force, prove it, serve until SIGTERM
    ///
    /// SIGHUP reloads. When the agent ends, or is killed, the policy stays in force;
    /// `portreeve detach` ends it.
    Run(run::Run),
    /// Check a profile and its config, and say everything that is wrong with them
    Check(check::Check),
    /// Say what the policy answers to a caller, by which entry, and why
    Explain(explain::Explain),
    /// Read profile and config again and put them in force, if they have no errors
    Reload(reload::Reload),
    /// Put a change file on top of the policy in force, until the next reload
    ///
    /// The file is in the profile's language: PORT and PORTRANGE add entries, DELETE
    /// takes entries away. The agent opens it, so it must be root's like a profile.
    Obey(obey::Obey),
    /// Confirm the change that `reload --confirm` or `obey --confirm` made
    ///
    /// Without it the policy before comes back when the time is over, or the agent ends.
    #[command(after_help = "Exit status 1: there was nothing to confirm.

Examples:
  portreeve reload --confirm 60   put it in force for a minute
  portreeve confirm               ... and for good")]
    Confirm,
    /// Compare profiles
    Policy(policy::PolicyVerb),
    /// List the reserved ports: what they are, who has them, who was refused them
    Ports(ports::Ports),
    /// Say whether all reserved and expected ports are as they should be
    ///
    /// For after a change, and for a monitor: broken expectations, ports that somebody has
    /// who may not, listeners left behind, a mode that isn't proven, files that are not in
    /// force.
    #[command(
        after_help = "Exit status 0: all is as it should be; 1: something is not; 2: no agent answers.

Examples:
  portreeve verify                 after a reload
  portreeve verify --format json   for programs"
    )]
    Verify,
    /// Try a TCP port as a client: what comes back, and why
    Probe(probe::Probe),
    /// Show the procedures that AUTOLOG lists, and start or stop one
    Autolog(autolog::Autolog),
    /// Suggest PORT lines for what was refused, or would have been in audit mode
    Suggest(suggest::Suggest),
    /// Show refused binds (with `[events] report = "all"`, every judged one)
    Events(events::Events),
    /// Show live who is refused what, which ports change state, and how often
    Top(top::Top),
    /// Say what is in force, whether it is proven, and what is missing
    #[command(
        after_help = "Exit status 0: an agent answers, and its mode is proven; 1: it is not; \
2: no agent answers. What the kernel holds is shown all the same.

Examples:
  portreeve status                 for people
  portreeve status --format json   for programs
  portreeve status > /dev/null || echo 'not proven'"
    )]
    Status,
    /// Compare many nodes: which policy each has in force, and whether it is proven
    Fleet(fleet::Fleet),
    /// Stop enforcing and remove what is in the kernel
    Detach(detach::Detach),
    /// Print what makes a shell complete this command line
    Completions(completions::Completions),
    /// Print the manual page, or write those of all verbs into a folder
    Man(man::Man),
    /// The self-test's process; the agent starts it
    #[command(name = selftest::HELPER_VERB, hide = true)]
    SelftestBinder {
        /// The cgroup to bind in.
        #[arg(long)]
        join: Option<PathBuf>,
    },
}

impl Verb {
    /// Whether it has a table that documents and spreadsheets can take.
    const fn makes_tables(&self) -> bool {
        match self {
            Self::Ports(verb) => verb.makes_tables(),
            _ => false,
        }
    }
}

/// Runs the command line; the exit status is the answer.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap exits with 0 for --help and with 2 for wrong usage, as we do.
            error.exit();
        }
    };
    match cli.color.when {
        clap::ColorChoice::Auto => ColorChoice::Auto,
        clap::ColorChoice::Always => ColorChoice::Always,
        clap::ColorChoice::Never => ColorChoice::Never,
    }
    .write_global();
    let mut paths = cli.paths;
    match paths.style.format() {
        Some(format) => paths.format = format,
        None if cli.verb.makes_tables() => {}
        None => Cli::command()
            .error(
                ErrorKind::ArgumentConflict,
                "--format markdown and csv are for the register of `ports` only",
            )
            .exit(),
    }
    let answer = match cli.verb {
        Verb::Run(verb) => verb.run(&paths),
        Verb::Check(verb) => verb.run(&paths),
        Verb::Explain(verb) => verb.run(&paths),
        Verb::Reload(verb) => verb.run(&paths),
        Verb::Obey(verb) => verb.run(&paths),
        Verb::Confirm => confirm::run(&paths),
        Verb::Policy(verb) => verb.run(&paths),
        Verb::Ports(verb) => verb.run(&paths),
        Verb::Verify => verify::run(&paths),
        Verb::Probe(verb) => verb.run(&paths),
        Verb::Autolog(verb) => verb.run(&paths),
        Verb::Suggest(verb) => verb.run(&paths),
        Verb::Events(verb) => verb.run(&paths),
        Verb::Top(verb) => verb.run(&paths),
        Verb::Status => status::run(&paths),
        Verb::Fleet(verb) => verb.run(&paths),
        Verb::Detach(verb) => verb.run(&paths),
        Verb::Completions(verb) => verb.run(Cli::command()),
        Verb::Man(verb) => verb.run(Cli::command()),
        Verb::SelftestBinder { join } => selftest::helper(join.as_deref()).map(|()| YES),
    };
    match answer {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            anstream::eprintln!("portreeve: {error:#}");
            ExitCode::from(NO_ANSWER)
        }
    }
}

impl Paths {
    /// Where the policy comes from, as far as these options say it.
    fn source(&self, trust: Trust, on_error: Option<OnError>) -> Source {
        Source {
            config: self.config.clone(),
            profile: self.profile.clone(),
            changes: Vec::new(),
            on_error,
            audit: false,
            strict: false,
            lint: false,
            of_this_host: true,
            features: None,
            trust,
            purpose: Purpose::Enforce,
            is_agent: false,
            cgroup: self.cgroup.clone(),
            starts: true,
            leave_pool: false,
            bpffs: self.bpffs.clone(),
        }
    }
}

/// Whether standard error shows colours.
fn stderr_has_color() -> bool {
    AutoStream::choice(&std::io::stderr()) != ColorChoice::Never
}

/// Shows diagnostics on standard error.
fn show(diagnostics: &Diagnostics, sources: &Sources) {
    anstream::eprint!("{}", render::all(diagnostics, sources, stderr_has_color()));
}

/// `tcp/21`, as the verbs take it.
fn parse_port(text: &str) -> Result<(String, u16), String> {
    let (protocol, port) = text
        .split_once('/')
        .ok_or("write PROTOCOL/PORT, such as tcp/21")?;
    let protocol = crate::policy::explain::protocol(protocol).ok_or_else(|| {
        format!("{protocol:?} is not a protocol that is judged; write tcp or udp")
    })?;
    let port = port
        .parse()
        .map_err(|_| format!("{port:?} is not a port; ports are 0 to 65535"))?;
    Ok((protocol.name().to_owned(), port))
}

#[cfg(test)]
mod tests;
