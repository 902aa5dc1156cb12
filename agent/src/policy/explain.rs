//! What the policy says to a described caller: the verdict, and its words.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use portreeve_common::{
    PolicyView as _, Reason, Request, Rewrite, Subject, Verdict,
    abi::{Feature, Mode, Protocol, jobs::Place},
    decide,
    decide::{Asked, Identity, Operation},
    jobname::Name,
    reason::{EACCES, EAFNOSUPPORT},
};
use serde::{Deserialize, Serialize};

use super::{
    build::Policy,
    image::Image,
    jobs::{Caller, Found},
    place::EntryPlace,
    reservations::Reservation,
    specificity::Specificity,
    story::Story,
};
use crate::{config::KERNEL, kernel::features::Features};

/// Who asks for what, as described on the command line or found in `/proc`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// Asked about listen on that port instead of bind.
    pub listen: bool,
    /// Jobs that the caller is, proven already. A name that the config doesn't
    /// define is the caller's process name. [`KERNEL`] alone is the kernel itself.
    pub jobs: Vec<String>,
    /// The caller's process name.
    pub comm: Option<String>,
    /// The caller's executable.
    pub exe: Option<PathBuf>,
    /// The caller's cgroup.
    pub cgroup: Option<String>,
    /// The caller's effective user id.
    pub uid: u32,
    /// The caller's group ids.
    pub groups: Vec<u32>,
    /// The caller may bind low ports anyway: root or `CAP_NET_BIND_SERVICE`.
    pub privileged: bool,
    /// The address asked for; the IPv4 wildcard if none is given.
    pub address: Option<IpAddr>,
}

impl Question {
    /// Whether the caller is the kernel itself, which no process can be.
    pub fn is_kernel(&self) -> bool {
        matches!(self.jobs.as_slice(), [job] if job.eq_ignore_ascii_case(KERNEL))
    }
}

/// The answer; its JSON form is a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// `"allow"` or `"deny"`.
    pub verdict: String,
    /// The rules that say so are in audit: a refusal is told and not made, and nothing
    /// is given.
    #[serde(default)]
    pub audit: bool,
    /// The bind goes on without `CAP_NET_BIND_SERVICE`.
    pub grant: bool,
    /// The host's own rule for low ports still applies, and this caller fails it.
    pub host_rule: bool,
    /// The address that is bound in the end.
    pub address: Option<String>,
    /// `"shared"` or `"single"` for a reserved TCP port, unless that is the
    /// application's choice on this kernel.
    pub sharing: Option<String>,
    /// The reason's id.
    pub reason: String,
    /// What the caller sees, if it is refused and not only told.
    pub errno: Option<String>,
    /// The entry that decided.
    pub entry: Option<EntryPlace>,
    /// Why that entry and not another of the port.
    pub selected: Option<String>,
    /// The whole answer in a few sentences.
    pub text: String,
}

struct Described<'a> {
    image: &'a Image,
    identity: Option<Known>,
    uid: u32,
    groups: &'a [u32],
    privileged: bool,
    asked: Asked,
}

impl Subject for Described<'_> {
    fn in_scope(&self) -> bool {
        true
    }

    fn identity(&self, list: u32) -> Option<Identity> {
        let known = self.identity.as_ref()?;
        let place = |job: &Found| {
            let offset = self.image.lists.offset(list, job.id)?;
            Some(Place::new(offset, job.proven))
        };
        let places = known.jobs.iter().filter_map(place);
        Some(Identity {
            name: known.name,
            place: places.fold(Place::NONE, Place::or),
        })
    }

    fn is_permitted(&self, set: u32) -> bool {
        self.image.permits.permits(set, self.uid, self.groups)
    }

    fn is_privileged(&self) -> bool {
        self.privileged
    }

    fn asked(&self) -> Asked {
        self.asked
    }
}

/// The jobs that a described caller is.
struct Known {
    jobs: Vec<Found>,
    name: Name,
}

/// The protocol called `name`.
pub fn protocol(name: &str) -> Option<Protocol> {
    Protocol::ALL
        .into_iter()
        .find(|protocol| protocol.name().eq_ignore_ascii_case(name))
}

/// Answers `question` under `policy` with the function that the kernel runs.
/// `None` if it names no protocol that is judged.
///
/// `first_unprivileged` is the host's `ip_unprivileged_port_start`, and `features` what
/// the kernel has that enforces the policy.
pub fn explain(
    policy: &Policy,
    question: &Question,
    first_unprivileged: u16,
    features: Features,
) -> Option<Answer> {
    let protocol = protocol(&question.protocol)?;
    let mut verdict = judge(policy, protocol, question);
    let is_by_rule = !matches!(verdict.reason, Reason::NotJudged | Reason::Unreserved);
    let audit = is_by_rule && verdict.mode(policy.config.mode) == Mode::Audit;
    if audit {
        // The programs give nothing when the whole policy is in audit, either.
        verdict.grant = false;
        verdict.rewrite = Rewrite::Keep;
    }
    verdict.grant &= features.has(Feature::Grant);
    let host_rule = (audit || !verdict.refuses())
        && !verdict.grant
        && !question.listen
        && question.port != 0
        && question.port < first_unprivileged
        && !question.privileged;
    let rule = policy.reservation_of(verdict.entry);
    let entry = rule.map(|rule| policy.place_of(rule));
    let story = Story {
        policy,
        question,
        verdict: &verdict,
        rule,
        entry: entry.as_ref(),
        audit,
        host_rule: host_rule.then_some(first_unprivileged),
    };
    let reserved = verdict.reason == Reason::Permitted
        && !audit
        && protocol == Protocol::Tcp
        && features.has(Feature::Options);
    Some(Answer {
        verdict: if verdict.refuses() { "deny" } else { "allow" }.into(),
        audit,
        grant: verdict.grant,
        host_rule,
        address: final_address(policy, question, &verdict),
        sharing: reserved.then(|| if verdict.shared { "shared" } else { "single" }.into()),
        reason: verdict.reason.id().into(),
        errno: errno(policy, verdict.reason, question, features)
            .filter(|_| !audit)
            .map(Into::into),
        selected: rule.and_then(|rule| selected(policy, rule, &verdict)),
        text: story.tell(),
        entry,
    })
}

/// The verdict alone. `protocol` is the question's.
pub(super) fn judge(policy: &Policy, protocol: Protocol, question: &Question) -> Verdict {
    let subject = describe(policy, question);
    let request = Request {
        protocol,
        port: question.port,
        operation: if question.listen {
            Operation::Listen
        } else {
            Operation::Bind
        },
    };
    decide(request, &subject, &policy.compiled.image)
}

/// The caller as job definitions see it. A proven job that the config doesn't
/// define is a process name.
pub(super) fn caller(policy: &Policy, question: &Question) -> Caller {
    let (proven_jobs, names): (Vec<String>, Vec<String>) = question
        .jobs
        .iter()
        .cloned()
        .partition(|name| policy.jobs.is_defined(name));
    Caller {
        comm: names.into_iter().next().or_else(|| question.comm.clone()),
        cgroup: question.cgroup.clone(),
        exe: question.exe.clone(),
        uid: Some(question.uid),
        proven_jobs,
    }
}

fn describe<'a>(policy: &'a Policy, question: &'a Question) -> Described<'a> {
    let image = &policy.compiled.image;
    Described {
        image,
        identity: identity(policy, question).map(|(jobs, name)| Known { jobs, name }),
        uid: question.uid,
        groups: &question.groups,
        privileged: question.privileged,
        asked: asked(question.address),
    }
}

/// The caller's defined jobs, and the name it has if there are none.
fn identity(policy: &Policy, question: &Question) -> Option<(Vec<Found>, Name)> {
    if question.is_kernel() {
        return Some((Vec::new(), Name::new(KERNEL)?));
    }
    let caller = caller(policy, question);
    let jobs = policy.jobs.of(&caller);
    let is_taken = |name: &str| policy.jobs.is_defined(name) || name.eq_ignore_ascii_case(KERNEL);
    let name = match &caller.comm {
        // A definition is never reached by a name, and has a place of its own.
        Some(name) if is_taken(name) => Name::default(),
        _ if !jobs.is_empty() => Name::default(),
        Some(name) => Name::new(name)?,
        None => return None,
    };
    Some((jobs, name))
}

fn asked(address: Option<IpAddr>) -> Asked {
    match address {
        None => Asked::AnyV4,
        Some(IpAddr::V4(address)) if address.is_unspecified() => Asked::AnyV4,
        Some(IpAddr::V6(address)) if address.is_unspecified() => Asked::AnyV6,
        Some(_) => Asked::Specific,
    }
}

/// What the caller sees. The kernel's threads go on to their next port for nothing
/// but a port that is taken. Whose listener is destroyed sees nothing.
fn errno(
    policy: &Policy,
    reason: Reason,
    question: &Question,
    features: Features,
) -> Option<&'static str> {
    if question.listen && policy.destroys_listeners() {
        return None;
    }
    // A security module always says which.
    let is_chosen = features.has(Feature::Errno) || question.listen;
    reason.errno().map(|errno| match errno {
        _ if !is_chosen => "EPERM",
        EACCES if question.is_kernel() => "EADDRINUSE",
        EAFNOSUPPORT => "EAFNOSUPPORT",
        _ => "EACCES",
    })
}

/// The address after BIND (`PRT-22` to `PRT-26`).
pub(super) fn final_address(
    policy: &Policy,
    question: &Question,
    verdict: &Verdict,
) -> Option<String> {
    let bytes = |index| {
        policy
            .compiled
            .image
            .address(index)
            .map(|address| (address.is_v4(), address.bytes()))
    };
    let v4 = |bytes: [u8; 16]| Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
    match verdict.rewrite {
        Rewrite::Keep => question.address.map(|address| address.to_string()),
        Rewrite::To(index) => bytes(index).map(|(is_v4, bytes)| {
            if is_v4 {
                v4(bytes).to_string()
            } else {
                Ipv6Addr::from(bytes).to_string()
            }
        }),
        Rewrite::Mapped(index) => {
            bytes(index).map(|(_, bytes)| v4(bytes).to_ipv6_mapped().to_string())
        }
    }
}

/// Why `rule` was selected, where there was a choice.
fn selected(policy: &Policy, rule: &Reservation, verdict: &Verdict) -> Option<String> {
    let is_match = matches!(
        verdict.reason,
        Reason::Permitted
            | Reason::NoPermit
            | Reason::UnreservedPermitted
            | Reason::UnreservedDenied
    );
    let others = policy.reservations.iter().filter(|other| {
        (other.kind, other.protocol, other.first) == (rule.kind, rule.protocol, rule.first)
    });
    (is_match && others.count() > 1).then(|| {
        format!(
            "the closest of the port's entries: {}",
            Specificity::of(&rule.user).words()
        )
    })
}
