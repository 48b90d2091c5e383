//! Calls of a raw `h2` client, with all that it sees of the answers.

use crate::probe::{dial, framed};
use crate::raw::grpc;
use crate::support::within;
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Response};
use rpcplugin_testkit::{MockServer, Reason};

/// An answer as a raw `h2` client sees it: what a probe sees packed, unpacked.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) reset: Option<Reason>,
}

/// A raw `h2` connection to the mock.
pub(crate) async fn h2(server: &MockServer) -> SendRequest<Bytes> {
    let handshake = h2::client::handshake(dial(server).await);
    let (requests, connection) = within(handshake).await.expect("HTTP/2");
    tokio::spawn(async move { drop(connection.await) });
    requests
}

/// Calls with one message, and collects what comes, up to so many bytes if the answer has no end.
pub(crate) async fn ask(
    requests: &SendRequest<Bytes>,
    path: &str,
    message: &[u8],
    enough: Option<usize>,
) -> Answer {
    let mut requests = within(requests.clone().ready()).await.expect("ready");
    let request = grpc(path).body(()).expect("a request");
    let (response, mut stream) = requests.send_request(request, false).expect("sent");
    stream
        .send_data(framed(message).into(), true)
        .expect("sent");
    let mut answer = Answer::default();
    match within(response).await {
        Ok(response) => collect(response, &mut answer, enough).await,
        Err(error) => answer.reset = error.reason(),
    }
    answer
}

async fn collect(response: Response<h2::RecvStream>, answer: &mut Answer, enough: Option<usize>) {
    let (parts, mut body) = response.into_parts();
    answer.status = parts.status.as_u16();
    answer.headers = parts.headers;
    while enough.is_none_or(|enough| answer.data.len() < enough) {
        match within(body.data()).await {
            Some(Ok(data)) => {
                answer.data.extend_from_slice(&data);
                let _ = body.flow_control().release_capacity(data.len());
            }
            Some(Err(error)) => {
                answer.reset = error.reason();
                return;
            }
            None => match within(body.trailers()).await {
                Ok(trailers) => {
                    answer.trailers = trailers;
                    return;
                }
                Err(error) => {
                    answer.reset = error.reason();
                    return;
                }
            },
        }
    }
}
