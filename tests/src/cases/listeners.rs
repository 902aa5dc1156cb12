//! What listens already, compared with the policy.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{Agent, Binder, NOBODY, Sandbox, Settings, command::Finished, tcp, udp},
    tests,
};

tests![
    who_holds_a_port_that_is_now_anothers,
    whoever_asked_for_the_policy,
    servers_without_an_entry_are_named,
];

const PROFILE: &str = "\
PORT
  2121 TCP FTPD1
  5300 UDP NAMED
  8080 TCP WEB
  9090 TCP RESERVED
";

fn of_code<'a>(answer: &'a Value, code: &str) -> Result<Vec<&'a Value>> {
    let said = answer["diagnostics"].as_array().context("diagnostics")?;
    Ok(said.iter().filter(|said| said["code"] == code).collect())
}

fn check(s: &Sandbox, arguments: &[&str]) -> Result<Finished> {
    let (profile, config) = (s.profile(), s.config());
    let profile = profile.display().to_string();
    let config = config.display().to_string();
    s.portreeve(&[&["check", &profile, "--config", &config], arguments].concat())
}

/// `LNT-07`: `check`, `run`, `reload` and `obey` name socket, process and entry of
/// what was bound before; the rightful holder is no finding, and nothing is when
/// the sockets are gone.
fn who_holds_a_port_that_is_now_anothers(s: &Sandbox) -> Result<()> {
    s.set_policy(PROFILE, Settings::DEFAULT)?;
    let wrong = Binder::start(
        &s.caller("squatter").user(NOBODY),
        &[tcp(2121).listening(), udp(5300), tcp(9090).listening()],
    )?;
    let right = Binder::start(&s.caller("web"), &[tcp(8080).listening()])?;
    ensure_eq!(wrong.results, [Ok(()), Ok(()), Ok(())], "before any policy");
    ensure_eq!(right.results, [Ok(())], "before any policy");

    let expected = |said: &[&Value], file: &Value| -> Result<()> {
        let lines: Vec<&Value> = said.iter().map(|said| &said["line"]).collect();
        ensure_eq!(lines, [2, 3, 5], "{said:#?}");
        for (said, port) in said.iter().zip(["tcp/2121", "udp/5300", "tcp/9090"]) {
            let holder = format!("{port} by squatter (pid {}, user {NOBODY})", wrong.pid);
            let message = said["message"].as_str().unwrap_or_default();
            ensure!(message.contains(&holder), "no {holder:?} in {said}");
            ensure_eq!(said["severity"], "warning", "{said}");
            ensure_eq!(said["file"], *file, "{said}");
        }
        Ok(())
    };
    let file = json!(s.profile());
    let checked = check(s, &["--format", "json"])?.ended_with(0)?.json()?;
    expected(&of_code(&checked, "PRV530")?, &file)?;
    let elsewhere = check(s, &["--other-host", "--format", "json"])?
        .ended_with(0)?
        .json()?;
    ensure_eq!(of_code(&elsewhere, "PRV530")?.len(), 0, "{elsewhere}");

    let agent = s.agent_again()?.start()?;
    let log = agent.log();
    ensure_eq!(log.matches("warning[PRV530]").count(), 3, "{log}");
    for arguments in [&["--dry-run"][..], &[]] {
        let (_, reloaded) = agent.reload(arguments)?;
        expected(&of_code(&reloaded, "PRV530")?, &file)?;
    }
    // A change takes a port from its rightful holder.
    let night = s.write(
        "night.tcpip",
        "DELETE PORT 8080 TCP WEB\nPORT 8080 TCP BATCH\n",
    )?;
    let (code, obeyed) = agent.obey(&night, &["--dry-run"])?;
    ensure_eq!(code, 0, "{obeyed}");
    let said = of_code(&obeyed, "PRV530")?;
    let last = said.last().context("nothing said")?;
    ensure_eq!(said.len(), 4, "{said:#?}");
    ensure_eq!(
        (&last["file"], &last["line"]),
        (&json!(night), &json!(2)),
        "{last}"
    );
    let message = last["message"].as_str().unwrap_or_default();
    let holder = format!("tcp/8080 by web (pid {}", right.pid);
    ensure!(message.contains(&holder), "no {holder:?} in {message}");

    drop(wrong);
    let (_, reloaded) = agent.reload(&[])?;
    ensure_eq!(of_code(&reloaded, "PRV530")?.len(), 0, "{reloaded}");
    Ok(())
}

/// `LNT-07`: where nobody asked for a policy who could be told, the log tells: an agent
/// that goes on where a killed one was, SIGHUP, a change that is taken back.
fn whoever_asked_for_the_policy(s: &Sandbox) -> Result<()> {
    s.set_policy(PROFILE, Settings::DEFAULT)?;
    let wrong = Binder::start(&s.caller("squatter"), &[tcp(2121).listening()])?;
    let held = format!("tcp/2121 by squatter (pid {}", wrong.pid);
    let said = |agent: &Agent<'_>| agent.log().matches(held.as_str()).count();
    let agent = s.agent_again()?.start()?;
    ensure_eq!(said(&agent), 1, "at the start: {}", agent.log());
    agent.kill()?;
    let agent = s.agent_again()?.start()?;
    ensure_eq!(said(&agent), 1, "after a kill: {}", agent.log());
    agent.signal(Signal::SIGHUP)?;
    agent.wait_until("what SIGHUP found", |agent| said(agent) == 2)?;

    s.set_policy("PORT 2121 TCP SQUATTER\n", Settings::DEFAULT)?;
    let (code, answer) = agent.reload(&["--confirm", "1"])?;
    ensure_eq!(code, 0, "{answer}");
    ensure_eq!(of_code(&answer, "PRV530")?.len(), 0, "{answer}");
    agent.wait_until("what it went back to", |agent| said(agent) == 3)
}

/// `LNT-08`, `LNT-09`: `check` advises entries for servers that have none; `run`
/// and `reload` don't.
fn servers_without_an_entry_are_named(s: &Sandbox) -> Result<()> {
    s.set_policy(PROFILE, Settings::DEFAULT)?;
    let _servers = Binder::start(
        &s.caller("batch"),
        &[
            tcp(7).listening(),
            udp(900),
            tcp(7000).listening(),
            udp(8000),
            // Bound, but no server.
            tcp(7001),
        ],
    )?;
    let checked = check(s, &["--format", "json"])?.ended_with(0)?.json()?;
    for (code, seen, entries) in [
        (
            "PRV532",
            "first: tcp/7 (batch), udp/900 (batch)",
            "`PORT 7 TCP BATCH`, `PORT 900 UDP BATCH`",
        ),
        (
            "PRV531",
            "first: tcp/7000 (batch), udp/8000 (batch)",
            "`PORT 7000 TCP BATCH`, `PORT 8000 UDP BATCH`",
        ),
    ] {
        let said = of_code(&checked, code)?;
        let [said] = said[..] else {
            anyhow::bail!("not one {code} in {checked}");
        };
        ensure_eq!(said["severity"], "info", "{said}");
        let message = said["message"].as_str().unwrap_or_default();
        ensure!(message.ends_with(seen), "{message}");
        let help = said["help"].as_str().unwrap_or_default();
        ensure!(help.ends_with(entries), "{help}");
    }
    let agent = s.agent_again()?.start()?;
    let (_, reloaded) = agent.reload(&[])?;
    for code in ["PRV531", "PRV532"] {
        ensure!(!agent.log().contains(code), "{}", agent.log());
        ensure_eq!(of_code(&reloaded, code)?.len(), 0, "{reloaded}");
    }
    Ok(())
}
