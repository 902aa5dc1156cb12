//! Taking away what a test made, whatever state it is in.

use std::{fs, path::Path, thread::sleep, time::Duration};

use nix::{
    sys::{
        signal::{Signal, kill},
        statfs::{BPF_FS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs},
    },
    unistd::Pid,
};

/// Removes a cgroup, a directory of pins or an ordinary one.
pub fn remove(path: &Path) {
    let Ok(file_system) = statfs(path) else {
        return;
    };
    match file_system.filesystem_type() {
        CGROUP_SUPER_MAGIC | CGROUP2_SUPER_MAGIC => cgroup(path),
        BPF_FS_MAGIC => pins(path),
        _ => drop(fs::remove_dir_all(path)),
    }
}

/// Ends the processes of a cgroup and of those below it, and removes them all.
pub fn cgroup(path: &Path) {
    for _ in 0..100 {
        kill_members(path);
        if remove_tree(path) {
            return;
        }
        // The dying count as members for a moment longer.
        sleep(Duration::from_millis(20));
    }
    eprintln!("{} can't be removed", path.display());
}

fn kill_members(path: &Path) {
    for below in folders(path) {
        kill_members(&below);
    }
    let members = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for member in members.lines().filter_map(|line| line.parse().ok()) {
        // 0 is a process of another pid namespace: not one of ours.
        if member > 0 {
            let _ = kill(Pid::from_raw(member), Signal::SIGKILL);
        }
    }
}

/// Whether nothing is left of it.
fn remove_tree(path: &Path) -> bool {
    for below in folders(path) {
        remove_tree(&below);
    }
    let _ = fs::remove_dir(path);
    !path.exists()
}

fn folders(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// Removes pins; a link's pin is what keeps it attached.
fn pins(path: &Path) {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries.map(|entry| entry.path()) {
        if entry.is_dir() {
            pins(&entry);
        } else {
            let _ = fs::remove_file(entry);
        }
    }
    let _ = fs::remove_dir(path);
}
