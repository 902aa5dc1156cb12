use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::policy::identity::exes::Presence;

impl Source {
    /// This profile, for no host and as anybody may read it.
    pub fn of_texts(profile: PathBuf) -> Self {
        Self {
            config: None,
            profile: Some(profile),
            changes: Vec::new(),
            on_error: None,
            audit: false,
            strict: false,
            lint: false,
            of_this_host: false,
            features: None,
            trust: Trust::Inspection,
            purpose: Purpose::Explain,
            is_agent: false,
            cgroup: None,
            starts: true,
            leave_pool: true,
            bpffs: PathBuf::new(),
        }
    }
}

/// `IBI-11`: who may change a restriction is who may write its file, and that is
/// root alone; likewise for profile, config and change files.
#[test]
fn every_file_that_becomes_policy_is_roots_alone() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    };
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let files = [
        write("profile", "PORT 8400 TCP APPL\n"),
        write("config", "[ibmi]\ncommands = \"commands\"\n"),
        write(
            "commands",
            "ADDTCPPORT PORT(8400) PROTOCOL(*TCP) USRPRF(0)\n",
        ),
        write("change", "PORT 8401 TCP APPL\n"),
    ];
    let source = Source {
        config: Some(files[1].clone()),
        changes: vec![files[3].clone()],
        trust: Trust::Policy,
        ..Source::of_texts(files[0].clone())
    };
    assert!(source.read(&Presence).is_ok());
    for file in &files {
        fs::set_permissions(file, fs::Permissions::from_mode(0o646)).unwrap();
        let refused = source.read(&Presence).err();
        let is_it = matches!(&refused, Some(ReadError::Refused { path, .. }) if path == file);
        assert!(is_it, "{}: {refused:?}", file.display());
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

/// `OBY-03`: a change is on top of what was read, whatever the files are now.
#[test]
fn a_change_is_on_top_of_what_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
    write("more", "PORT 22 TCP SSHD\n");
    write("profile", "PORT 21 TCP FTPD1\nINCLUDE more\n");
    write("config", "");
    write("change", "INCLUDE more\n");
    let source = Source {
        config: Some(path("config")),
        ..Source::of_texts(path("profile"))
    };
    let texts = |outcome: &Outcome| -> Vec<String> {
        let policy = outcome.policy.as_ref().ok().unwrap();
        let entries = policy.reservations.iter();
        entries.map(|entry| policy.place_of(entry).text).collect()
    };
    let first = source.read(&Presence).unwrap();
    let base = first.policy.as_ref().ok().unwrap();
    let hash = base.files.profile_hash();
    // The change file includes the same file, as it is now.
    write("more", "PORT 23 TCP TN3270\n");
    write("profile", "nonsense\n");
    let second = source
        .obey(&base.files, &path("change"), &Presence)
        .unwrap();
    assert_eq!(
        texts(&second),
        ["21 TCP FTPD1", "22 TCP SSHD", "23 TCP TN3270"]
    );
    let changed = second.policy.ok().unwrap();
    assert_ne!(changed.files.profile_hash(), hash);
    assert_eq!(
        changed.files.changed_by().collect::<Vec<_>>(),
        [path("change")]
    );
    // And the next one is on top of both.
    write("more", "PORT 24 TCP LATE\n");
    let third = source
        .obey(&changed.files, &path("change"), &Presence)
        .unwrap();
    assert_eq!(texts(&third).len(), 4);
}
