//! Test by kernel, in one table, and what is wrong with each run.

use std::collections::BTreeSet;

use comfy_table::{Attribute, Cell, Color, Table, presets};

use super::machine::{End, Equipment};
use super::record::{Outcome, Record};

/// The verifier's limit is a million; past half of it the next kernel may refuse.
const MOST_INSTRUCTIONS: u64 = 500_000;

/// A machine that was booted.
pub struct Run {
    /// How it is named in the table.
    pub title: String,
    /// The kernel's series.
    pub series: String,
    /// The release that was to boot.
    pub release: String,
    /// The version of the kernel's package.
    pub version: String,
    /// With what.
    pub equipment: Equipment,
    /// Whether only tests of some names were asked for.
    pub selected: bool,
    /// What it told.
    pub record: Record,
    /// How it ended.
    pub end: End,
    /// What its kernel complained of.
    pub complaints: Vec<String>,
    /// How long it took.
    pub seconds: u64,
}

impl Run {
    /// What makes it a failure; nothing if it is none.
    pub fn problems(&self) -> Vec<String> {
        let Self {
            record, equipment, ..
        } = self;
        let mut problems = Vec::new();
        let mut unless = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        match &self.end {
            End::Off => unless(record.ended, "the machine broke off".to_owned()),
            End::Hung(what) => unless(false, format!("the machine was {what}")),
            End::Interrupted => unless(false, "interrupted".to_owned()),
        }
        if record.release.is_empty() {
            unless(false, "it did not boot".to_owned());
            return problems;
        }
        unless(
            record.release == self.release,
            format!("it is {}, not {}", record.release, self.release),
        );
        unless(
            record.processors == equipment.processors.to_string(),
            format!("{} processors are up", record.processors),
        );
        unless(
            record.lsm.split(',').any(|name| name == "bpf") == equipment.bpf_lsm,
            format!("its security modules are {}", record.lsm),
        );
        unless(
            (record.first == "systemd") == equipment.systemd,
            format!("its first process is {}", record.first),
        );
        let failed = record.count(|outcome| *outcome == Outcome::Failed);
        unless(failed == 0, format!("{failed} tests failed"));
        let missing = record
            .expected
            .map(|expected| expected.saturating_sub(record.outcomes.len()));
        unless(
            missing == Some(0),
            match missing {
                Some(missing) => format!("{missing} tests came to no end"),
                None => "the tests did not begin".to_owned(),
            },
        );
        // The ones asked for may all be beyond an old kernel.
        let passed = record.count(|outcome| *outcome == Outcome::Passed) > 0;
        unless(
            passed || self.selected && !record.outcomes.is_empty(),
            "no test passed".to_owned(),
        );
        if record.ended && failed == 0 {
            unless(
                record.exit == Some(0),
                format!("the tests ended with {:?}", record.exit),
            );
        }
        for (program, &count) in &record.verified {
            unless(
                count <= MOST_INSTRUCTIONS,
                format!(
                    "the verifier walked {count} instructions for {program}, \
                     more than {MOST_INSTRUCTIONS}"
                ),
            );
        }
        problems
    }
}

/// The whole report, for a terminal.
pub fn render(runs: &[Run]) -> String {
    let mut reasons = Vec::new();
    let mut text = tests(runs, &mut reasons).trim_fmt();
    text.push('\n');
    for (number, reason) in reasons.iter().enumerate() {
        text.push_str(&format!("\n({}) not on this kernel: {reason}", number + 1));
    }
    text.push_str("\n\n");
    text.push_str(&machines(runs).trim_fmt());
    text
}

fn new_table(first: &str, runs: &[Run]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let titles = runs.iter().map(|run| run.title.clone());
    table.set_header([first.to_owned()].into_iter().chain(titles));
    table
}

fn tests(runs: &[Run], reasons: &mut Vec<String>) -> Table {
    let mut table = new_table("Test", runs);
    let names: BTreeSet<&String> = runs
        .iter()
        .flat_map(|run| run.record.outcomes.keys())
        .collect();
    for name in names {
        let mut row = vec![Cell::new(name)];
        for run in runs {
            row.push(match run.record.outcomes.get(name) {
                Some(outcome) => cell(outcome, reasons),
                None if run.record.is_complete() => Cell::new("left out"),
                // Which ones these are can't be told from those that are left out.
                None => failure("no end"),
            });
        }
        table.add_row(row);
    }
    table
}

fn cell(outcome: &Outcome, reasons: &mut Vec<String>) -> Cell {
    match outcome {
        Outcome::Passed => Cell::new("pass").fg(Color::Green),
        Outcome::NotHere(reason) => {
            let position = reasons.iter().position(|other| other == reason);
            let position = position.unwrap_or_else(|| {
                reasons.push(reason.clone());
                reasons.len() - 1
            });
            Cell::new(format!("not here ({})", position + 1)).fg(Color::Yellow)
        }
        Outcome::Failed => failure("FAIL"),
    }
}

fn failure(text: &str) -> Cell {
    Cell::new(text)
        .fg(Color::Red)
        .add_attribute(Attribute::Bold)
}

fn machines(runs: &[Run]) -> Table {
    let mut table = new_table("Kernel", runs);
    let mut add = |title: &str, cell: &dyn Fn(&Run) -> Cell| {
        let mut row = vec![Cell::new(title)];
        row.extend(runs.iter().map(cell));
        table.add_row(row);
    };
    add("release", &|run| Cell::new(&run.release));
    add("package version", &|run| Cell::new(&run.version));
    add("processors", &|run| Cell::new(run.equipment.processors));
    add("BPF LSM", &|run| {
        Cell::new(if run.equipment.bpf_lsm { "on" } else { "off" })
    });
    add("first process", &|run| Cell::new(&run.record.first));
    let programs: BTreeSet<&String> = runs
        .iter()
        .flat_map(|run| run.record.verified.keys())
        .collect();
    for program in programs {
        add(
            &format!("verified {program}"),
            &|run| match run.record.verified.get(program) {
                Some(&count) if count > MOST_INSTRUCTIONS => failure(&count.to_string()),
                Some(count) => Cell::new(count),
                None => Cell::new("-"),
            },
        );
    }
    add("passed", &|run| {
        Cell::new(run.record.count(|outcome| *outcome == Outcome::Passed))
    });
    add("seconds", &|run| Cell::new(run.seconds));
    add("result", &|run| {
        if run.problems().is_empty() {
            Cell::new("ok").fg(Color::Green)
        } else {
            failure("FAILED")
        }
    });
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(title: &str, lines: &[&str]) -> Run {
        let mut record = Record::default();
        for line in [
            "@kernel 6.1.0",
            "@processors 2",
            "@lsm yama,bpf",
            "@first init",
        ]
        .iter()
        .chain(lines)
        {
            record.read(line);
        }
        Run {
            title: title.into(),
            series: "6.1".into(),
            release: "6.1.0".into(),
            version: "6.1.192-2".into(),
            equipment: Equipment {
                processors: 2,
                bpf_lsm: true,
                systemd: false,
            },
            selected: false,
            record,
            end: End::Off,
            complaints: Vec::new(),
            seconds: 61,
        }
    }

    const GOOD: [&str; 4] = ["running 1 test", "test a::b ... ok", "@exit 0", "@end"];

    #[test]
    fn a_run_that_told_everything_is_good() {
        assert_eq!(run("6.1", &GOOD).problems(), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_missing_is_a_problem() {
        let problem = |lines: &[&str]| run("6.1", lines).problems().join("; ");
        assert_eq!(problem(&GOOD[..3]), "the machine broke off");
        let hung = Run {
            end: End::Hung("silent for 300 s, and killed".into()),
            ..run("6.1", &GOOD[..2])
        };
        assert_eq!(
            hung.problems(),
            ["the machine was silent for 300 s, and killed"]
        );
        assert_eq!(
            problem(&["running 2 tests", "test a::b ... ok", "@exit 0", "@end"]),
            "1 tests came to no end"
        );
        assert_eq!(
            problem(&[
                "running 1 test",
                "test a::b ... FAILED",
                "@exit 101",
                "@end"
            ]),
            "1 tests failed; no test passed"
        );
        assert_eq!(
            problem(&[
                "running 1 test",
                "test a::b ... ignored (old)",
                "@exit 0",
                "@end"
            ]),
            "no test passed"
        );
        let much = [&GOOD[..3], &["verified bind4 500001", "@end"]].concat();
        assert!(problem(&much).contains("500001 instructions for bind4"));
    }

    #[test]
    fn the_tests_asked_for_may_be_beyond_a_kernel_but_not_be_none() {
        let run = |lines: &[&str]| Run {
            selected: true,
            ..run("5.10", lines)
        };
        let beyond = [
            "running 1 test",
            "test a::b ... ignored (old)",
            "@exit 0",
            "@end",
        ];
        assert!(run(&beyond).problems().is_empty());
        let none = ["running 0 tests", "@exit 0", "@end"];
        assert_eq!(run(&none).problems(), ["no test passed"]);
    }

    #[test]
    fn another_machine_than_asked_for_is_a_problem() {
        for mark in [
            "@kernel 6.1.1",
            "@processors 1",
            "@lsm yama",
            "@first systemd",
        ] {
            let lines = [&[mark], &GOOD[..]].concat();
            assert_eq!(run("6.1", &lines).problems().len(), 1, "{mark}");
        }
    }

    #[test]
    fn the_table_has_a_row_per_test_and_a_reason_once() {
        let old = [
            "running 2 tests",
            "test a::b ... ignored (too old)",
            "test a::c ... ignored (too old)",
            "@exit 0",
            "@end",
        ];
        let text = render(&[run("6.1", &GOOD), run("5.10", &old)]);
        assert!(text.contains("a::b"), "{text}");
        assert_eq!(text.matches("not here (1)").count(), 2, "{text}");
        assert_eq!(text.matches("too old").count(), 1, "{text}");
        assert!(text.contains("left out"), "{text}");
        let broken = run("6.1", &["running 2 tests", "test a::c ... ok"]);
        let text = render(&[run("6.1", &GOOD), broken]);
        assert!(text.contains("no end"), "{text}");
        assert!(text.contains("6.1.192-2"), "{text}");
    }
}
