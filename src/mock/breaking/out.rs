//! The HTTP/2 stream that an answer goes out by, when it matters what has gone out.

use crate::net::{Frames, Watch};
use crate::wire::send::{self, Stopped};
use crate::wire::status;
use bytes::{Buf as _, Bytes, BytesMut};
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderMap, Response};
use std::future::poll_fn;
use tonic::{Status, metadata::MetadataMap};

/// One stream, whose frames are counted on their way to the socket.
pub(super) struct Out {
    respond: SendResponse<Bytes>,
    /// `None` before the headers.
    stream: Option<SendStream<Bytes>>,
    watch: Watch,
    /// How much goes into one DATA frame.
    largest: usize,
    /// How many bytes of it become padding.
    filler: usize,
    handed: Handed,
}

/// What was handed over to `h2`.
#[derive(Default)]
struct Handed {
    headers: u64,
    /// Of messages and their prefixes.
    bytes: u64,
    /// All of DATA, with what becomes padding.
    data: u64,
}

/// The largest DATA frame that all peers take.
const LARGEST_FRAME: usize = 16_384;

impl Out {
    pub(super) fn new(
        respond: SendResponse<Bytes>,
        frames: &Frames,
        largest: Option<usize>,
        padding: Option<u8>,
    ) -> Self {
        let watch = frames.watch(respond.stream_id().into());
        if let Some(padding) = padding {
            watch.pad(padding);
        }
        let filler = padding.map_or(0, |padding| usize::from(padding) + 1);
        Self {
            respond,
            stream: None,
            watch,
            largest: largest.unwrap_or(LARGEST_FRAME).min(LARGEST_FRAME - filler),
            filler,
            handed: Handed::default(),
        }
    }

    /// How many bytes of messages were sent, with their prefixes.
    pub(super) fn bytes(&self) -> u64 {
        self.handed.bytes
    }

    pub(super) fn headers(&mut self, head: Response<()>) -> Result<(), Stopped> {
        self.stream = Some(self.respond.send_response(head, false)?);
        self.handed.headers += 1;
        Ok(())
    }

    pub(super) fn headers_only(&mut self, head: Response<()>) -> Result<(), Stopped> {
        Ok(self.respond.send_response(head, true).map(drop)?)
    }

    /// Sends bytes of messages, as fast as flow control lets them.
    pub(super) async fn write(&mut self, mut data: Bytes) -> Result<(), Stopped> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        self.handed.bytes += data.len() as u64;
        while !data.is_empty() {
            let wanted = data.len().min(self.largest) + self.filler;
            stream.reserve_capacity(wanted);
            // With less there is no room for the padding, which must not be sent in another frame.
            while stream.capacity() <= self.filler {
                send::capacity(stream).await?;
            }
            let granted = stream.capacity().min(wanted) - self.filler;
            let mut piece = BytesMut::from(&data[..granted]);
            data.advance(granted);
            piece.resize(granted + self.filler, 0);
            self.handed.data += piece.len() as u64;
            stream.send_data(piece.freeze(), false)?;
        }
        Ok(())
    }

    pub(super) fn trailers(&mut self, trailers: HeaderMap) -> Result<(), Stopped> {
        self.handed.headers += 1;
        match &mut self.stream {
            Some(stream) => send::trailers(stream, trailers),
            None => Ok(()),
        }
    }

    /// Ends the stream without trailers.
    pub(super) fn end(&mut self) -> Result<(), Stopped> {
        match &mut self.stream {
            Some(stream) => send::only(stream, Bytes::new(), true),
            None => Ok(()),
        }
    }

    /// Ends the stream with a status.
    pub(super) fn fail(&mut self, status: &Status) -> Result<(), Stopped> {
        match &mut self.stream {
            Some(stream) => send::trailers(stream, status::trailers(status, MetadataMap::new())),
            None => self.headers_only(status::trailers_only(status, MetadataMap::new())),
        }
    }

    /// `h2` forgets what it has not sent: [flush](Self::flush) before.
    pub(super) fn reset(&mut self, reason: Reason) {
        match &mut self.stream {
            Some(stream) => stream.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Waits until padding is on its way: nobody makes it padding any more when this is dropped.
    pub(super) async fn finish(&mut self) -> Result<(), Stopped> {
        match self.filler {
            0 => Ok(()),
            _ => self.flush().await,
        }
    }

    /// Waits until all that was handed over is on its way.
    pub(super) async fn flush(&mut self) -> Result<(), Stopped> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let Handed { headers, data, .. } = self.handed;
        let flushed = self
            .watch
            .until(|sent| sent.headers >= headers && sent.data >= data);
        tokio::select! {
            biased;
            () = flushed => Ok(()),
            stopped = send::stopped(stream) => Err(stopped),
        }
    }

    /// Waits for something, until nobody wants the answer any more.
    pub(super) async fn unless_gone<F: Future>(&mut self, future: F) -> Result<F::Output, Stopped> {
        let stopped = async {
            match &mut self.stream {
                Some(stream) => send::stopped(stream).await,
                None => poll_fn(|cx| self.respond.poll_reset(cx)).await.into(),
            }
        };
        tokio::select! {
            biased;
            output = future => Ok(output),
            stopped = stopped => Err(stopped),
        }
    }
}
