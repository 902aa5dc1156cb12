//! `portreeve events`

use std::io;

use anyhow::Result;
use clap::Args;

use super::{Paths, YES};
use crate::{
    daemon::client::{self, ClientError},
    report::{self, Format},
};

#[derive(Debug, Args)]
#[command(
    after_help = "The agent keeps the last 1000 events. What repeats within a second comes as one line that \
says how often.

Examples:
  portreeve events                          what was refused lately
  portreeve events --follow                 ... and from now on, until Ctrl-C
  portreeve events --follow --format json   one JSON object per line
  portreeve events --ports --follow         which ports open and close, and why"
)]
pub struct Events {
    /// Go on with new events until interrupted
    #[arg(long, short)]
    follow: bool,
    /// News of ports in the place of binds: who opened and closed which, and alerts about
    /// those that are not as expected
    #[arg(long)]
    ports: bool,
}

impl Events {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        let shown = client::events(
            &paths.socket,
            self.follow,
            self.ports,
            |json, line| match paths.format {
                Format::Json => report::try_line(json),
                Format::Text => report::try_line(&report::events::line(&line)),
            },
        );
        match shown {
            // Whoever read us has seen enough.
            Err(ClientError::Broken(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(YES),
            shown => Ok(shown.map(|()| YES)?),
        }
    }
}
