//! Attacks on what there is of the machine: processes, memory, disk, descriptors, time.

use crate::{Outcome, number, word};
use std::io::{Error, Write};

/// Forks until it is refused, or `most` wait.
pub fn fork_bomb(args: &[String]) -> Outcome {
    let most: u32 = number(args, 0);
    for _ in 0..most {
        // SAFETY: the child does nothing but wait.
        match unsafe { libc::fork() } {
            // SAFETY: it touches no memory.
            0 => loop {
                unsafe { libc::pause() };
            },
            -1 => return Err(Error::last_os_error()),
            _ => (),
        }
    }
    Ok(String::new())
}

/// Touches every page of so many bytes.
pub fn memory(args: &[String]) -> Outcome {
    let bytes: usize = number(args, 0);
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
    let (mut left, block) = (number::<usize>(args, 1), vec![7_u8; 1 << 16]);
    let mut file = std::fs::File::create(word(args, 0))?;
    while left > 0 {
        file.write_all(&block)?;
        left = left.saturating_sub(block.len());
    }
    Ok(String::new())
}

pub fn open_files(args: &[String]) -> Outcome {
    let mut open = Vec::new();
    for _ in 0..number::<usize>(args, 0) {
        open.push(std::fs::File::open("/dev/null")?);
    }
    Ok(String::new())
}

/// As much of the processors as there is, until it is ended.
pub fn spin(args: &[String]) -> Outcome {
    for _ in 1..number::<usize>(args, 0) {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    println!("spinning");
    loop {
        std::hint::spin_loop();
    }
}
