//! Counters, as Prometheus reads them. Unauthenticated and malformed requests are counted here and
//! nowhere else, so that they cannot fill the journal.

use http::StatusCode;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Why a webhook was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Could not be read.
    Malformed,
    /// Not for a trigger that exists.
    UnknownTrigger,
    /// Too many at once.
    Overloaded,
    /// The journal could not take it.
    Unavailable,
}

impl Refused {
    const ALL: [Refused; 4] = [
        Refused::Malformed,
        Refused::UnknownTrigger,
        Refused::Overloaded,
        Refused::Unavailable,
    ];

    /// By the status that the sender saw.
    #[must_use]
    pub fn of(status: StatusCode) -> Refused {
        match status {
            StatusCode::FORBIDDEN => Refused::UnknownTrigger,
            StatusCode::TOO_MANY_REQUESTS => Refused::Overloaded,
            status if status.is_client_error() => Refused::Malformed,
            _ => Refused::Unavailable,
        }
    }
    fn name(self) -> &'static str {
        match self {
            Refused::Malformed => "malformed",
            Refused::UnknownTrigger => "unknown_trigger",
            Refused::Overloaded => "overloaded",
            Refused::Unavailable => "unavailable",
        }
    }
}

/// All counters of the process. Zero at start.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By path of the route, never by path as sent: labels stay few.
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
    unauthenticated: AtomicU64,
    webhooks_taken: AtomicU64,
    webhooks_refused: [AtomicU64; Refused::ALL.len()],
    panics: AtomicU64,
}

impl Metrics {
    /// A request to a route was answered.
    pub fn answered(&self, method: &'static str, path: &'static str, status: StatusCode) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((method, path, status.as_u16())).or_default() += 1;
    }
    /// No token, or one that does not hold.
    pub fn unauthenticated(&self) {
        self.unauthenticated.fetch_add(1, Ordering::Relaxed);
    }
    /// A notification was taken.
    pub fn webhook_taken(&self) {
        self.webhooks_taken.fetch_add(1, Ordering::Relaxed);
    }
    /// A notification was not taken.
    pub fn webhook_refused(&self, why: Refused) {
        for (counter, reason) in self.webhooks_refused.iter().zip(Refused::ALL) {
            if reason == why {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    /// A handler panicked: a fault of ours.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// In the text format of Prometheus, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        header(
            &mut text,
            "cofferdam_requests_total",
            "counter",
            "Answered requests by route and status.",
        );
        for ((method, path, status), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner)
        {
            let _ = writeln!(
                text,
                "cofferdam_requests_total{{method=\"{method}\",route=\"{path}\",status=\"{status}\"}} {count}"
            );
        }
        let single = [
            (
                "cofferdam_unauthenticated_total",
                "Requests without a valid token.",
                &self.unauthenticated,
            ),
            (
                "cofferdam_webhooks_taken_total",
                "Notifications taken.",
                &self.webhooks_taken,
            ),
            (
                "cofferdam_panics_total",
                "Requests that failed by a panic.",
                &self.panics,
            ),
        ];
        for (name, help, counter) in single {
            header(&mut text, name, "counter", help);
            let _ = writeln!(text, "{name} {}", counter.load(Ordering::Relaxed));
        }
        header(
            &mut text,
            "cofferdam_webhooks_refused_total",
            "counter",
            "Notifications refused, by reason.",
        );
        for (counter, reason) in self.webhooks_refused.iter().zip(Refused::ALL) {
            let count = counter.load(Ordering::Relaxed);
            let _ = writeln!(
                text,
                "cofferdam_webhooks_refused_total{{reason=\"{}\"}} {count}",
                reason.name()
            );
        }
        text
    }
}

/// `# HELP` and `# TYPE` of one metric.
pub fn header(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_rendered_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.answered("GET", "/api/v1/tasks/{id}", StatusCode::NOT_FOUND);
        metrics.answered("GET", "/api/v1/tasks/{id}", StatusCode::NOT_FOUND);
        metrics.unauthenticated();
        metrics.webhook_refused(Refused::of(StatusCode::PAYLOAD_TOO_LARGE));
        let text = metrics.render();
        for line in [
            "# TYPE cofferdam_requests_total counter",
            "cofferdam_requests_total{method=\"GET\",route=\"/api/v1/tasks/{id}\",status=\"404\"} 2",
            "cofferdam_unauthenticated_total 1",
            "cofferdam_webhooks_refused_total{reason=\"malformed\"} 1",
            "cofferdam_webhooks_refused_total{reason=\"overloaded\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
