//! A real container engine for tests: Podman, on storage of the tests' own, with one small image.
//!
//! Nothing of the machine's own containers is touched. The service ends by itself a minute after the last who asked.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "for tests, which end where they do not know further"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The image's name.
pub const IMAGE: &str = "localhost/cofferdam-tests:3";
/// Where images and containers of tests lie, of all tests of this machine. Podman takes no path longer than 50 bytes.
const PLACE: &str = "/var/tmp/cofferdam-tests-engine";
/// What is in it besides busybox.
const PASSWD: &str = "root:x:0:0::/:/bin/sh\n";
/// Where Podman looks for an answer what to run containers by. `crun` of Debian 12 takes no machine whose cgroups are of
/// both versions.
const CONFIGURATION: &str =
    "[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n";

/// An engine that answers, for as long as this is there.
pub struct Engine {
    /// Its socket.
    pub socket: PathBuf,
    service: Child,
    place: PathBuf,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

impl Engine {
    /// Starts it, with the image, to listen at `socket`; `None`, which is printed, where Podman, runc, a static busybox or root are
    /// missing.
    ///
    /// # Panics
    /// They are missing and peers are insisted upon, or it does not start.
    #[must_use]
    pub fn start(socket: &Path) -> Option<Engine> {
        let is_there = |path: &str| Path::new(path).exists();
        let is_root =
            std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if !is_root
            || !["/usr/bin/podman", "/usr/sbin/runc", "/bin/busybox"]
                .into_iter()
                .all(is_there)
        {
            assert!(
                std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_none(),
                "podman, runc and busybox-static, and root, are insisted upon"
            );
            eprintln!("skipped: containers take root, podman, runc and busybox-static");
            return None;
        }
        let place = PathBuf::from(PLACE);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("containers.conf"), CONFIGURATION).unwrap();
        with_image(&place);
        let service = podman(&place)
            .args(["system", "service", "--time", "60"])
            .arg(format!("unix://{}", socket.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let engine = Engine {
            socket: socket.to_owned(),
            service,
            place,
        };
        for _ in 0..1_000 {
            if std::os::unix::net::UnixStream::connect(socket).is_ok() {
                return Some(engine);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("podman does not answer at {}", socket.display());
    }

    /// `podman` on the storage of the tests.
    #[must_use]
    pub fn podman(&self) -> Command {
        podman(&self.place)
    }
}

fn podman(place: &Path) -> Command {
    let mut command = Command::new("/usr/bin/podman");
    // Its monitor of containers leaves a file `oom` where it was started.
    command
        .current_dir(place)
        .env("CONTAINERS_CONF", place.join("containers.conf"))
        .args([
            "--root".as_ref(),
            place.join("root").as_os_str(),
            "--runroot".as_ref(),
            place.join("run").as_os_str(),
        ]);
    command
}

/// Imports the image, once: tests of other processes wait.
fn with_image(place: &Path) {
    let lock = std::fs::File::create(place.join("lock")).unwrap();
    lock.lock().unwrap();
    let known = podman(place)
        .args(["image", "exists", IMAGE])
        .stderr(Stdio::null())
        .status();
    if known.unwrap().success() {
        return;
    }
    let rootfs = place.join("rootfs");
    let _ = std::fs::remove_dir_all(&rootfs);
    for directory in ["bin", "etc", "home", "tmp", "proc", "sys", "dev"] {
        std::fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    std::fs::set_permissions(
        rootfs.join("tmp"),
        std::os::unix::fs::PermissionsExt::from_mode(0o1777),
    )
    .unwrap();
    std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    let applets = Command::new("/bin/busybox")
        .arg("--list")
        .output()
        .unwrap()
        .stdout;
    for applet in String::from_utf8(applets)
        .unwrap()
        .lines()
        .filter(|applet| *applet != "busybox")
    {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    std::fs::write(rootfs.join("etc/passwd"), PASSWD).unwrap();
    // An image that would load something of its own into the first process, if it was let.
    std::fs::write(rootfs.join("etc/ld.so.preload"), "/evil.so\n").unwrap();
    let tar = Command::new("tar")
        .arg("-C")
        .arg(&rootfs)
        .args(["-c", "."])
        .output()
        .unwrap()
        .stdout;
    let mut import = podman(place)
        .args([
            "import",
            "--change",
            "ENV PATH=/bin",
            "--change",
            "ENV LD_PRELOAD=/evil.so",
            "-",
            IMAGE,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(&tar).unwrap();
    assert!(import.wait().unwrap().success(), "the image cannot be imported");
}
