//! Who is which defined job: by process name, by several facts at once, and never
//! by a name alone.

use anyhow::{Result, ensure};

use crate::{
    ensure_eq,
    harness::{
        Caller, Case, NOBODY, Sandbox, Settings,
        expect::{expect, expect_at_once, judge_with},
        tcp, udp,
    },
    tests,
};

tests![
    a_defined_name_is_not_reached_by_a_name,
    a_defined_process_has_no_name_any_more,
    by_the_name_of_the_process,
    a_process_name_is_no_proof,
    all_keys_must_hold,
    any_alternative_will_do,
    proof_is_that_of_the_alternative_that_holds,
    a_process_may_be_several_jobs,
    the_closest_of_jobs_and_names_decides,
    the_kernel_is_no_process,
    more_definitions_than_there_is_room_for,
];

const LOUD: Settings = Settings::DEFAULT.report_all();
const QUIET: Settings = Settings::DEFAULT;

/// A caller of this name in a cgroup below the sandbox's.
fn caller(s: &Sandbox, name: &str, cgroup: &str) -> Result<Caller> {
    Ok(s.caller(name).cgroup(s.cgroup_below(cgroup)?))
}

/// `PRT-02`, `PRT-03`, `PRT-04`: who calls itself like a defined job is not it, and
/// not through a pattern that covers the name, nor when it is another job.
fn a_defined_name_is_not_reached_by_a_name(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  4001 TCP FTPD1
  4002 TCP FTP*
  4003 TCP F?PD1
  4004 TCP *D1
  4005 TCP *
  4006 UDP FTPD1
";
    let root = s.cgroup_name();
    let config =
        format!("[jobs.FTPD1]\ncgroup = \"{root}/ftp\"\n[jobs.other]\ncgroup = \"{root}/other\"\n");
    let exact = "4001 TCP FTPD1";
    let patterns = ["4002 TCP FTP*", "4003 TCP F?PD1", "4004 TCP *D1"];
    let mut cases = Vec::new();
    let right = caller(s, "whatever", "ftp")?.job("FTPD1");
    cases.push(Case::permitted(&right, tcp(4001), exact));
    cases.push(Case::permitted(&right, udp(4006), "4006 UDP FTPD1"));
    let same_name = caller(s, "ftpd1", "plain")?.no_job();
    let other_job = caller(s, "FTPD1", "other")?.job("OTHER");
    for liar in [&same_name, &other_job] {
        cases.push(Case::other_job(liar, tcp(4001), exact));
        cases.push(Case::other_job(liar, udp(4006), "4006 UDP FTPD1"));
        cases.push(Case::permitted(liar, tcp(4005), "4005 TCP *"));
    }
    for (port, entry) in (4002..).zip(patterns) {
        cases.push(Case::permitted(&right, tcp(port), entry));
        cases.push(Case::other_job(&same_name, tcp(port), entry));
        cases.push(Case::other_job(&other_job, tcp(port), entry));
    }
    // A name that no job has still counts.
    let plain = caller(s, "ftpd2", "plain")?;
    cases.push(Case::permitted(&plain, tcp(4002), patterns[0]));
    cases.push(Case::other_job(&plain, tcp(4003), patterns[1]));
    judge_with(s, profile, LOUD, &config, &cases).map(drop)
}

/// What a defined job calls itself opens nothing to it.
fn a_defined_process_has_no_name_any_more(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4001 TCP SSHD\n 4002 TCP SS*\n 4003 TCP S?HD\n 4004 TCP WEB\n";
    let config = format!("[jobs.WEB]\ncgroup = \"{}/web\"\n", s.cgroup_name());
    let job = caller(s, "sshd", "web")?.job("WEB");
    let name = caller(s, "sshd", "plain")?;
    let mut cases = vec![Case::permitted(&job, tcp(4004), "4004 TCP WEB")];
    for (port, entry) in (4001..).zip(["4001 TCP SSHD", "4002 TCP SS*", "4003 TCP S?HD"]) {
        cases.push(Case::other_job(&job, tcp(port), entry));
        cases.push(Case::permitted(&name, tcp(port), entry));
    }
    judge_with(s, profile, LOUD, &config, &cases).map(drop)
}

/// `PRT-03`, `PRT-04`: patterns of process names, whatever the case. The leader's
/// name counts, not that of the thread which binds.
fn by_the_name_of_the_process(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4001 TCP DB\n 4002 TCP ODD\n";
    let config = "\
[jobs.db]
comm = [\"postgres\", \"MySQL*\", \"m?ria\", \"a*b*c\"]
[jobs.ODD]
comm = [\"with space\", \"ä*\", \"fifteen-letters\", \"(sd-*)\"]
";
    let (db, odd) = ("4001 TCP DB", "4002 TCP ODD");
    let mut cases = Vec::new();
    for name in [
        "postgres", "POSTGRES", "mysql", "mysqld", "MARIA", "abc", "aXbXbYc",
    ] {
        let caller = s.caller(name).job("DB");
        cases.push(Case::permitted(&caller, tcp(4001), db));
        cases.push(Case::other_job(&caller, tcp(4002), odd));
    }
    for name in ["with space", "WITH SPACE", "fifteen-letters", "(sd-listen)"] {
        cases.push(Case::permitted(&s.caller(name).job("ODD"), tcp(4002), odd));
    }
    for name in [
        "postgre",
        "postgresq",
        "db",
        "maaria",
        "mria",
        "acb",
        "sql",
        "b",
    ] {
        let caller = match name {
            "db" => s.caller(name).no_job(),
            _ => s.caller(name),
        };
        cases.push(Case::other_job(&caller, tcp(4001), db));
        cases.push(Case::other_job(&caller, tcp(4002), odd));
    }
    let leader = s.caller("postgres").job("DB");
    cases.push(Case::permitted(
        &leader.clone().thread("worker"),
        tcp(4001),
        db,
    ));
    cases.push(Case::permitted(&leader.survivor("worker"), tcp(4001), db));
    let worker = s.caller("main");
    cases.push(Case::other_job(
        &worker.clone().thread("postgres"),
        tcp(4001),
        db,
    ));
    cases.push(Case::other_job(&worker.survivor("postgres"), tcp(4001), db));
    judge_with(s, profile, LOUD, config, &cases).map(drop)
}

/// `PRT-39`: what a process says of itself gives it no low port by default, even if
/// a definition asks for it; `require = "any"` does.
fn a_process_name_is_no_proof(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 21 TCP FTPD1\n";
    let entry = "21 TCP FTPD1";
    let config = "[jobs.FTPD1]\ncomm = \"vsftpd\"\n";
    let root = s.caller("vsftpd").job("FTPD1");
    let user = root.clone().user(NOBODY);
    let cases = [
        Case::left_to_host(&user, tcp(21), entry),
        Case::permitted(&root, tcp(21), entry),
    ];
    judge_with(s, profile, LOUD, config, &cases)?.terminate()?;
    let cases = [Case::granted(&user, tcp(21), entry)];
    let settings = LOUD.grant_any();
    s.set_policy_with(profile, settings, config)?;
    let agent = s.agent_again()?.start()?;
    expect(&agent, profile, settings, &cases)
}

/// Cgroup, process name and user of one definition: each that is given must hold.
fn all_keys_must_hold(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  4000 TCP GROUPED
  4001 TCP CG
  4002 TCP CU
  4003 TCP GU
  4004 TCP CGU
";
    let root = s.cgroup_name();
    let config = format!(
        "\
[jobs.GROUPED]
cgroup = [\"{root}/in\", \"{root}/also\"]
[jobs.CG]
comm = \"right\"
cgroup = \"{root}/in\"
[jobs.CU]
comm = \"right\"
user = [\"1000\", \"1001\"]
[jobs.GU]
cgroup = \"{root}/in\"
user = \"1000\"
[jobs.CGU]
comm = \"right\"
cgroup = \"{root}/in\"
user = \"1000\"
"
    );
    let entries = [
        "4000 TCP GROUPED",
        "4001 TCP CG",
        "4002 TCP CU",
        "4003 TCP GU",
        "4004 TCP CGU",
    ];
    s.set_policy_with(profile, LOUD, &config)?;
    let agent = s.agent_again()?.start()?;
    for name in ["right", "wrong"] {
        for cgroup in ["in", "also", "out"] {
            for uid in [1000, 1001, 1002] {
                let (c, g) = (name == "right", cgroup == "in");
                let u = uid == 1000;
                let meant = [
                    cgroup != "out",
                    c && g,
                    c && uid != 1002,
                    g && u,
                    c && g && u,
                ];
                let jobs: Vec<&str> = ["GROUPED", "CG", "CU", "GU", "CGU"]
                    .into_iter()
                    .zip(meant)
                    .filter_map(|(job, is_meant)| is_meant.then_some(job))
                    .collect();
                let mut caller = caller(s, name, cgroup)?.user(uid);
                if !jobs.is_empty() {
                    caller = caller.job(&jobs.join(" "));
                }
                let case = |((port, entry), is_meant)| match is_meant {
                    true => Case::permitted(&caller, tcp(port), entry),
                    false => Case::other_job(&caller, tcp(port), entry),
                };
                let cases: Vec<Case<'_>> = (4000..).zip(entries).zip(meant).map(case).collect();
                expect_at_once(&agent, profile, LOUD, &cases)?;
            }
        }
    }
    Ok(())
}

/// `[[jobs.X]]`: each alternative by itself, no mixture of two.
fn any_alternative_will_do(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP FTPD1\n";
    let entry = "4321 TCP FTPD1";
    let root = s.cgroup_name();
    let config = format!(
        "\
[[jobs.FTPD1]]
cgroup = \"{root}/ftp.service\"
user = \"1000\"
[[jobs.FTPD1]]
cgroup = \"{root}/ftp.socket\"
user = \"0\"
[[jobs.FTPD1]]
comm = \"ftp-debug\"
"
    );
    let who = |name, cgroup, uid| Ok::<_, anyhow::Error>(caller(s, name, cgroup)?.user(uid));
    let cases = [
        Case::permitted(
            &who("a", "ftp.service", 1000)?.job("FTPD1"),
            tcp(4321),
            entry,
        ),
        Case::permitted(&who("a", "ftp.socket", 0)?.job("FTPD1"), tcp(4321), entry),
        Case::permitted(&who("ftp-debug", "out", 7)?.job("FTPD1"), tcp(4321), entry),
        Case::permitted(
            &who("ftp-debug", "ftp.service", 7)?.job("FTPD1"),
            tcp(4321),
            entry,
        ),
        Case::other_job(&who("a", "ftp.service", 0)?, tcp(4321), entry),
        Case::other_job(&who("a", "ftp.socket", 1000)?, tcp(4321), entry),
        Case::other_job(&who("a", "out", 1000)?, tcp(4321), entry),
    ];
    judge_with(s, profile, LOUD, &config, &cases).map(drop)
}

/// `PRT-39`: the low port is granted to whom an alternative with a cgroup or a user
/// means, and to nobody who is the job by its name only.
fn proof_is_that_of_the_alternative_that_holds(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 21 TCP FTPD1\n";
    let entry = "21 TCP FTPD1";
    let root = s.cgroup_name();
    let config = format!(
        "\
[[jobs.FTPD1]]
cgroup = \"{root}/ftp\"
[[jobs.FTPD1]]
comm = \"ftp\"
[[jobs.FTPD1]]
comm = \"user-*\"
user = \"1000\"
"
    );
    let who =
        |name, cgroup, uid| Ok::<_, anyhow::Error>(caller(s, name, cgroup)?.user(uid).job("FTPD1"));
    let cases = [
        Case::granted(&who("any", "ftp", NOBODY)?, tcp(21), entry),
        Case::granted(&who("ftp", "ftp", NOBODY)?, tcp(21), entry),
        Case::granted(&who("user-1", "out", 1000)?, tcp(21), entry),
        Case::left_to_host(&who("ftp", "out", NOBODY)?, tcp(21), entry),
    ];
    judge_with(s, profile, LOUD, &config, &cases).map(drop)
}

/// A process is every job whose definition it satisfies, by the same facts or by
/// others.
fn a_process_may_be_several_jobs(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  4001 TCP OUTER
  4002 TCP INNER
  4003 TCP USER
  4004 TCP NAME
  4005 TCP INNER
  4005 TCP NAME
  4006 TCP NOBODYS
";
    let root = s.cgroup_name();
    let config = format!(
        "\
[jobs.OUTER]
cgroup = \"{root}/pods\"
[jobs.INNER]
cgroup = \"{root}/pods/*/main\"
[jobs.USER]
user = \"1000\"
[jobs.NAME]
comm = \"name\"
[jobs.NOBODYS]
cgroup = \"{root}/nowhere\"
"
    );
    let all = caller(s, "name", "pods/1/main")?
        .user(1000)
        .job("OUTER INNER USER NAME");
    let outer = caller(s, "other", "pods/1/side")?.job("OUTER");
    let name = caller(s, "name", "out")?.job("NAME");
    let cases = [
        Case::permitted(&all, tcp(4001), "4001 TCP OUTER"),
        Case::permitted(&all, tcp(4002), "4002 TCP INNER"),
        Case::permitted(&all, tcp(4003), "4003 TCP USER"),
        Case::permitted(&all, tcp(4004), "4004 TCP NAME"),
        // The first of equals.
        Case::permitted(&all, tcp(4005), "4005 TCP INNER"),
        Case::other_job(&all, tcp(4006), "4006 TCP NOBODYS"),
        Case::permitted(&outer, tcp(4001), "4001 TCP OUTER"),
        Case::other_job(&outer, tcp(4002), "4002 TCP INNER"),
        Case::other_job(&outer, tcp(4003), "4003 TCP USER"),
        Case::other_job(&outer, tcp(4005), "4005 TCP INNER"),
        Case::permitted(&name, tcp(4005), "4005 TCP NAME"),
        Case::other_job(&name, tcp(4001), "4001 TCP OUTER"),
    ];
    judge_with(s, profile, LOUD, &config, &cases).map(drop)
}

/// `PRT-37`: exact, then patterns, then `*`, among the jobs that a process is and
/// the names of those that are none.
fn the_closest_of_jobs_and_names_decides(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  500 TCP *
  500 TCP WE*
  500 TCP WEBS*
  500 TCP WEBSRV
  500 TCP MAIL
";
    let root = s.cgroup_name();
    let config = format!(
        "\
[jobs.WEBSRV]
cgroup = \"{root}/websrv\"
[jobs.WEBSITE]
cgroup = \"{root}/website\"
[jobs.WEAK]
cgroup = \"{root}/weak\"
[jobs.OTHER]
cgroup = \"{root}/other\"
[jobs.MAIL]
user = \"1000\"
"
    );
    let granted = |name, cgroup: &str, entry| {
        let caller = caller(s, name, cgroup)?.user(NOBODY);
        let caller = caller.job(&cgroup.to_ascii_uppercase());
        Ok::<_, anyhow::Error>(Case::granted(&caller, tcp(500), entry))
    };
    let by_name = |name, entry| {
        let mut caller = caller(s, name, "plain")?.user(NOBODY);
        if ["websrv", "website"].contains(&name) {
            caller = caller.no_job();
        }
        Ok::<_, anyhow::Error>(Case::left_to_host(&caller, tcp(500), entry))
    };
    let both = caller(s, "any", "weak")?.user(1000).job("WEAK MAIL");
    let cases = [
        granted("any", "websrv", "500 TCP WEBSRV")?,
        granted("any", "website", "500 TCP WEBS*")?,
        granted("any", "weak", "500 TCP WE*")?,
        by_name("websrv", "500 TCP *")?,
        by_name("website", "500 TCP *")?,
        by_name("website2", "500 TCP WEBS*")?,
        by_name("wean", "500 TCP WE*")?,
        Case::granted(&both, tcp(500), "500 TCP MAIL"),
    ];
    judge_with(s, profile, LOUD, &config, &cases).map(drop)
}

/// The kernel's own threads are the job KERNEL, which a process can't be: not by
/// its name, not through a pattern, and not by a definition.
fn the_kernel_is_no_process(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4001 TCP KERNEL\n 4002 TCP KERN*\n 4003 TCP *\n 4004 TCP DRIVER\n";
    let (exact, pattern) = ("4001 TCP KERNEL", "4002 TCP KERN*");
    let kernel = s.caller("kernel").no_job();
    let liars = [
        kernel.clone(),
        s.caller("KERNEL").no_job(),
        kernel.clone().user(NOBODY),
        s.caller("main").thread("kernel"),
        kernel.survivor("kernel"),
    ];
    let refused = |liars: &[Caller]| -> Vec<Case<'_>> {
        let three = |liar| {
            [
                Case::other_job(liar, tcp(4001), exact),
                Case::other_job(liar, tcp(4002), pattern),
                Case::permitted(liar, tcp(4003), "4003 TCP *"),
            ]
        };
        liars.iter().flat_map(three).collect()
    };
    let mut cases = refused(&liars);
    cases.push(Case::permitted(&s.caller("kernels"), tcp(4002), pattern));
    let agent = judge_with(s, profile, LOUD, "", &cases)?;
    // A process by that name is a process, and can be a job by it.
    s.set_policy_with(profile, LOUD, "[jobs.DRIVER]\ncomm = \"kernel\"\n")?;
    ensure_eq!(agent.reload(&[])?.0, 0, "a reload");
    let driver = s.caller("kernel").job("DRIVER");
    let mut cases = refused(std::slice::from_ref(&driver));
    cases.push(Case::permitted(&driver, tcp(4004), "4004 TCP DRIVER"));
    expect(&agent, profile, LOUD, &cases)?;
    s.set_policy_with(profile, LOUD, "[jobs.KERNEL]\nuser = \"root\"\n")?;
    let (code, answer) = agent.reload(&[])?;
    ensure!(
        code == 1 && answer.to_string().contains("that is the kernel itself"),
        "{code}: {answer}"
    );
    Ok(())
}

/// At the limit of users that jobs are defined by everybody is recognised; past it
/// the policy is refused.
fn more_definitions_than_there_is_room_for(s: &Sandbox) -> Result<()> {
    const USERS: u32 = 16_384;
    let profile = "PORT\n 4321 TCP MANY\n";
    let entry = "4321 TCP MANY";
    let config = |users: u32| {
        let users: Vec<String> = (1..=users).map(|uid| format!("\"{uid}\"")).collect();
        format!("[jobs.MANY]\nuser = [{}]\n", users.join(","))
    };
    s.set_policy_with(profile, QUIET, &config(USERS))?;
    let agent = s.agent_again()?.start()?;
    let user = |uid| s.caller("any").user(uid);
    let cases = [
        Case::permitted(&user(1).job("MANY"), tcp(4321), entry),
        Case::permitted(&user(USERS).job("MANY"), tcp(4321), entry),
        Case::other_job(&user(USERS + 1), tcp(4321), entry),
        Case::other_job(&user(0), tcp(4321), entry),
    ];
    expect(&agent, profile, QUIET, &cases)?;
    s.set_policy_with(profile, QUIET, &config(USERS + 1))?;
    let (code, answer) = agent.reload(&[])?;
    ensure!(
        code == 1 && answer.to_string().contains("more than 16384 users"),
        "{code}: {answer}"
    );
    // The policy in force stays.
    expect(&agent, profile, QUIET, &cases)
}
