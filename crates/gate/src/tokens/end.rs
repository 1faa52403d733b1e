//! The ends of tokens: revoked, or over as if they had run out.

use super::{TOKENS, Thumbprint, TokenError, TokenRow, TokenView, row};
use crate::gate::lock;
use crate::rows::decode;
use crate::{Caller, Gate};
use journal::kind;
use policy::{Principal, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use store::{NewEntry, Row, StoreError, Tx};

impl Gate {
    /// Ends a token now: it is dead in memory before its end is recorded, and stays so in this process
    /// when the record fails, which [`Gate::revoke_owed`] tries again.
    pub async fn revoke_token(&self, by: &Principal, id: &str) -> Result<(), TokenError> {
        // INVARIANT (nothing is put back): from here on, also by whoever shows a certificate or a provider's token
        // again whose row still says that it holds.
        self.owed.begun(id, by);
        let certificate = self.token(id).ok().and_then(|view| recorded_of(&view));
        let is_of = |held: &Caller| {
            held.token == id
                || (held.is_by_certificate() && certificate.is_some() && held.certificate == certificate)
        };
        self.held().retain(|_, held| !is_of(&held.caller));
        let (actor, token, at) = (by.clone(), id.to_owned(), self.deadlines.now());
        let write = move |tx: &mut Tx<'_>| {
            let row = row(tx, &token)?.ok_or_else(|| TokenError::Unknown(token.clone()))?;
            // INVARIANT (a certificate is revoked as a whole): with all that was recorded of it.
            let views = whole(row, |signed| tx.find(TOKENS, "signed", signed))?;
            for view in views.iter().filter(|view| !view.revoked) {
                let body = json!({ "token": view.id, "at": at });
                tx.append(NewEntry::new(kind::TOKEN_REVOKED, actor.clone(), body))?;
            }
            Ok(views.into_iter().map(|view| view.id).collect::<Vec<_>>())
        };
        match self.store.write::<_, TokenError, _>(write).await {
            Ok(written) => {
                let ended = written.value;
                self.held().retain(|_, held| !ended.contains(&held.caller.token));
                self.owed.done(id);
                Ok(())
            }
            Err(error @ TokenError::Store(_)) => {
                self.owed.begun(id, by);
                Err(error)
            }
            Err(error) => {
                self.owed.done(id);
                Err(error)
            }
        }
    }

    /// Records the revocations that could not be recorded when they were asked for.
    pub async fn revoke_owed(&self) {
        for (id, by) in self.owed.all() {
            if let Err(error) = self.revoke_token(&by, &id).await {
                tracing::warn!(%error, token = id, "a token is revoked, and not in the journal yet");
            }
        }
    }

    /// What [`Gate::revoke_token`] ends with this one: all that was recorded of the same certificate, itself among it.
    pub fn revoked_with(&self, id: &str) -> Result<Vec<TokenView>, TokenError> {
        let found = self.store.read(|reader| {
            let row = reader.row(TOKENS, id)?.map(decode::<TokenRow>).transpose()?;
            row.map(|row| whole(row, |signed| reader.find(TOKENS, "signed", signed)))
                .transpose()
        });
        found?.ok_or_else(|| TokenError::Unknown(id.to_owned()))
    }

    /// Ends the login that identified `caller`: that token, as if it had run out now. It is no revocation, so
    /// whoever logs out has not left: their agents go on, and what they approved counts.
    pub async fn end_login(&self, caller: &Caller) -> Result<(), TokenError> {
        let (by, token, at) = (
            caller.principal.clone(),
            caller.token.clone(),
            self.deadlines.now(),
        );
        let write = move |tx: &mut Tx<'_>| {
            let row = row(tx, &token)?.ok_or_else(|| TokenError::Unknown(token.clone()))?;
            // A certificate would be recorded anew at the next request.
            if row.view.provider.is_none() || row.view.certificate.is_some() {
                return Err(TokenError::NoLogin(token.clone()));
            }
            if holds(&row.view, at) {
                let body = json!({ "token": token, "at": at });
                tx.append(NewEntry::new(kind::TOKEN_ENDED, by, body))?;
            }
            Ok(())
        };
        self.store.write::<_, TokenError, _>(write).await?;
        self.held().retain(|_, held| held.caller.token != caller.token);
        Ok(())
    }

    /// Ends a token as if it had run out now; one that is over already stays as it is.
    pub async fn end_token(&self, by: &Principal, id: &str) -> Result<(), TokenError> {
        let (by, token, at) = (by.clone(), id.to_owned(), self.deadlines.now());
        let write = move |tx: &mut Tx<'_>| {
            let row = row(tx, &token)?.ok_or_else(|| TokenError::Unknown(token.clone()))?;
            if holds(&row.view, at) {
                let body = json!({ "token": token, "at": at });
                tx.append(NewEntry::new(kind::TOKEN_ENDED, by, body))?;
            }
            Ok::<(), TokenError>(())
        };
        self.store.write(write).await?;
        self.held().retain(|_, held| held.caller.token != id);
        Ok(())
    }
}

/// Revocations whose record failed, or is being made, with who asked for them. What is in here is over, whatever its
/// row says.
#[derive(Clone, Default)]
pub(crate) struct Owed(Arc<Mutex<BTreeMap<String, Principal>>>);

impl Owed {
    fn begun(&self, id: &str, by: &Principal) {
        lock(&self.0).insert(id.to_owned(), by.clone());
    }

    fn done(&self, id: &str) {
        lock(&self.0).remove(id);
    }

    fn all(&self) -> BTreeMap<String, Principal> {
        lock(&self.0).clone()
    }

    /// Whether this one was revoked, on record or not.
    pub(super) fn is_revoked(&self, view: &TokenView) -> bool {
        view.revoked || lock(&self.0).contains_key(&view.id)
    }
}

fn holds(view: &TokenView, now: Timestamp) -> bool {
    !view.revoked && view.expires.is_none_or(|expires| now < expires)
}

/// The certificate that this is the record of.
fn recorded_of(view: &TokenView) -> Option<Thumbprint> {
    let certificate = view.certificate.as_deref().filter(|_| view.provider.is_some());
    certificate.map(Thumbprint::of_record)
}

/// What is revoked with `row`: of a certificate's record all that was recorded of it.
fn whole(
    row: TokenRow,
    find: impl Fn(&str) -> Result<Vec<Row>, StoreError>,
) -> Result<Vec<TokenView>, StoreError> {
    let mut views = Vec::new();
    if let Some(signed) = row.signed.as_ref().filter(|_| row.view.certificate.is_some()) {
        for found in find(signed)? {
            views.push(decode::<TokenRow>(found.value)?.view);
        }
    }
    views.retain(|view| view.id != row.view.id);
    views.push(row.view);
    Ok(views)
}
