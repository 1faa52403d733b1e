//! Reads what git prints. Pure and total: any bytes give records or nothing.

use super::command::is_sha;
use policy::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// What [`parse_log`] expects: `git log -z --numstat --no-renames --format=` this.
pub(super) const LOG_FORMAT: &str = "--format=%H%x00%an%x00%ae%x00%ct%x00%s";

/// A commit as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Commit {
    /// SHA.
    pub commit: String,
    /// Name of the author.
    pub author: String,
    /// Address of the author.
    pub email: String,
    /// When it was committed.
    pub time: Timestamp,
    /// First line of its message.
    pub title: String,
    /// What it changed, of a merge: against its first parent.
    pub files: Vec<FileChange>,
}

/// A file that a commit changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Path in the repository.
    pub path: String,
    /// Lines added; `None` for a binary file.
    pub added: Option<u64>,
    /// Lines deleted; `None` for a binary file.
    pub deleted: Option<u64>,
}

/// A line and the commit that it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blamed {
    /// From 1.
    pub line: u64,
    /// SHA.
    pub commit: String,
    /// Name of the author.
    pub author: String,
    /// When it was committed.
    pub time: Timestamp,
    /// The line.
    pub text: String,
}

/// Reads the output of `git log` in the format above. No field holds a NUL, a hash holds no tab and a
/// file line holds two, so no name or title can pass for another record.
pub fn parse_log(output: &[u8]) -> Vec<Commit> {
    let mut tokens = output
        .split(|b| *b == 0)
        .map(|token| token.strip_prefix(b"\n").unwrap_or(token));
    let mut commits: Vec<Commit> = Vec::new();
    while let Some(token) = tokens.next() {
        if let Some(file) = file_change(token) {
            if let Some(commit) = commits.last_mut() {
                commit.files.push(file);
            }
            continue;
        }
        let sha = text(token);
        if !is_sha(&sha) {
            continue;
        }
        let mut field = || tokens.next().map(text).unwrap_or_default();
        let (author, email, seconds, title) = (field(), field(), field(), field());
        commits.push(Commit {
            commit: sha,
            author,
            email,
            time: time(&seconds),
            title,
            files: Vec::new(),
        });
    }
    commits
}

fn file_change(token: &[u8]) -> Option<FileChange> {
    let mut parts = token.splitn(3, |b| *b == b'\t');
    let (added, deleted, path) = (parts.next()?, parts.next()?, parts.next()?);
    let count = |part: &[u8]| match part {
        b"-" => Some(None),
        digits => text(digits).parse::<u64>().ok().map(Some),
    };
    Some(FileChange {
        path: text(path),
        added: count(added)?,
        deleted: count(deleted)?,
    })
}

/// Reads the output of `git blame --porcelain`.
pub fn parse_blame(output: &[u8]) -> Vec<Blamed> {
    let mut known: BTreeMap<String, (String, Timestamp)> = BTreeMap::new();
    let mut current: Option<(String, u64)> = None;
    let mut lines = Vec::new();
    for raw in output.split(|b| *b == b'\n') {
        if let Some(content) = raw.strip_prefix(b"\t") {
            if let Some((commit, line)) = current.take() {
                let (author, time) = known.get(&commit).cloned().unwrap_or_default();
                lines.push(Blamed {
                    line,
                    commit,
                    author,
                    time,
                    text: text(content),
                });
            }
            continue;
        }
        let header = text(raw);
        let mut words = header.split(' ');
        let first = words.next().unwrap_or_default();
        let rest = header.get(first.len()..).unwrap_or_default().trim_start();
        let about = current.as_ref().map(|(commit, _)| commit.clone());
        match (first, about) {
            (sha, None) if is_sha(sha) => {
                let line = words.nth(1).and_then(|n| n.parse().ok()).unwrap_or_default();
                known.entry(sha.to_owned()).or_default();
                current = Some((sha.to_owned(), line));
            }
            ("author", Some(commit)) => known.entry(commit).or_default().0 = rest.to_owned(),
            ("committer-time", Some(commit)) => known.entry(commit).or_default().1 = time(rest),
            _ => (),
        }
    }
    lines
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(1000).collect()
}

fn time(seconds: &str) -> Timestamp {
    Timestamp::from_ms(seconds.parse::<i64>().unwrap_or_default().saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn a_log_with_and_without_files() {
        let output = format!(
            "{A}\0Ann\0a@x\x0010\0Break it\0\x0012\t0\tsrc/a b\0-\t-\tlogo.png\0\0{B}\0Bob\0b@x\x0020\0Empty\0"
        );
        let commits = parse_log(output.as_bytes());
        let said: Vec<String> = commits
            .iter()
            .map(|c| {
                format!(
                    "{} {} {} {} {} {:?}",
                    &c.commit[..2],
                    c.author,
                    c.email,
                    c.time.ms(),
                    c.title,
                    c.files.len()
                )
            })
            .collect();
        assert_eq!(said, ["aa Ann a@x 10000 Break it 2", "bb Bob b@x 20000 Empty 0"]);
        let files = &commits[0].files;
        assert_eq!(
            files[0],
            FileChange {
                path: "src/a b".to_owned(),
                added: Some(12),
                deleted: Some(0)
            }
        );
        assert_eq!(
            files[1],
            FileChange {
                path: "logo.png".to_owned(),
                added: None,
                deleted: None
            }
        );
    }

    #[test]
    fn a_title_cannot_pass_for_a_commit_or_a_file() {
        let output = format!("{A}\0{B}\x001\t1\tforged\x0010\0{B}\0");
        let commits = parse_log(output.as_bytes());
        assert_eq!(commits.len(), 1);
        assert_eq!((commits[0].author.as_str(), commits[0].title.as_str()), (B, B));
        assert!(commits[0].files.is_empty());
    }

    #[test]
    fn blame_knows_a_commit_from_its_first_mention() {
        let output = format!(
            "{A} 1 1 2\nauthor Ann\ncommitter-time 10\nfilename f\n\tone\n{A} 2 2\n\t{B} 9 9\n{B} 3 3 1\nauthor Bob\ncommitter-time 20\n\tthree\n"
        );
        let said: Vec<String> = parse_blame(output.as_bytes())
            .iter()
            .map(|b| {
                format!(
                    "{} {} {} {} {}",
                    b.line,
                    &b.commit[..1],
                    b.author,
                    b.time.ms(),
                    b.text.len()
                )
            })
            .collect();
        assert_eq!(said, ["1 a Ann 10000 3", "2 a Ann 10000 44", "3 b Bob 20000 5"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse_log(&bytes);
            parse_blame(&bytes);
        }
    }
}
