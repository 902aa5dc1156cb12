//! News of ports: what changes, and what is not as expected.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{Agent, Sandbox, Servant, request::Kind},
    tests,
};

tests![
    a_server_that_ends_is_missed,
    a_restart_is_no_alert,
    a_port_that_flaps_is_told_once,
    another_policy_expects_something_else,
    who_takes_a_port_that_is_to_be_closed,
];

const PROFILE: &str = "PORT\n 21 TCP FTPD1\n 23 TCP RESERVED\n";

/// What is expected, and for how long a port may be otherwise.
fn config(hold_down: u32) -> String {
    format!(
        "[ephemeral]\nmanage = false\n[watch]\nhold_down = {hold_down}\n\
         [[expect]]\nports = \"tcp/21\"\nstate = \"open\"\n\
         [[expect]]\nports = \"tcp/2323\"\nstate = \"closed\"\n"
    )
}

/// The news of a port, of each what it is, what the port is, and why.
fn news(agent: &Agent<'_>, port: u64) -> Result<Vec<(String, String, String)>> {
    let shown = agent
        .sandbox
        .portreeve(&["events", "--ports", "--format", "json"])?;
    let shown = shown.ended_with(0)?;
    let lines = shown.stdout.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let of_port = lines.iter().filter(|line| line["port"] == port);
    Ok(of_port
        .map(|line| {
            let what = match line["alert"].as_str() {
                Some(alert) => format!("{} {alert}", text(line, "news")),
                None => text(line, "news"),
            };
            (what, text(line, "state"), text(line, "cause"))
        })
        .collect())
}

/// Waits until the news of `port` are these.
fn expect(agent: &Agent<'_>, port: u64, expected: &[(&str, &str, &str)]) -> Result<()> {
    let expected: Vec<(String, String, String)> = expected
        .iter()
        .map(|(what, state, cause)| ((*what).into(), (*state).into(), (*cause).into()))
        .collect();
    agent
        .wait_until("the news", |agent| {
            news(agent, port).is_ok_and(|found| found == expected)
        })
        .with_context(|| format!("expected {expected:?}, found {:?}", news(agent, port)))
}

fn raised(agent: &Agent<'_>) -> Result<Vec<Value>> {
    let alerts = agent.status()?["watch"]["alerts"].as_array().cloned();
    alerts.context("no alerts in the status")
}

/// `CLS-05`, `CLS-10`: an event at once, an alert after the time that is allowed, and one
/// word when it is over.
fn a_server_that_ends_is_missed(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with(PROFILE, &config(1))?.start()?;
    // Nobody is there to begin with: that is no change, and worth an alert.
    expect(&agent, 21, &[("alert broken", "closed", "found")])?;
    let ftpd = Servant::start(&s.caller("ftpd1"))?;
    let pid = ftpd.pid;
    ftpd.serve(Kind::Tcp, Ipv4Addr::LOCALHOST, 21)??;
    let begun = [
        ("alert broken", "closed", "found"),
        ("change", "bound", "owner"),
        ("change", "open", "owner"),
        ("cleared broken", "open", "owner"),
    ];
    // Bound and listening at once is one change.
    let is_begun = |agent: &Agent<'_>| {
        news(agent, 21).is_ok_and(|found| found.last().is_some_and(|last| last.0 == begun[3].0))
    };
    agent.wait_until("the end of the alert", is_begun)?;
    ensure_eq!(raised(&agent)?, Vec::<Value>::new(), "alerts");
    drop(ftpd);
    agent.wait_until("the alert", |agent| {
        raised(agent).is_ok_and(|alerts| !alerts.is_empty())
    })?;
    let alerts = raised(&agent)?;
    ensure_eq!(alerts.len(), 1, "{alerts:?}");
    for (name, value) in [
        ("port", "21"),
        ("state", "\"closed\""),
        ("expected", "\"open\""),
    ] {
        ensure_eq!(alerts[0][name].to_string(), value, "{name}");
    }
    let found = news(&agent, 21)?;
    let end = found.iter().rev().take(2).collect::<Vec<_>>();
    ensure!(
        end[0].0 == "alert broken" && end[1].0 == "change" && end[1].1 == "closed",
        "{found:?}"
    );
    ensure!(["ended", "owner"].contains(&end[1].2.as_str()), "{found:?}");
    agent
        .wait_for_log(&[
            "warn",
            "tcp/21 is closed, and is expected to be open",
            &format!("pid {pid}"),
        ])
        .or_else(|_| {
            agent.wait_for_log(&["warn", "tcp/21 is closed, and is expected to be open"])
        })?;
    let status = s.portreeve(&["status"])?.ended_with(0)?.stdout;
    ensure!(status.contains("ALERT       tcp/21 is closed"), "{status}");
    Ok(())
}

fn a_restart_is_no_alert(s: &Sandbox) -> Result<()> {
    let ftpd = Servant::start(&s.caller("ftpd1"))?;
    let control = ftpd.serve(Kind::Tcp, Ipv4Addr::LOCALHOST, 21)??;
    let agent = s.agent_with(PROFILE, &config(30))?.start()?;
    ftpd.close(control)?;
    expect(&agent, 21, &[("change", "closed", "owner")])?;
    ftpd.serve(Kind::Tcp, Ipv4Addr::LOCALHOST, 21)??;
    agent.wait_until("the port", |agent| {
        news(agent, 21).is_ok_and(|found| found.last().is_some_and(|last| last.1 == "open"))
    })?;
    let found = news(&agent, 21)?;
    ensure!(found.iter().all(|(what, ..)| what == "change"), "{found:?}");
    ensure_eq!(agent.logged(&["tcp/21"]), 0, "lines in the log");
    Ok(())
}

fn a_port_that_flaps_is_told_once(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with(PROFILE, &config(60))?.start()?;
    let ftpd = Servant::start(&s.caller("ftpd1"))?;
    for _ in 0..6 {
        let socket = ftpd.serve(Kind::Tcp, Ipv4Addr::LOCALHOST, 21)??;
        let is = |state: &'static str| {
            move |agent: &Agent<'_>| {
                news(agent, 21).is_ok_and(|found| {
                    let mut changes = found.iter().filter(|(what, ..)| what == "change");
                    changes.next_back().is_some_and(|last| last.1 == state)
                })
            }
        };
        agent.wait_until("open", is("open"))?;
        ftpd.close(socket)?;
        agent.wait_until("closed", is("closed"))?;
    }
    let found = news(&agent, 21)?;
    let alerts: Vec<_> = found.iter().filter(|(what, ..)| what != "change").collect();
    ensure_eq!(alerts.len(), 1, "{found:?}");
    ensure_eq!(alerts[0].0, "alert flapping", "{found:?}");
    agent.wait_for_log(&["warn", "tcp/21 changes all the time"])
}

/// `CLS-08`: what is expected changes with the policy.
fn another_policy_expects_something_else(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with(PROFILE, &config(1))?.start()?;
    expect(&agent, 21, &[("alert broken", "closed", "found")])?;
    s.write("portreeve.toml", "[ephemeral]\nmanage = false\n")?;
    ensure_eq!(agent.reload(&[])?.0, 0, "reload");
    expect(
        &agent,
        21,
        &[
            ("alert broken", "closed", "found"),
            ("cleared broken", "closed", "found"),
        ],
    )?;
    ensure_eq!(raised(&agent)?, Vec::<Value>::new(), "alerts");
    Ok(())
}

/// A port that nobody reserves is watched too, if something is expected of it.
fn who_takes_a_port_that_is_to_be_closed(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with(PROFILE, &config(1))?.start()?;
    let telnetd = Servant::start(&s.caller("telnetd"))?;
    let socket = telnetd.serve(Kind::Tcp, Ipv4Addr::LOCALHOST, 2323)??;
    let is_last = |what: &'static str| {
        move |agent: &Agent<'_>| {
            news(agent, 2323).is_ok_and(|found| found.last().is_some_and(|last| last.0 == what))
        }
    };
    agent.wait_until("the alert", is_last("alert broken"))?;
    let alerts = raised(&agent)?;
    ensure!(
        alerts
            .iter()
            .any(|alert| alert["port"] == 2323 && alert["state"] == "open"),
        "{alerts:?}"
    );
    telnetd.close(socket)?;
    agent.wait_until("its end", is_last("cleared broken"))
}
