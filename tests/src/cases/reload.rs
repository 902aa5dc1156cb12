//! Reloading: all or nothing, and what is kept.

use std::{fs, os::unix::fs::PermissionsExt as _, thread};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Body, Case, Sandbox, Settings, control,
        expect::{expect, judge},
        tcp, udp,
    },
    tests,
};

tests![
    a_good_profile_is_put_in_force,
    a_dry_run_changes_nothing,
    a_hangup_reloads,
    a_bad_profile_changes_nothing_and_says_all,
    what_can_not_be_read_changes_nothing,
    counts_of_kept_entries_go_on,
    a_bound_port_stays_bound,
    the_scope_needs_a_restart,
    changed_files_are_noticed,
    reloads_at_the_same_time,
    the_config_may_name_the_profile,
];

const QUIET: Settings = Settings::DEFAULT;
const OLD: &str = "\
PORT
  21 TCP FTPD1
  80 TCP WEB
  443 TCP WEB
  53 UDP NAMED
";
const NEW: &str = "\
; a line more, so that every entry stands elsewhere
PORT
  22 TCP SSHD
  80 TCP WEB
  443 TCP WEB NOAUTOLOG
  53 UDP NAMED
PORTRANGE
  4000 10 TCP APPL
";

fn old_cases(s: &Sandbox) -> Vec<Case<'static>> {
    let (web, wrong) = (s.caller("web"), s.caller("wrong"));
    vec![
        Case::other_job(&wrong, tcp(21), "21 TCP FTPD1"),
        Case::unreserved(&wrong, tcp(22)),
        Case::permitted(&web, tcp(80), "80 TCP WEB"),
        Case::other_job(&wrong, udp(53), "53 UDP NAMED"),
        Case::unreserved(&wrong, tcp(4000)),
    ]
}

fn new_cases(s: &Sandbox) -> Vec<Case<'static>> {
    let (web, wrong) = (s.caller("web"), s.caller("wrong"));
    vec![
        Case::unreserved(&wrong, tcp(21)),
        Case::other_job(&wrong, tcp(22), "22 TCP SSHD"),
        Case::permitted(&web, tcp(80), "80 TCP WEB"),
        Case::other_job(&wrong, tcp(443), "443 TCP WEB NOAUTOLOG"),
        Case::other_job(&wrong, udp(53), "53 UDP NAMED"),
        Case::other_job(&wrong, tcp(4000), "4000 10 TCP APPL"),
    ]
}

/// The diff from [`OLD`] to [`NEW`] as `reload` shows it.
fn difference(s: &Sandbox) -> Value {
    let at = |line: u32, text: &str| json!({"file": s.profile(), "line": line, "text": text});
    json!({
        "added": [at(3, "22 TCP SSHD"), at(8, "4000 10 TCP APPL")],
        "removed": [at(2, "21 TCP FTPD1")],
        "changed": [at(5, "443 TCP WEB NOAUTOLOG")],
        "unchanged": 2,
    })
}

/// `DEL-06`, `OBY-02`: added, removed and changed entries are told and in force.
fn a_good_profile_is_put_in_force(s: &Sandbox) -> Result<()> {
    let agent = judge(s, OLD, QUIET, &old_cases(s))?;
    let before = agent.status()?;
    s.set_policy(NEW, QUIET)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    ensure_eq!(answer["applied"], true, "{answer}");
    ensure_eq!(answer["refused"], Value::Null, "{answer}");
    ensure_eq!(answer["diff"], difference(s), "diff");
    let status = agent.status()?;
    let generation = before["generation"].as_u64().context("generation")? + 1;
    ensure_eq!(answer["generation"], generation, "generation of the answer");
    ensure_eq!(status["generation"], generation, "generation of the status");
    ensure!(
        status["profile"]["hash"] != before["profile"]["hash"],
        "the hash stayed: {status}"
    );
    ensure_eq!(status["profile"]["entries"], 5, "entries");
    expect(&agent, NEW, QUIET, &new_cases(s))
}

/// `reload --dry-run` says the same and does nothing.
fn a_dry_run_changes_nothing(s: &Sandbox) -> Result<()> {
    let agent = judge(s, OLD, QUIET, &old_cases(s))?;
    let before = agent.status()?;
    s.set_policy(NEW, QUIET)?;
    let (code, answer) = agent.reload(&["--dry-run"])?;
    ensure_eq!(code, 0, "{answer}");
    ensure_eq!(answer["applied"], false, "{answer}");
    ensure_eq!(answer["diff"], difference(s), "diff");
    let after = agent.status()?;
    ensure_eq!(after["generation"], before["generation"], "generation");
    ensure_eq!(after["profile"]["hash"], before["profile"]["hash"], "hash");
    ensure_eq!(after["profile"]["differs_from_file"], true, "{after}");
    expect(&agent, OLD, QUIET, &old_cases(s))?;
    // What would fail is said without being tried.
    s.set_policy("PORT\n nonsense\n", QUIET)?;
    let (code, answer) = agent.reload(&["--dry-run"])?;
    ensure_eq!(code, 1, "{answer}");
    expect(&agent, OLD, QUIET, &old_cases(s))
}

/// SIGHUP reloads, and survives a profile that can't be put in force.
fn a_hangup_reloads(s: &Sandbox) -> Result<()> {
    let agent = judge(s, OLD, QUIET, &old_cases(s))?;
    s.set_policy(NEW, QUIET)?;
    agent.signal(Signal::SIGHUP)?;
    agent.wait_until("word of the reload", |agent| {
        agent.log().contains("reloaded: generation 2")
    })?;
    expect(&agent, NEW, QUIET, &new_cases(s))?;

    s.set_policy("PORT\n 21 TCP\n", QUIET)?;
    agent.signal(Signal::SIGHUP)?;
    agent.wait_until("word of the refusal", |agent| {
        agent.log().contains("not reloaded")
    })?;
    expect(&agent, NEW, QUIET, &new_cases(s))?;
    fs::remove_file(s.profile())?;
    agent.signal(Signal::SIGHUP)?;
    agent.wait_until("word of the second refusal", |agent| {
        agent.log().matches("not reloaded").count() == 2
    })?;
    expect(&agent, NEW, QUIET, &new_cases(s))
}

/// Every error at once, with code, line and column; exit status 1; and the old
/// policy judges as before.
fn a_bad_profile_changes_nothing_and_says_all(s: &Sandbox) -> Result<()> {
    let agent = judge(s, OLD, QUIET, &old_cases(s))?;
    let generation = agent.status()?["generation"].clone();
    let bad = "\
PORT
  21 TCP SSHD
  70000 TCP HIGH
  22 SCTP OTHER
  23 TCP 9NAME
  21 TCP SSHD
PORTRANGE
  20 5 TCP OVER
";
    s.set_policy(bad, QUIET)?;
    s.write("portreeve.toml", "moode = \"audit\"\n")?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 1, "{answer}");
    ensure_eq!(answer["applied"], false, "{answer}");
    ensure_eq!(answer["generation"], generation, "generation");
    ensure!(answer["refused"].is_string(), "{answer}");
    let errors: Vec<&Value> = answer["diagnostics"]
        .as_array()
        .context("no diagnostics")?
        .iter()
        .filter(|diagnostic| diagnostic["severity"] == "error")
        .collect();
    let profile = json!(s.profile());
    let mut lines: Vec<u64> = errors
        .iter()
        .filter(|error| error["file"] == profile)
        .filter_map(|error| error["line"].as_u64())
        .collect();
    lines.sort_unstable();
    lines.dedup();
    ensure_eq!(lines, [3, 4, 5, 6, 8], "lines with errors in {errors:#?}");
    let config = json!(s.config());
    ensure!(
        errors.iter().any(|error| error["file"] == config),
        "no word of the config: {errors:#?}"
    );
    for error in &errors {
        ensure!(
            error["code"].is_string() && error["message"].is_string(),
            "{error}"
        );
    }
    expect(&agent, OLD, QUIET, &old_cases(s))?;
    let status = agent.status()?;
    ensure_eq!(status["profile"]["differs_from_file"], true, "{status}");
    ensure_eq!(status["generation"], generation, "{status}");

    // People get the same in words.
    let text = s.portreeve(&["reload"])?.ended_with(1)?;
    for word in ["70000", "SCTP", "9NAME", "moode", "the old policy stays"] {
        ensure!(text.stderr.contains(word), "no {word:?} in {}", text.stderr);
    }
    Ok(())
}

/// Files that are gone, are no files, or that others may write.
fn what_can_not_be_read_changes_nothing(s: &Sandbox) -> Result<()> {
    let agent = judge(s, OLD, QUIET, &old_cases(s))?;
    let spoil: [(&str, Body); 5] = [
        ("no profile", |s| Ok(fs::remove_file(s.profile())?)),
        ("no config", |s| Ok(fs::remove_file(s.config())?)),
        ("a folder", |s| {
            fs::remove_file(s.profile())?;
            Ok(fs::create_dir(s.profile())?)
        }),
        ("others may write it", |s| {
            Ok(fs::set_permissions(
                s.profile(),
                fs::Permissions::from_mode(0o666),
            )?)
        }),
        ("others may write its folder", |s| {
            Ok(fs::set_permissions(
                &s.dir,
                fs::Permissions::from_mode(0o777),
            )?)
        }),
    ];
    for (what, spoil) in spoil {
        spoil(s)?;
        let answer = s.portreeve(&["reload"])?.ended_with(1).context(what)?;
        ensure!(
            answer.stderr.contains("not reloaded"),
            "{what}: {}",
            answer.stderr
        );
        let status = agent.status().context(what)?;
        if !what.contains("write") {
            ensure_eq!(status["profile"]["differs_from_file"], true, "{what}");
        }
        expect(&agent, OLD, QUIET, &old_cases(s)).context(what)?;
        fs::set_permissions(&s.dir, fs::Permissions::from_mode(0o755))?;
        let _ = fs::remove_dir(s.profile());
        s.set_policy(OLD, QUIET)?;
    }
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    Ok(())
}

fn refusals(agent: &Agent<'_>) -> Result<Vec<(u64, u64)>> {
    let rows = agent.ports()?;
    let row = |row: &Value| Some((row["port"].as_u64()?, row["refusals"].as_u64()?));
    let rows: Option<Vec<_>> = rows.iter().map(row).collect();
    let mut rows = rows.context("rows")?;
    rows.sort_unstable();
    Ok(rows)
}

/// An entry that stays keeps its count, wherever it stands now; a new one starts
/// with none, also if it was there before.
fn counts_of_kept_entries_go_on(s: &Sandbox) -> Result<()> {
    let wrong = s.caller("wrong");
    let agent = judge(
        s,
        OLD,
        QUIET,
        &[
            Case::other_job(&wrong, tcp(21), "21 TCP FTPD1"),
            Case::other_job(&wrong, tcp(80), "80 TCP WEB"),
            Case::other_job(&wrong, tcp(80), "80 TCP WEB"),
            Case::other_job(&wrong, tcp(443), "443 TCP WEB"),
            Case::other_job(&wrong, udp(53), "53 UDP NAMED"),
        ],
    )?;
    let counters = agent.status()?["counters"].clone();
    ensure_eq!(
        refusals(&agent)?,
        [(21, 1), (53, 1), (80, 2), (443, 1)],
        "before"
    );
    s.set_policy(NEW, QUIET)?;
    agent.reload(&[])?;
    let kept = [(22, 0), (53, 1), (80, 2), (443, 1), (4000, 0)];
    ensure_eq!(refusals(&agent)?, kept, "after a reload");
    ensure_eq!(agent.status()?["counters"], counters, "counters");
    expect(
        &agent,
        NEW,
        QUIET,
        &[Case::other_job(&wrong, tcp(80), "80 TCP WEB")],
    )?;
    s.set_policy(OLD, QUIET)?;
    agent.reload(&[])?;
    let back = [(21, 0), (53, 1), (80, 3), (443, 1)];
    ensure_eq!(refusals(&agent)?, back, "back again");
    // The same file again: nothing is lost, however often.
    for _ in 0..5 {
        agent.reload(&[])?;
    }
    ensure_eq!(refusals(&agent)?, back, "the same again");
    Ok(())
}

/// `DEC-06`: only later calls are judged; who has a port keeps it.
fn a_bound_port_stays_bound(s: &Sandbox) -> Result<()> {
    let agent = s.agent(OLD, QUIET)?.start()?;
    let holder = Binder::start(&s.caller("wrong"), &[tcp(22)])?;
    ensure_eq!(holder.results, [Ok(())], "an unreserved port");
    s.set_policy(NEW, QUIET)?;
    agent.reload(&[])?;
    let owner = Binder::attempt(&s.caller("sshd"), &tcp(22))?;
    ensure_eq!(owner, Err(nix::errno::Errno::EADDRINUSE), "still held");
    drop(holder);
    expect(
        &agent,
        NEW,
        QUIET,
        &[
            Case::other_job(&s.caller("wrong"), tcp(22), "22 TCP SSHD"),
            Case::permitted(&s.caller("sshd"), tcp(22), "22 TCP SSHD"),
        ],
    )
}

/// What is set at load can't change with a reload, and is not half-changed.
fn the_scope_needs_a_restart(s: &Sandbox) -> Result<()> {
    let agent = judge(s, OLD, QUIET, &old_cases(s))?;
    s.set_policy(NEW, QUIET.everywhere())?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 1, "{answer}");
    let refused = answer["refused"].as_str().unwrap_or_default();
    ensure!(refused.contains("restart"), "{answer}");
    expect(&agent, OLD, QUIET, &old_cases(s))
}

/// `status` says when profile or config are not what is in force.
fn changed_files_are_noticed(s: &Sandbox) -> Result<()> {
    let agent = s.agent(OLD, QUIET)?.start()?;
    let differs =
        || Ok::<_, anyhow::Error>(agent.status()?["profile"]["differs_from_file"].clone());
    ensure_eq!(differs()?, false, "at first");
    s.set_policy(NEW, QUIET)?;
    ensure_eq!(differs()?, true, "another profile");
    s.set_policy(OLD, QUIET)?;
    ensure_eq!(differs()?, false, "the old one again");
    s.set_policy(OLD, QUIET.report_all())?;
    ensure_eq!(differs()?, true, "another config");
    agent.reload(&[])?;
    ensure_eq!(differs()?, false, "reloaded");
    Ok(())
}

/// Requests that come together are done one after the other, none twice.
fn reloads_at_the_same_time(s: &Sandbox) -> Result<()> {
    let agent = s.agent(OLD, QUIET)?.start()?;
    let before = agent.status()?["generation"].as_u64().context("number")?;
    let mut generations = thread::scope(|scope| -> Result<Vec<u64>> {
        let asking: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..10).map(|_| control::reload(&s.socket)).collect()))
            .collect();
        let mut all = Vec::new();
        for asking in asking {
            let one: Result<Vec<u64>> = asking.join().map_err(|_| anyhow::anyhow!("panic"))?;
            all.extend(one?);
        }
        Ok(all)
    })?;
    generations.sort_unstable();
    let expected: Vec<u64> = (before + 1..=before + 80).collect();
    ensure_eq!(generations, expected, "generations");
    expect(&agent, OLD, QUIET, &old_cases(s))
}

/// Without `--profile` the config says which it is, from its own folder on, and a
/// reload may find another one there.
fn the_config_may_name_the_profile(s: &Sandbox) -> Result<()> {
    s.set_policy(OLD, QUIET)?;
    s.write("portreeve.toml", "profile = \"profile.tcpip\"\n")?;
    let agent = s.agent_again()?.without("--profile").start()?;
    expect(&agent, OLD, QUIET, &old_cases(s))?;
    s.write("other.tcpip", "PORT\n 21 TCP SSHD\n")?;
    s.write("portreeve.toml", "profile = \"other.tcpip\"\n")?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    let path = &agent.status()?["profile"]["path"];
    ensure_eq!(*path, json!(s.dir.join("other.tcpip")), "profile in force");
    let allowed = Binder::attempt(&s.caller("sshd"), &tcp(21))?;
    ensure_eq!(allowed, Ok(()), "under the other profile");
    Ok(())
}
