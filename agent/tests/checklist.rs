//! Every row of the feature checklist is cited by a test, or listed as not tested.
//!
//! `data/checklist.txt` has the ids of the rows that are about the language, the
//! verdict, who may bind and what is told of ports; `data/uncovered.txt` those that
//! no test cites yet, each with the reason. Tests cite a row by its id: in a comment in test code, or
//! in a policy document.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Length of an id such as `PRT-07`.
const ID: usize = 6;

fn agent() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a file of the tree can be read")
}

fn data(name: &str) -> String {
    text(&agent().join("tests/data").join(name))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the tree can be read") {
        let path = entry.expect("a folder of the tree can be read").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The part of a file that is tests, by its path from the root: all of a policy
/// document and of a test file, and of other sources what stands behind
/// `#[cfg(test)]`.
fn tests_in(root: &Path, path: &Path) -> Option<String> {
    let named = |name: &str| path.file_name().is_some_and(|file| file == name);
    match path.extension()?.to_str()? {
        "md" => Some(text(path)),
        "rs" if named("checklist.rs") => None,
        "rs" => {
            let text = text(path);
            let inside = path.strip_prefix(root).unwrap_or(path);
            let is_test =
                named("tests.rs") || inside.components().any(|part| part.as_os_str() == "tests");
            if is_test {
                return Some(text);
            }
            let start = text.find("#[cfg(test)]\nmod tests {")?;
            Some(text[start..].to_owned())
        }
        _ => None,
    }
}

/// Ids in `text`, those between two that are joined by "to" included.
fn ids(text: &str, prefixes: &BTreeSet<&str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut last: Option<(&str, u32, usize)> = None;
    for (at, _) in text.match_indices('-') {
        let Some(start) = at.checked_sub(3) else {
            continue;
        };
        let end = start + ID;
        let (Some(prefix), Some(number)) = (text.get(start..at), text.get(at + 1..end)) else {
            continue;
        };
        let glued = text[..start].ends_with(|c: char| c.is_ascii_alphanumeric());
        let goes_on = text[end..].starts_with(|c: char| c.is_ascii_digit());
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        if !prefixes.contains(prefix) || glued || goes_on || !digits {
            continue;
        }
        let number: u32 = number.parse().expect("digits are a number");
        let mut from = number;
        if let Some((before, low, behind)) = last
            && before == prefix
            && text[behind..start].trim_matches(|c: char| c == '`' || c == '/' || c.is_whitespace())
                == "to"
        {
            from = low + 1;
        }
        found.extend((from..=number).map(|number| format!("{prefix}-{number:02}")));
        last = Some((prefix, number, end));
    }
    found
}

#[test]
fn every_row_is_tested_or_listed() {
    let list = data("checklist.txt");
    let rows: BTreeSet<&str> = list.lines().collect();
    let prefixes: BTreeSet<&str> = rows.iter().map(|id| &id[..3]).collect();
    let root = agent().parent().expect("the agent has a folder of its own");
    let mut paths = Vec::new();
    for folder in [
        "agent/src",
        "agent/tests",
        "common/src",
        "ebpf/src",
        "tests/src",
    ] {
        files(&root.join(folder), &mut paths);
    }
    let mut cited: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in paths {
        for id in ids(&tests_in(root, &path).unwrap_or_default(), &prefixes) {
            cited.entry(id).or_insert_with(|| path.clone());
        }
    }
    for (id, path) in &cited {
        let known = rows.contains(id.as_str());
        assert!(known, "{} cites {id}, which is no row", path.display());
    }
    let uncovered: Vec<&str> = list.lines().filter(|id| !cited.contains_key(*id)).collect();
    let documented = data("uncovered.txt");
    let documented: Vec<&str> = documented
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (id, reason) = line.split_once(": ").expect("a line is `ID: reason`");
            assert!(!reason.trim().is_empty(), "{id} has no reason");
            id
        })
        .collect();
    assert_eq!(uncovered, documented, "left: rows that no test cites");
}

#[test]
fn ids_are_found() {
    let prefixes = BTreeSet::from(["PRT", "SYN"]);
    assert_eq!(
        ids(
            "`PRT-02` to `PRT-04`, SYN-01; XPRT-05 PRT-061 PRT-x1 ABC-01 PRT-",
            &prefixes
        ),
        ["PRT-02", "PRT-03", "PRT-04", "SYN-01"]
    );
    assert_eq!(
        ids(
            "/// `SYN-07` to\n/// `SYN-09`, `PRT-01` to `SYN-02`",
            &prefixes
        ),
        ["SYN-07", "SYN-08", "SYN-09", "PRT-01", "SYN-02"]
    );
}
