//! A socket's life, and a server's restart.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portreeve_bench::{Case, Row, Unit};

use super::{
    Progress,
    baseline::Baseline,
    policies::{Of, config, crowd, features, servauth},
    processors,
    rounds::{Contender, compete},
};
use crate::{
    actors::become_caller::join,
    harness::{
        Sandbox,
        pace::patience,
        request::Kind,
        timer::{Drill, Span, Timer},
        tools,
    },
};

/// Lives in one batch. Of a batch the median counts.
const BATCH: u32 = 100;
/// Restarts take long: there is one in so many rounds.
const ROUNDS_PER_RESTART: u32 = 15;
/// Of the server that is restarted.
const PORT: u16 = 20_000;

/// Measures them all; the second is why no server was restarted, if none was.
pub fn run(rounds: u32, progress: &Progress) -> Result<(Vec<Row>, Option<String>)> {
    let [bare, empty, none, full] = [
        Sandbox::new()?,
        Sandbox::new()?,
        Sandbox::new()?,
        Sandbox::new()?,
    ];
    let _empty = Baseline::empty(&empty.cgroup)?;
    let _none = none.agent_with("", &config(""))?.start()?;
    let _full = full.agent_with(&crowd(130_000), &config(""))?.start()?;
    let mut contenders = Vec::new();
    for (kind, protocol, baseline) in [
        (Kind::Tcp, "TCP", "TCP socket, no program"),
        (Kind::Udp, "UDP", "UDP socket, no program"),
    ] {
        let lives = [
            (&bare, baseline.to_owned(), Of::Free),
            (
                &empty,
                format!("{protocol} socket, empty program"),
                Of::Free,
            ),
            (
                &none,
                format!("{protocol} socket, unreserved port"),
                Of::Free,
            ),
            (
                &full,
                format!("{protocol} socket, right job, 130000 reservations"),
                Of::Crowd,
            ),
        ];
        for (sandbox, name, of) in lives {
            let mut timer = Timer::start(&Drill {
                caller: sandbox.caller("right").cpu(Some(processors().last)),
                kind,
                address: Ipv4Addr::LOCALHOST.into(),
                ports: of.ports(),
                span: Span::Life,
                refused: false,
                forgets: None,
            })?;
            contenders.push(Contender {
                baseline: (name != baseline).then_some(baseline),
                name,
                target: None,
                also: None,
                measure: Box::new(move || timer.time(BATCH)),
            });
        }
    }
    let mut rows = compete(Case::Cycle, Unit::Nanoseconds, contenders, rounds, progress)?;
    let Some(nginx) = tools::in_path("nginx") else {
        return Ok((
            rows,
            Some("nginx isn't here, so no server was restarted".into()),
        ));
    };
    rows.extend(restarts(
        &nginx,
        rounds.div_ceil(ROUNDS_PER_RESTART),
        progress,
    )?);
    Ok((rows, None))
}

fn restarts(nginx: &Path, rounds: u32, progress: &Progress) -> Result<Vec<Row>> {
    const WITHOUT: &str = "nginx restart, without portreeve";
    let [bare, governed] = [Sandbox::new()?, Sandbox::new()?];
    let profile = features().replace("TCP RIGHT\n", "TCP NGINX\n");
    let _agent = governed
        .agent_with(&profile, &config(&servauth()))?
        .start()?;
    let mut contenders = Vec::new();
    for (name, sandbox) in [
        (WITHOUT, &bare),
        ("nginx restart, its port reserved for it", &governed),
    ] {
        let mut server = Server::new(nginx, sandbox)?;
        contenders.push(Contender {
            name: name.to_owned(),
            baseline: (name != WITHOUT).then_some(WITHOUT),
            target: None,
            also: None,
            measure: Box::new(move || server.restart()),
        });
    }
    compete(
        Case::Cycle,
        Unit::Milliseconds,
        contenders,
        rounds,
        progress,
    )
}

/// A server with a configuration of its own.
struct Server<'a> {
    nginx: &'a Path,
    cgroup: &'a Path,
    configuration: PathBuf,
}

impl<'a> Server<'a> {
    fn new(nginx: &'a Path, sandbox: &'a Sandbox) -> Result<Self> {
        let dir = sandbox.dir.display();
        let text = format!(
            "daemon off;\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{\n  access_log off;\n  client_body_temp_path {dir}/body;\n  proxy_temp_path {dir}/proxy;\n\
             \x20 fastcgi_temp_path {dir}/fastcgi;\n  uwsgi_temp_path {dir}/uwsgi;\n  scgi_temp_path {dir}/scgi;\n\
             \x20 server {{ listen 127.0.0.1:{PORT}; return 204; }}\n}}\n"
        );
        Ok(Self {
            nginx,
            cgroup: &sandbox.cgroup,
            configuration: sandbox.write("nginx.conf", text)?,
        })
    }

    fn log(&self) -> PathBuf {
        self.configuration.with_file_name("error.log")
    }

    /// Starts it, waits until it takes connections, and ends it: milliseconds.
    fn restart(&mut self) -> Result<f64> {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(self.nginx);
        command.arg("-c").arg(&self.configuration);
        // Before it has read that, it would log where it is told to by default.
        command.arg("-e").arg(self.log());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let cgroup = self.cgroup.to_owned();
        // SAFETY: between fork and exec it opens and writes a file; nobody else has a lock
        // that this takes.
        unsafe { command.pre_exec(move || join(&cgroup).map_err(std::io::Error::other)) };
        let began = Instant::now();
        let mut server = command.spawn().context("nginx can't be run")?;
        let answered = wait_for_answer(&mut server);
        kill(Pid::from_raw(i32::try_from(server.id())?), Signal::SIGQUIT)?;
        server.wait()?;
        let took = began.elapsed();
        answered.with_context(|| fs::read_to_string(self.log()).unwrap_or_default())?;
        Ok(took.as_secs_f64() * 1000.0)
    }
}

fn wait_for_answer(server: &mut Child) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let deadline = Instant::now() + patience();
    while TcpStream::connect(address).is_err() {
        ensure!(server.try_wait()?.is_none(), "nginx has ended");
        ensure!(Instant::now() < deadline, "nginx doesn't listen");
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
