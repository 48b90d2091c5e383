//! The one error of this crate.

use std::{error, fmt, sync::Arc};
use tonic::{Code, Status};

/// What went wrong, with the address, method or variable that it went wrong for.
///
/// The kind is private and asked for through predicates, so that it can grow without breaking you. The text names
/// what failed; the cause is behind [`source`](error::Error::source) and not repeated in it. `{:?}`, which
/// `unwrap()` prints, shows the whole chain.
///
/// An error of a call has a gRPC code too ([`code`](Self::code)), also when no status arrived from the server: a
/// refused connection is `UNAVAILABLE`, a passed deadline `DEADLINE_EXCEEDED`.
///
/// ```
/// use rpcplugin_testkit::{Address, Error};
///
/// let error: Error = "localhost".parse::<Address>().unwrap_err();
/// assert!(error.is_address());
/// assert_eq!(error.code(), None);
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

type Source = Box<dyn error::Error + Send + Sync>;

struct Inner {
    kind: Kind,
    message: String,
    status: Option<Status>,
    source: Option<Source>,
}

/// Why. One variant for each predicate below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Address,
    Auth,
    Bind,
    Closed,
    Config,
    Connect,
    Denied,
    Discovery,
    Handshake,
    Message,
    Schema,
    Shape,
    Status,
    Timeout,
    Tls,
    UnknownMethod,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            status: None,
            source: None,
        }))
    }

    pub(crate) fn caused_by(self, source: impl Into<Source>) -> Self {
        let inner = self.into_inner();
        Self(Arc::new(Inner {
            source: Some(source.into()),
            ..inner
        }))
    }

    pub(crate) fn with_status(self, status: Status) -> Self {
        let inner = self.into_inner();
        Self(Arc::new(Inner {
            status: Some(status),
            ..inner
        }))
    }

    /// The same failure in other words, with this one as its cause.
    pub(crate) fn retold(&self, message: impl Into<String>) -> Self {
        let told = Self::new(self.0.kind, message).caused_by(self.clone());
        match self.status() {
            Some(status) => told.with_status(status.clone()),
            None => told,
        }
    }

    /// An error that is still being built has one owner; a shared one gives up its (unclonable) source.
    fn into_inner(self) -> Inner {
        Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            kind: shared.kind,
            message: shared.message.clone(),
            status: shared.status.clone(),
            source: None,
        })
    }

    /// Whether it was caused by a connection that could not be made.
    pub(crate) fn is_by_connect(&self) -> bool {
        self.cause().is_some_and(Self::is_connect)
    }

    fn cause(&self) -> Option<&Self> {
        error::Error::source(self)?.downcast_ref()
    }

    /// Our own error that a status was made of.
    pub(crate) fn behind(status: &Status) -> Option<&Self> {
        error::Error::source(status)?.downcast_ref()
    }

    /// The text with all its causes, for places that have no room for a source.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// The status that the call ended with on the wire, `None` when it failed before there was one.
    ///
    /// It has the status message, the details (`grpc-status-details-bin`) and the trailing metadata.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        self.0.status.as_ref()
    }

    /// The gRPC code of a failed call, `None` for an error that is not about a call.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        let local = || match self.0.kind {
            // A login that could not reach its server is as such.
            Kind::Auth => self
                .cause()
                .and_then(Self::code)
                .or(Some(Code::Unauthenticated)),
            Kind::Closed => Some(Code::Cancelled),
            Kind::Connect | Kind::Tls | Kind::Discovery => Some(Code::Unavailable),
            Kind::Denied => Some(Code::PermissionDenied),
            Kind::Timeout => Some(Code::DeadlineExceeded),
            _ => None,
        };
        self.status().map(Status::code).or_else(local)
    }

    /// An address could not be parsed, or cannot be used for what was asked.
    #[must_use]
    pub fn is_address(&self) -> bool {
        self.0.kind == Kind::Address
    }

    /// The call had no token to go with: a login or a provider failed. What it failed by is the
    /// [`source`](error::Error::source), and has the code.
    #[must_use]
    pub fn is_auth(&self) -> bool {
        self.0.kind == Kind::Auth
    }

    /// A server could not listen at its address.
    #[must_use]
    pub fn is_bind(&self) -> bool {
        self.0.kind == Kind::Bind
    }

    /// The [`Client`](crate::Client) was closed before the call. (One that is cut by closing is `UNAVAILABLE`, as by any loss
    /// of its connection.)
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.kind == Kind::Closed
    }

    /// A configuration value is missing or malformed; the text names the variable.
    #[must_use]
    pub fn is_config(&self) -> bool {
        self.0.kind == Kind::Config
    }

    /// No connection could be made: refused, no such socket, no answer in time, no [TLS](Self::is_tls). The call was never
    /// sent.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self.0.kind, Kind::Connect | Kind::Tls)
    }

    /// The endpoints could not be found out: a registry, a name or a file told none, or nothing that could be understood.
    #[must_use]
    pub fn is_discovery(&self) -> bool {
        matches!(self.0.kind, Kind::Discovery | Kind::Denied)
    }

    /// A registry does not let us know: an unknown token, or one without the right to read. It
    /// [`is_discovery`](Self::is_discovery) too.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.0.kind == Kind::Denied
    }

    /// What a plugin told of itself is of no use: its handshake line, or the JSON to attach to it by.
    #[must_use]
    pub fn is_handshake(&self) -> bool {
        self.0.kind == Kind::Handshake
    }

    /// A message does not fit its type: JSON that the schema refuses, or bytes that do not decode.
    #[must_use]
    pub fn is_invalid_message(&self) -> bool {
        self.0.kind == Kind::Message
    }

    /// A schema could not be built: a malformed descriptor set, a `.proto` file that does not compile.
    #[must_use]
    pub fn is_schema(&self) -> bool {
        self.0.kind == Kind::Schema
    }

    /// The deadline passed, on our side or (status `DEADLINE_EXCEEDED`) on the server's.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.0.kind == Kind::Timeout || self.code() == Some(Code::DeadlineExceeded)
    }

    /// A connection failed by TLS; the text says which side ended it, and why. It [`is_connect`](Self::is_connect) too.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.kind == Kind::Tls
    }

    /// The method name is unknown or ambiguous (the text lists the candidates), or the server answered that it does
    /// not implement it.
    #[must_use]
    pub fn is_unknown_method(&self) -> bool {
        self.0.kind == Kind::UnknownMethod || self.code() == Some(Code::Unimplemented)
    }

    /// The method has another shape than the call: a streaming method called as a unary one, for example.
    #[must_use]
    pub fn is_wrong_shape(&self) -> bool {
        self.0.kind == Kind::Shape
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)?;
        let mut cause = error::Error::source(self);
        while let Some(error) = cause {
            write!(f, "\n  caused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// For code that speaks tonic's language: the same code, text and details, with this error as the source.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut status = match error.status() {
            Some(known) => known.clone(),
            None => Self::new(status_code(&error), error.chain()),
        };
        status.set_source(Arc::new(error));
        status
    }
}

/// The code that a local failure has when it has to be told as a status.
fn status_code(error: &Error) -> Code {
    error.code().unwrap_or(match error.0.kind {
        Kind::UnknownMethod => Code::Unimplemented,
        Kind::Message | Kind::Shape => Code::InvalidArgument,
        _ => Code::FailedPrecondition,
    })
}
