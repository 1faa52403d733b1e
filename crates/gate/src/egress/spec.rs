//! `Egress` documents: which agents reach which hosts, how, and how much. Read and compiled here; resolves
//! nothing, connects to nothing.
//!
//! A document gives its agents the grants for what its rules name, and a rule that permits it: to be written
//! down by whoever may write documents is to be opted in to. Levels, rules that ask or forbid, stops and bounds
//! count as for every action.

use super::rules::{Mode, Pattern, Rule};
use assay::address::Network;
use assay::link::Prefix;
use assay::target::Host;
use policy::{Capability, Environment, Grant, Match, PolicyDocument, RuleOutcome, RuleSpec};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Most rules of a document.
const RULES_MAX: usize = 256;
/// Most hosts, ports, networks, methods or paths of a rule.
const ITEMS_MAX: usize = 256;
/// Most resources of a rule: hosts times ports times paths.
const RESOURCES_MAX: usize = 4096;
/// Largest body of a request that a rule may let through, in bytes.
const BODY_BYTES_MAX: u64 = 1 << 40;

/// `spec` of an `Egress`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EgressSpec {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Names of the agents that it is for.
    pub agents: Vec<String>,
    /// Where what is reached takes effect. Default `production`: the strictest.
    #[serde(default = "production")]
    pub environment: String,
    /// What may be reached.
    pub rules: Vec<EgressRule>,
    /// How much, of each agent. Of several documents the lowest counts.
    #[serde(default)]
    pub limits: Limits,
}

/// One rule as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EgressRule {
    /// Unique in its document.
    pub name: String,
    /// `api.example.com`, an address, or `*.example.com` for everything below it and nothing else.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Default 443.
    #[serde(default = "https")]
    pub ports: Vec<u16>,
    /// Networks that are not of the Internet and that names may lead to all the same: `10.0.0.0/8`. An address
    /// in one of them may also be connected to without a name, unless it is to be seen what is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Networks that are never reached by this rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except_networks: Vec<String>,
    /// Of a tunnel: whether it has to be TLS to that very host. Default yes.
    #[serde(default = "yes")]
    pub tls: bool,
    /// Of a tunnel: whether the client may encrypt whom it speaks to (ECH), so that nobody can compare it.
    #[serde(default)]
    pub encrypted_hello: bool,
    /// Opens TLS, with a certificate of this installation, so that every request is seen and judged.
    #[serde(default)]
    pub inspect: bool,
    /// Lets requests go without TLS (`http://`). They are seen too.
    #[serde(default)]
    pub clear_text: bool,
    /// Of requests that are seen. Default GET, HEAD and OPTIONS.
    #[serde(default = "reading")]
    pub methods: Vec<String>,
    /// Of requests that are seen: at or below these. Default everything.
    #[serde(default = "root")]
    pub paths: Vec<String>,
    /// Of requests that are seen: the largest body. Default 1 MiB.
    #[serde(default = "mebibyte")]
    pub body_bytes: u64,
}

/// How much one agent may do at the same time, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Connections at once; 256 unless said otherwise.
    pub connections: Option<u32>,
    /// Connections and requests a second, over ten seconds; 100 unless said otherwise. Also of those that are
    /// refused.
    pub per_second: Option<u32>,
    /// Bytes of one connection, both ways; no limit unless said otherwise.
    pub bytes: Option<u64>,
    /// How long nothing may move, in seconds; 300 unless said otherwise.
    pub idle_seconds: Option<u32>,
    /// How long one connection lives, in seconds; an hour unless said otherwise.
    pub lifetime_seconds: Option<u32>,
    /// How long connecting may take, in seconds; a minute unless said otherwise.
    pub connect_seconds: Option<u32>,
}

impl Limits {
    /// The lower of each.
    pub(super) fn and(self, other: Limits) -> Limits {
        fn lower<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            match (one, other) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            }
        }
        Limits {
            connections: lower(self.connections, other.connections),
            per_second: lower(self.per_second, other.per_second),
            bytes: lower(self.bytes, other.bytes),
            idle_seconds: lower(self.idle_seconds, other.idle_seconds),
            lifetime_seconds: lower(self.lifetime_seconds, other.lifetime_seconds),
            connect_seconds: lower(self.connect_seconds, other.connect_seconds),
        }
    }
}

fn production() -> String {
    "production".to_owned()
}
fn https() -> Vec<u16> {
    vec![443]
}
fn yes() -> bool {
    true
}
fn reading() -> Vec<String> {
    ["GET", "HEAD", "OPTIONS"].map(str::to_owned).to_vec()
}
fn root() -> Vec<String> {
    vec!["/".to_owned()]
}
fn mebibyte() -> u64 {
    1024 * 1024
}

/// A document, compiled.
#[derive(Clone, Debug)]
pub struct EgressDocument {
    /// Whom it is for.
    pub agents: Vec<String>,
    /// What each of them holds by it.
    pub grants: Vec<Grant>,
    /// What opts in to what changes something; nothing when there is no such thing in it.
    pub policy: Option<PolicyDocument>,
    pub(super) rules: Vec<Arc<Rule>>,
    pub(super) limits: Limits,
}

impl EgressDocument {
    /// Everything that is of the Internet, and what of `networks` is not, for a run that learns: tunnels, and requests
    /// in clear text. It gives no grant.
    ///
    /// # Errors
    /// What is no network, or the environment's name is none.
    pub fn anything(
        name: &str,
        environment: &str,
        networks: &[String],
    ) -> Result<EgressDocument, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let networks = read(networks, "/networks", &mut wrong, Network::parse);
        let environment = Environment::new(environment);
        let environment =
            environment.map_err(|error| vec![("/environment".to_owned(), error.to_string())])?;
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let rule = |kind: &str, mode| {
            Arc::new(Rule {
                id: format!("egress/{name}#{kind}"),
                environment: environment.clone(),
                hosts: vec![Pattern::Any],
                ports: Vec::new(),
                networks: networks.clone(),
                except: Vec::new(),
                mode,
            })
        };
        let tunnel = Mode::Tunnel {
            tls: false,
            encrypted_hello: true,
        };
        let methods = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
        let seen = Mode::Seen {
            inspect: false,
            methods: methods.map(str::to_owned).to_vec(),
            prefixes: Vec::new(),
            body_bytes: BODY_BYTES_MAX,
        };
        Ok(EgressDocument {
            agents: Vec::new(),
            grants: Vec::new(),
            policy: None,
            rules: vec![rule("tunnels", tunnel), rule("requests", seen)],
            limits: Limits::default(),
        })
    }
}

/// What is wrong with a document: where in its spec, and what.
pub type Wrong = (String, String);

impl EgressSpec {
    /// Compiles the document of that name.
    pub fn compile(&self, name: &str) -> Result<EgressDocument, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let environment = Environment::new(&self.environment)
            .map_err(|error| wrong.push(("/environment".to_owned(), error.to_string())))
            .ok();
        if self.agents.is_empty() {
            wrong.push((
                "/agents".to_owned(),
                "it is for nobody; name at least one agent".to_owned(),
            ));
        }
        if self.rules.len() > RULES_MAX {
            wrong.push(("/rules".to_owned(), format!("no more than {RULES_MAX} rules")));
        }
        zeroes(&self.limits, &mut wrong);
        let (mut rules, mut granted) = (Vec::new(), Granted::default());
        for (at, spec) in self.rules.iter().enumerate() {
            let here = format!("/rules/{at}");
            if self.rules.iter().take(at).any(|other| other.name == spec.name) {
                wrong.push((format!("{here}/name"), format!("`{}` is there twice", spec.name)));
            }
            let Some(environment) = &environment else { continue };
            match spec.compile(name, environment) {
                Ok((rule, more)) => {
                    granted.extend(more);
                    rules.push(Arc::new(rule));
                }
                Err(more) => wrong.extend(more.into_iter().map(|(at, what)| (format!("{here}{at}"), what))),
            }
        }
        let grants = granted.grants(name, &mut wrong);
        match wrong.is_empty() {
            false => Err(wrong),
            true => Ok(EgressDocument {
                agents: self.agents.clone(),
                grants,
                policy: granted.policy(name, self),
                rules,
                limits: self.limits,
            }),
        }
    }
}

fn zeroes(limits: &Limits, wrong: &mut Vec<Wrong>) {
    let all = [
        ("connections", limits.connections),
        ("perSecond", limits.per_second),
        ("idleSeconds", limits.idle_seconds),
        ("lifetimeSeconds", limits.lifetime_seconds),
        ("connectSeconds", limits.connect_seconds),
    ];
    for (name, _) in all.iter().filter(|(_, limit)| *limit == Some(0)) {
        wrong.push((
            format!("/limits/{name}"),
            "0 would let nothing through; leave the rule out".to_owned(),
        ));
    }
}

/// The resources of a document by verb.
#[derive(Clone, Debug, Default)]
struct Granted(Vec<(&'static str, String)>);

impl Granted {
    fn extend(&mut self, other: Granted) {
        self.0.extend(other.0);
    }

    fn grants(&self, name: &str, wrong: &mut Vec<Wrong>) -> Vec<Grant> {
        let mut grants = Vec::new();
        for (verb, resource) in &self.0 {
            match Capability::new(verb, resource) {
                Some(capability) => grants.push(Grant {
                    capability,
                    from: format!("egress/{name}"),
                    until: None,
                }),
                None => wrong.push(("/rules".to_owned(), format!("`{resource}` cannot be granted"))),
            }
        }
        grants
    }

    /// For the agents of the document, where it is of: others may hold such a grant from elsewhere.
    fn policy(&self, name: &str, spec: &EgressSpec) -> Option<PolicyDocument> {
        let mut rules = Vec::new();
        for verb in ["connect", "http.request"] {
            let of_verb = || {
                self.0
                    .iter()
                    .filter(|(of, _)| *of == verb)
                    .map(|(_, resource)| resource)
            };
            let (below, plain): (Vec<&String>, Vec<&String>) =
                of_verb().partition(|resource| resource.starts_with("*."));
            if !plain.is_empty() {
                rules.push(permit(
                    verb,
                    name,
                    Some(plain.into_iter().cloned().collect()),
                    None,
                ));
            }
            for resource in below {
                let end = resource.trim_start_matches('*');
                let when = format!("action.resource.endsWith('{end}')");
                rules.push(permit(&format!("{verb}-{end}"), name, None, Some(when)).of(verb));
            }
        }
        for rule in &mut rules {
            rule.matching.agents = Some(spec.agents.clone());
            rule.matching.environments = Some(vec![spec.environment.clone()]);
        }
        (!rules.is_empty()).then(|| PolicyDocument {
            rules,
            built_in: true,
            ..PolicyDocument::default()
        })
    }
}

/// Says which verb a rule is of when its name says more.
trait Of {
    fn of(self, verb: &str) -> Self;
}

impl Of for RuleSpec {
    fn of(mut self, verb: &str) -> RuleSpec {
        self.matching.verbs = Some(vec![verb.to_owned()]);
        self
    }
}

fn permit(rule: &str, document: &str, resources: Option<Vec<String>>, when: Option<String>) -> RuleSpec {
    RuleSpec {
        name: Some(rule.chars().take(120).collect()),
        matching: Match {
            verbs: Some(vec![rule.to_owned()]),
            resources,
            ..Match::default()
        },
        when,
        condition: None,
        outcome: RuleOutcome::Permit,
        reason: format!("Egress `{document}` allows it"),
        approvers: policy::Stages::default(),
        waivable: Vec::new(),
        expires_after_seconds: None,
        opts_in: true,
    }
}

impl EgressRule {
    fn compile(&self, document: &str, environment: &Environment) -> Result<(Rule, Granted), Vec<Wrong>> {
        let mut wrong = Vec::new();
        let id_fits = (1..=63).contains(&self.name.len())
            && self
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !id_fits {
            let what = format!(
                "`{}` is not a name: use 1 to 63 letters, digits, `-`, `_`",
                self.name
            );
            wrong.push(("/name".to_owned(), what));
        }
        self.sizes(&mut wrong);
        let hosts = read(&self.hosts, "/hosts", &mut wrong, Pattern::parse);
        let networks = read(&self.networks, "/networks", &mut wrong, Network::parse);
        let except = read(
            &self.except_networks,
            "/exceptNetworks",
            &mut wrong,
            Network::parse,
        );
        if self.hosts.is_empty() && (self.networks.is_empty() || self.is_seen()) {
            wrong.push(("/hosts".to_owned(), "names no host".to_owned()));
        }
        let prefixes = match self.is_seen() {
            true => self.prefixes(&hosts, &mut wrong),
            false => Vec::new(),
        };
        if self.is_seen() && self.encrypted_hello {
            let what = "is of a tunnel; what is inspected hides nothing".to_owned();
            wrong.push(("/encryptedHello".to_owned(), what));
        }
        let granted = self.granted(&hosts, &networks, &prefixes);
        if granted.0.len() > RESOURCES_MAX {
            wrong.push((
                String::new(),
                format!("names more than {RESOURCES_MAX} resources; split it"),
            ));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let mode = match self.is_seen() {
            false => Mode::Tunnel {
                tls: self.tls,
                encrypted_hello: self.encrypted_hello,
            },
            true => Mode::Seen {
                inspect: self.inspect,
                methods: self.methods.clone(),
                prefixes,
                body_bytes: self.body_bytes,
            },
        };
        let rule = Rule {
            id: format!("egress/{document}#{}", self.name),
            environment: environment.clone(),
            hosts,
            ports: self.ports.clone(),
            networks,
            except,
            mode,
        };
        Ok((rule, granted))
    }

    /// Whether it is about requests that are seen, and not about tunnels.
    fn is_seen(&self) -> bool {
        self.inspect || self.clear_text
    }

    fn sizes(&self, wrong: &mut Vec<Wrong>) {
        let lists = [
            ("/hosts", self.hosts.len()),
            ("/ports", self.ports.len()),
            ("/networks", self.networks.len()),
            ("/exceptNetworks", self.except_networks.len()),
            ("/methods", self.methods.len()),
            ("/paths", self.paths.len()),
        ];
        for (at, _) in lists.iter().filter(|(_, length)| *length > ITEMS_MAX) {
            wrong.push(((*at).to_owned(), format!("no more than {ITEMS_MAX}")));
        }
        if self.ports.is_empty() || self.ports.contains(&0) {
            wrong.push((
                "/ports".to_owned(),
                "name at least one port, from 1 to 65535".to_owned(),
            ));
        }
        if self.methods.is_empty() || self.paths.is_empty() {
            wrong.push((
                "/methods".to_owned(),
                "name at least one method and one path".to_owned(),
            ));
        }
        let is_method = |method: &String| {
            (1..=32).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
        };
        let odd = self
            .methods
            .iter()
            .find(|method| !is_method(method) || *method == "CONNECT");
        if let Some(method) = odd {
            wrong.push((
                "/methods".to_owned(),
                format!("`{method}` is not a method of requests"),
            ));
        }
        if self.body_bytes > BODY_BYTES_MAX {
            wrong.push(("/bodyBytes".to_owned(), "is more than 1 TiB".to_owned()));
        }
    }

    /// Every URL that requests may be at or below.
    fn prefixes(&self, hosts: &[Pattern], wrong: &mut Vec<Wrong>) -> Vec<Prefix> {
        let mut prefixes = Vec::new();
        let schemes = [("https", self.inspect), ("http", self.clear_text)];
        for (at, host) in hosts.iter().enumerate() {
            let Pattern::Exact(host) = host else {
                let what = "what is seen is named host by host; `*.` is for tunnels".to_owned();
                wrong.push((format!("/hosts/{at}"), what));
                continue;
            };
            for (scheme, port) in schemes
                .iter()
                .filter(|(_, is_so)| *is_so)
                .flat_map(|(scheme, _)| self.ports.iter().map(move |port| (scheme, port)))
            {
                for (at, path) in self.paths.iter().enumerate() {
                    let prefix = match path.starts_with('/') {
                        true => Prefix::parse(&format!("{scheme}://{host}:{port}{path}")),
                        false => Err("has to begin with `/`".to_owned()),
                    };
                    match prefix {
                        Ok(prefix) => prefixes.push(prefix),
                        Err(what) => wrong.push((format!("/paths/{at}"), format!("`{path}` {what}"))),
                    }
                }
            }
        }
        prefixes
    }

    fn granted(&self, hosts: &[Pattern], networks: &[Network], prefixes: &[Prefix]) -> Granted {
        let mut granted = Vec::new();
        if self.is_seen() {
            let reads = |method: &String| super::is_read(method);
            let verbs = [
                ("http.get", self.methods.iter().any(reads)),
                ("http.request", !self.methods.iter().all(reads)),
            ];
            for (verb, _) in verbs.iter().filter(|(_, is_so)| *is_so) {
                let patterns = prefixes.iter().flat_map(Prefix::patterns);
                granted.extend(patterns.map(|pattern| (*verb, pattern)));
            }
            return Granted(granted);
        }
        for host in hosts {
            let resources = self.ports.iter().map(|port| format!("{host}:{port}"));
            granted.extend(resources.map(|resource| ("connect", resource)));
        }
        granted.extend(networks.iter().map(|network| ("connect", format!("{network}/*"))));
        Granted(granted)
    }
}

fn read<T>(
    texts: &[String],
    at: &str,
    wrong: &mut Vec<Wrong>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let mut all = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        match parse(text) {
            Ok(one) => all.push(one),
            Err(what) => wrong.push((format!("{at}/{number}"), what)),
        }
    }
    all
}

impl Pattern {
    /// Reads `api.example.com`, an address, or `*.example.com`.
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        let below = text.strip_prefix("*.");
        match (below, Host::parse(below.unwrap_or(text))) {
            (_, Err(error)) => Err(format!("`{text}`: {error}")),
            (None, Ok(host)) => Ok(Pattern::Exact(host)),
            (Some(_), Ok(Host::Name(name))) if name.contains('.') => Ok(Pattern::Below(name)),
            (Some(_), Ok(_)) => Err(format!("`{text}` would be half of the Internet; name a domain")),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pattern::Exact(host) => write!(f, "{host}"),
            Pattern::Below(name) => write!(f, "*.{name}"),
            Pattern::Any => f.write_str("any host"),
        }
    }
}
