//! Stages whose time is over: the next one decides in their place.
//!
//! The times count by the time that never goes back: of the first stage from the request, of each further one
//! from when the one before it was passed over. So a stage whose turn comes late, after nobody looked for long,
//! has its own time all the same. It never answers anything: the end of the approval's own time denies.

use super::{ApprovalView, Counted, Passed, row};
use crate::gate::platform;
use crate::{Gate, sessions};
use journal::kind;
use journal::machine::Approval;
use policy::Timestamp;
use serde_json::json;
use store::{StoreError, Tx};

impl Gate {
    /// Records every stage of `due` whose time is over at `now`.
    pub(super) async fn escalate_approvals(
        &self,
        due: Vec<ApprovalView>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
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
    /// Whether any stage's time is over.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        !self.overdue(now).is_empty()
    }

    /// The stages, one of each list, that wait now and whose time is over.
    fn overdue(&self, now: Timestamp) -> Vec<Counted> {
        if self.state != Approval::Pending || self.is_over(now) {
            return Vec::new();
        }
        let lists = self.lists();
        let waiting = self.standing(&lists, &[]).into_iter().zip(&lists).enumerate();
        let over = waiting.filter_map(|(list, (stage, stages))| {
            let stage = stage?;
            let (from, since) = self.last_turn(list);
            let after = stages.escalates_after_ms(from, stage)?;
            (now >= since.plus_ms(after)).then_some(Counted { list, stage })
        });
        over.collect()
    }

    /// The stage of a list whose turn began last by time: after one that was passed over, or the first; and when.
    fn last_turn(&self, list: usize) -> (usize, Timestamp) {
        let of_list = self.escalated.iter().filter(|passed| passed.stage.list == list);
        let turns = of_list.filter_map(|passed| Some((passed.stage.stage + 1, passed.at?)));
        turns.max_by_key(|(stage, _)| *stage).unwrap_or((0, self.since))
    }
}

/// Records that stages of `view` are passed over, if their time is over; gives it as it is then. The stage after
/// one that is has its own time from now on, so that there is never more than one of a list to pass over.
pub(super) fn overdue(
    tx: &mut Tx<'_>,
    view: ApprovalView,
    now: Timestamp,
) -> Result<ApprovalView, StoreError> {
    let escalated = view.overdue(now);
    if escalated.is_empty() {
        return Ok(view);
    }
    let all = |&stage: &Counted| Passed { stage, at: Some(now) };
    let passed = ApprovalView {
        escalated: view
            .escalated
            .iter()
            .copied()
            .chain(escalated.iter().map(all))
            .collect(),
        ..view.clone()
    };
    let body = json!({
        "approval": view.id, "escalated": escalated, "at": now, "waits_for": passed.waits_for(&[]),
        "reason": "those who were asked first did not answer in time",
    });
    let kind = kind::APPROVAL_ESCALATED;
    tx.append(sessions::entry(tx, kind, &view.session, &platform(), body)?)?;
    Ok(row(tx, &view.id)?.unwrap_or(passed))
}
