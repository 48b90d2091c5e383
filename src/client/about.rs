//! Which call an error is about, and how it is told.

use crate::client::options::CallOptions;
use crate::error::{Error, Kind};
use crate::wire::compression::{ACCEPTED, Unknown};
use crate::wire::message::Malformed;
use crate::wire::status;
use http::{Uri, header::CONTENT_TYPE, uri::PathAndQuery};
use std::{sync::Arc, time::Duration};
use tonic::{Code, Status};

/// Which call an error is about.
#[derive(Debug)]
pub(crate) struct About {
    path: PathAndQuery,
    /// The endpoint, or all of them in short.
    pub(crate) target: Arc<str>,
    pub(crate) timeout: Option<Duration>,
}

impl About {
    pub(crate) fn new(uri: &Uri, target: &Arc<str>, options: &CallOptions) -> Self {
        let path = uri.path_and_query().cloned();
        Self {
            path: path.unwrap_or_else(|| PathAndQuery::from_static("/")),
            target: Arc::clone(target),
            timeout: options.deadline.and_then(|deadline| deadline.timeout),
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.path.path()
    }

    pub(crate) fn late(&self, doing: &str) -> Error {
        let limit = self.timeout.unwrap_or_default();
        let (path, target) = (self.path(), &self.target);
        let text = format!("{path} at {target} exceeded its deadline of {limit:?} while {doing}");
        Error::new(Kind::Timeout, text)
    }

    pub(crate) fn failure(&self, error: &h2::Error) -> Error {
        let code = status::code(error);
        let text = format!(
            "{} at {} failed: {}: {error}",
            self.path(),
            self.target,
            status::name(code)
        );
        let status = Status::new(code, error.to_string());
        Error::new(Kind::Status, text)
            .with_status(status)
            .caused_by(explain(error))
    }

    /// Something answered that is no gRPC server: a proxy, most likely.
    pub(crate) fn foreign(&self, response: &http::response::Parts, code: Code) -> Error {
        let kind = response
            .headers
            .get(CONTENT_TYPE)
            .map_or("no content type", |kind| {
                kind.to_str().unwrap_or("an unreadable content type")
            });
        let problem = format!("not a gRPC response: HTTP {} with {kind}", response.status);
        self.unreadable(code, problem)
    }

    /// [gRPC compression](https://github.com/grpc/grpc/blob/master/doc/compression.md): it is `INTERNAL`.
    pub(crate) fn unknown_encoding(&self, unknown: &Unknown) -> Error {
        let accepted = String::from_utf8_lossy(ACCEPTED.as_bytes()).into_owned();
        let problem = format!(
            "the response is compressed with `{}`, and this client takes `{accepted}`{}",
            unknown.0,
            unknown.hint()
        );
        self.unreadable(Code::Internal, problem)
    }

    pub(crate) fn malformed(&self, malformed: &Malformed) -> Error {
        self.unreadable(malformed.code(), malformed.to_string())
    }

    /// A response that is no good.
    pub(crate) fn unreadable(&self, code: Code, problem: String) -> Error {
        let text = format!(
            "{} at {} failed: {}: {problem}",
            self.path(),
            self.target,
            status::name(code)
        );
        Error::new(Kind::Status, text).with_status(Status::new(code, problem))
    }

    /// The request's own messages failed: a message that does not encode, for one.
    pub(crate) fn upload(&self, status: Status) -> Error {
        Error::behind(&status).cloned().unwrap_or_else(|| {
            let text = format!(
                "the request of {} at {} failed: {}",
                self.path(),
                self.target,
                status.message()
            );
            Error::new(Kind::Status, text).with_status(status)
        })
    }
}

/// `h2::Error` cannot be cloned; a copy with the same reason or text stands for it.
fn explain(error: &h2::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match (error.get_io(), error.reason()) {
        (Some(io), _) => std::io::Error::new(io.kind(), io.to_string()).into(),
        (None, Some(reason)) => h2::Error::from(reason).into(),
        (None, None) => error.to_string().into(),
    }
}
