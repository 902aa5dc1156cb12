//! What a profile may say but can't be enforced yet.
//!
//! A rule on access is an error: the profile must not seem to protect what it
//! doesn't. What is no such rule is a warning, and the reservation stands.

use portreeve_common::abi::Protocol;

use super::reservations::{Kind, Reservation, Rules};
use crate::config::Config;
use crate::diagnostics::{Code, Diagnostic, Diagnostics, Severity, Span};
use crate::profile::ast::{Profile, SaConfig, Statement, User};

/// Takes out of `rules`, settled from `profile`, what the kernel side can't
/// enforce yet, and reports it.
pub fn keep_supported(profile: &Profile, mut rules: Rules, diagnostics: &mut Diagnostics) -> Rules {
    report_settings(profile, diagnostics);
    for (protocol, restrict) in Protocol::ALL.into_iter().zip(&mut rules.restrict_low) {
        if let Some(span) = restrict.take() {
            let message = format!(
                "RESTRICTLOWPORTS is not supported yet; unreserved {} ports below 1024 follow the host's own rule",
                protocol.name()
            );
            let code = Code::LowPortsUnsupported;
            not_yet(diagnostics, Severity::Error, code, span, &message);
        }
    }
    let at_listen = rules.unreserved_at_listen(Protocol::Tcp);
    rules
        .entries
        .retain(|entry| is_supported(entry, at_listen, diagnostics));
    rules
}

/// Whether `entry` can be enforced. Reports what can't, and what is left out of
/// an entry that otherwise can.
fn is_supported(entry: &Reservation, at_listen: bool, diagnostics: &mut Diagnostics) -> bool {
    let options = &entry.options;
    let unreserved_at_listen =
        entry.kind == Kind::Unreserved && entry.protocol == Protocol::Tcp && at_listen;
    let refused = [
        unreserved_at_listen.then_some((
            Code::UnreservedUnsupported,
            "UNRSV judged at listen",
            entry.span,
        )),
        options
            .saf
            .as_ref()
            .map(|option| (Code::SafUnsupported, "SAF", option.span)),
        options
            .bind
            .as_ref()
            .map(|option| (Code::BindUnsupported, "BIND", option.span)),
        options
            .share
            .as_ref()
            .map(|option| (Code::ShareUnsupported, "SHAREPORT", option.span)),
        (entry.user == User::Authport).then_some((
            Code::AuthportUnsupported,
            "AUTHPORT",
            entry.span,
        )),
    ];
    let mut supported = true;
    for (code, what, span) in refused.into_iter().flatten() {
        supported = false;
        let message = format!("{what} is not supported yet; the entry is dropped");
        not_yet(diagnostics, Severity::Error, code, span, &message);
    }
    if !supported {
        return false;
    }
    if let Some(acks) = options.delay_acks.filter(|acks| !acks.value) {
        let message = "NODELAYACKS is not supported yet; the port is reserved without it";
        let code = Code::AcksUnsupported;
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

/// Reports the parts of `config` that the kernel side can't enforce yet.
pub fn report_config(config: &Config, diagnostics: &mut Diagnostics) {
    for job in &config.jobs {
        let message = format!(
            "job {} is defined, but defined jobs are not recognised in the kernel yet",
            job.name
        );
        not_yet(
            diagnostics,
            Severity::Error,
            Code::JobsUnsupported,
            job.span,
            &message,
        );
    }
    for restriction in &config.restrictions {
        let message =
            "port restrictions are not supported yet; the port would be open to every user";
        let code = Code::RestrictionsUnsupported;
        not_yet(
            diagnostics,
            Severity::Error,
            code,
            restriction.span,
            message,
        );
    }
    if let Some(path) = &config.ibmi_commands {
        let message = "IBM i commands are not supported yet; the ports would be open to every user";
        let code = Code::RestrictionsUnsupported;
        not_yet(diagnostics, Severity::Error, code, path.span, message);
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
