//! What DELAYSTART waits for.

use std::{fs, net::IpAddr, path::PathBuf};

use crate::{
    config::{Condition, Config},
    policy::{
        autolog::{Procedure, awaited},
        reservations::Reservation,
    },
    ports::can_be_bound,
};

/// Something that has to hold before a procedure is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The address can be bound (`ALG-10`).
    Address(IpAddr),
    /// The file is there and not empty (`ALG-09`).
    File(PathBuf),
    /// The unit is active (`ALG-09`).
    Unit(String),
}

/// All that `procedure` waits for, among the `entries` that take effect (`ALG-11`).
pub fn of(procedure: &Procedure, config: &Config, entries: &[Reservation]) -> Vec<Awaited> {
    let mut all = Vec::new();
    if procedure.after_dvipa {
        let addresses = awaited(config, entries, &procedure.job);
        all.extend(addresses.into_iter().map(Awaited::Address));
    }
    if procedure.after_ttls {
        match &config.delaystart.ttls {
            Some(Condition::Unit(unit)) => all.push(Awaited::Unit(unit.clone())),
            Some(Condition::Files(files)) => {
                all.extend(files.iter().cloned().map(Awaited::File));
            }
            None => {}
        }
    }
    all
}

impl Awaited {
    /// What is missing, if it doesn't hold; `None` if it does. Of a unit, whether it is
    /// active is for `is_active` to say.
    pub async fn lacking(&self, is_active: impl AsyncFnOnce(&str) -> bool) -> Option<String> {
        match self {
            Self::Address(address) => {
                (!can_be_bound(*address)).then(|| format!("address {address}"))
            }
            Self::File(path) => {
                let is_there = fs::metadata(path).is_ok_and(|file| file.len() > 0);
                (!is_there).then(|| format!("file {}", path.display()))
            }
            Self::Unit(unit) => (!is_active(unit).await).then(|| format!("unit {unit}")),
        }
    }
}
