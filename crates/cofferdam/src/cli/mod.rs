//! The command line: parses it, runs one command, and turns what came of it into an exit code.
//!
//! Commands talk to a server over HTTP like any other client; only `up`, `demo`, `run`, `drill`, `validate`, `init`,
//! `journal`, `sandbox` and `audit verify --data-dir` do something themselves. None of them prints a secret but
//! `tokens create`, which exists for that.

pub mod agents;
pub mod approvals;
pub mod arguments;
pub mod audit;
mod chain;
pub mod client;
pub mod documents;
pub mod drill;
pub mod egress;
pub mod entry;
pub mod events;
pub mod explain;
pub mod failure;
pub mod health;
pub mod import;
pub mod incidents;
pub mod journal;
pub mod kill;
pub mod login;
mod money;
pub mod policy;
mod redeem;
pub mod run;
pub mod sandbox;
pub mod screen;
mod secure;
pub mod sessions;
pub mod table;
pub mod text;
pub mod tokens;
pub mod trust;
pub mod value;

use crate::tls::TlsFiles;
use arguments::{Arguments, Command, Completions, Global};
use clap::{CommandFactory, Parser};
use client::Client;
use failure::Failure;
use screen::Screen;
use std::process::ExitCode;

/// Parses the command line and runs the command.
///
/// Exit codes: 0 done, 1 refused or failed, 2 misuse, 3 could not reach the server.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut screen = Screen::new(&arguments.global);
    match run(arguments, &mut screen) {
        Ok(code) => code,
        Err(failure) => {
            screen.tell_failure(&failure);
            failure.exit_code()
        }
    }
}

/// Runs one command. What it prints goes to `screen`.
pub fn run(arguments: Arguments, screen: &mut Screen) -> Result<ExitCode, Failure> {
    let Arguments { global, command } = arguments;
    match command {
        Command::Up(up) => crate::up::run(crate::up::Arguments {
            listen: up.listen,
            listen_without_tls: up.listen_without_tls,
            tls: up.tls_cert.zip(up.tls_key).map(|(certificate, key)| TlsFiles {
                certificate,
                key,
                client_ca: up.tls_client_ca,
            }),
            allow_host: up.allow_host,
            data_dir: up.data_dir,
            config: up.config,
            organizations: up.serve_organization,
            origin: up.origin,
            checkpoints: up.checkpoints,
            egress: up.egress.unwrap_or(crate::app::Door::Usual),
            egress_ca: up.egress_ca,
        })
        .map_err(Failure::Other)?,
        Command::Init(init) => documents::init(&init, screen)?,
        Command::Validate(validate) => documents::validate(&validate, screen)?,
        Command::Demo(demo) => return crate::demo::run(demo, &global, screen),
        Command::Run(arguments) => return run::run(&arguments, &global, screen),
        Command::Drill(arguments) => return drill::run(&arguments, &global, screen),
        Command::Patient(patient) => crate::demo::run_patient(patient)?,
        Command::Completions(completions) => print_completions(&completions, screen)?,
        Command::Journal(journal) => journal::run(&journal, screen)?,
        Command::Sandbox(sandbox) => sandbox::run(&sandbox, screen)?,
        Command::Import(import) => import::run(&import, screen)?,
        Command::Audit(audit) if audit.is_offline() => audit::run_offline(&audit, screen)?,
        Command::Policy(policy) if policy.is_offline() => policy::run_offline(&policy, screen)?,
        Command::Agents(agents) if agents.is_offline() => agents::run_offline(&agents, screen)?,
        command => block_on(run_client(command, &global, screen))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Commands that need a server. Ctrl-C ends them like any other program.
async fn run_client(command: Command, global: &Global, screen: &mut Screen) -> Result<(), Failure> {
    if let Command::Agents(agents) = &command
        && let Some(token) = agents.redeems()
    {
        return redeem::run(token, global, screen).await;
    }
    // Without a token, or with the one that it ends.
    match &command {
        Command::Login(login) => return login::run(login, global, screen).await,
        Command::Logout(logout) => return login::leave(logout, global, screen).await,
        _ => {}
    }
    let client = &Client::from_global(global)?;
    match command {
        Command::Apply(apply) => documents::apply(&apply, client, screen).await,
        Command::Diff(diff) => documents::diff(&diff, client, screen).await,
        Command::Get(get) => documents::get(&get, client, screen).await,
        Command::Describe(describe) => documents::describe(&describe, client, screen).await,
        Command::Delete(delete) => documents::delete(&delete, client, screen).await,
        Command::Tokens(tokens) => tokens::run(&tokens, client, screen).await,
        Command::Sessions(sessions) => sessions::run(&sessions, client, screen).await,
        Command::Incidents(incidents) => incidents::run(&incidents, client, screen).await,
        Command::Approvals(approvals) => approvals::run(&approvals, client, screen).await,
        Command::Audit(audit) => audit::run(&audit, client, screen).await,
        Command::Explain(explain) => explain::run(&explain, client, screen).await,
        Command::Policy(policy) => policy::run(&policy, client, screen).await,
        Command::Agents(agents) => agents::run(&agents, client, screen).await,
        Command::Delegate(delegate) => agents::delegate(&delegate, client, screen).await,
        Command::Whoami => agents::whoami(client, screen).await,
        Command::Can(can) => agents::can(&can, client, screen).await,
        Command::Health(health) => health::run(&health, client, screen).await,
        Command::Kill(kill) => kill::run(&kill, client, screen).await,
        Command::Egress(egress) => egress::run(&egress, client, screen).await,
        Command::Trust(trust) => trust::run(&trust, client, screen).await,
        Command::Budget(budget) => money::budget(&budget, client, screen).await,
        Command::Cost(cost) => money::cost(&cost, client, screen).await,
        Command::Llm(llm) => money::llm(&llm, client, screen).await,
        Command::Up(_)
        | Command::Init(_)
        | Command::Validate(_)
        | Command::Demo(_)
        | Command::Run(_)
        | Command::Drill(_)
        | Command::Patient(_)
        | Command::Sandbox(_)
        | Command::Import(_)
        | Command::Completions(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Journal(_) => Err(Failure::Misuse("this command talks to no server".into())),
    }
}

fn block_on(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(future);
    // A thread that waits for a key of the terminal must not hold the end up, and could for ever: once the
    // terminal is put back it gives no key without Enter.
    runtime.shutdown_background();
    result
}

fn print_completions(completions: &Completions, screen: &mut Screen) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(
        completions.shell,
        &mut Arguments::command(),
        "cofferdam",
        &mut script,
    );
    screen.raw(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn command_lines_that_scripts_rely_on() {
        let table = [
            (
                "up with its two contract options",
                "up --listen 127.0.0.1:0 --data-dir /x",
                true,
            ),
            (
                "global options before",
                "--server http://h:1 --token-file t incidents list",
                true,
            ),
            (
                "global options after",
                "incidents list --output json --server http://h:1",
                true,
            ),
            (
                "offline verification",
                "audit verify --data-dir /x --against a --against b",
                true,
            ),
            (
                "explain in full",
                "explain git.propose:repository/shop --as triage --env production --arg a=1",
                true,
            ),
            ("kill needs one scope", "kill --reason x", false),
            (
                "kill refuses two scopes",
                "kill --all --agent a --reason x",
                false,
            ),
            ("kill with one", "kill --agent a --reason x", true),
            ("kill list", "kill list", true),
            (
                "delegate in full",
                "delegate --from ops/supervisor --to ops/deploy --capability deploy:staging --ttl 15m",
                true,
            ),
            ("delegate without a capability", "delegate --from a --to b", false),
            ("delegate revoke", "delegate revoke del-7 --reason x", true),
            ("agents revoke needs a reason", "agents revoke triage", false),
            ("agents create needs a sponsor", "agents create scout", false),
            ("can", "can ops/deploy deploy:web --env staging", true),
            ("whoami", "whoami", true),
            ("kill lift", "kill lift --all --reason x", true),
            ("an unknown command", "frobnicate", false),
            ("trust in one agent", "trust equation triage --output yaml", true),
            ("a promotion needs a reason", "trust promote triage", false),
            (
                "a drill of one area",
                "drill --only gate --only files.link --output json",
                true,
            ),
            ("demo for scripts", "demo --yes --output json", true),
        ];
        for (name, line, accepted) in table {
            let parsed = Arguments::try_parse_from(["cofferdam"].into_iter().chain(line.split(' ')));
            assert_eq!(parsed.is_ok(), accepted, "{name}");
        }
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        let table = [
            (
                "up with TLS",
                "up --tls-cert c --tls-key k --tls-client-ca a",
                true,
            ),
            ("a certificate needs its key", "up --tls-cert c", false),
            ("authorities of clients need TLS", "up --tls-client-ca a", false),
            (
                "TLS or none",
                "up --tls-cert c --tls-key k --listen-without-tls",
                false,
            ),
            (
                "a client certificate",
                "whoami --ca-file a --client-cert c --client-key k",
                true,
            ),
            (
                "a client certificate needs its key",
                "whoami --client-cert c",
                false,
            ),
        ];
        for (name, line, accepted) in table {
            let parsed = Arguments::try_parse_from(["cofferdam"].into_iter().chain(line.split(' ')));
            assert_eq!(parsed.is_ok(), accepted, "{name}");
        }
    }
}
