//! The filter of system calls against what an agent really does: what it makes is let
//! through, and what is let through it makes, or there is a reason in writing.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::{libc, sys::signal::Signal};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, NOBODY, Need, Sandbox, Settings, host, http, refusal,
        strace::{Calls, Trace},
        tcp,
    },
    tests,
};

// The product's own list, as the tests link nothing else of it.
#[path = "../../../agent/src/kernel/privileges/groups.rs"]
#[expect(dead_code, reason = "the filter has what else is in there")]
mod groups;

tests![what_is_made_is_listed_and_what_is_listed_is_made];

const SETTINGS: Settings = Settings::DEFAULT
    .accepting_listen()
    .everywhere()
    .report_all();
const PORT: u16 = 9464;

/// The profile in which `job` has port 4321.
fn profile(job: &str) -> String {
    format!(
        "PORT\n 4321 TCP {job}\n 4322 TCP RESERVED\n 4323 TCP SRV\n {PORT} TCP PORTREEVE\n \
         UNRSV TCP * DENY\n"
    )
}

/// Calls that are let through with some arguments only.
const WITH_ARGUMENTS: [libc::c_long; 3] = [libc::SYS_clone, libc::SYS_setns, libc::SYS_socket];

fn numbers(groups: &[groups::Group]) -> BTreeSet<libc::c_long> {
    groups
        .iter()
        .flat_map(|group| group.calls)
        .copied()
        .collect()
}

/// Everything that an agent does, in two lives.
fn what_is_made_is_listed_and_what_is_listed_is_made(s: &Sandbox) -> Result<()> {
    let places = Places::new(s)?;
    let first = first_life(s, &places)?;
    let second = second_life(s, &places)?;
    let mut made = first.made;
    made.extend(second.made);

    let used: BTreeSet<_> = numbers(groups::USED)
        .into_iter()
        .chain(WITH_ARGUMENTS)
        .collect();
    let otherwise = numbers(groups::OTHERWISE);
    let twice: Vec<_> = used.intersection(&otherwise).collect();
    ensure!(twice.is_empty(), "listed twice: {twice:?}");
    // The C library is told that there is none, and takes clone.
    made.remove(&libc::SYS_clone3);
    let unlisted: Vec<_> = made
        .iter()
        .filter(|(number, _)| !used.contains(number) && !otherwise.contains(number))
        .collect();
    ensure!(unlisted.is_empty(), "made, and not listed: {unlisted:?}");
    // By arguments that the filter doesn't know. Others are refused by the kernel itself, as
    // asking for all programs is, without CAP_SYS_ADMIN.
    let denied: Vec<_> = first.denied.union(&second.denied).collect();
    let by_arguments = |name: &&&String| ["clone", "setns", "socket"].contains(&name.as_str());
    let denied: Vec<_> = denied.iter().filter(by_arguments).collect();
    ensure!(denied.is_empty(), "denied: {denied:?}");
    // Elsewhere, some of them are others.
    if cfg!(target_arch = "x86_64") {
        // Where a listen can be refused, no listener has to be looked for elsewhere.
        let is_moot = |call| call == libc::SYS_setns && can_refuse_listen();
        let idle: Vec<_> = used
            .iter()
            .filter(|call| !made.contains_key(call) && !is_moot(**call))
            .collect();
        ensure!(
            idle.is_empty(),
            "listed as used, and never made, by number: {idle:?}"
        );
    }
    Ok(())
}

fn can_refuse_listen() -> bool {
    Need::BpfLsm.check().is_ok()
}

/// What an agent finds in the place of `/run` and `/dev`, the program of a job, and where
/// traces are.
struct Places {
    run: PathBuf,
    devices: PathBuf,
    program: PathBuf,
    traces: PathBuf,
}

impl Places {
    fn new(s: &Sandbox) -> Result<Self> {
        let places = Self {
            run: s.dir.join("run"),
            devices: s.dir.join("dev"),
            program: s.dir.join("bin/server"),
            traces: s.dir.join("traces"),
        };
        fs::create_dir_all(places.run.join("systemd/journal"))?;
        for folder in [&places.devices, &places.traces, &s.dir.join("bin")] {
            fs::create_dir(folder)?;
        }
        fs::write(places.devices.join("null"), "")?;
        places.install_program()?;
        Ok(places)
    }

    fn journal(&self) -> Result<UnixDatagram> {
        let socket = self.run.join("systemd/journal/socket");
        let _ = fs::remove_file(&socket);
        Ok(UnixDatagram::bind(socket)?)
    }

    fn syslog(&self) -> Result<UnixDatagram> {
        let socket = self.devices.join("log");
        let _ = fs::remove_file(&socket);
        Ok(UnixDatagram::bind(socket)?)
    }

    fn install_program(&self) -> Result<()> {
        let new = self.program.with_extension("new");
        let copied = Command::new("cp").arg("/bin/true").arg(&new).status()?;
        ensure!(copied.success(), "no copy at {}", new.display());
        Ok(fs::rename(&new, &self.program)?)
    }

    /// An agent that is traced into `file`.
    fn start<'s>(&self, s: &'s Sandbox, file: &str) -> Result<(Agent<'s>, Trace)> {
        let mut start = s.agent_again()?;
        start.launch.replaced = vec![
            (self.run.clone(), "/run".into()),
            (self.devices.clone(), "/dev".into()),
        ];
        // Not where files are watched: each line would be news.
        let trace = Trace::of(&mut start, self.traces.join(file))?;
        Ok((start.start()?, trace))
    }
}

/// From the first start to the end that a signal asks for.
fn first_life(s: &Sandbox, places: &Places) -> Result<Calls> {
    let more = format!(
        "[reload]\nwatch = true\n[metrics]\n[log]\nto = [\"journald\", \"syslog\", \"stderr\"]\n\
         file = \"events.jsonl\"\n[jobs.SRV]\nexe = {:?}\n",
        places.program
    );
    s.set_policy_with(&profile("right"), SETTINGS, &more)?;
    let journal = places.journal()?;
    let _syslog = places.syslog()?;
    let (agent, trace) = places.start(s, "first")?;

    // Binds, and who is told of them.
    let mut follower = Follower::start(s)?;
    let other = s.caller("wrong").user(NOBODY);
    ensure_eq!(Binder::attempt(&other, &tcp(4321))?, Err(refusal()), "bind");
    let right = Binder::start(&s.caller("right"), &[tcp(4321).listening()])?;
    let elsewhere = s.caller("web").elsewhere();
    let _listener = Binder::start(&elsewhere, &[tcp(5000).listening()])?;
    if !can_refuse_listen() {
        agent.wait_for_log(&["tcp/5000", "the listener was destroyed"])?;
    }
    follower.wait_for("4321")?;
    drop(follower);
    ensure_eq!(agent.events()?.is_empty(), false, "events");

    // Questions.
    agent.status()?;
    agent.ports()?;
    for verb in [
        &["explain", "tcp/4321", "--job", "X"][..],
        &["suggest"],
        &["top", "--once"],
    ] {
        s.portreeve(verb)?;
    }
    for page in [
        "/",
        "/metrics",
        "/healthz",
        "/readyz",
        "/api/status",
        "/api/map",
    ] {
        ensure_eq!(http::get(PORT, page)?.status, 200, "{page}");
    }
    for page in ["/api/register", "/api/refusals"] {
        ensure_eq!(http::get(PORT, page)?.status, 200, "{page}");
    }
    drop(right);

    // Changes: asked for, seen, taken back, refused.
    let change = s.write("change.tcpip", "PORT 4400 TCP NEW\n")?;
    ensure_eq!(agent.obey(&change, &[])?.0, 0, "obey");
    ensure_eq!(agent.reload(&["--dry-run"])?.0, 0, "dry run");
    ensure_eq!(agent.reload(&["--confirm", "1"])?.0, 0, "reload");
    agent.wait_for_log(&["not confirmed"])?;
    s.write("profile.tcpip", "PORT nonsense\n")?;
    ensure_eq!(agent.reload(&[])?.0, 1, "nonsense");
    // One that takes its time to be written.
    let mut file = File::create(s.profile())?;
    file.write_all(profile("two").as_bytes())?;
    ensure_eq!(agent.reload(&[])?.0, 1, "half a file");
    drop(file);
    agent.wait_for_log(&["reloaded", "1 added, 2 removed"])?;
    ensure_eq!(
        Binder::attempt(&s.caller("two"), &tcp(4321))?,
        Ok(()),
        "two"
    );
    places.install_program()?;
    agent.wait_for_log(&["server"])?;

    // The log goes elsewhere, and the journal away and back.
    fs::rename(s.dir.join("events.jsonl"), s.dir.join("events.jsonl.1"))?;
    agent.signal(Signal::SIGHUP)?;
    agent.wait_until("a new file", |agent| {
        agent.sandbox.dir.join("events.jsonl").exists()
    })?;
    drop(journal);
    ensure_eq!(Binder::attempt(&other, &tcp(4322))?, Err(refusal()), "bind");
    agent.wait_for_log(&["the journal can't be written"])?;
    let _journal = places.journal()?;
    agent.wait_for_log(&["the journal can be written again"])?;

    // What was watched isn't any more, or lies elsewhere.
    edit(s, "watch = true", "watch = false")?;
    edit(s, "bin/server", "other/server")?;
    ensure_eq!(agent.reload(&[])?.0, 0, "reload");
    agent.signal(Signal::SIGTERM)?;
    trace.finish(agent)
}

/// Writes the config with `new` in the place of `old`.
fn edit(s: &Sandbox, old: &str, new: &str) -> Result<()> {
    let config = fs::read_to_string(s.config())?;
    ensure!(config.contains(old), "no {old:?} in {config}");
    s.write("portreeve.toml", config.replace(old, new))
        .map(drop)
}

/// An agent that finds what the first left, and is detached.
fn second_life(s: &Sandbox, places: &Places) -> Result<Calls> {
    let (_journal, _syslog) = (places.journal()?, places.syslog()?);
    let (agent, trace) = places.start(s, "second")?;
    ensure!(agent.ready().contains("taken over"), "{}", agent.ready());
    edit(s, "watch = false", "watch = true")?;
    edit(
        s,
        "[metrics]",
        &format!("[metrics]\nlisten = \"unix:{}/metrics\"", s.dir.display()),
    )?;
    ensure_eq!(agent.reload(&[])?.0, 0, "reload");
    agent.wait_until("the socket", |agent| {
        agent.sandbox.dir.join("metrics").exists()
    })?;
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    trace.finish(agent)
}

/// A running `portreeve events --follow`; killed when dropped.
struct Follower(Child);

impl Follower {
    fn start(s: &Sandbox) -> Result<Self> {
        let mut command = Command::new(host::agent()?);
        command
            .env_clear()
            .args(["events", "--follow"])
            .args(s.places());
        command.stdin(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.stdout(Stdio::piped()).spawn()?))
    }

    /// Until a line has `text`.
    fn wait_for(&mut self, text: &str) -> Result<()> {
        let output = self.0.stdout.take().context("no output")?;
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        ensure!(lines.any(|line| line.contains(text)), "{text} never came");
        Ok(())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
