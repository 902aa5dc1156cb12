//! Sockets from a list against small policies.

use super::*;
use crate::{
    policy::listeners::tests::{held, policy},
    ports::FixedListeners,
};

const PROFILE: &str = "\
PORT
 80 TCP NGINX
 80 TCP HTTP*
 23 TCP RESERVED
 53 UDP NAMED
 99 TCP NFSD
PORTRANGE 4000 10 TCP APP*
";

fn holdings(policy: &Policy, listeners: Vec<Listener>) -> Vec<Holding> {
    of(policy, &FixedListeners(listeners), |_| None).unwrap()
}

/// The states of the entries, in the order of the profile.
fn states(listeners: Vec<Listener>) -> Vec<&'static str> {
    let policy = policy(PROFILE, "");
    let holdings = holdings(&policy, listeners);
    let state = |reservation: &Reservation| {
        let ports = reservation.first..=reservation.last;
        let is_there = |holding: &&Holding| {
            holding.socket.protocol == reservation.protocol && ports.contains(&holding.socket.port)
        };
        let found: Vec<&Holding> = holdings.iter().filter(is_there).collect();
        state(reservation, &found).name()
    };
    policy.reservations.iter().map(state).collect()
}

fn idle(target: &str, name: &str) -> Listener {
    let mut listener = held(target, &[name]);
    match target.starts_with("udp") {
        true => listener.socket.connected = true,
        false => listener.socket.idle = true,
    }
    listener
}

/// `CLS-01`, `CLS-02`, `CLS-03`, `CLS-06`.
#[test]
fn a_port_has_a_state() {
    let nobody = ["closed", "closed", "blocked", "closed", "closed", "closed"];
    assert_eq!(states(Vec::new()), nobody);
    let right = vec![
        held("tcp/80", &["httpd"]),
        held("udp/53", &["named"]),
        // The kernel's own.
        held("tcp/99", &[]),
        held("tcp/4009", &["app1"]),
        held("tcp/22", &["sshd"]),
    ];
    let open = ["open", "open", "blocked", "open", "open", "open"];
    assert_eq!(states(right), open);
    let bound = vec![
        idle("tcp/80", "nginx"),
        idle("udp/53", "named"),
        idle("tcp/4000", "app1"),
    ];
    let expected = ["bound", "bound", "blocked", "bound", "closed", "bound"];
    assert_eq!(states(bound), expected);
    let wrong = vec![
        idle("tcp/80", "apache"),
        held("tcp/23", &["telnetd"]),
        held("udp/53", &["unbound"]),
        held("tcp/4000", &["app1"]),
        held("tcp/4001", &["other"]),
    ];
    let worst = "contradicted";
    assert_eq!(states(wrong), [worst, worst, worst, worst, "closed", worst]);
}

/// A socket is one, however many processes have it; one that may have it is enough.
#[test]
fn who_has_it_is_told() {
    let policy = policy(PROFILE, "[jobs.NGINX]\nuser = \"7\"\n");
    let mut shared = held("tcp/80", &["supervisor", "web"]);
    shared.holders[0].uid = 0;
    shared.holders[1].started = 9;
    let found = holdings(&policy, vec![shared, held("tcp/23", &[])]);
    let [unseen, web] = &found[..] else {
        panic!("{found:?}");
    };
    // The list is as the listeners gave it.
    let (web, unseen) = if web.socket.port == 80 {
        (web, unseen)
    } else {
        (unseen, web)
    };
    let speaker = web.speaker.as_ref().unwrap();
    assert_eq!(speaker.holder.comm, "web");
    assert_eq!(speaker.job.as_deref(), Some("NGINX"));
    assert_eq!(
        (web.is_rightful(), &web.others[..]),
        (Some(true), &[110][..])
    );
    assert!(unseen.speaker.is_none());
    assert_eq!(unseen.is_rightful(), None);
    // Who calls himself like a defined job is none.
    let mut liar = held("tcp/80", &["nginx"]);
    liar.holders[0].uid = 8;
    let found = holdings(&policy, vec![liar]);
    let speaker = found[0].speaker.as_ref().unwrap();
    assert_eq!(speaker.job, None);
    assert_eq!(found[0].is_rightful(), Some(false));
}

/// Of several who may not have it, the one that has been there longest is named.
#[test]
fn the_first_holder_is_who_was_first() {
    let policy = policy(PROFILE, "");
    let mut forked = held("tcp/23", &["child", "telnetd"]);
    forked.holders[0].started = 8;
    forked.holders[1].started = 7;
    let found = holdings(&policy, vec![forked]);
    let speaker = found[0].speaker.as_ref().unwrap();
    assert_eq!(speaker.holder.comm, "telnetd");
    assert_eq!(found[0].others, [105]);
}

/// A definition of a job finds its executable by the name that it gives.
#[test]
fn executables_are_known_by_their_definitions() {
    let policy = policy("PORT 80 TCP WEB\n", "[jobs.WEB]\nexe = \"/usr/sbin/web\"\n");
    let rightful = |exe: Option<&str>| {
        let listeners = FixedListeners(vec![held("tcp/80", &["w"])]);
        let found = of(&policy, &listeners, |_| exe.map(Into::into)).unwrap();
        found[0].is_rightful()
    };
    assert_eq!(rightful(None), Some(false));
    assert_eq!(rightful(Some("/usr/sbin/web")), Some(true));
}
