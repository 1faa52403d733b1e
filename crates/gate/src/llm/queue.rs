//! How many calls a model takes at once. Who has to wait is let in in turn, project by project, so that nobody who asks
//! much keeps others waiting for longer than one call each.

use crate::egress::answer::Refused;
use crate::gate::lock;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// Calls of one project that wait for one model; more are told to come again.
const WAITING_MAX: usize = 256;

/// Of all models.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<HashMap<String, Queue>>);

#[derive(Debug, Default)]
struct Queue {
    running: usize,
    /// Projects that wait, in the order in which they are let in.
    turns: VecDeque<String>,
    waiting: HashMap<String, VecDeque<oneshot::Sender<()>>>,
}

/// A place; given on when dropped. Of a model without a limit it is nothing.
#[derive(Debug)]
pub(super) struct Place {
    queues: Option<Arc<Queues>>,
    model: String,
}

impl Queues {
    /// A place at `model`, of which there are `most`, for somebody of `project`.
    pub async fn enter(
        self: &Arc<Self>,
        model: &str,
        most: Option<u32>,
        project: &str,
        patience: Duration,
    ) -> Result<Place, Refused> {
        let Some(most) = most else {
            return Ok(Place {
                queues: None,
                model: String::new(),
            });
        };
        let waits = {
            let mut queues = lock(&self.0);
            let queue = queues.entry(model.to_owned()).or_default();
            if queue.running < most as usize && queue.turns.is_empty() {
                queue.running += 1;
                None
            } else {
                Some(
                    queue
                        .wait(project)
                        .ok_or_else(|| full(model, "too many calls wait for it"))?,
                )
            }
        };
        let place = || Place {
            queues: Some(Arc::clone(self)),
            model: model.to_owned(),
        };
        let Some(mut waits) = waits else {
            return Ok(place());
        };
        match tokio::time::timeout(patience, &mut waits).await {
            Ok(Ok(())) => Ok(place()),
            // A place that was given on at this very moment is given on again.
            Ok(Err(_)) | Err(_) => {
                waits.close();
                if waits.try_recv().is_ok() {
                    drop(place());
                }
                Err(full(model, "no place became free in time"))
            }
        }
    }
}

fn full(model: &str, why: &str) -> Refused {
    Refused {
        retry_after: Some(1),
        ..Refused::new(429, "model_busy", format!("model `{model}`: {why}"))
    }
}

impl Queue {
    fn wait(&mut self, project: &str) -> Option<oneshot::Receiver<()>> {
        let lane = self.waiting.entry(project.to_owned()).or_default();
        lane.retain(|one| !one.is_closed());
        if lane.len() >= WAITING_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        if lane.is_empty() && !self.turns.iter().any(|turn| turn == project) {
            self.turns.push_back(project.to_owned());
        }
        lane.push_back(sender);
        Some(receiver)
    }

    /// Gives one place on, or takes it back.
    fn next(&mut self) {
        while let Some(project) = self.turns.pop_front() {
            let Some(lane) = self.waiting.get_mut(&project) else {
                continue;
            };
            let mut given = false;
            while let Some(one) = lane.pop_front() {
                given = one.send(()).is_ok();
                if given {
                    break;
                }
            }
            match lane.is_empty() {
                true => drop(self.waiting.remove(&project)),
                false => self.turns.push_back(project),
            }
            if given {
                return;
            }
        }
        self.running = self.running.saturating_sub(1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(queues) = &self.queues else { return };
        let mut queues = lock(&queues.0);
        if let Some(queue) = queues.get_mut(&self.model) {
            queue.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One project asks for a hundred calls and another for three: these are let in every second time.
    #[tokio::test]
    async fn a_project_that_asks_much_keeps_nobody_waiting() {
        let queues = Arc::new(Queues::default());
        let patience = Duration::from_secs(60);
        let first = queues.enter("m", Some(1), "noisy", patience).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut all = tokio::task::JoinSet::new();
        for project in std::iter::repeat_n("noisy", 100).chain(["calm"; 3]) {
            let (queues, order) = (Arc::clone(&queues), Arc::clone(&order));
            all.spawn(async move {
                let place = queues.enter("m", Some(1), project, patience).await.unwrap();
                lock(&order).push(project);
                drop(place);
            });
            tokio::task::yield_now().await;
        }
        drop(first);
        all.join_all().await;
        let order = lock(&order).clone();
        let calm: Vec<usize> = (0..order.len()).filter(|at| order[*at] == "calm").collect();
        assert_eq!((order.len(), calm), (103, vec![1, 3, 5]));
        let queues = lock(&queues.0);
        assert_eq!((queues["m"].running, queues["m"].waiting.len()), (0, 0));
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_and_leaves_no_hole() {
        let queues = Arc::new(Queues::default());
        let held = queues
            .enter("m", Some(1), "a", Duration::from_secs(1))
            .await
            .unwrap();
        let refused = queues
            .enter("m", Some(1), "a", Duration::from_millis(20))
            .await
            .unwrap_err();
        assert_eq!((refused.status, refused.code), (429, "model_busy"));
        drop(held);
        drop(
            queues
                .enter("m", Some(1), "a", Duration::from_secs(1))
                .await
                .unwrap(),
        );
        assert_eq!(lock(&queues.0)["m"].running, 0);
    }
}
