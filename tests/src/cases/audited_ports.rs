//! Single ports in audit while the others are enforced: each is what it is said to be,
//! and no neighbour is more or less.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Caller, NOBODY, Sandbox, Servant, Want,
        draw::{Way, draw, kept_out, set_range},
        refusal,
        request::Kind,
        servant::SocketOption,
        tcp, udp,
        watch::Watch,
    },
    tests,
};

tests![
    neighbours_are_enforced,
    unreserved_ports_apart,
    a_restriction_behind_rules_in_audit,
    nothing_is_given,
    the_pool_keeps_them,
    from_audit_to_enforced_and_back,
    everybody_says_so,
    a_port_that_nothing_names_is_an_error,
    a_change_file_may_delete_what_is_in_audit,
];

const ANY4: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const PROFILE: &str = "\
PORTRANGE 5000 5 TCP APP
PORT 8080 TCP WEB
  514 UDP RESERVED
";

fn audit(ports: &str) -> String {
    format!("[audit]\nports = [{ports}]\n")
}

/// What becomes of a refusal.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Made,
    Told,
}

/// A bind that a rule refuses: how it ends, its event and its counter.
fn refused(
    s: &Agent<'_>,
    watch: &mut Watch<'_, '_>,
    caller: &Caller,
    want: &Want,
    (fate, reason, line): (Fate, &str, u64),
) -> Result<()> {
    let before = refusals(s, line)?;
    let said = || format!("{want}, {fate:?}");
    let result = Binder::attempt(caller, want)?;
    let mut event = json!({
        "hook": want.hook(), "reason": reason, "port": want.port,
        "protocol": want.protocol(), "uid": caller.uid(),
    });
    match line {
        0 => event["entry"] = Value::Null,
        line => event["entry/line"] = line.into(),
    }
    let counts = &[(reason, 1)][..];
    match fate {
        Fate::Made => {
            ensure_eq!(result, Err(refusal()), "{want}");
            event["verdict"] = "deny".into();
            event["errno"] = format!("{:?}", refusal()).into();
            watch.expect(counts, &[event]).with_context(said)?;
        }
        Fate::Told => {
            ensure_eq!(result, Ok(()), "{want}");
            event["verdict"] = "would-deny".into();
            event["errno"] = Value::Null;
            watch.expect_audited(counts, &[event]).with_context(said)?;
        }
    }
    let made = matches!(fate, Fate::Made) && line != 0;
    ensure_eq!(refusals(s, line)?, before + u64::from(made), "{}", said());
    Ok(())
}

/// How often the entries on this line have refused somebody.
fn refusals(agent: &Agent<'_>, line: u64) -> Result<u64> {
    let rows = agent.ports()?;
    let of_line = rows.iter().filter(|row| row["line"] == line);
    Ok(of_line.filter_map(|row| row["refusals"].as_u64()).sum())
}

fn reload(agent: &Agent<'_>, config: &str) -> Result<Value> {
    agent.sandbox.write("portreeve.toml", config)?;
    let (code, answer) = agent.reload(&[])?;
    ensure!(code == 0, "{answer}");
    Ok(answer)
}

/// Of one range some ports are in audit; RESERVED is too, for one protocol.
fn neighbours_are_enforced(s: &Sandbox) -> Result<()> {
    let config = audit("\"tcp/5001\", \"tcp/5003-5004\", \"udp/514\"");
    let agent = s.agent_with(PROFILE, &config)?.start()?;
    let mut watch = Watch::start(&agent)?;
    let wrong = s.caller("wrong");
    for (want, fate, reason, line) in [
        (tcp(5000), Fate::Made, "other-job", 1),
        (tcp(5001), Fate::Told, "other-job", 1),
        (tcp(5002), Fate::Made, "other-job", 1),
        (tcp(5003).on_any_v6(false), Fate::Told, "other-job", 1),
        (tcp(5004), Fate::Told, "other-job", 1),
        (tcp(8080), Fate::Made, "other-job", 2),
        (udp(514), Fate::Told, "blocked", 3),
    ] {
        refused(&agent, &mut watch, &wrong, &want, (fate, reason, line))?;
    }
    // What is permitted is counted by the same measure.
    let app = s.caller("app");
    ensure_eq!(Binder::attempt(&app, &tcp(5001))?, Ok(()), "the right one");
    watch.expect_audited(&[("permitted", 1)], &[])?;
    ensure_eq!(Binder::attempt(&app, &tcp(5002))?, Ok(()), "the right one");
    watch.expect(&[("permitted", 1)], &[])
}

/// UNRSV and RESTRICTLOWPORTS, of one protocol; entries stay as they are.
fn unreserved_ports_apart(s: &Sandbox) -> Result<()> {
    let profile = "\
TCPCONFIG RESTRICTLOWPORTS
UDPCONFIG RESTRICTLOWPORTS
PORT
  UNRSV TCP NAMED WHENBIND
  UNRSV UDP NAMED
  8080 TCP WEB
";
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "1")?;
    let agent = s
        .agent_with(profile, &audit("\"tcp/unreserved\""))?
        .start()?;
    let mut watch = Watch::start(&agent)?;
    let wrong = s.caller("wrong").user(NOBODY);
    for (want, fate, reason, line) in [
        (tcp(900), Fate::Told, "low-port", 0),
        (udp(900), Fate::Made, "low-port", 0),
        (tcp(9000), Fate::Told, "unreserved-other", 4),
        (udp(9000), Fate::Made, "unreserved-other", 5),
        (tcp(8080), Fate::Made, "other-job", 6),
    ] {
        refused(&agent, &mut watch, &wrong, &want, (fate, reason, line))?;
    }
    let missing = agent.status()?["missing"].to_string();
    ensure!(missing.contains("RESTRICTLOWPORTS: for tcp"), "{missing}");
    ensure!(!missing.contains("for udp"), "{missing}");
    Ok(())
}

/// `IBI-20`: both families of rules, each in its own mode.
fn a_restriction_behind_rules_in_audit(s: &Sandbox) -> Result<()> {
    let profile = "PORT UNRSV TCP NAMED WHENBIND\n";
    let restriction =
        "[[restriction]]\nports = \"8400-8401\"\nprotocol = \"tcp\"\nusers = [\"1042\"]\n";
    let config = |ports: &str| format!("{}{restriction}", audit(ports));
    let agent = s.agent_with(profile, &config("\"unreserved\""))?.start()?;
    let mut watch = Watch::start(&agent)?;
    let wrong = s.caller("wrong").user(NOBODY);
    let by_user = |fate| (fate, "other-user", 1);
    refused(&agent, &mut watch, &wrong, &tcp(8400), by_user(Fate::Made))?;
    reload(&agent, &config("\"unreserved\", \"tcp/8401\""))?;
    let mut watch = Watch::start(&agent)?;
    refused(&agent, &mut watch, &wrong, &tcp(8400), by_user(Fate::Made))?;
    let by_job = (Fate::Told, "unreserved-other", 1);
    refused(&agent, &mut watch, &wrong, &tcp(8401), by_job)?;
    reload(&agent, &config("\"tcp/8401\""))?;
    let given = s.config().display().to_string();
    let profile = s.profile().display().to_string();
    let listed = [
        "policy",
        "restrictions",
        "--config",
        &given,
        "--profile",
        &profile,
    ];
    let listed = s.portreeve(&listed)?.ended_with(0)?.stdout;
    ensure!(
        listed.contains("MODE") && listed.contains("partly"),
        "{listed}"
    );
    let mut watch = Watch::start(&agent)?;
    let by_job = (Fate::Made, "unreserved-other", 1);
    refused(&agent, &mut watch, &wrong, &tcp(8401), by_job)?;
    let named = s.caller("named").user(NOBODY);
    refused(&agent, &mut watch, &named, &tcp(8401), by_user(Fate::Told))
}

/// As with the whole policy in audit: no low port, no address, no option.
fn nothing_is_given(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 21 TCP FTPD\n 22 TCP FTPD\n 4321 TCP WEB BIND 127.0.0.9\n 4322 TCP WEB BIND 127.0.0.9\n";
    let config = format!(
        "[grant]\nrequire = \"any\"\n{}",
        audit("\"tcp/21\", \"tcp/4321\"")
    );
    let agent = s.agent_with(profile, &config)?.start()?;
    let ftpd = s.caller("ftpd").user(NOBODY);
    let refused = Err(nix::errno::Errno::EACCES);
    ensure_eq!(Binder::attempt(&ftpd, &tcp(21))?, refused, "by the host");
    let web = Servant::start(&s.caller("web"))?;
    for (port, address, shared) in [
        (4321, ANY4, true),
        (4322, Ipv4Addr::new(127, 0, 0, 9), false),
    ] {
        let socket = web.socket(Kind::Tcp, false)?;
        web.set(socket, SocketOption::ReusePort, 1)?;
        ensure_eq!(web.bind(socket, ANY4, port)?, Ok(()), "{port}");
        let bound = web.name(socket)?;
        ensure_eq!(bound, SocketAddr::from((address, port)), "{port}");
        ensure_eq!(web.is_shared(socket)?, shared, "{port}");
    }
    drop(web);
    ensure_eq!(agent.status()?["audited"]["permitted"], 2, "in audit");
    let mut watch = Watch::start(&agent)?;
    ensure_eq!(
        Binder::attempt(&s.caller("ftpd"), &tcp(21))?,
        Ok(()),
        "root"
    );
    watch.expect_audited(&[("permitted", 1)], &[])
}

/// A port in audit is handed out as ever, without a word; one beside it is not.
fn the_pool_keeps_them(s: &Sandbox) -> Result<()> {
    set_range(40000, 40009)?;
    let profile = "PORTRANGE\n 40000 4 TCP RESERVED\n 40002 4 UDP RESERVED\n";
    let pool = "[ephemeral]\nfloor = 1\n";
    let config = format!("{pool}{}", audit("\"tcp/40000-40003\""));
    let agent = s.agent_with(profile, &config)?.start()?;
    ensure_eq!(kept_out()?, "40002-40005", "UDP's only");
    let mut watch = Watch::start(&agent)?;
    let drawn = draw(&s.caller("any"), Way::BindTcp, false)?;
    ensure_eq!(
        drawn.ports,
        [40000, 40001, 40006, 40007, 40008, 40009],
        "drawn"
    );
    // Nobody asked for them.
    watch.expect(&[], &[])?;
    reload(&agent, pool)?;
    ensure_eq!(kept_out()?, "40000-40005", "enforced");
    Ok(())
}

/// A reload changes one port, says so, and what each has counted stays apart.
fn from_audit_to_enforced_and_back(s: &Sandbox) -> Result<()> {
    let both = audit("\"tcp/5000-5004\", \"tcp/8080\"");
    let one = audit("\"tcp/5000-5002\"");
    let agent = s.agent_with(PROFILE, &both)?.start()?;
    let wrong = s.caller("wrong");
    let check = |ports: &[(u16, Fate, u64)]| -> Result<()> {
        let mut watch = Watch::start(&agent)?;
        for (port, fate, line) in ports {
            let expected = (*fate, "other-job", *line);
            refused(&agent, &mut watch, &wrong, &tcp(*port), expected)?;
        }
        Ok(())
    };
    check(&[
        (5000, Fate::Told, 1),
        (5004, Fate::Told, 1),
        (8080, Fate::Told, 2),
    ])?;
    let answer = reload(&agent, &one)?;
    let change = |line: u64, from: &str, to: &str, text: &str| {
        let file = s.profile().display().to_string();
        json!({"file": file, "line": line, "text": text, "from": from, "to": to})
    };
    let (range, port) = ("5000 5 TCP APP", "8080 TCP WEB");
    let expected = json!([
        change(1, "audit", "audit of 5000-5002", range),
        change(2, "audit", "enforce", port),
    ]);
    ensure_eq!(answer["diff"]["audit"], expected, "{answer}");
    ensure_eq!(answer["diff"]["unchanged"], 1, "{answer}");
    check(&[
        (5000, Fate::Told, 1),
        (5004, Fate::Made, 1),
        (8080, Fate::Made, 2),
    ])?;
    reload(&agent, "")?;
    check(&[(5000, Fate::Made, 1), (8080, Fate::Made, 2)])?;
    reload(&agent, &both)?;
    check(&[(5000, Fate::Told, 1), (8080, Fate::Told, 2)])?;
    let status = agent.status()?;
    ensure_eq!(status["counters"]["other-job"], 4, "refused in all");
    ensure_eq!(status["audited"]["other-job"], 6, "told in all");
    Ok(())
}

/// `status`, with an agent and without, `ports`, `check`, `explain`, `policy diff`.
fn everybody_says_so(s: &Sandbox) -> Result<()> {
    let config = audit("\"tcp/5001-5002\", \"udp/514\"");
    let agent = s.agent_with(PROFILE, &config)?.start()?;
    ensure!(
        agent.ready().contains("3 entries (2 in audit)"),
        "{}",
        agent.ready()
    );
    let status = agent.status()?;
    ensure_eq!(status["mode"], "enforce", "{status}");
    ensure_eq!(status["profile"]["audited"], 2, "{status}");
    let said = s.portreeve(&["status"])?.ended_with(0)?;
    ensure!(
        said.stdout.contains("but for 2 entries that are in audit"),
        "{said:?}"
    );

    let modes = |rows: &[Value]| -> Vec<Value> {
        rows.iter()
            .map(|row| json!([row["line"], row["mode"], row["audited"]]))
            .collect()
    };
    let mut expected = vec![
        json!([1, "partly", "5001-5002"]),
        json!([2, "enforce", null]),
        json!([3, "audit", null]),
    ];
    ensure_eq!(modes(&agent.ports()?), expected, "`ports`");
    let said = s.portreeve(&["ports"])?.ended_with(0)?.stdout;
    let of = |text: &str| said.lines().find(|line| line.contains(text)).unwrap_or("");
    ensure!(of("APP").contains("audit 5001-5002"), "{said}");
    ensure!(!of("WEB").contains("audit"), "{said}");
    for (port, in_audit) in [("tcp/5001", true), ("tcp/5003", false), ("udp/514", true)] {
        let said = s.portreeve(&["ports", port])?.ended_with(0)?.stdout;
        ensure_eq!(said.contains("in audit"), in_audit, "{said}");
        let explained = s.portreeve(&["explain", port, "--comm", "x", "--format", "json"])?;
        let answer: Value = serde_json::from_str(&explained.ended_with(1)?.stdout)?;
        ensure_eq!(answer["verdict"], "deny", "{answer}");
        ensure_eq!(answer["audit"], in_audit, "{answer}");
        ensure_eq!(answer["errno"].is_null(), in_audit, "{answer}");
    }

    let profile = s.profile().display().to_string();
    let given = s.config().display().to_string();
    let check = [
        "check",
        &profile,
        "--config",
        &given,
        "--other-host",
        "--format",
        "json",
    ];
    let checked: Value = serde_json::from_str(&s.portreeve(&check)?.ended_with(0)?.stdout)?;
    let rows = checked["entries"].as_array().context("no entries")?;
    expected.sort_by_key(|row| row[0].as_u64());
    ensure_eq!(modes(rows), expected, "`check`");

    agent.kill()?;
    let held = s
        .portreeve(&["status", "--format", "json"])?
        .ended_with(2)?;
    let status: Value = serde_json::from_str(&held.stdout)?;
    ensure_eq!(
        status["profile"]["audited"],
        2,
        "without an agent: {status}"
    );
    Ok(())
}

/// What was to be watched only is perhaps another port, which would be enforced: a
/// reload is refused with the place, and nothing changes.
fn a_port_that_nothing_names_is_an_error(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with(PROFILE, &audit("\"tcp/8080\""))?.start()?;
    s.write("portreeve.toml", audit("\"tcp/8080\",\n\"tcp/8008\""))?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 1, "{answer}");
    let said = &answer["diagnostics"][0];
    ensure_eq!(said["code"], "PRV412", "{answer}");
    ensure_eq!(
        (&said["line"], &said["column"]),
        (&json!(3), &json!(1)),
        "{answer}"
    );
    let mut watch = Watch::start(&agent)?;
    let expected = (Fate::Told, "other-job", 2);
    refused(&agent, &mut watch, &s.caller("wrong"), &tcp(8080), expected)
}

/// The config need not follow every change file.
fn a_change_file_may_delete_what_is_in_audit(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with(PROFILE, &audit("\"tcp/8080\""))?.start()?;
    let file = s.write("night.tcpip", "DELETE PORT 8080 TCP WEB\n")?;
    let (code, answer) = agent.obey(&file, &[])?;
    ensure_eq!(code, 0, "{answer}");
    let mut watch = Watch::start(&agent)?;
    let result = Binder::attempt(&s.caller("wrong"), &tcp(8080))?;
    ensure_eq!(result, Ok(()), "nobody's");
    watch.expect_audited(&[], &[])?;
    ensure_eq!(agent.status()?["profile"]["audited"], 0, "entries in audit");
    Ok(())
}
