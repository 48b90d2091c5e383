//! What can be added to a reply.

use crate::mock::journal::Redaction;
use crate::mock::reply::delay::Delay;
use crate::mock::reply::script::{Body, Reply};
use crate::wire::{Compression, metadata};
use bytes::Bytes;
use tonic::Status;

/// Timing, metadata and the end.
impl Reply {
    /// Waits this long, on tokio's clock, before anything is sent: a `Duration`, or a [`Delay`].
    pub fn delay(mut self, delay: impl Into<Delay>) -> Self {
        self.delay = Some(delay.into());
        self
    }

    /// Waits this long, on tokio's clock, before each message of a stream: a `Duration`, or a [`Delay`].
    ///
    /// # Panics
    ///
    /// When the reply is a [`channel`](Self::channel), whose test decides when it sends, or [`never`](Self::never).
    #[track_caller]
    pub fn message_delay(mut self, delay: impl Into<Delay>) -> Self {
        match &mut self.body {
            Body::Script { pace, .. } => *pace = Some(delay.into()),
            Body::Channel(_) | Body::Handler(_) | Body::Never => {
                panic!("only a reply of messages has a message delay")
            }
        }
        self
    }

    /// Ends the stream with this status, after its messages.
    ///
    /// # Panics
    ///
    /// When the reply is a [`channel`](Self::channel), which ends with [`CallStream::fail`](crate::CallStream::fail), or
    /// [`never`](Self::never).
    #[track_caller]
    pub fn end_with(mut self, status: Status) -> Self {
        match &mut self.body {
            Body::Script { end, .. } => *end = status,
            Body::Channel(_) | Body::Handler(_) | Body::Never => {
                panic!("a reply by a stream ends with `CallStream::fail`, and `never` not at all")
            }
        }
        self
    }

    /// Adds details to the status (`grpc-status-details-bin`): an encoded
    /// [`google.rpc.Status`](https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto), or any bytes.
    ///
    /// # Panics
    ///
    /// When the reply is a [`channel`](Self::channel) or [`never`](Self::never).
    #[track_caller]
    pub fn details(self, details: impl Into<Bytes>) -> Self {
        let Body::Script { end, .. } = &self.body else {
            panic!("a reply by a stream ends with `CallStream::fail`, and `never` not at all");
        };
        let (code, message, metadata) =
            (end.code(), end.message().to_owned(), end.metadata().clone());
        self.end_with(Status::with_details_and_metadata(
            code,
            message,
            details.into(),
            metadata,
        ))
    }

    /// Compresses the messages, if the client says that it understands it (`grpc-accept-encoding`); `None` leaves them as
    /// they are, whatever the [server](crate::mock::MockServerBuilder::compression) does otherwise.
    ///
    /// ```
    /// use rpcplugin_testkit::{Compression, Reply, json};
    ///
    /// let reply = Reply::json(json!({"text": "x".repeat(10_000)})).compress(Compression::Gzip);
    /// ```
    pub fn compress(mut self, compression: impl Into<Option<Compression>>) -> Self {
        self.compression = Some(compression.into());
        self
    }

    /// Adds metadata before the first message (a response header).
    ///
    /// # Panics
    ///
    /// When the key or the value is malformed.
    #[track_caller]
    pub fn metadata(mut self, key: &str, value: &str) -> Self {
        accepted(key, metadata::append(&mut self.metadata, key, value));
        // So that `{:?}` shows no secret.
        Redaction::default().mark(self.metadata.as_mut());
        self
    }

    /// Adds binary metadata before the first message. The key ends with `-bin`.
    ///
    /// # Panics
    ///
    /// When the key is malformed.
    #[track_caller]
    pub fn metadata_bin(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        accepted(
            key,
            metadata::append_bin(&mut self.metadata, key, value.as_ref()),
        );
        self
    }

    /// Adds metadata after the last message (a trailer), whatever the status.
    ///
    /// # Panics
    ///
    /// When the key or the value is malformed.
    #[track_caller]
    pub fn trailer(mut self, key: &str, value: &str) -> Self {
        accepted(key, metadata::append(&mut self.trailers, key, value));
        Redaction::default().mark(self.trailers.as_mut());
        self
    }

    /// Adds binary metadata after the last message. The key ends with `-bin`.
    ///
    /// # Panics
    ///
    /// When the key is malformed.
    #[track_caller]
    pub fn trailer_bin(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        accepted(
            key,
            metadata::append_bin(&mut self.trailers, key, value.as_ref()),
        );
        self
    }
}

#[track_caller]
fn accepted(key: &str, appended: Result<(), &'static str>) {
    if let Err(expected) = appended {
        panic!("invalid metadata `{key}`: expected {expected}");
    }
}
