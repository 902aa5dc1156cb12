use super::*;

/// Four variables: 1.3.1 to 1.3.4, with these values.
struct Four;

impl Objects for Four {
    fn get(&self, name: &Oid) -> Value {
        match name.numbers() {
            [1, 3, last @ 1..=4] => Value::Gauge32(*last),
            [1, 3, ..] => Value::NoSuchInstance,
            _ => Value::NoSuchObject,
        }
    }

    fn next(&self, start: &Oid, includes_start: bool) -> Option<VarBind> {
        let all = (1..=4).map(|last| Oid::new([1, 3, last]));
        let name = all
            .into_iter()
            .find(|name| name > start || includes_start && name == start)?;
        let value = self.get(&name);
        Some(VarBind { name, value })
    }
}

const NUMBER: u32 = 4711;
/// The master doesn't want to.
const REQUEST_DENIED: u16 = 267;

fn base() -> Oid {
    Oid::new([1, 3])
}

fn response(to: &Message, error: u16) -> Message {
    Message {
        head: Head {
            session: NUMBER,
            ..to.head
        },
        body: Body::Response {
            uptime: 1000,
            error,
            index: 0,
            values: Vec::new(),
        },
    }
}

/// A session that is registered at `now`.
fn registered(now: Instant) -> Session {
    let (mut session, open) = Session::begin(base(), now);
    let mut message = open;
    for _ in 0..2 {
        let reply = session.take(&response(&message, 0), &Four, now);
        message = reply.unwrap().unwrap();
    }
    assert!(session.is_registered());
    let last = session.take(&response(&message, 0), &Four, now);
    assert_eq!(last, Ok(None));
    session
}

fn asked(session: &mut Session, body: Body) -> Option<Body> {
    let head = Head {
        session: NUMBER,
        transaction: 7,
        packet: 8,
    };
    let reply = session.take(&Message { head, body }, &Four, Instant::now());
    reply.unwrap().map(|message| {
        assert_eq!(message.head, head);
        message.body
    })
}

fn range(start: &[u32], end: &[u32]) -> SearchRange {
    SearchRange {
        start: Oid::new(start),
        includes_start: false,
        end: Oid::new(end),
    }
}

/// What was answered: names and values, or the error.
fn told(body: Option<Body>) -> Result<Vec<(String, Value)>, u16> {
    match body {
        Some(Body::Response {
            error: 0, values, ..
        }) => Ok(values
            .into_iter()
            .map(|bind| (bind.name.to_string(), bind.value))
            .collect()),
        Some(Body::Response { error, .. }) => Err(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_opens_registers_and_says_what_it_is() {
    let now = Instant::now();
    let (mut session, open) = Session::begin(base(), now);
    assert!(matches!(open.body, Body::Open { ref id, .. } if *id == base()));
    assert_eq!(open.head.session, 0);
    let register = session
        .take(&response(&open, 0), &Four, now)
        .unwrap()
        .unwrap();
    assert!(matches!(register.body, Body::Register { ref subtree, .. } if *subtree == base()));
    assert_eq!(register.head.session, NUMBER);
    assert!(!session.is_registered());
    let capabilities = session
        .take(&response(&register, 0), &Four, now)
        .unwrap()
        .unwrap();
    assert!(matches!(capabilities.body, Body::AddAgentCaps { .. }));
    assert!(session.is_registered());
    // The master's clock goes on by itself.
    assert_eq!(session.uptime(now), 1000);
    assert_eq!(session.uptime(now + Duration::from_secs(2)), 1200);
}

#[test]
fn a_master_that_refuses_ends_it() {
    let now = Instant::now();
    let (mut session, open) = Session::begin(base(), now);
    let refused = session.take(&response(&open, REQUEST_DENIED), &Four, now);
    assert!(matches!(refused, Err(End::Refused { error: 267, .. })));
    let (mut session, open) = Session::begin(base(), now);
    let register = session
        .take(&response(&open, 0), &Four, now)
        .unwrap()
        .unwrap();
    let refused = session.take(
        &response(&register, error::DUPLICATE_REGISTRATION),
        &Four,
        now,
    );
    assert_eq!(refused, Err(End::Duplicate(base())));
    // What it implements needn't be known, and one notification more or less.
    let mut session = registered(now);
    let notify = session.notify(Vec::new(), now);
    assert_eq!(
        session.take(&response(&notify, error::PROCESSING), &Four, now),
        Ok(None)
    );
    let notify = session.notify(Vec::new(), now);
    assert!(
        session
            .take(&response(&notify, error::NOT_OPEN), &Four, now)
            .is_err()
    );
    let mut session = registered(now);
    let close = Message {
        head: Head::default(),
        body: Body::Close(CloseReason::Shutdown),
    };
    assert_eq!(
        session.take(&close, &Four, now),
        Err(End::Closed("it ends"))
    );
}

#[test]
fn a_silent_master_is_asked_and_given_up() {
    let now = Instant::now();
    let mut session = registered(now);
    assert_eq!(session.due(), now + PING_AFTER);
    assert_eq!(
        session.tick(now + PING_AFTER - Duration::from_millis(1)),
        Ok(None)
    );
    let ping = session.tick(now + PING_AFTER).unwrap().unwrap();
    assert_eq!(ping.body, Body::Ping);
    let until = now + PING_AFTER + PATIENCE;
    assert_eq!(session.due(), until);
    assert_eq!(session.tick(until - Duration::from_millis(1)), Ok(None));
    assert_eq!(session.clone_tick(until), Err(End::Silent));
    let late = until - Duration::from_millis(1);
    assert_eq!(session.take(&response(&ping, 0), &Four, late), Ok(None));
    assert_eq!(session.tick(until), Ok(None));
    assert_eq!(session.due(), late + PING_AFTER);
    // One that never answers the first message, too.
    let (mut session, _) = Session::begin(base(), now);
    assert_eq!(session.tick(now + PATIENCE), Err(End::Silent));
}

impl Session {
    /// [`Self::tick`] of a copy.
    fn clone_tick(&self, now: Instant) -> Result<Option<Message>, End> {
        let mut copy = Self {
            base: self.base.clone(),
            asked: self.asked.clone(),
            ..*self
        };
        copy.tick(now)
    }
}

#[test]
fn get_and_get_next() {
    let mut session = registered(Instant::now());
    let get = [&[1, 3, 2][..], &[1, 3, 9], &[1, 4]].map(|name| range(name, &[]));
    assert_eq!(
        told(asked(&mut session, Body::Get(get.into()))),
        Ok(vec![
            ("1.3.2".into(), Value::Gauge32(2)),
            ("1.3.9".into(), Value::NoSuchInstance),
            ("1.4".into(), Value::NoSuchObject),
        ])
    );
    let included = SearchRange {
        includes_start: true,
        ..range(&[1, 3, 2], &[])
    };
    let next = vec![
        range(&[1, 3, 2], &[]),
        included,
        range(&[1], &[1, 3, 1]),
        range(&[1], &[1, 3, 2]),
        range(&[1, 3, 4], &[]),
    ];
    assert_eq!(
        told(asked(&mut session, Body::GetNext(next))),
        Ok(vec![
            ("1.3.3".into(), Value::Gauge32(3)),
            ("1.3.2".into(), Value::Gauge32(2)),
            ("1".into(), Value::EndOfView),
            ("1.3.1".into(), Value::Gauge32(1)),
            ("1.3.4".into(), Value::EndOfView),
        ])
    );
}

#[test]
fn get_bulk() {
    let mut session = registered(Instant::now());
    let mut bulk = |non_repeaters, max_repetitions, starts: &[&[u32]]| {
        let ranges = starts.iter().map(|start| range(start, &[])).collect();
        let body = Body::GetBulk {
            non_repeaters,
            max_repetitions,
            ranges,
        };
        let told = told(asked(&mut session, body)).unwrap();
        told.into_iter()
            .map(|(name, value)| match value {
                Value::EndOfView => "end".into(),
                _ => name,
            })
            .collect::<Vec<String>>()
    };
    let (one, three): (&[u32], &[u32]) = (&[1], &[1, 3, 3]);
    assert_eq!(bulk(1, 2, &[one, three]), ["1.3.1", "1.3.4", "end"]);
    assert_eq!(
        bulk(0, 2, &[one, three]),
        ["1.3.1", "1.3.4", "1.3.2", "end"]
    );
    assert_eq!(bulk(2, 9, &[one, three]), ["1.3.1", "1.3.4"]);
    assert_eq!(bulk(9, 9, &[one]), ["1.3.1"]);
    assert_eq!(bulk(0, 0, &[one]), Vec::<String>::new());
    // Nobody gets more than there is.
    assert_eq!(bulk(0, u16::MAX, &[one]).len(), 5);
}

/// However much is asked for, the answer is a message.
#[test]
fn what_is_too_big_is_cut_or_refused() {
    let mut session = registered(Instant::now());
    let many = vec![range(&[1; 60], &[]); 4000];
    assert!(told(asked(&mut session, Body::Get(many))) == Err(error::TOO_BIG));
    let body = Body::GetBulk {
        non_repeaters: 0,
        max_repetitions: u16::MAX,
        ranges: vec![range(&[1], &[]); 20],
    };
    let told = told(asked(&mut session, body)).unwrap();
    assert!(
        told.len() >= 20 && told.len().is_multiple_of(20),
        "{}",
        told.len()
    );
}

#[test]
fn nothing_can_be_written() {
    let mut session = registered(Instant::now());
    let bind = VarBind {
        name: Oid::new([1, 3, 1]),
        value: Value::Gauge32(1),
    };
    let refused = told(asked(&mut session, Body::TestSet(vec![bind])));
    assert_eq!(refused, Err(error::NOT_WRITABLE));
    assert_eq!(asked(&mut session, Body::CleanupSet), None);
    assert_eq!(
        told(asked(&mut session, Body::CommitSet)),
        Err(error::COMMIT_FAILED)
    );
    assert_eq!(
        told(asked(&mut session, Body::UndoSet)),
        Err(error::UNDO_FAILED)
    );
}

#[test]
fn other_sessions_and_contexts_are_not_ours() {
    let mut session = registered(Instant::now());
    let message = Message {
        head: Head::default(),
        body: Body::Get(vec![range(&[1, 3, 1], &[])]),
    };
    let reply = session.take(&message, &Four, Instant::now()).unwrap();
    assert_eq!(
        told(reply.map(|message| message.body)),
        Err(error::NOT_OPEN)
    );
    let other = Body::Other {
        kind: 5,
        has_context: true,
    };
    assert_eq!(
        told(asked(&mut session, other)),
        Err(error::UNSUPPORTED_CONTEXT)
    );
    let other = Body::Other {
        kind: 14,
        has_context: false,
    };
    assert_eq!(told(asked(&mut session, other)), Err(error::PROCESSING));
}
