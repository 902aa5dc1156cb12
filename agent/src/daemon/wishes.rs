//! What refusals tell about who wanted which port.

use std::collections::BTreeSet;

use portreeve_common::Reason;

use super::protocol::EventRecord;
use crate::{
    config::KERNEL,
    policy::{
        build::Policy,
        explain::Question,
        suggestions::{Seen, Wish},
    },
    report::refusals::{count, is_refusal},
};

/// What `event` tells, if it is a refusal; `policy` knows which jobs there are.
pub(super) fn of_event(policy: &Policy, event: &EventRecord) -> Option<Wish> {
    if !is_refusal(event) {
        return None;
    }
    let question = Question {
        protocol: event.protocol.clone().unwrap_or_default(),
        port: event.port.unwrap_or_default(),
        listen: event.hook.as_deref() == Some("listen"),
        jobs: defined_jobs(policy, event),
        comm: event.comm.clone(),
        cgroup: Some(event.cgroup.clone()),
        uid: event.uid,
        ..Question::default()
    };
    let seen = Seen {
        refusals: count(event),
        last: Some(event.time.clone()),
        comms: event.comm.iter().cloned().collect(),
        uids: [event.uid].into(),
        cgroups: [event.cgroup.clone()].into(),
        open_on: BTreeSet::new(),
    };
    Some(Wish {
        against: against(policy, event),
        question,
        seen,
    })
}

/// The defined jobs that the caller was. A process name may have blanks too, and look
/// like several of them.
fn defined_jobs(policy: &Policy, event: &EventRecord) -> Vec<String> {
    let Some(job) = &event.job else {
        return Vec::new();
    };
    let is_defined = |name: &&str| policy.jobs.is_defined(name);
    let is_name = event
        .comm
        .as_ref()
        .is_some_and(|comm| comm.eq_ignore_ascii_case(job));
    if event.kernel || is_defined(&job.as_str()) {
        return vec![job.clone()];
    }
    let jobs = job.split(' ').filter(|_| !is_name);
    jobs.filter(is_defined).map(str::to_owned).collect()
}

/// What `event` says itself against an entry for whom it is about.
fn against(policy: &Policy, event: &EventRecord) -> Option<String> {
    let hook = event.hook.as_deref().unwrap_or_default();
    if event.port.is_none() || event.protocol.is_none() {
        return Some("what was asked for is not known: it was only counted".into());
    }
    if hook.starts_with("post_bind") {
        return Some(
            "its program didn't ask for the port: the kernel or another program chose it".into(),
        );
    }
    let is_for = |reason: Reason| event.reason == reason.id();
    if is_for(Reason::AddressFamily) {
        return Some("its program has to name the address family in the bind (BIND)".into());
    }
    if is_for(Reason::NoIdentity) || is_for(Reason::BadTable) {
        return Some(format!("no entry would have helped it ({})", event.reason));
    }
    let name = event.comm.as_deref().unwrap_or_default();
    let is_taken = policy.jobs.is_defined(name) || name.eq_ignore_ascii_case(KERNEL);
    // Of a name that is taken, the policy says why it is none.
    let is_unknown = event.job.is_none() && !is_taken;
    is_unknown.then(|| "which job it was can't be told any more".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{
            listeners::tests::{policy, settings},
            suggestions::suggest,
        },
        report::events::tests::event,
    };

    const PROFILE: &str = "PORT\n 21 TCP FTPD1\nPORT UNRSV TCP KNOWN\n";

    /// What becomes of `event`: the entry's job, or why there is none.
    fn becomes(toml: &str, event: &EventRecord) -> Option<Result<String, String>> {
        let policy = policy(PROFILE, toml);
        let wish = of_event(&policy, event)?;
        let suggestion = suggest(&policy, &settings(), &[wish]);
        let entries = suggestion
            .entries
            .into_iter()
            .map(|entry| Ok(entry.jobname));
        let left_out = suggestion.left_out.into_iter().map(|left| Err(left.why));
        entries.chain(left_out).next()
    }

    fn is_against(event: &EventRecord, why: &str) {
        let found = becomes("", event);
        let is_it = matches!(&found, Some(Err(found)) if found.contains(why));
        assert!(is_it, "{found:?}: {why}");
    }

    #[test]
    fn refusals_are_wishes() {
        assert_eq!(becomes("", &event()), Some(Ok("WRONG".into())));
        let audited = EventRecord {
            verdict: "would-deny".into(),
            ..event()
        };
        assert_eq!(becomes("", &audited), Some(Ok("WRONG".into())));
        let allowed = EventRecord {
            verdict: "allow".into(),
            ..event()
        };
        assert_eq!(becomes("", &allowed), None);
        // A defined job is what the event says, whatever its process is called.
        let jobs = "[jobs.WEB]\ncgroup = \"/web\"\n[jobs.DB]\nuser = \"7\"\n";
        let defined = EventRecord {
            job: Some("WEB DB".into()),
            ..event()
        };
        assert_eq!(becomes(jobs, &defined), Some(Ok("WEB".into())));
        // Who only calls himself like jobs is none of them.
        let called_so = EventRecord {
            comm: Some("web db".into()),
            uid: 8,
            ..defined
        };
        let found = becomes(jobs, &called_so);
        let is_none = matches!(&found, Some(Err(why)) if why.contains("WEB DB can't stand"));
        assert!(is_none, "{found:?}");
        let kernel = EventRecord {
            job: Some("KERNEL".into()),
            comm: Some("kworker/1:2".into()),
            kernel: true,
            ..event()
        };
        assert_eq!(becomes("", &kernel), Some(Ok("KERNEL".into())));
    }

    /// Where UNRSV is judged at listen, so is who was refused then.
    #[test]
    fn a_refused_listen_is_a_wish() {
        let at_listen = EventRecord {
            hook: Some("listen".into()),
            port: Some(5000),
            reason: "unreserved-other".into(),
            ..event()
        };
        assert_eq!(becomes("", &at_listen), Some(Ok("WRONG".into())));
    }

    #[test]
    fn some_refusals_say_themselves_why_not() {
        let counted = EventRecord {
            port: None,
            repeated: 7,
            ..event()
        };
        is_against(&counted, "only counted");
        let given = EventRecord {
            hook: Some("post_bind4".into()),
            ..event()
        };
        is_against(&given, "didn't ask");
        let unknown = EventRecord {
            job: None,
            ..event()
        };
        is_against(&unknown, "can't be told any more");
        for (reason, why) in [
            ("address-family", "address family"),
            ("no-identity", "no-identity"),
        ] {
            let reason = reason.into();
            is_against(&EventRecord { reason, ..event() }, why);
        }
        let liar = EventRecord {
            job: None,
            comm: Some("ftpd1".into()),
            ..event()
        };
        let found = becomes("[jobs.FTPD1]\nuser = \"7\"\n", &liar);
        let is_it = matches!(&found, Some(Err(why)) if why.contains("does not satisfy"));
        assert!(is_it, "{found:?}");
    }
}
