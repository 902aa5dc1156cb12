//! How events get out: the recent ones, new ones as they come, and those that no
//! agent was there for.

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{errno::Errno, sys::signal::Signal};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Caller, NOBODY, Sandbox, Settings, Want, host, pace::patience, refusal, tcp,
    },
    tests,
};

tests![
    new_events_are_followed,
    followers_end_with_the_agent,
    only_the_recent_ones_are_kept,
    what_happened_without_an_agent_is_told_by_the_next,
    names_can_not_break_the_report,
    what_went_with_a_bind_is_told,
    the_job_is_told_as_far_as_it_can_be,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n";

/// A running `portreeve events --follow`.
struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn start(s: &Sandbox) -> Result<Self> {
        let mut child = Command::new(host::agent()?)
            .env_clear()
            .args(["events", "--follow", "--format", "json"])
            .args(s.places())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().context("no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines })
    }

    fn event(&self) -> Result<Value> {
        let line = self
            .lines
            .recv_timeout(patience())
            .context("no event came")?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refuse(s: &Sandbox, times: usize) -> Result<Binder> {
    let wants: Vec<Want> = (0..times).map(|_| tcp(4321)).collect();
    let binder = Binder::start(&s.caller("wrong"), &wants)?;
    let refused = |result: &Result<(), Errno>| *result == Err(refusal());
    ensure!(binder.results.iter().all(refused), "not all were refused");
    Ok(binder)
}

/// Waits until the agent keeps `count` events.
fn kept(agent: &Agent<'_>, count: usize) -> Result<Vec<Value>> {
    let deadline = Instant::now() + patience();
    loop {
        let events = agent.events()?;
        if events.len() >= count {
            return Ok(events);
        }
        ensure!(Instant::now() < deadline, "only {} events", events.len());
        thread::sleep(Duration::from_millis(5));
    }
}

/// `--follow` begins with the recent events and goes on with new ones, to everybody
/// who asks.
fn new_events_are_followed(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let first = refuse(s, 1)?;
    kept(&agent, 1)?;
    let followers = [Follower::start(s)?, Follower::start(s)?];
    for follower in &followers {
        ensure_eq!(follower.event()?["pid"], first.pid, "the recent one");
    }
    for _ in 0..3 {
        let binder = refuse(s, 2)?;
        for follower in &followers {
            ensure_eq!(follower.event()?["pid"], binder.pid, "a new one");
            ensure_eq!(follower.event()?["pid"], binder.pid, "a new one");
        }
    }
    ensure_eq!(agent.events()?.len(), 7, "events kept");
    Ok(())
}

/// An agent that ends, or is killed, leaves no client hanging.
fn followers_end_with_the_agent(s: &Sandbox) -> Result<()> {
    for kill in [false, true] {
        let agent = s.agent(PROFILE, QUIET)?.start()?;
        let mut follower = Follower::start(s)?;
        let binder = refuse(s, 1)?;
        ensure_eq!(follower.event()?["pid"], binder.pid, "an event");
        if kill {
            agent.kill()?;
        } else {
            ensure!(agent.terminate()?.success(), "not a proper end");
        }
        let deadline = Instant::now() + patience();
        while follower.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "the follower hangs");
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

/// Of thousands the last thousand are kept, and none is lost on the way. Somebody
/// else's is not driven out by them.
fn only_the_recent_ones_are_kept(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET.report_all())?.start()?;
    let refused = refuse(s, 1)?;
    let many = |times| {
        let wants: Vec<Want> = (0..times).map(|_| tcp(4321)).collect();
        Binder::start(&s.caller("right"), &wants)
    };
    let early = many(500)?;
    ensure_eq!(kept(&agent, 501)?.len(), 501, "events kept");
    let late = many(900)?;
    let deadline = Instant::now() + patience();
    let of = |events: &[Value], pid: u32| events.iter().filter(|event| event["pid"] == pid).count();
    let mut events = agent.events()?;
    while of(&events, late.pid) < 900 {
        ensure!(Instant::now() < deadline, "late ones don't come");
        events = agent.events()?;
    }
    ensure_eq!(events.len(), 1000, "events kept");
    ensure_eq!(of(&events, early.pid), 99, "early ones");
    ensure_eq!(of(&events, refused.pid), 1, "somebody else's");
    let status = agent.status()?;
    ensure_eq!(status["counters"]["permitted"], 1400, "counter");
    let none = json!({"lost": 0, "suppressed": 0, "reports_lost": 0});
    ensure_eq!(status["events"], none, "events");
    Ok(())
}

/// The ring outlives the agent. The next one knows the line, and that it can't tell
/// more of a policy it has not read.
fn what_happened_without_an_agent_is_told_by_the_next(s: &Sandbox) -> Result<()> {
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    let binder = refuse(s, 3)?;
    s.set_policy("; moved\n\nPORT\n 4321 TCP RIGHT\n", QUIET)?;
    let agent = s.agent_again()?.start()?;
    let events = kept(&agent, 3)?;
    ensure_eq!(events.len(), 3, "events");
    for event in &events {
        ensure_eq!(event["pid"], binder.pid, "{event}");
        ensure_eq!(event["generation"], 1, "{event}");
        let entry = json!({"file": null, "line": 2, "text": null});
        ensure_eq!(event["entry"], entry, "{event}");
    }
    Ok(())
}

/// A process may call itself anything; one event stays one line, without orders to
/// the terminal.
fn names_can_not_break_the_report(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.arg("--print-events").start()?;
    let names = [
        "\u{1b}[2J\u{7}",
        "a\nb\rc",
        "\u{9b}31m",
        "\u{202e}gnp",
        "{\"a\":\"b\"}",
    ];
    for name in names {
        let result = Binder::attempt(&s.caller(name), &tcp(4321))?;
        ensure_eq!(result, Err(refusal()), "{name:?}");
    }
    let events = kept(&agent, names.len())?;
    for (event, name) in events.iter().zip(names) {
        ensure_eq!(event["comm"], name, "{event}");
    }
    let text = s.portreeve(&["events"])?.ended_with(0)?.stdout;
    let printed = agent.stdout().split_off(1).join("\n");
    for text in [text.trim_end(), &printed] {
        ensure_eq!(text.lines().count(), names.len(), "lines of {text:?}");
        let harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        ensure!(text.chars().all(harmless), "{text:?}");
    }
    Ok(())
}

/// The event of a bind by `caller`, who is there when it is taken in.
fn told(agent: &Agent<'_>, caller: &Caller, want: Want) -> Result<Value> {
    let binder = Binder::start(caller, &[want])?;
    let deadline = Instant::now() + patience();
    loop {
        let mut events = agent.events()?.into_iter();
        if let Some(event) = events.find(|event| event["pid"] == binder.pid) {
            return Ok(event);
        }
        ensure!(Instant::now() < deadline, "no event of {caller:?}");
    }
}

fn ensure_fields(event: &Value, expected: &Value) -> Result<()> {
    for (field, value) in expected.as_object().context("no fields")? {
        ensure_eq!(event[field], *value, "{field} of {event}");
    }
    Ok(())
}

/// `SAF-12`: grant, address, sharing and errno are told with the verdict; of a
/// refusal by SAF user, job and the entry that names the resource.
fn what_went_with_a_bind_is_told(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 21 TCP RIGHT\n 4322 TCP RIGHT BIND 127.0.0.1\n \
        4323 TCP RIGHT SHAREPORT\n 4325 TCP RIGHT SAF PORT1\n";
    let agent = s.agent(profile, QUIET.report_all().grant_any())?.start()?;
    let right = s.caller("right");
    let user = right.clone().user(NOBODY);
    let none = json!({"granted": false, "rewritten": null, "sharing": null, "errno": null});
    let any = |port| tcp(port).on(Ipv4Addr::UNSPECIFIED);

    let granted = told(&agent, &user, tcp(21))?;
    ensure_fields(&granted, &json!({"granted": true, "rewritten": null}))?;
    let kept = told(&agent, &right, tcp(4322))?;
    ensure_fields(&kept, &none)?;
    let rewritten = told(&agent, &right, any(4322))?;
    let change = json!({"from": "0.0.0.0", "to": "127.0.0.1"});
    let expected = json!({"address": "0.0.0.0", "rewritten": change, "verdict": "allow"});
    ensure_fields(&rewritten, &expected)?;
    let refused = told(&agent, &right, any(4322).without_family())?;
    let expected = json!({"errno": "EAFNOSUPPORT", "reason": "address-family", "rewritten": null});
    ensure_fields(&refused, &expected)?;
    let shared = told(&agent, &right, tcp(4323))?;
    ensure_fields(&shared, &json!({"sharing": "switched-on"}))?;
    let refused = told(&agent, &user, tcp(4325))?;
    let entry = json!({
        "file": s.profile(), "line": 5, "text": "4325 TCP RIGHT SAF PORT1",
    });
    let expected = json!({
        "errno": format!("{:?}", refusal()), "reason": "no-permit", "uid": NOBODY, "job": "RIGHT", "entry": entry,
    });
    ensure_fields(&refused, &expected)?;
    let text = s.portreeve(&["events"])?.ended_with(0)?.stdout;
    for part in [
        "granted tcp/21 to right",
        "address 127.0.0.1 in the place of 0.0.0.0",
        "SO_REUSEPORT switched on",
    ] {
        ensure!(text.contains(part), "no {part:?} in {text}");
    }
    Ok(())
}

/// A defined job is told by its name, also when the process has ended; a process that
/// only calls itself so is no job.
fn the_job_is_told_as_far_as_it_can_be(s: &Sandbox) -> Result<()> {
    let (own, server) = (s.cgroup_name(), s.cgroup_below("server")?);
    let exe = env::current_exe()?;
    let config = format!(
        "[jobs.SERVER]\ncgroup = '{own}/server'\n\
         [jobs.TOOL]\nexe = '{}'\ncomm = 'tool'\n",
        exe.display()
    );
    let start = s.agent("PORT\n 4321 TCP RESERVED\n", QUIET)?;
    s.write("portreeve.toml", config)?;
    let agent = start.start()?;
    let worker = s.caller("worker").cgroup(&server);
    let tool = s.caller("tool");
    for (caller, job) in [
        (&worker, json!("SERVER")),
        (&tool, json!("TOOL")),
        (&tool.clone().cgroup(&server), json!("SERVER TOOL")),
        (&s.caller("worker"), json!("WORKER")),
        (&s.caller("server"), Value::Null),
        (&s.caller("kernel"), Value::Null),
    ] {
        let event = told(&agent, caller, tcp(4321))?;
        ensure_fields(&event, &json!({"job": job, "kernel": false}))?;
    }
    // The cgroup stays when its process has ended, the executable doesn't. Stopped,
    // the agent can't be faster.
    agent.stop()?;
    for caller in [&worker, &tool] {
        let result = Binder::attempt(caller, &tcp(4321))?;
        ensure_eq!(result, Err(refusal()), "{caller:?}");
    }
    agent.signal(Signal::SIGCONT)?;
    let events = kept(&agent, 8)?;
    ensure_fields(
        &events[6],
        &json!({"job": "SERVER", "cgroup": format!("{own}/server")}),
    )?;
    ensure_fields(
        &events[7],
        &json!({"job": null, "comm": "tool", "cgroup": own}),
    )
}
