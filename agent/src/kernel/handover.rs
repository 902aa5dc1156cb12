//! Taking over from a set of another layout: the links that are attached are given this
//! agent's programs, which read its own tables, with the same policy in them.
//!
//! A link changes its program in one step, so every bind is judged by the old programs or by
//! the new ones, and what a bind hook notes of a socket both find in the same place. While
//! some links have changed and some have not, both sets are in force, and both say the
//! same.

use std::os::fd::AsFd as _;

use aya::programs::ProgramFd;

use super::{
    KernelError,
    hooks::{cgroup_of, program_of},
    listen,
    map_set::Other,
    pins::Pins,
    sys,
};

/// What is needed to take over, and to give back. Dropped before
/// [`Self::finish`], it gives everything back.
pub(super) struct Handover {
    pins: Pins,
    from: Other,
    /// The programs that the links are to run.
    hooks: Vec<(&'static str, ProgramFd)>,
    /// The program that is to judge at listen.
    judge: Option<ProgramFd>,
    /// What the links ran before, as far as they have changed.
    before: Vec<(&'static str, ProgramFd)>,
    judge_before: Option<ProgramFd>,
    is_finished: bool,
}

impl Handover {
    /// From `from` to `hooks`, each with the name of its link, and `judge`.
    pub fn new(
        pins: &Pins,
        from: Other,
        hooks: Vec<(&'static str, ProgramFd)>,
        judge: Option<ProgramFd>,
    ) -> Self {
        Self {
            pins: pins.clone(),
            from,
            hooks,
            judge,
            before: Vec::new(),
            judge_before: None,
            is_finished: false,
        }
    }

    /// Whose policy is in force until then.
    pub fn from(&self) -> &Other {
        &self.from
    }

    /// Lets the links run the new programs. The policy is in force in the new tables.
    ///
    /// # Errors
    ///
    /// What the kernel says; some links may have changed.
    pub fn switch(&mut self) -> Result<(), KernelError> {
        for (name, program) in &self.hooks {
            // One that the policy doesn't need is gone.
            if cgroup_of(&self.pins, name).is_ok_and(|cgroup| cgroup != 0) {
                self.before
                    .push((name, replace(&self.pins, name, program)?));
            }
        }
        if let Some(judge) = &self.judge {
            self.judge_before = listen::judge_of(&self.pins);
            listen::set_judge(&self.pins, judge)?;
        }
        Ok(())
    }

    /// Takes the old set out of force and removes its pins. Returns how many of
    /// its events nobody has taken in: nobody can any more.
    ///
    /// # Errors
    ///
    /// What the kernel says. The new set is in force all the same.
    pub fn finish(mut self) -> Result<usize, KernelError> {
        self.is_finished = true;
        let sets = self.pins.other_sets()?;
        for set in &sets {
            set.withdraw()?;
        }
        let mut events = 0;
        for set in &sets {
            events += set.drain_events().unwrap_or(0);
            set.remove()?;
        }
        Ok(events)
    }

    fn give_back(&mut self) -> Result<(), KernelError> {
        if let Some(judge) = self.judge_before.take() {
            listen::set_judge(&self.pins, &judge)?;
        }
        while let Some((name, program)) = self.before.pop() {
            replace(&self.pins, name, &program)?;
        }
        let own = self.pins.own_set();
        own.withdraw()?;
        own.remove()
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        match self.give_back() {
            Ok(()) => log::warn!(
                "the policy stays in force as portreeve {} with map layout {} loaded it",
                self.from.agent,
                self.from.abi
            ),
            // The same policy is in force either way.
            Err(error) => log::error!("what was taken over can't be given back: {error}"),
        }
    }
}

/// Lets link `name` run `program`; returns the one it ran before.
fn replace(pins: &Pins, name: &'static str, program: &ProgramFd) -> Result<ProgramFd, KernelError> {
    let failed = || KernelError::io(format!("can't replace the program of hook {name}"));
    let before = program_of(pins, name)?;
    let link = sys::open_pin(&pins.link(name)).map_err(failed())?;
    sys::replace_program(link.as_fd(), program.as_fd()).map_err(failed())?;
    Ok(before)
}
