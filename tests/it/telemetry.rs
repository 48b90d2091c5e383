//! What is seen of calls and connections: `tracing`, counts and events.

use crate::removal::{connect, quick, until};
use crate::support::{Transport, echo_schema, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{ClientEvent, EndpointStats, Events, RetryPolicy};
use rpcplugin_testkit::{
    Client, Code, ConnectionState, Fault, MockCluster, MockServer, Reason, Reply, Strategy, Stub,
    json,
};
use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock, Mutex};
use std::{collections::HashMap, time::Duration};
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};

/// Everything that the client tells, a line each: in which spans, and what.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Story>>);

#[derive(Default)]
struct Story {
    lines: Vec<String>,
    spans: HashMap<u64, (String, usize)>,
    entered: Vec<u64>,
    next: u64,
}

impl Told {
    fn with<T>(&self, with: impl FnOnce(&mut Story) -> T) -> T {
        with(&mut self.0.lock().expect("nobody panics"))
    }

    /// Is told what happens on this thread.
    pub(crate) fn listen(&self) -> DefaultGuard {
        // While there is one subscriber in the process, `tracing` asks that of the thread that comes first to a place in the
        // code whether anybody wants what is told there, and keeps the answer. So there are always more.
        static OTHERS: LazyLock<[Dispatch; 2]> =
            LazyLock::new(|| [Told::default(), Told::default()].map(Dispatch::new));
        LazyLock::force(&OTHERS);
        tracing::subscriber::set_default(self.clone())
    }

    pub(crate) fn take(&self) -> Vec<String> {
        self.with(|story| std::mem::take(&mut story.lines))
    }
}

/// The message, and the fields after it.
#[derive(Default)]
struct Fields(String, String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.1, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("rpcplugin_testkit::client")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        self.with(|story| {
            story.next += 1;
            let name = span.metadata().name().to_owned();
            let line = format!("{} {name}{}", span.metadata().level(), fields.1);
            story.lines.push(line);
            story.spans.insert(story.next, (name, 1));
            Id::from_u64(story.next)
        })
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        self.with(|story| {
            let name = &story.spans[&span.into_u64()].0;
            let line = format!("{name} has{}", fields.1);
            story.lines.push(line);
        });
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.with(|story| {
            let inside = story.entered.last().map(|span| &story.spans[span].0);
            let inside = inside.map(|name| format!("{name}: ")).unwrap_or_default();
            let level = event.metadata().level();
            let line = format!("{inside}{level} {}{}", fields.0, fields.1);
            story.lines.push(line);
        });
    }

    fn enter(&self, span: &Id) {
        self.with(|story| story.entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        self.with(|story| assert_eq!(story.entered.pop(), Some(span.into_u64())));
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.with(|story| story.spans.entry(span.into_u64()).or_default().1 += 1);
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        self.with(|story| {
            let (name, hands) = story.spans.get_mut(&span.into_u64()).expect("it is there");
            *hands -= 1;
            if *hands == 0 {
                story.lines.push(format!("{name} is closed"));
            }
            *hands == 0
        })
    }
}

fn exact() -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    policy.backoff.jitter = 0.0;
    policy
}

async fn lone(server: &MockServer) -> Client {
    let builder = Client::builder().address(server.address());
    connect(builder.schema(echo_schema()).retry(exact())).await
}

const SAY: &str = "path=\"/echo.v1.Echo/Say\"";

#[tokio::test(start_paused = true)]
async fn a_call_is_a_span_around_its_attempts_to_the_end_of_its_response() {
    let told = Told::default();
    let _guard = told.listen();
    let server = Transport::Memory.start_echo().await;
    let full = Reply::status(Code::Unavailable, "full");
    server.mount(Stub::method("Echo/Say").reply(full).then(json!({})));
    server.mount(Stub::method("Split").reply(Reply::stream([json!({"count": 1})])));
    let client = lone(&server).await;
    let at = server.address();
    assert_eq!(told.take(), [format!("DEBUG connected address={at}")]);

    let call = client.call("Echo/Say", json!({})).idempotent();
    within(call.into_future()).await.unwrap();
    let target = format!("target=\"{at}\"");
    let expected = [
        format!("DEBUG call rpc.method=\"/echo.v1.Echo/Say\" target={at}"),
        format!("call: TRACE attempt {SAY} {target}"),
        "call: TRACE the attempt has ended code=\"UNAVAILABLE\"".to_owned(),
        format!(
            "call: DEBUG again {SAY} target={at} code=Unavailable after=100ms transparent=false"
        ),
        format!("call: TRACE attempt {SAY} {target}"),
        "call: TRACE the attempt has ended code=\"OK\"".to_owned(),
        "call has code=\"OK\"".to_owned(),
        "call is closed".to_owned(),
    ];
    assert_eq!(told.take(), expected);

    // A stream is a call as long as it is read.
    let stream = client.call_server_stream("Split", json!({}));
    let mut stream = within(stream.into_future()).await.unwrap();
    assert_eq!(told.take().len(), 2);
    while within(stream.message()).await.unwrap().is_some() {}
    let expected = [
        "call: TRACE the attempt has ended code=\"OK\"",
        "call has code=\"OK\"",
        "call is closed",
    ];
    assert_eq!(told.take(), expected);

    // One that is given up is cancelled.
    let stream = client.call_server_stream("Split", json!({}));
    let stream = within(stream.into_future()).await.unwrap();
    told.take();
    drop(stream);
    let expected = [
        "call: TRACE the attempt has ended code=\"CANCELLED\"",
        "call has code=\"CANCELLED\"",
        "call is closed",
    ];
    assert_eq!(told.take(), expected);
}

#[tokio::test]
async fn a_connection_that_is_lost_and_a_dial_that_fails_are_told() {
    let told = Told::default();
    let _guard = told.listen();
    let server = Transport::Tcp.start_echo().await;
    let client = lone(&server).await;
    let mut events = client.events();
    told.take();
    server.kill().await;
    let lost = events.wait_for(|event| matches!(event, ClientEvent::Lost { .. }));
    within(lost).await.unwrap();
    let at = server.address();
    let lines = told.take();
    let expected = format!("DEBUG connection lost address={at} why=");
    assert!(
        lines.len() == 1 && lines[0].starts_with(&expected),
        "{lines:?}"
    );
    within(client.call("Echo/Say", json!({})).into_future())
        .await
        .unwrap_err();
    let lines = told.take();
    let failed = format!("WARN no connection address={at} error=cannot connect to {at}");
    assert!(
        lines.iter().any(|line| line.starts_with(&failed)),
        "{lines:?}"
    );
    let code = "call has code=\"UNAVAILABLE\"";
    assert!(lines.iter().any(|line| line == code), "{lines:?}");
}

/// Attempts: all, with OK, with another end, that never left, that were given up.
fn attempts(endpoint: &EndpointStats) -> [u64; 5] {
    let counts = endpoint.counts;
    [
        counts.attempts,
        counts.succeeded,
        counts.failed,
        counts.unsent,
        counts.cancelled,
    ]
}

/// Connections: made, not made, lost.
fn connections(endpoint: &EndpointStats) -> [u64; 3] {
    let counts = endpoint.counts;
    [counts.connected, counts.dials_failed, counts.lost]
}

#[tokio::test]
async fn stats_count_calls_attempts_and_connections() {
    let server = Transport::Tcp.start_echo().await;
    let client = lone(&server).await;
    let say = || within(client.call("Echo/Say", json!({})).into_future());
    let again = || {
        within(
            client
                .call("Echo/Say", json!({}))
                .idempotent()
                .into_future(),
        )
    };
    server.mount(Stub::any().reply(json!({})).times(0..));
    let refused = |fault: Fault| server.inject(fault.at_most(1));

    for _ in 0..10 {
        say().await.unwrap();
    }
    for _ in 0..2 {
        refused(Fault::status(tonic::Status::invalid_argument("no")));
        say().await.unwrap_err();
    }
    refused(Fault::status(tonic::Status::unavailable("full")));
    again().await.unwrap();
    refused(Fault::reset(Reason::REFUSED_STREAM));
    say().await.unwrap();
    let hold = server.inject(Fault::hold());
    let held = tokio::spawn(client.call("Echo/Say", json!({})).into_future());
    within(hold.hit()).await;
    assert_eq!(client.stats().endpoints[0].in_flight, 1);
    held.abort();
    assert!(within(held).await.unwrap_err().is_cancelled());
    hold.remove();
    let stats = client.stats();
    let one = &stats.endpoints[0];
    assert_eq!((one.in_flight, one.state), (0, ConnectionState::Ready));
    assert_eq!(attempts(one), [17, 12, 4, 0, 1]);
    assert_eq!(connections(one), [1, 0, 0]);
    assert_eq!((stats.calls, stats.retries), (15, 1));
    assert_eq!(
        (stats.transparent_retries, stats.hedges, stats.throttled),
        (1, 0, 0)
    );
}

#[tokio::test]
async fn stats_count_dials_and_what_never_left() {
    let server = Transport::Tcp.start_echo().await;
    let client = lone(&server).await;
    let say = || client.call("Echo/Say", json!({}));
    server.mount(Stub::any().reply(json!({})).times(0..));
    within(say().into_future()).await.unwrap();

    server.kill().await;
    until(|| client.stats().endpoints[0].counts.lost == 1).await;
    within(say().into_future()).await.unwrap_err();
    let one = client.stats().endpoints[0].clone();
    assert_eq!(
        (attempts(&one), connections(&one)),
        ([2, 1, 0, 1, 0], [1, 1, 1])
    );
    assert_eq!(one.state, ConnectionState::TransientFailure);
    server.restart().await;
    within(say().wait_for_ready().into_future()).await.unwrap();
    let one = client.stats().endpoints[0].clone();
    assert_eq!(attempts(&one), [3, 2, 0, 1, 0]);
    let [connected, _, lost] = connections(&one);
    assert_eq!((connected, lost, client.stats().calls), (2, 1, 3));
}

/// The names of the events of one endpoint, each once in a row, up to the last.
async fn story(events: &mut Events, server: &MockServer, last: &str) -> Vec<&'static str> {
    let at = server.address();
    let mut names = Vec::new();
    while names.last() != Some(&last) {
        let name = match within(events.next()).await.expect("the client is there") {
            ClientEvent::Connected(address) if address == *at => "connected",
            ClientEvent::DialFailed { address, .. } if address == *at => "failed",
            ClientEvent::EndpointAdded(one) if one.address == *at => "added",
            ClientEvent::EndpointRemoved(one) if one.address == *at => "removed",
            ClientEvent::Lost { address, .. } if address == *at => "lost",
            _ => continue,
        };
        names.push(name);
        names.dedup();
    }
    names
}

#[tokio::test]
async fn events_come_in_the_order_in_which_things_happen() {
    let cluster = MockCluster::start(2).await;
    let builder = Client::builder().endpoints(cluster.addresses());
    let client = quick(builder.strategy(Strategy::RoundRobin)).connect_lazy();
    let client = client.unwrap();
    let mut events = client.events();
    let server = &cluster[0];
    assert_eq!(story(&mut events, server, "connected").await, ["connected"]);
    server.kill().await;
    assert_eq!(
        story(&mut events, server, "failed").await,
        ["lost", "failed"]
    );
    server.restart().await;
    let back = story(&mut events, server, "connected").await;
    assert!(
        back == ["connected"] || back == ["failed", "connected"],
        "{back:?}"
    );
    client.remove_endpoint(server.address()).unwrap();
    client.add_endpoint(server.address()).unwrap();
    let expected = ["removed", "added", "connected"];
    assert_eq!(story(&mut events, server, "connected").await, expected);
}

#[tokio::test]
async fn who_reads_no_events_is_told_how_many_were_missed() {
    let none: [&str; 0] = [];
    let client = Client::builder().endpoints(none).connect_lazy().unwrap();
    let mut events = client.events();
    for _ in 0..600 {
        client.add_endpoint("memory:unread").unwrap();
        client.remove_endpoint("memory:unread").unwrap();
    }
    let first = within(events.next()).await.unwrap();
    assert!(matches!(first, ClientEvent::Missed(176)), "{first:?}");
    let second = within(events.next()).await.unwrap();
    assert!(
        matches!(second, ClientEvent::EndpointAdded(_)),
        "{second:?}"
    );
    let idle = tokio::time::timeout(Duration::ZERO, async {
        while events.next().await.is_some() {}
    });
    assert!(idle.await.is_err());
}
