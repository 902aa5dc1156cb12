//! The unit of `deploy/`: what systemd says of it, and the agent under it, where systemd is
//! the first process.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{
        Binder, Sandbox, Systemd,
        command::{self, Finished},
        host, needs,
        pace::patience,
        refusal,
        systemd::program,
        tcp,
    },
    tests,
};

tests![verified, little_is_exposed];
tests![FIRST: the_agent_runs_under_its_unit];

const UNIT: &str = "portreeve.service";
const TEXT: &str = include_str!("../../../deploy/systemd/portreeve.service");
/// Where the unit expects the agent.
const PROGRAM: &str = "/usr/bin/portreeve";

fn analyze(arguments: &[&str]) -> Result<Finished> {
    let mut command = std::process::Command::new(program("/usr/bin/systemd-analyze")?);
    command.env_clear().arg("--no-pager");
    command::finish(command.args(arguments))
}

/// The unit as a file, with the agent where it is here.
fn unit_file(s: &Sandbox) -> Result<String> {
    let agent = host::agent()?.display().to_string();
    let text = TEXT.replace(PROGRAM, &agent);
    ensure!(
        text != TEXT || agent == PROGRAM,
        "the unit names no program"
    );
    Ok(s.write(UNIT, text)?.display().to_string())
}

/// systemd understands all of it.
fn verified(s: &Sandbox) -> Result<()> {
    let said = analyze(&["verify", "--man=no", &unit_file(s)?])?.ended_with(0)?;
    ensure_eq!(said.stderr, "", "what systemd complains of");
    Ok(())
}

/// The figure is in the manual.
fn little_is_exposed(s: &Sandbox) -> Result<()> {
    // In tenths of its scale, which ends at 10.
    const MOST: &str = "--threshold=37";
    let said = analyze(&["security", "--offline=yes", MOST, &unit_file(s)?])?;
    said.ended_with(0).map(drop)
}

const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n";

fn is_refused(s: &Sandbox) -> Result<()> {
    let result = Binder::attempt(&s.caller("wrong"), &tcp(4321))?;
    ensure_eq!(result, Err(refusal()), "the wrong job");
    Ok(())
}

fn portreeve(arguments: &[&str]) -> Result<Finished> {
    let mut command = std::process::Command::new(host::agent()?);
    command::finish(command.env_clear().args(arguments))
}

fn status() -> Result<Value> {
    portreeve(&["status", "--format", "json"])?
        .ended_with(0)?
        .json()
}

fn wait_for(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + patience();
    while !holds()? {
        ensure!(Instant::now() < deadline, "{what} never came");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn journal(words: &[&str]) -> Result<Vec<Value>> {
    let mut command = std::process::Command::new(program("/usr/bin/journalctl")?);
    command
        .env_clear()
        .args(["--no-pager", "--quiet", "-o", "json"]);
    let said = command::finish(command.args(words))?;
    let parsed = |line| serde_json::from_str(line).context("no JSON");
    said.stdout.lines().map(parsed).collect()
}

/// Undoes what the test leaves at the usual places.
struct Usual;

impl Drop for Usual {
    fn drop(&mut self) {
        let _ = portreeve(&["detach", "--yes"]);
        let _ = fs::remove_dir_all("/etc/portreeve");
        let _ = fs::remove_dir_all(DROP_IN);
    }
}

const DROP_IN: &str = "/run/systemd/system/portreeve.service.d";

/// Just as it is installed: it is ready, enforces, reloads, is watched over, tells the
/// journal, and leaves the policy in force when it is stopped.
fn the_agent_runs_under_its_unit(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::first()?;
    ensure!(Path::new(PROGRAM).exists(), "{PROGRAM} is not there");
    let _usual = Usual;
    fs::create_dir_all("/etc/portreeve")?;
    fs::write("/etc/portreeve/profile.tcpip", PROFILE)?;
    fs::write("/etc/portreeve/portreeve.toml", needs::accepting(&[]))?;
    // An emulated machine takes its time to load programs.
    fs::create_dir_all(DROP_IN)?;
    fs::write(
        Path::new(DROP_IN).join("test.conf"),
        "[Service]\nTimeoutStartSec=240\nWatchdogSec=20\n",
    )?;
    systemd.set(&[(UNIT, TEXT)])?;
    if !systemd.start(UNIT)? {
        let log = journal(&["-u", UNIT])?;
        let words: Vec<_> = log.iter().map(|line| line["MESSAGE"].to_string()).collect();
        anyhow::bail!("the unit has not started: {}", words.join("\n"));
    }
    let started = Instant::now();
    ensure_eq!(systemd.property(UNIT, "ActiveState")?, "active", "{UNIT}");
    let text = systemd.property(UNIT, "StatusText")?;
    ensure_eq!(
        text,
        "the mode asked for is proven",
        "what it tells systemd"
    );
    is_refused(s)?;
    let before = status()?;
    ensure_eq!(before["privileges"]["syscalls_filtered"], true, "{before}");
    let kept = before["privileges"]["capabilities"].as_array();
    ensure_eq!(kept.map(Vec::len), Some(5), "{before}");
    ensure_eq!(
        before["missing"].as_array().map(|all| {
            all.iter()
                .filter(|line| line.to_string().contains("CAP_"))
                .count()
        }),
        Some(0),
        "{before}"
    );
    ensure_eq!(before["outputs"][0]["to"], "the journal", "{before}");

    // The journal has the sentence, the fields, and it among what the other's unit says.
    wait_for("the event", || {
        Ok(!journal(&["-t", "portreeve", "PORTREEVE_PORT=4321"])?.is_empty())
    })?;
    let events = journal(&["-u", UNIT, "PORTREEVE_PORT=4321"])?;
    let event = events.first().context("no event of the unit")?;
    ensure_eq!(event["PORTREEVE_COMM"], "wrong", "{event}");
    ensure_eq!(event["PRIORITY"], "5", "{event}");
    let message = event["MESSAGE"].as_str().context("no message")?;
    ensure!(message.starts_with("refused tcp/4321"), "{message}");

    fs::write("/etc/portreeve/profile.tcpip", "PORT\n 4321 TCP WRONG\n")?;
    systemd.ctl(&["reload", UNIT])?.ended_with(0)?;
    ensure_eq!(
        Binder::attempt(&s.caller("wrong"), &tcp(4321))?,
        Ok(()),
        "reloaded"
    );
    fs::write("/etc/portreeve/profile.tcpip", "PORT nonsense\n")?;
    ensure!(
        systemd.ctl(&["reload", UNIT])?.code != Some(0),
        "reloaded nonsense"
    );
    fs::write("/etc/portreeve/profile.tcpip", PROFILE)?;
    systemd.ctl(&["reload", UNIT])?.ended_with(0)?;
    is_refused(s)?;

    // It tells that it goes round, as often as it has to.
    let watched = Duration::from_secs(25).saturating_sub(started.elapsed());
    thread::sleep(watched);
    ensure_eq!(systemd.property(UNIT, "NRestarts")?, "0", "restarts");
    let pid = systemd.property(UNIT, "MainPID")?;
    // Stopped, it doesn't: systemd kills it and starts another one, which takes over.
    systemd
        .ctl(&["kill", "--signal=STOP", UNIT])?
        .ended_with(0)?;
    wait_for("another agent", || {
        is_refused(s)?;
        let other = systemd.property(UNIT, "MainPID")?;
        let state = systemd.property(UNIT, "ActiveState")?;
        Ok(other != pid && other != "0" && state == "active")
    })?;
    is_refused(s)?;

    systemd.ctl(&["stop", UNIT])?.ended_with(0)?;
    ensure_eq!(systemd.property(UNIT, "Result")?, "success", "{UNIT}");
    is_refused(s)
}
