//! What is told of made-up states, and whether documents and rules name what there is.

use std::{fs, path::Path, sync::Arc};

use portreeve_common::Reason;
use serde_json::json;

use super::*;
use crate::{
    daemon::metrics::map::PortMap,
    kernel::{counters::Judged, executables::Executables},
    policy::{
        holdings,
        listeners::tests::{held, policy},
    },
    ports::{FixedListeners, Listener},
};

const PROFILE: &str = "PORT
  21 TCP FTPD1
  22 TCP RESERVED
  53 UDP NAMED
  1414 TCP MQ*
  1414 TCP MQ1
PORTRANGE
  4000 100 TCP APPL*
PORT
  UNRSV UDP NAMED
";

fn status() -> Status {
    let now = jiff::Timestamp::now().to_string();
    let status = json!({
        "mode": "enforce", "generation": 7,
        "profile": {
            "path": "/etc/portreeve/profile.tcpip", "hash": "", "differs_from_file": true,
            "changes": ["/tmp/change.tcpip"], "entries": 8, "audited": 1, "dropped": 2,
            "published": "2026-01-02T03:04:05Z",
        },
        "hooks": ["post_bind4", "post_bind6", "bind4", "bind6"],
        "missing": ["listen: no LSM", "listen: again", "port 0: with \"quotes\" and\nlines"],
        "pool": {
            "managed": true, "range": null, "range_before": null, "added": "", "free": 28232,
            "dropped": null,
        },
        "neighbours": [{"hook": "bind4", "program": "x", "id": 1, "after_ours": true}],
        "attach": {"path": null, "id": 1},
        "counters": {}, "audited": {},
        "events": {"lost": 3, "suppressed": 4, "reports_lost": 5},
        "listeners": {"destroyed": 1, "closed": 2, "stay": 3, "late": 4, "lost": 5},
        "drift": [
            {"of": "a", "problem": "", "since": now, "until": null, "mended": null, "times": 2},
            {"of": "b", "problem": "", "since": now, "until": now, "mended": null, "times": 3},
        ],
        "selftest": {"at": now, "ok": true, "problem": null, "failing_since": null},
        "watch": {
            "sockets": 7, "lost": 1, "mistakes": 0, "looked_at": now, "alerts": [{
                "time": now, "news": "alert", "level": "warning", "protocol": "tcp", "port": 21,
                "from": null, "state": "closed", "expected": "open", "cause": "ended", "pid": null,
                "comm": null, "alert": "broken", "since": now, "lasted": null,
            }],
        },
        "pending_confirm": null, "reload": null, "agent": 1, "version": "0",
    });
    serde_json::from_value(status).unwrap()
}

fn told(profile: &str, listeners: Vec<Listener>, change: impl FnOnce(&mut Snapshot)) -> String {
    let policy = Arc::new(policy(profile, ""));
    let others: Vec<_> = listeners.iter().map(|it| it.socket.clone()).collect();
    let holdings = holdings::of(&policy, &FixedListeners(listeners), |_| None).unwrap();
    let map = PortMap::new(&policy, &holdings, &others);
    let sockets = Sockets {
        at: jiff::Timestamp::now(),
        policy: Arc::clone(&policy),
        holdings: Ok(holdings),
        map,
    };
    let judged = |mode, reason, count| Judged {
        mode,
        protocol: Protocol::Udp,
        reason,
        count,
    };
    let mut snapshot = Snapshot {
        status: status(),
        judged: vec![
            judged(Mode::Enforce, Reason::OtherJob, 11),
            judged(Mode::Audit, Reason::OtherJob, 12),
            judged(Mode::Enforce, Reason::Permitted, 13),
        ],
        policy,
        executables: Executables::default(),
        refusals: Vec::new(),
        publishing: publishing().unwrap(),
    };
    snapshot.publishing.observe(0.02);
    change(&mut snapshot);
    let text = text(&snapshot, Some(&sockets), &mut Exposed::default()).unwrap();
    String::from_utf8(text).unwrap()
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
}

#[test]
fn every_family_is_told_with_its_help() {
    let listeners = vec![held("tcp/21", &["wrong"])];
    let text = told(PROFILE, listeners, |_| {});
    for family in FAMILIES {
        let kind = match family.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        has(&text, &format!("# TYPE {} {kind}", family.name));
        assert!(text.contains(&format!("# HELP {} ", family.name)));
        assert!(family.help.ends_with('.'), "{}", family.name);
        let is_total = family.name.ends_with("_total");
        assert_eq!(is_total, family.kind == Type::Counter, "{}", family.name);
    }
    let types = text.lines().filter(|line| line.starts_with("# TYPE"));
    assert_eq!(types.count(), FAMILIES.len());
}

#[test]
fn values_are_those_of_the_status() {
    let text = told(PROFILE, Vec::new(), |_| {});
    for line in [
        "portreeve_mode{mode=\"enforce\"} 1",
        "portreeve_mode{mode=\"audit\"} 0",
        "portreeve_ready 1",
        "portreeve_policy_generation 7",
        "portreeve_policy_published_timestamp_seconds 1767323045",
        "portreeve_policy_differs_from_file 1",
        "portreeve_policy_entries_dropped 2",
        "portreeve_policy_obeyed_files 1",
        "portreeve_neighbour_programs{after_ours=\"true\"} 1",
        "portreeve_missing{what=\"listen\"} 1",
        "portreeve_missing{what=\"port 0\"} 1",
        "portreeve_drift_active 1",
        "portreeve_drift_total 5",
        "portreeve_events_lost_total 3",
        "portreeve_listeners_total{fate=\"stay\"} 3",
        "portreeve_publish_duration_seconds_bucket{le=\"0.025\"} 1",
        "portreeve_publish_duration_seconds_count 1",
        "portreeve_verdicts_total{mode=\"enforce\",protocol=\"udp\",reason=\"other-job\",verdict=\"deny\"} 11",
        "portreeve_verdicts_total{mode=\"audit\",protocol=\"udp\",reason=\"other-job\",verdict=\"would-deny\"} 12",
        "portreeve_verdicts_total{mode=\"enforce\",protocol=\"udp\",reason=\"permitted\",verdict=\"allow\"} 13",
        "portreeve_ports{protocol=\"tcp\",state=\"free\"} 65432",
    ] {
        has(&text, line);
    }
}

#[test]
fn an_entry_is_open_by_whom_it_admits() {
    let listeners = vec![
        held("tcp/21", &["wrong"]),
        held("tcp/22", &["sshd"]),
        held("tcp/1414", &["mq7"]),
        held("tcp/4007", &["appl1"]),
    ];
    let text = told(PROFILE, listeners, |_| {});
    for line in [
        "portreeve_port_open{jobname=\"FTPD1\",port=\"21\",protocol=\"tcp\"} 0",
        "portreeve_port_open{jobname=\"MQ*\",port=\"1414\",protocol=\"tcp\"} 1",
        "portreeve_port_open{jobname=\"MQ1\",port=\"1414\",protocol=\"tcp\"} 0",
        "portreeve_port_open{jobname=\"APPL*\",port=\"4000-4099\",protocol=\"tcp\"} 1",
        "portreeve_port_open{jobname=\"NAMED\",port=\"53\",protocol=\"udp\"} 0",
        "portreeve_port_contradicted{jobname=\"FTPD1\",port=\"21\",protocol=\"tcp\"} 1",
        "portreeve_port_contradicted{jobname=\"RESERVED\",port=\"22\",protocol=\"tcp\"} 1",
    ] {
        has(&text, line);
    }
    // Nobody is expected where nobody may be, nor at ports without a name.
    assert!(!text.contains("portreeve_port_open{jobname=\"RESERVED\""));
    assert_eq!(text.matches("portreeve_port_open{").count(), 5);
}

#[test]
fn refusals_are_told_by_entry() {
    let text = told(PROFILE, Vec::new(), |snapshot| {
        let entries = 0..snapshot.policy.compiled.image.entries.len() as u32;
        snapshot.refusals = entries.map(|index| (index, u64::from(index) + 1)).collect();
    });
    let series = text.matches("portreeve_entry_refusals_total{").count();
    assert_eq!(series, 8, "seven entries and the others");
    has(
        &text,
        "portreeve_entry_refusals_total{jobname=\"\",port=\"other\",protocol=\"\"} 0",
    );
    assert!(text.contains("{jobname=\"NAMED\",port=\"unreserved\",protocol=\"udp\"}"));
}

#[test]
fn a_register_of_any_size_has_so_many_series() {
    let text = told("PORTRANGE 1 65535 UDP A\n", Vec::new(), |_| {});
    assert_eq!(text.matches("portreeve_port_open{").count(), 1);
    let mut profile = String::from("PORT\n");
    for port in 1..=1200 {
        profile += &format!(" {port} TCP A\n");
    }
    let text = told(&profile, Vec::new(), |_| {});
    assert_eq!(text.matches("portreeve_port_open{").count(), MOST_PORTS);
    has(&text, "portreeve_port_series_omitted 200");
}

#[test]
fn only_a_fresh_proof_is_one() {
    let changed = |change: fn(&mut Status)| {
        let mut status = status();
        change(&mut status);
        not_ready(&status)
    };
    assert_eq!(changed(|_| {}), None);
    assert!(changed(|status| status.mode = "none".into()).is_some());
    assert!(changed(|status| status.selftest = None).is_some());
    assert!(changed(|status| drop(status.hooks.pop())).is_some());
    let old = changed(|status| {
        if let Some(test) = &mut status.selftest {
            test.at = "2026-01-01T00:00:00Z".into();
        }
    });
    assert!(old.unwrap().contains("long ago"));
    let failed = changed(|status| {
        if let Some(test) = &mut status.selftest {
            (test.ok, test.problem) = (false, Some("hook bind4 is deaf".into()));
        }
    });
    assert!(failed.unwrap().contains("bind4 is deaf"));
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    words
        .filter(|word| word.starts_with("portreeve_"))
        .collect()
}

/// Rules and dashboard ask for nothing that the agent doesn't tell.
#[test]
fn rules_and_dashboard_name_what_there_is() {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for family in FAMILIES {
        known.insert(family.name.into());
        if family.kind == Type::Histogram {
            known.extend(["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", family.name)));
        }
    }
    for path in [
        "deploy/prometheus/portreeve.rules.yml",
        "deploy/prometheus/portreeve.rules.test.yml",
        "deploy/prometheus/portreeve.dashboard.json",
    ] {
        let text = read(path);
        let names = names(&text);
        assert!(names.len() > 5, "{path}: {names:?}");
        for name in names {
            assert!(known.contains(name), "{path}: {name}");
        }
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/prometheus/portreeve.dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

/// The manual's table has every family, with its type, labels and meaning.
#[test]
fn the_manual_has_every_metric() {
    let text = read("docs/metrics.md");
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `portreeve_"))
        .collect();
    let expected: Vec<String> = FAMILIES
        .iter()
        .map(|family| {
            let kind = format!("{:?}", family.kind).to_lowercase();
            let labels: Vec<String> = family.labels.iter().map(|it| format!("`{it}`")).collect();
            let (name, labels) = (family.name, labels.join(", "));
            format!("| `{name}` | {kind} | {labels} | {} |", family.help)
        })
        .collect();
    assert_eq!(rows, expected, "\n{}", expected.join("\n"));
}
