//! Any text as a file of IBM i commands: no panic, and bounded work.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use portreeve::{
    diagnostics::{Diagnostics, Sources, render},
    policy::{accounts::FixedAccounts, ibmi, restrictions::per_port},
};

fuzz_target!(|text: &str| {
    let (mut sources, mut diagnostics) = (Sources::new(), Diagnostics::new());
    let accounts = FixedAccounts::new([("appadm", 1000), ("x", 1001)], [("ftp", 100)]);
    let restrictions =
        ibmi::read(Path::new("c"), text, &accounts, &mut sources, &mut diagnostics);
    let mut last = None;
    for (protocol, first, to, _) in per_port(&restrictions) {
        assert!(first <= to);
        assert!(last.is_none_or(|(before, end)| before != protocol || end < first));
        last = Some((protocol, to));
    }
    let _ = render::all(&diagnostics, &sources, false);
});
