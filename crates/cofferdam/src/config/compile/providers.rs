//! Whoever says who people are: that nobody is of two of them, and that each is usable.

use super::{Index, absolute};
use crate::config::document::{Document, Kind, Spec};
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
    let (at, source) = spec.source();
    if let Some((name, _)) = others.iter().find(|(_, other)| other.source().1 == source) {
        problems.push(document.problem(at, format!("IdentityProvider `{name}` is of the same people")));
    }
}

/// What such documents could have when directories were first read: a start with one that is stored must not turn
/// everything off.
pub(super) fn provider_by_now(document: &Document) -> Vec<(Kind, String, Problem)> {
    let Spec::IdentityProvider(spec) = &document.spec else {
        return Vec::new();
    };
    let ProviderSpec::Ldap(spec) = &**spec else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    let secret = spec.ldap.bind.as_ref().map(|bind| {
        let secrets::SecretRef::File(path) = &bind.secret_ref;
        ("/spec/ldap/bind/secretRef/file", path)
    });
    let roots = spec.ldap.ca_file.as_ref().map(|path| ("/spec/ldap/caFile", path));
    for (at, path) in secret.into_iter().chain(roots) {
        absolute(document, at, path, &mut problems);
    }
    let optioned = spec.ldap.optioned().into_iter();
    problems.extend(optioned.map(|(at, what)| document.problem(at, what)));
    let of = |problem| (document.kind, document.name.clone(), problem);
    problems.into_iter().map(of).collect()
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
