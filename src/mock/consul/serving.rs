//! HTTP/1 connections to an agent, and what goes wrong with them.

use crate::mock::consul::fault::Effect;
use crate::mock::consul::query::{Query, decoded};
use crate::mock::consul::request::ConsulRequest;
use crate::mock::consul::routes::{Asked, Said, answer};
use crate::mock::consul::state::State;
use crate::net::{Stream, SwitchedListener};
use bytes::Bytes;
use http::{
    HeaderMap, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io, sync::Arc};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Accepts connections until it is told to end, and ends them all then.
pub(super) async fn serve(
    listener: SwitchedListener,
    state: Arc<State>,
    mut ending: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Some(Ok((stream, _))) => {
                    connections.spawn(connection(stream, Arc::clone(&state)));
                }
                // A client that went away before it was accepted.
                Some(Err(_)) => tokio::task::yield_now().await,
                // It was taken out of its slot.
                None => break,
            },
            Some(_) = connections.join_next() => {}
            _ = &mut ending => break,
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: Stream, state: Arc<State>) {
    let service = service_fn(|request| {
        let state = Arc::clone(&state);
        async move { respond(&state, request).await }
    });
    // A client that goes away in the middle is the client's affair.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a request may have as its body, as Consul has it.
const LARGEST: usize = 512 << 10;

async fn respond(state: &State, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let strike = state.strike(request.uri().path());
    let asked = read(state, request).await;
    let effect = strike.as_ref().map(|strike| &strike.fault.effect);
    match effect {
        Some(Effect::Slow(delay)) => sleep_until(Instant::now() + *delay).await,
        Some(Effect::Stall) => {
            if let Some(strike) = &strike {
                strike.removed().await;
            }
        }
        Some(Effect::Status(code, body)) => {
            let code = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok(whole(Said::text(code, body.clone())));
        }
        _ => {}
    }
    let mut said = match asked {
        Ok(asked) => answer(state, &asked).await,
        Err(refused) => refused,
    };
    // One that was taken away while the request waited.
    let is_over = strike.as_ref().is_some_and(|strike| strike.is_removed());
    match effect.filter(|_| !is_over) {
        Some(Effect::Cut) => return Ok(half(said)),
        Some(Effect::Empty) => "[]".clone_into(&mut said.body),
        Some(Effect::Garbage(text)) => said.body.clone_from(text),
        Some(Effect::Index(index)) => said.index = Some(*index),
        _ => {}
    }
    Ok(whole(said))
}

/// What is asked, which is recorded. `Err` for what is not even looked at.
async fn read(state: &State, request: Request<Incoming>) -> Result<Asked, Said> {
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query());
    let token = token(&parts.headers, &query);
    let bytes = Limited::new(body, LARGEST).collect().await;
    let bytes = bytes.map(|bytes| bytes.to_bytes());
    let json = serde_json::from_slice(bytes.as_deref().unwrap_or_default());
    let body = json.map_err(|error| format!("Request decode failed: {error}"));
    let path = parts.uri.path();
    state.record(ConsulRequest::new(
        parts.method.clone(),
        decoded(path),
        &query,
        body.as_ref().ok().cloned(),
        token.clone(),
    ));
    if bytes.is_err() {
        let text = "Request body too large";
        return Err(Said::text(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    // What is in a segment is known only before it is decoded.
    let below = path.strip_prefix("/v1/").into_iter();
    Ok(Asked {
        path: below
            .flat_map(|path| path.split('/').map(decoded))
            .collect(),
        method: parts.method,
        query,
        token,
        body,
    })
}

fn token(headers: &HeaderMap, query: &Query) -> Option<String> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let bearer = || text(AUTHORIZATION.as_str())?.strip_prefix("Bearer ");
    let token = text("x-consul-token")
        .or_else(bearer)
        .or_else(|| query.first("token"));
    token.map(str::to_owned)
}

fn head(said: &Said) -> http::response::Builder {
    let kind = match said.is_json {
        true => "application/json",
        false => "text/plain; charset=utf-8",
    };
    let mut head = Response::builder()
        .status(said.status)
        .header(CONTENT_TYPE, kind);
    if let Some(index) = said.index {
        head = head
            .header("x-consul-index", index)
            .header("x-consul-knownleader", "true")
            .header("x-consul-lastcontact", "0")
            .header("x-consul-effective-consistency", "leader");
    }
    if said.is_filtered {
        head = head.header("x-consul-results-filtered-by-acls", "true");
    }
    head
}

fn whole(said: Said) -> Response<Body> {
    let head = head(&said);
    let body = Full::new(Bytes::from(said.body));
    let body = body.map_err(|never: Infallible| match never {});
    built(head.body(body.boxed_unsync()))
}

/// An answer that breaks off in its middle.
fn half(said: Said) -> Response<Body> {
    let head = head(&said);
    let mut body = Bytes::from(said.body);
    body.truncate(body.len() / 2);
    let broken = Err(io::ErrorKind::ConnectionReset.into());
    let frames = tokio_stream::iter([Ok(Frame::data(body)), broken]);
    built(head.body(StreamBody::new(frames).boxed_unsync()))
}

fn built(response: http::Result<Response<Body>>) -> Response<Body> {
    response.unwrap_or_else(|_| {
        Response::new(
            Full::default()
                .map_err(|never| match never {})
                .boxed_unsync(),
        )
    })
}
