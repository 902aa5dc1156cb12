//! The policies that are measured.

use std::fmt::Write as _;

/// The job that may have the ports that are tried.
pub const RIGHT: &str = "RIGHT";
/// How many ports of each kind are tried in turn, so that no line of the cache holds the
/// answer for all.
pub const PORTS: u16 = 32;
/// Ports of another job. There are more of them: only so many refusals a second by one
/// entry make an event each.
pub const FOREIGN_PORTS: u16 = 256;

/// Every 128th port is reserved by no policy.
const FREE: u16 = 5;
/// Every 128th port is the right job's where all others are somebody else's.
const OURS: u16 = 7;

/// What stands on a port, by where its number lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Nobody.
    Free,
    /// The right job, in a policy that reserves whatever there is.
    Crowd,
    /// The right job.
    Job,
    /// Another one.
    Other,
    /// A user, by SAF.
    User,
    /// A group, by SAF.
    Group,
    /// Sixteen jobs together, the right one last.
    Shared,
}

impl Of {
    /// The ports.
    pub fn ports(self) -> Vec<u16> {
        let apart = |residue: u16| {
            (8..8 + PORTS)
                .map(|number| 128 * number + residue)
                .collect()
        };
        let side_by_side = |first: u16, count: u16| (first..first + count).collect();
        match self {
            Self::Free => apart(FREE),
            Self::Crowd => apart(OURS),
            Self::Job => side_by_side(20_000, PORTS),
            Self::Other => side_by_side(21_000, FOREIGN_PORTS),
            Self::User => side_by_side(22_000, PORTS),
            Self::Group => side_by_side(23_000, PORTS),
            Self::Shared => side_by_side(24_000, PORTS),
        }
    }
}

/// A profile of `count` reservations by 5000 jobs; those of [`Of::Crowd`] first.
pub fn crowd(count: usize) -> String {
    let ours = ["TCP", "UDP"].map(|protocol| {
        Of::Crowd
            .ports()
            .into_iter()
            .map(move |port| (protocol, port))
    });
    let is_other = |port: &u16| *port % 128 != FREE && *port % 128 != OURS;
    let others = ["TCP", "UDP"].map(|protocol| {
        (1..=u16::MAX)
            .filter(move |port| {
                is_other(port) || *port % 128 == OURS && !Of::Crowd.ports().contains(port)
            })
            .map(move |port| (protocol, port))
    });
    let [tcp, udp] = ours;
    let [other_tcp, other_udp] = others;
    let ours = tcp.chain(udp).map(|place| (place, RIGHT.to_owned()));
    let others = other_tcp.chain(other_udp).zip(0..);
    let others = others.map(|(place, number)| (place, format!("JOB{}", number % 5000)));
    let mut text = String::from("PORT\n");
    for ((protocol, port), job) in ours.chain(others).take(count) {
        // Into a String it can't fail.
        let _ = writeln!(text, "  {port} {protocol} {job}");
    }
    text
}

/// A profile with some of everything that needs no defined job.
pub fn features() -> String {
    let mut text = String::from("PORT\n");
    let mut add = |of: Of, rest: &str| {
        for port in of.ports() {
            let _ = writeln!(text, "  {port} {rest}");
        }
    };
    add(Of::Job, "TCP RIGHT");
    add(Of::Job, "UDP RIGHT");
    add(Of::Other, "TCP OTHER");
    add(Of::User, "TCP * SAF BYUSER");
    add(Of::Group, "TCP * SAF BYGROUP");
    for number in 1..16 {
        add(Of::Shared, &format!("TCP SHARE{number} SHAREPORT"));
    }
    add(Of::Shared, "TCP RIGHT SHAREPORT");
    text
}

/// The config that [`features`] needs: root is the user, and its group the group.
pub fn servauth() -> String {
    let resource = |name: &str, permit: &str| {
        format!("[servauth.\"EZB.PORTACCESS.*.*.{name}\"]\npermit = [\"{permit}\"]\n")
    };
    resource("BYUSER", "0") + &resource("BYGROUP", "@0")
}

/// A profile that reserves [`Of::Job`] for the right job.
pub fn one_job() -> String {
    let lines = Of::Job.ports().into_iter();
    let lines = lines.map(|port| format!("  {port} TCP RIGHT\n"));
    format!("PORT\n{}", lines.collect::<String>())
}

/// A profile of sixteen entries for unreserved ports, the right job's last.
pub fn unreserved() -> String {
    let others = (1..16).map(|number| format!("  UNRSV TCP FREE{number} WHENBIND\n"));
    format!(
        "PORT\n{}  UNRSV TCP RIGHT WHENBIND\n",
        others.collect::<String>()
    )
}

/// The config of every agent: the pool of the kernel is left alone. `more` follows.
pub fn config(more: &str) -> String {
    format!("[ephemeral]\nmanage = false\n{more}")
}
