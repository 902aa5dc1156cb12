//! Nobody walks around it: every way to a port that isn't one's own, short of taking
//! the agent's programs away. A test is named after its attack and shows that it
//! succeeds without the agent, how it is refused, and that the rightful owner still
//! gets the port. What no bind hook can stop is in [`not_stopped`], as it is.

pub mod addresses;
pub mod beside_the_owner;
pub mod io_uring;
pub mod kernel_ways;
pub mod manual;
pub mod namespaces;
pub mod neighbours;
pub mod not_stopped;
pub mod passed_sockets;
pub mod protocols;
pub mod same_socket;
pub mod somebody_else;
pub mod without_bind;

use anyhow::{Result, ensure};

use crate::{
    actors::become_caller::NO_USER_NAMESPACE,
    ensure_eq,
    harness::{
        Agent, Binder, Caller, Case, NOBODY, Sandbox, Settings, Want,
        expect::{Deed, expect, expect_of_deed, judge_with},
        skip, tcp,
    },
};

const LOUD: Settings = Settings::DEFAULT.report_all();
const QUIET: Settings = Settings::DEFAULT;

/// The port that everybody is after.
const PORT: u16 = 4321;
/// Whose it is, by the name of the process.
const PROFILE: &str = "PORT\n 4321 TCP RIGHT\n 4321 UDP RIGHT\n";

/// The entry of [`PROFILE`] that is about `want`.
fn entry(want: &Want) -> &'static str {
    match want.protocol() {
        "tcp" => "4321 TCP RIGHT",
        _ => "4321 UDP RIGHT",
    }
}

/// Who is who: by this definition it is the cgroup `right` that makes the job RIGHT.
struct Sides {
    config: String,
    right: Caller,
    wrong: Caller,
}

fn by_cgroup(s: &Sandbox) -> Result<Sides> {
    Ok(Sides {
        config: format!("[jobs.RIGHT]\ncgroup = \"{}/right\"\n", s.cgroup_name()),
        right: s
            .caller("any")
            .cgroup(s.cgroup_below("right")?)
            .job("RIGHT"),
        wrong: s.caller("any").cgroup(s.cgroup_below("wrong")?),
    })
}

/// Each of `wants` is free without an agent, refused to the process `wrong`, and had
/// by the process `right`.
fn repelled<'s>(s: &'s Sandbox, wants: impl IntoIterator<Item = Want>) -> Result<Agent<'s>> {
    repelled_of(s, "", LOUD, &s.caller("right"), &[s.caller("wrong")], wants)
}

/// The same of these attackers.
fn repelled_of<'s>(
    s: &'s Sandbox,
    config: &str,
    settings: Settings,
    right: &Caller,
    attackers: &[Caller],
    wants: impl IntoIterator<Item = Want>,
) -> Result<Agent<'s>> {
    let mut cases = Vec::new();
    for want in wants {
        for attacker in attackers {
            cases.push(Case::other_job(attacker, want.clone(), entry(&want)));
        }
        let entry = entry(&want);
        cases.push(Case::permitted(right, want, entry));
    }
    judge_with(s, PROFILE, settings, config, &cases)
}

/// The same of one attack that a test makes itself: it comes to `case`, and `right`
/// gets the port when it is over.
fn deed_repelled<'s>(
    s: &'s Sandbox,
    config: &str,
    right: &Caller,
    case: &Case<'_>,
    deed: &Deed<'_>,
) -> Result<Agent<'s>> {
    ensure_eq!(deed()?.1, Ok(()), "without an agent: {case}");
    // What the deed does besides is not in question.
    s.set_policy_with(PROFILE, QUIET, config)?;
    let agent = s.agent_again()?.start()?;
    expect_of_deed(&agent, PROFILE, QUIET, case, deed)?;
    let entry = entry(&case.want);
    let owner = Case::permitted(right, case.want.clone(), entry);
    expect(&agent, PROFILE, QUIET, &[owner])?;
    Ok(agent)
}

/// Ends a test where users can't have namespaces of their own.
fn own_users_needed(s: &Sandbox) -> Result<()> {
    let probe = s.caller("probe").root_of_its_own(NOBODY);
    if let Err(error) = Binder::attempt(&probe, &tcp(0)) {
        let reason = error.to_string();
        ensure!(reason.contains(NO_USER_NAMESPACE), "{reason}");
        return Err(skip(reason));
    }
    Ok(())
}
