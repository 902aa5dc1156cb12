//! How long parse, resolve and compile take as profiles grow: `cargo bench -p portreeve`.
//!
//! Absolute times drift on a shared machine, so each size is shown as a ratio
//! per entry to the smallest one, measured in the same run, in turns.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use portreeve::{
    config::Config,
    policy::build::{Ingredients, Purpose, build},
    profile::{self, ReadOptions},
};

const SIZES: [u32; 3] = [1_000, 10_000, 131_070];
const ROUNDS: usize = 7;

/// A profile of `entries` entries, each on a port of its own.
fn text(entries: u32) -> String {
    let mut text = String::from("PORT\n");
    for number in 0..entries {
        let (protocol, port) = if number < 65_535 {
            ("TCP", number + 1)
        } else {
            ("UDP", number - 65_534)
        };
        text.push_str(&format!(
            "  {port} {protocol} JOB{}   ; server {number}\n",
            number % 5000
        ));
    }
    text
}

/// Time to parse, and to resolve and compile, `text`.
fn once(text: &str) -> [Duration; 2] {
    let start = Instant::now();
    let parsed = profile::parse(Path::new("p"), text.as_bytes(), &ReadOptions::default());
    let parse = start.elapsed();
    let start = Instant::now();
    let mut diagnostics = parsed.diagnostics;
    let policy = build(
        Ingredients {
            purpose: Purpose::Enforce,
            ..Ingredients::of_no_host(Config::default(), parsed.profile, parsed.sources)
        },
        &mut diagnostics,
    );
    let compile = start.elapsed();
    assert!(diagnostics.is_empty() && !policy.reservations.is_empty());
    [parse, compile]
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let texts = SIZES.map(text);
    let mut per_entry: [[Vec<f64>; 2]; SIZES.len()] = Default::default();
    for _ in 0..ROUNDS {
        for ((text, entries), times) in texts.iter().zip(SIZES).zip(&mut per_entry) {
            for (time, all) in once(text).into_iter().zip(times) {
                all.push(time.as_nanos() as f64 / f64::from(entries));
            }
        }
    }
    let medians = per_entry.map(|times| times.map(median));
    println!(
        "{:>9}  {:>21}  {:>21}",
        "entries", "parse", "resolve and compile"
    );
    for (entries, [parse, compile]) in SIZES.into_iter().zip(medians) {
        println!(
            "{entries:>9}  {parse:>6.0} ns/entry {:>4.2}x  {compile:>6.0} ns/entry {:>4.2}x",
            parse / medians[0][0],
            compile / medians[0][1]
        );
    }
}
