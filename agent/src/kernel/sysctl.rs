//! What the host's own settings say about ports, in this network namespace.

use std::fs;

use portreeve_common::decide::FIRST_HIGH_PORT;

/// The host's settings about ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// First and last port that the kernel hands out (`ip_local_port_range`).
    pub ephemeral: Option<(u16, u16)>,
    /// Ranges that it leaves out (`ip_local_reserved_ports`).
    pub kept_out: Vec<(u16, u16)>,
    /// First port that needs no `CAP_NET_BIND_SERVICE` (`ip_unprivileged_port_start`).
    pub first_unprivileged: u16,
}

impl PortSettings {
    /// The settings of the calling process's network namespace. What can't be
    /// read is as on a kernel that was never told otherwise.
    pub fn of_host() -> Self {
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default()
        };
        Self {
            ephemeral: parse_pair(&read("ip_local_port_range")),
            kept_out: parse_ranges(&read("ip_local_reserved_ports")),
            first_unprivileged: read("ip_unprivileged_port_start")
                .trim()
                .parse()
                .unwrap_or(FIRST_HIGH_PORT),
        }
    }

    /// Whether the kernel can hand out one of `first..=last`.
    pub fn hands_out(&self, first: u16, last: u16) -> bool {
        let Some((low, high)) = self.ephemeral else {
            return false;
        };
        let (first, last) = (first.max(low), last.min(high));
        // Ports are few and ranges fewer; a set would save nothing.
        first <= last
            && (first..=last).any(|port| {
                !self
                    .kept_out
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(&port))
            })
    }
}

fn parse_pair(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn parse_ranges(text: &str) -> Vec<(u16, u16)> {
    let ranges = text.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_notation_is_read() {
        assert_eq!(parse_pair("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(parse_pair(""), None);
        assert_eq!(
            parse_ranges("80,1000-1003,65535\n"),
            [(80, 80), (1000, 1003), (65535, 65535)]
        );
        assert_eq!(parse_ranges("\n"), []);
    }

    #[test]
    fn what_is_kept_out_is_not_handed_out() {
        let settings = PortSettings {
            ephemeral: Some((32768, 60999)),
            kept_out: vec![(40000, 40009)],
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
