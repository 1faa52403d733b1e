//! Guests as a stop sees them: they keep the contract of everything that a stop has to end.

use crate::common::Platform;
use crate::stoppable::{Stand, is_kept_by};
use gate::{GUEST, Gate, GuestSession, SessionView};
use policy::{Capability, Principal, StopScope};
use runtime::guest::{Doors, Guests, Launching, News, Opened, Run, VERB};
use sandbox::{Config, Launcher, Spec};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, oneshot};

/// Nobody comes.
struct Closed;

impl Doors for Closed {
    fn prepare(&self, _: &SessionView) {}
    fn open(&self, _: &SessionView, listener: TcpListener) -> std::io::Result<Opened> {
        Ok(Box::new(listener))
    }
    fn close(&self, _: &SessionView) {}
}

/// Each runs `sleep` for a number of seconds of its own, by which it is found among all processes.
struct Sleepers {
    platform: Platform,
    guests: Arc<Guests>,
    place: tempfile::TempDir,
    next: AtomicU32,
    marks: Mutex<BTreeMap<String, (String, oneshot::Sender<()>)>>,
}

fn is_there(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes.into_iter().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
    })
}

impl Sleepers {
    /// Those of the platform's own agent are covered; another agent's only look, which needs no rule.
    fn run(&self, covered: bool, mark: &str) -> Run {
        let workspace = self.place.path().join("workspace");
        let mut spec = Spec::new(vec!["sleep".to_owned(), mark.to_owned()], workspace.clone());
        if !covered {
            let review = self.place.path().join(mark);
            std::fs::create_dir(&review).unwrap();
            spec.review = Some(review);
        }
        let capability = Capability::new(VERB, &format!("workspace{}", workspace.display()));
        let null = || {
            OwnedFd::from(
                std::fs::File::options()
                    .read(true)
                    .write(true)
                    .open("/dev/null")
                    .unwrap(),
            )
        };
        Run {
            agent: if covered { GUEST } else { "finder" }.to_owned(),
            by: Principal::person("alice"),
            lent: GuestSession {
                lent: capability.into_iter().collect(),
                learns: false,
                budget: None,
            },
            doors: Arc::new(Closed),
            spec,
            stdio: [null(), null(), null()],
            verdict: None,
        }
    }
}

impl Stand for Sleepers {
    fn gate(&self) -> &Arc<Gate> {
        &self.platform.running.as_ref().unwrap().app().gate
    }
    fn what(&self) -> &'static str {
        "processes"
    }
    fn scope(&self) -> StopScope {
        StopScope::Agent(GUEST.to_owned())
    }
    async fn open(&self, covered: bool) -> Option<String> {
        let mark = format!("87{:04}", self.next.fetch_add(1, Ordering::SeqCst));
        let (news, mut heard) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let (guests, run) = (Arc::clone(&self.guests), self.run(covered, &mark));
        tokio::spawn(async move {
            let driving = guests.enter().unwrap();
            if let Err(error) = guests.run(&driving, run, news, ended).await {
                eprintln!("{error}");
            }
        });
        let mut session = None;
        while let Some(said) = heard.recv().await {
            match said {
                News::Session(id) => session = Some(id),
                News::Started(_) => {
                    let name = session?;
                    self.marks.lock().unwrap().insert(name.clone(), (mark, end));
                    return Some(name);
                }
                other => panic!("{other:?}"),
            }
        }
        None
    }
    async fn lives(&self, name: &str) -> bool {
        self.marks
            .lock()
            .unwrap()
            .get(name)
            .is_some_and(|(mark, _)| is_there(mark))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_keep_the_contract_of_all_that_is_stopped() {
    let config = Config {
        program: env!("CARGO_BIN_EXE_cofferdam").into(),
        ..Config::default()
    };
    let ability = Launcher::start(config.clone()).unwrap().ability().clone();
    if !(ability.is_whole() && ability.review.is_ok()) {
        assert!(
            std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_none(),
            "walls are insisted upon: {ability:?}"
        );
        eprintln!("skipped: this machine lacks walls, see `cofferdam sandbox check`");
        return;
    }
    let platform = Platform::start().await;
    let place = tempfile::Builder::new()
        .prefix("cofferdam-")
        .tempdir_in("/var/tmp")
        .unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), open).unwrap();
    std::fs::create_dir(place.path().join("workspace")).unwrap();
    let guests = Guests::new(
        &platform.running.as_ref().unwrap().app().runtime,
        Launching::new(config),
    );
    let sleepers = Sleepers {
        platform,
        guests,
        place,
        next: AtomicU32::new(0),
        marks: Mutex::default(),
    };
    is_kept_by(&sleepers).await;
    sleepers.guests.drain().await;
    let marks = std::mem::take(&mut *sleepers.marks.lock().unwrap());
    assert!(marks.values().all(|(mark, _)| !is_there(mark)));
}
