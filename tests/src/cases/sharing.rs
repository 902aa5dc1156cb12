//! SHAREPORT: who may listen on one port together, and what becomes of
//! `SO_REUSEPORT`.

use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

use anyhow::{Result, ensure};
use nix::errno::Errno;
use serde_json::json;

use crate::{
    ensure_eq,
    harness::{
        Agent, NOBODY, Need, Sandbox, Servant, Watch, refusal,
        request::Kind,
        servant::SocketOption::{MostDelay, ReuseAddress, ReusePort},
        skip,
    },
    tests,
};

tests![
    listeners_of_one_job_share,
    every_job_of_the_port_shares,
    jobs_with_a_common_prefix,
    users_do_not_share,
    without_shareport_there_is_one,
    one_job_may_share_if_the_config_says_so,
    udp_is_left_alone,
    what_is_set_for_a_bind_that_fails,
    what_is_switched_off_for_a_bind_that_fails,
    what_the_application_sets_itself_stays,
    a_socket_that_is_bound_already,
    multipath_tcp,
    acknowledgements_come_sooner,
    acknowledgements_are_the_kernels_again,
];

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;
const IN_USE: Result<(), Errno> = Err(Errno::EADDRINUSE);

fn agent<'s>(s: &'s Sandbox, profile: &str) -> Result<Agent<'s>> {
    s.agent_with(profile, "")?.start()
}

/// Connects until both have accepted.
fn both_accept(port: u16, one: (&Servant, i32), two: (&Servant, i32)) -> Result<()> {
    // The kernel spreads by a hash: that all go to one of two happens once in 2^63.
    let streams: std::io::Result<Vec<TcpStream>> =
        (0..64).map(|_| TcpStream::connect((LOCAL, port))).collect();
    let _streams = streams?;
    for (servant, socket) in [one, two] {
        ensure!(servant.accept(socket)?.is_ok(), "one of two gets nothing");
    }
    Ok(())
}

/// `PRT-14`, `PRT-15`: without asking for it, and in one process or in two.
fn listeners_of_one_job_share(s: &Sandbox) -> Result<()> {
    let (one, two) = (
        Servant::start(&s.caller("web"))?,
        Servant::start(&s.caller("web"))?,
    );
    let first = one.serve(Kind::Tcp, LOCAL, 4321)??;
    let second = two.serve(Kind::Tcp, LOCAL, 4321)?;
    ensure_eq!(second.map(drop), IN_USE, "without an agent");
    one.close(first)?;

    let profile = "PORT\n 4321 TCP WEB SHAREPORT\n 4322 TCP WEB SHAREPORTWLM\n";
    let agent = agent(s, profile)?;
    let mut watch = Watch::start(&agent)?;
    for port in [4321, 4322] {
        let first = one.serve(Kind::Tcp, LOCAL, port)??;
        let second = two.serve(Kind::Tcp, LOCAL, port)??;
        let third = one.serve(Kind::Tcp, LOCAL, port)??;
        ensure!(one.is_shared(first)?, "the option is not to be seen");
        one.close(third)?;
        both_accept(port, (&one, first), (&two, second))?;
    }
    watch.expect(&[("permitted", 6)], &[])
}

/// `PRT-17`: said on any entry it holds for all of the port, and for no other port.
fn every_job_of_the_port_shares(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP ONE\n 4321 TCP TWO SHAREPORT\n 4322 TCP ONE\n 4322 TCP TWO\n";
    let _agent = agent(s, profile)?;
    let (one, two) = (
        Servant::start(&s.caller("one"))?,
        Servant::start(&s.caller("two"))?,
    );
    for v6 in [false, true] {
        let listen = |servant: &Servant| match v6 {
            false => servant.serve(Kind::Tcp, LOCAL, 4321),
            true => servant.serve(Kind::Tcp, Ipv6Addr::UNSPECIFIED, 4321),
        };
        let (first, second) = (listen(&one)??, listen(&two)??);
        both_accept(4321, (&one, first), (&two, second))?;
        one.close(first)?;
        two.close(second)?;
    }
    one.serve(Kind::Tcp, LOCAL, 4322)??;
    let second = two.serve(Kind::Tcp, LOCAL, 4322)?;
    ensure_eq!(second.map(drop), IN_USE, "another port of both");
    Ok(())
}

/// `PRT-21`: one entry for all of them.
fn jobs_with_a_common_prefix(s: &Sandbox) -> Result<()> {
    let _agent = agent(s, "PORT 4321 TCP ZCHA* SHAREPORT\n")?;
    let (one, two) = (
        Servant::start(&s.caller("zcha1"))?,
        Servant::start(&s.caller("zcha2"))?,
    );
    let first = one.serve(Kind::Tcp, LOCAL, 4321)??;
    let second = two.serve(Kind::Tcp, LOCAL, 4321)??;
    both_accept(4321, (&one, first), (&two, second))?;
    let other = Servant::start(&s.caller("zchb"))?.serve(Kind::Tcp, LOCAL, 4321)?;
    ensure_eq!(other, Err(refusal()), "another job");
    Ok(())
}

/// `PRT-14`: Linux shares within one effective user only, and never with somebody
/// who was there before the policy.
fn users_do_not_share(s: &Sandbox) -> Result<()> {
    let early = Servant::start(&s.caller("web"))?;
    let held = early.serve(Kind::Tcp, LOCAL, 4321)??;
    let _agent = agent(s, "PORT 4321 TCP WEB SHAREPORT\n")?;
    let root = Servant::start(&s.caller("web"))?;
    let user = Servant::start(&s.caller("web").user(NOBODY))?;
    let result = root.serve(Kind::Tcp, LOCAL, 4321)?;
    ensure_eq!(result.map(drop), IN_USE, "beside an old listener");
    early.close(held)?;
    root.serve(Kind::Tcp, LOCAL, 4321)??;
    let result = user.serve(Kind::Tcp, LOCAL, 4321)?;
    ensure_eq!(result.map(drop), IN_USE, "of another user");
    Ok(())
}

/// `PRT-18`: though both ask for it, before the bind or after it; each is told of
/// that its option was switched off.
fn without_shareport_there_is_one(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP WEB\n 4400 UDP OTHER SAF NOBODYS\n";
    let ask = |servant: &Servant, v6: bool| -> Result<i32> {
        let socket = servant.socket(Kind::Tcp, v6)?;
        servant.set(socket, ReusePort, 1)?;
        Ok(socket)
    };
    let (one, two) = (
        Servant::start(&s.caller("web"))?,
        Servant::start(&s.caller("web"))?,
    );
    for servant in [&one, &two] {
        let socket = ask(servant, false)?;
        ensure_eq!(
            servant.bind(socket, LOCAL, 4321)?,
            Ok(()),
            "without an agent"
        );
        ensure_eq!(servant.listen(socket)?, Ok(()), "without an agent");
    }
    drop((one, two));

    let agent = agent(s, profile)?;
    let mut watch = Watch::start(&agent)?;
    let (one, two) = (
        Servant::start(&s.caller("web"))?,
        Servant::start(&s.caller("web"))?,
    );
    let event = |hook: &str, pid: u32| {
        json!({
            "verdict": "allow", "reason": "permitted", "hook": hook, "pid": pid,
            "port": 4321, "entry/line": 2, "sharing": "switched-off",
        })
    };
    for v6 in [false, true] {
        let (hook, bind): (_, &dyn Fn(&Servant, i32) -> _) = match v6 {
            false => ("bind4", &|servant, socket| {
                servant.bind(socket, LOCAL, 4321)
            }),
            true => ("bind6", &|servant, socket| {
                servant.bind(socket, Ipv6Addr::LOCALHOST, 4321)
            }),
        };
        let first = ask(&one, v6)?;
        ensure_eq!(bind(&one, first)?, Ok(()), "the first");
        ensure!(!one.is_shared(first)?, "it is still set");
        watch.expect(&[("permitted", 1)], &[event(hook, one.pid)])?;
        // Setting it again now helps nobody.
        one.set(first, ReusePort, 1)?;
        ensure_eq!(one.listen(first)?, Ok(()), "the first");
        let second = ask(&two, v6)?;
        ensure_eq!(bind(&two, second)?, IN_USE, "the second");
        watch.expect(&[("permitted", 1)], &[event(hook, two.pid)])?;
        // Who doesn't ask is not told.
        let third = two.socket(Kind::Tcp, v6)?;
        ensure_eq!(bind(&two, third)?, IN_USE, "the third");
        watch.expect(&[("permitted", 1)], &[])?;
        // Ports that nobody reserved are shared as ever.
        for servant in [&one, &two] {
            let socket = ask(servant, false)?;
            ensure_eq!(
                servant.bind(socket, LOCAL, 4330 + u16::from(v6))?,
                Ok(()),
                ""
            );
            ensure!(servant.is_shared(socket)?, "switched off");
        }
        watch.expect(&[], &[])?;
    }
    Ok(())
}

/// `PRT-18`: `[sharing] same_job = "allow"` leaves it to Linux.
fn one_job_may_share_if_the_config_says_so(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with("PORT 4321 TCP WEB\n", "[sharing]\nsame_job = \"allow\"\n")?;
    let agent = agent.start()?;
    let mut watch = Watch::start(&agent)?;
    let (one, two) = (
        Servant::start(&s.caller("web"))?,
        Servant::start(&s.caller("web"))?,
    );
    let mut listeners = Vec::new();
    for servant in [&one, &two] {
        let socket = servant.socket(Kind::Tcp, false)?;
        servant.set(socket, ReusePort, 1)?;
        ensure_eq!(servant.bind(socket, LOCAL, 4321)?, Ok(()), "both ask");
        ensure_eq!(servant.listen(socket)?, Ok(()), "both ask");
        listeners.push(socket);
    }
    both_accept(4321, (&one, listeners[0]), (&two, listeners[1]))?;
    let third = two.serve(Kind::Tcp, LOCAL, 4321)?;
    ensure_eq!(third.map(drop), IN_USE, "who doesn't ask");
    watch.expect(&[("permitted", 3)], &[])
}

/// `PRT-16`: UDP has no listeners; what it shares it shares.
fn udp_is_left_alone(s: &Sandbox) -> Result<()> {
    let agent = agent(s, "PORT 4321 UDP WEB\n")?;
    let mut watch = Watch::start(&agent)?;
    let web = Servant::start(&s.caller("web"))?;
    for _ in 0..2 {
        let socket = web.socket(Kind::Udp, false)?;
        web.set(socket, ReusePort, 1)?;
        ensure_eq!(web.bind(socket, LOCAL, 4321)?, Ok(()), "both ask");
        ensure!(web.is_shared(socket)?, "switched off");
    }
    let socket = web.socket(Kind::Udp, false)?;
    ensure_eq!(web.bind(socket, LOCAL, 4321)?, IN_USE, "who doesn't ask");
    watch.expect(&[("permitted", 3)], &[])
}

const UNDONE: &str = "\
PORT
  4321 TCP WEB SHAREPORT
  4322 TCP WEB
  4323 TCP OTHER
";

/// `PRT-14`: what a hook sets stays set when the bind fails, so the next bind begins
/// by taking it back: on an unreserved port, a port of one listener, and a refusal.
fn what_is_set_for_a_bind_that_fails(s: &Sandbox) -> Result<()> {
    let _agent = agent(s, UNDONE)?;
    let web = Servant::start(&s.caller("web"))?;
    for (port, result) in [
        (4400, Ok(())),
        (4322, Ok(())),
        (4323, Err(refusal())),
        (0, Ok(())),
    ] {
        let socket = web.socket(Kind::Tcp, false)?;
        let missing = web.bind(socket, [192, 0, 2, 9], 4321)?;
        ensure_eq!(missing, Err(Errno::EADDRNOTAVAIL), "no such address");
        ensure!(web.is_shared(socket)?, "the hook has set nothing");
        ensure_eq!(web.bind(socket, LOCAL, port)?, result, "port {port}");
        ensure!(!web.is_shared(socket)?, "port {port}: it is still set");
        web.close(socket)?;
    }
    // EADDRINUSE, by somebody who doesn't share.
    let holder = Servant::start(&s.caller("web").user(NOBODY))?;
    holder.serve(Kind::Tcp, LOCAL, 4321)??;
    let socket = web.socket(Kind::Tcp, false)?;
    ensure_eq!(web.bind(socket, LOCAL, 4321)?, IN_USE, "of another user");
    ensure!(web.is_shared(socket)?, "the hook has set nothing");
    ensure_eq!(web.bind(socket, LOCAL, 4400)?, Ok(()), "elsewhere");
    ensure!(!web.is_shared(socket)?, "it is still set");
    Ok(())
}

/// `PRT-18`: and the other way round: who asked for sharing has it elsewhere.
fn what_is_switched_off_for_a_bind_that_fails(s: &Sandbox) -> Result<()> {
    let _agent = agent(s, UNDONE)?;
    let web = Servant::start(&s.caller("web"))?;
    let holder = web.serve(Kind::Tcp, LOCAL, 4322)??;
    for (port, shared) in [(4400, true), (4321, true), (4322, false)] {
        let socket = web.socket(Kind::Tcp, false)?;
        web.set(socket, ReusePort, 1)?;
        ensure_eq!(web.bind(socket, LOCAL, 4322)?, IN_USE, "the second");
        ensure!(!web.is_shared(socket)?, "it is not switched off");
        if port == 4322 {
            web.close(holder)?;
        }
        ensure_eq!(web.bind(socket, LOCAL, port)?, Ok(()), "port {port}");
        ensure_eq!(web.is_shared(socket)?, shared, "port {port}");
        web.close(socket)?;
    }
    Ok(())
}

/// What the application has set since is its own.
fn what_the_application_sets_itself_stays(s: &Sandbox) -> Result<()> {
    let _agent = agent(s, UNDONE)?;
    let web = Servant::start(&s.caller("web"))?;
    // Switched on by the hook, off by the application.
    let socket = web.socket(Kind::Tcp, false)?;
    web.set(socket, ReuseAddress, 1)?;
    let missing = web.bind(socket, [192, 0, 2, 9], 4321)?;
    ensure_eq!(missing, Err(Errno::EADDRNOTAVAIL), "no such address");
    web.set(socket, ReusePort, 0)?;
    ensure_eq!(web.bind(socket, LOCAL, 4400)?, Ok(()), "elsewhere");
    ensure!(!web.is_shared(socket)?, "it is set");
    // Switched off by the hook, on by the application.
    let socket = web.socket(Kind::Tcp, false)?;
    web.set(socket, ReusePort, 1)?;
    let missing = web.bind(socket, [192, 0, 2, 9], 4322)?;
    ensure_eq!(missing, Err(Errno::EADDRNOTAVAIL), "no such address");
    ensure!(!web.is_shared(socket)?, "it is not switched off");
    web.set(socket, ReusePort, 1)?;
    ensure_eq!(web.bind(socket, LOCAL, 4401)?, Ok(()), "elsewhere");
    ensure!(web.is_shared(socket)?, "it is not set");
    // Never ours.
    let socket = web.socket(Kind::Tcp, false)?;
    web.set(socket, ReusePort, 1)?;
    let missing = web.bind(socket, [192, 0, 2, 9], 4321)?;
    ensure_eq!(missing, Err(Errno::EADDRNOTAVAIL), "no such address");
    ensure_eq!(web.bind(socket, LOCAL, 4402)?, Ok(()), "elsewhere");
    ensure!(web.is_shared(socket)?, "it was the application's");
    Ok(())
}

/// A bind on top of a bind fails and changes nothing.
fn a_socket_that_is_bound_already(s: &Sandbox) -> Result<()> {
    let _agent = agent(s, UNDONE)?;
    let web = Servant::start(&s.caller("web"))?;
    let again = Err(Errno::EINVAL);
    let shared = web.serve(Kind::Tcp, LOCAL, 4321)??;
    ensure_eq!(web.bind(shared, LOCAL, 4322)?, again, "a shared one");
    ensure!(web.is_shared(shared)?, "the listener shares no more");
    ensure_eq!(web.bind(shared, LOCAL, 4400)?, again, "a shared one");
    ensure!(web.is_shared(shared)?, "the listener shares no more");
    web.serve(Kind::Tcp, LOCAL, 4321)??;
    let single = web.serve(Kind::Tcp, LOCAL, 4400)??;
    ensure_eq!(web.bind(single, LOCAL, 4321)?, again, "a single one");
    ensure!(!web.is_shared(single)?, "the listener shares");
    Ok(())
}

/// MPTCP's inner socket is the one that binds.
fn multipath_tcp(s: &Sandbox) -> Result<()> {
    Need::Mptcp.check()?;
    let _agent = agent(s, UNDONE)?;
    let (one, two) = (
        Servant::start(&s.caller("web"))?,
        Servant::start(&s.caller("web"))?,
    );
    let first = one.serve(Kind::Mptcp, LOCAL, 4321)??;
    let second = two.serve(Kind::Mptcp, LOCAL, 4321)??;
    both_accept(4321, (&one, first), (&two, second))?;
    let mut results = Vec::new();
    for servant in [&one, &two] {
        let socket = servant.socket(Kind::Mptcp, false)?;
        servant.set(socket, ReusePort, 1)?;
        results.push(servant.bind(socket, LOCAL, 4322)?);
    }
    ensure_eq!(results, [Ok(()), IN_USE], "without SHAREPORT");
    Ok(())
}

/// Linux's own longest delay, in microseconds.
const LONG: i32 = 200_000;
/// Two ticks of the slowest clock that kernels have.
const SHORT: i32 = 20_000;

/// The socket's longest delay, where the kernel lets it be read.
fn delay(servant: &Servant, socket: i32) -> Result<i32> {
    servant.get(socket, MostDelay)?.map_err(|errno| {
        skip(format!(
            "this kernel doesn't say how long acknowledgements are held back: {errno}"
        ))
    })
}

/// `PRT-12`, `PRT-13`: on the listener and on what it accepts; by default and with
/// DELAYACKS it is the kernel's.
fn acknowledgements_come_sooner(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  4321 TCP WEB NODELAYACKS
  4322 TCP WEB DELAYACKS
  4323 TCP WEB
PORTRANGE
  4330 10 TCP WEB NODELAYACKS
";
    let web = Servant::start(&s.caller("web"))?;
    let probe = web.socket(Kind::Tcp, false)?;
    ensure_eq!(delay(&web, probe)?, LONG, "without an agent");
    let _agent = agent(s, profile)?;
    for (port, is_short) in [(4321, true), (4322, false), (4323, false), (4339, true)] {
        let listener = web.serve(Kind::Tcp, LOCAL, port)??;
        let _stream = TcpStream::connect((LOCAL, port))?;
        let accepted = web.accept(listener)??;
        for socket in [listener, accepted] {
            let delay = delay(&web, socket)?;
            let as_expected = if is_short {
                (1..=SHORT).contains(&delay)
            } else {
                delay == LONG
            };
            ensure!(as_expected, "port {port}: {delay} microseconds");
        }
    }
    Ok(())
}

/// `PRT-13`: after a bind that failed, the next begins with the kernel's own delay.
fn acknowledgements_are_the_kernels_again(s: &Sandbox) -> Result<()> {
    let _agent = agent(s, "PORT\n 4321 TCP WEB NODELAYACKS\n 4322 TCP WEB\n")?;
    let web = Servant::start(&s.caller("web"))?;
    let probe = web.socket(Kind::Tcp, false)?;
    ensure_eq!(delay(&web, probe)?, LONG, "at first");
    for port in [4400, 4322] {
        let socket = web.socket(Kind::Tcp, false)?;
        let missing = web.bind(socket, [192, 0, 2, 9], 4321)?;
        ensure_eq!(missing, Err(Errno::EADDRNOTAVAIL), "no such address");
        ensure!(delay(&web, socket)? <= SHORT, "the hook has set nothing");
        ensure_eq!(web.bind(socket, LOCAL, port)?, Ok(()), "port {port}");
        ensure_eq!(delay(&web, socket)?, LONG, "port {port}");
    }
    Ok(())
}
