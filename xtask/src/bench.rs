//! `cargo xtask bench`: what portreeve costs on this machine.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use portreeve_bench::compare::{Comparison, compare};
use portreeve_bench::{Case, Results, table};
use portreeve_toolchain::command;
use serde_json::json;

use crate::debian::programs::NGINX;
use crate::host;
use crate::privilege::as_root;
use crate::product;
use crate::setup;

/// Measure what portreeve costs on this machine, in ratios that hold on others too.
///
/// Builds optimised, and works in a network namespace and in cgroups of its own, as root;
/// nothing on the host is changed; Debian's nginx, which `cycle` restarts, is unpacked in your
/// cache folder where there is none. Everything that is compared is measured in turns within one run, each round in
/// another order, and a ratio is the median of the rounds' ratios: a machine whose speed
/// drifts says the same. How far the quartiles lie apart is shown, and a machine on which
/// they lie too far apart is said to be noisy.
///
/// verdict   one bind(): by what the policy says of the port, and by how much is reserved
/// cycle     socket, bind and close; a restart of nginx
/// watch     bind, close and connections, with an agent that is told and without
/// publish   from a changed profile to the tables in force
/// agent     its memory, its processor time at rest and under a flood of refusals
#[derive(Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "Examples:
  cargo xtask bench                                 all of it, in about five minutes
  cargo xtask bench verdict --save before.json      then change something, and
  cargo xtask bench verdict --compare before.json   see what became of it
  cargo xtask bench --format markdown               the tables of docs/performance.md")]
pub struct Arguments {
    /// What to measure [default: everything]
    #[arg(value_enum, value_name = "CASE")]
    cases: Vec<CaseName>,
    /// How the results are shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Show how the results differ from those in FILE, which --save wrote
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Also write the results to FILE
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// How often each is measured; watch, publish, agent and the restarts less often
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// [`Case`], as clap takes it.
#[derive(Clone, Copy, ValueEnum)]
enum CaseName {
    Verdict,
    Cycle,
    Watch,
    Publish,
    Agent,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for people
    Text,
    /// For programs: what --save writes, and what --compare finds
    Json,
    /// Tables for a document
    Markdown,
}

impl CaseName {
    const fn case(self) -> Case {
        match self {
            Self::Verdict => Case::Verdict,
            Self::Cycle => Case::Cycle,
            Self::Watch => Case::Watch,
            Self::Publish => Case::Publish,
            Self::Agent => Case::Agent,
        }
    }
}

/// The verb.
pub fn run(arguments: &Arguments) -> Result<bool> {
    // What is wrong with the files is better known before the wait.
    let before = arguments.compare.as_deref().map(read).transpose()?;
    let mut cases: Vec<Case> = arguments.cases.iter().map(|name| name.case()).collect();
    if cases.is_empty() {
        cases = Case::ALL.to_vec();
    }
    setup::toolchain()?;
    let mut path = env::var_os("PATH").unwrap_or_default();
    if cases.contains(&Case::Cycle) {
        match NGINX.before(&path) {
            Ok(with_nginx) => path = with_nginx,
            Err(error) => eprintln!("warning: no server is restarted: {error:#}"),
        }
    }
    let results = measure(&cases, arguments.rounds, &path)?;
    if let Some(path) = &arguments.save {
        let text = serde_json::to_string_pretty(&results)?;
        fs::write(path, text + "\n")
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    let comparison = before.map(|before| compare(&before, &results));
    show(arguments.format, &results, comparison.as_ref())?;
    Ok(true)
}

/// Runs the benchmark as root, with this `PATH`.
fn measure(cases: &[Case], rounds: u32, path: &OsStr) -> Result<Results> {
    let agent = product::build("portreeve", true)?;
    let tests = product::build("portreeve-tests", true)?;
    host::cgroup2()?;
    host::mount_bpffs()?;
    let plan = json!({"cases": cases, "rounds": rounds});
    let mut variables = vec![("PORTREEVE_BIN", agent.as_os_str())];
    variables.push(("PATH", path));
    let mut bench = as_root(&tests, &variables)?;
    bench.arg("bench").arg(plan.to_string());
    eprintln!("+ {}", command::show(&bench));
    let output = bench.stdout(Stdio::piped()).spawn()?.wait_with_output()?;
    if !output.status.success() {
        bail!("the benchmark could not be run to its end");
    }
    serde_json::from_slice(&output.stdout).context("what the benchmark found")
}

fn show(format: Format, results: &Results, comparison: Option<&Comparison>) -> Result<()> {
    match format {
        Format::Json => {
            let mut value = serde_json::to_value(results)?;
            value["warnings"] = json!(results.warnings());
            if let Some(comparison) = comparison {
                value["comparison"] = serde_json::to_value(comparison)?;
            }
            println!("{}", serde_json::to_string_pretty(&value)?);
        }
        Format::Text => {
            println!("{}", table::text(results));
            if let Some(comparison) = comparison {
                println!("{}", comparison.text());
            }
        }
        Format::Markdown => {
            println!("{}", table::markdown(results));
            if let Some(comparison) = comparison {
                println!("```\n{}```", comparison.text());
            }
        }
    }
    Ok(())
}

/// A saved run.
fn read(path: &Path) -> Result<Results> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("{shown} can't be read"))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{shown} is no saved run"))?;
    let version = value["version"].as_u64();
    ensure!(
        version == Some(Results::VERSION.into()),
        "{shown} is no run that this version can compare with; save one again"
    );
    serde_json::from_value(value).with_context(|| format!("{shown} is no saved run"))
}
