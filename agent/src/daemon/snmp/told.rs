//! What the subagent is told of, as managers are to be told of it.

use std::time::Instant;

use crate::{
    daemon::protocol::{EventRecord, PortNews},
    oid::Oid,
    policy::{build::Policy, explain::protocol, holdings::State},
    ports::register::Port,
    snmp::{
        agentx::{Value, VarBind},
        mib::{NOTIFICATIONS, NOTIFIED, octets, protocol_number, state_number},
        notices::{Notice, Notices, Refusal},
    },
};

/// `snmpTrapOID.0`, which says what is notified of (RFC 3418).
const TRAP_OID: [u32; 11] = [1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0];

/// A line of one of the agent's streams.
pub enum Line {
    /// Of that of judged binds.
    Event(String),
    /// Of that of ports.
    Port(String),
}

impl Line {
    /// Takes it in. Of ports only those are told of which the policy has a word for, or of
    /// which something is expected.
    pub fn note(&self, policy: &Policy, notices: &mut Notices, now: Instant) {
        match self {
            Self::Event(text) => {
                if let Some(refusal) = serde_json::from_str(text).ok().and_then(refusal) {
                    notices.refusal(refusal, now);
                }
            }
            Self::Port(text) => {
                let Some((port, from, to, process)) =
                    serde_json::from_str(text).ok().and_then(change)
                else {
                    return;
                };
                let (protocol, number) = port;
                let is_named = !policy.entries_of(protocol, number).is_empty();
                if is_named || policy.expected.of(protocol, number).is_some() {
                    notices.port(port, from, to, process, now);
                }
            }
        }
    }
}

/// What an event tells of a refusal that was made.
fn refusal(record: EventRecord) -> Option<Refusal> {
    if record.verdict != "deny" {
        return None;
    }
    let protocol = protocol(record.protocol.as_deref()?)?;
    let entry = record.entry.and_then(|entry| entry.text);
    let entry = entry.unwrap_or_default();
    Some(Refusal {
        jobname: job_of(&entry).to_owned(),
        entry: format!("{} {entry}", record.reason),
        port: (protocol, record.port?),
        process: record.comm.unwrap_or_default(),
        reason: record.reason,
        count: record.repeated.max(1),
    })
}

/// What news tells of a change.
fn change(news: PortNews) -> Option<(Port, State, State, String)> {
    let port = (protocol(&news.protocol)?, news.port);
    let (from, to) = (
        State::named(news.from.as_deref()?)?,
        State::named(&news.state)?,
    );
    Some((port, from, to, news.comm.unwrap_or_default()))
}

/// The job of an entry, as written: it follows the protocol.
fn job_of(entry: &str) -> &str {
    let mut words = entry.split_ascii_whitespace();
    let _protocol = words.find(|word| protocol(word).is_some());
    words.next().unwrap_or_default()
}

/// `notice` as it is sent, of a module at `base`.
pub fn values(notice: &Notice, base: &Oid, policy: &Policy) -> Vec<VarBind> {
    let [closed, opened, refused] = NOTIFICATIONS.map(|number| base.below(&number));
    let [
        protocol,
        number,
        state,
        jobname,
        process,
        reason,
        suppressed,
    ] = NOTIFIED.map(|place| base.below(&place));
    let of_port = |(of, port): Port| {
        [
            (protocol.clone(), Value::Integer(protocol_number(of).into())),
            (number.clone(), Value::Gauge32(port.into())),
        ]
    };
    let (what, values) = match notice {
        Notice::Port {
            port,
            state: of,
            process: name,
        } => {
            let what = match of {
                State::Open | State::Contradicted => opened,
                _ => closed,
            };
            let mut values = Vec::from(of_port(*port));
            values.push((state, Value::Integer(state_number(*of))));
            values.push((jobname, octets(&jobs(policy, *port))));
            values.push((process, octets(name)));
            (what, values)
        }
        Notice::Refused {
            port,
            jobname: job,
            process: name,
            reason: why,
            suppressed: more,
        } => {
            let mut values = Vec::from(of_port(*port));
            values.push((jobname, octets(job)));
            values.push((process, octets(name)));
            values.push((reason, octets(why)));
            let more = u32::try_from(*more).unwrap_or(u32::MAX);
            values.push((suppressed, Value::Gauge32(more)));
            (refused, values)
        }
    };
    let first = (Oid::new(TRAP_OID), Value::Oid(what));
    let all = std::iter::once(first).chain(values);
    all.map(|(name, value)| VarBind { name, value }).collect()
}

/// For whom a port is, with blanks between.
fn jobs(policy: &Policy, (protocol, port): Port) -> String {
    let entries = policy.entries_of(protocol, port);
    let entries = entries.filter_map(|entry| policy.reservation_of(entry));
    let names: Vec<String> = entries.map(|entry| entry.user.to_string()).collect();
    names.join(" ")
}
