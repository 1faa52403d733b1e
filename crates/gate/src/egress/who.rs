//! Whose connection it is. A listener inside a guest's walls is of one session; at the shared one a token says it.

use super::Egress;
use super::answer::Refused;
use crate::gate::lock;
use crate::{Role, SessionView, stops};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use journal::machine::Session;
use policy::Subject;
use secrets::Secret;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use store::StoreError;

/// What secrets that are good for one session's connections begin with, so that scanners find a lost one.
const PREFIX: &str = "cfe_";
/// Sessions whose agent is remembered; past it all are forgotten, and read again as they come.
const SESSIONS_MAX: usize = 4096;
/// Most secrets of sessions that run.
const SECRETS_MAX: usize = 65_536;

/// Whose connections a listener takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// This session's, without a word: only it can reach the listener.
    Session(String),
    /// Whose the token says: `Proxy-Authorization` with Bearer or Basic, or the password of SOCKS5.
    ByToken,
}

/// A name and a secret as a client gives them; the name may be empty.
#[derive(Debug)]
pub(crate) struct Shown {
    pub name: String,
    pub secret: Secret,
}

impl Shown {
    /// Of a header `Proxy-Authorization`.
    pub fn of_header(value: &[u8]) -> Option<Shown> {
        let text = std::str::from_utf8(value).ok()?;
        let (scheme, rest) = text.split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Shown {
                name: String::new(),
                secret: Secret::new(rest.as_bytes().to_vec()),
            });
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Secret::new(STANDARD.decode(rest).ok()?);
        let colon = decoded.expose().iter().position(|b| *b == b':')?;
        let (name, secret) = decoded.expose().split_at_checked(colon)?;
        Some(Shown {
            name: String::from_utf8(name.to_vec()).ok()?,
            secret: Secret::new(secret.get(1..)?.to_vec()),
        })
    }
}

impl Egress {
    /// A secret that is good for the connections of one running session, at the shared listener, until the process
    /// or the session ends. It is nowhere but in the answer.
    ///
    /// # Errors
    /// There is no such session, or no randomness.
    pub fn secret_for(&self, session: &str) -> Result<Secret, crate::SessionError> {
        let view = self.gate.session(session)?;
        let mut random = [0u8; 32];
        let refused = |error| StoreError::Refused(format!("no randomness for a token: {error}"));
        getrandom::fill(&mut random).map_err(refused)?;
        let secret = Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)).into_bytes());
        random.fill(0);
        let mut secrets = lock(&self.secrets);
        if secrets.len() >= SECRETS_MAX {
            let runs = |id: &String| self.gate.session(id).is_ok_and(|view| !view.state.is_final());
            secrets.retain(|_, session| runs(session));
        }
        secrets.insert(Sha256::digest(secret.expose()).into(), view.id);
        Ok(secret)
    }

    /// The session and its agent. What the connection may do is the gate's to say, each time.
    pub(crate) fn session_of(&self, who: &Who, shown: Option<&Shown>) -> Result<(String, String), Refused> {
        let session = match (who, shown) {
            (Who::Session(session), _) => session.clone(),
            (Who::ByToken, None) => return Err(unknown("say who it is: Proxy-Authorization with a token")),
            (Who::ByToken, Some(shown)) => self.session_by(shown)?,
        };
        let agent = self.known(&session)?.agent.clone();
        Ok((session, agent))
    }

    fn session_by(&self, shown: &Shown) -> Result<String, Refused> {
        let hash: [u8; 32] = Sha256::digest(shown.secret.expose()).into();
        if let Some(session) = lock(&self.secrets).get(&hash) {
            return Ok(session.clone());
        }
        let token = std::str::from_utf8(shown.secret.expose()).unwrap_or_default();
        let caller = self
            .gate
            .identify(token)
            .map_err(|_| unknown("the token is not known, or over"))?;
        let is_agent = caller.roles().iter().any(|at| at.role == Role::Agent);
        let (true, Some(delegation)) = (is_agent, caller.delegation()) else {
            return Err(unknown(
                "this is a token for the API; connections are made by sessions of agents",
            ));
        };
        let is_its = |view: &SessionView| {
            view.agent == caller.principal().name && view.delegation.as_deref() == Some(delegation)
        };
        if !shown.name.is_empty() {
            let view = self.gate.session(&shown.name).ok().filter(is_its);
            return view
                .map(|view| view.id)
                .ok_or_else(|| unknown("that session is not the token's"));
        }
        let running = self
            .gate
            .sessions(Some(Session::Running), usize::MAX)
            .unwrap_or_default();
        let mut running = running.into_iter().filter(is_its);
        match (running.next(), running.next()) {
            (Some(one), None) => Ok(one.id),
            (None, _) => Err(unknown("no session of this token runs")),
            _ => Err(unknown(
                "several sessions of this token run; give the session as user name",
            )),
        }
    }

    /// What never changes of a session: whose it is, and under what.
    fn known(&self, session: &str) -> Result<Arc<SessionView>, Refused> {
        if let Some(view) = lock(&self.sessions).get(session) {
            return Ok(Arc::clone(view));
        }
        let view = self.gate.session(session).map_err(|error| match error {
            crate::SessionError::Store(error) => Refused::new(503, "unrecorded", error.to_string()),
            _ => unknown("there is no such session"),
        })?;
        let view = Arc::new(view);
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= SESSIONS_MAX {
            sessions.clear();
        }
        sessions.insert(session.to_owned(), Arc::clone(&view));
        Ok(view)
    }

    /// Whom a stop of a whole session, or of an agent on its chain, is about.
    pub(crate) fn subject(&self, session: &str, agent: &str) -> Subject {
        match self.known(session) {
            Ok(view) => self.gate.session_subject(&view),
            Err(_) => stops::subject_of(&self.gate.authority.load(), agent, session),
        }
    }
}

fn unknown(what: &str) -> Refused {
    Refused::new(407, "unknown_caller", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        #[rustfmt::skip]
        let table: [(&str, Option<(&str, &str)>); 8] = [
            ("Bearer cfe_x",                 Some(("", "cfe_x"))),
            ("bearer  cfe_x",                Some(("", "cfe_x"))),
            ("Basic c2VzLTQyOmNmZV94",       Some(("ses-42", "cfe_x"))),
            ("Basic OmNmZV94",               Some(("", "cfe_x"))),
            ("Basic Y2ZlX3g=",               None),
            ("Basic !!",                     None),
            ("Digest x",                     None),
            ("Bearer",                       None),
        ];
        for (header, expected) in table {
            let shown = Shown::of_header(header.as_bytes());
            let shown = shown.as_ref().map(|one| {
                (
                    one.name.as_str(),
                    std::str::from_utf8(one.secret.expose()).unwrap(),
                )
            });
            assert_eq!(shown, expected, "{header}");
        }
    }
}
