//! An answer of `explain` in sentences, with what would have to change.

use portreeve_common::{
    Reason, Rewrite, Verdict,
    abi::{Mode, Protocol},
    jobname::ZOS_NAME_CHARS,
};

use super::{
    build::Policy,
    explain::{Question, caller, final_address, protocol},
    place::EntryPlace,
    reservations::{Kind, Reservation},
};
use crate::{
    config::KERNEL,
    profile::{
        ast::{User, When},
        jobname::{Jobname, jobname},
    },
};

/// What the sentences are about.
pub(super) struct Story<'a> {
    pub policy: &'a Policy,
    pub question: &'a Question,
    pub verdict: &'a Verdict,
    /// The entry that decided or stands for the port.
    pub rule: Option<&'a Reservation>,
    /// Where it stands.
    pub entry: Option<&'a EntryPlace>,
    /// The rules that decided are in audit.
    pub audit: bool,
    /// The host's first port without its own rule, if the caller fails that rule.
    pub host_rule: Option<u16>,
}

impl Story<'_> {
    /// The whole answer.
    pub fn tell(&self) -> String {
        let question = self.question;
        let verb = if question.listen { "listen on" } else { "bind" };
        let may = if self.verdict.refuses() {
            "may not"
        } else {
            "may"
        };
        let protocol = question.protocol.to_ascii_lowercase();
        let mut text = format!(
            "{} {may} {verb} {protocol}/{}: {}.",
            self.who(),
            question.port,
            self.reason()
        );
        if let Some(entry) = self.entry {
            text.push_str(&format!(" {}:{}: {}.", entry.file, entry.line, entry.text));
        }
        if self.verdict.refuses() {
            if self.audit {
                text.push_str(&format!(
                    " But {} in audit: it is only told, and goes on.",
                    self.watched()
                ));
            } else if question.listen && self.policy.destroys_listeners() {
                text.push_str(" Without the BPF LSM listen itself succeeds, and the agent destroys the listener some milliseconds later.");
            }
            text.push_str(&format!(" {}", self.change()));
        }
        if self.audit && self.verdict.reason == Reason::Permitted {
            text.push_str(&format!(
                " As {} in audit, nothing is granted and nothing about the socket changed.",
                self.watched()
            ));
        }
        if self.verdict.grant {
            text.push_str(" No capability is needed for it.");
        }
        if !matches!(self.verdict.rewrite, Rewrite::Keep)
            && let Some(address) = final_address(self.policy, question, self.verdict)
        {
            text.push_str(&format!(" The wildcard address becomes {address}."));
        }
        if let Some(first) = self.host_rule {
            text.push_str(&format!(
                " But the host's own rule still applies: ports below {first} need CAP_NET_BIND_SERVICE, so the kernel refuses this caller with EACCES."
            ));
        }
        text
    }

    /// What is in audit.
    fn watched(&self) -> &'static str {
        match self.policy.config.mode {
            Mode::Audit => "the policy is",
            Mode::Enforce => "the rules for this port are",
        }
    }

    fn who(&self) -> &str {
        let question = self.question;
        let named = question.jobs.first().or(question.comm.as_ref());
        named.map_or("a caller without a name", String::as_str)
    }

    fn reason(&self) -> &'static str {
        match self.verdict.reason {
            Reason::NotJudged if self.question.listen && self.question.port != 0 => {
                "the port was judged at bind, so listen is not"
            }
            reason => reason.text(),
        }
    }

    /// What would have to be different for the refusal to be none.
    pub fn change(&self) -> String {
        let question = self.question;
        match self.verdict.reason {
            Reason::Blocked => "To open it, remove the RESERVED entry.".into(),
            Reason::OtherJob => self.admit_to_reserved(),
            Reason::UnreservedOther | Reason::UnreservedDenied => self.admit_to_unreserved(),
            Reason::LowPort => match self.name() {
                Some(name) => format!(
                    "To allow it, add `{}` to the profile.",
                    self.port_entry(&name)
                ),
                None => "To allow it, reserve the port for a job that the config defines.".into(),
            },
            Reason::NoPermit => {
                let saf = self.rule.and_then(|rule| rule.options.saf.as_ref());
                let resource =
                    saf.map_or_else(String::new, |saf| self.policy.servauth.resource(&saf.value));
                format!(
                    "To allow it, permit user {} to {resource} under [servauth].",
                    question.uid
                )
            }
            Reason::OtherUser => {
                format!(
                    "To allow it, add user {} to the port's restriction.",
                    question.uid
                )
            }
            Reason::NoIdentity => "Say who is calling: a job or a process name.".into(),
            _ => "Reload the policy.".into(),
        }
    }

    /// A port that other entries name already.
    fn admit_to_reserved(&self) -> String {
        let is_udp = protocol(&self.question.protocol) == Some(Protocol::Udp);
        match (self.rule.map(|rule| (rule.kind, &rule.user)), self.name()) {
            (Some((_, User::Authport)), _) if is_udp => {
                "AUTHPORT is for FTP, which uses TCP; nobody may have the port for UDP.".into()
            }
            (Some((_, User::Authport)), _) => {
                "To allow it, list the caller's job under `[authport] jobs` in the config.".into()
            }
            (_, None) => self.no_name(),
            (Some((Kind::Range, _)), Some(name)) => format!(
                "To allow it, give the range a job name that means {name} too, or take the port out of the range."
            ),
            (_, Some(name)) if is_udp => format!(
                "To allow it, give the entry a pattern that means {name} too: UDP has one job name per port."
            ),
            (_, Some(name)) => format!(
                "To allow it, add `{}` to the profile.",
                self.port_entry(&name)
            ),
        }
    }

    /// A port that no entry names, in a policy that says who may have those.
    fn admit_to_unreserved(&self) -> String {
        let Some(name) = self.name() else {
            return self.no_name();
        };
        let protocol = self.question.protocol.to_ascii_uppercase();
        // All entries for TCP are judged at the same moment (`UNR-13`).
        let when = self.rule.and_then(|rule| rule.options.when);
        let when = match when.map(|when| when.value) {
            Some(When::Bind) => " WHENBIND",
            Some(When::Listen) => " WHENLISTEN",
            None => "",
        };
        format!("To allow it, add `PORT UNRSV {protocol} {name}{when}` to the profile.")
    }

    fn port_entry(&self, name: &str) -> String {
        let protocol = self.question.protocol.to_ascii_uppercase();
        format!("PORT {} {protocol} {name}", self.question.port)
    }

    /// The name that an entry for the caller would have; `None` if no entry can
    /// mean it by a name.
    fn name(&self) -> Option<String> {
        entry_name(self.policy, self.question)
    }

    pub fn no_name(&self) -> String {
        let name = self.who().to_ascii_uppercase();
        if self.policy.jobs.is_defined(&name) {
            return format!(
                "{name} is a job that the config defines, and the caller does not satisfy the definition."
            );
        }
        if name == KERNEL {
            return "KERNEL is the kernel itself; a process that calls itself so is not.".into();
        }
        format!(
            "{name} can't stand in a profile as a job name (z/OS has letters, digits and @ # $, at most {ZOS_NAME_CHARS}); define a job for it under [jobs]."
        )
    }
}

/// The name that an entry for the caller in `question` would have; `None` if no
/// entry can mean it by a name.
pub(super) fn entry_name(policy: &Policy, question: &Question) -> Option<String> {
    if question.is_kernel() {
        return Some(KERNEL.to_owned());
    }
    let caller = caller(policy, question);
    if let Some(job) = policy.jobs.of(&caller).first() {
        return policy.jobs.get(job.id).map(|job| job.name.clone());
    }
    let name = caller.comm?.to_ascii_uppercase();
    // Only who satisfies a definition is that job.
    let is_taken = policy.jobs.is_defined(&name) || name == KERNEL;
    let is_plain = matches!(
        jobname(&name),
        Ok(Jobname { user: User::Job(name), .. }) if !name.contains(['*', '?'])
    );
    (is_plain && !is_taken).then_some(name)
}
