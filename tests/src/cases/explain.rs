//! `explain` says what the kernel does: each question is also asked with a bind.

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Caller, NOBODY, Sandbox, Settings, Want,
        command::{self, Finished},
        host, refusal, tcp, udp,
    },
    tests,
};

tests![
    the_answer_is_what_a_bind_gets,
    a_running_process_is_explained,
    an_answer_without_an_agent,
    the_answer_names_the_entry,
    strange_questions,
];

const PROFILE: &str = "\
PORT
  20 TCP *
  21 TCP FTPD1
  53 TCP NAMED1
  53 UDP NAMED1
  80 TCP WEB*
  514 UDP OMVS
  2000 TCP RESERVED
  5000 TCP APP?
  5000 TCP APP1
  5000 TCP A*Z
PORTRANGE
  4000 1000 TCP APPL*
  65000 1000 UDP LAST
";

/// `DEC-10`: jobs, ports, protocols and users: verdict, grant and the host's own
/// rule add up to what a real bind gets.
fn the_answer_is_what_a_bind_gets(s: &Sandbox) -> Result<()> {
    let names = [
        "ftpd1",
        "NAMED1",
        "web",
        "appl7",
        "app1",
        "axz",
        "LaSt",
        "nobody",
        "abcdefghijklmno",
    ];
    let ports = [
        20, 21, 22, 53, 80, 514, 1023, 1024, 2000, 3999, 4000, 4999, 5000, 65535,
    ];
    for settings in [Settings::DEFAULT, Settings::DEFAULT.grant_any()] {
        let agent = s.agent(PROFILE, settings)?.start()?;
        for (name, uid) in names.iter().flat_map(|name| [(name, 0), (name, NOBODY)]) {
            let caller = s.caller(name).user(uid);
            let wants: Vec<Want> = ports
                .into_iter()
                .flat_map(|port| [tcp(port), udp(port)])
                .collect();
            let binder = Binder::start(&caller, &wants)?;
            for (want, result) in wants.iter().zip(&binder.results) {
                let answer = ask(&agent, &caller, want)?;
                ensure_eq!(
                    *result,
                    predicted(&answer),
                    "{want} by {name}, user {uid}: {answer}"
                );
            }
        }
    }
    Ok(())
}

fn target(want: &Want) -> String {
    format!("{}/{}", want.protocol(), want.port)
}

/// What the policy in force answers about `caller`.
fn ask(agent: &Agent<'_>, caller: &Caller, want: &Want) -> Result<Value> {
    let user = caller.uid().to_string();
    let finished = agent.sandbox.portreeve(&[
        "explain",
        &target(want),
        "--job",
        &caller.name,
        "--user",
        &user,
        "--format",
        "json",
    ])?;
    checked(finished)
}

/// The answer, if its exit status says the same.
fn checked(finished: Finished) -> Result<Value> {
    let answer = finished.json()?;
    let code = match answer["verdict"].as_str() {
        Some("allow") => 0,
        Some("deny") => 1,
        _ => anyhow::bail!("no verdict in {answer}"),
    };
    finished.ended_with(code)?;
    Ok(answer)
}

/// What a bind comes to if the answer is right.
fn predicted(answer: &Value) -> Result<(), Errno> {
    if answer["verdict"] == "deny" || answer["host_rule"] == true {
        Err(refusal())
    } else {
        Ok(())
    }
}

/// `--pid`: name and rights of a process that runs, a thread of it included.
fn a_running_process_is_explained(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let callers = [
        s.caller("ftpd1"),
        s.caller("ftpd1").user(NOBODY),
        s.caller("sshd"),
        s.caller("ftpd1").thread("sshd"),
        s.caller("sshd").thread("ftpd1"),
    ];
    for caller in callers {
        let binder = Binder::start(&caller, &[tcp(21), tcp(22)])?;
        let pid = binder.pid.to_string();
        for (target, result) in ["tcp/21", "tcp/22"].into_iter().zip(&binder.results) {
            let finished = s.portreeve(&["explain", target, "--pid", &pid, "--format", "json"])?;
            let answer = checked(finished)?;
            ensure_eq!(
                *result,
                predicted(&answer),
                "{target} by {caller:?}: {answer}"
            );
        }
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?.file_name().to_string_lossy().into_owned();
            let finished =
                s.portreeve(&["explain", "tcp/21", "--pid", &thread, "--format", "json"])?;
            let answer = checked(finished)?;
            let result = binder.results.first().context("no result")?;
            ensure_eq!(
                *result,
                predicted(&answer),
                "by thread {thread} of {caller:?}"
            );
        }
    }
    let gone = s
        .portreeve(&["explain", "tcp/21", "--pid", "4000000"])?
        .ended_with(2)?;
    ensure_eq!(gone.stderr.lines().count(), 1, "{gone:?}");
    drop(agent);
    Ok(())
}

/// Offline the same answers come from the file, whatever is in force.
fn an_answer_without_an_agent(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let profile = s.profile().display().to_string();
    let config = s.config().display().to_string();
    for (port, job) in [
        ("tcp/21", "FTPD1"),
        ("tcp/21", "SSHD"),
        ("udp/65001", "X"),
        ("tcp/9", "X"),
    ] {
        let question = [
            "explain", port, "--job", job, "--user", "0", "--format", "json",
        ];
        let online = checked(s.portreeve(&question)?)?;
        let files = ["--profile", &profile, "--config", &config];
        let offline = checked(s.portreeve(&[&question[..], &files].concat())?)?;
        ensure_eq!(offline, online, "{port} by {job}");
    }
    // Another file, another answer; what is in force stays out of it.
    let other = s
        .write("other.tcpip", "PORT\n 21 TCP SSHD\n")?
        .display()
        .to_string();
    let mut command = std::process::Command::new(host::agent()?);
    command
        .env_clear()
        .args(["--profile", &other, "--config", &config]);
    command.args(["explain", "tcp/21", "--job", "SSHD"]);
    command::finish(&mut command)?.ended_with(0)?;
    s.portreeve(&["explain", "tcp/21", "--job", "SSHD"])?
        .ended_with(1)?;
    drop(agent);
    Ok(())
}

/// The entry with file and line, the reason, and what would help.
fn the_answer_names_the_entry(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT.grant_any())?.start()?;
    let entry = |line: u32, text: &str| json!({"file": s.profile(), "line": line, "text": text});
    for (name, want, verdict, reason, expected) in [
        (
            "ftpd1",
            tcp(21),
            "allow",
            "permitted",
            entry(3, "21 TCP FTPD1"),
        ),
        (
            "sshd",
            tcp(21),
            "deny",
            "other-job",
            entry(3, "21 TCP FTPD1"),
        ),
        (
            "sshd",
            tcp(2000),
            "deny",
            "blocked",
            entry(8, "2000 TCP RESERVED"),
        ),
        (
            "app1",
            tcp(5000),
            "allow",
            "permitted",
            entry(10, "5000 TCP APP1"),
        ),
        (
            "app2",
            tcp(5000),
            "allow",
            "permitted",
            entry(9, "5000 TCP APP?"),
        ),
        (
            "sshd",
            tcp(4999),
            "deny",
            "other-job",
            entry(13, "4000 1000 TCP APPL*"),
        ),
        ("sshd", udp(21), "allow", "unreserved", Value::Null),
    ] {
        let answer = ask(&agent, &s.caller(name), &want)?;
        ensure_eq!(answer["verdict"], verdict, "{answer}");
        ensure_eq!(answer["reason"], reason, "{answer}");
        ensure_eq!(answer["entry"], expected, "{answer}");
        let errno = if verdict == "deny" {
            json!(format!("{:?}", refusal()))
        } else {
            Value::Null
        };
        ensure_eq!(answer["errno"], errno, "{answer}");
    }
    let words = s
        .portreeve(&["explain", "tcp/21", "--job", "SSHD"])?
        .ended_with(1)?;
    for word in [
        "SSHD may not bind tcp/21",
        "profile.tcpip:3",
        "PORT 21 TCP SSHD",
    ] {
        ensure!(
            words.stdout.contains(word),
            "no {word:?} in {}",
            words.stdout
        );
    }
    Ok(())
}

/// Port 0, odd names, and the end of the range.
fn strange_questions(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    for (name, want) in [
        ("x", tcp(0)),
        ("x", udp(65535)),
        ("a b\tc", tcp(21)),
        ("*", tcp(21)),
        ("FTPD?", tcp(21)),
        ("ftpd1", tcp(21)),
    ] {
        let caller = s.caller(name);
        let result = Binder::attempt(&caller, &want)?;
        let answer = ask(&agent, &caller, &want)?;
        ensure_eq!(result, predicted(&answer), "{want} by {name:?}: {answer}");
    }
    Ok(())
}
