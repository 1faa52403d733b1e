//! The release binary as its user starts it: a directory, a port, a process.

use crate::http::Client;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A start that takes longer is no start.
const START_MAX: Duration = Duration::from_secs(60);
/// Pause between two attempts to reach a port that nobody listens on yet.
const AGAIN_AFTER: Duration = Duration::from_micros(200);

/// A running `cofferdam up`. Dropping it is SIGKILL.
pub struct Platform {
    child: Child,
    folder: PathBuf,
    port: u16,
    /// From before the process was made until `/readyz` answered 200.
    pub ready: Duration,
}

impl Platform {
    /// Starts in `folder`, with data in `folder/data` and `folder/cofferdam.yaml` if that is there.
    pub fn start(folder: &Path) -> Platform {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command.current_dir(folder).args([
            "up",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--data-dir",
            "data",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let start = Instant::now();
        let child = command.spawn().unwrap();
        let mut platform = Platform {
            child,
            folder: folder.to_owned(),
            port,
            ready: Duration::ZERO,
        };
        while !platform.is_ready() {
            let ended = platform.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(
                ended.is_none() && start.elapsed() < START_MAX,
                "did not become ready; its log:\n{}",
                log()
            );
        }
        platform.ready = start.elapsed();
        platform
    }

    /// Connections are taken by the kernel as soon as the port is bound, so the first that is made
    /// is answered as soon as requests are served: there is nothing to poll for.
    fn is_ready(&self) -> bool {
        let answer = Client::connect(self.port, "").and_then(|mut client| client.call("GET", "/readyz", ""));
        match answer {
            Ok((200, _)) => true,
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                std::thread::sleep(AGAIN_AFTER);
                false
            }
            Err(_) => false,
        }
    }

    /// A connection with the administrator's token.
    pub fn client(&self) -> Client {
        let token = std::fs::read_to_string(self.folder.join("data/admin.token")).unwrap();
        Client::connect(self.port, token.trim()).unwrap()
    }

    /// Memory that is resident, in MiB.
    pub fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kib: f64 = line.trim_end_matches("kB").trim().parse().unwrap();
        kib / 1024.0
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
