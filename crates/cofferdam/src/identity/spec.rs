//! `kind: IdentityProvider`: which tokens are taken, and what the groups in them may do.

use super::ldap::LdapSpec;
use gate::{Role, RoleAt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most groups that have roles.
const GROUPS_MAX: usize = 1000;
/// Most scopes that `login` asks for.
const SCOPES_MAX: usize = 32;
/// Most ports that it tries.
const PORTS_MAX: usize = 16;

/// By group: `{sre: [operator@acme/payments, viewer]}`.
pub type Roles = BTreeMap<String, Vec<RoleAt>>;

/// Who says who people are, and what their groups may do here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderSpec {
    /// An OpenID provider.
    Oidc(OidcSpec),
    /// A directory: `spec` has `ldap`.
    Ldap(DirectorySpec),
}

/// A directory and what its groups may do here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DirectorySpec {
    /// Which, and how it is asked.
    pub ldap: LdapSpec,
    /// By group.
    pub roles: Roles,
}

/// An OpenID provider and what its groups may do here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OidcSpec {
    /// As in its tokens: `https://id.example`. Its discovery document is below it.
    pub issuer: String,
    /// What `aud` has to hold.
    pub audience: String,
    /// The public client that `cofferdam login` is; the audience unless said otherwise.
    #[serde(default)]
    pub client_id: Option<String>,
    /// What `login` asks for besides `openid`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// RFC 8707: `login` asks for an access token for this resource. Without one it uses the ID token, whose
    /// audience is the client.
    #[serde(default)]
    pub resource: Option<String>,
    /// Ports on 127.0.0.1 that the provider may send people back to; any unless said otherwise (RFC 8252, 7.3).
    #[serde(default)]
    pub redirect_ports: Vec<u16>,
    /// The claim that names the person: `sub` unless said otherwise. Of `email`, only verified ones.
    #[serde(default = "sub")]
    pub name_claim: String,
    /// The claim that holds the groups: `groups` unless said otherwise.
    #[serde(default = "groups")]
    pub groups_claim: String,
    /// By group.
    pub roles: Roles,
}

fn sub() -> String {
    "sub".to_owned()
}

fn groups() -> String {
    "groups".to_owned()
}

impl ProviderSpec {
    /// Where its people come from, and where that is said.
    #[must_use]
    pub fn source(&self) -> (&'static str, String) {
        match self {
            ProviderSpec::Oidc(spec) => ("/spec/issuer", spec.issuer.clone()),
            ProviderSpec::Ldap(spec) => (
                "/spec/ldap/baseDn",
                format!("{} {}", spec.ldap.url, spec.ldap.base_dn),
            ),
        }
    }

    /// What is wrong with it: where and what.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let (mut problems, roles) = match self {
            ProviderSpec::Oidc(spec) => (spec.problems(), &spec.roles),
            ProviderSpec::Ldap(spec) => (spec.ldap.problems(), &spec.roles),
        };
        if roles.is_empty() || roles.len() > GROUPS_MAX {
            problems.push(("/spec/roles", format!("give 1 to {GROUPS_MAX} groups roles")));
        }
        if !roles.values().all(|roles| roles_fit(roles)) {
            let what = "each group has roles of people: admin, operator, approver, auditor, viewer";
            problems.push(("/spec/roles", what.to_owned()));
        }
        problems
    }
}

impl OidcSpec {
    /// The client that `login` is.
    #[must_use]
    pub fn client(&self) -> &str {
        self.client_id.as_deref().unwrap_or(&self.audience)
    }

    /// What is wrong with what `login` needs.
    fn problems_of_login(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.client().is_empty() || self.client().len() > 256 {
            problems.push(("/spec/clientId", "a client has 1 to 256 characters".to_owned()));
        }
        // RFC 6749, 3.3.
        let is_scope = |scope: &String| {
            let fits = |b: u8| b.is_ascii_graphic() && !b"\"\\".contains(&b);
            (1..=128).contains(&scope.len()) && scope.bytes().all(fits)
        };
        if self.scopes.len() > SCOPES_MAX || !self.scopes.iter().all(is_scope) {
            let what = format!("at most {SCOPES_MAX} scopes, each one word");
            problems.push(("/spec/scopes", what));
        }
        let is_resource = |text: &String| {
            reqwest::Url::parse(text).is_ok_and(|url| text.len() <= 512 && url.fragment().is_none())
        };
        if self.resource.as_ref().is_some_and(|text| !is_resource(text)) {
            let what = "a resource is an absolute URI without a fragment (RFC 8707)";
            problems.push(("/spec/resource", what.to_owned()));
        }
        if self.redirect_ports.len() > PORTS_MAX || self.redirect_ports.iter().any(|port| *port < 1024) {
            let what = format!("at most {PORTS_MAX} ports, from 1024 on");
            problems.push(("/spec/redirectPorts", what));
        }
        problems
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = self.problems_of_login();
        if !is_address(&self.issuer) {
            let what = "an issuer is an https:// address without query; http:// only on this machine";
            problems.push(("/spec/issuer", what.to_owned()));
        }
        if self.audience.is_empty() {
            problems.push((
                "/spec/audience",
                "tokens for nobody in particular are not taken".to_owned(),
            ));
        }
        problems
    }
}

/// Whether these can be a person's, and are some.
pub(super) fn roles_fit(roles: &[RoleAt]) -> bool {
    !roles.is_empty() && roles.iter().all(|at| at.role != Role::Trigger)
}

/// The roles of somebody in `claimed`, and those of the groups that configuration knows.
pub(super) fn grants(by_group: &Roles, claimed: &[String]) -> (Vec<RoleAt>, Vec<String>) {
    let known = by_group.iter().filter(|(group, _)| claimed.contains(group));
    let mut roles: Vec<RoleAt> = known.clone().flat_map(|(_, roles)| roles.clone()).collect();
    roles.sort();
    roles.dedup();
    let is_team = |group: &&String| {
        let word = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        (1..=64).contains(&group.len()) && group.bytes().all(word) && RoleAt::parse(group).is_none()
    };
    let groups = known.map(|(group, _)| group).filter(is_team).take(64).cloned();
    (roles, groups.collect())
}

/// Whether keys and tokens may be asked for there: over TLS, or on this machine.
pub(crate) fn is_address(text: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(text) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    plain && url.query().is_none() && (url.scheme() == "https" || (url.scheme() == "http" && local))
}
