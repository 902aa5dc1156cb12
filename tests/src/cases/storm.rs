//! Everything at once: jobs of every kind bind all the time while the policy is reloaded, the
//! agent is killed in the midst of it, and agents of two layouts take over from each other.

use std::{env, net::Ipv4Addr, thread, time::Duration};

use anyhow::{Result, ensure};
use nix::errno::Errno;
use portreeve_common::Reason;

use crate::{
    ensure_eq,
    harness::{
        Agent, Caller, NOBODY, Sandbox, Spinner, Want,
        map_sets::{CounterMap, map_set},
        pace::times,
        request::Tally,
        tcp, udp,
    },
    tests,
};

tests![while_all_changes_nothing_is_wrong];

/// What every policy of the storm says of the binders, and one of two other things.
fn profile(turn: u64) -> String {
    let more = match turn % 2 {
        0 => "",
        _ => "PORTRANGE\n 20000 2000 TCP OTHERS\n 20000 2000 UDP RESERVED\n",
    };
    format!("PORT\n 21 TCP PLACED\n 4321 TCP RIGHT\n 4321 UDP RIGHT\n 4322 TCP PLACED\n{more}")
}

/// A binder, and whether it may.
struct Side {
    spinner: Spinner,
    may: bool,
}

/// Sixteen of four kinds.
fn binders(s: &Sandbox) -> Result<Vec<Side>> {
    let placed = s.cgroup_below("web.service/worker")?;
    let right = s.caller("right");
    let wrong = s.caller("wrong");
    let low = s.caller("any").user(NOBODY).cgroup(&placed);
    let inside = s.caller("any").cgroup(&placed);
    let mut sides = Vec::new();
    for number in 1..=4 {
        // Each on an address of its own, of both families' hooks: none is in another's way.
        let v4 = Ipv4Addr::new(127, 0, 0, number);
        let both = |want: Want| [want.clone().on(v4), want.on(v4.to_ipv6_mapped())];
        let kinds: [(&Caller, Want, bool); 4] = [
            (&right, udp(4321), true),
            (&wrong, tcp(4321), false),
            (&low, tcp(21), true),
            (&inside, tcp(4322), true),
        ];
        for (caller, want, may) in kinds {
            // Whoever changes the policy must get on with it.
            let spinner = Spinner::start(&caller.clone().nice(19), &both(want))?;
            sides.push(Side { spinner, may });
        }
    }
    Ok(sides)
}

/// A closed socket keeps its port for a moment when somebody looks at its process's files, as
/// the agent does for the holders of ports: then a bind that we permit fails by itself.
fn check(tally: Tally, may: bool) -> Result<()> {
    let by_itself = may && tally.errno == Errno::EADDRINUSE as i32 && tally.other < 100;
    ensure!(
        tally.other == 0 || by_itself,
        "an end that no verdict has: {tally:?}"
    );
    let wrong = if may { tally.refused } else { tally.allowed };
    ensure!(
        wrong == 0,
        "wrong, where binding is right is {may}: {tally:?}"
    );
    Ok(())
}

/// The agent that comes next, on what the one before left.
fn next<'s>(s: &'s Sandbox, is_other: bool) -> Result<Agent<'s>> {
    let start = s.agent_again()?;
    match is_other {
        true => start.of_other_layout()?.start(),
        false => start.start(),
    }
}

/// Some of each in the ordinary run; with `--long` a thousand reloads, a hundred kills
/// and twenty exchanges.
fn while_all_changes_nothing_is_wrong(s: &Sandbox) -> Result<()> {
    let is_long = env::var_os("PORTREEVE_LONG").is_some();
    let (exchanges, kills, reloads) = match is_long {
        true => (20, 5, 10),
        false => (times(2).max(1), 2, times(10)),
    };
    let config = format!(
        "[jobs.PLACED]\ncgroup = {:?}\n",
        format!("{}/web.service", s.cgroup_name())
    );
    let mut agent = s.agent_with(&profile(0), &config)?.start()?;
    let mut sets = vec![CounterMap::open(&map_set(s)?)?];
    // Also without an agent they are told apart from here on.
    let mut sides = binders(s)?;
    let mut turn = 0;
    for exchange in 1..=exchanges {
        for kill in 0..kills {
            for _ in 0..reloads {
                turn += 1;
                s.write("profile.tcpip", profile(turn))?;
                let (code, answer) = agent.reload(&[])?;
                ensure_eq!((code, &answer["applied"]), (0, &true.into()), "{answer}");
            }
            // In the midst of one more.
            thread::scope(|scope| -> Result<()> {
                turn += 1;
                s.write("profile.tcpip", profile(turn))?;
                let reload = scope.spawn(|| s.portreeve(&["reload"]));
                thread::sleep(Duration::from_micros(turn * 7919 % 30_000));
                agent.kill()?;
                // Applied or not, who asked is told or hung up on.
                let _ = reload.join();
                Ok(())
            })?;
            let is_last = kill + 1 == kills;
            agent = next(s, (exchange % 2 == 1) == is_last)?;
            if is_last {
                sets.push(CounterMap::open(&map_set(s)?)?);
            }
            for Side { spinner, may } in &mut sides {
                check(spinner.tally()?, *may)?;
            }
        }
    }
    let (mut allowed, mut refused, mut by_itself) = (0, 0, 0);
    for Side { spinner, may } in sides {
        let tally = spinner.stop()?;
        check(tally, may)?;
        allowed += tally.allowed + tally.other;
        by_itself += tally.other;
        refused += tally.refused;
    }
    let sum = |reason| sets.iter().map(|set| set.of(reason)).sum::<Result<u64>>();
    ensure_eq!(sum(Reason::Permitted)?, allowed, "permits counted");
    ensure_eq!(sum(Reason::OtherJob)?, refused, "refusals counted");
    println!(
        "{turn} reloads, {} sets of maps, {allowed} permits of which {by_itself} found the port in use, {refused} refusals",
        sets.len()
    );
    Ok(())
}
