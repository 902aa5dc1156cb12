//! INCLUDE, system symbols, encodings, and how a profile is read.

use std::fs;
use std::path::Path;

use super::super::{ReadError, ReadOptions, Symbols, parse, read};
use super::{printed, wrong};
use crate::diagnostics::render;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn read_main(folder: &tempfile::TempDir) -> super::Parsed {
    read(&folder.path().join("main"), &ReadOptions::default()).unwrap()
}

/// `SYN-18`: in place, relative to the file that says so, and named in reports.
#[test]
fn includes_stand_in_their_place() {
    let folder = folder(&[
        (
            "main",
            "PORT 1 TCP A\nINCLUDE sub/Ports.inc PORT 4 TCP D\nINCLUDE 'sub/Ports.inc'",
        ),
        ("sub/Ports.inc", "PORT 2 TCP B\ninclude more"),
        ("sub/more", "PORT 3 TPC X\n 3 TCP C"),
    ]);
    let parsed = read_main(&folder);
    assert_eq!(wrong(&parsed), [("PRV106", 1), ("PRV106", 1)]);
    assert_eq!(
        printed(&parsed),
        [
            "1 TCP A", "2 TCP B", "3 TCP C", "4 TCP D", "2 TCP B", "3 TCP C"
        ]
    );
    let shown = render::all(&parsed.diagnostics, &parsed.sources, false);
    assert!(shown.contains("sub/more:1:8"), "{shown}");
}

#[test]
fn includes_that_can_not_be() {
    let folder = folder(&[
        (
            "main",
            "PORT 1 TCP A\nINCLUDE none\nINCLUDE sub\nINCLUDE\nPORT 2 TCP B\nINCLUDE a;b",
        ),
        ("sub/x", ""),
    ]);
    let parsed = read_main(&folder);
    let expected = [("PRV118", 2), ("PRV118", 3), ("PRV104", 4), ("PRV115", 6)];
    assert_eq!(wrong(&parsed), expected);
    assert_eq!(printed(&parsed), ["1 TCP A", "2 TCP B"]);
}

#[test]
fn circles_are_refused() {
    let folder = folder(&[
        ("main", "PORT 1 TCP A INCLUDE other\nPORT 3 TCP C"),
        ("other", "PORT 2 TCP B\nINCLUDE ./main"),
    ]);
    let parsed = read_main(&folder);
    assert_eq!(wrong(&parsed), [("PRV117", 2)]);
    assert_eq!(printed(&parsed), ["1 TCP A", "2 TCP B", "3 TCP C"]);
}

/// Neither a long chain nor a small file that includes much more often takes
/// the machine with it.
#[test]
fn depth_and_number_are_bounded() {
    let texts: Vec<(String, String)> = (0..100)
        .map(|n| {
            (
                n.to_string(),
                format!("INCLUDE {}\nPORT {} TCP A", n + 1, n + 1),
            )
        })
        .collect();
    let mut files: Vec<(&str, &str)> = texts
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    files.push(("main", "INCLUDE 0"));
    let parsed = read_main(&folder(&files));
    assert_eq!(wrong(&parsed), [("PRV117", 1)]);
    assert_eq!(printed(&parsed).len(), 32);

    let ten = |name: &str| format!("INCLUDE {name}\n").repeat(10);
    let (a, b, c) = (ten("b"), ten("c"), ten("d"));
    let folder = folder(&[
        ("main", &ten("a")),
        ("a", &a),
        ("b", &b),
        ("c", &c),
        ("d", ""),
    ]);
    let parsed = read_main(&folder);
    assert!(wrong(&parsed).iter().all(|(code, _)| *code == "PRV117"));
    assert!(parsed.sources.paths().count() <= 1001);
}

/// `SYN-06`.
#[test]
fn symbols() {
    let symbols: Symbols = [("SYSNAME".to_owned(), "H1".to_owned())].into();
    let options = ReadOptions {
        symbols: Some(&symbols),
        ..ReadOptions::default()
    };
    let text = b"PORT 1 TCP FTP&SYSNAME.\n 2 TCP &WHAT.\n 3 TCP C ; &NOT.";
    let parsed = parse(Path::new("p"), text, &options);
    assert_eq!(wrong(&parsed), [("PRV116", 2)]);
    assert_eq!(printed(&parsed), ["1 TCP FTPH1", "3 TCP C"]);
}

#[test]
fn bytes_that_are_no_text_are_named_once() {
    let options = ReadOptions::default();
    let text = b"PORT 1 TCP A\n 2 TCP B ; caf\xe9 \xe9 \xe9\n 3 TCP C";
    let parsed = parse(Path::new("p"), text, &options);
    assert_eq!(wrong(&parsed), [("PRV101", 2)]);
    assert_eq!(printed(&parsed), ["1 TCP A", "2 TCP B", "3 TCP C"]);
    let shown = render::all(&parsed.diagnostics, &parsed.sources, false);
    assert!(
        shown.contains("byte 0xe9 is not UTF-8") && shown.contains("p:2:15"),
        "{shown}"
    );

    let parsed = parse(Path::new("p"), b"PORT 1 TCP A\0\0\n 3 TCP C", &options);
    assert!(wrong(&parsed).contains(&("PRV102", 1)));
    assert_eq!(printed(&parsed), ["3 TCP C"]);

    for (text, hint) in [
        (&b"\xff\xfeP\0O\0R\0T\0"[..], "UTF-16"),
        (
            b"\xd7\xd6\xd9\xe3\x40\x40\xf2\xf1\x40\xe3\xc3\xd7",
            "EBCDIC",
        ),
    ] {
        let parsed = parse(Path::new("p"), text, &options);
        let shown = render::all(&parsed.diagnostics, &parsed.sources, false);
        assert!(shown.contains(hint), "{shown}");
    }
}

#[test]
fn strict_reports_what_zos_does_not_allow() {
    let options = ReadOptions {
        strict: true,
        ..ReadOptions::default()
    };
    let text = b"PORT 1 TCP nginx 2 TCP node_exporter 3 TCP ABCDEFGHI 4 TCP A-B";
    let parsed = parse(Path::new("p"), text, &options);
    assert_eq!(wrong(&parsed), [("PRV501", 1); 3]);
    assert!(!parsed.diagnostics.has_errors());
    assert_eq!(printed(&parsed).len(), 4);
}

#[test]
fn files_that_can_not_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let options = ReadOptions::default();
    let error = read(&folder.path().join("none"), &options).err().unwrap();
    assert!(matches!(error, ReadError::Missing { .. }), "{error}");
    let error = read(folder.path(), &options).err().unwrap();
    assert!(matches!(error, ReadError::Directory { .. }), "{error}");
}
