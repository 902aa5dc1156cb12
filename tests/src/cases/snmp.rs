//! SACONFIG: managers ask by a real SNMP agent, and are notified by it.

use std::{fmt::Write as _, fs, path::Path, process::Command, thread};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Sandbox, Settings, command,
        pace::limit,
        peer::Peer,
        refusal, skip,
        snmp::{BASE, DESCRIPTION, Listener, Master},
        tcp, tools, udp,
    },
    tests,
};

tests![
    what_managers_read,
    nothing_can_be_written,
    a_walk_over_every_port,
    answers_are_as_old_as_they_may_be,
    ports_that_open_and_close_are_told,
    refusals_are_told_once_a_minute,
    an_agent_that_ends_is_met_again,
    an_agent_that_stops_is_waited_for_by_nobody,
    the_subagent_that_stops_or_ends,
    who_comes_second_waits,
    over_tcp,
    only_if_it_is_wanted,
    the_community_is_nowhere,
    the_module_is_sound,
];

const PROFILE: &str = "PORT\n 4321 TCP RIGHT NOAUTOLOG SHAREPORT\n 4322 UDP RESERVED\n\
    PORTRANGE 5000 10 TCP OTHER\nSACONFIG ENABLED SACACHETIME 1\n";

fn config(master: &str) -> String {
    format!("[snmp]\nmaster = \"{master}\"\n[watch]\nhold_down = 0\n")
}

/// An agent whose subagent has been met.
fn start<'s>(s: &'s Sandbox, profile: &str, master: &Master) -> Result<Agent<'s>> {
    s.set_policy_with(profile, Settings::DEFAULT, &config(&master.place))?;
    let agent = s.agent_again()?.start()?;
    is_met(&agent)?;
    Ok(agent)
}

fn snmp(agent: &Agent<'_>) -> Result<Value> {
    Ok(agent.status()?["snmp"].clone())
}

fn is_met(agent: &Agent<'_>) -> Result<()> {
    agent.wait_until("the SNMP agent", |agent| {
        snmp(agent).is_ok_and(|snmp| snmp["registered"] == true)
    })
}

fn is_missed(agent: &Agent<'_>) -> Result<()> {
    agent.wait_until("the end of the SNMP agent", |agent| {
        snmp(agent).is_ok_and(|snmp| snmp["registered"] == false)
    })
}

/// `SAC-03`: every object, by three kinds of questions; and what isn't there.
fn what_managers_read(s: &Sandbox) -> Result<()> {
    let master = Master::start(s)?;
    let agent = start(s, PROFILE, &master)?;
    let right = Binder::start(&s.caller("right"), &[tcp(4321).listening()])?;
    ensure_eq!(right.results, [Ok(())], "the rightful job");
    let wrong = [tcp(4321), tcp(4321), tcp(5003), udp(4322)];
    let wrong = Binder::start(&s.caller("wrong"), &wrong)?;
    ensure_eq!(wrong.results, [Err(refusal()); 4], "the others");
    // From now on an answer is new enough.
    master.wait_for_value("1.1.4.0", |value| value == "Counter64: 4")?;
    master.wait_for_value("1.2.1.8.6.4321.1", |value| value == "INTEGER: 5")?;
    for (place, value) in [
        ("1.1.1.0", "INTEGER: 1".to_owned()),
        (
            "1.1.2.0",
            format!("Gauge32: {}", agent.status()?["generation"]),
        ),
        ("1.1.4.0", "Counter64: 4".into()),
        ("1.1.5.0", "Counter64: 0".into()),
        (
            "1.1.6.0",
            format!("STRING: \"{}\"", env!("CARGO_PKG_VERSION")),
        ),
        // TCP 4321.
        ("1.2.1.4.6.4321.1", "Gauge32: 4321".into()),
        ("1.2.1.5.6.4321.1", "STRING: \"RIGHT\"".into()),
        ("1.2.1.6.6.4321.1", "INTEGER: 3".into()),
        ("1.2.1.7.6.4321.1", "Hex-STRING: A0 00".into()),
        ("1.2.1.8.6.4321.1", "INTEGER: 5".into()),
        ("1.2.1.9.6.4321.1", "STRING: \"RIGHT\"".into()),
        ("1.2.1.10.6.4321.1", "Counter64: 2".into()),
        // TCP 5000 to 5009.
        ("1.2.1.4.6.5000.1", "Gauge32: 5009".into()),
        ("1.2.1.5.6.5000.1", "STRING: \"OTHER\"".into()),
        ("1.2.1.7.6.5000.1", "Hex-STRING: 02 00".into()),
        ("1.2.1.8.6.5000.1", "INTEGER: 3".into()),
        ("1.2.1.9.6.5000.1", "\"\"".into()),
        ("1.2.1.10.6.5000.1", "Counter64: 1".into()),
        // UDP 4322.
        ("1.2.1.5.17.4322.1", "STRING: \"RESERVED\"".into()),
        ("1.2.1.6.17.4322.1", "INTEGER: 1".into()),
        ("1.2.1.8.17.4322.1", "INTEGER: 2".into()),
        ("1.2.1.10.17.4322.1", "Counter64: 1".into()),
    ] {
        ensure_eq!(master.get(place)?, value, "{place}");
    }
    let since = master.get("1.1.3.0")?;
    ensure!(since.starts_with("Timeticks: ("), "{since}");
    let walked = master.walk("snmpwalk", "1")?;
    let bulk = master.walk("snmpbulkwalk", "1")?;
    let names = |walk: &[(String, String)]| -> Vec<String> {
        walk.iter().map(|(name, _)| name.clone()).collect()
    };
    ensure_eq!(names(&walked), names(&bulk), "two ways to walk");
    // Six values of the agent, seven columns of three rows, three of each reason.
    let reasons: Vec<&(String, String)> = walked
        .iter()
        .filter(|(name, _)| name.starts_with("1.3.1.2."))
        .collect();
    ensure_eq!(walked.len(), 6 + 7 * 3 + 3 * reasons.len(), "{walked:?}");
    let count_of = |reason: &str| -> Result<&str> {
        let text = format!("STRING: \"{reason}\"");
        let found = reasons.iter().find(|(_, value)| *value == text);
        let (name, _) = found.with_context(|| format!("no {reason} in {reasons:?}"))?;
        let name = name.replacen("1.3.1.2.", "1.3.1.3.", 1);
        let count = walked.iter().find(|(other, _)| *other == name);
        Ok(count.map_or("", |(_, value)| value))
    };
    ensure_eq!(count_of("other-job")?, "Counter64: 3", "other-job");
    ensure_eq!(count_of("blocked")?, "Counter64: 1", "blocked");
    ensure_eq!(count_of("permitted")?, "Counter64: 1", "permitted");
    for absent in ["1.1.7.0", "1.1.1.1", "1.2.1.5.6.4323.1", "1.4.1.0", "7"] {
        let value = master.get(absent)?;
        ensure!(value.starts_with("No Such"), "{absent}: {value}");
    }
    // Whoever doesn't know the word gets no answer, and nor does he disturb anybody.
    let name = format!("{BASE}.1.1.1.0");
    let stranger = master.ask("snmpget", "guess", 1, &[&name])?;
    ensure_eq!(stranger.code, Some(1), "{stranger:?}");
    ensure!(stranger.stderr.contains("Timeout"), "{stranger:?}");
    let told = s.portreeve(&["status"])?.ended_with(0)?.stdout;
    ensure!(
        told.contains("SNMP        managers can ask, by the agent at unix:"),
        "{told}"
    );
    Ok(())
}

/// `SAC-08`: not by who may read, and not by who may write all of the SNMP agent's.
fn nothing_can_be_written(s: &Sandbox) -> Result<()> {
    let master = Master::start(s)?;
    let profile = format!("{PROFILE}SACONFIG SETSENABLED\n");
    let agent = start(s, &profile, &master)?;
    let before = master.walk("snmpwalk", "1.2")?;
    for (place, kind, value) in [
        ("1.1.1.0", "i", "2"),
        ("1.2.1.5.6.4321.1", "s", "WRONG"),
        ("1.2.1.10.6.4321.1", "u", "0"),
        ("1.2.1.5.6.9999.1", "s", "NEW"),
        ("9.9", "i", "1"),
    ] {
        let name = format!("{BASE}.{place}");
        for (community, refused) in [("private", "notWritable"), ("public", "noAccess")] {
            let answer = master.ask("snmpset", community, 5, &[&name, kind, value])?;
            ensure!(answer.code != Some(0), "{answer:?}");
            ensure!(
                answer.stderr.contains(refused),
                "{place} by {community}: {answer:?}"
            );
        }
    }
    ensure_eq!(master.walk("snmpwalk", "1.2")?, before, "after all that");
    is_met(&agent)
}

/// One entry for each port there is. Meanwhile the agent answers, and binds are judged.
fn a_walk_over_every_port(s: &Sandbox) -> Result<()> {
    const PORTS: usize = 2 * 65535;
    let master = Master::start(s)?;
    let mut profile = String::from("SACONFIG ENABLED\nPORT\n");
    for protocol in ["TCP", "UDP"] {
        for port in 1..=65535u32 {
            writeln!(profile, "{port} {protocol} J{}", port % 7)?;
        }
    }
    // The manager needs a port as well.
    let more = config(&master.place) + "[ephemeral]\nmanage = false\n";
    s.set_policy_with(&profile, Settings::DEFAULT, &more)?;
    let agent = s.agent_again()?.start()?;
    is_met(&agent)?;
    let memory = agent.memory()?;
    let (walked, asked) = thread::scope(|scope| -> Result<_> {
        let walk = scope.spawn(|| master.walk("snmpbulkwalk", "1.2.1.5"));
        let mut asked = 0;
        while !walk.is_finished() {
            agent.status()?;
            let binder = Binder::start(&s.caller("j3"), &[tcp(10), tcp(11)])?;
            ensure_eq!(binder.results, [Ok(()), Err(refusal())], "during the walk");
            asked += 1;
        }
        let walked = walk.join().ok().context("the walk panicked")??;
        Ok((walked, asked))
    })?;
    ensure!(asked > 0, "the walk was over before anything was asked");
    ensure_eq!(walked.len(), PORTS, "rows");
    let numbers = [6, 17]
        .into_iter()
        .flat_map(|protocol| (1..=65535u32).map(move |port| (protocol, port)));
    for ((protocol, port), (name, job)) in numbers.zip(&walked) {
        ensure_eq!(*name, format!("1.2.1.5.{protocol}.{port}.1"), "the order");
        ensure_eq!(*job, format!("STRING: \"J{}\"", port % 7), "{name}");
    }
    // A copy for managers, and the agent's own: not one for each question.
    let grown = agent.memory()?.saturating_sub(memory);
    ensure!(grown < 128 << 20, "{grown} bytes more");
    Ok(())
}

/// `SAC-08`: SACACHETIME is how many seconds old an answer may be.
fn answers_are_as_old_as_they_may_be(s: &Sandbox) -> Result<()> {
    let master = Master::start(s)?;
    let profile =
        |seconds: u32| format!("PORT 4321 TCP RIGHT\nSACONFIG ENABLED SACACHETIME {seconds}\n");
    let agent = start(s, &profile(3600), &master)?;
    let refused = "1.2.1.10.6.4321.1";
    ensure_eq!(master.get(refused)?, "Counter64: 0", "at first");
    let wrong = || Binder::attempt(&s.caller("wrong"), &tcp(4321));
    ensure_eq!(wrong()?, Err(refusal()), "a stranger");
    ensure_eq!(master.get(refused)?, "Counter64: 0", "within the hour");
    s.write("profile.tcpip", profile(1))?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    is_met(&agent)?;
    // The entry is the same, so it has counted on.
    master.wait_for_value(refused, |value| value == "Counter64: 1")?;
    ensure_eq!(wrong()?, Err(refusal()), "a stranger");
    master.wait_for_value(refused, |value| value == "Counter64: 2")
}

/// Closed after the hold-down, opened again, and held by somebody who may not.
fn ports_that_open_and_close_are_told(s: &Sandbox) -> Result<()> {
    let master = Master::start(s)?;
    let listener = Listener::start(s)?;
    let agent = start(s, PROFILE, &master)?;
    let right = Binder::start(&s.caller("right"), &[tcp(4321).listening()])?;
    ensure_eq!(right.results, [Ok(())], "the rightful job");
    // Nobody reserved it, and nobody expects anything of it.
    let free = Binder::start(&s.caller("right"), &[tcp(7777).listening()])?;
    ensure_eq!(free.results, [Ok(())], "an unreserved port");
    let heard = listener.wait_until(|heard| !heard.is_empty())?;
    let (what, values) = &heard[0];
    ensure_eq!(what, "0.2", "{heard:?}");
    for (place, value) in [
        ("1.4.1.0", "INTEGER: 6"),
        ("1.4.2.0", "Gauge32: 4321"),
        ("1.4.3.0", "INTEGER: 5"),
        ("1.4.4.0", "STRING: \"RIGHT\""),
        ("1.4.5.0", "STRING: \"right\""),
    ] {
        ensure_eq!(
            values.get(place).map(String::as_str),
            Some(value),
            "{values:?}"
        );
    }
    drop((right, free));
    let heard = listener.wait_until(|heard| heard.len() > 1)?;
    let (what, values) = &heard[1];
    ensure_eq!(what, "0.1", "{heard:?}");
    ensure_eq!(values["1.4.2.0"], "Gauge32: 4321", "{values:?}");
    ensure_eq!(values["1.4.3.0"], "INTEGER: 3", "{values:?}");
    ensure_eq!(snmp(&agent)?["notifications"], 2, "sent");
    ensure_eq!(snmp(&agent)?["dropped"], 0, "dropped");
    Ok(())
}

/// One in a minute of an entry, and the next one says how many there were. Here only that
/// there is one; the time is tested without a clock.
fn refusals_are_told_once_a_minute(s: &Sandbox) -> Result<()> {
    let master = Master::start(s)?;
    let listener = Listener::start(s)?;
    let agent = start(s, PROFILE, &master)?;
    for _ in 0..3 {
        let wrong = Binder::start(&s.caller("wrong"), &[tcp(4321), udp(4322), tcp(5001)])?;
        ensure_eq!(wrong.results, [Err(refusal()); 3], "strangers");
    }
    let mut heard = listener.wait_until(|heard| heard.len() >= 3)?;
    heard.sort_by_key(|(_, values)| values["1.4.2.0"].clone());
    let expected = [
        ("INTEGER: 6", "Gauge32: 4321", "RIGHT", "other-job"),
        ("INTEGER: 17", "Gauge32: 4322", "RESERVED", "blocked"),
        ("INTEGER: 6", "Gauge32: 5001", "OTHER", "other-job"),
    ];
    for ((what, values), (protocol, port, job, reason)) in heard.iter().zip(expected) {
        ensure_eq!(what, "0.3", "{heard:?}");
        for (place, value) in [
            ("1.4.1.0", protocol.to_owned()),
            ("1.4.2.0", port.to_owned()),
            ("1.4.4.0", format!("STRING: \"{job}\"")),
            ("1.4.5.0", "STRING: \"wrong\"".into()),
            ("1.4.6.0", format!("STRING: \"{reason}\"")),
            ("1.4.7.0", "Gauge32: 0".into()),
        ] {
            ensure_eq!(values.get(place), Some(&value), "{values:?}");
        }
    }
    thread::sleep(limit(2));
    ensure_eq!(listener.heard().len(), 3, "{:?}", listener.heard());
    ensure_eq!(snmp(&agent)?["notifications"], 3, "sent");
    // All are counted.
    master.wait_for_value("1.1.4.0", |value| value == "Counter64: 9")
}

/// Killed and started again. What became of ports meanwhile is told then.
fn an_agent_that_ends_is_met_again(s: &Sandbox) -> Result<()> {
    let listener = Listener::start(s)?;
    let master = Master::start(s)?;
    let agent = start(s, PROFILE, &master)?;
    let right = Binder::start(&s.caller("right"), &[tcp(4321).listening()])?;
    listener.wait_until(|heard| heard.len() == 1)?;
    drop(master);
    is_missed(&agent)?;
    // It was asked for, so a status says so, and the rest is as ever.
    let status = agent.status()?;
    let missing = status["missing"].to_string();
    ensure!(missing.contains("SNMP: managers can't ask"), "{missing}");
    drop(right);
    let wrong = Binder::attempt(&s.caller("wrong"), &tcp(4321))?;
    ensure_eq!(wrong, Err(refusal()), "a stranger");
    thread::sleep(limit(1));
    ensure_eq!(listener.heard().len(), 1, "{:?}", listener.heard());

    let master = Master::start(s)?;
    is_met(&agent)?;
    ensure_eq!(
        agent.status()?["missing"],
        status["missing"].as_array().map_or(Value::Null, |all| {
            let left = all.iter().filter(|one| !one.to_string().contains("SNMP"));
            Value::Array(left.cloned().collect())
        }),
        "nothing is missing any more"
    );
    let heard = listener.wait_until(|heard| heard.len() > 1)?;
    let (what, values) = &heard[1];
    ensure_eq!(what, "0.1", "{heard:?}");
    ensure_eq!(values["1.4.2.0"], "Gauge32: 4321", "{heard:?}");
    master.wait_for_value("1.2.1.8.6.4321.1", |value| value == "INTEGER: 3")
}

/// It neither answers nor hangs up.
fn an_agent_that_stops_is_waited_for_by_nobody(s: &Sandbox) -> Result<()> {
    let master = Master::start(s)?;
    let agent = start(s, PROFILE, &master)?;
    master.signal(Signal::SIGSTOP)?;
    // Each of these would be told, if anybody took it in.
    for _ in 0..20 {
        let right = Binder::start(&s.caller("right"), &[tcp(4321).listening()])?;
        ensure_eq!(right.results, [Ok(())], "the rightful job");
        let wrong = Binder::attempt(&s.caller("wrong"), &tcp(5002))?;
        ensure_eq!(wrong, Err(refusal()), "a stranger");
    }
    is_missed(&agent)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    master.signal(Signal::SIGCONT)?;
    is_met(&agent)?;
    master.wait_for_value("1.2.1.10.6.5000.1", |value| value == "Counter64: 20")?;
    ensure!(agent.terminate()?.success(), "its end");
    Ok(())
}

/// The SNMP agent answers for the rest of its variables, and soon for these again.
fn the_subagent_that_stops_or_ends(s: &Sandbox) -> Result<()> {
    let master = Master::start(s)?;
    let agent = start(s, PROFILE, &master)?;
    let name = format!("{BASE}.1.1.1.0");
    agent.signal(Signal::SIGSTOP)?;
    let asked = master.ask("snmpget", "public", 10, &[&name])?;
    ensure!(asked.stdout.is_empty(), "{asked:?}");
    let other = master.ask("snmpget", "public", 5, &[DESCRIPTION])?;
    ensure!(other.ended_with(0)?.stdout.contains("STRING"), "the rest");
    agent.signal(Signal::SIGCONT)?;
    master.wait_for_value("1.1.1.0", |value| value == "INTEGER: 1")?;
    agent.kill()?;
    let gone = |value: &str| value.starts_with("No Such");
    master.wait_for_value("1.1.1.0", gone)?;

    let agent = s.agent_again()?.start()?;
    master.wait_for_value("1.1.1.0", |value| value == "INTEGER: 1")?;
    // Whoever ends says so: not for a moment is there silence.
    ensure!(agent.terminate()?.success(), "its end");
    ensure!(gone(&master.get("1.1.1.0")?), "after its end");
    Ok(())
}

/// Somebody else has the variables: net-snmp's own subagent. It is said, and they are taken
/// when he ends.
fn who_comes_second_waits(s: &Sandbox) -> Result<()> {
    let master = Master::start(s)?;
    let folder = s.dir.join("second");
    fs::create_dir_all(&folder)?;
    let socket = master.place.replace("unix:", "");
    let file = folder.join("snmpd.conf");
    fs::write(
        &file,
        format!("agentXSocket {socket}\npass {BASE} /bin/false\n"),
    )?;
    let mut second = Command::new(tools::program("snmpd")?);
    second
        .env("MIBS", "")
        .env("SNMP_PERSISTENT_DIR", &folder)
        .args(["-X", "-f", "-Lo", "-C", "-c"])
        .arg(&file)
        .args(["-I", "pass"]);
    let mut second = Peer::start(&mut second, folder.join("log"))?;
    second.wait_until("the other subagent", |said| {
        said.contains("AgentX subagent connected")
    })?;
    s.set_policy_with(PROFILE, Settings::DEFAULT, &config(&master.place))?;
    let agent = s.agent_again()?.start()?;
    agent.wait_until("the refusal", |agent| {
        snmp(agent).is_ok_and(|snmp| {
            let problem = snmp["problem"].as_str().unwrap_or_default();
            problem.starts_with("another subagent answers for 1.3.6.1")
        })
    })?;
    ensure_eq!(snmp(&agent)?["registered"], false, "refused");
    let told = s.portreeve(&["status"])?.ended_with(0)?.stdout;
    ensure!(told.contains("SNMP        managers can't ask: "), "{told}");
    drop(second);
    is_met(&agent)?;
    ensure_eq!(master.get("1.1.1.0")?, "INTEGER: 1", "at last");
    Ok(())
}

fn over_tcp(s: &Sandbox) -> Result<()> {
    let master = Master::start_tcp(s, 7055)?;
    let agent = start(s, PROFILE, &master)?;
    ensure_eq!(
        master.get("1.2.1.5.6.4321.1")?,
        "STRING: \"RIGHT\"",
        "a job"
    );
    let walked = master.walk("snmpbulkwalk", "1.2")?;
    ensure_eq!(walked.len(), 3 * 7, "{walked:?}");
    ensure_eq!(snmp(&agent)?["master"], "tcp:127.0.0.1:7055", "the status");
    Ok(())
}

/// `SAC-01`, `SAC-02`, `SAC-05`: enabled unless it is DISABLED, idle where nobody asked for
/// it, and told of where somebody did and it can't be had.
fn only_if_it_is_wanted(s: &Sandbox) -> Result<()> {
    let profile = |more: &str| format!("PORT 4321 TCP RIGHT\n{more}\n");
    if Path::new("/var/agentx/master").exists() {
        return Err(skip("this machine has an SNMP agent of its own"));
    }
    // Nobody asked, and there is none.
    let agent = s.agent(&profile(""), Settings::DEFAULT)?.start()?;
    ensure_eq!(snmp(&agent)?, Value::Null, "omitted");
    ensure!(!agent.log().contains("SNMP"), "{}", agent.log());
    let reload = |text: &str| -> Result<()> {
        s.write("profile.tcpip", profile(text))?;
        let (code, answer) = agent.reload(&[])?;
        ensure_eq!(code, 0, "{answer}");
        Ok(())
    };
    // Asked for by the profile, and there is none.
    reload("SACONFIG ENABLED")?;
    let is_told = |agent: &Agent<'_>| {
        let status = agent.status();
        status.is_ok_and(|status| status["missing"].to_string().contains("SNMP"))
    };
    agent.wait_until("the lack of an SNMP agent", is_told)?;
    agent.wait_for_log(&["SNMP: no SNMP agent at unix:/var/agentx/master"])?;
    reload("SACONFIG DISABLED")?;
    ensure!(!is_told(&agent), "nobody asks for it any more");
    ensure_eq!(snmp(&agent)?, Value::Null, "disabled");
    ensure!(agent.terminate()?.success(), "its end");

    // By the config, without a word in the profile.
    let master = Master::start(s)?;
    let agent = start(s, &profile(""), &master)?;
    ensure_eq!(master.get("1.1.1.0")?, "INTEGER: 1", "enabled");
    // A change file can end it, and what it doesn't speak of stays.
    let file = s.write("off.obey", "SACONFIG DISABLED\n")?;
    let (code, answer) = agent.obey(&file, &[])?;
    ensure_eq!(code, 0, "{answer}");
    master.wait_for_value("1.1.1.0", |value| value.starts_with("No Such"))?;
    ensure_eq!(snmp(&agent)?, Value::Null, "disabled");
    let file = s.write("on.obey", "SACONFIG ENABLED\n")?;
    let (code, answer) = agent.obey(&file, &[])?;
    ensure_eq!(code, 0, "{answer}");
    master.wait_for_value("1.1.1.0", |value| value == "INTEGER: 1")
}

/// `SAC-06`: a password that is read, and then nowhere: not in what is shown, not in what is
/// remembered, and not in what a manager gets.
fn the_community_is_nowhere(s: &Sandbox) -> Result<()> {
    const SECRET: &str = "s3cr3tword";
    let master = Master::start(s)?;
    let profile = format!("{PROFILE}SACONFIG COMMUNITY {SECRET} AGENT 16100\n");
    let agent = start(s, &profile, &master)?;
    let verbs: [&[&str]; 6] = [
        &["status"],
        &["status", "--format", "json"],
        &["events"],
        &["ports", "--format", "json"],
        &["policy", "show"],
        &["policy", "diff"],
    ];
    for verb in verbs {
        let told = s.portreeve(verb)?;
        let told = told.stdout + &told.stderr;
        ensure!(!told.contains(SECRET), "{verb:?}: {told}");
    }
    ensure!(!agent.log().contains(SECRET), "{}", agent.log());
    let walked = master.walk("snmpwalk", "1")?;
    ensure!(!format!("{walked:?}").contains(SECRET), "{walked:?}");
    let mut files = 0;
    let mut folders = vec![s.state()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let content = fs::read(&path).unwrap_or_default();
            let found = content
                .windows(SECRET.len())
                .any(|part| part == SECRET.as_bytes());
            ensure!(!found, "{} has it", path.display());
        }
    }
    ensure!(files > 0, "nothing is remembered");
    Ok(())
}

/// smilint has nothing to say against the module; the modules it imports stand beside the
/// tests, because Debian has none of them.
fn the_module_is_sound(_: &Sandbox) -> Result<()> {
    let smilint = tools::program("smilint")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let module = root.join("../deploy/snmp/PORTREEVE-MIB.txt");
    let mut command = Command::new(smilint);
    command
        .env("SMIPATH", root.join("data/mibs"))
        .args(["-c", "/dev/null", "-s", "-l", "6"])
        .arg(&module);
    let said = command::finish(&mut command)?.ended_with(0)?;
    ensure_eq!(said.stdout + &said.stderr, "", "smilint");
    Ok(())
}
