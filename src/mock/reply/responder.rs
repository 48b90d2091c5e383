//! What a stub's `reply` takes.

use crate::mock::journal::Call;
use crate::mock::reply::script::{Body, Reply};
use crate::mock::reply::stream::CallStream;
use std::{fmt, pin::Pin, sync::Arc};
use tonic::Status;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A reply, or the closure that makes one. See [`IntoReply`].
pub struct ReplyFn(pub(crate) Responder);

impl ReplyFn {
    /// The reply itself; that of a closure over a call is an empty message, since it is not known.
    pub(crate) fn into_fixed(self) -> Reply {
        match self.0 {
            Responder::Fixed(reply) => Arc::unwrap_or_clone(reply),
            Responder::Async(_) | Responder::Sync(_) => Reply::default(),
        }
    }
}

pub(crate) enum Responder {
    Async(Box<dyn Fn(Call) -> BoxFuture<Reply> + Send + Sync>),
    Fixed(Arc<Reply>),
    Sync(Box<dyn Fn(&Call) -> Reply + Send + Sync>),
}

/// What [`Stub::reply`](crate::Stub::reply) takes:
///
/// - a value: a [`Reply`], JSON, a [`Status`];
/// - `|call: &Call| …` that returns such a value, or a `Result` of one and a [`Status`];
/// - `|call: Call| async move { … }` that does the same;
/// - `|stream: CallStream| async move { …; Ok(()) }`, which receives and sends for itself and ends the call with what it
///   returns.
///
/// A call whose client streams is answered when all its messages are in, and one that streams both ways when its first
/// is, or at once if the reply is the same for every call. Only a closure over a `CallStream`, and a
/// [`Reply::channel`], always begin at once, and can end a call before its client has.
///
/// Closures run without any lock held, in a task of the call's own: an async one that waits delays its own call only, and
/// is dropped when the client cancels. One that blocks its thread blocks all that runs there, on the test's usual runtime
/// everything. One that panics answers `INTERNAL` with the panic's text.
///
/// `How` tells the four apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a reply",
    label = "not a reply",
    note = "a stub replies with JSON, a `Reply` (of a prost message: `Reply::message(&..)`), a `Status`, or a closure whose \
            argument type is written out: `|call: &Call|`, `|call: Call| async move`, or `|stream: CallStream| async move`"
)]
pub trait IntoReply<How> {
    /// The reply, or its maker.
    fn into_reply(self) -> ReplyFn;
}

/// The four ways to reply that [`IntoReply`] tells apart. They are inferred and never written.
#[expect(clippy::exhaustive_enums, reason = "markers without values")]
pub mod how {
    /// A value.
    #[derive(Debug)]
    pub enum Value {}
    /// A closure over `&Call`.
    #[derive(Debug)]
    pub enum Sync {}
    /// An async closure over `Call`.
    #[derive(Debug)]
    pub enum Async {}
    /// An async closure over `CallStream`.
    #[derive(Debug)]
    pub enum Stream {}
}

impl<R: Into<Reply>> IntoReply<how::Value> for R {
    fn into_reply(self) -> ReplyFn {
        ReplyFn(Responder::Fixed(Arc::new(self.into())))
    }
}

impl<F, R> IntoReply<how::Sync> for F
where
    F: Fn(&Call) -> R + Send + Sync + 'static,
    R: Into<Reply>,
{
    fn into_reply(self) -> ReplyFn {
        ReplyFn(Responder::Sync(Box::new(move |call| self(call).into())))
    }
}

impl<F, Fut, R> IntoReply<how::Async> for F
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: Into<Reply>,
{
    fn into_reply(self) -> ReplyFn {
        ReplyFn(Responder::Async(Box::new(move |call| {
            let reply = self(call);
            Box::pin(async move { reply.await.into() })
        })))
    }
}

impl<F, Fut> IntoReply<how::Stream> for F
where
    F: Fn(CallStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Status>> + Send + 'static,
{
    fn into_reply(self) -> ReplyFn {
        let handler = Arc::new(move |stream| -> BoxFuture<_> { Box::pin(self(stream)) });
        ReplyFn(Responder::Fixed(Arc::new(Reply::from_body(Body::Handler(
            handler,
        )))))
    }
}

impl fmt::Debug for ReplyFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Async(_) => f.write_str("an async closure"),
            Self::Fixed(reply) => fmt::Debug::fmt(reply, f),
            Self::Sync(_) => f.write_str("a closure"),
        }
    }
}
