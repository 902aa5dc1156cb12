//! What is done to an agent, and what it must answer.

use std::{
    fmt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    binds::{self, CHANGE, CONTENDED, OWNERS, Policy, SIZES},
    random::Random,
};
use crate::{
    ensure_eq,
    harness::{Agent, Sandbox, Settings, Spinner, host, pace::patience, tcp, udp},
};

const SETTINGS: Settings = Settings::DEFAULT.any_pool().grant_any();
/// Microseconds between two rounds of those who bind all the time: the machine has other
/// things to do.
const REST: u64 = 500;
/// How many policies an agent keeps.
const FORMER: usize = 8;
/// Most that follow events at the same time.
const FOLLOWERS: usize = 4;

/// Something that is done to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A process of some kind binds.
    Bind,
    /// Another policy by reload.
    Reload,
    /// A profile with errors.
    BadReload,
    /// A change file.
    Obey,
    /// Another policy that is confirmed.
    Confirm,
    /// Another policy that isn't.
    Expire,
    /// Somebody begins to follow the events, or hangs up.
    Follow,
    /// A question.
    Ask,
    /// kill -9, and another agent.
    Kill,
    /// SIGTERM, and another agent.
    Restart,
}

use Operation::{Ask, BadReload, Bind, Confirm, Expire, Follow, Kill, Obey, Reload, Restart};

/// As often as they stand here.
const STEADY: &[Operation] = &[
    Bind, Bind, Bind, Bind, Reload, Reload, BadReload, Obey, Confirm, Expire, Follow, Follow, Ask,
    Ask, Ask,
];
const RESTARTED: &[Operation] = &[
    Bind, Bind, Bind, Reload, Reload, BadReload, Obey, Confirm, Follow, Ask, Ask, Kill, Kill,
    Restart,
];

/// Waits for what an agent knows some time after its start only: of the second in which
/// it was started, the one before it may have told all that is told one by one.
fn soon(what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + patience();
    while !holds()? {
        ensure!(Instant::now() < deadline, "{what} never came");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// An agent, what it must be doing, and who uses it.
pub struct Life<'s> {
    sandbox: &'s Sandbox,
    restarts: bool,
    agent: Option<Agent<'s>>,
    policy: Policy,
    /// Binds all the time, and is always allowed, or always refused.
    spinners: Option<[Spinner; 2]>,
    spun: u64,
    followers: Vec<Follower>,
    done: Counts,
}

/// Who follows events, until dropped.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How often what was done.
#[derive(Debug, Default)]
pub struct Counts {
    changes: u64,
    refused: u64,
    starts: u64,
    questions: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            changes,
            refused,
            starts,
            questions,
        } = self;
        write!(
            formatter,
            "{starts} starts, {changes} changes, {refused} refused ones, {questions} questions"
        )
    }
}

impl<'s> Life<'s> {
    /// Starts an agent in `sandbox` and those who bind all the time.
    pub fn begin(sandbox: &'s Sandbox, restarts: bool) -> Result<Self> {
        let policy = Policy {
            owner: 0,
            size: 0,
            extra: false,
        };
        let agent = sandbox.agent(&policy.profile()?, SETTINGS)?.start()?;
        let wants = [tcp(4321), udp(4321)];
        let spinner = |name: &str| Spinner::start_resting(&sandbox.caller(name), &wants, REST);
        let mut life = Self {
            sandbox,
            restarts,
            agent: Some(agent),
            policy,
            spinners: Some([spinner("right")?, spinner("wrong")?]),
            spun: 0,
            followers: Vec::new(),
            done: Counts::default(),
        };
        life.done.starts = 1;
        // What the largest policies take is not what is leaked: both halves are filled
        // with them once, and the agent keeps some former ones to tell events by.
        for number in 0..FORMER {
            let (owner, size) = (number % 2, SIZES[SIZES.len() - 1]);
            life.reload(
                Policy {
                    owner,
                    size,
                    ..policy
                },
                &[],
            )?;
        }
        Ok(life)
    }

    /// How often what was done.
    pub const fn counts(&self) -> &Counts {
        &self.done
    }

    /// The binds of those who bind all the time.
    pub const fn binds(&self) -> u64 {
        self.spun
    }

    /// Where it is.
    pub const fn sandbox(&self) -> &'s Sandbox {
        self.sandbox
    }

    /// The agent.
    pub fn agent(&self) -> Result<&Agent<'s>> {
        self.agent.as_ref().context("no agent runs")
    }

    /// What may be done to it, each as often as it is to be.
    pub const fn operations(&self) -> &'static [Operation] {
        if self.restarts { RESTARTED } else { STEADY }
    }

    /// Does it and checks what comes of it.
    pub fn perform(&mut self, operation: Operation, random: &mut Random) -> Result<()> {
        match operation {
            Bind => return binds::one(self.sandbox, self.policy, random),
            Reload => self.reload(Policy::any(random), &[])?,
            BadReload => self.bad_reload()?,
            Obey => self.obey()?,
            Confirm => {
                self.reload(Policy::any(random), &["--confirm", "600"])?;
                self.sandbox.portreeve(&["confirm"])?.ended_with(0)?;
            }
            Expire => self.expire()?,
            Follow => return self.follow(random),
            Ask => return self.ask(random),
            Kill => {
                let agent = self.agent.take().context("no agent runs")?;
                agent.kill()?;
                binds::contended(self.sandbox, self.policy)?;
                self.start()?;
            }
            Restart => {
                let agent = self.agent.take().context("no agent runs")?;
                ensure!(agent.terminate()?.success(), "not a proper end");
                binds::contended(self.sandbox, self.policy)?;
                self.policy.extra = false;
                self.start()?;
            }
        }
        binds::contended(self.sandbox, self.policy)
    }

    fn start(&mut self) -> Result<()> {
        // One whose output nobody reads doesn't notice that the agent is gone.
        self.leave_alone();
        let agent = self.sandbox.agent_again()?.start()?;
        ensure!(agent.ready().contains("taken over"), "{}", agent.ready());
        self.agent = Some(agent);
        self.done.starts += 1;
        Ok(())
    }

    fn reload(&mut self, policy: Policy, arguments: &[&str]) -> Result<()> {
        self.sandbox.set_policy(&policy.profile()?, SETTINGS)?;
        let (code, answer) = self.agent()?.reload(arguments)?;
        ensure_eq!(code, 0, "{answer}");
        ensure_eq!(answer["applied"], true, "{answer}");
        self.policy = policy;
        self.done.changes += 1;
        Ok(())
    }

    fn bad_reload(&mut self) -> Result<()> {
        let sandbox = self.sandbox;
        sandbox.set_policy("PORT\n 4321 TCP WRONG\n 70000 TCP HIGH\n", SETTINGS)?;
        let (code, answer) = self.agent()?.reload(&[])?;
        ensure_eq!(code, 1, "{answer}");
        self.done.refused += 1;
        let policy = Policy {
            extra: false,
            ..self.policy
        };
        sandbox.set_policy(&policy.profile()?, SETTINGS)
    }

    fn obey(&mut self) -> Result<()> {
        let file = self.sandbox.write("extra.tcpip", CHANGE)?;
        let (code, answer) = self.agent()?.obey(&file, &[])?;
        if self.policy.extra {
            // It gives away what is given away already.
            ensure_eq!(code, 1, "{answer}");
            self.done.refused += 1;
            return Ok(());
        }
        ensure_eq!(code, 0, "{answer}");
        self.policy.extra = true;
        self.done.changes += 1;
        Ok(())
    }

    /// A change that nobody confirms, until it is taken back.
    fn expire(&mut self) -> Result<()> {
        let before = self.policy;
        let owner = 1 - before.owner;
        self.reload(Policy { owner, ..before }, &["--confirm", "1"])?;
        self.policy = before;
        let deadline = Instant::now() + patience();
        while !self.agent()?.status()?["pending_confirm"].is_null() {
            ensure!(Instant::now() < deadline, "it is never taken back");
            thread::sleep(Duration::from_millis(50));
        }
        let before = Policy {
            extra: false,
            ..before
        };
        self.sandbox.set_policy(&before.profile()?, SETTINGS)?;
        self.done.changes += 1;
        Ok(())
    }

    fn follow(&mut self, random: &mut Random) -> Result<()> {
        if self.followers.len() == FOLLOWERS || random.below(2) == 0 && !self.followers.is_empty() {
            let gone = random.below(self.followers.len());
            drop(self.followers.swap_remove(gone));
            return Ok(());
        }
        // Some read, and some don't and are left behind.
        let reads = random.below(2) == 0;
        let output = if reads { Stdio::null() } else { Stdio::piped() };
        let follower = Command::new(host::agent()?)
            .env_clear()
            .args(["events", "--follow", "--format", "json"])
            .args(self.sandbox.places())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()?;
        self.followers.push(Follower(follower));
        Ok(())
    }

    fn ask(&mut self, random: &mut Random) -> Result<()> {
        self.done.questions += 1;
        match random.below(5) {
            0 => {
                let status = self.agent()?.status()?;
                let entries = self.policy.entries();
                ensure_eq!(status["profile"]["entries"], entries, "entries");
            }
            1 => {
                let rows = self.agent()?.ports()?;
                ensure_eq!(rows.len(), self.policy.entries(), "rows");
            }
            2 => soon("events", || Ok(!self.agent()?.events()?.is_empty()))?,
            3 => soon("the refused port in `suggest`", || {
                let suggested = self.sandbox.portreeve(&["suggest"])?.ended_with(0)?;
                Ok(suggested.stdout.contains("tcp/4321") || suggested.stdout.contains(" 4321 TCP"))
            })?,
            _ => {
                let port = format!("tcp/{CONTENDED}");
                for (number, job) in OWNERS.iter().enumerate() {
                    let code = i32::from(number != self.policy.owner);
                    let explained = self.sandbox.portreeve(&["explain", &port, "--job", job])?;
                    explained.ended_with(code)?;
                }
            }
        }
        Ok(())
    }

    /// That those who bind all the time were never answered otherwise.
    pub fn check_spinners(&mut self) -> Result<()> {
        let [right, wrong] = self.spinners.as_mut().context("nobody binds")?;
        let (right, wrong) = (right.tally()?, wrong.tally()?);
        ensure!(
            right.refused == 0 && right.other == 0,
            "the right job: {right:?}"
        );
        ensure!(
            wrong.allowed == 0 && wrong.other == 0,
            "the wrong job: {wrong:?}"
        );
        self.spun = right.total() + wrong.total();
        Ok(())
    }

    /// Lets everybody hang up who follows, so that the agent is by itself.
    pub fn leave_alone(&mut self) {
        self.followers.clear();
    }

    /// Ends all of it.
    pub fn end(mut self) -> Result<()> {
        self.leave_alone();
        drop(self.spinners.take());
        self.agent.take().map_or(Ok(()), Agent::kill)
    }
}
