//! Jobs by user, and users who are permitted to a SAF resource.

use anyhow::{Result, ensure};

use crate::{
    actors::become_caller::NO_USER_NAMESPACE,
    ensure_eq,
    harness::{
        Binder, Caller, Case, NOBODY, Sandbox, Settings,
        expect::{expect, expect_at_once, judge_with},
        skip, tcp,
    },
    tests,
};

tests![
    the_effective_user_is_the_job,
    names_and_numbers_of_users,
    root_of_a_user_namespace_is_not_root,
    permitted_by_user,
    permitted_by_effective_group,
    permitted_by_any_supplementary_group,
    as_many_groups_as_are_looked_at,
    root_must_be_permitted_too,
    without_a_covering_profile_nobody_is_permitted,
    the_job_must_be_right_as_well,
    as_many_permits_as_there_may_be,
    a_reload_changes_who_is_permitted,
];

const LOUD: Settings = Settings::DEFAULT.report_all();
const QUIET: Settings = Settings::DEFAULT;
const NO_PERMIT: &str = "no-permit";

/// A user in a namespace of its own, if the host allows it.
fn with_own_users(s: &Sandbox, name: &str, uid: u32) -> Result<Caller> {
    let caller = s.caller(name).root_of_its_own(uid);
    if let Err(error) = Binder::attempt(&caller, &tcp(0)) {
        let reason = error.to_string();
        ensure!(reason.contains(NO_USER_NAMESPACE), "{reason}");
        return Err(skip(reason));
    }
    Ok(caller)
}

/// `PRT-39`: neither the real user nor the saved one.
fn the_effective_user_is_the_job(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 21 TCP FTPD1\n 4321 TCP FTPD1\n";
    let (low, high) = ("21 TCP FTPD1", "4321 TCP FTPD1");
    let config = "[jobs.FTPD1]\nuser = \"1000\"\n";
    let who = |[real, effective, saved]: [u32; 3]| s.caller("any").users(real, effective, saved);
    let mut cases = vec![Case::granted(&who([1000; 3]).job("FTPD1"), tcp(21), low)];
    for users in [[1000, 1000, 1000], [7, 1000, 7], [0, 1000, 0], [1, 1000, 0]] {
        cases.push(Case::permitted(&who(users).job("FTPD1"), tcp(4321), high));
    }
    for users in [
        [1000, 7, 1000],
        [1000, 0, 1000],
        [0, 0, 0],
        [1001; 3],
        [999; 3],
    ] {
        cases.push(Case::other_job(&who(users), tcp(4321), high));
    }
    judge_with(s, profile, LOUD, config, &cases).map(drop)
}

/// Several, by name and by number, which need no account.
fn names_and_numbers_of_users(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4001 TCP ROOTS\n 4002 TCP MANY\n";
    let (roots, many) = ("4001 TCP ROOTS", "4002 TCP MANY");
    let config = "\
[jobs.ROOTS]
user = \"root\"
[jobs.MANY]
user = [\"0\", \"4000000000\", \"1000\", \"65534\"]
";
    let user = |uid| s.caller("any").user(uid);
    let root = user(0).job("ROOTS MANY");
    let of_many = |uid| user(uid).job("MANY");
    let cases = [
        Case::permitted(&root, tcp(4001), roots),
        Case::permitted(&root, tcp(4002), many),
        Case::other_job(&of_many(1000), tcp(4001), roots),
        Case::permitted(&of_many(1000), tcp(4002), many),
        Case::permitted(&of_many(65534), tcp(4002), many),
        Case::permitted(&of_many(4_000_000_000), tcp(4002), many),
        Case::other_job(&user(1), tcp(4002), many),
        Case::other_job(&user(3_999_999_999), tcp(4002), many),
    ];
    judge_with(s, profile, LOUD, config, &cases).map(drop)
}

/// Numbers are the host's, whatever the process calls itself.
fn root_of_a_user_namespace_is_not_root(s: &Sandbox) -> Result<()> {
    let root_inside = with_own_users(s, "any", 1000)?.job("USERS");
    let profile =
        "PORT\n 4001 TCP ROOTS\n 4002 TCP USERS\n 4003 TCP * SAF ROOT\n 4004 TCP * SAF USER\n";
    let config = "\
[jobs.ROOTS]
user = \"0\"
[jobs.USERS]
user = \"1000\"
[servauth.\"EZB.PORTACCESS.*.*.ROOT\"]
permit = [\"0\"]
[servauth.\"EZB.PORTACCESS.*.*.USER\"]
permit = [\"1000\"]
";
    let cases = [
        Case::other_job(&root_inside, tcp(4001), "4001 TCP ROOTS"),
        Case::permitted(&root_inside, tcp(4002), "4002 TCP USERS"),
        Case::refused(&root_inside, tcp(4003), NO_PERMIT, "4003 TCP * SAF ROOT"),
        Case::permitted(&root_inside, tcp(4004), "4004 TCP * SAF USER"),
    ];
    judge_with(s, profile, LOUD, config, &cases).map(drop)
}

/// `SAF-03`, `SAF-08`, `PRT-34`, `PRT-35`: the effective user decides.
fn permitted_by_user(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 21 TCP * SAF FTPDATA\n 4321 TCP * SAF FTPDATA\n";
    let (low, high) = ("21 TCP * SAF FTPDATA", "4321 TCP * SAF FTPDATA");
    let config = "[servauth.\"EZB.PORTACCESS.*.*.FTPDATA\"]\npermit = [\"1000\", \"root\"]\n";
    let who = |[real, effective, saved]: [u32; 3]| {
        let caller = s.caller("any").users(real, effective, saved);
        caller.gids(7, 7, 7)
    };
    let no = |users| Case::refused(&who(users), tcp(4321), NO_PERMIT, high);
    let cases = [
        // A permit is a proof of who it is.
        Case::granted(&who([1000; 3]), tcp(21), low),
        Case::permitted(&who([7, 1000, 7]), tcp(4321), high),
        Case::permitted(&who([0; 3]), tcp(4321), high),
        no([1001; 3]),
        no([1000, 1001, 1000]),
        no([0, NOBODY, 0]),
    ];
    judge_with(s, profile, LOUD, config, &cases).map(drop)
}

/// `SAF-03`, `SAF-08`: so does the effective group, and no number is taken for the
/// other kind.
fn permitted_by_effective_group(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP * SAF FTPDATA\n 4322 TCP * SAF USERS\n";
    let (of_group, of_user) = ("4321 TCP * SAF FTPDATA", "4322 TCP * SAF USERS");
    let config = "\
[servauth.\"EZB.PORTACCESS.*.*.FTPDATA\"]
permit = [\"@1000\"]
[servauth.\"EZB.PORTACCESS.*.*.USERS\"]
permit = [\"1000\"]
";
    let who = |uid, [real, effective, saved]: [u32; 3]| {
        s.caller("any").user(uid).gids(real, effective, saved)
    };
    let cases = [
        Case::permitted(&who(7, [1000; 3]), tcp(4321), of_group),
        Case::permitted(&who(7, [8, 1000, 8]), tcp(4321), of_group),
        Case::permitted(&who(0, [0, 1000, 0]), tcp(4321), of_group),
        Case::refused(&who(7, [1000, 8, 1000]), tcp(4321), NO_PERMIT, of_group),
        Case::refused(&who(1000, [8; 3]), tcp(4321), NO_PERMIT, of_group),
        Case::permitted(&who(1000, [8; 3]), tcp(4322), of_user),
        Case::refused(&who(8, [1000; 3]), tcp(4322), NO_PERMIT, of_user),
    ];
    judge_with(s, profile, LOUD, config, &cases).map(drop)
}

/// `SAF-08`: wherever it stands among the others, which the kernel sorts.
fn permitted_by_any_supplementary_group(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP * SAF FTPDATA\n";
    let entry = "4321 TCP * SAF FTPDATA";
    let config = "[servauth.\"EZB.PORTACCESS.*.*.FTPDATA\"]\npermit = [\"@5000\"]\n";
    s.set_policy_with(profile, QUIET, config)?;
    let agent = s.agent_again()?.start()?;
    for count in [1_u32, 2, 15, 16, 17, 64, 200] {
        let below = 5001 - count..5001;
        let above = 5000..5000 + count;
        let middle = 5000 - count / 2..5000 + count.div_ceil(2);
        for groups in [below, above, middle] {
            let caller = s.caller("any").user(7).groups(groups);
            let cases = [Case::permitted(&caller, tcp(4321), entry)];
            expect(&agent, profile, QUIET, &cases)?;
        }
        for groups in [5001..5001 + count, 5000 - count..5000] {
            let caller = s.caller("any").user(7).groups(groups);
            let cases = [Case::refused(&caller, tcp(4321), NO_PERMIT, entry)];
            expect(&agent, profile, QUIET, &cases)?;
        }
    }
    // Behind the end of the list stands something else, such as zeroes.
    let config = "[servauth.\"EZB.PORTACCESS.*.*.FTPDATA\"]\npermit = [\"@0\"]\n";
    s.set_policy_with(profile, QUIET, config)?;
    ensure_eq!(agent.reload(&[])?.0, 0, "a reload");
    for count in [0, 1, 5, 16, 30] {
        let caller = s.caller("any").user(7).groups(100..100 + count);
        let cases = [Case::refused(&caller, tcp(4321), NO_PERMIT, entry)];
        expect(&agent, profile, QUIET, &cases)?;
    }
    Ok(())
}

/// `SAF-08`: the 1024 groups with the lowest numbers are looked at; more permit
/// nothing.
fn as_many_groups_as_are_looked_at(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP * SAF FTPDATA\n";
    let entry = "4321 TCP * SAF FTPDATA";
    let config = "[servauth.\"EZB.PORTACCESS.*.*.FTPDATA\"]\npermit = [\"@5000\"]\n";
    let with = |groups| s.caller("any").user(7).groups(groups);
    let cases = [
        Case::permitted(&with(3977..5001), tcp(4321), entry),
        Case::permitted(&with(5000..6100), tcp(4321), entry),
        Case::refused(&with(3976..5001), tcp(4321), NO_PERMIT, entry),
        Case::refused(&with(3900..6000), tcp(4321), NO_PERMIT, entry),
    ];
    judge_with(s, profile, LOUD, config, &cases).map(drop)
}

/// `SAF-10`, `SAF-08`, `PRT-40`: uid 0 with every capability is a user like others;
/// `uacc = "read"` is for all.
fn root_must_be_permitted_too(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 21 TCP * SAF CLOSED\n 22 TCP * SAF OPEN\n 23 TCP * SAF EMPTY\n";
    let config = "\
[servauth.\"EZB.PORTACCESS.*.*.CLOSED\"]
permit = [\"1000\"]
[servauth.\"EZB.PORTACCESS.*.*.OPEN\"]
uacc = \"read\"
permit = [\"1000\"]
[servauth.\"EZB.PORTACCESS.*.*.EMPTY\"]
uacc = \"none\"
";
    let root = s.caller("root");
    let cases = [
        Case::refused(&root, tcp(21), NO_PERMIT, "21 TCP * SAF CLOSED"),
        Case::refused(
            &root.clone().user(0),
            tcp(21),
            NO_PERMIT,
            "21 TCP * SAF CLOSED",
        ),
        Case::permitted(&root, tcp(22), "22 TCP * SAF OPEN"),
        Case::refused(&root, tcp(23), NO_PERMIT, "23 TCP * SAF EMPTY"),
    ];
    judge_with(s, profile, QUIET, config, &cases).map(drop)
}

/// `SAF-05`, `SAF-06`, `SAF-09`: a resource that nobody wrote a profile for is
/// nobody's; the closest profile decides, whatever a wider one permits.
fn without_a_covering_profile_nobody_is_permitted(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4001 TCP * SAF BARE\n 4002 TCP * SAF WIDE\n 4003 TCP * SAF WEBX\n";
    let config = "\
sysname = \"HOST1\"
[servauth.\"EZB.PORTACCESS.*.*.W*\"]
permit = [\"1000\"]
[servauth.\"EZB.PORTACCESS.HOST1.*.WEB*\"]
permit = [\"1001\"]
[servauth.\"EZB.PORTACCESS.OTHER.*.BARE\"]
uacc = \"read\"
";
    let user = |uid| s.caller("any").user(uid);
    let (bare, wide, web) = (
        "4001 TCP * SAF BARE",
        "4002 TCP * SAF WIDE",
        "4003 TCP * SAF WEBX",
    );
    let cases = [
        Case::refused(&user(1000), tcp(4001), NO_PERMIT, bare),
        Case::refused(&user(0), tcp(4001), NO_PERMIT, bare),
        Case::permitted(&user(1000), tcp(4002), wide),
        Case::refused(&user(1001), tcp(4002), NO_PERMIT, wide),
        Case::refused(&user(1000), tcp(4003), NO_PERMIT, web),
        Case::permitted(&user(1001), tcp(4003), web),
    ];
    judge_with(s, profile, QUIET, config, &cases).map(drop)
}

/// `PRT-34`: job and user; the wrong job learns nothing of the permits.
fn the_job_must_be_right_as_well(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 21 TCP FTPD1 SAF FTPDATA\n 4321 TCP FTPD1 SAF FTPDATA\n";
    let (low, high) = ("21 TCP FTPD1 SAF FTPDATA", "4321 TCP FTPD1 SAF FTPDATA");
    let config = "[servauth.\"EZB.PORTACCESS.*.*.FTPDATA\"]\npermit = [\"1000\"]\n";
    let who = |name: &str, uid| s.caller(name).user(uid);
    let cases = [
        Case::permitted(&who("ftpd1", 1000), tcp(4321), high),
        Case::granted(&who("ftpd1", 1000), tcp(21), low),
        Case::refused(&who("ftpd1", 1001), tcp(4321), NO_PERMIT, high),
        Case::other_job(&who("sshd", 1000), tcp(4321), high),
        Case::other_job(&who("sshd", 1001), tcp(4321), high),
    ];
    judge_with(s, profile, QUIET, config, &cases).map(drop)
}

/// `SAF-10`: 16 384 permits fit, the first and the last work, and with one more the
/// policy is refused.
fn as_many_permits_as_there_may_be(s: &Sandbox) -> Result<()> {
    const PERMITS: u32 = 16_384;
    let profile = "PORT\n 4001 TCP * SAF USERS\n 4002 TCP * SAF GROUPS\n";
    let (users, groups) = ("4001 TCP * SAF USERS", "4002 TCP * SAF GROUPS");
    let config = |more: u32| {
        let list = |sign: &str, ids: std::ops::RangeInclusive<u32>| {
            let ids: Vec<String> = ids.map(|id| format!("\"{sign}{id}\"")).collect();
            ids.join(",")
        };
        format!(
            "[servauth.\"EZB.PORTACCESS.*.*.USERS\"]\npermit = [{}]\n\
             [servauth.\"EZB.PORTACCESS.*.*.GROUPS\"]\npermit = [{}]\n",
            list("", 1..=PERMITS / 2),
            list("@", 1..=PERMITS / 2 + more)
        )
    };
    s.set_policy_with(profile, QUIET, &config(0))?;
    let agent = s.agent_again()?.start()?;
    let last = PERMITS / 2;
    let user = |uid| s.caller("any").user(uid);
    let group = |gid| s.caller("any").user(0).gids(gid, gid, gid);
    let cases = [
        Case::permitted(&user(1), tcp(4001), users),
        Case::permitted(&user(last), tcp(4001), users),
        Case::refused(&user(last + 1), tcp(4001), NO_PERMIT, users),
        Case::permitted(&group(1), tcp(4002), groups),
        Case::permitted(&group(last), tcp(4002), groups),
        Case::refused(&group(last + 1), tcp(4002), NO_PERMIT, groups),
    ];
    expect(&agent, profile, QUIET, &cases)?;
    s.set_policy_with(profile, QUIET, &config(1))?;
    let (code, answer) = agent.reload(&[])?;
    ensure!(
        code == 1 && answer.to_string().contains("PRV408"),
        "{code}: {answer}"
    );
    expect(&agent, profile, QUIET, &cases)
}

/// `SAF-12`: the next bind is judged by the new permits; what is bound stays. Each
/// refusal says user, job, entry and port.
fn a_reload_changes_who_is_permitted(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP * SAF FTPDATA\n 4322 TCP * SAF FTPDATA\n";
    let (one, two) = ("4321 TCP * SAF FTPDATA", "4322 TCP * SAF FTPDATA");
    let config = |uid| format!("[servauth.\"EZB.PORTACCESS.*.*.FTPDATA\"]\npermit = [\"{uid}\"]\n");
    s.set_policy_with(profile, LOUD, &config(1000))?;
    let agent = s.agent_again()?.start()?;
    for (now, before) in [(1000, 1001), (1001, 1000), (1000, 1001)] {
        s.set_policy_with(profile, LOUD, &config(now))?;
        ensure_eq!(agent.reload(&[])?.0, 0, "a reload");
        let (yes, no) = (s.caller("any").user(now), s.caller("any").user(before));
        let cases = [
            Case::permitted(&yes, tcp(4321), one),
            Case::permitted(&yes, tcp(4322), two),
        ];
        expect_at_once(&agent, profile, LOUD, &cases)?;
        let cases = [
            Case::refused(&no, tcp(4321), NO_PERMIT, one),
            Case::refused(&no, tcp(4322), NO_PERMIT, two),
        ];
        expect_at_once(&agent, profile, LOUD, &cases)?;
    }
    Ok(())
}
