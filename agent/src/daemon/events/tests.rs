use portreeve_common::abi::NO_ENTRY;

use super::*;

fn event(flags: u8) -> Event {
    Event {
        time: 5 * SECOND + 1,
        cgroup: u64::MAX,
        address: [0; 4],
        bound: [0; 4],
        comm: [u64::from_ne_bytes(*b"nfsd\0\0\0\0"), 0],
        pid: u32::MAX,
        uid: 7,
        generation: 1,
        entry: NO_ENTRY,
        line: 0,
        port: 700,
        reason: Reason::LowPort as u16,
        hook: Hook::Bind4 as u8,
        protocol: Protocol::Udp as u8,
        flags,
        reserved: [0; 5],
    }
}

fn kept(log: &EventLog) -> Vec<EventRecord> {
    let lines = log.kept();
    let read = |line: &Rc<str>| serde_json::from_str(line).unwrap();
    lines.iter().map(read).collect()
}

#[test]
fn the_errno_is_what_the_caller_saw() {
    let mut log = EventLog::new(None, Features::ALL);
    for flags in [0, Event::KERNEL, Event::AUDIT, Event::AUDIT | Event::KERNEL] {
        log.add(&event(flags));
    }
    let mut family = event(0);
    family.reason = Reason::AddressFamily as u16;
    log.add(&family);
    let events = kept(&log);
    let errnos: Vec<Option<&str>> = events.iter().map(|e| e.errno.as_deref()).collect();
    let expected = [
        Some("EACCES"),
        Some("EADDRINUSE"),
        None,
        None,
        Some("EAFNOSUPPORT"),
    ];
    assert_eq!(errnos, expected);
    assert_eq!([events[0].kernel, events[1].kernel], [false, true]);
    assert_eq!(events[0].cgroup, format!("#{}", u64::MAX));
}

#[test]
fn of_a_listener_it_is_told_what_became_of_it() {
    let mut log = EventLog::new(None, Features::ALL);
    let mut listened = event(Event::AFTERWARDS);
    listened.hook = Hook::Listen as u8;
    log.add_destroyed(&listened, "destroyed");
    log.add(&listened);
    listened.flags |= Event::AUDIT;
    log.add(&listened);
    listened.reason = Reason::UnreservedPermitted as u16;
    listened.flags = Event::AFTERWARDS;
    log.add(&listened);
    let events = kept(&log);
    let found: Vec<_> = events
        .iter()
        .map(|e| {
            (
                e.verdict.as_str(),
                e.errno.as_deref(),
                e.listener.as_deref(),
            )
        })
        .collect();
    let expected = [
        ("deny", None, Some("destroyed")),
        ("deny", None, Some("late")),
        ("would-deny", None, None),
        ("allow", None, None),
    ];
    assert_eq!(found, expected);
    // Nobody knows of those that were not told.
    let key = RepeatKey {
        second: 5,
        ..RepeatKey::of(&Event {
            reason: Reason::LowPort as u16,
            ..listened
        })
    };
    log.add_repeats(
        6,
        vec![(
            key,
            Repeats {
                told: 32,
                suppressed: 2,
            },
        )],
    );
    let last = kept(&log).pop().unwrap();
    assert_eq!((last.repeated, last.listener, last.errno), (2, None, None));
}

#[test]
fn repetitions_are_told_like_the_last_of_them() {
    let mut log = EventLog::new(None, Features::ALL);
    let told = event(0);
    log.add(&told);
    let key = RepeatKey::of(&told);
    let silent = RepeatKey { uid: 8, ..key };
    let repeats = |suppressed| Repeats {
        told: 32,
        suppressed,
    };
    let taken = vec![(silent, repeats(3)), (key, repeats(4711))];
    log.add_repeats(6, taken);
    let events = kept(&log);
    let like_it = EventRecord {
        repeated: 4711,
        ..events[0].clone()
    };
    assert_eq!(events[1], like_it);
    // Nothing is known of those but what they have in common.
    let unknown = &events[2];
    assert_eq!((unknown.uid, unknown.repeated, unknown.pid), (8, 3, None));
    assert_eq!(unknown.errno.as_deref(), Some("EACCES"));
    assert_eq!((&unknown.comm, &unknown.hook), (&None, &None));
    // Whoever was told once makes no event of its own for nothing.
    log.add_repeats(7, vec![(key, repeats(0))]);
    assert_eq!(log.kept().len(), 3);
    assert!(log.told.is_empty());
}

/// With a backlog the ring may still hold what repetitions are like.
#[test]
fn a_second_is_complete_when_its_events_are_in() {
    let mut log = EventLog::new(None, Features::ALL);
    assert_eq!(log.complete_before(true), 0);
    let mut late = event(0);
    for (time, second) in [(5 * SECOND + GRACE, 5), (6 * SECOND + GRACE - 1, 5)] {
        late.time = time;
        log.add(&late);
        assert_eq!(log.complete_before(true), second);
    }
    assert!(log.complete_before(false) > 0);
}
