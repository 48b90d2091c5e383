//! A stream without end, told as an async step that is taken again and again.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio_stream::Stream;

type Step<S, T> = Pin<Box<dyn Future<Output = (T, S)> + Send>>;

/// A stream each of whose items is made by a step, which hands its state to the next.
pub(crate) struct Steps<S, T> {
    take: Box<dyn Fn(S) -> Step<S, T> + Send>,
    running: Step<S, T>,
}

impl<S, T> Steps<S, T> {
    /// The first step begins when the stream is polled first.
    pub(crate) fn new<F, Fut>(state: S, take: F) -> Self
    where
        F: Fn(S) -> Fut + Send + 'static,
        Fut: Future<Output = (T, S)> + Send + 'static,
    {
        let take = move |state| -> Step<S, T> { Box::pin(take(state)) };
        Self {
            running: take(state),
            take: Box::new(take),
        }
    }
}

impl<S, T> Stream for Steps<S, T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let (item, state) = ready!(self.running.as_mut().poll(cx));
        self.running = (self.take)(state);
        Poll::Ready(Some(item))
    }
}
