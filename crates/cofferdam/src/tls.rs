//! TLS on the listener: the certificate that is shown, the authorities whose client certificates are looked at, and
//! both exchanged while it runs.
//!
//! Invariants:
//! - **All or nothing**: files that do not fit together are refused whole, and what was read before stays in use.
//! - **Nobody comes back on an old proof**: no session is resumed, so every connection proves its certificate anew.
//! - **A certificate alone gives nothing**: whose it is and what that one may do is said by [`crate::identity`].

mod files;

pub use files::{TlsError, TlsFiles};

use crate::health::{Cell, Part, Status};
use crate::identity::ClientCertificate;
use arc_swap::ArcSwap;
use files::{Authority, Read};
use gate::Thumbprint;
use policy::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::{ServerConfig, ServerConnection};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::clock::SharedClock;
use tokio::sync::watch;

/// The files are looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// What the listener speaks TLS with.
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<Current>,
    /// What signs for agents: looked at besides those of `client_ca`, where there are any.
    agents: OnceLock<CertificateDer<'static>>,
    /// Why the files, as they are now, are not in use.
    trouble: Cell<Option<String>>,
    clock: SharedClock,
}

/// What was read at once.
struct Current {
    config: Arc<ServerConfig>,
    authorities: Vec<Authority>,
    agents: Option<Authority>,
    /// End of our own certificate.
    until: Timestamp,
    digest: [Thumbprint; 3],
}

/// A client certificate that was proved, over one connection.
pub struct Shown {
    /// What it says.
    pub certificate: ClientCertificate,
    authority: Thumbprint,
    of_agents: bool,
    tls: Arc<Tls>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown")
            .field("certificate", &self.certificate.thumbprint)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which of them cannot be used, and why.
    pub fn open(files: TlsFiles, clock: SharedClock) -> Result<Tls, TlsError> {
        let read = files.read()?;
        Ok(Tls {
            current: ArcSwap::from_pointee(Current::of(&files, read, None, &clock)?),
            files,
            agents: OnceLock::new(),
            trouble: Cell::default(),
            clock,
        })
    }

    /// Whether clients are asked for a certificate.
    #[must_use]
    pub fn asks_clients(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// Looks at certificates of agents from now on, which `authority` signs; where clients are asked for none, they still are not.
    ///
    /// # Errors
    /// It cannot be used, or the files cannot by now.
    pub fn trust_agents(&self, authority: CertificateDer<'static>) -> Result<(), TlsError> {
        let _ = self.agents.set(authority);
        let read = self.files.read()?;
        let current = Current::of(&self.files, read, self.agents.get(), &self.clock)?;
        self.current.store(Arc::new(current));
        Ok(())
    }

    /// For the next handshake.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// What the client showed, if anything, after the handshake has proved it.
    ///
    /// # Errors
    /// It cannot be read, or its authority went while the handshake was under way.
    pub(crate) fn shown(
        self: &Arc<Tls>,
        connection: &ServerConnection,
    ) -> Result<Option<Shown>, &'static str> {
        let Some((leaf, between)) = connection.peer_certificates().and_then(<[_]>::split_first) else {
            return Ok(None);
        };
        let (authority, of_agents) = self
            .authority_of(leaf, between)
            .ok_or("nobody trusted signed the client certificate")?;
        Ok(Some(Shown {
            certificate: ClientCertificate::read(leaf)?,
            authority,
            of_agents,
            tls: Arc::clone(self),
        }))
    }

    /// Who signed it, and whether that is who signs for agents.
    fn authority_of(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
    ) -> Option<(Thumbprint, bool)> {
        let now = files::unix(self.clock.now());
        let current = self.current.load();
        let signed =
            |authority: &&Authority| authority.verifier.verify_client_cert(leaf, between, now).is_ok();
        let of_agents = current
            .agents
            .iter()
            .find(signed)
            .map(|one| (one.thumbprint, true));
        let another = || {
            current
                .authorities
                .iter()
                .find(signed)
                .map(|one| (one.thumbprint, false))
        };
        of_agents.or_else(another)
    }

    /// Uses the files if they changed and fit together.
    fn refresh(&self) {
        let read = self.files.read();
        let unchanged = |read: &Read| read.digest == self.current.load().digest;
        let current = match read {
            Ok(read) if unchanged(&read) => {
                self.trouble.set(None);
                return;
            }
            Ok(read) => Current::of(&self.files, read, self.agents.get(), &self.clock),
            Err(error) => Err(error),
        };
        match current {
            Ok(current) => {
                tracing::info!(until = %current.until, "the TLS certificate was exchanged");
                self.current.store(Arc::new(current));
                self.trouble.set(None);
            }
            Err(error) => {
                let why = Some(crate::tls::chain(&error));
                if self.trouble.get() != why {
                    tracing::error!(
                        "the TLS files were refused whole, those before stay in use: {}",
                        why.clone().unwrap_or_default()
                    );
                }
                self.trouble.set(why);
            }
        }
    }

    /// Looks for changes of the files until the platform stops.
    pub(crate) async fn follow(self: Arc<Tls>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let tls = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || tls.refresh()).await;
        }
    }

    /// How it is: what is in use, and what is not and why.
    #[must_use]
    pub fn health(&self) -> Part {
        let until = self.current.load().until;
        let over = self.clock.now() > until;
        let used = match over {
            true => format!("the certificate ended at {until}"),
            false => format!("the certificate holds until {until}"),
        };
        match (over, self.trouble.get()) {
            (true, None) => Part::new("tls", Status::Unhealthy, used),
            (false, None) => Part::new("tls", Status::Healthy, used),
            (over, Some(why)) => {
                let status = if over { Status::Unhealthy } else { Status::Degraded };
                let detail =
                    format!("the files were refused whole and those before stay in use: {why}; {used}");
                Part::new("tls", status, detail)
            }
        }
    }
}

impl Current {
    fn of(
        files: &TlsFiles,
        read: Read,
        agents: Option<&CertificateDer<'static>>,
        clock: &SharedClock,
    ) -> Result<Current, TlsError> {
        let (config, until) = files.configured(&read, agents, clock)?;
        let agents = match (&files.client_ca, agents) {
            (Some(path), Some(agents)) => Some(Authority::of(path, agents)?),
            _ => None,
        };
        Ok(Current {
            config: Arc::new(config),
            until,
            digest: read.digest,
            authorities: read.authorities,
            agents,
        })
    }
}

impl Shown {
    /// Whether our own authority signed it, for an agent.
    #[must_use]
    pub fn is_of_agent(&self) -> bool {
        self.of_agents
    }

    /// Who signed it, and whether somebody else might have. `None`: nobody who is trusted still.
    #[must_use]
    pub fn authority(&self) -> Option<(Thumbprint, bool)> {
        let current = self.tls.current.load();
        let trusted = current
            .authorities
            .iter()
            .any(|authority| authority.thumbprint == self.authority);
        trusted.then_some((self.authority, current.authorities.len() > 1))
    }
}

/// An error and what caused it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push_str(&format!(": {error}"));
        cause = error.source();
    }
    told
}
