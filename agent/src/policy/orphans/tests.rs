//! Listeners from a list, made in cgroups from a list.

use super::*;
use crate::{
    policy::{
        holdings,
        listeners::tests::{held, policy},
    },
    ports::{FixedListeners, Listener},
};

const PROFILE: &str = "PORT 80 TCP WEB\n 21 TCP FTPD\n";
const JOBS: &str = "[jobs.WEB]\ncgroup = ['/system.slice/web.service', '/jobs/web']\n";

/// Why `listener`, made in the cgroup `path`, is an orphan.
fn of(listener: Listener, path: Option<&str>) -> Option<String> {
    let policy = policy(PROFILE, JOBS);
    let listeners = FixedListeners(vec![listener]);
    let found = holdings::of(&policy, &listeners, |_| None).unwrap();
    let origin = path.map_or(Origin::Gone, |path| Origin::In(path.to_owned()));
    orphan(&policy, &found[0], &origin)
}

/// `CLS-09`: whoever made it is gone, and somebody else has it.
#[test]
fn what_a_unit_left_behind_is_an_orphan() {
    // `held` puts a process into the service of its name.
    let made = |by: &str| of(held("tcp/21", &["ftpd"]), Some(by));
    assert_eq!(made("/system.slice/ftpd.service"), None);
    assert_eq!(made("/system.slice/ftpd.service/worker"), None);
    let why = made("/system.slice/inetd.service").unwrap();
    assert!(why.contains("inetd.service"), "{why}");
    // Any one of those who have it is enough.
    let shared = held("tcp/21", &["ftpd", "helper"]);
    assert_eq!(of(shared, Some("/system.slice/helper.service")), None);
    assert!(
        of(held("tcp/21", &["ftpd"]), None)
            .unwrap()
            .contains("gone")
    );
}

/// What systemd keeps open is the socket unit's.
#[test]
fn a_socket_units_listener_is_none() {
    let mut kept = held("tcp/21", &["ftpd", "systemd"]);
    kept.holders[1].pid = 1;
    assert_eq!(of(kept.clone(), None), None);
    kept.holders[1].pid = 500;
    kept.holders[1].unit = Some("ftpd.socket".into());
    assert_eq!(of(kept, None), None);
    // Handed to its service: the unit's own cgroup holds nobody.
    let handed = held("tcp/21", &["ftpd"]);
    assert_eq!(of(handed, Some("/system.slice/ftpd.socket")), None);
}

/// Whoever is in his job's cgroup is no orphan, wherever his socket comes from.
#[test]
fn who_is_in_the_jobs_cgroup_has_it_by_right() {
    assert_eq!(of(held("tcp/80", &["web"]), None), None);
    assert_eq!(of(held("tcp/80", &["web"]), Some("/supervisor")), None);
}

/// Without units in the paths, the policy tells whose it was.
#[test]
fn a_socket_of_the_jobs_cgroup_in_other_hands_is_an_orphan() {
    let mut left = held("tcp/80", &["child"]);
    left.holders[0].cgroup = Some("/batch".into());
    let why = of(left.clone(), Some("/jobs/web")).unwrap();
    assert!(why.contains("/jobs/web"), "{why}");
    // Never the job's, it is only contradicted.
    assert_eq!(of(left, Some("/other")), None);
}

#[test]
fn who_answers_nobody_is_no_orphan() {
    let mut idle = held("tcp/21", &["ftpd"]);
    idle.socket.idle = true;
    assert_eq!(of(idle, None), None);
    assert_eq!(of(held("tcp/21", &[]), None), None);
}
