//! Ports that change by a clock of the tests' own.

use proptest::prelude::*;

use portreeve_common::abi::Protocol;

use super::*;

const HOLD: Duration = Duration::from_secs(10);
const PORT: Port = (Protocol::Tcp, 21);
const OPEN: Option<ExpectedState> = Some(ExpectedState::Open);

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One port that is expected to be open, and is at first.
struct Port21 {
    alerts: Alerts,
    state: State,
}

impl Port21 {
    fn new() -> Self {
        let mut alerts = Alerts::new(HOLD);
        assert_eq!(alerts.settle(PORT, State::Open, OPEN, at(0)), []);
        Self {
            alerts,
            state: State::Open,
        }
    }

    /// What comes of a change besides its event.
    fn become_state(&mut self, to: State, cause: Cause, seconds: u64) -> Vec<Output> {
        let change = Change {
            port: PORT,
            from: self.state,
            to,
            expected: OPEN,
            cause,
        };
        self.state = to;
        let mut outputs = self.alerts.observe(change, at(seconds));
        assert_eq!(outputs.remove(0), Output::Event(change));
        outputs
    }

    fn close(&mut self, seconds: u64) -> Vec<Output> {
        self.become_state(State::Closed, Cause::Ended, seconds)
    }

    fn open(&mut self, seconds: u64) -> Vec<Output> {
        self.become_state(State::Open, Cause::Owner, seconds)
    }
}

fn alert(kind: Kind, level: Level, state: State, cause: Cause, since: u64) -> Alert {
    Alert {
        port: PORT,
        kind,
        level,
        state,
        expected: ExpectedState::Open,
        cause,
        since: at(since),
    }
}

/// `CLS-05`: told at once as an event, and as an alert if it lasts; over once.
#[test]
fn what_lasts_is_worth_an_alert() {
    let mut port = Port21::new();
    assert_eq!(port.alerts.next_deadline(), None);
    assert_eq!(port.close(100), []);
    assert_eq!(port.alerts.next_deadline(), Some(at(110)));
    assert_eq!(port.alerts.tick(at(109)), []);
    let broken = alert(
        Kind::Broken,
        Level::Warning,
        State::Closed,
        Cause::Ended,
        100,
    );
    assert_eq!(port.alerts.tick(at(110)), [Output::Raised(broken)]);
    assert_eq!(port.alerts.raised().collect::<Vec<_>>(), [&broken]);
    assert_eq!(port.alerts.next_deadline(), None);
    assert_eq!(port.alerts.tick(at(500)), []);
    let over = Output::Cleared {
        alert: Alert {
            state: State::Open,
            ..broken
        },
        lasted: at(600),
    };
    assert_eq!(port.open(700), [over]);
    assert_eq!(port.alerts.raised().count(), 0);
    assert_eq!(port.alerts.tick(at(9999)), []);
}

#[test]
fn a_restart_is_none() {
    let mut port = Port21::new();
    assert_eq!(port.close(100), []);
    assert_eq!(port.open(109), []);
    assert_eq!(port.alerts.next_deadline(), None);
    assert_eq!(port.alerts.tick(at(200)), []);
}

/// More than three changes in ten minutes are one alert, until it is calm.
#[test]
fn what_changes_all_the_time_is_one_alert() {
    let mut port = Port21::new();
    assert_eq!(port.close(100), []);
    assert_eq!(port.open(101), []);
    assert_eq!(port.close(200), []);
    let flapping = alert(
        Kind::Flapping,
        Level::Warning,
        State::Open,
        Cause::Ended,
        100,
    );
    assert_eq!(port.open(201), [Output::Raised(flapping)]);
    for seconds in (300..400).step_by(20) {
        assert_eq!(port.close(seconds), []);
        assert_eq!(port.open(seconds + 15), []);
    }
    // The fourth change from the end was at 360.
    assert_eq!(port.alerts.next_deadline(), Some(at(960)));
    assert_eq!(port.alerts.tick(at(959)), []);
    let over = Output::Cleared {
        alert: flapping,
        lasted: at(860),
    };
    assert_eq!(port.alerts.tick(at(960)), [over]);
}

/// Whoever flaps and then stays away is broken, by the same alert.
#[test]
fn what_stops_flapping_may_be_broken() {
    let mut port = Port21::new();
    port.close(100);
    port.open(101);
    port.close(102);
    port.open(103);
    assert_eq!(port.close(104), []);
    assert_eq!(port.alerts.next_deadline(), Some(at(701)));
    let broken = alert(
        Kind::Broken,
        Level::Warning,
        State::Closed,
        Cause::Ended,
        100,
    );
    assert_eq!(port.alerts.tick(at(701)), [Output::Raised(broken)]);
    let [Output::Cleared { lasted, .. }] = port.open(800)[..] else {
        panic!("it is over");
    };
    assert_eq!(lasted, at(700));
}

/// What an administrator wants is told, at a lower level; what comes on top of it isn't his.
#[test]
fn an_administrators_stop_is_a_notice() {
    let mut port = Port21::new();
    assert_eq!(port.become_state(State::Closed, Cause::Stopped, 100), []);
    let stopped = alert(
        Kind::Broken,
        Level::Notice,
        State::Closed,
        Cause::Stopped,
        100,
    );
    assert_eq!(port.alerts.tick(at(110)), [Output::Raised(stopped)]);
    // Somebody takes the port meanwhile.
    let taken = Alert {
        level: Level::Warning,
        state: State::Contradicted,
        cause: Cause::Owner,
        ..stopped
    };
    let outputs = port.become_state(State::Contradicted, Cause::Owner, 120);
    assert_eq!(outputs, [Output::Raised(taken)]);
    // Restarting again and again is his business too.
    let mut port = Port21::new();
    for seconds in [100, 110] {
        assert_eq!(
            port.become_state(State::Closed, Cause::Stopped, seconds),
            []
        );
        let outputs = port.open(seconds + 1);
        let flapping = alert(
            Kind::Flapping,
            Level::Notice,
            State::Open,
            Cause::Stopped,
            100,
        );
        let expected = (seconds == 110).then_some(Output::Raised(flapping));
        assert_eq!(outputs, Vec::from_iter(expected));
    }
}

/// What is found at the start, or by another policy, is no change, and may last too.
#[test]
fn what_is_found_is_no_change() {
    let mut alerts = Alerts::new(HOLD);
    assert_eq!(alerts.settle(PORT, State::Closed, OPEN, at(5)), []);
    assert_eq!(alerts.settle(PORT, State::Closed, OPEN, at(9)), []);
    let broken = alert(Kind::Broken, Level::Warning, State::Closed, Cause::Found, 5);
    assert_eq!(alerts.tick(at(15)), [Output::Raised(broken)]);
    // Nothing is expected of it any more.
    let over = Output::Cleared {
        alert: broken,
        lasted: at(20),
    };
    assert_eq!(alerts.settle(PORT, State::Closed, None, at(25)), [over]);
    let closed = Some(ExpectedState::Closed);
    assert_eq!(alerts.settle(PORT, State::Closed, closed, at(30)), []);
    assert_eq!(alerts.next_deadline(), None);
}

/// Of ports of which nothing is expected there are events only.
#[test]
fn nothing_expected_nothing_alerted() {
    let mut alerts = Alerts::new(HOLD);
    for seconds in 0..20 {
        let change = Change {
            port: PORT,
            from: State::Closed,
            to: State::Open,
            expected: None,
            cause: Cause::Owner,
        };
        assert_eq!(alerts.observe(change, at(seconds)), [Output::Event(change)]);
    }
    assert_eq!(alerts.next_deadline(), None);
    assert_eq!(alerts.tick(at(1000)), []);
}

#[derive(Clone, Debug)]
enum Step {
    Change(bool, State, Cause),
    Settle(bool, State, Option<ExpectedState>),
    Wait,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let state = prop_oneof![
        Just(State::Closed),
        Just(State::Bound),
        Just(State::Open),
        Just(State::Contradicted)
    ];
    let cause = prop_oneof![Just(Cause::Owner), Just(Cause::Ended), Just(Cause::Stopped)];
    let expected = prop_oneof![
        3 => Just(Some(ExpectedState::Open)),
        1 => Just(Some(ExpectedState::Closed)),
        1 => Just(None)
    ];
    let step = prop_oneof![
        6 => (any::<bool>(), state.clone(), cause).prop_map(|(p, s, c)| Step::Change(p, s, c)),
        1 => (any::<bool>(), state, expected).prop_map(|(p, s, e)| Step::Settle(p, s, e)),
        1 => Just(Step::Wait),
    ];
    (prop_oneof![0..15u64, 0..400u64], step)
}

proptest! {
    /// Whatever happens: each change has one event; who is raised is told so before it is
    /// over, and over once; nothing is raised or kept up while all is well and calm;
    /// nothing that lasts is missed; and the deadline is when something comes of time.
    #[test]
    fn alerts_come_and_go_in_pairs(steps in prop::collection::vec(step(), 0..60)) {
        let mut alerts = Alerts::new(HOLD);
        let ports = [PORT, (Protocol::Udp, 21)];
        let mut expected = [OPEN; 2];
        let mut states = [State::Open; 2];
        let mut broken: [Option<Duration>; 2] = [None; 2];
        let mut up: [Option<Alert>; 2] = [None; 2];
        let mut changes: [Vec<Duration>; 2] = Default::default();
        let mut now = at(1000);
        for (index, port) in ports.iter().enumerate() {
            prop_assert!(alerts.settle(*port, states[index], expected[index], now).is_empty());
        }
        for (pause, step) in steps {
            let mut told = Vec::new();
            let until = now + at(pause);
            // As a loop does it that waits for the deadline.
            while let Some(deadline) = alerts.next_deadline().filter(|at| *at <= until) {
                prop_assert!(deadline >= now);
                now = deadline;
                let outputs = alerts.tick(now);
                prop_assert!(!outputs.is_empty(), "woken for nothing");
                told.extend(outputs.into_iter().map(|output| (now, output)));
            }
            now = until;
            let mut events = 0;
            let mut outputs = match step {
                Step::Change(second, to, cause) => {
                    let index = usize::from(second);
                    let change = Change {
                        port: ports[index],
                        from: states[index],
                        to,
                        expected: expected[index],
                        cause,
                    };
                    states[index] = to;
                    changes[index].push(now);
                    events = 1;
                    alerts.observe(change, now)
                }
                Step::Settle(second, state, wanted) => {
                    let index = usize::from(second);
                    (states[index], expected[index]) = (state, wanted);
                    alerts.settle(ports[index], state, wanted, now)
                }
                Step::Wait => Vec::new(),
            };
            prop_assert!(alerts.clone().tick(now).is_empty(), "something was left to say");
            let is_event = |output: &Output| matches!(output, Output::Event(_));
            prop_assert_eq!(outputs.iter().filter(|one| is_event(one)).count(), events);
            outputs.retain(|output| !is_event(output));
            told.extend(outputs.into_iter().map(|output| (now, output)));
            for (when, output) in told {
                match output {
                    Output::Event(_) => prop_assert!(false, "time makes no events"),
                    Output::Raised(alert) => {
                        let index = usize::from(alert.port != PORT);
                        if let Some(before) = up[index] {
                            prop_assert_eq!(before.since, alert.since);
                            prop_assert!(
                                before.kind != alert.kind
                                    || before.level < alert.level
                                    || before.expected != alert.expected
                            );
                        }
                        up[index] = Some(alert);
                    }
                    Output::Cleared { alert, lasted } => {
                        let index = usize::from(alert.port != PORT);
                        let before = up[index].take();
                        prop_assert_eq!(before.map(|before| before.kind), Some(alert.kind));
                        prop_assert_eq!(alert.since + lasted, when);
                    }
                }
            }
            for (index, port) in ports.iter().enumerate() {
                let wrong = expected[index].is_some_and(|wanted| !is_met(wanted, states[index]));
                broken[index] = match broken[index] {
                    Some(since) if wrong => Some(since),
                    _ => wrong.then_some(now),
                };
                let lasts = broken[index].is_some_and(|since| now >= since + HOLD);
                let is_up = alerts.raised().any(|alert| alert.port == *port);
                prop_assert_eq!(is_up, up[index].is_some());
                prop_assert!(is_up || !lasts, "missed");
                let recent = changes[index].iter().filter(|at| **at + FLAP_WINDOW > now);
                let is_calm = recent.count() <= MOST_CHANGES;
                prop_assert!(!is_up || wrong || !is_calm, "not over");
            }
        }
    }
}
