//! Documents that fit together, and what is refused where it stands.

use super::super::source::{Source, parse};
use super::super::{STARTER, document, unsupplied};
use super::*;

/// A webhook with an approver, and another with the same one.
const TWICE: &str = "type: webhook
  url: 'https://x'
  secretRef: {file: k}
  approver: {publicKey: whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=}
---
apiVersion: cofferdam.dev/v1
kind: Channel
metadata: {name: other}
spec:
  type: webhook
  url: 'https://y'
  secretRef: {file: k}
  approver:
    publicKey: whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn documents(text: &str) -> Vec<Document> {
    let parsed = parse(Source {
        name: "c.yaml".into(),
        text: text.into(),
    })
    .unwrap();
    parsed
        .into_iter()
        .map(|mut one| {
            super::super::load::resolve_paths(&mut one.value, Path::new("/srv"));
            document::read(one).unwrap()
        })
        .collect()
}

fn check(text: &str) -> Result<Compiled, Problems> {
    let supplied = unsupplied();
    compile(&documents(text), 7, &supplied)
}

#[test]
fn the_starter_compiles_and_its_agent_only_reads() {
    let compiled = check(STARTER).map_err(|problems| problems.render()).unwrap();
    assert_eq!(compiled.authority.generation, 7);
    let names: Vec<_> = compiled.authority.agents.keys().map(String::as_str).collect();
    assert_eq!(names, ["cofferdam-guest", "cofferdam-notifier", "triage"]);
    let (spec, tools) = &compiled.agents["triage"];
    assert_eq!(spec.autonomy.at(&Environment::production()), policy::Level::L1);
    let verbs: Vec<_> = tools.keys().map(String::as_str).collect();
    assert_eq!(
        verbs,
        [
            "git.blame",
            "git.diff",
            "git.log",
            "git.show",
            "incidents.search",
            "prometheus.alerts",
            "prometheus.query",
            "prometheus.query_range",
            "prometheus.rules"
        ]
    );
    assert_eq!(compiled.triggers["alertmanager"].agent, "triage");
    assert!(compiled.channels.contains_key("log"));
}

#[test]
fn a_sponsor_has_one_form() {
    let written = STARTER.replacen("sponsor: admin", "sponsor: person:admin", 1);
    let sponsor = |text: &str| check(text).unwrap().authority.agents["triage"].sponsor.clone();
    assert_eq!(
        (sponsor(&written), sponsor(STARTER)),
        ("admin".into(), "admin".into())
    );
}

/// In the place of the starter's first trigger's kind: an agent of somebody else's, and a trigger of it.
const GUEST: &str = "kind: Agent
metadata: {name: g}
spec: {sponsor: admin, guest: {}}
---
apiVersion: cofferdam.dev/v1
kind: Trigger
metadata: {name: g}
spec:
  source: alertmanager
  agent: g
---
apiVersion: cofferdam.dev/v1
kind: Trigger
";

/// Every change of the starter, what it is refused with, and where.
#[test]
fn what_does_not_fit_together_is_refused_at_its_line() {
    #[rustfmt::skip]
    let table = [
        ("an unknown toolset", "toolsets: [triage-read]", "toolsets: [nothing]",
         "toolsets: [nothing]", "there is no valid Toolset `nothing`; there are: triage-read"),
        ("a sandbox in production", "default: L1                 # L0", "default: L1\n    sandboxes: [production] # L0",
         "sandboxes: [production]", "`production` counts as production, where trust always counts"),
        ("weights that are not all", "  autonomy:\n", "  trust:\n    weights: {policy: 40, security: 25, quality: 20, efficiency: 15, collaboration: 15}\n  autonomy:\n",
         "weights: {policy: 40", "the weights of the dimensions sum to 115 hundredths, and have to sum to 100"),
        ("thresholds of no set", "spec:\n  rules:\n", "spec:\n  thresholds:\n    read: 1001\n  rules:\n",
         "thresholds:", "1001 is no score: use 0 to 1000"),
        ("an unknown verb", "tool: prometheus.alerts", "tool: prometheus.alarms",
         "tool: prometheus.alarms", "the toolsets of `triage` have no tool `prometheus.alarms`; there are: git.blame"),
        ("an unknown agent", "agent: triage", "agent: nobody",
         "agent: nobody", "there is no Agent `nobody`"),
        ("a guest with a runbook", "  runbook:\n", "  guest: {}\n  runbook:\n",
         "spec:", "an agent has a `runbook`, or is somebody else's program: `guest: {}`; say one of them"),
        ("neither a guest nor a runbook", "kind: Trigger\n", "kind: Agent\nmetadata: {name: g}\nspec: {sponsor: admin}\n---\napiVersion: cofferdam.dev/v1\nkind: Trigger\n",
         "spec: {sponsor: admin}", "an agent has a `runbook`, or is somebody else's program: `guest: {}`; say one of them"),
        ("a guest that an alert starts", "kind: Trigger\n", GUEST,
         "agent: g", "Agent `g` is a guest: no alert starts it"),
        ("an unknown channel", "channels: [log]", "channels: [pigeon]",
         "channels: [pigeon]", "there is no Channel `pigeon`"),
        ("a name twice", "kind: Channel\nmetadata:\n  name: log", "kind: Channel\nmetadata:\n  name: log\nspec: {type: log}\n---\napiVersion: cofferdam.dev/v1\nkind: Channel\nmetadata:\n  name: log",
         "name: log", "Channel `log` is already defined at c.yaml:"),
        ("a reserved name", "name: defaults", "name: cofferdam-defaults",
         "name: cofferdam-defaults", "names that begin with `cofferdam-` are the platform's own; use another"),
        ("an environment", "environment: production", "environment: Prod!",
         "environment: Prod!", "`Prod!` is not an environment"),
        ("no sponsor", "sponsor: admin", "sponsor: ''",
         "sponsor: ''", "an agent needs a sponsor"),
        ("a sponsor who is no person", "sponsor: admin", "sponsor: agent:triage",
         "sponsor: agent:triage", "an agent needs a sponsor: the name of a person"),
        ("a broken condition", "      outcome: deny", "      when: action.verb ==\n      outcome: deny",
         "- name: nothing-destructive", "rule `"),
        ("a broken template", "words: \"{{ event.incident.title }}\"", "words: \"{{ event.incident.title\"",
         "words: \"{{ event.incident.title\"", "steps[7].arguments.words: syntax error"),
        ("two steps of a name", "- name: rules\n", "- name: firing\n",
         "- name: firing", "steps[1].name: `firing` is there twice"),
        ("an approver that is not there", "      outcome: deny", "      outcome: require_approval\n      approvers: [webhook:pigeon]",
         "approvers: [webhook:pigeon]", "there is no Channel `pigeon`"),
        ("an approver without a key", "      outcome: deny", "      outcome: require_approval\n      approvers: [{webhook: log}, admin]",
         "approvers: [{webhook: log}, admin]", "Channel `log` has no `approver`, so that nobody answers for it"),
        ("one key for two approvers", "type: log", TWICE,
         "publicKey: whpk_", "the approver of Channel `log` has this key; every approver has its own"),
        ("a URL that is none", "type: log", "type: webhook\n  url: 'ftp://x'\n  secretRef: {file: k}",
         "url: 'ftp://x'", "neither http nor https"),
    ];
    for (name, old, new, line, expected) in table {
        assert!(STARTER.contains(old), "{name}: the starter has no `{old}`");
        let text = STARTER.replacen(old, new, 1);
        let problems = check(&text).expect_err(name);
        let found = problems.0.iter().find(|problem| problem.what.contains(expected));
        let problem = found.unwrap_or_else(|| panic!("{name}: {problems}"));
        let at = problem.place.unwrap_or_else(|| panic!("{name}: no place"));
        let shown = text
            .lines()
            .nth(usize::try_from(at.line).unwrap() - 1)
            .unwrap_or_default();
        assert!(shown.contains(line), "{name}: {problem} points at `{shown}`");
    }
}

#[test]
fn one_verb_comes_from_one_toolset() {
    let second = STARTER
        .split("\n---\n")
        .next()
        .unwrap()
        .replace("triage-read", "second");
    let second = &second[second.find("apiVersion").unwrap()..];
    let text = format!("{STARTER}---\n{second}")
        .replace("toolsets: [triage-read]", "toolsets: [triage-read, second]");
    let problems = check(&text).unwrap_err().to_string();
    assert!(
        problems.contains("`git.log` comes from more than one toolset; bind it in one"),
        "{problems}"
    );
    let at = problems.find("c.yaml:").and_then(|at| problems.get(at..));
    let line: usize = at.unwrap().split(':').nth(1).unwrap().parse().unwrap();
    assert!(
        text.lines()
            .nth(line - 1)
            .unwrap()
            .contains("toolsets: [triage-read, second]"),
        "{problems}"
    );
}
