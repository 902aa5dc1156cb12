//! AUTHPORT: ports of the FTP server, which the config names.

use anyhow::Result;

use crate::{
    harness::{
        NOBODY, Sandbox, tcp, udp,
        watch::{Judged, free, judged},
    },
    tests,
};

tests![by_name_and_by_definition, nobody_is_the_ftp_server,];

const PROFILE: &str = "PORTRANGE\n 5000 100 TCP AUTHPORT\n 5000 10 UDP AUTHPORT\n";

/// `RNG-08`: a process name, a pattern, and a defined job; nobody else, root included.
fn by_name_and_by_definition(s: &Sandbox) -> Result<()> {
    let cgroup = s.cgroup_below("ftp.service")?;
    let path = format!("{}/ftp.service", s.cgroup_name());
    let config = format!(
        "[events]\nreport = \"all\"\n\
         [authport]\njobs = [\"FTPD1\", \"VSFTP*\", \"PASSIVE\", \"FTPUSER\"]\n\
         [jobs.PASSIVE]\ncgroup = {path:?}\n\
         [jobs.FTPUSER]\nuser = \"1042\"\n"
    );
    let named = ["ftpd1", "vsftpd", "ftpd", "passive"].map(|name| s.caller(name));
    let [ftpd1, vsftpd, ftpd, called_so] = &named;
    let (placed, user) = (
        s.caller("anything").cgroup(&cgroup),
        s.caller("anything").user(1042),
    );
    let cases = [
        Judged::allow(ftpd1, tcp(5000), "permitted", 2),
        Judged::allow(vsftpd, tcp(5099), "permitted", 2),
        Judged::allow(&placed, tcp(5050), "permitted", 2),
        Judged::allow(&user, tcp(5050), "permitted", 2),
        // The FTP server has no use for UDP.
        Judged::deny(&placed, udp(5009), "other-job", 3),
        Judged::deny(ftpd1, udp(5009), "other-job", 3),
        Judged::deny(ftpd, tcp(5000), "other-job", 2),
        // A defined job's name is nobody's by calling himself so.
        Judged::deny(called_so, tcp(5000), "other-job", 2),
        Judged::deny(ftpd, udp(5000), "other-job", 3),
        Judged::allow(ftpd, tcp(5100), "unreserved", 0),
    ];
    free(&cases)?;
    judged(&s.agent_with(PROFILE, &config)?.start()?, &cases)
}

/// `RNG-08`: without `[authport]` there is no FTP server, whatever anybody is called.
fn nobody_is_the_ftp_server(s: &Sandbox) -> Result<()> {
    let [ftpd1, authport] = ["ftpd1", "authport"].map(|name| s.caller(name));
    let user = s.caller("ftpd1").user(NOBODY);
    let cases = [
        Judged::deny(&ftpd1, tcp(5000), "other-job", 2),
        Judged::deny(&authport, tcp(5099), "other-job", 2),
        Judged::deny(&user, udp(5000), "other-job", 3),
    ];
    free(&cases)?;
    let agent = s.agent_with(PROFILE, "[events]\nreport = \"all\"\n")?;
    judged(&agent.start()?, &cases)
}
