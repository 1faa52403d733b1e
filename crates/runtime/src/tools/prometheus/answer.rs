//! Reads answers of the Prometheus HTTP API (v1). Pure and total: any bytes give an answer or an error.

use policy::{Timestamp, canonical};
use serde_json::{Map, Value, json};

/// Largest answer that is read, in bytes.
pub const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most series, alerts or rules that are kept.
pub const SERIES_MAX: usize = 100;
/// Most points of one series that are kept: the newest.
pub const POINTS_MAX: usize = 1000;
/// Longest text that is kept, in characters.
const TEXT_CHARS_MAX: usize = 2000;
/// Most labels or annotations of one thing.
const LABELS_MAX: usize = 64;

/// An answer, cut to its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// `vector`, `matrix`, `scalar`, `string`, `alerts`, `rules`.
    pub kind: &'static str,
    /// Series, samples, alerts or rules.
    pub items: Vec<Value>,
    /// Whether something was left out.
    pub truncated: bool,
    /// What Prometheus warned of.
    pub warnings: Vec<String>,
}

/// Why bytes are no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not strict JSON within the limits.
    #[error("not an answer of Prometheus: {0}")]
    Json(String),
    /// JSON of another form.
    #[error("not an answer of Prometheus: `{place}` {what}")]
    Form {
        /// JSON pointer.
        place: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Prometheus answers that it will not.
    #[error("{kind}: {message}")]
    Refused {
        /// `bad_data`, `timeout`, `execution`, …
        kind: String,
        /// In its words.
        message: String,
    },
}

/// Reads the envelope and whatever data is in it.
pub fn parse_response(body: &[u8]) -> Result<Answer, ParseError> {
    let envelope = canonical::parse(body, BYTES_MAX).map_err(|error| ParseError::Json(error.to_string()))?;
    match envelope.get("status").and_then(Value::as_str) {
        Some("success") => (),
        Some("error") => {
            let part = |key: &str| {
                short(
                    envelope.get(key).and_then(Value::as_str).unwrap_or("unknown"),
                    300,
                )
            };
            return Err(ParseError::Refused {
                kind: part("errorType"),
                message: part("error"),
            });
        }
        _ => return form("/status", "is neither `success` nor `error`"),
    }
    let data = envelope.get("data").filter(|d| d.is_object());
    let Some(data) = data else {
        return form("/data", "is not an object");
    };
    let mut answer = if let Some(alerts) = data.get("alerts") {
        alerts_of(alerts)?
    } else if let Some(groups) = data.get("groups") {
        rules_of(groups)?
    } else {
        samples_of(data)?
    };
    let warnings = envelope
        .get("warnings")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    answer.warnings = warnings
        .filter_map(Value::as_str)
        .take(10)
        .map(|w| short(w, 300))
        .collect();
    Ok(answer)
}

impl Answer {
    /// As the result of a call.
    pub fn to_json(&self) -> Value {
        let name = match self.kind {
            "alerts" | "rules" => self.kind,
            _ => "series",
        };
        json!({"type": self.kind, name: self.items, "truncated": self.truncated, "warnings": self.warnings})
    }

    /// A line for people: counts only.
    pub fn summary(&self) -> String {
        let cut = if self.truncated { ", cut" } else { "" };
        match self.kind {
            "alerts" | "rules" => format!("{} {}{cut}", self.items.len(), self.kind),
            _ => format!("{} series ({}){cut}", self.items.len(), self.kind),
        }
    }
}

fn samples_of(data: &Value) -> Result<Answer, ParseError> {
    let result = data.get("result").unwrap_or(&Value::Null);
    match data.get("resultType").and_then(Value::as_str) {
        Some("vector") => series_of("vector", result, |place, one, series| {
            let (time, value) = point(&format!("{place}/value"), one.get("value"))?;
            series.insert("time".to_owned(), rfc3339(time));
            series.insert("value".to_owned(), value);
            Ok(false)
        }),
        Some("matrix") => series_of("matrix", result, range),
        Some(kind @ ("scalar" | "string")) => {
            let kind = if kind == "scalar" { "scalar" } else { "string" };
            let (time, value) = match kind {
                "scalar" => point("/data/result", Some(result))?,
                _ => text_point(result)?,
            };
            let items = vec![json!({"labels": {}, "time": rfc3339(time), "value": value})];
            Ok(Answer {
                kind,
                items,
                truncated: false,
                warnings: Vec::new(),
            })
        }
        _ => form("/data/resultType", "is none of vector, matrix, scalar, string"),
    }
}

/// The points of one series of a matrix, and what runbooks ask of them most: `min`, `max` and `first` of
/// those that are finite, and `last`, which is what it is now: null when the newest point is not finite.
fn range(place: &str, one: &Value, series: &mut Map<String, Value>) -> Result<bool, ParseError> {
    let Some(all) = one.get("values").and_then(Value::as_array) else {
        return form(&format!("{place}/values"), "is not an array");
    };
    let cut = all.len().saturating_sub(POINTS_MAX);
    let mut points = Vec::with_capacity(all.len() - cut);
    let mut finite: Vec<f64> = Vec::new();
    for (index, raw) in all.iter().enumerate().skip(cut) {
        let (time, value) = point(&format!("{place}/values/{index}"), Some(raw))?;
        finite.extend(value.as_f64());
        points.push(json!([time, value]));
    }
    series.insert("min".to_owned(), json!(finite.iter().copied().reduce(f64::min)));
    series.insert("max".to_owned(), json!(finite.iter().copied().reduce(f64::max)));
    series.insert("first".to_owned(), json!(finite.first()));
    let last = points.last().and_then(|point| point.get(1)).cloned();
    series.insert("last".to_owned(), last.unwrap_or_default());
    series.insert("points".to_owned(), Value::Array(points));
    Ok(cut > 0)
}

fn series_of(
    kind: &'static str,
    result: &Value,
    fill: impl Fn(&str, &Value, &mut Map<String, Value>) -> Result<bool, ParseError>,
) -> Result<Answer, ParseError> {
    let Some(all) = result.as_array() else {
        return form("/data/result", "is not an array");
    };
    let mut truncated = all.len() > SERIES_MAX;
    let mut items = Vec::new();
    for (index, one) in all.iter().enumerate().take(SERIES_MAX) {
        let place = format!("/data/result/{index}");
        let mut series = Map::new();
        series.insert(
            "labels".to_owned(),
            labels(&format!("{place}/metric"), one.get("metric"))?,
        );
        if one.get("value").is_none() && one.get("values").is_none() {
            if one.get("histogram").is_none() && one.get("histograms").is_none() {
                return form(&place, "holds neither values nor a histogram");
            }
            // A native histogram: nothing that a number could say.
            series.insert("histogram".to_owned(), Value::Bool(true));
            truncated = true;
        } else {
            truncated |= fill(&place, one, &mut series)?;
        }
        items.push(Value::Object(series));
    }
    Ok(Answer {
        kind,
        items,
        truncated,
        warnings: Vec::new(),
    })
}

fn alerts_of(alerts: &Value) -> Result<Answer, ParseError> {
    let Some(all) = alerts.as_array() else {
        return form("/data/alerts", "is not an array");
    };
    let mut items = Vec::new();
    for (index, one) in all.iter().enumerate().take(SERIES_MAX) {
        let place = format!("/data/alerts/{index}");
        items.push(json!({
            "labels": labels(&format!("{place}/labels"), one.get("labels"))?,
            "annotations": labels(&format!("{place}/annotations"), one.get("annotations"))?,
            "state": said(one, "state"), "activeAt": said(one, "activeAt"), "value": number(said(one, "value").as_str()),
        }));
    }
    Ok(Answer {
        kind: "alerts",
        items,
        truncated: all.len() > SERIES_MAX,
        warnings: Vec::new(),
    })
}

fn rules_of(groups: &Value) -> Result<Answer, ParseError> {
    let Some(groups) = groups.as_array() else {
        return form("/data/groups", "is not an array");
    };
    let mut items = Vec::new();
    let mut truncated = false;
    for (index, group) in groups.iter().enumerate() {
        let Some(rules) = group.get("rules").and_then(Value::as_array) else {
            return form(&format!("/data/groups/{index}/rules"), "is not an array");
        };
        for (number, rule) in rules.iter().enumerate() {
            if items.len() == SERIES_MAX {
                truncated = true;
                break;
            }
            let place = format!("/data/groups/{index}/rules/{number}");
            items.push(json!({
                "group": said(group, "name"), "name": said(rule, "name"), "query": said(rule, "query"),
                "type": said(rule, "type"), "state": said(rule, "state"), "health": said(rule, "health"),
                "lastError": said(rule, "lastError"), "duration": rule.get("duration").filter(|d| d.is_number()),
                "labels": labels(&format!("{place}/labels"), rule.get("labels"))?,
                "annotations": labels(&format!("{place}/annotations"), rule.get("annotations"))?,
                "alerts": rule.get("alerts").and_then(Value::as_array).map_or(0, Vec::len),
            }));
        }
    }
    Ok(Answer {
        kind: "rules",
        items,
        truncated,
        warnings: Vec::new(),
    })
}

/// `[1700000000.123, "0.5"]`: seconds, and a number or null where it is not finite.
fn point(place: &str, raw: Option<&Value>) -> Result<(f64, Value), ParseError> {
    let pair = raw.and_then(Value::as_array).map(Vec::as_slice);
    let Some([time, Value::String(value)]) = pair else {
        return form(place, "is not a pair of time and value");
    };
    let Some(time) = time.as_f64() else {
        return form(place, "is not a pair of time and value");
    };
    if value.parse::<f64>().is_err() {
        return form(place, "does not hold a number");
    }
    Ok((time, number(Some(value))))
}

fn text_point(raw: &Value) -> Result<(f64, Value), ParseError> {
    match raw.as_array().map(Vec::as_slice) {
        Some([time, Value::String(value)]) if time.is_number() => Ok((
            time.as_f64().unwrap_or_default(),
            json!(short(value, TEXT_CHARS_MAX)),
        )),
        _ => form("/data/result", "is not a pair of time and value"),
    }
}

fn number(text: Option<&str>) -> Value {
    text.and_then(|t| t.parse::<f64>().ok())
        .filter(|n| n.is_finite())
        .map_or(Value::Null, |n| json!(n))
}

fn labels(place: &str, raw: Option<&Value>) -> Result<Value, ParseError> {
    let empty = Map::new();
    let map = match raw {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(map)) if map.len() <= LABELS_MAX => map,
        Some(Value::Object(_)) => return form(place, "has too many labels"),
        Some(_) => return form(place, "is not an object"),
    };
    let mut labels = Map::new();
    for (name, value) in map {
        let Some(value) = value.as_str() else {
            return form(place, "holds a label that is not text");
        };
        labels.insert(short(name, 200), json!(short(value, TEXT_CHARS_MAX)));
    }
    Ok(Value::Object(labels))
}

fn said(object: &Value, key: &str) -> Value {
    object
        .get(key)
        .and_then(Value::as_str)
        .map_or(Value::Null, |text| json!(short(text, TEXT_CHARS_MAX)))
}

fn rfc3339(seconds: f64) -> Value {
    // Far beyond every year that RFC 3339 can write; the cast saturates.
    json!(Timestamp::from_ms((seconds * 1000.0) as i64).to_string())
}

fn short(text: &str, limit: usize) -> String {
    text.chars().take(limit).collect()
}

fn form<T>(place: &str, what: &'static str) -> Result<T, ParseError> {
    Err(ParseError::Form {
        place: place.to_owned(),
        what,
    })
}
