//! Socket units, and services of a real systemd that is the first process: of a virtual
//! machine, because the agent is attached to its root cgroup.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{Agent, Origin, Sandbox, Server, Settings, Systemd, Watch, systemd::exec},
    tests,
};

tests![
    socket_units_of_the_first_process,
    socket_units_are_told_by_the_name_of_who_binds,
    a_low_port_needs_no_capability,
    a_dynamic_user_is_no_hindrance,
    recognised_from_the_first_instruction,
    the_agent_is_a_unit_before_others,
];

const LOUD: Settings = Settings::DEFAULT.report_all();
const PORT: u16 = 4021;
const SOCKET: &str = "vsftpd.socket";
const SERVICE: &str = "vsftpd.service";

/// An agent for everything that this systemd starts.
fn agent<'s>(s: &'s Sandbox, systemd: &Systemd, profile: &str, jobs: &str) -> Result<Agent<'s>> {
    s.set_policy_with(profile, LOUD, jobs)?;
    let root = systemd.cgroup.display().to_string();
    s.agent_again()?.option("--cgroup", &root).start()
}

fn set_socket_unit(systemd: &Systemd) -> Result<()> {
    let socket = format!("[Socket]\nListenStream=127.0.0.1:{PORT}\n");
    let service = format!("[Service]\n{}", exec(Origin::Handed)?);
    systemd.set(&[(SOCKET, &socket), (SERVICE, &service)])
}

/// The bind of a socket unit: by a process that systemd starts for it alone.
fn bind_of_systemd(verdict: &str) -> Value {
    let is_refused = verdict == "deny";
    json!({
        "hook": "bind4",
        "verdict": verdict,
        "reason": if is_refused { "other-job" } else { "permitted" },
        "errno": is_refused.then_some("EACCES"),
        "address": "127.0.0.1",
        "port": PORT,
        "comm": "(sd-listen)",
        "uid": 0,
        "entry/line": 2,
    })
}

/// The last event names the unit's cgroup. A unit that fails is gone at once, and the
/// cgroup with it: then its number is all there is.
fn came_from(agent: &Agent<'_>, systemd: &Systemd, unit: &str) -> Result<()> {
    let events = agent.events()?;
    let event = events.last().context("no event")?;
    let cgroup = event["cgroup"].as_str().context("no cgroup")?;
    let is_gone = event["verdict"] == "deny" && cgroup.starts_with('#');
    ensure!(is_gone || cgroup == systemd.cgroup_of(unit), "{event}");
    Ok(())
}

/// What `check` says of what listens, to the policy in the sandbox's files: the codes
/// and the messages.
fn checked(s: &Sandbox) -> Result<Vec<(String, String)>> {
    let [profile, config] = [s.profile(), s.config()].map(|path| path.display().to_string());
    let checked = s.portreeve(&["check", &profile, "--config", &config, "--format", "json"])?;
    let checked = checked.ended_with(0)?.json()?;
    let said = checked["diagnostics"].as_array().context("diagnostics")?;
    let of_listeners = said.iter().filter_map(|said| {
        let code = said["code"]
            .as_str()
            .filter(|code| LISTENERS.contains(code))?;
        Some((code.to_owned(), said["message"].as_str()?.to_owned()))
    });
    Ok(of_listeners.collect())
}

/// A reserved port is held by somebody else, or by a socket unit.
const LISTENERS: [&str; 2] = ["PRV530", "PRV535"];

/// A connection starts the service, which is handed the socket.
fn serves(systemd: &Systemd) -> Result<()> {
    is_served(systemd)?;
    systemd.stop(&[SOCKET, SERVICE])
}

fn is_served(systemd: &Systemd) -> Result<()> {
    let server = Server::at(PORT)?;
    ensure_eq!(server.cgroup, systemd.cgroup_of(SERVICE), "who serves");
    ensure_eq!(
        systemd.property(SERVICE, "MainPID")?,
        server.pid.to_string(),
        "who serves"
    );
    Ok(())
}

/// `LNT-07`: the bind of a socket unit happens in the cgroup of the `.socket` unit: a job that
/// has the service's only misses it, one that has both gets it. The service binds
/// nothing. `check` names the first beforehand, and has nothing against the second.
pub fn socket_unit(s: &Sandbox, systemd: &Systemd) -> Result<()> {
    set_socket_unit(systemd)?;
    let profile = format!("PORT\n {PORT} TCP FTPD1\n");
    let [service, socket] = [SERVICE, SOCKET].map(|unit| systemd.cgroup_of(unit));
    let by_service = format!("[jobs.FTPD1]\ncgroup = \"{service}\"\n");
    let by_both = format!("[jobs.FTPD1]\ncgroup = [\"{service}\", \"{socket}\"]\n");

    ensure!(systemd.start(SOCKET)?, "without an agent");
    for is_running in [false, true] {
        if is_running {
            is_served(systemd)?;
        }
        s.set_policy_with(&profile, LOUD, &by_service)?;
        let said = checked(s)?;
        let [(code, message)] = &said[..] else {
            bail!("not one finding: {said:?}");
        };
        ensure_eq!(code, "PRV535", "{message}");
        let named = format!("{SOCKET} listens on tcp/{PORT},");
        ensure!(message.contains(&named), "{message}");
        s.set_policy_with(&profile, LOUD, &by_both)?;
        ensure_eq!(checked(s)?, [], "with both cgroups");
    }
    systemd.stop(&[SOCKET, SERVICE])?;

    let agent_of_one = agent(s, systemd, &profile, &by_service)?;
    let mut watch = Watch::start(&agent_of_one)?;
    ensure!(!systemd.start(SOCKET)?, "the socket unit has started");
    ensure_eq!(systemd.property(SOCKET, "Result")?, "resources", "{SOCKET}");
    ensure_eq!(
        systemd.property(SOCKET, "ActiveState")?,
        "failed",
        "{SOCKET}"
    );
    watch.expect(&[("other-job", 1)], &[bind_of_systemd("deny")])?;
    came_from(&agent_of_one, systemd, SOCKET)?;
    systemd.stop(&[SOCKET, SERVICE])?;
    agent_of_one.terminate()?;

    let agent_of_both = agent(s, systemd, &profile, &by_both)?;
    let mut watch = Watch::start(&agent_of_both)?;
    ensure!(systemd.start(SOCKET)?, "with both cgroups");
    let mut permitted = bind_of_systemd("allow");
    permitted["job"] = "FTPD1".into();
    watch.expect(&[("permitted", 1)], &[permitted])?;
    came_from(&agent_of_both, systemd, SOCKET)?;
    is_kept_by(&agent_of_both, SOCKET)?;
    is_served(systemd)?;
    is_kept_by(&agent_of_both, SOCKET)?;
    // systemd goes on listening for it.
    systemd.stop(&[SERVICE])?;
    is_kept_by(&agent_of_both, SOCKET)?;
    serves(systemd)?;
    watch.expect(&[], &[])
}

/// `CLS-09`: the port is open by the socket unit, and no orphan, whatever becomes of the
/// service.
fn is_kept_by(agent: &Agent<'_>, unit: &str) -> Result<()> {
    let rows = agent.ports()?;
    let row = rows.first().context("no row")?;
    let found = json!([row["state"], row["holder"]["unit"], row["holder"]["orphan"]]);
    ensure_eq!(found, json!(["open", unit, null]), "{row}");
    Ok(())
}

/// Of one name for all socket units there is no telling them apart; with the cgroup
/// it says that nobody else in there may bind.
pub fn socket_unit_by_name(s: &Sandbox, systemd: &Systemd) -> Result<()> {
    set_socket_unit(systemd)?;
    let other = format!("[Socket]\nListenStream=127.0.0.1:{PORT}\nService={SERVICE}\n");
    systemd.set(&[("other.socket", &other)])?;
    let profile = format!("PORT\n {PORT} TCP FTPD1\n");
    let by_name = "[jobs.FTPD1]\ncomm = \"(sd-listen)\"\n";
    let agent_of_all = agent(s, systemd, &profile, by_name)?;
    let mut watch = Watch::start(&agent_of_all)?;
    for unit in [SOCKET, "other.socket"] {
        ensure!(systemd.start(unit)?, "{unit} by the binder's name");
        watch.expect(&[("permitted", 1)], &[bind_of_systemd("allow")])?;
        came_from(&agent_of_all, systemd, unit)?;
        systemd.stop(&[unit])?;
    }
    agent_of_all.terminate()?;

    let socket = systemd.cgroup_of(SOCKET);
    let by_both = format!("[jobs.FTPD1]\ncomm = \"(sd-listen)\"\ncgroup = \"{socket}\"\n");
    let agent_of_one = agent(s, systemd, &profile, &by_both)?;
    let mut watch = Watch::start(&agent_of_one)?;
    ensure!(
        !systemd.start("other.socket")?,
        "another socket unit has started"
    );
    watch.expect(&[("other-job", 1)], &[bind_of_systemd("deny")])?;
    came_from(&agent_of_one, systemd, "other.socket")?;
    ensure!(systemd.start(SOCKET)?, "by name and cgroup");
    watch.expect(&[("permitted", 1)], &[bind_of_systemd("allow")])?;
    came_from(&agent_of_one, systemd, SOCKET)?;
    serves(systemd)
}

fn socket_units_of_the_first_process(s: &Sandbox) -> Result<()> {
    socket_unit(s, &Systemd::first()?)
}

fn socket_units_are_told_by_the_name_of_who_binds(s: &Sandbox) -> Result<()> {
    socket_unit_by_name(s, &Systemd::first()?)
}

/// A service that binds by itself, ready when it has, with more in its unit file.
fn service(port: u16, more: &str) -> Result<String> {
    let exec = exec(Origin::Bound(port))?;
    Ok(format!("[Service]\nType=notify\n{exec}{more}"))
}

/// The bind of a service.
fn bind_of_service(port: u16, verdict: &str) -> Value {
    let is_refused = verdict == "deny";
    json!({
        "verdict": verdict,
        "reason": if is_refused { "other-job" } else { "permitted" },
        "errno": is_refused.then_some("EACCES"),
        "port": port,
    })
}

/// `PRT-39`: a reservation for a cgroup takes the place of `CAP_NET_BIND_SERVICE`,
/// for that service and for no other one of the same user.
fn a_low_port_needs_no_capability(s: &Sandbox) -> Result<()> {
    const LOW: u16 = 21;
    const DENIED: &str = "13";
    let systemd = Systemd::first()?;
    let user = "User=daemon\nCapabilityBoundingSet=\n";
    let text = service(LOW, user)?;
    systemd.set(&[(SERVICE, &text), ("thief.service", &text)])?;
    ensure!(
        !systemd.start(SERVICE)?,
        "without an agent and a capability"
    );
    let status = systemd.property(SERVICE, "ExecMainStatus")?;
    ensure_eq!(status, DENIED, "errno without an agent");
    systemd.stop(&[SERVICE])?;

    let cgroup = systemd.cgroup_of(SERVICE);
    let jobs = format!("[jobs.FTPD1]\ncgroup = \"{cgroup}\"\n");
    let profile = format!("PORT\n {LOW} TCP FTPD1\n");
    let agent = agent(s, &systemd, &profile, &jobs)?;
    let mut watch = Watch::start(&agent)?;
    ensure!(
        !systemd.start("thief.service")?,
        "another service of the user"
    );
    let status = systemd.property("thief.service", "ExecMainStatus")?;
    ensure_eq!(status, DENIED, "errno of another service of the user");
    let mut refused = bind_of_service(LOW, "deny");
    refused["granted"] = false.into();
    watch.expect(&[("other-job", 1)], &[refused])?;
    came_from(&agent, &systemd, "thief.service")?;

    ensure!(systemd.start(SERVICE)?, "the service");
    let server = Server::at(LOW)?;
    ensure!(!server.is_privileged, "{server:?}");
    ensure!(server.uid != 0, "{server:?}");
    let mut granted = bind_of_service(LOW, "allow");
    granted["pid"] = server.pid.into();
    granted["uid"] = server.uid.into();
    granted["granted"] = true.into();
    granted["job"] = "FTPD1".into();
    watch.expect(&[("permitted", 1)], &[granted])?;
    came_from(&agent, &systemd, SERVICE)
}

/// A user that is made for the service and is gone with it.
fn a_dynamic_user_is_no_hindrance(s: &Sandbox) -> Result<()> {
    const LOW: u16 = 22;
    let systemd = Systemd::first()?;
    systemd.set(&[(SERVICE, &service(LOW, "DynamicUser=yes\n")?)])?;
    let cgroup = systemd.cgroup_of(SERVICE);
    let jobs = format!("[jobs.SSHD]\ncgroup = \"{cgroup}\"\n");
    let profile = format!("PORT\n {LOW} TCP SSHD\n");
    let agent = agent(s, &systemd, &profile, &jobs)?;
    let mut watch = Watch::start(&agent)?;
    ensure!(systemd.start(SERVICE)?, "the service");
    let server = Server::at(LOW)?;
    // The range that systemd takes them from.
    ensure!((61184..=65519).contains(&server.uid), "{server:?}");
    ensure!(!server.is_privileged, "{server:?}");
    let mut granted = bind_of_service(LOW, "allow");
    granted["uid"] = server.uid.into();
    granted["granted"] = true.into();
    watch.expect(&[("permitted", 1)], &[granted])?;
    came_from(&agent, &systemd, SERVICE)
}

/// A service whose cgroup nobody has seen before binds as the first thing it does:
/// again and again, no one is refused.
fn recognised_from_the_first_instruction(s: &Sandbox) -> Result<()> {
    const STARTS: usize = 12;
    let systemd = Systemd::first()?;
    systemd.set(&[("race@.service", &service(PORT, "")?)])?;
    let jobs = "[jobs.RACE]\ncgroup = \"/system.slice/*/race@*.service\"\n";
    let profile = format!("PORT\n {PORT} TCP RACE\n");
    let agent = agent(s, &systemd, &profile, jobs)?;
    let mut watch = Watch::start(&agent)?;
    for number in 0..STARTS {
        let unit = format!("race@{number}.service");
        ensure!(systemd.start(&unit)?, "{unit}");
        let server = Server::at(PORT)?;
        let cgroup = format!("/system.slice/system-race.slice/{unit}");
        ensure_eq!(server.cgroup, cgroup, "{unit}");
        let permitted = json!({
            "verdict": "allow",
            "reason": "permitted",
            "pid": server.pid,
            "job": "RACE",
            "cgroup": cgroup,
        });
        watch.expect(&[("permitted", 1)], &[permitted])?;
        systemd.stop(&[&unit])?;
    }
    Ok(())
}

/// The agent itself as a unit that is ready when it enforces: what is ordered behind
/// it finds its port guarded, started in one go.
fn the_agent_is_a_unit_before_others(s: &Sandbox) -> Result<()> {
    const AGENT: &str = "portreeve.service";
    let systemd = Systemd::first()?;
    let profile = format!("PORT\n {PORT} TCP FTPD1\n");
    s.set_policy_with(
        &profile,
        LOUD,
        &format!(
            "[jobs.FTPD1]\ncgroup = \"{}\"\n",
            systemd.cgroup_of(SERVICE)
        ),
    )?;
    let root = systemd.cgroup.display().to_string();
    let start = s.agent_again()?.option("--cgroup", &root);
    let arguments = start.launch.arguments.join(" ");
    let program = start.launch.program.display().to_string();
    let unit =
        format!("[Service]\nType=notify\nTimeoutStartSec=300\nExecStart={program} {arguments}\n");
    let behind = format!("[Unit]\nRequires={AGENT}\nAfter={AGENT}\n");
    let right = behind.clone() + &service(PORT, "")?;
    let thief = behind + &service(PORT, "")?;
    systemd.set(&[(AGENT, &unit), (SERVICE, &right), ("thief.service", &thief)])?;
    ensure!(!systemd.start("thief.service")?, "the thief was first");
    ensure_eq!(systemd.property(AGENT, "ActiveState")?, "active", "{AGENT}");
    ensure!(systemd.start(SERVICE)?, "the service");
    let server = Server::at(PORT)?;
    ensure_eq!(server.cgroup, systemd.cgroup_of(SERVICE), "who serves");
    let status = s
        .portreeve(&["status", "--format", "json"])?
        .ended_with(0)?;
    let counters = &status.json()?["counters"];
    ensure_eq!(counters["other-job"], 1, "{counters}");
    ensure_eq!(counters["permitted"], 1, "{counters}");
    Ok(())
}
