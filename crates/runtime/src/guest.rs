//! Guests: programs of others that run behind walls, each in a session of its own.
//!
//! A guest is started by an action like any other: `sandbox.run` on its workspace, judged, recorded and only
//! then done. What it asks of the network comes in by its doors and is judged action by action; about files
//! and system calls the kernel decides, by the rules that the session's entries hold.
//!
//! Invariants:
//! - **No guest without a flight**: [`sandbox::Launcher::launch`] takes one, and settles nothing by itself.
//! - **No guest that outlives its flight**: the flight is settled after the last process is dead.
//! - **No door before there is somebody to answer for it**: doors are served under the session that runs.

mod aside;
mod authority;
mod changes;
mod launching;
mod review;
mod running;

pub use aside::Aside;
pub use authority::{ENVIRONMENT, VERB, authority};
pub use launching::Launching;
pub(crate) use launching::blocking;
pub use review::{KEEP, Reviewed, Verdict};
pub use running::Driving;

use crate::Runtime;
use crate::tools::report;
use gate::{Gate, GuestSession, NewSession, Proposal, Refusal, SessionError, SessionView};
use journal::machine::{Approval, Session, SessionEvent};
use policy::{
    Action, ActionError, Effect, Environment, Idempotence, InFlight, Outcome, Permit, Principal, Settlement,
    Taints, Verb,
};
use review::Collected;
use running::{Place, Registry};
use sandbox::container::{EngineError, Image};
use sandbox::{Container, End, EngineKind, Exit, Guest, LaunchError, Rules, Spec, Stop};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use store::StoreError;
use tokio::sync::{mpsc, oneshot};

/// The step of a guest's session that runs it; what comes in by its doors has steps of its own.
const STEP: &str = "run";
/// By which a guest knows its session.
const SESSION_VARIABLE: &str = "COFFERDAM_SESSION";
/// Longest reason of a session's end, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Answers at the doors of one guest.
pub trait Doors: Send + Sync {
    /// Before anything of `session` runs: what it was lent, the doors shall know.
    fn prepare(&self, session: &SessionView);
    /// Serves `listener`, which is inside, on the account of `session`, until [`Opened`] is dropped.
    fn open(&self, session: &SessionView, listener: TcpListener) -> std::io::Result<Opened>;
    /// Nothing of `session` runs any more.
    fn close(&self, session: &SessionView);
}

/// A door that is served as long as this is kept.
pub type Opened = Box<dyn Send + Sync>;

/// What to run.
pub struct Run {
    /// Whose rights it has: [`gate::GUEST`], or a configured agent.
    pub agent: String,
    /// Who asked for it. The session runs on their account.
    pub by: Principal,
    /// What that person lends for this run.
    pub lent: GuestSession,
    /// Who answers at its doors.
    pub doors: Arc<dyn Doors>,
    /// The program and its walls.
    pub spec: Spec,
    /// Its standard descriptors.
    pub stdio: [OwnedFd; 3],
    /// What is said about its changes, if its spec has a review. Without it they are discarded.
    pub verdict: Option<oneshot::Receiver<Verdict>>,
}

/// Whether a run shall end: somebody says so, or is gone.
struct Quit {
    end: oneshot::Receiver<()>,
    is_over: bool,
}

impl Quit {
    /// Returns once it shall, and from then on at once.
    async fn wanted(&mut self) {
        if !self.is_over {
            let _ = (&mut self.end).await;
            self.is_over = true;
        }
    }
}

/// What is told while a guest runs, in this order.
#[derive(Debug)]
pub enum News {
    /// Its session, before anything was asked.
    Session(String),
    /// It waits for the decision about this approval.
    Waits(String),
    /// It runs, by these rules.
    Started(Box<Rules>),
    /// It ended, and its changes, in this directory, are there to be seen until something is said about them.
    Review(PathBuf),
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its session, which is over.
    pub session: SessionView,
    /// The guest's own end.
    pub exit: Exit,
    /// Entry of the permit that it ran by.
    pub entry: u64,
    /// What became of its changes, if it was started for a review.
    pub reviewed: Option<Reviewed>,
}

/// Why nothing ran, or why it is not known how it ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing is started any more.
    #[error("the platform is stopping")]
    Stopping,
    /// The session was not created or not driven.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// It was ended before it began.
    #[error("it was ended before it began")]
    Ended,
    /// The gate said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A stop came between the permit and the launch.
    #[error(transparent)]
    Stopped(#[from] policy::Stopped),
    /// The walls could not be built, or the program not be executed.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A door could not be served.
    #[error("a door cannot be served: {0}")]
    Door(#[source] std::io::Error),
    /// The command makes no action: it is too long.
    #[error("the command cannot be recorded: {0}")]
    Action(#[from] ActionError),
    /// Its end could not be recorded.
    #[error("how it ended is not recorded: {0}")]
    Unsettled(#[from] policy::Unsettled),
}

/// Starts guests and holds those that run. Shared as `Arc`.
pub struct Guests {
    gate: Arc<Gate>,
    launching: Arc<Launching>,
    registry: Arc<Registry>,
}

impl Guests {
    /// Starts nothing yet: the launcher comes with the first guest.
    pub fn new(runtime: &Arc<Runtime>, launching: Arc<Launching>) -> Arc<Guests> {
        let gate = Arc::clone(&runtime.gate);
        let registry = Arc::new(Registry::new(Arc::downgrade(&gate)));
        gate.add_stoppable(Arc::clone(&registry) as _);
        Arc::new(Guests {
            gate,
            launching,
            registry,
        })
    }

    /// Ends the sessions of guests that a crash interrupted: their processes died with the platform.
    pub async fn end_left_behind(&self) -> Result<(), StoreError> {
        // What reviews of theirs collected, too.
        tokio::task::spawn_blocking(|| match Aside::sweep() {
            0 => {}
            many => tracing::info!(many, "removed what reviews of dead platforms left"),
        });
        for state in [Session::Created, Session::Queued, Session::Running] {
            for session in self.sessions(state)? {
                if session.guest.is_some() && !self.registry.holds(&session.id) {
                    let reason = "the platform ended, and the guest with it";
                    if let Err(error) = self.end(&session.id, SessionEvent::Cancel, reason, None).await {
                        tracing::warn!(session = session.id, %error, "a guest's session cannot be ended");
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends all that run and waits until their last processes are dead: when the platform stops.
    pub async fn drain(&self) {
        self.registry.drain().await;
    }

    /// Resolves when none runs.
    pub async fn rest(&self) {
        self.registry.rest().await;
    }

    fn sessions(&self, state: Session) -> Result<Vec<SessionView>, StoreError> {
        match self.gate.sessions(Some(state), usize::MAX) {
            Ok(sessions) => Ok(sessions),
            Err(SessionError::Store(error)) => Err(error),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// The image that a reference means now: what is judged, recorded and run. Blocks.
    ///
    /// # Errors
    /// No engine answers, or it has no such image.
    pub fn image(
        &self,
        engine: Option<EngineKind>,
        reference: &str,
    ) -> Result<(Container, Image), EngineError> {
        self.launching.image(engine, reference)
    }

    /// For whoever runs a guest: the platform, when it stops, waits until this is dropped.
    ///
    /// # Errors
    /// It stops already.
    pub fn enter(&self) -> Result<Driving, RunError> {
        self.registry.drive().ok_or(RunError::Stopping)
    }

    /// Runs one guest to its end, or until `end` says so or is dropped. Whatever happens, nothing of it runs when
    /// this returns or is dropped, and its session is over.
    pub async fn run(
        &self,
        _driving: &Driving,
        run: Run,
        news: mpsc::UnboundedSender<News>,
        end: oneshot::Receiver<()>,
    ) -> Result<Ended, RunError> {
        let session = self.begin(&run).await?;
        let _ = news.send(News::Session(session.id.clone()));
        let (id, doors) = (session.id.clone(), Arc::clone(&run.doors));
        doors.prepare(&session);
        let end = Quit { end, is_over: false };
        let ended = self.run_in(session.clone(), run, &news, end).await;
        doors.close(&session);
        match ended {
            Ok(ended) => Ok(ended),
            Err(error) => {
                // What was refused is no failure of the platform, but nothing came of the session.
                if let Err(error) = self.end(&id, SessionEvent::Fail, &error.to_string(), None).await {
                    tracing::warn!(session = id, %error, "a guest's session cannot be ended");
                }
                Err(error)
            }
        }
    }

    /// The session that it runs in, already running.
    async fn begin(&self, run: &Run) -> Result<SessionView, RunError> {
        let new = NewSession {
            agent: run.agent.clone(),
            cause: run.by.clone(),
            correlation: None,
            input: json!({ "argv": run.spec.argv, "workspace": run.spec.workspace }),
            title: format!("run {}", run.spec.argv.join(" ")),
            idempotency_key: None,
            urgent: false,
            // Whatever it reads in its workspace, nobody labelled.
            taint: Taints::UNTRUSTED,
        };
        Ok(self.gate.create_guest_session(new, run.lent.clone()).await?)
    }

    async fn run_in(
        &self,
        session: SessionView,
        run: Run,
        news: &mpsc::UnboundedSender<News>,
        mut end: Quit,
    ) -> Result<Ended, RunError> {
        // INVARIANT (no guest that a stop misses): its place before its permit, so that whoever stops it waits for it.
        let cut = self.registry.enter(&session);
        let Run {
            mut spec,
            stdio,
            doors,
            verdict,
            ..
        } = run;
        spec.env.insert(SESSION_VARIABLE.to_owned(), session.id.clone());
        let spec = Arc::new(spec);
        let proposal = Proposal {
            session: session.id.clone(),
            step: STEP.to_owned(),
            action: action(&spec)?,
        };
        let permit = self.permitted(proposal, (&cut, news, &mut end)).await?;
        let flight = permit.spend(self.gate.stop_set())?;
        let (flight, before) = looked(flight, &spec, (&cut, &mut end)).await?;
        let (flight, guest) = self.launch(flight, Arc::clone(&spec), stdio).await?;
        let (exit, flight, was_ended) = self
            .see_through(&session, flight, guest, &*doors, (&cut, news, &mut end))
            .await?;
        let collected = Collected::of(&spec, &before).await;
        let changed = match &collected {
            Some(collected) => collected.changes(),
            None => {
                let after = changes::beside(spec.workspace.clone(), spec.hidden.clone()).await;
                changes::between(&before, &after)
            }
        };
        let entry = flight.entry();
        let settling = flight.settle(settlement(&exit, &changed));
        let (event, reason) = over(&exit);
        if collected.is_none() {
            // Both are handed over in this order, and are durable together.
            let output = json!({ "exit": exit, "review": null });
            let ending = self.end(&session.id, event, &reason, Some(output));
            let (settled, session) = tokio::join!(settling, ending);
            settled?;
            return Ok(Ended {
                session: session?,
                exit,
                entry,
                reviewed: None,
            });
        }
        settling.await?;
        // Nobody is asked about what somebody just ended.
        let verdict = verdict.filter(|_| !was_ended);
        let asked = self.reviewed(&session, collected, verdict, (&cut, news, &mut end));
        let reviewed = asked.await?;
        let output = json!({ "exit": exit, "review": reviewed });
        let session = self.end(&session.id, event, &reason, Some(output)).await;
        Ok(Ended {
            session: session?,
            exit,
            entry,
            reviewed,
        })
    }

    /// The permit, once a person has decided if one is asked: the same step of the same session is proposed again.
    async fn permitted(
        &self,
        proposal: Proposal,
        (cut, news, end): (&Place, &mpsc::UnboundedSender<News>, &mut Quit),
    ) -> Result<Permit, RunError> {
        loop {
            let approval = match self.gate.admit_soon(proposal.clone()).await {
                Err(Refusal::Parked { approval, .. }) => approval,
                judged => return Ok(judged?),
            };
            let _ = news.send(News::Waits(approval.clone()));
            tokio::select! {
                decided = self.decided(&approval) => decided?,
                () = cut.wanted() => return Err(RunError::Ended),
                () = end.wanted() => return Err(RunError::Ended),
            }
        }
    }

    /// Resolves when somebody, or its time, has decided about `approval`.
    async fn decided(&self, approval: &str) -> Result<(), RunError> {
        let mut committed = self.gate.store().committed();
        loop {
            committed.mark_unchanged();
            let read = self.gate.approval(approval).map_err(SessionError::Store)?;
            let waits = read.is_some_and(|approval| approval.state == Approval::Pending);
            if !waits || committed.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Beside the async threads: a launch takes milliseconds, and the first one starts the launcher.
    async fn launch(
        &self,
        flight: InFlight,
        spec: Arc<Spec>,
        stdio: [OwnedFd; 3],
    ) -> Result<(InFlight, Guest), RunError> {
        let launching = Arc::clone(&self.launching);
        let launching = tokio::task::spawn_blocking(move || {
            let guest = launching.launch(&flight, &spec, stdio);
            (flight, guest)
        });
        // Should nobody wait any more, the guest is dropped, which ends it, and its flight is uncertain.
        let broken = |error: tokio::task::JoinError| LaunchError::Gone(error.to_string());
        match launching.await.map_err(broken)? {
            (flight, Ok(guest)) => Ok((flight, guest)),
            (flight, Err(error)) => {
                // Of what nobody answered about, it is not known whether it began.
                let outcome = match error {
                    LaunchError::Gone(_) => Outcome::Uncertain,
                    _ => Outcome::NotStarted,
                };
                let settlement = report::ended(outcome, "not_launched", &error.to_string(), Value::Null);
                flight.settle(settlement).await?;
                Err(error.into())
            }
        }
    }

    /// Until its last process is dead; and whether it was told to end.
    async fn see_through(
        &self,
        session: &SessionView,
        flight: InFlight,
        mut guest: Guest,
        doors: &dyn Doors,
        (cut, news, end): (&Place, &mpsc::UnboundedSender<News>, &mut Quit),
    ) -> Result<(Exit, InFlight, bool), RunError> {
        let rules = guest.rules().clone();
        let note = json!({ "guest": "started", "permit": flight.entry(), "rules": rules });
        // INVARIANT (no guest without its rules on record, or without its doors): it is ended before anything else.
        let noted = self.gate.note(&session.id, &running::platform(), note).await;
        let open = |door: sandbox::Door| doors.open(session, door.listener).map_err(RunError::Door);
        let served: Result<Vec<Opened>, RunError> = match noted {
            Ok(_) => guest.take_doors().into_iter().map(open).collect(),
            Err(error) => Err(error.into()),
        };
        let served = match served {
            Ok(served) => served,
            Err(error) => {
                guest.kill();
                guest.wait().await;
                let settlement =
                    report::ended(Outcome::Cancelled, "not_served", &error.to_string(), Value::Null);
                flight.settle(settlement).await?;
                return Err(error);
            }
        };
        let _ = news.send(News::Started(Box::new(rules)));
        let cancel = flight.cancel();
        let mut told = false;
        let exit = loop {
            tokio::select! {
                exit = guest.wait() => break exit,
                () = cancel.cancelled(), if !told => { told = true; cut.cut(); guest.kill(); }
                () = cut.wanted(), if !told => { told = true; guest.kill(); }
                // Told to end, or nobody is there any more who could tell it.
                () = end.wanted(), if !told => { told = true; guest.kill(); }
            }
        };
        drop(served);
        Ok((exit, flight, told))
    }

    /// Drives a session to its end; somebody else may have done so.
    async fn end(
        &self,
        session: &str,
        event: SessionEvent,
        reason: &str,
        output: Option<Value>,
    ) -> Result<SessionView, SessionError> {
        let by = running::platform();
        let reason = Some(assay::redact::line(reason, REASON_CHARS_MAX));
        match self.gate.session_event(session, &by, event, reason, output).await {
            Err(SessionError::Illegal(_)) => self.gate.session(session),
            ended => ended,
        }
    }
}

/// What running `spec` means: a program that works in a workspace.
fn action(spec: &Spec) -> Result<Action, ActionError> {
    // What is collected for a review changes nothing yet.
    let effect = match spec.review {
        Some(_) => Effect::Read,
        None => Effect::Write,
    };
    let names: Vec<&String> = spec.env.keys().collect();
    let mut arguments = json!({
        "argv": spec.argv,
        // Values may be secrets; names are none.
        "env": names,
        "workspace": spec.workspace,
        "review": spec.review.is_some(),
        "git": spec.git,
        "reads": spec.reads,
        "profile": spec.profile,
        "limits": spec.limits,
        "doors": spec.doors,
        "degrade": spec.degrade,
    });
    if let (Some(container), Some(arguments)) = (&spec.container, arguments.as_object_mut()) {
        arguments.insert("container".to_owned(), json!(container));
    }
    let resource = format!("workspace{}", spec.workspace.display());
    let made = Action::new(
        Verb::new(VERB)?,
        &resource,
        arguments,
        Environment::new(ENVIRONMENT)?,
        effect,
        Idempotence::Once,
    );
    Ok(made?.bringing(Taints::UNTRUSTED).local())
}

/// The outcome of the action that ran a guest.
fn settlement(exit: &Exit, changed: &changes::Changes) -> Settlement {
    let result = json!({ "exit": exit, "workspace": changed });
    let told = format!("{}; {changed}", said(exit));
    match (&exit.stop, exit.end) {
        (Some(Stop::Launcher), _) => report::ended(Outcome::Uncertain, "launcher", &told, result),
        (Some(Stop::Killed), _) => report::ended(Outcome::Cancelled, "killed", &told, result),
        (Some(_), _) => report::failure("stopped", &told, result),
        (None, End::Code(0)) => report::success(result, &told, true),
        (None, _) => report::failure("exit", &told, result),
    }
}

/// What there is before anything of it runs, unless it is ended first.
async fn looked(
    flight: InFlight,
    spec: &Spec,
    (cut, end): (&Place, &mut Quit),
) -> Result<(InFlight, Arc<changes::Snapshot>), RunError> {
    let looking = changes::beside(spec.workspace.clone(), spec.hidden.clone());
    let before = tokio::select! {
        before = looking => before,
        () = cut.wanted() => return Err(unbegun(flight).await?),
        () = end.wanted() => return Err(unbegun(flight).await?),
    };
    Ok((flight, Arc::new(before)))
}

/// Records that nothing ran.
async fn unbegun(flight: InFlight) -> Result<RunError, RunError> {
    let why = "it was ended before it began";
    let settlement = report::ended(Outcome::NotStarted, "killed", why, Value::Null);
    flight.settle(settlement).await?;
    Ok(RunError::Ended)
}

/// Why the gate said no, and what would change that.
#[must_use]
pub fn refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Denied(denial) => format!("{refusal}; what would change it: {}", denial.remedy()),
        other => other.to_string(),
    }
}

/// What becomes of the session, and why.
fn over(exit: &Exit) -> (SessionEvent, String) {
    let event = match (&exit.stop, exit.end) {
        (Some(Stop::Killed), _) => SessionEvent::Cancel,
        (None, End::Code(0)) => SessionEvent::Complete,
        _ => SessionEvent::Fail,
    };
    (event, said(exit))
}

/// How a guest ended, in one sentence without a full stop.
#[must_use]
pub fn said(exit: &Exit) -> String {
    let own = match exit.end {
        End::Code(code) => format!("it ended with {code}"),
        End::Signal(signal) => format!("it was ended by signal {signal}"),
    };
    match &exit.stop {
        None => own,
        Some(Stop::Timeout) => "its time was over".to_owned(),
        Some(Stop::Memory) => "it wanted more memory than it may have".to_owned(),
        Some(Stop::Disk) => "the file system of its workspace was nearly full".to_owned(),
        Some(Stop::Call(name)) => format!("it made the system call `{name}`, which its profile forbids"),
        Some(Stop::Killed) => "it was killed".to_owned(),
        Some(Stop::Launcher) => "the launcher is gone, and the guest with it".to_owned(),
    }
}
