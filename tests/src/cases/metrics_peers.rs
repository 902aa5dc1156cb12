//! Who metrics and the status page are for: a real Prometheus and a real browser.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{
        Binder, Sandbox, Settings, command, http,
        pace::{limit, patience},
        peer::Peer,
        tcp, tools, udp,
    },
    tests,
};

tests![
    rules_do_what_they_say,
    prometheus_scrapes_it,
    the_page_without_anything,
    the_page_when_much_happens,
    the_page_says_that_nobody_answers,
];

const METRICS: &str = "[metrics]\n";
const PORT: u16 = 9464;

/// The folder of rules and dashboard.
fn deployed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus")
}

fn rules_do_what_they_say(_: &Sandbox) -> Result<()> {
    let promtool = tools::program("promtool")?;
    for arguments in [
        ["check", "rules", "portreeve.rules.yml"],
        ["test", "rules", "portreeve.rules.test.yml"],
        ["check", "config", "prometheus.yml"],
    ] {
        let mut tool = Command::new(&promtool);
        tool.current_dir(deployed()).args(arguments);
        command::finish(&mut tool)?.ended_with(0)?;
    }
    Ok(())
}

/// What Prometheus answers to a query.
fn query(expression: &str) -> Result<Vec<Value>> {
    let answer = http::get(9090, &format!("/api/v1/query?query={expression}"))?.json()?;
    let result = answer["data"]["result"].as_array();
    Ok(result.cloned().unwrap_or_default())
}

/// It has the series and their labels, knows the alerts, and one of them becomes true.
fn prometheus_scrapes_it(s: &Sandbox) -> Result<()> {
    let prometheus = tools::program("prometheus")?;
    s.set_policy_with("PORT\n 4321 TCP RIGHT\n", Settings::DEFAULT, METRICS)?;
    let _older = Binder::start(&s.caller("older"), &[tcp(4321).listening()])?;
    let _agent = s.agent_again()?.start()?;
    let _wrong = Binder::start(&s.caller("wrong"), &[tcp(4321)])?;
    let config = fs::read_to_string(deployed().join("prometheus.yml"))?;
    fs::copy(
        deployed().join("portreeve.rules.yml"),
        s.dir.join("portreeve.rules.yml"),
    )?;
    let config = s.write("prometheus.yml", config.replace("15s", "1s"))?;
    let mut prometheus = Command::new(prometheus);
    prometheus
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            s.dir.join("tsdb").display()
        ))
        .arg("--web.listen-address=127.0.0.1:9090");
    let peer = Peer::start(&mut prometheus, s.dir.join("prometheus.log"))?;
    let deadline = Instant::now() + patience();
    let found = loop {
        if let Ok(found) = query("portreeve_port_contradicted")
            && !found.is_empty()
        {
            break found;
        }
        ensure!(
            Instant::now() < deadline,
            "nothing was scraped: {}",
            peer.said()
        );
        thread::sleep(limit(1) / 5);
    };
    let labels = &found[0]["metric"];
    for (label, value) in [
        ("job", "portreeve"),
        ("instance", "127.0.0.1:9464"),
        ("jobname", "RIGHT"),
        ("protocol", "tcp"),
        ("port", "4321"),
    ] {
        ensure_eq!(labels[label], value, "{labels}");
    }
    let ready = query("portreeve_ready")?;
    ensure_eq!(ready[0]["value"][1], "1", "{ready:?}");
    let types = http::get(9090, "/api/v1/metadata?metric=portreeve_verdicts_total")?.json()?;
    let of_verdicts = &types["data"]["portreeve_verdicts_total"][0];
    ensure_eq!(of_verdicts["type"], "counter", "{types}");
    let rules = http::get(9090, "/api/v1/rules")?.json()?;
    let rules = rules["data"]["groups"][0]["rules"]
        .as_array()
        .context("rules")?
        .len();
    ensure_eq!(rules, 16, "rules");
    Ok(())
}

/// A browser that shows the page: what is in it after some time, and how it looks.
fn shown(s: &Sandbox, name: &str, size: (u32, u32)) -> Result<String> {
    let chromium = tools::program("chromium")?;
    let folder = env::var_os("PORTREEVE_SCREENSHOTS").map_or_else(|| s.dir.clone(), PathBuf::from);
    let picture = folder.join(format!("{name}-{}.png", size.0));
    let profile = s.dir.join(format!("browser-{name}-{}", size.0));
    let mut browser = Command::new(chromium);
    browser.env("HOME", &s.dir).args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--virtual-time-budget=12000",
        "--dump-dom",
    ]);
    browser.arg(format!("--user-data-dir={}", profile.display()));
    browser.arg(format!("--window-size={},{}", size.0, size.1));
    browser.arg(format!("--screenshot={}", picture.display()));
    browser.arg(format!("http://127.0.0.1:{PORT}/"));
    let finished = command::finish_within(&mut browser, limit(180))?;
    // Its own pages complain too, of a slow machine for one.
    let is_of_page = |line: &str| line.contains("CONSOLE") && !line.contains("source: chrome://");
    ensure!(
        !finished.stderr.lines().any(is_of_page) && finished.code == Some(0),
        "the browser complains: {}",
        finished.stderr
    );
    let (width, bytes) = picture_of(&picture)?;
    ensure_eq!(width, size.0, "the picture's width");
    ensure!(
        bytes > 20_000,
        "a picture of {bytes} bytes has nothing in it"
    );
    // The script has words of its own.
    let page = finished.stdout.split("<script>").next().unwrap_or_default();
    Ok(page.to_owned())
}

/// Width and bytes of a PNG.
fn picture_of(path: &Path) -> Result<(u32, usize)> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    ensure!(bytes.starts_with(b"\x89PNG"), "no PNG");
    let width = bytes.get(16..20).context("no header")?;
    Ok((u32::from_be_bytes(width.try_into()?), bytes.len()))
}

/// The text of the element `id`, as far as it has no other in it.
fn text_of<'d>(dom: &'d str, id: &str) -> &'d str {
    let start = dom.find(&format!("id=\"{id}\""));
    let inner = start.and_then(|start| dom[start..].split_once('>'));
    inner.map_or("", |(_, rest)| rest.split('<').next().unwrap_or_default())
}

const SIZES: [(u32, u32); 2] = [(1360, 2100), (390, 3400)];

fn the_page_without_anything(s: &Sandbox) -> Result<()> {
    s.set_policy_with("", Settings::DEFAULT, METRICS)?;
    let _agent = s.agent_again()?.start()?;
    for size in SIZES {
        let dom = shown(s, "empty", size)?;
        ensure_eq!(text_of(&dom, "mode"), "enforcing, proven", "{dom}");
        ensure_eq!(
            text_of(&dom, "no-rows"),
            "The policy reserves no port.",
            "{dom}"
        );
        ensure_eq!(text_of(&dom, "t-wrong"), "0", "{dom}");
        ensure_eq!(text_of(&dom, "n-open"), "0", "{dom}");
    }
    Ok(())
}

const BUSY: &str = "PORT
  20 TCP * NOAUTOLOG ; FTP data
  21 TCP FTPD1 ; FTP control
  22 TCP SSHD
  23 TCP RESERVED ; no telnet here
  25 TCP SMTP
  53 TCP NAMED ; name server
  53 UDP NAMED ; name server
  80 TCP WEB
  123 UDP NTPD
  443 TCP WEB ; the shop
  6000 TCP X11
  514 UDP SYSLOGD
  1414 TCP MQ1 SHAREPORT ; queues
  1414 TCP MQ*
  5432 TCP POSTGRES ; orders and customers
  8080 TCP WEB
  9464 TCP PORTREEVE
PORTRANGE
  4000 1000 TCP APPL* ; applications
  12000 5 UDP NETMON
  20000 4096 UDP RTP* ; voice
  33000 2000 TCP RESERVED ; kept free
  50000 3000 TCP CICS* ; transactions
";

/// Holders, contradictions and refusals, with names that would be HTML.
fn the_page_when_much_happens(s: &Sandbox) -> Result<()> {
    s.set_policy_with(BUSY, Settings::DEFAULT, METRICS)?;
    let hostile = s.caller("<img src=x>");
    let _older = [
        Binder::start(&hostile, &[tcp(25).listening(), tcp(34000).listening()])?,
        Binder::start(&s.caller("python3"), &[tcp(5432).listening(), udp(12002)])?,
    ];
    let agent = s.agent_again()?.start()?;
    let listening = |port| tcp(port).listening();
    let mut held = Vec::new();
    for (name, wants) in [
        ("web", vec![listening(80), listening(443), listening(8080)]),
        ("sshd", vec![listening(22)]),
        ("named", vec![listening(53), udp(53)]),
        ("mq1", vec![listening(1414)]),
        ("appl7", (4000..4040).map(listening).collect()),
        ("cicsa", (50100..50130).map(listening).collect()),
        ("rtp1", (20000..20400).step_by(2).map(udp).collect()),
        ("node", vec![listening(3000), listening(9229)]),
        ("idle", vec![udp(514)]),
    ] {
        held.push(Binder::start(&s.caller(name), &wants)?);
    }
    for (name, want) in [
        ("nginx", tcp(443)),
        ("<b>bold</b>", tcp(21)),
        ("nc", tcp(23)),
        ("python3", tcp(8080)),
        ("java", tcp(4500)),
        ("nginx", tcp(80)),
        ("sipp", udp(20010)),
    ] {
        let wrong = Binder::start(&s.caller(name), &[want.clone(), want.clone(), want])?;
        ensure!(
            wrong.results.iter().all(Result::is_err),
            "{name}: {:?}",
            wrong.results
        );
    }
    s.write("profile.tcpip", format!("{BUSY}; changed since\n"))?;
    agent.status()?;
    for size in SIZES {
        let dom = shown(s, "busy", size)?;
        ensure_eq!(text_of(&dom, "t-wrong"), "4", "contradictions");
        ensure!(text_of(&dom, "matched").ends_with(" entries"), "{dom}");
        for words in [
            "&lt;img src=x&gt;",
            "&lt;b&gt;bold&lt;/b&gt;",
            "python3",
            "orders and customers",
            "the port is reserved for another job",
            "the port is RESERVED",
            "differs from what is in force",
        ] {
            ensure!(dom.contains(words), "no {words:?} in\n{dom}");
        }
        ensure!(!dom.contains("<img"), "a name became HTML");
    }
    Ok(())
}

/// A page that shows what was and looks as if it were is worse than none.
fn the_page_says_that_nobody_answers(s: &Sandbox) -> Result<()> {
    s.set_policy_with("", Settings::DEFAULT, METRICS)?;
    let agent = s.agent_again()?.start()?;
    let page = http::get(PORT, "/")?.body;
    drop(agent);
    // Somebody still has the page open.
    let file = s.write("page.html", page)?;
    let chromium = tools::program("chromium")?;
    let mut browser = Command::new(chromium);
    browser.env("HOME", &s.dir).args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--virtual-time-budget=5000",
        "--dump-dom",
    ]);
    browser.arg(format!(
        "--user-data-dir={}",
        s.dir.join("browser").display()
    ));
    browser.arg(format!("file://{}", file.display()));
    let dom = command::finish_within(&mut browser, limit(180))?.stdout;
    ensure_eq!(text_of(&dom, "mode"), "no answer", "{dom}");
    ensure_eq!(text_of(&dom, "age"), "the agent does not answer", "{dom}");
    Ok(())
}
