//! Procedures that AUTOLOG lists, as units of a real systemd: started, watched, cancelled.

use std::{fs, net::Ipv4Addr, os::unix::fs::PermissionsExt as _, thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Origin, Sandbox, Server, Settings, Systemd,
        links::add_address,
        procedures::{self, autolog, done},
        refusal,
        server::words,
        systemd::exec,
        tcp,
    },
    tests,
};

tests![
    a_listed_procedure_is_started_and_is_its_job,
    a_left_over_is_cancelled_and_started,
    a_left_over_that_listens_is_let_alone,
    a_left_over_that_ends_is_started_at_once,
    what_never_listens_is_cancelled_again_and_again,
    one_of_two_ports_is_not_enough,
    what_has_ended_is_started_by_a_pass,
    what_ignores_sigterm_is_killed,
    what_forks_is_watched_like_others,
    what_dies_at_once_is_told,
    a_unit_that_is_not_there,
    a_socket_unit_hides_a_dead_service,
    check_looks_at_the_units,
    a_command_is_started_with_its_parameters,
    a_delay_waits_for_files_and_units,
    a_delay_waits_for_addresses,
    a_reload_changes_the_list,
    an_agent_that_takes_over_starts_nothing_again,
    operators_stop_and_start,
    nothing_is_started_where_it_is_only_watched,
    a_systemd_that_is_gone_ends_nothing,
];

const PORT: u16 = 4021;
const OTHER: u16 = 4022;
const UNIT: &str = "vsftpd.service";
const LOUD: Settings = Settings::DEFAULT.report_all();

/// A profile that lists `procedures`, with `ports` for them.
fn profile(procedures: &str, ports: &[(u16, &str)]) -> String {
    let ports = ports
        .iter()
        .map(|(port, job)| format!(" {port} TCP {job}\n"));
    let ports: String = ports.collect();
    format!("AUTOLOG 0\n {procedures}\nENDAUTOLOG\nPORT\n{ports}")
}

/// The usual one.
fn ftpd() -> String {
    profile("FTPD", &[(PORT, "FTPD")])
}

/// What the config says of procedures: where systemd is, and what they are.
fn config(systemd: &Systemd, procs: &str) -> Result<String> {
    let (bus, slice) = (systemd.bus()?, &systemd.slice);
    Ok(format!(
        "[autolog]\nbus = \"{bus}\"\nslice = \"{slice}\"\n{procs}"
    ))
}

const FTPD: &str = "[procs.FTPD]\nunit = \"vsftpd.service\"\n";

fn set(s: &Sandbox, systemd: &Systemd, profile: &str, procs: &str) -> Result<()> {
    s.set_policy_with(profile, LOUD, &config(systemd, procs)?)
}

fn agent<'s>(s: &'s Sandbox, systemd: &Systemd, profile: &str, procs: &str) -> Result<Agent<'s>> {
    set(s, systemd, profile, procs)?;
    s.agent_again()?.start()
}

/// A service that serves the port, ready when it listens.
fn server(port: u16) -> Result<String> {
    Ok(format!(
        "[Service]\nType=notify\n{}",
        exec(Origin::Bound(port))?
    ))
}

/// A service that never listens.
const IDLE: &str = "[Service]\nExecStart=/bin/sleep 1000\n";

/// A service that is a script.
fn script(s: &Sandbox, name: &str, text: &str, kind: &str) -> Result<String> {
    let path = s.write(name, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(format!(
        "[Service]\nType={kind}\nExecStart={}\n",
        path.display()
    ))
}

/// The procedure as the agent shows it.
fn shown(s: &Sandbox, name: &str) -> Result<Value> {
    let rows = autolog(s, &[])?.ended_with(0)?.json()?;
    let mut rows = rows.as_array().context("rows")?.iter();
    let row = rows.find(|row| row["proc"] == name);
    Ok(row.context("no such procedure")?.clone())
}

/// Waits until the procedure `is_so`.
fn wait_for(s: &Sandbox, name: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
    procedures::wait_for(|| shown(s, name), is_so)
}

fn wait_for_event(s: &Sandbox, name: &str, what: &str) -> Result<Value> {
    wait_for(s, name, |row| done(row).iter().any(|event| event == what))
}

fn main_pid(systemd: &Systemd, unit: &str) -> Result<u32> {
    Ok(systemd.property(unit, "MainPID")?.parse()?)
}

fn state(systemd: &Systemd, unit: &str) -> Result<String> {
    systemd.property(unit, "ActiveState")
}

/// `ALG-01`, `RPT-15`: started when the policy is in force, and recognised by its unit:
/// nobody else is the job, whatever he calls himself.
fn a_listed_procedure_is_started_and_is_its_job(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, &server(PORT)?)])?;
    let _agent = agent(s, &systemd, &ftpd(), FTPD)?;
    let server = Server::at(PORT)?;
    ensure_eq!(server.cgroup, systemd.cgroup_of(UNIT), "who serves");
    let row = wait_for(s, "FTPD", |row| {
        row["now"]["missing"] == serde_json::json!([])
    })?;
    ensure_eq!(row["now"]["phase"], "running", "{row}");
    ensure_eq!(row["unit"], UNIT, "{row}");
    ensure_eq!(row["watched"], serde_json::json!(["tcp/4021"]), "{row}");
    ensure_eq!(done(&row), ["start"], "{row}");
    let liar = Binder::attempt(&s.caller("ftpd"), &tcp(PORT))?;
    ensure_eq!(liar, Err(refusal()), "who calls himself so");
    let text = s.portreeve(&["autolog"])?.ended_with(0)?.stdout;
    ensure!(text.contains("FTPD") && text.contains("running"), "{text}");
    Ok(())
}

/// `ALG-05`: what runs when the stack starts, and doesn't listen, has had its time.
fn a_left_over_is_cancelled_and_started(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, IDLE)])?;
    ensure!(systemd.start(UNIT)?, "beforehand");
    let before = main_pid(&systemd, UNIT)?;
    systemd.set(&[(UNIT, &server(PORT)?)])?;
    let _agent = agent(s, &systemd, &ftpd(), FTPD)?;
    ensure!(Server::at(PORT)?.pid != before, "it is the same");
    let row = wait_for_event(s, "FTPD", "start")?;
    ensure_eq!(done(&row), ["cancel", "start"], "{row}");
    Ok(())
}

fn a_left_over_that_listens_is_let_alone(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, &server(PORT)?)])?;
    ensure!(systemd.start(UNIT)?, "beforehand");
    let before = Server::at(PORT)?.pid;
    let _agent = agent(s, &systemd, &ftpd(), FTPD)?;
    let row = wait_for_event(s, "FTPD", "news")?;
    ensure_eq!(done(&row), ["news"], "{row}");
    ensure_eq!(Server::at(PORT)?.pid, before, "who serves");
    Ok(())
}

/// `ALG-04`, as soon as it is looked at: within ten seconds.
fn a_left_over_that_ends_is_started_at_once(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, IDLE)])?;
    ensure!(systemd.start(UNIT)?, "beforehand");
    systemd.set(&[(UNIT, &server(PORT)?)])?;
    let patient = ftpd().replace("AUTOLOG 0", "AUTOLOG 30");
    let _agent = agent(s, &systemd, &patient, FTPD)?;
    let row = wait_for_event(s, "FTPD", "news")?;
    ensure_eq!(row["now"]["phase"], "draining", "{row}");
    systemd.stop(&[UNIT])?;
    Server::at(PORT)?;
    let row = shown(s, "FTPD")?;
    ensure_eq!(done(&row), ["news", "start"], "{row}");
    Ok(())
}

/// `ALG-16`, `ALG-20`: with each pass another process, and after three it is said.
fn what_never_listens_is_cancelled_again_and_again(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, IDLE)])?;
    let agent = agent(s, &systemd, &ftpd(), FTPD)?;
    wait_for(s, "FTPD", |row| row["now"]["active"] == true)?;
    for pass in 1..=3 {
        let before = main_pid(&systemd, UNIT)?;
        autolog(s, &["pass"])?.ended_with(1)?;
        let row = shown(s, "FTPD")?;
        ensure_eq!(row["now"]["fruitless"], pass, "{row}");
        ensure!(
            main_pid(&systemd, UNIT)? != before,
            "pass {pass}: it is the same"
        );
        let said = agent.logged(&["FTPD", "3 times in a row", "tcp/4021"]);
        ensure_eq!(said, usize::from(pass == 3), "pass {pass}");
    }
    let row = shown(s, "FTPD")?;
    let cycle = ["cancel", "start"].repeat(2);
    ensure_eq!(done(&row)[1..5], cycle, "{row}");
    let why = s.portreeve(&["autolog", "why", "ftpd"])?.ended_with(0)?;
    ensure!(why.stdout.contains("but not at tcp/4021"), "{}", why.stdout);
    Ok(())
}

/// `ALG-16`, `ALG-19`: the whole is cancelled for one port, unless it has NOAUTOLOG.
fn one_of_two_ports_is_not_enough(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, &server(PORT)?)])?;
    let ports = [(PORT, "FTPD"), (OTHER, "FTPD")];
    let both = profile("FTPD", &ports);
    let agent = agent(s, &systemd, &both, FTPD)?;
    let before = Server::at(PORT)?.pid;
    autolog(s, &["pass"])?.ended_with(1)?;
    let after = Server::at(PORT)?.pid;
    ensure!(after != before, "it was not cancelled");
    s.write(
        "profile.tcpip",
        both.replace("4022 TCP FTPD", "4022 TCP FTPD NOAUTOLOG"),
    )?;
    ensure_eq!(agent.reload(&[])?.0, 0, "reload");
    autolog(s, &["pass"])?.ended_with(0)?;
    ensure_eq!(Server::at(PORT)?.pid, after, "with NOAUTOLOG");
    Ok(())
}

/// `ALG-17`.
fn what_has_ended_is_started_by_a_pass(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, &server(PORT)?)])?;
    let _agent = agent(s, &systemd, &ftpd(), FTPD)?;
    Server::at(PORT)?;
    wait_for(s, "FTPD", |row| row["now"]["active"] == true)?;
    systemd.stop(&[UNIT])?;
    // Nobody looks before the pass.
    thread::sleep(Duration::from_millis(500));
    ensure_eq!(state(&systemd, UNIT)?, "inactive", "before the pass");
    autolog(s, &["pass", "FTPD"])?;
    Server::at(PORT)?;
    let row = shown(s, "FTPD")?;
    // That it has ended is said besides, if it was started less than three seconds before.
    let started = done(&row).into_iter().filter(|what| what != "news");
    ensure_eq!(started.collect::<Vec<_>>(), ["start", "start"], "{row}");
    Ok(())
}

/// Its own time to end is longer than ours.
fn what_ignores_sigterm_is_killed(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    let deaf = script(
        s,
        "deaf",
        "trap '' TERM\nwhile :; do sleep 1; done",
        "simple",
    )?;
    systemd.set(&[(UNIT, &format!("{deaf}TimeoutStopSec=600\n"))])?;
    let _agent = agent(s, &systemd, &ftpd(), FTPD)?;
    wait_for(s, "FTPD", |row| row["now"]["active"] == true)?;
    let before = main_pid(&systemd, UNIT)?;
    autolog(s, &["pass"])?.ended_with(1)?;
    let row = shown(s, "FTPD")?;
    ensure_eq!(done(&row), ["start", "cancel", "start"], "{row}");
    ensure!(main_pid(&systemd, UNIT)? != before, "it lives");
    Ok(())
}

fn what_forks_is_watched_like_others(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    let [program, part, task] = words(Origin::Bound(PORT))?;
    let text = format!("'{program}' {part} '{task}' >/dev/null &");
    systemd.set(&[(UNIT, &script(s, "forking", &text, "forking")?)])?;
    let _agent = agent(s, &systemd, &ftpd(), FTPD)?;
    let server = Server::at(PORT)?;
    ensure_eq!(server.cgroup, systemd.cgroup_of(UNIT), "who serves");
    wait_for(s, "FTPD", |row| row["now"]["active"] == true)?;
    autolog(s, &["pass"])?.ended_with(0)?;
    ensure_eq!(Server::at(PORT)?.pid, server.pid, "after a pass");
    Ok(())
}

/// Of a service of type simple systemd says that it was started; of one whose start limit
/// is reached, that it can't be.
fn what_dies_at_once_is_told(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, "[Service]\nExecStart=/bin/false\n")])?;
    let agent = agent(s, &systemd, &ftpd(), FTPD)?;
    let ended = |agent: &Agent<'_>| {
        agent.logged(&["FTPD", "right after its start"]) + agent.logged(&["did not come up"]) > 0
    };
    agent.wait_until("the end", ended)?;
    // More often than systemd itself would: five times in ten seconds.
    for _ in 0..7 {
        autolog(s, &["pass"])?.ended_with(1)?;
    }
    ensure_eq!(agent.logged(&["too quickly"]), 0, "the start limit");
    // The last one may not have died yet when it was looked at; it is again soon.
    let row = wait_for(s, "FTPD", |row| row["now"]["active"] == false)?;
    ensure!(row["now"]["fruitless"].as_u64() >= Some(7), "{row}");
    Ok(())
}

fn a_unit_that_is_not_there(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    let agent = agent(s, &systemd, &ftpd(), FTPD)?;
    let row = wait_for_event(s, "FTPD", "failed")?;
    ensure!(row.to_string().contains("does not exist"), "{row}");
    ensure_eq!(agent.status()?["mode"], "enforce", "the agent");
    systemd.set(&[(UNIT, &server(PORT)?)])?;
    autolog(s, &["pass"])?;
    Server::at(PORT)?;
    Ok(())
}

/// The port is open whether the service lives or not. `check` says so beforehand.
fn a_socket_unit_hides_a_dead_service(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    let socket = format!("[Socket]\nListenStream=127.0.0.1:{PORT}\n");
    let service = format!("[Service]\nRestart=on-failure\n{}", exec(Origin::Handed)?);
    systemd.set(&[("vsftpd.socket", &socket), (UNIT, &service)])?;
    ensure!(systemd.start("vsftpd.socket")?, "the socket unit");
    set(s, &systemd, &ftpd(), FTPD)?;
    let [profile, toml] = [s.profile(), s.config()].map(|path| path.display().to_string());
    let checked = s.portreeve(&["check", &profile, "--config", &toml, "--format", "json"])?;
    let checked = checked.ended_with(0)?.json()?;
    for code in ["PRV544", "PRV545"] {
        let mut said = checked["diagnostics"].as_array().context("said")?.iter();
        ensure!(said.any(|said| said["code"] == code), "{code}: {checked}");
    }
    ensure_eq!(checked["procedures"][0]["unit"], UNIT, "{checked}");
    let _agent = s.agent_again()?.start()?;
    wait_for_event(s, "FTPD", "start").or_else(|_| wait_for_event(s, "FTPD", "news"))?;
    systemd.stop(&[UNIT])?;
    autolog(s, &["pass"])?.ended_with(0)?;
    ensure_eq!(state(&systemd, UNIT)?, "inactive", "after the pass");
    Ok(())
}

/// What is in the units, or isn't, is said beforehand; what is as it should be isn't.
fn check_looks_at_the_units(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    let again = format!("{}Restart=always\n", server(PORT)?);
    let away = format!("{}Slice=web.slice\n", server(PORT)?);
    systemd.set(&[
        ("good.service", &server(PORT)?),
        ("again.service", &again),
        ("away.service", &away),
    ])?;
    let listed = "GOOD\n AGAIN\n AWAY\n MISSING";
    let jobs = ["GOOD", "AGAIN", "AWAY", "MISSING"];
    let ports: Vec<(u16, &str)> = (PORT..).zip(jobs).collect();
    let procs: String = jobs
        .iter()
        .map(|job| format!("[procs.{job}]\nunit = \"{}.service\"\n", job.to_lowercase()))
        .collect();
    set(s, &systemd, &profile(listed, &ports), &procs)?;
    let [profile, toml] = [s.profile(), s.config()].map(|path| path.display().to_string());
    let arguments = ["check", &profile, "--config", &toml, "--format", "json"];
    let checked = s.portreeve(&arguments)?.ended_with(0)?.json()?;
    let said = checked["diagnostics"].as_array().context("said")?.iter();
    let said: Vec<(u64, &str)> = said
        .filter_map(|said| Some((said["line"].as_u64()?, said["code"].as_str()?)))
        .filter(|(_, code)| code.starts_with("PRV54"))
        .collect();
    ensure_eq!(
        said,
        [(3, "PRV544"), (4, "PRV548"), (5, "PRV546")],
        "{checked}"
    );
    // Of another host nobody looks.
    let elsewhere = s.portreeve(&[&arguments[..], &["--other-host"]].concat())?;
    ensure!(!elsewhere.stdout.contains("PRV54"), "{elsewhere:?}");
    Ok(())
}

/// `ALG-07`, `ALG-08`, `ALG-25`: each word as it is, in a unit of its own; and nobody is
/// told the text.
fn a_command_is_started_with_its_parameters(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    let [program, part, _] = words(Origin::Handed)?;
    let procs = format!("[procs.SRV]\nexec = [\"{program}\", \"{part}\", \"{{parm}}\"]\n");
    let listed = "SRV JOBNAME SRV1 PARMSTRING '{\"Bound\":4021}'\n SRV JOBNAME SRV2 PARMSTRING '{\"Bound\": 4022}'";
    let text = profile(listed, &[(PORT, "SRV1"), (OTHER, "SRV2")]);
    let agent = agent(s, &systemd, &text, &procs)?;
    for (port, job) in [(PORT, "srv1"), (OTHER, "srv2")] {
        let server = Server::at(port)?;
        let unit = format!("portreeve-autolog-srv.{job}.service");
        ensure_eq!(server.cgroup, systemd.cgroup_of(&unit), "{job}");
    }
    autolog(s, &["pass"])?.ended_with(0)?;
    let told = autolog(s, &[])?.ended_with(0)?.stdout;
    ensure!(told.contains("\"parm\":true"), "{told}");
    ensure!(!told.contains("Bound"), "{told}");
    ensure!(!agent.log().contains("Bound"), "{}", agent.log());
    // It is gone with its process, and can be made again.
    let row = autolog(s, &["stop", "SRV1"])?.ended_with(0)?.json()?;
    ensure_eq!(row[0]["now"]["phase"], "stopped", "{row}");
    autolog(s, &["start", "SRV1"])?.ended_with(0)?;
    Server::at(PORT)?;
    Ok(())
}

/// `ALG-09`, `ALG-11`.
fn a_delay_waits_for_files_and_units(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, &server(PORT)?), ("keys.service", IDLE)])?;
    let text = profile("FTPD DELAYSTART TTLS", &[(PORT, "FTPD")]);
    let key = s.dir.join("key.pem");
    let by_file = format!("{FTPD}[delaystart]\nttls = {{ files = [\"key.pem\"] }}\n");
    let agent_of_file = agent(s, &systemd, &text, &by_file)?;
    let waits = |row: &Value| row["now"]["phase"] == "delayed";
    let row = wait_for(s, "FTPD", waits)?;
    ensure!(row.to_string().contains("key.pem"), "{row}");
    fs::write(&key, "")?;
    thread::sleep(Duration::from_secs(3));
    ensure_eq!(state(&systemd, UNIT)?, "inactive", "with an empty file");
    fs::write(&key, "x")?;
    Server::at(PORT)?;
    agent_of_file.terminate()?;
    s.portreeve(&["detach", "--yes"])?.ended_with(0)?;
    systemd.stop(&[UNIT])?;

    let by_unit = format!("{FTPD}[delaystart]\nttls = {{ unit = \"keys.service\" }}\n");
    let _agent = agent(s, &systemd, &text, &by_unit)?;
    let row = wait_for(s, "FTPD", waits)?;
    ensure!(row.to_string().contains("unit keys.service"), "{row}");
    ensure!(systemd.start("keys.service")?, "keys.service");
    Server::at(PORT)?;
    Ok(())
}

/// `ALG-10`.
fn a_delay_waits_for_addresses(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, &server(PORT)?)])?;
    let text = profile("FTPD DELAYSTART DVIPA", &[(PORT, "FTPD")]);
    let procs = format!("{FTPD}[delaystart]\ndvipa = [\"127.0.0.1\", \"192.0.2.7\"]\n");
    let _agent = agent(s, &systemd, &text, &procs)?;
    let waits = |row: &Value| row["now"]["phase"] == "delayed";
    let row = wait_for(s, "FTPD", waits)?;
    let lacking = &row["now"]["lacking"];
    ensure_eq!(*lacking, serde_json::json!(["address 192.0.2.7"]), "{row}");
    add_address(Ipv4Addr::new(192, 0, 2, 7)).context("no address can be added")?;
    Server::at(PORT)?;
    Ok(())
}

/// `ALG-24`: what is listed newly is started, or let alone if it is active; what is listed
/// no more is let alone.
fn a_reload_changes_the_list(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[
        (UNIT, &server(PORT)?),
        ("smtp.service", &server(OTHER)?),
        ("idle.service", IDLE),
    ])?;
    let procs = format!(
        "{FTPD}[procs.SMTP]\nunit = \"smtp.service\"\n[procs.IDLE]\nunit = \"idle.service\"\n"
    );
    let ports = [(PORT, "FTPD"), (OTHER, "SMTP")];
    let agent = agent(s, &systemd, &profile("FTPD", &ports), &procs)?;
    let ftpd = Server::at(PORT)?.pid;
    ensure!(systemd.start("idle.service")?, "idle.service");
    let idle = main_pid(&systemd, "idle.service")?;
    s.write("profile.tcpip", profile("SMTP\n IDLE", &ports))?;
    ensure_eq!(agent.reload(&[])?.0, 0, "reload");
    Server::at(OTHER)?;
    let row = wait_for_event(s, "IDLE", "news")?;
    ensure_eq!(done(&row), ["news"], "{row}");
    ensure_eq!(main_pid(&systemd, "idle.service")?, idle, "what was active");
    ensure_eq!(Server::at(PORT)?.pid, ftpd, "what is not listed any more");
    let rows = autolog(s, &[])?.ended_with(0)?.json()?;
    ensure_eq!(rows.as_array().map(Vec::len), Some(2), "{rows}");
    // A change file has a list of its own.
    let change = s.write("change.tcpip", "AUTOLOG 1 FTPD ENDAUTOLOG\n")?;
    ensure_eq!(agent.obey(&change, &[])?.0, 0, "obey");
    let row = wait_for_event(s, "FTPD", "news")?;
    ensure_eq!(row["wait"], 1, "{row}");
    ensure_eq!(Server::at(PORT)?.pid, ftpd, "listed again");
    Ok(())
}

fn an_agent_that_takes_over_starts_nothing_again(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, IDLE)])?;
    let first = agent(s, &systemd, &ftpd(), FTPD)?;
    wait_for_event(s, "FTPD", "start")?;
    wait_for(s, "FTPD", |row| row["now"]["active"] == true)?;
    let before = main_pid(&systemd, UNIT)?;
    first.kill()?;
    ensure_eq!(main_pid(&systemd, UNIT)?, before, "after the agent's end");
    let _second = s.agent_again()?.start()?;
    let row = wait_for_event(s, "FTPD", "news")?;
    ensure_eq!(done(&row), ["news"], "{row}");
    ensure_eq!(main_pid(&systemd, UNIT)?, before, "under another agent");
    Ok(())
}

fn operators_stop_and_start(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, &server(PORT)?)])?;
    let _agent = agent(s, &systemd, &ftpd(), FTPD)?;
    Server::at(PORT)?;
    let row = autolog(s, &["stop", "ftpd"])?.ended_with(0)?.json()?;
    ensure_eq!(row[0]["now"]["phase"], "stopped", "{row}");
    ensure_eq!(state(&systemd, UNIT)?, "inactive", "after the stop");
    autolog(s, &["pass"])?;
    ensure_eq!(state(&systemd, UNIT)?, "inactive", "after a pass");
    autolog(s, &["start", "FTPD"])?.ended_with(0)?;
    Server::at(PORT)?;
    for verb in ["start", "stop", "pass", "why"] {
        let refused = autolog(s, &[verb, "NOBODY"])?.ended_with(1)?;
        ensure!(refused.stderr.contains("lists no procedure"), "{refused:?}");
    }
    Ok(())
}

fn nothing_is_started_where_it_is_only_watched(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, &server(PORT)?)])?;
    let toml = config(&systemd, FTPD)?.replace("[autolog]\n", "[autolog]\nbackend = \"none\"\n");
    s.set_policy_with(&ftpd(), LOUD, &toml)?;
    let _agent = s.agent_again()?.start()?;
    let row = wait_for_event(s, "FTPD", "news")?;
    ensure_eq!(row["now"]["phase"], "watched", "{row}");
    ensure_eq!(
        row["now"]["missing"],
        serde_json::json!(["tcp/4021"]),
        "{row}"
    );
    ensure_eq!(state(&systemd, UNIT)?, "inactive", "nobody started it");
    let refused = autolog(s, &["start", "FTPD"])?.ended_with(1)?;
    ensure!(refused.stderr.contains("only watched"), "{refused:?}");
    ensure!(systemd.start(UNIT)?, "by hand");
    autolog(s, &["pass"])?.ended_with(0)?;
    let row = shown(s, "FTPD")?;
    ensure_eq!(done(&row), ["news", "news"], "{row}");
    Ok(())
}

/// What can't be seen is let alone; enforcement goes on.
fn a_systemd_that_is_gone_ends_nothing(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::on_a_bus(s)?;
    systemd.set(&[(UNIT, &server(PORT)?)])?;
    let agent = agent(s, &systemd, &ftpd(), FTPD)?;
    let before = Server::at(PORT)?.pid;
    systemd.lose_bus()?;
    autolog(s, &["pass"])?;
    let row = wait_for(s, "FTPD", |row| row["now"]["active"].is_null())?;
    ensure_eq!(Server::at(PORT)?.pid, before, "{row}");
    ensure_eq!(agent.status()?["mode"], "enforce", "the agent");
    let ended = agent.terminate()?;
    ensure!(ended.success(), "{ended}");
    if Server::at(PORT)?.pid != before {
        bail!("it ended with the agent");
    }
    Ok(())
}
