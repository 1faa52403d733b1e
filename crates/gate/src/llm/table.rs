//! The price table that is shipped: what vendors published, in dollars per million tokens, on [`DATE`]. Every line can be
//! overridden by `price` of a `Model`, and a model that is not in it needs one.

use super::price::{Long, Price};

/// When the prices that are shipped were published.
pub const DATE: &str = "2025-10-15";

/// What is known of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub price: Price,
    /// Its context window, in tokens.
    pub context: u64,
    /// Longest answer, in tokens.
    pub output: u64,
}

/// Thousandths of a dollar per million tokens.
struct Line {
    /// The name, or what names of dated versions begin with.
    name: &'static str,
    input: u64,
    cached: u64,
    /// For five minutes and for an hour.
    writes: (u64, u64),
    output: u64,
    long: Option<(u64, u64, u64)>,
    context: u64,
    most: u64,
    /// Tokens of one image at most.
    image: Option<u64>,
}

const fn line(name: &'static str, input: u64, cached: u64, output: u64, (context, most): (u64, u64)) -> Line {
    Line {
        name,
        input,
        cached,
        writes: (input, input),
        output,
        long: None,
        context,
        most,
        image: None,
    }
}

const fn anthropic(name: &'static str, input: u64, output: u64, most: u64) -> Line {
    Line {
        // A quarter more for five minutes, twice as much for an hour; a tenth for what is read again.
        writes: (input * 5 / 4, input * 2),
        // Width times height by 750, of pictures that are made to fit 1,568 pixels.
        image: Some(3_300),
        ..line(name, input, input / 10, output, (200_000, most))
    }
}

/// The longest name that fits is the one that counts.
#[rustfmt::skip]
const TABLE: &[Line] = &[
    line("gpt-4o",                    2_500, 1_250, 10_000, (128_000, 16_384)),
    line("gpt-4o-2024-05-13",         5_000, 5_000, 15_000, (128_000, 4_096)),
    line("gpt-4o-mini",                 150,    75,    600, (128_000, 16_384)),
    line("gpt-4.1",                   2_000,   500,  8_000, (1_047_576, 32_768)),
    line("gpt-4.1-mini",                400,   100,  1_600, (1_047_576, 32_768)),
    line("gpt-4.1-nano",                100,    25,    400, (1_047_576, 32_768)),
    line("gpt-5",                     1_250,   125, 10_000, (400_000, 128_000)),
    line("gpt-5-mini",                  250,    25,  2_000, (400_000, 128_000)),
    line("gpt-5-nano",                   50,     5,    400, (400_000, 128_000)),
    line("gpt-5-pro",                15_000, 15_000, 120_000, (400_000, 272_000)),
    line("o3",                        2_000,   500,  8_000, (200_000, 100_000)),
    line("o3-pro",                   20_000, 20_000, 80_000, (200_000, 100_000)),
    line("o3-deep-research",         10_000, 2_500, 40_000, (200_000, 100_000)),
    line("o4-mini",                   1_100,   275,  4_400, (200_000, 100_000)),
    line("o4-mini-deep-research",     2_000,   500,  8_000, (200_000, 100_000)),
    line("text-embedding-3-small",       20,    20,      0, (8_192, 0)),
    line("text-embedding-3-large",      130,   130,      0, (8_192, 0)),
    anthropic("claude-opus-4",       15_000, 75_000, 32_000),
    Line { long: Some((200_000, 6_000, 22_500)), context: 1_000_000, ..anthropic("claude-sonnet-4", 3_000, 15_000, 64_000) },
    anthropic("claude-haiku-4-5",     1_000,  5_000, 64_000),
    anthropic("claude-3-7-sonnet",    3_000, 15_000, 64_000),
    anthropic("claude-3-5-haiku",       800,  4_000, 8_192),
    Line { long: Some((200_000, 2_500, 15_000)), ..line("gemini-2.5-pro", 1_250, 310, 10_000, (1_048_576, 65_536)) },
    line("gemini-2.5-flash",            300,    75,  2_500, (1_048_576, 65_536)),
    line("gemini-2.5-flash-lite",       100,    25,    400, (1_048_576, 65_536)),
    line("mistral-large-latest",      2_000, 2_000,  6_000, (128_000, 128_000)),
    line("mistral-medium-latest",       400,   400,  2_000, (128_000, 128_000)),
    line("mistral-small-latest",        100,   100,    300, (128_000, 128_000)),
];

/// What is known of `model`, by the name that its vendor has for it: exact, or with a date behind it
/// (`gpt-4o-2024-08-06`, `claude-sonnet-4-5-20250929`).
pub(crate) fn known(model: &str) -> Option<Known> {
    let fits = |line: &&Line| {
        let rest = model.strip_prefix(line.name);
        rest.is_some_and(|rest| rest.is_empty() || is_version(rest))
    };
    let line = TABLE.iter().filter(fits).max_by_key(|line| line.name.len())?;
    Some(line.known())
}

/// `-2024-08-06`, `-20250929`, `-4-5-20250929`, `-1`: digits and hyphens, beginning with one.
fn is_version(rest: &str) -> bool {
    rest.starts_with('-') && rest.bytes().all(|b| b == b'-' || b.is_ascii_digit())
}

impl Line {
    fn known(&self) -> Known {
        let micros = |thousandths: u64| thousandths * 1_000;
        let (short, hour) = self.writes;
        Known {
            price: Price {
                input: micros(self.input),
                cached: micros(self.cached),
                cache_write: micros(short),
                cache_write_long: micros(hour),
                output: micros(self.output),
                long: self.long.map(|(above, input, output)| Long {
                    above,
                    input: micros(input),
                    output: micros(output),
                }),
                request: 0,
                overhead_tokens: super::price::OVERHEAD_TOKENS,
                image_tokens: self.image,
                file_tokens: None,
                web_search: None,
                tier_percent: 100,
            },
            context: self.context,
            output: self.most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dated_versions_have_the_price_of_their_model_and_others_have_none() {
        #[rustfmt::skip]
        let table = [
            ("gpt-4o",                      Some(2_500_000)),
            ("gpt-4o-2024-08-06",           Some(2_500_000)),
            ("gpt-4o-mini-2024-07-18",      Some(150_000)),
            ("gpt-4o-audio-preview",        None),
            ("gpt-4.1-nano",                Some(100_000)),
            ("claude-sonnet-4-5-20250929",  Some(3_000_000)),
            ("claude-opus-4-1",             Some(15_000_000)),
            ("o3-pro",                      Some(20_000_000)),
            ("gpt-4oo",                     None),
            ("llama",                       None),
        ];
        for (model, input) in table {
            assert_eq!(known(model).map(|known| known.price.input), input, "{model}");
        }
    }
}
