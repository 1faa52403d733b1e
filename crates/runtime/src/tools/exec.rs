//! `exec.run` and `exec.eval`: programs with their arguments, never a line for a shell, each behind walls.
//!
//! What may run is named by the path that a name resolves to. What its binding does not call harmless is destructive.
//! A program that is given its text in its arguments, or runs another that they name, is `exec.eval`, which a person
//! approves each time whoever asks: an approval is bound to the digests of what would run.
//!
//! Invariants:
//! - **No shell**: arguments are passed as they are; what a shell would make of them, nobody does.
//! - **No program that was not looked at**: its file is read again behind the permit, and has to be what was permitted.
//! - **Nothing runs outside**: a command has the walls of a guest, no door to the network, and a time.

mod classify;
mod find;

use super::report::{action, argument, ended, failure, success};
use super::schema;
use crate::guest::{Aside, Launching, blocking, said};
use classify::is_evaluated;
use find::Found;
use gate::{BoxFuture, Tool, ToolError};
use policy::{Action, Effect, Environment, Idempotence, InFlight, Outcome, Settlement, Verb};
use sandbox::{End, Guest, Spec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs a program that its arguments leave as it is.
pub const RUN: &str = "exec.run";
/// Runs what is in the arguments.
pub const EVAL: &str = "exec.eval";
/// Most arguments, and longest input, in bytes.
const ARGUMENTS_MAX: usize = 256;
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// What of its output and of its errors is told, in bytes each; it may write more.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// Longest that a command may take, in seconds.
const SECONDS_MAX: u64 = 3_600;

/// One program that an agent may run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Command {
    /// The path that its name resolves to: `/usr/bin/kubectl`, or `/usr/bin/*` for all that lie there.
    pub program: String,
    /// What it does at most. Default `destructive`.
    #[serde(default = "destructive")]
    pub effect: Effect,
}

fn destructive() -> Effect {
    Effect::Destructive
}

/// Sixty seconds.
pub(super) fn seconds() -> u64 {
    60
}

/// How commands get their walls.
pub struct Commands {
    /// What starts them.
    pub launching: Arc<Launching>,
    /// What of the platform's own lies in a workspace, to be hidden there; or that it cannot be.
    pub hidden: Hidden,
}

/// See [`Commands::hidden`].
pub type Hidden = Box<dyn Fn(&Path) -> Result<Vec<PathBuf>, String> + Send + Sync>;

/// What `exec` is bound to.
pub(super) struct Extent {
    /// Where it runs, and what it may change.
    workspace: PathBuf,
    commands: Vec<Command>,
    seconds: u64,
    environment: Environment,
    behind: Option<Arc<Commands>>,
}

impl Extent {
    /// # Errors
    /// What is wrong, for whoever wrote the document.
    pub(super) fn new(
        workspace: &Path,
        commands: &[Command],
        seconds: u64,
        environment: Environment,
        behind: Option<Arc<Commands>>,
    ) -> Result<Extent, String> {
        if commands.is_empty() {
            return Err("`commands` is empty: nothing could run".to_owned());
        }
        if !(1..=SECONDS_MAX).contains(&seconds) {
            return Err(format!("`seconds` is 1 to {SECONDS_MAX}"));
        }
        for Command { program, .. } in commands {
            let is_whole = program.strip_suffix("/*").unwrap_or(program);
            if !is_whole.starts_with('/') || is_whole.contains(['*', ':']) || is_whole.contains("/../") {
                return Err(format!(
                    "`{program}` is no path of a program: write `/usr/bin/kubectl`, or `/usr/bin/*` for all in it"
                ));
            }
        }
        Ok(Extent {
            workspace: std::path::absolute(workspace).map_err(|error| error.to_string())?,
            commands: commands.to_vec(),
            seconds,
            environment,
            behind,
        })
    }

    /// Resources of all that may run.
    pub(super) fn resources(&self) -> Vec<String> {
        self.commands
            .iter()
            .map(|command| resource(&command.program))
            .collect()
    }

    /// What the program at `path` does at most; none for one that may not run.
    fn effect(&self, path: &Path) -> Option<Effect> {
        let fits = |command: &&Command| match command.program.strip_suffix("/*") {
            Some(directory) => path.parent() == Some(Path::new(directory)),
            None => path == Path::new(&command.program),
        };
        // Where several speak of it, the strictest does.
        self.commands
            .iter()
            .filter(fits)
            .map(|command| command.effect)
            .max()
    }
}

fn resource(path: &str) -> String {
    format!("program{path}")
}

/// `exec.run` or `exec.eval`.
pub(super) struct Exec {
    verb: Verb,
    extent: Arc<Extent>,
}

impl Exec {
    pub(super) fn new(verb: Verb, extent: Arc<Extent>) -> Exec {
        Exec { verb, extent }
    }

    fn evaluates(&self) -> bool {
        self.verb.as_str() == EVAL
    }

    /// What `arguments` mean. Blocks: it reads files.
    fn meant(&self, arguments: &Value) -> Result<Action, ToolError> {
        let argv = words(arguments)?;
        let first = argv.first().ok_or_else(|| argument("argv", "is empty"))?;
        let workspace = self.extent.workspace.canonicalize().map_err(|error| {
            let what = format!("`{}`: {error}", self.extent.workspace.display());
            argument("workspace", &what)
        })?;
        let program = find::program(first, &workspace).map_err(|what| argument("argv/0", &what))?;
        let effect = self.extent.effect(&program.path).ok_or_else(|| {
            let what = format!(
                "`{}` is none of the programs that may run here",
                program.path.display()
            );
            argument("argv/0", &what)
        })?;
        let is_file = |operand: &str| find::is_file(operand, &workspace);
        let evaluated = is_evaluated(&program.path, argv.get(1..).unwrap_or_default(), is_file);
        let wrong = match (evaluated, self.evaluates()) {
            (Some(why), false) => Some(format!("{why}: that is `{EVAL}`, which a person approves")),
            (None, true) => Some(format!("nothing in it is evaluated: that is `{RUN}`")),
            (Some(_), true) | (None, false) => None,
        };
        if let Some(what) = wrong {
            return Err(argument("argv", &what));
        }
        let files = find::files(&program, argv.get(1..).unwrap_or_default(), &workspace)
            .map_err(|what| argument("argv", &what))?;
        let told = json!({
            "argv": argv,
            "input": arguments.get("input"),
            "workspace": workspace,
            "program": program,
            "files": files,
            "seconds": self.extent.seconds,
        });
        let idempotence = match effect {
            Effect::Read => Idempotence::Idempotent,
            _ => Idempotence::Once,
        };
        let resource = resource(&program.path.display().to_string());
        let made = action(
            &self.verb,
            &resource,
            told,
            &self.extent.environment,
            effect,
            idempotence,
        )?;
        Ok(made.local())
    }

    /// The spec of what was permitted, if its files are still those.
    fn spec(&self, permitted: &Action) -> Result<(Spec, Option<Aside>), String> {
        let arguments = permitted.arguments();
        let unreadable = |error: serde_json::Error| format!("the action is unreadable: {error}");
        let read = |key: &str| arguments.get(key).cloned().unwrap_or_default();
        let program: Found = serde_json::from_value(read("program")).map_err(unreadable)?;
        let files: Vec<Found> = serde_json::from_value(read("files")).map_err(unreadable)?;
        for found in std::iter::once(&program).chain(&files) {
            if find::found(&found.path)? != *found {
                return Err(format!("`{}` is not what was permitted", found.path.display()));
            }
        }
        let mut argv: Vec<String> = serde_json::from_value(read("argv")).map_err(unreadable)?;
        let workspace: PathBuf = serde_json::from_value(read("workspace")).map_err(unreadable)?;
        let mut spec = Spec::new(Vec::new(), workspace);
        if let Some(first) = argv.first_mut() {
            // Inside, the workspace is elsewhere.
            let shown = match program.path.strip_prefix(&spec.workspace) {
                Ok(below) => spec.workspace_at.join(below),
                Err(_) => program.path.clone(),
            };
            *first = shown.display().to_string();
        }
        spec.argv = argv;
        spec.limits.timeout_ms = Some(self.extent.seconds * 1_000);
        // What only reads changes nothing, whatever it tries: its changes go where nobody looks.
        let aside = match permitted.effect() {
            Effect::Read => Some(Aside::of(&spec.workspace)?),
            _ => None,
        };
        spec.review = aside.as_ref().and_then(Aside::path).map(Path::to_owned);
        Ok((spec, aside))
    }

    async fn act(&self, flight: &InFlight) -> Settlement {
        let not_started = |why: String| ended(Outcome::NotStarted, "not_run", &why, Value::Null);
        let Some(behind) = &self.extent.behind else {
            return not_started("there is no sandbox here".to_owned());
        };
        let made = blocking(|| self.spec(flight.action())).and_then(|(mut spec, aside)| {
            spec.hidden = (behind.hidden)(&spec.workspace)?;
            Ok((spec, aside))
        });
        let (spec, aside) = match made {
            Ok(made) => made,
            Err(why) => return not_started(why),
        };
        let input = flight.action().arguments().get("input");
        let input = input.and_then(Value::as_str).unwrap_or_default();
        let [stdin, out, err] = match files(input) {
            Ok(files) => files,
            Err(error) => return not_started(format!("no files in memory: {error}")),
        };
        let stdio = match [&stdin, &out, &err].map(File::try_clone) {
            [Ok(stdin), Ok(out), Ok(err)] => [stdin, out, err].map(OwnedFd::from),
            _ => return not_started("a descriptor cannot be copied".to_owned()),
        };
        let mut guest = match behind.launching.launch_here(flight, &spec, stdio) {
            Ok(guest) => guest,
            Err(error @ sandbox::LaunchError::Gone(_)) => {
                return ended(Outcome::Uncertain, "launcher", &error.to_string(), Value::Null);
            }
            Err(error) => return not_started(error.to_string()),
        };
        let settlement = see(flight, &mut guest, [out, err]).await;
        blocking(|| drop(aside));
        settlement
    }
}

/// Until its last process is dead.
async fn see(flight: &InFlight, guest: &mut Guest, [out, err]: [File; 2]) -> Settlement {
    let cancel = flight.cancel();
    let mut told = false;
    let exit = loop {
        tokio::select! {
            exit = guest.wait() => break exit,
            () = cancel.cancelled(), if !told => { told = true; guest.kill(); }
        }
    };
    let result = json!({ "exit": exit, "output": written(out), "errors": written(err) });
    let summary = said(&exit);
    match (&exit.stop, exit.end) {
        (Some(sandbox::Stop::Launcher), _) => ended(Outcome::Uncertain, "launcher", &summary, result),
        (Some(sandbox::Stop::Killed), _) => ended(Outcome::Cancelled, "killed", &summary, result),
        (None, End::Code(0)) => success(result, &summary, true),
        _ => failure("exit", &summary, result),
    }
}

/// Input with what it holds, output and errors: files in memory, so that nobody waits for anybody.
fn files(input: &str) -> std::io::Result<[File; 3]> {
    let mut stdin = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile())?;
    stdin.write_all(input.as_bytes())?;
    stdin.rewind()?;
    let one = || tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile());
    Ok([stdin, one()?, one()?])
}

/// The first of what was written, as text, and how much there is.
fn written(mut file: File) -> Value {
    let bytes = file.metadata().map_or(0, |found| found.len());
    let mut first = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(OUTPUT_BYTES_MAX).read_to_end(&mut first));
    match read {
        Ok(_) => json!({ "text": String::from_utf8_lossy(&first), "bytes": bytes }),
        Err(error) => json!({ "lost": error.to_string() }),
    }
}

fn words(arguments: &Value) -> Result<Vec<String>, ToolError> {
    let words = arguments.get("argv").cloned().unwrap_or_default();
    serde_json::from_value(words).map_err(|error| argument("argv", &error.to_string()))
}

impl Tool for Exec {
    fn verb(&self) -> &Verb {
        &self.verb
    }
    fn description(&self) -> &str {
        match self.evaluates() {
            true => {
                "Runs a program that is given its text in its arguments, or runs another that they name. A person \
                 approves each. No shell reads `argv`."
            }
            false => {
                "Runs a program with these arguments in the workspace, behind walls and without a network. `argv` is \
                 no line for a shell: nothing in it is expanded, chained or redirected."
            }
        }
    }
    fn schema(&self) -> Value {
        json!({
            "type": "object", "additionalProperties": false, "required": ["argv"],
            "properties": {
                "argv": {
                    "type": "array", "minItems": 1, "maxItems": ARGUMENTS_MAX,
                    "items": {"type": "string", "maxLength": 4096},
                },
                "input": {"type": "string", "maxLength": INPUT_BYTES_MAX},
            },
        })
    }
    fn propose<'a>(&'a self, arguments: &'a Value) -> BoxFuture<'a, Result<Action, ToolError>> {
        Box::pin(async move {
            schema::check(&self.schema(), arguments)?;
            blocking(|| self.meant(arguments))
        })
    }
    fn run<'a>(&'a self, flight: &'a InFlight) -> BoxFuture<'a, Settlement> {
        Box::pin(self.act(flight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between the permit and the run somebody changes what would run, or what it reads.
    #[test]
    fn what_was_permitted_is_what_runs() {
        #[rustfmt::skip]
        let table: [(&str, Option<&str>); 4] = [
            ("other",       None),
            ("tool",        Some("is not what was permitted")),
            ("named",       Some("is not what was permitted")),
            ("behind",      Some("is not what was permitted")),
        ];
        for (changed, expected) in table {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            for name in ["tool", "named", "behind", "other"] {
                std::fs::write(at(name), "before").unwrap();
            }
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(at("tool"), mode).unwrap();
            let command = Command {
                program: at("tool").canonicalize().unwrap().display().to_string(),
                effect: Effect::Write,
            };
            let environment = Environment::new("test").unwrap();
            let extent = Extent::new(folder.path(), &[command], 5, environment, None).unwrap();
            let exec = Exec::new(Verb::new(RUN).unwrap(), Arc::new(extent));
            // Named as it is outside, as it is inside, and behind a `=`.
            let argv = json!({ "argv": ["./tool", "-v", "/workspace/named", "--from=behind"] });
            let permitted = exec.meant(&argv).unwrap();
            std::fs::write(at(changed), "after!").unwrap();
            let made = exec.spec(&permitted).map(|(spec, _)| spec.argv);
            match expected {
                None => assert_eq!(made.unwrap()[0], "/workspace/tool"),
                Some(why) => assert!(made.unwrap_err().contains(why), "{changed}"),
            }
        }
    }
}
