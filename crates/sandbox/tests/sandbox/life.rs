//! How guests start, what they are given, how they end, and that nothing is left of them.

use crate::flight::stoppable;
use crate::world::{ATTACKER, Site, able, launch, launcher, run, start, wait};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sandbox::{End, Git, LaunchError, Part, Profile, Spec, Stop};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Far more than anything here takes: who waits longer waits for what does not come.
const LONG: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// Waits for the end of a process.
fn ended(pidfd: impl AsFd) -> bool {
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&LONG)).unwrap() == 1
}

/// Waits until the lock that a process holds as long as it lives is free.
fn lock_is_free(path: &Path) -> bool {
    let file = std::fs::File::open(path).unwrap();
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(file.lock()));
    wait.recv_timeout(std::time::Duration::from_secs(60)).is_ok()
}

fn shell(site: &Site, script: &str) -> Spec {
    let mut spec = site.attack(&[]);
    spec.argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    spec
}

#[test]
fn how_programs_end_is_told() {
    if !able() {
        return;
    }
    let site = Site::new();
    #[rustfmt::skip]
    let table = [
        ("by itself",          "exit 0",                End::Code(0)),
        ("with a status",      "exit 42",               End::Code(42)),
        ("by its own signal",  "kill -TERM $$",         End::Signal(15)),
        ("by what it left",    "sleep 600 & exit 3",    End::Code(3)),
        ("by a closed pipe",   "yes | head -1; exit 5", End::Code(5)),
    ];
    for (name, script, end) in table {
        let exit = run(&shell(&site, script)).exit;
        assert_eq!((exit.end, exit.stop), (end, None), "{name}");
    }
}

#[test]
fn what_cannot_start_says_why_and_runs_nothing() {
    if !able() {
        return;
    }
    let site = Site::new();
    let missing = site.dir.path().join("missing");
    let link = || {
        let _ = std::os::unix::fs::symlink("/etc", site.workspace(".git"));
    };
    type Change<'a> = &'a dyn Fn(&mut Spec);
    #[rustfmt::skip]
    let table: [(&str, Change<'_>, &str); 6] = [
        ("no such program",    &|s| s.argv = vec!["nothing".into()],                "cannot execute `nothing`: ENOENT"),
        ("no program",         &|s| s.argv = vec!["/etc/hosts".into()],             "cannot execute `/etc/hosts`: EACCES"),
        ("no workspace",       &|s| s.workspace = missing.clone(),                  "step 0 open the workspace: "),
        ("nothing to read",    &|s| s.reads[0].source = missing.clone(),            "step 0 open what is shown: "),
        ("no place to mount",  &|s| s.reads[0].target = "/usr/local/x".into(),      "step 19 show what may be read: "),
        ("a link at .git",     &|_| link(),                                         "step 21 protect what is run later: `.git` is a symbolic link"),
    ];
    for (name, change, expected) in table {
        let mut spec = shell(&site, "echo ran > ran");
        change(&mut spec);
        let said = launch(launcher(), &spec)
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default();
        assert!(said.starts_with(expected), "{name}: {said}");
        assert!(!site.workspace("ran").exists(), "{name}");
    }
    let (flight, stops) = stoppable();
    stops.raise(policy::Stop {
        scope: policy::StopScope::All,
        reason: "drill".to_owned(),
        by: "person:alice".to_owned(),
        at: policy::Reach::Everywhere,
    });
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let refused = launcher().launch(&flight, &shell(&site, "true"), [null(), null(), null()]);
    assert!(matches!(refused, Err(LaunchError::Stopped)));
}

#[test]
fn a_guest_has_what_it_was_given_and_nothing_else() {
    if !able() {
        return;
    }
    let site = Site::new();
    // A descriptor that the platform forgot to close on execution.
    let leaked = std::fs::File::open(site.other("secret")).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let launcher = start(0);
    let mut spec = shell(
        &site,
        "env; echo fds $(ls /proc/self/fd); id; pwd; ls / /dev; cat /etc/passwd; hostname",
    );
    spec.env = BTreeMap::from([("ONE".to_owned(), "1".to_owned())]);
    let out = launch(&launcher, &spec).unwrap().finish().out;
    assert!(out.starts_with("ONE=1\nPWD="), "{out}");
    // The fourth is the directory that `ls` reads.
    assert!(out.contains("fds 0 1 2 3\n"), "{out}");
    assert!(
        out.contains("uid=1000(guest) gid=1000(guest) groups=1000(guest)\n"),
        "{out}"
    );
    assert!(
        out.contains(
            "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"
                .replace(' ', "\n")
                .as_str()
        ),
        "{out}"
    );
    assert!(!out.contains("root:") && out.ends_with("\ncofferdam\n"), "{out}");
    for absent in ["boot", "root", "run", "sys", "srv"] {
        assert!(!out.lines().any(|l| l == absent), "/{absent} is there");
    }
    for path in [
        "/etc/shadow",
        "/root/.ssh",
        "/root",
        "/var/run/docker.sock",
        "/run",
        "/proc/1/environ",
        "/proc/1/root",
        "/proc/kcore",
        "/sys/kernel",
        "/home/guest/.aws",
    ] {
        let said = run(&site.attack(&["read", path])).out;
        assert!(
            said.starts_with("stopped EACCES") || said.starts_with("stopped ENOENT"),
            "{path}: {said}"
        );
    }
    for words in [
        &["hard-link", "/etc/hosts"][..],
        &["open-by-handle"],
        &["write", "/etc/hosts"],
        &["write", "/usr/bin/x"],
        &["write", "/x"],
        &["write", "/proc/sys/kernel/core_pattern"],
        &["resolve", "example.org"],
        &["new-call"],
        &["type-into-terminal"],
    ] {
        let said = run(&site.attack(words)).out;
        assert!(said.starts_with("stopped"), "{words:?}: {said}");
    }
}

#[test]
fn files_keep_the_owner_of_the_workspace() {
    if !able() {
        return;
    }
    for owner in [0, 4242] {
        let site = Site::new();
        let workspace = site.dir.path().join("workspace");
        std::os::unix::fs::chown(&workspace, Some(owner), Some(owner)).unwrap();
        let ran = run(&shell(&site, "stat -c %u . > file; cat file"));
        assert_eq!(ran.out, "1000\n", "inside");
        let made = std::fs::metadata(site.workspace("file")).unwrap();
        assert_eq!((made.uid(), made.gid()), (owner, owner), "outside");
        assert!(ran.rules.identity.outer_uid >= 2_000_000_000);
    }
}

#[test]
fn time_calls_and_disk_end_a_guest_by_name() {
    if !able() {
        return;
    }
    let site = Site::new();
    let mut slow = shell(&site, "sleep 600");
    slow.limits.timeout_ms = Some(50);
    assert_eq!(run(&slow).exit.stop, Some(Stop::Timeout));

    let mut full = shell(&site, "sleep 600");
    full.limits.disk_free_bytes = u64::MAX;
    assert_eq!(run(&full).exit.stop, Some(Stop::Disk));

    let mut strict = site.attack(&["keys"]);
    strict.profile = Profile::Strict;
    let ran = run(&strict);
    assert_eq!(
        (ran.out.as_str(), ran.exit.stop),
        ("", Some(Stop::Call("keyctl".to_owned())))
    );

    if cfg!(target_arch = "x86_64") {
        let foreign = site.attack(&["foreign"]);
        let stop = Stop::Call("a call of a foreign architecture".to_owned());
        assert_eq!(run(&foreign).exit.stop, Some(stop));
        let mut allowed = foreign;
        allowed.without.insert(Part::Seccomp);
        assert!(
            run(&allowed).out.starts_with("done"),
            "and it works without the filter"
        );
    }
}

/// What people run: shells, Python with threads, processes and sockets.
#[test]
fn every_profile_runs_what_people_run() {
    if !able() {
        return;
    }
    let site = Site::new();
    let python = "import threading, subprocess, socket, json, ssl, tempfile, multiprocessing as m\n\
        t = threading.Thread(target=lambda: None); t.start(); t.join()\n\
        print(subprocess.run(['ls', '/usr'], capture_output=True).returncode, socket.socketpair() is not None)\n\
        tempfile.TemporaryFile().write(b'x'); open('made', 'w').write('x')\n\
        p = m.Process(target=int); p.start(); p.join(); print(p.exitcode)";
    for profile in [Profile::Strict, Profile::Standard, Profile::Build] {
        let mut spec = shell(&site, "true");
        spec.argv = ["/usr/bin/python3", "-c", python].map(str::to_owned).to_vec();
        spec.profile = profile;
        let ran = run(&spec);
        assert_eq!(
            (ran.out.as_str(), ran.exit.end),
            ("0 True\n0\n", End::Code(0)),
            "{profile:?} {} {:?}",
            ran.err,
            ran.exit
        );
        assert_eq!(ran.exit.refused, BTreeMap::new(), "{profile:?}");
    }
}

#[test]
fn the_platform_answers_at_a_door() {
    if !able() {
        return;
    }
    let site = Site::new();
    for (profile, local) in [
        (Profile::Strict, "stopped EACCES"),
        (Profile::Standard, "stopped EACCES"),
        (Profile::Build, "done"),
    ] {
        for host in ["127.0.0.1", "[::1]"] {
            let mut spec = site.attack(&["say-at-door", &format!("{host}:7401")]);
            spec.profile = profile;
            spec.doors = [7401, 7402].into();
            let mut running = launch(launcher(), &spec).unwrap();
            let doors = running.guest.take_doors();
            assert_eq!(
                doors.iter().map(|d| d.port).collect::<Vec<_>>(),
                [7401, 7401, 7402, 7402]
            );
            let door = &doors[usize::from(host != "127.0.0.1")].listener;
            door.set_nonblocking(false).unwrap();
            let (mut guest, from) = door.accept().unwrap();
            assert!(from.ip().is_loopback());
            let mut said = String::new();
            guest.read_to_string(&mut said).unwrap();
            guest.write_all(format!("heard {said}").as_bytes()).unwrap();
            drop(guest);
            assert_eq!(running.finish().out, "done heard hello\n");
        }
        let mut spec = site.attack(&["serve-locally"]);
        spec.profile = profile;
        assert_eq!(run(&spec).out.trim(), local, "{profile:?}");
        let mut spec = site.attack(&["bind-tcp", "127.0.0.1:7401"]);
        spec.doors = [7401].into();
        spec.without.insert(Part::LandlockTcp);
        assert!(
            run(&spec).out.starts_with("stopped"),
            "the guest cannot take a door"
        );
    }
}

#[test]
fn nothing_outlives_a_guest() {
    if !able() {
        return;
    }
    let site = Site::new();
    let (lock, pid) = (site.workspace("lock"), site.workspace("pid"));
    let words = ["outlive", lock.to_str().unwrap(), pid.to_str().unwrap()];
    let spec = site.attack(&words);
    assert_eq!(run(&spec).out.trim(), "done");
    assert!(lock_is_free(&lock), "what left its session twice is dead");

    // The attack works when both walls are taken away, and a cgroup alone holds too.
    let cgroups = [Part::MemoryLimit, Part::ProcessCount, Part::CpuLimit];
    let mut free = spec.clone();
    free.without = [Part::Processes].into();
    assert_eq!(run(&free).out.trim(), "done");
    assert!(lock_is_free(&lock), "its cgroup ends it");
    std::fs::remove_file(&pid).unwrap();
    free.without.extend(cgroups);
    assert_eq!(run(&free).out.trim(), "done");
    assert!(
        std::fs::File::open(&lock).unwrap().try_lock().is_err(),
        "without walls it lives"
    );
    let survivor: i32 = std::fs::read_to_string(&pid).unwrap().parse().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(survivor).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[test]
fn a_kill_ends_a_deep_tree() {
    if !able() {
        return;
    }
    let site = Site::new();
    let mut spec = site.attack(&["tree", "150"]);
    spec.limits.pids = Some(400);
    for dropped in [false, true] {
        let mut running = launch(launcher(), &spec).unwrap();
        assert_eq!(running.line(), "there");
        let begin = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        if dropped {
            let pidfd = running.guest.pidfd().try_clone_to_owned().unwrap();
            drop(running);
            assert!(ended(&pidfd));
        } else {
            running.guest.kill();
            assert!(ended(running.guest.pidfd()));
            let end = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let ms = (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1_000_000;
            eprintln!("kill to the death of 150 processes: {ms} ms");
            let exit = wait(&running.guest);
            assert_eq!((exit.end, exit.stop), (End::Signal(9), Some(Stop::Killed)));
        }
    }
}

#[test]
fn the_end_of_the_zygote_is_everybodys_end() {
    if !able() {
        return;
    }
    let site = Site::new();
    let launcher = start(1);
    let mut running = launch(&launcher, &site.attack(&["tree", "20"])).unwrap();
    assert_eq!(running.line(), "there");
    let zygote = rustix::process::Pid::from_raw(i32::try_from(launcher.pid()).unwrap()).unwrap();
    rustix::process::kill_process(zygote, rustix::process::Signal::KILL).unwrap();
    assert!(ended(running.guest.pidfd()));
    assert_eq!(wait(&running.guest).stop, Some(Stop::Launcher));
    assert!(matches!(
        launch(&launcher, &shell(&site, "true")),
        Err(LaunchError::Gone(_))
    ));
}

#[test]
fn the_end_of_the_platform_is_everybodys_end() {
    if !able() {
        return;
    }
    let site = Site::new();
    let (lock, pid) = (site.workspace("lock"), site.workspace("pid"));
    // Somebody who is not root has walls as well, and says which are missing.
    for (user, signal) in [(0, "KILL"), (0, "TERM"), (54_321, "KILL")] {
        std::os::unix::fs::chown(site.dir.path().join("workspace"), Some(user), Some(user)).unwrap();
        let _ = std::fs::remove_file(&lock);
        let mut platform = Command::new(ATTACKER);
        if user != 0 {
            platform = Command::new(site.attacker());
            platform.uid(user).gid(user);
        }
        platform.arg("platform").arg(site.dir.path()).arg(&lock).arg(&pid);
        let mut platform = platform.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(platform.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let given_up = if user == 0 {
            "[]"
        } else {
            "[MemoryLimit, ProcessCount, CpuLimit]"
        };
        assert_eq!(
            line,
            format!("runs without {given_up}\n"),
            "root here has everything, others no cgroup"
        );
        assert!(
            std::fs::File::open(&lock).unwrap().try_lock().is_err(),
            "the guest lives"
        );
        let kill = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(platform.id().to_string())
            .status();
        assert!(kill.unwrap().success());
        platform.wait().unwrap();
        assert!(lock_is_free(&lock), "{user} after {signal}");
    }
}

#[test]
fn what_a_person_types_is_harmless() {
    let typed = Command::new(ATTACKER)
        .arg(sandbox::ARGUMENT)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(typed.status.code(), Some(2));
    assert!(
        String::from_utf8(typed.stderr)
            .unwrap()
            .contains("there is nothing here to call")
    );
}

#[test]
fn what_is_made_to_run_later_is_held_back() {
    if !able() {
        return;
    }
    let site = Site::new();
    let ran = run(&shell(
        &site,
        "mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit; echo evil > .envrc; echo fine > main.rs",
    ));
    let held: Vec<(&str, &str)> = ran
        .exit
        .held_back
        .iter()
        .map(|h| (h.made.as_str(), h.now.as_str()))
        .collect();
    assert_eq!(held, [(".git", ".git.held-back"), (".envrc", ".envrc.held-back")]);
    assert!(site.workspace("main.rs").exists() && !site.workspace(".git").exists());

    // A repository that may be committed to, turned to another configuration.
    let site = Site::new();
    std::fs::create_dir_all(site.workspace(".git/hooks")).unwrap();
    std::fs::write(site.workspace(".git/config"), "").unwrap();
    let mut spec = shell(
        &site,
        "echo ../evil > .git/commondir; echo ref > .git/HEAD; echo x > .git/index",
    );
    spec.git = Git::Commit;
    let ran = run(&spec);
    assert_eq!(ran.err, "");
    assert_eq!(ran.exit.held_back[0].made, ".git/commondir");
    assert!(!site.workspace(".git/commondir").exists() && site.workspace(".git/index").exists());
}

#[test]
fn a_review_collects_changes_and_makes_none() {
    if !able() {
        return;
    }
    let site = Site::new();
    for file in ["kept", "changed", "removed"] {
        std::fs::write(site.workspace(file), "before").unwrap();
    }
    let review = site.dir.path().join("review");
    std::fs::create_dir(&review).unwrap();
    let mut spec = shell(
        &site,
        "echo after > changed; rm removed; mkdir new; echo new > new/file; cat changed kept; ls",
    );
    spec.review = Some(review.clone());
    let ran = run(&spec);
    assert_eq!(ran.out, "after\nbeforechanged\nkept\nnew\n", "{}", ran.err);
    for file in ["kept", "changed", "removed"] {
        assert_eq!(
            std::fs::read_to_string(site.workspace(file)).unwrap(),
            "before",
            "{file}"
        );
    }
    assert!(!site.workspace("new").exists());
    let reviewed = sandbox::review::look(&review).unwrap();
    let told: Vec<String> = reviewed
        .changes
        .iter()
        .map(|c| format!("{:?} {}", c.kind, c.path.display()))
        .collect();
    assert_eq!(
        told,
        [
            "Written changed",
            "Directory new",
            "Written new/file",
            "Removed removed"
        ]
    );
    assert_eq!(
        std::fs::metadata(review.join("changes/changed")).unwrap().uid(),
        0,
        "the workspace's owner"
    );
    assert!(
        launch(launcher(), &spec).is_err(),
        "a directory that holds a review takes no other"
    );
}

#[test]
fn the_processor_is_shared_by_the_limit() {
    if !able() {
        return;
    }
    let site = Site::new();
    let mut spec = site.attack(&["spin", "2"]);
    spec.limits.cpu_millis = Some(100);
    let mut running = launch(launcher(), &spec).unwrap();
    assert_eq!(running.line(), "spinning");
    let cgroup = running.guest.rules().cgroup.clone().unwrap();
    let stat = Path::new(&cgroup.directories["cpu"]).join("cpu.stat");
    let throttled = || {
        let text = std::fs::read_to_string(&stat).unwrap();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("nr_throttled "))
            .unwrap()
            .to_owned();
        line.parse::<u64>().unwrap() > 0
    };
    assert!((0..6000).any(|_| throttled() || {
        std::thread::sleep(std::time::Duration::from_millis(10));
        false
    }));
    running.guest.kill();
    wait(&running.guest);
}

#[test]
fn a_pool_is_used_and_filled_again() {
    if !able() {
        return;
    }
    let site = Site::new();
    let launcher = start(2);
    for _ in 0..6 {
        let ran = launch(&launcher, &shell(&site, "echo $$ > /tmp/x; cat /tmp/x"))
            .unwrap()
            .finish();
        assert_eq!((ran.out.as_str(), ran.exit.end), ("2\n", End::Code(0)));
    }
    let directories = launch(&launcher, &shell(&site, "true"))
        .unwrap()
        .finish()
        .rules
        .cgroup
        .unwrap()
        .directories;
    drop(launcher);
    for directory in directories.values() {
        let gone = || !Path::new(directory).exists();
        assert!(
            (0..6000).any(|_| gone() || {
                std::thread::sleep(std::time::Duration::from_millis(10));
                false
            }),
            "{directory} stays"
        );
    }
}

#[test]
fn this_machine_is_known() {
    let ability = launcher().ability();
    for part in Part::ALL {
        assert_ne!(
            ability.enforced.contains_key(part),
            ability.missing.contains_key(part),
            "{part:?}"
        );
    }
    for missing in ability.missing.values() {
        assert!(!missing.why.is_empty() && !missing.lost.is_empty() && !missing.remedy.is_empty());
    }
}
