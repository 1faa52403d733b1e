//! The authority that signs agents' certificates: of one organization, made when it is first needed, its key in a file that
//! only its owner reads. What others trust is the bundle.

use super::Svid;
use crate::gate::lock;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use policy::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use store::StoreError;

const KEY: &str = "svid-ca.key.pem";
const CERTIFICATE: &str = "svid-ca.pem";
/// How long the authority is good for, in milliseconds: ten years.
const AUTHORITY_MS: i64 = 3650 * 24 * 60 * 60 * 1000;
/// Clocks of others may be behind by so much, in milliseconds.
const SKEW_MS: i64 = 60_000;
/// How often whoever trusts us looks for another bundle, in seconds.
const REFRESH_SECONDS: u32 = 3600;
/// Agents whose last certificate is remembered.
const LATELY_MAX: usize = 4096;

/// Why there is no certificate, or nobody is meant by one.
#[derive(Debug, thiserror::Error)]
pub enum SvidError {
    /// There is no such agent.
    #[error("no agent `{0}`")]
    Unknown(String),
    /// It may not act.
    #[error("agent `{0}` gets no certificate: {1}")]
    NotActive(String, String),
    /// It, or what it rests on, changed while the certificate was being signed: nobody gets that one.
    #[error("what agent `{0}` rests on changed meanwhile: ask again")]
    Changed(String),
    /// It cannot last so long.
    #[error(
        "a certificate of an agent holds {} to {} seconds",
        super::SVID_SECONDS_MIN,
        super::SVID_SECONDS_MAX
    )]
    Seconds,
    /// A certificate of ours by which nobody calls.
    #[error("{0}")]
    Nobody(String),
    /// The authority's files are of no use.
    #[error("cannot use `{path}`: {what}")]
    Files {
        /// Which.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// Not recorded, or not read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What signs for the agents of one organization.
pub struct Svids {
    directory: PathBuf,
    domain: String,
    authority: OnceLock<Arc<Authority>>,
    /// Held while it is read or made.
    making: Mutex<()>,
    lately: Mutex<HashMap<String, Svid>>,
}

impl std::fmt::Debug for Svids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Svids")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// The authority itself.
pub(super) struct Authority {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    /// Its public key: 4, x, y.
    point: Vec<u8>,
}

/// An agent's public key.
struct AgentPublic([u8; 32]);

impl PublicKeyData for AgentPublic {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl Svids {
    /// With files in `directory`, for the trust domain that begins `origin`, the name of the log. Touches nothing yet.
    pub fn new(directory: PathBuf, origin: &str) -> Svids {
        let domain = origin.split('/').next().unwrap_or_default().to_ascii_lowercase();
        Svids {
            directory,
            domain,
            authority: OnceLock::new(),
            making: Mutex::default(),
            lately: Mutex::default(),
        }
    }

    /// The trust domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The authority's certificate, for whoever verifies client certificates.
    ///
    /// # Errors
    /// Its files are of no use.
    pub fn root(&self, now: Timestamp) -> Result<CertificateDer<'static>, SvidError> {
        Ok(self.authority(now)?.der.clone())
    }

    /// The trust bundle, as SPIFFE has it: a JWK Set with the authority in `x5c` (SPIFFE Trust Domain and Bundle, 4).
    ///
    /// # Errors
    /// Its files are of no use.
    pub fn bundle(&self, now: Timestamp) -> Result<Value, SvidError> {
        let authority = self.authority(now)?;
        let half = |from: usize, to: usize| {
            URL_SAFE_NO_PAD.encode(authority.point.get(from..to).unwrap_or_default())
        };
        Ok(json!({
            "keys": [{
                "use": "x509-svid", "kty": "EC", "crv": "P-256", "x": half(1, 33), "y": half(33, 65),
                "x5c": [STANDARD.encode(&authority.der)],
            }],
            "spiffe_sequence": 1,
            "spiffe_refresh_hint": REFRESH_SECONDS,
        }))
    }

    pub(super) fn authority(&self, now: Timestamp) -> Result<Arc<Authority>, SvidError> {
        if let Some(authority) = self.authority.get() {
            return Ok(Arc::clone(authority));
        }
        let _making = lock(&self.making);
        if let Some(authority) = self.authority.get() {
            return Ok(Arc::clone(authority));
        }
        let made = Arc::new(Authority::open(&self.directory, &self.domain, now)?);
        Ok(Arc::clone(self.authority.get_or_init(|| made)))
    }

    pub(super) fn lately(&self) -> &Mutex<HashMap<String, Svid>> {
        &self.lately
    }

    pub(super) fn remember(&self, svid: &Svid) {
        let mut lately = lock(&self.lately);
        if lately.len() >= LATELY_MAX {
            lately.clear();
        }
        lately.insert(svid.agent.clone(), svid.clone());
    }
}

impl Authority {
    /// Reads it, or makes it where there is none.
    fn open(directory: &Path, domain: &str, now: Timestamp) -> Result<Authority, SvidError> {
        let (key_at, certificate_at) = (directory.join(KEY), directory.join(CERTIFICATE));
        let wrong = |path: &Path, what: &dyn std::fmt::Display| SvidError::Files {
            path: path.display().to_string(),
            what: what.to_string(),
        };
        let key = match fs::read_to_string(&key_at) {
            Ok(pem) => {
                let mode = fs::metadata(&key_at)
                    .map_err(|error| wrong(&key_at, &error))?
                    .mode();
                if mode & 0o077 != 0 {
                    return Err(wrong(&key_at, &"it can be read by others; set its mode to 0600"));
                }
                KeyPair::from_pem(&pem).map_err(|error| wrong(&key_at, &error))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
                let key = made.map_err(|error| wrong(&key_at, &error))?;
                let params = params(domain, now).map_err(|error| wrong(&certificate_at, &error))?;
                let certificate = params
                    .self_signed(&key)
                    .map_err(|error| wrong(&certificate_at, &error))?;
                let mut builder = fs::DirBuilder::new();
                builder.recursive(true).mode(0o700);
                builder
                    .create(directory)
                    .map_err(|error| wrong(directory, &error))?;
                // What a crash between the two left is nobody's authority, and is made anew.
                let left = fs::remove_file(&certificate_at);
                if let Err(error) = left
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    return Err(wrong(&certificate_at, &error));
                }
                write(&certificate_at, 0o644, certificate.pem().as_bytes())
                    .map_err(|error| wrong(&certificate_at, &error))?;
                write(&key_at, 0o600, key.serialize_pem().as_bytes())
                    .map_err(|error| wrong(&key_at, &error))?;
                key
            }
            Err(error) => return Err(wrong(&key_at, &error)),
        };
        let pem = fs::read(&certificate_at).map_err(|error| wrong(&certificate_at, &error))?;
        let der = CertificateDer::from_pem_slice(&pem).map_err(|error| wrong(&certificate_at, &error))?;
        let params = params(domain, now).map_err(|error| wrong(&certificate_at, &error))?;
        Ok(Authority {
            der,
            point: key.der_bytes().to_vec(),
            issuer: Issuer::new(params, key),
        })
    }

    /// A certificate over an agent's key, in PEM and in DER.
    pub fn sign(
        &self,
        id: &str,
        public: &[u8; 32],
        from: Timestamp,
        until: Timestamp,
    ) -> Result<(String, Vec<u8>), SvidError> {
        let told = |error: rcgen::Error| StoreError::Refused(format!("no certificate for `{id}`: {error}"));
        // A positive number, of the same length each time.
        let mut serial = [0x40u8; 17];
        let random = |error| StoreError::Refused(format!("no randomness for a serial number: {error}"));
        getrandom::fill(serial.split_at_mut(1).1).map_err(random)?;
        let mut leaf = CertificateParams::default();
        leaf.serial_number = Some(SerialNumber::from_slice(&serial));
        leaf.distinguished_name = named();
        leaf.subject_alt_names = vec![SanType::URI(id.try_into().map_err(told)?)];
        holds(&mut leaf, from, until);
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        leaf.use_authority_key_identifier_extension = true;
        let signed = leaf
            .signed_by(&AgentPublic(*public), &self.issuer)
            .map_err(told)?;
        Ok((signed.pem(), signed.der().to_vec()))
    }
}

fn params(domain: &str, now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named();
    params
        .distinguished_name
        .push(DnType::CommonName, "Cofferdam agents");
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{domain}").try_into()?)];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    holds(&mut params, now, now.plus_ms(AUTHORITY_MS));
    Ok(params)
}

/// No common name: a mapping of client certificates that names people by it finds none.
fn named() -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Cofferdam");
    name
}

/// From `from`, and a little before for clocks that are behind, to `until`: to the second, as certificates have it.
fn holds(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let began = rcgen::date_time_ymd(1970, 1, 1);
    let since = |at: Timestamp| Duration::from_secs(u64::try_from(at.ms() / 1000).unwrap_or_default());
    params.not_before = began + since(from.plus_ms(-SKEW_MS));
    params.not_after = began + since(until);
}

fn write(path: &Path, mode: u32, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_authority_is_made_once_and_its_key_is_its_owners() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("svid");
        let now = Timestamp::from_ms(1_790_000_000_000);
        let bundle = || Svids::new(at.clone(), "Example.org/team").bundle(now);
        let first = bundle().unwrap();
        assert_eq!(bundle().unwrap(), first);
        let key = &first["keys"][0];
        assert_eq!(
            (&key["use"], &key["kty"], &key["crv"]),
            (&json!("x509-svid"), &json!("EC"), &json!("P-256"))
        );
        assert_eq!(key["x"].as_str().unwrap().len(), 43);
        let file = at.join(KEY);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = bundle().unwrap_err().to_string();
        assert!(
            error.ends_with("it can be read by others; set its mode to 0600"),
            "{error}"
        );
        // Killed between the two files: made anew.
        fs::remove_file(&file).unwrap();
        assert_ne!(bundle().unwrap(), first);
    }
}
