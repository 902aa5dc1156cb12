//! Which machines are booted, and which tests each runs.

use super::kernels::Series;
use super::machine::Equipment;

/// Which of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those that ask most of the kernel: every hook, helper and structure.
    Kernel,
    /// One for each of these.
    Core,
    /// What processors and security modules could matter to.
    Few,
    /// Those that need a real systemd.
    Units,
}

/// One test for each thing that is asked of the kernel. Emulated, an agent takes some
/// ten seconds to start: the verifier walks a million instructions.
const CORE: [&str; 32] = [
    "verifier::",
    "requirements::",
    "degraded::",
    "verdicts::the_right_job",
    "attacks::somebody_else::a_thread_with_the_rightful_name_and",
    "attacks::protocols::multipath_tcp",
    "attacks::protocols::udplite",
    "attacks::protocols::dccp",
    "attacks::io_uring::a_bind_by_the_polling",
    "attacks::io_uring::a_listen",
    "attacks::not_stopped::sctp",
    "audit::nothing_is_refused",
    "audited_ports::neighbours",
    "cgroups::a_cgroup_with_all",
    "cgroups::a_thread_is_where",
    "users::permitted_by_any",
    "low_ports::in_a_network_of_its_own",
    "bind_address::the_address_that",
    "bind_address::without_an_address_family",
    "sharing::what_is_switched_off",
    "grants::what_proves",
    "attacks::neighbours::a_program_that_moves",
    "pool::nothing_reserved",
    "port_watch::a_socket_from",
    "port_watch::who_was_bound",
    "listen::everybody_may_bind",
    "listen::refused_without",
    "listen_fallback::a_listener_is",
    "listen_fallback::multipath",
    "listen_fallback::of_those",
    "listen_fallback::what_finds",
    "listen_fallback::where_listen",
];

/// What more there is to say of them.
const MORE: [&str; 15] = [
    "cgroups::a_reload_changes",
    "cgroups::a_process_without_its_leader",
    "kernel_threads::",
    "users::the_effective_user",
    "users::root_of_a_user",
    "low_ports::the_capability",
    "sharing::listeners_of",
    "sharing::acknowledgements_come",
    "given_ports::a_reserved_port",
    "listen::multipath",
    "listen::other_network_",
    "takeover::listen",
    "attacks::neighbours::a_program_behind",
    "attacks::protocols::shared_memory",
    "attacks::kernel_ways::",
];

/// What one processor, or no BPF among the security modules, could change: who waits for
/// whom, and what is done about listeners.
const FEW: [&str; 11] = [
    "verifier::",
    "requirements::",
    "verdicts::the_right_job",
    "attacks::somebody_else::a_thread_with_the_rightful_name_and",
    "attacks::io_uring::a_bind_by_the_polling",
    "cgroups::a_reload_changes",
    "pool::nothing_reserved",
    "port_watch::whatever",
    "listen::refused_without",
    "listen_fallback::a_listener_is",
    "listen_fallback::what_finds",
];

impl Part {
    /// The names, or their beginnings, of the tests.
    pub fn names(self) -> Vec<&'static str> {
        match self {
            Self::Kernel => [&CORE[..], &MORE].concat(),
            Self::Core => CORE.to_vec(),
            Self::Few => FEW.to_vec(),
            Self::Units => vec!["systemd_units::", "systemd_procedures::"],
        }
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
        systemd: false,
    };
    Plan {
        series,
        equipment,
        part,
    }
}

/// The machine with a distribution: of the same release as its systemd.
const UNITS: Plan = Plan {
    series: Series::V6_12,
    equipment: Equipment {
        processors: 2,
        bpf_lsm: true,
        systemd: true,
    },
    part: Part::Units,
};

/// The matrix. What asks most runs on the floor, where least is to be had. It and the
/// newest are also booted with one processor, where everything takes twice as long, and
/// without BPF among the security modules, for a few tests. The oldest does without some
/// things, and the tests of those are left out there.
pub const ALL: [Plan; 7] = [
    plan(Series::V5_10, 2, true, Part::Core),
    plan(Series::V6_1, 2, true, Part::Kernel),
    plan(Series::V6_1, 1, false, Part::Few),
    plan(Series::V6_12, 2, true, Part::Few),
    UNITS,
    plan(Series::Newest, 2, true, Part::Core),
    plan(Series::Newest, 1, false, Part::Few),
];

/// What every change has to pass.
pub const QUICK: [Plan; 2] = [
    plan(Series::V6_1, 2, true, Part::Core),
    plan(Series::Newest, 2, true, Part::Core),
];
