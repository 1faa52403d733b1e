//! `config.yaml` of LiteLLM's proxy: `model_list`, `router_settings`, `litellm_settings`, `general_settings`
//! (docs.litellm.ai/docs/proxy/config_settings).

use super::Taken::{Exact, Impossible, Partial};
use super::{Imported, Taken};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Most models of a file.
const MODELS_MAX: usize = 1000;

/// Documents for what `config` says.
///
/// # Errors
/// It is no configuration of LiteLLM.
pub fn litellm(config: &Value) -> Result<Imported, String> {
    let root = config.as_object().ok_or("it is no mapping")?;
    let list = root.get("model_list").and_then(Value::as_array);
    let list = list.ok_or("it has no `model_list`: is it a config.yaml of LiteLLM's proxy?")?;
    if list.len() > MODELS_MAX {
        return Err(format!("more than {MODELS_MAX} models"));
    }
    let mut imported = Imported::default();
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut order = Vec::new();
    for (at, entry) in list.iter().enumerate() {
        let called = entry
            .get("model_name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if let Some(name) = model(
            &format!("/model_list/{at}"),
            called,
            entry,
            &groups,
            &mut imported,
        ) {
            if !groups.contains_key(called) {
                order.push(called.to_owned());
            }
            groups.entry(called.to_owned()).or_default().push(name);
        }
    }
    let settings = Settings::of(root, &mut imported);
    for called in &order {
        route(called, &groups, &settings, &mut imported);
    }
    for key in root.keys().filter(|key| !KNOWN.contains(&key.as_str())) {
        imported.found(format!("/{key}"), Impossible, "nothing here is like it");
    }
    Ok(imported)
}

const KNOWN: [&str; 4] = [
    "model_list",
    "router_settings",
    "litellm_settings",
    "general_settings",
];

/// What its prefixes are here. What is not in the list is no provider here.
fn provider(prefix: &str) -> Option<&'static str> {
    Some(match prefix {
        "openai" | "text-completion-openai" => "openai",
        "anthropic" => "anthropic",
        "azure" => "azure",
        "gemini" => "gemini",
        "mistral" => "mistral",
        "ollama" | "ollama_chat" | "hosted_vllm" | "vllm" | "openai_like" | "lm_studio" | "litellm_proxy" => {
            "compatible"
        }
        _ => return None,
    })
}

/// One entry, as a `Model`. Its name, if there is one.
fn model(
    at: &str,
    called: &str,
    entry: &Value,
    groups: &BTreeMap<String, Vec<String>>,
    imported: &mut Imported,
) -> Option<String> {
    let parameters = entry.get("litellm_params").and_then(Value::as_object);
    let written = parameters.and_then(|parameters| parameters.get("model")?.as_str());
    let (Some(parameters), Some(written), false) = (parameters, written, called.is_empty()) else {
        imported.found(
            at,
            Impossible,
            "it has no `model_name` or no `litellm_params.model`",
        );
        return None;
    };
    let (prefix, upstream) = written.split_once('/').unwrap_or(("openai", written));
    let base = parameters.get("api_base").and_then(Value::as_str);
    let provider = match (provider(prefix), base) {
        (Some("openai"), Some(_)) => "compatible",
        (Some(provider), _) => provider,
        (None, _) => {
            let what = format!(
                "provider `{prefix}` is none here; if it speaks OpenAI's API, use `openai/…` with `api_base`"
            );
            imported.found(format!("{at}/litellm_params/model"), Impossible, what);
            return None;
        }
    };
    let slug = slug(called);
    let others = groups.get(called).map_or(0, Vec::len);
    let name = format!("{slug}-{}", others + 1);
    let mut spec = json!({ "provider": provider, "model": upstream });
    let fields = spec.as_object_mut()?;
    imported.found(at, Exact, format!("Model `{name}`"));
    for (key, value) in parameters.iter().filter(|(key, _)| *key != "model") {
        let at = format!("{at}/litellm_params/{key}");
        let (taken, what) = parameter(key, value, &name, fields);
        imported.found(at, taken, what);
    }
    if provider == "compatible" && base.is_none() {
        let usual = if prefix.starts_with("ollama") {
            "http://127.0.0.1:11434/v1"
        } else {
            "http://127.0.0.1:8000/v1"
        };
        fields.insert("endpoint".to_owned(), json!(usual));
        imported.found(
            format!("{at}/litellm_params"),
            Partial,
            format!("it has no `api_base`; `{usual}` is assumed"),
        );
    }
    near(fields);
    let endpoint = fields.get("endpoint").and_then(Value::as_str).unwrap_or_default();
    if endpoint.starts_with("http://") && !fields.contains_key("onPremises") {
        let what = "over http:// it has to be `onPremises: true`, with its `networks`: say so, if it is";
        imported.found(format!("{at}/litellm_params/api_base"), Partial, what);
    }
    info(at, entry.get("model_info"), fields, imported);
    imported.documents.push(document("Model", &name, &spec));
    Some(name)
}

/// One parameter of a model.
fn parameter(key: &str, value: &Value, name: &str, fields: &mut Map<String, Value>) -> (Taken, String) {
    match (key, value) {
        ("api_base", Value::String(base)) => {
            let base = base.trim_end_matches('/');
            let written = match base.ends_with("/v1") || base.contains("/openai") {
                true => base.to_owned(),
                false => format!("{base}/v1"),
            };
            fields.insert("endpoint".to_owned(), json!(written));
            (
                if written == base { Exact } else { Partial },
                format!("`endpoint: {written}`"),
            )
        }
        ("api_key", Value::String(key)) => {
            let file = format!("keys/{name}.key");
            fields.insert("secretRef".to_owned(), json!({ "file": file }));
            let from = match key.strip_prefix("os.environ/") {
                Some(variable) => format!("the value of {variable}"),
                None => "it, and take it out of the other file".to_owned(),
            };
            (
                Partial,
                format!("`secretRef`: write {from} to `{file}`, mode 0600"),
            )
        }
        ("timeout" | "stream_timeout", value)
            if value.as_f64().is_some_and(|n| (1.0..=3600.0).contains(&n)) =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it was looked at"
            )]
            let seconds = value.as_f64().unwrap_or(60.0).ceil() as u64;
            fields.insert("timeoutSeconds".to_owned(), json!(seconds));
            (
                Partial,
                "`timeoutSeconds`, which is the time to the first byte".to_owned(),
            )
        }
        ("max_parallel_requests", Value::Number(most)) => {
            fields.insert("concurrent".to_owned(), json!(most));
            (Exact, "`concurrent`".to_owned())
        }
        ("weight", _) => (Exact, "the weight of its target".to_owned()),
        ("max_tokens", Value::Number(most)) => {
            fields.insert("outputTokens".to_owned(), json!(most));
            (
                Partial,
                "`outputTokens`: the cap where a request has none".to_owned(),
            )
        }
        ("input_cost_per_token" | "output_cost_per_token", value) => priced(key, value, fields),
        ("rpm" | "tpm", _) => (
            Impossible,
            "there is no rate of one model; a Budget `per: hour` limits turns and tokens of who calls"
                .to_owned(),
        ),
        ("api_version", _) => (
            Partial,
            "Azure's v1 API needs none; `endpoint` has to end in `/openai/v1`".to_owned(),
        ),
        _ => (Impossible, "nothing here is like it".to_owned()),
    }
}

fn info(at: &str, info: Option<&Value>, fields: &mut Map<String, Value>, imported: &mut Imported) {
    for (key, value) in info.and_then(Value::as_object).into_iter().flatten() {
        let at = format!("{at}/model_info/{key}");
        let (taken, what) = match (key.as_str(), value) {
            ("input_cost_per_token" | "output_cost_per_token", value) => priced(key, value, fields),
            ("max_input_tokens", Value::Number(most)) => {
                fields.insert("contextTokens".to_owned(), json!(most));
                (Exact, "`contextTokens`".to_owned())
            }
            ("max_output_tokens" | "max_tokens", Value::Number(most)) => {
                fields.insert("outputTokens".to_owned(), json!(most));
                (Exact, "`outputTokens`".to_owned())
            }
            ("mode" | "id" | "base_model" | "description", _) => (Exact, "needs no word here".to_owned()),
            _ => (Impossible, "nothing here is like it".to_owned()),
        };
        imported.found(at, taken, what);
    }
}

/// Dollars a token, as dollars a million tokens.
fn priced(key: &str, value: &Value, fields: &mut Map<String, Value>) -> (Taken, String) {
    let Some(dollars) = value.as_f64().filter(|n| (0.0..1.0).contains(n)) else {
        return (Impossible, "it is no price of a token".to_owned());
    };
    let name = if key.starts_with("input") {
        "input"
    } else {
        "output"
    };
    let million = format!("{:.6}", dollars * 1_000_000.0);
    let million = million.trim_end_matches('0').trim_end_matches('.').to_owned();
    let price = fields.entry("price").or_insert_with(|| json!({}));
    if let Some(price) = price.as_object_mut() {
        price.insert(name.to_owned(), json!(million));
    }
    (
        Exact,
        format!("`price.{name}: {million}` dollars per million tokens"),
    )
}

/// An endpoint on this machine, or in clear text, runs on premises: `http://` goes nowhere else.
fn near(fields: &mut Map<String, Value>) {
    let endpoint = fields.get("endpoint").and_then(Value::as_str).unwrap_or_default();
    let is_local = ["://127.0.0.1", "://localhost", "://[::1]"]
        .iter()
        .any(|here| endpoint.contains(here));
    // INVARIANT (nothing is declared near by guessing): where restricted content may go, a person says.
    if is_local {
        fields.insert("onPremises".to_owned(), json!(true));
        fields.insert("networks".to_owned(), json!(["127.0.0.0/8", "::1/128"]));
    }
}

/// What is said of all models.
#[derive(Default)]
struct Settings {
    retries: Option<u64>,
    fallbacks: BTreeMap<String, Vec<String>>,
    cache: bool,
}

impl Settings {
    fn of(root: &Map<String, Value>, imported: &mut Imported) -> Settings {
        let mut settings = Settings::default();
        for part in ["router_settings", "litellm_settings", "general_settings"] {
            for (key, value) in root.get(part).and_then(Value::as_object).into_iter().flatten() {
                let at = format!("/{part}/{key}");
                let (taken, what) = settings.one(key, value, imported);
                imported.found(at, taken, what);
            }
        }
        settings
    }

    fn one(&mut self, key: &str, value: &Value, imported: &mut Imported) -> (Taken, String) {
        match (key, value) {
            ("num_retries", Value::Number(retries)) => {
                self.retries = retries.as_u64().map(|retries| retries.min(5));
                let kept = self.retries.unwrap_or_default();
                let taken = if retries.as_u64() == Some(kept) {
                    Exact
                } else {
                    Partial
                };
                (taken, format!("`retries: {kept}` of each Route"))
            }
            ("fallbacks" | "context_window_fallbacks" | "content_policy_fallbacks", Value::Array(all)) => {
                for (from, to) in all.iter().filter_map(Value::as_object).flatten() {
                    let names = to.as_array().into_iter().flatten().filter_map(Value::as_str);
                    let known = self.fallbacks.entry(from.clone()).or_default();
                    names.for_each(|name| {
                        if !known.iter().any(|one| one == name) {
                            known.push(name.to_owned());
                        }
                    });
                }
                let taken = if key == "fallbacks" { Exact } else { Partial };
                (
                    taken,
                    "`fallbacks` of the Routes, tried on errors, time-outs, 429 and too long a context"
                        .to_owned(),
                )
            }
            ("cache", Value::Bool(true)) => {
                self.cache = true;
                (
                    Partial,
                    "`cacheSeconds: 600`: the very same request alone, without tools and chance".to_owned(),
                )
            }
            ("max_budget", value) if value.as_f64().is_some_and(|dollars| dollars > 0.0) => {
                let dollars = format!("{:.2} usd", value.as_f64().unwrap_or_default());
                let spec = json!({ "per": "month", "limits": { "money": dollars } });
                imported.documents.push(document("Budget", "litellm", &spec));
                (
                    Partial,
                    format!("Budget `litellm` of {dollars} a month; say another period with `per`"),
                )
            }
            ("budget_duration", _) => (Partial, "see `per` of the Budget".to_owned()),
            ("routing_strategy", Value::String(strategy)) if strategy.contains("shuffle") => {
                (Exact, "the weights of targets".to_owned())
            }
            ("master_key", _) => (Exact, "needs no word here: keys are those of sessions".to_owned()),
            ("drop_params", Value::Bool(true)) => (
                Impossible,
                "nothing is dropped silently: what cannot be said to a model is refused by name".to_owned(),
            ),
            (_, Value::Bool(false) | Value::Null) => (Exact, "it is off".to_owned()),
            _ => (Impossible, "nothing here is like it".to_owned()),
        }
    }
}

fn route(called: &str, groups: &BTreeMap<String, Vec<String>>, settings: &Settings, imported: &mut Imported) {
    let names = groups.get(called).map(Vec::as_slice).unwrap_or_default();
    let others = settings
        .fallbacks
        .get(called)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut fallbacks = Vec::new();
    for other in others {
        match groups.get(other) {
            Some(models) => fallbacks.extend(models.clone()),
            None => imported.found(
                "/litellm_settings/fallbacks",
                Impossible,
                format!("`{other}` is no model of the list"),
            ),
        }
    }
    let mut spec = json!({
        "aliases": [called], "targets": names.iter().map(|name| json!({ "model": name })).collect::<Vec<_>>(),
        "retries": settings.retries.unwrap_or(1),
    });
    if let Some(fields) = spec.as_object_mut() {
        if !fallbacks.is_empty() {
            fields.insert("fallbacks".to_owned(), json!(fallbacks));
        }
        if settings.cache {
            fields.insert("cacheSeconds".to_owned(), json!(600));
        }
        let name = slug(called);
        if name == called {
            fields.remove("aliases");
        } else if !gate::llm::is_alias(called) {
            fields.remove("aliases");
            let what = format!("a name has no such characters here: clients have to call it `{name}`");
            imported.found("/model_list", Partial, format!("`{called}`: {what}"));
        }
        imported.documents.push(document("Route", &name, &spec));
    }
}

fn document(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "cofferdam.dev/v1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// A name that documents can have.
fn slug(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let plain: String = lower
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    let slug: String = words.join("-").chars().take(56).collect();
    match slug.trim_matches('-') {
        "" => "model".to_owned(),
        slug => slug.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn config_of_litellm() -> Value {
        json!({
            "model_list": [
                { "model_name": "gpt-4o", "litellm_params": { "model": "openai/gpt-4o", "api_key": "sk-literal-4711", "rpm": 100 } },
                { "model_name": "gpt-4o", "litellm_params": {
                    "model": "azure/gpt-4o", "api_base": "https://x.openai.azure.com/openai/v1", "api_key": "os.environ/AZURE_KEY" } },
                { "model_name": "Claude 4.5", "litellm_params": { "model": "anthropic/claude-sonnet-4-5", "timeout": 30 },
                  "model_info": { "input_cost_per_token": 0.000003, "output_cost_per_token": 0.000015 } },
                { "model_name": "local", "litellm_params": { "model": "ollama/llama3.2", "max_tokens": 512 } },
                { "model_name": "b", "litellm_params": { "model": "bedrock/x" } },
            ],
            "router_settings": { "num_retries": 9, "routing_strategy": "simple-shuffle" },
            "litellm_settings": { "fallbacks": [{ "gpt-4o": ["Claude 4.5"] }], "drop_params": true, "max_budget": 100, "cache": true },
            "general_settings": { "master_key": "sk-1234" },
            "callbacks": {},
        })
    }

    #[test]
    fn each_part_is_exact_partial_or_impossible_and_no_key_is_repeated() {
        let imported = litellm(&config_of_litellm()).unwrap();
        let renamed = imported
            .findings
            .iter()
            .find(|finding| finding.at == "/model_list")
            .unwrap();
        assert!(
            renamed.what.contains("have to call it `claude-4-5`"),
            "{renamed:?}"
        );
        let taken = |at: &str| {
            let found = imported.findings.iter().find(|finding| finding.at == at);
            found
                .map(|finding| finding.taken)
                .unwrap_or_else(|| panic!("{at}"))
        };
        #[rustfmt::skip]
        let table = [
            ("/model_list/0", Exact), ("/model_list/0/litellm_params/api_key", Partial), ("/model_list/0/litellm_params/rpm", Impossible),
            ("/model_list/1/litellm_params/api_base", Exact), ("/model_list/2/model_info/input_cost_per_token", Exact),
            ("/model_list/3/litellm_params/max_tokens", Partial), ("/model_list/4/litellm_params/model", Impossible),
            ("/router_settings/num_retries", Partial), ("/router_settings/routing_strategy", Exact),
            ("/litellm_settings/fallbacks", Exact), ("/litellm_settings/drop_params", Impossible),
            ("/litellm_settings/max_budget", Partial), ("/litellm_settings/cache", Partial), ("/general_settings/master_key", Exact),
            ("/callbacks", Impossible),
        ];
        for (at, expected) in table {
            assert_eq!(taken(at), expected, "{at}");
        }
        let text = serde_json::to_string(&imported).unwrap();
        assert!(!text.contains("4711") && !text.contains("sk-1234"), "{text}");
    }

    #[test]
    fn what_comes_of_it_is_a_configuration_that_holds() {
        let mut imported = litellm(&config_of_litellm()).unwrap();
        for document in &mut imported.documents {
            config::load::resolve_paths(document, std::path::Path::new("/etc/cofferdam"));
        }
        let named = imported.documents.iter().enumerate();
        let documents =
            config::from_values(named.map(|(n, value)| (n.to_string(), value.clone())).collect()).unwrap();
        let compiled = config::compile(&documents, 1, &config::unsupplied()).unwrap();
        let kinds: Vec<String> = documents
            .iter()
            .map(|one| format!("{} {}", one.kind, one.name))
            .collect();
        assert_eq!(
            kinds,
            [
                "Model gpt-4o-1",
                "Model gpt-4o-2",
                "Model claude-4-5-1",
                "Model local-1",
                "Budget litellm",
                "Route gpt-4o",
                "Route claude-4-5",
                "Route local"
            ]
        );
        assert_eq!(compiled.authority.budgets[0].ceiling.micros, Some(100_000_000));
        let route = &imported.documents[5]["spec"];
        assert_eq!(
            route["targets"],
            json!([{ "model": "gpt-4o-1" }, { "model": "gpt-4o-2" }])
        );
        assert_eq!(
            (&route["fallbacks"], &route["retries"]),
            (&json!(["claude-4-5-1"]), &json!(5))
        );
        assert_eq!(
            imported.documents[2]["spec"]["price"],
            json!({ "input": "3", "output": "15" })
        );
    }

    #[test]
    fn what_is_no_such_file_is_said() {
        for value in [json!([]), json!({}), json!({ "model_list": {} })] {
            assert!(litellm(&value).is_err(), "{value}");
        }
    }
}
