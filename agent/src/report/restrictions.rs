//! The ports that are for certain users only, as IBM i displays them.

use nix::unistd::{Uid, User};
use serde::Serialize;

use super::table;
use portreeve_common::abi::Mode;

use crate::policy::{build::Policy, restrictions::Restriction};

/// One user of one restriction; the field names are a contract (`IBI-15`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// First port.
    pub lower: u16,
    /// Last port; `None` if it is only the first.
    pub upper: Option<u16>,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The user's name, or else number; `None` if nobody may have the ports.
    pub user: Option<String>,
    /// The user's number.
    pub uid: Option<u32>,
    /// `enforce`; `audit`, if what it refuses is only told; `partly`, if that holds for
    /// some of its ports.
    pub mode: &'static str,
    /// The file it is written in.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

fn mode(policy: &Policy, restriction: &Restriction) -> &'static str {
    let Restriction {
        protocol,
        first,
        last,
        ..
    } = *restriction;
    match policy.config.mode {
        Mode::Audit => Mode::Audit.name(),
        Mode::Enforce => policy.audited.extent(protocol, first, last).name(),
    }
}

/// One row per restriction and user, by protocol and port.
pub fn rows(policy: &Policy) -> Vec<Row> {
    let mut rows = Vec::new();
    for restriction in &policy.restrictions {
        let row = |uid: Option<u32>| Row {
            lower: restriction.first,
            upper: (restriction.last != restriction.first).then_some(restriction.last),
            protocol: restriction.protocol.name(),
            user: uid.map(name),
            uid,
            mode: mode(policy, restriction),
            file: policy
                .sources
                .path(restriction.span.source)
                .display()
                .to_string(),
            line: policy.sources.line(restriction.span),
        };
        if restriction.users.is_empty() {
            rows.push(row(None));
        }
        rows.extend(restriction.users.iter().map(|uid| row(Some(*uid))));
    }
    rows.sort_by(|one, other| {
        let key = |row: &Row| (row.protocol, row.lower, row.upper, row.uid);
        key(one).cmp(&key(other))
    });
    rows
}

fn name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid));
    user.ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |user| user.name)
}

/// The list for people.
pub fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no port is restricted to users".to_owned();
    }
    // IBM i's columns, unless there is more to say.
    let is_audited = |row: &Row| row.mode != Mode::Enforce.name();
    let says_mode = rows.iter().any(is_audited);
    let mut header = vec!["LOWER PORT", "UPPER PORT", "PROTOCOL", "USER"];
    header.extend(says_mode.then_some("MODE"));
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let mut cells = vec![
            row.lower.to_string(),
            row.upper
                .map_or_else(|| "*ONLY".to_owned(), |upper| upper.to_string()),
            format!("*{}", row.protocol.to_ascii_uppercase()),
            row.user.clone().unwrap_or_else(|| "nobody".to_owned()),
        ];
        cells.extend(says_mode.then(|| row.mode.to_owned()));
        lines.push(cells);
    }
    table(&header, lines, &["USER"])
}
