//! Steps for files: a root with a list of things in it, and the workspace.
//!
//! Everything that is shown is first opened as a detached tree, where paths still mean what they mean outside, and
//! attached later. So a link that leads out of the new root, of which there are many in `/etc`, is no question.
//!
//! Invariants:
//! - **What is not on a list is not there**: no `/run`, no `/home`, no `/root`, no `/var`, no `/sys`, no `/boot`.
//! - **`nosuid` and `nodev` everywhere**, but for six devices that are bound one by one, which cannot execute.
//! - **The workspace alone is written to outside.**

use super::House;
use crate::protect;
use crate::rules::Mount;
use crate::spec::{Part, Profile};
use crate::step::Cause;
use crate::sys;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdir, open, statat, symlink};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
    move_mount, open_tree, unmount,
};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directories of the system, or links to such (merged `/usr`).
const SYSTEM: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// What programs look up and what holds no secret. Not `passwd` and `group`, which are made: who else has an account
/// is nobody's business. Not `resolv.conf`: there is no DNS.
#[rustfmt::skip]
const ETC: &[&str] = &[
    "alternatives", "crypto-policies", "fonts", "java-17-openjdk", "java-21-openjdk", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "os-release", "pki", "protocols", "python3",
    "python3.11", "python3.12", "python3.13", "services", "ssl/certs", "ssl/openssl.cnf", "terminfo",
];
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
/// Of `/proc`, what tells about the machine rather than about the guest's own processes (Docker's list, and more).
/// What root alone may read needs no mask: the guest is not root.
#[rustfmt::skip]
const MASKED: &[&str] = &[
    "acpi", "asound", "bus", "fs", "interrupts", "irq", "kallsyms", "key-users", "keys", "latency_stats", "modules",
    "sched_debug", "scsi", "timer_list", "timer_stats",
];
/// What a tmpfs may hold in files: the kernel's own default goes by the memory of the machine.
const INODES_MAX: &str = "1048576";
/// Where the new root is put together. A directory that every Linux has, in which nothing lies that is shown later.
const BUILD_AT: &str = "/proc";

/// Files of `/etc` that are made.
const MADE: &[&str] = &["passwd", "group", "hosts", "hostname", "resolv.conf"];

/// Every path that is the system's and can be read.
pub(super) fn shown() -> impl Iterator<Item = String> {
    let etc = ETC.iter().chain(MADE).map(|e| format!("/etc/{e}"));
    SYSTEM.iter().map(|s| (*s).to_owned()).chain(etc)
}

/// What was opened and is not attached yet: where it goes, what it is, and whether it is of the system.
#[derive(Default)]
pub(super) struct Shown(Vec<(String, OwnedFd)>);

/// Mounts made here do not appear outside, and those made outside later do not appear here.
pub(super) fn keep_private(house: &mut House) -> Result<(), Cause> {
    if !house.mounts {
        return Ok(());
    }
    house.rules.namespaces.insert("mount".to_owned());
    Ok(mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?)
}

/// Opens what is shown, while paths mean what they mean outside.
pub(super) fn collect(house: &mut House) -> Result<(), Cause> {
    if house.builds(Part::Root) {
        let etc = ETC.iter().map(|e| format!("/etc/{e}"));
        let system = SYSTEM.iter().map(|s| (*s).to_owned()).chain(etc);
        // Without a pid namespace there is no other than the one that is there.
        let proc = (!house.builds(Part::Processes)).then(|| "/proc".to_owned());
        for path in system
            .chain(proc)
            .chain(DEVICES.iter().map(|d| format!("/dev/{d}")))
        {
            let is_link = fs::symlink_metadata(&path).is_ok_and(|m| m.is_symlink());
            if is_link && SYSTEM.contains(&path.as_str()) {
                // Made as a link inside too, so that both names are one file.
                continue;
            }
            match tree(&path) {
                Ok(tree) => house.shown.0.push((path, tree)),
                Err(Errno::NOENT | Errno::ACCESS) => (),
                Err(e) => return Err(Cause::of(path)(e)),
            }
        }
    }
    Ok(())
}

/// Where nobody opened these for this process: its user can see what it may see.
pub(super) fn collect_own(house: &mut House) -> Result<(), Cause> {
    if house.mounts && !house.claim()?.trees {
        // Nobody opened these for us: this user can see what it may see.
        let spec = house.spec()?;
        let paths = std::iter::once(&spec.workspace).chain(spec.reads.iter().map(|b| &b.source));
        let review = spec.review.iter();
        let trees: Result<Vec<_>, _> = paths
            .chain(review)
            .map(|p| tree(p).map_err(Cause::of(p.display())))
            .collect();
        house.trees = trees?;
        for tree in &house.trees {
            nosuid(tree.as_fd(), 0)?;
        }
    }
    Ok(())
}

fn tree(path: impl AsRef<Path>) -> Result<OwnedFd, Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path.as_ref(), flags)
}

/// `nosuid,nodev`, and what else is said, of a tree and all below it.
fn nosuid(tree: BorrowedFd<'_>, besides: u64) -> Result<(), Errno> {
    sys::set_mount_attributes(
        tree,
        true,
        libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | besides,
        None,
    )
}

/// An empty file system in memory, where this process is from now on, and where all paths of the next steps begin.
pub(super) fn new_root(house: &mut House) -> Result<(), Cause> {
    if !house.builds(Part::Root) {
        return Ok(());
    }
    let root = tmpfs(house, "16777216", "755", MountAttrFlags::empty())?;
    attach(root.as_fd(), Path::new(BUILD_AT)).map_err(Cause::of(BUILD_AT))?;
    rustix::process::chdir(BUILD_AT)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    note(house, "/", "tmpfs", &["ro", "nosuid", "nodev", "16777216 bytes"]);
    Ok(())
}

/// A file system in memory, owned by the guest's user.
fn tmpfs(house: &House, bytes: &str, mode: &str, besides: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "size", bytes)?;
    fsconfig_set_string(fs.as_fd(), "nr_inodes", INODES_MAX)?;
    fsconfig_set_string(fs.as_fd(), "mode", mode)?;
    fsconfig_set_string(fs.as_fd(), "uid", house.uid.to_string())?;
    fsconfig_set_string(fs.as_fd(), "gid", house.gid.to_string())?;
    fsconfig_create(fs.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | besides;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn attach(tree: BorrowedFd<'_>, at: &Path) -> Result<(), Errno> {
    move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn note(house: &mut House, at: &str, of: &str, options: &[&str]) {
    house.rules.mounts.push(Mount {
        at: at.to_owned(),
        of: of.to_owned(),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
    });
}

/// Where a path of the guest is while its root is put together.
fn inside(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    PathBuf::from(".").join(path.strip_prefix("/").unwrap_or(path))
}

/// Something to mount `tree` on: a directory for a directory, a file for anything else.
fn place_for(tree: BorrowedFd<'_>, at: &Path) -> Result<(), Cause> {
    let kind = FileType::from_raw_mode(statat(tree, "", AtFlags::EMPTY_PATH)?.st_mode);
    let make = || match kind {
        FileType::Directory => mkdir(at, Mode::from_raw_mode(0o755)),
        _ => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::WRONLY;
            open(at, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    let made = match (make(), at.parent()) {
        (Err(Errno::NOENT), Some(parent)) => {
            fs::create_dir_all(parent).map_err(Cause::of(parent.display()))?;
            make()
        }
        (made, _) => made,
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(Cause::of(at.display())(e)),
    }
}

/// What was collected, read-only; and a few files of `/etc` that say who the guest is.
pub(super) fn show_system(house: &mut House) -> Result<(), Cause> {
    if !house.builds(Part::Root) {
        return Ok(());
    }
    for path in SYSTEM {
        if let Ok(target) = fs::read_link(path) {
            symlink(target, inside(path)).map_err(Cause::of(path))?;
        }
    }
    let (shown, devices): (Vec<_>, Vec<_>) = std::mem::take(&mut house.shown.0)
        .into_iter()
        .partition(|(p, _)| !p.starts_with("/dev/") && p != "/proc");
    house.shown.0 = devices;
    for (path, tree) in shown {
        nosuid(tree.as_fd(), libc::MOUNT_ATTR_RDONLY).map_err(Cause::of(&path))?;
        place_for(tree.as_fd(), &inside(&path))?;
        attach(tree.as_fd(), &inside(&path)).map_err(Cause::of(&path))?;
        note(house, &path, &path, &["ro", "nosuid", "nodev"]);
    }
    make_etc(house)
}

/// Who the guest is, and that it is alone.
fn make_etc(house: &House) -> Result<(), Cause> {
    fs::create_dir_all("./etc")?;
    let (uid, gid) = (house.uid, house.gid);
    for name in MADE {
        let text = match *name {
            "passwd" => format!(
                "guest:x:{uid}:{gid}:guest:/home/guest:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            ),
            "group" => format!("guest:x:{gid}:\nnogroup:x:65534:\n"),
            "hosts" => "127.0.0.1 localhost cofferdam\n::1 localhost\n".to_owned(),
            "hostname" => "cofferdam\n".to_owned(),
            // There is no DNS.
            _ => String::new(),
        };
        fs::write(inside("/etc").join(name), text).map_err(Cause::of(name))?;
    }
    Ok(())
}

/// Six devices, and terminals of its own.
pub(super) fn make_dev(house: &mut House) -> Result<(), Cause> {
    if !house.builds(Part::Root) {
        return Ok(());
    }
    fs::create_dir_all("./dev/pts")?;
    fs::create_dir_all("./dev/shm")?;
    for (path, device) in std::mem::take(&mut house.shown.0) {
        // `nodev` would close it, and a device executes nothing.
        let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
        sys::set_mount_attributes(device.as_fd(), true, attributes, None).map_err(Cause::of(&path))?;
        place_for(device.as_fd(), &inside(&path))?;
        attach(device.as_fd(), &inside(&path)).map_err(Cause::of(&path))?;
        note(house, &path, &path, &["nosuid", "noexec"]);
    }
    for (to, name) in [
        ("fd", "fd"),
        ("fd/0", "stdin"),
        ("fd/1", "stdout"),
        ("fd/2", "stderr"),
    ] {
        symlink(format!("/proc/self/{to}"), format!("./dev/{name}"))?;
    }
    let terminals = fsopen("devpts", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_flag(terminals.as_fd(), "newinstance")?;
    fsconfig_set_string(terminals.as_fd(), "ptmxmode", "0666")?;
    fsconfig_set_string(terminals.as_fd(), "mode", "0620")?;
    fsconfig_create(terminals.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let terminals = fsmount(terminals.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    attach(terminals.as_fd(), Path::new("./dev/pts")).map_err(Cause::of("/dev/pts"))?;
    symlink("pts/ptmx", "./dev/ptmx")?;
    note(house, "/dev/pts", "devpts", &["newinstance", "nosuid", "noexec"]);
    Ok(())
}

/// Its own processes, and the little about the machine that runtimes of languages ask for.
pub(super) fn mount_proc(house: &mut House) -> Result<(), Cause> {
    if !house.builds(Part::Root) {
        return Ok(());
    }
    mkdir("./proc", Mode::from_raw_mode(0o555))?;
    let of_this_machine = house.shown.0.iter().position(|(path, _)| path == "/proc");
    if let Some(at) = of_this_machine {
        let (_, proc) = house.shown.0.swap_remove(at);
        nosuid(proc.as_fd(), 0)?;
        attach(proc.as_fd(), Path::new("./proc"))?;
        note(house, "/proc", "/proc", &["rw", "nosuid", "nodev"]);
        return Ok(());
    }
    let proc = own_proc(&[("hidepid", "invisible")])?;
    attach(proc.as_fd(), Path::new("./proc"))?;
    note(
        house,
        "/proc",
        "proc",
        &["nosuid", "nodev", "noexec", "hidepid=invisible"],
    );
    mask_proc(house)
}

/// In `strict`, its own processes and nothing else.
pub(super) fn narrow_proc(house: &mut House) -> Result<(), Cause> {
    let built = house.builds(Part::Root) && house.builds(Part::Processes);
    if built && house.spec()?.profile == Profile::Strict {
        let proc = own_proc(&[("hidepid", "invisible"), ("subset", "pid")])?;
        attach(proc.as_fd(), Path::new("./proc"))?;
        note(
            house,
            "/proc",
            "proc",
            &["nosuid", "nodev", "noexec", "hidepid=invisible", "subset=pid"],
        );
    }
    Ok(())
}

fn own_proc(options: &[(&str, &str)]) -> Result<OwnedFd, Errno> {
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (option, value) in options {
        fsconfig_set_string(fs.as_fd(), *option, *value)?;
    }
    fsconfig_create(fs.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn mask_proc(house: &mut House) -> Result<(), Cause> {
    let kernel = tree("./proc/sys")?;
    nosuid(kernel.as_fd(), libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC)?;
    attach(kernel.as_fd(), Path::new("./proc/sys"))?;
    note(
        house,
        "/proc/sys",
        "/proc/sys",
        &["ro", "nosuid", "nodev", "noexec"],
    );
    for name in MASKED {
        let at = PathBuf::from("./proc").join(name);
        let mask = match fs::symlink_metadata(&at) {
            Ok(found) if found.is_dir() => {
                let flags = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC;
                tmpfs(house, "4096", "555", flags)?
            }
            Ok(found) if found.mode() & 0o004 != 0 => tree("/dev/null")?,
            _ => continue,
        };
        attach(mask.as_fd(), &at).map_err(Cause::of(at.display()))?;
        note(house, &format!("/proc/{name}"), "nothing", &[]);
    }
    Ok(())
}

/// What the guest may write and what is gone with it.
pub(super) fn mount_scratch(house: &mut House) -> Result<(), Cause> {
    if !house.builds(Part::Root) {
        return Ok(());
    }
    let limits = &house.spec()?.limits;
    let (none, noexec) = (MountAttrFlags::empty(), MountAttrFlags::MOUNT_ATTR_NOEXEC);
    let places = [
        ("/tmp", limits.tmp_bytes, "1777", none),
        ("/home/guest", limits.home_bytes, "700", none),
        ("/dev/shm", limits.tmp_bytes, "1777", noexec),
    ];
    for (path, bytes, mode, besides) in places {
        let bytes = bytes.to_string();
        let scratch = tmpfs(house, &bytes, mode, besides)?;
        fs::create_dir_all(inside(path)).map_err(Cause::of(path))?;
        attach(scratch.as_fd(), &inside(path)).map_err(Cause::of(path))?;
        let exec = if besides == noexec { "noexec" } else { "exec" };
        note(
            house,
            path,
            "tmpfs",
            &["rw", "nosuid", "nodev", exec, &format!("{bytes} bytes")],
        );
    }
    Ok(())
}

/// Before the workspace, whose links could lead the place to mount on elsewhere.
pub(super) fn show_reads(house: &mut House) -> Result<(), Cause> {
    let reads = house.spec()?.reads.clone();
    if !house.builds(Part::Root) {
        house.trees.truncate(1);
        return Ok(());
    }
    let trees: Vec<OwnedFd> = house.trees.drain(1..=reads.len()).collect();
    for (bind, tree) in reads.iter().zip(trees) {
        let path = bind.target.display().to_string();
        nosuid(tree.as_fd(), libc::MOUNT_ATTR_RDONLY).map_err(Cause::of(&path))?;
        place_for(tree.as_fd(), &inside(&bind.target))?;
        attach(tree.as_fd(), &inside(&bind.target)).map_err(Cause::of(&path))?;
        note(
            house,
            &path,
            &bind.source.display().to_string(),
            &["ro", "nosuid", "nodev"],
        );
    }
    Ok(())
}

/// The one place that is written to outside, or in a review, what is laid over it.
pub(super) fn mount_workspace(house: &mut House) -> Result<(), Cause> {
    if !house.mounts {
        return Ok(());
    }
    let (source, review) = (house.spec()?.workspace.clone(), house.spec()?.review.clone());
    let at = workspace_at(house)?;
    let mut trees = std::mem::take(&mut house.trees).into_iter();
    let workspace = trees.next().ok_or_else(|| Cause("no workspace".to_owned()))?;
    if house.builds(Part::Root) {
        fs::create_dir_all(&at).map_err(Cause::of(at.display()))?;
    }
    let mut options = vec!["rw", "nosuid", "nodev"];
    match (&review, trees.next()) {
        (Some(_), Some(upper)) => {
            options.push("overlay");
            let laid_over = overlay(house, workspace.as_fd(), upper.as_fd())?;
            attach(laid_over.as_fd(), &at).map_err(Cause::of(at.display()))?;
        }
        (None, _) => attach(workspace.as_fd(), &at).map_err(Cause::of(at.display()))?,
        (Some(_), None) => return Err(Cause("no directory for the review".to_owned())),
    }
    if house.builds(Part::IdmappedWorkspace) {
        options.push("idmapped");
    }
    let shown_at = if house.builds(Part::Root) {
        house.spec()?.workspace_at.clone()
    } else {
        source.clone()
    };
    note(
        house,
        &shown_at.display().to_string(),
        &source.display().to_string(),
        &options,
    );
    Ok(())
}

/// Where the workspace is while the root is put together. Without a root of its own it is where it was.
fn workspace_at(house: &House) -> Result<PathBuf, Cause> {
    let spec = house.spec()?;
    Ok(if house.builds(Part::Root) {
        inside(&spec.workspace_at)
    } else {
        spec.workspace.clone()
    })
}

/// The workspace below, and a directory of the platform's above it that takes all changes.
fn overlay(house: &House, lower: BorrowedFd<'_>, upper: BorrowedFd<'_>) -> Result<OwnedFd, Cause> {
    if !house.builds(Part::Root) {
        return Err(Cause("a review needs a root of its own".to_owned()));
    }
    // Layers are named by paths, so they have to be somewhere while the overlay is made; it keeps them itself.
    let (below, above) = (Path::new("./.below"), Path::new("./.above"));
    for (tree, at) in [(lower, below), (upper, above)] {
        fs::create_dir(at)?;
        attach(tree, at)?;
    }
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let options = [
        ("lowerdir", ".below"),
        ("upperdir", ".above/changes"),
        ("workdir", ".above/work"),
    ];
    for (option, value) in options {
        fsconfig_set_string(fs.as_fd(), option, value).map_err(Cause::of(option))?;
    }
    // Marks of overlayfs as attributes that this user may set.
    fsconfig_set_flag(fs.as_fd(), "userxattr").map_err(Cause::of("userxattr"))?;
    fsconfig_create(fs.as_fd()).map_err(Cause::of("overlay"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let laid_over = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    for at in [below, above] {
        unmount(at, UnmountFlags::DETACH)?;
        fs::remove_dir(at)?;
    }
    Ok(laid_over)
}

/// Read-only mounts over what others run later. They hold until the guest's end, for it can neither unmount nor
/// rename what is mounted on.
pub(super) fn protect(house: &mut House) -> Result<(), Cause> {
    if !house.mounts || !house.builds(Part::Protected) {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let workspace = open(workspace_at(house)?, flags, Mode::empty())?;
    let found = protect::find(&workspace, house.spec()?.git)?;
    for (path, fd, read_only) in &found.there {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_EMPTY_PATH;
        let itself = open_tree(fd, "", flags).map_err(Cause::of(path))?;
        nosuid(
            itself.as_fd(),
            if *read_only { libc::MOUNT_ATTR_RDONLY } else { 0 },
        )?;
        // By path from the workspace, since what is deeper lies on a mount that was just made.
        let again = protect::reopen(&workspace, path).map_err(Cause::of(path))?;
        let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(itself.as_fd(), "", again.as_fd(), "", empty).map_err(Cause::of(path))?;
        if *read_only {
            house.rules.protected.push((*path).to_owned());
        }
    }
    house.rules.held_back = found.missing.iter().map(|p| (*p).to_owned()).collect();
    house.protected = found;
    Ok(())
}

/// Puts an empty directory over what of the platform lies in the workspace. A link on the way there is refused.
pub(super) fn hide(house: &mut House) -> Result<(), Cause> {
    let (hidden, outside) = (house.spec()?.hidden.clone(), house.spec()?.workspace.clone());
    if hidden.is_empty() {
        return Ok(());
    }
    if !house.mounts {
        return Err(Cause(
            "nothing can be hidden without mounts; choose another workspace".to_owned(),
        ));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let workspace = open(workspace_at(house)?, flags, Mode::empty())?;
    for path in hidden {
        let below = path.strip_prefix(&outside).unwrap_or(&path);
        let below = below
            .to_str()
            .ok_or_else(|| Cause("a path that is no text".to_owned()))?;
        let there = protect::reopen(&workspace, below).map_err(Cause::of(below))?;
        let none = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let empty = tmpfs(house, "4096", "0555", none).map_err(Cause::of(below))?;
        let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(empty.as_fd(), "", there.as_fd(), "", onto).map_err(Cause::of(below))?;
        let at = house.spec()?.workspace_at.join(below);
        note(
            house,
            &at.display().to_string(),
            "nothing",
            &["ro", "nosuid", "nodev", "noexec"],
        );
    }
    Ok(())
}

/// The new root becomes the root, and the old one is gone with all that was mounted in it.
pub(super) fn pivot(house: &mut House) -> Result<(), Cause> {
    house.protected.there.clear();
    if house.builds(Part::Root) {
        // Onto itself: the old root lies on top and is taken off, and no directory is needed for it.
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")?;
        let root = open(
            "/",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        sys::set_mount_attributes(root.as_fd(), false, libc::MOUNT_ATTR_RDONLY, None)?;
        rustix::process::chdir(&house.spec()?.workspace_at)?;
    } else {
        rustix::process::chdir(&house.spec()?.workspace)?;
    }
    Ok(())
}
