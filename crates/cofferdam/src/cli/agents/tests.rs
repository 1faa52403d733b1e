//! What is printed of agents, delegations and questions.

use super::*;
use anstream::adapter::strip_str;

#[test]
fn the_tree_tells_capability_end_and_trust_at_every_link() {
    let agent = |name: &str, status: &str| json!({"name": name, "status": status, "sponsor": "alice"});
    let delegation = |id: &str, under: Option<&str>, from: &str, to: &str, state: &str| {
        json!({"id": id, "under": under, "from": from, "to": to, "capabilities": ["deploy:staging"],
               "except": [], "until": "2026-11-21T10:15:00Z", "trust": 500, "state": state})
    };
    let agents = [
        agent("supervisor", "active"),
        agent("deploy", "active"),
        agent("scout", "locked"),
    ];
    let delegations = [
        delegation("del-9", None, "supervisor", "scout", "revoked"),
        delegation("del-8", Some("del-7"), "deploy", "scout", "holds"),
        delegation("del-7", None, "supervisor", "deploy", "holds"),
    ];
    assert_eq!(
        strip_str(&tree(&agents, &delegations)).to_string(),
        "\
supervisor  answers to alice
├─ supervisor → scout  deploy:staging  until 2026-11-21 10:15:00  trust ≤ 500  del-9  revoked
└─ supervisor → deploy  deploy:staging  until 2026-11-21 10:15:00  trust ≤ 500  del-7
   └─ deploy → scout  deploy:staging  until 2026-11-21 10:15:00  trust ≤ 500  del-8
"
    );
    assert_eq!(tree(&[], &[]), "no agents\n");
}

#[test]
fn can_says_yes_or_no_with_its_reasons() {
    let line = |step: &str, matched: bool, finding: &str| json!({"step": step, "subject": "s", "matched": matched, "finding": finding});
    let answer = json!({"outcome": "deny", "reason": "agent:a is suspended", "remedy": "resume the agent", "lines": [
        line("grant", false, "it is suspended"), line("rule", false, "verb is another"), line("rule", true, "matches")]});
    assert_eq!(
        strip_str(&reasons(&answer)).to_string(),
        "\
no: agent:a is suspended
  ○ grant    s  it is suspended
  ● rule     s  matches
what would change it: resume the agent
"
    );
}
