//! What is repeated and what is not, by a server that writes its frames byte by byte: no library decides what it means.
//!
//! `tests/providers` runs it too, in a tree where nobody enables tonic's `server`.

use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{Backoff, RetryPolicy};
use rpcplugin_testkit::{Client, Code};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;
use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the server does to the first request, which it has read to its end. It answers all others.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answers,
    Closes,
    ClosesAfterHeaders,
    ClosesAfterMessage,
    Resets(Reason),
    ResetsAfterHeaders(Reason),
    ResetsAfterMessage(Reason),
    Status(Code),
    StatusAfterHeaders(Code),
    StatusAfterMessage(Code),
    StatusWithPushback(Code, &'static str),
    /// Says GOAWAY: none was processed.
    GoesAwayBelow(Reason),
    /// Says GOAWAY: the request may be processed; and closes.
    GoesAwayAt(Reason),
    /// Says GOAWAY, and answers.
    GoesAwayAndAnswers,
}

/// [The codes of HTTP/2](https://www.rfc-editor.org/rfc/rfc9113#section-7).
#[derive(Clone, Copy, Debug)]
enum Reason {
    NoError = 0,
    InternalError = 2,
    RefusedStream = 7,
    Cancel = 8,
    EnhanceYourCalm = 11,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// [Fields as literals](https://www.rfc-editor.org/rfc/rfc7541#section-6.2.2), after `:status 200` if they begin a response.
fn fields(begins: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = if begins { vec![0x88] } else { Vec::new() };
    for text in fields
        .iter()
        .flat_map(|(name, value)| [(true, name), (false, value)])
    {
        if text.0 {
            block.push(0);
        }
        block.push(u8::try_from(text.1.len()).expect("a short text"));
        block.extend(text.1.as_bytes());
    }
    block
}

fn head(stream: u32) -> Vec<u8> {
    let block = fields(true, &[("content-type", "application/grpc")]);
    frame(HEADERS, END_HEADERS, stream, &block)
}

fn message(stream: u32) -> Vec<u8> {
    frame(DATA, 0, stream, &[0; 5])
}

fn trailers(stream: u32, code: Code) -> Vec<u8> {
    let code = (code as i32).to_string();
    let block = fields(false, &[("grpc-status", &code)]);
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

fn only_status(stream: u32, code: Code, pushback: Option<&str>) -> Vec<u8> {
    let code = (code as i32).to_string();
    let mut all = vec![("content-type", "application/grpc"), ("grpc-status", &code)];
    all.extend(pushback.map(|pushback| ("grpc-retry-pushback-ms", pushback)));
    frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        stream,
        &fields(true, &all),
    )
}

fn reset(stream: u32, reason: Reason) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &(reason as u32).to_be_bytes())
}

fn goaway(last: u32, reason: Reason) -> Vec<u8> {
    let payload = [last.to_be_bytes(), (reason as u32).to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

impl Does {
    /// The frames that it sends, and whether it closes the connection then.
    fn frames(self, stream: u32) -> (Vec<u8>, bool) {
        let head = head(stream);
        let message = [head.clone(), message(stream)].concat();
        let answer = [message.clone(), trailers(stream, Code::Ok)].concat();
        match self {
            Self::Answers => (answer, false),
            Self::Closes => (Vec::new(), true),
            Self::ClosesAfterHeaders => (head, true),
            Self::ClosesAfterMessage => (message, true),
            Self::Resets(reason) => (reset(stream, reason), false),
            Self::ResetsAfterHeaders(reason) => ([head, reset(stream, reason)].concat(), false),
            Self::ResetsAfterMessage(reason) => ([message, reset(stream, reason)].concat(), false),
            Self::Status(code) => (only_status(stream, code, None), false),
            Self::StatusAfterHeaders(code) => ([head, trailers(stream, code)].concat(), false),
            Self::StatusAfterMessage(code) => ([message, trailers(stream, code)].concat(), false),
            Self::StatusWithPushback(code, wait) => (only_status(stream, code, Some(wait)), false),
            Self::GoesAwayBelow(reason) => (goaway(0, reason), false),
            Self::GoesAwayAt(reason) => (goaway(stream, reason), true),
            Self::GoesAwayAndAnswers => ([goaway(stream, Reason::NoError), answer].concat(), false),
        }
    }
}

/// Serves one connection, and counts the requests that it has read.
async fn serve(mut socket: TcpStream, does: Does, seen: Arc<AtomicUsize>) -> io::Result<()> {
    socket.read_exact(&mut [0; 24]).await?;
    socket.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; length.try_into().expect("a short frame")];
        socket.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags != ACK => socket.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
            PING if flags != ACK => socket.write_all(&frame(PING, ACK, 0, &payload)).await?,
            DATA | HEADERS if flags & END_STREAM != 0 => {
                let is_first = seen.fetch_add(1, Ordering::SeqCst) == 0;
                let does = if is_first { does } else { Does::Answers };
                let (frames, closes) = does.frames(u32::from_be_bytes(stream));
                socket.write_all(&frames).await?;
                if closes {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
}

/// How the request is made.
#[derive(Clone, Copy, Debug)]
enum Calls {
    Once,
    Idempotent,
    /// Its caller sees each message as it comes.
    IdempotentStream,
}

/// How often the server sees the request, and what the caller gets.
async fn outcome(does: Does, calls: Calls) -> (usize, Code) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a port");
    let seen = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&seen);
    let server = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            // It ends with its connection.
            tokio::spawn(serve(socket, does, Arc::clone(&counter)));
        }
    });
    let quick = Backoff {
        initial: Duration::from_millis(1),
        max: Duration::from_millis(1),
        ..Backoff::default()
    };
    let client = Client::builder().address(address).backoff(quick);
    let client = client.retry(RetryPolicy::default().backoff(quick));
    let client = within(client.connect()).await.expect("a connection");
    let unary = || client.unary::<(), ()>("/a.B/C", ());
    let called = match calls {
        Calls::Once => within(unary().into_future()).await,
        Calls::Idempotent => within(unary().idempotent().into_future()).await,
        Calls::IdempotentStream => {
            let call = client.server_stream::<(), ()>("/a.B/C", ()).idempotent();
            let read = async {
                let mut replies = call.await?;
                while replies.message().await?.is_some() {}
                Ok(())
            };
            within(read).await
        }
    };
    let code = match called {
        Ok(()) => Code::Ok,
        Err(error) => error.code().expect("a status"),
    };
    server.abort();
    (seen.load(Ordering::SeqCst), code)
}

#[tokio::test]
async fn what_is_repeated_is_what_the_server_has_not_processed_or_may_process_twice() {
    use Code::{Aborted, Cancelled, Internal, Ok, ResourceExhausted, Unavailable};
    use Reason::{Cancel, EnhanceYourCalm, InternalError, NoError, RefusedStream};
    let lost = (1, Unavailable);
    let again = (2, Ok);
    // What the server does; how often it sees the request, and what comes of it: of any call, of an idempotent one, and of an
    // idempotent stream, whose caller sees the head of the response.
    let table = [
        (Does::Answers, [(1, Ok); 3]),
        (Does::Closes, [lost, again, again]),
        (Does::ClosesAfterHeaders, [lost, again, lost]),
        (Does::ClosesAfterMessage, [lost, again, lost]),
        (Does::Resets(RefusedStream), [again; 3]),
        (Does::Resets(InternalError), [(1, Internal); 3]),
        (Does::Resets(Cancel), [(1, Cancelled); 3]),
        (Does::Resets(EnhanceYourCalm), [(1, ResourceExhausted); 3]),
        (Does::ResetsAfterHeaders(RefusedStream), [lost, again, lost]),
        (Does::ResetsAfterMessage(RefusedStream), [lost, again, lost]),
        (Does::ResetsAfterMessage(InternalError), [(1, Internal); 3]),
        (Does::Status(Unavailable), [lost, again, again]),
        (Does::Status(Aborted), [(1, Aborted); 3]),
        (Does::StatusAfterHeaders(Unavailable), [lost; 3]),
        (Does::StatusAfterMessage(Unavailable), [lost; 3]),
        (
            Does::StatusWithPushback(Unavailable, "1"),
            [lost, again, again],
        ),
        (Does::StatusWithPushback(Unavailable, "-1"), [lost; 3]),
        (Does::StatusWithPushback(Unavailable, "soon"), [lost; 3]),
        (Does::GoesAwayBelow(NoError), [again; 3]),
        (Does::GoesAwayBelow(EnhanceYourCalm), [again; 3]),
        (Does::GoesAwayAt(NoError), [lost, again, again]),
        (Does::GoesAwayAndAnswers, [(1, Ok); 3]),
    ];
    for (does, expected) in table {
        let calls = [Calls::Once, Calls::Idempotent, Calls::IdempotentStream];
        for (calls, expected) in calls.into_iter().zip(expected) {
            assert_eq!(outcome(does, calls).await, expected, "{does:?} {calls:?}");
        }
    }
}
