//! `cofferdam explain`: what the gate would say of an action, rule by rule. Records nothing.

use super::client::Client;
use super::failure::Failure;
use super::screen::Screen;
use super::table::{look_of, painted};
use super::text::fold;
use super::value::{field, list, text};
use clap::Args;
use owo_colors::OwoColorize;
use serde_json::{Map, Value, json};

pub(super) const HELP: &str = "\
Examples:
  cofferdam explain git.propose:repository/shop --as triage
  cofferdam explain http.request:http://10.0.0.7/restart --as triage --env staging \\
      --effect write --arg method=POST

The effect of a tool that the agent has is the tool's own; --effect is for others.";

/// `cofferdam explain`
#[derive(Args, Debug)]
pub struct Explain {
    /// The action
    #[arg(value_name = "VERB:RESOURCE")]
    action: String,
    /// Which agent would do it
    #[arg(long = "as", value_name = "AGENT")]
    agent: String,
    /// Where [default: as the agent's tool says, or else production]
    #[arg(long, value_name = "ENVIRONMENT")]
    env: Option<String>,
    /// An argument; the value is JSON, or else a text. May be given several times
    #[arg(long = "arg", value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    /// The effect, for a verb that no tool of the agent has
    #[arg(long, value_parser = ["read", "write", "destructive"])]
    effect: Option<String>,
}

/// Runs it. Exit code 0 whatever the gate would say: the question was answered.
pub async fn run(explain: &Explain, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let answer = client.post("/api/v1/explain", &request(explain)?).await?;
    screen.data(&answer, show)
}

fn request(explain: &Explain) -> Result<Value, Failure> {
    let (verb, resource) = explain
        .action
        .split_once(':')
        .filter(|(verb, resource)| !verb.is_empty() && !resource.is_empty())
        .ok_or_else(|| Failure::Misuse(format!("`{}` is no action; write VERB:RESOURCE", explain.action)))?;
    let mut arguments = Map::new();
    for argument in &explain.arguments {
        let (key, value) = argument
            .split_once('=')
            .ok_or_else(|| Failure::Misuse(format!("`--arg {argument}` is no argument; write KEY=VALUE")))?;
        arguments.insert(
            key.to_owned(),
            serde_json::from_str(value).unwrap_or_else(|_| json!(value)),
        );
    }
    Ok(json!({
        "agent": explain.agent, "verb": verb, "resource": resource, "environment": explain.env,
        "effect": explain.effect, "arguments": arguments,
    }))
}

fn show(answer: &Value, columns: usize) -> String {
    let columns = columns.min(120);
    let lines = list(answer, "lines");
    let width = |name: &str| {
        lines
            .iter()
            .map(|l| super::text::width(&text(l, name)))
            .max()
            .unwrap_or(0)
    };
    let (step, subject) = (width("step"), width("subject").min(columns / 2));
    let mut out = String::new();
    for line in lines {
        let matched = field(line, "matched").as_bool() == Some(true);
        let mark = if matched {
            "●".bold().to_string()
        } else {
            "○".dimmed().to_string()
        };
        let room = columns.saturating_sub(2 + step + 2 + subject + 2).max(20);
        for (row, finding) in fold(&text(line, "finding"), room).into_iter().enumerate() {
            let (mark, name, about) = match row {
                0 => (mark.clone(), text(line, "step"), text(line, "subject")),
                _ => (" ".to_owned(), String::new(), String::new()),
            };
            let name = format!("{name:step$}");
            let about = format!("{about:subject$}");
            let finding = if matched {
                finding
            } else {
                finding.dimmed().to_string()
            };
            out.push_str(&format!("{mark} {}  {about}  {finding}\n", name.dimmed()));
        }
    }
    let outcome = text(answer, "outcome");
    out.push_str(&format!(
        "\n{}  {}\n",
        painted(&outcome.bold().to_string(), look_of(&outcome)),
        text(answer, "reason")
    ));
    for assumed in list(answer, "assumed") {
        out.push_str(&format!(
            "{} {}\n",
            "assumed:".dimmed(),
            super::value::shown(assumed)
        ));
    }
    let remedy = text(answer, "remedy");
    if !remedy.is_empty() {
        out.push_str(&format!("{}\n", "what would change it:".dimmed()));
        out.push_str(&super::text::indented(
            &fold(&remedy, columns.saturating_sub(2)).join("\n"),
            2,
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    fn explain(action: &str, arguments: &[&str]) -> Explain {
        Explain {
            action: action.into(),
            agent: "triage".into(),
            env: Some("production".into()),
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            effect: None,
        }
    }

    #[test]
    fn requests() {
        let made = request(&explain(
            "git.log:repository/x",
            &["n=3", "path=a=b", "deep={\"k\":[1]}"],
        ))
        .unwrap();
        assert_eq!(
            made["arguments"],
            json!({"n": 3, "path": "a=b", "deep": {"k": [1]}})
        );
        assert_eq!(
            (made["verb"].as_str(), made["resource"].as_str()),
            (Some("git.log"), Some("repository/x"))
        );
        for (action, argument) in [("git.log", "a=1"), (":x", "a=1"), ("a:b", "novalue")] {
            assert!(
                matches!(request(&explain(action, &[argument])), Err(Failure::Misuse(_))),
                "{action} {argument}"
            );
        }
    }

    #[test]
    fn an_explanation_is_told_step_by_step() {
        let answer = json!({"outcome": "deny", "reason": "read-only", "remedy": "raise the level", "lines": [
            {"step": "grant", "subject": "toolset/a", "matched": true, "finding": "covers it"},
            {"step": "rule", "subject": "policy/p#r", "matched": false, "finding": "verb is another"}]});
        assert_eq!(
            strip_str(&show(&answer, 80)).to_string(),
            "\
● grant  toolset/a   covers it
○ rule   policy/p#r  verb is another

deny  read-only
what would change it:
  raise the level
"
        );
    }
}
