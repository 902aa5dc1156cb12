//! The process that starts commands where no systemd does.
//!
//! What the agent starts inherits its filter of system calls and can't have more privileges
//! than it. So before it gives them up it starts this process, which keeps them, does
//! nothing but what a [`Request`] says, and ends when the agent does. What it started goes
//! on.

mod handle;
mod process;

use std::io;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

pub use self::{
    handle::{Begun, Starter},
    process::{is_called, main},
};

/// What the process is called with, which tells it from the command line.
const NAME: &str = "portreeve-starter";

/// What it is asked for: one line of JSON, answered by one.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Start a command in a cgroup, which is made if it isn't there.
    Start {
        /// The cgroup's directory.
        cgroup: String,
        /// The program and its arguments.
        words: Vec<String>,
    },
    /// Send SIGTERM to every process in the cgroup and below.
    Terminate {
        /// Its directory.
        cgroup: String,
    },
    /// Kill every process in the cgroup and below.
    Kill {
        /// Its directory.
        cgroup: String,
    },
    /// Remove the cgroup, in which no process is any more, and those below.
    Remove {
        /// Its directory.
        cgroup: String,
    },
}

/// Whether `error` says that a cgroup is not there, or was removed just now.
pub fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::ENOENT as i32, Errno::ENODEV as i32];
    error
        .raw_os_error()
        .is_some_and(|code| gone.contains(&code))
}

/// Nothing if it is done, else why not.
type Answer = Result<(), String>;
