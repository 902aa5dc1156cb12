//! `[autolog]`, `[procs]` and `[delaystart]`: how the procedures of AUTOLOG are started, and
//! what those with DELAYSTART wait for.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{
    jobs::check_cgroup,
    table::{Reader, Section, invalid},
};
use crate::{
    diagnostics::{Span, quoted},
    profile::{
        ast::{Spanned, User},
        jobname::jobname,
    },
};

/// Stands for the text of PARMSTRING in a unit or a command.
pub const PARM: &str = "{parm}";
/// Stands for the name of the job.
pub const JOB: &str = "{job}";
/// Longest name of a unit, as in systemd.
pub const MAX_UNIT: usize = 255;
/// Most words of a command.
const MAX_WORDS: usize = 256;

/// `[autolog]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autolog {
    /// What starts procedures.
    pub backend: Backend,
    /// Where the config names it.
    pub backend_span: Option<Span>,
    /// Where systemd is asked.
    pub bus: Bus,
    /// The cgroup that procedures have theirs in, if it is named: with systemd that of the
    /// slice that services are in unless they say otherwise.
    pub slice: Option<String>,
}

impl Default for Autolog {
    fn default() -> Self {
        Self {
            backend: Backend::Auto,
            backend_span: None,
            bus: Bus::System,
            slice: None,
        }
    }
}

/// What starts procedures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Units and commands, as `[procs]` says; in a pod nothing.
    Auto,
    /// Units only.
    Unit,
    /// Commands only.
    Exec,
    /// Nothing: they are shown and watched.
    None,
}

impl Backend {
    const ALL: [(&str, Self); 4] = [
        ("auto", Self::Auto),
        ("unit", Self::Unit),
        ("exec", Self::Exec),
        ("none", Self::None),
    ];

    /// Its word in the config.
    pub fn word(self) -> &'static str {
        let known = Self::ALL.iter().find(|(_, backend)| *backend == self);
        known.map_or("", |(word, _)| word)
    }
}

/// Where a systemd is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bus {
    /// The host's, on the system bus.
    System,
    /// That of the user who runs the agent, on the bus that the environment names.
    User,
    /// One on the bus of this D-Bus address.
    Address(String),
}

/// `[procs.NAME]`: what stands for a procedure on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proc {
    /// The procedure's name, in upper case.
    pub name: String,
    /// Its name as written.
    pub span: Span,
    /// What is started.
    pub runs: Runs,
}

/// What is started for a procedure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// This service of systemd.
    Unit(String),
    /// This program with these arguments, in a cgroup of its own.
    Exec(Vec<String>),
}

/// `[delaystart]`: what procedures with DELAYSTART wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelayStart {
    /// DVIPA: until these addresses can be bound; none given are those of BIND.
    pub dvipa: Vec<IpAddr>,
    /// TTLS: until this holds.
    pub ttls: Option<Condition>,
}

/// What stands for AT-TLS being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The unit is active.
    Unit(String),
    /// The files exist and are not empty.
    Files(Vec<PathBuf>),
}

/// `[autolog]`.
pub(super) fn autolog(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Autolog {
    let mut section = reader.section(top, "autolog");
    let backend = reader.word(&mut section, "backend");
    let bus = reader.word(&mut section, "bus");
    let slice = reader.word(&mut section, "slice");
    reader.finish(section);
    let mut read = Autolog::default();
    if let Some(Spanned { value, span }) = backend {
        read.backend_span = Some(span);
        match Backend::ALL.iter().find(|(word, _)| *word == value) {
            Some((_, backend)) => read.backend = *backend,
            None => {
                let message = format!("{} starts no procedures", quoted(&value));
                let help = "the words here are auto, unit, exec, none";
                reader.push(invalid(span, message).help(help));
            }
        }
    }
    let other = bus.filter(|bus| bus.value != "system");
    if let Some(Spanned { value, span }) = other {
        if slice.is_none() {
            let message = "another systemd than the host's has its units in another slice";
            reader.push(invalid(span, message).help(
                "name it: slice = \"/user.slice/user-1000.slice/user@1000.service/app.slice\"",
            ));
        }
        match value.as_str() {
            "user" => read.bus = Bus::User,
            address if address.contains(':') => read.bus = Bus::Address(value),
            _ => {
                let message = format!("{} is no bus", quoted(&value));
                let help = "write \"system\", \"user\" or a D-Bus address such as \"unix:path=/run/user/1000/bus\"";
                reader.push(invalid(span, message).help(help));
            }
        }
    }
    if let Some(Spanned { value, span }) = slice {
        match check_cgroup(&value) {
            Ok(()) => read.slice = Some(value),
            Err(why) => reader.push(invalid(span, why)),
        }
    }
    read
}

/// `[procs]`.
pub(super) fn procs(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<Proc> {
    let section = reader.section(top, "procs");
    let mut procs = Vec::new();
    let mut known: HashMap<String, Span> = HashMap::new();
    for (key, value) in section.into_entries() {
        let span = reader.span(key.span());
        let Some(table) = reader.table(value, key.get_ref()) else {
            continue;
        };
        let runs = runs(table, span, reader);
        let name = match jobname(key.get_ref()).map(|found| found.user) {
            Ok(User::Job(name)) if !name.contains(['*', '?']) => String::from(name),
            _ => {
                let message = format!("{} is not the name of a procedure", quoted(key.get_ref()));
                reader.push(invalid(span, message));
                continue;
            }
        };
        if let Some(earlier) = known.get(&name) {
            let message = format!("the procedure {name} is there already; names ignore case");
            reader.push(invalid(span, message).related(*earlier, "this came first"));
            continue;
        }
        known.insert(name.clone(), span);
        if let Some(runs) = runs {
            procs.push(Proc { name, span, runs });
        }
    }
    procs
}

fn runs(mut section: Section<'_>, span: Span, reader: &mut Reader<'_>) -> Option<Runs> {
    let unit = reader.word(&mut section, "unit");
    let exec = reader.words(&mut section, "exec");
    reader.finish(section);
    match (unit, exec) {
        (Some(unit), None) => match check_service(&unit.value) {
            Ok(()) => Some(Runs::Unit(unit.value)),
            Err(why) => {
                reader.push(invalid(unit.span, why));
                None
            }
        },
        (None, Some(words)) => {
            let words: Vec<String> = words.into_iter().map(|word| word.value).collect();
            match check_command(&words) {
                Ok(()) => Some(Runs::Exec(words)),
                Err(why) => {
                    reader.push(invalid(span, why));
                    None
                }
            }
        }
        (unit, _) => {
            let message = match unit {
                Some(_) => "a procedure is a unit or a command, not both",
                None => "nothing says what is started for the procedure",
            };
            let help = "write unit = \"vsftpd.service\" or exec = [\"/usr/sbin/vsftpd\"]";
            reader.push(invalid(span, message).help(help));
            None
        }
    }
}

/// `[delaystart]`.
pub(super) fn delaystart(
    top: &mut Section<'_>,
    folder: &Path,
    reader: &mut Reader<'_>,
) -> DelayStart {
    let mut section = reader.section(top, "delaystart");
    let mut dvipa = Vec::new();
    for word in reader.words(&mut section, "dvipa").unwrap_or_default() {
        match word.value.parse() {
            Ok(address) => dvipa.push(address),
            Err(_) => {
                let message = format!("{} is no address", quoted(&word.value));
                reader.push(invalid(word.span, message));
            }
        }
    }
    let ttls = section.take("ttls").and_then(|value| {
        let span = reader.span(value.span());
        let table = reader.table(value, "ttls")?;
        condition(table, span, folder, reader)
    });
    reader.finish(section);
    DelayStart { dvipa, ttls }
}

fn condition(
    mut section: Section<'_>,
    span: Span,
    folder: &Path,
    reader: &mut Reader<'_>,
) -> Option<Condition> {
    let unit = reader.word(&mut section, "unit");
    let files = reader.words(&mut section, "files");
    reader.finish(section);
    match (unit, files) {
        (Some(unit), None) => match check_unit(&unit.value) {
            Ok(()) => Some(Condition::Unit(unit.value)),
            Err(why) => {
                reader.push(invalid(unit.span, why));
                None
            }
        },
        (None, Some(files)) if !files.is_empty() => {
            let files = files.into_iter().map(|file| folder.join(file.value));
            Some(Condition::Files(files.collect()))
        }
        _ => {
            let message = "what TTLS waits for is a unit, or a list of files";
            let help = "write ttls = { unit = \"certificates.service\" } or ttls = { files = [\"/etc/ssl/private/ftp.pem\"] }";
            reader.push(invalid(span, message).help(help));
            None
        }
    }
}

/// A service, as `[procs]` names it: with [`PARM`] and [`JOB`] in its instance only.
fn check_service(name: &str) -> Result<(), &'static str> {
    let Some(stem) = name.strip_suffix(".service") else {
        return Err("a procedure is a service of systemd, such as vsftpd.service");
    };
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, "x"));
    let plain = instance.replace(PARM, "x").replace(JOB, "x");
    check_unit(&format!("{prefix}@{plain}.service"))?;
    if prefix.is_empty() || instance.is_empty() {
        return Err("a unit has a name before its @, and an instance behind it");
    }
    Ok(())
}

fn check_unit(name: &str) -> Result<(), &'static str> {
    let is_of_units = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    match name.rsplit_once('.') {
        Some((stem, suffix)) if !stem.is_empty() && !suffix.is_empty() => {}
        _ => return Err("a unit has a name and a suffix, such as vsftpd.service"),
    }
    if name.len() > MAX_UNIT || !name.chars().all(is_of_units) {
        return Err(
            "the name of a unit has letters, digits and : - _ . \\ @, {parm} and {job} behind the @, and 255 characters at most",
        );
    }
    Ok(())
}

fn check_command(words: &[String]) -> Result<(), &'static str> {
    let Some(program) = words.first() else {
        return Err("a command has at least a program");
    };
    if !program.starts_with('/') || program.contains(PARM) || program.contains(JOB) {
        return Err("a command begins with the absolute path of a program");
    }
    if words.len() > MAX_WORDS || words.iter().any(|word| word.contains('\0')) {
        return Err("a command has at most 256 words, without NUL");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{self, Config},
        diagnostics::{Code, Diagnostics, Sources},
    };

    fn read(text: &str) -> Result<Config, Vec<(Code, u32)>> {
        let (mut sources, mut diagnostics) = (Sources::new(), Diagnostics::new());
        let path = Path::new("/etc/p/c.toml");
        let config = config::parse(path, text, &mut sources, &mut diagnostics);
        let line = |span: Option<Span>| span.map_or(0, |span| sources.line(span));
        config.ok_or_else(|| diagnostics.iter().map(|d| (d.code, line(d.span))).collect())
    }

    #[test]
    fn all_of_it() {
        let config = read(
            "[autolog]\nbackend = 'unit'\nbus = 'unix:path=/x'\nslice = '/a/app.slice'\n\
             [procs.ftpd]\nunit = 'ftpd@{parm}.service'\n\
             [procs.SMTP]\nexec = ['/bin/smtp', '-p', '{parm}']\n\
             [delaystart]\ndvipa = ['192.0.2.1', '2001:db8::1']\nttls = { files = ['k.pem', '/c'] }\n",
        )
        .unwrap();
        assert_eq!(config.autolog.backend, Backend::Unit);
        assert_eq!(config.autolog.bus, Bus::Address("unix:path=/x".to_owned()));
        assert_eq!(config.autolog.slice.as_deref(), Some("/a/app.slice"));
        let names: Vec<&str> = config.procs.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["FTPD", "SMTP"]);
        let unit = Runs::Unit("ftpd@{parm}.service".to_owned());
        assert_eq!(config.procs[0].runs, unit);
        assert_eq!(config.delaystart.dvipa.len(), 2);
        let files = Condition::Files(vec!["/etc/p/k.pem".into(), "/c".into()]);
        assert_eq!(config.delaystart.ttls, Some(files));
        let unit = read("[delaystart]\nttls = { unit = 'c.target' }\n").unwrap();
        let wanted = Condition::Unit("c.target".to_owned());
        assert_eq!(unit.delaystart.ttls, Some(wanted));
    }

    #[test]
    fn what_is_wrong_is_said_where_it_stands() {
        for (text, line) in [
            ("[autolog]\nbackend = 'systemd'\n", 2),
            ("[autolog]\nbus = 'user'\n", 2),
            ("[autolog]\nslice = '/x'\nbus = 'nowhere'\n", 3),
            ("[autolog]\nslice = 'app.slice'\n", 2),
            ("[procs.X]\n", 1),
            ("[procs.X]\nunit = 'a.service'\nexec = ['/a']\n", 1),
            ("[procs.X]\nunit = 'a.socket'\n", 2),
            ("[procs.X]\nunit = 'a b.service'\n", 2),
            ("[procs.X]\nunit = '{parm}.service'\n", 2),
            ("[procs.X]\nunit = 'a@.service'\n", 2),
            ("[procs.X]\nunit = 'a@{prm}.service'\n", 2),
            ("[procs.X]\nexec = ['a']\n", 1),
            ("[procs.X]\nexec = []\n", 1),
            ("[procs.'X*']\nunit = 'a.service'\n", 1),
            (
                "[procs.x]\nunit = 'a.service'\n[procs.X]\nunit = 'b.service'\n",
                3,
            ),
            ("[procs.X]\nunits = 'a.service'\nunit = 'a.service'\n", 2),
            ("[delaystart]\ndvipa = ['localhost']\n", 2),
            ("[delaystart]\nttls = {}\n", 2),
            ("[delaystart]\nttls = { files = [] }\n", 2),
            ("[delaystart]\nttls = { unit = 'x' }\n", 2),
            ("[delaystart]\nttl = 1\n", 2),
        ] {
            let found = read(text).unwrap_err();
            assert_eq!(found, [(Code::ConfigInvalid, line)], "{text}");
        }
    }
}
