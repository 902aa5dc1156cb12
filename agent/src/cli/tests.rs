//! What holds for every verb.

use clap::{Command, CommandFactory as _};

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn ports_are_named_with_their_protocol() {
    assert_eq!(parse_port("TCP/21"), Ok(("tcp".into(), 21)));
    assert_eq!(parse_port("udp/65535"), Ok(("udp".into(), 65535)));
    for wrong in ["21", "tcp/", "tcp/65536", "tcp/-1", "sctp/21", "/", ""] {
        assert!(parse_port(wrong).is_err(), "{wrong}");
    }
}

/// The command and all its verbs that people are shown, each with its words.
fn verbs() -> Vec<(String, Command)> {
    fn add(words: &str, command: &Command, verbs: &mut Vec<(String, Command)>) {
        verbs.push((words.to_owned(), command.clone()));
        for verb in command.get_subcommands() {
            if !verb.is_hide_set() && verb.get_name() != "help" {
                add(&format!("{words} {}", verb.get_name()), verb, verbs);
            }
        }
    }
    let mut command = Cli::command();
    command.build();
    let mut verbs = Vec::new();
    add(NAME, &command, &mut verbs);
    verbs
}

#[test]
fn every_verb_and_every_option_is_explained() {
    for (words, command) in verbs() {
        assert!(command.get_about().is_some(), "{words}");
        for argument in command.get_arguments() {
            let help = argument.get_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            assert!(!help.is_empty(), "{words} {}", argument.get_id());
            assert!(!help.ends_with('.'), "{words}: {help}");
        }
    }
}

/// Lines of `--help` that begin with `  portreeve`: what is typed, without the words that
/// say what it is for.
fn examples(command: &Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string);
    let help = help.unwrap_or_default();
    assert!(help.contains("Examples"), "{}: {help}", command.get_name());
    let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
    lines
        .filter(|line| line.starts_with(NAME))
        .map(|line| line.split("  ").next().unwrap_or_default().to_owned())
        .collect()
}

/// Every verb has an example of itself, and every example is accepted.
#[test]
fn examples_are_accepted() {
    for (words, command) in verbs() {
        let examples = examples(&command);
        let is_own = |example: &String| {
            let verb: Vec<&str> = words.split(' ').skip(1).collect();
            let mut typed = example.split(' ');
            verb.iter().all(|word| typed.any(|typed| typed == *word))
        };
        assert!(examples.iter().any(is_own), "{words}: {examples:?}");
        for example in &examples {
            // What the shell does is not ours.
            let ours = example.split(['>', '|']).next().unwrap_or_default();
            let typed = ours.split_whitespace();
            if let Err(error) = Cli::try_parse_from(typed) {
                panic!("{words}: {example}: {error}");
            }
        }
    }
}

/// Lines that are indented stand as they are written, and fit a terminal; others are
/// broken where it ends, and only there.
#[test]
fn help_fits() {
    for (words, command) in verbs() {
        let help = command.get_after_help().map(ToString::to_string);
        for line in help.unwrap_or_default().lines() {
            let is_shown = line.starts_with(' ');
            assert!(!is_shown || line.chars().count() <= 80, "{words}: {line}");
        }
    }
}

#[test]
fn colours_are_chosen_for_every_verb() {
    for words in [
        "portreeve --color never status",
        "portreeve status --color=always",
        "portreeve policy restrictions --color auto",
    ] {
        assert!(Cli::try_parse_from(words.split(' ')).is_ok(), "{words}");
    }
    assert!(Cli::try_parse_from(["portreeve", "status", "--color", "red"]).is_err());
}
