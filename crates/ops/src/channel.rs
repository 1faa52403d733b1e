//! `Channel` documents and delivery.

use secrets::SecretRef;
use serde::{Deserialize, Serialize};

/// `spec` of a `Channel`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", tag = "type")]
pub enum ChannelSpec {
    /// Into the log of the process.
    Log {},
    /// `POST` of JSON, signed: `X-Cofferdam-Signature: sha256=HEX(HMAC-SHA-256(key, TIMESTAMP "." BODY))`
    /// and `X-Cofferdam-Timestamp`, `X-Cofferdam-Delivery` (the same id on every retry).
    Webhook {
        /// Where to.
        url: String,
        /// The HMAC key.
        secret_ref: SecretRef,
        /// Whether loopback and private addresses may be reached. Default no.
        #[serde(default)]
        private: bool,
    },
}
