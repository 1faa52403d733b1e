//! `approvals watch` on a real pseudo-terminal, which `script` gives it.

use crate::approvals::World;
use crate::common::Platform;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PROMPT: &str = "a approve, d deny, s skip, q quit ";

/// The command on a terminal of its own.
struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// As `token`, between two looks at the modes of the terminal, `early` typed before anything is shown.
    fn open(platform: &Platform, token: &str, early: &str) -> Terminal {
        let file = platform.directory.path().join("watch.token");
        std::fs::write(&file, token).unwrap();
        let watch = env!("CARGO_BIN_EXE_cofferdam");
        // Control-C reaches the shell as well: it has to outlive it, to tell how the command ended.
        let script = format!(
            "trap : INT; stty -g; sleep 0.3; sh -c 'echo pid=$$; exec {watch} approvals watch'; echo code=$?; stty -g; echo over"
        );
        let mut child = Command::new("script")
            .args([
                "--quiet",
                "--flush",
                "--echo",
                "never",
                "--command",
                &script,
                "/dev/null",
            ])
            .env("SHELL", "/bin/sh")
            .env("COFFERDAM_SERVER", platform.url(""))
            .env("COFFERDAM_TOKEN_FILE", &file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut out, kept) = (child.stdout.take().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0_u8; 4096];
            while let Ok(n @ 1..) = out.read(&mut bytes) {
                kept.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        let mut terminal = Terminal {
            keys: child.stdin.take(),
            child,
            shown,
        };
        terminal.press(early);
        terminal
    }

    fn press(&mut self, keys: &str) {
        let input = self.keys.as_mut().unwrap();
        input.write_all(keys.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// Waits until it shows `text`, `times` times.
    async fn shows(&self, text: &str, times: usize) -> String {
        for _ in 0..600 {
            let shown = self.shown.lock().unwrap().clone();
            if shown.matches(text).count() >= times {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never `{text}`: {}", self.shown.lock().unwrap());
    }

    /// The exit code, and whether the terminal is as it was before.
    async fn ended(&mut self) -> (String, bool) {
        let shown = self.shows("over", 1).await;
        let modes: Vec<&str> = shown
            .lines()
            .map(str::trim)
            .filter(|line| line.matches(':').count() > 20)
            .collect();
        let code = shown
            .split("code=")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .trim()
            .to_owned();
        assert_eq!(modes.len(), 2, "{shown}");
        drop(self.keys.take());
        self.child.wait().unwrap();
        (code, modes[0] == modes[1])
    }
}

async fn state(world: &World, id: &Value) -> String {
    let path = format!("/api/v1/approvals/{}", id.as_str().unwrap());
    world.platform.get(&path).await.body["state"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn approver(world: &World) -> String {
    world
        .platform
        .token(json!({"principal": "bob", "roles": ["approver"]}))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_decide_what_was_shown_and_nothing_typed_before() {
    #[rustfmt::skip]
    let table = [
        // typed before, then at the prompt, what comes of it, exit code
        ("aaaa",  "q",       "pending",  "0"),
        ("dddd",  "q",       "pending",  "0"),
        ("",      "a",       "approved", ""),
        ("",      "d",       "denied",   ""),
        ("a",     "s",       "pending",  ""),
        ("",      "aaq",     "pending",  ""),
        ("",      "\x1b[a",  "pending",  ""),
        ("",      "A",       "pending",  ""),
    ];
    for (early, keys, expected, code) in table {
        let world = crate::approvals::world().await;
        let approval = world.parked().await;
        let token = approver(&world).await;
        let mut terminal = Terminal::open(&world.platform, &token, early);
        terminal.shows(PROMPT, 1).await;
        terminal.press(keys);
        if code.is_empty() {
            // What means nothing leaves the question where it is; anything else brings the next look.
            match expected {
                "pending" if keys != "s" => tokio::time::sleep(Duration::from_millis(500)).await,
                _ => drop(terminal.shows("nothing waits", 1).await),
            }
            if expected != "pending" {
                let what = world
                    .platform
                    .get(&format!("/api/v1/approvals/{}", approval["id"].as_str().unwrap()))
                    .await;
                assert_eq!(what.body["decided_by"], "person:bob", "{keys:?}: {what:?}");
            }
            terminal.press("q");
        }
        let (ended, restored) = terminal.ended().await;
        assert_eq!((ended.as_str(), restored), ("0", true), "{early:?} {keys:?}");
        let now = state(&world, &approval["id"]).await;
        let now = if now == "spent" {
            "approved".to_owned()
        } else {
            now
        };
        assert_eq!(now, expected, "{early:?} {keys:?}");
        world.platform.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_is_put_back_after_control_c_and_after_a_kill() {
    for (signal, code) in [("", "0"), ("TERM", "1"), ("HUP", "1")] {
        let world = crate::approvals::world().await;
        let approval = world.parked().await;
        let mut terminal = Terminal::open(&world.platform, &approver(&world).await, "");
        let shown = terminal.shows(PROMPT, 1).await;
        match signal {
            "" => terminal.press("\x03"),
            signal => {
                let pid = shown.split("pid=").nth(1).unwrap().lines().next().unwrap().trim();
                assert!(
                    Command::new("kill")
                        .args(["-s", signal, pid])
                        .status()
                        .unwrap()
                        .success()
                );
            }
        }
        assert_eq!(terminal.ended().await, (code.to_owned(), true), "{signal}");
        assert_eq!(state(&world, &approval["id"]).await, "pending", "{signal}");
        world.platform.stop().await;
    }
}
