//! What tests run inside: one attack by name, which prints `done` or what stopped it. And the zygote of tests, and a
//! platform that can be killed.

#![expect(unsafe_code, reason = "attacks make system calls that no library offers")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program of tests, which ends where it does not know further"
)]

mod calls;
mod files;
mod flight;
mod greed;
mod network;
mod platform;
mod processes;

use std::process::ExitCode;

/// What an attack achieved.
pub type Outcome = std::io::Result<String>;

type Attack = fn(&[String]) -> Outcome;

const ATTACKS: &[(&str, Attack)] = &[
    ("read", files::read),
    ("write", files::write),
    ("read-by-link", files::read_by_link),
    ("hard-link", files::hard_link),
    ("rename", files::rename),
    ("make-directory", files::make_directory),
    ("set-user-id", files::set_user_id),
    ("create-set-user-id", files::create_set_user_id),
    ("mount", files::mount),
    ("unmount", files::unmount),
    ("open-by-handle", files::open_by_handle),
    ("list", files::list),
    ("connect-unix", network::connect_unix),
    ("connect-abstract", network::connect_abstract),
    ("connect-tcp", network::connect_tcp),
    ("bind-tcp", network::bind_tcp),
    ("echo-udp", network::echo_udp),
    ("resolve", network::resolve),
    ("say-at-door", network::say_at_door),
    ("serve-locally", network::serve_locally),
    ("socket", network::socket),
    ("signal", processes::signal),
    ("attach", processes::attach),
    ("outlive", processes::outlive),
    ("new-user-namespace", processes::new_user_namespace),
    ("clone-user-namespace", processes::clone_user_namespace),
    ("clone3-user-namespace", processes::clone3_user_namespace),
    ("execute-set-user-id", processes::execute_set_user_id),
    ("effective-user", processes::effective_user),
    ("set-host-name", processes::set_host_name),
    ("host-name", processes::host_name),
    ("shared-memory", processes::shared_memory),
    ("capabilities", processes::capabilities),
    ("tree", processes::tree),
    ("platform", platform::platform),
    ("hold", processes::hold),
    ("keys", calls::keys),
    ("io-uring", calls::io_uring),
    ("userfault", calls::userfault),
    ("personality", calls::personality),
    ("foreign", calls::foreign),
    ("type-into-terminal", calls::type_into_terminal),
    ("new-call", calls::new_call),
    ("fork-bomb", greed::fork_bomb),
    ("memory", greed::memory),
    ("fill", greed::fill),
    ("open-files", greed::open_files),
    ("spin", greed::spin),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((first, _)) if first == sandbox::ARGUMENT => sandbox::entry(),
        Some((name, rest)) => {
            let attack = ATTACKS.iter().find(|(n, _)| n == name).map(|(_, attack)| attack);
            match attack.map(|attack| attack(rest)) {
                Some(Ok(said)) => println!("done {said}"),
                Some(Err(e)) => println!("stopped {}", reason(&e)),
                None => println!("no attack `{name}`"),
            }
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

fn reason(error: &std::io::Error) -> String {
    let names = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::EACCES, "EACCES"),
        (libc::EBUSY, "EBUSY"),
        (libc::EXDEV, "EXDEV"),
        (libc::EMFILE, "EMFILE"),
        (libc::EFBIG, "EFBIG"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::ENETUNREACH, "ENETUNREACH"),
        (libc::ENOTCONN, "ENOTCONN"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::EIO, "EIO"),
    ];
    let known = names.iter().find(|(n, _)| Some(*n) == error.raw_os_error());
    known.map_or_else(|| error.to_string(), |(_, name)| (*name).to_owned())
}

/// The result of a system call.
pub fn check(result: libc::c_long) -> std::io::Result<libc::c_long> {
    if result < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// An argument that is a number.
pub fn number<T: std::str::FromStr>(args: &[String], at: usize) -> T
where
    T::Err: std::fmt::Debug,
{
    args.get(at).unwrap().parse().unwrap()
}

/// An argument that is text.
pub fn word(args: &[String], at: usize) -> &str {
    args.get(at).unwrap()
}
