//! `run`: starts any program behind the walls, on the platform that runs here or on one started for it, and passes
//! through what it reads and writes.

pub(super) mod platform;
mod review;
pub(super) mod terminal;

use super::arguments::{Format, Global};
use super::failure::Failure;
use super::screen::Screen;
use crate::guests::{Learn, Summary, Told, Wanted};
use clap::{Args, ValueEnum};
use gate::egress::Learned;
use gate::egress::spec::EgressRule;
use platform::{Connection, Platform, Where};
use policy::budget::Ceiling;
use sandbox::{Choice, Git, Part, Profile};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use terminal::Stdio;

/// Least memory that a program runs in, in bytes.
const MEMORY_MIN: u64 = 16 << 20;

/// Shown below the options.
pub const HELP: &str = "\
Examples:
  cofferdam run -- python agent.py                       nothing configured: it reaches nothing and writes here alone
  cofferdam run --allow api.github.com:443 -- ./agent    one host, as an opaque tunnel
  cofferdam run --learn=allow -- ./agent                 what it needs, as a document to review
  cofferdam run --model gpt-5-mini --budget 2usd -- python agent.py   a model, and what it may cost; no key inside
  cofferdam run --review -- ./fix-lints                  its changes are shown, and kept only if you say so
  cofferdam run --agent ops/triage --workspace . -- node agent.js
  cofferdam run --timeout 10m --memory 2G --profile strict -- ./untrusted
  cofferdam run --image registry.example/agent@sha256:0f9… -- python /app/agent.py     in a container of Podman or Docker

The program finds HTTPS_PROXY and its like; everything it asks of the network is judged and recorded. It sees the
system read-only, its workspace, a /tmp and a /home of its own, and nothing else. In a container the system is the
image's, its entry point is not used, and the workspace is at /workspace as everywhere.

Exit codes: the program's own; 128 and the signal when one ended it; 1 when nothing ran, or what it
changed was to be kept and was not; 2 misuse";

/// Run any program behind the walls.
#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    /// Whose rights it has [default: those of a guest, which holds what you lend it here and nothing else]
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// The directory that it works in
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub workspace: PathBuf,
    /// A host that it may reach; may be given several times
    #[arg(long, value_name = "HOST:PORT")]
    pub allow: Vec<String>,
    /// A network, such as 10.0.0.0/8 or 127.0.0.0/8, that these hosts may lead to although it is not of the Internet
    #[arg(long, value_name = "CIDR")]
    pub allow_network: Vec<String>,
    /// A `Model` or `Route` that it may call, with OPENAI_BASE_URL and ANTHROPIC_BASE_URL; may be given several times
    #[arg(long, value_name = "NAME")]
    pub model: Vec<String>,
    /// What its models may cost in all: 5usd, 0.25usd
    #[arg(long, value_name = "MONEY", value_parser = policy::budget::money)]
    pub budget: Option<u64>,
    /// Find out what it needs: tell what it asked of the network as an `Egress` document; `--learn=allow` lends it the
    /// whole Internet for that
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "deny")]
    pub learn: Option<Learn>,
    /// Collect its changes instead of making them; show them at the end, and ask whether to keep them
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "ask")]
    pub review: Option<review::How>,
    /// A file or directory that it may read, besides the system and its workspace
    #[arg(long, value_name = "PATH")]
    pub read: Vec<PathBuf>,
    /// A variable for its environment: NAME=VALUE, or NAME alone for the value that it has here
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// What it may do with the repository in its workspace
    #[arg(long, value_enum, default_value_t = GitAccess::Read)]
    pub git: GitAccess,
    /// Which system calls it may make
    #[arg(long, value_enum, default_value_t = Walls::Standard)]
    pub profile: Walls,
    /// End it after so long, at most 7d: 30m, 90s, 2h
    #[arg(long, value_name = "TIME", value_parser = super::tokens::seconds, default_value = "30m")]
    pub timeout: u64,
    /// Memory of all its processes: 512M, 2G
    #[arg(long, value_name = "SIZE", value_parser = bytes, default_value = "4G")]
    pub memory: u64,
    /// A wall to do without where this machine cannot build it; `cofferdam sandbox check` names them
    #[arg(long, value_name = "PART", value_parser = part)]
    pub degrade: Vec<Part>,
    /// What starts it: process, container, container:podman or container:docker [default: what the agent's document says,
    /// or process]
    #[arg(long, value_name = "BACKEND")]
    pub backend: Option<Choice>,
    /// The image of its container, which has to be there: by digest, or by a name whose digest is looked up and recorded
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Where the platform keeps its data; one is started there when none runs
    #[arg(long, value_name = "DIR", default_value = "./.cofferdam")]
    pub data_dir: PathBuf,
    /// Documents of the platform that is started, when none runs there
    #[arg(long, value_name = "FILE|DIR")]
    pub config: Option<PathBuf>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// See [`Git`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum GitAccess {
    /// Read it.
    Read,
    /// Commit; hooks and configuration stay as they are.
    Commit,
}

/// See [`Profile`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Walls {
    /// A list of calls that are allowed; any other ends the program.
    Strict,
    /// A list of calls that are refused.
    Standard,
    /// As standard, with any TCP on its own loopback, as test suites need it.
    Build,
}

impl From<Walls> for Profile {
    fn from(walls: Walls) -> Profile {
        match walls {
            Walls::Strict => Profile::Strict,
            Walls::Standard => Profile::Standard,
            Walls::Build => Profile::Build,
        }
    }
}

/// Runs the program. Its own exit status is the command's.
pub fn run(arguments: &RunArguments, global: &Global, screen: &mut Screen) -> Result<ExitCode, Failure> {
    let wanted = wanted(arguments)?;
    let at = Where {
        data_dir: Some(&arguments.data_dir),
        config: arguments.config.as_deref(),
    };
    let platform = Platform::find_or_start(&at, global)?;
    let ended = pass(&platform, &wanted, arguments.review, screen);
    let is_own = platform.is_own();
    platform.shutdown();
    conclude(&ended?, is_own, screen)
}

/// From its start to its end.
fn pass(
    platform: &Platform,
    wanted: &Wanted,
    review: Option<review::How>,
    screen: &mut Screen,
) -> Result<Summary, Failure> {
    let stdio = Stdio::open()?;
    let connection = platform.connect()?;
    {
        let [stdin, stdout, stderr] = stdio.for_guest();
        connection.ask(wanted, [stdin, stdout, stderr].map(|fd| fd.as_fd()))?;
    }
    let mut passing = Some(stdio.pass()?);
    let ended = listen(&connection, screen, |place, screen| {
        // The guest is gone: from here on the terminal is ours again.
        if let Some(passing) = passing.take() {
            passing.finish();
        }
        let how = review.unwrap_or(review::How::Discard);
        review::answer(place, &wanted.workspace, how, connection.socket(), screen)
    });
    if let Some(passing) = passing {
        passing.finish();
    }
    ended
}

/// Until the last word; `review` answers when there are changes to be seen.
fn listen(
    connection: &Connection,
    screen: &mut Screen,
    mut review: impl FnMut(&Path, &mut Screen) -> Result<(), Failure>,
) -> Result<Summary, Failure> {
    let mut asked = "that it runs";
    loop {
        match connection.hear()? {
            Told::Session(_) => {}
            Told::Waits { approval, server } => {
                let how = format!("cofferdam approvals show {approval} --server {server}");
                screen.tell(&format!("it waits for a person to approve {asked}: {how}\r"));
            }
            Told::Started { given_up } => {
                for (part, why) in given_up {
                    let name = serde_json::to_value(part).unwrap_or_default();
                    screen.tell(&format!(
                        "not enforced: {}: {why}\r",
                        name.as_str().unwrap_or("?")
                    ));
                }
            }
            Told::Review(place) => {
                asked = "that its changes are kept";
                review(&place, screen)?;
            }
            Told::Ended(summary) => return Ok(*summary),
            Told::Refused { session, reason } => {
                let record = session.map(|id| format!(" (cofferdam sessions show {id})"));
                return Err(Failure::Failed(format!("{reason}{}", record.unwrap_or_default())));
            }
        }
    }
}

fn conclude(summary: &Summary, is_own: bool, screen: &mut Screen) -> Result<ExitCode, Failure> {
    match screen.format {
        Format::Table => {
            screen.tell(&summary.line(is_own));
            if let Some(learned) = &summary.learned {
                screen.tell(&told(learned)?);
            }
        }
        // Its output is the program's; what is ours goes where messages go.
        Format::Json | Format::Yaml => {
            let value = serde_json::to_value(summary).map_err(anyhow::Error::from)?;
            match screen.format {
                Format::Yaml => screen.tell(super::screen::yaml(&value)?.trim_end()),
                _ => screen.tell(&value.to_string()),
            }
        }
    }
    Ok(ExitCode::from(summary.status()))
}

/// What was learned, as a document to review.
fn told(learned: &Learned) -> Result<String, Failure> {
    if learned.spec.rules.is_empty() {
        return Ok("it asked nothing of the network".to_owned());
    }
    let mut spec = serde_json::to_value(&learned.spec).map_err(anyhow::Error::from)?;
    prune(&mut spec);
    let document = serde_json::json!({
        "apiVersion": "cofferdam.dev/v1", "kind": "Egress", "metadata": { "name": "learned" }, "spec": spec,
    });
    let mut text =
        "# What it asked of the network. Review it, name the agent, then: cofferdam apply -f\n".to_owned();
    if !learned.targets.is_empty() {
        let targets = learned.targets.iter().map(|target| format!(" --allow {target}"));
        text.push_str(&format!(
            "# For one run: cofferdam run{}\n",
            targets.collect::<String>()
        ));
    }
    if learned.left_out > 0 {
        text.push_str(&format!("# {} more hosts are left out.\n", learned.left_out));
    }
    text.push_str(super::screen::yaml(&document)?.trim_end());
    Ok(text)
}

/// Leaves out what is so unless something else is said: what is to be reviewed is what was found.
fn prune(spec: &mut serde_json::Value) {
    let usual = serde_json::from_value::<EgressRule>(serde_json::json!({ "name": "" }));
    let usual = usual
        .ok()
        .and_then(|rule| serde_json::to_value(rule).ok())
        .unwrap_or_default();
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|name, _| name != "limits");
    }
    let rules = spec.get_mut("rules").and_then(|rules| rules.as_array_mut());
    for fields in rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.as_object_mut())
    {
        fields.retain(|name, value| name == "name" || usual.get(name) != Some(value));
    }
}

fn wanted(arguments: &RunArguments) -> Result<Wanted, Failure> {
    let workspace = std::path::absolute(&arguments.workspace).map_err(anyhow::Error::from)?;
    if arguments.timeout == 0 {
        return Err(Failure::Misuse(
            "--timeout has to be longer than nothing".to_owned(),
        ));
    }
    if arguments.timeout.saturating_mul(1_000) > crate::guests::LIFE_MS_MAX {
        return Err(Failure::Misuse("--timeout is 7d at most".to_owned()));
    }
    if !arguments.allow_network.is_empty() && arguments.allow.is_empty() && arguments.learn.is_none() {
        let why = "--allow-network says where hosts may lead; name them with --allow, or find them out with --learn=allow";
        return Err(Failure::Misuse(why.to_owned()));
    }
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(anyhow::Error::from);
    Ok(Wanted {
        agent: arguments.agent.clone(),
        argv: arguments.command.clone(),
        env: environment(&arguments.env)?,
        workspace,
        allow: arguments.allow.clone(),
        networks: arguments.allow_network.clone(),
        learn: arguments.learn,
        review: arguments.review.is_some(),
        reads: arguments.read.iter().map(absolute).collect::<Result<_, _>>()?,
        git: match arguments.git {
            GitAccess::Read => Git::Read,
            GitAccess::Commit => Git::Commit,
        },
        profile: arguments.profile.into(),
        timeout_ms: Some(arguments.timeout.saturating_mul(1_000)),
        memory_bytes: Some(arguments.memory),
        degrade: arguments.degrade.iter().copied().collect::<BTreeSet<Part>>(),
        models: arguments.model.clone(),
        budget: arguments.budget.map(|micros| Ceiling {
            micros: Some(micros),
            ..Ceiling::default()
        }),
        backend: arguments.backend,
        image: arguments.image.clone(),
        drill: None,
    })
}

/// The variables that were named, and those by which a terminal is known.
fn environment(named: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut env = BTreeMap::new();
    for name in ["TERM", "COLORTERM", "NO_COLOR", "LANG", "TZ"] {
        if let Ok(value) = std::env::var(name) {
            env.insert(name.to_owned(), value);
        }
    }
    for one in named {
        let (name, value) = match one.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let missing = |_| Failure::Misuse(format!("--env {one}: there is no such variable here"));
                (one.as_str(), std::env::var(one).map_err(missing)?)
            }
        };
        env.insert(name.to_owned(), value);
    }
    Ok(env)
}

pub(super) fn part(text: &str) -> Result<Part, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| format!("`{text}` is no part; `cofferdam sandbox check` names them"))
}

/// `512M`, `2G`, or bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write it like 512M or 2G");
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (text.get(..at), 1 << 10),
        Some((at, 'M' | 'm')) => (text.get(..at), 1 << 20),
        Some((at, 'G' | 'g')) => (text.get(..at), 1 << 30),
        _ => (Some(text), 1_u64),
    };
    let number: u64 = number.and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    let bytes = number.checked_mul(unit).ok_or_else(wrong)?;
    match bytes >= MEMORY_MIN {
        true => Ok(bytes),
        false => Err("a program needs 16M at least".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let table = [
            ("512M", Some(512 << 20)),
            ("2G", Some(2 << 30)),
            ("2g", Some(2 << 30)),
            ("33554432", Some(32 << 20)),
            ("1K", None),
            ("", None),
            ("G", None),
            ("-1G", None),
            ("99999999999999G", None),
        ];
        for (text, expected) in table {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }
}
