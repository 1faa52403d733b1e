//! Every wall alone: with the others taken away it still stops its attack, and with it taken away too the attack works.

use crate::world::{Site, able, launcher, open_to_all, run};
use sandbox::{Part, Spec};
use std::collections::BTreeSet;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::process::CommandExt;

use Part::*;

/// Each part that stops it alone, with the reason that the attack is given.
type Alone<'a> = &'a [(Part, &'a str)];

/// An attack that each of `alone` stops. It has to work without all of them, or it shows nothing.
fn check(name: &str, spec: &Spec, alone: Alone<'_>) {
    let all: BTreeSet<Part> = alone.iter().map(|(part, _)| *part).collect();
    let without = |parts: BTreeSet<Part>| {
        let mut spec = spec.clone();
        spec.without.extend(parts);
        let ran = run(&spec);
        let said = if ran.out.is_empty() {
            format!("{:?} {}", ran.exit, ran.err)
        } else {
            ran.out
        };
        said.trim().to_owned()
    };
    let works = without(all.clone());
    assert!(works.starts_with("done"), "{name}: without walls: {works}");
    for (part, reason) in alone {
        let rest = all.iter().copied().filter(|p| p != part).collect();
        assert_eq!(
            without(rest),
            format!("stopped {reason}"),
            "{name}: by {part:?} alone"
        );
    }
    let whole = without(BTreeSet::new());
    assert!(whole.starts_with("stopped"), "{name}: with all walls: {whole}");
}

#[test]
fn files_of_others() {
    if !able() {
        return;
    }
    let site = Site::new();
    let secret = site.other("secret").to_str().unwrap().to_owned();
    let new = site.other("new").to_str().unwrap().to_owned();
    let around = format!("/proc/self/root{secret}");
    let alone: Alone<'_> = &[(Root, "ENOENT"), (LandlockFiles, "EACCES")];
    #[rustfmt::skip]
    let table: [(&str, &[&str]); 5] = [
        ("reading another's workspace", &["read", &secret]),
        ("by ..",                       &["read", "../other/secret"]),
        ("by a link that it made",      &["read-by-link", &secret]),
        ("by /proc/self/root",          &["read", &around]),
        ("writing there",               &["write", &new]),
    ];
    for (name, words) in table {
        check(name, &site.attack(words), alone);
        let _ = std::fs::remove_file(&new);
    }
}

#[test]
fn sockets_of_others() {
    if !able() {
        return;
    }
    let site = Site::new();
    let engine = site.other("engine.sock");
    let _engine = std::os::unix::net::UnixListener::bind(&engine).unwrap();
    open_to_all(&engine, 0o777);
    let engine = engine.to_str().unwrap().to_owned();
    let name = format!("cofferdam-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = listener.local_addr().unwrap().to_string();
    let echo = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = echo.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut bytes = [0; 16];
        while let Ok((_, from)) = echo.recv_from(&mut bytes) {
            let _ = echo.send_to(b"heard", from);
        }
    });
    #[rustfmt::skip]
    let table: [(&str, &[&str], Alone<'_>); 4] = [
        ("a container engine",   &["connect-unix", &engine],   &[(Root, "ENOENT")]),
        ("an abstract socket",   &["connect-abstract", &name], &[(Network, "ECONNREFUSED"), (LandlockScopes, "EPERM")]),
        ("TCP on this machine",  &["connect-tcp", &tcp],       &[(Network, "ECONNREFUSED"), (LandlockTcp, "EACCES")]),
        ("UDP on this machine",  &["echo-udp", &udp],          &[(Network, "ECONNREFUSED")]),
    ];
    for (name, words, alone) in table {
        check(name, &site.attack(words), alone);
    }
}

/// As whom the victim of the next attacks and the guest run: the owner of the workspace, which a guest is when its
/// workspace is not idmapped. Nobody outside has this number.
const SHARED: u32 = 1_999_999_999;

/// A process of the same user outside.
struct Victim(std::process::Child);

impl Victim {
    fn new() -> Victim {
        let mut command = std::process::Command::new("sleep");
        Victim(command.arg("600").uid(SHARED).gid(SHARED).spawn().unwrap())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn processes_of_others() {
    if !able() {
        return;
    }
    let site = Site::new();
    let workspace = site.workspace("");
    std::os::unix::fs::chown(&workspace, Some(SHARED), Some(SHARED)).unwrap();
    let victim = Victim::new();
    let pid = victim.0.id().to_string();
    #[rustfmt::skip]
    let table: [(&str, &[&str], Alone<'_>); 2] = [
        ("signalling", &["signal", &pid], &[(Processes, "ESRCH"), (LandlockScopes, "EPERM")]),
        ("tracing",    &["attach", &pid], &[
            (Processes, "ESRCH"), (Seccomp, "EPERM"), (Users, "EPERM"),
            // A process that is restricted by Landlock traces none that is not.
            (LandlockFiles, "EPERM"), (LandlockTcp, "EPERM"), (LandlockScopes, "EPERM"),
        ]),
    ];
    for (name, words, alone) in table {
        let mut spec = site.attack(words);
        spec.without.insert(IdmappedWorkspace);
        check(name, &spec, alone);
    }
}

#[test]
fn privileges() {
    if !able() {
        return;
    }
    let site = Site::new();
    let program = site.dir.path().join("set-user-id");
    std::fs::copy(site.attacker(), &program).unwrap();
    open_to_all(&program, 0o4755);
    let bind = sandbox::Bind {
        source: program.clone(),
        target: program.clone(),
    };
    let program = program.to_str().unwrap().to_owned();
    let (user, other) = ("user 1000", "user 2000000000");
    let mut spec = site.attack(&["execute-set-user-id", &program]);
    spec.reads.push(bind);
    // Those of the kernel's confinements that ask for no_new_privs set it; which user it is depends on the namespace.
    let say = |part| match part {
        Users => user,
        _ => other,
    };
    let parts = [
        Users,
        Root,
        NoNewPrivileges,
        LandlockFiles,
        LandlockTcp,
        LandlockScopes,
        Seccomp,
    ];
    let alone: Vec<(Part, &str)> = parts.into_iter().map(|p| (p, say(p))).collect();
    let spin = |spec: &Spec| {
        // Guests have the first free number outside, which other tests may hold.
        let ran = run(spec);
        ran.out.trim().to_owned()
    };
    let all: BTreeSet<Part> = parts.into();
    spec.without = all.clone();
    assert_eq!(spin(&spec), "done root", "without walls");
    for (part, expected) in alone {
        spec.without = all.iter().copied().filter(|p| *p != part).collect();
        let said = spin(&spec);
        let expected = expected.trim_end_matches(char::is_numeric);
        assert!(
            said.starts_with(&format!("stopped {expected}")) && said != "stopped user 0",
            "{part:?} alone: {said}"
        );
    }

    #[rustfmt::skip]
    let table: [(&str, &[&str], Alone<'_>); 6] = [
        ("privileges in its own namespaces", &["capabilities"],                &[(Capabilities, "none")]),
        ("mounting",                         &["mount", "/tmp"],               &[(Seccomp, "EPERM"), (Capabilities, "EPERM"), (LandlockFiles, "EPERM")]),
        ("unmounting",                       &["unmount", "/home/guest"],      &[(Seccomp, "EPERM"), (Capabilities, "EPERM"), (LandlockFiles, "EPERM")]),
        ("a new host name",                  &["set-host-name"],               &[(Seccomp, "EPERM"), (Capabilities, "EPERM")]),
        ("a raw socket",                     &["socket", "2", "3", "1"],       &[(Seccomp, "EPERM"), (Capabilities, "EPERM")]),
        ("a packet socket",                  &["socket", "17", "3", "768"],    &[(Seccomp, "EPERM"), (Capabilities, "EPERM")]),
    ];
    for (name, words, alone) in table {
        check(name, &site.attack(words), alone);
    }
}

#[test]
fn calls_into_the_kernel() {
    if !able() {
        return;
    }
    let site = Site::new();
    #[rustfmt::skip]
    let table: [(&str, &[&str], &str, &str); 12] = [
        // attack                                                             reason    what is recorded
        ("a new user namespace",       &["new-user-namespace"],               "EPERM",  "unshare"),
        ("the same by clone",          &["clone-user-namespace"],             "EPERM",  "clone"),
        ("the same by clone3",         &["clone3-user-namespace"],            "ENOSYS", ""),
        ("keys of the user",           &["keys"],                             "EPERM",  "keyctl"),
        ("io_uring",                   &["io-uring"],                         "EPERM",  "io_uring_setup"),
        ("userfaultfd",                &["userfault"],                        "EPERM",  "userfaultfd"),
        ("no random addresses",        &["personality"],                      "EPERM",  "personality"),
        ("vsock",                      &["socket", "40", "1", "0"],           "EPERM",  "socket"),
        ("MPTCP, past Landlock",       &["socket", "2", "1", "262"],          "EPERM",  "socket"),
        ("generic netlink",            &["socket", "16", "3", "16"],          "EPERM",  "socket"),
        ("a root's program to be",     &["set-user-id"],                      "EPERM",  ""),
        ("the same in one step",       &["create-set-user-id"],               "EPERM",  ""),
    ];
    for (name, words, reason, recorded) in table {
        let spec = site.attack(words);
        check(name, &spec, &[(Seccomp, reason)]);
        let refused = run(&spec).exit.refused;
        let recorded = if recorded.is_empty() {
            refused.keys().next().map_or("", String::as_str)
        } else {
            recorded
        };
        assert_eq!(
            refused.get(recorded).copied().unwrap_or(0),
            u64::from(reason == "EPERM"),
            "{name}: {refused:?}"
        );
        for made in ["su", "su2"] {
            let _ = std::fs::remove_file(site.workspace(made));
        }
    }
}

#[test]
fn what_is_run_later() {
    if !able() {
        return;
    }
    use sandbox::Git::{Commit, Read};
    #[rustfmt::skip]
    let table: [(&str, sandbox::Git, &[&str], &str); 9] = [
        ("a hook",                       Read,   &["write", ".git/hooks/pre-commit"],    "EROFS"),
        ("a hook, where it may commit",  Commit, &["write", ".git/hooks/pre-commit"],    "EROFS"),
        ("configuration",                Commit, &["write", ".git/config"],              "EROFS"),
        ("another hooks directory",      Commit, &["rename", ".git/hooks", ".git/old"],  "EBUSY"),
        ("another configuration",        Commit, &["rename", ".git/HEAD", ".git/config"], "EBUSY"),
        ("another repository",           Commit, &["rename", ".git", "old"],             "EBUSY"),
        ("another repository, read",     Read,   &["rename", ".git", "old"],             "EBUSY"),
        ("what a shell starts with",     Read,   &["write", ".envrc"],                   "EROFS"),
        ("an agent's policy",            Read,   &["write", "cofferdam.yaml"],           "EROFS"),
    ];
    for (name, git, words, reason) in table {
        let site = Site::new();
        std::fs::create_dir_all(site.workspace(".git/hooks")).unwrap();
        for file in [".git/config", ".git/HEAD", ".envrc", "cofferdam.yaml"] {
            std::fs::write(site.workspace(file), "before").unwrap();
        }
        let mut spec = site.attack(words);
        spec.git = git;
        // With the wall first: an attack that works leaves traces.
        let held = run(&spec);
        assert_eq!(held.out.trim(), format!("stopped {reason}"), "{name}");
        assert_eq!(held.exit.held_back, [], "{name}: nothing was made");
        assert_eq!(
            std::fs::read_to_string(site.workspace(".git/config")).unwrap(),
            "before",
            "{name}"
        );
        spec.without.insert(Protected);
        assert_eq!(run(&spec).out.trim(), "done", "{name}: without the wall");
    }
}

#[test]
fn what_there_is_of_the_machine() {
    if !able() {
        return;
    }
    let site = Site::new();
    let limited = |words: &[&str]| {
        let mut spec = site.attack(words);
        spec.limits.pids = Some(48);
        spec.limits.files = 64;
        spec.limits.file_bytes = 4 << 20;
        spec.limits.memory_bytes = Some(64 << 20);
        spec
    };
    let file = site.workspace("file").to_str().unwrap().to_owned();
    #[rustfmt::skip]
    let table: [(&str, &[&str], Alone<'_>); 3] = [
        ("a fork bomb",         &["fork-bomb", "200"],         &[(ProcessCount, "EAGAIN"), (ProcessLimits, "EAGAIN")]),
        ("a large file",        &["fill", &file, "8388608"],   &[(ProcessLimits, "EFBIG")]),
        ("open files",          &["open-files", "400"],        &[(ProcessLimits, "EMFILE")]),
    ];
    for (name, words, alone) in table {
        check(name, &limited(words), alone);
    }

    let mut hungry = limited(&["memory", "268435456"]);
    let ran = run(&hungry);
    assert_eq!(
        (ran.out.as_str(), ran.exit.stop),
        ("", Some(sandbox::Stop::Memory))
    );
    assert!(ran.exit.usage.memory_kills >= 1);
    hungry.without.insert(MemoryLimit);
    assert_eq!(run(&hungry).out.trim(), "done");

    let mut bomb = limited(&["fork-bomb", "200"]);
    bomb.without.insert(ProcessLimits);
    assert!(
        run(&bomb).exit.usage.refused_processes >= 1,
        "the cgroup's refusals are counted"
    );

    let mut scratch = site.attack(&["fill", "/tmp/file", "8388608"]);
    scratch.limits.tmp_bytes = 1 << 20;
    assert_eq!(run(&scratch).out.trim(), "stopped ENOSPC");
    scratch.limits.tmp_bytes = 16 << 20;
    assert_eq!(run(&scratch).out.trim(), "done");
}

#[test]
fn names_and_memory_of_others() {
    if !able() {
        return;
    }
    let site = Site::new();
    let key = 0x00c0_ffee_i32.wrapping_add(i32::try_from(std::process::id()).unwrap());
    let shared = std::process::Command::new("python3")
        .args([
            "-c",
            &format!("import ctypes; l=ctypes.CDLL(None); print(l.shmget({key}, 4096, 0o1666))"),
        ])
        .output()
        .unwrap();
    let shared = String::from_utf8(shared.stdout).unwrap().trim().to_owned();
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap()
        .trim()
        .to_owned();
    let key = key.to_string();
    #[rustfmt::skip]
    let table: [(&str, &[&str], Alone<'_>); 2] = [
        ("shared memory",  &["shared-memory", &key],     &[(Ipc, "ENOENT")]),
        ("the host name",  &["host-name", &name],        &[(HostName, "cofferdam")]),
    ];
    let found = std::panic::catch_unwind(|| {
        table
            .iter()
            .for_each(|(name, words, alone)| check(name, &site.attack(words), alone))
    });
    std::process::Command::new("ipcrm")
        .args(["-m", &shared])
        .status()
        .unwrap();
    found.unwrap();

    let mut spec = site.attack(&["read", "/proc/self/cgroup"]);
    let hidden = run(&spec).out;
    spec.without.insert(CgroupNames);
    let shown = run(&spec).out;
    assert!(
        !hidden.contains("cofferdam-") && shown.contains("cofferdam-"),
        "{hidden}\n{shown}"
    );
}

/// How long the machine runs is nobody's business inside; the clocks of a guest begin with it, in the pool too.
#[test]
fn clocks_begin_with_the_guest() {
    if !able() || !launcher().ability().clocks {
        return;
    }
    let site = Site::new();
    let spec = crate::world::spec(&site.workspace(""), &["cat", "/proc/uptime"]);
    let ran = crate::world::launch(launcher(), &spec).unwrap().finish();
    assert!(
        ran.rules.namespaces.contains("time"),
        "{:?}",
        ran.rules.namespaces
    );
    let seconds: f64 = ran.out.split(' ').next().unwrap().parse().unwrap();
    assert!(seconds < 60.0, "{}", ran.out);
}
