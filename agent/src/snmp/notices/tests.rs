use portreeve_common::abi::Protocol;

use super::*;

const HOLD_DOWN: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

fn port(number: u16) -> Port {
    (Protocol::Tcp, number)
}

fn connected(now: Instant) -> Notices {
    let mut notices = Notices::new(HOLD_DOWN, now);
    notices.set_connected(true);
    notices
}

fn refusal(entry: &str, count: u64) -> Refusal {
    Refusal {
        entry: entry.into(),
        port: port(21),
        jobname: "FTPD1".into(),
        process: "nc".into(),
        reason: "other-job".into(),
        count,
    }
}

/// Ports and what they are told to be; refusals and how many more there were.
fn told(notices: Vec<Notice>) -> Vec<(u16, Result<State, u64>)> {
    let told = |notice| match notice {
        Notice::Port { port, state, .. } => (port.1, Ok(state)),
        Notice::Refused {
            port, suppressed, ..
        } => (port.1, Err(suppressed)),
    };
    notices.into_iter().map(told).collect()
}

#[test]
fn a_port_is_told_of_when_it_stays_so() {
    let now = Instant::now();
    let mut notices = connected(now);
    notices.port(port(21), State::Open, State::Closed, "ftpd".into(), now);
    assert_eq!(notices.due(), Some(now + HOLD_DOWN));
    assert_eq!(notices.take(now + HOLD_DOWN - SECOND), []);
    let gone = notices.take(now + HOLD_DOWN);
    let expected = Notice::Port {
        port: port(21),
        state: State::Closed,
        process: "ftpd".into(),
    };
    assert_eq!(gone, [expected]);
    assert_eq!(notices.due(), None);
    assert_eq!(notices.take(now + HOLD_DOWN * 9), []);
}

/// Port 21 is closed, and a second later open.
fn restart(notices: &mut Notices, now: Instant) {
    for (from, to, at) in [
        (State::Open, State::Closed, now),
        (State::Closed, State::Open, now + SECOND),
    ] {
        notices.port(port(21), from, to, String::new(), at);
    }
}

/// A restart is no news, and what is no opening or closing isn't either.
#[test]
fn what_comes_back_is_not_told() {
    let now = Instant::now();
    let mut notices = connected(now);
    restart(&mut notices, now);
    assert_eq!(notices.due(), None);
    notices.port(
        port(21),
        State::Open,
        State::Contradicted,
        String::new(),
        now,
    );
    notices.port(port(22), State::Closed, State::Bound, String::new(), now);
    assert_eq!(notices.take(now + HOLD_DOWN), []);
    // It counts from when it closed last.
    restart(&mut notices, now);
    notices.port(
        port(21),
        State::Open,
        State::Bound,
        String::new(),
        now + SECOND * 2,
    );
    assert_eq!(notices.take(now + HOLD_DOWN + SECOND), []);
    assert_eq!(
        told(notices.take(now + HOLD_DOWN + SECOND * 2)),
        [(21, Ok(State::Bound))]
    );
}

#[test]
fn refusals_of_an_entry_are_told_once_a_minute_with_their_number() {
    let now = Instant::now();
    let mut notices = connected(now);
    notices.refusal(refusal("a", 1), now);
    assert_eq!(notices.due(), Some(now));
    assert_eq!(told(notices.take(now)), [(21, Err(0))]);
    notices.refusal(refusal("a", 1), now);
    notices.refusal(refusal("a", 41), now);
    notices.refusal(refusal("b", 3), now);
    assert_eq!(told(notices.take(now)), [(21, Err(2))]);
    assert_eq!(notices.take(now + BETWEEN_REFUSALS - SECOND), []);
    assert_eq!(told(notices.take(now + BETWEEN_REFUSALS)), [(21, Err(41))]);
    // Then nothing is left of them.
    notices.take(now + BETWEEN_REFUSALS * 3);
    assert_eq!(notices.due(), None);
    assert!(notices.refused.is_empty());
}

#[test]
fn there_are_so_many_a_second_and_no_port_is_forgotten() {
    let now = Instant::now();
    let mut notices = connected(now);
    for number in 1..=25 {
        notices.port(port(number), State::Closed, State::Open, String::new(), now);
    }
    let mut time = now + HOLD_DOWN;
    let mut all = Vec::new();
    for expected in [10, 10, 5, 0] {
        let some = notices.take(time);
        assert_eq!(some.len(), expected);
        assert_eq!(notices.take(time), []);
        if let Some(due) = notices.due() {
            assert_eq!(due, time + SECOND);
        }
        all.extend(told(some).into_iter().map(|(number, _)| number));
        time += SECOND;
    }
    assert_eq!(all, (1..=25).collect::<Vec<_>>());
    // Refusals wait as well, and go on being counted.
    for number in 1..=25 {
        notices.refusal(refusal(&number.to_string(), 1), time);
    }
    assert_eq!(notices.take(time).len(), 10);
    notices.refusal(refusal("20", 1), time);
    let more = notices.take(time + SECOND);
    assert_eq!(more.len(), 10);
    assert!(
        more.iter()
            .any(|one| matches!(one, Notice::Refused { suppressed: 1, .. }))
    );
}

#[test]
fn while_nobody_is_there_the_last_state_is_remembered() {
    let now = Instant::now();
    let mut notices = connected(now);
    notices.set_connected(false);
    notices.refusal(refusal("a", 1), now);
    notices.port(port(21), State::Open, State::Closed, String::new(), now);
    notices.port(port(22), State::Open, State::Closed, String::new(), now);
    notices.port(
        port(22),
        State::Closed,
        State::Open,
        String::new(),
        now + SECOND,
    );
    assert_eq!(
        (notices.due(), notices.take(now + HOLD_DOWN)),
        (None, Vec::new())
    );
    notices.set_connected(true);
    assert_eq!(
        told(notices.take(now + HOLD_DOWN)),
        [(21, Ok(State::Closed))]
    );
}

#[test]
fn entries_without_end_are_not_remembered_apart() {
    let now = Instant::now();
    let mut notices = connected(now);
    for number in 0..3000 {
        notices.refusal(refusal(&number.to_string(), 1), now);
    }
    assert_eq!(notices.refused.len(), MOST_ENTRIES + 1);
}
