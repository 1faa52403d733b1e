//! Random histories against a naive model: what is in the journal, and that projections are what a
//! rebuild makes of it, also after erasures, refusals and restarts.

use crate::common::{Place, append, delete, put};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use store::{Erasable, Row, Store, StoreError};

#[derive(Clone, Debug)]
enum Step {
    Put {
        key: u8,
        group: u8,
        note: String,
    },
    Delete {
        key: u8,
    },
    /// Several in one closure.
    Together(Vec<(u8, String)>),
    /// Appends, then refuses.
    Refuse {
        key: u8,
    },
    /// Erases one of the entries with a payload.
    Erase {
        which: prop::sample::Index,
    },
    Checkpoint,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let note = "[a-c ]{0,12}";
    prop_oneof![
        6 => (0..6_u8, 0..3_u8, note).prop_map(|(key, group, note)| Step::Put { key, group, note }),
        2 => (0..6_u8).prop_map(|key| Step::Delete { key }),
        2 => prop::collection::vec((0..6_u8, note), 1..5).prop_map(Step::Together),
        1 => (0..6_u8).prop_map(|key| Step::Refuse { key }),
        2 => any::<prop::sample::Index>().prop_map(|which| Step::Erase { which }),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
    ]
}

/// What the projection `documents` and the payloads should be.
#[derive(Default)]
struct Model {
    rows: BTreeMap<String, (String, Option<String>, u64)>,
    /// Payloads by sequence; `None` once erased.
    payloads: BTreeMap<u64, Option<String>>,
    puts: u64,
    deletes: u64,
}

impl Model {
    fn put(&mut self, key: &str, group: &str, note: &str, sequence: u64) {
        self.rows.insert(
            key.to_owned(),
            (group.to_owned(), Some(note.to_owned()), sequence),
        );
        self.payloads.insert(sequence, Some(note.to_owned()));
        self.puts += 1;
    }

    fn erase(&mut self, sequence: u64) {
        self.payloads.insert(sequence, None);
        for row in self.rows.values_mut().filter(|row| row.2 == sequence) {
            row.1 = None;
        }
    }

    fn rows(&self) -> Vec<Row> {
        let row = |(key, (group, note, at)): (&String, &(String, Option<String>, u64))| Row {
            key: key.clone(),
            value: json!({"group": group, "note": note, "at": at}),
        };
        self.rows.iter().map(row).collect()
    }
}

async fn take(step: Step, place: &Place, store: &mut Store, model: &mut Model) {
    match step {
        Step::Put { key, group, note } => {
            let (key, group) = (format!("k{key}"), format!("g{group}"));
            let sequence = append(store, put(&key, &group, &note)).await.unwrap();
            model.put(&key, &group, &note, sequence);
        }
        Step::Delete { key } => {
            append(store, delete(&format!("k{key}"))).await.unwrap();
            model.rows.remove(&format!("k{key}"));
            model.deletes += 1;
        }
        Step::Together(puts) => {
            let mut sequences = store
                .write(move |tx| {
                    puts.into_iter()
                        .map(|(key, note)| {
                            let key = format!("k{key}");
                            tx.append(put(&key, "g", &note))
                                .map(|sequence| (sequence, key, note))
                        })
                        .collect::<Result<Vec<_>, StoreError>>()
                })
                .await
                .unwrap()
                .value;
            sequences
                .drain(..)
                .for_each(|(sequence, key, note)| model.put(&key, "g", &note, sequence));
        }
        Step::Refuse { key } => {
            let refused = store.write(move |tx| {
                tx.append(put(&format!("k{key}"), "refused", "x"))?;
                Err::<(), _>(StoreError::Refused("on second thoughts".to_owned()))
            });
            refused.await.unwrap_err();
        }
        Step::Erase { which } => {
            let present: Vec<u64> = model
                .payloads
                .iter()
                .filter(|(_, note)| note.is_some())
                .map(|(s, _)| *s)
                .collect();
            if !present.is_empty() {
                let sequence = *which.get(&present);
                store
                    .write(move |tx| tx.erase(sequence, "person:alice", "asked for"))
                    .await
                    .unwrap();
                model.erase(sequence);
            }
        }
        Step::Checkpoint => drop(store.checkpoint().await.unwrap()),
        Step::Restart => {
            store.close().await.unwrap();
            *store = place.open();
        }
    }
}

fn check(store: &Store, model: &Model) {
    store
        .read(|r| {
            assert_eq!(r.rows("documents", None, 100)?, model.rows());
            for group in ["g", "g0", "g1", "g2", "refused"] {
                let found: Vec<String> = r
                    .find("documents", "group", group)?
                    .into_iter()
                    .map(|row| row.key)
                    .collect();
                let expected: Vec<String> = model
                    .rows
                    .iter()
                    .filter(|(_, row)| row.0 == group)
                    .map(|(key, _)| key.clone())
                    .collect();
                assert_eq!(found, expected, "{group}");
            }
            for (sequence, note) in &model.payloads {
                let expected = note
                    .as_ref()
                    .map_or(Erasable::Erased, |note| Erasable::Present(json!(note)));
                assert_eq!(r.payload(*sequence, "note")?, expected);
            }
            let count = |kind: &str| {
                r.row("counts", kind)
                    .map(|row| row.and_then(|row| row["count"].as_u64()).unwrap_or(0))
            };
            assert_eq!(
                (count("thing.put")?, count("thing.deleted")?),
                (model.puts, model.deletes)
            );
            Ok(())
        })
        .unwrap();
    store.verify(&[], &mut |_, _| ()).unwrap().unwrap();
    assert_eq!(
        store.rebuild().unwrap(),
        Vec::<String>::new(),
        "a rebuild makes the same"
    );
    let rows = store.read(|r| r.rows("documents", None, 100)).unwrap();
    assert_eq!(rows, model.rows());
    let words: Vec<Value> = store
        .read(|r| r.search("documents", "a b c", 100))
        .unwrap()
        .into_iter()
        .map(|r| r.value)
        .collect();
    assert!(
        words.iter().all(|row| row["note"].is_string()),
        "what was erased is not found"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn projections_are_what_a_rebuild_makes(steps in prop::collection::vec(step(), 1..30)) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let place = Place::new();
            let (mut store, mut model) = (place.open(), Model::default());
            for step in steps {
                take(step, &place, &mut store, &mut model).await;
            }
            check(&store, &model);
        });
    }
}

#[tokio::test]
async fn a_projection_that_is_new_is_built_and_one_that_is_gone_is_dropped() {
    let place = Place::new();
    let store = place.open();
    crate::common::fill(&store, 10).await;
    let counts = store.read(|r| r.rows("counts", None, 10)).unwrap();
    store.close().await.unwrap();
    let without = store::Options {
        projections: vec![std::sync::Arc::new(crate::common::Things)],
        ..place.options()
    };
    let store = Store::open(without).unwrap();
    assert_eq!(store.read(|r| r.rows("counts", None, 10)).unwrap(), vec![]);
    append(&store, put("later", "g", "n")).await.unwrap();
    store.verify(&[], &mut |_, _| ()).unwrap().unwrap();
    store.close().await.unwrap();
    let store = place.open();
    let again = store.read(|r| r.rows("counts", None, 10)).unwrap();
    assert_eq!(
        again.last().unwrap().value["count"],
        counts.last().unwrap().value["count"].as_u64().unwrap() + 1
    );
    let newest = store.read(|r| r.entries(12, 9)).unwrap().pop().unwrap().entry;
    assert_eq!(
        (newest.kind.as_str(), newest.body),
        ("log.rebuilt", json!({"projections": ["counts"]}))
    );
    assert_eq!(
        newest.projections["counts"],
        store.read(|r| r.projection_digest("counts")).unwrap()
    );
    store.verify(&[], &mut |_, _| ()).unwrap().unwrap();
}
