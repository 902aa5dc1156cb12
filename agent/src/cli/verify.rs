//! `portreeve verify`

use anyhow::Result;

use super::{NO, Paths, YES};
use crate::{
    daemon::{client, protocol::Request},
    report::{
        self, Format,
        verify::{text, verify},
    },
};

/// Asks for a new proof, and looks at all ports.
pub fn run(paths: &Paths) -> Result<u8> {
    let status = client::ask(&paths.socket, &Request::Status {})?;
    let expected: Vec<_> = client::ask(&paths.socket, &Request::Expect {})?;
    let rows: Vec<_> = client::ask(&paths.socket, &Request::Ports {})?;
    let found = verify(&status, &rows, &expected);
    match paths.format {
        Format::Json => report::json(&found)?,
        Format::Text => report::prose(&text(&found)),
    }
    Ok(if found.ok { YES } else { NO })
}
