//! RESTRICTLOWPORTS: who is exempt. In these tests the host's own rule is lifted
//! (`ip_unprivileged_port_start`), so only the policy can refuse.

use std::net::Ipv6Addr;

use anyhow::{Result, ensure};

use crate::{
    actors::become_caller::{NO_USER_NAMESPACE, free_low_ports},
    ensure_eq,
    harness::{
        Binder, Caller, Case, NOBODY, Sandbox, Settings,
        expect::{expect, judge_with},
        skip, tcp, udp,
    },
    tests,
};

tests![
    only_the_privileged_get_unreserved_low_ports,
    each_protocol_apart,
    the_capability_is_enough,
    a_reservation_is_not_concerned,
    a_user_namespace_gives_no_privilege_on_the_hosts_network,
    in_a_network_of_its_own_its_root_is_privileged,
    who_made_a_user_namespace_is_privileged_in_it,
    switched_on_and_off_at_run_time,
];

const LOUD: Settings = Settings::DEFAULT.report_all();
const QUIET: Settings = Settings::DEFAULT;
/// `CAP_NET_BIND_SERVICE`
const NET_BIND_SERVICE: u64 = 1 << 10;
/// Every capability but that one.
const OTHERS: u64 = ((1 << 41) - 1) & !NET_BIND_SERVICE;
const BOTH: &str = "TCPCONFIG RESTRICTLOWPORTS\nUDPCONFIG RESTRICTLOWPORTS\n";

/// A user in a namespace of its own, if the host allows it.
fn with_own_users(s: &Sandbox) -> Result<Caller> {
    let caller = s.caller("any").root_of_its_own(NOBODY);
    if let Err(error) = Binder::attempt(&caller, &tcp(0)) {
        let reason = error.to_string();
        ensure!(reason.contains(NO_USER_NAMESPACE), "{reason}");
        return Err(skip(reason));
    }
    Ok(caller)
}

/// `LOW-01`, `LOW-02`, `LOW-04`, `LOW-09`: root may, others may not; the first port
/// and 1023, not 1024; both families.
fn only_the_privileged_get_unreserved_low_ports(s: &Sandbox) -> Result<()> {
    free_low_ports()?;
    let (root, user) = (s.caller("any"), s.caller("any").user(NOBODY));
    let mut cases = Vec::new();
    for want in [tcp, udp] {
        for port in [1, 80, 1023] {
            cases.push(Case::privileged(&root, want(port)));
            cases.push(Case::low_port(&user, want(port)));
            cases.push(Case::low_port(&user, want(port).on(Ipv6Addr::LOCALHOST)));
        }
        cases.push(Case::unreserved(&root, want(1024)));
        cases.push(Case::unreserved(&user, want(1024)));
    }
    // The effective user is the one that counts, but the capabilities are gone with
    // it or not.
    cases.push(Case::privileged(
        &s.caller("any").users(NOBODY, 0, 0),
        tcp(80),
    ));
    cases.push(Case::low_port(
        &s.caller("any").users(0, NOBODY, 0),
        tcp(80),
    ));
    judge_with(s, BOTH, LOUD, "", &cases).map(drop)
}

/// `LOW-03`, `LOW-07`.
fn each_protocol_apart(s: &Sandbox) -> Result<()> {
    free_low_ports()?;
    let user = s.caller("any").user(NOBODY);
    let profile = "TCPCONFIG RESTRICTLOWPORTS\nUDPCONFIG UNRESTRICTLOWPORTS\n";
    let cases = [
        Case::low_port(&user, tcp(80)),
        Case::unreserved(&user, udp(80)),
    ];
    let agent = judge_with(s, profile, LOUD, "", &cases)?;
    let profile = "UDPCONFIG RESTRICTLOWPORTS\n";
    s.set_policy(profile, LOUD)?;
    ensure_eq!(agent.reload(&[])?.0, 0, "a reload");
    let cases = [
        Case::unreserved(&user, tcp(80)),
        Case::low_port(&user, udp(80)),
    ];
    expect(&agent, profile, LOUD, &cases)
}

/// `LOW-05`: `CAP_NET_BIND_SERVICE` is what APF authorization is on z/OS; no other
/// capability is, and uid 0 needs none.
fn the_capability_is_enough(s: &Sandbox) -> Result<()> {
    free_low_ports()?;
    let user = s.caller("any").user(NOBODY);
    let cases = [
        Case::privileged(&user.clone().capabilities(NET_BIND_SERVICE), tcp(80)),
        Case::privileged(&user.clone().capabilities(NET_BIND_SERVICE), udp(80)),
        Case::low_port(&user.clone().capabilities(OTHERS), tcp(80)),
        Case::low_port(&user.clone().capabilities(OTHERS), udp(80)),
        Case::low_port(&user.capabilities(0), tcp(80)),
        Case::privileged(&s.caller("any").user(0).capabilities(0), tcp(80)),
    ];
    judge_with(s, BOTH, LOUD, "", &cases).map(drop)
}

/// `LOW-06`: its entries alone decide about a reserved low port.
fn a_reservation_is_not_concerned(s: &Sandbox) -> Result<()> {
    free_low_ports()?;
    let profile = format!("{BOTH}PORT\n 21 TCP FTPD1\n 22 TCP *\n 23 UDP RESERVED\n");
    let user = |name: &str| s.caller(name).user(NOBODY);
    let cases = [
        Case::permitted(&user("ftpd1"), tcp(21), "21 TCP FTPD1"),
        Case::other_job(&s.caller("root"), tcp(21), "21 TCP FTPD1"),
        Case::permitted(&user("any"), tcp(22), "22 TCP *"),
        Case::blocked(&s.caller("root"), udp(23), "23 UDP RESERVED"),
        Case::low_port(&user("ftpd1"), udp(21)),
    ];
    judge_with(s, &profile, QUIET, "", &cases).map(drop)
}

/// Whoever unshares a user namespace has every capability in it, and is what he was
/// where the network is the host's.
fn a_user_namespace_gives_no_privilege_on_the_hosts_network(s: &Sandbox) -> Result<()> {
    free_low_ports()?;
    let root_inside = with_own_users(s)?;
    let cases = [
        Case::low_port(&root_inside, tcp(80)),
        Case::low_port(&root_inside, udp(80)),
        Case::low_port(&root_inside, tcp(80).on(Ipv6Addr::LOCALHOST)),
        Case::unreserved(&root_inside, tcp(1024)),
    ];
    judge_with(s, BOTH, LOUD, "", &cases).map(drop)
}

/// With `netns = "all"`: in a network namespace that belongs to the user namespace,
/// a capability held there is one, and without it nobody is privileged but the
/// host's root.
fn in_a_network_of_its_own_its_root_is_privileged(s: &Sandbox) -> Result<()> {
    let inside = with_own_users(s)?.own_network();
    let elsewhere = s.caller("any").user(NOBODY).elsewhere();
    let mut cases = Vec::new();
    for want in [tcp, udp] {
        cases.push(Case::privileged(&inside, want(80)));
        cases.push(Case::privileged(
            &inside.clone().capabilities(NET_BIND_SERVICE),
            want(80),
        ));
        cases.push(Case::low_port(
            &inside.clone().capabilities(OTHERS),
            want(80),
        ));
        cases.push(Case::low_port(&inside.clone().capabilities(0), want(80)));
        cases.push(Case::privileged(&s.caller("any").elsewhere(), want(80)));
    }
    let settings = LOUD.everywhere();
    let agent = judge_with(s, BOTH, settings, "", &cases)?;
    // The host's rule holds in that one, so it proves nothing without an agent.
    let cases = [Case::low_port(&elsewhere, tcp(80))];
    expect(&agent, BOTH, settings, &cases)
}

/// With `netns = "all"`: as everywhere in the kernel, who made a user namespace has
/// every capability in it, and so in the network namespaces that belong to it.
fn who_made_a_user_namespace_is_privileged_in_it(s: &Sandbox) -> Result<()> {
    let root_inside = with_own_users(s)?;
    let user = s.caller("any").user(NOBODY);
    let cases = [
        Case::privileged(&user, tcp(80).of_child()),
        Case::privileged(&user, udp(80).of_child()),
        Case::privileged(&root_inside.clone().capabilities(0), tcp(80).of_child()),
        Case::privileged(&root_inside, tcp(80).of_child()),
        Case::unreserved(&user, tcp(1024).of_child()),
    ];
    let settings = LOUD.everywhere();
    let agent = judge_with(s, BOTH, settings, "", &cases)?;
    // The host's rule would refuse these too.
    let cases = [Case::low_port(&user, tcp(80))];
    expect(&agent, BOTH, settings, &cases)
}

/// `LOW-11`: the next bind is judged by the new setting, and what is bound stays.
fn switched_on_and_off_at_run_time(s: &Sandbox) -> Result<()> {
    free_low_ports()?;
    let user = s.caller("any").user(NOBODY);
    let agent = s.agent("", LOUD)?.start()?;
    expect(&agent, "", LOUD, &[Case::unreserved(&user, tcp(80))])?;
    let holder = Binder::start(&user, &[tcp(81)])?;
    ensure_eq!(holder.results, [Ok(())], "before");
    for round in 0..4 {
        let (profile, case) = match round % 2 {
            0 => (BOTH, Case::low_port(&user, tcp(80))),
            _ => ("", Case::unreserved(&user, tcp(80))),
        };
        s.set_policy(profile, LOUD)?;
        ensure_eq!(agent.reload(&[])?.0, 0, "a reload");
        expect(&agent, profile, LOUD, &[case])?;
    }
    let taken = Binder::attempt(&s.caller("any"), &tcp(81))?;
    ensure_eq!(
        taken,
        Err(nix::errno::Errno::EADDRINUSE),
        "the holder's port"
    );
    Ok(())
}
