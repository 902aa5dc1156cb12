//! The page about security and these tests say the same.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::{cases::names, harness::Sandbox, tests};

tests![the_page_names_every_attack_and_no_test_that_is_none];

const PAGE: &str = include_str!("../../../../docs/security.md");

/// Names of tests stand in backquotes, with their subject: `attacks::names::a_name`.
fn the_page_names_every_attack_and_no_test_that_is_none(_: &Sandbox) -> Result<()> {
    let tests: BTreeSet<String> = names().collect();
    let quoted = PAGE.split('`').skip(1).step_by(2);
    let named: BTreeSet<&str> = quoted.filter(|word| word.contains("::")).collect();
    for name in &named {
        ensure!(
            tests.contains(*name),
            "the page names {name}, which is no test"
        );
    }
    let is_attack = |name: &&String| name.starts_with("attacks::") && !name.contains("manual::");
    for attack in tests.iter().filter(is_attack) {
        ensure!(
            named.contains(attack.as_str()),
            "the page doesn't name {attack}"
        );
    }
    Ok(())
}
