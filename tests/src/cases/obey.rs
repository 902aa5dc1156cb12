//! Change files on top of the policy in force.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use nix::{errno::Errno, sys::signal::Signal};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Case, Sandbox, Settings,
        command::{self},
        expect::{expect, expect_of, judge},
        host, refusal, tcp, udp,
    },
    tests,
};

tests![
    a_change_opens_and_closes_ports,
    changes_stack_and_end_with_a_reload,
    what_is_said_again_is_not_changed,
    a_bad_change_leaves_all_as_it_was,
    a_dry_run_obeys_nothing,
    the_profile_on_disk_is_not_asked,
    changes_end_with_the_agent,
    bound_sockets_survive_a_change,
    the_command_line_says_the_same_beforehand,
    checking_changes_nothing,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "\
PORT
  21 TCP FTPD1
  80 TCP WEB
  53 UDP NAMED
PORTRANGE
  4000 100 TCP APPL
";
const NIGHT: &str = "\
DELETE PORT 80 TCP WEB
DELETE PORTRANGE 4000 100 TCP APPL
PORT
  80 TCP BATCH
  81 TCP BATCH
";

/// What holds under [`PROFILE`] alone.
fn before(s: &Sandbox) -> Vec<Case<'static>> {
    let (web, batch) = (s.caller("web"), s.caller("batch"));
    vec![
        Case::permitted(&web, tcp(80), "80 TCP WEB"),
        Case::other_job(&batch, tcp(80), "80 TCP WEB"),
        Case::unreserved(&web, tcp(81)),
        Case::other_job(&web, tcp(4001), "4000 100 TCP APPL"),
        Case::other_job(&web, udp(53), "53 UDP NAMED"),
    ]
}

/// What holds with [`NIGHT`] on top.
fn with_night(s: &Sandbox) -> Vec<Case<'static>> {
    let (web, batch) = (s.caller("web"), s.caller("batch"));
    vec![
        Case::other_job(&web, tcp(80), "80 TCP BATCH"),
        Case::permitted(&batch, tcp(80), "80 TCP BATCH"),
        Case::other_job(&web, tcp(81), "81 TCP BATCH"),
        Case::unreserved(&web, tcp(4001)),
        Case::other_job(&web, tcp(21), "21 TCP FTPD1"),
        Case::other_job(&web, udp(53), "53 UDP NAMED"),
    ]
}

fn changes(agent: &Agent<'_>) -> Result<Value> {
    Ok(agent.status()?["profile"]["changes"].clone())
}

/// `OBY-01`, `OBY-02`, `OBY-04`: entries are added and taken away for later binds;
/// events, register and `explain` name the change file.
fn a_change_opens_and_closes_ports(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, QUIET, &before(s))?;
    let profile_hash = agent.status()?["profile"]["hash"].clone();
    ensure_eq!(changes(&agent)?, json!([]), "changes at first");
    let night = s.write("night.tcpip", NIGHT)?;
    let (code, answer) = agent.obey(&night, &[])?;
    ensure_eq!(code, 0, "{answer}");
    let at = |file: &Path, line: u32, text: &str| json!({"file": file, "line": line, "text": text});
    ensure_eq!(
        answer["diff"],
        json!({
            "added": [at(&night, 4, "80 TCP BATCH"), at(&night, 5, "81 TCP BATCH")],
            "removed": [
                at(&s.profile(), 3, "80 TCP WEB"),
                at(&s.profile(), 6, "4000 100 TCP APPL"),
            ],
            "changed": [],
            "unchanged": 2,
        }),
        "diff"
    );
    ensure_eq!(answer["dropped"], json!([]), "{answer}");
    ensure_eq!(answer["generation"], 2, "{answer}");
    ensure_eq!(changes(&agent)?, json!([night]), "changes");
    let logged = format!("obeyed {}", night.display());
    agent.wait_until("word of the change", |agent| agent.log().contains(&logged))?;
    let files = [(&*s.profile(), PROFILE), (&*night, NIGHT)];
    expect_of(&agent, &files, QUIET, &with_night(s))?;
    let status = agent.status()?;
    ensure_eq!(status["profile"]["differs_from_file"], false, "{status}");
    ensure!(status["profile"]["hash"] != profile_hash, "{status}");

    let words = s
        .portreeve(&["explain", "tcp/80", "--job", "WEB"])?
        .ended_with(1)?;
    ensure!(words.stdout.contains("night.tcpip:4"), "{}", words.stdout);
    let words = s.portreeve(&["ports", "--verbose"])?.ended_with(0)?;
    ensure!(words.stdout.contains("night.tcpip:5"), "{}", words.stdout);
    let words = s.portreeve(&["status"])?.ended_with(0)?;
    ensure!(
        words.stdout.contains("night.tcpip, until the next reload"),
        "{}",
        words.stdout
    );
    Ok(())
}

/// `OBY-03`, `RNG-15`: a second file is judged against what the first has left,
/// and a reload brings back the profile alone.
fn changes_stack_and_end_with_a_reload(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, QUIET, &before(s))?;
    let night = s.write("night.tcpip", NIGHT)?;
    agent.obey(&night, &[])?;
    // 81 is reserved by the first change, so the range that covers it is refused;
    // 4000 to 4099 are free again.
    let collides = s.write("range.tcpip", "PORTRANGE 81 10 TCP LATE\n")?;
    let (code, answer) = agent.obey(&collides, &[])?;
    ensure_eq!(code, 1, "{answer}");
    let error = &answer["diagnostics"][0];
    ensure_eq!(error["code"], "PRV204", "{answer}");
    ensure_eq!(error["file"], json!(collides), "{answer}");
    let said = error["message"].as_str().context("no message")?;
    ensure!(said.contains("night.tcpip:5"), "{answer}");
    let more = "PORTRANGE 4050 10 TCP LATE\nDELETE PORT 81 TCP BATCH\n";
    let more_file = s.write("more.tcpip", more)?;
    let (code, answer) = agent.obey(&more_file, &[])?;
    ensure_eq!(code, 0, "{answer}");
    ensure_eq!(changes(&agent)?, json!([night, more_file]), "changes");
    let web = s.caller("web");
    let files = [
        (&*s.profile(), PROFILE),
        (&*night, NIGHT),
        (&*more_file, "4050 10 TCP LATE\n"),
    ];
    let late = "4050 10 TCP LATE";
    expect_of(
        &agent,
        &files,
        QUIET,
        &[
            Case::unreserved(&web, tcp(81)),
            Case::unreserved(&web, tcp(4001)),
            Case::other_job(&web, tcp(80), "80 TCP BATCH"),
        ],
    )?;
    let refused = Binder::attempt(&web, &tcp(4055))?;
    ensure_eq!(refused, Err(refusal()), "{late}");

    let (code, answer) = agent.reload(&["--dry-run"])?;
    ensure_eq!(code, 0, "{answer}");
    ensure_eq!(answer["dropped"], json!([night, more_file]), "{answer}");
    ensure_eq!(
        changes(&agent)?,
        json!([night, more_file]),
        "after a dry run"
    );
    let text = s.portreeve(&["reload"])?.ended_with(0)?;
    for word in ["night.tcpip ended", "more.tcpip ended"] {
        ensure!(text.stdout.contains(word), "no {word:?} in {}", text.stdout);
    }
    ensure_eq!(changes(&agent)?, json!([]), "after the reload");
    expect(&agent, PROFILE, QUIET, &before(s))?;
    // A hangup reloads as well.
    agent.obey(&night, &[])?;
    agent.signal(Signal::SIGHUP)?;
    agent.wait_until("word of the change that ended", |agent| {
        agent.log().contains("changes that ended with it")
    })?;
    expect(&agent, PROFILE, QUIET, &before(s))
}

/// `OBY-02`: an entry that is said again is an error, and keeps its options.
fn what_is_said_again_is_not_changed(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, QUIET, &before(s))?;
    let again = s.write("again.tcpip", "PORT 80 TCP WEB NOAUTOLOG\n")?;
    let (code, answer) = agent.obey(&again, &[])?;
    ensure_eq!(code, 1, "{answer}");
    ensure_eq!(answer["diagnostics"][0]["code"], "PRV207", "{answer}");
    expect(&agent, PROFILE, QUIET, &before(s))?;
    let change = s.write(
        "change.tcpip",
        "DELETE PORT 80 TCP WEB\nPORT 80 TCP WEB NOAUTOLOG\n",
    )?;
    let (code, answer) = agent.obey(&change, &[])?;
    ensure_eq!(code, 0, "{answer}");
    let changed = &answer["diff"]["changed"][0];
    ensure_eq!(changed["text"], "80 TCP WEB NOAUTOLOG", "{answer}");
    Ok(())
}

/// `OBY-06`: with one error nothing of the file holds; every error is told.
fn a_bad_change_leaves_all_as_it_was(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, QUIET, &before(s))?;
    let generation = agent.status()?["generation"].clone();
    let bad = "\
DELETE PORT 80 TCP WEB
PORT
  80 TCP BATCH
  70000 TCP HIGH
  21 TCP FTPD1
DELETE PORT 99 TCP NOBODY
";
    let file = s.write("bad.tcpip", bad)?;
    let (code, answer) = agent.obey(&file, &[])?;
    ensure_eq!(code, 1, "{answer}");
    ensure_eq!(answer["applied"], false, "{answer}");
    let diagnostics = answer["diagnostics"].as_array().context("diagnostics")?;
    let lines: Vec<(&Value, &Value)> = diagnostics
        .iter()
        .map(|said| (&said["code"], &said["line"]))
        .collect();
    let expected = [("PRV105", 4), ("PRV207", 5), ("PRV211", 6)];
    let expected = expected.map(|(code, line)| (json!(code), json!(line)));
    let expected: Vec<_> = expected.iter().map(|(code, line)| (code, line)).collect();
    ensure_eq!(lines, expected, "{answer}");
    let text = s
        .portreeve(&["obey", &file.display().to_string()])?
        .ended_with(1)?;
    for word in ["not obeyed", "the old policy stays", "70000", "bad.tcpip:6"] {
        ensure!(text.stderr.contains(word), "no {word:?} in {}", text.stderr);
    }
    // What can't be read, or others may write.
    let others = s.write("others.tcpip", "PORT 81 TCP BATCH\n")?;
    fs::set_permissions(&others, fs::Permissions::from_mode(0o666))?;
    for path in [others, s.dir.join("missing.tcpip"), s.dir.clone()] {
        let (code, answer) = agent.obey(&path, &[])?;
        ensure_eq!(code, 1, "{answer}");
        ensure!(answer["refused"].is_string(), "{answer}");
    }
    ensure_eq!(agent.status()?["generation"], generation, "generation");
    ensure_eq!(changes(&agent)?, json!([]), "changes");
    expect(&agent, PROFILE, QUIET, &before(s))
}

/// `obey --dry-run` says the same and does nothing.
fn a_dry_run_obeys_nothing(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, QUIET, &before(s))?;
    let night = s.write("night.tcpip", NIGHT)?;
    let (code, dry) = agent.obey(&night, &["--dry-run"])?;
    ensure_eq!((code, &dry["applied"]), (0, &json!(false)), "{dry}");
    ensure_eq!(changes(&agent)?, json!([]), "changes");
    expect(&agent, PROFILE, QUIET, &before(s))?;
    let (_, done) = agent.obey(&night, &[])?;
    ensure_eq!(done["diff"], dry["diff"], "diff");
    Ok(())
}

/// A profile that was edited and not reloaded stays out of it; so do a config and
/// an earlier change file.
fn the_profile_on_disk_is_not_asked(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, QUIET, &before(s))?;
    s.set_policy("PORT\n nonsense\n", QUIET.audit())?;
    let night = s.write("night.tcpip", NIGHT)?;
    let (code, answer) = agent.obey(&night, &[])?;
    ensure_eq!(code, 0, "{answer}");
    fs::remove_file(&night)?;
    fs::remove_file(s.profile())?;
    let more = s.write("more.tcpip", "PORT 82 TCP BATCH\n")?;
    let (code, answer) = agent.obey(&more, &[])?;
    ensure_eq!(code, 0, "{answer}");
    let files = [(&*s.profile(), PROFILE), (&*night, NIGHT)];
    expect_of(&agent, &files, QUIET, &with_night(s))?;
    let refused = Binder::attempt(&s.caller("web"), &tcp(82))?;
    ensure_eq!(refused, Err(refusal()), "82 TCP BATCH");
    let status = agent.status()?;
    ensure_eq!(status["profile"]["differs_from_file"], true, "{status}");
    Ok(())
}

/// `OBY-03`: without an agent the change holds on; a new agent reads the profile.
fn changes_end_with_the_agent(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, QUIET, &before(s))?;
    let night = s.write("night.tcpip", NIGHT)?;
    agent.obey(&night, &[])?;
    agent.terminate()?;
    for (name, result) in [("web", Err(refusal())), ("batch", Ok(()))] {
        let bound = Binder::attempt(&s.caller(name), &tcp(80))?;
        ensure_eq!(bound, result, "{name} without an agent");
    }
    let agent = s.agent_again()?.start()?;
    ensure_eq!(changes(&agent)?, json!([]), "changes");
    expect(&agent, PROFILE, QUIET, &before(s))
}

/// `DEL-06`: only later binds are judged by a change.
fn bound_sockets_survive_a_change(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let holder = Binder::start(&s.caller("web"), &[tcp(80)])?;
    ensure_eq!(holder.results, [Ok(())], "the rightful job");
    let night = s.write("night.tcpip", NIGHT)?;
    agent.obey(&night, &[])?;
    let taken = Binder::attempt(&s.caller("batch"), &tcp(80))?;
    ensure_eq!(taken, Err(Errno::EADDRINUSE), "still held");
    drop(holder);
    let free = Binder::attempt(&s.caller("batch"), &tcp(80))?;
    ensure_eq!(free, Ok(()), "afterwards");
    Ok(())
}

/// `explain`, `check` and `policy diff` with `--obey` say what `obey` does.
fn the_command_line_says_the_same_beforehand(s: &Sandbox) -> Result<()> {
    s.set_policy(PROFILE, QUIET)?;
    let night = s.write("night.tcpip", NIGHT)?;
    let more = s.write("more.tcpip", "PORT 82 TCP BATCH\n")?;
    let (profile, config) = (s.profile(), s.config());
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(host::agent()?);
        command.env_clear().args(arguments);
        for (option, file) in [("--config", &config), ("--obey", &night), ("--obey", &more)] {
            command.arg(option).arg(file);
        }
        command::finish(&mut command)
    };
    let profile = profile.display().to_string();
    for (port, job, code) in [
        ("tcp/80", "BATCH", 0),
        ("tcp/80", "WEB", 1),
        ("tcp/82", "WEB", 1),
        ("tcp/4001", "WEB", 0),
    ] {
        run(&["explain", port, "--job", job, "--profile", &profile])?
            .ended_with(code)
            .with_context(|| format!("{port} {job}"))?;
    }
    let checked = run(&["check", &profile, "--format", "json"])?
        .ended_with(0)?
        .json()?;
    ensure_eq!(checked["reservations"], 5, "{checked}");
    ensure_eq!(checked["configured"], 5, "{checked}");
    // DELETE is what change files are for.
    let said = checked["diagnostics"].as_array().context("diagnostics")?;
    ensure!(
        said.iter().all(|said| said["code"] != "PRV506"),
        "{checked}"
    );
    let diff = run(&["policy", "diff", &profile, "--format", "json"])?
        .ended_with(1)?
        .json()?;

    let agent = s.agent_again()?.start()?;
    agent.obey(&night, &[])?;
    agent.obey(&more, &[])?;
    let (_, back) = agent.reload(&["--dry-run"])?;
    ensure_eq!(
        diff["diff"]["added"],
        back["diff"]["removed"],
        "diff and reload"
    );
    ensure_eq!(
        diff["diff"]["removed"],
        back["diff"]["added"],
        "diff and reload"
    );
    Ok(())
}

/// `SYN-26`: `check` says all that is wrong, as one object that nothing else is in,
/// and what is in force is not touched.
fn checking_changes_nothing(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, QUIET, &before(s))?;
    let status = agent.status()?;
    let bad = s.write("bad.tcpip", "PORT\n 80 TCP\n 81 TCP BATCH\n 70000 TCP X\n")?;
    let bad = bad.display().to_string();
    let checked = s
        .portreeve(&["check", &bad, "--format", "json"])?
        .ended_with(1)?;
    ensure_eq!(checked.stderr, "", "all is in the object");
    let checked = checked.json()?;
    let said = checked["diagnostics"].as_array().context("diagnostics")?;
    let errors: Vec<&Value> = said
        .iter()
        .filter(|said| said["severity"] == "error")
        .map(|said| &said["code"])
        .collect();
    ensure_eq!(errors, ["PRV104", "PRV105"], "{checked}");
    ensure_eq!(checked["configured"], 3, "{checked}");
    ensure_eq!(checked["reservations"], 0, "{checked}");
    // Two errors in the profile; the one that is right would take effect alone.
    let text = s.portreeve(&["check", &bad])?.ended_with(1)?;
    ensure!(
        text.stdout
            .contains("1 of 3 reservations would take effect"),
        "{}",
        text.stdout
    );
    let after = agent.status()?;
    ensure_eq!(after["generation"], status["generation"], "generation");
    expect(&agent, PROFILE, QUIET, &before(s))
}
