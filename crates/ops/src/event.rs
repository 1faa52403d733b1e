//! The input of an investigation: what a runbook sees as `event`.
//!
//! Alert text is in it as it came, because a runbook has to query by exact labels. It is untrusted,
//! and stands in an encrypted payload, never in a leaf.

use crate::board::Record;
use assay::alertmanager::{Alert, Notification, Status};
use policy::Timestamp;
use serde_json::{Value, json};

/// `{now, incident, alert, alerts, group, trigger}`. `notification` is missing when it was erased.
pub(crate) fn input(record: &Record, notification: Option<&Notification>, now: Timestamp) -> Value {
    let alerts: Vec<&Alert> = notification
        .map(|all| all.alerts.iter().collect())
        .unwrap_or_default();
    let view = &record.view;
    // The one that the incident is named after: the worst that fires. See `Facts`.
    let firing = alerts.iter().filter(|alert| alert.status == Status::Firing);
    let first = firing
        .min_by_key(|alert| crate::intake::rank(alert))
        .or(alerts.first());
    json!({
        "now": now,
        "incident": {
            "id": view.id,
            "severity": view.severity,
            "opened": view.opened,
            "title": view.title,
            "onset": record.onset.unwrap_or(view.opened),
        },
        "alert": first.map_or(Value::Null, |first| alert(first)),
        "alerts": alerts.iter().map(|one| alert(one)).collect::<Vec<_>>(),
        "group": notification.map_or(Value::Null, |all| json!({
            "key": all.group_key,
            "labels": all.group_labels,
            "commonLabels": all.common_labels,
            "commonAnnotations": all.common_annotations,
            "externalURL": all.external_url,
            "truncatedAlerts": all.truncated_alerts,
        })),
        "trigger": view.trigger,
    })
}

fn alert(alert: &Alert) -> Value {
    json!({
        "name": alert.labels.get("alertname"),
        "status": if alert.status == Status::Firing { "firing" } else { "resolved" },
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": alert.starts_at,
        "fingerprint": alert.fingerprint,
        "generatorURL": alert.generator_url,
    })
}
