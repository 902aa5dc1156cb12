//! UNRSV and RESTRICTLOWPORTS: ports that no entry names.

use std::net::Ipv6Addr;

use anyhow::{Result, ensure};

use crate::{
    ensure_eq,
    harness::{
        Binder, NOBODY, Sandbox, Servant,
        request::Kind,
        tcp, udp,
        watch::{Judged, Watch, free, judged},
    },
    tests,
};

tests![
    deny_closes_what_nobody_reserved,
    the_closest_match_decides,
    no_match_is_a_refusal,
    one_protocol_at_a_time,
    assigned_ports_are_exempt,
    low_ports_follow_the_other_rule,
    toggled_while_running,
    what_is_refused_in_audit_mode,
];

const LOUD: &str = "[events]\nreport = \"all\"\n";

/// `UNR-01`, `UNR-06`, `UNR-11`, `UNR-18`: for root too; reservations stand apart.
fn deny_closes_what_nobody_reserved(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n UNRSV TCP * DENY WHENBIND\n UNRSV UDP * DENY\n 4321 TCP WEB\n";
    let (root, user, web) = (
        s.caller("app"),
        s.caller("app").user(NOBODY),
        s.caller("web"),
    );
    let denied = "unreserved-denied";
    let cases = [
        Judged::deny(&root, tcp(1), denied, 2),
        Judged::deny(&root, tcp(4322), denied, 2),
        Judged::deny(&root, tcp(65535), denied, 2),
        Judged::deny(&user, tcp(4322).on(Ipv6Addr::LOCALHOST), denied, 2),
        Judged::deny(&root, tcp(4322).on_any_v6(false), denied, 2),
        Judged::deny(&root, udp(1), denied, 3),
        Judged::deny(&user, udp(4321), denied, 3),
        Judged::allow(&web, tcp(4321), "permitted", 4),
        Judged::deny(&root, tcp(4321), "other-job", 4),
        Judged::deny(&web, tcp(4322), denied, 2),
    ];
    free(&cases)?;
    judged(&s.agent_with(profile, LOUD)?.start()?, &cases)
}

/// `UNR-05`, `PRT-37`: whatever the order in the profile.
fn the_closest_match_decides(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  UNRSV TCP * DENY WHENBIND
  UNRSV TCP APP* WHENBIND
  UNRSV TCP APP1 SAF NOBODYS WHENBIND
  UNRSV TCP APP?X WHENBIND
  UNRSV UDP OMVS
  UNRSV UDP * DENY
";
    let names = ["app", "app1", "app2x", "app22", "web"];
    let [app, app1, app2x, app22, web] = names.map(|name| s.caller(name).user(NOBODY));
    let permitted = "unreserved-permitted";
    let cases = [
        Judged::allow(&app, tcp(4321), permitted, 3),
        Judged::allow(&app22, tcp(4321), permitted, 3),
        Judged::deny(&app1, tcp(4321), "no-permit", 4),
        Judged::allow(&app2x, tcp(4321), permitted, 5),
        Judged::deny(&web, tcp(4321), "unreserved-denied", 2),
        Judged::allow(&web, udp(4321), permitted, 6),
    ];
    free(&cases)?;
    judged(&s.agent_with(profile, LOUD)?.start()?, &cases)
}

/// `UNR-04`: nobody is admitted who isn't named.
fn no_match_is_a_refusal(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n UNRSV TCP APP1 WHENBIND\n UNRSV TCP APP2 WHENBIND\n UNRSV UDP A*Z\n";
    let [app1, app2, app3, az] = ["app1", "app2", "app3", "abcz"].map(|name| s.caller(name));
    let permitted = "unreserved-permitted";
    let cases = [
        Judged::allow(&app1, tcp(4321), permitted, 2),
        Judged::allow(&app2, tcp(4321), permitted, 3),
        Judged::deny(&app3, tcp(4321), "unreserved-other", 2),
        Judged::allow(&az, udp(4321), permitted, 4),
        Judged::deny(&app1, udp(4321), "unreserved-other", 4),
    ];
    free(&cases)?;
    judged(&s.agent_with(profile, LOUD)?.start()?, &cases)
}

/// `UNR-03`, `UNR-12`, `UNR-19`: entries of one protocol leave the other open.
fn one_protocol_at_a_time(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n UNRSV UDP APP1\n";
    let [app1, web] = ["app1", "web"].map(|name| s.caller(name));
    let cases = [
        Judged::allow(&app1, udp(4321), "unreserved-permitted", 2),
        Judged::deny(&web, udp(4321), "unreserved-other", 2),
        Judged::allow(&web, tcp(4321), "unreserved", 0),
        Judged::allow(&web, tcp(21), "unreserved", 0),
    ];
    free(&cases)?;
    judged(&s.agent_with(profile, LOUD)?.start()?, &cases)
}

/// `UNR-15`, `UNR-16`, `EPH-10`: what the kernel chose is nobody's rule, neither at
/// bind nor at listen, connect or send.
fn assigned_ports_are_exempt(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n UNRSV TCP * DENY WHENBIND\n UNRSV UDP * DENY\n";
    let agent = s.agent_with(profile, LOUD)?.start()?;
    let mut watch = Watch::start(&agent)?;
    let wants = [
        tcp(0).listening(),
        tcp(0).on_any_v6(false).listening(),
        udp(0),
    ];
    let binder = Binder::start(&s.caller("app"), &wants)?;
    ensure_eq!(binder.results, [Ok(()); 3], "port 0");
    let servant = Servant::start(&s.caller("app"))?;
    let socket = servant.socket(Kind::Tcp, false)?;
    ensure_eq!(servant.listen(socket)?, Ok(()), "listen without bind");
    ensure!(servant.name(socket)?.port() != 0, "no port");
    watch.expect(&[], &[])
}

/// `UNR-02`, `LOW-01` to `LOW-04`, `LOW-06`, `LOW-07`, `LOW-09`: RESTRICTLOWPORTS of
/// one protocol takes the low ports out of UNRSV's reach, and a reservation out of
/// both.
fn low_ports_follow_the_other_rule(s: &Sandbox) -> Result<()> {
    let profile = "\
TCPCONFIG RESTRICTLOWPORTS
PORT
  UNRSV TCP * DENY WHENBIND
  UNRSV UDP * DENY
  21 TCP *
";
    let config = format!("{LOUD}[grant]\nrequire = \"any\"\n");
    let (root, user) = (s.caller("app"), s.caller("app").user(NOBODY));
    let privileged = "privileged-low-port";
    let cases = [
        Judged::allow(&root, tcp(1), privileged, 0),
        Judged::allow(&root, tcp(1023), privileged, 0),
        Judged::deny(&root, tcp(1024), "unreserved-denied", 3),
        Judged::deny(&user, tcp(1024), "unreserved-denied", 3),
        Judged::deny(&root, udp(900), "unreserved-denied", 4),
        Judged::grant(&user, tcp(21), 5),
    ];
    free(&cases)?;
    let agent = s.agent_with(profile, &config)?.start()?;
    judged(&agent, &cases)?;
    // The host alone refuses these as well.
    let low = [
        Judged::deny(&user, tcp(1), "low-port", 0),
        Judged::deny(&user, tcp(1023), "low-port", 0),
        Judged::deny(&user, tcp(1023).on(Ipv6Addr::LOCALHOST), "low-port", 0),
    ];
    judged(&agent, &low)
}

/// `LOW-11`: later binds only, as the next policy says.
fn toggled_while_running(s: &Sandbox) -> Result<()> {
    // So low that the host leaves its ports to everybody.
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "1")?;
    let user = s.caller("app").user(NOBODY);
    let open = "PORT 21 TCP FTPD\n";
    let (tcp_only, both) = (
        "TCPCONFIG RESTRICTLOWPORTS\nPORT 21 TCP FTPD\n",
        "TCPCONFIG RESTRICTLOWPORTS\nUDPCONFIG RESTRICTLOWPORTS\nPORT 21 TCP FTPD\n",
    );
    let free_of_rules = [
        Judged::allow(&user, tcp(900), "unreserved", 0),
        Judged::allow(&user, udp(900), "unreserved", 0),
    ];
    free(&free_of_rules)?;
    let agent = s.agent_with(open, LOUD)?.start()?;
    judged(&agent, &free_of_rules)?;
    let held = Servant::start(&user)?;
    let early = held.socket(Kind::Tcp, false)?;
    ensure_eq!(held.bind(early, [127, 0, 0, 9], 901)?, Ok(()), "before");
    for (profile, is_low) in [
        (tcp_only, [true, false]),
        (both, [true, true]),
        (open, [false, false]),
        (tcp_only, [true, false]),
    ] {
        s.write("profile.tcpip", profile)?;
        let (code, answer) = agent.reload(&[])?;
        ensure_eq!(code, 0, "{answer}");
        let cases = [tcp(900), udp(900)].into_iter().zip(is_low);
        let cases = cases.map(|(want, is_low)| match is_low {
            true => Judged::deny(&user, want, "low-port", 0),
            false => Judged::allow(&user, want, "unreserved", 0),
        });
        judged(&agent, &cases.collect::<Vec<_>>())?;
    }
    ensure_eq!(held.listen(early)?, Ok(()), "what was bound before");
    Ok(())
}

/// In audit mode each would have been refused once, and none is.
fn what_is_refused_in_audit_mode(s: &Sandbox) -> Result<()> {
    let profile = "\
UDPCONFIG RESTRICTLOWPORTS
PORT
  UNRSV TCP * DENY WHENBIND
  4321 TCP * SAF NOBODYS
";
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "1")?;
    let agent = s.agent_with(profile, "mode = \"audit\"\n")?.start()?;
    let mut watch = Watch::start(&agent)?;
    let caller = s.caller("app").user(NOBODY);
    for (want, reason) in [
        (udp(900), "low-port"),
        (tcp(900), "unreserved-denied"),
        (tcp(4321), "no-permit"),
    ] {
        ensure_eq!(Binder::attempt(&caller, &want)?, Ok(()), "{want}");
        let event = serde_json::json!({
            "verdict": "would-deny", "reason": reason, "errno": null,
            "hook": "bind4", "port": want.port,
        });
        watch.expect_audited(&[(reason, 1)], &[event])?;
    }
    Ok(())
}
