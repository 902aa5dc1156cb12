//! Generated policies: the kernel does what the oracle says.

use std::env;

use anyhow::{Result, ensure};
use nix::errno::Errno;
use portreeve_oracle::{
    generate,
    model::{Ask, Protocol},
    verdict,
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};

use crate::{
    ensure_eq,
    harness::{Binder, Sandbox, Settings, Want, pace::times, tcp, udp},
    tests,
};

tests![generated_policies_are_enforced];

/// Callers that each policy is asked by; each asks for several ports.
const CALLERS: usize = 2;
const ASKS: usize = 6;

fn policies() -> u64 {
    times(env::var("PORTREEVE_LONG").map_or(60, |_| 600))
}

fn want(ask: &Ask) -> Want {
    match ask.protocol {
        Protocol::Tcp => tcp(ask.port),
        Protocol::Udp => udp(ask.port),
    }
}

/// `DEC-10`: some hundreds of binds, each compared with the slow and obvious
/// oracle. The callers are root, so only the policy can refuse them.
fn generated_policies_are_enforced(s: &Sandbox) -> Result<()> {
    // Collisions are part of what is generated: the later entry is dropped.
    let settings = Settings::DEFAULT.grant_any().skip_errors();
    let agent = s.agent("", settings)?.start()?;
    // The same cases in every run: a failure can be looked at again.
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRunner::deterministic().new_rng());
    let asks = proptest::collection::vec(generate::ask(), ASKS);
    let callers = proptest::collection::vec(("[ABab]{1,5}", asks), CALLERS);
    let case = (generate::enforced_policy(), callers);
    let (mut refused, mut allowed) = (0, 0);
    for _ in 0..policies() {
        let (policy, callers) = case
            .new_tree(&mut runner)
            .map_err(|reason| anyhow::anyhow!("nothing generated: {reason}"))?
            .current();
        s.set_policy(&policy.profile(), settings)?;
        agent.reload(&[])?;
        for (name, asks) in callers {
            let asks: Vec<Ask> = asks
                .into_iter()
                .map(|ask| Ask {
                    comm: name.clone(),
                    kernel: false,
                    listen: false,
                    ..ask
                })
                .collect();
            let wants: Vec<Want> = asks.iter().map(want).collect();
            let results = Binder::start(&s.caller(&name), &wants)?.results;
            for (ask, result) in asks.iter().zip(results) {
                let expected = verdict(&policy, ask);
                let is_refusal = [
                    "blocked",
                    "other-job",
                    "unreserved-other",
                    "unreserved-denied",
                ]
                .contains(&expected.reason);
                ensure_eq!(
                    result == Err(Errno::EACCES),
                    is_refusal,
                    "{ask:?}: {result:?}, but {expected:?}\n{}",
                    policy.profile()
                );
                *if is_refusal {
                    &mut refused
                } else {
                    &mut allowed
                } += 1;
            }
        }
    }
    let enough = policies();
    ensure!(
        refused > enough && allowed > enough,
        "{refused} refused, {allowed} allowed"
    );
    Ok(())
}
