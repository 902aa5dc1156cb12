//! Any bytes as a profile: no panic, and what is understood prints as itself.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use portreeve::{
    diagnostics::{Diagnostics, json, render},
    policy::reservations::resolve,
    profile::{OpenedFile, Opener, ReadError, ReadOptions, parse},
};

/// INCLUDE must not reach the fuzzing machine's files.
struct NoFiles;

impl Opener for NoFiles {
    fn open(&self, path: &Path) -> Result<OpenedFile, ReadError> {
        Err(ReadError::Missing { path: path.into() })
    }
}

fuzz_target!(|bytes: &[u8]| {
    let options = ReadOptions { strict: true, opener: &NoFiles, ..ReadOptions::default() };
    let parsed = parse(Path::new("p"), bytes, &options);
    let mut diagnostics = parsed.diagnostics;
    let rules = resolve(&parsed.profile, &mut diagnostics);
    let _ = render::all(&diagnostics, &parsed.sources, true);
    let _ = json::all(&diagnostics, &parsed.sources);

    let printed = parsed.profile.to_string();
    let again = parse(Path::new("p"), printed.as_bytes(), &options);
    let same = resolve(&again.profile, &mut Diagnostics::new());
    let shape = |entries: &[portreeve::policy::reservations::Reservation]| {
        let one = |r: &portreeve::policy::reservations::Reservation| {
            (r.kind, r.protocol, r.first, r.last, r.user.clone())
        };
        entries.iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(shape(&rules.entries), shape(&same.entries), "{printed}");
});
