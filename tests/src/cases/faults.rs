//! What the machine denies an agent: it says what, where and what to do, and what is
//! enforced stays so, bind for bind.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Case, Sandbox, Settings,
        agent::Start,
        command::Finished,
        expect::{expect, judge},
        host,
        launch::Failing,
        meddle::{Deed, limit_descriptors, meddle},
        refusal, tcp, udp,
    },
    tests,
};

tests![
    pins_that_can_not_be_made,
    a_read_only_bpffs,
    a_bpffs_that_is_not_there_any_more,
    a_bpffs_that_goes_while_the_agent_runs,
    a_bpffs_that_becomes_read_only,
    maps_that_are_refused,
    programs_that_are_refused,
    hooks_that_are_refused,
    no_descriptors_left,
    a_state_folder_that_vanishes,
    a_state_folder_on_a_read_only_disk,
    what_others_may_write_is_never_read,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n 4321 UDP RIGHT\n";
const TCP: &str = "4321 TCP RIGHT";
const UDP: &str = "4321 UDP RIGHT";
const OTHER: &str = "PORT\n 4321 TCP OTHER\n";

// Commands of bpf(2).
const MAP_CREATE: u32 = 0;
const PROG_LOAD: u32 = 5;
const OBJ_PIN: u32 = 6;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;

fn cases(s: &Sandbox) -> [Case<'static>; 4] {
    [
        Case::permitted(&s.caller("right"), tcp(4321), TCP),
        Case::other_job(&s.caller("wrong"), tcp(4321), TCP),
        Case::other_job(&s.caller("wrong"), udp(4321), UDP),
        Case::unreserved(&s.caller("wrong"), tcp(4322)),
    ]
}

/// Errno, event and counter of every case, as ever.
fn as_before(agent: &Agent<'_>) -> Result<()> {
    expect(agent, PROFILE, QUIET, &cases(agent.sandbox))
}

/// Errno and counter where no agent is that could tell events.
fn as_before_without_agent(s: &Sandbox) -> Result<()> {
    let refused = || -> Result<u64> {
        let status = s.portreeve(&["status", "--format", "json"])?;
        let status = status.ended_with(2)?.json()?;
        let count = status["counters"]["other-job"].as_u64();
        count.context("no counter")
    };
    let before = refused()?;
    let wants = [tcp(4321), udp(4321)];
    let wrong = Binder::start(&s.caller("wrong"), &wants)?.results;
    ensure_eq!(wrong, [Err(refusal()), Err(refusal())], "the wrong job");
    let right = Binder::start(&s.caller("right"), &wants)?.results;
    ensure_eq!(right, [Ok(()), Ok(())], "the right job");
    ensure_eq!(refused()?, before + 2, "refusals that were counted");
    Ok(())
}

/// Nothing is enforced.
fn is_free(s: &Sandbox) -> Result<()> {
    let wrong = Binder::start(&s.caller("wrong"), &[tcp(4321), udp(4321)])?.results;
    ensure_eq!(wrong, [Ok(()), Ok(())], "without an agent");
    Ok(())
}

/// It did not start, and said why in a sentence that has `words`.
fn complains(finished: Finished, words: &[&str]) -> Result<()> {
    ensure!(
        matches!(finished.code, Some(1 | 2)),
        "exit status {:?}",
        finished.code
    );
    ensure!(
        finished.stderr.starts_with("portreeve: ") && finished.stderr.lines().count() == 1,
        "not one sentence: {}",
        finished.stderr
    );
    has(&finished.stderr, words)
}

/// What the C library says of it.
fn words_of(errno: Errno) -> String {
    let error = io::Error::from(errno).to_string();
    let words = error.split(" (os error").next();
    words.unwrap_or_default().to_owned()
}

fn has(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "no {word:?} in {text}");
    }
    Ok(())
}

/// A start that `spoil` has changed: of the first agent, which leaves nothing, and of one
/// that is to take over, which leaves all as it was.
fn at_both_starts(s: &Sandbox, spoil: &dyn Fn(&mut Start<'_>), words: &[&str]) -> Result<()> {
    let spoilt = || -> Result<Finished> {
        let mut start = s.agent(PROFILE, QUIET)?;
        spoil(&mut start);
        start.finish()
    };
    complains(spoilt()?, words).context("the first start")?;
    ensure!(!s.is_pinned(), "something stays of the first start");
    is_free(s)?;
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    complains(spoilt()?, words).context("a restart")?;
    as_before_without_agent(s)?;
    let agent = s.agent_again()?.start()?;
    ensure!(agent.ready().contains("taken over"), "{}", agent.ready());
    as_before(&agent)
}

fn reload<'s>(agent: &Agent<'s>, profile: &str) -> Result<(i32, Value)> {
    agent.sandbox.set_policy(profile, QUIET)?;
    agent.reload(&[])
}

/// As a BPF file system has no size, its being full is the kernel having no memory for
/// another inode.
fn pins_that_can_not_be_made(s: &Sandbox) -> Result<()> {
    for errno in [Errno::ENOSPC, Errno::ENOMEM] {
        let mut start = s.agent(PROFILE, QUIET)?;
        start.launch.failing = vec![Failing::bpf(OBJ_PIN, errno)];
        let errno = words_of(errno);
        let words = ["pin", s.bpffs.to_str().context("path")?, &errno];
        complains(start.finish()?, &words)?;
        ensure!(!s.is_pinned(), "something stays");
        is_free(s)?;
    }
    // Who takes over makes no pins.
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    let mut start = s.agent_again()?;
    start.launch.failing = vec![Failing::bpf(OBJ_PIN, Errno::ENOSPC)];
    let agent = start.start()?;
    as_before(&agent)?;
    let (code, answer) = reload(&agent, OTHER)?;
    ensure_eq!(code, 0, "{answer}");
    let (code, answer) = reload(&agent, PROFILE)?;
    ensure_eq!(code, 0, "{answer}");
    as_before(&agent)
}

fn a_read_only_bpffs(s: &Sandbox) -> Result<()> {
    let bpffs = Path::new(host::BPFFS);
    let mut start = s.agent(PROFILE, QUIET)?;
    start.launch.read_only = vec![bpffs.into()];
    let launch = start.launch.clone();
    let words = [
        s.bpffs.to_str().context("path")?,
        "Read-only file system",
        "remount",
    ];
    complains(start.finish()?, &words)?;
    ensure!(!s.is_pinned(), "something stays");
    is_free(s)?;
    // What is pinned already can be taken over, and filled anew.
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    let mut start = s.agent_again()?;
    start.launch = launch;
    let agent = start.start()?;
    as_before(&agent)?;
    let (code, answer) = reload(&agent, OTHER)?;
    ensure_eq!(code, 0, "{answer}");
    let (code, answer) = reload(&agent, PROFILE)?;
    ensure_eq!(code, 0, "{answer}");
    as_before(&agent)
}

fn a_bpffs_that_is_not_there_any_more(s: &Sandbox) -> Result<()> {
    let without = |start: &mut Start<'_>| start.launch.unmounted = vec!["bpf".into()];
    at_both_starts(s, &without, &["BPF file system", "mount -t bpf"])
}

/// An agent on a BPF file system of its own, so that it can be taken away.
fn on_its_own_bpffs(s: &Sandbox) -> Result<(PathBuf, Start<'_>)> {
    let mount = s.dir.join("bpffs");
    fs::create_dir(&mount)?;
    let pins = mount.join("portreeve").display().to_string();
    let mut start = s.agent(PROFILE, QUIET)?.option("--bpffs", &pins);
    start.launch.bpffs = Some(mount.clone());
    Ok((mount, start))
}

/// It is held as long as the agent lives, and with it the hooks; but nobody can see them
/// any more, and nothing new is claimed to be in force. What was not confirmed comes back.
fn a_bpffs_that_goes_while_the_agent_runs(s: &Sandbox) -> Result<()> {
    let (mount, start) = on_its_own_bpffs(s)?;
    let agent = start.start()?;
    as_before(&agent)?;
    s.set_policy(OTHER, QUIET)?;
    let (code, answer) = agent.reload(&["--confirm", "3"])?;
    ensure_eq!(code, 0, "{answer}");
    meddle(&agent, Deed::Unmount(mount.clone()))?;
    let status = s.portreeve(&["status", "--format", "json"])?;
    let status = status.ended_with(1)?.json()?;
    let problem = status["selftest"]["problem"].to_string();
    has(&problem, &["bind4"])?;
    let (code, answer) = reload(&agent, OTHER)?;
    ensure_eq!(code, 1, "{answer}");
    ensure_eq!(answer["applied"], false, "{answer}");
    let pins = mount.join("portreeve").display().to_string();
    has(
        &answer["refused"].to_string(),
        &["bind4", &pins, "not attached", "start the agent again"],
    )?;
    agent.wait_until("the policy before", |agent| {
        agent.log().contains("is taken back")
    })?;
    let wrong = Binder::start(&s.caller("wrong"), &[tcp(4321), udp(4321)])?.results;
    ensure_eq!(wrong, [Err(refusal()), Err(refusal())], "the wrong job");
    let right = Binder::attempt(&s.caller("right"), &tcp(4321))?;
    ensure_eq!(right, Ok(()), "the right job");
    Ok(())
}

fn a_bpffs_that_becomes_read_only(s: &Sandbox) -> Result<()> {
    let (mount, start) = on_its_own_bpffs(s)?;
    let agent = start.start()?;
    meddle(&agent, Deed::ForbidWriting(mount))?;
    let (code, answer) = reload(&agent, OTHER)?;
    ensure_eq!(code, 0, "{answer}");
    let (code, answer) = reload(&agent, PROFILE)?;
    ensure_eq!(code, 0, "{answer}");
    as_before(&agent)
}

/// What `command` of bpf(2) makes is denied for each reason there is; `what` is said of it.
fn refused_at_both_starts(s: &Sandbox, command: u32, what: &str) -> Result<()> {
    for errno in [Errno::EPERM, Errno::ENOMEM] {
        let refused = |start: &mut Start<'_>| {
            start.launch.failing = vec![Failing::bpf(command, errno)];
        };
        at_both_starts(s, &refused, &[what, &words_of(errno)])?;
        s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    }
    Ok(())
}

fn maps_that_are_refused(s: &Sandbox) -> Result<()> {
    refused_at_both_starts(s, MAP_CREATE, "map")
}

fn programs_that_are_refused(s: &Sandbox) -> Result<()> {
    refused_at_both_starts(s, PROG_LOAD, "prog")
}

/// A first start makes links, one that takes over changes them.
fn hooks_that_are_refused(s: &Sandbox) -> Result<()> {
    let refused = |start: &mut Start<'_>| {
        let fails = |command| Failing::bpf(command, Errno::EPERM);
        start.launch.failing = vec![fails(LINK_CREATE), fails(LINK_UPDATE)];
    };
    at_both_starts(s, &refused, &["bind4", &words_of(Errno::EPERM), "seccomp"])
}

fn descriptors(agent: &Agent<'_>) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", agent.pid()))?.count())
}

/// The agent answers nobody until somebody hangs up, says so once, and goes on then.
fn no_descriptors_left(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    // Now and then it looks at something.
    let mut idle = usize::MAX;
    for _ in 0..10 {
        idle = idle.min(descriptors(&agent)?);
        thread::sleep(Duration::from_millis(20));
    }
    as_before(&agent)?;
    agent.wait_until("the last client's leave", |agent| {
        descriptors(agent).is_ok_and(|open| open <= idle)
    })?;
    limit_descriptors(&agent, Some(0))?;
    s.set_policy(OTHER, QUIET)?;
    thread::scope(|scope| -> Result<()> {
        let asking = scope.spawn(|| agent.reload(&[]));
        agent.wait_until("word of it", |agent| {
            agent.log().contains("Too many open files")
        })?;
        thread::sleep(Duration::from_millis(500));
        let log = agent.log();
        has(&log, &["control socket", "LimitNOFILE"])?;
        ensure_eq!(log.matches("Too many open files").count(), 1, "in {log}");
        let wrong = Binder::attempt(&s.caller("wrong"), &tcp(4321))?;
        ensure_eq!(wrong, Err(refusal()), "without a descriptor");
        limit_descriptors(&agent, None)?;
        let (code, answer) = asking.join().ok().context("a panic")??;
        // It may have got one in between, and none for the files.
        let is_told = answer["refused"]
            .to_string()
            .contains("Too many open files");
        ensure!(code == 0 || is_told, "{answer}");
        Ok(())
    })?;
    for _ in 0..5 {
        let (code, answer) = reload(&agent, PROFILE)?;
        ensure_eq!(code, 0, "{answer}");
        // One for the client, and none for the files it asks to read; unless one that was
        // counted was just about to be closed.
        agent.wait_until("the last client's leave", |agent| {
            descriptors(agent).is_ok_and(|open| open <= idle)
        })?;
        limit_descriptors(&agent, Some(1))?;
        s.set_policy(OTHER, QUIET)?;
        let refused = s.portreeve(&["reload"])?;
        limit_descriptors(&agent, None)?;
        if refused.code != Some(0) {
            let words = ["Too many open files", "the old policy stays"];
            has(&refused.ended_with(1)?.stderr, &words)?;
            return as_before(&agent);
        }
    }
    anyhow::bail!("there was always room for another descriptor")
}

/// It comes again with the next change, and what is in force is remembered in it.
fn a_state_folder_that_vanishes(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, QUIET, &cases(s))?;
    fs::remove_dir_all(s.state())?;
    as_before(&agent)?;
    let (code, answer) = reload(&agent, OTHER)?;
    ensure_eq!(code, 0, "{answer}");
    fs::remove_dir_all(s.state())?;
    // What would come back is remembered as well.
    s.set_policy(PROFILE, QUIET)?;
    let (code, answer) = agent.reload(&["--confirm", "600"])?;
    ensure_eq!(code, 0, "{answer}");
    agent.kill()?;
    let agent = s.agent_again()?.start()?;
    ensure!(
        !agent.status()?["pending_confirm"].is_null(),
        "nothing waits any more"
    );
    as_before(&agent)?;
    agent.terminate()?;
    let taken_back = Binder::attempt(&s.caller("other"), &tcp(4321))?;
    ensure_eq!(taken_back, Ok(()), "the policy that comes back");
    Ok(())
}

/// What can't be remembered isn't done, but what was not confirmed comes back.
fn a_state_folder_on_a_read_only_disk(s: &Sandbox) -> Result<()> {
    let mut start = s.agent(PROFILE, QUIET)?;
    fs::create_dir(s.state())?;
    start.launch.small = vec![(s.state(), 1 << 20)];
    let agent = start.start()?;
    s.set_policy(OTHER, QUIET)?;
    let (code, answer) = agent.reload(&["--confirm", "3"])?;
    ensure_eq!(code, 0, "{answer}");
    meddle(&agent, Deed::ForbidWriting(s.state()))?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 1, "{answer}");
    let state = s.state().display().to_string();
    has(
        &answer["refused"].to_string(),
        &["can't be remembered", &state, "Read-only file system"],
    )?;
    agent.wait_until("the policy before", |agent| {
        agent.log().contains("is taken back")
    })?;
    has(&agent.log(), &["Read-only file system"])?;
    s.set_policy(PROFILE, QUIET)?;
    as_before(&agent)
}

/// Profile, INCLUDE, config and change file, at start and at reload: neither they nor
/// their folders.
fn what_others_may_write_is_never_read(s: &Sandbox) -> Result<()> {
    let folder = s.dir.join("policy");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    let path = |name: &str| folder.join(name);
    let include = path("more.tcpip");
    let profile = format!("{PROFILE}INCLUDE {}\n", include.display());
    let write = |path: &Path, text: &str| -> Result<()> {
        fs::write(path, text)?;
        Ok(fs::set_permissions(
            path,
            fs::Permissions::from_mode(0o644),
        )?)
    };
    write(&include, "PORT 4323 TCP RIGHT\n")?;
    let night = path("night.tcpip");
    write(&night, "PORT 4324 TCP RIGHT\n")?;
    let agent = s.agent(&profile, QUIET)?.start()?;
    let generation = agent.status()?["generation"].clone();
    for (spoilt, mode) in [(&include, 0o666), (&folder, 0o777)] {
        let before = fs::metadata(spoilt)?.permissions();
        fs::set_permissions(spoilt, fs::Permissions::from_mode(mode))?;
        let mode = format!("{mode:04o}");
        let (code, answer) = agent.reload(&[])?;
        ensure_eq!(code, 1, "{answer}");
        has(
            &answer.to_string(),
            &[&mode, &include.display().to_string()],
        )?;
        fs::set_permissions(spoilt, before)?;
    }
    for (spoilt, mode) in [(&night, 0o666), (&folder, 0o777)] {
        let before = fs::metadata(spoilt)?.permissions();
        fs::set_permissions(spoilt, fs::Permissions::from_mode(mode))?;
        let refused = s.portreeve(&["obey", &night.display().to_string()])?;
        let refused = refused.ended_with(1)?;
        has(&refused.stderr, &[&format!("{mode:04o}")])?;
        fs::set_permissions(spoilt, before)?;
    }
    let status = agent.status()?;
    ensure_eq!(status["generation"], generation, "generation");
    ensure_eq!(status["profile"]["changes"], json!([]), "changes");
    expect(&agent, &profile, QUIET, &cases(s))?;
    agent.terminate()?;
    fs::set_permissions(&include, fs::Permissions::from_mode(0o666))?;
    let refused = s.agent_again()?.finish()?.ended_with(1)?;
    has(&refused.stderr, &["0666"])?;
    as_before_without_agent(s)
}
