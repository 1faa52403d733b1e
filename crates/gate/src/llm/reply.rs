//! What a client is told: an answer, a stream, or a refusal in the shape of the protocol it speaks.

use crate::egress::answer::Refused;
use bytes::Bytes;
use tokio::sync::mpsc;
use wire::Protocol;
use wire::failure::{Failure, error_body, error_headers};

/// The longest time that clients are told to wait for by themselves, in seconds: past it they are told not to try again.
const PATIENCE_SECONDS: u32 = 60;

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// What comes.
    pub body: Body,
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// As it comes; the end of the channel is the end of the body. Dropped, the upstream is told to end.
    Stream(mpsc::Receiver<Bytes>),
}

/// How the failure of a refusal reads.
pub(super) fn failure<'a>(refused: &'a Refused, message: &'a str, reference: Option<&'a str>) -> Failure<'a> {
    Failure {
        status: refused.status,
        code: refused.code,
        message,
        reference,
        retry_after: refused
            .retry_after
            .filter(|seconds| *seconds <= PATIENCE_SECONDS)
            .map(u64::from),
    }
}

/// A refusal, with what would change it.
pub(super) fn refusal(protocol: Protocol, refused: &Refused) -> Reply {
    let (message, reference) = told(refused);
    let failure = failure(refused, &message, reference.as_deref());
    let mut headers: Vec<(String, String)> = error_headers(&failure)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    if let (None, Some(seconds)) = (failure.retry_after, refused.retry_after) {
        headers.push(("retry-after".to_owned(), seconds.to_string()));
    }
    headers.push(("cofferdam-reason".to_owned(), refused.code.to_owned()));
    if let Some(entry) = refused.entry {
        headers.push(("cofferdam-entry".to_owned(), entry.to_string()));
    }
    Reply {
        status: refused.status,
        headers,
        body: Body::Whole(error_body(protocol.family(), &failure).into()),
    }
}

/// The text for people, and where the journal says more.
pub(super) fn told(refused: &Refused) -> (String, Option<String>) {
    let message = match &refused.remedy {
        Some(remedy) => format!("{} ({remedy})", refused.message),
        None => refused.message.clone(),
    };
    (message, refused.entry.map(|entry| format!("entry {entry}")))
}
