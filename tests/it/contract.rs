//! What is repeated and what is not, by what a server does that is written by hand on `h2`. (`GOAWAY`s below a stream, which `h2`
//! does not send, are in `resilience.rs` and in the tests of `client/retry/class.rs`.)

use crate::support::within;
use bytes::Bytes;
use h2::server::{self, SendResponse};
use http::Response;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{Backoff, RetryPolicy};
use rpcplugin_testkit::{Client, Code, Reason};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;
use tokio::net::TcpListener;

/// What the server does to the first request. It answers all others.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Ends the connection after the request was read.
    Closes,
    Resets(Reason),
    ResetsAfterHeaders(Reason),
    Status(Code),
    StatusAfterHeaders(Code),
    StatusWithPushback(Code, &'static str),
}

fn answer(mut respond: SendResponse<Bytes>) {
    let response = Response::builder().header("content-type", "application/grpc");
    let mut stream = respond
        .send_response(response.body(()).expect("the server is well"), false)
        .expect("the server is well");
    stream
        .send_data(Bytes::from_static(&[0; 5]), false)
        .expect("the server is well");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("the server is well"));
    stream.send_trailers(trailers).expect("the server is well");
}

fn only_status(mut respond: SendResponse<Bytes>, code: Code, pushback: Option<&str>) {
    let mut response = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", code as i32);
    if let Some(pushback) = pushback {
        response = response.header("grpc-retry-pushback-ms", pushback);
    }
    respond
        .send_response(response.body(()).expect("the server is well"), true)
        .expect("the server is well");
}

/// Serves, and counts the requests that it has read.
async fn serve(listener: TcpListener, does: Does, seen: Arc<AtomicUsize>) {
    loop {
        let (socket, _) = listener.accept().await.expect("the server is well");
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let Ok(mut connection) = server::handshake(socket).await else {
                return;
            };
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                if seen.fetch_add(1, Ordering::SeqCst) > 0 {
                    answer(respond);
                    continue;
                }
                match does {
                    Does::Closes => return,
                    Does::Resets(reason) => respond.send_reset(reason),
                    Does::ResetsAfterHeaders(reason) => {
                        let response =
                            Response::builder().header("content-type", "application/grpc");
                        let response = response.body(()).expect("the server is well");
                        let mut stream = respond
                            .send_response(response, false)
                            .expect("the server is well");
                        stream
                            .send_data(Bytes::from_static(&[0; 5]), false)
                            .expect("the server is well");
                        tokio::spawn(async move {
                            // The data goes out before the reset, or is forgotten with it.
                            tokio::task::yield_now().await;
                            stream.send_reset(reason);
                        });
                    }
                    Does::Status(code) => only_status(respond, code, None),
                    Does::StatusWithPushback(code, pushback) => {
                        only_status(respond, code, Some(pushback))
                    }
                    Does::StatusAfterHeaders(code) => {
                        let response =
                            Response::builder().header("content-type", "application/grpc");
                        let response = response.body(()).expect("the server is well");
                        let mut stream = respond
                            .send_response(response, false)
                            .expect("the server is well");
                        let mut trailers = http::HeaderMap::new();
                        trailers.insert("grpc-status", (code as i32).into());
                        stream.send_trailers(trailers).expect("the server is well");
                    }
                }
            }
        });
    }
}

/// How often the server sees the request, and what the caller gets.
async fn outcome(does: Does, idempotent: bool) -> (usize, Code) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("the server is well");
    let address = listener.local_addr().expect("the server is well");
    let seen = Arc::<AtomicUsize>::default();
    let server = tokio::spawn(serve(listener, does, Arc::clone(&seen)));
    let quick = Backoff {
        initial: Duration::from_millis(1),
        max: Duration::from_millis(1),
        ..Backoff::default()
    };
    let client = Client::builder().address(address).backoff(quick);
    let client = client.retry(RetryPolicy::default().backoff(quick));
    let client = within(client.connect()).await.expect("the server is well");
    let call = client.unary::<(), ()>("/a.B/C", ());
    let call = if idempotent { call.idempotent() } else { call };
    let code = match within(call.into_future()).await {
        Ok(()) => Code::Ok,
        Err(error) => error.code().expect("the server is well"),
    };
    server.abort();
    (seen.load(Ordering::SeqCst), code)
}

#[tokio::test]
async fn what_is_repeated_is_what_the_server_has_not_processed_or_may_process_twice() {
    use Code::{Aborted, Cancelled, Internal, Ok, ResourceExhausted, Unavailable};
    // What the server does; how often it sees the request, and what comes of it: of any call, and of an idempotent one.
    let table = [
        (Does::Resets(Reason::REFUSED_STREAM), (2, Ok), (2, Ok)),
        (Does::Closes, (1, Unavailable), (2, Ok)),
        (
            Does::Resets(Reason::INTERNAL_ERROR),
            (1, Internal),
            (1, Internal),
        ),
        (Does::Resets(Reason::CANCEL), (1, Cancelled), (1, Cancelled)),
        (
            Does::Resets(Reason::ENHANCE_YOUR_CALM),
            (1, ResourceExhausted),
            (1, ResourceExhausted),
        ),
        (
            Does::ResetsAfterHeaders(Reason::REFUSED_STREAM),
            (1, Unavailable),
            (1, Unavailable),
        ),
        (Does::Status(Unavailable), (1, Unavailable), (2, Ok)),
        (Does::Status(Aborted), (1, Aborted), (1, Aborted)),
        (
            Does::StatusAfterHeaders(Unavailable),
            (1, Unavailable),
            (1, Unavailable),
        ),
        (
            Does::StatusWithPushback(Unavailable, "1"),
            (1, Unavailable),
            (2, Ok),
        ),
        (
            Does::StatusWithPushback(Unavailable, "-1"),
            (1, Unavailable),
            (1, Unavailable),
        ),
        (
            Does::StatusWithPushback(Unavailable, "soon"),
            (1, Unavailable),
            (1, Unavailable),
        ),
    ];
    for (does, any, idempotent) in table {
        assert_eq!(outcome(does, false).await, any, "{does:?}");
        assert_eq!(
            outcome(does, true).await,
            idempotent,
            "{does:?}, idempotent"
        );
    }
}
