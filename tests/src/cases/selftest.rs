//! The proof that the hooks are alive, and what is said when they are not.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Case, Sandbox, Settings, Spinner, control,
        expect::{expect, judge},
        neighbour::detach_links_of,
        pace::{limit, times},
        refusal,
        sabotage::{Exclusive, HOOKS, detach},
        snapshot::Snapshot,
        tcp,
    },
    tests,
};

tests![
    the_proof_leaves_no_trace,
    proofs_at_the_same_time,
    a_missing_hook_is_noticed,
    a_missing_hook_is_noticed_in_audit_mode,
    everybody_may_bind_what_the_proof_binds,
    an_agent_inside_its_own_cgroup,
    a_proof_while_the_mode_changes,
    a_flood_of_refusals_does_not_deafen_the_agent,
    a_flood_of_events_does_not_deafen_the_agent,
    a_flood_in_audit_mode_does_not_hide_the_proof,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n";
const ENTRY: &str = "4321 TCP RIGHT";

/// However often it is made, no counter moves, no event is shown and nothing stays.
fn the_proof_leaves_no_trace(s: &Sandbox) -> Result<()> {
    for settings in [QUIET.report_all(), QUIET.audit().report_all()] {
        let agent = s.agent(PROFILE, settings)?.arg("--print-events").start()?;
        let first = Snapshot::take(&agent)?;
        for _ in 0..5 {
            let status = agent.status()?;
            ensure_eq!(status["selftest"]["ok"], true, "{status}");
            ensure_eq!(status["selftest"]["problem"], Value::Null, "{status}");
        }
        let last = Snapshot::take(&agent)?;
        ensure_eq!(last.counters, first.counters, "counters");
        ensure_eq!(last.audited, first.audited, "audit counters");
        ensure_eq!(last.refusals, first.refusals, "refusals by line");
        ensure!(last.events.is_empty(), "{:?}", last.events);
        ensure!(first.events.is_empty(), "{:?}", first.events);
        ensure_eq!(agent.stdout().len(), 1, "lines printed");
        let left: Vec<_> = fs::read_dir(&s.cgroup)?
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .collect();
        ensure!(left.is_empty(), "cgroups stay: {left:?}");
    }
    Ok(())
}

/// Everybody who asks gets a proof, and nobody a wrong alarm.
fn proofs_at_the_same_time(s: &Sandbox) -> Result<()> {
    for settings in [QUIET, QUIET.audit()] {
        let agent = s.agent(PROFILE, settings)?.start()?;
        let asked = || -> Result<()> {
            for _ in 0..5 {
                s.portreeve(&["status"])?.ended_with(0)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(asked)).collect();
            asking.into_iter().try_for_each(|one| {
                one.join()
                    .map_err(|_| anyhow::anyhow!("a client panicked"))?
            })
        })?;
        agent.terminate()?;
    }
    Ok(())
}

/// A hook that is detached and can't be attached again judges nothing: exit status 1,
/// the hook's name, and all about the rest as before.
fn a_missing_hook_is_noticed(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    for (gone, attach_type) in HOOKS {
        let alone = take_away(&agent, gone, attach_type)?;
        misses(&agent, gone, "did not refuse")?;
        // It is put back as soon as that can be done.
        drop(alone);
        let wrong = s.caller("wrong");
        let v6 = tcp(4321).on(std::net::Ipv6Addr::LOCALHOST);
        let cases = [
            Case::other_job(&wrong, tcp(4321), ENTRY),
            Case::other_job(&wrong, v6, ENTRY),
        ];
        expect(&agent, PROFILE, QUIET, &cases)?;
    }
    Ok(())
}

/// In audit mode it is the missing event that tells.
fn a_missing_hook_is_noticed_in_audit_mode(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET.audit())?.start()?;
    for (gone, attach_type) in HOOKS {
        let alone = take_away(&agent, gone, attach_type)?;
        misses(&agent, gone, "did not see")?;
        drop(alone);
        agent.status()?;
    }
    Ok(())
}

/// Detaches a hook, and keeps it from being attached again.
fn take_away(agent: &Agent<'_>, hook: &str, attach_type: u32) -> Result<Exclusive> {
    agent.stop()?;
    detach(&agent.sandbox.bpffs.join("links").join(hook))?;
    // What watches is there too, and nobody is alone beside it.
    detach_links_of(agent.pid(), attach_type)?;
    let alone = Exclusive::attach(&agent.sandbox.cgroup, attach_type);
    agent.signal(Signal::SIGCONT)?;
    alone
}

/// What the proof says of a hook that is gone. Its bind meets only those that see what is
/// asked for, whose failure is told in `words`.
fn misses(agent: &Agent<'_>, gone: &str, words: &str) -> Result<()> {
    let hooks = HOOKS.map(|(hook, _)| hook);
    let left: Vec<&str> = hooks.into_iter().filter(|hook| *hook != gone).collect();
    let words = match gone {
        "bind4" | "bind6" => words,
        _ => "is not attached",
    };
    let status = agent.sandbox.portreeve(&["status", "--format", "json"])?;
    let status = status.ended_with(1)?.json()?;
    let mut hooks: Vec<String> = serde_json::from_value(status["hooks"].clone())?;
    hooks.retain(|hook| hook != "listen");
    ensure_eq!(hooks, left, "hooks");
    let missing = status["missing"].to_string();
    ensure!(missing.contains(gone), "{missing}");
    ensure_eq!(status["selftest"]["ok"], false, "{status}");
    let problem = status["selftest"]["problem"].as_str().unwrap_or_default();
    let is_told = problem.contains(&format!("hook {gone} ")) && problem.contains(words);
    ensure!(is_told, "{problem}");
    let text = agent.sandbox.portreeve(&["status"])?.ended_with(1)?;
    ensure!(text.stdout.contains("NOT PROVEN"), "{}", text.stdout);
    Ok(())
}

/// The proof's port and addresses are no special ones for anybody else.
fn everybody_may_bind_what_the_proof_binds(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 60001 TCP RIGHT\n";
    let entry = "60001 TCP RIGHT";
    let (right, wrong) = (s.caller("right"), s.caller("wrong"));
    let cases = [
        Case::permitted(&right, tcp(60001), entry),
        Case::other_job(&wrong, tcp(60001), entry),
    ];
    let _agent = judge(s, profile, QUIET, &cases)?;
    // No host has these addresses: what the policy allows the kernel refuses.
    let v4 = tcp(60001).on([192, 0, 2, 1]);
    let v6 = tcp(60001).on([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    for want in [v4, v6] {
        use nix::errno::Errno;
        let result = Binder::attempt(&right, &want)?;
        ensure_eq!(result, Err(Errno::EADDRNOTAVAIL), "{want} by its job");
        let result = Binder::attempt(&wrong, &want)?;
        ensure_eq!(result, Err(refusal()), "{want} by another");
    }
    Ok(())
}

/// Where the hooks cover the agent too, as they do on a host, it proves from where
/// it is and makes no cgroup.
fn an_agent_inside_its_own_cgroup(s: &Sandbox) -> Result<()> {
    let mut start = s.agent(PROFILE, QUIET)?;
    start.launch.cgroups = vec![s.cgroup_below("agent")?];
    let agent = start.start()?;
    let cases = [Case::other_job(&s.caller("wrong"), tcp(4321), ENTRY)];
    expect(&agent, PROFILE, QUIET, &cases)?;
    let left: Vec<_> = fs::read_dir(&s.cgroup)?
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name())
        .collect();
    ensure_eq!(left, ["agent"], "cgroups");
    Ok(())
}

/// A reload in the middle of a proof is no reason for an alarm.
fn a_proof_while_the_mode_changes(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let status = s.portreeve(&["status", "--format", "json"])?;
                let problem = status.json()?["selftest"]["problem"].clone();
                ensure_eq!(problem, Value::Null, "problem");
            }
            Ok(())
        });
        let reloaded = (0..times(200)).try_for_each(|number| {
            let mode = if number % 2 == 0 {
                QUIET.audit()
            } else {
                QUIET
            };
            s.set_policy(PROFILE, mode)?;
            control::reload(&s.socket).map(drop)
        });
        stop.store(true, Ordering::Relaxed);
        let asked = asking.join().map_err(|_| anyhow::anyhow!("panicked"))?;
        reloaded.and(asked)
    })?;
    agent.status().map(drop)
}

/// A process that is refused as fast as it can ask costs events, not the agent.
fn a_flood_of_refusals_does_not_deafen_the_agent(s: &Sandbox) -> Result<()> {
    deafened(s, "wrong", QUIET)
}

/// The same for one that is allowed, when that is reported too.
fn a_flood_of_events_does_not_deafen_the_agent(s: &Sandbox) -> Result<()> {
    deafened(s, "right", QUIET.report_all())
}

/// In audit mode the proof is an event itself, and must get through the flood.
fn a_flood_in_audit_mode_does_not_hide_the_proof(s: &Sandbox) -> Result<()> {
    deafened(s, "wrong", QUIET.audit())
}

fn deafened(s: &Sandbox, name: &str, settings: Settings) -> Result<()> {
    let agent = s.agent(PROFILE, settings)?.start()?;
    let mut flood = Spinner::start(&s.caller(name), &[tcp(4321)])?;
    flood.wait_for(10_000)?;
    for _ in 0..3 {
        let asked = Instant::now();
        agent.status()?;
        agent.ports()?;
        agent.reload(&[])?;
        let waited = asked.elapsed();
        ensure!(waited < limit(10), "three answers took {waited:?}");
    }
    // What did not get out is at least counted.
    let before = agent.status()?["events"]["lost"].clone();
    ensure!(before.is_u64(), "{before}");
    flood.wait_for(1000)?;
    ensure!(agent.terminate()?.success(), "not a proper end");
    drop(flood);
    s.agent_again()?.start().map(drop)
}
