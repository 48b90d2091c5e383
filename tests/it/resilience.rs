//! Three servers, one of which is in trouble, and 64 callers: no idempotent call fails, and no other runs twice.

use crate::support::{Transport, within};
use rpcplugin_testkit::client::{Backoff, Ejection, RetryPolicy};
use rpcplugin_testkit::mock::{GoAway, InjectedFault};
use rpcplugin_testkit::{
    Client, Code, Error, Fault, MockCluster, Outcome, Reason, Status, Strategy, Stub, json,
};
use std::{collections::HashMap, time::Duration};
use tokio::task::JoinSet;

const CALLERS: u64 = 64;
const CALLS: u64 = 8;

/// What becomes of the first server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    CutByReset,
    DeadFromStart,
    GoesAway,
    GoesAwayWithout,
    HangsUp,
    Killed,
    KilledAndRestarted,
    RefusesByStatus,
    RefusesStreams,
    Resets,
    Stalls,
    TlsFails,
}

impl Trouble {
    const ALL: [Self; 12] = [
        Self::CutByReset,
        Self::DeadFromStart,
        Self::GoesAway,
        Self::GoesAwayWithout,
        Self::HangsUp,
        Self::Killed,
        Self::KilledAndRestarted,
        Self::RefusesByStatus,
        Self::RefusesStreams,
        Self::Resets,
        Self::Stalls,
        Self::TlsFails,
    ];

    /// The codes by which it can leave a caller in doubt.
    fn may_have_processed(self) -> &'static [Code] {
        match self {
            Self::CutByReset | Self::Killed | Self::KilledAndRestarted | Self::RefusesByStatus => {
                &[Code::Unavailable]
            }
            Self::Resets => &[Code::Internal],
            // Before its head the attempt times out, and after it the call.
            Self::Stalls => &[Code::Unavailable, Code::DeadlineExceeded],
            Self::DeadFromStart
            | Self::GoesAway
            | Self::GoesAwayWithout
            | Self::HangsUp
            | Self::RefusesStreams
            | Self::TlsFails => &[],
        }
    }

    fn is_from_start(self) -> bool {
        matches!(self, Self::DeadFromStart | Self::HangsUp | Self::TlsFails)
    }

    async fn begin(self, cluster: &MockCluster) -> Option<InjectedFault> {
        let server = &cluster[0];
        let fault = match self {
            Self::DeadFromStart | Self::Killed => {
                server.kill().await;
                return None;
            }
            Self::KilledAndRestarted => {
                server.kill().await;
                server.restart().await;
                return None;
            }
            Self::Stalls => {
                server.pause();
                return None;
            }
            Self::CutByReset => Fault::cut_by_reset(),
            Self::GoesAway => Fault::go_away(GoAway::graceful()),
            Self::GoesAwayWithout => Fault::go_away(GoAway::graceful().last_stream_id(1)),
            Self::HangsUp => Fault::close_on_accept(),
            Self::RefusesByStatus => Fault::status(Status::unavailable("full")),
            Self::RefusesStreams => Fault::reset(Reason::REFUSED_STREAM),
            Self::Resets => Fault::reset(Reason::INTERNAL_ERROR),
            Self::TlsFails => Fault::tls_failure(),
        };
        Some(server.inject(fault))
    }
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    trouble: Trouble,
    strategy: Strategy,
    transport: Transport,
    mutual: bool,
    idempotent: bool,
}

impl Cell {
    async fn run(self) {
        let Self { trouble, .. } = self;
        let cluster = self.transport.secured(self.mutual).start_cluster(3).await;
        cluster.mount(Stub::method("Process").reply(json!({"ok": true})));
        if trouble.is_from_start() {
            drop(trouble.begin(&cluster).await);
        }
        let client = within(self.client(&cluster).connect())
            .await
            .expect("it goes well");
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let client = client.clone();
            callers.spawn(async move {
                let mut failed = Vec::new();
                for n in 0..CALLS {
                    let id = caller * CALLS + n;
                    let call = client.call("Process", json!({"id": id}));
                    let call = if self.idempotent {
                        call.idempotent()
                    } else {
                        call
                    };
                    if let Err(error) = call.await {
                        failed.push((id, error));
                    }
                }
                failed
            });
        }
        if !trouble.is_from_start() {
            let busy = if self.strategy == Strategy::First {
                0
            } else {
                1
            };
            within(cluster[busy].wait_for_calls(30)).await;
            drop(trouble.begin(&cluster).await);
        }
        let failed: Vec<_> = within(callers.join_all())
            .await
            .into_iter()
            .flatten()
            .collect();
        if trouble == Trouble::Stalls {
            cluster[0].resume();
        }
        self.judge(&cluster, &failed, &client);
        within(client.drain(Duration::ZERO)).await;
    }

    fn client(self, cluster: &MockCluster) -> rpcplugin_testkit::client::ClientBuilder {
        let backoff = Backoff {
            initial: Duration::from_millis(1),
            max: Duration::from_millis(20),
            ..Backoff::default()
        };
        let mut retry = RetryPolicy::default();
        // The waits of the default are for servers that are far.
        retry = retry.backoff(Backoff {
            jitter: 0.2,
            multiplier: 2.0,
            ..backoff
        });
        if self.trouble == Trouble::Stalls {
            retry = retry.attempt_timeout(Duration::from_millis(200));
        }
        if self.trouble == Trouble::Resets {
            retry = retry.codes([Code::Unavailable, Code::Internal]);
        }
        let builder = Client::builder()
            .endpoints(cluster.addresses())
            .strategy(self.strategy)
            .seed(7)
            .ejection(Ejection::default())
            .retry(retry)
            .backoff(backoff);
        match cluster[0].client_tls() {
            Some(tls) => builder.tls(tls),
            None => builder,
        }
    }

    fn judge(self, cluster: &MockCluster, failed: &[(u64, Error)], client: &Client) {
        let stats = client.stats();
        let doubtful = match self.idempotent {
            true => &[],
            false => self.trouble.may_have_processed(),
        };
        for (id, error) in failed {
            let is_doubtful = error.code().is_some_and(|code| doubtful.contains(&code));
            let count = failed.len();
            assert!(
                is_doubtful,
                "{self:?}: {count} failed, as {id}: {error:?}\n{stats:#?}"
            );
        }
        if self.idempotent {
            return;
        }
        let mut ran: HashMap<u64, u32> = HashMap::new();
        for call in cluster.journal().calls() {
            // A server that takes back what it has processed is not to be believed; the others are.
            let takes_back = self.trouble.may_have_processed().is_empty();
            let is_believed = !takes_back || call.server_address() != cluster[0].address();
            // One that was cut before its message came did not run.
            if let Some(id) = call.request()["id"].as_u64().filter(|_| is_believed) {
                *ran.entry(id).or_default() += 1;
            }
        }
        let twice: Vec<_> = ran.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{self:?}: {twice:?}");
        let answered = CALLERS * CALLS - failed.len() as u64;
        let ok = cluster.journal().ended(Outcome::Ok).len() as u64;
        assert!(
            ok >= answered,
            "{self:?}: {ok} ran, and {answered} were answered"
        );
    }
}

#[tokio::test]
async fn with_one_server_in_trouble_no_call_fails_that_may_be_repeated_by_any_strategy() {
    for trouble in Trouble::ALL {
        for strategy in [
            Strategy::First,
            Strategy::LeastRequest,
            Strategy::Random,
            Strategy::RoundRobin,
            Strategy::Weighted,
        ] {
            for idempotent in [true, false] {
                let (transport, mutual) = (Transport::Tcp, trouble == Trouble::TlsFails);
                let cell = Cell {
                    trouble,
                    strategy,
                    transport,
                    mutual,
                    idempotent,
                };
                cell.run().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_server_in_trouble_no_call_fails_that_may_be_repeated_on_any_transport() {
    for trouble in Trouble::ALL {
        for (transport, mutual) in [
            (Transport::Memory, true),
            (Transport::Tcp, true),
            (Transport::Unix, false),
            (Transport::Unix, true),
        ] {
            if trouble == Trouble::TlsFails && !mutual {
                continue;
            }
            for idempotent in [true, false] {
                let strategy = Strategy::RoundRobin;
                let cell = Cell {
                    trouble,
                    strategy,
                    transport,
                    mutual,
                    idempotent,
                };
                cell.run().await;
            }
        }
    }
}
