//! What is in force is remembered, on disk and in the kernel, and nothing else is.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Instant};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Case, Sandbox, Settings, cleanup,
        expect::{expect, expect_of},
        pace::patience,
        tcp,
    },
    tests,
};

tests![
    a_killed_agents_policy_stays,
    counts_go_on_over_a_kill,
    another_command_line_is_obeyed,
    after_detach_the_files_are_read,
    unknown_users_leave_the_last_good_policy,
    unknown_users_without_a_last_good_policy,
    the_break_glass_file,
    the_break_glass_word,
    another_agent_has_the_folder,
    a_newer_format_is_refused,
    nonsense_is_told_and_forgotten,
    others_may_not_write_the_folder,
    what_can_not_be_remembered_is_not_done,
    a_disk_that_is_full,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n";
const OTHER: &str = "PORT\n 4321 TCP OTHER\n";
const CHANGE: &str = "PORT\n 4322 TCP RIGHT\n";

fn has_port(s: &Sandbox, job: &str, port: u16) -> Result<()> {
    let result = Binder::attempt(&s.caller(job), &tcp(port))?;
    ensure_eq!(result, Ok(()), "{job} on port {port}");
    let result = Binder::attempt(&s.caller("nobody"), &tcp(port))?;
    ensure_eq!(result, Err(Errno::EACCES), "nobody on port {port}");
    Ok(())
}

/// The policy in force, change files and all, is what the next agent begins with,
/// whatever became of the files; until somebody says `reload`.
fn a_killed_agents_policy_stays(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let change = s.write("change.tcpip", CHANGE)?;
    agent.obey(&change, &[])?;
    let before = agent.status()?;
    agent.kill()?;
    s.set_policy(OTHER, QUIET)?;
    fs::remove_file(&change)?;

    let agent = s.agent_again()?.start()?;
    let cases = [
        Case::permitted(&s.caller("right"), tcp(4321), "4321 TCP RIGHT"),
        Case::other_job(&s.caller("other"), tcp(4321), "4321 TCP RIGHT"),
        Case::other_job(&s.caller("other"), tcp(4322), "4322 TCP RIGHT"),
    ];
    let profile = s.profile();
    let files = [(profile.as_path(), PROFILE), (change.as_path(), CHANGE)];
    expect_of(&agent, &files, QUIET, &cases)?;
    let status = agent.status()?;
    ensure_eq!(status["profile"]["hash"], before["profile"]["hash"], "hash");
    ensure_eq!(status["profile"]["differs_from_file"], true, "{status}");
    ensure_eq!(status["profile"]["changes"], json!([change]), "{status}");
    ensure!(agent.log().contains("the files differ"), "{}", agent.log());

    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    ensure_eq!(answer["dropped"], json!([change]), "{answer}");
    let cases = [Case::permitted(
        &s.caller("other"),
        tcp(4321),
        "4321 TCP OTHER",
    )];
    expect(&agent, OTHER, QUIET, &cases)
}

/// Refusals that were counted for an entry stay counted, also where only an included
/// file tells one policy from another.
fn counts_go_on_over_a_kill(s: &Sandbox) -> Result<()> {
    let more = s.write("more.tcpip", "PORT 4322 TCP RIGHT\n")?;
    let profile = format!("PORT 4321 TCP RIGHT\nINCLUDE {}\n", more.display());
    let agent = s.agent(&profile, QUIET)?.start()?;
    let refuse = |port| Binder::attempt(&s.caller("wrong"), &tcp(port));
    for (port, times) in [(4321, 2), (4322, 3)] {
        for _ in 0..times {
            ensure_eq!(refuse(port)?, Err(Errno::EACCES), "port {port}");
        }
    }
    agent.kill()?;
    let agent = s.agent_again()?.start()?;
    let counts = |agent: &Agent<'_>| -> Result<Vec<(Value, Value)>> {
        let rows = agent.ports()?;
        let count = |row: &Value| (row["port"].clone(), row["refusals"].clone());
        Ok(rows.iter().map(count).collect())
    };
    let expected = [(json!(4321), json!(2)), (json!(4322), json!(3))];
    ensure_eq!(counts(&agent)?, expected, "after a kill");
    agent.terminate()?;
    s.write("more.tcpip", "PORT 4323 TCP RIGHT\n")?;
    let agent = s.agent_again()?.start()?;
    let expected = [(json!(4321), json!(2)), (json!(4323), json!(0))];
    ensure_eq!(counts(&agent)?, expected, "with another included file");
    Ok(())
}

/// Who starts an agent with other files means those.
fn another_command_line_is_obeyed(s: &Sandbox) -> Result<()> {
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    let other = s.write("other.tcpip", OTHER)?;
    let start = s.agent_again()?;
    let agent = start
        .option("--profile", &other.display().to_string())
        .start()?;
    has_port(s, "other", 4321)?;
    agent.kill()?;
    let agent = s.agent_again()?.arg("--audit").start()?;
    ensure_eq!(agent.status()?["mode"], "audit", "mode");
    Ok(())
}

fn after_detach_the_files_are_read(s: &Sandbox) -> Result<()> {
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    ensure!(!s.state().join("state.json").exists(), "it is remembered");
    s.set_policy(OTHER, QUIET)?;
    let mut agent = s.agent_again()?.start()?;
    has_port(s, "other", 4321)?;
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    agent.wait()?;
    ensure!(!s.state().join("state.json").exists(), "it is remembered");
    let left = fs::read_dir(s.state().join("files"))?.count();
    ensure_eq!(left, 0, "files that are remembered");
    Ok(())
}

const FOR_A_USER: &str = "PORT 4321 TCP RIGHT SAF FTP\n";
const RESOURCE: &str = "[servauth.\"EZB.PORTACCESS.*.*.FTP\"]\npermit = [\"ptuser\"]\n";
const PTUSER: &str = "root:x:0:0::/:/bin/sh\nptuser:x:4242:4242::/:/bin/sh\n";
const NOBODY: &str = "root:x:0:0::/:/bin/sh\n";

/// As after a boot: nothing is in the kernel, and the directory of users is not there.
fn unknown_users_leave_the_last_good_policy(s: &Sandbox) -> Result<()> {
    let users = s.write("passwd", PTUSER)?;
    let start = || -> Result<_> {
        let mut start = s.agent_again()?;
        let place = Path::new("/etc/passwd").to_owned();
        start.launch.replaced = vec![(users.clone(), place)];
        Ok(start)
    };
    s.set_policy_with(FOR_A_USER, QUIET, RESOURCE)?;
    let of_user = |uid: u32| Binder::attempt(&s.caller("right").user(uid), &tcp(4321));
    start()?.start()?.terminate()?;
    ensure_eq!(of_user(4242)?, Ok(()), "the user");
    cleanup::remove(&s.bpffs);
    // The kernel detaches the hooks some time after their pins are gone.
    let deadline = Instant::now() + patience();
    while of_user(4243)? != Ok(()) {
        ensure!(Instant::now() < deadline, "still enforced behind a boot");
    }

    fs::write(&users, NOBODY)?;
    let changed = FOR_A_USER.to_owned() + "PORT 4322 TCP RIGHT\n";
    s.set_policy_with(&changed, QUIET, RESOURCE)?;
    let agent = start()?.start()?;
    ensure_eq!(of_user(4242)?, Ok(()), "the user");
    ensure_eq!(of_user(4243)?, Err(Errno::EACCES), "another one");
    let status = agent.status()?;
    let missing = status["missing"].to_string();
    ensure!(missing.contains("users or groups"), "{missing}");
    ensure_eq!(status["profile"]["differs_from_file"], true, "{status}");
    ensure_eq!(
        Binder::attempt(&s.caller("x"), &tcp(4322))?,
        Ok(()),
        "not yet"
    );
    ensure!(agent.log().contains("PRV"), "{}", agent.log());

    // It takes them up by itself when they are known.
    fs::write(&users, PTUSER)?;
    agent.wait_until("the files' policy", |agent| {
        agent.log().contains("the files are in force")
    })?;
    has_port(s, "right", 4322)?;
    let missing = agent.status()?["missing"].to_string();
    ensure!(!missing.contains("users or groups"), "{missing}");
    Ok(())
}

fn unknown_users_without_a_last_good_policy(s: &Sandbox) -> Result<()> {
    s.set_policy_with(FOR_A_USER, QUIET, RESOURCE)?;
    let failed = s.agent_again()?.finish()?.ended_with(1)?;
    ensure!(failed.stderr.contains("ptuser"), "{failed:?}");
    ensure!(!s.is_pinned(), "something stays");
    // Nor does it help a profile with other errors.
    s.agent(PROFILE, QUIET)?.start()?.terminate()?;
    cleanup::remove(&s.bpffs);
    s.set_policy_with("PORT 4321 TCP RIGHT SAF FTP NONSENSE\n", QUIET, RESOURCE)?;
    s.agent_again()?.finish()?.ended_with(1)?;
    ensure!(!s.is_pinned(), "something stays");
    Ok(())
}

/// Nothing is enforced by a new agent; what is in force stays until `detach`.
fn the_break_glass_file(s: &Sandbox) -> Result<()> {
    let off = s.dir.join("off");
    let off_text = off.display().to_string();
    fs::write(&off, "")?;
    let start = s.agent(PROFILE, QUIET)?.option("--off", &off_text);
    let agent = start.begin()?;
    stands_by(&agent, &off_text)?;
    ensure!(!s.is_pinned(), "something is attached");
    ensure!(agent.terminate()?.success(), "not a proper end");
    fs::remove_file(&off)?;
    let start = s.agent_again()?.option("--off", &off_text);
    start.start()?.kill()?;
    has_port(s, "right", 4321)?;

    fs::write(&off, "")?;
    let agent = s.agent_again()?.option("--off", &off_text).begin()?;
    stands_by(&agent, &off_text)?;
    ensure!(agent.log().contains("portreeve detach"), "{}", agent.log());
    has_port(s, "right", 4321)?;
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    ensure!(!s.is_pinned(), "something stays");
    Ok(())
}

fn the_break_glass_word(s: &Sandbox) -> Result<()> {
    let line = fs::read_to_string("/proc/cmdline")?;
    let line = line.trim();
    for (words, enforces) in [
        (format!("{line} portreeve=off"), false),
        (format!("{line} xportreeve=off portreeve=offline"), true),
    ] {
        let cmdline = s.write("cmdline", words)?;
        let mut start = s.agent(PROFILE, QUIET)?;
        let place = Path::new("/proc/cmdline").to_owned();
        start.launch.replaced = vec![(cmdline, place)];
        if enforces {
            start.start()?;
            has_port(s, "right", 4321)?;
        } else {
            stands_by(&start.begin()?, "portreeve=off")?;
            ensure!(!s.is_pinned(), "something is attached");
        }
    }
    Ok(())
}

fn stands_by(agent: &Agent<'_>, why: &str) -> Result<()> {
    agent.wait_until("standing by", |agent| {
        let lines = agent.stdout();
        lines.iter().any(|line| line.starts_with("standing by"))
    })?;
    let said = agent.stdout().join("\n");
    ensure!(said.contains(why), "{said}");
    ensure!(said.contains("nothing is enforced"), "{said}");
    Ok(())
}

fn another_agent_has_the_folder(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let beside = Sandbox::new()?;
    let state = s.state().display().to_string();
    let second = beside.agent(OTHER, QUIET)?.option("--state", &state);
    let second = second.finish()?.ended_with(1)?;
    ensure!(second.stderr.contains("--state"), "{second:?}");
    ensure!(!beside.is_pinned(), "something is attached");
    agent.status()?;
    has_port(s, "right", 4321)
}

fn index(s: &Sandbox) -> Result<Value> {
    let text = fs::read_to_string(s.state().join("state.json"))?;
    Ok(serde_json::from_str(&text)?)
}

fn a_newer_format_is_refused(s: &Sandbox) -> Result<()> {
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    let mut state = index(s)?;
    let ours = state["format"].as_u64().context("no format")?;
    state["format"] = json!(ours + 6);
    state["what a later agent has to say"] = json!(true);
    fs::write(s.state().join("state.json"), state.to_string())?;
    let refused = s.agent_again()?.finish()?.ended_with(1)?;
    // What it writes may be older than the newest that it reads.
    for said in [&format!("format {}", ours + 6), "understands format"] {
        ensure!(refused.stderr.contains(said), "{refused:?}");
    }
    ensure_eq!(index(s)?, state, "what is remembered");
    has_port(s, "right", 4321)
}

/// It says so, and knows no more than an agent that was never there.
fn nonsense_is_told_and_forgotten(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    agent.kill()?;
    for nonsense in ["", "{", "{\"format\":1,\"agent\":7}", "\u{0}\u{0}\u{0}"] {
        fs::write(s.state().join("state.json"), nonsense)?;
        s.set_policy(OTHER, QUIET)?;
        let agent = s.agent_again()?.start()?;
        ensure!(agent.log().contains("state.json"), "{}", agent.log());
        has_port(s, "other", 4321)?;
        agent.kill()?;
    }
    // A file that isn't what was read can't come into force.
    let files = fs::read_dir(s.state().join("files"))?;
    for file in files {
        fs::write(file?.path(), "PORT 4321 TCP NOBODY\n")?;
    }
    s.set_policy(PROFILE, QUIET)?;
    let agent = s.agent_again()?.start()?;
    ensure!(
        agent.log().contains("can't be made again"),
        "{}",
        agent.log()
    );
    has_port(s, "right", 4321)
}

fn others_may_not_write_the_folder(s: &Sandbox) -> Result<()> {
    fs::create_dir(s.state())?;
    fs::set_permissions(s.state(), fs::Permissions::from_mode(0o777))?;
    let refused = s.agent(PROFILE, QUIET)?.finish()?.ended_with(2)?;
    ensure!(refused.stderr.contains("0777"), "{refused:?}");
    ensure!(!s.is_pinned(), "something is attached");
    fs::set_permissions(s.state(), fs::Permissions::from_mode(0o700))?;
    s.agent_again()?.start()?;
    // What is made is for root alone.
    let modes = |path: &Path| -> Result<u32> { Ok(fs::metadata(path)?.permissions().mode()) };
    ensure_eq!(modes(&s.state().join("files"))? & 0o077, 0, "the files");
    ensure_eq!(
        modes(&s.state().join("state.json"))? & 0o077,
        0,
        "the state"
    );
    Ok(())
}

/// All or nothing: what could not come back after a kill doesn't come into force.
fn what_can_not_be_remembered_is_not_done(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let before = agent.status()?;
    let in_the_way = s.state().join("state.json.new");
    fs::create_dir(&in_the_way)?;
    s.set_policy(OTHER, QUIET)?;
    for arguments in [[].as_slice(), &["--confirm", "60"]] {
        let (code, answer) = agent.reload(arguments)?;
        ensure_eq!(code, 1, "{answer}");
        let why = answer["refused"].to_string();
        ensure!(why.contains("can't be remembered"), "{why}");
        has_port(s, "right", 4321)?;
    }
    let status = agent.status()?;
    ensure_eq!(status["generation"], before["generation"], "generation");
    ensure_eq!(status["pending_confirm"], Value::Null, "{status}");
    fs::remove_dir(&in_the_way)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    has_port(s, "other", 4321)
}

fn a_disk_that_is_full(s: &Sandbox) -> Result<()> {
    fs::create_dir(s.state())?;
    let mut start = s.agent(PROFILE, QUIET)?;
    start.launch.small = vec![(s.state(), 64 << 10)];
    let agent = start.start()?;
    let long = format!("; {}\n{OTHER}", "x".repeat(100 << 10));
    s.set_policy(&long, QUIET)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 1, "{answer}");
    let why = answer["refused"].to_string();
    ensure!(why.contains("No space left"), "{why}");
    has_port(s, "right", 4321)?;
    // There is room for a short one, because nothing of the long one stayed.
    s.set_policy(OTHER, QUIET)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    has_port(s, "other", 4321)
}
