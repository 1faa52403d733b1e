//! The ends of tokens: revoked, or over as if they had run out.

use super::{TOKENS, TokenError, TokenRow, TokenView, row};
use crate::rows::decode;
use crate::{Caller, Gate};
use journal::kind;
use policy::Principal;
use serde_json::json;
use store::{NewEntry, StoreError, Tx};

impl Gate {
    /// Ends a token now: it is dead in memory before its end is recorded, and stays so in this process
    /// when the record fails.
    pub async fn revoke_token(&self, by: &Principal, id: &str) -> Result<(), TokenError> {
        let forget = || self.held().retain(|_, held| held.caller.token != id);
        forget();
        let (by, token, at) = (by.clone(), id.to_owned(), self.deadlines.now());
        let write = move |tx: &mut Tx<'_>| {
            let row = row(tx, &token)?.ok_or_else(|| TokenError::Unknown(token.clone()))?;
            // INVARIANT (a certificate is revoked as a whole): with all that was recorded of it.
            let mut views = match row.signed.as_ref().filter(|_| row.view.certificate.is_some()) {
                Some(signed) => rows_of(tx, signed)?,
                None => Vec::new(),
            };
            views.retain(|view| view.id != row.view.id);
            views.push(row.view);
            for view in views.iter().filter(|view| !view.revoked) {
                let body = json!({ "token": view.id, "at": at });
                tx.append(NewEntry::new(kind::TOKEN_REVOKED, by.clone(), body))?;
            }
            Ok(views.into_iter().map(|view| view.id).collect::<Vec<_>>())
        };
        let written = self.store.write::<_, TokenError, _>(write).await;
        // Once more: it may have been put there while its end was being recorded.
        forget();
        let ended = written?.value;
        self.held().retain(|_, held| !ended.contains(&held.caller.token));
        Ok(())
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
            if !row.view.revoked {
                let body = json!({ "token": token, "at": at });
                tx.append(NewEntry::new(kind::TOKEN_ENDED, by, body))?;
            }
            Ok(())
        };
        self.store.write::<_, TokenError, _>(write).await?;
        self.held().retain(|_, held| held.caller.token != caller.token);
        Ok(())
    }

    /// Ends a token as if it had run out now.
    pub async fn end_token(&self, by: &Principal, id: &str) -> Result<(), TokenError> {
        let (by, token, at) = (by.clone(), id.to_owned(), self.deadlines.now());
        let write = move |tx: &mut Tx<'_>| {
            let row = row(tx, &token)?.ok_or_else(|| TokenError::Unknown(token.clone()))?;
            if !row.view.revoked {
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

/// All that was recorded of one certificate.
fn rows_of(tx: &Tx<'_>, signed: &str) -> Result<Vec<TokenView>, StoreError> {
    let found = tx.find(TOKENS, "signed", signed)?.into_iter();
    found.map(|row| Ok(decode::<TokenRow>(row.value)?.view)).collect()
}
