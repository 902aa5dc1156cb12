//! The users and groups of examples, whatever the host has.

use portreeve::policy::accounts::FixedAccounts;

const USERS: [(&str, u32); 8] = [
    ("root", 0),
    ("ftp", 14),
    ("named", 25),
    ("web", 80),
    ("alice", 1001),
    ("bob", 1002),
    ("appadm", 1042),
    // IBM i writes user profiles in upper case, and names are looked up as written.
    ("APPADM", 1042),
];

const GROUPS: [(&str, u32); 3] = [("admins", 27), ("ftpusers", 50), ("web", 80)];

/// The accounts as policies look them up.
pub fn all() -> FixedAccounts {
    FixedAccounts::new(USERS, GROUPS)
}

fn number(name: &str, accounts: &[(&str, u32)]) -> Option<u32> {
    let named = accounts.iter().find(|(known, _)| *known == name);
    named
        .map(|(_, number)| *number)
        .or_else(|| name.parse().ok())
}

/// The user called or numbered `name`.
pub fn user(name: &str) -> Option<u32> {
    number(name, &USERS)
}

/// The group called or numbered `name`.
pub fn group(name: &str) -> Option<u32> {
    number(name, &GROUPS)
}
