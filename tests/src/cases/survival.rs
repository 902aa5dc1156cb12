//! What stays in force when the agent ends, dies or comes back.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Binder, Case, Sandbox, Settings, Spinner, Want,
        expect::{expect, judge},
        map_sets::map_set,
        pace::limit,
        refusal,
        request::Tally,
        syscalls::{End, kill_behind},
        tcp, udp,
    },
    tests,
};

tests![
    killed_and_restarted_under_load,
    a_terminated_agent_leaves_the_policy,
    a_restart_takes_over_counts_and_numbers,
    a_restart_with_another_profile,
    killed_at_every_step_of_its_first_start,
    killed_at_every_step_of_taking_over,
    killed_at_every_step_of_detaching,
    detach_with_an_agent,
    detach_without_an_agent,
    detach_asks_first,
    a_second_agent_on_the_same_pins,
    a_second_agent_on_the_same_socket,
    two_agents_side_by_side,
    another_cgroup_is_not_taken_over,
    damaged_pins_are_not_taken_over,
    a_cgroup_that_is_gone,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n 4321 UDP RIGHT\n";
const TCP: &str = "4321 TCP RIGHT";

/// Both families and protocols.
fn wants() -> [Want; 4] {
    let v6 = std::net::Ipv6Addr::LOCALHOST;
    [tcp(4321), tcp(4321).on(v6), udp(4321), udp(4321).on(v6)]
}

fn basic_cases(s: &Sandbox) -> [Case<'static>; 3] {
    [
        Case::permitted(&s.caller("right"), tcp(4321), TCP),
        Case::other_job(&s.caller("wrong"), tcp(4321), TCP),
        Case::unreserved(&s.caller("wrong"), tcp(4322)),
    ]
}

/// What each of [`wants`] comes to for the wrong job: all refused, or none.
fn refuses_all(s: &Sandbox) -> Result<bool> {
    let results = Binder::start(&s.caller("wrong"), &wants())?.results;
    let refused = results
        .iter()
        .filter(|result| **result == Err(refusal()))
        .count();
    ensure!(
        refused == 0 || refused == results.len(),
        "enforced in part: {results:?}"
    );
    ensure!(
        refused != 0 || results.iter().all(Result::is_ok),
        "neither refused nor free: {results:?}"
    );
    let right = Binder::start(&s.caller("right"), &wants())?.results;
    ensure!(
        right.iter().all(Result::is_ok),
        "the right job is refused: {right:?}"
    );
    Ok(refused != 0)
}

fn no_wrong_verdict(right: Tally, wrong: Tally) -> Result<()> {
    ensure!(
        right.refused == 0 && right.other == 0,
        "the right job was refused: {right:?}"
    );
    ensure!(
        wrong.allowed == 0 && wrong.other == 0,
        "the wrong job was allowed: {wrong:?}"
    );
    Ok(())
}

/// kill -9 and a new agent, again and again, while two jobs bind all the time: not
/// one bind gets another answer than it should.
fn killed_and_restarted_under_load(s: &Sandbox) -> Result<()> {
    let mut agent = s.agent(PROFILE, QUIET)?.start()?;
    let mut right = Spinner::start(&s.caller("right"), &wants()[..2])?;
    let mut wrong = Spinner::start(&s.caller("wrong"), &wants()[..2])?;
    for generation in 2..6 {
        agent.kill()?;
        let start = right.tally()?.total();
        wrong.wait_for(2000)?;
        agent = s.agent_again()?.start()?;
        let ready = agent.ready();
        ensure!(ready.contains("taken over"), "{ready}");
        ensure!(
            ready.contains(&format!("generation {generation},")),
            "not generation {generation}: {ready}"
        );
        ensure!(right.tally()?.total() > start, "the right job stood still");
        no_wrong_verdict(right.tally()?, wrong.tally()?)?;
    }
    // However busy it is, it still answers.
    agent.status()?;
    no_wrong_verdict(right.tally()?, wrong.tally()?)
}

/// SIGTERM ends the agent and nothing else; `status` then says what the kernel
/// holds, with exit status 2.
fn a_terminated_agent_leaves_the_policy(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, QUIET, &basic_cases(s))?;
    let before = agent.status()?;
    ensure!(agent.terminate()?.success(), "not a proper end");
    ensure!(!s.socket.exists(), "the socket stays");
    ensure!(refuses_all(s)?, "nothing is enforced any more");

    let held = s
        .portreeve(&["status", "--format", "json"])?
        .ended_with(2)?;
    ensure!(held.stderr.contains("no agent answers"), "{}", held.stderr);
    let held = held.json()?;
    for field in ["mode", "generation", "hooks", "version", "missing"] {
        ensure_eq!(held[field], before[field], "{field} without an agent");
    }
    for field in ["path", "hash", "entries", "published"] {
        ensure_eq!(held["profile"][field], before["profile"][field], "{field}");
    }
    ensure_eq!(held["attach"]["id"], before["attach"]["id"], "cgroup");
    for field in ["agent", "selftest"] {
        ensure_eq!(held[field], Value::Null, "{field} without an agent");
    }
    // Four binds more were refused since.
    let refused = |status: &Value| status["counters"]["other-job"].as_u64();
    let expected = refused(&before).map(|count| count + 4);
    ensure_eq!(refused(&held), expected, "refusals without an agent");

    let words = s.portreeve(&["status"])?.ended_with(2)?;
    ensure!(words.stdout.contains("enforce"), "{}", words.stdout);
    for verb in [
        &["ports"][..],
        &["events"],
        &["reload"],
        &["explain", "tcp/21", "--job", "A"],
    ] {
        let answer = s.portreeve(verb)?.ended_with(2)?;
        ensure!(answer.stderr.contains("no agent answers"), "{answer:?}");
        ensure_eq!(answer.stderr.lines().count(), 1, "lines of {answer:?}");
    }
    Ok(())
}

/// A new agent on the same profile goes on counting where the old one stopped.
fn a_restart_takes_over_counts_and_numbers(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, QUIET, &basic_cases(s))?;
    let (status, mut ports) = (agent.status()?, agent.ports()?);
    // Events and what ports became are the agent's, and end with it; the counts are in the
    // kernel.
    for row in &mut ports {
        row["refused"] = json!([]);
        row["changes"] = json!([]);
    }
    agent.kill()?;
    let agent = s.agent_again()?.start()?;
    let after = agent.status()?;
    ensure_eq!(after["generation"], 2, "generation");
    ensure_eq!(after["counters"], status["counters"], "counters");
    ensure_eq!(agent.ports()?, ports, "register");
    expect(&agent, PROFILE, QUIET, &basic_cases(s))
}

/// What changed while no agent ran is in force when the new one is ready.
fn a_restart_with_another_profile(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, QUIET, &basic_cases(s))?;
    agent.terminate()?;
    let other = "PORT\n 4322 TCP RIGHT\n";
    s.set_policy(other, QUIET.report_all())?;
    let held = s.portreeve(&["status"])?;
    ensure_eq!(held.code, Some(2), "{held:?}");
    let agent = s.agent_again()?.start()?;
    let wrong = s.caller("wrong");
    let cases = [
        Case::unreserved(&wrong, tcp(4321)),
        Case::other_job(&wrong, tcp(4322), "4322 TCP RIGHT"),
    ];
    expect(&agent, other, QUIET.report_all(), &cases)
}

/// Whichever system call of a first start is the last one: both families are
/// enforced or neither is, the right job binds, and the next agent starts.
fn killed_at_every_step_of_its_first_start(s: &Sandbox) -> Result<()> {
    let (mut free, mut enforced) = (0, 0);
    for nth in 0.. {
        ensure!(nth < 200, "a start without end");
        let start = s.agent(PROFILE, QUIET)?;
        let end = kill_behind(&start.launch, nth)?;
        let context = || format!("killed behind change {nth} of a start");
        if end != End::Killed {
            ensure_eq!(end, End::Printed, "the end of a start");
            break;
        }
        match refuses_all(s).with_context(context)? {
            true => enforced += 1,
            false => free += 1,
        }
        let agent = start.start().with_context(context)?;
        ensure!(refuses_all(s)?, "the next agent does not enforce");
        drop(agent);
        let detached = s.portreeve(&["detach", "--yes"])?.ended_with(0);
        detached.with_context(context)?;
        ensure!(!s.is_pinned(), "pins stay behind change {nth}");
        let left: Vec<_> = fs::read_dir(&s.cgroup)?
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .collect();
        ensure!(
            left.is_empty(),
            "cgroups stay behind change {nth}: {left:?}"
        );
    }
    // Both must have been seen, or the kills came too early or too late.
    ensure!(
        free > 10 && enforced > 0,
        "{free} free, {enforced} enforced"
    );
    Ok(())
}

/// Whichever system call of taking over is the last one, the policy is in force.
fn killed_at_every_step_of_taking_over(s: &Sandbox) -> Result<()> {
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    let mut kills = 0;
    for nth in 0.. {
        ensure!(nth < 200, "a start without end");
        let start = s.agent_again()?;
        let end = kill_behind(&start.launch, nth)?;
        ensure!(refuses_all(s)?, "not enforced behind change {nth}");
        if end != End::Killed {
            ensure_eq!(end, End::Printed, "the end of a start");
            break;
        }
        kills += 1;
    }
    ensure!(kills > 3, "only {kills} steps");
    let agent = s.agent_again()?.start()?;
    ensure!(agent.ready().contains("taken over"), "{}", agent.ready());
    expect(&agent, PROFILE, QUIET, &basic_cases(s))
}

/// Whichever system call of `detach` is the last one, both families are free or
/// neither is, and a second `detach` finishes the work.
fn killed_at_every_step_of_detaching(s: &Sandbox) -> Result<()> {
    let mut kills = 0;
    for nth in 0.. {
        ensure!(nth < 200, "a detach without end");
        let start = s.agent(PROFILE, QUIET)?;
        let mut detach = start.launch.clone();
        start.start()?.kill()?;
        detach.arguments = vec!["detach".into(), "--yes".into()];
        detach.arguments.extend(s.places());
        let end = kill_behind(&detach, nth)?;
        let context = || format!("killed behind change {nth} of `detach`");
        if end != End::Killed {
            ensure_eq!(end, End::Printed, "the end of `detach`");
            ensure!(!s.is_pinned(), "pins stay");
            break;
        }
        kills += 1;
        refuses_all(s).with_context(context)?;
        if s.is_pinned() {
            let again = s.portreeve(&["detach", "--yes"])?.ended_with(0);
            again.with_context(context)?;
        }
        ensure!(!s.is_pinned(), "pins stay behind change {nth}");
        ensure!(!refuses_all(s)?, "still enforced behind change {nth}");
    }
    ensure!(kills > 10, "only {kills} steps");
    Ok(())
}

/// A running agent steps down: exit status 0, no hook, no pin, no socket.
fn detach_with_an_agent(s: &Sandbox) -> Result<()> {
    let mut agent = judge(s, PROFILE, QUIET, &basic_cases(s))?;
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    ensure!(!s.is_pinned(), "pins stay");
    ensure!(!refuses_all(s)?, "still enforced");
    ensure!(agent.wait()?.success(), "not a proper end");
    ensure!(!s.socket.exists(), "the socket stays");
    let again = s.portreeve(&["detach", "--yes"])?.ended_with(2)?;
    ensure!(again.stderr.contains("no policy"), "{}", again.stderr);
    // And it can start over.
    let agent = s.agent_again()?.start()?;
    expect(&agent, PROFILE, QUIET, &basic_cases(s))
}

/// Without an agent the same.
fn detach_without_an_agent(s: &Sandbox) -> Result<()> {
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    ensure!(refuses_all(s)?, "not enforced");
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    ensure!(!s.is_pinned(), "pins stay");
    ensure!(!refuses_all(s)?, "still enforced");
    let status = s.portreeve(&["status"])?.ended_with(2)?;
    ensure!(status.stderr.contains("no policy"), "{}", status.stderr);
    Ok(())
}

/// Without `--yes` and without a terminal nothing is detached.
fn detach_asks_first(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let refused = s.portreeve(&["detach"])?.ended_with(1)?;
    ensure!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    expect(&agent, PROFILE, QUIET, &basic_cases(s))
}

/// One sentence, exit status 1, and the first agent goes on.
fn a_second_agent_on_the_same_pins(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let other = s.dir.join("other.sock").display().to_string();
    let second = s.agent_again()?.option("--socket", &other).finish()?;
    let second = second.ended_with(1)?;
    ensure_eq!(second.stderr.lines().count(), 1, "{second:?}");
    ensure!(
        second.stderr.contains("another portreeve agent is running"),
        "{second:?}"
    );
    expect(&agent, PROFILE, QUIET, &basic_cases(s))
}

/// The same for the socket; what the second one attached is gone again.
fn a_second_agent_on_the_same_socket(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let beside = Sandbox::new()?;
    let bpffs = beside.bpffs.display().to_string();
    let state = beside.state().display().to_string();
    let second = s.agent_again()?.option("--bpffs", &bpffs);
    let second = second.option("--state", &state).finish()?;
    let second = second.ended_with(1)?;
    ensure_eq!(second.stderr.lines().count(), 1, "{second:?}");
    ensure!(
        second.stderr.contains("another agent answers"),
        "{second:?}"
    );
    ensure!(!beside.is_pinned(), "what the second agent made stays");
    expect(&agent, PROFILE, QUIET, &basic_cases(s))
}

/// Different places, different policies: neither sees the other.
fn two_agents_side_by_side(s: &Sandbox) -> Result<()> {
    let beside = Sandbox::new()?;
    let other = "PORT\n 4321 TCP WRONG\n 4322 TCP RIGHT\n";
    let first = s.agent(PROFILE, QUIET)?.start()?;
    let second = beside.agent(other, QUIET)?.start()?;
    let cases = [
        Case::permitted(&beside.caller("wrong"), tcp(4321), "4321 TCP WRONG"),
        Case::other_job(&beside.caller("right"), tcp(4321), "4321 TCP WRONG"),
        Case::other_job(&beside.caller("wrong"), tcp(4322), "4322 TCP RIGHT"),
    ];
    for _ in 0..2 {
        expect(&first, PROFILE, QUIET, &basic_cases(s))?;
        expect(&second, other, QUIET, &cases)?;
    }
    second.terminate()?;
    beside.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    ensure!(!refuses_all(&beside)?, "still enforced");
    expect(&first, PROFILE, QUIET, &basic_cases(s))?;
    drop(first);
    beside.close()
}

/// Hooks on one cgroup are not silently left there by an agent told of another.
fn another_cgroup_is_not_taken_over(s: &Sandbox) -> Result<()> {
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    let beside = Sandbox::new()?;
    let cgroup = beside.cgroup.display().to_string();
    let refused = s.agent_again()?.option("--cgroup", &cgroup).finish()?;
    let refused = refused.ended_with(1)?;
    ensure!(refused.stderr.contains("detach"), "{refused:?}");
    ensure_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    ensure!(refuses_all(s)?, "not enforced any more");
    let agent = s.agent_again()?.start()?;
    expect(&agent, PROFILE, QUIET, &basic_cases(s))
}

/// A missing map is said, and `detach` still ends what is enforced.
fn damaged_pins_are_not_taken_over(s: &Sandbox) -> Result<()> {
    for missing in ["SLOTS", "INFO"] {
        s.agent(PROFILE, QUIET)?.start()?.kill()?;
        fs::remove_file(map_set(s)?.join(missing))?;
        let refused = s.agent_again()?.finish()?.ended_with(1)?;
        ensure_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
        for word in [missing, "detach"] {
            ensure!(refused.stderr.contains(word), "{refused:?}");
        }
        ensure!(refuses_all(s)?, "not enforced any more");
        s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
        ensure!(!s.is_pinned() && !refuses_all(s)?, "not detached");
    }
    Ok(())
}

/// The cgroup of the hooks is removed under the agent: it says so, and the next
/// agent doesn't take over hooks that judge nothing.
fn a_cgroup_that_is_gone(s: &Sandbox) -> Result<()> {
    let cgroup = s.cgroup_below("short-lived")?;
    let path = cgroup.display().to_string();
    let start = || Ok::<_, anyhow::Error>(s.agent(PROFILE, QUIET)?.option("--cgroup", &path));
    let agent = start()?.start()?;
    let deadline = Instant::now() + limit(5);
    while fs::remove_dir(&cgroup).is_err() {
        ensure!(Instant::now() < deadline, "the cgroup can't be removed");
        thread::sleep(Duration::from_millis(10));
    }
    // The kernel takes the hooks away some time after the cgroup.
    let deadline = Instant::now() + limit(20);
    loop {
        let status = s
            .portreeve(&["status", "--format", "json"])?
            .ended_with(1)?;
        let status = status.json()?;
        ensure_eq!(status["selftest"]["ok"], false, "{status}");
        if status["hooks"] == json!([]) {
            break;
        }
        ensure!(Instant::now() < deadline, "hooks of no cgroup: {status}");
        thread::sleep(Duration::from_millis(50));
    }
    agent.kill()?;
    s.cgroup_below("short-lived")?;
    let refused = start()?.finish()?.ended_with(1)?;
    ensure!(refused.stderr.contains("detach"), "{refused:?}");
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    let agent = start()?.start()?;
    let case = Case::other_job(&s.caller("wrong").cgroup(&cgroup), tcp(4321), TCP);
    expect(&agent, PROFILE, QUIET, &[case])
}
