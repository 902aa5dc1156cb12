//! The agent's log: one line per message on standard error.

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The libraries' details would drown what the programs say.
        let ours = metadata.target().starts_with("portreeve");
        metadata.level() <= log::max_level() && (ours || metadata.level() <= Level::Info)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            anstream::eprintln!("portreeve: {level}: {}", record.args());
        }
    }

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
