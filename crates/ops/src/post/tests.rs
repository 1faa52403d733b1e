//! When it is tried, and that what was taken is not sent again.

use super::*;
use crate::board::{Told, Triaged};
use crate::channel::{ChannelSpec, Channels, authority};
use crate::incident::Severity;
use crate::intake::Facts;
use gate::Authority;
use policy::PolicySet;
use store::{Keys, Options, Retention, Store};
use testkit::ManualClock;

#[test]
fn a_message_is_tried_ten_times_over_hours() {
    let start = Timestamp::from_ms(0);
    let (mut now, mut attempt) = (start, 1);
    while let Some(next) = again(attempt, now) {
        assert!(next.since_ms(now) >= 10_000, "{attempt}");
        now = next;
        attempt += 1;
    }
    assert_eq!(attempt, ATTEMPTS_MAX);
    let hours = now.since_ms(start) / 3_600_000;
    assert!((3..=9).contains(&hours), "{hours} h");
}

/// A postman with one pending delivery, to the log.
async fn postman(root: &std::path::Path) -> Postman {
    let clock = ManualClock::new();
    let store = Store::open(Options {
        directory: root.join("data"),
        origin: "test.local/default".to_owned(),
        keys: Keys::open_or_create(&root.join("keys"), "test.local/default").unwrap(),
        projections: [gate::projections(), crate::triage::projections()].concat(),
        clock: clock.clone(),
        checkpoints: None,
        vfs: None,
        synchronous: "FULL",
    })
    .unwrap();
    let gate = Gate::open(store).unwrap();
    let (notifier, held, rules) = authority();
    gate.restore(Authority {
        budgets: Arc::default(),
        generation: 0,
        policies: Arc::new(PolicySet::load(&[rules]).unwrap()),
        agents: [(notifier, Arc::new(held))].into(),
    });
    let facts = Facts {
        severity: Severity::Critical,
        title: "HighErrors".to_owned(),
        triggered_by: "alert/HighErrors/x".to_owned(),
        labels: String::new(),
        group: "g".to_owned(),
        firing: Vec::new(),
        resolved: Vec::new(),
        relations: Vec::new(),
        onset: None,
        truncated: 0,
    };
    let told = Told {
        incident: "INC-2026-0101-001".to_owned(),
        trigger: "alerts".to_owned(),
        facts,
        escalates: false,
        repeats: 0,
        number: Some(("2026-0101".to_owned(), 1)),
    };
    let triaged = Triaged {
        incident: told.incident.clone(),
        severity: Severity::Critical,
        partial: false,
        observations: 0,
        uncited: 0,
        channels: vec!["log".to_owned()],
        taint: policy::Taints::of(&[policy::Taint::Secrets]),
        resolution: None,
        concludes: None,
    };
    let summary = json!({
        "incident_id": told.incident, "triggered_by": "alert/HighErrors/x", "timestamp": clock_now(&gate),
        "severity": "critical", "summary": "s", "observations": [], "changes": [], "similar_incidents": [],
        "suggested_actions": [], "partial": false, "session": "ses-0",
    });
    let write = move |tx: &mut store::Tx<'_>| {
        tx.append(NewEntry::new(kind::OPENED, platform(), record::value(&told)?))?;
        let entry = NewEntry::new(kind::TRIAGED, platform(), record::value(&triaged)?);
        tx.append(entry.payload("summary", Retention::Action, summary))
    };
    gate.store().write::<_, StoreError, _>(write).await.unwrap();
    let channels = Arc::new(Channels::default());
    channels.install([("log".to_owned(), ChannelSpec::Log {})].into());
    let post = Post::new(channels, gate.store().clock(), [].into());
    Postman::new(gate, post, "")
}

fn clock_now(gate: &Gate) -> Timestamp {
    gate.store().clock().now()
}

#[tokio::test]
async fn what_was_taken_before_its_record_was_lost_is_not_sent_again() {
    let root = tempfile::tempdir().unwrap();
    let postman = postman(root.path()).await;
    let delivery = postman.pending().unwrap().remove(0);
    let session = postman.session(&delivery).await.unwrap();
    let message = postman.message(&delivery).unwrap().unwrap();
    let tried = postman.attempt(&delivery, &session, &[], message).await.unwrap();
    assert!(matches!(tried, Tried::Delivered));
    // Here the process died. The next look finds the call and sends nothing.
    postman.deliver(&delivery).await.unwrap();
    assert_eq!(postman.gate.calls(&session.id).unwrap().len(), 1);
    assert!(postman.pending().unwrap().is_empty());
    assert_eq!(
        postman.gate.session(&session.id).unwrap().state,
        Session::Completed
    );
}

#[tokio::test]
async fn a_stop_only_puts_it_off() {
    let root = tempfile::tempdir().unwrap();
    let postman = postman(root.path()).await;
    let delivery = postman.pending().unwrap().remove(0);
    postman
        .gate
        .stop(
            &Principal::person("alice"),
            policy::StopScope::All,
            "hold everything",
        )
        .await;
    let refused = postman.deliver(&delivery).await.unwrap_err();
    assert!(
        matches!(refused, Untried::Refused(Refusal::Stopped(_))),
        "{refused}"
    );
    assert_eq!(
        postman.pending().unwrap(),
        std::slice::from_ref(&delivery),
        "no attempt is counted"
    );
    postman
        .gate
        .lift(
            &Principal::person("alice"),
            gate::EVERYWHERE,
            &policy::StopScope::All,
            "go on",
        )
        .await
        .unwrap();
    postman.deliver(&delivery).await.unwrap();
    assert!(postman.pending().unwrap().is_empty());
}

#[tokio::test]
async fn an_erased_summary_is_given_up() {
    let root = tempfile::tempdir().unwrap();
    let postman = postman(root.path()).await;
    let delivery = postman.pending().unwrap().remove(0);
    let entry = delivery.entry;
    let erase = move |tx: &mut store::Tx<'_>| tx.erase(entry, "person:alice", "asked for");
    postman
        .gate
        .store()
        .write::<_, StoreError, _>(erase)
        .await
        .unwrap();
    let row = postman
        .gate
        .store()
        .read(|reader| reader.row(board::NAME, &delivery.about))
        .unwrap()
        .unwrap();
    assert_eq!(row["summary"], Value::Null, "the board forgets it too");
    postman.deliver(&delivery).await.unwrap();
    assert!(postman.pending().unwrap().is_empty());
    assert_eq!(
        postman.gate.store().rebuild().unwrap(),
        Vec::<String>::new(),
        "rebuilt rows are the same"
    );
}
