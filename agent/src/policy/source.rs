//! From files to a policy: everything `run`, `reload`, `check` and `explain` share.

use std::path::{Path, PathBuf};

use portreeve_common::abi::{Mode, NO_ENTRY};
use serde::{Deserialize, Serialize};

use super::{
    compile::{Compiled, compile},
    lint::lint,
    reservations::{Reservation, resolve},
};
use crate::{
    config::{self, Config, OnError},
    diagnostics::{Diagnostics, Sources},
    files::{Hash, PolicyFiles, ReadFile, Trust},
    kernel::sysctl::PortSettings,
    profile::{
        self,
        read::{Opener as _, ReadError, ReadOptions},
    },
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
}

/// A policy that can be published, and what it was made of.
pub struct Policy {
    /// The settings.
    pub config: Config,
    /// The profile and what it includes; first of all the profile itself.
    pub profile_files: Vec<ReadFile>,
    /// The config, if there is one.
    pub config_file: Option<ReadFile>,
    /// The texts, for lines and descriptions.
    pub sources: Sources,
    /// The entries that are in force.
    pub reservations: Vec<Reservation>,
    /// The tables.
    pub compiled: Compiled,
}

/// What came of reading a policy.
pub struct Outcome {
    /// The policy, unless its errors refuse it.
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
    /// Reads, resolves and compiles. Diagnostics of config and profile come in
    /// one run.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if a file can't be read at all; that is no answer about its content.
    pub fn read(&self) -> Result<Outcome, ReadError> {
        let config_text = self.config_text()?;
        let parsed_config = match &config_text {
            Some(file) => file.parse(&mut Sources::new(), &mut Diagnostics::new()),
            None => Some(Config::default()),
        };
        // With a bad config the profile is still checked, under the defaults.
        let config = self.settings(parsed_config.clone().unwrap_or_default());

        let files = PolicyFiles::new(self.trust);
        let options = ReadOptions {
            strict: self.strict,
            opener: &files,
            ..ReadOptions::default()
        };
        let parsed = profile::read(&config.profile, &options)?;
        let (mut sources, mut diagnostics) = (parsed.sources, parsed.diagnostics);
        if let (None, Some(file)) = (&parsed_config, &config_text) {
            // Once more, now for its diagnostics beside the profile's.
            file.parse(&mut sources, &mut diagnostics);
        }
        let reservations = resolve(&parsed.profile, &mut diagnostics);
        if self.lint {
            let host = PortSettings::of_host();
            lint(&parsed.profile, &reservations, &host, &mut diagnostics);
        }
        let compiled = compile(&reservations, config.grant, &sources, &mut diagnostics);

        let refused = diagnostics.has_errors() && config.on_error == OnError::Refuse;
        if parsed_config.is_none() || refused {
            return Ok(Outcome {
                policy: Err(sources),
                diagnostics,
            });
        }
        let policy = Policy {
            config,
            profile_files: files.into_read(),
            config_file: config_text.map(|file| file.read),
            sources,
            reservations,
            compiled,
        };
        Ok(Outcome {
            policy: Ok(policy),
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

    /// The config's text. Without `--config` it may be absent.
    fn config_text(&self) -> Result<Option<ConfigText>, ReadError> {
        let path = self.config.as_deref().unwrap_or(Path::new(config::DEFAULT));
        let files = PolicyFiles::new(self.trust);
        let opened = match files.open(path) {
            Err(ReadError::Missing { .. }) if self.config.is_none() => return Ok(None),
            opened => opened?,
        };
        let text = String::from_utf8(opened.bytes).map_err(|_| ReadError::Refused {
            path: path.into(),
            why: "it is not UTF-8 text, which TOML is".into(),
        })?;
        let read = files.into_read().into_iter().next();
        Ok(read.map(|read| ConfigText { text, read }))
    }
}

/// A config as read, not parsed yet.
struct ConfigText {
    text: String,
    read: ReadFile,
}

impl ConfigText {
    fn parse(&self, sources: &mut Sources, diagnostics: &mut Diagnostics) -> Option<Config> {
        config::parse(&self.read.path, &self.text, sources, diagnostics)
    }
}

impl Policy {
    /// SHA-256 of the profile itself.
    pub fn profile_hash(&self) -> Hash {
        self.profile_files.first().map_or([0; 32], |file| file.hash)
    }

    /// Whether profile, an included file or the config is not what was read.
    pub fn differs_from_files(&self) -> bool {
        self.profile_files
            .iter()
            .chain(&self.config_file)
            .any(ReadFile::differs)
    }

    /// The reservation that entry `index` of the tables came from.
    pub fn reservation_of(&self, index: u32) -> Option<&Reservation> {
        if index == NO_ENTRY {
            return None;
        }
        self.compiled
            .origins
            .get(index as usize)
            .and_then(|origin| self.reservations.get(*origin))
    }

    /// Where a reservation stands: file, line and its own text.
    pub fn place_of(&self, reservation: &Reservation) -> EntryPlace {
        let text = self.sources.slice(reservation.span);
        EntryPlace {
            file: self
                .sources
                .path(reservation.span.source)
                .display()
                .to_string(),
            line: self.sources.line(reservation.span),
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }
}

/// Where an entry stands, as reports show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPlace {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The entry as written, in one line.
    pub text: String,
}
