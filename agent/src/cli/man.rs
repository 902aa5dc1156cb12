//! `portreeve man`: the manual pages, made from what `--help` says, and, of files, from the
//! manual's documents.

mod formats;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::{Args, Command, ValueHint};
use clap_mangen::roff::{Roff, bold, roman};

use super::{NAME, YES};
use crate::report;

/// What administrators run.
const SECTION: &str = "8";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portreeve man | man -l -                  read it here
  portreeve man /usr/local/share/man/man8   install the pages of all verbs
  man portreeve-explain                     ... and read one
  portreeve man --section 5 /usr/local/share/man/man5
  man portreeve.toml                        the same for files")]
pub struct Man {
    /// Pages about commands (8), or about files: config and profile (5)
    #[arg(long, value_name = "N", default_value = SECTION, value_parser = [SECTION, formats::SECTION])]
    section: String,
    /// Write all pages of the section into this folder, instead of printing the first;
    /// it is made if it isn't there
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    folder: Option<PathBuf>,
}

impl Man {
    pub fn run(self, command: Command) -> Result<u8> {
        let pages = match self.section.as_str() {
            formats::SECTION => formats::pages(),
            _ => pages(command),
        }?;
        match self.folder {
            Some(folder) => {
                write(&pages, &folder)?;
                let count = pages.len();
                report::line(&format!("{count} pages are in {}", folder.display()));
            }
            None => {
                let first = pages.first().map(|page| page.text.trim_end());
                report::line(first.unwrap_or_default());
            }
        }
        Ok(YES)
    }
}

/// A page of the manual.
#[derive(Clone)]
struct Page {
    file: String,
    text: String,
}

fn write(pages: &[Page], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    for page in pages {
        let path = folder.join(&page.file);
        fs::write(&path, &page.text).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

/// The page of `command`, and behind it those of its verbs.
fn pages(command: Command) -> io::Result<Vec<Page>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&command, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, pages: &mut Vec<Page>) -> io::Result<()> {
    let version = command.get_version().unwrap_or_default();
    let page = clap_mangen::Man::new(command.clone()).section(SECTION);
    let mut text = Vec::new();
    // Without a date, which would make every build's pages others: the library would leave
    // its place out.
    let title = command.get_display_name().unwrap_or(NAME);
    writeln!(
        text,
        ".TH {title} {SECTION} \"\" \"{NAME} {version}\" {NAME}"
    )?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    if let Some(help) = command.get_after_help() {
        more(&help.to_string(), &mut text)?;
    }
    see_also(command, &mut text)?;
    pages.push(Page {
        file: page.get_filename(),
        text: String::from_utf8_lossy(&text).into_owned(),
    });
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    for verb in verbs {
        add(verb, pages)?;
    }
    Ok(())
}

/// What stands behind the options: paragraphs, and lines that are indented and stay
/// as they are.
fn more(help: &str, page: &mut impl Write) -> io::Result<()> {
    let mut roff = Roff::new();
    let mut section = "";
    for paragraph in help.split("\n\n") {
        let is_text = |line: &&str| !line.starts_with(' ');
        let said: Vec<&str> = paragraph.lines().take_while(is_text).collect();
        let shown: Vec<&str> = paragraph.lines().skip_while(is_text).collect();
        let first = said.first().copied().unwrap_or_default();
        let heading = match first {
            _ if first.starts_with("Examples") => "EXAMPLES",
            _ if first.starts_with("Exit status") => "EXIT STATUS",
            _ => "NOTES",
        };
        match heading == section {
            true => roff.control("PP", []),
            false => roff.control("SH", [heading]),
        };
        section = heading;
        for line in said.iter().filter(|line| **line != "Examples:") {
            roff.text([roman(*line)]);
        }
        if !shown.is_empty() {
            roff.control("nf", []);
            for line in shown {
                roff.text([roman(line)]);
            }
            roff.control("fi", []);
        }
    }
    roff.to_writer(page)
}

fn see_also(command: &Command, page: &mut impl Write) -> io::Result<()> {
    let Some((above, _)) = command
        .get_display_name()
        .and_then(|name| name.rsplit_once('-'))
    else {
        return Ok(());
    };
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold(above), roman(format!("({SECTION})"))]);
    roff.to_writer(page)
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use clap::CommandFactory as _;
    use tempfile::TempDir;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_verb_has_a_page() {
        let pages = pages(Cli::command()).unwrap();
        let files: Vec<&str> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!(files.first(), Some(&"portreeve.8"));
        for verb in Cli::command().get_subcommands() {
            let file = format!("portreeve-{}.8", verb.get_name());
            assert_eq!(
                files.contains(&file.as_str()),
                !verb.is_hide_set(),
                "{file}"
            );
        }
        assert!(files.contains(&"portreeve-policy-diff.8"));
        for page in &pages {
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES"] {
                let heading = format!(".SH {section}\n");
                assert!(page.text.contains(&heading), "{}: {section}", page.file);
            }
        }
    }

    /// groff and mandoc have nothing to say against them; `cargo xtask test` installs
    /// both.
    #[test]
    fn pages_are_well_formed() {
        let folder = TempDir::new().unwrap();
        let pages = [pages(Cli::command()).unwrap(), formats::pages().unwrap()].concat();
        write(&pages, folder.path()).unwrap();
        let groff: &[&str] = &["groff", "-ww", "-b", "-man", "-Tutf8", "-z"];
        // Its warnings are about blank lines and the date.
        let mandoc: &[&str] = &["mandoc", "-T", "lint", "-W", "error"];
        for words in [groff, mandoc] {
            let mut lint = Process::new(words[0]);
            lint.args(&words[1..]);
            lint.args(pages.iter().map(|page| folder.path().join(&page.file)));
            let Ok(done) = lint.output() else {
                eprintln!("{} is not installed: not tried", words[0]);
                continue;
            };
            let said = [done.stdout, done.stderr].concat();
            assert_eq!(String::from_utf8_lossy(&said), "", "{}", words[0]);
        }
    }
}
