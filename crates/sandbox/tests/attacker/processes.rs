//! Attacks on processes and users: others' processes, lives after the end, privileges.

use crate::{Outcome, check, number, word};
use std::io::Error;
use std::os::unix::process::CommandExt;

pub fn signal(args: &[String]) -> Outcome {
    // SAFETY: it touches no memory.
    check(unsafe { libc::kill(number(args, 0), 0) }.into())?;
    Ok(String::new())
}

pub fn attach(args: &[String]) -> Outcome {
    let pid: libc::pid_t = number(args, 0);
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: attaching touches no memory of this process.
    unsafe {
        check(libc::ptrace(libc::PTRACE_SEIZE, pid, none, none))?;
        check(libc::ptrace(libc::PTRACE_INTERRUPT, pid, none, none))?;
        let mut status = 0;
        check(libc::waitpid(pid, &raw mut status, libc::__WALL).into())?;
        check(libc::ptrace(libc::PTRACE_DETACH, pid, none, none))?;
    }
    Ok(String::new())
}

/// Forks twice, leaves the session, and goes on with a lock that tells that it lives. It gives up after a while, so
/// that a machine on which it worked is not left with it.
pub fn outlive(args: &[String]) -> Outcome {
    let file = std::fs::File::create(word(args, 0))?;
    // SAFETY: the process has one thread, and the children touch nothing that could be locked.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            if libc::fork() == 0 {
                for fd in 0..3 {
                    libc::close(fd);
                }
                file.lock().unwrap();
                std::fs::write(word(args, 1), std::process::id().to_string()).unwrap();
                libc::sleep(60);
            }
            libc::_exit(0);
        }
        libc::wait(std::ptr::null_mut());
    }
    while std::fs::read_to_string(word(args, 1))
        .unwrap_or_default()
        .is_empty()
    {
        std::thread::yield_now();
    }
    Ok(String::new())
}

pub fn new_user_namespace(_: &[String]) -> Outcome {
    // SAFETY: it touches no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into())?;
    Ok(String::new())
}

pub fn clone_user_namespace(_: &[String]) -> Outcome {
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    // SAFETY: without CLONE_VM it is a fork; the child ends at once.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    if pid == 0 {
        // SAFETY: it does not return.
        unsafe { libc::_exit(0) }
    }
    Ok(String::new())
}

pub fn clone3_user_namespace(_: &[String]) -> Outcome {
    // SAFETY: plain integers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = libc::CLONE_NEWUSER as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: as above; the arguments outlive the call.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        // SAFETY: it does not return.
        unsafe { libc::_exit(0) }
    }
    Ok(String::new())
}

/// A program that belongs to root and has the bit: it says as whom it runs.
pub fn execute_set_user_id(args: &[String]) -> Outcome {
    Err(std::process::Command::new(word(args, 0))
        .arg("effective-user")
        .exec())
}

pub fn effective_user(_: &[String]) -> Outcome {
    // SAFETY: it touches no memory.
    match unsafe { libc::geteuid() } {
        0 => Ok("root".to_owned()),
        uid => Err(Error::other(format!("user {uid}"))),
    }
}

pub fn set_host_name(_: &[String]) -> Outcome {
    // SAFETY: a name and its length.
    check(unsafe { libc::sethostname(c"evil".as_ptr(), 4) }.into())?;
    Ok(String::new())
}

pub fn host_name(args: &[String]) -> Outcome {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    if name.trim() == word(args, 0) {
        Ok(String::new())
    } else {
        Err(Error::other(name.trim().to_owned()))
    }
}

/// Shared memory of somebody else, by its key.
pub fn shared_memory(args: &[String]) -> Outcome {
    // SAFETY: it touches no memory.
    check(unsafe { libc::shmget(number(args, 0), 0, 0) }.into())?;
    Ok(String::new())
}

/// Every set of capabilities, as the kernel tells.
pub fn capabilities(_: &[String]) -> Outcome {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let sets: Vec<&str> = status.lines().filter(|l| l.starts_with("Cap")).collect();
    let none = sets.iter().all(|l| l.ends_with("\t0000000000000000"));
    if none {
        Err(Error::other("none"))
    } else {
        Ok(sets.join(" "))
    }
}

/// A chain of processes, each the child of the one before, which all wait; says so when the last is there.
pub fn tree(args: &[String]) -> Outcome {
    let depth: u32 = number(args, 0);
    // SAFETY: each process has one thread.
    unsafe {
        for _ in 1..depth {
            match libc::fork() {
                0 => libc::setsid(),
                -1 => return Err(Error::last_os_error()),
                _ => loop {
                    libc::pause();
                },
            };
        }
    }
    println!("there");
    loop {
        std::thread::park();
    }
}

/// Holds a lock, and says so.
pub fn hold(args: &[String]) -> Outcome {
    let file = std::fs::File::create(word(args, 0))?;
    file.lock()?;
    println!("runs");
    loop {
        std::thread::park();
    }
}
