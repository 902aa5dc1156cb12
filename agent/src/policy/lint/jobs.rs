//! Lints about who the entries name.

use std::collections::HashSet;

use super::{Lint, once};
use crate::{
    config::KERNEL,
    diagnostics::{Code, Diagnostic, Diagnostics, quoted},
    policy::{jobs::Jobs, reservations::Reservation},
    profile::ast::{Procedure, Statement, User},
};

/// Below it users manage cgroups of their own.
const DELEGATED: &str = "/user.slice";

/// Reservations that any process gets by calling itself so.
pub(super) fn name_only(lint: &Lint<'_>, diagnostics: &mut Diagnostics) {
    let total = lint.entries.len();
    once(
        lint.entries,
        |entry| rests_on_name(entry, lint.jobs),
        |first, count| {
            Diagnostic::warning(
                Code::NameOnly,
                first.span,
                format!("{count} of {total} reservations rest on the process name alone, which any process can choose for itself"),
            )
            .label("the first of them")
            .help("they keep servers from taking each other's ports by mistake, but are no boundary against a program that lies about its name")
        },
        diagnostics,
    );
}

/// A defined job's name is reached by its definition only, and the kernel's by
/// nobody; a SAF check looks at the user.
fn rests_on_name(entry: &Reservation, jobs: &Jobs) -> bool {
    let User::Job(name) = &entry.user else {
        return false;
    };
    let is_exact = !name.contains(['*', '?']);
    let by_definition = is_exact && jobs.named(name).iter().any(|job| jobs.is_verified(*job));
    !by_definition && name != KERNEL && entry.options.saf.is_none()
}

/// Exact names that nothing on this host has.
pub(super) fn unknown_names(lint: &Lint<'_>, diagnostics: &mut Diagnostics) {
    let Some(names) = &lint.host.names else {
        return;
    };
    let unknown: HashSet<&str> = lint
        .entries
        .iter()
        .filter_map(|entry| exact(entry))
        .filter(|name| !names.contains(*name) && !lint.jobs.is_defined(name) && *name != KERNEL)
        .collect();
    if unknown.is_empty() {
        return;
    }
    let mut listed: Vec<&str> = unknown.iter().copied().collect();
    listed.sort_unstable();
    let listed: Vec<String> = listed.into_iter().map(str::to_owned).collect();
    once(
        lint.entries,
        |entry| exact(entry).is_some_and(|name| unknown.contains(name)),
        |first, _| {
            Diagnostic::warning(
                Code::UnknownNames,
                first.span,
                format!(
                    "no process or program on this host is called {}, so nobody gets the ports reserved so",
                    super::listed(&listed)
                ),
            )
            .label("the first of them")
            .help("use the name that `ps -o comm` shows for the server, or define the job under [jobs]")
        },
        diagnostics,
    );
}

fn exact(entry: &Reservation) -> Option<&str> {
    match &entry.user {
        User::Job(name) if !name.contains(['*', '?']) => Some(name),
        _ => None,
    }
}

/// A procedure whose ports are reserved for its forked child (port-control 3.1).
pub(super) fn forked_procedures(lint: &Lint<'_>, diagnostics: &mut Diagnostics) {
    let autolog = lint
        .profile
        .statements
        .iter()
        .filter_map(|statement| match statement {
            Statement::Autolog(autolog) => Some(&autolog.procedures),
            _ => None,
        });
    for procedure in autolog
        .flatten()
        .filter(|procedure| procedure.jobname.is_none())
    {
        let names = || lint.entries.iter().filter_map(|entry| exact(entry));
        if names().any(|name| name == procedure.name) {
            continue;
        }
        if let Some(child) = names().find(|name| is_child(name, procedure)) {
            diagnostics.push(
                Diagnostic::warning(
                    Code::ForkedProcedure,
                    procedure.span,
                    format!("AUTOLOG watches ports of {}, but they are reserved for {child}", procedure.name),
                )
                .help(format!("write `{} JOBNAME {child}`: on z/OS a daemon that forks listens under its name and a digit", procedure.name)),
            );
        }
    }
}

/// Whether `name` is what a forked child of `procedure` is called: one digit more.
fn is_child(name: &str, procedure: &Procedure) -> bool {
    name.strip_prefix(procedure.name.as_str())
        .is_some_and(|digit| digit.len() == 1 && digit.bytes().all(|c| c.is_ascii_digit()))
}

/// Jobs that users could make themselves.
pub(super) fn delegated_cgroups(lint: &Lint<'_>, diagnostics: &mut Diagnostics) {
    for (_, job) in lint.jobs.iter() {
        let mut cgroups = job.alternatives.iter().flat_map(|one| &one.cgroups);
        let is_delegated = cgroups.any(|cgroup| {
            let path = format!("/{}", cgroup.components().join("/"));
            path == DELEGATED || path.starts_with(&format!("{DELEGATED}/"))
        });
        if is_delegated {
            diagnostics.push(
                Diagnostic::warning(
                    Code::DelegatedCgroup,
                    job.span,
                    format!(
                        "job {} is defined by a cgroup below {DELEGATED}, where users make cgroups themselves",
                        quoted(&job.name)
                    ),
                )
                .help("add a `user` to the definition, or run the server as a system service"),
            );
        }
    }
}
