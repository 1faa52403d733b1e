//! The programs, run by a machine of our own: what each profile says to calls and their arguments.

use super::*;

const UNIX: u64 = super::UNIX as u64;
const INET: u64 = super::INET as u64;
const INET6: u64 = super::INET6 as u64;
const NETLINK: u64 = super::NETLINK as u64;

/// What the kernel would do with a call: the instructions that our programs are made of, and no others.
fn run(program: &[libc::sock_filter], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(arch.to_le_bytes());
    data.extend(0_u64.to_le_bytes());
    args.iter().for_each(|a| data.extend(a.to_le_bytes()));
    let (mut at, mut a) = (0, 0_u32);
    loop {
        let step = program[at];
        at += 1;
        let k = step.k;
        let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
        match step.code {
            0x20 => a = u32::from_le_bytes(data[k as usize..k as usize + 4].try_into().unwrap()),
            0x54 => a &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(a == k),
            0x25 => at += jump(a > k),
            0x35 => at += jump(a >= k),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn own_arch() -> u32 {
    if cfg!(target_arch = "x86_64") {
        0xc000_003e
    } else {
        0xc000_00b7
    }
}

fn verdict(profile: Profile, call: &str, args: [u64; 6]) -> &'static str {
    let (program, _) = build(profile).unwrap();
    let number = names::number(call).unwrap();
    said(run(&program, own_arch(), u32::try_from(number).unwrap(), args))
}

fn said(action: u32) -> &'static str {
    match action {
        libc::SECCOMP_RET_ALLOW => "allowed",
        libc::SECCOMP_RET_USER_NOTIF => "told",
        libc::SECCOMP_RET_KILL_PROCESS => "killed",
        a if a == libc::SECCOMP_RET_ERRNO | ENOSYS => "absent",
        _ => "?",
    }
}

#[test]
fn calls_by_profile() {
    let garbage = u64::MAX << 32;
    #[rustfmt::skip]
    let table: &[(&str, [u64; 6], &str, &str)] = &[
        // call         arguments                            strict     standard and build
        ("read",        [0; 6],                              "allowed", "allowed"),
        ("execve",      [0; 6],                              "allowed", "allowed"),
        ("ptrace",      [0; 6],                              "told",    "told"),
        ("io_uring_setup", [0; 6],                           "told",    "told"),
        ("bpf",         [0; 6],                              "told",    "told"),
        ("mq_open",     [0; 6],                              "told",    "allowed"),
        ("clone3",      [0; 6],                              "absent",  "absent"),
        ("openat2",     [0; 6],                              "absent",  "absent"),
        ("clone",       [libc::CLONE_THREAD as u64, 0, 0, 0, 0, 0], "allowed", "allowed"),
        ("clone",       [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0], "told", "told"),
        ("clone",       [(libc::CLONE_VM | libc::CLONE_NEWNET) as u64, 0, 0, 0, 0, 0], "told", "told"),
        ("ioctl",       [0, libc::TCGETS, 0, 0, 0, 0], "allowed", "allowed"),
        ("ioctl",       [0, libc::TIOCSTI, 0, 0, 0, 0], "told",  "told"),
        ("ioctl",       [0, libc::TIOCSTI | garbage, 0, 0, 0, 0], "told", "told"),
        ("ioctl",       [0, libc::TIOCLINUX, 0, 0, 0, 0], "told", "told"),
        ("personality", [0xffff_ffff, 0, 0, 0, 0, 0],        "allowed", "allowed"),
        ("personality", [0x0040_0000, 0, 0, 0, 0, 0],        "told",    "told"),
        ("fchmodat",    [0, 0, 0o755, 0, 0, 0],              "allowed", "allowed"),
        ("fchmodat",    [0, 0, 0o4755, 0, 0, 0],             "told",    "told"),
        ("fchmod",      [0, 0o2755, 0, 0, 0, 0],             "told",    "told"),
        ("openat",      [0, 0, 0, 0o6777, 0, 0],             "allowed", "allowed"),
        ("openat",      [0, 0, libc::O_CREAT as u64, 0o644, 0, 0], "allowed", "allowed"),
        ("openat",      [0, 0, libc::O_CREAT as u64, 0o4755, 0, 0], "told", "told"),
        ("openat",      [0, 0, libc::O_TMPFILE as u64, 0o4755, 0, 0], "told", "told"),
        ("openat",      [0, 0, libc::O_DIRECTORY as u64, 0o4755, 0, 0], "allowed", "allowed"),
        ("socket",      [UNIX, libc::SOCK_STREAM as u64, 0, 0, 0, 0], "allowed", "allowed"),
        ("socket",      [INET, libc::SOCK_STREAM as u64, 6, 0, 0, 0], "allowed", "allowed"),
        ("socket",      [INET6, (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as u64, 0, 0, 0, 0], "allowed", "allowed"),
        ("socket",      [INET, libc::SOCK_DGRAM as u64, 17, 0, 0, 0], "told", "allowed"),
        ("socket",      [INET, libc::SOCK_DGRAM as u64, 1, 0, 0, 0], "told", "told"),
        ("socket",      [INET, libc::SOCK_RAW as u64, 6, 0, 0, 0], "told", "told"),
        ("socket",      [INET, (libc::SOCK_RAW | libc::SOCK_NONBLOCK) as u64, 6, 0, 0, 0], "told", "told"),
        ("socket",      [INET, libc::SOCK_STREAM as u64, libc::IPPROTO_MPTCP as u64, 0, 0, 0], "told", "told"),
        ("socket",      [INET6, libc::SOCK_STREAM as u64, libc::IPPROTO_SCTP as u64, 0, 0, 0], "told", "told"),
        ("socket",      [NETLINK, libc::SOCK_RAW as u64, 0, 0, 0, 0], "allowed", "allowed"),
        ("socket",      [NETLINK, libc::SOCK_RAW as u64, 12, 0, 0, 0], "told", "told"),
        ("socket",      [libc::AF_PACKET as u64, libc::SOCK_RAW as u64, 0, 0, 0, 0], "told", "told"),
        ("socket",      [libc::AF_VSOCK as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0], "told", "told"),
        ("socket",      [libc::AF_ALG as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0], "told", "told"),
        ("socketpair",  [UNIX, libc::SOCK_STREAM as u64, 0, 0, 0, 0], "allowed", "allowed"),
        ("socketpair",  [libc::AF_TIPC as u64, 0, 0, 0, 0, 0], "told", "told"),
    ];
    for (call, args, strict, others) in table {
        assert_eq!(
            verdict(Profile::Strict, call, *args),
            *strict,
            "strict {call} {args:x?}"
        );
        assert_eq!(
            verdict(Profile::Standard, call, *args),
            *others,
            "standard {call} {args:x?}"
        );
        assert_eq!(
            verdict(Profile::Build, call, *args),
            *others,
            "build {call} {args:x?}"
        );
    }
}

#[test]
fn what_is_not_of_this_machine_is_refused() {
    let last = u32::try_from(names::all().map(|(_, n)| n).max().unwrap()).unwrap();
    for profile in [Profile::Strict, Profile::Standard, Profile::Build] {
        let (program, _) = build(profile).unwrap();
        let say = |arch, number| said(run(&program, arch, number, [0; 6]));
        assert_eq!(say(own_arch(), last + 1), "absent", "a call of a newer kernel");
        assert_eq!(say(own_arch(), 0x3fff_ffff), "absent", "the last before x32");
        assert_eq!(say(own_arch(), 0x4000_0000), "killed", "x32");
        assert_eq!(say(0x4000_0003, 26), "killed", "ptrace of i386");
    }
}

/// A profile refuses or allows each call by its name: one that stands in two lists would be judged by the first.
#[test]
fn lists_are_disjoint_and_spelled_as_the_kernel_does() {
    let all: Vec<&str> = names::all().map(|(n, _)| n).collect();
    let mut seen = std::collections::BTreeSet::new();
    for name in [lists::DENIED, lists::ABSENT, lists::STRICT, lists::STRICT_GUARDED].concat() {
        assert!(seen.insert(name), "{name} stands in two lists");
        // Other architectures have these.
        let elsewhere = ["create_module", "stime"].contains(&name);
        assert!(
            all.contains(&name) || elsewhere || cfg!(not(target_arch = "x86_64")),
            "{name}"
        );
    }
    let guarded: Vec<&str> = guarded(Profile::Strict).iter().map(|(n, ..)| *n).collect();
    assert!(
        lists::STRICT_GUARDED.iter().all(|n| guarded.contains(n)),
        "{guarded:?}"
    );
}

#[test]
fn the_account_is_of_the_program() {
    let digests: Vec<String> = [Profile::Strict, Profile::Standard, Profile::Build]
        .map(|p| build(p).unwrap().1.digest)
        .into();
    assert_ne!(digests[0], digests[1]);
    assert_eq!(
        digests[1], digests[2],
        "build differs from standard in what Landlock is told"
    );
    assert_eq!(
        build(Profile::Strict).unwrap().1.digest,
        digests[0],
        "and is the same every time"
    );
}
