//! "Connection Pool" of pyvider's guide to direct connections, in Rust: its class with its methods, and none of its faults
//! (those stand in `pool_faults.rs`).

use crate::faults_probe::alone;
use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::Lease;
use rpcplugin_testkit::{Address, Error, MockServer, Pool, Stub, Value, json};

/// A pool of direct connections, one caller on each at a time.
struct ConnectionPool {
    pool: Pool,
}

impl ConnectionPool {
    /// `initialize` is part of it: there is no pool without its connections.
    async fn new(address: &Address, size: usize) -> Result<Self, Error> {
        let pool = Pool::builder(address).size(size).max(size * 2).exclusive();
        Ok(Self {
            pool: pool.connect().await?,
        })
    }

    async fn acquire(&self) -> Result<Lease, Error> {
        self.pool.acquire().await
    }

    /// Dropping it is enough.
    fn release(lease: Lease) {
        drop(lease);
    }

    async fn close_all(&self) {
        self.pool.close().await;
    }
}

async fn process(pool: &ConnectionPool) -> Result<Value, Error> {
    let client = pool.acquire().await?;
    let result = client.call("Process", json!({"test": "data"})).await;
    ConnectionPool::release(client);
    result
}

#[tokio::test]
async fn connection_pool() {
    for transport in Transport::ALL {
        let server: MockServer = transport.start().await;
        server.mount(
            Stub::method("Process")
                .when(json!({"test": "data"}))
                .reply(json!({"done": true}))
                .times(40),
        );
        let pool = within(ConnectionPool::new(server.address(), 10)).await;
        let pool = std::sync::Arc::new(pool.unwrap());
        assert_eq!((server.connections(), pool.pool.stats().idle), (10, 10));

        // More callers than it may have connections.
        let mut callers = Vec::new();
        for _ in 0..40 {
            let pool = std::sync::Arc::clone(&pool);
            callers.push(tokio::spawn(async move { process(&pool).await }));
        }
        for caller in callers {
            let result = within(caller).await.unwrap();
            assert_eq!(result.unwrap(), json!({"done": true}));
        }
        let stats = pool.pool.stats();
        assert!((10..=20).contains(&stats.size), "{stats:?}");
        assert_eq!((stats.leases, stats.timeouts), (0, 0));

        within(pool.close_all()).await;
        within(alone(&server)).await;
        assert!(process(&pool).await.unwrap_err().is_closed());
        server.verify().await.unwrap();
    }
}
