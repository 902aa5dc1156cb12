//! What a policy needs and the kernel that is to enforce it lacks.
//!
//! Such a policy is refused as a whole, because no entry is to blame, unless the config
//! accepts it: then it is enforced without, and that is said.

#[cfg(test)]
mod tests;

use portreeve_common::{
    abi::{Mode, Protocol},
    decide::FIRST_HIGH_PORT,
};

use super::{
    audit::Audited,
    compile::Compiled,
    jobs::{Alternative, Jobs},
    reservations::{Kind, Reservation},
};
use crate::{
    config::{Config, Feature, GrantRule, SameJob},
    diagnostics::{Code, Diagnostic, Diagnostics, Severity, Span},
    kernel::features::{Features, Lack},
    profile::ast::User,
};

/// What is looked at.
pub struct Needs<'a> {
    /// The settings.
    pub config: &'a Config,
    /// The entries that take effect.
    pub entries: &'a [Reservation],
    /// The tables made of them.
    pub compiled: &'a Compiled,
    /// The jobs that the config defines.
    pub jobs: &'a Jobs,
    /// The ports whose rules are in audit.
    pub audited: &'a Audited,
}

impl Needs<'_> {
    /// Reports what is needed and not among the `features` of the kernel: an error, or
    /// a warning if the config accepts it.
    pub fn report(&self, features: Features, diagnostics: &mut Diagnostics) {
        // In audit mode nothing is done to a bind.
        if self.config.mode != Mode::Enforce {
            return;
        }
        for lack in features.lacking() {
            let is_needed = match lack.feature {
                Some(Feature::Errno) => Some(None),
                Some(Feature::Grant) => self.first(|index, entry| self.grants(index, entry)),
                Some(Feature::Options) => self.first(|_, entry| self.switches_options(entry)),
                Some(Feature::Listen) | None => None,
            };
            if let (Some(span), Some(feature)) = (is_needed, lack.feature) {
                self.push(&lack, feature, span, diagnostics);
            }
        }
    }

    fn push(
        &self,
        lack: &Lack,
        feature: Feature,
        span: Option<Span>,
        diagnostics: &mut Diagnostics,
    ) {
        let is_accepted = self.config.degraded.accepts(feature);
        let severity = if is_accepted {
            Severity::Warning
        } else {
            Severity::Error
        };
        let message = format!("the policy needs more than this kernel has: {lack}");
        let help = if is_accepted {
            format!("`{}` under [degraded] accepts it", feature.word())
        } else {
            format!(
                "to have the policy enforced without it, add `{}` to `accept` under [degraded] in the config",
                feature.word()
            )
        };
        diagnostics.push(
            match span {
                Some(span) if is_accepted => Diagnostic::warning(Code::KernelLacks, span, message),
                Some(span) => Diagnostic::error(Code::KernelLacks, span, message),
                None => {
                    Diagnostic::of_file(Code::KernelLacks, severity, &self.config.profile, message)
                }
            }
            .help(help),
        );
    }

    /// Where the first entry stands of which `is` holds, called with its index in the
    /// tables too.
    fn first(&self, is: impl Fn(usize, &Reservation) -> bool) -> Option<Option<Span>> {
        let origins = self.compiled.origins.iter().enumerate();
        let entries = origins
            .filter_map(|(index, origin)| Some((index, self.entries.get(*origin as usize)?)));
        // For what is in audit nothing is done to a bind.
        let mut of_ports = entries
            .filter(|(_, entry)| entry.kind != Kind::Unreserved && !self.audited.is_whole(entry));
        let (_, entry) = of_ports.find(|(index, entry)| is(*index, entry))?;
        Some(Some(entry.span))
    }

    /// Whether some process may bind a low port by the entry without the capability.
    fn grants(&self, index: usize, entry: &Reservation) -> bool {
        let compiled = self.compiled.image.entries.get(index);
        if entry.first >= FIRST_HIGH_PORT || entry.user == User::Reserved {
            return false;
        }
        let (name, names) = match &entry.user {
            User::Job(name) => (Some(name.as_str()), &[][..]),
            User::Authport => (None, self.config.authport.as_slice()),
            User::Anyone | User::Omvs | User::Reserved => (None, &[][..]),
        };
        let names = name.into_iter().chain(names.iter().map(String::as_str));
        let mut named = names.flat_map(|name| self.jobs.named(name));
        let is_proven = named.any(|id| {
            let job = self.jobs.get(id);
            job.is_some_and(|job| job.alternatives.iter().any(Alternative::is_verified))
        });
        is_proven
            || self.config.grant == GrantRule::Any
            || compiled.is_some_and(|compiled| compiled.grants(false))
    }

    /// Whether a socket's options are switched for the entry.
    fn switches_options(&self, entry: &Reservation) -> bool {
        let options = &entry.options;
        let switches_off = self.config.same_job == SameJob::Refuse;
        let switches_on = options.share.is_some() || options.bind.is_some();
        entry.protocol == Protocol::Tcp
            && entry.user != User::Reserved
            && (switches_off
                || switches_on && self.is_shared(entry.first)
                || options.delay_acks.is_some_and(|acks| !acks.value))
    }

    fn is_shared(&self, port: u16) -> bool {
        super::sharing::shared_ports(self.entries).contains_key(&port)
    }
}
