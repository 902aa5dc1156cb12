//! Which objects there are, in the order of their identifiers, and what each is. The numbers
//! are those of `deploy/snmp/PORTREEVE-MIB.txt`, and never become others.

use portreeve_common::{Reason, abi::Mode};

use super::{View, rows::Row};
use crate::{
    policy::{
        holdings::State,
        reservations::{Kind, Reservation},
    },
    profile::ast::{Share, User, When},
    snmp::agentx::Value,
};

/// Longest `DisplayString`.
const MOST_TEXT: usize = 255;

/// An object: a scalar, or a column of a table.
pub struct Object {
    /// Where it is below the module.
    pub place: &'static [u32],
    /// What it is.
    pub what: What,
}

/// What an object is.
pub enum What {
    /// One value.
    Scalar(fn(&View) -> Value),
    /// One for each reservation.
    Reservation(fn(&View, &Row) -> Value),
    /// One for each reason.
    Reason(fn(&(Reason, [u64; 2])) -> Value),
}

/// Notifications: what is told of a port that is closed, one that is open, and a bind that
/// was refused.
pub const NOTIFICATIONS: [[u32; 2]; 3] = [[0, 1], [0, 2], [0, 3]];
/// What notifications say: protocol, port, state, jobname, process, reason, suppressed.
pub const NOTIFIED: [[u32; 4]; 7] = [
    [1, 4, 1, 0],
    [1, 4, 2, 0],
    [1, 4, 3, 0],
    [1, 4, 4, 0],
    [1, 4, 5, 0],
    [1, 4, 6, 0],
    [1, 4, 7, 0],
];

const fn scalar(place: &'static [u32], value: fn(&View) -> Value) -> Object {
    Object {
        place,
        what: What::Scalar(value),
    }
}

const fn column(place: &'static [u32], value: fn(&View, &Row) -> Value) -> Object {
    Object {
        place,
        what: What::Reservation(value),
    }
}

const fn reason(place: &'static [u32], value: fn(&(Reason, [u64; 2])) -> Value) -> Object {
    Object {
        place,
        what: What::Reason(value),
    }
}

/// All that can be read.
pub const OBJECTS: [Object; 16] = [
    scalar(&[1, 1, 1], mode),
    scalar(&[1, 1, 2], |view| Value::Gauge32(view.generation)),
    scalar(&[1, 1, 3], |view| Value::TimeTicks(view.last_change)),
    scalar(&[1, 1, 4], |view| Value::Counter64(refused(view, 0))),
    scalar(&[1, 1, 5], |view| Value::Counter64(refused(view, 1))),
    scalar(&[1, 1, 6], |_| octets(env!("CARGO_PKG_VERSION"))),
    column(&[1, 2, 1, 4], |view, row| {
        Value::Gauge32(reservation(view, row).last.into())
    }),
    column(&[1, 2, 1, 5], |view, row| {
        octets(&reservation(view, row).user.to_string())
    }),
    column(&[1, 2, 1, 6], |view, row| {
        Value::Integer(use_of(&reservation(view, row).user))
    }),
    column(&[1, 2, 1, 7], |view, row| {
        Value::Octets(flags(reservation(view, row)))
    }),
    column(&[1, 2, 1, 8], |view, row| Value::Integer(state(view, row))),
    column(&[1, 2, 1, 9], |view, row| {
        let held = view.held.as_ref();
        let held = held.and_then(|held| held.get(&row.reservation));
        octets(held.map_or("", |(_, name)| name))
    }),
    column(&[1, 2, 1, 10], |view, row| {
        let refusals = view.refusals.get(&row.reservation);
        Value::Counter64(refusals.copied().unwrap_or(0))
    }),
    reason(&[1, 3, 1, 2], |(reason, _)| octets(reason.id())),
    reason(&[1, 3, 1, 3], |(_, [made, _])| Value::Counter64(*made)),
    reason(&[1, 3, 1, 4], |(_, [_, told])| Value::Counter64(*told)),
];

/// A text as a `DisplayString`: printable ASCII.
pub fn octets(text: &str) -> Value {
    let printable = |char: char| match char {
        ' '..='~' => char as u8,
        _ => b'?',
    };
    Value::Octets(text.chars().map(printable).take(MOST_TEXT).collect())
}

fn mode(view: &View) -> Value {
    Value::Integer(match view.mode {
        Some(Mode::Enforce) => 1,
        Some(Mode::Audit) => 2,
        None => 3,
    })
}

/// How many refusals there were: made, or only told.
fn refused(view: &View, column: usize) -> u64 {
    let refusals = view.judged.iter().filter(|(reason, _)| reason.refuses());
    refusals.map(|(_, counts)| counts[column]).sum()
}

fn reservation<'v>(view: &'v View, row: &Row) -> &'v Reservation {
    &view.policy.reservations[row.reservation as usize]
}

const fn use_of(user: &User) -> i32 {
    match user {
        User::Reserved => 1,
        User::Authport => 2,
        User::Job(_) | User::Anyone | User::Omvs => 3,
    }
}

/// BITS: the first is the highest.
fn flags(reservation: &Reservation) -> Vec<u8> {
    let options = &reservation.options;
    let share = options.share.as_ref().map(|share| share.value);
    let when = options.when.as_ref().map(|when| when.value);
    let flags = [
        options.no_autolog.is_some(),
        options.delay_acks.as_ref().is_some_and(|acks| !acks.value),
        share == Some(Share::Even),
        share == Some(Share::Weighted),
        options.bind.is_some(),
        options.saf.is_some(),
        reservation.kind == Kind::Range,
        options.deny.is_some(),
        when == Some(When::Listen),
        when == Some(When::Bind),
    ];
    let mut bytes = vec![0; flags.len().div_ceil(8)];
    for (place, _) in flags.iter().enumerate().filter(|(_, flag)| **flag) {
        bytes[place / 8] |= 0x80 >> (place % 8);
    }
    bytes
}

/// `prReservationState`
fn state(view: &View, row: &Row) -> i32 {
    let entry = reservation(view, row);
    let Some(held) = view
        .held
        .as_ref()
        .filter(|_| entry.kind != Kind::Unreserved)
    else {
        return 1;
    };
    let nobodys = match entry.user {
        User::Reserved => State::Blocked,
        _ => State::Closed,
    };
    state_number(
        held.get(&row.reservation)
            .map_or(nobodys, |(state, _)| *state),
    )
}

/// A state as notifications and the table have it; 1 if it isn't known.
pub const fn state_number(state: State) -> i32 {
    match state {
        State::Blocked => 2,
        State::Closed => 3,
        State::Bound => 4,
        State::Open => 5,
        State::Contradicted => 6,
    }
}
