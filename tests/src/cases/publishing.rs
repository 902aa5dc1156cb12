//! Publishing under load: no bind ever sees parts of two policies.

use std::{env, fmt::Write as _, fs, thread, time::Instant};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;

use crate::{
    ensure_eq,
    harness::{
        Binder, Sandbox, Settings, Spinner, Want, control,
        pace::{limit, times},
        refusal, tcp, udp,
    },
    tests,
};

tests![
    reloads_on_every_processor,
    reloads_on_one_processor,
    a_policy_comes_and_goes,
];

const QUIET: Settings = Settings::DEFAULT;
/// For a policy that leaves nothing to hand out.
const POOLLESS: Settings = QUIET.any_pool();

/// The port that every profile reserves for RIGHT.
const PORT: u16 = 4321;
/// How many jobs have it.
const JOBS: u16 = 16;

/// A profile whose entries for [`PORT`] stand behind `before` others, which are all
/// WRONG's: whatever index means RIGHT here means WRONG in a profile with another
/// `before`. RIGHT is the last of many on its port, so that a look-up takes long.
fn profile(before: u16) -> Result<String> {
    let mut profile = String::from("PORT\n");
    for port in PORT - before..PORT {
        writeln!(profile, " {port} TCP WRONG\n {port} UDP WR*NG")?;
    }
    for other in 0..JOBS - 1 {
        writeln!(profile, " {PORT} TCP OTHER{other}")?;
    }
    writeln!(profile, " {PORT} TCP RIGHT\n {PORT} UDP R?G*T")?;
    for port in PORT + 1..=PORT + 3 * JOBS - before {
        writeln!(profile, " {port} TCP WRONG\n {port} UDP WR*NG")?;
    }
    Ok(profile)
}

/// `OBY-06`: thousands of reloads between profiles that put the same entries in
/// different places, while both jobs bind all the time. Three profiles in turn: the
/// tables have two halves, and each must be filled with something else every time.
fn take_turns(s: &Sandbox, times: u64, cpu: Option<usize>) -> Result<()> {
    let mut start = s.agent(&profile(0)?, QUIET)?;
    start.launch.cpu = cpu;
    let agent = start.start()?;
    let v6 = std::net::Ipv6Addr::LOCALHOST;
    let wants: [Want; 3] = [tcp(PORT), tcp(PORT).on(v6), udp(PORT)];
    // The agent is to be interrupted at times, not starved.
    let binder = |name: &str| s.caller(name).cpu(cpu).nice(10);
    let right = Spinner::start(&binder("right"), &wants)?;
    let wrong = Spinner::start(&binder("wrong"), &wants)?;
    // All files are there from the start; changing the profile is a rename.
    let next = [
        s.write("next.1", profile(JOBS + 5)?)?,
        s.write("next.2", profile(2 * JOBS + 10)?)?,
    ];

    let before = Resources::of(agent.pid())?;
    let began = Instant::now();
    for number in 2..times + 2 {
        let old = s.dir.join("old");
        fs::rename(s.profile(), &old)?;
        fs::rename(&next[0], s.profile())?;
        fs::rename(&next[1], &next[0])?;
        fs::rename(&old, &next[1])?;
        ensure_eq!(control::reload(&s.socket)?, number, "generation");
    }
    let seconds = began.elapsed().as_secs_f64();
    let (right, wrong) = (right.stop()?, wrong.stop()?);
    ensure!(
        right.refused == 0 && right.other == 0,
        "the right job was refused within {times} reloads: {right:?}"
    );
    ensure!(
        wrong.allowed == 0 && wrong.other == 0,
        "the wrong job was allowed within {times} reloads: {wrong:?}"
    );
    ensure!(
        right.total() > times && wrong.total() > times,
        "too few binds: {right:?}, {wrong:?}"
    );
    // It notices some time later that somebody hung up.
    let deadline = Instant::now() + limit(2);
    let mut after = Resources::of(agent.pid())?;
    while after.descriptors > before.descriptors && Instant::now() < deadline {
        thread::sleep(limit(1) / 50);
        after = Resources::of(agent.pid())?;
    }
    ensure!(
        after.descriptors <= before.descriptors && after.kibibytes < before.kibibytes + 64 * 1024,
        "the agent grew from {before:?} to {after:?}"
    );
    // Each bind was counted once, whatever was being published meanwhile; refusals
    // by the entry that stands for its port, which is the same one in all profiles.
    let counters = &agent.status()?["counters"];
    ensure_eq!(counters["permitted"], right.allowed, "binds permitted");
    ensure_eq!(counters["other-job"], wrong.refused, "binds refused");
    let rows = agent.ports()?;
    let of_port = rows.iter().filter(|row| row["port"] == PORT);
    let by_entry: u64 = of_port.filter_map(|row| row["refusals"].as_u64()).sum();
    ensure_eq!(by_entry, wrong.refused, "refusals by entry");
    let place = if cpu.is_some() {
        " on one processor"
    } else {
        ""
    };
    eprintln!(
        "  {times} reloads in {seconds:.1} s{place}: {} binds allowed and {} refused, all rightly",
        right.allowed, wrong.refused,
    );
    drop(agent);
    Ok(())
}

/// What a process holds.
#[derive(Debug)]
struct Resources {
    descriptors: usize,
    kibibytes: u64,
}

impl Resources {
    fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|text| text.trim().strip_suffix(" kB"));
        Ok(Self {
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
            kibibytes: resident.context("no VmRSS")?.parse()?,
        })
    }
}

/// How often the policy is replaced; `many` times in a long run.
fn reloads(few: u64, many: u64) -> u64 {
    times(env::var("PORTREEVE_LONG").map_or(few, |_| many))
}

/// Where the agent fills the tables while binds are judged beside it.
fn reloads_on_every_processor(s: &Sandbox) -> Result<()> {
    take_turns(s, reloads(1_000, 2_000), None)
}

/// Where the agent is interrupted while it fills the tables and, on kernels that
/// interrupt themselves, a bind while it is judged.
fn reloads_on_one_processor(s: &Sandbox) -> Result<()> {
    take_turns(s, reloads(1_500, 10_000), Some(0))
}

/// Between an empty profile and one that reserves everything: a bind is judged by
/// the one or the other, and what the reload has answered is in force.
fn a_policy_comes_and_goes(s: &Sandbox) -> Result<()> {
    let full = "PORTRANGE\n 1 65535 TCP RIGHT\n 1 65535 UDP RIGHT\n";
    let agent = s.agent("", POOLLESS)?.start()?;
    let ports = [1u16, 1023, 4321, 65535];
    let wants: Vec<Want> = ports
        .into_iter()
        .flat_map(|port| [tcp(port), udp(port)])
        .collect();
    let mut right = Spinner::start(&s.caller("right"), &wants)?;
    for _ in 0..times(20) {
        for (profile, expected) in [(full, Err(refusal())), ("", Ok(()))] {
            s.set_policy(profile, POOLLESS)?;
            control::reload(&s.socket)?;
            let results = Binder::start(&s.caller("wrong"), &wants)?.results;
            // The right job may have the port at that very moment.
            let in_use = Err(Errno::EADDRINUSE);
            ensure!(
                results
                    .iter()
                    .all(|result| *result == expected || expected.is_ok() && *result == in_use),
                "{results:?} under {profile:?}"
            );
        }
    }
    let right = right.tally()?;
    ensure!(right.refused == 0, "the right job was refused: {right:?}");
    drop(agent);
    Ok(())
}
