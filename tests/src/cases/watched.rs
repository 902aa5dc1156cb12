//! Files that are reloaded by themselves when they change. Each profile gives one port to
//! another job, and binds tell which is in force.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{errno::Errno, libc, sys::signal::Signal};
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{Agent, Binder, Sandbox, launch::Failing, pace::patience, refusal, skip, tcp},
    tests,
};

tests![
    a_file_that_is_edited_in_place,
    a_file_that_is_replaced,
    a_config_map_as_a_kubelet_swaps_it,
    what_is_bad_is_refused_until_it_is_good,
    an_included_file_that_changes_or_appears,
    a_config_that_changes_or_names_another_profile,
    a_config_that_is_gone_for_a_moment,
    what_is_still_being_written,
    nothing_new_is_no_reload,
    switched_on_and_off_by_reload,
    a_change_that_waits_is_decided_first,
    what_was_not_confirmed_does_not_come_again,
    a_killed_agent_has_missed_it,
    what_is_moved_or_mounted_further_up,
    a_watch_that_can_not_be_had,
];

const WATCH: &str = "[reload]\nwatch = true\n";
/// Long enough that what should not happen would have happened.
const NEVER: Duration = Duration::from_secs(2);

fn profile(job: &str) -> String {
    format!("PORT\n 4321 TCP {job}\n")
}

fn has(s: &Sandbox, job: &str) -> Result<bool> {
    Ok(Binder::attempt(&s.caller(job), &tcp(4321))? == Ok(()))
}

/// Waits until `job` has the port.
fn belongs_to(s: &Sandbox, job: &str) -> Result<()> {
    let deadline = Instant::now() + patience();
    while !has(s, job)? {
        ensure!(Instant::now() < deadline, "{job} never got the port");
        thread::sleep(Duration::from_millis(50));
    }
    let other = Binder::attempt(&s.caller("nobody"), &tcp(4321))?;
    ensure_eq!(other, Err(refusal()), "another, where {job} has it");
    Ok(())
}

/// That `job` goes on having it.
fn stays_with(s: &Sandbox, job: &str) -> Result<()> {
    let until = Instant::now() + NEVER;
    while Instant::now() < until {
        ensure!(has(s, job)?, "{job} has lost the port");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn started(s: &Sandbox) -> Result<Agent<'_>> {
    let agent = s.agent_with(&profile("one"), WATCH)?.start()?;
    belongs_to(s, "one")?;
    ensure_eq!(reload_status(&agent)?["watch"], true, "status");
    Ok(agent)
}

fn reload_status(agent: &Agent<'_>) -> Result<Value> {
    Ok(agent.status()?["reload"].clone())
}

fn generation(agent: &Agent<'_>) -> Result<u64> {
    agent.status()?["generation"].as_u64().context("no number")
}

/// Puts another file in the place of `path`, as editors and tools do.
fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path)?;
    Ok(())
}

fn a_file_that_is_edited_in_place(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    for job in ["two", "three"] {
        fs::write(s.profile(), profile(job))?;
        belongs_to(s, job)?;
        ensure_eq!(
            agent.status()?["profile"]["differs_from_file"],
            false,
            "{job}"
        );
    }
    // By who takes his time to close it: until then it may be half a policy.
    let mut file = File::create(s.profile())?;
    file.write_all(profile("four").as_bytes())?;
    agent.wait_until("the refusal", |agent| agent.log().contains("not reloaded"))?;
    ensure!(has(s, "three")?, "it was read while it was written");
    drop(file);
    belongs_to(s, "four")
}

fn a_file_that_is_replaced(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    for job in ["two", "three"] {
        replace(&s.profile(), &profile(job))?;
        belongs_to(s, job)?;
    }
    // Away and back again: nothing to be read meanwhile.
    fs::rename(s.profile(), s.dir.join("away"))?;
    agent.wait_until("the refusal", |agent| agent.log().contains("not reloaded"))?;
    ensure!(has(s, "three")?, "the policy ended with its file");
    fs::write(s.dir.join("away"), profile("four"))?;
    fs::rename(s.dir.join("away"), s.profile())?;
    belongs_to(s, "four")
}

/// A volume of a ConfigMap: what the agent can't write to is a folder that everybody may,
/// of links into a dated one; all files are swapped by one link.
fn a_config_map_as_a_kubelet_swaps_it(s: &Sandbox) -> Result<()> {
    let volume = s.dir.join("volume");
    let at = |name: &str| volume.join(name);
    let fill = |dated: &str, job: &str| -> Result<()> {
        fs::create_dir(at(dated))?;
        fs::set_permissions(at(dated), fs::Permissions::from_mode(0o755))?;
        fs::write(at(dated).join("profile.tcpip"), profile(job))?;
        fs::write(at(dated).join("portreeve.toml"), WATCH)?;
        symlink(dated, at("..data_tmp"))?;
        fs::rename(at("..data_tmp"), at("..data"))?;
        Ok(())
    };
    fs::create_dir(&volume)?;
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777))?;
    fill("..2026_01_01", "one")?;
    for file in ["profile.tcpip", "portreeve.toml"] {
        symlink(format!("..data/{file}"), at(file))?;
    }
    let mut start = s
        .agent_again()?
        .option("--profile", &at("profile.tcpip").display().to_string())
        .option("--config", &at("portreeve.toml").display().to_string());
    start.launch.read_only = vec![volume.clone()];
    let agent = start.start()?;
    belongs_to(s, "one")?;
    for (dated, before, job) in [
        ("..2026_01_02", "..2026_01_01", "two"),
        ("..2026_01_03", "..2026_01_02", "three"),
    ] {
        fill(dated, job)?;
        fs::remove_dir_all(at(before))?;
        belongs_to(s, job)?;
    }
    stays_with(s, "three")?;
    ensure_eq!(generation(&agent)?, 3, "one reload for each swap");
    Ok(())
}

/// The old policy stays in force, the log has the diagnostics, the status since when.
fn what_is_bad_is_refused_until_it_is_good(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    fs::write(s.profile(), "PORT\n 4321 TPC two\n")?;
    agent.wait_until("the refusal", |agent| agent.log().contains("PRV106"))?;
    ensure!(agent.log().contains("profile.tcpip:2"), "{}", agent.log());
    let refused = reload_status(&agent)?["refused"].clone();
    let reason = refused["reason"].as_str().context("no reason")?;
    ensure!(
        reason.contains("profile.tcpip:2") && reason.contains("PRV106"),
        "{reason}"
    );
    let status = agent.status()?;
    ensure_eq!(status["profile"]["differs_from_file"], true, "{status}");
    let said = s.portreeve(&["status"])?.ended_with(0)?.stdout;
    ensure!(said.contains("REFUSED     every reload since "), "{said}");
    ensure!(has(s, "one")?, "the old policy");

    fs::write(s.config(), format!("moode = 1\n{WATCH}"))?;
    agent.wait_until("the other", |agent| agent.log().contains("PRV401"))?;
    let later = reload_status(&agent)?["refused"].clone();
    ensure_eq!(later["since"], refused["since"], "since the first");
    ensure!(has(s, "one")?, "the old policy");

    fs::write(s.config(), WATCH)?;
    fs::write(s.profile(), profile("two"))?;
    belongs_to(s, "two")?;
    ensure_eq!(reload_status(&agent)?["refused"], Value::Null, "taken");
    let said = s.portreeve(&["status"])?.ended_with(0)?.stdout;
    ensure!(!said.contains("REFUSED"), "{said}");
    // What a reload by hand finds is remembered in the same way.
    fs::write(s.profile(), "PORT\n 4321 TPC two\n")?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 1, "{answer}");
    ensure!(!reload_status(&agent)?["refused"].is_null(), "by hand");
    Ok(())
}

fn an_included_file_that_changes_or_appears(s: &Sandbox) -> Result<()> {
    let (ports, more) = (s.dir.join("ports.tcpip"), s.dir.join("more/more.tcpip"));
    fs::write(&ports, profile("one"))?;
    let include = |file: &Path| format!("INCLUDE {}\n", file.display());
    let agent = s.agent_with(&include(&ports), WATCH)?.start()?;
    belongs_to(s, "one")?;
    replace(&ports, &profile("two"))?;
    belongs_to(s, "two")?;
    // One that isn't there, nor its folder.
    fs::write(s.profile(), include(&more))?;
    agent.wait_until("the refusal", |agent| agent.log().contains("not reloaded"))?;
    ensure!(has(s, "two")?, "the old policy");
    fs::create_dir(s.dir.join("more"))?;
    fs::write(&more, profile("three"))?;
    belongs_to(s, "three")?;
    // What is no part of the policy any more is nobody's business.
    let before = generation(&agent)?;
    fs::write(&ports, profile("four"))?;
    stays_with(s, "three")?;
    ensure_eq!(generation(&agent)?, before, "generation");
    Ok(())
}

fn a_config_that_changes_or_names_another_profile(s: &Sandbox) -> Result<()> {
    s.write(
        "portreeve.toml",
        format!("profile = \"first.tcpip\"\n{WATCH}"),
    )?;
    s.write("first.tcpip", profile("one"))?;
    s.write("second.tcpip", profile("two"))?;
    let agent = s.agent_again()?.without("--profile").start()?;
    belongs_to(s, "one")?;
    replace(
        &s.config(),
        &format!("mode = \"audit\"\nprofile = \"first.tcpip\"\n{WATCH}"),
    )?;
    let comes = |mode: &str| {
        agent.wait_until(mode, |agent| {
            agent.status().is_ok_and(|status| status["mode"] == mode)
        })
    };
    comes("audit")?;
    replace(&s.config(), &format!("profile = \"second.tcpip\"\n{WATCH}"))?;
    comes("enforce")?;
    belongs_to(s, "two")?;
    s.write("second.tcpip", profile("three"))?;
    belongs_to(s, "three")
}

/// Without its config an agent would begin to do as if there had never been one.
fn a_config_that_is_gone_for_a_moment(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    fs::rename(s.config(), s.dir.join("away"))?;
    agent.wait_until("the refusal", |agent| agent.log().contains("is gone"))?;
    ensure!(
        !reload_status(&agent)?["refused"].is_null(),
        "it is not said"
    );
    fs::rename(s.dir.join("away"), s.config())?;
    agent.wait_until("its return", |agent| {
        reload_status(agent).is_ok_and(|status| status["refused"].is_null())
    })?;
    fs::write(s.profile(), profile("two"))?;
    belongs_to(s, "two")
}

/// Who writes in pieces is waited for; the whole is taken, once. A machine that has other
/// things to do can make the writer too slow for that, so it may try again.
fn what_is_still_being_written(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    for attempt in 1..10 {
        let job = format!("two{attempt}");
        let before = generation(&agent)?;
        let slowest = write_in_pieces(&s.profile(), &profile(&job))?;
        belongs_to(s, &job)?;
        if slowest < Duration::from_millis(400) {
            ensure_eq!(generation(&agent)?, before + 1, "one reload");
            return Ok(());
        }
    }
    Err(skip("the machine is too busy to write steadily"))
}

/// Writes for a second, and says how long the longest break was.
fn write_in_pieces(path: &Path, text: &str) -> Result<Duration> {
    let text = format!("{text}{}", "; a comment\n".repeat(20));
    let mut file = File::create(path)?;
    let (mut slowest, mut last) = (Duration::ZERO, Instant::now());
    for piece in text.as_bytes().chunks(text.len() / 20) {
        file.write_all(piece)?;
        slowest = slowest.max(last.elapsed());
        last = Instant::now();
        thread::sleep(Duration::from_millis(50));
    }
    Ok(slowest.max(last.elapsed()))
}

/// What was read already, by hand or not, is not read again.
fn nothing_new_is_no_reload(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    fs::write(s.profile(), profile("one"))?;
    replace(&s.config(), WATCH)?;
    fs::write(s.dir.join("neighbour"), "")?;
    stays_with(s, "one")?;
    ensure_eq!(generation(&agent)?, 1, "after the same again");
    fs::write(s.profile(), profile("two"))?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    let by_hand = generation(&agent)?;
    stays_with(s, "two")?;
    ensure_eq!(generation(&agent)?, by_hand, "after a reload by hand");
    Ok(())
}

fn switched_on_and_off_by_reload(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with(&profile("one"), "")?.start()?;
    ensure_eq!(reload_status(&agent)?["watch"], false, "the default");
    fs::write(s.profile(), profile("two"))?;
    stays_with(s, "one")?;
    s.write("portreeve.toml", WATCH)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    belongs_to(s, "two")?;
    fs::write(s.profile(), profile("three"))?;
    belongs_to(s, "three")?;
    s.write("portreeve.toml", "[reload]\nwatch = false\n")?;
    agent.wait_until("its end", |agent| {
        reload_status(agent).is_ok_and(|status| status["watch"] == false)
    })?;
    fs::write(s.profile(), profile("four"))?;
    stays_with(s, "three")?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    belongs_to(s, "four")
}

/// A file that changes takes nothing from who has to confirm; then it is its turn, and
/// change files end with it as with every reload.
fn a_change_that_waits_is_decided_first(s: &Sandbox) -> Result<()> {
    for confirmed in [true, false] {
        fs::write(s.profile(), profile("one"))?;
        let agent = started(s)?;
        let change = format!("DELETE PORT 4321 TCP one\n{}", profile("night"));
        let change = s.write("night.tcpip", change)?;
        let wait = if confirmed { "600" } else { "4" };
        let (code, answer) = agent.obey(&change, &["--confirm", wait])?;
        ensure_eq!(code, 0, "{answer}");
        fs::write(s.profile(), profile("two"))?;
        agent.wait_until("the wait", |agent| {
            reload_status(agent).is_ok_and(|status| status["waits_for_confirm"] == true)
        })?;
        ensure!(has(s, "night")?, "the change that waits");
        if confirmed {
            stays_with(s, "night")?;
            s.portreeve(&["confirm"])?.ended_with(0)?;
        }
        belongs_to(s, "two")?;
        let (said, unsaid) = match confirmed {
            true => ("changes that ended with it", "is taken back"),
            false => ("is taken back", "changes that ended with it"),
        };
        agent.wait_until(said, |agent| agent.log().contains(said))?;
        ensure!(!agent.log().contains(unsaid), "{}", agent.log());
        ensure_eq!(reload_status(&agent)?["waits_for_confirm"], false, "status");
        agent.terminate()?;
    }
    Ok(())
}

/// The files still say what was taken back; only another change is news.
fn what_was_not_confirmed_does_not_come_again(s: &Sandbox) -> Result<()> {
    let agent = started(s)?;
    agent.stop()?;
    fs::write(s.profile(), profile("two"))?;
    // Both wait for the agent; what is asked for has its answer first.
    thread::scope(|scope| -> Result<()> {
        let reload = scope.spawn(|| agent.reload(&["--confirm", "2"]));
        thread::sleep(Duration::from_millis(500));
        agent.signal(Signal::SIGCONT)?;
        let (code, answer) = reload.join().map_err(|_| anyhow::anyhow!("a panic"))??;
        ensure_eq!(
            (code, &answer["confirm_within"]),
            (0, &2.into()),
            "{answer}"
        );
        Ok(())
    })?;
    belongs_to(s, "one")?;
    stays_with(s, "one")?;
    fs::write(s.profile(), profile("three"))?;
    belongs_to(s, "three")
}

/// What changed while no agent ran is taken up by the next one.
fn a_killed_agent_has_missed_it(s: &Sandbox) -> Result<()> {
    started(s)?.kill()?;
    fs::write(s.profile(), profile("two"))?;
    let agent = s.agent_again()?.start()?;
    belongs_to(s, "two")?;
    agent.kill()?;
    let _agent = s.agent_again()?.start()?;
    stays_with(s, "two")
}

/// Of a folder further up nothing is told; it is noticed within seconds.
fn what_is_moved_or_mounted_further_up(s: &Sandbox) -> Result<()> {
    let folder = |name: &str, job: &str| -> Result<()> {
        fs::create_dir_all(s.dir.join(name).join("below"))?;
        fs::write(s.dir.join(name).join("below/profile.tcpip"), profile(job))?;
        Ok(())
    };
    folder("etc", "one")?;
    folder("other", "two")?;
    s.write("portreeve.toml", WATCH)?;
    let path: PathBuf = s.dir.join("etc/below/profile.tcpip");
    let _agent = s
        .agent_again()?
        .option("--profile", &path.display().to_string())
        .start()?;
    belongs_to(s, "one")?;
    fs::rename(s.dir.join("etc"), s.dir.join("away"))?;
    fs::rename(s.dir.join("other"), s.dir.join("etc"))?;
    belongs_to(s, "two")
}

/// Said as an error, and what was asked for is done as well as it can be.
fn a_watch_that_can_not_be_had(s: &Sandbox) -> Result<()> {
    let mut start = s.agent_with(&profile("one"), WATCH)?;
    let call = u32::try_from(libc::SYS_inotify_add_watch)?;
    start.launch.failing = vec![Failing {
        call,
        first: None,
        errno: Errno::ENOSPC as i32,
    }];
    let agent = start.start()?;
    let said = "can't be watched";
    ensure!(agent.log().contains(said), "{}", agent.log());
    let missing = agent.status()?["missing"].to_string();
    ensure!(
        missing.contains(said) && missing.contains("os error 28"),
        "{missing}"
    );
    fs::write(s.profile(), profile("two"))?;
    belongs_to(s, "two")?;
    ensure_eq!(
        agent.log().matches("error: reload: profile").count(),
        1,
        "said once"
    );
    Ok(())
}
