//! Names of maps and programs in the object and of their pins.

/// The word that says which half is in force ([`super::Active`]).
pub const ACTIVE: &str = "ACTIVE";
/// What the maps are and who filled them ([`super::Info`]).
pub const INFO: &str = "INFO";
/// One [`super::Slot`] per half, protocol and port.
pub const SLOTS: &str = "SLOTS";
/// The entries that slots point to ([`super::Entry`]).
pub const ENTRIES: &str = "ENTRIES";
/// The jobname operands that entries point to ([`super::Matcher`]).
pub const MATCHERS: &str = "MATCHERS";
/// The automata that matchers point to ([`crate::jobname::Glob`]).
pub const GLOBS: &str = "GLOBS";
/// One [`super::Unreserved`] per half and protocol.
pub const UNRESERVED: &str = "UNRESERVED";
/// The addresses of BIND ([`super::BindAddress`]).
pub const ADDRESSES: &str = "ADDRESSES";
/// One [`super::jobs::JobRules`] per half.
pub const JOB_RULES: &str = "JOB_RULES";
/// [`super::jobs::StepKey`] to [`super::jobs::Step`].
pub const JOB_STEPS: &str = "JOB_STEPS";
/// [`super::jobs::WildKey`] to [`super::jobs::Step`].
pub const JOB_WILD: &str = "JOB_WILD";
/// The words of automata, four to an element.
pub const JOB_WORDS: &str = "JOB_WORDS";
/// [`super::jobs::ExeKey`] to a class.
pub const JOB_EXES: &str = "JOB_EXES";
/// [`super::jobs::UserKey`] to a class.
pub const JOB_USERS: &str = "JOB_USERS";
/// The [`super::jobs::JobNameKey`]s.
pub const JOB_NAMES: &str = "JOB_NAMES";
/// [`super::jobs::IdentityKey`] to the number of a set of jobs.
pub const JOB_IDENTITIES: &str = "JOB_IDENTITIES";
/// [`super::jobs::PlaceKey`] to an offset.
pub const JOB_PLACES: &str = "JOB_PLACES";
/// The [`super::jobs::PermitKey`]s.
pub const PERMITS: &str = "PERMITS";
/// [`super::jobs::CgroupKey`] to a class, filled by the programs.
pub const CGROUP_CLASSES: &str = "CGROUP_CLASSES";
/// [`super::RepeatKey`] to [`super::Repeats`], filled by the programs.
pub const REPEATS: &str = "REPEATS";
/// What the programs remember of a socket.
pub const SOCKETS: &str = "SOCKETS";
/// Whether the programs ever remembered anything of a socket: 0 or 1.
pub const REMEMBERS: &str = "REMEMBERS";
/// The [`super::Judged`] of binds under way.
pub const JUDGED: &str = "JUDGED";
/// Refusals per entry.
pub const REFUSALS: &str = "REFUSALS";
/// Judged binds per reason and CPU ([`super::counter`]).
pub const COUNTERS: &str = "COUNTERS";
/// Ring buffer of [`super::Event`].
pub const EVENTS: &str = "EVENTS";
/// Cookie of the socket whose bind is the self-test, or 0; behind it the cookie
/// that a hook has seen last.
pub const SELFTEST: &str = "SELFTEST";

/// Ring buffer of [`super::Doomed`].
pub const DOOMED: &str = "DOOMED";
/// What was changed in the kernel's pool of ports ([`super::pool`]).
pub const POOL: &str = "POOL";
/// The program that judges at listen, as the attached one's only element.
pub const LISTENING: &str = "LISTENING";

/// The [`super::jobs::ExeKey`] of the file that was identified last. Not pinned: each
/// agent has its own.
pub const IDENTIFIED: &str = "IDENTIFIED";

/// Ring buffer of [`super::Watched`]. This and the next two are not pinned: who has which
/// port is watched while an agent runs, by the agent that runs.
pub const WATCHED: &str = "WATCHED";
/// The ports whose sockets are told, see [`super::tracked_at`].
pub const TRACKED: &str = "TRACKED";
/// Per CPU: how often the ring had no room.
pub const WATCH_LOST: &str = "WATCH_LOST";

/// Maps that sets of all layouts share: what is remembered of sockets and of binds under
/// way, so that a bind that one set's programs have begun to judge is not judged again by
/// the other's; what to set back when enforcement ends; and the way to the program that
/// judges at listen. A change of theirs raises [`super::HANDOVER`].
pub const SHARED_MAPS: [&str; 5] = [SOCKETS, REMEMBERS, JUDGED, POOL, LISTENING];

/// Every other map that is pinned, in the order in which they are.
pub const PINNED_MAPS: [&str; 25] = [
    INFO,
    ACTIVE,
    SLOTS,
    UNRESERVED,
    ENTRIES,
    MATCHERS,
    GLOBS,
    ADDRESSES,
    JOB_RULES,
    JOB_STEPS,
    JOB_WILD,
    JOB_WORDS,
    JOB_EXES,
    JOB_USERS,
    JOB_NAMES,
    JOB_IDENTITIES,
    JOB_PLACES,
    PERMITS,
    CGROUP_CLASSES,
    REFUSALS,
    COUNTERS,
    EVENTS,
    REPEATS,
    SELFTEST,
    DOOMED,
];

/// The `cgroup/bind4` program.
pub const BIND4: &str = "bind4";
/// The `cgroup/bind6` program.
pub const BIND6: &str = "bind6";
/// The `cgroup/post_bind4` program.
pub const POST_BIND4: &str = "post_bind4";
/// The `cgroup/post_bind6` program.
pub const POST_BIND6: &str = "post_bind6";
/// The `lsm/socket_listen` program that is attached; it calls [`JUDGE_LISTEN`].
pub const LISTEN: &str = "listen";
/// The `lsm/socket_listen` program that judges.
pub const JUDGE_LISTEN: &str = "judge_listen";
/// The `sock_ops` program that judges at listen without the BPF LSM: when the socket
/// listens already.
pub const LISTENED: &str = "listened";
/// The program that tells what the kernel knows a file by; it is run and never attached.
pub const IDENTIFY: &str = "identify";
/// The `cgroup/post_bind4` program that watches.
pub const WATCH_BIND4: &str = "watch_bind4";
/// The `cgroup/post_bind6` program that watches.
pub const WATCH_BIND6: &str = "watch_bind6";
/// The `cgroup/sock_release` program: nobody has the socket open any more.
pub const WATCH_RELEASE: &str = "watch_release";
/// The `iter/task_file` program: what has a port and is on no list.
pub const WATCH_FILES: &str = "watch_files";
/// The program on the tracepoint of TCP's states.
pub const WATCH_STATE: &str = "watch_state";
