//! What refusals tell about who wanted which port.

use std::collections::BTreeSet;

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
    let defined = |name: &&str| event.kernel || policy.jobs.is_defined(name);
    let jobs = event.job.as_deref().unwrap_or_default().split(' ');
    let question = Question {
        protocol: event.protocol.clone().unwrap_or_default(),
        port: event.port.unwrap_or_default(),
        listen: event.hook.as_deref() == Some("listen"),
        jobs: jobs.filter(defined).map(str::to_owned).collect(),
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
    let name = event.comm.as_deref().unwrap_or_default();
    let is_taken = policy.jobs.is_defined(name) || name.eq_ignore_ascii_case(KERNEL);
    // Of a name that is taken, the policy says why it is none.
    let is_unknown = event.job.is_none() && !is_taken;
    is_unknown.then(|| "which job it was can't be told any more".into())
}
