//! The job name operand, shared by PORT, PORTRANGE, DELETE and AUTOLOG.

use compact_str::CompactString;
use portreeve_common::jobname::{MAX_NAME_CHARS, ZOS_NAME_CHARS};

use super::ast::User;

/// A word as a job name.
#[derive(Debug, PartialEq, Eq)]
pub struct Jobname {
    /// Whom it names.
    pub user: User,
    /// z/OS would not accept it.
    pub extended: bool,
}

/// The job name or pattern that `word` spells; `Err` says what is wrong with it
/// (`SYN-23`, `PRT-02` to `PRT-06`).
pub fn jobname(word: &str) -> Result<Jobname, &'static str> {
    // What isn't ASCII is refused below, if it isn't too long already.
    let length = match word.is_ascii() {
        true => word.len(),
        false => word.chars().count(),
    };
    if length > MAX_NAME_CHARS {
        return Err("a job name has at most 8 characters, or 15 as an extension");
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a job name does not start with a digit");
    }
    let mut extended = length > ZOS_NAME_CHARS;
    for c in word.chars() {
        match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '@' | '#' | '$' | '*' | '?' => {}
            '-' | '_' | '.' | ':' | '/' | '+' => extended = true,
            _ => return Err("a job name has letters, digits and @ # $, and * or ? in a pattern"),
        }
    }
    let mut name = CompactString::new(word);
    name.make_ascii_uppercase();
    // Several stars say the same as one.
    while name.contains("**") {
        name = name.replace("**", "*").into();
    }
    let user = match name.as_str() {
        "" => return Err("a job name has at least one character"),
        "*" => User::Anyone,
        "OMVS" => User::Omvs,
        "RESERVED" => User::Reserved,
        "AUTHPORT" => User::Authport,
        _ => User::Job(name),
    };
    Ok(Jobname { user, extended })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, extended: bool) -> Result<Jobname, &'static str> {
        let user = User::Job(name.into());
        Ok(Jobname { user, extended })
    }

    /// `SYN-05`, `SYN-23`, `PRT-02` to `PRT-07`.
    #[test]
    fn names_patterns_and_special_names() {
        assert_eq!(jobname("ftpd1"), job("FTPD1", false));
        assert_eq!(jobname("ADM@SRV"), job("ADM@SRV", false));
        assert_eq!(jobname("A*B?"), job("A*B?", false));
        assert_eq!(jobname("A***B"), job("A*B", false));
        assert_eq!(jobname("systemd-resolve"), job("SYSTEMD-RESOLVE", true));
        assert_eq!(jobname("ABCDEFGHI"), job("ABCDEFGHI", true));
        for (word, user) in [
            ("*", User::Anyone),
            ("**", User::Anyone),
            ("omvs", User::Omvs),
            ("Reserved", User::Reserved),
            ("AUTHPORT", User::Authport),
        ] {
            let extended = false;
            assert_eq!(jobname(word), Ok(Jobname { user, extended }));
        }
        for word in ["", "1ABC", "A;x", "Ä", "A\u{1b}", "ABCDEFGHIJKLMNOP", "&X."] {
            assert!(jobname(word).is_err(), "{word}");
        }
    }
}
