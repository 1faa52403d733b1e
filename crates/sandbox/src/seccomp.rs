//! The filter of system calls: which profile refuses what, as one program for the kernel.
//!
//! What is refused is handed to the zygote (`SECCOMP_RET_USER_NOTIF`), which knows the number of the call, lets it
//! fail and keeps the count. A signal (`SECCOMP_RET_TRAP`) would tell the guest alone, which can swallow it; an
//! error (`SECCOMP_RET_ERRNO`) would tell nobody.
//!
//! Invariants:
//! - **Nothing stopped is let through**: the zygote's answer is an error or the guest's end.
//! - **What is not known is refused**: numbers above the last known are absent, other architectures end the guest.
//! - **Arguments are judged where the kernel reads them**: in registers, at the width it reads. What is in memory
//!   is judged by nobody, so calls with flags there are absent.

mod condition;
mod lists;
pub(crate) mod names;
mod oci;
pub(crate) mod stopped;

pub(crate) use oci::profile as oci_profile;

use crate::spec::Profile;
use condition::{Rule, each_bit, eq, masked, ne};
use rustix::io::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, sock_filter};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What the filter of a guest is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Its profile.
    pub profile: Profile,
    /// SHA-256 of the program that the kernel runs, in hexadecimal.
    pub digest: String,
    /// Calls that are refused, whatever their arguments.
    pub refused: Vec<String>,
    /// Calls that are refused with some arguments, and with which.
    pub guarded: BTreeMap<String, String>,
    /// Calls that the guest is told do not exist.
    pub absent: Vec<String>,
    /// The only calls that are allowed, in `strict`; in the others everything else that is known is.
    pub allowed: Option<Vec<String>>,
    /// Whether the first refused call ends the guest.
    pub ends: bool,
}

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
#[error("cannot build the filter of system calls: {0}")]
pub struct FilterError(String);

impl From<seccompiler::BackendError> for FilterError {
    fn from(error: seccompiler::BackendError) -> FilterError {
        FilterError(error.to_string())
    }
}

/// The program of a profile, and its account.
pub(crate) fn build(profile: Profile) -> Result<(Vec<libc::sock_filter>, Filter), FilterError> {
    let guarded = guarded(profile);
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = numbers(lists::DENIED);
    for (name, _, rules) in &guarded {
        if let Some(number) = names::number(name) {
            let rules = rules.iter().map(Rule::for_the_kernel);
            refused.insert(number, rules.collect::<Result<_, _>>()?);
        }
    }
    let mut parts = vec![
        unknown()?,
        compile(
            numbers(lists::ABSENT),
            SeccompAction::Allow,
            SeccompAction::Errno(ENOSYS),
        )?,
        compile(refused, SeccompAction::Allow, SeccompAction::Trap)?,
    ];
    let strict = profile == Profile::Strict;
    if strict {
        let allowed = numbers(lists::STRICT)
            .into_iter()
            .chain(numbers(lists::STRICT_GUARDED));
        parts.push(compile(
            allowed.collect(),
            SeccompAction::Trap,
            SeccompAction::Allow,
        )?);
    }
    let program = told(link(parts)?);
    let known = |list: &[&str]| -> Vec<String> {
        let known = list.iter().filter(|n| names::number(n).is_some());
        known.map(|n| (*n).to_owned()).collect()
    };
    let account = Filter {
        profile,
        digest: digest(&program),
        refused: known(lists::DENIED),
        guarded: guarded
            .iter()
            .map(|(n, why, _)| ((*n).to_owned(), (*why).to_owned()))
            .collect(),
        absent: known(lists::ABSENT),
        allowed: strict.then(|| known(lists::STRICT)),
        ends: strict,
    };
    Ok((program, account))
}

const ENOSYS: u32 = libc::ENOSYS as u32;
const EVERY_NAMESPACE: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

type Guarded = (&'static str, &'static str, Vec<Rule>);

/// Calls whose arguments decide. Each rule is a conjunction; one that holds refuses the call.
fn guarded(profile: Profile) -> Vec<Guarded> {
    let mut found: Vec<Guarded> = vec![
        // `clone(2)` has its flags in a register, and ignores CLONE_NEWTIME.
        ("clone", "new namespaces", each_bit(0, EVERY_NAMESPACE, &[])),
        // The kernel reads 32 bits of the request: a comparison of 64 would be passed by a bit above them.
        (
            "ioctl",
            "TIOCSTI and TIOCLINUX, which type into the terminal of whoever started the guest",
            vec![
                Rule::of(&[eq(1, libc::TIOCSTI as u32)]),
                Rule::of(&[eq(1, libc::TIOCLINUX as u32)]),
            ],
        ),
        (
            "personality",
            "all but asking for it",
            vec![Rule::of(&[ne(0, 0), ne(0, 0xffff_ffff)])],
        ),
        ("socket", SOCKETS, sockets(profile)),
        (
            "socketpair",
            "families other than AF_UNIX",
            vec![Rule::of(&[ne(0, UNIX)])],
        ),
    ];
    // A file of the workspace belongs to its owner outside, where the mount's nosuid does not hold.
    for (name, mode) in [
        ("chmod", 1),
        ("fchmod", 1),
        ("fchmodat", 2),
        ("fchmodat2", 2),
        ("creat", 1),
        ("mknod", 1),
        ("mknodat", 2),
    ] {
        found.push((name, "set-user-id and set-group-id", each_bit(mode, SETID, &[])));
    }
    for (name, flags) in [("open", 1), ("openat", 2)] {
        // Without either flag the mode is whatever was left in the register.
        let made = masked(flags, libc::O_CREAT as u32, libc::O_CREAT as u32);
        let unnamed = masked(flags, O_TMPFILE_ALONE, O_TMPFILE_ALONE);
        let mut rules = each_bit(flags + 1, SETID, &[made]);
        rules.extend(each_bit(flags + 1, SETID, &[unnamed]));
        found.push((name, "set-user-id and set-group-id", rules));
    }
    found
}

const SOCKETS: &str = "families other than AF_UNIX, AF_INET, AF_INET6 and NETLINK_ROUTE; raw sockets and \
                       protocols other than TCP and UDP; in strict UDP too";
const SETID: u32 = libc::S_ISUID | libc::S_ISGID;
/// `O_TMPFILE` without the bit that it shares with `O_DIRECTORY`.
const O_TMPFILE_ALONE: u32 = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
const UNIX: u32 = libc::AF_UNIX as u32;
const INET: u32 = libc::AF_INET as u32;
const INET6: u32 = libc::AF_INET6 as u32;
const NETLINK: u32 = libc::AF_NETLINK as u32;
/// `SOCK_TYPE_MASK`: the rest are flags.
const TYPE: u32 = 0xf;

fn sockets(profile: Profile) -> Vec<Rule> {
    let mut rules = vec![
        Rule::of(&[ne(0, UNIX), ne(0, INET), ne(0, INET6), ne(0, NETLINK)]),
        // NETLINK_ROUTE is 0: what `getaddrinfo` and `getifaddrs` ask.
        Rule::of(&[eq(0, NETLINK), ne(2, 0)]),
    ];
    for family in [INET, INET6] {
        let raw = masked(1, TYPE, libc::SOCK_RAW as u32);
        rules.push(Rule::of(&[eq(0, family), raw]));
        let (tcp, udp) = (libc::IPPROTO_TCP as u32, libc::IPPROTO_UDP as u32);
        // Among others MPTCP and SCTP, of which Landlock knows nothing.
        rules.push(Rule::of(&[eq(0, family), ne(2, 0), ne(2, tcp), ne(2, udp)]));
        if profile == Profile::Strict {
            let datagram = masked(1, TYPE, libc::SOCK_DGRAM as u32);
            rules.push(Rule::of(&[eq(0, family), datagram]));
        }
    }
    rules
}

fn numbers(list: &[&str]) -> BTreeMap<i64, Vec<SeccompRule>> {
    list.iter()
        .filter_map(|name| Some((names::number(name)?, Vec::new())))
        .collect()
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    on_match: SeccompAction,
) -> Result<BpfProgram, FilterError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, otherwise, on_match, architecture)?.try_into()?)
}

/// Instructions of the kernel's filter machine, as `linux/bpf_common.h` numbers them.
mod op {
    pub(super) const LOAD_WORD: u16 = 0x20;
    pub(super) const JUMP: u16 = 0x05;
    pub(super) const JUMP_IF_AT_LEAST: u16 = 0x35;
    pub(super) const RETURN: u16 = 0x06;
}

/// Calls of x32 end the guest, numbers that nobody here has heard of are absent.
fn unknown() -> Result<BpfProgram, FilterError> {
    /// `__X32_SYSCALL_BIT`.
    const X32: u32 = 0x4000_0000;
    let last = names::all().map(|(_, number)| number).max().unwrap_or(0);
    let last = u32::try_from(last).map_err(|e| FilterError(e.to_string()))?;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    Ok(vec![
        // The number is the first word of `struct seccomp_data`.
        step(op::LOAD_WORD, 0, 0, 0),
        step(op::JUMP_IF_AT_LEAST, 0, 1, X32),
        step(op::RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(op::JUMP_IF_AT_LEAST, 0, 1, last + 1),
        step(op::RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | ENOSYS),
        step(op::RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ])
}

/// One program out of several: what a part allows, the next one judges. One program, because a process has one
/// listener, and what another program hands over without one is absent instead of told.
fn link(parts: Vec<BpfProgram>) -> Result<BpfProgram, FilterError> {
    let mut linked = Vec::new();
    let last = parts.len().saturating_sub(1);
    for (at, mut part) in parts.into_iter().enumerate() {
        let length = part.len();
        if at < last {
            for (position, step) in part.iter_mut().enumerate() {
                if step.code == op::RETURN && step.k == libc::SECCOMP_RET_ALLOW {
                    let over =
                        u32::try_from(length - 1 - position).map_err(|e| FilterError(e.to_string()))?;
                    *step = sock_filter {
                        code: op::JUMP,
                        jt: 0,
                        jf: 0,
                        k: over,
                    };
                }
            }
        }
        linked.extend(part);
    }
    Ok(linked)
}

/// `seccompiler` knows no notifications: what it traps is told.
fn told(program: BpfProgram) -> Vec<libc::sock_filter> {
    let told = |step: &sock_filter| step.code == op::RETURN && step.k == libc::SECCOMP_RET_TRAP;
    let steps = program.into_iter().map(|s| libc::sock_filter {
        code: s.code,
        jt: s.jt,
        jf: s.jf,
        k: if told(&s) {
            libc::SECCOMP_RET_USER_NOTIF
        } else {
            s.k
        },
    });
    steps.collect()
}

fn digest(program: &[libc::sock_filter]) -> String {
    let mut hash = Sha256::new();
    for step in program {
        hash.update(step.code.to_le_bytes());
        hash.update([step.jt, step.jf]);
        hash.update(step.k.to_le_bytes());
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// What a refused call fails with.
pub(crate) const REFUSED: Errno = Errno::PERM;

#[cfg(test)]
mod tests;
