//! `portreeve top` on a terminal: what really happens is seen there, and the terminal is
//! given back.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    ensure_eq,
    harness::{
        Binder, Sandbox, Settings, Spinner, command, host,
        pace::patience,
        refusal, tcp,
        terminal::{RESTORED, Terminal},
        udp,
    },
    tests,
};

tests![
    refusals_and_ports_are_seen_as_they_happen,
    keys_are_obeyed,
    a_terminal_gets_another_size,
    the_terminal_is_given_back_whatever_ends_the_view,
    an_agent_that_goes_away_is_waited_for,
    without_an_agent_there_is_no_view,
    one_frame_has_the_exact_counts,
    programs_get_an_object_every_interval,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n 4322 UDP OTHER\n";

fn top(s: &Sandbox, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(host::agent()?);
    command.env_clear().arg("top").args(arguments);
    command.args(s.places());
    Ok(command)
}

/// The view of the sandbox's agent on a terminal of the usual size.
fn view(s: &Sandbox) -> Result<Terminal> {
    let terminal = Terminal::start(&mut top(s, &["--interval", "0.2"])?, 80, 24)?;
    terminal.wait_for("the view", |text| text.contains("q quit"))?;
    Ok(terminal)
}

/// The line of what is on a terminal that has all of these words.
fn line<'t>(text: &'t str, words: &[&str]) -> Option<&'t str> {
    text.lines()
        .find(|line| words.iter().all(|word| line.contains(word)))
}

fn refusals_and_ports_are_seen_as_they_happen(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let mut terminal = view(s)?;
    let text = terminal.wait_for("the header", |text| text.contains("proven"))?;
    let pid = format!("agent pid {}", agent.pid());
    for words in [
        "enforce, generation 1",
        "2 entries",
        &pid,
        "nobody was refused",
    ] {
        ensure!(text.contains(words), "{words}:\n{text}");
    }
    for _ in 0..3 {
        let wrong = Binder::attempt(&s.caller("wrong"), &tcp(4321))?;
        ensure_eq!(wrong, Err(refusal()), "the bind");
    }
    let words = ["tcp/4321", "wrong", " 3 ", "other-job"];
    terminal.wait_for("the refusals", |text| line(text, &words).is_some())?;
    terminal.wait_for("the count", |text| {
        text.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().take(3).collect();
            matches!(words[..], ["other-job", _, "3"])
        })
    })?;

    // The views of the ports before and while somebody has one differ.
    terminal.wait_for("a look at the ports", |text| {
        text.contains("none since the view began")
    })?;
    let right = Binder::start(&s.caller("right"), &[udp(4322), tcp(4321)])?;
    ensure_eq!(right.results, [Err(refusal()), Ok(())], "the binds");
    drop(right);
    let other = Binder::start(&s.caller("other"), &[udp(4322)])?;
    ensure_eq!(other.results, [Ok(())], "the other's bind");
    let pid = format!("other ({})", other.pid);
    let open = ["udp/4322", "open", &pid[..8]];
    terminal.wait_for("the open port", |text| line(text, &open).is_some())?;
    ensure!(terminal.text().contains("1 open"), "{}", terminal.text());
    drop(other);
    let closed = ["udp/4322", "closed"];
    terminal.wait_for("the closed port", |text| line(text, &closed).is_some())?;

    let mut flood = Spinner::start(&s.caller("flood"), &[tcp(4321)])?;
    flood.wait_for(1000)?;
    terminal.wait_for("the flood's rate", |text| {
        line(text, &["tcp/4321", "flood"]).is_some_and(|line| {
            let rate = line.split_whitespace().nth(3);
            rate.and_then(|rate| rate.parse().ok())
                .is_some_and(|rate: f64| rate > 10.0)
        })
    })?;
    drop(flood);
    terminal.press("q")?;
    ensure_eq!(terminal.wait()?.code(), Some(0), "exit status");
    ensure_eq!(terminal.manners()?, RESTORED, "the terminal");
    Ok(())
}

fn keys_are_obeyed(s: &Sandbox) -> Result<()> {
    let _agent = s.agent(PROFILE, QUIET)?.start()?;
    for (name, want) in [("alpha", tcp(4321)), ("beta", udp(4322))] {
        Binder::attempt(&s.caller(name), &want)?.expect_err("it is refused");
    }
    let mut terminal = view(s)?;
    terminal.wait_for("both", |text| {
        text.contains("alpha") && text.contains("beta")
    })?;
    terminal.press("/bet\r")?;
    let text = terminal.wait_for("the filter", |text| text.contains("1 of 2"))?;
    ensure!(!text.contains("alpha") && text.contains("beta"), "{text}");
    // The letters of a key come in one piece.
    terminal.press("\x1b[B")?;
    terminal.wait_for("the entry", |text| text.contains(":3: 4322 UDP OTHER"))?;
    terminal.press("ss")?;
    terminal.wait_for("the order", |text| text.contains("last first"))?;
    terminal.press("?")?;
    terminal.wait_for("the help", |text| text.contains("Any key goes back"))?;
    terminal.press("x")?;
    terminal.wait_for("its end", |text| !text.contains("Any key goes back"))?;
    terminal.press("p")?;
    terminal.wait_for("the pause", |text| text.contains("PAUSED"))?;
    Binder::attempt(&s.caller("beta2"), &udp(4322))?.expect_err("it is refused");
    terminal.press("p")?;
    let goes_on = |text: &str| text.contains("beta2") && !text.contains("PAUSED");
    terminal.wait_for("what happened meanwhile", goes_on)?;
    terminal.press("\x03")?;
    ensure_eq!(terminal.wait()?.code(), Some(0), "exit status");
    ensure_eq!(terminal.manners()?, RESTORED, "the terminal");
    Ok(())
}

fn a_terminal_gets_another_size(s: &Sandbox) -> Result<()> {
    let _agent = s.agent(PROFILE, QUIET)?.start()?;
    Binder::attempt(&s.caller("wrong"), &tcp(4321))?.expect_err("it is refused");
    let mut terminal = view(s)?;
    terminal.wait_for("the refusal", |text| text.contains("wrong"))?;
    for (columns, lines) in [(160, 40), (40, 12), (12, 4), (80, 24)] {
        terminal.resize(columns, lines)?;
        let is_drawn = |text: &str| match (columns, lines) {
            (160, _) => text.contains("CGROUP") && text.contains("q quit"),
            (40, _) => text.contains("portreeve top") && !text.contains("CGROUP"),
            (80, _) => text.contains("q quit") && text.contains("wrong"),
            _ => true,
        };
        terminal.wait_for(&format!("{columns}x{lines}"), is_drawn)?;
    }
    Ok(())
}

fn the_terminal_is_given_back_whatever_ends_the_view(s: &Sandbox) -> Result<()> {
    let _agent = s.agent(PROFILE, QUIET)?.start()?;
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
    ] {
        let mut terminal = view(s)?;
        ensure!(terminal.manners()? != RESTORED, "it was not taken");
        terminal.signal(signal)?;
        ensure_eq!(terminal.wait()?.code(), Some(0), "{signal}");
        ensure_eq!(terminal.manners()?, RESTORED, "{signal}");
    }
    Ok(())
}

fn an_agent_that_goes_away_is_waited_for(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    Binder::attempt(&s.caller("wrong"), &tcp(4321))?.expect_err("it is refused");
    let mut terminal = view(s)?;
    terminal.wait_for("the refusal", |text| text.contains("wrong"))?;
    agent.kill()?;
    // At first it may have hung up in the midst of an answer.
    let is_lost = |text: &str| text.contains("NO AGENT since") && text.contains("no agent answers");
    let text = terminal.wait_for("the loss", is_lost)?;
    for words in ["stays in force", "wrong"] {
        ensure!(text.contains(words), "{words}:\n{text}");
    }
    let agent = s.agent_again()?.start()?;
    let pid = format!("agent pid {}", agent.pid());
    terminal.wait_for("the next agent", |text| text.contains(&pid))?;
    Binder::attempt(&s.caller("later"), &tcp(4321))?.expect_err("it is refused");
    terminal.wait_for("a refusal that it tells", |text| {
        text.contains("later") && text.contains("wrong")
    })?;
    terminal.press("q")?;
    ensure_eq!(terminal.wait()?.code(), Some(0), "exit status");
    Ok(())
}

fn without_an_agent_there_is_no_view(s: &Sandbox) -> Result<()> {
    let mut terminal = Terminal::start(&mut top(s, &[])?, 80, 24)?;
    ensure_eq!(terminal.wait()?.code(), Some(2), "exit status");
    ensure_eq!(terminal.manners()?, RESTORED, "the terminal");
    terminal.wait_for("the reason", |text| text.contains("no agent answers"))?;
    for arguments in [&["--once"][..], &["--format", "json"]] {
        let done = command::finish(&mut top(s, arguments)?)?.ended_with(2)?;
        ensure!(done.stderr.contains("no agent answers"), "{done:?}");
        ensure_eq!(done.stdout, "", "output");
    }
    let _agent = s.agent(PROFILE, QUIET)?.start()?;
    let done = command::finish(&mut top(s, &[])?)?.ended_with(2)?;
    ensure!(done.stderr.contains("--once"), "{done:?}");
    Ok(())
}

fn one_frame_has_the_exact_counts(s: &Sandbox) -> Result<()> {
    let _agent = s.agent(PROFILE, QUIET)?.start()?;
    let mut flood = Spinner::start(&s.caller("flood"), &[tcp(4321)])?;
    flood.wait_for(2000)?;
    let refused = flood.stop()?.refused;
    let holder = Binder::start(&s.caller("right"), &[tcp(4321)])?;
    ensure_eq!(holder.results, [Ok(())], "the right one's bind");
    // Repetitions are told when their second is over.
    let deadline = Instant::now() + patience();
    let told = loop {
        let done = command::finish(&mut top(s, &["--once", "--format", "json"])?)?;
        let told = done.ended_with(0)?.json()?;
        let count = told["refusals"][0]["count"].as_u64();
        ensure!(count <= Some(refused), "{told}");
        if count == Some(refused) {
            break told;
        }
        ensure!(Instant::now() < deadline, "of {refused}: {told}");
    };
    let frame = command::finish(&mut top(s, &["--once", "--interval", "0.1"])?)?;
    let frame = frame.ended_with(0)?.stdout;
    ensure_eq!(told["verdicts"]["other-job"]["count"], refused, "{told}");
    ensure_eq!(told["verdicts"]["permitted"]["count"], 1, "{told}");
    ensure_eq!(told["refusals"].as_array().map(Vec::len), Some(1), "{told}");
    ensure_eq!(told["refusals"][0]["comm"], "flood", "{told}");
    ensure_eq!(told["mode"], "enforce", "{told}");
    let count = refused.to_string();
    ensure!(
        line(&frame, &["tcp/4321", "flood", &count]).is_some(),
        "{frame}"
    );
    ensure!(!frame.contains('\x1b'), "{frame:?}");
    Ok(())
}

fn programs_get_an_object_every_interval(s: &Sandbox) -> Result<()> {
    let _agent = s.agent(PROFILE, QUIET)?.start()?;
    let mut command = top(s, &["--format", "json", "--interval", "0.1"])?;
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    for _ in 0..3 {
        let line = lines.next().context("it ended")??;
        let told: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        ensure_eq!(told["generation"], 1, "{told}");
    }
    // Who has read enough hangs up, and that is no error.
    drop(lines);
    ensure_eq!(child.wait()?.code(), Some(0), "exit status");
    Ok(())
}
