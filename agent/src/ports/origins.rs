//! The cgroups that sockets were made in.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use super::Socket;
use crate::kernel::cgroup::AttachPoint;

/// Where a socket was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel doesn't tell (before Linux 5.9), or there is no hierarchy to be seen.
    Unknown,
    /// In a cgroup that is gone, so nothing runs there any more.
    Gone,
    /// In the cgroup of this path from the root of the hierarchy.
    In(String),
}

/// Paths of cgroups by their ids.
#[derive(Debug, Default)]
pub struct Origins {
    paths: HashMap<u64, String>,
    /// Something of the hierarchy could not be looked at, so what isn't found may be there.
    is_part: bool,
}

impl Origins {
    /// Where `sockets` were made: one walk through the hierarchy.
    pub fn of<'s>(sockets: impl Iterator<Item = &'s Socket>) -> Self {
        let wanted: BTreeSet<u64> = sockets.filter_map(|socket| socket.cgroup).collect();
        let mut origins = Self::default();
        match AttachPoint::find(None) {
            Ok(_) if wanted.is_empty() => {}
            Ok(root) => origins.walk(&root.path, "", &wanted),
            Err(_) => origins.is_part = true,
        }
        origins
    }

    /// Where `socket` was made.
    pub fn at(&self, socket: &Socket) -> Origin {
        let Some(id) = socket.cgroup else {
            return Origin::Unknown;
        };
        match self.paths.get(&id) {
            Some(path) => Origin::In(path.clone()),
            None if self.is_part => Origin::Unknown,
            None => Origin::Gone,
        }
    }

    /// Takes in those of `folder` and below, which is the cgroup `name`, that are `wanted`.
    /// A cgroup's id is its inode's number.
    fn walk(&mut self, folder: &Path, name: &str, wanted: &BTreeSet<u64>) {
        let looked = fs::metadata(folder).and_then(|metadata| {
            if wanted.contains(&metadata.ino()) {
                let name = if name.is_empty() { "/" } else { name };
                self.paths.insert(metadata.ino(), name.to_owned());
            }
            fs::read_dir(folder)
        });
        let entries = match looked {
            Ok(entries) => entries,
            // It is gone meanwhile, and that is what there is to know.
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(_) => return self.is_part = true,
        };
        for entry in entries.flatten() {
            if self.paths.len() == wanted.len() {
                return;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = format!("{name}/{}", entry.file_name().to_string_lossy());
                self.walk(&entry.path(), &name, wanted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, process};

    use super::*;
    use crate::ports::{HostListeners, Listeners as _};

    /// A socket of ours was made where we are.
    #[test]
    fn a_socket_leads_to_its_makers_cgroup() {
        if AttachPoint::find(None).is_err() {
            return;
        }
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = HostListeners.of(&|socket| socket.port == port).unwrap();
        let own = found[0].holders.iter();
        let own = own.filter(|holder| holder.pid == process::id());
        let own = own.map(|holder| holder.cgroup.clone()).next().flatten();
        let socket = found[0].socket.clone();
        let origins = Origins::of([&socket].into_iter());
        assert_eq!(origins.at(&socket), Origin::In(own.expect("we are in one")));
        let gone = Socket {
            cgroup: Some(u64::MAX),
            ..socket.clone()
        };
        let untold = Socket {
            cgroup: None,
            ..socket
        };
        let origins = Origins::of([&gone, &untold].into_iter());
        assert_eq!(origins.at(&gone), Origin::Gone);
        assert_eq!(origins.at(&untold), Origin::Unknown);
    }
}
