//! Binds that no bind(2) makes: by rings, whose threads are the kernel's.

use std::slice;

use anyhow::Result;
use nix::errno::Errno;
use serde_json::json;

use super::{LOUD, PORT, PROFILE, by_cgroup, entry, repelled, repelled_of};
use crate::{
    ensure_eq,
    harness::{
        Binder, Case, NOBODY, Need, Sandbox, Servant, Settings, Want, Watch,
        expect::{expect, expect_of_deed},
        request::Through,
        tcp, udp,
    },
    tests,
};

tests![
    a_bind_in_a_ring,
    a_bind_by_a_worker_of_a_ring,
    a_bind_by_the_polling_thread_of_a_ring,
    a_ring_of_another_process,
];
tests![LISTEN: a_listen_in_a_ring];

/// Of a job known by its name, its cgroup, or its user: the ring's threads have the
/// process's.
fn by_ring(s: &Sandbox, through: Through) -> Result<()> {
    Need::Ring.check()?;
    let wants = [tcp(PORT), udp(PORT), tcp(PORT).on_any_v6(false)];
    let wants = wants.map(|want| want.through(through));
    let agent = repelled(s, wants.clone())?;
    agent.terminate()?;
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    let sides = by_cgroup(s)?;
    let named_so = s.caller("right").cgroup(&sides.wrong.cgroup).no_job();
    let nobody = sides.wrong.clone().user(NOBODY);
    let attackers = [sides.wrong, named_so, nobody];
    repelled_of(s, &sides.config, LOUD, &sides.right, &attackers, wants).map(drop)
}

/// `IORING_OP_BIND`, which runs in io_uring_enter(2).
fn a_bind_in_a_ring(s: &Sandbox) -> Result<()> {
    by_ring(s, Through::Ring)
}

/// `IOSQE_ASYNC`: a thread named `iou-wrk` binds.
fn a_bind_by_a_worker_of_a_ring(s: &Sandbox) -> Result<()> {
    by_ring(s, Through::RingWorker)
}

/// `IORING_SETUP_SQPOLL`: a thread named `iou-sqp` binds.
fn a_bind_by_the_polling_thread_of_a_ring(s: &Sandbox) -> Result<()> {
    by_ring(s, Through::RingThread)
}

/// A ring that the rightful job made and its child uses elsewhere: the child is who
/// binds, in its own call and by a worker. The polling thread is the owner's, see
/// `not_stopped::a_polled_ring_that_is_handed_over`.
fn a_ring_of_another_process(s: &Sandbox) -> Result<()> {
    Need::Ring.check()?;
    let sides = by_cgroup(s)?;
    let hand = |want: &Want| -> Result<_> {
        let owner = Servant::start(&sides.right)?;
        let (pid, said) = owner.hand_ring(&sides.wrong, want)?;
        Ok((owner, pid, said))
    };
    let wants = [Through::Ring, Through::RingWorker].map(|through| tcp(PORT).through(through));
    for want in &wants {
        ensure_eq!(hand(want)?.2, Ok(()), "without an agent: {want}");
    }
    s.set_policy_with(PROFILE, LOUD, &sides.config)?;
    let agent = s.agent_again()?.start()?;
    for want in wants {
        let entry = entry(&want);
        let hand = || {
            let (mut owner, pid, said) = hand(&want)?;
            // Who bound is what the event is about.
            owner.pid = pid;
            Ok((owner.into(), said))
        };
        let case = Case::other_job(&sides.wrong, want.clone(), entry);
        expect_of_deed(&agent, PROFILE, LOUD, &case, &hand)?;
        let owner = Case::permitted(&sides.right, want.clone(), entry);
        expect(&agent, PROFILE, LOUD, &[owner])?;
    }
    Ok(())
}

/// `IORING_OP_LISTEN` where UNRSV is judged at listen. The bind goes on.
fn a_listen_in_a_ring(s: &Sandbox) -> Result<()> {
    Need::Ring.check()?;
    let rings = [Through::Ring, Through::RingWorker, Through::RingThread];
    let wants = rings.map(|through| tcp(5000).listening().through(through));
    let (right, wrong) = (s.caller("right"), s.caller("wrong"));
    for want in &wants {
        let free = Binder::attempt(&wrong, want)?;
        ensure_eq!(free, Ok(()), "without an agent: {want}");
    }
    let profile = "PORT\n UNRSV TCP RIGHT\n UNRSV TCP * DENY\n";
    let agent = s.agent(profile, Settings::DEFAULT)?.start()?;
    let mut watch = Watch::start(&agent)?;
    for want in &wants {
        let refused = Binder::start(&wrong, slice::from_ref(want))?;
        ensure_eq!(refused.results, [Err(Errno::EACCES)], "{want}");
        let event = json!({
            "hook": "listen", "verdict": "deny", "reason": "unreserved-denied",
            "errno": "EACCES", "protocol": "tcp", "address": "127.0.0.1", "port": 5000,
            "pid": refused.pid, "comm": "wrong", "job": "WRONG", "uid": 0,
            "cgroup": s.cgroup_name(), "entry/line": 3, "repeated": 0,
        });
        watch.expect(&[("unreserved-denied", 1)], &[event])?;
        // It has the port still.
        drop(refused);
        ensure_eq!(Binder::attempt(&right, want)?, Ok(()), "{want}");
        watch.expect(&[("unreserved-permitted", 1)], &[])?;
    }
    Ok(())
}
