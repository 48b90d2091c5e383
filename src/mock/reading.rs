//! Request messages that come while a call is answered, and those that cannot be read.

use crate::mock::journal::{Call, Outcome};
use crate::wire::{ReadError, Reader};
use serde_json::Value;
use std::future::pending;
use tokio::sync::mpsc;
use tonic::Status;

/// How a call ended whose request could not be read.
pub(crate) fn outcome_of(call: &Call, error: &ReadError) -> Outcome {
    match error {
        ReadError::Malformed(_) => refusal(error).code().into(),
        ReadError::Stream(error) => match error.reason() {
            Some(reason) if error.is_reset() && error.is_remote() => call.reset_now(reason),
            _ => Outcome::Dropped,
        },
    }
}

/// What a client is told whose request could not be read.
pub(crate) fn refusal(error: &ReadError) -> Status {
    match error {
        ReadError::Malformed(malformed) => Status::new(malformed.code(), malformed.to_string()),
        ReadError::Stream(error) => Status::cancelled(error.to_string()),
    }
}

/// Records what the client goes on sending. It ends only by an error.
pub(crate) async fn drain(call: &Call, reader: &mut Reader) -> ReadError {
    loop {
        match reader.next().await {
            Ok(Some(message)) => call.record_request(message, reader.was_compressed()),
            Ok(None) => pending().await,
            Err(error) => return error,
        }
    }
}

/// Hands request messages to the test, as fast as it takes them, to the end of the stream.
pub(crate) async fn forward(
    call: &Call,
    reader: &mut Reader,
    requests: Option<&mpsc::Sender<Value>>,
) -> Result<(), ReadError> {
    loop {
        let Some(Ok(permit)) = (match requests {
            Some(requests) => Some(requests.reserve().await),
            None => None,
        }) else {
            // Nobody takes them: they are recorded, and a client that sends without end must not hang.
            return Err(drain(call, reader).await);
        };
        let Some(message) = reader.next().await? else {
            return Ok(());
        };
        let json = call.request_json(&message);
        call.record_request(message, reader.was_compressed());
        permit.send(json);
    }
}
