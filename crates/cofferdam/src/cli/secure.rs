//! The client's side of TLS: whom it trusts, what it shows, and what went wrong in words that say what to do.

use super::arguments::Global;
use super::failure::Failure;
use gate::Thumbprint;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{AlertDescription, CertificateError, Error};
use std::path::Path;

/// Longest file, in bytes.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// What the command line says of authorities and of our own certificate.
pub(super) fn prepared(global: &Global) -> Result<reqwest::ClientBuilder, Failure> {
    let mut http = reqwest::Client::builder();
    if let Some(path) = &global.ca_file {
        let trusted = reqwest::Certificate::from_pem_bundle(&read(path)?)
            .ok()
            .filter(|found| !found.is_empty())
            .ok_or_else(|| unusable(path, "no certificate in PEM"))?;
        http = http.tls_certs_only(trusted);
    }
    if let (Some(certificate), Some(key)) = (&global.client_cert, &global.client_key) {
        let both = secrets::Secret::new([read(certificate)?, b"\n".to_vec(), read(key)?].concat());
        let own = reqwest::Identity::from_pem(both.expose());
        http = http.identity(own.map_err(|_| {
            let (certificate, key) = (certificate.display(), key.display());
            Failure::Misuse(format!(
                "`{certificate}` and `{key}` hold no certificate and key in PEM"
            ))
        })?);
    }
    Ok(http)
}

/// Of the first certificate in a file.
pub(super) fn thumbprint(path: &Path) -> Result<Thumbprint, Failure> {
    let der = CertificateDer::from_pem_slice(&read(path)?);
    der.map(|der| Thumbprint::of(&der))
        .map_err(|_| unusable(path, "no certificate in PEM"))
}

fn unusable(path: &Path, what: &str) -> Failure {
    Failure::Misuse(format!("`{}` holds {what}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = std::fs::read(path).map_err(|source| {
        let shown = path.display();
        Failure::Other(anyhow::Error::new(source).context(format!("cannot read `{shown}`")))
    })?;
    match bytes.len() <= FILE_BYTES_MAX {
        true => Ok(bytes),
        false => Err(unusable(path, "more than 1 MiB")),
    }
}

/// Why TLS failed, if it was TLS that did. A server looks at our certificate after we take the handshake for done,
/// so what it says of it may be lost: then that it hung up is all there is.
pub(super) fn why(error: &reqwest::Error, shows: bool) -> Option<String> {
    let hung_up = shows && error.is_request() && !error.is_connect() && !error.is_timeout();
    let words = "it hung up, as a server does that does not take the certificate in --client-cert";
    found(error).or_else(|| hung_up.then(|| words.to_owned()))
}

fn found(error: &reqwest::Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<Error>() {
            return Some(told(found));
        }
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn told(error: &Error) -> String {
    use AlertDescription as Alert;
    use CertificateError as Bad;
    let words = match error {
        Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "its certificate is of no authority that is trusted here; name its authority with --ca-file"
        }
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => "its certificate has expired",
        Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "its certificate does not hold yet"
        }
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another name; write --server with a name that it is for"
        }
        Error::AlertReceived(Alert::UnknownCA) => {
            "it does not trust the authority of the certificate in --client-cert"
        }
        Error::AlertReceived(Alert::CertificateExpired) => {
            "it says that the certificate in --client-cert is not valid now"
        }
        Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateUnknown
            | Alert::DecryptError,
        ) => "it does not take the certificate in --client-cert",
        Error::InvalidMessage(_) => "it speaks no TLS; write --server with http://",
        other => return other.to_string(),
    };
    words.to_owned()
}
