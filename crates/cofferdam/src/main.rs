//! The binary: hands the command line to the library and passes on its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: what guests come from has one thread, and nothing of a platform in it.
    let first = std::env::args_os().nth(1);
    if first.as_ref().is_some_and(|first| first == sandbox::ARGUMENT) {
        return sandbox::entry();
    }
    // The first process of a container, likewise.
    if first
        .as_ref()
        .is_some_and(|first| first == sandbox::container::ARGUMENT)
    {
        return sandbox::container::entry();
    }
    // A guest of the drill: attacks, and nothing of a platform either.
    if first.is_some_and(|first| first == sandbox::drill::ARGUMENT) {
        return sandbox::drill::entry();
    }
    cofferdam::cli::main()
}
