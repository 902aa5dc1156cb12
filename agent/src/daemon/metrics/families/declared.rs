//! Which metrics there are: their names, and what they mean.

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// It only grows, or begins anew.
    Counter,
    /// It comes and goes.
    Gauge,
    /// Durations by size.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Type,
    /// What it means, in a sentence.
    pub help: &'static str,
    /// What its series differ in.
    pub labels: &'static [&'static str],
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Family = Family {
                name: $name,
                kind: Type::$kind,
                help: $help,
                labels: &[$($label),*],
            };
        )+

        /// All of them, as `docs/metrics.md` has them.
        pub const FAMILIES: &[Family] = &[$($constant),+];
    };
}

families! {
    BUILD_INFO = Gauge "portreeve_build_info" ["version", "abi"]
        "Always 1; the agent's version and that of the layout of its maps.";
    MODE = Gauge "portreeve_mode" ["mode"]
        "1 for the mode that is in force: enforce, audit, or none when nothing is judged.";
    READY = Gauge "portreeve_ready" []
        "1 if the mode asked for is proven by a self-test that is not too old, which /readyz says too.";
    SELFTEST_OK = Gauge "portreeve_selftest_ok" []
        "1 if the last self-test found every hook alive.";
    SELFTEST_TIME = Gauge "portreeve_selftest_timestamp_seconds" []
        "When the last self-test ended, in seconds since 1970.";
    HOOK_ATTACHED = Gauge "portreeve_hook_attached" ["hook"]
        "1 if the hook is attached.";
    NEIGHBOURS = Gauge "portreeve_neighbour_programs" ["after_ours"]
        "Programs of others on the same hooks; those that run after ours can allow what is refused.";
    MISSING = Gauge "portreeve_missing" ["what"]
        "1 for each thing that could be taken for enforced, and isn't; status says why.";
    DRIFT = Gauge "portreeve_drift_active" []
        "Things that others have changed and that are not mended.";
    DRIFTS = Counter "portreeve_drift_total" []
        "How often something was found that others had changed, mended or not, among the last 64 things.";
    GENERATION = Gauge "portreeve_policy_generation" []
        "Number of the policy in force; it grows with each that comes into force.";
    PUBLISHED = Gauge "portreeve_policy_published_timestamp_seconds" []
        "When the policy in force came into force, in seconds since 1970: its age is time() less this.";
    ENTRIES = Gauge "portreeve_policy_entries" []
        "Entries in force.";
    AUDITED = Gauge "portreeve_policy_entries_audited" []
        "Entries in force whose refusals are only told, as [audit] says.";
    DROPPED = Gauge "portreeve_policy_entries_dropped" []
        "Entries that were written and dropped for their errors, as on_error = \"skip\" allows.";
    DIFFERS = Gauge "portreeve_policy_differs_from_file" []
        "1 if the profile, an included file or the config is not what is in force.";
    CHANGES = Gauge "portreeve_policy_obeyed_files" []
        "Change files on top of the profile, which the next reload drops.";
    PENDING = Gauge "portreeve_policy_confirm_pending" []
        "1 if the policy in force is taken back unless it is confirmed.";
    RELOAD_REFUSED = Gauge "portreeve_reload_refused" []
        "1 if the last reload was refused, so that an older policy goes on.";
    PUBLISHING = Histogram "portreeve_publish_duration_seconds" []
        "How long it took to fill the tables and put a policy in force, the wait for running programs included.";
    VERDICTS = Counter "portreeve_verdicts_total" ["mode", "verdict", "reason", "protocol"]
        "Binds that were judged by a rule, by what came out.";
    REFUSALS = Counter "portreeve_entry_refusals_total" ["protocol", "port", "jobname"]
        "Binds that an entry refused since it is in force: 100 entries each by itself, the others together as port=\"other\".";
    EVENTS_LOST = Counter "portreeve_events_lost_total" []
        "Refusals whose event found no room; they were made and counted all the same.";
    EVENTS_SUPPRESSED = Counter "portreeve_events_suppressed_total" []
        "Refusals that were only counted, because the same second told enough like them.";
    REPORTS_LOST = Counter "portreeve_reports_lost_total" []
        "Events of binds that went on which found no room.";
    LISTENERS = Counter "portreeve_listeners_total" ["fate"]
        "Listeners that could not be refused at listen, by what became of them: stay and lost are left to listen.";
    POOL_MANAGED = Gauge "portreeve_pool_managed" []
        "1 if reserved ports are kept out of those that the kernel hands out.";
    POOL_FREE = Gauge "portreeve_pool_free_ports" []
        "Ports that are left for the kernel to hand out.";
    POOL_DROPPED = Counter "portreeve_pool_dropped_total" []
        "How often others undid what keeps reserved ports from being handed out.";
    PORTS = Gauge "portreeve_ports" ["protocol", "state"]
        "How many of the 65535 ports are in each state.";
    PORT_OPEN = Gauge "portreeve_port_open" ["protocol", "port", "jobname"]
        "Whether somebody listens whom this entry admits: 1 open, 0 closed. The first 1000 entries that are for a job.";
    CONTRADICTED = Gauge "portreeve_port_contradicted" ["protocol", "port", "jobname"]
        "1 for a port that somebody has whom the policy would refuse; jobname is whom it is reserved for. At most 1000 ports.";
    OMITTED = Gauge "portreeve_port_series_omitted" []
        "Entries and contradicted ports that have no series of their own for want of room.";
    SOCKETS_UP = Gauge "portreeve_sockets_up" []
        "1 if the kernel lists its sockets, without which nothing is said of ports.";
    ALERTS = Gauge "portreeve_port_alerts" ["alert"]
        "Ports that are not as expected for too long (broken), or change all the time (flapping).";
    WATCHED = Gauge "portreeve_watched_sockets" []
        "Sockets that have a port and whose end the kernel will tell.";
    WATCH_LOST = Counter "portreeve_watch_lost_total" []
        "How often the kernel had no room to tell what became of a socket; then it was looked for.";
    WATCH_MISTAKES = Counter "portreeve_watch_mistakes_total" []
        "Sockets that were not known as the kernel lists them, though nothing was lost: mistakes of portreeve.";
}
