//! Keeps the hooks attached and everything pinned while an agent runs.
//!
//! It holds every link and every map itself. So a pin that somebody removes detaches
//! nothing, and what somebody detaches is attached again: never beside a link that is
//! alive, so that no bind is judged or counted twice.

use std::{
    fs, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use aya::{maps::MapData, programs::ProgramFd};
use portreeve_common::abi::names;

use super::{
    KernelError,
    cgroup::AttachPoint,
    error::chain,
    listened::Listened,
    pins::{Lock, Pins},
    sys::{self, LinkTarget},
};

/// Something of ours that was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// What: a hook, the maps, the cgroup.
    pub of: String,
    /// What became of it.
    pub found: String,
    /// What was done about it, or what keeps it from being mended.
    pub mended: Result<String, String>,
}

/// A program on a cgroup, to be attached again.
pub(super) struct OnCgroup {
    /// The program.
    pub program: ProgramFd,
    /// Its id.
    pub id: u32,
    /// Which hook it is for, as bpf(2) numbers them.
    pub attach_type: u32,
}

impl OnCgroup {
    /// The same program by a descriptor of its own.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            program: self.program.try_clone()?,
            ..*self
        })
    }

    /// What somebody did to the link by which it is attached, which now is about `target`.
    pub fn deed(&self, target: LinkTarget) -> Option<Deed> {
        match target {
            LinkTarget { cgroup: 0, .. } => Some(Deed::Detached),
            LinkTarget { program, .. } if program != self.id => Some(Deed::OtherProgram),
            _ => None,
        }
    }

    /// Attaches it to `attach` again, or lets `link` run it again.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn undo(&self, deed: &Deed, link: &mut OwnedFd, attach: &AttachPoint) -> io::Result<()> {
        let program = self.program.as_fd();
        match deed {
            Deed::OtherProgram => sys::replace_program(link.as_fd(), program)?,
            // The old link judges nothing any more and never will again.
            _ => *link = sys::attach(program, attach.directory().as_fd(), self.attach_type)?,
        }
        Ok(())
    }
}

/// A link that is pinned and held.
pub(super) struct KeptLink {
    name: &'static str,
    link: OwnedFd,
    /// `None` of a hook that can't be detached as long as its link is held.
    on: Option<OnCgroup>,
}

/// What somebody did to a link.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Detached,
    OtherProgram,
    Unpinned,
    OtherPin,
}

impl Deed {
    /// In words.
    pub const fn found(&self) -> &'static str {
        match self {
            Self::Detached => "somebody detached it",
            Self::OtherProgram => "somebody let it run another program",
            Self::Unpinned => "somebody removed its pin",
            Self::OtherPin => "somebody put something else in the place of its pin",
        }
    }

    /// What was done about it, in words.
    pub const fn mended(&self) -> &'static str {
        match self {
            Self::Detached => "attached again",
            Self::OtherProgram => "ours runs again",
            Self::Unpinned | Self::OtherPin => "pinned again",
        }
    }
}

impl KeptLink {
    /// Holds the link that is pinned for hook `name`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Io`] if it can't be opened.
    pub fn hold(
        name: &'static str,
        pins: &Pins,
        on: Option<OnCgroup>,
    ) -> Result<Self, KernelError> {
        let path = pins.link(name);
        let link = sys::open_pin(&path)
            .map_err(KernelError::io(format!("can't open {}", path.display())))?;
        Ok(Self { name, link, on })
    }

    /// What somebody did to it that still is so.
    fn deed(&self, pins: &Pins) -> io::Result<Option<Deed>> {
        let target = sys::link_target(self.link.as_fd())?;
        let on = self.on.as_ref();
        if let Some(deed) = on.and_then(|on| on.deed(target)) {
            return Ok(Some(deed));
        }
        Ok(match pinned(&pins.link(self.name)) {
            Ok(found) if found == target => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Deed::Unpinned),
            Ok(_) | Err(_) => Some(Deed::OtherPin),
        })
    }

    fn undo(&mut self, deed: &Deed, pins: &Pins, attach: &AttachPoint) -> io::Result<()> {
        match (deed, &self.on) {
            (Deed::Detached | Deed::OtherProgram, Some(on)) => {
                on.undo(deed, &mut self.link, attach)
            }
            _ => pin_over(self.link.as_fd(), &pins.link(self.name)),
        }
    }

    /// Looks whether it is as it should be, and mends what isn't.
    pub fn tend(&mut self, pins: &Pins, attach: &AttachPoint) -> Option<Lapse> {
        let mut deeds: Vec<Deed> = Vec::new();
        let problem = loop {
            let deed = match self.deed(pins) {
                Ok(None) => break None,
                Ok(Some(deed)) => deed,
                Err(error) => break Some(format!("it can't be looked at: {error}")),
            };
            // A new link has to be pinned too, in the place of the one before.
            if deeds.contains(&deed) {
                break Some("somebody does it again at once".to_owned());
            }
            let undone = self.undo(&deed, pins, attach);
            deeds.push(deed);
            if let Err(error) = undone {
                break Some(error.to_string());
            }
        };
        let first = deeds.first();
        if first.is_none() && problem.is_none() {
            return None;
        }
        Some(Lapse {
            of: format!("hook {}", self.name),
            found: first.map_or("unknown", Deed::found).to_owned(),
            mended: match problem {
                None => Ok(first.map_or("", Deed::mended).to_owned()),
                Some(problem) => Err(problem),
            },
        })
    }

    /// Lets nothing be judged by it any more when this returns, if that can be had.
    pub fn detach(&self) {
        let _ = sys::detach(self.link.as_fd());
    }
}

fn pinned(path: &Path) -> io::Result<LinkTarget> {
    sys::link_target(sys::open_pin(path)?.as_fd())
}

/// Pins `object` at `path`, in one step in the place of what is there.
fn pin_over(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    match sys::pin(object, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut beside = path.as_os_str().to_owned();
            beside.push("-new");
            let beside = Path::new(&beside);
            // Left by an agent that was killed between the next two steps.
            let _ = fs::remove_file(beside);
            sys::pin(object, beside)?;
            fs::rename(beside, path).inspect_err(|_| {
                let _ = fs::remove_file(beside);
            })
        }
        done => done,
    }
}

/// All that is pinned, and the right to change it.
pub(super) struct Keeper {
    pins: Pins,
    lock: Lock,
    links: Vec<KeptLink>,
    maps: Vec<(&'static str, MapData)>,
}

impl Keeper {
    /// Keeps `links` and every map that is pinned at `pins`, which `lock` is the lock of.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if one can't be opened.
    pub fn new(pins: &Pins, lock: Lock, links: Vec<KeptLink>) -> Result<Self, KernelError> {
        let held = |name| match MapData::from_pin(pins.map(name)) {
            Ok(map) => Ok((name, map)),
            Err(error) => Err(KernelError::Map {
                map: name,
                message: chain(&error),
            }),
        };
        let names = names::SHARED_MAPS.into_iter().chain(names::PINNED_MAPS);
        let maps = names.map(held);
        Ok(Self {
            pins: pins.clone(),
            lock,
            links,
            maps: maps.collect::<Result<_, _>>()?,
        })
    }

    /// Looks whether all is attached to `attach` and pinned, and mends what isn't.
    pub fn tend(&mut self, listened: &Listened, attach: &AttachPoint) -> Vec<Lapse> {
        if attach.is_gone() {
            // Nothing can be attached to it, nor is there anybody in it to be judged.
            return vec![Lapse {
                of: format!("cgroup {}", attach.path.display()),
                found: "it was removed, and one that is made in its place is another".into(),
                mended: Err("nothing is enforced there any more; `portreeve detach`, then start the agent again".into()),
            }];
        }
        let mut lapses: Vec<Lapse> = Vec::new();
        if let Some(lapse) = self.tend_directory() {
            let is_ours = lapse.mended.is_ok();
            lapses.push(lapse);
            // What is pinned there by another agent is none of our business.
            if !is_ours && self.pins.base().exists() {
                return lapses;
            }
        }
        let links = self.links.iter_mut();
        lapses.extend(links.filter_map(|link| link.tend(&self.pins, attach)));
        lapses.extend(listened.tend(attach));
        lapses.extend(self.tend_maps());
        lapses
    }

    /// The lock is on the directory, so one that is made again has to be locked again.
    fn tend_directory(&mut self) -> Option<Lapse> {
        let is_there = self.lock.is_on(self.pins.base());
        if is_there && self.pins.has_directories() {
            return None;
        }
        let locked = self.pins.create().and_then(|()| {
            if !is_there {
                self.lock = self.pins.lock()?;
            }
            self.pins.create_folders()
        });
        Some(Lapse {
            of: format!("directory {}", self.pins.base().display()),
            found: "somebody removed it".into(),
            mended: match locked {
                Ok(()) => Ok("made again".into()),
                Err(error) => Err(error.to_string()),
            },
        })
    }

    fn tend_maps(&self) -> Option<Lapse> {
        let is_pinned = |name: &str, held: &MapData| {
            let found = MapData::from_pin(self.pins.map(name)).ok()?;
            Some(found.info().ok()?.id() == held.info().ok()?.id())
        };
        let missing = self.maps.iter();
        let missing: Vec<_> = missing
            .filter(|(name, held)| is_pinned(name, held) != Some(true))
            .collect();
        if missing.is_empty() {
            return None;
        }
        // One that can't be pinned is no reason to leave out others.
        let problems = missing.iter().filter_map(|(name, held)| {
            let pinned = pin_over(held.fd().as_fd(), &self.pins.map(name));
            pinned.err().map(|error| format!("{name}: {error}"))
        });
        let problem = problems.reduce(|first, _| first);
        let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
        Some(Lapse {
            of: "maps".into(),
            found: format!("somebody removed the pins of {}", names.join(" ")),
            mended: match problem {
                None => Ok("pinned again".into()),
                Some(problem) => Err(problem),
            },
        })
    }

    /// Lets nothing be judged any more when this returns, pinned or not.
    pub fn detach(&self) {
        for link in &self.links {
            link.detach();
        }
    }
}
