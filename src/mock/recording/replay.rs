//! Stubs that answer as was recorded.

use crate::error::{Error, Kind};
use crate::mock::journal::{Call, REDACTED};
use crate::mock::recording::file::{End, FORMAT, Form, Message, Recorded};
use crate::mock::reply::{CallStream, IntoReply as _, Payload, Reply};
use crate::mock::server::MockServer;
use crate::mock::stub::Stub;
use crate::schema::{Method, Shape};
use crate::wire::message::Framed;
use serde_json::Value;
use std::{fs, future::pending, panic::Location, path::Path, sync::Arc};
use tonic::Status;

impl MockServer {
    pub(crate) fn mount_recording(&self, path: &Path) -> Result<(), Error> {
        let problem = |text: &str| Error::new(Kind::Config, format!("{text} {}", path.display()));
        let text = fs::read_to_string(path)
            .map_err(|error| problem("cannot read the recording").caused_by(error))?;
        let malformed = |cause: String| problem("cannot replay").caused_by(cause);
        let recording: Value =
            serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if recording["format"] != FORMAT {
            let format = &recording["format"];
            return Err(malformed(format!(
                "its `format` is {format}, expected {FORMAT:?}"
            )));
        }
        let calls = recording["calls"].as_array();
        let calls = calls.ok_or_else(|| malformed("it has no array of `calls`".to_owned()))?;
        let numbered =
            |number: usize, problem: String| malformed(format!("call {number}: {problem}"));
        let mut groups: Vec<(usize, Vec<Recorded>)> = Vec::new();
        for (number, call) in calls.iter().enumerate() {
            let call = Recorded::from_json(call).map_err(|problem| numbered(number, problem))?;
            let bidi = self.recorded_shape(&call) == Some(Shape::BidiStreaming);
            let same =
                |(_, group): &&mut (usize, Vec<Recorded>)| group[0].asks_the_same(&call, bidi);
            match groups.iter_mut().find(same) {
                Some((_, group)) => group.push(call),
                None => groups.push((number, vec![call])),
            }
        }
        // Of equally near ones the last to be mounted is told first.
        for (number, group) in groups.into_iter().rev() {
            let origin = format!("call {number} of {}", path.display());
            self.mount_recorded(&group, origin)
                .map_err(|problem| numbered(number, problem))?;
        }
        Ok(())
    }

    /// The shape of a recorded call, as far as it is known here.
    fn recorded_shape(&self, call: &Recorded) -> Option<Shape> {
        match call.form {
            Form::Schemaless(shape) => Some(shape),
            Form::Bytes | Form::Typed => self.recorded_method(call).map(|method| method.shape()),
        }
    }

    fn recorded_method(&self, call: &Recorded) -> Option<&Arc<Method>> {
        let schema = self.service.schema.as_ref()?;
        schema.method_at(&format!("/{}", call.method))
    }

    /// One stub for calls that ask the same.
    fn mount_recorded(&self, group: &[Recorded], origin: String) -> Result<(), String> {
        let first = &group[0];
        let schema = self.service.schema.as_ref();
        let method = self.recorded_method(first);
        let shape = match (first.form, method) {
            (Form::Schemaless(shape), _) if schema.is_none() => Some(shape),
            (Form::Schemaless(_), _) => {
                return Err("it is schemaless, and the mock has a schema".to_owned());
            }
            (Form::Typed, None) => {
                return Err(format!(
                    "its messages are of {}, which the mock has no schema for: give the builder its `.descriptor_set(..)`",
                    first.method
                ));
            }
            (Form::Typed | Form::Bytes, method) => method.map(|method| method.shape()),
        };
        let mut stub = Stub::any().priority(i32::MIN);
        stub.method = Some(first.method_name());
        if let Some(wanted) = wanted(first, shape) {
            stub = stub.when(wanted);
        } else {
            let requests = first.requests.clone();
            stub = stub.when(move |call: &Call| has_requests(call, &requests));
        }
        for call in group {
            stub = stub.then(call.reply(shape));
        }
        let registry = &self.service.registry;
        let mut stub = stub.from(origin);
        stub.check(method.map(Arc::as_ref))?;
        self.mount_for(registry, stub, method, Location::caller());
        Ok(())
    }
}

/// The request as JSON that stubs compare with, when it is JSON.
fn wanted(call: &Recorded, shape: Option<Shape>) -> Option<Value> {
    let json = |message: &Message| match message {
        Message::Bytes(_) => None,
        Message::Json(json) => Some(json.clone()),
    };
    match shape {
        Some(Shape::ClientStreaming) => call.requests.iter().map(json).collect(),
        _ => call.requests.first().and_then(json),
    }
}

/// Whether the call has the bytes that were recorded: those that it can have when it is matched.
fn has_requests(call: &Call, recorded: &[Message]) -> bool {
    let requests = call.requests();
    let compared = match call.shape() {
        Some(Shape::BidiStreaming) if recorded.is_empty() => return requests.is_empty(),
        Some(Shape::BidiStreaming) => 1,
        _ if requests.len() != recorded.len() => return false,
        _ => recorded.len(),
    };
    let mut pairs = requests.iter().zip(recorded).take(compared);
    pairs.all(|(request, recorded)| match recorded {
        Message::Bytes(bytes) => request.bytes() == bytes,
        Message::Json(_) => true,
    })
}

impl Message {
    fn payload(&self) -> Payload {
        match self {
            Self::Bytes(bytes) => Payload::Encoded(Framed::plain(bytes)),
            Self::Json(json) => Payload::json(json.clone()),
        }
    }
}

impl Recorded {
    /// The reply that was given.
    fn reply(&self, shape: Option<Shape>) -> Reply {
        let replies: Vec<_> = self.replies.iter().map(Message::payload).collect();
        let (end, trailers) = match &self.end {
            End::Status {
                code,
                message,
                details,
                trailers,
            } => {
                let status = Status::with_details(*code, message, details.clone());
                (Some(status), trailers.clone())
            }
            End::Without(_) => (None, Value::Null),
        };
        let reply = match (shape, end) {
            (Some(Shape::BidiStreaming), end) => conversation(self.requests.len(), replies, end),
            (_, None) if replies.is_empty() => Reply::never(),
            (_, None) => conversation(0, replies, None),
            (_, Some(end)) => Reply::script(replies, end),
        };
        with_metadata(reply, &self.reply_metadata, &trailers)
    }
}

/// Replies that each wait for a request, while there are any to wait for.
fn conversation(requests: usize, replies: Vec<Payload>, end: Option<Status>) -> Reply {
    let talk = move |mut stream: CallStream| {
        let (replies, end) = (replies.clone(), end.clone());
        async move {
            let mut received = 0;
            for (number, reply) in replies.iter().enumerate() {
                while received < requests.min(number + 1) && stream.recv().await?.is_some() {
                    received += 1;
                }
                stream.send_payload(reply).await?;
            }
            while received < requests && stream.recv().await?.is_some() {
                received += 1;
            }
            match end {
                Some(end) if end.code() == tonic::Code::Ok => Ok(()),
                Some(end) => Err(end),
                None => pending().await,
            }
        }
    };
    talk.into_reply().into_fixed()
}

fn with_metadata(mut reply: Reply, metadata: &Value, trailers: &Value) -> Reply {
    for (map, saved) in [
        (&mut reply.metadata, metadata),
        (&mut reply.trailers, trailers),
    ] {
        for (key, values) in saved.as_object().into_iter().flatten() {
            let one = std::slice::from_ref(values);
            for value in values.as_array().map_or(one, Vec::as_slice) {
                let value = value.as_str().filter(|value| *value != REDACTED);
                let value = value.and_then(|value| value.parse().ok());
                let key = http::HeaderName::try_from(key.as_str());
                // What cannot be a header was none, and secrets are not known.
                if let (Ok(key), Some(value)) = (key, value) {
                    map.as_mut().append(key, value);
                }
            }
        }
    }
    reply
}
