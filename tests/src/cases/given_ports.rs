//! The port that a socket has in the end: one that the kernel chose, or one that a
//! program of somebody else put there after ours had judged. That this is no way to a
//! reserved port is shown by `attacks::neighbours`.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Result, ensure};
use nix::errno::Errno;
use portreeve_common::abi::{JUDGED_PLACES, Judged, names};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        NOBODY, Sandbox, Servant, Watch,
        draw::{keep_out, set_range},
        neighbour::{self, Neighbour},
        refusal,
        request::Kind,
        servant::Said,
    },
    tests,
};

tests![
    a_reserved_port_that_slips_through,
    a_restricted_port_that_slips_through,
    a_pool_that_is_not_ours,
    from_one_right_port_to_another,
    to_a_port_that_is_nobodys,
    a_grant_does_not_go_along,
    nor_to_a_port_in_audit,
    others_in_audit_mode,
    a_word_that_another_bind_has_left,
    a_word_that_another_bind_has_overwritten,
    a_word_that_a_failed_bind_left,
];

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;
fn not_allowed() -> Said<()> {
    Err(refusal())
}
const SMALL: &str = "[ephemeral]\nfloor = 1\n";

fn local(v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::LOCALHOST.into()
    } else {
        LOCAL.into()
    }
}

/// Binds port 0 when nothing is kept out of the pool.
fn draw_unguarded(servant: &Servant, socket: i32, v6: bool) -> Result<Said<()>> {
    // The agent looks every few seconds, and may do so in this very moment.
    for _ in 0..10 {
        keep_out("")?;
        let said = servant.bind(socket, local(v6), 0)?;
        if said != Err(Errno::EADDRINUSE) {
            return Ok(said);
        }
    }
    anyhow::bail!("the pool is always mended at once")
}

fn event(v6: bool, reason: &str, port: u16, line: u64) -> Value {
    let mut event = json!({
        "hook": if v6 { "post_bind6" } else { "post_bind4" },
        "verdict": if reason == "permitted" { "allow" } else { "deny" },
        "reason": reason, "port": port, "address": local(v6), "granted": false,
    });
    match line {
        0 => event["entry"] = Value::Null,
        line => event["entry/line"] = line.into(),
    }
    event
}

/// `EPH-04`, `PRT-38`: where the agent keeps the pool, a reserved port that comes out
/// of it all the same is refused to all but its job. The socket is unbound again and
/// the port free.
fn a_reserved_port_that_slips_through(s: &Sandbox) -> Result<()> {
    set_range(40000, 40000)?;
    let profile = "PORT\n 40000 TCP RIGHT\n 40000 UDP RIGHT\n";
    // With one port in the pool none is left.
    let config = "[ephemeral]\nbelow_floor = \"accept\"\n[events]\nreport = \"all\"\n";
    let agent = s.agent_with(profile, config)?.start()?;
    let (right, wrong) = (
        Servant::start(&s.caller("right"))?,
        Servant::start(&s.caller("wrong"))?,
    );
    for (kind, line) in [(Kind::Tcp, 2), (Kind::Udp, 3)] {
        for v6 in [false, true] {
            let what = format!("{kind:?}, IPv6 {v6}");
            let mut watch = Watch::start(&agent)?;
            let socket = wrong.socket(kind, v6)?;
            ensure_eq!(draw_unguarded(&wrong, socket, v6)?, not_allowed(), "{what}");
            ensure_eq!(wrong.name(socket)?.port(), 0, "{what}: unbound");
            watch.expect(&[("other-job", 1)], &[event(v6, "other-job", 40000, line)])?;

            // Its job can have it, and then it isn't hidden any more.
            let drawn = right.socket(kind, v6)?;
            ensure_eq!(draw_unguarded(&right, drawn, v6)?, Ok(()), "{what}");
            ensure_eq!(right.name(drawn)?.port(), 40000, "{what}");
            watch.expect(&[("permitted", 1)], &[event(v6, "permitted", 40000, line)])?;
            right.close(drawn)?;

            // The socket that was refused can be bound.
            ensure_eq!(wrong.bind(socket, local(v6), 4321)?, Ok(()), "{what}");
            wrong.close(socket)?;
        }
    }
    Ok(())
}

/// `IBI-01`: the same by user; and of a port that is both.
fn a_restricted_port_that_slips_through(s: &Sandbox) -> Result<()> {
    set_range(40000, 40000)?;
    let config = "\
[ephemeral]
below_floor = \"accept\"
[events]
report = \"all\"
[[restriction]]
ports = \"40000\"
protocol = \"tcp\"
users = [\"1042\"]
";
    let agent = s.agent_with("PORT 21 TCP FTPD\n", config)?.start()?;
    let (right, wrong) = (
        Servant::start(&s.caller("app").user(1042))?,
        Servant::start(&s.caller("app").user(1043))?,
    );
    let mut watch = Watch::start(&agent)?;
    for v6 in [false, true] {
        let socket = wrong.socket(Kind::Tcp, v6)?;
        ensure_eq!(
            draw_unguarded(&wrong, socket, v6)?,
            not_allowed(),
            "IPv6 {v6}"
        );
        ensure_eq!(wrong.name(socket)?.port(), 0, "IPv6 {v6}: unbound");
        watch.expect(&[("other-user", 1)], &[event(v6, "other-user", 40000, 0)])?;
        let drawn = right.socket(Kind::Tcp, v6)?;
        ensure_eq!(draw_unguarded(&right, drawn, v6)?, Ok(()), "IPv6 {v6}");
        right.close(drawn)?;
        watch.expect(&[], &[event_allowed(v6)])?;
        let socket = wrong.socket(Kind::Udp, v6)?;
        ensure_eq!(draw_unguarded(&wrong, socket, v6)?, Ok(()), "UDP {v6}");
        wrong.close(socket)?;
        watch.expect(&[], &[])?;
    }
    Ok(())
}

fn event_allowed(v6: bool) -> Value {
    let mut event = event(v6, "unreserved", 40000, 0);
    event["verdict"] = "allow".into();
    event
}

/// `EPH-10`, `UNR-15`: where nobody keeps the pool, what comes out of it is not
/// judged: nothing could be had there at all.
fn a_pool_that_is_not_ours(s: &Sandbox) -> Result<()> {
    set_range(40000, 40000)?;
    let profile = "PORT\n 40000 TCP RIGHT\n 40000 UDP RESERVED\n";
    let audit = "mode = \"audit\"\n[ephemeral]\nbelow_floor = \"accept\"\n";
    for config in ["[ephemeral]\nmanage = false\n", audit] {
        let agent = s.agent_with(profile, config)?.start()?;
        let mut watch = Watch::start(&agent)?;
        let wrong = Servant::start(&s.caller("wrong"))?;
        for kind in [Kind::Tcp, Kind::Udp] {
            for v6 in [false, true] {
                let socket = wrong.socket(kind, v6)?;
                let said = wrong.bind(socket, local(v6), 0)?;
                ensure_eq!(said, Ok(()), "{kind:?}, IPv6 {v6}, {config}");
                ensure_eq!(wrong.name(socket)?.port(), 40000, "{config}");
                wrong.close(socket)?;
            }
        }
        watch.expect(&[], &[])?;
        agent.terminate()?;
        s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    }
    // Another namespace's pool is never ours.
    let config = format!("{SMALL}[scope]\nnetns = \"all\"\n");
    set_range(40000, 40001)?;
    let agent = s.agent_with("PORT 40000 TCP RIGHT\n", &config)?.start()?;
    let mut watch = Watch::start(&agent)?;
    let elsewhere = Servant::start(&s.caller("wrong").elsewhere())?;
    elsewhere.set_port_range(40000, 40000)?;
    let socket = elsewhere.socket(Kind::Tcp, false)?;
    ensure_eq!(elsewhere.bind(socket, LOCAL, 0)?, Ok(()), "elsewhere");
    ensure_eq!(
        elsewhere.name(socket)?,
        SocketAddr::from((LOCAL, 40000)),
        ""
    );
    watch.expect(&[], &[])
}

const MOVED: &str = "\
PORT
  4321 TCP RIGHT
  4321 UDP RIGHT
  4322 TCP *
";

/// Judged twice, as two ports are asked for; a bind that isn't moved is judged once.
fn from_one_right_port_to_another(s: &Sandbox) -> Result<()> {
    let agent = s
        .agent_with(MOVED, "[events]\nreport = \"all\"\n")?
        .start()?;
    let mut watch = Watch::start(&agent)?;
    let right = Servant::start(&s.caller("right"))?;
    let moved = |hook: &str, port: u16| json!({"hook": hook, "reason": "permitted", "port": port});
    let socket = right.socket(Kind::Tcp, false)?;
    ensure_eq!(right.bind(socket, LOCAL, 4322)?, Ok(()), "not moved");
    watch.expect(&[("permitted", 1)], &[moved("bind4", 4322)])?;
    let _neighbour = Neighbour::attach_moving(&s.cgroup, false, 4321)?;
    let socket = right.socket(Kind::Tcp, false)?;
    ensure_eq!(right.bind(socket, LOCAL, 4322)?, Ok(()), "moved");
    ensure_eq!(right.name(socket)?.port(), 4321, "moved");
    let both = [moved("bind4", 4322), moved("post_bind4", 4321)];
    watch.expect(&[("permitted", 2)], &both)
}

/// A port that the policy says nothing of is not judged in the end.
fn to_a_port_that_is_nobodys(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with(MOVED, "")?.start()?;
    let mut watch = Watch::start(&agent)?;
    let _neighbour = Neighbour::attach_moving(&s.cgroup, false, 4400)?;
    let wrong = Servant::start(&s.caller("wrong"))?;
    let socket = wrong.socket(Kind::Tcp, false)?;
    ensure_eq!(wrong.bind(socket, LOCAL, 4321)?, not_allowed(), "asked for");
    ensure_eq!(wrong.bind(socket, LOCAL, 4322)?, Ok(()), "moved");
    ensure_eq!(wrong.name(socket)?.port(), 4400, "moved");
    let event = json!({"hook": "bind4", "reason": "other-job", "port": 4321});
    watch.expect(&[("permitted", 1), ("other-job", 1)], &[event])
}

/// `PRT-39`: a grant is for its port. Another low port, which nobody asked a
/// capability for, is refused to who has none.
fn a_grant_does_not_go_along(s: &Sandbox) -> Result<()> {
    let agent = s
        .agent_with(
            "PORT 81 TCP RIGHT\n 83 TCP RIGHT\n",
            "[grant]\nrequire = \"any\"\n",
        )?
        .start()?;
    let mut watch = Watch::start(&agent)?;
    let nobody = Servant::start(&s.caller("right").user(NOBODY))?;
    let socket = nobody.socket(Kind::Tcp, false)?;
    ensure_eq!(nobody.bind(socket, LOCAL, 81)?, Ok(()), "not moved");
    watch.expect(&[("permitted", 1)], &[])?;
    {
        let _neighbour = Neighbour::attach_moving(&s.cgroup, false, 82)?;
        let socket = nobody.socket(Kind::Tcp, false)?;
        ensure_eq!(
            nobody.bind(socket, LOCAL, 83)?,
            not_allowed(),
            "to nobody's"
        );
        ensure_eq!(nobody.name(socket)?.port(), 0, "to nobody's: unbound");
        let event = json!({"hook": "post_bind4", "reason": "low-port", "port": 82});
        watch.expect(&[("permitted", 1), ("low-port", 1)], &[event])?;
        let root = Servant::start(&s.caller("right"))?;
        let socket = root.socket(Kind::Tcp, false)?;
        ensure_eq!(root.bind(socket, LOCAL, 83)?, Ok(()), "root needs no grant");
        watch.expect(&[("permitted", 1)], &[])?;
    }
    let _neighbour = Neighbour::attach_moving(&s.cgroup, false, 83)?;
    let socket = nobody.socket(Kind::Tcp, false)?;
    ensure_eq!(nobody.bind(socket, LOCAL, 81)?, Ok(()), "to its other port");
    watch.expect(&[("permitted", 2)], &[])
}

/// Rules that are only told don't keep a grant from being taken back: it was made, and
/// without it the bind would have failed.
fn nor_to_a_port_in_audit(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 81 TCP RIGHT\n 82 TCP RIGHT\n 84 TCP OTHER\n";
    let config = "[grant]\nrequire = \"any\"\n[audit]\nports = [\"tcp/82\", \"tcp/84\"]\n";
    let agent = s.agent_with(profile, config)?.start()?;
    for port in [82, 84] {
        let mut watch = Watch::start(&agent)?;
        let _neighbour = Neighbour::attach_moving(&s.cgroup, false, port)?;
        let nobody = Servant::start(&s.caller("right").user(NOBODY))?;
        let socket = nobody.socket(Kind::Tcp, false)?;
        ensure_eq!(nobody.bind(socket, LOCAL, 81)?, not_allowed(), "{port}");
        ensure_eq!(nobody.name(socket)?.port(), 0, "{port}: unbound");
        let event = json!({
            "hook": "post_bind4", "verdict": "deny", "reason": "low-port", "port": port,
        });
        watch.expect(&[("permitted", 1), ("low-port", 1)], &[event])?;
    }
    // Who needs none is only told of.
    let before = agent.status()?["audited"]["other-job"].clone();
    let _neighbour = Neighbour::attach_moving(&s.cgroup, false, 84)?;
    let root = Servant::start(&s.caller("right"))?;
    let socket = root.socket(Kind::Tcp, false)?;
    ensure_eq!(root.bind(socket, LOCAL, 81)?, Ok(()), "root");
    ensure_eq!(root.name(socket)?.port(), 84, "root");
    let after = &agent.status()?["audited"]["other-job"];
    ensure_eq!((before, after), (json!(0), &json!(1)), "told");
    Ok(())
}

/// Reported and counted once, by the hook that judged what the socket got.
fn others_in_audit_mode(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with(MOVED, "mode = \"audit\"\n")?.start()?;
    let mut watch = Watch::start(&agent)?;
    let wrong = Servant::start(&s.caller("wrong"))?;
    let would = |hook: &str| json!({"hook": hook, "verdict": "would-deny", "reason": "other-job", "port": 4321});
    let bind = |asked: u16| -> Result<()> {
        let socket = wrong.socket(Kind::Tcp, false)?;
        ensure_eq!(wrong.bind(socket, LOCAL, asked)?, Ok(()), "{asked}");
        ensure_eq!(wrong.name(socket)?.port(), 4321, "{asked}");
        wrong.close(socket)
    };
    bind(4321)?;
    watch.expect_audited(&[("other-job", 1)], &[would("bind4")])?;
    let _neighbour = Neighbour::attach_moving(&s.cgroup, false, 4321)?;
    bind(4400)?;
    watch.expect_audited(&[("other-job", 1)], &[would("post_bind4")])?;
    bind(4321)?;
    watch.expect_audited(&[("other-job", 1)], &[would("bind4")])?;
    ensure!(
        agent.status()?["counters"]["other-job"] == 0,
        "counted as refused"
    );
    Ok(())
}

fn words(s: &Sandbox) -> PathBuf {
    s.bpffs.join("shared").join(names::JUDGED)
}

/// What the places hold before a bind makes no difference: each puts its own word there.
fn a_word_that_another_bind_has_left(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with("PORT 4321 TCP RIGHT\n", "")?.start()?;
    let mut watch = Watch::start(&agent)?;
    let fill = || {
        let word = Judged::new(1 << 40, 4321).word().to_ne_bytes();
        neighbour::fill(&words(s), JUDGED_PLACES, &word)
    };
    let right = Servant::start(&s.caller("right"))?;
    fill()?;
    let socket = right.socket(Kind::Tcp, false)?;
    ensure_eq!(right.bind(socket, LOCAL, 4321)?, Ok(()), "asked for");
    right.close(socket)?;
    watch.expect(&[("permitted", 1)], &[])?;

    let _neighbour = Neighbour::attach_moving(&s.cgroup, false, 4321)?;
    fill()?;
    let socket = right.socket(Kind::Tcp, false)?;
    ensure_eq!(right.bind(socket, LOCAL, 4400)?, Ok(()), "moved there");
    ensure_eq!(right.name(socket)?.port(), 4321, "moved there");
    right.close(socket)?;
    watch.expect(&[("permitted", 1)], &[])?;
    let wrong = Servant::start(&s.caller("wrong"))?;
    fill()?;
    let socket = wrong.socket(Kind::Tcp, false)?;
    ensure_eq!(wrong.bind(socket, LOCAL, 4400)?, not_allowed(), "wrong");
    let event = json!({"hook": "post_bind4", "reason": "other-job", "port": 4321});
    watch.expect(&[("other-job", 1)], &[event])
}

/// One that is gone when the port is given, whatever stands there then: nobody knows whether
/// the port was judged, so it is judged, the wrong job is refused, and the right one is not
/// counted a second time.
fn a_word_that_another_bind_has_overwritten(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with("PORT 4321 TCP RIGHT\n", "")?.start()?;
    let mut watch = Watch::start(&agent)?;
    // Nobody's word; that of a socket that nobody has.
    for word in [0, Judged::new(1 << 40, 4321).word()] {
        let overwriting = |servant: &Servant, socket: i32| {
            let place = Judged::place(servant.cookie(socket)?);
            Neighbour::attach_overwriting(&s.cgroup, &words(s), place, word)
        };
        let right = Servant::start(&s.caller("right"))?;
        let socket = right.socket(Kind::Tcp, false)?;
        {
            let _neighbour = overwriting(&right, socket)?;
            ensure_eq!(right.bind(socket, LOCAL, 4321)?, Ok(()), "{word:x}: right");
        }
        right.close(socket)?;
        watch.expect(&[("permitted", 1)], &[])?;

        let _moving = Neighbour::attach_moving(&s.cgroup, false, 4321)?;
        let wrong = Servant::start(&s.caller("wrong"))?;
        let socket = wrong.socket(Kind::Tcp, false)?;
        let _neighbour = overwriting(&wrong, socket)?;
        let said = wrong.bind(socket, LOCAL, 4400)?;
        ensure_eq!(said, not_allowed(), "{word:x}: wrong");
        ensure_eq!(wrong.name(socket)?.port(), 0, "{word:x}: unbound");
        let event = json!({"hook": "post_bind4", "reason": "other-job", "port": 4321});
        watch.expect(&[("other-job", 1)], &[event])?;
    }
    Ok(())
}

/// `PRT-37`: the socket's next bind is judged anew, by the policy that is in force then.
fn a_word_that_a_failed_bind_left(s: &Sandbox) -> Result<()> {
    let agent = s.agent_with("PORT 4321 TCP RIGHT\n", "")?.start()?;
    let mut watch = Watch::start(&agent)?;
    let right = Servant::start(&s.caller("right"))?;
    let first = right.socket(Kind::Tcp, false)?;
    ensure_eq!(right.bind(first, LOCAL, 4321)?, Ok(()), "the first");
    let second = right.socket(Kind::Tcp, false)?;
    let taken = right.bind(second, LOCAL, 4321)?;
    ensure_eq!(taken, Err(Errno::EADDRINUSE), "the second");
    right.close(first)?;
    watch.expect(&[("permitted", 2)], &[])?;

    fs::write(s.profile(), "PORT 4321 TCP OTHER\n")?;
    ensure_eq!(agent.reload(&[])?.0, 0, "reload");
    let mut watch = Watch::start(&agent)?;
    let _neighbour = Neighbour::attach_moving(&s.cgroup, false, 4321)?;
    ensure_eq!(right.bind(second, LOCAL, 4400)?, not_allowed(), "moved");
    let event = json!({"hook": "post_bind4", "reason": "other-job", "port": 4321});
    watch.expect(&[("other-job", 1)], &[event])
}
