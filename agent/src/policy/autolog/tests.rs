//! Small lists of procedures, and what becomes of them.

use super::*;
use crate::{
    diagnostics::render,
    policy::build::{Ingredients, Policy, Purpose, build},
    profile::{ReadOptions, parse, parse_change},
};

fn host() -> Host {
    Host {
        systemd: true,
        pod: false,
        starts: true,
        attached: Ok("/".to_owned()),
    }
}

struct Made {
    policy: Policy,
    said: Vec<(&'static str, u32)>,
}

fn made_on(host: Option<Host>, profile: &str, changes: &[&str], toml: &str) -> Made {
    let options = ReadOptions::default();
    let mut parsed = parse(Path::new("p"), profile.as_bytes(), &options);
    for change in changes {
        parsed = parse_change(parsed, Path::new("o"), change.as_bytes(), &options);
    }
    let (mut sources, mut diagnostics) = (parsed.sources, parsed.diagnostics);
    let config = config::parse(Path::new("c"), toml, &mut sources, &mut diagnostics);
    let ingredients = Ingredients {
        purpose: Purpose::Enforce,
        autolog_host: host,
        ..Ingredients::of_no_host(config.unwrap(), parsed.profile, sources)
    };
    let policy = build(ingredients, &mut diagnostics);
    let said = diagnostics.iter().map(|d| {
        let line = d.span.map_or(0, |span| policy.sources.line(span));
        (d.code.id(), line)
    });
    let said = said.collect();
    Made { policy, said }
}

fn made(profile: &str, toml: &str) -> Made {
    made_on(Some(host()), profile, &[], toml)
}

impl Made {
    fn names(&self) -> Vec<String> {
        let procedures = self.policy.autolog.procedures.iter();
        procedures.map(Procedure::title).collect()
    }
}

const FTPD: &str = "[procs.FTPD]\nunit = 'vsftpd.service'\n";

/// `ALG-07`, `ALG-12`: what is listed until ENDAUTOLOG, with the job of its own.
#[test]
fn procedures_are_listed() {
    let text = "AUTOLOG 3\n FTPD JOBNAME FTPD1\nENDAUTOLOG\nPORT 21 TCP FTPD1\n";
    let made = made(text, FTPD);
    assert_eq!(made.said, []);
    let [procedure] = &made.policy.autolog.procedures[..] else {
        panic!("one procedure")
    };
    assert!(made.policy.autolog.acts);
    assert_eq!(
        (procedure.name.as_str(), procedure.job.as_str()),
        ("FTPD", "FTPD1")
    );
    assert_eq!(procedure.wait(), Duration::from_secs(180));
    assert_eq!(procedure.runs.as_ref().unwrap().unit(), "vsftpd.service");
}

/// `ALG-06`.
#[test]
fn the_wait_is_five_minutes_unless_it_is_said() {
    let wait = |text: &str| made(text, FTPD).policy.autolog.procedures[0].wait;
    assert_eq!(wait("AUTOLOG FTPD ENDAUTOLOG"), 5);
    assert_eq!(wait("AUTOLOG 0 FTPD ENDAUTOLOG"), 0);
}

/// `ALG-24`: the first of a change file replaces, the others extend; also in the profile.
#[test]
fn a_change_file_has_a_list_of_its_own() {
    let toml = "[procs]\nA.unit = 'a.service'\nB.unit = 'b.service'\nC.unit = 'c.service'\n";
    let names = |changes: &[&str]| {
        let profile = "AUTOLOG A ENDAUTOLOG AUTOLOG B ENDAUTOLOG";
        made_on(Some(host()), profile, changes, toml).names()
    };
    assert_eq!(names(&[]), ["A", "B"]);
    assert_eq!(names(&["PORT 1 TCP X"]), ["A", "B"]);
    assert_eq!(names(&["AUTOLOG C ENDAUTOLOG"]), ["C"]);
    assert_eq!(
        names(&["AUTOLOG C ENDAUTOLOG AUTOLOG A ENDAUTOLOG"]),
        ["C", "A"]
    );
    let twice = ["AUTOLOG C ENDAUTOLOG", "AUTOLOG 1 B ENDAUTOLOG"];
    assert_eq!(names(&twice), ["B"]);
    assert!(names(&["AUTOLOG ENDAUTOLOG"]).is_empty());
}

/// `ALG-25`.
#[test]
fn a_procedure_may_be_listed_for_several_jobs() {
    let text = "AUTOLOG\n P JOBNAME P1\n P JOBNAME P2\n P JOBNAME P1\nENDAUTOLOG";
    let by_job = made(text, "[procs.P]\nunit = 'p@{job}.service'\n");
    assert_eq!(by_job.names(), ["P (P1)", "P (P2)"]);
    assert!(by_job.said.contains(&("PRV344", 4)), "{:?}", by_job.said);
    let command = made(text, "[procs.P]\nexec = ['/bin/p']\n");
    assert_eq!(command.names(), ["P (P1)", "P (P2)"]);
    // One unit can't be both.
    let one = made(text, "[procs.P]\nunit = 'p.service'\n");
    assert_eq!(one.names(), ["P (P1)"]);
    assert!(one.said.contains(&("PRV342", 3)), "{:?}", one.said);
}

#[test]
fn what_can_not_be_had_is_an_error() {
    let errors = |host, text: &str, toml: &str| {
        let made = made_on(host, text, &[], toml);
        let errors = made
            .said
            .iter()
            .filter(|(code, _)| code.starts_with("PRV34"));
        (
            errors.copied().collect::<Vec<_>>(),
            made.policy.autolog.acts,
        )
    };
    let on = |text: &str, toml: &str| errors(Some(host()), text, toml).0;
    let text = "AUTOLOG\n FTPD\nENDAUTOLOG";
    assert_eq!(on(text, ""), [("PRV340", 2)]);
    let delayed = "AUTOLOG\n FTPD DELAYSTART TTLS\nENDAUTOLOG";
    assert_eq!(on(delayed, FTPD), [("PRV341", 2)]);
    let ready = format!("{FTPD}[delaystart]\nttls = {{ unit = 'x.service' }}\n");
    assert_eq!(on(delayed, &ready), []);
    let parm = "AUTOLOG\n FTPD PARMSTRING 'x'\nENDAUTOLOG";
    assert_eq!(on(parm, FTPD), [("PRV342", 2)]);
    for (backend, wrong) in [("unit", false), ("exec", true), ("auto", false)] {
        let toml = format!("[autolog]\nbackend = '{backend}'\n{FTPD}");
        assert_eq!(!on(text, &toml).is_empty(), wrong, "{backend}");
    }

    let no_systemd = Some(Host {
        systemd: false,
        ..host()
    });
    assert_eq!(
        errors(no_systemd.clone(), text, FTPD),
        (vec![("PRV343", 2)], true)
    );
    let command = "[procs.FTPD]\nexec = ['/bin/ftpd']\n";
    assert_eq!(errors(no_systemd.clone(), text, command), (vec![], true));
    // What the agent has given up by then.
    let late = no_systemd.clone().map(|host| Host {
        starts: false,
        ..host
    });
    assert_eq!(
        errors(late.clone(), text, command),
        (vec![("PRV343", 2)], true)
    );
    // Where its cgroup would not be enforced on, or can't be had.
    let attached = |attached: Result<&str, &str>| {
        no_systemd.clone().map(|host| Host {
            attached: attached.map(str::to_owned).map_err(str::to_owned),
            ..host
        })
    };
    let below = attached(Ok("/a"));
    assert_eq!(errors(below.clone(), text, command), (vec![], true));
    let slice = |slice: &str| format!("[autolog]\nslice = '{slice}'\n{command}");
    assert_eq!(errors(below.clone(), text, &slice("/a/b")), (vec![], true));
    assert_eq!(errors(below, text, &slice("/ab")).0, [("PRV343", 2)]);
    assert_eq!(
        errors(attached(Err("no")), text, command).0,
        [("PRV343", 2)]
    );
    let ready = |with: &str| format!("{command}[delaystart]\nttls = {{ {with} }}\n");
    let of_unit = errors(no_systemd.clone(), delayed, &ready("unit = 'x.service'")).0;
    assert_eq!(of_unit, [("PRV341", 2)]);
    let of_files = errors(no_systemd.clone(), delayed, &ready("files = ['/k']")).0;
    assert_eq!(of_files, []);
    let elsewhere = format!("[autolog]\nbus = 'unix:path=/x'\nslice = '/x'\n{FTPD}");
    assert_eq!(errors(no_systemd.clone(), text, &elsewhere), (vec![], true));
    // Nothing is started, so nothing is missing.
    let none = "[autolog]\nbackend = 'none'\n";
    for text in [text, delayed, parm] {
        assert_eq!(
            errors(no_systemd.clone(), text, none),
            (vec![], false),
            "{text}"
        );
    }
    // Of another host nothing is known.
    assert_eq!(errors(None, text, FTPD), (vec![], true));
    // Without a procedure nobody asks.
    assert_eq!(errors(no_systemd.clone(), "AUTOLOG ENDAUTOLOG", "").0, []);
}

#[test]
fn in_a_pod_procedures_are_watched_only() {
    let pod = Some(Host {
        pod: true,
        ..host()
    });
    let text = "AUTOLOG\n FTPD\nENDAUTOLOG\nPORT 21 TCP FTPD";
    for (toml, code) in [("", "PRV540"), ("[autolog]\nbackend = 'unit'\n", "PRV343")] {
        let made = made_on(pod.clone(), text, &[], &format!("{toml}{FTPD}"));
        assert!(!made.policy.autolog.acts);
        assert!(
            made.said.iter().any(|said| said.0 == code),
            "{:?}",
            made.said
        );
        assert_eq!(made.names(), ["FTPD"]);
    }
}

/// The unit is as good as a cgroup in a definition: nobody else is the job.
#[test]
fn a_procedure_defines_its_job() {
    let text = "AUTOLOG\n FTPD JOBNAME FTPD1\n SMTP\nENDAUTOLOG\nPORT 21 TCP FTPD1 25 TCP SMTP";
    let toml = format!("{FTPD}[procs.SMTP]\nexec = ['/bin/smtp']\n");
    let cgroups = |toml: &str, job: &str| {
        let jobs = made(text, toml).policy.jobs;
        let id = jobs.named(job)[0];
        assert!(jobs.is_verified(id));
        let job = jobs.get(id).unwrap().clone();
        let cgroups = job.alternatives.iter().flat_map(|one| &one.cgroups);
        cgroups.map(ToString::to_string).collect::<Vec<_>>()
    };
    let of_unit = [
        "/system.slice/vsftpd.service",
        "/system.slice/vsftpd.socket",
    ];
    assert_eq!(cgroups(&toml, "FTPD1"), of_unit);
    assert_eq!(
        cgroups(&toml, "SMTP")[0],
        "/system.slice/portreeve-autolog-smtp.service"
    );
    let defined = format!("{toml}[jobs.FTPD1]\ncgroup = '/own'\n");
    assert_eq!(cgroups(&defined, "FTPD1"), ["/own"]);
    assert!(!made(text, &toml).policy.jobs.is_defined("FTPD"));
}

/// `ALG-14`, `ALG-19`: by the very name, A-16; not with NOAUTOLOG, nor UNRSV.
#[test]
fn entries_of_the_same_name_are_watched() {
    let text = "AUTOLOG FTPD ENDAUTOLOG\n\
        PORT 21 TCP FTPD\n 20 TCP FTPD NOAUTOLOG\n 22 TCP FTP*\n 23 TCP *\n 24 TCP OMVS\n\
        69 UDP FTPD\n 25 TCP FTPD1\n UNRSV TCP FTPD WHENBIND\nPORTRANGE 5000 4 TCP FTPD";
    let policy = made(text, FTPD).policy;
    let watched: Vec<String> = watched(&policy.reservations, "FTPD").map(ports).collect();
    assert_eq!(watched, ["tcp/21", "udp/69", "tcp/5000-5003"]);
}

/// `ALG-10`, `ALG-18`, `ALG-23`.
#[test]
fn what_may_not_be_wise() {
    let advice = |text: &str, more: &str| {
        let made = made(
            text,
            &format!("{FTPD}[procs.PAGENT]\nunit = 'p.service'\n{more}"),
        );
        let mut diagnostics = Diagnostics::new();
        let policy = &made.policy;
        advise(
            &policy.autolog,
            &policy.config,
            &policy.reservations,
            &mut diagnostics,
        );
        diagnostics.iter().map(|d| d.code.id()).collect::<Vec<_>>()
    };
    assert_eq!(advice("AUTOLOG FTPD ENDAUTOLOG", ""), ["PRV541"]);
    let delayed = "AUTOLOG FTPD DELAYSTART ENDAUTOLOG PORT 21 TCP FTPD";
    assert_eq!(advice(delayed, ""), ["PRV542"]);
    assert!(advice(delayed, "[delaystart]\ndvipa = '::1'\n").is_empty());
    let bound = format!("{delayed} BIND 192.0.2.1");
    assert!(advice(&bound, "").is_empty());
    let agent = "AUTOLOG PAGENT ENDAUTOLOG PORT 1700 TCP PAGENT NOAUTOLOG 1701 TCP PAGENT";
    assert_eq!(advice(agent, ""), ["PRV543"]);
    assert!(advice(&format!("{agent} NOAUTOLOG 80 TCP PAGENT"), "").is_empty());
}

/// Addresses are those of the config, else of BIND, each once.
#[test]
fn addresses_that_are_waited_for() {
    let text = "AUTOLOG FTPD DELAYSTART ENDAUTOLOG\n\
        PORT 21 TCP FTPD BIND 192.0.2.1\n 22 TCP FTPD BIND 192.0.2.1\n 23 TCP X BIND 192.0.2.9";
    let awaited = |toml: &str| {
        let policy = made(text, &format!("{FTPD}{toml}")).policy;
        awaited(&policy.config, &policy.reservations, "FTPD")
    };
    assert_eq!(awaited(""), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    let named = awaited("[delaystart]\ndvipa = ['::1']\n");
    assert_eq!(named, ["::1".parse::<IpAddr>().unwrap()]);
}

/// `ALG-08`: what is said of a procedure doesn't show its parameters, nor does what is wrong
/// with them.
#[test]
fn parameters_are_shown_nowhere() {
    let long = format!("'s3cret {}'", "x".repeat(115));
    for string in ["'s3cret words'", "s3cret", "'s3cret more-s3cret", &long] {
        let text = format!("AUTOLOG\n FTPD PARMSTRING {string} JOBNAME F1\nENDAUTOLOG\n");
        let options = ReadOptions::default();
        let parsed = parse(Path::new("p"), text.as_bytes(), &options);
        let (mut sources, mut diagnostics) = (parsed.sources, parsed.diagnostics);
        let config = config::parse(Path::new("c"), FTPD, &mut sources, &mut diagnostics);
        settle(
            &parsed.profile,
            &config.unwrap(),
            Some(host()),
            &mut diagnostics,
        );
        assert!(diagnostics.has_errors(), "{string}");
        let shown = render::all(&diagnostics, &sources, false);
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
