//! Attacks on processes and users: others' processes, lives after the end, privileges.

use super::{Outcome, check, number, say, unable, word};
use std::io::Error;
use std::os::unix::process::CommandExt;

pub fn signal(args: &[String]) -> Outcome {
    // SAFETY: it touches no memory.
    check(unsafe { libc::kill(number(args, 0)?, 0) }.into())?;
    Ok(String::new())
}

/// Ends a process that exists to be ended, outside. What has its number inside ignores the signal.
pub fn signal_victim(args: &[String]) -> Outcome {
    // SAFETY: it touches no memory.
    check(unsafe { libc::kill(number(args, 0)?, libc::SIGUSR1) }.into())?;
    // A process of this guest may have that number. Whether it was the victim is seen outside.
    let line = std::fs::read(format!("/proc/{}/cmdline", word(args, 0)?))?;
    match String::from_utf8_lossy(&line).contains(word(args, 1)?) {
        true => Ok(String::new()),
        false => Err(Error::from_raw_os_error(libc::ESRCH)),
    }
}

pub fn attach(args: &[String]) -> Outcome {
    let pid: libc::pid_t = number(args, 0)?;
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
    /// How long the one that stays is waited for, in steps of a hundredth of a second.
    const STEPS: u32 = 500;
    let (lock, told) = (word(args, 0)?, word(args, 1)?);
    let file = std::fs::File::create(lock)?;
    // SAFETY: the process has one thread, and the children touch nothing that could be locked.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            if libc::fork() == 0 {
                for fd in 0..3 {
                    libc::close(fd);
                }
                if file.lock().is_ok() {
                    let _ = std::fs::write(told, std::process::id().to_string());
                }
                libc::sleep(60);
            }
            libc::_exit(0);
        }
        libc::wait(std::ptr::null_mut());
    }
    for _ in 0..STEPS {
        if std::fs::read_to_string(told).is_ok_and(|pid| !pid.is_empty()) {
            return Ok(String::new());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err(unable("what was forked does not begin"))
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
    Err(std::process::Command::new(word(args, 0)?)
        .arg("effective-user")
        .exec())
}

/// The system's own, of those that wait for a password: the kernel tells as whom it runs meanwhile. It is ended.
pub fn execute_system_set_user_id(_: &[String]) -> Outcome {
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};
    let is_set = |path: &&&str| std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o4000 != 0);
    let programs = [
        "/usr/bin/su",
        "/usr/bin/passwd",
        "/usr/bin/sudo",
        "/usr/bin/mount",
    ];
    let program = programs.iter().find(is_set);
    let program = program.ok_or_else(|| unable("no set-user-id program of the system is seen"))?;
    let mut command = Command::new(program);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn()?;
    let uid = || {
        // Where /proc is not of this guest's processes, the number names somebody else.
        let line = std::fs::read(format!("/proc/{}/cmdline", child.id())).ok()?;
        line.starts_with(program.as_bytes()).then_some(())?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("Uid:"))?;
        line.split_whitespace().nth(2)?.parse::<u32>().ok()
    };
    // SAFETY: it touches no memory.
    let own = unsafe { libc::geteuid() };
    let mut seen = None;
    for _ in 0..20 {
        seen = uid().or(seen);
        if seen.is_some_and(|uid| uid != own) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    match seen {
        Some(uid) if uid != own => Ok(format!("`{program}` ran as user {uid}")),
        Some(uid) => Err(Error::other(format!("user {uid}"))),
        None => Err(unable("a set-user-id program ended before anybody looked")),
    }
}

/// By every call for it.
pub fn become_root(_: &[String]) -> Outcome {
    // SAFETY: they touch no memory.
    unsafe {
        libc::setgid(0);
        libc::setregid(0, 0);
        libc::setuid(0);
        libc::setreuid(0, 0);
        libc::setresuid(0, 0, 0);
        match libc::geteuid() {
            0 => Ok("root".to_owned()),
            _ => Err(Error::from_raw_os_error(libc::EPERM)),
        }
    }
}

pub fn change_root(_: &[String]) -> Outcome {
    // SAFETY: paths that end.
    check(unsafe { libc::chroot(c".".as_ptr()) }.into())?;
    Ok(String::new())
}

/// A namespace of another process, by the name that /proc has for it.
pub fn enter_namespace(args: &[String]) -> Outcome {
    use std::os::fd::AsRawFd;
    let namespace = std::fs::File::open(word(args, 0)?)?;
    // SAFETY: a descriptor that is open.
    check(unsafe { libc::setns(namespace.as_raw_fd(), 0) }.into())?;
    Ok(String::new())
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
    if name.trim() == word(args, 0)? {
        Ok(String::new())
    } else {
        Err(Error::other(name.trim().to_owned()))
    }
}

/// Whether names of cgroups outside are seen: the root is all that a guest has.
pub fn cgroup_names(_: &[String]) -> Outcome {
    let text = std::fs::read_to_string("/proc/self/cgroup")?;
    // All that is to be seen is the root of its own.
    let named = text.lines().find(|line| !line.ends_with(":/"));
    named.map(str::to_owned).ok_or_else(|| Error::other("none"))
}

/// Shared memory of somebody else, by its key.
pub fn shared_memory(args: &[String]) -> Outcome {
    // SAFETY: it touches no memory.
    check(unsafe { libc::shmget(number(args, 0)?, 0, 0) }.into())?;
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
    let depth: u32 = number(args, 0)?;
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
    say("there")?;
    loop {
        std::thread::park();
    }
}

/// Holds a lock, and says so.
pub fn hold(args: &[String]) -> Outcome {
    let file = std::fs::File::create(word(args, 0)?)?;
    file.lock()?;
    say("runs")?;
    loop {
        std::thread::park();
    }
}
