//! The view as it is seen, from what an agent could say and people type.

use jiff::{Timestamp, Zoned, tz::TimeZone};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::Color,
};

use super::{
    draw::{self, Theme},
    feed::News,
    keys::Wish,
    state::{Sort, State},
};
use crate::{
    daemon::protocol::{
        AttachStatus, EventLine, EventRecord, EventStatus, ListenerStatus, PoolStatus,
        ProfileStatus, SelftestStatus, Status, TakenPort,
    },
    kernel::hooks::HOOKS,
    report::events::tests::event,
};

const NOON: i64 = 1_899_979_200;
const COLOURS: Theme = Theme { color: true };

/// Noon and so many seconds.
fn at(seconds: i64) -> Zoned {
    let time = Timestamp::from_second(NOON + seconds).unwrap();
    time.to_zoned(TimeZone::UTC)
}

fn stamp(seconds: i64) -> String {
    format!("{:.3}", at(seconds).timestamp())
}

fn status(refused: u64, allowed: u64) -> Status {
    Status {
        mode: "enforce".into(),
        generation: 3,
        profile: ProfileStatus {
            path: "/etc/portreeve/profile.tcpip".into(),
            hash: "00".into(),
            differs_from_file: Some(false),
            changes: None,
            entries: 12,
            audited: 0,
            dropped: None,
            published: stamp(-60),
        },
        hooks: HOOKS.iter().map(|hook| (*hook).to_owned()).collect(),
        missing: Vec::new(),
        pool: PoolStatus {
            managed: true,
            range: None,
            range_before: None,
            added: String::new(),
            free: None,
            dropped: None,
        },
        neighbours: Vec::new(),
        attach: AttachStatus { path: None, id: 1 },
        counters: [("other-job".into(), refused), ("permitted".into(), allowed)].into(),
        audited: [("blocked".into(), 0)].into(),
        events: EventStatus {
            lost: 0,
            suppressed: 0,
            reports_lost: 0,
        },
        listeners: ListenerStatus::default(),
        drift: Vec::new(),
        selftest: Some(SelftestStatus {
            at: stamp(-4),
            ok: true,
            problem: None,
            failing_since: None,
        }),
        watch: None,
        pending_confirm: None,
        metrics: None,
        snmp: None,
        reload: None,
        outputs: Vec::new(),
        privileges: None,
        agent: Some(4711),
        version: "0".into(),
    }
}

fn figures(status: Status) -> News {
    News::Figures(Box::new(status))
}

fn refusal(seconds: i64, port: u16, comm: &str, repeated: u64) -> News {
    News::Event(EventLine::Event(Box::new(EventRecord {
        time: stamp(seconds),
        port: Some(port),
        comm: Some(comm.into()),
        repeated,
        ..event()
    })))
}

fn taken(ports: &[(u16, &str)]) -> News {
    let one = |(port, state): &(u16, &str)| TakenPort {
        protocol: "tcp".into(),
        port: *port,
        state: (*state).into(),
        pid: Some(77),
        comm: Some("nginx".into()),
    };
    News::Taken(ports.iter().map(one).collect())
}

/// A view after ten seconds in which something happened.
fn busy() -> State {
    let mut state = State::default();
    let mut take_in = |news, seconds| state.live.take_in(news, &at(seconds));
    take_in(figures(status(1000, 7)), -10);
    take_in(taken(&[(80, "open")]), -10);
    take_in(News::Begins, -10);
    take_in(refusal(-3600, 25, "old", 0), -10);
    take_in(refusal(-9, 21, "wrong", 0), -9);
    take_in(refusal(-9, 21, "wrong", 499), -8);
    take_in(refusal(-2, 8443, "z\u{1b}[31m\u{202e}", 0), -2);
    take_in(taken(&[(21, "contradicted"), (443, "open")]), -1);
    take_in(figures(status(1501, 27)), 0);
    state
}

/// What is seen of it in `width` columns and `height` lines.
fn seen(state: &State, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let drawn = terminal.draw(|frame| {
        let area = frame.area();
        draw::screen(state, &at(0), COLOURS, area, frame.buffer_mut());
    });
    drawn.unwrap();
    draw::lines(terminal.backend().buffer())
}

fn press(state: &mut State, keys: &str) -> Wish {
    let mut wish = Wish::Show;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\u{8}' => KeyCode::Backspace,
            '↓' => KeyCode::Down,
            '↑' => KeyCode::Up,
            '⇓' => KeyCode::End,
            letter => KeyCode::Char(letter),
        };
        wish = state.press(KeyEvent::new(code, KeyModifiers::NONE), &at(0));
    }
    wish
}

#[test]
fn a_terminal_of_the_usual_size_has_all() {
    let lines = seen(&busy(), 80, 24);
    let expected = "\
\u{20}portreeve top  enforce, generation 3, proven 4 s ago                   12:00:00
/etc/portreeve/profile.tcpip, 12 entries, agent pid 4711
refused 50.1/s, allowed 2.0/s; reserved ports: 1 contradicted, 1 open
 Refused, most often now first: 3 ──────────────────────────────────────────────
PORT      WHO               UID      /S     COUNT LAST     WHY
tcp/21    wrong               5      50       500 11:59:51 other-job
tcp/8443  z\\u{1b}[31m\\u…      5     0.1         1 11:59:58 other-job
tcp/25    old                 5       -         1 11:00:00 other-job







 Verdicts by reason ─────────────────── Ports changing state ───────────────────
REASON                    /S    COUNT  TIME     PORT      NOW          WHO
other-job                 50     1501  11:59:59 tcp/443   open         nginx (7…
permitted                2.0       27  11:59:59 tcp/21    contradicted nginx (7…
                                       11:59:59 tcp/80    closed       nginx (7…



q quit  p pause  s sort  / filter  arrows choose  ? help";
    assert_eq!(lines.join("\n"), expected);
}

/// Whatever the size, nothing panics, and the header is there if it can be.
#[test]
fn every_size_is_drawn() {
    let mut state = busy();
    press(&mut state, "↓");
    for width in (0..30).chain((30..180).step_by(15)) {
        for height in [0, 1, 2, 3, 5, 10, 24, 60] {
            let lines = seen(&state, width, height);
            if width >= 20 && height >= 3 {
                assert!(lines[0].contains("portreeve top"), "{width}x{height}");
            }
        }
        state.help = width % 2 == 0;
        seen(&state, width, 24);
        state.help = false;
    }
    let wide = seen(&state, 160, 24).join("\n");
    for word in ["JOB", "CGROUP", "WRONG", "BEFORE", "nginx (77)"] {
        assert!(wide.contains(word), "{word}: {wide}");
    }
}

#[test]
fn an_agent_that_goes_away_is_missed_until_it_is_back() {
    let mut state = busy();
    for seconds in [1, 2] {
        let gone = News::Gone("no agent answers: gone".into());
        state.live.take_in(gone, &at(seconds));
    }
    let text = seen(&state, 80, 24).join("\n");
    assert!(text.contains("NO AGENT since 12:00:01: no agent answers: gone; trying again"));
    assert!(text.contains("stays in force"), "{text}");
    assert!(text.contains("tcp/21"), "{text}");
    // What it has kept comes again, and is not counted again.
    state.live.take_in(figures(status(1501, 27)), &at(5));
    state.live.take_in(News::Begins, &at(5));
    state.live.take_in(refusal(-2, 8443, "late", 0), &at(5));
    state.live.take_in(refusal(4, 22, "new", 0), &at(5));
    let text = seen(&state, 80, 24).join("\n");
    assert!(
        !text.contains("NO AGENT") && !text.contains("late"),
        "{text}"
    );
    assert!(text.contains("tcp/22"), "{text}");
}

#[test]
fn what_is_wrong_is_in_the_header() {
    let mut wrong = status(0, 0);
    wrong.mode = "audit".into();
    wrong.profile.differs_from_file = Some(true);
    wrong.events.lost = 4;
    wrong.selftest = Some(SelftestStatus {
        at: stamp(-1),
        ok: false,
        problem: Some("because".into()),
        failing_since: Some(stamp(-30)),
    });
    let mut state = State::default();
    state.live.take_in(figures(wrong), &at(0));
    let text = seen(&state, 80, 24).join("\n");
    for words in [
        "audit",
        "NOT PROVEN since 11:59:30",
        "DIFFERS",
        "4 events LOST",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let text = seen(&State::default(), 80, 24).join("\n");
    assert!(text.contains("nobody was refused"), "{text}");
}

#[test]
fn keys_sort_filter_choose_and_quit() {
    let mut state = busy();
    let first = |state: &State| {
        let now = at(0);
        let rows = state.rows(&now);
        rows.first().map(|(caller, _)| caller.name())
    };
    let mut sorts = Vec::new();
    for _ in 0..5 {
        sorts.push((state.sort, first(&state).unwrap()));
        assert_eq!(press(&mut state, "s"), Wish::Show);
    }
    let hostile = "z\\u{1b}[31m\\u{202e}".to_owned();
    let expected = [
        (Sort::Rate, "wrong".to_owned()),
        (Sort::Count, "wrong".to_owned()),
        (Sort::Last, hostile),
        (Sort::Port, "wrong".to_owned()),
        (Sort::Who, "old".to_owned()),
    ];
    assert_eq!(sorts, expected);
    assert_eq!(state.sort, Sort::Rate);

    // While a filter is typed, letters are letters.
    assert_eq!(press(&mut state, "/Qo\u{8}\u{8}OL"), Wish::Show);
    let text = seen(&state, 80, 24).join("\n");
    assert!(text.contains("1 of 3 with \"ol\""), "{text}");
    assert!(text.contains("has this in it: ol_"), "{text}");
    assert!(
        text.contains("tcp/25") && !text.contains("tcp/8443"),
        "{text}"
    );
    press(&mut state, "\n");
    assert!(!state.is_typing && state.filter == "ol");
    press(&mut state, "\u{1b}");
    assert_eq!(state.filter, "");

    // Who is chosen stays so when the order changes.
    let chosen = |state: &State| state.chosen.as_ref().map(|caller| caller.name());
    press(&mut state, "↓↓↓↓↑");
    assert_eq!(chosen(&state), Some("z\\u{1b}[31m\\u{202e}".into()));
    press(&mut state, "s");
    assert!(chosen(&state).is_some_and(|name| name.starts_with('z')));
    press(&mut state, "↑↑↑↑");
    let text = seen(&state, 80, 24).join("\n");
    assert!(text.contains("p:2: 21 TCP FTPD1  (cgroup /a)"), "{text}");
    press(&mut state, "⇓");
    assert_eq!(chosen(&state), Some("z\\u{1b}[31m\\u{202e}".into()));

    assert_eq!(press(&mut state, "?"), Wish::Show);
    assert!(
        seen(&state, 80, 24)
            .join("\n")
            .contains("Any key goes back")
    );
    assert_eq!(press(&mut state, "x"), Wish::Show);
    assert!(!state.help);
    assert_eq!(press(&mut state, "q"), Wish::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    state.is_typing = true;
    assert_eq!(state.press(interrupt, &at(0)), Wish::Quit);
}

#[test]
fn a_paused_view_stands_still() {
    let mut state = busy();
    press(&mut state, "p");
    state.live.take_in(refusal(0, 4444, "new", 0), &at(0));
    let text = seen(&state, 80, 24).join("\n");
    assert!(
        text.contains("PAUSED") && !text.contains("tcp/4444"),
        "{text}"
    );
    press(&mut state, "p");
    let text = seen(&state, 80, 24).join("\n");
    assert!(
        !text.contains("PAUSED") && text.contains("tcp/4444"),
        "{text}"
    );
}

#[test]
fn colours_can_be_had_without() {
    let drawn = |theme| {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let drawn = terminal.draw(|frame| {
            let area = frame.area();
            draw::screen(&busy(), &at(0), theme, area, frame.buffer_mut());
        });
        drawn.unwrap();
        let buffer = terminal.backend().buffer().clone();
        buffer.content.iter().any(|cell| cell.fg != Color::Reset)
    };
    assert!(drawn(COLOURS));
    assert!(!drawn(Theme { color: false }));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut state = State::default();
    for number in 0..6000 {
        state
            .live
            .take_in(refusal(number, 21, &format!("c{number}"), 0), &at(0));
        state
            .live
            .take_in(taken(&[(number as u16, "open")]), &at(0));
    }
    assert_eq!(state.live.callers.len(), 5000);
    assert_eq!(state.live.changes.len(), 200);
    let names = state.live.callers.keys().map(|caller| caller.name());
    assert!(names.clone().any(|name| name == "c5999") && !names.clone().any(|name| name == "c0"));
}

#[test]
fn programs_are_told_the_same() {
    let told = busy().live.report();
    assert_eq!(told["mode"], "enforce");
    assert_eq!(told["generation"], 3);
    assert_eq!(told["verdicts"]["other-job"]["count"], 1501);
    assert_eq!(told["refusals"].as_array().unwrap().len(), 3);
    assert_eq!(told["refusals"][0]["port"], 21);
    assert_eq!(told["refusals"][0]["count"], 500);
    assert_eq!(told["changes"][0]["is"], "open");
    assert_eq!(told["ports"][0]["state"], "contradicted");
}
