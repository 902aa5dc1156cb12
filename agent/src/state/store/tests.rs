use std::time::Duration;

use super::*;
use crate::{
    config::OnError,
    files::{PolicyFiles, Trust},
    policy::{
        identity::exes::Presence,
        source::{Origin, Source},
    },
    profile::Opener as _,
};

/// A folder of profiles, and a state folder beside.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self) -> Store {
        Store::open(&self.folder.path().join("state")).unwrap()
    }

    fn source(&self) -> Source {
        Source::of_texts(self.folder.path().join("profile"))
    }

    /// What a policy of this profile is made from.
    fn policy(&self, profile: &str) -> (Record, Files) {
        let source = self.source();
        fs::write(source.profile.as_ref().unwrap(), profile).unwrap();
        let policy = source.read(&Presence).unwrap().policy.ok().unwrap();
        (Record::new(&source, &policy), policy.files)
    }

    /// Puts it in force.
    fn publish(&self, store: &Store, profile: &str, until: Option<Moment>) -> Hash {
        let (record, files) = self.policy(profile);
        let hash = store.prepare(record, &[&files], until).unwrap();
        store.settle().unwrap();
        hash
    }

    /// How many files are kept.
    fn kept(&self) -> usize {
        let files = self.folder.path().join("state").join(FILES);
        fs::read_dir(files).unwrap().count()
    }
}

const FIRST: &str = "PORT 21 TCP FTPD1\n";
const SECOND: &str = "PORT 22 TCP SSHD\n";

#[test]
fn a_policy_is_made_again_as_it_was() {
    let place = Place::new();
    let hash = place.publish(&place.open(), FIRST, None);
    fs::write(place.source().profile.unwrap(), SECOND).unwrap();
    let store = place.open();
    let (name, record) = store.remembered(Some(&hash)).unwrap();
    assert_eq!((name, record.is_of(&place.source())), (hex(&hash), true));
    let files = store.files(&record).unwrap();
    let origin = Origin {
        files: &files,
        accounts: &record.accounts,
        sysname: &record.sysname,
    };
    let again = place.source().again(origin, &Presence).unwrap();
    let policy = again.policy.ok().unwrap();
    let entry = policy.place_of(&policy.reservations[0]);
    assert_eq!(entry.text, "21 TCP FTPD1");
    assert_eq!(Record::new(&place.source(), &policy).hash().unwrap(), hash);
}

/// Whichever of the two the kernel has, if the agent is killed in between.
#[test]
fn a_change_that_is_cut_off_is_either_policy() {
    let place = Place::new();
    let store = place.open();
    let first = place.publish(&store, FIRST, None);
    let (record, files) = place.policy(SECOND);
    let second = store.prepare(record, &[&files], None).unwrap();
    drop(store);
    let store = place.open();
    for hash in [first, second] {
        let (name, record) = store.remembered(Some(&hash)).unwrap();
        assert_eq!(name, hex(&hash));
        assert!(store.files(&record).is_ok());
    }
    assert_eq!(store.remembered(Some(&[7; 32])), None);
    store.found(&hex(&second), false).unwrap();
    assert_eq!(store.remembered(Some(&first)), None);
    assert_eq!(store.remembered(None).unwrap().0, hex(&second));
}

#[test]
fn what_did_not_come_into_force_is_forgotten() {
    let place = Place::new();
    let store = place.open();
    let first = place.publish(&store, FIRST, None);
    let kept = place.kept();
    let (record, files) = place.policy(SECOND);
    let until = Moment::after(Duration::from_secs(60)).unwrap();
    let second = store.prepare(record, &[&files], Some(until)).unwrap();
    store.give_up();
    drop(store);
    let store = place.open();
    assert_eq!(store.remembered(Some(&second)), None);
    assert_eq!(store.remembered(None).unwrap().0, hex(&first));
    assert_eq!(place.kept(), kept);
}

#[test]
fn a_change_goes_back_to_what_was_confirmed() {
    let place = Place::new();
    let store = place.open();
    let until = || Moment::after(Duration::from_secs(60)).unwrap();
    // Nothing to go back to.
    let first = place.publish(&store, FIRST, Some(until()));
    assert_eq!(store.confirm_of(&hex(&first)), None);
    let second = place.publish(&store, SECOND, Some(until()));
    let third = place.publish(&store, "PORT 23 TCP TN\n", Some(until()));
    assert_eq!(store.confirm_of(&hex(&second)), None);
    let confirm = store.confirm_of(&hex(&third)).unwrap();
    assert_eq!(confirm.back_to, hex(&first));
    assert!(store.record(&confirm.back_to).is_some());
    assert_eq!(store.record(&hex(&second)), None);
    store.confirm().unwrap();
    assert_eq!(store.confirm_of(&hex(&third)), None);
    assert_eq!(store.record(&hex(&first)), None);
}

#[test]
fn the_end_is_remembered_until_the_next_change() {
    let place = Place::new();
    let store = place.open();
    place.publish(&store, FIRST, None);
    assert!(!store.has_ended());
    store.end().unwrap();
    drop(store);
    let store = place.open();
    assert!(store.has_ended());
    place.publish(&store, SECOND, None);
    assert!(!store.has_ended());
}

#[test]
fn a_folder_has_one_agent() {
    let place = Place::new();
    let store = place.open();
    let folder = place.folder.path().join("state");
    assert!(matches!(
        Store::open(&folder),
        Err(StateError::InUse { .. })
    ));
    assert!(matches!(
        Store::forget(&folder),
        Err(StateError::InUse { .. })
    ));
    place.publish(&store, FIRST, None);
    drop(store);
    Store::forget(&folder).unwrap();
    assert_eq!(place.open().remembered(None), None);
    assert_eq!(place.kept(), 0);
    Store::forget(&folder.join("that is not there")).unwrap();
}

#[test]
fn a_file_that_was_changed_is_not_what_was_read() {
    let place = Place::new();
    let store = place.open();
    let hash = place.publish(&store, FIRST, None);
    let (_, record) = store.remembered(Some(&hash)).unwrap();
    let sha256 = &record.profile[0].sha256;
    let file = place.folder.path().join("state").join(FILES).join(sha256);
    assert!(PolicyFiles::new(Trust::Inspection).open(&file).is_ok());
    fs::write(&file, SECOND).unwrap();
    let damaged = store.files(&record);
    assert!(matches!(damaged, Err(StateError::Damaged { .. })));
    fs::remove_file(&file).unwrap();
    assert!(matches!(store.files(&record), Err(StateError::Io { .. })));
}

/// Of a long file that changes in a line, the line is written down, and every version can
/// be made again.
#[test]
fn a_long_file_is_kept_once() {
    let place = Place::new();
    let store = place.open();
    let long = |job: &str| {
        let lines = (1..8000).map(|port| format!("  {port} TCP JOB{port}\n"));
        format!("PORT\n{}  8000 TCP {job}\n", lines.collect::<String>())
    };
    let change = |store: &Store, before: &Files, profile: &str| {
        let (record, files) = place.policy(profile);
        let hash = store.prepare(record.clone(), &[&files, before], None);
        store.settle().unwrap();
        (hash.unwrap(), record, files)
    };
    let format = || {
        read(&place.folder.path().join("state").join(INDEX))
            .unwrap()
            .format
    };
    let (record, mut before) = place.policy(&long("FIRST"));
    store.prepare(record, &[&before], None).unwrap();
    store.settle().unwrap();
    assert_eq!((place.kept(), format()), (1, WHOLE));
    for job in ["SECOND", "A", "THIRD"] {
        let (_, record, files) = change(&store, &before, &long(job));
        assert_eq!((place.kept(), format()), (1, WITH_PATCHES));
        assert_eq!(store.files(&record).unwrap().profile, files.profile);
        before = files;
    }
    // Killed in the middle of a change, it knows both.
    let (second, files) = place.policy(&long("FOURTH"));
    store
        .prepare(second.clone(), &[&files, &before], None)
        .unwrap();
    drop(store);
    let store = place.open();
    assert_eq!(store.files(&second).unwrap().profile, files.profile);
    let (third, _) = place.policy(&long("THIRD"));
    assert_eq!(store.files(&third).unwrap().profile, before.profile);
    // Without what it is made of it is written whole.
    let folder = place.folder.path().join("state").join(FILES);
    fs::remove_dir_all(&folder).unwrap();
    let (_, fifth, files) = change(&store, &before, &long("FIFTH"));
    assert_eq!(store.files(&fifth).unwrap().profile, files.profile);
    assert_eq!(place.kept(), 1);
    change(&store, &files, FIRST);
    assert_eq!((place.kept(), format()), (1, WHOLE));
}

/// `SAC-06`: what is kept has stars in the place of a community, is known by the hash of what
/// was read, and is understood as that was; also where the file isn't all text.
#[test]
fn a_community_is_not_kept() {
    const PROFILES: [&[u8]; 2] = [
        "PORT 21 TCP FTPD1\nSACONFIG COMMUNITY s3cr\u{e9}t AGENT 1610\n".as_bytes(),
        b"; \xff\nSACONFIG COMMUN s3cret AGENT 1610 ; \xe9 caf\xe9\nPORT 21 TCP FTPD1\n",
    ];
    for profile in PROFILES {
        let place = Place::new();
        let store = place.open();
        let mut source = place.source();
        source.on_error = Some(OnError::Skip);
        fs::write(source.profile.as_ref().unwrap(), profile).unwrap();
        let policy = source.read(&Presence).unwrap().policy.ok().unwrap();
        let record = Record::new(&source, &policy);
        let hash = store.prepare(record, &[&policy.files], None).unwrap();
        store.settle().unwrap();
        drop(store);
        let state = place.folder.path().join("state");
        assert_eq!(read(&state.join(INDEX)).unwrap().format, FORMAT);
        for file in fs::read_dir(state.join(FILES)).unwrap() {
            let kept = fs::read(file.unwrap().path()).unwrap();
            assert_eq!(kept.len(), profile.len());
            let kept = String::from_utf8_lossy(&kept).into_owned();
            assert!(kept.contains("*****") && !kept.contains("s3c"), "{kept}");
        }
        let store = place.open();
        let (_, record) = store.remembered(Some(&hash)).unwrap();
        let files = store.files(&record).unwrap();
        assert_eq!(files.profile, policy.files.profile);
        assert!(!files.differ(), "the file is as it was read");
        let origin = Origin {
            files: &files,
            accounts: &record.accounts,
            sysname: &record.sysname,
        };
        let again = source.again(origin, &Presence).unwrap();
        let again = again.policy.ok().unwrap();
        assert_eq!(again.subagent, policy.subagent);
        assert_eq!(again.reservations.len(), 1);
        assert_eq!(Record::new(&source, &again).hash().unwrap(), hash);
    }
}
