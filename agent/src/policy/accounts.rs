//! Names of users and groups, and the numbers that the kernel knows them by.

use std::{cell::RefCell, collections::BTreeMap};

use nix::{
    errno::Errno,
    unistd::{Group, User},
};
use serde::{Deserialize, Serialize};

use crate::{
    config::Account,
    diagnostics::{Code, Diagnostic, Diagnostics, Span, quoted},
    profile::ast::Spanned,
};

/// Where names of users and groups are looked up.
pub trait Accounts {
    /// The number of the user called `name`; `None` if there is no such user.
    ///
    /// # Errors
    ///
    /// What the system says if it can't answer.
    fn uid(&self, name: &str) -> Result<Option<u32>, String>;

    /// The number of the group called `name`; `None` if there is no such group.
    ///
    /// # Errors
    ///
    /// What the system says if it can't answer.
    fn gid(&self, name: &str) -> Result<Option<u32>, String>;
}

/// The accounts of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostAccounts;

impl Accounts for HostAccounts {
    fn uid(&self, name: &str) -> Result<Option<u32>, String> {
        answer(User::from_name(name), |user| user.uid.as_raw())
    }

    fn gid(&self, name: &str) -> Result<Option<u32>, String> {
        answer(Group::from_name(name), |group| group.gid.as_raw())
    }
}

/// What the C library found. Some of them report "not found" as an error, or
/// that there is no such database at all.
fn answer<T>(
    found: Result<Option<T>, Errno>,
    number: impl Fn(T) -> u32,
) -> Result<Option<u32>, String> {
    match found {
        Ok(found) => Ok(found.map(number)),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno.desc().to_owned()),
    }
}

/// Accounts from a list, whatever the host has: for tests and demonstrations, and to
/// make a policy again as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedAccounts {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl FixedAccounts {
    /// No user and no group.
    pub const NONE: &'static Self = &Self {
        users: BTreeMap::new(),
        groups: BTreeMap::new(),
    };

    /// These users and groups and no others.
    pub fn new<'a>(
        users: impl IntoIterator<Item = (&'a str, u32)>,
        groups: impl IntoIterator<Item = (&'a str, u32)>,
    ) -> Self {
        let owned = |(name, number): (&str, u32)| (name.to_owned(), number);
        Self {
            users: users.into_iter().map(owned).collect(),
            groups: groups.into_iter().map(owned).collect(),
        }
    }
}

impl Accounts for FixedAccounts {
    fn uid(&self, name: &str) -> Result<Option<u32>, String> {
        Ok(self.users.get(name).copied())
    }

    fn gid(&self, name: &str) -> Result<Option<u32>, String> {
        Ok(self.groups.get(name).copied())
    }
}

/// Remembers what was found where it looks names up.
pub struct Recorder<'a> {
    from: &'a dyn Accounts,
    found: RefCell<FixedAccounts>,
}

impl<'a> Recorder<'a> {
    /// Looks up in `from`.
    pub fn new(from: &'a dyn Accounts) -> Self {
        Self {
            from,
            found: RefCell::default(),
        }
    }

    /// What was found. Who looks them up there finds the same, and no more.
    pub fn into_found(self) -> FixedAccounts {
        self.found.into_inner()
    }
}

impl Accounts for Recorder<'_> {
    fn uid(&self, name: &str) -> Result<Option<u32>, String> {
        let uid = self.from.uid(name)?;
        let found = &mut self.found.borrow_mut().users;
        found.extend(uid.map(|uid| (name.to_owned(), uid)));
        Ok(uid)
    }

    fn gid(&self, name: &str) -> Result<Option<u32>, String> {
        let gid = self.from.gid(name)?;
        let found = &mut self.found.borrow_mut().groups;
        found.extend(gid.map(|gid| (name.to_owned(), gid)));
        Ok(gid)
    }
}

/// An account's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Id {
    User(u32),
    Group(u32),
}

/// Whom `account` means. `None` if that isn't known; then `diagnostics` says why.
pub(super) fn resolve(
    account: &Spanned<Account>,
    accounts: &dyn Accounts,
    diagnostics: &mut Diagnostics,
) -> Option<Id> {
    let (kind, name, found) = match &account.value {
        Account::Uid(number) => return Some(Id::User(*number)),
        Account::Gid(number) => return Some(Id::Group(*number)),
        Account::User(name) => (
            "user",
            name,
            accounts.uid(name).map(|uid| uid.map(Id::User)),
        ),
        Account::Group(name) => (
            "group",
            name,
            accounts.gid(name).map(|gid| gid.map(Id::Group)),
        ),
    };
    match found {
        Ok(Some(id)) => return Some(id),
        Ok(None) => diagnostics.push(
            Diagnostic::error(
                Code::UnknownAccount,
                account.span,
                format!("there is no {kind} {} on this host", quoted(name)),
            )
            .help("check the spelling, create the account, or give its number"),
        ),
        Err(why) => diagnostics.push(unreadable(account.span, kind, name, &why)),
    }
    None
}

/// That `name` can't be looked up.
pub(super) fn unreadable(span: Span, kind: &str, name: &str, why: &str) -> Diagnostic {
    Diagnostic::error(
        Code::AccountsUnreadable,
        span,
        format!("the {kind} {} can't be looked up: {why}", quoted(name)),
    )
    .help("give the account's number, which needs no look-up")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Sources;

    struct Broken;

    impl Accounts for Broken {
        fn uid(&self, _: &str) -> Result<Option<u32>, String> {
            Err("the directory is away".to_owned())
        }

        fn gid(&self, _: &str) -> Result<Option<u32>, String> {
            Err("the directory is away".to_owned())
        }
    }

    fn look_up(account: Account, accounts: &dyn Accounts) -> (Option<Id>, Vec<Code>) {
        let source = Sources::new().add("c".into(), "");
        let span = Span {
            source,
            start: 0,
            end: 0,
        };
        let mut diagnostics = Diagnostics::new();
        let account = Spanned {
            value: account,
            span,
        };
        let id = resolve(&account, accounts, &mut diagnostics);
        (id, diagnostics.iter().map(|d| d.code).collect())
    }

    /// `SAF-08`.
    #[test]
    fn names_are_looked_up_and_numbers_are_not() {
        let accounts = FixedAccounts::new([("ftp", 14)], [("ftp", 50)]);
        let user = |name: &str| Account::User(name.to_owned());
        let group = |name: &str| Account::Group(name.to_owned());
        assert_eq!(
            look_up(user("ftp"), &accounts),
            (Some(Id::User(14)), vec![])
        );
        assert_eq!(
            look_up(group("ftp"), &accounts),
            (Some(Id::Group(50)), vec![])
        );
        let unknown = (None, vec![Code::UnknownAccount]);
        assert_eq!(look_up(user("FTP"), &accounts), unknown);
        assert_eq!(look_up(group("www"), &accounts), unknown);
        assert_eq!(
            look_up(user("ftp"), &Broken),
            (None, vec![Code::AccountsUnreadable])
        );
        assert_eq!(
            look_up(group("ftp"), &Broken),
            (None, vec![Code::AccountsUnreadable])
        );
        assert_eq!(
            look_up(Account::Uid(7), &Broken),
            (Some(Id::User(7)), vec![])
        );
        assert_eq!(
            look_up(Account::Gid(7), &Broken),
            (Some(Id::Group(7)), vec![])
        );
    }

    #[test]
    fn what_was_found_is_found_again() {
        let all = FixedAccounts::new([("ftp", 14), ("www", 33)], [("ftp", 50)]);
        let recorder = Recorder::new(&all);
        assert_eq!(recorder.uid("ftp"), Ok(Some(14)));
        assert_eq!(recorder.uid("absent"), Ok(None));
        assert_eq!(recorder.gid("ftp"), Ok(Some(50)));
        let found = recorder.into_found();
        assert_eq!(found, FixedAccounts::new([("ftp", 14)], [("ftp", 50)]));
        assert_eq!(found.uid("www"), Ok(None));
        assert!(Recorder::new(&Broken).uid("ftp").is_err());
    }

    #[test]
    fn the_host_knows_root() {
        assert_eq!(HostAccounts.uid("root"), Ok(Some(0)));
        assert_eq!(HostAccounts.gid("root"), Ok(Some(0)));
        assert_eq!(HostAccounts.uid("no-such-user-here"), Ok(None));
    }
}
