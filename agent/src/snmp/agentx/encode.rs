//! Writing messages: in network byte order, without contexts.

use super::{
    Body, HEAD, INTERNET, Message, NETWORK_BYTE_ORDER, SearchRange, VERSION, Value, VarBind, kind,
    tag,
};
use crate::oid::Oid;

/// `message` as it is sent.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(256));
    let head = message.head;
    out.bytes(&[VERSION, kind_of(&message.body), NETWORK_BYTE_ORDER, 0]);
    for word in [head.session, head.transaction, head.packet, 0] {
        out.word(word);
    }
    out.body(&message.body);
    let length = (out.0.len() - HEAD) as u32;
    out.0[HEAD - 4..HEAD].copy_from_slice(&length.to_be_bytes());
    out.0
}

const fn kind_of(body: &Body) -> u8 {
    match body {
        Body::Open { .. } => kind::OPEN,
        Body::Close(_) => kind::CLOSE,
        Body::Register { .. } => kind::REGISTER,
        Body::AddAgentCaps { .. } => kind::ADD_AGENT_CAPS,
        Body::Get(_) => kind::GET,
        Body::GetNext(_) => kind::GET_NEXT,
        Body::GetBulk { .. } => kind::GET_BULK,
        Body::TestSet(_) => kind::TEST_SET,
        Body::CommitSet => kind::COMMIT_SET,
        Body::UndoSet => kind::UNDO_SET,
        Body::CleanupSet => kind::CLEANUP_SET,
        Body::Notify(_) => kind::NOTIFY,
        Body::Ping => kind::PING,
        Body::Response { .. } => kind::RESPONSE,
        Body::Other { kind, .. } => *kind,
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn half(&mut self, half: u16) {
        self.bytes(&half.to_be_bytes());
    }

    fn word(&mut self, word: u32) {
        self.bytes(&word.to_be_bytes());
    }

    fn octets(&mut self, octets: &[u8]) {
        self.word(octets.len() as u32);
        self.bytes(octets);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn oid(&mut self, oid: &Oid, include: bool) {
        let numbers = oid.numbers();
        let short = match numbers.strip_prefix(&INTERNET) {
            Some([prefix @ 1..=255, rest @ ..]) => Some((*prefix as u8, rest)),
            _ => None,
        };
        let (prefix, rest) = short.unwrap_or((0, numbers));
        self.bytes(&[rest.len() as u8, prefix, include.into(), 0]);
        for number in rest {
            self.word(*number);
        }
    }

    fn body(&mut self, body: &Body) {
        match body {
            Body::Open {
                timeout,
                id,
                description,
            } => {
                self.bytes(&[*timeout, 0, 0, 0]);
                self.oid(id, false);
                self.octets(description.as_bytes());
            }
            Body::Close(reason) => self.bytes(&[*reason as u8, 0, 0, 0]),
            Body::Register {
                timeout,
                priority,
                subtree,
            } => {
                self.bytes(&[*timeout, *priority, 0, 0]);
                self.oid(subtree, false);
            }
            Body::AddAgentCaps { id, description } => {
                self.oid(id, false);
                self.octets(description.as_bytes());
            }
            Body::Get(ranges) | Body::GetNext(ranges) => self.ranges(ranges),
            Body::GetBulk {
                non_repeaters,
                max_repetitions,
                ranges,
            } => {
                self.half(*non_repeaters);
                self.half(*max_repetitions);
                self.ranges(ranges);
            }
            Body::TestSet(values) | Body::Notify(values) => self.values(values),
            Body::Response {
                uptime,
                error,
                index,
                values,
            } => {
                self.word(*uptime);
                self.half(*error);
                self.half(*index);
                self.values(values);
            }
            Body::CommitSet
            | Body::UndoSet
            | Body::CleanupSet
            | Body::Ping
            | Body::Other { .. } => {}
        }
    }

    fn ranges(&mut self, ranges: &[SearchRange]) {
        for range in ranges {
            self.oid(&range.start, range.includes_start);
            self.oid(&range.end, false);
        }
    }

    fn values(&mut self, values: &[VarBind]) {
        for VarBind { name, value } in values {
            self.half(tag_of(value));
            self.half(0);
            self.oid(name, false);
            match value {
                Value::Integer(number) => self.word(number.cast_unsigned()),
                Value::Octets(octets) | Value::Opaque(octets) => self.octets(octets),
                Value::Oid(oid) => self.oid(oid, false),
                Value::IpAddress(address) => self.octets(address),
                Value::Counter32(number) | Value::Gauge32(number) | Value::TimeTicks(number) => {
                    self.word(*number);
                }
                Value::Counter64(number) => self.bytes(&number.to_be_bytes()),
                Value::Null | Value::NoSuchObject | Value::NoSuchInstance | Value::EndOfView => {}
            }
        }
    }
}

const fn tag_of(value: &Value) -> u16 {
    match value {
        Value::Integer(_) => tag::INTEGER,
        Value::Octets(_) => tag::OCTETS,
        Value::Null => tag::NULL,
        Value::Oid(_) => tag::OID,
        Value::IpAddress(_) => tag::IP_ADDRESS,
        Value::Counter32(_) => tag::COUNTER32,
        Value::Gauge32(_) => tag::GAUGE32,
        Value::TimeTicks(_) => tag::TIME_TICKS,
        Value::Opaque(_) => tag::OPAQUE,
        Value::Counter64(_) => tag::COUNTER64,
        Value::NoSuchObject => tag::NO_SUCH_OBJECT,
        Value::NoSuchInstance => tag::NO_SUCH_INSTANCE,
        Value::EndOfView => tag::END_OF_VIEW,
    }
}
