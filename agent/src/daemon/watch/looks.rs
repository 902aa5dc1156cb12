//! When the kernel's list of sockets is looked at, and what is made of it.

use std::{
    collections::{BTreeSet, HashSet},
    io, mem,
    time::Duration,
};

use portreeve_common::abi::Protocol;
use tokio::time::Instant;

use crate::{
    daemon::agent::now,
    ports::{
        self, Socket,
        register::{Difference, Register, Tracked},
    },
};

/// How often it is proven that nothing is missed.
const PROOF_INTERVAL: Duration = Duration::from_secs(300);
/// How often the list is looked at where the kernel doesn't tell what becomes of sockets.
pub const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// How long after the first look the second one is. Nothing that a process does to a socket
/// takes so long.
const BETWEEN: Duration = Duration::from_millis(200);

/// What comes next.
enum Stage {
    /// The first look of all.
    Beginning,
    /// The first of two looks.
    First,
    /// The second one, after this was found.
    Second(BTreeSet<Difference>),
}

/// Looks at the kernel's list.
pub struct Looks {
    stage: Stage,
    due: Instant,
    /// Something is to be found, and is nobody's mistake.
    expects_news: bool,
    /// Word of something was lost: of an end, perhaps.
    has_lost: bool,
    mistakes: u64,
    looked_at: Option<String>,
    /// Why the last one came to nothing.
    problem: Option<String>,
    /// How often all was known in the end.
    proofs: u64,
}

impl Looks {
    /// The first one is due at `now`.
    pub const fn new(now: Instant) -> Self {
        Self {
            stage: Stage::Beginning,
            due: now,
            expects_news: true,
            has_lost: false,
            mistakes: 0,
            looked_at: None,
            problem: None,
            proofs: 0,
        }
    }

    /// When the next one is due.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// How often something was found that should have been known: a mistake of ours.
    pub const fn mistakes(&self) -> u64 {
        self.mistakes
    }

    /// When the last one was, as RFC 3339.
    pub fn looked_at(&self) -> Option<String> {
        self.looked_at.clone()
    }

    /// There is something to be found. It is looked for at `now`, and nobody's mistake.
    pub fn expect_news(&mut self, now: Instant) {
        self.expects_news = true;
        if !matches!(self.stage, Stage::Second(_)) {
            self.due = now;
        }
    }

    /// Word of something was lost, so there is something to be found, as
    /// [`Self::expect_news`] has it.
    pub fn expect_lost(&mut self, now: Instant) {
        self.has_lost = true;
        self.expect_news(now);
    }

    /// Lets the next one be due at `now`, though nothing is expected.
    pub fn hurry(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Second(_)) {
            self.due = now;
        }
    }

    /// How often a look, or two, ended with all known.
    pub const fn proofs(&self) -> u64 {
        self.proofs
    }

    /// Begins one: from then on events are noted, if it is the first of two.
    pub fn begin(&self, register: &mut Register) {
        if !matches!(self.stage, Stage::Second(_)) {
            register.begin_look();
        }
    }

    /// The kernel gave no list, because of `error`.
    pub fn failed(&mut self, error: &io::Error, now: Instant) {
        self.problem = Some(format!("the kernel doesn't list its sockets: {error}"));
        self.stage = Stage::First;
        self.due = now + POLL_INTERVAL;
    }

    /// Why the last one came to nothing, if it did.
    pub fn problem(&self) -> Option<&String> {
        self.problem.as_ref()
    }

    /// Takes in the list `found`, of which nothing is known from events unless `is_told`.
    /// `finds_bound` says whether what the kernel doesn't list was looked for elsewhere.
    pub fn take_in(
        &mut self,
        found: &[Socket],
        register: &mut Register,
        tracked: &Tracked,
        [is_told, finds_bound]: [bool; 2],
        at: Instant,
    ) {
        self.looked_at = Some(now());
        self.problem = None;
        // Where sockets that are bound and no more are found among the files of processes,
        // one that is on its way from a process to another is not. So nobody is missed by
        // that, unless word of his end may have been lost.
        let lists_bound = ports::lists_bound() || self.has_lost && finds_bound;
        let differences = differences(found, register, tracked, lists_bound);
        let is_news = self.expects_news;
        let confirmed = match mem::replace(&mut self.stage, Stage::First) {
            // Nobody waits for a proof of what was there before anybody watched.
            Stage::Beginning => {
                self.due = at + BETWEEN;
                differences
            }
            _ if !is_told => {
                self.due = at + POLL_INTERVAL;
                differences
            }
            Stage::First if !differences.is_empty() => {
                self.due = at + BETWEEN;
                self.stage = Stage::Second(differences);
                return;
            }
            Stage::First => {
                self.rest(at);
                differences
            }
            Stage::Second(first) => {
                let both: BTreeSet<_> = first.intersection(&differences).copied().collect();
                // What came up since then may be about to be told.
                if differences.len() > both.len() || register.needs_look() {
                    self.due = at + BETWEEN;
                } else {
                    self.rest(at);
                }
                both
            }
        };
        register.end_look();
        if !confirmed.is_empty() && is_told && !is_news {
            self.mistakes += confirmed.len() as u64;
            log::warn!(
                "{} of the sockets that have a port were not known as the kernel lists them, though no word of them was lost",
                confirmed.len()
            );
        }
        register.adopt(&confirmed, found);
    }

    /// All is known.
    fn rest(&mut self, at: Instant) {
        self.due = at + PROOF_INTERVAL;
        self.expects_news = false;
        self.has_lost = false;
        self.proofs += 1;
    }
}

/// What the kernel's lists and `register` don't agree about.
fn differences(
    found: &[Socket],
    register: &Register,
    tracked: &Tracked,
    lists_bound: bool,
) -> BTreeSet<Difference> {
    let mut differences = register.compare(found, tracked, lists_bound);
    let is_connected = |difference: &Difference| match difference {
        Difference::Gone(inode) => register
            .socket(*inode)
            .is_some_and(|held| held.port.0 == Protocol::Tcp && !held.listens),
        Difference::Unknown(_) => false,
    };
    // Who binds a port and connects has it still, and is on another list.
    if differences.iter().any(is_connected) {
        let alive: HashSet<u64> = ports::tcp_inodes().unwrap_or_default();
        differences.retain(|it| !(is_connected(it) && alive.contains(&it.inode())));
    }
    differences
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::policy::bits::PortBits;

    fn listener(inode: u64) -> Socket {
        Socket {
            protocol: Protocol::Tcp,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 21,
            connected: false,
            idle: false,
            uid: 0,
            inode,
            cgroup: None,
        }
    }

    struct Bench {
        looks: Looks,
        register: Register,
        tracked: Tracked,
        at: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let ports = PortBits::from_iter([(1, 1023)]);
            let at = Instant::now();
            Self {
                looks: Looks::new(at),
                register: Register::default(),
                tracked: Tracked {
                    ports: [ports.clone(), ports],
                    ..Tracked::default()
                },
                at,
            }
        }

        /// Looks when it is due; how long it was until then, and how many are known.
        fn look(&mut self, found: &[Socket], is_told: bool) -> (Duration, usize) {
            let waited = self.looks.due() - self.at;
            self.at = self.looks.due();
            self.looks.begin(&mut self.register);
            let (register, tracked) = (&mut self.register, &self.tracked);
            self.looks
                .take_in(found, register, tracked, [is_told, false], self.at);
            (waited, self.register.len())
        }
    }

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn what_was_there_is_known_at_once_and_then_proven() {
        let mut bench = Bench::new();
        let found = [listener(1)];
        assert_eq!(bench.look(&found, true), (NOW, 1));
        assert_eq!(bench.look(&found, true), (BETWEEN, 1));
        assert_eq!(bench.look(&found, true), (PROOF_INTERVAL, 1));
        assert_eq!(bench.look(&found, true), (PROOF_INTERVAL, 1));
        assert_eq!(bench.looks.mistakes(), 0);
    }

    #[test]
    fn a_difference_must_last_and_is_a_mistake() {
        let mut bench = Bench::new();
        bench.look(&[], true);
        bench.look(&[], true);
        // It is gone at the second look.
        assert_eq!(bench.look(&[listener(1)], true), (PROOF_INTERVAL, 0));
        assert_eq!(bench.look(&[], true), (BETWEEN, 0));
        assert_eq!(bench.looks.mistakes(), 0);
        assert_eq!(bench.look(&[listener(1)], true), (PROOF_INTERVAL, 0));
        assert_eq!(bench.look(&[listener(1), listener(2)], true), (BETWEEN, 1));
        assert_eq!(bench.looks.mistakes(), 1);
        // The other one came up between the two.
        assert_eq!(bench.look(&[listener(1), listener(2)], true), (BETWEEN, 1));
        assert_eq!(bench.look(&[listener(1), listener(2)], true), (BETWEEN, 2));
        assert_eq!(bench.looks.mistakes(), 2);
    }

    #[test]
    fn what_was_lost_is_found_and_is_no_mistake() {
        let mut bench = Bench::new();
        bench.look(&[], true);
        bench.look(&[], true);
        bench.looks.expect_news(bench.at);
        assert_eq!(bench.look(&[listener(1)], true), (NOW, 0));
        assert_eq!(bench.look(&[listener(1)], true), (BETWEEN, 1));
        assert_eq!(bench.look(&[listener(1)], true), (PROOF_INTERVAL, 1));
        assert_eq!(bench.looks.mistakes(), 0);
    }

    #[test]
    fn without_events_the_list_is_all_there_is() {
        let mut bench = Bench::new();
        assert_eq!(bench.look(&[listener(1)], false), (NOW, 1));
        assert_eq!(bench.look(&[listener(2)], false), (BETWEEN, 1));
        assert_eq!(bench.look(&[], false), (POLL_INTERVAL, 0));
        assert_eq!(bench.looks.mistakes(), 0);
    }
}
