//! The command line: parses it, and runs one command.

use std::process::ExitCode;

/// Parses the command line and runs the command.
///
/// Exit codes: 0 done, 1 refused or failed, 2 misuse, 3 could not reach the server.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
