//! Sequences of notifications, what became of each, and how the board stands after it; over a real
//! store with a clock that stands still.

use super::*;
use crate::incident::Status;
use crate::triage::projections;
use assay::alertmanager::{Limits, normalise};
use std::time::Duration;
use store::{Keys, Options, Store};
use testkit::ManualClock;

struct World {
    store: Store,
    clock: Arc<ManualClock>,
    counts: Arc<Counts>,
    related_by: Vec<String>,
    root: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        let clock = ManualClock::at("2026-11-21T10:00:00Z");
        let store = open_store(root.path(), &clock);
        World {
            store,
            clock,
            counts: Arc::default(),
            related_by: Vec::new(),
            root,
        }
    }

    /// `g=GROUP`, `sev=SEVERITY`, `svc=SERVICE` for all alerts; `a!` fires, `a.` has ended; `+N` lets N
    /// seconds pass before.
    async fn notify(&self, text: &str) -> Noted {
        let raw = self.body(text);
        let facts = Facts::of(&normalise(&raw, Limits::default()).unwrap(), &self.related_by);
        let intake = Intake {
            trigger: "alerts".to_owned(),
            actor: Principal::service("trigger/alerts"),
            debounce_ms: 300_000,
            facts,
            raw,
            resolutions: BTreeMap::new(),
            counts: Arc::clone(&self.counts),
        };
        let taken = Taken::of(&self.counts);
        let lent = Arc::clone(&taken);
        let written = self
            .store
            .write::<_, StoreError, _>(move |tx| intake.record(tx, &lent))
            .await
            .unwrap();
        taken.keep();
        if let Some(at) = written.value.window {
            self.counts.open_window("alerts", at, written.value.entry);
        }
        written.value
    }

    fn body(&self, text: &str) -> Value {
        let (mut group, mut labels, mut alerts) = ("g", json!({"alertname": "HighErrors"}), Vec::new());
        let mut seen = String::new();
        for word in text.split_whitespace() {
            if let Some(seconds) = word.strip_prefix('+') {
                self.clock.advance(Duration::from_secs(seconds.parse().unwrap()));
            } else if let Some((name, value)) = word.split_once('=') {
                match name {
                    "g" => group = value,
                    "sev" => labels["severity"] = json!(value),
                    "svc" => labels["service"] = json!(value),
                    other => labels[other] = json!(value),
                }
            } else {
                seen += &format!("{word} ");
            }
        }
        for word in seen.split_whitespace() {
            let (name, status) = match word.strip_suffix('!') {
                Some(name) => (name, "firing"),
                None => (word.trim_end_matches('.'), "resolved"),
            };
            alerts.push(json!({
                "status": status, "labels": labels, "annotations": {"summary": "5xx"},
                "startsAt": "2026-11-21T09:58:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "",
                "fingerprint": format!("{name:0>16}"),
            }));
        }
        json!({
            "version": "4", "status": "firing", "receiver": "r", "groupKey": group, "groupLabels": {},
            "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "alerts": alerts,
        })
    }

    fn board(&self) -> String {
        let rows = self
            .store
            .read(|reader| reader.rows(board::NAME, None, 100))
            .unwrap();
        let rows = rows
            .into_iter()
            .filter(|row| row.key != board::NEWEST)
            .map(|row| record(row.value).unwrap());
        let shown = rows.map(|row| {
            let firing: Vec<&str> = row
                .firing
                .iter()
                .map(|print| print.trim_start_matches('0'))
                .collect();
            let view = &row.view;
            let repeats = view.repeats + self.counts.repeats(&view.id);
            let number = view.id.rsplit_once('-').unwrap().1;
            let repeats = if repeats > 0 {
                format!(" x{repeats}")
            } else {
                String::new()
            };
            format!(
                "{number} {} {} [{}]{repeats}",
                view.severity.as_str(),
                view.status.as_str(),
                firing.join(" ")
            )
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    fn entries(&self) -> Vec<String> {
        let entries = self.store.read(|reader| reader.entries(0, 1000)).unwrap();
        entries
            .into_iter()
            .map(|stored| stored.entry.kind)
            .filter(|kind| kind.starts_with("incident."))
            .collect()
    }
}

fn open_store(root: &std::path::Path, clock: &Arc<ManualClock>) -> Store {
    let clock: store::clock::SharedClock = clock.clone();
    Store::open(Options {
        directory: root.join("data"),
        origin: "test.local/default".to_owned(),
        keys: Keys::open_or_create(&root.join("keys"), "test.local/default").unwrap(),
        projections: projections(),
        clock,
        checkpoints: None,
        vfs: None,
        synchronous: "FULL",
    })
    .unwrap()
}

/// What came, what became of it, how the board stands.
type Row = (&'static str, &'static str, &'static str);

async fn check(name: &str, rows: &[Row]) -> World {
    let world = World::new();
    for (came, became, board) in rows {
        let noted = world.notify(came).await;
        assert_eq!(
            (noted.disposition, world.board().as_str()),
            (*became, *board),
            "{name}: {came}"
        );
    }
    assert_eq!(
        world.store.rebuild().unwrap(),
        Vec::<String>::new(),
        "{name}: rebuilt rows are the same"
    );
    world
}

#[tokio::test]
#[rustfmt::skip]
async fn one_alert_lives_and_ends() {
    check("a life", &[
        ("a! sev=critical",      "opened",   "001 critical investigating [a]"),
        ("+10 a! sev=critical",  "repeated", "001 critical investigating [a] x1"),
        ("a.",                   "resolved", "001 critical resolved [] x1"),
    ]).await;
    check("again is another incident", &[
        ("a!",     "opened",   "001 warning investigating [a]"),
        ("a.",     "resolved", "001 warning resolved []"),
        ("+1 a!",  "opened",   "001 warning resolved [], 002 warning investigating [a]"),
    ]).await;
}

#[tokio::test]
#[rustfmt::skip]
async fn severity_says_whether_anybody_investigates() {
    check("info is logged", &[
        ("a! sev=info",          "logged",   "001 info logged [a]"),
        ("+1 a! sev=info",       "repeated", "001 info logged [a] x1"),
        ("a.",                   "resolved", "001 info resolved [] x1"),
    ]).await;
    let world = check("info becomes a warning", &[
        ("a! sev=info",          "logged",   "001 info logged [a]"),
        ("a! sev=warning",       "attached", "001 warning investigating [a]"),
        ("a! sev=critical",      "attached", "001 critical investigating [a]"),
        ("a! sev=info",          "repeated", "001 critical investigating [a] x1"),
    ]).await;
    let row = world.store.read(|reader| reader.row(board::NAME, "INC-2026-1121-001")).unwrap().unwrap();
    let row = record(row).unwrap();
    assert_eq!((row.entry + 1, row.view.status), (row.notification, Status::Investigating),
        "what is investigated is the notification that made it worth that");
}

#[tokio::test]
#[rustfmt::skip]
async fn related_alerts_attach() {
    check("the same group", &[
        ("g=x a!",               "opened",   "001 warning investigating [a]"),
        ("g=x a! b!",            "attached", "001 warning investigating [a b]"),
        ("g=x a. b!",            "attached", "001 warning investigating [b]"),
        ("g=x a. b!",            "repeated", "001 warning investigating [b] x1"),
        ("g=x b.",               "resolved", "001 warning resolved [] x1"),
    ]).await;
    check("the same alert in another group", &[
        ("g=x a!",               "opened",   "001 warning investigating [a]"),
        ("g=y a!",               "repeated", "001 warning investigating [a] x1"),
        ("g=y a! b!",            "attached", "001 warning investigating [a b] x1"),
    ]).await;
    check("the same name and service", &[
        ("g=x a! svc=shop",      "opened",   "001 warning investigating [a]"),
        ("g=y b! svc=shop",      "attached", "001 warning investigating [a b]"),
        ("g=z c! svc=mail",      "opened",   "001 warning investigating [a b], 002 warning investigating [c]"),
    ]).await;
    check("nothing in common but the name", &[
        ("g=x a!",               "opened",   "001 warning investigating [a]"),
        ("g=y b!",               "opened",   "001 warning investigating [a], 002 warning investigating [b]"),
    ]).await;
}

#[tokio::test]
async fn a_trigger_may_say_what_relates() {
    let world = World {
        related_by: vec!["team".to_owned()],
        ..World::new()
    };
    world.notify("g=x a! team=blue svc=shop").await;
    assert_eq!(
        world.notify("g=y b! team=blue svc=mail").await.disposition,
        "attached"
    );
    assert_eq!(world.notify("g=z c! svc=shop").await.disposition, "opened");
}

#[tokio::test]
#[rustfmt::skip]
async fn what_ends_is_taken_off_every_incident_that_has_it() {
    check("partly ended stays open", &[
        ("g=x a! b!",            "opened",   "001 warning investigating [a b]"),
        ("g=x a.",               "attached", "001 warning investigating [b]"),
        ("g=x b.",               "resolved", "001 warning resolved []"),
    ]).await;
    check("by another group", &[
        ("g=x a!",               "opened",   "001 warning investigating [a]"),
        ("g=y a. c!",            "opened",   "001 warning resolved [], 002 warning investigating [c]"),
    ]).await;
    check("two at once", &[
        ("g=x a!",               "opened",   "001 warning investigating [a]"),
        ("g=y b!",               "opened",   "001 warning investigating [a], 002 warning investigating [b]"),
        ("g=z a. b.",            "resolved", "001 warning resolved [], 002 warning resolved []"),
    ]).await;
}

#[tokio::test]
#[rustfmt::skip]
async fn what_fits_nothing_is_ignored_and_repeats_are_counted() {
    let world = check("unknown ends", &[
        ("a.",                   "ignored",  ""),
        ("+299 a.",              "ignored",  ""),
        ("+1 b.",                "ignored",  ""),
    ]).await;
    assert_eq!(world.entries(), ["incident.ignored", "incident.ignored"], "one entry a window");

    let world = check("repeats", &[
        ("a!",                   "opened",   "001 warning investigating [a]"),
        ("+1 a!",                "repeated", "001 warning investigating [a] x1"),
        ("+1 a!",                "repeated", "001 warning investigating [a] x2"),
        ("+1 a!",                "repeated", "001 warning investigating [a] x3"),
        ("+300 a!",              "repeated", "001 warning investigating [a] x4"),
    ]).await;
    assert_eq!(world.entries(), ["incident.opened", "incident.repeated", "incident.repeated"], "one entry a window");
    world.notify("+1 a!").await;
    world.notify("a! b!").await;
    let row = world.store.read(|reader| reader.row(board::NAME, "INC-2026-1121-001")).unwrap().unwrap();
    assert_eq!(record(row).unwrap().view.repeats, 5, "what was only counted goes into the next entry");
}

#[tokio::test]
async fn counts_in_memory_are_written_before_the_end() {
    let world = World::new();
    for _ in 0..4 {
        world.notify("a!").await;
    }
    let incidents = world.counts.incidents();
    let taken = Taken::of(&world.counts);
    let lent = Arc::clone(&taken);
    world
        .store
        .write::<_, StoreError, _>(move |tx| flush(tx, &lent, &incidents))
        .await
        .unwrap();
    taken.keep();
    let row = world
        .store
        .read(|reader| reader.row(board::NAME, "INC-2026-1121-001"))
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            record(row).unwrap().view.repeats,
            world.counts.repeats("INC-2026-1121-001")
        ),
        (3, 0)
    );
}

#[tokio::test]
async fn counts_come_back_when_their_entry_is_not_written() {
    let world = World::new();
    for _ in 0..3 {
        world.notify("a!").await;
    }
    let taken = Taken::of(&world.counts);
    assert_eq!(taken.take("INC-2026-1121-001"), 1);
    drop(taken);
    assert_eq!(world.counts.repeats("INC-2026-1121-001"), 1);
}

#[tokio::test]
async fn ids_count_up_within_a_day_even_when_the_clock_goes_back() {
    let world = World::new();
    let id = async |text: &str| world.notify(text).await.incident.unwrap();
    assert_eq!(id("g=1 a!").await, "INC-2026-1121-001");
    assert_eq!(id("g=2 b!").await, "INC-2026-1121-002");
    assert_eq!(id("+86400 g=3 c!").await, "INC-2026-1122-001");
    world.clock.set(Timestamp::parse("2026-11-21T23:00:00Z").unwrap());
    assert_eq!(id("g=4 d!").await, "INC-2026-1121-003");
}

#[tokio::test]
async fn leaves_hold_no_secret_and_no_hidden_text() {
    let world = World::new();
    let long = "x".repeat(5000);
    world
        .notify(&format!(
            "g=token=hunter2{long} a! password=hunter2 svc=pass\u{200b}word:hunter2\u{202e}"
        ))
        .await;
    let entries = world.store.read(|reader| reader.entries(0, 100)).unwrap();
    for stored in entries {
        let leaf = String::from_utf8(stored.entry.to_leaf().unwrap()).unwrap();
        assert!(
            !leaf.contains("hunter2") && !leaf.contains('\u{202e}') && leaf.len() < 4096,
            "{leaf}"
        );
    }
}

#[tokio::test]
async fn the_board_survives_a_restart() {
    let world = World::new();
    world.notify("g=x a!").await;
    let World {
        store, clock, root, ..
    } = world;
    store.close().await.unwrap();
    drop(store);
    let world = World {
        store: open_store(root.path(), &clock),
        clock,
        counts: Arc::default(),
        related_by: Vec::new(),
        root,
    };
    assert_eq!(world.notify("g=x a! b!").await.disposition, "attached");
}

/// One group that never ends and always has other alerts: what an incident holds, and so what each
/// notification costs the journal's thread, does not grow with it.
#[tokio::test]
async fn an_incident_holds_only_so_many_alerts() {
    let world = World::new();
    let many = |first: u32, count: u32, mark: &str| {
        let names = (first..first + count).map(|n| format!("{n:x}{mark}"));
        names.collect::<Vec<_>>().join(" ")
    };
    let stands = || {
        let row = world
            .store
            .read(|reader| reader.row(board::NAME, "INC-2026-1121-001"));
        let row = record(row.unwrap().unwrap()).unwrap();
        (
            row.firing.len(),
            row.view.fingerprints.len(),
            row.relations.len(),
            row.view.status,
        )
    };
    #[rustfmt::skip]
    let table = [
        // notification                                    disposition  firing, shown, relations
        (format!("svc=a {}", many(0, 1000, "!")),            "opened",    (1000, 1000, 1)),
        (format!("svc=b {}", many(1000, 1000, "!")),         "attached",  (2000, 2000, 2)),
        (format!("svc=c {}", many(2000, 1000, "!")),         "repeated",  (2000, 2000, 2)),
        (format!("svc=d {} ffff!", many(0, 999, ".")),      "attached",  (1002, 2000, 3)),
        (format!("svc=e {}", many(3000, 1000, "!")),         "attached",  (2000, 2000, 4)),
    ];
    for (text, disposition, (firing, shown, relations)) in table {
        let noted = world.notify(&text).await;
        assert_eq!(noted.disposition, disposition, "{}", &text[..20]);
        assert_eq!(
            stands(),
            (firing, shown, relations, Status::Investigating),
            "{}",
            &text[..20]
        );
    }
    for service in 0..board::RELATIONS_MAX + 5 {
        world
            .notify(&format!("g=h svc=s{service} eeee{service:x}!"))
            .await;
    }
    let row = world
        .store
        .read(|reader| reader.row(board::NAME, "INC-2026-1121-002"));
    let row = record(row.unwrap().unwrap()).unwrap();
    assert_eq!(
        (row.firing.len(), row.relations.len()),
        (105, board::RELATIONS_MAX)
    );
}
