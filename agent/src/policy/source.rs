//! Files to a policy: everything `run`, `reload`, `check` and `explain` share.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    time::Instant,
};

use portreeve_common::abi::Mode;

use super::{
    accounts::{Accounts, FixedAccounts, HostAccounts, Recorder},
    autolog,
    build::{Ingredients, Policy, Purpose, build},
    identity::exes::Inodes,
    lint::Host,
};
use crate::{
    config::{self, Config, Ephemeral, OnError},
    diagnostics::{Code, Diagnostic, Diagnostics, Forgotten, Severity, Sources},
    files::{Hash, PolicyFiles, ReadFile, Seen, Trust, combined},
    kernel::{features::Features, lsm::BpfLsm, pool::settings_without_ours},
    ports::{self, HostListeners, Listeners, destroy},
    profile::{self, Contents, Opener as _, ReadError, ReadOptions},
};

/// Where a policy comes from: the command line's part of the settings, which
/// stays the same over reloads.
#[derive(Clone, Debug)]
pub struct Source {
    /// The config; `None` takes [`config::DEFAULT`] if it is there.
    pub config: Option<PathBuf>,
    /// The profile; `None` takes the config's.
    pub profile: Option<PathBuf>,
    /// Change files to apply on top of the profile, in this order.
    pub changes: Vec<PathBuf>,
    /// Overrides the config's `on_error`.
    pub on_error: Option<OnError>,
    /// Audit mode, whatever the config says.
    pub audit: bool,
    /// Report what z/OS would not accept.
    pub strict: bool,
    /// Report what is right but may not be wise.
    pub lint: bool,
    /// Compare it with the host we run on: its settings, names and listeners.
    pub of_this_host: bool,
    /// What its kernel has, if the policy is to be enforced there or that could be told.
    pub features: Option<Features>,
    /// Whether the files become policy.
    pub trust: Trust,
    /// What the policy is for.
    pub purpose: Purpose,
    /// Whether this process is the agent that is to enforce it.
    pub is_agent: bool,
    /// The cgroup that is enforced on; `None` for the root.
    pub cgroup: Option<PathBuf>,
    /// Whether the agent can start commands itself; one that has yet to begin can.
    pub starts: bool,
    /// Leave the kernel's pool of ports alone, whatever the config says.
    pub leave_pool: bool,
    /// Where the record is of what was changed in that pool.
    pub bpffs: PathBuf,
}

/// The files that a policy was read from.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The profile and what it includes; first of all the profile itself.
    pub profile: Vec<ReadFile>,
    /// The change files on top of it, each with what it includes.
    pub changes: Vec<Vec<ReadFile>>,
    /// The config and the files it names, as far as there are any.
    pub config: Vec<ReadFile>,
}

impl Files {
    /// SHA-256 of the profile itself; with change files on top, of the hashes of
    /// all, so that it is another policy's.
    pub fn profile_hash(&self) -> Hash {
        let own = self.profile.first().map_or([0; 32], |file| file.hash);
        if self.changes.is_empty() {
            return own;
        }
        let changes = self.changes.iter().flatten();
        combined([own].into_iter().chain(changes.map(|file| file.hash)))
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &ReadFile> {
        let changes = self.changes.iter().flatten();
        self.profile.iter().chain(changes).chain(&self.config)
    }

    /// Loses what is secret in them.
    fn forget(&mut self, forgotten: &[Forgotten]) {
        let changes = self.changes.iter_mut().flatten();
        for file in self.profile.iter_mut().chain(changes) {
            file.forget(forgotten);
        }
    }

    /// The change files themselves, in the order in which they were applied.
    pub fn changed_by(&self) -> impl Iterator<Item = &Path> {
        let files = self.changes.iter().filter_map(|files| files.first());
        files.map(|file| file.path.as_path())
    }

    /// What a reload would read, as it was read.
    pub fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        seen.extend(self.profile.iter().chain(&self.config));
        seen
    }

    /// Whether any of the files that a reload reads is not what was read.
    pub fn differ(&self) -> bool {
        self.profile
            .iter()
            .chain(&self.config)
            .any(ReadFile::differs)
    }
}

/// What a policy was made from, for making it again whatever became of that since.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The files.
    pub files: &'a Files,
    /// The users and groups that were found.
    pub accounts: &'a FixedAccounts,
    /// The system's name.
    pub sysname: &'a str,
}

/// Where a policy's ingredients are taken from.
#[derive(Clone, Copy)]
struct From<'a> {
    /// Files that were read before; `None` takes those on the disk.
    files: Option<&'a Files>,
    /// Change files on the disk that go on top of it.
    changes: &'a [PathBuf],
    accounts: &'a dyn Accounts,
    /// The system's name; `None` takes the config's, or the host's.
    sysname: Option<&'a str>,
    /// Where it is noted what is read on the disk.
    seen: &'a RefCell<Seen>,
}

/// What came of reading a policy.
pub struct Outcome {
    /// The policy, or if its errors refuse it, the texts they point into.
    pub policy: Result<Policy, Sources>,
    /// Everything there is to say about it.
    pub diagnostics: Diagnostics,
    /// How many entries were meant to take effect (`LNT-06`).
    pub configured: usize,
    /// How many would, if errors didn't refuse the policy.
    pub effective: usize,
}

impl Outcome {
    /// The texts that the diagnostics point into.
    pub fn sources(&self) -> &Sources {
        match &self.policy {
            Ok(policy) => &policy.sources,
            Err(sources) => sources,
        }
    }
}

impl Source {
    /// Reads, resolves and compiles; `inodes` knows the executables of jobs. Diagnostics of config and profile come in
    /// one run.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if a file can't be read at all; that is no answer about its content.
    pub fn read(&self, inodes: &dyn Inodes) -> Result<Outcome, ReadError> {
        self.read_noting(inodes, &RefCell::default())
    }

    /// The same, noting in `seen` which files decide of the policy.
    ///
    /// # Errors
    ///
    /// As [`Self::read`]; then `seen` has what was read until then.
    pub fn read_noting(
        &self,
        inodes: &dyn Inodes,
        seen: &RefCell<Seen>,
    ) -> Result<Outcome, ReadError> {
        let from = From {
            files: None,
            changes: &self.changes,
            accounts: &HostAccounts,
            sysname: None,
            seen,
        };
        self.read_from(from, inodes)
    }

    /// The policy that was read from `base`, with the change file `change` on top
    /// (`OBY-01`). Only that file is read; what happened to the others since then
    /// doesn't matter.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the change file can't be read.
    pub fn obey(
        &self,
        base: &Files,
        change: &Path,
        inodes: &dyn Inodes,
    ) -> Result<Outcome, ReadError> {
        let from = From {
            files: Some(base),
            changes: &[change.to_owned()],
            accounts: &HostAccounts,
            sysname: None,
            seen: &RefCell::default(),
        };
        self.read_from(from, inodes)
    }

    /// The policy that was made from `origin`, as it was then.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if a file is none of those.
    pub fn again(&self, origin: Origin<'_>, inodes: &dyn Inodes) -> Result<Outcome, ReadError> {
        let from = From {
            files: Some(origin.files),
            changes: &[],
            accounts: origin.accounts,
            sysname: Some(origin.sysname),
            seen: &RefCell::default(),
        };
        self.read_from(from, inodes)
    }

    fn read_from(&self, from: From<'_>, inodes: &dyn Inodes) -> Result<Outcome, ReadError> {
        let began = Instant::now();
        let base = from.files;
        let files = |known: fn(&Files) -> &[ReadFile]| match base {
            Some(base) => PolicyFiles::again(known(base)),
            None => PolicyFiles::noting(self.trust, from.seen),
        };
        let config_files = files(|base| &base.config);
        let config_text = self.config_text(&config_files)?;
        // Once to know where the profile is; again when its texts are there to
        // point into.
        let parse = |sources: &mut Sources, diagnostics: &mut Diagnostics| match &config_text {
            Some((path, text)) => config::parse(path, text, sources, diagnostics),
            None => Some(Config::default()),
        };
        let first = parse(&mut Sources::new(), &mut Diagnostics::new());
        let config_is_valid = first.is_some();
        // With a bad config the profile is still checked, under the defaults.
        let first = self.settings(first.unwrap_or_default());

        let profile_files = files(|base| &base.profile);
        let sysname = from.sysname.map_or_else(|| sysname(&first), str::to_owned);
        let mut symbols = first.symbols.clone();
        symbols
            .entry("SYSNAME".into())
            .or_insert_with(|| sysname.clone());
        let options = ReadOptions {
            strict: self.strict,
            symbols: Some(&symbols),
            opener: &profile_files,
        };
        let mut parsed = profile::read(&first.profile, &options)?;
        let mut changed = Vec::new();
        let earlier = base.map_or(&[][..], |base| &base.changes);
        let earlier = earlier.iter().filter_map(|files| {
            let file = files.first()?;
            Some((file.path.as_path(), PolicyFiles::again(files)))
        });
        let new = from
            .changes
            .iter()
            .map(|path| (path.as_path(), PolicyFiles::new(self.trust)));
        for (path, files) in earlier.chain(new) {
            let options = ReadOptions {
                opener: &files,
                ..options
            };
            parsed = profile::obey(parsed, path, &options)?;
            changed.push(files.into_read());
        }
        let (mut sources, mut diagnostics) = (parsed.sources, parsed.diagnostics);
        let config = self.settings(parse(&mut sources, &mut diagnostics).unwrap_or_default());
        let commands = match &config.ibmi_commands {
            Some(path) => Some((path.value.clone(), read_text(&config_files, &path.value)?)),
            None => None,
        };
        let on_error = config.on_error;
        let accounts = Recorder::new(from.accounts);
        let parsed_in = began.elapsed();
        let mut policy = build(
            Ingredients {
                config,
                profile: parsed.profile,
                commands,
                sources,
                sysname,
                accounts: &accounts,
                inodes,
                purpose: self.purpose,
                lint: self.lint.then(|| match self.of_this_host {
                    true => Host::own(),
                    false => Host::unknown(),
                }),
                host: (self.purpose == Purpose::Enforce)
                    .then(|| settings_without_ours(&self.bpffs)),
                lsm: self.of_this_host.then(BpfLsm::of_host),
                features: self.features,
                destroying: destroy::problem,
                listeners: (self.of_this_host && self.purpose == Purpose::Enforce)
                    .then_some(&HostListeners as &dyn Listeners),
                agent: self.is_agent.then(ports::own).flatten(),
                autolog_host: self
                    .of_this_host
                    .then(|| autolog::Host::own(self.starts, self.cgroup.as_deref())),
            },
            &mut diagnostics,
        );
        // There is no entry whose loss would mend these: a pool too small, tables
        // that don't know all jobs, which entries are meant to refuse too, or a kernel
        // that can't enforce what is asked for.
        let is_of_the_whole = |d: &Diagnostic| {
            d.severity == Severity::Error
                && matches!(
                    d.code,
                    Code::PoolTooSmall | Code::TooManyJobs | Code::KernelLacks
                )
        };
        let refused = diagnostics.has_errors()
            && (on_error == OnError::Refuse || diagnostics.iter().any(is_of_the_whole));
        policy.files = Files {
            profile: profile_files.into_read(),
            changes: changed,
            config: config_files.into_read(),
        };
        let forgotten = policy.sources.forget();
        policy.files.forget(&forgotten);
        policy.accounts = accounts.into_found();
        policy.making.parse = parsed_in;
        Ok(Outcome {
            configured: policy.configured,
            effective: policy.reservations.len(),
            policy: if config_is_valid && !refused {
                Ok(policy)
            } else {
                Err(policy.sources)
            },
            diagnostics,
        })
    }

    /// The config's settings under those of the command line.
    fn settings(&self, config: Config) -> Config {
        Config {
            profile: self.profile.clone().unwrap_or(config.profile),
            on_error: self.on_error.unwrap_or(config.on_error),
            mode: if self.audit { Mode::Audit } else { config.mode },
            ephemeral: Ephemeral {
                manage: config.ephemeral.manage && !self.leave_pool,
                ..config.ephemeral
            },
            ..config
        }
    }

    /// The config's path and text. Without `--config` it may be absent.
    fn config_text(&self, files: &PolicyFiles<'_>) -> Result<Option<(PathBuf, String)>, ReadError> {
        let path = self.config.as_deref().unwrap_or(Path::new(config::DEFAULT));
        match read_text(files, path) {
            Err(ReadError::Missing { .. }) if self.config.is_none() => Ok(None),
            text => Ok(Some((path.into(), text?))),
        }
    }
}

/// The system's name: the config's, else the host's.
fn sysname(config: &Config) -> String {
    config.sysname.clone().unwrap_or_else(|| {
        let host = nix::sys::utsname::uname().map(|uname| uname.nodename().to_owned());
        config::sysname_of(&host.unwrap_or_default().to_string_lossy())
    })
}

fn read_text(files: &PolicyFiles<'_>, path: &Path) -> Result<String, ReadError> {
    match files.open(path)?.bytes {
        Contents::Text(text) => Ok(text.as_ref().to_owned()),
        Contents::Other(_) => Err(ReadError::Refused {
            path: path.into(),
            why: "it is not UTF-8 text".into(),
        }),
    }
}

#[cfg(test)]
mod tests;
