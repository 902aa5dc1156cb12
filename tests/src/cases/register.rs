//! The register of reserved ports, as `ports` shows it.

use std::net::Ipv6Addr;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, NOBODY, Need, Sandbox, Servant, Settings,
        needs::running,
        refusal,
        request::Kind,
        servant::SocketOption::{ReusePort, V6Only},
        tcp, udp,
    },
    tests,
};

tests![
    every_entry_has_its_row,
    only_the_ports_asked_for,
    rows_for_people,
    who_has_a_port,
    sockets_that_only_are_bound,
    a_port_that_several_share,
    one_socket_of_several_processes,
    mptcp_is_tcp,
    the_ports_of_a_range,
    units_and_containers,
    who_was_refused,
    one_port_for_people,
    restrictions_are_listed,
];

const PROFILE: &str = "\
PORT
  21 TCP FTPD1 NOAUTOLOG ; control
  20 TCP *
  53 UDP NAMED1
  1414 TCP MQ* ; queues
  1414 TCP MQ1
PORTRANGE
  4000 100 TCP OMVS ; applications
  2000 10 UDP RESERVED
";

fn row(s: &Sandbox, line: u32, protocol: &str, ports: (u16, u16), rest: [&str; 3]) -> Value {
    let [jobname, flags, description] = rest;
    let description = Some(description).filter(|text| !text.is_empty());
    let closeness = match jobname {
        "*" => "*, after everything else",
        "OMVS" => "OMVS, after all names",
        "RESERVED" => "alone on its ports",
        name if name.contains('*') => "a pattern; more literal characters come first",
        _ => "an exact name",
    };
    let order = if jobname == "MQ*" { 2 } else { 1 };
    json!({
        "port": ports.0, "protocol": protocol, "jobname": jobname, "flags": flags,
        "mode": "enforce", "audited": null,
        "first": ports.0, "last": ports.1, "address": null, "saf": null,
        "description": description, "line": line, "file": s.profile(),
        "order": order, "closeness": closeness,
        "state": if jobname == "RESERVED" { "blocked" } else { "closed" },
        "expected": null, "owner": null, "purpose": description,
        "holder": null, "holders": [], "refusals": 0, "refused": [], "changes": [],
    })
}

/// `RPT-01`, `RPT-03`, `RPT-05`: by protocol and port, a range in one row, several
/// jobs of a port in the order in which they are tried.
fn every_entry_has_its_row(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let one = |port| (port, port);
    let expected = [
        row(s, 3, "tcp", one(20), ["*", "AD", ""]),
        row(s, 2, "tcp", one(21), ["FTPD1", "D", "control"]),
        row(s, 6, "tcp", one(1414), ["MQ1", "AD", ""]),
        row(s, 5, "tcp", one(1414), ["MQ*", "AD", "queues"]),
        row(s, 8, "tcp", (4000, 4099), ["OMVS", "ADR", "applications"]),
        row(s, 4, "udp", one(53), ["NAMED1", "AD", ""]),
        row(s, 9, "udp", (2000, 2009), ["RESERVED", "R", ""]),
    ];
    let rows = agent.ports()?;
    for (found, expected) in rows.iter().zip(&expected) {
        ensure_eq!(found, expected, "row");
    }
    ensure_eq!(rows.len(), expected.len(), "rows");
    Ok(())
}

/// `RPT-06`: up to six ports; exit status 1 if none of them is reserved.
fn only_the_ports_asked_for(s: &Sandbox) -> Result<()> {
    let _agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let lines = |ports: &[&str], code: i32| -> Result<Vec<u64>> {
        let arguments = [&["ports", "--format", "json"], ports].concat();
        let rows = s.portreeve(&arguments)?.ended_with(code)?.json()?;
        let rows = rows.as_array().cloned().unwrap_or_default();
        Ok(rows.iter().filter_map(|row| row["line"].as_u64()).collect())
    };
    ensure_eq!(lines(&["tcp/21"], 0)?, [2], "one port");
    ensure_eq!(lines(&["tcp/4050"], 0)?, [8], "inside a range");
    ensure_eq!(lines(&["TCP/1414", "udp/2009"], 0)?, [6, 5, 9], "two ports");
    ensure_eq!(
        lines(&["udp/21", "tcp/22"], 1)?,
        [0u64; 0],
        "no reserved ones"
    );
    let six = ["tcp/1", "tcp/2", "tcp/3", "tcp/4", "tcp/5", "tcp/21"];
    ensure_eq!(lines(&six, 0)?, [2], "six ports");
    let seven = [&["ports", "tcp/6"], &six[..]].concat();
    s.portreeve(&seven)?.ended_with(2).map(drop)
}

/// `RPT-08`: five digits, and a header.
fn rows_for_people(s: &Sandbox) -> Result<()> {
    let _agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let text = s.portreeve(&["ports"])?.ended_with(0)?.stdout;
    ensure_eq!(text.lines().count(), 8, "{text}");
    for words in ["PORT", "00021", "04000-04099", "control", "RESERVED"] {
        ensure!(text.contains(words), "no {words:?} in\n{text}");
    }
    Ok(())
}

const HELD: &str = "\
PORT
  2121 TCP FTPD1
  2121 UDP FTPD1
  2323 TCP RESERVED
  8080 TCP WEB SHAREPORT
  8080 UDP WEB
PORTRANGE
  4000 100 TCP APPL*
";

/// Whether the kernel lists TCP sockets that are bound and nothing more.
fn lists_bound() -> Result<bool> {
    Ok(running()?.1 >= (6, 8))
}

fn row_of(agent: &Agent<'_>, protocol: &str, port: u16) -> Result<Value> {
    let rows = agent.ports()?;
    let is_it = |row: &&Value| row["protocol"] == protocol && row["port"] == port;
    let row = rows.iter().find(is_it).context("no such row")?;
    Ok(row.clone())
}

fn has_state(agent: &Agent<'_>, protocol: &str, port: u16, state: &str) -> Result<Value> {
    let row = row_of(agent, protocol, port)?;
    ensure_eq!(row["state"], state, "{protocol}/{port}: {row}");
    Ok(row)
}

/// `CLS-01`, `CLS-02`, `CLS-06`, `CLS-09`: open with its job, closed when that has ended;
/// contradicted by one that is older than the policy, of either protocol and family.
fn who_has_a_port(s: &Sandbox) -> Result<()> {
    s.set_policy(HELD, Settings::DEFAULT)?;
    let older = Binder::start(
        &s.caller("squatter").user(NOBODY),
        &[
            udp(2121),
            tcp(2323).listening(),
            tcp(4000).on(Ipv6Addr::LOCALHOST).listening(),
        ],
    )?;
    ensure_eq!(older.results, [Ok(()); 3], "before any policy");
    let agent = s.agent_again()?.start()?;
    has_state(&agent, "tcp", 2121, "closed")?;
    let right = Binder::start(
        &s.caller("ftpd1"),
        &[tcp(2121).on_any_v6(false).listening()],
    )?;
    // When it was bound is told by the kernel, a moment later.
    has_state(&agent, "tcp", 2121, "open")?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    let row = has_state(&agent, "tcp", 2121, "open")?;
    let holder = &row["holder"];
    let mut expected = json!({
        "port": 2121, "address": "::", "listens": true, "rightful": true, "line": 2,
        "pid": right.pid, "comm": "ftpd1", "job": "FTPD1", "unit": null,
        "container": null, "uid": 0, "shared_with": [], "orphan": null,
    });
    expected["since"] = holder["since"].clone();
    expected["bound"] = holder["bound"].clone();
    ensure_eq!(*holder, expected, "holder");
    let since = holder["since"].as_str().context("since")?;
    ensure!(since.ends_with('Z') && since.len() == 20, "{since}");
    let bound = holder["bound"].as_str().context("bound")?;
    ensure!(bound.ends_with('Z') && bound.len() == 27, "{bound}");
    let change = &row["changes"][0];
    ensure_eq!(change["to"], "open", "{row}");
    ensure_eq!(change["pid"], right.pid, "{row}");
    ensure_eq!(row["holders"], json!([expected]), "all of them");
    drop(right);
    has_state(&agent, "tcp", 2121, "closed")?;

    for (protocol, port, line) in [("udp", 2121, 3), ("tcp", 2323, 4), ("tcp", 4000, 8)] {
        let row = has_state(&agent, protocol, port, "contradicted")?;
        let holder = &row["holder"];
        ensure_eq!(holder["rightful"], false, "{row}");
        ensure_eq!(holder["line"], line, "{row}");
        ensure_eq!(holder["pid"], older.pid, "{row}");
        // Nobody saw it.
        ensure_eq!(holder["bound"], Value::Null, "{row}");
        ensure_eq!(row["changes"], json!([]), "{row}");
        ensure_eq!(holder["job"], "SQUATTER", "{row}");
        ensure_eq!(holder["uid"], NOBODY, "{row}");
    }
    drop(older);
    has_state(&agent, "udp", 2121, "closed")?;
    has_state(&agent, "tcp", 2323, "blocked")?;
    has_state(&agent, "tcp", 4000, "closed")?;
    Ok(())
}

/// `CLS-03`: a socket that doesn't listen opens nothing, nor does one that talks to one
/// peer only; who may not have the port contradicts the policy all the same.
fn sockets_that_only_are_bound(s: &Sandbox) -> Result<()> {
    s.set_policy(HELD, Settings::DEFAULT)?;
    let _older = Binder::start(&s.caller("squatter"), &[tcp(4001)])?;
    let agent = s.agent_again()?.start()?;
    let web = Servant::start(&s.caller("web"))?;
    let udp = web.socket(Kind::Udp, false)?;
    web.bind(udp, [127, 0, 0, 1], 8080)??;
    has_state(&agent, "udp", 8080, "open")?;
    web.connect(udp, [127, 0, 0, 1], 9)??;
    let row = has_state(&agent, "udp", 8080, "bound")?;
    ensure_eq!(row["holder"]["listens"], false, "{row}");

    let tcp = web.socket(Kind::Tcp, false)?;
    web.bind(tcp, [127, 0, 0, 1], 8080)??;
    if lists_bound()? {
        let row = has_state(&agent, "tcp", 8080, "bound")?;
        ensure_eq!(row["holder"]["pid"], web.pid, "{row}");
        ensure_eq!(row["holder"]["listens"], false, "{row}");
        has_state(&agent, "tcp", 4000, "contradicted")?;
    } else {
        has_state(&agent, "tcp", 8080, "closed")?;
    }
    web.listen(tcp)??;
    has_state(&agent, "tcp", 8080, "open")?;
    web.close(tcp)?;
    has_state(&agent, "tcp", 8080, "closed").map(drop)
}

/// Each socket of a shared port has a holder.
fn a_port_that_several_share(s: &Sandbox) -> Result<()> {
    let agent = s.agent(HELD, Settings::DEFAULT)?.start()?;
    let listening = || -> Result<Servant> {
        let web = Servant::start(&s.caller("web"))?;
        let socket = web.socket(Kind::Tcp, false)?;
        web.set(socket, ReusePort, 1)?;
        web.bind(socket, [127, 0, 0, 1], 8080)??;
        web.listen(socket)??;
        Ok(web)
    };
    let (one, two) = (listening()?, listening()?);
    // Another family is another socket of the same process.
    let socket = one.socket(Kind::Tcp, true)?;
    one.set(socket, V6Only, 1)?;
    one.bind(socket, Ipv6Addr::LOCALHOST, 8080)??;
    one.listen(socket)??;
    let row = has_state(&agent, "tcp", 8080, "open")?;
    let holders = row["holders"].as_array().context("holders")?;
    let mut pids: Vec<&Value> = holders.iter().map(|holder| &holder["pid"]).collect();
    pids.sort_by_key(|pid| pid.as_u64());
    let mut expected = [json!(one.pid), json!(one.pid), json!(two.pid)];
    expected.sort_by_key(|pid| pid.as_u64());
    ensure_eq!(pids, expected.iter().collect::<Vec<_>>(), "{row}");
    drop(two);
    let row = has_state(&agent, "tcp", 8080, "open")?;
    ensure_eq!(row["holders"].as_array().map(Vec::len), Some(2), "{row}");
    Ok(())
}

/// A socket is one, whoever has it open: the one that may have it speaks for it, the
/// others are named.
fn one_socket_of_several_processes(s: &Sandbox) -> Result<()> {
    let agent = s.agent(HELD, Settings::DEFAULT)?.start()?;
    let parent = Servant::start(&s.caller("web"))?;
    let socket = parent.socket(Kind::Tcp, false)?;
    parent.bind(socket, [127, 0, 0, 1], 8080)??;
    parent.listen(socket)??;
    let other = Servant::start(&s.caller("worker"))?;
    other.take(&parent, socket)?;
    let row = has_state(&agent, "tcp", 8080, "open")?;
    ensure_eq!(row["holders"].as_array().map(Vec::len), Some(1), "{row}");
    ensure_eq!(row["holder"]["pid"], parent.pid, "{row}");
    ensure_eq!(row["holder"]["shared_with"], json!([other.pid]), "{row}");
    drop(parent);
    let row = has_state(&agent, "tcp", 8080, "contradicted")?;
    ensure_eq!(row["holder"]["pid"], other.pid, "{row}");
    ensure_eq!(row["holder"]["shared_with"], json!([]), "{row}");
    Ok(())
}

fn mptcp_is_tcp(s: &Sandbox) -> Result<()> {
    Need::Mptcp.check()?;
    let agent = s.agent(HELD, Settings::DEFAULT)?.start()?;
    let web = Binder::start(&s.caller("web"), &[tcp(8080).kind(Kind::Mptcp).listening()])?;
    ensure_eq!(web.results, [Ok(())], "MPTCP");
    let row = has_state(&agent, "tcp", 8080, "open")?;
    ensure_eq!(row["holders"].as_array().map(Vec::len), Some(1), "{row}");
    ensure_eq!(row["holder"]["pid"], web.pid, "{row}");
    Ok(())
}

/// One row, every holder; the worst of its ports is what the range is.
fn the_ports_of_a_range(s: &Sandbox) -> Result<()> {
    s.set_policy(HELD, Settings::DEFAULT)?;
    let wrong = Binder::start(&s.caller("wrong"), &[tcp(4050).listening()])?;
    let agent = s.agent_again()?.start()?;
    let wants = [tcp(4099).listening(), tcp(4000).listening()];
    let right = Binder::start(&s.caller("appl1"), &wants)?;
    let row = has_state(&agent, "tcp", 4000, "contradicted")?;
    let holders = row["holders"].as_array().context("holders")?;
    let found: Vec<(&Value, &Value)> = holders
        .iter()
        .map(|holder| (&holder["port"], &holder["pid"]))
        .collect();
    let (right_pid, wrong_pid) = (json!(right.pid), json!(wrong.pid));
    let expected = [
        (&json!(4000), &right_pid),
        (&json!(4050), &wrong_pid),
        (&json!(4099), &right_pid),
    ];
    ensure_eq!(found, expected, "{row}");
    ensure_eq!(row["holder"], holders[0], "the first one");
    let verbose = s.portreeve(&["ports", "--verbose"])?.ended_with(0)?.stdout;
    for words in [
        format!("04050 wrong (pid {})", wrong.pid),
        format!("04099 appl1 (pid {})", right.pid),
    ] {
        ensure!(verbose.contains(&words), "no {words:?} in\n{verbose}");
    }
    drop(wrong);
    has_state(&agent, "tcp", 4000, "open").map(drop)
}

fn units_and_containers(s: &Sandbox) -> Result<()> {
    let agent = s.agent(HELD, Settings::DEFAULT)?.start()?;
    let id = "0123456789abcdef".repeat(4);
    let container = format!("docker-{id}.scope");
    for (cgroup, unit, container) in [
        ("web.service/workers", json!("web.service"), Value::Null),
        (&container, json!(container), json!(id)),
    ] {
        let below = s.cgroup_below(cgroup)?;
        let wants = [tcp(8080).listening()];
        let _web = Binder::start(&s.caller("web").cgroup(below), &wants)?;
        let row = has_state(&agent, "tcp", 8080, "open")?;
        ensure_eq!(row["holder"]["unit"], unit, "{row}");
        ensure_eq!(row["holder"]["container"], container, "{row}");
    }
    Ok(())
}

/// Who was refused a port, how often and when, the last one first; audit mode's too.
fn who_was_refused(s: &Sandbox) -> Result<()> {
    let agent = s.agent(HELD, Settings::DEFAULT)?.start()?;
    let attempts = [("wrong", 4001), ("wrong", 4002), ("other", 4001)];
    for (name, port) in attempts {
        let result = Binder::attempt(&s.caller(name), &tcp(port))?;
        ensure_eq!(result, Err(refusal()), "{name} on {port}");
    }
    let row = row_of(&agent, "tcp", 4000)?;
    ensure_eq!(row["refusals"], 3, "{row}");
    let refused = row["refused"].as_array().context("refused")?;
    let told: Vec<Value> = refused
        .iter()
        .map(|told| json!([told["comm"], told["job"], told["port"], told["count"]]))
        .collect();
    let expected = [
        json!(["other", "OTHER", 4001, 1]),
        json!(["wrong", "WRONG", 4002, 2]),
    ];
    ensure_eq!(told, expected, "{row}");
    ensure_eq!(refused[0]["verdict"], "deny", "{row}");
    ensure_eq!(refused[0]["reason"], "other-job", "{row}");
    ensure_eq!(refused[0]["cgroup"], s.cgroup_name(), "{row}");
    let events = agent.events()?;
    let last = events.last().context("no event")?;
    ensure_eq!(refused[0]["time"], last["time"], "{row}");
    ensure_eq!(row_of(&agent, "tcp", 8080)?["refused"], json!([]), "others");

    s.set_policy(HELD, Settings::DEFAULT.audit())?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    Binder::start(&s.caller("wrong"), &[tcp(4003)])?;
    let row = row_of(&agent, "tcp", 4000)?;
    ensure_eq!(row["refused"][0]["verdict"], "would-deny", "{row}");
    ensure_eq!(row["refused"][0]["port"], 4003, "{row}");
    Ok(())
}

/// `CLS-07`: one line for each fact.
fn one_port_for_people(s: &Sandbox) -> Result<()> {
    s.set_policy(HELD, Settings::DEFAULT)?;
    let wrong = Binder::start(&s.caller("squatter"), &[tcp(2323).listening()])?;
    let agent = s.agent_again()?.start()?;
    let web = Binder::start(&s.caller("web"), &[tcp(8080).listening()])?;
    for _ in 0..2 {
        let result = Binder::attempt(&s.caller("wrong"), &tcp(8080).on([127, 0, 0, 2]))?;
        ensure_eq!(result, Err(refusal()), "wrong");
    }
    let says = |port: &str, code: i32, lines: &[&str]| -> Result<()> {
        let text = s.portreeve(&["ports", port])?.ended_with(code)?.stdout;
        for line in lines {
            let is_there = text.lines().any(|found| found.starts_with(line));
            ensure!(is_there, "no line {line:?} in\n{text}");
        }
        Ok(())
    };
    let pid = web.pid;
    says(
        "tcp/8080",
        0,
        &[
            "tcp/8080 is open",
            "entry 1: WEB (an exact name), ",
            &format!("holder: web (pid {pid}): listens on 127.0.0.1, job WEB, uid 0, started 2"),
            "the entry in line 5 has refused 2 times since it is in force",
            "refused: wrong (job WRONG, uid 0, cgroup /",
            "sockets of other network namespaces",
        ],
    )?;
    let pid = wrong.pid;
    says(
        "tcp/2323",
        0,
        &[
            "tcp/2323 is contradicted: ",
            &format!("holder: squatter (pid {pid}): listens on"),
        ],
    )?;
    says(
        "tcp/4005",
        0,
        &[
            "tcp/4005 is closed: ",
            "entry 1: APPL* 4000-4099 (a pattern",
        ],
    )?;
    says("udp/4005", 1, &["udp/4005 is reserved by no entry"])?;
    drop(wrong);
    says("tcp/2323", 0, &["tcp/2323 is blocked: "])?;
    drop(agent);
    says("tcp/2323", 2, &[])
}

/// `IBI-15`: lower and upper port, protocol and user, one row each, from the config
/// and from the commands it names.
fn restrictions_are_listed(s: &Sandbox) -> Result<()> {
    let profile = s.write("profile.tcpip", "")?.display().to_string();
    let config = "\
[ibmi]
commands = \"ports.clp\"
[[restriction]]
ports = \"8400-8410\"
protocol = \"tcp\"
users = [\"4000002\", \"0\"]
";
    s.write(
        "ports.clp",
        "ADDTCPPORT PORT(161) PROTOCOL(*UDP) USRPRF(0)\n",
    )?;
    let config = s.write("portreeve.toml", config)?.display().to_string();
    let list = |format: &str| {
        let places = [
            "--profile",
            &profile,
            "--config",
            &config,
            "--format",
            format,
        ];
        let done = s.portreeve(&[&["policy", "restrictions"], &places[..]].concat())?;
        done.ended_with(0)
    };
    let rows = list("json")?.json()?;
    let in_config = |uid: u32, user: &str| {
        json!({
            "lower": 8400, "upper": 8410, "protocol": "tcp", "user": user, "uid": uid,
            "mode": "enforce",
            "file": config, "line": 3,
        })
    };
    let by_command = json!({
        "lower": 161, "upper": null, "protocol": "udp", "user": "root", "uid": 0,
            "mode": "enforce",
        "file": s.dir.join("ports.clp"), "line": 1,
    });
    let expected = json!([
        in_config(0, "root"),
        in_config(4_000_002, "4000002"),
        by_command
    ]);
    ensure_eq!(rows, expected, "rows");
    let text = list("text")?.stdout;
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let shown = [
        vec!["LOWER", "PORT", "UPPER", "PORT", "PROTOCOL", "USER"],
        vec!["8400", "8410", "*TCP", "root"],
        vec!["8400", "8410", "*TCP", "4000002"],
        vec!["161", "*ONLY", "*UDP", "root"],
    ];
    ensure_eq!(lines, shown, "{text}");
    s.write("portreeve.toml", "")?;
    ensure!(
        list("text")?.stdout.starts_with("no port is restricted"),
        "none"
    );
    Ok(())
}
