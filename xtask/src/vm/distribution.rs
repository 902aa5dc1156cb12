//! Debian's systemd with all that it depends on: what a virtual machine needs whose first
//! process it is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Result;

use crate::debian::apt::Mirror;
use crate::debian::tree::{self, Tree};

/// Where it is from; the suite of the newest C library, as the tests are built with
/// this machine's.
const SUITES: [&str; 3] = ["trixie", "trixie-updates", "trixie-security"];
/// Accounts that installing would make, and those that tests use.
const PASSWD: &str = "root:x:0:0::/root:/bin/sh\n\
                      daemon:x:1:1::/:/bin/false\n\
                      messagebus:x:100:100::/:/bin/false\n\
                      nobody:x:65534:65534::/:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nmessagebus:x:100:\ntty:x:5:\nnogroup:x:65534:\n";

/// A tree with systemd in it, and the bus over which it is asked.
///
/// # Errors
///
/// See [`tree::get`].
pub fn get(mirror: &Result<Mirror>) -> Result<Tree> {
    tree::get(&["systemd", "dbus"], &SUITES, mirror, finish)
}

/// What the packages' scripts would have made, as far as it matters.
fn finish(folder: &Path) -> Result<()> {
    for name in ["dev", "proc", "root", "run", "sys", "tmp"] {
        fs::create_dir_all(folder.join(name))?;
    }
    // Where programs look for the bus; it comes as an empty folder.
    fs::remove_dir(folder.join("var/run"))?;
    symlink("/run", folder.join("var/run"))?;
    for (name, text) in [("passwd", PASSWD), ("group", GROUP), ("machine-id", "")] {
        fs::write(folder.join("etc").join(name), text)?;
    }
    Ok(())
}
