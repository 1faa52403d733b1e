//! One step of a runbook, and how it fails.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// A step that failed. Nothing ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("step {number} {name}: {cause}")]
pub struct StepFailure {
    /// Which step of the runbook; 0 is what the zygote does before.
    pub number: usize,
    /// What it was to do.
    pub name: String,
    /// What the system said, with the path or the limit that it was about.
    pub cause: String,
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause(pub String);

impl Cause {
    /// Says what an error was about.
    pub(crate) fn of<E: Into<Cause>>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Cause {
        move |e| Cause(format!("{what}: {}", e.into().0))
    }
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Cause {
        Cause(name(errno))
    }
}

impl From<std::io::Error> for Cause {
    fn from(error: std::io::Error) -> Cause {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Cause(error.to_string()),
        }
    }
}

/// The name that manuals know an error by.
pub(crate) fn name(errno: Errno) -> String {
    let names = [
        (Errno::PERM, "EPERM"),
        (Errno::NOENT, "ENOENT"),
        (Errno::IO, "EIO"),
        (Errno::TOOBIG, "E2BIG"),
        (Errno::NOEXEC, "ENOEXEC"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::ACCESS, "EACCES"),
        (Errno::BUSY, "EBUSY"),
        (Errno::EXIST, "EEXIST"),
        (Errno::NODEV, "ENODEV"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::INVAL, "EINVAL"),
        (Errno::NFILE, "ENFILE"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::ROFS, "EROFS"),
        (Errno::NAMETOOLONG, "ENAMETOOLONG"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::LOOP, "ELOOP"),
        (Errno::OVERFLOW, "EOVERFLOW"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
        (Errno::ADDRINUSE, "EADDRINUSE"),
        (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
    ];
    let known = names.iter().find(|(e, _)| *e == errno);
    known.map_or_else(
        || format!("errno {}", errno.raw_os_error()),
        |(_, name)| (*name).to_owned(),
    )
}
