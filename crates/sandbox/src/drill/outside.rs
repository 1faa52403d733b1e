//! What the attacks are after, outside: made for them, watched, and gone when it is dropped.
//!
//! Invariant: **nothing of the machine's own is touched**: no file, socket, process or memory that is not made here.

use super::attacks::LATER_FILES;
use super::attempts::hello_to;
use super::inside::{ARGUMENT, VICTIM};
use super::{Board, Setting};
use crate::sys;
use crate::wire;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a server waits for a client's first words.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of a client's words that are looked at.
const WORDS_BYTES_MAX: usize = 16 * 1024;
/// How long the last process of a guest that ended may take to die, and how often it is looked at.
const GRACE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(5);
/// What a file of the workspace holds before.
const BEFORE: &str = "before";

/// What was seen, by whoever sees it.
type Seen = Arc<Mutex<Vec<String>>>;

/// The canaries.
#[derive(Debug)]
pub struct Outside {
    setting: Setting,
    directory: PathBuf,
    seen: Seen,
    victim: Child,
    is_victim_dead: bool,
    memory: Option<i32>,
    secret: Secret,
}

/// The file outside that is looked after. Whoever may write beside it may put something else under its name, so it is
/// known by its descriptor.
type Secret = Arc<Mutex<File>>;

impl Outside {
    /// Makes all of it in `directory`, which everybody has to be able to enter. `nonce` is a text that stands nowhere
    /// else; `program` is what runs [`entry`](super::entry).
    ///
    /// # Errors
    /// What the system said.
    pub fn new(directory: &Path, nonce: &str, program: &Path) -> io::Result<Outside> {
        let (seen, outside) = (Seen::default(), directory.join("outside"));
        let secret = Arc::new(Mutex::new(place(&outside, nonce)?));
        workspace(&directory.join("workspace"), nonce)?;
        let name = format!("cofferdam-drill-{nonce}");
        let number = nonce
            .bytes()
            .fold(7_i32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let mut setting = Setting {
            nonce: nonce.to_owned(),
            outside,
            home: std::env::home_dir().unwrap_or_default(),
            host: fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned(),
            abstract_name: name.clone(),
            shared: name,
            // 0 is the key of what has none, and people read negative ones badly.
            key: (number & 0x7fff_ffff).max(1),
            ..Setting::default()
        };
        givers(&setting, &seen, &secret)?;
        open_to_all(&setting.outside)?;
        listeners(&mut setting, &seen)?;
        let victim = Command::new(program)
            .args([ARGUMENT, VICTIM, nonce])
            .env("COFFERDAM_DRILL_VICTIM", nonce)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        setting.victim = victim.id();
        // From here on, what was made is removed by `drop`.
        let mut made = Outside {
            setting,
            directory: directory.to_owned(),
            seen,
            victim,
            is_victim_dead: false,
            memory: None,
            secret,
        };
        drop(new(&made.shared(), nonce, 0o644)?);
        made.memory = Some(sys::make_shared_memory(made.setting.key)?);
        Ok(made)
    }

    /// What is to be attacked. What only its caller knows is to be filled in.
    pub fn setting(&mut self) -> &mut Setting {
        &mut self.setting
    }

    /// The same, to read.
    #[must_use]
    pub fn known(&self) -> &Setting {
        &self.setting
    }

    /// Where guests work.
    #[must_use]
    pub fn workspace(&self) -> PathBuf {
        self.directory.join("workspace")
    }

    fn shared(&self) -> PathBuf {
        Path::new("/dev/shm").join(&self.setting.shared)
    }

    /// What was touched since the last look.
    pub fn touched(&mut self) -> Vec<String> {
        let mut touched = std::mem::take(&mut *lock(&self.seen));
        let outside = self.setting.outside.clone();
        let path = outside.join("secret");
        let mut kept = self.secret.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_whole(&kept, &path, &self.setting.nonce) {
            touched.push("a file outside was changed".to_owned());
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
            if let Ok(again) = new(&path, &self.setting.nonce, 0o666) {
                *kept = again;
            }
        }
        drop(kept);
        for name in ["new", "directory", "taken"] {
            let path = outside.join(name);
            if path.symlink_metadata().is_ok() {
                touched.push(format!("`{name}` was made outside"));
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
            }
        }
        if !self.is_victim_dead && !matches!(self.victim.try_wait(), Ok(None)) {
            self.is_victim_dead = true;
            touched.push("a process outside was ended".to_owned());
        }
        touched
    }

    /// What is left in the workspace once a guest has ended.
    pub fn left(&mut self, board: &mut Board) {
        let workspace = self.workspace();
        let there = |name: &str| workspace.join(name).symlink_metadata();
        for name in LATER_FILES {
            if fs::read_to_string(workspace.join(name)).ok().as_deref() != Some(BEFORE) {
                let id = match *name {
                    "cofferdam.yaml" => "later.policy",
                    name if name.starts_with(".git/") => "later.git",
                    _ => "later.shell",
                };
                board.touched_by(id, format!("`{name}` was changed"));
            }
        }
        let hooks = fs::read_dir(workspace.join(".git/hooks")).map(Iterator::count);
        if hooks.unwrap_or(1) > 0 {
            board.touched_by("later.hook", "there is a hook, or no place for hooks".to_owned());
        }
        for name in [".vscode", ".zshrc"] {
            if there(name).is_ok() {
                board.touched_by("later.new", format!("`{name}` is there, under its name"));
            }
        }
        for name in ["su", "su2"] {
            if there(name).is_ok_and(|found| found.permissions().mode() & 0o6000 != 0) {
                board.touched_by("later.set-user-id", format!("`{name}` has the bit"));
            }
        }
        if there(".cofferdam/planted").is_ok() {
            board.touched_by("files.hidden", "something was planted".to_owned());
        }
        if there("pid").is_ok() && !self.is_free_soon() {
            board.touched_by(
                "life.fork",
                "a process of the guest still holds its lock".to_owned(),
            );
        }
    }

    /// Whether the lock that a guest held is free within [`GRACE`]: the kernel takes its time to take a process apart.
    #[must_use]
    pub fn is_free_soon(&self) -> bool {
        let steps = GRACE.as_millis() / STEP.as_millis();
        (0..steps).any(|_| {
            let is_free = !self.is_held();
            if !is_free {
                std::thread::sleep(STEP);
            }
            is_free
        })
    }

    /// Whether a process of a guest that held its lock still does.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let lock = File::open(self.workspace().join("lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        if let Some(memory) = self.memory {
            sys::remove_shared_memory(memory);
        }
        let _ = fs::remove_file(self.shared());
    }
}

/// The directory that everybody may write in later, with what looks like secrets.
fn place(outside: &Path, nonce: &str) -> io::Result<File> {
    for directory in [outside.to_owned(), outside.join(".ssh"), outside.join(".aws")] {
        DirBuilder::new().mode(0o700).create(&directory)?;
    }
    for name in [".ssh/id_ed25519", ".aws/credentials"] {
        drop(new(&outside.join(name), nonce, 0o666)?);
    }
    new(&outside.join("secret"), nonce, 0o666)
}

/// Rights of the file system shall not be what stops an attack: walls shall. Last, since from then on others may put
/// anything under any name here.
fn open_to_all(outside: &Path) -> io::Result<()> {
    for directory in [outside.join(".ssh"), outside.join(".aws"), outside.to_owned()] {
        fs::set_permissions(&directory, Permissions::from_mode(0o777))?;
    }
    Ok(())
}

/// A file that was not there, through no link.
fn new(path: &Path, text: &str, mode: u32) -> io::Result<File> {
    let mut options = File::options();
    let mut file = options.read(true).write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Whether `kept` still is what has that name, and still holds that text.
fn is_whole(kept: &File, path: &Path, text: &str) -> bool {
    let is_it = || {
        let (held, named) = (kept.metadata()?, fs::symlink_metadata(path)?);
        let mut found = vec![0; text.len() + 1];
        let read = kept.read_at(&mut found, 0)?;
        let is_same = (held.dev(), held.ino()) == (named.dev(), named.ino());
        Ok::<_, io::Error>(is_same && found.get(..read) == Some(text.as_bytes()))
    };
    is_it().unwrap_or(false)
}

fn workspace(workspace: &Path, nonce: &str) -> io::Result<()> {
    fs::create_dir(workspace)?;
    fs::create_dir_all(workspace.join(".git/hooks"))?;
    DirBuilder::new()
        .mode(0o755)
        .create(workspace.join(".cofferdam"))?;
    write(&workspace.join(".cofferdam/admin.token"), nonce, 0o644)?;
    for name in LATER_FILES {
        write(&workspace.join(name), BEFORE, 0o644)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Servers on this machine. Some of them nobody was lent; the others may hear what they are for.
fn listeners(setting: &mut Setting, seen: &Seen) -> io::Result<()> {
    let (trap, private) = (
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    );
    let (tls, clear) = (
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    );
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    (setting.trap, setting.private) = (port(&trap)?, port(&private)?);
    (setting.tls, setting.clear) = (port(&tls)?, port(&clear)?);
    setting.udp = udp.local_addr()?.port();
    // Where there is no IPv6, nobody connects by it.
    let trap6 = TcpListener::bind(("::1", setting.trap)).ok();
    let traps = trap6
        .into_iter()
        .chain([trap])
        .map(|listener| (listener, "nobody was lent"));
    for (listener, what) in traps.chain([(private, "leads to this machine")]) {
        let what = format!("a server outside was reached at a port that {what}");
        serve(listener, seen, move |_| (Some(what.clone()), Vec::new()));
    }
    let own = hello_to("localhost");
    serve(tls, seen, move |stream| spoken_tls(stream, &own));
    let marked = setting.nonce.clone();
    serve(clear, seen, move |stream| spoken_clear(stream, &marked));
    echo(udp, seen);
    Ok(())
}

/// Unix sockets of somebody outside, each of whom gives a descriptor to whoever asks.
fn givers(setting: &Setting, seen: &Seen, secret: &Secret) -> io::Result<()> {
    let (outside, abstract_name) = (&setting.outside, &setting.abstract_name);
    let by_name = |name: &str| {
        let path = outside.join(name);
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o777))?;
        Ok::<_, io::Error>(listener)
    };
    let hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(abstract_name)?)?;
    for (listener, what) in [
        (by_name("engine.sock")?, "the socket of a container engine"),
        (by_name("giver.sock")?, "a socket that gives descriptors away"),
        (hidden, "an abstract socket outside"),
    ] {
        let (seen, secret) = (Arc::clone(seen), Arc::clone(secret));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                lock(&seen).push(format!("{what} was reached"));
                give(&stream, &secret);
            }
        });
    }
    Ok(())
}

fn give(stream: &UnixStream, secret: &Secret) {
    let file = secret.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = (&*file).rewind();
    let _ = wire::send(stream, &"secret", &[file.as_fd()]);
}

/// Answers whoever connects, and keeps what it says of them.
fn serve(
    listener: TcpListener,
    seen: &Seen,
    answer: impl Fn(&mut TcpStream) -> (Option<String>, Vec<u8>) + Send + Sync + 'static,
) {
    let (seen, answer) = (Arc::clone(seen), Arc::new(answer));
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
            // One that says nothing holds nobody up.
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(PATIENCE));
                // The lock is taken behind the words, which may wait, and before the answer, behind which others look.
                let (said, words) = answer(&mut stream);
                lock(&seen).extend(said);
                let _ = stream.write_all(&words);
            });
        }
    });
}

/// What a client says, until it stops for a moment.
fn words(stream: &mut TcpStream, is_all: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (mut all, mut bytes) = (Vec::new(), [0; 1024]);
    while all.len() < WORDS_BYTES_MAX && !is_all(&all) {
        match stream.read(&mut bytes) {
            Ok(read @ 1..) => all.extend(bytes.iter().take(read)),
            _ => break,
        }
    }
    all
}

/// The only words that may come through a tunnel are those of TLS to this host.
fn spoken_tls(stream: &mut TcpStream, own: &[u8]) -> (Option<String>, Vec<u8>) {
    let words = words(stream, |all| all.len() >= own.len());
    if words.is_empty() {
        return (None, Vec::new());
    }
    let odd = (words != own).then(|| {
        format!(
            "{} bytes came through a tunnel that are no TLS to its host",
            words.len()
        )
    });
    (odd, b"heard".to_vec())
}

/// Requests that should not have come are marked.
fn spoken_clear(stream: &mut TcpStream, nonce: &str) -> (Option<String>, Vec<u8>) {
    let words = words(stream, |all| all.windows(4).any(|end| end == b"\r\n\r\n"));
    let text = String::from_utf8_lossy(&words);
    let to = text
        .split_once("/redirect?to=")
        .and_then(|(_, rest)| rest.split(' ').next());
    let answer = match to {
        Some(to) => format!("HTTP/1.1 302 Found\r\nLocation: http://{to}/\r\nContent-Length: 0\r\n\r\n"),
        None => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
    };
    let odd = text
        .contains(nonce)
        .then(|| "the server heard a request that it should not have".to_owned());
    (odd, answer.into_bytes())
}

fn echo(udp: UdpSocket, seen: &Seen) {
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((_, from)) = udp.recv_from(&mut bytes) {
            lock(&seen).push("a datagram came out".to_owned());
            let _ = udp.send_to(b"heard", from);
        }
    });
}

fn lock(seen: &Seen) -> std::sync::MutexGuard<'_, Vec<String>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
