//! Programs that bind a port for another: who is judged is who calls `bind`, and
//! what it hands on is used without a further word.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use serde_json::{Value, json};

use super::systemd_units::{socket_unit, socket_unit_by_name};
use crate::{
    ensure_eq,
    harness::{
        Binder, Case, Origin, Sandbox, Servant, Server, Settings, Systemd, Watch,
        expect::judge_with, peer::Peer, request::Kind, server::words, systemd::program, tcp,
    },
    tests,
};

tests![
    a_socket_activator_is_judged_as_itself,
    socket_units_of_a_systemd,
    socket_units_are_told_by_the_name_of_who_binds,
    a_users_systemd_binds_by_itself,
    a_proxy_binds_for_a_container,
    a_daemon_binds_for_its_proxy,
    a_container_on_the_hosts_network_binds_itself,
    a_super_server_binds_for_its_services,
];

const LOUD: Settings = Settings::DEFAULT.report_all();
const PORT: u16 = 4021;

/// A copy of the tests' own program, which gives its processes this name.
fn copy(s: &Sandbox, name: &str) -> Result<PathBuf> {
    let path = s.dir.join(name);
    // Not a link: the folder may be on another file system.
    fs::copy(env::current_exe()?, &path)?;
    Ok(path)
}

/// systemd-socket-activate, in this cgroup of the sandbox.
fn activator(s: &Sandbox, cgroup: &str) -> Result<Peer> {
    let log = s.dir.join("activator.log");
    let activate = program("/usr/bin/systemd-socket-activate")?;
    let join = s.cgroup_below(cgroup)?.join("cgroup.procs");
    let mut activator = Command::new("/bin/sh");
    activator
        // exec: it is this very process then.
        .args(["-c", r#"echo $$ >"$0" && exec "$@""#])
        .arg(join)
        .arg(activate)
        .arg(format!("--listen=127.0.0.1:{PORT}"))
        .args(words(Origin::Handed)?);
    Peer::start(&mut activator, log)
}

/// The event of a bind to the port by who has this name, in this cgroup.
fn event(verdict: &str, port: u16, comm: &str, cgroup: &str) -> Value {
    let is_refused = verdict == "deny";
    json!({
        "hook": "bind4",
        "verdict": verdict,
        "reason": if is_refused { "other-job" } else { "permitted" },
        "errno": is_refused.then_some("EACCES"),
        "port": port,
        "comm": comm,
        "cgroup": cgroup,
        "entry/line": 2,
    })
}

/// The activator binds, by its own name and in its own cgroup. The server uses what
/// it was handed without a bind, so nobody asks who that is.
fn a_socket_activator_is_judged_as_itself(s: &Sandbox) -> Result<()> {
    // The kernel cuts names at 15 characters.
    const NAME: &str = "systemd-socket-";
    let free = activator(s, "wrong")?;
    let server = Server::at(PORT)?;
    ensure_eq!(server.pid, free.pid(), "without an agent");
    drop(free);

    let root = s.cgroup_name();
    let profile = format!("PORT\n {PORT} TCP FTPD1\n");
    let config = |job: &str| format!("{}[jobs.FTPD1]\n{job}\n", LOUD.toml());
    let by_server = format!("comm = \"{}\"", own_name()?);
    let agent = s.agent_with(&profile, &config(&by_server))?.start()?;
    let mut watch = Watch::start(&agent)?;
    let said = activator(s, "wrong")?.end()?;
    ensure!(said.contains("Permission denied"), "{said}");
    let wrong = format!("{root}/wrong");
    watch.expect(&[("other-job", 1)], &[event("deny", PORT, NAME, &wrong)])?;
    agent.terminate()?;

    for (job, cgroup) in [
        (format!("comm = \"{NAME}\""), "wrong"),
        (format!("cgroup = \"{root}/right\""), "right"),
    ] {
        s.write("portreeve.toml", config(&job))?;
        let agent = s.agent_again()?.start()?;
        let mut watch = Watch::start(&agent)?;
        let activator = activator(s, cgroup)?;
        let server = Server::at(PORT)?;
        ensure_eq!(server.pid, activator.pid(), "the server is its image");
        ensure_eq!(server.comm, own_name()?, "by now it is the server");
        let cgroup = format!("{root}/{cgroup}");
        ensure_eq!(server.cgroup, cgroup, "where it was");
        watch.expect(&[("permitted", 1)], &[event("allow", PORT, NAME, &cgroup)])?;
        drop(activator);
        watch.expect(&[], &[])?;
    }
    Ok(())
}

/// The process name of the tests.
fn own_name() -> Result<String> {
    let name = env::current_exe()?;
    let name = name.file_name().and_then(|name| name.to_str());
    Ok(name.context("no name")?.chars().take(15).collect())
}

fn socket_units_of_a_systemd(s: &Sandbox) -> Result<()> {
    socket_unit(s, &Systemd::of_root(s)?)
}

fn socket_units_are_told_by_the_name_of_who_binds(s: &Sandbox) -> Result<()> {
    socket_unit_by_name(s, &Systemd::of_root(s)?)
}

/// Without privileges there is no accounting by cgroup, for which systemd starts
/// somebody else: a user's systemd binds by itself.
fn a_users_systemd_binds_by_itself(s: &Sandbox) -> Result<()> {
    let systemd = Systemd::of_a_user(s)?;
    let socket = format!("[Socket]\nListenStream=127.0.0.1:{PORT}\n");
    systemd.set(&[
        ("web.socket", &socket),
        ("web.service", "[Service]\nExecStart=/bin/true\n"),
    ])?;
    ensure!(systemd.start("web.socket")?, "without an agent");
    systemd.stop(&["web.socket"])?;
    let manager = format!("{}/user/init.scope", s.cgroup_name());
    let profile = format!("PORT\n {PORT} TCP WEB\n");
    for (cgroup, is_right) in [
        (systemd.cgroup_of("web.socket"), false),
        (manager.clone(), true),
    ] {
        let config = format!("{}[jobs.WEB]\ncgroup = \"{cgroup}\"\n", LOUD.toml());
        let agent = s.agent_with(&profile, &config)?.start()?;
        let mut watch = Watch::start(&agent)?;
        ensure_eq!(systemd.start("web.socket")?, is_right, "{cgroup}");
        let (verdict, reason) = match is_right {
            true => ("allow", "permitted"),
            false => ("deny", "other-job"),
        };
        let event = event(verdict, PORT, "systemd", &manager);
        watch.expect(&[(reason, 1)], &[event])?;
        systemd.stop(&["web.socket"])?;
        agent.terminate()?;
    }
    Ok(())
}

/// What docker is to the kernel: a daemon in its service's cgroup, a helper of its
/// own for each published port, and containers elsewhere.
struct Docker {
    daemon: Servant,
    proxy: PathBuf,
    service: String,
}

impl Docker {
    fn new(s: &Sandbox, proxy: &Path) -> Result<Self> {
        let cgroup = s.cgroup_below("system.slice/docker.service")?;
        Ok(Self {
            daemon: Servant::start(&s.caller("dockerd").cgroup(cgroup))?,
            proxy: proxy.to_owned(),
            service: format!("{}/system.slice/docker.service", s.cgroup_name()),
        })
    }

    /// Until Docker 27 the proxy binds.
    fn publish(&self) -> Result<Result<i32, Errno>> {
        self.daemon.start_server(&self.proxy, Origin::Bound(PORT))
    }

    /// From Docker 28 the daemon binds, and hands the listener on.
    fn publish_itself(&self) -> Result<Result<i32, Errno>> {
        match self.daemon.serve(Kind::Tcp, [127, 0, 0, 1], PORT)? {
            Ok(socket) => self
                .daemon
                .start_server(&self.proxy, Origin::Inherited(socket)),
            refused => Ok(refused),
        }
    }
}

fn container(s: &Sandbox) -> Result<PathBuf> {
    s.cgroup_below("system.slice/docker-4f2a.scope")
}

/// The container's process binds in a network namespace of its own, which is none of
/// the policy's business; the port of the host is docker-proxy's.
fn a_proxy_binds_for_a_container(s: &Sandbox) -> Result<()> {
    let proxy = copy(s, "docker-proxy")?;
    let free = Docker::new(s, &proxy)?;
    free.publish()?.context("without an agent")?;
    drop(free);
    let docker = Docker::new(s, &proxy)?;
    let scope = format!("{}/system.slice/docker-4f2a.scope", s.cgroup_name());
    let inside = s.caller("nginx").cgroup(container(s)?).elsewhere();
    let attempt = || Binder::attempt(&inside, &tcp(PORT));
    let profile = format!("PORT\n {PORT} TCP WEB\n");
    let config = |job: &str| format!("{}[jobs.WEB]\n{job}\n", LOUD.toml());
    let service = &docker.service;

    let by_container = config(&format!("cgroup = \"{scope}\""));
    let agent = s.agent_with(&profile, &by_container)?.start()?;
    let mut watch = Watch::start(&agent)?;
    ensure_eq!(docker.publish()?, Err(Errno::EACCES), "for the container");
    let refused = event("deny", PORT, "docker-proxy", service);
    watch.expect(&[("other-job", 1)], &[refused])?;
    ensure_eq!(attempt()?, Ok(()), "in the container");
    watch.expect(&[], &[])?;
    agent.terminate()?;

    // Not the daemon, nor anybody else who calls himself so.
    let by_proxy = format!("cgroup = \"{service}\"\ncomm = \"docker-proxy\"");
    s.write("portreeve.toml", config(&by_proxy))?;
    let agent = s.agent_again()?.start()?;
    let mut watch = Watch::start(&agent)?;
    let socket = docker.daemon.socket(Kind::Tcp, false)?;
    let bound = docker.daemon.bind(socket, [127, 0, 0, 1], PORT)?;
    ensure_eq!(bound, Err(Errno::EACCES), "the daemon itself");
    let refused = event("deny", PORT, "dockerd", service);
    watch.expect(&[("other-job", 1)], &[refused])?;
    let liar = s.caller("docker-proxy").cgroup(container(s)?);
    let result = Binder::attempt(&liar, &tcp(PORT))?;
    ensure_eq!(
        result,
        Err(Errno::EACCES),
        "a container on the host's network"
    );
    let refused = event("deny", PORT, "docker-proxy", &scope);
    watch.expect(&[("other-job", 1)], &[refused])?;

    let pid = docker.publish()?.context("with the right job")?;
    let mut permitted = event("allow", PORT, "docker-proxy", service);
    permitted["pid"] = pid.into();
    permitted["job"] = "WEB".into();
    watch.expect(&[("permitted", 1)], &[permitted])?;
    let server = Server::at(PORT)?;
    ensure_eq!(i32::try_from(server.pid)?, pid, "the proxy serves");
    ensure_eq!(attempt()?, Ok(()), "in the container, beside it");
    watch.expect(&[], &[])
}

/// From Docker 28 the daemon binds and hands the listener to its proxy.
fn a_daemon_binds_for_its_proxy(s: &Sandbox) -> Result<()> {
    let proxy = copy(s, "docker-proxy")?;
    let free = Docker::new(s, &proxy)?;
    free.publish_itself()?.context("without an agent")?;
    drop(free);
    let docker = Docker::new(s, &proxy)?;
    let profile = format!("PORT\n {PORT} TCP WEB\n");
    let service = &docker.service;
    let config = |job: &str| format!("{}[jobs.WEB]\ncgroup = \"{service}\"\n{job}", LOUD.toml());
    let agent = s
        .agent_with(&profile, &config("comm = \"docker-proxy\"\n"))?
        .start()?;
    let mut watch = Watch::start(&agent)?;
    ensure_eq!(
        docker.publish_itself()?,
        Err(Errno::EACCES),
        "by the proxy's name only"
    );
    let refused = event("deny", PORT, "dockerd", service);
    watch.expect(&[("other-job", 1)], &[refused])?;
    agent.terminate()?;

    s.write("portreeve.toml", config(""))?;
    let agent = s.agent_again()?.start()?;
    let mut watch = Watch::start(&agent)?;
    let pid = docker
        .publish_itself()?
        .context("by the service's cgroup")?;
    let mut permitted = event("allow", PORT, "dockerd", service);
    permitted["pid"] = docker.daemon.pid.into();
    watch.expect(&[("permitted", 1)], &[permitted])?;
    let server = Server::at(PORT)?;
    ensure_eq!(i32::try_from(server.pid)?, pid, "the proxy serves");
    ensure_eq!(server.comm, "docker-proxy", "the proxy serves");
    watch.expect(&[], &[])
}

/// Without a network namespace of its own nobody binds for it.
fn a_container_on_the_hosts_network_binds_itself(s: &Sandbox) -> Result<()> {
    let root = s.cgroup_name();
    let profile = format!("PORT\n {PORT} TCP WEB\n");
    let config = format!(
        "[jobs.WEB]\ncgroup = [\"{root}/system.slice/docker-*.scope\", \
         \"{root}/kubepods.slice/*/*/web\"]\n"
    );
    let entry = format!("{PORT} TCP WEB");
    let docker = s.caller("nginx").cgroup(container(s)?).job("WEB");
    let below =
        |path: &str| Ok::<_, anyhow::Error>(s.caller("nginx").cgroup(s.cgroup_below(path)?));
    let pod = below("kubepods.slice/kubepods-besteffort.slice/kubepods-pod1.slice/web")?;
    let other = below("kubepods.slice/kubepods-besteffort.slice/kubepods-pod1.slice/side")?;
    let service = below("system.slice/docker.service")?;
    let cases = [
        Case::permitted(&docker, tcp(PORT), &entry),
        Case::permitted(&pod.job("WEB"), tcp(PORT), &entry),
        Case::other_job(&other, tcp(PORT), &entry),
        Case::other_job(&service, tcp(PORT), &entry),
    ];
    judge_with(s, &profile, LOUD, &config, &cases).map(drop)
}

/// inetd binds for all of its services: a reservation names inetd, and what it
/// starts for a connection needs none.
fn a_super_server_binds_for_its_services(s: &Sandbox) -> Result<()> {
    let root = s.cgroup_name();
    let cgroup = s.cgroup_below("inetd.service")?;
    let caller = s.caller("inetd").cgroup(cgroup);
    let free = Servant::start(&caller)?;
    for port in [PORT, PORT + 1] {
        let listener = free.serve(Kind::Tcp, [127, 0, 0, 1], port)?;
        listener.with_context(|| format!("port {port} without an agent"))?;
    }
    drop(free);
    let inetd = Servant::start(&caller)?;
    let child = copy(s, "in.ftpd")?;
    let ports = [PORT, PORT + 1];
    let profile = format!("PORT\n {PORT} TCP FTPD1\n {} TCP TELNETD\n", PORT + 1);
    let config = |cgroup: &str| {
        let job = |name| format!("[jobs.{name}]\ncgroup = \"{root}/{cgroup}.service\"\n");
        LOUD.toml() + &job("FTPD1") + &job("TELNETD")
    };
    let service = format!("{root}/inetd.service");
    let on_line = |mut event: Value, line: u64| {
        event["entry/line"] = line.into();
        event
    };
    let agent = s.agent_with(&profile, &config("vsftpd"))?.start()?;
    let mut watch = Watch::start(&agent)?;
    for (port, line) in ports.into_iter().zip(2..) {
        let result = inetd.serve(Kind::Tcp, [127, 0, 0, 1], port)?;
        ensure_eq!(
            result,
            Err(Errno::EACCES),
            "by the server's job, port {port}"
        );
        let refused = on_line(event("deny", port, "inetd", &service), line);
        watch.expect(&[("other-job", 1)], &[refused])?;
    }
    agent.terminate()?;

    s.write("portreeve.toml", config("inetd"))?;
    let agent = s.agent_again()?.start()?;
    let mut watch = Watch::start(&agent)?;
    for (port, line) in ports.into_iter().zip(2..) {
        let listener = inetd.serve(Kind::Tcp, [127, 0, 0, 1], port)?;
        let listener = listener.context("by inetd's own job")?;
        let permitted = on_line(event("allow", port, "inetd", &service), line);
        watch.expect(&[("permitted", 1)], &[permitted])?;
        let asked = std::thread::scope(|scope| -> Result<(Server, i32)> {
            let asked = scope.spawn(|| Server::at(port));
            let connection = inetd.accept(listener)??;
            let pid = inetd.start_for(connection, &child)?;
            match asked.join() {
                Ok(server) => Ok((server?, pid)),
                Err(_) => bail!("the client panicked"),
            }
        });
        let (server, pid) = asked?;
        ensure_eq!(i32::try_from(server.pid)?, pid, "the child serves");
        ensure_eq!(server.comm, "in.ftpd", "the child serves");
        // No bind, no question.
        watch.expect(&[], &[])?;
    }
    // A service that binds by itself is one more binder.
    let own = inetd.start_server(Path::new(&child), Origin::Bound(PORT))?;
    ensure_eq!(own, Err(Errno::EADDRINUSE), "what inetd holds");
    Ok(())
}
