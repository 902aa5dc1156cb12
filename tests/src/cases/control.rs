//! The control socket under clients that are of another version, silent, slow, too many,
//! or all at once.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Case, Sandbox, Settings, control,
        expect::expect,
        pace::{limit, patience},
        tcp,
    },
    tests,
};

tests![
    an_agent_of_another_version,
    a_client_of_another_version,
    a_thousand_silent_clients,
    slow_clients,
    clients_that_read_no_answer,
    followers_have_a_limit_of_their_own,
    without_descriptors_it_goes_on,
    one_change_at_a_time,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n";
const ENTRY: &str = "4321 TCP RIGHT";
/// The version of this workspace, agent and tests.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What an operator may ask at any time: each is answered at once, and the policy is in
/// force.
fn serves(agent: &Agent<'_>) -> Result<()> {
    let s = agent.sandbox;
    for verb in [
        &["status"][..],
        &["events"],
        &["ports", "tcp/4321"],
        &["reload"],
        &["explain", "tcp/4321", "--job", "RIGHT"],
    ] {
        let asked = Instant::now();
        s.portreeve(verb)?
            .ended_with(0)
            .with_context(|| verb[0].to_owned())?;
        let waited = asked.elapsed();
        ensure!(waited < limit(3), "{verb:?} took {waited:?}");
    }
    let wrong = Case::other_job(&s.caller("wrong"), tcp(4321), ENTRY);
    expect(agent, PROFILE, QUIET, &[wrong])
}

fn connect(s: &Sandbox) -> Result<UnixStream> {
    let stream = UnixStream::connect(&s.socket).context("no agent answers")?;
    stream.set_read_timeout(Some(patience()))?;
    Ok(stream)
}

/// So many connections at once are more than a process may have by default.
fn raise_descriptors() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Every verb says in one sentence who is who and what to do, and nothing else happens.
fn an_agent_of_another_version(s: &Sandbox) -> Result<()> {
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    let file = s.write("change.tcpip", "PORT\n 4322 TCP RIGHT\n")?;
    let file = file.display().to_string();
    let _ = std::fs::remove_file(&s.socket);
    let listener = UnixListener::bind(&s.socket)?;
    let newer = r#"{"protocol":77,"version":"9.9.9","granted":{"who":"knows"}}"#;
    let before = r#"{"failed":"this agent does not understand the request: missing field `verb`"}"#;
    for (answer, words) in [
        (
            newer,
            &["portreeve 9.9.9 (protocol 77)", "use the portreeve that"][..],
        ),
        (
            before,
            &["before there were protocol numbers", "restart the agent"],
        ),
    ] {
        for verb in [
            &["status"][..],
            &["ports"],
            &["events"],
            &["events", "--follow"],
            &["reload"],
            &["obey", &file],
            &["confirm"],
            &["suggest"],
            &["explain", "tcp/4321", "--job", "RIGHT"],
            &["detach", "--yes"],
        ] {
            let listener = listener.try_clone()?;
            let fake = thread::spawn(move || -> Result<String> {
                let (stream, _) = listener.accept()?;
                let mut request = String::new();
                BufReader::new(&stream).read_line(&mut request)?;
                (&stream).write_all(answer.as_bytes())?;
                (&stream).write_all(b"\n")?;
                Ok(request)
            });
            let finished = s.portreeve(verb)?.ended_with(2)?;
            let asked = fake.join().map_err(|_| anyhow::anyhow!("panicked"))??;
            let asked: Value = serde_json::from_str(&asked)?;
            ensure_eq!(asked["protocol"], 1, "{asked}");
            ensure_eq!(asked["version"], VERSION, "{asked}");
            ensure_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
            let ours = format!("portreeve {VERSION} (protocol 1)");
            for word in words.iter().chain([&ours.as_str()]) {
                ensure!(
                    finished.stderr.contains(word),
                    "no {word:?} in {finished:?}"
                );
            }
            // What the kernel holds can be said all the same.
            ensure_eq!(
                finished.stdout.contains("enforce"),
                verb == ["status"],
                "{finished:?}"
            );
        }
    }
    drop(listener);
    ensure!(s.is_pinned(), "something was detached");
    Ok(())
}

/// It is told both numbers too, in an answer that it can read by what stays the same.
fn a_client_of_another_version(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    for (request, words) in [
        (
            json!({"protocol": 77, "version": "9.9.9", "order": ["detach"]}),
            &["portreeve 9.9.9 (protocol 77)", "restart the agent"][..],
        ),
        (
            json!({"verb": "detach"}),
            &[
                "before there were protocol numbers",
                "ask with the agent's version",
            ],
        ),
        (
            json!({"protocol": 77, "version": "\u{1b}[2J".repeat(1000), "request": {"verb": "detach"}}),
            &["(protocol 77)"],
        ),
    ] {
        let reply = control::raw(&s.socket, format!("{request}\n").as_bytes())?;
        let reply: Value = serde_json::from_str(&reply)?;
        ensure_eq!(reply["protocol"], 1, "{reply}");
        ensure_eq!(reply["version"], VERSION, "{reply}");
        let failed = reply["failed"].as_str().unwrap_or_default();
        let ours = format!("portreeve {VERSION} (protocol 1)");
        for word in words.iter().chain([&ours.as_str()]) {
            ensure!(failed.contains(word), "no {word:?} in {reply}");
        }
        ensure!(failed.len() < 1000 && !failed.contains('\u{1b}'), "{reply}");
    }
    serves(&agent)
}

/// They stay as long as they may, and nobody waits for them.
fn a_thousand_silent_clients(s: &Sandbox) -> Result<()> {
    raise_descriptors()?;
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let (memory, descriptors) = (agent.memory()?, agent.descriptors()?);
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(connect(s)?);
    }
    serves(&agent)?;
    let more = agent.descriptors()?.saturating_sub(descriptors);
    ensure!((100..400).contains(&more), "{more} descriptors more");
    let more = agent.memory()?.saturating_sub(memory) >> 20;
    ensure!(more < 50, "{more} MiB more");
    // The oldest was told why it was hung up on, the youngest may still ask.
    let mut told = String::new();
    silent[0].read_to_string(&mut told)?;
    ensure!(told.contains("too many clients that ask nothing"), "{told}");
    let youngest = silent.last_mut().context("none")?;
    youngest.write_all(&control::line(&json!({"verb": "status"})))?;
    let mut answer = String::new();
    BufReader::new(youngest).read_line(&mut answer)?;
    ensure!(answer.starts_with("{\"done\""), "{answer}");
    let warnings = agent.logged(&["too many clients"]);
    ensure_eq!(warnings, 1, "warnings");
    // New ones all the time.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| -> Result<u64> {
            let mut connected = 0;
            while !stop.load(Ordering::Relaxed) {
                silent.push(connect(s)?);
                if silent.len() > 2000 {
                    silent.drain(..1000);
                }
                connected += 1;
            }
            Ok(connected)
        });
        let served = serves(&agent);
        stop.store(true, Ordering::Relaxed);
        let connected = flood.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        ensure!(connected > 100, "only {connected} connections");
        served
    })?;
    drop(silent);
    serves(&agent)
}

/// A byte at a time, and never a whole request.
fn slow_clients(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let stop = AtomicBool::new(false);
    let mut slow = Vec::new();
    for _ in 0..250 {
        slow.push(connect(s)?);
    }
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for stream in &mut slow {
                    // Some have been hung up on by now.
                    let _ = stream.write_all(b"{");
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        let served = (0..3).try_for_each(|_| serves(&agent));
        stop.store(true, Ordering::Relaxed);
        writing.join().map_err(|_| anyhow::anyhow!("panicked"))?;
        served
    })
}

/// Each asks for megabytes and reads none of them: so many are kept, for so long, and no
/// more.
fn clients_that_read_no_answer(s: &Sandbox) -> Result<()> {
    raise_descriptors()?;
    let many: String = (0..8000u32)
        .map(|n| format!(" {} UDP RIGHT\n", 10_000 + n))
        .collect();
    let agent = s.agent(&format!("{PROFILE}{many}"), QUIET)?.start()?;
    let request = control::line(&json!({"verb": "ports"}));
    let answer = control::raw(&s.socket, &request)?;
    ensure!(
        answer.len() > 2 << 20,
        "an answer of {} bytes only",
        answer.len()
    );
    let (memory, descriptors) = (agent.memory()?, agent.descriptors()?);
    let mut deaf = Vec::new();
    for _ in 0..40 {
        let mut stream = connect(s)?;
        stream.write_all(&request)?;
        deaf.push(stream);
    }
    // Each of them is made an answer, whose first byte it takes, and then hung up on for
    // its size or its time.
    let mut most = 0;
    for stream in &mut deaf {
        stream.read_exact(&mut [0])?;
        most = most.max(agent.memory()?);
    }
    let deadline = Instant::now() + limit(60);
    loop {
        most = most.max(agent.memory()?);
        let left = agent.descriptors()?.saturating_sub(descriptors);
        if left < 10 {
            break;
        }
        ensure!(Instant::now() < deadline, "{left} are still waited for");
        thread::sleep(Duration::from_millis(20));
    }
    let more = most.saturating_sub(memory) >> 20;
    ensure!(more < 250, "{more} MiB more");
    let again = control::raw(&s.socket, &request)?;
    ensure_eq!(again.len(), answer.len(), "length of an answer");
    drop(deaf);
    agent.status().map(drop)
}

/// The one too many is told so, and nobody else minds.
fn followers_have_a_limit_of_their_own(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let follow = || -> Result<(Value, UnixStream)> {
        let mut stream = connect(s)?;
        stream.write_all(&control::line(&json!({"verb": "events", "follow": true})))?;
        let mut first = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut first)?;
        Ok((serde_json::from_str(&first)?, stream))
    };
    let mut followers = Vec::new();
    for _ in 0..32 {
        let (first, stream) = follow()?;
        ensure_eq!(
            first,
            json!({"done": null, "protocol": 1, "version": VERSION}),
            "begin"
        );
        followers.push(stream);
    }
    let (refused, _) = follow()?;
    let words = refused["failed"].as_str().unwrap_or_default();
    ensure!(words.contains("32 clients follow"), "{refused}");
    let finished = s.portreeve(&["events", "--follow"])?.ended_with(2)?;
    ensure!(
        finished.stderr.contains("32 clients follow"),
        "{finished:?}"
    );
    serves(&agent)?;
    // Everybody gets what happens.
    for stream in &followers {
        let mut line = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut line)?;
        ensure!(line.contains("\"other-job\""), "{line}");
    }
    followers.pop();
    let deadline = Instant::now() + limit(10);
    while follow()?.0["failed"].is_string() {
        ensure!(Instant::now() < deadline, "nobody else may follow");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Not one descriptor is left for those who connect: the agent neither ends nor spins,
/// makes room, and proves its mode, which takes descriptors.
fn without_descriptors_it_goes_on(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    agent.limit_descriptors(agent.descriptors()? + 20)?;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(connect(s)?);
    }
    let deadline = Instant::now() + limit(30);
    loop {
        let status = s.portreeve(&["status"])?;
        if status.code == Some(0) {
            break;
        }
        ensure!(Instant::now() < deadline, "{status:?}\n{}", agent.log());
    }
    let before = agent.processor_time()?;
    thread::sleep(Duration::from_secs(2));
    let used = agent.processor_time()? - before;
    ensure!(used < Duration::from_millis(500), "it used {used:?} of 2 s");
    ensure!(agent.logged(&["control socket: "]) <= 3, "{}", agent.log());
    serves(&agent)?;
    drop(silent);
    serves(&agent)
}

/// Ten at the same time are made one after the other: each on top of those before, none
/// lost, each with a number of its own.
fn one_change_at_a_time(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let obey = |number: u16| -> Result<u64> {
        let text = format!("PORT\n {} TCP RIGHT\n", 5000 + number);
        let file = s.write(&format!("{number}.tcpip"), text)?;
        let (code, done) = agent.obey(&file, &[])?;
        ensure_eq!(code, 0, "{done}");
        ensure_eq!(
            done["diff"]["added"].as_array().map(Vec::len),
            Some(1),
            "{done}"
        );
        done["generation"].as_u64().context("no number")
    };
    let numbers = thread::scope(|scope| {
        let all: Vec<_> = (0..10)
            .map(|number| scope.spawn(move || obey(number)))
            .collect();
        let numbers = all
            .into_iter()
            .map(|one| one.join().map_err(|_| anyhow::anyhow!("panicked"))?);
        numbers.collect::<Result<BTreeSet<u64>>>()
    })?;
    ensure_eq!(numbers, (2..12).collect(), "numbers");
    ensure_eq!(agent.ports()?.len(), 11, "entries in force");
    let wrong = s.caller("wrong");
    let v6 = tcp(5009).on(std::net::Ipv6Addr::LOCALHOST);
    for want in [tcp(4321), tcp(5000), v6] {
        let result = crate::harness::Binder::attempt(&wrong, &want)?;
        ensure_eq!(result, Err(crate::harness::refusal()), "{want}");
    }
    // Reloads with them: what was obeyed before one ends with it, and that is said.
    let dropped = thread::scope(|scope| {
        let reloads: Vec<_> = (0..5).map(|_| scope.spawn(|| agent.reload(&[]))).collect();
        let dropped = reloads.into_iter().map(|one| -> Result<usize> {
            let (code, done) = one.join().map_err(|_| anyhow::anyhow!("panicked"))??;
            ensure_eq!(code, 0, "{done}");
            Ok(done["dropped"].as_array().map_or(0, Vec::len))
        });
        dropped.collect::<Result<Vec<usize>>>()
    })?;
    ensure_eq!(
        dropped.iter().sum::<usize>(),
        10,
        "change files that ended: {dropped:?}"
    );
    ensure_eq!(agent.ports()?.len(), 1, "entries in force");
    serves(&agent)
}
