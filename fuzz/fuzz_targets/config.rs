//! Any text as a config: no panic, and a config that is refused says why.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use portreeve::{
    config,
    diagnostics::{Diagnostics, Sources, render},
};

fuzz_target!(|text: &str| {
    let (mut sources, mut diagnostics) = (Sources::new(), Diagnostics::new());
    let config = config::parse(Path::new("/c.toml"), text, &mut sources, &mut diagnostics);
    assert_eq!(config.is_none(), diagnostics.has_errors());
    let _ = render::all(&diagnostics, &sources, false);
});
