//! What the programs say of themselves when asked to.

use anyhow::{Result, ensure};

use crate::{
    harness::{Case, Sandbox, Settings, expect::expect, tcp, udp},
    tests,
};

tests![
    traces_when_asked,
    no_traces_otherwise,
    events_are_printed_if_asked
];

const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n";
const ENTRY: &str = "4321 TCP RIGHT";
const LOUD: Settings = Settings::DEFAULT.report_all();

fn cases(s: &Sandbox) -> [Case<'static>; 3] {
    let (right, wrong) = (s.caller("right"), s.caller("wrong"));
    let v6 = std::net::Ipv6Addr::LOCALHOST;
    [
        Case::permitted(&right, tcp(4321), ENTRY),
        Case::other_job(&wrong, tcp(4321).on(v6), ENTRY),
        Case::unreserved(&wrong, udp(4321)),
    ]
}

/// With `--trace` the log shows each judged bind; verdicts are the same.
fn traces_when_asked(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, LOUD)?.arg("--trace").start()?;
    expect(&agent, PROFILE, LOUD, &cases(s))?;
    for words in [
        "bind4 tcp port 4321",
        "bind6 tcp port 4321",
        "bind4 udp port 4321",
    ] {
        agent.wait_until(words, |agent| agent.log().contains(words))?;
    }
    Ok(())
}

/// Without it nothing of the kind, not even when the hooks are those of an agent
/// that had been asked.
fn no_traces_otherwise(s: &Sandbox) -> Result<()> {
    let quiet = |agent: &crate::harness::Agent<'_>| -> Result<()> {
        expect(agent, PROFILE, LOUD, &cases(s))?;
        ensure!(!agent.log().contains("port 4321"), "{}", agent.log());
        Ok(())
    };
    let agent = s.agent(PROFILE, LOUD)?.start()?;
    quiet(&agent)?;
    agent.terminate()?;
    let agent = s.agent_again()?.arg("--trace").start()?;
    expect(&agent, PROFILE, LOUD, &cases(s))?;
    agent.wait_until("a trace", |agent| agent.log().contains("port 4321"))?;
    agent.terminate()?;
    quiet(&s.agent_again()?.start()?)
}

/// `--print-events`: one line per event on standard output, as text or JSON, and
/// the same ones that `events` shows.
fn events_are_printed_if_asked(s: &Sandbox) -> Result<()> {
    for json in [false, true] {
        let mut start = s.agent(PROFILE, LOUD)?.arg("--print-events");
        if json {
            start = start.option("--format", "json");
        }
        let agent = start.start()?;
        expect(&agent, PROFILE, LOUD, &cases(s))?;
        let lines = agent.stdout();
        let printed = lines.get(1..).unwrap_or_default();
        ensure!(printed.len() == 3, "{lines:?}");
        if json {
            let events = agent.events()?;
            for (line, event) in printed.iter().zip(&events) {
                let line: serde_json::Value = serde_json::from_str(line)?;
                crate::ensure_eq!(line, *event, "printed event");
            }
        } else {
            for word in ["refused tcp/4321 to wrong", "profile.tcpip:2", ENTRY] {
                ensure!(printed[1].contains(word), "no {word:?} in {}", printed[1]);
            }
        }
    }
    Ok(())
}
