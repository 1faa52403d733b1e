//! A request as the upstream hears it: as the client wrote it, or in the protocol that the model takes.

use super::REQUEST_BYTES_MAX;
use super::spec::Model;
use crate::egress::answer::Refused;
use bytes::Bytes;
use serde_json::{Value, json};
use std::borrow::Cow;
use wire::provider::Dialect;
use wire::translate::{self, Context, Note, Stream};
use wire::{Limits, Protocol, Request};

/// Protocols that others are put into, the better one first.
const TARGETS: [Protocol; 2] = [Protocol::Chat, Protocol::Messages];

/// See the module.
#[derive(Debug)]
pub(super) struct Spoken<'r> {
    /// What goes out, but for the three changes.
    pub request: Cow<'r, Request>,
    /// What the client speaks, where that is another protocol.
    pub translation: Option<Translation>,
}

/// Between two protocols.
#[derive(Clone, Debug)]
pub(super) struct Translation {
    pub client: Protocol,
    pub context: Context,
    notes: Vec<Note>,
}

impl<'r> Spoken<'r> {
    /// `request` for `model`; `created` is the time in seconds since 1970, which answers of OpenAI's protocols say.
    ///
    /// # Errors
    /// The model speaks nothing that it can be said in, or something of it cannot.
    pub fn of(request: &'r Request, model: &Model, created: u64) -> Result<Spoken<'r>, Refused> {
        let client = request.protocol();
        if model.speaks.contains(&client) {
            return Ok(Spoken {
                request: Cow::Borrowed(request),
                translation: None,
            });
        }
        let refused = |why: String| {
            let what = format!(
                "model `{}` takes no calls of the kind `{}`: {why}",
                model.name,
                client.name()
            );
            Refused::new(400, "not_translated", what)
        };
        let target = TARGETS.into_iter().find(|target| model.speaks.contains(target));
        let target = target.ok_or_else(|| refused("nor of one that it could be put into".to_owned()))?;
        let dialect = Dialect {
            older_cap: model.provider.knows_older_cap(),
            ..Dialect::from(target)
        };
        let translated = translate::request(request, dialect).map_err(|all| {
            let told: Vec<String> = all.iter().take(8).map(ToString::to_string).collect();
            refused(told.join("; "))
        })?;
        let limits = Limits {
            bytes: REQUEST_BYTES_MAX.saturating_mul(2),
            ..Limits::default()
        };
        let parsed =
            Request::parse(target, translated.body, limits).map_err(|fault| refused(fault.to_string()))?;
        Ok(Spoken {
            request: Cow::Owned(parsed),
            translation: Some(Translation {
                client,
                context: Context {
                    created,
                    wants_usage: request.wants_usage(),
                },
                notes: translated.notes,
            }),
        })
    }
}

impl Translation {
    /// For the record.
    pub fn told(&self) -> Value {
        let notes = self
            .notes
            .iter()
            .map(|note| json!({ "at": note.pointer, "what": note.what }));
        json!({ "from": self.client.name(), "notes": notes.collect::<Vec<_>>() })
    }

    /// An answer that is no stream.
    pub fn answer(&self, from: Protocol, body: &Bytes) -> Result<Bytes, String> {
        let told = translate::answer(from, self.client, body, &self.context);
        told.map(Bytes::from).map_err(|untold| untold.to_string())
    }

    /// A stream.
    pub fn stream(&self, from: Protocol) -> Result<Stream, String> {
        Stream::new(from, self.client, self.context).map_err(|untold| untold.to_string())
    }
}
