//! Tokens of people and triggers: opaque, random, stored as SHA-256 only.

use crate::rows::{self, decode};
use crate::{Caller, Gate, Role, RoleAt, Unidentified, agents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use journal::kind;
use policy::{Principal, PrincipalKind, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLockWriteGuard};
use store::{NewEntry, Store, StoreError, Tx};

pub(crate) mod certificate;
mod end;
pub(crate) mod exchange;
mod projection;

pub use certificate::{Certified, Thumbprint};
pub(crate) use end::Owed;
use projection::TokenRow;
pub(crate) use projection::Tokens;

/// Name of the projection.
const TOKENS: &str = "tokens";
/// What every secret begins with, so that scanners of secrets find a lost one.
const PREFIX: &str = "cfd_";
/// Most roles of one person.
const ROLES_MAX: usize = 256;
/// Most groups of one person.
const GROUPS_MAX: usize = 64;
/// Most tokens of one person that hold at once: each is a part of what their agents' chains are judged by.
pub const HOLDING_MAX: usize = 64;
/// Rows read at a time.
const READ_AT_ONCE: usize = 512;

/// What to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// For whom: a person, or a service for triggers.
    pub principal: Principal,
    /// What it may do, and where.
    pub roles: Vec<RoleAt>,
    /// Teams that the person belongs to, which rules may name as approvers.
    pub groups: Vec<String>,
    /// For `Role::Trigger`: which.
    pub trigger: Option<String>,
    /// Ends by itself.
    pub expires: Option<Timestamp>,
}

/// A token as shown: never the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "see NewToken")]
pub struct TokenView {
    /// `tok-7`.
    pub id: String,
    pub principal: Principal,
    pub roles: Vec<RoleAt>,
    #[serde(default)]
    pub groups: Vec<String>,
    pub trigger: Option<String>,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub revoked: bool,
    /// Who made it, when it was not the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The client certificate without which it is worth nothing (RFC 8705, `x5t#S256`), in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is none of that id.
    #[error("no token `{0}`")]
    Unknown(String),
    /// A role that does not fit the principal.
    #[error("{0}")]
    Misfit(String),
    /// They hold as many as one person may.
    #[error("{0} holds {HOLDING_MAX} tokens already; revoke some, or wait until they end")]
    TooMany(Principal),
    /// Made by an administrator, for something that would stand still without it.
    #[error("`{0}` is from no login; `cofferdam tokens revoke {0}` ends it")]
    NoLogin(String),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl Gate {
    /// Makes a token; the secret (`cfd_…`, 43 characters of base64url after the prefix) is handed out this once.
    pub async fn create_token(
        &self,
        by: &Principal,
        new: NewToken,
    ) -> Result<(TokenView, secrets::Secret), TokenError> {
        self.make_token(by, new, None, None).await
    }

    /// The same, and whoever shows it has to show this client certificate too.
    pub async fn create_bound_token(
        &self,
        by: &Principal,
        new: NewToken,
        certificate: Option<Thumbprint>,
    ) -> Result<(TokenView, secrets::Secret), TokenError> {
        self.make_token(by, new, None, certificate).await
    }

    /// The same for somebody whom `provider` vouched for: a login, which its holder may end.
    pub async fn login_token(
        &self,
        by: &Principal,
        new: NewToken,
        provider: &str,
    ) -> Result<(TokenView, secrets::Secret), TokenError> {
        self.make_token(by, new, Some(provider), None).await
    }

    async fn make_token(
        &self,
        by: &Principal,
        new: NewToken,
        provider: Option<&str>,
        certificate: Option<Thumbprint>,
    ) -> Result<(TokenView, secrets::Secret), TokenError> {
        fits(&new).map_err(TokenError::Misfit)?;
        let besides = [
            ("provider", provider.map(str::to_owned)),
            (
                "certificate",
                certificate.map(|certificate| certificate.to_string()),
            ),
        ];
        let secret = new_secret()?;
        let hash = digest(secret.expose());
        let (by, now) = (by.clone(), self.deadlines.now());
        let write = move |tx: &mut Tx<'_>| {
            few(tx, &new.principal, now)?;
            let id = format!("tok-{}", tx.next_sequence());
            let mut body = json!({
                "token": id, "principal": new.principal, "roles": new.roles, "groups": new.groups, "trigger": new.trigger,
                "expires": new.expires, "sha256": policy::canonical::hex(&hash), "at": now,
            });
            if let Some(body) = body.as_object_mut() {
                let besides = besides.into_iter();
                body.extend(besides.filter_map(|(name, value)| Some((name.to_owned(), value?.into()))));
            }
            tx.append(NewEntry::new(kind::TOKEN_CREATED, by, body))?;
            let row = row(tx, &id)?;
            row.map(|row| row.view).ok_or(TokenError::Unknown(id))
        };
        let view = self.store.write::<_, TokenError, _>(write).await?.value;
        let mut held = self.held();
        held.retain(|_, held| !held.is_over(now));
        // It is listed since its commit, so somebody may have revoked it before it could get here.
        let row = self.store.read(|reader| reader.row(TOKENS, &view.id))?;
        let row = row.map(decode::<TokenRow>).transpose()?;
        if row.is_some_and(|row| !self.owed.is_revoked(&row.view)) {
            held.insert(hash, Held::of(&view));
        }
        drop(held);
        Ok((view, secret))
    }

    /// Takes a token that `provider` made and the caller has verified: recorded like any other, it identifies
    /// until it ends. One that is known stays as it is; one that was ended is not taken again.
    pub async fn take_token(
        &self,
        by: &Principal,
        new: NewToken,
        provider: &str,
        token: &str,
    ) -> Result<Caller, TokenError> {
        fits(&new).map_err(TokenError::Misfit)?;
        // Known by what is signed: of one kind of signature anybody can make a second one from the first.
        let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
        let signed = policy::canonical::hex(&digest(signed.as_bytes()));
        let (hash, by, provider) = (digest(token.as_bytes()), by.clone(), provider.to_owned());
        let (now, owed) = (self.deadlines.now(), self.owed.clone());
        let write = move |tx: &mut Tx<'_>| {
            let hex = policy::canonical::hex(&hash);
            // One that was taken before its signed part was kept is known by all of it.
            let mut found = tx.find(TOKENS, "signed", &signed)?;
            found.extend(tx.find(TOKENS, "sha256", &hex)?);
            if let Some(found) = found.into_iter().next() {
                let view = decode::<TokenRow>(found.value)?.view;
                let over = owed.is_revoked(&view) || view.expires.is_some_and(|expires| expires <= now);
                return if over {
                    Err(TokenError::Unknown(view.id))
                } else {
                    Ok(view)
                };
            }
            few(tx, &new.principal, now)?;
            let id = format!("tok-{}", tx.next_sequence());
            let body = json!({
                "token": id, "principal": new.principal, "roles": new.roles, "groups": new.groups,
                "expires": new.expires, "provider": provider, "sha256": hex,
                "signed": signed, "at": now,
            });
            tx.append(NewEntry::new(kind::TOKEN_CREATED, by, body))?;
            let row = row(tx, &id)?;
            row.map(|row| row.view).ok_or(TokenError::Unknown(id))
        };
        let id = self.store.write::<_, TokenError, _>(write).await?.value.id;
        let mut held = self.held();
        held.retain(|_, held| !held.is_over(now));
        // As in `create_token`: it may have been ended before it could get here.
        let row = self.store.read(|reader| reader.row(TOKENS, &id))?;
        let row = row.map(decode::<TokenRow>).transpose()?;
        let Some(row) = row.filter(|row| !self.owed.is_revoked(&row.view)) else {
            return Err(TokenError::Unknown(id));
        };
        let taken = Held::of(&row.view);
        if taken.is_over(self.deadlines.now()) {
            return Err(TokenError::Unknown(id));
        }
        held.insert(hash, taken.clone());
        Ok(taken.caller)
    }

    /// One.
    pub fn token(&self, id: &str) -> Result<TokenView, TokenError> {
        let row = self.store.read(|reader| reader.row(TOKENS, id))?;
        let row: TokenRow = row
            .map(decode)
            .transpose()?
            .ok_or_else(|| TokenError::Unknown(id.to_owned()))?;
        Ok(row.view)
    }

    /// All, the newest first.
    pub fn tokens(&self) -> Result<Vec<TokenView>, TokenError> {
        let mut views: Vec<TokenView> = read_all(&self.store)?.into_iter().map(|row| row.view).collect();
        views.sort_by_key(|view| std::cmp::Reverse(rows::number(&view.id)));
        Ok(views)
    }

    /// Step 1 of the gate: whose token is this? No store access on the hot path.
    ///
    /// Looked up by its SHA-256. That is enough against timing: what a comparison could leak is how
    /// much of a stored hash equals the hash of the guess, which says nothing about a secret of 256
    /// random bits, and a guess with a chosen hash cannot be made.
    pub fn identify(&self, token: &str) -> Result<Caller, Unidentified> {
        self.identify_with(token, None)
    }

    /// The same over a connection whose client proved to hold the key of `certificate`.
    pub fn identify_with(
        &self,
        token: &str,
        certificate: Option<&Thumbprint>,
    ) -> Result<Caller, Unidentified> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let held = tokens
            .get(&digest(token.as_bytes()))
            .ok_or(Unidentified::NoToken)?;
        if held.is_over(self.deadlines.now()) {
            return Err(Unidentified::NoToken);
        }
        let caller = held.caller.clone();
        // INVARIANT (a bound token is worth nothing alone): whoever stole it has not the certificate's key.
        if caller
            .certificate
            .as_ref()
            .is_some_and(|bound| Some(bound) != certificate)
        {
            return Err(Unidentified::Bound);
        }
        drop(tokens);
        match &caller.delegation {
            // INVARIANT (revoked at once): what was redeemed is worth no more than what stands now.
            Some(delegation) => self
                .check_chain(&caller.principal.name, delegation)
                .map(|()| caller.clone())
                .map_err(|_| Unidentified::NoToken),
            None => Ok(caller),
        }
    }

    /// Whether the token that identified `caller` still holds: for answers that go on for long.
    pub fn still_holds(&self, caller: &Caller) -> bool {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let held = tokens.values().find(|held| held.caller.token == caller.token);
        held.is_some_and(|held| !held.is_over(self.deadlines.now()))
    }

    /// When the token that identified `caller` ends by itself.
    pub fn ends(&self, caller: &Caller) -> Option<Timestamp> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let held = tokens.values().find(|held| held.caller.token == caller.token);
        held.and_then(|held| held.expires)
    }

    fn held(&self) -> RwLockWriteGuard<'_, HashMap<[u8; 32], Held>> {
        self.tokens.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token that holds, in memory.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    caller: Caller,
    expires: Option<Timestamp>,
}

impl Held {
    fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    fn of(view: &TokenView) -> Held {
        Held {
            caller: Caller {
                principal: view.principal.clone(),
                roles: view.roles.clone(),
                groups: view.groups.clone(),
                token: view.id.clone(),
                trigger: view.trigger.clone(),
                delegation: None,
                certificate: view.certificate.as_deref().map(Thumbprint::of_record),
                provider: view.provider.clone(),
            },
            expires: view.expires,
        }
    }
}

/// Refuses whoever holds as many tokens as one person may. Without a limit, somebody to whom a provider gives
/// tokens could make the journal and their own row as long as they like, and decisions be made again and again.
fn few(tx: &Tx<'_>, principal: &Principal, now: Timestamp) -> Result<(), TokenError> {
    if principal.kind != PrincipalKind::Person {
        return Ok(());
    }
    let person = agents::person_row(tx, &principal.name)?;
    match person.is_some_and(|person| person.holding(now) >= HOLDING_MAX) {
        true => Err(TokenError::TooMany(principal.clone())),
        false => Ok(()),
    }
}

/// Every token that holds, by the SHA-256 of its secret.
pub(crate) fn load(store: &Store, now: Timestamp) -> Result<HashMap<[u8; 32], Held>, StoreError> {
    let mut tokens = HashMap::new();
    for row in read_all(store)? {
        let corrupt = || StoreError::Corrupt {
            finding: format!("token `{}` has no SHA-256", row.view.id),
        };
        let hash = unhex(&row.sha256).ok_or_else(corrupt)?;
        let held = Held::of(&row.view);
        // Of what was recorded of one certificate, one after the other, the last to end holds.
        let is_last = tokens
            .get(&hash)
            .is_none_or(|other: &Held| other.expires < held.expires);
        if !row.view.revoked && is_last {
            tokens.insert(hash, held);
        }
    }
    exchange::load(store, &mut tokens)?;
    tokens.retain(|_, held| !held.is_over(now));
    Ok(tokens)
}

fn read_all(store: &Store) -> Result<Vec<TokenRow>, StoreError> {
    read_those(store, |_| true)
}

fn read_those(store: &Store, wanted: impl Fn(&TokenRow) -> bool) -> Result<Vec<TokenRow>, StoreError> {
    store.read(|reader| {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let rows = reader.rows(TOKENS, after.as_deref(), READ_AT_ONCE)?;
            let Some(last) = rows.last() else { return Ok(all) };
            after = Some(last.key.clone());
            for row in rows {
                all.extend(Some(decode(row.value)?).filter(&wanted));
            }
        }
    })
}

fn row(tx: &Tx<'_>, id: &str) -> Result<Option<TokenRow>, StoreError> {
    tx.row(TOKENS, id)?.map(decode).transpose()
}

/// Whether the roles fit the principal.
fn fits(new: &NewToken) -> Result<(), String> {
    let NewToken {
        principal,
        roles,
        trigger,
        ..
    } = new;
    let name_fits = (1..=64).contains(&principal.name.len())
        && principal
            .name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._@/-".contains(&b));
    if !name_fits {
        return Err(format!(
            "`{}` is not a name: use 1 to 64 letters, digits, `.`, `_`, `-`, `@`, `/`",
            principal.name
        ));
    }
    groups_fit(new)?;
    if roles.iter().any(|at| at.role == Role::Agent) {
        return Err("the role `agent` is given by redeeming a delegation and by nobody".to_owned());
    }
    match (principal.kind, trigger, roles.as_slice()) {
        (PrincipalKind::Agent, ..) => Err(format!("{principal} is an agent; agents hold no token")),
        (_, _, []) => Err(format!("a token for {principal} needs at least one role")),
        (PrincipalKind::Service, Some(_), [only]) if *only == RoleAt::from(Role::Trigger) => Ok(()),
        (PrincipalKind::Service, ..) => Err(format!(
            "{principal} is a service: its token has the role `trigger`, one trigger, and nothing else"
        )),
        (PrincipalKind::Person, None, roles) if roles.len() > ROLES_MAX => {
            Err(format!("{principal} has more than {ROLES_MAX} roles"))
        }
        (PrincipalKind::Person, None, roles) if roles.iter().all(|at| at.role != Role::Trigger) => Ok(()),
        (PrincipalKind::Person, ..) => {
            Err(format!("{principal} is a person; only services send to triggers"))
        }
    }
}

/// Whether the groups are names, and those of a person.
fn groups_fit(new: &NewToken) -> Result<(), String> {
    let is_name = |group: &String| {
        (1..=64).contains(&group.len())
            && group
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && !policy::Approver(group.clone()).is_role()
    };
    if new.principal.kind != PrincipalKind::Person && !new.groups.is_empty() {
        return Err(format!(
            "{} is no person; only people are in groups",
            new.principal
        ));
    }
    if new.groups.len() > GROUPS_MAX {
        return Err(format!("{} is in more than {GROUPS_MAX} groups", new.principal));
    }
    match new.groups.iter().find(|group| !is_name(group)) {
        Some(group) => Err(format!(
            "`{group}` is not the name of a group: use 1 to 64 letters, digits, `.`, `_`, `-`, and not the name of a role"
        )),
        None => Ok(()),
    }
}

fn new_secret() -> Result<secrets::Secret, TokenError> {
    let mut random = [0u8; 32];
    let refused = |error| StoreError::Refused(format!("no randomness for a token: {error}"));
    getrandom::fill(&mut random).map_err(refused)?;
    let secret = secrets::Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)).into_bytes());
    random.fill(0);
    Ok(secret)
}

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0u8; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}
