//! The same filter as the kernel's program, in the format of container engines (`linux.seccomp` of the OCI runtime
//! specification 1.0, which Docker and Podman take as a profile).
//!
//! One rule of that format may speak of an argument once: engines take a second comparison of the same argument for
//! an alternative. So what is refused is written as terms that look at some bits of each argument
//! (`SCMP_CMP_MASKED_EQ`), which is exact for everything that [`super::condition`] can say; and where what is allowed
//! has to be said instead, in `strict`, as the terms of the opposite.
//!
//! What is lost: an engine's filter answers the caller, and nobody else is told which call it was. In `strict` it ends
//! the process that made the call. Numbers that nobody has heard of are left to the program of our own.

use super::condition::{Comparison, Rule, Test};
use super::{Guarded, guarded, lists, names};
use crate::spec::Profile;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a process of ours has to call before it takes it away from itself, besides what `strict` allows.
const BEFORE: &[&str] = &["seccomp"];
const EPERM: i32 = libc::EPERM;
const ENOSYS: i32 = libc::ENOSYS;

/// The profile, as JSON.
pub(crate) fn profile(profile: Profile) -> Value {
    let known = |list: &[&'static str]| -> Vec<&'static str> {
        let known = list.iter().copied();
        known.filter(|name| names::number(name).is_some()).collect()
    };
    let absent = json!({ "names": known(lists::ABSENT), "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS });
    let guarded = guarded(profile);
    let there = guarded.iter().filter(|(name, ..)| names::number(name).is_some());
    let mut calls = vec![absent];
    let otherwise = if profile == Profile::Strict {
        let allowed: Vec<_> = known(lists::STRICT).into_iter().chain(known(BEFORE)).collect();
        calls.push(json!({ "names": allowed, "action": "SCMP_ACT_ALLOW" }));
        let allowed = there.filter(|(name, ..)| lists::STRICT_GUARDED.contains(name));
        calls.extend(
            allowed.flat_map(|call| each(call, Vec::from_iter(none_holds(&call.2)), "SCMP_ACT_ALLOW")),
        );
        "SCMP_ACT_KILL_PROCESS"
    } else {
        let refused = known(lists::DENIED);
        calls.push(json!({ "names": refused, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM }));
        calls.extend(there.flat_map(|call| each(call, one_holds(&call.2), "SCMP_ACT_ERRNO")));
        "SCMP_ACT_ALLOW"
    };
    json!({ "defaultAction": otherwise, "architectures": [architecture()], "syscalls": calls })
}

/// Calls of any other end the process.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "SCMP_ARCH_AARCH64"
    } else {
        "SCMP_ARCH_X86_64"
    }
}

fn each<'c>(
    call: &'c Guarded,
    terms: Vec<Term>,
    action: &'static str,
) -> impl Iterator<Item = Value> + use<'c> {
    terms.into_iter().map(move |term| {
        let arguments = term.iter().map(|(argument, bits)| {
            json!({ "index": argument, "value": bits.mask, "valueTwo": bits.value, "op": "SCMP_CMP_MASKED_EQ" })
        });
        let arguments: Vec<Value> = arguments.collect();
        let mut rule = json!({ "names": [call.0], "action": action, "args": arguments });
        if let (Some(rule), "SCMP_ACT_ERRNO") = (rule.as_object_mut(), action) {
            rule.insert("errnoRet".to_owned(), EPERM.into());
        }
        rule
    })
}

/// Which bits of an argument are looked at, and what they have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bits {
    mask: u32,
    value: u32,
}

/// What has to hold of each argument, all together.
type Term = BTreeMap<u8, Bits>;

/// Terms of which one holds exactly when one of the rules does.
fn one_holds(rules: &[Rule]) -> Vec<Term> {
    let hold = rules.iter().flat_map(|rule| {
        let empty = BTreeSet::from([Term::new()]);
        rule.0.iter().fold(empty, |terms, test| with(&terms, &so(test)))
    });
    Vec::from_iter(smallest(hold.collect()))
}

/// Terms of which one holds exactly when none of the rules does.
fn none_holds(rules: &[Rule]) -> BTreeSet<Term> {
    let empty = BTreeSet::from([Term::new()]);
    rules.iter().fold(empty, |terms, rule| {
        let opposite: Vec<(u8, Bits)> = rule.0.iter().flat_map(not_so).collect();
        smallest(with(&terms, &opposite))
    })
}

/// What holds together with one of the alternatives.
fn with(terms: &BTreeSet<Term>, one_of: &[(u8, Bits)]) -> BTreeSet<Term> {
    let both = |term: &Term, (argument, bits): &(u8, Bits)| {
        let mut term = term.clone();
        let bits = match term.get(argument) {
            None => *bits,
            Some(there) if (there.value ^ bits.value) & there.mask & bits.mask == 0 => Bits {
                mask: there.mask | bits.mask,
                value: there.value | bits.value,
            },
            Some(_) => return None,
        };
        term.insert(*argument, bits);
        Some(term)
    };
    let all = terms
        .iter()
        .flat_map(|term| one_of.iter().filter_map(move |one| both(term, one)));
    all.collect()
}

/// Without those that another one says anyway.
fn smallest(terms: BTreeSet<Term>) -> BTreeSet<Term> {
    let says = |one: &Term, other: &Term| {
        one.iter().all(|(argument, bits)| {
            let there = other.get(argument);
            there.is_some_and(|there| {
                there.mask & bits.mask == bits.mask && there.value & bits.mask == bits.value
            })
        })
    };
    let needed = terms
        .iter()
        .filter(|term| !terms.iter().any(|other| other != *term && says(other, term)));
    needed.cloned().collect()
}

/// A test as alternatives.
fn so(test: &Test) -> Vec<(u8, Bits)> {
    match test.is {
        Comparison::Equal => one(test, u32::MAX),
        Comparison::Masked(mask) => one(test, mask),
        Comparison::Different => others(test, u32::MAX),
    }
}

/// Its opposite as alternatives.
fn not_so(test: &Test) -> Vec<(u8, Bits)> {
    match test.is {
        Comparison::Equal => others(test, u32::MAX),
        Comparison::Masked(mask) => others(test, mask),
        Comparison::Different => one(test, u32::MAX),
    }
}

fn one(test: &Test, mask: u32) -> Vec<(u8, Bits)> {
    let value = test.value & mask;
    vec![(test.argument, Bits { mask, value })]
}

/// Every other value of these bits, by the highest one that differs.
fn others(test: &Test, mask: u32) -> Vec<(u8, Bits)> {
    let bits = (0..u32::BITS).map(|b| 1_u32 << b).filter(|bit| mask & bit != 0);
    let differs = bits.map(|bit| {
        let mask = mask & !(bit - 1);
        let value = (test.value ^ bit) & mask;
        (test.argument, Bits { mask, value })
    });
    differs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an engine makes of a profile: of the rules that speak of a call, the one whose arguments all fit.
    fn verdict(profile: &Value, call: &str, args: [u64; 6]) -> String {
        let fits = |rule: &&Value| {
            let named = rule["names"].as_array().unwrap().iter().any(|name| name == call);
            let arguments = rule["args"].as_array().map_or(&[][..], Vec::as_slice);
            named
                && arguments.iter().all(|one| {
                    assert_eq!(one["op"], "SCMP_CMP_MASKED_EQ");
                    let number = |name: &str| one[name].as_u64().unwrap();
                    args[usize::try_from(number("index")).unwrap()] & number("value") == number("valueTwo")
                })
        };
        let found: Vec<&Value> = profile["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .filter(fits)
            .collect();
        let actions: BTreeSet<String> = found
            .iter()
            .map(|rule| format!("{} {}", rule["action"].as_str().unwrap(), rule["errnoRet"]))
            .collect();
        assert!(actions.len() < 2, "{call} {args:?}: {actions:?}");
        let otherwise = || format!("{} null", profile["defaultAction"].as_str().unwrap());
        actions.into_iter().next().unwrap_or_else(otherwise)
    }

    #[test]
    fn no_rule_speaks_of_an_argument_twice_and_none_is_large() {
        for one in [Profile::Strict, Profile::Standard, Profile::Build] {
            let made = profile(one);
            let rules = made["syscalls"].as_array().unwrap();
            assert!(rules.len() < 400, "{one:?}: {}", rules.len());
            for rule in rules {
                let arguments = rule["args"].as_array().map_or(&[][..], Vec::as_slice);
                let indices: BTreeSet<_> = arguments.iter().map(|one| one["index"].as_u64()).collect();
                assert_eq!(indices.len(), arguments.len(), "{rule}");
            }
        }
    }

    /// Every guarded call, with arguments of which some have what is looked for, and bits above those the kernel reads.
    #[test]
    fn it_says_what_the_rules_say() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for one in [Profile::Strict, Profile::Standard, Profile::Build] {
            let made = profile(one);
            for (name, _, rules) in guarded(one) {
                let known: Vec<u32> = rules
                    .iter()
                    .flat_map(|rule| rule.0.iter().map(|test| test.value))
                    .collect();
                for _ in 0..500 {
                    let mut args = [0_u64; 6];
                    for argument in &mut args {
                        let (choice, other) = (next(), next());
                        let value = known[usize::try_from(choice % known.len() as u64).unwrap()];
                        *argument = match other % 4 {
                            0 => value.into(),
                            1 => u64::from(value) | (other << 32),
                            2 => u64::from(value ^ (1 << (choice >> 32 & 31))),
                            _ => other & 0x1f,
                        };
                    }
                    let holds = |test: &Test| {
                        let argument = args[usize::from(test.argument)] as u32;
                        match test.is {
                            Comparison::Equal => argument == test.value,
                            Comparison::Different => argument != test.value,
                            Comparison::Masked(mask) => argument & mask == test.value,
                        }
                    };
                    let refused = rules.iter().any(|rule| rule.0.iter().all(holds));
                    let is_known = one != Profile::Strict || lists::STRICT_GUARDED.contains(&name);
                    let expected = match (refused || !is_known, one) {
                        (false, _) => "SCMP_ACT_ALLOW null",
                        (true, Profile::Strict) => "SCMP_ACT_KILL_PROCESS null",
                        (true, _) => "SCMP_ACT_ERRNO 1",
                    };
                    assert_eq!(verdict(&made, name, args), expected, "{one:?} {name} {args:x?}");
                }
            }
        }
    }

    #[test]
    fn calls_by_name() {
        #[rustfmt::skip]
        let table = [
            // call         strict                          standard
            ("read",        "SCMP_ACT_ALLOW null",          "SCMP_ACT_ALLOW null"),
            ("mount",       "SCMP_ACT_KILL_PROCESS null",   "SCMP_ACT_ERRNO 1"),
            ("bpf",         "SCMP_ACT_KILL_PROCESS null",   "SCMP_ACT_ERRNO 1"),
            ("mq_open",     "SCMP_ACT_KILL_PROCESS null",   "SCMP_ACT_ALLOW null"),
            ("clone3",      "SCMP_ACT_ERRNO 38",            "SCMP_ACT_ERRNO 38"),
            ("seccomp",     "SCMP_ACT_ALLOW null",          "SCMP_ACT_ALLOW null"),
        ];
        for (call, strict, standard) in table {
            assert_eq!(verdict(&profile(Profile::Strict), call, [0; 6]), strict, "{call}");
            assert_eq!(
                verdict(&profile(Profile::Standard), call, [0; 6]),
                standard,
                "{call}"
            );
        }
    }
}
