//! PORT, PORTRANGE and DELETE.

use super::{accepts, all_entries, help, parse, printed, refuses, wrong};
use crate::profile::ast::{Statement, Target};

/// `SYN-01`, `SYN-05`, `PRT-01`.
#[test]
fn free_format_and_folding() {
    accepts("PORT 21 TCP FTPD1", &["21 TCP FTPD1"]);
    accepts("port\n21\n\n tcp ; which\n\tftpd1", &["21 TCP FTPD1"]);
    accepts("PORTRANGE 4000\n1000\nTCP\nOMVS", &["4000 1000 TCP OMVS"]);
    accepts(
        "PORT 7 UDP A 7 TCP A PORTR 10 2 TCP B PORT 8 TCP C",
        &["7 UDP A", "7 TCP A", "10 2 TCP B", "8 TCP C"],
    );
    accepts("PORT 0021 TCP A", &["21 TCP A"]);
}

/// `SYN-07`, `SYN-08`, `SYN-25`, `PRT-02` to `PRT-06`, `PRT-11` to `PRT-15`, `PRT-36`.
#[test]
fn all_options_in_all_spellings() {
    accepts(
        "PORT 23 TCP A NOAUTOL DELAYA SHAREP BIND 192.0.2.1 SAF ftp-1 NOSMCR",
        &["23 TCP A NOAUTOLOG DELAYACKS SHAREPORT BIND 192.0.2.1 SAF FTP-1 NOSMC"],
    );
    accepts(
        "PORT 23 TCP AB*C? NODELAYA SHAREPORTWLM BIND 2001:DB8::1 SMC",
        &["23 TCP AB*C? NODELAYACKS SHAREPORTWLM BIND 2001:db8::1 SMC"],
    );
    accepts("PORT 5 UDP * BIND 192.0.2.1", &["5 UDP * BIND 192.0.2.1"]);
    accepts(
        "PORTRANGE 100 5 UDP * NOAUTOLOG NODELAYACKS SAF R1 SMC 200 1 TCP AUTHPORT",
        &[
            "100 5 UDP * NOAUTOLOG NODELAYACKS SAF R1 SMC",
            "200 1 TCP AUTHPORT",
        ],
    );
    for spelling in ["SHAREP", "SHAREPO", "SHAREPOR", "SHAREPORT"] {
        accepts(&format!("PORT 1 TCP A {spelling}"), &["1 TCP A SHAREPORT"]);
    }
    for spelling in ["SHAREPORTW", "SHAREPORTWL", "SHARE", "NOAUTO", "DELAY"] {
        refuses(&format!("PORT 1 TCP A {spelling}"), "PRV112", 1, &[]);
    }
}

/// `UNR-06`, `UNR-10` to `UNR-12`, `UNR-20`, `UNR-21`.
#[test]
fn unreserved_ports() {
    accepts(
        "PORT UNRSV TCP * DENY UNRSV TCP APP* SAF X WHENBIND\n UNRSV UDP A WHENBIND UNRSV TCP OMVS WHENLISTEN",
        &[
            "UNRSV TCP * DENY",
            "UNRSV TCP APP* SAF X WHENBIND",
            "UNRSV UDP A WHENBIND",
            "UNRSV TCP OMVS WHENLISTEN",
        ],
    );
    for entry in [
        "UNRSV UDP * WHENLISTEN",
        "UNRSV TCP RESERVED",
        "UNRSV TCP AUTHPORT",
        "UNRSV TCP * SHAREPORT",
        "UNRSV TCP * NOAUTOLOG",
    ] {
        refuses(
            &format!("PORT 1 TCP A\n {entry}\n 2 TCP B"),
            "PRV111",
            2,
            &["1 TCP A", "2 TCP B"],
        );
    }
    refuses("PORT UNRSV TCP * DENY SAF X", "PRV110", 1, &[]);
    // PORTRANGE has no UNRSV.
    refuses(
        "PORTRANGE 1 1 TCP A\nUNRSV TCP *",
        "PRV105",
        2,
        &["1 1 TCP A"],
    );
}

/// `UNR-07`: EZZ0146I takes the whole statement, and only that.
#[test]
fn deny_for_a_named_job() {
    let text = "PORT 1 TCP A\nPORT 2 TCP B\n UNRSV TCP APP* DENY\n 3 TCP C\nPORT 4 TCP D";
    refuses(text, "PRV201", 3, &["1 TCP A", "4 TCP D"]);
}

/// `SYN-13`.
#[test]
fn the_order_of_options_is_fixed() {
    let keep = &["2 TCP B"][..];
    for options in [
        "SAF X NOAUTOLOG",
        "SMC SAF X",
        "BIND 192.0.2.1 SHAREPORT",
        "SHAREP DELAYACKS",
    ] {
        refuses(
            &format!("PORT 1 TCP A {options}\n 2 TCP B"),
            "PRV110",
            1,
            keep,
        );
    }
    for options in [
        "SMC NOSMC",
        "DELAYACKS NODELAYACKS",
        "SAF A SAF B",
        "SHAREPORT SHAREPORTWLM",
    ] {
        refuses(
            &format!("PORT 1 TCP A {options}\n 2 TCP B"),
            "PRV110",
            1,
            keep,
        );
    }
    assert!(help("PORT 1 TCP A SAF X NOAUTOLOG").contains("NOAUTOLOG, then DELAYACKS"));
    assert!(!help("PORTRANGE 1 1 TCP A SAF X NOAUTOLOG").contains("BIND"));
}

/// `PRT-08`, `PRT-16`, `PRT-25`, `PRT-31`, `RNG-09`, `RNG-11`, `SYN-24`.
#[test]
fn options_that_do_not_go_with_the_entry() {
    refuses(
        "PORT 1 TCP RESERVED SAF X\n 2 TCP B",
        "PRV111",
        1,
        &["2 TCP B"],
    );
    refuses("PORT 1 TCP AUTHPORT\n 2 TCP B", "PRV111", 1, &["2 TCP B"]);
    refuses("PORT 1 TCP A WHENBIND\n 2 TCP B", "PRV111", 1, &["2 TCP B"]);
    refuses(
        "PORTRANGE 1 1 TCP AUTHPORT SMC\n 2 1 TCP B",
        "PRV111",
        1,
        &["2 1 TCP B"],
    );
    refuses(
        "PORTRANGE 1 1 TCP A SHAREP\n 2 1 TCP B",
        "PRV111",
        1,
        &["2 1 TCP B"],
    );
    refuses(
        "PORTRANGE 1 1 TCP A BIND 192.0.2.1\n 2 1 TCP B",
        "PRV111",
        1,
        &["2 1 TCP B"],
    );
    // Said, not applied; the reservation itself stands.
    refuses(
        "PORT 1 UDP A SHAREPORT SAF X",
        "PRV111",
        1,
        &["1 UDP A SAF X"],
    );
    refuses("PORT 1 TCP A BIND ::ffff:192.0.2.1", "PRV109", 1, &[]);
    refuses(
        "PORT 1 TCP A BIND 192.0.2.256\n 2 TCP B",
        "PRV109",
        1,
        &["2 TCP B"],
    );
    refuses("PORT 1 TCP A SAF 1X\n 2 TCP B", "PRV108", 1, &["2 TCP B"]);
    refuses("PORT 1 TCP A SAF\n 2 TCP B", "PRV104", 1, &["2 TCP B"]);
    refuses("PORT 1 TCP A BIND\nPORT 2 TCP B", "PRV104", 1, &["2 TCP B"]);
}

/// `SYN-12`, `SYN-15`: a bad entry is dropped, the next ones are kept.
#[test]
fn bad_entries_are_dropped_alone() {
    let keep = &["1 TCP A", "3 TCP C"][..];
    for (entry, code) in [
        ("0 TCP B", "PRV105"),
        ("65536 TCP B", "PRV105"),
        ("99999999999999999999 TCP B", "PRV105"),
        ("2x TCP B", "PRV105"),
        ("l0 TCP B", "PRV105"),
        ("2 TPC B", "PRV106"),
        ("2 SCTP B", "PRV106"),
        ("2 TCP", "PRV104"),
        ("2", "PRV104"),
        ("2 TCP 9B", "PRV107"),
        ("2 TCP B=C", "PRV107"),
        ("2 TCP ABCDEFGHIJKLMNOP", "PRV107"),
        ("2 TCP UDP", "PRV107"),
        ("2 TCP SAF X", "PRV104"),
        ("2 TCP NOAUTOLOG", "PRV104"),
        ("2 TCP B BOGUS WORDS", "PRV112"),
        ("2 TCP B;comment 9 TCP X", "PRV115"),
    ] {
        refuses(
            &format!("PORT\n 1 TCP A\n {entry}\n 3 TCP C"),
            code,
            3,
            keep,
        );
    }
    let keep = &["3 1 TCP C"][..];
    for (entry, code) in [
        ("2 TCP B", "PRV105"),
        ("2 0 TCP B", "PRV105"),
        ("2 65536 TCP B", "PRV105"),
        ("2 -1 TCP B", "PRV105"),
        ("2 5 B", "PRV106"),
    ] {
        refuses(&format!("PORTRANGE\n {entry}\n 3 1 TCP C"), code, 2, keep);
    }
}

#[test]
fn entries_on_one_line_survive_a_bad_neighbour() {
    let parsed = parse("PORT 1 TCP A BAD 2 TCP B 3 XCP C 4 TCP D");
    assert_eq!(wrong(&parsed), [("PRV112", 1), ("PRV106", 1)]);
    assert_eq!(printed(&parsed), ["2 TCP B", "4 TCP D"]);
}

/// `SYN-03`.
#[test]
fn glued_comments() {
    let text = "PORT 21 TCP FTPD1;server PORT 22 TCP X\n 23 TCP B";
    refuses(text, "PRV115", 1, &["23 TCP B"]);
    assert_eq!(help(text), "put a blank behind `FTPD1`");
}

/// A misspelling never leaves a port open without a word.
#[test]
fn misspellings_are_errors_with_a_hint() {
    for (text, meant) in [
        ("PROT 22 TCP SSHD", "PORT"),
        ("PORT 1 TCP A\nPROT 22 TCP SSHD", "PORT"),
        ("PORT 1 TCP A NOAUTLOG", "NOAUTOLOG"),
        ("PORT 1 TCP A\n   NOAUTLOG", "NOAUTOLOG"),
        ("PORT 1 TPC A", "TCP"),
        ("PORTRAGNE 1 5 TCP A", "PORTRANGE"),
        ("DELETE PROT 1 TCP A", "PORT"),
        ("SACNFIG DISABLED", "SACONFIG"),
        ("INCLDUE x", "INCLUDE"),
    ] {
        let parsed = parse(text);
        assert_eq!(wrong(&parsed).len(), 1, "{text}");
        assert_eq!(help(text), format!("did you mean `{meant}`?"), "{text}");
    }
    // The entries of a misspelt statement are not taken, but checked.
    let parsed = parse("PROT 22 TCP SSHD\n 23 TPC X\nPORT 24 TCP B");
    assert_eq!(wrong(&parsed), [("PRV103", 1), ("PRV106", 2)]);
    assert_eq!(printed(&parsed), ["24 TCP B"]);
}

#[test]
fn a_list_ends_at_the_next_statement() {
    accepts(
        "PORT 1 TCP A SACONFIG DISABLED PORT 2 TCP B",
        &["1 TCP A", "2 TCP B"],
    );
    // A name where a job name must stand is one, if it is on the same line.
    accepts(
        "PORT 1 TCP HOME\n 2 TCP LINK NOAUTOLOG",
        &["1 TCP HOME", "2 TCP LINK NOAUTOLOG"],
    );
    refuses(
        "PORT 1 TCP\nPORTRANGE 5 5 TCP A",
        "PRV104",
        1,
        &["5 5 TCP A"],
    );
    let parsed = parse("21 TCP A");
    assert_eq!(wrong(&parsed), [("PRV103", 1)]);
    let parsed = parse("PORT\n; 21 TCP A\nPORTRANGE");
    assert_eq!(wrong(&parsed), [("PRV120", 1), ("PRV120", 3)]);
    assert!(!parsed.diagnostics.has_errors());
}

#[test]
fn comments_beside_entries_describe_them() {
    let parsed = parse(
        "PORT ; not this\n 1 TCP A ; one\n 2 TCP B\n ; not this\n 3 TCP C ; not this\n NOAUTOLOG;no\n\
         \u{20}4 TCP D ;; x\x1b ;\n 5 TCP E ;\n 6 TCP F 7 TCP G; seven",
    );
    let described: Vec<Option<&str>> = all_entries(&parsed)
        .iter()
        .map(|entry| entry.description.as_deref())
        .collect();
    // The option with the glued comment takes its entry with it, and so does G.
    assert_eq!(
        described,
        [Some("one"), None, Some("x\u{241b}"), None, None]
    );
}

#[test]
fn spans_cover_whole_entries() {
    let parsed = parse("PORT\n 20 TCP * NOAUTOLOG\n  SAF X ; c\n 21 TCP A");
    let entries = all_entries(&parsed);
    assert_eq!(
        parsed.sources.slice(entries[0].span),
        "20 TCP * NOAUTOLOG\n  SAF X"
    );
    assert_eq!(parsed.sources.slice(entries[1].span), "21 TCP A");
    assert_eq!(entries[0].target, Target::Port(20));
}

/// `DEL-01` to `DEL-04`.
#[test]
fn delete_checks_options_but_not_their_values() {
    let parsed = parse(
        "DELETE PORT 1 TCP A SAF WAYTOOLONG 2 TCP B BIND nowhere UNRSV TCP A DENY\n\
         DELE PORTR 5 5 UDP RESERVED\nDELETE LINK X\n",
    );
    assert_eq!(wrong(&parsed), []);
    let kinds: Vec<usize> = parsed
        .profile
        .statements
        .iter()
        .map(|statement| match statement {
            Statement::DeletePort(list) => list.entries.len(),
            Statement::DeletePortRange(list) => 10 + list.entries.len(),
            _ => 100,
        })
        .collect();
    assert_eq!(kinds, [3, 11, 100]);
    let parsed = parse("DELETE PORT 1 TCP A SAF X NOAUTOLOG\nDELETE\nDELETE WHAT 1 TCP A");
    assert_eq!(
        wrong(&parsed),
        [("PRV110", 1), ("PRV104", 2), ("PRV103", 3)]
    );
}
