//! Certificates of agents at the gate: what is said to an agent that is stopped, or that changes while its certificate is signed.

use crate::races::{held, settle_down};
use crate::trust::{sponsored, world_of};
use crate::world::{World, rules};
use gate::svid::{Presented, Svid, SvidError, Svids};
use gate::{EVERYWHERE, Thumbprint};
use policy::{AgentEvent, Level, Principal, StopScope};

const STOPPED: &str = "agent `triage` gets no certificate: it is stopped by person:eve: odd";

async fn issue(world: &World, svids: &Svids) -> Result<Svid, SvidError> {
    let by = Principal::agent("triage");
    world.gate.issue_svid(svids, &by, "triage", 900).await
}

#[tokio::test]
async fn a_stopped_agent_gets_no_certificate_and_is_nobody_by_the_one_it_has() {
    let world = world_of(&rules(), sponsored(Level::L2)).await;
    let directory = tempfile::tempdir().unwrap();
    let svids = Svids::new(directory.path().join("svid"), "example.org/team");
    let svid = issue(&world, &svids).await.unwrap();
    let key = world.gate.agent("triage").unwrap().keys[0].public_key.clone();
    let key = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, key).unwrap();
    let uris = [svid.spiffe_id.clone()];
    let called = || {
        let presented = Presented {
            uris: &uris,
            key: key.clone().try_into().ok(),
            thumbprint: Thumbprint::of(b"certificate"),
        };
        let caller = world.gate.caller_by_svid(&svids, &presented);
        caller
            .map(|caller| caller.principal().to_string())
            .map_err(|error| error.to_string())
    };
    assert_eq!(called(), Ok("agent:triage".to_owned()));
    let (eve, scope) = (Principal::person("eve"), StopScope::Agent("triage".into()));
    world.gate.stop(&eve, scope.clone(), "odd").await;
    // Nor the one that was made a moment ago.
    assert_eq!(issue(&world, &svids).await.unwrap_err().to_string(), STOPPED);
    assert_eq!(
        called(),
        Err("agent:triage is stopped by person:eve: odd".to_owned())
    );
    world.gate.lift(&eve, EVERYWHERE, &scope, "seen").await.unwrap();
    assert_eq!(issue(&world, &svids).await.unwrap(), svid);
    assert_eq!(called(), Ok("agent:triage".to_owned()));
}

/// The journal's thread is held: the certificate is signed, and what ends it comes first into the journal.
#[tokio::test]
async fn what_changes_while_it_is_signed_is_judged_again() {
    for (what, expected) in [
        (
            "suspended",
            "what agent `triage` rests on changed meanwhile: ask again",
        ),
        ("stopped", STOPPED),
    ] {
        let world = world_of(&rules(), sponsored(Level::L2)).await;
        let directory = tempfile::tempdir().unwrap();
        let svids = Svids::new(directory.path().join("svid"), "example.org/team");
        let eve = Principal::person("eve");
        let go = held(&world).await;
        let (gate, by) = (world.gate.clone(), eve.clone());
        let suspending = (what == "suspended").then(|| {
            tokio::spawn(async move {
                let event = AgentEvent::Suspend;
                gate.agent_event(&by, EVERYWHERE, "triage", event, "odd", None)
                    .await
                    .map(drop)
            })
        });
        settle_down().await;
        let gate = world.gate.clone();
        let issuing = tokio::spawn(async move {
            let by = Principal::agent("triage");
            gate.issue_svid(&svids, &by, "triage", 900).await
        });
        settle_down().await;
        assert!(!issuing.is_finished(), "{what}: it waits for the journal");
        let stopping = suspending.is_none().then(|| {
            let gate = world.gate.clone();
            tokio::spawn(async move { drop(gate.stop(&eve, StopScope::Agent("triage".into()), "odd").await) })
        });
        settle_down().await;
        drop(go);
        assert_eq!(
            issuing.await.unwrap().unwrap_err().to_string(),
            expected,
            "{what}"
        );
        match (suspending, stopping) {
            (Some(suspending), _) => suspending.await.unwrap().unwrap(),
            (_, Some(stopping)) => stopping.await.unwrap(),
            _ => {}
        }
        let issued = world.bodies("svid.issued").len();
        assert_eq!(
            issued,
            usize::from(what == "stopped"),
            "{what}: the record of one that nobody got"
        );
    }
}
