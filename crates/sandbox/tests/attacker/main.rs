//! What tests run inside: one try by name, which prints `done` or what stopped it, or attacks of the drill. And the
//! zygote of tests, and a platform that can be killed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program of tests, which ends where it does not know further"
)]

mod flight;
mod platform;

use sandbox::drill;
use std::process::ExitCode;

/// What an attack achieved.
pub use drill::Outcome;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((first, _)) if first == sandbox::ARGUMENT => sandbox::entry(),
        Some((first, _)) if first == sandbox::container::ARGUMENT => sandbox::container::entry(),
        Some((first, _)) if first == drill::ARGUMENT => drill::entry(),
        Some((name, rest)) => {
            let outcome = match name.as_str() {
                "platform" => Some(platform::platform(rest)),
                "platform-of-containers" => Some(platform::of_containers(rest)),
                _ => drill::attempt(&args),
            };
            match outcome {
                Some(Ok(said)) => println!("done {said}"),
                Some(Err(e)) => println!("stopped {}", drill::reason(&e)),
                None => println!("no attack `{name}`"),
            }
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

/// An argument that is text.
pub fn word(args: &[String], at: usize) -> &str {
    args.get(at).unwrap()
}
