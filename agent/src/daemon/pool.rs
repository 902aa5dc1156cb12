//! The agent's side of the kernel's pool of ports: it follows the policy in force,
//! and what others undo is noticed, told and mended.

use super::{
    agent::now,
    protocol::{PoolDropped, PoolStatus},
};
use crate::{
    kernel::{
        KernelError,
        pool::{Dropped, Pool, Recorded},
        sysctl::{self, PortSettings},
    },
    policy::{bits::PortBits, pool::Kept},
};

/// The pool, and what became of it lately.
pub struct PoolKeeper {
    pool: Pool,
    dropped: Option<PoolDropped>,
    /// Why what is not wanted any more could not be given back.
    unsettled: Option<String>,
}

impl PoolKeeper {
    /// The keeper of `pool`.
    pub fn new(pool: Pool) -> Self {
        Self {
            pool,
            dropped: None,
            unsettled: None,
        }
    }

    /// What the record says.
    pub fn recorded(&self) -> Recorded {
        self.pool.recorded()
    }

    /// Makes the kernel hand out nothing of `kept`, whatever else it keeps back.
    ///
    /// # Errors
    ///
    /// See [`Pool::admit`].
    pub fn admit(&self, kept: Option<&Kept>) -> Result<(), KernelError> {
        kept.map_or(Ok(()), |kept| self.pool.admit(kept))
    }

    /// Gives back what `kept`, which is in force, doesn't ask for. What can't be
    /// given back now is tried again later: the policy holds all the same.
    pub fn settle(&mut self, kept: Option<&Kept>) {
        let problem = self.pool.release(kept).err();
        let problem = problem.map(|error| error.to_string());
        if let Some(problem) = problem.as_ref().filter(|_| problem != self.unsettled) {
            log::warn!("{problem}");
        }
        self.unsettled = problem;
    }

    /// Follows `kept`, which is in force, again, after something else did not come
    /// into force.
    pub fn back_to(&mut self, kept: Option<&Kept>) {
        if let Err(error) = self.admit(kept) {
            log::error!("{error}");
        }
        self.settle(kept);
    }

    /// Mends what others have undone since.
    pub fn tend(&mut self, kept: Option<&Kept>) {
        if self.unsettled.is_some() {
            self.settle(kept);
        }
        let Some(kept) = kept else {
            return;
        };
        let (dropped, problem) = match self.pool.dropped(kept) {
            Ok(dropped) if dropped.is_nothing() => return self.is_mended(),
            Ok(dropped) => {
                let problem = self.pool.admit(kept).err();
                (dropped, problem)
            }
            Err(error) => (Dropped::default(), Some(error)),
        };
        self.note(&dropped, problem.map(|error| error.to_string()));
    }

    /// Somebody else may have put it right.
    fn is_mended(&mut self) {
        if let Some(dropped) = &mut self.dropped {
            dropped.problem = None;
        }
    }

    fn note(&mut self, dropped: &Dropped, problem: Option<String>) {
        let before = self.dropped.take();
        let known = before.as_ref().and_then(|before| before.problem.as_ref());
        match &problem {
            None => log::warn!("{}; that is put right", told(dropped)),
            // It is not news each time.
            Some(problem) if known == Some(problem) => {}
            Some(problem) => log::error!("{}: {problem}", told(dropped)),
        }
        self.dropped = Some(PoolDropped {
            at: now(),
            ports: dropped.ports.to_string(),
            range: dropped.range,
            times: before.map_or(0, |before| before.times) + 1,
            problem,
        });
    }

    /// What others undid last.
    pub fn dropped(&self) -> Option<PoolDropped> {
        self.dropped.clone()
    }

    /// What is not as it should be.
    pub fn problem(&self) -> Option<String> {
        let dropped = self.dropped.as_ref();
        let problem = dropped.and_then(|dropped| dropped.problem.as_ref());
        let problem = problem.or(self.unsettled.as_ref());
        problem.map(|problem| format!("port 0: {problem}"))
    }
}

/// What somebody did.
fn told(dropped: &Dropped) -> String {
    let ports = || {
        format!(
            "somebody took {} reserved ports ({}) out of {}",
            dropped.ports.len(),
            short(&dropped.ports),
            sysctl::RESERVED
        )
    };
    match dropped.range {
        None if dropped.ports.is_empty() => format!("{} is not known", sysctl::RESERVED),
        None => ports(),
        Some((first, last)) => {
            let range = format!("somebody set {} to {first}-{last}", sysctl::RANGE);
            match dropped.ports.is_empty() {
                true => range,
                false => format!("{range}, and {}", ports()),
            }
        }
    }
}

/// A list that fits into a sentence.
pub fn short(ports: &PortBits) -> String {
    const MOST: usize = 12;
    let some: PortBits = ports.ranges().take(MOST).collect();
    let more = match ports.ranges().nth(MOST) {
        Some(_) => ",...",
        None => "",
    };
    format!("{some}{more}")
}

/// How the pool is, as far as it can be told from the calling process's network
/// namespace.
pub fn held_status(recorded: &Recorded) -> PoolStatus {
    let settings = PortSettings::of_host();
    let range = settings
        .ephemeral
        .filter(|_| recorded.here || !recorded.managed);
    PoolStatus {
        managed: recorded.managed,
        range,
        range_before: recorded.range.map(|change| change.before),
        added: recorded.added.to_string(),
        free: range.map(|range| {
            let all = PortBits::from_iter([range]);
            all.minus(&settings.kept_out).len()
        }),
        dropped: None,
    }
}
