//! What others do to hooks, pins and tables while an agent runs: it sees that without
//! being asked, tells when it begins and when it ends, and mends what can be mended.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Case, Need, Sandbox, Settings, Spinner, Want,
        expect::expect,
        map_sets::map_set,
        neighbour::{Always, Neighbour, change_first},
        pace::limit,
        refusal,
        sabotage::{Exclusive, HOOKS, detach, disarm, usurp},
        tcp, udp,
    },
    tests,
};

tests![
    detached_hooks_are_attached_again,
    another_program_in_the_links,
    removed_pins_detach_nothing,
    something_else_in_the_place_of_a_pin,
    the_whole_directory_is_removed,
    pins_of_maps_are_put_back,
    what_cannot_be_mended_is_said_while_it_lasts,
    no_bind_is_counted_twice,
    a_program_behind_ours_comes_and_goes,
    written_maps_are_noticed,
    a_policy_that_is_switched_off_is_noticed,
    a_cgroup_that_is_gone_is_told,
    a_proof_that_fails_later,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n 4321 UDP RIGHT\n";
const TCP: &str = "4321 TCP RIGHT";
const UDP: &str = "4321 UDP RIGHT";

fn link(s: &Sandbox, hook: &str) -> PathBuf {
    s.bpffs.join("links").join(hook)
}

/// Both families and protocols: errno, event and counter of each.
fn enforces(agent: &Agent<'_>) -> Result<()> {
    let s = agent.sandbox;
    let (right, wrong) = (s.caller("right"), s.caller("wrong"));
    let v6 = |want: Want| want.on(std::net::Ipv6Addr::LOCALHOST);
    let cases = [
        Case::other_job(&wrong, tcp(4321), TCP),
        Case::other_job(&wrong, v6(tcp(4321)), TCP),
        Case::other_job(&wrong, udp(4321), UDP),
        Case::other_job(&wrong, v6(udp(4321)), UDP),
        Case::permitted(&right, tcp(4321), TCP),
        Case::unreserved(&wrong, tcp(4322)),
    ];
    expect(agent, PROFILE, QUIET, &cases)
}

fn wrong_bind(s: &Sandbox) -> Result<Result<(), nix::errno::Errno>> {
    Binder::attempt(&s.caller("wrong"), &tcp(4321))
}

/// What the status says of drift about `of`.
fn drift(status: &Value, of: &str) -> Result<Value> {
    let all = status["drift"].as_array().context("no field for drift")?;
    let one = all.iter().find(|one| one["of"] == of);
    one.cloned()
        .with_context(|| format!("none of {of}: {status}"))
}

/// The status, proven or not.
fn status(s: &Sandbox, code: i32) -> Result<Value> {
    let status = s.portreeve(&["status", "--format", "json"])?;
    status.ended_with(code)?.json()
}

/// Does something while the agent can't look.
fn unseen<T>(agent: &Agent<'_>, deed: impl FnOnce() -> Result<T>) -> Result<T> {
    agent.stop()?;
    let done = deed();
    agent.signal(Signal::SIGCONT)?;
    done
}

/// By force, all at once: until it is seen every bind goes through; then none does, and
/// the next agent takes over what was attached again.
fn detached_hooks_are_attached_again(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    enforces(&agent)?;
    for times in 1..=2 {
        unseen(&agent, || {
            for (hook, _) in HOOKS {
                detach(&link(s, hook))?;
            }
            ensure_eq!(wrong_bind(s)?, Ok(()), "without hooks");
            Ok(())
        })?;
        agent.wait_until("all hooks again", |agent| {
            agent.logged(&["somebody detached it; attached again"]) == 4 * times
        })?;
        ensure_eq!(wrong_bind(s)?, Err(refusal()), "with hooks again");
        enforces(&agent)?;
        let status = agent.status()?;
        for (hook, _) in HOOKS {
            let told = drift(&status, &format!("hook {hook}"))?;
            ensure_eq!(told["mended"], "attached again", "{told}");
            ensure_eq!(told["times"], times, "{told}");
            ensure!(told["until"].is_string(), "it lasts: {told}");
        }
        let text = s.portreeve(&["status"])?.ended_with(0)?.stdout;
        ensure!(text.contains("mended      at"), "{text}");
    }
    agent.kill()?;
    ensure_eq!(wrong_bind(s)?, Err(refusal()), "without an agent");
    let agent = s.agent_again()?.start()?;
    ensure!(agent.ready().contains("taken over"), "{}", agent.ready());
    enforces(&agent)?;
    ensure_eq!(agent.status()?["drift"], json!([]), "drift of a new agent");
    Ok(())
}

/// The links stay, but run what allows everything.
fn another_program_in_the_links(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    unseen(&agent, || {
        for (hook, number) in HOOKS {
            disarm(&link(s, hook), number)?;
        }
        ensure_eq!(wrong_bind(s)?, Ok(()), "with another program");
        Ok(())
    })?;
    agent.wait_until("our programs", |agent| {
        agent.logged(&["run another program; ours runs again"]) == 4
    })?;
    enforces(&agent)
}

/// The agent holds the links: not one bind gets through while they have no pins, and
/// they are the same ones when they have.
fn removed_pins_detach_nothing(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let mut wrong = Spinner::start(&s.caller("wrong"), &[tcp(4321)])?;
    for (hook, _) in HOOKS {
        fs::remove_file(link(s, hook))?;
    }
    wrong.wait_for(2000)?;
    agent.wait_until("the pins", |agent| {
        agent.logged(&["somebody removed its pin; pinned again"]) == 4
    })?;
    wrong.wait_for(2000)?;
    let tally = wrong.stop()?;
    ensure_eq!((tally.allowed, tally.other), (0, 0), "{tally:?}");
    let told = drift(&agent.status()?, "hook bind4")?;
    ensure_eq!(told["mended"], "pinned again", "{told}");
    agent.kill()?;
    ensure_eq!(wrong_bind(s)?, Err(refusal()), "without an agent");
    // What no look has seen yet is seen when the agent ends.
    let agent = s.agent_again()?.start()?;
    for (hook, _) in HOOKS {
        fs::remove_file(link(s, hook))?;
    }
    agent.terminate()?;
    ensure_eq!(wrong_bind(s)?, Err(refusal()), "without an agent");
    let agent = s.agent_again()?.start()?;
    enforces(&agent)
}

/// A link of somebody else where ours should be.
fn something_else_in_the_place_of_a_pin(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let neighbour = Neighbour::attach(&s.cgroup, Always::Allow)?;
    usurp(&link(s, "bind4"), &neighbour)?;
    drop(neighbour);
    agent.wait_for_log(&[
        "hook bind4",
        "something else in the place of its pin; pinned again",
    ])?;
    // What was pinned there and nowhere else is gone with its pin, some time later.
    let deadline = Instant::now() + limit(20);
    while agent.status()?["neighbours"] != json!([]) {
        ensure!(Instant::now() < deadline, "{}", agent.status()?);
        thread::sleep(Duration::from_millis(20));
    }
    enforces(&agent)?;
    agent.kill()?;
    let agent = s.agent_again()?.start()?;
    enforces(&agent)
}

/// Everything that is pinned, with the directory that the agents' lock is on: it is made
/// again, and locked.
fn the_whole_directory_is_removed(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    enforces(&agent)?;
    let counted = agent.status()?["counters"].clone();
    fs::remove_dir_all(&s.bpffs)?;
    ensure_eq!(wrong_bind(s)?, Err(refusal()), "without pins");
    agent.wait_for_log(&["directory", "somebody removed it; made again"])?;
    agent.wait_for_log(&["maps:", "SLOTS", "pinned again"])?;
    let other = s.dir.join("other.sock").display().to_string();
    let state = s.dir.join("other").display().to_string();
    let second = s.agent_again()?.option("--socket", &other);
    let second = second.option("--state", &state).finish()?.ended_with(1)?;
    let words = "another portreeve agent is running";
    ensure!(second.stderr.contains(words), "{second:?}");
    enforces(&agent)?;
    agent.kill()?;
    ensure_eq!(wrong_bind(s)?, Err(refusal()), "without an agent");
    let agent = s.agent_again()?.start()?;
    ensure!(agent.ready().contains("taken over"), "{}", agent.ready());
    let refused = |counters: &Value| counters["other-job"].as_u64();
    // One without pins, four on what was made again, and one without an agent.
    let expected = refused(&counted).map(|count| count + 6);
    ensure_eq!(refused(&agent.status()?["counters"]), expected, "counted");
    enforces(&agent)
}

/// A map without its pin would keep the next agent from taking over.
fn pins_of_maps_are_put_back(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    for map in ["INFO", "SLOTS", "EVENTS"] {
        fs::remove_file(map_set(s)?.join(map))?;
    }
    agent.wait_for_log(&["maps:", "the pins of INFO SLOTS EVENTS; pinned again"])?;
    let told = drift(&agent.status()?, "maps")?;
    ensure_eq!(told["mended"], "pinned again", "{told}");
    agent.kill()?;
    let agent = s.agent_again()?.start()?;
    ensure!(agent.ready().contains("taken over"), "{}", agent.ready());
    enforces(&agent)
}

/// Nothing can be attached beside a program that was attached the old way: that is told
/// once, however often it is looked at, and once when it is over.
fn what_cannot_be_mended_is_said_while_it_lasts(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let alone = unseen(&agent, || {
        detach(&link(s, "bind6"))?;
        Exclusive::attach(&s.cgroup, 9)
    })?;
    let begins = ["error: hook bind6: somebody detached it: "];
    agent.wait_for_log(&begins)?;
    agent.wait_for_log(&["error: the self-test failed", "bind6"])?;
    let first = status(s, 1)?;
    let told = drift(&first, "hook bind6")?;
    ensure_eq!(told["until"], Value::Null, "{told}");
    ensure_eq!(told["mended"], Value::Null, "{told}");
    ensure_eq!(first["selftest"]["ok"], false, "{first}");
    // Longer than from one look to the next.
    thread::sleep(Duration::from_secs(6));
    let second = status(s, 1)?;
    let lasts = |status: &Value| {
        let drift = drift(status, "hook bind6")?["since"].clone();
        Ok::<_, anyhow::Error>((drift, status["selftest"]["failing_since"].clone()))
    };
    ensure_eq!(lasts(&second)?, lasts(&first)?, "since when");
    ensure!(second["selftest"]["failing_since"].is_string(), "{second}");
    let text = s.portreeve(&["status"])?.ended_with(1)?.stdout;
    for word in ["DRIFT       since", "NOT PROVEN  since"] {
        ensure!(text.contains(word), "{text}");
    }
    ensure_eq!(agent.logged(&begins), 1, "times told");
    ensure_eq!(agent.logged(&["the self-test failed"]), 1, "times told");
    drop(alone);
    agent.wait_for_log(&["hook bind6: somebody detached it; attached again"])?;
    agent.wait_for_log(&["the self-test succeeds again"])?;
    let told = drift(&agent.status()?, "hook bind6")?;
    ensure_eq!(told["times"], 1, "{told}");
    enforces(&agent)
}

/// However often hooks are taken away and put back under load: each bind that was refused
/// was counted, and counted once.
fn no_bind_is_counted_twice(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let counted = || {
        let status = agent.status()?;
        status["counters"]["other-job"]
            .as_u64()
            .context("no counter")
    };
    let before = counted()?;
    let mut wrong = Spinner::start(&s.caller("wrong"), &[tcp(4321)])?;
    for round in 0..20 {
        for (hook, _) in HOOKS {
            match round % 3 {
                0 => detach(&link(s, hook))?,
                1 => fs::remove_file(link(s, hook))?,
                _ => {
                    detach(&link(s, hook))?;
                    fs::remove_file(link(s, hook))?;
                }
            }
        }
        wrong.wait_for(100)?;
        // It looks, and mends, before it answers.
        agent.status()?;
        wrong.wait_for(100)?;
    }
    let tally = wrong.stop()?;
    ensure_eq!(counted()? - before, tally.refused, "{tally:?}");
    ensure!(tally.refused > 2000 && tally.other == 0, "{tally:?}");
    ensure_eq!(wrong_bind(s)?, Err(refusal()), "in the end");
    Ok(())
}

/// One that runs after ours is named when it comes and when it goes; one that runs
/// before ours is not drift.
fn a_program_behind_ours_comes_and_goes(s: &Sandbox) -> Result<()> {
    Need::Errno.check()?;
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let behind = Neighbour::attach_undoing(&s.cgroup, true)?;
    let begins = ["error: program", "on post_bind4: it runs after ours"];
    agent.wait_for_log(&begins)?;
    let status = agent.status()?;
    let told = &status["drift"][0];
    ensure_eq!(told["until"], Value::Null, "{status}");
    ensure_eq!(status["neighbours"][0]["after_ours"], true, "{status}");
    thread::sleep(Duration::from_secs(6));
    ensure_eq!(agent.logged(&begins), 1, "times told");
    drop(behind);
    let ends = ["info: program", "on post_bind4: ended"];
    agent.wait_for_log(&ends)?;
    let status = agent.status()?;
    ensure!(status["drift"][0]["until"].is_string(), "{status}");
    ensure_eq!(status["neighbours"], json!([]), "{status}");
    // Ours is put behind it.
    let before = unseen(&agent, || {
        let before = Neighbour::attach(&s.cgroup, Always::Allow)?;
        detach(&link(s, "bind4"))?;
        Ok(before)
    })?;
    agent.wait_for_log(&["hook bind4", "attached again"])?;
    let status = agent.status()?;
    ensure_eq!(status["neighbours"][0]["after_ours"], false, "{status}");
    enforces(&agent)?;
    drop(before);
    Ok(())
}

/// The word that says what is in force, or what describes it, is not what the agent
/// wrote: told once, not proven, and put right by a reload.
fn written_maps_are_noticed(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    agent.reload(&[])?;
    enforces(&agent)?;
    type Spoil = fn(&mut [u8]);
    let deeds: [(&str, Spoil, &str); 3] = [
        // The other half, which has the generation before.
        ("ACTIVE", |word| word[0] ^= 1, "not generation"),
        // Another number, as high as there is.
        ("ACTIVE", |word| word[4..8].fill(0xff), "not generation"),
        // The hash of what the half was made from.
        (
            "INFO",
            |info| info.fill(0x55),
            "INFO describes something else",
        ),
    ];
    for (number, (map, spoil, words)) in deeds.into_iter().enumerate() {
        change_first(&map_set(s)?.join(map), spoil)?;
        let begins = ["error: policy:", "somebody wrote the maps", words];
        agent
            .wait_for_log(&begins)
            .with_context(|| words.to_owned())?;
        agent.wait_for_log(&[
            "error: the self-test failed",
            "somebody wrote the maps",
            words,
        ])?;
        let found = status(s, 1)?;
        ensure_eq!(drift(&found, "policy")?["until"], Value::Null, "{found}");
        ensure_eq!(found["selftest"]["ok"], false, "{found}");
        let (code, reloaded) = agent.reload(&[])?;
        ensure_eq!(code, 0, "{reloaded}");
        ensure_eq!(reloaded["generation"], 3 + number, "{reloaded}");
        let mended = agent.status()?;
        ensure!(drift(&mended, "policy")?["until"].is_string(), "{mended}");
        agent.wait_until("its end", |agent| {
            agent.logged(&["info: policy: ended"]) == number + 1
        })?;
        enforces(&agent)?;
    }
    Ok(())
}

/// Nothing is judged any more: systemd is told too.
fn a_policy_that_is_switched_off_is_noticed(s: &Sandbox) -> Result<()> {
    let path = s.dir.join("notify");
    let systemd = UnixDatagram::bind(&path)?;
    systemd.set_read_timeout(Some(limit(20)))?;
    let told = |word: &str| -> Result<String> {
        let mut seen = Vec::new();
        loop {
            let mut message = [0; 4096];
            let length = systemd
                .recv(&mut message)
                .with_context(|| format!("{word}: {seen:?}"))?;
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            if message.contains(word) {
                return Ok(message);
            }
            seen.push(message);
        }
    };
    let mut start = s.agent(PROFILE, QUIET)?;
    let socket = path.display().to_string();
    start
        .launch
        .environment
        .push(("NOTIFY_SOCKET".into(), socket));
    let agent = start.start()?;
    told("READY=1")?;
    told("STATUS=the mode asked for is proven")?;
    change_first(&map_set(s)?.join("ACTIVE"), |word| word.fill(0))?;
    ensure_eq!(wrong_bind(s)?, Ok(()), "switched off");
    let message = told("STATUS=NOT PROVEN since")?;
    ensure!(message.contains("ACTIVE names nothing"), "{message}");
    agent.wait_for_log(&["error: policy: ACTIVE names nothing, not generation 1"])?;
    agent.reload(&[])?;
    ensure_eq!(wrong_bind(s)?, Err(refusal()), "in force again");
    told("STATUS=the mode asked for is proven")?;
    agent.wait_for_log(&["the self-test succeeds again"])?;
    enforces(&agent)
}

/// Nothing can be mended then: it is told without being asked, and lasts.
fn a_cgroup_that_is_gone_is_told(s: &Sandbox) -> Result<()> {
    let cgroup = s.cgroup_below("short-lived")?;
    let path = cgroup.display().to_string();
    let agent = s.agent(PROFILE, QUIET)?.option("--cgroup", &path).start()?;
    let deadline = Instant::now() + limit(5);
    while fs::remove_dir(&cgroup).is_err() {
        ensure!(Instant::now() < deadline, "the cgroup can't be removed");
        thread::sleep(Duration::from_millis(10));
    }
    let of = format!("cgroup {path}");
    let begins = [
        &format!("error: {of}: it was removed")[..],
        "portreeve detach",
    ];
    agent.wait_for_log(&begins)?;
    let told = drift(&status(s, 1)?, &of)?;
    ensure_eq!(told["until"], Value::Null, "{told}");
    // One of its name is another.
    s.cgroup_below("short-lived")?;
    let told = drift(&status(s, 1)?, &of)?;
    ensure_eq!(told["until"], Value::Null, "{told}");
    ensure_eq!(agent.logged(&begins), 1, "times told");
    Ok(())
}

/// What undoes a refusal from above, where no look of the agent reaches: the proof of
/// every minute finds it, and nobody has to ask.
fn a_proof_that_fails_later(s: &Sandbox) -> Result<()> {
    Need::Errno.check()?;
    let below = s.cgroup_below("ours")?;
    let start = s.agent(PROFILE, QUIET)?;
    let agent = start
        .option("--cgroup", &below.display().to_string())
        .start()?;
    let above = Neighbour::attach_undoing_all(&s.cgroup)?;
    let ready = Instant::now();
    let failed = ["error: the self-test failed: hook bind4 did not refuse"];
    while agent.logged(&failed) == 0 {
        let waited = ready.elapsed();
        ensure!(
            waited < limit(75),
            "no proof within {waited:?}: {}",
            agent.log()
        );
        thread::sleep(Duration::from_millis(100));
    }
    let first = status(s, 1)?;
    let second = status(s, 1)?;
    let since = |status: &Value| status["selftest"]["failing_since"].clone();
    ensure_eq!(since(&second), since(&first), "since when");
    ensure!(
        since(&first).as_str() < first["selftest"]["at"].as_str(),
        "{first}"
    );
    ensure_eq!(agent.logged(&failed), 1, "times told");
    drop(above);
    let mended = agent.status()?;
    ensure_eq!(since(&mended), Value::Null, "{mended}");
    let since = first["selftest"]["failing_since"]
        .as_str()
        .unwrap_or_default();
    agent.wait_for_log(&["info: the self-test succeeds again; it failed since", since])
}
