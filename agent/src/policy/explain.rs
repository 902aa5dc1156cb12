//! What the policy says to a described caller: the verdict, and its words.

use portreeve_common::{Request, Subject, Verdict, abi::Protocol, decide, jobname::Name};
use serde::{Deserialize, Serialize};

use super::source::{EntryPlace, Policy};
use crate::profile::ast::User;

/// Who asks for what, as described on the command line or found in `/proc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// The caller's process name or job; `None` is a caller that can't be identified.
    pub name: Option<String>,
    /// The caller may bind low ports anyway: root or `CAP_NET_BIND_SERVICE`.
    pub privileged: bool,
    /// The address asked for, shown as it would be bound.
    pub address: Option<String>,
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
    /// Whether the port is shared; nothing shares ports yet.
    pub sharing: Option<String>,
    /// The reason's id.
    pub reason: String,
    /// What the caller sees, if it is refused.
    pub errno: Option<String>,
    /// The entry that decided.
    pub entry: Option<EntryPlace>,
    /// The whole answer in one or two sentences.
    pub text: String,
}

struct Described {
    name: Option<Name>,
}

impl Subject for Described {
    fn in_scope(&self) -> bool {
        true
    }

    fn name(&self) -> Option<Name> {
        self.name
    }

    fn in_jobs(&self, _set: u32) -> bool {
        false
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
    let subject = Described {
        name: question.name.as_deref().and_then(Name::new),
    };
    let request = Request {
        protocol,
        port: question.port,
    };
    let verdict = decide(request, &subject, &policy.compiled.image);
    let host_rule = !verdict.refuses()
        && !verdict.grant
        && question.port != 0
        && question.port < first_unprivileged
        && !question.privileged;
    let reservation = policy.reservation_of(verdict.entry);
    let entry = reservation.map(|reservation| policy.place_of(reservation));
    let text = sentence(
        question,
        &verdict,
        entry.as_ref(),
        reservation.map(|r| &r.user),
        host_rule.then_some(first_unprivileged),
    );
    Some(Answer {
        verdict: if verdict.refuses() { "deny" } else { "allow" }.into(),
        grant: verdict.grant,
        host_rule,
        address: question.address.clone(),
        sharing: None,
        reason: verdict.reason.id().into(),
        errno: verdict.reason.errno().map(|_| "EACCES".into()),
        entry,
        text,
    })
}

fn sentence(
    question: &Question,
    verdict: &Verdict,
    entry: Option<&EntryPlace>,
    user: Option<&User>,
    host_rule: Option<u16>,
) -> String {
    let who = question
        .name
        .as_deref()
        .unwrap_or("a caller without a name");
    let what = format!(
        "{}/{}",
        question.protocol.to_ascii_lowercase(),
        question.port
    );
    let mut text = if verdict.refuses() {
        format!("{who} may not bind {what}: {}.", verdict.reason.text())
    } else {
        format!("{who} may bind {what}: {}.", verdict.reason.text())
    };
    if let Some(entry) = entry {
        text.push_str(&format!(" {}:{}: {}.", entry.file, entry.line, entry.text));
    }
    if verdict.refuses() {
        text.push_str(&match user {
            Some(User::Reserved) => " To open it, remove the RESERVED entry.".to_owned(),
            _ => format!(
                " To allow it, add `PORT {} {} {}` to the profile.",
                question.port,
                question.protocol.to_ascii_uppercase(),
                who.to_ascii_uppercase()
            ),
        });
    }
    if verdict.grant {
        text.push_str(" No capability is needed for it.");
    }
    if let Some(first) = host_rule {
        text.push_str(&format!(
            " But the host's own rule still applies: ports below {first} need CAP_NET_BIND_SERVICE, so the kernel refuses this caller with EACCES."
        ));
    }
    text
}
