//! UNRSV for TCP judged at listen, by the BPF LSM.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Caller, NOBODY, Need, Sandbox, Servant, Settings, Spinner, Want, host,
        request::Kind, skip, snapshot::Snapshot, tcp, udp, watch::Watch,
    },
    tests,
};

tests![
    everybody_may_bind_and_nobody_listen,
    jobs_are_admitted_by_the_closest_entry,
    users_are_admitted_by_saf,
    ports_that_the_kernel_chose_are_open,
    both_families_on_every_address,
    multipath_tcp_is_tcp,
    a_listener_is_judged_again,
    what_counts_is_who_listens_and_when,
    reserved_and_low_ports_were_judged_at_bind,
    other_network_namespaces_are_left_alone,
    other_cgroups_are_left_alone,
    audit_mode_refuses_nothing,
    at_bind_listen_is_not_judged,
    a_reload_changes_the_moment,
    killed_and_restarted_under_load,
    detach_ends_it,
    a_missing_pin_is_noticed,
];

tests![WITHOUT: refused_without_the_lsm];

const QUIET: Settings = Settings::DEFAULT;
const DENY: &str = "PORT\n UNRSV TCP * DENY\n";

/// How a bind and listen end.
type End = Result<(), Errno>;

const REFUSED: End = Err(Errno::EACCES);

/// An event: hook, verdict, reason and line, 0 for none.
type Told = (&'static str, &'static str, &'static str, u64);

const DENIED: Told = ("listen", "deny", "unreserved-denied", 2);
const ADMITTED: Told = ("listen", "allow", "unreserved-permitted", 2);

/// An agent on `profile`, when each of `wants` was free without one.
fn start<'s>(
    s: &'s Sandbox,
    profile: &str,
    settings: Settings,
    caller: &Caller,
    wants: &[Want],
) -> Result<Agent<'s>> {
    let free = Binder::start(caller, wants)?.results;
    ensure!(free.iter().all(Result::is_ok), "without an agent: {free:?}");
    let agent = s.agent(profile, settings)?.start()?;
    ensure!(agent.ready().contains(" listen on "), "{}", agent.ready());
    let status = agent.status()?;
    let hooks = status["hooks"].as_array().context("hooks")?;
    ensure_eq!(hooks.last(), Some(&json!("listen")), "hooks");
    let missing = status["missing"].to_string();
    ensure!(!missing.contains("listen"), "{missing}");
    Ok(agent)
}

/// One socket of `caller` ends so, with these events and nothing else counted.
fn ends(
    agent: &Agent<'_>,
    caller: &Caller,
    want: &Want,
    end: End,
    told: &[Told],
) -> Result<Vec<Value>> {
    let what = format!("{want} by {}", caller.name);
    let before = Snapshot::take(agent)?;
    let binder = Binder::start(caller, std::slice::from_ref(want))?;
    ensure_eq!(binder.results, [end], "{what}");
    let after = Snapshot::with_events(agent, before.events.len() + told.len())?;
    let mut expected = before.clone();
    // What no rule is about is told, but not counted.
    let counted = told
        .iter()
        .filter(|(_, _, reason, _)| *reason != "unreserved");
    for (_, verdict, reason, line) in counted {
        let counts = match *verdict {
            "would-deny" => &mut expected.audited,
            _ => &mut expected.counters,
        };
        *counts.get_mut(*reason).context("no such counter")? += 1;
        if *verdict == "deny" {
            let place = (agent.sandbox.profile().display().to_string(), *line);
            *expected.refusals.get_mut(&place).context("no such row")? += 1;
        }
    }
    ensure_eq!(after.counters, expected.counters, "counters after {what}");
    ensure_eq!(
        after.audited,
        expected.audited,
        "audit counters after {what}"
    );
    ensure_eq!(after.refusals, expected.refusals, "refusals after {what}");
    let events = after.events[before.events.len()..].to_vec();
    let found: Vec<Value> = events
        .iter()
        .map(|event| {
            let line = event["entry"]["line"].as_u64().unwrap_or(0);
            json!([event["hook"], event["verdict"], event["reason"], line])
        })
        .collect();
    ensure_eq!(json!(found), json!(told), "events of {what}");
    for event in &events {
        for (field, value) in [
            ("protocol", json!("tcp")),
            ("port", json!(want.port)),
            ("pid", json!(binder.pid)),
            ("comm", json!(caller.name)),
            ("uid", json!(caller.uid())),
        ] {
            ensure_eq!(event[field], value, "{field} of {event}");
        }
        let is_refused = event["verdict"] == "deny";
        let errno = if is_refused {
            json!("EACCES")
        } else {
            Value::Null
        };
        ensure_eq!(event["errno"], errno, "{event}");
    }
    Ok(events)
}

/// `UNR-06`, `UNR-10`, `UNR-17`, `UNR-19`, `DEC-07`: the bind goes on, listen is
/// refused to root too, with event, counter and entry; UDP is none of it.
fn everybody_may_bind_and_nobody_listen(s: &Sandbox) -> Result<()> {
    let web = s.caller("web");
    let agent = start(s, DENY, QUIET, &web, &[tcp(5000).listening()])?;
    for caller in [&web, &s.caller("web").user(NOBODY)] {
        ends(&agent, caller, &tcp(5000), Ok(()), &[])?;
        let want = tcp(5000).listening();
        let events = ends(&agent, caller, &want, REFUSED, &[DENIED])?;
        ensure_eq!(events[0]["address"], "127.0.0.1", "{events:?}");
        ensure_eq!(events[0]["cgroup"], json!(s.cgroup_name()), "{events:?}");
        ends(&agent, caller, &udp(5000), Ok(()), &[])?;
    }
    ends(&agent, &web, &tcp(1024).listening(), REFUSED, &[DENIED])?;
    ends(&agent, &web, &tcp(65535).listening(), REFUSED, &[DENIED]).map(drop)
}

/// `UNR-04`, `UNR-05`, `UNR-16`: patterns, defined jobs and names, closest first; who
/// matches nothing is refused at listen, not before.
fn jobs_are_admitted_by_the_closest_entry(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n UNRSV TCP APP*\n UNRSV TCP APPBAD SAF NOBODYS\n UNRSV TCP SERVER\n";
    let below = s.cgroup_below("server")?;
    let server = s.caller("anything").cgroup(&below);
    let web = s.caller("web");
    s.set_policy(profile, QUIET)?;
    let config = format!("[jobs.SERVER]\ncgroup = \"{}/server\"\n", s.cgroup_name());
    s.write("portreeve.toml", config)?;
    let agent = s.agent_again()?.start()?;
    let want = tcp(5000).listening();
    let permitted = |line| -> Told { ("listen", "allow", "unreserved-permitted", line) };
    // An admission makes no event unless all are asked for, but counts.
    let admitted = |caller: &Caller| -> Result<()> {
        let before = Snapshot::take(&agent)?;
        ensure_eq!(Binder::attempt(caller, &want)?, Ok(()), "{}", caller.name);
        let after = Snapshot::take(&agent)?;
        let count = |snapshot: &Snapshot| snapshot.counters["unreserved-permitted"];
        ensure_eq!(count(&after), count(&before) + 1, "{}", caller.name);
        Ok(())
    };
    for caller in [&s.caller("app1"), &s.caller("APPLE"), &server] {
        admitted(caller)?;
    }
    // The closest entry stands for all.
    let other = ("listen", "deny", "unreserved-other", 3);
    ends(&agent, &web, &want, REFUSED, &[other])?;
    ends(&agent, &s.caller("server"), &want, REFUSED, &[other])?;
    let saf = ("listen", "deny", "no-permit", 3);
    ends(&agent, &s.caller("appbad"), &want, REFUSED, &[saf])?;
    agent.terminate()?;
    s.set_policy(
        "PORT\n UNRSV TCP APP*\n UNRSV TCP * DENY\n",
        QUIET.report_all(),
    )?;
    let agent = s.agent_again()?.start()?;
    let bind = ("bind4", "allow", "unreserved", 0);
    let app = s.caller("app1");
    ends(&agent, &app, &want, Ok(()), &[bind, permitted(2)])?;
    let denied = ("listen", "deny", "unreserved-denied", 3);
    ends(&agent, &web, &want, REFUSED, &[bind, denied]).map(drop)
}

/// `UNR-08`, `SAF-11`: READ on the resource is asked for at the moment of the entry.
fn users_are_admitted_by_saf(s: &Sandbox) -> Result<()> {
    s.set_policy("PORT\n UNRSV TCP * SAF LISTENS\n", QUIET)?;
    let config = format!(
        "[events]\nreport = \"all\"\n[servauth.\"EZB.PORTACCESS.*.*.LISTENS\"]\npermit = [\"{NOBODY}\"]\n"
    );
    s.write("portreeve.toml", config)?;
    let agent = s.agent_again()?.start()?;
    let want = tcp(5000).listening();
    let bind = ("bind4", "allow", "unreserved", 0);
    let user = s.caller("web").user(NOBODY);
    ends(&agent, &user, &want, Ok(()), &[bind, ADMITTED])?;
    let refused = ("listen", "deny", "no-permit", 2);
    ends(&agent, &s.caller("web"), &want, REFUSED, &[bind, refused]).map(drop)
}

/// `UNR-15`, `UNR-16`: bind to port 0, and listen without a bind.
fn ports_that_the_kernel_chose_are_open(s: &Sandbox) -> Result<()> {
    let web = s.caller("web");
    let wants = [tcp(0).listening(), tcp(0).on_any_v6(false).listening()];
    let agent = start(s, DENY, QUIET, &web, &wants)?;
    for want in &wants {
        ends(&agent, &web, want, Ok(()), &[])?;
    }
    let mut watch = Watch::start(&agent)?;
    let servant = Servant::start(&web)?;
    for v6 in [false, true] {
        let socket = servant.socket(Kind::Tcp, v6)?;
        ensure_eq!(servant.listen(socket)?, Ok(()), "without a bind, IPv6 {v6}");
    }
    watch.expect(&[], &[])?;
    ends(&agent, &web, &tcp(5000).listening(), REFUSED, &[DENIED]).map(drop)
}

/// Dual-stack, IPv6 only, IPv4-mapped, wildcard: one table.
fn both_families_on_every_address(s: &Sandbox) -> Result<()> {
    let web = s.caller("web");
    let cases = [
        (tcp(5000).on(Ipv4Addr::UNSPECIFIED), "0.0.0.0"),
        (tcp(5001).on(Ipv6Addr::LOCALHOST), "::1"),
        (tcp(5002).on_any_v6(true), "::"),
        (tcp(5003).on_any_v6(false), "::"),
        (
            tcp(5004).on(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
            "127.0.0.1",
        ),
    ];
    let wants: Vec<Want> = cases
        .iter()
        .map(|(want, _)| want.clone().listening())
        .collect();
    let agent = start(s, DENY, QUIET, &web, &wants)?;
    for (want, (_, address)) in wants.iter().zip(cases) {
        let events = ends(&agent, &web, want, REFUSED, &[DENIED])?;
        ensure_eq!(events[0]["address"], address, "{events:?}");
    }
    Ok(())
}

/// The port and the application's choice are those of the socket inside.
fn multipath_tcp_is_tcp(s: &Sandbox) -> Result<()> {
    Need::Mptcp.check()?;
    let web = s.caller("web");
    let of = |want: Want| want.kind(Kind::Mptcp);
    let refused = [
        of(tcp(5000)).listening(),
        of(tcp(5001)).on_any_v6(false).listening(),
    ];
    let open = [of(tcp(0)).listening(), of(tcp(5000))];
    let all: Vec<Want> = refused.iter().chain(&open[..1]).cloned().collect();
    let agent = start(s, DENY, QUIET, &web, &all)?;
    for (want, address) in refused.iter().zip(["127.0.0.1", "::"]) {
        let events = ends(&agent, &web, want, REFUSED, &[DENIED])?;
        ensure_eq!(events[0]["address"], address, "{events:?}");
    }
    for want in &open {
        ends(&agent, &web, want, Ok(()), &[])?;
    }
    let mut watch = Watch::start(&agent)?;
    let servant = Servant::start(&web)?;
    let socket = servant.socket(Kind::Mptcp, false)?;
    ensure_eq!(servant.listen(socket)?, Ok(()), "without a bind");
    watch.expect(&[], &[])
}

/// A second listen, which changes the backlog.
fn a_listener_is_judged_again(s: &Sandbox) -> Result<()> {
    let agent = s
        .agent("PORT\n UNRSV TCP APP\n", QUIET.report_all())?
        .start()?;
    let app = Servant::start(&s.caller("app"))?;
    let socket = app.socket(Kind::Tcp, false)?;
    ensure_eq!(app.bind(socket, Ipv4Addr::LOCALHOST, 5000)?, Ok(()), "bind");
    let mut watch = Watch::start(&agent)?;
    for _ in 0..2 {
        ensure_eq!(app.listen(socket)?, Ok(()), "listen");
    }
    let event = json!({"hook": "listen", "reason": "unreserved-permitted", "port": 5000});
    watch.expect(&[("unreserved-permitted", 2)], &[event.clone(), event])
}

/// The tables of the moment, and the job that calls listen, whoever bound the socket.
fn what_counts_is_who_listens_and_when(s: &Sandbox) -> Result<()> {
    let agent = s.agent("PORT\n 7 TCP A\n", QUIET)?.start()?;
    let [app, web] = ["app", "web"].map(|name| Servant::start(&s.caller(name)));
    let (app, web) = (app?, web?);
    let socket = web.socket(Kind::Tcp, false)?;
    let bound = web.bind(socket, Ipv4Addr::LOCALHOST, 5000)?;
    ensure_eq!(bound, Ok(()), "before the policy");
    s.set_policy("PORT\n UNRSV TCP APP\n", QUIET)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    let mut watch = Watch::start(&agent)?;
    ensure_eq!(web.listen(socket)?, REFUSED, "bound before the policy");
    let event = json!({"hook": "listen", "reason": "unreserved-other", "comm": "web"});
    watch.expect(&[("unreserved-other", 1)], &[event])?;
    let taken = app.take(&web, socket)?;
    ensure_eq!(app.listen(taken)?, Ok(()), "passed on");
    watch.expect(&[("unreserved-permitted", 1)], &[])?;
    ensure_eq!(web.listen(socket)?, REFUSED, "a listener");
    let event = json!({"hook": "listen", "verdict": "deny", "comm": "web"});
    watch.expect(&[("unreserved-other", 1)], &[event])
}

/// `LOW-01`, `PRT-44`: what the bind answered for is not asked again.
fn reserved_and_low_ports_were_judged_at_bind(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n UNRSV TCP * DENY\n 5000 TCP RIGHT\nTCPCONFIG RESTRICTLOWPORTS\n";
    let right = s.caller("right");
    let wants = [tcp(5000).listening(), tcp(900).listening()];
    let agent = start(s, profile, QUIET.report_all(), &right, &wants)?;
    let bind = ("bind4", "allow", "permitted", 3);
    ends(&agent, &right, &wants[0], Ok(()), &[bind])?;
    let low = ("bind4", "allow", "privileged-low-port", 0);
    ends(&agent, &right, &wants[1], Ok(()), &[low])?;
    let other = ("bind4", "deny", "other-job", 3);
    ends(&agent, &s.caller("wrong"), &wants[0], REFUSED, &[other])?;
    // Without RESTRICTLOWPORTS UNRSV is about low ports too (`UNR-01`).
    agent.terminate()?;
    s.set_policy(DENY, QUIET)?;
    let agent = s.agent_again()?.start()?;
    ends(&agent, &right, &wants[1], REFUSED, &[DENIED]).map(drop)
}

/// Unless the config says `scope.netns = "all"`.
fn other_network_namespaces_are_left_alone(s: &Sandbox) -> Result<()> {
    let elsewhere = s.caller("web").elsewhere();
    let want = tcp(5000).listening();
    let wants = std::slice::from_ref(&want);
    let agent = start(s, DENY, QUIET.report_all(), &elsewhere, wants)?;
    ensure_eq!(Binder::attempt(&elsewhere, &want)?, Ok(()), "elsewhere");
    ensure_eq!(Binder::attempt(&s.caller("web"), &want)?, REFUSED, "here");
    let count = &agent.status()?["counters"]["unreserved-denied"];
    ensure_eq!(*count, 1, "refusals");
    agent.terminate()?;
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    let agent = s.agent(DENY, QUIET.everywhere())?.start()?;
    ends(&agent, &elsewhere, &want, REFUSED, &[DENIED]).map(drop)
}

/// The bind hooks judge the sockets that were made at or below their cgroup, and so
/// does this one.
fn other_cgroups_are_left_alone(s: &Sandbox) -> Result<()> {
    let want = tcp(5000).listening();
    let below = s.caller("web").cgroup(s.cgroup_below("a/b")?);
    let outside = s.caller("web").cgroup(host::cgroup2()?);
    let wants = std::slice::from_ref(&want);
    let agent = start(s, DENY, QUIET.report_all(), &outside, wants)?;
    ends(&agent, &outside, &want, Ok(()), &[])?;
    let bind = ("bind4", "allow", "unreserved", 0);
    ends(&agent, &below, &want, REFUSED, &[bind, DENIED])?;
    // What counts is where the socket was made, as for binds.
    let leaves = want.clone().from(host::cgroup2()?);
    ends(&agent, &below, &leaves, REFUSED, &[bind, DENIED])?;
    let joins = want.clone().from(&s.cgroup);
    ends(&agent, &outside, &joins, Ok(()), &[])?;
    // A sibling has as many cgroups above it.
    let sibling = Sandbox::new()?;
    let beside = sibling.caller("web");
    ends(&agent, &beside, &want, Ok(()), &[])?;
    sibling.close()
}

/// Counted and told, and it listens.
fn audit_mode_refuses_nothing(s: &Sandbox) -> Result<()> {
    let web = s.caller("web");
    let want = tcp(5000).listening();
    let agent = start(s, DENY, QUIET.audit(), &web, std::slice::from_ref(&want))?;
    let would = ("listen", "would-deny", "unreserved-denied", 2);
    ends(&agent, &web, &want, Ok(()), &[would]).map(drop)
}

/// `UNR-11`: with WHENBIND, and without any UNRSV, listen makes no event either.
fn at_bind_listen_is_not_judged(s: &Sandbox) -> Result<()> {
    let app = s.caller("app");
    let want = tcp(5000).listening();
    let profile = "PORT\n UNRSV TCP APP WHENBIND\n";
    let wants = std::slice::from_ref(&want);
    let agent = start(s, profile, QUIET.report_all(), &app, wants)?;
    let bind = ("bind4", "allow", "unreserved-permitted", 2);
    ends(&agent, &app, &want, Ok(()), &[bind])?;
    let other = ("bind4", "deny", "unreserved-other", 2);
    ends(&agent, &s.caller("web"), &want, REFUSED, &[other])?;
    s.set_policy("PORT\n 7 TCP A\n", QUIET.report_all())?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    let bind = ("bind4", "allow", "unreserved", 0);
    ends(&agent, &app, &want, Ok(()), &[bind]).map(drop)
}

/// `UNR-14`: from bind to listen and back.
fn a_reload_changes_the_moment(s: &Sandbox) -> Result<()> {
    let web = s.caller("web");
    let at_bind = "PORT\n UNRSV TCP * DENY WHENBIND\n";
    let agent = s.agent(at_bind, QUIET)?.start()?;
    for _ in 0..2 {
        let denied = ("bind4", "deny", "unreserved-denied", 2);
        ends(&agent, &web, &tcp(5000), REFUSED, &[denied])?;
        s.set_policy(DENY, QUIET)?;
        let (code, answer) = agent.reload(&[])?;
        ensure_eq!(code, 0, "{answer}");
        ends(&agent, &web, &tcp(5000), Ok(()), &[])?;
        ends(&agent, &web, &tcp(5000).listening(), REFUSED, &[DENIED])?;
        s.set_policy(at_bind, QUIET)?;
        let (code, answer) = agent.reload(&[])?;
        ensure_eq!(code, 0, "{answer}");
    }
    Ok(())
}

/// kill -9 and a new agent, again and again, while two jobs listen all the time: none
/// gets another answer than it should, and each listen is judged exactly once.
fn killed_and_restarted_under_load(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n UNRSV TCP APP\n UNRSV TCP * DENY\n";
    let mut agent = s.agent(profile, QUIET)?.start()?;
    let mut app = Spinner::start(&s.caller("app"), &[tcp(5000).listening()])?;
    let mut web = Spinner::start(&s.caller("web"), &[tcp(5001).listening()])?;
    for _ in 0..3 {
        agent.kill()?;
        web.wait_for(200)?;
        agent = s.agent_again()?.start()?;
        ensure!(agent.ready().contains("taken over"), "{}", agent.ready());
        ensure!(agent.ready().contains(" listen on "), "{}", agent.ready());
        app.wait_for(200)?;
    }
    let (app, web) = (app.stop()?, web.stop()?);
    ensure_eq!(app.total(), app.allowed, "{app:?}");
    ensure_eq!(web.total(), web.refused, "{web:?}");
    let counters = agent.status()?["counters"].clone();
    ensure_eq!(counters["unreserved-permitted"], app.allowed, "permitted");
    ensure_eq!(counters["unreserved-denied"], web.refused, "denied");
    Ok(())
}

/// With an agent, and without one.
fn detach_ends_it(s: &Sandbox) -> Result<()> {
    let web = s.caller("web");
    let want = tcp(5000).listening();
    for is_running in [true, false] {
        let agent = start(s, DENY, QUIET, &web, std::slice::from_ref(&want))?;
        ensure_eq!(Binder::attempt(&web, &want)?, REFUSED, "with an agent");
        if !is_running {
            agent.kill()?;
            ensure_eq!(Binder::attempt(&web, &want)?, REFUSED, "without an agent");
        }
        s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
        ensure!(!s.is_pinned(), "pins stay");
        ensure_eq!(Binder::attempt(&web, &want)?, Ok(()), "after `detach`");
    }
    Ok(())
}

/// Somebody removes its pin: it judges all the same, the agent pins it again, and the
/// next one takes it over.
fn a_missing_pin_is_noticed(s: &Sandbox) -> Result<()> {
    let agent = s.agent(DENY, QUIET)?.start()?;
    let pin = s.bpffs.join("links/listen");
    fs::remove_file(&pin)?;
    let want = tcp(5000).listening();
    let refused = Binder::attempt(&s.caller("web"), &want)?;
    ensure_eq!(refused, REFUSED, "without the pin");
    agent.wait_for_log(&["hook listen", "removed its pin", "pinned again"])?;
    ensure!(pin.exists(), "no pin");
    agent.status()?;
    agent.terminate()?;
    let refused = Binder::attempt(&s.caller("web"), &want)?;
    ensure_eq!(refused, REFUSED, "without an agent");
    let agent = s.agent_again()?.start()?;
    ends(&agent, &s.caller("web"), &want, REFUSED, &[DENIED]).map(drop)
}

/// `UNR-10` where the kernel doesn't ask: refused with what to do, never accepted and
/// left undone.
fn refused_without_the_lsm(s: &Sandbox) -> Result<()> {
    if Need::BpfLsm.check().is_ok() {
        return Err(skip("the BPF LSM is active here"));
    }
    let said = |text: &str| {
        ["PRV301", "BPF LSM", "WHENBIND"]
            .iter()
            .all(|word| text.contains(word))
    };
    let started = s.agent(DENY, QUIET)?.finish()?.ended_with(1)?;
    ensure!(said(&started.stderr), "{}", started.stderr);
    ensure!(!s.is_pinned(), "pins stay");
    let profile = s.profile().display().to_string();
    let config = s.config().display().to_string();
    let check = |more: &[&str]| {
        s.portreeve(&[&["check", profile.as_str(), "--config", &config], more].concat())
    };
    let checked = check(&[])?.ended_with(1)?;
    ensure!(
        said(&(checked.stdout + &checked.stderr)),
        "`check` is silent"
    );
    let elsewhere = check(&["--other-host"])?.ended_with(0)?;
    ensure!(
        !said(&(elsewhere.stdout + &elsewhere.stderr)),
        "for another host"
    );

    // A reload into it is refused, and what is in force stays.
    let agent = s.agent("PORT\n 4321 TCP RIGHT\n", QUIET)?.start()?;
    let missing = agent.status()?["missing"].to_string();
    ensure!(missing.contains("\"listen: "), "{missing}");
    s.set_policy(DENY, QUIET)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 1, "{answer}");
    ensure!(said(&answer.to_string()), "{answer}");
    let held = Binder::attempt(&s.caller("wrong"), &tcp(4321))?;
    ensure_eq!(held, REFUSED, "the policy in force");
    // With `on_error = "skip"` the entry is dropped.
    s.set_policy(DENY, QUIET.skip_errors())?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    ensure!(said(&answer.to_string()), "{answer}");
    let open = Binder::attempt(&s.caller("wrong"), &tcp(5000).listening())?;
    ensure_eq!(open, Ok(()), "a listen that nothing judges");
    Ok(())
}
