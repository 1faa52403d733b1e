//! Channels: that those exist who are told and who approve, and that each is usable.

use super::{Index, absolute};
use crate::config::document::{Document, Kind, Spec};
use crate::config::problem::Problem;
use ops::channel::ChannelSpec;
use policy::PolicyDocument;
use secrets::SecretRef;
use std::collections::BTreeMap;

pub(super) fn channels_exist(
    document: &Document,
    channels: &[String],
    index: &Index<'_>,
    problems: &mut Vec<Problem>,
) {
    for (i, name) in channels.iter().enumerate() {
        if !index.contains_key(&(Kind::Channel, name.as_str())) {
            problems.push(document.problem(
                &format!("/spec/channels/{i}"),
                format!("there is no Channel `{name}`"),
            ));
        }
    }
}

/// Whom rules name as `webhook:NAME` has to be there and to have a key, or nobody could ever answer.
pub(super) fn approvers_exist(
    document: &Document,
    policy: &PolicyDocument,
    index: &Index<'_>,
    problems: &mut Vec<Problem>,
) {
    for (at, rule) in policy.rules.iter().enumerate() {
        for name in rule.approvers.webhooks() {
            let what = match index.get(&(Kind::Channel, name)).map(|document| &document.spec) {
                Some(Spec::Channel(spec)) if spec.approver().is_some() => continue,
                Some(_) => format!("Channel `{name}` has no `approver`, so that nobody answers for it"),
                None => format!("there is no Channel `{name}`"),
            };
            problems.push(document.problem(&format!("/spec/rules/{at}/approvers"), what));
        }
    }
}

pub(super) fn channel(
    document: &Document,
    spec: &ChannelSpec,
    others: &BTreeMap<String, ChannelSpec>,
    problems: &mut Vec<Problem>,
) {
    // One key is one approver: two names for it would be two votes.
    let same = |other: &ChannelSpec| spec.approver().is_some() && other.approver() == spec.approver();
    if let Some((name, _)) = others.iter().find(|(_, other)| same(other)) {
        let what = format!("the approver of Channel `{name}` has this key; every approver has its own");
        problems.push(document.problem("/spec/approver/publicKey", what));
    }
    match spec {
        ChannelSpec::Log {} => {}
        ChannelSpec::Webhook {
            secret_ref: SecretRef::File(path),
            ..
        } => {
            absolute(document, "/spec/secretRef/file", path, problems);
        }
    }
    if let Err(what) = spec.check() {
        problems.push(document.problem("/spec/url", what));
    }
}
