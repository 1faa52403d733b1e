//! Stages whose time is over: the next one decides in their place.
//!
//! The times count from the request, by the time that never goes back, so nothing has to be remembered
//! between two looks. It never answers anything: the end of the approval's own time denies.

use super::{APPROVALS, ApprovalView, Counted, row};
use crate::gate::platform;
use crate::rows::decode;
use crate::{Gate, sessions};
use journal::kind;
use journal::machine::Approval;
use policy::{Stages, Timestamp};
use serde_json::json;
use store::{StoreError, Tx};

impl Gate {
    /// Records every stage whose time is over at `now`.
    pub(super) async fn escalate_approvals(&self, now: Timestamp) -> Result<(), StoreError> {
        let due = self.store.read(|reader| {
            let mut due = Vec::new();
            for row in reader.find(APPROVALS, "state", "pending")? {
                due.extend(
                    Some(decode::<ApprovalView>(row.value)?).filter(|view| !view.overdue(now).is_empty()),
                );
            }
            Ok(due)
        })?;
        if due.is_empty() {
            return Ok(());
        }
        let write = move |tx: &mut Tx<'_>| {
            for view in due {
                if let Some(view) = row(tx, &view.id)? {
                    overdue(tx, view, now)?;
                }
            }
            Ok(())
        };
        self.store.write::<_, StoreError, _>(write).await.map(drop)
    }
}

impl ApprovalView {
    /// The stages, one of each list, that wait now and whose time is over.
    fn overdue(&self, now: Timestamp) -> Vec<Counted> {
        if self.state != Approval::Pending || self.is_over(now) {
            return Vec::new();
        }
        let lists = self.lists();
        let waiting = self.standing(&lists, &[]).into_iter().zip(&lists).enumerate();
        let over = waiting.filter_map(|(list, (stage, stages))| {
            let stage = stage?;
            let after = stages.escalates_after_ms(stage)?;
            (now >= self.since.plus_ms(after)).then_some(Counted { list, stage })
        });
        over.collect()
    }

    /// Whom each list waits for now.
    fn waits_for(&self) -> String {
        let lists = self.lists();
        let waiting = self.standing(&lists, &[]).into_iter().zip(&lists);
        let told = |(stage, stages): (Option<usize>, &Stages)| Some(stages.as_slice().get(stage?)?.told());
        waiting.filter_map(told).collect::<Vec<_>>().join("; and ")
    }
}

/// Records that stages of `view` are passed over, if their time is over; gives it as it is then.
pub(super) fn overdue(
    tx: &mut Tx<'_>,
    mut view: ApprovalView,
    now: Timestamp,
) -> Result<ApprovalView, StoreError> {
    // The time of the stage after it may be over as well, when nobody looked for long.
    loop {
        let escalated = view.overdue(now);
        if escalated.is_empty() {
            return Ok(view);
        }
        let passed = ApprovalView {
            escalated: [view.escalated.as_slice(), &escalated].concat(),
            ..view.clone()
        };
        let body = json!({
            "approval": view.id, "escalated": escalated, "waits_for": passed.waits_for(),
            "reason": "those who were asked first did not answer in time",
        });
        tx.append(sessions::entry(
            tx,
            kind::APPROVAL_ESCALATED,
            &view.session,
            &platform(),
            body,
        )?)?;
        view = row(tx, &view.id)?.unwrap_or(passed);
    }
}
