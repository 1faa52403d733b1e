//! The rule of two, a policy that is in force unless another of its name replaces it.
//!
//! Of untrusted input, access to what is sensitive, and a change of state or a word to the outside, a session
//! has at most two without a person. What has entered the session stands in its labels, and what an action
//! brings counts as if it had entered, so the third is always an action that changes or tells something: it
//! needs approval. The policy only restricts: what no other rule opts in to stays denied.

use super::{Match, PolicyDocument, RuleOutcome, RuleSpec};
use crate::Effect;

/// Its name, under which a document replaces it.
pub const RULE_OF_TWO: &str = "rule-of-two";

/// Both of the others have entered the session, or come with this action.
const BOTH: &str = "(taint.untrusted || 'untrusted' in action.brings) && \
    (taint.secrets || taint.customer_data || 'secrets' in action.brings || 'customer_data' in action.brings)";
/// Verbs that say something to the outside even when they only read: an address can carry what was read.
const TELLING: [&str; 2] = ["http.*", "channel.*"];

/// The policy, with its name.
pub fn rule_of_two() -> (String, PolicyDocument) {
    let rule = |name: &str, matching: Match, when: &str, third: &str| RuleSpec {
        name: Some(name.to_owned()),
        matching,
        when: Some(when.to_owned()),
        condition: None,
        outcome: RuleOutcome::RequireApproval,
        reason: format!("untrusted input and sensitive data have entered this session, and this {third}"),
        approvers: Default::default(),
        expires_after_seconds: None,
        opts_in: false,
        waivable: Vec::new(),
    };
    let changing = Match {
        effects: Some(vec![Effect::Write, Effect::Destructive]),
        ..Match::default()
    };
    let telling = Match {
        effects: Some(vec![Effect::Read]),
        verbs: Some(TELLING.map(str::to_owned).to_vec()),
        ..Match::default()
    };
    // What a read brings has not entered yet when it is sent.
    let entered = "taint.untrusted && (taint.secrets || taint.customer_data)";
    let document = PolicyDocument {
        rules: vec![
            rule("change", changing, BOTH, "changes something"),
            rule("tell", telling, entered, "tells the outside something"),
        ],
        ..PolicyDocument::default()
    };
    (RULE_OF_TWO.to_owned(), document)
}
