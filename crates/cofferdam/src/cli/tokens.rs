//! `cofferdam tokens`: who may talk to the platform.

use super::client::{Client, segment};
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, table};
use super::value::{field, list, raw, text, time};
use clap::{Args, Subcommand};
use owo_colors::OwoColorize;
use serde_json::{Value, json};
use std::path::PathBuf;

pub(super) const HELP: &str = "\
Examples:
  cofferdam tokens create --person alice --role approver --role viewer
  cofferdam tokens create --person bob --role approver --group security
  cofferdam tokens create carol --role operator@acme/payments --role viewer@acme
  cofferdam tokens create --trigger alertmanager > /run/secrets/alertmanager
  cofferdam tokens create --person dave --role admin --bind-certificate dave.crt
  cofferdam tokens revoke tok-12

Roles: admin, operator, approver, auditor, viewer; everywhere, or with @ and a place in the tree below which
they hold: @ORGANIZATION[/TEAM[/PROJECT[/AGENT]]].";

/// `cofferdam tokens`
#[derive(Args, Debug)]
pub struct Tokens {
    #[command(subcommand)]
    command: TokensCommand,
}

#[derive(Debug, Subcommand)]
enum TokensCommand {
    /// Make a token; the secret is printed this once, alone on standard output
    Create(Create),
    /// List tokens, never their secrets
    List,
    /// End a token now
    Revoke {
        /// Which one: tok-12
        id: String,
    },
}

#[derive(Args, Debug)]
#[group(skip)]
struct Create {
    /// For a person
    #[arg(value_name = "NAME", conflicts_with_all = ["person", "trigger"])]
    name: Option<String>,
    /// For a person
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present_any = ["trigger", "name"],
        conflicts_with = "trigger"
    )]
    person: Option<String>,
    /// For a trigger: may send to it and nothing else
    #[arg(long, value_name = "NAME")]
    trigger: Option<String>,
    /// What the person may do, and where: approver, operator@acme/payments; may be given several times
    #[arg(long = "role", value_name = "ROLE[@PLACE]", value_parser = role, default_value = "viewer", conflicts_with = "trigger")]
    roles: Vec<String>,
    /// A team that the person belongs to, which rules may name as approvers; may be given several times
    #[arg(long = "group", value_name = "NAME", conflicts_with = "trigger")]
    groups: Vec<String>,
    /// Ends by itself after this time: 12h, 30d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    expires_in: Option<u64>,
    /// Bind it to this client certificate, in PEM: whoever uses the token has to show that too
    #[arg(long, value_name = "FILE")]
    bind_certificate: Option<PathBuf>,
}

/// Runs it.
pub async fn run(tokens: &Tokens, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &tokens.command {
        TokensCommand::Create(new) => create(new, client, screen).await,
        TokensCommand::List => {
            let tokens = client.get("/api/v1/tokens", &[]).await?;
            screen.data(&tokens, |tokens, columns| rows(list(tokens, ""), columns))
        }
        TokensCommand::Revoke { id } => {
            let answer = client
                .delete(&format!("/api/v1/tokens/{}", segment(id)), None)
                .await?;
            screen.data(&answer, |_, _| {
                format!("{} {}", "revoked".red(), super::text::visible(id))
            })
        }
    }
}

async fn create(new: &Create, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let mut body = match (new.person.as_ref().or(new.name.as_ref()), &new.trigger) {
        (_, Some(trigger)) => json!({ "trigger": trigger }),
        (Some(person), None) => {
            json!({"principal": format!("person:{person}"), "roles": new.roles, "groups": new.groups})
        }
        (None, None) => return Err(Failure::Misuse("name a --person or a --trigger".into())),
    };
    if let (Some(expires), Some(object)) = (new.expires_in, body.as_object_mut()) {
        object.insert("expires_in_seconds".into(), json!(expires));
    }
    if let (Some(path), Some(object)) = (&new.bind_certificate, body.as_object_mut()) {
        object.insert(
            "certificate".into(),
            json!(super::secure::thumbprint(path)?.to_string()),
        );
    }
    let made = client.post("/api/v1/tokens", &body).await?;
    let (id, principal) = (text(&made, "token.id"), text(&made, "token.principal"));
    screen.tell(&format!(
        "{} for {principal}; the secret is shown this once:",
        id.bold()
    ));
    screen.data(&made, |made, _| super::text::visible(raw(made, "secret")))
}

/// A role of people, as it is written.
fn role(text: &str) -> Result<String, String> {
    let held = gate::RoleAt::parse(text).filter(|at| at.role != gate::Role::Trigger);
    held.map(|at| at.to_string()).ok_or_else(|| {
        "write admin, operator, approver, auditor or viewer, alone or as in operator@acme/payments".into()
    })
}

/// `90s`, `30m`, `12h`, `30d` in seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("write a number and s, m, h or d, like 30d".into()),
    };
    let number = number
        .parse::<u64>()
        .map_err(|_| format!("`{number}` is no number"))?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "that is too long".to_owned())
}

fn rows(tokens: &[Value], columns: usize) -> String {
    let row = |t: &Value| {
        let state = if field(t, "revoked").as_bool() == Some(true) {
            cell("revoked", Look::Red)
        } else {
            cell("valid", Look::Green)
        };
        vec![
            cell(text(t, "id"), Look::Bold),
            text(t, "principal").into(),
            text(t, "roles").into(),
            text(t, "groups").into(),
            time(t, "created").into(),
            time(t, "expires").into(),
            state,
        ]
    };
    let headers = [
        "ID",
        "PRINCIPAL",
        "ROLES",
        "GROUPS",
        "CREATED",
        "EXPIRES",
        "STATE",
    ];
    table(columns, &headers, tokens.iter().map(row).collect(), "no tokens")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("30d", Some(2_592_000)),
            ("d", None),
            ("5", None),
            ("", None),
            ("5é", None),
        ] {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        }
    }
}
