//! Who gets which port: each bind with its errno, event and counts.
//!
//! Every refusal here is first shown to succeed without an agent.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use nix::errno::Errno;

use crate::{
    ensure_eq,
    harness::{
        Binder, Case, NOBODY, Sandbox, Settings, Want,
        expect::{expect, expect_at_once, judge},
        refusal, tcp, udp,
    },
    tests,
};

tests![
    the_right_job_and_the_wrong_one,
    root_has_no_right_of_its_own,
    a_grant_takes_the_place_of_a_capability,
    without_a_grant_the_host_rule_stands,
    an_unreserved_low_port_is_the_hosts,
    tcp_and_udp_are_two_tables,
    patterns_and_folding,
    names_of_more_than_eight_characters,
    a_renamed_process_is_another_job,
    ranges_from_end_to_end,
    ranges_of_every_kind,
    the_last_port_and_a_clipped_range,
    port_zero_is_never_judged,
    many_binds_of_one_process,
    several_jobs_on_one_port,
    the_most_specific_entry_decides,
    anyone_omvs_and_reserved,
    the_effective_user_is_reported,
    another_network_is_out_of_scope,
    cgroups_below_are_judged_and_beside_are_not,
    a_refused_socket_can_still_be_bound,
    the_kernels_own_errors_stay,
];

const LOUD: Settings = Settings::DEFAULT.report_all();
const QUIET: Settings = Settings::DEFAULT;

/// `PRT-02`, `PRT-44`, `DEC-01`: only the job that an entry names.
fn the_right_job_and_the_wrong_one(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n  21 TCP FTPD1\n  8080 TCP WEB1 ; the proxy\n";
    let (right, wrong) = (s.caller("ftpd1"), s.caller("sshd"));
    let cases = [
        Case::permitted(&right, tcp(21), "21 TCP FTPD1"),
        Case::other_job(&wrong, tcp(21), "21 TCP FTPD1"),
        Case::other_job(&right, tcp(8080), "8080 TCP WEB1"),
        Case::permitted(&s.caller("web1"), tcp(8080), "8080 TCP WEB1"),
        Case::unreserved(&wrong, tcp(22)),
        Case::unreserved(&wrong, tcp(8081)),
    ];
    judge(s, profile, QUIET, &cases).map(drop)
}

/// `PRT-40`: root is refused on a low port that it could have on any other host,
/// and by no name but the very one.
fn root_has_no_right_of_its_own(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 21 TCP FTPD1\n";
    let entry = "21 TCP FTPD1";
    let cases = [
        Case::other_job(&s.caller("root"), tcp(21), entry),
        Case::other_job(&s.caller("ftpd"), tcp(21), entry),
        Case::other_job(&s.caller("ftpd11"), tcp(21), entry),
        Case::granted(&s.caller("ftpd1"), tcp(21), entry),
        Case::unreserved(&s.caller("root"), tcp(22)),
    ];
    judge(s, profile, LOUD.grant_any(), &cases).map(drop)
}

/// `PRT-39`: with `require = "any"` the reservation is all that its job needs,
/// for its port and protocol and no other.
fn a_grant_takes_the_place_of_a_capability(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  21 TCP FTPD1
  20 TCP *
  8021 TCP FTPD1
PORTRANGE
  1000 100 UDP FTPD1
";
    let range = "1000 100 UDP FTPD1";
    let user = s.caller("ftpd1").user(NOBODY);
    let cases = [
        Case::granted(&user, tcp(21), "21 TCP FTPD1"),
        Case::granted(&user, tcp(20), "20 TCP *"),
        Case::granted(&user, udp(1000), range),
        Case::granted(&user, udp(1023), range),
        // Behind the low ports nobody needs a capability.
        Case::permitted(&user, udp(1024), range),
        Case::permitted(&user, tcp(8021), "8021 TCP FTPD1"),
        Case::unreserved_left_to_host(&user, tcp(22)),
        Case::unreserved_left_to_host(&user, udp(21)),
        Case::other_job(&s.caller("sshd"), tcp(21), "21 TCP FTPD1"),
    ];
    judge(s, profile, LOUD.grant_any(), &cases).map(drop)
}

/// A process name is no proof: by default (`require = "verified"`) the right job
/// of a low port still needs the host's capability. No event; the policy said yes.
fn without_a_grant_the_host_rule_stands(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 21 TCP FTPD1\n";
    let user = s.caller("ftpd1").user(NOBODY);
    let cases = [
        Case::left_to_host(&user, tcp(21), "21 TCP FTPD1"),
        Case::left_to_host(&user, tcp(21).on(Ipv6Addr::LOCALHOST), "21 TCP FTPD1"),
        Case::permitted(&s.caller("ftpd1"), tcp(21), "21 TCP FTPD1"),
    ];
    judge(s, profile, QUIET, &cases).map(drop)
}

/// `PRT-44`: a low port that no entry names is refused by the host as ever, which
/// is no business of ours.
fn an_unreserved_low_port_is_the_hosts(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 21 TCP FTPD1\n";
    let user = s.caller("ftpd1").user(NOBODY);
    let cases = [
        Case::unreserved_left_to_host(&user, tcp(80)),
        Case::unreserved_left_to_host(&user, udp(80)),
        Case::unreserved(&user, tcp(8080)),
    ];
    judge(s, profile, QUIET.grant_any(), &cases).map(drop)
}

/// `PRT-01`: the same number is another port in the other protocol.
fn tcp_and_udp_are_two_tables(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 53 TCP NAMED1\n 53 UDP NAMED2\n 514 UDP SYSLOGD\n 515 TCP LPSERVE\n";
    let (one, two) = (s.caller("named1"), s.caller("named2"));
    let cases = [
        Case::permitted(&one, tcp(53), "53 TCP NAMED1"),
        Case::other_job(&one, udp(53), "53 UDP NAMED2"),
        Case::permitted(&two, udp(53), "53 UDP NAMED2"),
        Case::other_job(&two, tcp(53), "53 TCP NAMED1"),
        Case::other_job(&one, udp(514), "514 UDP SYSLOGD"),
        Case::unreserved(&one, tcp(514)),
        Case::other_job(&one, tcp(515), "515 TCP LPSERVE"),
        Case::unreserved(&one, udp(515)),
    ];
    judge(s, profile, LOUD, &cases).map(drop)
}

/// `PRT-03`, `PRT-04`, `SYN-05`: `*` and `?` wherever they stand, and any case.
fn patterns_and_folding(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  7001 TCP Web*
  7002 TCP APPL?
  7003 tcp a*z
  7004 TCP A?C*E
  7005 TCP ?*
  7006 TCP *SRV
  7007 TCP fTpD1
";
    let yes = |name: &str, port, entry| Case::permitted(&s.caller(name), tcp(port), entry);
    let no = |name: &str, port, entry| Case::other_job(&s.caller(name), tcp(port), entry);
    let (prefix, one, inner, both, any, suffix, mixed) = (
        "7001 TCP Web*",
        "7002 TCP APPL?",
        "7003 tcp a*z",
        "7004 TCP A?C*E",
        "7005 TCP ?*",
        "7006 TCP *SRV",
        "7007 TCP fTpD1",
    );
    let cases = [
        yes("web", 7001, prefix),
        yes("WEB1", 7001, prefix),
        yes("webserver-12345", 7001, prefix),
        no("we", 7001, prefix),
        no("aweb", 7001, prefix),
        yes("appl1", 7002, one),
        no("appl", 7002, one),
        no("appl12", 7002, one),
        yes("az", 7003, inner),
        yes("aBCDz", 7003, inner),
        yes("azz", 7003, inner),
        no("za", 7003, inner),
        no("az1", 7003, inner),
        yes("abcde", 7004, both),
        yes("axce", 7004, both),
        no("ace", 7004, both),
        no("abcd", 7004, both),
        yes("x", 7005, any),
        yes("srv", 7006, suffix),
        yes("websrv", 7006, suffix),
        no("srv1", 7006, suffix),
        yes("FTPD1", 7007, mixed),
        yes("FtPd1", 7007, mixed),
        no("FtPd2", 7007, mixed),
    ];
    judge(s, profile, QUIET, &cases).map(drop)
}

/// Longer than z/OS's eight characters, as Linux names are, and never cut.
fn names_of_more_than_eight_characters(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  7001 TCP APPLSERVER
  7002 TCP ABCDEFGHIJKLMNO
  7003 TCP ABCDEFGHIJ*
  7004 TCP APPLSERV
  7005 TCP APPL-SRV.1
";
    let yes = |name: &str, port, entry| Case::permitted(&s.caller(name), tcp(port), entry);
    let no = |name: &str, port, entry| Case::other_job(&s.caller(name), tcp(port), entry);
    let cases = [
        yes("applserver", 7001, "7001 TCP APPLSERVER"),
        no("applserv", 7001, "7001 TCP APPLSERVER"),
        no("applserver2", 7001, "7001 TCP APPLSERVER"),
        yes("abcdefghijklmno", 7002, "7002 TCP ABCDEFGHIJKLMNO"),
        no("abcdefghijklmn", 7002, "7002 TCP ABCDEFGHIJKLMNO"),
        yes("abcdefghij", 7003, "7003 TCP ABCDEFGHIJ*"),
        yes("abcdefghijklmnX", 7003, "7003 TCP ABCDEFGHIJ*"),
        no("abcdefghi", 7003, "7003 TCP ABCDEFGHIJ*"),
        yes("applserv", 7004, "7004 TCP APPLSERV"),
        no("applserver", 7004, "7004 TCP APPLSERV"),
        yes("appl-srv.1", 7005, "7005 TCP APPL-SRV.1"),
    ];
    judge(s, profile, QUIET, &cases).map(drop)
}

/// An odd name is reported as it is and is nobody's job by accident.
fn a_renamed_process_is_another_job(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 7001 TCP RESERVED\n 7002 TCP OMVS1\n 7003 TCP *\n";
    let odd = "a \"b\" \t{c}";
    let cases = [
        Case::blocked(&s.caller("reserved"), tcp(7001), "7001 TCP RESERVED"),
        Case::other_job(&s.caller("omvs"), tcp(7002), "7002 TCP OMVS1"),
        Case::other_job(&s.caller("*"), tcp(7002), "7002 TCP OMVS1"),
        Case::other_job(&s.caller("omvs?"), tcp(7002), "7002 TCP OMVS1"),
        Case::other_job(&s.caller(odd), tcp(7002), "7002 TCP OMVS1"),
        Case::permitted(&s.caller(odd), tcp(7003), "7003 TCP *"),
    ];
    judge(s, profile, LOUD, &cases).map(drop)
}

/// `RNG-01`, `RNG-03`, `DEC-03`: both ends, their neighbours, and the same numbers
/// for both protocols.
fn ranges_from_end_to_end(s: &Sandbox) -> Result<()> {
    let profile = "PORTRANGE\n 4000 1000 TCP TSRV\n 4000 500 UDP USRV\n 5000 1 TCP LONE\n";
    let (t, u) = ("4000 1000 TCP TSRV", "4000 500 UDP USRV");
    let wrong = s.caller("wrong");
    let cases = [
        Case::unreserved(&wrong, tcp(3999)),
        Case::other_job(&wrong, tcp(4000), t),
        Case::other_job(&wrong, tcp(4500), t),
        Case::other_job(&wrong, tcp(4999), t),
        Case::permitted(&s.caller("tsrv"), tcp(4000), t),
        Case::permitted(&s.caller("tsrv"), tcp(4999), t),
        Case::other_job(&wrong, tcp(5000), "5000 1 TCP LONE"),
        Case::permitted(&s.caller("lone"), tcp(5000), "5000 1 TCP LONE"),
        Case::unreserved(&wrong, tcp(5001)),
        Case::unreserved(&wrong, udp(3999)),
        Case::other_job(&s.caller("tsrv"), udp(4000), u),
        Case::permitted(&s.caller("usrv"), udp(4499), u),
        Case::unreserved(&wrong, udp(4500)),
    ];
    judge(s, profile, LOUD, &cases).map(drop)
}

/// `RNG-04`, `RNG-05`, `RNG-06`: nobody, a pattern, everybody.
fn ranges_of_every_kind(s: &Sandbox) -> Result<()> {
    let profile = "\
PORTRANGE
  2000 10 TCP RESERVED
  3000 10 TCP APPL1*
  5000 10 UDP OMVS
  6000 10 TCP *
";
    let (none, some, omvs, all) = (
        "2000 10 TCP RESERVED",
        "3000 10 TCP APPL1*",
        "5000 10 UDP OMVS",
        "6000 10 TCP *",
    );
    let cases = [
        Case::blocked(&s.caller("appl1"), tcp(2000), none),
        Case::blocked(&s.caller("reserved"), tcp(2009), none),
        Case::unreserved(&s.caller("appl1"), tcp(2010)),
        Case::permitted(&s.caller("appl1"), tcp(3000), some),
        Case::permitted(&s.caller("appl1a"), tcp(3009), some),
        Case::other_job(&s.caller("appl2"), tcp(3009), some),
        Case::permitted(&s.caller("whoever"), udp(5009), omvs),
        Case::permitted(&s.caller("whoever"), tcp(6000), all),
        Case::permitted(&s.caller("whoever"), tcp(6009), all),
    ];
    judge(s, profile, LOUD, &cases).map(drop)
}

/// `RNG-02`: what lies beyond 65535 is dropped, what lies below is not.
fn the_last_port_and_a_clipped_range(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 65535 UDP LAST\n 1 UDP FIRST\nPORTRANGE\n 65000 1000 TCP LAST\n";
    let range = "65000 1000 TCP LAST";
    let (last, wrong) = (s.caller("last"), s.caller("wrong"));
    let cases = [
        Case::unreserved(&wrong, tcp(64999)),
        Case::other_job(&wrong, tcp(65000), range),
        Case::other_job(&wrong, tcp(65535), range),
        Case::permitted(&last, tcp(65535), range),
        Case::unreserved(&wrong, udp(65534)),
        Case::other_job(&wrong, udp(65535), "65535 UDP LAST"),
        Case::permitted(&last, udp(65535), "65535 UDP LAST"),
        Case::other_job(&wrong, udp(1), "1 UDP FIRST"),
        Case::unreserved(&wrong, tcp(1)),
    ];
    judge(s, profile, LOUD, &cases).map(drop)
}

/// `UNR-15`, `EPH-10`: when the kernel chooses there is nothing to judge.
fn port_zero_is_never_judged(s: &Sandbox) -> Result<()> {
    let profile = "PORTRANGE\n 1 1000 TCP RESERVED\n 1 1000 UDP RESERVED\n";
    let wrong = s.caller("wrong");
    let cases = [
        Case::not_judged(&wrong, tcp(0)),
        Case::not_judged(&wrong, udp(0)),
        Case::not_judged(&wrong, tcp(0).on_any_v6(false)),
        Case::not_judged(&wrong, udp(0).on(Ipv6Addr::LOCALHOST)),
        Case::not_judged(&wrong.clone().user(NOBODY), tcp(0)),
    ];
    judge(s, profile, LOUD, &cases).map(drop)
}

/// 64 ports by one process, half of them its own: every bind is judged by itself.
fn many_binds_of_one_process(s: &Sandbox) -> Result<()> {
    let mut profile = String::from("PORT\n");
    for port in 7000..7064 {
        let job = if port % 2 == 0 { "RIGHT" } else { "WRONG" };
        profile.push_str(&format!("{port} TCP {job}\n"));
    }
    let right = s.caller("right");
    let entries: Vec<(u16, String)> = (7000..7064)
        .map(|port| {
            let job = if port % 2 == 0 { "RIGHT" } else { "WRONG" };
            (port, format!("{port} TCP {job}"))
        })
        .collect();
    let cases: Vec<Case<'_>> = entries
        .iter()
        .map(|(port, entry)| match port % 2 {
            0 => Case::permitted(&right, tcp(*port), entry),
            _ => Case::other_job(&right, tcp(*port), entry),
        })
        .collect();
    let agent = s.agent(&profile, LOUD)?.start()?;
    expect_at_once(&agent, &profile, LOUD, &cases)?;
    // The same ports by nobody's job, all refused.
    let stranger = s.caller("stranger");
    let cases: Vec<Case<'_>> = entries
        .iter()
        .map(|(port, entry)| Case::other_job(&stranger, tcp(*port), entry))
        .collect();
    expect_at_once(&agent, &profile, LOUD, &cases)
}

/// `PRT-09`: each job that a port is listed for, and nobody else.
fn several_jobs_on_one_port(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 1414 TCP MQCHIN\n 80 TCP WEB\n 1414 TCP MQSTBY\n 1414 TCP MQ3?\n";
    let yes = |name: &str, entry| Case::permitted(&s.caller(name), tcp(1414), entry);
    let cases = [
        yes("mqchin", "1414 TCP MQCHIN"),
        yes("mqstby", "1414 TCP MQSTBY"),
        yes("mq31", "1414 TCP MQ3?"),
        // The first in the table stands for all that refuse.
        Case::other_job(&s.caller("mq3"), tcp(1414), "1414 TCP MQCHIN"),
        Case::other_job(&s.caller("web"), tcp(1414), "1414 TCP MQCHIN"),
        Case::unreserved(&s.caller("web"), udp(1414)),
    ];
    judge(s, profile, LOUD, &cases).map(drop)
}

/// `PRT-37`: an exact name, then the closest pattern, then OMVS, then `*`,
/// whatever their order in the profile. The event and the grant say which it was.
fn the_most_specific_entry_decides(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  500 TCP *
  500 TCP OMVS
  500 TCP A*
  500 TCP APP*
  500 TCP APP?
  500 TCP APP1
";
    let is = |name: &str, entry| Case::granted(&s.caller(name).user(NOBODY), tcp(500), entry);
    let cases = [
        is("app1", "500 TCP APP1"),
        is("app2", "500 TCP APP?"),
        is("app", "500 TCP APP*"),
        is("apple", "500 TCP APP*"),
        is("axe", "500 TCP A*"),
        is("zebra", "500 TCP OMVS"),
    ];
    judge(s, profile, LOUD.grant_any(), &cases).map(drop)
}

/// `PRT-05`, `PRT-06`, `PRT-07`, `LOW-06`: everybody, everybody, nobody, root
/// included; and the first two are reserved ports all the same.
fn anyone_omvs_and_reserved(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 20 TCP *\n 30 TCP OMVS\n 40 TCP RESERVED\n 40 UDP RESERVED\n";
    let (root, user) = (s.caller("any"), s.caller("some").user(NOBODY));
    let cases = [
        Case::granted(&root, tcp(20), "20 TCP *"),
        Case::granted(&user, tcp(20), "20 TCP *"),
        Case::granted(&root, tcp(30), "30 TCP OMVS"),
        Case::granted(&user, tcp(30), "30 TCP OMVS"),
        Case::blocked(&root, tcp(40), "40 TCP RESERVED"),
        Case::blocked(&root, udp(40), "40 UDP RESERVED"),
        Case::blocked(&s.caller("reserved"), tcp(40), "40 TCP RESERVED"),
    ];
    let agent = judge(s, profile, LOUD.grant_any(), &cases)?;
    // Without an agent the host refuses this one too, so it proves nothing there.
    let refused = [Case::blocked(&user, tcp(40), "40 TCP RESERVED")];
    expect(&agent, profile, LOUD.grant_any(), &refused)
}

/// `SAF-03`: who a process acts as counts, not who started it.
fn the_effective_user_is_reported(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP RIGHT\n";
    let entry = "4321 TCP RIGHT";
    let cases = [
        Case::other_job(&s.caller("wrong").users(7, 8, 9), tcp(4321), entry),
        Case::permitted(&s.caller("right").users(7, 8, 9), tcp(4321), entry),
        Case::other_job(&s.caller("wrong").users(0, NOBODY, 0), tcp(4321), entry),
        Case::other_job(&s.caller("wrong").users(NOBODY, 0, 0), tcp(4321), entry),
    ];
    judge(s, profile, LOUD, &cases).map(drop)
}

/// By default a policy is that of one stack: the agent's own network namespace.
fn another_network_is_out_of_scope(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP RIGHT\n 4322 UDP RESERVED\n";
    let wrong = s.caller("wrong");
    let cases = [
        Case::not_judged(&wrong.clone().elsewhere(), tcp(4321)),
        Case::not_judged(&wrong.clone().elsewhere(), udp(4322)),
        Case::other_job(&wrong, tcp(4321), "4321 TCP RIGHT"),
        Case::blocked(&wrong, udp(4322), "4322 UDP RESERVED"),
    ];
    judge(s, profile, LOUD, &cases).map(drop)
}

/// The hooks see the cgroup they are attached to with all below it, made before or
/// after them, and nothing beside it.
fn cgroups_below_are_judged_and_beside_are_not(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP RIGHT\n";
    let entry = "4321 TCP RIGHT";
    let wrong = s.caller("wrong");
    let beside = Sandbox::new()?;
    let early = wrong.clone().cgroup(s.cgroup_below("early/deep")?);
    let cases = [
        Case::other_job(&early, tcp(4321), entry),
        Case::not_judged(&wrong.clone().cgroup(&beside.cgroup), tcp(4321)),
    ];
    let agent = judge(s, profile, QUIET, &cases)?;
    let late = wrong.cgroup(s.cgroup_below("late/a/b/c")?);
    let cases = [Case::other_job(&late, tcp(4321), entry)];
    expect(&agent, profile, QUIET, &cases)
}

/// `DEC-07`: a refusal leaves the socket as it was: it can be bound to a port that
/// is free to its owner.
fn a_refused_socket_can_still_be_bound(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP RIGHT\n 4321 UDP RIGHT\n";
    let _agent = s.agent(profile, QUIET)?.start()?;
    let refused = Err(refusal());
    for want in [tcp as fn(u16) -> Want, udp] {
        let any = want(4321).on(Ipv4Addr::UNSPECIFIED);
        let wants = [want(4321), any, want(4322)];
        let binder = Binder::start_on_one_socket(&s.caller("wrong"), &wants)?;
        ensure_eq!(binder.results, [refused, refused, Ok(())], "{}", wants[0]);
    }
    Ok(())
}

/// `DEC-04`, `DEC-05`: in use, not local: what the kernel says to the right job. The
/// wrong one is refused before it learns that much.
fn the_kernels_own_errors_stay(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP RIGHT\n";
    let agent = s.agent(profile, QUIET)?.start()?;
    let foreign = tcp(4321).on([192, 0, 2, 7]);
    let wants = [tcp(4321), tcp(4321), foreign];
    let right = Binder::start(&s.caller("right"), &wants)?;
    let expected = [Ok(()), Err(Errno::EADDRINUSE), Err(Errno::EADDRNOTAVAIL)];
    ensure_eq!(right.results, expected, "the right job");
    let wrong = Binder::start(&s.caller("wrong"), &wants)?;
    ensure_eq!(wrong.results, [Err(refusal()); 3], "the wrong job");
    let counters = &agent.status()?["counters"];
    ensure_eq!(counters["permitted"], 3, "{counters}");
    ensure_eq!(counters["other-job"], 3, "{counters}");
    Ok(())
}
