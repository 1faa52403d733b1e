//! Signs of life, health and metrics.

use super::call::{Answer, Call, ok};
use super::metrics::header as metric;
use crate::app::App;
use crate::health::Status;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use std::fmt::Write as _;

/// `GET /healthz`: the process answers. Says nothing else.
pub fn alive(_: &App) -> Response {
    (StatusCode::OK, "ok\n").into_response()
}

/// `GET /readyz`: whether it takes work: the journal can be written, what is decided by was compared with
/// it, and nothing is being shut down.
pub fn ready(app: &App) -> Response {
    let store = app.gate.store();
    let writable = store.health() == store::Health::Ready && !store.is_comparing();
    if writable && !*app.draining.borrow() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

/// `GET /api/v1/health`: every part, and the worst of them.
pub async fn health(call: Call) -> Answer {
    ok(&call.app.health())
}

/// Calls of models since the start: how many, their tokens, their cost.
fn models(app: &App, text: &mut String) {
    type Of = fn(&gate::llm::Counted) -> u64;
    let all = app.llm.counted();
    #[rustfmt::skip]
    let metrics: [(&str, &str, Of); 4] = [
        ("cofferdam_model_calls_total", "Calls of models by outcome.", |one| one.calls),
        ("cofferdam_model_input_tokens_total", "Tokens that models read.", |one| one.tokens_input),
        ("cofferdam_model_output_tokens_total", "Tokens that models wrote.", |one| one.tokens_output),
        ("cofferdam_model_cost_micros_total", "What they cost, in millionths of a US dollar.", |one| one.micros),
    ];
    for (name, help, of) in metrics {
        metric(text, name, "counter", help);
        for one in &all {
            let _ = writeln!(
                text,
                "{name}{{model=\"{}\",outcome=\"{}\"}} {}",
                one.model,
                one.outcome,
                of(one)
            );
        }
    }
}

/// `GET /metrics`, for Prometheus.
pub async fn metrics(call: Call) -> Answer {
    let mut text = call.app.metrics.render();
    metric(
        &mut text,
        "cofferdam_journal_entries",
        "gauge",
        "Committed entries of the journal.",
    );
    let _ = writeln!(
        text,
        "cofferdam_journal_entries {}",
        *call.app.gate.store().committed().borrow()
    );
    metric(&mut text, "cofferdam_stops", "gauge", "Kill switches in force.");
    let _ = writeln!(text, "cofferdam_stops {}", call.app.gate.stops().len());
    models(&call.app, &mut text);
    metric(
        &mut text,
        "cofferdam_part_health",
        "gauge",
        "Health of each part: 0 healthy, 1 degraded, 2 unhealthy.",
    );
    for part in call.app.health().parts {
        let value = match part.status {
            Status::Healthy => 0,
            Status::Degraded => 1,
            Status::Unhealthy => 2,
        };
        let _ = writeln!(text, "cofferdam_part_health{{part=\"{}\"}} {value}", part.name);
    }
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
