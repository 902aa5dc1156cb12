//! Programs of somebody else on the same hooks, before ours, below and behind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use serde_json::json;

use super::{LOUD, PORT, PROFILE, entry};
use crate::{
    ensure_eq,
    harness::{
        Binder, Case, Need, Sandbox, Servant, Settings, Want, Watch,
        expect::{expect, expect_of_deed},
        neighbour::{Always, Neighbour},
        request::Kind,
        tcp, udp,
    },
    tests,
};

tests![
    a_program_that_moves_the_port,
    a_program_that_allows_everything,
    a_program_that_undoes_refusals_below_ours,
    a_program_behind_ours_that_undoes_a_refusal,
    a_program_that_is_attached_exclusively,
];

const QUIET: Settings = Settings::DEFAULT;
const POLICY: &str = "\
PORT
  4321 TCP RIGHT
  4321 UDP RIGHT
  4322 TCP *
";

fn local(v6: bool) -> IpAddr {
    match v6 {
        true => Ipv6Addr::LOCALHOST.into(),
        false => Ipv4Addr::LOCALHOST.into(),
    }
}

/// What our program judged is not what the socket gets, so that is judged too. From a
/// port that nobody reserved, from port 0, and from one that everybody may have.
fn a_program_that_moves_the_port(s: &Sandbox) -> Result<()> {
    let (right, wrong) = (s.caller("right"), s.caller("wrong"));
    let asked = [4400, 0, 4322];
    let bind = |caller, want: &Want, asked| -> Result<_> {
        let servant = Servant::start(caller)?;
        let socket = servant.socket(want.kind, want.address.is_ipv6())?;
        let said = servant.bind(socket, want.address, asked)?;
        let port = servant.name(socket)?.port();
        ensure_eq!(port, if said.is_ok() { PORT } else { 0 }, "{want}");
        Ok((servant.into(), said))
    };
    let free = |v6: bool| -> Result<()> {
        let _neighbour = Neighbour::attach_moving(&s.cgroup, v6, PORT)?;
        for kind in [Kind::Tcp, Kind::Udp] {
            let want = tcp(PORT).kind(kind).on(local(v6));
            for asked in asked {
                ensure_eq!(bind(&wrong, &want, asked)?.1, Ok(()), "without an agent");
            }
        }
        Ok(())
    };
    free(false)?;
    free(true)?;
    let agent = s.agent(POLICY, QUIET)?.start()?;
    for v6 in [false, true] {
        let below = s.cgroup_below("below")?;
        let hook = if v6 { "post_bind6" } else { "post_bind4" };
        let at_ours = Neighbour::attach_moving(&s.cgroup, v6, PORT)?;
        for kind in [Kind::Tcp, Kind::Udp] {
            let want = tcp(PORT).kind(kind).on(local(v6));
            let entry = entry(&want);
            for asked in [4400, 0] {
                let refused = Case::other_job(&wrong, want.clone(), entry).but("hook", hook);
                expect_of_deed(&agent, POLICY, QUIET, &refused, &|| {
                    bind(&wrong, &want, asked)
                })?;
                let owner = Case::permitted(&right, want.clone(), entry);
                expect_of_deed(&agent, POLICY, QUIET, &owner, &|| {
                    bind(&right, &want, asked)
                })?;
            }
            let mut watch = Watch::start(&agent)?;
            let moved = bind(&wrong, &want, 4322)?.1;
            ensure!(moved.is_err(), "from everybody's port: {want}");
            let event = json!({
                "hook": hook, "verdict": "deny", "reason": "other-job", "port": PORT,
                "address": want.address,
            });
            let permitted = u64::from(kind == Kind::Tcp);
            watch.expect(&[("permitted", permitted), ("other-job", 1)], &[event])?;
        }
        drop(at_ours);
        // Below ours it runs before, and the bind hook judges the port itself.
        let _below = Neighbour::attach_moving(&below, v6, PORT)?;
        let (right, wrong) = (right.clone().cgroup(&below), wrong.clone().cgroup(&below));
        for want in [tcp(4400).on(local(v6)), udp(4400).on(local(v6))] {
            let entry = entry(&want);
            let case = Case::other_job(&wrong, want.clone(), entry).but("port", PORT);
            let owner = Case::permitted(&right, want, entry);
            expect(&agent, POLICY, QUIET, &[case, owner])?;
        }
    }
    Ok(())
}

/// Before ours, beside, behind and below: who says nothing but "go on" takes nothing
/// back.
fn a_program_that_allows_everything(s: &Sandbox) -> Result<()> {
    let wrong = s.caller("wrong");
    let below = s.cgroup_below("theirs")?;
    let cases = [
        Case::other_job(&wrong, tcp(PORT), "4321 TCP RIGHT"),
        Case::other_job(&wrong.clone().cgroup(&below), tcp(PORT), "4321 TCP RIGHT"),
        Case::permitted(
            &s.caller("right").cgroup(&below),
            tcp(PORT),
            "4321 TCP RIGHT",
        ),
        Case::unreserved(&wrong, tcp(4322)),
    ];
    let early = Neighbour::attach(&s.cgroup, Always::Allow)?;
    let agent = crate::harness::expect::judge(s, PROFILE, LOUD, &cases)?;
    let late = Neighbour::attach(&s.cgroup, Always::Allow)?;
    let deep = Neighbour::attach(&below, Always::Allow)?;
    expect(&agent, PROFILE, LOUD, &cases)?;
    drop((early, late, deep));
    expect(&agent, PROFILE, LOUD, &cases)
}

/// `bpf_set_retval(0)` in a cgroup that somebody was given: the programs above run
/// behind it.
fn a_program_that_undoes_refusals_below_ours(s: &Sandbox) -> Result<()> {
    Need::Errno.check()?;
    let below = s.cgroup_below("theirs")?;
    let (right, wrong) = (
        s.caller("right").cgroup(&below),
        s.caller("wrong").cgroup(&below),
    );
    let free = Binder::attempt(&wrong, &tcp(PORT))?;
    ensure_eq!(free, Ok(()), "without an agent");
    let _before = Neighbour::attach_undoing_all(&s.cgroup)?;
    let agent = s.agent(PROFILE, LOUD)?.start()?;
    let _deep = Neighbour::attach_undoing_all(&below)?;
    let cases = [
        Case::other_job(&wrong, tcp(PORT), "4321 TCP RIGHT"),
        Case::permitted(&right, tcp(PORT), "4321 TCP RIGHT"),
    ];
    expect(&agent, PROFILE, LOUD, &cases)
}

/// `bpf_set_retval(0)` at our own cgroup by a program that was attached after ours: what
/// the bind hook refused is then refused as what the socket got. The self-test finds
/// that the one hook refuses nothing any more, and `status` names the program. Who has
/// one behind both hooks, see `not_stopped::programs_behind_all_of_ours`.
fn a_program_behind_ours_that_undoes_a_refusal(s: &Sandbox) -> Result<()> {
    Need::Errno.check()?;
    let (right, wrong) = (s.caller("right"), s.caller("wrong"));
    let free = Binder::attempt(&wrong, &tcp(PORT))?;
    ensure_eq!(free, Ok(()), "without an agent");
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let _behind = Neighbour::attach_undoing(&s.cgroup, false)?;
    let refused = Binder::start(&wrong, &[tcp(PORT)])?;
    ensure!(refused.results[0].is_err(), "the refusal is undone");
    let status = s.portreeve(&["status", "--format", "json"])?;
    let status = status.ended_with(1)?.json()?;
    for (what, expected) in [
        ("/counters/other-job", json!(2)),
        ("/neighbours/0/hook", json!("bind4")),
        ("/neighbours/0/after_ours", json!(true)),
        ("/selftest/ok", json!(false)),
    ] {
        ensure_eq!(status.pointer(what), Some(&expected), "{what} in {status}");
    }
    let told = |hook: &str| -> Result<bool> {
        Ok(agent.events()?.iter().any(|event| {
            event["hook"] == hook
                && event["verdict"] == "deny"
                && event["pid"] == refused.pid
                && event["port"] == PORT
        }))
    };
    ensure!(
        told("bind4")? && told("post_bind4")?,
        "{:?}",
        agent.events()
    );
    ensure_eq!(Binder::attempt(&right, &tcp(PORT))?, Ok(()), "the owner");
    Ok(())
}

/// The old way to attach (flags 0), in a cgroup that somebody was given: ours above
/// run all the same; and where ours are nobody can attach so.
fn a_program_that_is_attached_exclusively(s: &Sandbox) -> Result<()> {
    let below = s.cgroup_below("theirs")?;
    let (right, wrong) = (
        s.caller("right").cgroup(&below),
        s.caller("wrong").cgroup(&below),
    );
    let free = Binder::attempt(&wrong, &tcp(PORT))?;
    ensure_eq!(free, Ok(()), "without an agent");
    let agent = s.agent(PROFILE, LOUD)?.start()?;
    Neighbour::attach_exclusively(&below)?;
    ensure!(
        Neighbour::attach_exclusively(&s.cgroup).is_err(),
        "somebody could have ours replaced"
    );
    let cases = [
        Case::other_job(&wrong, tcp(PORT), "4321 TCP RIGHT"),
        Case::permitted(&right, tcp(PORT), "4321 TCP RIGHT"),
    ];
    expect(&agent, PROFILE, LOUD, &cases)
}
