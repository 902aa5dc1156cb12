//! One event as a sentence: who wanted what, which rule said what, and what to do.

use portreeve_common::Reason;

use super::events::{asked, fate, why};
use crate::{
    daemon::protocol::EventRecord,
    diagnostics::{escaped, quoted},
};

/// The sentence for `event`, whose user is called `user`, if he has a name. Whatever the
/// process calls itself, it is one line of harmless characters.
pub fn sentence(event: &EventRecord, user: Option<&str>) -> String {
    let count = match event.repeated {
        0 => String::new(),
        count => format!("{count} more within a second: "),
    };
    let verdict = match event.verdict.as_str() {
        "deny" => "refused",
        "would-deny" => "in audit, would refuse",
        _ if event.granted => "granted",
        _ => "allowed",
    };
    let mut text = format!("{count}{verdict} {}", asked(event));
    match (&event.rewritten, &event.address) {
        (Some(change), _) => {
            let (from, to) = (&change.from, &change.to);
            text.push_str(&format!(" on {to} in the place of {from}"));
        }
        (None, Some(address)) => text.push_str(&format!(" on {address}")),
        (None, None) => {}
    }
    text.push_str(&format!(" to {}: {}", who(event, user), why(event)));
    if let Some(rule) = rule(event) {
        text.push_str(&format!(", as {rule} says"));
    }
    if let Some(advice) = advice(event) {
        text.push_str(&format!("; {advice}"));
    }
    text
}

/// The process, as far as it is known.
fn who(event: &EventRecord, user: Option<&str>) -> String {
    let name = event.comm.as_deref().map_or("somebody".into(), name);
    let mut details = Vec::new();
    if event.kernel {
        details.push("a thread of the kernel".into());
    }
    if let Some(pid) = event.pid {
        details.push(format!("pid {pid}"));
    }
    if let Some(job) = &event.job
        && !event.kernel
    {
        details.push(format!("job {}", escaped(job)));
    }
    details.push(match user {
        Some(user) => format!("user {}", escaped(user)),
        None => format!("uid {}", event.uid),
    });
    details.push(match unit(&event.cgroup) {
        Some(unit) => format!("unit {}", escaped(unit)),
        None => format!("cgroup {}", escaped(&event.cgroup)),
    });
    details.extend(fate(event));
    format!("{name} ({})", details.join(", "))
}

/// What a process calls itself; in backquotes if it could be taken for a part of the
/// sentence.
fn name(comm: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:/+@#".contains(c);
    match !comm.is_empty() && comm.chars().all(is_plain) {
        true => comm.to_owned(),
        false => quoted(comm),
    }
}

/// The unit of systemd that a cgroup is of.
pub fn unit(cgroup: &str) -> Option<&str> {
    let kinds = [".service", ".socket", ".scope"];
    let mut parts = cgroup.split('/').rev();
    parts.find(|part| kinds.iter().any(|kind| part.ends_with(kind)))
}

/// The entry that decided.
fn rule(event: &EventRecord) -> Option<String> {
    let entry = event.entry.as_ref()?;
    let place = match &entry.file {
        Some(file) => format!("{}:{}", escaped(file), entry.line),
        None => format!("line {} of the profile", entry.line),
    };
    Some(match &entry.text {
        Some(text) => format!("{place} `{}`", escaped(text)),
        None => place,
    })
}

/// What can be done, if it should not have been refused.
fn advice(event: &EventRecord) -> Option<String> {
    if !matches!(event.verdict.as_str(), "deny" | "would-deny") {
        return None;
    }
    let reason = Reason::ALL.iter().find(|it| it.id() == event.reason)?;
    let text = match reason {
        Reason::OtherJob => {
            "if it is the rightful program, define its job by its cgroup, or add an entry for it"
        }
        Reason::Blocked => "if somebody is to have it, put a jobname in the place of RESERVED",
        Reason::NoIdentity => "see no-identity in the manual; a cgroup may be too deep to be told",
        Reason::BadTable => "run `portreeve reload`",
        Reason::NoPermit => "if the user may have it, permit it under [servauth] in the config",
        Reason::LowPort => {
            "if it may have it, add an entry for its job, or give it CAP_NET_BIND_SERVICE"
        }
        Reason::UnreservedOther | Reason::UnreservedDenied => {
            "if it may have such ports, add an UNRSV entry for its job, or reserve this port for it"
        }
        Reason::OtherUser => "if the user may have it, add it to the restriction",
        Reason::AddressFamily => "let the program name the address family in its bind",
        Reason::NotJudged
        | Reason::Unreserved
        | Reason::Permitted
        | Reason::PrivilegedLowPort
        | Reason::UnreservedPermitted => return None,
    };
    let question = match (&event.protocol, event.port) {
        (Some(protocol), Some(port)) => format!(" (`portreeve explain {protocol}/{port}`)"),
        _ => String::new(),
    };
    Some(format!("{text}{question}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::events::tests::event;

    #[test]
    fn a_refusal_says_who_what_which_rule_and_what_to_do() {
        let refused = EventRecord {
            cgroup: "/system.slice/web.service".into(),
            ..event()
        };
        assert_eq!(
            sentence(&refused, Some("www-data")),
            "refused tcp/21 on 0.0.0.0 to wrong (pid 7, job WRONG, user www-data, unit \
             web.service): the port is reserved for another job, as p:2 `21 TCP FTPD1` says; if \
             it is the rightful program, define its job by its cgroup, or add an entry for it \
             (`portreeve explain tcp/21`)"
        );
    }

    #[test]
    fn every_refusal_has_advice_and_nothing_else_has() {
        for reason in Reason::ALL {
            let told = EventRecord {
                reason: reason.id().into(),
                verdict: if reason.refuses() { "deny" } else { "allow" }.into(),
                ..event()
            };
            assert_eq!(advice(&told).is_some(), reason.refuses(), "{reason:?}");
        }
    }

    #[test]
    fn names_of_processes_stay_in_their_place() {
        let hostile = EventRecord {
            comm: Some("a\nb\u{1b}[2J".into()),
            cgroup: "/x\n/y".into(),
            job: None,
            ..event()
        };
        let text = sentence(&hostile, Some("u\nv"));
        assert!(!text.contains(char::is_control), "{text}");
        assert!(text.contains("to `a\\u{a}b\\u{1b}[2J` ("), "{text}");
    }

    #[test]
    fn a_unit_is_the_last_that_a_cgroup_is_below() {
        for (cgroup, expected) in [
            ("/system.slice/a.service", Some("a.service")),
            ("/system.slice/a.service/b", Some("a.service")),
            (
                "/user.slice/user@1.service/app.slice/c.scope",
                Some("c.scope"),
            ),
            ("/system.slice/d.socket", Some("d.socket")),
            ("/", None),
            ("#12", None),
        ] {
            assert_eq!(unit(cgroup), expected, "{cgroup}");
        }
    }
}
