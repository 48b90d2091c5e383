//! How many bytes of messages pass.

#[cfg(feature = "metrics")]
use crate::client::telemetry::measure::Total;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// A gRPC body whose messages are counted as they pass.
#[derive(Debug)]
pub(crate) struct Counted<B> {
    body: B,
    meter: Meter,
}

impl<B> Counted<B> {
    pub(crate) fn new(body: B, meter: Meter) -> Self {
        Self { body, meter }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.meter.pass(data);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(not(feature = "metrics"))]
#[derive(Debug)]
pub(crate) struct Meter;

#[cfg(not(feature = "metrics"))]
impl Meter {
    #[expect(clippy::unused_self, reason = "nothing is measured")]
    fn pass(&self, _bytes: &[u8]) {}
}

/// Adds up what is no prefix.
#[cfg(feature = "metrics")]
#[derive(Debug)]
pub(crate) struct Meter {
    payload: Payload,
    total: Total,
}

#[cfg(feature = "metrics")]
impl Meter {
    pub(super) fn new(total: Total) -> Self {
        let payload = Payload::default();
        Self { payload, total }
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.total.add(self.payload.pass(bytes));
    }
}

/// Where in a stream of length-prefixed messages it is.
#[cfg(feature = "metrics")]
#[derive(Debug, Default)]
struct Payload {
    /// Of the prefix under way.
    prefix: [u8; 5],
    known: usize,
    /// Bytes of the message under way that are still to come.
    left: usize,
}

#[cfg(feature = "metrics")]
impl Payload {
    /// How many of these bytes, which come next, are messages.
    fn pass(&mut self, mut bytes: &[u8]) -> u64 {
        let mut passed = 0;
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                passed += taken as u64;
                bytes = &bytes[taken..];
                continue;
            }
            self.prefix[self.known] = *first;
            self.known += 1;
            bytes = rest;
            if self.known == self.prefix.len() {
                let [_compressed, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length) as usize;
                self.known = 0;
            }
        }
        passed
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use crate::client::telemetry::payload::Payload;
    use pretty_assertions::assert_eq;

    #[test]
    fn messages_are_counted_wherever_their_bytes_are_cut() {
        let mut stream = Vec::new();
        for length in [3_u32, 0, 300, 1] {
            stream.push(0);
            stream.extend(length.to_be_bytes());
            stream.extend(vec![9; length as usize]);
        }
        for size in 1..=stream.len() {
            let mut payload = Payload::default();
            let passed: u64 = stream.chunks(size).map(|cut| payload.pass(cut)).sum();
            assert_eq!(passed, 304, "in pieces of {size}");
        }
    }
}
