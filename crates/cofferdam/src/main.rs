//! The binary: hands the command line to the library and passes on its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    cofferdam::cli::main()
}
