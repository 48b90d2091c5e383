//! Asking again and again.

use crate::client::discovery::discover::EndpointSet;
use crate::client::discovery::dns::looks::{Looks, Pace};
use crate::client::discovery::dns::order::settled;
use crate::client::discovery::refresh::Refresh;
use crate::client::discovery::steps::Steps;
use crate::endpoint::Endpoint;
use crate::error::Error;
use std::{future::pending, pin::Pin, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};
use tokio_stream::Stream;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) endpoints: Vec<Endpoint>,
    /// How long it is good, if it says so.
    pub(super) good_for: Option<Duration>,
}

/// Asks once.
pub(super) type Ask =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Found, Error>> + Send>> + Send + Sync>;

/// The answers, each time that one is due.
pub(super) fn follow(
    ask: Ask,
    pace: Pace,
    refresh: Refresh,
) -> impl Stream<Item = EndpointSet> + Send + 'static {
    let state = (Looks::new(pace), Vec::new());
    Steps::new(
        state,
        move |(mut looks, mut last): (Looks, Vec<Endpoint>)| {
            let (ask, refresh) = (Arc::clone(&ask), refresh.clone());
            async move {
                wait(&looks, &refresh).await;
                match ask().await {
                    Ok(found) => {
                        looks.answered(Instant::now(), found.good_for);
                        last = settled(&last, found.endpoints, |one| one.address.clone());
                        (Ok(last.clone()), (looks, last))
                    }
                    Err(error) => {
                        looks.failed(Instant::now(), fastrand::f64());
                        (Err(error.into()), (looks, last))
                    }
                }
            }
        },
    )
}

async fn wait(looks: &Looks, refresh: &Refresh) {
    let until = async |is_asked| match looks.due(is_asked, Instant::now()) {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    };
    tokio::select! {
        () = until(false) => {}
        () = async {
            refresh.asked().await;
            until(true).await;
        } => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::discover::EndpointSet;
    use crate::client::discovery::dns::follow::{Ask, Found, follow};
    use crate::client::discovery::dns::looks::Pace;
    use crate::client::discovery::refresh::Refresh;
    use crate::endpoint::Endpoint;
    use crate::error::{Error, Kind};
    use std::{
        collections::VecDeque,
        sync::{Arc, Mutex},
        time::Duration,
    };
    use tokio::time::{Instant, timeout};
    use tokio_stream::{Stream, StreamExt as _};

    /// What is answered, one after the other: addresses, or nothing.
    fn answers(all: &'static [&'static [&'static str]]) -> Ask {
        let left: Mutex<VecDeque<_>> = Mutex::new(all.iter().collect());
        Arc::new(move || {
            let mut left = left.lock().expect("nobody panics");
            let answer = left.pop_front().expect("there is an answer for it");
            let endpoint = |address: &&str| Endpoint::new(*address).expect("an address");
            let endpoints: Vec<_> = answer.iter().map(endpoint).collect();
            Box::pin(async move {
                match endpoints.is_empty() {
                    true => Err(Error::new(Kind::Discovery, "no answer")),
                    false => Ok(Found {
                        endpoints,
                        good_for: None,
                    }),
                }
            })
        })
    }

    fn steady() -> Pace {
        let mut pace = Pace::default();
        pace.backoff.jitter = 0.0;
        pace
    }

    /// After how many seconds what is told next.
    async fn next(told: &mut (impl Stream<Item = EndpointSet> + Unpin)) -> (f64, String) {
        let since = Instant::now();
        let text = match told.next().await.expect("it never ends") {
            Ok(endpoints) => {
                let addresses = endpoints.iter().map(|one| one.address.to_string());
                addresses.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        };
        ((since.elapsed().as_secs_f64() * 10.0).round() / 10.0, text)
    }

    #[tokio::test(start_paused = true)]
    async fn it_asks_at_once_now_and_then_and_sooner_after_failures() {
        let ask = answers(&[
            &["a:1", "b:1"],
            &["b:1", "a:1"],
            &[],
            &[],
            &["b:1", "c:1"],
            &[],
            &["c:1", "b:1"],
        ]);
        let mut told = Box::pin(follow(ask, steady(), Refresh::new()));
        let expected = [
            (0.0, "a:1 b:1"),
            (30.0, "a:1 b:1"),
            (30.0, "no answer"),
            (1.0, "no answer"),
            (1.6, "b:1 c:1"),
            (30.0, "no answer"),
            (1.0, "b:1 c:1"),
        ];
        for (wait, text) in expected {
            assert_eq!(next(&mut told).await, (wait, text.to_owned()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_is_heard_but_not_more_often_than_it_is_allowed() {
        let ask = answers(&[&["a:1"], &["b:1"], &["c:1"], &[], &["d:1"]]);
        let refresh = Refresh::new();
        let mut told = Box::pin(follow(ask, steady(), refresh.clone()));
        next(&mut told).await;
        refresh.ask();
        refresh.ask();
        assert_eq!(next(&mut told).await, (5.0, "b:1".to_owned()));
        let quiet = Duration::from_secs(20);
        timeout(quiet, told.next()).await.unwrap_err();
        refresh.ask();
        assert_eq!(next(&mut told).await, (0.0, "c:1".to_owned()));
        assert_eq!(next(&mut told).await, (30.0, "no answer".to_owned()));
        refresh.ask();
        assert_eq!(next(&mut told).await, (1.0, "d:1".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_says_how_long_it_is_good_is_asked_for_again_then() {
        let seconds: Mutex<VecDeque<u64>> = Mutex::new([7, 100, 30].into());
        let ask: Ask = Arc::new(move || {
            let mut seconds = seconds.lock().expect("nobody panics");
            let good_for = seconds.pop_front().map(Duration::from_secs);
            let endpoints = vec![Endpoint::new("a:1").expect("an address")];
            Box::pin(async move {
                Ok(Found {
                    endpoints,
                    good_for,
                })
            })
        });
        let mut told = Box::pin(follow(ask, steady(), Refresh::new()));
        for wait in [0.0, 7.0, 100.0] {
            assert_eq!(next(&mut told).await, (wait, "a:1".to_owned()));
        }
    }
}
