//! Jobs by cgroup: which process is in which, however long its name and however
//! deep it lies.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;

use crate::{
    ensure_eq,
    harness::{
        Binder, Case, NOBODY, Sandbox, Settings, Want,
        expect::{expect, expect_at_once, judge_with},
        host, needs, refusal,
        swarm::{Visit, swarm},
        tcp,
    },
    tests,
};

tests![
    a_cgroup_with_all_below_it_and_none_beside,
    stars_stand_for_characters_of_one_component,
    names_of_every_length,
    every_pattern_finds_what_it_spells,
    deeper_than_any_pattern,
    however_deep,
    the_root_is_nobody,
    a_cgroup_that_has_just_been_made,
    who_moves_is_somebody_else,
    a_thread_is_where_its_process_is,
    a_process_without_its_leader_is_where_it_was,
    a_reload_changes_what_a_cgroup_is,
    more_cgroups_than_are_remembered,
    a_thousand_jobs_by_cgroup,
];

const LOUD: Settings = Settings::DEFAULT.report_all();
const QUIET: Settings = Settings::DEFAULT;
fn not_allowed() -> Result<(), Errno> {
    Err(refusal())
}

/// The definition of `job` by cgroups below the sandbox's.
fn by_cgroup(s: &Sandbox, job: &str, patterns: &[&str]) -> String {
    let root = s.cgroup_name();
    let patterns: Vec<String> = patterns
        .iter()
        .map(|pattern| format!("\"{root}/{pattern}\""))
        .collect();
    format!("[jobs.{job}]\ncgroup = [{}]\n", patterns.join(", "))
}

/// The job of an entry that says nothing behind it.
fn job_of(entry: &str) -> &str {
    entry.rsplit(' ').next().unwrap_or_default()
}

/// `PRT-02`, `PRT-39`: by cgroup a job is proven: its reservation is all it needs.
/// Its own cgroup or any above counts; a name that only begins alike doesn't, nor
/// the same name elsewhere.
fn a_cgroup_with_all_below_it_and_none_beside(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 21 TCP WEB\n 4321 TCP WEB\n";
    let config = by_cgroup(s, "WEB", &["web.service", "also/here"]);
    let (low, high) = ("21 TCP WEB", "4321 TCP WEB");
    let mut cases = Vec::new();
    for inside in [
        "web.service",
        "web.service/a",
        "web.service/a/b/c",
        "also/here",
    ] {
        let caller = s.caller("httpd").cgroup(s.cgroup_below(inside)?);
        let caller = caller.job("WEB");
        cases.push(Case::permitted(&caller, tcp(4321), high));
        cases.push(Case::granted(&caller.user(NOBODY), tcp(21), low));
    }
    for outside in [
        "web.servic",
        "web.service2",
        "WEB.service",
        "also",
        "also/here2",
        "elsewhere/web.service",
        "",
    ] {
        let caller = s.caller("httpd").cgroup(s.cgroup_below(outside)?);
        cases.push(Case::other_job(&caller, tcp(4321), high));
        cases.push(Case::other_job(&caller, tcp(21), low));
    }
    judge_with(s, profile, LOUD, &config, &cases).map(drop)
}

/// In front, behind, inside, several, alone; never across a `/`.
fn stars_stand_for_characters_of_one_component(s: &Sandbox) -> Result<()> {
    let profile = "\
PORT
  4001 TCP FRONT
  4002 TCP BEHIND
  4003 TCP INSIDE
  4004 TCP WHOLE
  4005 TCP SEVERAL
";
    let mut config = by_cgroup(s, "FRONT", &["*.service"]);
    config += &by_cgroup(s, "BEHIND", &["app-*"]);
    config += &by_cgroup(s, "INSIDE", &["docker-*.scope"]);
    config += &by_cgroup(s, "WHOLE", &["pods/*/main"]);
    config += &by_cgroup(s, "SEVERAL", &["a*b*c", "x/*y*/z"]);
    let entries = [
        "4001 TCP FRONT",
        "4002 TCP BEHIND",
        "4003 TCP INSIDE",
        "4004 TCP WHOLE",
        "4005 TCP SEVERAL",
    ];
    // A cgroup, and the one entry that is for it.
    let cgroups = [
        ("web.service", Some(0)),
        (".service", Some(0)),
        ("web.service/deeper", Some(0)),
        ("web.service.d", None),
        ("sub/web.service", None),
        ("app-", Some(1)),
        ("app-x", Some(1)),
        ("app", None),
        ("xapp-", None),
        ("docker-.scope", Some(2)),
        ("docker-0123.scope", Some(2)),
        ("docker-0123.scop", None),
        ("docker-.scope.scope", Some(2)),
        ("docker-scope", None),
        ("pods/7/main", Some(3)),
        ("pods/7/side", None),
        ("pods/7", None),
        ("pods/main", None),
        ("pods/7/8/main", None),
        ("abc", Some(4)),
        ("aXbYbc", Some(4)),
        ("acb", None),
        ("ab/c", None),
        ("x/y/z", Some(4)),
        ("x/1y2/z/below", Some(4)),
        ("x/1/z", None),
    ];
    s.set_policy_with(profile, QUIET, &config)?;
    let agent = s.agent_again()?.start()?;
    for (cgroup, meant) in cgroups {
        let mut caller = s.caller("any").cgroup(s.cgroup_below(cgroup)?);
        if let Some(index) = meant {
            caller = caller.job(job_of(entries[index]));
        }
        let case = |(index, entry)| {
            let want = tcp(4001 + index as u16);
            match meant == Some(index) {
                true => Case::permitted(&caller, want, entry),
                false => Case::other_job(&caller, want, entry),
            }
        };
        let cases: Vec<Case<'_>> = entries.into_iter().enumerate().map(case).collect();
        expect_at_once(&agent, profile, QUIET, &cases)?;
    }
    Ok(())
}

/// A name of `length` bytes.
fn long(length: usize) -> String {
    (0..length)
        .map(|at| char::from(b'a' + (at % 23) as u8))
        .collect()
}

/// Names are compared piece by piece: every length about the edges of the pieces,
/// up to the longest there is, as a name and before and behind a `*`.
fn names_of_every_length(s: &Sandbox) -> Result<()> {
    const LENGTHS: [usize; 14] = [
        1, 2, 54, 55, 56, 109, 110, 111, 165, 166, 200, 220, 254, 255,
    ];
    let (mut profile, mut config) = (String::from("PORT\n"), String::new());
    let mut visits = Vec::new();
    let mut expected = Vec::new();
    for (index, length) in (0..).zip(LENGTHS) {
        let name = long(length);
        let patterns = [
            format!("exact/{name}"),
            format!("front/{}*", &name[..length - 1]),
            format!("back/*{}", &name[1..]),
        ];
        let mut changed = name.clone().into_bytes();
        changed[length - 1] = b'-';
        let changed = String::from_utf8(changed)?;
        let mut first = name.clone().into_bytes();
        first[0] = b'-';
        let first = String::from_utf8(first)?;
        let mut names = vec![name.clone(), changed.clone(), first.clone()];
        if length > 1 {
            names.push(name[..length - 1].to_owned());
        }
        if length < 255 {
            names.push(format!("{name}-"));
        }
        for (kind, pattern) in (0..).zip(&patterns) {
            let port = 4000 + 10 * index + kind;
            writeln!(profile, " {port} TCP L{port}")?;
            config += &by_cgroup(s, &format!("L{port}"), &[pattern]);
            let folder = pattern.split('/').next().unwrap_or_default();
            for name in &names {
                visits.push(Visit {
                    cgroup: s.cgroup_below(&format!("{folder}/{name}"))?,
                    is_fresh: false,
                    wants: vec![tcp(port)],
                });
                expected.push(covers(pattern, &format!("{folder}/{name}")));
            }
        }
    }
    s.set_policy_with(&profile, QUIET, &config)?;
    let _agent = s.agent_again()?.start()?;
    let found = swarm(s, &s.caller("any"), &visits)?;
    ensure_eq!(
        expected.iter().filter(|is| **is).count() > 50,
        true,
        "few match"
    );
    for ((visit, found), expected) in visits.iter().zip(found).zip(expected) {
        let is_permitted = found == [Ok(())];
        ensure!(
            is_permitted == expected && (is_permitted || found == [not_allowed()]),
            "{found:?} instead of {expected} for port {} in {}",
            visit.wants[0].port,
            visit.cgroup.display()
        );
    }
    Ok(())
}

/// Whether `pattern` covers the cgroup `path`: slow and obvious.
fn covers(pattern: &str, path: &str) -> bool {
    fn spells(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], name) => name.is_empty(),
            ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| spells(rest, &name[at..])),
            ([first, rest @ ..], [byte, name @ ..]) => first == byte && spells(rest, name),
            ([_, ..], []) => false,
        }
    }
    let mut path = path.split('/');
    pattern.split('/').all(|pattern| {
        path.next()
            .is_some_and(|name| spells(pattern.as_bytes(), name.as_bytes()))
    })
}

/// Overlapping patterns and names, each the definition of a job of its own: every
/// cgroup is every job whose pattern spells it or one above it, and no other.
fn every_pattern_finds_what_it_spells(s: &Sandbox) -> Result<()> {
    const COMPONENTS: [&str; 9] = ["a", "b", "ab", "aab", "*", "a*", "*b", "*a*", "a*b"];
    const NAMES: [&str; 7] = ["a", "b", "ab", "aab", "ba", "aba", "c"];
    let mut patterns = Vec::new();
    for (index, first) in COMPONENTS.iter().enumerate() {
        patterns.push((*first).to_owned());
        for (step, second) in COMPONENTS.iter().enumerate() {
            // A part of all pairs, in which each component meets several others.
            if (index + 2 * step) % 4 == 0 {
                patterns.push(format!("{first}/{second}"));
                patterns.push(format!(
                    "{first}/{second}/{}",
                    COMPONENTS[(index + step) % 9]
                ));
            }
        }
    }
    patterns.dedup();
    // Alone below the sandbox's cgroup, it would mean all of it.
    let patterns: Vec<String> = patterns.iter().map(|one| format!("t/{one}")).collect();
    let (mut profile, mut config) = (String::from("PORT\n"), String::new());
    let mut wants: Vec<Want> = Vec::new();
    for (port, pattern) in (4000..).zip(&patterns) {
        writeln!(profile, " {port} TCP P{port}")?;
        config += &by_cgroup(s, &format!("P{port}"), &[pattern]);
        wants.push(tcp(port));
    }
    let mut paths = vec!["t".to_owned()];
    for first in NAMES {
        paths.push(format!("t/{first}"));
        for second in NAMES {
            paths.push(format!("t/{first}/{second}"));
            paths.push(format!("t/{first}/{second}/a"));
            paths.push(format!("t/{first}/{second}/ab/b/c"));
        }
    }
    let visit = |path: &String| {
        Ok(Visit {
            cgroup: s.cgroup_below(path)?,
            is_fresh: false,
            wants: wants.clone(),
        })
    };
    let visits: Vec<Visit> = paths.iter().map(visit).collect::<Result<_>>()?;
    s.set_policy_with(&profile, QUIET, &config)?;
    let agent = s.agent_again()?.start()?;
    let found = swarm(s, &s.caller("any"), &visits)?;
    let (mut permitted, mut refused) = (0u64, 0u64);
    for (path, found) in paths.iter().zip(found) {
        for (pattern, found) in patterns.iter().zip(found) {
            let is_meant = covers(pattern, path);
            let expected = if is_meant { Ok(()) } else { not_allowed() };
            ensure_eq!(
                found,
                expected,
                "the pattern {pattern} and the cgroup {path}"
            );
            *if is_meant {
                &mut permitted
            } else {
                &mut refused
            } += 1;
        }
    }
    ensure!(permitted > 1000 && refused > 1000, "{permitted}, {refused}");
    let counters = &agent.status()?["counters"];
    ensure_eq!(counters["permitted"], permitted, "{counters}");
    ensure_eq!(counters["other-job"], refused, "{counters}");
    Ok(())
}

/// A path of `depth` components below the sandbox's cgroup.
fn deep(first: &str, depth: usize) -> String {
    let mut path = first.to_owned();
    for level in 2..=depth {
        let _ = write!(path, "/l{level}");
    }
    path
}

/// The longest pattern has 32 components; what is below the last one is meant too,
/// 40 levels deep and more.
fn deeper_than_any_pattern(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4001 TCP SHORT\n 4002 TCP LONG\n 4003 TCP STAR\n";
    // The sandbox's own cgroup is the first component.
    let mut config = by_cgroup(s, "SHORT", &["top"]);
    config += &by_cgroup(s, "LONG", &[&deep("top", 31)]);
    let star = deep("top", 31).replace("/l20/", "/l*/");
    config += &by_cgroup(s, "STAR", &[&star]);
    let entries = ["4001 TCP SHORT", "4002 TCP LONG", "4003 TCP STAR"];
    s.set_policy_with(profile, LOUD, &config)?;
    let agent = s.agent_again()?.start()?;
    let other = format!("{}/l32", deep("top", 31).replace("/l20/", "/lx/"));
    let cgroups = [
        (deep("top", 2), [true, false, false]),
        (deep("top", 30), [true, false, false]),
        (deep("top", 31), [true; 3]),
        (deep("top", 32), [true; 3]),
        (deep("top", 40), [true; 3]),
        (other, [true, false, true]),
        (deep("top2", 40), [false; 3]),
    ];
    for (cgroup, meant) in cgroups {
        let jobs: Vec<&str> = entries
            .into_iter()
            .zip(meant)
            .filter_map(|(entry, is_meant)| is_meant.then_some(job_of(entry)))
            .collect();
        let mut caller = s.caller("any").cgroup(s.cgroup_below(&cgroup)?);
        if !jobs.is_empty() {
            caller = caller.job(&jobs.join(" "));
        }
        let case = |((port, entry), is_meant)| match is_meant {
            true => Case::permitted(&caller, tcp(port), entry),
            false => Case::other_job(&caller, tcp(port), entry),
        };
        let cases: Vec<Case<'_>> = (4001..).zip(entries).zip(meant).map(case).collect();
        expect_at_once(&agent, profile, LOUD, &cases)?;
    }
    // A pattern with a component more is refused.
    s.set_policy_with(profile, LOUD, &by_cgroup(s, "LONG", &[&deep("top", 32)]))?;
    let (code, answer) = agent.reload(&[])?;
    ensure!(
        code == 1 && answer.to_string().contains("at most 32 components"),
        "{code}: {answer}"
    );
    Ok(())
}

/// A cgroup is told however deep it is. On kernels where each knows only the next one
/// above it there is an end to that, behind which nobody can be told and is refused.
fn however_deep(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4001 TCP SHORT\n 4002 TCP ANY\n";
    let entries = ["4001 TCP SHORT", "4002 TCP ANY"];
    s.set_policy_with(profile, LOUD, &by_cgroup(s, "SHORT", &["top"]))?;
    let agent = s.agent_again()?.start()?;
    let (_, release) = needs::running()?;
    for (levels, is_told) in [(63, true), (64, release >= (6, 1))] {
        let cgroup = s.cgroup_below(&deep("top", levels))?;
        let caller = s.caller("any").cgroup(cgroup).job("SHORT");
        let cases = match is_told {
            true => [
                Case::permitted(&caller, tcp(4001), entries[0]),
                Case::other_job(&caller, tcp(4002), entries[1]),
            ],
            false => [0, 1].map(|at| {
                let want = tcp(4001 + at);
                Case::refused(&caller, want, "no-identity", entries[usize::from(at)])
            }),
        };
        expect_at_once(&agent, profile, LOUD, &cases)?;
    }
    Ok(())
}

/// Who is in the root itself is in no cgroup that could be named, and so is its
/// name. The socket is one of ours: whose programs run is decided where it is made.
fn the_root_is_nobody(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP MINE\n 4322 TCP ANYNAME\n";
    s.set_policy_with(profile, QUIET, &by_cgroup(s, "MINE", &["*"]))?;
    let agent = s.agent_again()?.start()?;
    let caller = s.caller("anyname").cgroup(s.cgroup_below("some")?);
    let root = host::cgroup2()?;
    let wants = [
        (tcp(4321), Ok(())),
        (tcp(4322), not_allowed()),
        (tcp(4321).from(root), not_allowed()),
        (tcp(4322).from(root), Ok(())),
    ];
    for (want, expected) in wants {
        let found = Binder::attempt(&caller, &want)?;
        ensure_eq!(found, expected, "{want} from {:?}", want.from);
    }
    let counters = &agent.status()?["counters"];
    ensure_eq!(counters["permitted"], 2, "{counters}");
    ensure_eq!(counters["other-job"], 2, "{counters}");
    Ok(())
}

/// No race with user space: a cgroup is known in its first millisecond. One that is
/// removed and made again by the same name is another cgroup and the same job.
fn a_cgroup_that_has_just_been_made(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP RIGHT\n 4322 TCP WRONG\n";
    let config = by_cgroup(s, "RIGHT", &["right-*"]) + &by_cgroup(s, "WRONG", &["wrong-*"]);
    s.set_policy_with(profile, QUIET, &config)?;
    let agent = s.agent_again()?.start()?;
    let names = [
        "right-1", "wrong-1", "right-2", "right-1", "neither", "right-1",
    ];
    let visits: Vec<Visit> = names
        .iter()
        .cycle()
        .take(600)
        .map(|name| Visit {
            cgroup: s.cgroup.join(name),
            is_fresh: true,
            wants: vec![tcp(4321), tcp(4322)],
        })
        .collect();
    let found = swarm(s, &s.caller("any"), &visits)?;
    for (visit, found) in visits.iter().zip(found) {
        let name = visit.cgroup.file_name().context("no name")?;
        let expected = match name.to_str().and_then(|name| name.split('-').next()) {
            Some("right") => [Ok(()), not_allowed()],
            Some("wrong") => [not_allowed(), Ok(())],
            _ => [not_allowed(); 2],
        };
        ensure_eq!(found, expected, "{}", visit.cgroup.display());
    }
    let counters = &agent.status()?["counters"];
    ensure_eq!(counters["permitted"], 500, "{counters}");
    ensure_eq!(counters["other-job"], 700, "{counters}");
    Ok(())
}

/// Who moves is at its next bind what it is then.
fn who_moves_is_somebody_else(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4001 TCP ONE\n 4002 TCP TWO\n";
    let config = by_cgroup(s, "ONE", &["one"]) + &by_cgroup(s, "TWO", &["two"]);
    let (one, two) = (s.cgroup_below("one")?, s.cgroup_below("two/below")?);
    s.set_policy_with(profile, QUIET, &config)?;
    let agent = s.agent_again()?.start()?;
    let moves = [
        (tcp(4001), Ok(())),
        (tcp(4002), not_allowed()),
        (tcp(4001).from(&two), not_allowed()),
        (tcp(4002), Ok(())),
        (tcp(4003).from(&s.cgroup), Ok(())),
        (tcp(4002), not_allowed()),
        (tcp(4001).from(&one), Err(Errno::EADDRINUSE)),
        (tcp(4002), not_allowed()),
    ];
    let (wants, expected): (Vec<Want>, Vec<_>) = moves.into_iter().unzip();
    let binder = Binder::start(&s.caller("any").cgroup(&one), &wants)?;
    ensure_eq!(binder.results, expected, "on the move");
    let counters = &agent.status()?["counters"];
    ensure_eq!(counters["permitted"], 3, "{counters}");
    ensure_eq!(counters["other-job"], 4, "{counters}");
    Ok(())
}

/// A thread in a threaded cgroup is still its process, which is in the domain above;
/// it can't make itself another job, nor lose its own.
fn a_thread_is_where_its_process_is(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4001 TCP DOMAIN\n 4002 TCP INNER\n 4003 TCP WORKER\n";
    let mut config = by_cgroup(s, "DOMAIN", &["domain"]);
    config += &by_cgroup(s, "INNER", &["domain/inner"]);
    config += &by_cgroup(s, "WORKER", &["plain/worker"]);
    let entries = ["4001 TCP DOMAIN", "4002 TCP INNER", "4003 TCP WORKER"];
    s.set_policy_with(profile, LOUD, &config)?;
    let agent = s.agent_again()?.start()?;
    for (domain, threaded, meant) in [
        ("domain", "domain/inner", [true, false, false]),
        ("plain", "plain/worker", [false; 3]),
    ] {
        let domain = s.cgroup_below(domain)?;
        let threaded = s.cgroup_below(threaded)?;
        fs::write(threaded.join("cgroup.type"), "threaded")?;
        let mut caller = s.caller("any").cgroup(&domain).thread("worker");
        if meant[0] {
            caller = caller.job("DOMAIN");
        }
        for caller in [caller.clone(), caller.thread_cgroup(&threaded)] {
            let case = |((port, entry), is_meant)| match is_meant {
                true => Case::permitted(&caller, tcp(port), entry),
                false => Case::other_job(&caller, tcp(port), entry),
            };
            let cases: Vec<Case<'_>> = (4001..).zip(entries).zip(meant).map(case).collect();
            expect_at_once(&agent, profile, LOUD, &cases)?;
        }
    }
    Ok(())
}

/// When the thread that began a process has ended, the others are what it was.
fn a_process_without_its_leader_is_where_it_was(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4321 TCP RIGHT\n";
    let entry = "4321 TCP RIGHT";
    let config = by_cgroup(s, "RIGHT", &["right"]);
    let caller = |cgroup: &str| -> Result<_> {
        let cgroup = s.cgroup_below(cgroup)?;
        Ok(s.caller("main").cgroup(cgroup).survivor("right"))
    };
    let cases = [
        Case::permitted(&caller("right")?.job("RIGHT"), tcp(4321), entry),
        Case::other_job(&caller("wrong")?, tcp(4321), entry),
    ];
    judge_with(s, profile, LOUD, &config, &cases).map(drop)
}

/// What is remembered of a cgroup is of one policy: the next one judges it anew, at
/// once, in both directions, and one without definitions too.
fn a_reload_changes_what_a_cgroup_is(s: &Sandbox) -> Result<()> {
    let profile = "PORT\n 4001 TCP ONE\n 4002 TCP TWO\n";
    let (first, second) = ("4001 TCP ONE", "4002 TCP TWO");
    let (a, b) = (s.cgroup_below("a")?, s.cgroup_below("b")?);
    let policy = |one: &str, two: &str| by_cgroup(s, "ONE", &[one]) + &by_cgroup(s, "TWO", &[two]);
    s.set_policy_with(profile, QUIET, &policy("a", "b"))?;
    let agent = s.agent_again()?.start()?;
    let (a, b) = (s.caller("one").cgroup(a), s.caller("two").cgroup(b));
    for round in 0..6 {
        let (in_a, in_b, config) = match round % 3 {
            0 => (0, 1, policy("a", "b")),
            1 => (1, 0, policy("b", "a")),
            // Now they are their names.
            _ => (0, 1, String::new()),
        };
        if round > 0 {
            s.set_policy_with(profile, QUIET, &config)?;
            let (code, answer) = agent.reload(&[])?;
            ensure_eq!(code, 0, "{answer}");
        }
        for (caller, meant) in [(&a, in_a), (&b, in_b)] {
            let caller = caller.clone().job(["ONE", "TWO"][meant]);
            let case = |(index, entry)| {
                let want = tcp(4001 + index as u16);
                match meant == index {
                    true => Case::permitted(&caller, want, entry),
                    false => Case::other_job(&caller, want, entry),
                }
            };
            let cases = [first, second].into_iter().enumerate().map(case);
            let cases: Vec<Case<'_>> = cases.collect();
            expect(&agent, profile, QUIET, &cases)?;
        }
    }
    Ok(())
}

/// The classes of 8192 cgroups are remembered. With more, the answers stay right.
fn more_cgroups_than_are_remembered(s: &Sandbox) -> Result<()> {
    const CGROUPS: usize = 9000;
    let profile = "PORT\n 4321 TCP EVEN\n";
    s.set_policy_with(profile, QUIET, &by_cgroup(s, "EVEN", &["even-*"]))?;
    let agent = s.agent_again()?.start()?;
    let name = |number: usize| match number % 2 {
        0 => format!("even-{number}"),
        _ => format!("odd-{number}"),
    };
    let visit = |number| {
        Ok(Visit {
            cgroup: s.cgroup_below(&name(number))?,
            is_fresh: false,
            wants: vec![tcp(4321)],
        })
    };
    let visits: Vec<Visit> = (0..CGROUPS).map(visit).collect::<Result<_>>()?;
    // In the second round some are remembered and some not.
    for _ in 0..2 {
        for part in visits.chunks(1000) {
            let found = swarm(s, &s.caller("any"), part)?;
            for (visit, found) in part.iter().zip(found) {
                let is_even = visit.cgroup.to_string_lossy().contains("even-");
                let expected = [if is_even { Ok(()) } else { not_allowed() }];
                ensure_eq!(found, expected, "{}", visit.cgroup.display());
            }
        }
    }
    let counters = &agent.status()?["counters"];
    ensure_eq!(counters["permitted"], CGROUPS, "{counters}");
    ensure_eq!(counters["other-job"], CGROUPS, "{counters}");
    Ok(())
}

/// As many services as a host could have, and more, each with a port of its own.
fn a_thousand_jobs_by_cgroup(s: &Sandbox) -> Result<()> {
    const JOBS: u16 = 1000;
    let (mut profile, mut config) = (String::from("PORT\n"), String::new());
    for number in 0..JOBS {
        writeln!(profile, " {} TCP SVC{number}", 4000 + number)?;
        let pattern = match number % 10 {
            9 => format!("svc-{number}-*.scope"),
            _ => format!("system.slice/svc-{number}.service"),
        };
        config += &by_cgroup(s, &format!("SVC{number}"), &[&pattern]);
    }
    s.set_policy_with(&profile, QUIET, &config)?;
    let _agent = s.agent_again()?.start()?;
    let mut visits = Vec::new();
    let mut expected = Vec::new();
    for step in 0..50 {
        let number = (step * 211 + 9 * (step % 2)) % JOBS;
        let cgroup = match number % 10 {
            9 => format!("svc-{number}-{step}.scope/payload"),
            _ => format!("system.slice/svc-{number}.service"),
        };
        let beside = (number + 1) % JOBS;
        visits.push(Visit {
            cgroup: s.cgroup_below(&cgroup)?,
            is_fresh: false,
            wants: vec![tcp(4000 + number), tcp(4000 + beside)],
        });
        expected.push([Ok(()), not_allowed()]);
    }
    let found = swarm(s, &s.caller("any"), &visits)?;
    for ((visit, found), expected) in visits.iter().zip(found).zip(expected) {
        ensure_eq!(found, expected, "{}", visit.cgroup.display());
    }
    Ok(())
}
