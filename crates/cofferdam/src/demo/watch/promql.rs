//! The part of PromQL that the demo uses: selectors with `=` and `!=`, `rate`, `sum` with `by`, `/`,
//! `*`, comparison with a number, and numbers.

use super::series::{Labels, Series};
use std::collections::BTreeMap;

/// How long a sample counts as the present value, in milliseconds.
const STALE_MS: i64 = 5_000;
/// Deepest nesting.
const DEPTH_MAX: u32 = 16;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// `1.5`
    Number(f64),
    /// `name{label="value"}`
    Selector(Selector),
    /// `rate(selector[2s])`; the window in milliseconds.
    Rate(Selector, i64),
    /// `sum by (labels) (expression)`
    Sum(Vec<String>, Box<Expression>),
    /// `left OP right`
    Binary(Box<Expression>, Operator, Box<Expression>),
}

/// Between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `/`
    Divide,
    /// `*`
    Multiply,
    /// `>`
    Above,
    /// `<`
    Below,
}

/// Which series: label, whether it has to be equal, value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<(String, bool, String)>);

/// One series of an answer. A number is one without labels.
pub type Value = (Labels, f64);

impl Expression {
    /// Reads an expression; says what it does not understand.
    pub fn parse(text: &str) -> Result<Expression, String> {
        let mut parser = Parser { rest: text, depth: 0 };
        let expression = parser.comparison()?;
        match parser.rest.trim() {
            "" => Ok(expression),
            rest => Err(format!(
                "this stand-in for Prometheus does not understand `{rest}`"
            )),
        }
    }

    /// Evaluates at a time.
    #[must_use]
    pub fn at(&self, series: &Series, now_ms: i64) -> Vec<Value> {
        match self {
            Expression::Number(number) => vec![(Labels::new(), *number)],
            Expression::Selector(selector) => series
                .select(|labels| selector.covers(labels))
                .filter_map(|(labels, samples)| {
                    let (at, value) = samples.iter().rev().find(|(at, _)| *at <= now_ms)?;
                    (now_ms - at <= STALE_MS).then(|| (labels.clone(), *value))
                })
                .collect(),
            Expression::Rate(selector, window_ms) => series
                .select(|labels| selector.covers(labels))
                .filter_map(|(labels, samples)| {
                    let within = samples
                        .iter()
                        .filter(|(at, _)| *at > now_ms - window_ms && *at <= now_ms);
                    Some((without_name(labels), rate(within)?))
                })
                .collect(),
            Expression::Sum(by, inner) => {
                let mut sums: BTreeMap<Labels, f64> = BTreeMap::new();
                for (labels, value) in inner.at(series, now_ms) {
                    let kept = labels.into_iter().filter(|(name, _)| by.contains(name)).collect();
                    *sums.entry(kept).or_default() += value;
                }
                sums.into_iter().collect()
            }
            Expression::Binary(left, operator, right) => {
                let right = right.at(series, now_ms);
                let join = |(labels, left): Value| {
                    let labels = without_name(&labels);
                    let matching = |(other, _): &&Value| other.is_empty() || without_name(other) == labels;
                    let right = right.iter().find(matching).map(|(_, value)| *value)?;
                    operator.apply(left, right).map(|value| (labels, value))
                };
                left.at(series, now_ms).into_iter().filter_map(join).collect()
            }
        }
    }
}

impl Operator {
    /// A comparison gives the left side or nothing, as in Prometheus.
    fn apply(self, left: f64, right: f64) -> Option<f64> {
        match self {
            Operator::Divide => Some(left / right),
            Operator::Multiply => Some(left * right),
            Operator::Above => (left > right).then_some(left),
            Operator::Below => (left < right).then_some(left),
        }
    }
}

impl Selector {
    fn covers(&self, labels: &Labels) -> bool {
        self.0
            .iter()
            .all(|(name, equal, value)| (labels.get(name).map_or("", String::as_str) == value) == *equal)
    }
}

fn without_name(labels: &Labels) -> Labels {
    labels
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// Growth per second; a counter that fell began again at zero. Needs two samples.
fn rate<'s>(mut samples: impl Iterator<Item = &'s (i64, f64)>) -> Option<f64> {
    let (first, value) = *samples.next()?;
    let (mut until, mut last, mut growth) = (first, value, 0.0);
    for &(at, value) in samples {
        growth += if value >= last { value - last } else { value };
        (until, last) = (at, value);
    }
    (until > first).then(|| growth * 1000.0 / (until - first) as f64)
}

struct Parser<'t> {
    rest: &'t str,
    depth: u32,
}

impl Parser<'_> {
    fn comparison(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("nested too deep".into());
        }
        let left = self.product()?;
        let found = match () {
            () if self.take(">") => Some(Operator::Above),
            () if self.take("<") => Some(Operator::Below),
            () => None,
        };
        let whole = match found {
            Some(operator) => Expression::Binary(Box::new(left), operator, Box::new(self.product()?)),
            None => left,
        };
        self.depth -= 1;
        Ok(whole)
    }

    fn product(&mut self) -> Result<Expression, String> {
        let mut left = self.atom()?;
        loop {
            let operator = match () {
                () if self.take("/") => Operator::Divide,
                () if self.take("*") => Operator::Multiply,
                () => return Ok(left),
            };
            left = Expression::Binary(Box::new(left), operator, Box::new(self.atom()?));
        }
    }

    fn atom(&mut self) -> Result<Expression, String> {
        if self.take("(") {
            let inner = self.comparison()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.rest.trim_start().starts_with(|c: char| c.is_ascii_digit()) {
            let number = self.while_char(|c| c.is_ascii_digit() || c == '.');
            return number
                .parse()
                .map(Expression::Number)
                .map_err(|_| format!("`{number}` is no number"));
        }
        let word = self.word()?;
        match word.as_str() {
            "sum" => self.sum(),
            "rate" => {
                self.expect("(")?;
                let name = self.word()?;
                let selector = self.selector(name)?;
                self.expect("[")?;
                let window = self.duration()?;
                self.expect("]")?;
                self.expect(")")?;
                Ok(Expression::Rate(selector, window))
            }
            _ => Ok(Expression::Selector(self.selector(word)?)),
        }
    }

    fn sum(&mut self) -> Result<Expression, String> {
        let mut by = Vec::new();
        if self.take("by") {
            self.expect("(")?;
            while !self.take(")") {
                by.push(self.word()?);
                self.take(",");
            }
        }
        self.expect("(")?;
        let inner = self.comparison()?;
        self.expect(")")?;
        Ok(Expression::Sum(by, Box::new(inner)))
    }

    fn selector(&mut self, name: String) -> Result<Selector, String> {
        let mut matchers = vec![("__name__".to_owned(), true, name)];
        if self.take("{") {
            while !self.take("}") {
                let label = self.word()?;
                let equal = match () {
                    () if self.take("!=") => false,
                    () if self.take("=") => true,
                    () => return Err(format!("expected `=` or `!=` at `{}`", self.rest)),
                };
                self.expect("\"")?;
                let end = self.rest.find('"').ok_or("a text does not end")?;
                let (value, rest) = self.rest.split_at(end);
                matchers.push((label, equal, value.to_owned()));
                self.rest = rest;
                self.expect("\"")?;
                self.take(",");
            }
        }
        Ok(Selector(matchers))
    }

    /// `500ms`, `2s`, `5m`.
    fn duration(&mut self) -> Result<i64, String> {
        let number = self.while_char(|c| c.is_ascii_digit());
        let unit = self.while_char(|c| c.is_ascii_alphabetic());
        let factor = match unit.as_str() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            _ => return Err(format!("`{number}{unit}` is no duration")),
        };
        number
            .parse::<i64>()
            .ok()
            .and_then(|n| n.checked_mul(factor))
            .ok_or(format!("`{number}` is no duration"))
    }

    fn word(&mut self) -> Result<String, String> {
        match self.while_char(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':') {
            word if word.is_empty() => Err(format!("expected a name at `{}`", self.rest)),
            word => Ok(word),
        }
    }

    fn while_char(&mut self, accepted: impl Fn(char) -> bool) -> String {
        let rest = self.rest.trim_start();
        let end = rest.find(|c| !accepted(c)).unwrap_or(rest.len());
        let (taken, rest) = rest.split_at(end);
        self.rest = rest;
        taken.to_owned()
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) {
            Ok(())
        } else {
            Err(format!("expected `{token}` at `{}`", self.rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        let mut series = Series::default();
        for step in 0..11_i32 {
            let at = i64::from(step) * 200;
            let text = format!(
                "req{{class=\"2xx\"}} {}\nreq{{class=\"5xx\"}} {}\nup 1\n",
                step * 3,
                step
            );
            series.add(at, &text, &Labels::new());
        }
        series
    }

    #[test]
    fn values() {
        #[rustfmt::skip]
        let table = [
            ("a number",               "1.5",                                                      "{}=1.50"),
            ("the present value",      "up",                                                       "{\"__name__\": \"up\"}=1.00"),
            ("an equal label",         "req{class=\"5xx\"} * 1",                                   "{\"class\": \"5xx\"}=10.00"),
            ("an unequal label",       "req{class!=\"5xx\"} * 1",                                  "{\"class\": \"2xx\"}=30.00"),
            ("growth per second",      "rate(req{class=\"5xx\"}[2s])",                             "{\"class\": \"5xx\"}=5.00"),
            ("a ratio",                "sum(rate(req{class=\"5xx\"}[2s])) / sum(rate(req[2s]))",   "{}=0.25"),
            ("above",                  "sum(rate(req[2s])) > 19",                                  "{}=20.00"),
            ("not above",              "sum(rate(req[2s])) > 20",                                  ""),
            ("grouped",                "sum by (class) (rate(req[2s]))",                           "{\"class\": \"2xx\"}=15.00 {\"class\": \"5xx\"}=5.00"),
            ("a series that is none",  "nothing",                                                  ""),
        ];
        for (name, text, expected) in table {
            let values = Expression::parse(text).unwrap().at(&series(), 2000);
            let shown: Vec<_> = values.iter().map(|(l, v)| format!("{l:?}={v:.2}")).collect();
            assert_eq!(shown.join(" "), expected, "{name}");
        }
    }

    #[test]
    fn what_it_does_not_understand_it_says() {
        let deep = "(".repeat(100);
        for text in [
            "",
            "a +",
            "histogram_quantile(0.9, a)",
            "rate(a)",
            "a{b=~\"c\"}",
            "a{b=\"c",
            "1..2.3",
            &deep,
        ] {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_counter_that_began_again_does_not_shrink() {
        let samples = [(0, 10.0), (1000, 12.0), (2000, 3.0)];
        assert_eq!(rate(samples.iter()), Some(2.5));
        assert_eq!(rate(samples[..1].iter()), None);
    }
}
