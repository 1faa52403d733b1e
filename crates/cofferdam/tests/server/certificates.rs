//! An authority of a test's own, and the files that TLS is configured with.

use cofferdam::tls::TlsFiles;
use policy::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Signs what it is asked to.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// For a server that is called `name`.
    pub fn server(&self, name: &str) -> Pair {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        self.signed(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// For the client `name`: an address, or a common name.
    pub fn client(&self, name: &str) -> Pair {
        self.client_with(name, |_| {})
    }

    /// The same, changed.
    pub fn client_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        match name.contains("://") {
            true => params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())],
            false => params.distinguished_name.push(DnType::CommonName, name),
        }
        change(&mut params);
        let usage = params.extended_key_usages.pop();
        self.signed(params, usage.unwrap_or(ExtendedKeyUsagePurpose::ClientAuth))
    }

    fn signed(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Pair {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Pair {
    /// Writes both to `NAME.crt` and `NAME.key`, each whole at once.
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let paths = (
            directory.join(format!("{name}.crt")),
            directory.join(format!("{name}.key")),
        );
        put(&paths.0, &self.certificate);
        put(&paths.1, &self.key);
        paths
    }

    pub fn identity(&self) -> reqwest::Identity {
        let both = format!("{}\n{}", self.certificate, self.key);
        reqwest::Identity::from_pem(both.as_bytes()).unwrap()
    }

    pub fn thumbprint(&self) -> String {
        use rustls::pki_types::pem::PemObject as _;
        let der = rustls::pki_types::CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        gate::Thumbprint::of(&der).to_string()
    }
}

/// Puts a file that only its owner reads in the place of another, as a tool that renews certificates does.
pub fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

/// The files of a server at 127.0.0.1 that asks clients for certificates of `clients`.
pub fn files(directory: &Path, servers: &Authority, clients: &str) -> TlsFiles {
    let (certificate, key) = servers.server("127.0.0.1").write(directory, "server");
    let ca = directory.join("clients.pem");
    put(&ca, clients);
    TlsFiles {
        certificate,
        key,
        client_ca: Some(ca),
    }
}

/// Limits the time of a certificate, in minutes around `now`.
pub fn around(now: &str, from: i64, until: i64) -> impl FnOnce(&mut CertificateParams) {
    let ms = Timestamp::parse(now).unwrap().ms();
    let after = move |minutes: i64| Duration::from_millis(u64::try_from(ms + minutes * 60_000).unwrap());
    move |params| {
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + after(from);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + after(until);
    }
}
