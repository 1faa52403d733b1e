//! Attacks on the kernel: calls that a guest has no business with.

use super::{Outcome, check, unable};
use std::io::{Error, ErrorKind};

pub fn keys(_: &[String]) -> Outcome {
    const KEYCTL_GET_KEYRING_ID: i32 = 0;
    const KEY_SPEC_USER_KEYRING: i32 = -4;
    // SAFETY: it touches no memory.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1) })?;
    Ok(String::new())
}

pub fn io_uring(_: &[String]) -> Outcome {
    let mut parameters = [0_u8; 120];
    // SAFETY: the structure has this size.
    check(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) })?;
    Ok(String::new())
}

pub fn userfault(_: &[String]) -> Outcome {
    const UFFD_USER_MODE_ONLY: i32 = 1;
    // SAFETY: it touches no memory.
    check(unsafe { libc::syscall(libc::SYS_userfaultfd, UFFD_USER_MODE_ONLY) })?;
    Ok(String::new())
}

/// A map of the kernel's machine for programs: the smallest thing that a program loaded there needs.
pub fn bpf(_: &[String]) -> Outcome {
    const BPF_MAP_CREATE: i32 = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    let attributes: [u32; 18] = {
        let mut all = [0; 18];
        for (at, value) in all.iter_mut().zip([BPF_MAP_TYPE_ARRAY, 4, 8, 1]) {
            *at = value;
        }
        all
    };
    // SAFETY: the attributes outlive the call, and are of the size that is said.
    check(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    })?;
    Ok(String::new())
}

/// Counts what this process itself does, in user mode: the least that can be asked.
pub fn perf(_: &[String]) -> Outcome {
    const EXCLUDE_KERNEL_AND_HYPERVISOR: u64 = 0b11 << 5;
    let mut attributes = [0_u64; 16];
    let size = u64::try_from(size_of_val(&attributes)).unwrap_or_default();
    // `type` 1, software, and `size` are one word, as little-endian machines have it; then `config`, the clock.
    for (at, value) in [(0, 1 | size << 32), (5, EXCLUDE_KERNEL_AND_HYPERVISOR)] {
        if let Some(word) = attributes.get_mut(at) {
            *word = value;
        }
    }
    // SAFETY: the attributes outlive the call, and are of the size that stands in them.
    check(unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0) })?;
    Ok(String::new())
}

/// A module that is none. Whoever may load some is told so; nobody else is told anything but no.
pub fn load_module(_: &[String]) -> Outcome {
    let module = [0_u8; 4];
    // SAFETY: bytes, their number, and text that ends.
    let loaded =
        check(unsafe { libc::syscall(libc::SYS_init_module, module.as_ptr(), module.len(), c"".as_ptr()) });
    match loaded {
        Err(error) if [Some(libc::EPERM), Some(libc::ENOSYS)].contains(&error.raw_os_error()) => Err(error),
        Err(error) => Ok(format!("the kernel looked at it: {error}")),
        Ok(_) => Ok("it was loaded".to_owned()),
    }
}

/// What the kernel wrote into its log; nothing is taken from it.
pub fn kernel_log(_: &[String]) -> Outcome {
    const SYSLOG_ACTION_READ_ALL: libc::c_int = 3;
    let mut text = [0_u8; 256];
    let length = libc::c_int::try_from(text.len()).map_err(Error::other)?;
    // SAFETY: bytes and their number.
    let read =
        check(unsafe { libc::klogctl(SYSLOG_ACTION_READ_ALL, text.as_mut_ptr().cast(), length) }.into())?;
    match read {
        0 => Err(Error::from(ErrorKind::NotFound)),
        _ => Ok(format!("{read} bytes of it")),
    }
}

/// No randomness in addresses, for itself and what it executes.
pub fn personality(_: &[String]) -> Outcome {
    // SAFETY: it touches no memory.
    check(unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) }.into())?;
    Ok(String::new())
}

/// A call as 32-bit programs make it, where other numbers mean other things: `getpid` of i386.
pub fn foreign(_: &[String]) -> Outcome {
    #[cfg(target_arch = "x86_64")]
    {
        let pid: u64;
        // SAFETY: `int 0x80` with the number of `getpid`, which touches no memory.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("rax") 20_u64 => pid, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        Ok(pid.to_string())
    }
    #[cfg(not(target_arch = "x86_64"))]
    Err(unable("this architecture has one kind of calls"))
}

pub fn type_into_terminal(_: &[String]) -> Outcome {
    has_terminal()?;
    // SAFETY: one byte, which outlives the call.
    check(unsafe { libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr()) }.into())?;
    Ok(String::new())
}

fn has_terminal() -> std::io::Result<()> {
    match std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        true => Ok(()),
        false => Err(unable("it was given no terminal")),
    }
}

/// The same by a process that first makes the terminal its own, with a bit above those that the kernel reads of the
/// request, and by another request that does it.
pub fn type_as_leader(_: &[String]) -> Outcome {
    has_terminal()?;
    // SAFETY: the process has one thread, and the child makes calls alone.
    let child = check(unsafe { libc::fork() }.into())?;
    if child == 0 {
        let above = libc::TIOCSTI | (1 << 32);
        let paste = [2_u8];
        // SAFETY: bytes that outlive the calls.
        let done = unsafe {
            libc::setsid();
            libc::ioctl(0, libc::TIOCSCTTY, 0);
            [
                libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr()),
                libc::ioctl(0, above, c"x".as_ptr()),
                libc::ioctl(0, libc::TIOCLINUX, paste.as_ptr()),
            ]
        };
        // SAFETY: it does not return.
        unsafe { libc::_exit(i32::from(done.contains(&0))) }
    }
    let mut status = 0;
    // SAFETY: a number that outlives the call.
    check(unsafe { libc::waitpid(i32::try_from(child).map_err(Error::other)?, &raw mut status, 0) }.into())?;
    match libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 1 {
        true => Ok("it typed".to_owned()),
        false => Err(Error::from_raw_os_error(libc::EPERM)),
    }
}

/// A number that no kernel has yet.
pub fn new_call(_: &[String]) -> Outcome {
    // SAFETY: nothing is passed.
    check(unsafe { libc::syscall(4000) })?;
    Ok(String::new())
}
