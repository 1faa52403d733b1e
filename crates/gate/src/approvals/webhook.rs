//! Outside systems as approvers: what they are asked with, and what they answer.
//!
//! Invariants:
//! - **A vote is its key's.** Who answers is the channel under whose key the answer is signed; a body names nobody.
//! - **An answer is of one question**: it echoes approval, digest, stages, and a nonce that only the delivery to
//!   this channel told.
//! - **A key that was replaced says nothing more**: neither to a question that was put to the old one, nor with a
//!   vote that the old one gave.
//! - **Unauthenticated is unrecorded**: what is refused leaves no entry.

use super::answer::{Answer, AnswerFault, Signed, Unsigned};
use super::votes::{Signer, Voter};
use super::{ApprovalView, ApproveError, Counted, Verdict, row};
use crate::channels::{self, ApproverKey};
use crate::record::short;
use crate::rows::{json as to_json, number};
use crate::{Gate, documents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use journal::machine::Approval;
use policy::{Principal, Stages};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Erasable, Reader, StoreError, Tx};
use subtle::ConstantTimeEq as _;

/// Name of the payload of a request with the nonce of each channel.
pub(crate) const NONCES: &str = "nonces";

/// What was taken; the same for the same answer, however often it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// `apr-57`.
    pub approval: String,
    /// As it was said.
    pub decision: Verdict,
}

/// Why an answer does not count. Nothing of it is recorded.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Nobody is known to have signed it.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    /// Not of the form.
    #[error(transparent)]
    Fault(#[from] AnswerFault),
    /// There is no such approval, it was not put to this channel and key, or the nonce is not the one it was
    /// put with.
    #[error("approval `{0}` was not put to this channel with this nonce and this key")]
    NotAsked(String),
    /// Of another action.
    #[error("`digest` is not that of the action of approval `{0}`")]
    AnotherAction(String),
    /// Of other stages.
    #[error("`stages` are not those that approval `{0}` was put to this channel for")]
    AnotherStage(String),
    /// It answered the reverse before.
    #[error("this channel answered `{1}` to approval `{0}`, and that stands")]
    Conflicting(String, &'static str),
    /// The configuration changes just now.
    #[error("the configuration changes just now; send it again")]
    Changing,
    /// It does not count as a vote now.
    #[error(transparent)]
    Vote(#[from] ApproveError),
}

impl From<StoreError> for AnswerError {
    fn from(error: StoreError) -> AnswerError {
        AnswerError::Vote(error.into())
    }
}

impl Gate {
    /// The outside system behind `channel` answers. The same answer again changes nothing and is no error.
    pub async fn answer_approval(&self, channel: &str, signed: Signed<'_>) -> Result<Answered, AnswerError> {
        // Nothing that is too long is verified first.
        if signed.body.len() > super::ANSWER_BYTES_MAX {
            Answer::read(signed.body)?;
        }
        let key = self.store.read(|reader| channels::read_key(reader, channel))?;
        let checked = signed.check(&key.unwrap_or(ApproverKey::NOBODYS), self.clock.now());
        // As many signatures as for a channel that there is, which take most of the time, so that it tells none.
        let key = key.ok_or(Unsigned::NoApprover)?;
        checked?;
        let answer = Answer::read(signed.body)?;
        let signer = Signer {
            principal: Principal::service(&format!("channel/{channel}")),
            channel: channel.to_owned(),
            key,
            signed: json!({
                "webhook-id": signed.id, "webhook-timestamp": signed.timestamp,
                "webhook-signature": signed.signature, "body": String::from_utf8_lossy(signed.body),
            }),
        };
        let answered = Answered {
            approval: answer.approval.clone(),
            decision: answer.decision,
        };
        let (authority, deadlines) = (self.authority.load_full(), Arc::clone(&self.deadlines));
        let write = move |tx: &mut Tx<'_>| {
            if documents::generation_now(tx)? != authority.generation {
                return Err(AnswerError::Changing);
            }
            let is_agent = channels::agent_of(tx, &signer.key)?.is_some();
            if is_agent || channels::key_now(tx, &signer.channel)? != Some(signer.key) {
                return Err(Unsigned::NoApprover.into());
            }
            let view = asked(tx, &signer, &answer)?;
            match said(&view, &signer) {
                Some(before) if before == answer.decision => return Ok(Ok(view)),
                Some(before) => return Err(AnswerError::Conflicting(view.id, before.as_str())),
                None => {}
            }
            let reason = short(&answer.reason);
            let voter = Voter::Webhook(&signer);
            let said = super::say(tx, voter, view, answer.decision, &reason, None, deadlines.now());
            said.map_err(AnswerError::from)
        };
        let written = self.store.write::<_, AnswerError, _>(write).await?;
        match written.value {
            Ok(_) => Ok(answered),
            Err(illegal) => Err(ApproveError::from(illegal).into()),
        }
    }
}

/// The approval that `answer` is of, if it was put to `signer` and all that has to be is echoed.
fn asked(tx: &Tx<'_>, signer: &Signer, answer: &Answer) -> Result<ApprovalView, AnswerError> {
    let id = &answer.approval;
    let not_asked = || AnswerError::NotAsked(short(id));
    let view = row(tx, id)?.ok_or_else(not_asked)?;
    if view.webhooks.get(&signer.channel) != Some(&signer.key.to_string()) {
        return Err(not_asked());
    }
    let Erasable::Present(nonces) = tx.payload(number(id), NONCES)? else {
        return Err(ApproveError::Erased(view.id).into());
    };
    let nonce = nonces
        .get(&signer.channel)
        .and_then(Value::as_str)
        .unwrap_or_default();
    // An empty one was never sent.
    if nonce.is_empty() || !bool::from(nonce.as_bytes().ct_eq(answer.nonce.as_bytes())) {
        return Err(not_asked());
    }
    match super::votes::action_digest(tx, id)? {
        None => Err(ApproveError::Erased(view.id).into()),
        Some(digest) if digest != answer.digest => Err(AnswerError::AnotherAction(view.id)),
        Some(_) if stages_of(&view.lists(), &signer.channel) != answer.stages => {
            Err(AnswerError::AnotherStage(view.id))
        }
        Some(_) => Ok(view),
    }
}

/// What this channel said before.
fn said(view: &ApprovalView, signer: &Signer) -> Option<Verdict> {
    let denied = view.state == Approval::Denied && view.decided_by.as_ref() == Some(&signer.principal);
    let voted = view.votes.iter().any(|vote| vote.by == signer.principal);
    match (denied, voted) {
        (true, _) => Some(Verdict::Deny),
        (false, true) => Some(Verdict::Approve),
        (false, false) => None,
    }
}

/// The stages of `lists` that name the outside system behind `channel`.
pub fn stages_of(lists: &[Stages], channel: &str) -> Vec<Counted> {
    let named = |(list, stages): (usize, &Stages)| {
        let stages = stages.as_slice().iter().enumerate();
        let named = stages.filter(|(_, stage)| stage.names_webhook(channel));
        named
            .map(|(stage, _)| Counted { list, stage })
            .collect::<Vec<_>>()
    };
    lists.iter().enumerate().flat_map(named).collect()
}

/// The channels that `lists` name.
fn named(lists: &[Stages]) -> impl Iterator<Item = &str> {
    let mut names: Vec<&str> = lists.iter().flat_map(Stages::webhooks).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}

/// Each channel that `lists` name with the key behind it now; one without a key is left out.
pub(crate) fn keys_now(tx: &Tx<'_>, lists: &[Stages]) -> Result<BTreeMap<String, String>, StoreError> {
    let key = |name| Ok((name, channels::key_now(tx, name)?));
    known(named(lists).map(key))
}

/// The same, read outside a transaction.
pub(crate) fn read_keys(
    reader: &Reader<'_>,
    lists: &[Stages],
) -> Result<BTreeMap<String, String>, StoreError> {
    let key = |name| Ok((name, channels::read_key(reader, name)?));
    known(named(lists).map(key))
}

fn known<'a>(
    keys: impl Iterator<Item = Result<(&'a str, Option<ApproverKey>), StoreError>>,
) -> Result<BTreeMap<String, String>, StoreError> {
    let known = |pair: Result<(&str, Option<ApproverKey>), StoreError>| match pair {
        Ok((name, key)) => key.map(|key| Ok((name.to_owned(), key.to_string()))),
        Err(error) => Some(Err(error)),
    };
    keys.filter_map(known).collect()
}

/// A nonce for each of `channels`, which nobody else is told.
pub(crate) fn nonces<'a>(channels: impl Iterator<Item = &'a String>) -> Result<Value, StoreError> {
    let mut nonces = BTreeMap::new();
    for channel in channels {
        let mut random = [0; 32];
        getrandom::fill(&mut random)
            .map_err(|error| StoreError::Refused(format!("no randomness: {error}")))?;
        nonces.insert(channel, URL_SAFE_NO_PAD.encode(random));
    }
    to_json(&nonces)
}
