//! `portreeve status`

use anyhow::{Context as _, Result};

use super::{NO, NO_ANSWER, Paths, YES};
use crate::{
    daemon::{
        client,
        held::Held,
        protocol::{AttachStatus, Request, Status},
    },
    kernel::{features::Features, held, hooks, pins::Pins},
    report::{self, Format, status},
};

/// Exit status 0 only when an agent answers and its mode is proven; without an
/// agent, what the kernel holds is shown all the same.
pub fn run(paths: &Paths) -> Result<u8> {
    let (status, code) = match client::ask::<Status>(&paths.socket, &Request::Status {}) {
        Ok(mut status) => {
            hooks::name(&mut status.neighbours);
            let code = if status::is_proven(&status) { YES } else { NO };
            (status, code)
        }
        Err(error) if error.is_no_agent() || error.is_other_protocol() => {
            anstream::eprintln!("portreeve: {error}");
            let held = held::held(&Pins::new(&paths.bpffs))
                .context("nothing can be said of the kernel")?;
            let shown = Held {
                active: held.active,
                info: &held.info,
                hooks: &held.hooks,
                counters: &held.counters,
                pool: &held.pool,
                features: Features::of_host(),
            };
            (
                shown.status(AttachStatus {
                    path: None,
                    id: held.cgroup.unwrap_or(0),
                }),
                NO_ANSWER,
            )
        }
        Err(error) => return Err(error.into()),
    };
    match paths.format {
        Format::Json => report::json(&status)?,
        Format::Text => {
            let width = report::terminal_width();
            report::line(&status::on_terminal(&status::text(&status), width));
        }
    }
    Ok(code)
}
