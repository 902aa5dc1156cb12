//! The agent's log: to where the config says, and before that is known to standard error.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::daemon::outputs;

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The libraries' details would drown what the programs say.
        let ours = metadata.target().starts_with("portreeve");
        metadata.level() <= log::max_level() && (ours || metadata.level() <= Level::Info)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        if !outputs::say(record.level(), text) {
            let level = record.level().as_str().to_ascii_lowercase();
            anstream::eprintln!("portreeve: {level}: {}", record.args());
        }
    }

    /// Asked for with each of the programs' traces, and nothing here waits to be written.
    fn flush(&self) {}
}

/// Starts the log. With `debug` it tells more, the programs' traces included.
pub fn start(debug: bool) {
    let level = if debug {
        LevelFilter::Trace
    } else {
        LevelFilter::Info
    };
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(level);
    }
}
