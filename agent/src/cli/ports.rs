//! `portreeve ports`

use anyhow::Result;
use clap::Args;

use super::{NO, Paths, YES, parse_port};
use crate::{
    daemon::{
        client,
        protocol::{PortRow, Request},
    },
    report::{self, Format},
};

/// Most ports to ask for at once (`RPT-06`).
const MAX_FILTERS: usize = 6;

#[derive(Debug, Args)]
#[command(
    after_help = "Flags: A watched by AUTOLOG, D delayed acknowledgements, R range, M/N SMC on/off.
Exit status 1: ports were asked for and none of them is reserved."
)]
pub struct Ports {
    /// Only the entries that cover these ports, such as tcp/21; up to six
    #[arg(value_parser = parse_port, value_name = "PROTOCOL/PORT", num_args = 0..=MAX_FILTERS)]
    filters: Vec<(String, u16)>,
    /// Show in which order a port's entries are looked at and why, and where they are
    /// written
    #[arg(long, short)]
    verbose: bool,
}

impl Ports {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        let mut rows: Vec<PortRow> = client::ask(&paths.socket, &Request::Ports {})?;
        rows.retain(|row| {
            self.filters.is_empty() || self.filters.iter().any(|wanted| covers(row, wanted))
        });
        match paths.format {
            Format::Json => report::json(&rows)?,
            Format::Text => report::line(&report::ports::text(&rows, self.verbose)),
        }
        Ok(if rows.is_empty() && !self.filters.is_empty() {
            NO
        } else {
            YES
        })
    }
}

fn covers(row: &PortRow, (protocol, port): &(String, u16)) -> bool {
    row.protocol == *protocol && (row.first..=row.last).contains(port)
}
