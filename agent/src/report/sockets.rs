//! Every socket, as NETSTAT CONN and ALL show them (`RPT-11` to `RPT-13`).

#[cfg(test)]
mod tests;

use std::{collections::HashMap, net::IpAddr};

use super::table;
use crate::{
    daemon::{events::moment, protocol::SocketRow},
    diagnostics::escaped,
    policy::{
        build::Policy,
        holdings::{entry_of, job},
    },
    ports::{Connection, ConnectionState, Holder, units::unit_of},
    profile::ast::Share,
};

/// A row for each of `found`, in their order, with what `policy` says of their ports.
pub fn rows(policy: &Policy, found: &[(Connection, Vec<Holder>)]) -> Vec<SocketRow> {
    let mut groups: HashMap<(u8, IpAddr, u16), u32> = HashMap::new();
    for (connection, _) in found.iter().filter(|(connection, _)| serves(connection)) {
        *groups.entry(place(connection)).or_default() += 1;
    }
    let row = |(connection, holders): &(Connection, Vec<Holder>)| {
        let group = groups.get(&place(connection)).copied();
        let group = group.filter(|_| serves(connection)).unwrap_or(0);
        row(policy, connection, holders, group)
    };
    found.iter().map(row).collect()
}

/// What listeners that share connections have in common.
fn place(connection: &Connection) -> (u8, IpAddr, u16) {
    let socket = &connection.socket;
    (socket.protocol as u8, socket.address, socket.port)
}

fn serves(connection: &Connection) -> bool {
    match connection.state {
        ConnectionState::Listen => true,
        ConnectionState::Udp => connection.peer.is_none(),
        ConnectionState::Bound | ConnectionState::Connection(_) => false,
    }
}

fn row(policy: &Policy, connection: &Connection, holders: &[Holder], group: u32) -> SocketRow {
    let socket = &connection.socket;
    let entry = entry_of(policy, (socket.protocol, socket.port));
    let by_unit = holders.iter().find(|holder| holder.unit.is_some());
    let holder = by_unit.or_else(|| holders.first());
    let unit = holder.and_then(|holder| {
        let of_cgroup = || {
            holder
                .cgroup
                .as_deref()
                .and_then(unit_of)
                .map(str::to_owned)
        };
        holder.unit.clone().or_else(of_cgroup)
    });
    let share = entry.and_then(|entry| entry.options.share);
    SocketRow {
        user: holder.and_then(|holder| job(policy, socket, holder)),
        id: format!("{:08X}", socket.inode),
        protocol: socket.protocol.name().to_owned(),
        local_address: socket.address.to_string(),
        local_port: socket.port,
        foreign_address: connection.peer.map(|peer| peer.ip().to_string()),
        foreign_port: connection.peer.map_or(0, |peer| peer.port()),
        state: connection.state.name().to_owned(),
        serves: serves(connection),
        reserved_for: entry.map(|entry| entry.user.to_string()),
        pid: holder.map(|holder| holder.pid),
        comm: holder.map(|holder| match holder.unit {
            // systemd itself has what it bound by another process.
            Some(_) => "systemd".to_owned(),
            None => holder.comm.clone(),
        }),
        unit,
        uid: holder.map_or(socket.uid, |holder| holder.uid),
        since: holder.map(|holder| format!("{:.0}", moment(holder.started))),
        sharing: match share.map(|share| share.value) {
            Some(Share::Even) => "even",
            Some(Share::Weighted) => "weighted",
            None => "none",
        }
        .to_owned(),
        group,
        queue: connection.waiting,
        limit: connection.limit,
    }
}

/// Columns that may be narrower than what is in them, the first one first.
const LEAST_IMPORTANT: [&str; 4] = ["UNIT", "SINCE", "PROCESS", "RESERVED FOR"];

/// The sockets for people; with `details` all that is known of each.
pub fn text(rows: &[SocketRow], details: bool) -> String {
    let mut header = vec![
        "USER",
        "ID",
        "PROT",
        "LOCAL SOCKET",
        "FOREIGN SOCKET",
        "STATE",
        "RESERVED FOR",
    ];
    if details {
        header.extend(["PROCESS", "UNIT", "SINCE", "SHARE", "QUEUE"]);
    }
    let lines = rows.iter().map(|row| {
        let mut cells = vec![
            row.user.as_deref().map(escaped).unwrap_or_default(),
            row.id.clone(),
            row.protocol.to_ascii_uppercase(),
            pair(&row.local_address, row.local_port),
            match &row.foreign_address {
                Some(address) => pair(address, row.foreign_port),
                None => String::new(),
            },
            row.state.clone(),
            row.reserved_for.clone().unwrap_or_default(),
        ];
        if details {
            cells.extend(details_of(row));
        }
        cells
    });
    table(&header, lines.collect(), &LEAST_IMPORTANT)
}

fn details_of(row: &SocketRow) -> [String; 5] {
    let process = match (&row.comm, row.pid) {
        (Some(comm), Some(pid)) => format!("{} (pid {pid})", escaped(comm)),
        _ => "unseen".to_owned(),
    };
    let sharing = match (row.sharing.as_str(), row.group) {
        ("none", 0 | 1) => String::new(),
        ("none", group) => format!("{group} together"),
        (kind, group) => format!("{kind}, {group} together"),
    };
    [
        process,
        row.unit.as_deref().map(escaped).unwrap_or_default(),
        row.since.clone().unwrap_or_default(),
        sharing,
        format!("{}/{}", row.queue, row.limit),
    ]
}

/// An address with a port, as it is written in a URL.
fn pair(address: &str, port: u16) -> String {
    match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    }
}
