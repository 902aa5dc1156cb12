//! What a bind hook can't stop, shown as it is: each of these is among the limitations
//! with its reason.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream, UdpSocket},
};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::json;

use super::{LOUD, PORT, PROFILE, by_cgroup};
use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Case, NOBODY, Need, Sandbox, Servant, Settings, Watch,
        expect::{expect, expect_of_deed},
        neighbour::Neighbour,
        request::{Kind, Through},
        tcp,
    },
    tests,
};

tests![
    a_process_that_takes_the_rightful_name,
    a_listener_that_is_passed_on,
    a_listener_that_is_taken_by_pidfd,
    a_listener_from_before_the_agent,
    a_polled_ring_that_is_handed_over,
    a_ring_that_remembers_the_rightful_user,
    a_process_that_root_moves_to_the_rightful_cgroup,
    programs_behind_all_of_ours,
    a_packet_socket_that_reads_along,
    sctp,
];

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn agent<'s>(s: &'s Sandbox, config: &str) -> Result<Agent<'s>> {
    s.set_policy_with(PROFILE, LOUD, config)?;
    s.agent_again()?.start()
}

/// A job that the config doesn't define is a name, which a process gives itself, of
/// any user. That proves nothing, so it opens no low port.
fn a_process_that_takes_the_rightful_name(s: &Sandbox) -> Result<()> {
    let agent = agent(s, "")?;
    let liar = s.caller("right").user(NOBODY);
    let case = Case::permitted(&liar, tcp(PORT), "4321 TCP RIGHT");
    expect(&agent, PROFILE, LOUD, &[case])
}

/// Has a connection to the port arrive at `servant`.
fn accepts(servant: &Servant, socket: i32) -> Result<()> {
    let _stream = TcpStream::connect((LOCAL, PORT))?;
    let accepted = servant.accept(socket)?;
    ensure!(accepted.is_ok(), "nothing arrives: {accepted:?}");
    Ok(())
}

/// The bind is done: who has the socket then is the owner's business.
fn a_listener_that_is_passed_on(s: &Sandbox) -> Result<()> {
    let sides = by_cgroup(s)?;
    let agent = agent(s, &sides.config)?;
    let owner = Servant::start(&sides.right)?;
    let listener = owner.serve(Kind::Tcp, LOCAL, PORT)??;
    let mut watch = Watch::start(&agent)?;
    let heir = Servant::start(&sides.wrong)?;
    let passed = owner.pass(listener, &heir)?;
    drop(owner);
    accepts(&heir, passed)?;
    watch.expect(&[], &[])
}

/// The same for who may trace the owner: root, and where the host allows it the
/// owner's user.
fn a_listener_that_is_taken_by_pidfd(s: &Sandbox) -> Result<()> {
    let sides = by_cgroup(s)?;
    let agent = agent(s, &sides.config)?;
    let owner = Servant::start(&sides.right)?;
    let listener = owner.serve(Kind::Tcp, LOCAL, PORT)??;
    let mut watch = Watch::start(&agent)?;
    let thief = Servant::start(&sides.wrong)?;
    let taken = thief.take(&owner, listener)?;
    accepts(&thief, taken)?;
    watch.expect(&[], &[])?;
    // Nobody else gets at it.
    let nobody = Servant::start(&sides.wrong.clone().user(NOBODY))?;
    let refused = nobody.take(&owner, listener);
    ensure!(refused.is_err(), "any user can take the owner's sockets");
    Ok(())
}

/// A socket that is bound stays so when a policy comes into force, and listens on;
/// `run` names it.
fn a_listener_from_before_the_agent(s: &Sandbox) -> Result<()> {
    let sides = by_cgroup(s)?;
    let early = Servant::start(&sides.wrong)?;
    let listener = early.serve(Kind::Tcp, LOCAL, PORT)??;
    let agent = agent(s, &sides.config)?;
    agent.wait_until("a word of it in the log", |agent| {
        agent.log().contains("PRV530")
    })?;
    accepts(&early, listener)?;
    let owner = Binder::attempt(&sides.right, &tcp(PORT))?;
    ensure_eq!(owner, Err(Errno::EADDRINUSE), "the owner has to wait");
    drop(early);
    let cases = [
        Case::other_job(&sides.wrong, tcp(PORT), "4321 TCP RIGHT"),
        Case::permitted(&sides.right, tcp(PORT), "4321 TCP RIGHT"),
    ];
    expect(&agent, PROFILE, LOUD, &cases)
}

/// The thread that polls a ring is one of the process that made it, whoever writes
/// into the ring: by handing it over a process lends its name and cgroup.
fn a_polled_ring_that_is_handed_over(s: &Sandbox) -> Result<()> {
    Need::Ring.check()?;
    let sides = by_cgroup(s)?;
    let agent = agent(s, &sides.config)?;
    let want = tcp(PORT).through(Through::RingThread);
    let case = Case::permitted(&sides.right, want.clone(), "4321 TCP RIGHT");
    expect_of_deed(&agent, PROFILE, LOUD, &case, &|| {
        let owner = Servant::start(&sides.right)?;
        let (_, said) = owner.hand_ring(&sides.wrong, &want)?;
        Ok((owner.into(), said))
    })
}

/// `IORING_REGISTER_PERSONALITY`, and the thread that polls a ring: what a process was
/// allowed as another user it goes on doing as that one.
fn a_ring_that_remembers_the_rightful_user(s: &Sandbox) -> Result<()> {
    Need::Ring.check()?;
    let config = "[jobs.RIGHT]\nuser = \"1042\"\n";
    let agent = agent(s, config)?;
    // It can become root again.
    let before = s.caller("any").users(0, 1042, 0).job("RIGHT");
    for through in [Through::Ring, Through::RingWorker, Through::RingThread] {
        let want = tcp(PORT).through(through);
        let case = Case::permitted(&before, want.clone(), "4321 TCP RIGHT");
        expect_of_deed(&agent, PROFILE, LOUD, &case, &|| {
            let servant = Servant::start(&before)?;
            let said = servant.bind_as_before(&want)?;
            Ok((servant.into(), said))
        })?;
    }
    Ok(())
}

/// Root decides what is in which cgroup.
fn a_process_that_root_moves_to_the_rightful_cgroup(s: &Sandbox) -> Result<()> {
    let sides = by_cgroup(s)?;
    let agent = agent(s, &sides.config)?;
    let case = Case::permitted(&sides.right, tcp(PORT), "4321 TCP RIGHT");
    expect_of_deed(&agent, PROFILE, LOUD, &case, &|| {
        let servant = Servant::start(&sides.wrong)?;
        let procs = sides.right.cgroup.join("cgroup.procs");
        fs::write(procs, servant.pid.to_string()).context("root can't move a process")?;
        let said = servant.serve(Kind::Tcp, LOCAL, PORT)?.map(drop);
        Ok((servant.into(), said))
    })
}

/// `bpf_set_retval(0)` by programs that root attached to our cgroup after ours, one for
/// what is asked for and one for what is given: the kernel asks them last. `status`
/// names them, the self-test finds that nothing is refused any more, and the refusals
/// are told and counted all the same.
fn programs_behind_all_of_ours(s: &Sandbox) -> Result<()> {
    Need::Errno.check()?;
    let agent = agent(s, "")?;
    let _behind = Neighbour::attach_undoing_all(&s.cgroup)?;
    let wrong = Binder::start(&s.caller("wrong"), &[tcp(PORT)])?;
    ensure_eq!(wrong.results, [Ok(())], "it is not undone any more");
    let status = s.portreeve(&["status", "--format", "json"])?;
    let status = status.ended_with(1)?.json()?;
    for (what, expected) in [
        ("/counters/other-job", json!(2)),
        ("/neighbours/0/hook", json!("post_bind4")),
        ("/neighbours/0/after_ours", json!(true)),
        ("/neighbours/1/hook", json!("bind4")),
        ("/neighbours/1/after_ours", json!(true)),
        ("/selftest/ok", json!(false)),
    ] {
        ensure_eq!(status.pointer(what), Some(&expected), "{what} in {status}");
    }
    let events = agent.events()?;
    let told = events.iter().any(|event| {
        event["verdict"] == "deny" && event["pid"] == wrong.pid && event["port"] == PORT
    });
    ensure!(told, "{events:#?}");
    Ok(())
}

/// Packets can be read, and made, without any port.
fn a_packet_socket_that_reads_along(s: &Sandbox) -> Result<()> {
    let sides = by_cgroup(s)?;
    let agent = agent(s, &sides.config)?;
    let owner = Servant::start(&sides.right)?;
    let server = owner.serve(Kind::Udp, LOCAL, PORT)??;
    let mut watch = Watch::start(&agent)?;
    let spy = Servant::start(&sides.wrong)?;
    let packets = spy.packet_socket()?;
    UdpSocket::bind((LOCAL, 0))?.send_to(&[42], (LOCAL, PORT))?;
    ensure_eq!(owner.receive(server)?, Ok(42), "what the owner gets");
    ensure_eq!(spy.overhear(packets, PORT)?, Ok(42), "what is overheard");
    watch.expect(&[], &[])
}

/// Its binds reach no bind hook.
fn sctp(s: &Sandbox) -> Result<()> {
    Need::Sctp.check()?;
    let want = tcp(PORT).kind(Kind::Sctp);
    let cases = [
        Case::not_judged(&s.caller("wrong"), want),
        Case::other_job(&s.caller("wrong"), tcp(PORT), "4321 TCP RIGHT"),
    ];
    crate::harness::expect::judge(s, PROFILE, Settings::DEFAULT, &cases).map(drop)
}
