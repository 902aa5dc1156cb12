//! Who has which port, as the kernel tells it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{errno::Errno, sys::signal::Signal};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Need, Sandbox, Servant, Settings,
        churn::{Churn, Left, Task},
        control,
        needs::running,
        neighbour::detach_links_of,
        pace::times,
        request::Kind,
        skip,
    },
    tests,
};

tests![
    a_socket_from_its_bind_to_its_end,
    who_listens_on_a_port_that_nobody_reserves,
    sockets_older_than_the_agent,
    who_was_bound_and_no_more_before_the_agent,
    a_socket_that_is_passed_on,
    mptcp_is_one_socket,
    connections_are_no_news,
    whatever_happens_the_register_is_right,
    what_finds_no_room_is_looked_for,
    nothing_is_left_of_the_programs,
    who_takes_the_programs_away_finds_them_again,
];

const PROFILE: &str =
    "PORT\n 21 TCP OMVS\n 53 UDP OMVS\nPORTRANGE\n 20000 400 TCP OMVS\n 20000 400 UDP OMVS\n";

/// The sockets that `agent` knows; with `look` it proves first that those are all.
fn known(agent: &Agent<'_>, look: bool) -> Result<Vec<Value>> {
    let request = control::line(&json!({"verb": "watched", "look": look}));
    let line = control::raw(&agent.sandbox.socket, &request)?;
    let reply: Value = serde_json::from_str(&line)?;
    let done = reply["done"].as_array().cloned();
    done.with_context(|| format!("no sockets: {line}"))
}

/// Of a socket its protocol, its port, whether it listens, and who bound it.
type Shown = (String, u64, bool, Option<u64>);

fn shown(agent: &Agent<'_>) -> Result<Vec<Shown>> {
    let sockets = known(agent, false)?.into_iter().map(|socket| {
        Some((
            socket["protocol"].as_str()?.to_owned(),
            socket["port"].as_u64()?,
            socket["listens"].as_bool()?,
            socket["pid"].as_u64(),
        ))
    });
    sockets.collect::<Option<_>>().context("a field is missing")
}

/// Waits until the agent knows of these sockets and no others.
fn expect(agent: &Agent<'_>, expected: &[(&str, u64, bool, Option<u32>)]) -> Result<()> {
    let expected: Vec<Shown> = expected
        .iter()
        .map(|(protocol, port, listens, pid)| {
            ((*protocol).to_owned(), *port, *listens, pid.map(u64::from))
        })
        .collect();
    agent
        .wait_until("the sockets", |agent| {
            shown(agent).is_ok_and(|found| found == expected)
        })
        .with_context(|| format!("expected {expected:?}, found {:?}", shown(agent)))
}

fn mistakes(agent: &Agent<'_>) -> Result<()> {
    let status = agent.status()?;
    ensure_eq!(status["watch"]["mistakes"], 0, "{}", status["watch"]);
    let missing = status["missing"].to_string();
    ensure!(!missing.contains("watch:"), "{missing}");
    Ok(())
}

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// `CLS-01` to `CLS-03`, `CLS-10`.
fn a_socket_from_its_bind_to_its_end(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let ftpd = Servant::start(&s.caller("ftpd"))?;
    let pid = Some(ftpd.pid);
    expect(&agent, &[])?;
    let control = ftpd.socket(Kind::Tcp, false)?;
    ftpd.bind(control, ANY, 21)??;
    expect(&agent, &[("tcp", 21, false, pid)])?;
    ftpd.listen(control)??;
    expect(&agent, &[("tcp", 21, true, pid)])?;
    ftpd.shutdown(control)?;
    expect(&agent, &[("tcp", 21, false, pid)])?;
    ftpd.listen(control)??;
    let names = ftpd.socket(Kind::Udp, true)?;
    ftpd.bind(names, Ipv6Addr::UNSPECIFIED, 53)??;
    expect(&agent, &[("tcp", 21, true, pid), ("udp", 53, false, pid)])?;
    // Refused, or taken: neither is anybody's.
    let other = ftpd.socket(Kind::Tcp, false)?;
    ensure_eq!(ftpd.bind(other, ANY, 21)?, Err(Errno::EADDRINUSE), "taken");
    ftpd.close(control)?;
    expect(&agent, &[("udp", 53, false, pid)])?;
    // By whatever end of the process.
    drop(ftpd);
    expect(&agent, &[])?;
    known(&agent, true)?;
    mistakes(&agent)
}

/// `CLS-06`: an open port that nobody reserves, chosen by the server or by the kernel.
fn who_listens_on_a_port_that_nobody_reserves(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let web = Servant::start(&s.caller("web"))?;
    let pid = Some(web.pid);
    let chosen = web.socket(Kind::Tcp, false)?;
    web.bind(chosen, ANY, 8080)??;
    web.listen(chosen)??;
    expect(&agent, &[("tcp", 8080, true, pid)])?;
    web.close(chosen)?;
    expect(&agent, &[])?;
    // Without a bind the kernel chooses the port when the socket begins to listen.
    let given = web.socket(Kind::Tcp, true)?;
    web.listen(given)??;
    let port = u64::from(web.name(given)?.port());
    agent.wait_until("the port that was given", |agent| {
        shown(agent).is_ok_and(|found| {
            found
                .iter()
                .any(|(_, number, listens, _)| *number == port && *listens)
        })
    })?;
    web.close(given)?;
    expect(&agent, &[])?;
    known(&agent, true)?;
    mistakes(&agent)
}

/// What was there before is found, and its end is told as any other's.
fn sockets_older_than_the_agent(s: &Sandbox) -> Result<()> {
    let ftpd = Servant::start(&s.caller("ftpd"))?;
    let control = ftpd.socket(Kind::Tcp, false)?;
    ftpd.bind(control, ANY, 21)??;
    ftpd.listen(control)??;
    let names = ftpd.socket(Kind::Udp, false)?;
    ftpd.bind(names, ANY, 53)??;
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    expect(&agent, &[("tcp", 21, true, None), ("udp", 53, false, None)])?;
    ftpd.close(control)?;
    expect(&agent, &[("udp", 53, false, None)])?;
    drop(ftpd);
    expect(&agent, &[])?;
    known(&agent, true)?;
    mistakes(&agent)
}

/// Linux lists such sockets from 6.8 on; before, they are found among the files of
/// processes, from 5.11 on.
fn who_was_bound_and_no_more_before_the_agent(s: &Sandbox) -> Result<()> {
    let (_, release) = running()?;
    if release < (5, 11) {
        return Err(skip("this kernel tells nobody of them"));
    }
    let ftpd = Servant::start(&s.caller("ftpd"))?;
    let mut sockets = Vec::new();
    let mut kinds = vec![(Kind::Tcp, false, 21), (Kind::Tcp, true, 20000)];
    if Need::Mptcp.is_there()? {
        kinds.push((Kind::Mptcp, false, 20001));
    }
    let mut expected = Vec::new();
    for (kind, v6, port) in kinds {
        let socket = ftpd.socket(kind, v6)?;
        let address = if v6 {
            IpAddr::from(Ipv6Addr::UNSPECIFIED)
        } else {
            ANY.into()
        };
        ftpd.bind(socket, address, port)??;
        sockets.push(socket);
        expected.push(("tcp", u64::from(port), false, None));
    }
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    expect(&agent, &expected)?;
    known(&agent, true)?;
    ftpd.listen(sockets[0])??;
    expected[0].2 = true;
    expect(&agent, &expected)?;
    for socket in sockets {
        ftpd.close(socket)?;
    }
    expect(&agent, &[])?;
    known(&agent, true)?;
    mistakes(&agent)
}

/// Whoever has it open last: that is its end.
fn a_socket_that_is_passed_on(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let (one, other) = (
        Servant::start(&s.caller("one"))?,
        Servant::start(&s.caller("other"))?,
    );
    let socket = one.socket(Kind::Tcp, false)?;
    one.bind(socket, ANY, 21)??;
    one.listen(socket)??;
    let passed = one.pass(socket, &other)?;
    let pid = Some(one.pid);
    drop(one);
    known(&agent, true)?;
    expect(&agent, &[("tcp", 21, true, pid)])?;
    other.close(passed)?;
    expect(&agent, &[])?;
    mistakes(&agent)
}

fn mptcp_is_one_socket(s: &Sandbox) -> Result<()> {
    Need::Mptcp.check()?;
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let ftpd = Servant::start(&s.caller("ftpd"))?;
    let pid = Some(ftpd.pid);
    let socket = ftpd.socket(Kind::Mptcp, false)?;
    ftpd.bind(socket, Ipv4Addr::LOCALHOST, 21)??;
    expect(&agent, &[("tcp", 21, false, pid)])?;
    ftpd.listen(socket)??;
    expect(&agent, &[("tcp", 21, true, pid)])?;
    known(&agent, true)?;
    let client = ftpd.socket(Kind::Mptcp, false)?;
    ftpd.connect(client, Ipv4Addr::LOCALHOST, 21)??;
    let accepted = ftpd.accept(socket)??;
    expect(&agent, &[("tcp", 21, true, pid)])?;
    ftpd.close(accepted)?;
    ftpd.close(client)?;
    ftpd.close(socket)?;
    expect(&agent, &[])?;
    known(&agent, true)?;
    mistakes(&agent)
}

/// A connection has the listener's port, and outlives it; the port is the listener's.
fn connections_are_no_news(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let ftpd = Servant::start(&s.caller("ftpd"))?;
    let pid = Some(ftpd.pid);
    let socket = ftpd.socket(Kind::Tcp, false)?;
    ftpd.bind(socket, ANY, 21)??;
    ftpd.listen(socket)??;
    let client = ftpd.socket(Kind::Tcp, false)?;
    ftpd.connect(client, Ipv4Addr::LOCALHOST, 21)??;
    let accepted = ftpd.accept(socket)??;
    // A client that binds and connects has its port, and is no listener.
    let bound = ftpd.socket(Kind::Tcp, false)?;
    ftpd.bind(bound, Ipv4Addr::LOCALHOST, 20000)??;
    ftpd.connect(bound, Ipv4Addr::LOCALHOST, 21)??;
    let second = ftpd.accept(socket)??;
    let both = [("tcp", 21, true, pid), ("tcp", 20000, false, pid)];
    expect(&agent, &both)?;
    known(&agent, true)?;
    expect(&agent, &both)?;
    ftpd.close(socket)?;
    expect(&agent, &[("tcp", 20000, false, pid)])?;
    for socket in [accepted, second, client, bound] {
        ftpd.close(socket)?;
    }
    expect(&agent, &[])?;
    known(&agent, true)?;
    mistakes(&agent)
}

/// Sockets made, bound, passed on, inherited and closed by processes that are killed
/// meanwhile: at any moment nothing is missed, and in the end the register has what there
/// is.
fn whatever_happens_the_register_is_right(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let mut all = 0;
    for seed in 1..=3 {
        let mut churn = Churn::start(&task(s, seed, times(6000))?)?;
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(150));
            // Too much may go on to prove it; then this says so, and finds no mistake.
            let _ = known(&agent, true);
        }
        let (bound, left) = churn.finish()?;
        all += bound;
        ensure!(!left.is_empty(), "nothing is left to compare");
        compare(&agent, &left)?;
        mistakes(&agent)?;
        drop(churn);
        compare(&agent, &[])?;
    }
    ensure!(all >= times(10_000), "only {all} sockets had a port");
    mistakes(&agent)
}

/// The ring is full while the agent can't read: what is lost is found, and no mistake.
fn what_finds_no_room_is_looked_for(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    agent.stop()?;
    let mut churn = Churn::start(&task(s, 7, 6000)?)?;
    let (_, left) = churn.finish()?;
    agent.signal(Signal::SIGCONT)?;
    agent.wait_until("what was lost", |agent| {
        agent
            .status()
            .is_ok_and(|status| status["watch"]["lost"].as_u64() > Some(0))
    })?;
    compare(&agent, &left)?;
    mistakes(&agent)
}

fn task(s: &Sandbox, seed: u64, deeds: u64) -> Result<Task> {
    Ok(Task {
        caller: s.caller("churn"),
        processes: 4,
        deeds: deeds as u32,
        seed,
        ports: (20000, 20399),
        mptcp: Need::Mptcp.is_there()?,
    })
}

/// That `left` is what `agent` knows, and all there is.
fn compare(agent: &Agent<'_>, left: &[Left]) -> Result<()> {
    let read = |socket: &Value| serde_json::from_value::<Left>(socket.clone());
    let found = known(agent, true)?;
    let mut found: Vec<Left> = found.iter().map(read).collect::<Result<_, _>>()?;
    let mut left = left.to_vec();
    found.sort();
    left.sort();
    ensure_eq!(found, left, "what is left");
    Ok(())
}

/// They are the agent's own, and end with it, whatever its end: else they would be
/// neighbours of the next one's.
fn nothing_is_left_of_the_programs(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    ensure_eq!(agent.status()?["neighbours"], json!([]), "neighbours");
    agent.kill()?;
    let agent = s.agent_again()?.start()?;
    ensure_eq!(agent.status()?["neighbours"], json!([]), "neighbours");
    mistakes(&agent)
}

/// `BPF_CGROUP_INET_SOCK_RELEASE`: by it ends are told, and nothing else is there.
const RELEASE: u32 = 34;

/// What happened meanwhile is looked for, and is no mistake.
fn who_takes_the_programs_away_finds_them_again(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let ftpd = Servant::start(&s.caller("ftpd"))?;
    let control = ftpd.socket(Kind::Tcp, false)?;
    ftpd.bind(control, ANY, 21)??;
    expect(&agent, &[("tcp", 21, false, Some(ftpd.pid))])?;
    agent.stop()?;
    detach_links_of(agent.pid(), RELEASE)?;
    ftpd.close(control)?;
    agent.signal(Signal::SIGCONT)?;
    agent.wait_for_log(&["hook watch_release: somebody detached it; attached again"])?;
    expect(&agent, &[])?;
    // From then on it is told again.
    let names = ftpd.socket(Kind::Udp, false)?;
    ftpd.bind(names, ANY, 53)??;
    expect(&agent, &[("udp", 53, false, Some(ftpd.pid))])?;
    ftpd.close(names)?;
    expect(&agent, &[])?;
    mistakes(&agent)
}
