//! Nobody here wrote it: a real Prometheus fires, a real Alertmanager tells us, and the agent of the
//! starter configuration asks that Prometheus and a real Git repository.
//!
//! Without the two programs (Debian: `prometheus`, `prometheus-alertmanager`) the test says so and
//! passes, unless `COFFERDAM_REQUIRE_PEERS=1`.

use crate::common::Platform;
use axum::Router;
use axum::routing::get;
use cofferdam::config::STARTER;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

#[tokio::test(flavor = "multi_thread")]
async fn a_real_alert_becomes_an_incident_with_a_summary_that_names_the_change() {
    if !installed("prometheus") || !installed("prometheus-alertmanager") {
        assert!(
            std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_none(),
            "Prometheus or Alertmanager is missing"
        );
        eprintln!("Prometheus or Alertmanager is not installed: skipping");
        return;
    }
    let peers = tempfile::tempdir().unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let target = target(Arc::clone(&broken)).await;
    let (prometheus_port, alertmanager_port) = (free_port().await, free_port().await);
    let platform = platform(peers.path(), prometheus_port).await;
    let token = platform.token(json!({"trigger": "alertmanager"})).await;
    let hook = platform.url("/hooks/alertmanager");
    let _alertmanager = alertmanager(peers.path(), alertmanager_port, &hook, &token);
    let _prometheus = prometheus(peers.path(), prometheus_port, alertmanager_port, target);

    // Until it scrapes, so that the alert has a past.
    let scraped = format!("http://127.0.0.1:{prometheus_port}/api/v1/query?query=up%7Bjob%3D%22shop%22%7D");
    wait("Prometheus scrapes", async || {
        let Ok(answer) = platform.http.get(&scraped).send().await else {
            return false;
        };
        answer
            .json::<serde_json::Value>()
            .await
            .is_ok_and(|v| v["data"]["result"][0]["value"][1] == "1")
    })
    .await;
    broken.store(true, Ordering::Relaxed);

    let incidents = platform
        .until("/api/v1/incidents", |list| list[0]["summary"].is_object())
        .await;
    let (incident, summary) = (&incidents[0], &incidents[0]["summary"]);
    assert_eq!(incident["severity"], "critical", "{incident}");
    assert_eq!(
        incident["triggered_by"],
        json!(format!("alert/HighErrors/127.0.0.1:{target}")),
        "{incident}"
    );
    assert_eq!(
        (&summary["partial"], &summary["uncited"]),
        (&json!(false), &json!(0)),
        "{summary}"
    );
    let said = summary["summary"].as_str().unwrap();
    assert!(
        said.contains("Turn the cache off") && said.contains("mallory"),
        "{said}"
    );
    let seen = summary["observations"].to_string();
    for part in [
        "HighErrors",
        "answers Prometheus",
        "% of requests fail now",
        "Changes since a day before it began: 2",
        "service.toml",
    ] {
        assert!(seen.contains(part), "`{part}` is not in {seen}");
    }
    assert_eq!(summary["changes"][0]["title"], "Turn the cache off", "{summary}");

    broken.store(false, Ordering::Relaxed);
    let path = format!("/api/v1/incidents/{}", incident["id"].as_str().unwrap());
    platform
        .until(&path, |incident| incident["status"] == "resolved")
        .await;
    platform.stop().await;
}

fn installed(program: &str) -> bool {
    std::process::Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success())
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

async fn wait(what: &str, done: impl AsyncFn() -> bool) {
    for _ in 0..600 {
        if done().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("in vain: {what}");
}

/// A service whose requests fail once it is broken: each scrape sees ten more, five of them bad.
async fn target(broken: Arc<AtomicBool>) -> u16 {
    let (good, bad) = (AtomicU64::new(0), AtomicU64::new(0));
    let counts = Arc::new((good, bad));
    let metrics = move || {
        let (counts, broken) = (Arc::clone(&counts), Arc::clone(&broken));
        async move {
            let failing = if broken.load(Ordering::Relaxed) { 5 } else { 0 };
            let good = counts.0.fetch_add(10 - failing, Ordering::Relaxed);
            let bad = counts.1.fetch_add(failing, Ordering::Relaxed);
            format!(
                "shop_http_requests_total{{code=\"200\"}} {good}\nshop_http_requests_total{{code=\"500\"}} {bad}\n"
            )
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/metrics", get(metrics))).await });
    port
}

/// With the starter configuration, pointed at this Prometheus and a repository with a suspect.
async fn platform(peers: &Path, prometheus_port: u16) -> Platform {
    let directory = tempfile::tempdir().unwrap();
    let repository = peers.join("service");
    std::fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "--quiet", "--initial-branch=main"]);
    for (author, content, title) in [
        ("alice", "cache = true\n", "Serve the shop"),
        ("mallory", "cache = false\n", "Turn the cache off"),
    ] {
        std::fs::write(repository.join("service.toml"), content).unwrap();
        git(&repository, &["add", "service.toml"]);
        git(
            &repository,
            &[
                "-c",
                &format!("user.name={author}"),
                "-c",
                "user.email=x@invalid",
                "commit",
                "--quiet",
                "-m",
                title,
            ],
        );
    }
    let text = STARTER
        .replace(
            "http://127.0.0.1:9090",
            &format!("http://127.0.0.1:{prometheus_port}"),
        )
        .replace("path: . ", &format!("path: {} ", repository.display()));
    assert_ne!(text, STARTER);
    let config = directory.path().join("cofferdam.yaml");
    std::fs::write(&config, text).unwrap();
    Platform::start_in(directory, |options| options.config = Some(config)).await
}

fn git(repository: &Path, arguments: &[&str]) {
    let run = std::process::Command::new("git")
        .arg("-C")
        .arg(repository)
        .args(arguments)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

fn alertmanager(directory: &Path, port: u16, hook: &str, token: &str) -> Child {
    let config = directory.join("alertmanager.yml");
    let text = format!(
        "route: {{receiver: cofferdam, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 1m}}\n\
         receivers:\n  - name: cofferdam\n    webhook_configs:\n      - url: {hook}\n        http_config: \
         {{authorization: {{credentials: {token}}}}}\n"
    );
    std::fs::write(&config, text).unwrap();
    Command::new("prometheus-alertmanager")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", directory.join("am").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn prometheus(directory: &Path, port: u16, alertmanager: u16, target: u16) -> Child {
    let rules = directory.join("rules.yml");
    let rule = "groups:\n  - name: shop\n    rules:\n      - alert: HighErrors\n        expr: \
                sum by (instance, job) (rate(shop_http_requests_total{code=\"500\"}[10s])) > 1\n        \
                labels: {severity: critical}\n        annotations: {summary: requests fail}\n";
    std::fs::write(&rules, rule).unwrap();
    let config = directory.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]}}]}}\n\
         scrape_configs: [{{job_name: shop, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n",
        rules.display()
    );
    std::fs::write(&config, text).unwrap();
    Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            directory.join("tsdb").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
