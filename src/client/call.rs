//! Calls as people write them: a builder that is awaited.

use crate::client::config::ClientConfig;
use crate::client::options::{CallOptions, Served};
use crate::client::stream::{Response, ResponseStream};
use crate::client::telling::Telling;
use crate::client::timer::Deadline;
use crate::error::{Error, Kind};
use crate::wire::{compression::Compression, metadata};
use std::{fmt, pin::Pin, time::Duration};
use tonic::{Request, Status, Streaming, metadata::MetadataMap};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Opened<T> = Result<(tonic::Response<Streaming<T>>, Telling), Error>;
/// Everything of a call but its name and its settings.
pub(super) type Open<T> = Box<dyn FnOnce(String, Settings) -> BoxFuture<Opened<T>> + Send>;

/// What the builder methods set.
#[derive(Debug, Default)]
pub(super) struct Settings {
    metadata: MetadataMap,
    timeout: Option<Duration>,
    options: CallOptions,
    /// `None` for the client's own, `Some(None)` for none.
    compression: Option<Option<Compression>>,
    /// The first mistake in building, told when the call is awaited.
    mistake: Option<Error>,
}

/// The settings at the moment that the call starts.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) metadata: MetadataMap,
    pub(super) options: CallOptions,
    pub(super) served: Option<Served>,
}

impl Settings {
    /// From here the deadline runs.
    pub(super) fn start(self, defaults: &ClientConfig) -> Result<Started, Error> {
        let timeout = self.timeout.or(defaults.timeout);
        let compression = self.compression.unwrap_or(defaults.compression);
        match self.mistake {
            Some(mistake) => Err(mistake),
            None => Ok(Started {
                metadata: self.metadata,
                options: CallOptions {
                    compression,
                    deadline: Some(Deadline::after(timeout)),
                    ..self.options
                },
                served: None,
            }),
        }
    }
}

impl Started {
    /// The tonic request of this call.
    pub(super) fn request<S>(self, messages: S) -> Request<S> {
        let mut request = Request::new(messages);
        *request.metadata_mut() = self.metadata;
        request.extensions_mut().insert(self.options);
        if let Some(served) = self.served {
            request.extensions_mut().insert(served);
        }
        request
    }
}

/// Makes the builder and its settings, which a unary and a streaming call share.
macro_rules! builder {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[must_use = "a call does nothing until it is awaited"]
        pub struct $name<T> {
            open: Open<T>,
            name: String,
            settings: Settings,
        }

        impl<T> $name<T> {
            pub(super) fn new(name: impl Into<String>, open: Open<T>) -> Self {
                Self {
                    open,
                    name: name.into(),
                    settings: Settings::default(),
                }
            }

            /// Adds ASCII metadata. A malformed key or value fails the call, before anything is sent.
            pub fn metadata(mut self, key: &str, value: &str) -> Self {
                let appended = metadata::append(&mut self.settings.metadata, key, value);
                self.remember(key, appended)
            }

            /// Adds binary metadata. Its key ends with `-bin`, or the call fails before anything is sent.
            pub fn metadata_bin(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
                let appended = metadata::append_bin(&mut self.settings.metadata, key, value.as_ref());
                self.remember(key, appended)
            }

            /// How long the call may take, up to the end of its last reply. It is sent as `grpc-timeout`, and replaces
            /// the client's own timeout; `Duration::MAX` is no limit.
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.settings.timeout = Some(timeout);
                self
            }

            /// Compresses the request, or `None` does not, whatever the client's own setting is
            /// ([gRPC compression](https://github.com/grpc/grpc/blob/master/doc/compression.md)). A server that does not
            /// understand it answers with `UNIMPLEMENTED`. Replies are decompressed without being asked for.
            ///
            /// ```no_run
            /// use rpcplugin_testkit::{Client, Compression, json};
            ///
            /// # async fn example() -> Result<(), rpcplugin_testkit::Error> {
            /// let client = Client::connect("127.0.0.1:50051").await?;
            /// client.call("Echo", json!({"message": "Hello"})).compress(Compression::Gzip).await?;
            /// # Ok(())
            /// # }
            /// ```
            pub fn compress(mut self, compression: impl Into<Option<Compression>>) -> Self {
                self.settings.compression = Some(compression.into());
                self
            }

            /// Declares that the call may be made more than once with the effect of once: when it fails, it is made again as
            /// the client's [`RetryPolicy`](crate::client::RetryPolicy) says, until there is something to see of its response.
            ///
            /// A call that was certainly not processed is made again without this.
            pub fn idempotent(mut self) -> Self {
                self.settings.options.idempotent = true;
                self
            }

            /// Waits for a connection, within the deadline, instead of failing while the server cannot be reached
            /// ([wait for ready](https://github.com/grpc/grpc/blob/master/doc/wait-for-ready.md)).
            pub fn wait_for_ready(mut self) -> Self {
                self.settings.options.wait_for_ready = true;
                self
            }

            fn remember(mut self, key: &str, appended: Result<(), &'static str>) -> Self {
                if let Err(expected) = appended {
                    let text = format!("invalid metadata `{key}` for {}: expected {expected}", self.name);
                    self.settings.mistake.get_or_insert(Error::new(Kind::Message, text));
                }
                self
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("method", &self.name)
                    .field("settings", &self.settings)
                    .finish_non_exhaustive()
            }
        }
    };
}

builder! {
    /// A call with one reply, made when it is awaited.
    ///
    /// Awaiting it gives the reply; [`response`](Self::response) gives the metadata too. Dropping the future resets the
    /// call.
    UnaryCall
}

builder! {
    /// A call with a stream of replies, made when it is awaited. Awaiting it gives the [`ResponseStream`] as soon as the
    /// response headers are there.
    StreamCall
}

impl<T: Send + 'static> UnaryCall<T> {
    /// Makes the call and gives the reply with its metadata and trailers.
    ///
    /// # Errors
    ///
    /// When the call could not be made, or ended with another status than `OK`.
    pub async fn response(self) -> Result<Response<T>, Error> {
        let response = self.exchange().await?;
        Ok(Response {
            message: response.message,
            metadata: metadata::without_plumbing(response.metadata),
            trailers: metadata::without_plumbing(response.trailers),
        })
    }

    /// The response with all its headers.
    async fn exchange(mut self) -> Result<Response<T>, Error> {
        self.settings.options.unary = true;
        let (response, telling) = (self.open)(self.name, self.settings).await?;
        let (metadata, mut replies, _) = response.into_parts();
        let only = only_message(&mut replies).await;
        let (message, trailers) = only.map_err(|status| telling.explain(status))?;
        Ok(Response {
            message,
            metadata,
            trailers,
        })
    }
}

/// Exactly one message and the trailers, as a unary reply must be.
async fn only_message<T>(replies: &mut Streaming<T>) -> Result<(T, MetadataMap), Status> {
    let first = replies.message().await?;
    let message = first
        .ok_or_else(|| Status::internal("the server ended the call with OK and without a reply"))?;
    if replies.message().await?.is_some() {
        return Err(Status::internal(
            "the server sent more than one reply to a call that has one",
        ));
    }
    let trailers = replies.trailers().await?;
    Ok((message, trailers.unwrap_or_default()))
}

impl<T: Send + 'static> IntoFuture for UnaryCall<T> {
    type Output = Result<T, Error>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.exchange().await.map(Response::into_message) })
    }
}

impl<T: Send + 'static> IntoFuture for StreamCall<T> {
    type Output = Result<ResponseStream<T>, Error>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (response, telling) = (self.open)(self.name, self.settings).await?;
            Ok(ResponseStream::new(response, telling))
        })
    }
}
