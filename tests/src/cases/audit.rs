//! Audit mode: everything is judged and told, nothing is refused and nothing given.

use anyhow::{Result, ensure};

use crate::{
    ensure_eq,
    harness::{
        Case, NOBODY, Sandbox, Settings,
        expect::{expect, judge},
        tcp, udp,
    },
    tests,
};

tests![
    nothing_is_refused_and_all_is_told,
    nothing_is_granted,
    the_command_line_makes_it_audit,
    from_audit_to_enforce_and_back,
];

const AUDIT: Settings = Settings::DEFAULT.audit();
const PROFILE: &str = "\
PORT
  21 TCP FTPD1
  514 UDP RESERVED
PORTRANGE
  4000 100 TCP APPL*
";
const FTP: &str = "21 TCP FTPD1";
const RANGE: &str = "4000 100 TCP APPL*";

fn cases(s: &Sandbox) -> Vec<Case<'static>> {
    let wrong = s.caller("wrong");
    vec![
        Case::would_refuse(&wrong, tcp(21), "other-job", FTP),
        Case::would_refuse(&wrong, udp(514), "blocked", "514 UDP RESERVED"),
        Case::would_refuse(&wrong, tcp(4099).on_any_v6(false), "other-job", RANGE),
        Case::permitted(&s.caller("ftpd1"), tcp(21), FTP),
        Case::permitted(&s.caller("appl7"), tcp(4000), RANGE),
        Case::unreserved(&wrong, tcp(22)),
        Case::not_judged(&wrong, tcp(0)),
    ]
}

/// Refusals become `would-deny` events; only the audit counters move, and no entry
/// has refused anything.
fn nothing_is_refused_and_all_is_told(s: &Sandbox) -> Result<()> {
    let agent = judge(s, PROFILE, AUDIT, &cases(s))?;
    let status = agent.status()?;
    ensure_eq!(status["mode"], "audit", "mode");
    ensure!(agent.ready().contains("mode audit"), "{}", agent.ready());
    agent.terminate()?;
    judge(s, PROFILE, AUDIT.report_all(), &cases(s)).map(drop)
}

/// `PRT-39`: who observes doesn't open ports either: no grant in audit mode.
fn nothing_is_granted(s: &Sandbox) -> Result<()> {
    let settings = AUDIT.grant_any().report_all();
    let user = s.caller("ftpd1").user(NOBODY);
    let cases = [
        Case::left_to_host(&user, tcp(21), FTP),
        Case::unreserved_left_to_host(&user, tcp(22)),
        Case::permitted(&s.caller("ftpd1"), tcp(21), FTP),
    ];
    judge(s, PROFILE, settings, &cases).map(drop)
}

/// `run --audit` wins over a config that enforces, also at a reload.
fn the_command_line_makes_it_audit(s: &Sandbox) -> Result<()> {
    let agent = s
        .agent(PROFILE, Settings::DEFAULT)?
        .arg("--audit")
        .start()?;
    expect(&agent, PROFILE, AUDIT, &cases(s))?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    expect(&agent, PROFILE, AUDIT, &cases(s))
}

/// The mode changes with a reload; what either has counted stays apart.
fn from_audit_to_enforce_and_back(s: &Sandbox) -> Result<()> {
    let wrong = s.caller("wrong");
    let observed = [Case::would_refuse(&wrong, tcp(21), "other-job", FTP)];
    let refused = [Case::other_job(&wrong, tcp(21), FTP)];
    let agent = judge(s, PROFILE, AUDIT, &observed)?;
    for _ in 0..2 {
        s.set_policy(PROFILE, Settings::DEFAULT)?;
        let (code, answer) = agent.reload(&[])?;
        ensure_eq!(code, 0, "{answer}");
        ensure_eq!(agent.status()?["mode"], "enforce", "mode");
        expect(&agent, PROFILE, Settings::DEFAULT, &refused)?;
        s.set_policy(PROFILE, AUDIT)?;
        let (code, answer) = agent.reload(&[])?;
        ensure_eq!(code, 0, "{answer}");
        ensure_eq!(agent.status()?["mode"], "audit", "mode");
        expect(&agent, PROFILE, AUDIT, &observed)?;
    }
    Ok(())
}
