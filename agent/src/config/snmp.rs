//! `[snmp]`: where the SNMP agent is that `SACONFIG`'s subagent talks to.

use std::{fmt, net::SocketAddr, path::PathBuf};

use super::table::{Reader, Section, invalid};
use crate::{diagnostics::quoted, oid::Oid};

/// Where SNMP agents listen for subagents.
pub const DEFAULT_MASTER: &str = "/var/agentx/master";
/// Where `PORTREEVE-MIB` is: in the arc that net-snmp leaves for whoever has no number of an
/// enterprise.
const DEFAULT_BASE: [u32; 10] = [1, 3, 6, 1, 4, 1, 8072, 9999, 9999, 28786];
/// What stands before the path of a Unix socket.
const UNIX: &str = "unix:";
/// What stands before an address.
const TCP: &str = "tcp:";
/// What numbers of enterprises are below.
const ENTERPRISES: [u32; 6] = [1, 3, 6, 1, 4, 1];
/// Most numbers of a base: what is below it has some more.
const MOST_NUMBERS: usize = 64;

/// Where a master listens for subagents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Master {
    /// A Unix socket.
    Unix(PathBuf),
    /// An address of this host's own, and a TCP port.
    Tcp(SocketAddr),
}

impl fmt::Display for Master {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "{UNIX}{}", path.display()),
            Self::Tcp(address) => write!(formatter, "{TCP}{address}"),
        }
    }
}

/// Whom the subagent talks to, and what it answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snmp {
    /// Where the master is; `None` if the config doesn't say.
    pub master: Option<Master>,
    /// What `PORTREEVE-MIB` is below.
    pub base: Oid,
}

impl Default for Snmp {
    fn default() -> Self {
        Self {
            master: None,
            base: Oid::new(DEFAULT_BASE),
        }
    }
}

pub(super) fn snmp(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Snmp {
    let mut section = reader.section(top, "snmp");
    let master = reader.word(&mut section, "master");
    let base = reader.word(&mut section, "base");
    reader.finish(section);
    let master = master.and_then(|master| match read(&master.value) {
        Ok(master) => Some(master),
        Err(Wrong { message, help }) => {
            reader.push(invalid(master.span, message).help(help));
            None
        }
    });
    let base = base.and_then(|base| {
        let oid: Option<Oid> = base.value.parse().ok();
        let is_own = |oid: &Oid| {
            let numbers = oid.numbers();
            numbers.starts_with(&ENTERPRISES)
                && (ENTERPRISES.len() + 1..=MOST_NUMBERS).contains(&numbers.len())
        };
        let oid = oid.filter(is_own);
        if oid.is_none() {
            let message = format!("{} is nothing that an enterprise has", quoted(&base.value));
            reader.push(invalid(base.span, message).help(
                "1.3.6.1.4.1., the number of your enterprise, and what you have set aside for portreeve",
            ));
        }
        oid
    });
    Snmp {
        master,
        base: base.unwrap_or(Snmp::default().base),
    }
}

/// What is wrong with a place, and what to do.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    message: String,
    help: &'static str,
}

fn read(text: &str) -> Result<Master, Wrong> {
    const HELP: &str =
        "such as \"unix:/var/agentx/master\" or \"tcp:127.0.0.1:705\"; names are not looked up";
    if let Some(path) = text.strip_prefix(UNIX) {
        let path = PathBuf::from(path);
        return match path.is_absolute() {
            true => Ok(Master::Unix(path)),
            false => Err(Wrong {
                message: format!("{} names no absolute path", quoted(text)),
                help: HELP,
            }),
        };
    }
    let address = text.strip_prefix(TCP);
    let address: Option<SocketAddr> = address.and_then(|address| address.parse().ok());
    let Some(address) = address.filter(|address| address.port() != 0) else {
        return Err(Wrong {
            message: format!("{} is no place where an SNMP agent is", quoted(text)),
            help: HELP,
        });
    };
    match address.ip().to_canonical().is_loopback() {
        true => Ok(Master::Tcp(address)),
        false => Err(Wrong {
            message: format!("{address} is on the network"),
            help: "AgentX has no passwords: whoever answers there would be believed. The SNMP agent has to be this host's own",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_are_this_hosts_own() {
        for (text, good) in [
            ("unix:/var/agentx/master", true),
            ("tcp:127.0.0.1:705", true),
            ("tcp:[::1]:705", true),
            ("tcp:[::ffff:127.0.0.1]:705", true),
            ("tcp:192.0.2.1:705", false),
            ("tcp:0.0.0.0:705", false),
            ("tcp:127.0.0.1:0", false),
            ("tcp:127.0.0.1", false),
            ("tcp:localhost:705", false),
            ("unix:var/agentx/master", false),
            ("unix:", false),
            ("/var/agentx/master", false),
            ("127.0.0.1:705", false),
            ("", false),
        ] {
            assert_eq!(read(text).is_ok(), good, "{text}");
        }
        for text in ["unix:/var/agentx/master", "tcp:127.0.0.1:705"] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
    }
}
