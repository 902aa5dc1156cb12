//! Entries suggested for what was refused, and for what is open.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{Agent, Binder, NOBODY, Need, Sandbox, Settings, Want, refusal, tcp, udp},
    tests,
};

tests![
    refusals_become_a_change_that_lets,
    audit_becomes_a_change,
    unreserved_ports_too,
    what_no_entry_helps,
    only_what_was_since,
    names_that_lie,
    open_ports_without_an_agent,
    open_ports_with_an_agent,
];

const PROFILE: &str = "\
PORT
  2121 TCP FTPD1
  5300 UDP NAMED
  2323 TCP RESERVED
PORTRANGE
  4000 100 TCP APPL*
";

fn refuse(s: &Sandbox, name: &str, want: &Want) -> Result<()> {
    let result = Binder::attempt(&s.caller(name), want)?;
    ensure_eq!(result, Err(refusal()), "{name}: {want}");
    Ok(())
}

fn suggested(s: &Sandbox, arguments: &[&str]) -> Result<Value> {
    let arguments = [&["suggest", "--format", "json"], arguments].concat();
    s.portreeve(&arguments)?.ended_with(0)?.json()
}

/// The entries, without who was seen.
fn entries(suggestion: &Value) -> Result<Vec<Value>> {
    let entries = suggestion["entries"].as_array().context("entries")?;
    let entry = |entry: &Value| {
        json!([
            entry["protocol"],
            entry["first"],
            entry["last"],
            entry["jobname"]
        ])
    };
    Ok(entries.iter().map(entry).collect())
}

/// Writes what is suggested as a change file, as it would be redirected to one.
fn file(s: &Sandbox, arguments: &[&str]) -> Result<PathBuf> {
    let arguments = [&["suggest"], arguments].concat();
    let text = s.portreeve(&arguments)?.ended_with(0)?.stdout;
    ensure!(text.contains("REVIEW IT"), "{text}");
    s.write("suggested.tcpip", text)
}

/// The file is right by itself and on top of the profile, and obeyed it lets in who was
/// refused.
fn obeyed(agent: &Agent<'_>, arguments: &[&str]) -> Result<()> {
    let s = agent.sandbox;
    let file = file(s, arguments)?;
    let (change, config) = (file.display().to_string(), s.config().display().to_string());
    let profile = s.profile().display().to_string();
    let check = |rest: &[&str]| {
        let arguments = [&["check", "--other-host", "--config", &config], rest].concat();
        s.portreeve(&arguments)?.ended_with(0)
    };
    check(&[&change])?;
    check(&[&profile, "--obey", &change])?;
    let (code, answer) = agent.obey(&file, &[])?;
    ensure_eq!(code, 0, "{answer}");
    ensure_eq!(answer["applied"], true, "{answer}");
    Ok(())
}

/// A refused job gets an entry beside that of the rightful one, who stays so.
fn refusals_become_a_change_that_lets(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let want = tcp(2121);
    for _ in 0..3 {
        refuse(s, "proftpd", &want)?;
    }
    let suggestion = suggested(s, &[])?;
    ensure_eq!(
        entries(&suggestion)?,
        [json!(["tcp", 2121, 2121, "PROFTPD"])],
        "{suggestion}"
    );
    let seen = &suggestion["entries"][0]["seen"];
    ensure_eq!(seen["refusals"], 3, "{seen}");
    ensure_eq!(seen["comms"], json!(["proftpd"]), "{seen}");
    ensure_eq!(seen["cgroups"], json!([s.cgroup_name()]), "{seen}");
    ensure_eq!(seen["uids"], json!([0]), "{seen}");

    obeyed(&agent, &[])?;
    for name in ["proftpd", "ftpd1"] {
        let result = Binder::attempt(&s.caller(name), &want)?;
        ensure_eq!(result, Ok(()), "{name}");
    }
    refuse(s, "another", &want)?;
    // Who is let by now needs no entry.
    let suggestion = suggested(s, &[])?;
    ensure_eq!(
        entries(&suggestion)?,
        [json!(["tcp", 2121, 2121, "ANOTHER"])],
        "{suggestion}"
    );
    ensure_eq!(suggestion["settled"], 3, "{suggestion}");
    Ok(())
}

/// What audit mode saw, put in force, refuses none of it.
fn audit_becomes_a_change(s: &Sandbox) -> Result<()> {
    let profile = format!("{PROFILE}PORT UNRSV TCP KNOWN WHENBIND\nPORT UNRSV UDP KNOWN\n");
    let agent = s.agent(&profile, Settings::DEFAULT.audit())?.start()?;
    let wants = [tcp(2121), tcp(7000), tcp(7001), tcp(7002), udp(7001)];
    let bind = |expected: Result<(), Errno>| -> Result<()> {
        let results = Binder::start(&s.caller("batch"), &wants)?.results;
        ensure_eq!(results, vec![expected; wants.len()], "{expected:?}");
        Ok(())
    };
    bind(Ok(()))?;
    let suggestion = suggested(s, &[])?;
    let expected = [
        json!(["tcp", 2121, 2121, "BATCH"]),
        json!(["tcp", 7000, 7002, "BATCH"]),
        json!(["udp", 7001, 7001, "BATCH"]),
    ];
    ensure_eq!(entries(&suggestion)?, expected, "{suggestion}");
    let change = file(s, &[])?;

    s.set_policy(&profile, Settings::DEFAULT)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    bind(Err(refusal()))?;
    let (code, answer) = agent.obey(&change, &[])?;
    ensure_eq!(code, 0, "{answer}");
    bind(Ok(()))
}

/// RESTRICTLOWPORTS and UNRSV refuse ports that no entry names.
fn unreserved_ports_too(s: &Sandbox) -> Result<()> {
    let profile = "\
TCPCONFIG RESTRICTLOWPORTS
PORT UNRSV TCP KNOWN WHENBIND
";
    let settings = Settings::DEFAULT.grant_any();
    let agent = s.agent(profile, settings)?.start()?;
    let user = s.caller("echod").user(NOBODY);
    let low = Binder::attempt(&user, &tcp(7))?;
    ensure_eq!(low, Err(refusal()), "RESTRICTLOWPORTS");
    refuse(s, "game", &tcp(7777))?;
    let suggestion = suggested(s, &[])?;
    let expected = [
        json!(["tcp", 7, 7, "ECHOD"]),
        json!(["tcp", 7777, 7777, "GAME"]),
    ];
    ensure_eq!(entries(&suggestion)?, expected, "{suggestion}");
    obeyed(&agent, &[])?;
    let game = Binder::attempt(&s.caller("game"), &tcp(7777))?;
    ensure_eq!(game, Ok(()), "UNRSV");
    if Need::Grant.is_there()? {
        ensure_eq!(Binder::attempt(&user, &tcp(7))?, Ok(()), "low port");
    }
    Ok(())
}

/// No entry beside it: RESERVED, ranges, UDP, and names that no entry can have. They are
/// told in comments, with what could be done.
fn what_no_entry_helps(s: &Sandbox) -> Result<()> {
    let config = "[jobs.DB]\nuser = \"4000002\"\n";
    let agent = s.agent_with(PROFILE, config)?.start()?;
    refuse(s, "telnetd", &tcp(2323))?;
    refuse(s, "other", &tcp(4001))?;
    refuse(s, "unbound", &udp(5300))?;
    refuse(s, "db", &tcp(2121))?;
    refuse(s, "9lives", &tcp(2121))?;
    let suggestion = suggested(s, &[])?;
    ensure_eq!(entries(&suggestion)?.len(), 0, "{suggestion}");
    let left_out = suggestion["left_out"].as_array().context("left out")?;
    for (port, why) in [
        (2121, "does not satisfy the definition"),
        (2121, "9LIVES can't stand in a profile"),
        (2323, "remove the RESERVED entry"),
        (4001, "take the port out of the range"),
        (5300, "UDP has one job name"),
    ] {
        let is_it = |left: &&Value| {
            left["port"] == port && left["why"].as_str().is_some_and(|text| text.contains(why))
        };
        ensure!(
            left_out.iter().any(|left| is_it(&left)),
            "{why}: {suggestion}"
        );
    }
    ensure_eq!(left_out.len(), 5, "{suggestion}");
    obeyed(&agent, &[])?;
    refuse(s, "db", &tcp(2121))
}

/// `--since` takes a point in time, or how long ago it was.
fn only_what_was_since(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    refuse(s, "early", &tcp(2121))?;
    refuse(s, "late", &tcp(2121))?;
    let events = agent.events()?;
    let time = events.last().context("no event")?["time"].clone();
    let time = time.as_str().context("a time")?;
    let late = [json!(["tcp", 2121, 2121, "LATE"])];
    ensure_eq!(entries(&suggested(s, &["--since", time])?)?, late, "{time}");
    ensure_eq!(entries(&suggested(s, &["--since", "1h"])?)?.len(), 2, "1h");
    let none = suggested(s, &["--since", "2999-01-01T00:00:00Z"])?;
    ensure_eq!(entries(&none)?.len(), 0, "the future");
    s.portreeve(&["suggest", "--since", "yesterday"])?
        .ended_with(2)
        .map(drop)
}

/// Names of processes and cgroups are hostile text: none of it becomes an entry.
fn names_that_lie(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    for name in ["x\nPORT 1 TCP *", "a;b", "\u{85}PORT", "&SYSNAME.", "*"] {
        let below = s.cgroup_below("a\u{85}PORT 2 TCP *")?;
        let result = Binder::attempt(&s.caller(name).cgroup(below), &tcp(2121))?;
        ensure_eq!(result, Err(refusal()), "{name:?}");
    }
    let suggestion = suggested(s, &[])?;
    ensure_eq!(entries(&suggestion)?.len(), 0, "{suggestion}");
    let text = suggestion["text"].as_str().context("text")?;
    let strays: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(';'))
        .collect();
    ensure!(strays.is_empty(), "{strays:?}");
    obeyed(&agent, &[])
}

/// A first profile from what is open now; bound ports, connected ones and those that the
/// kernel hands out are not in it.
fn open_ports_without_an_agent(s: &Sandbox) -> Result<()> {
    let _servers = Binder::start(
        &s.caller("web"),
        &[
            tcp(8080).listening(),
            tcp(8081).listening(),
            udp(8080),
            tcp(8443).on_any_v6(true).listening(),
            tcp(9999),
            tcp(40000).listening(),
        ],
    )?;
    let suggestion = suggested(s, &["--listeners"])?;
    let expected = [
        json!(["tcp", 8080, 8081, "WEB"]),
        json!(["tcp", 8443, 8443, "WEB"]),
        json!(["udp", 8080, 8080, "WEB"]),
    ];
    ensure_eq!(entries(&suggestion)?, expected, "{suggestion}");
    let seen = &suggestion["entries"][1]["seen"];
    ensure_eq!(seen["open_on"], json!(["::"]), "{seen}");
    ensure_eq!(suggestion["left_out"][0]["port"], 40000, "{suggestion}");
    // It is a profile that can be put in force.
    let profile = s.portreeve(&["suggest", "--listeners"])?.ended_with(0)?;
    let agent = s.agent(&profile.stdout, Settings::DEFAULT)?.start()?;
    refuse(s, "other", &tcp(8081).on([127, 0, 0, 2]))?;
    drop(agent);
    // Without it, refusals are nobody's to tell.
    s.portreeve(&["suggest"])?.ended_with(2).map(drop)
}

/// The agent knows what is reserved already, and who is which job; so do files that are
/// named.
fn open_ports_with_an_agent(s: &Sandbox) -> Result<()> {
    let below = s.cgroup_below("db")?;
    let config = format!("[jobs.DB]\ncgroup = \"{}/db\"\n", s.cgroup_name());
    let agent = s.agent_with(PROFILE, &config)?.start()?;
    let wants = [tcp(5432).listening()];
    let _db = Binder::start(&s.caller("postgres").cgroup(below), &wants)?;
    let _right = Binder::start(&s.caller("ftpd1"), &[tcp(2121).listening()])?;
    let expected = [json!(["tcp", 5432, 5432, "DB"])];
    let suggestion = suggested(s, &["--listeners"])?;
    ensure_eq!(entries(&suggestion)?, expected, "{suggestion}");
    let (profile, config) = (s.profile(), s.config());
    let named = [
        "--listeners",
        "--profile",
        &profile.display().to_string(),
        "--config",
        &config.display().to_string(),
    ];
    let suggestion = suggested(s, &named)?;
    ensure_eq!(entries(&suggestion)?, expected, "{suggestion}");
    obeyed(&agent, &["--listeners"])?;
    let suggestion = suggested(s, &["--listeners"])?;
    ensure_eq!(entries(&suggestion)?.len(), 0, "{suggestion}");
    Ok(())
}
