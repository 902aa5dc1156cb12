//! A socket of somebody else's: who binds it counts, not who made it.

use anyhow::Result;

use super::{LOUD, PORT, PROFILE, by_cgroup, deed_repelled, entry};
use crate::{
    harness::{
        Caller, Case, NOBODY, Sandbox, Servant, cleanup, expect::judge_with, servant::INHERITED,
        tcp, udp,
    },
    tests,
};

tests![
    a_socket_made_in_the_rightful_cgroup,
    a_socket_inherited_over_exec,
    a_socket_passed_by_a_unix_socket,
    a_socket_taken_by_pidfd,
    a_socket_of_an_ended_process,
];

/// The programs are those of the cgroup in which a socket was made, but the job is
/// that of the caller.
fn a_socket_made_in_the_rightful_cgroup(s: &Sandbox) -> Result<()> {
    let sides = by_cgroup(s)?;
    let entry = "4321 TCP RIGHT";
    let mut cases = Vec::new();
    for maker in [&sides.right.cgroup, &sides.wrong.cgroup, &s.cgroup] {
        // Made there, bound here.
        let moved = |to: &Caller| {
            let want = tcp(PORT).from(&to.cgroup);
            (to.clone().cgroup(maker), want)
        };
        let (caller, want) = moved(&sides.wrong);
        cases.push(Case::other_job(&caller, want, entry));
        let (caller, want) = moved(&sides.right);
        cases.push(Case::permitted(&caller, want, entry));
    }
    judge_with(s, PROFILE, LOUD, &sides.config, &cases).map(drop)
}

/// How the attacker comes by a socket of the owner's.
type Way<'t> = dyn Fn(&Servant, i32) -> Result<(Servant, i32)> + 't;

fn repelled_by(s: &Sandbox, attacker: &Caller, way: &Way<'_>) -> Result<()> {
    let sides = by_cgroup(s)?;
    for want in [tcp(PORT), udp(PORT)] {
        let case = Case::other_job(attacker, want.clone(), entry(&want));
        let deed = || {
            let owner = Servant::start(&sides.right)?;
            let socket = owner.socket(want.kind, false)?;
            let (thief, socket) = way(&owner, socket)?;
            let said = thief.bind(socket, want.address, want.port)?;
            Ok((thief.into(), said))
        };
        deed_repelled(s, &sides.config, &sides.right, &case, &deed)?;
        s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    }
    Ok(())
}

/// The rightful job starts a program, which finds a socket open.
fn a_socket_inherited_over_exec(s: &Sandbox) -> Result<()> {
    let wrong = by_cgroup(s)?.wrong;
    for heir in [wrong.clone(), wrong.user(NOBODY)] {
        repelled_by(s, &heir, &|owner, socket| {
            let heir = Servant::start_with(&heir, owner.copy(socket)?)?;
            Ok((heir, INHERITED))
        })?;
    }
    Ok(())
}

/// `SCM_RIGHTS`
fn a_socket_passed_by_a_unix_socket(s: &Sandbox) -> Result<()> {
    let wrong = by_cgroup(s)?.wrong;
    repelled_by(s, &wrong, &|owner, socket| {
        let heir = Servant::start(&wrong)?;
        let socket = owner.pass(socket, &heir)?;
        Ok((heir, socket))
    })
}

/// pidfd_getfd(2), for which one needs to be root or the owner's user.
fn a_socket_taken_by_pidfd(s: &Sandbox) -> Result<()> {
    let wrong = by_cgroup(s)?.wrong;
    repelled_by(s, &wrong, &|owner, socket| {
        let thief = Servant::start(&wrong)?;
        let socket = thief.take(owner, socket)?;
        Ok((thief, socket))
    })
}

/// Nobody is left of who made the socket, nor its cgroup.
fn a_socket_of_an_ended_process(s: &Sandbox) -> Result<()> {
    let sides = by_cgroup(s)?;
    let want = tcp(PORT);
    let case = Case::other_job(&sides.wrong, want.clone(), entry(&want));
    let deed = || {
        let maker = sides.right.clone().cgroup(s.cgroup_below("right/gone")?);
        let maker = Servant::start(&maker)?;
        let socket = maker.socket(want.kind, false)?;
        let heir = Servant::start(&sides.wrong)?;
        let socket = maker.pass(socket, &heir)?;
        drop(maker);
        cleanup::cgroup(&s.cgroup.join("right/gone"));
        let said = heir.bind(socket, want.address, want.port)?;
        Ok((heir.into(), said))
    };
    deed_repelled(s, &sides.config, &sides.right, &case, &deed).map(drop)
}
