//! What a call used, and how it is written down.

use super::Llm;
use super::counts::Counts;
use super::price::Price;
use super::queue::Place;
use super::spec::Model;
use policy::budget::{Amounts, dollars};
use policy::{Failure, InFlight, Outcome, Resources, SettleFuture, Settlement, Taints};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::clock::SharedClock;
use wire::{Answer, Protocol, Usage, answer_of};

/// The longest answer that is kept beside the entry, in bytes.
pub(super) const KEPT_BYTES_MAX: usize = 160 * 1024;

/// One call, until it is settled.
pub(super) struct Account {
    model: Arc<Model>,
    protocol: Protocol,
    /// What is reserved.
    most: Amounts,
    clock: SharedClock,
    began: Duration,
    counts: Arc<Counts>,
    /// Its place at the model, until it is over.
    _place: Option<Place>,
}

/// How a call ended.
pub(super) struct Ended {
    pub outcome: Outcome,
    pub code: Option<&'static str>,
    pub what: String,
    /// Its usage; `None` for what nobody knows.
    pub usage: Option<Usage>,
    /// Whether it may have used anything.
    pub used: bool,
    pub result: Value,
}

impl Ended {
    /// Nothing was used.
    pub fn unsent(code: &'static str, what: &str) -> Ended {
        Ended {
            outcome: Outcome::Failure,
            code: Some(code),
            what: what.to_owned(),
            usage: None,
            used: false,
            result: Value::Null,
        }
    }

    /// It was sent, and what it used nobody knows.
    pub fn lost(code: &'static str, what: &str) -> Ended {
        Ended {
            used: true,
            ..Ended::unsent(code, what)
        }
    }

    /// An answer that was there already.
    pub fn again() -> Ended {
        Ended {
            outcome: Outcome::Success,
            code: None,
            ..Ended::unsent("", "answered from the cache")
        }
    }

    /// The same, because nobody waits for it.
    pub fn left() -> Ended {
        Ended {
            outcome: Outcome::Partial,
            ..Ended::lost("client_gone", "the client left")
        }
    }

    /// The same, because of us.
    pub fn cut(code: &'static str, what: &str) -> Ended {
        Ended {
            outcome: Outcome::Cancelled,
            ..Ended::lost(code, what)
        }
    }
}

impl Account {
    pub fn new(llm: &Llm, model: &Arc<Model>, protocol: Protocol, most: Amounts) -> Account {
        let clock = llm.gate.clock.clone();
        Account {
            model: Arc::clone(model),
            protocol,
            most,
            began: clock.monotonic(),
            clock,
            counts: Arc::clone(&llm.counts),
            _place: None,
        }
    }

    /// With a place at the model, which is given on when it is over.
    pub fn holding(self, place: Place) -> Account {
        Account {
            _place: Some(place),
            ..self
        }
    }

    /// Hands the outcome over and waits until it is recorded: what is tried next is judged by it.
    pub async fn settle(&self, flight: InFlight, ended: Ended) {
        let recorded = self.hand_over(flight, ended);
        if let Err(error) = recorded.await {
            tracing::error!(model = self.model.name, %error, "the outcome of a call is not recorded");
        }
    }

    /// Hands over the outcome of an answer that came whole; nobody waits for its record.
    pub fn settle_answer(&self, flight: InFlight, status: u16, body: &[u8]) {
        let answer = answer_of(self.protocol, body).unwrap_or_default();
        let kept = std::str::from_utf8(body)
            .ok()
            .filter(|_| body.len() <= KEPT_BYTES_MAX);
        let result =
            json!({ "status": status, "bytes": body.len(), "answer": kept, "finish": answer.finish });
        let ended = Ended {
            outcome: Outcome::Success,
            code: None,
            what: String::new(),
            usage: self.plausible(&answer),
            used: true,
            result,
        };
        drop(self.hand_over(flight, ended));
    }

    /// The usage that an answer says, unless it cannot be true.
    pub fn plausible(&self, answer: &Answer) -> Option<Usage> {
        let usage = answer.usage?;
        let writes = !matches!(self.protocol, Protocol::Embeddings | Protocol::CountTokens);
        // INVARIANT (a lie costs its teller): text that cost nothing was not written for nothing.
        let free = writes && usage.output == 0 && answer.output_bytes > 0;
        let reads = usage.input_total() == 0 && self.protocol != Protocol::CountTokens;
        (!free && !reads).then_some(usage)
    }

    /// Hands the outcome over at once.
    pub fn hand_over(&self, flight: InFlight, ended: Ended) -> SettleFuture {
        let (cost, note) = self.cost(&ended);
        let usage = ended.usage.unwrap_or_default();
        let duration = self.clock.monotonic().saturating_sub(self.began);
        let tokens = format!(
            "{} in, {} out, {}",
            usage.input_total(),
            usage.output,
            dollars(cost.micros)
        );
        let summary = match (&ended.usage, ended.used) {
            (Some(_), _) => format!("{}{tokens}", prefix(&ended.what)),
            (None, true) => format!(
                "{}usage unknown, {} as reserved",
                prefix(&ended.what),
                dollars(cost.micros)
            ),
            (None, false) => ended.what.clone(),
        };
        let summary = format!(
            "{summary}{}",
            note.map(|note| format!("; {note}")).unwrap_or_default()
        );
        let mut result = ended.result;
        if let (Some(members), Some(usage)) = (result.as_object_mut(), &ended.usage) {
            members.insert("usage".to_owned(), told(usage));
        }
        self.counts.add(
            &self.model.name,
            ended.outcome,
            cost.input,
            cost.output,
            cost.micros,
        );
        let settlement = Settlement {
            outcome: ended.outcome,
            result,
            summary,
            failure: ended.code.map(|code| Failure {
                kind: code.to_owned(),
                message: ended.what,
            }),
            resources: Resources {
                duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                tokens_input: cost.input,
                tokens_output: cost.output,
                cost_micros: cost.micros,
            },
            taints: Taints::NONE,
        };
        flight.settle(settlement)
    }

    /// What is charged, and what is to be said about it.
    ///
    /// INVARIANT (a ceiling holds): never more than was reserved; what an upstream claims beyond is told.
    fn cost(&self, ended: &Ended) -> (Charged, Option<String>) {
        let whole = Charged {
            input: self.most.tokens,
            output: 0,
            micros: self.most.micros,
        };
        let price = self.model.price.as_ref();
        match (ended.used, ended.usage, price) {
            (false, ..) => (Charged::default(), None),
            (true, Some(usage), Some(price)) if self.protocol != Protocol::CountTokens => {
                self.claimed(price, &usage)
            }
            (true, Some(_), _) => (Charged::default(), None),
            (true, None, _) => (whole, None),
        }
    }

    fn claimed(&self, price: &Price, usage: &Usage) -> (Charged, Option<String>) {
        let micros = price.cost(usage);
        let input = usage.input_total().min(self.most.tokens);
        let charged = Charged {
            input,
            output: usage.output.min(self.most.tokens - input),
            micros: micros.min(self.most.micros),
        };
        let beyond = micros > self.most.micros || usage.total() > self.most.tokens;
        let note = beyond.then(|| {
            let claimed = format!("{} tokens and {}", usage.total(), dollars(micros));
            tracing::warn!(
                model = self.model.name,
                claimed,
                "an upstream claims more than a call can use"
            );
            format!("the upstream claims {claimed}, more than it can have used")
        });
        (charged, note)
    }
}

/// What is charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Charged {
    input: u64,
    output: u64,
    micros: u64,
}

fn prefix(what: &str) -> String {
    match what.is_empty() {
        true => String::new(),
        false => format!("{what}; "),
    }
}

fn told(usage: &Usage) -> Value {
    json!({
        "input": usage.input, "cached": usage.cached, "cache_write": usage.cache_write,
        "cache_write_long": usage.cache_write_long, "output": usage.output, "reasoning": usage.reasoning,
    })
}
