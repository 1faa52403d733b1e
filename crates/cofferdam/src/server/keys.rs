//! The public key that delegations are checked by, for those who check them without asking the server.
//!
//! Never says anything of a private key, nor which agents there are.

use crate::app::App;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};

/// `GET /.well-known/jwks.json`: the organization's key as a JWK Set (RFC 7517, RFC 8037), with the audience of its
/// delegations, which readers of JWK Sets that do not know the member pass over.
pub fn jwks(app: &App) -> Response {
    match app.gate.organization_key() {
        Ok(key) => Json(set(&key, app.gate.store().origin())).into_response(),
        Err(error) => {
            tracing::warn!(%error, "the organization's key cannot be shown");
            (StatusCode::SERVICE_UNAVAILABLE, "no key\n").into_response()
        }
    }
}

fn set(key: &[u8; 32], audience: &str) -> Value {
    json!({
        "audience": audience,
        "keys": [{
            "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(key), "kid": policy::key_id(key),
            "alg": "EdDSA", "use": "sig",
        }],
    })
}
