//! What one run found, as it is saved.

use serde::{Deserialize, Serialize};

use crate::spread::Spread;

/// What is measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Case {
    /// One `bind()`.
    Verdict,
    /// A socket's life, and a server's restart.
    Cycle,
    /// Telling the agent who has which port.
    Watch,
    /// From a profile to tables that are in force.
    Publish,
    /// What the agent itself takes.
    Agent,
}

impl Case {
    /// Every one, in the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::Verdict,
        Self::Cycle,
        Self::Watch,
        Self::Publish,
        Self::Agent,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Cycle => "cycle",
            Self::Watch => "watch",
            Self::Publish => "publish",
            Self::Agent => "agent",
        }
    }

    /// What it says, in a few words.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Verdict => "Verdict: one bind()",
            Self::Cycle => "Cycle: a socket's life, a server's restart",
            Self::Watch => "Watch: with an agent that is told who has which port",
            Self::Publish => "Publish: from a profile to tables in force",
            Self::Agent => "Agent: what it takes itself",
        }
    }
}

/// What a value is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Mebibytes.
    #[serde(rename = "MiB")]
    Mebibytes,
    /// Parts of a hundred of one processor.
    #[serde(rename = "%")]
    Percent,
}

impl Unit {
    /// Its sign.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::Percent => "%",
        }
    }

    /// Digits behind the point that say something.
    pub const fn digits(self) -> usize {
        match self {
            Self::Nanoseconds => 0,
            Self::Milliseconds | Self::Percent => 2,
            Self::Mebibytes => 1,
        }
    }
}

/// Something that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// With what.
    pub case: Case,
    /// What, in words; unique within its case.
    pub name: String,
    /// Of the value.
    pub unit: Unit,
    /// What it takes.
    pub value: Spread,
    /// The median of what it takes in each round by what the baseline takes in the same.
    pub ratio: Option<Spread>,
    /// The row that the ratio is to.
    pub baseline: Option<String>,
    /// What the ratio, or without one the value, is to be at most.
    pub target: Option<f64>,
}

impl Row {
    /// What matters of it, and what two runs are compared by: the ratio, else the value.
    pub fn figure(&self) -> &Spread {
        self.ratio.as_ref().unwrap_or(&self.value)
    }

    /// Whether it is as it should be; `None` if nothing is said of that. What is shown
    /// counts: two digits of a ratio.
    pub fn is_met(&self) -> Option<bool> {
        let digits = match self.ratio {
            Some(_) => 2,
            None => self.unit.digits(),
        };
        let scale = 10f64.powi(digits as i32);
        let figure = (self.figure().median * scale).round() / scale;
        self.target.map(|target| figure <= target + 1e-9)
    }
}

/// Where it was measured, in words that name nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `uname -r`
    pub kernel: String,
    /// As the processors call themselves.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// Whether the programs are compiled for the processor (`bpf_jit_enable`).
    pub jit: bool,
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Of this layout; see [`Results::VERSION`].
    pub version: u32,
    /// Where.
    pub machine: Machine,
    /// How often each was measured, in turns.
    pub rounds: u32,
    /// What.
    pub rows: Vec<Row>,
    /// What was not as it should be while it was measured.
    pub remarks: Vec<String>,
}

impl Results {
    /// The layout that this program writes and reads.
    pub const VERSION: u32 = 1;

    /// Between the quartiles, in parts of the median, above which a row is too noisy for a
    /// target of a few percent.
    const NOISE: f64 = 0.05;

    /// The row of this name.
    pub fn row(&self, case: Case, name: &str) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.case == case && row.name == name)
    }

    /// What is to be said before anybody believes the figures.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.remarks.clone();
        let ratios: Vec<&Row> = self.rows.iter().filter(|row| row.ratio.is_some()).collect();
        let noisy = ratios
            .iter()
            .filter(|row| row.figure().width() > Self::NOISE);
        let noisy = noisy.count();
        if noisy > 0 {
            warnings.push(format!(
                "this machine is noisy: of {} ratios, {noisy} have quartiles that are more than {:.0} % apart; run it when nothing else does",
                ratios.len(),
                Self::NOISE * 100.0
            ));
        }
        if self.machine.processors < 2 {
            warnings.push(
                "with one processor, everything that runs beside what is measured is measured too"
                    .to_owned(),
            );
        }
        if !self.machine.jit {
            warnings.push("the programs are interpreted here (net.core.bpf_jit_enable = 0), which hosts hardly ever do".to_owned());
        }
        warnings
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(name: &str, ratio: [f64; 3], target: Option<f64>) -> Row {
        let spread = |[low, median, high]: [f64; 3]| Spread { median, low, high };
        Row {
            case: Case::Verdict,
            name: name.into(),
            unit: Unit::Nanoseconds,
            value: spread(ratio.map(|part| part * 500.0)),
            ratio: Some(spread(ratio)),
            baseline: Some("empty program".into()),
            target,
        }
    }

    pub(crate) fn results(rows: Vec<Row>) -> Results {
        Results {
            version: Results::VERSION,
            machine: Machine {
                kernel: "6.1.0".into(),
                processor: "a processor".into(),
                processors: 2,
                jit: true,
            },
            rounds: 10,
            rows,
            remarks: Vec::new(),
        }
    }

    #[test]
    fn a_target_is_met_by_what_is_shown() {
        let met = |median| row("a", [1.0, median, 1.2], Some(1.08)).is_met();
        assert_eq!(met(1.0849), Some(true));
        assert_eq!(met(1.0851), Some(false));
        assert_eq!(row("a", [1.0; 3], None).is_met(), None);
    }

    #[test]
    fn a_noisy_machine_is_said_to_be() {
        let quiet = results(vec![row("a", [1.0, 1.02, 1.04], None)]);
        assert!(quiet.warnings().is_empty());
        let noisy = results(vec![row("a", [0.9, 1.02, 1.04], None)]);
        let warnings = noisy.warnings();
        assert!(warnings[0].contains("noisy"), "{warnings:?}");
        assert!(warnings[0].contains("of 1 ratios, 1 have"), "{warnings:?}");
    }

    #[test]
    fn what_is_saved_can_be_read() {
        let results = results(vec![row("a", [1.0, 1.02, 1.04], Some(1.1))]);
        let text = serde_json::to_string(&results).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
        assert!(text.contains(r#""case":"verdict""#), "{text}");
    }
}
