//! Who has a socket open: the descriptors of every process.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use procfs::{
    ProcResult,
    process::{FDTarget, Process, all_processes},
};

use super::{Holder, Socket};
use crate::kernel::cgroup::AttachPoint;

/// The process name of a systemd, of the host's or of a user's, which keeps the
/// sockets of its socket units open.
const SYSTEMD: &str = "systemd";
/// That of the process by which it binds them: `SYSTEMD` itself is in another cgroup.
const BINDER: &str = "(sd-listen)";

/// The processes that have the sockets `inodes` open, by socket. What may not be
/// looked at, or is gone meanwhile, is left out; so is a descriptor that only a
/// thread with a table of its own has.
pub(super) fn of(inodes: &BTreeSet<u64>) -> HashMap<u64, Vec<Holder>> {
    let mut found: HashMap<u64, Vec<Holder>> = HashMap::new();
    if inodes.iter().all(|inode| *inode == 0) {
        return found;
    }
    let Ok(processes) = all_processes() else {
        return found;
    };
    for process in processes.flatten() {
        let Ok(descriptors) = process.fd() else {
            continue;
        };
        let held: BTreeSet<u64> = descriptors
            .flatten()
            .filter_map(|descriptor| match descriptor.target {
                FDTarget::Socket(inode) if inodes.contains(&inode) => Some(inode),
                _ => None,
            })
            .collect();
        if held.is_empty() {
            continue;
        }
        if let Ok(holder) = holder(&process) {
            for inode in held {
                found.entry(inode).or_default().push(holder.clone());
            }
        }
    }
    found
}

/// The processes that have `sockets` open, by socket, as [`super::Listener`] has them.
pub fn holders_of(sockets: &[Socket]) -> HashMap<u64, Vec<Holder>> {
    let inodes = sockets.iter().map(|socket| socket.inode).collect();
    let mut found = of(&inodes);
    for socket in sockets {
        if let Some(holders) = found.get_mut(&socket.inode) {
            name_units(socket, holders);
        }
    }
    found
}

/// The process with that number; `None` if it is gone.
pub fn process(pid: u32) -> Option<Holder> {
    holder(&Process::new(i32::try_from(pid).ok()?).ok()?).ok()
}

/// This process, as others would see it; `None` if `/proc` doesn't show it.
pub fn own() -> Option<Holder> {
    holder(&Process::myself().ok()?).ok()
}

fn holder(process: &Process) -> ProcResult<Holder> {
    let status = process.status()?;
    let cgroups = process.cgroups().ok();
    let unified = cgroups.and_then(|groups| {
        let unified = groups.into_iter().find(|group| group.hierarchy == 0);
        unified.map(|group| group.pathname)
    });
    let groups = status.groups.iter().copied();
    let stat = process.stat()?;
    Ok(Holder {
        pid: process.pid().cast_unsigned(),
        comm: stat.comm,
        exe: process.exe().ok(),
        cgroup: unified,
        unit: None,
        uid: status.euid,
        groups: groups.chain([status.egid]).collect(),
        started: stat.starttime.saturating_mul(1_000_000_000) / procfs::ticks_per_second(),
    })
}

/// A socket unit's socket is made in the unit's cgroup, but held by systemd.
pub(super) fn name_units(socket: &Socket, holders: &mut [Holder]) {
    let (Some(id), Some(systemd)) = (
        socket.cgroup,
        holders.iter_mut().find(|holder| holder.comm == SYSTEMD),
    ) else {
        return;
    };
    if let Ok(root) = AttachPoint::find(None)
        && let Some(path) = path_of(&root.path, id)
        && let Ok(below) = path.strip_prefix(&root.path)
    {
        be_unit(systemd, &format!("/{}", below.display()));
    }
}

/// Makes `systemd` what bound the socket that was made in `cgroup`, if that is a
/// socket unit's; a user's systemd binds by itself, in its own cgroup.
fn be_unit(systemd: &mut Holder, cgroup: &str) {
    let unit = cgroup.rsplit('/').next().unwrap_or_default();
    if unit.ends_with(".socket") {
        systemd.unit = Some(unit.to_owned());
        systemd.cgroup = Some(cgroup.to_owned());
        BINDER.clone_into(&mut systemd.comm);
    }
}

/// The cgroup with this id, which is its inode's number, at `folder` or below.
fn path_of(folder: &Path, id: u64) -> Option<PathBuf> {
    if fs::metadata(folder).ok()?.ino() == id {
        return Some(folder.to_owned());
    }
    let entries = fs::read_dir(folder).ok()?.flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders
        .into_iter()
        .find_map(|entry| path_of(&entry.path(), id))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::ports::{HostListeners, Listeners as _};

    /// A socket's cgroup is its maker's; the id leads to the path.
    #[test]
    fn the_cgroup_of_a_socket_is_found() {
        let Ok(root) = AttachPoint::find(None) else {
            return;
        };
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = HostListeners.of(&|socket| socket.port == port).unwrap();
        let id = found[0].socket.cgroup.expect("Linux 5.9 tells");
        let path = path_of(&root.path, id).expect("it is in the hierarchy");
        let below = path.strip_prefix(&root.path).unwrap();
        let own = format!("/{}", below.display());
        let ours = found[0].holders.iter();
        let ours = ours.filter(|holder| holder.pid == std::process::id());
        assert_eq!(
            ours.map(|holder| holder.cgroup.clone()).next(),
            Some(Some(own.clone()))
        );
        assert_eq!(path_of(&root.path, u64::MAX), None);
    }

    /// Made in a socket unit's cgroup, it is the unit's; else systemd's own.
    #[test]
    fn what_systemd_keeps_open_is_its_units() {
        let systemd = Holder {
            comm: SYSTEMD.into(),
            cgroup: Some("/init.scope".into()),
            ..Holder::default()
        };
        let mut unit = systemd.clone();
        be_unit(&mut unit, "/system.slice/vsftpd.socket");
        assert_eq!(unit.unit.as_deref(), Some("vsftpd.socket"));
        assert_eq!(unit.cgroup.as_deref(), Some("/system.slice/vsftpd.socket"));
        assert_eq!(unit.comm, BINDER);
        let mut itself = systemd.clone();
        be_unit(&mut itself, "/init.scope");
        assert_eq!(itself, systemd);
    }
}
