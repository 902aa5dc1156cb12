//! The kernel's own threads: they bind too, and are the job KERNEL and nothing else.

use std::{
    env,
    net::Ipv4Addr,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};

use crate::{
    actors::CONVERSE,
    ensure_eq,
    harness::{
        Agent, Caller, Need, Sandbox, Settings, command,
        endpoints::{Endpoints, LAMINAR, SIGNAL},
    },
    tests,
};

tests![a_thread_of_the_kernel_is_the_job_kernel];

const LOUD: Settings = Settings::DEFAULT.report_all();
const PORT: u16 = 4321;
/// What the server announces, to which the kernel connects.
const ANNOUNCED: u16 = 4400;

/// An MPTCP connection of this process with itself.
fn converse(caller: &Caller) -> Result<()> {
    let mut command = Command::new(env::current_exe()?);
    command
        .arg(CONVERSE)
        .arg(serde_json::to_string(caller)?)
        .stdin(Stdio::null());
    command::finish(&mut command)?.ended_with(0).map(drop)
}

/// How many binds ended for this reason.
fn count(agent: &Agent<'_>, reason: &str) -> Result<u64> {
    Ok(agent.status()?["counters"][reason].as_u64().unwrap_or(0))
}

/// A worker of the kernel binds a reserved port for a connection of a process that
/// could have it or not: who binds counts. It has no name, and no definition by
/// cgroup, name or user is about it; KERNEL is, and a pattern that covers it.
fn a_thread_of_the_kernel_is_the_job_kernel(s: &Sandbox) -> Result<()> {
    Need::Mptcp.check()?;
    let endpoints = Endpoints::open_laminar()?;
    let here = Ipv4Addr::LOCALHOST;
    endpoints.add(here, ANNOUNCED, SIGNAL)?;
    // Its listener takes the port before there is an agent, so that every bind of
    // the worker fails: with or without one it tries again at each connection.
    endpoints.add(Ipv4Addr::new(127, 0, 0, 5), PORT, SIGNAL | LAMINAR)?;
    let config = format!(
        "\
[jobs.MINE]
cgroup = \"{}\"
[jobs.WORKER]
comm = \"k*\"
[jobs.ROOTS]
user = \"root\"
",
        s.cgroup_name()
    );
    s.set_policy_with("", LOUD, &config)?;
    let agent = s.agent_again()?.start()?;
    let talker = s.caller("talker");
    for (job, reason) in [
        ("KERNEL", "permitted"),
        ("KERN*", "permitted"),
        ("*", "permitted"),
        ("TALKER", "other-job"),
        ("MINE", "other-job"),
        ("WORKER", "other-job"),
        ("ROOTS", "other-job"),
        ("KWORKER*", "other-job"),
        ("RESERVED", "blocked"),
    ] {
        let entry = format!("{PORT} TCP {job}");
        s.set_policy_with(&format!("PORT\n {entry}\n"), LOUD, &config)?;
        let (code, answer) = agent.reload(&[])?;
        ensure_eq!(code, 0, "{answer}");
        let before = count(&agent, reason)?;
        let events = agent.events()?.len();
        converse(&talker)?;
        ensure!(
            count(&agent, reason)? > before,
            "no bind of a kernel thread was {reason} by {entry}: {}",
            agent.status()?["counters"]
        );
        let events = agent.events()?.split_off(events);
        let binds: Vec<_> = events.iter().filter(|e| e["port"] == PORT).collect();
        ensure!(!binds.is_empty(), "no event by {entry}");
        for event in binds {
            ensure_eq!(event["reason"], reason, "{entry}: {event}");
            ensure_eq!(event["entry"]["text"], entry, "{event}");
            ensure_eq!(event["address"], "127.0.0.5", "{event}");
            let comm = event["comm"].as_str().unwrap_or_default();
            ensure!(comm.starts_with("kworker"), "{event}");
            ensure_eq!(event["job"], "KERNEL", "{event}");
            ensure_eq!(event["kernel"], true, "{event}");
            // Loops of the kernel go on to the next port for nothing else.
            let errno = (reason != "permitted").then_some("EADDRINUSE");
            ensure_eq!(event["errno"], serde_json::json!(errno), "{event}");
        }
    }
    Ok(())
}
