//! Who has to approve, as written in rules.

use policy::Stages;
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
        // What is refused.
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
    ];
    for (written, except, expected) in table {
        let stages: Stages = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(stages.only(except), expected, "{written} {except}");
    }
}
