//! `docs/diagnostics.md` and the catalogue of codes say the same.

use std::collections::{BTreeMap, BTreeSet};

use portreeve::diagnostics::Code;

use crate::document::{Example, Step};
use crate::{lines, read, root};

/// Codes whose example can't be written down as a text.
const WITHOUT_EXAMPLE: [(&str, &str); 24] = [
    ("PRV101", "a Markdown file is UTF-8 itself"),
    ("PRV102", "a document with a NUL byte is no text"),
    ("PRV116", "the command line defines no symbols"),
    ("PRV212", "it takes 131,073 entries"),
    ("PRV213", "it takes 257 entries"),
    ("PRV215", "it takes hundreds of patterns"),
    ("PRV343", "the host of examples could start everything"),
    ("PRV405", "the accounts of examples always answer"),
    ("PRV408", "it takes 16,385 permits"),
    ("PRV409", "it takes thousands of jobs"),
    ("PRV511", "the host of examples has no names"),
    ("PRV513", "it points into the config, not the profile"),
    ("PRV515", "it points into the config, not the profile"),
    ("PRV530", "nothing listens on the host of examples"),
    ("PRV531", "nothing listens on the host of examples"),
    ("PRV532", "nothing listens on the host of examples"),
    ("PRV534", "nothing listens on the host of examples"),
    ("PRV535", "nothing listens on the host of examples"),
    ("PRV540", "the host of examples is no pod"),
    ("PRV544", "the host of examples has no units"),
    ("PRV545", "the host of examples has no units"),
    ("PRV546", "the host of examples has no units"),
    ("PRV547", "the host of examples has no units"),
    ("PRV548", "the host of examples has no units"),
];

/// Each code has a heading `PRVnnn: title`, in order, and no other has.
#[test]
fn every_code_has_its_entry() {
    let document = read(&root().join("docs/diagnostics.md"));
    let entries: Vec<&str> = document
        .headings
        .iter()
        .map(|(_, _, title)| title.as_str())
        .filter(|title| title.starts_with("PRV"))
        .collect();
    let codes: Vec<String> = Code::ALL
        .iter()
        .map(|code| format!("{}: {}", code.id(), code.title()))
        .collect();
    for code in &codes {
        assert!(entries.contains(&code.as_str()), "no entry `{code}`");
    }
    assert_eq!(entries, codes);
}

/// The text of each entry, by its code.
fn entries(text: &str) -> BTreeMap<&str, &str> {
    let entries = text.split("\n### ");
    entries
        .filter_map(|entry| Some((entry.get(..6)?, entry)))
        .collect()
}

/// The message of z/OS stands in the entry.
#[test]
fn messages_of_zos_are_named() {
    let text = std::fs::read_to_string(root().join("docs/diagnostics.md")).unwrap();
    let entries = entries(&text);
    for code in Code::ALL {
        let entry = entries.get(code.id()).copied().unwrap_or_default();
        match code.ibm_message() {
            Some(message) => assert!(entry.contains(message), "{}", code.id()),
            None => assert!(!entry.contains("z/OS says"), "{}", code.id()),
        }
    }
}

/// The severity with which `example` produces `code`.
fn severity<'a>(example: &'a Example, code: &str) -> Option<&'a str> {
    example.steps.iter().find_map(|step| match step {
        Step::Diagnostics { block, .. } => lines(block).find_map(|(_, line)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words.last() == Some(&code)).then(|| words.get(1).copied())?
        }),
        _ => None,
    })
}

/// Each entry has an example that really produces the code, and begins with the
/// severity that it has there.
#[test]
fn every_entry_has_an_example() {
    let path = root().join("docs/diagnostics.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let entries = entries(&text);
    let document = read(&path);
    let mut without = BTreeSet::new();
    for code in Code::ALL {
        let id = code.id();
        let mut examples = document.examples.iter();
        let found = examples
            .find(|example| example.heading.starts_with(id))
            .and_then(|example| severity(example, id));
        let Some(severity) = found else {
            without.insert(id);
            continue;
        };
        let entry = entries.get(id).copied().unwrap_or_default();
        let first = entry.lines().nth(2).unwrap_or_default().to_lowercase();
        assert!(
            first.starts_with(&format!("{severity}.")),
            "{id}: {severity}"
        );
    }
    let expected: BTreeSet<&str> = WITHOUT_EXAMPLE.iter().map(|(id, _)| *id).collect();
    assert_eq!(without, expected, "left: codes without an example");
}
