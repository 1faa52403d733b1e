//! A client certificate, read: whom it names and until when. That it is genuine was verified before by the
//! handshake, which only then has it read here; nothing in it is believed before.

use gate::Thumbprint;
use policy::Timestamp;
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Longest certificate that is read, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
/// Most names of one kind.
const NAMES_MAX: usize = 64;
/// `id-at-commonName`.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// `id-at-organizationalUnitName`.
const UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");

/// `id-Ed25519` (RFC 8410).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// What a certificate says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Of all of it.
    pub thumbprint: Thumbprint,
    /// Holds from then on.
    pub from: Timestamp,
    /// Holds no more after that.
    pub until: Timestamp,
    /// Alternative names that are addresses: `spiffe://example.org/ops/deploy`.
    pub uris: Vec<String>,
    /// Alternative names of machines.
    pub hosts: Vec<String>,
    /// Alternative names that are mail addresses.
    pub emails: Vec<String>,
    /// Common names of the subject.
    pub common_names: Vec<String>,
    /// Organizational units of the subject.
    pub units: Vec<String>,
    /// Its key, if that is an Ed25519 key.
    pub ed25519: Option<[u8; 32]>,
}

impl ClientCertificate {
    /// Reads one in DER.
    ///
    /// # Errors
    /// What is wrong with it, without anything that it holds.
    pub fn read(der: &[u8]) -> Result<ClientCertificate, &'static str> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err("the certificate is too long");
        }
        let read = Certificate::from_der(der).map_err(|_| "it is no certificate that can be read")?;
        let body = read.tbs_certificate();
        let at = |time: x509_cert::time::Time| {
            let ms = i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_ms(ms)
        };
        let mut certificate = ClientCertificate {
            thumbprint: Thumbprint::of(der),
            from: at(body.validity().not_before),
            until: at(body.validity().not_after),
            uris: Vec::new(),
            hosts: Vec::new(),
            emails: Vec::new(),
            common_names: Vec::new(),
            units: Vec::new(),
            ed25519: ed25519(body.subject_public_key_info()),
        };
        for attribute in body.subject().iter() {
            let list = match attribute.oid {
                COMMON_NAME => &mut certificate.common_names,
                UNIT => &mut certificate.units,
                _ => continue,
            };
            let text = text(attribute.value.tag(), attribute.value.value());
            push(list, text.ok_or("a name in its subject is no text")?)?;
        }
        let names = body
            .get_extension::<SubjectAltName>()
            .map_err(|_| "its alternative names cannot be read")?;
        for name in names.into_iter().flat_map(|(_, names)| names.0) {
            match name {
                GeneralName::UniformResourceIdentifier(uri) => {
                    push(&mut certificate.uris, uri.as_str().to_owned())?;
                }
                GeneralName::DnsName(name) => push(&mut certificate.hosts, name.as_str().to_owned())?,
                GeneralName::Rfc822Name(name) => push(&mut certificate.emails, name.as_str().to_owned())?,
                _ => {}
            }
        }
        Ok(certificate)
    }
}

fn push(list: &mut Vec<String>, name: String) -> Result<(), &'static str> {
    if list.len() >= NAMES_MAX {
        return Err("it has too many names");
    }
    list.push(name);
    Ok(())
}

fn ed25519(key: &x509_cert::spki::SubjectPublicKeyInfoOwned) -> Option<[u8; 32]> {
    let bytes = (key.algorithm.oid == ED25519).then(|| key.subject_public_key.as_bytes())??;
    bytes.try_into().ok()
}

/// The two kinds of text that authorities have to use (RFC 5280, 4.1.2.4).
fn text(tag: Tag, value: &[u8]) -> Option<String> {
    match tag {
        Tag::Utf8String | Tag::PrintableString => std::str::from_utf8(value).ok().map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn a_certificate_says_whom_it_names_and_until_when() {
        let der = made(|params| {
            params.not_before = rcgen::date_time_ymd(2026, 1, 2);
            params.not_after = rcgen::date_time_ymd(2026, 3, 4);
            params.distinguished_name.push(DnType::CommonName, "alice");
            params.distinguished_name.push(
                DnType::OrganizationalUnitName,
                DnValue::PrintableString("sre".try_into().unwrap()),
            );
            params.subject_alt_names = vec![
                SanType::URI("spiffe://example.org/a".try_into().unwrap()),
                SanType::DnsName("a.example".try_into().unwrap()),
                SanType::Rfc822Name("alice@example.org".try_into().unwrap()),
                SanType::IpAddress([127, 0, 0, 1].into()),
            ];
        });
        let read = ClientCertificate::read(&der).unwrap();
        let day = |text: &str| Timestamp::parse(&format!("{text}T00:00:00Z")).unwrap();
        assert_eq!((read.from, read.until), (day("2026-01-02"), day("2026-03-04")));
        assert_eq!(read.uris, ["spiffe://example.org/a"]);
        assert_eq!(read.hosts, ["a.example"]);
        assert_eq!(read.emails, ["alice@example.org"]);
        assert_eq!(
            (read.common_names, read.units),
            (vec!["alice".to_owned()], vec!["sre".to_owned()])
        );
        assert_eq!(read.thumbprint, Thumbprint::of(&der));
        assert_eq!(read.ed25519, None, "its key is of another kind");
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let signed = CertificateParams::default().self_signed(&key).unwrap();
        let read = ClientCertificate::read(signed.der()).unwrap();
        assert_eq!(read.ed25519.unwrap().as_slice(), key.public_key_raw());
    }

    #[test]
    fn what_cannot_be_read_names_nobody() {
        let good = made(|_| {});
        let many = made(|params| {
            let name = |n: usize| SanType::DnsName(format!("a{n}.example").try_into().unwrap());
            params.subject_alt_names = (0..=NAMES_MAX).map(name).collect();
        });
        let odd = made(|params| {
            let latin = DnValue::TeletexString("alice".try_into().unwrap());
            params.distinguished_name.push(DnType::CommonName, latin);
        });
        let cut = good[..good.len() - 1].to_vec();
        let longer = [good.as_slice(), b"x"].concat();
        let table = [
            ("nothing", Vec::new(), "it is no certificate that can be read"),
            ("cut off", cut, "it is no certificate that can be read"),
            (
                "followed by something",
                longer,
                "it is no certificate that can be read",
            ),
            (
                "too long",
                vec![0; CERTIFICATE_BYTES_MAX + 1],
                "the certificate is too long",
            ),
            ("too many names", many, "it has too many names"),
            (
                "a name in an old encoding",
                odd,
                "a name in its subject is no text",
            ),
        ];
        for (name, der, why) in table {
            assert_eq!(ClientCertificate::read(&der), Err(why), "{name}");
        }
    }
}
