//! The register of reserved ports, with NETSTAT PORTLIST's columns first.

use super::{plain, table};
use crate::{
    daemon::protocol::PortRow,
    policy::{
        reservations::{Kind, Reservation},
        source::Policy,
    },
    profile::ast::User,
};

/// One row per entry, by protocol and port (`RPT-01`, `RPT-03`).
pub fn rows(policy: &Policy, refusals: impl Fn(u32) -> u64) -> Vec<PortRow> {
    let indexes = 0..policy.compiled.image.entries.len() as u32;
    indexes
        .filter_map(|index| {
            let reservation = policy.reservation_of(index)?;
            Some(row(policy, reservation, refusals(index)))
        })
        .collect()
}

fn row(policy: &Policy, reservation: &Reservation, refusals: u64) -> PortRow {
    let place = policy.place_of(reservation);
    PortRow {
        port: reservation.first,
        protocol: reservation.protocol.name().into(),
        jobname: jobname(&reservation.user).into(),
        flags: flags(reservation),
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
        description: reservation.description.clone(),
        line: place.line,
        file: place.file,
        state: None,
        holder: None,
        refusals,
    }
}

/// The jobname operand as the profile spells it, folded.
pub fn jobname(user: &User) -> &str {
    match user {
        User::Job(name) => name,
        User::Anyone => "*",
        User::Omvs => "OMVS",
        User::Reserved => "RESERVED",
        User::Authport => "AUTHPORT",
    }
}

/// Flag letters of port-control 6.1 (`RPT-04`, `RPT-05`).
fn flags(reservation: &Reservation) -> String {
    let options = &reservation.options;
    let takes_options = !matches!(reservation.user, User::Reserved | User::Authport);
    let mut flags = String::new();
    let mut add = |letter, holds: bool| {
        if holds {
            flags.push(letter);
        }
    };
    add('A', takes_options && options.no_autolog.is_none());
    add(
        'D',
        takes_options && options.delay_acks.as_ref().is_none_or(|delay| delay.value),
    );
    add('R', reservation.kind == Kind::Range);
    add('B', options.bind.is_some());
    add('F', options.saf.is_some());
    add('M', options.smc.as_ref().is_some_and(|smc| smc.value));
    add('N', options.smc.as_ref().is_some_and(|smc| !smc.value));
    flags
}

/// The register for people (`RPT-08`: ports have five digits).
pub fn text(rows: &[PortRow]) -> String {
    let mut table = table(&[
        "PORT",
        "PROT",
        "USER",
        "FLAGS",
        "RANGE",
        "IP ADDRESS",
        "SAF NAME",
        "REFUSED",
        "DESCRIPTION",
    ]);
    for row in rows {
        let range = if row.flags.contains('R') {
            format!("{:05}-{:05}", row.first, row.last)
        } else {
            String::new()
        };
        table.add_row([
            format!("{:05}", row.port),
            row.protocol.to_ascii_uppercase(),
            row.jobname.clone(),
            row.flags.clone(),
            range,
            row.address.clone().unwrap_or_default(),
            row.saf.clone().unwrap_or_default(),
            row.refusals.to_string(),
            row.description.clone().unwrap_or_default(),
        ]);
    }
    plain(&table)
}
