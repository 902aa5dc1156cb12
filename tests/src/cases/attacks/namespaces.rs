//! Being root somewhere of one's own.

use anyhow::Result;

use super::{LOUD, PORT, PROFILE, by_cgroup, own_users_needed, repelled_of};
use crate::{
    harness::{
        Case, NOBODY, Sandbox,
        expect::{expect, judge},
        tcp, udp,
    },
    tests,
};

tests![
    root_of_a_user_namespace,
    another_network_namespace,
    a_network_namespace_of_ones_own,
    a_network_namespace_with_free_low_ports,
];

/// Who is root only where he made himself root gets nothing by it, and is reported as
/// the user he is. A low port stays the host's to give, also to the rightful job.
fn root_of_a_user_namespace(s: &Sandbox) -> Result<()> {
    own_users_needed(s)?;
    let profile = "PORT\n 21 TCP RIGHT\n 4321 TCP RIGHT\n";
    let entry = "4321 TCP RIGHT";
    let caller = |name: &str| s.caller(name).root_of_its_own(NOBODY);
    let cases = [
        Case::other_job(&caller("wrong"), tcp(PORT), entry),
        Case::other_job(&caller("wrong"), tcp(PORT).on_any_v6(false), entry),
        Case::permitted(&caller("right"), tcp(PORT), entry),
        Case::left_to_host(&caller("right"), tcp(21), "21 TCP RIGHT"),
        Case::unreserved_left_to_host(&caller("right"), tcp(22)),
    ];
    judge(s, profile, LOUD, &cases).map(drop)
}

/// `netns = "all"`: a policy that goes for every network goes for one that root makes.
fn another_network_namespace(s: &Sandbox) -> Result<()> {
    let attackers = [
        s.caller("wrong").elsewhere(),
        s.caller("wrong").elsewhere().capabilities(u64::MAX),
        s.caller("wrong"),
    ];
    let right = s.caller("right").elsewhere();
    let wants = [tcp(PORT), udp(PORT), tcp(PORT).on_any_v6(true)];
    let agent = repelled_of(s, "", LOUD.everywhere(), &right, &attackers, wants)?;
    let here = Case::permitted(&s.caller("right"), tcp(PORT), "4321 TCP RIGHT");
    expect(&agent, PROFILE, LOUD.everywhere(), &[here])
}

/// The same for one that a user makes as root of his own, where he has all
/// capabilities and may set the kernel's rules.
fn a_network_namespace_of_ones_own(s: &Sandbox) -> Result<()> {
    own_users_needed(s)?;
    let sides = by_cgroup(s)?;
    let attackers = [
        sides.wrong.clone().root_of_its_own(NOBODY).own_network(),
        s.caller("right")
            .cgroup(&sides.wrong.cgroup)
            .no_job()
            .root_of_its_own(NOBODY)
            .own_network(),
    ];
    let right = sides.right.clone().root_of_its_own(NOBODY).own_network();
    let wants = [tcp(PORT), udp(PORT), tcp(PORT).of_child()];
    let settings = LOUD.everywhere();
    repelled_of(s, &sides.config, settings, &right, &attackers, wants).map(drop)
}

/// `ip_unprivileged_port_start` at 0 takes the kernel's rule away, not ours.
fn a_network_namespace_with_free_low_ports(s: &Sandbox) -> Result<()> {
    own_users_needed(s)?;
    let profile = "PORT\n 21 TCP RIGHT\n 21 UDP RESERVED\n";
    let caller = |name| s.caller(name).root_of_its_own(NOBODY).own_network();
    let none = caller("wrong").capabilities(0);
    let cases = [
        Case::other_job(&caller("wrong"), tcp(21), "21 TCP RIGHT"),
        Case::other_job(&none, tcp(21), "21 TCP RIGHT"),
        Case::blocked(&none, udp(21), "21 UDP RESERVED"),
        Case::unreserved(&none, tcp(22)),
        Case::permitted(&caller("right").capabilities(0), tcp(21), "21 TCP RIGHT"),
    ];
    judge(s, profile, LOUD.everywhere(), &cases).map(drop)
}
