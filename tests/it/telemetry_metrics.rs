//! The metrics of the client, by the names of gRPC's proposals A66, A94 and A96.

use crate::support::{Transport, echo_schema, within};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{ClientBuilder, ClientEvent, Hedge, RetryPolicy};
use rpcplugin_testkit::mock::GoAway;
use rpcplugin_testkit::{
    Client, Code, Compression, Fault, MockServer, Reason, Reply, Status, Stub, json,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::{collections::BTreeMap, time::Duration};

/// What was measured, by name and labels: the sum of a counter or gauge, and all values of a histogram.
#[derive(Clone, Default)]
struct Measured(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

struct One {
    name: String,
    all: Measured,
}

impl One {
    fn with(&self, with: impl FnOnce(&mut Vec<f64>)) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        with(all.entry(self.name.clone()).or_default());
    }

    fn add(&self, value: f64) {
        self.with(|values| match values.first_mut() {
            Some(sum) => *sum += value,
            None => values.push(value),
        });
    }
}

impl CounterFn for One {
    fn increment(&self, value: u64) {
        self.add(f64::from(u32::try_from(value).expect("a small number")));
    }

    fn absolute(&self, value: u64) {
        panic!("{} is {value}", self.name);
    }
}

impl GaugeFn for One {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        panic!("{} is {value}", self.name);
    }
}

impl HistogramFn for One {
    fn record(&self, value: f64) {
        self.with(|values| values.push(value));
    }
}

impl Measured {
    fn one(&self, key: &Key) -> Arc<One> {
        let labels = key
            .labels()
            .map(|one| format!("{}={}", one.key(), one.value()));
        let labels = labels.collect::<Vec<_>>().join(", ");
        let name = format!("{}{{{labels}}}", key.name());
        Arc::new(One {
            name,
            all: self.clone(),
        })
    }

    fn take(&self) -> Vec<(String, Vec<f64>)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *all).into_iter().collect()
    }

    fn value(&self, name: &str) -> Option<Vec<f64>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name).cloned()
    }
}

impl Recorder for Measured {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.one(key))
    }
}

fn exact() -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    policy.backoff.jitter = 0.0;
    policy
}

fn builder(server: &MockServer) -> ClientBuilder {
    let builder = Client::builder().address(server.address());
    builder.schema(echo_schema()).retry(exact())
}

/// `S` stands for the labels of a method on a server, and `T` for that of the server.
fn expected(server: &MockServer, table: &[(&str, &[f64])]) -> Vec<(String, Vec<f64>)> {
    let target = format!("grpc.target={}", server.address());
    let method = format!("grpc.method=echo.v1.Echo/Say, {target}");
    let mut rows: Vec<_> = table
        .iter()
        .map(|(name, values)| {
            let name = name.replace("{S", &format!("{{{method}"));
            (name.replace("{T", &format!("{{{target}")), values.to_vec())
        })
        .collect();
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    rows
}

#[tokio::test(start_paused = true)]
async fn calls_and_attempts_are_measured_as_a66_and_a96_say() {
    let measured = Measured::default();
    let _guard = metrics::set_default_local_recorder(&measured);
    let server = Transport::Memory.start_echo().await;
    let slow = Reply::json(json!({})).delay(Duration::from_millis(250));
    server.mount(Stub::any().reply(slow));
    let client = within(builder(&server).connect()).await.unwrap();
    measured.take();
    let say = || client.call("Echo/Say", json!({}));

    within(say().into_future()).await.unwrap();
    let table: &[(&str, &[f64])] = &[
        ("grpc.client.attempt.started{S}", &[1.0]),
        ("grpc.client.attempt.duration{S, grpc.status=OK}", &[0.25]),
        ("grpc.client.call.duration{S, grpc.status=OK}", &[0.25]),
    ];
    assert_eq!(but_sizes(measured.take()), expected(&server, table));

    // Refused once, and full twice.
    server.inject(Fault::reset(Reason::REFUSED_STREAM).nth_call(1));
    server.inject(Fault::status(Status::unavailable("full")).nth_call(2..=3));
    within(say().idempotent().into_future()).await.unwrap();
    let table: &[(&str, &[f64])] = &[
        ("grpc.client.attempt.started{S}", &[4.0]),
        (
            "grpc.client.attempt.duration{S, grpc.status=UNAVAILABLE}",
            &[0.25, 0.0, 0.0],
        ),
        ("grpc.client.attempt.duration{S, grpc.status=OK}", &[0.25]),
        ("grpc.client.call.duration{S, grpc.status=OK}", &[0.8]),
        ("grpc.client.call.retries{S}", &[2.0]),
        ("grpc.client.call.retry_delay{S}", &[0.3]),
        ("grpc.client.call.transparent_retries{S}", &[1.0]),
    ];
    assert_eq!(but_sizes(measured.take()), expected(&server, table));

    // A call that fails has been repeated, too.
    let full = server.inject(Fault::status(Status::unavailable("full")));
    within(say().idempotent().into_future()).await.unwrap_err();
    full.remove();
    let table: &[(&str, &[f64])] = &[
        ("grpc.client.attempt.started{S}", &[4.0]),
        (
            "grpc.client.attempt.duration{S, grpc.status=UNAVAILABLE}",
            &[0.0; 4],
        ),
        (
            "grpc.client.call.duration{S, grpc.status=UNAVAILABLE}",
            &[0.7],
        ),
        ("grpc.client.call.retries{S}", &[3.0]),
        ("grpc.client.call.retry_delay{S}", &[0.7]),
    ];
    assert_eq!(but_sizes(measured.take()), expected(&server, table));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_measured_as_cancelled() {
    let measured = Measured::default();
    let _guard = metrics::set_default_local_recorder(&measured);
    let server = Transport::Memory.start_echo().await;
    server.mount(Stub::any().reply(Reply::never()));
    let client = within(builder(&server).connect()).await.unwrap();
    measured.take();
    let call = client.call("Echo/Say", json!({})).into_future();
    let limit = Duration::from_millis(125);
    tokio::time::timeout(limit, call).await.unwrap_err();
    let table: &[(&str, &[f64])] = &[
        ("grpc.client.attempt.started{S}", &[1.0]),
        (
            "grpc.client.attempt.duration{S, grpc.status=CANCELLED}",
            &[0.125],
        ),
        (
            "grpc.client.call.duration{S, grpc.status=CANCELLED}",
            &[0.125],
        ),
    ];
    assert_eq!(but_sizes(measured.take()), expected(&server, table));
}

#[tokio::test]
async fn messages_are_measured_as_they_go_over_the_wire() {
    let measured = Measured::default();
    let _guard = metrics::set_default_local_recorder(&measured);
    let server = Transport::Memory.start_echo().await;
    server.mount(Stub::any().reply(json!({"message": "a".repeat(100)})));
    let client = within(builder(&server).connect()).await.unwrap();
    measured.take();
    let mut sizes = Vec::new();
    for compression in [None, Some(Compression::Gzip)] {
        let said = json!({"message": "b".repeat(98)});
        let call = client.call("Echo/Say", said).compress(compression);
        within(call.into_future()).await.unwrap();
        let seen = measured.take().into_iter();
        sizes.push(seen.filter(|(name, _)| is_size(name)).collect::<Vec<_>>());
    }
    let table: &[(&str, &[f64])] = &[
        (
            "grpc.client.attempt.rcvd_total_compressed_message_size{S, grpc.status=OK}",
            &[102.0],
        ),
        (
            "grpc.client.attempt.sent_total_compressed_message_size{S, grpc.status=OK}",
            &[100.0],
        ),
    ];
    assert_eq!(sizes[0], expected(&server, table));
    let sent = sizes[1][1].1[0];
    assert!(sent > 0.0 && sent < 50.0, "{sent} bytes of gzip");
}

fn is_size(name: &str) -> bool {
    name.contains("_total_compressed_message_size")
}

fn but_sizes(seen: Vec<(String, Vec<f64>)>) -> Vec<(String, Vec<f64>)> {
    let others = seen.into_iter().filter(|(name, _)| !is_size(name));
    others.collect()
}

#[tokio::test(start_paused = true)]
async fn hedges_are_measured() {
    let measured = Measured::default();
    let _guard = metrics::set_default_local_recorder(&measured);
    let server = Transport::Memory.start_echo().await;
    server.mount(Stub::any().reply(Reply::json(json!({})).delay(Duration::from_millis(125))));
    let hedge = Hedge {
        delay: Duration::from_millis(50),
        attempts: 5,
    };
    let client = builder(&server).retry(exact().hedge(hedge));
    let client = within(client.connect()).await.unwrap();
    measured.take();
    let call = client.call("Echo/Say", json!({})).idempotent();
    within(call.into_future()).await.unwrap();
    for call in server.calls() {
        within(call.ended()).await;
    }
    let table: &[(&str, &[f64])] = &[
        ("grpc.client.attempt.started{S}", &[3.0]),
        ("grpc.client.attempt.duration{S, grpc.status=OK}", &[0.125]),
        (
            "grpc.client.attempt.duration{S, grpc.status=CANCELLED}",
            &[0.075, 0.025],
        ),
        ("grpc.client.call.duration{S, grpc.status=OK}", &[0.125]),
        ("grpc.client.call.hedges{S}", &[2.0]),
    ];
    let mut seen = but_sizes(measured.take());
    // The two that are given up are given up in any order.
    for (name, values) in &mut seen {
        if name.contains("CANCELLED") {
            values.sort_by(|one, other| other.total_cmp(one));
        }
    }
    assert_eq!(seen, expected(&server, table));
}

/// How a client lets go of a connection.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    Closes,
    Drops,
    Removes,
}

#[tokio::test(start_paused = true)]
async fn connections_are_measured_as_a94_says() {
    for leaves in [Leaves::Closes, Leaves::Drops, Leaves::Removes] {
        let measured = Measured::default();
        let _guard = metrics::set_default_local_recorder(&measured);
        let server = Transport::Memory.start_echo().await;
        server.mount(Stub::any().reply(json!({})));
        let client = within(builder(&server).connect()).await.unwrap();
        let table: &[(&str, &[f64])] = &[
            ("grpc.subchannel.connection_attempts_succeeded{T}", &[1.0]),
            ("grpc.subchannel.open_connections{T}", &[1.0]),
        ];
        assert_eq!(measured.take(), expected(&server, table));
        let mut events = client.events();
        let farewell = server.inject(Fault::go_away(GoAway::graceful()));
        let lost = events.wait_for(|event| matches!(event, ClientEvent::Lost { .. }));
        within(lost).await.unwrap();
        farewell.remove();
        let gone = "grpc.subchannel.disconnections{T, grpc.disconnect_error=GOAWAY NO_ERROR}";
        let table: &[(&str, &[f64])] = &[
            ("grpc.subchannel.open_connections{T}", &[-1.0]),
            (gone, &[1.0]),
        ];
        assert_eq!(measured.take(), expected(&server, table), "{leaves:?}");

        server.kill().await;
        let call = || client.call("Echo/Say", json!({}));
        let error = within(call().into_future()).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable));
        let failed = &expected(
            &server,
            &[("grpc.subchannel.connection_attempts_failed{T}", &[])],
        )[0];
        assert_eq!(measured.value(&failed.0), Some(vec![1.0]));
        server.restart().await;
        within(call().wait_for_ready().into_future()).await.unwrap();
        measured.take();

        match leaves {
            Leaves::Closes => within(client.close()).await,
            Leaves::Drops => drop(client),
            Leaves::Removes => assert!(client.remove_endpoint(server.address()).unwrap()),
        }
        let gone = "grpc.subchannel.disconnections{T, grpc.disconnect_error=subchannel shutdown}";
        let table: &[(&str, &[f64])] = &[
            ("grpc.subchannel.open_connections{T}", &[-1.0]),
            (gone, &[1.0]),
        ];
        assert_eq!(measured.take(), expected(&server, table), "{leaves:?}");
    }
}
