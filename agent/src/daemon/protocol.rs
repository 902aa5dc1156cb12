//! What the command line and a running agent say to each other: one line of JSON
//! each way, or a stream of lines for events. What is around them is [`handshake`]'s.

mod change;
mod events;
pub mod handshake;
mod register;
mod request;
mod sockets;
mod status;

pub use change::{Reloaded, Took};
pub use events::{EventEntry, EventLine, EventRecord, Rewritten};
pub use register::{ExpectRow, PortHolder, PortRefusal, PortRow, TakenPort};
pub use request::{Reply, Request};
pub use sockets::SocketRow;
pub use status::{
    AttachStatus, DriftStatus, EventStatus, ListenerStatus, MetricsStatus, OutputStatus,
    PendingConfirm, PoolDropped, PoolStatus, ProfileStatus, RefusedReload, ReloadStatus,
    SelftestStatus, Status,
};

/// Where the control socket is unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/portreeve/control.sock";
/// Longest request, in bytes.
pub const MAX_REQUEST: usize = 64 * 1024;
