//! A message bus of D-Bus for a systemd of a test's own, which is on one only if it has
//! started it itself.

use std::{fs, path::Path};

use anyhow::Result;

use super::systemd::program;

/// Where Debian and everybody else has it.
const DAEMON: &str = "/usr/bin/dbus-daemon";
/// The names by which systemd knows its bus.
pub const UNITS: [&str; 2] = ["dbus.service", "dbus.socket"];

/// Its address, with its socket in `folder`.
pub fn address(folder: &Path) -> String {
    format!("unix:path={}", folder.join("bus").display())
}

/// The texts of its [`UNITS`], with its socket and config in `folder`.
///
/// # Errors
///
/// If there is no such daemon, or its config can't be written.
pub fn units(folder: &Path) -> Result<[String; 2]> {
    // Nothing is started by its name: what the host has installed is no part of a test.
    let config = folder.join("bus.conf");
    let text = format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
         <busconfig><type>session</type><listen>{}</listen><auth>EXTERNAL</auth>\
         <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
         <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>\n",
        address(folder)
    );
    fs::write(&config, text)?;
    let daemon = program(DAEMON)?.display();
    let service = format!(
        "[Unit]\nRequires=dbus.socket\n[Service]\nType=notify\nExecStart={daemon} --nofork \
         --nopidfile --systemd-activation --address=systemd: --config-file={}\n",
        config.display()
    );
    let socket = format!("[Socket]\nListenStream={}\n", folder.join("bus").display());
    Ok([service, socket])
}
