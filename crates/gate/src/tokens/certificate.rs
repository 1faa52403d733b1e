//! Client certificates: whoever shows one is recorded as a token of ours whose secret is the certificate.
//!
//! That it holds (its authority, its times, that a mapping knows its name) is judged by the caller before every
//! request; here is what it was taken for and that it was not ended.
//!
//! Invariants:
//! - **No text is a certificate**: what is recorded of one is kept under a digest with a prefix of its own, and is bound to it.
//! - **One that was ended is not taken again**, whatever mapping names it by then.
//! - **One certificate, one record that holds**: a mapping that says something else ends what it said before.

use super::{
    Held, NewToken, Owed, TOKENS, TokenError, TokenRow, TokenView, digest, few, fits, read_those, row, unhex,
};
use crate::rows::decode;
use crate::{Caller, Gate, RoleAt};
use journal::kind;
use policy::{Principal, Timestamp};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fmt::{Display, Formatter};
use std::sync::PoisonError;
use store::{NewEntry, StoreError, Tx};

/// What stands before a thumbprint, so that no token can have its digest.
const DOMAIN: &[u8] = b"cofferdam client certificate\0";

/// SHA-256 of a certificate as it is encoded: `x5t#S256` of RFC 8705.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Of a certificate in DER.
    pub fn of(der: &[u8]) -> Thumbprint {
        Thumbprint(Sha256::digest(der).into())
    }

    /// Reads 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` prints them with or without colons.
    pub fn parse(text: &str) -> Option<Thumbprint> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        unhex(&digits.to_ascii_lowercase()).map(Thumbprint)
    }

    /// As a record has it. What cannot be read is the thumbprint of nothing, so that it never becomes unbound.
    pub(super) fn of_record(text: &str) -> Thumbprint {
        Thumbprint::parse(text).unwrap_or(Thumbprint([0; 32]))
    }

    fn key(&self) -> [u8; 32] {
        digest(&[DOMAIN, &self.0].concat())
    }
}

impl Display for Thumbprint {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&policy::canonical::hex(&self.0))
    }
}

/// A token that rests on a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct Certified {
    pub token: String,
    /// By whose mapping it was recorded; `None`: it is a token that is bound to the certificate.
    pub provider: Option<String>,
    pub principal: Principal,
    pub roles: Vec<RoleAt>,
    pub groups: Vec<String>,
    pub trigger: Option<String>,
    pub certificate: Thumbprint,
}

impl Gate {
    /// Takes a certificate that `provider` maps to `new`, and the caller has verified: recorded once, it identifies
    /// until `new.expires`, and is recorded anew when it is shown after that or is mapped to something else.
    pub async fn take_certificate(
        &self,
        by: &Principal,
        new: NewToken,
        provider: &str,
        certificate: &Thumbprint,
    ) -> Result<Caller, TokenError> {
        let now = self.deadlines.now();
        if let Some(caller) = self.taken(certificate, &new, now) {
            return Ok(caller);
        }
        fits(&new).map_err(TokenError::Misfit)?;
        let (by, provider, certificate) = (by.clone(), provider.to_owned(), *certificate);
        let owed = self.owed.clone();
        let write = move |tx: &mut Tx<'_>| taken_in(tx, &owed, &by, &new, &provider, &certificate, now);
        let id = self.store.write::<_, TokenError, _>(write).await?.value.id;
        let mut held = self.held();
        held.retain(|_, held| !held.is_over(now));
        // As in `create_token`: it may have been ended before it could get here, also by another mapping of it.
        let row = self.store.read(|reader| reader.row(TOKENS, &id))?;
        let row = row.map(decode::<TokenRow>).transpose()?;
        let taken = row.filter(|row| !self.owed.is_revoked(&row.view));
        let taken = taken.map(|row| Held::of(&row.view));
        let Some(taken) = taken.filter(|taken| !taken.is_over(self.deadlines.now())) else {
            return Err(TokenError::Unknown(id));
        };
        held.insert(certificate.key(), taken.clone());
        Ok(taken.caller)
    }

    /// What was recorded of certificates, and holds.
    pub fn certified(&self) -> Vec<Certified> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let by_certificate = tokens.values().map(|held| &held.caller);
        let by_certificate = by_certificate.filter(|caller| caller.is_by_certificate());
        by_certificate.filter_map(certified).collect()
    }

    /// What rests on certificates and was never revoked, whether or not it ran out: what was said with it counts to
    /// this day. Reads every token that there was.
    pub fn certified_ever(&self) -> Result<Vec<Certified>, StoreError> {
        let wanted = |row: &TokenRow| row.view.certificate.is_some() && !row.view.revoked;
        let rows = read_those(&self.store, wanted)?;
        let callers = rows.iter().map(|row| Held::of(&row.view).caller);
        Ok(callers.filter_map(|caller| certified(&caller)).collect())
    }

    /// Whether a record of it was revoked.
    pub fn is_certificate_revoked(&self, certificate: &Thumbprint) -> Result<bool, StoreError> {
        let signed = certificate.to_string();
        let found = self.store.read(|reader| reader.find(TOKENS, "signed", &signed))?;
        let rows = found.into_iter().map(|row| decode::<TokenRow>(row.value));
        rows.map(|row| Ok(self.owed.is_revoked(&row?.view)))
            .try_fold(false, |any, revoked: Result<bool, StoreError>| Ok(any | revoked?))
    }

    /// What holds of it in memory, if it is what it is mapped to now.
    fn taken(&self, certificate: &Thumbprint, new: &NewToken, now: Timestamp) -> Option<Caller> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let held = tokens.get(&certificate.key())?;
        (!held.is_over(now) && says(&held.caller, new)).then(|| held.caller.clone())
    }
}

fn certified(caller: &Caller) -> Option<Certified> {
    Some(Certified {
        token: caller.token.clone(),
        provider: caller.provider.clone(),
        principal: caller.principal.clone(),
        roles: caller.roles.clone(),
        groups: caller.groups.clone(),
        trigger: caller.trigger.clone(),
        certificate: caller.certificate?,
    })
}

fn says(caller: &Caller, new: &NewToken) -> bool {
    (&caller.principal, &caller.roles, &caller.groups, &caller.trigger)
        == (&new.principal, &new.roles, &new.groups, &new.trigger)
}

/// Records it, unless it is known and says the same.
fn taken_in(
    tx: &mut Tx<'_>,
    owed: &Owed,
    by: &Principal,
    new: &NewToken,
    provider: &str,
    certificate: &Thumbprint,
    now: Timestamp,
) -> Result<TokenView, TokenError> {
    let signed = certificate.to_string();
    for found in tx.find(TOKENS, "signed", &signed)? {
        let TokenRow { view, .. } = decode(found.value)?;
        match owed.is_revoked(&view) {
            true => return Err(TokenError::Unknown(view.id)),
            false if view.expires.is_some_and(|expires| expires <= now) => {}
            false if says(&Held::of(&view).caller, new) => return Ok(view),
            false => {
                // As if it had run out: nobody has left whose certificate is mapped to something else.
                let body = json!({"token": view.id, "at": now});
                tx.append(NewEntry::new(kind::TOKEN_ENDED, by.clone(), body))?;
            }
        }
    }
    few(tx, &new.principal, now)?;
    let id = format!("tok-{}", tx.next_sequence());
    let body = json!({
        "token": id, "principal": new.principal, "roles": new.roles, "groups": new.groups, "trigger": new.trigger,
        "expires": new.expires, "provider": provider, "sha256": policy::canonical::hex(&certificate.key()),
        "signed": signed, "certificate": signed, "at": now,
    });
    tx.append(NewEntry::new(kind::TOKEN_CREATED, by.clone(), body))?;
    let row = row(tx, &id)?;
    row.map(|row| row.view).ok_or(TokenError::Unknown(id))
}
