//! Names of systemd's units and of their cgroups.

use std::fmt::Write as _;

use crate::config::{JOB, MAX_UNIT, PARM};

const SERVICE: &str = ".service";
/// What the units of commands begin with.
const OURS: &str = "portreeve-autolog-";

/// `text` as a part of a unit's name, as `systemd-escape` has it.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphanumeric() || b":_".contains(&byte);
        match byte {
            b'/' => escaped.push('-'),
            // A dot in front would hide the file.
            b'.' if at > 0 => escaped.push('.'),
            _ if is_plain => escaped.push(char::from(byte)),
            _ => {
                // Writing to a string doesn't fail.
                let _ = write!(escaped, "\\x{byte:02x}");
            }
        }
    }
    escaped
}

/// The unit `name` of the config for a procedure with this PARMSTRING and job.
///
/// # Errors
///
/// Why there is none: the rest of a sentence that begins with the procedure's name.
pub(super) fn instance(name: &str, parm: Option<&str>, job: &str) -> Result<String, String> {
    let takes = name.contains(PARM);
    let parm = match (takes, parm) {
        (true, None) => {
            return Err(format!("has no PARMSTRING, and its unit {name} needs one"));
        }
        (false, Some(_)) => {
            return Err(format!(
                "has a PARMSTRING that its unit {name} doesn't take: write {PARM} behind an @"
            ));
        }
        (true, Some("")) => return Err("has an empty PARMSTRING, which is no instance".to_owned()),
        (_, parm) => escape(parm.unwrap_or_default()),
    };
    // Once: what PARMSTRING says isn't looked into.
    let named = name.replace(JOB, &escape(job));
    let unit = named.replace(PARM, &parm);
    within(unit)
}

fn within(unit: String) -> Result<String, String> {
    if unit.len() > MAX_UNIT {
        return Err(format!(
            "has a unit with {} characters in its name, and {MAX_UNIT} is the most: signs but letters and digits take four of PARMSTRING; exec has no such limit",
            unit.len()
        ));
    }
    Ok(unit)
}

/// The `words` of a command for a procedure with this PARMSTRING and job. A word that
/// is nothing but PARMSTRING is left out without one.
pub(super) fn command(
    words: &[String],
    parm: Option<&str>,
    job: &str,
) -> Result<Vec<String>, String> {
    let takes = words.iter().any(|word| word.contains(PARM));
    if parm.is_some() && !takes {
        return Err(format!(
            "has a PARMSTRING that its command doesn't take: write {PARM} as one of its words"
        ));
    }
    let given = words.iter().filter(|word| parm.is_some() || *word != PARM);
    let filled = given.map(|word| {
        let word = word.replace(JOB, job);
        word.replace(PARM, parm.unwrap_or_default())
    });
    Ok(filled.collect())
}

/// The unit that a command of this procedure is started in.
pub(super) fn of_command(name: &str, job: &str) -> Result<String, String> {
    let part = |name: &str| escape(&name.to_ascii_lowercase());
    let own = part(name);
    let stem = match name == job {
        true => own,
        false => format!("{own}.{}", part(job)),
    };
    within(format!("{OURS}{stem}{SERVICE}"))
}

/// The cgroups of `unit` and of the socket unit of its name, where those of its manager
/// are in `slice`. Instances of a template are in a slice of their own.
pub fn cgroups_of(unit: &str, slice: &str) -> Vec<String> {
    let stem = unit.strip_suffix(SERVICE).unwrap_or(unit);
    let folder = folder_of(stem, slice);
    vec![
        format!("{folder}/{stem}{SERVICE}"),
        format!("{folder}/{stem}.socket"),
    ]
}

/// The name of the slice that `unit` is in there, unless it says otherwise.
pub fn slice_of(unit: &str, slice: &str) -> String {
    let folder = folder_of(unit, slice);
    let name = folder.rsplit_once('/').map(|(_, name)| name.to_owned());
    name.unwrap_or(folder)
}

/// The cgroup of the slice of a unit whose name begins with `stem`.
fn folder_of(stem: &str, slice: &str) -> String {
    let slice = slice.trim_end_matches('/');
    match stem.split_once('@') {
        None => slice.to_owned(),
        Some((template, _)) => {
            let own = slice.rsplit_once('/').map_or(slice, |(_, name)| name);
            let own = own.strip_suffix(".slice").unwrap_or(own);
            format!("{slice}/{own}-{}.slice", escape(template))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `systemd-escape` answers.
    #[test]
    fn names_are_escaped() {
        for (text, escaped) in [
            ("-p 2100 --x", r"\x2dp\x202100\x20\x2d\x2dx"),
            ("a/b", "a-b"),
            (".a.b:c_d", r"\x2ea.b:c_d"),
            ("é@", r"\xc3\xa9\x40"),
        ] {
            assert_eq!(escape(text), escaped);
        }
    }

    #[test]
    fn a_unit_takes_what_the_procedure_has() {
        let unit = |name, parm| instance(name, parm, "FTPD1");
        assert_eq!(unit("a.service", None).as_deref(), Ok("a.service"));
        let both = unit("a@{job}-{parm}.service", Some("x {job}")).unwrap();
        assert_eq!(both, r"a@FTPD1-x\x20\x7bjob\x7d.service");
        assert!(unit("a@{parm}.service", None).is_err());
        assert!(unit("a@{parm}.service", Some("")).is_err());
        assert!(unit("a.service", Some("x")).is_err());
        // `ALG-08`: 115 characters, of which each takes four.
        let long = "-".repeat(115);
        let error = unit("a@{parm}.service", Some(&long)).unwrap_err();
        assert!(error.contains("470 characters"), "{error}");
        let most = "-".repeat(61);
        assert_eq!(unit("ab@{parm}.service", Some(&most)).unwrap().len(), 255);
        assert!(unit("abc@{parm}.service", Some(&most)).is_err());
    }

    #[test]
    fn a_command_has_one_word_for_the_parameters() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let given = words(&["/bin/x", "{parm}", "--job={job}"]);
        let with = command(&given, Some("-a 'b c' $HOME"), "J").unwrap();
        assert_eq!(with, ["/bin/x", "-a 'b c' $HOME", "--job=J"]);
        let without = command(&given, None, "J").unwrap();
        assert_eq!(without, ["/bin/x", "--job=J"]);
        assert!(command(&words(&["/bin/x"]), Some("y"), "J").is_err());
    }

    #[test]
    fn cgroups_are_those_of_service_and_socket() {
        let of = |unit, slice| cgroups_of(unit, slice).join(" ");
        assert_eq!(
            of("a.service", "/system.slice"),
            "/system.slice/a.service /system.slice/a.socket"
        );
        assert_eq!(
            slice_of("a-b@x.service", "/u/app.slice"),
            r"app-a\x2db.slice"
        );
        assert_eq!(slice_of("a.service", "/u/app.slice"), "app.slice");
        assert_eq!(
            of("a-b@x.service", "/u/app.slice"),
            r"/u/app.slice/app-a\x2db.slice/a-b@x.service /u/app.slice/app-a\x2db.slice/a-b@x.socket"
        );
        assert_eq!(
            of_command("FTPD", "FTPD").unwrap(),
            "portreeve-autolog-ftpd.service"
        );
        assert_eq!(
            of_command("F#", "F1").unwrap(),
            r"portreeve-autolog-f\x23.f1.service"
        );
    }
}
