//! Any bytes as what a master of SNMP sends: no panic, no answer that is no message, and
//! what is read and written again is the same.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use portreeve::{
    oid::Oid,
    snmp::{
        agentx::{Body, HEAD, Value, VarBind, decode, encode, payload_length},
        session::{Objects, Session},
    },
};

/// One variable.
struct One;

impl Objects for One {
    fn get(&self, name: &Oid) -> Value {
        match name.numbers() {
            [1, 3, 1] => Value::Octets(vec![b'x'; 255]),
            _ => Value::NoSuchObject,
        }
    }

    fn next(&self, start: &Oid, includes_start: bool) -> Option<VarBind> {
        let name = Oid::new([1, 3, 1]);
        let is_after = *start < name || includes_start && *start == name;
        is_after.then(|| VarBind {
            value: self.get(&name),
            name,
        })
    }
}

fuzz_target!(|bytes: &[u8]| {
    let now = Instant::now();
    let (mut session, _) = Session::begin(Oid::new([1, 3]), now);
    let mut rest = bytes;
    while let Some((head, behind)) = rest.split_first_chunk::<HEAD>() {
        let Ok(length) = payload_length(head) else {
            return;
        };
        let Some((payload, behind)) = behind.split_at_checked(length) else {
            return;
        };
        rest = behind;
        let Ok(message) = decode(head, payload) else {
            return;
        };
        if !matches!(message.body, Body::Other { .. }) {
            let again = encode(&message);
            let (head, payload) = again.split_first_chunk::<HEAD>().unwrap();
            assert_eq!(decode(head, payload).unwrap(), message);
        }
        let Ok(reply) = session.take(&message, &One, now) else {
            return;
        };
        if let Some(reply) = reply {
            let bytes = encode(&reply);
            let (head, payload) = bytes.split_first_chunk::<HEAD>().unwrap();
            assert_eq!(decode(head, payload).unwrap(), reply);
        }
    }
});
