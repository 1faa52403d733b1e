//! The egress surface, as the platform opens it: its listener, its authority, and how it is.

use super::{App, Options, beside};
use crate::health::{Part, Status};
use anyhow::Context as _;
use gate::Gate;
use gate::egress::{Egress, Settings};
use gate::llm::Llm;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where it is when nobody says anything else.
pub const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7401);
/// Largest file of authorities, in bytes.
const ROOTS_BYTES_MAX: u64 = 1024 * 1024;

/// Where the egress surface listens for whoever shows a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// Nowhere. Guests of `cofferdam run` have doors of their own.
    #[default]
    Closed,
    /// At [`DEFAULT`], unless somebody else is there.
    Usual,
    /// Here.
    At(SocketAddr),
}

impl std::str::FromStr for Door {
    type Err = String;

    fn from_str(text: &str) -> Result<Door, String> {
        if text == "off" {
            return Ok(Door::Closed);
        }
        let address: SocketAddr = text.parse().map_err(|_| "write ADDR:PORT, or `off`".to_owned())?;
        // Tokens would go over the network in clear text.
        match address.ip().is_loopback() {
            true => Ok(Door::At(address)),
            false => Err(format!(
                "`{address}` can be reached from other machines, and tokens are shown there in clear text; listen on loopback"
            )),
        }
    }
}

/// Listens, before anything is opened.
pub(super) fn bind(door: Door) -> anyhow::Result<Option<TcpListener>> {
    match door {
        Door::Closed => Ok(None),
        Door::At(address) => TcpListener::bind(address).map(Some).with_context(|| {
            format!("cannot listen on `{address}` for egress; choose another address with --egress, or `off`")
        }),
        Door::Usual => match TcpListener::bind(DEFAULT) {
            Ok(listener) => Ok(Some(listener)),
            Err(error) => {
                tracing::warn!(%error, "agents have no way to the network at {DEFAULT}; choose another address with --egress");
                Ok(None)
            }
        },
    }
}

/// The surface of one organization, with nothing allowed yet.
/// `own` are the platform's listeners, which nobody reaches through it.
pub(super) fn open(
    gate: &Arc<Gate>,
    options: &Options,
    own: impl Iterator<Item = SocketAddr>,
) -> anyhow::Result<Arc<Egress>> {
    let roots = match &options.egress_ca {
        Some(path) => read(path)?,
        None => Vec::new(),
    };
    let settings = Settings {
        keys: Some(beside(&options.data_dir, "-keys").join("egress")),
        roots,
        own: own.collect(),
        ..Settings::default()
    };
    Ok(Egress::new(Arc::clone(gate), settings))
}

/// The door to models, with none yet.
pub(super) fn models(
    gate: &Arc<Gate>,
    egress: &Arc<Egress>,
    private: &Arc<[PathBuf]>,
    address: SocketAddr,
) -> Arc<Llm> {
    let settings = gate::llm::Settings {
        resolver: Arc::new(gate::egress::System),
        private: Arc::clone(private),
        own: vec![address],
    };
    Llm::new(Arc::clone(gate), Arc::clone(egress), settings)
}

fn read(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let what = || format!("cannot use `{}` of --egress-ca", path.display());
    let size = std::fs::metadata(path).with_context(what)?.len();
    anyhow::ensure!(size <= ROOTS_BYTES_MAX, "{}: it is larger than 1 MiB", what());
    let all = CertificateDer::pem_file_iter(path).with_context(what)?;
    let all = all.collect::<Result<Vec<_>, _>>().with_context(what)?;
    anyhow::ensure!(!all.is_empty(), "{}: it holds no certificate", what());
    Ok(all)
}

impl App {
    /// How many connections there are, where the surface listens; no part where it does not.
    pub(super) fn egress_health(&self) -> Option<Part> {
        let address = self.egress_address?;
        let detail = format!("listening on {address}, {} connections", self.egress.open());
        Some(Part::new("egress", Status::Healthy, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_is_on_loopback_or_nowhere() {
        let said = |text: &str| text.parse::<Door>();
        assert_eq!(said("off"), Ok(Door::Closed));
        assert_eq!(said("127.0.0.1:7401"), Ok(Door::At(DEFAULT)));
        assert!(said("[::1]:1").is_ok());
        for wrong in ["", "7401", "localhost:7401", "0.0.0.0:7401", "10.0.0.1:1"] {
            assert!(said(wrong).is_err(), "{wrong}");
        }
    }
}
