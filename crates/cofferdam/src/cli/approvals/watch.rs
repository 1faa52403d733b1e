//! `cofferdam approvals watch`: what waits, one after another, decided with single keys.
//!
//! Nothing is decided but by a key that was pressed after the whole action was shown: what was typed before
//! is thrown away, and several keys at once (a paste, a cursor key) mean nothing. The server is told the digest
//! of the action that was shown, and decides about no other. The terminal is put back as it was, whatever
//! ends the command short of SIGKILL.

use super::{path, show};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use crate::cli::value::{list, raw, text};
use owo_colors::OwoColorize;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcsetattr,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// How often it looks for what waits, when nothing does, in tenths of a second: as long as the terminal waits
/// for a key.
const LOOK_AGAIN_TENTHS: u8 = 20;
/// Keys that are read at once.
const KEYS_MAX: usize = 64;
/// Approvals that one look asks for.
const AT_ONCE: &str = "200";

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Approve,
    Deny,
    Skip,
    Quit,
}

/// Runs it, until somebody quits.
pub async fn run(client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let how = "`approvals watch` needs a terminal; use `approvals list`, `approve` and `deny`";
        return Err(Failure::Misuse(how.to_owned()));
    }
    // Before the terminal is changed, so that no signal ends the process in between.
    let listen = |kind| signal(kind).map_err(Failure::from);
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let _raw = RawMode::enter()?;
    tokio::select! {
        ended = decide_one_by_one(client, screen) => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Err(ended_by("SIGTERM")),
        _ = hangup.recv() => Err(ended_by("SIGHUP")),
    }
}

fn ended_by(signal: &str) -> Failure {
    Failure::Other(anyhow::anyhow!("ended by {signal}; nothing more was decided"))
}

async fn decide_one_by_one(client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let mut skipped = BTreeSet::new();
    let mut told = false;
    loop {
        let Some(id) = next(client, &skipped).await? else {
            if !std::mem::replace(&mut told, true) {
                screen.tell("nothing waits; looking again every 2 seconds, q quits");
            }
            match key().await? {
                Some(Key::Quit) => return Ok(()),
                _ => continue,
            }
        };
        told = false;
        let approval = client.get(&path(&id, ""), &[]).await?;
        let columns = screen.columns;
        screen.line(&show(&approval, columns))?;
        // What was typed until here was typed before the question.
        tcflush(std::io::stdin(), QueueSelector::IFlush).map_err(io)?;
        screen.ask(&format!("{} a approve, d deny, s skip, q quit ", id.bold()));
        let pressed = loop {
            if let Some(pressed) = key().await? {
                break pressed;
            }
        };
        let verdict = match pressed {
            Key::Quit => {
                screen.tell("");
                return Ok(());
            }
            Key::Skip => {
                screen.tell("skipped");
                skipped.insert(id);
                continue;
            }
            Key::Approve => "/approve",
            Key::Deny => "/deny",
        };
        // What the server does not let this person decide is told, and the next one comes.
        let body = json!({ "reason": "", "digest": digest(&approval) });
        match client.post(&path(&id, verdict), &body).await {
            Ok(approval) => screen.tell(&text(&approval, "state")),
            Err(failure) => screen.tell_failure(&failure),
        }
        skipped.insert(id);
    }
}

/// The oldest that waits and was not skipped.
async fn next(client: &Client, skipped: &BTreeSet<String>) -> Result<Option<String>, Failure> {
    let approvals = client
        .get("/api/v1/approvals", &[("limit", AT_ONCE.to_owned())])
        .await?;
    Ok(oldest(&approvals, skipped))
}

fn oldest(approvals: &Value, skipped: &BTreeSet<String>) -> Option<String> {
    let pending = list(approvals, "")
        .iter()
        .filter(|a| raw(a, "state") == "pending");
    let mut ids = pending.map(|a| raw(a, "id").to_owned());
    // The newest come first.
    let mut found = None;
    for id in ids.by_ref().filter(|id| !skipped.contains(id)) {
        found = Some(id);
    }
    found
}

/// Of the action as it was shown.
fn digest(approval: &Value) -> Option<String> {
    let action = approval.get("action").filter(|action| !action.is_null())?;
    let digest = policy::canonical::digest(action).ok()?;
    Some(policy::canonical::hex(&digest))
}

/// The next key, when one comes soon. What means nothing is as if it had not come.
async fn key() -> Result<Option<Key>, Failure> {
    let read = tokio::task::spawn_blocking(read_key);
    read.await
        .map_err(|error| Failure::Other(anyhow::anyhow!("{error}")))?
}

/// Blocks until a key comes, for at most [`LOOK_AGAIN_TENTHS`]: the terminal itself keeps the time. Past the
/// buffer of the standard library, which would keep what a flush has to throw away.
fn read_key() -> Result<Option<Key>, Failure> {
    let mut bytes = [0_u8; KEYS_MAX];
    match rustix::io::read(std::io::stdin(), &mut bytes) {
        Ok(1) => Ok(meaning(bytes[0])),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(io(error)),
    }
}

/// Control-D quits too. Control-C is a signal.
fn meaning(byte: u8) -> Option<Key> {
    match byte {
        b'a' => Some(Key::Approve),
        b'd' => Some(Key::Deny),
        b's' => Some(Key::Skip),
        b'q' | 4 => Some(Key::Quit),
        _ => None,
    }
}

/// A terminal that sends every key at once and shows none, until this is dropped or the process panics.
struct RawMode(Arc<Termios>);

impl RawMode {
    fn enter() -> Result<RawMode, Failure> {
        let input = std::io::stdin();
        let before = Arc::new(tcgetattr(&input).map_err(io)?);
        let mut raw = Termios::clone(&before);
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        // Neither suspended nor ended with a core while the terminal is not as it was.
        for code in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            raw.special_codes[code] = 0;
        }
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = LOOK_AGAIN_TENTHS;
        let (kept, others) = (Arc::clone(&before), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            restore(&kept);
            others(panic);
        }));
        let mode = RawMode(before);
        // What was typed before anything was shown decides nothing.
        tcsetattr(&input, OptionalActions::Flush, &raw).map_err(io)?;
        Ok(mode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore(&self.0);
    }
}

fn restore(modes: &Termios) {
    let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, modes);
}

fn io(error: rustix::io::Errno) -> Failure {
    Failure::from(std::io::Error::from(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_four_keys_mean_something() {
        let meant: Vec<(u8, Key)> = (0..=255)
            .filter_map(|byte| Some((byte, meaning(byte)?)))
            .collect();
        #[rustfmt::skip]
        assert_eq!(meant, [
            (4, Key::Quit), (b'a', Key::Approve), (b'd', Key::Deny), (b'q', Key::Quit), (b's', Key::Skip),
        ]);
    }

    #[test]
    fn the_oldest_that_waits_comes_first() {
        let approvals = json!([
            {"id": "apr-9", "state": "pending"}, {"id": "apr-7", "state": "pending"}, {"id": "apr-8", "state": "approved"}]);
        for (skipped, expected) in [
            (vec![], Some("apr-7")),
            (vec!["apr-7"], Some("apr-9")),
            (vec!["apr-7", "apr-9"], None),
        ] {
            let skipped = skipped.into_iter().map(str::to_owned).collect();
            assert_eq!(oldest(&approvals, &skipped).as_deref(), expected, "{skipped:?}");
        }
    }
}
