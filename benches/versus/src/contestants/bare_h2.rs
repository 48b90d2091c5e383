//! A recorder on bare `h2`: what is left of a gRPC server when nothing is generic and hardly anything can go wrong. It is no
//! mock that anybody could use, and shows where the protocol itself ends.
//!
//! It answers every call with one message, and looks neither at its path nor at a deadline. Each call has a task of its own.

use crate::contestants::Running;
use crate::echo::{EchoReply, EchoRequest};
use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A message's length and whether it is compressed.
const PREFIX: usize = 5;

/// What it keeps of its calls, at most so many.
type Calls = Arc<Mutex<Vec<(EchoRequest, HeaderMap, SystemTime)>>>;

const LIMIT: usize = 100_000;

/// It, running.
pub async fn bare_h2(reply: &EchoReply) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(reply.encoded_len().try_into().expect("a small reply"));
    reply.encode(&mut framed).expect("room for it");
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, framed.freeze()));
    Running::new("bare h2", format!("http://{address}"), tasks)
}

async fn accept(listener: TcpListener, reply: Bytes) {
    let calls = Calls::default();
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, reply.clone(), Arc::clone(&calls)));
    }
}

async fn serve(stream: TcpStream, reply: Bytes, calls: Calls) {
    stream.set_nodelay(true).expect("it is open");
    let mut http2 = h2::server::handshake(stream).await.expect("HTTP/2");
    while let Some(Ok((request, respond))) = http2.accept().await {
        let (reply, calls) = (reply.clone(), Arc::clone(&calls));
        tokio::spawn(async move {
            // The client may be gone.
            let _ = answer(request, respond, reply, &calls).await;
        });
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    reply: Bytes,
    calls: &Calls,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut framed = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        framed.extend_from_slice(&piece);
    }
    let message = EchoRequest::decode(&framed[PREFIX..]).expect("a message");
    record(calls, (message, head.headers, SystemTime::now()));
    let mut response = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(reply, false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

fn record(calls: &Calls, call: (EchoRequest, HeaderMap, SystemTime)) {
    let mut calls = calls.lock().expect("not poisoned");
    if calls.len() == LIMIT {
        calls.clear();
    }
    calls.push(call);
}
