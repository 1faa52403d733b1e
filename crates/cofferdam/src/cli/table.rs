//! Tables without borders that fit the terminal, and aligned lists of fields.
//!
//! Every cell is made safe here, so a caller cannot forget it.

use super::text::{cut, fold, visible};
use comfy_table::{Attribute, Cell as Styled, Color, ContentArrangement, Table};
use owo_colors::OwoColorize;

/// How a cell looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// As it is.
    #[default]
    Plain,
    /// What matters.
    Bold,
    /// Context.
    Dim,
    /// Good, permitted.
    Green,
    /// Waits, or needs care.
    Yellow,
    /// Bad, denied.
    Red,
}

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    look: Look,
}

/// A cell with a look.
#[must_use]
pub fn cell(text: impl AsRef<str>, look: Look) -> Cell {
    Cell {
        text: visible(text.as_ref()),
        look,
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Cell {
        cell(text, Look::Plain)
    }
}

/// A word of ours in the colour that it has everywhere: decisions, effects, states, severities.
#[must_use]
pub fn word(text: impl AsRef<str>) -> Cell {
    let look = look_of(text.as_ref());
    cell(text, look)
}

/// The colour that a word of ours has everywhere.
#[must_use]
pub fn look_of(word: &str) -> Look {
    match word {
        "permit" | "permitted" | "approved" | "completed" | "success" | "resolved" | "healthy" | "ready" => {
            Look::Green
        }
        "deny" | "denied" | "failed" | "failure" | "destructive" | "critical" | "unhealthy" | "expired" => {
            Look::Red
        }
        "require_approval" | "pending" | "waiting" | "parked" | "write" | "uncertain" | "warning"
        | "degraded" | "investigating" => Look::Yellow,
        "read" | "info" | "cancelled" | "logged" | "spent" => Look::Dim,
        _ => Look::Plain,
    }
}

/// Text in a look, as ANSI.
#[must_use]
pub fn painted(text: &str, look: Look) -> String {
    match look {
        Look::Plain => text.to_owned(),
        Look::Bold => text.bold().to_string(),
        Look::Dim => text.dimmed().to_string(),
        Look::Green => text.green().to_string(),
        Look::Yellow => text.yellow().to_string(),
        Look::Red => text.red().to_string(),
    }
}

/// A table at most `columns` wide; long cells wrap. `empty` is said when there are no rows.
#[must_use]
pub fn table(columns: usize, headers: &[&str], rows: Vec<Vec<Cell>>, empty: &str) -> String {
    if rows.is_empty() {
        return empty.dimmed().to_string();
    }
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(columns).unwrap_or(u16::MAX))
        .force_no_tty()
        .enforce_styling()
        .set_header(
            headers
                .iter()
                .map(|h| Styled::new(h).add_attribute(Attribute::Dim)),
        );
    for row in rows {
        table.add_row(row.into_iter().map(styled));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
        .lines()
        .map(|line| {
            format!(
                "{}
",
                trimmed(&line)
            )
        })
        .collect()
}

/// Without spaces at the end, also where they are painted.
fn trimmed(line: &str) -> String {
    const RESET: &str = "\u{1b}[0m";
    match line.trim_end().strip_suffix(RESET) {
        Some(painted) => format!("{}{RESET}", painted.trim_end()),
        None => line.trim_end().to_owned(),
    }
}

fn styled(cell: Cell) -> Styled {
    let styled = Styled::new(cell.text);
    match cell.look {
        Look::Plain => styled,
        Look::Bold => styled.add_attribute(Attribute::Bold),
        Look::Dim => styled.add_attribute(Attribute::Dim),
        Look::Green => styled.fg(Color::DarkGreen),
        Look::Yellow => styled.fg(Color::DarkYellow),
        Look::Red => styled.fg(Color::DarkRed),
    }
}

/// Aligned `name  value` lines; empty values are left out, long ones fold under themselves.
#[must_use]
pub fn fields(columns: usize, fields: &[(&str, Cell)]) -> String {
    let shown = fields.iter().filter(|(_, cell)| !cell.text.is_empty());
    let indent = shown.clone().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let mut out = String::new();
    for (name, cell) in shown {
        for (row, line) in fold(&cell.text, columns.saturating_sub(indent))
            .iter()
            .enumerate()
        {
            let name = if row == 0 { *name } else { "" };
            let name = format!("{name:indent$}");
            out.push_str(&format!("{}{}\n", name.dimmed(), painted(line, cell.look)));
        }
    }
    out
}

/// A heading over what follows.
#[must_use]
pub fn heading(text: &str) -> String {
    format!("{}\n", cut(&visible(text), 200).bold())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    #[test]
    fn a_table_fits_and_shows_what_is_hidden() {
        let rows = vec![
            vec![
                "ses-1".into(),
                word("completed"),
                "the error rate of shop is above five percent\u{1b}[31m".into(),
            ],
            vec!["ses-22".into(), word("waiting"), "short".into()],
        ];
        let text = strip_str(&table(40, &["ID", "STATE", "TITLE"], rows, "none")).to_string();
        assert!(text.lines().all(|l| super::super::text::width(l) <= 40), "{text}");
        assert!(text.contains("␛[31m"), "{text}");
        assert!(text.starts_with("ID"), "{text}");
        assert_eq!(
            strip_str(&table(40, &["ID"], Vec::new(), "no sessions")).to_string(),
            "no sessions"
        );
    }

    #[test]
    fn fields_align_and_leave_out_what_is_empty() {
        let text = fields(
            30,
            &[
                ("id", "ses-1".into()),
                ("reason", "".into()),
                ("title", "one two three four five six".into()),
            ],
        );
        assert_eq!(
            strip_str(&text).to_string(),
            "id     ses-1\ntitle  one two three four five\n       six\n"
        );
    }
}
