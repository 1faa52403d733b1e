//! Makes in the workspace what a guest changed in a review.
//!
//! INVARIANT (nothing outside the workspace): every directory is opened from the workspace's own, beneath it, through no
//! symbolic link; what is made, replaced or removed is a name in a directory that was opened so.

use super::{Change, ChangeKind, Review, changed, look, mounted};
use policy::InFlight;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fchmod, fchown, fstat, mkdirat, open, openat, openat2,
    renameat, statat, symlinkat, syncfs, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a file is called until it is whole. Nothing else may have that name.
const UNFINISHED: &str = ".cofferdam-keep";
/// Permission bits that are kept: what a guest makes runs as nobody else.
const MODE_KEPT: u32 = 0o777;

/// Why not everything was kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It is not what was reviewed. Nothing was done.
    #[error("the changes are not those that were reviewed")]
    Altered,
    /// They cannot be read. Nothing was done.
    #[error("the changes cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// Other file systems are mounted in the workspace. Nothing was done.
    #[error("`{}` is mounted in the workspace, and changes may be of what it hides", .0.display())]
    Mounted(PathBuf),
    /// Some may be made, this one and those after it not.
    #[error("`{}`: {error}", path.display())]
    Failed {
        /// The first that was not made.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// Makes all of `reviewed`, which is below `review`, in `workspace`, in the order of paths. Pipes and sockets are left
/// out, and so are bits that would let a file run as its owner.
///
/// # Errors
/// See [`KeepError`].
pub fn keep(flight: &InFlight, review: &Path, reviewed: &Review, workspace: &Path) -> Result<(), KeepError> {
    let found = look(review).map_err(KeepError::Unreadable)?;
    if found != *reviewed {
        return Err(KeepError::Altered);
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| KeepError::Failed { path, error }
    };
    if let Some(mounted) = mounted(workspace)
        .map_err(KeepError::Unreadable)?
        .into_iter()
        .next()
    {
        return Err(KeepError::Mounted(mounted));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(workspace, flags, Mode::empty()).map_err(|error| failed(workspace)(error.into()))?;
    for change in &found.changes {
        let made = match flight.cancel().is_cancelled() {
            true => Err(io::Error::other("it was stopped")),
            false => make(&root, &changed(review, change), change),
        };
        made.map_err(failed(&change.path))?;
    }
    // Their own rights last: some let nobody make anything in them.
    let is_directory = |change: &&Change| matches!(change.kind, ChangeKind::Directory | ChangeKind::Replaced);
    for change in found.changes.iter().rev().filter(is_directory) {
        close(&root, &changed(review, change), change).map_err(failed(&change.path))?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let synced = openat(&root, ".", flags, Mode::empty()).and_then(syncfs);
    synced.map_err(|error| failed(workspace)(error.into()))
}

fn make(root: &OwnedFd, from: &Path, change: &Change) -> io::Result<()> {
    let name = change.path.file_name().ok_or(Errno::INVAL)?;
    let place = beneath(root, change.path.parent().unwrap_or(Path::new("")))?;
    match change.kind {
        ChangeKind::Removed => clear(&place, name),
        ChangeKind::Written => write(&place, name, from),
        ChangeKind::Link => {
            clear(&place, name)?;
            Ok(symlinkat(fs::read_link(from)?, &place, name)?)
        }
        ChangeKind::Replaced => {
            clear(&place, name)?;
            directory(&place, name)
        }
        ChangeKind::Directory => directory(&place, name),
        ChangeKind::Other => Ok(()),
    }
}

/// A directory below the workspace's.
fn beneath(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    openat2(root, path, flags, Mode::empty(), resolve)
}

fn kind(place: &OwnedFd, name: &OsStr) -> rustix::io::Result<Option<FileType>> {
    match statat(place, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes what has this name, if anything has.
fn clear(place: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match kind(place, name)? {
        None => Ok(()),
        // It follows no link on its way down.
        Some(FileType::Directory) => {
            fs::remove_dir_all(Path::new(&format!("/proc/self/fd/{}", place.as_raw_fd())).join(name))
        }
        Some(_) => Ok(unlinkat(place, name, AtFlags::empty())?),
    }
}

/// Whole at once, under its name.
fn write(place: &OwnedFd, name: &OsStr, from: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    if kind(place, name)? == Some(FileType::Directory) {
        clear(place, name)?;
    }
    let unfinished = OsStr::new(UNFINISHED);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut target = File::from(openat(place, unfinished, flags, Mode::RUSR | Mode::WUSR)?);
    let written = io::copy(&mut source, &mut target)
        .and_then(|_| like(&target, &fs::symlink_metadata(from)?))
        .and_then(|()| Ok(renameat(place, unfinished, place, name)?));
    if written.is_err() {
        let _ = unlinkat(place, unfinished, AtFlags::empty());
    }
    written
}

/// There, and open to us until all in it is made.
fn directory(place: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match kind(place, name)? {
        Some(FileType::Directory) => {}
        found => {
            if found.is_some() {
                clear(place, name)?;
            }
            mkdirat(place, name, Mode::RWXU)?;
        }
    }
    let made = opened(place, name)?;
    let mode = Mode::from_raw_mode(fstat(&made)?.st_mode & 0o7777) | Mode::RWXU;
    Ok(fchmod(&made, mode)?)
}

/// The rights that a directory was given.
fn close(root: &OwnedFd, from: &Path, change: &Change) -> io::Result<()> {
    let name = change.path.file_name().ok_or(Errno::INVAL)?;
    let place = beneath(root, change.path.parent().unwrap_or(Path::new("")))?;
    like(&opened(&place, name)?, &fs::symlink_metadata(from)?)
}

fn opened(place: &OwnedFd, name: &OsStr) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(place, name, flags, Mode::empty()).map(File::from)
}

/// The mode, and the owner where he is another.
fn like(made: &File, from: &fs::Metadata) -> io::Result<()> {
    let found = fstat(made)?;
    if (found.st_uid, found.st_gid) != (from.uid(), from.gid()) {
        let owner = rustix::process::Uid::from_raw(from.uid());
        fchown(
            made,
            Some(owner),
            Some(rustix::process::Gid::from_raw(from.gid())),
        )?;
    }
    Ok(fchmod(made, Mode::from_raw_mode(from.mode() & MODE_KEPT))?)
}
