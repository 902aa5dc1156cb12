//! Killed at every step of a change: what was in force before still is, or what the change
//! wanted, and the next agent goes on with it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Sandbox, Settings, Want, control, refusal,
        syscalls::{Call, Fault, strike},
        tcp, udp,
    },
    tests,
};

tests![
    killed_at_every_step_of_a_reload,
    killed_at_every_step_of_a_reload_to_be_confirmed,
    killed_at_every_step_of_obeying,
];

const QUIET: Settings = Settings::DEFAULT;
/// A port for each policy that the kernel would hand out, and one for both.
const OLD: &str = "PORT\n 4321 TCP OLD\n 4321 UDP OLD\n 40001 TCP OLD\n";
const NEW: &str = "PORT\n 4321 TCP NEW\n 4321 UDP NEW\n 40002 TCP NEW\n";
/// What makes [`NEW`] of [`OLD`].
const CHANGE: &str = "\
DELETE PORT 4321 TCP OLD
DELETE PORT 4321 UDP OLD
DELETE PORT 40001 TCP OLD
PORT
 4321 TCP NEW
 4321 UDP NEW
 40002 TCP NEW
";

/// Both families and protocols.
fn wants() -> [Want; 4] {
    let v6 = std::net::Ipv6Addr::LOCALHOST;
    [tcp(4321), tcp(4321).on(v6), udp(4321), udp(4321).on(v6)]
}

/// A policy that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InForce {
    Old,
    New,
}

/// The policy in force, all of which must be.
fn in_force(s: &Sandbox) -> Result<InForce> {
    let results = |name: &str, own: u16, other: u16| -> Result<Vec<_>> {
        let mut wants = wants().to_vec();
        wants.extend([tcp(own), tcp(other)]);
        Ok(Binder::start(&s.caller(name), &wants)?.results)
    };
    let (old, new) = (results("old", 40001, 40002)?, results("new", 40002, 40001)?);
    let (free, denied) = (Ok(()), Err(refusal()));
    let owner = [free; 6];
    // The port that is his under the other policy is nobody's.
    let stranger = [denied, denied, denied, denied, free, denied];
    if old == owner && new == stranger {
        Ok(InForce::Old)
    } else if new == owner && old == stranger {
        Ok(InForce::New)
    } else {
        bail!("parts of two policies: {old:?}, {new:?}")
    }
}

/// Every name below a folder.
fn names_below(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            names.extend(names_below(&path)?);
        }
        names.insert(path);
    }
    Ok(names)
}

/// What an agent leaves outside of its process: pins, cgroups and settings.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    pins: BTreeSet<PathBuf>,
    cgroups: Vec<PathBuf>,
    settings: String,
}

impl Left {
    fn now(s: &Sandbox) -> Result<Self> {
        let below = fs::read_dir(&s.cgroup)?.flatten().map(|entry| entry.path());
        Ok(Self {
            pins: names_below(&s.bpffs)?,
            cgroups: below.filter(|path| path.is_dir()).collect(),
            settings: fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports")?,
        })
    }
}

/// The state folder names what is in force, and has just the files for it.
fn is_consistent(s: &Sandbox) -> Result<()> {
    let index = fs::read_to_string(s.state().join("state.json"))?;
    let state: Value = serde_json::from_str(&index)?;
    let policies = state["policies"].as_object().context("no policies")?;
    let name = state["in_force"].as_str().context("nothing is in force")?;
    ensure!(policies.contains_key(name), "{name} is not known: {index}");
    ensure_eq!(state["next"], Value::Null, "a policy that is about to come");
    let mut needed = BTreeSet::new();
    for policy in policies.values() {
        let changes = policy["changes"].as_array().into_iter().flatten();
        let lists = [&policy["profile"], &policy["config"]].into_iter();
        for file in lists.chain(changes).filter_map(Value::as_array).flatten() {
            let name = file["sha256"].as_str().context("no hash")?;
            needed.insert(s.state().join("files").join(name));
        }
    }
    ensure_eq!(names_below(&s.state().join("files"))?, needed, "files");
    let left: Vec<_> = fs::read_dir(s.state())?.flatten().collect();
    ensure_eq!(left.len(), 2, "in the state folder: {left:?}");
    Ok(())
}

/// Kills an agent behind each step of what `request` asks, which makes [`NEW`] of [`OLD`].
fn at_every_step(s: &Sandbox, profile: &str, request: &Value) -> Result<()> {
    let waits = request["confirm"].is_number();
    let (mut old, mut new) = (0, 0);
    let mut agent: Agent<'_> = s.agent(OLD, QUIET)?.start()?;
    let clean = Left::now(s)?;
    ensure!(clean.settings.contains("40001"), "{clean:?}");
    for nth in 0.. {
        ensure!(nth < 300, "a change without end");
        s.set_policy(profile, QUIET)?;
        let ask = || control::change(&s.socket, request);
        let (call, reply) = strike(&agent, nth, Fault::Kill, Call::is_a_step, ask)?;
        let context = || format!("killed behind step {nth}, {call:?}");
        if call.is_none() {
            ensure_eq!(reply?["done"]["applied"], true, "without a kill");
            break;
        }
        drop(agent);
        let found = in_force(s).with_context(context)?;
        match found {
            InForce::Old => old += 1,
            InForce::New => new += 1,
        }
        // Even before the next agent nothing reserved is handed out.
        let kept = Left::now(s)?.settings;
        let (own, list) = match found {
            InForce::Old => ("40001", "4321,40001"),
            InForce::New => ("40002", "4321,40002"),
        };
        let is_kept = kept.contains(own) || kept.contains("40001-40002");
        ensure!(is_kept, "{own} can be handed out: {kept}");

        agent = s.agent_again()?.start().with_context(context)?;
        ensure_eq!(
            in_force(s).with_context(context)?,
            found,
            "after step {nth}"
        );
        is_consistent(s).with_context(context)?;
        let pending = !agent.status()?["pending_confirm"].is_null();
        ensure_eq!(pending, waits && found == InForce::New, "step {nth}: waits");
        let left = Left::now(s)?;
        ensure_eq!(left.pins, clean.pins, "pins behind step {nth}");
        ensure_eq!(left.cgroups, clean.cgroups, "cgroups behind step {nth}");
        ensure_eq!(left.settings.trim(), list, "settings behind step {nth}");
        // It can still be changed, and is then as it was.
        s.set_policy(OLD, QUIET)?;
        control::reload(&s.socket).with_context(context)?;
        ensure_eq!(Left::now(s)?, clean, "behind step {nth} and a reload");
        is_consistent(s).with_context(context)?;
    }
    // Both must have been seen, or the kills came too early or too late.
    ensure!(old > 3 && new > 1, "{old} old, {new} new");
    eprintln!(
        "  killed {} times: {old} before the change, {new} behind it",
        old + new
    );
    Ok(())
}

fn killed_at_every_step_of_a_reload(s: &Sandbox) -> Result<()> {
    let request = json!({"verb": "reload", "dry_run": false, "color": false});
    at_every_step(s, NEW, &request)
}

fn killed_at_every_step_of_a_reload_to_be_confirmed(s: &Sandbox) -> Result<()> {
    let request = json!({"verb": "reload", "dry_run": false, "color": false, "confirm": 600});
    at_every_step(s, NEW, &request)
}

fn killed_at_every_step_of_obeying(s: &Sandbox) -> Result<()> {
    let file = s.write("change.tcpip", CHANGE)?;
    let request = json!({"verb": "obey", "file": file, "dry_run": false, "color": false});
    at_every_step(s, OLD, &request)
}
