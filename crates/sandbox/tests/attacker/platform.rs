//! A platform with one guest, which waits to be killed.

use crate::{Outcome, word};
use policy::{
    Action, Autonomy, Capability, Chain, Context, Decision, Effect, Environment, Grant, Idempotence, Level,
    Link, Member, Permit, Place, PolicySet, Principal, SessionFacts, Settle, SettleFuture, Settlement,
    StopSet, Subject, Taints, Timestamp, Unsettled, Verb, decide,
};
use sandbox::{Bind, Config, Launcher, Spec};
use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug)]
struct Nobody;

impl Settle for Nobody {
    fn settle(self: Box<Self>, entry: u64, _: Settlement) -> SettleFuture {
        let reason = "a test".to_owned();
        Box::pin(std::future::ready(Err(Unsettled { entry, reason })))
    }
    fn abandoned(self: Box<Self>, _: u64, _: bool) {}
}

/// An action in flight that no gate gave.
pub fn flight() -> policy::InFlight {
    let grant = Grant {
        capability: Capability::parse("*:*").unwrap(),
        from: "test".to_owned(),
        until: None,
    };
    let autonomy = Autonomy {
        default: Level::L3,
        ..Autonomy::default()
    };
    let link = Link::new(Principal::agent("guest"), vec![grant], autonomy);
    let chain = Chain {
        cause: Principal::person("alice"),
        links: vec![link],
    };
    let (verb, environment) = (
        Verb::new("exec.run").unwrap(),
        Environment::new("staging").unwrap(),
    );
    let arguments = serde_json::json!({});
    let action = Action::new(
        verb,
        "sandbox",
        arguments,
        environment,
        Effect::Read,
        Idempotence::Once,
    )
    .unwrap();
    let session = SessionFacts {
        id: "ses-1".to_owned(),
        version: 1,
        actions: 0,
    };
    let context = Context {
        now: Timestamp::from_ms(0),
        taint: Taints::NONE,
        trust: 900,
        session,
        approval: None,
    };
    let ruling = match decide(&chain, action, &context, &PolicySet::empty()) {
        Decision::Permit(ruling) => ruling,
        _ => unreachable!("a read is permitted"),
    };
    let member = Member {
        name: "guest".to_owned(),
        place: Place::default(),
    };
    let subject = Subject {
        agents: vec![member],
        session: "ses-1".to_owned(),
        doing: None,
    };
    Permit::now_durable(ruling, 0, subject, Box::new(Nobody))
        .spend(&Arc::new(StopSet::new()))
        .unwrap()
}

/// A launcher with a guest that holds a lock. Its user may be any.
pub fn platform(args: &[String]) -> Outcome {
    let site = Path::new(word(args, 0));
    let launcher = Launcher::start(Config::default()).unwrap();
    let attacker = site.join("attacker");
    let mut argv = vec![attacker.to_str().unwrap().to_owned()];
    argv.extend(["hold", word(args, 1), word(args, 2)].map(str::to_owned));
    let mut spec = Spec::new(argv, site.join("workspace"));
    spec.workspace_at = spec.workspace.clone();
    spec.limits.disk_free_bytes = 0;
    spec.reads = vec![Bind {
        source: attacker.clone(),
        target: attacker,
    }];
    for part in launcher.ability().missing.keys() {
        spec.degrade.insert(*part);
    }
    let (out, to_out) = std::io::pipe()?;
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let guest = launcher
        .launch(&flight(), &spec, [null(), to_out.into(), null()])
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(out).read_line(&mut line)?;
    print!("{line}");
    std::io::Write::flush(&mut std::io::stdout())?;
    loop {
        std::hint::black_box(&guest);
        std::thread::park();
    }
}
