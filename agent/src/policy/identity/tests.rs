//! The tables against the definitions: what they say of a process, walked as the
//! programs walk them, is what the definitions say of it.

use std::{collections::HashMap, time::Instant};

use portreeve_common::{
    abi::jobs::{Automaton, CHUNK_CHARS, Classes, Facts, MAX_CHUNKS, Place},
    identity::{
        CgroupPath, FIRST_ROW, JobTables, cgroup_class, class_of_row, is_job, next_row, place,
    },
    jobname::NAME_LEN,
};
use proptest::{prelude::*, sample::select};

use super::{
    cgroups::chunk,
    exes::{FixedInodes, Presence},
    *,
};
use crate::{
    config,
    diagnostics::{Severity, Sources},
    policy::{
        accounts::FixedAccounts,
        jobs::{Caller, JobId},
    },
};

/// The tables as maps, with keys of the half that is published.
struct Maps {
    rules: JobRules,
    words: Vec<u64>,
    steps: HashMap<StepKey, Step>,
    wild: HashMap<WildKey, Step>,
    exes: HashMap<ExeKey, u32>,
    users: HashMap<UserKey, u32>,
    identities: HashMap<IdentityKey, u32>,
    places: HashMap<PlaceKey, u32>,
}

impl From<JobImage> for Maps {
    fn from(image: JobImage) -> Self {
        fn map<K: Copy + Eq + std::hash::Hash, V: Copy>(pairs: &[(K, V)]) -> HashMap<K, V> {
            let map: HashMap<K, V> = pairs.iter().copied().collect();
            assert_eq!(map.len(), pairs.len(), "a key stands twice");
            map
        }
        Self {
            rules: image.rules,
            words: image.words,
            steps: map(&image.steps),
            wild: map(&image.wild),
            exes: map(&image.exes),
            users: map(&image.users),
            identities: map(&image.identities),
            places: map(&image.places),
        }
    }
}

impl JobTables for Maps {
    fn half(&self) -> u32 {
        0
    }

    fn step(&self, key: &StepKey) -> Option<Step> {
        self.steps.get(key).copied()
    }

    fn wild_step(&self, key: &WildKey) -> Option<Step> {
        self.wild.get(key).copied()
    }

    fn words(&self, index: u32) -> Option<u64> {
        self.words.get(index as usize).copied()
    }

    fn identity(&self, key: &IdentityKey) -> u32 {
        self.identities.get(key).copied().unwrap_or(0)
    }

    fn place(&self, key: &PlaceKey) -> Option<u32> {
        self.places.get(key).copied()
    }
}

impl Maps {
    /// The class of `text`, padded with NULs to `length`.
    fn class(&self, automaton: Automaton, text: &[u8], length: usize) -> u32 {
        if automaton.width == 0 {
            return 0;
        }
        let padding = std::iter::repeat_n(&0, length - text.len());
        let row = text
            .iter()
            .chain(padding)
            .fold(FIRST_ROW, |row, byte| next_row(automaton, self, row, *byte));
        class_of_row(automaton, self, row)
    }

    fn classes(&self, caller: &Caller, inodes: &FixedInodes) -> Classes {
        let path = caller.cgroup.as_deref().unwrap_or_default();
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let cgroup = Cgroup { names, maps: self };
        let exe = caller.exe.as_deref().and_then(|exe| {
            let (_, inode) = inodes.0.iter().find(|(path, _)| path == exe)?;
            self.exes.get(&exe_key(*inode)).copied()
        });
        let comm = Name::new(caller.comm.as_deref().unwrap_or_default()).unwrap();
        let user = caller
            .uid
            .and_then(|uid| self.users.get(&UserKey { half: 0, uid }));
        Classes {
            cgroup: cgroup_class(self.rules.start, self, &cgroup).unwrap(),
            exe: exe.unwrap_or(0),
            comm: self.class(self.rules.comm, &comm.bytes(), NAME_LEN),
            user: user.copied().unwrap_or(0),
        }
    }
}

struct Cgroup<'a> {
    names: Vec<&'a str>,
    maps: &'a Maps,
}

impl<'a> CgroupPath for Cgroup<'a> {
    type Name = &'a str;

    fn depth(&self) -> u32 {
        self.names.len() as u32
    }

    fn name(&self, level: u32) -> Option<&'a str> {
        self.names.get(level as usize - 1).copied()
    }

    fn read(name: &'a str, index: u32, key: &mut StepKey) -> bool {
        assert!(index < MAX_CHUNKS);
        let parts = name.as_bytes().chunks(CHUNK_CHARS).chain([&[][..]]);
        key.chunk = chunk(parts.into_iter().nth(index as usize).unwrap());
        true
    }

    fn class(&self, name: &'a str) -> Option<u32> {
        Some(
            self.maps
                .class(self.maps.rules.component, name.as_bytes(), 256),
        )
    }
}

/// Jobs of a config, and lists of which jobs each entry covers.
fn compiled(
    text: &str,
    lists: &[Vec<Vec<u32>>],
    inodes: &dyn Inodes,
) -> (Jobs, JobLists, JobImage, Vec<Code>) {
    let (mut sources, mut diagnostics) = (Sources::new(), Diagnostics::new());
    let config = config::parse(Path::new("c"), text, &mut sources, &mut diagnostics);
    let config = config.unwrap_or_else(|| {
        panic!(
            "{text}\n{}",
            crate::diagnostics::render::all(&diagnostics, &sources, false)
        )
    });
    let jobs = Jobs::new(&config.jobs, &FixedAccounts::default(), &mut diagnostics);
    let mut known = JobLists::default();
    let count = jobs.iter().count() as u32;
    for list in lists {
        let covered: Vec<Vec<JobId>> = list
            .iter()
            .map(|jobs| {
                let ids = jobs.iter().filter(|job| **job < count);
                ids.map(|job| JobId::from_index(*job)).collect()
            })
            .collect();
        known.number(covered.iter().map(Vec::as_slice));
    }
    let image = JobImage::new(&jobs, &known, inodes, &mut diagnostics);
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error);
    let codes = errors.map(|d| d.code).collect();
    (jobs, known, image, codes)
}

/// Holds the tables against the definitions for `callers`.
fn compare(
    text: &str,
    lists: &[Vec<Vec<u32>>],
    callers: &[Caller],
) -> Result<usize, TestCaseError> {
    let inodes = inodes();
    let (jobs, lists, image, errors) = compiled(text, lists, &inodes);
    prop_assert_eq!(errors, vec![], "{}", text);
    let maps = Maps::from(image);
    let mut found_jobs = 0;
    for caller in callers {
        let found = jobs.of(caller);
        found_jobs += usize::from(!found.is_empty());
        let classes = maps.classes(caller, &inodes);
        let signatures = maps.rules.signatures;
        let facts = maps.rules.facts;
        prop_assert_eq!(
            classes,
            classes.only(facts),
            "classes of facts that nobody asks for"
        );
        let is = is_job(signatures, classes, &maps);
        prop_assert_eq!(
            is,
            !found.is_empty(),
            "{:?}\n{:?}\n{}",
            caller,
            classes,
            text
        );
        for list in 0..=lists.iter().count() as u32 {
            let direct = found
                .iter()
                .filter_map(|job| Some(Place::new(lists.offset(list, job.id)?, job.proven)))
                .fold(Place::NONE, Place::or);
            let by_tables = place(signatures, classes, list, &maps);
            prop_assert_eq!(by_tables, direct, "list {} {:?}\n{}", list, caller, text);
        }
    }
    Ok(found_jobs)
}

/// Some paths lead to one file, and one path led to another file before.
fn inodes() -> FixedInodes {
    let inode = |inode, generation| Inode {
        device: 0x80_0001,
        inode,
        generation,
    };
    FixedInodes(
        [
            ("/x", inode(1, 0)),
            ("/x/link", inode(2, 0)),
            ("/y", inode(2, 7)),
            ("/z", inode(u64::MAX, 1)),
            ("/z", inode(2, 9)),
        ]
        .into_iter()
        .map(|(path, inode)| (path.into(), inode))
        .collect(),
    )
}

/// Names where chunks end and begin; only their lengths and last bytes differ.
fn long_names() -> Vec<String> {
    [
        CHUNK_CHARS - 1,
        CHUNK_CHARS,
        CHUNK_CHARS + 1,
        2 * CHUNK_CHARS - 1,
        2 * CHUNK_CHARS,
        2 * CHUNK_CHARS + 1,
        4 * CHUNK_CHARS,
        254,
        255,
    ]
    .into_iter()
    .flat_map(|length| ["a", "b"].map(|end| "a".repeat(length - 1) + end))
    .collect()
}

fn component() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[ab]{1,3}",
        1 => select(long_names()),
    ]
}

fn cgroup_pattern() -> impl Strategy<Value = String> {
    let glob = prop_oneof![
        4 => "[ab*]{1,4}",
        1 => select(long_names()).prop_map(|name| format!("*{}", &name[5..])),
        1 => select(long_names()).prop_map(|name| format!("{}*b", &name[..name.len() / 2])),
        1 => Just("\u{e9}*".to_owned()),
    ];
    let part = prop_oneof![3 => component(), 3 => glob, 1 => Just("*".to_owned())];
    proptest::collection::vec(part, 1..4)
        .prop_map(|parts| {
            let parts: Vec<String> = parts.iter().map(|part| squeezed(part)).collect();
            format!("/{}", parts.join("/"))
        })
        .prop_filter("it says nothing", |path| {
            !path.split('/').all(|part| matches!(part, "" | "*"))
        })
}

fn squeezed(pattern: &str) -> String {
    let mut pattern = pattern.to_owned();
    while pattern.contains("**") {
        pattern = pattern.replace("**", "*");
    }
    pattern
}

fn alternative() -> impl Strategy<Value = String> {
    fn list(
        key: &'static str,
        values: impl Strategy<Value = String>,
        probability: f64,
    ) -> impl Strategy<Value = String> {
        let values = proptest::collection::vec(values, 1..3);
        proptest::option::weighted(probability, values).prop_map(move |values| match values {
            None => String::new(),
            Some(values) => format!("{key} = {values:?}\n"),
        })
    }
    let keys = (
        list("cgroup", cgroup_pattern(), 0.6),
        list(
            "exe",
            select(&["/x", "/y", "/z"][..]).prop_map(str::to_owned),
            0.3,
        ),
        list(
            "comm",
            prop_oneof!["[AB]{1,2}", "[AB?*]{1,3}", Just("[\u{e9}]*".to_owned())],
            0.4,
        ),
        list("user", "[0-3]", 0.3),
    );
    keys.prop_map(|(cgroup, exe, comm, user)| cgroup + &exe + &comm + &user)
        .prop_filter("it needs a condition", |keys| !keys.is_empty())
}

fn definitions() -> impl Strategy<Value = String> {
    let job = proptest::collection::vec(alternative(), 1..3);
    proptest::collection::vec(job, 1..6).prop_map(|jobs| {
        let mut text = String::new();
        for (number, alternatives) in jobs.iter().enumerate() {
            for keys in alternatives {
                text.push_str(&format!("[[jobs.J{number}]]\n{keys}"));
            }
        }
        text
    })
}

fn caller() -> impl Strategy<Value = Caller> {
    let other = prop_oneof![9 => component(), 1 => Just("\u{e9}a".to_owned())];
    let path = prop_oneof![
        9 => proptest::collection::vec(other, 0..5),
        1 => proptest::collection::vec("[ab]", 40..41),
    ];
    let exe = select(&["/x", "/x/link", "/y", "/z"][..]);
    let comm = prop_oneof![9 => "[ABab]{0,3}", 1 => Just("[\u{e9}]b".to_owned()), 1 => "[AB]{15}"];
    (path, exe, comm, 0u32..5).prop_map(|(path, exe, comm, uid)| Caller {
        comm: Some(comm),
        cgroup: Some(format!("/{}", path.join("/"))),
        exe: Some(exe.into()),
        uid: Some(uid),
        proven_jobs: Vec::new(),
    })
}

fn lists() -> impl Strategy<Value = Vec<Vec<Vec<u32>>>> {
    let covered = proptest::collection::vec(0u32..6, 0..4);
    proptest::collection::vec(proptest::collection::vec(covered, 1..5), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PORTREEVE_LONG").map_or(500, |_| 60_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn tables_say_what_definitions_say(
        text in definitions(),
        lists in lists(),
        callers in proptest::collection::vec(caller(), 20),
    ) {
        compare(&text, &lists, &callers)?;
    }
}

fn in_cgroup(path: &str) -> Caller {
    Caller {
        cgroup: Some(path.to_owned()),
        ..Caller::default()
    }
}

/// A name is compared to its end, whatever stands where chunks meet.
#[test]
fn names_of_all_lengths_are_told_apart() {
    let names: Vec<String> = (1..=255).map(|length| "a".repeat(length)).collect();
    let text: String = names
        .iter()
        .enumerate()
        .map(|(number, name)| format!("[jobs.J{number}]\ncgroup = '/s/{name}'\n"))
        .collect();
    let list: Vec<Vec<u32>> = (0..255).map(|job| vec![job]).collect();
    let near = |name: &String| {
        [
            format!("/s/{name}"),
            format!("/s/{name}/below"),
            format!("/s/b{}", &name[1..]),
        ]
    };
    let callers: Vec<Caller> = names
        .iter()
        .flat_map(near)
        .map(|path| in_cgroup(&path))
        .collect();
    assert_eq!(compare(&text, &[list], &callers).unwrap(), 2 * 255);
}

#[test]
fn deep_patterns_and_cgroups() {
    let pattern = "/a".repeat(32);
    let text = format!("[jobs.DEEP]\ncgroup = '{pattern}'\n[jobs.ANY]\ncgroup = '/a/*/a'\n");
    let callers = [2, 3, 31, 32, 33, 40].map(|depth| in_cgroup(&"/a".repeat(depth)));
    let lists = [vec![vec![0], vec![1]]];
    assert_eq!(compare(&text, &lists, &callers).unwrap(), 5);
}

/// `PRT-39`: the closest entry decides, and whether the caller is proven to be a
/// job that leads there.
#[test]
fn proof_is_that_of_the_alternative_satisfied() {
    let text = "[[jobs.J]]\ncomm = 'J'\n[[jobs.J]]\nuser = '1'\n[jobs.K]\ncgroup = '/k'\n";
    let (_, _, image, _) = compiled(text, &[vec![vec![0], vec![1]]], &Presence);
    let maps = Maps::from(image);
    let of = |comm: &str, uid, cgroup: &str| {
        let caller = Caller {
            comm: Some(comm.into()),
            uid: Some(uid),
            ..in_cgroup(cgroup)
        };
        let classes = maps.classes(&caller, &FixedInodes::default());
        place(maps.rules.signatures, classes, 1, &maps)
    };
    assert_eq!(of("j", 0, "/"), Place::new(0, false));
    assert_eq!(of("x", 1, "/"), Place::new(0, true));
    assert_eq!(of("j", 1, "/"), Place::new(0, true));
    assert_eq!(of("x", 0, "/k/l"), Place::new(1, true));
    // The proven job stands further back, and the closer one is not proven.
    assert_eq!(of("j", 0, "/k"), Place::new(0, false));
    assert_eq!(of("x", 0, "/"), Place::NONE);
}

#[test]
fn without_jobs_there_are_no_tables() {
    let (_, _, image, _) = compiled("", &[], &Presence);
    assert_eq!(image.rules, JobRules::default());
    assert!(image.names.is_empty() && image.words.is_empty() && image.steps.is_empty());
    let text = "[jobs.J]\nuser = '1'\n[jobs.\"k.x\"]\ncomm = 'k'\n";
    let (_, _, image, _) = compiled(text, &[], &Presence);
    let facts = image.rules.facts;
    assert_eq!(facts, Facts::COMM.with(Facts::USER));
    assert_eq!(
        image.rules.signatures,
        1 << Facts::COMM.0 | 1 << Facts::USER.0
    );
    let names = ["J", "K.X"].map(|name| Name::new(name).unwrap());
    assert!(image.names.iter().map(|key| key.name).eq(names));
}

#[test]
fn missing_files_are_reported() {
    struct Unreadable;
    impl Inodes for Unreadable {
        fn of(&self, _: &Path) -> io::Result<Vec<Inode>> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
    let text = "[jobs.J]\nexe = ['/gone', '/y']\n[jobs.K]\nexe = '/y'\n";
    let inodes = inodes();
    let (_, _, image, errors) = compiled(text, &[], &inodes);
    assert_eq!(errors, [], "a file that may come later is no error");
    assert_eq!(image.exes.len(), 1);
    let (_, _, image, errors) = compiled(text, &[], &Unreadable);
    assert_eq!(errors, [Code::MissingExe; 3], "one per job and file");
    assert!(image.exes.is_empty() && image.identities.is_empty());
}

/// What is beyond a limit matches nobody, and one error says so.
#[test]
fn limits_are_reported_once() {
    // As many states as there are subsets.
    let hungry: String = (0..40)
        .map(|number| {
            format!(
                "[jobs.J{number}]\ncomm = '*{}*'\n",
                char::from(b'A' + number % 26)
            )
        })
        .collect();
    let (jobs, _, image, errors) = compiled(&hungry, &[], &Presence);
    assert_eq!(errors, [Code::TooManyJobs]);
    assert!(image.words.len() <= MAX_AUTOMATON_WORDS as usize / 4);
    assert!(image.identities.len() <= MAX_IDENTITIES as usize);
    let maps = Maps::from(image);
    for comm in ["A", "AB", "XYZ", "ABCDEFGHIJKLMN"] {
        let caller = Caller {
            comm: Some(comm.into()),
            ..Caller::default()
        };
        let classes = maps.classes(&caller, &FixedInodes::default());
        let is = is_job(maps.rules.signatures, classes, &maps);
        assert!(!is || !jobs.of(&caller).is_empty());
    }

    let users: Vec<String> = (0..=MAX_JOB_USERS).map(|uid| uid.to_string()).collect();
    let (_, _, image, errors) = compiled(&format!("[jobs.J]\nuser = {users:?}\n"), &[], &Presence);
    assert_eq!(errors, [Code::TooManyJobs]);
    assert_eq!(image.users.len(), MAX_JOB_USERS as usize);

    // Every user of one job and every cgroup of the other hold together.
    let nested: String = (0..300)
        .map(|n| format!("[jobs.U{n}]\nuser = '{n}'\n[jobs.C{n}]\ncgroup = '/c/{n}'\n"))
        .collect();
    let users: Vec<String> = (0..300).map(|uid| uid.to_string()).collect();
    let both = format!("{nested}[jobs.BOTH]\ncgroup = '/c'\nuser = {users:?}\n");
    let (_, _, image, errors) = compiled(&both, &[], &Presence);
    assert_eq!(errors, [Code::TooManyJobs]);
    assert_eq!(image.identities.len(), MAX_IDENTITIES as usize);

    let stars: String = (0..16)
        .map(|number| {
            let (before, behind) = ("/*".repeat(number), "/*".repeat(15 - number));
            format!("[jobs.J{number}]\ncgroup = '{before}/*a*{behind}/b'\n")
        })
        .collect();
    let (_, _, image, errors) = compiled(&stars, &[], &Presence);
    assert_eq!(errors, [Code::TooManyJobs]);
    assert!(image.wild.len() <= MAX_WILD_STEPS as usize);
}

/// A thousand services, as on a large host, and a thousand families of them.
#[test]
fn a_thousand_jobs_compile_fast() {
    let services = |n: u32| format!("/system.slice/server-{n}.service");
    let instances = |n: u32| format!("/system.slice/*/server-{n}@*");
    type Path<'a> = &'a dyn Fn(u32) -> String;
    for (what, path) in [
        ("services", &services as Path<'_>),
        ("instances", &instances),
    ] {
        let text: String = (0..1000)
            .map(|n| format!("[jobs.J{n}]\ncgroup = '{}'\nuser = '{}'\n", path(n), n % 50))
            .collect();
        let list = |n| vec![vec![n], vec![(n + 1) % 1000]];
        let lists: Vec<Vec<Vec<u32>>> = (0..1000).map(list).collect();
        let start = Instant::now();
        let (_, _, image, errors) = compiled(&text, &lists, &Presence);
        println!(
            "{what}: {:?}, {} words, {} steps, {} wild, {} identities, {} places",
            start.elapsed(),
            4 * image.words.len(),
            image.steps.len(),
            image.wild.len(),
            image.identities.len(),
            image.places.len()
        );
        assert_eq!(errors, []);
    }
}
