//! The register of reserved ports, with NETSTAT PORTLIST's columns first.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_common::abi::Protocol;

use super::{refusals::Refusals, table};
use crate::{
    daemon::{
        events::{moment, wall_clock},
        protocol::{PortChange, PortHolder, PortRow},
    },
    diagnostics::escaped,
    policy::{
        audit::Extent,
        build::Policy,
        holdings::{self, Holding},
        reservations::{Kind, Reservation},
        specificity::Specificity,
    },
    ports::{
        register::Port,
        units::{container_of, unit_of},
    },
    profile::ast::{Share, User, When},
};

/// What happened to reserved ports.
#[derive(Default)]
pub struct Observed {
    /// Who has one; `None` if the kernel lists no sockets.
    pub holdings: Option<Vec<Holding>>,
    /// Who was refused one lately.
    pub refusals: Refusals,
    /// What they became lately, by port; the last first.
    pub changes: BTreeMap<Port, Vec<PortChange>>,
}

/// Changes that a row shows.
const SHOWN_CHANGES: usize = 5;

impl Observed {
    /// The last changes of the ports of `reservation`.
    fn changes_of(&self, reservation: &Reservation) -> Vec<PortChange> {
        let first = (reservation.protocol, reservation.first);
        let last = (reservation.protocol, reservation.last);
        let of_ports = self.changes.range(first..=last);
        let mut changes: Vec<PortChange> = of_ports.flat_map(|(_, one)| one).cloned().collect();
        changes.sort_by(|one, other| other.time.cmp(&one.time));
        changes.truncate(SHOWN_CHANGES);
        changes
    }
}

/// One row per entry, by protocol and port (`RPT-01`, `RPT-03`), with what is `observed`
/// of its ports.
pub fn rows(policy: &Policy, refusals: impl Fn(u32) -> u64, observed: &Observed) -> Vec<PortRow> {
    let indexes = 0..policy.compiled.image.entries.len() as u32;
    let row = |index| row(policy, index, refusals(index), observed);
    indexes.filter_map(row).collect()
}

/// The row of entry `index` of the tables, which has refused so often. `None` if there is
/// no such entry.
pub fn row(policy: &Policy, index: u32, refusals: u64, observed: &Observed) -> Option<PortRow> {
    let reservation = policy.reservation_of(index)?;
    let mut row = of_reservation(policy, reservation, refusals, observed);
    // Entries of one port stand side by side, in the order of the search.
    let ports = |other: &Reservation| (other.protocol, other.first, other.last);
    let before = (0..index).rev().map_while(|other| {
        let other = policy.reservation_of(other)?;
        (ports(other) == ports(reservation)).then_some(())
    });
    row.order += before.count() as u32;
    Some(row)
}

fn of_reservation(
    policy: &Policy,
    reservation: &Reservation,
    refusals: u64,
    observed: &Observed,
) -> PortRow {
    let place = policy.place_of(reservation);
    let has_ports = reservation.kind != Kind::Unreserved;
    let holdings = observed.holdings.as_deref().filter(|_| has_ports);
    let holdings = holdings.map(|holdings| of_ports(holdings, reservation));
    let extent = policy.extent_in_audit(reservation);
    let state = holdings
        .as_ref()
        .map(|holdings| holdings::state(reservation, holdings).name().to_owned());
    let holders: Vec<PortHolder> = holdings
        .unwrap_or_default()
        .into_iter()
        .map(|holding| holder(policy, holding))
        .collect();
    let expected = match has_ports {
        true => {
            let (first, last) = (reservation.first, reservation.last);
            policy.expected.about(reservation.protocol, first, last)
        }
        false => None,
    };
    let described = reservation.description.as_deref();
    let purpose = expected.and_then(|expected| expected.purpose.as_deref());
    PortRow {
        port: reservation.first,
        protocol: reservation.protocol.name().into(),
        jobname: reservation.user.to_string(),
        flags: flags(reservation),
        mode: extent.name().to_owned(),
        audited: match extent {
            Extent::Some(ports) => Some(ports.to_string()),
            Extent::None | Extent::All => None,
        },
        first: reservation.first,
        last: reservation.last,
        address: reservation
            .options
            .bind
            .as_ref()
            .map(|bind| bind.value.to_string()),
        saf: reservation
            .options
            .saf
            .as_ref()
            .map(|saf| saf.value.clone()),
        description: described.map(str::to_owned),
        line: place.line,
        file: place.file,
        order: 1,
        closeness: Specificity::of(&reservation.user).words().to_owned(),
        state,
        expected: expected.map(|expected| expected.state.name().to_owned()),
        owner: expected.and_then(|expected| expected.owner.clone()),
        purpose: purpose.or(described).map(str::to_owned),
        holder: holders.first().cloned(),
        holders,
        refusals,
        refused: match has_ports {
            true => observed.refusals.of(reservation),
            false => Vec::new(),
        },
        changes: match has_ports {
            true => observed.changes_of(reservation),
            false => Vec::new(),
        },
    }
}

/// Those of `holdings` that have a port of `reservation`.
fn of_ports<'h>(holdings: &'h [Holding], reservation: &Reservation) -> Vec<&'h Holding> {
    let ports = reservation.first..=reservation.last;
    let is_there = |holding: &&Holding| {
        let socket = &holding.socket;
        socket.protocol == reservation.protocol && ports.contains(&socket.port)
    };
    holdings.iter().filter(is_there).collect()
}

/// Who `holding` is, as the register shows him.
pub fn holder(policy: &Policy, holding: &Holding) -> PortHolder {
    let socket = &holding.socket;
    let speaker = holding.speaker.as_ref();
    let process = speaker.map(|speaker| &speaker.holder);
    let rule = speaker.and_then(|speaker| policy.reservation_of(speaker.verdict.entry));
    let cgroup = process.and_then(|process| process.cgroup.as_deref());
    // systemd itself has what it bound by another process.
    let comm = process.map(|process| match process.unit {
        Some(_) => "systemd".to_owned(),
        None => process.comm.clone(),
    });
    let of_socket_unit = process.and_then(|process| process.unit.clone());
    PortHolder {
        port: socket.port,
        address: socket.address.to_string(),
        listens: socket.is_open(),
        rightful: holding.is_rightful(),
        line: rule.map(|rule| policy.place_of(rule).line),
        pid: process.map(|process| process.pid),
        comm,
        job: speaker.and_then(|speaker| speaker.job.clone()),
        unit: of_socket_unit.or_else(|| Some(unit_of(cgroup?)?.to_owned())),
        container: cgroup.and_then(container_of).map(str::to_owned),
        uid: process.map_or(socket.uid, |process| process.uid),
        since: process.map(|process| format!("{:.0}", moment(process.started))),
        bound: holding.bound.map(wall_clock),
        shared_with: holding.others.clone(),
        orphan: holding.orphan.clone(),
    }
}

/// Flag letters of port-control 6.1 (`RPT-04`, `RPT-05`).
fn flags(reservation: &Reservation) -> String {
    let options = &reservation.options;
    let unreserved = reservation.kind == Kind::Unreserved;
    let takes_options = !unreserved && !matches!(reservation.user, User::Reserved | User::Authport);
    let at_bind = reservation.protocol == Protocol::Udp
        || options.when.is_some_and(|when| when.value == When::Bind);
    let share = options.share.map(|share| share.value);
    let letters = [
        ('A', takes_options && options.no_autolog.is_none()),
        (
            'D',
            takes_options && options.delay_acks.is_none_or(|delay| delay.value),
        ),
        ('S', share == Some(Share::Even)),
        ('W', share == Some(Share::Weighted)),
        ('R', reservation.kind == Kind::Range),
        ('L', unreserved && !at_bind),
        ('B', (unreserved && at_bind) || options.bind.is_some()),
        ('X', options.deny.is_some()),
        ('F', options.saf.is_some()),
        ('M', options.smc.is_some_and(|smc| smc.value)),
        ('N', options.smc.is_some_and(|smc| !smc.value)),
    ];
    letters
        .into_iter()
        .filter(|(_, holds)| *holds)
        .map(|(letter, _)| letter)
        .collect()
}

/// The register for people (`RPT-02`, `RPT-08`: ports have five digits, and
/// unreserved ones the word UNRSV). With `verbose`, also which of a port's
/// entries is looked at when and why, where it is written, and every holder.
pub fn text(rows: &[PortRow], verbose: bool) -> String {
    let mut header = vec![
        "PORT",
        "PROT",
        "USER",
        "FLAGS",
        "RANGE",
        "IP ADDRESS",
        "SAF NAME",
        "MODE",
        "STATE",
        "HOLDER",
        "REFUSED",
        "DESCRIPTION",
    ];
    if verbose {
        header.splice(3..3, ["ORDER", "BECAUSE IT IS"]);
        header.push("WRITTEN IN");
    }
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let port = match row.first {
            0 => "UNRSV".to_owned(),
            first => format!("{first:05}"),
        };
        let range = match row.flags.contains('R') {
            true => format!("{:05}-{:05}", row.first, row.last),
            false => String::new(),
        };
        let mut holders = match verbose {
            true => every_holder(row),
            false => vec![holders(row)],
        }
        .into_iter();
        let mut cells = vec![
            port,
            row.protocol.to_ascii_uppercase(),
            row.jobname.clone(),
            row.flags.clone(),
            range,
            row.address.clone().unwrap_or_default(),
            row.saf.clone().unwrap_or_default(),
            mode(row),
            row.state.clone().unwrap_or_default(),
            holders.next().unwrap_or_default(),
            row.refusals.to_string(),
            row.description.as_deref().map(escaped).unwrap_or_default(),
        ];
        if verbose {
            cells.splice(3..3, [row.order.to_string(), row.closeness.clone()]);
            cells.push(escaped(&format!("{}:{}", row.file, row.line)));
        }
        lines.push(cells);
        // Holders after the first have lines of their own.
        for holder in holders {
            let name = |name: &&str| {
                if *name == "HOLDER" {
                    holder.clone()
                } else {
                    String::new()
                }
            };
            lines.push(header.iter().map(name).collect());
        }
    }
    table(&header, lines, &LEAST_IMPORTANT)
}

/// That what the entry refuses is only told; nothing if it is enforced, as most are.
fn mode(row: &PortRow) -> String {
    match (row.mode.as_str(), &row.audited) {
        ("enforce", _) => String::new(),
        (_, Some(ports)) => format!("audit {ports}"),
        (mode, None) => mode.to_owned(),
    }
}

/// Columns that may be narrower than what is in them, the first one first.
const LEAST_IMPORTANT: [&str; 7] = [
    "DESCRIPTION",
    "BECAUSE IT IS",
    "WRITTEN IN",
    "HOLDER",
    "SAF NAME",
    "MODE",
    "IP ADDRESS",
];

/// The first holder, and how many other processes there are.
fn holders(row: &PortRow) -> String {
    let Some(first) = &row.holder else {
        return String::new();
    };
    let processes: BTreeSet<Option<u32>> = row.holders.iter().map(|holder| holder.pid).collect();
    match processes.len() {
        0 | 1 => process(first),
        more => format!("{} +{}", process(first), more - 1),
    }
}

/// One text for each socket.
fn every_holder(row: &PortRow) -> Vec<String> {
    let lines = row.holders.iter().map(|holder| {
        let unit = holder
            .unit
            .as_deref()
            .map_or_else(String::new, |unit| format!(", {}", escaped(unit)));
        format!("{:05} {}{unit}", holder.port, process(holder))
    });
    lines.collect()
}

/// A holder in a few words.
pub(super) fn process(holder: &PortHolder) -> String {
    let orphaned = match holder.orphan {
        Some(_) => ", orphaned",
        None => "",
    };
    match (&holder.comm, holder.pid) {
        (Some(comm), Some(pid)) => format!("{} (pid {pid}{orphaned})", escaped(comm)),
        _ => "unseen".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::listeners::tests::policy;

    /// `RPT-02`: unreserved ports have a word in the place of a number; `RPT-04`, `RPT-05`: a
    /// letter for each option.
    #[test]
    fn options_are_letters() {
        let policy = policy(
            "PORT UNRSV TCP APP SAF RES
 UNRSV UDP APP
 UNRSV UDP * DENY
 21 TCP FTPD NODELAYACKS SAF RES
 80 TCP WEB SHAREPORT
 81 TCP WEB NOAUTOLOG SHAREPORTWLM
 82 TCP WEB BIND 192.0.2.1
 83 TCP RESERVED
PORTRANGE 4000 2 UDP APP
",
            "[servauth.\"EZB.PORTACCESS.*.*.RES\"]\n",
        );
        let rows = rows(&policy, |_| 0, &Observed::default());
        let flags = |protocol: &str, port: u16, user: &str| {
            let is_it = |row: &&PortRow| {
                row.protocol == protocol && row.port == port && row.jobname == user
            };
            rows.iter().find(is_it).map(|row| row.flags.as_str())
        };
        for (protocol, port, user, letters) in [
            ("tcp", 0, "APP", "LF"),
            ("udp", 0, "APP", "B"),
            ("udp", 0, "*", "BX"),
            ("tcp", 21, "FTPD", "AF"),
            ("tcp", 80, "WEB", "ADS"),
            ("tcp", 81, "WEB", "DW"),
            ("tcp", 82, "WEB", "ADB"),
            ("tcp", 83, "RESERVED", ""),
            ("udp", 4000, "APP", "ADR"),
        ] {
            let found = flags(protocol, port, user);
            assert_eq!(found, Some(letters), "{protocol}/{port} {user}");
        }
        let shown = text(&rows, false);
        let unreserved = shown.lines().filter(|line| line.contains("UNRSV"));
        assert_eq!(unreserved.count(), 3, "{shown}");
    }
}
