//! Who has to approve, as written in rules.

use policy::{Stages, WaiverScope};
use serde_json::json;

#[test]
fn stages_are_read_as_they_are_written() {
    #[rustfmt::skip]
    let table = [
        (json!([]),                                              "someone who may approve"),
        (json!(["alice"]),                                       "alice"),
        (json!(["alice", "bob"]),                                "alice or bob"),
        (json!([{}]),                                            "someone who may approve"),
        (json!([{"count": 2}]),                                  "2 who may approve"),
        (json!([{"team": "security"}]),                          "team:security"),
        (json!(["sre-oncall", {"team": "security", "count": 2}]), "sre-oncall, then 2 of team:security"),
        (json!([{"any": ["alice", "team:ops"]}, "bob", "carol"]), "alice or team:ops, then bob, then carol"),
        (json!([{"any": ["oncall"], "escalate_after_seconds": 600}, "boss"]), "oncall for 600 s, then boss"),
        (json!(["webhook:tickets", "alice"]),                    "webhook:tickets or alice"),
        (json!([{"webhook": "tickets"}, "alice"]),               "webhook:tickets, then alice"),
        // What is refused.
        (json!([{"webhook": "tickets", "count": 2}]),            "a stage asks for 2 people and names fewer"),
        (json!([{"webhook": "a", "team": "b"}]),                 "a stage has `webhook` and `team` or `any` too: use `any` for several"),
        (json!(["webhook:"]),                                    "approver `webhook:` is empty or longer than 128 bytes"),
        (json!([{"team": "a", "escalate_after_seconds": 0}, "b"]), "`escalate_after_seconds` of a stage is not from 1 to 604800"),
        (json!([{"team": "a", "escalate_after_seconds": 604_801}, "b"]), "`escalate_after_seconds` of a stage is not from 1 to 604800"),
        (json!([{"team": "a", "escalate_after_seconds": 9}]),    "the last stage has `escalate_after_seconds`, and there is none after it"),
        (json!(["a", {"team": "b", "escalate_after_seconds": 9}, "c"]), "a stage has `escalate_after_seconds` and one before it has not: its time never begins"),
        (json!("alice"),                                         "invalid type: string \"alice\", expected a sequence"),
        (json!([{"team": "a", "any": ["b"]}]),                   "a stage has both `team` and `any`: use one"),
        (json!([{"team": "a", "count": 0}]),                     "`count` 0 of a stage is not from 1 to 16"),
        (json!([{"team": "a", "count": 17}]),                    "`count` 17 of a stage is not from 1 to 16"),
        (json!([{"any": ["person:a", "person:a"], "count": 2}]), "a stage asks for 2 people and names fewer"),
        (json!([""]),                                            "approver `` is empty or longer than 128 bytes"),
        (json!([{"team": ""}]),                                  "approver `team:` is empty or longer than 128 bytes"),
        (json!([{"quorum": 2}]),                                 "data did not match any variant of untagged enum Item"),
        (json!([{}, {}, {}, {}, {}, {}, {}, {}, {}]),            "`approvers` has more than 8 stages"),
    ];
    for (written, expected) in table {
        let told = match serde_json::from_value::<Stages>(written.clone()) {
            Ok(stages) => {
                let again = serde_json::to_value(&stages).unwrap();
                assert_eq!(
                    serde_json::from_value::<Stages>(again).unwrap(),
                    stages,
                    "{written}"
                );
                stages.told()
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(told, expected, "{written}");
    }
}

#[test]
fn a_stage_that_only_one_person_may_answer_is_seen() {
    #[rustfmt::skip]
    let table = [
        // written                                who may not  nobody else is named
        (json!([]),                               "bob",       false),
        (json!(["bob"]),                          "",          false),
        (json!(["bob"]),                          "bob",       true),
        (json!(["person:bob"]),                   "bob",       true),
        (json!(["team:bob"]),                     "bob",       false),
        (json!(["bob", "carol"]),                 "bob",       false),
        (json!(["bob", "admin"]),                 "bob",       false),
        (json!([{"team": "ops"}, "bob"]),         "bob",       true),
        (json!([{"count": 2}]),                   "bob",       false),
        (json!([{"any": ["bob"], "escalate_after_seconds": 9}, "carol"]), "bob", false),
    ];
    for (written, except, expected) in table {
        let stages: Stages = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(stages.only(except), expected, "{written} {except}");
    }
}

#[test]
fn scopes_of_waivers_are_a_session_or_a_time() {
    let no = |text: &str| {
        format!(
            "`{text}` is no scope of a waiver: use `session`, or a time of at most 24 hours like `30m` or `1h`"
        )
    };
    #[rustfmt::skip]
    let table = [
        ("session", "session".to_owned()), ("1h", "1h".to_owned()), ("60m", "1h".to_owned()), ("90s", "90s".to_owned()),
        ("24h", "24h".to_owned()), ("25h", no("25h")), ("0m", no("0m")), ("1d", no("1d")), ("", no("")), ("-1h", no("-1h")),
        ("9999999999h", no("9999999999h")), ("4294967295h", no("4294967295h")),
    ];
    for (written, expected) in table {
        let told =
            WaiverScope::try_from(written.to_owned()).map_or_else(|error| error, |scope| scope.to_string());
        assert_eq!(told, expected, "{written}");
    }
}

/// An outside system counts where it is named, and what asks nobody in particular asks a person.
#[test]
fn an_outside_system_answers_for_no_person() {
    #[rustfmt::skip]
    let table = [
        // written                                             who approved                      enough   needs a person
        (json!(["webhook:t"]),                                 &["webhook:t"][..],               true,    false),
        (json!(["webhook:t"]),                                 &["webhook:u"],                   false,   false),
        (json!(["webhook:t"]),                                 &["t"],                           false,   false),
        (json!(["t"]),                                         &["webhook:t"],                   false,   true),
        (json!(["person:webhook:t"]),                          &["webhook:t"],                   false,   true),
        (json!([{}]),                                          &["webhook:t"],                   false,   true),
        (json!([{"team": "t"}]),                               &["webhook:t"],                   false,   true),
        (json!([{"any": ["webhook:t", "bob"], "count": 2}]),   &["webhook:t", "webhook:t"],      false,   true),
        (json!([{"any": ["webhook:t", "bob"], "count": 2}]),   &["webhook:t", "bob"],            true,    true),
        (json!([{"any": ["webhook:t", "webhook:u"], "count": 2}]), &["webhook:u", "webhook:t"],  true,    false),
        (json!([{"webhook": "t"}, "bob"]),                     &["webhook:t", "bob"],            true,    true),
        (json!([{"any": ["bob"], "escalate_after_seconds": 9}, "webhook:t"]), &["bob"],          false,   false),
    ];
    for (written, people, expected, needs) in table {
        let stages: Stages = serde_json::from_value(written.clone()).unwrap();
        let people: Vec<String> = people.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(stages.met_by(&people), expected, "{written} {people:?}");
        assert_eq!(stages.needs_person(), needs, "{written}");
    }
}
