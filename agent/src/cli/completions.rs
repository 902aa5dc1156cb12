//! `portreeve completions`

use anyhow::Result;
use clap::{Args, Command};
use clap_complete::Shell;

use super::{NAME, YES};
use crate::report;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples, for everybody or, in your own folders, for you alone:
  portreeve completions bash > /etc/bash_completion.d/portreeve
  portreeve completions zsh > /usr/local/share/zsh/site-functions/_portreeve
  portreeve completions fish > ~/.config/fish/completions/portreeve.fish"
)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub fn run(self, command: Command) -> Result<u8> {
        report::line(script(self.shell, command)?.trim_end());
        Ok(YES)
    }
}

/// What `shell` is to read, for the verbs that people are shown.
fn script(shell: Shell, command: Command) -> Result<String> {
    let mut command = shown(command);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, NAME, &mut script);
    Ok(String::from_utf8(script)?)
}

/// `command` without its hidden verbs, which completions would offer.
fn shown(command: Command) -> Command {
    let verbs: Vec<Command> = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .cloned()
        .collect();
    let mut shown = Command::new(NAME);
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    shown
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .args(command.get_arguments().cloned())
        .subcommands(verbs)
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command as Process};

    use clap::{CommandFactory as _, ValueEnum as _};
    use tempfile::TempDir;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_shell_is_told_every_verb_that_is_shown() {
        for shell in Shell::value_variants() {
            let script = script(*shell, Cli::command()).unwrap();
            for verb in Cli::command().get_subcommands() {
                let name = verb.get_name();
                assert_eq!(
                    script.contains(name),
                    !verb.is_hide_set(),
                    "{shell}: {name}"
                );
            }
            for word in ["dry-run", "socket", "color"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    /// The shells themselves, where they are installed; bash always is. zsh completes on a
    /// terminal only: it is asked to read the script.
    #[test]
    fn shells_complete_by_them() {
        let folder = TempDir::new().unwrap();
        let path = |shell: Shell| folder.path().join(shell.to_string());
        for shell in Shell::value_variants() {
            fs::write(path(*shell), script(*shell, Cli::command()).unwrap()).unwrap();
        }
        let bash = "source \"$0\"; COMP_WORDS=(portreeve re); COMP_CWORD=1; \
                    _portreeve portreeve re portreeve; echo \"${COMPREPLY[@]}\"; \
                    COMP_WORDS=(portreeve reload --dr); COMP_CWORD=2; \
                    _portreeve portreeve --dr reload; echo \"${COMPREPLY[@]}\"";
        let fish = "source $argv[1]; complete -C 'portreeve re' | cut -f1; \
                    complete -C 'portreeve reload --dr' | cut -f1";
        for (shell, code) in [(Shell::Bash, bash), (Shell::Fish, fish)] {
            let mut process = Process::new(shell.to_string());
            let process = process.args(["-c", code]).arg(path(shell));
            let done = match process.env("HOME", folder.path()).output() {
                Err(_) if shell != Shell::Bash => continue,
                done => done.unwrap(),
            };
            assert_eq!(
                String::from_utf8_lossy(&done.stdout),
                "reload\n--dry-run\n",
                "{shell}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        let read = Process::new("zsh").arg("-n").arg(path(Shell::Zsh)).output();
        if let Ok(read) = read {
            assert_eq!(String::from_utf8_lossy(&read.stderr), "");
            assert!(read.status.success());
        }
    }
}
