//! `spec.ldap` of an `IdentityProvider`: which directory, and how people and groups are found in it.

use super::connection::{Target, Tls};
use super::filter::{Filter, is_attribute};
use secrets::SecretRef;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Longest distinguished name that is written down, in bytes.
const DN_BYTES_MAX: usize = 1024;

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LdapSpec {
    /// `ldaps://ldap.example`, or `ldap://` with `startTls`.
    pub url: String,
    /// Asks for TLS on a connection that begins without.
    #[serde(default)]
    pub start_tls: bool,
    /// PEM file of the certificates to trust in place of the machine's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Sends passwords in the clear to another machine.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Who searches; nobody in particular unless said.
    #[serde(default)]
    pub bind: Option<Bind>,
    /// Below which people are.
    pub base_dn: String,
    /// Which entries are people.
    #[serde(default = "anything")]
    pub user_filter: String,
    /// Holds the name that somebody types, and is called by here.
    #[serde(default = "uid")]
    pub user_attribute: String,
    /// Of a person, holds the distinguished names of groups: `memberOf`.
    #[serde(default)]
    pub group_attribute: Option<String>,
    /// Below which groups are, by their own lists of members.
    #[serde(default)]
    pub group_base_dn: Option<String>,
    /// Which entries are groups.
    #[serde(default = "anything")]
    pub group_filter: String,
    /// Of a group, holds the distinguished names of its members.
    #[serde(default = "member")]
    pub group_member_attribute: String,
    /// Of a group, holds the name that `roles` has.
    #[serde(default = "cn")]
    pub group_name_attribute: String,
    /// How long a login holds.
    #[serde(default = "eight")]
    pub token_hours: u8,
}

/// The account that searches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Bind {
    /// Its distinguished name.
    pub dn: String,
    /// Its password.
    pub secret_ref: SecretRef,
}

fn anything() -> String {
    "(objectClass=*)".to_owned()
}

fn uid() -> String {
    "uid".to_owned()
}

fn member() -> String {
    "member".to_owned()
}

fn cn() -> String {
    "cn".to_owned()
}

fn eight() -> u8 {
    8
}

/// A URL of a directory, taken apart.
struct Address {
    host: String,
    port: u16,
    tls: bool,
}

impl LdapSpec {
    /// Which entries are people.
    ///
    /// # Errors
    /// Why it is no filter.
    pub fn people(&self) -> Result<Filter, &'static str> {
        Filter::parse(&self.user_filter)
    }

    /// Which entries are groups.
    ///
    /// # Errors
    /// Why it is no filter.
    pub fn groups(&self) -> Result<Filter, &'static str> {
        Filter::parse(&self.group_filter)
    }

    /// How to reach it.
    pub(super) fn target(&self) -> Result<Target<'_>, String> {
        let address = self.address()?;
        let tls = match (address.tls, self.start_tls) {
            (true, _) => Tls::First,
            (false, true) => Tls::Start,
            (false, false) => Tls::None,
        };
        // The host stands in the URL as it is, between the scheme and the port.
        let start = self.url.find(&address.host).unwrap_or_default();
        let host = self
            .url
            .get(start..start + address.host.len())
            .unwrap_or_default();
        Ok(Target {
            host,
            port: address.port,
            tls,
            roots: self.ca_file.as_deref(),
        })
    }

    fn address(&self) -> Result<Address, String> {
        let what =
            || "a directory is ldaps://HOST[:PORT] or ldap://HOST[:PORT], and nothing after it".to_owned();
        let (tls, rest) = match self.url.split_once("://") {
            Some(("ldaps", rest)) => (true, rest),
            Some(("ldap", rest)) => (false, rest),
            _ => return Err(what()),
        };
        let authority: http::uri::Authority = rest.parse().map_err(|_| what())?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(what());
        }
        Ok(Address {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 636 } else { 389 }),
            tls,
        })
    }

    /// The attributes that are read of entries: where they are named, and how.
    fn attributes(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let group = self.group_attribute.as_ref();
        let group = group.map(|name| ("/spec/ldap/groupAttribute", name));
        let others = [
            ("/spec/ldap/userAttribute", &self.user_attribute),
            ("/spec/ldap/groupMemberAttribute", &self.group_member_attribute),
            ("/spec/ldap/groupNameAttribute", &self.group_name_attribute),
        ];
        others.into_iter().chain(group)
    }

    /// Those that are named with an option (`cn;lang-de`): what an answer gives is compared without, so such a one
    /// never has a value.
    #[must_use]
    pub fn optioned(&self) -> Vec<(&'static str, String)> {
        let with = self.attributes().filter(|(_, name)| name.contains(';'));
        let what = "name the attribute without options: what stands after `;` is another attribute";
        with.map(|(at, _)| (at, what.to_owned())).collect()
    }

    /// What is wrong with it: where and what.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        match self.address() {
            Err(what) => problems.push(("/spec/ldap/url", what)),
            Ok(address) => {
                let ip = address.host.parse::<std::net::IpAddr>();
                let local = address.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
                if !(address.tls || self.start_tls || local || self.allow_plaintext) {
                    let what = "passwords would cross the network in the clear: use ldaps://, startTls, or allowPlaintext: true";
                    problems.push(("/spec/ldap/url", what.to_owned()));
                }
                if address.tls && self.start_tls {
                    problems.push((
                        "/spec/ldap/startTls",
                        "ldaps:// is TLS from its first byte".to_owned(),
                    ));
                }
            }
        }
        let is_dn = |dn: &str| (1..=DN_BYTES_MAX).contains(&dn.len()) && dn.contains('=');
        let dns = [
            ("/spec/ldap/baseDn", Some(&self.base_dn)),
            ("/spec/ldap/groupBaseDn", self.group_base_dn.as_ref()),
            ("/spec/ldap/bind/dn", self.bind.as_ref().map(|bind| &bind.dn)),
        ];
        for (at, _) in dns.into_iter().filter(|(_, dn)| dn.is_some_and(|dn| !is_dn(dn))) {
            problems.push((at, "a distinguished name is like ou=people,dc=example".to_owned()));
        }
        for (at, filter) in [
            ("/spec/ldap/userFilter", self.people()),
            ("/spec/ldap/groupFilter", self.groups()),
        ] {
            problems.extend(filter.err().map(|why| (at, why.to_owned())));
        }
        for (at, _) in self.attributes().filter(|(_, name)| !is_attribute(name)) {
            problems.push((at, "the name of an attribute is like memberOf".to_owned()));
        }
        if self.group_attribute.is_none() && self.group_base_dn.is_none() {
            let what = "groups give roles: name groupAttribute or groupBaseDn";
            problems.push(("/spec/ldap", what.to_owned()));
        }
        if !(1..=24).contains(&self.token_hours) {
            problems.push(("/spec/ldap/tokenHours", "1 to 24 hours".to_owned()));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn directories_are_reached_safely_or_not_at_all() {
        let plain = "/spec/ldap/url: passwords would cross the network in the clear: use ldaps://, startTls, or allowPlaintext: true";
        let url =
            "/spec/ldap/url: a directory is ldaps://HOST[:PORT] or ldap://HOST[:PORT], and nothing after it";
        #[rustfmt::skip]
        let table = [
            ("TLS",                 json!({}),                                                            ""),
            ("StartTLS",            json!({"url": "ldap://ldap.example", "startTls": true}),               ""),
            ("on this machine",     json!({"url": "ldap://127.0.0.1:3890"}),                               ""),
            ("on this machine, 6",  json!({"url": "ldap://[::1]:3890"}),                                   ""),
            ("in the clear",        json!({"url": "ldap://ldap.example"}),                                 plain),
            ("allowed",             json!({"url": "ldap://ldap.example", "allowPlaintext": true}),         ""),
            ("TLS twice",           json!({"startTls": true}),                                             "/spec/ldap/startTls: ldaps:// is TLS from its first byte"),
            ("another scheme",      json!({"url": "https://ldap.example"}),                                url),
            ("a path",              json!({"url": "ldaps://ldap.example/dc=x"}),                           url),
            ("a password",          json!({"url": "ldaps://a:b@ldap.example"}),                            url),
            ("no base",             json!({"baseDn": ""}),                                                 "/spec/ldap/baseDn: a distinguished name is like ou=people,dc=example"),
            ("no filter",           json!({"userFilter": "uid=*"}),                                        "/spec/ldap/userFilter: it is no filter: write it like (objectClass=person) or (&(a=b)(!(c=*)))"),
            ("no attribute",        json!({"userAttribute": "uid=*)("}),                                   "/spec/ldap/userAttribute: the name of an attribute is like memberOf"),
            ("an option",           json!({"userAttribute": "uid;lang-de"}),                               "/spec/ldap/userAttribute: name the attribute without options: what stands after `;` is another attribute"),
            ("no groups",           json!({"groupAttribute": null}),                                       "/spec/ldap: groups give roles: name groupAttribute or groupBaseDn"),
            ("for ever",            json!({"tokenHours": 25}),                                             "/spec/ldap/tokenHours: 1 to 24 hours"),
        ];
        for (name, change, expected) in table {
            let mut spec =
                json!({"url": "ldaps://ldap.example", "baseDn": "dc=example", "groupAttribute": "memberOf"});
            let fields: &mut serde_json::Map<String, Value> = spec.as_object_mut().unwrap();
            fields.extend(change.as_object().unwrap().clone());
            let spec: LdapSpec = serde_json::from_value(spec).unwrap();
            let problems: Vec<_> = spec
                .problems()
                .into_iter()
                .chain(spec.optioned())
                .map(|(at, what)| format!("{at}: {what}"))
                .collect();
            assert_eq!(problems.join("; "), expected, "{name}");
        }
    }
}
