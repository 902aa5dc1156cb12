//! Programs of others that tests run.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};

use super::skip;

/// Where the program `name` is, as a shell would find it.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // nginx is where only root's shells look.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into()]);
    let mut places = folders.map(|folder| folder.join(name));
    places.find(|place| place.is_file())
}

/// The program `name`, found as a shell would.
///
/// # Errors
///
/// A failure where it should be, which is wherever `cargo xtask test` could install it; a
/// skip in a machine that was made for these tests.
pub fn program(name: &str) -> Result<PathBuf> {
    if let Some(found) = in_path(name) {
        return Ok(found);
    }
    let is_made = env::var_os("PORTREEVE_TEST_OWN_MACHINE").is_some();
    ensure!(
        is_made || !Path::new("/etc/os-release").exists(),
        "{name} is not there; install it, as `cargo xtask test` does"
    );
    Err(skip(format!("this machine has no {name}")))
}
