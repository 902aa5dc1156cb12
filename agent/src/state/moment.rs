//! Points in time that survive the agent, but not the host: no clock that somebody
//! sets moves them.

use std::{fs, io, time::Duration};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A point in time since the host was booted; suspended time counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// The kernel's name of this boot.
    boot: String,
    /// Milliseconds since it.
    milliseconds: u64,
}

impl Moment {
    /// `wait` from now.
    ///
    /// # Errors
    ///
    /// What the kernel says if it doesn't tell which boot this is.
    pub fn after(wait: Duration) -> io::Result<Self> {
        Ok(Self {
            boot: boot()?,
            milliseconds: since_boot()? + wait.as_millis() as u64,
        })
    }

    /// How long it is until then: zero if it is over, or of an earlier boot.
    pub fn left(&self) -> Duration {
        let is_of_this_boot = boot().is_ok_and(|boot| boot == self.boot);
        match since_boot() {
            Ok(now) if is_of_this_boot => {
                Duration::from_millis(self.milliseconds.saturating_sub(now))
            }
            _ => Duration::ZERO,
        }
    }
}

fn boot() -> io::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

fn since_boot() -> io::Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    Ok(seconds * 1000 + now.tv_nsec() as u64 / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_once() {
        let moment = Moment::after(Duration::from_secs(60)).unwrap();
        let left = moment.left();
        assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(50));
        assert_eq!(
            Moment::after(Duration::ZERO).unwrap().left(),
            Duration::ZERO
        );
        let earlier = Moment {
            boot: "an earlier one".into(),
            ..moment
        };
        assert_eq!(earlier.left(), Duration::ZERO);
    }
}
