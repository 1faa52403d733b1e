//! `cofferdam agents`, `delegate`, `whoami` and `can`: who acts, on what it was passed on, and whether.

use super::chain;
use super::client::{Client, segment};
use super::failure::Failure;
use super::redeem::Token;
use super::screen::Screen;
use super::table::{Look, cell, table};
use super::value::{field, list, raw, text, time};
use clap::{Args, Subcommand};
use owo_colors::OwoColorize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

mod elevate;
mod handshake;
mod svid;

pub(super) const AGENTS_HELP: &str = "\
Examples:
  cofferdam agents list
  cofferdam agents create scout --sponsor alice --place acme/sre/ops
  cofferdam agents suspend ops/deploy --security --reason \"its prompt was tampered with\"
  cofferdam agents resume ops/deploy --override --reason \"found and fixed\"
  cofferdam agents elevate ops/deploy --to L3 --for 10m --reason \"INC-2041: roll back the canary\"
  cofferdam agents lower ops/deploy --reason \"done\"
  cofferdam agents svid ops/deploy > deploy.pem
  cofferdam agents tree
  cofferdam agents token --delegation del.jwt --key deploy.key > deploy.token
  curl -s http://127.0.0.1:7400/.well-known/jwks.json > jwks.json
  cofferdam agents check --delegation del.jwt --jwks jwks.json
  cofferdam agents narrow --delegation del.jwt --key deploy.key --to did:key:z6Mk... --capability deploy:web:staging

An agent is created by its document too; `create` makes it known before. Whatever is done to an agent
counts from its next action on.";

pub(super) const DELEGATE_HELP: &str = "\
Examples:
  cofferdam delegate --from ops/supervisor --to ops/deploy --capability deploy:staging --ttl 15m
  cofferdam delegate --from deploy --to rollout --under del-41 --capability deploy:staging --trust 500
  cofferdam delegate revoke del-41 --reason \"done\"

Only a part of what --from holds can be passed on, never `*`, for at most 24 hours. A session runs under
it when its task names it: POST /api/v1/tasks {\"agent\": \"deploy\", \"delegation\": \"del-41\", ...}.";

pub(super) const CAN_HELP: &str = "\
Examples:
  cofferdam can triage git.log:repository/shop
  cofferdam can ops/deploy deploy:web --env staging --effect write

Exit codes: 0 yes, 1 no or only with an approval.";

/// `cofferdam agents`
#[derive(Args, Debug)]
pub struct Agents {
    #[command(subcommand)]
    command: AgentsCommand,
}

#[derive(Debug, Subcommand)]
enum AgentsCommand {
    /// Make an agent known: a key, a sponsor, a place
    Create(Create),
    /// List agents, where they stand and who answers for them
    List,
    /// Show one agent: keys, grants, and what a reviewer should know
    Show {
        /// Which one: `deploy`, `ops/deploy`
        agent: String,
    },
    /// Hold an agent back
    Suspend(Suspend),
    /// Let an agent act again
    Resume(Resume),
    /// End an agent for good, and all that was passed on by it
    Revoke(Change),
    /// Give an agent a new key, proved by the old one
    Rotate {
        /// Which one
        agent: String,
    },
    /// Raise an agent's level for minutes, outside production
    Elevate(elevate::Elevate),
    /// End what raises an agent's level
    Lower(Change),
    /// An agent's certificate (SPIFFE X.509-SVID), over its present key
    Svid(svid::Svid),
    /// Whether a peer is who it says
    Handshake(handshake::Handshake),
    /// Redeem a delegation: a token of five minutes for the agent that holds its key
    Token(Token),
    /// Check a delegation's token without a server, link by link
    Check(chain::Check),
    /// Pass on a part of a delegation without a server
    Narrow(chain::Narrow),
    /// The tree of delegation: capability, end and trust at every link
    Tree,
}

#[derive(Args, Debug)]
struct Create {
    /// Its name, unique on the platform
    name: String,
    /// The person who answers for it
    #[arg(long, value_name = "NAME", required_unless_present = "parent")]
    sponsor: Option<String>,
    /// The agent whose sponsor and place it inherits
    #[arg(long, value_name = "AGENT")]
    parent: Option<String>,
    /// Where it belongs [default: default/default/default]
    #[arg(long, value_name = "ORG/TEAM/PROJECT")]
    place: Option<String>,
    /// Acts for this long: 12h, 30d
    #[arg(long, value_name = "TIME", value_parser = super::tokens::seconds)]
    expires_in: Option<u64>,
}

#[derive(Args, Debug)]
struct Change {
    /// Which one
    agent: String,
    /// Why
    #[arg(long)]
    reason: String,
}

#[derive(Args, Debug)]
struct Suspend {
    #[command(flatten)]
    change: Change,
    /// It may be compromised: resuming it needs an explicit override
    #[arg(long)]
    security: bool,
}

#[derive(Args, Debug)]
struct Resume {
    #[command(flatten)]
    change: Change,
    /// Although it was suspended for security
    #[arg(long = "override")]
    overriding: bool,
    /// For an agent that has expired: act for this long
    #[arg(long, value_name = "TIME", value_parser = super::tokens::seconds, conflicts_with = "overriding")]
    expires_in: Option<u64>,
}

/// `cofferdam delegate`
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Delegate {
    #[command(subcommand)]
    command: Option<DelegateCommand>,
    #[command(flatten)]
    new: Option<New>,
}

#[derive(Debug, Subcommand)]
enum DelegateCommand {
    /// End a delegation and all that hangs from it
    Revoke {
        /// Which one: del-41
        id: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args, Debug)]
struct New {
    /// Who passes on
    #[arg(long, value_name = "AGENT", required = true)]
    from: String,
    /// Who receives
    #[arg(long, value_name = "AGENT", required = true)]
    to: String,
    /// What, as VERB:RESOURCE[:ENVIRONMENT]; may be given several times
    #[arg(long = "capability", value_name = "CAPABILITY", required = true)]
    capabilities: Vec<String>,
    /// What of that all the same not; may be given several times
    #[arg(long, value_name = "CAPABILITY")]
    except: Vec<String>,
    /// For how long, at most 24h
    #[arg(long, value_name = "TIME", value_parser = super::tokens::seconds, default_value = "15m")]
    ttl: u64,
    /// The trust of the receiver counts no higher, 0 to 1000 [default: as it is for --from]
    #[arg(long, value_name = "SCORE")]
    trust: Option<u16>,
    /// The delegation to --from that this passes on from [default: its document]
    #[arg(long, value_name = "ID")]
    under: Option<String>,
    /// Print the token alone, for others to check or narrow offline
    #[arg(long)]
    token: bool,
}

/// `cofferdam can`
#[derive(Args, Debug)]
pub struct Can {
    /// Which agent
    agent: String,
    /// The action
    #[arg(value_name = "VERB:RESOURCE")]
    action: String,
    /// Where [default: as the agent's tool says, or else production]
    #[arg(long, value_name = "ENVIRONMENT")]
    env: Option<String>,
    /// An argument; the value is JSON, or else a text. May be given several times
    #[arg(long = "arg", value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    /// The effect, for a verb that no tool of the agent has
    #[arg(long, value_parser = ["read", "write", "destructive"])]
    effect: Option<String>,
    /// Under which delegation [default: what its document gives it]
    #[arg(long, value_name = "ID")]
    delegation: Option<String>,
}

impl Agents {
    /// What is redeemed, if that is what is asked for: it needs no token.
    #[must_use]
    pub fn redeems(&self) -> Option<&Token> {
        match &self.command {
            AgentsCommand::Token(token) => Some(token),
            _ => None,
        }
    }

    /// Whether it needs no server at all.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        match &self.command {
            AgentsCommand::Check(_) | AgentsCommand::Narrow(_) => true,
            AgentsCommand::Handshake(handshake) => handshake.is_offline(),
            _ => false,
        }
    }
}

/// Runs what needs no server.
pub fn run_offline(agents: &Agents, screen: &mut Screen) -> Result<(), Failure> {
    match &agents.command {
        AgentsCommand::Check(check) => chain::check(check, screen),
        AgentsCommand::Narrow(narrow) => chain::narrow(narrow, screen),
        AgentsCommand::Handshake(handshake) => handshake::offline(handshake, screen),
        _ => Err(Failure::Misuse("this command talks to a server".into())),
    }
}

/// Runs `agents`.
pub async fn run(agents: &Agents, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &agents.command {
        AgentsCommand::Create(new) => {
            let body = json!({"name": new.name, "sponsor": new.sponsor, "parent": new.parent, "place": new.place,
                              "expires_in_seconds": new.expires_in});
            let made = client.post("/api/v1/agents", &body).await?;
            screen.data(&made, |made, _| {
                format!(
                    "{} {} is known as {}",
                    "created".green(),
                    text(made, "name").bold(),
                    text(made, "did")
                )
            })
        }
        AgentsCommand::List => {
            let agents = client.get("/api/v1/agents", &[]).await?;
            screen.data(&agents, |agents, columns| rows(list(agents, ""), columns))
        }
        AgentsCommand::Show { agent } => {
            let agent = client.get(&path(agent, ""), &[]).await?;
            screen.data(&agent, |agent, _| one(agent))
        }
        AgentsCommand::Suspend(suspend) => {
            let body = json!({"reason": suspend.change.reason, "security": suspend.security});
            changed(&suspend.change.agent, "/suspend", &body, client, screen).await
        }
        AgentsCommand::Resume(resume) => {
            let body = json!({"reason": resume.change.reason, "override": resume.overriding,
                              "expires_in_seconds": resume.expires_in});
            changed(&resume.change.agent, "/resume", &body, client, screen).await
        }
        AgentsCommand::Revoke(change) => {
            let body = json!({"reason": change.reason});
            changed(&change.agent, "/revoke", &body, client, screen).await
        }
        AgentsCommand::Rotate { agent } => {
            let rotated = client.post(&path(agent, "/rotate"), &json!({})).await?;
            screen.data(&rotated, |agent, _| {
                let key = list(agent, "keys")
                    .first()
                    .map(|key| text(key, "id"))
                    .unwrap_or_default();
                format!(
                    "{} {} signs with {key}",
                    "rotated".green(),
                    text(agent, "name").bold()
                )
            })
        }
        AgentsCommand::Elevate(elevate) => elevate::elevate(elevate, client, screen).await,
        AgentsCommand::Lower(change) => elevate::lower(&change.agent, &change.reason, client, screen).await,
        AgentsCommand::Handshake(handshake) => handshake::run(handshake, client, screen).await,
        AgentsCommand::Svid(svid) => svid::svid(svid, client, screen).await,
        AgentsCommand::Token(_) => Err(Failure::Misuse("a delegation is redeemed without a token".into())),
        AgentsCommand::Check(_) | AgentsCommand::Narrow(_) => run_offline(agents, screen),
        AgentsCommand::Tree => {
            let agents = client.get("/api/v1/agents", &[]).await?;
            let newest = [("limit", "1000".to_owned())];
            let delegations = client.get("/api/v1/delegations", &newest).await?;
            let whole = json!({"agents": agents, "delegations": delegations});
            screen.data(&whole, |whole, _| {
                tree(list(whole, "agents"), list(whole, "delegations"))
            })
        }
    }
}

/// Runs `delegate`.
pub async fn delegate(delegate: &Delegate, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match (&delegate.command, &delegate.new) {
        (Some(DelegateCommand::Revoke { id, reason }), _) => {
            let path = format!("/api/v1/delegations/{}/revoke", segment(id));
            let revoked = client.post(&path, &json!({"reason": reason})).await?;
            screen.data(&revoked, |_, _| {
                format!("{} {}", "revoked".red(), super::text::visible(id))
            })
        }
        (None, Some(new)) => {
            let body = json!({"from": new.from, "to": new.to, "capabilities": new.capabilities,
                              "except": new.except, "ttl_seconds": new.ttl, "trust": new.trust, "under": new.under});
            let made = client.post("/api/v1/delegations", &body).await?;
            screen.data(&made, |made, _| match new.token {
                true => super::text::visible(raw(made, "token")),
                false => link(made),
            })
        }
        (None, None) => Err(Failure::Misuse("say --from, --to and --capability".into())),
    }
}

/// Runs `whoami`.
pub async fn whoami(client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let me = client.get("/api/v1/whoami", &[]).await?;
    screen.data(&me, |me, _| {
        format!(
            "{}  {}  {}",
            text(me, "principal").bold(),
            text(me, "roles"),
            text(me, "token").dimmed()
        )
    })
}

/// Runs `can`. "No" is exit code 1, and it is an answer: nothing more is said of it.
pub async fn can(can: &Can, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let (verb, resource) = can
        .action
        .split_once(':')
        .filter(|(verb, resource)| !verb.is_empty() && !resource.is_empty())
        .ok_or_else(|| Failure::Misuse(format!("`{}` is no action; write VERB:RESOURCE", can.action)))?;
    let mut arguments = Map::new();
    for argument in &can.arguments {
        let (key, value) = argument
            .split_once('=')
            .ok_or_else(|| Failure::Misuse(format!("`--arg {argument}` is no argument; write KEY=VALUE")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        arguments.insert(key.to_owned(), value);
    }
    let question = json!({
        "agent": can.agent, "verb": verb, "resource": resource, "environment": can.env,
        "effect": can.effect, "arguments": arguments, "delegation": can.delegation,
    });
    let answer = client.post("/api/v1/explain", &question).await?;
    screen.data(&answer, |answer, _| reasons(answer))?;
    match raw(&answer, "outcome") {
        "permit" => Ok(()),
        _ => Err(Failure::Told),
    }
}

fn path(agent: &str, what: &str) -> String {
    format!("/api/v1/agents/{}{what}", segment(agent))
}

async fn changed(
    agent: &str,
    what: &str,
    body: &Value,
    client: &Client,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let changed = client.post(&path(agent, what), body).await?;
    screen.data(&changed, |agent, _| {
        format!("{} is {}", text(agent, "name").bold(), text(agent, "status"))
    })
}

fn status(agent: &Value) -> super::table::Cell {
    match raw(agent, "status") {
        "active" => cell("active", Look::Green),
        "created" => cell("created", Look::Dim),
        other => cell(other, Look::Red),
    }
}

fn rows(agents: &[Value], columns: usize) -> String {
    let row = |a: &Value| {
        vec![
            cell(text(a, "name"), Look::Bold),
            text(a, "place").into(),
            status(a),
            text(a, "sponsor").into(),
            time(a, "expires").into(),
            list(a, "keys")
                .first()
                .map(|key| text(key, "id"))
                .unwrap_or_default()
                .into(),
        ]
    };
    let headers = ["AGENT", "PLACE", "STATUS", "SPONSOR", "EXPIRES", "KEY"];
    table(columns, &headers, agents.iter().map(row).collect(), "no agents")
}

fn one(agent: &Value) -> String {
    let mut out = format!("{}  {}\n", text(agent, "name").bold(), text(agent, "place"));
    for (name, value) in [
        ("did", text(agent, "did")),
        ("status", text(agent, "status")),
        ("held at", text(agent, "held_at")),
        ("reason", text(agent, "reason")),
        ("sponsor", text(agent, "sponsor")),
        ("parent", text(agent, "parent")),
        ("created", time(agent, "created")),
        ("expires", time(agent, "expires")),
    ] {
        if !value.is_empty() {
            out.push_str(&format!("{:<10} {value}\n", name.dimmed()));
        }
    }
    for key in list(agent, "keys") {
        let until = time(key, "until");
        let note = if until.is_empty() {
            "present".to_owned()
        } else {
            format!("verifies until {until}")
        };
        out.push_str(&format!("{:<10} {}  {note}\n", "key".dimmed(), text(key, "id")));
    }
    for grant in list(agent, "grants") {
        out.push_str(&format!(
            "{:<10} {}  {}\n",
            "grant".dimmed(),
            text(grant, "capability"),
            text(grant, "from").dimmed()
        ));
    }
    out.push_str(&elevate::shown(agent));
    for warning in list(agent, "warnings") {
        out.push_str(&format!(
            "{:<10} {}\n",
            "warning".yellow(),
            super::value::shown(warning)
        ));
    }
    out
}

/// One delegation on one line.
fn link(delegation: &Value) -> String {
    let except = match text(delegation, "except") {
        except if except.is_empty() => String::new(),
        except => format!(" except {except}"),
    };
    format!(
        "{} → {}  {}{except}  until {}  trust ≤ {}  {}",
        text(delegation, "from"),
        text(delegation, "to").bold(),
        text(delegation, "capabilities"),
        time(delegation, "until"),
        text(delegation, "trust"),
        text(delegation, "id").dimmed(),
    )
}

/// Every agent that passed something on by its own right, and below it what became of that.
fn tree(agents: &[Value], delegations: &[Value]) -> String {
    let received: BTreeSet<&str> = delegations.iter().map(|d| raw(d, "to")).collect();
    let mut out = String::new();
    for agent in agents {
        let roots: Vec<&Value> = delegations
            .iter()
            .filter(|d| field(d, "under").is_null() && raw(d, "from") == raw(agent, "name"))
            .collect();
        if roots.is_empty() && received.contains(raw(agent, "name")) {
            continue;
        }
        let status = match raw(agent, "status") {
            "active" => String::new(),
            other => format!("  {}", super::text::visible(other).red()),
        };
        let sponsor = format!("answers to {}", text(agent, "sponsor"));
        out.push_str(&format!(
            "{}{status}  {}\n",
            text(agent, "name").bold(),
            sponsor.dimmed()
        ));
        branches(&roots, delegations, "", &mut out);
    }
    if out.is_empty() {
        "no agents\n".to_owned()
    } else {
        out
    }
}

fn branches(links: &[&Value], all: &[Value], before: &str, out: &mut String) {
    for (at, one) in links.iter().enumerate() {
        let (mark, next) = match at + 1 == links.len() {
            true => ("└─ ", "   "),
            false => ("├─ ", "│  "),
        };
        let state = match raw(one, "state") {
            "holds" => String::new(),
            other => format!("  {}", super::text::visible(other).red()),
        };
        out.push_str(&format!("{before}{mark}{}{state}\n", link(one)));
        let below: Vec<&Value> = all
            .iter()
            .filter(|d| raw(d, "under") == raw(one, "id") && !raw(one, "id").is_empty())
            .collect();
        branches(&below, all, &format!("{before}{next}"), out);
    }
}

/// Yes or no, and the chain of what was weighed: stops, every link's grant, levels, and rules that matched.
fn reasons(answer: &Value) -> String {
    let head = match raw(answer, "outcome") {
        "permit" => "yes".green().bold().to_string(),
        "require_approval" => "only with an approval".yellow().bold().to_string(),
        _ => "no".red().bold().to_string(),
    };
    let mut out = format!("{head}: {}\n", text(answer, "reason"));
    for line in list(answer, "lines") {
        let matched = field(line, "matched").as_bool() == Some(true);
        if raw(line, "step") == "rule" && !matched {
            continue;
        }
        let mark = if matched { "●" } else { "○" };
        out.push_str(&format!(
            "  {mark} {:<8} {}  {}\n",
            text(line, "step").dimmed(),
            text(line, "subject"),
            text(line, "finding")
        ));
    }
    let remedy = text(answer, "remedy");
    if !remedy.is_empty() {
        out.push_str(&format!("{} {remedy}\n", "what would change it:".dimmed()));
    }
    out
}

#[cfg(test)]
mod tests;
