//! `portreeve explain`

use std::{ffi::CString, fs, net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nix::unistd::{Group, User, getegid, geteuid, getgrouplist, getgroups};
use portreeve_common::jobname::{MAX_NAME_CHARS, Name};

use super::{Changes, NO, NO_ANSWER, Paths, YES, parse_port, show};
use crate::{
    config::KERNEL,
    daemon::{client, protocol::Request},
    diagnostics::escaped,
    files::Trust,
    kernel::{features::Features, sysctl::PortSettings},
    policy::{
        build::Purpose,
        explain::{Answer, Question, explain},
        identity::exes::Presence,
        source::Source,
    },
    report::{self, Format},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portreeve explain tcp/21 --job FTPD1   under the policy in force
  portreeve explain tcp/21 --pid 4711    for a running process
  portreeve --profile new.tcpip explain udp/53 --job NAMED1 --user named
                                         under a profile that is not in force
  portreeve --profile p.tcpip explain tcp/21 --job FTPD1 --obey night.tcpip
                                         ... and with a change file on top

Exit status 0: the policy allows it; 1: it refuses; 2: there is no answer, as of a profile with \
errors.")]
pub struct Explain {
    /// Protocol and port asked for, such as tcp/21
    #[arg(value_parser = parse_port, value_name = "PROTOCOL/PORT")]
    target: (String, u16),
    /// The caller is this job, however that is proven; may be given more than once.
    /// KERNEL is the kernel itself
    #[arg(long, conflicts_with = "pid", value_parser = name)]
    job: Vec<String>,
    /// The caller's process name
    #[arg(long, conflicts_with = "pid", value_parser = name)]
    comm: Option<String>,
    /// The caller is this running process
    #[arg(long)]
    pid: Option<u32>,
    /// The caller's user, by name or number [default: who asks]
    #[arg(long, conflicts_with = "pid")]
    user: Option<String>,
    /// A group of the caller besides those of its user, by name or number
    #[arg(long, conflicts_with = "pid")]
    group: Vec<String>,
    /// The caller's executable
    #[arg(long, conflicts_with = "pid")]
    exe: Option<PathBuf>,
    /// The caller's cgroup, as a path from the root of the hierarchy
    #[arg(long, conflicts_with = "pid")]
    in_cgroup: Option<String>,
    #[command(flatten)]
    changes: Changes,
    /// The address asked for [default: the IPv4 wildcard]
    #[arg(long)]
    addr: Option<IpAddr>,
    /// Ask about listen instead of bind
    #[arg(long)]
    listen: bool,
}

impl Explain {
    pub fn run(mut self, paths: &Paths) -> Result<u8> {
        let changes = std::mem::take(&mut self.changes.files);
        let question = self.question()?;
        // Files that are named are asked themselves, in force or not.
        let named = paths.profile.is_some() || paths.config.is_some() || !changes.is_empty();
        let answer = if named {
            match offline(paths, changes, &question)? {
                Some(answer) => answer,
                None => return Ok(NO_ANSWER),
            }
        } else {
            client::ask(&paths.socket, &Request::Explain { question })?
        };
        match paths.format {
            Format::Json => report::json(&answer)?,
            Format::Text => {
                report::prose(&escaped(&answer.text));
                if let Some(selected) = &answer.selected {
                    report::prose(&format!("That entry is {selected}."));
                }
            }
        }
        Ok(if answer.verdict == "allow" { YES } else { NO })
    }

    fn question(self) -> Result<Question> {
        let (protocol, port) = self.target.clone();
        let caller = match self.pid {
            Some(pid) => running(pid)?,
            None => self.described()?,
        };
        Ok(Question {
            protocol,
            port,
            listen: self.listen,
            address: self.addr,
            ..caller
        })
    }

    /// The caller that the options describe.
    fn described(&self) -> Result<Question> {
        if self.job.is_empty()
            && self.comm.is_none()
            && self.in_cgroup.is_none()
            && self.exe.is_none()
        {
            bail!(
                "say who is calling: --job NAME, --comm NAME, --in-cgroup PATH, --exe FILE or --pid PID"
            );
        }
        let is_kernel = |job: &String| job.eq_ignore_ascii_case(KERNEL);
        let kernel = self.job.iter().any(is_kernel);
        let described_too = self.job.len() > 1
            || self.comm.is_some()
            || self.in_cgroup.is_some()
            || self.exe.is_some();
        if kernel && described_too {
            bail!("--job {KERNEL} is the kernel itself, which is nothing else");
        }
        let (uid, mut groups) = match &self.user {
            None if kernel => (0, vec![0]),
            name => user(name.as_deref())?,
        };
        for name in &self.group {
            groups.push(group(name)?);
        }
        Ok(Question {
            jobs: self
                .job
                .iter()
                .map(|job| job.to_ascii_uppercase())
                .collect(),
            comm: self.comm.clone(),
            exe: self.exe.clone(),
            cgroup: self.in_cgroup.clone(),
            uid,
            groups,
            privileged: uid == 0,
            ..Question::default()
        })
    }
}

/// A name that a process can have.
fn name(text: &str) -> Result<String, String> {
    match Name::new(text) {
        Some(name) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err(format!(
            "names have 1 to {MAX_NAME_CHARS} characters; the kernel cuts longer ones there"
        )),
    }
}

/// A user's number and groups; without a name those of who asks.
fn user(name: Option<&str>) -> Result<(u32, Vec<u32>)> {
    let Some(name) = name else {
        let groups = getgroups().context("can't tell the groups of who asks")?;
        let groups = groups.into_iter().chain([getegid()]);
        return Ok((
            geteuid().as_raw(),
            groups.map(|group| group.as_raw()).collect(),
        ));
    };
    let found = match name.parse() {
        Ok(number) => match User::from_uid(nix::unistd::Uid::from_raw(number)) {
            Ok(Some(user)) => user,
            // A number without an account has no groups.
            _ => return Ok((number, Vec::new())),
        },
        Err(_) => User::from_name(name)
            .with_context(|| format!("can't look up user {name}"))?
            .with_context(|| format!("there is no user {name}"))?,
    };
    let groups = CString::new(found.name.as_str())
        .ok()
        .and_then(|name| getgrouplist(&name, found.gid).ok())
        .unwrap_or_default();
    Ok((
        found.uid.as_raw(),
        groups.into_iter().map(|group| group.as_raw()).collect(),
    ))
}

fn group(name: &str) -> Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found = Group::from_name(name).with_context(|| format!("can't look up group {name}"))?;
    found
        .map(|group| group.gid.as_raw())
        .with_context(|| format!("there is no group {name}"))
}

/// A running process as the policy sees it.
fn running(pid: u32) -> Result<Question> {
    const CAP_NET_BIND_SERVICE: u64 = 1 << 10;
    let read = |pid: &str, name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
    let status = read(&pid.to_string(), "status")
        .with_context(|| format!("there is no process {pid} that may be looked at"))?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
            .with_context(|| format!("/proc/{pid}/status has no {name}"))
    };
    let stat = read(&pid.to_string(), "stat").unwrap_or_default();
    let jobs = is_kernel_thread(&stat).then(|| KERNEL.to_owned());
    // A thread's number shows the thread's own name; the job is its process.
    let leader = field("Tgid:")?;
    let comm =
        read(leader, "comm").with_context(|| format!("process {leader} can't be looked at"))?;
    let cgroup = read(leader, "cgroup").unwrap_or_default();
    let cgroup = cgroup.lines().find_map(|line| line.strip_prefix("0::"));
    // Real, effective, saved and file-system id; the effective one counts.
    let effective = |name| -> Result<u32> {
        let second = field(name)?.split_whitespace().nth(1);
        second
            .and_then(|id| id.parse().ok())
            .with_context(|| format!("/proc/{pid}/status: {name}?"))
    };
    let groups = field("Groups:")?
        .split_whitespace()
        .filter_map(|id| id.parse().ok());
    let capabilities = u64::from_str_radix(field("CapEff:")?, 16).unwrap_or(0);
    Ok(Question {
        jobs: jobs.into_iter().collect(),
        comm: Some(comm.trim_end_matches('\n').to_owned()),
        // The file itself: its name may be another file's by now.
        exe: Some(format!("/proc/{leader}/exe").into()),
        cgroup: cgroup.map(str::to_owned),
        uid: effective("Uid:")?,
        groups: groups.chain([effective("Gid:")?]).collect(),
        privileged: capabilities & CAP_NET_BIND_SERVICE != 0,
        ..Question::default()
    })
}

/// Whether `/proc/PID/stat` is that of one of the kernel's own threads.
fn is_kernel_thread(stat: &str) -> bool {
    const PF_KTHREAD: u32 = 0x0020_0000;
    // The name may hold anything, parentheses and blanks included.
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let flags = behind_name.split_whitespace().nth(6);
    flags
        .and_then(|flags| flags.parse().ok())
        .is_some_and(|flags: u32| flags & PF_KTHREAD != 0)
}

/// The answer of a profile that need not be in force; `None` if it has errors.
fn offline(paths: &Paths, changes: Vec<PathBuf>, question: &Question) -> Result<Option<Answer>> {
    let source = Source {
        purpose: Purpose::Explain,
        changes,
        ..paths.source(Trust::Inspection, None)
    };
    let outcome = source.read(&Presence)?;
    let Ok(policy) = &outcome.policy else {
        show(&outcome.diagnostics, outcome.sources());
        return Ok(None);
    };
    let first_unprivileged = PortSettings::of_host().first_unprivileged;
    explain(policy, question, first_unprivileged, Features::ALL)
        .map(Some)
        .context("the protocol is not judged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_threads_are_the_kernel() {
        assert!(is_kernel_thread("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0"));
        assert!(!is_kernel_thread(
            "7 (a) S 2 (x) S 1 7 7 0 -1 4194560 0 0 0"
        ));
        assert!(!is_kernel_thread(
            "7 (2129984) 2129984) S 1 7 7 0 -1 4194560"
        ));
        assert!(!is_kernel_thread(""));
    }
}
