//! One exchange over HTTP/1, on a connection of its own.

use crate::address::Address;
use crate::consul::ask::Answer;
use crate::error::{Error, Kind};
use crate::net::{self, Secure, Tls, tls_error};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Body as _, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{error, future::pending, io};

/// Ten thousand instances are some 15 MB.
const LIMIT: usize = 256 << 20;

/// Sends the request and reads the whole answer.
///
/// A connection for each: an agent is near, and is asked when something has changed.
pub(super) async fn exchange(
    address: &Address,
    tls: Option<Tls>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Answer), Error> {
    let stream = net::dial(address).await?;
    let tls = tls.map(|tls| tls.for_dial());
    let stream = match &tls {
        Some(tls) => tls.connect(stream, address).await?,
        None => Secure::Plain(stream),
    };
    let broken = |error: hyper::Error| {
        // The agent looks at our certificate after our side of the handshake.
        let alert = io_error(&error);
        let why = tls
            .as_ref()
            .zip(alert)
            .and_then(|(tls, alert)| tls.explain(alert));
        match why {
            Some(why) => tls_error(address, &why),
            None => {
                let text = format!("{address} accepted the connection but gave no answer of HTTP");
                Error::new(Kind::Connect, text)
            }
        }
        .caused_by(error)
    };
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut requests, connection) = handshake.map_err(broken)?;
    let exchange = async {
        let response = requests.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let expected = body.size_hint().exact();
        let body = Limited::new(body, LIMIT).collect().await.map_err(|error| {
            let size = expected.map(|size| format!(" of {size} bytes"));
            let size = size.unwrap_or_default();
            let text = format!("the answer{size} of {address} ended before its end");
            Error::new(Kind::Connect, text).caused_by(error)
        })?;
        let answer = Answer {
            headers: head.headers,
            body: body.to_bytes(),
        };
        Ok((head.status, answer))
    };
    // What goes wrong with the connection is told by what waits for it.
    let driving = async {
        let _ = connection.await;
        pending().await
    };
    tokio::select! {
        answer = exchange => answer,
        never = driving => never,
    }
}

/// What the connection ended with, if that is behind an error.
fn io_error(error: &hyper::Error) -> Option<&io::Error> {
    let mut cause = error::Error::source(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
