//! Samples over time, from Prometheus's text format.

use std::collections::{BTreeMap, VecDeque};

/// Samples kept of one series: a minute, scraped every 200 ms.
const SAMPLES_MAX: usize = 300;

/// Name and value of every label, `__name__` included.
pub type Labels = BTreeMap<String, String>;

/// Every series, with samples `(milliseconds since 1970, value)` in order.
#[derive(Clone, Debug, Default)]
pub struct Series {
    samples: BTreeMap<Labels, VecDeque<(i64, f64)>>,
}

impl Series {
    /// Adds what one scrape gave, with `target` labels added to each series.
    pub fn add(&mut self, at_ms: i64, text: &str, target: &Labels) {
        for (mut labels, value) in text.lines().filter_map(sample) {
            labels.extend(target.clone());
            self.add_one(at_ms, labels, value);
        }
    }

    /// Adds one sample.
    pub fn add_one(&mut self, at_ms: i64, labels: Labels, value: f64) {
        let samples = self.samples.entry(labels).or_default();
        samples.push_back((at_ms, value));
        if samples.len() > SAMPLES_MAX {
            samples.pop_front();
        }
    }

    /// Series and samples whose labels `matches` accepts.
    pub fn select<'s>(
        &'s self,
        matches: impl Fn(&Labels) -> bool + 's,
    ) -> impl Iterator<Item = (&'s Labels, &'s VecDeque<(i64, f64)>)> + 's {
        self.samples.iter().filter(move |(labels, _)| matches(labels))
    }
}

/// `name{label="value",…} 1.5`; `None` for comments and anything else.
fn sample(line: &str) -> Option<(Labels, f64)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let mut all = Labels::from([("__name__".to_owned(), name.to_owned())]);
    for label in labels.split(',').filter(|l| !l.is_empty()) {
        let (key, value) = label.split_once('=')?;
        all.insert(
            key.to_owned(),
            value.strip_prefix('"')?.strip_suffix('"')?.to_owned(),
        );
    }
    Some((all, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_format() {
        let mut series = Series::default();
        let text = "# TYPE a counter\na{x=\"1\",y=\"b c\"} 2.5\nb 7\nnonsense\n";
        series.add(1000, text, &Labels::from([("job".into(), "shop".into())]));
        let found: Vec<_> = series.select(|_| true).map(|(l, s)| (l.len(), s[0])).collect();
        assert_eq!(found, [(4, (1000, 2.5)), (2, (1000, 7.0))]);
    }
}
