//! What comes back from a call.

use crate::client::telling::Telling;
use crate::error::Error;
use crate::wire::metadata::without_plumbing;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};
use tokio_stream::Stream;
use tonic::{Streaming, metadata::MetadataMap};

/// A reply with the metadata around it.
///
/// ```
/// # use rpcplugin_testkit::{MockServer, Reply, Stub, json};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = MockServer::start().await;
/// server.mount(Stub::any().reply(Reply::json(json!({"ok": true})).trailer("x-cost", "3")));
///
/// let response = server.client().await.call("Echo", json!({})).response().await.unwrap();
/// assert_eq!(response.message(), &json!({"ok": true}));
/// assert_eq!(response.trailers().get("x-cost").unwrap(), "3");
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Response<T> {
    pub(super) message: T,
    pub(super) metadata: MetadataMap,
    pub(super) trailers: MetadataMap,
}

impl<T> Response<T> {
    /// The reply.
    #[must_use]
    pub fn message(&self) -> &T {
        &self.message
    }

    /// The reply alone.
    #[must_use]
    pub fn into_message(self) -> T {
        self.message
    }

    /// The metadata that came before the reply (the response headers).
    #[must_use]
    pub fn metadata(&self) -> &MetadataMap {
        &self.metadata
    }

    /// The metadata that came after the reply (the trailers).
    #[must_use]
    pub fn trailers(&self) -> &MetadataMap {
        &self.trailers
    }
}

/// The replies of a server-streaming or bidi-streaming call, one by one.
///
/// Read it with [`message`](Self::message), or as a [`Stream`]. Dropping it before its end resets the call.
#[must_use = "dropping the stream resets the call"]
pub struct ResponseStream<T> {
    inner: Streaming<T>,
    metadata: MetadataMap,
    /// Those of a response without a body.
    trailers: MetadataMap,
    telling: Telling,
}

impl<T> ResponseStream<T> {
    pub(super) fn new(response: tonic::Response<Streaming<T>>, telling: Telling) -> Self {
        let (metadata, inner, _) = response.into_parts();
        // A response that is only trailers has them in its headers.
        let trailers_only = metadata.contains_key("grpc-status");
        let metadata = without_plumbing(metadata);
        let (metadata, trailers) = if trailers_only {
            (MetadataMap::new(), metadata)
        } else {
            (metadata, MetadataMap::new())
        };
        Self {
            inner,
            metadata,
            trailers,
            telling,
        }
    }

    /// The next reply, `None` at the end.
    ///
    /// Cancel safe: no reply is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// When the call ends with another status than `OK`, its deadline passes, or the connection is lost.
    pub async fn message(&mut self) -> Result<Option<T>, Error> {
        self.inner
            .message()
            .await
            .map_err(|status| self.telling.explain(status))
    }

    /// The metadata that came before the first reply (the response headers).
    #[must_use]
    pub fn metadata(&self) -> &MetadataMap {
        &self.metadata
    }

    /// The metadata that came after the last reply (the trailers). Replies that were not read are skipped.
    ///
    /// # Errors
    ///
    /// As [`message`](Self::message).
    pub async fn trailers(&mut self) -> Result<MetadataMap, Error> {
        let trailers = self.inner.trailers().await;
        let trailers = trailers.map_err(|status| self.telling.explain(status))?;
        Ok(trailers.map_or_else(|| self.trailers.clone(), without_plumbing))
    }
}

impl<T> Stream for ResponseStream<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.inner).poll_next(cx);
        next.map(|next| next.map(|next| next.map_err(|status| self.telling.explain(status))))
    }
}

impl<T> fmt::Debug for ResponseStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseStream")
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}
