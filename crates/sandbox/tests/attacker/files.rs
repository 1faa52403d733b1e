//! Attacks on files: reading and writing elsewhere, links, mounts, and what others run later.

use crate::{Outcome, check, word};
use std::ffi::CString;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

pub fn read(args: &[String]) -> Outcome {
    std::fs::read_to_string(word(args, 0)).map(|t| t.trim().to_owned())
}

pub fn write(args: &[String]) -> Outcome {
    std::fs::write(word(args, 0), "evil").map(|()| String::new())
}

/// A link in the workspace that leads out of it.
pub fn read_by_link(args: &[String]) -> Outcome {
    let _ = std::fs::remove_file("link");
    symlink(word(args, 0), "link")?;
    std::fs::read_to_string("link").map(|t| t.trim().to_owned())
}

pub fn hard_link(args: &[String]) -> Outcome {
    std::fs::hard_link(word(args, 0), "hard")?;
    std::fs::read_to_string("hard")
}

pub fn rename(args: &[String]) -> Outcome {
    std::fs::rename(word(args, 0), word(args, 1)).map(|()| String::new())
}

pub fn make_directory(args: &[String]) -> Outcome {
    std::fs::create_dir(word(args, 0)).map(|()| String::new())
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
    let (kind, at) = (c("tmpfs"), c(word(args, 0)));
    // SAFETY: strings that end, and no data.
    check(unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) }.into())?;
    Ok(String::new())
}

pub fn unmount(args: &[String]) -> Outcome {
    let at = c(word(args, 0));
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

/// Names in a directory.
pub fn list(args: &[String]) -> Outcome {
    let mut names: Vec<String> = std::fs::read_dir(word(args, 0))?
        .map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    names.sort();
    Ok(names.join(" "))
}
