//! What is wrong with a document, and where: `file:line:column: what`, with an excerpt.

use super::source::Source;
use std::fmt::{Display, Formatter, Write as _};
use std::sync::Arc;

/// A point in a text; both count characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1, in characters.
    pub column: u64,
}

impl Place {
    /// `None` for the line 0 that a parser gives when it does not know.
    #[must_use]
    pub fn new(line: u64, column: u64) -> Option<Place> {
        (line > 0 && column > 0).then_some(Place { line, column })
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The text, when it came from one.
    pub source: Option<Arc<Source>>,
    /// Where in the text.
    pub place: Option<Place>,
    /// Where in the value, as a JSON pointer; empty for all of it.
    pub pointer: String,
    /// What is wrong and what to do, in lower case.
    pub what: String,
}

impl std::error::Error for Problem {}

impl Display for Problem {
    /// One line.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match (&self.source, self.place) {
            (Some(source), Some(place)) => write!(f, "{}:{place}: {}", source.name, self.what),
            (Some(source), None) => write!(f, "{}: {}", source.name, self.what),
            (None, _) if self.pointer.is_empty() => f.write_str(&self.what),
            (None, _) => write!(f, "{}: {}", self.pointer, self.what),
        }
    }
}

impl Problem {
    /// A problem with no text behind it.
    #[must_use]
    pub fn plain(what: impl Into<String>) -> Problem {
        Problem {
            source: None,
            place: None,
            pointer: String::new(),
            what: what.into(),
        }
    }

    /// The line and, below it, the line of the text with a caret.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.to_string();
        if let (Some(source), Some(place)) = (&self.source, self.place)
            && let Some(line) = source
                .text
                .lines()
                .nth(usize::try_from(place.line - 1).unwrap_or(usize::MAX))
        {
            let (shown, caret) = window(line, usize::try_from(place.column - 1).unwrap_or(0));
            let gutter = place.line.to_string();
            let blank = " ".repeat(gutter.len());
            let _ = write!(
                text,
                "\n{blank} |\n{gutter} | {shown}\n{blank} | {}^",
                " ".repeat(caret)
            );
        }
        text
    }
}

/// At most 100 characters of `line` around `column`, control characters made visible, and where
/// the column is in them.
fn window(line: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 100;
    let start = column
        .saturating_sub(WIDTH / 2)
        .min(line.chars().count().saturating_sub(WIDTH));
    let shown = line
        .chars()
        .skip(start)
        .take(WIDTH)
        .map(|c| if c.is_control() { '\u{b7}' } else { c })
        .collect();
    (shown, column - start)
}

/// Everything that is wrong with a set of documents; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl Display for Problems {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_char('\n')?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl Problems {
    /// With excerpts, one after another.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.iter().map(Problem::render).collect::<Vec<_>>().join("\n")
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(vec![problem])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_has_a_caret_below_the_column() {
        let source = Arc::new(Source {
            name: "c.yaml".into(),
            text: "a: 1\nbcd: x\ty\n".into(),
        });
        let problem = Problem {
            source: Some(source),
            place: Place::new(2, 6),
            pointer: "/bcd".into(),
            what: "no `x`".into(),
        };
        assert_eq!(
            problem.render(),
            "c.yaml:2:6: no `x`\n  |\n2 | bcd: x\u{b7}y\n  |      ^"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_column() {
        let (shown, caret) = window(&format!("{}!{}", "a".repeat(300), "b".repeat(300)), 300);
        assert_eq!((shown.len(), shown.chars().nth(caret)), (100, Some('!')));
        let (shown, caret) = window("short", 4);
        assert_eq!((shown.as_str(), caret), ("short", 4));
    }
}
