//! Programs that people run, through the surface: they understand what they are told. Where one is not installed, that
//! part says so and passes.

use crate::servers::https;
use crate::world::{World, rules};
use policy::Level;
use serde_json::json;
use std::process::Output;
use tokio::process::Command;

async fn world() -> (World, u16, tempfile::TempDir) {
    let (address, _, root) = https("api.test", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    let port = address.port();
    let rule = json!([{
        "name": "api", "hosts": ["api.test"], "ports": [port], "networks": ["127.0.0.0/8"], "inspect": true, "paths": ["/v1"],
    }]);
    let world = World::with(rules(rule), Level::L0, json!({}), vec![root]).await;
    world.names.set("api.test", &[&["127.0.0.1"]]);
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("ca.pem"), world.egress.authority_pem().unwrap()).unwrap();
    (world, port, files)
}

async fn run(program: &str, arguments: &[String], environment: &[(&str, String)]) -> Option<Output> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    match command.output().await {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("{program} is not run: {error}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_let_through_and_told_why_it_is_not() {
    let (world, port, files) = world().await;
    let proxy = format!("http://{}", world.address);
    let ca = files.path().join("ca.pem").display().to_string();
    for scheme in ["http", "socks5h"] {
        let proxy = format!("{scheme}://{}", world.address);
        let arguments = |url: String| {
            ["-sS", "--max-time", "10", "-x", &proxy, "--cacert", &ca, &url]
                .map(str::to_owned)
                .to_vec()
        };
        let Some(output) = run("curl", &arguments(format!("https://api.test:{port}/v1/x")), &[]).await else {
            return;
        };
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "hello",
            "{scheme}: {output:?}"
        );
        let output = run("curl", &arguments(format!("https://api.test:{port}/v2")), &[])
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            told.contains("no Egress rule of this agent lets this path through"),
            "{scheme}: {told}"
        );
        assert!(
            !run("curl", &arguments("https://evil.org/".to_owned()), &[])
                .await
                .unwrap()
                .status
                .success()
        );
    }
    let verbose = ["-sSv", "--max-time", "10", "-x", &proxy, "https://evil.org/"].map(str::to_owned);
    let output = run("curl", &verbose, &[]).await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("403 no Egress document lets agent `guest` reach evil.org:443"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_is_let_through_and_its_exception_says_why_it_is_not() {
    let (world, port, files) = world().await;
    let program = "import os, sys, urllib.request\nprint(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())\n";
    let environment = [
        ("https_proxy", format!("http://{}", world.address)),
        ("no_proxy", String::new()),
        ("SSL_CERT_FILE", files.path().join("ca.pem").display().to_string()),
    ];
    let arguments = |url: String| vec!["-c".to_owned(), program.to_owned(), url];
    let asked = arguments(format!("https://api.test:{port}/v1/x"));
    let Some(output) = run("python3", &asked, &environment).await else {
        return;
    };
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "hello",
        "{output:?}"
    );
    let output = run(
        "python3",
        &arguments("https://evil.org/".to_owned()),
        &environment,
    )
    .await
    .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("403 no Egress document lets agent `guest` reach evil.org:443"),
        "{told}"
    );
}
