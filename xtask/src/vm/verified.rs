//! The guard on what the programs cost that is no timer: instructions that the verifier
//! walks, against a record that is part of the source.
//!
//! Counts are exact, and the same on every machine with the same kernel. Debian's kernels
//! of one series get fixes, which hardly ever change them: a version that isn't the
//! recorded one is said, and judged all the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::product;

/// By how much a count may exceed the one recorded, in parts of a hundred.
const GROWTH: u64 = 10;
/// The command that writes the record anew.
const UPDATE: &str = "cargo xtask vmtest 6.1 --record -- verifier";

/// Counts that a change has to keep to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The kernel's series, such as "6.1".
    pub series: String,
    /// The version of the kernel's package; empty if nothing is recorded yet.
    pub version: String,
    /// By program.
    pub counts: BTreeMap<String, u64>,
    /// The comment at the top.
    header: String,
}

/// What a comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What makes the run a failure.
    pub problems: Vec<String>,
    /// What is worth knowing.
    pub remarks: Vec<String>,
}

fn path() -> PathBuf {
    product::root().join("xtask/src/vm/verified.txt")
}

impl Verified {
    /// The record of the source.
    pub fn read() -> Result<Self> {
        let path = path();
        let context = || path.display().to_string();
        Self::parse(&fs::read_to_string(&path).with_context(context)?).with_context(context)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut record = Self::default();
        for line in text.lines() {
            if line.starts_with('#') || line.is_empty() {
                record.header.push_str(line);
                record.header.push('\n');
                continue;
            }
            let (name, value) = line
                .split_once(' ')
                .with_context(|| format!("`{line}` is no name with a value"))?;
            match name {
                "series" => value.clone_into(&mut record.series),
                "version" => value.clone_into(&mut record.version),
                program => {
                    let count = value
                        .parse()
                        .with_context(|| format!("`{value}` is no count"))?;
                    record.counts.insert(program.to_owned(), count);
                }
            }
        }
        ensure!(!record.series.is_empty(), "it names no series");
        Ok(record)
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{}series {}\nversion {}\n",
            self.header, self.series, self.version
        );
        for (program, count) in &self.counts {
            // Into a String it can't fail.
            let _ = writeln!(text, "{program} {count}");
        }
        text
    }

    /// Takes `counts` for the record, and writes it. What was recorded of programs that
    /// were not verified this time stays.
    pub fn update(mut self, version: &str, counts: &BTreeMap<String, u64>) -> Result<()> {
        ensure!(!counts.is_empty(), "no program was verified");
        version.clone_into(&mut self.version);
        self.counts.extend(counts.clone());
        let path = path();
        fs::write(&path, self.text()).with_context(|| path.display().to_string())?;
        eprintln!("written: {}", path.display());
        Ok(())
    }

    /// Compares what a kernel of `version`, which is of the record's series, has counted.
    pub fn compare(&self, version: &str, counts: &BTreeMap<String, u64>) -> Found {
        let mut found = Found::default();
        if counts.is_empty() {
            return found;
        }
        if self.counts.is_empty() {
            found
                .remarks
                .push(format!("no count is recorded yet; `{UPDATE}` does it"));
            return found;
        }
        let other_kernel = (version != self.version).then(|| {
            format!(
                "the kernel is {version}; the counts were recorded on {}",
                self.version
            )
        });
        for (program, &count) in counts {
            let Some(&recorded) = self.counts.get(program) else {
                found.problems.push(format!(
                    "{program} is not among the recorded programs; `{UPDATE}` adds it"
                ));
                continue;
            };
            if count * 100 > recorded * (100 + GROWTH) {
                found.problems.push(format!(
                    "the verifier walks {count} instructions for {program}, {} % more than the {recorded} \
                     recorded; if the change is worth that, `{UPDATE}` admits it{}",
                    (count - recorded) * 100 / recorded.max(1),
                    match &other_kernel {
                        Some(other) => format!(" ({other})"),
                        None => String::new(),
                    }
                ));
            } else if count * 100 < recorded * (100 - GROWTH) {
                found.remarks.push(format!(
                    "the verifier walks {count} instructions for {program}, and {recorded} are recorded: \
                     `{UPDATE}` lets it not grow back"
                ));
            }
        }
        if found.problems.is_empty() {
            found.remarks.extend(other_kernel);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# why\n#\nseries 6.1\nversion 6.1.1-1\nbind4 1000\nlisten 500\n";

    fn record() -> Verified {
        Verified::parse(TEXT).unwrap()
    }

    fn counts<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
        let counts = counts.into_iter();
        counts
            .map(|(name, count)| (name.to_owned(), count))
            .collect()
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        assert_eq!(record().text(), TEXT);
        assert_eq!(record().counts, counts([("bind4", 1000), ("listen", 500)]));
        assert!(Verified::parse("bind4 many\nseries 6.1\n").is_err());
        assert!(Verified::parse("bind4 1\n").is_err());
    }

    #[test]
    fn the_one_of_the_source_can_be_read() {
        assert_eq!(Verified::read().unwrap().series, "6.1");
    }

    #[test]
    fn a_tenth_more_is_let_pass_and_no_more() {
        let found = record().compare("6.1.1-1", &counts([("bind4", 1100), ("listen", 450)]));
        assert_eq!(found, Found::default());
        let found = record().compare("6.1.1-1", &counts([("bind4", 1101)]));
        assert_eq!(found.problems.len(), 1);
        assert!(
            found.problems[0].contains("10 % more than the 1000"),
            "{found:?}"
        );
        assert!(found.problems[0].contains(UPDATE), "{found:?}");
    }

    #[test]
    fn what_shrinks_is_worth_recording() {
        let found = record().compare("6.1.1-1", &counts([("bind4", 899)]));
        assert!(found.problems.is_empty());
        assert!(found.remarks[0].contains("899"), "{found:?}");
    }

    #[test]
    fn a_program_that_nobody_recorded_is_a_problem() {
        let found = record().compare("6.1.1-1", &counts([("bind7", 1)]));
        assert!(found.problems[0].contains("bind7"), "{found:?}");
    }

    #[test]
    fn another_version_of_the_kernel_is_said_and_judged() {
        let found = record().compare("6.1.2-1", &counts([("bind4", 1000)]));
        assert!(found.problems.is_empty());
        assert!(found.remarks[0].contains("6.1.2-1"), "{found:?}");
        let found = record().compare("6.1.2-1", &counts([("bind4", 2000)]));
        assert!(found.problems[0].contains("6.1.2-1"), "{found:?}");
    }

    #[test]
    fn without_counts_there_is_nothing_to_compare() {
        assert_eq!(record().compare("6.1.2-1", &counts([])), Found::default());
        let empty = Verified::parse("series 6.1\n").unwrap();
        let found = empty.compare("6.1.1-1", &counts([("bind4", 1000)]));
        assert!(found.problems.is_empty() && found.remarks.len() == 1);
    }
}
