//! `[metrics]`: where metrics and the status page are served.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use super::table::{Reader, Section, invalid};
use crate::{diagnostics::quoted, profile::ast::Spanned};

/// Where they are served unless the table says otherwise: on loopback, at a port that the
/// kernel doesn't hand out.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// What stands before the path of a Unix socket.
const UNIX: &str = "unix:";

/// Where metrics and the status page are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a TCP port.
    Tcp(SocketAddr),
    /// A Unix socket, for root.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "http://{address}/"),
            Self::Unix(path) => write!(formatter, "{UNIX}{}", path.display()),
        }
    }
}

/// What is served over HTTP, if anything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where. Of the default, it stands where the table does.
    pub listen: Spanned<Listen>,
}

/// `None` if there is no such table: nothing is served.
pub(super) fn metrics(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Metrics> {
    let value = top.take("metrics")?;
    let whole = reader.span(value.span());
    let mut section = reader.table(value, "metrics")?;
    let listen = reader.word(&mut section, "listen");
    let expose: Option<bool> = reader.value(&mut section, "expose");
    reader.finish(section);
    let Some(listen) = listen else {
        return Some(Metrics {
            listen: Spanned {
                value: Listen::Tcp(DEFAULT_ADDRESS),
                span: whole,
            },
        });
    };
    match read(&listen.value, expose.unwrap_or_default()) {
        Ok(value) => Some(Metrics {
            listen: Spanned {
                value,
                span: listen.span,
            },
        }),
        Err(Wrong { message, help }) => {
            reader.push(invalid(listen.span, message).help(help));
            None
        }
    }
}

/// What is wrong with a place to listen, and what to do.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    message: String,
    help: &'static str,
}

fn read(text: &str, expose: bool) -> Result<Listen, Wrong> {
    if let Some(path) = text.strip_prefix(UNIX) {
        let path = PathBuf::from(path);
        return match path.is_absolute() {
            true => Ok(Listen::Unix(path)),
            false => Err(Wrong {
                message: format!("{} names no absolute path", quoted(text)),
                help: "such as \"unix:/run/portreeve/metrics.sock\"",
            }),
        };
    }
    let address: SocketAddr = text.parse().map_err(|_| Wrong {
        message: format!("{} is no address with a port", quoted(text)),
        help: "such as \"127.0.0.1:9464\", \"[::1]:9464\" or \"unix:/run/portreeve/metrics.sock\"; names are not looked up",
    })?;
    if address.port() == 0 {
        return Err(Wrong {
            message: "port 0 would be another port each time".into(),
            help: "name a port, such as 9464",
        });
    }
    if !expose && !address.ip().to_canonical().is_loopback() {
        return Err(Wrong {
            message: format!("{address} can be reached from other hosts"),
            help: "there is neither a password nor encryption: keep it on 127.0.0.1 or [::1] and put a proxy in front, or say `expose = true`",
        });
    }
    Ok(Listen::Tcp(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_reach_must_be_meant() {
        for (text, expose, good) in [
            ("127.0.0.1:9464", false, true),
            ("127.8.0.1:1", false, true),
            ("[::1]:65535", false, true),
            ("[::ffff:127.0.0.1]:9464", false, true),
            ("0.0.0.0:9464", false, false),
            ("0.0.0.0:9464", true, true),
            ("[::]:9464", false, false),
            ("192.0.2.1:9464", false, false),
            ("192.0.2.1:9464", true, true),
        ] {
            assert_eq!(read(text, expose).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn only_what_is_plain_is_a_place() {
        for text in [
            "",
            "9464",
            ":9464",
            "localhost:9464",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "unix:",
            "unix:run/metrics.sock",
            "/run/metrics.sock",
            "http://127.0.0.1:9464/",
        ] {
            assert!(read(text, true).is_err(), "{text}");
        }
        assert_eq!(
            read("unix:/run/portreeve/metrics.sock", false),
            Ok(Listen::Unix("/run/portreeve/metrics.sock".into()))
        );
    }
}
