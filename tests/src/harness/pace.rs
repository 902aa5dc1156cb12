//! How fast the machine is: an emulated one takes its time.

use std::{env, sync::OnceLock, time::Duration};

/// How many times slower this machine is than a developer's, as
/// `PORTREEVE_TEST_SLOWDOWN` says; 1 without.
fn slowdown() -> u32 {
    static SLOWDOWN: OnceLock<u32> = OnceLock::new();
    *SLOWDOWN.get_or_init(|| {
        let text = env::var("PORTREEVE_TEST_SLOWDOWN").unwrap_or_default();
        text.parse().unwrap_or(1).max(1)
    })
}

/// A limit of time, in the time of this machine.
pub fn limit(seconds: u64) -> Duration {
    Duration::from_secs(seconds) * slowdown()
}

/// Longest time for what should happen at once.
pub fn patience() -> Duration {
    limit(30)
}

/// How often something is repeated so that it takes about as long on any machine;
/// never less than a tenth.
pub fn times(number: u64) -> u64 {
    number / u64::from(slowdown().min(10))
}
