//! The file of authorities that guests trust: the system's, and the installation's own, which signs for hosts whose
//! connections are inspected.

use gate::egress::Egress;
use pem::{EncodeConfig, LineEnding, Pem, encode_config};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Its name in the data directory.
const FILE: &str = "guest-authorities.pem";

/// Writes it anew, and says where it is.
///
/// # Errors
/// It cannot be written. Where the system has no authorities, they are not in it.
pub(super) fn file(data_dir: &Path, egress: &Egress) -> io::Result<PathBuf> {
    let mut text = String::new();
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "guests may not trust all authorities of this system");
    }
    for certificate in &found.certs {
        let one = Pem::new("CERTIFICATE", certificate.as_ref());
        text.push_str(&encode_config(&one, lines));
    }
    match egress.authority_pem() {
        Ok(own) => text.push_str(&own),
        Err(error) => tracing::warn!(%error, "guests do not trust what is inspected"),
    }
    let path = std::path::absolute(data_dir)?.join(FILE);
    // Beside it first: a guest that starts meanwhile finds the whole of one or the other.
    let mut new = tempfile::NamedTempFile::new_in(data_dir)?;
    new.write_all(text.as_bytes())?;
    new.persist(&path)?;
    // Guests may be another user.
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    Ok(path)
}
