//! `cofferdam policy bundle`: makes, signs, checks and shows bundles of policies, without a server; and lists and
//! removes those that a server has in force.
//!
//! A private key is written once, to a file that only its owner can read, and never printed.

use crate::cli::client::{Client, segment};
use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use crate::cli::table::{Cell, Look, cell, fields, table};
use crate::cli::value::{field, list, text, time};
use crate::config::bundle;
use clap::{Args, Subcommand};
use gate::bundles::{Contents, Envelope, PublisherKey, VERSION_MAX, is_public_key};
use owo_colors::OwoColorize as _;
use policy::{Place, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use store::clock::SystemClock;

/// Largest file of a private key.
const KEY_BYTES_MAX: usize = 16 * 1024;

pub(in crate::cli) const HELP: &str = "\
Examples:
  cofferdam policy bundle key --out security.key          # prints the public key for a Publisher document
  cofferdam policy bundle -f ./policies/ --publisher acme-security --version 7 --key security.key --out acme.bundle
  cofferdam policy bundle verify acme.bundle --publisher-key 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo
  cofferdam apply -f acme.bundle

The file is a DSSE envelope (github.com/secure-systems-lab/dsse) around canonical JSON. The same policies, publisher,
version, time (--created) and key give the same bytes.";

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Bundle {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    make: Option<Make>,
}

#[derive(Args, Debug)]
struct Make {
    /// The policies: a file of documents, or a directory of them; of kind Policy only
    #[arg(short, long, value_name = "FILE|DIR")]
    file: PathBuf,
    /// Who publishes it, as the Publisher document is called
    #[arg(long, value_name = "NAME", value_parser = publisher)]
    publisher: String,
    /// Its number, higher than any before it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=VERSION_MAX))]
    version: u64,
    /// The private key: PKCS#8 in PEM, in a file that only its owner can read
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What to write; what is there is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// When it was made, for bytes that can be made again [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    created: Option<Timestamp>,
    /// Take the tables of cases along (`*.test.yaml`)
    #[arg(long)]
    tests: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key pair: the private key into a file that only you can read, the public one is printed
    Key {
        /// Where to write the private key; an existing file is left alone
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Check a bundle: its form, its digests and its signature; exit code 1 when anything is wrong
    Verify {
        /// The bundle
        file: PathBuf,
        /// A public key of its publisher, as `key` prints it; may be given several times
        #[arg(long = "publisher-key", value_name = "KEY", required = true, value_parser = public_key)]
        publisher_key: Vec<String>,
    },
    /// Show what a bundle holds. Its signature is not checked: that is `verify`
    Show {
        /// The bundle
        file: PathBuf,
    },
    /// The bundles that the server has in force, and what was seen of their publishers
    List,
    /// Remove the bundle of a publisher from the server, with its policies
    Remove {
        /// Whose
        publisher: String,
    },
}

impl Bundle {
    /// Whether it needs no server.
    pub(super) fn is_offline(&self) -> bool {
        !matches!(self.command, Some(Command::List | Command::Remove { .. }))
    }
}

/// Runs what needs no server.
pub(super) fn run_offline(bundle: &Bundle, screen: &mut Screen) -> Result<(), Failure> {
    match (&bundle.command, &bundle.make) {
        (None, Some(make)) => run_make(make, screen),
        (Some(Command::Key { out }), _) => run_key(out, screen),
        (Some(Command::Verify { file, publisher_key }), _) => run_verify(file, publisher_key, screen),
        (Some(Command::Show { file }), _) => run_show(file, screen),
        (Some(Command::List | Command::Remove { .. }), _) => {
            Err(Failure::Misuse("this command talks to a server".into()))
        }
        (None, None) => Err(Failure::Misuse(
            "say what to bundle (-f, --publisher, --version, --key, --out), or key, verify, show, list, remove"
                .into(),
        )),
    }
}

/// Runs what asks a server.
pub(super) async fn run(bundle: &Bundle, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &bundle.command {
        Some(Command::List) => {
            let rows = client.get("/api/v1/bundles", &[]).await?;
            screen.data(&rows, rows_table)
        }
        Some(Command::Remove { publisher }) => {
            let path = format!("/api/v1/bundles/{}", segment(publisher));
            let answer = client.delete(&path, None).await?;
            screen.data(&answer, crate::cli::documents::changes)
        }
        _ => run_offline(bundle, screen),
    }
}

fn run_make(make: &Make, screen: &mut Screen) -> Result<(), Failure> {
    let key = private_key(&make.key)?;
    let created = make.created.unwrap_or_else(|| SystemClock::shared().now());
    let contents = bundle::contents(&make.file, &make.publisher, make.version, created, make.tests);
    let contents = contents.map_err(|problems| {
        screen.tell(crate::cli::text::block(&problems.render()).trim_end());
        Failure::Told
    })?;
    let envelope = Envelope::sign(&contents, &key).map_err(failed)?;
    let bytes = envelope.to_bytes().map_err(failed)?;
    std::fs::write(&make.out, bytes)
        .map_err(|error| Failure::Failed(format!("cannot write `{}`: {error}", make.out.display())))?;
    let value = summary(&contents, &envelope)?;
    screen.data(&value, |value, _| {
        format!(
            "{} {}@{}, {} policies, sha256 {}",
            "signed".green(),
            text(value, "publisher"),
            text(value, "version"),
            list(value, "policies").len(),
            text(value, "digest")
        )
    })
}

fn run_key(out: &Path, screen: &mut Screen) -> Result<(), Failure> {
    let key = PublisherKey::generate().map_err(Failure::Failed)?;
    let pem = key
        .to_pem()
        .ok_or_else(|| Failure::Failed("the key cannot be written down".into()))?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(out)
        .map_err(|error| Failure::Failed(format!("cannot write `{}`: {error}", out.display())))?;
    file.write_all(pem.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| Failure::Failed(format!("cannot write `{}`: {error}", out.display())))?;
    screen.tell(&format!("the private key is in {}", out.display().bold()));
    screen.data(&json!({ "publicKey": key.public() }), |value, _| {
        text(value, "publicKey")
    })
}

fn run_verify(file: &Path, keys: &[String], screen: &mut Screen) -> Result<(), Failure> {
    let envelope = read(file)?;
    let said = envelope.unverified().map_err(|error| in_file(file, error))?;
    // Whoever asks says whose key it is; the name is what the bundle says.
    let publishers = BTreeMap::from([(said.publisher, keys.to_vec())]);
    let verified = envelope
        .verify(&publishers)
        .map_err(|error| in_file(file, error))?;
    let name = file.display().to_string();
    let documents = bundle::documents(&name, verified.contents()).and_then(|documents| {
        let policies = documents.iter().filter_map(|document| match &document.spec {
            crate::config::Spec::Policy(spec) => Some((document, spec)),
            _ => None,
        });
        for (document, spec) in policies {
            if let Err(error) = policy::PolicySet::load(&[(document.name.clone(), spec.clone())]) {
                return Err(document.problem(&error.pointer(), error.to_string()).into());
            }
        }
        Ok(())
    });
    documents.map_err(|problems| {
        screen.tell(crate::cli::text::block(&problems.render()).trim_end());
        Failure::Told
    })?;
    let mut value = summary(verified.contents(), &envelope)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("verified".to_owned(), json!(true));
        map.insert("key".to_owned(), json!(verified.key()));
    }
    screen.data(&value, |value, columns| {
        let ok = format!("{} signed by {}", "✓".green(), text(value, "key"));
        format!("{}\n{ok}", shown(value, columns).trim_end())
    })
}

fn run_show(file: &Path, screen: &mut Screen) -> Result<(), Failure> {
    let envelope = read(file)?;
    let contents = envelope.unverified().map_err(|error| in_file(file, error))?;
    let value = summary(&contents, &envelope)?;
    screen.data(&value, |value, columns| {
        let note = "not verified: `policy bundle verify` checks the signature".yellow();
        format!("{}\n{note}", shown(value, columns).trim_end())
    })
}

fn summary(contents: &Contents, envelope: &Envelope) -> Result<Value, Failure> {
    let mut policies = Vec::new();
    for part in &contents.documents {
        let digest = policy::canonical::digest(&part.document).map_err(failed)?;
        policies.push(
            json!({ "name": part.name(), "path": part.path, "sha256": policy::canonical::hex(&digest) }),
        );
    }
    let tests: Vec<&String> = contents.tests.iter().map(|table| &table.path).collect();
    Ok(json!({
        "publisher": contents.publisher, "version": contents.version, "created": contents.created,
        "digest": contents.digest().map_err(failed)?, "keys": envelope.keys(), "policies": policies, "tests": tests,
    }))
}

fn shown(value: &Value, columns: usize) -> String {
    let joined = |name: &str| {
        list(value, name)
            .iter()
            .map(crate::cli::value::shown)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let head = fields(
        columns,
        &[
            ("publisher", cell(text(value, "publisher"), Look::Bold)),
            ("version", cell(text(value, "version"), Look::Bold)),
            ("created", time(value, "created").into()),
            ("sha256", text(value, "digest").into()),
            ("says key", joined("keys").into()),
            ("tests", joined("tests").into()),
        ],
    );
    let row = |policy: &Value| {
        vec![
            cell(text(policy, "name"), Look::Bold),
            text(policy, "path").into(),
            cell(text(policy, "sha256"), Look::Dim),
        ]
    };
    let rows = list(value, "policies").iter().map(row).collect();
    format!(
        "{head}\n{}",
        table(columns, &["POLICY", "PATH", "SHA256"], rows, "no policies")
    )
}

fn rows_table(rows: &Value, columns: usize) -> String {
    let row = |one: &Value| {
        let state: Cell = match (field(one, "in_force").as_bool(), text(one, "outgrown")) {
            (Some(true), why) if why.is_empty() => cell("in force", Look::Green),
            (Some(true), why) => cell(format!("in force, but {why}"), Look::Yellow),
            _ => cell("removed", Look::Dim),
        };
        vec![
            cell(text(one, "publisher"), Look::Bold),
            text(one, "version").into(),
            text(one, "highest").into(),
            state,
            text(one, "via").into(),
            list(one, "policies").len().to_string().into(),
            time(one, "updated").into(),
            cell(text(one, "digest"), Look::Dim),
        ]
    };
    let headers = [
        "PUBLISHER",
        "VERSION",
        "HIGHEST",
        "STATE",
        "VIA",
        "POLICIES",
        "UPDATED",
        "SHA256",
    ];
    let rows = list(rows, "").iter().map(row).collect();
    table(columns, &headers, rows, "no bundle was ever installed")
}

fn read(file: &Path) -> Result<Envelope, Failure> {
    let found = bundle::read_file(file).map_err(|problem| Failure::Failed(problem.to_string()))?;
    Ok(found.envelope)
}

/// A key that others can read is one that others can sign with.
fn private_key(file: &Path) -> Result<PublisherKey, Failure> {
    let unreadable = |error| Failure::Failed(format!("cannot read `{}`: {error}", file.display()));
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let metadata = opened.metadata().map_err(unreadable)?;
    if !metadata.is_file() || metadata.mode() & 0o077 != 0 {
        let what = "has to be a file that only its owner can read; set its mode to 0600";
        return Err(Failure::Failed(format!(
            "private key `{}` {what}",
            file.display()
        )));
    }
    let mut bytes = Vec::with_capacity(KEY_BYTES_MAX + 1);
    let read = opened.take(KEY_BYTES_MAX as u64).read_to_end(&mut bytes);
    let pem = secrets::Secret::new(bytes);
    read.map_err(unreadable)?;
    PublisherKey::from_pem(pem.expose()).ok_or_else(|| {
        let what = "is not an Ed25519 private key in PKCS#8 and PEM; `cofferdam policy bundle key` makes one";
        Failure::Failed(format!("`{}` {what}", file.display()))
    })
}

fn in_file(file: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::Failed(format!("{}: {error}", file.display()))
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

fn publisher(text: &str) -> Result<String, String> {
    match Place::is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("use 1 to 63 of a-z, 0-9 and `-`".to_owned()),
    }
}

fn public_key(text: &str) -> Result<String, String> {
    match is_public_key(text) {
        true => Ok(text.to_owned()),
        false => Err("not an Ed25519 public key in base64url".to_owned()),
    }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "write a time like 2026-11-26T12:00:00Z".to_owned())
}
