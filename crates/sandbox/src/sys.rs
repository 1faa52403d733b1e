//! The system calls that no safe wrapper has. All `unsafe` of the project that ships is in this file, but for that of
//! the drill's attacks, which run in a guest.
//!
//! Invariants:
//! - **Only a process with one thread forks.** [`clone_process`] and [`fork`] leave the child with a copy of the
//!   caller's thread alone; were there others, their locks would stay taken for ever. The zygote has one thread,
//!   and so has all that comes from it until it executes something.

use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Which side of a fork this is.
pub(crate) enum Side {
    /// The one that forked.
    Parent(Child),
    /// The one that was made.
    Child,
}

/// A process that was made.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its number outside.
    pub pid: i32,
    /// Names it and no other, also after it ended.
    pub pidfd: OwnedFd,
}

/// How a process ended, and what it and the children it waited for used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// As `wait` encodes it.
    pub status: i32,
    /// Processor time in user mode, in microseconds.
    pub user_us: u64,
    /// Processor time in the kernel, in microseconds.
    pub system_us: u64,
    /// Largest resident memory of one process, in bytes.
    pub resident_bytes: u64,
}

/// A system call that was stopped and waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoppedCall {
    id: u64,
    /// Its number.
    pub number: i32,
}

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 { Err(last()) } else { Ok(result) }
}

fn last() -> Errno {
    std::io::Error::last_os_error()
        .raw_os_error()
        .map_or(Errno::INVAL, Errno::from_raw_os_error)
}

/// Makes a process in new namespaces (`clone3`), which shares nothing with this one but what it has open.
pub(crate) fn clone_process(namespaces: u64) -> Result<Side, Errno> {
    let mut pidfd: RawFd = -1;
    // SAFETY: `clone_args` is plain integers, for which zero is a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the child runs on a copy of this memory and stack, as after fork; the arguments
    // outlive the call, and the process has one thread (see the invariant above).
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(Side::Child);
    }
    // SAFETY: the kernel put a new descriptor there, which nobody else knows of.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = i32::try_from(pid).map_err(|_| Errno::OVERFLOW)?;
    Ok(Side::Parent(Child { pid, pidfd }))
}

/// Makes a process with `fork`, which the filter lets through where `clone3` is absent. 0 is the one that was made.
pub(crate) fn fork() -> Result<i32, Errno> {
    // SAFETY: the process has one thread (see the invariant above), so the copy has no lock that nobody frees.
    let pid = check(unsafe { libc::fork() }.into())?;
    i32::try_from(pid).map_err(|_| Errno::OVERFLOW)
}

/// Executes a program with exactly these arguments and variables. Returns on failure alone.
pub(crate) fn execute(program: &CString, argv: &[CString], env: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        let ends = std::iter::once(std::ptr::null());
        strings.iter().map(|s| s.as_ptr()).chain(ends).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end with a null pointer, and they and the strings outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    last()
}

/// Ends this process without running anything that was registered to run at its end.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: it does not return and touches no memory.
    unsafe { libc::_exit(status) }
}

/// Gives the mount behind `tree` attributes, and all below it when `recursive`; and parts it from those that it was
/// shared with.
pub(crate) fn set_mount_attributes(
    tree: BorrowedFd<'_>,
    recursive: bool,
    set: u64,
    users: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: set
            | if users.is_some() {
                libc::MOUNT_ATTR_IDMAP
            } else {
                0
            },
        attr_clr: 0,
        // Of a tree that was shared, what is mounted outside later would appear inside.
        propagation: libc::MS_PRIVATE,
        userns_fd: users.map_or(0, |u| u.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a string that ends, the structure has the size that is said, and both outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Closes descriptors, whoever thinks to own them.
pub(crate) fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: it touches no memory. Owners of these descriptors are never run again: a process that the zygote made
    // executes or ends, and the zygote calls it before it owns anything.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}

/// Lets every descriptor but the lowest `keep` close when a program is executed.
pub(crate) fn close_on_exec_from(keep: u32) -> Result<(), Errno> {
    // SAFETY: it touches no memory.
    check(unsafe { libc::syscall(libc::SYS_close_range, keep, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Gives this process a cgroup namespace whose root is the cgroup that it is in.
pub(crate) fn unshare_cgroup_names() -> Result<(), Errno> {
    // SAFETY: of all that can be unshared this touches names in `/proc` alone.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }.into())?;
    Ok(())
}

/// Gives what this process makes from now on clocks of their own, which go on where they are told to begin.
pub(crate) fn unshare_time() -> Result<(), Errno> {
    // SAFETY: the process itself keeps the clocks that it has.
    check(unsafe { libc::unshare(libc::CLONE_NEWTIME) }.into())?;
    Ok(())
}

/// Signals as a program expects them: none blocked, and SIGPIPE, which Rust's runtime ignores, ends it.
pub(crate) fn default_signals() -> Result<(), Errno> {
    // SAFETY: `sigset_t` is plain integers, which `sigemptyset` fills; no handler is installed.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()).into())?;
        if libc::signal(libc::SIGPIPE, libc::SIG_DFL) == libc::SIG_ERR {
            return Err(last());
        }
    }
    Ok(())
}

/// Moves a descriptor to number `to`, where it stays open over the execution of a program.
pub(crate) fn put_at(fd: BorrowedFd<'_>, to: RawFd) -> Result<(), Errno> {
    // SAFETY: it touches no memory; what was open at `to` is not used afterwards, for the caller executes.
    check(unsafe { libc::dup3(fd.as_raw_fd(), to, 0) }.into())?;
    Ok(())
}

/// Raises loopback of this network namespace.
pub(crate) fn raise_loopback(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: `ifreq` is plain bytes and unions of such, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request reads a `struct ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) }.into())?;
    Ok(())
}

/// Waits for a child and reaps it. Without a pid, any; without `block`, `None` when none has ended.
pub(crate) fn wait(pid: Option<i32>, block: bool) -> Result<Option<(i32, Ended)>, Errno> {
    let mut status = 0;
    // SAFETY: `rusage` is plain integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let options = if block { 0 } else { libc::WNOHANG } | libc::__WALL;
    // SAFETY: both results are written to memory of this function.
    let found = unsafe { libc::wait4(pid.unwrap_or(-1), &raw mut status, options, &raw mut usage) };
    let found = check(found.into())? as i32;
    if found == 0 {
        return Ok(None);
    }
    let micros = |t: libc::timeval| (t.tv_sec.unsigned_abs() * 1_000_000) + t.tv_usec.unsigned_abs();
    let ended = Ended {
        status,
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        resident_bytes: usage.ru_maxrss.unsigned_abs() * 1024,
    };
    Ok(Some((found, ended)))
}

/// What can be read when a child ended. From now on no such signal arrives otherwise.
pub(crate) fn ends_of_children() -> Result<OwnedFd, Errno> {
    // SAFETY: `sigset_t` is plain integers, which `sigemptyset` fills; both calls read it and outlive nothing.
    let fd = unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut()).into())?;
        check(libc::signalfd(-1, &raw const signals, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?
    };
    let fd = RawFd::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel returned a new descriptor, which nobody else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Version of Landlock's interface; 0 when the kernel has none.
pub(crate) fn landlock_abi() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: with this flag nothing is read, and the number is returned.
    let abi = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0,
            VERSION,
        )
    });
    abi.ok().and_then(|v| u32::try_from(v).ok()).unwrap_or(0)
}

/// Installs a filter of system calls on this thread and all that comes from it. What it hands over is read from
/// what is returned.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> Result<OwnedFd, Errno> {
    let listener = install(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    let listener = RawFd::try_from(listener).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel returns a new descriptor, which nobody else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

fn install(program: &[libc::sock_filter], flags: libc::c_ulong) -> Result<libc::c_long, Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        // The kernel only reads it.
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the length is that of the slice, and both outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    })
}

/// Whether the kernel filters system calls and can hand them to another process.
pub(crate) fn has_notifications() -> bool {
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: the call reads one number, which outlives it.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0_u32,
            &raw const action,
        )
    });
    result.is_ok()
}

/// The next stopped call. `None` when its process is gone.
pub(crate) fn next_stopped(listener: BorrowedFd<'_>) -> Result<Option<StoppedCall>, Errno> {
    // SAFETY: plain integers; the kernel asks for zeroes.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes one `seccomp_notif`. A kernel with a larger one refuses to answer a smaller.
    let result = check(
        unsafe { libc::ioctl(listener.as_raw_fd(), SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut call) }.into(),
    );
    match result {
        Ok(_) => Ok(Some(StoppedCall {
            id: call.id,
            number: call.data.nr,
        })),
        Err(Errno::NOENT | Errno::INTR) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Lets a stopped call fail with `error`. It is never let through: what was looked at could have changed since.
pub(crate) fn refuse_stopped(listener: BorrowedFd<'_>, call: StoppedCall, error: Errno) -> Result<(), Errno> {
    let mut answer = libc::seccomp_notif_resp {
        id: call.id,
        val: 0,
        error: -error.raw_os_error(),
        flags: 0,
    };
    // SAFETY: the request reads one `seccomp_notif_resp`, which outlives the call.
    let result = check(
        unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                SECCOMP_IOCTL_NOTIF_SEND as _,
                &raw mut answer,
            )
        }
        .into(),
    );
    match result {
        // Its process was killed meanwhile.
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e),
    }
}

/// `_IOWR('!', number, size)`, which is the same on all architectures that we filter for.
const fn notification_request(number: u64, size: usize) -> u64 {
    (3 << 30) | ((size as u64) << 16) | ((b'!' as u64) << 8) | number
}
const SECCOMP_IOCTL_NOTIF_RECV: u64 = notification_request(0, size_of::<libc::seccomp_notif>());
const SECCOMP_IOCTL_NOTIF_SEND: u64 = notification_request(1, size_of::<libc::seccomp_notif_resp>());

/// A second descriptor of the same thing, which closes when a program is executed.
pub(crate) fn copy_at_least(fd: impl AsFd, number: RawFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(fd, number)
}

/// Memory under `key` that everybody may attach to, by its number; none if somebody has that key.
pub(crate) fn make_shared_memory(key: i32) -> Result<i32, Errno> {
    // SAFETY: it touches no memory of this process.
    let made = unsafe { libc::shmget(key, 4096, libc::IPC_CREAT | libc::IPC_EXCL | 0o666) };
    check(made.into())?;
    Ok(made)
}

/// Removes it again.
pub(crate) fn remove_shared_memory(id: i32) {
    // SAFETY: no structure is passed.
    unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
}
