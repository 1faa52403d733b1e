//! Loads a module: parses it, compiles it, refuses what is not supported, and puts its guards in place.

use super::{Answer, builtins};
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::Instruction;
use regorus::rvm::instructions::BuiltinCallParams;
use regorus::rvm::program::{BuiltinInfo, Program};
use regorus::unstable::{Expr, Ref, Rule, RuleAssign, RuleHead};
use regorus::{Engine, Rc};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Longest source, in bytes.
const SOURCE_BYTES_MAX: usize = 32 * 1024;
/// Most rules and functions: a call of one by another takes stack.
const RULES_MAX: usize = 128;
/// Stack of the thread that loads. The parser goes down once for each sign of a long sum, and the
/// longest that the source may hold has to fit.
const STACK_BYTES: usize = 512 * 1024 * 1024;
/// Deepest nesting of brackets. The parser tries each opening one in two ways, so its time doubles with
/// every level.
const NESTING_MAX: usize = 16;
/// What the engine calls the module in its errors.
const PATH: &str = "module";

/// The program of `source` and what it answers, in the order of its entry points.
pub(super) fn compiled(source: &str) -> Result<(Arc<Program>, Vec<Answer>), String> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(format!("module is longer than {SOURCE_BYTES_MAX} bytes"));
    }
    if nesting(source) > NESTING_MAX {
        return Err(format!(
            "module: nesting too deep: more than {NESTING_MAX} brackets within each other"
        ));
    }
    let source = source.to_owned();
    std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || compile(source))
        .map_err(|error| format!("module cannot be loaded now: {error}"))?
        .join()
        .unwrap_or_else(|_| Err("module makes the engine fail".to_owned()))
}

fn compile(source: String) -> Result<(Arc<Program>, Vec<Answer>), String> {
    let mut engine = Engine::new();
    let package = engine
        .add_policy(PATH.to_owned(), source)
        .map_err(|error| told(&error))?;
    let rules = engine.get_modules();
    if rules.iter().map(|module| module.policy.len()).sum::<usize>() > RULES_MAX {
        return Err(format!("module has more than {RULES_MAX} rules"));
    }
    rules
        .iter()
        .try_for_each(|module| single_valued(&module.policy))?;
    let (mut answers, mut paths) = (Vec::new(), Vec::new());
    let mut policy = None;
    for (answer, name) in [
        (Answer::Deny, "deny"),
        (Answer::RequireApproval, "require_approval"),
        (Answer::Permit, "permit"),
    ] {
        if !engine
            .has_declared_rule_rooted_at(PATH, name)
            .map_err(|error| told(&error))?
        {
            continue;
        }
        let path = format!("{package}.{name}");
        let entry: Rc<str> = path.as_str().into();
        let compiled = engine
            .compile_with_entrypoint(&entry)
            .map_err(|error| told(&error))?;
        policy = Some(compiled);
        answers.push(answer);
        paths.push(path);
    }
    let policy = policy.ok_or_else(|| {
        format!("package `{package}` has none of the rules `deny`, `require_approval` and `permit`")
    })?;
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let program = Compiler::compile_from_policy(&policy, &paths)
        .map_err(|error| format!("module: {}", one_line(&error.to_string())))?;
    let mut program = Arc::unwrap_or_clone(program);
    supported(&program)?;
    guard(&mut program)?;
    Ok((Arc::new(program), answers))
}

/// Whether a module may read the member `wanted` of `input`: it names it, or reads its input otherwise than
/// by the name of a member. Says yes where it cannot tell.
pub(super) fn may_read(source: &str, wanted: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    source.match_indices(INPUT).any(|(at, _)| {
        let (before, after) = (source.get(..at), source.get(at + INPUT.len()..));
        if before.is_some_and(|before| before.ends_with(word))
            || after.is_some_and(|after| after.starts_with(word))
        {
            return false;
        }
        let member = after
            .and_then(|after| after.strip_prefix('.'))
            .map(|rest| rest.split(|c| !word(c)).next().unwrap_or_default());
        member.is_none_or(|member| member.is_empty() || member == wanted)
    })
}

/// What a module calls its facts.
const INPUT: &str = "input";

/// How deep brackets stand within each other, outside of texts and comments. What closes nothing counts
/// for nothing, so the parser never sees more than this.
fn nesting(source: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = source.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' | b'(' => depth += 1,
            b']' | b'}' | b')' => depth = depth.saturating_sub(1),
            b'#' => drop(bytes.find(|byte| *byte == b'\n')),
            b'`' => drop(bytes.find(|byte| *byte == b'`')),
            b'"' => skip_text(&mut bytes),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Goes past the end of a text in double quotes. One that does not end on its line is none, and the parser
/// stops there.
fn skip_text(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' | b'\n' => return,
            _ => {}
        }
    }
}

/// Refuses a rule that could have two values at once. By the language that is an error; the machine takes
/// it for undefined, and what forbids on the ground of it would be silently false.
fn single_valued(rules: &[Ref<Rule>]) -> Result<(), String> {
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for rule in rules {
        let Rule::Spec { head, bodies, .. } = rule.as_ref() else {
            continue;
        };
        let (RuleHead::Compr { refr, assign, .. } | RuleHead::Func { refr, assign, .. }) = head else {
            continue;
        };
        let name = refr.span().text();
        let known = seen.contains_key(name);
        let values = seen.entry(name).or_default();
        let given = bodies.iter().map(|body| body.assign.as_ref());
        let values_here = std::iter::once(assign.as_ref()).chain(given.filter(Option::is_some));
        values.extend(values_here.map(value));
        let bodies = bodies.iter().filter(|body| !body.is_else).count();
        let several = known || bodies > 1;
        if several && (values.len() > 1 || values.contains(COMPUTED)) {
            return Err(format!(
                "module, line {}: rule `{name}` is defined more than once and could have two values; define it \
                 once, with `else`, or as a set",
                rule.span().line
            ));
        }
    }
    Ok(())
}

/// What stands for every value that is not written down.
const COMPUTED: &str = "";

/// The value of a head or a body, as written; `true` when there is none.
fn value(assign: Option<&RuleAssign>) -> &str {
    match assign.map(|assign| assign.value.as_ref()) {
        None => "true",
        Some(
            literal @ (Expr::Bool { .. } | Expr::Null { .. } | Expr::Number { .. } | Expr::String { .. }),
        ) => literal.span().text(),
        Some(_) => COMPUTED,
    }
}

/// Refuses what would be looked for where nothing is, or would wait for somebody.
fn supported(program: &Program) -> Result<(), String> {
    for instruction in &program.instructions {
        match instruction {
            Instruction::LoadData { .. } | Instruction::VirtualDataDocumentLookup { .. } => {
                return Err(
                    "module reads `data` outside its package: a policy is one module, and sees `input` only"
                        .to_owned(),
                );
            }
            Instruction::HostAwait { .. }
            | Instruction::LoadContext { .. }
            | Instruction::LoadMetadata { .. } => {
                return Err("module uses an instruction that is not supported".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Replaces every function, and all arithmetic, by one that weighs what it is given.
fn guard(program: &mut Program) -> Result<(), String> {
    program.resolved_builtins.clear();
    for info in &program.builtin_info_table {
        let call = builtins::guarded(&info.name)
            .ok_or_else(|| format!("function `{}` is not supported in a module", info.name))?;
        program.resolved_builtins.push(call);
    }
    let first = program.builtin_info_table.len();
    for name in builtins::ARITHMETIC {
        program.add_builtin_info(BuiltinInfo {
            name: name.to_owned(),
            num_args: 2,
        });
        program.resolved_builtins.extend(builtins::guarded(name));
    }
    for at in 0..program.instructions.len() {
        let Some((operator, dest, left, right)) = program.instructions.get(at).and_then(arithmetic) else {
            continue;
        };
        let builtin_index = u16::try_from(first + operator).map_err(|_| "module is too large".to_owned())?;
        let params_index = program.add_builtin_call_params(BuiltinCallParams {
            dest,
            builtin_index,
            num_args: 2,
            args: [left, right, 0, 0, 0, 0, 0, 0],
        });
        if let Some(instruction) = program.instructions.get_mut(at) {
            *instruction = Instruction::BuiltinCall { params_index };
        }
    }
    Ok(())
}

/// Which of [`builtins::ARITHMETIC`] an instruction does, into which register, with which two.
fn arithmetic(instruction: &Instruction) -> Option<(usize, u8, u8, u8)> {
    match *instruction {
        Instruction::Add { dest, left, right } => Some((0, dest, left, right)),
        Instruction::Sub { dest, left, right } => Some((1, dest, left, right)),
        Instruction::Mul { dest, left, right } => Some((2, dest, left, right)),
        Instruction::Div { dest, left, right } => Some((3, dest, left, right)),
        Instruction::Mod { dest, left, right } => Some((4, dest, left, right)),
        _ => None,
    }
}

/// The engine's error on one line: where, and what.
fn told(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let place = text
        .split_once(&format!("{PATH}:"))
        .and_then(|(_, rest)| rest.lines().next())
        .and_then(|place| place.trim().split_once(':'));
    let what = text.split_once("error: ").map_or(text.as_str(), |(_, what)| what);
    match place {
        Some((line, column)) => format!("module, line {line}, column {column}: {}", one_line(what)),
        None => format!("module: {}", one_line(what)),
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}
