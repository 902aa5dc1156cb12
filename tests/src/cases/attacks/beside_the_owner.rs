//! Getting in beside an owner that has the port already, as the kernel lets sockets
//! share one.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket},
    slice,
};

use anyhow::{Context as _, Result, ensure};

use super::PORT;
use crate::{
    ensure_eq,
    harness::{
        Binder, Caller, Case, NOBODY, Sandbox, Servant, Settings, Spinner, Want,
        expect::expect,
        links::Link,
        request::Kind,
        servant::SocketOption::{Device, Repair, ReuseAddress, ReusePort},
        skip, tcp, udp,
    },
    tests,
};

tests![
    reuseport_by_the_same_user,
    reuseaddr_and_a_closer_address,
    reuseaddr_before_the_owner_listens,
    the_other_family,
    another_device,
    repair_mode_beside_a_listener,
    the_moment_after_the_owner_ended,
];

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;
const QUIET: Settings = Settings::DEFAULT;

/// The owner serves `owned`, and somebody tries to get `wanted` beside it.
fn besieged(
    s: &Sandbox,
    profile: &str,
    right: &Caller,
    wrong: &Caller,
    owned: &Want,
    wanted: &Want,
) -> Result<()> {
    let siege = || -> Result<Binder> {
        let _owner = own(right, owned)?;
        Binder::start(wrong, slice::from_ref(wanted))
    };
    ensure_eq!(siege()?.results, [Ok(())], "without an agent: {wanted}");
    let agent = s.agent(profile, QUIET)?.start()?;
    let beginning = format!("4321 {}", owned.protocol().to_uppercase());
    let mut entries = profile.lines().map(str::trim);
    let entry = entries.find(|entry| entry.starts_with(&beginning));
    let entry = entry.context("no entry")?;

    let (owner, socket) = own(right, owned)?;
    let refused = Case::other_job(wrong, wanted.clone(), entry);
    expect(&agent, profile, QUIET, &[refused])?;
    serves(&owner, socket, owned)?;
    drop(owner);
    // What was his is his again, and nobody else's.
    let cases = [
        Case::other_job(wrong, wanted.clone(), entry),
        Case::permitted(right, owned.clone(), entry),
    ];
    expect(&agent, profile, QUIET, &cases)?;
    agent.terminate()?;
    s.portreeve(&["detach", "--yes"])?.ended_with(0).map(drop)
}

/// A process that has what it owns.
fn own(right: &Caller, owned: &Want) -> Result<(Servant, i32)> {
    let owner = Servant::start(right)?;
    let socket = owner.socket(owned.kind, owned.address.is_ipv6())?;
    for &(option, value) in &owned.options {
        owner.set(socket, option, value)?;
    }
    ensure_eq!(owner.bind(socket, owned.address, PORT)?, Ok(()), "{owned}");
    if owned.listens {
        ensure_eq!(owner.listen(socket)?, Ok(()), "{owned}");
    }
    Ok((owner, socket))
}

/// What is sent to the owner's port arrives at the owner.
fn serves(owner: &Servant, socket: i32, owned: &Want) -> Result<()> {
    let target: IpAddr = match owned.address {
        IpAddr::V4(address) if address.is_unspecified() => LOCAL.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    match owned.kind {
        Kind::Udp => {
            let any: IpAddr = match target {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            UdpSocket::bind((any, 0))?.send_to(&[42], (target, PORT))?;
            ensure_eq!(owner.receive(socket)?, Ok(42), "{owned}");
        }
        _ if owned.listens => {
            let _stream = TcpStream::connect((target, PORT))?;
            ensure!(owner.accept(socket)?.is_ok(), "{owned}");
        }
        _ => {}
    }
    Ok(())
}

const PLAIN: &str = "PORT\n  4321 TCP RIGHT\n  4321 UDP RIGHT\n";
/// TCP listeners that ask for sharing have it: with SHAREPORT.
const SHARED: &str = "PORT\n  4321 TCP RIGHT SHAREPORT\n  4321 UDP RIGHT\n";

/// `SO_REUSEPORT`: the kernel hands every second connection to another process of the
/// owner's user.
fn reuseport_by_the_same_user(s: &Sandbox) -> Result<()> {
    for uid in [0, NOBODY] {
        let (right, wrong) = (s.caller("right").user(uid), s.caller("wrong").user(uid));
        let listener = tcp(PORT).with(ReusePort, 1).listening();
        besieged(s, SHARED, &right, &wrong, &listener, &listener)?;
        let server = udp(PORT).with(ReusePort, 1);
        besieged(s, SHARED, &right, &wrong, &server, &server)?;
    }
    Ok(())
}

/// UDP with `SO_REUSEADDR` on both sides: who has the closer address, or came last,
/// has the datagrams. Of any user.
fn reuseaddr_and_a_closer_address(s: &Sandbox) -> Result<()> {
    let owned = udp(PORT).on(Ipv4Addr::UNSPECIFIED).with(ReuseAddress, 1);
    let right = s.caller("right");
    for wrong in [s.caller("wrong"), s.caller("wrong").user(NOBODY)] {
        for wanted in [udp(PORT).with(ReuseAddress, 1), owned.clone()] {
            besieged(s, PLAIN, &right, &wrong, &owned, &wanted)?;
        }
    }
    Ok(())
}

/// TCP with `SO_REUSEADDR` on both sides: until the owner listens, another process can
/// have the port as well, and listen first.
fn reuseaddr_before_the_owner_listens(s: &Sandbox) -> Result<()> {
    let right = s.caller("right");
    let owned = tcp(PORT).on(Ipv4Addr::UNSPECIFIED).with(ReuseAddress, 1);
    let wanted = tcp(PORT).with(ReuseAddress, 1).listening();
    for wrong in [s.caller("wrong"), s.caller("wrong").user(NOBODY)] {
        besieged(s, PLAIN, &right, &wrong, &owned, &wanted)?;
    }
    Ok(())
}

/// IPv6 alone beside IPv4, and the other way round.
fn the_other_family(s: &Sandbox) -> Result<()> {
    let (right, wrong) = (s.caller("right"), s.caller("wrong").user(NOBODY));
    for (want, listens) in [(tcp(PORT), true), (udp(PORT), false)] {
        let v4 = want.clone().on(Ipv4Addr::UNSPECIFIED);
        let v6 = want.on(Ipv6Addr::LOCALHOST);
        let v4 = if listens { v4.listening() } else { v4 };
        let mut wildcard = v6.clone().on_any_v6(true);
        wildcard.listens = listens;
        besieged(s, PLAIN, &right, &wrong, &v4, &wildcard)?;
        let mut v6 = v6;
        v6.listens = listens;
        besieged(s, PLAIN, &right, &wrong, &v6, &v4)?;
    }
    Ok(())
}

/// `SO_BINDTODEVICE`: sockets of two devices can have one port, on the same address.
fn another_device(s: &Sandbox) -> Result<()> {
    let (right, wrong) = (s.caller("right"), s.caller("wrong"));
    let maker = Servant::start(&right)?;
    if let Err(errno) = maker.add_link(&Link::Veth)? {
        let what = format!("this kernel makes no pair of network devices: {errno}");
        return Err(skip(what));
    }
    let index = nix::net::if_::if_nametoindex("servant0")?;
    for want in [tcp(PORT).listening(), udp(PORT)] {
        let want = want.on(Ipv4Addr::UNSPECIFIED);
        let (owned, wanted) = (
            want.clone().with(Device, 1),
            want.with(Device, index.cast_signed()),
        );
        besieged(s, PLAIN, &right, &wrong, &owned, &wanted)?;
    }
    Ok(())
}

/// `TCP_REPAIR`: the kernel looks for no conflict at all.
fn repair_mode_beside_a_listener(s: &Sandbox) -> Result<()> {
    let owned = tcp(PORT).listening();
    let wanted = tcp(PORT).with(Repair, 1);
    let (right, wrong) = (s.caller("right"), s.caller("wrong"));
    besieged(s, PLAIN, &right, &wrong, &owned, &wanted)
}

/// Somebody who binds without end, and an owner that is started again and again.
fn the_moment_after_the_owner_ended(s: &Sandbox) -> Result<()> {
    let (right, wrong) = (s.caller("right"), s.caller("wrong"));
    ensure_eq!(Binder::attempt(&wrong, &tcp(PORT))?, Ok(()), "without one");
    let agent = s.agent(PLAIN, QUIET)?.start()?;
    let mut spinner = Spinner::start(&wrong, &[tcp(PORT)])?;
    for _ in 0..10 {
        let owner = Servant::start(&right)?;
        owner.serve(Kind::Tcp, LOCAL, PORT)??;
        drop(owner);
        spinner.wait_for(100)?;
    }
    let tally = spinner.stop()?;
    ensure!(
        tally.allowed == 0 && tally.other == 0 && tally.refused > 1000,
        "{tally:?}"
    );
    let counters = &agent.status()?["counters"];
    ensure_eq!(counters["other-job"], tally.refused, "{counters}");
    ensure_eq!(counters["permitted"], 10, "{counters}");
    Ok(())
}
