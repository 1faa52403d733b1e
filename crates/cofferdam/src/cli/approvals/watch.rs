//! `cofferdam approvals watch`: what waits, one after another, decided with single keys.
//!
//! Nothing is decided but by a key that was pressed after the whole action was shown. The terminal is put
//! back as it was, whatever ends the command.

use super::{path, show};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use crate::cli::value::{list, raw, text};
use owo_colors::OwoColorize;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Read as _};
use std::sync::Arc;
use std::time::Duration;

/// How often it looks for what waits, when nothing does.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
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
    let _raw = RawMode::enter()?;
    let mut skipped = BTreeSet::new();
    let mut told = false;
    loop {
        let Some(id) = next(client, &skipped).await? else {
            if !std::mem::replace(&mut told, true) {
                screen.tell("nothing waits; looking again every 2 seconds, q quits");
            }
            match key(LOOK_AGAIN).await? {
                Some(Key::Quit) => return Ok(()),
                _ => continue,
            }
        };
        told = false;
        let approval = client.get(&path(&id, ""), &[]).await?;
        let columns = screen.columns;
        screen.line(&show(&approval, columns))?;
        screen.ask(&format!("{} a approve, d deny, s skip, q quit ", id.bold()));
        let pressed = loop {
            if let Some(pressed) = key(LOOK_AGAIN).await? {
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
        match client.post(&path(&id, verdict), &json!({ "reason": "" })).await {
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

/// The next key, when one comes within `wait`. One that means nothing is as if it had not come.
async fn key(wait: Duration) -> Result<Option<Key>, Failure> {
    let tenths = u8::try_from(wait.as_millis() / 100).unwrap_or(u8::MAX);
    let read = tokio::task::spawn_blocking(move || read_key(tenths));
    read.await
        .map_err(|error| Failure::Other(anyhow::anyhow!("{error}")))?
}

/// Blocks for at most `tenths` of a second: the terminal itself keeps the time.
fn read_key(tenths: u8) -> Result<Option<Key>, Failure> {
    let input = std::io::stdin();
    let mut modes = tcgetattr(&input).map_err(io)?;
    modes.special_codes[SpecialCodeIndex::VMIN] = 0;
    modes.special_codes[SpecialCodeIndex::VTIME] = tenths;
    tcsetattr(&input, OptionalActions::Now, &modes).map_err(io)?;
    let mut byte = [0_u8];
    match input.lock().read(&mut byte).map_err(Failure::from)? {
        0 => Ok(None),
        _ => Ok(meaning(byte[0])),
    }
}

/// Control-C and control-D quit too: the terminal does not send them as signals here.
fn meaning(byte: u8) -> Option<Key> {
    match byte {
        b'a' => Some(Key::Approve),
        b'd' => Some(Key::Deny),
        b's' => Some(Key::Skip),
        b'q' | 3 | 4 => Some(Key::Quit),
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
        raw.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
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
            (3, Key::Quit), (4, Key::Quit), (b'a', Key::Approve), (b'd', Key::Deny), (b'q', Key::Quit), (b's', Key::Skip),
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
