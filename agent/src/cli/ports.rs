//! `portreeve ports`

use anyhow::Result;
use clap::Args;

use super::{NO, Paths, YES, parse_port};
use crate::{
    daemon::{
        client,
        protocol::{EventLine, PortRow, Request},
    },
    report::{self, Format, refusals::Refusals},
};

/// Most ports to ask for at once (`RPT-06`).
const MAX_FILTERS: usize = 6;

#[derive(Debug, Args)]
#[command(
    after_help = "States, of the sockets in the agent's own network namespace:
  blocked        RESERVED, and nobody has it
  closed         nobody has it
  bound          a rightful job has it, but doesn't listen (from Linux 6.8 on)
  open           a rightful job listens
  contradicted   somebody has it whom the policy would refuse now

Mode: nothing where the entry is enforced; audit where what it refuses is only told, of some \
ports of a range if these are named.

Flags: A watched by AUTOLOG, D delayed acknowledgements, R range, M/N SMC on/off.

Exit status 1: ports were asked for and none of them is reserved.

Examples:
  portreeve ports          the register: what is reserved, who has it
  portreeve ports tcp/21   all about one port, and who was refused it lately"
)]
pub struct Ports {
    /// Only the entries that cover these ports, such as tcp/21; up to six
    #[arg(value_parser = parse_port, value_name = "PROTOCOL/PORT", num_args = 0..=MAX_FILTERS)]
    filters: Vec<(String, u16)>,
    /// Show in which order a port's entries are looked at and why, where they are
    /// written, and every holder of a range
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
            Format::Text if self.filters.is_empty() => {
                report::line(&report::ports::text(&rows, self.verbose));
            }
            Format::Text => self.details(&rows, paths)?,
        }
        Ok(if rows.is_empty() && !self.filters.is_empty() {
            NO
        } else {
            YES
        })
    }

    /// All about each of the ports.
    fn details(&self, rows: &[PortRow], paths: &Paths) -> Result<()> {
        let mut events = Vec::new();
        client::events(&paths.socket, false, |_, line| {
            if let EventLine::Event(event) = line {
                events.push(*event);
            }
            Ok(())
        })?;
        let refusals = Refusals::new(events);
        for (index, wanted) in self.filters.iter().enumerate() {
            let (protocol, port) = wanted;
            let rows = rows.iter().filter(|row| covers(row, wanted)).cloned();
            let rows: Vec<PortRow> = rows.collect();
            let refused = refusals.of_ports(protocol, *port..=*port);
            if index > 0 {
                report::line("");
            }
            report::prose(&report::one_port::text(&rows, &refused, protocol, *port));
        }
        Ok(())
    }
}

fn covers(row: &PortRow, (protocol, port): &(String, u16)) -> bool {
    row.protocol == *protocol && (row.first..=row.last).contains(port)
}
