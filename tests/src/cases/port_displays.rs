//! Lists of every socket, and the register for documents.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Binder, Sandbox, Servant, Settings, request::Kind, servant::SocketOption::ReusePort, tcp,
        udp,
    },
    tests,
};

tests![
    servers_on_reserved_ports_and_others,
    both_ends_of_a_connection,
    who_shares_a_port_and_who_waits,
    the_register_for_documents,
    no_other_list_is_a_table,
];

const PROFILE: &str = "\
PORT
  2121 TCP FTPD1 ; control, data
  8080 TCP WEB SHAREPORT
  5353 UDP NAMED
";

fn rows(s: &Sandbox, arguments: &[&str], code: i32) -> Result<Vec<Value>> {
    let arguments = [&["ports", "--format", "json"], arguments].concat();
    let rows = s.portreeve(&arguments)?.ended_with(code)?.json()?;
    Ok(serde_json::from_value(rows)?)
}

/// `RPT-12`, `CLS-06`: who waits for whoever comes, whatever the port.
fn servers_on_reserved_ports_and_others(s: &Sandbox) -> Result<()> {
    let _agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let wants = [tcp(2121).listening(), tcp(9099).listening(), udp(9100)];
    let ftp = Binder::start(&s.caller("ftpd1"), &wants)?;
    let named = Servant::start(&s.caller("named"))?;
    let socket = named.socket(Kind::Udp, false)?;
    named.bind(socket, [127, 0, 0, 1], 5353)??;
    let listed = |rows: &[Value]| -> Vec<Value> {
        let facts = |row: &Value| {
            let (user, port) = (&row["user"], &row["local_port"]);
            json!([
                row["protocol"],
                port,
                user,
                row["reserved_for"],
                row["state"]
            ])
        };
        rows.iter().map(facts).collect()
    };
    let found = rows(s, &["--server"], 0)?;
    let expected = [
        json!(["tcp", 2121, "FTPD1", "FTPD1", "listen"]),
        json!(["tcp", 9099, "FTPD1", null, "listen"]),
        json!(["udp", 5353, "NAMED", "NAMED", "udp"]),
        json!(["udp", 9100, "FTPD1", null, "udp"]),
    ];
    ensure_eq!(listed(&found), expected, "servers");
    ensure_eq!(found[0]["pid"], ftp.pid, "{}", found[0]);
    ensure_eq!(found[0]["local_address"], "127.0.0.1", "{}", found[0]);
    // With a peer it waits for nobody.
    named.connect(socket, [127, 0, 0, 1], 9)??;
    ensure_eq!(rows(s, &["--server", "udp/5353"], 1)?.len(), 0, "connected");
    let found = rows(s, &["--conn", "udp/5353"], 0)?;
    ensure_eq!(found[0]["foreign_port"], 9, "{found:?}");
    let text = s.portreeve(&["ports", "--server"])?.ended_with(0)?.stdout;
    ensure_eq!(text.lines().count(), 4, "{text}");
    ensure!(text.contains("127.0.0.1:9099"), "{text}");
    Ok(())
}

/// `RPT-11`: one row per socket, with its job, its number and its peer.
fn both_ends_of_a_connection(s: &Sandbox) -> Result<()> {
    let _agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let ftp = Servant::start(&s.caller("ftpd1"))?;
    let listener = ftp.serve(Kind::Tcp, [127, 0, 0, 1], 2121)??;
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, 2121))?;
    let accepted = ftp.accept(listener)??;
    let port = client.local_addr()?.port();
    let found = rows(s, &["--conn", "tcp/2121"], 0)?;
    let [server, connection] = &found[..] else {
        anyhow::bail!("{found:?}");
    };
    ensure_eq!(server["state"], "listen", "{server}");
    ensure_eq!(server["foreign_address"], Value::Null, "{server}");
    ensure_eq!(connection["state"], "established", "{connection}");
    ensure_eq!(connection["foreign_port"], port, "{connection}");
    ensure_eq!(connection["user"], "FTPD1", "{connection}");
    for (row, socket) in [(server, listener), (connection, accepted)] {
        let link = fs::read_link(format!("/proc/{}/fd/{socket}", ftp.pid))?;
        let link = link.display().to_string();
        let inode = link.strip_prefix("socket:[").context("no socket")?;
        let inode: u64 = inode.trim_end_matches(']').parse()?;
        ensure_eq!(row["id"], json!(format!("{inode:08X}")), "{row}");
    }
    // The other end is a socket of its own.
    let other = rows(s, &["--conn", &format!("tcp/{port}")], 0)?;
    ensure_eq!(other.len(), 1, "{other:?}");
    ensure_eq!(other[0]["pid"], std::process::id(), "{other:?}");
    ensure_eq!(other[0]["foreign_port"], 2121, "{other:?}");
    ensure_eq!(rows(s, &["--conn", "tcp/7"], 1)?.len(), 0, "none");
    Ok(())
}

/// `RPT-13`: kind of sharing, how many share, and how many clients wait.
fn who_shares_a_port_and_who_waits(s: &Sandbox) -> Result<()> {
    let _agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    let listening = || -> Result<Servant> {
        let web = Servant::start(&s.caller("web"))?;
        let socket = web.socket(Kind::Tcp, false)?;
        web.set(socket, ReusePort, 1)?;
        web.bind(socket, [127, 0, 0, 1], 8080)??;
        web.listen(socket)??;
        Ok(web)
    };
    let _two = (listening()?, listening()?);
    let ftp = Servant::start(&s.caller("ftpd1"))?;
    ftp.serve(Kind::Tcp, [127, 0, 0, 1], 2121)??;
    let _waiting = TcpStream::connect((Ipv4Addr::LOCALHOST, 2121))?;
    let found = rows(s, &["--all", "--server"], 0)?;
    let facts: Vec<Value> = found
        .iter()
        .map(|row| {
            json!([
                row["local_port"],
                row["sharing"],
                row["group"],
                row["queue"]
            ])
        })
        .collect();
    let expected = [
        json!([2121, "none", 1, 1]),
        json!([8080, "even", 2, 0]),
        json!([8080, "even", 2, 0]),
    ];
    ensure_eq!(facts, expected, "{found:?}");
    for row in &found {
        let since = row["since"].as_str().context("since")?;
        ensure!(since.ends_with('Z'), "{row}");
        ensure!(row["limit"].as_u64() > Some(0), "{row}");
    }
    let text = s
        .portreeve(&["ports", "--all", "tcp/8080"])?
        .ended_with(0)?;
    ensure!(text.stdout.contains("even, 2 together"), "{}", text.stdout);
    Ok(())
}

/// `CLS-07`, `RPT-10`: owner and purpose for whoever keeps the register elsewhere.
fn the_register_for_documents(s: &Sandbox) -> Result<()> {
    let expect = "[[expect]]\nports = 'tcp/8080'\nstate = 'open'\nowner = 'a|b'\n";
    s.set_policy_with(PROFILE, Settings::DEFAULT, expect)?;
    let _agent = s.agent_again()?.start()?;
    let show = |format: &str| -> Result<Vec<String>> {
        let shown = s.portreeve(&["ports", "--format", format])?.ended_with(0)?;
        Ok(shown.stdout.lines().map(str::to_owned).collect())
    };
    ensure_eq!(
        show("csv")?,
        [
            "protocol,first,last,jobname,flags,address,saf,owner,purpose,expected,state,holder",
            "tcp,2121,2121,FTPD1,AD,,,,\"control, data\",,closed,",
            "tcp,8080,8080,WEB,ADS,,,a|b,,open,closed,",
            "udp,5353,5353,NAMED,AD,,,,,,closed,",
        ],
        "CSV"
    );
    let table = show("markdown")?;
    ensure_eq!(table.len(), 5, "{table:?}");
    let row = "| tcp | 8080 | 8080 | WEB | ADS |  |  | a\\|b |  | open | closed |  |";
    ensure_eq!(table[3], row, "Markdown");
    Ok(())
}

/// A way to answer that a verb doesn't have is wrong usage, before anything is done.
fn no_other_list_is_a_table(s: &Sandbox) -> Result<()> {
    let _agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    for arguments in [
        &["status"][..],
        &["verify"],
        &["ports", "--conn"],
        &["ports", "--expect"],
        &["ports", "--verbose"],
        &["detach", "--yes"],
    ] {
        let arguments = [arguments, &["--format", "csv"]].concat();
        let refused = s.portreeve(&arguments)?.ended_with(2)?;
        ensure!(refused.stderr.contains("`ports` only"), "{refused:?}");
    }
    ensure!(s.is_pinned(), "detach was done");
    s.portreeve(&["ports", "--conn", "--expect"])?
        .ended_with(2)?;
    Ok(())
}
