//! Grants: which reservations take the place of `CAP_NET_BIND_SERVICE`, and how far
//! they reach. Everybody here is a user without any privilege.

use std::net::Ipv6Addr;

use anyhow::Result;
use nix::errno::Errno;

use crate::{
    ensure_eq,
    harness::{
        NOBODY, Sandbox, Servant,
        request::Kind,
        tcp, udp,
        watch::{Judged, free, judged},
    },
    tests,
};

tests![
    what_proves_a_caller,
    any_reservation_will_do,
    for_one_port_and_one_protocol,
    for_one_bind,
    none_in_audit_mode,
];

/// Definitions of every kind that proves something, and one that doesn't.
fn config(s: &Sandbox, more: &str) -> String {
    let path = format!("{}/web.service", s.cgroup_name());
    format!(
        "[events]\nreport = \"all\"\n\
         [jobs.PLACED]\ncgroup = {path:?}\n\
         [jobs.OWNED]\nuser = \"1042\"\n\
         [jobs.CALLED]\ncomm = \"called\"\n\
         [servauth.\"EZB.PORTACCESS.*.*.LOW\"]\npermit = [\"1043\"]\n{more}"
    )
}

const PROFILE: &str = "\
PORT
  21 TCP PLACED
  21 UDP PLACED
  22 TCP OWNED
  23 TCP WEB SAF LOW
  24 TCP WEB
  25 TCP CALLED
  26 TCP *
  27 TCP WEB*
  8021 TCP PLACED
";

/// `PRT-39`, `SAF-02`: `require = "verified"` is the default: cgroup, user or SAF is
/// proof, a name is none. Without proof the host's own rule stands; the event says
/// that the policy allowed it and granted nothing.
fn what_proves_a_caller(s: &Sandbox) -> Result<()> {
    let placed = s
        .caller("any")
        .user(NOBODY)
        .cgroup(s.cgroup_below("web.service/worker")?);
    let owned = s.caller("any").user(1042);
    let permitted = s.caller("web").user(1043);
    let (web, called) = (
        s.caller("web").user(NOBODY),
        s.caller("called").user(NOBODY),
    );
    let v6 = tcp(21).on(Ipv6Addr::LOCALHOST);
    let cases = [
        Judged::grant(&placed, tcp(21), 2),
        Judged::grant(&placed, v6, 2),
        Judged::grant(&placed, tcp(21).on_any_v6(false), 2),
        Judged::grant(&placed, udp(21), 3),
        Judged::grant(&owned, tcp(22), 4),
        Judged::grant(&permitted, tcp(23), 5),
        Judged::left_to_host(&web, tcp(24), 6),
        Judged::left_to_host(&called, tcp(25), 7),
        Judged::left_to_host(&web, tcp(26), 8),
        Judged::left_to_host(&web, tcp(27), 9),
        Judged::allow(&placed, tcp(8021), "permitted", 10),
    ];
    free(&cases)?;
    judged(&s.agent_with(PROFILE, &config(s, ""))?.start()?, &cases)
}

/// `PRT-39`: `require = "any"` is z/OS's rule.
fn any_reservation_will_do(s: &Sandbox) -> Result<()> {
    let (web, called) = (
        s.caller("web").user(NOBODY),
        s.caller("called").user(NOBODY),
    );
    let cases = [
        Judged::grant(&web, tcp(24), 6),
        Judged::grant(&called, tcp(25), 7),
        Judged::grant(&web, tcp(26), 8),
        Judged::grant(&web, tcp(27), 9),
    ];
    free(&cases)?;
    let config = config(s, "[grant]\nrequire = \"any\"\n");
    let agent = s.agent_with(PROFILE, &config)?.start()?;
    judged(&agent, &cases)?;
    // Refused by the host as well.
    let refused = [
        Judged::deny(&web, tcp(21), "other-job", 2),
        Judged::deny(&web, tcp(23), "no-permit", 5),
    ];
    judged(&agent, &refused)
}

/// `PRT-39`: neighbours of a port, and the same number of the other protocol, are
/// the host's as ever.
fn for_one_port_and_one_protocol(s: &Sandbox) -> Result<()> {
    let _agent = s.agent_with(PROFILE, &config(s, ""))?.start()?;
    let owned = Servant::start(&s.caller("any").user(1042))?;
    let local = std::net::Ipv4Addr::LOCALHOST;
    for (kind, port, result) in [
        (Kind::Tcp, 22, Ok(())),
        (Kind::Udp, 22, Err(Errno::EACCES)),
        (Kind::Tcp, 20, Err(Errno::EACCES)),
        (Kind::Udp, 20, Err(Errno::EACCES)),
        (Kind::Udp, 24, Err(Errno::EACCES)),
    ] {
        let socket = owned.socket(kind, false)?;
        ensure_eq!(owned.bind(socket, local, port)?, result, "{kind:?} {port}");
    }
    Ok(())
}

/// `PRT-39`: a bind that was granted and failed leaves no right behind on its socket,
/// nor does one that succeeded in its process.
fn for_one_bind(s: &Sandbox) -> Result<()> {
    let _agent = s.agent_with(PROFILE, &config(s, ""))?.start()?;
    let owned = Servant::start(&s.caller("any").user(1042))?;
    let local = std::net::Ipv4Addr::LOCALHOST;
    let socket = owned.socket(Kind::Tcp, false)?;
    let missing = owned.bind(socket, [192, 0, 2, 9], 22)?;
    ensure_eq!(missing, Err(Errno::EADDRNOTAVAIL), "granted, and not there");
    let refused = Err(Errno::EACCES);
    ensure_eq!(owned.bind(socket, local, 20)?, refused, "not granted");
    ensure_eq!(owned.bind(socket, local, 22)?, Ok(()), "granted again");
    let socket = owned.socket(Kind::Tcp, false)?;
    ensure_eq!(owned.bind(socket, local, 20)?, refused, "another socket");
    Ok(())
}

/// Audit mode gives nothing either.
fn none_in_audit_mode(s: &Sandbox) -> Result<()> {
    let config = format!("mode = \"audit\"\n{}", config(s, ""));
    let _agent = s.agent_with(PROFILE, &config)?.start()?;
    let owned = Servant::start(&s.caller("any").user(1042))?;
    let socket = owned.socket(Kind::Tcp, false)?;
    let result = owned.bind(socket, std::net::Ipv4Addr::LOCALHOST, 22)?;
    ensure_eq!(result, Err(Errno::EACCES), "in audit mode");
    Ok(())
}
