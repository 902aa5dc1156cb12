//! What is told of every socket, reserved or not.

use serde::{Deserialize, Serialize};

/// A socket of TCP or UDP; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketRow {
    /// The jobs that its process is, as events have them; `None` if it is none, or if no
    /// process is to be seen.
    pub user: Option<String>,
    /// Its number in the file system of sockets, in hexadecimal: the same while it lives,
    /// and by no other socket's. 0 if no process can have it open.
    pub id: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The address it is bound to.
    pub local_address: String,
    /// The port it is bound to.
    pub local_port: u16,
    /// The address of whom it talks to.
    pub foreign_address: Option<String>,
    /// His port; 0 for nobody.
    pub foreign_port: u16,
    /// `listen`, `bound`, `udp`, or the state of its connection.
    pub state: String,
    /// Whether it waits for whoever comes: a TCP listener, or a UDP socket without a peer.
    pub serves: bool,
    /// As whom the first entry of its port is reserved; `None` if none is.
    pub reserved_for: Option<String>,
    /// The process; of several the one that was started first.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// systemd's unit whose cgroup it is in; of a socket unit's, that one.
    pub unit: Option<String>,
    /// Its effective user; the socket's if no process is to be seen.
    pub uid: u32,
    /// When the process was started, as RFC 3339. Linux doesn't tell a socket's age.
    pub since: Option<String>,
    /// How its port is shared by the first entry: `even` (SHAREPORT), `weighted`
    /// (SHAREPORTWLM), or `none`.
    pub sharing: String,
    /// How many sockets serve its address and port, itself included; 0 if it serves none.
    pub group: u32,
    /// Of a listener the connections that wait to be accepted, else bytes to be read.
    pub queue: u32,
    /// Of a listener how many may wait, else bytes to be sent.
    pub limit: u32,
}
