//! Metrics and the status page over HTTP.
//!
//! They are served by a thread of their own, which asks the event loop for no more than
//! copies: what takes time, the host's sockets above all, is done on that thread. Whoever
//! asks slowly, often or never to the end keeps nobody but other such clients waiting.

mod api;
mod entries;
pub mod families;
mod keeper;
mod listener;
mod map;
mod observer;
mod search;
mod server;
mod site;
mod snapshot;

pub use self::{
    keeper::MetricsKeeper,
    observer::{Observer, Unknown},
    snapshot::{Ask, Asks, Snapshot, questions},
};
