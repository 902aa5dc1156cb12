//! UNRSV for TCP at listen without the BPF LSM, where the config accepts that listeners
//! are destroyed instead.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{errno::Errno, sys::signal::Signal};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Caller, Need, Sandbox, Servant, Settings, Spinner, Want, pace::limit,
        request::Kind, sabotage::detach, servant::SocketOption, skip, tcp, watch::Watch,
    },
    tests,
};

tests![
    a_listener_is_destroyed_and_its_port_stays_taken,
    refused_unless_accepted,
    who_is_admitted_listens,
    what_nobody_chose_is_open,
    both_families_on_every_address,
    other_network_namespaces_are_left_alone,
    audit_mode_destroys_nothing,
    multipath_tcp_stays_and_is_told,
    of_those_who_share_a_port_one_is_destroyed,
    a_flood_is_destroyed_to_the_last,
    those_who_close_at_once_hide_nobody,
    what_finds_no_room_is_looked_for,
    the_hook_is_there_while_it_is_needed,
    killed_and_restarted,
    a_missing_hook_is_put_back,
    explain_says_so,
];

tests![WITH_LSM: where_listen_can_be_refused_it_is];

const QUIET: Settings = Settings::DEFAULT.accepting_listen();
const DENY: &str = "PORT\n UNRSV TCP * DENY\n";
const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Ends a test where there is nothing to fall back from.
fn check_need() -> Result<()> {
    match Need::BpfLsm.check() {
        Ok(()) => Err(skip("the BPF LSM is active here")),
        Err(_) => Ok(()),
    }
}

/// An agent on `profile`, when each of `wants` listened without one.
fn start<'s>(
    s: &'s Sandbox,
    profile: &str,
    settings: Settings,
    caller: &Caller,
    wants: &[Want],
) -> Result<Agent<'s>> {
    check_need()?;
    let free = Binder::start(caller, wants)?.results;
    ensure!(free.iter().all(Result::is_ok), "without an agent: {free:?}");
    let agent = s.agent(profile, settings)?.start()?;
    ensure!(agent.ready().contains(" listened on "), "{}", agent.ready());
    Ok(agent)
}

fn accepts(address: impl Into<IpAddr>, port: u16) -> bool {
    TcpStream::connect(SocketAddr::new(address.into(), port)).is_ok()
}

/// Until nobody accepts on the port any more.
fn wait_until_refused(address: impl Into<IpAddr>, port: u16) -> Result<()> {
    let name = SocketAddr::new(address.into(), port);
    let deadline = Instant::now() + limit(5);
    loop {
        // With a full queue of clients nobody answers.
        match TcpStream::connect_timeout(&name, Duration::from_millis(100)) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
            other => ensure!(Instant::now() < deadline, "{name}: {other:?}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The event of a listener, as [`Watch::expect`] wants it.
fn event(port: u16, line: u64, listener: &str) -> Value {
    json!({
        "hook": "listen", "verdict": "deny", "errno": null, "protocol": "tcp",
        "port": port, "entry/line": line, "listener": listener,
    })
}

/// What became of listeners: destroyed, closed, left, lost.
fn fates(agent: &Agent<'_>) -> Result<[u64; 4]> {
    let listeners = agent.status()?["listeners"].clone();
    let mut fates = [0; 4];
    for (fate, name) in fates
        .iter_mut()
        .zip(["destroyed", "closed", "stay", "lost"])
    {
        *fate = listeners[name]
            .as_u64()
            .with_context(|| listeners.to_string())?;
    }
    Ok(fates)
}

/// Until `agent` says that these became of listeners.
fn wait_for_fates(agent: &Agent<'_>, expected: [u64; 4]) -> Result<()> {
    let deadline = Instant::now() + limit(10);
    loop {
        let found = fates(agent)?;
        if found == expected {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{found:?} instead of {expected:?}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// `UNR-06`, `UNR-10`: listen succeeds, then a blocked accept fails, clients are refused,
/// and who listens again is destroyed again.
fn a_listener_is_destroyed_and_its_port_stays_taken(s: &Sandbox) -> Result<()> {
    let web = s.caller("web");
    let want = tcp(5000).listening();
    let agent = start(s, DENY, QUIET, &web, std::slice::from_ref(&want))?;
    let status = agent.status()?;
    let missing = status["missing"].to_string();
    ensure!(missing.contains("destroys the listener"), "{missing}");
    let mut watch = Watch::start(&agent)?;
    let servant = Servant::start(&web)?;
    let socket = servant.socket(Kind::Tcp, false)?;
    ensure_eq!(servant.bind(socket, LOCAL, 5000)?, Ok(()), "bind");
    watch.expect(&[], &[])?;
    ensure_eq!(servant.listen(socket)?, Ok(()), "listen");
    wait_until_refused(LOCAL, 5000)?;
    ensure_eq!(servant.accept(socket)?, Err(Errno::EINVAL), "accept");
    let destroyed = event(5000, 2, "destroyed");
    let mut whole = destroyed.clone();
    for (field, value) in [
        ("address", json!("127.0.0.1")),
        ("pid", json!(servant.pid)),
        ("comm", json!("web")),
        ("job", json!("WEB")),
        ("uid", json!(0)),
        ("cgroup", json!(s.cgroup_name())),
        ("reason", json!("unreserved-denied")),
        ("repeated", json!(0)),
    ] {
        whole[field] = value;
    }
    watch.expect(&[("unreserved-denied", 1)], &[whole])?;
    let taken = Binder::attempt(&web, &tcp(5000))?;
    ensure_eq!(taken, Err(Errno::EADDRINUSE), "the port");
    ensure_eq!(servant.listen(socket)?, Ok(()), "again");
    wait_until_refused(LOCAL, 5000)?;
    watch.expect(
        &[("unreserved-denied", 1)],
        std::slice::from_ref(&destroyed),
    )?;
    ensure_eq!(fates(&agent)?, [2, 0, 0, 0], "fates");
    let refusals = agent.ports()?[0]["refusals"].clone();
    ensure_eq!(refusals, 2, "of the entry");

    // As long as the agent doesn't come to it, clients are served.
    agent.stop()?;
    let next = servant.socket(Kind::Tcp, false)?;
    ensure_eq!(servant.bind(next, LOCAL, 5001)?, Ok(()), "bind");
    ensure_eq!(servant.listen(next)?, Ok(()), "listen");
    ensure!(accepts(LOCAL, 5001), "before the agent comes");
    ensure!(servant.accept(next)?.is_ok(), "its connection");
    let accepted = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(200));
            agent.signal(Signal::SIGCONT)
        });
        servant.accept(next)
    })?;
    ensure_eq!(accepted, Err(Errno::EINVAL), "a blocked accept");
    wait_until_refused(LOCAL, 5001)?;
    watch.expect(&[("unreserved-denied", 1)], &[event(5001, 2, "destroyed")])
}

/// `UNR-10`: the error says how it is accepted, and a reload can accept it.
fn refused_unless_accepted(s: &Sandbox) -> Result<()> {
    check_need()?;
    let refused = s.agent(DENY, Settings::DEFAULT)?.finish()?.ended_with(1)?;
    for word in [
        "error[PRV301]",
        "[degraded] accept = [\"listen\"]",
        "WHENBIND",
    ] {
        ensure!(refused.stderr.contains(word), "{}", refused.stderr);
    }
    let agent = s.agent("PORT\n 7 TCP A\n", Settings::DEFAULT)?.start()?;
    s.set_policy(DENY, Settings::DEFAULT)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 1, "{answer}");
    s.set_policy(DENY, QUIET)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    let said = &answer["diagnostics"][0];
    ensure_eq!(said["code"], "PRV301", "{answer}");
    ensure_eq!(said["severity"], "warning", "{answer}");
    let mut watch = Watch::start(&agent)?;
    let web = Binder::start(&s.caller("web"), &[tcp(5000).listening()])?;
    ensure_eq!(web.results, [Ok(())], "listen");
    wait_until_refused(LOCAL, 5000)?;
    watch.expect(&[("unreserved-denied", 1)], &[event(5000, 2, "destroyed")])
}

/// `UNR-04`, `UNR-16`: the closest entry decides, and ports that the profile names are
/// none of it.
fn who_is_admitted_listens(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n UNRSV TCP APP*\n UNRSV TCP * DENY\n 7000 TCP WEB\n";
    let [app, web] = ["app1", "web"].map(|name| s.caller(name));
    let all = [tcp(5000).listening(), tcp(7000).listening()];
    let agent = start(s, profile, QUIET.report_all(), &web, &all)?;
    let mut watch = Watch::start(&agent)?;
    let bind = json!({"hook": "bind4", "verdict": "allow", "listener": null});
    let right = Binder::start(&app, &all[..1])?;
    let listen = json!({
        "hook": "listen", "verdict": "allow", "reason": "unreserved-permitted",
        "entry/line": 2, "listener": null, "errno": null,
    });
    watch.expect(&[("unreserved-permitted", 1)], &[bind.clone(), listen])?;
    let wrong = Binder::start(&web, &[tcp(5001).listening()])?;
    let destroyed = event(5001, 3, "destroyed");
    wait_until_refused(LOCAL, 5001)?;
    // The one is told by the agent's own hand, the other by the hook.
    let mut events = agent.events()?;
    events.retain(|event| event["port"] == 5001);
    events.sort_by_key(|event| event["hook"].to_string());
    let hooks: Vec<_> = events.iter().map(|event| &event["hook"]).collect();
    ensure_eq!(hooks, ["bind4", "listen"], "{events:#?}");
    ensure_eq!(events[1]["listener"], destroyed["listener"], "{events:#?}");
    let own = Binder::start(&web, &all[1..])?;
    for binder in [&right, &wrong, &own] {
        ensure!(
            binder.results.iter().all(Result::is_ok),
            "{:?}",
            binder.results
        );
    }
    thread::sleep(Duration::from_millis(50));
    ensure!(
        accepts(LOCAL, 5000) && accepts(LOCAL, 7000),
        "who may listen"
    );
    ensure_eq!(fates(&agent)?, [1, 0, 0, 0], "fates");
    Ok(())
}

/// `UNR-15`, `UNR-16`: bind to port 0, and listen without a bind.
fn what_nobody_chose_is_open(s: &Sandbox) -> Result<()> {
    let web = s.caller("web");
    let wants = [tcp(0).listening(), tcp(0).on_any_v6(false).listening()];
    let agent = start(s, DENY, QUIET, &web, &wants)?;
    let mut watch = Watch::start(&agent)?;
    let servant = Servant::start(&web)?;
    for v6 in [false, true] {
        let address: IpAddr = if v6 {
            Ipv6Addr::LOCALHOST.into()
        } else {
            LOCAL.into()
        };
        let bound = servant.serve(Kind::Tcp, address, 0)??;
        let unbound = servant.socket(Kind::Tcp, v6)?;
        ensure_eq!(servant.listen(unbound)?, Ok(()), "without a bind");
        thread::sleep(Duration::from_millis(50));
        for socket in [bound, unbound] {
            let port = servant.name(socket)?.port();
            ensure!(accepts(address, port), "port {port}");
        }
    }
    watch.expect(&[], &[])
}

/// Dual-stack, IPv6 only, IPv4-mapped, wildcard: all are found.
fn both_families_on_every_address(s: &Sandbox) -> Result<()> {
    let web = s.caller("web");
    let cases = [
        (tcp(5000).on(Ipv4Addr::UNSPECIFIED), "0.0.0.0"),
        (tcp(5001).on(Ipv6Addr::LOCALHOST), "::1"),
        (tcp(5002).on_any_v6(true), "::"),
        (tcp(5003).on_any_v6(false), "::"),
        (tcp(5004).on(LOCAL.to_ipv6_mapped()), "127.0.0.1"),
    ];
    let wants: Vec<Want> = cases
        .iter()
        .map(|(want, _)| want.clone().listening())
        .collect();
    let agent = start(s, DENY, QUIET, &web, &wants)?;
    let mut watch = Watch::start(&agent)?;
    let mut held = Vec::new();
    for (want, (_, address)) in wants.iter().zip(cases) {
        held.push(Binder::start(&web, std::slice::from_ref(want))?);
        let mut event = event(want.port, 2, "destroyed");
        event["address"] = address.into();
        watch.expect(&[("unreserved-denied", 1)], &[event])?;
        for address in [IpAddr::from(LOCAL), Ipv6Addr::LOCALHOST.into()] {
            ensure!(!accepts(address, want.port), "{want} at {address}");
        }
    }
    Ok(())
}

/// Unless the config says `scope.netns = "all"`: then it is destroyed there.
fn other_network_namespaces_are_left_alone(s: &Sandbox) -> Result<()> {
    let elsewhere = s.caller("web").elsewhere();
    let want = tcp(5000).listening();
    let wants = std::slice::from_ref(&want);
    let agent = start(s, DENY, QUIET, &elsewhere, wants)?;
    let mut watch = Watch::start(&agent)?;
    let there = Binder::start(&elsewhere, wants)?;
    watch.expect(&[], &[])?;
    ensure_eq!(fates(&agent)?, [0; 4], "fates");
    drop((there, agent));
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    let agent = s.agent(DENY, QUIET.everywhere())?.start()?;
    let mut watch = Watch::start(&agent)?;
    let there = Binder::start(&elsewhere, wants)?;
    ensure_eq!(there.results, [Ok(())], "listen");
    watch.expect(&[("unreserved-denied", 1)], &[event(5000, 2, "destroyed")])
}

/// Counted and told, and it listens on.
fn audit_mode_destroys_nothing(s: &Sandbox) -> Result<()> {
    let web = s.caller("web");
    let wants = [tcp(5000).listening()];
    let agent = start(s, DENY, QUIET.audit(), &web, &wants)?;
    let mut watch = Watch::start(&agent)?;
    let binder = Binder::start(&web, &wants)?;
    ensure_eq!(binder.results, [Ok(())], "listen");
    let would = json!({
        "hook": "listen", "verdict": "would-deny", "reason": "unreserved-denied",
        "errno": null, "listener": null, "port": 5000,
    });
    watch.expect_audited(&[("unreserved-denied", 1)], &[would])?;
    thread::sleep(Duration::from_millis(50));
    ensure!(accepts(LOCAL, 5000), "it listens on");
    ensure_eq!(fates(&agent)?, [0; 4], "fates");
    Ok(())
}

/// The kernel destroys none of these, and that is said.
fn multipath_tcp_stays_and_is_told(s: &Sandbox) -> Result<()> {
    Need::Mptcp.check()?;
    let web = s.caller("web");
    let wants = [tcp(5000).kind(Kind::Mptcp).listening()];
    let agent = start(s, DENY, QUIET, &web, &wants)?;
    let mut watch = Watch::start(&agent)?;
    let binder = Binder::start(&web, &wants)?;
    ensure_eq!(binder.results, [Ok(())], "listen");
    watch.expect(&[("unreserved-denied", 1)], &[event(5000, 2, "stays")])?;
    ensure!(accepts(LOCAL, 5000), "it listens on");
    ensure_eq!(fates(&agent)?, [0, 0, 1, 0], "fates");
    let log = agent.log();
    ensure!(log.contains("the listener on tcp/5000"), "{log}");
    Ok(())
}

/// The kernel looks listeners up as a client would: behind one that may listen hides
/// one that may not.
fn of_those_who_share_a_port_one_is_destroyed(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n UNRSV TCP APP\n UNRSV TCP * DENY\n";
    let web = s.caller("web");
    let agent = start(s, profile, QUIET, &web, &[tcp(5000).listening()])?;
    let mut watch = Watch::start(&agent)?;
    let serve = |servant: &Servant| -> Result<()> {
        let socket = servant.socket(Kind::Tcp, false)?;
        servant.set(socket, SocketOption::ReusePort, 1)?;
        ensure_eq!(servant.bind(socket, LOCAL, 5000)?, Ok(()), "bind");
        ensure_eq!(servant.listen(socket)?, Ok(()), "listen");
        Ok(())
    };
    let app = Servant::start(&s.caller("app"))?;
    for _ in 0..4 {
        serve(&app)?;
    }
    let wrong = Servant::start(&web)?;
    let destroyed = event(5000, 3, "destroyed");
    for round in 1..=8 {
        serve(&wrong)?;
        let permitted = if round == 1 { 4 } else { 0 };
        let counts = [
            ("unreserved-permitted", permitted),
            ("unreserved-denied", 1),
        ];
        watch.expect(&counts, std::slice::from_ref(&destroyed))?;
        ensure_eq!(fates(&agent)?, [round, 0, 0, 0], "fates");
    }
    for _ in 0..64 {
        ensure!(accepts(LOCAL, 5000), "those who may listen");
    }
    Ok(())
}

/// However little of it is told.
fn a_flood_is_destroyed_to_the_last(s: &Sandbox) -> Result<()> {
    const SOCKETS: u16 = 2000;
    const EACH: u16 = 500;
    let web = s.caller("web");
    let agent = start(s, DENY, QUIET, &web, &[tcp(5000).listening()])?;
    let mut held = Vec::new();
    for first in (10_000..10_000 + SOCKETS).step_by(EACH.into()) {
        let wants: Vec<Want> = (first..first + EACH)
            .map(|port| tcp(port).listening())
            .collect();
        held.push(Binder::start(&web, &wants)?);
    }
    let listened = held.iter().flat_map(|binder| &binder.results);
    ensure_eq!(listened.filter(|end| end.is_ok()).count(), 2000, "listens");
    wait_for_fates(&agent, [u64::from(SOCKETS), 0, 0, 0])?;
    for port in 10_000..10_000 + SOCKETS {
        ensure!(!accepts(LOCAL, port), "port {port}");
    }
    let status = agent.status()?;
    ensure_eq!(
        status["counters"]["unreserved-denied"],
        SOCKETS,
        "{status:#}"
    );
    ensure_eq!(status["events"]["lost"], 0, "{status:#}");
    let told = agent.events()?;
    let repeated: u64 = told.iter().filter_map(|e| e["repeated"].as_u64()).sum();
    let suppressed = &status["events"]["suppressed"];
    ensure!(
        repeated <= suppressed.as_u64().context("suppressed")?,
        "{repeated}"
    );
    let single = told.iter().filter(|event| event["repeated"] == 0);
    ensure!(
        single.clone().all(|e| e["listener"] == "destroyed"),
        "{told:#?}"
    );
    let alone = single.count() as u64;
    ensure_eq!(json!(u64::from(SOCKETS) - alone), *suppressed, "{status:#}");
    Ok(())
}

/// Listeners that come and go without end, and one that stays until it is destroyed.
fn those_who_close_at_once_hide_nobody(s: &Sandbox) -> Result<()> {
    let [web, busy] = ["web", "busy"].map(|name| s.caller(name));
    let agent = start(s, DENY, QUIET, &web, &[tcp(5000).listening()])?;
    let mut spinner = Spinner::start(&busy, &[tcp(5001).listening()])?;
    for round in 0..5 {
        spinner.wait_for(2000)?;
        let port = 5010 + round;
        let held = Binder::start(&web, &[tcp(port).listening()])?;
        ensure_eq!(held.results, [Ok(())], "listen");
        wait_until_refused(LOCAL, port).with_context(|| format!("{:?}", fates(&agent)))?;
    }
    let listened = 5 + spinner.stop()?.allowed;
    let deadline = Instant::now() + limit(10);
    loop {
        let [destroyed, closed, stay, lost] = fates(&agent)?;
        ensure_eq!((stay, lost), (0, 0), "left");
        // Those that came too fast are only counted, unless they are found in time.
        let late = agent.status()?["listeners"]["late"].as_u64();
        let late = late.context("late")?;
        let seen = destroyed + closed;
        if (listened..=listened + late).contains(&(seen + late)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{seen} and {late} of {listened}");
    }
}

/// Somebody fills the ring while the agent is held up, and another one listens.
fn what_finds_no_room_is_looked_for(s: &Sandbox) -> Result<()> {
    let [web, busy] = ["web", "busy"].map(|name| s.caller(name));
    let wants = [tcp(5000).listening()];
    let agent = start(s, DENY, QUIET, &web, &wants)?;
    agent.stop()?;
    let mut spinner = Spinner::start(&busy, &[tcp(5001).listening()])?;
    spinner.wait_for(9000)?;
    spinner.stop()?;
    let held = Binder::start(&web, &wants)?;
    ensure_eq!(held.results, [Ok(())], "listen");
    ensure!(accepts(LOCAL, 5000), "before the agent comes");
    agent.signal(Signal::SIGCONT)?;
    wait_until_refused(LOCAL, 5000)?;
    let [destroyed, _, stay, lost] = fates(&agent)?;
    ensure_eq!((destroyed, stay, lost), (1, 0, 0), "fates");
    let late = agent.status()?["listeners"]["late"].clone();
    ensure!(late.as_u64() > Some(0), "{late}");
    Ok(())
}

/// Neither before nor after; reloads switch it, and `detach` ends it.
fn the_hook_is_there_while_it_is_needed(s: &Sandbox) -> Result<()> {
    check_need()?;
    let web = s.caller("web");
    let hooks = |agent: &Agent<'_>| -> Result<bool> {
        let status = agent.status()?;
        let hooks = status["hooks"].as_array().context("hooks")?;
        ensure!(!hooks.contains(&json!("listen")), "{hooks:?}");
        Ok(hooks.contains(&json!("listened")))
    };
    let at_bind = "PORT\n UNRSV TCP * DENY WHENBIND\n";
    let agent = s.agent(at_bind, QUIET)?.start()?;
    ensure!(!hooks(&agent)?, "before");
    let denied = Binder::attempt(&web, &tcp(5000))?;
    ensure_eq!(denied, Err(Errno::EACCES), "at bind");
    let refused = "PORT\n UNRSV TCP * DENY\n 9 TCP A B C D\n";
    for (profile, code, is_there) in [
        (DENY, 0, true),
        (DENY, 0, true),
        (refused, 1, true),
        (at_bind, 0, false),
        (refused, 1, false),
        (DENY, 0, true),
        ("PORT\n UNRSV UDP * DENY\n", 0, false),
        (DENY, 0, true),
    ] {
        s.set_policy(profile, QUIET)?;
        let (found, answer) = agent.reload(&[])?;
        ensure_eq!(found, code, "{answer}");
        ensure_eq!(hooks(&agent)?, is_there, "{profile}");
        ensure_eq!(
            s.bpffs.join("links/listened").exists(),
            is_there,
            "{profile}"
        );
    }
    agent.terminate()?;
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    ensure!(!s.is_pinned(), "pins stay");
    let free = Binder::start(&web, &[tcp(5000).listening()])?;
    ensure_eq!(free.results, [Ok(())], "listen");
    thread::sleep(Duration::from_millis(50));
    ensure!(accepts(LOCAL, 5000), "after `detach`");
    Ok(())
}

/// Without an agent listeners come and stay, and are judged all the same. The next one
/// names them, destroys what comes from then on, and leaves them.
fn killed_and_restarted(s: &Sandbox) -> Result<()> {
    let web = s.caller("web");
    let agent = start(s, DENY, QUIET, &web, &[tcp(5000).listening()])?;
    agent.kill()?;
    let stays = Binder::start(&web, &[tcp(5000).listening()])?;
    let gone = Binder::start(&web, &[tcp(5001).listening()])?;
    ensure!(
        accepts(LOCAL, 5000) && accepts(LOCAL, 5001),
        "without an agent"
    );
    drop(gone);
    let agent = s.agent_again()?.start()?;
    ensure!(agent.ready().contains("taken over"), "{}", agent.ready());
    ensure!(agent.ready().contains(" listened on "), "{}", agent.ready());
    wait_for_fates(&agent, [0, 1, 1, 0])?;
    let events = agent.events()?;
    let found: Vec<_> = events
        .iter()
        .map(|event| json!([event["port"], event["listener"]]))
        .collect();
    let expected = json!([[5000, "stays"], [5001, "closed"]]);
    ensure_eq!(json!(found), expected, "{events:#?}");
    let log = agent.log();
    let held = format!("tcp/5000 by web (pid {}, user 0)", stays.pid);
    ensure!(
        log.contains("warning[PRV530]") && log.contains(&held),
        "{log}"
    );
    ensure!(!log.contains("tcp/5001 by"), "{log}");
    let next = Binder::start(&web, &[tcp(5002).listening()])?;
    ensure_eq!(next.results, [Ok(())], "listen");
    wait_until_refused(LOCAL, 5002)?;
    ensure!(accepts(LOCAL, 5000), "the older one stays");
    ensure_eq!(fates(&agent)?, [1, 1, 1, 0], "fates");
    let denied = agent.status()?["counters"]["unreserved-denied"].clone();
    ensure_eq!(denied, 3, "counted by the hook");
    Ok(())
}

/// Somebody detaches it, or removes its pin: the agent puts both back, the one by a new
/// hook, and listeners are destroyed as before.
fn a_missing_hook_is_put_back(s: &Sandbox) -> Result<()> {
    let web = s.caller("web");
    let agent = start(s, DENY, QUIET, &web, &[tcp(5000).listening()])?;
    let pin = s.bpffs.join("links/listened");
    detach(&pin)?;
    agent.wait_for_log(&["hook listened", "detached it", "attached again"])?;
    agent.status()?;
    let first = Binder::start(&web, &[tcp(5000).listening()])?;
    wait_until_refused(LOCAL, 5000)?;
    drop(first);
    fs::remove_file(&pin)?;
    agent.wait_for_log(&["hook listened", "removed its pin", "pinned again"])?;
    agent.status()?;
    agent.terminate()?;
    let _agent = s.agent_again()?.start()?;
    let _web = Binder::start(&web, &[tcp(5000).listening()])?;
    wait_until_refused(LOCAL, 5000)
}

/// What the caller sees is no errno.
fn explain_says_so(s: &Sandbox) -> Result<()> {
    let agent = start(s, DENY, QUIET, &s.caller("web"), &[tcp(5000).listening()])?;
    let question = ["explain", "tcp/5000", "--job", "WEB", "--listen"];
    let answer = s.portreeve(&[&question[..], &["--format", "json"]].concat())?;
    let answer = answer.ended_with(1)?.json()?;
    ensure_eq!(answer["errno"], Value::Null, "{answer}");
    let text = answer["text"].to_string();
    ensure!(text.contains("the agent destroys the listener"), "{text}");
    agent.terminate()?;
    Ok(())
}

/// The word changes nothing: the same refusal, by the same hook, and no warning.
fn where_listen_can_be_refused_it_is(s: &Sandbox) -> Result<()> {
    let agent = s.agent(DENY, QUIET)?.start()?;
    ensure!(agent.ready().contains(" listen on "), "{}", agent.ready());
    ensure!(!agent.log().contains("PRV301"), "{}", agent.log());
    let mut watch = Watch::start(&agent)?;
    let refused = Binder::attempt(&s.caller("web"), &tcp(5000).listening())?;
    ensure_eq!(refused, Err(Errno::EACCES), "listen");
    let event = json!({"hook": "listen", "errno": "EACCES", "listener": null});
    watch.expect(&[("unreserved-denied", 1)], &[event])
}
