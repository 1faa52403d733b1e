//! Attacks on files: reading and writing elsewhere, links, mounts, and what others run later.

use super::{Outcome, check, number, word};
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::Error;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};

/// How often a race is run.
const ROUNDS: u32 = 20_000;

fn c(text: &str) -> std::io::Result<CString> {
    CString::new(text).map_err(Error::other)
}

pub fn read(args: &[String]) -> Outcome {
    std::fs::read(word(args, 0)?).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// What a process outside has. One of this guest may have its number, and holds other things.
pub fn read_of_victim(args: &[String]) -> Outcome {
    match read(args)?.contains(word(args, 1)?) {
        true => Ok(String::new()),
        false => Err(Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// Only for what the attacker's own side made, or may lose.
pub fn write(args: &[String]) -> Outcome {
    std::fs::write(word(args, 0)?, "evil").map(|()| String::new())
}

/// Whether it could be written; nothing is.
pub fn open_to_write(args: &[String]) -> Outcome {
    let path = word(args, 0)?;
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    opened.map(|_| format!("`{path}` could be written"))
}

/// A new file, which is removed at once.
pub fn create(args: &[String]) -> Outcome {
    let path = word(args, 0)?;
    OpenOptions::new().write(true).create_new(true).open(path)?;
    let _ = std::fs::remove_file(path);
    Ok(format!("`{path}` was made"))
}

/// A link in the workspace that leads out of it.
pub fn read_by_link(args: &[String]) -> Outcome {
    let _ = std::fs::remove_file("link");
    symlink(word(args, 0)?, "link")?;
    let read = std::fs::read_to_string("link").map(|t| t.trim().to_owned());
    let _ = std::fs::remove_file("link");
    read
}

/// A name in the workspace that is a harmless file and a link out of it in turns, as fast as can be, while it is read.
pub fn read_by_race(args: &[String]) -> Outcome {
    let target = word(args, 0)?;
    for name in ["race-file", "race-link", "race"] {
        let _ = std::fs::remove_file(name);
    }
    std::fs::write("race-file", "mine")?;
    std::fs::write("race", "mine")?;
    symlink(target, "race-link")?;
    let done = std::sync::atomic::AtomicBool::new(false);
    let ordering = std::sync::atomic::Ordering::Relaxed;
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(ordering) {
                for (from, to) in [("race-link", "race-next"), ("race-file", "race-next")] {
                    // Renaming replaces what is there in one step.
                    let _ = match from {
                        "race-link" => symlink(target, to),
                        _ => std::fs::hard_link(from, to),
                    };
                    let _ = std::fs::rename(to, "race");
                }
            }
        });
        let mut found = Err(Error::from_raw_os_error(libc::ENOENT));
        for _ in 0..ROUNDS {
            match std::fs::read_to_string("race") {
                Ok(text) if text.trim() != "mine" => {
                    found = Ok(text.trim().to_owned());
                    break;
                }
                Err(error) => found = Err(error),
                Ok(_) => {}
            }
        }
        done.store(true, ordering);
        found
    });
    for name in ["race-file", "race-link", "race-next", "race"] {
        let _ = std::fs::remove_file(name);
    }
    found
}

pub fn hard_link(args: &[String]) -> Outcome {
    std::fs::hard_link(word(args, 0)?, "hard")?;
    let read = std::fs::read_to_string("hard");
    let _ = std::fs::remove_file("hard");
    read
}

pub fn rename(args: &[String]) -> Outcome {
    std::fs::rename(word(args, 0)?, word(args, 1)?).map(|()| String::new())
}

pub fn make_directory(args: &[String]) -> Outcome {
    std::fs::create_dir(word(args, 0)?).map(|()| String::new())
}

/// A device of the machine under a name of its own: kind (`block` or `char`) and numbers. It is not opened.
pub fn make_device(args: &[String]) -> Outcome {
    let kind = match word(args, 0)? {
        "block" => libc::S_IFBLK,
        _ => libc::S_IFCHR,
    };
    let device = libc::makedev(number(args, 1)?, number(args, 2)?);
    // SAFETY: a path that ends.
    check(unsafe { libc::mknod(c"device".as_ptr(), kind | 0o600, device) }.into())?;
    let _ = std::fs::remove_file("device");
    Ok(String::new())
}

/// A program of the workspace's owner that runs as its owner, whoever runs it outside.
pub fn set_user_id(_: &[String]) -> Outcome {
    std::fs::write("su", "#!/bin/sh\n")?;
    std::fs::set_permissions("su", std::fs::Permissions::from_mode(0o4755)).map(|()| String::new())
}

pub fn create_set_user_id(_: &[String]) -> Outcome {
    std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o6755)
        .open("su2")
        .map(|_| String::new())
}

pub fn mount(args: &[String]) -> Outcome {
    let (kind, at) = (c("tmpfs")?, c(word(args, 0)?)?);
    // SAFETY: strings that end, and no data.
    check(unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) }.into())?;
    Ok(String::new())
}

/// Something at a second place, where other rules may hold.
pub fn bind(args: &[String]) -> Outcome {
    let (from, at) = (c(word(args, 0)?)?, c(word(args, 1)?)?);
    let flags = libc::MS_BIND | libc::MS_REC;
    // SAFETY: strings that end, and no data.
    check(
        unsafe {
            libc::mount(
                from.as_ptr(),
                at.as_ptr(),
                std::ptr::null(),
                flags,
                std::ptr::null(),
            )
        }
        .into(),
    )?;
    Ok(String::new())
}

pub fn unmount(args: &[String]) -> Outcome {
    let at = c(word(args, 0)?)?;
    // SAFETY: a string that ends.
    check(unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) }.into())?;
    Ok(String::new())
}

/// Opens the root of a file system by its number, past all paths.
pub fn open_by_handle(_: &[String]) -> Outcome {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        inode: [u32; 2],
    }
    let mut handle = Handle {
        bytes: 8,
        kind: 1,
        inode: [2, 0],
    };
    // SAFETY: a path that ends, and a handle of the length that it says.
    unsafe {
        let mount = check(libc::open(c"/usr".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY).into())?;
        check(libc::syscall(
            libc::SYS_open_by_handle_at,
            mount,
            &raw mut handle,
            libc::O_RDONLY,
        ))?;
    }
    Ok(String::new())
}

/// A descriptor that whoever started the guest left open, and that leads anywhere.
pub fn inherited(_: &[String]) -> Outcome {
    let mut found = Vec::new();
    for fd in 3..1024 {
        // SAFETY: it touches no memory.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0 {
            let to = std::fs::read_link(format!("/proc/self/fd/{fd}"));
            found.push(to.map_or_else(|_| fd.to_string(), |to| format!("{fd} is {}", to.display())));
        }
    }
    match found.is_empty() {
        true => Err(Error::other("none")),
        false => Ok(found.join(", ")),
    }
}

/// Names in a directory. One without names says nothing to anybody.
pub fn list(args: &[String]) -> Outcome {
    let mut names: Vec<String> = std::fs::read_dir(word(args, 0)?)?
        .map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    names.sort();
    match names.is_empty() {
        true => Err(Error::other("it is empty")),
        false => Ok(names.join(" ")),
    }
}
