//! What the agent keeps of its privileges, and what fails without each.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use nix::{errno::Errno, libc};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{Agent, Binder, NOBODY, Sandbox, Settings, refusal, syscalls::substitute, tcp},
    tests,
};

tests![
    what_is_kept,
    other_namespaces_are_entered_with_one_more,
    all_is_kept_if_asked,
    nothing_starts_without_the_vital_ones,
    without_the_right_to_look_at_processes,
    without_the_right_to_look_into_folders,
    without_the_right_to_take_over,
    without_the_right_to_give_up,
    system_calls_that_are_not_needed_fail,
    system_calls_are_only_logged_if_asked,
    they_are_read_at_start_only,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n";

const DAC_READ_SEARCH: u8 = 2;
const SETPCAP: u8 = 8;
const NET_ADMIN: u8 = 12;
const SYS_PTRACE: u8 = 19;
const SYS_ADMIN: u8 = 21;
const PERFMON: u8 = 38;
const BPF: u8 = 39;

/// What an agent that has started keeps, of its own network namespace.
const KEPT: [u8; 5] = [DAC_READ_SEARCH, NET_ADMIN, SYS_PTRACE, PERFMON, BPF];

fn set(capabilities: &[u8]) -> u64 {
    capabilities.iter().fold(0, |set, number| set | 1 << number)
}

/// The lines of a thread's status in /proc.
type Thread = BTreeMap<String, String>;

/// Each thread of the agent.
fn threads(agent: &Agent<'_>) -> Result<Vec<Thread>> {
    let folder = format!("/proc/{}/task", agent.pid());
    let mut threads = Vec::new();
    for entry in fs::read_dir(folder)? {
        let text = fs::read_to_string(entry?.path().join("status"))?;
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let lines = lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        threads.push(lines.collect());
    }
    Ok(threads)
}

fn capabilities(thread: &Thread, which: &str) -> Result<u64> {
    let text = thread.get(which).context("no capabilities")?;
    Ok(u64::from_str_radix(text, 16)?)
}

fn is_refused(s: &Sandbox) -> Result<()> {
    let result = Binder::attempt(&s.caller("wrong"), &tcp(4321))?;
    ensure_eq!(result, Err(refusal()), "the wrong job");
    Ok(())
}

fn missing(agent: &Agent<'_>) -> Result<Vec<String>> {
    let missing = agent.status()?["missing"].clone();
    Ok(serde_json::from_value(missing)?)
}

/// Every thread has what it needs and no more, and can't get it back.
fn what_is_kept(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let threads = threads(&agent)?;
    let names: Vec<&str> = threads
        .iter()
        .map(|thread| thread["Name"].as_str())
        .collect();
    ensure!(
        names.contains(&"log") && names.contains(&"destroyer"),
        "{names:?}"
    );
    for thread in &threads {
        let expected = match thread["Name"].as_str() {
            "log" => 0,
            _ => set(&KEPT),
        };
        for which in ["CapPrm", "CapEff"] {
            ensure_eq!(
                capabilities(thread, which)?,
                expected,
                "{which} of {thread:?}"
            );
        }
        for which in ["CapInh", "CapBnd", "CapAmb"] {
            ensure_eq!(capabilities(thread, which)?, 0, "{which} of {thread:?}");
        }
        ensure_eq!(thread["NoNewPrivs"], "1", "{thread:?}");
        ensure_eq!(thread["Seccomp"], "2", "{thread:?}");
    }
    let status = agent.status()?;
    let expected = json!({
        "capabilities": [
            "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_PERFMON", "CAP_BPF",
        ],
        "no_new_privileges": true,
        "syscalls_filtered": true,
    });
    ensure_eq!(status["privileges"], expected, "status");
    is_refused(s)
}

fn other_namespaces_are_entered_with_one_more(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET.everywhere())?.start()?;
    let expected = set(&KEPT) | set(&[SYS_ADMIN]);
    for thread in threads(&agent)? {
        if thread["Name"] != "log" {
            ensure_eq!(capabilities(&thread, "CapPrm")?, expected, "{thread:?}");
        }
    }
    Ok(())
}

fn all_is_kept_if_asked(s: &Sandbox) -> Result<()> {
    let all = "[privileges]\ncapabilities = \"all\"\nsyscalls = \"all\"\n";
    s.set_policy_with(PROFILE, QUIET, all)?;
    let agent = s.agent_again()?.start()?;
    let threads = threads(&agent)?;
    let main = threads
        .iter()
        .find(|thread| thread["Pid"] == thread["Tgid"]);
    let main = main.context("no main thread")?;
    let own = fs::read_to_string("/proc/thread-self/status")?;
    let own = own.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    ensure_eq!(main["CapPrm"], own.context("CapPrm")?.trim(), "CapPrm");
    ensure_eq!(main["Seccomp"], "0", "{main:?}");
    ensure_eq!(
        agent.status()?["privileges"]["syscalls_filtered"],
        false,
        "status"
    );
    is_refused(s)
}

/// What can't be enforced isn't begun; what is missing is named, and what it is for.
fn nothing_starts_without_the_vital_ones(s: &Sandbox) -> Result<()> {
    for (number, name, purpose) in [
        (BPF, "CAP_BPF", "load the programs"),
        (PERFMON, "CAP_PERFMON", "read who is calling"),
        (NET_ADMIN, "CAP_NET_ADMIN", "attach the programs"),
    ] {
        let mut start = s.agent(PROFILE, QUIET)?;
        start.launch.without = vec![number];
        let ended = start.finish()?.ended_with(2)?;
        ensure!(ended.stderr.contains(name), "{}", ended.stderr);
        ensure!(ended.stderr.contains(purpose), "{}", ended.stderr);
        ensure!(!s.is_pinned(), "something is left without {name}");
    }
    Ok(())
}

/// The process that has port 4321, which is another user's, as `ports` says it.
fn holder(s: &Sandbox, agent: &Agent<'_>) -> Result<Value> {
    let user = s.caller("right").user(NOBODY);
    let binder = Binder::start(&user, &[tcp(4321)])?;
    let ports = agent.ports()?;
    let row = ports.iter().find(|row| row["port"] == 4321);
    let holder = row.context("no row")?["holder"].clone();
    ensure_eq!(holder["uid"], NOBODY, "the socket says that much: {holder}");
    drop(binder);
    Ok(holder["pid"].clone())
}

/// Starts an agent without a capability, which says so and enforces all the same.
fn lacking<'s>(s: &'s Sandbox, number: u8, name: &str) -> Result<Agent<'s>> {
    let mut start = s.agent(PROFILE, QUIET)?;
    start.launch.without = vec![number];
    let agent = start.start()?;
    agent.wait_for_log(&["warn", name, "started without it", "needed to"])?;
    let missing = missing(&agent)?;
    ensure!(
        missing.iter().any(|line| line.starts_with(name)),
        "{missing:?}"
    );
    is_refused(s)?;
    Ok(agent)
}

/// Without it, processes of others have no descriptors that could be looked at.
fn without_the_right_to_look_at_processes(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    ensure!(holder(s, &agent)?.is_number(), "with all");
    agent.terminate()?;
    let agent = lacking(s, SYS_PTRACE, "CAP_SYS_PTRACE")?;
    ensure_eq!(holder(s, &agent)?, Value::Null, "without CAP_SYS_PTRACE");
    Ok(())
}

/// Nor can their folder in /proc be read.
fn without_the_right_to_look_into_folders(s: &Sandbox) -> Result<()> {
    let agent = lacking(s, DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH")?;
    ensure_eq!(
        holder(s, &agent)?,
        Value::Null,
        "without CAP_DAC_READ_SEARCH"
    );
    Ok(())
}

/// Programs of another version are found by their numbers.
fn without_the_right_to_take_over(s: &Sandbox) -> Result<()> {
    lacking(s, SYS_ADMIN, "CAP_SYS_ADMIN")?.terminate()?;
    let mut start = s.agent_again()?.of_other_layout()?;
    start.launch.without = vec![SYS_ADMIN];
    let ended = start.finish()?;
    ensure!(ended.code != Some(0), "{ended:?}");
    ensure!(
        ended.stderr.contains("can't find the program of hook"),
        "{}",
        ended.stderr
    );
    is_refused(s)?;
    drop(s.agent_again()?.of_other_layout()?.start()?);
    is_refused(s)
}

/// Without it, what the agent starts could have what it has given up.
fn without_the_right_to_give_up(s: &Sandbox) -> Result<()> {
    let agent = lacking(s, SETPCAP, "CAP_SETPCAP")?;
    for thread in threads(&agent)? {
        ensure!(
            capabilities(&thread, "CapBnd")? & set(&[SYS_ADMIN]) != 0,
            "{thread:?}"
        );
        ensure!(
            capabilities(&thread, "CapPrm")? & set(&[SYS_ADMIN]) == 0,
            "{thread:?}"
        );
    }
    Ok(())
}

/// Those that would lead further fail; what the agent does goes on.
fn system_calls_that_are_not_needed_fail(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let newer = 9999;
    for (call, expected) in [
        (libc::SYS_unshare, Err(Errno::EPERM)),
        (libc::SYS_mount, Err(Errno::EPERM)),
        (libc::SYS_ptrace, Err(Errno::EPERM)),
        (libc::SYS_setuid, Err(Errno::EPERM)),
        // The C library does without what isn't there.
        (libc::SYS_clone3, Err(Errno::ENOSYS)),
        (newer, Err(Errno::ENOSYS)),
        (libc::SYS_getpid, Ok(())),
    ] {
        ensure_eq!(substitute(&agent, call)?, expected, "{call}");
    }
    agent.status()?;
    is_refused(s)
}

fn system_calls_are_only_logged_if_asked(s: &Sandbox) -> Result<()> {
    s.set_policy_with(PROFILE, QUIET, "[privileges]\nsyscalls = \"log\"\n")?;
    let agent = s.agent_again()?.start()?;
    ensure_eq!(
        agent.status()?["privileges"]["syscalls_filtered"],
        true,
        "status"
    );
    // Unsharing nothing.
    ensure_eq!(substitute(&agent, libc::SYS_unshare)?, Ok(()), "unshare");
    is_refused(s)
}

/// What was given up can't be had back, so a config that asks for it is refused.
fn they_are_read_at_start_only(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    s.set_policy_with(PROFILE, QUIET, "[privileges]\nsyscalls = \"all\"\n")?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 1, "{answer}");
    let refused = answer["refused"].as_str().context("no reason")?;
    ensure!(refused.contains("read at start only"), "{refused}");
    Ok(())
}
