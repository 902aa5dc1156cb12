//! `[audit]`: ports whose rules are only watched while the others are enforced.

use portreeve_common::abi::Protocol;

use super::{
    access::stretch,
    table::{Reader, Section},
};
use crate::{
    diagnostics::{Code, Diagnostic, Span, quoted},
    profile::ast::Spanned,
};

/// Ports of one protocol that are in audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditedPorts {
    /// Of which protocol.
    pub protocol: Protocol,
    /// First and last; `None` for those that no entry names.
    pub ports: Option<(u16, u16)>,
    /// Where it is written.
    pub span: Span,
}

/// What stands for the ports that no entry names.
const UNRESERVED: &str = "unreserved";

pub(super) fn audited(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<AuditedPorts> {
    let mut section = reader.section(top, "audit");
    let words = reader.words(&mut section, "ports").unwrap_or_default();
    reader.finish(section);
    let mut audited = Vec::new();
    for Spanned { value, span } in words {
        match read(&value) {
            Some((protocols, ports)) => {
                audited.extend(protocols.iter().map(|protocol| AuditedPorts {
                    protocol: *protocol,
                    ports,
                    span,
                }));
            }
            None => reader.push(
                Diagnostic::error(
                    Code::BadAudit,
                    span,
                    format!("{} names no ports", quoted(&value)),
                )
                .help("write tcp/8080, udp/5000-5010 with first and last port, or unreserved or tcp/unreserved for the ports that no entry names"),
            ),
        }
    }
    audited
}

pub(super) type Named<'p> = (&'p [Protocol], Option<(u16, u16)>);

/// What `text` names: of which protocols, and which ports.
pub(super) fn read(text: &str) -> Option<Named<'static>> {
    let is_unreserved = |text: &str| text.trim().eq_ignore_ascii_case(UNRESERVED);
    if is_unreserved(text) {
        return Some((&Protocol::ALL, None));
    }
    let (protocol, ports) = text.split_once('/')?;
    let protocol = Protocol::ALL
        .iter()
        .find(|known| known.name().eq_ignore_ascii_case(protocol.trim()))?;
    let protocol = std::slice::from_ref(protocol);
    if is_unreserved(ports) {
        return Some((protocol, None));
    }
    Some((protocol, Some(stretch(ports)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_named_with_their_protocol() {
        const TCP: &[Protocol] = &[Protocol::Tcp];
        const UDP: &[Protocol] = &[Protocol::Udp];
        for (text, named) in [
            ("tcp/8080", Some((TCP, Some((8080, 8080))))),
            ("UDP/5000-5010", Some((UDP, Some((5000, 5010))))),
            ("tcp / 1-65535", Some((TCP, Some((1, 65535))))),
            ("unreserved", Some((&Protocol::ALL[..], None))),
            ("udp/Unreserved", Some((UDP, None))),
            ("8080", None),
            ("tcp", None),
            ("tcp/", None),
            ("tcp/0", None),
            ("tcp/65536", None),
            ("tcp/5010-5000", None),
            ("tcp/80,81", None),
            ("tcp/+80", None),
            ("sctp/80", None),
            ("tcp/udp/80", None),
            ("", None),
        ] {
            assert_eq!(read(text), named, "{text}");
        }
    }
}
