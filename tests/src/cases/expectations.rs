//! What is expected of ports, and whether it is so.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{Binder, Sandbox, Servant, Settings, needs::running, request::Kind, tcp, udp},
    tests,
};

tests![
    every_expectation_is_checked,
    who_may_not_have_it_breaks_everything,
    what_is_bound_is_closed,
    a_reload_brings_other_expectations,
    the_register_says_what_is_expected,
];

const PROFILE: &str = "\
AUTOLOG
  FTPD JOBNAME FTPD1
ENDAUTOLOG
PORT
  2121 TCP FTPD1 ; control
  2323 TCP RESERVED
  5353 UDP NAMED
  8080 TCP WEB
PORTRANGE
  4000 10 TCP FTPD1
";

const EXPECT: &str = "\
[autolog]
backend = 'none'
[[expect]]
ports = ['tcp/8080', 'udp/5353']
state = 'open'
owner = 'web team'
purpose = 'shop'
[[expect]]
ports = ['tcp/2323', 'tcp/9099-9101']
state = 'closed'
";

/// The expectations, of which the exit status says whether all are met.
fn rows(s: &Sandbox, arguments: &[&str], code: i32) -> Result<Vec<Value>> {
    let arguments = [&["ports", "--expect", "--format", "json"], arguments].concat();
    let rows = s.portreeve(&arguments)?.ended_with(code)?.json()?;
    Ok(serde_json::from_value(rows)?)
}

/// Those that are not met: first port, state and which ports.
fn broken(rows: &[Value]) -> Vec<Value> {
    let broken = rows.iter().filter(|row| row["met"] == false);
    broken
        .map(|row| json!([row["first"], row["state"], row["broken"]]))
        .collect()
}

fn ensure_broken(s: &Sandbox, expected: &[Value]) -> Result<Vec<Value>> {
    let rows = rows(s, &[], i32::from(!expected.is_empty()))?;
    ensure_eq!(broken(&rows), expected, "{rows:?}");
    Ok(rows)
}

/// `CLS-05`, `CLS-06`, `CLS-07`: of the config every port, of AUTOLOG one of a range; on
/// reserved ports and others.
fn every_expectation_is_checked(s: &Sandbox) -> Result<()> {
    s.set_policy_with(PROFILE, Settings::DEFAULT, EXPECT)?;
    let _agent = s.agent_again()?.start()?;
    let closed = |first: u16, ports: &str| json!([first, "closed", ports]);
    let rows = ensure_broken(
        s,
        &[
            closed(8080, "8080"),
            closed(5353, "5353"),
            closed(2121, "2121"),
            closed(4000, "4000-4009"),
        ],
    )?;
    let facts = |row: &Value| json!([row["procedure"], row["owner"], row["purpose"]]);
    ensure_eq!(facts(&rows[0]), json!([null, "web team", "shop"]), "config");
    ensure_eq!(facts(&rows[4]), json!(["FTPD", null, "control"]), "AUTOLOG");
    ensure_eq!(rows[4]["line"], 5, "{}", rows[4]);
    ensure_eq!(rows[0]["file"], json!(s.config()), "{}", rows[0]);

    let ftp = [tcp(2121).listening(), tcp(4003).listening()];
    let _ftp = Binder::start(&s.caller("ftpd1"), &ftp)?;
    let _web = Binder::start(&s.caller("web"), &[tcp(8080).listening()])?;
    let _named = Binder::start(&s.caller("named"), &[udp(5353)])?;
    let rows = ensure_broken(s, &[])?;
    ensure!(rows.iter().all(|row| row["broken"].is_null()), "{rows:?}");
    let text = s.portreeve(&["ports", "--expect"])?.ended_with(0)?.stdout;
    ensure!(text.starts_with("OK: all of 6 expectations"), "{text}");

    // Nothing reserves this port; that somebody listens there is not as expected.
    let other = Binder::start(&s.caller("other"), &[tcp(9100).listening()])?;
    let rows = ensure_broken(s, &[json!([9099, "open", "9100"])])?;
    ensure_eq!(rows[3]["holders"][0]["pid"], other.pid, "{}", rows[3]);
    let text = s.portreeve(&["ports", "--expect"])?.ended_with(1)?.stdout;
    let said = format!(
        "BROKEN: tcp/9100 is open by other (pid {}), expected closed",
        other.pid
    );
    ensure!(text.starts_with(&said), "{text}");

    // Only what is asked for counts.
    ensure_eq!(self::rows(s, &["tcp/8080"], 0)?.len(), 1, "one");
    ensure_eq!(self::rows(s, &["tcp/9101"], 1)?.len(), 1, "in a range");
    ensure_eq!(self::rows(s, &["tcp/7"], 1)?.len(), 0, "none");
    Ok(())
}

/// A port that somebody has who may not is never as expected.
fn who_may_not_have_it_breaks_everything(s: &Sandbox) -> Result<()> {
    s.set_policy_with(PROFILE, Settings::DEFAULT, EXPECT)?;
    let wanted = [8080, 2323, 4001].map(|port| tcp(port).listening());
    let _wrong = Binder::start(&s.caller("wrong"), &wanted)?;
    let _agent = s.agent_again()?.start()?;
    let right = [tcp(2121).listening(), tcp(4009).listening()];
    let _right = Binder::start(&s.caller("ftpd1"), &right)?;
    let _named = Binder::start(&s.caller("named"), &[udp(5353)])?;
    let wrong = |first: u16, ports: &str| json!([first, "contradicted", ports]);
    let expected = [
        wrong(8080, "8080"),
        wrong(2323, "2323"),
        wrong(4000, "4001"),
    ];
    ensure_broken(s, &expected).map(drop)
}

/// `CLS-03`: nobody is answered there.
fn what_is_bound_is_closed(s: &Sandbox) -> Result<()> {
    let expect = "[autolog]\nbackend = 'none'\n[[expect]]\nports = 'tcp/8080'\nstate = 'open'\n\
                  [[expect]]\nports = 'tcp/9099'\nstate = 'closed'\n";
    s.set_policy_with("PORT 8080 TCP WEB\n", Settings::DEFAULT, expect)?;
    let _agent = s.agent_again()?.start()?;
    let web = Servant::start(&s.caller("web"))?;
    let sockets = [8080, 9099].map(|port| -> Result<i32> {
        let socket = web.socket(Kind::Tcp, false)?;
        web.bind(socket, [127, 0, 0, 1], port)??;
        Ok(socket)
    });
    let state = match running()?.1 >= (6, 8) {
        true => "bound",
        false => "closed",
    };
    ensure_broken(s, &[json!([8080, state, "8080"])])?;
    for socket in sockets {
        web.listen(socket?)??;
    }
    ensure_broken(s, &[json!([9099, "open", "9099"])]).map(drop)
}

fn a_reload_brings_other_expectations(s: &Sandbox) -> Result<()> {
    let agent = s.agent("PORT 8080 TCP WEB\n", Settings::DEFAULT)?.start()?;
    ensure_broken(s, &[])?;
    let text = s.portreeve(&["ports", "--expect"])?.ended_with(0)?.stdout;
    ensure_eq!(text.trim(), "OK: nothing is expected of any port", "none");
    let expect = |state: &str| -> Result<i32> {
        let text = format!(
            "[autolog]\nbackend = 'none'\n[[expect]]\nports = 'tcp/8080'\nstate = '{state}'\n"
        );
        s.set_policy_with("PORT 8080 TCP WEB\n", Settings::DEFAULT, &text)?;
        Ok(agent.reload(&[])?.0)
    };
    ensure_eq!(expect("open")?, 0, "reload");
    ensure_broken(s, &[json!([8080, "closed", "8080"])])?;
    ensure_eq!(expect("closed")?, 0, "reload");
    ensure_broken(s, &[])?;
    // What isn't understood is refused, and what was expected still is.
    ensure_eq!(expect("shut")?, 1, "reload");
    ensure_broken(s, &[]).map(drop)
}

/// `CLS-07`: owner, purpose and expected state in the register.
fn the_register_says_what_is_expected(s: &Sandbox) -> Result<()> {
    s.set_policy_with(PROFILE, Settings::DEFAULT, EXPECT)?;
    let agent = s.agent_again()?.start()?;
    let found: Vec<Value> = agent
        .ports()?
        .iter()
        .map(|row| json!([row["port"], row["expected"], row["owner"], row["purpose"]]))
        .collect();
    let expected = [
        json!([2121, "open", null, "control"]),
        json!([2323, "closed", null, null]),
        json!([4000, "open", null, null]),
        json!([8080, "open", "web team", "shop"]),
        json!([5353, "open", "web team", "shop"]),
    ];
    ensure_eq!(found, expected, "register");
    let text = s.portreeve(&["ports", "tcp/8080"])?.ended_with(0)?.stdout;
    let line = "expected to be open, owner web team, purpose shop";
    ensure!(text.lines().any(|found| found == line), "{text}");
    Ok(())
}
