//! Programs of others on the same hooks. What they could undo is in `attacks::neighbours`.

use anyhow::{Context as _, Result};
use nix::errno::Errno;

use crate::{
    ensure_eq,
    harness::{
        Binder, Case, NOBODY, Need, Sandbox, Settings,
        expect::expect,
        neighbour::{Always, Neighbour},
        refusal,
        snapshot::Snapshot,
        tcp,
    },
    tests,
};

tests![
    a_refusal_by_others_is_not_ours,
    a_grant_beside_others,
    one_agent_below_another,
    neighbours_are_named,
];

const PROFILE: &str = "PORT\n 21 TCP RIGHT\n 4321 TCP RIGHT\n";
const LOW: &str = "21 TCP RIGHT";
const ENTRY: &str = "4321 TCP RIGHT";
const QUIET: Settings = Settings::DEFAULT;

/// Who refuses first says the errno: theirs stays, and we neither count nor tell.
fn a_refusal_by_others_is_not_ours(s: &Sandbox) -> Result<()> {
    Need::EarlierAnswer.check()?;
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let below = s.cgroup_below("theirs")?;
    let neighbour = Neighbour::attach(&below, Always::Refuse)?;
    let before = Snapshot::take(&agent)?;
    let wrong = s.caller("wrong").cgroup(&below);
    let right = s.caller("right").cgroup(&below);
    for (caller, port) in [(&wrong, 4321), (&wrong, 4322), (&right, 4321)] {
        let result = Binder::attempt(caller, &tcp(port))?;
        ensure_eq!(result, Err(Errno::EPERM), "{port} by {}", caller.name);
    }
    let after = Snapshot::take(&agent)?;
    ensure_eq!(after.events, before.events, "events");
    ensure_eq!(after.refusals, before.refusals, "refusals by line");
    ensure_eq!(
        after.counters["other-job"],
        before.counters["other-job"],
        "counter"
    );
    // Their program is on IPv4 only; on IPv6 the policy is the only one to judge.
    let v6 = tcp(4321).on(std::net::Ipv6Addr::LOCALHOST);
    expect(
        &agent,
        PROFILE,
        QUIET,
        &[Case::other_job(&wrong, v6, ENTRY)],
    )?;
    drop(neighbour);
    expect(
        &agent,
        PROFILE,
        QUIET,
        &[Case::other_job(&wrong, tcp(4321), ENTRY)],
    )
}

/// `PRT-39`: a grant holds beside programs that have nothing to say.
fn a_grant_beside_others(s: &Sandbox) -> Result<()> {
    let settings = QUIET.grant_any().report_all();
    let agent = s.agent(PROFILE, settings)?.start()?;
    let below = s.cgroup_below("theirs")?;
    let _beside = Neighbour::attach(&s.cgroup, Always::Allow)?;
    let _deep = Neighbour::attach(&below, Always::Allow)?;
    let user = s.caller("right").user(NOBODY);
    let cases = [
        Case::granted(&user, tcp(21), LOW),
        Case::granted(&user.clone().cgroup(&below), tcp(21), LOW),
        Case::unreserved_left_to_host(&user, tcp(22)),
    ];
    expect(&agent, PROFILE, settings, &cases)
}

/// Two agents, one on a cgroup below the other's: what either refuses is refused,
/// and counted by the one that did.
fn one_agent_below_another(s: &Sandbox) -> Result<()> {
    Need::EarlierAnswer.check()?;
    let inner = Sandbox::new()?;
    let cgroup = s.cgroup_below("inner")?;
    let outer = s.agent(PROFILE, QUIET)?.start()?;
    let stricter = "PORT\n 4321 TCP OTHER\n 4322 TCP RIGHT\n";
    let path = cgroup.display().to_string();
    let below = inner
        .agent(stricter, QUIET)?
        .option("--cgroup", &path)
        .start()?;
    let (right, other) = (
        s.caller("right").cgroup(&cgroup),
        s.caller("other").cgroup(&cgroup),
    );
    let refused = Err(refusal());
    let (before, before_below) = (Snapshot::take(&outer)?, Snapshot::take(&below)?);
    for (caller, port, expected) in [
        (&right, 4321, refused),
        (&other, 4321, refused),
        (&other, 4322, refused),
        (&right, 4322, Ok(())),
    ] {
        let result = Binder::attempt(caller, &tcp(port))?;
        ensure_eq!(result, expected, "{port} by {}", caller.name);
    }
    let (after, after_below) = (Snapshot::take(&outer)?, Snapshot::take(&below)?);
    let refusals = |before: &Snapshot, after: &Snapshot| {
        after.counters["other-job"] - before.counters["other-job"]
    };
    ensure_eq!(refusals(&before, &after), 1, "by the outer agent");
    ensure_eq!(
        refusals(&before_below, &after_below),
        2,
        "by the inner agent"
    );
    below.terminate()?;
    inner.close()?;
    let again = Binder::attempt(&other, &tcp(4322))?;
    ensure_eq!(again, Ok(()), "without the inner agent");
    let wrong = Case::other_job(&other, tcp(4321), ENTRY);
    expect(&outer, PROFILE, QUIET, &[wrong])
}

/// `status` names the programs that judge beside ours.
fn neighbours_are_named(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let count = || -> Result<usize> {
        let status = agent.status()?;
        let neighbours = status["neighbours"].as_array();
        Ok(neighbours.context("no field for neighbours")?.len())
    };
    ensure_eq!(count()?, 0, "neighbours at first");
    let neighbour = Neighbour::attach(&s.cgroup, Always::Allow)?;
    ensure_eq!(count()?, 1, "neighbours with one more program");
    drop(neighbour);
    ensure_eq!(count()?, 0, "neighbours at last");
    Ok(())
}
