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
/// Refusals per entry.
pub const REFUSALS: &str = "REFUSALS";
/// Judged binds per reason and CPU ([`super::counter`]).
pub const COUNTERS: &str = "COUNTERS";
/// Ring buffer of [`super::Event`].
pub const EVENTS: &str = "EVENTS";
/// Cookie of the socket whose bind is the self-test, or 0; behind it the cookie
/// that a hook in audit mode has seen last.
pub const SELFTEST: &str = "SELFTEST";

/// What was changed in the kernel's pool of ports ([`super::pool`]).
pub const POOL: &str = "POOL";

/// Every map that is pinned, in the order in which they are.
pub const PINNED_MAPS: [&str; 13] = [
    INFO, ACTIVE, SLOTS, UNRESERVED, ENTRIES, MATCHERS, GLOBS, ADDRESSES, REFUSALS, COUNTERS,
    EVENTS, SELFTEST, POOL,
];

/// The `cgroup/bind4` program.
pub const BIND4: &str = "bind4";
/// The `cgroup/bind6` program.
pub const BIND6: &str = "bind6";
