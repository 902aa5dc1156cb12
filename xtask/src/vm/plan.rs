//! Which machines are booted, and which tests each runs.

use super::kernels::Series;
use super::machine::Equipment;

/// Which of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Every one.
    All,
    /// Those that ask the kernel for something, but not for long.
    Kernel,
    /// The ones of these that tell most.
    Core,
}

/// Tests that take minutes in there.
const LONG: [&str; 3] = [
    "publishing::reloads_on_every",
    "selftest::a_flood",
    "survival::killed_at_every",
];

/// Tests of what is the agent's own business on any kernel.
const OWN: [&str; 6] = [
    "explain::",
    "generated::",
    "input::",
    "policies::",
    "register::",
    "reload::",
];

/// Tests whose kernel side others show as well.
const SHOWN: [&str; 20] = [
    "audit::the_command_line",
    "events::",
    "selftest::everybody_may",
    "selftest::proofs_at",
    "survival::a_restart_with",
    "survival::a_second_agent",
    "survival::another_",
    "survival::damaged_pins",
    "survival::detach_",
    "survival::two_agents",
    "traces::no_traces",
    "verdicts::a_renamed_process",
    "verdicts::anyone_omvs",
    "verdicts::many_binds",
    "verdicts::names_of_more",
    "verdicts::patterns_and",
    "verdicts::ranges_",
    "verdicts::several_jobs",
    "verdicts::the_last_port",
    "verdicts::the_most_specific",
];

impl Part {
    /// The names, or their beginnings, of what is left out.
    pub fn left_out(self) -> Vec<&'static str> {
        let lists: &[&[&str]] = match self {
            Self::All => &[],
            Self::Kernel => &[&LONG, &OWN],
            Self::Core => &[&LONG, &OWN, &SHOWN],
        };
        lists.concat()
    }
}

/// A machine to be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its kernel.
    pub series: Series,
    /// What else it has.
    pub equipment: Equipment,
    /// What it runs.
    pub part: Part,
}

const fn plan(series: Series, processors: u8, bpf_lsm: bool, part: Part) -> Plan {
    let equipment = Equipment {
        processors,
        bpf_lsm,
    };
    Plan {
        series,
        equipment,
        part,
    }
}

/// The matrix. All tests run on the floor and on the newest; these are also booted
/// with one processor, where everything takes twice as long, and without BPF among the
/// security modules.
pub const ALL: [Plan; 6] = [
    plan(Series::V5_10, 2, true, Part::All),
    plan(Series::V6_1, 2, true, Part::All),
    plan(Series::V6_1, 1, false, Part::Core),
    plan(Series::V6_12, 2, true, Part::Kernel),
    plan(Series::Newest, 2, true, Part::All),
    plan(Series::Newest, 1, false, Part::Core),
];

/// What every change has to pass.
pub const QUICK: [Plan; 2] = [
    plan(Series::V6_1, 2, true, Part::Core),
    plan(Series::Newest, 2, true, Part::Core),
];
