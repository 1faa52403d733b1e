//! The door at which a delegation is redeemed: an exchange of tokens in the shape of RFC 8693, with a proof
//! of possession in the shape of RFC 9449. Whoever calls is known by nothing but what they show.

use super::call::{Answer, json as answer};
use super::problem::ApiError;
use super::routes::Shared;
use crate::app::App;
use bytes::Bytes;
use gate::delegations::proof::Request;
use gate::{RedeemError, Shown};
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::json;
use std::net::IpAddr;

/// `POST` here.
pub const PATH: &str = "/api/v1/token";
/// RFC 8693, 2.1.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693, 3.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// RFC 8693, 3.
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
/// Longest form, in bytes: the longest token, and what stands around it.
pub const FORM_BYTES_MAX: usize = 40 * 1024;
/// Redemptions that are judged at once, since anybody may ask for one.
pub(super) const AT_ONCE_MAX: usize = 4;

/// A request that nobody vouches for.
pub struct Bare {
    /// The platform.
    pub app: Shared,
    /// From the path, by name.
    pub parameters: Vec<(String, String)>,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, at most [`FORM_BYTES_MAX`] long.
    pub body: Bytes,
}

impl Bare {
    /// A parameter of the path. Empty if the route has none of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &str {
        let mut parameters = self.parameters.iter();
        parameters
            .find(|(other, _)| other == name)
            .map_or("", |(_, value)| value)
    }

    /// A header that is given once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    grant_type: String,
    subject_token: String,
    subject_token_type: String,
    requested_token_type: Option<String>,
}

/// `POST /api/v1/token`: 200 with a token of a few minutes, or 400 with the reason, as RFC 6749, 5.2 and RFC 9457 have it.
pub async fn redeem(bare: Bare) -> Answer {
    let Ok(_slot) = bare.app.doors.redeeming.try_acquire() else {
        return Err(ApiError::overloaded(
            "others are redeeming; try again when they have",
        ));
    };
    let form = match form(&bare) {
        Ok(form) => form,
        Err(what) => return refused("invalid_request", what),
    };
    if form.grant_type != GRANT {
        return refused(
            "unsupported_grant_type",
            &format!("grant_type has to be `{GRANT}`"),
        );
    }
    let asks = form.requested_token_type.as_deref().unwrap_or(ACCESS);
    if form.subject_token_type != JWT || asks != ACCESS {
        let what =
            format!("subject_token_type has to be `{JWT}`, and requested_token_type `{ACCESS}` or absent");
        return refused("invalid_request", &what);
    }
    let (host, proof) = (bare.header("host"), bare.header("dpop"));
    let (Some(host), Some(proof)) = (host, proof) else {
        return refused("invalid_dpop_proof", "send one proof in the header `DPoP`");
    };
    if !is_ours(&bare.app, host) {
        return refused(
            "invalid_dpop_proof",
            "this server does not know itself by that name: `up --allow-host NAME` tells it",
        );
    }
    let path = format!("{}{PATH}", bare.app.below);
    let request = Request {
        method: "POST",
        host,
        path: &path,
    };
    let shown = Shown {
        chain: &form.subject_token,
        proof,
        request,
    };
    match bare.app.gate.redeem(shown).await {
        Ok((redeemed, secret)) => {
            let text = std::str::from_utf8(secret.expose()).map_err(|error| ApiError::internal(&error))?;
            let left = redeemed.until.since_ms(bare.app.clock.now()).div_euclid(1000);
            answer(
                StatusCode::OK,
                &json!({
                    "access_token": text, "issued_token_type": ACCESS, "token_type": "Bearer", "expires_in": left,
                    "token": redeemed.token, "agent": redeemed.agent, "delegation": redeemed.delegation,
                }),
            )
        }
        Err(RedeemError::Store(error)) => Err(error.into()),
        Err(error @ RedeemError::Changing) => Err(ApiError::conflict(error.to_string())),
        Err(error @ (RedeemError::Proof(_) | RedeemError::NotHolder)) => {
            refused("invalid_dpop_proof", &error.to_string())
        }
        Err(error) => refused("invalid_grant", &error.to_string()),
    }
}

/// Whether `host`, which the sender chooses, means this server: a name that it was told, or the address that
/// it listens at. A proof that was made for another server is for another name, and nobody who received it
/// there can pass it off as ours by sending that name along.
fn is_ours(app: &App, host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    if app.hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return true;
    }
    let own = app.address.ip();
    let near = own.is_loopback() || own.is_unspecified();
    let here = match name.parse::<IpAddr>() {
        Ok(ip) => ip == own || (ip.is_loopback() && near),
        Err(_) => name.eq_ignore_ascii_case("localhost") && near,
    };
    let usual = if app.tls.is_some() { 443 } else { 80 };
    here && authority.port_u16().unwrap_or(usual) == app.address.port()
}

/// The body as a form. A form is spelled as a query is.
fn form(bare: &Bare) -> Result<Form, &'static str> {
    let kind = bare
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    if kind.and_then(|kind| kind.split(';').next()) != Some("application/x-www-form-urlencoded") {
        return Err("send a form: application/x-www-form-urlencoded");
    }
    let text = std::str::from_utf8(&bare.body).map_err(|_| "the form is not UTF-8")?;
    let uri: Uri = format!("/?{text}")
        .parse()
        .map_err(|_| "the form is not url-encoded")?;
    let wanted = "the form has to have grant_type, subject_token and subject_token_type, and nothing else";
    let form = axum::extract::Query::<Form>::try_from_uri(&uri).map_err(|_| wanted)?;
    Ok(form.0)
}

fn refused(error: &str, description: &str) -> Answer {
    answer(
        StatusCode::BAD_REQUEST,
        &json!({
            "error": error, "error_description": description,
            "title": "Bad request", "status": 400, "code": error, "detail": description,
        }),
    )
}
