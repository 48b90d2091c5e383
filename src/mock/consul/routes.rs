//! What an agent answers.

use crate::mock::consul::catalog::{Catalog, DATACENTER, Entry, NODE};
use crate::mock::consul::filter::Filter;
use crate::mock::consul::instance::CheckStatus;
use crate::mock::consul::query::Query;
use crate::mock::consul::registering;
use crate::mock::consul::state::State;
use crate::mock::consul::tokens::Right;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until};

/// A request, as far as an answer depends on it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// Its segments, decoded, without `v1`.
    pub(super) path: Vec<String>,
    pub(super) query: Query,
    pub(super) token: Option<String>,
    /// The body; `Err` for one that is no JSON.
    pub(super) body: Result<Value, String>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: StatusCode,
    pub(super) body: String,
    pub(super) index: Option<u64>,
    pub(super) is_json: bool,
    /// Whether the token lets see less than there is.
    pub(super) is_filtered: bool,
}

impl Said {
    fn json(value: &Value) -> Self {
        Self {
            is_json: true,
            ..Self::text(StatusCode::OK, value.to_string())
        }
    }

    pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self {
            status,
            body: body.into(),
            index: None,
            is_json: false,
            is_filtered: false,
        }
    }

    fn done() -> Self {
        Self::text(StatusCode::OK, "")
    }

    fn bad(why: impl Into<String>) -> Self {
        Self::text(StatusCode::BAD_REQUEST, why)
    }

    fn forbidden(why: &str) -> Self {
        Self::text(StatusCode::FORBIDDEN, why)
    }
}

const UNKNOWN_TOKEN: &str = "ACL not found";

/// Answers a request, as soon as there is something to say.
pub(super) async fn answer(state: &State, asked: &Asked) -> Said {
    let path: Vec<_> = asked.path.iter().map(String::as_str).collect();
    let reads = match &path[..] {
        ["health", "service", service] => Some(Reads::Health(service)),
        ["catalog", "service", service] => Some(Reads::Catalog(service)),
        ["catalog", "services"] => Some(Reads::Services),
        _ => None,
    };
    match (reads, &asked.method) {
        (Some(reads), &Method::GET) => read(state, asked, reads).await,
        (Some(_), _) => not_allowed(&asked.method, "GET"),
        (None, _) => at_once(state, asked, &path),
    }
}

fn not_allowed(method: &Method, allowed: &str) -> Said {
    let text = format!("method {method} not allowed; expected {allowed}");
    Said::text(StatusCode::METHOD_NOT_ALLOWED, text)
}

/// What can be waited for.
#[derive(Clone, Copy, Debug)]
enum Reads<'a> {
    Catalog(&'a str),
    Health(&'a str),
    Services,
}

impl Reads<'_> {
    fn index(self, catalog: &Catalog) -> u64 {
        match self {
            Self::Catalog(service) | Self::Health(service) => catalog.index_of(service),
            Self::Services => catalog.index,
        }
    }
}

/// A [blocking query](https://developer.hashicorp.com/consul/api-docs/features/blocking).
async fn read(state: &State, asked: &Asked, reads: Reads<'_>) -> Said {
    let query = &asked.query;
    if query
        .first("dc")
        .is_some_and(|dc| !["", DATACENTER].contains(&dc))
    {
        return Said::text(StatusCode::INTERNAL_SERVER_ERROR, "No path to datacenter");
    }
    let filter = query.first("filter").filter(|text| !text.is_empty());
    let filter = match filter.map(Filter::parse).transpose() {
        Ok(filter) => filter,
        Err(why) => {
            let text = format!("Failed to create boolean expression evaluator: {why}");
            return Said::bad(text);
        }
    };
    let (index, wait) = match (query.index(), query.wait()) {
        (Ok(index), Ok(wait)) => (index, wait),
        (Err(why), _) | (_, Err(why)) => return Said::bad(why),
    };
    wait_for(state, index, Instant::now() + wait, reads).await;
    let catalog = state.catalog();
    let mut said = match reads {
        Reads::Services => services(state, &catalog, asked),
        Reads::Health(service) => instances(state, &catalog, asked, service, filter.as_ref(), true),
        Reads::Catalog(service) => {
            instances(state, &catalog, asked, service, filter.as_ref(), false)
        }
    };
    // Consul tells it to those only who have a token, so that others learn nothing.
    said.is_filtered &= asked.token.as_ref().is_some_and(|token| !token.is_empty());
    // 0 would be asked for again and again.
    said.index = Some(reads.index(&catalog).max(1));
    said
}

/// Waits until there is something beyond that index, or the time has passed, or somebody is impatient.
async fn wait_for(state: &State, index: Option<u64>, until: Instant, reads: Reads<'_>) {
    let Some(index) = index else {
        return;
    };
    let mut changes = state.changes.subscribe();
    let mut wakes = state.wakes.subscribe();
    let is_new = || reads.index(&state.catalog()) > index;
    if is_new() {
        return;
    }
    let _waiting = Waiting::begin(state);
    loop {
        tokio::select! {
            _ = changes.changed() => if is_new() { return },
            _ = wakes.changed() => return,
            () = sleep_until(until) => return,
        }
    }
}

/// One that waits, counted as long as it does.
struct Waiting<'a>(&'a State);

impl<'a> Waiting<'a> {
    fn begin(state: &'a State) -> Self {
        state.waiting.send_modify(|waiting| *waiting += 1);
        Self(state)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

fn services(state: &State, catalog: &Catalog, asked: &Asked) -> Said {
    let tokens = state.tokens();
    let mut services = Map::new();
    let mut is_filtered = false;
    for entry in catalog.entries.values() {
        let instance = &entry.instance;
        match tokens.right(asked.token.as_deref(), Some(&instance.service)) {
            Right::Unknown => return Said::forbidden(UNKNOWN_TOKEN),
            Right::Missing => is_filtered = true,
            Right::Granted => {
                let tags = services
                    .entry(&instance.service)
                    .or_insert_with(|| json!([]));
                let tags = tags.as_array_mut().into_iter();
                for tags in tags {
                    for tag in &instance.tags {
                        if !tags.iter().any(|known| known == tag.as_str()) {
                            tags.push(tag.as_str().into());
                        }
                    }
                }
            }
        }
    }
    Said {
        is_filtered,
        ..Said::json(&services.into())
    }
}

fn instances(
    state: &State,
    catalog: &Catalog,
    asked: &Asked,
    service: &str,
    filter: Option<&Filter>,
    with_health: bool,
) -> Said {
    let has_any = catalog.of_service(service).next().is_some();
    match state.tokens().right(asked.token.as_deref(), Some(service)) {
        Right::Granted => {}
        Right::Unknown => return Said::forbidden(UNKNOWN_TOKEN),
        Right::Missing => {
            return Said {
                is_filtered: has_any,
                ..Said::json(&json!([]))
            };
        }
    }
    let query = &asked.query;
    let passing = with_health && query.is_on("passing");
    let is_asked_for = |entry: &&Entry| {
        let mut tags = query.all("tag");
        tags.all(|tag| entry.instance.tags.iter().any(|one| one == tag))
            && (!passing || entry.status().max(catalog.node) == CheckStatus::Passing)
    };
    let entries = catalog.of_service(service).filter(is_asked_for);
    let elements = entries.map(|entry| match with_health {
        true => entry.health(catalog.node),
        false => {
            let service = entry.service();
            json!({
                "Node": NODE, "Address": "127.0.0.1", "Datacenter": DATACENTER, "ServiceID": service["ID"],
                "ServiceName": service["Service"], "ServiceAddress": service["Address"],
                "ServicePort": service["Port"], "ServiceTags": service["Tags"],
                "ServiceMeta": entry.instance.meta, "ServiceWeights": service["Weights"],
            })
        }
    });
    let accepted = elements.filter(|element| filter.is_none_or(|filter| filter.accepts(element)));
    Said::json(&accepted.collect())
}

/// What is answered without waiting.
fn at_once(state: &State, asked: &Asked, path: &[&str]) -> Said {
    let is_get = asked.method == Method::GET;
    let is_put = asked.method == Method::PUT;
    match path {
        ["status", "leader"] if is_get => Said::json(&"127.0.0.1:8300".into()),
        ["agent", "self"] if is_get => Said::json(
            &json!({"Config": {"Datacenter": DATACENTER, "NodeName": NODE, "Server": true}}),
        ),
        ["agent", "services"] if is_get => {
            let catalog = state.catalog();
            let entries = catalog.entries.iter();
            let services: Map<_, _> = entries
                .map(|(id, entry)| (id.clone(), entry.service()))
                .collect();
            Said::json(&services.into())
        }
        ["agent", "checks"] if is_get => {
            let catalog = state.catalog();
            let entries = catalog.entries.values();
            let checks = entries.flat_map(|entry| {
                let checks = entry.checks.iter();
                checks.map(|(id, check)| (id.clone(), entry.check(id, check)))
            });
            Said::json(&checks.collect::<Map<_, _>>().into())
        }
        ["agent", "service", "register"] if is_put => register(state, asked),
        ["agent", "service", "deregister", id] if is_put => deregister(state, asked, id),
        ["agent", "check", "register"] if is_put => register_check(state, asked),
        ["agent", "check", "deregister", id] if is_put => {
            state.edit(|catalog| catalog.drop_check(id));
            Said::done()
        }
        ["agent", "check", verb, id] if is_put => update(state, asked, verb, id),
        ["status", "leader"] | ["agent", "self" | "services" | "checks"] => {
            not_allowed(&asked.method, "GET")
        }
        ["agent", "service" | "check", ..] => not_allowed(&asked.method, "PUT"),
        _ => Said::text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// Why this token may not change a service, if it may not.
fn refused(state: &State, asked: &Asked, service: &str) -> Option<Said> {
    match state.tokens().right(asked.token.as_deref(), Some(service)) {
        Right::Granted => None,
        Right::Missing => {
            let text = format!("Permission denied: Missing service:write on {service}");
            Some(Said::forbidden(&text))
        }
        Right::Unknown => Some(Said::forbidden(UNKNOWN_TOKEN)),
    }
}

fn register(state: &State, asked: &Asked) -> Said {
    let told = asked.body.as_ref().map_err(Clone::clone);
    let told = told.and_then(|body| registering::service(body, Instant::now()));
    match told {
        Err(why) => Said::bad(why),
        Ok((instance, checks)) => refused(state, asked, &instance.service).unwrap_or_else(|| {
            state.edit(|catalog| catalog.register(instance, checks));
            Said::done()
        }),
    }
}

fn deregister(state: &State, asked: &Asked, id: &str) -> Said {
    let known = state
        .catalog()
        .entries
        .get(id)
        .map(|entry| entry.instance.service.clone());
    let Some(service) = known else {
        let text = format!(
            "Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name."
        );
        return Said::text(StatusCode::NOT_FOUND, text);
    };
    refused(state, asked, &service).unwrap_or_else(|| {
        state.edit(|catalog| catalog.deregister(id));
        Said::done()
    })
}

fn register_check(state: &State, asked: &Asked) -> Said {
    let told = asked.body.as_ref().map_err(Clone::clone);
    let told = told.and_then(|body| registering::check(body, Instant::now()));
    match told {
        Err(why) => Said::bad(why),
        Ok((service, id, check)) => state.edit(|catalog| match catalog.entries.get(&service) {
            None => Said::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("ServiceID {service:?} does not exist"),
            ),
            Some(entry) => {
                let (instance, mut checks) = (entry.instance.clone(), entry.checks.clone());
                checks.insert(id, check);
                catalog.register(instance, checks);
                Said::done()
            }
        }),
    }
}

/// A check is told how it is.
fn update(state: &State, asked: &Asked, verb: &str, id: &str) -> Said {
    let body = asked.body.as_ref().ok();
    let said = |key: &str| body.and_then(|body| body.get(key)).and_then(Value::as_str);
    let status = match verb {
        "pass" => Some(CheckStatus::Passing),
        "warn" => Some(CheckStatus::Warning),
        "fail" => Some(CheckStatus::Critical),
        "update" => said("Status").and_then(CheckStatus::parse),
        _ => return Said::text(StatusCode::NOT_FOUND, "404 page not found\n"),
    };
    let Some(status) = status else {
        let text = format!(
            "Invalid check status: {:?}",
            said("Status").unwrap_or_default()
        );
        return Said::bad(text);
    };
    let output = said("Output")
        .or_else(|| asked.query.first("note"))
        .unwrap_or_default()
        .to_owned();
    let updated = state.edit(|catalog| catalog.update(id, status, &output, Instant::now()));
    match updated {
        true => Said::done(),
        false => {
            let text = format!("CheckID {id:?} does not have associated TTL");
            Said::text(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}
