//! The drill's side that runs in a guest: makes each attack in processes of their own, and says what came of it.

use super::attacks::{Attack, attacks};
use super::attempts::{attempt, reason};
use super::board::{Said, Seen};
use super::{Setting, VARIABLE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Stdio};

/// The first argument of a program that attacks, inside. What comes after it: identifiers of attacks.
pub const ARGUMENT: &str = "__attack";
/// Before the words of one try.
const TRY: &str = "--try";
/// Somebody who waits to be attacked, as long as its input is open.
pub(super) const VICTIM: &str = "--victim";
/// How long one try may take, in seconds.
const TRY_SECONDS: i64 = 40;
/// Longest text that one try says, in bytes.
const SAID_BYTES_MAX: usize = 16 * 1024;
/// Longest evidence, in characters.
const EVIDENCE_CHARS_MAX: usize = 160;
/// Tries whose findings may be secrets: they are counted and not shown.
const READING: [&str; 4] = ["read", "take", "list", "hard-link"];

/// Does what [`ARGUMENT`] and the arguments after it say.
#[must_use]
pub fn entry() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(2).collect();
    match args.split_first() {
        Some((first, words)) if first == TRY => try_it(words),
        Some((first, _)) if first == VICTIM => {
            let _ = std::io::stdin().read(&mut [0]);
            ExitCode::SUCCESS
        }
        _ => all(&args),
    }
}

/// Each of these attacks, one after the other.
fn all(ids: &[String]) -> ExitCode {
    let setting = std::env::var(VARIABLE).ok();
    let Some(setting) = setting.and_then(|text| serde_json::from_str::<Setting>(&text).ok()) else {
        // A person who types this has nothing to attack.
        let _ = writeln!(
            std::io::stderr(),
            "there is nothing here to call; see `cofferdam drill`"
        );
        return ExitCode::from(2);
    };
    for told in ids {
        // One that went on in another guest goes on here: `ID@TRY`.
        let (id, at) = told.split_once('@').unwrap_or((told, "0"));
        if let Some(attack) = attacks().find(|attack| attack.id == id) {
            let seen = make(attack, &setting, at.parse().unwrap_or(0));
            tell(&Said::Seen {
                id: id.to_owned(),
                seen,
            });
        }
    }
    ExitCode::SUCCESS
}

/// Whoever is gone is told nothing.
fn tell(said: &Said) {
    let text = serde_json::to_string(said).unwrap_or_default();
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

fn make(attack: &Attack, setting: &Setting, from: usize) -> Seen {
    let (mut stopped, mut unable) = (Vec::new(), None);
    let attempts = setting.attempts(attack);
    for (at, words) in attempts.iter().enumerate().skip(from) {
        let id = attack.id.to_owned();
        tell(&Said::Begin { id, at });
        match in_a_process(words, setting) {
            Seen::Held(why) if stopped.contains(&why) => {}
            Seen::Held(why) => stopped.push(why),
            Seen::NotTried(why) => unable = Some(why),
            ended @ (Seen::Broken(_) | Seen::Killed(_)) => return ended,
        }
    }
    match (unable, stopped.is_empty()) {
        // Of what is made of several, each has to be tried.
        (Some(why), _) => Seen::NotTried(why),
        // Those before were stopped, and there is none after them.
        (None, true) if from > 0 => Seen::Held(String::new()),
        (None, true) => Seen::NotTried("there is nothing here to try it on".to_owned()),
        (None, false) => Seen::Held(stopped.join(", ")),
    }
}

/// One try in a process of its own, which may die of it.
fn in_a_process(words: &[String], setting: &Setting) -> Seen {
    let failed =
        |error: std::io::Error| Seen::NotTried(format!("the attacker cannot start: {}", reason(&error)));
    let own = "/proc/self/exe".to_owned();
    let (program, loading) = setting.itself.split_first().unwrap_or((&own, &[]));
    let mut command = Command::new(program);
    command
        .args(loading)
        .args([ARGUMENT, TRY])
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return failed(error),
    };
    let said = child.stdout.take().map(first_line).unwrap_or_default();
    let _ = child.kill();
    let status = child.wait();
    match (said.split_once(' '), status) {
        (Some(("done", text)), _) => Seen::Broken(evidence(words, text)),
        (Some(("stopped", why)), _) => Seen::Held(cut(why)),
        (Some((_, why)), _) => Seen::NotTried(cut(why)),
        (None, Ok(status)) => match status.signal() {
            Some(signal) => Seen::Killed(signal),
            None => Seen::NotTried(format!("the attacker ended by itself: {status}")),
        },
        (None, Err(error)) => failed(error),
    }
}

/// Until the end of the line, of the text, or of patience.
fn first_line(mut from: std::process::ChildStdout) -> String {
    let mut text = Vec::new();
    let patience = Timespec {
        tv_sec: TRY_SECONDS,
        tv_nsec: 0,
    };
    while text.len() < SAID_BYTES_MAX && !text.contains(&b'\n') {
        let is_there = poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&patience));
        if is_there.unwrap_or(0) == 0 {
            return "unable it took too long".to_owned();
        }
        let mut bytes = [0; 1024];
        match from.read(&mut bytes) {
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
            Ok(read) => text.extend(bytes.iter().take(read)),
        }
    }
    String::from_utf8_lossy(&text)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// What a person is shown, and the journal holds: no secret, and no more than a line.
fn evidence(words: &[String], found: &str) -> String {
    let name = words.first().map_or("", String::as_str);
    let made = cut(&words.join(" "));
    match found.trim() {
        "" => format!("`{made}` worked"),
        found if READING.iter().any(|reading| name.starts_with(reading)) => {
            format!("`{made}` found {} bytes", found.len())
        }
        found => format!("`{made}`: {}", cut(found)),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(EVIDENCE_CHARS_MAX).collect()
}

fn try_it(words: &[String]) -> ExitCode {
    let text = match attempt(words) {
        Some(Ok(found)) => format!("done {}", found.replace('\n', " ")),
        Some(Err(error)) if error.kind() == ErrorKind::Unsupported && error.raw_os_error().is_none() => {
            format!("unable {error}")
        }
        Some(Err(error)) => format!("stopped {}", reason(&error)),
        None => "unable there is no such attack".to_owned(),
    };
    let _ = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}
