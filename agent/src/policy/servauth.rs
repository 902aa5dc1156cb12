//! Who may read which SAF resource (port-control 4.7).
//!
//! An entry with SAF asks for READ access to a resource of class SERVAUTH. The
//! config's resource profiles say who has it, by RACF's rules: a profile named
//! exactly like the resource decides, else the most specific generic one that
//! covers it (`SAF-06`). Every permit gives READ, so it doesn't matter whether a
//! user is permitted by name, by group or by UACC (`SAF-08`), and user 0 needs a
//! permit like everybody else (`SAF-10`).

mod name;
#[cfg(test)]
mod tests;

use self::name::ProfileName;
use super::{
    accounts::{self, Accounts, Id},
    permits::PermitSet,
};
use crate::{
    config::{self, Uacc},
    diagnostics::{Code, Diagnostic, Diagnostics, Span, quoted},
};

/// Who may read a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Everyone,
    /// These users and groups.
    Only(PermitSet),
    /// No profile covers it. z/OS calls that no decision; here it is a refusal,
    /// because the administrator asked for a check (A-07, `SAF-05`).
    NotCovered,
}

/// A resource profile.
#[derive(Clone, Debug)]
struct Profile {
    name: ProfileName,
    span: Span,
    access: Access,
}

/// The resource profiles, and what resources are called on this stack.
#[derive(Clone, Debug, Default)]
pub struct ServAuth {
    /// Most specific first.
    profiles: Vec<Profile>,
    sysname: String,
    tcpname: String,
}

impl ServAuth {
    /// The config's profiles with their users and groups looked up. What is wrong
    /// is reported: a profile with a bad name is dropped, and so is a permit for an
    /// account that doesn't exist.
    pub fn new(
        profiles: &[config::ServAuthProfile],
        sysname: &str,
        tcpname: &str,
        accounts: &dyn Accounts,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut known: Vec<Profile> = Vec::new();
        for profile in profiles {
            let access = access(profile, accounts, diagnostics);
            let span = profile.name.span;
            match ProfileName::new(&profile.name.value) {
                Ok(name) => known.push(Profile { name, span, access }),
                Err(why) => diagnostics.push(
                    Diagnostic::error(
                        Code::BadServAuth,
                        span,
                        format!(
                            "{} is no resource profile: {why}",
                            quoted(&profile.name.value)
                        ),
                    )
                    .help("for example EZB.PORTACCESS.*.*.FTPDATA"),
                ),
            }
        }
        // A stable sort: of two with one name the first stays.
        known.sort_by(|a, b| a.name.cmp(&b.name));
        known.dedup_by(|later, first| {
            let same = later.name == first.name;
            if same {
                diagnostics.push(
                    Diagnostic::error(
                        Code::BadServAuth,
                        later.span,
                        format!("the resource profile {} is there already", later.name),
                    )
                    .help("the names ignore case; put all permits into one profile")
                    .related(first.span, "this came first"),
                );
            }
            same
        });
        Self {
            profiles: known,
            sysname: sysname.to_ascii_uppercase(),
            tcpname: tcpname.to_ascii_uppercase(),
        }
    }

    /// The resource that SAF name `safname` stands for (`SAF-01`).
    pub fn resource(&self, safname: &str) -> String {
        let Self {
            sysname, tcpname, ..
        } = self;
        let safname = safname.to_ascii_uppercase();
        format!("EZB.PORTACCESS.{sysname}.{tcpname}.{safname}")
    }

    /// Who may read the resource of `safname`.
    pub fn access(&self, safname: &str) -> Access {
        self.covering(safname)
            .map_or(Access::NotCovered, |profile| profile.access.clone())
    }

    /// The name of the profile that decides on `safname`, and where it stands.
    pub fn profile_of(&self, safname: &str) -> Option<(String, Span)> {
        self.covering(safname)
            .map(|profile| (profile.name.to_string(), profile.span))
    }

    fn covering(&self, safname: &str) -> Option<&Profile> {
        let resource = self.resource(safname);
        let mut profiles = self.profiles.iter();
        profiles.find(|profile| profile.name.covers(&resource))
    }
}

fn access(
    profile: &config::ServAuthProfile,
    accounts: &dyn Accounts,
    diagnostics: &mut Diagnostics,
) -> Access {
    let mut set = PermitSet::default();
    for account in &profile.permit {
        match accounts::resolve(account, accounts, diagnostics) {
            Some(Id::User(uid)) => set.users.insert(uid),
            Some(Id::Group(gid)) => set.groups.insert(gid),
            None => false,
        };
    }
    match profile.uacc {
        Uacc::Read => Access::Everyone,
        Uacc::None => Access::Only(set),
    }
}
