//! With which policy an agent begins: the one in force, if its predecessor was killed;
//! else what the files say.

use std::sync::Arc;

use super::confirm::Pending;
use crate::{
    diagnostics::{Code, Diagnostics, Severity, Sources},
    files::Hash,
    policy::{
        build::Policy,
        identity::exes::Presence,
        source::{Origin, Source},
    },
    profile::ReadError,
    state::{Record, StateError, Store},
};

/// What an agent begins with.
pub struct Start {
    /// The policy that is to be in force.
    pub policy: Arc<Policy>,
    /// The one that the kernel has, as far as it is known.
    pub held: Option<Arc<Policy>>,
    /// A change that waits to be confirmed: the policy is it.
    pub pending: Option<Pending>,
    /// Why the policy is not what the files say.
    pub why: Option<Why>,
}

impl Start {
    /// In two steps, if what the kernel has is known and another policy than what is to be:
    /// an agent that takes over from one with another layout begins with the same policy.
    pub fn held_first(self) -> (Self, Option<Self>) {
        match &self.held {
            Some(held) if !Arc::ptr_eq(held, &self.policy) => {
                let first = Self {
                    policy: Arc::clone(held),
                    held: Some(Arc::clone(held)),
                    pending: None,
                    why: None,
                };
                (first, Some(self))
            }
            _ => (self, None),
        }
    }
}

/// Why a policy is not what the files say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The agent before was killed, so nobody asked for another one.
    Kept,
    /// The files' was never confirmed.
    NotConfirmed,
    /// Users or groups in them are not known, at least not yet.
    NoAccounts,
}

/// A policy that was remembered, made again.
struct Remembered {
    name: String,
    record: Record,
    policy: Arc<Policy>,
    diagnostics: Diagnostics,
}

/// What `source` begins with where the kernel has the policy of hash `held`, if it has
/// one. `None` if what the files say has errors, and nothing else is known; what there is
/// to say of them was handed to `show`.
///
/// # Errors
///
/// [`ReadError`] if a file can't be read and nothing else is known.
pub fn choose(
    source: &Source,
    store: &Store,
    held: Option<&Hash>,
    show: impl Fn(&Diagnostics, &Sources),
) -> Result<Option<Start>, ReadError> {
    let last = remembered(source, store, held);
    let known = last.as_ref().filter(|_| held.is_some());
    let in_kernel = known.map(|last| Arc::clone(&last.policy));
    if let Some(last) = &last {
        if let Some(start) = unconfirmed(source, store, held.is_some(), last, &show) {
            return Ok(Some(start));
        }
        if held.is_some() && !store.has_ended() && last.record.is_of(source) {
            log(store.found(&last.name, false));
            show(&last.diagnostics, &last.policy.sources);
            return Ok(Some(Start {
                policy: Arc::clone(&last.policy),
                held: in_kernel,
                pending: None,
                why: Some(Why::Kept),
            }));
        }
    }
    let outcome = source.read(&Presence)?;
    show(&outcome.diagnostics, outcome.sources());
    match (outcome.policy, last) {
        (Ok(policy), _) => Ok(Some(Start {
            policy: Arc::new(policy),
            held: in_kernel,
            pending: None,
            why: None,
        })),
        (Err(_), Some(last))
            if last.record.is_of(source) && lacks_accounts_only(&outcome.diagnostics) =>
        {
            show(&last.diagnostics, &last.policy.sources);
            Ok(Some(Start {
                policy: last.policy,
                held: in_kernel,
                pending: None,
                why: Some(Why::NoAccounts),
            }))
        }
        (Err(_), _) => Ok(None),
    }
}

/// What becomes of a change that was waiting to be confirmed; `None` if `last` is none.
fn unconfirmed(
    source: &Source,
    store: &Store,
    is_held: bool,
    last: &Remembered,
    show: impl Fn(&Diagnostics, &Sources),
) -> Option<Start> {
    let confirm = store.confirm_of(&last.name)?;
    let before = store.record(&confirm.back_to);
    let before = before.and_then(|record| again(source, store, &confirm.back_to, record));
    let Some(before) = before else {
        log::error!("a change was not confirmed, but the policy before it is not known any more");
        return None;
    };
    let in_kernel = is_held.then(|| Arc::clone(&last.policy));
    let waits = is_held && !confirm.until.left().is_zero();
    if waits {
        log(store.found(&last.name, true));
        show(&last.diagnostics, &last.policy.sources);
        return Some(Start {
            policy: Arc::clone(&last.policy),
            held: in_kernel,
            pending: Some(Pending {
                back_to: before.policy,
                until: confirm.until,
            }),
            why: Some(Why::Kept),
        });
    }
    show(&before.diagnostics, &before.policy.sources);
    Some(Start {
        policy: before.policy,
        held: in_kernel,
        pending: None,
        why: Some(Why::NotConfirmed),
    })
}

/// The policy that the kernel has, if its hash is `held`; else the last one.
fn remembered(source: &Source, store: &Store, held: Option<&Hash>) -> Option<Remembered> {
    let (name, record) = store.remembered(held)?;
    again(source, store, &name, record)
}

fn again(source: &Source, store: &Store, name: &str, record: Record) -> Option<Remembered> {
    let files = match store.files(&record) {
        Ok(files) => files,
        Err(error) => {
            log::error!("what was in force can't be made again: {error}");
            return None;
        }
    };
    let origin = Origin {
        files: &files,
        accounts: &record.accounts,
        sysname: &record.sysname,
    };
    let outcome = source.again(origin, &Presence).ok();
    let made = outcome.and_then(|outcome| Some((outcome.policy.ok()?, outcome.diagnostics)));
    let Some((policy, diagnostics)) = made else {
        log::error!("what was in force has errors for this agent, on this host");
        return None;
    };
    Some(Remembered {
        name: name.to_owned(),
        record,
        policy: Arc::new(policy),
        diagnostics,
    })
}

/// Whether users and groups that are not known are all that is wrong.
fn lacks_accounts_only(diagnostics: &Diagnostics) -> bool {
    let mut errors = diagnostics.iter().filter(|d| d.severity == Severity::Error);
    errors.all(|d| matches!(d.code, Code::UnknownAccount | Code::AccountsUnreadable))
}

fn log(done: Result<(), StateError>) {
    if let Err(error) = done {
        log::warn!("{error}");
    }
}
