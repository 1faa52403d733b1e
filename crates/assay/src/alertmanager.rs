//! Alertmanager's webhook, version 4, read strictly and normalised.
//!
//! What is known is typed, what is not known is let through unread, so that a newer Alertmanager is
//! still understood. Every text in a [`Notification`] comes from outside and is not to be trusted;
//! nothing here judges or redacts it.
//!
//! The format: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>.

use crate::{json, redact};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Limits of what is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Body, in bytes.
    pub bytes: usize,
    /// Nesting.
    pub depth: usize,
    /// Alerts in one notification.
    pub alerts: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 1024 * 1024,
            depth: 16,
            alerts: 1000,
        }
    }
}

/// Whether it burns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does.
    Firing,
    /// It is over.
    Resolved,
}

/// One alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Firing or resolved.
    pub status: Status,
    /// As sent.
    pub labels: BTreeMap<String, String>,
    /// As sent. Untrusted text.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339 as sent.
    pub starts_at: String,
    /// RFC 3339 as sent; the year 1 when it has not ended.
    pub ends_at: String,
    /// As sent.
    pub generator_url: String,
    /// Alertmanager's fingerprint: 16 hexadecimal digits.
    pub fingerprint: String,
}

/// One notification.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// Firing while any alert of the group fires.
    pub status: Status,
    /// Name of the receiver.
    pub receiver: String,
    /// Identity of the group.
    pub group_key: String,
    /// As sent.
    pub group_labels: BTreeMap<String, String>,
    /// As sent.
    pub common_labels: BTreeMap<String, String>,
    /// As sent.
    pub common_annotations: BTreeMap<String, String>,
    /// As sent.
    pub external_url: String,
    /// Alerts that Alertmanager left out.
    pub truncated_alerts: u64,
    /// At least one.
    pub alerts: Vec<Alert>,
}

/// Why a body is refused, and where in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what} at `{place}`")]
pub struct Refused {
    /// JSON pointer, or `line L, column C`.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// Reads a body.
pub fn parse(body: &[u8], limits: Limits) -> Result<Notification, Refused> {
    normalise(&json::read(body, limits.bytes, limits.depth)?, limits)
}

/// Makes a notification of a body that [`json::read`] read.
pub fn normalise(body: &Value, limits: Limits) -> Result<Notification, Refused> {
    let top = Object::of(body, String::new())?;
    let version = top.text("version")?;
    if version != "4" {
        return Err(top.refuse(
            "version",
            &format!("version `{}` is not `4`", redact::line(version, 16)),
        ));
    }
    Ok(Notification {
        status: top.status()?,
        receiver: top.text("receiver")?.to_owned(),
        group_key: top.name("groupKey")?.to_owned(),
        group_labels: top.texts("groupLabels")?,
        common_labels: top.texts("commonLabels")?,
        common_annotations: top.texts("commonAnnotations")?,
        external_url: top.text("externalURL")?.to_owned(),
        truncated_alerts: top.count("truncatedAlerts")?,
        alerts: alerts(&top, limits.alerts)?,
    })
}

fn alerts(top: &Object<'_>, max: usize) -> Result<Vec<Alert>, Refused> {
    let Value::Array(items) = top.value("alerts")? else {
        return Err(top.refuse("alerts", "not an array"));
    };
    if items.is_empty() || items.len() > max {
        return Err(top.refuse("alerts", &format!("{} alerts, not 1 to {max}", items.len())));
    }
    let mut seen = BTreeSet::new();
    let mut alerts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = Object::of(item, format!("/alerts/{index}"))?;
        let alert = alert(&place)?;
        if !seen.insert(alert.fingerprint.clone()) {
            return Err(place.refuse("fingerprint", "the same alert stands in the notification twice"));
        }
        alerts.push(alert);
    }
    Ok(alerts)
}

fn alert(object: &Object<'_>) -> Result<Alert, Refused> {
    Ok(Alert {
        status: object.status()?,
        labels: object.texts("labels")?,
        annotations: object.texts("annotations")?,
        starts_at: object.time("startsAt")?.to_owned(),
        ends_at: object.time("endsAt")?.to_owned(),
        generator_url: object.text("generatorURL")?.to_owned(),
        fingerprint: object.fingerprint()?,
    })
}

/// Longest text, in bytes. Labels and annotations hold sentences, not documents.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Longest name of a label or annotation, in bytes.
const NAME_BYTES_MAX: usize = 1024;

/// An object and the JSON pointer to it, so that every refusal can name its place.
struct Object<'a> {
    members: &'a Map<String, Value>,
    pointer: String,
}

impl<'a> Object<'a> {
    fn of(value: &'a Value, pointer: String) -> Result<Object<'a>, Refused> {
        match value {
            Value::Object(members) => Ok(Object { members, pointer }),
            _ if pointer.is_empty() => Err(Refused {
                place: "/".to_owned(),
                what: "not an object".to_owned(),
            }),
            _ => Err(Refused {
                place: pointer,
                what: "not an object".to_owned(),
            }),
        }
    }

    fn refuse(&self, member: &str, what: &str) -> Refused {
        // Names come from outside: no control characters, no secrets, and not endless.
        let member = redact::line(&member.replace('~', "~0").replace('/', "~1"), 64);
        Refused {
            place: format!("{}/{member}", self.pointer),
            what: what.to_owned(),
        }
    }

    fn value(&self, member: &str) -> Result<&'a Value, Refused> {
        self.members
            .get(member)
            .ok_or_else(|| self.refuse(member, "missing"))
    }

    fn text(&self, member: &str) -> Result<&'a str, Refused> {
        let Value::String(text) = self.value(member)? else {
            return Err(self.refuse(member, "not a string"));
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(self.refuse(member, &format!("longer than {TEXT_BYTES_MAX} bytes")));
        }
        Ok(text)
    }

    /// A text that names something, so it cannot be empty.
    fn name(&self, member: &str) -> Result<&'a str, Refused> {
        let text = self.text(member)?;
        if text.is_empty() {
            Err(self.refuse(member, "empty"))
        } else {
            Ok(text)
        }
    }

    fn texts(&self, member: &str) -> Result<BTreeMap<String, String>, Refused> {
        let object = Object::of(self.value(member)?, format!("{}/{member}", self.pointer))?;
        let mut texts = BTreeMap::new();
        for name in object.members.keys() {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(object.refuse(
                    name,
                    &format!("a name of 1 to {NAME_BYTES_MAX} bytes is expected"),
                ));
            }
            texts.insert(name.clone(), object.text(name)?.to_owned());
        }
        Ok(texts)
    }

    fn status(&self) -> Result<Status, Refused> {
        match self.text("status")? {
            "firing" => Ok(Status::Firing),
            "resolved" => Ok(Status::Resolved),
            _ => Err(self.refuse("status", "neither `firing` nor `resolved`")),
        }
    }

    /// Absent before Alertmanager 0.22, where nothing was left out.
    fn count(&self, member: &str) -> Result<u64, Refused> {
        match self.members.get(member) {
            None => Ok(0),
            Some(value) => value.as_u64().ok_or_else(|| self.refuse(member, "not a count")),
        }
    }

    fn time(&self, member: &str) -> Result<&'a str, Refused> {
        let text = self.text(member)?;
        // jiff also reads a zone in brackets, which RFC 3339 does not know.
        let time = !text.contains('[') && text.parse::<jiff::Timestamp>().is_ok();
        if time {
            Ok(text)
        } else {
            Err(self.refuse(member, "not an RFC 3339 time"))
        }
    }

    fn fingerprint(&self) -> Result<String, Refused> {
        let text = self.text("fingerprint")?;
        let fits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if fits {
            Ok(text.to_ascii_lowercase())
        } else {
            Err(self.refuse("fingerprint", "not 16 hexadecimal digits"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body() -> Value {
        json!({
            "version": "4", "status": "firing", "receiver": "hook", "groupKey": "{}:{alertname=\"HighErrors\"}",
            "groupLabels": {"alertname": "HighErrors"}, "commonLabels": {}, "commonAnnotations": {},
            "externalURL": "http://am:9093",
            "alerts": [{
                "status": "firing", "labels": {"alertname": "HighErrors"}, "annotations": {"summary": "5xx"},
                "startsAt": "2026-11-21T02:09:43.834723Z", "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prom/graph", "fingerprint": "6c61e45b39c6450c",
            }],
        })
    }

    /// The body with the member at `pointer` replaced; `Null` removes it.
    fn with(pointer: &str, value: Value) -> String {
        let mut body = body();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        match body.pointer_mut(parent).unwrap() {
            Value::Object(object) if value.is_null() => drop(object.remove(member)),
            Value::Object(object) => drop(object.insert(member.to_owned(), value)),
            other => other[member.parse::<usize>().unwrap()] = value,
        }
        body.to_string()
    }

    #[test]
    fn every_refusal_names_its_place() {
        let twice = json!([body()["alerts"][0], body()["alerts"][0]]);
        let long = "x".repeat(64 * 1024 + 1);
        #[rustfmt::skip]
        let table = [
            ("not an object",          "[]".to_owned(),                             "not an object at `/`"),
            ("not JSON",               "{".to_owned(),                              "EOF while parsing an object at `line 1, column 1`"),
            ("no version",             with("/version", Value::Null),               "missing at `/version`"),
            ("old version",            with("/version", json!("3")),                "version `3` is not `4` at `/version`"),
            ("version of another type", with("/version", json!(4)),                 "not a string at `/version`"),
            ("unknown status",         with("/status", json!("pending")),           "neither `firing` nor `resolved` at `/status`"),
            ("empty group key",        with("/groupKey", json!("")),                "empty at `/groupKey`"),
            ("labels of another type", with("/groupLabels", json!([])),             "not an object at `/groupLabels`"),
            ("no alerts",              with("/alerts", json!([])),                  "0 alerts, not 1 to 2 at `/alerts`"),
            ("too many alerts",        with("/alerts", json!([1, 2, 3])),           "3 alerts, not 1 to 2 at `/alerts`"),
            ("an alert of another type", with("/alerts/0", json!("x")),             "not an object at `/alerts/0`"),
            ("the same alert twice",   with("/alerts", twice),                      "the same alert stands in the notification twice at `/alerts/1/fingerprint`"),
            ("a label of another type", with("/alerts/0/labels/n", json!(1)),       "not a string at `/alerts/0/labels/n`"),
            ("a long annotation",      with("/alerts/0/annotations/s", json!(long)), "longer than 65536 bytes at `/alerts/0/annotations/s`"),
            ("a name to escape",       with("/alerts/0/labels", json!({"a/b~\u{1}": 1})), "not a string at `/alerts/0/labels/a~1b~0`"),
            ("a name without letters", with("/alerts/0/labels", json!({"": "x"})),  "a name of 1 to 1024 bytes is expected at `/alerts/0/labels/`"),
            ("no time",                with("/alerts/0/startsAt", json!("today")),  "not an RFC 3339 time at `/alerts/0/startsAt`"),
            ("a time with a zone",     with("/alerts/0/endsAt", json!("2026-11-21T02:09:43Z[UTC]")), "not an RFC 3339 time at `/alerts/0/endsAt`"),
            ("no fingerprint",         with("/alerts/0/fingerprint", Value::Null),  "missing at `/alerts/0/fingerprint`"),
            ("a short fingerprint",    with("/alerts/0/fingerprint", json!("6c61")), "not 16 hexadecimal digits at `/alerts/0/fingerprint`"),
            ("a negative count",       with("/truncatedAlerts", json!(-1)),         "not a count at `/truncatedAlerts`"),
        ];
        for (name, body, expected) in table {
            let refused = parse(
                body.as_bytes(),
                Limits {
                    alerts: 2,
                    ..Limits::default()
                },
            )
            .unwrap_err();
            assert_eq!(refused.to_string(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_unknown_is_let_through() {
        let body = with("/newField", json!({"a": [1, 2]}));
        let got = parse(body.as_bytes(), Limits::default()).unwrap();
        assert_eq!(
            (got.status, got.alerts.len(), got.truncated_alerts),
            (Status::Firing, 1, 0)
        );
    }

    #[test]
    fn size_and_depth_are_limited() {
        let large = with("/receiver", json!("x".repeat(1024 * 1024)));
        let what = |body: &str| parse(body.as_bytes(), Limits::default()).unwrap_err().what;
        assert_eq!(what(&large), "body is larger than 1048576 bytes");
        assert_eq!(what(&"[".repeat(100_000)), "nested too deep");
    }
}
