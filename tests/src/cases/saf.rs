//! SAF: the right job is asked for its user's permission too, at every place where
//! an entry can say SAF.

use anyhow::Result;

use crate::{
    harness::{
        NOBODY, Sandbox, tcp, udp,
        watch::{Judged, free, judged},
    },
    tests,
};

tests![
    the_right_job_needs_the_permission_too,
    the_job_is_looked_at_first,
    anybody_with_the_permission,
    a_range_has_one_resource,
    who_has_access_by_default,
    groups_and_root,
    the_closest_profile_decides,
    unreserved_ports_with_a_resource_per_entry,
];

const PERMITTED: u32 = 1042;
const OTHER: u32 = 1043;
const CONFIG: &str = "\
sysname = \"HOST1\"
[events]
report = \"all\"
[servauth.\"EZB.PORTACCESS.HOST1.TCPIP.FTPDATA\"]
permit = [\"1042\"]
[servauth.\"EZB.PORTACCESS.*.*.OPEN\"]
uacc = \"read\"
[servauth.\"EZB.PORTACCESS.*.*.STAFF\"]
permit = [\"@2000\", \"@1043\"]
";

/// `PRT-34`, `SAF-02`, `SAF-03`, `SAF-12`: an event names user, job, entry and reason.
fn the_right_job_needs_the_permission_too(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP FTPD SAF FTPDATA\n 4322 UDP FTPD SAF FTPDATA\n";
    let right = s.caller("ftpd").user(PERMITTED);
    let not_permitted = s.caller("ftpd").user(OTHER);
    // Who it acts for counts, not who started it or who it may become again.
    let acting = s.caller("ftpd").users(OTHER, PERMITTED, OTHER);
    let acted = s.caller("ftpd").users(PERMITTED, OTHER, PERMITTED);
    let cases = [
        Judged::allow(&right, tcp(4321), "permitted", 2),
        Judged::deny(&not_permitted, tcp(4321), "no-permit", 2),
        Judged::allow(&right, udp(4322), "permitted", 3),
        Judged::deny(&not_permitted, udp(4322), "no-permit", 3),
        Judged::allow(&acting, tcp(4321), "permitted", 2),
        Judged::deny(&acted, tcp(4321), "no-permit", 2),
    ];
    free(&cases)?;
    judged(&s.agent_with(profile, CONFIG)?.start()?, &cases)
}

/// `DEC-07`: another job is another job, whatever its user may.
fn the_job_is_looked_at_first(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP FTPD SAF FTPDATA\n 4321 TCP WEB SAF NOBODYS\n 4321 TCP API\n";
    let of = |name, uid| s.caller(name).user(uid);
    let callers = [
        of("sshd", PERMITTED),
        of("sshd", OTHER),
        of("web", PERMITTED),
        of("api", OTHER),
        of("ftpd", PERMITTED),
    ];
    let [other, stranger, web, api, right] = &callers;
    let cases = [
        Judged::deny(other, tcp(4321), "other-job", 2),
        Judged::deny(stranger, tcp(4321), "other-job", 2),
        // Its own entry's resource, which no profile covers (`SAF-05`).
        Judged::deny(web, tcp(4321), "no-permit", 3),
        Judged::allow(api, tcp(4321), "permitted", 4),
        Judged::allow(right, tcp(4321), "permitted", 2),
    ];
    free(&cases)?;
    judged(&s.agent_with(profile, CONFIG)?.start()?, &cases)
}

/// `PRT-35`, `PRT-43`: with `*` the permission alone decides, and it is proof enough
/// for a low port.
fn anybody_with_the_permission(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 20 TCP * NOAUTOLOG SAF FTPDATA\n 2020 TCP OMVS SAF FTPDATA\n";
    let (permitted, other) = (
        s.caller("whoever").user(PERMITTED),
        s.caller("whoever").user(OTHER),
    );
    let root = s.caller("whoever");
    let cases = [
        Judged::grant(&permitted, tcp(20), 2),
        Judged::deny(&root, tcp(20), "no-permit", 2),
        Judged::allow(&permitted, tcp(2020), "permitted", 3),
        Judged::deny(&other, tcp(2020), "no-permit", 3),
    ];
    free(&cases)?;
    let agent = s.agent_with(profile, CONFIG)?.start()?;
    judged(&agent, &cases)?;
    // The host alone refuses this one as well.
    judged(&agent, &[Judged::deny(&other, tcp(20), "no-permit", 2)])
}

/// `RNG-07`, `RNG-10`, `RNG-18`: from end to end.
fn a_range_has_one_resource(s: &Sandbox) -> Result<()> {
    let profile = "PORTRANGE\n 5000 100 TCP * SAF FTPDATA\n 6000 10 UDP APP* SAF FTPDATA\n";
    let (permitted, other) = (
        s.caller("app1").user(PERMITTED),
        s.caller("app1").user(OTHER),
    );
    let stranger = s.caller("web").user(PERMITTED);
    let cases = [
        Judged::allow(&permitted, tcp(5000), "permitted", 2),
        Judged::allow(&permitted, tcp(5099), "permitted", 2),
        Judged::deny(&other, tcp(5000), "no-permit", 2),
        Judged::deny(&other, tcp(5099), "no-permit", 2),
        Judged::allow(&other, tcp(5100), "unreserved", 0),
        Judged::allow(&permitted, udp(6009), "permitted", 3),
        Judged::deny(&other, udp(6009), "no-permit", 3),
        Judged::deny(&stranger, udp(6009), "other-job", 3),
    ];
    free(&cases)?;
    judged(&s.agent_with(profile, CONFIG)?.start()?, &cases)
}

/// `SAF-08`: UACC READ permits everybody; without any profile nobody is permitted.
fn who_has_access_by_default(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP * SAF OPEN\n 4322 TCP * SAF NOBODYS\n 21 TCP * SAF OPEN\n";
    let (user, root) = (s.caller("some").user(NOBODY), s.caller("some"));
    let cases = [
        Judged::allow(&user, tcp(4321), "permitted", 2),
        Judged::allow(&root, tcp(4321), "permitted", 2),
        Judged::deny(&user, tcp(4322), "no-permit", 3),
        Judged::deny(&root, tcp(4322), "no-permit", 3),
        // What everybody is permitted proves nothing.
        Judged::left_to_host(&user, tcp(21), 4),
    ];
    free(&cases)?;
    judged(&s.agent_with(profile, CONFIG)?.start()?, &cases)
}

/// `SAF-08`, `SAF-10`: a group's permission is its members', and root has none by
/// itself.
fn groups_and_root(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP * SAF STAFF\n";
    // An actor's group has the number of its user.
    let (member, other, root) = (
        s.caller("some").user(OTHER),
        s.caller("some").user(PERMITTED),
        s.caller("some"),
    );
    let cases = [
        Judged::allow(&member, tcp(4321), "permitted", 2),
        Judged::deny(&other, tcp(4321), "no-permit", 2),
        Judged::deny(&root, tcp(4321), "no-permit", 2),
    ];
    free(&cases)?;
    judged(&s.agent_with(profile, CONFIG)?.start()?, &cases)
}

/// `SAF-01`, `SAF-04` to `SAF-07`, `SAF-09`: discrete before generic, of this system
/// and stack before any; what permits elsewhere permits nothing here.
fn the_closest_profile_decides(s: &Sandbox) -> Result<()> {
    let config = "\
sysname = \"HOST1\"
tcpname = \"TCPIPA\"
[events]
report = \"all\"
[servauth.\"EZB.PORTACCESS.HOST1.TCPIPA.ONE\"]
permit = [\"1042\"]
[servauth.\"EZB.PORTACCESS.HOST1.*.ONE\"]
permit = [\"1043\"]
[servauth.\"EZB.PORTACCESS.*.*.TW%\"]
permit = [\"1043\"]
[servauth.\"EZB.PORTACCESS.HOST2.TCPIPA.THREE\"]
permit = [\"1043\"]
[servauth.\"EZB.PORTACCESS.**\"]
permit = [\"1042\"]
";
    let profile = "PORT\n 4321 TCP * SAF ONE\n 4322 TCP * SAF TWO\n 4323 TCP * SAF THREE\n";
    let (one, two) = (s.caller("a").user(PERMITTED), s.caller("a").user(OTHER));
    let cases = [
        Judged::allow(&one, tcp(4321), "permitted", 2),
        Judged::deny(&two, tcp(4321), "no-permit", 2),
        Judged::deny(&one, tcp(4322), "no-permit", 3),
        Judged::allow(&two, tcp(4322), "permitted", 3),
        Judged::allow(&one, tcp(4323), "permitted", 4),
        Judged::deny(&two, tcp(4323), "no-permit", 4),
    ];
    free(&cases)?;
    judged(&s.agent_with(profile, config)?.start()?, &cases)
}

/// `UNR-08`, `SAF-11`: at bind, which is UDP's only and TCP's if it says WHENBIND.
fn unreserved_ports_with_a_resource_per_entry(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  UNRSV TCP FTP* SAF FTPDATA WHENBIND
  UNRSV TCP * SAF OPEN WHENBIND
  UNRSV UDP FTP* SAF FTPDATA
  UNRSV UDP API
";
    let of = |name, uid| s.caller(name).user(uid);
    let (permitted, not, web, api) = (
        of("ftp1", PERMITTED),
        of("ftp1", OTHER),
        of("web", OTHER),
        of("api", OTHER),
    );
    let cases = [
        Judged::allow(&permitted, tcp(4321), "unreserved-permitted", 2),
        Judged::deny(&not, tcp(4321), "no-permit", 2),
        Judged::allow(&web, tcp(4321), "unreserved-permitted", 3),
        Judged::allow(&permitted, udp(4321), "unreserved-permitted", 4),
        Judged::deny(&not, udp(4321), "no-permit", 4),
        Judged::allow(&api, udp(4321), "unreserved-permitted", 5),
        // The first in the table stands for all that refuse.
        Judged::deny(&web, udp(4321), "unreserved-other", 5),
    ];
    free(&cases)?;
    judged(&s.agent_with(profile, CONFIG)?.start()?, &cases)
}
