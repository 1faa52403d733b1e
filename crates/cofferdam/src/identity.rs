//! People who come from elsewhere: from an OpenID provider by its tokens, verified and recorded as tokens of ours,
//! from a directory by name and password, for which they get a token of ours; and people and services who show a
//! client certificate.
//!
//! Invariants:
//! - **Only what was signed for us**: one issuer that configuration names, our audience, a key of the issuer's,
//!   an algorithm of the list. Never `none`, never a shared secret.
//! - **Once recorded, it needs the provider no more**: it holds until it ends or is revoked, also while the
//!   provider is down; nobody new comes in then.
//! - **No request of a stranger asks the provider twice** within a pause, nor guesses passwords without end.

mod attempts;
mod certificate;
pub(crate) mod fetch;
mod keys;
pub mod ldap;
mod mapping;
mod spec;
mod token;

pub use certificate::{CERTIFICATE_BYTES_MAX, ClientCertificate};
pub use mapping::{CertificateProviderSpec, CertificateSpec, GroupsFrom, NameFrom, Unmapped};
pub(crate) use spec::is_address;
pub use spec::{DirectorySpec, OidcSpec, ProviderSpec, Roles};

use crate::app::App;
use crate::server::problem::ApiError;
use crate::tls::Shown;
use attempts::Attempts;
use gate::svid::Svids;
use gate::{Caller, Certified, NewToken, TokenError, TokenView};
use http::StatusCode;
use keys::{Keys, Trouble};
use policy::{Principal, Timestamp};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Longest life of a token here, whatever it says, in milliseconds.
const LIFE_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// What is known of the providers.
pub struct Identity {
    keys: Keys,
    attempts: Attempts,
    /// What signs certificates for agents.
    pub svids: Svids,
    /// The mappings whose denials have met all that was ever recorded.
    denied: Mutex<Option<CertificateProviders>>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// Knows nobody yet. `svids` signs for agents.
    ///
    /// # Errors
    /// There is no TLS to ask providers over.
    pub fn new(svids: Svids) -> reqwest::Result<Identity> {
        Ok(Identity {
            keys: Keys::new()?,
            attempts: Attempts::default(),
            svids,
            denied: Mutex::default(),
        })
    }

    /// Whose token of a provider this is. What was taken before is known by the gate and is not asked for.
    ///
    /// # Errors
    /// 401 with the reason, 403 for somebody none of whose groups has a role, 503 when the provider is needed
    /// and cannot be asked.
    pub async fn take(&self, app: &App, token: &str) -> Result<Caller, ApiError> {
        let refused = unauthenticated;
        let head = token::head(token).map_err(refused)?;
        let providers = app.configuration.providers();
        let found = providers.iter().find_map(|(name, spec)| match spec {
            ProviderSpec::Oidc(spec) if spec.issuer == head.issuer => Some((name, spec)),
            _ => None,
        });
        let (name, spec) = found.ok_or_else(|| refused("no provider of that issuer is configured"))?;
        let key = self
            .keys
            .of(&spec.issuer, &head.key, app.clock.monotonic())
            .await
            .map_err(|trouble| match trouble {
                Trouble::Unknown => refused("the provider has no such key"),
                Trouble::Unreachable(why) => {
                    tracing::warn!(provider = name, why, "an identity provider cannot be asked");
                    ApiError::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "unavailable",
                        format!("the identity provider `{name}` cannot be asked, so nobody new comes in"),
                    )
                }
            })?;
        let now = app.gate.time();
        let person = token::verify(token, &head, &key, spec, now).map_err(refused)?;
        let expires = person.expires.min(now.plus_ms(LIFE_MS_MAX));
        let new = granted(name, &person.name, &spec.roles, &person.groups, expires)?;
        let by = Principal::service("cofferdam");
        app.gate
            .take_token(&by, new, name, token)
            .await
            .map_err(|error| match error {
                TokenError::Unknown(_) => refused("this token was revoked, or has ended"),
                TokenError::Misfit(why) => refused(&why),
                TokenError::TooMany(_) => ApiError::overloaded(error.to_string()),
                error @ TokenError::NoLogin(_) => error.into(),
                TokenError::Store(store) => store.into(),
            })
    }
}

impl Identity {
    /// A token of ours for whoever has that name and password at the directory `provider`.
    ///
    /// # Errors
    /// 401 for a wrong name or password, without saying which; 403 for somebody whom the directory does not name
    /// clearly or none of whose groups has a role; 429 after too many failures; 503 when it cannot be asked.
    pub async fn login(
        &self,
        app: &App,
        provider: &str,
        name: &str,
        password: &secrets::Secret,
    ) -> Result<(TokenView, secrets::Secret), ApiError> {
        let providers = app.configuration.providers();
        let Some((provider, ProviderSpec::Ldap(spec))) = providers.get_key_value(provider) else {
            return Err(ApiError::malformed(
                "/provider",
                "there is no directory of that name",
            ));
        };
        let attempt = self.attempts.begin(provider, name, app.clock.monotonic())?;
        // A directory takes many spellings for one name (spaces, wide letters), and each would be guesses of its
        // own: what could be nobody's name here is wrong without being asked about.
        let asked = match is_name(name) {
            true => ldap::authenticate(&spec.ldap, name, password, &app.private).await,
            false => Err(ldap::Refused::Wrong("no_name")),
        };
        let person = match asked {
            Ok(person) => person,
            Err(refused) => {
                app.metrics.unauthenticated();
                return Err(self.refused(app, provider, attempt, &refused).await);
            }
        };
        self.attempts.succeeded(attempt);
        let hours = i64::from(spec.ldap.token_hours);
        let expires = app.gate.time().plus_ms((hours * 60 * 60 * 1000).min(LIFE_MS_MAX));
        let new = match is_name(&person.name) {
            true => granted(provider, &person.name, &spec.roles, &person.groups, expires),
            false => Err(ApiError::forbidden(
                "the directory's name for that person has characters that no name has here",
            )),
        };
        let by = Principal::service("cofferdam");
        match new {
            Ok(new) => Ok(app.gate.login_token(&by, new, provider).await?),
            Err(error) => {
                let reason = "whoever it is may do nothing here";
                app.gate.record_login_refused(provider, "no_role", reason).await?;
                Err(error)
            }
        }
    }

    async fn refused(
        &self,
        app: &App,
        provider: &str,
        attempt: attempts::Attempt,
        refused: &ldap::Refused,
    ) -> ApiError {
        let Some(code) = refused.code() else {
            // Nobody guessed anything.
            self.attempts.unanswered(attempt);
            tracing::warn!(provider, why = %refused, "a directory cannot be asked");
            return ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                format!("the directory `{provider}` cannot be asked, so nobody new comes in"),
            );
        };
        let told = refused.to_string();
        match app
            .gate
            .record_login_refused(provider, code, &refused.why())
            .await
        {
            Err(error) => error.into(),
            Ok(()) if matches!(refused, ldap::Refused::Wrong(_)) => {
                ApiError::new(StatusCode::UNAUTHORIZED, "unauthenticated", told)
            }
            Ok(()) => ApiError::forbidden(told),
        }
    }
}

/// A token for somebody of a provider, with what their groups may do.
fn granted(
    provider: &str,
    person: &str,
    roles: &Roles,
    groups: &[String],
    expires: Timestamp,
) -> Result<NewToken, ApiError> {
    let (roles, groups) = spec::grants(roles, groups);
    if roles.is_empty() {
        return Err(ApiError::forbidden(format!(
            "none of the groups that `{person}` is in has a role here"
        )));
    }
    Ok(NewToken {
        // Nobody here, and nobody of another provider, is called that.
        principal: Principal::person(&format!("{provider}/{person}")),
        roles,
        groups,
        trigger: None,
        expires: Some(expires),
    })
}

/// Whether a provider's name for somebody is one that we can call them by.
fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
    (1..=63).contains(&name.len()) && name.bytes().all(fits)
}

/// Who has shown this client certificate. All of it is asked again at each request: whether its authority is still
/// trusted, whether it holds now, and whether a mapping that is in force knows its name.
///
/// # Errors
/// 401 with the reason, 403 for somebody none of whose groups has a role.
pub async fn take_certificate(app: &App, shown: &Shown) -> Result<Caller, ApiError> {
    if shown.is_of_agent() {
        return take_svid(app, shown);
    }
    let (name, mut new) = match mapped(app, shown) {
        Ok(found) => found,
        Err(refused) => {
            end_unmapped(app).await;
            return Err(refused);
        }
    };
    let now = app.gate.time();
    let ends = new.expires.unwrap_or(now);
    new.expires = Some(ends.min(now.plus_ms(LIFE_MS_MAX)));
    let by = Principal::service("cofferdam");
    let taken = app
        .gate
        .take_certificate(&by, new, &name, &shown.certificate.thumbprint)
        .await;
    taken.map_err(|error| match error {
        TokenError::Unknown(_) => unauthenticated("the client certificate was revoked"),
        TokenError::Misfit(why) => unauthenticated(&why),
        error @ TokenError::TooMany(_) => ApiError::overloaded(error.to_string()),
        error => error.into(),
    })
}

/// Which agent has shown the certificate that we gave it. Its status is asked at each request.
///
/// # Errors
/// 401 with the reason.
fn take_svid(app: &App, shown: &Shown) -> Result<Caller, ApiError> {
    let certificate = &shown.certificate;
    within_its_time(app, certificate)?;
    let presented = gate::svid::Presented {
        uris: &certificate.uris,
        key: certificate.ed25519,
        thumbprint: certificate.thumbprint,
    };
    match app.gate.caller_by_svid(&app.identity.svids, &presented) {
        Ok(caller) => Ok(caller),
        Err(gate::svid::SvidError::Store(store)) => Err(store.into()),
        Err(why) => Err(unauthenticated(&why.to_string())),
    }
}

/// That the certificate which a token is bound to holds as one does that says who calls: its authority, its times,
/// that no mapping of that authority denies whom it names nor any the certificate itself, and that its record was not
/// revoked. Whom it names is not asked otherwise: the token says that.
///
/// # Errors
/// 401 with the reason.
pub fn still_bound(app: &App, shown: &Shown) -> Result<(), ApiError> {
    let (authority, several) = holds_now(app, shown)?;
    let certificate = &shown.certificate;
    let providers = app.configuration.certificate_providers();
    if providers
        .values()
        .any(|spec| spec.denies(certificate, authority, several))
    {
        return Err(unauthenticated("the client certificate is denied"));
    }
    match app.gate.is_certificate_revoked(&certificate.thumbprint)? {
        true => Err(unauthenticated("the client certificate was revoked")),
        false => Ok(()),
    }
}

/// Ends what was recorded of certificates that are denied by now, or are not mapped any more to what was recorded:
/// what their holders have begun and said rests on it. Looked for now and then, since whoever is denied need not come
/// again.
pub async fn end_unmapped(app: &App) {
    if !app.configuration.is_in_force() {
        // Stored documents that cannot be read say nothing of anybody.
        return;
    }
    let by = Principal::service("cofferdam");
    let providers = app.configuration.certificate_providers();
    revoke_denied(app, &by, &providers).await;
    for recorded in app.gate.certified() {
        let spec = recorded.provider.as_ref().and_then(|name| providers.get(name));
        let ended = match spec {
            _ if is_denied(&providers, &recorded) => app.gate.revoke_token(&by, &recorded.token).await,
            Some(spec) if spec.may_give(holder(&recorded), &recorded) => continue,
            _ => app.gate.end_token(&by, &recorded.token).await,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, token = recorded.token, "the record of a certificate could not be ended");
        }
    }
}

/// Revokes all that rests on certificates which are denied now, also what ran out: what was said with it would count
/// on. Every token is looked at, so once for each change of the mappings.
async fn revoke_denied(app: &App, by: &Principal, providers: &CertificateProviders) {
    let met = |met: &Option<CertificateProviders>| met.as_ref() == Some(providers);
    let denied = || app.identity.denied.lock().unwrap_or_else(PoisonError::into_inner);
    if met(&denied()) {
        return;
    }
    if providers.values().any(|spec| !spec.deny.is_empty()) {
        let gate = Arc::clone(&app.gate);
        let read = tokio::task::spawn_blocking(move || gate.certified_ever()).await;
        let Ok(Ok(all)) = read else {
            tracing::warn!("what was recorded of denied certificates cannot be read");
            return;
        };
        let certificates = all.iter().filter(|one| is_denied(providers, one));
        let certificates: BTreeSet<gate::Thumbprint> = certificates.map(|one| one.certificate).collect();
        for one in all.iter().filter(|one| certificates.contains(&one.certificate)) {
            // What cannot be recorded now is tried again by the gate.
            if let Err(error) = app.gate.revoke_token(by, &one.token).await {
                tracing::warn!(%error, token = one.token, "what rests on a denied certificate could not be ended");
            }
        }
    }
    *denied() = Some(Arc::clone(providers));
}

/// Whether any mapping denies the certificate, or the one that it was recorded by whom it names.
fn is_denied(providers: &CertificateProviders, recorded: &Certified) -> bool {
    let own = recorded.provider.as_ref().and_then(|name| providers.get(name));
    let any = || {
        providers
            .values()
            .any(|spec| spec.denies_thumbprint(recorded.certificate))
    };
    own.is_some_and(|spec| spec.denies_name(holder(recorded))) || any()
}

/// Whom the certificate names, as its mapping has it.
fn holder(recorded: &Certified) -> &str {
    let name = recorded.principal.name.split_once('/');
    name.map_or("", |(_, holder)| holder)
}

/// Its authority, and whether there are several.
fn holds_now(app: &App, shown: &Shown) -> Result<(gate::Thumbprint, bool), ApiError> {
    let certificate = &shown.certificate;
    let authority = shown
        .authority()
        .ok_or_else(|| unauthenticated("the authority of the client certificate is not trusted any more"))?;
    within_its_time(app, certificate)?;
    Ok(authority)
}

fn within_its_time(app: &App, certificate: &ClientCertificate) -> Result<(), ApiError> {
    let now = app.gate.time();
    if now > certificate.until {
        return Err(unauthenticated("the client certificate has expired"));
    }
    if now < certificate.from {
        return Err(unauthenticated("the client certificate does not hold yet"));
    }
    Ok(())
}

/// Whom the certificate names now, by which provider.
///
/// # Errors
/// See [`take_certificate`].
pub fn mapped(app: &App, shown: &Shown) -> Result<(String, NewToken), ApiError> {
    let certificate = &shown.certificate;
    let (authority, several) = holds_now(app, shown)?;
    let providers = app.configuration.certificate_providers();
    if providers
        .values()
        .any(|spec| spec.denies_thumbprint(certificate.thumbprint))
    {
        return Err(unauthenticated("the client certificate is denied"));
    }
    let mut known = Vec::new();
    // A mapping that the certificate says nothing to says least of why it is refused.
    let (mut refused, mut nameless) = (None, None);
    for (name, spec) in providers.iter() {
        match spec.map(name, certificate, authority, several) {
            Ok(new) => known.push((name.clone(), new)),
            Err(Unmapped::Authority) => {}
            Err(Unmapped::Nameless(why)) => nameless = nameless.or_else(|| Some(unauthenticated(&why))),
            Err(Unmapped::Refused(why)) => refused = refused.or_else(|| Some(unauthenticated(&why))),
            Err(Unmapped::NoRole(name)) => {
                let why = format!("none of the groups that `{name}` is in has a role here");
                refused = refused.or_else(|| Some(ApiError::forbidden(why)));
            }
        }
    }
    match (known.pop(), known.is_empty(), refused.or(nameless)) {
        (Some(one), true, _) => Ok(one),
        (Some(_), false, _) => Err(unauthenticated(
            "several identity providers know the client certificate",
        )),
        (None, _, Some(refused)) => Err(refused),
        (None, _, None) => Err(unauthenticated(
            "no identity provider takes client certificates of that authority",
        )),
    }
}

fn unauthenticated(why: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthenticated", why)
}

/// Whether `token` may be one of a provider's, by its form.
#[must_use]
pub fn is_foreign(token: &str) -> bool {
    token.len() <= TOKEN_BYTES_MAX && token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The mappings of client certificates in force, by name.
pub type CertificateProviders = Arc<std::collections::BTreeMap<String, CertificateSpec>>;

/// The providers in force, by name.
pub type Providers = Arc<std::collections::BTreeMap<String, ProviderSpec>>;

/// Who a verified token names, and until when.
struct Person {
    name: String,
    groups: Vec<String>,
    expires: Timestamp,
}
