//! The config as users write it, rightly and wrongly.

use portreeve_common::abi::Protocol;
use proptest::prelude::*;

use super::*;
use crate::diagnostics::{Code, Diagnostic};

fn read(text: &str) -> (Option<Config>, Vec<(String, u32)>) {
    let mut sources = Sources::new();
    let mut diagnostics = Diagnostics::new();
    let config = parse(
        Path::new("/etc/p/c.toml"),
        text,
        &mut sources,
        &mut diagnostics,
    );
    let found = diagnostics
        .iter()
        .map(|d| {
            (
                d.message.clone(),
                d.span.map_or(0, |span| sources.line(span)),
            )
        })
        .collect();
    (config, found)
}

#[test]
fn an_empty_config_is_the_default() {
    assert_eq!(read("").0.unwrap(), Config::default());
}

#[test]
fn every_key_is_read() {
    let text = "profile = 'p.tcpip'\nmode = 'audit'\non_error = 'skip'\n[scope]\nnetns = 'all'\n\
                [grant]\nrequire = 'any'\n[events]\nreport = 'all'\n\
                [ephemeral]\nmanage = false\nfloor = 9\nbelow_floor = 'accept'\n\
                [audit]\nports = ['tcp/80', 'udp/unreserved']\n[reload]\nwatch = true\n\
                [watch]\nhold_down = 7\n\
                [log]\nto = ['json', 'journald']\nfile = 'l/e.jsonl'\n\
                [privileges]\ncapabilities = 'all'\nsyscalls = 'log'\n";
    let config = read(text).0.unwrap();
    assert_eq!(config.profile, Path::new("/etc/p/p.tcpip"));
    assert_eq!(config.mode, Mode::Audit);
    assert_eq!(config.on_error, OnError::Skip);
    let audited = |one: &AuditedPorts| (one.protocol, one.ports);
    assert_eq!(
        config.audit.iter().map(audited).collect::<Vec<_>>(),
        [(Protocol::Tcp, Some((80, 80))), (Protocol::Udp, None)]
    );
    assert!(config.reload.watch);
    assert_eq!(config.watch.hold_down.as_secs(), 7);
    let log = Log {
        to: vec![Place::Json, Place::Journald],
        file: Some("/etc/p/l/e.jsonl".into()),
    };
    assert_eq!(config.log, log);
    let privileges = Privileges {
        capabilities: Capabilities::All,
        syscalls: Syscalls::Log,
    };
    assert_eq!(config.privileges, privileges);
    assert_eq!(config.scope, ScopeNetns::All);
    assert_eq!(config.grant, GrantRule::Any);
    assert_eq!(config.report, Report::All);
    let ephemeral = Ephemeral {
        manage: false,
        floor: 9,
        below_floor: BelowFloor::Accept,
    };
    assert_eq!(config.ephemeral, ephemeral);
}

#[test]
fn what_is_wrong_is_said_where_it_stands() {
    for (text, line, words) in [
        ("mode = 'enforce'\nmoode = 1\n", 2, "moode"),
        ("[grant]\nrequire = 'maybe'\n", 2, "maybe"),
        ("mode = \n", 1, ""),
        ("[grant]\nrequre = 'any'\n", 2, "requre"),
        ("[ephemeral]\nmanage = 'yes'\n", 2, ""),
        ("[ephemeral]\nfloor = 65536\n", 2, ""),
        ("[ephemeral]\nfloor = -1\n", 2, ""),
        ("[ephemeral]\nflor = 1\n", 2, "flor"),
        ("[audit]\nport = 'tcp/80'\n", 2, "port"),
        ("[audit]\nports = ['tcp/0']\n", 2, "tcp/0"),
        ("[audit]\nports = [80.5]\n", 2, "ports"),
        ("[reload]\nwatch = 'yes'\n", 2, ""),
        ("[reload]\nwatched = true\n", 2, "watched"),
        ("[log]\nto = 'jornald'\n", 2, "jornald"),
        ("[log]\nto = ['json', 'json']\n", 2, "twice"),
        ("[log]\nto = ['/var/log/x']\n", 2, "no place"),
        ("[log]\nfile = true\n", 2, ""),
        ("[log]\nfiles = 'x'\n", 2, "files"),
        ("[privileges]\ncapabilities = 'some'\n", 2, "some"),
        ("[privileges]\nsyscall = 'log'\n", 2, "syscall"),
    ] {
        let (config, found) = read(text);
        assert!(config.is_none());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].1, line, "{found:?}");
        assert!(found[0].0.contains(words), "{found:?}");
    }
}

/// Codes and lines of what is wrong with `text`.
fn errors(text: &str) -> Vec<(Code, u32)> {
    let mut sources = Sources::new();
    let mut diagnostics = Diagnostics::new();
    let path = Path::new("/etc/p/c.toml");
    let config = parse(path, text, &mut sources, &mut diagnostics);
    assert_eq!(config.is_none(), diagnostics.has_errors());
    let line = |d: &Diagnostic| (d.code, d.span.map_or(0, |span| sources.line(span)));
    diagnostics.iter().map(line).collect()
}

#[test]
fn names_of_the_system_and_the_stack() {
    let config = read("sysname = 'prod1'\ntcpname = 'tcp-2'\n").0.unwrap();
    assert_eq!(config.sysname.as_deref(), Some("PROD1"));
    assert_eq!(config.tcpname, "TCP-2");
    let config = read("").0.unwrap();
    assert_eq!((config.sysname, config.tcpname.as_str()), (None, "TCPIP"));
    assert_eq!(sysname_of("web-1.example.org"), "WEB-1");
    assert_eq!(
        errors("sysname = ''\ntcpname = 'a.b'\n"),
        [(Code::ConfigInvalid, 1), (Code::ConfigInvalid, 2)]
    );
}

#[test]
fn jobs_have_conditions_and_alternatives() {
    let text = "[jobs.ftpd1]\n\
                cgroup = ['/system.slice/vsftpd.service', '/a/b*c']\n\
                user = 'ftp'\n\
                [[jobs.BATCH]]\nexe = '/usr/bin/batch'\ncomm = 'bat*'\n\
                [[jobs.BATCH]]\nuser = [1042, '1043']\n";
    let jobs = read(text).0.unwrap().jobs;
    let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["FTPD1", "BATCH"]);
    let [ftpd] = &jobs[0].alternatives[..] else {
        panic!("{jobs:?}")
    };
    assert_eq!(ftpd.cgroup, ["/system.slice/vsftpd.service", "/a/b*c"]);
    assert_eq!(ftpd.user[0].value, Account::User("ftp".to_owned()));
    assert!(ftpd.exe.is_empty() && ftpd.comm.is_empty());
    let [by_file, by_user] = &jobs[1].alternatives[..] else {
        panic!("{jobs:?}")
    };
    assert_eq!(by_file.exe, [PathBuf::from("/usr/bin/batch")]);
    assert_eq!(by_file.comm, ["BAT*"]);
    let users: Vec<&Account> = by_user.user.iter().map(|user| &user.value).collect();
    assert_eq!(users, [&Account::Uid(1042), &Account::Uid(1043)]);
}

#[test]
fn a_job_that_is_not_right_is_refused() {
    for definition in [
        "",
        "cgroup = []",
        "user = []",
        "cgroup = 'system.slice'",
        "cgroup = '/'",
        "cgroup = '/*/*'",
        "cgroup = '/a/**/b'",
        "cgroup = '/a/../b'",
        "cgroup = '/a/'",
        "exe = 'vsftpd'",
        "exe = '/usr/./x'",
        "exe = \"/a\\u0000b\"",
        "comm = ''",
        "comm = 'sixteen-chars-no'",
        "comm = \"a\\u001b\"",
        "user = '@ftp'",
        "user = '4294967295'",
        "user = '99999999999'",
        "user = ''",
    ] {
        let found = errors(&format!("[jobs.J]\n{definition}\n"));
        assert!(!found.is_empty(), "{definition}");
        for (code, _) in found {
            assert_eq!(code, Code::BadJobDefinition, "{definition}");
        }
    }
    for name in [
        "'*'",
        "'A*'",
        "'A?'",
        "omvs",
        "RESERVED",
        "authport",
        "kernel",
        "1A",
        "''",
        "ABCDEFGHIJKLMNOP",
    ] {
        let found = errors(&format!("[jobs.{name}]\nuser = 'x'\n"));
        assert_eq!(found, [(Code::BadJobDefinition, 1)], "{name}");
    }
    assert_eq!(errors("jobs.J = 1\n"), [(Code::ConfigInvalid, 1)]);
    assert_eq!(errors("jobs.J = []\n"), [(Code::BadJobDefinition, 1)]);
    assert_eq!(errors("jobs.J = [1]\n"), [(Code::ConfigInvalid, 1)]);
}

#[test]
fn two_jobs_that_fold_alike_are_an_error() {
    let text = "[jobs.Web]\nuser = 'a'\n[jobs.WEB]\nuser = 'b'\n";
    assert_eq!(errors(text), [(Code::DuplicateJob, 3)]);
}

#[test]
fn who_the_ftp_server_is() {
    let config = read("[authport]\njobs = ['ftpd1', 'FTPX*']\n").0.unwrap();
    assert_eq!(config.authport, ["FTPD1", "FTPX*"]);
    assert_eq!(read("[authport]\njobs = 'F'\n").0.unwrap().authport, ["F"]);
    let text = "[authport]\njobs = ['*', 'OMVS', '1X']\n";
    assert_eq!(errors(text), [(Code::BadJobDefinition, 2); 3]);
}

/// `SAF-08`.
#[test]
fn resource_profiles_name_users_and_groups() {
    let text = "[servauth.\"EZB.PORTACCESS.*.*.FTPDATA\"]\npermit = ['ftp', '@ftpusers', '1042', '@100']\n\
                [servauth.A]\nuacc = 'read'\n";
    let profiles = read(text).0.unwrap().servauth;
    assert_eq!(profiles[0].name.value, "EZB.PORTACCESS.*.*.FTPDATA");
    assert_eq!(profiles[0].uacc, Uacc::None);
    let permit: Vec<&Account> = profiles[0]
        .permit
        .iter()
        .map(|account| &account.value)
        .collect();
    let expected = [
        Account::User("ftp".to_owned()),
        Account::Group("ftpusers".to_owned()),
        Account::Uid(1042),
        Account::Gid(100),
    ];
    assert_eq!(permit, expected.iter().collect::<Vec<_>>());
    assert_eq!(profiles[1].uacc, Uacc::Read);
    for (text, code) in [
        ("[servauth.A]\npermit = ['*']\n", Code::BadServAuth),
        ("[servauth.A]\npermit = ['@']\n", Code::BadServAuth),
        ("[servauth.A]\nuacc = 'alter'\n", Code::ConfigInvalid),
        ("[servauth.A]\nB.permit = 'x'\n", Code::ConfigInvalid),
    ] {
        assert_eq!(errors(text), [(code, 2)], "{text}");
    }
}

/// `IBI-04`, A-22.
#[test]
fn restrictions_have_ports_protocol_and_users() {
    let text = "[[restriction]]\nports = '8400-8410'\nprotocol = 'tcp'\nusers = ['appadm', '7']\n\
                [[restriction]]\nports = 53\nprotocol = 'udp'\nusers = 'dns'\n";
    let found = read(text).0.unwrap().restrictions;
    assert_eq!((found[0].first, found[0].last), (8400, 8410));
    assert_eq!(found[0].protocol, Protocol::Tcp);
    assert_eq!(found[0].users.len(), 2);
    assert_eq!((found[1].first, found[1].last), (53, 53));
    for ports in [
        "0", "65536", "9-8", "1-", "-1", "+1", "a", "", "1-2-3", "1,2",
    ] {
        let text = format!("[[restriction]]\nports = '{ports}'\nprotocol = 'tcp'\nusers = 'a'\n");
        assert_eq!(errors(&text), [(Code::BadRestriction, 2)], "{ports}");
    }
    let group = "[[restriction]]\nports = '1'\nprotocol = 'tcp'\nusers = '@a'\n";
    assert_eq!(errors(group), [(Code::BadRestriction, 4)]);
    assert_eq!(errors("[[restriction]]\n"), [(Code::BadRestriction, 1); 3]);
    assert_eq!(errors("[restriction]\n"), [(Code::ConfigInvalid, 1)]);
}

#[test]
fn the_rest_of_the_keys() {
    let text = "[ibmi]\ncommands = 'ports.clp'\n[sharing]\nsame_job = 'allow'\n";
    let config = read(text).0.unwrap();
    assert_eq!(
        config.ibmi_commands.unwrap().value,
        Path::new("/etc/p/ports.clp")
    );
    assert_eq!(config.same_job, SameJob::Allow);
}

#[test]
fn what_may_be_lacking_is_accepted_word_by_word() {
    let accepted = |text: &str| {
        let degraded = read(text).0.unwrap().degraded;
        Feature::ALL.map(|feature| degraded.accepts(feature))
    };
    for (text, expected) in [
        ("", [false; 4]),
        ("[degraded]\n", [false; 4]),
        ("[degraded]\naccept = []\n", [false; 4]),
        (
            "[degraded]\naccept = 'listen'\n",
            [false, false, false, true],
        ),
        (
            "[degraded]\naccept = ['options', 'errno']\n",
            [true, false, true, false],
        ),
        (
            "[degraded]\naccept = ['errno', 'grant', 'options', 'listen']\n",
            [true; 4],
        ),
    ] {
        assert_eq!(accepted(text), expected, "{text}");
    }
    for accept in ["['listen', 'listen']", "'all'", "'Listen'", "''", "true"] {
        let text = format!("[degraded]\naccept = {accept}\n");
        assert_eq!(errors(&text), [(Code::ConfigInvalid, 2)], "{accept}");
    }
    let text = "[degraded]\naccept = ['lisen', 'x']\nexcept = 1\n";
    let found = [2, 2, 3].map(|line| (Code::ConfigInvalid, line));
    let mut errors = errors(text);
    errors.sort_by_key(|(_, line)| *line);
    assert_eq!(errors, found);
}

/// A word that isn't one is told what it looks like, or which there are.
#[test]
fn what_may_be_lacking_is_spelt_for_those_who_ask() {
    let help = |word: &str| {
        let mut sources = Sources::new();
        let mut diagnostics = Diagnostics::new();
        let text = format!("[degraded]\naccept = '{word}'\n");
        parse(Path::new("c"), &text, &mut sources, &mut diagnostics);
        diagnostics.iter().next().and_then(|d| d.help.clone())
    };
    assert_eq!(help("lissten").as_deref(), Some("did you mean `listen`?"));
    let all = "the words here are errno, grant, options, listen";
    assert_eq!(help("everything").as_deref(), Some(all));
}

#[test]
fn everything_wrong_is_said_in_one_run() {
    let text = "mode = 'off'\nsysnam = 'A'\n[scope]\nnetns = 1\n[grant]\nx = 1\n\
                [jobs.J]\nuser = 1.5\n[sharing]\nsame_job = 'x'\n[ibmi]\ncommand = 'x'\n";
    let lines: Vec<u32> = errors(text).into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, [1, 2, 4, 6, 8, 10, 12]);
    // Broken TOML too, as far as its parser goes on.
    assert_eq!(errors("a = \nb = 1\nc = ]\n").len(), 2);
}

#[test]
fn a_key_that_looks_like_another_is_told_so() {
    let mut sources = Sources::new();
    let mut diagnostics = Diagnostics::new();
    parse(
        Path::new("c"),
        "[sharing]\nsame_jobs = 'x'\n",
        &mut sources,
        &mut diagnostics,
    );
    let help = diagnostics.iter().next().and_then(|d| d.help.clone());
    assert_eq!(help.as_deref(), Some("did you mean `same_job`?"));
}

proptest! {
    /// No text makes the reader panic, or refuses without a reason.
    #[test]
    fn any_text_is_read_or_refused(
        text in prop_oneof![
            any::<String>(),
            "(\\[{0,2}(jobs|servauth|restriction|ibmi|authport|degraded)(\\.(A|\"\\*\"))?\\]{0,2}\n|\
              (cgroup|user|ports|permit|uacc|jobs|commands|users|protocol|accept) = (1|'/a\\*'|\\['x', 2\\]|\\{\\}|true)\n){0,12}",
        ],
    ) {
        errors(&text);
    }
}
