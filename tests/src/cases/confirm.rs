//! A change that comes back by itself unless it is confirmed.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{Agent, Binder, Case, Sandbox, Settings, expect::expect, pace::patience, tcp},
    tests,
};

tests![
    what_is_not_confirmed_comes_back,
    what_is_confirmed_stays,
    a_change_file_can_wait_too,
    a_second_change_goes_back_to_what_was_confirmed,
    a_change_that_is_meant_needs_no_confirmation,
    the_agents_end_takes_it_back,
    a_killed_agent_still_waits,
    a_killed_agent_takes_it_back_when_it_is_late,
    seconds_are_asked_for,
];

const QUIET: Settings = Settings::DEFAULT;
const OLD: &str = "PORT\n 4321 TCP RIGHT\n";
const NEW: &str = "PORT\n 4321 TCP WRONG\n";
const LATER: &str = "PORT\n 4321 TCP LATER\n";
/// Long enough that it doesn't end during a test.
const LONG: &str = "600";

/// That `job` has the port and no other.
fn belongs_to(s: &Sandbox, job: &str) -> Result<()> {
    for other in ["right", "wrong", "later"] {
        let expected = if other == job {
            Ok(())
        } else {
            Err(Errno::EACCES)
        };
        let result = Binder::attempt(&s.caller(other), &tcp(4321))?;
        ensure_eq!(result, expected, "{other}, where {job} has the port");
    }
    Ok(())
}

fn started(s: &Sandbox) -> Result<Agent<'_>> {
    let agent = s.agent(OLD, QUIET)?.start()?;
    belongs_to(s, "right")?;
    Ok(agent)
}

fn change<'s>(agent: &Agent<'s>, profile: &str, arguments: &[&str]) -> Result<Value> {
    agent.sandbox.set_policy(profile, QUIET)?;
    let (code, answer) = agent.reload(arguments)?;
    ensure_eq!(code, 0, "{answer}");
    ensure_eq!(answer["applied"], true, "{answer}");
    Ok(answer)
}

fn pending(agent: &Agent<'_>) -> Result<Value> {
    Ok(agent.status()?["pending_confirm"].clone())
}

/// Waits until `job` has the port.
fn comes_back(s: &Sandbox, job: &str) -> Result<()> {
    let deadline = Instant::now() + patience();
    while Binder::attempt(&s.caller(job), &tcp(4321))? != Ok(()) {
        ensure!(Instant::now() < deadline, "{job} never got its port back");
        thread::sleep(Duration::from_millis(20));
    }
    belongs_to(s, job)
}

/// In force at once, and taken back in time: judged, told and counted as before.
fn what_is_not_confirmed_comes_back(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    let hash = agent.status()?["profile"]["hash"].clone();
    let answer = change(&agent, NEW, &["--confirm", "5"])?;
    ensure_eq!(answer["confirm_within"], 5, "{answer}");
    let waits = pending(&agent)?;
    ensure_eq!(waits["generation"], answer["generation"], "{waits}");
    ensure_eq!(waits["back_to"], hash, "{waits}");
    ensure!(waits["seconds_left"].as_u64() <= Some(5), "{waits}");
    if Binder::attempt(&s.caller("right"), &tcp(4321))? == Ok(()) {
        // On a slow machine it may be over already.
        ensure_eq!(pending(&agent)?, Value::Null, "an early end");
    }
    comes_back(s, "right")?;
    let status = agent.status()?;
    ensure_eq!(status["pending_confirm"], Value::Null, "{status}");
    ensure_eq!(status["profile"]["hash"], hash, "{status}");
    ensure_eq!(status["profile"]["differs_from_file"], true, "{status}");
    ensure!(agent.log().contains("was not confirmed"), "{}", agent.log());
    s.set_policy(OLD, QUIET)?;
    let cases = [
        Case::permitted(&s.caller("right"), tcp(4321), "4321 TCP RIGHT"),
        Case::other_job(&s.caller("wrong"), tcp(4321), "4321 TCP RIGHT"),
    ];
    expect(&agent, OLD, QUIET, &cases)
}

fn what_is_confirmed_stays(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    change(&agent, NEW, &["--confirm", "5"])?;
    let confirmed = s.portreeve(&["confirm", "--format", "json"])?;
    let confirmed = confirmed.ended_with(0)?.json()?;
    ensure_eq!(confirmed["generation"], 2, "{confirmed}");
    ensure_eq!(pending(&agent)?, Value::Null, "confirmed");
    thread::sleep(Duration::from_secs(6));
    belongs_to(s, "wrong")?;
    let again = s.portreeve(&["confirm"])?.ended_with(1)?;
    ensure!(again.stderr.contains("no change waits"), "{again:?}");
    // And when it starts again.
    agent.kill()?;
    let agent = s.agent_again()?.start()?;
    belongs_to(s, "wrong")?;
    ensure_eq!(pending(&agent)?, Value::Null, "after a restart");
    Ok(())
}

fn a_change_file_can_wait_too(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    let file = s.write(
        "night.tcpip",
        "DELETE PORT 4321 TCP RIGHT\nPORT 4321 TCP WRONG\n",
    )?;
    let (code, answer) = agent.obey(&file, &["--confirm", "1"])?;
    ensure_eq!(code, 0, "{answer}");
    comes_back(s, "right")?;
    let status = agent.status()?;
    ensure_eq!(status["profile"]["changes"], json!([]), "{status}");
    ensure_eq!(status["profile"]["differs_from_file"], false, "{status}");
    Ok(())
}

/// What was never confirmed is nothing to go back to.
fn a_second_change_goes_back_to_what_was_confirmed(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    change(&agent, NEW, &["--confirm", LONG])?;
    change(&agent, LATER, &["--confirm", "1"])?;
    comes_back(s, "right")?;
    ensure_eq!(pending(&agent)?, Value::Null, "taken back");
    Ok(())
}

fn a_change_that_is_meant_needs_no_confirmation(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    change(&agent, NEW, &["--confirm", LONG])?;
    change(&agent, LATER, &[])?;
    ensure_eq!(pending(&agent)?, Value::Null, "a plain reload");
    belongs_to(s, "later")?;
    let bad = s.portreeve(&["confirm"])?.ended_with(1)?;
    ensure!(bad.stderr.contains("no change waits"), "{bad:?}");
    Ok(())
}

/// Nobody would take it back when its time is over.
fn the_agents_end_takes_it_back(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    change(&agent, NEW, &["--confirm", LONG])?;
    belongs_to(s, "wrong")?;
    ensure!(agent.terminate()?.success(), "not a proper end");
    belongs_to(s, "right")
}

fn a_killed_agent_still_waits(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    change(&agent, NEW, &["--confirm", LONG])?;
    agent.kill()?;
    belongs_to(s, "wrong")?;
    let agent = s.agent_again()?.start()?;
    let left = pending(&agent)?["seconds_left"].as_u64();
    let left = left.context("nothing waits after a restart")?;
    ensure!((1..=600).contains(&left), "{left} seconds");
    belongs_to(s, "wrong")?;
    agent.terminate()?;
    belongs_to(s, "right")
}

/// The time is over while no agent runs.
fn a_killed_agent_takes_it_back_when_it_is_late(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    let waits = if cfg!(debug_assertions) { 4 } else { 2 };
    change(&agent, NEW, &["--confirm", &waits.to_string()])?;
    agent.kill()?;
    belongs_to(s, "wrong")?;
    thread::sleep(Duration::from_secs(waits));
    belongs_to(s, "wrong")?;
    let agent = s.agent_again()?.start()?;
    belongs_to(s, "right")?;
    ensure_eq!(pending(&agent)?, Value::Null, "after a restart");
    ensure!(agent.log().contains("was not confirmed"), "{}", agent.log());
    ensure_eq!(
        agent.status()?["profile"]["differs_from_file"],
        true,
        "the file"
    );
    // It doesn't come back by another restart either.
    agent.kill()?;
    let agent = s.agent_again()?.start()?;
    belongs_to(s, "right")?;
    drop(agent);
    Ok(())
}

fn seconds_are_asked_for(s: &Sandbox) -> Result<()> {
    let _agent = started(s)?;
    for arguments in [
        ["reload", "--confirm", "0"].as_slice(),
        &["reload", "--confirm", "soon"],
        &["reload", "--confirm", "86401"],
        &["reload", "--confirm", "5", "--dry-run"],
    ] {
        s.portreeve(arguments)?.ended_with(2)?;
    }
    belongs_to(s, "right")
}
