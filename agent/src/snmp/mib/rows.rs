//! The rows of the table of reservations.

use std::collections::HashMap;

use portreeve_common::abi::Protocol;

use crate::policy::{
    build::Policy,
    holdings::{Holding, State},
    reservations::Reservation,
};

/// A row: a reservation, and what tells it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// As IP numbers it.
    protocol: u8,
    first: u16,
    /// Of several with the same first port, in the order in which they are written.
    ordinal: u32,
    /// Which of the policy's.
    pub reservation: u32,
}

impl Row {
    /// `prReservationProtocol`, `prReservationFirst`, `prReservationIndex`.
    pub fn index(&self) -> [u32; 3] {
        [self.protocol.into(), self.first.into(), self.ordinal]
    }
}

/// The number of `protocol` in IP.
pub const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// One for each of `reservations`, in the order of their indices.
pub fn of(reservations: &[Reservation]) -> Vec<Row> {
    let row = |(place, reservation): (usize, &Reservation)| Row {
        protocol: protocol_number(reservation.protocol),
        first: reservation.first,
        ordinal: 0,
        reservation: place as u32,
    };
    let mut rows: Vec<Row> = reservations.iter().enumerate().map(row).collect();
    rows.sort_unstable();
    let mut before = (0, 0, 0);
    for row in &mut rows {
        let ordinal = match before {
            (protocol, first, ordinal) if (protocol, first) == (row.protocol, row.first) => ordinal,
            _ => 0,
        };
        row.ordinal = ordinal + 1;
        before = (row.protocol, row.first, row.ordinal);
    }
    rows
}

/// By reservation what its ports are and who has one of them: who is worst, as `ports` shows
/// it. Only those are in it of which somebody has a port.
pub fn held(policy: &Policy, holdings: &[Holding]) -> HashMap<u32, (State, String)> {
    let mut held: HashMap<u32, (State, String)> = HashMap::new();
    for holding in holdings {
        let state = holding.state();
        let socket = &holding.socket;
        for entry in policy.entries_of(socket.protocol, socket.port) {
            let Some(origin) = policy.compiled.origins.get(entry as usize) else {
                continue;
            };
            let is_worse = held.get(origin).is_none_or(|(before, _)| *before < state);
            if is_worse {
                held.insert(*origin, (state, name(holding)));
            }
        }
    }
    held
}

/// Who has it: the job, or else the process; nothing if nobody is to be seen.
fn name(holding: &Holding) -> String {
    let speaker = holding.speaker.as_ref();
    let name = speaker.map(|speaker| match &speaker.job {
        Some(job) => job.clone(),
        None => speaker.holder.comm.clone(),
    });
    name.unwrap_or_default()
}
