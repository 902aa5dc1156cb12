//! Metrics over HTTP: what they say, who asks for them how, and a port that the policy may
//! refuse.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, NOBODY, Need, Sandbox, Settings,
        agent::Start,
        http,
        http::Response,
        neighbour::Neighbour,
        pace::{limit, patience},
        tcp, tools, udp,
    },
    tests,
};

tests![
    what_is_counted,
    entries_and_ports,
    promtool_accepts_them,
    only_reading_and_only_by_own_names,
    bad_clients_disturb_nobody,
    off_unless_asked_for,
    a_unix_socket_is_for_root,
    a_policy_that_refuses_the_own_port,
    a_bound_port_stays,
    it_moves_with_a_reload,
    who_does_not_answer_is_not_alive,
    a_failed_proof_is_not_ready,
    a_register_of_every_port,
];

const PORT: u16 = 9464;
const METRICS: &str = "[metrics]\nlisten = \"127.0.0.1:9464\"\n";
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n 4322 UDP RIGHT ; second\n 9464 TCP PORTREEVE\n";

/// An agent whose own binds are judged too.
fn inside(s: &Sandbox) -> Result<Start<'_>> {
    let mut start = s.agent_again()?;
    start.launch.cgroups.push(s.cgroup.clone());
    Ok(start)
}

fn start<'s>(s: &'s Sandbox, profile: &str) -> Result<Agent<'s>> {
    s.set_policy_with(profile, Settings::DEFAULT, METRICS)?;
    inside(s)?.start()
}

fn metrics() -> Result<Response> {
    let response = http::get(PORT, "/metrics")?;
    ensure_eq!(response.status, 200, "{response:?}");
    Ok(response)
}

/// Asks until `holds`: what was told a moment ago is told again.
fn wait_for(what: &str, holds: impl Fn(&Response) -> bool) -> Result<Response> {
    let deadline = Instant::now() + patience();
    loop {
        let response = metrics()?;
        if holds(&response) {
            return Ok(response);
        }
        ensure!(
            Instant::now() < deadline,
            "{what} never came:\n{}",
            response.body
        );
        thread::sleep(limit(1) / 10);
    }
}

fn verdicts(verdict: &str, reason: &str, protocol: &str) -> String {
    format!(
        "portreeve_verdicts_total{{mode=\"enforce\",protocol=\"{protocol}\",reason=\"{reason}\",verdict=\"{verdict}\"}}"
    )
}

/// Real binds by real processes, apart for each protocol.
fn what_is_counted(s: &Sandbox) -> Result<()> {
    let agent = start(s, PROFILE)?;
    let before = metrics()?;
    ensure_eq!(before.value("portreeve_ready"), Some(1.0), "proven");
    ensure_eq!(
        before.value("portreeve_policy_generation"),
        Some(1.0),
        "first"
    );
    ensure_eq!(
        before.value(&verdicts("deny", "other-job", "tcp")),
        Some(0.0),
        "none yet"
    );
    let own = verdicts("allow", "permitted", "tcp");
    ensure_eq!(
        before.value(&own),
        Some(1.0),
        "the bind of the agent's own port"
    );
    let wrong = Binder::start(&s.caller("wrong"), &[tcp(4321), tcp(4321), udp(4322)])?;
    ensure!(
        wrong.results.iter().all(Result::is_err),
        "{:?}",
        wrong.results
    );
    let _right = Binder::start(&s.caller("right"), &[udp(4322)])?;
    let refused = verdicts("deny", "other-job", "tcp");
    let after = wait_for("two refusals", |told| told.value(&refused) == Some(2.0))?;
    for (series, value) in [
        (verdicts("deny", "other-job", "udp"), 1.0),
        (verdicts("allow", "permitted", "udp"), 1.0),
        (own, 1.0),
    ] {
        ensure_eq!(
            after.value(&series),
            Some(value),
            "{series}\n{}",
            after.body
        );
    }
    // What status sums up.
    let status = agent.status()?;
    ensure_eq!(status["counters"]["other-job"], 3, "{status}");
    ensure_eq!(
        status["metrics"]["serving"],
        "http://127.0.0.1:9464/",
        "{status}"
    );
    ensure_eq!(
        after.value("portreeve_publish_duration_seconds_count"),
        Some(1.0),
        "one"
    );
    ensure_eq!(
        after.value("portreeve_policy_differs_from_file"),
        Some(0.0),
        "same"
    );
    s.write("profile.tcpip", format!("{PROFILE}; another\n"))?;
    wait_for("the difference", |told| {
        told.value("portreeve_policy_differs_from_file") == Some(1.0)
    })?;
    let (code, reloaded) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{reloaded}");
    let after = wait_for("the reload", |told| {
        told.value("portreeve_policy_generation") == Some(2.0)
    })?;
    ensure_eq!(
        after.value("portreeve_policy_differs_from_file"),
        Some(0.0),
        "same again"
    );
    Ok(())
}

fn entries_and_ports(s: &Sandbox) -> Result<()> {
    s.set_policy_with(PROFILE, Settings::DEFAULT, METRICS)?;
    let older = Binder::start(&s.caller("<b>x</b>").user(NOBODY), &[tcp(4321).listening()])?;
    let _agent = inside(s)?.start()?;
    let _wrong = Binder::start(&s.caller("wrong"), &[udp(4322)])?;
    let of = |family: &str, jobname: &str, port: &str, protocol: &str| {
        format!(
            "portreeve_{family}{{jobname=\"{jobname}\",port=\"{port}\",protocol=\"{protocol}\"}}"
        )
    };
    let refused = of("entry_refusals_total", "RIGHT", "4322", "udp");
    let told = wait_for("the refusal", |told| told.value(&refused) == Some(1.0))?;
    for (series, value) in [
        (of("port_contradicted", "RIGHT", "4321", "tcp"), Some(1.0)),
        (of("port_open", "RIGHT", "4321", "tcp"), Some(0.0)),
        (of("port_open", "RIGHT", "4322", "udp"), Some(0.0)),
        (of("port_open", "PORTREEVE", "9464", "tcp"), Some(1.0)),
        (of("port_contradicted", "RIGHT", "4322", "udp"), None),
        (of("entry_refusals_total", "", "other", ""), Some(0.0)),
        ("portreeve_sockets_up".into(), Some(1.0)),
    ] {
        ensure_eq!(told.value(&series), value, "{series}\n{}", told.body);
    }
    let map = http::get(PORT, "/api/map")?.json()?;
    ensure_eq!(map["contradictions"], 1, "{map}");
    ensure_eq!(map["contradicted"][0]["comm"], "<b>x</b>", "{map}");
    ensure_eq!(map["contradicted"][0]["pid"], older.pid, "{map}");
    let found = http::get(PORT, "/api/register?q=second&limit=1")?.json()?;
    ensure_eq!(found["total"], 3, "{found}");
    ensure_eq!(found["matched"], 1, "{found}");
    ensure_eq!(found["rows"][0]["port"], 4322, "{found}");
    let found = http::get(PORT, "/api/register?state=contradicted")?.json()?;
    ensure_eq!(found["rows"][0]["port"], 4321, "{found}");
    let found = http::get(PORT, "/api/register?q=%3Cb%3E")?.json()?;
    ensure_eq!(found["matched"], 1, "by its holder: {found}");
    let last = http::get(PORT, "/api/refusals")?.json()?;
    ensure_eq!(last["events"][0]["comm"], "wrong", "{last}");
    drop(older);
    let open = of("port_contradicted", "RIGHT", "4321", "tcp");
    wait_for("the end of the other", |told| told.value(&open).is_none())?;
    Ok(())
}

/// Prometheus's own reader finds nothing to say about them.
fn promtool_accepts_them(s: &Sandbox) -> Result<()> {
    let promtool = tools::program("promtool")?;
    let _agent = start(s, PROFILE)?;
    let _wrong = Binder::start(&s.caller("wrong"), &[tcp(4321)])?;
    let text = metrics()?.body;
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = check.stdin.take().context("no stdin")?;
    let writer = thread::spawn(move || stdin.write_all(text.as_bytes()));
    let said = check.wait_with_output()?;
    writer.join().map_err(|_| anyhow::anyhow!("panicked"))??;
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.status.success() && words.is_empty(), "{said:?}");
    Ok(())
}

fn only_reading_and_only_by_own_names(s: &Sandbox) -> Result<()> {
    let _agent = start(s, PROFILE)?;
    let ask = |method: &str, path: &str, host: &str| {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        http::send(PORT, &request)
    };
    for (method, path, host, status) in [
        ("GET", "/healthz", "localhost", 200),
        ("GET", "/readyz", "127.0.0.1:9464", 200),
        ("GET", "/", "[::1]:9464", 200),
        ("GET", "/metrics", "evil.example", 421),
        ("GET", "/api/status", "localhost.evil.example:9464", 421),
        ("POST", "/metrics", "localhost", 405),
        ("DELETE", "/", "localhost", 405),
        ("OPTIONS", "/api/map", "localhost", 405),
        ("GET", "/nothing", "localhost", 404),
        ("GET", "/api/register?state=shut", "localhost", 400),
        ("GET", "/../etc/passwd", "localhost", 404),
    ] {
        let response = ask(method, path, host)?;
        ensure_eq!(
            response.status,
            status,
            "{method} {path} {host}: {response:?}"
        );
    }
    let head = ask("HEAD", "/metrics", "localhost")?;
    ensure_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");
    let page = ask("GET", "/", "localhost")?;
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'sha256-",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        ensure!(page.headers.contains(header), "{header}: {}", page.headers);
    }
    ensure!(!page.headers.contains("access-control"), "{}", page.headers);
    for elsewhere in ["src=\"", "url(", "@import", "https://"] {
        ensure!(!page.body.contains(elsewhere), "{elsewhere} in the page");
    }
    Ok(())
}

/// Silent, slow and greedy clients: the others are served, and the agent works on.
fn bad_clients_disturb_nobody(s: &Sandbox) -> Result<()> {
    let agent = start(s, PROFILE)?;
    let (descriptors, memory) = (agent.descriptors()?, agent.memory()?);
    let mut silent = Vec::new();
    for number in 0..300 {
        let mut stream = http::connect(PORT)?;
        if number % 2 == 0 {
            // Some begin, and never end.
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: loc")?;
        }
        silent.push(stream);
    }
    // One asks again and again and reads nothing.
    let mut greedy = http::connect(PORT)?;
    greedy.set_write_timeout(Some(limit(1)))?;
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20_000);
    let _ = greedy.write_all(request.as_bytes());
    let large = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    if let Ok(refused) = http::send(PORT, &large) {
        ensure!(refused.status >= 400, "{refused:?}");
    }
    let asked = Instant::now();
    let _wrong = Binder::start(&s.caller("wrong"), &[tcp(4321)])?;
    metrics()?;
    ensure_eq!(agent.status()?["mode"], "enforce", "status");
    ensure_eq!(agent.events()?.len(), 1, "the event");
    let waited = asked.elapsed();
    ensure!(waited < limit(10), "{waited:?}");
    let more = agent.descriptors()?.saturating_sub(descriptors);
    ensure!(more <= 80, "{more} more descriptors");
    let more = agent.memory()?.saturating_sub(memory);
    ensure!(more < 64 << 20, "{more} more bytes");
    let heard = silent[0].read(&mut [0; 1]);
    let is_gone = match &heard {
        Ok(bytes) => *bytes == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    };
    ensure!(is_gone, "the oldest is still there: {heard:?}");
    Ok(())
}

fn off_unless_asked_for(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, Settings::DEFAULT)?.start()?;
    ensure!(http::connect(PORT).is_err(), "something listens");
    ensure_eq!(agent.status()?["metrics"], Value::Null, "status");
    agent.terminate()?;
    // Everybody can reach it only if that is meant.
    let everywhere = "[metrics]\nlisten = \"0.0.0.0:9464\"\n";
    s.set_policy_with(PROFILE, Settings::DEFAULT, everywhere)?;
    let refused = inside(s)?.finish()?.ended_with(1)?;
    ensure!(
        refused.stderr.contains("expose = true"),
        "{}",
        refused.stderr
    );
    s.set_policy_with(
        PROFILE,
        Settings::DEFAULT,
        &format!("{everywhere}expose = true\n"),
    )?;
    let _agent = inside(s)?.start()?;
    let named = "GET /metrics HTTP/1.1\r\nHost: host1.example\r\nConnection: close\r\n\r\n";
    ensure_eq!(http::send(PORT, named)?.status, 200, "by any name");
    Ok(())
}

fn a_unix_socket_is_for_root(s: &Sandbox) -> Result<()> {
    let socket = s.dir.join("metrics.sock");
    let config = format!("[metrics]\nlisten = \"unix:{}\"\n", socket.display());
    s.set_policy_with(PROFILE, Settings::DEFAULT, &config)?;
    let agent = inside(s)?.start()?;
    let mode = fs::metadata(&socket)?.permissions().mode();
    ensure_eq!(mode & 0o777, 0o600, "mode");
    let response = http::get_at(&socket, "/metrics")?;
    ensure_eq!(response.value("portreeve_ready"), Some(1.0), "{response:?}");
    agent.kill()?;
    ensure!(socket.exists(), "what a killed agent leaves");
    let agent = inside(s)?.start()?;
    ensure_eq!(
        http::get_at(&socket, "/healthz")?.status,
        200,
        "the next one"
    );
    agent.terminate()?;
    ensure!(!socket.exists(), "it is removed");
    Ok(())
}

const TAKEN: &str = "PORT\n 4321 TCP RIGHT\n 9464 TCP RESERVED\n";

fn says_refused(agent: &Agent<'_>) -> Result<bool> {
    let status = agent.status()?;
    let missing = status["missing"].as_array().context("missing")?;
    let mut missing = missing.iter().filter_map(Value::as_str);
    Ok(missing.any(|text| text.starts_with("metrics: ") && text.contains("profile.tcpip:3")))
}

/// The policy holds for the agent's own port too. It is said everywhere, and enforced.
fn a_policy_that_refuses_the_own_port(s: &Sandbox) -> Result<()> {
    s.set_policy_with(TAKEN, Settings::DEFAULT, METRICS)?;
    let (profile, config) = (s.profile(), s.config());
    let (profile, config) = (profile.display().to_string(), config.display().to_string());
    let check = ["check", &profile, "--config", &config, "--format", "json"];
    let checked = s.portreeve(&check)?.json()?;
    let said = checked["diagnostics"].to_string();
    ensure!(said.contains("PRV536"), "{said}");
    let agent = inside(s)?.start()?;
    agent.wait_for_log(&["metrics", "can't be served", "profile.tcpip:3"])?;
    ensure!(http::connect(PORT).is_err(), "it listens");
    ensure!(says_refused(&agent)?, "{}", agent.status()?);
    ensure_eq!(agent.status()?["metrics"]["serving"], Value::Null, "status");
    let wrong = Binder::start(&s.caller("wrong"), &[tcp(4321)])?;
    ensure!(wrong.results[0].is_err(), "it enforces");
    // It is given the port, and takes it.
    s.write("profile.tcpip", PROFILE)?;
    ensure_eq!(agent.reload(&[])?.0, 0, "reload");
    ensure_eq!(
        metrics()?.value("portreeve_ready"),
        Some(1.0),
        "served at once"
    );
    ensure!(!says_refused(&agent)?, "{}", agent.status()?);
    Ok(())
}

fn a_bound_port_stays(s: &Sandbox) -> Result<()> {
    let agent = start(s, PROFILE)?;
    s.write("profile.tcpip", TAKEN)?;
    let (code, reloaded) = agent.reload(&[])?;
    ensure_eq!(code, 0, "{reloaded}");
    ensure!(
        reloaded["diagnostics"].to_string().contains("PRV536"),
        "{reloaded}"
    );
    agent.wait_for_log(&["metrics", "profile.tcpip:3", "stays"])?;
    ensure!(says_refused(&agent)?, "{}", agent.status()?);
    ensure_eq!(
        metrics()?.value("portreeve_ready"),
        Some(1.0),
        "it is still served"
    );
    // Another agent doesn't get it.
    agent.terminate()?;
    let agent = inside(s)?.start()?;
    ensure!(http::connect(PORT).is_err(), "it listens");
    ensure!(says_refused(&agent)?, "{}", agent.status()?);
    Ok(())
}

fn it_moves_with_a_reload(s: &Sandbox) -> Result<()> {
    let agent = start(s, "")?;
    let reload = |config: &str| -> Result<()> {
        s.set_policy_with("", Settings::DEFAULT, config)?;
        let (code, reloaded) = agent.reload(&[])?;
        ensure_eq!(code, 0, "{reloaded}");
        Ok(())
    };
    reload("[metrics]\nlisten = \"127.0.0.1:9465\"\n")?;
    ensure_eq!(http::get(9465, "/readyz")?.status, 200, "the new one");
    ensure!(http::connect(PORT).is_err(), "the old one");
    // The same port at another address.
    reload("[metrics]\nlisten = \"0.0.0.0:9465\"\nexpose = true\n")?;
    ensure_eq!(http::get(9465, "/readyz")?.status, 200, "everywhere");
    // Somebody else has the port: the old one stays until it is free.
    let other = Binder::start(
        &s.caller("other"),
        &[tcp(9466).on(Ipv4Addr::LOCALHOST).listening()],
    )?;
    ensure_eq!(other.results, [Ok(())], "the other one");
    reload("[metrics]\nlisten = \"127.0.0.1:9466\"\n")?;
    ensure_eq!(http::get(9465, "/readyz")?.status, 200, "the old one");
    agent.wait_for_log(&["metrics", "127.0.0.1:9466", "in use"])?;
    drop(other);
    agent.wait_until("the new one", |_| {
        http::get(9466, "/readyz").is_ok_and(|response| response.status == 200)
    })?;
    ensure!(http::connect(9465).is_err(), "the old one");
    reload("")?;
    ensure!(http::connect(9466).is_err(), "it is off");
    Ok(())
}

fn who_does_not_answer_is_not_alive(s: &Sandbox) -> Result<()> {
    let agent = start(s, PROFILE)?;
    ensure_eq!(http::get(PORT, "/readyz")?.status, 200, "ready");
    agent.stop()?;
    // Nobody answers: it is not alive, whatever the thread would say.
    let mut stream = http::connect(PORT)?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    stream.set_read_timeout(Some(limit(1)))?;
    ensure!(stream.read(&mut [0; 1]).is_err(), "it answered");
    agent.signal(Signal::SIGCONT)?;
    ensure_eq!(http::get(PORT, "/healthz")?.status, 200, "alive again");
    Ok(())
}

fn a_failed_proof_is_not_ready(s: &Sandbox) -> Result<()> {
    Need::Errno.check()?;
    s.set_policy_with(PROFILE, Settings::DEFAULT, METRICS)?;
    let below = s.cgroup_below("ours")?;
    let start = s.agent_again()?;
    let _agent = start
        .option("--cgroup", &below.display().to_string())
        .start()?;
    let above = Neighbour::attach_undoing_all(&s.cgroup)?;
    // It proves anew when it is asked.
    s.portreeve(&["status"])?.ended_with(1)?;
    let told = wait_for("the failed proof", |told| {
        told.value("portreeve_ready") == Some(0.0)
    })?;
    ensure_eq!(
        told.value("portreeve_selftest_ok"),
        Some(0.0),
        "the self-test"
    );
    let ready = http::get(PORT, "/readyz")?;
    ensure_eq!(ready.status, 503, "{ready:?}");
    ensure!(ready.body.contains("did not refuse"), "{ready:?}");
    ensure_eq!(http::get(PORT, "/healthz")?.status, 200, "alive");
    drop(above);
    s.portreeve(&["status"])?.ended_with(0)?;
    wait_for("the proof", |told| {
        told.value("portreeve_ready") == Some(1.0)
    })?;
    Ok(())
}

/// 131 070 reservations: told, searched and drawn, and the agent answers meanwhile. There
/// is no port left to connect from.
fn a_register_of_every_port(s: &Sandbox) -> Result<()> {
    let mut profile = String::from("PORT\n");
    for port in 1..=65535 {
        profile += &format!(" {port} TCP JOB*\n {port} UDP JOB* ; number {port}\n");
    }
    let socket = s.dir.join("metrics.sock");
    let config = format!("[metrics]\nlisten = \"unix:{}\"\n", socket.display());
    s.set_policy_with(&profile, Settings::DEFAULT.any_pool(), &config)?;
    let agent = s.agent_again()?.start()?;
    let get = |path: &str| http::get_at(&socket, path);
    let told = get("/metrics")?;
    ensure_eq!(
        told.value("portreeve_policy_entries"),
        Some(131_070.0),
        "entries"
    );
    ensure_eq!(
        told.value("portreeve_port_series_omitted"),
        Some(130_070.0),
        "omitted"
    );
    ensure!(told.body.len() < 512 << 10, "{} bytes", told.body.len());
    let found = get("/api/register?q=udp/4711")?.json()?;
    ensure_eq!(found["total"], 131_070, "{found}");
    ensure_eq!(found["matched"], 1, "{found}");
    let found = get("/api/register?q=number&offset=65000&limit=3")?.json()?;
    ensure_eq!(found["rows"][2]["port"], 65003, "{found}");
    let map = get("/api/map")?;
    ensure!(map.body.len() < 64 << 10, "{} bytes", map.body.len());
    // While many ask, the control socket answers.
    thread::scope(|scope| -> Result<()> {
        let ask = || (0..5).try_for_each(|_| get("/metrics").map(drop));
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        let asked = Instant::now();
        agent.status()?;
        ensure!(asked.elapsed() < limit(10), "{:?}", asked.elapsed());
        for one in asking {
            one.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        }
        Ok(())
    })
}
