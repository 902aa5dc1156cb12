//! ADDTCPPORT and RMVTCPPORT as administrators write them.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::policy::accounts::FixedAccounts;

type Entry = (Protocol, u16, u16, Vec<u32>);

fn run(text: &str) -> (Vec<Entry>, Vec<(Code, u32)>) {
    let (mut sources, mut diagnostics) = (Sources::new(), Diagnostics::new());
    let accounts = FixedAccounts::new([("appadm", 5), ("QTCP", 6), ("web-app", 7)], []);
    let found = read(
        Path::new("p.clp"),
        text,
        &accounts,
        &mut sources,
        &mut diagnostics,
    );
    let entry = |r: Restriction| (r.protocol, r.first, r.last, r.users.into_iter().collect());
    let entries = found.into_iter().map(entry).collect();
    let codes = diagnostics
        .iter()
        .map(|d| (d.code, d.span.map_or(0, |span| sources.line(span))));
    (entries, codes.collect())
}

fn tcp(first: u16, last: u16, user: u32) -> Entry {
    (Protocol::Tcp, first, last, vec![user])
}

/// `IBI-01`, `IBI-03`, `IBI-04`, `IBI-05`.
#[test]
fn commands_are_written_in_many_ways() {
    let text = "/* ports of the\n applications */\n\
        ADDTCPPORT PORT(8400 8410) PROTOCOL(*TCP) USRPRF(APPADM)\n\
        addtcpport port(8411) protocol(*udp) usrprf(QTCP) /* lower case */\n\
        ADDTCPPORT 8412 *TCP appadm\n\
        ADDTCPPORT (8413 8414) *TCP USRPRF('web-app')\r\n\
        QSYS/ADDTCPPORT USRPRF(1042) PROTOCOL (*TCP) PORT(8415 *ONLY)\n\
        \n\
        ADDTCPPORT PORT(8416 +\n     8417) -\n  PROTOCOL(*TCP) USRPRF(APP+\n   ADM)\n\
        PGM\nENDPGM";
    let (entries, found) = run(text);
    assert_eq!(found, []);
    assert_eq!(
        entries,
        [
            tcp(8400, 8410, 5),
            (Protocol::Udp, 8411, 8411, vec![6]),
            tcp(8412, 8412, 5),
            tcp(8413, 8414, 7),
            tcp(8415, 8415, 1042),
            tcp(8416, 8417, 5),
        ]
    );
}

/// `IBI-10`, A-23.
#[test]
fn removals_name_what_was_added() {
    let add = "ADDTCPPORT (2000 2010) *TCP APPADM\nADDTCPPORT 2005 *TCP APPADM\nADDTCPPORT 2005 *TCP QTCP\n\
               ADDTCPPORT 2005 *UDP APPADM\n";
    let left = |removal: &str| run(&format!("{add}{removal}\n"));
    let (entries, found) = left("RMVTCPPORT PORT(2005 *ONLY) PROTOCOL(*TCP) USRPRF(appadm)");
    assert_eq!(found, []);
    assert_eq!(entries.len(), 3);
    assert!(!entries.contains(&tcp(2005, 2005, 5)));
    let (entries, found) = left("RMVTCPPORT PORT(*ALL) PROTOCOL(*TCP) USRPRF(APPADM)");
    assert_eq!(found, []);
    assert_eq!(
        entries,
        [tcp(2005, 2005, 6), (Protocol::Udp, 2005, 2005, vec![5])]
    );
    for removal in [
        "RMVTCPPORT (2000 2009) *TCP APPADM",
        "RMVTCPPORT 2001 *TCP APPADM",
        "RMVTCPPORT (2000 2010) *UDP APPADM",
        "RMVTCPPORT (2000 2010) *TCP QTCP",
        "RMVTCPPORT *ALL *UDP QTCP",
    ] {
        let (entries, found) = left(removal);
        assert_eq!(entries.len(), 4, "{removal}");
        assert_eq!(found, [(Code::NoSuchRestriction, 5)], "{removal}");
    }
    let (entries, found) = left("RMVTCPPORT 2005 *UDP 5\nADDTCPPORT 2005 *UDP appadm");
    assert_eq!(
        (entries.len(), found),
        (4, vec![]),
        "removed and added again"
    );
}

#[test]
fn adding_twice_is_an_error() {
    let (entries, found) = run("ADDTCPPORT 2000 *TCP APPADM\nADDTCPPORT (2000 2000) *TCP 5\n");
    assert_eq!(entries, [tcp(2000, 2000, 5)]);
    assert_eq!(found, [(Code::DuplicateRestriction, 2)]);
}

/// `IBI-12`: the entry is added all the same.
#[test]
fn low_ports_are_warned_of() {
    let (entries, found) = run("ADDTCPPORT 1023 *TCP APPADM\nADDTCPPORT 1024 *TCP APPADM\n");
    assert_eq!(entries.len(), 2);
    assert_eq!(found, [(Code::LowPortRestricted, 1)]);
}

/// A restriction whose user is misspelt must not open the port.
#[test]
fn a_user_who_does_not_exist_opens_nothing() {
    let (entries, found) = run("ADDTCPPORT 2000 *TCP GHOST\nADDTCPPORT 2001 *TCP ghost\n");
    assert_eq!(entries[0], (Protocol::Tcp, 2000, 2000, vec![]));
    assert_eq!(entries.len(), 2);
    assert_eq!(found[0], (Code::UnknownAccount, 1));
    for number in ["4294967295", "+5", "99999999999"] {
        let (_, found) = run(&format!("ADDTCPPORT 2000 *TCP {number}\n"));
        assert_eq!(found, [(Code::UnknownAccount, 1)], "{number}");
    }
    let (entries, _) = run("ADDTCPPORT 2000 *TCP GHOST\nRMVTCPPORT *ALL *TCP ghost\n");
    assert_eq!(entries, []);
}

#[test]
fn what_is_wrong_is_said() {
    use Code::{BadCommandValue as Value, CommandSyntax as Syntax, UnknownCommand as Unknown};
    for (text, code) in [
        ("ADDTCPPRT 1 *TCP APPADM", Unknown),
        ("(", Unknown),
        ("ADDTCPPORT", Syntax),
        ("ADDTCPPORT PORT(2000) PROTOCOL(*TCP)", Syntax),
        ("ADDTCPPORT PORTS(2000) PROTOCOL(*TCP) USRPRF(A)", Syntax),
        (
            "ADDTCPPORT PORT(2000) PORT(2000) PROTOCOL(*TCP) USRPRF(APPADM)",
            Syntax,
        ),
        ("ADDTCPPORT PORT(2000) *TCP APPADM", Syntax),
        ("ADDTCPPORT 2000 *TCP APPADM MORE", Syntax),
        ("ADDTCPPORT PORT(2000 PROTOCOL(*TCP) USRPRF(APPADM)", Syntax),
        ("ADDTCPPORT 2000) *TCP APPADM", Syntax),
        ("ADDTCPPORT 2000 *TCP 'APPADM", Syntax),
        ("ADDTCPPORT 2000 *TCP APPADM /* no end", Syntax),
        ("ADDTCPPORT 0 *TCP APPADM", Value),
        ("ADDTCPPORT 65536 *TCP APPADM", Value),
        ("ADDTCPPORT +1 *TCP APPADM", Value),
        ("ADDTCPPORT (2001 2000) *TCP APPADM", Value),
        ("ADDTCPPORT (1 2 3) *TCP APPADM", Value),
        ("ADDTCPPORT () *TCP APPADM", Value),
        ("ADDTCPPORT *ALL *TCP APPADM", Value),
        ("RMVTCPPORT (*ALL 5) *TCP APPADM", Value),
        ("ADDTCPPORT 2000 TCP APPADM", Value),
        ("ADDTCPPORT 2000 (*TCP *UDP) APPADM", Value),
        ("ADDTCPPORT 2000 *TCP *ALL", Value),
        ("ADDTCPPORT 2000 *TCP ''", Value),
    ] {
        let (entries, found) = run(&format!("{text}\nADDTCPPORT 3000 *TCP APPADM\n"));
        assert_eq!(found, [(code, 1)], "{text}");
        let expected = if text.contains("/*") {
            vec![]
        } else {
            vec![tcp(3000, 3000, 5)]
        };
        assert_eq!(entries, expected, "{text}");
    }
    let (_, found) = run("ADDTCPPORT 0 TCP *X\n");
    assert_eq!(found.len(), 3, "every value is looked at: {found:?}");
}

#[test]
fn much_of_anything_is_read_in_good_time() {
    for piece in [
        "'",
        "''",
        "(",
        "+ ",
        "-",
        "/*",
        "/**/",
        "A(",
        "A(B)",
        "ADDTCPPORT ",
        "+\n",
        "\u{1a}",
    ] {
        run(&piece.repeat(50_000));
    }
    let mut text = String::new();
    for port in 1024..=u16::MAX {
        writeln!(text, "ADDTCPPORT {port} *TCP APPADM").unwrap();
    }
    let (entries, _) = run(&text);
    assert_eq!(entries.len(), 64512);
    text.push_str("RMVTCPPORT *ALL *TCP APPADM\n");
    assert_eq!(run(&text).0, []);
}

proptest! {
    #[test]
    fn any_text_is_read(
        text in prop_oneof![
            any::<String>(),
            "(ADDTCPPORT|RMVTCPPORT|PORT|PROTOCOL|\\*TCP|\\*ALL|[()' +\n-]|/\\*|\\*/|A|1|é){0,40}",
        ],
    ) {
        run(&text);
    }

    /// Whatever was added and removed, what is left is what a plain list has.
    #[test]
    fn the_list_agrees_with_a_plain_one(
        commands in prop::collection::vec(
            (any::<bool>(), 2000u16..2003, 0u16..2, any::<bool>(), 5u32..7, any::<bool>()),
            0..24,
        ),
    ) {
        let mut text = String::new();
        let mut plain: Vec<Entry> = Vec::new();
        for (add, first, length, is_tcp, user, all) in commands {
            let protocol = if is_tcp { Protocol::Tcp } else { Protocol::Udp };
            let entry = (protocol, first, first + length, vec![user]);
            let name = protocol.name().to_ascii_uppercase();
            if add {
                writeln!(text, "ADDTCPPORT ({first} {}) *{name} {user}", first + length).unwrap();
                if !plain.contains(&entry) {
                    plain.push(entry);
                }
            } else if all {
                writeln!(text, "RMVTCPPORT *ALL *{name} {user}").unwrap();
                plain.retain(|other| (other.0, &other.3) != (protocol, &entry.3));
            } else {
                writeln!(text, "RMVTCPPORT ({first} {}) *{name} {user}", first + length).unwrap();
                plain.retain(|other| *other != entry);
            }
        }
        prop_assert_eq!(run(&text).0, plain);
    }
}
