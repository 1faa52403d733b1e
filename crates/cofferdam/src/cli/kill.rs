//! `cofferdam kill`: stops that work at once, for everything or for a part of it.

use super::client::Client;
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, table};
use super::value::{field, list, text};
use clap::{ArgGroup, Args, Subcommand};
use owo_colors::OwoColorize;
use serde_json::{Value, json};

pub(super) const HELP: &str = "\
Examples:
  cofferdam kill --all --reason \"something is wrong\"
  cofferdam kill --agent triage --reason \"too many restarts\"
  cofferdam kill --team acme/sre --reason \"their token leaked\"
  cofferdam kill --tool \"git.*\" --reason \"the repository moves\"
  cofferdam kill --capability \"http.request:https://shop.example/*\" --reason \"the shop is down\"
  cofferdam kill --network --reason \"nothing may leave the machine\"
  cofferdam kill --drill --sessions 50
  cofferdam kill list
  cofferdam kill lift --agent triage --reason \"fixed\"

A stop cuts what is in flight, permits nothing more, and survives a restart until it is lifted.
Sessions under it are ended; what is queued or waits for a person goes on when it is lifted. Stops of
tools, capabilities and the network refuse single actions and end no session.
Exit code 1: something was not reached within five seconds, or there is nothing of that name.";

/// `cofferdam kill`
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Kill {
    #[command(subcommand)]
    command: Option<KillCommand>,
    /// Stop live, harmless sessions that are started for it, and measure how long that takes
    #[arg(long, conflicts_with_all = ["reason", "scope"])]
    drill: bool,
    /// How many of them
    #[arg(long, value_name = "N", default_value_t = 20, requires = "drill")]
    sessions: usize,
    #[command(flatten)]
    stop: Option<Stop>,
}

#[derive(Debug, Subcommand)]
enum KillCommand {
    /// List the stops in force
    List,
    /// End a stop
    Lift(Stop),
}

/// What to stop, and why. One flat struct: clap sees an optional one only by its own arguments.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("scope").args(
    ["all", "network", "org", "team", "project", "tool", "capability", "agent", "session"])))]
struct Stop {
    /// Everything
    #[arg(long)]
    all: bool,
    /// Every action that may reach the network
    #[arg(long)]
    network: bool,
    /// Every agent of an organization
    #[arg(long, value_name = "NAME")]
    org: Option<String>,
    /// Every agent of a team: `acme/sre`
    #[arg(long, value_name = "PATH")]
    team: Option<String>,
    /// Every agent of a project: `acme/sre/ops`
    #[arg(long, value_name = "PATH")]
    project: Option<String>,
    /// A tool, by its verb; `git.*` for all of them
    #[arg(long, value_name = "VERBS")]
    tool: Option<String>,
    /// What a capability covers: `git.propose:repository/shop`
    #[arg(long, value_name = "VERBS:RESOURCES")]
    capability: Option<String>,
    /// One agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// One session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Why
    #[arg(long, required = true, requires = "scope")]
    reason: String,
}

impl Stop {
    fn scope(&self) -> String {
        let named = [
            ("org", &self.org),
            ("team", &self.team),
            ("project", &self.project),
            ("tool", &self.tool),
            ("capability", &self.capability),
            ("agent", &self.agent),
            ("session", &self.session),
        ];
        let named = named
            .into_iter()
            .find_map(|(kind, name)| name.as_ref().map(|name| format!("{kind}:{name}")));
        match named {
            Some(scope) => scope,
            None if self.network => "network".to_owned(),
            None => "all".to_owned(),
        }
    }
}

/// Runs it.
pub async fn run(kill: &Kill, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    if kill.drill {
        let answer = client
            .post("/api/v1/stops/drill", &json!({"sessions": kill.sessions}))
            .await?;
        screen.data(&answer, |answer, _| drilled(answer))?;
        return warned(&answer, screen);
    }
    match (&kill.command, &kill.stop) {
        (Some(KillCommand::List), _) => {
            let stops = client.get("/api/v1/stops", &[]).await?;
            screen.data(&stops, |stops, columns| rows(list(stops, ""), columns))
        }
        (Some(KillCommand::Lift(stop)), _) => {
            let body = json!({"scope": stop.scope(), "reason": stop.reason});
            let answer = client.delete("/api/v1/stops", Some(&body)).await?;
            screen.data(&answer, |_, _| format!("{} {}", "lifted".green(), stop.scope()))
        }
        (None, Some(stop)) => {
            let body = json!({"scope": stop.scope(), "reason": stop.reason});
            let answer = client.post("/api/v1/stops", &body).await?;
            screen.data(&answer, |answer, _| stopped(answer))?;
            warned(&answer, screen)
        }
        (None, None) => Err(Failure::Misuse(
            "say what to stop: --all, --agent NAME, --session ID or another scope of `kill --help`".into(),
        )),
    }
}

/// The figures of a drill.
fn drilled(answer: &Value) -> String {
    let ms = |key: &str| field(answer, key).as_f64().unwrap_or_default() / 1000.0;
    format!(
        "{} {} live sessions with one stop; {} actions in flight were cut
last permitted action  {:.1} ms after the call
last session ended     {:.1} ms after the call
the call answered      {:.1} ms after it was made
entry                  {}",
        "stopped".red().bold(),
        field(answer, "sessions"),
        field(answer, "cut"),
        ms("last_action_us"),
        ms("last_session_us"),
        ms("answered_us"),
        field(answer, "entry"),
    )
}

/// Not everything was stopped that somebody meant to stop.
fn warned(answer: &Value, screen: &mut Screen) -> Result<(), Failure> {
    let warning = "warning:".yellow();
    if field(answer, "known").as_bool() == Some(false) {
        screen.tell(&format!(
            "{warning} there is no {} now, so nothing was stopped; the stop stays in force until it is lifted",
            text(answer, "scope")
        ));
        return Err(Failure::Told);
    }
    let others = list(answer, "organizations");
    let unreached: Vec<&Value> = std::iter::once(answer)
        .chain(others)
        .flat_map(|of| list(of, "unreached"))
        .collect();
    for held in &unreached {
        let names: Vec<String> = list(held, "names").iter().map(plain).collect();
        screen.tell(&format!(
            "{warning} not reached in time, look after them: {}: {}",
            text(held, "what"),
            names.join("; ")
        ));
    }
    if unreached.is_empty() {
        Ok(())
    } else {
        Err(Failure::Told)
    }
}

/// What was cut and what else was reached, and whether the stop survives a restart.
fn stopped(answer: &Value) -> String {
    let mut out = format!("{} {}", "stopped".red().bold(), text(answer, "scope"));
    let cut = list(answer, "cancelled").len();
    out.push_str(&format!("; {cut} actions in flight were cut"));
    for held in list(answer, "reached") {
        let what = text(held, "what");
        let done = match what.as_str() {
            "actions" => continue,
            "sessions" | "processes" | "tunnels" => "ended",
            _ => "fenced until it is lifted",
        };
        out.push_str(&format!("\n{what}: {} {done}", field(held, "count")));
    }
    for other in list(answer, "organizations") {
        let name = text(other, "organization");
        out.push_str(&match field(other, "not_served") {
            Value::Null => format!(
                "\norganization {name}: {} actions in flight were cut",
                list(other, "cancelled").len()
            ),
            _ => format!("\norganization {name}: not served, so nothing of it acts"),
        });
    }
    let durable = |of: &Value| field(of, "durable").as_bool() != Some(false);
    if !durable(answer) || !list(answer, "organizations").iter().all(durable) {
        out.push_str(&format!(
            "\n{}",
            "not recorded yet: it holds until this process ends, and is tried again".yellow()
        ));
    }
    out
}

fn plain(name: &Value) -> String {
    super::text::visible(name.as_str().unwrap_or_default())
}

fn rows(stops: &[Value], columns: usize) -> String {
    let row = |s: &Value| {
        vec![
            cell(text(s, "scope"), Look::Red),
            text(s, "by").into(),
            text(s, "at").into(),
            text(s, "reason").into(),
        ]
    };
    table(
        columns,
        &["SCOPE", "BY", "RAISED AT", "REASON"],
        stops.iter().map(row).collect(),
        "no stops",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        kill: Kill,
    }

    #[test]
    fn says_what_to_stop() {
        #[rustfmt::skip]
        let table = [
            ("everything",          "--all --reason x",               "stop all: x"),
            ("an agent",            "--agent triage --reason x",      "stop agent:triage: x"),
            ("a session",           "--session ses-4 --reason x",     "stop session:ses-4: x"),
            ("an organization",     "--org acme --reason x",          "stop org:acme: x"),
            ("a team",              "--team acme/sre --reason x",     "stop team:acme/sre: x"),
            ("a project",           "--project a/b/c --reason x",     "stop project:a/b/c: x"),
            ("a tool",              "--tool git.* --reason x",        "stop tool:git.*: x"),
            ("a capability",        "--capability git.log:r --reason x", "stop capability:git.log:r: x"),
            ("the network",         "--network --reason x",           "stop network: x"),
            ("the end of a tool's", "lift --tool git.* --reason y",   "lift tool:git.*: y"),
            ("a drill",             "--drill",                        "drill 20"),
            ("a large drill",       "--drill --sessions 200",         "drill 200"),
            ("a drill of all",      "--drill --all --reason x",       "misuse"),
            ("sessions of what",    "--sessions 3",                   "misuse"),
            ("a tool, everywhere",  "--tool a --all --reason x",      "misuse"),
            ("the list",            "list",                           "list"),
            ("the end of one",      "lift --agent triage --reason y", "lift agent:triage: y"),
            ("no reason",           "--all",                          "misuse"),
            ("two things at once",  "--all --agent a --reason x",     "misuse"),
            ("lifting nothing",     "lift --reason x",                "misuse"),
            ("a reason, no scope",  "--reason x",                     "misuse"),
        ];
        for (name, line, expected) in table {
            let words = std::iter::once("kill").chain(line.split(' '));
            let said = match Line::try_parse_from(words).map(|line| line.kill) {
                Ok(Kill {
                    drill: true,
                    sessions,
                    ..
                }) => format!("drill {sessions}"),
                Ok(Kill {
                    command: Some(KillCommand::List),
                    ..
                }) => "list".to_owned(),
                Ok(Kill {
                    command: Some(KillCommand::Lift(stop)),
                    ..
                }) => format!("lift {}: {}", stop.scope(), stop.reason),
                Ok(Kill {
                    command: None,
                    drill: false,
                    sessions: _,
                    stop: Some(stop),
                }) => format!("stop {}: {}", stop.scope(), stop.reason),
                Ok(Kill {
                    command: None,
                    drill: false,
                    sessions: _,
                    stop: None,
                }) => "nothing".to_owned(),
                Err(_) => "misuse".to_owned(),
            };
            assert_eq!(said, expected, "{name}");
        }
    }

    #[test]
    fn an_answer_tells_what_was_cut_ended_and_fenced() {
        let answer = json!({"scope": "agent:triage", "durable": false, "cancelled": [4, 9], "reached": [
            {"what": "actions", "count": 2, "names": ["entry 4", "entry 9"]},
            {"what": "processes", "count": 1, "names": ["ses-3"]},
            {"what": "queue", "count": 1, "names": ["ses-7"]},
            {"what": "sessions", "count": 2, "names": ["ses-1", "ses-2"]}]});
        let told = anstream::adapter::strip_str(&stopped(&answer)).to_string();
        assert_eq!(
            told,
            "stopped agent:triage; 2 actions in flight were cut
processes: 1 ended
queue: 1 fenced until it is lifted
sessions: 2 ended
not recorded yet: it holds until this process ends, and is tried again"
        );
    }
}
