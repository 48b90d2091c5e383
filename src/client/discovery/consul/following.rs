//! Asking for the instances of a service, again and again.

use crate::client::dice::Dice;
use crate::client::discovery::consul::instances::Instances;
use crate::client::discovery::consul::query::Query;
use crate::client::discovery::consul::service::ConsulService;
use crate::client::discovery::discover::{Discover, EndpointSet};
use crate::client::discovery::refresh::Refresh;
use crate::client::discovery::steps::Steps;
use crate::consul::{Answer, Question};
use crate::endpoint::Endpoint;
use crate::error::{Error, Kind};
use bytes::Bytes;
use http::HeaderMap;
use std::time::Duration;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tokio_stream::Stream;

impl ConsulService {
    /// The instances that there are now, asked for once.
    ///
    /// ```
    /// use rpcplugin_testkit::{Consul, MockCluster};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// let cluster = MockCluster::start(3).await;
    /// let registry = cluster.consul("kv").await;
    ///
    /// let endpoints = Consul::new(registry.url()).service("kv").endpoints().await?;
    /// assert_eq!(endpoints.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the agent cannot be asked, refuses, or does not let us see the instances ([`Error::is_denied`]).
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        let answer = self.consul.ask(self.question(None)).await?;
        self.understand(answer)
            .await
            .map(|(_, endpoints)| endpoints)
    }

    /// `index` is the change that was seen last, to wait for the next.
    fn question(&self, index: Option<u64>) -> Question {
        let mut question = Question::get(["health", "service", &self.name]);
        if !self.warning_too {
            question = question.with("passing", "true");
        }
        if self.stale {
            question = question.with("stale", "true");
        }
        question = question
            .with_some("filter", self.condition().as_deref())
            .with_some("near", self.near.as_deref());
        match index {
            None => question,
            Some(index) => {
                // 0 would be the default of the agent.
                let wait = self.wait.clamp(Duration::from_millis(1), LONGEST);
                question
                    .with("index", &index.to_string())
                    .with("wait", &format!("{}ms", wait.as_millis()))
                    // The agent adds up to a sixteenth.
                    .waiting(wait + wait / 16)
            }
        }
    }

    /// The index of an answer, and what it says.
    async fn understand(&self, answer: Answer) -> Result<(Option<u64>, Vec<Endpoint>), Error> {
        let (consul, name) = (&self.consul, &self.name);
        let Answer { headers, body } = answer;
        let index = header(&headers, "x-consul-index").and_then(|index| index.parse().ok());
        let is_filtered = header(&headers, "x-consul-results-filtered-by-acls") == Some("true");
        let Instances {
            endpoints,
            unusable,
        } = self.read(body).await?;
        let error = |kind, text: String| Err(Error::new(kind, text));
        match (&endpoints[..], &unusable[..]) {
            ([], [first, ..]) => {
                let text = format!("no instance of `{name}` in {consul} can be called: {first}");
                return error(Kind::Discovery, text);
            }
            ([], []) if is_filtered => {
                let text = format!(
                    "{consul} hides instances of `{name}`: the token has to have `service:read` for it and `node:read`"
                );
                return error(Kind::Denied, text);
            }
            _ => {}
        }
        for why in unusable {
            tracing::warn!(%consul, service = %name, "{why}");
        }
        if is_filtered {
            tracing::warn!(%consul, service = %name, "the token lets see only some of the instances");
        }
        Ok((index, endpoints))
    }

    async fn read(&self, body: Bytes) -> Result<Instances, Error> {
        let reading = self.reading();
        let read = if body.len() < LARGE {
            reading.read(&body)
        } else {
            // A test's only thread has calls to make meanwhile.
            let read = spawn_blocking(move || reading.read(&body)).await;
            read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        };
        read.map_err(|error| {
            let text = format!(
                "{} answered with something else than the instances of `{}`",
                self.consul, self.name
            );
            Error::new(Kind::Discovery, text).caused_by(error)
        })
    }
}

/// How long Consul waits at most.
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// What takes a moment to read, in bytes.
const LARGE: usize = 256 << 10;

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

impl Discover for ConsulService {
    fn watch(&self, _: Refresh) -> impl Stream<Item = EndpointSet> + Send + 'static {
        let dice = Dice::new(self.seed.unwrap_or_else(|| fastrand::u64(..)));
        let query = Query::new(self.interval, self.backoff, Instant::now());
        let service = self.clone();
        Steps::new(query, move |mut query: Query| {
            let (service, dice) = (service.clone(), dice.clone());
            async move {
                sleep_until(query.due(Instant::now(), || dice.roll())).await;
                let answer = service.consul.ask(service.question(query.index())).await;
                let understood = match answer {
                    Ok(answer) => service.understand(answer).await,
                    Err(error) => Err(error),
                };
                match understood {
                    Ok((index, endpoints)) => {
                        query.answered(index);
                        (Ok(endpoints), query)
                    }
                    Err(error) => {
                        query.failed();
                        (Err(error.into()), query)
                    }
                }
            }
        })
    }

    fn name(&self) -> String {
        format!("service `{}` of {}", self.name, self.consul)
    }
}
