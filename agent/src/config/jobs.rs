//! Definitions of jobs, and the jobs that AUTHPORT stands for.

use std::{collections::HashMap, path::PathBuf};

use portreeve_common::{abi::jobs::MAX_CGROUP_DEPTH, jobname::MAX_NAME_CHARS};
use toml::de::DeValue;

use super::{
    access::{Account, accounts, user},
    table::{Reader, Section, Value},
};
use crate::{
    diagnostics::{Code, Diagnostic, Span, quoted},
    profile::{
        ast::{Spanned, User},
        jobname::jobname,
    },
};

/// Longest name in a path, as in the kernel.
const MAX_NAME: usize = 255;
/// Longest path, as in the kernel.
const MAX_PATH: usize = 4095;
/// The job that does what the kernel does of itself, and that no process can be.
pub const KERNEL: &str = "KERNEL";

/// A defined job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its name, in upper case.
    pub name: String,
    /// Its name as written.
    pub span: Span,
    /// A process is the job if it satisfies one of these.
    pub alternatives: Vec<Definition>,
}

/// One way to be a job: every key that is given must hold, with any of its
/// values. A key without values was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Cgroups: absolute paths, `*` for characters within one component.
    pub cgroup: Vec<String>,
    /// Executables: absolute paths.
    pub exe: Vec<PathBuf>,
    /// Names or patterns of process names, in upper case.
    pub comm: Vec<String>,
    /// Effective users.
    pub user: Vec<Spanned<Account>>,
}

/// `[jobs]`.
pub(super) fn defined(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<Job> {
    let section = reader.section(top, "jobs");
    let mut jobs: Vec<Job> = Vec::new();
    let mut known: HashMap<String, Span> = HashMap::new();
    for (key, value) in section.into_entries() {
        let span = reader.span(key.span());
        let name = match legal_name(key.get_ref()) {
            Ok(name) => Some(name),
            Err(why) => {
                let message = format!("no job can be called {}: {why}", quoted(key.get_ref()));
                reader.push(Diagnostic::error(Code::BadJobDefinition, span, message));
                None
            }
        };
        let alternatives = alternatives(key.get_ref(), span, value, reader);
        let Some(name) = name else { continue };
        if let Some(earlier) = known.get(&name) {
            let message = format!("the job {name} is defined already");
            reader.push(
                Diagnostic::error(Code::DuplicateJob, span, message)
                    .help(format!("names ignore case; alternatives are written [[jobs.{name}]], each with the same name"))
                    .related(*earlier, "this came first"),
            );
            continue;
        }
        known.insert(name.clone(), span);
        jobs.push(Job {
            name,
            span,
            alternatives,
        });
    }
    jobs
}

/// `[authport]`.
pub(super) fn authport(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<String> {
    let mut section = reader.section(top, "authport");
    let words = reader.words(&mut section, "jobs").unwrap_or_default();
    reader.finish(section);
    let mut names = Vec::new();
    for word in words {
        match jobname(&word.value).map(|name| name.user) {
            Ok(User::Job(name)) => names.push(name.into()),
            Ok(_) => reader.push(bad(
                word.span,
                "the FTP server is a job of its own; * and names with a meaning stand for others",
            )),
            Err(why) => reader.push(bad(word.span, why)),
        }
    }
    names
}

/// The name of a job that is spelled `word`.
fn legal_name(word: &str) -> Result<String, &'static str> {
    match jobname(word)?.user {
        User::Job(name) if name.contains(['*', '?']) => {
            Err("a definition is of one job, so its name is no pattern")
        }
        User::Job(name) if name == KERNEL => Err("that is the kernel itself"),
        User::Job(name) => Ok(name.into()),
        User::Anyone => Err("a definition is of one job"),
        User::Omvs | User::Reserved | User::Authport => {
            Err("the profile gives it a meaning of its own")
        }
    }
}

fn alternatives(
    name: &str,
    span: Span,
    value: Value<'_>,
    reader: &mut Reader<'_>,
) -> Vec<Definition> {
    let tables = match value.into_inner() {
        table @ DeValue::Table(_) => vec![(span, table)],
        DeValue::Array(list) => list
            .into_iter()
            .map(|value| (reader.span(value.span()), value.into_inner()))
            .collect(),
        other => {
            reader.wrong_type(span, name, "a table or an array of tables", &other);
            return Vec::new();
        }
    };
    if tables.is_empty() {
        reader.push(bad(span, "there is no alternative, so nobody is the job"));
    }
    let mut definitions = Vec::new();
    for (span, value) in tables {
        match value {
            DeValue::Table(table) => {
                definitions.push(definition(Section::new(table), span, reader));
            }
            other => reader.wrong_type(span, name, "an array of tables", &other),
        }
    }
    definitions
}

fn definition(mut section: Section<'_>, span: Span, reader: &mut Reader<'_>) -> Definition {
    if !["cgroup", "exe", "comm", "user"]
        .iter()
        .any(|key| section.has(key))
    {
        reader.push(
            bad(span, "nothing says who the job is")
                .help("give at least one of cgroup, exe, comm and user"),
        );
    }
    let cgroup = conditions(&mut section, "cgroup", span, reader, |word| {
        check_cgroup(word).map(|()| word.to_owned())
    });
    let exe = conditions(&mut section, "exe", span, reader, |word| {
        check_exe(word).map(|()| PathBuf::from(word))
    });
    let comm = conditions(&mut section, "comm", span, reader, |word| {
        check_comm(word).map(|()| word.to_ascii_uppercase())
    });
    let users = words(&mut section, "user", span, reader);
    reader.finish(section);
    Definition {
        cgroup,
        exe,
        comm,
        user: accounts(users, Code::BadJobDefinition, user, reader),
    }
}

/// The values of one condition; none if the key is not there.
fn conditions<T>(
    section: &mut Section<'_>,
    key: &'static str,
    definition: Span,
    reader: &mut Reader<'_>,
    check: impl Fn(&str) -> Result<T, &'static str>,
) -> Vec<T> {
    let mut values = Vec::new();
    for word in words(section, key, definition, reader) {
        match check(&word.value) {
            Ok(value) => values.push(value),
            Err(why) => reader.push(bad(word.span, why)),
        }
    }
    values
}

/// The words of one condition. A list without any is an error: it would be
/// taken for a condition that nobody gave.
fn words(
    section: &mut Section<'_>,
    key: &'static str,
    definition: Span,
    reader: &mut Reader<'_>,
) -> Vec<Spanned<String>> {
    let words = reader.words(section, key);
    if words.as_ref().is_some_and(Vec::is_empty) {
        let message = format!("`{key}` has no value, so nobody is the job");
        reader.push(bad(definition, message));
    }
    words.unwrap_or_default()
}

fn bad(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code::BadJobDefinition, span, message)
}

/// Whether `path` can be that of a cgroup.
pub(super) fn check_cgroup(path: &str) -> Result<(), &'static str> {
    let Some(relative) = path.strip_prefix('/') else {
        return Err(
            "a cgroup is an absolute path from the root of the hierarchy, such as /system.slice/vsftpd.service",
        );
    };
    check_path(path)?;
    if relative.contains("**") {
        return Err("* stands for characters within one component of a cgroup; there is no **");
    }
    if relative
        .split('/')
        .all(|component| component.is_empty() || component == "*")
    {
        return Err("every process is in this cgroup, so it says nothing");
    }
    if relative.split('/').count() > MAX_CGROUP_DEPTH as usize {
        return Err("a cgroup has at most 32 components here; what is below it is meant too");
    }
    check_components(relative)
}

fn check_exe(path: &str) -> Result<(), &'static str> {
    let Some(relative) = path.strip_prefix('/') else {
        return Err("an executable is an absolute path, such as /usr/sbin/vsftpd");
    };
    check_path(path)?;
    check_components(relative)
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > MAX_PATH || path.contains('\0') {
        return Err("a path has at most 4095 bytes and no NUL");
    }
    Ok(())
}

fn check_components(path: &str) -> Result<(), &'static str> {
    if path
        .split('/')
        .any(|component| matches!(component, "" | "." | ".."))
    {
        return Err("a path has a name between two slashes and behind the last, and no . or ..");
    }
    if path.split('/').any(|component| component.len() > MAX_NAME) {
        return Err("a name in a path has at most 255 bytes");
    }
    Ok(())
}

fn check_comm(pattern: &str) -> Result<(), &'static str> {
    if pattern.is_empty() || pattern.len() > MAX_NAME_CHARS {
        return Err("a process name has 1 to 15 bytes; the kernel cuts longer ones");
    }
    if pattern.contains(char::is_control) {
        return Err("a process name has no control characters here");
    }
    Ok(())
}
