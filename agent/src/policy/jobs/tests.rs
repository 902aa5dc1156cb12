//! Who is which job.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{
    diagnostics::{Code, Sources},
    policy::accounts::FixedAccounts,
};

fn jobs(text: &str) -> (Jobs, Vec<Code>) {
    let (mut sources, mut diagnostics) = (Sources::new(), Diagnostics::new());
    let config = config::parse(Path::new("c"), text, &mut sources, &mut diagnostics);
    let accounts = FixedAccounts::new([("ftp", 14), ("www", 33)], []);
    let defined = config.map(|config| config.jobs).unwrap_or_default();
    let jobs = Jobs::new(&defined, &accounts, &mut diagnostics);
    (jobs, diagnostics.iter().map(|d| d.code).collect())
}

fn names(jobs: &Jobs, ids: &[JobId]) -> Vec<String> {
    ids.iter()
        .map(|id| jobs.get(*id).unwrap().name.clone())
        .collect()
}

fn found(jobs: &Jobs, caller: &Caller) -> Vec<JobId> {
    jobs.of(caller).iter().map(|found| found.id).collect()
}

fn caller(cgroup: &str, exe: &str, comm: &str, uid: u32) -> Caller {
    Caller {
        comm: Some(comm.to_owned()),
        cgroup: Some(cgroup.to_owned()),
        exe: Some(exe.into()),
        uid: Some(uid),
        proven_jobs: Vec::new(),
    }
}

const TEXT: &str = "[jobs.FTPD1]\n\
    cgroup = ['/system.slice/vsftpd.service', '/system.slice/vsftpd.socket']\nuser = ['ftp', 0]\n\
    [[jobs.web]]\ncgroup = '/kube*/pod-*/web'\n[[jobs.web]]\nexe = '/nowhere/nginx'\ncomm = 'nginx*'\n\
    [jobs.FTPX]\nuser = 'www'\n";

#[test]
fn every_key_must_hold_with_any_of_its_values() {
    let (jobs, codes) = jobs(TEXT);
    assert_eq!(codes, []);
    let of = |caller: &Caller| names(&jobs, &found(&jobs, caller));
    let vsftpd = "/system.slice/vsftpd.service";
    assert_eq!(of(&caller(vsftpd, "/x", "x", 14)), ["FTPD1"]);
    assert_eq!(
        of(&caller("/system.slice/vsftpd.socket/a/b", "/x", "x", 0)),
        ["FTPD1"]
    );
    assert_eq!(
        of(&caller("/system.slice/vsftpd.services", "/x", "x", 0)),
        [""; 0]
    );
    assert_eq!(of(&caller("/system.slice", "/x", "x", 0)), [""; 0]);
    assert_eq!(of(&caller(vsftpd, "/x", "FTPD1", 15)), [""; 0]);
    assert_eq!(
        of(&caller("/", "/nowhere/nginx", "Nginx: master", 1)),
        ["WEB"]
    );
    assert_eq!(of(&caller("/", "/nowhere/nginx", "bash", 1)), [""; 0]);
    assert_eq!(
        of(&caller("/kubepods/pod-7/web/c", "/x", "x", 33)),
        ["WEB", "FTPX"]
    );
}

#[test]
fn what_is_not_known_of_a_caller_satisfies_nothing() {
    let (jobs, _) = jobs(TEXT);
    assert_eq!(jobs.of(&Caller::default()), []);
    let proven = Caller {
        proven_jobs: vec!["ftpd1".to_owned(), "NOBODY".to_owned()],
        ..Caller::default()
    };
    assert_eq!(names(&jobs, &found(&jobs, &proven)), ["FTPD1"]);
}

#[test]
fn a_user_who_does_not_exist_is_nobody() {
    let (jobs, codes) = jobs("[jobs.J]\nuser = 'ghost'\n");
    assert_eq!(codes, [Code::UnknownAccount]);
    for uid in [0, 14, u32::MAX] {
        assert_eq!(jobs.of(&caller("/", "/x", "J", uid)), []);
    }
}

/// `PRT-02`, `PRT-03`: the operand of an entry covers defined jobs by name.
#[test]
fn operands_cover_jobs_by_name() {
    let (jobs, _) = jobs(TEXT);
    let named = |pattern| names(&jobs, &jobs.named(pattern));
    assert_eq!(named("FTP*"), ["FTPD1", "FTPX"]);
    assert_eq!(named("FTP?"), ["FTPX"]);
    assert_eq!(named("*1"), ["FTPD1"]);
    assert_eq!(named("Web"), ["WEB"]);
    assert_eq!(named("WE"), [""; 0]);
    assert!(jobs.is_defined("ftpx") && !jobs.is_defined("FTP"));
}

/// `PRT-39`: what a process says of itself proves nothing.
#[test]
fn cgroup_and_user_are_proof() {
    let (jobs, _) = jobs(TEXT);
    let verified = |name| jobs.is_verified(jobs.named(name)[0]);
    assert!(verified("FTPD1") && verified("FTPX"));
    assert!(!verified("WEB"), "one of its alternatives is not");
    // Of a caller it counts which alternatives it satisfies.
    let proven = |caller: &Caller| {
        let found = jobs.of(caller);
        assert_eq!(found.len(), 1, "{caller:?}");
        found[0].proven
    };
    let (nginx, pod) = ("/nowhere/nginx", "/kubepods/pod-7/web");
    assert!(!proven(&caller("/", nginx, "nginx", 1)));
    assert!(proven(&caller(pod, "/x", "x", 1)));
    assert!(proven(&caller(pod, nginx, "nginx", 1)));
    let taken = |name: &str| Caller {
        proven_jobs: vec![name.to_owned()],
        ..Caller::default()
    };
    assert!(proven(&taken("FTPD1")) && !proven(&taken("WEB")));
}

#[test]
fn a_file_is_found_behind_links() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("real"), folder.path().join("link"));
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let (jobs, _) = jobs(&format!("[jobs.J]\nexe = '{}'\n", link.display()));
    let running = file.canonicalize().unwrap();
    let mut caller = Caller {
        exe: Some(running),
        ..Caller::default()
    };
    assert_eq!(jobs.of(&caller).len(), 1);
    caller.exe = Some(folder.path().join("other"));
    assert_eq!(jobs.of(&caller), []);
}

/// Slow and obvious.
fn spells(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => (0..=name.len()).any(|at| spells(&pattern[1..], &name[at..])),
        Some(c) => name.starts_with(c) && spells(&pattern[1..], &name[1..]),
    }
}

fn in_cgroup(pattern: &str, path: &str) -> bool {
    let mut of_path = path[1..].split('/');
    pattern[1..]
        .split('/')
        .all(|component| of_path.next().is_some_and(|name| spells(component, name)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn cgroups_agree_with_the_reference(
        pattern in "(/(a|b|\\*|a\\*b|\\*a\\*b|ab\\*)){1,3}",
        path in "(/[ab]{1,4}){1,4}",
    ) {
        prop_assert_eq!(CgroupPattern::new(&pattern).covers(&path), in_cgroup(&pattern, &path));
    }

    #[test]
    fn any_cgroup_is_compared(pattern in any::<String>(), path in any::<String>()) {
        CgroupPattern::new(&pattern).covers(&path);
    }
}

/// What isn't known leaves it open only where it matters.
#[test]
fn what_is_not_known_may_leave_a_job_open() {
    let (jobs, _) = jobs(TEXT);
    let known = |caller: &Caller| {
        let found = jobs.of_known(caller)?;
        let ids: Vec<JobId> = found.iter().map(|found| found.id).collect();
        Some(names(&jobs, &ids))
    };
    let whole = caller("/x", "/nowhere/nginx", "nginx", 33);
    assert_eq!(known(&whole).unwrap(), ["WEB", "FTPX"]);
    let without_exe = Caller {
        exe: None,
        ..whole.clone()
    };
    assert_eq!(known(&without_exe), None);
    // Its name says already that it isn't.
    let other = Caller {
        comm: Some("other".into()),
        ..without_exe
    };
    assert_eq!(known(&other).unwrap(), ["FTPX"]);
    let without_cgroup = Caller {
        cgroup: None,
        ..other
    };
    assert_eq!(known(&without_cgroup), None);
    // A job that it is anyway needs no more.
    let sure = Caller {
        cgroup: Some("/kube1/pod-2/web".into()),
        exe: None,
        ..whole
    };
    assert_eq!(known(&sure).unwrap(), ["WEB", "FTPX"]);
}
