//! What a client sees of a port, and why.

use std::{
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::sys::socket::{Backlog, listen};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Binder, Sandbox, Servant, Settings,
        links::{NoWay, add_address, add_route},
        needs::running,
        request::Kind,
        tcp,
    },
    tests,
};

tests![
    a_listener_and_none,
    bound_but_not_listening,
    a_listener_that_accepts_too_slowly,
    addresses_are_told_apart,
    no_way_leads_there,
    udp_is_not_probed,
];

tests![WITH_AGENT: the_register_says_whose_it_is];

const PORT: u16 = 8080;

fn probe(s: &Sandbox, arguments: &[&str], code: i32) -> Result<Value> {
    let arguments = [&["probe", "--format", "json"], arguments].concat();
    s.portreeve(&arguments)?.ended_with(code)?.json()
}

fn saw(report: &Value, seen: &str, errno: Option<&str>, local: &str) -> Result<()> {
    ensure_eq!(report["seen"], seen, "{report}");
    ensure_eq!(report["errno"], json!(errno), "{report}");
    ensure_eq!(report["local"], local, "{report}");
    ensure!(report["after_ms"].is_number(), "{report}");
    Ok(())
}

/// `CLS-04`, without an agent.
fn a_listener_and_none(s: &Sandbox) -> Result<()> {
    let server = Servant::start(&s.caller("web"))?;
    let socket = server.serve(Kind::Tcp, [127, 0, 0, 1], PORT)??;
    let report = probe(s, &["tcp/8080"], 0)?;
    saw(&report, "accepted", None, "listens")?;
    ensure_eq!(report["register"], Value::Null, "{report}");
    ensure_eq!(report["address"], "127.0.0.1", "{report}");
    let text = s.portreeve(&["probe", "tcp/8080"])?.ended_with(0)?.stdout;
    for words in [
        "tcp/8080 on 127.0.0.1, from this host: accepted after ",
        "it is open",
        "no agent answers, ",
    ] {
        ensure!(text.contains(words), "no {words:?} in\n{text}");
    }
    server.close(socket)?;
    let report = probe(s, &["tcp/8080"], 1)?;
    saw(&report, "refused", Some("ECONNREFUSED"), "nothing")?;
    ensure_eq!(report["queue"], Value::Null, "{report}");
    let why = report["why"].as_str().unwrap_or_default();
    ensure!(why.contains("nobody listens"), "{why}");
    Ok(())
}

/// `CLS-03`: to a client it is closed.
fn bound_but_not_listening(s: &Sandbox) -> Result<()> {
    let _server = Binder::start(&s.caller("web"), &[tcp(PORT)])?;
    let local = match running()?.1 >= (6, 8) {
        true => "bound",
        false => "nothing",
    };
    let report = probe(s, &["tcp/8080"], 1)?;
    saw(&report, "refused", Some("ECONNREFUSED"), local)
}

/// A full queue looks like a filter; only the listener's queue tells them apart.
fn a_listener_that_accepts_too_slowly(s: &Sandbox) -> Result<()> {
    let server = Servant::start(&s.caller("web"))?;
    let socket = server.serve(Kind::Tcp, [127, 0, 0, 1], PORT)??;
    // There is always room for one more than that.
    listen(&server.copy(socket)?, Backlog::new(0)?)?;
    let first = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    let began = Instant::now();
    let report = probe(s, &["tcp/8080", "--timeout", "0.3"], 1)?;
    ensure!(began.elapsed() >= Duration::from_millis(300), "{report}");
    saw(&report, "silence", None, "full")?;
    ensure_eq!(report["queue"], 1, "{report}");
    ensure_eq!(report["limit"], 0, "{report}");
    let why = report["why"].as_str().unwrap_or_default();
    ensure!(why.contains("overloaded"), "{why}");
    // With room again it answers, and the probe itself fills it.
    server.accept(socket)??;
    let report = probe(s, &["tcp/8080"], 0)?;
    ensure_eq!(report["seen"], "accepted", "{report}");
    drop(first);
    Ok(())
}

/// A listener of another address is not there for this client.
fn addresses_are_told_apart(s: &Sandbox) -> Result<()> {
    add_address([192, 0, 2, 7])?;
    let server = Servant::start(&s.caller("web"))?;
    let socket = server.serve(Kind::Tcp, [192, 0, 2, 7], PORT)??;
    let report = probe(s, &["tcp/8080"], 1)?;
    saw(&report, "refused", Some("ECONNREFUSED"), "nothing")?;
    let report = probe(s, &["tcp/8080", "--address", "192.0.2.7"], 0)?;
    saw(&report, "accepted", None, "listens")?;
    server.close(socket)?;
    server.serve(Kind::Tcp, std::net::Ipv6Addr::UNSPECIFIED, PORT)??;
    for address in ["127.0.0.1", "192.0.2.7", "::1"] {
        let report = probe(s, &["tcp/8080", "--address", address], 0)?;
        saw(&report, "accepted", None, "listens")?;
    }
    Ok(())
}

fn no_way_leads_there(s: &Sandbox) -> Result<()> {
    let address = |last| Ipv4Addr::new(198, 51, 100, last);
    add_route(address(1), NoWay::Blackhole)?;
    add_route(address(2), NoWay::Unreachable)?;
    add_route(address(3), NoWay::Prohibit)?;
    for (address, seen, errno) in [
        ("198.51.100.1", "blackhole", "EINVAL"),
        ("198.51.100.2", "unreachable", "EHOSTUNREACH"),
        ("198.51.100.3", "prohibited", "EACCES"),
        ("198.51.100.4", "unreachable", "ENETUNREACH"),
    ] {
        let report = probe(s, &["tcp/8080", "--address", address], 1)?;
        saw(&report, seen, Some(errno), "elsewhere")?;
    }
    Ok(())
}

fn udp_is_not_probed(s: &Sandbox) -> Result<()> {
    let refused = s.portreeve(&["probe", "udp/53"])?.ended_with(2)?;
    ensure!(refused.stderr.contains("UDP is not probed"), "{refused:?}");
    for wrong in [
        &["probe", "tcp/0"][..],
        &["probe", "tcp/80", "--timeout", "0"],
        &["probe", "tcp/80", "--address", "localhost"],
        &["probe"],
    ] {
        s.portreeve(wrong)?.ended_with(2)?;
    }
    Ok(())
}

/// An agent that answers says whose the port is.
fn the_register_says_whose_it_is(s: &Sandbox) -> Result<()> {
    let expect = "[[expect]]\nports = 'tcp/8080'\nstate = 'open'\n";
    let profile = "PORT 8080 TCP WEB*\n 8080 TCP WEB1\nPORTRANGE 4000 10 TCP APP\n";
    s.set_policy_with(profile, Settings::DEFAULT, expect)?;
    let _agent = s.agent_again()?.start()?;
    let web = Binder::start(&s.caller("web1"), &[tcp(PORT).listening()])?;
    let report = probe(s, &["tcp/8080"], 0)?;
    saw(&report, "accepted", None, "listens")?;
    let register = &report["register"];
    ensure_eq!(register["jobnames"], json!(["WEB1", "WEB*"]), "{report}");
    ensure_eq!(register["expected"], "open", "{report}");
    ensure_eq!(register["holders"][0]["pid"], web.pid, "{report}");
    let text = s.portreeve(&["probe", "tcp/8080"])?.ended_with(0)?.stdout;
    for words in [
        "register: reserved for WEB1, WEB*, expected open".to_owned(),
        format!("holder: web1 (pid {}) on 127.0.0.1", web.pid),
    ] {
        ensure!(text.contains(&words), "no {words:?} in\n{text}");
    }
    // Of a range only what has this port; of others' addresses nothing is known.
    let _app = Binder::start(&s.caller("app"), &[tcp(4001).listening()])?;
    let report = probe(s, &["tcp/4000"], 1)?;
    ensure_eq!(report["register"]["holders"], json!([]), "{report}");
    let report = probe(s, &["tcp/9099"], 1)?;
    ensure_eq!(report["register"]["jobnames"], json!([]), "{report}");
    let report = probe(s, &["tcp/8080", "--address", "198.51.100.4"], 1)?;
    ensure_eq!(report["register"], Value::Null, "{report}");
    Ok(())
}
