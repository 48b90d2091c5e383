//! A mock whose connections all go through one.

use crate::mock::brokering::Broker;
use crate::mock::builder::MockServerBuilder;
use crate::net::MuxStream;
use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

impl MockServerBuilder {
    /// Takes every connection for a session of [yamux](https://github.com/hashicorp/yamux/blob/master/spec.md), as a plugin of
    /// go-plugin does whose host has set `PLUGIN_MULTIPLEX_GRPC` ([`plugin::serve`](crate::plugin::serve) sees to that
    /// itself): each stream is a connection of its own, with its own TLS. Streams that a host has
    /// [knocked](crate::plugin::Broker::offer) for go to what is offered.
    ///
    /// Only hosts that multiplex can speak to it then, and no [`Client`](crate::Client).
    pub fn multiplexed(mut self) -> Self {
        self.settings.multiplexed = true;
        self
    }
}

impl Broker {
    /// Knocks at the host, and opens a stream to what it serves under this number (go-plugin's `Dial`), on the connection that
    /// came last.
    ///
    /// # Errors
    ///
    /// When the host refuses, or has not answered in time (10 s, or
    /// [`patience`](crate::mock::MockServerBuilder::patience)); when the server is not
    /// [multiplexed](MockServerBuilder::multiplexed), or the connection is gone.
    pub async fn dial(&self, id: u32) -> io::Result<BrokeredStream> {
        self.knock(id).await.map(BrokeredStream)
    }

    /// Refuses the host that knocks for this number, in these words.
    pub fn refuse(&self, id: u32, error: impl Into<String>) {
        self.refuse_knocks(id, error.into());
    }
}

/// A stream to what a host serves. See [`Broker::dial`].
pub struct BrokeredStream(MuxStream);

impl AsyncRead for BrokeredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for BrokeredStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl fmt::Debug for BrokeredStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrokeredStream")
    }
}
