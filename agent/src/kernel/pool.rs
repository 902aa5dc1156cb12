//! Keeping reserved ports out of the ports that the kernel hands out, so that it
//! can be undone.
//!
//! `ip_local_reserved_ports` is one list per network namespace, for TCP and UDP,
//! and belongs to everybody. Ports are added to what is there, and those that were
//! not there before are recorded in a pinned map first. Whoever ends enforcement
//! takes exactly those out of the value of the day. What others write meanwhile
//! stays, but for a list that is written in the very moment between our reading
//! and our replacing it: the kernel has no way to take a port out.

use std::{io, path::Path, sync::atomic::Ordering};

use portreeve_common::abi::{
    names,
    pool::{ADDED, NETNS, NEXT, RANGE, RANGE_BEFORE, REPLACING, RangeChange, WORDS},
};

use super::{
    KernelError,
    mapping::Mapping,
    netns,
    pins::Pins,
    sysctl::{self, PortSettings},
    tables,
};
use crate::policy::{
    bits::{self, PortBits},
    pool::Kept,
};

/// How often a change is tried that others undo.
const TRIES: u32 = 5;

/// The pool of the calling process's network namespace, and the record of what was
/// changed in it.
#[derive(Debug)]
pub struct Pool {
    pins: Pins,
    record: Mapping<u64>,
}

/// What was to be kept and isn't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Reserved ports that are not in the list.
    pub ports: PortBits,
    /// The range that is in the place of the one asked for.
    pub range: Option<(u16, u16)>,
}

impl Dropped {
    /// Whether all is as it should be.
    pub fn is_nothing(&self) -> bool {
        self.ports.is_empty() && self.range.is_none()
    }
}

/// What the record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Whether the pool is managed.
    pub managed: bool,
    /// Whether it is the pool of the calling process's network namespace.
    pub here: bool,
    /// The ports that were added to the list.
    pub added: PortBits,
    /// What was done to the range.
    pub range: Option<RangeChange>,
}

impl Pool {
    /// The pool whose record is pinned at `pins`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if there is none, or it is not as this agent makes it.
    pub fn open(pins: &Pins) -> Result<Self, KernelError> {
        let record = tables::map(pins, names::POOL, WORDS)?;
        let pins = pins.clone();
        Ok(Self { pins, record })
    }

    /// What the record says.
    pub fn recorded(&self) -> Recorded {
        let namespace = self.word(NETNS);
        Recorded {
            managed: namespace != 0,
            here: netns::own().is_ok_and(|own| own == namespace),
            added: self.set(ADDED),
            range: RangeChange::from_word(self.word(RANGE)),
        }
    }

    /// Makes the kernel hand out nothing of `kept`. What it keeps back for an
    /// earlier policy stays so until [`Self::release`].
    ///
    /// # Errors
    ///
    /// [`KernelError::Pool`]; what was added until then is recorded.
    pub fn admit(&self, kept: &Kept) -> Result<(), KernelError> {
        self.claim()
            .and_then(|()| self.add(&kept.ports))
            .and_then(|()| kept.range.map_or(Ok(()), |range| self.set_range(range)))
            .map_err(|error| KernelError::Pool {
                message: error.to_string(),
            })
    }

    /// Gives back what `kept` doesn't ask for; without it, everything.
    ///
    /// # Errors
    ///
    /// [`KernelError::PoolNotRestored`]; the record says what is left.
    pub fn release(&self, kept: Option<&Kept>) -> Result<(), KernelError> {
        let none = PortBits::default();
        let ports = kept.map_or(&none, |kept| &kept.ports);
        let done = self.in_its_namespace(|pool| {
            if kept.is_none_or(|kept| kept.range.is_none()) {
                pool.restore_range()?;
            }
            pool.subtract(ports)
        });
        done.map_err(|error| KernelError::PoolNotRestored {
            message: error.to_string(),
        })?;
        if kept.is_none() {
            self.store(NETNS, 0);
        }
        Ok(())
    }

    /// What others have taken out of `kept` meanwhile.
    ///
    /// # Errors
    ///
    /// [`KernelError::Pool`] if it can't be read.
    pub fn dropped(&self, kept: &Kept) -> Result<Dropped, KernelError> {
        let look = || -> io::Result<Dropped> {
            let range = match kept.range {
                Some(asked) => Some(read_range()?).filter(|found| *found != asked),
                None => None,
            };
            Ok(Dropped {
                ports: kept.ports.minus(&read_list()?),
                range,
            })
        };
        look().map_err(|error| KernelError::Pool {
            message: error.to_string(),
        })
    }

    /// Makes the record that of this thread's network namespace. What is recorded
    /// of another one is set back there.
    fn claim(&self) -> io::Result<()> {
        let own = netns::own()?;
        if self.word(NETNS) != own {
            self.in_its_namespace(|pool| {
                pool.restore_range()?;
                pool.subtract(&PortBits::default())
            })?;
            self.store(NETNS, own);
        }
        self.finish_replacing()
    }

    fn add(&self, ports: &PortBits) -> io::Result<()> {
        for _ in 0..TRIES {
            let list = read_list()?;
            let lacking = ports.minus(&list);
            // What somebody took out of the list is not ours any more, should
            // somebody put it there again.
            let added = self.set(ADDED).and(&list).or(&lacking);
            self.store_set(ADDED, &added);
            if lacking.is_empty() {
                return Ok(());
            }
            sysctl::add_reserved_ports(&lacking).map_err(writing(sysctl::RESERVED))?;
        }
        let lacking = ports.minus(&read_list()?);
        unless_undone(lacking.is_empty(), sysctl::RESERVED)
    }

    /// Takes out of the list what was added and is not in `keep`.
    fn subtract(&self, keep: &PortBits) -> io::Result<()> {
        self.finish_replacing()?;
        if self.set(ADDED).is_empty() {
            return Ok(());
        }
        for _ in 0..TRIES {
            let list = read_list()?;
            let added = self.set(ADDED).and(&list);
            let surplus = added.minus(keep);
            if surplus.is_empty() {
                self.store_set(ADDED, &added);
                return Ok(());
            }
            self.replace(&list.minus(&surplus))?;
        }
        let surplus = self.set(ADDED).and(&read_list()?).minus(keep);
        unless_undone(surplus.is_empty(), sysctl::RESERVED)
    }

    /// Replaces the list. A long one takes several writes; whoever comes after an
    /// agent that is killed between two finds the rest in the record.
    fn replace(&self, list: &PortBits) -> io::Result<()> {
        self.store_set(NEXT, list);
        self.store(REPLACING, 1);
        let replaced = sysctl::replace_reserved_ports(list).map_err(writing(sysctl::RESERVED));
        if replaced.is_err() {
            // As far as it got; all of it was in the list before.
            self.finish_replacing()?;
        }
        self.store(REPLACING, 0);
        replaced
    }

    fn finish_replacing(&self) -> io::Result<()> {
        if self.word(REPLACING) != 0 {
            let list = self.set(NEXT);
            sysctl::add_reserved_ports(&list).map_err(writing(sysctl::RESERVED))?;
            self.store(REPLACING, 0);
        }
        Ok(())
    }

    fn set_range(&self, range: (u16, u16)) -> io::Result<()> {
        for _ in 0..TRIES {
            let found = read_range()?;
            let ours = self.range_change(found);
            if found == range {
                return Ok(());
            }
            let before = ours.map_or(found, |change| change.before);
            let change = RangeChange {
                before,
                since: range,
            };
            self.store(RANGE_BEFORE, ours.map_or(0, RangeChange::word));
            self.store(RANGE, change.word());
            let written = sysctl::set_port_range(range);
            if written.is_err() {
                self.store(RANGE, ours.map_or(0, RangeChange::word));
            }
            self.store(RANGE_BEFORE, 0);
            written.map_err(|error| refused_range(range, error))?;
        }
        unless_undone(read_range()? == range, sysctl::RANGE)
    }

    /// Sets the range back, unless somebody else has set another one since.
    fn restore_range(&self) -> io::Result<()> {
        if self.word(RANGE) == 0 {
            return Ok(());
        }
        for _ in 0..TRIES {
            let found = read_range()?;
            match self.range_change(found) {
                Some(change) if change.before != found => {
                    sysctl::set_port_range(change.before).map_err(writing(sysctl::RANGE))?;
                }
                _ => {
                    self.store(RANGE, 0);
                    self.store(RANGE_BEFORE, 0);
                    return Ok(());
                }
            }
        }
        unless_undone(self.range_change(read_range()?).is_none(), sysctl::RANGE)
    }

    /// The recorded change that made the range what it is now.
    fn range_change(&self, found: (u16, u16)) -> Option<RangeChange> {
        [RANGE, RANGE_BEFORE]
            .into_iter()
            .filter_map(|index| RangeChange::from_word(self.word(index)))
            .find(|change| change.since == found)
    }

    /// Does `work` in the network namespace that is recorded. If no process and no
    /// name leads there, it is gone, and its pool with it.
    fn in_its_namespace(
        &self,
        work: impl FnOnce(&Self) -> io::Result<()> + Send,
    ) -> io::Result<()> {
        let namespace = self.word(NETNS);
        if namespace == 0 {
            return Ok(());
        }
        if netns::own()? == namespace {
            return work(self);
        }
        let pins = &self.pins;
        let there = move || work(&Self::open(pins).map_err(io::Error::other)?);
        netns::in_namespace(namespace, there).unwrap_or_else(|| {
            self.store_set(ADDED, &PortBits::default());
            for index in [RANGE, RANGE_BEFORE, REPLACING] {
                self.store(index, 0);
            }
            Ok(())
        })
    }

    fn word(&self, index: u32) -> u64 {
        self.record.atomic(index).load(Ordering::Acquire)
    }

    fn store(&self, index: u32, word: u64) {
        self.record.atomic(index).store(word, Ordering::Release);
    }

    fn set(&self, start: u32) -> PortBits {
        PortBits::from_words(|index| self.word(start + index as u32))
    }

    fn store_set(&self, start: u32, ports: &PortBits) {
        for index in 0..bits::WORDS {
            self.store(start + index as u32, ports.word(index));
        }
    }
}

/// The host's settings as they would be without what is recorded at `bpffs`, if
/// that can be read.
pub fn settings_without_ours(bpffs: &Path) -> PortSettings {
    let mut settings = PortSettings::of_host();
    let Ok(recorded) = Pool::open(&Pins::new(bpffs)).map(|pool| pool.recorded()) else {
        return settings;
    };
    if recorded.here {
        settings.kept_out = settings.kept_out.minus(&recorded.added);
        if let Some(change) = recorded.range
            && settings.ephemeral == Some(change.since)
        {
            settings.ephemeral = Some(change.before);
        }
    }
    settings
}

fn read_list() -> io::Result<PortBits> {
    sysctl::reserved_ports().map_err(doing("read", sysctl::RESERVED))
}

fn read_range() -> io::Result<(u16, u16)> {
    sysctl::port_range().map_err(doing("read", sysctl::RANGE))
}

fn refused_range((first, last): (u16, u16), error: io::Error) -> io::Error {
    let writing = writing(sysctl::RANGE)(error);
    match writing.kind() {
        io::ErrorKind::InvalidInput => io::Error::other(format!(
            "{writing}; {first}-{last} must not begin below net.ipv4.ip_unprivileged_port_start"
        )),
        _ => writing,
    }
}

fn writing(name: &'static str) -> impl Fn(io::Error) -> io::Error {
    doing("write", name)
}

fn doing(what: &'static str, name: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("can't {what} {name}: {error}"))
}

/// An error unless the change `sticks`.
fn unless_undone(sticks: bool, name: &str) -> io::Result<()> {
    match sticks {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "somebody else sets {name} again each time it is changed"
        ))),
    }
}
