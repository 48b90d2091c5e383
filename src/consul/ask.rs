//! One question to an agent, and its answer.

use crate::consul::agent::Consul;
use crate::consul::http::exchange;
use crate::consul::secret::Secret;
use crate::error::{Error, Kind};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST},
};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::{fmt::Write as _, time::Duration};
use tokio::time::timeout;

/// What an agent is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    method: Method,
    path: String,
    query: String,
    body: Option<Value>,
    /// How long the agent may wait before it answers.
    wait: Duration,
}

/// What an agent has answered, with success.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Everything but the unreserved characters of a URI ([RFC 3986](https://www.rfc-editor.org/rfc/rfc3986#section-2.3)).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Question {
    /// `GET` of a path whose segments are given apart: what is in them may be any text.
    pub(crate) fn get<'a>(path: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Method::GET, path)
    }

    /// `PUT`.
    pub(crate) fn put<'a>(path: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Method::PUT, path)
    }

    fn new<'a>(method: Method, path: impl IntoIterator<Item = &'a str>) -> Self {
        let mut text = String::from("/v1");
        for segment in path {
            let _ = write!(text, "/{}", utf8_percent_encode(segment, RESERVED));
        }
        Self {
            method,
            path: text,
            query: String::new(),
            body: None,
            wait: Duration::ZERO,
        }
    }

    /// One parameter more.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let sign = if self.query.is_empty() { '?' } else { '&' };
        let value = utf8_percent_encode(value, RESERVED);
        let _ = write!(self.query, "{sign}{name}={value}");
        self
    }

    pub(crate) fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// The agent may wait so long before it answers.
    pub(crate) fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How it is told. Its parameters may be long.
    fn told(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

impl Consul {
    /// Asks the agent. Any answer but success is an error.
    ///
    /// Cancel safe: dropping it closes the connection, and the agent stops looking.
    pub(crate) async fn ask(&self, question: Question) -> Result<Answer, Error> {
        let settings = self.settings();
        if let Some(mistake) = &settings.mistake {
            return Err(mistake.clone());
        }
        let told = question.told();
        let limit = settings.timeout.saturating_add(question.wait);
        let request = self.request(question)?;
        let answered = timeout(limit, exchange(self.address(), self.secured()?, request)).await;
        let answered = answered.unwrap_or_else(|_| {
            let text = format!("{self} has not answered {told} within {limit:?}");
            Err(Error::new(Kind::Discovery, text))
        });
        let (status, answer) = answered.map_err(|error| match error.is_discovery() {
            true => error,
            false => {
                let text = format!("{self} cannot be asked");
                Error::new(Kind::Discovery, text).caused_by(error)
            }
        })?;
        if status.is_success() {
            return Ok(answer);
        }
        let said = String::from_utf8_lossy(&answer.body);
        let said: String = said.trim().chars().take(SHOWN).collect();
        Err(if status == StatusCode::FORBIDDEN {
            Error::new(Kind::Denied, format!("{self} refuses {told}: {said}"))
        } else {
            let text = format!("{self} answered {told} with {}: {said}", status.as_u16());
            Error::new(Kind::Discovery, text)
        })
    }

    fn request(&self, question: Question) -> Result<Request<Full<Bytes>>, Error> {
        let settings = self.settings();
        let question = question
            .with_some("dc", settings.datacenter.as_deref())
            .with_some("ns", settings.namespace.as_deref())
            .with_some("partition", settings.partition.as_deref());
        let uri = format!(
            "{}{}{}",
            settings.place.prefix, question.path, question.query
        );
        let mut request = Request::builder()
            .method(question.method)
            .uri(uri)
            .header(HOST, self.address().authority())
            .header(ACCEPT, "application/json");
        if question.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(basic) = &settings.basic {
            let encoded = BASE64_STANDARD.encode(basic.expose());
            let value = Secret::new(format!("Basic {encoded}"));
            request = request.header(AUTHORIZATION, sensitive(&value, "CONSUL_HTTP_AUTH")?);
        }
        if let Some(token) = self.token_now()? {
            request = request.header("x-consul-token", sensitive(&token, "the Consul token")?);
        }
        let body = question.body.map(|body| body.to_string());
        request
            .body(Full::new(body.unwrap_or_default().into()))
            .map_err(|error| {
                let text = format!("{self} cannot be asked");
                Error::new(Kind::Discovery, text).caused_by(error)
            })
    }
}

/// As much of what an agent says is repeated.
const SHOWN: usize = 300;

fn sensitive(secret: &Secret, name: &str) -> Result<HeaderValue, Error> {
    let value = HeaderValue::from_str(secret.expose());
    let mut value = value.map_err(|_| {
        let text = format!("{name} has characters that no header can have");
        Error::new(Kind::Config, text)
    })?;
    value.set_sensitive(true);
    Ok(value)
}
