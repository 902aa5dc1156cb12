//! The profile language of z/OS: text to statements.
//!
//! [`read()`] and [`parse()`] turn a profile and what it includes into an
//! [`ast::Profile`]. They never give up: everything that is wrong is reported
//! in one run, the bad entry or statement is dropped as the language defines,
//! and the rest is returned. Time and memory grow with the input, no faster.

pub mod ast;
mod autolog;
mod entries;
pub(crate) mod jobname;
mod lexer;
mod operands;
mod options;
mod parser;
mod print;
pub mod read;
mod saconfig;
mod skip;
mod statements;
pub(crate) mod suggest;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::diagnostics::{Diagnostics, Sources};

pub use ast::Profile;
pub use lexer::Symbols;
pub use read::{
    AnyFile, Contents, MAX_BYTES, OpenedFile, Opener, ReadError, ReadOptions, read_bounded,
};

/// A profile as far as it could be understood, and what was wrong with it.
#[derive(Default)]
pub struct Parsed {
    /// The statements.
    pub profile: Profile,
    /// The texts; the first one is the profile, the others it includes.
    pub sources: Sources,
    /// What is wrong.
    pub diagnostics: Diagnostics,
}

/// Reads the profile at `path`. An error means that it could not be read at all.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Parsed, ReadError> {
    let file = options.opener.open(path)?;
    Ok(parser::run(Parsed::default(), path, file, options))
}

/// Reads the change file at `path` on top of what `parsed` holds (z/OS's OBEYFILE;
/// `OBY-04`). It is in the same language, and what it says comes behind all else.
pub fn obey(parsed: Parsed, path: &Path, options: &ReadOptions) -> Result<Parsed, ReadError> {
    let file = options.opener.open(path)?;
    Ok(change(parsed, path, file, options))
}

/// Parses `bytes` as the change file `path`, as [`obey`] does.
pub fn parse_change(parsed: Parsed, path: &Path, bytes: &[u8], options: &ReadOptions) -> Parsed {
    change(parsed, path, opened(path, bytes), options)
}

fn change(mut parsed: Parsed, path: &Path, file: OpenedFile, options: &ReadOptions) -> Parsed {
    let from = parsed.profile.statements.len();
    parsed.profile.changed_from.get_or_insert(from);
    let mut parsed = parser::run(parsed, path, file, options);
    let changes = parsed.profile.statements.iter_mut().skip(from);
    let mut lists = changes.filter_map(|statement| match statement {
        ast::Statement::Autolog(list) => Some(list),
        _ => None,
    });
    // The others of the file extend it (`ALG-24`).
    if let Some(first) = lists.next() {
        first.replaces = true;
    }
    parsed
}

/// Parses `bytes`, called `path` in reports. INCLUDE is relative to its folder.
pub fn parse(path: &Path, bytes: &[u8], options: &ReadOptions) -> Parsed {
    parser::run(Parsed::default(), path, opened(path, bytes), options)
}

fn opened(path: &Path, bytes: &[u8]) -> OpenedFile {
    OpenedFile {
        identity: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        bytes: bytes.to_vec().into(),
    }
}
