//! What `explain` advises to a refused caller really lets it in.

use std::path::Path;

use crate::document::{Block, Example, Step};
use crate::{expected, lines, markdown, policy, read, root};

/// `example` with one more line in its profile: in front, or at the end, where an
/// unterminated block would swallow it but a DELETE doesn't come to it.
fn with_line(example: &Example, line: &str, in_front: bool) -> Example {
    let profile = &example.profile.text;
    Example {
        document: example.document.clone(),
        heading: example.heading.clone(),
        profile: Block {
            line: example.profile.line,
            text: match in_front {
                true => format!("{line}\n{profile}"),
                false => format!("{profile}\n{line}\n"),
            },
        },
        files: example.files.clone(),
        attributes: example.attributes.clone(),
        steps: Vec::new(),
    }
}

/// The entry that `text` advises to add, if it does.
fn advised(text: &str) -> Option<&str> {
    text.split('`')
        .nth(1)
        .filter(|line| line.starts_with("PORT"))
}

/// Follows the advice given to the callers in `block`.
fn follow(example: &Example, block: &Block, config: Option<&str>) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(before) = policy::read(example, config, &[]).policy else {
        return wrong;
    };
    for (number, line) in lines(block) {
        let Ok(verdict) = expected::verdict(line) else {
            continue;
        };
        let ask = |policy| policy::ask(policy, &verdict.question);
        let Some(answer) = ask(&before) else {
            continue;
        };
        let Some(entry) = advised(&answer.text) else {
            continue;
        };
        let after =
            [true, false].map(|front| policy::read(&with_line(example, entry, front), config, &[]));
        let helps = |after: &policy::Reading| {
            let now = after
                .policy
                .as_ref()
                .and_then(|policy| policy::ask(policy, &verdict.question));
            now.is_some_and(|now| now.verdict == "allow")
        };
        if !after.iter().any(helps) {
            let place = example.place(number);
            let said = after.map(|after| after.reported.join(", ")).join(" or ");
            wrong.push(format!("{place}: `{entry}` does not help: {said}"));
        }
    }
    wrong
}

fn follow_all(folder: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in markdown(folder) {
        for example in &read(&path).examples {
            let mut config = None;
            for step in &example.steps {
                match step {
                    Step::Config(block) => config = Some(block.text.as_str()),
                    Step::Verdicts(block) => wrong.extend(follow(example, block, config)),
                    // With a change file on top, the advice is for another policy.
                    Step::Change(_) => break,
                    Step::Diagnostics { .. } => {}
                }
            }
        }
    }
    wrong
}

#[test]

fn advice_helps() {
    let folders = ["docs", "agent/tests/policy"].map(|folder| root().join(folder));
    let wrong: Vec<String> = folders.iter().flat_map(|path| follow_all(path)).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
