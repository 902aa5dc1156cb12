//! What the host tells a lint: its port settings, and which names it knows.

use std::{collections::HashSet, fs, path::Path};

use portreeve_common::{decide::FIRST_HIGH_PORT, jobname::MAX_NAME_CHARS};

use crate::{kernel::sysctl::PortSettings, policy::bits::PortBits};

/// Where programs are looked for.
const PROGRAMS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// A host as far as lints ask about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its settings about ports.
    pub ports: PortSettings,
    /// The names, folded, that its processes have or its programs would have;
    /// `None` if nobody looked.
    pub names: Option<HashSet<String>>,
}

impl Host {
    /// A host of which nothing is known.
    pub fn unknown() -> Self {
        Self {
            ports: PortSettings {
                ephemeral: None,
                kept_out: PortBits::default(),
                first_unprivileged: FIRST_HIGH_PORT,
            },
            names: None,
        }
    }

    /// The host we run on.
    pub fn own() -> Self {
        let mut names = HashSet::new();
        for process in entries(Path::new("/proc")) {
            if let Ok(comm) = fs::read_to_string(Path::new("/proc").join(process).join("comm")) {
                names.insert(folded(comm.trim_end_matches('\n')));
            }
        }
        for folder in PROGRAMS {
            names.extend(entries(Path::new(folder)).map(|program| folded(&program)));
        }
        Self {
            ports: PortSettings::of_host(),
            names: Some(names),
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// A name as the kernel cuts it and entries are compared with it.
fn folded(name: &str) -> String {
    name.chars()
        .take(MAX_NAME_CHARS)
        .collect::<String>()
        .to_ascii_uppercase()
}
