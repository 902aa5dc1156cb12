//! Who refuses the agent its port, and whom that is said to.

use super::*;
use crate::policy::listeners::tests::policy;

const METRICS: &str = "[metrics]\nlisten = \"127.0.0.1:9464\"\n";

fn said(profile: &str, toml: &str) -> Vec<String> {
    let policy = policy(profile, toml);
    let mut diagnostics = Diagnostics::new();
    check(&policy, None, &mut diagnostics);
    let said = diagnostics.iter().map(|said| {
        assert_eq!(said.code, Code::OwnPortRefused);
        said.message.clone()
    });
    said.collect()
}

#[test]
fn what_takes_the_port_away_is_named() {
    for profile in [
        "PORT 9464 TCP RESERVED",
        "PORT 9464 TCP WEB",
        "PORTRANGE 9000 1000 TCP APPL*",
        "PORT UNRSV TCP WEB WHENBIND",
        "PORT UNRSV TCP WEB",
    ] {
        let said = said(profile, METRICS);
        assert_eq!(said.len(), 1, "{profile}");
        assert!(said[0].contains("127.0.0.1:9464"), "{said:?}");
    }
}

#[test]
fn what_leaves_it_is_silent() {
    for profile in [
        "",
        "PORT 9464 TCP PORTREEVE",
        "PORT 9464 TCP PORT*",
        "PORT 9464 UDP RESERVED",
        "PORT 9463 TCP RESERVED",
        "PORT UNRSV TCP PORTREEVE",
    ] {
        assert_eq!(said(profile, METRICS), Vec::<String>::new(), "{profile}");
    }
    let reserved = "PORT 9464 TCP RESERVED";
    assert_eq!(said(reserved, ""), Vec::<String>::new());
    let unix = "[metrics]\nlisten = \"unix:/run/portreeve/metrics.sock\"\n";
    assert_eq!(said(reserved, unix), Vec::<String>::new());
    let audit = format!("mode = \"audit\"\n{METRICS}");
    assert_eq!(said(reserved, &audit), Vec::<String>::new());
    let audited = format!("{METRICS}[audit]\nports = [\"tcp/9464\"]\n");
    assert_eq!(said(reserved, &audited), Vec::<String>::new());
}

/// Whoever installs the unit may say that its cgroup is the job.
#[test]
fn the_unit_of_the_agent_is_a_job_like_others() {
    let jobs = |cgroup: &str| format!("{METRICS}[jobs.METRICS]\ncgroup = \"{cgroup}\"\n");
    let profile = "PORT 9464 TCP METRICS";
    let own = jobs("/system.slice/portreeve.service");
    assert_eq!(said(profile, &own), Vec::<String>::new());
    let other = jobs("/system.slice/nginx.service");
    assert_eq!(said(profile, &other).len(), 1);
    // An agent that runs is asked for as what it is.
    let running = Holder {
        cgroup: Some("/system.slice/nginx.service".into()),
        ..as_installed()
    };
    let policy = policy(profile, &other);
    assert!(refusal(&policy, &running).is_none());
    let verdict = refusal(&policy, &as_installed()).unwrap();
    assert!(sentence(&policy, &verdict).contains("(the port is reserved for another job)"));
}
