//! `portreeve explain`

use std::{fs, net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nix::unistd::{User, geteuid};

use super::{NO, Paths, YES, parse_port, show};
use crate::{
    daemon::{client, protocol::Request},
    diagnostics::escaped,
    files::Trust,
    kernel::sysctl::PortSettings,
    policy::explain::{Answer, Question, explain},
    report::{self, Format},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portreeve explain tcp/21 --job FTPD1              under the policy in force
  portreeve explain tcp/21 --pid 4711               for a running process
  portreeve --profile new.tcpip explain udp/53 --job NAMED1 --user named
                                                    under a profile that is not in force

Exit status 0: the policy allows it; 1: it refuses.")]
pub struct Explain {
    /// Protocol and port asked for, such as tcp/21
    #[arg(value_parser = parse_port, value_name = "PROTOCOL/PORT")]
    target: (String, u16),
    /// The caller is this job
    #[arg(long, conflicts_with_all = ["comm", "pid"])]
    job: Option<String>,
    /// The caller's process name
    #[arg(long, conflicts_with = "pid")]
    comm: Option<String>,
    /// The caller is this running process
    #[arg(long)]
    pid: Option<u32>,
    /// The caller's user, by name or number [default: who asks]
    #[arg(long)]
    user: Option<String>,
    /// A group of the caller; no entry depends on it yet
    #[arg(long)]
    group: Vec<String>,
    /// The caller's executable; no entry depends on it yet
    #[arg(long)]
    exe: Option<PathBuf>,
    /// The caller's cgroup; no entry depends on it yet
    #[arg(long)]
    in_cgroup: Option<PathBuf>,
    /// The address asked for
    #[arg(long)]
    addr: Option<IpAddr>,
    /// Ask about listen instead of bind; no entry refuses a listen yet
    #[arg(long)]
    listen: bool,
}

impl Explain {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        let question = self.question()?;
        let answer = if paths.profile.is_some() {
            match offline(paths, &question)? {
                Some(answer) => answer,
                None => return Ok(NO),
            }
        } else {
            client::ask(&paths.socket, &Request::Explain { question })?
        };
        match paths.format {
            Format::Json => report::json(&answer)?,
            Format::Text => report::line(&escaped(&answer.text)),
        }
        Ok(if answer.verdict == "allow" { YES } else { NO })
    }

    fn question(&self) -> Result<Question> {
        let (name, privileged) = match self.pid {
            Some(pid) => running(pid)?,
            None => (
                self.job.clone().or_else(|| self.comm.clone()),
                self.uid()? == 0,
            ),
        };
        if name.is_none() {
            bail!("say who is calling: --job NAME, --comm NAME or --pid PID");
        }
        Ok(Question {
            protocol: self.target.0.clone(),
            port: self.target.1,
            name,
            privileged,
            address: self.addr.map(|address| address.to_string()),
        })
    }

    fn uid(&self) -> Result<u32> {
        let Some(user) = &self.user else {
            return Ok(geteuid().as_raw());
        };
        if let Ok(number) = user.parse() {
            return Ok(number);
        }
        let found = User::from_name(user).with_context(|| format!("can't look up user {user}"))?;
        found
            .map(|user| user.uid.as_raw())
            .with_context(|| format!("there is no user {user}"))
    }
}

/// Name of a running process, and whether it may bind low ports anyway.
fn running(pid: u32) -> Result<(Option<String>, bool)> {
    const CAP_NET_BIND_SERVICE: u64 = 1 << 10;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("there is no process {pid} that may be looked at"))?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    // A thread's number shows the thread's own name; the job is its process.
    let leader = field("Tgid:").context("/proc shows no process number")?;
    let comm = fs::read_to_string(format!("/proc/{leader}/comm"))
        .with_context(|| format!("process {leader} can't be looked at"))?;
    let capabilities = field("CapEff:").and_then(|text| u64::from_str_radix(text, 16).ok());
    let privileged = capabilities.is_some_and(|bits| bits & CAP_NET_BIND_SERVICE != 0);
    Ok((Some(comm.trim_end_matches('\n').to_owned()), privileged))
}

/// The answer of a profile that need not be in force; `None` if it has errors.
fn offline(paths: &Paths, question: &Question) -> Result<Option<Answer>> {
    let outcome = paths.source(Trust::Inspection, None).read()?;
    let Ok(policy) = &outcome.policy else {
        show(&outcome.diagnostics, outcome.sources());
        return Ok(None);
    };
    explain(policy, question, PortSettings::of_host().first_unprivileged)
        .map(Some)
        .context("the protocol is not judged")
}
