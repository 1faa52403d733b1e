//! Attacks on what there is of the machine: processes, memory, disk, descriptors, time.

use super::{Outcome, number, say, unable, word};
use std::io::{Error, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How long what was forked waits, in seconds: on a machine without walls it is over by itself.
const FORKED_SECONDS: libc::c_uint = 60;

/// Forks until it is refused, or `most` wait.
pub fn fork_bomb(args: &[String]) -> Outcome {
    let most: u32 = number(args, 0)?;
    for _ in 0..most {
        // SAFETY: the child does nothing but wait.
        match unsafe { libc::fork() } {
            // SAFETY: it touches no memory, and does not return.
            0 => unsafe {
                libc::sleep(FORKED_SECONDS);
                libc::_exit(0)
            },
            -1 => return Err(Error::last_os_error()),
            _ => (),
        }
    }
    Ok(String::new())
}

/// Touches every page of so many bytes.
pub fn memory(args: &[String]) -> Outcome {
    let bytes: usize = number(args, 0)?;
    let mut taken = vec![0_u8; bytes];
    for page in taken.chunks_mut(4096) {
        if let Some(byte) = page.first_mut() {
            *byte = 1;
        }
    }
    std::hint::black_box(&taken);
    Ok(String::new())
}

/// Writes so many bytes to one file. A signal at the limit of its size is an error of the call.
pub fn fill(args: &[String]) -> Outcome {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let (mut left, block) = (number::<usize>(args, 1)?, vec![7_u8; 1 << 16]);
    let mut file = std::fs::File::create(word(args, 0)?)?;
    while left > 0 {
        file.write_all(&block)?;
        left = left.saturating_sub(block.len());
    }
    Ok(String::new())
}

/// The same in the workspace, which is then waited for to be noticed, and removed. Where others made room meanwhile, it
/// is not as full as it was to be.
pub fn fill_and_wait(args: &[String]) -> Outcome {
    let filled = fill(args);
    if filled.is_ok() {
        std::thread::sleep(std::time::Duration::from_secs(number(args, 2)?));
        let disk = rustix::fs::statvfs(".")?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) >= number(args, 3)? {
            let _ = std::fs::remove_file(word(args, 0)?);
            return Err(unable("others made room on the disk meanwhile"));
        }
    }
    let _ = std::fs::remove_file(word(args, 0)?);
    filled
}

/// One byte, so far behind that the file is larger than it may be. It takes no room.
pub fn large_file(args: &[String]) -> Outcome {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let mut file = std::fs::File::create(word(args, 0)?)?;
    let written = file
        .seek(SeekFrom::Start(number(args, 1)?))
        .and_then(|_| file.write_all(b"x"));
    let _ = std::fs::remove_file(word(args, 0)?);
    written.map(|()| String::new())
}

pub fn open_files(args: &[String]) -> Outcome {
    let mut open = Vec::new();
    for _ in 0..number::<usize>(args, 0)? {
        open.push(std::fs::File::open("/dev/null")?);
    }
    Ok(String::new())
}

/// So many threads take what they get for so many milliseconds: with how many thousandths of one processor they should
/// have to do, twice that is more than a limit lets through.
pub fn processor(args: &[String]) -> Outcome {
    let (threads, allowed, time): (usize, u64, u64) = (number(args, 0)?, number(args, 1)?, number(args, 2)?);
    let over = Arc::new(AtomicBool::new(false));
    let spinning: Vec<_> = (0..threads)
        .map(|_| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(time));
    over.store(true, Ordering::Relaxed);
    for thread in spinning {
        let _ = thread.join();
    }
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let used = u64::try_from(used.tv_sec * 1000 + used.tv_nsec / 1_000_000).unwrap_or(0);
    match used > 2 * allowed * time / 1000 {
        true => Ok(format!("{used} ms of the processors in {time} ms")),
        false => Err(Error::other(format!("{used} ms of the processors in {time} ms"))),
    }
}

/// As much of the processors as there is, until it is ended.
pub fn spin(args: &[String]) -> Outcome {
    for _ in 1..number::<usize>(args, 0)? {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    say("spinning")?;
    loop {
        std::hint::spin_loop();
    }
}
