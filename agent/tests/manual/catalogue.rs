//! `docs/diagnostics.md` and the catalogue of codes say the same.

use std::collections::{BTreeMap, BTreeSet};

use portreeve::diagnostics::Code;

use crate::document::{Example, Step};
use crate::{lines, read, root};

/// Codes whose example can't be written down as a text.
const WITHOUT_EXAMPLE: [(&str, &str); 5] = [
    ("PRV101", "a Markdown file is UTF-8 itself"),
    ("PRV116", "the command line defines no symbols"),
    ("PRV212", "it takes 131,073 entries"),
    ("PRV215", "it takes hundreds of patterns"),
    ("PRV405", "the accounts of examples always answer"),
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

/// The message of z/OS stands in the entry.
#[test]
fn messages_of_zos_are_named() {
    let text = std::fs::read_to_string(root().join("docs/diagnostics.md"))
        .expect("the document can be read");
    let entries: BTreeMap<&str, &str> = text
        .split("\n### ")
        .filter_map(|entry| Some((entry.get(..6)?, entry)))
        .collect();
    for code in Code::ALL {
        let entry = entries.get(code.id()).copied().unwrap_or_default();
        match code.ibm_message() {
            Some(message) => assert!(entry.contains(message), "{}", code.id()),
            None => assert!(!entry.contains("z/OS says"), "{}", code.id()),
        }
    }
}

fn produces(example: &Example, code: &str) -> bool {
    example.steps.iter().any(|step| match step {
        Step::Diagnostics { block, .. } => {
            lines(block).any(|(_, line)| line.trim().ends_with(code))
        }
        _ => false,
    })
}

/// Each entry has an example that really produces the code.
#[test]
fn every_entry_has_an_example() {
    let document = read(&root().join("docs/diagnostics.md"));
    let without: BTreeSet<&str> = Code::ALL
        .iter()
        .map(|code| code.id())
        .filter(|id| {
            !document
                .examples
                .iter()
                .any(|example| example.heading.starts_with(id) && produces(example, id))
        })
        .collect();
    let expected: BTreeSet<&str> = WITHOUT_EXAMPLE.iter().map(|(id, _)| *id).collect();
    assert_eq!(without, expected, "left: codes without an example");
}
