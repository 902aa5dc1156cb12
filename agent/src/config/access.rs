//! Who may: accounts, resource profiles, port restrictions.

use portreeve_common::abi::Protocol;
use serde::Deserialize;

use super::table::{Reader, Section};
use crate::{
    diagnostics::{Code, Diagnostic, Span, quoted},
    profile::ast::Spanned,
};

/// A user or a group as the config names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// A user's name.
    User(String),
    /// A user's number.
    Uid(u32),
    /// A group's name.
    Group(String),
    /// A group's number.
    Gid(u32),
}

/// The access of those whom a resource profile doesn't name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Uacc {
    /// None.
    #[default]
    None,
    /// READ, which is what a port's resource is asked for.
    Read,
}

/// A resource profile of class SERVAUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServAuthProfile {
    /// Its name as written; not checked.
    pub name: Spanned<String>,
    /// Everybody's access.
    pub uacc: Uacc,
    /// Who has READ access.
    pub permit: Vec<Spanned<Account>>,
}

/// Ports for certain users only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// Of which protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port, inclusive.
    pub last: u16,
    /// The users: no groups.
    pub users: Vec<Spanned<Account>>,
    /// Where it is written.
    pub span: Span,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProtocolName {
    Tcp,
    Udp,
}

/// `sysname` and `tcpname`: one qualifier of a resource's name, in upper case.
pub(super) fn qualifier(
    top: &mut Section<'_>,
    key: &'static str,
    reader: &mut Reader<'_>,
) -> Option<String> {
    let word = reader.word(top, key)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "@#$-_".contains(c);
    if word.value.is_empty() || word.value.len() > 64 || !word.value.chars().all(legal) {
        let message = format!("{} is no `{key}`", quoted(&word.value));
        reader.push(
            Diagnostic::error(Code::ConfigInvalid, word.span, message)
                .help("it has 1 to 64 letters, digits and @ # $ - _ and becomes a part of the names of SAF resources"),
        );
        return None;
    }
    Some(word.value.to_ascii_uppercase())
}

/// `[servauth]`.
pub(super) fn servauth(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<ServAuthProfile> {
    let section = reader.section(top, "servauth");
    let mut profiles = Vec::new();
    for (key, value) in section.into_entries() {
        let span = reader.span(key.span());
        let name = key.into_inner();
        let Some(mut section) = reader.table(value, &name) else {
            continue;
        };
        let uacc = reader.value(&mut section, "uacc").unwrap_or_default();
        let permit = reader.words(&mut section, "permit").unwrap_or_default();
        let help = "the name of a profile is one key, in quotes: [servauth.\"EZB.PORTACCESS.*.*.FTPDATA\"]";
        reader.finish_with(section, Some(help));
        profiles.push(ServAuthProfile {
            name: Spanned { value: name, span },
            uacc,
            permit: accounts(permit, Code::BadServAuth, account, reader),
        });
    }
    profiles
}

/// `[[restriction]]`.
pub(super) fn restrictions(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<Restriction> {
    let mut restrictions = Vec::new();
    for (section, span) in reader.tables(top, "restriction") {
        restrictions.extend(restriction(section, span, reader));
    }
    restrictions
}

fn restriction(
    mut section: Section<'_>,
    span: Span,
    reader: &mut Reader<'_>,
) -> Option<Restriction> {
    let mut missing = vec!["ports", "protocol", "users"];
    missing.retain(|key| !section.has(key));
    let ports = reader.word(&mut section, "ports");
    let protocol = reader.value(&mut section, "protocol");
    let users = reader.words(&mut section, "users");
    reader.finish(section);
    if users.as_ref().is_some_and(Vec::is_empty) {
        missing.push("users");
    }
    for key in missing {
        let message = format!("the restriction has no `{key}`");
        reader.push(
            Diagnostic::error(Code::BadRestriction, span, message).help(
                "for example: ports = \"8400-8410\", protocol = \"tcp\", users = [\"appadm\"]",
            ),
        );
    }
    let users = accounts(
        users.unwrap_or_default(),
        Code::BadRestriction,
        user,
        reader,
    );
    let ports = ports?;
    let Some((first, last)) = stretch(&ports.value) else {
        let message = format!(
            "{} is neither a port nor a range of ports",
            quoted(&ports.value)
        );
        reader.push(
            Diagnostic::error(Code::BadRestriction, ports.span, message)
                .help("ports are 1 to 65535, a range is written first-last"),
        );
        return None;
    };
    Some(Restriction {
        protocol: match protocol? {
            ProtocolName::Tcp => Protocol::Tcp,
            ProtocolName::Udp => Protocol::Udp,
        },
        first,
        last,
        users,
        span,
    })
}

/// The first and last port of `8400` or `8400-8410`.
pub(super) fn stretch(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| {
        let text = text.trim();
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|port: &u16| digits && *port != 0)
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    (first <= last).then_some((first, last))
}

/// `words` as accounts; those that are none are reported.
pub(super) fn accounts(
    words: Vec<Spanned<String>>,
    code: Code,
    read: fn(&str) -> Result<Account, &'static str>,
    reader: &mut Reader<'_>,
) -> Vec<Spanned<Account>> {
    let mut accounts = Vec::new();
    for Spanned { value, span } in words {
        match read(&value) {
            Ok(value) => accounts.push(Spanned { value, span }),
            Err(why) => reader.push(Diagnostic::error(code, span, why)),
        }
    }
    accounts
}

/// The user that `word` names.
pub(super) fn user(word: &str) -> Result<Account, &'static str> {
    match account(word)? {
        user @ (Account::User(_) | Account::Uid(_)) => Ok(user),
        Account::Group(_) | Account::Gid(_) => Err("only users count here, no groups"),
    }
}

/// The user or `@group` that `word` names.
fn account(word: &str) -> Result<Account, &'static str> {
    let (name, group) = match word.strip_prefix('@') {
        Some(name) => (name, true),
        None => (word, false),
    };
    if name == "*" {
        return Err("for everybody, write uacc = \"read\"");
    }
    if name.is_empty() || name.len() > 255 || name.contains(['\0', '\n', ':', '@']) {
        return Err("it is a user's name or number, or a group's behind @");
    }
    if !name.bytes().all(|byte| byte.is_ascii_digit()) {
        let name = name.to_owned();
        return Ok(if group {
            Account::Group(name)
        } else {
            Account::User(name)
        });
    }
    match number(name) {
        None => Err("numbers of users and groups go up to 4294967294"),
        Some(number) if group => Ok(Account::Gid(number)),
        Some(number) => Ok(Account::Uid(number)),
    }
}

/// The number of a user or group that `word` is, if it is one.
pub(crate) fn number(word: &str) -> Option<u32> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    // The highest number means "no change" to the kernel and is nobody's.
    word.parse().ok().filter(|id| digits && *id != u32::MAX)
}
