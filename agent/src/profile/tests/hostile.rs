//! Input that is made to hurt: it is refused, quickly.

use std::path::Path;

use super::super::{ReadOptions, parse as parse_bytes};
use super::{all_entries, parse, printed, wrong};
use crate::diagnostics::{json, render};

#[test]
fn long_lines_and_long_words() {
    let line = format!("PORT 1 TCP A {}\n 2 TCP B", "x".repeat(200_000));
    let parsed = parse(&line);
    assert_eq!(wrong(&parsed), [("PRV112", 1)]);
    let shown = render::all(&parsed.diagnostics, &parsed.sources, false);
    assert!(shown.len() < 2000, "{}", shown.len());

    let parsed = parse(&format!("PORT 1 TCP {}", "A".repeat(4 << 20)));
    assert_eq!(wrong(&parsed), [("PRV107", 1)]);
    let shown = render::all(&parsed.diagnostics, &parsed.sources, false);
    assert!(shown.len() < 2000, "{}", shown.len());

    let comment = format!("PORT 1 TCP A ; {}", "c".repeat(4 << 20));
    let parsed = parse(&comment);
    assert_eq!(
        all_entries(&parsed)[0].description.as_ref().unwrap().len(),
        100
    );
}

/// Every entry looks for its comment, every diagnostic for its line: neither may
/// walk along the whole line for each.
#[test]
fn everything_on_one_line() {
    let entries: String = (1..=65535).map(|port| format!("{port} TCP A ")).collect();
    let parsed = parse(&format!("PORT {entries}"));
    assert_eq!(wrong(&parsed), []);
    assert_eq!(all_entries(&parsed).len(), 65535);

    let parsed = parse(&format!("PORT {}", "1 TCP A BAD ".repeat(50_000)));
    assert_eq!(parsed.diagnostics.total(), 50_000);
    let shown = render::all(&parsed.diagnostics, &parsed.sources, false);
    assert!(shown.ends_with("... and 49900 more\n"));

    let parsed = parse(&format!("AUTOLOG 5 {}", "A PARMSTRING \" ".repeat(50_000)));
    assert_eq!(wrong(&parsed), [("PRV113", 1)]);
}

#[test]
fn memory_is_bounded() {
    let parsed = parse(&format!("PORT {}", "1 TCP A\n".repeat(300_000)));
    assert_eq!(all_entries(&parsed).len(), 262_144);
    assert_eq!(wrong(&parsed)[0], ("PRV212", 262_145));
    let parsed = parse(&"HOME\n".repeat(300_000));
    assert_eq!(parsed.profile.statements.len(), 262_144);
    assert_eq!(parsed.diagnostics.iter().count(), 200);
}

#[test]
fn every_byte_in_every_place() {
    for byte in 0..=u8::MAX {
        for text in [
            &[b'P', byte, b'O', b'R', b'T'][..],
            &[byte],
            &[b"PORT 1 TCP A", &[byte][..], b"B\n 2 TCP C"].concat(),
            &[b"PORT 1 TCP A ; ", &[byte][..], b"\n 2 TCP C"].concat(),
            &[b"AUTOLOG 5 A PARMSTRING '", &[byte][..], b"' ENDAUTOLOG"].concat(),
            &[b"SACONFIG COMMUNITY a", &[byte][..]].concat(),
            &[b"INCLUDE a", &[byte][..]].concat(),
        ] {
            let parsed = parse_bytes(Path::new("none/p"), text, &ReadOptions::default());
            for color in [false, true] {
                let shown = render::all(&parsed.diagnostics, &parsed.sources, color);
                let hostile = |c: char| c.is_control() && c != '\n' && !(color && c == '\x1b');
                assert!(!shown.contains(hostile), "{byte:#x}: {shown:?}");
            }
            serde_json::to_string(&json::all(&parsed.diagnostics, &parsed.sources)).unwrap();
        }
    }
}

#[test]
fn nothing_at_all() {
    for text in ["", " ", "\n", ";", "\u{feff}", "\r\n\r\n", "; comment"] {
        let parsed = parse(text);
        assert!(parsed.diagnostics.is_empty(), "{text:?}");
        assert_eq!(printed(&parsed), Vec::<String>::new());
    }
}
