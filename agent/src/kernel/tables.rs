//! Publishing: fill the idle half of every table, then name it in one store.

use std::{
    cell::Cell,
    collections::HashSet,
    sync::atomic::Ordering,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use portreeve_common::abi::{
    self, ABI_VERSION, Active, BindAddress, Entry, Generation, HANDOVER, Info, MAX_ADDRESSES,
    MAX_ENTRIES, MAX_GLOBS, MAX_MATCHERS, Matcher, Mode, PATH_LEN, PROTOCOLS, SLOTS, Slot,
    Unreserved, VERSION_LEN, names,
};
use portreeve_common::jobname::Glob;

use super::{
    KernelError,
    job_tables::JobTables,
    mapping::{Element, Mapping},
    pins::Pins,
    refusals,
    sys::Grace,
};
use crate::policy::{
    identity::{JobImage, exes::Inode},
    image::Image,
    pairs::Stretch,
};

/// What a publication is of, besides its tables.
#[derive(Clone, Debug)]
pub struct Publication<'a> {
    /// The tables.
    pub image: &'a Image,
    /// How the programs recognise defined jobs, with the executables as they are now.
    pub jobs: &'a JobImage,
    /// Whether refusals are made or only reported.
    pub mode: Mode,
    /// Entries of `image` that are in audit though the policy isn't, on one of their ports
    /// at least.
    pub audited: u32,
    /// Whether permitted and unreserved binds make events too.
    pub report_all: bool,
    /// Whether `SO_REUSEPORT` stays where an application sets it.
    pub same_job_shares: bool,
    /// Whether the agent keeps reserved ports out of the kernel's pool.
    pub keeps_pool: bool,
    /// Path of the profile.
    pub profile: &'a str,
    /// SHA-256 of the profile as read.
    pub profile_hash: [u8; 32],
    /// What tells the policy from every other.
    pub policy_hash: [u8; 32],
    /// Entries that are in force now and stay. Their refusal counts go on.
    pub kept: &'a [Stretch],
}

/// A publication that was made.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// What is in force now.
    pub active: Active,
    /// When that was named.
    pub at: Instant,
    /// Waiting for binds that were being judged, before the first write.
    pub waited: Duration,
    /// Filling the idle half, up to the store that names it.
    pub fill: Duration,
    /// Waiting for binds that were being judged, after it.
    pub grace: Duration,
}

impl Published {
    /// How long it took, all in all.
    pub fn duration(&self) -> Duration {
        self.waited + self.fill + self.grace
    }
}

/// The pinned tables, mapped for writing. Only the holder of the pins' lock has one.
#[derive(Debug)]
pub struct Tables {
    active: Mapping<u64>,
    info: Mapping<Info>,
    slots: Mapping<Slot>,
    entries: Mapping<Entry>,
    matchers: Mapping<Matcher>,
    globs: Mapping<Glob>,
    unreserved: Mapping<Unreserved>,
    addresses: Mapping<BindAddress>,
    jobs: JobTables,
    refusals: Mapping<u64>,
    selftest: Mapping<u64>,
    grace: Grace,
    /// Whether no program can still be reading the idle half.
    idle_is_quiet: bool,
    /// What this agent put in force: the word, what filled its half, and what tells the
    /// policy from every other.
    published: Cell<Option<(Active, Generation, [u8; 32])>>,
    /// The number of the last publication in a set of another layout.
    continues: u32,
}

impl Tables {
    /// Maps the tables pinned at `pins`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if one is not as this agent makes it.
    pub fn open(pins: &Pins) -> Result<Self, KernelError> {
        Ok(Self {
            active: map(pins, names::ACTIVE, 1)?,
            info: map(pins, names::INFO, 1)?,
            slots: map(pins, names::SLOTS, 2 * SLOTS)?,
            entries: map(pins, names::ENTRIES, 2 * MAX_ENTRIES)?,
            matchers: map(pins, names::MATCHERS, 2 * MAX_MATCHERS)?,
            globs: map(pins, names::GLOBS, 2 * MAX_GLOBS)?,
            unreserved: map(pins, names::UNRESERVED, 2 * PROTOCOLS)?,
            addresses: map(pins, names::ADDRESSES, 2 * MAX_ADDRESSES)?,
            jobs: JobTables::open(pins)?,
            refusals: map(pins, names::REFUSALS, 2 * MAX_ENTRIES)?,
            selftest: map(pins, names::SELFTEST, 2)?,
            grace: Grace::new().map_err(KernelError::io("can't make the maps to wait on"))?,
            // A predecessor may have died right after its last publication.
            idle_is_quiet: false,
            published: Cell::new(None),
            continues: 0,
        })
    }

    /// Lets publications be numbered on from `generation`, that of another set.
    pub fn go_on_from(&mut self, generation: u32) {
        self.continues = generation;
    }

    /// What is in force.
    pub fn active(&self) -> Active {
        Active::from_word(self.active.atomic(0).load(Ordering::Acquire))
    }

    /// What tells the policy in force from every other; zeros if there is none.
    pub fn policy_hash(&self) -> [u8; 32] {
        match self.active() {
            Active::NONE => [0; 32],
            active => self.info().head.policy_hashes[active.half() as usize],
        }
    }

    /// What the maps are and who filled them.
    pub fn info(&self) -> Info {
        self.info.read(0)
    }

    /// Declares the set of maps and hooks complete, so that a later agent adopts it.
    pub fn complete(&self, scope_netns: u64) {
        let mut info = self.info.read(0);
        info.head.abi = ABI_VERSION;
        info.head.handover = HANDOVER;
        info.scope_netns = scope_netns;
        info.head.agent = padded::<VERSION_LEN>(env!("CARGO_PKG_VERSION"));
        self.info.write(0, &[info]);
    }

    /// Puts a policy in force: every bind that begins after the call is judged by
    /// it, every one before by its predecessor, and none by a mix.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if the image exceeds a limit of [`portreeve_common::abi`]
    /// or the kernel has no memory for it, [`KernelError::Io`] if the kernel doesn't
    /// let us wait; then what is in force still is.
    pub fn publish(&mut self, publication: &Publication<'_>) -> Result<Published, KernelError> {
        let image = publication.image;
        within(names::SLOTS, image.slots.len(), SLOTS)?;
        within(names::ENTRIES, image.entries.len(), MAX_ENTRIES)?;
        within(names::MATCHERS, image.matchers.len(), MAX_MATCHERS)?;
        within(names::GLOBS, image.globs.len(), MAX_GLOBS)?;
        within(names::ADDRESSES, image.addresses.len(), MAX_ADDRESSES)?;
        self.jobs.check(publication.jobs, image)?;
        self.put_back();
        let waiting = Instant::now();
        self.wait_for_idle_half()?;
        let waited = waiting.elapsed();
        let filling = Instant::now();

        let before = self.active();
        let half = match before {
            Active::NONE => 0,
            active => 1 - active.half(),
        };
        let last = match self.published.get() {
            Some((active, ..)) => active.generation(),
            None => before.generation().max(self.last_number()),
        };
        let number = last.max(self.continues).saturating_add(1);
        // What can fail comes first.
        self.jobs.fill(half, publication.jobs, image)?;
        self.slots.write(half * SLOTS, &image.slots);
        self.entries.write(half * MAX_ENTRIES, &image.entries);
        self.matchers.write(half * MAX_MATCHERS, &image.matchers);
        self.globs.write(half * MAX_GLOBS, &image.globs);
        self.unreserved.write(half * PROTOCOLS, &image.unreserved);
        self.addresses.write(half * MAX_ADDRESSES, &image.addresses);
        let carried = refusals::carry(&self.refusals, before, half, publication);

        let mut info = self.info.read(0);
        // Somebody else may have written it.
        info.head.abi = ABI_VERSION;
        info.head.handover = HANDOVER;
        info.head.policy_hashes[half as usize] = publication.policy_hash;
        let generation = Generation {
            published: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            profile_hash: publication.profile_hash,
            profile: padded_tail(publication.profile),
            entries: image.entries.len() as u32,
            audited: publication.audited,
            number,
            reserved: 0,
        };
        info.halves[half as usize] = generation;
        self.info.write(0, &[info]);

        let mut active = Active::new(number, half, publication.mode, publication.report_all);
        if publication.same_job_shares {
            active = active.leaving_sharing();
        }
        if publication.keeps_pool {
            active = active.keeping_pool();
        }
        self.active
            .atomic(0)
            .store(active.word(), Ordering::Release);
        self.idle_is_quiet = false;
        let (at, fill) = (Instant::now(), filling.elapsed());
        self.published
            .set(Some((active, generation, publication.policy_hash)));

        // From here on the new policy is in force; waiting now makes the next
        // publication quick and the carried counts exact.
        let waiting = Instant::now();
        let is_quiet = self.wait_for_idle_half().is_ok();
        let grace = waiting.elapsed();
        if is_quiet {
            refusals::add_late(&self.refusals, before, half, publication, &carried);
        }
        Ok(Published {
            active,
            at,
            waited,
            fill,
            grace,
        })
    }

    /// How what is in force differs from what this agent put there; `None` if it
    /// doesn't. Of the tables that are in force only their description is compared.
    pub fn altered(&self) -> Option<String> {
        let (active, generation, hash) = self.published.get()?;
        let (found, info) = (self.active(), self.info());
        let name = |active: Active| match active.mode() {
            Some(mode) => format!(
                "generation {} in half {} in mode {}",
                active.generation(),
                active.half(),
                mode.name()
            ),
            None => "nothing".to_owned(),
        };
        if found != active {
            let (found, ours) = (name(found), name(active));
            return Some(match found == ours {
                true => format!("{} was changed", names::ACTIVE),
                false => format!("{} names {found}, not {ours}", names::ACTIVE),
            });
        }
        let half = active.half() as usize;
        let described = (info.halves[half], info.head.policy_hashes[half]);
        if info.head.abi != ABI_VERSION || described != (generation, hash) {
            return Some(format!(
                "{} describes something else than generation {}",
                names::INFO,
                generation.number
            ));
        }
        None
    }

    /// Puts in force again what this agent had put there, should somebody have named
    /// something else: which half is the idle one goes by it.
    fn put_back(&mut self) {
        if let Some((active, ..)) = self.published.get()
            && self.active() != active
        {
            self.active
                .atomic(0)
                .store(active.word(), Ordering::Release);
            self.idle_is_quiet = false;
        }
    }

    /// Takes the policy out of force, for all hooks at once.
    pub fn withdraw(&self) {
        self.published.set(None);
        self.active
            .atomic(0)
            .store(Active::NONE.word(), Ordering::Release);
    }

    /// The executables that the policy in force recognises.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if they can't be read.
    pub fn executables(&self) -> Result<HashSet<Inode>, KernelError> {
        match self.active() {
            Active::NONE => Ok(HashSet::new()),
            active => self.jobs.executables(active.half()),
        }
    }

    /// Refusals made by entry `index` of the policy in force.
    pub fn refusals(&self, index: u32) -> u64 {
        if index >= MAX_ENTRIES {
            return 0;
        }
        let word = self.active().half() * MAX_ENTRIES + index;
        self.refusals.atomic(word).load(Ordering::Relaxed)
    }

    /// Cookie of the self-test's socket that a hook has seen last.
    pub fn seen_selftest(&self) -> u64 {
        self.selftest.atomic(1).load(Ordering::Acquire)
    }

    /// Names the socket whose bind is the self-test; 0 for none.
    pub fn expect_selftest(&self, cookie: u64) {
        self.selftest.atomic(0).store(cookie, Ordering::Release);
    }

    /// The highest number that was ever published, also if withdrawn since.
    fn last_number(&self) -> u32 {
        let [first, second] = self.info.read(0).halves;
        first.number.max(second.number)
    }

    fn wait_for_idle_half(&mut self) -> Result<(), KernelError> {
        if !self.idle_is_quiet {
            self.grace.wait().map_err(KernelError::io(
                "can't wait for binds that are being judged",
            ))?;
            self.idle_is_quiet = true;
        }
        Ok(())
    }
}

pub(super) fn within(map: &'static str, count: usize, limit: u32) -> Result<(), KernelError> {
    if count <= limit as usize {
        return Ok(());
    }
    Err(KernelError::Map {
        map,
        message: format!("the policy has {count} elements for it, and its limit is {limit}"),
    })
}

pub(super) fn map<T: Element>(
    pins: &Pins,
    name: &'static str,
    elements: u32,
) -> Result<Mapping<T>, KernelError> {
    let failed = |message: String| KernelError::Map { map: name, message };
    let map = aya::maps::MapData::from_pin(pins.map(name))
        .map_err(|error| failed(super::error::chain(&error)))?;
    let info = map
        .info()
        .map_err(|error| failed(super::error::chain(&error)))?;
    if info.value_size() as usize != size_of::<T>() || info.max_entries() != elements {
        return Err(failed(format!(
            "it has {} elements of {} bytes, not {elements} of {}",
            info.max_entries(),
            info.value_size(),
            size_of::<T>()
        )));
    }
    Mapping::new(map.fd(), elements, true).map_err(|error| failed(error.to_string()))
}

/// `text` padded with NULs, cut at the end if need be.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let length = text.len().min(N);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    bytes
}

/// A path padded with NULs, cut at the front if need be: its end says more.
fn padded_tail(path: &str) -> [u8; PATH_LEN] {
    let start = path.len().saturating_sub(PATH_LEN);
    let mut bytes = [0; PATH_LEN];
    let tail = &path.as_bytes()[start..];
    bytes[..tail.len()].copy_from_slice(tail);
    bytes
}

/// The text in a NUL-padded field.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The generation that `active` names.
pub fn generation_in_force(info: &Info, active: Active) -> Option<Generation> {
    active
        .mode()
        .map(|_: Mode| info.halves[active.half() as usize])
}

// An entry index in an event must fit the table it is looked up in.
const _: () = assert!(MAX_ENTRIES < abi::NO_ENTRY);
