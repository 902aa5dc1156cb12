//! What the agent itself takes: memory and processor time.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use portreeve_bench::{Case, Row, Spread, Unit};

use super::{
    Progress,
    policies::{Of, config, crowd, features, servauth},
};
use crate::harness::{Agent, Sandbox, Spinner, tcp};

/// How long it is watched at rest, and under a flood.
const REST: Duration = Duration::from_secs(60);
const FLOOD: Duration = Duration::from_secs(10);

/// Measures agents with a small policy and with a large one.
pub fn run(progress: &Progress) -> Result<Vec<Row>> {
    let [small, large] = [Sandbox::new()?, Sandbox::new()?];
    let some = small
        .agent_with(&features(), &config(&servauth()))?
        .start()?;
    let text = crowd(130_000);
    let many = large.agent_with(&text, &config(""))?.start()?;
    let mut rows = Vec::new();
    let began = Instant::now();

    let (before, many_before) = (some.processor_nanoseconds()?, many.processor_nanoseconds()?);
    let seconds = REST.as_secs() as u32;
    for second in 1..=seconds {
        thread::sleep(Duration::from_secs(1));
        progress.tell(Case::Agent, second, seconds, began.elapsed());
    }
    let percent = |used: u64, time: Duration| used as f64 * 100.0 / time.as_nanos() as f64;
    let rest = began.elapsed();
    let idle = percent(some.processor_nanoseconds()? - before, rest);
    let idle_many = percent(many.processor_nanoseconds()? - many_before, rest);
    // "0.0 %": less than what would be shown as 0.1.
    rows.push(row(
        "processor at rest, small policy",
        Unit::Percent,
        idle,
        Some(0.05),
    ));
    rows.push(row(
        "processor at rest, 130000 reservations",
        Unit::Percent,
        idle_many,
        Some(0.05),
    ));

    let private = |agent: &Agent<'_>| Memory::of(agent.pid());
    let memory = private(&some)?;
    let memory_many = private(&many)?;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    rows.push(row(
        "program and libraries in memory",
        Unit::Mebibytes,
        mebibytes(memory.files),
        None,
    ));
    rows.push(row(
        "memory without maps, small policy",
        Unit::Mebibytes,
        mebibytes(memory.own),
        Some(12.0),
    ));
    let beyond = memory_many.own.saturating_sub(text.len() as u64);
    rows.push(row(
        "memory without maps and policy text, 130000 reservations",
        Unit::Mebibytes,
        mebibytes(beyond),
        Some(12.0),
    ));
    rows.push(row(
        "maps in its memory, small policy",
        Unit::Mebibytes,
        mebibytes(memory.maps),
        None,
    ));
    rows.push(row(
        "maps in its memory, 130000 reservations",
        Unit::Mebibytes,
        mebibytes(memory_many.maps),
        None,
    ));

    let wants: Vec<_> = Of::Other.ports().into_iter().map(tcp).collect();
    let before = some.processor_nanoseconds()?;
    let mut flood = Spinner::start(&small.caller("flood"), &wants)?;
    let began = Instant::now();
    thread::sleep(FLOOD);
    let tally = flood.tally()?;
    let (used, time) = (some.processor_nanoseconds()? - before, began.elapsed());
    ensure!(tally.allowed == 0 && tally.other == 0, "{tally:?}");
    flood.stop()?;
    let rate = tally.refused as f64 / time.as_secs_f64() / 1000.0;
    rows.push(row(
        &format!("processor under a flood of {rate:.0} thousand refusals a second"),
        Unit::Percent,
        percent(used, time),
        None,
    ));
    let memory = private(&some)?;
    rows.push(row(
        "memory without maps, after the flood",
        Unit::Mebibytes,
        mebibytes(memory.own),
        None,
    ));
    Ok(rows)
}

/// What a process has in memory, in bytes.
struct Memory {
    /// Nobody else's, and not to be had from a file again: its heap, its stacks, its data.
    own: u64,
    /// The program and its libraries as far as they were read, which the kernel can drop at
    /// any time and all processes share.
    files: u64,
    /// Those, as far as it has touched them.
    maps: u64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
        let (mut own, mut files, mut maps, mut is_map) = (0, 0, 0, false);
        for line in text.lines() {
            let size = |name| {
                let size = line.strip_prefix(name)?.trim().trim_end_matches(" kB");
                size.parse::<u64>().ok().map(|size| size * 1024)
            };
            if let Some(resident) = size("Rss:") {
                *(if is_map { &mut maps } else { &mut files }) += resident;
            } else if let Some(anonymous) = size("Anonymous:") {
                own += anonymous;
            } else if !line.contains(':') || line.contains('-') && line.split(' ').count() > 4 {
                is_map = line.contains("bpf-map");
            }
        }
        let files = files.saturating_sub(own);
        ensure!(own > 0, "nothing is said of the memory of {pid}");
        Ok(Self { own, files, maps })
    }
}

fn row(name: &str, unit: Unit, value: f64, target: Option<f64>) -> Row {
    Row {
        case: Case::Agent,
        name: name.to_owned(),
        unit,
        value: Spread::of(vec![value]),
        ratio: None,
        baseline: None,
        target,
    }
}
