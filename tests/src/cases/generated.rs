//! Generated policies: the kernel does what the oracle says, to binders who are
//! somebody else each time.

use std::{
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use portreeve_oracle::{
    generate,
    model::{Address, Ask, Policy, Protocol},
    verdict,
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    harness::{
        Agent, Sandbox, Want,
        pace::times,
        puppet::{Act, Outcome, Puppet},
        tcp, udp,
    },
    tests,
};

tests![
    random_binders_get_what_the_oracle_says,
    random_binders_under_policies_that_come_and_go,
];

/// Processes that bind at the same time.
const BINDERS: u64 = 32;
/// Binds of each, before another policy comes.
const ASKS: usize = 24;
/// How often the policy is replaced under the binders' feet.
const RELOAD_EVERY: Duration = Duration::from_millis(50);
/// How long two policies take turns.
const TURNS: Duration = Duration::from_secs(2);
/// Every such bind is made in another cgroup.
const MOVES: usize = 8;
/// The same where policies come and go: a move keeps every process of the host from
/// being started meanwhile, `portreeve reload` too.
const RARE_MOVES: usize = 128;

/// How long it goes on: a minute in a long run.
fn duration() -> Duration {
    Duration::from_secs(env::var("PORTREEVE_LONG").map_or(10, |_| 60))
}

/// The same cases in every run: a failure can be looked at again.
fn runner(number: u64) -> TestRunner {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &seed),
    )
}

fn draw<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> Result<S::Value> {
    match strategy.new_tree(runner) {
        Ok(tree) => Ok(tree.current()),
        Err(reason) => bail!("nothing generated: {reason}"),
    }
}

/// Writes `policy` as profile and config. Collisions are part of what is
/// generated: the later entry is dropped.
fn write(s: &Sandbox, policy: &Policy) -> Result<()> {
    let below = format!("cgroup = \"{}/", s.cgroup_name());
    let config = policy.config().replace("cgroup = \"/", &below);
    s.write("profile.tcpip", policy.profile())?;
    s.write(
        "portreeve.toml",
        format!(
            "on_error = \"skip\"\n[scope]\nnetns = \"all\"\n[ephemeral]\nbelow_floor = \"accept\"\n{config}"
        ),
    )?;
    Ok(())
}

fn start<'s>(s: &'s Sandbox, first: &Policy) -> Result<Agent<'s>> {
    for cgroup in ["a/b", "b"] {
        s.cgroup_below(cgroup)?;
    }
    write(s, first)?;
    s.agent_again()?.start()
}

fn reload(agent: &Agent<'_>, policy: &Policy) -> Result<()> {
    let (status, answer) = agent.reload(&[])?;
    ensure!(
        status == 0,
        "{answer}\n{}\n{}",
        policy.profile(),
        policy.config()
    );
    Ok(())
}

/// One binder: a process, and the cases that it takes.
struct Binder<'s> {
    puppet: Puppet,
    runner: TestRunner,
    sandbox: &'s Sandbox,
    cgroup: &'static str,
    binds: usize,
    moves: usize,
}

impl<'s> Binder<'s> {
    fn start(sandbox: &'s Sandbox, number: u64, moves: usize) -> Result<Self> {
        let mut binder = Self {
            puppet: Puppet::start()?,
            runner: runner(1 + number),
            sandbox,
            cgroup: "/",
            binds: 0,
            moves,
        };
        binder.move_to("/")?;
        Ok(binder)
    }

    fn move_to(&mut self, cgroup: &'static str) -> Result<()> {
        self.cgroup = cgroup;
        let act = Act {
            name: "mover".into(),
            cgroup: Some(self.sandbox.cgroup.join(&cgroup[1..])),
            uid: 0,
            groups: Vec::new(),
            want: udp(0),
            shares: false,
        };
        self.puppet.act(&act).map(drop)
    }

    /// Binds as somebody; `check` is told what came of it.
    fn bind(&mut self, check: &impl Fn(&Case, Outcome) -> Result<()>) -> Result<()> {
        let (ask, shares) = draw(&mut self.runner, &(generate::ask(), any::<bool>()))?;
        if self.binds.is_multiple_of(self.moves) {
            self.move_to(ask.cgroup)?;
        }
        self.binds += 1;
        let ask = Ask {
            cgroup: self.cgroup,
            exe: "/elsewhere",
            kernel: false,
            listen: false,
            privileged: ask.uid == 0,
            ..ask
        };
        let case = Case { ask, shares };
        let outcome = self.puppet.act(&case.act())?;
        check(&case, outcome)
    }
}

/// A bind.
#[derive(Debug)]
struct Case {
    ask: Ask,
    /// `SO_REUSEPORT` is set beforehand.
    shares: bool,
}

impl Case {
    fn address(&self) -> IpAddr {
        match self.ask.address {
            Address::AnyV4 => Ipv4Addr::UNSPECIFIED.into(),
            Address::AnyV6 => Ipv6Addr::UNSPECIFIED.into(),
            Address::Specific => Ipv4Addr::LOCALHOST.into(),
        }
    }

    fn act(&self) -> Act {
        let port = self.ask.port;
        let want: Want = match self.ask.protocol {
            Protocol::Tcp => tcp(port),
            Protocol::Udp => udp(port),
        };
        Act {
            name: self.ask.comm.clone(),
            cgroup: None,
            uid: self.ask.uid,
            groups: self.ask.groups.clone(),
            want: want.on(self.address()),
            shares: self.shares,
        }
    }

    /// What must come of it under `policy`.
    fn expected(&self, policy: &Policy) -> Result<Outcome> {
        let ask = &self.ask;
        let answer = verdict(policy, ask);
        let failed = |address: IpAddr| Outcome {
            errno: Errno::EACCES as i32,
            address: match address {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            },
            shared: self.shares,
        };
        let refused = [
            "blocked",
            "other-job",
            "no-permit",
            "low-port",
            "other-user",
            "unreserved-other",
            "unreserved-denied",
        ];
        if refused.contains(&answer.reason) && !answer.audit {
            return Ok(failed(self.address()));
        }
        // In audit nothing is done to the socket.
        let shared = answer.shared.unwrap_or(self.shares);
        // The host's own rule, which a grant lifts.
        if (1..1024).contains(&ask.port) && ask.uid != 0 && !answer.grant {
            return Ok(Outcome {
                shared,
                ..failed(self.address())
            });
        }
        let address = match answer.rewritten {
            Some(address) => address.parse().context(address)?,
            None => self.address(),
        };
        Ok(Outcome {
            errno: 0,
            address,
            shared,
        })
    }
}

/// How many binds there were, and how many of them were refused.
#[derive(Default)]
struct Seen {
    binds: AtomicU64,
    refused: AtomicU64,
}

impl Seen {
    fn count(&self, outcome: Outcome) {
        self.binds.fetch_add(1, Ordering::Relaxed);
        self.refused
            .fetch_add(u64::from(outcome.errno != 0), Ordering::Relaxed);
    }

    /// Enough of both kinds to say something.
    fn is_enough(&self, least: u64) -> Result<()> {
        let (binds, refused) = (
            self.binds.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        );
        println!("{binds} binds, {refused} refused");
        let allowed = binds - refused;
        ensure!(
            refused > least && allowed > least,
            "{refused} refused, {allowed} allowed"
        );
        Ok(())
    }
}

/// Lets all binders bind at once until `goes_on` says no more.
fn all_bind(
    binders: &mut [Binder<'_>],
    goes_on: &(impl Fn(usize) -> bool + Sync),
    check: &(impl Fn(&Case, Outcome) -> Result<()> + Sync),
) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = binders
            .iter_mut()
            .map(|binder| {
                scope.spawn(move || {
                    let mut binds = 0;
                    while goes_on(binds) {
                        binder.bind(check)?;
                        binds += 1;
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a binder panicked")))
    })
}

/// `DEC-10`: processes with names, users, groups and cgroups of all kinds bind
/// ports, protocols and addresses of all kinds; errno, final address and
/// `SO_REUSEPORT` are what the slow and obvious oracle says.
fn random_binders_get_what_the_oracle_says(s: &Sandbox) -> Result<()> {
    let agent = start(s, &Policy::default())?;
    let mut binders = (0..BINDERS)
        .map(|number| Binder::start(s, number, MOVES))
        .collect::<Result<Vec<_>>>()?;
    let (mut policies, seen) = (runner(0), Seen::default());
    let until = Instant::now() + duration();
    while Instant::now() < until {
        let policy = draw(&mut policies, &generate::policy_at_bind())?;
        write(s, &policy)?;
        reload(&agent, &policy)?;
        all_bind(&mut binders, &|binds| binds < ASKS, &|case, outcome| {
            seen.count(outcome);
            let expected = case.expected(&policy)?;
            ensure!(
                outcome == expected,
                "{case:?}\n  expected {expected:?} for {:?}\n  found    {outcome:?}\n{}\n{}",
                verdict(&policy, &case.ask),
                policy.profile(),
                policy.config()
            );
            Ok(())
        })?;
    }
    seen.is_enough(times(500))
}

/// `OBY-06`: the same while two policies take turns; each bind gets what one of
/// them says, whole.
fn random_binders_under_policies_that_come_and_go(s: &Sandbox) -> Result<()> {
    let agent = start(s, &Policy::default())?;
    let mut binders = (0..BINDERS)
        .map(|number| Binder::start(s, 100 + number, RARE_MOVES))
        .collect::<Result<Vec<_>>>()?;
    let (mut policies, seen) = (runner(50), Seen::default());
    let mut reloads = 0;
    let until = Instant::now() + duration();
    while Instant::now() < until {
        let pair = generate::policy_at_bind();
        let pair = [draw(&mut policies, &pair)?, draw(&mut policies, &pair)?];
        write(s, &pair[0])?;
        reload(&agent, &pair[0])?;
        let goes_on = AtomicBool::new(true);
        thread::scope(|scope| {
            let binding = scope.spawn(|| {
                all_bind(
                    &mut binders,
                    &|_| goes_on.load(Ordering::Relaxed),
                    &|case, outcome| {
                        seen.count(outcome);
                        let [first, second] = [case.expected(&pair[0])?, case.expected(&pair[1])?];
                        ensure!(
                            outcome == first || outcome == second,
                            "{case:?}\n  expected {first:?} or {second:?}\n  found    {outcome:?}\n{}\nor\n{}",
                            pair[0].profile(),
                            pair[1].profile()
                        );
                        Ok(())
                    },
                )
            });
            let turns_end = Instant::now() + TURNS;
            let mut changed = Ok(());
            while Instant::now() < turns_end && changed.is_ok() && !binding.is_finished() {
                let next = Instant::now() + RELOAD_EVERY;
                reloads += 1;
                let policy = &pair[reloads % 2];
                changed = write(s, policy).and_then(|()| reload(&agent, policy));
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            goes_on.store(false, Ordering::Relaxed);
            let bound = binding
                .join()
                .unwrap_or_else(|_| bail!("the binders panicked"));
            bound.and(changed)
        })?;
    }
    println!("{reloads} reloads");
    seen.is_enough(times(500))
}
