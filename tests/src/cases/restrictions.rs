//! Ports for certain users only, as on IBM i, by the kernel's answer.

use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, NOBODY, Sandbox, Servant, Watch,
        draw::{Way, draw, kept_out, set_range},
        refusal,
        request::Kind,
        tcp, udp,
        watch::{Judged, free, judged},
    },
    tests,
};

tests![
    listed_users_and_nobody_else,
    job_and_user_must_both_be_right,
    beside_the_rules_for_unreserved_ports,
    a_socket_that_is_passed_on,
    added_and_removed_while_running,
    who_has_to_be_ended,
    nobody_is_given_a_restricted_port,
    what_it_would_refuse_in_audit_mode,
];

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;
const APPADM: u32 = 1042;
const BOB: u32 = 1043;

/// A config with these IBM i commands.
fn config(s: &Sandbox, commands: &str, more: &str) -> Result<String> {
    let path = s.write("ports.clp", commands)?;
    let path = path.display().to_string();
    Ok(format!(
        "[events]\nreport = \"all\"\n[ibmi]\ncommands = {path:?}\n{more}"
    ))
}

/// `IBI-01` to `IBI-06`, `IBI-13`: the union of all that name a port, by number;
/// neither root nor a group counts, and the other protocol is open.
fn listed_users_and_nobody_else(s: &Sandbox) -> Result<()> {
    let commands = "\
ADDTCPPORT PORT(8400 8410) PROTOCOL(*TCP) USRPRF(1042)
ADDTCPPORT PORT(8405) PROTOCOL(*TCP) USRPRF(1043)
ADDTCPPORT PORT(8500 *ONLY) PROTOCOL(*UDP) USRPRF(0)
";
    let more = "[[restriction]]\nports = \"8600-8601\"\nprotocol = \"tcp\"\nusers = [\"1043\"]\n";
    let config = config(s, commands, more)?;
    let (appadm, bob, root) = (
        s.caller("app").user(APPADM),
        s.caller("app").user(BOB),
        s.caller("app"),
    );
    let acting = s.caller("app").users(BOB, APPADM, BOB);
    let (yes, no) = ("unreserved", "other-user");
    let cases = [
        Judged::allow(&appadm, tcp(8400), yes, 0),
        Judged::allow(&appadm, tcp(8410), yes, 0),
        Judged::allow(&acting, tcp(8410), yes, 0),
        Judged::deny(&bob, tcp(8400), no, 0),
        Judged::deny(&root, tcp(8410), no, 0),
        Judged::allow(&bob, tcp(8399), yes, 0),
        Judged::allow(&bob, tcp(8411), yes, 0),
        Judged::allow(&appadm, tcp(8405), yes, 0),
        Judged::allow(&bob, tcp(8405), yes, 0),
        Judged::deny(&root, tcp(8405), no, 0),
        Judged::allow(&root, udp(8405), yes, 0),
        Judged::allow(&root, udp(8500), yes, 0),
        Judged::deny(&bob, udp(8500), no, 0),
        Judged::deny(&bob, udp(8500).on_any_v6(false), no, 0),
        Judged::allow(&bob, tcp(8500), yes, 0),
        Judged::allow(&bob, tcp(8601), yes, 0),
        Judged::deny(&appadm, tcp(8601).on_any_v6(true), no, 0),
    ];
    free(&cases)?;
    judged(
        &s.agent_with("PORT 21 TCP FTPD\n", &config)?.start()?,
        &cases,
    )
}

/// `IBI-20`: the job is looked at first, and a grant is for those who may have both.
fn job_and_user_must_both_be_right(s: &Sandbox) -> Result<()> {
    let commands = "\
ADDTCPPORT PORT(8400) PROTOCOL(*TCP) USRPRF(1042)
ADDTCPPORT PORT(84) PROTOCOL(*TCP) USRPRF(1042)
";
    let config = config(s, commands, "[grant]\nrequire = \"any\"\n")?;
    let profile = "PORT\n 8400 TCP APP*\n 84 TCP APP*\n";
    let (appadm, bob) = (s.caller("app1").user(APPADM), s.caller("app1").user(BOB));
    let (other, both_wrong) = (s.caller("web").user(APPADM), s.caller("web").user(BOB));
    let cases = [
        Judged::allow(&appadm, tcp(8400), "permitted", 2),
        Judged::deny(&bob, tcp(8400), "other-user", 2),
        Judged::deny(&other, tcp(8400), "other-job", 2),
        Judged::deny(&both_wrong, tcp(8400), "other-job", 2),
        Judged::grant(&appadm, tcp(84), 3),
    ];
    free(&cases)?;
    let agent = s.agent_with(profile, &config)?.start()?;
    judged(&agent, &cases)?;
    // The host alone refuses this one as well.
    judged(&agent, &[Judged::deny(&bob, tcp(84), "other-user", 3)])
}

/// `IBI-20`: each bind is judged, counted and told once, whatever rule it was.
fn beside_the_rules_for_unreserved_ports(s: &Sandbox) -> Result<()> {
    let commands = "\
ADDTCPPORT PORT(8400) PROTOCOL(*TCP) USRPRF(1042)
ADDTCPPORT PORT(84) PROTOCOL(*UDP) USRPRF(0)
ADDTCPPORT PORT(85) PROTOCOL(*UDP) USRPRF(1042)
";
    let config = config(s, commands, "")?;
    let profile = "\
UDPCONFIG RESTRICTLOWPORTS
PORT
  UNRSV TCP APP* WHENBIND
";
    let (appadm, bob) = (s.caller("app1").user(APPADM), s.caller("app1").user(BOB));
    let (web, root) = (s.caller("web").user(APPADM), s.caller("web"));
    let permitted = "unreserved-permitted";
    let cases = [
        Judged::allow(&appadm, tcp(8400), permitted, 3),
        Judged::allow(&bob, tcp(8401), permitted, 3),
        Judged::deny(&bob, tcp(8400), "other-user", 3),
        Judged::deny(&web, tcp(8400), "unreserved-other", 3),
        Judged::allow(&root, udp(84), "privileged-low-port", 0),
        Judged::deny(&root, udp(85), "other-user", 0),
    ];
    free(&cases)?;
    judged(&s.agent_with(profile, &config)?.start()?, &cases)
}

/// `IBI-06`, `IBI-07`: it may be handed to anybody; only bind is judged.
fn a_socket_that_is_passed_on(s: &Sandbox) -> Result<()> {
    let commands = "ADDTCPPORT PORT(8400) PROTOCOL(*TCP) USRPRF(1042)\n";
    let config = config(s, commands, "")?;
    let agent = s.agent_with("PORT 21 TCP FTPD\n", &config)?.start()?;
    let owner = Servant::start(&s.caller("app").user(APPADM))?;
    let socket = owner.socket(Kind::Tcp, false)?;
    ensure_eq!(owner.bind(socket, LOCAL, 8400)?, Ok(()), "the listed user");
    let mut watch = Watch::start(&agent)?;
    let heir = Servant::start(&s.caller("heir"))?;
    let taken = heir.take(&owner, socket)?;
    heir.become_user(BOB)?;
    ensure_eq!(heir.listen(taken)?, Ok(()), "listen by another user");
    owner.close(socket)?;
    drop(owner);
    let _stream = TcpStream::connect((LOCAL, 8400))?;
    ensure!(heir.accept(taken)?.is_ok(), "accept by another user");
    watch.expect(&[], &[])?;
    heir.close(taken)?;
    let again = heir.serve(Kind::Tcp, LOCAL, 8400)?;
    ensure_eq!(again, Err(refusal()), "a bind of his own");
    Ok(())
}

fn reload(agent: &Agent<'_>, commands: &str) -> Result<Value> {
    agent.sandbox.write("ports.clp", commands)?;
    let (code, answer) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{answer}");
    Ok(answer)
}

/// Whoever has port 8400 already accepts connections.
fn goes_on(holder: &Servant, listener: i32) -> Result<()> {
    let stream = TcpStream::connect((LOCAL, 8400))?;
    let accepted = holder.accept(listener)?;
    // Who closes first keeps the port for a minute.
    drop(stream);
    holder.close(accepted.context("who has the port can't go on")?)
}

/// `IBI-08`, `IBI-09`, `IBI-10`, `IBI-18`: for new binds at once; who has the port
/// goes on. With the last restriction gone the server starts again.
fn added_and_removed_while_running(s: &Sandbox) -> Result<()> {
    let add = |port, user| format!("ADDTCPPORT PORT({port}) PROTOCOL(*TCP) USRPRF({user})\n");
    let one = add(8400, APPADM) + &add(8401, BOB);
    let both = one.clone() + &add(8400, BOB);
    let agent = s
        .agent_with("PORT 21 TCP FTPD\n", &config(s, "", "")?)?
        .start()?;
    let (appadm, bob) = (s.caller("app").user(APPADM), s.caller("app").user(BOB));
    let may = |result: Result<(), Errno>, caller| -> Result<()> {
        ensure_eq!(Binder::attempt(caller, &tcp(8400))?, result, "8400");
        Ok(())
    };
    let refused = Err(refusal());
    may(Ok(()), &bob)?;
    let early = Servant::start(&bob)?;
    let held = early.serve(Kind::Tcp, LOCAL, 8400)??;

    reload(&agent, &one)?;
    goes_on(&early, held)?;
    early.close(held)?;
    may(refused, &bob)?;
    may(Ok(()), &appadm)?;

    reload(&agent, &both)?;
    may(Ok(()), &bob)?;
    let held = early.serve(Kind::Tcp, LOCAL, 8400)??;
    let remove = "RMVTCPPORT PORT(8400) PROTOCOL(*TCP) USRPRF(1043)\n";
    reload(&agent, &(both.clone() + remove))?;
    let again = early.serve(Kind::Tcp, [127, 0, 0, 2], 8400)?;
    ensure_eq!(again.map(drop), refused, "a new bind of who still has one");
    goes_on(&early, held)?;
    early.close(held)?;

    let all = "RMVTCPPORT PORT(*ALL) PROTOCOL(*TCP) USRPRF(1042)\n";
    reload(&agent, &(one + all))?;
    may(Ok(()), &bob)?;
    may(Ok(()), &appadm)?;
    ensure_eq!(Binder::attempt(&appadm, &tcp(8401))?, refused, "8401");
    Ok(())
}

/// `IBI-16`, `IBI-19`: whoever has a port and may not have it again is named with
/// process and user, so that it can be ended.
fn who_has_to_be_ended(s: &Sandbox) -> Result<()> {
    let agent = s
        .agent_with("PORT 21 TCP FTPD\n", &config(s, "", "")?)?
        .start()?;
    let wants = [tcp(8400).listening(), udp(8401)];
    let bob = Binder::start(&s.caller("app").user(BOB), &wants)?;
    let right = Binder::start(&s.caller("own").user(APPADM), &[tcp(8402).listening()])?;
    ensure_eq!(bob.results, [Ok(()), Ok(())], "before");
    ensure_eq!(right.results, [Ok(())], "before");
    let commands = "\
ADDTCPPORT PORT(8400 8402) PROTOCOL(*TCP) USRPRF(1042)
ADDTCPPORT PORT(8401) PROTOCOL(*UDP) USRPRF(1042)
";
    let answer = reload(&agent, commands)?;
    let said = answer["diagnostics"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let said: Vec<&str> = said
        .iter()
        .filter(|said| said["code"] == "PRV530")
        .filter_map(|said| said["message"].as_str())
        .collect();
    let said = said.join("\n");
    for port in ["tcp/8400", "udp/8401"] {
        let holder = format!("{port} by app (pid {}, user {BOB})", bob.pid);
        ensure!(said.contains(&holder), "no {holder:?} in {answer}");
    }
    ensure!(!said.contains("tcp/8402"), "{answer}");
    Ok(())
}

/// `IBI-01`, `EPH-04`: port 0 and implicit binds aren't judged, so the kernel hands
/// out nothing that is restricted, to anybody, and again when it isn't any more.
fn nobody_is_given_a_restricted_port(s: &Sandbox) -> Result<()> {
    set_range(40000, 40009)?;
    let commands = "\
ADDTCPPORT PORT(40000 40003) PROTOCOL(*TCP) USRPRF(1042)
ADDTCPPORT PORT(40002 40005) PROTOCOL(*UDP) USRPRF(1042)
";
    let config = config(s, commands, "[ephemeral]\nfloor = 1\n")?;
    let agent = s.agent_with("PORT 40006 TCP WEB\n", &config)?.start()?;
    ensure_eq!(kept_out()?, "40000-40006", "what is kept out");
    for caller in [s.caller("app").user(APPADM), s.caller("app").user(NOBODY)] {
        for way in Way::ALL {
            let drawn = draw(&caller, way, false)?;
            ensure_eq!(drawn.ports, [40007, 40008, 40009], "{way:?}");
        }
    }
    reload(&agent, "")?;
    ensure_eq!(kept_out()?, "40006", "without restrictions");
    Ok(())
}

/// Reported once each, and nothing is refused.
fn what_it_would_refuse_in_audit_mode(s: &Sandbox) -> Result<()> {
    let commands = "\
ADDTCPPORT PORT(8400 8401) PROTOCOL(*TCP) USRPRF(1042)
ADDTCPPORT PORT(8400) PROTOCOL(*UDP) USRPRF(1042)
";
    let config = format!("mode = \"audit\"\n{}", config(s, commands, "")?);
    let agent = s.agent_with("PORT 8401 TCP WEB\n", &config)?.start()?;
    let mut watch = Watch::start(&agent)?;
    let bob = s.caller("web").user(BOB);
    for (want, line) in [(tcp(8400), 0), (tcp(8401), 1), (udp(8400), 0)] {
        ensure_eq!(Binder::attempt(&bob, &want)?, Ok(()), "{want}");
        let mut event = json!({"verdict": "would-deny", "reason": "other-user", "hook": "bind4"});
        match line {
            0 => event["entry"] = Value::Null,
            line => event["entry/line"] = line.into(),
        }
        watch.expect_audited(&[("other-user", 1)], &[event])?;
    }
    Ok(())
}
