//! What a profile may say but can't be enforced yet.
//!
//! A rule on access is an error: the profile must not seem to protect what it
//! doesn't. What is no such rule is a warning, and the reservation stands.

use portreeve_common::abi::Protocol;

use super::reservations::{Kind, Reservation, Rules};
use crate::config::{Config, Feature};
use crate::diagnostics::{Code, Diagnostic, Diagnostics, Severity, Span};
use crate::kernel::lsm::BpfLsm;
use crate::profile::ast::{Profile, Statement};

/// What becomes of UNRSV for TCP that is judged at listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtListen {
    /// Listen is refused; or the kernel that it is for isn't known, or there is no such
    /// rule.
    Refused,
    /// The listener is destroyed right after it starts. The config accepts that.
    Destroyed {
        /// Why listen isn't refused.
        problem: String,
    },
    /// Nothing.
    Unjudged {
        /// Why.
        problem: String,
        /// What would help.
        advice: String,
    },
}

impl AtListen {
    /// Under `config`, on a kernel with `lsm`. `destroying` says why listeners can't
    /// be destroyed there; it is asked only if it matters.
    pub fn of(
        rules: &Rules,
        config: &Config,
        lsm: Option<&BpfLsm>,
        destroying: fn() -> Option<String>,
    ) -> Self {
        let lsm = lsm.filter(|_| rules.unreserved_at_listen(Protocol::Tcp));
        let Some((problem, advice)) = lsm.and_then(|lsm| lsm.problem().zip(lsm.advice())) else {
            return Self::Refused;
        };
        if !config.degraded.accepts(Feature::Listen) {
            let accept = "accept with `[degraded] accept = [\"listen\"]` that a listener is destroyed right after it starts";
            return Self::Unjudged {
                problem,
                advice: format!("{advice}, {accept}"),
            };
        }
        match destroying() {
            None => Self::Destroyed { problem },
            Some(why) => Self::Unjudged {
                problem: format!("{problem}, and {why}"),
                advice,
            },
        }
    }
}

/// Takes out of `rules`, settled from `profile`, what the kernel side can't
/// enforce, and reports it.
pub fn keep_supported(
    profile: &Profile,
    mut rules: Rules,
    at_listen: &AtListen,
    diagnostics: &mut Diagnostics,
) -> Rules {
    report_settings(profile, diagnostics);
    let mut entries = rules.unreserved().iter();
    if let AtListen::Destroyed { problem } = at_listen
        && let Some(entry) = entries.find(|entry| is_unreserved_tcp(entry))
    {
        diagnostics.push_with(Severity::Warning, || {
            let message = format!(
                "UNRSV for TCP is judged when the socket listens already, because {problem}: the listener is destroyed some milliseconds later"
            );
            let help = "until then clients are accepted, the port stays taken until the socket is closed, Multipath TCP listeners stay, and nothing is destroyed while no agent runs; WHENBIND on all UNRSV entries for TCP has none of these limits";
            Diagnostic::warning(Code::UnreservedUnsupported, entry.span, message).help(help)
        });
    }
    rules
        .entries
        .retain(|entry| is_supported(entry, at_listen, diagnostics));
    rules
}

fn is_unreserved_tcp(entry: &Reservation) -> bool {
    entry.kind == Kind::Unreserved && entry.protocol == Protocol::Tcp
}

/// Whether `entry` can be enforced. Reports what can't, and what is left out of
/// an entry that otherwise can.
fn is_supported(entry: &Reservation, at_listen: &AtListen, diagnostics: &mut Diagnostics) -> bool {
    let options = &entry.options;
    if let AtListen::Unjudged { problem, advice } = at_listen
        && is_unreserved_tcp(entry)
    {
        diagnostics.push_with(Severity::Error, || {
            let message = format!("UNRSV for TCP is judged at listen by the BPF LSM: {problem}; the entry is dropped");
            let help = format!("{advice}, or write WHENBIND on all UNRSV entries for TCP, which judges the bind instead");
            Diagnostic::error(Code::UnreservedUnsupported, entry.span, message).help(help)
        });
        return false;
    }
    if let Some(acks) = options.delay_acks.filter(|acks| !acks.value) {
        let message = "delayed acknowledgements can't be switched off here, only shortened to two ticks of the kernel (8 ms at 250 a second)";
        let code = Code::AcksShortened;
        not_yet(diagnostics, Severity::Warning, code, acks.span, message);
    }
    if let Some(smc) = options.smc.filter(|smc| smc.value) {
        let message = "SMC is not supported; the port is reserved without it";
        let code = Code::SmcUnsupported;
        not_yet(diagnostics, Severity::Warning, code, smc.span, message);
    }
    true
}

/// Reports the statements of `profile` that have no effect.
fn report_settings(profile: &Profile, diagnostics: &mut Diagnostics) {
    for statement in &profile.statements {
        if let Statement::GlobalConfig(config) = statement
            && let Some(range) = &config.bind_range
        {
            let message = "EXPLICITBINDPORTRANGE is not enforced, because Linux has one pool for every bind to port 0";
            let code = Code::BindRangeUnsupported;
            not_yet(diagnostics, Severity::Error, code, range.span, message);
        }
    }
}

fn not_yet(
    diagnostics: &mut Diagnostics,
    severity: Severity,
    code: Code,
    span: Span,
    message: &str,
) {
    diagnostics.push_with(severity, || match severity {
        Severity::Error => Diagnostic::error(code, span, message)
            .help("remove it, if the policy is meant to hold without it"),
        _ => Diagnostic::warning(code, span, message),
    });
}
