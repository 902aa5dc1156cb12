use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn open(path: &Path) -> Result<OpenedFile, ReadError> {
    PolicyFiles::new(Trust::Policy).open(path)
}

#[test]
fn what_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    mode(folder.path(), 0o755);
    let file = folder.path().join("profile");
    fs::write(&file, "PORT\n").unwrap();
    mode(&file, 0o644);
    assert_eq!(*open(&file).unwrap().bytes, *b"PORT\n");
    mode(&file, 0o664);
    assert!(open(&file).is_err());
    mode(&file, 0o602);
    assert!(open(&file).is_err());
    assert!(PolicyFiles::new(Trust::Inspection).open(&file).is_ok());
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile");
    fs::write(&file, "").unwrap();
    mode(&file, 0o644);
    mode(folder.path(), 0o777);
    assert!(open(&file).is_err());
    mode(folder.path(), 0o1777);
    assert!(open(&file).is_ok(), "a sticky folder protects root's files");
}

#[test]
fn a_symlink_is_judged_at_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    mode(folder.path(), 0o755);
    let (safe, open_to_all) = (folder.path().join("safe"), folder.path().join("open"));
    fs::create_dir(&safe).unwrap();
    fs::create_dir(&open_to_all).unwrap();
    mode(&safe, 0o755);
    fs::write(safe.join("profile"), "").unwrap();
    mode(&safe.join("profile"), 0o644);
    symlink(safe.join("profile"), open_to_all.join("link")).unwrap();
    mode(&open_to_all, 0o755);
    assert!(open(&open_to_all.join("link")).is_ok());
    mode(&open_to_all, 0o777);
    assert!(open(&open_to_all.join("link")).is_err());
}

#[test]
fn a_changed_file_differs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile");
    fs::write(&file, "a").unwrap();
    let files = PolicyFiles::new(Trust::Inspection);
    files.open(&file).unwrap();
    let read = files.into_read();
    assert!(!read[0].differs());
    fs::write(&file, "b").unwrap();
    assert!(read[0].differs());
    fs::remove_file(&file).unwrap();
    assert!(read[0].differs());
}

/// What is in force can be read again when the files are others, or gone.
#[test]
fn what_was_read_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let (file, other) = (folder.path().join("a"), folder.path().join("b"));
    fs::write(&file, "old").unwrap();
    let files = PolicyFiles::new(Trust::Inspection);
    let first = files.open(&file).unwrap();
    let read = files.into_read();
    fs::write(&file, "new").unwrap();
    fs::write(&other, "new").unwrap();
    let files = PolicyFiles::again(&read);
    let again = files.open(&file).unwrap();
    assert_eq!((again.bytes, again.identity), (first.bytes, first.identity));
    let missing = files.open(&other).err();
    assert!(matches!(missing, Some(ReadError::Missing { .. })));
    assert_eq!(files.into_read(), read);
}

/// Half a file is not read, also if it doesn't change for a while.
#[test]
fn a_file_that_is_being_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profile");
    fs::write(&path, "PORT 21 TCP FTPD1\n").unwrap();
    let writer = File::options().append(true).open(&path).unwrap();
    let read = || from_disk(&path, Trust::Inspection);
    let refused = read().err().map(|error| error.to_string());
    assert!(refused.is_some_and(|text| text.contains("being written")));
    drop(writer);
    assert_eq!(read().unwrap().bytes(), b"PORT 21 TCP FTPD1\n");
    // Who only reads is no obstacle, nor is the reading itself.
    let _reader = File::open(&path).unwrap();
    assert!(read().is_ok() && read().is_ok());
    let new = folder.path().join("new");
    fs::write(&new, "").unwrap();
    fs::rename(new, &path).unwrap();
    assert_eq!(read().unwrap().bytes(), b"");
}

#[test]
fn special_files_are_refused_at_once() {
    assert!(matches!(
        open(Path::new("/dev/null")),
        Err(ReadError::Refused { .. })
    ));
    assert!(matches!(
        open(Path::new("/dev")),
        Err(ReadError::Directory { .. })
    ));
}
