//! Tells the story: lines for people, one JSON object an event for machines.
//!
//! It makes nothing up: every text is made from the data that is told with it.

use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use crate::cli::table::{Look, painted};
use crate::cli::text::{fold, visible};
use owo_colors::OwoColorize;
use serde_json::{Value, json};
use store::clock::SharedClock;

/// Widest text, in columns.
const COLUMNS_MAX: usize = 92;
/// Columns of the names on the left.
const NAME: usize = 12;

/// Tells.
pub struct Narrator<'s> {
    screen: &'s mut Screen,
    clock: SharedClock,
    act: String,
    acts: u32,
}

impl<'s> Narrator<'s> {
    /// On a screen.
    pub fn new(screen: &'s mut Screen, clock: SharedClock) -> Narrator<'s> {
        Narrator {
            screen,
            clock,
            act: String::new(),
            acts: 0,
        }
    }

    /// Columns to write in.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.screen.columns.min(COLUMNS_MAX)
    }

    /// Begins an act: `name` for machines, `title` for people.
    pub fn act(&mut self, name: &str, title: &str) -> Result<(), Failure> {
        name.clone_into(&mut self.act);
        self.acts += 1;
        let number = self.acts.to_string();
        self.tell("act", json!({ "title": title }), |_| {
            format!("\n{}  {}", number.cyan().bold(), title.bold())
        })
    }

    /// Tells one thing: `event` and `data` for machines, and for people the text made from them.
    pub fn tell(
        &mut self,
        event: &str,
        data: Value,
        text: impl FnOnce(usize) -> String,
    ) -> Result<(), Failure> {
        let mut told = json!({ "event": event, "act": self.act, "at": self.clock.now() });
        if let (Some(told), Value::Object(data)) = (told.as_object_mut(), data) {
            told.extend(data);
        }
        let columns = self.columns();
        self.screen.item(&told, |_, _| text(columns))
    }

    /// Tells a named fact, folded under itself.
    pub fn fact(
        &mut self,
        event: &str,
        name: &str,
        text: &str,
        look: Look,
        data: Value,
    ) -> Result<(), Failure> {
        let lines = |columns: usize| fact(columns, name, text, look);
        self.tell(event, data, lines)
    }

    /// Asks a person; only when somebody is there to be asked.
    pub async fn ask(&mut self, question: &str) -> Result<bool, Failure> {
        self.screen
            .ask(&format!("{} {} ", question.yellow().bold(), "[y/N]".dimmed()));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // On a thread of its own: a read of the terminal cannot be cancelled, and must not hold up the end.
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            let _ = sender.send(read.map(|_| line));
        });
        let line = receiver
            .await
            .map_err(|_| Failure::Failed("the terminal went away".into()))??;
        Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
    }
}

/// `    name        text`, folded.
fn fact(columns: usize, name: &str, text: &str, look: Look) -> String {
    let text = visible(text);
    let lines = fold(&text, columns.saturating_sub(3 + NAME));
    let name = format!("{name:NAME$}");
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        let left = if index == 0 {
            name.dimmed().to_string()
        } else {
            " ".repeat(NAME)
        };
        out.push_str(&format!("   {left}{}\n", painted(line, look)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    #[test]
    fn facts_fold_under_themselves() {
        let shown = strip_str(&fact(
            30,
            "alert",
            "half of all requests to the shop fail",
            Look::Bold,
        ))
        .to_string();
        assert_eq!(
            shown,
            "   alert       half of all\n               requests to the\n               shop fail\n"
        );
    }
}
