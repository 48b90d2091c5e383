//! The body of a response: what tonic reads messages and trailers from.

use crate::client::about::About;
use crate::client::link::Slot;
use crate::client::telemetry::Counted;
use crate::client::timer::Timer;
use crate::client::upload::Upload;
use crate::error::Error;
use crate::wire::Receive;
use crate::wire::recode::{Recode, RecodeError};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tonic::{Code, Status};

/// The body of a response: what tonic reads messages and trailers from.
///
/// It ends with `DEADLINE_EXCEEDED` at the call's deadline, also when the server goes on sending, and resets the stream
/// then, or when it is dropped before its end. Nothing happens while nobody reads it: a body that is kept unread past its
/// deadline ends with the next read.
pub struct ResponseBody {
    /// Gone once the last frame is out, so that a body that is kept holds up no [`close`](crate::Client::close).
    open: Option<Open>,
    about: About,
    /// What has arrived and was not read.
    arrived: VecDeque<Frame<Bytes>>,
    /// Told how it ended. Dropped untold, when the body is dropped before its end.
    on_end: Option<OnEnd>,
}

type OnEnd = Box<dyn FnOnce(&End<'_>) + Send>;

/// How a response ended.
pub(crate) enum End<'a> {
    Failed(&'a Status),
    Trailers(&'a HeaderMap),
    /// Without trailers, which no server may do.
    Nothing,
}

impl End<'_> {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Failed(status) => status.code(),
            Self::Trailers(trailers) => status_of(trailers).unwrap_or(Code::Unknown),
            Self::Nothing => Code::Unknown,
        }
    }
}

/// The code that these headers or trailers tell, if they do.
pub(crate) fn status_of(headers: &HeaderMap) -> Option<Code> {
    let status = headers.get(Status::GRPC_STATUS)?;
    Some(Code::from_bytes(status.as_bytes()))
}

#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) receive: Recode<Counted<Receive>>,
    pub(crate) timer: Timer,
    pub(crate) upload: Upload,
    pub(crate) _slot: Slot,
    /// A stream lives on when the client that opened it is dropped.
    pub(crate) _transport: Arc<dyn fmt::Debug + Send + Sync>,
}

impl ResponseBody {
    pub(crate) fn new(open: Open, about: About) -> Self {
        Self {
            open: Some(open),
            about,
            arrived: VecDeque::new(),
            on_end: None,
        }
    }

    /// Waits until it is there as a whole, or as many bytes of it are.
    ///
    /// # Errors
    ///
    /// When it breaks off before, or the deadline passes.
    pub(crate) async fn arrive(&mut self, limit: usize) -> Result<(), Error> {
        let mut bytes = 0;
        while let Some(open) = &mut self.open
            && bytes <= limit
        {
            match poll_fn(|cx| open.poll_frame(&self.about, cx)).await {
                Some(Ok(frame)) if frame.is_data() => {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    self.arrived.push_back(frame);
                }
                Some(Ok(trailers)) => {
                    self.arrived.push_back(trailers);
                    self.open = None;
                }
                Some(Err(error)) => return Err(error),
                // Whoever reads it is told so.
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Tells how the response ends, after whom it told before.
    pub(crate) fn on_end(&mut self, tell: impl FnOnce(&End<'_>) + Send + 'static) {
        self.on_end = Some(match self.on_end.take() {
            None => Box::new(tell),
            Some(before) => Box::new(move |end| {
                before(end);
                tell(end);
            }),
        });
    }
}

impl Open {
    /// The next frame; a passed deadline is an error.
    fn poll_frame(
        &mut self,
        about: &About,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        // A server that goes on sending does not keep the call alive.
        if self.timer.is_passed() {
            return Poll::Ready(Some(Err(about.late("reading the response"))));
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.receive).poll_frame(cx) {
            let failure = |error| {
                let own = self.upload.failure().map(|status| about.upload(status));
                let failure = || match error {
                    RecodeError::Malformed(malformed) => about.malformed(&malformed),
                    RecodeError::Body(error) => about.failure(&error),
                };
                own.unwrap_or_else(failure)
            };
            return Poll::Ready(frame.map(|frame| frame.map_err(failure)));
        }
        ready!(self.timer.poll_passed(cx));
        Poll::Ready(Some(Err(about.late("reading the response"))))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = match (this.arrived.pop_front(), &mut this.open) {
            (Some(frame), _) => Some(Ok(frame)),
            (None, None) => return Poll::Ready(None),
            (None, Some(open)) => {
                let frame = ready!(open.poll_frame(&this.about, cx));
                frame.map(|frame| frame.map_err(Status::from))
            }
        };
        let end = match &frame {
            Some(Ok(data)) if data.is_data() => return Poll::Ready(frame),
            Some(Ok(last)) => last.trailers_ref().map_or(End::Nothing, End::Trailers),
            Some(Err(status)) => End::Failed(status),
            None => End::Nothing,
        };
        if let Some(tell) = this.on_end.take() {
            tell(&end);
        }
        this.open = None;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let open = self.open.as_ref();
        self.arrived.is_empty() && open.is_none_or(|open| open.receive.is_end_stream())
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ResponseBody({} from {})",
            self.about.path(),
            self.about.target
        )
    }
}
