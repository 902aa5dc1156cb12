//! The verdict against a slow and obvious oracle.
//!
//! Policies are generated as texts and go the whole way: parse, resolve, compile,
//! `decide`, as `explain` does it. The oracle shares no code with any of that.

use std::{net::IpAddr, path::Path};

use portreeve::{
    config,
    diagnostics::{Diagnostics, render},
    kernel::features::Features,
    policy::{
        build::{Ingredients, Policy, build},
        explain::{Answer, Question, explain},
    },
    profile::{self, ReadOptions},
};
use portreeve_common::{
    Request,
    abi::{self, MAX_ENTRIES_PER_PORT},
    decide::{Operation, is_free},
};
use portreeve_oracle::{
    generate,
    model::{self, Address, Ask, Line, Ports, Protocol},
    verdict,
};
use proptest::prelude::*;

/// The policy that the product makes of a model. Entries that collide are
/// dropped, as on z/OS; anything else that is wrong is a mistake of the test.
fn product(model: &model::Policy) -> (Policy, Diagnostics) {
    let text = model.profile();
    let parsed = profile::parse(Path::new("p"), text.as_bytes(), &ReadOptions::default());
    assert!(!parsed.diagnostics.has_errors(), "{text}");
    let (mut sources, mut diagnostics) = (parsed.sources, Diagnostics::new());
    let toml = model.config();
    let config = config::parse(Path::new("c"), &toml, &mut sources, &mut diagnostics);
    let shown = render::all(&diagnostics, &sources, false);
    let config = config.unwrap_or_else(|| panic!("{toml}\n{shown}"));
    let policy = build(
        Ingredients::of_no_host(config, parsed.profile, sources),
        &mut diagnostics,
    );
    (policy, diagnostics)
}

fn question(ask: &Ask) -> Question {
    let address = match ask.address {
        Address::AnyV4 => "0.0.0.0",
        Address::AnyV6 => "::",
        Address::Specific => "127.0.0.1",
    };
    Question {
        protocol: ask.protocol.name().into(),
        port: ask.port,
        listen: ask.listen,
        jobs: ask
            .kernel
            .then(|| "KERNEL".to_owned())
            .into_iter()
            .collect(),
        comm: Some(ask.comm.clone()),
        cgroup: Some(ask.cgroup.into()),
        exe: Some(ask.exe.into()),
        uid: ask.uid,
        groups: ask.groups.clone(),
        privileged: ask.privileged,
        address: address.parse::<IpAddr>().ok(),
    }
}

fn ask_product(policy: &Policy, ask: &Ask) -> (Answer, model::Answer) {
    let question = question(ask);
    let answer = explain(policy, &question, 0, Features::ALL).expect("TCP and UDP are judged");
    // What the programs look at first says the same as the whole verdict.
    let operation = if ask.listen {
        Operation::Listen
    } else {
        Operation::Bind
    };
    let request = Request {
        protocol: match ask.protocol {
            Protocol::Tcp => abi::Protocol::Tcp,
            Protocol::Udp => abi::Protocol::Udp,
        },
        port: ask.port,
        operation,
    };
    if is_free(request, &policy.compiled.image) {
        assert_eq!(answer.reason, "unreserved");
    }
    let errno = if ask.kernel { "EADDRINUSE" } else { "EACCES" };
    let refused = answer.verdict == "deny";
    assert_eq!(
        answer.errno.as_deref(),
        (refused && !answer.audit).then_some(errno)
    );
    let asked = question.address.map(|address| address.to_string());
    let seen = model::Answer {
        reason: model_reason(&answer.reason),
        line: answer.entry.as_ref().map_or(0, |entry| entry.line),
        grant: answer.grant,
        rewritten: answer.address.clone().filter(|_| answer.address != asked),
        shared: answer
            .sharing
            .as_ref()
            .filter(|_| answer.reason == "permitted")
            .map(|sharing| sharing == "shared"),
        audit: answer.audit,
    };
    (answer, seen)
}

/// The oracle's reasons are static texts.
fn model_reason(reason: &str) -> &'static str {
    portreeve_common::Reason::ALL
        .iter()
        .map(|known| known.id())
        .find(|known| *known == reason)
        .expect("every reason is known")
}

/// Generated policies; each is asked some dozens of questions.
fn cases(few: u32, many: u32) -> ProptestConfig {
    ProptestConfig {
        cases: std::env::var("PORTREEVE_LONG").map_or(few, |_| many),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(3000, 60_000))]

    /// The whole language: entries with options, UNRSV, RESTRICTLOWPORTS, defined
    /// jobs, SAF, restrictions.
    #[test]
    fn generated_policies_mean_what_the_reference_says(
        policy in generate::policy(),
        asks in proptest::collection::vec(generate::ask(), 20),
    ) {
        let (product, _) = product(&policy);
        for ask in &asks {
            let (answer, seen) = ask_product(&product, ask);
            prop_assert_eq!(
                seen, verdict(&policy, ask),
                "{:?}\n{}\n{}\n{}", ask, policy.profile(), policy.config(), answer.text
            );
        }
    }
}

proptest! {
    #![proptest_config(cases(500, 5000))]

    /// Every port around the entries, for policies of plain entries.
    #[test]
    fn no_port_is_forgotten(
        policy in generate::simple_policy(),
        ask in generate::ask(),
    ) {
        let (product, _) = product(&policy);
        for port in (0u16..=18).chain(1016..=1036).chain(65528..=65535) {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let ask = Ask { port, protocol, listen: false, ..ask.clone() };
                let (_, seen) = ask_product(&product, &ask);
                prop_assert_eq!(seen, verdict(&policy, &ask), "{:?}\n{}", ask, policy.profile());
            }
        }
    }
}

fn caller(name: &str) -> Ask {
    Ask {
        protocol: Protocol::Tcp,
        port: 21,
        listen: false,
        address: Address::AnyV4,
        comm: name.into(),
        cgroup: "/",
        exe: "/nowhere/x",
        kernel: false,
        uid: 1000,
        groups: Vec::new(),
        privileged: false,
    }
}

fn reason(policy: &Policy, ask: Ask) -> &'static str {
    ask_product(policy, &ask).1.reason
}

/// `PRT-44`: an empty profile reserves nothing, on no port.
#[test]
fn an_empty_policy_judges_no_port() {
    let (policy, _) = product(&model::Policy::default());
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for port in 1..=u16::MAX {
            assert_eq!(
                reason(
                    &policy,
                    Ask {
                        protocol,
                        port,
                        ..caller("A")
                    }
                ),
                "unreserved"
            );
        }
    }
}

/// A single entry decides about its own port and about nothing else.
#[test]
fn one_entry_is_one_port() {
    for user in ["A", "RESERVED", "A*B"] {
        let line = Line::new(Ports::One(21), Protocol::Tcp, user);
        let model = model::Policy {
            lines: vec![line],
            ..model::Policy::default()
        };
        let (policy, _) = product(&model);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for port in 0..=u16::MAX {
                let ask = Ask {
                    protocol,
                    port,
                    ..caller("AXB")
                };
                assert_eq!(ask_product(&policy, &ask).1, verdict(&model, &ask));
            }
        }
    }
}

/// Every port of both protocols reserved: the largest table there is.
#[test]
fn all_ports_can_be_reserved_one_by_one() {
    let of = |protocol| {
        (1..=u16::MAX)
            .map(move |port| Line::new(Ports::One(port), protocol, &format!("J{}", port % 1000)))
    };
    let lines = of(Protocol::Tcp).chain(of(Protocol::Udp)).collect();
    let (policy, diagnostics) = product(&model::Policy {
        lines,
        ..model::Policy::default()
    });
    assert!(diagnostics.is_empty());
    assert_eq!(policy.reservations.len(), 131_070);
    for port in [1, 2, 1000, 32_768, 65_535] {
        let owner = format!("J{}", port % 1000);
        let ask = Ask {
            protocol: Protocol::Udp,
            port,
            ..caller(&owner)
        };
        assert_eq!(reason(&policy, ask), "permitted");
        assert_eq!(
            reason(
                &policy,
                Ask {
                    port,
                    ..caller("J")
                }
            ),
            "other-job"
        );
    }
}

/// The most entries of one port, and one more (`PRT-09`).
#[test]
fn a_port_takes_256_entries() {
    for extra in [0, 1] {
        let count = MAX_ENTRIES_PER_PORT + extra;
        let line = |n| Line::new(Ports::One(21), Protocol::Tcp, &format!("J{n}"));
        let lines = (0..count).map(line).collect();
        let (policy, diagnostics) = product(&model::Policy {
            lines,
            ..model::Policy::default()
        });
        assert_eq!(diagnostics.has_errors(), extra == 1);
        assert_eq!(reason(&policy, caller("J255")), "permitted");
        assert_eq!(reason(&policy, caller("J256")), "other-job");
    }
}

/// The most UNRSV entries, and one more: then nobody is let through (`UNR-03`).
#[test]
fn unreserved_ports_take_256_entries() {
    for extra in [0, 1] {
        let count = MAX_ENTRIES_PER_PORT + extra;
        let line = |n| Line::new(Ports::Unreserved, Protocol::Udp, &format!("J{n}"));
        let lines = (0..count).map(line).collect();
        let (policy, diagnostics) = product(&model::Policy {
            lines,
            ..model::Policy::default()
        });
        assert_eq!(diagnostics.has_errors(), extra == 1);
        let ask = Ask {
            protocol: Protocol::Udp,
            port: 5000,
            ..caller("J255")
        };
        assert_eq!(reason(&policy, ask), "unreserved-permitted");
        let ask = Ask {
            protocol: Protocol::Udp,
            port: 5000,
            ..caller("J256")
        };
        assert_eq!(reason(&policy, ask), "unreserved-other");
    }
}
