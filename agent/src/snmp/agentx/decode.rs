//! Reading messages, whoever wrote them: in either byte order, and never more than is there.

use thiserror::Error;

use super::{
    Body, CloseReason, HEAD, Head, INTERNET, MOST_PAYLOAD, Message, NETWORK_BYTE_ORDER,
    NON_DEFAULT_CONTEXT, SearchRange, VERSION, Value, VarBind, kind, tag,
};
use crate::oid::{MOST, Oid};

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// It is of another version.
    #[error("version {0} of AgentX is not known")]
    Version(u8),
    /// It is none of those that there are.
    #[error("there is no message of number {0}")]
    Kind(u8),
    /// Nobody has so much to say, or half a word.
    #[error("a message of {0} bytes")]
    Length(u32),
    /// It ends too early.
    #[error("a message that ends too early")]
    Short,
    /// Something is left.
    #[error("a message that doesn't end where it should")]
    Long,
    /// An object identifier has more than 128 numbers.
    #[error("an object identifier of {0} numbers")]
    Oid(usize),
    /// There is no such value.
    #[error("there is no value of number {0}")]
    Value(u16),
    /// There is no such reason to end a session.
    #[error("there is no reason {0} to end a session")]
    Reason(u8),
    /// A text isn't UTF-8.
    #[error("a description that is no text")]
    Text,
}

/// How many bytes follow `head`.
///
/// # Errors
///
/// If it is no head of a message that is taken.
pub fn payload_length(head: &[u8; HEAD]) -> Result<usize, DecodeError> {
    let [version, kind, flags, ..] = *head;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    if !(kind::OPEN..=kind::LAST).contains(&kind) {
        return Err(DecodeError::Kind(kind));
    }
    let [.., a, b, c, d] = *head;
    let length = word([a, b, c, d], flags);
    if length as usize > MOST_PAYLOAD || !length.is_multiple_of(4) {
        return Err(DecodeError::Length(length));
    }
    Ok(length as usize)
}

/// The message that has this `head` and this `payload`.
///
/// # Errors
///
/// Why they are none.
pub fn decode(head: &[u8; HEAD], payload: &[u8]) -> Result<Message, DecodeError> {
    if payload_length(head)? != payload.len() {
        return Err(DecodeError::Short);
    }
    let (kind, flags) = (head[1], head[2]);
    let mut words = Reader {
        rest: &head[4..],
        flags,
    };
    let head = Head {
        session: words.word()?,
        transaction: words.word()?,
        packet: words.word()?,
    };
    let mut reader = Reader {
        rest: payload,
        flags,
    };
    // Those that begin a session or answer have no context.
    let may_have = !matches!(kind, kind::OPEN | kind::CLOSE | kind::RESPONSE);
    if may_have && flags & NON_DEFAULT_CONTEXT != 0 {
        let body = Body::Other {
            kind,
            has_context: true,
        };
        return Ok(Message { head, body });
    }
    let body = reader.body(kind)?;
    match reader.rest.is_empty() || matches!(body, Body::Other { .. }) {
        true => Ok(Message { head, body }),
        false => Err(DecodeError::Long),
    }
}

const fn word(bytes: [u8; 4], flags: u8) -> u32 {
    match flags & NETWORK_BYTE_ORDER {
        0 => u32::from_le_bytes(bytes),
        _ => u32::from_be_bytes(bytes),
    }
}

struct Reader<'b> {
    rest: &'b [u8],
    flags: u8,
}

impl<'b> Reader<'b> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn half(&mut self) -> Result<u16, DecodeError> {
        let bytes = self.bytes()?;
        Ok(match self.flags & NETWORK_BYTE_ORDER {
            0 => u16::from_le_bytes(bytes),
            _ => u16::from_be_bytes(bytes),
        })
    }

    fn word(&mut self) -> Result<u32, DecodeError> {
        Ok(word(self.bytes()?, self.flags))
    }

    fn long(&mut self) -> Result<u64, DecodeError> {
        let bytes = self.bytes()?;
        Ok(match self.flags & NETWORK_BYTE_ORDER {
            0 => u64::from_le_bytes(bytes),
            _ => u64::from_be_bytes(bytes),
        })
    }

    fn octets(&mut self) -> Result<&'b [u8], DecodeError> {
        let length = self.word()? as usize;
        // No longer than the message: that is checked before anything is added to it.
        if length > self.rest.len() {
            return Err(DecodeError::Short);
        }
        let padded = length.next_multiple_of(4);
        let (octets, rest) = self
            .rest
            .split_at_checked(padded)
            .ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(&octets[..length])
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let octets = self.octets()?;
        String::from_utf8(octets.to_vec()).map_err(|_| DecodeError::Text)
    }

    /// An identifier, and whether it is meant itself.
    fn oid(&mut self) -> Result<(Oid, bool), DecodeError> {
        let [count, prefix, include, _] = self.bytes()?;
        let mut numbers = Vec::with_capacity(INTERNET.len() + 1 + usize::from(count));
        if prefix != 0 {
            numbers.extend(INTERNET);
            numbers.push(prefix.into());
        }
        if numbers.len() + usize::from(count) > MOST {
            return Err(DecodeError::Oid(numbers.len() + usize::from(count)));
        }
        for _ in 0..count {
            numbers.push(self.word()?);
        }
        Ok((Oid::new(numbers), include != 0))
    }

    fn body(&mut self, kind: u8) -> Result<Body, DecodeError> {
        Ok(match kind {
            kind::OPEN => {
                let [timeout, ..]: [u8; 4] = self.bytes()?;
                Body::Open {
                    timeout,
                    id: self.oid()?.0,
                    description: self.text()?,
                }
            }
            kind::CLOSE => {
                let [reason, ..]: [u8; 4] = self.bytes()?;
                Body::Close(reason_of(reason)?)
            }
            kind::REGISTER => {
                let [timeout, priority, range, _] = self.bytes()?;
                let subtree = self.oid()?.0;
                // Nobody registers with us; what a range ends with is all the same.
                if range != 0 {
                    self.word()?;
                }
                Body::Register {
                    timeout,
                    priority,
                    subtree,
                }
            }
            kind::ADD_AGENT_CAPS => Body::AddAgentCaps {
                id: self.oid()?.0,
                description: self.text()?,
            },
            kind::GET => Body::Get(self.ranges()?),
            kind::GET_NEXT => Body::GetNext(self.ranges()?),
            kind::GET_BULK => Body::GetBulk {
                non_repeaters: self.half()?,
                max_repetitions: self.half()?,
                ranges: self.ranges()?,
            },
            kind::TEST_SET => Body::TestSet(self.values()?),
            kind::COMMIT_SET => Body::CommitSet,
            kind::UNDO_SET => Body::UndoSet,
            kind::CLEANUP_SET => Body::CleanupSet,
            kind::NOTIFY => Body::Notify(self.values()?),
            kind::PING => Body::Ping,
            kind::RESPONSE => Body::Response {
                uptime: self.word()?,
                error: self.half()?,
                index: self.half()?,
                values: self.values()?,
            },
            kind => Body::Other {
                kind,
                has_context: false,
            },
        })
    }

    fn ranges(&mut self) -> Result<Vec<SearchRange>, DecodeError> {
        let mut ranges = Vec::new();
        while !self.rest.is_empty() {
            let (start, includes_start) = self.oid()?;
            let (end, _) = self.oid()?;
            ranges.push(SearchRange {
                start,
                includes_start,
                end,
            });
        }
        Ok(ranges)
    }

    fn values(&mut self) -> Result<Vec<VarBind>, DecodeError> {
        let mut values = Vec::new();
        while !self.rest.is_empty() {
            let tag = self.half()?;
            self.half()?;
            let (name, _) = self.oid()?;
            let value = self.value(tag)?;
            values.push(VarBind { name, value });
        }
        Ok(values)
    }

    fn value(&mut self, tag: u16) -> Result<Value, DecodeError> {
        Ok(match tag {
            tag::INTEGER => Value::Integer(self.word()?.cast_signed()),
            tag::OCTETS => Value::Octets(self.octets()?.to_vec()),
            tag::NULL => Value::Null,
            tag::OID => Value::Oid(self.oid()?.0),
            tag::IP_ADDRESS => {
                let address = self.octets()?.try_into();
                Value::IpAddress(address.map_err(|_| DecodeError::Value(tag))?)
            }
            tag::COUNTER32 => Value::Counter32(self.word()?),
            tag::GAUGE32 => Value::Gauge32(self.word()?),
            tag::TIME_TICKS => Value::TimeTicks(self.word()?),
            tag::OPAQUE => Value::Opaque(self.octets()?.to_vec()),
            tag::COUNTER64 => Value::Counter64(self.long()?),
            tag::NO_SUCH_OBJECT => Value::NoSuchObject,
            tag::NO_SUCH_INSTANCE => Value::NoSuchInstance,
            tag::END_OF_VIEW => Value::EndOfView,
            other => return Err(DecodeError::Value(other)),
        })
    }
}

const fn reason_of(number: u8) -> Result<CloseReason, DecodeError> {
    Ok(match number {
        1 => CloseReason::Other,
        2 => CloseReason::ParseError,
        3 => CloseReason::ProtocolError,
        4 => CloseReason::Timeouts,
        5 => CloseReason::Shutdown,
        6 => CloseReason::ByManager,
        other => return Err(DecodeError::Reason(other)),
    })
}
