//! `portreeve confirm`

use anyhow::Result;
use serde_json::Value;

use super::{NO, Paths, YES};
use crate::{
    daemon::{client, protocol::Request},
    report::{self, Format},
};

pub fn run(paths: &Paths) -> Result<u8> {
    let confirmed: Value = match client::ask(&paths.socket, &Request::Confirm {}) {
        Ok(confirmed) => confirmed,
        Err(client::ClientError::Failed(why)) => {
            anstream::eprintln!("portreeve: not confirmed: {why}");
            return Ok(NO);
        }
        Err(error) => return Err(error.into()),
    };
    match paths.format {
        Format::Json => report::json(&confirmed)?,
        Format::Text => report::line(&format!(
            "confirmed: generation {}",
            confirmed["generation"]
        )),
    }
    Ok(YES)
}
