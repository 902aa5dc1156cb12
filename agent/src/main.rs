//! The `portreeve` command.

use std::process::ExitCode;

use portreeve::autolog::starter;

fn main() -> ExitCode {
    // The agent's own, where it starts commands itself.
    if starter::is_called() {
        return starter::main();
    }
    portreeve::cli::main()
}
