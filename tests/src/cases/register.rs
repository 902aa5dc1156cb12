//! The register of reserved ports, as `ports` shows it.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{Sandbox, Settings},
    tests,
};

tests![
    every_entry_has_its_row,
    only_the_ports_asked_for,
    rows_for_people,
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
        "first": ports.0, "last": ports.1, "address": null, "saf": null,
        "description": description, "line": line, "file": s.profile(),
        "order": order, "closeness": closeness,
        "state": null, "holder": null, "refusals": 0,
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
            "file": config, "line": 3,
        })
    };
    let by_command = json!({
        "lower": 161, "upper": null, "protocol": "udp", "user": "root", "uid": 0,
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
