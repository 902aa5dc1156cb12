//! An agent whose maps have another layout, an older or a newer version, takes over.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use portreeve_common::Reason;
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{
        Binder, Case, Need, Sandbox, Settings, Spinner,
        expect::{expect, judge},
        map_sets::{CounterMap, map_set, map_sets},
        neighbour::{Neighbour, change_first},
        refusal,
        syscalls::{End, kill_behind},
        tcp,
    },
    tests,
};

tests![
    there_and_back,
    another_policy_comes_behind_the_same,
    every_bind_is_judged_and_counted_once,
    killed_at_every_step,
    what_is_not_proven_is_given_back,
    another_handover_is_refused,
    a_version_of_another_layout_says_whose_it_is,
    listeners_are_destroyed_all_along,
];

tests![WITH_LSM: listen_is_judged_all_along];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n 4322 UDP RIGHT\n";
const TCP: &str = "4321 TCP RIGHT";

fn cases(s: &Sandbox) -> [Case<'static>; 3] {
    [
        Case::permitted(&s.caller("right"), tcp(4321), TCP),
        Case::other_job(&s.caller("wrong"), tcp(4321), TCP),
        Case::unreserved(&s.caller("wrong"), tcp(4323)),
    ]
}

fn is_refused(s: &Sandbox) -> Result<()> {
    let result = Binder::attempt(&s.caller("wrong"), &tcp(4321))?;
    ensure_eq!(result, Err(refusal()), "the wrong job");
    ensure_eq!(
        Binder::attempt(&s.caller("right"), &tcp(4321))?,
        Ok(()),
        "the right job"
    );
    Ok(())
}

/// Up and down: the policy is in force by the new set alone, its number goes on, the pool
/// is kept, and events and counters come as ever.
fn there_and_back(s: &Sandbox) -> Result<()> {
    let mut agent = judge(s, PROFILE, QUIET, &cases(s))?;
    let first = map_set(s)?;
    let mut before = agent.status()?;
    for is_back in [false, true, false, true] {
        // Told to end or killed, it makes no difference to what is in force.
        match is_back {
            true => agent.kill()?,
            false => ensure!(agent.terminate()?.success(), "not a proper end"),
        }
        let start = s.agent_again()?;
        agent = match is_back {
            true => start.start()?,
            false => start.of_other_layout()?.start()?,
        };
        let (ready, set) = (agent.ready(), map_set(s)?);
        for words in ["taken over from portreeve ", "with map layout "] {
            ensure!(ready.contains(words), "{ready}");
        }
        ensure_eq!(set == first, is_back, "the set in force");
        let status = agent.status()?;
        ensure_eq!(status["pool"], before["pool"], "the pool");
        let number = |status: &Value| status["generation"].as_u64();
        ensure!(number(&status) > number(&before), "{status}");
        before = status;
        expect(&agent, PROFILE, QUIET, &cases(s))?;
    }
    Ok(())
}

/// The files have changed meanwhile: first the policy in force is taken over, then theirs
/// comes into force.
fn another_policy_comes_behind_the_same(s: &Sandbox) -> Result<()> {
    judge(s, PROFILE, QUIET, &cases(s))?.terminate()?;
    let other = "PORT\n 4321 TCP WRONG\n";
    s.set_policy(other, QUIET)?;
    let agent = s.agent_again()?.of_other_layout()?.start()?;
    let ready = agent.ready();
    ensure!(ready.contains("generation 3,"), "{ready}");
    let entry = "4321 TCP WRONG";
    let cases = [
        Case::permitted(&s.caller("wrong"), tcp(4321), entry),
        Case::other_job(&s.caller("right"), tcp(4321), entry),
    ];
    expect(&agent, other, QUIET, &cases)
}

/// While two jobs bind all the time, agents of two layouts take over from each other:
/// no bind gets another answer than it should, and the counters of all sets together
/// have each bind once.
fn every_bind_is_judged_and_counted_once(s: &Sandbox) -> Result<()> {
    let mut agent = s.agent(PROFILE, QUIET)?.start()?;
    let mut sets = vec![CounterMap::open(&map_set(s)?)?];
    let wants = [tcp(4321), tcp(4321).on(std::net::Ipv6Addr::LOCALHOST)];
    let mut right = Spinner::start(&s.caller("right"), &wants)?;
    let mut wrong = Spinner::start(&s.caller("wrong"), &wants)?;
    for turn in 0..6 {
        right.wait_for(1000)?;
        wrong.wait_for(1000)?;
        agent.kill()?;
        let start = s.agent_again()?;
        agent = match turn % 2 {
            0 => start.of_other_layout()?.start()?,
            _ => start.start()?,
        };
        sets.push(CounterMap::open(&map_set(s)?)?);
    }
    let (right, wrong) = (right.stop()?, wrong.stop()?);
    ensure_eq!((right.refused, right.other), (0, 0), "{right:?}");
    ensure_eq!((wrong.allowed, wrong.other), (0, 0), "{wrong:?}");
    let sum = |reason| sets.iter().map(|set| set.of(reason)).sum::<Result<u64>>();
    ensure_eq!(sum(Reason::Permitted)?, right.allowed, "permits counted");
    ensure_eq!(sum(Reason::OtherJob)?, wrong.refused, "refusals counted");
    Ok(())
}

/// Whichever system call of taking over is the last one, the policy is in force, and
/// agents of both layouts get along with what is left.
fn killed_at_every_step(s: &Sandbox) -> Result<()> {
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    let mut kills = 0;
    for nth in 0.. {
        ensure!(nth < 300, "a start without end");
        let start = s.agent_again()?.of_other_layout()?;
        let end = kill_behind(&start.launch, nth)?;
        let context = || format!("killed behind change {nth}");
        is_refused(s).with_context(context)?;
        if end != End::Killed {
            ensure_eq!(end, End::Printed, "the end of a start");
            break;
        }
        kills += 1;
        // Back to where it began: from what is left, whatever it is.
        let agent = s.agent_again()?.start().with_context(context)?;
        map_set(s).with_context(context)?;
        is_refused(s).with_context(context)?;
        agent.kill()?;
    }
    ensure!(kills > 20, "only {kills} steps");
    let agent = s.agent_again()?.start()?;
    ensure!(agent.ready().contains("taken over"), "{}", agent.ready());
    expect(&agent, PROFILE, QUIET, &cases(s))
}

/// Hooks that don't prove alive in the new agent's hands go back to the old set.
fn what_is_not_proven_is_given_back(s: &Sandbox) -> Result<()> {
    Need::Errno.check()?;
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let set = map_set(s)?;
    let counters = CounterMap::open(&set)?;
    let pool = agent.status()?["pool"].clone();
    agent.kill()?;
    let undoing = Neighbour::attach_undoing(&s.cgroup, false)?;
    let start = s.agent_again()?.of_other_layout()?;
    let failed = start.finish()?.ended_with(1)?;
    for words in ["self-test", "the policy stays in force as portreeve"] {
        ensure!(failed.stderr.contains(words), "{}", failed.stderr);
    }
    drop(undoing);
    ensure_eq!(map_sets(s)?, [set], "sets");
    let before = counters.of(Reason::OtherJob)?;
    is_refused(s)?;
    ensure_eq!(
        counters.of(Reason::OtherJob)?,
        before + 1,
        "counted by the old set"
    );
    let agent = s.agent_again()?.start()?;
    ensure_eq!(agent.status()?["pool"], pool, "the pool");
    expect(&agent, PROFILE, QUIET, &cases(s))
}

/// Of layouts that can't be handed over the agent leaves its hands: one sentence, both
/// numbers, and all stays as it is.
fn another_handover_is_refused(s: &Sandbox) -> Result<()> {
    s.agent(PROFILE, QUIET)?
        .of_other_layout()?
        .start()?
        .kill()?;
    let set = map_set(s)?;
    let name = set.display().to_string();
    let theirs = name.rsplit('-').next().unwrap_or_default();
    // `INFO` begins with the layout and the handover it follows.
    let info = set.join("INFO");
    change_first(&info, |info| info[4] += 1)?;
    let refused = s.agent_again()?.finish()?.ended_with(1)?;
    ensure_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    for words in [theirs, "can't take over", "stays in force", "detach"] {
        ensure!(refused.stderr.contains(words), "{refused:?}");
    }
    is_refused(s)?;
    ensure_eq!(map_sets(s)?, [set], "sets");
    let status = s.portreeve(&["status"])?.ended_with(2)?;
    ensure!(!status.stderr.contains("panicked"), "{status:?}");
    change_first(&info, |info| info[4] -= 1)?;
    s.agent_again()?.start().map(drop)
}

/// Where no agent runs, the other version's `status` says whose policy is in force, and its
/// `detach` ends it.
fn a_version_of_another_layout_says_whose_it_is(s: &Sandbox) -> Result<()> {
    let list = "/proc/sys/net/ipv4/ip_local_reserved_ports";
    let before = fs::read_to_string(list)?;
    s.agent(PROFILE, QUIET)?.start()?.kill()?;
    ensure!(fs::read_to_string(list)? != before, "nothing is kept out");
    let status = s.other_portreeve(&["status"])?.ended_with(2)?;
    for words in ["map layout", "portreeve run"] {
        ensure!(status.stderr.contains(words), "{status:?}");
    }
    is_refused(s)?;
    s.other_portreeve(&["detach", "--yes"])?.ended_with(0)?;
    ensure!(!s.is_pinned(), "pins stay");
    let free = Binder::attempt(&s.caller("wrong"), &tcp(4321))?;
    ensure_eq!(free, Ok(()), "after `detach`");
    ensure_eq!(fs::read_to_string(list)?, before, "ports kept out");
    Ok(())
}

/// `UNR-06`: where listeners are destroyed, they are whichever agent is there, and what
/// the sockets remember goes on.
fn listeners_are_destroyed_all_along(s: &Sandbox) -> Result<()> {
    let deny = "PORT\n UNRSV TCP * DENY\n";
    let agent = s.agent(deny, QUIET.accepting_listen())?.start()?;
    if !agent.ready().contains(" listened on ") {
        return Err(crate::harness::skip("the BPF LSM is active here"));
    }
    agent.kill()?;
    let agent = s.agent_again()?.of_other_layout()?.start()?;
    let ready = agent.ready();
    ensure!(
        ready.contains(" listened on ") && ready.contains("taken over"),
        "{ready}"
    );
    let destroyed = |status: &Value| status["listeners"]["destroyed"].as_u64();
    ensure_eq!(destroyed(&agent.status()?), Some(0), "destroyed");
    let listener = Binder::start(&s.caller("web"), &[tcp(5000).listening()])?;
    ensure_eq!(listener.results, [Ok(())], "listen");
    agent.wait_until("its end", |agent| {
        agent
            .status()
            .is_ok_and(|status| destroyed(&status) == Some(1))
    })
}

/// `UNR-06`: while agents of two layouts take over from each other, nobody who mustn't
/// listens.
fn listen_is_judged_all_along(s: &Sandbox) -> Result<()> {
    let deny = "PORT\n UNRSV TCP * DENY\n UNRSV TCP RIGHT WHENLISTEN\n";
    let want = tcp(5000).listening();
    let mut agent = s.agent(deny, QUIET)?.start()?;
    let mut wrong = Spinner::start(&s.caller("wrong"), std::slice::from_ref(&want))?;
    for is_back in [false, true] {
        wrong.wait_for(100)?;
        agent.kill()?;
        let start = s.agent_again()?;
        agent = match is_back {
            false => start.of_other_layout()?.start()?,
            true => start.start()?,
        };
    }
    let wrong = wrong.stop()?;
    ensure_eq!((wrong.allowed, wrong.other), (0, 0), "{wrong:?}");
    ensure!(agent.ready().contains(" listen "), "{}", agent.ready());
    Ok(())
}
