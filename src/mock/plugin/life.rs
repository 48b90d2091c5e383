//! How long a plugin lives: until its server ends, or its host is gone.

use crate::mock::doors::Standing;
use crate::mock::server::MockServer;
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

/// How often it looks whether its host is there. A host that is gone closes no pipe that a plugin would notice.
const LOOKS: Duration = Duration::from_millis(250);
/// What is left of the calls when the server has stopped.
const GRACE: Duration = Duration::from_secs(2);

pub(super) struct Life {
    /// Who launched this process.
    host: Option<u32>,
    up: watch::Receiver<bool>,
}

impl Life {
    pub(super) fn of(server: &MockServer) -> Self {
        let (telling, up) = watch::channel(true);
        server.doors().follow(move |standing| {
            let over = matches!(standing, Standing::Left | Standing::Killed);
            telling.send_replace(!over);
        });
        Self { host: parent(), up }
    }

    /// Waits until it is over, and does something else meanwhile, which does not end by itself.
    pub(super) async fn ended(mut self, server: &MockServer, meanwhile: impl Future<Output = ()>) {
        tokio::select! {
            () = meanwhile => {}
            () = down(&mut self.up) => {
                // The host may be reading the answer to its `Shutdown`.
                let _ = timeout(GRACE, server.open.all_ended()).await;
            }
            () = gone(self.host) => {}
        }
    }
}

/// Waits until the server is down.
async fn down(up: &mut watch::Receiver<bool>) {
    // It is told as long as the server is there.
    let _ = up.wait_for(|up| !up).await;
}

/// Waits until this process has another parent.
async fn gone(host: Option<u32>) {
    let mut looks = interval(LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while parent() == host {
        looks.tick().await;
    }
}

#[cfg(unix)]
fn parent() -> Option<u32> {
    Some(std::os::unix::process::parent_id())
}

#[cfg(not(unix))]
fn parent() -> Option<u32> {
    None
}
