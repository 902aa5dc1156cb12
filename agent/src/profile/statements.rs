//! The names of z/OS profile statements, and how each one ends.

use super::lexer::{Word, abbreviates};

/// What is done with a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PORT.
    Port,
    /// PORTRANGE.
    PortRange,
    /// DELETE.
    Delete,
    /// TCPCONFIG.
    TcpConfig,
    /// UDPCONFIG.
    UdpConfig,
    /// IPCONFIG.
    IpConfig,
    /// GLOBALCONFIG.
    GlobalConfig,
    /// SACONFIG.
    SaConfig,
    /// AUTOLOG.
    Autolog,
    /// INCLUDE.
    Include,
    /// Stepped over, to this END statement.
    Block(End),
    /// Stepped over, with so many operands.
    Words(u8),
    /// Stepped over, to the next statement name that starts a line. Names occur
    /// inside such statements (a PORT operand, a link named like a statement),
    /// but hardly there.
    Open,
}

/// The name of an END statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The full name.
    pub name: &'static str,
    shortest: usize,
}

impl End {
    const fn new(name: &'static str) -> Self {
        Self::short(name, name.len())
    }

    const fn short(name: &'static str, shortest: usize) -> Self {
        Self { name, shortest }
    }

    /// Whether `word` is this END statement.
    pub fn is(&self, word: &Word) -> bool {
        word.abbreviates(self.name, self.shortest)
    }
}

/// What ends AUTOLOG.
pub const END_AUTOLOG: End = End::new("ENDAUTOLOG");

/// A statement of z/OS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its full name.
    pub name: &'static str,
    /// Length of its shortest abbreviation.
    shortest: usize,
    /// What is done with it.
    pub kind: Kind,
}

impl Statement {
    /// Whether the statement means something here.
    pub fn is_ours(&self) -> bool {
        !matches!(self.kind, Kind::Block(_) | Kind::Words(_) | Kind::Open)
    }
}

const fn full(name: &'static str, kind: Kind) -> Statement {
    short(name, name.len(), kind)
}

const fn short(name: &'static str, shortest: usize, kind: Kind) -> Statement {
    Statement {
        name,
        shortest,
        kind,
    }
}

const fn block(name: &'static str, end: &'static str) -> Statement {
    full(name, Kind::Block(End::new(end)))
}

/// Every statement, those with a meaning here first.
pub const STATEMENTS: &[Statement] = &[
    full("PORT", Kind::Port),
    short("PORTRANGE", 5, Kind::PortRange),
    short("DELETE", 4, Kind::Delete),
    short("TCPCONFIG", 7, Kind::TcpConfig),
    full("UDPCONFIG", Kind::UdpConfig),
    short("IPCONFIG", 6, Kind::IpConfig),
    full("GLOBALCONFIG", Kind::GlobalConfig),
    short("SACONFIG", 6, Kind::SaConfig),
    full("AUTOLOG", Kind::Autolog),
    full("INCLUDE", Kind::Include),
    block("ASSORTEDPARMS", "ENDASSORTEDPARMS"),
    short("BEGINROUTES", 6, Kind::Block(End::short("ENDROUTES", 4))),
    block("BEGINVTAM", "ENDVTAM"),
    block("BSDROUTINGPARMS", "ENDBSDROUTINGPARMS"),
    block("DEFADDRTABLE", "ENDDEFADDRTABLE"),
    block("INTERNALCLIENTPARMS", "ENDINTERNALCLIENTPARMS"),
    block("IPSEC", "ENDIPSEC"),
    block("KEEPALIVEOPTIONS", "ENDKEEPALIVEOPTIONS"),
    block("NETACCESS", "ENDNETACCESS"),
    block("SRCIP", "ENDSRCIP"),
    block("TELNETGLOBALS", "ENDTELNETGLOBALS"),
    block("TELNETPARMS", "ENDTELNETPARMS"),
    block("VIPADYNAMIC", "ENDVIPADYNAMIC"),
    full("ARPAGE", Kind::Words(1)),
    full("DATASETPREFIX", Kind::Words(1)),
    full("PRIMARYINTERFACE", Kind::Words(1)),
    full("SOMAXCONN", Kind::Words(1)),
    full("START", Kind::Words(1)),
    full("STOP", Kind::Words(1)),
    full("ATMARPSV", Kind::Open),
    full("ATMLIS", Kind::Open),
    full("ATMPVC", Kind::Open),
    short("DEVICE", 3, Kind::Open),
    full("GATEWAY", Kind::Open),
    full("HOME", Kind::Open),
    full("INTERFACE", Kind::Open),
    full("IPCONFIG6", Kind::Open),
    full("ITRACE", Kind::Open),
    full("LINK", Kind::Open),
    full("NETMONITOR", Kind::Open),
    full("OSAENTA", Kind::Open),
    full("PKTTRACE", Kind::Open),
    full("SMFCONFIG", Kind::Open),
    full("SMFPARMS", Kind::Open),
    full("SYSCONTACT", Kind::Open),
    full("SYSLOCATION", Kind::Open),
    full("TRANSLATE", Kind::Open),
    full("VIPASMPARMS", Kind::Open),
];

/// The statement that `word` names, in full or abbreviated.
pub fn lookup(word: &Word) -> Option<&'static Statement> {
    let first = word.text.bytes().next()?.to_ascii_uppercase();
    STATEMENTS
        .iter()
        .filter(|statement| statement.name.as_bytes().first() == Some(&first))
        .find(|statement| abbreviates(&word.text, statement.name, statement.shortest))
}

/// The END statement that `word` names.
pub fn lookup_end(word: &Word) -> Option<End> {
    if !word.text.get(..3)?.eq_ignore_ascii_case("END") {
        return None;
    }
    let blocks = STATEMENTS
        .iter()
        .filter_map(|statement| match statement.kind {
            Kind::Block(end) => Some(end),
            _ => None,
        });
    blocks
        .chain(std::iter::once(END_AUTOLOG))
        .find(|end| end.is(word))
}

/// Whether `word` can start a statement or end a block.
pub fn is_known(word: &Word) -> bool {
    lookup(word).is_some() || lookup_end(word).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::{Sources, Span};

    fn word(text: &str) -> Word {
        let source = Sources::new().add("p".into(), "");
        let (start, end) = (0, 0);
        Word {
            text: text.into(),
            span: Span { source, start, end },
            starts_line: true,
            undefined: None,
        }
    }

    fn name(text: &str) -> Option<&'static str> {
        lookup(&word(text)).map(|statement| statement.name)
    }

    /// `SYN-07`.
    #[test]
    fn abbreviations_name_one_statement() {
        assert_eq!(name("PORT"), Some("PORT"));
        assert_eq!(name("portr"), Some("PORTRANGE"));
        assert_eq!(name("POR"), None);
        assert_eq!(name("PORTNAME"), None);
        assert_eq!(name("TCPCONF"), Some("TCPCONFIG"));
        assert_eq!(name("UDPCONF"), None);
        assert_eq!(name("IPCONF"), Some("IPCONFIG"));
        assert_eq!(name("IPCONFIG"), Some("IPCONFIG"));
        assert_eq!(name("IPCONFIG6"), Some("IPCONFIG6"));
        assert_eq!(name("DELE"), Some("DELETE"));
        assert_eq!(name("DEV"), Some("DEVICE"));
        assert_eq!(name("PROT"), None);
        assert_eq!(name(""), None);
        for statement in STATEMENTS {
            assert_eq!(name(statement.name), Some(statement.name));
            assert!(statement.shortest <= statement.name.len());
        }
    }

    #[test]
    fn ends_are_known() {
        assert_eq!(lookup_end(&word("endautolog")), Some(END_AUTOLOG));
        assert_eq!(
            lookup_end(&word("ENDR")).map(|end| end.name),
            Some("ENDROUTES")
        );
        assert_eq!(lookup_end(&word("END")), None);
        assert_eq!(lookup_end(&word("ENÄ")), None);
    }
}
