//! Where commands write: data to standard output, messages to standard error.
//!
//! The only place that does. A reader that went away ends the command quietly; colours are stripped
//! unless there is a terminal to show them; nothing here adds text of its own.

use super::arguments::{Color, Format, Global};
use super::failure::Failure;
use anstream::{AutoStream, ColorChoice};
use owo_colors::OwoColorize;
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// Both streams, and how to print on them.
pub struct Screen {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// What `--output` asked for.
    pub format: Format,
    /// Columns of the terminal; 80 when nobody says, and no limit when the output is no terminal.
    pub columns: usize,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen")
            .field("format", &self.format)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// Columns when the output goes to a file or a pipe: lines are not cut there.
const COLUMNS_UNLIMITED: usize = 500;

impl Screen {
    /// The process's streams.
    #[must_use]
    pub fn new(global: &Global) -> Screen {
        let terminal = std::io::stdout().is_terminal();
        Screen {
            out: Box::new(AutoStream::new(std::io::stdout(), choice(global.color))),
            err: Box::new(AutoStream::new(std::io::stderr(), choice(global.color))),
            format: global.output,
            columns: columns(terminal),
        }
    }

    /// Prints text and a line end; several lines if there are several in it.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{}", text.trim_end_matches('\n'))?;
        self.out.flush().map_err(Failure::from)
    }

    /// Prints text as it is.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes)?;
        self.out.flush().map_err(Failure::from)
    }

    /// Prints data as JSON or YAML if that was asked for, and else what `table` makes of it.
    pub fn data(
        &mut self,
        value: &Value,
        table: impl FnOnce(&Value, usize) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => {
                let text = table(value, self.columns);
                self.line(&text)
            }
            Format::Json => self.line(&serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?),
            Format::Yaml => self.line(&yaml(value)?),
        }
    }

    /// Prints one of many: a line of JSON, a YAML document, or what `line` makes of it.
    pub fn item(&mut self, value: &Value, line: impl FnOnce(&Value, usize) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Table => {
                let text = line(value, self.columns);
                self.line(&text)
            }
            Format::Json => self.line(&value.to_string()),
            Format::Yaml => self.line(&format!("---\n{}", yaml(value)?)),
        }
    }

    /// Tells the person something that is no data. Failing to do so fails nothing.
    pub fn tell(&mut self, text: &str) {
        let _ = writeln!(self.err, "{text}");
    }

    /// Asks the person something; the answer is typed behind it.
    pub fn ask(&mut self, text: &str) {
        let _ = write!(self.err, "{text}");
        let _ = self.err.flush();
    }

    /// Tells what went wrong, with its causes.
    pub fn tell_failure(&mut self, failure: &Failure) {
        for (depth, message) in failure.messages().iter().enumerate() {
            let shown = super::text::block(message);
            let text = match depth {
                0 => format!("{} {shown}", "error:".red().bold()),
                _ => format!("  {} {shown}", "because:".dimmed()),
            };
            self.tell(&text);
        }
    }
}

/// Shows how far something is, over the last line of standard error, if a person sees it.
pub fn show_progress(text: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\u{1b}[2K{text}");
        let _ = err.flush();
    }
}

/// Wipes the line that [`show_progress`] left.
pub fn clear_progress() {
    show_progress("");
}

/// A value as YAML.
pub fn yaml(value: &Value) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(|e| Failure::Other(anyhow::anyhow!("cannot print as YAML: {e}")))
}

fn choice(color: Color) -> ColorChoice {
    match color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::AlwaysAnsi,
        Color::Never => ColorChoice::Never,
    }
}

fn columns(terminal: bool) -> usize {
    let told = std::env::var("COLUMNS")
        .ok()
        .and_then(|c| c.parse::<usize>().ok())
        .filter(|c| *c >= 20);
    let measured = || {
        comfy_table::Table::new()
            .width()
            .map(usize::from)
            .filter(|c| *c >= 20)
    };
    match (told, terminal) {
        (Some(columns), _) => columns,
        (None, true) => measured().unwrap_or(80),
        (None, false) => COLUMNS_UNLIMITED,
    }
}
