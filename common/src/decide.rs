//! The verdict: the rules of port control, written once.
//!
//! [`decide()`] is what the kernel programs run on every bind, what `explain`
//! calls and what the tests compare with a slow oracle. It follows
//! `port-control` section 4: nothing to judge, then the port's reservation with
//! SAF and BIND, or else RESTRICTLOWPORTS and UNRSV; last the users the port is
//! restricted to (section 7.4). The compiler orders entries most specific first
//! (`PRT-37`), so the first match is the answer.

use crate::abi::{
    BindAddress, Entry, MAX_ENTRIES_PER_PORT, Matcher, Protocol, Slot, Unreserved, Who, jobs::Place,
};
use crate::jobname::{Glob, Name};
use crate::reason::Reason;
use crate::verdict::{Rewrite, Verdict};

/// The first port that is not a low one (port-control section 1).
pub const FIRST_HIGH_PORT: u16 = 1024;

/// What the caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `bind` with an explicit port.
    Bind,
    /// `listen` on a TCP port that the application chose.
    Listen,
}

/// The address a bind asks for, as far as BIND cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A particular address: never changed (`PRT-26`).
    Specific,
    /// The IPv4 wildcard, also as an IPv4-mapped one.
    AnyV4,
    /// The IPv6 wildcard of a socket that takes IPv4 too.
    AnyV6,
    /// The IPv6 wildcard of a socket that is IPv6 only.
    AnyV6Only,
}

/// What a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The table that judges it.
    pub protocol: Protocol,
    /// The port asked for, in host order; 0 lets the kernel choose.
    pub port: u16,
    /// What is done with it.
    pub operation: Operation,
}

/// Who is calling, and for what socket. Every answer may cost a read of kernel
/// memory, so each is asked for only when the port's entries need it.
pub trait Subject {
    /// Whether the bind happens in a network namespace the policy governs.
    fn in_scope(&self) -> bool;

    /// Which job the caller is to the entries of `list`. `None` when it can't be read.
    fn identity(&self, list: u32) -> Option<Identity>;

    /// Whether its user or one of its groups is in this permit set.
    fn is_permitted(&self, set: u32) -> bool;

    /// Whether it is exempt from RESTRICTLOWPORTS: root or `CAP_NET_BIND_SERVICE`,
    /// z/OS's UID 0 and APF (`LOW-02`).
    fn is_privileged(&self) -> bool;

    /// The address it asks for.
    fn asked(&self) -> Asked;
}

/// Which job a process is to the entries of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name of a process that is no defined job: its process name, folded.
    /// Empty for one that is a defined job or calls itself like one, so that a
    /// definition is never reached by a name.
    pub name: Name,
    /// The first entry of the list that covers one of the defined jobs it is.
    pub place: Place,
}

/// The tables of one policy. `None` for an index means that there is no such element.
pub trait PolicyView {
    /// The port's slot; a zero slot when the port is neither reserved nor restricted.
    fn slot(&self, protocol: Protocol, port: u16) -> Option<Slot>;

    /// What holds for the protocol's unreserved ports.
    fn unreserved(&self, protocol: Protocol) -> Option<Unreserved>;

    /// Entry `index`.
    fn entry(&self, index: u32) -> Option<&Entry>;

    /// Matcher `index`.
    fn matcher(&self, index: u32) -> Option<&Matcher>;

    /// Automaton `index`.
    fn glob(&self, index: u32) -> Option<&Glob>;

    /// Whether automaton `index` takes `name`. It is always [`Glob::matches`]: the
    /// programs keep that in a function of its own.
    #[inline(always)]
    fn glob_matches(&self, index: u32, name: Name) -> Option<bool> {
        self.glob(index).map(|glob| glob.matches(name))
    }

    /// Address `index`.
    fn address(&self, index: u32) -> Option<&BindAddress>;

    /// Which of `entries` is the first that means everybody or a process called
    /// `name`; their number or more if none does. It is always [`search`]: the
    /// programs keep it in a function of its own.
    #[inline(always)]
    fn first_meant(&self, entries: Slot, name: Name) -> u32
    where
        Self: Sized,
    {
        search::<MAX_ENTRIES_PER_PORT, Self>(entries, name, self)
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
    let verdict = by_job(request, slot, subject, policy);
    // Both families of rules must allow it (`IBI-20`); listen was judged at bind. What
    // is refused in audit only goes on, so the restriction has its say.
    let goes_on = !verdict.refuses() || (verdict.audited && !slot.is_audited());
    let restricted = slot.restriction() != 0
        && request.operation == Operation::Bind
        && goes_on
        && subject.in_scope();
    if restricted && !subject.is_permitted(slot.restriction()) {
        return Verdict::new(Reason::OtherUser, verdict.entry).in_audit(slot.is_audited());
    }
    verdict
}

/// Whether `policy` has no word for the port of `request`, nor for ports like it: then
/// [`decide()`] says [`Reason::Unreserved`], whoever asks. Most binds are of this kind,
/// and need no more than this look.
#[inline(always)]
pub fn is_free<P: PolicyView>(request: Request, policy: &P) -> bool {
    if request.port == 0 {
        return false;
    }
    match policy.slot(request.protocol, request.port) {
        Some(slot) if slot == Slot::default() => {}
        _ => return false,
    }
    let Some(rules) = policy.unreserved(request.protocol) else {
        return false;
    };
    let is_low = rules.restricts_low_ports() && request.port < FIRST_HIGH_PORT;
    rules.entries.count() == 0 && !is_low
}

/// Port-control 4.2 and 4.3.
#[inline(always)]
fn by_job<S: Subject, P: PolicyView>(
    request: Request,
    slot: Slot,
    subject: &S,
    policy: &P,
) -> Verdict {
    let entries = if slot.count() != 0 {
        if request.operation == Operation::Listen {
            return Verdict::without_entry(Reason::NotJudged);
        }
        slot
    } else {
        match of_unreserved(request, subject, policy) {
            Ok(entries) => entries,
            Err(verdict) => return verdict,
        }
    };
    if !subject.in_scope() {
        return Verdict::without_entry(Reason::NotJudged);
    }
    let (offset, proven) = if entries.needs_name() {
        let Some(Identity { name, place }) = subject.identity(list_of(entries, policy)) else {
            return of_first_entry(Reason::NoIdentity, entries).in_audit(entries.is_audited());
        };
        let by_name = policy.first_meant(entries, name);
        if place.offset() < by_name {
            (place.offset(), place.is_proven())
        } else {
            (by_name, false)
        }
    } else {
        // Entries that ask for no name mean everybody or nobody: the first decides.
        (0, false)
    };

    let Some(slot) = policy.slot(request.protocol, request.port) else {
        return Verdict::without_entry(Reason::BadTable);
    };
    let is_reserved = slot.count() != 0;
    let nobody_meant = if is_reserved {
        Reason::OtherJob
    } else {
        Reason::UnreservedOther
    };
    if offset >= entries.count() {
        return of_first_entry(nobody_meant, entries).in_audit(entries.is_audited());
    }
    let index = entries.first() + offset;
    let Some(entry) = policy.entry(index) else {
        return Verdict::without_entry(Reason::BadTable);
    };
    if !is_whole(entry, policy) {
        return of_first_entry(Reason::BadTable, entries);
    }
    let reason = match entry.who() {
        Who::Nobody => nobody_meant,
        Who::Blocked => Reason::Blocked,
        Who::Anyone | Who::Job(_) if entry.denies() => Reason::UnreservedDenied,
        Who::Anyone | Who::Job(_) if entry.saf() != 0 && !subject.is_permitted(entry.saf()) => {
            Reason::NoPermit
        }
        Who::Anyone | Who::Job(_) if is_reserved => Reason::Permitted,
        Who::Anyone | Who::Job(_) => Reason::UnreservedPermitted,
    };
    let mut verdict = Verdict::new(reason, index).in_audit(entries.is_audited());
    if is_reserved && !reason.refuses() && !verdict.audited {
        verdict.grant = entry.grants(proven) && request.port < FIRST_HIGH_PORT;
        verdict.rewrite = rewrite(entry, subject, policy);
        verdict.shared = slot.is_shared();
        verdict.no_delay_acks = entry.no_delay_acks();
    }
    verdict
}

/// The UNRSV entries that judge `request`, or the verdict if none need to be asked
/// (port-control 4.3).
#[inline(always)]
fn of_unreserved<S: Subject, P: PolicyView>(
    request: Request,
    subject: &S,
    policy: &P,
) -> Result<Slot, Verdict> {
    let rules = policy
        .unreserved(request.protocol)
        .ok_or(Verdict::without_entry(Reason::BadTable))?;
    let listening = request.operation == Operation::Listen;
    if rules.restricts_low_ports() && request.port < FIRST_HIGH_PORT {
        if listening || !subject.in_scope() {
            return Err(Verdict::without_entry(Reason::NotJudged));
        }
        let reason = if subject.is_privileged() {
            Reason::PrivilegedLowPort
        } else {
            Reason::LowPort
        };
        return Err(Verdict::without_entry(reason).in_audit(rules.entries.is_audited()));
    }
    if rules.entries.count() == 0 || rules.at_listen() != listening {
        return Err(Verdict::without_entry(Reason::Unreserved));
    }
    Ok(rules.entries)
}

/// Which of the first `MOST` of `entries` is the first that means everybody or a process
/// called `name`; their number or `MOST` if none does.
///
/// The verifier walks this once per entry, so it only looks for the place: what
/// is found there, damage included, is looked at once, behind the loop.
#[inline(always)]
pub fn search<const MOST: u32, P: PolicyView>(entries: Slot, name: Name, policy: &P) -> u32 {
    let mut offset = 0;
    while offset < MOST {
        if offset >= entries.count() || means(entries.first() + offset, name, policy) {
            return offset;
        }
        offset += 1;
    }
    MOST
}

/// Whether entry `index` means everybody or a process called `name`. An element that isn't there stops the
/// search too, so that damaged tables never let a later entry speak.
#[inline(always)]
fn means<P: PolicyView>(index: u32, name: Name, policy: &P) -> bool {
    let Some(entry) = policy.entry(index) else {
        return true;
    };
    match entry.who() {
        Who::Nobody => false,
        // Blocked means everybody: nobody gets past it.
        Who::Blocked | Who::Anyone => true,
        Who::Job(matcher) => {
            let Some(matcher) = policy.matcher(matcher) else {
                return true;
            };
            match matcher.glob_index() {
                None => matcher.masked_name().matches(name),
                Some(index) => policy.glob_matches(index, name).unwrap_or(true),
            }
        }
    }
}

/// The list by which defined jobs find their place among `entries`; 0 for none.
#[inline(always)]
fn list_of<P: PolicyView>(entries: Slot, policy: &P) -> u32 {
    policy.entry(entries.first()).map_or(0, Entry::list)
}

/// Whether everything that the entry points to is there.
#[inline(always)]
fn is_whole<P: PolicyView>(entry: &Entry, policy: &P) -> bool {
    let Who::Job(matcher) = entry.who() else {
        return true;
    };
    let Some(matcher) = policy.matcher(matcher) else {
        return false;
    };
    match matcher.glob_index() {
        Some(index) => policy.glob(index).is_some(),
        None => true,
    }
}

/// Port-control 4.5.
#[inline(always)]
fn rewrite<S: Subject, P: PolicyView>(entry: &Entry, subject: &S, policy: &P) -> Rewrite {
    let Some(index) = entry.bind() else {
        return Rewrite::Keep;
    };
    let Some(address) = policy.address(index) else {
        return Rewrite::Keep;
    };
    match subject.asked() {
        Asked::AnyV4 if address.is_v4() => Rewrite::To(index),
        Asked::AnyV6 | Asked::AnyV6Only if address.is_v6() => Rewrite::To(index),
        // A socket that is IPv6 only can't have a mapped address.
        Asked::AnyV6 if address.is_v4() => Rewrite::Mapped(index),
        Asked::AnyV4 | Asked::AnyV6 | Asked::AnyV6Only | Asked::Specific => Rewrite::Keep,
    }
}

/// A refusal that no entry in particular made: the first one stands for all.
#[inline(always)]
fn of_first_entry(reason: Reason, slot: Slot) -> Verdict {
    Verdict::new(reason, slot.first())
}
