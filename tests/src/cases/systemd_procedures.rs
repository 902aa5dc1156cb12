//! Procedures that AUTOLOG lists, as services of the systemd that is the first process: of
//! a virtual machine, because the agent is attached to its root cgroup.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Origin, Sandbox, Server, Settings, Systemd, pace::patience,
        procedures::autolog, refusal, server::words, systemd::exec, tcp,
    },
    tests,
};

tests![units_and_commands_of_the_first_process];

const PORT: u16 = 4021;
const OTHER: u16 = 4022;
const UNIT: &str = "vsftpd.service";
const COMMAND: &str = "portreeve-autolog-srv.service";

fn agent<'s>(s: &'s Sandbox, systemd: &Systemd) -> Result<Agent<'s>> {
    let root = systemd.cgroup.display().to_string();
    s.agent_again()?.option("--cgroup", &root).start()
}

fn wait_for_end(systemd: &Systemd, unit: &str) -> Result<()> {
    let deadline = Instant::now() + patience();
    while systemd.property(unit, "ActiveState")? == "active" {
        ensure!(Instant::now() < deadline, "{unit} goes on");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// `ALG-01`, `ALG-08`, `ALG-13`, `ALG-17`: over the system bus, in the system's slice. They
/// are let alone by the end of the agent and by the start of the next.
fn units_and_commands_of_the_first_process(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::first()?;
    let unit = format!("[Service]\nType=notify\n{}", exec(Origin::Bound(PORT))?);
    systemd.set(&[(UNIT, &unit)])?;
    let [program, part, _] = words(Origin::Handed)?;
    let profile = format!(
        "AUTOLOG 0\n FTPD\n SRV PARMSTRING '{{\"Bound\":{OTHER}}}'\nENDAUTOLOG\n\
         PORT\n {PORT} TCP FTPD\n {OTHER} TCP SRV\n"
    );
    let config = format!(
        "[procs.FTPD]\nunit = \"{UNIT}\"\n\
         [procs.SRV]\nexec = [\"{program}\", \"{part}\", \"{{parm}}\"]\n"
    );
    s.set_policy_with(&profile, Settings::DEFAULT.report_all(), &config)?;
    let first = agent(s, &systemd)?;
    let mut pids = Vec::new();
    for (port, unit) in [(PORT, UNIT), (OTHER, COMMAND)] {
        let server = Server::at(port).with_context(|| first.log())?;
        ensure_eq!(server.cgroup, systemd.cgroup_of(unit), "{unit}");
        let liar = Binder::attempt(&s.caller("ftpd"), &tcp(port))?;
        ensure_eq!(liar, Err(refusal()), "who calls himself so");
        pids.push(server.pid);
    }
    for (pid, unit) in pids.iter().zip([UNIT, COMMAND]) {
        kill(Pid::from_raw((*pid).try_into()?), Signal::SIGKILL)?;
        wait_for_end(&systemd, unit)?;
    }
    autolog(s, &["pass"])?.json()?;
    let again = [Server::at(PORT)?.pid, Server::at(OTHER)?.pid];
    ensure!(
        pids.iter().all(|pid| !again.contains(pid)),
        "nothing was started"
    );
    first.terminate()?;
    let second = agent(s, &systemd)?;
    second.wait_for_log(&["let alone"])?;
    ensure_eq!(
        [Server::at(PORT)?.pid, Server::at(OTHER)?.pid],
        again,
        "who serves"
    );
    for (name, unit) in [("FTPD", UNIT), ("SRV", COMMAND)] {
        let row = autolog(s, &["stop", name])?.json()?;
        ensure_eq!(row[0]["now"]["phase"], "stopped", "{row}");
        wait_for_end(&systemd, unit)?;
    }
    Ok(())
}
