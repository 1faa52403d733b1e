//! Payloads that others recorded: Alertmanager's are read, everybody else's are refused with a reason.
//! Needs `COFFERDAM_CORPORA`; without it each test says so and passes.

#![cfg(test)]

use assay::alertmanager::{Limits, Status, parse};
use proptest::prelude::*;
use std::io::Write;
use std::path::{Path, PathBuf};

fn corpus() -> Option<PathBuf> {
    let Some(root) = std::env::var_os("COFFERDAM_CORPORA") else {
        let _ = writeln!(std::io::stderr(), "COFFERDAM_CORPORA is not set: nothing to read");
        return None;
    };
    Some(PathBuf::from(root).join("alerts"))
}

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().is_some_and(|name| name != "SOURCE") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// `02-firing-3alerts-trunc0.json` says what is in it.
#[test]
fn real_notifications_hold_what_their_names_say() {
    let Some(corpus) = corpus() else { return };
    let files = files(&corpus.join("alertmanager-real"));
    assert_eq!(files.len(), 11);
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let parsed = parse(&std::fs::read(&path).unwrap(), Limits::default()).unwrap();
        let status = if parsed.status == Status::Firing {
            "firing"
        } else {
            "resolved"
        };
        let got = format!(
            "{status}-{}alerts-trunc{}",
            parsed.alerts.len(),
            parsed.truncated_alerts
        );
        assert_eq!(name.split_once('-').unwrap().1, got);
        for alert in &parsed.alerts {
            assert!(alert.labels.contains_key("alertname"), "{name}");
        }
    }
}

/// Older Alertmanagers left `truncatedAlerts` out; all else is there, so these are read.
#[test]
fn older_notifications_are_read() {
    let Some(corpus) = corpus() else { return };
    for (name, status, alerts) in [
        ("alert", Status::Firing, 2),
        ("single_alert", Status::Resolved, 1),
    ] {
        let body = std::fs::read(corpus.join(format!("zulip/alertmanager/{name}.json"))).unwrap();
        let parsed = parse(&body, Limits::default()).unwrap();
        assert_eq!(
            (parsed.status, parsed.alerts.len(), parsed.truncated_alerts),
            (status, alerts, 0),
            "{name}"
        );
    }
}

/// What others send has no `version`, or is no object, or no JSON: said in one of these ways.
#[test]
fn what_others_send_is_refused_with_a_reason() {
    let Some(corpus) = corpus() else { return };
    let mut read = 0;
    for path in files(&corpus) {
        let name = path.strip_prefix(&corpus).unwrap().to_str().unwrap().to_owned();
        if name.contains("alertmanager") && !name.starts_with("karma") {
            continue;
        }
        let refused = parse(&std::fs::read(&path).unwrap(), Limits::default()).unwrap_err();
        let reason = refused.to_string();
        let array = name.starts_with("karma/") || name.starts_with("zulip/updown/");
        let expected = match array {
            true => reason == "not an object at `/`",
            false => reason == "missing at `/version`" || refused.place.starts_with("line "),
        };
        assert!(expected, "{name}: {reason}");
        read += 1;
    }
    assert!(read > 100, "{read}");
}

fn real() -> Vec<u8> {
    let alert = |n: u8| {
        format!(
            r#"{{"status":"firing","labels":{{"alertname":"A","instance":"h{n}"}},"annotations":{{"s":"\u00fc <!-- x -->"}},"startsAt":"2026-11-21T02:09:43Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://p/g?x\u0026y","fingerprint":"85dd3c976b78c34{n}"}}"#
        )
    };
    format!(
        r#"{{"receiver":"r","status":"firing","alerts":[{},{}],"groupLabels":{{}},"commonLabels":{{}},"commonAnnotations":{{}},"externalURL":"","version":"4","groupKey":"k","truncatedAlerts":0}}"#,
        alert(1),
        alert(2)
    )
    .into_bytes()
}

#[test]
fn the_body_that_is_mutated_below_is_read() {
    assert_eq!(parse(&real(), Limits::default()).unwrap().alerts.len(), 2);
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes, Limits::default());
    }

    #[test]
    fn a_mutated_notification_is_read_or_refused_with_a_place(
        at in any::<prop::sample::Index>(), cut in 0usize..60, paste in "[\\[\\]{}\",:0-9a-f\\\\u]{0,12}",
    ) {
        let mut body = real();
        let start = at.index(body.len());
        let end = (start + cut).min(body.len());
        body.splice(start..end, paste.bytes());
        match parse(&body, Limits::default()) {
            Ok(read) => prop_assert!(!read.alerts.is_empty()),
            Err(refused) => prop_assert!(!refused.place.is_empty() && !refused.what.is_empty()),
        }
    }
}
