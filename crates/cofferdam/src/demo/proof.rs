//! The last act: the journal verifies, and two falsified copies of it do not.

use super::follow::Found;
use super::narrator::Narrator;
use super::stage::{Directory, ORIGIN};
use super::tamper::{self, Forgery};
use crate::cli::audit::offline;
use crate::cli::failure::Failure;
use crate::cli::table::Look;
use crate::cli::value::{field, text};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use store::clock::SystemClock;
use store::{Keys, Options, Store, Stored};

/// Who the forger says approved.
const FORGED_APPROVER: &str = "person:mallory";

/// Shows it.
pub async fn show(narrator: &mut Narrator<'_>, directory: &Directory, found: &Found) -> Result<(), Failure> {
    narrator.act("proof", "The record, and who could change it")?;
    let files = Files {
        data: directory.join("data"),
        keys: directory.join("data-keys"),
    };
    let kept = directory
        .join("data-checkpoints")
        .join(format!("{}.txt", ORIGIN.replace('/', "_")));
    verify(narrator, &files.data, &files.keys, Copy::Honest, &[])?;
    verify(
        narrator,
        &files.data,
        &files.keys,
        Copy::Honest,
        std::slice::from_ref(&kept),
    )?;

    let entries = files.entries()?;
    let changed = directory.join("one-byte");
    tamper::copy(&files.data, &changed)?;
    let entry = entry_to_change(&entries, found)?;
    let kind = &entry.entry.kind;
    tamper::change_one_byte(&changed, entry, &format!("\"kind\":\"{kind}"))?;
    let said = format!(
        "a copy in which one byte of entry {} ({kind}) was changed",
        entry.entry.sequence
    );
    narrator.fact(
        "tampered",
        "tampered",
        &said,
        Look::Plain,
        json!({ "entry": entry.entry.sequence }),
    )?;
    verify(narrator, &changed, &files.keys, Copy::OneByte, &[])?;

    let forged = directory.join("rewritten");
    let was = forge(&files, &forged, &entries).await?;
    let said = format!(
        "a copy written anew, entry {} saying {FORGED_APPROVER} instead of {}, and signed with the stolen key",
        was.entry.sequence, was.entry.actor
    );
    narrator.fact(
        "tampered",
        "forged",
        &said,
        Look::Plain,
        json!({ "entry": was.entry.sequence }),
    )?;
    verify(narrator, &forged, &files.keys, Copy::Rewritten, &[])?;
    verify(
        narrator,
        &forged,
        &files.keys,
        Copy::Rewritten,
        std::slice::from_ref(&kept),
    )
}

/// Where the honest journal is.
struct Files {
    data: PathBuf,
    keys: PathBuf,
}

impl Files {
    fn entries(&self) -> Result<Vec<Stored>, Failure> {
        let options = Options {
            directory: self.data.clone(),
            origin: ORIGIN.to_owned(),
            keys: Keys::open_or_create(&self.keys, ORIGIN).map_err(anyhow::Error::from)?,
            projections: [gate::projections(), ops::triage::projections()].concat(),
            clock: SystemClock::shared(),
            checkpoints: None,
            vfs: None,
            synchronous: "FULL",
        };
        tamper::entries(&Store::open_read_only(options).map_err(anyhow::Error::from)?)
    }
}

/// Which journal is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    Honest,
    OneByte,
    Rewritten,
}

impl Copy {
    fn name(self) -> &'static str {
        match self {
            Copy::Honest => "honest",
            Copy::OneByte => "one_byte",
            Copy::Rewritten => "rewritten",
        }
    }

    /// Whether verification has to find it honest. Whoever owns the disk and the key can write a
    /// journal that agrees with itself; only what was kept elsewhere convicts them.
    fn passes(self, against: bool) -> bool {
        match self {
            Copy::Honest => true,
            Copy::OneByte => false,
            Copy::Rewritten => !against,
        }
    }
}

fn verify(
    narrator: &mut Narrator<'_>,
    data: &Path,
    keys: &Path,
    copy: Copy,
    against: &[PathBuf],
) -> Result<(), Failure> {
    let answer = offline::verified(
        data,
        offline::With::Directory(Some(keys.to_path_buf())),
        against,
        &mut |_, _| (),
    )?;
    let verified = field(&answer, "verified").as_bool() == Some(true);
    let outside = !against.is_empty();
    let wanted = copy.passes(outside);
    let data = json!({
        "copy": copy.name(), "against": outside, "verified": verified, "finding": field(&answer, "finding"),
        "entries": field(&answer, "entries"),
    });
    let name = if outside { "against" } else { "verify" };
    let said = said(&answer, verified, outside, copy);
    narrator.fact(
        "verify",
        name,
        &said,
        if verified && copy == Copy::Honest {
            Look::Green
        } else {
            look(verified)
        },
        data,
    )?;
    if verified == wanted {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "verification of the {} journal said: {answer}",
        copy.name()
    )))
}

fn look(verified: bool) -> Look {
    if verified { Look::Yellow } else { Look::Red }
}

fn said(answer: &Value, verified: bool, outside: bool, copy: Copy) -> String {
    let kept = if outside {
        "the checkpoints kept outside"
    } else {
        "by itself"
    };
    match (verified, copy) {
        (true, Copy::Honest) if outside => format!("✓ {kept} agree"),
        (true, Copy::Honest) => {
            format!(
                "✓ honest: {} entries, {} projections agree",
                text(answer, "entries"),
                text(answer, "projections")
            )
        }
        (true, _) => format!("✓ {kept} it agrees: whoever owns disk and key can do that"),
        (false, _) if outside => format!("✗ {kept}: {}", text(answer, "finding")),
        (false, _) => format!("✗ {}", text(answer, "finding")),
    }
}

/// The refusal, if there was one: it is what somebody would like to be gone.
fn entry_to_change<'e>(entries: &'e [Stored], found: &Found) -> Result<&'e Stored, Failure> {
    let refusal = entries
        .iter()
        .find(|stored| Some(stored.entry.sequence) == found.denied_entry);
    let any = entries
        .iter()
        .rev()
        .find(|stored| stored.entry.kind == "action.permitted");
    refusal
        .or(any)
        .ok_or_else(|| Failure::Failed("there is no entry to change".into()))
}

/// Rewrites the journal so that somebody else decided about the change. Gives the honest entry.
async fn forge<'e>(files: &Files, to: &Path, entries: &'e [Stored]) -> Result<&'e Stored, Failure> {
    let decided = |stored: &&Stored| {
        matches!(
            stored.entry.kind.as_str(),
            "approval.approved" | "approval.denied"
        )
    };
    let target = entries.iter().rev().find(decided);
    let target = target.ok_or_else(|| Failure::Failed("nobody decided about anything".into()))?;
    let forgery = Forgery {
        from: &files.data,
        to,
        keys: &files.keys,
        origin: ORIGIN,
    };
    let write = forgery.write(|sequence, actor, _| {
        if sequence == target.entry.sequence {
            FORGED_APPROVER.clone_into(actor);
        }
    });
    write.await?;
    Ok(target)
}
