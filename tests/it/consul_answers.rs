//! What our mock of Consul answers, beside what a real agent answers to the same requests in the same order.

use crate::registry::{Registry, Said};
use rpcplugin_testkit::{Value, json};

/// One request after the other.
fn requests() -> Vec<(&'static str, String, String)> {
    let service = |id: &str, name: &str, more: Value| {
        let mut body = json!({"ID": id, "Name": name, "Address": "10.0.0.1", "Port": 80});
        let map = body.as_object_mut().expect("it is one");
        map.extend(more.as_object().expect("it is one").clone());
        body.to_string()
    };
    let register = "/v1/agent/service/register";
    let ttl = |status: &str| json!({"Check": {"TTL": "1h", "Status": status}, "Tags": ["a", "b"], "Meta": {"zone": "eu"}});
    let two = json!({"Checks": [{"TTL": "1h"}, {"TTL": "1h", "Status": "warning"}]});
    let weights = json!({"Weights": {"Passing": 3, "Warning": 2}, "Address": ""});
    let table: [(&str, &str, String); 44] = [
        ("GET", "/v1/health/service/kv", String::new()),
        ("PUT", register, service("kv-1", "kv", ttl("passing"))),
        ("GET", "/v1/health/service/kv?passing", String::new()),
        ("PUT", register, service("kv-2", "kv", ttl("critical"))),
        ("PUT", register, service("kv-3", "kv", weights)),
        ("PUT", register, service("other", "other", two)),
        ("GET", "/v1/health/service/kv", String::new()),
        ("GET", "/v1/health/service/kv?passing=true", String::new()),
        ("GET", "/v1/health/service/kv?passing=false", String::new()),
        ("GET", "/v1/health/service/kv?tag=a", String::new()),
        ("GET", "/v1/health/service/kv?tag=a&tag=c", String::new()),
        (
            "GET",
            "/v1/health/service/kv?filter=Service.Meta.zone%3D%3Deu",
            String::new(),
        ),
        (
            "GET",
            "/v1/health/service/kv?near=_agent&stale",
            String::new(),
        ),
        ("GET", "/v1/health/service/other", String::new()),
        ("GET", "/v1/catalog/service/kv", String::new()),
        ("GET", "/v1/agent/services", String::new()),
        ("GET", "/v1/agent/checks", String::new()),
        (
            "PUT",
            "/v1/agent/check/fail/service:kv-1?note=why",
            String::new(),
        ),
        ("GET", "/v1/health/service/kv?passing", String::new()),
        ("PUT", "/v1/agent/check/warn/service:kv-1", String::new()),
        ("GET", "/v1/health/service/kv", String::new()),
        ("PUT", "/v1/agent/check/pass/service:other:2", String::new()),
        ("PUT", "/v1/agent/check/pass/service:other:1", String::new()),
        ("GET", "/v1/health/service/other?passing", String::new()),
        (
            "PUT",
            "/v1/agent/check/update/service:kv-1",
            json!({"Status": "passing", "Output": "well"}).to_string(),
        ),
        ("GET", "/v1/health/service/kv?passing", String::new()),
        ("PUT", "/v1/agent/check/pass/nothing", String::new()),
        (
            "PUT",
            "/v1/agent/check/update/service:kv-1",
            json!({"Status": "fine"}).to_string(),
        ),
        (
            "PUT",
            "/v1/agent/check/register",
            json!({"Name": "more", "ServiceID": "kv-1", "TTL": "1h", "Status": "passing"})
                .to_string(),
        ),
        ("GET", "/v1/health/service/kv", String::new()),
        ("PUT", "/v1/agent/check/deregister/more", String::new()),
        ("GET", "/v1/health/service/kv", String::new()),
        ("PUT", register, "no json".to_owned()),
        ("PUT", register, json!({"ID": "nameless"}).to_string()),
        (
            "PUT",
            register,
            json!({"Name": "x", "Port": "80"}).to_string(),
        ),
        (
            "PUT",
            register,
            service("x", "x", json!({"Check": {"TTL": "soon"}})),
        ),
        (
            "PUT",
            register,
            service("x", "x", json!({"Check": {"TTL": "1h", "Status": "fine"}})),
        ),
        ("POST", register, String::new()),
        ("PUT", "/v1/health/service/kv", String::new()),
        ("GET", "/v1/health/service/kv?index=x", String::new()),
        ("GET", "/v1/health/service/kv?index=1&wait=x", String::new()),
        ("GET", "/v1/nothing/at/all", String::new()),
        ("PUT", "/v1/agent/service/deregister/kv-1", String::new()),
        (
            "GET",
            "/v1/health/service/kv?index=1&wait=10m",
            String::new(),
        ),
    ];
    let owned =
        |(method, path, body): (&'static str, &str, String)| (method, path.to_owned(), body);
    table.into_iter().map(owned).collect()
}

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
    for (method, path, body) in requests() {
        let (real, mock) = (
            real.ask(method, &path, &body).await,
            mock.ask(method, &path, &body).await,
        );
        let [ours, theirs] = [&mock, &real].map(|said| essence(&path, said));
        if ours != theirs {
            different.push(format!(
                "{method} {path} {body}\n  real: {theirs}\n  mock: {ours}"
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
