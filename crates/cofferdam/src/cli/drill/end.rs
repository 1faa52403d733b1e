//! Attacks from outside on the end of guests: whoever started one goes away.

use super::Guests;
use super::guest::{Guest, Site};
use crate::cli::failure::Failure;
use crate::cli::run::platform::Platform;
use ::sandbox::drill::Made;
use rustix::process::{Pid, Signal, kill_process};

/// What a guest does that is to be outlived: it holds a lock as long as it lives.
const HOLD: [&str; 3] = ["--try", "hold", "lock"];
/// What it says once it does.
const HOLDS: &str = "runs";

/// The command that started a guest is gone: its connection ends, and nothing is said.
pub(super) fn disconnect(site: &Site, platform: &Platform, guests: &mut Guests) -> Result<Made, Failure> {
    Ok(match holding(site, platform, guests)? {
        Err(why) => Made::NotTried(why),
        Ok(guest) => {
            drop(guest);
            seen(site, "the connection ended")
        }
    })
}

/// The launcher is killed. Only that of a platform that is thrown away: all guests of it end.
pub(super) fn kill_launcher(site: &Site, platform: &Platform, guests: &mut Guests) -> Result<Made, Failure> {
    if !platform.is_thrown_away() {
        let why = "it would end every guest of the platform that runs here; a drill of a platform of its own kills that \
                   one's: cofferdam drill --only life --data-dir DIR, with a new DIR";
        return Ok(Made::NotTried(why.to_owned()));
    }
    let guest = match holding(site, platform, guests)? {
        Ok(guest) => guest,
        Err(why) => return Ok(Made::NotTried(why)),
    };
    let Some(launcher) = launcher() else {
        return Ok(Made::NotTried(
            "its launcher is not found among the processes".to_owned(),
        ));
    };
    if let Err(error) = kill_process(launcher, Signal::KILL) {
        return Ok(Made::NotTried(format!("it cannot be killed: {error}")));
    }
    let made = seen(site, "the launcher was killed");
    let _ = guest.end()?;
    Ok(made)
}

/// A guest that holds its lock.
fn holding(site: &Site, platform: &Platform, guests: &mut Guests) -> Result<Result<Guest, String>, Failure> {
    let mut guest = match Guest::start(site, platform, &HOLD, guests)? {
        Ok(guest) => guest,
        Err(why) => return Ok(Err(why)),
    };
    let is_held = guest.line().is_some_and(|line| line.trim() == HOLDS) && site.known().is_held();
    Ok(match is_held {
        true => Ok(guest),
        false => Err("the guest did not begin".to_owned()),
    })
}

fn seen(site: &Site, what: &str) -> Made {
    match site.known().is_free_soon() {
        true => Made::Held(format!("{what}, and its last process was dead within a second")),
        false => Made::Broken(format!(
            "{what}, and a second later a process of the guest still held its lock"
        )),
    }
}

/// The child of this process that launches guests.
fn launcher() -> Option<Pid> {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let is_launcher = line.split(|byte| *byte == 0).nth(1)? == ::sandbox::ARGUMENT.as_bytes();
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let parent = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))?
            .trim()
            .to_owned();
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        (is_launcher && parent == own)
            .then(|| Pid::from_raw(number))
            .flatten()
    })
}
