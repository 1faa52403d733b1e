//! One connection to a directory: TCP, TLS, one question at a time. Every answer is bounded, and whoever calls
//! bounds the time.

use super::ber::{self, Malformed};
use super::message::{self, Found, Said, Search};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Most references to elsewhere that one search may be answered with.
const ELSEWHERE_MAX: usize = 100;
/// Most that one search may be answered with, in bytes.
const SEARCH_BYTES_MAX: usize = 1024 * 1024;
/// Largest file of certificates, in bytes.
const ROOTS_BYTES_MAX: u64 = 1024 * 1024;
/// `success`.
const SUCCESS: u32 = 0;
/// `sizeLimitExceeded`: there is more than was asked for.
const MORE: u32 = 4;
/// `noSuchObject`: nothing is below that base.
const NOTHING: u32 = 32;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why the directory could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// No connection, or none any more.
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    /// The certificates that it is checked against.
    #[error("caFile cannot be used: {0}")]
    Roots(String),
    /// It said something that is no LDAP.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It refused what every login needs.
    #[error("it refuses {0} (code {1})")]
    Refused(&'static str, u32),
}

/// How to reach it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// A name or an address.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// Where TLS begins.
    pub tls: Tls,
    /// Certificates to trust in place of the machine's.
    pub roots: Option<&'a Path>,
}

/// Where TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// With the first byte.
    First,
    /// After it was asked for.
    Start,
    /// Never.
    None,
}

/// A directory that answers.
pub struct Connection {
    stream: Box<dyn Stream>,
    id: u32,
    /// Bytes of answers.
    heard: usize,
}

impl Connection {
    /// Connects, and takes no certificate that does not verify.
    ///
    /// # Errors
    /// It cannot be reached, or not as it has to be.
    pub async fn open(target: Target<'_>) -> Result<Connection, Trouble> {
        let tcp = TcpStream::connect((target.host, target.port)).await?;
        let _ = tcp.set_nodelay(true);
        if target.tls == Tls::None {
            return Ok(Connection::over(tcp));
        }
        let config = config(target.roots)?;
        let name = ServerName::try_from(target.host.to_owned())
            .map_err(|error| Trouble::Roots(error.to_string()))?;
        let mut plain = Connection::over(tcp);
        if target.tls == Tls::Start {
            let request = message::start_tls(plain.next_id());
            match plain.ask(&request, "").await? {
                Said::Done(SUCCESS) => {}
                Said::Done(code) => return Err(Trouble::Refused("StartTLS", code)),
                _ => return Err(Malformed.into()),
            }
        }
        // Nothing that came before is kept: what was read is one message, to the byte.
        let tls = TlsConnector::from(config).connect(name, plain.stream).await?;
        Ok(Connection {
            stream: Box::new(tls),
            id: plain.id,
            heard: 0,
        })
    }

    fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Connection {
        Connection {
            stream: Box::new(stream),
            id: 0,
            heard: 0,
        }
    }

    fn next_id(&mut self) -> u32 {
        self.id += 1;
        self.id
    }

    /// Whether `dn` may be bound with that password: the code that it is answered with, 0 for yes.
    ///
    /// # Errors
    /// It could not be asked. An empty password is one that any directory may take for nobody's, so none is sent.
    pub async fn bind(&mut self, dn: &str, password: &[u8]) -> Result<u32, Trouble> {
        if dn.is_empty() || password.is_empty() {
            return Err(Trouble::Refused("a bind without a name or a password", 0));
        }
        let request = message::bind(self.next_id(), dn, password);
        match self.ask(request.expose(), "").await? {
            Said::Done(code) => Ok(code),
            _ => Err(Malformed.into()),
        }
    }

    /// What is found, and one more than `most` if there is more. References are not followed.
    ///
    /// # Errors
    /// It could not be asked, or does not let itself be.
    pub async fn search(&mut self, what: &Search<'_>) -> Result<Vec<Found>, Trouble> {
        let request = message::search(self.next_id(), what);
        let before = self.heard;
        let (mut said, mut found, mut elsewhere) = (self.ask(&request, what.attribute).await?, Vec::new(), 0);
        loop {
            if self.heard - before > SEARCH_BYTES_MAX {
                return Err(Malformed.into());
            }
            match said {
                Said::Found(one) if found.len() <= what.most as usize => found.push(one),
                Said::Elsewhere if elsewhere < ELSEWHERE_MAX => elsewhere += 1,
                Said::Found(_) | Said::Elsewhere => return Err(Malformed.into()),
                Said::Done(SUCCESS | NOTHING) => return Ok(found),
                Said::Done(MORE) => {
                    found.push(Found {
                        cut: true,
                        ..Found::default()
                    });
                    return Ok(found);
                }
                Said::Done(code) => return Err(Trouble::Refused("a search", code)),
            }
            said = self.hear(what.attribute).await?;
        }
    }

    async fn ask(&mut self, request: &[u8], attribute: &str) -> Result<Said, Trouble> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.hear(attribute).await
    }

    /// One message, to its last byte and no further.
    async fn hear(&mut self, attribute: &str) -> Result<Said, Trouble> {
        if self.stream.read_u8().await? != ber::SEQUENCE {
            return Err(Malformed.into());
        }
        let mut head = vec![self.stream.read_u8().await?];
        let length = loop {
            match ber::length(&head)? {
                Some((length, _)) => break length,
                None => head.push(self.stream.read_u8().await?),
            }
        };
        let mut content = vec![0; length];
        self.stream.read_exact(&mut content).await?;
        self.heard = self.heard.saturating_add(length);
        Ok(message::read(&content, self.id, attribute)?)
    }
}

/// TLS 1.2 or 1.3, by the machine's roots or by those of a file.
fn config(roots: Option<&Path>) -> Result<Arc<ClientConfig>, Trouble> {
    let wrong = |error: &dyn std::fmt::Display| Trouble::Roots(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?;
    let builder = match roots {
        None => builder.with_platform_verifier().map_err(|error| wrong(&error))?,
        Some(path) => {
            let size = std::fs::metadata(path).map_err(|error| wrong(&error))?.len();
            if size > ROOTS_BYTES_MAX {
                return Err(Trouble::Roots("it is larger than 1 MiB".to_owned()));
            }
            let mut store = RootCertStore::empty();
            for one in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
                let one = one.map_err(|error| wrong(&error))?;
                store.add(one).map_err(|error| wrong(&error))?;
            }
            if store.is_empty() {
                return Err(Trouble::Roots("it holds no certificate".to_owned()));
            }
            builder.with_root_certificates(store)
        }
    };
    Ok(Arc::new(builder.with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::super::filter::Filter;
    use super::*;

    /// What a search gives when the directory sends just that.
    async fn answered(sent: Vec<u8>) -> String {
        // Room for all that a row sends, before anybody reads.
        let (ours, mut theirs) = tokio::io::duplex(4 * SEARCH_BYTES_MAX);
        theirs.write_all(&sent).await.unwrap();
        theirs.shutdown().await.unwrap();
        let filter = Filter::equal("uid", "a");
        let what = Search {
            base: "dc=x",
            below: true,
            filter: &filter,
            attribute: "uid",
            most: 2,
            seconds: 1,
        };
        let found = Connection::over(ours).search(&what).await;
        drop(theirs);
        match found {
            Ok(found) => format!("{} found", found.len()),
            Err(trouble) => trouble.to_string(),
        }
    }

    #[tokio::test]
    async fn a_hostile_directory_is_refused_and_harms_nothing() {
        let of = |operation: &[u8]| {
            let mut out = Vec::new();
            ber::put(
                &mut out,
                ber::SEQUENCE,
                &[b"\x02\x01\x01".as_slice(), operation].concat(),
            );
            out
        };
        let (entry, done) = (
            of(b"\x64\x04\x04\x00\x30\x00"),
            of(b"\x65\x07\x0a\x01\x00\x04\x00\x04\x00"),
        );
        let more = of(b"\x65\x07\x0a\x01\x04\x04\x00\x04\x00");
        let elsewhere = of(b"\x73\x00");
        let no = "it is no answer in LDAP";
        // Well-formed, and each the eighth part of what one search may be answered with.
        let large = of(&{
            let mut operation = Vec::new();
            ber::put(&mut operation, 0x73, &vec![0; SEARCH_BYTES_MAX / 8]);
            operation
        });
        let mut nested = vec![0x30; 50_000];
        nested.extend([0; 8]);
        #[rustfmt::skip]
        let table = [
            ("one entry",                  [entry.clone(), done.clone()].concat(),             "1 found"),
            ("one, and one elsewhere",     [elsewhere.clone(), entry.clone(), done.clone()].concat(), "1 found"),
            ("more than was asked for",    [entry.clone(), more].concat(),                      "2 found"),
            ("many more",                  entry.repeat(1000),                                  no),
            ("references without an end",  elsewhere.repeat(1000),                              no),
            ("a length without an end",    vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff],            no),
            ("nested without an end",      nested,                                              no),
            ("no LDAP",                    b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),        no),
            ("it is refused",              of(b"\x65\x07\x0a\x01\x32\x04\x00\x04\x00"),         "it refuses a search (code 50)"),
            ("half of it",                 entry[..4].to_vec(),                                 "early eof"),
            ("just less than is read",     [large.repeat(7), done.clone()].concat(),            "0 found"),
            ("more than is read",          [large.repeat(8), done.clone()].concat(),            no),
        ];
        for (name, sent, expected) in table {
            assert_eq!(answered(sent).await, expected, "{name}");
        }
    }

    #[tokio::test]
    async fn a_password_that_is_empty_is_not_sent() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let bound = Connection::over(ours).bind("cn=a", b"").await;
        assert!(matches!(bound, Err(Trouble::Refused(..))));
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, b"");
    }
}
