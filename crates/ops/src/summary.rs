//! Triage summaries (S2-9.7.4f): what they hold, and how they are shown.
//!
//! A summary shows text that alerts, services and commits brought along. It was redacted when the
//! summary was composed; here it is only laid out, and Markdown in it stays text.

use crate::incident::Severity;
use policy::Timestamp;
use serde::{Deserialize, Serialize};

/// A triage summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "each name is the documentation of its value; S2-9.7.4f"
)]
pub struct Summary {
    pub incident_id: String,
    pub triggered_by: String,
    pub timestamp: Timestamp,
    pub severity: Severity,
    pub summary: String,
    pub observations: Vec<Observation>,
    /// The most likely cause first: the last one before the onset, then the ones before it, then
    /// those that came after.
    pub changes: Vec<Change>,
    pub similar_incidents: Vec<Similar>,
    pub suggested_actions: Vec<String>,
    /// The time box ran out or the run stopped early.
    pub partial: bool,
    pub session: String,
    /// Statements that cited no permitted action of the session, and were left out.
    #[serde(default)]
    pub uncited: u64,
}

/// Something seen, and where it is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// In words.
    pub text: String,
    /// Sequence of the entry that shows it.
    pub entry: u64,
}

/// A change near the onset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct Change {
    pub commit: String,
    pub author: String,
    pub title: String,
    pub at: Timestamp,
    /// Seconds from the change to the onset; positive when it came before.
    pub before_onset_seconds: i64,
    pub entry: u64,
}

/// An incident like this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct Similar {
    pub id: String,
    pub title: String,
    pub resolution: Option<String>,
    pub entry: u64,
}

impl Summary {
    /// As Markdown: for channels and change requests.
    pub fn to_markdown(&self) -> String {
        let mut out = format!("## {} ({})\n\n", self.incident_id, self.severity.as_str());
        out += &format!(
            "{}\n\nTriggered by {}. ",
            plain(&self.summary),
            plain(&self.triggered_by)
        );
        out += &format!(
            "Session {}, {}{}.\n",
            self.session,
            self.timestamp,
            self.reservation()
        );
        section(&mut out, "Observations", &self.observations, |seen| {
            format!("{} (entry {})", plain(&seen.text), seen.entry)
        });
        section(&mut out, "Changes", &self.changes, |change| {
            let (commit, title, author) =
                (short(&change.commit), plain(&change.title), plain(&change.author));
            format!(
                "`{commit}` {title}, by {author}, {} (entry {})",
                change.distance(),
                change.entry
            )
        });
        section(
            &mut out,
            "Similar incidents",
            &self.similar_incidents,
            |similar| {
                let (title, how) = (plain(&similar.title), plain(similar.how()));
                format!("{}: {title}; {how} (entry {})", similar.id, similar.entry)
            },
        );
        section(&mut out, "Suggested actions", &self.suggested_actions, |action| {
            plain(action)
        });
        out
    }

    /// As text for a terminal that is `width` columns wide (at least 40).
    pub fn to_text(&self, width: usize) -> String {
        let mut page = Page {
            width: width.max(40),
            out: String::new(),
        };
        page.item(
            "",
            &format!(
                "{}  {}{}",
                self.incident_id,
                self.severity.as_str(),
                self.reservation()
            ),
        );
        page.item("", &self.summary);
        page.list("observations", &self.observations, |seen| {
            format!("{} [{}]", seen.text, seen.entry)
        });
        page.list("changes", &self.changes, |change| {
            let commit = short(&change.commit);
            let Change {
                title, author, entry, ..
            } = change;
            format!("{commit} {title}, by {author}, {} [{entry}]", change.distance())
        });
        page.list("similar incidents", &self.similar_incidents, |similar| {
            format!(
                "{}: {}; {} [{}]",
                similar.id,
                similar.title,
                similar.how(),
                similar.entry
            )
        });
        page.list("suggested actions", &self.suggested_actions, Clone::clone);
        page.out
    }

    fn reservation(&self) -> &'static str {
        if self.partial {
            ", partial: the run stopped early"
        } else {
            ""
        }
    }
}

impl Change {
    /// In words: `3 min before the onset`.
    pub fn distance(&self) -> String {
        let seconds = self.before_onset_seconds.unsigned_abs();
        let length = match seconds {
            0..120 => format!("{seconds} s"),
            120..7200 => format!("{} min", seconds / 60),
            7200..172_800 => format!("{} h", seconds / 3600),
            _ => format!("{} days", seconds / 86_400),
        };
        format!(
            "{length} {} the onset",
            if self.before_onset_seconds < 0 {
                "after"
            } else {
                "before"
            }
        )
    }
}

impl Similar {
    fn how(&self) -> &str {
        self.resolution.as_deref().unwrap_or("not resolved")
    }
}

/// The first 12 characters: enough to name a commit.
fn short(commit: &str) -> String {
    commit.chars().take(12).collect()
}

/// `text` with everything escaped that Markdown or HTML would read as more than text.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // What would begin a list, a rule or a heading where the text begins a line.
    let number = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (mark, rest) = text.split_at(number);
    out.push_str(mark);
    let begins = match number {
        0 => rest.starts_with(['-', '+', '=']),
        // Only before a blank: `3.5 %` is a number.
        _ => rest.starts_with([')', '.']) && rest.get(1..2).is_none_or(|next| next == " "),
    };
    if begins {
        out.push('\\');
    }
    for c in rest.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '!' | '|' | '#' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

fn section<T>(out: &mut String, heading: &str, items: &[T], show: impl Fn(&T) -> String) {
    if !items.is_empty() {
        *out += &format!("\n### {heading}\n\n");
        items
            .iter()
            .for_each(|item| *out += &format!("- {}\n", show(item)));
    }
}

/// Text that is filled up to a width.
struct Page {
    width: usize,
    out: String,
}

impl Page {
    fn list<T>(&mut self, heading: &str, items: &[T], show: impl Fn(&T) -> String) {
        if !items.is_empty() {
            self.out += &format!("\n{heading}\n");
            items.iter().for_each(|item| self.item("  - ", &show(item)));
        }
    }

    /// `text` behind `lead`, its further lines indented as much. A word that is longer than a line
    /// is not broken: it may be an address or a commit.
    fn item(&mut self, lead: &str, text: &str) {
        let indent = lead.chars().count();
        let mut line = lead.to_owned();
        let mut used = indent;
        for word in text.split_whitespace() {
            let length = word.chars().count();
            if used > indent && used + 1 + length > self.width {
                self.out += line.trim_end();
                self.out.push('\n');
                line = " ".repeat(indent);
                used = indent;
            }
            if used > indent {
                line.push(' ');
                used += 1;
            }
            line += word;
            used += length;
        }
        self.out += line.trim_end();
        self.out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let at = |text| Timestamp::parse(text).unwrap();
        Summary {
            incident_id: "INC-2026-1121-002".to_owned(),
            triggered_by: "alert/HighErrors/patient:8080".to_owned(),
            timestamp: at("2026-11-21T10:06:00Z"),
            severity: Severity::Critical,
            summary: "Every fifth request fails since the deploy of 1a2b3c; <b>the</b> *cache* is off"
                .to_owned(),
            observations: vec![Observation {
                text: "error ratio is 0.21".to_owned(),
                entry: 41,
            }],
            changes: vec![Change {
                commit: "1a2b3c4d5e6f7a8b9c0d".to_owned(),
                author: "mallory".to_owned(),
                title: "Turn the cache off [skip ci]".to_owned(),
                at: at("2026-11-21T10:00:00Z"),
                before_onset_seconds: 200,
                entry: 43,
            }],
            similar_incidents: vec![Similar {
                id: "INC-2026-1121-001".to_owned(),
                title: "HighErrors: 5xx".to_owned(),
                resolution: None,
                entry: 44,
            }],
            suggested_actions: vec!["revert 1a2b3c".to_owned()],
            partial: true,
            session: "ses-40".to_owned(),
            uncited: 0,
        }
    }

    #[test]
    fn markdown_shows_text_of_the_outside_as_text() {
        assert_eq!(
            summary().to_markdown(),
            "\
## INC-2026-1121-002 (critical)

Every fifth request fails since the deploy of 1a2b3c; &lt;b&gt;the&lt;/b&gt; \\*cache\\* is off

Triggered by alert/HighErrors/patient:8080. Session ses-40, 2026-11-21T10:06:00.000Z, partial: the run stopped early.

### Observations

- error ratio is 0.21 (entry 41)

### Changes

- `1a2b3c4d5e6f` Turn the cache off \\[skip ci\\], by mallory, 3 min before the onset (entry 43)

### Similar incidents

- INC-2026-1121-001: HighErrors: 5xx; not resolved (entry 44)

### Suggested actions

- revert 1a2b3c
"
        );
    }

    #[test]
    fn no_text_becomes_a_list_or_a_rule() {
        #[rustfmt::skip]
        let table = [
            ("- [ ] merge it",         "\\- \\[ \\] merge it"),
            ("+ 3 of 5",               "\\+ 3 of 5"),
            ("---",                    "\\---"),
            ("=== down",               "\\=== down"),
            ("12. of May",             "12\\. of May"),
            ("1) of 3",                "1\\) of 3"),
            ("3.5 % fail - or more",   "3.5 % fail - or more"),
            ("12 of 14",               "12 of 14"),
        ];
        for (text, expected) in table {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn text_fills_the_width() {
        assert_eq!(
            summary().to_text(44),
            "\
INC-2026-1121-002 critical, partial: the run
stopped early
Every fifth request fails since the deploy
of 1a2b3c; <b>the</b> *cache* is off

observations
  - error ratio is 0.21 [41]

changes
  - 1a2b3c4d5e6f Turn the cache off [skip
    ci], by mallory, 3 min before the onset
    [43]

similar incidents
  - INC-2026-1121-001: HighErrors: 5xx; not
    resolved [44]

suggested actions
  - revert 1a2b3c
"
        );
    }

    #[test]
    fn distances_are_told_in_words() {
        let mut change = summary().changes.remove(0);
        for (seconds, expected) in [
            (0, "0 s before the onset"),
            (119, "119 s before the onset"),
            (120, "2 min before the onset"),
            (-90, "90 s after the onset"),
            (7200, "2 h before the onset"),
            (200_000, "2 days before the onset"),
        ] {
            change.before_onset_seconds = seconds;
            assert_eq!(change.distance(), expected);
        }
    }
}
