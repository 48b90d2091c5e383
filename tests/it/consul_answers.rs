//! What our mock of Consul answers, beside what a real agent answers to the same requests in the same order.

use crate::registry::{Registry, Said};
use rpcplugin_testkit::{Value, json};

/// One request after the other: what, where, and its body.
const REQUESTS: &str = r#"
GET /v1/health/service/kv
PUT /v1/agent/service/register {"ID": "kv-1", "Name": "kv", "Address": "10.0.0.1", "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}, "Tags": ["a", "b"], "Meta": {"zone": "eu"}}
GET /v1/health/service/kv?passing
PUT /v1/agent/service/register {"ID": "kv-2", "Name": "kv", "Address": "10.0.0.1", "Port": 80, "Check": {"TTL": "1h", "Status": "critical"}, "Tags": ["a", "b"], "Meta": {"zone": "eu"}}
PUT /v1/agent/service/register {"ID": "kv-3", "Name": "kv", "Address": "", "Port": 80, "Weights": {"Passing": 3, "Warning": 2}}
PUT /v1/agent/service/register {"ID": "other", "Name": "other", "Address": "10.0.0.1", "Port": 80, "Checks": [{"TTL": "1h"}, {"TTL": "1h", "Status": "warning"}]}
GET /v1/health/service/kv
GET /v1/health/service/kv?passing=true
GET /v1/health/service/kv?passing=false
GET /v1/health/service/kv?tag=a
GET /v1/health/service/kv?tag=a&tag=c
GET /v1/health/service/kv?filter=Service.Meta.zone%3D%3Deu
GET /v1/health/service/kv?near=_agent&stale
GET /v1/health/service/other
GET /v1/catalog/service/kv
GET /v1/agent/services
GET /v1/agent/checks
PUT /v1/agent/check/fail/service:kv-1?note=why
GET /v1/health/service/kv?passing
PUT /v1/agent/check/warn/service:kv-1
GET /v1/health/service/kv
PUT /v1/agent/check/pass/service:other:2
PUT /v1/agent/check/pass/service:other:1
GET /v1/health/service/other?passing
PUT /v1/agent/check/update/service:kv-1 {"Status": "passing", "Output": "well"}
GET /v1/health/service/kv?passing
PUT /v1/agent/check/pass/nothing
PUT /v1/agent/check/update/service:kv-1 {"Status": "fine"}
PUT /v1/agent/check/register {"Name": "more", "ServiceID": "kv-1", "TTL": "1h", "Status": "passing"}
GET /v1/health/service/kv
PUT /v1/agent/check/deregister/more
GET /v1/health/service/kv
PUT /v1/agent/service/register no json
PUT /v1/agent/service/register {"ID": "nameless"}
PUT /v1/agent/service/register {"Name": "x", "Port": "80"}
PUT /v1/agent/service/register {"Name": "x", "Check": {"TTL": "soon"}}
PUT /v1/agent/service/register {"Name": "x", "Check": {"TTL": "1h", "Status": "fine"}}
POST /v1/agent/service/register
PUT /v1/health/service/kv
GET /v1/health/service/kv?index=x
GET /v1/health/service/kv?index=1&wait=x
GET /v1/nothing/at/all
PUT /v1/agent/service/deregister/kv-1
GET /v1/health/service/kv?index=1&wait=10m
"#;

/// What both have to say alike.
fn essence(path: &str, said: &Said) -> Value {
    if said.code != 200 {
        return json!({"code": said.code});
    }
    let body: Value = serde_json::from_str(&said.body).unwrap_or(Value::Null);
    let instance = |entry: &Value| {
        let (service, checks) = (&entry["Service"], &entry["Checks"]);
        let checks = checks.as_array().into_iter().flatten().map(|check| {
            let fields = [
                "CheckID",
                "Name",
                "Status",
                "Output",
                "ServiceID",
                "ServiceName",
            ];
            fields.map(|field| check[field].clone())
        });
        let mut checks: Vec<_> = checks.collect();
        checks.sort_by_key(|check| check[0].to_string());
        let fields = [
            "ID", "Service", "Tags", "Address", "Port", "Meta", "Weights",
        ];
        json!({"service": fields.map(|field| service[field].clone()), "checks": checks})
    };
    let flat = |entry: &Value, fields: &[&str]| -> Value {
        fields.iter().map(|field| entry[field].clone()).collect()
    };
    let essence: Value = match (path, &body) {
        (path, Value::Array(all)) if path.starts_with("/v1/health") => {
            all.iter().map(instance).collect()
        }
        (path, Value::Array(all)) if path.starts_with("/v1/catalog") => {
            let fields = [
                "ServiceID",
                "ServiceName",
                "ServiceAddress",
                "ServicePort",
                "ServiceTags",
                "ServiceMeta",
            ];
            all.iter().map(|entry| flat(entry, &fields)).collect()
        }
        ("/v1/agent/services", Value::Object(all)) => all
            .values()
            .map(|entry| flat(entry, &["ID", "Service", "Tags", "Address", "Port"]))
            .collect(),
        ("/v1/agent/checks", Value::Object(all)) => all
            .values()
            .map(|entry| flat(entry, &["CheckID", "Status", "ServiceID"]))
            .collect(),
        _ => Value::Null,
    };
    json!({"code": 200, "body": essence})
}

#[tokio::test]
#[ignore = "needs a Consul agent: TESTKIT_CONSUL is its binary"]
async fn the_mock_answers_as_a_real_agent_does() {
    let (real, mock) = (Registry::real().await, Registry::mock().await);
    let mut different = Vec::new();
    for line in REQUESTS.lines().filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(3, ' ');
        let [method, path, body] = std::array::from_fn(|_| parts.next().unwrap_or_default());
        let real = real.ask(method, path, body).await;
        let mock = mock.ask(method, path, body).await;
        let [ours, theirs] = [&mock, &real].map(|said| essence(path, said));
        if ours != theirs {
            different.push(format!("{line}\n  real: {theirs}\n  mock: {ours}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
