//! Being taken for somebody else: by name, thread, user, capability or cgroup.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::Result;
use nix::unistd::{Gid, Uid, chown};

use super::{LOUD, PORT, PROFILE, by_cgroup, repelled_of};
use crate::{
    harness::{Case, NOBODY, Sandbox, Servant, expect::expect, tcp, udp},
    tests,
};

tests![
    root_with_every_capability,
    a_thread_with_the_rightful_name,
    a_thread_with_the_rightful_name_and_a_dead_leader,
    a_process_with_the_name_of_a_defined_job,
    a_thread_in_the_rightful_cgroup,
    the_rightful_real_or_saved_user,
    a_setuid_program,
    a_user_that_was_the_rightful_one,
];

/// `PRT-40`: root could have the port on any other host.
fn root_with_every_capability(s: &Sandbox) -> Result<()> {
    let every = s.caller("root").user(0).capabilities(u64::MAX);
    let attackers = [s.caller("root"), every];
    let right = s.caller("right");
    repelled_of(s, "", LOUD, &right, &attackers, [tcp(PORT), udp(PORT)]).map(drop)
}

/// `prctl(PR_SET_NAME)`: a thread may call itself what it likes, the job is that of
/// its process, and stays it.
fn a_thread_with_the_rightful_name(s: &Sandbox) -> Result<()> {
    let right = s.caller("right").thread("wrong");
    let attackers = [s.caller("wrong").thread("right")];
    repelled_of(s, "", LOUD, &right, &attackers, [tcp(PORT), udp(PORT)]).map(drop)
}

/// The name of a process stays when the thread that bore it has ended.
fn a_thread_with_the_rightful_name_and_a_dead_leader(s: &Sandbox) -> Result<()> {
    let right = s.caller("right").survivor("wrong");
    let attackers = [s.caller("wrong").survivor("right")];
    repelled_of(s, "", LOUD, &right, &attackers, [tcp(PORT), udp(PORT)]).map(drop)
}

/// Where the config says what the job is, a name says nothing: of a process, of a
/// thread, of one without a leader, of root or a user.
fn a_process_with_the_name_of_a_defined_job(s: &Sandbox) -> Result<()> {
    let sides = by_cgroup(s)?;
    let named_so = s.caller("right").cgroup(&sides.wrong.cgroup).no_job();
    let attackers = [
        named_so.clone(),
        named_so.clone().thread("right"),
        named_so.clone().survivor("right"),
        named_so.user(NOBODY),
        sides.wrong.clone().thread("right"),
    ];
    let wants = [tcp(PORT), udp(PORT)];
    repelled_of(s, &sides.config, LOUD, &sides.right, &attackers, wants).map(drop)
}

/// A thread may be in another cgroup than its process, in a threaded one below it: a
/// job defined by that one is none that a thread can be.
fn a_thread_in_the_rightful_cgroup(s: &Sandbox) -> Result<()> {
    let domain = s.cgroup_below("domain")?;
    let threaded = s.cgroup_below("domain/right")?;
    fs::write(threaded.join("cgroup.type"), "threaded")?;
    let root = s.cgroup_name();
    let config = format!("[jobs.RIGHT]\ncgroup = [\"{root}/domain/right\", \"{root}/plain\"]\n");
    let worker = s.caller("any").cgroup(domain).thread("worker");
    let worker = worker.thread_cgroup(threaded);
    let right = s
        .caller("any")
        .cgroup(s.cgroup_below("plain")?)
        .job("RIGHT");
    repelled_of(s, &config, LOUD, &right, &[worker], [tcp(PORT), udp(PORT)]).map(drop)
}

/// The user of a job is the effective one: neither the one who started the program nor
/// one that it could become again.
fn the_rightful_real_or_saved_user(s: &Sandbox) -> Result<()> {
    let config = "[jobs.RIGHT]\nuser = \"1042\"\n";
    let right = s.caller("any").user(1042).job("RIGHT");
    let attackers = [
        s.caller("any").users(1042, NOBODY, NOBODY),
        s.caller("any").users(NOBODY, NOBODY, 1042),
        s.caller("any").users(1042, NOBODY, 1042),
        s.caller("any").users(1042, 0, 1042),
        s.caller("any"),
    ];
    repelled_of(s, config, LOUD, &right, &attackers, [tcp(PORT), udp(PORT)]).map(drop)
}

/// A program that is root for whoever runs it: it is root, and no more than that. One
/// of the rightful user's is the job, as it acts for him.
fn a_setuid_program(s: &Sandbox) -> Result<()> {
    let config = "[jobs.RIGHT]\nuser = \"1042\"\n";
    let copy = |name: &str, owner: u32| -> Result<_> {
        let path = s.dir.join(name);
        fs::copy(std::env::current_exe()?, &path)?;
        chown(
            &path,
            Some(Uid::from_raw(owner)),
            Some(Gid::from_raw(owner)),
        )?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755))?;
        Ok(path)
    };
    let roots = copy("setuid-root", 0)?;
    let theirs = copy("setuid-1042", 1042)?;
    let attacker = s.caller("any").running(roots).started_by(NOBODY);
    let right = s.caller("any").user(1042).job("RIGHT");
    let agent = repelled_of(s, config, LOUD, &right, &[attacker], [tcp(PORT), udp(PORT)])?;
    let servant = right.running(theirs).started_by(NOBODY);
    let owner = Case::permitted(&servant, tcp(PORT), "4321 TCP RIGHT");
    expect(&agent, PROFILE, LOUD, &[owner])
}

/// Root that was the rightful user, and becomes somebody else.
fn a_user_that_was_the_rightful_one(s: &Sandbox) -> Result<()> {
    let config = "[jobs.RIGHT]\nuser = \"root\"\n";
    let want = tcp(PORT);
    let attacker = s.caller("any").user(1042);
    let case = Case::other_job(&attacker, want.clone(), "4321 TCP RIGHT");
    let right = s.caller("any").job("RIGHT");
    let deed = || {
        // The socket is from before, as its name and cgroup are.
        let servant = Servant::start(&right)?;
        let socket = servant.socket(want.kind, false)?;
        servant.become_user(1042)?;
        let said = servant.bind(socket, want.address, want.port)?;
        Ok((servant.into(), said))
    };
    super::deed_repelled(s, config, &right, &case, &deed).map(drop)
}
