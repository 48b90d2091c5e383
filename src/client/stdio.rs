//! What a plugin writes to its stdout and stderr, told by `tracing`.

use crate::client::handle::Client;
use crate::error::Error;
use crate::proto::plugin::{StdioData, stdio_data::Channel};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tonic::Code;

/// More of a line is told apart, so that a plugin which never ends one costs no more.
const LONGEST_LINE: usize = 64 << 10;

impl Client {
    /// Tells by `tracing` what the plugin writes to its stdout and stderr (`plugin.GRPCStdio/StreamStdio`), line by line: events
    /// of the target `rpcplugin_testkit::client::stdio` and the level `INFO`, with the fields `server` and `stream`.
    ///
    /// What a plugin writes goes to one caller. A direct client that asks takes it away from the host that launched the plugin,
    /// so nothing but this does.
    ///
    /// It begins at once, and waits for the server if it has to; it ends with the connection, or when the mirror is dropped.
    /// Plugins before go-plugin 1.1 have nothing to mirror, which is no error.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn mirror_stdio(&self) -> StdioMirror {
        let client = self.clone();
        StdioMirror {
            task: tokio::spawn(async move { mirror(&client).await }),
        }
    }
}

/// A plugin's output as it is told by `tracing`: see [`Client::mirror_stdio`]. Dropping it ends that.
#[derive(Debug)]
#[must_use = "the output is not told any more when this is dropped: bind it to a name, not to `_`"]
pub struct StdioMirror {
    task: JoinHandle<Result<(), Error>>,
}

impl StdioMirror {
    /// Waits until the plugin has nothing more to say: it ended, its connection was lost, or it has no such service.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// When it refuses to tell.
    ///
    /// # Panics
    ///
    /// When it is awaited again after it was ready.
    pub async fn ended(&mut self) -> Result<(), Error> {
        match (&mut self.task).await {
            Ok(ended) => ended,
            // The runtime is going down.
            Err(_) => Ok(()),
        }
    }
}

impl Drop for StdioMirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn mirror(client: &Client) -> Result<(), Error> {
    let mut lines = [
        Lines::new(client.target(), "stdout"),
        Lines::new(client.target(), "stderr"),
    ];
    let ended = follow(client, &mut lines).await;
    lines.iter_mut().for_each(Lines::end);
    match ended {
        // As go-plugin's host, which takes these for a plugin that has nothing of the kind or ends.
        Err(error)
            if matches!(
                error.code(),
                Some(Code::Unavailable | Code::Unimplemented | Code::Cancelled)
            ) =>
        {
            tracing::debug!(%error, "the plugin's output is not told any more");
            Ok(())
        }
        ended => ended,
    }
}

async fn follow(client: &Client, [stdout, stderr]: &mut [Lines; 2]) -> Result<(), Error> {
    let asked = client.server_stream::<_, StdioData>("/plugin.GRPCStdio/StreamStdio", ());
    let asked = asked.timeout(Duration::MAX).wait_for_ready().compress(None);
    let mut written = asked.await?;
    while let Some(StdioData { channel, data }) = written.message().await? {
        match Channel::try_from(channel) {
            Ok(Channel::Stdout) => stdout.write(&data),
            Ok(Channel::Stderr) => stderr.write(&data),
            _ => tracing::warn!(channel, "a plugin wrote to a stream that is unknown"),
        }
    }
    Ok(())
}

/// One of the streams, whose lines may come in pieces.
struct Lines {
    server: Arc<str>,
    stream: &'static str,
    begun: Vec<u8>,
}

impl Lines {
    fn new(server: Arc<str>, stream: &'static str) -> Self {
        Self {
            server,
            stream,
            begun: Vec::new(),
        }
    }

    fn write(&mut self, data: &[u8]) {
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.begun.len() >= LONGEST_LINE {
                self.tell();
            }
        }
    }

    /// What was begun is a line too.
    fn end(&mut self) {
        if !self.begun.is_empty() {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let line = std::mem::take(&mut self.begun);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\n', '\r']);
        tracing::info!(server = %self.server, stream = self.stream, "{line}");
    }
}
