//! How far the programs are from the kernel's limit.

use std::{env, fs, fs::OpenOptions, io::Write as _};

use anyhow::{Context as _, Result, ensure};

use crate::{
    harness::{Sandbox, Settings, needs, neighbour, skip},
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
    let _agent = s
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
    counts.sort();
    let text: String = counts
        .iter()
        .filter_map(|(name, count)| Some(format!("verified {name} {}\n", (*count)?)))
        .collect();
    if let Some(path) = env::var_os("PORTREEVE_TEST_NOTES") {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(text.as_bytes()).context("the notes")?;
    }
    ensure!(counts.len() > 1, "no programs: {counts:?}");
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
