//! The patient: a small shop that is deployed from the HEAD of a Git repository, and that a bad commit
//! really breaks.
//!
//! `GET /` is a page, `GET /stock/{product}` needs the database: a connection from a pool, and a query
//! that takes its time, unless the answer is cached. How large the pool is, how long a request waits
//! and how long an answer is cached stands in `service.yaml` at the deployed commit. `GET /metrics`
//! tells what really happened; `POST /-/redeploy` takes the HEAD of the repository.
//!
//! It runs as a child of the demo and ends when its standard input does, so it cannot outlive it.

use super::repository::Repository;
use crate::cli::failure::Failure;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use store::clock::{SharedClock, SystemClock};
use tokio::sync::Semaphore;

/// How long a query of the pretended database takes.
const QUERY: Duration = Duration::from_millis(100);
/// Upper bounds of the latency histogram, in seconds.
const BUCKETS: [f64; 6] = [0.005, 0.025, 0.05, 0.1, 0.25, 1.0];

/// `cofferdam __patient`
#[derive(Args, Clone, Debug)]
pub struct PatientArguments {
    /// The repository it is deployed from
    #[arg(long)]
    repo: PathBuf,
    /// Where to listen on loopback; 0 takes a free port
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Runs the patient until standard input ends. Prints its address on standard output.
pub fn run_patient(arguments: PatientArguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", arguments.port)).await?;
        let shop = Arc::new(Shop::deployed(Repository::at(&arguments.repo)).await?);
        let mut out = std::io::stdout();
        writeln!(out, "{}", listener.local_addr()?)?;
        out.flush()?;
        let router = Router::new()
            .route("/", get(page))
            .route("/stock/{product}", get(stock))
            .route("/metrics", get(metrics))
            .route("/version", get(version))
            .route("/-/redeploy", post(redeploy))
            .route("/-/restart", post(restart))
            .with_state(shop);
        tokio::select! {
            served = axum::serve(listener, router) => served.map_err(Failure::from),
            () = parent_is_gone() => Ok(()),
        }
    })
}

/// Resolves when standard input ends. On a thread of its own, since reading it cannot be cancelled.
async fn parent_is_gone() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(sender);
    });
    let _ = receiver.await;
}

/// `service.yaml`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Connections to the database.
    pool_size: usize,
    /// How long a request waits for a connection and its query.
    timeout_ms: u64,
    /// How long an answer is kept.
    cache_ttl_seconds: u64,
}

/// One release: a commit and what came with it.
struct Release {
    commit: String,
    settings: Settings,
    pool: Semaphore,
    /// Until when, by product, on the monotonic clock.
    cached: Mutex<BTreeMap<u32, Duration>>,
}

struct Shop {
    repository: Repository,
    clock: SharedClock,
    release: Mutex<Arc<Release>>,
    counts: Mutex<Counts>,
}

/// What happened since the start.
#[derive(Default)]
struct Counts {
    requests: BTreeMap<(&'static str, &'static str), u64>,
    failures: BTreeMap<&'static str, u64>,
    seconds: BTreeMap<&'static str, Histogram>,
}

#[derive(Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Shop {
    async fn deployed(repository: Repository) -> Result<Shop, Failure> {
        let release = Mutex::new(Arc::new(Release::of_head(&repository).await?));
        Ok(Shop {
            repository,
            clock: SystemClock::shared(),
            release,
            counts: Mutex::default(),
        })
    }

    fn release(&self) -> Arc<Release> {
        locked(&self.release).clone()
    }

    fn record(&self, route: &'static str, status: StatusCode, began: Duration) {
        let class = if status.is_server_error() { "5xx" } else { "2xx" };
        let seconds = self.clock.monotonic().saturating_sub(began).as_secs_f64();
        let mut counts = locked(&self.counts);
        *counts.requests.entry((route, class)).or_default() += 1;
        let histogram = counts.seconds.entry(route).or_default();
        for (bucket, bound) in histogram.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
        histogram.count += 1;
        histogram.sum += seconds;
    }
}

impl Release {
    async fn of_head(repository: &Repository) -> Result<Release, Failure> {
        let commit = repository.head().await?;
        let text = repository.file_at(&commit, "service.yaml").await?;
        let settings: Settings = serde_saphyr::from_str(&text)
            .map_err(|e| Failure::Failed(format!("`service.yaml` at {commit} cannot be read: {e}")))?;
        let pool = Semaphore::new(settings.pool_size);
        Ok(Release {
            commit,
            settings,
            pool,
            cached: Mutex::default(),
        })
    }

    /// Looks a product up: from the cache, or with a connection and a query.
    async fn look_up(&self, product: u32, clock: &SharedClock) -> Result<(), &'static str> {
        if locked(&self.cached)
            .get(&product)
            .is_some_and(|until| *until > clock.monotonic())
        {
            return Ok(());
        }
        if self.settings.pool_size == 0 {
            return Err("no_connections");
        }
        let timeout = Duration::from_millis(self.settings.timeout_ms);
        let query = async {
            let connection = self.pool.acquire().await.map_err(|_| "no_connections")?;
            tokio::time::sleep(QUERY).await;
            drop(connection);
            Ok::<(), &'static str>(())
        };
        tokio::time::timeout(timeout, query)
            .await
            .map_err(|_| "database_timeout")??;
        let until = clock.monotonic() + Duration::from_secs(self.settings.cache_ttl_seconds);
        locked(&self.cached).insert(product, until);
        Ok(())
    }
}

/// A lock that a panicking thread left is still a lock: what is behind it are counters.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn page(State(shop): State<Arc<Shop>>) -> (StatusCode, String) {
    let began = shop.clock.monotonic();
    let text = format!("the shop, release {}\n", shop.release().commit);
    shop.record("page", StatusCode::OK, began);
    (StatusCode::OK, text)
}

async fn stock(State(shop): State<Arc<Shop>>, Path(product): Path<u32>) -> (StatusCode, String) {
    let began = shop.clock.monotonic();
    let release = shop.release();
    let (status, text) = match release.look_up(product, &shop.clock).await {
        Ok(()) => (StatusCode::OK, format!("product {product}: in stock\n")),
        Err(cause) => {
            *locked(&shop.counts).failures.entry(cause).or_default() += 1;
            (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("product {product}: {cause}\n"),
            )
        }
    };
    shop.record("stock", status, began);
    (status, text)
}

async fn version(State(shop): State<Arc<Shop>>) -> axum::Json<serde_json::Value> {
    let release = shop.release();
    axum::Json(serde_json::json!({ "commit": release.commit, "settings": release.settings }))
}

async fn redeploy(State(shop): State<Arc<Shop>>) -> (StatusCode, String) {
    match Release::of_head(&shop.repository).await {
        Ok(release) => {
            let text = format!("deployed {}\n", release.commit);
            *locked(&shop.release) = Arc::new(release);
            (StatusCode::OK, text)
        }
        Err(failure) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{failure}\n")),
    }
}

/// Starts the present release again, as an operator in a hurry would.
async fn restart(State(shop): State<Arc<Shop>>) -> (StatusCode, String) {
    let old = shop.release();
    let again = Release {
        commit: old.commit.clone(),
        settings: old.settings,
        pool: Semaphore::new(old.settings.pool_size),
        cached: Mutex::default(),
    };
    *locked(&shop.release) = Arc::new(again);
    (StatusCode::OK, format!("restarted {}\n", old.commit))
}

/// Prometheus text format.
async fn metrics(State(shop): State<Arc<Shop>>) -> String {
    let mut out = String::new();
    let commit = shop.release().commit.clone();
    let _ = writeln!(
        out,
        "# TYPE shop_build_info gauge\nshop_build_info{{commit=\"{commit}\"}} 1"
    );
    let counts = locked(&shop.counts);
    let _ = writeln!(out, "# TYPE shop_requests_total counter");
    for ((route, class), count) in &counts.requests {
        let _ = writeln!(
            out,
            "shop_requests_total{{route=\"{route}\",class=\"{class}\"}} {count}"
        );
    }
    let _ = writeln!(out, "# TYPE shop_failures_total counter");
    for (cause, count) in &counts.failures {
        let _ = writeln!(out, "shop_failures_total{{cause=\"{cause}\"}} {count}");
    }
    let _ = writeln!(out, "# TYPE shop_request_seconds histogram");
    for (route, histogram) in &counts.seconds {
        for (count, bound) in histogram.buckets.iter().zip(BUCKETS) {
            let _ = writeln!(
                out,
                "shop_request_seconds_bucket{{route=\"{route}\",le=\"{bound}\"}} {count}"
            );
        }
        let Histogram { count, sum, .. } = histogram;
        let _ = writeln!(
            out,
            "shop_request_seconds_bucket{{route=\"{route}\",le=\"+Inf\"}} {count}"
        );
        let _ = writeln!(out, "shop_request_seconds_sum{{route=\"{route}\"}} {sum}");
        let _ = writeln!(out, "shop_request_seconds_count{{route=\"{route}\"}} {count}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn look_up(
        pool_size: usize,
        timeout_ms: u64,
        cache_ttl_seconds: u64,
    ) -> (Result<(), &'static str>, bool) {
        let settings = Settings {
            pool_size,
            timeout_ms,
            cache_ttl_seconds,
        };
        let pool = Semaphore::new(pool_size);
        let release = Release {
            commit: "c".into(),
            settings,
            pool,
            cached: Mutex::default(),
        };
        let clock = SystemClock::shared();
        let first = release.look_up(1, &clock).await;
        let before = clock.monotonic();
        let _ = release.look_up(1, &clock).await;
        (first, clock.monotonic() - before < QUERY / 2)
    }

    #[tokio::test]
    async fn settings_really_break_it() {
        let table = [
            ("healthy: the second is cached", (8, 800, 60), (Ok(()), true)),
            ("no connections", (0, 800, 60), (Err("no_connections"), true)),
            (
                "a time-out below the query",
                (8, 20, 60),
                (Err("database_timeout"), true),
            ),
            ("no cache: the second waits again", (8, 800, 0), (Ok(()), false)),
        ];
        for (name, (pool, timeout, ttl), expected) in table {
            assert_eq!(look_up(pool, timeout, ttl).await, expected, "{name}");
        }
    }
}
