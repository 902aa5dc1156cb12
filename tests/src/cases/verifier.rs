//! How far the programs are from the kernel's limit.

use std::{env, fs, fs::OpenOptions, io::Write as _};

use anyhow::{Context as _, Result, ensure};

use crate::{
    harness::{Agent, Sandbox, Settings, needs, neighbour, skip},
    tests,
};

tests![every_program_is_far_from_the_limit];

/// The verifier gives up after a million instructions. Kernels differ in how many
/// they walk through, so past half of it the next one may refuse.
const MOST: u64 = 500_000;

/// Of each program that is attached. With `PORTREEVE_TEST_NOTES` the counts are
/// written to the file of that name.
fn every_program_is_far_from_the_limit(s: &Sandbox) -> Result<()> {
    // Of the two that judge at listen, the one that this kernel lets judge.
    let profile = "PORT\n 4321 TCP RIGHT\n UNRSV TCP RIGHT\n";
    let agent = s
        .agent(profile, Settings::DEFAULT.accepting_listen())?
        .start()?;
    let mut counts = Vec::new();
    for link in fs::read_dir(s.bpffs.join("links"))? {
        let link = link?;
        let name = link.file_name().to_string_lossy().into_owned();
        // The one that is attached to listen only calls the one that judges.
        let count = if name == "listen" {
            neighbour::verified_in(&s.bpffs.join("shared/LISTENING"))?
        } else {
            neighbour::verified(&link.path())?
        };
        counts.push((name, count));
    }
    for (name, program) in watching(&agent)? {
        counts.push((name.to_owned(), neighbour::verified_of(program)?));
    }
    counts.sort();
    let text: String = counts
        .iter()
        .filter_map(|(name, count)| Some(format!("verified {name} {}\n", (*count)?)))
        .collect();
    if let Some(path) = env::var_os("PORTREEVE_TEST_NOTES") {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(text.as_bytes()).context("the notes")?;
    }
    ensure!(counts.len() > 5, "no programs: {counts:?}");
    if counts.iter().all(|(_, count)| count.is_none()) {
        let (text, release) = needs::running()?;
        ensure!(release < (5, 16), "Linux {text} tells no counts");
        // That it took them at all says that none has more than a million.
        return Err(skip(format!(
            "Linux {text} doesn't tell how far its verifier walks"
        )));
    }
    for (name, count) in &counts {
        let count = count.with_context(|| format!("no count of {name}"))?;
        ensure!(count > 100, "{name}: {count} instructions can't be all");
        ensure!(count <= MOST, "{name}: {count} of a million instructions");
    }
    Ok(())
}

/// The programs that watch, which have no pins: their names, by what they are attached to,
/// and their numbers.
fn watching(agent: &Agent<'_>) -> Result<Vec<(&'static str, u32)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(format!("/proc/{}/fdinfo", agent.pid()))? {
        let Ok(info) = fs::read_to_string(file?.path()) else {
            // It was closed meanwhile.
            continue;
        };
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name));
            value.map(|value| value.trim().to_owned())
        };
        let (Some(kind), Some(program)) = (field("link_type:"), field("prog_id:")) else {
            continue;
        };
        let name = match (kind.as_str(), field("attach_type:").as_deref()) {
            ("cgroup", Some("12")) => "watch_bind4",
            ("cgroup", Some("13")) => "watch_bind6",
            ("cgroup", Some("34")) => "watch_release",
            ("tracing" | "raw_tracepoint", _) => "watch_state",
            ("iter", _) => "watch_files",
            _ => continue,
        };
        found.push((name, program.parse()?));
    }
    // Of the links that judge the agent has one on the same hooks too, older ones.
    found.sort_by_key(|(name, program)| (*name, std::cmp::Reverse(*program)));
    found.dedup_by_key(|(name, _)| *name);
    Ok(found)
}
