//! Datagrams to a socket that somebody listens on, who may be started again.

use std::{collections::VecDeque, io, os::unix::net::UnixDatagram, path::PathBuf, time::Duration};

use nix::errno::Errno;

/// How long a listener may take for one before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// Datagrams that wait to be sent, and where to.
pub struct Datagrams {
    path: PathBuf,
    socket: UnixDatagram,
    waiting: VecDeque<Vec<u8>>,
}

impl Datagrams {
    /// To the socket at `path`.
    ///
    /// # Errors
    ///
    /// If nobody listens there, or not for datagrams.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // Only to see that it can be had: one that stays connected would miss a new one.
        UnixDatagram::unbound()?.connect(&path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            path,
            socket,
            waiting: VecDeque::new(),
        })
    }

    /// Adds one.
    pub fn put(&mut self, datagram: Vec<u8>) {
        self.waiting.push_back(datagram);
    }

    /// Sends those that wait.
    ///
    /// # Errors
    ///
    /// What the kernel says; those that were not sent still wait.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(datagram) = self.waiting.front() {
            match self.socket.send_to(datagram, &self.path) {
                Ok(_) => {}
                // By a signal, which says nothing of who listens.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // It would never be taken. Those that are made here are never so long.
                Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {}
                Err(error) => return Err(error),
            }
            self.waiting.pop_front();
        }
        Ok(())
    }
}
