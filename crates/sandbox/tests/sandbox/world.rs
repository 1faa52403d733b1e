//! What tests stand on: a launcher, a workspace, and a flight that no gate gave.

use crate::flight::flight;
use sandbox::{Bind, Config, Exit, Guest, LaunchError, Launcher, Rules, Spec};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The program that is zygote and attacker.
pub const ATTACKER: &str = env!("CARGO_BIN_EXE_sandbox-attacker");
/// Whether this machine has every wall, and this user may be others: what shows a wall needs both.
pub fn able() -> bool {
    let ability = launcher().ability();
    let able = ability.is_whole() && ability.other_users;
    if !able {
        assert!(
            std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_none(),
            "walls are insisted upon: {ability:?}"
        );
        eprintln!(
            "skipped: it takes root, and a machine without {:?}",
            ability.missing.keys()
        );
    }
    able
}

/// A place that every user may enter: `/root` and directories of `tempfile` are closed to those that guests are.
pub struct Site {
    pub dir: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Site {
        let dir = tempfile::Builder::new()
            .prefix("cofferdam-")
            .tempdir_in("/var/tmp")
            .unwrap();
        let site = Site { dir };
        open_to_all(site.dir.path(), 0o755);
        std::fs::copy(ATTACKER, site.attacker()).unwrap();
        for name in ["workspace", "other"] {
            std::fs::create_dir(site.dir.path().join(name)).unwrap();
        }
        open_to_all(&site.other(""), 0o777);
        std::fs::write(site.other("secret"), "theirs").unwrap();
        open_to_all(&site.other("secret"), 0o644);
        site
    }

    /// The workspace of the guest.
    pub fn workspace(&self, path: &str) -> PathBuf {
        self.dir.path().join("workspace").join(path)
    }

    /// What is somebody else's, although this user's rights would do.
    pub fn other(&self, path: &str) -> PathBuf {
        self.dir.path().join("other").join(path)
    }

    pub fn attacker(&self) -> PathBuf {
        self.dir.path().join("attacker")
    }

    /// A guest that attacks. Paths are the same inside and outside, so that an attack means the same with and
    /// without walls.
    pub fn attack(&self, words: &[&str]) -> Spec {
        let attacker = self.attacker();
        let mut argv = vec![attacker.to_str().unwrap()];
        argv.extend(words);
        let mut spec = spec(&self.dir.path().join("workspace"), &argv);
        spec.workspace_at = spec.workspace.clone();
        spec.reads = vec![Bind {
            source: attacker.clone(),
            target: attacker,
        }];
        spec
    }
}

pub fn open_to_all(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The launcher of all tests that do not kill theirs.
pub fn launcher() -> &'static Launcher {
    static LAUNCHER: OnceLock<Launcher> = OnceLock::new();
    LAUNCHER.get_or_init(|| start(0))
}

/// A launcher of one's own.
pub fn start(pool: usize) -> Launcher {
    Launcher::start(Config {
        program: PathBuf::from(ATTACKER),
        pool,
    })
    .unwrap()
}

/// A guest that ended.
#[derive(Debug)]
pub struct Ran {
    pub exit: Exit,
    pub out: String,
    pub err: String,
    pub rules: Rules,
}

/// A guest that runs, and what it says.
pub struct Running {
    pub guest: Guest,
    out: std::io::PipeReader,
    err: std::io::PipeReader,
}

/// Runs `argv` in a workspace, as `change` says.
pub fn spec(workspace: &Path, argv: &[&str]) -> Spec {
    let argv = argv.iter().map(|a| (*a).to_owned()).collect();
    let mut spec = Spec::new(argv, workspace.to_owned());
    // Disks of machines that run tests may be nearly full.
    spec.limits.disk_free_bytes = 0;
    spec
}

/// Starts a guest with pipes.
pub fn launch(launcher: &Launcher, spec: &Spec) -> Result<Running, LaunchError> {
    let null = std::fs::File::open("/dev/null").unwrap();
    launch_with(launcher, spec, null.into())
}

/// Starts a guest that reads from `input`.
pub fn launch_with(launcher: &Launcher, spec: &Spec, input: OwnedFd) -> Result<Running, LaunchError> {
    let flight = flight();
    let (out, to_out) = std::io::pipe().unwrap();
    let (err, to_err) = std::io::pipe().unwrap();
    let stdio: [OwnedFd; 3] = [input, to_out.into(), to_err.into()];
    let guest = launcher.launch(&flight, spec, stdio)?;
    Ok(Running { guest, out, err })
}

impl Running {
    /// The next line that it writes.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Ran {
        let mut err = self.err;
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            err.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut out = Vec::new();
        self.out.read_to_end(&mut out).unwrap();
        let exit = wait(&self.guest);
        Ran {
            exit,
            out: String::from_utf8_lossy(&out).into_owned(),
            err: errors.join().unwrap(),
            rules: self.guest.rules().clone(),
        }
    }
}

/// How a guest ended.
pub fn wait(guest: &Guest) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(guest.wait())
}

/// Starts a guest and waits for its end.
pub fn run(spec: &Spec) -> Ran {
    match launch(launcher(), spec) {
        Ok(running) => running.finish(),
        Err(e) => panic!("{e}"),
    }
}
