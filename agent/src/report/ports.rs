//! The register of reserved ports, with NETSTAT PORTLIST's columns first.

use portreeve_common::abi::Protocol;

use super::{plain, table};
use crate::{
    daemon::protocol::PortRow,
    diagnostics::escaped,
    policy::{
        build::Policy,
        reservations::{Kind, Reservation},
        specificity::Specificity,
    },
    profile::ast::{Share, User, When},
};

/// One row per entry, by protocol and port (`RPT-01`, `RPT-03`).
pub fn rows(policy: &Policy, refusals: impl Fn(u32) -> u64) -> Vec<PortRow> {
    let indexes = 0..policy.compiled.image.entries.len() as u32;
    let mut rows: Vec<PortRow> = Vec::with_capacity(indexes.len());
    for index in indexes {
        let Some(reservation) = policy.reservation_of(index) else {
            continue;
        };
        let mut row = row(policy, reservation, refusals(index));
        // Entries of one port stand side by side, in the order of the search.
        if let Some(previous) = rows.last()
            && (&previous.protocol, previous.first, previous.last)
                == (&row.protocol, row.first, row.last)
        {
            row.order = previous.order + 1;
        }
        rows.push(row);
    }
    rows
}

fn row(policy: &Policy, reservation: &Reservation, refusals: u64) -> PortRow {
    let place = policy.place_of(reservation);
    PortRow {
        port: reservation.first,
        protocol: reservation.protocol.name().into(),
        jobname: reservation.user.to_string(),
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
        order: 1,
        closeness: Specificity::of(&reservation.user).words().to_owned(),
        state: None,
        holder: None,
        refusals,
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
/// entries is looked at when and why, and where it is written.
pub fn text(rows: &[PortRow], verbose: bool) -> String {
    let mut header = vec![
        "PORT",
        "PROT",
        "USER",
        "FLAGS",
        "RANGE",
        "IP ADDRESS",
        "SAF NAME",
        "REFUSED",
        "DESCRIPTION",
    ];
    if verbose {
        header.splice(3..3, ["ORDER", "BECAUSE IT IS"]);
        header.push("WRITTEN IN");
    }
    let mut table = table(&header);
    for row in rows {
        let port = match row.first {
            0 => "UNRSV".to_owned(),
            first => format!("{first:05}"),
        };
        let range = match row.flags.contains('R') {
            true => format!("{:05}-{:05}", row.first, row.last),
            false => String::new(),
        };
        let mut cells = vec![
            port,
            row.protocol.to_ascii_uppercase(),
            row.jobname.clone(),
            row.flags.clone(),
            range,
            row.address.clone().unwrap_or_default(),
            row.saf.clone().unwrap_or_default(),
            row.refusals.to_string(),
            row.description.as_deref().map(escaped).unwrap_or_default(),
        ];
        if verbose {
            cells.splice(3..3, [row.order.to_string(), row.closeness.clone()]);
            cells.push(escaped(&format!("{}:{}", row.file, row.line)));
        }
        table.add_row(cells);
    }
    plain(&table)
}
