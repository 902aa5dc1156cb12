//! `portreeve fleet`

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use clap::Args;

use super::{NO, Paths, YES};
use crate::{
    daemon::protocol::Status,
    report::{
        self, Format,
        fleet::{Node, fleet, text},
    },
};

#[derive(Debug, Args)]
#[command(
    after_help = "Each FILE is what `portreeve status --format json` said on one node, which is called what \
the file is called. One that is empty, because a node didn't answer, is a node that isn't proven.

Exit status 0: all nodes have the same profile in force in the same mode, proven, and as their \
files say; 1: they haven't; 2: a file can't be read.

Examples:
  for node in $(cat nodes); do
    ssh \"$node\" portreeve status --format json > \"status/$node.json\"
  done
  portreeve fleet status/*.json
  portreeve fleet --format json status/*.json | jq '.nodes[].problems'"
)]
pub struct Fleet {
    /// The status of a node, as JSON
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Fleet {
    /// Reads them all, and compares.
    pub fn run(&self, paths: &Paths) -> Result<u8> {
        let mut nodes = BTreeMap::new();
        for file in &self.files {
            let name = name(file);
            let text = fs::read(file)
                .map_err(|error| anyhow::anyhow!("{} can't be read: {error}", file.display()))?;
            let before = nodes.insert(name.clone(), status(&text));
            ensure!(before.is_none(), "two files are of node {name}");
        }
        let nodes = nodes
            .into_iter()
            .map(|(name, status)| Node { name, status });
        let found = fleet(nodes.collect());
        match paths.format {
            Format::Json => report::json(&found)?,
            Format::Text => report::line(&text(&found)),
        }
        Ok(if found.ok { YES } else { NO })
    }
}

/// The node that a file is of: its name without what JSON files end in.
fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    let name = name.to_string_lossy();
    name.strip_suffix(".json").unwrap_or(&name).to_owned()
}

/// What a node said; why that is no status.
fn status(text: &[u8]) -> Result<Status, String> {
    if text.trim_ascii().is_empty() {
        return Err("it said nothing".to_owned());
    }
    serde_json::from_slice(text).map_err(|error| format!("what it said is no status: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_called_what_files_are_called() {
        for (file, node) in [
            ("a/b.json", "b"),
            ("node-1.example.com.json", "node-1.example.com"),
            ("node-1.example.com", "node-1.example.com"),
        ] {
            assert_eq!(name(Path::new(file)), node);
        }
    }

    #[test]
    fn what_is_no_status_is_a_node_without_one() {
        for (text, word) in [
            ("", "nothing"),
            (" \n", "nothing"),
            ("ssh: no route", "no status"),
            ("{}", "no status"),
        ] {
            let why = status(text.as_bytes()).unwrap_err();
            assert!(why.contains(word), "{text:?}: {why}");
        }
    }
}
