//! Small policies, the largest one, and limits: what is not written grants nothing
//! and refuses nothing.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use nix::errno::Errno;

use crate::{
    ensure_eq,
    harness::{
        Binder, Caller, Case, Sandbox, Settings, Want,
        expect::{expect_apart, expect_at_once, judge},
        refusal, tcp, udp,
    },
    tests,
};

tests![
    an_empty_profile_reserves_nothing,
    only_one_port_is_reserved,
    only_one_entry,
    every_port_is_reserved_by_one_entry,
    every_port_has_an_entry_of_its_own,
    as_many_jobs_on_one_port_as_there_may_be,
    one_job_too_many_on_one_port,
    bad_entries_are_dropped_if_asked_for,
];

const QUIET: Settings = Settings::DEFAULT;
/// For a policy that leaves nothing to hand out.
const POOLLESS: Settings = QUIET.any_pool();

/// Ports of every region: edges, powers of two and their neighbours, and a walk.
fn sample() -> Vec<u16> {
    let mut ports: Vec<u16> = vec![1, 21, 80, 1999, 2000, 2001, 32767, 65534, 65535];
    for shift in 1..16 {
        let power = 1u16 << shift;
        ports.extend([power - 1, power, power + 1]);
    }
    ports.extend((0..40).map(|step| 1 + step * 1637));
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Every sampled bind but those that `outcome` has its own word for is free.
fn sampled<'a>(
    caller: &Caller,
    outcome: impl Fn(&Caller, Want) -> Option<Case<'a>>,
) -> Vec<Case<'a>> {
    let wants = sample().into_iter().flat_map(|port| [tcp(port), udp(port)]);
    wants
        .map(|want| outcome(caller, want.clone()).unwrap_or_else(|| Case::unreserved(caller, want)))
        .collect()
}

/// `PRT-44`: without entries all is free, however the file says nothing.
fn an_empty_profile_reserves_nothing(s: &Sandbox) -> Result<()> {
    for profile in [
        "",
        "; nothing\n\n   \t\n",
        "PORT\n",
        "PORTRANGE ; none\nPORT\n",
    ] {
        let agent = s.agent(profile, QUIET)?.start()?;
        let cases = sampled(&s.caller("anybody"), |_, _| None);
        expect_at_once(&agent, profile, QUIET, &cases)?;
        ensure_eq!(agent.status()?["profile"]["entries"], 0, "{profile:?}");
        ensure_eq!(agent.ports()?, [] as [serde_json::Value; 0], "{profile:?}");
    }
    Ok(())
}

/// `PRT-07`: one RESERVED port, and not its neighbours, nor its other protocol.
fn only_one_port_is_reserved(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 2000 TCP RESERVED\n";
    let caller = s.caller("reserved");
    let entry = "2000 TCP RESERVED";
    let agent = judge(
        s,
        profile,
        QUIET,
        &[Case::blocked(&caller, tcp(2000), entry)],
    )?;
    let cases = sampled(&caller, |caller, want| {
        let is_it = want.port == 2000 && want.protocol() == "tcp";
        is_it.then(|| Case::blocked(caller, want, entry))
    });
    expect_at_once(&agent, profile, QUIET, &cases)
}

/// `PRT-02`: one entry: all others find every other port free.
fn only_one_entry(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 32768 UDP RIGHT\n";
    let (right, wrong) = (s.caller("right"), s.caller("wrong"));
    let entry = "32768 UDP RIGHT";
    let agent = judge(
        s,
        profile,
        QUIET,
        &[Case::other_job(&wrong, udp(32768), entry)],
    )?;
    let is_it = |want: &Want| want.port == 32768 && want.protocol() == "udp";
    let cases = sampled(&wrong, |caller, want| {
        is_it(&want).then(|| Case::other_job(caller, want, entry))
    });
    expect_at_once(&agent, profile, QUIET, &cases)?;
    let cases = sampled(&right, |caller, want| {
        is_it(&want).then(|| Case::permitted(caller, want, entry))
    });
    expect_at_once(&agent, profile, QUIET, &cases)
}

/// `RNG-04`: all ports of one protocol, and none of the other.
fn every_port_is_reserved_by_one_entry(s: &Sandbox) -> Result<()> {
    let profile = "PORTRANGE\n 1 65535 UDP RESERVED\n";
    let entry = "1 65535 UDP RESERVED";
    let caller = s.caller("anybody");
    let agent = judge(
        s,
        profile,
        POOLLESS,
        &[Case::blocked(&caller, udp(4321), entry)],
    )?;
    let cases = sampled(&caller, |caller, want| {
        let is_it = want.protocol() == "udp";
        is_it.then(|| Case::blocked(caller, want, entry))
    });
    expect_apart(&agent, profile, POOLLESS, &cases)?;
    // Not refused: there is none left that could be handed out.
    let result = Binder::attempt(&caller, &udp(0))?;
    ensure_eq!(result, Err(Errno::EADDRINUSE), "port 0");
    Ok(())
}

/// 131070 entries, one for each port there is: the tables' limit, each found.
fn every_port_has_an_entry_of_its_own(s: &Sandbox) -> Result<()> {
    let mut profile = String::from("PORT\n");
    for protocol in ["TCP", "UDP"] {
        for port in 1..=65535u32 {
            writeln!(profile, "{port} {protocol} J{}", port % 7)?;
        }
    }
    let agent = s.agent(&profile, POOLLESS)?.start()?;
    let before = agent.status()?;
    ensure_eq!(before["profile"]["entries"], 131_070, "entries in force");
    let wants: Vec<Want> = sample()
        .into_iter()
        .flat_map(|port| [tcp(port), udp(port)])
        .collect();
    let binder = Binder::start(&s.caller("j3"), &wants)?;
    let mut permitted = 0;
    for (want, result) in wants.iter().zip(&binder.results) {
        let right = want.port % 7 == 3;
        permitted += usize::from(right);
        let expected = if right { Ok(()) } else { Err(refusal()) };
        ensure_eq!(*result, expected, "{want}");
    }
    let counters = &agent.status()?["counters"];
    ensure_eq!(counters["permitted"], permitted, "permitted");
    ensure_eq!(counters["other-job"], wants.len() - permitted, "refused");
    Ok(())
}

fn jobs_on_one_port(count: u32) -> String {
    let mut profile = String::from("PORT\n");
    for job in 1..=count {
        profile.push_str(&format!("4321 TCP JOB{job:03}\n"));
    }
    profile
}

/// `PRT-09`: 256 jobs may have one port; the last of them is found like the first.
fn as_many_jobs_on_one_port_as_there_may_be(s: &Sandbox) -> Result<()> {
    let profile = jobs_on_one_port(256);
    let cases = [
        Case::permitted(&s.caller("job001"), tcp(4321), "4321 TCP JOB001"),
        Case::permitted(&s.caller("job128"), tcp(4321), "4321 TCP JOB128"),
        Case::permitted(&s.caller("job255"), tcp(4321), "4321 TCP JOB255"),
        Case::permitted(&s.caller("job256"), tcp(4321), "4321 TCP JOB256"),
        Case::other_job(&s.caller("job257"), tcp(4321), "4321 TCP JOB001"),
    ];
    judge(s, &profile, QUIET, &cases).map(drop)
}

/// One job more is an error that names its line, and nothing is put in force.
fn one_job_too_many_on_one_port(s: &Sandbox) -> Result<()> {
    let refused = s.agent(&jobs_on_one_port(257), QUIET)?.finish()?;
    let refused = refused.ended_with(1)?;
    ensure!(
        refused.stderr.contains("256") && refused.stderr.contains(":258"),
        "neither limit nor line in {}",
        refused.stderr
    );
    ensure!(!s.is_pinned(), "something was pinned");
    Ok(())
}

/// `SYN-12`, `RNG-13`, `LNT-06`: with `on_error = "skip"` a bad entry is dropped and
/// the rest applies, as on z/OS, and every report counts what is missing; without,
/// nothing does.
fn bad_entries_are_dropped_if_asked_for(s: &Sandbox) -> Result<()> {
    let profile = "\
PORTRANGE
  4000 100 TCP RANGE
PORT
  4050 TCP INSIDE
  5000 TCP GOOD
  70000 TCP HIGH
  5001 TCP ALSO
";
    let refused = s.agent(profile, QUIET)?.finish()?.ended_with(1)?;
    ensure!(refused.stderr.contains("not started"), "{}", refused.stderr);
    let wrong = s.caller("wrong");
    let cases = [
        Case::permitted(&s.caller("range"), tcp(4050), "4000 100 TCP RANGE"),
        Case::other_job(&s.caller("inside"), tcp(4050), "4000 100 TCP RANGE"),
        Case::other_job(&wrong, tcp(5000), "5000 TCP GOOD"),
        Case::permitted(&s.caller("good"), tcp(5000), "5000 TCP GOOD"),
        Case::other_job(&wrong, tcp(5001), "5001 TCP ALSO"),
        Case::unreserved(&wrong, tcp(5002)),
    ];
    let agent = judge(s, profile, QUIET.skip_errors(), &cases)?;
    let log = agent.log();
    ensure!(log.contains("4050") && log.contains("70000"), "{log}");
    let dropped = "3 entries (2 DROPPED for errors)";
    let said = agent.ready();
    ensure!(said.contains(dropped), "no {dropped:?} in {said}");
    let status = agent.status()?;
    ensure_eq!(status["profile"]["dropped"], 2, "{status}");
    let profile = s.profile().display().to_string();
    for (how, code, says) in [
        ("skip", 1, "3 of 5 reservations take effect, 2 errors"),
        ("refuse", 1, "3 of 5 reservations would take effect"),
    ] {
        let checked = s
            .portreeve(&["check", &profile, "--on-error", how])?
            .ended_with(code)?;
        ensure!(checked.stdout.contains(says), "no {says:?} in {checked:?}");
    }
    Ok(())
}
