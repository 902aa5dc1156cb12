//! Against an implementation that shares nothing with ours.

use agentx::pdu;
use proptest::prelude::*;

use super::*;

/// What that one reads and writes of our bytes, in our byte order and in the other one.
fn through_the_other(bytes: &[u8], in_network_order: bool) -> Vec<u8> {
    macro_rules! pass {
        ($kind:ident) => {{
            let mut read = pdu::$kind::from_bytes(bytes).unwrap();
            if !in_network_order {
                read.header.flags &= !NETWORK_BYTE_ORDER;
            }
            read.to_bytes().unwrap()
        }};
    }
    match bytes[1] {
        kind::OPEN => pass!(Open),
        kind::CLOSE => pass!(Close),
        kind::REGISTER => pass!(Register),
        kind::ADD_AGENT_CAPS => pass!(AddAgentCaps),
        kind::GET => pass!(Get),
        kind::GET_NEXT => pass!(GetNext),
        kind::GET_BULK => pass!(GetBulk),
        kind::TEST_SET => pass!(TestSet),
        kind::COMMIT_SET => pass!(CommitSet),
        kind::UNDO_SET => pass!(UndoSet),
        kind::CLEANUP_SET => pass!(CleanupSet),
        kind::NOTIFY => pass!(Notify),
        kind::PING => pass!(Ping),
        kind::RESPONSE => pass!(Response),
        kind => panic!("message {kind}"),
    }
}

fn read(bytes: &[u8]) -> Result<Message, DecodeError> {
    let (head, payload) = bytes.split_first_chunk::<HEAD>().unwrap();
    decode(head, payload)
}

fn oids() -> impl Strategy<Value = Oid> {
    let of = |prefix: &'static [u32]| {
        let rest = prop::collection::vec(prop_oneof![0..3_u32, any::<u32>()], 0..20);
        rest.prop_map(move |rest| Oid::new([prefix, &rest].concat()))
    };
    prop_oneof![of(&[]), of(&[1, 3, 6, 1]), of(&[1, 3, 6, 1, 4, 1, 8072])]
}

/// The other implementation has only texts.
fn texts() -> impl Strategy<Value = String> {
    "[ -~]{0,20}"
}

fn values() -> impl Strategy<Value = Vec<VarBind>> {
    let value = prop_oneof![
        any::<i32>().prop_map(Value::Integer),
        texts().prop_map(|text| Value::Octets(text.into())),
        Just(Value::Null),
        oids().prop_map(Value::Oid),
        prop::array::uniform4(1..128_u8).prop_map(Value::IpAddress),
        any::<u32>().prop_map(Value::Counter32),
        any::<u32>().prop_map(Value::Gauge32),
        // The other one takes these for signed.
        (0..i32::MAX as u32).prop_map(Value::TimeTicks),
        texts().prop_map(|text| Value::Opaque(text.into())),
        any::<u64>().prop_map(Value::Counter64),
        Just(Value::NoSuchObject),
        Just(Value::NoSuchInstance),
        Just(Value::EndOfView),
    ];
    let bind = (oids(), value).prop_map(|(name, value)| VarBind { name, value });
    prop::collection::vec(bind, 0..6)
}

fn ranges() -> impl Strategy<Value = Vec<SearchRange>> {
    let range =
        (oids(), any::<bool>(), oids()).prop_map(|(start, includes_start, end)| SearchRange {
            start,
            includes_start,
            end,
        });
    prop::collection::vec(range, 0..6)
}

fn bodies() -> impl Strategy<Value = Body> {
    let reason = prop_oneof![
        Just(CloseReason::Other),
        Just(CloseReason::ParseError),
        Just(CloseReason::ProtocolError),
        Just(CloseReason::Timeouts),
        Just(CloseReason::Shutdown),
        Just(CloseReason::ByManager),
    ];
    // The other one knows none of SNMP's own.
    let known_errors = prop_oneof![Just(0), 256..=268_u16];
    prop_oneof![
        (any::<u8>(), oids(), texts()).prop_map(|(timeout, id, description)| Body::Open {
            timeout,
            id,
            description
        }),
        reason.prop_map(Body::Close),
        (any::<u8>(), any::<u8>(), oids()).prop_map(|(timeout, priority, subtree)| {
            Body::Register {
                timeout,
                priority,
                subtree,
            }
        }),
        (oids(), texts()).prop_map(|(id, description)| Body::AddAgentCaps { id, description }),
        ranges().prop_map(Body::Get),
        ranges().prop_map(Body::GetNext),
        (any::<u16>(), any::<u16>(), ranges()).prop_map(
            |(non_repeaters, max_repetitions, ranges)| {
                Body::GetBulk {
                    non_repeaters,
                    max_repetitions,
                    ranges,
                }
            }
        ),
        values().prop_map(Body::TestSet),
        Just(Body::CommitSet),
        Just(Body::UndoSet),
        Just(Body::CleanupSet),
        values().prop_map(Body::Notify),
        Just(Body::Ping),
        (0..u32::MAX / 10, known_errors, any::<u16>(), values()).prop_map(
            |(uptime, error, index, values)| Body::Response {
                uptime,
                error,
                index,
                values
            }
        ),
    ]
}

fn messages() -> impl Strategy<Value = Message> {
    (any::<u32>(), any::<u32>(), any::<u32>(), bodies()).prop_map(
        |(session, transaction, packet, body)| Message {
            head: Head {
                session,
                transaction,
                packet,
            },
            body,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_is_written_is_read_and_the_other_one_agrees(message in messages()) {
        let bytes = encode(&message);
        prop_assert_eq!(read(&bytes), Ok(message.clone()));
        prop_assert_eq!(read(&through_the_other(&bytes, true)), Ok(message.clone()));
        prop_assert_eq!(read(&through_the_other(&bytes, false)), Ok(message));
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_or_another_message(
        message in messages(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encode(&message);
        let place = at.index(bytes.len());
        if place >= HEAD {
            prop_assert!(read(&bytes[..place]).is_err());
        }
        bytes[place] = byte;
        let _ = read(&bytes);
    }

    #[test]
    fn nonsense_is_no_harm(mut bytes in prop::collection::vec(any::<u8>(), HEAD..400)) {
        let _ = read(&bytes);
        // As far as the head goes, it is one.
        let length = (bytes.len() - HEAD) / 4 * 4;
        bytes.truncate(HEAD + length);
        bytes[0] = VERSION;
        bytes[1] = 1 + bytes[1] % kind::LAST;
        bytes[2] = NETWORK_BYTE_ORDER | bytes[2] & NON_DEFAULT_CONTEXT;
        bytes[16..20].copy_from_slice(&(length as u32).to_be_bytes());
        let _ = read(&bytes);
    }
}

#[test]
fn heads_say_how_much_follows() {
    let mut head = [0; HEAD];
    head.copy_from_slice(
        &encode(&Message {
            head: Head::default(),
            body: Body::Ping,
        })[..HEAD],
    );
    assert_eq!(payload_length(&head), Ok(0));
    let with = |place: usize, bytes: &[u8]| {
        let mut head = head;
        head[place..place + bytes.len()].copy_from_slice(bytes);
        payload_length(&head)
    };
    assert_eq!(with(0, &[2]), Err(DecodeError::Version(2)));
    assert_eq!(with(1, &[0]), Err(DecodeError::Kind(0)));
    assert_eq!(with(1, &[19]), Err(DecodeError::Kind(19)));
    assert_eq!(with(16, &[0, 1, 0, 0]), Ok(MOST_PAYLOAD));
    assert_eq!(with(16, &[0, 1, 0, 4]), Err(DecodeError::Length(65540)));
    assert_eq!(with(16, &[0, 0, 0, 6]), Err(DecodeError::Length(6)));
    // The other byte order.
    assert_eq!(with(2, &[0]).unwrap(), 0);
}

#[test]
fn lengths_are_believed_as_far_as_there_are_bytes() {
    let notify = |octets: &[u8]| {
        let mut bytes = encode(&Message {
            head: Head::default(),
            body: Body::Notify(vec![VarBind {
                name: Oid::new([1, 3]),
                value: Value::Octets(vec![0; 4]),
            }]),
        });
        let from = bytes.len() - 8;
        bytes[from..from + 4].copy_from_slice(octets);
        read(&bytes)
    };
    assert!(notify(&[0, 0, 0, 4]).is_ok());
    assert_eq!(notify(&[0, 0, 0, 5]), Err(DecodeError::Short));
    assert_eq!(notify(&[0xff; 4]), Err(DecodeError::Short));
    assert_eq!(notify(&[0, 0, 0, 0]), Err(DecodeError::Short));
}

#[test]
fn another_context_is_known_to_be_one() {
    let mut bytes = encode(&Message {
        head: Head::default(),
        body: Body::Get(vec![SearchRange::default()]),
    });
    bytes[2] |= NON_DEFAULT_CONTEXT;
    let body = Body::Other {
        kind: kind::GET,
        has_context: true,
    };
    assert_eq!(read(&bytes).unwrap().body, body);
}
