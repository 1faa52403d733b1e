//! Steps for Landlock: a second wall for files and TCP, by another part of the kernel than mounts and network namespaces
//! are. What is the same for every guest is told to the kernel ahead of time.

use super::{House, mounts};
use crate::rules;
use crate::spec::{Part, Profile};
use crate::step::Cause;
use ::landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};
use rustix::fs::{FileType, fstat};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is handled: files, TCP, scopes.
type Handled = (bool, bool, bool);

/// A ruleset that knows the system already, and what it was told of.
pub(super) struct Prepared {
    handled: Handled,
    ruleset: RulesetCreated,
    account: rules::Landlock,
}

/// Before the root is one: paths begin where it is put together. Rules are of files, whatever leads to them.
pub(super) fn prepare(house: &mut House) -> Result<(), Cause> {
    // Without a root of its own, what is shown is where it was.
    let wanted = [
        Part::Root,
        Part::LandlockFiles,
        Part::LandlockTcp,
        Part::LandlockScopes,
    ];
    if wanted.iter().all(|part| house.builds(*part)) && house.landlock_abi > 0 {
        house.prepared = Some(begin(house, (true, true, true), Path::new("."))?);
    }
    Ok(())
}

/// A second wall.
pub(super) fn restrict(house: &mut House) -> Result<(), Cause> {
    let files = house.builds(Part::LandlockFiles);
    // Test suites talk to servers of their own, at ports that nobody knows before.
    let tcp = house.builds(Part::LandlockTcp) && house.spec()?.profile != Profile::Build;
    let handled = (files, tcp, house.builds(Part::LandlockScopes));
    if handled == (false, false, false) {
        return Ok(());
    }
    let prepared = house
        .prepared
        .take()
        .filter(|prepared| prepared.handled == handled);
    let Prepared {
        mut ruleset,
        mut account,
        ..
    } = match prepared {
        Some(prepared) => prepared,
        None => begin(house, handled, Path::new("/"))?,
    };
    if files {
        ruleset = add_own(house, ruleset, &mut account)?;
    }
    if tcp {
        let doors = house.spec()?.doors.clone();
        for port in &doors {
            let rule = NetPort::new(*port, AccessNet::ConnectTcp);
            ruleset = ruleset.add_rule(rule).map_err(|e| Cause(e.to_string()))?;
        }
        account.connects = Some(doors);
    }
    if handled.2 {
        account.scopes = ["abstract unix sockets", "signals"].map(str::to_owned).into();
    }
    ruleset.restrict_self().map_err(|e| Cause(e.to_string()))?;
    house.rules.landlock = Some(account);
    Ok(())
}

/// The system, which is read and executed, and its devices; `root` is where the guest's root is.
fn begin(house: &House, handled: Handled, root: &Path) -> Result<Prepared, Cause> {
    let abi = abi(house.landlock_abi);
    let mut account = rules::Landlock {
        abi: house.landlock_abi,
        ..rules::Landlock::default()
    };
    let ruleset = handles(abi, handled).and_then(Ruleset::create);
    let mut ruleset = ruleset.map_err(|e| Cause(e.to_string()))?;
    if handled.0 {
        let mut device = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile});
        if abi >= ABI::V5 {
            device |= AccessFs::IoctlDev;
        }
        // All of an image: only its author knows where what is.
        let shown: Vec<String> = match house.contained {
            true => vec!["/".to_owned()],
            false => mounts::shown().collect(),
        };
        let (reads, devices);
        (ruleset, reads) = add(ruleset, abi, root, shown, AccessFs::from_read(abi))?;
        (ruleset, devices) = add(ruleset, abi, root, ["/dev".to_owned()], device)?;
        (account.reads, account.writes) = (Some(reads), Some(devices));
        // Its own root has no names that it may not know. That of the machine has.
        if house.builds(Part::Root) {
            let list = make_bitflags!(AccessFs::{ReadDir});
            (ruleset, account.lists) = add(ruleset, abi, root, ["/".to_owned()], list)?;
        }
    }
    Ok(Prepared {
        handled,
        ruleset,
        account,
    })
}

/// What is named here is enforced or refused: nothing is enforced as far as possible.
fn handles(abi: ABI, (files, tcp, scopes): Handled) -> Result<Ruleset, RulesetError> {
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if files {
        ruleset = ruleset.handle_access(AccessFs::from_all(abi))?;
    }
    if tcp {
        ruleset = ruleset.handle_access(make_bitflags!(AccessNet::{BindTcp | ConnectTcp}))?;
    }
    if scopes {
        ruleset = ruleset.scope(make_bitflags!(Scope::{AbstractUnixSocket | Signal}))?;
    }
    Ok(ruleset)
}

/// The newest version that both this program and the kernel know.
fn abi(kernel: u32) -> ABI {
    match kernel {
        0 => ABI::Unsupported,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        6 => ABI::V6,
        7 => ABI::V7,
        8 => ABI::V8,
        _ => ABI::V9,
    }
}

/// The same as the mounts say, said again: what may be read besides is read and executed, the workspace and what is in
/// memory is written.
fn add_own(
    house: &House,
    ruleset: RulesetCreated,
    account: &mut rules::Landlock,
) -> Result<RulesetCreated, Cause> {
    let (spec, abi) = (house.spec()?, abi(house.landlock_abi));
    let root = house.builds(Part::Root);
    let binds = spec
        .reads
        .iter()
        .map(|b| if root { &b.target } else { &b.source });
    let mut reads = BTreeSet::from(["/proc".to_owned()]);
    reads.extend(binds.map(|p| p.display().to_string()));
    let workspace = if root { &spec.workspace_at } else { &spec.workspace };
    let mut writes = BTreeSet::from([workspace.display().to_string()]);
    if root {
        writes.extend(["/tmp", "/home", "/dev/shm"].map(str::to_owned));
    }
    // Nothing here has `CAP_MKNOD` anyway.
    let write = AccessFs::from_all(abi) & !make_bitflags!(AccessFs::{MakeChar | MakeBlock});
    let (ruleset, read) = add(ruleset, abi, Path::new("/"), reads, AccessFs::from_read(abi))?;
    let (ruleset, written) = add(ruleset, abi, Path::new("/"), writes, write)?;
    account.reads.get_or_insert_default().extend(read);
    account.writes.get_or_insert_default().extend(written);
    Ok(ruleset)
}

/// Rules for those of `paths`, below `root`, that are there.
fn add(
    mut ruleset: RulesetCreated,
    abi: ABI,
    root: &Path,
    paths: impl IntoIterator<Item = String>,
    access: BitFlags<AccessFs>,
) -> Result<(RulesetCreated, BTreeSet<String>), Cause> {
    let mut there = BTreeSet::new();
    for path in paths {
        let at: PathBuf = root.join(path.strip_prefix('/').unwrap_or(&path));
        // Not every distribution has every path.
        let Ok(fd) = PathFd::new(&at) else { continue };
        let directory = FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Directory;
        // A rule about a file that is no directory may speak of files alone.
        let access = if directory {
            access
        } else {
            access & AccessFs::from_file(abi)
        };
        ruleset = ruleset
            .add_rule(PathBeneath::new(fd, access))
            .map_err(|e| Cause(format!("{path}: {e}")))?;
        there.insert(path);
    }
    Ok((ruleset, there))
}
