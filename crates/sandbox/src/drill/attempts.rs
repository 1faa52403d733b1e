//! What an attack is made of: one try at one thing, by name, with words. Made inside, by the guest.
//!
//! A try that works says what it found; one that is stopped says what the system said. One that could not be made at
//! all is [`std::io::ErrorKind::Unsupported`]: it shows nothing, and nobody may count it as stopped.
//!
//! Invariant: **nothing here harms a machine without walls**: what is opened outside is not written to, greed is
//! bounded and ends by itself, signals are harmless or go to a process that exists to be their victim.

#![expect(unsafe_code, reason = "attacks make system calls that no library offers")]

mod calls;
mod door;
mod files;
mod greed;
mod hello;
mod network;
mod processes;

use std::io::{Error, ErrorKind, Write};

/// What a try achieved, or what stopped it.
pub type Outcome = std::io::Result<String>;

type Attempt = fn(&[String]) -> Outcome;

#[rustfmt::skip]
const ATTEMPTS: &[(&str, Attempt)] = &[
    ("read", files::read),
    ("write", files::write),
    ("open-to-write", files::open_to_write),
    ("create", files::create),
    ("read-of-victim", files::read_of_victim),
    ("read-by-link", files::read_by_link),
    ("read-by-race", files::read_by_race),
    ("hard-link", files::hard_link),
    ("rename", files::rename),
    ("make-directory", files::make_directory),
    ("make-device", files::make_device),
    ("set-user-id", files::set_user_id),
    ("create-set-user-id", files::create_set_user_id),
    ("mount", files::mount),
    ("bind", files::bind),
    ("unmount", files::unmount),
    ("open-by-handle", files::open_by_handle),
    ("inherited", files::inherited),
    ("list", files::list),
    ("connect-unix", network::connect_unix),
    ("connect-abstract", network::connect_abstract),
    ("take-descriptor", network::take_descriptor),
    ("take-abstract-descriptor", network::take_abstract_descriptor),
    ("connect-tcp", network::connect_tcp),
    ("bind-tcp", network::bind_tcp),
    ("echo-udp", network::echo_udp),
    ("resolve", network::resolve),
    ("route", network::route),
    ("say-at-door", network::say_at_door),
    ("serve-locally", network::serve_locally),
    ("socket", network::socket),
    ("signal", processes::signal),
    ("signal-victim", processes::signal_victim),
    ("attach", processes::attach),
    ("outlive", processes::outlive),
    ("new-user-namespace", processes::new_user_namespace),
    ("clone-user-namespace", processes::clone_user_namespace),
    ("clone3-user-namespace", processes::clone3_user_namespace),
    ("enter-namespace", processes::enter_namespace),
    ("execute-set-user-id", processes::execute_set_user_id),
    ("execute-system-set-user-id", processes::execute_system_set_user_id),
    ("effective-user", processes::effective_user),
    ("become-root", processes::become_root),
    ("change-root", processes::change_root),
    ("set-host-name", processes::set_host_name),
    ("host-name", processes::host_name),
    ("cgroup-names", processes::cgroup_names),
    ("shared-memory", processes::shared_memory),
    ("capabilities", processes::capabilities),
    ("tree", processes::tree),
    ("hold", processes::hold),
    ("keys", calls::keys),
    ("io-uring", calls::io_uring),
    ("userfault", calls::userfault),
    ("bpf", calls::bpf),
    ("perf", calls::perf),
    ("load-module", calls::load_module),
    ("kernel-log", calls::kernel_log),
    ("personality", calls::personality),
    ("foreign", calls::foreign),
    ("type-into-terminal", calls::type_into_terminal),
    ("type-as-leader", calls::type_as_leader),
    ("new-call", calls::new_call),
    ("fork-bomb", greed::fork_bomb),
    ("memory", greed::memory),
    ("fill", greed::fill),
    ("fill-and-wait", greed::fill_and_wait),
    ("large-file", greed::large_file),
    ("open-files", greed::open_files),
    ("spin", greed::spin),
    ("processor", greed::processor),
    ("connect", door::connect),
    ("spelled", door::spelled),
    ("request", door::request),
    ("second-request", door::second_request),
    ("follow", door::follow),
    ("socks", door::socks),
    ("tls", door::tls),
    ("slow", door::slow),
    ("flood", door::flood),
];

/// Makes a try of this name.
#[must_use]
pub fn attempt(words: &[String]) -> Option<Outcome> {
    let (name, rest) = words.split_first()?;
    let (_, attempt) = ATTEMPTS.iter().find(|(known, _)| known == name)?;
    Some(attempt(rest))
}

/// The first message of a client that speaks TLS to `name`.
pub(super) fn hello_to(name: &str) -> Vec<u8> {
    hello::hello(Some(name), hello::Hidden::No)
}

/// What stopped something, by the name that people look up.
#[must_use]
pub fn reason(error: &Error) -> String {
    #[rustfmt::skip]
    let names = [
        (libc::EPERM, "EPERM"), (libc::ENOENT, "ENOENT"), (libc::ESRCH, "ESRCH"), (libc::EAGAIN, "EAGAIN"),
        (libc::EACCES, "EACCES"), (libc::EBUSY, "EBUSY"), (libc::EXDEV, "EXDEV"), (libc::EMFILE, "EMFILE"),
        (libc::EFBIG, "EFBIG"), (libc::ENOSPC, "ENOSPC"), (libc::EROFS, "EROFS"), (libc::ENOSYS, "ENOSYS"),
        (libc::ECONNREFUSED, "ECONNREFUSED"), (libc::ENETUNREACH, "ENETUNREACH"), (libc::ENOTCONN, "ENOTCONN"),
        (libc::EINVAL, "EINVAL"), (libc::ENOTTY, "ENOTTY"), (libc::EIO, "EIO"), (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"), (libc::ENXIO, "ENXIO"), (libc::ENOTDIR, "ENOTDIR"),
        (libc::EADDRINUSE, "EADDRINUSE"), (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"), (libc::EEXIST, "EEXIST"),
    ];
    let known = names.iter().find(|(n, _)| Some(*n) == error.raw_os_error());
    known.map_or_else(|| error.to_string(), |(_, name)| (*name).to_owned())
}

/// The result of a system call.
fn check(result: libc::c_long) -> std::io::Result<libc::c_long> {
    match result < 0 {
        true => Err(Error::last_os_error()),
        false => Ok(result),
    }
}

/// An argument that is a number.
fn number<T: std::str::FromStr>(args: &[String], at: usize) -> std::io::Result<T> {
    let wrong = || unable(&format!("word {at} is no number"));
    word(args, at)?.parse().map_err(|_| wrong())
}

/// An argument that is text.
fn word(args: &[String], at: usize) -> std::io::Result<&str> {
    args.get(at)
        .map(String::as_str)
        .ok_or_else(|| unable(&format!("word {at} is missing")))
}

/// It could not be tried.
fn unable(why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, why)
}

/// Writes a line to whoever reads the guest's output.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}
