//! `portreeve ports`

use anyhow::Result;
use clap::Args;

use super::{NO, Paths, Style, YES, parse_port};
use crate::{
    daemon::{
        client,
        protocol::{EventLine, ExpectRow, PortRow, Request, SocketRow},
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

Exit status 1: ports were asked for and none of them is reserved, or of the other lists: is \
in it; with --expect, a port is not as expected.

Examples:
  portreeve ports                     what is reserved, who has it
  portreeve ports tcp/21              all about one port, and who was refused it
  portreeve ports --expect            is every port as it is expected to be?
  portreeve ports --server            who listens, on ports of whatever kind
  portreeve ports --conn tcp/443      the connections of a port
  portreeve ports --format markdown   the register for a document"
)]
pub struct Ports {
    /// Only the entries that cover these ports, such as tcp/21; up to six
    #[arg(value_parser = parse_port, value_name = "PROTOCOL/PORT", num_args = 0..=MAX_FILTERS)]
    filters: Vec<(String, u16)>,
    /// Show in which order a port's entries are looked at and why, where they are
    /// written, and every holder of a range
    #[arg(long, short)]
    verbose: bool,
    /// Say whether ports are as [[expect]] and AUTOLOG expect them to be
    #[arg(long, group = "list")]
    expect: bool,
    /// List all sockets, with their jobs and whom they are connected to
    #[arg(long, group = "list")]
    conn: bool,
    /// List those that wait for whoever comes, on reserved ports and on others; with
    /// --all in detail
    #[arg(long, conflicts_with_all = ["expect", "conn"])]
    server: bool,
    /// List all sockets with processes, sharing and queues
    #[arg(long, group = "list")]
    all: bool,
}

impl Ports {
    /// Whether it shows the register whole, which is a table.
    pub const fn makes_tables(&self) -> bool {
        !(self.expect || self.conn || self.server || self.all || self.verbose)
    }

    pub fn run(self, paths: &Paths) -> Result<u8> {
        if self.expect {
            return self.expectations(paths);
        }
        if self.conn || self.server || self.all {
            return self.sockets(paths);
        }
        let mut rows: Vec<PortRow> = client::ask(&paths.socket, &Request::Ports {})?;
        rows.retain(|row| self.asks_for(&row.protocol, row.first, row.last));
        match paths.style {
            Style::Json => report::json(&rows)?,
            Style::Markdown => report::line(&report::export::markdown(&rows)),
            Style::Csv => report::line(&report::export::csv(&rows)),
            Style::Text if self.filters.is_empty() => {
                report::line(&report::ports::text(&rows, self.verbose));
            }
            Style::Text => self.details(&rows, paths)?,
        }
        Ok(self.found(rows.len()))
    }

    /// Whether one of the ports asked for is among these, or none is asked for.
    fn asks_for(&self, protocol: &str, first: u16, last: u16) -> bool {
        let is_there =
            |(wanted, port): &(String, u16)| wanted == protocol && (first..=last).contains(port);
        self.filters.is_empty() || self.filters.iter().any(is_there)
    }

    /// The answer where so many rows are shown.
    const fn found(&self, rows: usize) -> u8 {
        match rows == 0 && !self.filters.is_empty() {
            true => NO,
            false => YES,
        }
    }

    fn expectations(&self, paths: &Paths) -> Result<u8> {
        let mut rows: Vec<ExpectRow> = client::ask(&paths.socket, &Request::Expect {})?;
        rows.retain(|row| self.asks_for(&row.protocol, row.first, row.last));
        match paths.format {
            Format::Json => report::json(&rows)?,
            Format::Text => report::line(&report::expect::text(&rows)),
        }
        match rows.iter().all(|row| row.met) {
            true => Ok(self.found(rows.len())),
            false => Ok(NO),
        }
    }

    fn sockets(&self, paths: &Paths) -> Result<u8> {
        let mut rows: Vec<SocketRow> = client::ask(&paths.socket, &Request::Sockets {})?;
        rows.retain(|row| {
            let port = row.local_port;
            (row.serves || !self.server) && self.asks_for(&row.protocol, port, port)
        });
        match paths.format {
            Format::Json => report::json(&rows)?,
            Format::Text => report::line(&report::sockets::text(&rows, self.all)),
        }
        Ok(self.found(rows.len()))
    }

    /// All about each of the ports.
    fn details(&self, rows: &[PortRow], paths: &Paths) -> Result<()> {
        let mut events = Vec::new();
        client::events(&paths.socket, false, false, |_, line| {
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
