//! Who says who people are: that nobody is said of twice, and that what is named is there.

use super::{Index, absolute};
use crate::config::document::{Document, Kind};
use crate::config::problem::Problem;
use crate::config::publisher::PublisherSpec;
use crate::config::source::escape;
use crate::identity::{CertificateSpec, ProviderSpec};
use std::collections::BTreeMap;

/// One issuer, and one part of a directory, is one provider's: or one person would be two, with two votes.
pub(super) fn provider(
    document: &Document,
    spec: &ProviderSpec,
    others: &BTreeMap<String, ProviderSpec>,
    problems: &mut Vec<Problem>,
) {
    let wrong = spec.problems();
    problems.extend(wrong.into_iter().map(|(at, what)| document.problem(at, what)));
    if let ProviderSpec::Ldap(spec) = spec {
        let secret = spec.ldap.bind.as_ref().map(|bind| {
            let secrets::SecretRef::File(path) = &bind.secret_ref;
            ("/spec/ldap/bind/secretRef/file", path)
        });
        let roots = spec.ldap.ca_file.as_ref().map(|path| ("/spec/ldap/caFile", path));
        for (at, path) in secret.into_iter().chain(roots) {
            absolute(document, at, path, problems);
        }
    }
    let (at, source) = spec.source();
    if let Some((name, _)) = others.iter().find(|(_, other)| other.source().1 == source) {
        problems.push(document.problem(at, format!("IdentityProvider `{name}` is of the same people")));
    }
}

/// A service is sent to a trigger that there is.
pub(super) fn certificate_provider(
    document: &Document,
    spec: &CertificateSpec,
    index: &Index<'_>,
    problems: &mut Vec<Problem>,
) {
    let wrong = spec.problems();
    problems.extend(wrong.into_iter().map(|(at, what)| document.problem(at, what)));
    for (name, trigger) in &spec.triggers {
        if !index.contains_key(&(Kind::Trigger, trigger.as_str())) {
            let at = format!("/spec/certificates/triggers/{}", escape(name));
            problems.push(document.problem(&at, format!("there is no Trigger `{trigger}`")));
        }
    }
}

/// What is wrong with whose signed policies are taken.
pub(super) fn publisher(document: &Document, spec: &PublisherSpec) -> Vec<Problem> {
    let wrong = spec.problems().into_iter();
    wrong.map(|(at, what)| document.problem(&at, what)).collect()
}
