//! Calls that are sent several times, on a clock that passes when everybody waits.

use crate::support::{Transport, echo_schema, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{Hedge, RetryPolicy, Throttle};
use rpcplugin_testkit::matchers::metadata;
use rpcplugin_testkit::{
    Call, Client, Code, Error, Fault, MockCluster, Outcome, Reason, Reply, Strategy, Stub, Value,
    json,
};
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);
const PREVIOUS: &str = "grpc-previous-rpc-attempts";
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// After 50 ms each, so many in all.
fn hedged(attempts: u32) -> RetryPolicy {
    RetryPolicy::default().hedge(Hedge {
        delay: 50 * MS,
        attempts,
    })
}

/// So many servers, and what each attempt at a call is answered with; the last for all that follow.
async fn start<const N: usize>(servers: usize, answers: [Reply; N]) -> MockCluster {
    let cluster = Transport::Memory.builder().schema(echo_schema());
    let cluster = cluster.start_cluster(servers).await;
    for (n, answer) in answers.into_iter().enumerate() {
        let stub = Stub::method("Echo/Say").reply(answer).times(0..);
        cluster.mount(match n {
            0 => stub.priority(-1),
            n => stub.when(metadata(PREVIOUS, n.to_string())),
        });
    }
    cluster
}

async fn connect(cluster: &MockCluster, retry: RetryPolicy) -> Client {
    let builder = Client::builder()
        .endpoints(cluster.addresses())
        .strategy(Strategy::RoundRobin)
        .schema(echo_schema())
        .ejection(None)
        .retry(retry);
    let client = within(builder.connect()).await.expect("it connects");
    while cluster.iter().any(|server| server.connections() == 0) {
        tokio::task::yield_now().await;
    }
    // The endpoints know it a little later than the servers.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    client
}

/// What became of one call, and after how many milliseconds.
async fn call(client: &Client) -> (Result<Value, Error>, u128) {
    let began = Instant::now();
    let call = client.call("Echo/Say", json!({})).idempotent();
    let answer = within(call.into_future()).await;
    (answer, began.elapsed().as_millis())
}

/// When the attempts arrived, in milliseconds after the first, in their order.
fn arrivals(cluster: &MockCluster) -> Vec<u128> {
    let calls = cluster.journal().calls();
    let first = calls.first().map(Call::received_at);
    let after = |call: &Call| (call.received_at() - first.expect("a first")).as_millis();
    calls.iter().map(after).collect()
}

async fn outcomes(cluster: &MockCluster) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for call in cluster.journal().calls() {
        outcomes.push(within(call.ended()).await);
    }
    outcomes
}

fn said(text: &str) -> Reply {
    Reply::json(json!({"message": text}))
}

fn unavailable() -> Reply {
    Reply::status(Code::Unavailable, "full")
}

/// How many servers were asked.
fn asked(cluster: &MockCluster) -> usize {
    let calls = cluster.journal().calls();
    let servers: HashSet<_> = calls
        .iter()
        .map(|call| call.server_address().clone())
        .collect();
    servers.len()
}

#[tokio::test(start_paused = true)]
async fn attempts_go_to_others_after_the_delay_the_first_answer_wins_and_the_rest_are_cancelled() {
    let answers = [Reply::never(), Reply::never(), said("third")];
    let cluster = start(4, answers).await;
    let client = connect(&cluster, hedged(4)).await;
    let (answer, after) = call(&client).await;
    assert_eq!(answer.unwrap()["message"], "third");
    assert_eq!((after, asked(&cluster)), (100, 3));
    assert_eq!(arrivals(&cluster), [0, 50, 100]);
    let expected = [Outcome::Cancelled, Outcome::Cancelled, Outcome::Ok];
    assert_eq!(outcomes(&cluster).await, expected);
    let previous = cluster.journal().calls();
    let previous = previous
        .iter()
        .map(|call| call.metadata().get(PREVIOUS).cloned());
    let expected = [None, Some("1"), Some("2")].map(|n| n.map(|n| n.parse().unwrap()));
    assert_eq!(previous.collect::<Vec<_>>(), expected);

    let stats = client.stats();
    assert_eq!((stats.calls, stats.hedges, stats.retries), (1, 2, 0));
    let counts = stats.endpoints.iter().map(|one| one.counts);
    let sum = counts.fold((0, 0, 0, 0), |sum, one| {
        (
            sum.0 + one.attempts,
            sum.1 + one.succeeded,
            sum.2 + one.cancelled,
            sum.3 + one.failed,
        )
    });
    assert_eq!(sum, (3, 1, 2, 0));
    assert!(stats.endpoints.iter().all(|one| one.in_flight == 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_answered_before_the_delay_is_sent_once_and_a_late_first_answer_wins_too() {
    let table = [
        (49, vec![0]),
        (51, vec![0, 50]),
        (70, vec![0, 50]),
        (130, vec![0, 50, 100]),
        // Three are all.
        (400, vec![0, 50, 100]),
    ];
    for (answered, arrived) in table {
        let first = said("first").delay(answered * MS);
        let cluster = start(5, [first, Reply::never(), Reply::never()]).await;
        let client = connect(&cluster, hedged(3)).await;
        let (answer, after) = call(&client).await;
        assert_eq!(answer.unwrap()["message"], "first");
        assert_eq!(after, u128::from(answered));
        assert_eq!(arrivals(&cluster), arrived, "{answered} ms");
        let mut expected = vec![Outcome::Cancelled; arrived.len()];
        expected[0] = Outcome::Ok;
        assert_eq!(outcomes(&cluster).await, expected, "{answered} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_idempotent_is_never_sent_beside_itself() {
    let cluster = start(3, [said("late").delay(700 * MS)]).await;
    let client = connect(&cluster, hedged(3)).await;
    let answer = client.call("Echo/Say", json!({}));
    assert_eq!(
        within(answer.into_future()).await.unwrap()["message"],
        "late"
    );
    assert_eq!((arrivals(&cluster), client.stats().hedges), (vec![0], 0));
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_not_repeated_ends_the_call_and_cancels_the_others() {
    let fatal = Reply::status(Code::InvalidArgument, "no");
    let cluster = start(4, [Reply::never(), fatal]).await;
    let client = connect(&cluster, hedged(4)).await;
    let (answer, after) = call(&client).await;
    let error = answer.unwrap_err();
    assert_eq!((error.code(), after), (Some(Code::InvalidArgument), 50));
    let second = cluster.journal().calls()[1].server_address().clone();
    let text = format!(
        "/echo.v1.Echo/Say failed after 1 attempt, its code is none that the policy repeats:\n  {second} after 50.0ms: INVALID_ARGUMENT: no"
    );
    assert_eq!(error.to_string(), text);
    let expected = [Outcome::Cancelled, Outcome::Status(Code::InvalidArgument)];
    assert_eq!(outcomes(&cluster).await, expected);
}

/// One failure sends one more attempt, whose delay begins then.
#[tokio::test(start_paused = true)]
async fn a_code_that_is_repeated_sends_the_next_at_once() {
    let answers = [unavailable(), Reply::never(), said("third")];
    let cluster = start(4, answers).await;
    let client = connect(&cluster, hedged(4)).await;
    let (answer, after) = call(&client).await;
    assert_eq!(
        (answer.unwrap()["message"].as_str(), after),
        (Some("third"), 50)
    );
    assert_eq!(arrivals(&cluster), [0, 0, 50]);

    // The same while another is in flight.
    let failing = unavailable().delay(20 * MS);
    let answers = [Reply::never(), failing, Reply::never(), said("fourth")];
    let cluster = start(5, answers).await;
    let client = connect(&cluster, hedged(5)).await;
    let (answer, after) = call(&client).await;
    assert_eq!(
        (answer.unwrap()["message"].as_str(), after),
        (Some("fourth"), 120)
    );
    assert_eq!(arrivals(&cluster), [0, 50, 70, 120]);
    assert_eq!(asked(&cluster), 4);
}

#[tokio::test(start_paused = true)]
async fn when_all_attempts_fail_the_call_tells_each() {
    let cluster = start(4, [unavailable()]).await;
    let client = connect(&cluster, hedged(3)).await;
    let (answer, after) = call(&client).await;
    let error = answer.unwrap_err();
    assert_eq!((error.code(), after), (Some(Code::Unavailable), 0));
    let mut text =
        "/echo.v1.Echo/Say failed after 3 attempts, its attempts are used up:".to_owned();
    for call in cluster.journal().calls() {
        let line = format!(
            "\n  {} after 0.0ns: UNAVAILABLE: full",
            call.server_address()
        );
        text.push_str(&line);
    }
    assert_eq!(error.to_string(), text);
    assert_eq!((arrivals(&cluster).len(), asked(&cluster)), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_pushes_back_is_waited_for_or_ends_the_sending() {
    let later = unavailable().trailer(PUSHBACK, "200");
    let cluster = start(4, [later, Reply::never(), said("third")]).await;
    let client = connect(&cluster, hedged(4)).await;
    let (answer, after) = call(&client).await;
    assert_eq!(
        (answer.unwrap()["message"].as_str(), after),
        (Some("third"), 250)
    );
    assert_eq!(arrivals(&cluster), [0, 200, 250]);

    // Those in flight go on.
    let never = || unavailable().trailer(PUSHBACK, "-1");
    let cluster = start(4, [said("first").delay(220 * MS), never()]).await;
    let client = connect(&cluster, hedged(4)).await;
    let (answer, after) = call(&client).await;
    assert_eq!(
        (answer.unwrap()["message"].as_str(), after),
        (Some("first"), 220)
    );
    assert_eq!(arrivals(&cluster), [0, 50]);

    // Also when one of them fails then in a way that is repeated.
    let cluster = start(4, [unavailable().delay(220 * MS), never()]).await;
    let client = connect(&cluster, hedged(4)).await;
    let (answer, after) = call(&client).await;
    let error = answer.unwrap_err().to_string();
    let first = "/echo.v1.Echo/Say failed after 2 attempts, the server asked not to repeat it:";
    assert_eq!((error.lines().next(), after), (Some(first), 220));
    assert_eq!(arrivals(&cluster), [0, 50]);
}

#[tokio::test(start_paused = true)]
async fn while_too_many_calls_fail_none_is_sent_beside_itself() {
    let cluster = start(3, [said("late").delay(120 * MS), Reply::never()]).await;
    let throttle = Throttle {
        tokens: 1,
        ratio: 0.4,
    };
    let client = connect(&cluster, hedged(3).throttle(throttle)).await;
    let failing = cluster.mount(Stub::method("Echo/Say").reply(unavailable()).priority(1));
    let (answer, _) = call(&client).await;
    let error = answer.unwrap_err().to_string();
    let first = "/echo.v1.Echo/Say failed after 1 attempt, too many calls have failed lately:";
    assert_eq!(error.lines().next(), Some(first));
    failing.unmount();
    // Two successes are more than half a token.
    for (arrived, hedges) in [(2, 0), (3, 0), (6, 2)] {
        let (answer, after) = call(&client).await;
        assert_eq!(
            (answer.unwrap()["message"].as_str(), after),
            (Some("late"), 120)
        );
        assert_eq!(
            (arrivals(&cluster).len(), client.stats().hedges),
            (arrived, hedges)
        );
    }
    assert_eq!(client.stats().throttled, 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_that_of_all_attempts() {
    let cluster = start(5, [Reply::never()]).await;
    let client = connect(&cluster, hedged(5)).await;
    let began = Instant::now();
    let call = client
        .call("Echo/Say", json!({}))
        .idempotent()
        .timeout(120 * MS);
    let error = within(call.into_future()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::DeadlineExceeded), "{error}");
    assert_eq!(began.elapsed(), 120 * MS);
    assert_eq!(arrivals(&cluster), [0, 50, 100]);
    let left = cluster.journal().calls();
    let left: Vec<_> = left
        .iter()
        .map(|call| call.timeout().unwrap().as_millis())
        .collect();
    assert_eq!(left, [120, 70, 20]);
    for outcome in outcomes(&cluster).await {
        assert_eq!(outcome, Outcome::DeadlineExceeded);
    }
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_other_server_the_same_is_asked_again() {
    let cluster = start(1, [Reply::never(), Reply::never(), said("third")]).await;
    let client = connect(&cluster, hedged(3)).await;
    let (answer, after) = call(&client).await;
    assert_eq!(
        (answer.unwrap()["message"].as_str(), after),
        (Some("third"), 100)
    );
    outcomes(&cluster).await;
    let counts = client.stats().endpoints[0].counts;
    assert_eq!(
        (counts.attempts, counts.succeeded, counts.cancelled),
        (3, 1, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_reached_fails_the_call_at_once() {
    let builder = Client::builder()
        .address("memory:nobody-hedges")
        .retry(hedged(3));
    let client = builder.connect_lazy().unwrap();
    let began = Instant::now();
    let call = client.unary::<(), ()>("/a.B/C", ()).idempotent();
    let error = within(call.into_future()).await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(client.stats().endpoints[0].counts.attempts, 1);
}

/// As without hedging: at once to those that were not asked, then with the waits of the policy.
#[tokio::test(start_paused = true)]
async fn servers_that_refuse_are_not_asked_in_a_loop_and_what_they_refuse_does_not_count() {
    let cluster = start(2, [said("first")]).await;
    let client = connect(&cluster, hedged(2)).await;
    let refusing = cluster.inject(Fault::reset(Reason::REFUSED_STREAM));
    let began = Instant::now();
    let call = client
        .call("Echo/Say", json!({}))
        .idempotent()
        .timeout(1000 * MS);
    within(call.into_future()).await.unwrap_err();
    assert!(began.elapsed() <= 1000 * MS);
    let arrived = arrivals(&cluster).len();
    assert!((3..=8).contains(&arrived), "{arrived} attempts");
    refusing.remove();

    let twice = cluster.inject(Fault::reset(Reason::REFUSED_STREAM).at_most(3));
    let (answer, _) = self::call(&client).await;
    assert_eq!(answer.unwrap()["message"], "first");
    assert_eq!(twice.hits(), 3);
    assert!(client.stats().transparent_retries >= 3);
}
