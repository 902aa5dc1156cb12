//! The config: how the agent runs, in TOML. Unknown keys are refused.

use std::path::{Path, PathBuf};

use portreeve_common::abi::Mode;
use serde::Deserialize;

use crate::diagnostics::{Code, Diagnostic, Diagnostics, Severity, Sources, Span};

/// Where the config is unless the command line says otherwise.
pub const DEFAULT: &str = "/etc/portreeve/portreeve.toml";
/// Where the profile is unless config or command line say otherwise.
pub const DEFAULT_PROFILE: &str = "/etc/portreeve/profile.tcpip";

/// What a profile with errors does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It is refused whole.
    #[default]
    Refuse,
    /// z/OS's way: bad entries are dropped and reported, the rest applies.
    Skip,
}

/// Which entries let their job bind a low port without `CAP_NET_BIND_SERVICE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantRule {
    /// Those whose match rests on more than what a process says of itself.
    #[default]
    Verified,
    /// All, as on z/OS (`PRT-39`).
    Any,
}

/// Which network namespaces are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScopeNetns {
    /// The agent's own: on a host, the host's.
    #[default]
    Own,
    /// Every one, containers' private ones included.
    All,
}

/// Which judged binds make events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Report {
    /// Refusals.
    #[default]
    Refusals,
    /// Permitted and unreserved binds too.
    All,
}

/// A config as read, with defaults where it is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Path of the profile.
    pub profile: PathBuf,
    /// Whether refusals are made or only reported.
    pub mode: Mode,
    /// What a profile with errors does.
    pub on_error: OnError,
    /// Which entries grant low ports.
    pub grant: GrantRule,
    /// Which network namespaces are judged.
    pub scope: ScopeNetns,
    /// Which judged binds make events.
    pub report: Report,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: DEFAULT_PROFILE.into(),
            mode: Mode::Enforce,
            on_error: OnError::default(),
            grant: GrantRule::default(),
            scope: ScopeNetns::default(),
            report: Report::default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeName {
    Enforce,
    Audit,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    profile: Option<PathBuf>,
    mode: Option<ModeName>,
    on_error: OnError,
    scope: RawScope,
    grant: RawGrant,
    events: RawEvents,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawScope {
    netns: ScopeNetns,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawGrant {
    require: GrantRule,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawEvents {
    report: Report,
}

/// Reads the config that `text`, found at `path`, holds. `None` if it is not
/// valid; then `diagnostics` says why.
pub fn parse(
    path: &Path,
    text: &str,
    sources: &mut Sources,
    diagnostics: &mut Diagnostics,
) -> Option<Config> {
    let source = sources.add(path.into(), text);
    match toml::from_str::<Raw>(text) {
        Ok(raw) => Some(raw.resolve(path.parent().unwrap_or(Path::new("")))),
        Err(error) => {
            diagnostics.push(match error.span() {
                Some(range) => {
                    let span = Span {
                        source,
                        start: range.start as u32,
                        end: range.end as u32,
                    };
                    Diagnostic::error(Code::ConfigInvalid, span, sentence(error.message()))
                        .help("the keys and their values are in docs/config.md")
                }
                None => Diagnostic::of_file(
                    Code::ConfigInvalid,
                    Severity::Error,
                    path,
                    sentence(error.message()),
                ),
            });
            None
        }
    }
}

/// toml puts what it expected in a second line.
fn sentence(message: &str) -> String {
    message.trim_end().replace('\n', "; ")
}

impl Raw {
    /// Paths in a config are relative to its folder.
    fn resolve(self, folder: &Path) -> Config {
        Config {
            profile: self
                .profile
                .map_or_else(|| DEFAULT_PROFILE.into(), |path| folder.join(path)),
            mode: match self.mode {
                None | Some(ModeName::Enforce) => Mode::Enforce,
                Some(ModeName::Audit) => Mode::Audit,
            },
            on_error: self.on_error,
            grant: self.grant.require,
            scope: self.scope.netns,
            report: self.events.report,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Config>, Vec<(String, u32)>) {
        let mut sources = Sources::new();
        let mut diagnostics = Diagnostics::new();
        let config = parse(
            Path::new("/etc/p/c.toml"),
            text,
            &mut sources,
            &mut diagnostics,
        );
        let found = diagnostics
            .iter()
            .map(|d| {
                (
                    d.message.clone(),
                    d.span.map_or(0, |span| sources.line(span)),
                )
            })
            .collect();
        (config, found)
    }

    #[test]
    fn an_empty_config_is_the_default() {
        assert_eq!(read("").0.unwrap(), Config::default());
    }

    #[test]
    fn every_key_is_read() {
        let text = "profile = 'p.tcpip'\nmode = 'audit'\non_error = 'skip'\n[scope]\nnetns = 'all'\n\
                    [grant]\nrequire = 'any'\n[events]\nreport = 'all'\n";
        let config = read(text).0.unwrap();
        assert_eq!(config.profile, Path::new("/etc/p/p.tcpip"));
        assert_eq!(config.mode, Mode::Audit);
        assert_eq!(config.on_error, OnError::Skip);
        assert_eq!(config.scope, ScopeNetns::All);
        assert_eq!(config.grant, GrantRule::Any);
        assert_eq!(config.report, Report::All);
    }

    #[test]
    fn what_is_wrong_is_said_where_it_stands() {
        for (text, line, words) in [
            ("mode = 'enforce'\nmoode = 1\n", 2, "moode"),
            ("[grant]\nrequire = 'maybe'\n", 2, "maybe"),
            ("mode = \n", 1, ""),
            ("[grant]\nrequre = 'any'\n", 2, "requre"),
        ] {
            let (config, found) = read(text);
            assert!(config.is_none());
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].1, line, "{found:?}");
            assert!(found[0].0.contains(words), "{found:?}");
        }
    }
}
