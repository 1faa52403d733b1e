//! The binary: hands the command line to the library and passes on its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: what guests come from has one thread, and nothing of a platform in it.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == sandbox::ARGUMENT)
    {
        return sandbox::entry();
    }
    cofferdam::cli::main()
}
