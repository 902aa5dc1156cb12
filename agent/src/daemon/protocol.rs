//! What the command line and a running agent say to each other: one line of JSON
//! each way, or a stream of lines for events. What is around them is [`handshake`]'s.

mod change;
mod events;
pub mod handshake;
mod port_news;
mod procedures;
mod register;
mod request;
mod sockets;
mod status;

pub use change::{Reloaded, Took};
pub use events::{EventEntry, EventLine, EventRecord, Rewritten};
pub use port_news::PortNews;
pub use procedures::{ProcedureEvent, ProcedureNow, ProcedureRow};
pub use register::{
    ExpectRow, PortChange, PortHolder, PortRefusal, PortRow, TakenPort, WatchedSocket,
};
pub use request::{Reply, Request};
pub use sockets::SocketRow;
pub use status::{
    AttachStatus, DriftStatus, EventStatus, ListenerStatus, MetricsStatus, OutputStatus,
    PendingConfirm, PoolDropped, PoolStatus, ProfileStatus, RefusedReload, ReloadStatus,
    SelftestStatus, SnmpStatus, Status, WatchStatus,
};

/// Where the control socket is unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/portreeve/control.sock";
/// Longest request, in bytes.
pub const MAX_REQUEST: usize = 64 * 1024;
