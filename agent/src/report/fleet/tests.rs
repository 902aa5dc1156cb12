use serde_json::{Value, json};

use super::*;

/// What a node of an older version says: fields that came later aren't there, and one that
/// nobody knows any more is.
fn said() -> Value {
    json!({
        "mode": "enforce", "generation": 7,
        "profile": {
            "path": "/etc/portreeve/profile.tcpip", "hash": "aa11", "differs_from_file": false,
            "changes": [], "entries": 8, "dropped": 0, "published": "2026-01-02T03:04:05Z",
        },
        "hooks": ["post_bind4", "post_bind6", "bind4", "bind6"], "missing": [],
        "pool": {
            "managed": true, "range": null, "range_before": null, "added": "", "free": 28232,
            "dropped": null,
        },
        "neighbours": [], "attach": {"path": null, "id": 1},
        "counters": {"other-job": 3, "permitted": 9, "reason-of-tomorrow": 5},
        "audited": {"blocked": 2},
        "events": {"lost": 0, "suppressed": 0, "reports_lost": 0},
        "listeners": {"destroyed": 0, "closed": 0, "stay": 0, "late": 0, "lost": 0}, "drift": [],
        "selftest": {
            "at": "2026-01-02T10:00:00Z", "ok": true, "problem": null, "failing_since": null,
        },
        "pending_confirm": null, "agent": 1, "version": "0.1.0", "unheard_of": {"a": 1},
    })
}

fn node(name: &str, change: impl FnOnce(&mut Value)) -> Node {
    let mut status = said();
    change(&mut status);
    Node {
        name: name.into(),
        status: Ok(serde_json::from_value(status).unwrap()),
    }
}

fn names(fleet: &Fleet) -> Vec<&str> {
    fleet.nodes.iter().map(|row| row.node.as_str()).collect()
}

#[test]
fn a_fleet_that_is_as_it_should_be() {
    let found = fleet(vec![node("b", |_| {}), node("a", |_| {})]);
    assert!(found.ok);
    assert_eq!(names(&found), ["a", "b"]);
    let [policy] = &found.policies[..] else {
        panic!("{:?}", found.policies);
    };
    assert_eq!((policy.nodes, policy.proven), (2, 2));
    let row = &found.nodes[0];
    assert_eq!((row.refused, row.would_be_refused), (Some(3), Some(2)));
    let text = text(&found);
    assert!(
        text.contains("profile aa11 in mode enforce: 2 nodes, 2 proven"),
        "{text}"
    );
    assert!(text.ends_with("and it is proven"), "{text}");
}

/// Whatever is the matter with one node, it is the first one, and the answer is no.
#[test]
fn one_that_is_otherwise_is_seen() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 9] = [
        (|status| status["agent"] = Value::Null, "no agent answers"),
        (|status| status["selftest"] = Value::Null, "not proven"),
        (
            |status| {
                status["selftest"]["ok"] = false.into();
                status["selftest"]["problem"] = "bind6 is silent".into();
            },
            "not proven: bind6 is silent",
        ),
        (|status| status["hooks"] = json!(["bind4"]), ""),
        (
            |status| status["selftest"]["at"] = "2026-01-02T09:00:00Z".into(),
            "the status is old",
        ),
        (
            |status| status["profile"]["differs_from_file"] = true.into(),
            "the files are not what is in force",
        ),
        (
            |status| {
                status["reload"] = json!({
                    "watch": true, "waits_for_confirm": false,
                    "refused": {"since": "2026-01-02T09:00:00Z", "reason": "PRV201"},
                });
            },
            "reloads are refused: PRV201",
        ),
        (|status| status["profile"]["hash"] = "bb22".into(), ""),
        (|status| status["mode"] = "audit".into(), ""),
    ];
    for (number, (change, word)) in cases.into_iter().enumerate() {
        let found = fleet(vec![
            node("a", |_| {}),
            node("b", |_| {}),
            node("z", change),
        ]);
        assert!(!found.ok, "{number}");
        assert_eq!(names(&found), ["z", "a", "b"], "{number}");
        let problems = found.nodes[0].problems.join("; ");
        assert!(problems.contains(word), "{number}: {problems}");
        assert_eq!(problems.is_empty(), word.is_empty(), "{number}: {problems}");
        assert!(text(&found).contains("NOT all nodes"), "{number}");
    }
}

#[test]
fn a_node_that_said_nothing_is_one_without_a_status() {
    let silent = Node {
        name: "quiet\u{1b}[31m".into(),
        status: Err("it said nothing".into()),
    };
    let found = fleet(vec![node("a", |_| {}), silent]);
    assert!(!found.ok);
    let text = text(&found);
    assert!(text.contains("no status: 1 nodes"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(!fleet(Vec::new()).ok, "no node is no fleet");
}

/// What is worth a look makes no node wrong: it may have been accepted.
#[test]
fn remarks_are_no_problems() {
    let found = fleet(vec![node("a", |status| {
        status["missing"] = json!(["listen: no LSM"]);
        status["events"]["lost"] = 4.into();
        status["pending_confirm"] = json!({"generation": 8, "seconds_left": 30, "back_to": ""});
    })]);
    assert!(found.ok, "{:?}", found.nodes[0].problems);
    let remarks = found.nodes[0].remarks.join("; ");
    for words in ["missing: listen: no LSM", "4 refusals", "30 s left"] {
        assert!(remarks.contains(words), "{remarks}");
    }
}
