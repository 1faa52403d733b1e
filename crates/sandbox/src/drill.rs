//! The drill: attacks on the walls from inside, and what came of each, seen from outside as well.
//!
//! One list of attacks, [`attacks`], for whoever owns an installation and for the tests of the walls. A guest makes
//! them, [`entry`]; [`Outside`] holds what they are after and sees whether it was touched; [`Board`] says what is to be
//! made next and what came of everything.
//!
//! Invariants:
//! - **Safe on a live machine**: what is attacked outside was made for it, and greed is bounded.
//! - **Nothing unsure is held**: what could not be tried, what ended otherwise than by a wall that claims it, and what
//!   no wall that is built claims is not guaranteed.
//! - **What is seen outside counts more** than what the attacker says.

mod attacks;
mod attempts;
mod board;
mod inside;
mod outside;

pub use attacks::{AREAS, Attack, Way, attacks};
pub use attempts::{Outcome, attempt, reason};
pub use board::{Board, Finding, Made, Verdict};
pub use inside::{ARGUMENT, entry};
pub use outside::Outside;

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The variable by which a guest knows what to attack.
pub const VARIABLE: &str = "COFFERDAM_DRILL";

/// What is to be attacked, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Text that stands nowhere else: whoever has it was outside.
    pub nonce: String,
    /// A directory outside that everybody may write in.
    pub outside: PathBuf,
    /// Where the person who started the drill is at home.
    pub home: PathBuf,
    /// The platform's own files and directories.
    pub own: Vec<PathBuf>,
    /// A process outside that exists to be attacked.
    pub victim: u32,
    /// The machine's name.
    pub host: String,
    /// An abstract unix socket outside.
    pub abstract_name: String,
    /// Shared memory outside, by its key.
    pub key: i32,
    /// A file in `/dev/shm` outside.
    pub shared: String,
    /// A TCP port of this machine that nobody may connect to.
    pub trap: u16,
    /// A UDP port of this machine.
    pub udp: u16,
    /// A port of `localhost` that is lent as a tunnel of TLS.
    pub tls: u16,
    /// One that is lent as requests in clear text.
    pub clear: u16,
    /// One that is lent, without its network being named.
    pub private: u16,
    /// The door, inside.
    pub door: u16,
    /// Bytes that are more than the workspace's file system may take before the guest is ended.
    pub fill: u64,
    /// Free bytes of that file system below which the guest is ended.
    pub floor: u64,
    /// The words by which the attacker is executed inside, where that is not by its own file.
    #[serde(default)]
    pub itself: Vec<String>,
}

impl Setting {
    /// The tries of an attack, as they are made here.
    #[must_use]
    pub fn attempts(&self, attack: &Attack) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        for words in attack.attempts {
            let filled: Vec<String> = words.iter().map(|word| self.fill(word)).collect();
            if !filled.iter().any(|word| word.contains("{own}")) {
                all.push(filled);
                continue;
            }
            for own in &self.own {
                let own = own.display().to_string();
                all.push(filled.iter().map(|word| word.replace("{own}", &own)).collect());
            }
        }
        all
    }

    fn fill(&self, word: &str) -> String {
        if !word.contains('{') {
            return word.to_owned();
        }
        let table: [(&str, String); 16] = [
            ("{nonce}", self.nonce.clone()),
            ("{outside}", self.outside.display().to_string()),
            ("{home}", self.home.display().to_string()),
            ("{victim}", self.victim.to_string()),
            ("{host}", self.host.clone()),
            ("{abstract}", self.abstract_name.clone()),
            ("{key}", self.key.to_string()),
            ("{shared}", self.shared.clone()),
            ("{trap}", self.trap.to_string()),
            ("{udp}", self.udp.to_string()),
            ("{tls}", self.tls.to_string()),
            ("{clear}", self.clear.to_string()),
            ("{private}", self.private.to_string()),
            ("{door}", format!("127.0.0.1:{}", self.door)),
            ("{fill}", self.fill.to_string()),
            ("{floor}", self.floor.to_string()),
        ];
        let filled = table.iter();
        filled.fold(word.to_owned(), |word, (name, value)| word.replace(name, value))
    }
}
