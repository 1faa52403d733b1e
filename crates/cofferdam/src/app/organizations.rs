//! The organizations that one process serves beside its own.
//!
//! Each is a platform of its own: a journal, keys, checkpoints, a gate, sessions, documents and people.
//! They share the process and the port, never a row, a key or a token; what is one's is unknown to the
//! others. The data directory's own organization is the platform's: it has no name here, and its `stop
//! everything` stops them all.

use super::{App, Options, beside};
use crate::config::{Document, Problem, Spec};
use anyhow::Context as _;
use gate::{Above, Gate, KillAnswer, LiftError};
use policy::{Branch, Place, Principal, StopScope};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Below what path the API of an organization stands.
pub const PREFIX: &str = "/organizations";
/// Endings of directories that lie beside a data directory, which no name may have.
const ENDINGS: [&str; 2] = ["-keys", "-checkpoints"];

/// An organization as it is served, or why it is not.
pub type Served = Result<Arc<App>, String>;

/// Where the data of organization `name` lives: `<data-dir>-organizations/NAME`, its keys and checkpoints
/// beside that.
#[must_use]
pub fn directory(data_dir: &Path, name: &str) -> PathBuf {
    beside(data_dir, "-organizations").join(name)
}

/// What is the platform's own and a guest must not have, on this machine.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Directories, which may not be there yet.
    pub directories: Vec<PathBuf>,
    /// Files, and where documents are read from, which may be a directory.
    pub files: Vec<PathBuf>,
}

impl Own {
    pub(super) fn of(options: &Options) -> std::io::Result<Own> {
        let beside_it =
            ["-keys", "-checkpoints", "-organizations"].map(|ending| beside(&options.data_dir, ending));
        let tls = options.tls.iter().map(|files| &files.key);
        let files = tls.chain(&options.checkpoints).chain(&options.config);
        let directories = [&options.data_dir].into_iter().chain(&beside_it);
        Ok(Own {
            directories: directories.map(std::path::absolute).collect::<Result<_, _>>()?,
            files: files.map(std::path::absolute).collect::<Result<_, _>>()?,
        })
    }
}

/// What is the platform's own, of all organizations, by how the platform itself is started: data, tokens, keys,
/// checkpoints, and the key of its listener. Absolute, so that it stays the same wherever the process goes.
pub(super) fn private(of: &Options) -> std::io::Result<Vec<PathBuf>> {
    let beside_it = ["-keys", "-checkpoints", "-organizations"].map(|ending| beside(&of.data_dir, ending));
    let files = of.tls.iter().map(|files| &files.key).chain(&of.checkpoints);
    let all = [&of.data_dir].into_iter().chain(&beside_it).chain(files);
    all.map(std::path::absolute).collect()
}

/// Below which path its API is.
#[must_use]
pub fn path(name: &str) -> String {
    format!("{PREFIX}/{name}")
}

/// Whether an organization can be called that.
#[must_use]
pub fn is_name(text: &str) -> bool {
    Place::is_name(text) && ENDINGS.iter().all(|ending| !text.ends_with(ending))
}

/// How each is started: those that are asked for, and those that are there already.
pub(super) fn options(of: &Options) -> anyhow::Result<BTreeMap<String, Options>> {
    let mut names = present(&of.data_dir)?;
    for name in &of.organizations {
        anyhow::ensure!(
            is_name(name),
            "`{name}` cannot be an organization: use 1 to 63 of a-z, 0-9 and `-`, not ending in -keys or -checkpoints"
        );
        names.push(name.clone());
    }
    let origin = super::stored_origin(&of.data_dir)?;
    let one = |name: String| {
        let options = Options {
            organization: Some(name.clone()),
            hosts: of.hosts.clone(),
            administrator: of.administrator.clone(),
            clock: of.clock.clone(),
            vfs: of.vfs.clone(),
            egress_ca: of.egress_ca.clone(),
            // A name of its own for the log of each.
            origin: Some(format!("{}/{name}", of.origin.as_deref().unwrap_or(&origin))),
            ..Options::new(directory(&of.data_dir, &name))
        };
        (name, options)
    };
    Ok(names.into_iter().map(one).collect())
}

/// Those that were made by an earlier start: their origin was stored.
fn present(data_dir: &Path) -> anyhow::Result<Vec<String>> {
    let all = beside(data_dir, "-organizations");
    let listed = match std::fs::read_dir(&all) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.with_context(|| format!("cannot look for organizations in `{}`", all.display()))?,
    };
    let mut names = Vec::new();
    for found in listed {
        let name = found?.file_name().to_string_lossy().into_owned();
        if is_name(&name) && super::has_origin(&all.join(&name)) {
            names.push(name);
        }
    }
    Ok(names)
}

/// As whom the platform stops what is in an organization: no token and no person is called that.
#[must_use]
pub fn platform() -> Principal {
    Principal::service("cofferdam/platform")
}

/// What of the platform's stops reaches every organization.
#[must_use]
pub fn reaches_all(scope: &StopScope) -> bool {
    matches!(scope, StopScope::All | StopScope::Network)
}

/// Stops the same in every organization that is served here, all at once. What is no stop of the whole
/// platform is nobody else's business.
pub async fn stop_all(
    organizations: &BTreeMap<String, Served>,
    by: &Principal,
    scope: &StopScope,
    reason: &str,
) -> Vec<(String, Result<KillAnswer, String>)> {
    if !reaches_all(scope) {
        return Vec::new();
    }
    let (platform, reason) = (platform(), format!("{reason} ({by} of the platform)"));
    let stopping = organizations.iter().map(|(name, served)| {
        let (platform, reason) = (&platform, &reason);
        async move {
            let killed = match served {
                Ok(app) => Ok(app.gate.kill(platform, scope.clone(), reason).await),
                // It does not act, as it was never opened; when it is, `hold` stops it first.
                Err(why) => Err(why.clone()),
            };
            (name.clone(), killed)
        }
    });
    futures_util::future::join_all(stopping).await
}

/// Stops in `organization`, before anything moves there, what stands for the whole platform: it may have
/// been raised when this one was not served. From now on what the platform has stopped, it lifts.
pub(super) async fn hold(own: &App, organization: &App) {
    organization.platform.get_or_init(|| Arc::clone(&own.gate));
    for stop in own
        .gate
        .stops()
        .into_iter()
        .filter(|stop| reaches_all(&stop.scope))
    {
        let stands = organization
            .gate
            .stops()
            .iter()
            .any(|held| held.scope == stop.scope);
        if !stands {
            let reason = format!("{} ({} of the platform)", stop.reason, stop.by);
            organization.gate.kill(&platform(), stop.scope, &reason).await;
        }
    }
}

/// Whether the platform of which `app` is an organization has stopped the same.
#[must_use]
pub fn above(app: &App, scope: &StopScope) -> Option<Above> {
    let gate = app.platform.get().filter(|_| reaches_all(scope))?;
    Some(held_in(gate, scope))
}

fn held_in(gate: &Arc<Gate>, scope: &StopScope) -> Above {
    let (gate, scope) = (Arc::clone(gate), scope.clone());
    Above {
        holds: Box::new(move || gate.stops().iter().any(|stop| stop.scope == scope)),
    }
}

/// Lifts a stop of the whole platform, which `own` lifted, in every organization as well, where nobody of the
/// organization raised it too and as long as it was not raised again; `true` when there was one.
///
/// # Errors
/// The first that refused; the others are lifted all the same, and asking again takes up what is left.
pub async fn lift_all(
    own: &Arc<Gate>,
    organizations: &BTreeMap<String, Served>,
    by: &Principal,
    scope: &StopScope,
    reason: &str,
) -> Result<bool, LiftError> {
    if !reaches_all(scope) {
        return Ok(false);
    }
    let (mut lifted, mut refused) = (false, None);
    let (platform, reason) = (platform(), format!("{reason} ({by} of the platform)"));
    for app in organizations.values().flatten() {
        let again = held_in(own, scope);
        match app.gate.lift_own_alone(&platform, scope, &reason, again).await {
            Ok(here) => lifted |= here,
            Err(error) => refused = refused.or(Some(error)),
        }
        app.runtime.wake();
    }
    refused.map_or(Ok(lifted), Err)
}

/// Puts an agent or a policy that names no organization into this one; refuses any other.
pub(super) fn settle_place(document: &mut Document, own: &str) -> Result<(), Problem> {
    let none = Place::default().organization;
    let other = |stated: &str| stated != own && stated != none;
    let what = |stated: &str| format!("this is the organization `{own}`, and `{stated}` is another one");
    let at = "/metadata/organization";
    match &document.spec {
        Spec::Agent(_) if other(&document.place.organization) => {
            return Err(document.problem(at, what(&document.place.organization)));
        }
        Spec::Policy(policy) => {
            if let Some(stated) = policy.place.organization().filter(|stated| other(stated)) {
                return Err(document.problem(at, what(stated)));
            }
        }
        Spec::Budget(budget) => {
            if let Some(stated) = budget.place.organization().filter(|stated| other(stated)) {
                return Err(document.problem(at, what(stated)));
            }
        }
        Spec::Publisher(publisher) => {
            let places = publisher.require_signed.places();
            let mut stated = places.iter().filter_map(Branch::organization);
            if let Some(stated) = stated.find(|stated| other(stated)) {
                return Err(document.problem("/spec/requireSigned", what(stated)));
            }
        }
        _ => {}
    }
    match &mut document.spec {
        Spec::Agent(_) => own.clone_into(&mut document.place.organization),
        Spec::Policy(policy) => policy.place = std::mem::take(&mut policy.place).moved_to(own),
        Spec::Budget(budget) => budget.place = std::mem::take(&mut budget.place).moved_to(own),
        Spec::Publisher(publisher) => publisher.require_signed.move_to(own),
        Spec::Toolset(_)
        | Spec::Trigger(_)
        | Spec::Channel(_)
        | Spec::IdentityProvider(_)
        | Spec::CertificateProvider(_)
        | Spec::Egress(_)
        | Spec::Model(_)
        | Spec::Route(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_platforms_own_is_told_by_how_it_is_started() {
        let mut options = Options::new("/srv/data");
        options.checkpoints = Some("/mnt/checkpoints.txt".into());
        options.tls = Some(crate::tls::TlsFiles {
            certificate: "/etc/tls/server.crt".into(),
            key: "/etc/tls/server.key".into(),
            client_ca: None,
        });
        let own = [
            "/srv/data",
            "/srv/data-keys",
            "/srv/data-checkpoints",
            "/srv/data-organizations",
            "/etc/tls/server.key",
            "/mnt/checkpoints.txt",
        ];
        assert_eq!(private(&options).unwrap(), own.map(PathBuf::from));
        let here = std::env::current_dir().unwrap();
        let own = private(&Options::new("data")).unwrap();
        assert_eq!(own.first(), Some(&here.join("data")));
        assert!(own.iter().all(|path| path.is_absolute()), "{own:?}");
    }
}
