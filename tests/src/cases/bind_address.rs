//! BIND: which address a socket has in the end, and who hears what.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, NOBODY, Need, Sandbox, Servant, Watch, needs, refusal,
        request::Kind,
        servant::{SocketOption, name},
    },
    tests,
};

tests![
    the_address_that_comes_of_each,
    only_the_rightful_job_gets_it,
    an_address_the_host_lacks,
    without_an_address_family,
    a_family_that_is_not_the_sockets,
    beside_a_server_on_the_wildcard,
    two_addresses_on_one_port,
    beside_a_server_of_another_user,
    two_entries_with_one_address,
    nothing_in_audit_mode,
];

const V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const ANY4: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const ANY6: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
const V6: Ipv6Addr = Ipv6Addr::LOCALHOST;

const PROFILE: &str = "\
PORT
  4321 TCP WEB BIND 127.0.0.2
  4321 UDP WEB BIND 127.0.0.2
  4322 TCP WEB BIND ::1
  4322 UDP WEB BIND ::1
";

fn agent<'s>(s: &'s Sandbox, profile: &str) -> Result<Agent<'s>> {
    s.agent_with(profile, "")?.start()
}

fn mapped(address: Ipv4Addr) -> Ipv6Addr {
    address.to_ipv6_mapped()
}

/// Says one byte to whoever is at this address.
fn say(byte: u8, to: impl Into<IpAddr>, port: u16) -> Result<()> {
    let to = SocketAddr::new(to.into(), port);
    let own: IpAddr = match to {
        SocketAddr::V4(_) => ANY4.into(),
        SocketAddr::V6(_) => ANY6.into(),
    };
    UdpSocket::bind((own, 0))?.send_to(&[byte], to)?;
    Ok(())
}

/// Whether anybody accepts a connection there.
fn answers(address: impl Into<IpAddr>, port: u16) -> bool {
    let to = SocketAddr::new(address.into(), port);
    TcpStream::connect_timeout(&to, Duration::from_secs(5)).is_ok()
}

/// `PRT-22` to `PRT-24`, `PRT-26`, `PRT-27`, `PRT-32`, `PRT-33`: what is asked for
/// and what getsockname says, of TCP and UDP, and MPTCP where there is any.
fn the_address_that_comes_of_each(s: &Sandbox) -> Result<()> {
    let agent = agent(s, PROFILE)?;
    let web = Servant::start(&s.caller("web"))?;
    let (four, six) = (4321, 4322);
    type Row = (IpAddr, Option<i32>, u16, IpAddr);
    let row = |asked: IpAddr, only, port, bound: IpAddr| -> Row { (asked, only, port, bound) };
    let local = Ipv4Addr::LOCALHOST;
    let rows = [
        // An IPv4 address.
        row(ANY4.into(), None, four, V4.into()),
        row(ANY6.into(), Some(0), four, mapped(V4).into()),
        row(mapped(ANY4).into(), Some(0), four, mapped(V4).into()),
        row(ANY6.into(), Some(1), four, ANY6.into()),
        row(local.into(), None, four, local.into()),
        row(OTHER.into(), None, four, OTHER.into()),
        row(mapped(OTHER).into(), Some(0), four, mapped(OTHER).into()),
        row(V6.into(), None, four, V6.into()),
        row(V6.into(), Some(1), four, V6.into()),
        // An IPv6 address.
        row(ANY6.into(), Some(0), six, V6.into()),
        row(ANY6.into(), Some(1), six, V6.into()),
        row(ANY4.into(), None, six, ANY4.into()),
        row(mapped(ANY4).into(), Some(0), six, mapped(ANY4).into()),
        row(local.into(), None, six, local.into()),
        row(mapped(OTHER).into(), Some(0), six, mapped(OTHER).into()),
        // Not reserved.
        row(ANY4.into(), None, 4323, ANY4.into()),
        row(ANY6.into(), Some(0), 4323, ANY6.into()),
    ];
    let mut kinds = vec![Kind::Tcp, Kind::Udp];
    kinds.extend(Need::Mptcp.check().is_ok().then_some(Kind::Mptcp));
    kinds.extend(Need::UdpLite.check().is_ok().then_some(Kind::UdpLite));
    let count = kinds.len() as u64;
    let mut watch = Watch::start(&agent)?;
    for kind in kinds {
        for (asked, only, port, bound) in rows {
            let what = format!("{kind:?} {asked} port {port}, IPv6 only {only:?}");
            let socket = web.socket(kind, asked.is_ipv6())?;
            if let Some(only) = only {
                web.set(socket, SocketOption::V6Only, only)?;
            }
            ensure_eq!(web.bind(socket, asked, port)?, Ok(()), "{what}");
            ensure_eq!(web.name(socket)?, SocketAddr::new(bound, port), "{what}");
            web.close(socket)?;
        }
    }
    watch.expect(&[("permitted", count * 15)], &[])
}

/// `PRT-22`: of several entries the caller's own says which address; who is refused
/// is told the reason of the refusal. The events say what became of each.
fn only_the_rightful_job_gets_it(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP INETD1 BIND 127.0.0.2\n 4321 TCP TN3270\n";
    let agent = s.agent_with(profile, "[events]\nreport = \"all\"\n")?;
    let agent = agent.start()?;
    let mut watch = Watch::start(&agent)?;
    for (job, bound) in [("inetd1", V4), ("tn3270", ANY4)] {
        let job = Servant::start(&s.caller(job))?;
        let socket = job.socket(Kind::Tcp, false)?;
        ensure_eq!(job.bind(socket, ANY4, 4321)?, Ok(()), "{bound}");
        ensure_eq!(job.name(socket)?, SocketAddr::from((bound, 4321)), "bound");
    }
    let other = Servant::start(&s.caller("sshd"))?;
    let socket = other.socket(Kind::Tcp, false)?;
    let refused = Err(refusal());
    ensure_eq!(other.bind(socket, ANY4, 4321)?, refused, "another job");
    ensure_eq!(other.name(socket)?, SocketAddr::from((ANY4, 0)), "another");
    let event = |reason: &str, line: u32, rewritten: Value, sharing: Value| {
        json!({
            "reason": reason, "address": "0.0.0.0", "entry/line": line,
            "rewritten": rewritten, "sharing": sharing,
        })
    };
    let to = json!({"from": "0.0.0.0", "to": "127.0.0.2"});
    let shared = json!("switched-on");
    let events = [
        event("permitted", 2, to, shared.clone()),
        event("permitted", 3, Value::Null, shared),
        event("other-job", 2, Value::Null, Value::Null),
    ];
    watch.expect(&[("permitted", 2), ("other-job", 1)], &events)
}

/// `DEC-05`: the kernel says so, and the socket is as it was: unbound, its options
/// its own again at the next bind.
fn an_address_the_host_lacks(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP WEB SHAREPORT BIND 192.0.2.9\n 4321 UDP WEB BIND 192.0.2.9\n";
    let agent = agent(s, profile)?;
    let mut watch = Watch::start(&agent)?;
    let web = Servant::start(&s.caller("web"))?;
    let missing = Err(Errno::EADDRNOTAVAIL);
    for kind in [Kind::Tcp, Kind::Udp] {
        let socket = web.socket(kind, false)?;
        for _ in 0..2 {
            ensure_eq!(web.bind(socket, ANY4, 4321)?, missing, "{kind:?}");
            ensure_eq!(web.name(socket)?, SocketAddr::from((ANY4, 0)), "{kind:?}");
        }
        ensure_eq!(web.bind(socket, ANY4, 4322)?, Ok(()), "{kind:?} elsewhere");
        ensure_eq!(
            web.name(socket)?,
            SocketAddr::from((ANY4, 4322)),
            "{kind:?}"
        );
        ensure!(!web.is_shared(socket)?, "{kind:?}: the option is still set");
    }
    watch.expect(&[("permitted", 4)], &[])
}

/// A name whose family is `AF_UNSPEC`.
fn no_family(port: u16) -> Vec<u8> {
    let mut name = name(SocketAddr::from((ANY4, port)));
    name[..2].fill(0);
    name
}

/// `PRT-22`: the kernel takes no address with `AF_UNSPEC` but the wildcard, so the
/// bind fails; it never becomes a listener on every address. Without BIND it is an
/// IPv4 bind like any other.
fn without_an_address_family(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP WEB BIND 127.0.0.2\n 4321 UDP WEB BIND 127.0.0.2\n 4322 TCP WEB\n 4323 TCP WEB BIND ::1\n";
    let agent = agent(s, profile)?;
    let mut watch = Watch::start(&agent)?;
    let web = Servant::start(&s.caller("web"))?;
    let errno = needs::refusal_with(Errno::EAFNOSUPPORT);
    for (kind, line) in [(Kind::Tcp, 2), (Kind::Udp, 3)] {
        let socket = web.socket(kind, false)?;
        let result = web.bind_to(socket, no_family(4321))?;
        ensure_eq!(result, Err(errno), "{kind:?}");
        ensure_eq!(web.name(socket)?, SocketAddr::from((ANY4, 0)), "{kind:?}");
        let event = json!({
            "hook": "bind4", "verdict": "deny", "reason": "address-family",
            "errno": format!("{errno:?}"), "rewritten": null, "address": "0.0.0.0", "port": 4321, "entry/line": line,
        });
        watch.expect(&[("address-family", 1)], &[event])?;
        // It can still be had with its family.
        ensure_eq!(web.bind(socket, ANY4, 4321)?, Ok(()), "{kind:?}");
        ensure_eq!(web.name(socket)?, SocketAddr::from((V4, 4321)), "{kind:?}");
        watch.expect(&[("permitted", 1)], &[])?;
    }
    // No BIND, or one that IPv4 sockets know nothing of.
    for port in [4322, 4323] {
        let socket = web.socket(Kind::Tcp, false)?;
        let result = web.bind_to(socket, no_family(port))?;
        ensure_eq!(result, Ok(()), "port {port}");
        ensure_eq!(web.name(socket)?, SocketAddr::from((ANY4, port)), "bound");
    }
    watch.expect(&[("permitted", 2)], &[])
}

/// The kernel's own errors stay: a wrong family, a name cut short, a bind again.
fn a_family_that_is_not_the_sockets(s: &Sandbox) -> Result<()> {
    let _agent = agent(s, PROFILE)?;
    let web = Servant::start(&s.caller("web"))?;
    let v4 = name(SocketAddr::from((ANY4, 4321)));
    let v6 = name(SocketAddr::from((ANY6, 4321)));
    let mut long = v4.clone();
    long.resize(28, 0);
    let cases = [
        (false, v4[..15].to_vec(), Errno::EINVAL),
        (false, Vec::new(), Errno::EINVAL),
        (false, v6.clone(), Errno::EAFNOSUPPORT),
        (true, v4.clone(), Errno::EINVAL),
        (true, long, Errno::EAFNOSUPPORT),
        (true, v6[..23].to_vec(), Errno::EINVAL),
    ];
    for (is_v6, name, errno) in cases {
        for kind in [Kind::Tcp, Kind::Udp] {
            let what = format!("{kind:?}, IPv6 {is_v6}: {name:?}");
            let socket = web.socket(kind, is_v6)?;
            let result = web.bind_to(socket, name.clone())?;
            ensure_eq!(result, Err(errno), "{what}");
            ensure_eq!(web.name(socket)?.port(), 0, "{what}");
        }
    }
    // As short as an IPv6 name may be.
    let socket = web.socket(Kind::Tcp, true)?;
    ensure_eq!(web.bind_to(socket, v6[..24].to_vec())?, Ok(()), "24 bytes");
    ensure_eq!(
        web.name(socket)?,
        SocketAddr::from((mapped(V4), 4321)),
        "24 bytes"
    );
    Ok(())
}

const BESIDE: &str = "\
PORT
  4321 TCP INETD1 BIND 127.0.0.2
  4321 TCP TN3270
";

/// `PRT-29`: two jobs have one port, in whatever order they come; the traffic to the
/// one's address is the one's, all other is the other's.
fn beside_a_server_on_the_wildcard(s: &Sandbox) -> Result<()> {
    let (inetd1, tn3270) = (s.caller("inetd1"), s.caller("tn3270"));
    // Linux alone has no room for both.
    let (one, two) = (Servant::start(&inetd1)?, Servant::start(&tn3270)?);
    one.serve(Kind::Tcp, V4, 4321)??;
    let alone = two.serve(Kind::Tcp, ANY4, 4321)?;
    ensure_eq!(alone, Err(Errno::EADDRINUSE), "without an agent");
    drop((one, two));

    let _agent = agent(s, BESIDE)?;
    for first in [true, false] {
        let (one, two) = (Servant::start(&inetd1)?, Servant::start(&tn3270)?);
        let (narrow, wide) = if first {
            let narrow = one.serve(Kind::Tcp, ANY4, 4321)?;
            (narrow, two.serve(Kind::Tcp, ANY4, 4321)?)
        } else {
            let wide = two.serve(Kind::Tcp, ANY4, 4321)?;
            (one.serve(Kind::Tcp, ANY4, 4321)?, wide)
        };
        let (narrow, wide) = (narrow.context("BIND")?, wide.context("no BIND")?);
        for (to, servant, socket) in [
            (V4, &one, narrow),
            (OTHER, &two, wide),
            (V4, &one, narrow),
            (Ipv4Addr::LOCALHOST, &two, wide),
        ] {
            ensure!(answers(to, 4321), "nobody answers at {to}");
            let connection = servant.accept(socket)?.with_context(|| to.to_string())?;
            ensure_eq!(
                servant.name(connection)?,
                SocketAddr::from((to, 4321)),
                "of it"
            );
        }
    }
    Ok(())
}

/// `PRT-28`: each of two jobs on an address of its own, TCP and, with one entry
/// each, UDP; nobody on any other.
fn two_addresses_on_one_port(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  4321 TCP ONE BIND 127.0.0.2
  4321 TCP TWO BIND 127.0.0.3
  4322 UDP ONE BIND 127.0.0.2
";
    let _agent = agent(s, profile)?;
    let (one, two) = (
        Servant::start(&s.caller("one"))?,
        Servant::start(&s.caller("two"))?,
    );
    let first = one.serve(Kind::Tcp, ANY4, 4321)??;
    let second = two.serve(Kind::Tcp, ANY4, 4321)??;
    for (to, servant, socket) in [(V4, &one, first), (OTHER, &two, second)] {
        ensure!(answers(to, 4321), "nobody answers at {to}");
        servant.accept(socket)?.with_context(|| to.to_string())?;
    }
    ensure!(!answers(Ipv4Addr::LOCALHOST, 4321), "there is a third");
    let socket = one.serve(Kind::Udp, ANY4, 4322)??;
    say(1, OTHER, 4322)?;
    say(2, V4, 4322)?;
    ensure_eq!(one.receive(socket)?, Ok(2), "what arrives at {V4}");
    Ok(())
}

/// `PRT-29`: Linux shares a port within one effective user only; of two users the
/// second gets EADDRINUSE, whoever it is, and `check` has said so.
fn beside_a_server_of_another_user(s: &Sandbox) -> Result<()> {
    let _agent = agent(s, BESIDE)?;
    let checked = s.portreeve(&["check", &s.profile().display().to_string()])?;
    ensure!(checked.stderr.contains("PRV516"), "{checked:?}");
    let callers = [s.caller("inetd1").user(NOBODY), s.caller("tn3270")];
    for turn in 0..2 {
        let [first, second] = [&callers[turn], &callers[1 - turn]];
        let (first, second) = (Servant::start(first)?, Servant::start(second)?);
        first.serve(Kind::Tcp, ANY4, 4321)??;
        let socket = second.socket(Kind::Tcp, false)?;
        let result = second.bind(socket, ANY4, 4321)?;
        ensure_eq!(result, Err(Errno::EADDRINUSE), "of two users");
        ensure_eq!(second.name(socket)?.port(), 0, "of two users");
    }
    Ok(())
}

/// `PRT-28`: the second listener on an address has to share it, and `check` has
/// said so.
fn two_entries_with_one_address(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP ONE BIND 127.0.0.2\n 4321 TCP TWO BIND 127.0.0.2\n";
    let _agent = agent(s, profile)?;
    let profile = s.profile().display().to_string();
    let checked = s.portreeve(&["check", &profile])?;
    ensure!(checked.stderr.contains("PRV508"), "{checked:?}");
    let (one, two) = (
        Servant::start(&s.caller("one"))?,
        Servant::start(&s.caller("two"))?,
    );
    one.serve(Kind::Tcp, ANY4, 4321)??;
    let second = two.serve(Kind::Tcp, ANY4, 4321)?;
    ensure_eq!(second, Err(Errno::EADDRINUSE), "the second");
    Ok(())
}

/// Audit mode changes nothing of what anybody asks for.
fn nothing_in_audit_mode(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with(PROFILE, "mode = \"audit\"\n")?.start()?;
    let mut watch = Watch::start(&agent)?;
    let web = Servant::start(&s.caller("web"))?;
    let socket = web.socket(Kind::Tcp, false)?;
    web.set(socket, SocketOption::ReusePort, 1)?;
    ensure_eq!(web.bind(socket, ANY4, 4321)?, Ok(()), "with a family");
    ensure_eq!(web.name(socket)?, SocketAddr::from((ANY4, 4321)), "bound");
    ensure!(web.is_shared(socket)?, "sharing was switched off");
    let socket = web.socket(Kind::Udp, false)?;
    ensure_eq!(web.bind_to(socket, no_family(4321))?, Ok(()), "without");
    watch.expect_audited(&[("permitted", 2)], &[])
}
