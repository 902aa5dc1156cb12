//! Where messages and events go: streams, files, syslog and the journal, those that are
//! stuck or away included.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, NOBODY, Sandbox, Settings, Spinner, agent::Start, command, launch::Launch,
        pace::patience, peer::Peer, refusal, systemd::program, tcp,
    },
    tests,
};

tests![
    json_on_standard_output,
    sentences_on_standard_error,
    a_file_is_opened_again,
    a_disk_that_is_full,
    the_journal_gets_fields,
    names_never_become_fields,
    syslog_gets_lines,
    a_journal_that_goes_and_comes_back,
    a_journal_that_reads_nothing,
    a_real_journal,
    what_can_not_be_had_is_an_error,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n 4322 TCP RESERVED\n";

/// An agent with this table `[log]`.
fn logging<'s>(s: &'s Sandbox, log: &str) -> Result<Start<'s>> {
    s.set_policy_with(PROFILE, QUIET, &format!("[log]\n{log}\n"))?;
    s.agent_again()
}

fn is_refused(s: &Sandbox) -> Result<()> {
    let result = Binder::attempt(&s.caller("wrong"), &tcp(4321))?;
    ensure_eq!(result, Err(refusal()), "the wrong job");
    Ok(())
}

/// Lines of JSON, of which each must be one.
fn parsed<'l>(lines: impl IntoIterator<Item = &'l str>) -> Result<Vec<Value>> {
    let value = |line: &str| serde_json::from_str(line).with_context(|| line.to_owned());
    lines.into_iter().map(value).collect()
}

fn refusals(lines: &[Value]) -> Vec<&Value> {
    lines
        .iter()
        .filter(|line| line["kind"] == "refusal")
        .collect()
}

/// The sentence for a refusal of port 4321 says who, what, by which rule, and what to do.
fn is_sentence(s: &Sandbox, text: &str) -> Result<()> {
    let rule = format!("as {}:2 `4321 TCP RIGHT` says", s.profile().display());
    for part in [
        "refused tcp/4321 on 127.0.0.1 to wrong (pid ",
        "job WRONG, user root, cgroup /portreeve-test-",
        "the port is reserved for another job",
        rule.as_str(),
        "if it is the rightful program",
        "`portreeve explain tcp/4321`",
    ] {
        ensure!(text.contains(part), "{part:?} is not in {text:?}");
    }
    ensure!(!text.contains(char::is_control), "{text:?}");
    Ok(())
}

fn outputs(agent: &Agent<'_>) -> Result<Vec<Value>> {
    let outputs = agent.status()?["outputs"].clone();
    Ok(serde_json::from_value(outputs)?)
}

/// Everything is a line of JSON there, that it is ready too.
fn json_on_standard_output(s: &Sandbox) -> Result<()> {
    let agent = logging(s, "to = [\"json\"]")?.begin()?;
    let has = |agent: &Agent<'_>, word: &str| agent.stdout().iter().any(|line| line.contains(word));
    agent.wait_until("ready", |agent| has(agent, "ready: mode enforce"))?;
    is_refused(s)?;
    agent.wait_until("the event", |agent| has(agent, "\"refusal\""))?;
    let said = agent.stdout();
    let lines = parsed(said.iter().map(String::as_str))?;
    let refusals = refusals(&lines);
    ensure_eq!(refusals.len(), 1, "{lines:?}");
    let event = refusals[0];
    ensure_eq!(event["port"], 4321, "{event}");
    ensure_eq!(event["level"], "notice", "{event}");
    ensure_eq!(event["user"], "root", "{event}");
    is_sentence(s, event["message"].as_str().context("no message")?)?;
    ensure_eq!(agent.log(), "", "standard error");
    let ready = lines.iter().find(|line| line["kind"] == "log");
    ensure!(
        ready.is_some_and(|line| line["level"] == "info"),
        "{lines:?}"
    );
    Ok(())
}

/// What `auto` leaves out there, `stderr` has.
fn sentences_on_standard_error(s: &Sandbox) -> Result<()> {
    let agent = logging(s, "to = \"stderr\"")?.start()?;
    is_refused(s)?;
    agent.wait_for_log(&["portreeve: notice: refused tcp/4321"])?;
    let log = agent.log();
    let line = log.lines().find(|line| line.contains("refused tcp/4321"));
    is_sentence(s, line.context("no line")?)?;
    agent.terminate()?;

    let agent = logging(s, "to = \"auto\"")?.start()?;
    is_refused(s)?;
    agent.events()?;
    let outputs = outputs(&agent)?;
    ensure_eq!(outputs.len(), 1, "{outputs:?}");
    ensure_eq!(outputs[0]["events"], false, "{outputs:?}");
    ensure_eq!(agent.logged(&["refused tcp/4321"]), 0, "events");
    Ok(())
}

/// Waits until `file` has a line with these words, and nothing but JSON.
fn wait_for_line(agent: &Agent<'_>, file: &Path, words: &str) -> Result<Vec<Value>> {
    agent.wait_until(words, |_| {
        fs::read_to_string(file).is_ok_and(|text| text.contains(words))
    })?;
    parsed(fs::read_to_string(file)?.lines())
}

/// By SIGHUP, as who moves it away does it, and without a word.
fn a_file_is_opened_again(s: &Sandbox) -> Result<()> {
    let file = s.dir.join("events.jsonl");
    let agent = logging(s, "to = []\nfile = \"events.jsonl\"")?.start()?;
    is_refused(s)?;
    let lines = wait_for_line(&agent, &file, "\"refusal\"")?;
    is_sentence(s, refusals(&lines)[0]["message"].as_str().context("text")?)?;
    ensure_eq!(agent.log(), "", "standard error");

    for number in 1..3 {
        let moved = s.dir.join(format!("events.jsonl.{number}"));
        fs::rename(&file, &moved)?;
        if number == 1 {
            agent.signal(Signal::SIGHUP)?;
            wait_for_line(&agent, &file, "reloaded: generation")?;
        } else {
            // It is looked at each second.
            thread::sleep(Duration::from_millis(1100));
        }
        is_refused(s)?;
        let lines = wait_for_line(&agent, &file, "\"refusal\"")?;
        ensure_eq!(refusals(&lines).len(), 1, "{lines:?}");
    }
    let first = fs::read_to_string(s.dir.join("events.jsonl.1"))?;
    ensure_eq!(refusals(&parsed(first.lines())?).len(), 1, "{first}");
    Ok(())
}

/// A full disk is told, delays nothing, and leaves whole lines; what was kept comes when
/// there is room again.
fn a_disk_that_is_full(s: &Sandbox) -> Result<()> {
    const ROOM: u32 = 64 * 1024;
    let disk = s.dir.join("disk");
    fs::create_dir(&disk)?;
    let mut start = logging(s, "to = [\"stderr\"]\nfile = \"disk/events.jsonl\"")?;
    start.launch.small = vec![(disk.clone(), ROOM)];
    let agent = start.start()?;
    let inside = PathBuf::from(format!("/proc/{}/root", agent.pid()));
    let disk = inside.join(disk.strip_prefix("/")?);
    let hog = disk.join("hog");
    // There is room for the file's first page at most.
    while fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&hog)
        .and_then(|mut hog| std::io::Write::write_all(&mut hog, &[0; 4096]))
        .is_ok()
    {}
    for _ in 0..16 {
        is_refused(s)?;
    }
    agent.wait_for_log(&["error", "events.jsonl can't be written", "No space left"])?;
    let told = outputs(&agent)?;
    let file = told.iter().find(|output| output["problem"].is_string());
    ensure!(file.is_some_and(|file| file["events"] == true), "{told:?}");
    is_refused(s)?;
    let file = disk.join("events.jsonl");
    parsed(fs::read_to_string(&file)?.lines())?;

    fs::remove_file(&hog)?;
    agent.wait_for_log(&["info", "can be written again"])?;
    agent.wait_until("what waited", |_| {
        fs::read_to_string(&file)
            .ok()
            .and_then(|text| parsed(text.lines()).ok())
            .is_some_and(|lines| refusals(&lines).len() == 17)
    })?;
    let dropped = outputs(&agent)?.iter().all(|output| output["dropped"] == 0);
    ensure!(dropped, "nothing had to be dropped");
    Ok(())
}

/// A folder that the agent finds in the place of `/run`, and in it the journal's socket.
struct Run {
    folder: PathBuf,
}

impl Run {
    fn new(s: &Sandbox) -> Result<Self> {
        let folder = s.dir.join("run");
        fs::create_dir_all(folder.join("systemd/journal"))?;
        Ok(Self { folder })
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("systemd/journal/socket")
    }

    /// Plays the journal's receiving end.
    fn listen(&self) -> Result<UnixDatagram> {
        let _ = fs::remove_file(self.socket());
        let journal = UnixDatagram::bind(self.socket())?;
        journal.set_read_timeout(Some(patience()))?;
        Ok(journal)
    }

    fn launch(&self, launch: &mut Launch) {
        launch.replaced = vec![(self.folder.clone(), "/run".into())];
    }

    fn start<'s>(&self, s: &'s Sandbox) -> Result<Agent<'s>> {
        let mut start = logging(s, "to = [\"journald\", \"stderr\"]")?;
        self.launch(&mut start.launch);
        start.start()
    }
}

/// The fields of a datagram, by systemd's description of its native protocol.
fn fields(datagram: &[u8]) -> Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, behind) = rest.split_at(end.context("a field without an end")?);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
        if let Some(at) = line.iter().position(|byte| *byte == b'=') {
            fields.push((text(&line[..at])?, text(&line[at + 1..])?));
            rest = &behind[1..];
            continue;
        }
        let length: [u8; 8] = behind.get(1..9).context("no length")?.try_into()?;
        let length = usize::try_from(u64::from_le_bytes(length))?;
        let value = behind.get(9..9 + length).context("no value")?;
        fields.push((text(line)?, text(value)?));
        rest = behind.get(9 + length + 1..).context("no end")?;
    }
    Ok(fields)
}

/// The next message of this kind that comes to `journal`.
fn next(journal: &UnixDatagram, id: &str) -> Result<Vec<(String, String)>> {
    let mut datagram = vec![0; 1 << 18];
    let deadline = Instant::now() + patience();
    while Instant::now() < deadline {
        let length = journal.recv(&mut datagram).context("nothing came")?;
        let fields = fields(&datagram[..length])?;
        if value(&fields, "MESSAGE_ID") == Some(id) {
            return Ok(fields);
        }
    }
    bail!("{id} never came")
}

fn value<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    let mut found = fields.iter().filter(|(field, _)| field == name);
    let value = found.next().map(|(_, value)| value.as_str());
    value.filter(|_| found.next().is_none())
}

const REFUSAL: &str = "a7d17e1e932c4e33b636199fe73f3780";
const LOG: &str = "c1eb0e064ef440ca92f7eed21f4ac7d0";

fn the_journal_gets_fields(s: &Sandbox) -> Result<()> {
    let run = Run::new(s)?;
    let journal = run.listen()?;
    let agent = run.start(s)?;
    let binder = Binder::start(&s.caller("wrong").user(NOBODY), &[tcp(4321)])?;
    let event = next(&journal, REFUSAL)?;
    drop(binder);
    for (name, expected) in [
        ("PRIORITY", "5"),
        ("SYSLOG_IDENTIFIER", "portreeve"),
        ("PORTREEVE_PORT", "4321"),
        ("PORTREEVE_PROTOCOL", "tcp"),
        ("PORTREEVE_COMM", "wrong"),
        ("PORTREEVE_JOB", "WRONG"),
        ("PORTREEVE_REASON", "other-job"),
        ("PORTREEVE_ENTRY", "4321 TCP RIGHT"),
        ("PORTREEVE_ENTRY_LINE", "2"),
        ("PORTREEVE_CGROUP", &s.cgroup_name()),
        ("PORTREEVE_UID", &NOBODY.to_string()),
        ("ERRNO", &(refusal() as i32).to_string()),
    ] {
        ensure_eq!(value(&event, name), Some(expected), "{name}: {event:?}");
    }
    let told = agent.events()?;
    let pid = told[0]["pid"].to_string();
    ensure_eq!(value(&event, "OBJECT_PID"), Some(pid.as_str()), "{event:?}");
    let text = value(&event, "MESSAGE").context("no message")?;
    ensure!(
        text.starts_with("refused tcp/4321 on 127.0.0.1 to wrong"),
        "{text}"
    );
    // Of what the agent says itself only the words are fields.
    s.write("profile.tcpip", "PORT nonsense\n")?;
    agent.reload(&[])?;
    agent.signal(Signal::SIGHUP)?;
    loop {
        let log = next(&journal, LOG)?;
        let text = value(&log, "MESSAGE").context("no message")?;
        if text.contains("not reloaded") {
            ensure!(text.contains('\n'), "diagnostics are lines: {text}");
            ensure_eq!(value(&log, "PRIORITY"), Some("3"), "{log:?}");
            return Ok(());
        }
    }
}

/// Whatever a process calls itself.
fn names_never_become_fields(s: &Sandbox) -> Result<()> {
    let run = Run::new(s)?;
    let journal = run.listen()?;
    let _agent = run.start(s)?;
    for name in ["a\n_UID=1", "b\nMESSAGE=x", "\u{1b}[2J", "c\n<0>d"] {
        // The kernel takes everything else in a cgroup's name.
        let below = s.cgroup_below("evil\u{1b}[0m PRIORITY=0")?;
        let caller = s.caller(name).cgroup(below);
        ensure_eq!(
            Binder::attempt(&caller, &tcp(4322))?,
            Err(refusal()),
            "{name:?}"
        );
        let event = next(&journal, REFUSAL)?;
        for (field, value) in &event {
            let known = [
                "MESSAGE",
                "PRIORITY",
                "SYSLOG_",
                "OBJECT_PID",
                "ERRNO",
                "PORTREEVE_",
            ];
            ensure!(
                known.iter().any(|known| field.starts_with(known)),
                "{field:?}"
            );
            ensure!(!value.contains(char::is_control), "{field}: {value:?}");
        }
        ensure_eq!(value(&event, "PRIORITY"), Some("5"), "{event:?}");
    }
    Ok(())
}

fn syslog_gets_lines(s: &Sandbox) -> Result<()> {
    let devices = s.dir.join("dev");
    fs::create_dir(&devices)?;
    fs::write(devices.join("null"), "")?;
    let daemon = UnixDatagram::bind(devices.join("log"))?;
    daemon.set_read_timeout(Some(patience()))?;
    let mut start = logging(s, "to = [\"syslog\"]")?;
    start.launch.replaced = vec![(devices, "/dev".into())];
    let agent = start.start()?;
    let caller = s.caller("a\n<0>b");
    ensure_eq!(
        Binder::attempt(&caller, &tcp(4321))?,
        Err(refusal()),
        "bind"
    );
    let mut datagram = vec![0; 1 << 16];
    loop {
        let length = daemon.recv(&mut datagram).context("nothing came")?;
        let line = String::from_utf8(datagram[..length].to_vec())?;
        ensure!(!line.contains(char::is_control), "{line:?}");
        if line.contains("refused tcp/4321") {
            // daemon.notice, then the time, whose length is fixed.
            let (priority, rest) = line.split_at("<29>".len());
            ensure_eq!(priority, "<29>", "{line}");
            let tag = format!(" portreeve[{}]: refused tcp/4321 on", agent.pid());
            ensure!(rest["Jan  1 00:00:00".len()..].starts_with(&tag), "{line}");
            return Ok(());
        }
    }
}

/// What is said meanwhile waits.
fn a_journal_that_goes_and_comes_back(s: &Sandbox) -> Result<()> {
    let run = Run::new(s)?;
    let journal = run.listen()?;
    let agent = run.start(s)?;
    is_refused(s)?;
    next(&journal, REFUSAL)?;
    drop(journal);
    is_refused(s)?;
    agent.wait_for_log(&["error", "the journal can't be written"])?;
    fs::remove_file(run.socket())?;
    is_refused(s)?;
    let told = outputs(&agent)?;
    ensure!(told[0]["problem"].is_string(), "{told:?}");
    let journal = run.listen()?;
    for _ in 0..2 {
        next(&journal, REFUSAL)?;
    }
    agent.wait_for_log(&["info", "the journal can be written again"])?;
    ensure_eq!(outputs(&agent)?[0]["dropped"], 0, "dropped");
    Ok(())
}

/// It delays neither binds nor the agent, whose memory doesn't grow for it; what is lost is
/// counted and told.
fn a_journal_that_reads_nothing(s: &Sandbox) -> Result<()> {
    let run = Run::new(s)?;
    let journal = run.listen()?;
    let log = "[log]\nto = [\"journald\"]\n";
    s.set_policy_with(PROFILE, QUIET.report_all(), log)?;
    let mut start = s.agent_again()?;
    run.launch(&mut start.launch);
    let agent = start.start()?;
    let lost = |agent: &Agent<'_>| -> Result<u64> {
        let dropped = outputs(agent)?[0]["dropped"].as_u64();
        dropped.context("no number")
    };
    // Each bind that goes on makes an event.
    let spinner = Spinner::start(&s.caller("right"), &[tcp(4321)])?;
    let deadline = Instant::now() + patience();
    while lost(&agent)? == 0 {
        ensure!(Instant::now() < deadline, "nothing is lost");
        let asked = Instant::now();
        is_refused(s)?;
        agent.status()?;
        ensure!(
            asked.elapsed() < patience() / 4,
            "the agent waits for the journal"
        );
    }
    spinner.stop()?;
    let lost = lost(&agent)?;
    // What waits is told when it is read, and how much is lost.
    let mut datagram = vec![0; 1 << 18];
    let mut told = 0;
    while told < lost {
        let length = journal.recv(&mut datagram).context("nothing came")?;
        let fields = fields(&datagram[..length])?;
        let text = value(&fields, "MESSAGE").context("no message")?;
        if let Some(count) = text.strip_suffix(" took them")
            && let Some((count, _)) = count.split_once(" messages were LOST")
        {
            told += count.parse::<u64>()?;
        }
    }
    Ok(())
}

/// A systemd-journald in a place of its own.
fn journald(s: &Sandbox, run: &Run) -> Result<Peer> {
    let journald = program("/usr/lib/systemd/systemd-journald")?;
    // The kernel's messages and its audit are none of the test's.
    let config = s.write(
        "journald.conf",
        "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=\n",
    )?;
    let mut launch = Launch {
        program: journald.to_owned(),
        ..Launch::default()
    };
    run.launch(&mut launch);
    // Its own, or where newer releases have it.
    let usual = ["/etc/systemd", "/usr/lib/systemd"].map(|at| Path::new(at).join("journald.conf"));
    let usual = usual.into_iter().find(|file| file.exists());
    launch
        .replaced
        .push((config, usual.context("there is no journald.conf")?));
    let mut journal = Peer::start(&mut launch.command()?, s.dir.join("journald.log"))?;
    journal.wait_until("the journal", |_| run.socket().exists())?;
    Ok(journal)
}

/// What is in the journal below `run`, by these words of journalctl's.
fn journalctl(run: &Run, words: &[&str]) -> Result<String> {
    let mut command = Command::new(program("/usr/bin/journalctl")?);
    command.env_clear().arg("--no-pager").arg("--quiet");
    command
        .arg("--directory")
        .arg(run.folder.join("log/journal"));
    Ok(command::finish(command.args(words))?.stdout)
}

/// A real journald takes it all, and journalctl finds it by its fields.
fn a_real_journal(s: &Sandbox) -> Result<()> {
    let run = Run::new(s)?;
    let first = journald(s, &run)?;
    let agent = run.start(s)?;
    is_refused(s)?;
    let id = format!("MESSAGE_ID={REFUSAL}");
    let find = |words: &[&str]| journalctl(&run, words);
    agent.wait_until("the journal", |_| {
        find(&[&id]).is_ok_and(|text| !text.is_empty())
    })?;
    let lines = find(&["-o", "json", "-t", "portreeve", &id])?;
    let lines = parsed(lines.lines())?;
    ensure_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    for (name, expected) in [
        ("PRIORITY", "5"),
        ("PORTREEVE_PORT", "4321"),
        ("PORTREEVE_COMM", "wrong"),
        ("PORTREEVE_ENTRY", "4321 TCP RIGHT"),
        ("_PID", &agent.pid().to_string()),
    ] {
        ensure_eq!(line[name], expected, "{name}: {line}");
    }
    is_sentence(s, line["MESSAGE"].as_str().context("no message")?)?;
    let text = find(&["-t", "portreeve", "PORTREEVE_PORT=4321"])?;
    ensure!(
        text.contains("refused tcp/4321 on 127.0.0.1 to wrong"),
        "{text}"
    );
    ensure_eq!(find(&["PORTREEVE_PORT=4323"])?, "", "another port");

    // Started again, it goes on, and nothing is missing.
    drop(first);
    is_refused(s)?;
    let _second = journald(s, &run)?;
    agent.wait_until("the second event", |_| {
        let found = find(&["-o", "json", &id]);
        found.is_ok_and(|text| text.lines().count() == 2)
    })
}

/// At the start; later it is a problem that the status tells.
fn what_can_not_be_had_is_an_error(s: &Sandbox) -> Result<()> {
    let shared = s.dir.join("shared");
    fs::create_dir(&shared)?;
    fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let run = Run::new(s)?;
    for (log, words) in [
        ("to = [\"journald\"]", "/run/systemd/journal/socket"),
        ("file = \"shared/events\"", "others could replace it"),
        ("file = \"absent/events\"", "absent/events"),
    ] {
        let mut start = logging(s, log)?;
        run.launch(&mut start.launch);
        let ended = start.finish()?.ended_with(2)?;
        ensure!(ended.stderr.contains(words), "{}", ended.stderr);
        ensure!(!s.is_pinned(), "something is left");
    }
    let ended = logging(s, "to = [\"jornald\"]")?.finish()?.ended_with(1)?;
    ensure!(
        ended.stderr.contains("did you mean `journald`?"),
        "{}",
        ended.stderr
    );
    Ok(())
}
