//! The host's own settings about ports, in this thread's network namespace.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
};

use portreeve_common::decide::FIRST_HIGH_PORT;

use crate::policy::bits::PortBits;

/// What the kernel hands out: first and last port.
pub const RANGE: &str = "net.ipv4.ip_local_port_range";
/// What it leaves out.
pub const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";
/// The first port that needs no `CAP_NET_BIND_SERVICE`.
const UNPRIVILEGED: &str = "net.ipv4.ip_unprivileged_port_start";

/// Room for the longest value: every second port is 32768 numbers of five digits.
const LONGEST: usize = 1 << 18;

/// The host's settings about ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// First and last port that the kernel hands out (`ip_local_port_range`).
    pub ephemeral: Option<(u16, u16)>,
    /// Ranges that it leaves out (`ip_local_reserved_ports`).
    pub kept_out: PortBits,
    /// First port that needs no `CAP_NET_BIND_SERVICE` (`ip_unprivileged_port_start`).
    pub first_unprivileged: u16,
}

impl PortSettings {
    /// The settings of the calling process's network namespace. What can't be
    /// read is as on a kernel that was never told otherwise.
    pub fn of_host() -> Self {
        Self {
            ephemeral: port_range().ok(),
            kept_out: reserved_ports().unwrap_or_default(),
            first_unprivileged: read(UNPRIVILEGED)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(FIRST_HIGH_PORT),
        }
    }

    /// Whether the kernel can hand out one of `first..=last`.
    pub fn hands_out(&self, first: u16, last: u16) -> bool {
        let Some((low, high)) = self.ephemeral else {
            return false;
        };
        let (first, last) = (first.max(low), last.min(high));
        first <= last
            && !PortBits::from_iter([(first, last)])
                .minus(&self.kept_out)
                .is_empty()
    }
}

/// The first and the last port that the kernel hands out.
///
/// # Errors
///
/// What the kernel says.
pub fn port_range() -> io::Result<(u16, u16)> {
    parse_pair(&read(RANGE)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Sets what [`port_range`] gives.
///
/// # Errors
///
/// What the kernel says: `EINVAL` for a range that reaches below
/// `ip_unprivileged_port_start`.
pub fn set_port_range((first, last): (u16, u16)) -> io::Result<()> {
    write(RANGE, &format!("{first} {last}\n"), 0)
}

/// The ports that the kernel doesn't hand out.
///
/// # Errors
///
/// What the kernel says.
pub fn reserved_ports() -> io::Result<PortBits> {
    let text = read(RESERVED)?;
    text.parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Adds `ports` to the list. No port of others can be lost: a write behind the
/// beginning of this file adds to what is there, whoever has put it there.
///
/// # Errors
///
/// What the kernel says.
pub fn add_reserved_ports(ports: &PortBits) -> io::Result<()> {
    write(RESERVED, &format!("{ports}\n"), 1)
}

/// Makes `ports` the list. The kernel takes 4092 bytes at a time, so a long one
/// is there bit by bit.
///
/// # Errors
///
/// What the kernel says.
pub fn replace_reserved_ports(ports: &PortBits) -> io::Result<()> {
    write(RESERVED, &format!("{ports}\n"), 0)
}

fn path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// One read: a second one gets nothing, and what doesn't fit is cut.
fn read(name: &str) -> io::Result<String> {
    let mut text = vec![0; LONGEST];
    let length = File::open(path(name))?.read(&mut text)?;
    text.truncate(length);
    String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Goes on with what a write left over on the same open file, and where it ended.
fn write(name: &str, text: &str, offset: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path(name))?;
    file.write_all_at(text.as_bytes(), offset)
}

fn parse_pair(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_notation_is_read() {
        assert_eq!(parse_pair("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(parse_pair(""), None);
    }

    #[test]
    fn what_is_kept_out_is_not_handed_out() {
        let settings = PortSettings {
            ephemeral: Some((32768, 60999)),
            kept_out: PortBits::from_iter([(40000, 40009)]),
            first_unprivileged: 1024,
        };
        assert!(settings.hands_out(32768, 32768));
        assert!(settings.hands_out(60999, 65535));
        assert!(!settings.hands_out(61000, 65535));
        assert!(!settings.hands_out(40000, 40009));
        assert!(settings.hands_out(40000, 40010));
        assert!(!settings.hands_out(21, 21));
    }
}
