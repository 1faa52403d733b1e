//! `kind: IdentityProvider` with `certificates`: whom a client certificate names here, and what they may do.
//!
//! INVARIANT (only what is written is known): a certificate without exactly one name of the kind that is asked
//! for, or with one that nothing maps, names nobody.

use super::ClientCertificate;
use super::spec::{grants, roles_fit};
use gate::{Certified, NewToken, Role, RoleAt, Thumbprint};
use policy::{Principal, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most names that are mapped.
const NAMES_MAX: usize = 1000;

/// The `spec` of such a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateProviderSpec {
    /// What certificates say here.
    pub certificates: CertificateSpec,
}

/// Whom the certificates of an authority name, and what those may do here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CertificateSpec {
    /// SHA-256 of the authority's certificate, in hexadecimal. To be given when `--tls-client-ca` holds several:
    /// otherwise each could speak for the people of the other.
    #[serde(default)]
    pub authority: Option<String>,
    /// Where the name stands. Addresses and machines are services, mail addresses and common names people.
    pub name_from: NameFrom,
    /// Of `san-uri`: the trust domain of SPIFFE, `example.org`.
    #[serde(default)]
    pub trust_domain: Option<String>,
    /// Where a person's groups stand. Without it `roles` names people.
    #[serde(default)]
    pub groups_from: Option<GroupsFrom>,
    /// Of people, by name, or by group: `{alice@example.org: [operator@acme/payments]}`.
    #[serde(default)]
    pub roles: BTreeMap<String, Vec<RoleAt>>,
    /// Of services, by name: the trigger that each may send to.
    #[serde(default)]
    pub triggers: BTreeMap<String, String>,
    /// Names, and thumbprints of certificates, that are taken no more.
    #[serde(default)]
    pub deny: Vec<String>,
}

/// Where the name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameFrom {
    /// A SPIFFE id, without its trust domain: `ops/deploy`.
    SanUri,
    /// A machine.
    SanDns,
    /// A mail address.
    SanEmail,
    /// The common name of the subject.
    SubjectCn,
}

/// Where groups stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupsFrom {
    /// The organizational units of the subject.
    SubjectOu,
}

/// Why a certificate names nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmapped {
    /// It is of another authority than the mapping's.
    Authority,
    /// It has no name of the kind that the mapping looks at.
    Nameless(String),
    /// Is told to whoever showed it.
    Refused(String),
    /// Known, and none of their groups has a role.
    NoRole(String),
}

impl NameFrom {
    fn is_person(self) -> bool {
        matches!(self, NameFrom::SanEmail | NameFrom::SubjectCn)
    }

    fn told(self) -> &'static str {
        match self {
            NameFrom::SanUri => "address of SPIFFE",
            NameFrom::SanDns => "name of a machine",
            NameFrom::SanEmail => "mail address",
            NameFrom::SubjectCn => "common name",
        }
    }
}

impl CertificateSpec {
    /// What is wrong with it: where and what.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut wrong = |at: &'static str, what: &str| problems.push((at, what.to_owned()));
        if self
            .authority
            .as_deref()
            .is_some_and(|text| Thumbprint::parse(text).is_none())
        {
            wrong(
                "/spec/certificates/authority",
                "write the SHA-256 of the authority's certificate: 64 hexadecimal digits",
            );
        }
        let domain = self.trust_domain.as_deref();
        match (self.name_from, domain) {
            (NameFrom::SanUri, Some(domain)) if is_domain(domain) => {}
            (NameFrom::SanUri, _) => {
                wrong(
                    "/spec/certificates/trustDomain",
                    "name the trust domain, like example.org",
                );
            }
            (_, Some(_)) => wrong(
                "/spec/certificates/trustDomain",
                "only addresses (san-uri) are of a trust domain",
            ),
            (_, None) => {}
        }
        let (people, services) = (&self.roles, &self.triggers);
        if self.name_from.is_person() {
            if people.is_empty() || people.len() > NAMES_MAX || !services.is_empty() {
                wrong(
                    "/spec/certificates/roles",
                    "mail addresses and common names are people: give 1 to 1000 of them, or of their groups, roles, and no triggers",
                );
            }
            if !people.values().all(|roles| roles_fit(roles)) {
                wrong(
                    "/spec/certificates/roles",
                    "each has roles of people: admin, operator, approver, auditor, viewer",
                );
            }
        } else if services.is_empty()
            || services.len() > NAMES_MAX
            || !people.is_empty()
            || self.groups_from.is_some()
        {
            wrong(
                "/spec/certificates/triggers",
                "addresses and machines are services: give 1 to 1000 of them a trigger each, and neither roles nor groups",
            );
        }
        problems
    }

    /// Whom `certificate`, which `authority` signed, names at `name`, the provider. `several`: others might have
    /// signed it too.
    ///
    /// # Errors
    /// Nobody, with the reason.
    pub fn map(
        &self,
        name: &str,
        certificate: &ClientCertificate,
        authority: Thumbprint,
        several: bool,
    ) -> Result<NewToken, Unmapped> {
        if !self.is_of(authority, several) {
            return Err(Unmapped::Authority);
        }
        let refused = |what: String| Err(Unmapped::Refused(what));
        let Some(holder) = self.holder(certificate) else {
            return Err(Unmapped::Nameless(format!(
                "the client certificate has not exactly one {} that can be one here",
                self.name_from.told()
            )));
        };
        if self.denies_name(&holder) || self.denies_thumbprint(certificate.thumbprint) {
            return refused(format!("the client certificate of `{holder}` is denied here"));
        }
        let full = format!("{name}/{holder}");
        let expires: Option<Timestamp> = Some(certificate.until);
        if !self.name_from.is_person() {
            return match self.triggers.get(&holder) {
                Some(trigger) => Ok(NewToken {
                    principal: Principal::service(&full),
                    roles: vec![Role::Trigger.into()],
                    groups: Vec::new(),
                    trigger: Some(trigger.clone()),
                    expires,
                }),
                None => refused(format!(
                    "nothing here is mapped to `{holder}`, whom the client certificate names"
                )),
            };
        }
        let (roles, groups) = match self.groups_from {
            Some(GroupsFrom::SubjectOu) => grants(&self.roles, &certificate.units),
            None => (self.roles.get(&holder).cloned().unwrap_or_default(), Vec::new()),
        };
        if roles.is_empty() {
            return Err(match self.groups_from {
                Some(_) => Unmapped::NoRole(holder),
                None => Unmapped::Refused(format!(
                    "nothing here is mapped to `{holder}`, whom the client certificate names"
                )),
            });
        }
        Ok(NewToken {
            principal: Principal::person(&full),
            roles,
            groups,
            trigger: None,
            expires,
        })
    }

    /// Whether certificates of `authority` are this mapping's. `several`: there are others.
    fn is_of(&self, authority: Thumbprint, several: bool) -> bool {
        match self.authority.as_deref() {
            Some(wanted) => Thumbprint::parse(wanted) == Some(authority),
            None => !several,
        }
    }

    /// Whether whoever is called `holder` is denied.
    #[must_use]
    pub fn denies_name(&self, holder: &str) -> bool {
        self.deny.iter().any(|text| text == holder)
    }

    /// Whether this very certificate is denied, which is whosever it is.
    #[must_use]
    pub fn denies_thumbprint(&self, thumbprint: Thumbprint) -> bool {
        self.deny
            .iter()
            .any(|text| Thumbprint::parse(text) == Some(thumbprint))
    }

    /// Whether a certificate of `authority` is denied: itself, or whom it names, who is somebody else where the
    /// authority is not this mapping's.
    #[must_use]
    pub fn denies(&self, certificate: &ClientCertificate, authority: Thumbprint, several: bool) -> bool {
        let named = || {
            self.holder(certificate)
                .is_some_and(|holder| self.denies_name(&holder))
        };
        self.denies_thumbprint(certificate.thumbprint) || (self.is_of(authority, several) && named())
    }

    /// Whether `holder` may still be what was `recorded` of a certificate. Which groups gave the roles only the
    /// certificate tells: what some group still gives is left until it is shown again, or its record runs out.
    #[must_use]
    pub fn may_give(&self, holder: &str, recorded: &Certified) -> bool {
        if !self.name_from.is_person() {
            return recorded.trigger.is_some() && self.triggers.get(holder) == recorded.trigger.as_ref();
        }
        let any_gives = |role: &RoleAt| self.roles.values().any(|roles| roles.contains(role));
        match self.groups_from {
            Some(_) => {
                recorded.roles.iter().all(any_gives)
                    && recorded.groups.iter().all(|group| self.roles.contains_key(group))
            }
            None => self.roles.get(holder) == Some(&recorded.roles) && recorded.groups.is_empty(),
        }
    }

    /// The one name, if it can be one here.
    fn holder(&self, certificate: &ClientCertificate) -> Option<String> {
        let names = match self.name_from {
            NameFrom::SanUri => &certificate.uris,
            NameFrom::SanDns => &certificate.hosts,
            NameFrom::SanEmail => &certificate.emails,
            NameFrom::SubjectCn => &certificate.common_names,
        };
        let [name] = names.as_slice() else { return None };
        let name = match self.name_from {
            NameFrom::SanUri => spiffe_path(name, self.trust_domain.as_deref()?)?,
            _ => name,
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._@-/".contains(&b);
        let slashes = self.name_from == NameFrom::SanUri || !name.contains('/');
        ((1..=63).contains(&name.len()) && name.bytes().all(allowed) && slashes).then(|| name.to_owned())
    }
}

/// The path of a SPIFFE id of that trust domain: no empty segment, none of dots.
fn spiffe_path<'u>(uri: &'u str, domain: &str) -> Option<&'u str> {
    let path = uri
        .strip_prefix("spiffe://")?
        .strip_prefix(domain)?
        .strip_prefix('/')?;
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    path.split('/').all(is_segment).then_some(path)
}

fn is_domain(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    (1..=255).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> ClientCertificate {
        ClientCertificate {
            thumbprint: Thumbprint::of(b"x"),
            from: Timestamp::from_ms(0),
            until: Timestamp::from_ms(1000),
            uris: Vec::new(),
            hosts: Vec::new(),
            emails: Vec::new(),
            common_names: Vec::new(),
            ed25519: None,
            units: Vec::new(),
        }
    }

    fn told(spec: &str, certificate: &ClientCertificate, several: bool) -> String {
        let spec: CertificateSpec = serde_saphyr::from_str(spec).unwrap();
        assert_eq!(spec.problems(), []);
        match spec.map("mesh", certificate, Thumbprint::of(b"ca"), several) {
            Ok(new) => {
                let roles: Vec<String> = new.roles.iter().map(ToString::to_string).collect();
                let trigger = new.trigger.map(|trigger| format!(" {trigger}"));
                format!(
                    "{} {}{} {:?}",
                    new.principal,
                    roles.join(","),
                    trigger.unwrap_or_default(),
                    new.groups
                )
            }
            Err(Unmapped::Authority) => "another authority".to_owned(),
            Err(Unmapped::Nameless(what) | Unmapped::Refused(what)) => what,
            Err(Unmapped::NoRole(name)) => format!("no role for {name}"),
        }
    }

    #[test]
    fn a_certificate_is_who_the_mapping_says_and_nobody_else() {
        let with = |change: fn(&mut ClientCertificate)| {
            let mut made = certificate();
            change(&mut made);
            made
        };
        let uri = |uri: &str| ClientCertificate {
            uris: vec![uri.to_owned()],
            ..certificate()
        };
        let other = Thumbprint::of(b"other");
        let ours = Thumbprint::of(b"ca");
        let mesh = "{nameFrom: san-uri, trustDomain: example.org, triggers: {ops/am: alerts}}".to_owned();
        let cn = "{nameFrom: subject-cn, roles: {alice: [viewer@acme]}}".to_owned();
        let mail =
            "{nameFrom: san-email, groupsFrom: subject-ou, roles: {sre: [operator], leads: [approver@acme]}}"
                .to_owned();
        let nobody = "the client certificate has not exactly one address of SPIFFE that can be one here";
        let alice = with(|c| c.common_names = vec!["alice".into()]);
        let unknown =
            |name: &str| format!("nothing here is mapped to `{name}`, whom the client certificate names");
        #[rustfmt::skip]
        let table = [
            ("a service",               &mesh, uri("spiffe://example.org/ops/am"), false, "service:mesh/ops/am trigger alerts []".to_owned()),
            ("no name at all",          &mesh, certificate(), false, nobody.to_owned()),
            ("two names",               &mesh, with(|c| c.uris = vec!["spiffe://example.org/ops/am".into(), "https://x/".into()]), false, nobody.to_owned()),
            ("another trust domain",    &mesh, uri("spiffe://evil.org/ops/am"), false, nobody.to_owned()),
            ("a longer trust domain",   &mesh, uri("spiffe://example.org.evil/ops/am"), false, nobody.to_owned()),
            ("the domain as a user",    &mesh, uri("spiffe://example.org@evil/ops/am"), false, nobody.to_owned()),
            ("another scheme",          &mesh, uri("https://example.org/ops/am"), false, nobody.to_owned()),
            ("a path that climbs",      &mesh, uri("spiffe://example.org/x/../ops/am"), false, nobody.to_owned()),
            ("a path with a query",     &mesh, uri("spiffe://example.org/ops/am?x"), false, nobody.to_owned()),
            ("a path that goes on",     &mesh, uri("spiffe://example.org/ops/am/x"), false, unknown("ops/am/x")),
            ("a name that is not mapped", &mesh, uri("spiffe://example.org/ops/other"), false, unknown("ops/other")),
            ("a person",                &cn, alice.clone(), false, "person:mesh/alice viewer@acme []".to_owned()),
            ("a common name with a slash", &cn, with(|c| c.common_names = vec!["a/alice".into()]), false, "the client certificate has not exactly one common name that can be one here".to_owned()),
            ("the name elsewhere",      &cn, with(|c| c.emails = vec!["alice".into()]), false, "the client certificate has not exactly one common name that can be one here".to_owned()),
            ("by group",                &mail, with(|c| { c.emails = vec!["a@b.c".into()]; c.units = vec!["sre".into(), "x".into()] }), false, "person:mesh/a@b.c operator [\"sre\"]".to_owned()),
            ("groups without a role",   &mail, with(|c| { c.emails = vec!["a@b.c".into()]; c.units = vec!["x".into()] }), false, "no role for a@b.c".to_owned()),
            ("denied by name",          &"{nameFrom: subject-cn, roles: {alice: [viewer]}, deny: [alice]}".to_owned(), alice.clone(), false, "the client certificate of `alice` is denied here".to_owned()),
            ("denied by thumbprint",    &format!("{{nameFrom: subject-cn, roles: {{alice: [viewer]}}, deny: ['{}']}}", Thumbprint::of(b"x")), alice.clone(), false, "the client certificate of `alice` is denied here".to_owned()),
            ("another's thumbprint",    &format!("{{nameFrom: subject-cn, roles: {{alice: [viewer]}}, deny: ['{other}']}}"), alice.clone(), false, "person:mesh/alice viewer []".to_owned()),
            ("of the authority",        &format!("{{authority: '{ours}', nameFrom: subject-cn, roles: {{alice: [viewer]}}}}"), alice.clone(), true, "person:mesh/alice viewer []".to_owned()),
            ("of another authority",    &format!("{{authority: '{other}', nameFrom: subject-cn, roles: {{alice: [viewer]}}}}"), alice.clone(), false, "another authority".to_owned()),
            ("of which of several",     &cn, alice, true, "another authority".to_owned()),
        ];
        for (name, spec, certificate, several, expected) in table {
            assert_eq!(told(spec, &certificate, several), expected, "{name}");
        }
    }

    #[test]
    fn a_mapping_that_could_mean_two_things_is_refused() {
        let table = [
            (
                "{nameFrom: san-uri, triggers: {a: b}}",
                "/spec/certificates/trustDomain",
            ),
            (
                "{nameFrom: san-uri, trustDomain: A/b, triggers: {a: b}}",
                "/spec/certificates/trustDomain",
            ),
            (
                "{nameFrom: subject-cn, trustDomain: a, roles: {a: [viewer]}}",
                "/spec/certificates/trustDomain",
            ),
            (
                "{nameFrom: san-dns, roles: {a: [viewer]}, triggers: {a: b}}",
                "/spec/certificates/triggers",
            ),
            ("{nameFrom: san-dns}", "/spec/certificates/triggers"),
            ("{nameFrom: subject-cn}", "/spec/certificates/roles"),
            (
                "{nameFrom: subject-cn, roles: {a: []}}",
                "/spec/certificates/roles",
            ),
            (
                "{nameFrom: subject-cn, roles: {a: [trigger]}}",
                "/spec/certificates/roles",
            ),
            (
                "{nameFrom: subject-cn, roles: {a: [viewer]}, triggers: {a: b}}",
                "/spec/certificates/roles",
            ),
            (
                "{nameFrom: subject-cn, roles: {a: [viewer]}, authority: abc}",
                "/spec/certificates/authority",
            ),
        ];
        for (spec, at) in table {
            let read: CertificateSpec = serde_saphyr::from_str(spec).unwrap();
            let problems = read.problems();
            assert_eq!(
                problems.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
                [at],
                "{spec}"
            );
        }
    }
}
