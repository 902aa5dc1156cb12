//! Procedures where the first process is not systemd: commands that the agent starts, each
//! in a cgroup of its own.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portreeve_common::Reason;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Origin, Sandbox, Server, Settings, host,
        map_sets::{CounterMap, map_set},
        pace::patience,
        procedures::{self, done, history},
        refusal,
        server::words,
        skip, tcp,
    },
    tests,
};

tests![
    a_command_is_started_and_is_its_job,
    a_command_inherits_nothing,
    what_ignores_sigterm_is_killed_with_all_it_forked,
    what_can_t_be_run_is_told,
    what_ends_is_started_by_a_pass,
    commands_outlive_the_agent,
    without_its_starter_nothing_is_promised,
    an_agent_that_began_without_commands_takes_none,
    units_need_systemd,
    what_would_not_be_enforced_on_is_not_started,
];

const PORT: u16 = 4021;
const LOUD: Settings = Settings::DEFAULT.report_all();
const NAME: &str = "portreeve-autolog-ftpd.service";

/// A profile that lists FTPD and reserves its port.
fn profile() -> String {
    format!("AUTOLOG 0\n FTPD\nENDAUTOLOG\nPORT\n {PORT} TCP FTPD\n")
}

/// Says that FTPD is this command.
fn config<T: AsRef<str>>(s: &Sandbox, words: &[T]) -> Result<String> {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    Ok(format!(
        "[autolog]\nslice = \"{}/procs\"\n[procs.FTPD]\nexec = {}\n",
        s.cgroup_name(),
        serde_json::to_string(&words)?
    ))
}

/// A script as a command.
fn script(text: &str) -> [String; 3] {
    ["/bin/sh".into(), "-c".into(), text.into()]
}

fn cgroup(s: &Sandbox) -> PathBuf {
    s.cgroup.join("procs").join(NAME)
}

fn needs_no_systemd() -> Result<()> {
    match Path::new("/run/systemd/system").is_dir() {
        true => Err(skip("the first process is systemd")),
        false => Ok(()),
    }
}

fn agent<'s, T: AsRef<str>>(s: &'s Sandbox, words: &[T]) -> Result<Agent<'s>> {
    needs_no_systemd()?;
    s.set_policy_with(&profile(), LOUD, &config(s, words)?)?;
    s.agent_again()?.start()
}

/// FTPD as the agent shows it.
fn autolog(s: &Sandbox, arguments: &[&str]) -> Result<Value> {
    // 1 is the answer where it isn't as it should be.
    let rows = procedures::autolog(s, arguments)?.json()?;
    Ok(rows[0].clone())
}

fn wait_for(s: &Sandbox, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
    procedures::wait_for(|| autolog(s, &[]), is_so)
}

fn wait_for_event(s: &Sandbox, what: &str) -> Result<Value> {
    wait_for(s, |row| done(row).iter().any(|known| known == what))
}

/// Kills FTPD, which is process `pid`, and waits until nothing is in its cgroup.
fn kill_server(s: &Sandbox, pid: u32) -> Result<()> {
    kill(Pid::from_raw(pid.try_into()?), Signal::SIGKILL)?;
    let is_empty = |_: &Value| {
        let events = fs::read_to_string(cgroup(s).join("cgroup.events"));
        events.is_ok_and(|events| events.contains("populated 0"))
    };
    wait_for(s, is_empty).map(drop)
}

/// The processes in FTPD's cgroup and below.
fn processes(s: &Sandbox) -> Result<Vec<i32>> {
    let text = fs::read_to_string(cgroup(s).join("cgroup.procs"))?;
    Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
}

fn status(pid: u32, field: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    Ok(line.context("no such field")?.trim().to_owned())
}

/// The process that starts `agent`'s commands.
fn starter(agent: &Agent<'_>) -> Result<Pid> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", agent.pid()))?;
    let mut children = children.split_whitespace();
    let is_it = |pid: &&str| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
        comm.is_ok_and(|comm| comm.trim_end() == "portreeve-start")
    };
    let found = children.find(is_it).context("there is none")?;
    Ok(Pid::from_raw(found.parse()?))
}

/// `ALG-01`, `ALG-13`: a cgroup of its own makes it the job, and nobody else.
fn a_command_is_started_and_is_its_job(s: &Sandbox) -> Result<()> {
    let agent = agent(s, &words(Origin::Bound(PORT))?)?;
    let server = Server::at(PORT)?;
    let own = format!("{}/procs/{NAME}", s.cgroup_name());
    ensure_eq!(server.cgroup, own, "where it runs");
    let row = wait_for(s, |row| row["now"]["missing"] == json!([]))?;
    ensure_eq!(row["kind"], "exec", "{row}");
    ensure_eq!(row["unit"], NAME, "{row}");
    ensure_eq!(row["now"]["phase"], "running", "{row}");
    ensure_eq!(row["now"]["active"], true, "{row}");
    // Who calls himself so is refused, told and counted.
    let liar = Binder::attempt(&s.caller("ftpd"), &tcp(PORT))?;
    ensure_eq!(liar, Err(refusal()), "who calls himself so");
    let events = agent.events()?;
    let told = |verdict: &str| {
        let mut events = events.iter();
        events.find(|event| event["verdict"] == verdict).cloned()
    };
    let refused = told("deny").context("no event of the refusal")?;
    ensure_eq!(
        (&refused["reason"], &refused["port"]),
        (&json!("other-job"), &json!(PORT)),
        "{refused}"
    );
    let allowed = told("allow").context("no event of the bind")?;
    ensure_eq!(allowed["pid"], json!(server.pid), "{allowed}");
    let counters = CounterMap::open(&map_set(s)?)?;
    ensure_eq!(counters.of(Reason::OtherJob)?, 1, "refusals counted");
    ensure_eq!(counters.of(Reason::Permitted)?, 1, "permits counted");
    // Ended by an operator it leaves nothing, and can be started again.
    let row = autolog(s, &["stop", "FTPD"])?;
    ensure_eq!(row["now"]["phase"], "stopped", "{row}");
    ensure!(!cgroup(s).exists(), "its cgroup is there still");
    autolog(s, &["start", "FTPD"])?;
    ensure!(Server::at(PORT)?.pid != server.pid, "it is the same");
    Ok(())
}

/// Neither the agent's filter of system calls and its lack of privileges, nor what the
/// agent was started with.
fn a_command_inherits_nothing(s: &Sandbox) -> Result<()> {
    needs_no_systemd()?;
    s.set_policy_with(&profile(), LOUD, &config(s, &words(Origin::Bound(PORT))?)?)?;
    let leak = fs::File::open("/proc/self/status")?;
    nix::fcntl::fcntl(
        &leak,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )?;
    let agent = s.agent_again()?.start()?;
    let pid = Server::at(PORT)?.pid;
    let own = std::process::id();
    ensure_eq!(
        status(pid, "CapEff:")?,
        status(own, "CapBnd:")?,
        "capabilities"
    );
    for (field, value) in [
        ("Seccomp:", "0"),
        ("NoNewPrivs:", "0"),
        ("SigBlk:", "0000000000000000"),
        ("Umask:", "0022"),
    ] {
        ensure_eq!(status(pid, field)?, value, "{field}");
    }
    // The server's own library ignores SIGPIPE; two signals nobody but the C library can set.
    let ignored = u64::from_str_radix(&status(pid, "SigIgn:")?, 16)? & !(0b11 << 31);
    ensure_eq!(ignored, 1 << 12, "signals ignored");
    ensure_eq!(
        fs::read_link(format!("/proc/{pid}/cwd"))?,
        Path::new("/"),
        "cwd"
    );
    let environment = fs::read_to_string(format!("/proc/{pid}/environ"))?;
    ensure!(
        environment.starts_with("PATH=") && environment.matches('\0').count() == 1,
        "{environment:?}"
    );
    let (mut open, mut sockets) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = fs::read_link(entry?.path())?;
        match target.to_string_lossy().starts_with("socket:") {
            true => sockets.push(target),
            false => open.push(target.display().to_string()),
        }
    }
    ensure_eq!(open, ["/dev/null"; 3], "what is open");
    let starter = starter(&agent)?;
    for end in [0, 1] {
        let socket = fs::read_link(format!("/proc/{starter}/fd/{end}"))?;
        ensure!(!sockets.contains(&socket), "{}", socket.display());
    }
    let session = nix::unistd::getsid(Some(Pid::from_raw(pid.try_into()?)))?;
    ensure_eq!(session.as_raw(), i32::try_from(pid)?, "its session");
    Ok(())
}

/// Five seconds after SIGTERM, whatever session it is in; its cgroup goes too.
fn what_ignores_sigterm_is_killed_with_all_it_forked(s: &Sandbox) -> Result<()> {
    let stubborn = "trap '' TERM; setsid sleep 1000 & (sleep 1000 & sleep 1000) & \
                    while :; do sleep 1; done";
    let _agent = agent(s, &script(stubborn))?;
    wait_for_event(s, "start")?;
    let deadline = Instant::now() + patience();
    while processes(s).map_or(0, |found| found.len()) < 5 {
        ensure!(Instant::now() < deadline, "it doesn't fork");
        thread::sleep(Duration::from_millis(20));
    }
    let there = processes(s)?;
    let row = autolog(s, &["stop", "FTPD"])?;
    ensure_eq!(row["now"]["phase"], "stopped", "{row}");
    ensure!(!cgroup(s).exists(), "its cgroup is there still");
    for pid in there {
        // Who is nobody's child any more is reaped by the first process, when it gets to it.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        ensure!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
    Ok(())
}

fn what_can_t_be_run_is_told(s: &Sandbox) -> Result<()> {
    let agent = agent(s, &["/nonexistent/ftpd", "secret"])?;
    let row = wait_for_event(s, "failed")?;
    let failed = history(&row).into_iter().find(|(what, _)| what == "failed");
    let (_, text) = failed.context("no such event")?;
    ensure!(
        text.contains("did not come up") && text.contains("No such file"),
        "{text}"
    );
    ensure!(!agent.log().contains("secret"), "{}", agent.log());
    agent.terminate()?;
    ensure!(!cgroup(s).exists(), "its cgroup is there");
    // One that ends at once is another thing.
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    s.set_policy_with(&profile(), LOUD, &config(s, &["/bin/true"])?)?;
    let _agent = s.agent_again()?.start()?;
    let row = wait_for_event(s, "news")?;
    ensure!(row.to_string().contains("right after its start"), "{row}");
    Ok(())
}

/// `ALG-16`, `ALG-17`.
fn what_ends_is_started_by_a_pass(s: &Sandbox) -> Result<()> {
    let _agent = agent(s, &words(Origin::Bound(PORT))?)?;
    let before = Server::at(PORT)?.pid;
    kill_server(s, before)?;
    let row = autolog(s, &["pass"])?;
    ensure!(Server::at(PORT)?.pid != before, "it is the same");
    let started = done(&row).iter().filter(|what| *what == "start").count();
    ensure_eq!(started, 2, "{row}");
    Ok(())
}

/// Whether the agent ends or is killed; the next one knows them again.
fn commands_outlive_the_agent(s: &Sandbox) -> Result<()> {
    let first = agent(s, &words(Origin::Bound(PORT))?)?;
    let before = Server::at(PORT)?.pid;
    let starter_of_first = starter(&first)?;
    first.terminate()?;
    let gone = || !Path::new(&format!("/proc/{starter_of_first}")).exists();
    let deadline = Instant::now() + patience();
    while !gone() {
        ensure!(Instant::now() < deadline, "its starter goes on");
        thread::sleep(Duration::from_millis(20));
    }
    let second = s.agent_again()?.start()?;
    let row = wait_for_event(s, "news")?;
    ensure!(row.to_string().contains("let alone"), "{row}");
    second.kill()?;
    let _third = s.agent_again()?.start()?;
    wait_for_event(s, "news")?;
    ensure_eq!(Server::at(PORT)?.pid, before, "who serves");
    // Started by the first one, ended by the third.
    let row = autolog(s, &["stop", "FTPD"])?;
    ensure_eq!(row["now"]["phase"], "stopped", "{row}");
    ensure!(!cgroup(s).exists(), "its cgroup is there still");
    Ok(())
}

fn without_its_starter_nothing_is_promised(s: &Sandbox) -> Result<()> {
    let agent = agent(s, &words(Origin::Bound(PORT))?)?;
    let before = Server::at(PORT)?.pid;
    kill(starter(&agent)?, Signal::SIGKILL)?;
    kill_server(s, before)?;
    agent.wait_for_log(&["error: the process that starts commands has ended"])?;
    let missing = agent.status()?["missing"].to_string();
    ensure!(missing.contains("autolog: the process"), "{missing}");
    let row = autolog(s, &["pass"])?;
    let failed = history(&row).into_iter().find(|(what, _)| what == "failed");
    let (_, text) = failed.with_context(|| row.to_string())?;
    ensure!(text.contains("start the agent again"), "{text}");
    // Enforcement has nothing to do with it.
    let other = Binder::attempt(&s.caller("other"), &tcp(PORT))?;
    ensure_eq!(other, Err(refusal()), "another job");
    agent.terminate()?;
    let _next = s.agent_again()?.start()?;
    Server::at(PORT)?;
    Ok(())
}

/// It has given up what that takes: the change is refused whole, and said why.
fn an_agent_that_began_without_commands_takes_none(s: &Sandbox) -> Result<()> {
    needs_no_systemd()?;
    s.set_policy_with(&format!("PORT\n {PORT} TCP OTHER\n"), LOUD, "")?;
    let agent = s.agent_again()?.start()?;
    ensure!(starter(&agent).is_err(), "nobody asked for one");
    let config = config(s, &words(Origin::Bound(PORT))?)?;
    s.set_policy_with(&profile(), LOUD, &config)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 1, "{answer}");
    ensure!(answer.to_string().contains("PRV343"), "{answer}");
    ensure!(
        Binder::attempt(&s.caller("other"), &tcp(PORT))?.is_ok(),
        "the policy before"
    );
    agent.terminate()?;
    let _next = s.agent_again()?.start()?;
    Server::at(PORT)?;
    Ok(())
}

/// Under the policy in the sandbox's files.
fn no_agent_starts(s: &Sandbox) -> Result<()> {
    let ended = s.agent_again()?.finish()?;
    ensure!(ended.code != Some(0), "{ended:?}");
    ensure!(ended.stderr.contains("PRV343"), "{ended:?}");
    Ok(())
}

fn units_need_systemd(s: &Sandbox) -> Result<()> {
    needs_no_systemd()?;
    let unit = "[procs.FTPD]\nunit = \"vsftpd.service\"\n";
    s.set_policy_with(&profile(), LOUD, unit)?;
    no_agent_starts(s)?;
    // Who calls the process that starts commands himself gets nobody's rights by that.
    let mut called = Command::new(host::agent()?);
    let called = called
        .arg0("portreeve-starter")
        .stdin(Stdio::null())
        .status()?;
    ensure!(!called.success(), "{called}");
    Ok(())
}

/// A cgroup beside the one that the agent is attached to.
fn what_would_not_be_enforced_on_is_not_started(s: &Sandbox) -> Result<()> {
    needs_no_systemd()?;
    let beside = config(s, &words(Origin::Bound(PORT))?)?.replace("/procs", "-beside/procs");
    s.set_policy_with(&profile(), LOUD, &beside)?;
    no_agent_starts(s)?;
    // Unless one is named, they have theirs below.
    let below = config(s, &words(Origin::Bound(PORT))?)?;
    let below = below.lines().filter(|line| !line.starts_with("slice"));
    let below: Vec<&str> = below.collect();
    s.set_policy_with(&profile(), LOUD, &below.join("\n"))?;
    let _agent = s.agent_again()?.start()?;
    let own = format!("{}/portreeve.slice/{NAME}", s.cgroup_name());
    ensure_eq!(Server::at(PORT)?.cgroup, own, "where it runs");
    Ok(())
}
