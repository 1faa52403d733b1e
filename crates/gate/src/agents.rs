//! Agents as principals: a DID and keys, a person who answers for each, and a status that the next action
//! meets. Private keys lie with the organization's and are read where something is signed, nowhere else.

pub(crate) mod key;
mod projection;
mod read;

pub(crate) use projection::{Agents, PersonRow};
pub(crate) use read::{
    agent_row, all, each, generation, generation_now, of_key, person_row, read_agent, read_person,
};

use crate::record::short;
use crate::{AgentAuthority, Authority, Gate, HeldAt, InstallError, Spot, held};
use journal::kind;
use key::{AgentKey, unwritten, written};
use policy::{
    AgentEvent, AgentStatus, IllegalAgentEvent, Place, Principal, Reach, Timestamp, did_key, key_id,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Keyring, KeysError, NewEntry, StoreError, Tx};
use zeroize::Zeroizing;

/// Name of the projection.
pub(crate) const AGENTS: &str = "agents";
/// Old keys that are remembered (S3-I7).
pub(crate) const KEYS_KEPT: usize = 5;
/// How long a key that was replaced still verifies, in milliseconds (S3-I7).
const KEY_KEPT_MS: i64 = 24 * 60 * 60 * 1000;
/// Names that begin so are the platform's own: no document has one, and nobody creates, holds back or
/// ends an agent of such a name.
pub const RESERVED_PREFIXES: [&str; 2] = ["cofferdam-", "built-in-"];

/// Whether the name is one of the platform's own.
pub fn is_reserved(name: &str) -> bool {
    RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
/// What is said of an agent without a person who answers for it.
pub const NO_SPONSOR: &str = "an agent needs a sponsor: the name of a person";
/// Most agents above each other by which one was created.
const PARENTS_MAX: usize = 16;

/// A key that an agent has or had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldKey {
    /// `key-` and 16 hexadecimal digits.
    pub id: String,
    /// Base64url.
    pub public_key: String,
    /// When it was made.
    pub since: Timestamp,
    /// Verifies strictly before; `None` for the present one.
    pub until: Option<Timestamp>,
}

/// An agent as stored and as shown; no private key is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentRow {
    /// Unique on the platform.
    pub name: String,
    /// `did:key` of its first key; stays when keys are rotated.
    pub did: String,
    /// The present key first, then at most five old ones.
    pub keys: Vec<HeldKey>,
    /// The person who answered for it when it was created. Its document, if there is one, prevails.
    pub sponsor: String,
    /// Where it belonged then.
    pub place: Place,
    /// The agent that it was created under, whose sponsor it inherited.
    pub parent: Option<String>,
    /// Acts strictly before.
    pub expires: Option<Timestamp>,
    /// Where it stands; what time does to it comes in by [`AgentRow::status_at`].
    pub status: AgentStatus,
    /// Where the role holds of those who hold it back, while it is suspended or locked.
    #[serde(default = "HeldAt::root", skip_serializing_if = "HeldAt::is_root")]
    pub held_at: HeldAt,
    /// Why, in the words of whoever changed it last.
    pub reason: Option<String>,
    /// When.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
}

/// What to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAgent {
    /// Unique on the platform.
    pub name: String,
    /// The person who answers for it; `None` for that of `parent`.
    pub sponsor: Option<String>,
    /// The agent whose sponsor and place it inherits, and whose end it cannot outlive.
    pub parent: Option<String>,
    /// Where it belongs; `None` for the place of `parent`, or the default.
    pub place: Option<Place>,
    /// Acts strictly before.
    pub expires: Option<Timestamp>,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There is none of that name.
    #[error("no agent `{0}`")]
    Unknown(String),
    /// There is one of that name.
    #[error("there is an agent `{0}` already")]
    Exists(String),
    /// It cannot be like that.
    #[error("{0}")]
    Misfit(String),
    /// It is held back by a role at a place where theirs does not hold.
    #[error("agent `{0}` is held back at {1}, and your role does not hold there")]
    Above(String, String),
    /// Its status does not allow that.
    #[error(transparent)]
    Illegal(#[from] IllegalAgentEvent),
    /// Its key cannot be read or kept.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AgentRow {
    /// Where it stands at `now`.
    pub fn status_at(&self, now: Timestamp) -> AgentStatus {
        match self.expires {
            Some(expires) if now >= expires => self.status.after(AgentEvent::Expire).unwrap_or(self.status),
            _ => self.status,
        }
    }

    /// Where the role holds of those who hold it back now.
    pub fn held_at_now(&self) -> Option<&HeldAt> {
        matches!(self.status, AgentStatus::Suspended | AgentStatus::Locked).then_some(&self.held_at)
    }

    /// When it, and each of its keys, stops to hold by itself.
    pub(crate) fn ends(&self) -> impl Iterator<Item = Timestamp> {
        let keys = self.keys.iter().filter_map(|key| key.until);
        keys.chain(self.expires)
    }

    /// Whether `public` is a key of its that verifies at `now`.
    pub(crate) fn verifies_with(&self, public: &[u8; 32], now: Timestamp) -> bool {
        let text = written(public);
        let holds = |key: &&HeldKey| key.until.is_none_or(|until| now < until);
        self.keys.iter().filter(holds).any(|key| key.public_key == text)
    }

    /// Its present key.
    pub(crate) fn public(&self) -> Option<[u8; 32]> {
        self.keys.first().and_then(|key| unwritten(&key.public_key))
    }
}

impl Gate {
    /// Makes an agent known before anything configures it; applying its document lets it act.
    pub async fn create_agent(&self, by: &Principal, new: NewAgent) -> Result<AgentRow, AgentError> {
        if !Place::is_name(&new.name) {
            return Err(AgentError::Misfit(format!(
                "`{}` is not a name of an agent",
                new.name
            )));
        }
        not_the_platforms(&new.name)?;
        let authority = self.authority();
        let now = self.deadlines.now();
        let key = self.new_key()?;
        let by = by.clone();
        self.changing_agent(move |tx| {
            if agent_row(tx, &new.name)?.is_some() {
                return Err(AgentError::Exists(new.name));
            }
            let parent = match &new.parent {
                Some(parent) => {
                    let row = agent_row(tx, parent)?.ok_or_else(|| AgentError::Unknown(parent.clone()))?;
                    if row.status_at(now) != AgentStatus::Active {
                        let what = format!("agent `{parent}` is {}", row.status_at(now).as_str());
                        return Err(AgentError::Misfit(what));
                    }
                    Some(row)
                }
                None => None,
            };
            let sponsor = sponsor_for(tx, &authority, new.sponsor.as_deref(), parent.as_ref())?;
            let ends = parent.as_ref().and_then(|row| row.expires);
            if let (Some(end), true) = (
                ends,
                new.expires.is_none_or(|own| ends.is_some_and(|end| own > end)),
            ) {
                return Err(AgentError::Misfit(format!(
                    "its parent ends at {end}; it cannot outlive it"
                )));
            }
            let place = new.place.or(parent.map(|row| row.place)).unwrap_or_default();
            tx.append(created(
                &by,
                &new.name,
                &key,
                &sponsor,
                &place,
                new.parent.as_deref(),
                new.expires,
            ))?;
            agent_row(tx, &new.name)?.ok_or(AgentError::Unknown(new.name))
        })
        .await
    }

    /// Drives an agent's status; effective on its next action. `reaches` is where `by` has the role for it:
    /// what is held back at a place, a role there lets act again. `expires` is its new end when it is
    /// renewed.
    pub async fn agent_event(
        &self,
        by: &Principal,
        reaches: &[Reach],
        name: &str,
        event: AgentEvent,
        reason: &str,
        expires: Option<Timestamp>,
    ) -> Result<AgentRow, AgentError> {
        let name = self.known_name(name);
        not_the_platforms(&name)?;
        let now = self.deadlines.now();
        if event == AgentEvent::Renew && expires.is_none_or(|expires| expires <= now) {
            return Err(AgentError::Misfit(
                "say until when it shall act; that has to be in the future".to_owned(),
            ));
        }
        if event != AgentEvent::Renew && expires.is_some() {
            return Err(AgentError::Misfit(
                "only an agent that has expired gets another end".to_owned(),
            ));
        }
        let (by, reason, reaches) = (by.clone(), short(reason), reaches.to_vec());
        let at = held::widest(&reaches, &self.spot_of(&name)?);
        self.changing_agent(move |tx| {
            let row = agent_row(tx, &name)?.ok_or_else(|| AgentError::Unknown(name.clone()))?;
            row.status_at(now).after(event)?;
            let lets_go = matches!(event, AgentEvent::Resume | AgentEvent::Override);
            if let Some(above) = row.held_at.above(&reaches).filter(|_| lets_go) {
                return Err(AgentError::Above(name, held::told(above)));
            }
            let holds = matches!(event, AgentEvent::Suspend | AgentEvent::Lock);
            let at = held::said(&at).filter(|_| holds);
            // Whoever holds back once more what is locked does not say why it is locked.
            let locked_before = row.status == AgentStatus::Locked && event == AgentEvent::Suspend;
            tx.append(driven(&by, &name, event, (&reason, expires), at, locked_before)?)?;
            agent_row(tx, &name)?.ok_or(AgentError::Unknown(name))
        })
        .await
    }

    /// Gives an agent a new key, proved by the old one, which verifies for another 24 hours.
    pub async fn rotate_agent(&self, by: &Principal, name: &str) -> Result<AgentRow, AgentError> {
        let name = self.known_name(name);
        not_the_platforms(&name)?;
        self.identify_agents(std::slice::from_ref(&name)).await?;
        let row = self.agent(&name)?;
        let status = row.status_at(self.deadlines.now());
        if status != AgentStatus::Active {
            return Err(AgentError::Misfit(format!(
                "an agent that is {} gets no new key",
                status.as_str()
            )));
        }
        let dropped = row.keys.get(KEYS_KEPT).cloned();
        let present = row.keys.first().map(|key| key.id.clone()).unwrap_or_default();
        let old = AgentKey::from_seed(&*self.keyring()?.read(&present)?);
        let next = self.new_key()?;
        let body = json!({
            "agent": name, "key": key_id(&next), "public_key": written(&next),
            "proof": written(&old.rotate_to(&next)), "forgotten": dropped.as_ref().map(|key| &key.public_key),
        });
        let by = by.clone();
        let rotated = self
            .changing_agent(move |tx| {
                let row = agent_row(tx, &name)?.ok_or_else(|| AgentError::Unknown(name.clone()))?;
                if row.keys.first().is_none_or(|key| key.id != present) {
                    return Err(AgentError::Misfit("its key was rotated meanwhile".to_owned()));
                }
                tx.append(NewEntry::new(kind::AGENT_ROTATED, by, body))?;
                agent_row(tx, &name)?.ok_or(AgentError::Unknown(name))
            })
            .await?;
        if let Some(dropped) = dropped {
            self.keyring()?.remove(&dropped.id)?;
        }
        Ok(rotated)
    }

    /// One agent that is known, by its name after any suffix of its path.
    pub fn agent(&self, written: &str) -> Result<AgentRow, AgentError> {
        let name = self.known_name(written);
        let row = self.store.read(|reader| read_agent(reader, &name))?;
        let fits = |row: &AgentRow| {
            name != written || row.place.answers_to(&row.name, written) || row.name == written
        };
        row.filter(fits)
            .ok_or_else(|| AgentError::Unknown(written.to_owned()))
    }

    /// Where an agent is: where it is configured to be, or was when it was made known. The platform's own
    /// agents and those that nobody knows are nowhere but at the root.
    pub fn spot_of(&self, name: &str) -> Result<Spot, StoreError> {
        if is_reserved(name) || !Place::is_name(name) {
            return Ok(Spot::Root);
        }
        let configured = self.authority().agents.get(name).map(|held| held.place.clone());
        let place = match configured {
            Some(place) => Some(place),
            None => self
                .store
                .read(|reader| read_agent(reader, name))?
                .map(|row| row.place),
        };
        Ok(place.map_or(Spot::Root, |place| Spot::Agent(place, name.to_owned())))
    }

    /// All agents that are known, by name.
    pub fn agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        self.store.read(|reader| all(reader, "agent/"))
    }

    /// Makes those of `names` known that are configured and not known yet, and lets those act that were
    /// created before they were configured. For documents, and for what was there before identities.
    pub async fn identify_agents(&self, names: &[String]) -> Result<(), AgentError> {
        let authority = self.authority();
        for name in names {
            let Some(held) = authority.agents.get(name) else {
                continue;
            };
            let row = self.store.read(|reader| read_agent(reader, name))?;
            if row.is_some_and(|row| row.status != AgentStatus::Created) {
                continue;
            }
            let (key, name, held) = (self.new_key()?, name.clone(), held.clone());
            let write = move |tx: &mut Tx<'_>| identify(tx, &crate::gate::platform(), &name, &held, &key);
            self.store.write::<_, StoreError, _>(write).await?;
        }
        Ok(())
    }

    /// The agent's name, of how a person wrote it.
    pub(crate) fn known_name(&self, written: &str) -> String {
        let authority = self.authority();
        let found = authority.resolve(written).map(|(name, _)| name.to_owned());
        found.unwrap_or_else(|| written.to_owned())
    }

    /// A new key, kept; its public half. One that is never recorded is never used.
    pub(crate) fn new_key(&self) -> Result<[u8; 32], AgentError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        let refused = |error| StoreError::Refused(format!("no randomness for a key: {error}"));
        getrandom::fill(seed.as_mut_slice()).map_err(refused)?;
        let public = AgentKey::from_seed(&seed).public();
        self.keyring()?.keep(&key_id(&public), &seed)?;
        Ok(public)
    }

    pub(crate) fn keyring(&self) -> Result<Keyring, StoreError> {
        let none = || {
            StoreError::Refused("agents have keys only where the organization's keys are files".to_owned())
        };
        self.store.keyring().ok_or_else(none)
    }

    async fn changing_agent<F>(&self, write: F) -> Result<AgentRow, AgentError>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<AgentRow, AgentError> + Send + 'static,
    {
        let written = self.store.write::<_, AgentError, _>(write).await?;
        Ok(written.value)
    }
}

/// Makes `name` known and lets it act, as far as that is not done; in the transaction that configures it.
pub(crate) fn identify(
    tx: &mut Tx<'_>,
    by: &Principal,
    name: &str,
    held: &AgentAuthority,
    key: &[u8; 32],
) -> Result<(), StoreError> {
    let row = agent_row(tx, name)?;
    if row.is_none() {
        tx.append(created(by, name, key, &held.sponsor, &held.place, None, None))?;
    }
    if row.is_none_or(|row| row.status == AgentStatus::Created) {
        tx.append(driven(
            by,
            name,
            AgentEvent::Activate,
            ("configured", None),
            None,
            false,
        )?)?;
    }
    Ok(())
}

/// The platform's own agents have no identity that anybody could change: a stop holds them back.
pub(crate) fn not_the_platforms(name: &str) -> Result<(), AgentError> {
    match is_reserved(name) {
        true => Err(AgentError::Misfit(format!(
            "`{name}` is the platform's own name; to hold such an agent back, raise a stop"
        ))),
        false => Ok(()),
    }
}

/// The agents that `row` was created under, the nearest first.
pub(crate) fn ancestors(
    read: impl Fn(&str) -> Result<Option<AgentRow>, StoreError>,
    row: &AgentRow,
) -> Result<Vec<AgentRow>, StoreError> {
    let (mut above, mut next) = (Vec::new(), row.parent.clone());
    while let Some(name) = next.filter(|_| above.len() <= PARENTS_MAX) {
        let missing = || StoreError::Corrupt {
            finding: format!("agent `{name}` is not there"),
        };
        let row = read(&name)?.ok_or_else(missing)?;
        next = row.parent.clone();
        above.push(row);
    }
    Ok(above)
}

/// Who answers for an agent that was created under no other: its document says, as long as it has one.
pub(crate) fn sponsor_of<'a>(authority: &'a Authority, row: &'a AgentRow) -> &'a str {
    let configured = authority.agents.get(&row.name);
    configured.map_or(&row.sponsor, |held| &held.sponsor)
}

/// Who answers for a new agent: whom it inherits, or else whom it names; never another than it inherits.
fn sponsor_for(
    tx: &Tx<'_>,
    authority: &Authority,
    named: Option<&str>,
    parent: Option<&AgentRow>,
) -> Result<String, AgentError> {
    let own = match named.map(policy::sponsor) {
        Some(None) => return Err(AgentError::Misfit(NO_SPONSOR.to_owned())),
        Some(Some(name)) => Some(name.to_owned()),
        None => None,
    };
    let inherited = match parent {
        Some(parent) => {
            let above = ancestors(|name| agent_row(tx, name), parent)?;
            if above.len() >= PARENTS_MAX {
                let what = format!("no more than {PARENTS_MAX} agents are created under each other");
                return Err(AgentError::Misfit(what));
            }
            Some(sponsor_of(authority, above.last().unwrap_or(parent)).to_owned())
        }
        None => None,
    };
    if let (Some(own), Some(inherited)) = (&own, &inherited)
        && own != inherited
    {
        let what = format!("it inherits its sponsor `{inherited}` and cannot have another");
        return Err(AgentError::Misfit(what));
    }
    inherited
        .or(own)
        .ok_or_else(|| AgentError::Misfit(NO_SPONSOR.to_owned()))
}

/// Refuses documents by which an agent would have another sponsor than it inherited.
pub(crate) fn sponsors_inherited(tx: &Tx<'_>, authority: &Authority) -> Result<(), InstallError> {
    for (name, held) in &authority.agents {
        let Some(row) = agent_row(tx, name)?.filter(|row| row.parent.is_some()) else {
            continue;
        };
        let above = ancestors(|name| agent_row(tx, name), &row)?;
        let sponsor = above
            .last()
            .map_or(held.sponsor.as_str(), |root| sponsor_of(authority, root));
        if sponsor != held.sponsor {
            return Err(InstallError::Misfit(format!(
                "agent `{name}` inherits its sponsor `{sponsor}` and cannot have another"
            )));
        }
    }
    Ok(())
}

/// Until when a key that is replaced at `at` verifies.
fn kept_until(at: Timestamp) -> Timestamp {
    at.plus_ms(KEY_KEPT_MS)
}

fn created(
    by: &Principal,
    name: &str,
    key: &[u8; 32],
    sponsor: &str,
    place: &Place,
    parent: Option<&str>,
    expires: Option<Timestamp>,
) -> NewEntry {
    let body = json!({
        "agent": name, "did": did_key(key), "key": key_id(key), "public_key": written(key),
        "sponsor": sponsor, "place": place, "parent": parent, "expires": expires,
    });
    NewEntry::new(kind::AGENT_CREATED, by, body)
}

fn driven(
    by: &Principal,
    name: &str,
    event: AgentEvent,
    (reason, expires): (&str, Option<Timestamp>),
    at: Option<&Reach>,
    locked_before: bool,
) -> Result<NewEntry, StoreError> {
    let kind = kind_of(event)
        .ok_or_else(|| StoreError::Refused(format!("nobody makes an agent {}", event.as_str())))?;
    let mut body = json!({ "agent": name, "event": event, "reason": reason, "expires": expires });
    if let Some(body) = body.as_object_mut() {
        body.extend(at.map(|at| ("at".to_owned(), json!(at))));
        body.extend(locked_before.then(|| ("locked_before".to_owned(), json!(true))));
    }
    Ok(NewEntry::new(kind, by, body))
}

/// The kind of the entry that records `event`; `None` for what time alone does.
fn kind_of(event: AgentEvent) -> Option<&'static str> {
    match event {
        AgentEvent::Activate => Some(kind::AGENT_ACTIVATED),
        AgentEvent::Suspend | AgentEvent::Lock => Some(kind::AGENT_SUSPENDED),
        AgentEvent::Resume | AgentEvent::Override | AgentEvent::Renew => Some(kind::AGENT_RESUMED),
        AgentEvent::Revoke => Some(kind::AGENT_REVOKED),
        AgentEvent::Expire => None,
    }
}
