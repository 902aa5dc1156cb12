//! The kernel's pool of ports: nothing reserved is handed out, and everything is
//! given back. Each test has a pool of its own, with its network namespace.

use std::{fs, os::unix::fs::FileExt as _, thread};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Case, Sandbox, Settings,
        agent::Start,
        draw::{Way, draw, keep_out, kept_out, range, set_range},
        expect::expect,
        refusal,
        syscalls::{End, kill_behind},
        tcp, udp,
    },
    tests,
};

tests![
    nothing_reserved_is_handed_out,
    what_others_keep_out_stays,
    a_successor_takes_over_the_record,
    detach_gives_back_what_a_killed_agent_took,
    what_others_undo_is_mended,
    a_list_of_any_length,
    a_pool_below_the_floor,
    ephemeralports_sets_the_range,
    a_range_that_others_set_stays,
    the_config_leaves_the_pool_alone,
    audit_leaves_the_pool_alone,
    a_pool_that_can_not_be_managed,
    only_the_own_namespace_in_all,
    what_others_add_at_the_same_time_stays,
    killed_at_every_step_of_a_start,
    killed_at_every_step_of_giving_back,
    detached_from_another_namespace,
];

const QUIET: Settings = Settings::DEFAULT;
const POLICY: &str = "PORT\n 40010 TCP RIGHT\n 40011 UDP RIGHT\n";
/// For pools of a few ports.
const SMALL: &str = "[ephemeral]\nfloor = 1\n";

/// An agent for this profile and this config.
fn agent<'s>(s: &'s Sandbox, profile: &str, config: &str) -> Result<Start<'s>> {
    set(s, profile, config)?;
    s.agent_again()
}

fn set(s: &Sandbox, profile: &str, config: &str) -> Result<()> {
    s.write("profile.tcpip", profile)?;
    s.write("portreeve.toml", config)?;
    Ok(())
}

fn reload(agent: &Agent<'_>, profile: &str, config: &str) -> Result<Value> {
    set(agent.sandbox, profile, config)?;
    let (code, answer) = agent.reload(&[])?;
    ensure!(code == 0, "{answer}");
    Ok(answer)
}

fn detach(s: &Sandbox) -> Result<()> {
    s.portreeve(&["detach", "--yes"])?.ended_with(0).map(drop)
}

/// Whether the status says that something about port 0 is missing.
fn is_missing(status: &Value) -> bool {
    let missing = status["missing"].as_array();
    missing.is_some_and(|missing| {
        let mut missing = missing.iter().filter_map(Value::as_str);
        missing.any(|missing| missing.starts_with("port 0"))
    })
}

/// `PRT-38`, `EPH-04`, `EPH-05`, `EPH-06`: by whatever call, protocol and family, for
/// the rightful job too; explicit binds are judged as ever.
fn nothing_reserved_is_handed_out(s: &Sandbox) -> Result<()> {
    let profile = "PORTRANGE\n 40000 10 TCP RESERVED\n 40010 5 UDP OMVS\nPORT\n 40015 TCP RIGHT\n";
    set_range(40000, 40019)?;
    let right = s.caller("right");
    let all: Vec<u16> = (40000..40020).collect();
    for v6 in [false, true] {
        for way in Way::ALL {
            let drawn = draw(&right, way, v6)?;
            ensure_eq!(drawn.ports, all, "{way:?} without an agent, IPv6 {v6}");
            ensure_eq!(drawn.errno, way.exhausted() as i32, "{way:?}");
        }
    }
    let agent = agent(s, profile, SMALL)?.start()?;
    for v6 in [false, true] {
        for way in Way::ALL {
            let drawn = draw(&right, way, v6)?;
            ensure_eq!(drawn.ports, all[16..], "{way:?}, IPv6 {v6}");
            ensure_eq!(drawn.errno, way.exhausted() as i32, "{way:?}");
        }
    }
    let status = agent.status()?;
    let expected = json!({
        "managed": true, "range": [40000, 40019], "range_before": null,
        "added": "40000-40015", "free": 4, "dropped": null,
    });
    ensure_eq!(status["pool"], expected, "{status}");
    ensure!(!is_missing(&status), "{status}");
    agent.terminate()?;
    let agent = self::agent(s, profile, SMALL)?.start()?;
    let wrong = s.caller("wrong");
    let cases = [
        Case::permitted(&right, tcp(40015), "40015 TCP RIGHT"),
        Case::other_job(&wrong, tcp(40015), "40015 TCP RIGHT"),
        Case::blocked(&right, tcp(40000), "40000 10 TCP RESERVED"),
        Case::permitted(&wrong, udp(40010), "40010 5 UDP OMVS"),
    ];
    for case in cases {
        let result = Binder::attempt(&case.caller, &case.want)?;
        let refused = matches!(
            case.outcome,
            crate::harness::expect::Outcome::Refused { .. }
        );
        let expected = if refused { Err(refusal()) } else { Ok(()) };
        ensure_eq!(result, expected, "{case}");
    }
    drop(agent);
    detach(s)?;
    ensure_eq!(kept_out()?, "", "after `detach`");
    ensure_eq!(
        draw(&right, Way::Listen, false)?.ports,
        all,
        "after `detach`"
    );
    Ok(())
}

/// What was there before, and what an administrator adds meanwhile, is neither lost
/// by a publication nor taken away by `detach`, reserved or not.
fn what_others_keep_out_stays(s: &Sandbox) -> Result<()> {
    keep_out("1000,40011-40012,50000")?;
    let agent = agent(s, POLICY, "")?.start()?;
    ensure_eq!(kept_out()?, "1000,40010-40012,50000", "at the start");
    ensure_eq!(agent.status()?["pool"]["added"], "40010", "what is ours");

    keep_out("1000,40010-40012,50000,60000")?;
    reload(&agent, "PORT\n 40013 TCP RIGHT\n 60000 UDP RIGHT\n", "")?;
    ensure_eq!(
        kept_out()?,
        "1000,40011-40013,50000,60000",
        "after a reload"
    );
    ensure_eq!(agent.status()?["pool"]["added"], "40013", "what is ours");

    // A reload that fails adds and takes nothing.
    set(s, "PORT\n 40014 TCP RIGHT\n 40015 TPC RIGHT\n", "")?;
    ensure_eq!(agent.reload(&[])?.0, 1, "a bad profile");
    ensure_eq!(
        kept_out()?,
        "1000,40011-40013,50000,60000",
        "after a bad one"
    );

    // Taken out by an administrator, a port of his stays out; ours is missed.
    keep_out("1000,40013")?;
    detach(s)?;
    ensure_eq!(kept_out()?, "1000", "after `detach`");
    Ok(())
}

/// kill -9 and a new agent with another policy: nothing is left of the old one.
fn a_successor_takes_over_the_record(s: &Sandbox) -> Result<()> {
    keep_out("50000")?;
    agent(s, POLICY, "")?.start()?.kill()?;
    ensure_eq!(kept_out()?, "40010-40011,50000", "it outlives the agent");
    let held = s
        .portreeve(&["status", "--format", "json"])?
        .ended_with(2)?;
    ensure_eq!(held.json()?["pool"]["added"], "40010-40011", "{held:?}");

    let agent = agent(s, "PORT\n 40011 TCP RIGHT\n 40012 TCP RIGHT\n", "")?.start()?;
    ensure_eq!(kept_out()?, "40011-40012,50000", "under the new agent");
    agent.terminate()?;
    ensure_eq!(kept_out()?, "40011-40012,50000", "after it");
    detach(s)?;
    ensure_eq!(kept_out()?, "50000", "after `detach`");
    Ok(())
}

/// kill -9, then `detach`: exactly what was there.
fn detach_gives_back_what_a_killed_agent_took(s: &Sandbox) -> Result<()> {
    keep_out("40011,50000")?;
    agent(s, POLICY, "")?.start()?.kill()?;
    ensure_eq!(kept_out()?, "40010-40011,50000", "it outlives the agent");
    detach(s)?;
    ensure_eq!(kept_out()?, "40011,50000", "after `detach`");
    Ok(())
}

/// A writer that knows nothing of us: its entries stay, ours come back, and it is
/// told in the log and by `status`.
fn what_others_undo_is_mended(s: &Sandbox) -> Result<()> {
    let agent = agent(s, POLICY, "")?.start()?;
    keep_out("40011,50000")?;
    agent.wait_until("what was dropped", |_| {
        kept_out().is_ok_and(|list| list == "40010-40011,50000")
    })?;
    agent.wait_until("a word in the log", |agent| {
        agent.log().contains("took 1 reserved ports (40010) out of")
    })?;
    let status = agent.status()?;
    let dropped = &status["pool"]["dropped"];
    ensure_eq!(dropped["ports"], "40010", "{dropped}");
    ensure_eq!(dropped["times"], 1, "{dropped}");
    ensure_eq!(dropped["problem"], Value::Null, "{dropped}");
    ensure_eq!(status["pool"]["added"], "40010-40011", "what is ours");
    let told = s.portreeve(&["status"])?.ended_with(0)?;
    ensure!(told.stdout.contains("somebody took out 40010"), "{told:?}");

    // `status` doesn't wait for the timer.
    keep_out("")?;
    let status = agent.status()?;
    ensure_eq!(
        status["pool"]["dropped"]["ports"],
        "40010-40011",
        "{status}"
    );
    ensure_eq!(kept_out()?, "40010-40011", "at once");
    drop(agent);
    detach(s)?;
    ensure_eq!(kept_out()?, "", "after `detach`");
    Ok(())
}

/// Every second port from `first` on.
fn comb(first: u16, count: u16) -> Vec<u16> {
    (0..count).map(|index| first + 2 * index).collect()
}

fn as_profile(ports: &[u16]) -> String {
    let entries = ports.iter().map(|port| format!(" {port} TCP RIGHT\n"));
    format!("PORT\n{}", entries.collect::<String>())
}

fn as_list(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(",")
}

/// The kernel takes 4092 bytes at a time: nothing behind them is lost, neither of
/// ours nor of others, when ports are added, given back, and given back without an
/// agent.
fn a_list_of_any_length(s: &Sandbox) -> Result<()> {
    let theirs = comb(10000, 300);
    let ours = comb(20000, 6000);
    let both = |ours: &[u16]| as_list(&[&theirs, ours].concat());
    ensure!(as_list(&theirs).len() < 4092 && both(&ours).len() > 8 * 4092);
    keep_out(&as_list(&theirs))?;
    let agent = agent(s, &as_profile(&ours), "")?.start()?;
    ensure!(kept_out()? == both(&ours), "not all is kept out");
    let status = agent.status()?;
    ensure!(status["pool"]["added"] == as_list(&ours), "{status}");

    let fewer = &ours[..4000];
    reload(&agent, &as_profile(fewer), "")?;
    ensure!(kept_out()? == both(fewer), "not what a reload leaves");
    agent.kill()?;
    detach(s)?;
    ensure!(kept_out()? == as_list(&theirs), "not what was there before");
    Ok(())
}

/// Too few ports left is an error of `check`, `run` and `reload`, and a warning for
/// who insists.
fn a_pool_below_the_floor(s: &Sandbox) -> Result<()> {
    let most = "PORTRANGE 32768 27209 TCP RIGHT\n";
    keep_out("50000")?;
    let check = |config: &str| {
        set(s, most, config)?;
        let (profile, config) = (s.profile(), s.config());
        let (profile, config) = (profile.display().to_string(), config.display().to_string());
        s.portreeve(&["check", &profile, "--config", &config])
    };
    for config in ["", "on_error = \"skip\"\n"] {
        let checked = check(config)?.ended_with(1)?;
        ensure!(checked.stderr.contains("PRV320"), "{checked:?}");
        let refused = s.agent_again()?.finish()?.ended_with(1)?;
        ensure!(refused.stderr.contains("leaves 1023 of"), "{refused:?}");
        ensure!(!s.is_pinned(), "something was done");
        ensure_eq!(kept_out()?, "50000", "something was done");
    }

    let agent = agent(s, POLICY, "")?.start()?;
    set(s, most, "")?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 1, "{answer}");
    ensure_eq!(answer["diagnostics"][0]["code"], "PRV320", "{answer}");
    ensure_eq!(kept_out()?, "40010-40011,50000", "the old policy's");

    let insisting = "[ephemeral]\nbelow_floor = \"accept\"\n";
    let checked = check(insisting)?.ended_with(0)?;
    ensure!(checked.stderr.contains("PRV320"), "{checked:?}");
    ensure!(
        checked.stdout.contains("1023 of the ports 32768-60999"),
        "{checked:?}"
    );
    reload(&agent, most, insisting)?;
    ensure_eq!(kept_out()?, "32768-59976", "all of it");
    // What we take ourselves doesn't count against the next policy.
    let lower = "PORTRANGE 33791 27209 TCP RIGHT\n";
    reload(&agent, lower, "[ephemeral]\nfloor = 1023\n")?;
    ensure_eq!(kept_out()?, "33791-60999", "all of it");
    drop(agent);
    detach(s)?;
    ensure_eq!(kept_out()?, "50000", "after `detach`");
    Ok(())
}

const BOTH: &str = "TCPCONFIG EPHEMERALPORTS 40000 40019\nUDPCONFIG EPHEMERALPORTS 40000 40019\n";

/// `EPH-01`: the pool is limited to the range that both protocols say, and is as it
/// was when the profile says none any more, or nothing is enforced.
fn ephemeralports_sets_the_range(s: &Sandbox) -> Result<()> {
    set_range(32768, 60999)?;
    let agent = agent(s, &format!("{BOTH}{POLICY}"), SMALL)?.start()?;
    ensure_eq!(range()?, "40000-40019", "the range");
    let expected: Vec<u16> = (40000..40020)
        .filter(|port| !(40010..=40011).contains(port))
        .collect();
    for way in Way::ALL {
        ensure_eq!(
            draw(&s.caller("any"), way, true)?.ports,
            expected,
            "{way:?}"
        );
    }
    let status = agent.status()?;
    ensure_eq!(
        status["pool"]["range_before"],
        json!([32768, 60999]),
        "{status}"
    );
    ensure_eq!(status["pool"]["free"], 18, "{status}");

    reload(&agent, &BOTH.replace("40019", "40029"), SMALL)?;
    ensure_eq!(range()?, "40000-40029", "another range");
    reload(&agent, POLICY, SMALL)?;
    ensure_eq!(range()?, "32768-60999", "no range any more");
    reload(&agent, BOTH, SMALL)?;

    // Somebody else's range is noticed like somebody else's list.
    set_range(50000, 50100)?;
    let status = agent.status()?;
    ensure_eq!(
        status["pool"]["dropped"]["range"],
        json!([50000, 50100]),
        "{status}"
    );
    ensure_eq!(range()?, "40000-40019", "mended");
    agent.kill()?;
    detach(s)?;
    // The last that was not ours.
    ensure_eq!(range()?, "50000-50100", "after `detach`");

    // What the kernel doesn't take is refused, and nothing stays.
    let first_unprivileged = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    fs::write(first_unprivileged, "45000\n")?;
    let refused = self::agent(s, &format!("{BOTH}{POLICY}"), SMALL)?.finish()?;
    let refused = refused.ended_with(1)?;
    ensure!(
        refused.stderr.contains("ip_unprivileged_port_start"),
        "{refused:?}"
    );
    ensure!(!s.is_pinned(), "something was done");
    ensure_eq!(kept_out()?, "", "something was done");
    let agent = self::agent(s, "PORT 40012 TCP RIGHT\n", SMALL)?.start()?;
    set(s, &format!("{BOTH}{POLICY}"), SMALL)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 1, "{answer}");
    ensure_eq!(kept_out()?, "40012", "the old policy's");
    let status = agent.status()?;
    ensure_eq!(status["pool"]["range_before"], Value::Null, "{status}");
    ensure_eq!(status["pool"]["dropped"], Value::Null, "{status}");
    drop(agent);
    detach(s)?;

    let refused = self::agent(s, "TCPCONFIG EPHEMERALPORTS 40000 40019\n", SMALL)?.finish()?;
    let refused = refused.ended_with(1)?;
    ensure!(refused.stderr.contains("one range for both"), "{refused:?}");
    Ok(())
}

/// `detach` doesn't take back what is not ours any more.
fn a_range_that_others_set_stays(s: &Sandbox) -> Result<()> {
    agent(s, BOTH, SMALL)?.start()?.kill()?;
    set_range(2000, 3000)?;
    detach(s)?;
    ensure_eq!(range()?, "2000-3000", "after `detach`");
    Ok(())
}

/// `manage = false` and `run --leave-pool`: nothing is written, and it is said. A
/// reload that says so gives everything back.
fn the_config_leaves_the_pool_alone(s: &Sandbox) -> Result<()> {
    const LEFT: &str = "[ephemeral]\nmanage = false\n";
    let right = s.caller("right");
    set_range(40010, 40011)?;
    keep_out("50000")?;
    let agent = agent(s, POLICY, LEFT)?.start()?;
    ensure_eq!(kept_out()?, "50000", "nothing is managed");
    let status = agent.status()?;
    ensure!(is_missing(&status), "{status}");
    ensure_eq!(status["pool"]["managed"], false, "{status}");
    ensure_eq!(
        draw(&right, Way::Listen, false)?.ports,
        [40010, 40011],
        "port 0"
    );
    agent.terminate()?;

    let agent = s.agent_again()?.arg("--leave-pool").start()?;
    ensure_eq!(kept_out()?, "50000", "nothing is managed");
    ensure!(is_missing(&agent.status()?), "it is not said");
    agent.terminate()?;

    let agent = self::agent(s, POLICY, "[ephemeral]\nfloor = 0\n")?.start()?;
    ensure_eq!(kept_out()?, "40010-40011,50000", "managed");
    ensure!(!is_missing(&agent.status()?), "it is not managed");
    ensure!(draw(&right, Way::Listen, false)?.ports.is_empty(), "port 0");
    reload(&agent, POLICY, LEFT)?;
    ensure_eq!(kept_out()?, "50000", "given back");
    ensure!(is_missing(&agent.status()?), "it is not said");

    let checked = s.portreeve(&[
        "check",
        &s.profile().display().to_string(),
        "--config",
        &s.config().display().to_string(),
    ])?;
    ensure!(checked.stderr.contains("PRV503"), "{checked:?}");
    Ok(())
}

/// Audit mode judges and reports; on the host nothing changes.
fn audit_leaves_the_pool_alone(s: &Sandbox) -> Result<()> {
    keep_out("50000")?;
    let profile = format!("{BOTH}{POLICY}");
    let audit = format!("mode = \"audit\"\n{SMALL}");
    let agent = agent(s, &profile, &audit)?.start()?;
    ensure_eq!(kept_out()?, "50000", "in audit mode");
    ensure_eq!(range()?, "32768-60999", "in audit mode");
    ensure!(is_missing(&agent.status()?), "it is not said");
    reload(&agent, &profile, SMALL)?;
    ensure_eq!(kept_out()?, "40010-40011,50000", "enforced");
    ensure_eq!(range()?, "40000-40019", "enforced");
    reload(&agent, &profile, &audit)?;
    ensure_eq!(kept_out()?, "50000", "in audit mode again");
    ensure_eq!(range()?, "32768-60999", "in audit mode again");
    Ok(())
}

/// What was asked for and can't be had is an error, and nothing is half done.
fn a_pool_that_can_not_be_managed(s: &Sandbox) -> Result<()> {
    keep_out("50000")?;
    let mut start = agent(s, POLICY, "")?;
    start.launch.hidden = vec!["/proc/sys/net/ipv4".into()];
    let refused = start.finish()?.ended_with(1)?;
    for word in ["ip_local_reserved_ports", "manage = false"] {
        ensure!(refused.stderr.contains(word), "{refused:?}");
    }
    ensure!(!s.is_pinned(), "something was done");
    ensure_eq!(kept_out()?, "50000", "something was done");

    set(s, POLICY, "[ephemeral]\nmanage = false\n")?;
    let mut start = s.agent_again()?;
    start.launch.hidden = vec!["/proc/sys/net/ipv4".into()];
    start.start().map(drop)
}

/// With `[scope] netns = "all"` the pool of other namespaces stays as it is, and the
/// status says so.
fn only_the_own_namespace_in_all(s: &Sandbox) -> Result<()> {
    let agent = s.agent(POLICY, QUIET.everywhere())?.start()?;
    ensure_eq!(kept_out()?, "40010-40011", "the own one");
    let status = agent.status()?;
    ensure_eq!(status["pool"]["managed"], true, "{status}");
    ensure!(is_missing(&status), "{status}");
    Ok(())
}

/// Adding is one step for the kernel: a port that somebody else adds just then is
/// not lost.
fn what_others_add_at_the_same_time_stays(s: &Sandbox) -> Result<()> {
    let profile = |count| as_profile(&comb(20000, count));
    let agent = agent(s, &profile(1), "")?.start()?;
    let theirs = comb(40000, 3000);
    let list = format!("{},{}", as_list(&comb(20000, 200)), as_list(&theirs));
    thread::scope(|scope| -> Result<()> {
        let adding = scope.spawn(|| theirs.iter().try_for_each(|port| add(*port)));
        for count in (2..=200).step_by(11) {
            reload(&agent, &profile(count), "")?;
        }
        let added = adding.join();
        added.map_err(|_| anyhow::anyhow!("the thread panicked"))?
    })?;
    ensure!(kept_out()? == list, "something was lost");
    drop(agent);
    detach(s)?;
    ensure!(kept_out()? == as_list(&theirs), "after `detach`");
    Ok(())
}

/// Adds a port as we do: behind the beginning of the file.
fn add(port: u16) -> Result<()> {
    let file = fs::OpenOptions::new()
        .write(true)
        .open("/proc/sys/net/ipv4/ip_local_reserved_ports")?;
    Ok(file.write_all_at(format!("{port}\n").as_bytes(), 1)?)
}

/// Whether the policy of [`comb`]'s ports from 20000 on is in force.
fn is_enforced(s: &Sandbox) -> Result<bool> {
    let result = Binder::attempt(&s.caller("wrong"), &tcp(20000))?;
    Ok(result == Err(refusal()))
}

/// Whichever change of a start is the last one: `detach`, or the next agent and then
/// `detach`, leave the pool as it was.
fn killed_at_every_step_of_a_start(s: &Sandbox) -> Result<()> {
    let theirs = as_list(&comb(10000, 20));
    let ours = comb(20000, 2000);
    let profile = format!("{BOTH}{}", as_profile(&ours));
    keep_out(&theirs)?;
    let list = format!("{theirs},{}", as_list(&ours));
    let mut touched = 0;
    for nth in 0.. {
        ensure!(nth < 200, "a start without end");
        let start = agent(s, &profile, SMALL)?;
        let end = kill_behind(&start.launch, nth)?;
        let context = || format!("killed behind change {nth} of a start");
        // Kept out first, then enforced.
        if is_enforced(s)? {
            ensure!(kept_out()? == list, "enforced too early: {}", context());
            ensure_eq!(range()?, "40000-40019", "{}", context());
        }
        touched += usize::from(kept_out()? != theirs || range()? != "32768-60999");
        if nth % 2 == 0 {
            let agent = start.start().with_context(context)?;
            ensure!(kept_out()? == list, "not kept out: {}", context());
            ensure_eq!(range()?, "40000-40019", "{}", context());
            agent.kill()?;
        }
        if s.is_pinned() {
            detach(s).with_context(context)?;
        }
        ensure_eq!(kept_out()?, theirs, "{}", context());
        ensure_eq!(range()?, "32768-60999", "{}", context());
        if end != End::Killed {
            ensure_eq!(end, End::Printed, "the end of a start");
            break;
        }
    }
    // In the midst of a long list, too.
    ensure!(touched > 3, "only {touched} kills changed something");
    Ok(())
}

/// Whichever change of a `detach` is the last one, of a list that takes several
/// writes too: a second `detach` leaves the pool as it was.
fn killed_at_every_step_of_giving_back(s: &Sandbox) -> Result<()> {
    let theirs = as_list(&comb(10001, 1500));
    let ours = comb(20000, 10);
    let profile = format!("{BOTH}{}", as_profile(&ours));
    let mut cut = 0;
    for nth in 0.. {
        ensure!(nth < 200, "a detach without end");
        keep_pieces_out(&theirs)?;
        let start = agent(s, &profile, SMALL)?;
        let mut launch = start.launch.clone();
        start.start()?.kill()?;
        launch.arguments = vec!["detach".into(), "--yes".into()];
        launch.arguments.extend(s.places());
        let end = kill_behind(&launch, nth)?;
        let context = || format!("killed behind change {nth} of `detach`");
        if is_enforced(s)? {
            let list = kept_out()?;
            ensure!(
                list.ends_with(&as_list(&ours)),
                "still enforced: {}",
                context()
            );
        }
        cut += usize::from(kept_out()?.len() < theirs.len());
        if s.is_pinned() {
            detach(s).with_context(context)?;
        }
        ensure!(kept_out()? == theirs, "not what was there: {}", context());
        ensure_eq!(range()?, "32768-60999", "{}", context());
        if end != End::Killed {
            ensure_eq!(end, End::Printed, "the end of `detach`");
            break;
        }
    }
    ensure!(cut > 0, "no kill came between two writes of the list");
    Ok(())
}

/// Sets a list that is longer than what the kernel takes at a time.
fn keep_pieces_out(list: &str) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open("/proc/sys/net/ipv4/ip_local_reserved_ports")?;
    file.write_all(format!("{list}\n").as_bytes())?;
    Ok(())
}

/// The pool that was changed is set back, not that of the namespace where `detach`
/// happens to run.
fn detached_from_another_namespace(s: &Sandbox) -> Result<()> {
    keep_out("50000")?;
    agent(s, &format!("{BOTH}{POLICY}"), SMALL)?
        .start()?
        .kill()?;
    let elsewhere = || -> Result<(String, String)> {
        portreeve_sandbox::isolate()?;
        keep_out("40010-40012")?;
        let status = s
            .portreeve(&["status", "--format", "json"])?
            .ended_with(2)?;
        ensure_eq!(status.json()?["pool"]["free"], Value::Null, "{status:?}");
        detach(s)?;
        Ok((kept_out()?, range()?))
    };
    let there = thread::scope(|scope| scope.spawn(elsewhere).join());
    let there = there.map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    ensure_eq!(there.0, "40010-40012", "elsewhere");
    ensure_eq!(there.1, "32768-60999", "elsewhere");
    ensure_eq!(kept_out()?, "50000", "here");
    ensure_eq!(range()?, "32768-60999", "here");
    // Expectations of the next agent are those of a new one.
    let agent = s.agent(POLICY, QUIET)?.start()?;
    expect(
        &agent,
        POLICY,
        QUIET,
        &[Case::other_job(
            &s.caller("wrong"),
            tcp(40010),
            "40010 TCP RIGHT",
        )],
    )
}
