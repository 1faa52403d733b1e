//! What tokens cost: tables, the bound that is reserved before a call, and the cost that is settled after it. Pure, in
//! whole numbers: prices are micro-units (millionths of a US dollar) per million tokens, and every rounding is up.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::{Bound, CostKind, Tier, Usage};

/// Tokens that a price is of.
const MILLION: u128 = 1_000_000;
/// Tokens that a vendor puts around what a request says: its own system text, and that of tools.
pub(super) const OVERHEAD_TOKENS: u64 = 1024;

/// The prices of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Price {
    /// Of input, in micro-units per million tokens.
    pub input: u64,
    /// Of input that was read from the provider's cache.
    pub cached: u64,
    /// Of input that was written to it, for minutes.
    pub cache_write: u64,
    /// The same for an hour.
    pub cache_write_long: u64,
    /// Of output.
    pub output: u64,
    /// From so many tokens of input on, other prices of input and output hold for the whole request.
    pub long: Option<Long>,
    /// Of each request, in micro-units.
    pub request: u64,
    /// Tokens of input that every request may have besides its bytes.
    pub overhead_tokens: u64,
    /// Of one image at most, in tokens of input. `None`: images are refused.
    pub image_tokens: Option<u64>,
    /// Of one document at most, in tokens of input. `None`: documents are refused.
    pub file_tokens: Option<u64>,
    /// Of one web search, in micro-units. `None`: it is refused.
    pub web_search: Option<u64>,
    /// Of the dearest tier, in per cent of the usual price; 100 where there is one price. A request that asks for
    /// another tier is refused where this is 100.
    pub tier_percent: u64,
}

/// Prices of long requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Long {
    pub above: u64,
    pub input: u64,
    pub output: u64,
}

/// Prices as they are written: dollars per million tokens, as numbers or texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct PriceSpec {
    /// Of input, in dollars per million tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Of input read from the provider's cache; that of input unless it says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<Value>,
    /// Of input written to it; that of input unless it says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Value>,
    /// The same, kept for an hour; that of `cacheWrite` unless it says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_long: Option<Value>,
    /// Of output, in dollars per million tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Of each request, in dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Value>,
    /// Tokens of input that a request may have besides its bytes; 1,024 unless it says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead_tokens: Option<u64>,
    /// Tokens of input that one image is at most. Without it, images are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_tokens: Option<u64>,
    /// Tokens of input that one document is at most. Without it, documents are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_tokens: Option<u64>,
    /// Of one web search by the provider, in dollars. Without it, such tools are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_search: Option<Value>,
    /// The dearest service tier, in per cent of these prices. Without it, other tiers are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier_percent: Option<u64>,
}

/// Why a request has no bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unbounded {
    /// What has no ceiling price.
    pub what: String,
    /// Where it stands.
    pub place: String,
    /// What would change it.
    pub remedy: &'static str,
}

impl PriceSpec {
    /// Over `base`, the table's; `anthropic` bills what is written to its cache at more than input.
    pub(crate) fn over(
        &self,
        base: Option<&Price>,
        anthropic: bool,
    ) -> Result<Option<Price>, Vec<(String, String)>> {
        let mut wrong = Vec::new();
        let mut read = |name: &str, value: &Option<Value>| {
            let text = match value.as_ref()? {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let read = policy::budget::money(&text);
            read.map_err(|what| wrong.push((format!("/price/{name}"), what)))
                .ok()
        };
        let (input, output) = (read("input", &self.input), read("output", &self.output));
        let cached = read("cachedInput", &self.cached_input);
        let cache_write = read("cacheWrite", &self.cache_write);
        let cache_write_long = read("cacheWriteLong", &self.cache_write_long);
        let (request, web_search) = (
            read("request", &self.request),
            read("webSearch", &self.web_search),
        );
        if self
            .tier_percent
            .is_some_and(|percent| !(100..=1000).contains(&percent))
        {
            wrong.push(("/price/tierPercent".to_owned(), "use 100 to 1000".to_owned()));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let (Some(input), Some(output)) = (
            input.or(base.map(|base| base.input)),
            output.or(base.map(|base| base.output)),
        ) else {
            return match *self == PriceSpec::default() {
                true => Ok(None),
                false => Err(vec![(
                    "/price".to_owned(),
                    "give `input` and `output`".to_owned(),
                )]),
            };
        };
        Ok(Some(self.filled(
            base,
            (input, output),
            [cached, cache_write, cache_write_long],
            (request, web_search),
            anthropic,
        )))
    }

    /// With what is not said by the table, or by the price of input.
    fn filled(
        &self,
        base: Option<&Price>,
        (input, output): (u64, u64),
        [cached, cache_write, cache_write_long]: [Option<u64>; 3],
        (request, web_search): (Option<u64>, Option<u64>),
        anthropic: bool,
    ) -> Price {
        let usual = base.cloned().unwrap_or_default();
        // What was written over the table's price of input is no price of its cache.
        let kept = |own: Option<u64>, of_table: u64, of_input: u64| {
            let by_input = self.input.is_some() || base.is_none();
            own.unwrap_or(if by_input { of_input } else { of_table })
        };
        // Anthropic bills what is kept for minutes at a quarter more, and for an hour at twice as much.
        let (minutes, hour) = match anthropic {
            true => (input.saturating_mul(5) / 4, input.saturating_mul(2)),
            false => (input, input),
        };
        let cache_write = kept(cache_write, usual.cache_write, minutes);
        let cache_write_long = kept(cache_write_long, usual.cache_write_long, hour.max(cache_write));
        // What is dearer for long requests stays so, by as much.
        let scaled = |long: u64, own: u64, before: u64| {
            let scaled = (u128::from(long) * u128::from(own)).checked_div(u128::from(before));
            u64::try_from(scaled.unwrap_or(u128::from(own))).unwrap_or(u64::MAX)
        };
        let long = usual.long.map(|long| Long {
            above: long.above,
            input: scaled(long.input, input, usual.input),
            output: scaled(long.output, output, usual.output),
        });
        Price {
            input,
            output,
            cached: kept(cached, usual.cached, input),
            cache_write,
            cache_write_long: cache_write_long.max(cache_write),
            long,
            request: request.unwrap_or(usual.request),
            overhead_tokens: self.overhead_tokens.unwrap_or(match base {
                Some(base) => base.overhead_tokens,
                None => OVERHEAD_TOKENS,
            }),
            image_tokens: self.image_tokens.or(usual.image_tokens),
            file_tokens: self.file_tokens.or(usual.file_tokens),
            web_search: web_search.or(usual.web_search),
            tier_percent: self.tier_percent.unwrap_or(usual.tier_percent.max(100)),
        }
    }
}

/// What a request has besides its bytes.
struct Extras {
    input: u64,
    searches: u64,
    dearer: bool,
}

impl Price {
    /// Micro-units for a number of tokens at a price per million, rounded up.
    fn of(tokens: u64, price: u64) -> u128 {
        u128::from(tokens) * u128::from(price)
    }

    /// What `bound` can cost at most, and how many tokens it can use. `output` is the cap that is in force, of one answer;
    /// `context` the window of the model.
    ///
    /// # Errors
    /// It uses something that has no ceiling price.
    pub fn most(&self, bound: &Bound, output: u64, context: u64) -> Result<(u64, u64), Unbounded> {
        let Extras {
            input,
            searches,
            dearer,
        } = self.extras(bound, context)?;
        let output = output.max(bound.thinking_budget.unwrap_or_default());
        let output = output.saturating_mul(bound.choices.max(1));
        let long = self.long.filter(|long| input > long.above);
        // A cache costs more in a long request by as much as input does: as `cost` has it.
        let scaled = |price: u64| match (long, self.input) {
            (Some(long), 1..) => {
                (u128::from(price) * u128::from(long.input)).div_ceil(u128::from(self.input))
            }
            _ => u128::from(price),
        };
        let caches = [self.cached, self.cache_write, self.cache_write_long].map(scaled);
        let plain = [Some(self.input), long.map(|long| long.input)]
            .into_iter()
            .flatten()
            .map(u128::from);
        let input_price = plain.chain(caches).max().unwrap_or_default();
        let input_price = u64::try_from(input_price).unwrap_or(u64::MAX);
        let output_price = long.map_or(self.output, |long| long.output.max(self.output));
        let mut cost = Price::of(input, input_price).saturating_add(Price::of(output, output_price));
        if dearer {
            cost = cost.saturating_mul(u128::from(self.tier_percent)).div_ceil(100);
        }
        let micros = to_micros(cost)
            .saturating_add(self.request)
            .saturating_add(self.web_search.unwrap_or_default().saturating_mul(searches));
        Ok((micros, input.saturating_add(output)))
    }

    /// The tokens of input at most, and what is billed otherwise.
    fn extras(&self, bound: &Bound, context: u64) -> Result<Extras, Unbounded> {
        let unbounded = |cost: &wire::Cost, remedy| Unbounded {
            what: format!("{} `{}`", cost.kind.as_str(), cost.name),
            place: cost.place.clone(),
            remedy,
        };
        let mut input = bound.input_bytes.saturating_add(self.overhead_tokens);
        let window = |cost: &wire::Cost| match context {
            0 => Err(unbounded(cost, "give the Model `contextTokens`")),
            context => Ok(context),
        };
        let (mut searches, mut dearer) = (0_u64, false);
        for cost in &bound.costs {
            match cost.kind {
                CostKind::Image => {
                    let most = self
                        .image_tokens
                        .ok_or_else(|| unbounded(cost, "give the Model `price.imageTokens`"))?;
                    input = input.saturating_add(most);
                }
                CostKind::File => {
                    let most = self
                        .file_tokens
                        .ok_or_else(|| unbounded(cost, "give the Model `price.fileTokens`"))?;
                    input = input.saturating_add(most);
                }
                // INVARIANT (context that nobody sees counts whole): what the provider holds may be all that fits.
                CostKind::HeldContext | CostKind::VendorTool => input = input.max(window(cost)?),
                CostKind::ServerTool if cost.name.starts_with("web_search") && self.web_search.is_some() => {
                    let most = bound
                        .tool_calls_cap
                        .ok_or_else(|| unbounded(cost, "set `max_tool_calls`"))?;
                    searches = searches.saturating_add(most);
                    // What each finds is read together with all before it.
                    input = input.max(window(cost)?.saturating_mul(most.saturating_add(1)));
                }
                CostKind::ServiceTier if self.tier_percent > 100 => dearer = true,
                CostKind::CacheWrite | CostKind::Stored => {}
                CostKind::ServerTool => {
                    return Err(unbounded(
                        cost,
                        "give the Model `price.webSearch`, or leave the tool out",
                    ));
                }
                CostKind::ServiceTier => {
                    return Err(unbounded(
                        cost,
                        "give the Model `price.tierPercent`, or leave it out",
                    ));
                }
                _ => return Err(unbounded(cost, "leave it out")),
            }
        }
        if bound.more {
            let what = "too many things that cost".to_owned();
            return Err(Unbounded {
                what,
                place: String::new(),
                remedy: "make the request smaller",
            });
        }
        Ok(Extras {
            input,
            searches,
            dearer,
        })
    }

    /// What `usage` costs.
    pub fn cost(&self, usage: &Usage) -> u64 {
        let long = self.long.filter(|long| usage.input_total() > long.above);
        let (input, output) = long.map_or((self.input, self.output), |long| (long.input, long.output));
        // What is read from a cache or written to it costs more in a long request by as much as input does.
        let cache = |price: u64| match (long, self.input) {
            (Some(long), 1..) => {
                (u128::from(price) * u128::from(long.input)).div_ceil(u128::from(self.input))
            }
            _ => u128::from(price),
        };
        let cost = Price::of(usage.input, input)
            + u128::from(usage.cached) * cache(self.cached)
            + u128::from(usage.cache_write) * cache(self.cache_write)
            + u128::from(usage.cache_write_long) * cache(self.cache_write_long)
            + Price::of(usage.output, output)
            + Price::of(usage.other_model, output);
        let cost = match usage.tier {
            Tier::Standard | Tier::Flex => cost,
            _ => cost.saturating_mul(u128::from(self.tier_percent)).div_ceil(100),
        };
        to_micros(cost).saturating_add(self.request).saturating_add(
            self.web_search
                .unwrap_or_default()
                .saturating_mul(usage.tools.web_search),
        )
    }
}

fn to_micros(cost: u128) -> u64 {
    u64::try_from(cost.div_ceil(MILLION)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn price(spec: Value, base: Option<&str>, anthropic: bool) -> Price {
        let spec: PriceSpec = serde_json::from_value(spec).unwrap();
        let known = base.map(|name| table::known(name).unwrap().price);
        spec.over(known.as_ref(), anthropic).unwrap().unwrap()
    }

    #[test]
    fn what_is_written_to_a_cache_costs_what_its_vendor_bills() {
        #[rustfmt::skip]
        let table = [
            (json!({}),                                     Some("claude-sonnet-4-5"), true,  (3_750_000, 6_000_000)),
            (json!({"input": 4, "output": 20}),             Some("claude-sonnet-4-5"), true,  (5_000_000, 8_000_000)),
            (json!({"input": 4, "output": 20}),             None,                      true,  (5_000_000, 8_000_000)),
            (json!({"input": 4, "output": 20}),             None,                      false, (4_000_000, 4_000_000)),
            (json!({"input": 4, "output": 20, "cacheWrite": 9}), None,                 true,  (9_000_000, 9_000_000)),
        ];
        for (spec, base, anthropic, expected) in table {
            let price = price(spec.clone(), base, anthropic);
            assert_eq!(
                (price.cache_write, price.cache_write_long),
                expected,
                "{spec} {base:?}"
            );
        }
        let long = price(json!({"input": 6, "output": 30}), Some("claude-sonnet-4-5"), true)
            .long
            .unwrap();
        assert_eq!((long.input, long.output), (12_000_000, 45_000_000));
    }

    #[test]
    fn context_that_nobody_sees_needs_a_window() {
        let price = price(json!({"input": 1, "output": 1}), None, false);
        let held = wire::Cost {
            kind: CostKind::HeldContext,
            name: "previous_response_id".to_owned(),
            place: "/previous_response_id".to_owned(),
            bytes: 0,
        };
        let bound = Bound {
            input_bytes: 10,
            choices: 1,
            costs: vec![held],
            ..Bound::default()
        };
        assert_eq!(
            price.most(&bound, 5, 0).unwrap_err().remedy,
            "give the Model `contextTokens`"
        );
        assert_eq!(price.most(&bound, 5, 10_000).unwrap(), (10_005, 10_005));
    }

    proptest! {
        /// Whatever an upstream bills within the bound, in whichever way it divides its input.
        #[test]
        fn no_usage_within_the_bound_costs_more_than_is_reserved(
            model in prop::sample::select(vec!["gpt-4o", "gpt-5", "claude-sonnet-4-5", "claude-opus-4-1", "gemini-2.5-pro"]),
            bytes in 0..400_000_u64,
            cap in 1..50_000_u64,
            parts in prop::array::uniform4(0..1000_u64),
            written in 0..=1000_u64,
        ) {
            let known = table::known(model).unwrap();
            let bound = Bound { input_bytes: bytes, choices: 1, ..Bound::default() };
            let (most, tokens) = known.price.most(&bound, cap, known.context).unwrap();
            let input = bytes + known.price.overhead_tokens;
            let sum: u64 = parts.iter().sum::<u64>().max(1);
            let part = |n: usize| input * parts[n] / sum;
            let usage = Usage {
                input: part(0),
                cached: part(1),
                cache_write: part(2),
                cache_write_long: part(3),
                output: cap * written / 1000,
                ..Usage::default()
            };
            prop_assert!(known.price.cost(&usage) <= most, "{usage:?}");
            prop_assert!(usage.total() <= tokens);
        }
    }
}
