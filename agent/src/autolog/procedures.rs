//! What somebody must be able to do for procedures to be supervised.

use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::time::sleep;

use crate::policy::autolog::Runs;

/// How long a procedure has after SIGTERM.
pub const GRACE: Duration = Duration::from_secs(5);
/// How long until what was killed must be gone.
pub const KILLED: Duration = Duration::from_secs(5);
/// How often what is to end is looked at.
const STEP: Duration = Duration::from_millis(20);

/// Why a procedure can't be seen, started or cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Trouble {
    /// Nobody answers.
    #[error("{who} can't be reached: {why}")]
    Unreachable {
        /// Who was asked.
        who: &'static str,
        /// What became of that.
        why: String,
    },
    /// Whoever was asked says no.
    #[error("{who} says: {why}")]
    Refused {
        /// Who was asked.
        who: &'static str,
        /// The answer.
        why: String,
    },
    /// The procedure isn't there.
    #[error("{0}")]
    NoUnit(String),
    /// It was started, and isn't active.
    #[error("it did not come up: {0}")]
    NotUp(String),
    /// It was cancelled, and some of it goes on.
    #[error("it is still active after SIGKILL")]
    NotDown,
}

/// Where procedures run.
pub trait Procedures {
    /// Whether anything of the procedure runs.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if that can't be told. A unit that doesn't exist isn't active.
    fn is_active(&self, unit: &str) -> impl Future<Output = Result<bool, Trouble>>;

    /// Starts it, and returns when it is up as far as its manager can tell.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if it isn't.
    fn start(&self, runs: &Runs) -> impl Future<Output = Result<(), Trouble>>;

    /// Ends it and all its processes: those that don't end by themselves are killed.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if some of it goes on.
    fn cancel(&self, unit: &str) -> impl Future<Output = Result<(), Trouble>>;

    /// Waits until nothing of it runs any more, `most` so long. Whether that has come.
    ///
    /// # Errors
    ///
    /// As [`Self::is_active`].
    fn ends_within(
        &self,
        unit: &str,
        most: Duration,
    ) -> impl Future<Output = Result<bool, Trouble>> {
        async move {
            let deadline = Instant::now() + most;
            while self.is_active(unit).await? {
                if Instant::now() > deadline {
                    return Ok(false);
                }
                sleep(STEP).await;
            }
            Ok(true)
        }
    }
}
