//! The verdict: the rules of port control, written once.
//!
//! [`decide()`] is what the kernel programs run on every bind, what `explain`
//! calls and what the tests compare with a slow oracle. It follows
//! `port-control` section 4: nothing to judge, then the port's reservation, then
//! the first of its entries that admits the caller. The compiler orders the
//! entries most specific first (`PRT-37`), so the first match is the answer.

use crate::abi::{Entry, MAX_ENTRIES_PER_PORT, Matcher, NO_ENTRY, Protocol, Slot, Who};
use crate::jobname::{Glob, Name};
use crate::reason::Reason;

/// The first port that is not a low one (port-control section 1).
pub const FIRST_HIGH_PORT: u16 = 1024;

/// What a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The table that judges it.
    pub protocol: Protocol,
    /// The port asked for, in host order; 0 lets the kernel choose.
    pub port: u16,
}

/// Who is calling. Every answer may cost a read of kernel memory, so each is
/// asked for only when the port's entries need it.
pub trait Subject {
    /// Whether the bind happens in a network namespace the policy governs.
    fn in_scope(&self) -> bool;

    /// The name of a process that is no defined job: its process name, folded.
    /// `None` when it can't be read.
    fn name(&self) -> Option<Name>;

    /// Whether the process is one of the defined jobs in this set.
    fn in_jobs(&self, set: u32) -> bool;
}

/// The tables of one policy. `None` for an index means that there is no such element.
pub trait PolicyView {
    /// The port's slot; a zero slot when the port is not reserved.
    fn slot(&self, protocol: Protocol, port: u16) -> Option<Slot>;

    /// Entry `index`.
    fn entry(&self, index: u32) -> Option<&Entry>;

    /// Matcher `index`.
    fn matcher(&self, index: u32) -> Option<&Matcher>;

    /// Automaton `index`.
    fn glob(&self, index: u32) -> Option<&Glob>;
}

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why; says whether it is a refusal.
    pub reason: Reason,
    /// Index of the entry that decided, or the port's first one when none admits
    /// the caller; [`NO_ENTRY`] when the port has none.
    pub entry: u32,
    /// The entry's line in the profile, or 0.
    pub line: u32,
    /// The bind goes on without `CAP_NET_BIND_SERVICE`.
    pub grant: bool,
}

impl Verdict {
    const fn without_entry(reason: Reason) -> Self {
        Self {
            reason,
            entry: NO_ENTRY,
            line: 0,
            grant: false,
        }
    }

    /// Whether the bind is refused.
    pub const fn refuses(&self) -> bool {
        self.reason.refuses()
    }
}

/// Judges `request` by `subject` under `policy`.
#[inline(always)]
pub fn decide<S: Subject, P: PolicyView>(request: Request, subject: &S, policy: &P) -> Verdict {
    if request.port == 0 {
        return Verdict::without_entry(Reason::NotJudged);
    }
    let Some(slot) = policy.slot(request.protocol, request.port) else {
        return Verdict::without_entry(Reason::BadTable);
    };
    if slot.count() == 0 {
        return Verdict::without_entry(Reason::Unreserved);
    }
    if !subject.in_scope() {
        return Verdict::without_entry(Reason::NotJudged);
    }
    let name = if slot.needs_name() {
        subject.name()
    } else {
        Some(Name::default())
    };
    let Some(name) = name else {
        return of_first_entry(Reason::NoIdentity, slot, policy);
    };

    let mut offset = 0;
    while offset < MAX_ENTRIES_PER_PORT {
        if offset >= slot.count() {
            return of_first_entry(Reason::OtherJob, slot, policy);
        }
        let index = slot.first() + offset;
        let Some(entry) = policy.entry(index) else {
            return Verdict::without_entry(Reason::BadTable);
        };
        let reason = match entry.who() {
            Who::Nobody => None,
            Who::Blocked => Some(Reason::Blocked),
            Who::Anyone => Some(Reason::Permitted),
            Who::Job(matcher) => admits(matcher, name, subject, policy),
        };
        if let Some(reason) = reason {
            return Verdict {
                reason,
                entry: index,
                line: entry.line(),
                grant: !reason.refuses() && entry.grants() && request.port < FIRST_HIGH_PORT,
            };
        }
        offset += 1;
    }
    of_first_entry(Reason::OtherJob, slot, policy)
}

/// What a jobname operand says of the caller; `None` if it is not meant.
#[inline(always)]
fn admits<S: Subject, P: PolicyView>(
    matcher: u32,
    name: Name,
    subject: &S,
    policy: &P,
) -> Option<Reason> {
    let Some(matcher) = policy.matcher(matcher) else {
        return Some(Reason::BadTable);
    };
    let named = match matcher.glob_index() {
        None => matcher.masked_name().matches(name),
        Some(index) => match policy.glob(index) {
            Some(glob) => glob.matches(name),
            None => return Some(Reason::BadTable),
        },
    };
    let meant = named || (matcher.jobs() != 0 && subject.in_jobs(matcher.jobs()));
    meant.then_some(Reason::Permitted)
}

/// A refusal that no entry in particular made: the port's first one stands for it.
#[inline(always)]
fn of_first_entry<P: PolicyView>(reason: Reason, slot: Slot, policy: &P) -> Verdict {
    Verdict {
        reason,
        entry: slot.first(),
        line: match policy.entry(slot.first()) {
            Some(entry) => entry.line(),
            None => 0,
        },
        grant: false,
    }
}
