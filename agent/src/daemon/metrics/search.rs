//! Looking for entries in the register.

use std::collections::HashMap;

use portreeve_common::abi::Protocol;
use serde::Serialize;

use super::{map::PortState, observer::Sockets, snapshot::Snapshot};
use crate::{
    daemon::protocol::{EventRecord, PortRow},
    policy::{
        explain::protocol,
        holdings::Holding,
        reservations::{Kind, Reservation},
    },
    report::{
        ports::{Observed, row},
        refusals::Refusals,
    },
};

/// Most rows of one answer.
const MOST_ROWS: usize = 200;
/// Rows of an answer, unless so many are asked for.
const ROWS: usize = 50;
/// Most words that are looked for.
const MOST_WORDS: usize = 8;

/// What is looked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Every word has to be in it, in small letters.
    words: Vec<String>,
    /// One of its ports has to be in this state.
    state: Option<PortState>,
    /// Rows that are left out before.
    offset: usize,
    /// Rows at most.
    limit: usize,
}

impl Query {
    /// Reads the part of an address behind `?`.
    ///
    /// # Errors
    ///
    /// Says in a sentence what is wrong.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut query = Self {
            limit: ROWS,
            ..Self::default()
        };
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let number = || {
                let number = value.parse::<u32>();
                number.map_err(|_| format!("{name} is a number"))
            };
            match &*name {
                "q" => {
                    let words = value.split_whitespace().take(MOST_WORDS);
                    query.words = words.map(str::to_lowercase).collect();
                }
                "state" => {
                    let mut states = PortState::ALL.into_iter();
                    let state = states.find(|state| state.name() == value);
                    query.state = Some(state.ok_or("there is no such state")?);
                }
                "offset" => query.offset = number()? as usize,
                "limit" => query.limit = (number()? as usize).min(MOST_ROWS),
                _ => return Err("q, state, offset and limit can be asked for".into()),
            }
        }
        Ok(query)
    }
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
    /// The policy.
    pub generation: u32,
    /// Entries in it.
    pub total: usize,
    /// Those that were looked for.
    pub matched: usize,
    /// Rows left out before the first of these.
    pub offset: usize,
    /// So many of them, as `ports` shows them.
    pub rows: Vec<PortRow>,
}

/// Looks for `query` in the register. `events` are those that the agent keeps.
pub fn search(
    query: &Query,
    snapshot: &Snapshot,
    sockets: &Sockets,
    events: Vec<EventRecord>,
) -> Found {
    let policy = &sockets.policy;
    let holdings = sockets.holdings.as_deref();
    let entries = policy.compiled.image.entries.len();
    let held = by_port(holdings.unwrap_or_default());
    let matches = |index: &u32| {
        let entry = policy.reservation_of(*index);
        entry.is_some_and(|entry| is_it(query, entry, sockets, &held))
    };
    let found: Vec<u32> = (0..entries as u32).filter(matches).collect();
    let observed = Observed {
        holdings: holdings.ok().map(<[Holding]>::to_vec),
        refusals: Refusals::new(events),
        ..Observed::default()
    };
    let refusals: HashMap<u32, u64> = snapshot.refusals.iter().copied().collect();
    let shown = found.iter().skip(query.offset).take(query.limit);
    let rows = shown.filter_map(|index| {
        let refusals = refusals.get(index).copied().unwrap_or_default();
        row(policy, *index, refusals, &observed)
    });
    Found {
        generation: snapshot.status.generation,
        total: entries,
        matched: found.len(),
        offset: query.offset,
        rows: rows.collect(),
    }
}

type Held<'h> = HashMap<(Protocol, u16), Vec<&'h Holding>>;

fn by_port(holdings: &[Holding]) -> Held<'_> {
    let mut held = Held::new();
    for holding in holdings {
        let key = (holding.socket.protocol, holding.socket.port);
        held.entry(key).or_default().push(holding);
    }
    held
}

fn is_it(query: &Query, entry: &Reservation, sockets: &Sockets, held: &Held<'_>) -> bool {
    let (first, last) = (u32::from(entry.first), u32::from(entry.last));
    let ports = match entry.kind {
        Kind::Unreserved => 0..0,
        Kind::Port | Kind::Range => first..last + 1,
    };
    let ports = ports.filter_map(|port| u16::try_from(port).ok());
    let is_state = |state| {
        let state_of = |port| sockets.map.of(entry.protocol, port);
        ports.clone().any(|port| state_of(port) == state)
    };
    if !query.state.is_none_or(is_state) {
        return false;
    }
    if query.words.is_empty() {
        return true;
    }
    let mut holders = String::new();
    for port in ports {
        for holding in held.get(&(entry.protocol, port)).into_iter().flatten() {
            if let Some(speaker) = &holding.speaker {
                let job = speaker.job.as_deref().unwrap_or_default();
                holders += &format!("{} {job} {} ", speaker.holder.comm, speaker.holder.pid);
            }
        }
    }
    let job = entry.user.to_string();
    let description = entry.description.as_deref().unwrap_or_default();
    let saf = entry.options.saf.as_ref();
    let saf = saf.map_or("", |saf| saf.value.as_str());
    let kind = match entry.kind {
        Kind::Unreserved => "unrsv",
        Kind::Port | Kind::Range => "",
    };
    let text = format!(
        "{} {job} {description} {saf} {kind} {holders}",
        entry.protocol.name()
    )
    .to_lowercase();
    query
        .words
        .iter()
        .all(|word| text.contains(word) || is_port(word, entry))
}

/// Whether `word` is one of the ports of `entry`: `21`, `tcp/21`, or the beginning of it.
fn is_port(word: &str, entry: &Reservation) -> bool {
    if entry.kind == Kind::Unreserved {
        return false;
    }
    let number = match word.split_once('/') {
        Some((name, number)) if protocol(name) == Some(entry.protocol) => number,
        Some(_) => return false,
        None => word,
    };
    let is_in = |port: u16| (entry.first..=entry.last).contains(&port);
    number.parse().is_ok_and(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::listeners::tests::policy;

    #[test]
    fn a_query_is_read_or_refused() {
        let query = Query::read("q=tcp%2F21+FTPD&state=open&offset=100&limit=9999").unwrap();
        assert_eq!(query.words, ["tcp/21", "ftpd"]);
        assert_eq!(query.state, Some(PortState::Open));
        assert_eq!((query.offset, query.limit), (100, MOST_ROWS));
        assert_eq!(Query::read("").unwrap().limit, ROWS);
        for wrong in ["state=shut", "limit=-1", "offset=x", "sort=port"] {
            assert!(Query::read(wrong).is_err(), "{wrong}");
        }
        let many = format!("q={}", "a+".repeat(1000));
        assert_eq!(Query::read(&many).unwrap().words.len(), MOST_WORDS);
    }

    #[test]
    fn ports_are_found_by_number() {
        let policy = policy("PORTRANGE 4000 100 TCP OMVS\nPORT UNRSV UDP A\n", "");
        let [range, unreserved] = &policy.reservations[..] else {
            panic!("two entries");
        };
        for (word, is_it) in [
            ("4000", true),
            ("4099", true),
            ("tcp/4050", true),
            ("TCP/4050", true),
            ("udp/4050", false),
            ("4100", false),
            ("40", false),
            ("", false),
            ("tcp/", false),
        ] {
            assert_eq!(is_port(word, range), is_it, "{word}");
            assert!(!is_port(word, unreserved), "{word}");
        }
    }
}
