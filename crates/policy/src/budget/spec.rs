//! A budget as it is written: `limits: {money: 5 usd, tokens: 500k, turns: 50}`.

use super::{Budget, Ceiling, Each, Period};
use crate::Branch;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most alerts of a budget.
const ALERTS_MAX: usize = 8;
/// When somebody is told unless it says otherwise, in per cent.
const ALERTS: [u8; 3] = [50, 75, 90];

/// `spec` of a `Budget`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BudgetSpec {
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// `hour`, `day`, `month` or `run`.
    pub per: Period,
    /// `all` (one account for everybody, the default), `agent`, `session` or `incident`.
    #[serde(default)]
    pub each: Each,
    /// At least one.
    pub limits: LimitsSpec,
    /// Per cent at which the channels are told: 50, 75 and 90 unless it says otherwise.
    #[serde(default = "alerts")]
    pub alerts: Vec<u8>,
    /// Per cent from which on calls go one at a time; 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<u8>,
    /// Names of `Channel`s that are told of alerts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// From `metadata`.
    #[serde(skip)]
    pub place: Branch,
}

fn alerts() -> Vec<u8> {
    ALERTS.to_vec()
}

/// Limits as they are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct LimitsSpec {
    /// `5 usd`, `0.25usd`, or a number of dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub money: Option<Value>,
    /// `500k`, `2M`, or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Value>,
    /// Actions that are no calls of a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<Value>,
    /// Calls of a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<Value>,
}

/// Micro-units of `5 usd`, `$0.25`, `0.25`: exact, or refused.
///
/// # Errors
/// What is wrong with it, in words.
pub fn money(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!("`{text}` is no money: write `5 usd` or `0.25 usd`, with at most six digits behind the point")
    };
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.strip_suffix("usd").unwrap_or(&lower).trim();
    let number = number.strip_prefix('$').unwrap_or(number).trim();
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) || part.len() > 6 {
        return Err(wrong());
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| wrong())?
    };
    let part: u64 = format!("{part:0<6}").parse().map_err(|_| wrong())?;
    whole
        .checked_mul(1_000_000)
        .and_then(|micros| micros.checked_add(part))
        .ok_or_else(wrong)
}

/// A whole number, with `k` or `M` for thousands and millions.
///
/// # Errors
/// What is wrong with it, in words.
pub fn quantity(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no number: write `500000`, `500k` or `2M`");
    let text = text.trim();
    let (number, times) = match text.chars().last() {
        Some('k' | 'K') => (text.get(..text.len() - 1).unwrap_or_default(), 1_000),
        Some('m' | 'M') => (text.get(..text.len() - 1).unwrap_or_default(), 1_000_000),
        _ => (text, 1),
    };
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(times).ok_or_else(wrong)
}

impl LimitsSpec {
    fn compile(&self) -> Result<Ceiling, Vec<(String, String)>> {
        let mut wrong = Vec::new();
        let mut read = |name: &str, value: &Option<Value>, read: fn(&str) -> Result<u64, String>| {
            let text = match value.as_ref()? {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            read(&text)
                .map_err(|what| wrong.push((format!("/limits/{name}"), what)))
                .ok()
        };
        let ceiling = Ceiling {
            micros: read("money", &self.money, money),
            tokens: read("tokens", &self.tokens, quantity),
            calls: read("calls", &self.calls, quantity),
            turns: read("turns", &self.turns, quantity),
        };
        if wrong.is_empty() && ceiling == Ceiling::default() {
            wrong.push((
                "/limits".to_owned(),
                "it limits nothing; give money, tokens, calls or turns".to_owned(),
            ));
        }
        match wrong.is_empty() {
            true => Ok(ceiling),
            false => Err(wrong),
        }
    }
}

impl BudgetSpec {
    /// The budget called `name`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn compile(&self, name: &str) -> Result<Budget, Vec<(String, String)>> {
        let mut wrong = Vec::new();
        let ceiling = self
            .limits
            .compile()
            .map_err(|more| wrong.extend(more))
            .unwrap_or_default();
        if self.alerts.len() > ALERTS_MAX {
            wrong.push(("/alerts".to_owned(), format!("at most {ALERTS_MAX}")));
        }
        for (at, percent) in self.alerts.iter().enumerate() {
            if !(1..=100).contains(percent) {
                wrong.push((
                    format!("/alerts/{at}"),
                    format!("{percent} is no per cent from 1 to 100"),
                ));
            }
        }
        if let Some(percent) = self.throttle.filter(|percent| !(1..=100).contains(percent)) {
            wrong.push((
                "/throttle".to_owned(),
                format!("{percent} is no per cent from 1 to 100"),
            ));
        }
        if self.per == Period::Run && matches!(self.each, Each::All | Each::Agent) {
            let what = "a budget per run is of each session or incident: say `each: session`";
            wrong.push(("/each".to_owned(), what.to_owned()));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let mut alerts = self.alerts.clone();
        alerts.sort_unstable();
        alerts.dedup();
        Ok(Budget {
            name: name.to_owned(),
            place: self.place.clone(),
            per: self.per,
            each: self.each,
            ceiling,
            alerts,
            throttle: self.throttle,
            channels: self.channels.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn money_and_quantities_are_exact_or_refused() {
        #[rustfmt::skip]
        let table = [
            ("5 usd", Some(5_000_000)), ("5usd", Some(5_000_000)), ("$0.25", Some(250_000)), ("0.000001 USD", Some(1)),
            (".5", Some(500_000)), ("0.0000001", None), ("-1", None), ("", None), ("usd", None), ("1e3", None),
            ("5 eur", None), ("99999999999999999999", None), ("1.2.3", None),
        ];
        for (text, expected) in table {
            assert_eq!(money(text).ok(), expected, "{text}");
        }
        #[rustfmt::skip]
        let table = [("500k", Some(500_000)), ("2M", Some(2_000_000)), ("7", Some(7)), ("k", None), ("1.5k", None), ("-1", None)];
        for (text, expected) in table {
            assert_eq!(quantity(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        #[rustfmt::skip]
        let table = [
            (json!({"per": "day", "limits": {"money": "5 usd"}}),                                   None),
            (json!({"per": "day", "limits": {"money": 5, "tokens": 1000}}),                         None),
            (json!({"per": "day", "limits": {}}),                                                   Some("/limits it limits nothing")),
            (json!({"per": "day", "limits": {"money": "x"}}),                                       Some("/limits/money `x` is no money")),
            (json!({"per": "day", "limits": {"calls": "1.5"}}),                                     Some("/limits/calls `1.5` is no number")),
            (json!({"per": "day", "limits": {"calls": 1}, "alerts": [50, 101]}),                    Some("/alerts/1 101 is no per cent")),
            (json!({"per": "day", "limits": {"calls": 1}, "throttle": 0}),                          Some("/throttle 0 is no per cent")),
            (json!({"per": "run", "limits": {"calls": 1}}),                                         Some("/each a budget per run")),
            (json!({"per": "run", "each": "session", "limits": {"calls": 1}}),                      None),
        ];
        for (value, expected) in table {
            let spec: BudgetSpec = serde_json::from_value(value.clone()).unwrap();
            let said = spec
                .compile("b")
                .err()
                .map(|wrong| format!("{} {}", wrong[0].0, wrong[0].1));
            match expected {
                None => assert_eq!(said, None, "{value}"),
                Some(part) => assert!(
                    said.as_ref().is_some_and(|said| said.contains(part)),
                    "{value}: {said:?}"
                ),
            }
        }
    }
}
