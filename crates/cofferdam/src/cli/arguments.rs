//! The command line as data: every command, its options, their help and examples.
//!
//! It runs nothing and reads nothing but the environment variables that it names.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{
    agents, approvals, audit, documents, drill, egress, explain, health, import, incidents, journal, kill,
    login, money, policy, run, sandbox, sessions, tokens, trust,
};

/// The walls around AI agents that work on live infrastructure.
#[derive(Debug, Parser)]
#[command(name = "cofferdam", version, max_term_width = 100, after_help = TOP_HELP)]
pub struct Arguments {
    /// Which server, as whom, and how to print.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const TOP_HELP: &str = "\
Start here:
  cofferdam demo             the whole story on this machine, no key, no network
  cofferdam init             write a commented starter cofferdam.yaml
  cofferdam up               run the platform on 127.0.0.1:7400
  cofferdam run -- CMD       any program behind walls, which reaches nothing that you did not lend it
  cofferdam drill            attack those walls, and see what holds

Exit codes: 0 done, 1 refused or failed, 2 misuse, 3 could not reach the server";

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// The server to talk to
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "COFFERDAM_SERVER",
        default_value = "http://127.0.0.1:7400"
    )]
    pub server: String,
    /// The organization to speak to, when the server has more than its own
    #[arg(long, global = true, value_name = "NAME", env = "COFFERDAM_ORGANIZATION", value_parser = organization)]
    pub organization: Option<String>,
    /// The file that holds your token [default: none with --client-cert, that of `cofferdam login`, or
    /// ./.cofferdam/admin.token]
    #[arg(long, global = true, value_name = "FILE", env = "COFFERDAM_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The authorities that the server's certificate has to be of, in PEM [default: the system's]
    #[arg(long, global = true, value_name = "FILE", env = "COFFERDAM_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Your client certificate, in PEM: says who you are where there is no token
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "COFFERDAM_CLIENT_CERT",
        requires = "client_key"
    )]
    pub client_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "COFFERDAM_CLIENT_KEY",
        requires = "client_cert"
    )]
    pub client_key: Option<PathBuf>,
    /// How to print what was asked for
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// When to use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: fits the terminal.
    #[default]
    Table,
    /// For machines: everything that the server said.
    Json,
    /// For both.
    Yaml,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the platform until Ctrl-C, which drains
    #[command(after_help = UP_HELP)]
    Up(Up),
    /// Write a commented starter cofferdam.yaml that works as it is
    Init(Init),
    /// Check documents without a server: errors point at file, line and column
    Validate(Validate),
    /// Show the whole story on this machine: alert, triage, refusal, approval, recovery, proof
    #[command(after_help = crate::demo::HELP)]
    Demo(crate::demo::DemoArguments),
    /// Run any program behind the walls: no network, files or secrets but those that it was given
    #[command(after_help = run::HELP)]
    Run(Box<run::RunArguments>),
    /// Attack the walls of this installation from inside, and say what held
    #[command(after_help = drill::HELP)]
    Drill(Box<drill::DrillArguments>),
    /// Install documents: all or nothing
    Apply(documents::Apply),
    /// Show what `apply` would change
    Diff(documents::Diff),
    /// List documents of a kind, or one of them
    #[command(after_help = documents::GET_HELP)]
    Get(documents::Get),
    /// Show one document in full, with its owner and the entry that last changed it
    Describe(documents::Describe),
    /// Remove one document
    Delete(documents::Delete),
    /// Log in at an identity provider of the server
    #[command(after_help = login::HELP)]
    Login(login::Login),
    /// End the login: at the server, and the file of its token
    Logout(login::Logout),
    /// Tokens of people and triggers
    #[command(after_help = tokens::HELP)]
    Tokens(tokens::Tokens),
    /// Sessions: runs of agents, step by step
    #[command(after_help = sessions::HELP)]
    Sessions(sessions::Sessions),
    /// Incidents and their triage summaries
    Incidents(incidents::Incidents),
    /// Actions that wait for a person
    #[command(after_help = approvals::HELP)]
    Approvals(approvals::Approvals),
    /// The journal: read, verify, prove, export
    #[command(after_help = audit::HELP)]
    Audit(audit::Audit),
    /// Maintenance of the journal, without a server
    Journal(journal::Journal),
    /// What the gate would say of an action, rule by rule, and what would change it
    #[command(after_help = explain::HELP)]
    Explain(explain::Explain),
    /// Policies: lint and test them before they are in force, and explain what they say
    #[command(after_help = policy::HELP)]
    Policy(policy::Policy),
    /// Agents: who they are, where they stand, what they pass on
    #[command(after_help = agents::AGENTS_HELP)]
    Agents(agents::Agents),
    /// Let an agent pass on a part of what it holds
    #[command(after_help = agents::DELEGATE_HELP)]
    Delegate(agents::Delegate),
    /// Whose token this is and what it may do
    Whoami,
    /// Whether an agent may do something, and why
    #[command(after_help = agents::CAN_HELP)]
    Can(agents::Can),
    /// How the platform is: the worst of its parts
    Health(health::Health),
    /// Stop everything, one agent or one session, now
    #[command(after_help = kill::HELP)]
    Kill(Box<kill::Kill>),
    /// Documents from the configuration of another gateway
    #[command(after_help = import::HELP)]
    Import(import::Import),
    /// How much agents may use
    #[command(after_help = money::BUDGET_HELP)]
    Budget(money::Budget),
    /// What models cost
    #[command(after_help = money::COST_HELP)]
    Cost(money::Cost),
    /// Models: what can be called, and what is called
    #[command(after_help = money::LLM_HELP)]
    Llm(money::Llm),
    /// The network: what an agent may reach, and what it does
    #[command(after_help = egress::HELP)]
    Egress(egress::Egress),
    /// How far agents are trusted, and why
    #[command(after_help = trust::HELP)]
    Trust(trust::Trust),
    /// What this machine can hold other people's programs by
    #[command(after_help = sandbox::HELP)]
    Sandbox(sandbox::Sandbox),
    /// Print a completion script
    Completions(Completions),
    /// The demo's patient
    #[command(name = "__patient", hide = true)]
    Patient(crate::demo::PatientArguments),
}

const UP_HELP: &str = "\
Examples:
  cofferdam up
  cofferdam up --config ./config/ --data-dir /var/lib/cofferdam
  cofferdam up --listen 0.0.0.0:7400 --allow-host cofferdam.example --tls-cert tls.crt --tls-key tls.key

The first start makes a named local administrator and says where the token is.";

/// `cofferdam up`
#[derive(Args, Debug)]
pub struct Up {
    /// Where to listen
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7400")]
    pub listen: SocketAddr,
    /// Allow an address other than loopback without TLS
    #[arg(long, conflicts_with = "tls_cert")]
    pub listen_without_tls: bool,
    /// Speak TLS with this certificate, and those between it and its authority, in PEM; read anew when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key, in PEM, which nobody else can read
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Ask clients for certificates of these authorities, in PEM; an IdentityProvider says whose they are
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// A name that requests may use for this server, besides localhost and addresses; may be given several times.
    /// Delegations are redeemed under such a name, or at the address it listens at
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub allow_host: Vec<String>,
    /// Where data lives; its keys lie beside it in DIR-keys
    #[arg(long, value_name = "DIR", default_value = "./.cofferdam")]
    pub data_dir: PathBuf,
    /// A document file, or a directory of them that is watched for changes [default: ./cofferdam.yaml if there]
    #[arg(long, value_name = "FILE|DIR")]
    pub config: Option<PathBuf>,
    /// Serve this organization too, with a journal, keys and people of its own in DIR-organizations/NAME; may
    /// be given several times. Those made before are served anyway
    #[arg(long = "serve-organization", value_name = "NAME", value_parser = organization)]
    pub serve_organization: Vec<String>,
    /// The name under which checkpoints are signed
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    /// Where checkpoints are kept besides the data directory [default: beside it]
    #[arg(long, value_name = "FILE")]
    pub checkpoints: Option<PathBuf>,
    /// Where agents with a token reach the network through; `off` for nowhere [default: 127.0.0.1:7401, unless taken]
    #[arg(long, value_name = "ADDR:PORT")]
    pub egress: Option<crate::app::Door>,
    /// Authorities of servers that agents reach, besides the system's, in PEM
    #[arg(long, value_name = "FILE")]
    pub egress_ca: Option<PathBuf>,
}

/// What an organization can be called.
fn organization(text: &str) -> Result<String, String> {
    match crate::app::organizations::is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("use 1 to 63 of a-z, 0-9 and `-`, not ending in -keys or -checkpoints".to_owned()),
    }
}

/// A name as it stands in a `Host` header, without a port.
fn host_name(text: &str) -> Result<String, String> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
    match (1..=253).contains(&text.len()) && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("write a name like cofferdam.example, without scheme and port".to_owned()),
    }
}

/// `cofferdam init`
#[derive(Args, Debug)]
pub struct Init {
    /// What to write; an existing file is left alone
    #[arg(value_name = "FILE", default_value = "./cofferdam.yaml")]
    pub path: PathBuf,
}

/// `cofferdam validate`
#[derive(Args, Debug)]
pub struct Validate {
    /// What to check
    #[arg(value_name = "FILE|DIR", default_value = "./cofferdam.yaml")]
    pub path: PathBuf,
}

/// `cofferdam completions`
#[derive(Args, Debug)]
pub struct Completions {
    /// For which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
