//! Port restrictions as IBM i commands: ADDTCPPORT and RMVTCPPORT
//! (port-control 7.2).

mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use portreeve_common::{abi::Protocol, decide::FIRST_HIGH_PORT};

use self::parser::{Command, Ports, Verb};
use super::{
    accounts::{self, Accounts},
    restrictions::Restriction,
};
use crate::{
    config,
    diagnostics::{Code, Diagnostic, Diagnostics, Severity, Sources, quoted},
    profile::ast::Spanned,
};

/// The restrictions that the commands in `text`, found at `path`, leave in force.
///
/// Commands are carried out in order. One that is wrong is reported and dropped;
/// only an ADDTCPPORT whose user doesn't exist stays as a restriction without
/// that user, so a misspelt name never opens a port.
pub fn read(
    path: &Path,
    text: &str,
    accounts: &dyn Accounts,
    sources: &mut Sources,
    diagnostics: &mut Diagnostics,
) -> Vec<Restriction> {
    let source = sources.add(path.into(), text);
    let commands = parser::parse(text, source, diagnostics);
    let mut list = List {
        entries: Vec::new(),
        present: HashMap::new(),
        of_user: HashMap::new(),
        known: HashMap::new(),
        accounts,
        diagnostics,
    };
    for command in &commands {
        let user = list.user(&command.user);
        match command.verb {
            Verb::Add => list.add(command, user),
            Verb::Remove => list.remove(command, user),
        }
    }
    list.entries.into_iter().flatten().collect()
}

/// Whose entry it is. A name that isn't known still tells entries apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Known(u32),
    Unknown(String),
}

/// What tells an entry from others.
type Key = (Protocol, u16, u16, Owner);

struct List<'a, 'd> {
    /// In order; `None` once removed.
    entries: Vec<Option<Restriction>>,
    present: HashMap<Key, usize>,
    /// What RMVTCPPORT PORT(*ALL) removes.
    of_user: HashMap<(Protocol, Owner), BTreeSet<(u16, u16)>>,
    /// Users looked up so far.
    known: HashMap<String, Owner>,
    accounts: &'a dyn Accounts,
    diagnostics: &'d mut Diagnostics,
}

impl List<'_, '_> {
    /// Commands ignore case and users don't: a name is looked up as it is
    /// written, then in lower case.
    fn user(&mut self, name: &Spanned<String>) -> Owner {
        if let Some(owner) = self.known.get(&name.value) {
            return owner.clone();
        }
        let owner = self.look_up(name);
        self.known.insert(name.value.clone(), owner.clone());
        owner
    }

    fn look_up(&mut self, name: &Spanned<String>) -> Owner {
        let unknown = Owner::Unknown(name.value.to_ascii_uppercase());
        if let Some(uid) = config::number(&name.value) {
            return Owner::Known(uid);
        }
        for spelling in [name.value.clone(), name.value.to_ascii_lowercase()] {
            match self.accounts.uid(&spelling) {
                Ok(Some(uid)) => return Owner::Known(uid),
                Ok(None) => {}
                Err(why) => {
                    let diagnostic = accounts::unreadable(name.span, "user", &spelling, &why);
                    self.diagnostics.push(diagnostic);
                    return unknown;
                }
            }
        }
        self.diagnostics.push(
            Diagnostic::error(
                Code::UnknownAccount,
                name.span,
                format!("there is no user {} on this host", quoted(&name.value)),
            )
            .help("check the spelling, create the account, or give its number"),
        );
        unknown
    }

    fn add(&mut self, command: &Command, user: Owner) {
        let Ports::Stretch(first, last) = command.ports else {
            return;
        };
        let key = (command.protocol, first, last, user.clone());
        if let Some(entry) = self
            .present
            .get(&key)
            .and_then(|index| self.entries[*index].as_ref())
        {
            let earlier = entry.span;
            self.diagnostics.push_with(Severity::Error, || {
                let message = "this restriction is there already";
                Diagnostic::error(Code::DuplicateRestriction, command.span, message)
                    .label("this is dropped")
                    .related(earlier, "this came first")
            });
            return;
        }
        if first < FIRST_HIGH_PORT {
            self.diagnostics.push_with(Severity::Warning, || {
                let message = "system servers have ports below 1024; those that run under users not named here can't bind them any more";
                Diagnostic::warning(Code::LowPortRestricted, command.span, message)
                    .help("name the server's own user too, each by its own ADDTCPPORT")
            });
        }
        self.present.insert(key, self.entries.len());
        let of_user = self.of_user.entry((command.protocol, user.clone()));
        of_user.or_default().insert((first, last));
        let users = match user {
            Owner::Known(uid) => BTreeSet::from([uid]),
            Owner::Unknown(_) => BTreeSet::new(),
        };
        self.entries.push(Some(Restriction {
            protocol: command.protocol,
            first,
            last,
            users,
            span: command.span,
        }));
    }

    fn remove(&mut self, command: &Command, user: Owner) {
        let of_user = self
            .of_user
            .entry((command.protocol, user.clone()))
            .or_default();
        let removed: Vec<(u16, u16)> = match command.ports {
            Ports::All => std::mem::take(of_user).into_iter().collect(),
            Ports::Stretch(first, last) => of_user.take(&(first, last)).into_iter().collect(),
        };
        if removed.is_empty() {
            self.nothing_to_remove(command);
        }
        for (first, last) in removed {
            let key = (command.protocol, first, last, user.clone());
            if let Some(index) = self.present.remove(&key) {
                self.entries[index] = None;
            }
        }
    }

    fn nothing_to_remove(&mut self, command: &Command) {
        let ports = match command.ports {
            Ports::All => "any port".to_owned(),
            Ports::Stretch(first, last) if first == last => format!("port {first}"),
            Ports::Stretch(first, last) => format!("ports {first} to {last}"),
        };
        let (protocol, user) = (command.protocol.name(), quoted(&command.user.value));
        let message = format!("there is no {protocol} restriction of {ports} for {user}");
        let diagnostic = Diagnostic::error(Code::NoSuchRestriction, command.span, message)
            .help("a removal needs the ports, protocol and user of an ADDTCPPORT before it");
        self.diagnostics.push(diagnostic);
    }
}
