//! What a person sees of the changes that were collected for a review, and how they say what becomes of them.

use crate::cli::arguments::Format;
use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use crate::cli::text::{diff, marked};
use anyhow::Context as _;
use clap::ValueEnum;
use owo_colors::OwoColorize as _;
use runtime::guest::Verdict;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::termios::{QueueSelector, tcflush};
use sandbox::review::{self, Change, ChangeKind, Review};
use sandbox::wire;
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Largest file whose lines are shown, in bytes.
const SHOWN_BYTES_MAX: u64 = 256 * 1024;
/// Most lines of all files that are shown.
const LINES_MAX: usize = 2_000;
/// Who may run it.
const EXECUTABLE: u32 = 0o111;
/// Takes back what a guest may have told the terminal, so that what is shown is seen: soft reset, the usual screen, all of
/// it, plain text, the usual characters, a cursor (ECMA-48, DEC STD 070).
const AS_IT_WAS: &str = "\u{1b}[!p\u{1b}[?1049l\u{1b}[r\u{1b}[0m\u{1b}(B\u{1b}[?25h";

/// What becomes of the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum How {
    /// They are shown, and a person is asked.
    Ask,
    /// They are shown and kept.
    Keep,
    /// They are shown and discarded.
    Discard,
}

/// Shows what lies in `place` and sees to an answer over `socket`.
///
/// # Errors
/// It cannot be read, or the platform is gone.
pub(super) fn answer(
    place: &Path,
    workspace: &Path,
    how: How,
    socket: &OwnedFd,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let review = review::look(place).context("the changes cannot be read")?;
    match screen.format {
        Format::Table => {
            if rustix::termios::isatty(rustix::stdio::stderr()) {
                screen.ask(AS_IT_WAS);
            }
            screen.tell(&shown(&review, place, workspace)?);
        }
        Format::Json | Format::Yaml => {
            let changes = review.changes.iter();
            let changes: Vec<_> = changes
                .map(|change| {
                    json!({
                        "path": change.path.to_string_lossy(),
                        "kind": change.kind,
                        "mode": format!("{:o}", change.mode),
                        "target": review::changed(place, change).read_link().ok()
                            .map(|target| target.to_string_lossy().into_owned()),
                    })
                })
                .collect();
            let told = json!({ "review": { "digest": review.digest, "changes": changes } });
            match screen.format {
                Format::Yaml => screen.tell(crate::cli::screen::yaml(&told)?.trim_end()),
                _ => screen.tell(&told.to_string()),
            }
        }
    }
    let keep = Verdict::Keep(review.digest);
    let verdict = match (how, File::open("/dev/tty")) {
        (How::Keep, _) => keep,
        (How::Discard, _) => Verdict::Discard,
        (How::Ask, Err(_)) => {
            screen.tell("there is no terminal to ask at, so nothing is kept; --review=keep keeps");
            Verdict::Discard
        }
        (How::Ask, Ok(terminal)) => {
            // What was typed before this was typed to somebody else.
            let _ = tcflush(&terminal, QueueSelector::IFlush);
            let question = format!(
                "Keep these changes in {}?",
                marked(&workspace.display().to_string())
            );
            screen.ask(&format!("{} {} ", question.yellow().bold(), "[y/N]".dimmed()));
            let socket = socket.try_clone().context("cannot copy a descriptor")?;
            // A read of the terminal cannot be cancelled, and the run may be ended by somebody else.
            std::thread::spawn(move || {
                let verdict = if says_yes(terminal) {
                    keep
                } else {
                    Verdict::Discard
                };
                let _ = wire::send(&socket, &verdict, &[]);
            });
            return Ok(());
        }
    };
    wire::send(socket, &verdict, &[]).map_err(|error| super::platform::gone(&error))
}

/// No answer is no.
fn says_yes(terminal: File) -> bool {
    let mut line = String::new();
    let read = BufReader::new(terminal.take(1024)).read_line(&mut line);
    read.is_ok() && matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

/// A line for each change, and what changed in files of text.
fn shown(review: &Review, place: &Path, workspace: &Path) -> Result<String, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(workspace, flags, Mode::empty())
        .with_context(|| format!("cannot open the workspace `{}`", workspace.display()))?;
    let (mut list, mut lines) = (String::new(), String::new());
    let mut left = LINES_MAX;
    for change in &review.changes {
        let there = before(&root, &change.path, OFlags::PATH).and_then(|there| there.metadata());
        let was = there.as_ref().ok().map(|there| there.mode() & 0o7777);
        // The rights of a link say nothing.
        let mode = was.filter(|_| there.as_ref().is_ok_and(|there| !there.is_symlink()));
        let Some(letter) = letter(change, was) else {
            continue;
        };
        let at = review::changed(place, change);
        let path = one_line(&change.path.display().to_string());
        let more = told(change, (was.is_some(), mode), &at).unwrap_or_else(|error| format!(" ({error})"));
        let line = format!("  {letter} {path}{more}\n");
        list.push_str(&match letter {
            'A' => line.green().to_string(),
            'D' => line.red().to_string(),
            _ => line,
        });
        if matches!(change.kind, ChangeKind::Written | ChangeKind::Removed) {
            let before = before(&root, &change.path, OFlags::RDONLY | OFlags::NONBLOCK);
            lines.push_str(&unified(change, before.ok(), &at, &mut left));
        }
    }
    if left == 0 {
        lines.push_str(&format!(
            "… more than {LINES_MAX} lines changed; all of it: {}\n",
            place.display()
        ));
    }
    let heading = "What it changed:".bold().to_string();
    Ok(format!("{heading}\n{list}{}", diff(&lines)).trim_end().to_owned())
}

/// What is in the workspace now, reached through no link.
fn before(root: &OwnedFd, path: &Path, how: OFlags) -> io::Result<File> {
    let flags = how | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, path, flags, Mode::empty(), resolve)?.into())
}

/// In one line, whatever a guest calls things.
fn one_line(text: &str) -> String {
    marked(&text.replace('\n', "\\n"))
}

/// As Git writes it; none for a directory that only had something changed in it.
fn letter(change: &Change, was: Option<u32>) -> Option<char> {
    match change.kind {
        ChangeKind::Removed => Some('D'),
        ChangeKind::Directory if was == Some(change.mode) => None,
        ChangeKind::Other => Some('-'),
        ChangeKind::Written | ChangeKind::Link | ChangeKind::Directory | ChangeKind::Replaced => {
            Some(if was.is_some() { 'M' } else { 'A' })
        }
    }
}

/// What a person should know besides the name.
fn told(change: &Change, (is_there, was): (bool, Option<u32>), at: &Path) -> io::Result<String> {
    let mode = match was {
        Some(was) if was != change.mode => format!(" (mode {was:o} → {:o})", change.mode),
        None if !is_there && change.mode & EXECUTABLE != 0 => " (executable)".to_owned(),
        _ => String::new(),
    };
    Ok(match change.kind {
        ChangeKind::Link => format!(" -> {}", one_line(&at.read_link()?.display().to_string())),
        ChangeKind::Directory if !is_there => "/".to_owned(),
        ChangeKind::Directory => format!("/{mode}"),
        ChangeKind::Replaced => "/ (what was there is gone)".to_owned(),
        ChangeKind::Other => " (a pipe or a socket: it is never kept)".to_owned(),
        ChangeKind::Written => mode,
        ChangeKind::Removed => String::new(),
    })
}

/// What changed in a file, in the unified format, as far as lines are left.
fn unified(change: &Change, before: Option<File>, at: &Path, left: &mut usize) -> String {
    let path = one_line(&change.path.display().to_string());
    let old = before.map_or(Ok(Some(String::new())), text);
    let new = match change.kind {
        ChangeKind::Removed => Ok(Some(String::new())),
        _ => File::open(at).and_then(text),
    };
    match (old, new) {
        (Ok(Some(old)), Ok(Some(new))) => {
            let changed = similar::TextDiff::from_lines(&old, &new);
            let mut unified = changed.unified_diff();
            let all = unified
                .header(&format!("a/{path}"), &format!("b/{path}"))
                .to_string();
            let taken: Vec<&str> = all.split_inclusive('\n').take(*left).collect();
            *left -= taken.len();
            taken.concat()
        }
        (Err(error), _) | (_, Err(error)) => format!("--- {path}: {error}\n"),
        _ => format!("--- {path}: binary, or too long to be shown\n"),
    }
}

/// The whole file, if it is text that is not too long. What is no regular file has none.
fn text(file: File) -> io::Result<Option<String>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Some(String::new()));
    }
    let mut bytes = Vec::new();
    file.take(SHOWN_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let fits = bytes.len() as u64 <= SHOWN_BYTES_MAX && !bytes.contains(&0);
    Ok(String::from_utf8(bytes).ok().filter(|_| fits))
}
