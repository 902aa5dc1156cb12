//! What a virtual machine tells of its tests, read as it comes.

use std::collections::BTreeMap;

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// This kernel can't be asked; with the reason.
    NotHere(String),
    /// It failed.
    Failed,
}

/// All that a machine has told.
#[derive(Debug, Default)]
pub struct Record {
    /// `uname -r`
    pub release: String,
    /// Processors that are up.
    pub processors: String,
    /// The security modules that are up.
    pub lsm: String,
    /// The name of its first process.
    pub first: String,
    /// By test.
    pub outcomes: BTreeMap<String, Outcome>,
    /// How many tests there are to be.
    pub expected: Option<usize>,
    /// What the tests that failed say.
    pub failures: Vec<String>,
    /// The tests' exit status.
    pub exit: Option<i32>,
    /// Instructions that the verifier walked, by program.
    pub verified: BTreeMap<String, u64>,
    /// Whether it came to its end.
    pub ended: bool,
    in_failures: bool,
}

impl Record {
    /// Takes in a line; the test that has just ended, if one has.
    pub fn read(&mut self, line: &str) -> Option<(String, Outcome)> {
        if let Some(mark) = line.strip_prefix('@') {
            self.mark(mark);
        } else if let Some((name, outcome)) = outcome(line) {
            self.outcomes.insert(name.clone(), outcome.clone());
            return Some((name, outcome));
        } else if let Some(count) = line.strip_prefix("running ") {
            let count = count.split(' ').next();
            self.expected = count.and_then(|count| count.parse().ok());
        } else if let Some((program, count)) = verified(line) {
            self.verified.insert(program.to_owned(), count);
        } else if line == "failures:" {
            // The second time it is a mere list.
            self.in_failures = self.failures.is_empty();
        } else if self.in_failures && !line.is_empty() {
            self.failures.push(line.to_owned());
        }
        None
    }

    fn mark(&mut self, mark: &str) {
        let (name, value) = mark.split_once(' ').unwrap_or((mark, ""));
        match name {
            "kernel" => value.clone_into(&mut self.release),
            "processors" => value.clone_into(&mut self.processors),
            "lsm" => value.clone_into(&mut self.lsm),
            "first" => value.clone_into(&mut self.first),
            "exit" => self.exit = value.parse().ok(),
            "end" => self.ended = true,
            _ => {}
        }
    }

    /// Whether every test came to its end.
    pub fn is_complete(&self) -> bool {
        self.ended && self.expected == Some(self.outcomes.len())
    }

    /// Tests with this outcome.
    pub fn count(&self, holds: impl Fn(&Outcome) -> bool) -> usize {
        self.outcomes
            .values()
            .filter(|outcome| holds(outcome))
            .count()
    }
}

/// "test subject::name ... ok"
fn outcome(line: &str) -> Option<(String, Outcome)> {
    let (name, word) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let outcome = match word {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        "ignored" => Outcome::NotHere("left out".to_owned()),
        _ => {
            let reason = word.strip_prefix("ignored (")?.strip_suffix(')')?;
            Outcome::NotHere(reason.to_owned())
        }
    };
    Some((name.trim().to_owned(), outcome))
}

/// "verified bind4 12345"
fn verified(line: &str) -> Option<(&str, u64)> {
    let (program, count) = line.strip_prefix("verified ")?.split_once(' ')?;
    Some((program, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        let mut record = Record::default();
        for line in text.lines() {
            record.read(line);
        }
        record
    }

    #[test]
    fn a_whole_run_is_read() {
        let record = record(
            "@kernel 6.1.0-56-cloud-amd64\n@processors 2\n@lsm lockdown,bpf\n\n\
             running 3 tests\n\
             test a::passes       ... ok\n\
             test a::lacks        ... ignored (no Mptcp (here))\n\
             test a::fails        ... FAILED\n\n\
             failures:\n\n---- a::fails ----\nexpected 1\n  found 2\n\n\n\
             failures:\n    a::fails\n\n\
             test result: FAILED. 1 passed; 1 failed; 1 ignored\n\n\
             @exit 101\nverified bind4 4242\n@end\n",
        );
        assert_eq!(record.release, "6.1.0-56-cloud-amd64");
        assert_eq!(
            (record.processors.as_str(), record.lsm.as_str()),
            ("2", "lockdown,bpf")
        );
        assert_eq!(record.expected, Some(3));
        assert_eq!(record.outcomes["a::passes"], Outcome::Passed);
        assert_eq!(
            record.outcomes["a::lacks"],
            Outcome::NotHere("no Mptcp (here)".into())
        );
        assert_eq!(record.outcomes["a::fails"], Outcome::Failed);
        assert_eq!(
            record.failures,
            ["---- a::fails ----", "expected 1", "  found 2"]
        );
        assert_eq!(record.exit, Some(101));
        assert_eq!(record.verified["bind4"], 4242);
        assert!(record.ended);
    }

    #[test]
    fn what_breaks_off_has_no_end() {
        let record = record("running 2 tests\ntest a::passes ... ok\ntest a::hangs ... ");
        assert_eq!(record.outcomes.len(), 1);
        assert!(!record.ended);
        assert_eq!(record.exit, None);
    }
}
