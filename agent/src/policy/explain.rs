//! What the policy says to a described caller: the verdict, and its words.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use portreeve_common::{
    PolicyView as _, Reason, Request, Subject, Verdict,
    abi::Protocol,
    decide,
    decide::{Asked, Operation, Rewrite},
    jobname::Name,
};
use serde::{Deserialize, Serialize};

use super::{
    build::{EntryPlace, Policy},
    image::Image,
    jobs::{Caller, JobId},
    reservations::Reservation,
    specificity::Specificity,
};
use crate::profile::ast::User;

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
    /// define is the caller's process name.
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

/// The answer; its JSON form is a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// `"allow"` or `"deny"`.
    pub verdict: String,
    /// The bind goes on without `CAP_NET_BIND_SERVICE`.
    pub grant: bool,
    /// The host's own rule for low ports still applies, and this caller fails it.
    pub host_rule: bool,
    /// The address that is bound in the end.
    pub address: Option<String>,
    /// `"shared"` or `"single"` for a reserved TCP port.
    pub sharing: Option<String>,
    /// The reason's id.
    pub reason: String,
    /// What the caller sees, if it is refused.
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
    jobs: Vec<JobId>,
    name: Option<Name>,
    uid: u32,
    groups: &'a [u32],
    privileged: bool,
}

impl Subject for Described<'_> {
    fn in_scope(&self) -> bool {
        true
    }

    fn name(&self) -> Option<Name> {
        self.name
    }

    fn in_jobs(&self, set: u32) -> bool {
        self.jobs
            .iter()
            .any(|job| self.image.job_sets.contains(set, *job))
    }

    fn is_permitted(&self, set: u32) -> bool {
        self.image.permits.permits(set, self.uid, self.groups)
    }

    fn is_privileged(&self) -> bool {
        self.privileged
    }
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
/// `first_unprivileged` is the host's `ip_unprivileged_port_start`.
pub fn explain(policy: &Policy, question: &Question, first_unprivileged: u16) -> Option<Answer> {
    let protocol = protocol(&question.protocol)?;
    let subject = describe(policy, question);
    let request = Request {
        protocol,
        port: question.port,
        operation: if question.listen {
            Operation::Listen
        } else {
            Operation::Bind
        },
        asked: asked(question.address),
    };
    let verdict = decide(request, &subject, &policy.compiled.image);
    let host_rule = !verdict.refuses()
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
        host_rule: host_rule.then_some(first_unprivileged),
    };
    let reserved = verdict.reason == Reason::Permitted && protocol == Protocol::Tcp;
    Some(Answer {
        verdict: if verdict.refuses() { "deny" } else { "allow" }.into(),
        grant: verdict.grant,
        host_rule,
        address: final_address(policy, question, &verdict),
        sharing: reserved.then(|| if verdict.shared { "shared" } else { "single" }.into()),
        reason: verdict.reason.id().into(),
        errno: verdict.reason.errno().map(|_| "EACCES".into()),
        selected: rule.and_then(|rule| selected(policy, rule, &verdict)),
        text: story.tell(),
        entry,
    })
}

fn describe<'a>(policy: &'a Policy, question: &'a Question) -> Described<'a> {
    let defined = |name: &&String| policy.jobs.is_defined(name);
    let called = question
        .jobs
        .iter()
        .find(|name| !policy.jobs.is_defined(name));
    let comm = called.or(question.comm.as_ref());
    let jobs = policy.jobs.of(&Caller {
        comm: comm.cloned(),
        cgroup: question.cgroup.clone(),
        exe: question.exe.clone(),
        uid: Some(question.uid),
        proven_jobs: question.jobs.iter().filter(defined).cloned().collect(),
    });
    let name = match comm {
        // A definition is never reached by a name, and has a place of its own.
        Some(name) if policy.jobs.is_defined(name) => Some(Name::default()),
        _ if !jobs.is_empty() => Some(Name::default()),
        Some(name) => Name::new(name),
        None => None,
    };
    Described {
        image: &policy.compiled.image,
        jobs,
        name,
        uid: question.uid,
        groups: &question.groups,
        privileged: question.privileged,
    }
}

fn asked(address: Option<IpAddr>) -> Asked {
    match address {
        None => Asked::AnyV4,
        Some(IpAddr::V4(address)) if address.is_unspecified() => Asked::AnyV4,
        Some(IpAddr::V6(address)) if address.is_unspecified() => Asked::AnyV6,
        Some(_) => Asked::Specific,
    }
}

/// The address after BIND (`PRT-22` to `PRT-26`).
fn final_address(policy: &Policy, question: &Question, verdict: &Verdict) -> Option<String> {
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

/// The answer in words.
struct Story<'a> {
    policy: &'a Policy,
    question: &'a Question,
    verdict: &'a Verdict,
    rule: Option<&'a Reservation>,
    entry: Option<&'a EntryPlace>,
    host_rule: Option<u16>,
}

impl Story<'_> {
    fn who(&self) -> &str {
        let question = self.question;
        question
            .jobs
            .first()
            .or(question.comm.as_ref())
            .map_or("a caller without a name", String::as_str)
    }

    fn tell(&self) -> String {
        let question = self.question;
        let verb = if question.listen { "listen on" } else { "bind" };
        let may = if self.verdict.refuses() {
            "may not"
        } else {
            "may"
        };
        let protocol = question.protocol.to_ascii_lowercase();
        let mut text = format!(
            "{} {may} {verb} {protocol}/{}: {}.",
            self.who(),
            question.port,
            self.verdict.reason.text()
        );
        if let Some(entry) = self.entry {
            text.push_str(&format!(" {}:{}: {}.", entry.file, entry.line, entry.text));
        }
        if let Some(change) = self.change() {
            text.push_str(&format!(" {change}"));
        }
        if self.verdict.grant {
            text.push_str(" No capability is needed for it.");
        }
        if !matches!(self.verdict.rewrite, Rewrite::Keep)
            && let Some(address) = final_address(self.policy, question, self.verdict)
        {
            text.push_str(&format!(" The wildcard address becomes {address}."));
        }
        if let Some(first) = self.host_rule {
            text.push_str(&format!(
                " But the host's own rule still applies: ports below {first} need CAP_NET_BIND_SERVICE, so the kernel refuses this caller with EACCES."
            ));
        }
        text
    }

    /// What would have to be different for a refusal to be none.
    fn change(&self) -> Option<String> {
        let question = self.question;
        let port = question.port;
        let protocol = question.protocol.to_ascii_uppercase();
        let who = self.who().to_ascii_uppercase();
        let is_reserved = self.rule.is_some_and(|rule| rule.user == User::Reserved);
        Some(match self.verdict.reason {
            Reason::Blocked if is_reserved => "To open it, remove the RESERVED entry.".into(),
            Reason::OtherJob | Reason::Blocked => {
                format!("To allow it, add `PORT {port} {protocol} {who}` to the profile.")
            }
            Reason::NoPermit => {
                let saf = self.rule.and_then(|rule| rule.options.saf.as_ref());
                let resource =
                    saf.map_or_else(String::new, |saf| self.policy.servauth.resource(&saf.value));
                format!(
                    "To allow it, permit user {} to {resource} under [servauth].",
                    question.uid
                )
            }
            Reason::LowPort => {
                format!("To allow it, reserve it: `PORT {port} {protocol} {who}`.")
            }
            Reason::UnreservedOther | Reason::UnreservedDenied => {
                format!(
                    "To allow it, add `PORT UNRSV {protocol} {who}` or reserve the port for it."
                )
            }
            Reason::OtherUser => format!(
                "To allow it, add user {} to the port's restriction.",
                question.uid
            ),
            Reason::NoIdentity => "Say who is calling: a job or a process name.".into(),
            _ => return None,
        })
    }
}
