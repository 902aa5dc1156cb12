//! Floods of binds: nobody's refusal is hidden by another's, and whatever makes no
//! event is counted, exactly.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    ensure_eq,
    harness::{
        Agent, Binder, Caller, NOBODY, Sandbox, Settings, Spinner, Want, control, pace::times,
        refusal, request::Tally, tcp, udp,
    },
    tests,
};

tests![
    as_many_refusals_as_the_machine_makes,
    a_flood_hides_nobody,
    a_flood_in_audit_mode_hides_nobody,
    a_flood_of_allowed_binds_hides_no_refusal,
    floods_of_several_at_once_through_reloads,
    a_flood_that_no_agent_reads,
    a_flood_while_the_agent_stands_still,
    seconds_that_an_agent_left_are_told_by_the_next,
];

const QUIET: Settings = Settings::DEFAULT;
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n 4322 UDP OTHER\n";
/// Refusals of one rule, cgroup and user that make an event each within a second.
const TOLD: usize = 32;
/// How many binds a flood has.
const FLOOD: u64 = 200_000;

/// Starts an agent that prints its events.
fn printing<'s>(s: &'s Sandbox, profile: &str, settings: Settings) -> Result<Agent<'s>> {
    let start = s.agent(profile, settings)?.arg("--print-events");
    start.option("--format", "json").start()
}

/// Every event so far.
fn told(agent: &Agent<'_>) -> Result<Vec<Value>> {
    let lines = agent.stdout();
    let lines = lines.iter().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).with_context(|| line.clone()))
        .collect()
}

/// What an agent's events and counts say of refusals.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    /// Events of one refusal each.
    told: u64,
    /// Refusals that events stand for.
    repeated: u64,
    lost: u64,
    suppressed: u64,
    /// By reason.
    counted: BTreeMap<String, u64>,
    /// By line.
    by_entry: Vec<u64>,
}

impl Account {
    fn of(agent: &Agent<'_>) -> Result<Self> {
        let status = agent.status()?;
        let field = if status["mode"] == "audit" {
            "audited"
        } else {
            "counters"
        };
        let mut counted: BTreeMap<String, u64> = serde_json::from_value(status[field].clone())?;
        counted.retain(|reason, count| *count > 0 && reason != "permitted");
        let number = |value: &Value| value.as_u64().with_context(|| status.to_string());
        let rows = agent.ports()?;
        let by_entry: Result<Vec<u64>> = rows.iter().map(|row| number(&row["refusals"])).collect();
        let refusals: Vec<Value> = told(agent)?
            .into_iter()
            .filter(|event| event["verdict"] != "allow")
            .collect();
        let repeated = refusals.iter().map(|event| number(&event["repeated"]));
        let repeated: Vec<u64> = repeated.collect::<Result<_>>()?;
        Ok(Self {
            told: repeated.iter().filter(|count| **count == 0).count() as u64,
            repeated: repeated.iter().sum(),
            lost: number(&status["events"]["lost"])?,
            suppressed: number(&status["events"]["suppressed"])?,
            counted,
            by_entry: by_entry?,
        })
    }

    /// The same when all that is counted in the kernel was told.
    fn settled(agent: &Agent<'_>, refusals: u64) -> Result<Self> {
        agent.wait_until("the last events", |agent| {
            Self::of(agent).is_ok_and(|account| {
                account.all() >= refusals && account.repeated >= account.suppressed
            })
        })?;
        Self::of(agent)
    }

    /// All refusals, as their events say.
    fn all(&self) -> u64 {
        self.told + self.lost + self.suppressed
    }
}

fn only(reason: &str, count: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([(reason.to_owned(), count)])
}

/// Memory that an agent may take more for a flood, in bytes.
const MEMORY: u64 = 8 << 20;

/// On every processor at once, for 10 s with `--long`: each is counted, whoever has the
/// right gets his port each time, and the agent's memory doesn't grow with them.
fn as_many_refusals_as_the_machine_makes(s: &Sandbox) -> Result<()> {
    let seconds = env::var("PORTREEVE_LONG").map_or(2, |_| 10);
    let profile = format!("{PROFILE} 4323 TCP RIGHT\n");
    let agent = s.agent(&profile, QUIET)?.start()?;
    // What it takes for its first events and answers it keeps.
    Binder::attempt(&s.caller("first"), &tcp(4321))?.expect_err("it is refused");
    ensure_eq!(agent.events()?.len(), 1, "events");
    let before = agent.memory()?;

    let begin = Instant::now();
    let mut floods = Vec::new();
    for cpu in 0..thread::available_parallelism()?.get() {
        let caller = s.caller("flood").cpu(Some(cpu));
        floods.push(Spinner::start(&caller, &[tcp(4321)])?);
    }
    let wants = [tcp(4323), tcp(4321)];
    let rightful = Spinner::start_resting(&s.caller("right"), &wants, 500)?;
    let mut most = before;
    let mut answers = 0;
    while begin.elapsed() < Duration::from_secs(seconds) {
        most = most.max(agent.memory()?);
        agent.status()?;
        answers += 1;
    }
    let rightful = rightful.stop()?;
    let tallies: Vec<Tally> = floods
        .into_iter()
        .map(Spinner::stop)
        .collect::<Result<_>>()?;
    let time = begin.elapsed();
    let refused: u64 = tallies.iter().map(|tally| tally.refused).sum();
    let total: u64 = tallies.iter().map(Tally::total).sum();

    ensure_eq!(total, refused, "the flood's binds");
    ensure_eq!(rightful.total(), rightful.allowed, "binds of the right one");
    ensure!(rightful.allowed > 0 && answers > 0, "nobody had a turn");
    let status = agent.status()?;
    let counters: BTreeMap<String, u64> = serde_json::from_value(status["counters"].clone())?;
    let count = |reason: &str| counters.get(reason).copied().unwrap_or_default();
    ensure_eq!(count("other-job"), refused + 1, "refusals by reason");
    ensure_eq!(count("permitted"), rightful.allowed, "allowed by reason");
    ensure_eq!(status["events"]["lost"], 0, "lost events");
    let rows = agent.ports()?;
    let by_entry: Vec<&Value> = rows.iter().map(|row| &row["refusals"]).collect();
    ensure_eq!(by_entry, [refused + 1, 0, 0], "refusals by entry");
    let after = agent.memory()?;
    most = most.max(after);
    // Of a run that is looked at.
    eprintln!(
        "{refused} refusals in {:.1} s, {:.0} a second; {} allowed meanwhile, {answers} answers; \
         the agent's memory {} KiB before, {} KiB at most, {} KiB after",
        time.as_secs_f64(),
        refused as f64 / time.as_secs_f64(),
        rightful.allowed,
        before >> 10,
        most >> 10,
        after >> 10
    );
    ensure!(
        most <= before + MEMORY,
        "{before} bytes became {most}, of {refused} refusals"
    );
    Ok(())
}

/// 200 000 refusals of one process, and one of somebody else.
fn a_flood_hides_nobody(s: &Sandbox) -> Result<()> {
    flooded(s, QUIET)
}

fn a_flood_in_audit_mode_hides_nobody(s: &Sandbox) -> Result<()> {
    flooded(s, QUIET.audit())
}

fn flooded(s: &Sandbox, settings: Settings) -> Result<()> {
    let agent = printing(s, PROFILE, settings)?;
    let mut flood = Spinner::start(&s.caller("flood"), &[tcp(4321)])?;
    flood.wait_for(times(FLOOD) / 2)?;
    let cgroup = s.cgroup_below("lone")?;
    let lone = s.caller("lone").user(NOBODY).cgroup(&cgroup);
    let lone = Binder::start(&lone, &[udp(4322)])?;
    flood.wait_for(times(FLOOD) / 2)?;
    let tally = flood.stop()?;
    let (refused, result) = if settings.audit {
        (tally.allowed, Ok(()))
    } else {
        (tally.refused, Err(refusal()))
    };
    ensure_eq!(tally.total(), refused, "the flood's binds");
    ensure_eq!(lone.results, [result], "the other's bind");

    let account = Account::settled(&agent, refused + 1)?;
    ensure_eq!(account.all(), refused + 1, "{account:?}");
    ensure_eq!(account.counted, only("other-job", refused + 1), "by reason");
    let by_entry = if settings.audit {
        vec![0, 0]
    } else {
        vec![refused, 1]
    };
    ensure_eq!(account.by_entry, by_entry, "by entry");
    ensure_eq!(account.lost, 0, "lost");
    ensure_eq!(account.repeated, account.suppressed, "in sums");

    let events = told(&agent)?;
    let of_lone: Vec<&Value> = events.iter().filter(|e| e["comm"] == "lone").collect();
    ensure_eq!(of_lone.len(), 1, "events of the other");
    let event = of_lone[0];
    ensure_eq!(event["pid"], lone.pid, "{event}");
    ensure_eq!(event["uid"], NOBODY, "{event}");
    ensure_eq!(
        event["cgroup"],
        format!("{}/lone", s.cgroup_name()),
        "{event}"
    );
    ensure_eq!(event["entry"]["line"], 3, "{event}");
    ensure_eq!(event["repeated"], 0, "{event}");
    // Each second of the flood has its few, and one that stands for the rest.
    let mut by_second: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for event in events.iter().filter(|event| event["comm"] == "flood") {
        let time = event["time"].as_str().unwrap_or_default();
        let second = by_second.entry(time[..19].to_owned()).or_default();
        second[usize::from(event["repeated"] != 0)] += 1;
        ensure_eq!(event["port"], 4321, "{event}");
        ensure_eq!(event["entry"]["line"], 2, "{event}");
        ensure_eq!(event["errno"].is_null(), settings.audit, "{event}");
    }
    // Seconds since boot don't begin where those of the clock do.
    for [single, sums] in by_second.values() {
        ensure!(*single <= 2 * TOLD + 2 && *sums <= 2, "{by_second:?}");
    }
    let kept = agent.events()?;
    ensure!(kept.iter().any(|kept| kept == event), "not kept");
    Ok(())
}

/// Allowed binds that are reported too leave the ring's half to refusals.
fn a_flood_of_allowed_binds_hides_no_refusal(s: &Sandbox) -> Result<()> {
    let agent = printing(s, PROFILE, QUIET.report_all())?;
    let mut flood = Spinner::start(&s.caller("right"), &[tcp(4321)])?;
    let mut pids = Vec::new();
    for number in 0..10 {
        flood.wait_for(times(FLOOD) / 10)?;
        let lone = s.caller("lone").user(NOBODY + number);
        let lone = Binder::start(&lone, &[udp(4322)])?;
        ensure_eq!(lone.results, [Err(refusal())], "the other's bind");
        pids.push(lone.pid);
    }
    let tally = flood.stop()?;
    // Those that were printed, and those for which a queue had no room.
    let settled = |agent: &Agent<'_>| -> Result<(u64, u64)> {
        let status = agent.status()?;
        let number = |value: &Value| value.as_u64().with_context(|| status.to_string());
        let outputs = status["outputs"].as_array().context("no outputs")?;
        let printed = outputs.iter().find(|o| o["to"] == "standard output");
        let dropped = number(&printed.context("nothing is printed")?["dropped"])?;
        let lines = agent.stdout();
        let allowed = lines.iter().filter(|l| l.contains("\"verdict\":\"allow\""));
        let lost = number(&status["events"]["reports_lost"])?;
        Ok((allowed.count() as u64, lost + dropped))
    };
    agent.wait_until("the last events", |agent| {
        settled(agent).is_ok_and(|(told, lost)| told + lost >= tally.allowed)
    })?;
    let (allowed, lost) = settled(&agent)?;
    ensure_eq!(allowed + lost, tally.allowed, "told and lost");
    let account = Account::of(&agent)?;
    ensure_eq!(account.told, 10, "{account:?}");
    ensure_eq!((account.lost, account.suppressed), (0, 0), "{account:?}");
    let (events, kept) = (told(&agent)?, agent.events()?);
    for pid in pids {
        let has = |events: &[Value]| events.iter().any(|event| event["pid"] == pid);
        ensure!(has(&events) && has(&kept), "no event of {pid}");
    }
    Ok(())
}

/// On every processor at once, by one key and by several, while the policy changes.
fn floods_of_several_at_once_through_reloads(s: &Sandbox) -> Result<()> {
    let agent = printing(s, PROFILE, QUIET)?;
    let processors = thread::available_parallelism()?.get().min(4);
    let mut floods = Vec::new();
    for cpu in 0..processors {
        for caller in [s.caller("one"), s.caller("two").user(NOBODY)] {
            let wants = [tcp(4321), udp(4322)];
            floods.push(Spinner::start(&caller.cpu(Some(cpu)), &wants)?);
        }
    }
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(300));
        control::reload(&s.socket)?;
    }
    let tallies: Vec<Tally> = floods
        .into_iter()
        .map(Spinner::stop)
        .collect::<Result<_>>()?;
    let refused: u64 = tallies.iter().map(|tally| tally.refused).sum();
    let total: u64 = tallies.iter().map(Tally::total).sum();
    ensure_eq!(total, refused, "binds");
    let account = Account::settled(&agent, refused)?;
    ensure_eq!(account.all(), refused, "{account:?}");
    ensure_eq!(account.counted, only("other-job", refused), "by reason");
    ensure_eq!(account.by_entry.iter().sum::<u64>(), refused, "by entry");
    ensure_eq!(account.lost, 0, "lost");
    ensure_eq!(account.repeated, account.suppressed, "in sums");
    Ok(())
}

/// Ports with an entry each.
const PORTS: std::ops::Range<u16> = 20_000..20_500;

fn all_ports() -> Result<String> {
    let mut profile = String::from("PORT\n");
    for port in PORTS {
        writeln!(profile, "{port} TCP RIGHT")?;
    }
    Ok(profile)
}

/// More refusals that are told one by one than there is room for. Returns how many.
fn flood_all_ports(s: &Sandbox) -> Result<u64> {
    let wants: Vec<Want> = PORTS.map(tcp).collect();
    let mut refused = 0;
    for uid in 0..30 {
        let caller = s.caller("flood").user(70_000 + uid);
        let mut flood = Spinner::start(&caller, &wants)?;
        flood.wait_for(wants.len() as u64 * 3)?;
        let tally = flood.stop()?;
        ensure_eq!(tally.total(), tally.refused, "the flood's binds");
        refused += tally.refused;
    }
    Ok(refused)
}

/// Without a reader the ring fills up: repetitions leave its last quarter to what
/// happens first, and what finds no room is counted. More is counted by key than
/// there is room for, too. The next agent tells the rest.
fn a_flood_that_no_agent_reads(s: &Sandbox) -> Result<()> {
    printing(s, &all_ports()?, QUIET)?.kill()?;
    let refused = flood_all_ports(s)?;
    let held = s.portreeve(&["status", "--format", "json"])?;
    let held = held.ended_with(2)?.json()?["events"].clone();
    ensure!(held["lost"].as_u64() > Some(0), "nothing is lost: {held}");

    let start = s.agent_again()?.arg("--print-events");
    let agent = start.option("--format", "json").start()?;
    agent.wait_until("the events", |agent| {
        Account::of(agent).is_ok_and(|account| account.all() >= refused && account.repeated > 0)
    })?;
    let account = Account::of(&agent)?;
    ensure_eq!(account.all(), refused, "{account:?}");
    ensure_eq!(json!(account.lost), held["lost"], "{account:?}");
    ensure_eq!(account.counted, only("other-job", refused), "by reason");
    ensure_eq!(account.by_entry.iter().sum::<u64>(), refused, "by entry");
    // Three quarters of the ring, with eight bytes in front of each event.
    let share = (1 << 20) / 104 / 4;
    let places = account.told;
    ensure!(
        (4 * share - 4..=4 * share + 4).contains(&places),
        "{account:?}"
    );
    ensure!(account.repeated <= account.suppressed, "{account:?}");
    let events = told(&agent)?;
    let single = events.iter().filter(|event| event["repeated"] == 0);
    let by = |uid: u32| single.clone().filter(|event| event["uid"] == uid).count();
    // Those who come late still have one event for each port.
    let late = (70_000..70_030)
        .filter(|uid| by(*uid) == PORTS.len())
        .count();
    ensure!(late > 2, "{late} have all ports");
    // What found no room is told by what is common to it.
    let sums: Vec<&Value> = events.iter().filter(|e| e["repeated"] != 0).collect();
    let unknown = sums.iter().find(|event| event["pid"].is_null());
    let unknown = unknown.context("all are known")?;
    for field in [
        "hook", "protocol", "address", "port", "comm", "job", "entry",
    ] {
        ensure_eq!(unknown[field], Value::Null, "{field} of {unknown}");
    }
    ensure_eq!(unknown["cgroup"], s.cgroup_name(), "{unknown}");
    ensure_eq!(unknown["errno"], format!("{:?}", refusal()), "{unknown}");
    ensure_eq!(unknown["reason"], "other-job", "{unknown}");
    let text = s.portreeve(&["events"])?.ended_with(0)?.stdout;
    ensure!(text.contains("more like it within a second"), "{text}");
    Ok(())
}

/// An agent that was stopped tells, when it goes on, of every refusal that there was.
fn a_flood_while_the_agent_stands_still(s: &Sandbox) -> Result<()> {
    let agent = printing(s, &all_ports()?, QUIET)?;
    agent.stop()?;
    let refused = flood_all_ports(s)?;
    agent.signal(Signal::SIGCONT)?;
    agent.wait_until("the events", |agent| {
        Account::of(agent).is_ok_and(|account| account.all() >= refused && account.repeated > 0)
    })?;
    let account = Account::of(&agent)?;
    ensure_eq!(account.all(), refused, "{account:?}");
    ensure!(account.lost > 0, "nothing was lost: {account:?}");
    ensure_eq!(account.counted, only("other-job", refused), "by reason");
    ensure_eq!(account.by_entry.iter().sum::<u64>(), refused, "by entry");
    Ok(())
}

/// What was counted in an agent's last second is not lost with it.
fn seconds_that_an_agent_left_are_told_by_the_next(s: &Sandbox) -> Result<()> {
    let agent = s.agent(PROFILE, QUIET)?.start()?;
    let caller: Caller = s.caller("flood");
    let mut flood = Spinner::start(&caller, &[tcp(4321)])?;
    flood.wait_for(1000)?;
    agent.kill()?;
    let refused = flood.stop()?.refused;
    let start = s.agent_again()?.arg("--print-events");
    let agent = start.option("--format", "json").start()?;
    agent.wait_until("the sums", |agent| {
        Account::of(agent).is_ok_and(|account| account.repeated > 0)
    })?;
    let account = Account::of(&agent)?;
    ensure!(account.repeated <= account.suppressed, "{account:?}");
    ensure_eq!(account.counted, only("other-job", refused), "by reason");
    Ok(())
}
