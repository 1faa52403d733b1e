//! Any bytes are refused as a client certificate with a reason, or name whom they name; mappings take only one name.
#![no_main]
use cofferdam::identity::{CertificateSpec, ClientCertificate, GroupsFrom, NameFrom};
use gate::Thumbprint;

libfuzzer_sys::fuzz_target!(|der: &[u8]| {
    let Ok(certificate) = ClientCertificate::read(der) else { return };
    assert_eq!(certificate.thumbprint, Thumbprint::of(der));
    for name_from in [NameFrom::SanUri, NameFrom::SanDns, NameFrom::SanEmail, NameFrom::SubjectCn] {
        let spec = CertificateSpec {
            authority: None,
            name_from,
            trust_domain: Some("example.org".to_owned()),
            groups_from: Some(GroupsFrom::SubjectOu),
            roles: [("sre".to_owned(), vec![gate::Role::Viewer.into()])].into(),
            triggers: [("ops/am".to_owned(), "am".to_owned())].into(),
            deny: Vec::new(),
        };
        if let Ok(new) = spec.map("mesh", &certificate, Thumbprint::of(b"ca"), false) {
            assert!(new.principal.name.starts_with("mesh/") && new.principal.name.len() <= 68);
        }
    }
});
