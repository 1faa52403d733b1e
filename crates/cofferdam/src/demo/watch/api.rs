//! Scrapes, evaluates, sends, and answers queries.

use super::alerts::{Alert, Rule, Sent, Target};
use super::promql::Expression;
use super::series::{Labels, Series};
use crate::cli::failure::Failure;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use policy::Timestamp;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use store::clock::SharedClock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Time between two scrapes.
const SCRAPE_EVERY: Duration = Duration::from_millis(200);
/// Points of one range query, as many as Prometheus gives.
const POINTS_MAX: i64 = 11_000;

/// The stand-in. Ends when it is dropped.
pub struct Watch {
    shared: Arc<Shared>,
    /// Told about every notification.
    pub sent: mpsc::UnboundedReceiver<Sent>,
    sender: mpsc::UnboundedSender<Sent>,
    tasks: JoinSet<()>,
}

struct Shared {
    series: Mutex<Series>,
    alerts: Mutex<Vec<Alert>>,
    target: Target,
    clock: SharedClock,
}

impl Watch {
    /// Starts answering queries; nothing is scraped yet. `patient` is a base URL.
    pub async fn bind(patient: &str, rules: Vec<Rule>, clock: SharedClock) -> Result<Watch, Failure> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let instance = patient.trim_start_matches("http://").to_owned();
        let alerts = rules
            .into_iter()
            .map(Alert::new)
            .collect::<Result<_, _>>()
            .map_err(Failure::Failed)?;
        let target = Target { instance, url };
        let shared = Arc::new(Shared {
            series: Mutex::default(),
            alerts: Mutex::new(alerts),
            target,
            clock,
        });
        let router = Router::new()
            .route("/api/v1/query", get(query))
            .route("/api/v1/query_range", get(query_range))
            .route("/api/v1/alerts", get(alerts_now))
            .route("/api/v1/rules", get(rules_now))
            .with_state(shared.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        let (sender, sent) = mpsc::unbounded_channel();
        Ok(Watch {
            shared,
            sent,
            sender,
            tasks,
        })
    }

    /// Base URL of its API.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.target.url
    }

    /// Begins to scrape the patient, to evaluate, and to send to a webhook with a bearer token.
    pub fn begin(&mut self, http: reqwest::Client, hook: String, token: String) {
        let (shared, sender) = (self.shared.clone(), self.sender.clone());
        self.tasks.spawn(async move {
            let mut ticks = tokio::time::interval(SCRAPE_EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                shared.scrape(&http).await;
                for payload in shared.evaluate() {
                    let sent = send(&http, &hook, &token, payload).await;
                    if sender.send(sent).is_err() {
                        return;
                    }
                }
            }
        });
    }

    /// The present value of a query, if it has one.
    #[must_use]
    pub fn value(&self, query: &str) -> Option<f64> {
        let expression = Expression::parse(query).ok()?;
        let values = expression.at(&locked(&self.shared.series), self.shared.clock.now().ms());
        values.first().map(|(_, value)| *value).filter(|v| v.is_finite())
    }
}

impl Shared {
    async fn scrape(&self, http: &reqwest::Client) {
        let url = format!("http://{}/metrics", self.target.instance);
        let got = async {
            http.get(url)
                .timeout(Duration::from_secs(1))
                .send()
                .await?
                .text()
                .await
        }
        .await;
        let at = self.clock.now().ms();
        let labels = [("instance", self.target.instance.as_str()), ("job", "shop")];
        let labels: Labels = labels
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let mut up = labels.clone();
        up.insert("__name__".into(), "up".into());
        let mut series = locked(&self.series);
        series.add_one(at, up, if got.is_ok() { 1.0 } else { 0.0 });
        if let Ok(text) = got {
            series.add(at, &text, &labels);
        }
    }

    fn evaluate(&self) -> Vec<Value> {
        let series = locked(&self.series);
        let now = self.clock.now();
        let mut alerts = locked(&self.alerts);
        alerts
            .iter_mut()
            .filter_map(|alert| alert.evaluate(&series, now, &self.target))
            .collect()
    }
}

/// Sends a notification, and again for a while if the platform could not take it, as Alertmanager does.
async fn send(http: &reqwest::Client, hook: &str, token: &str, payload: Value) -> Sent {
    let (alert, summary, status) = Alert::said(&payload);
    let mut sent = Sent {
        alert,
        status,
        summary,
        payload,
        answer: Value::Null,
        http_status: 0,
    };
    for _ in 0..5 {
        let request = http
            .post(hook)
            .bearer_auth(token)
            .json(&sent.payload)
            .timeout(Duration::from_secs(5));
        if let Ok(response) = request.send().await {
            sent.http_status = response.status().as_u16();
            sent.answer = response.json().await.unwrap_or_default();
            if sent.http_status < 500 && sent.http_status != 429 {
                break;
            }
        }
        tokio::time::sleep(SCRAPE_EVERY).await;
    }
    sent
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

type Answer = (StatusCode, Json<Value>);

fn success(data: Value) -> Answer {
    (StatusCode::OK, Json(json!({ "status": "success", "data": data })))
}

fn bad(error: String) -> Answer {
    (
        StatusCode::BAD_REQUEST,
        Json(json!({ "status": "error", "errorType": "bad_data", "error": error })),
    )
}

async fn query(State(shared): State<Arc<Shared>>, Query(asked): Query<HashMap<String, String>>) -> Answer {
    let expression = match parsed(&asked) {
        Ok(expression) => expression,
        Err(error) => return bad(error),
    };
    let now = match time(&asked, "time", shared.clock.now()) {
        Ok(now) => now,
        Err(error) => return bad(error),
    };
    let values = expression.at(&locked(&shared.series), now);
    let result: Vec<Value> = values
        .into_iter()
        .map(|(labels, value)| json!({ "metric": labels, "value": [now as f64 / 1000.0, value.to_string()] }))
        .collect();
    success(json!({ "resultType": "vector", "result": result }))
}

async fn query_range(
    State(shared): State<Arc<Shared>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Answer {
    let now = shared.clock.now();
    let read = || -> Result<_, String> {
        let step = asked
            .get("step")
            .map_or("1", String::as_str)
            .trim_end_matches('s');
        let step_ms = step.parse::<f64>().map_err(|_| format!("`{step}` is no step"))? * 1000.0;
        let (start, end) = (time(&asked, "start", now)?, time(&asked, "end", now)?);
        if step_ms < 1.0 || end < start || (end - start) / step_ms as i64 > POINTS_MAX {
            return Err("too many points, or none".into());
        }
        Ok((parsed(&asked)?, start, end, step_ms as i64))
    };
    let (expression, start, end, step_ms) = match read() {
        Ok(read) => read,
        Err(error) => return bad(error),
    };
    let mut points: Vec<(Labels, Vec<Value>)> = Vec::new();
    let mut at = start;
    while at <= end {
        for (labels, value) in expression.at(&locked(&shared.series), at) {
            let point = json!([at as f64 / 1000.0, value.to_string()]);
            match points.iter_mut().find(|(known, _)| *known == labels) {
                Some((_, values)) => values.push(point),
                None => points.push((labels, vec![point])),
            }
        }
        at += step_ms;
    }
    let result: Vec<Value> = points
        .into_iter()
        .map(|(labels, values)| json!({ "metric": labels, "values": values }))
        .collect();
    success(json!({ "resultType": "matrix", "result": result }))
}

async fn alerts_now(State(shared): State<Arc<Shared>>) -> Answer {
    let alerts = locked(&shared.alerts);
    let active: Vec<Value> = alerts
        .iter()
        .filter_map(|alert| alert.as_active(&shared.target))
        .collect();
    success(json!({ "alerts": active }))
}

async fn rules_now(State(shared): State<Arc<Shared>>) -> Answer {
    let rules: Vec<Value> = locked(&shared.alerts)
        .iter()
        .map(|alert| alert.as_rule(&shared.target))
        .collect();
    success(json!({ "groups": [{ "name": "shop", "file": "shop.rules", "interval": 0.2, "rules": rules }] }))
}

fn parsed(asked: &HashMap<String, String>) -> Result<Expression, String> {
    Expression::parse(asked.get("query").map_or("", String::as_str))
}

/// RFC 3339 or seconds since 1970, in milliseconds.
fn time(asked: &HashMap<String, String>, name: &str, now: Timestamp) -> Result<i64, String> {
    let Some(text) = asked.get(name) else {
        return Ok(now.ms());
    };
    let seconds = text
        .parse::<f64>()
        .ok()
        .filter(|s| s.is_finite())
        .map(|seconds| (seconds * 1000.0) as i64);
    seconds
        .or_else(|| Timestamp::parse(text).map(Timestamp::ms))
        .ok_or_else(|| format!("`{text}` is no time"))
}
