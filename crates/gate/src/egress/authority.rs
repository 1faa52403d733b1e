//! The installation's own certificate authority, for connections that are inspected: made once, kept in a file that
//! only its owner reads, never sent anywhere. And whom we trust when we are the client.
//!
//! INVARIANT (trusted inside only): nothing but guests' environments names this authority; whoever is outside has no
//! reason to trust it, and it signs for a host only while a rule has it inspected.

use super::Settings;
use crate::gate::lock;
use assay::target::Host;
use policy::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, ServerConfig};
use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use store::clock::SharedClock;

const KEY: &str = "egress-ca.key.pem";
const CERTIFICATE: &str = "egress-ca.pem";
/// Its name, and so the issuer of every certificate that it signs.
const NAME: &str = "Cofferdam egress authority";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a certificate of a host is good for, and after how long another is made.
const LEAF_MS: i64 = 7 * DAY_MS;
/// How long the authority is good for.
const AUTHORITY_MS: i64 = 3650 * DAY_MS;
/// Hosts whose certificates are kept.
const LEAVES_MAX: usize = 1024;
/// The one protocol that is spoken inside: every request of it is seen whole.
const PROTOCOL: &[u8] = b"http/1.1";

/// Why nothing is inspected.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Nobody said where it is to be.
    #[error("there is no directory for the authority of inspected connections")]
    NoDirectory,
    /// The file cannot be read or written.
    #[error("cannot use `{path}`")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Others can read the key.
    #[error(
        "`{0}` can be read by others; set its mode to 0600, or delete it with its certificate and begin anew"
    )]
    Exposed(String),
    /// What is in it is no key, or no certificate.
    #[error("`{path}` is of no use: {what}")]
    Malformed {
        /// Which.
        path: String,
        /// What is wrong.
        what: String,
    },
}

/// What inspected connections rest on: made when the first is.
pub(crate) struct Trusting {
    keys: Option<PathBuf>,
    roots: Vec<CertificateDer<'static>>,
    clock: SharedClock,
    authority: OnceLock<Arc<Authority>>,
    /// Held while it is read or made.
    making: Mutex<()>,
    client: OnceLock<Result<Arc<ClientConfig>, String>>,
}

/// The authority, with certificates of hosts that it signed lately.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    /// Of all hosts: it never leaves this process.
    key: KeyPair,
    leaves: Mutex<HashMap<Host, (Timestamp, Arc<ServerConfig>)>>,
}

impl Trusting {
    pub fn new(settings: &Settings, clock: SharedClock) -> Trusting {
        Trusting {
            keys: settings.keys.clone(),
            roots: settings.roots.clone(),
            clock,
            authority: OnceLock::new(),
            making: Mutex::default(),
            client: OnceLock::new(),
        }
    }

    pub fn authority(&self) -> Result<Arc<Authority>, AuthorityError> {
        if let Some(authority) = self.authority.get() {
            return Ok(Arc::clone(authority));
        }
        let _making = lock(&self.making);
        if let Some(authority) = self.authority.get() {
            return Ok(Arc::clone(authority));
        }
        let directory = self.keys.as_deref().ok_or(AuthorityError::NoDirectory)?;
        let authority = Arc::new(Authority::open(directory, self.clock.now())?);
        Ok(Arc::clone(self.authority.get_or_init(|| authority)))
    }

    /// What we show a client that speaks to `host`.
    pub fn server(&self, host: &Host) -> Result<Arc<ServerConfig>, String> {
        let authority = self.authority().map_err(|error| error.to_string())?;
        authority.server(host, self.clock.now())
    }

    /// As whom and by whom we check a server.
    pub fn client(&self) -> Result<Arc<ClientConfig>, String> {
        self.client.get_or_init(|| client(&self.roots)).clone()
    }
}

impl Authority {
    /// Reads it, or makes it where there is none.
    fn open(directory: &Path, now: Timestamp) -> Result<Authority, AuthorityError> {
        let (key_at, certificate_at) = (directory.join(KEY), directory.join(CERTIFICATE));
        let failed = |path: &Path, source| AuthorityError::File {
            path: path.display().to_string(),
            source,
        };
        let malformed = |path: &Path, what: &dyn std::fmt::Display| AuthorityError::Malformed {
            path: path.display().to_string(),
            what: what.to_string(),
        };
        let key = match fs::read_to_string(&key_at) {
            Ok(pem) => {
                let mode = fs::metadata(&key_at)
                    .map_err(|error| failed(&key_at, error))?
                    .mode();
                if mode & 0o077 != 0 {
                    return Err(AuthorityError::Exposed(key_at.display().to_string()));
                }
                KeyPair::from_pem(&pem).map_err(|error| malformed(&key_at, &error))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
                let key = made.map_err(|error| malformed(&key_at, &error))?;
                let certificate = params(now).self_signed(&key);
                let certificate = certificate.map_err(|error| malformed(&certificate_at, &error))?;
                let mut builder = fs::DirBuilder::new();
                builder.recursive(true).mode(0o700);
                builder
                    .create(directory)
                    .map_err(|error| failed(directory, error))?;
                // The key last: what died before it is begun anew, and a key is never without its certificate.
                write(&certificate_at, 0o644, certificate.pem().as_bytes())
                    .map_err(|error| failed(&certificate_at, error))?;
                write(&key_at, 0o600, key.serialize_pem().as_bytes())
                    .map_err(|error| failed(&key_at, error))?;
                key
            }
            Err(error) => return Err(failed(&key_at, error)),
        };
        let pem = fs::read_to_string(&certificate_at).map_err(|error| failed(&certificate_at, error))?;
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| malformed(&certificate_at, &error))?;
        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
        Ok(Authority {
            pem,
            issuer: Issuer::new(params(now), key),
            key: leaf_key.map_err(|error| malformed(&key_at, &error))?,
            leaves: Mutex::default(),
        })
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn server(&self, host: &Host, now: Timestamp) -> Result<Arc<ServerConfig>, String> {
        let is_fresh = |made: &Timestamp| (0..DAY_MS).contains(&now.since_ms(*made));
        let mut leaves = lock(&self.leaves);
        if let Some((_, config)) = leaves.get(host).filter(|(made, _)| is_fresh(made)) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.signed(host, now)?);
        if leaves.len() >= LEAVES_MAX {
            leaves.clear();
        }
        leaves.insert(host.clone(), (now, Arc::clone(&config)));
        Ok(config)
    }

    fn signed(&self, host: &Host, now: Timestamp) -> Result<ServerConfig, String> {
        let told = |error: rcgen::Error| format!("no certificate for `{host}`: {error}");
        let mut leaf = CertificateParams::default();
        leaf.distinguished_name = DistinguishedName::new();
        leaf.subject_alt_names = vec![match host {
            Host::Name(name) => SanType::DnsName(name.as_str().try_into().map_err(told)?),
            Host::Address(address) => SanType::IpAddress(*address),
        }];
        holds(&mut leaf, now.plus_ms(-DAY_MS), now.plus_ms(LEAF_MS));
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let signed = leaf.signed_by(&self.key, &self.issuer).map_err(told)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let chain = vec![signed.der().clone()];
                builder.with_no_client_auth().with_single_cert(chain, key)
            });
        let mut config = config.map_err(|error| format!("no TLS for `{host}`: {error}"))?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(config)
    }
}

fn params(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    holds(&mut params, now.plus_ms(-DAY_MS), now.plus_ms(AUTHORITY_MS));
    params
}

/// From the day of `from` to that of `until`.
fn holds(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let (first, last) = (day(from), day(until));
    params.not_before = rcgen::date_time_ymd(first.0, first.1, first.2);
    params.not_after = rcgen::date_time_ymd(last.0, last.1, last.2);
}

fn day(at: Timestamp) -> (i32, u8, u8) {
    let text = at.to_string();
    let mut parts = text.split(['-', 'T']).map(|part| part.parse::<u16>().ok());
    match (
        parts.next().flatten(),
        parts.next().flatten(),
        parts.next().flatten(),
    ) {
        (Some(year @ 1..=9999), Some(month @ 1..=12), Some(day @ 1..=31)) => {
            let small = |number: u16| u8::try_from(number).unwrap_or(1);
            (i32::from(year), small(month), small(day))
        }
        // A clock that is that far off is trusted by nobody anyway.
        _ => (1975, 1, 1),
    }
}

/// All of it under its name, or nothing: whatever dies meanwhile leaves half a file under another name, which the next
/// one takes the place of.
fn write(path: &Path, mode: u32, bytes: &[u8]) -> std::io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    match fs::remove_file(new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::File::open(directory)?.sync_all()
}

fn client(roots: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls_platform_verifier::Verifier::new_with_extra_roots(roots.to_vec(), Arc::clone(&provider));
    let verifier = verifier.map_err(|error| format!("the system's authorities cannot be read: {error}"))?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_authority_is_made_once_and_its_key_is_its_owners() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("keys");
        let now = Timestamp::from_ms(1_790_000_000_000);
        let first = Authority::open(&at, now).unwrap().pem().to_owned();
        assert_eq!(Authority::open(&at, now.plus_ms(DAY_MS)).unwrap().pem(), first);
        let key = at.join(KEY);
        assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Authority::open(&at, now).err().unwrap().to_string();
        assert!(error.ends_with("can be read by others; set its mode to 0600, or delete it with its certificate and begin anew"), "{error}");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&key, "no key").unwrap();
        assert!(matches!(
            Authority::open(&at, now),
            Err(AuthorityError::Malformed { .. })
        ));
    }

    #[test]
    fn what_died_in_the_middle_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let now = Timestamp::from_ms(1_790_000_000_000);
        // Half a certificate, half a key beside it, and no key.
        fs::write(directory.path().join(CERTIFICATE), "-----BEGIN").unwrap();
        fs::write(directory.path().join(format!("{KEY}.new")), "-----BEGIN").unwrap();
        let first = Authority::open(directory.path(), now).unwrap().pem().to_owned();
        assert_eq!(Authority::open(directory.path(), now).unwrap().pem(), first);
        assert!(first.ends_with("-----END CERTIFICATE-----\n"), "{first}");
    }

    #[test]
    fn certificates_are_made_once_a_day() {
        let directory = tempfile::tempdir().unwrap();
        let now = Timestamp::from_ms(1_790_000_000_000);
        let authority = Authority::open(directory.path(), now).unwrap();
        let host = Host::parse("example.com").unwrap();
        let first = authority.server(&host, now).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &authority.server(&host, now.plus_ms(DAY_MS - 1)).unwrap()
        ));
        assert!(!Arc::ptr_eq(
            &first,
            &authority.server(&host, now.plus_ms(DAY_MS)).unwrap()
        ));
        assert_eq!(day(Timestamp::from_ms(1_767_225_600_000)), (2026, 1, 1));
    }
}
