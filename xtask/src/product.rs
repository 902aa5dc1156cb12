//! Building our own packages, and where cargo put the result.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use portreeve_toolchain::command;
use serde_json::Value;

/// The workspace.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The cargo we were started by, in the workspace.
pub fn cargo() -> Command {
    let mut cargo = Command::new(command::cargo());
    cargo.current_dir(root());
    cargo
}

/// What the kernel tests take.
pub struct UnderTest {
    /// The agent.
    pub agent: PathBuf,
    /// The same, but its maps have another layout; not every test needs it.
    pub other: Option<PathBuf>,
    /// The tests.
    pub tests: PathBuf,
}

impl UnderTest {
    /// Builds all of it.
    pub fn build(release: bool, with_other: bool) -> Result<Self> {
        let other = match with_other {
            true => Some(build_other_layout(release)?),
            false => None,
        };
        Ok(Self {
            other,
            agent: build("portreeve", release)?,
            tests: build("portreeve-tests", release)?,
        })
    }
}

/// Builds an agent whose maps have another layout, and puts it beside the agent.
fn build_other_layout(release: bool) -> Result<PathBuf> {
    let agent = build_with("portreeve", release, &["--features", "other-layout"])?;
    let other = agent.with_file_name("portreeve-other-layout");
    // Cargo is about to put the agent in its place.
    fs::copy(&agent, &other).with_context(|| other.display().to_string())?;
    Ok(other)
}

/// Builds a package and returns its executable of the same name.
pub fn build(package: &str, release: bool) -> Result<PathBuf> {
    build_with(package, release, &[])
}

fn build_with(package: &str, release: bool, arguments: &[&str]) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--package", package]);
    if release {
        cargo.arg("--release");
    }
    cargo.args(arguments);
    eprintln!("+ {}", command::show(&cargo));
    // Only cargo knows where it puts things; it says so in JSON.
    cargo
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().context("cargo can't be run")?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let mut executable = None;
    for line in BufReader::new(stdout).lines() {
        if let Some(path) = executable_in(&line?, package) {
            executable = Some(path);
        }
    }
    if !child.wait()?.success() {
        bail!("{package} doesn't build");
    }
    executable.with_context(|| format!("cargo built no executable {package}"))
}

fn executable_in(line: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_ours = message["reason"] == "compiler-artifact"
        && message["target"]["name"].as_str() == Some(name);
    let path = message["executable"].as_str()?;
    is_ours.then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_the_messages() {
        let library = r#"{"reason":"compiler-artifact","target":{"name":"a"},"executable":null}"#;
        let binary = r#"{"reason":"compiler-artifact","target":{"name":"a"},"executable":"/t/a"}"#;
        assert_eq!(executable_in(library, "a"), None);
        assert_eq!(executable_in(binary, "b"), None);
        assert_eq!(executable_in(binary, "a"), Some(PathBuf::from("/t/a")));
        assert_eq!(executable_in("no JSON", "a"), None);
    }
}
