//! `portreeve probe`

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Result, bail};
use clap::Args;
use portreeve_common::abi::Protocol;

use super::{NO, NO_ANSWER, Paths, YES, parse_port};
use crate::{
    daemon::{
        client,
        protocol::{PortRow, Request},
    },
    ports::probe::{Seen, answering, connect, is_own},
    report::{
        self, Format,
        probe::{Local, Register, Report, text},
    },
};

#[derive(Debug, Args)]
#[command(
    after_help = "It is a real connection, which the server may log, and it is hung up at once. A \
connection from this host passes no filter that stands before it, so another host may see \
something else. UDP is not probed: a server that answers nothing looks like one that isn't there.

Exit status 0: it was accepted; 1: it was not; 2: wrong usage, or this host could not even try.

Examples:
  portreeve probe tcp/21                       on the loopback address
  portreeve probe tcp/443 --address 192.0.2.7
  portreeve probe tcp/21 --timeout 1 --format json"
)]
pub struct Probe {
    /// The port, such as tcp/21
    #[arg(value_parser = parse_port, value_name = "PROTOCOL/PORT")]
    target: (String, u16),
    /// The address to connect to
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// How long to wait for an answer, in seconds; a neighbour that isn't there takes the
    /// kernel three
    #[arg(long, value_name = "SECS", default_value = "5", value_parser = seconds)]
    timeout: Duration,
}

impl Probe {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        let (protocol, port) = &self.target;
        if protocol != Protocol::Tcp.name() {
            bail!(
                "UDP is not probed: a server that answers nothing and a port that is filtered look alike, and any packet could mean something to the server; `portreeve ports {protocol}/{port}` says whether somebody has it"
            );
        }
        if *port == 0 {
            bail!("port 0 is none that a client could connect to");
        }
        let probe = connect((self.address, *port).into(), self.timeout);
        let is_own = is_own(self.address)?;
        // Behind the attempt: what made it fail is still there.
        let found = match is_own {
            true => answering(self.address, *port).ok(),
            false => Some(Vec::new()),
        };
        let local = match (&found, is_own) {
            (_, false) => Local::Elsewhere,
            (Some(found), true) => Local::of(found),
            (None, true) => Local::Unknown,
        };
        let register = is_own.then(|| self.register(paths)).flatten();
        let report = Report::new(
            &self.target,
            self.address.to_string(),
            probe,
            local,
            &found.unwrap_or_default(),
            register,
        );
        match paths.format {
            Format::Json => report::json(&report)?,
            Format::Text => report::prose(&text(&report)),
        }
        Ok(match probe.seen {
            Seen::Accepted => YES,
            Seen::Failed(_) => NO_ANSWER,
            _ => NO,
        })
    }

    /// What the agent knows of the port, if one answers.
    fn register(&self, paths: &Paths) -> Option<Register> {
        let (protocol, port) = &self.target;
        let mut rows: Vec<PortRow> = client::ask(&paths.socket, &Request::Ports {}).ok()?;
        rows.retain(|row| row.protocol == *protocol && (row.first..=row.last).contains(port));
        Some(Register::of(&rows, *port))
    }
}

/// How long to wait.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s| (0.05..=300.0).contains(s));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("{text:?} is not a number of seconds between 0.05 and 300"))
}
