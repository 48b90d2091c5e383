//! Saying good-bye on a connection.

use crate::wire::frame::LAST_STREAM;
use bytes::Bytes;
use h2::Reason;

/// How a connection is told to go: the fields of a [GOAWAY frame](https://www.rfc-editor.org/rfc/rfc9113#section-6.8), and
/// what comes after it. A [`Reason`] converts into one.
///
/// ```
/// use rpcplugin_testkit::{Fault, Reason, mock::GoAway};
///
/// Fault::go_away(Reason::NO_ERROR);
/// Fault::go_away(GoAway::graceful());
/// Fault::go_away(GoAway::new(Reason::ENHANCE_YOUR_CALM).debug_data("too_many_pings").abrupt());
/// Fault::go_away(GoAway::new(Reason::NO_ERROR).last_stream_id(0));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is given to `Fault::go_away`"]
pub struct GoAway {
    pub(crate) reason: Reason,
    /// `None` for the last stream that came.
    pub(crate) last_stream: Option<u32>,
    pub(crate) debug_data: Bytes,
    pub(crate) graceful: bool,
    pub(crate) abrupt: bool,
}

impl GoAway {
    /// One GOAWAY frame with this code. The calls that came before are answered, later ones are ignored, and the connection is
    /// closed when the last has its answer.
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            last_stream: None,
            debug_data: Bytes::new(),
            graceful: false,
            abrupt: false,
        }
    }

    /// The two steps of a server that shuts down well: `NO_ERROR` with the last stream 2^31-1, and after a round trip the true
    /// last stream.
    pub fn graceful() -> Self {
        Self {
            graceful: true,
            ..Self::new(Reason::NO_ERROR)
        }
    }

    /// The last stream that the frame tells, 2^31-1 at most. What was sent on later ones is ignored, and the client may take
    /// it for not processed. Default: the last stream that came.
    pub fn last_stream_id(mut self, id: u32) -> Self {
        self.graceful = false;
        self.last_stream = Some(id.min(LAST_STREAM));
        self
    }

    /// What the frame tells people.
    pub fn debug_data(mut self, data: impl Into<Bytes>) -> Self {
        self.graceful = false;
        self.debug_data = data.into();
        self
    }

    /// Closes the connection behind it at once, whatever calls are in flight.
    pub fn abrupt(mut self) -> Self {
        self.graceful = false;
        self.abrupt = true;
        self
    }
}

impl From<Reason> for GoAway {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}
