//! `plugin.GRPCStdio`: what the test says that the plugin has written to its stdout and stderr.
//!
//! Follows [go-plugin](https://github.com/hashicorp/go-plugin/blob/main/grpc_stdio.go): what was sent to one caller is not
//! sent again, and what nobody has asked for is kept. A second caller waits until the first has gone.

use crate::proto::plugin::{StdioData, grpc_stdio_server, stdio_data::Channel};
use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, watch};
use tokio_stream::{Stream, wrappers::WatchStream};
use tonic::{Request, Response, Status};

type Written = mpsc::UnboundedReceiver<StdioData>;

/// What was written and not read yet.
#[derive(Debug, Default)]
pub(crate) struct Stdio {
    /// Made when it is needed: few servers write or are read.
    pipe: OnceLock<Pipe>,
    /// How often all readers were sent away.
    dismissed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Pipe {
    written: mpsc::UnboundedSender<StdioData>,
    /// Who has it gets what is written.
    reading: Arc<Mutex<Written>>,
}

impl Default for Pipe {
    fn default() -> Self {
        let (written, reading) = mpsc::unbounded_channel();
        let reading = Arc::new(Mutex::new(reading));
        Self { written, reading }
    }
}

impl Stdio {
    pub(crate) fn write(&self, channel: Channel, data: &[u8]) {
        let channel = channel.into();
        let data = data.to_vec();
        // The other end is here too.
        let _ = self.pipe().written.send(StdioData { channel, data });
    }

    fn pipe(&self) -> &Pipe {
        self.pipe.get_or_init(Pipe::default)
    }

    /// Ends the streams that there are.
    pub(crate) fn dismiss(&self) {
        self.dismissed.send_modify(|times| *times += 1);
    }
}

#[tonic::async_trait]
impl grpc_stdio_server::GrpcStdio for Stdio {
    type StreamStdioStream = Pin<Box<dyn Stream<Item = Result<StdioData, Status>> + Send>>;

    async fn stream_stdio(
        &self,
        _: Request<()>,
    ) -> Result<Response<Self::StreamStdioStream>, Status> {
        let reader = Reader {
            turn: Turn::Waiting(Box::pin(Arc::clone(&self.pipe().reading).lock_owned())),
            dismissed: WatchStream::from_changes(self.dismissed.subscribe()),
        };
        Ok(Response::new(Box::pin(reader)))
    }
}

/// One caller's stream.
struct Reader {
    turn: Turn,
    dismissed: WatchStream<u64>,
}

enum Turn {
    Waiting(Pin<Box<dyn Future<Output = OwnedMutexGuard<Written>> + Send>>),
    Has(OwnedMutexGuard<Written>),
}

impl Stream for Reader {
    type Item = Result<StdioData, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let written = loop {
            match &mut this.turn {
                Turn::Waiting(turn) => match turn.as_mut().poll(cx) {
                    Poll::Ready(written) => this.turn = Turn::Has(written),
                    Poll::Pending => break Poll::Pending,
                },
                Turn::Has(written) => break written.poll_recv(cx),
            }
        };
        if let Poll::Ready(written) = written {
            return Poll::Ready(written.map(Ok));
        }
        // After what was written before.
        let _ = ready!(Pin::new(&mut this.dismissed).poll_next(cx));
        Poll::Ready(None)
    }
}
