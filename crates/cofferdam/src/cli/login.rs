//! `cofferdam login` and `logout`: from a person at an OpenID provider or in a directory to a token in a file,
//! and back.
//!
//! It says where the token is, never what it is, and keeps none that the server did not take.

pub mod answer;
pub mod file;
mod password;
mod provider;
mod redirect;

use super::arguments::Global;
use super::client::Client;
use super::failure::Failure;
use super::screen::Screen;
use super::text::visible;
use super::value::{field, raw, text, time};
use clap::Args;
use owo_colors::OwoColorize as _;
use provider::{OpenId, Provider};
use redirect::Redirect;
use secrets::Secret;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

pub(super) const HELP: &str = "\
Examples:
  cofferdam login
  cofferdam login --provider corporate --no-browser
  cofferdam login --provider staff --user alice
  cofferdam --server https://cofferdam.example login
  cofferdam logout

The token is kept in a file of its own for each server, which commands use from then on; --token-file and
COFFERDAM_TOKEN_FILE name another one.";

/// `cofferdam login`
#[derive(Args, Debug)]
pub struct Login {
    /// Which provider, when the server has several
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Your name in the directory, for a provider that asks for a password; asked for at a terminal
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Read the password from standard input, which ends it
    #[arg(long, requires = "user")]
    password_stdin: bool,
    /// Print the address and open nothing
    #[arg(long)]
    no_browser: bool,
    /// How long to wait for the browser: 90s, 5m
    #[arg(long, value_name = "TIME", value_parser = super::tokens::seconds, default_value = "5m")]
    timeout: u64,
}

/// `cofferdam logout`
#[derive(Args, Debug)]
pub struct Logout {
    /// Only remove the file; the token holds until it ends
    #[arg(long)]
    local: bool,
}

/// Runs `login`.
pub async fn run(login: &Login, global: &Global, screen: &mut Screen) -> Result<(), Failure> {
    if !crate::identity::is_address(&global.server) {
        let what =
            "people log in over https:// only, or at this machine: what they get would be sent in the clear";
        return Err(Failure::Misuse(what.into()));
    }
    let path = target(global)?;
    let bare = Client::without_token(global)?;
    let provider = choose(&bare.get("/api/v1/login", &[]).await?, login.provider.as_deref())?;
    let name = provider.name().to_owned();
    let token = match provider {
        Provider::Oidc(provider) => through_browser(provider, login, screen).await?,
        Provider::Ldap { name } => by_password(&name, login, &bare, screen).await?,
    };
    let me = Client::with_token(global, token.expose().to_vec())?
        .get("/api/v1/whoami", &[])
        .await?;
    file::write(&path, token.expose())?;
    let shown = path.display().to_string();
    let told = json!({
        "principal": field(&me, "principal"), "roles": field(&me, "roles"), "token": field(&me, "token"),
        "expires": field(&me, "expires"),
        "provider": name, "token_file": shown,
    });
    screen.data(&told, |told, _| {
        format!(
            "logged in as {} until {}, with {}\nthe token is in {}",
            text(told, "principal").bold(),
            time(told, "expires"),
            text(told, "roles"),
            visible(raw(told, "token_file")),
        )
    })
}

/// Runs `logout`. The file goes when the server has ended the token, or says that it had ended.
pub async fn leave(logout: &Logout, global: &Global, screen: &mut Screen) -> Result<(), Failure> {
    let path = match (&global.token_file, logout.local) {
        (Some(_), true) => {
            return Err(Failure::Misuse(
                "--local removes the file of `login`; one that you name is yours to remove".into(),
            ));
        }
        (Some(path), false) => path.clone(),
        (None, _) => file::path(global)
            .filter(|path| path.exists())
            .ok_or_else(|| Failure::Failed(format!("nobody is logged in at {}", visible(&global.server))))?,
    };
    let ended = match logout.local {
        true => false,
        false => end(&path, global).await?,
    };
    if !ended && global.token_file.is_some() {
        // It may be another server's, or be worth nothing without its certificate.
        let what = format!(
            "the server does not know the token in `{}`; the file stays",
            path.display()
        );
        return Err(Failure::Failed(what));
    }
    std::fs::remove_file(&path)?;
    let told = json!({"token_file": path.display().to_string(), "ended": ended});
    screen.data(&told, |told, _| {
        format!("logged out; {} is removed", visible(raw(told, "token_file")))
    })
}

/// Ends the token at the server. `false`: it had ended.
async fn end(path: &Path, global: &Global) -> Result<bool, Failure> {
    let client = Client::with_token(global, read(path)?)?;
    match client.post("/api/v1/logout", &json!({})).await {
        Ok(_) => Ok(true),
        Err(Failure::Refused { status: 401, .. }) => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|source| {
        let shown = path.display();
        Failure::Other(anyhow::Error::new(source).context(format!("cannot read the token file `{shown}`")))
    })
}

/// Where the token will be. A file that somebody named and that is there may be anything, so it stays.
fn target(global: &Global) -> Result<PathBuf, Failure> {
    match &global.token_file {
        Some(path) if path.exists() => Err(Failure::Misuse(format!(
            "`{}` is there already and login overwrites no file that you name; `cofferdam logout` ends and removes a login",
            path.display()
        ))),
        Some(path) => Ok(path.clone()),
        None => file::path(global).ok_or_else(|| {
            Failure::Misuse("neither HOME nor XDG_CONFIG_HOME is set: name a file with --token-file".into())
        }),
    }
}

/// The provider of that name, or the only one.
fn choose(answer: &Value, wanted: Option<&str>) -> Result<Provider, Failure> {
    let providers: Vec<Provider> =
        serde_json::from_value(field(answer, "providers").clone()).map_err(|error| {
            Failure::Failed(format!("the server's list of providers cannot be read: {error}"))
        })?;
    let names: Vec<String> = providers.iter().map(|one| one.name().to_owned()).collect();
    let mut fitting = providers
        .into_iter()
        .filter(|one| wanted.is_none_or(|wanted| wanted == one.name()));
    match (fitting.next(), fitting.next(), wanted) {
        (Some(one), None, _) => Ok(one),
        (Some(_), Some(_), _) => Err(Failure::Misuse(format!(
            "there are several providers; choose one with --provider: {}",
            names.join(", ")
        ))),
        (None, _, Some(wanted)) if !names.is_empty() => Err(Failure::Misuse(format!(
            "there is no provider `{wanted}`; there is {}",
            names.join(", ")
        ))),
        (None, ..) => Err(Failure::Failed(
            "the server has no identity provider: a document of kind IdentityProvider makes one, and \
             `cofferdam tokens create` makes tokens without"
                .into(),
        )),
    }
}

/// The name and the password go to the server, and nowhere in the clear but on this machine.
async fn by_password(
    provider: &str,
    login: &Login,
    bare: &Client,
    screen: &mut Screen,
) -> Result<Secret, Failure> {
    let (name, password) = password::ask(login.user.as_deref(), login.password_stdin, screen)?;
    let password = String::from_utf8(password.expose().to_vec())
        .map_err(|_| Failure::Misuse("the password is no UTF-8".into()))?;
    let body = json!({"provider": provider, "name": name, "password": password});
    let answer = bare.post("/api/v1/login", &body).await?;
    Ok(Secret::new(raw(&answer, "secret").as_bytes().to_vec()))
}

async fn through_browser(provider: OpenId, login: &Login, screen: &mut Screen) -> Result<Secret, Failure> {
    let redirect = Redirect::bind(&provider.redirect_ports).await?;
    let begun = provider.begin(&redirect.uri).await?;
    let url = begun.url.as_str();
    match !login.no_browser && open(url) {
        true => screen.tell(&format!(
            "Your browser asks you to log in. If it does not, open\n  {url}"
        )),
        false => screen.tell(&format!("To log in, open in a browser on this machine\n  {url}")),
    }
    let wait = Duration::from_secs(login.timeout);
    let (code, arrived) = redirect.wait(begun.asked.clone(), wait).await?;
    let redeemed = begun.redeem(&code).await;
    arrived.end().await;
    redeemed
}

/// Whether a browser was asked to open it. Nobody waits for one.
fn open(url: &str) -> bool {
    let there = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let program = match cfg!(target_os = "macos") {
        true => "open",
        false if there("DISPLAY") || there("WAYLAND_DISPLAY") => "xdg-open",
        false => return false,
    };
    std::process::Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .is_ok()
}
