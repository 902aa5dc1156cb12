//! The manual's examples and the policy documents, executed.
//!
//! Every profile in a document is read, resolved and compiled as `explain` does
//! it, with accounts of its own instead of the host's, and everything that the
//! document says about it must hold. A profile about which nothing is said is a
//! mistake.

mod accounts;
mod advice;
mod catalogue;
mod document;
mod expected;
mod links;
mod policy;

use std::fs;
use std::path::{Path, PathBuf};

use portreeve_common::Reason;

use document::{Block, Example, Step};
use policy::Reading;

/// The top of the source tree.
fn root() -> &'static Path {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    agent.parent().expect("the agent has a folder of its own")
}

/// The Markdown files in `folder` and below.
fn markdown(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).expect("the folder can be read");
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            found.extend(markdown(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> document::Document {
    let text = fs::read_to_string(path).expect("a document can be read");
    let shown = path.strip_prefix(root()).unwrap_or(path);
    document::read(shown, &text)
}

/// What is wrong with `example`, a line each.
fn run(example: &Example) -> Vec<String> {
    let mut wrong = Vec::new();
    if example.attributes.ignored {
        return wrong;
    }
    let says = |step: &Step| !matches!(step, Step::Config(_) | Step::Change(_));
    if !example.steps.iter().any(says) {
        let place = example.place(example.profile.line);
        return vec![format!("{place}: nothing is said about this profile")];
    }
    let listed = |step: &Step| matches!(step, Step::Diagnostics { .. });
    let lists = example.steps.iter().any(listed);
    let mut config = None;
    let mut changes = Vec::new();
    let mut reading = policy::read(example, config, &changes);
    for step in &example.steps {
        match step {
            Step::Config(block) => {
                config = Some(block.text.as_str());
                reading = policy::read(example, config, &changes);
            }
            Step::Change(block) => {
                changes.push(block.text.as_str());
                reading = policy::read(example, config, &changes);
            }
            Step::Verdicts(block) => wrong.extend(verdicts(example, block, &reading)),
            Step::Diagnostics { block, checked } => {
                let found = if *checked {
                    &reading.checked
                } else {
                    &reading.reported
                };
                wrong.extend(diagnostics(example, block, found));
            }
        }
        let is_error = |said: &&String| said.contains(" error ");
        if !lists && let Some(error) = reading.reported.iter().find(is_error) {
            let place = example.place(example.profile.line);
            wrong.push(format!("{place}: not announced: {error}"));
        }
    }
    wrong
}

/// The lines of a block that say something, with their places in the document.
fn lines(block: &Block) -> impl Iterator<Item = (usize, &str)> {
    let lines = block.text.lines().enumerate();
    lines
        .map(|(index, line)| (block.line + index, line))
        .filter(|(_, line)| !line.trim().is_empty())
}

fn verdicts(example: &Example, block: &Block, reading: &Reading) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(policy) = &reading.policy else {
        let place = example.place(block.line);
        let said = reading.reported.join(", ");
        return vec![format!("{place}: there is no policy to ask: {said}")];
    };
    for (number, line) in lines(block) {
        let result = expected::verdict(line).and_then(|verdict| {
            let answer = policy::ask(policy, &verdict.question);
            verdict.compare(&answer.ok_or("the protocol is not judged")?)
        });
        if let Err(why) = result {
            wrong.push(format!(
                "{}: `{}`: {why}",
                example.place(number),
                line.trim()
            ));
        }
    }
    wrong
}

fn diagnostics(example: &Example, block: &Block, found: &[String]) -> Vec<String> {
    let mut wanted = Vec::new();
    for (number, line) in lines(block) {
        match expected::diagnostic(line) {
            Ok(line) => wanted.push(line),
            Err(why) => return vec![format!("{}: {why}", example.place(number))],
        }
    }
    // Their order is that of the text; several on one line may stand in any.
    let mut found = found.to_vec();
    found.sort();
    wanted.sort();
    if found == wanted {
        return Vec::new();
    }
    let place = example.place(block.line);
    vec![format!(
        "{place}: reported is instead:\n{}",
        found.join("\n")
    )]
}

/// Runs all examples below `folder` and says how many there are.
fn run_all(folder: &Path) -> usize {
    let mut wrong = Vec::new();
    let mut count = 0;
    for path in markdown(folder) {
        let document = read(&path);
        wrong.extend(document.mistakes);
        for example in &document.examples {
            wrong.extend(run(example));
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    count
}

#[test]
fn the_manual_is_true() {
    let count = run_all(&root().join("docs"));
    println!("{count} examples");
    assert!(count >= 80, "only {count} examples were found");
}

#[test]
fn the_policy_documents_hold() {
    let count = run_all(&root().join("agent/tests/policy"));
    println!("{count} examples");
    assert!(count >= 40, "only {count} examples were found");
}

/// Every reason has a row in the manual, with its verdict.
#[test]
fn every_reason_is_in_the_manual() {
    let path = root().join("docs/language.md");
    let text = fs::read_to_string(path).expect("the manual can be read");
    for reason in Reason::ALL {
        let verdict = if reason.refuses() { "deny" } else { "allow" };
        let row = format!("| `{}` | {verdict} |", reason.id());
        assert!(text.contains(&row), "{row} is missing");
    }
}

fn example(markdown: &str) -> Vec<String> {
    let document = document::read(Path::new("d.md"), markdown);
    let wrong = document.examples.iter().flat_map(run);
    document.mistakes.iter().cloned().chain(wrong).collect()
}

/// The machinery itself: what is false is noticed, with its place.
#[test]
fn false_statements_are_noticed() {
    let profile = "# H\n```tcpip\nPORT 21 TCP FTPD1\n```\n";
    let with = |rest: &str| example(&format!("{profile}{rest}"));
    let holds = "```verdicts\ntcp/21 FTPD1 -> allow permitted line 1\n```\n";
    assert_eq!(with(holds), Vec::<String>::new());
    for (rest, place) in [
        ("", "d.md:3"),
        (
            "```verdicts\n\ntcp/21 FTPD1 -> deny other-job\n```\n",
            "d.md:7",
        ),
        (
            "```verdicts\ntcp/21 FTPD1 -> allow permitted line 2\n```\n",
            "d.md:6",
        ),
        (
            "```verdicts\ntcp/21 FTPD1 -> allow permitted shared\n```\n",
            "d.md:6",
        ),
        ("```verdicts\ntcp/21 FTPD1 -> allow\n```\n", "d.md:6"),
        (
            "```verdicts\ntcp/21 FTPD1 usr=x -> allow permitted\n```\n",
            "d.md:6",
        ),
        ("```diagnostics\n1 error PRV107\n```\n", "d.md:6"),
        ("```diagnostics\n1 error\n```\n", "d.md:6"),
        ("```toml\nmoode = 1\n```\n```diagnostics\n```\n", "d.md:9"),
        ("```verdicts strict\n```\n", "d.md:6"),
        ("# H2\n```verdicts\n```\n", "d.md:7"),
    ] {
        let wrong = with(rest);
        assert!(!wrong.is_empty(), "{rest}");
        assert!(
            wrong.iter().any(|wrong| wrong.starts_with(place)),
            "{wrong:?}"
        );
    }
    let changed = |change: &str, rest: &str| {
        example(&format!("{profile}```tcpip obey\n{change}\n```\n{rest}"))
    };
    let deleted = "DELETE PORT 21 TCP FTPD1";
    let free = "```verdicts\ntcp/21 X -> allow unreserved\n```\n";
    assert_eq!(changed(deleted, free), Vec::<String>::new());
    assert!(!changed("PORT 22 TCP X", free).is_empty());
    assert!(!changed(deleted, "").is_empty());
    let silent = "```tcpip\nPORT 21 TPC X\n```\n```verdicts\n```\n";
    assert!(
        example(silent)[0].contains("no policy to ask"),
        "{:?}",
        example(silent)
    );
    assert_eq!(example("```tcpip wrong\n```\n").len(), 2);
    assert_eq!(example("```tcpip file=x\n```\n").len(), 1);
}
