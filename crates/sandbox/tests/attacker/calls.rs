//! Attacks on the kernel: calls that a guest has no business with.

use crate::{Outcome, check};

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
    Err(std::io::Error::from_raw_os_error(libc::ENOSYS))
}

pub fn type_into_terminal(_: &[String]) -> Outcome {
    // SAFETY: one byte, which outlives the call.
    check(unsafe { libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr()) }.into())?;
    Ok(String::new())
}

/// A number that no kernel has yet.
pub fn new_call(_: &[String]) -> Outcome {
    // SAFETY: nothing is passed.
    check(unsafe { libc::syscall(4000) })?;
    Ok(String::new())
}
