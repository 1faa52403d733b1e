//! `prometheus.*` against answers as Prometheus 2.42 gives them.

use crate::server::{Answer, Server};
use crate::world::{Hands, line};
use proptest::prelude::*;
use runtime::tools::prometheus::parse_response;
use serde_json::{Value, json};

const VECTOR: &str = r#"{"status":"success","data":{"resultType":"vector","result":[
    {"metric":{"__name__":"up","job":"patient"},"value":[1795255200.123,"1"]},
    {"metric":{"job":"other"},"value":[1795255200.123,"NaN"]}]}}"#;
const MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[
    {"metric":{"job":"patient"},"values":[[1795255200,"0.5"],[1795255260,"+Inf"],[1795255320,"0.25"]]}]}}"#;
/// What 0/0 gives once nobody asks any more.
const ENDED: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[
    {"metric":{},"values":[[1795255200,"NaN"],[1795255260,"0.5"],[1795255320,"NaN"]]},{"metric":{},"values":[]}]}}"#;
const HISTOGRAM: &str = r#"{"status":"success","data":{"resultType":"vector","result":[
    {"metric":{"job":"patient"},"histogram":[1795255200,{"count":"1","sum":"1","buckets":[]}]}]}}"#;
const SCALAR: &str = r#"{"status":"success","data":{"resultType":"scalar","result":[1795255200,"3.5"]}}"#;
const TEXT: &str = r#"{"status":"success","data":{"resultType":"string","result":[1795255200,"hello"]}}"#;
const ALERTS: &str = r#"{"status":"success","data":{"alerts":[{"labels":{"alertname":"Down","severity":"critical"},
    "annotations":{"summary":"it is down"},"state":"firing","activeAt":"2026-11-21T10:00:00.1Z","value":"1e+00"}]}}"#;
const RULES: &str = r#"{"status":"success","data":{"groups":[{"name":"g","file":"r.yml","rules":[
    {"state":"firing","name":"Down","query":"up == 0","duration":60,"labels":{},"annotations":{},
     "alerts":[{"labels":{}}],"health":"ok","evaluationTime":0.001,"lastEvaluation":"2026-11-21T10:00:00Z","type":"alerting"},
    {"name":"rate","query":"rate(x[5m])","health":"err","lastError":"boom","type":"recording"}],"interval":15}]}}"#;
const ERROR: &str =
    r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": parse error"}"#;

#[test]
fn answers_are_read() {
    let part = |body: &str, pointer: &str| {
        let answer = parse_response(body.as_bytes()).unwrap().to_json();
        answer.pointer(pointer).cloned().unwrap_or(json!("absent"))
    };
    #[rustfmt::skip]
    let table = [
        (VECTOR, "/type",                    json!("vector")),
        (VECTOR, "/series/0/labels/job",     json!("patient")),
        (VECTOR, "/series/0/value",          json!(1.0)),
        (VECTOR, "/series/0/time",           json!("2026-11-21T10:00:00.123Z")),
        (VECTOR, "/series/1/value",          json!(null)),
        (MATRIX, "/series/0/points",         json!([[1795255200.0, 0.5], [1795255260.0, null], [1795255320.0, 0.25]])),
        (MATRIX, "/series/0/max",            json!(0.5)),
        (MATRIX, "/series/0/min",            json!(0.25)),
        (MATRIX, "/series/0/last",           json!(0.25)),
        (ENDED,  "/series/0/first",          json!(0.5)),
        (ENDED,  "/series/0/last",           json!(null)),
        (ENDED,  "/series/1/last",           json!(null)),
        (HISTOGRAM, "/series/0/histogram",   json!(true)),
        (HISTOGRAM, "/truncated",            json!(true)),
        (SCALAR, "/series/0/value",          json!(3.5)),
        (TEXT,   "/series/0/value",          json!("hello")),
        (ALERTS, "/alerts/0/labels/severity", json!("critical")),
        (ALERTS, "/alerts/0/value",          json!(1.0)),
        (RULES,  "/rules/0/alerts",          json!(1)),
        (RULES,  "/rules/0/duration",        json!(60)),
        (RULES,  "/rules/1/lastError",       json!("boom")),
        (RULES,  "/truncated",               json!(false)),
    ];
    for (body, pointer, expected) in table {
        assert_eq!(part(body, pointer), expected, "{pointer}");
    }
}

#[test]
fn what_is_no_answer_is_refused_with_its_place() {
    #[rustfmt::skip]
    let table = [
        (ERROR, r#"bad_data: invalid parameter "query": parse error"#),
        ("", "not an answer of Prometheus: "),
        ("<html>", "not an answer of Prometheus: "),
        ("[]", "not an answer of Prometheus: `/status` is neither `success` nor `error`"),
        (r#"{"status":"success"}"#, "not an answer of Prometheus: `/data` is not an object"),
        (r#"{"status":"success","data":[]}"#, "not an answer of Prometheus: `/data` is not an object"),
        (r#"{"status":"success","data":{}}"#, "not an answer of Prometheus: `/data/resultType` is none of vector, matrix, scalar, string"),
        (r#"{"status":"success","data":{"resultType":"vector"}}"#, "not an answer of Prometheus: `/data/result` is not an array"),
        (r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1]}]}}"#, "not an answer of Prometheus: `/data/result/0/value` is not a pair of time and value"),
        (r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}"#, "not an answer of Prometheus: `/data/result/0/value` does not hold a number"),
        (r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":1},"value":[1,"1"]}]}}"#, "not an answer of Prometheus: `/data/result/0/metric` holds a label that is not text"),
        (r#"{"status":"success","data":{"resultType":"vector","result":[7]}}"#, "not an answer of Prometheus: `/data/result/0` holds neither values nor a histogram"),
        (r#"{"status":"success","data":{"alerts":{}}}"#, "not an answer of Prometheus: `/data/alerts` is not an array"),
        (r#"{"status":"success","data":{"groups":[{}]}}"#, "not an answer of Prometheus: `/data/groups/0/rules` is not an array"),
        (r#"{"status":"success","status":"error"}"#, "not an answer of Prometheus: "),
    ];
    for (body, expected) in table {
        let said = parse_response(body.as_bytes()).unwrap_err().to_string();
        assert!(said.starts_with(expected), "{body}: {said}");
    }
}

#[test]
fn answers_are_cut_to_their_limits() {
    let series: Vec<Value> = (0..150)
        .map(|n| json!({"metric": {"n": n.to_string()}, "value": [1, "1"]}))
        .collect();
    let vector = json!({"status": "success", "data": {"resultType": "vector", "result": series}}).to_string();
    let answer = parse_response(vector.as_bytes()).unwrap();
    assert_eq!(
        (answer.items.len(), answer.truncated, answer.summary()),
        (100, true, "100 series (vector), cut".into())
    );
    let points: Vec<Value> = (0..1200).map(|n| json!([n, n.to_string()])).collect();
    let matrix = json!({"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": points}]}});
    let answer = parse_response(matrix.to_string().as_bytes()).unwrap();
    assert!(answer.truncated);
    assert_eq!(answer.items[0]["points"].as_array().unwrap().len(), 1000);
    assert_eq!(
        answer.items[0]["points"][0],
        json!([200.0, 200.0]),
        "the newest are kept"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_response(&bytes);
    }

    #[test]
    fn any_change_of_an_answer_is_read_or_refused(which in 0_usize..6, at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = [VECTOR, MATRIX, SCALAR, ALERTS, RULES, ERROR][which].as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = parse_response(&bytes);
    }
}

#[tokio::test]
async fn operations_ask_the_bound_server_and_no_other() {
    let server = Server::start(|request| {
        let path = request.split([' ', '?']).nth(1).unwrap_or_default();
        match path {
            "/prom/api/v1/query" if request.contains("bad") => Answer::Gives("400 Bad Request", ERROR.into()),
            "/prom/api/v1/query" => Answer::Gives("200 OK", VECTOR.into()),
            "/prom/api/v1/query_range" => Answer::Gives("200 OK", MATRIX.into()),
            "/prom/api/v1/alerts" => Answer::Gives("200 OK", ALERTS.into()),
            "/prom/api/v1/rules" => Answer::Gives("503 Service Unavailable", b"starting".to_vec()),
            _ => Answer::Closes,
        }
    })
    .await;
    let base = format!("http://{}/prom/", server.address);
    let hands =
        Hands::on(json!({"environment": "staging", "tools": [{"type": "prometheus", "url": base}]})).await;
    let range = json!({"query": "rate(x[5m])", "start": "2026-11-21T10:00:00Z", "end": "2026-11-21T10:30:00Z", "step_seconds": 60});
    #[rustfmt::skip]
    let table = [
        ("prometheus.query",       json!({"query": "up{job=\"a b\"}"}), "Success 2 series (vector)"),
        ("prometheus.query",       json!({"query": "bad("}),            r#"Failure bad_data: invalid parameter "query": parse error"#),
        ("prometheus.query_range", range,                               "Success 1 series (matrix)"),
        ("prometheus.alerts",      json!({}),                           "Success 1 alerts"),
        ("prometheus.rules",       json!({}),                           "Failure 503 from "),
    ];
    for (verb, arguments, expected) in table {
        let action = hands.propose(verb, &arguments).await.unwrap();
        assert_eq!(action.resource(), format!("prometheus/{}", server.address));
        let settlement = hands.act_on(action).await.unwrap();
        assert!(
            line(&settlement).starts_with(expected),
            "{verb}: {}",
            line(&settlement)
        );
    }
    assert_eq!(
        server.lines(),
        [
            "GET /prom/api/v1/query?query=up%7Bjob%3D%22a+b%22%7D HTTP/1.1",
            "GET /prom/api/v1/query?query=bad%28 HTTP/1.1",
            "GET /prom/api/v1/query_range?end=2026-11-21T10%3A30%3A00Z&query=rate%28x%5B5m%5D%29&start=2026-11-21T10%3A00%3A00Z&step=60 HTTP/1.1",
            "GET /prom/api/v1/alerts HTTP/1.1",
            "GET /prom/api/v1/rules HTTP/1.1",
        ]
    );
    #[rustfmt::skip]
    let refused = [
        (json!({"query": "x", "start": "yesterday", "end": "2026-11-21T10:00:00Z", "step_seconds": 60}), "argument `/start`: `yesterday` is not an RFC 3339 time"),
        (json!({"query": "x", "start": "2026-11-21T10:00:00Z", "end": "2026-11-21T09:00:00Z", "step_seconds": 60}), "argument `/end`: lies before `start`"),
        (json!({"query": "x", "start": "2026-11-21T10:00:00Z", "end": "2026-11-21T11:00:00Z", "step_seconds": 1}), "argument `/step_seconds`: gives more than 1000 points; use 4 or more"),
    ];
    for (arguments, expected) in refused {
        assert_eq!(
            hands
                .propose("prometheus.query_range", &arguments)
                .await
                .unwrap_err(),
            expected
        );
    }
}

#[tokio::test]
async fn incidents_are_searched() {
    let hands = Hands::on(json!({"environment": "staging", "tools": [{"type": "incidents"}]})).await;
    let settlement = hands
        .act("incidents.search", json!({"words": "Down", "not": "INC-1"}))
        .await
        .unwrap();
    assert_eq!(
        settlement.result,
        json!({"incidents": [{"id": "Down", "not": "INC-1", "limit": 5}]})
    );
    // Text from outside, and what had entered the sessions that the incidents are of.
    let labels = [policy::Taint::Untrusted, policy::Taint::Secrets];
    assert_eq!(settlement.taints, policy::Taints::of(&labels));
    let settlement = hands
        .act("incidents.search", json!({"words": "broken"}))
        .await
        .unwrap();
    assert_eq!(line(&settlement), "Failure no index");
}

/// Ends the peer with the test.
struct Peer(std::process::Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Debian's Prometheus, which watches itself. Left out with a line where it is not installed, unless
/// `COFFERDAM_REQUIRE_PEERS` asks for it.
#[tokio::test]
async fn a_real_prometheus_is_understood() {
    let program = std::path::Path::new("/usr/bin/prometheus");
    if !program.exists() && std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_none() {
        println!("no {}: a real Prometheus is not asked", program.display());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let port = {
        std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    };
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let rules = "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Up\n    expr: up == 1\n    annotations: {summary: it runs}\n  - record: ups\n    expr: sum(up)\n";
    let rules = file("rules.yml", rules.to_owned());
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n- job_name: self\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n",
        rules.display()
    );
    let config = file("prometheus.yml", config);
    let child = std::process::Command::new(program)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            directory.path().join("data").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _peer = Peer(child);
    let url = format!("http://127.0.0.1:{port}");
    let hands =
        Hands::on(json!({"environment": "staging", "tools": [{"type": "prometheus", "url": url}]})).await;
    let mut fired = Value::Null;
    for _ in 0..60 {
        // Each try is an action of its own; the agent may take 120 in a minute.
        let alerts = hands.act("prometheus.alerts", json!({})).await.unwrap();
        if alerts.result["alerts"][0]["state"] == "firing" {
            fired = alerts.result["alerts"][0].clone();
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert_eq!(
        (&fired["labels"]["alertname"], &fired["value"]),
        (&json!("Up"), &json!(1.0)),
        "{fired}"
    );
    assert_eq!(fired["annotations"]["summary"], "it runs");
    let vector = hands
        .act("prometheus.query", json!({"query": "up"}))
        .await
        .unwrap()
        .result;
    assert_eq!(
        (
            &vector["series"][0]["labels"]["job"],
            &vector["series"][0]["value"]
        ),
        (&json!("self"), &json!(1.0))
    );
    let time = vector["series"][0]["time"].as_str().unwrap().to_owned();
    let start = policy::Timestamp::parse(&time)
        .unwrap()
        .plus_ms(-60_000)
        .to_string();
    let range = json!({"query": "up", "start": start, "end": time, "step_seconds": 1});
    let matrix = hands.act("prometheus.query_range", range).await.unwrap().result;
    assert_eq!(
        (&matrix["type"], &matrix["series"][0]["last"]),
        (&json!("matrix"), &json!(1.0))
    );
    let rules = hands.act("prometheus.rules", json!({})).await.unwrap().result;
    let names: Vec<&str> = rules["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| r["name"].as_str())
        .collect();
    assert_eq!(names, ["Up", "ups"]);
    let refused = hands
        .act("prometheus.query", json!({"query": "up{"}))
        .await
        .unwrap();
    assert!(
        line(&refused).starts_with("Failure bad_data: "),
        "{}",
        line(&refused)
    );
}
