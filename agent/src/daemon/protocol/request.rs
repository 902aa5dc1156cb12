//! What is asked, and how the answer is told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{autolog::machine::Wish, policy::explain::Question};

/// What is asked of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// A [`super::Status`].
    Status {},
    /// The same with the last proof instead of a new one: cheap enough to be asked every
    /// second.
    Figures {},
    /// The register: [`super::PortRow`]s.
    Ports {},
    /// What is expected of ports, and whether it is so: [`super::ExpectRow`]s.
    Expect {},
    /// Every socket of TCP and UDP: [`super::SocketRow`]s.
    Sockets {},
    /// The reserved ports that somebody has: [`super::TakenPort`]s.
    Taken {},
    /// The sockets that the agent knows to have a port: [`super::WatchedSocket`]s.
    Watched {
        /// First look whether that is all of them.
        look: bool,
    },
    /// A [`crate::policy::suggestions::Suggestion`].
    Suggest {
        /// Only refusals since then, as RFC 3339.
        since: Option<String>,
        /// Ports that are open and not reserved, too.
        listeners: bool,
    },
    /// An [`crate::policy::explain::Answer`].
    Explain {
        /// Who asks for what.
        question: Question,
    },
    /// Read profile and config again: a [`super::Reloaded`].
    Reload {
        /// Only say what would change.
        dry_run: bool,
        /// Take it back after so many seconds, unless it is confirmed.
        confirm: Option<u64>,
        /// Whether diagnostics are rendered with colour.
        color: bool,
    },
    /// Put a change file on top of the policy in force: a [`super::Reloaded`].
    Obey {
        /// The file, as the agent is to open it.
        file: PathBuf,
        /// Only say what would change.
        dry_run: bool,
        /// Take it back after so many seconds, unless it is confirmed.
        confirm: Option<u64>,
        /// Whether diagnostics are rendered with colour.
        color: bool,
    },
    /// The change that waits to be confirmed is meant.
    Confirm {},
    /// [`super::EventLine`]s.
    Events {
        /// Go on with new ones until the client hangs up.
        follow: bool,
        /// [`super::PortNews`] in their place.
        #[serde(default)]
        ports: bool,
    },
    /// The procedures that AUTOLOG lists: [`super::ProcedureRow`]s.
    Procedures {},
    /// Do something to a procedure: [`super::ProcedureRow`]s, when it is done.
    Procedure {
        /// What.
        wish: Wish,
        /// Its name or its job's; `None` for all.
        name: Option<String>,
    },
    /// Stop enforcing, remove everything, end.
    Detach {},
}

/// The agent's answer; of [`Request::Events`] what comes before the stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// The answer.
    Done(serde_json::Value),
    /// Why there is none, in one sentence.
    Failed(String),
}
