//! Texts of an example to a policy, as `explain` and `check` make it from files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use portreeve::config::{self, Config};
use portreeve::diagnostics::{Diagnostic, Sources};
use portreeve::kernel::features::Features;
use portreeve::kernel::lsm::BpfLsm;
use portreeve::kernel::sysctl::PortSettings;
use portreeve::policy::bits::PortBits;
use portreeve::policy::build::{Ingredients, Policy, Purpose, build};
use portreeve::policy::explain::{Answer, Question, explain};
use portreeve::policy::identity::exes::{Inode, Inodes};
use portreeve::policy::lint::Host;
use portreeve::profile::{OpenedFile, Opener, ReadError, ReadOptions, parse, parse_change};

use crate::accounts;
use crate::document::Example;

const PROFILE: &str = "profile.tcpip";
const CHANGE: &str = "change.tcpip";
const CONFIG: &str = "portreeve.toml";

/// What comes of reading an example.
pub struct Reading {
    /// The policy as `explain` has it; none if the example's errors refuse it.
    pub policy: Option<Policy>,
    /// What reading it reports: `LINE SEVERITY CODE`, with `FILE:` before the
    /// line where it isn't the profile.
    pub reported: Vec<String>,
    /// What `check` reports.
    pub checked: Vec<String>,
}

/// The host of examples, as far as advice depends on it.
fn host() -> Host {
    Host {
        ports: PortSettings {
            ephemeral: Some((32768, 60999)),
            kept_out: PortBits::default(),
            first_unprivileged: 1024,
        },
        // Nobody looked: the examples' servers are on no real host.
        names: None,
    }
}

/// The programs of the examples' host: what distributions install.
struct Installed;

impl Inodes for Installed {
    fn of(&self, path: &Path) -> io::Result<Vec<Inode>> {
        if path.starts_with("/usr") {
            return Ok(Vec::new());
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Files that exist in an example only.
struct Beside<'a>(BTreeMap<&'a Path, &'a str>);

impl Opener for Beside<'_> {
    fn open(&self, path: &Path) -> Result<OpenedFile, ReadError> {
        let path = path.to_owned();
        match self.0.get(path.as_path()) {
            Some(text) => Ok(OpenedFile {
                bytes: text.as_bytes().to_vec().into(),
                identity: path,
            }),
            None => Err(ReadError::Missing { path }),
        }
    }
}

/// Reads `example` under `config`, with change files on top.
pub fn read(example: &Example, config: Option<&str>, changes: &[&str]) -> Reading {
    let (policy, reported) = make(example, config, changes, Purpose::Explain);
    let (_, checked) = make(example, config, changes, Purpose::Enforce);
    Reading {
        policy,
        reported,
        checked,
    }
}

fn make(
    example: &Example,
    config: Option<&str>,
    changes: &[&str],
    purpose: Purpose,
) -> (Option<Policy>, Vec<String>) {
    let text = &example.profile.text;
    let others = example.files.iter();
    let others = others.map(|(name, text)| (Path::new(name.as_str()), text.as_str()));
    let beside = Beside(
        others
            .chain([(Path::new(PROFILE), text.as_str())])
            .collect(),
    );
    let options = ReadOptions {
        strict: example.attributes.strict,
        opener: &beside,
        ..ReadOptions::default()
    };
    let mut parsed = parse(Path::new(PROFILE), text.as_bytes(), &options);
    for change in changes {
        parsed = parse_change(parsed, Path::new(CHANGE), change.as_bytes(), &options);
    }
    let (mut sources, mut diagnostics) = (parsed.sources, parsed.diagnostics);
    let valid = match config {
        Some(text) => config::parse(Path::new(CONFIG), text, &mut sources, &mut diagnostics),
        None => Some(Config::default()),
    };
    let is_valid = valid.is_some();
    let config = valid.unwrap_or_default();
    let named = config.ibmi_commands.as_ref().map(|path| path.value.clone());
    let commands = named.and_then(|path: PathBuf| {
        let text = (*beside.0.get(path.as_path())?).to_owned();
        Some((path, text))
    });
    let sysname = config.sysname.clone();
    let ingredients = Ingredients {
        config,
        profile: parsed.profile,
        commands,
        sources,
        sysname: sysname.unwrap_or_else(|| "HOST1".to_owned()),
        accounts: &accounts::all(),
        inodes: &Installed,
        purpose,
        lint: (purpose == Purpose::Enforce).then(host),
        host: Some(host().ports),
        features: example.attributes.old_kernel.then_some(Features::NONE),
        lsm: Some(BpfLsm::Inactive {
            modules: "lockdown,capability,yama".to_owned(),
        }),
        destroying: || None,
        agent: None,
        autolog_host: None,
        listeners: None,
    };
    let policy = build(ingredients, &mut diagnostics);
    let said = diagnostics.iter();
    let said = said.map(|said| line(said, &policy.sources)).collect();
    let refused = diagnostics.has_errors() && !example.attributes.skips_errors;
    ((is_valid && !refused).then_some(policy), said)
}

fn line(said: &Diagnostic, sources: &Sources) -> String {
    let (severity, code) = (said.severity.name(), said.code.id());
    let Some(span) = said.span else {
        return format!("- {severity} {code}");
    };
    let number = sources.line(span);
    let path = sources.path(span.source);
    if path == Path::new(PROFILE) {
        return format!("{number} {severity} {code}");
    }
    format!("{}:{number} {severity} {code}", path.display())
}

/// What `policy` answers, on a host where ports below 1024 need a capability.
pub fn ask(policy: &Policy, question: &Question) -> Option<Answer> {
    explain(
        policy,
        question,
        host().ports.first_unprivileged,
        Features::ALL,
    )
}
