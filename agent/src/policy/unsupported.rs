//! What a profile may say but can't be enforced yet.
//!
//! A rule on access is an error: the profile must not seem to protect what it
//! doesn't. What is no such rule is a warning, and the reservation stands.

use portreeve_common::abi::Protocol;

use super::reservations::{Kind, Reservation, Rules};
use crate::diagnostics::{Code, Diagnostic, Diagnostics, Severity, Span};
use crate::kernel::lsm::BpfLsm;
use crate::profile::ast::{Profile, SaConfig, Statement};

/// Takes out of `rules`, settled from `profile`, what the kernel side can't
/// enforce, and reports it. `lsm` is the kernel's that is to enforce them, if it is
/// known.
pub fn keep_supported(
    profile: &Profile,
    mut rules: Rules,
    lsm: Option<&BpfLsm>,
    diagnostics: &mut Diagnostics,
) -> Rules {
    report_settings(profile, diagnostics);
    let unjudged = lsm.filter(|_| rules.unreserved_at_listen(Protocol::Tcp));
    rules
        .entries
        .retain(|entry| is_supported(entry, unjudged, diagnostics));
    rules
}

/// Whether `entry` can be enforced. Reports what can't, and what is left out of
/// an entry that otherwise can. `at_listen` is what judges UNRSV for TCP at listen, if
/// it has to.
fn is_supported(
    entry: &Reservation,
    at_listen: Option<&BpfLsm>,
    diagnostics: &mut Diagnostics,
) -> bool {
    let options = &entry.options;
    if entry.kind == Kind::Unreserved
        && entry.protocol == Protocol::Tcp
        && let Some(lsm) = at_listen
        && let (Some(problem), Some(advice)) = (lsm.problem(), lsm.advice())
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
        match statement {
            Statement::GlobalConfig(config) => {
                if let Some(range) = &config.bind_range {
                    let message = "EXPLICITBINDPORTRANGE is not enforced, because Linux has one pool for every bind to port 0";
                    let code = Code::BindRangeUnsupported;
                    not_yet(diagnostics, Severity::Error, code, range.span, message);
                }
            }
            Statement::Autolog(autolog) if !autolog.procedures.is_empty() => {
                let message = "AUTOLOG is not supported yet; nothing is started or watched";
                let code = Code::AutologUnsupported;
                not_yet(diagnostics, Severity::Warning, code, autolog.span, message);
            }
            Statement::SaConfig(config) => subagent(config, diagnostics),
            _ => {}
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

/// The subagent runs unless it is disabled (`SAC-01`), but a profile that says
/// nothing about it doesn't miss it.
fn subagent(config: &SaConfig, diagnostics: &mut Diagnostics) {
    if config.enabled.is_some_and(|enabled| !enabled.value) {
        return;
    }
    let span = config.enabled.map_or(config.span, |enabled| enabled.span);
    let message = "the SNMP subagent is not supported yet; nothing is started";
    not_yet(
        diagnostics,
        Severity::Warning,
        Code::SnmpUnsupported,
        span,
        message,
    );
}
