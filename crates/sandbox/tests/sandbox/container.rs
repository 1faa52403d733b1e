//! Guests in containers of a real engine: what they see, what they cannot do, and what becomes of them.

use crate::flight::{flight, stoppable};
use crate::world::{ATTACKER, wait};
use sandbox::container::{Config, Containers};
use sandbox::{Bind, End, EngineKind, Exit, Guest, LaunchError, Part, Profile, Rules, Spec, Stop};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testkit::engine::{Engine, IMAGE};

/// Whoever owns workspaces here, and is nobody else.
const OWNER: u32 = 4_242;
/// An engine, a workspace, and what starts guests.
struct World {
    containers: Containers,
    engine: Engine,
    directory: tempfile::TempDir,
}

/// A guest that runs, and what it says.
struct Running {
    guest: Guest,
    out: BufReader<std::io::PipeReader>,
}

/// One that ended.
#[derive(Debug)]
struct Ran {
    exit: Exit,
    out: String,
    rules: Rules,
}

impl World {
    fn new() -> Option<World> {
        let directory = tempfile::Builder::new()
            .prefix("cofferdam-")
            .tempdir_in("/var/tmp")
            .unwrap();
        let socket = directory.path().join("engine.sock");
        let engine = Engine::start(&socket)?;
        let workspace = directory.path().join("workspace");
        std::fs::create_dir(&workspace).unwrap();
        std::os::unix::fs::chown(&workspace, Some(OWNER), Some(OWNER)).unwrap();
        let containers = Containers::new(config(directory.path()));
        Some(World {
            containers,
            engine,
            directory,
        })
    }

    fn workspace(&self, path: &str) -> PathBuf {
        self.directory.path().join("workspace").join(path)
    }

    fn spec(&self, argv: &[&str]) -> Spec {
        let (container, image) = self.containers.image(None, IMAGE).unwrap();
        assert_eq!(container.engine, Some(EngineKind::Podman));
        assert!(image.env.contains(&"PATH=/bin".to_owned()), "{image:?}");
        spec(container, &self.workspace(""), argv)
    }

    fn sh(&self, script: &str) -> Spec {
        self.spec(&["sh", "-c", script])
    }

    fn launch(&self, spec: &Spec) -> Result<Running, LaunchError> {
        launch(&self.containers, spec)
    }

    fn run(&self, spec: &Spec) -> Ran {
        self.launch(spec).unwrap_or_else(|e| panic!("{e}")).finish()
    }

    /// How many containers of this test there are, whatever they do.
    fn left(&self) -> usize {
        let label = format!("label=dev.cofferdam.owner={}", self.directory.path().display());
        let listed = self
            .engine
            .podman()
            .args(["ps", "-aq", "--filter", &label])
            .output()
            .unwrap();
        String::from_utf8(listed.stdout).unwrap().lines().count()
    }

    /// Until there is none. The engine removes them by itself, after their end.
    fn none_is_left(&self) {
        for _ in 0..500 {
            if self.left() == 0 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("a container is left");
    }
}

fn config(directory: &Path) -> Config {
    Config {
        program: ATTACKER.into(),
        directory: directory.join("made"),
        socket: Some(directory.join("engine.sock")),
        owner: directory.display().to_string(),
    }
}

fn spec(container: sandbox::Container, workspace: &Path, argv: &[&str]) -> Spec {
    let mut spec = Spec::new(
        argv.iter().map(|word| (*word).to_owned()).collect(),
        workspace.to_owned(),
    );
    spec.container = Some(container);
    spec.limits.disk_free_bytes = 0;
    spec.limits.memory_bytes = Some(128 << 20);
    spec.limits.pids = Some(32);
    spec
}

fn launch(containers: &Containers, spec: &Spec) -> Result<Running, LaunchError> {
    let (out, to_out) = std::io::pipe().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let to_err = to_out.try_clone().unwrap();
    let guest = containers.launch(&flight(), spec, [null.into(), to_out.into(), to_err.into()])?;
    let out = BufReader::new(out);
    Ok(Running { guest, out })
}

impl Running {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn finish(mut self) -> Ran {
        let mut out = String::new();
        self.out.read_to_string(&mut out).unwrap();
        let exit = wait(&self.guest);
        let rules = self.guest.rules().clone();
        Ran { exit, out, rules }
    }
}

#[test]
fn a_guest_finds_its_place_and_its_rules_are_what_the_kernel_says() {
    let Some(world) = World::new() else { return };
    let mut spec = world
        .sh("id -u; pwd; cat; echo $NAME $HOME $LD_PRELOAD.; echo mine > made; touch $HOME/x /tmp/x; exit 3");
    spec.env.insert("NAME".to_owned(), "value".to_owned());
    let ran = world.run(&spec);
    assert_eq!(ran.out, "4242\n/workspace\nvalue /home/guest .\n", "{ran:?}");
    assert_eq!((ran.exit.end, &ran.exit.stop), (End::Code(3), &None));
    let made = std::fs::metadata(world.workspace("made")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), OWNER);
    let rules = &ran.rules;
    assert_eq!((rules.identity.uid, rules.identity.outer_uid), (OWNER, OWNER));
    // Podman makes no namespace of cgroups where those are of version 1.
    let namespaces = rules
        .namespaces
        .iter()
        .map(String::as_str)
        .filter(|name| *name != "cgroup");
    assert_eq!(
        namespaces.collect::<Vec<_>>(),
        ["ipc", "mount", "network", "pid", "uts"]
    );
    let given_up = rules.given_up.keys().filter(|part| **part != Part::CgroupNames);
    assert_eq!(
        given_up.collect::<Vec<_>>(),
        [&Part::Users],
        "{:?}",
        rules.given_up
    );
    let limits = &rules.cgroup.as_ref().unwrap().limits;
    let told = |name: &str| limits[name].parse::<u64>().unwrap();
    assert_eq!(
        (told("memory"), told("pids"), told("cpu_millis")),
        (128 << 20, 32, 2000)
    );
    assert!(rules.no_new_privileges && rules.capabilities.is_empty());
    assert!(rules.seccomp.is_some() && rules.landlock.is_some());
    let container = rules.container.as_ref().unwrap();
    assert_eq!(
        (container.engine, container.image.as_str()),
        (EngineKind::Podman, IMAGE)
    );
    assert_eq!(container.image_id, spec.container.unwrap().id);
    assert_eq!(container.profile["NetworkMode"], "none");
    assert_eq!(container.profile["ReadonlyRootfs"], true);
    assert!(
        container.profile["SecurityOpt"]
            .to_string()
            .contains("seccomp=sha256:"),
        "{container:?}"
    );
    assert!(
        !serde_json::to_string(rules).unwrap().contains("value"),
        "no environment is told"
    );
    world.none_is_left();
}

#[test]
fn the_check_of_health_of_an_image_is_executed_by_nobody() {
    const CHECKED: &str = "localhost/cofferdam-tests-health:1";
    let Some(world) = World::new() else { return };
    let text = format!("FROM {IMAGE}\nHEALTHCHECK --interval=1s CMD touch /workspace/checked\n");
    let file = world.directory.path().join("Containerfile");
    std::fs::write(&file, text).unwrap();
    let built = world
        .engine
        .podman()
        .args(["build", "--format", "docker", "-t", CHECKED, "-f"])
        .args([&file, world.directory.path()])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let (container, _) = world.containers.image(None, CHECKED).unwrap();
    let mut running = world
        .launch(&spec(
            container,
            &world.workspace(""),
            &["sh", "-c", "echo runs; sleep 1000"],
        ))
        .unwrap();
    assert_eq!(running.line(), "runs");
    let id = running.guest.rules().container.as_ref().unwrap().id.clone();
    // As the engine's own timer does, where there is one.
    let checked = world
        .engine
        .podman()
        .args(["healthcheck", "run", &id])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&checked.stderr).contains("no defined healthcheck"),
        "{checked:?}"
    );
    assert!(!world.workspace("checked").exists());
    running.guest.kill();
    running.finish();
}

/// What each try of a guest comes to: a script, what it prints, and a word of why.
#[test]
fn nothing_outside_its_workspace_is_there() {
    let Some(world) = World::new() else { return };
    let other = world.directory.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("secret"), "theirs").unwrap();
    let read = world.directory.path().join("read");
    std::fs::write(&read, "shown").unwrap();
    std::fs::write(world.workspace(".envrc"), "mine").unwrap();
    std::os::unix::fs::chown(world.workspace(".envrc"), Some(OWNER), Some(OWNER)).unwrap();
    std::fs::create_dir(world.workspace(".cofferdam")).unwrap();
    std::fs::write(world.workspace(".cofferdam/token"), "secret").unwrap();
    let outside = |path: &Path| path.display().to_string();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    #[rustfmt::skip]
    let table = [
        ("cat /etc/shadow".to_owned(),                                 "No such file"),
        (format!("cat {}", outside(&other.join("secret"))),            "No such file"),
        (format!("ls {}", outside(world.directory.path())),            "No such file"),
        ("ls /run/podman /run/docker.sock".to_owned(),                 "No such file"),
        ("cat /workspace/../root/x /proc/self/root/etc/shadow".to_owned(), "No such file"),
        ("tr '\\0' ' ' < /proc/1/environ".to_owned(),                "Permission denied"),
        ("ls -l /proc/1/fd/".to_owned(),                               "Permission denied"),
        ("cat /proc/1/mem".to_owned(),                                 "Permission denied"),
        ("echo x > /etc/made".to_owned(),                              "Read-only file system"),
        ("echo x > /.cofferdam/made".to_owned(),                       "Read-only file system"),
        ("echo x > /var/tmp/made".to_owned(),                          "Read-only file system"),
        ("echo x > /run/made".to_owned(),                              "Read-only file system"),
        ("echo x > /workspace/.envrc".to_owned(),                      "Read-only file system"),
        ("mv /workspace/.envrc /workspace/x".to_owned(),               "busy"),
        ("cat /workspace/.cofferdam/token".to_owned(),                 "No such file"),
        ("mount -t tmpfs none /tmp".to_owned(),                        "ermi"),
        ("unshare -U true".to_owned(),                                 "Operation not permitted"),
        ("chmod 4755 /workspace/made".to_owned(),                      "Operation not permitted"),
        ("mknod /workspace/node c 1 1".to_owned(),                     "ermi"),
        ("kill -9 1; kill -STOP 1; ls -d /proc/1".to_owned(),          "/proc/1"),
        (format!("nc -w 1 127.0.0.1 {port} < /dev/null"),              "ermission denied"),
        ("nc -w 1 169.254.169.254 80 < /dev/null".to_owned(),          "ermission denied"),
        ("nc -w 1 ::ffff:169.254.169.254 80 < /dev/null".to_owned(),   "ermission denied"),
        ("ping -c 1 127.0.0.1".to_owned(),                             "ermi"),
        ("nslookup example.com 127.0.0.53".to_owned(),                 "onnection refused"),
        ("cat /read".to_owned(),                                       "shown"),
        ("echo more >> /read".to_owned(),                              "ermission denied"),
        ("cat /sys/class/net/*/address".to_owned(),                    "00:00:00:00:00:00"),
        ("ls /dev/mem /dev/kvm /dev/vda /dev/fuse".to_owned(),         "No such file"),
    ];
    std::fs::write(world.workspace("made"), "").unwrap();
    std::os::unix::fs::chown(world.workspace("made"), Some(OWNER), Some(OWNER)).unwrap();
    let all: Vec<String> = table
        .iter()
        .map(|(try_, _)| format!("({try_}) 2>&1 | tr '\\n' ' '; echo"))
        .collect();
    let mut spec = world.sh(&all.join("\n"));
    spec.hidden = vec![world.workspace(".cofferdam")];
    spec.reads = vec![Bind {
        source: read.clone(),
        target: "/read".into(),
    }];
    spec.limits.pids = Some(64);
    let ran = world.run(&spec);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), table.len(), "{ran:?}");
    let tries = table.iter().zip(lines);
    let others: Vec<_> = tries
        .filter(|((_, expected), line)| !line.contains(expected))
        .collect();
    assert!(others.is_empty(), "{others:#?}");
    assert_eq!(std::fs::read_to_string(read).unwrap(), "shown");
    assert_eq!(
        std::fs::read_to_string(world.workspace(".envrc")).unwrap(),
        "mine"
    );
}

#[test]
fn the_doors_inside_are_accepted_from_outside() {
    let Some(world) = World::new() else { return };
    let mut spec = world.sh("echo question | nc 127.0.0.1 7401; nc -w 1 127.0.0.1 7402 2>&1 < /dev/null");
    spec.doors.insert(7401);
    let mut running = world.launch(&spec).unwrap();
    let doors = running.guest.take_doors();
    let door = doors
        .iter()
        .find(|door| door.listener.local_addr().unwrap().is_ipv4())
        .unwrap();
    assert_eq!(
        (door.port, door.listener.local_addr().unwrap().port()),
        (7401, 7401)
    );
    door.listener.set_nonblocking(false).unwrap();
    let (mut stream, _) = door.listener.accept().unwrap();
    stream.set_nonblocking(false).unwrap();
    let mut question = String::new();
    BufReader::new(&stream).read_line(&mut question).unwrap();
    assert_eq!(question, "question\n");
    stream.write_all(b"answer\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let ran = running.finish();
    assert!(ran.out.starts_with("answer\n"), "{ran:?}");
    assert!(
        ran.out.contains("ermission denied"),
        "no other port of its own: {ran:?}"
    );
    assert_eq!(ran.rules.doors, [7401].into());
}

#[test]
fn a_terminal_is_the_guests_own() {
    let Some(world) = World::new() else { return };
    let terminal =
        rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&terminal).unwrap();
    rustix::pty::unlockpt(&terminal).unwrap();
    let name = rustix::pty::ptsname(&terminal, Vec::new()).unwrap();
    let inside = std::fs::File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let size = rustix::termios::Winsize {
        ws_row: 33,
        ws_col: 77,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&terminal, size).unwrap();
    let spec = world.sh("stty size; read line < /dev/tty; echo got $line; exec cat");
    let copies = [(); 3].map(|()| OwnedFd::from(inside.try_clone().unwrap()));
    let guest = world.containers.launch(&flight(), &spec, copies).unwrap();
    drop(inside);
    let mut terminal = std::fs::File::from(terminal);
    let mut lines = BufReader::new(terminal.try_clone().unwrap());
    let mut line = || {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    assert_eq!(line(), "33 77");
    terminal.write_all(b"word\n").unwrap();
    assert_eq!((line(), line()), ("word".to_owned(), "got word".to_owned()));
    // Its own job control: the key that interrupts ends what runs in it.
    terminal.write_all(&[3]).unwrap();
    assert_eq!(wait(&guest).end, End::Signal(2));
}

#[test]
fn a_kill_ends_all_that_it_started_and_nothing_is_left() {
    let Some(world) = World::new() else { return };
    let spec = world.sh("(setsid sh -c 'sleep 1000 & sleep 1000') & (sleep 1000 &) ; echo runs; sleep 1000");
    let mut running = world.launch(&spec).unwrap();
    assert_eq!(running.line(), "runs");
    running.guest.kill();
    let ran = running.finish();
    assert_eq!(
        (ran.exit.end, &ran.exit.stop),
        (End::Signal(9), &Some(Stop::Killed)),
        "{ran:?}"
    );
    // Every one held the pipe that was read to its end.
    world.none_is_left();
    let (flight, stops) = stoppable();
    stops.raise(policy::Stop {
        scope: policy::StopScope::All,
        reason: "drill".to_owned(),
        by: "person:alice".to_owned(),
        at: policy::Reach::Everywhere,
    });
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let refused = world.containers.launch(&flight, &spec, [null(), null(), null()]);
    assert!(matches!(refused, Err(LaunchError::Stopped)), "{refused:?}");
}

/// Without Landlock, our filter and our limits: what is left is the engine's.
#[test]
fn what_the_engine_builds_holds_alone() {
    let Some(world) = World::new() else { return };
    #[rustfmt::skip]
    let table = [
        ("cat /etc/shadow",                     "No such file"),
        ("echo x > /etc/made",                  "Read-only file system"),
        ("echo x > /.cofferdam/made",           "Read-only file system"),
        ("mount -t tmpfs none /tmp",            "ermi"),
        ("unshare -U true",                     "Operation not permitted"),
        ("chmod 4755 /workspace/made",          "Operation not permitted"),
        ("mknod /workspace/node c 1 1",         "Operation not permitted"),
        ("chroot / true",                       "Operation not permitted"),
        ("nc -w 1 169.254.169.254 80 < /dev/null", "unreachable"),
        ("ping -c 1 127.0.0.1",                 "ermi"),
        ("hostname other",                      "ermi"),
    ];
    let all: Vec<String> = table
        .iter()
        .map(|(attempt, _)| format!("({attempt}) 2>&1 | tr '\\n' ' '; echo"))
        .collect();
    let mut spec = world.sh(&format!("touch made\n{}", all.join("\n")));
    spec.without = [
        Part::LandlockFiles,
        Part::LandlockTcp,
        Part::LandlockScopes,
        Part::Seccomp,
        Part::ProcessLimits,
    ]
    .into();
    let ran = world.run(&spec);
    assert!(
        ran.rules.landlock.is_none() && ran.rules.seccomp.is_none(),
        "{ran:?}"
    );
    let tries = table.iter().zip(ran.out.lines());
    let others: Vec<_> = tries
        .filter(|((_, expected), line)| !line.contains(expected))
        .collect();
    assert!(
        others.is_empty() && ran.out.lines().count() == table.len(),
        "{others:#?} {}",
        ran.out
    );
}

#[test]
fn its_engine_learns_nothing_of_a_guest_and_what_it_leaves_to_be_run_is_held_back() {
    let Some(world) = World::new() else { return };
    let mut spec =
        world.sh("echo evil > .bashrc; mkdir .git; echo secret-word; read line < fifo; true secret-argument");
    spec.env.insert("TOKEN".to_owned(), "secret-value".to_owned());
    let made = Command::new("mkfifo")
        .args(["-m", "666"])
        .arg(world.workspace("fifo"))
        .status()
        .unwrap();
    assert!(made.success());
    let mut running = world.launch(&spec).unwrap();
    assert_eq!(running.line(), "secret-word");
    let id = running.guest.rules().container.as_ref().unwrap().id.clone();
    for what in [["inspect", &id], ["logs", &id], ["top", &id]] {
        let told = world.engine.podman().args(what).output().unwrap();
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        // Processes are seen by whoever is root; what is told to the engine is not theirs.
        let is_told = told.contains("secret-") && what[0] != "top";
        assert!(!is_told, "{what:?}: {told}");
    }
    std::fs::write(world.workspace("fifo"), "go\n").unwrap();
    let ran = running.finish();
    assert_eq!(ran.exit.end, End::Code(0), "{ran:?}");
    let held: Vec<(&str, &str)> = ran
        .exit
        .held_back
        .iter()
        .map(|held| (held.made.as_str(), held.now.as_str()))
        .collect();
    assert_eq!(
        held,
        [(".git", ".git.held-back"), (".bashrc", ".bashrc.held-back")]
    );
    assert!(!world.workspace(".bashrc").exists() && world.workspace(".bashrc.held-back").exists());
}

#[test]
fn what_a_guest_leaves_running_ends_with_it_and_so_does_one_that_is_dropped() {
    let Some(world) = World::new() else { return };
    let ran = world.run(&world.sh("(setsid sleep 1000 &); echo gone"));
    assert_eq!(
        (ran.out.as_str(), ran.exit.end),
        ("gone\n", End::Code(0)),
        "{ran:?}"
    );
    let mut running = world.launch(&world.sh("echo runs; sleep 1000")).unwrap();
    assert_eq!(running.line(), "runs");
    drop(running.guest);
    let mut rest = String::new();
    running.out.read_to_string(&mut rest).unwrap();
    world.none_is_left();
}

#[test]
fn greed_ends_at_its_limits() {
    let Some(world) = World::new() else { return };
    let bomb = "f() { sleep 5 & }; for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do f; done";
    let mut spec = world.sh(&format!("{bomb} 2>&1; echo done"));
    spec.limits.pids = Some(16);
    let ran = world.run(&spec);
    assert!(
        ran.out.contains("can't fork") && !ran.out.contains("done"),
        "{ran:?}"
    );
    let mut spec = world.sh("head -c 200000000 /dev/zero | tail -c 200000000 > /dev/null; echo $?");
    spec.limits.memory_bytes = Some(64 << 20);
    let ran = world.run(&spec);
    assert!(
        ran.exit.usage.memory_kills > 0 || ran.exit.stop.is_some(),
        "{ran:?}"
    );
    let mut spec = world.sh("head -c 9000000 /dev/zero > /tmp/file; wc -c < /tmp/file");
    spec.limits.tmp_bytes = 1 << 20;
    let ran = world.run(&spec);
    assert!(ran.out.ends_with("1048576\n"), "{ran:?}");
    let mut spec = world.sh("sleep 1000");
    spec.limits.timeout_ms = Some(300);
    assert_eq!(world.run(&spec).exit.stop, Some(Stop::Timeout));
}

#[test]
fn strict_ends_who_makes_a_call_that_is_not_on_its_list() {
    let Some(world) = World::new() else { return };
    let mut spec = world.sh("echo well");
    spec.profile = Profile::Strict;
    assert_eq!(world.run(&spec).out, "well\n", "what a shell needs is there");
    let mut spec = world.spec(&["unshare", "-m", "true"]);
    spec.profile = Profile::Strict;
    let ran = world.run(&spec);
    assert_eq!(ran.exit.end, End::Signal(31), "{ran:?}");
    assert!(matches!(ran.exit.stop, Some(Stop::Call(_))), "{ran:?}");
}

#[test]
fn what_no_container_can_be_is_refused_by_name() {
    let Some(world) = World::new() else { return };
    let other = world.directory.path().join("roots");
    std::fs::create_dir(&other).unwrap();
    type Change = fn(&mut Spec, &Path);
    #[rustfmt::skip]
    let table: [(&str, Change, &str); 5] = [
        ("root's workspace", |s, dir| s.workspace = dir.join("roots"),            "the workspace belongs to root"),
        ("a review",         |s, dir| s.review = Some(dir.join("x")),             "cannot be collected for a review"),
        ("no such image",    |s, _| s.container.as_mut().unwrap().id = format!("sha256:{}", "0".repeat(64)), "has no image `sha256:0000"),
        ("no such program",  |s, _| s.argv = vec!["/none".into()],                "cannot execute `/none`: ENOENT"),
        ("no such engine",   |s, _| s.container.as_mut().unwrap().engine = Some(EngineKind::Docker), "no container engine answers (there is podman)"),
    ];
    for (name, change, expected) in table {
        let mut spec = world.sh("true");
        change(&mut spec, world.directory.path());
        let refused = world.launch(&spec).err().unwrap().to_string();
        assert!(refused.contains(expected), "{name}: {refused}");
    }
    let refused = world
        .containers
        .image(None, "localhost/none:1")
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("and none is fetched here: `podman pull localhost/none:1`"),
        "{refused}"
    );
    let directory = std::fs::File::open("/").unwrap();
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let refused = world
        .containers
        .launch(&flight(), &world.sh("true"), [directory.into(), null(), null()]);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("a directory of this machine")
    );
    world.none_is_left();
}

#[test]
fn a_platform_that_is_killed_takes_its_containers_with_it() {
    let Some(world) = World::new() else { return };
    let mark = world.workspace("mark");
    let mut platform = Command::new(ATTACKER)
        .arg("platform-of-containers")
        .args([world.directory.path(), Path::new(IMAGE)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(platform.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "runs\n");
    assert_eq!(world.left(), 1);
    platform.kill().unwrap();
    platform.wait().unwrap();
    // Held open by the guest's processes alone.
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    world.none_is_left();
    assert!(mark.exists(), "it ran");
}

#[test]
fn what_a_platform_left_before_it_was_started_is_removed() {
    let Some(world) = World::new() else { return };
    let label = format!("dev.cofferdam.owner={}", world.directory.path().display());
    let made = world
        .engine
        .podman()
        .args(["create", "--label", &label, IMAGE, "true"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    assert_eq!(world.left(), 1);
    world.containers.image(None, IMAGE).unwrap();
    assert_eq!(world.left(), 0);
}
