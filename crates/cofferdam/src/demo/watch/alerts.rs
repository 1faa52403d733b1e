//! Alert rules and Alertmanager's webhook, version 4.
//!
//! Pure: time is an argument, and what is to be sent is returned.

use super::promql::Expression;
use super::series::Series;
use policy::Timestamp;
use serde_json::{Map, Value, json};

/// An alert rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `alertname`.
    pub name: &'static str,
    /// PromQL; the alert fires while this has a value.
    pub query: &'static str,
    /// How long it has to hold, in milliseconds.
    pub for_ms: i64,
    /// `critical`, `warning`, `info`.
    pub severity: &'static str,
    /// What the value means: `{value}` is replaced.
    pub summary: &'static str,
    /// What the value is multiplied with before it is shown.
    pub scale: f64,
}

/// What was sent to the webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// `alertname`.
    pub alert: String,
    /// `firing` or `resolved`.
    pub status: String,
    /// In words.
    pub summary: String,
    /// The whole payload.
    pub payload: Value,
    /// The platform's answer, and its HTTP status.
    pub answer: Value,
    /// 200, or 0 if there was no answer.
    pub http_status: u16,
}

/// A rule and where its alert stands.
#[derive(Debug)]
pub(super) struct Alert {
    rule: Rule,
    expression: Expression,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Inactive,
    Pending { since: i64, value: f64 },
    Firing { since: i64, value: f64 },
}

/// Where alerts come from, as labels and links say it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Host and port of the patient.
    pub instance: String,
    /// Base URL of this stand-in.
    pub url: String,
}

impl Alert {
    pub(super) fn new(rule: Rule) -> Result<Alert, String> {
        let expression = Expression::parse(rule.query)?;
        Ok(Alert {
            rule,
            expression,
            state: State::Inactive,
        })
    }

    /// Evaluates; gives the payload when the alert began or ceased to fire.
    pub(super) fn evaluate(&mut self, series: &Series, now: Timestamp, target: &Target) -> Option<Value> {
        let value = self
            .expression
            .at(series, now.ms())
            .first()
            .map(|(_, value)| *value)
            .filter(|v| v.is_finite());
        let before = self.state;
        self.state = match (before, value) {
            (State::Inactive, Some(value)) => State::Pending {
                since: now.ms(),
                value,
            },
            (State::Pending { since, .. }, Some(value)) if now.ms() - since >= self.rule.for_ms => {
                State::Firing {
                    since: now.ms(),
                    value,
                }
            }
            (State::Pending { since, .. }, Some(value)) => State::Pending { since, value },
            (State::Firing { since, .. }, Some(value)) => State::Firing { since, value },
            (_, None) => State::Inactive,
        };
        match (before, self.state) {
            (State::Pending { .. }, State::Firing { since, value }) => {
                Some(self.payload(since, value, None, target))
            }
            (State::Firing { since, value }, State::Inactive) => {
                Some(self.payload(since, value, Some(now), target))
            }
            _ => None,
        }
    }

    fn labels(&self, target: &Target) -> Map<String, Value> {
        let labels = [
            ("alertname", self.rule.name),
            ("instance", target.instance.as_str()),
            ("job", "shop"),
            ("service", "shop"),
            ("severity", self.rule.severity),
        ];
        labels
            .into_iter()
            .map(|(k, v)| (k.to_owned(), json!(v)))
            .collect()
    }

    fn annotations(&self, value: f64) -> Value {
        let shown = format!("{:.0}", value * self.rule.scale);
        json!({ "summary": self.rule.summary.replace("{value}", &shown) })
    }

    fn payload(&self, since: i64, value: f64, ended: Option<Timestamp>, target: &Target) -> Value {
        let labels = self.labels(target);
        let annotations = self.annotations(value);
        let group = json!({ "alertname": self.rule.name, "service": "shop" });
        let status = if ended.is_some() { "resolved" } else { "firing" };
        json!({
            "version": "4",
            "receiver": "cofferdam",
            "status": status,
            "groupKey": format!("{{}}:{{alertname=\"{}\", service=\"shop\"}}", self.rule.name),
            "groupLabels": group,
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": target.url,
            "truncatedAlerts": 0,
            "alerts": [{
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": Timestamp::from_ms(since).to_string(),
                "endsAt": ended.map_or("0001-01-01T00:00:00Z".to_owned(), |t| t.to_string()),
                "generatorURL": format!("{}/graph?g0.expr={}", target.url, crate::cli::client::segment(self.rule.query)),
                "fingerprint": fingerprint(&labels),
            }],
        })
    }

    /// As `/api/v1/alerts` has it; nothing while inactive.
    pub(super) fn as_active(&self, target: &Target) -> Option<Value> {
        let (state, since, value) = match self.state {
            State::Inactive => return None,
            State::Pending { since, value } => ("pending", since, value),
            State::Firing { since, value } => ("firing", since, value),
        };
        Some(json!({
            "labels": self.labels(target), "annotations": self.annotations(value), "state": state,
            "activeAt": Timestamp::from_ms(since).to_string(), "value": value.to_string(),
        }))
    }

    /// As `/api/v1/rules` has it.
    pub(super) fn as_rule(&self, target: &Target) -> Value {
        let active: Vec<Value> = self.as_active(target).into_iter().collect();
        let state = match self.state {
            State::Inactive => "inactive",
            State::Pending { .. } => "pending",
            State::Firing { .. } => "firing",
        };
        json!({
            "name": self.rule.name, "query": self.rule.query, "duration": self.rule.for_ms as f64 / 1000.0,
            "labels": {"severity": self.rule.severity}, "annotations": {"summary": self.rule.summary},
            "alerts": active, "health": "ok", "type": "alerting", "state": state,
        })
    }

    /// Name, summary and status of a payload that [`Alert::evaluate`] gave.
    pub(super) fn said(payload: &Value) -> (String, String, String) {
        let text = |pointer| {
            payload
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        (
            text("/groupLabels/alertname"),
            text("/commonAnnotations/summary"),
            text("/status"),
        )
    }
}

/// Prometheus's fingerprint of a label set: FNV-1a, 64 bits, over names and values in order of name,
/// each ended by the byte 255 (`model/labelset.go` of `prometheus/common`).
fn fingerprint(labels: &Map<String, Value>) -> String {
    let mut names: Vec<&String> = labels.keys().collect();
    names.sort();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for byte in bytes.iter().chain(&[255]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for name in names {
        add(name.as_bytes());
        add(labels
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .as_bytes());
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::super::series::Labels;
    use super::*;

    #[test]
    fn the_fingerprint_is_the_one_of_alertmanager() {
        // From notifications of a real Alertmanager.
        let watchdog = json!({"alertname": "Watchdog", "severity": "none"});
        assert_eq!(fingerprint(watchdog.as_object().unwrap()), "448881ef475b9b26");
        let down = json!({"alertname": "InstanceDown", "cluster": "prod", "instance": "10.0.0.0:9100",
            "job": "node", "severity": "critical"});
        assert_eq!(fingerprint(down.as_object().unwrap()), "3350dab76226e055");
    }

    #[test]
    fn an_alert_fires_after_its_time_and_ends_at_once() {
        let rule = Rule {
            name: "Bad",
            query: "bad > 0.5",
            for_ms: 400,
            severity: "critical",
            summary: "{value} % are bad",
            scale: 100.0,
        };
        let target = Target {
            instance: "i".into(),
            url: "http://w".into(),
        };
        let mut alert = Alert::new(rule).unwrap();
        let mut series = Series::default();
        let mut seen = Vec::new();
        for (at, value) in [
            (0, 0.0),
            (200, 0.9),
            (400, 0.9),
            (600, 0.8),
            (800, 0.8),
            (1000, 0.1),
            (1200, 0.1),
        ] {
            series.add_one(at, Labels::from([("__name__".into(), "bad".into())]), value);
            if let Some(payload) = alert.evaluate(&series, Timestamp::from_ms(at), &target) {
                let (name, summary, status) = Alert::said(&payload);
                seen.push(format!("{at}: {name} {status}, {summary}"));
                assert!(
                    assay::alertmanager::parse(payload.to_string().as_bytes(), Default::default()).is_ok()
                );
            }
        }
        assert_eq!(
            seen,
            [
                "600: Bad firing, 80 % are bad",
                "1000: Bad resolved, 80 % are bad"
            ]
        );
    }
}
