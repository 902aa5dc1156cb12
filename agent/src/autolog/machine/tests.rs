//! The rules of AUTOLOG, one by one, and what holds whatever happens.

use proptest::prelude::*;

use super::*;

const WAIT: Duration = Duration::from_secs(300);
const RULES: Rules = Rules {
    wait: WAIT,
    acts: true,
};

/// A procedure and a clock that goes when it is told to.
struct Clock {
    began: Instant,
    now: Instant,
    rules: Rules,
    state: State,
}

fn seen(active: bool, live: Live) -> Seen {
    Seen {
        active: Some(active),
        live,
        lacking: Vec::new(),
    }
}

fn missing() -> Live {
    Live::Missing(vec!["tcp/21".to_owned()])
}

fn cause() -> Cause {
    Cause::Missing(vec!["tcp/21".to_owned()])
}

fn lacking(words: &[&str]) -> Seen {
    Seen {
        lacking: words.iter().map(ToString::to_string).collect(),
        ..seen(false, Live::Unwatched)
    }
}

impl Clock {
    fn new(origin: Origin, rules: Rules) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            now,
            rules,
            state: State::new(origin, now),
        }
    }

    /// A step, now.
    fn step(&mut self, seen: &Seen) -> Vec<Action> {
        let (state, actions) = step(self.state.clone(), self.rules, seen, self.now);
        self.state = state;
        actions
    }

    /// The next step, when it is due.
    fn next(&mut self, seen: &Seen) -> Vec<Action> {
        self.now = self.now.max(self.state.due);
        self.step(seen)
    }

    /// Seconds since it began.
    fn at(&self) -> u64 {
        (self.now - self.began).as_secs()
    }
}

/// `ALG-01`.
#[test]
fn what_is_not_active_is_started_at_once() {
    for origin in [Origin::Stack, Origin::Listed] {
        for live in [Live::Unwatched, missing(), Live::Unknown] {
            let mut clock = Clock::new(origin, RULES);
            let done = clock.step(&seen(false, live));
            assert_eq!(done, [Action::Start(Cause::Listed)]);
            assert_eq!(clock.state.phase, Phase::Runs);
        }
    }
}

/// `ALG-03`, `ALG-04`: looked at every 10 seconds, and started as soon as it has ended.
#[test]
fn what_is_left_over_may_end_by_itself() {
    let mut clock = Clock::new(Origin::Stack, RULES);
    let told = clock.step(&seen(true, missing()));
    assert_eq!(told, [Action::Tell(News::Drains(WAIT))]);
    for second in [10, 20, 30] {
        assert_eq!(clock.next(&seen(true, missing())), []);
        assert_eq!(clock.at(), second);
    }
    let done = clock.next(&seen(false, missing()));
    assert_eq!((clock.at(), done), (40, vec![Action::Start(Cause::Ended)]));
}

/// `ALG-02`, `ALG-05`: when the wait is over it is cancelled, and started when it has ended.
#[test]
fn what_is_left_over_is_cancelled_in_the_end() {
    for (wait, live) in [(300, missing()), (65, Live::Unwatched), (60, missing())] {
        let wait = Duration::from_secs(wait);
        let mut clock = Clock::new(Origin::Stack, Rules { wait, ..RULES });
        clock.step(&seen(true, live.clone()));
        let cancelled = loop {
            let done = clock.next(&seen(true, live.clone()));
            if !done.is_empty() {
                break done;
            }
        };
        assert_eq!(cancelled, [Action::Cancel(Cause::Lingers)]);
        assert_eq!(clock.at(), wait.as_secs());
        let done = clock.next(&seen(false, live));
        assert_eq!(done, [Action::Start(Cause::Lingers)]);
        assert_eq!(clock.at(), wait.as_secs());
    }
}

/// `ALG-02`: without a wait at the first look.
#[test]
fn without_a_wait_it_is_cancelled_at_once() {
    let wait = Duration::ZERO;
    let mut clock = Clock::new(Origin::Stack, Rules { wait, ..RULES });
    let done = clock.step(&seen(true, missing()));
    assert_eq!(done, [Action::Cancel(Cause::Lingers)]);
    let done = clock.next(&seen(false, missing()));
    assert_eq!((clock.at(), done), (0, vec![Action::Start(Cause::Lingers)]));
}

/// who listens where it should is no left-over, at the start and while it drains.
#[test]
fn what_listens_is_let_alone() {
    let alone = [Action::Tell(News::LetAlone)];
    let mut clock = Clock::new(Origin::Stack, RULES);
    assert_eq!(clock.step(&seen(true, Live::All)), alone);
    let mut clock = Clock::new(Origin::Stack, RULES);
    clock.step(&seen(true, missing()));
    assert_eq!(clock.next(&seen(true, Live::All)), alone);
    assert_eq!(clock.state.phase, Phase::Runs);
}

/// `ALG-24`: a change of the list is no start of the stack.
#[test]
fn what_is_listed_newly_and_active_is_let_alone() {
    for live in [Live::Unwatched, missing(), Live::All] {
        let mut clock = Clock::new(Origin::Listed, RULES);
        let done = clock.step(&seen(true, live.clone()));
        assert_eq!(done, [Action::Tell(News::LetAlone)], "{live:?}");
    }
}

/// `ALG-09` to `ALG-11`: until all holds, without an end; and then as without.
#[test]
fn delays_wait_for_all_at_the_same_moment() {
    let mut clock = Clock::new(Origin::Stack, RULES);
    let waits = |words: &[&str]| Action::Tell(News::Waits(lacking(words).lacking));
    assert_eq!(clock.step(&lacking(&["a", "b"])), [waits(&["a", "b"])]);
    assert_eq!(clock.state.phase.name(), "delayed");
    let mut reminders = Vec::new();
    while clock.at() < 1000 {
        // Now the one is there, now the other.
        let one = if clock.at().is_multiple_of(4) {
            "a"
        } else {
            "b"
        };
        for action in clock.next(&lacking(&[one])) {
            assert!(matches!(action, Action::Tell(News::Waits(_))), "{action:?}");
            reminders.push(clock.at());
        }
    }
    assert_eq!(reminders, [300, 600, 900]);
    let done = clock.next(&lacking(&[]));
    assert_eq!(done, [Action::Start(Cause::Listed)]);

    let mut clock = Clock::new(Origin::Stack, RULES);
    clock.step(&lacking(&["a"]));
    let told = clock.next(&seen(true, missing()));
    assert_eq!(told, [Action::Tell(News::Drains(WAIT))]);
}

/// One that was started, and came up.
fn running() -> Clock {
    let mut clock = Clock::new(Origin::Stack, RULES);
    clock.step(&seen(false, missing()));
    assert_eq!(clock.next(&seen(true, Live::All)), []);
    clock
}

/// `ALG-13`: every five minutes, whatever the wait is.
#[test]
fn a_pass_is_made_every_five_minutes() {
    let mut clock = running();
    for pass in 1..4 {
        assert_eq!(clock.next(&seen(true, Live::All)), []);
        assert_eq!(clock.at(), 300 * pass);
    }
    // Between them nobody is looked at.
    assert_eq!(clock.step(&seen(true, missing())), []);
    let done = clock.next(&seen(true, missing()));
    assert_eq!((clock.at(), done), (1200, vec![Action::Cancel(cause())]));
}

/// `ALG-16`: one port that is missing is enough; the whole is cancelled and started again.
#[test]
fn a_port_that_is_missing_ends_the_procedure() {
    let mut clock = running();
    let done = clock.next(&seen(true, missing()));
    assert_eq!(done, [Action::Cancel(cause())]);
    assert_eq!(
        clock.next(&seen(false, missing())),
        [Action::Start(cause())]
    );
    assert_eq!(clock.at(), 300);
}

/// `ALG-17`.
#[test]
fn what_has_ended_is_started_at_the_next_pass() {
    let mut clock = running();
    let done = clock.next(&seen(false, missing()));
    assert_eq!((clock.at(), done), (300, vec![Action::Start(cause())]));
}

/// `ALG-18`: started only, however it goes on; that it ended at once is said.
#[test]
fn what_has_no_ports_is_started_only() {
    let mut clock = Clock::new(Origin::Stack, RULES);
    clock.step(&seen(false, Live::Unwatched));
    let told = clock.next(&seen(false, Live::Unwatched));
    assert_eq!(told, [Action::Tell(News::EndedAtOnce)]);
    for _ in 0..10 {
        assert_eq!(clock.next(&seen(false, Live::Unwatched)), []);
        assert_eq!(clock.next(&seen(true, Live::Unwatched)), []);
    }
}

/// `ALG-20`: whose port is reserved with another number is cancelled again and again; the
/// third time it is said.
#[test]
fn what_never_listens_is_told() {
    let mut clock = running();
    let mut told = Vec::new();
    for pass in 1..=6 {
        for action in clock.next(&seen(true, missing())) {
            if let Action::Tell(news) = action {
                told.push((pass, news));
            }
        }
        clock.next(&seen(false, missing()));
        clock.next(&seen(true, missing()));
    }
    let ports = vec!["tcp/21".to_owned()];
    let expected = [3, 6].map(|pass| (pass, News::Fruitless(pass, ports.clone())));
    assert_eq!(told, expected);
    assert_eq!(clock.next(&seen(true, Live::All)), []);
    assert_eq!(clock.state.fruitless, 0);
}

/// What can't be seen is neither started nor cancelled, and that is said once.
#[test]
fn nothing_is_done_about_what_is_not_seen() {
    let unseen = Seen {
        active: None,
        ..seen(false, missing())
    };
    let unlisted = seen(true, Live::Unknown);
    let said = [Action::Tell(News::Unseen)];
    for unseen in [unseen, unlisted.clone()] {
        let mut clock = running();
        assert_eq!(clock.next(&unseen), said);
        for _ in 0..5 {
            assert_eq!(clock.next(&unseen), []);
        }
        assert_eq!(
            clock.next(&seen(true, missing())),
            [Action::Cancel(cause())]
        );
    }
    // Nor is a left-over cancelled, if it may listen.
    let wait = Duration::ZERO;
    let mut clock = Clock::new(Origin::Stack, Rules { wait, ..RULES });
    assert_eq!(clock.step(&unlisted), said);
}

#[test]
fn what_survives_is_cancelled_again() {
    let mut clock = running();
    clock.next(&seen(true, missing()));
    let told = clock.next(&seen(true, missing()));
    assert_eq!(told, [Action::Tell(News::GoesOn)]);
    let again = clock.next(&seen(true, missing()));
    assert_eq!((clock.at(), again), (310, vec![Action::Cancel(cause())]));
    assert_eq!(
        clock.next(&seen(false, missing())),
        [Action::Start(cause())]
    );
}

#[test]
fn an_operator_stops_starts_and_looks() {
    let mut clock = running();
    clock.state.ask(Wish::Stop, clock.now);
    let done = clock.step(&seen(true, Live::All));
    assert_eq!(done, [Action::Cancel(Cause::Asked)]);
    assert_eq!(clock.next(&seen(false, missing())), []);
    assert_eq!(clock.state.phase, Phase::Stopped);
    for _ in 0..5 {
        assert_eq!(clock.next(&seen(false, missing())), []);
    }
    clock.state.ask(Wish::Pass, clock.now);
    assert_eq!(clock.next(&seen(false, missing())), []);
    clock.state.ask(Wish::Start, clock.now);
    let done = clock.step(&lacking(&["whatever"]));
    assert_eq!(done, [Action::Start(Cause::Asked)]);
    clock.state.ask(Wish::Start, clock.now);
    let done = clock.step(&seen(true, Live::All));
    assert_eq!(done, [Action::Tell(News::LetAlone)]);
    clock.state.ask(Wish::Pass, clock.now);
    let done = clock.step(&seen(false, missing()));
    assert_eq!(done, [Action::Start(cause())]);
}

#[test]
fn where_nothing_is_started_what_is_missing_is_told() {
    let mut clock = Clock::new(
        Origin::Stack,
        Rules {
            acts: false,
            ..RULES
        },
    );
    let ports = vec!["tcp/21".to_owned()];
    let told = clock.step(&seen(true, missing()));
    assert_eq!(told, [Action::Tell(News::Missing(ports))]);
    assert_eq!(clock.next(&seen(false, missing())), []);
    assert_eq!(clock.at(), 300);
    let told = clock.next(&seen(true, Live::All));
    assert_eq!(told, [Action::Tell(News::Back)]);
    assert_eq!(clock.next(&seen(true, Live::All)), []);
}

#[derive(Clone, Debug)]
struct Moment {
    seen: Seen,
    /// Seconds before the step is due that it is made, as by a wake-up.
    early: u64,
    wish: Option<Wish>,
}

fn moments() -> impl Strategy<Value = Vec<Moment>> {
    let active = prop_oneof![Just(None), Just(Some(false)), Just(Some(true))];
    let live = prop_oneof![
        Just(Live::Unwatched),
        Just(Live::All),
        Just(missing()),
        Just(Live::Unknown)
    ];
    let lacking = prop_oneof![3 => Just(vec![]), 1 => Just(vec!["x".to_owned()])];
    let wish = prop_oneof![
        12 => Just(None),
        1 => Just(Some(Wish::Start)),
        1 => Just(Some(Wish::Stop)),
        1 => Just(Some(Wish::Pass)),
    ];
    let moment = (active, live, lacking, 0..20u64, wish);
    let moment = moment.prop_map(|(active, live, lacking, early, wish)| Moment {
        seen: Seen {
            active,
            live,
            lacking,
        },
        early,
        wish,
    });
    prop::collection::vec(moment, 1..80)
}

proptest! {
    /// Whatever is seen: a START only of what is not active, a CANCEL only of what is, for
    /// a reason that is seen; one of both at most; what survives a CANCEL is left alone for
    /// ten seconds; nothing at all where nothing is to be done; and time goes on.
    #[test]
    fn what_always_holds(
        moments in moments(),
        wait in 0..600u64,
        acts: bool,
        is_stack: bool,
    ) {
        let origin = if is_stack { Origin::Stack } else { Origin::Listed };
        let rules = Rules { wait: Duration::from_secs(wait), acts };
        let mut clock = Clock::new(origin, rules);
        let mut cancelled: Option<Instant> = None;
        for Moment { seen, early, wish } in moments {
            clock.now = clock.now.max(clock.state.due - Duration::from_secs(early).min(clock.state.due - clock.began));
            if let Some(wish) = wish {
                clock.state.ask(wish, clock.now);
            }
            let before = clock.state.clone();
            let actions = clock.step(&seen);
            let mut acted = 0;
            for action in &actions {
                match action {
                    Action::Start(cause) => {
                        acted += 1;
                        prop_assert_eq!(seen.active, Some(false));
                        if *cause == Cause::Listed {
                            prop_assert!(seen.lacking.is_empty());
                        }
                    }
                    Action::Cancel(cause) => {
                        acted += 1;
                        prop_assert_eq!(seen.active, Some(true));
                        let again = matches!(before.phase, Phase::Ends(..) | Phase::Stops(_));
                        match cause {
                            Cause::Missing(ports) if !again => {
                                prop_assert_eq!(&Live::Missing(ports.clone()), &seen.live);
                            }
                            Cause::Lingers if !again => {
                                prop_assert!(is_stack);
                                prop_assert!(matches!(seen.live, Live::Missing(_) | Live::Unwatched));
                            }
                            Cause::Asked => prop_assert!(matches!(before.phase, Phase::Stops(_))),
                            Cause::Listed | Cause::Ended => prop_assert!(false, "no reason"),
                            _ => {}
                        }
                        if let (Phase::Ends(..), Some(last)) = (&before.phase, cancelled) {
                            prop_assert!(clock.now >= last + POLL);
                        }
                        cancelled = Some(clock.now);
                    }
                    Action::Tell(_) => {}
                }
            }
            prop_assert!(acted <= 1);
            prop_assert!(acts || acted == 0);
            let is_cancel = actions.iter().any(|action| matches!(action, Action::Cancel(_)));
            prop_assert!(is_cancel || clock.state.due > clock.now);
        }
    }
}
