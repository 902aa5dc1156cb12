//! A change that meets with something: all of it is put in force or nothing, and what is
//! not is told.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Case, Sandbox, Settings, Want, control,
        expect::expect,
        meddle::{MemoryCgroup, limit_addresses},
        pace::times,
        refusal,
        syscalls::{Call, Fault, strike},
        tcp, udp,
    },
    tests,
};

tests![
    every_call_of_a_reload_fails_once,
    a_cgroup_without_memory,
    no_addresses_left,
    a_profile_that_is_written_in_pieces,
    a_profile_that_is_replaced_all_the_time,
    moments_that_can_not_be,
];

const QUIET: Settings = Settings::DEFAULT;
/// For a policy that leaves nothing to hand out.
const POOLLESS: Settings = QUIET.any_pool();
const OLD: &str = "PORT\n 4321 TCP OLD\n 4321 UDP OLD\n";
const NEW: &str = "PORT\n 4321 TCP NEW\n 4321 UDP NEW\n";

/// Both families and protocols.
fn wants() -> [Want; 4] {
    let v6 = std::net::Ipv6Addr::LOCALHOST;
    [tcp(4321), tcp(4321).on(v6), udp(4321), udp(4321).on(v6)]
}

/// That `job` has all of the port and `other` nothing.
fn belongs_to(s: &Sandbox, job: &str, other: &str) -> Result<()> {
    let refused = Binder::start(&s.caller(other), &wants())?.results;
    ensure_eq!(refused, [Err(refusal()); 4], "{other}, where {job} has it");
    let allowed = Binder::start(&s.caller(job), &wants())?.results;
    ensure_eq!(allowed, [Ok(()); 4], "{job}, which has it");
    Ok(())
}

fn reload() -> Value {
    json!({"verb": "reload", "dry_run": false, "color": false})
}

/// Whether a change was made; if not, the reply says why.
fn was_made(reply: &Value) -> Result<bool> {
    if reply["done"]["applied"] == true {
        return Ok(true);
    }
    let told = reply.to_string();
    // The last one where it failed to see that a folder is there already.
    let words = [
        "Input/output error",
        "Cannot allocate memory",
        "File exists",
    ];
    ensure!(
        words.iter().any(|words| told.contains(words)),
        "it doesn't say why: {told}"
    );
    Ok(false)
}

fn every_call_of_a_reload_fails_once(s: &Sandbox) -> Result<()> {
    for errno in [Errno::EIO, Errno::ENOMEM] {
        let agent = s.agent(OLD, QUIET)?.start()?;
        let (mut refused, mut made) = (0, 0);
        let (mut now, mut next) = (("old", OLD), ("new", NEW));
        for nth in 0.. {
            ensure!(nth < 500, "a reload without end");
            s.set_policy(next.1, QUIET)?;
            let ask = || control::change(&s.socket, &reload());
            let fault = Fault::Fail(errno);
            let (call, reply) = strike(&agent, nth, fault, Call::can_be_denied, ask)?;
            let context = || format!("call {nth} of a reload, {call:?}, fails with {errno}");
            // What can't be told because telling it failed may have been done.
            let Ok(reply) = reply else {
                s.set_policy(now.1, QUIET)?;
                control::reload(&s.socket).with_context(context)?;
                continue;
            };
            if was_made(&reply).with_context(context)? {
                (now, next) = (next, now);
                made += 1;
            } else {
                refused += 1;
            }
            belongs_to(s, now.0, next.0).with_context(context)?;
            if call.is_none() {
                break;
            }
        }
        ensure!(refused > 10 && made > 1, "{refused} refused, {made} made");
        eprintln!("  {refused} reloads refused, {made} made, with {errno}");
        agent.status()?;
        agent.terminate()?;
        s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    }
    Ok(())
}

/// An entry for each port there is.
fn large() -> Result<String> {
    let mut profile = String::from("PORT\n");
    for port in 1..=65535u32 {
        let job = if port == 4321 { "NEW" } else { "J" };
        writeln!(profile, "{port} TCP {job}\n{port} UDP {job}")?;
    }
    Ok(profile)
}

/// The change is not made, whether the agent lives to say so or not; and nothing is
/// lost with it.
fn without_memory(s: &Sandbox, mut agent: Agent<'_>) -> Result<()> {
    s.set_policy(&large()?, POOLLESS)?;
    let asked = s.portreeve(&["reload"])?;
    ensure!(asked.code != Some(0), "there was memory: {asked:?}");
    ensure!(!asked.stderr.is_empty(), "no word: {asked:?}");
    belongs_to(s, "old", "new")?;
    if asked.code == Some(2) {
        ensure!(!agent.wait()?.success(), "it ended by itself");
        eprintln!("  the agent was killed: {}", agent.log().trim());
    } else {
        agent.kill()?;
    }
    let agent = s.agent_again()?.start()?;
    belongs_to(s, "old", "new")?;
    ensure!(agent.log().contains("the files differ"), "{}", agent.log());
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    ensure_eq!(agent.status()?["profile"]["entries"], 131_070, "entries");
    belongs_to(s, "new", "old")
}

fn a_cgroup_without_memory(s: &Sandbox) -> Result<()> {
    let memory = MemoryCgroup::new(s)?;
    let mut start = s.agent(OLD, POOLLESS)?;
    start.launch.cgroups = vec![memory.path.clone()];
    let agent = start.start()?;
    belongs_to(s, "old", "new")?;
    memory.limit(4 << 20)?;
    without_memory(s, agent)
}

fn no_addresses_left(s: &Sandbox) -> Result<()> {
    let agent = s.agent(OLD, POOLLESS)?.start()?;
    limit_addresses(&agent, 4 << 20)?;
    without_memory(s, agent)
}

/// A profile that gives a first and a last port to one job, with many between.
fn version(number: usize) -> Result<String> {
    let mut profile = format!("PORT\n 4000 TCP V{number}\n");
    for port in 4001..4999 {
        writeln!(profile, " {port} TCP V{number}")?;
    }
    writeln!(profile, " 4999 TCP V{number}")?;
    Ok(profile)
}

const VERSIONS: usize = 3;

/// Reloads while `write` writes one version after the other, over and over. What is in
/// force is always one of them, and whole. Returns how often a reload was refused.
fn reload_while(s: &Sandbox, write: fn(&Sandbox, &str) -> Result<()>) -> Result<u64> {
    let versions: Vec<String> = (0..VERSIONS).map(version).collect::<Result<_>>()?;
    let agent = s.agent(&versions[0], QUIET)?.start()?;
    let mut hashes = Vec::new();
    for version in &versions {
        s.set_policy(version, QUIET)?;
        control::reload(&s.socket)?;
        hashes.push(agent.status()?["profile"]["hash"].clone());
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writing = scope.spawn(|| -> Result<()> {
            for version in versions.iter().cycle() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                write(s, version)?;
            }
            Ok(())
        });
        let reloads = reload_often(s, &agent, &hashes);
        is_over.store(true, Ordering::Relaxed);
        writing.join().ok().context("the writer panicked")??;
        reloads
    })
}

fn reload_often(s: &Sandbox, agent: &Agent<'_>, hashes: &[Value]) -> Result<u64> {
    let (mut refused, mut seen) = (0, vec![0; hashes.len()]);
    for number in 0..times(200) {
        let reply = control::change(&s.socket, &reload())?;
        if reply["done"]["applied"] != true {
            let told = reply.to_string();
            ensure!(
                told.contains("is being written"),
                "it doesn't say why: {told}"
            );
            refused += 1;
        }
        // Both ports are one version's, and nobody else's.
        let mut holders = Vec::new();
        for version in 0..VERSIONS {
            let caller = s.caller(&format!("v{version}"));
            let results = Binder::start(&caller, &[tcp(4000), tcp(4999), tcp(5000)])?.results;
            match results[..] {
                [Ok(()), Ok(()), Ok(())] => holders.push(version),
                [Err(first), Err(last), Ok(())] if first == refusal() && first == last => {}
                _ => anyhow::bail!("parts of versions after reload {number}: {results:?}"),
            }
        }
        ensure_eq!(holders.len(), 1, "versions in force: {holders:?}");
        seen[holders[0]] += 1;
        if number % 10 == 0 {
            let hash = &agent.status()?["profile"]["hash"];
            ensure_eq!(*hash, hashes[holders[0]], "hash of version {}", holders[0]);
        }
    }
    ensure!(
        seen.iter().filter(|times| **times > 0).count() > 1,
        "always the same: {seen:?}"
    );
    Ok(refused)
}

/// As most programs write a file: emptied, then piece by piece.
fn a_profile_that_is_written_in_pieces(s: &Sandbox) -> Result<()> {
    let refused = reload_while(s, |s, text| {
        let mut file = File::options()
            .write(true)
            .truncate(true)
            .open(s.profile())?;
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for piece in lines.chunks(lines.len() / 5) {
            file.write_all(piece.concat().as_bytes())?;
            thread::sleep(Duration::from_millis(2));
        }
        drop(file);
        thread::sleep(Duration::from_millis(5));
        Ok(())
    })?;
    eprintln!("  {refused} reloads refused");
    // One who takes his time: half of it is a policy too, but not anybody's.
    let agent = s.agent_again()?.start()?;
    let in_force = agent.status()?;
    let mut file = File::options()
        .write(true)
        .truncate(true)
        .open(s.profile())?;
    file.write_all(b"PORT\n 4000 TCP V7\n")?;
    let refused = s.portreeve(&["reload"])?.ended_with(1)?;
    let profile = s.profile().display().to_string();
    for word in [&profile, "is being written", "rename", "old policy stays"] {
        ensure!(refused.stderr.contains(word), "no {word:?} in {refused:?}");
    }
    let status = agent.status()?;
    for field in ["generation", "counters"] {
        ensure_eq!(status[field], in_force[field], "{field}");
    }
    agent.terminate()?;
    let refused = s.agent_again()?.finish()?.ended_with(2)?;
    ensure!(refused.stderr.contains("is being written"), "{refused:?}");
    file.write_all(b" 4999 TCP V7\n")?;
    drop(file);
    let agent = s.agent_again()?.start()?;
    let cases = [
        Case::permitted(&s.caller("v7"), tcp(4000), "4000 TCP V7"),
        Case::other_job(&s.caller("v1"), tcp(4999), "4999 TCP V7"),
    ];
    expect(&agent, "PORT\n 4000 TCP V7\n 4999 TCP V7\n", QUIET, &cases)
}

fn a_profile_that_is_replaced_all_the_time(s: &Sandbox) -> Result<()> {
    let refused = reload_while(s, |s, text| {
        let new = s.write("profile.new", text)?;
        Ok(fs::rename(new, s.profile())?)
    })?;
    ensure_eq!(refused, 0, "reloads refused");
    Ok(())
}

/// What waits to be confirmed waits by the time since boot, which nobody sets: a moment
/// of another boot is over, and one that is over is over.
fn moments_that_can_not_be(s: &Sandbox) -> Result<()> {
    let moments: [(&str, Value, bool); 4] = [
        ("/confirm/until/boot", json!("of another boot"), false),
        ("/confirm/until/milliseconds", json!(0), false),
        ("/confirm/until/milliseconds", json!(1), false),
        ("/confirm/until/milliseconds", json!(u64::MAX), true),
    ];
    for (field, moment, waits) in moments {
        let agent = s.agent(OLD, QUIET)?.start()?;
        s.set_policy(NEW, QUIET)?;
        let (code, answer) = agent.reload(&["--confirm", "600"])?;
        ensure_eq!(code, 0, "{answer}");
        agent.kill()?;
        belongs_to(s, "new", "old")?;
        let index = s.state().join("state.json");
        let mut state: Value = serde_json::from_str(&fs::read_to_string(&index)?)?;
        *state.pointer_mut(field).context("no such field")? = moment.clone();
        fs::write(&index, state.to_string())?;
        let agent = s.agent_again()?.start()?;
        let context = || format!("{field} {moment}");
        ensure_eq!(
            !agent.status()?["pending_confirm"].is_null(),
            waits,
            "{field} {moment}"
        );
        if waits {
            belongs_to(s, "new", "old").with_context(context)?;
        } else {
            belongs_to(s, "old", "new").with_context(context)?;
            ensure!(agent.log().contains("was not confirmed"), "{}", agent.log());
        }
        // Nobody would take it back later.
        agent.terminate()?;
        belongs_to(s, "old", "new").with_context(context)?;
    }
    Ok(())
}
