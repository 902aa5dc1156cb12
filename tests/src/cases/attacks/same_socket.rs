//! What is left on a socket by what was done with it before.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
};

use anyhow::{Result, ensure};
use nix::errno::Errno;

use super::{LOUD, PORT, PROFILE, deed_repelled, entry};
use crate::{
    ensure_eq,
    harness::{
        Case, Sandbox, Servant, Settings, Want, Watch,
        expect::{expect, expect_of_deed},
        request::Kind,
        servant::{
            Said,
            SocketOption::{Family, ReuseAddress, ReusePort},
            name,
        },
        skip, tcp, udp,
    },
    tests,
};

tests![
    bind_again_after_a_refusal,
    bind_again_after_a_failure,
    bind_after_disconnect,
    bind_after_shutdown,
    a_socket_that_changes_its_family,
    a_name_that_changes_during_the_call,
    a_name_of_another_length,
    a_second_bind_of_a_bound_socket,
];

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The port by a socket that `prepare` has had before: TCP and UDP.
fn repelled_after(
    s: &Sandbox,
    kinds: &[Kind],
    prepare: &dyn Fn(&Servant, Kind) -> Result<i32>,
) -> Result<()> {
    let wrong = s.caller("wrong");
    for &kind in kinds {
        let want = tcp(PORT).kind(kind);
        let case = Case::other_job(&wrong, want.clone(), entry(&want));
        let deed = || {
            let servant = Servant::start(&wrong)?;
            let socket = prepare(&servant, kind)?;
            let said = servant.bind(socket, LOCAL, PORT)?;
            Ok((servant.into(), said))
        };
        deed_repelled(s, "", &s.caller("right"), &case, &deed)?;
        s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    }
    Ok(())
}

/// `DEC-07`: refused once, the socket is refused again, also with other options, on
/// other addresses and as often as one likes; and it can be bound where its owner may.
fn bind_again_after_a_refusal(s: &Sandbox) -> Result<()> {
    let (right, wrong) = (s.caller("right"), s.caller("wrong"));
    let wants: [fn(u16) -> Want; 2] = [tcp, udp];
    for want in wants {
        let servant = Servant::start(&wrong)?;
        let socket = servant.socket(want(PORT).kind, false)?;
        ensure_eq!(servant.bind(socket, LOCAL, PORT)?, Ok(()), "without one");
    }
    let agent = s.agent(PROFILE, LOUD)?.start()?;
    for want in wants {
        let want = want(PORT);
        let entry = entry(&want);
        let servant = Rc::new(Servant::start(&wrong)?);
        let socket = servant.socket(want.kind, false)?;
        let again = |case: &Case<'_>, deed: &dyn Fn() -> Result<Said<()>>| -> Result<()> {
            expect_of_deed(&agent, PROFILE, LOUD, case, &|| {
                Ok((Rc::clone(&servant), deed()?))
            })
        };
        let refused = Case::other_job(&wrong, want.clone(), entry);
        for round in 0..3 {
            again(&refused, &|| servant.bind(socket, LOCAL, PORT))?;
            if round == 1 {
                servant.set(socket, ReusePort, 1)?;
                servant.set(socket, ReuseAddress, 1)?;
            }
        }
        let any = want.clone().on(Ipv4Addr::UNSPECIFIED);
        again(&Case::other_job(&wrong, any, entry), &|| {
            servant.bind(socket, Ipv4Addr::UNSPECIFIED, PORT)
        })?;
        expect(
            &agent,
            PROFILE,
            LOUD,
            &[Case::permitted(&right, want.clone(), entry)],
        )?;
        let mut elsewhere = want;
        elsewhere.port = 4400;
        again(&Case::unreserved(&wrong, elsewhere), &|| {
            servant.bind(socket, LOCAL, 4400)
        })?;
    }
    Ok(())
}

/// The kernel's own refusal: no such address, and a port that is taken.
fn bind_again_after_a_failure(s: &Sandbox) -> Result<()> {
    repelled_after(s, &[Kind::Tcp, Kind::Udp], &|servant, kind| {
        let socket = servant.socket(kind, false)?;
        let missing = servant.bind(socket, [192, 0, 2, 9], 4400)?;
        ensure_eq!(missing, Err(Errno::EADDRNOTAVAIL), "no such address");
        servant.serve(kind, LOCAL, 4401)??;
        let taken = servant.bind(socket, LOCAL, 4401)?;
        ensure_eq!(taken, Err(Errno::EADDRINUSE), "a port that is taken");
        Ok(socket)
    })
}

/// connect(`AF_UNSPEC`) makes a socket forget the port that the kernel chose for it;
/// then it is bound like a new one.
fn bind_after_disconnect(s: &Sandbox) -> Result<()> {
    repelled_after(s, &[Kind::Tcp, Kind::Udp], &|servant, kind| {
        servant.serve(kind, LOCAL, 4401)??;
        let socket = servant.socket(kind, false)?;
        ensure_eq!(servant.connect(socket, LOCAL, 4401)?, Ok(()), "connect");
        ensure!(servant.name(socket)?.port() != 0, "no port was chosen");
        ensure_eq!(servant.disconnect(socket)?, Ok(()), "disconnect");
        Ok(socket)
    })
}

/// A connection that both sides have ended leaves a socket that can be bound.
fn bind_after_shutdown(s: &Sandbox) -> Result<()> {
    repelled_after(s, &[Kind::Tcp], &|servant, kind| {
        let server = servant.serve(kind, LOCAL, 4401)??;
        let socket = servant.socket(kind, false)?;
        ensure_eq!(servant.connect(socket, LOCAL, 4401)?, Ok(()), "connect");
        let accepted = servant.accept(server)??;
        servant.shutdown(socket)?;
        servant.close(accepted)?;
        Ok(socket)
    })
}

/// `IPV6_ADDRFORM`: connected to an IPv4 host, an IPv6 socket becomes one of IPv4, and
/// is bound as one when it has forgotten its port.
fn a_socket_that_changes_its_family(s: &Sandbox) -> Result<()> {
    repelled_after(s, &[Kind::Tcp, Kind::Udp], &|servant, kind| {
        servant.serve(kind, LOCAL, 4401)??;
        let socket = servant.socket(kind, true)?;
        let mapped = LOCAL.to_ipv6_mapped();
        ensure_eq!(servant.connect(socket, mapped, 4401)?, Ok(()), "connect");
        if let Err(error) = servant.set(socket, Family, nix::libc::AF_INET) {
            // Linux 6.18.44 doesn't know it any more: a way less.
            return Err(match error.downcast_ref() {
                Some(Errno::ENOPROTOOPT) => skip("this kernel has no IPV6_ADDRFORM"),
                _ => error,
            });
        }
        ensure!(servant.name(socket)?.is_ipv4(), "it is of IPv6 still");
        ensure_eq!(servant.disconnect(socket)?, Ok(()), "disconnect");
        Ok(socket)
    })
}

/// Sockets whose names another thread changes while the kernel reads them: what is
/// judged is what is bound.
fn a_name_that_changes_during_the_call(s: &Sandbox) -> Result<()> {
    const SOCKETS: usize = 1000;
    let (free, reserved) = (
        SocketAddr::from((LOCAL, 4400)),
        SocketAddr::from((LOCAL, PORT)),
    );
    // How many got each.
    let race = || -> Result<(usize, usize)> {
        let servant = Servant::start(&s.caller("wrong"))?;
        let mut sockets = Vec::new();
        for _ in 0..SOCKETS {
            let socket = servant.socket(Kind::Udp, false)?;
            // So that many can have one port.
            servant.set(socket, ReusePort, 1)?;
            sockets.push(socket);
        }
        servant.bind_in_a_race(&sockets, free, reserved)?;
        let mut ports = Vec::new();
        for socket in sockets {
            ports.push(servant.name(socket)?.port());
        }
        let count = |port| ports.iter().filter(|it| **it == port).count();
        ensure_eq!(count(4400) + count(PORT) + count(0), SOCKETS, "{ports:?}");
        Ok((count(4400), count(PORT)))
    };
    // With one processor they take turns slowly.
    let mut both = (0, 0);
    for _ in 0..50 {
        let (free, reserved) = race()?;
        ensure_eq!(free + reserved, SOCKETS, "without an agent");
        both = (both.0 + free, both.1 + reserved);
        if both.0 > 0 && both.1 > 0 {
            break;
        }
    }
    ensure!(both.0 > 0 && both.1 > 0, "there was no race: {both:?}");
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let before = agent.status()?["counters"]["other-job"].as_u64();
    let (free, reserved) = race()?;
    ensure_eq!(reserved, 0, "sockets that got the port");
    // Whatever did not get the one port was refused the other.
    let after = agent.status()?["counters"]["other-job"].as_u64();
    let refused = before.zip(after).map(|(before, after)| after - before);
    ensure_eq!(refused, Some((SOCKETS - free) as u64), "refusals");
    // What repeats is told a second later, in sums.
    agent.wait_until("the last sum", |agent| {
        let suppressed = agent.status().map(|it| it["events"]["suppressed"].as_u64());
        let events = agent.events().unwrap_or_default();
        let repeated = events.iter().map(|event| event["repeated"].as_u64()).sum();
        suppressed.is_ok_and(|suppressed| suppressed == repeated)
    })?;
    let owner = Case::permitted(&s.caller("right"), udp(PORT), "4321 UDP RIGHT");
    expect(&agent, PROFILE, Settings::DEFAULT, &[owner])
}

/// Too short and negative: the kernel's own errno, and nothing is judged. Longer than
/// needed: a bind like any other.
fn a_name_of_another_length(s: &Sandbox) -> Result<()> {
    const LENGTHS: [i32; 8] = [0, 1, 2, 15, 129, -1, i32::MIN, i32::MAX];
    let short = |v6: bool| -> Result<Vec<Said<()>>> {
        let servant = Servant::start(&s.caller("wrong"))?;
        let address = match v6 {
            false => SocketAddr::from((LOCAL, PORT)),
            true => SocketAddr::from((Ipv6Addr::LOCALHOST, PORT)),
        };
        let mut name = name(address);
        name.resize(128, 0);
        let mut said = Vec::new();
        for kind in [Kind::Tcp, Kind::Udp] {
            let socket = servant.socket(kind, v6)?;
            for length in LENGTHS {
                said.push(servant.bind_to_length(socket, name.clone(), length)?);
            }
            ensure_eq!(servant.name(socket)?.port(), 0, "{kind:?}, IPv6 {v6}");
        }
        Ok(said)
    };
    let without = [short(false)?, short(true)?];
    ensure!(without.iter().flatten().all(Result::is_err), "{without:?}");
    let long = |length: i32| {
        move |servant: &Servant, kind: Kind| -> Result<Said<()>> {
            let socket = servant.socket(kind, false)?;
            let mut name = name(SocketAddr::from((LOCAL, PORT)));
            name.resize(128, 0xff);
            servant.bind_to_length(socket, name, length)
        }
    };
    let wrong = s.caller("wrong");
    for length in [17, 28, 128] {
        for want in [tcp(PORT), udp(PORT)] {
            let case = Case::other_job(&wrong, want.clone(), entry(&want));
            let deed = || {
                let servant = Servant::start(&wrong)?;
                let said = long(length)(&servant, want.kind)?;
                Ok((servant.into(), said))
            };
            let agent = deed_repelled(s, "", &s.caller("right"), &case, &deed)?;
            let mut watch = Watch::start(&agent)?;
            ensure_eq!([short(false)?, short(true)?], without, "{length}");
            watch.expect(&[], &[])?;
            agent.terminate()?;
            s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
        }
    }
    Ok(())
}

/// A socket that has a port keeps it, whatever is asked for then.
fn a_second_bind_of_a_bound_socket(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    for want in [tcp(PORT), udp(PORT)] {
        let servant = Rc::new(Servant::start(&s.caller("wrong"))?);
        let socket = servant.socket(want.kind, false)?;
        ensure_eq!(servant.bind(socket, LOCAL, 4400)?, Ok(()), "{want}");
        let case = Case::other_job(&s.caller("wrong"), want.clone(), entry(&want));
        expect_of_deed(&agent, PROFILE, Settings::DEFAULT, &case, &|| {
            Ok((Rc::clone(&servant), servant.bind(socket, LOCAL, PORT)?))
        })?;
        ensure_eq!(servant.name(socket)?.port(), 4400, "{want}");
        servant.close(socket)?;
        let owner = Case::permitted(&s.caller("right"), want.clone(), entry(&want));
        expect(&agent, PROFILE, Settings::DEFAULT, &[owner])?;
    }
    Ok(())
}
