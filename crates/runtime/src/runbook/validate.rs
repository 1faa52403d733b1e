//! What is wrong with a runbook before it runs.

use super::{Runbook, Step, template};
use policy::Verb;
use std::collections::BTreeSet;

/// How deep loops may stand in loops.
const LOOPS_MAX: usize = 2;
/// Most steps that may be written down.
const STEPS_MAX: usize = 100;
/// Names that templates give a meaning of their own.
const RESERVED: [&str; 5] = ["event", "steps", "item", "index", "outer"];

impl Runbook {
    /// Every problem with its place, such as `steps[2].arguments.query`.
    pub fn validate(&self) -> Result<(), Vec<(String, String)>> {
        let mut check = Check {
            names: BTreeSet::new(),
            problems: Vec::new(),
        };
        if self.steps.is_empty() {
            check.say("steps", "holds no step");
        }
        check.steps(&self.steps, "steps", 0);
        if check.names.len() > STEPS_MAX {
            check.say("steps", &format!("holds more than {STEPS_MAX} steps"));
        }
        let limits = [
            ("limits.timeBoxSeconds", self.limits.time_box_seconds, 86_400),
            ("limits.iterations", self.limits.iterations, 1_000),
            ("limits.steps", self.limits.steps, 10_000),
        ];
        for (place, limit, most) in limits {
            if limit == 0 || limit > most {
                check.say(place, &format!("is not between 1 and {most}"));
            }
        }
        if let Some(output) = &self.output {
            template::check(output, "output", &mut check.problems);
        }
        for name in self.output_types.keys() {
            if self
                .output
                .as_ref()
                .is_none_or(|output| output.get(name).is_none())
            {
                check.say(&format!("outputTypes.{name}"), "names nothing in `output`");
            }
        }
        if check.problems.is_empty() {
            Ok(())
        } else {
            Err(check.problems)
        }
    }
}

struct Check<'a> {
    names: BTreeSet<&'a str>,
    problems: Vec<(String, String)>,
}

impl<'a> Check<'a> {
    fn say(&mut self, place: &str, what: &str) {
        self.problems.push((place.to_owned(), what.to_owned()));
    }

    fn steps(&mut self, steps: &'a [Step], place: &str, loops: usize) {
        for (index, step) in steps.iter().enumerate() {
            self.step(step, &format!("{place}[{index}]"), loops);
        }
    }

    fn step(&mut self, step: &'a Step, place: &str, loops: usize) {
        let name = &step.name;
        let mut letters = name.bytes();
        let fits = letters.next().is_some_and(|b| b.is_ascii_lowercase())
            && letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && name.len() <= 64;
        if !fits {
            self.say(
                &format!("{place}.name"),
                &format!("`{name}` is not of the form [a-z][a-z0-9_]*, at most 64"),
            );
        }
        if RESERVED.contains(&name.as_str()) {
            self.say(
                &format!("{place}.name"),
                &format!("`{name}` has a meaning of its own in templates"),
            );
        }
        if !self.names.insert(name) {
            self.say(&format!("{place}.name"), &format!("`{name}` is there twice"));
        }
        if let Some(when) = &step.when {
            template::check_expression(when, &format!("{place}.when"), &mut self.problems);
        }
        match (&step.tool, &step.for_each, step.steps.is_empty()) {
            (Some(tool), None, true) => {
                if Verb::new(tool).is_err() {
                    self.say(
                        &format!("{place}.tool"),
                        &format!("`{tool}` is not the name of a tool"),
                    );
                }
                for (key, value) in &step.arguments {
                    template::check(value, &format!("{place}.arguments.{key}"), &mut self.problems);
                }
            }
            (None, Some(list), false) => {
                template::check_expression(list, &format!("{place}.forEach"), &mut self.problems);
                if !step.arguments.is_empty() {
                    self.say(
                        &format!("{place}.arguments"),
                        "belong to the steps inside the loop",
                    );
                }
                if loops == LOOPS_MAX {
                    self.say(place, &format!("is a loop inside {LOOPS_MAX} others"));
                } else {
                    self.steps(&step.steps, &format!("{place}.steps"), loops + 1);
                }
            }
            _ => self.say(place, "has to hold either `tool` or both `forEach` and `steps`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn problems(runbook: Value) -> Vec<String> {
        let runbook: Runbook = serde_json::from_value(runbook).unwrap();
        match runbook.validate() {
            Ok(()) => Vec::new(),
            Err(found) => found
                .into_iter()
                .map(|(place, what)| format!("{place}: {what}"))
                .collect(),
        }
    }

    #[test]
    fn problems_are_named_with_their_place() {
        let a = json!({"name": "a", "tool": "http.get"});
        let looped = |inner: Value| json!({"name": "l", "forEach": "event.list", "steps": [inner]});
        let deep = |inner: Value| json!({"name": "m", "forEach": "event.list", "steps": [inner]});
        let deeper = json!({"name": "n", "forEach": "event.list", "steps": [a]});
        let nested = |depth: usize| (0..depth).fold(json!("x"), |inner, _| json!([inner]));
        let here =
            |place: &str, depth: usize| format!("{place}{}: is nested too deeply", "[0]".repeat(depth));
        #[rustfmt::skip]
        let table = [
            ("deep",         json!({"steps": [a], "output": nested(14)}), ""),
            ("deeper",       json!({"steps": [a], "output": nested(15)}), &here("output", 15)),
            ("deep in one",  json!({"steps": [{"name": "a", "tool": "x", "arguments": {"q": nested(15)}}]}), &here("steps[0].arguments.q", 15)),
            ("fits",         json!({"steps": [a, looped(json!({"name": "b", "tool": "x"}))]}), ""),
            ("no step",      json!({"steps": []}), "steps: holds no step"),
            ("twice",        json!({"steps": [a, a]}), "steps[1].name: `a` is there twice"),
            ("inside too",   json!({"steps": [a, looped(a.clone())]}), "steps[1].steps[0].name: `a` is there twice"),
            ("bad name",     json!({"steps": [{"name": "A-1", "tool": "x"}]}), "steps[0].name: `A-1` is not of the form [a-z][a-z0-9_]*, at most 64"),
            ("reserved",     json!({"steps": [{"name": "item", "tool": "x"}]}), "steps[0].name: `item` has a meaning of its own in templates"),
            ("neither",      json!({"steps": [{"name": "a"}]}), "steps[0]: has to hold either `tool` or both `forEach` and `steps`"),
            ("both",         json!({"steps": [{"name": "a", "tool": "x", "forEach": "event"}]}), "steps[0]: has to hold either `tool` or both `forEach` and `steps`"),
            ("bad verb",     json!({"steps": [{"name": "a", "tool": "X Y"}]}), "steps[0].tool: `X Y` is not the name of a tool"),
            ("bad template", json!({"steps": [{"name": "a", "tool": "x", "arguments": {"q": ["{{ event."]}}]}), "steps[0].arguments.q[0]: syntax error: unexpected end of input, expected identifier or integer"),
            ("bad when",     json!({"steps": [{"name": "a", "tool": "x", "when": "a ="}]}), "steps[0].when: syntax error: unexpected input after expression"),
            ("too deep",     json!({"steps": [looped(deep(deeper))]}), "steps[0].steps[0].steps[0]: is a loop inside 2 others"),
            ("no time",      json!({"steps": [a], "limits": {"timeBoxSeconds": 0}}), "limits.timeBoxSeconds: is not between 1 and 86400"),
            ("output",       json!({"steps": [a], "output": {"x": "{{ ) }}"}}), "output.x: syntax error: unexpected `)`"),
            ("type of none", json!({"steps": [a], "output": {"x": 1}, "outputTypes": {"y": "string"}}), "outputTypes.y: names nothing in `output`"),
        ];
        for (what, runbook, expected) in table {
            assert_eq!(problems(runbook).join("; "), expected, "{what}");
        }
    }
}
