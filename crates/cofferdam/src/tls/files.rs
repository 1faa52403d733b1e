//! The files of TLS: read at once, bounded, and compared with each other before anything uses them.

use crate::identity::ClientCertificate;
use gate::Thumbprint;
use policy::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::clock::SharedClock;

/// Longest file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most authorities of client certificates.
const AUTHORITIES_MAX: usize = 32;

/// Where the certificate, its key and the authorities of clients are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate, and those between it and its authority, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM, which only its owner can read.
    pub key: PathBuf,
    /// The authorities whose client certificates are looked at, in PEM. `None`: clients are asked for none.
    pub client_ca: Option<PathBuf>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Others can read the key.
    #[error("the key `{0}` can be read by others; set its mode to 0600")]
    Exposed(PathBuf),
    /// Too large, or a directory or a pipe.
    #[error("`{0}` is not a regular file of at most 1 MiB")]
    NotAFile(PathBuf),
    /// There is nothing in it that was looked for, or it is broken.
    #[error("`{path}` holds no {what} in PEM that can be read")]
    Nothing {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// An authority that cannot be used as one.
    #[error("`{path}` holds an authority that cannot be used")]
    Authority {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The key is another one's, or of a kind that is not known.
    #[error("the certificate `{certificate}` and the key `{key}` do not fit together")]
    Pair {
        /// Of the certificate.
        certificate: PathBuf,
        /// Of the key.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// Its time is over.
    #[error("the certificate `{path}` ended at {until}")]
    Ended {
        /// Which.
        path: PathBuf,
        /// When.
        until: Timestamp,
    },
}

/// The files as they were at one moment.
pub(super) struct Read {
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pub authorities: Vec<Authority>,
    roots: RootCertStore,
    /// Of each file, to see a change.
    pub digest: [Thumbprint; 3],
}

/// One whose client certificates are looked at.
pub(super) struct Authority {
    pub thumbprint: Thumbprint,
    /// Of what it alone signed.
    pub verifier: Arc<dyn ClientCertVerifier>,
}

/// The platform's clock, for whoever verifies certificates.
#[derive(Debug)]
struct OurTime(SharedClock);

impl TimeProvider for OurTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0.now()))
    }
}

/// The same moment for whoever verifies certificates.
pub(super) fn unix(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(at.ms()).unwrap_or(0)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl TlsFiles {
    /// Reads all of them.
    pub(super) fn read(&self) -> Result<Read, TlsError> {
        let certificate = bytes(&self.certificate, false)?;
        let key = secrets::Secret::new(bytes(&self.key, true)?);
        let authorities = self
            .client_ca
            .as_deref()
            .map(|path| bytes(path, false))
            .transpose()?;
        let certificates = certificates(&self.certificate, &certificate)?;
        let nothing = || TlsError::Nothing {
            path: self.key.clone(),
            what: "key",
        };
        let private = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| nothing())?;
        let parts = [
            certificate.as_slice(),
            key.expose(),
            authorities.as_deref().unwrap_or_default(),
        ];
        let digest = parts.map(Thumbprint::of);
        let (authorities, roots) = match (&self.client_ca, &authorities) {
            (Some(path), Some(bytes)) => trusted(path, bytes)?,
            _ => (Vec::new(), RootCertStore::empty()),
        };
        Ok(Read {
            certificates,
            key: private,
            authorities,
            roots,
            digest,
        })
    }

    /// What a handshake needs, and until when the certificate holds. `agents` is looked at besides, where clients are asked.
    pub(super) fn configured(
        &self,
        read: &Read,
        agents: Option<&CertificateDer<'static>>,
        clock: &SharedClock,
    ) -> Result<(ServerConfig, Timestamp), TlsError> {
        let pair = |source| TlsError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        };
        let own = read
            .certificates
            .first()
            .and_then(|own| ClientCertificate::read(own).ok());
        let until = own.map(|own| own.until).ok_or_else(|| TlsError::Nothing {
            path: self.certificate.clone(),
            what: "certificate",
        })?;
        if clock.now() > until {
            let path = self.certificate.clone();
            return Err(TlsError::Ended { path, until });
        }
        let time = Arc::new(OurTime(Arc::clone(clock)));
        let builder = ServerConfig::builder_with_details(provider(), time)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(pair)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = read.roots.clone();
                if let Some(agents) = agents {
                    roots
                        .add(agents.clone())
                        .map_err(|source| unusable(path, source))?;
                }
                builder.with_client_cert_verifier(verifier(path, roots)?)
            }
        };
        let mut config = builder
            .with_single_cert(read.certificates.clone(), read.key.clone_key())
            .map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok((config, until))
    }
}

/// Asks for a certificate, and lets in whoever has none: they may have a token.
fn verifier(path: &Path, roots: RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|source| unusable(path, source))
}

fn unusable(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TlsError {
    TlsError::Authority {
        path: path.to_path_buf(),
        source: source.into(),
    }
}

/// The authorities one by one, and all of them.
fn trusted(path: &Path, pem: &[u8]) -> Result<(Vec<Authority>, RootCertStore), TlsError> {
    let found = certificates(path, pem)?;
    if found.len() > AUTHORITIES_MAX {
        return Err(unusable(path, format!("there are more than {AUTHORITIES_MAX}")));
    }
    let mut all = RootCertStore::empty();
    let mut authorities = Vec::new();
    for one in found {
        all.add(one.clone()).map_err(|source| unusable(path, source))?;
        authorities.push(Authority::of(path, &one)?);
    }
    Ok((authorities, all))
}

impl Authority {
    /// `path` is where the authorities of clients are.
    pub(super) fn of(path: &Path, certificate: &CertificateDer<'static>) -> Result<Authority, TlsError> {
        let mut only = RootCertStore::empty();
        only.add(certificate.clone())
            .map_err(|source| unusable(path, source))?;
        Ok(Authority {
            thumbprint: Thumbprint::of(certificate),
            verifier: verifier(path, only)?,
        })
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| TlsError::Nothing {
            path: path.to_path_buf(),
            what: "certificate",
        })
}

/// A whole file. The same one is looked at and read.
fn bytes(path: &Path, secret: bool) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable {
        path: path.to_path_buf(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(TlsError::NotAFile(path.to_path_buf()));
    }
    if secret && metadata.mode() & 0o077 != 0 {
        return Err(TlsError::Exposed(path.to_path_buf()));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}
