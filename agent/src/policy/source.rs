//! Files to a policy: everything `run`, `reload`, `check` and `explain` share.

use std::path::{Path, PathBuf};

use portreeve_common::abi::Mode;

use super::{
    accounts::HostAccounts,
    build::{Ingredients, Policy, Purpose, build},
    identity::exes::Inodes,
    lint::Host,
};
use crate::{
    config::{self, Config, OnError},
    diagnostics::{Diagnostics, Sources},
    files::{Hash, PolicyFiles, ReadFile, Trust},
    profile::{self, Opener as _, ReadError, ReadOptions},
};

/// Where a policy comes from: the command line's part of the settings, which
/// stays the same over reloads.
#[derive(Clone, Debug)]
pub struct Source {
    /// The config; `None` takes [`config::DEFAULT`] if it is there.
    pub config: Option<PathBuf>,
    /// The profile; `None` takes the config's.
    pub profile: Option<PathBuf>,
    /// Overrides the config's `on_error`.
    pub on_error: Option<OnError>,
    /// Audit mode, whatever the config says.
    pub audit: bool,
    /// Report what z/OS would not accept.
    pub strict: bool,
    /// Report what is right but may not be wise.
    pub lint: bool,
    /// Whether the files become policy.
    pub trust: Trust,
    /// What the policy is for.
    pub purpose: Purpose,
}

/// The files that a policy was read from.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The profile and what it includes; first of all the profile itself.
    pub profile: Vec<ReadFile>,
    /// The config and the files it names, as far as there are any.
    pub config: Vec<ReadFile>,
}

impl Files {
    /// SHA-256 of the profile itself.
    pub fn profile_hash(&self) -> Hash {
        self.profile.first().map_or([0; 32], |file| file.hash)
    }

    /// Whether any of the files is not what was read.
    pub fn differ(&self) -> bool {
        self.profile
            .iter()
            .chain(&self.config)
            .any(ReadFile::differs)
    }
}

/// What came of reading a policy.
pub struct Outcome {
    /// The policy, or if its errors refuse it, the texts they point into.
    pub policy: Result<Policy, Sources>,
    /// Everything there is to say about it.
    pub diagnostics: Diagnostics,
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
        let config_files = PolicyFiles::new(self.trust);
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

        let profile_files = PolicyFiles::new(self.trust);
        let sysname = sysname(&first);
        let mut symbols = first.symbols.clone();
        symbols
            .entry("SYSNAME".into())
            .or_insert_with(|| sysname.clone());
        let options = ReadOptions {
            strict: self.strict,
            symbols: Some(&symbols),
            opener: &profile_files,
        };
        let parsed = profile::read(&first.profile, &options)?;
        let (mut sources, mut diagnostics) = (parsed.sources, parsed.diagnostics);
        let config = self.settings(parse(&mut sources, &mut diagnostics).unwrap_or_default());
        let commands = match &config.ibmi_commands {
            Some(path) => Some((path.value.clone(), read_text(&config_files, &path.value)?)),
            None => None,
        };
        let on_error = config.on_error;
        let mut policy = build(
            Ingredients {
                config,
                profile: parsed.profile,
                commands,
                sources,
                sysname,
                accounts: &HostAccounts,
                inodes,
                purpose: self.purpose,
                lint: self.lint.then(Host::own),
            },
            &mut diagnostics,
        );
        let refused = diagnostics.has_errors() && on_error == OnError::Refuse;
        policy.files = Files {
            profile: profile_files.into_read(),
            config: config_files.into_read(),
        };
        Ok(Outcome {
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
            ..config
        }
    }

    /// The config's path and text. Without `--config` it may be absent.
    fn config_text(&self, files: &PolicyFiles) -> Result<Option<(PathBuf, String)>, ReadError> {
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

fn read_text(files: &PolicyFiles, path: &Path) -> Result<String, ReadError> {
    String::from_utf8(files.open(path)?.bytes).map_err(|_| ReadError::Refused {
        path: path.into(),
        why: "it is not UTF-8 text".into(),
    })
}
