//! Which method a name means on this server.

use crate::client::codec::JsonCodec;
use crate::error::{Error, Kind};
use crate::schema::{
    Method, MethodName, Reflected, Schema, Shape, infrastructure, is_infrastructure, schemaless,
};
use crate::wire::status;
use http::uri::PathAndQuery;
use std::sync::Arc;
use tokio::sync::OnceCell;
use tonic::Status;

/// Where the names come from.
#[derive(Debug)]
pub(crate) enum Resolver {
    Given(Schema),
    /// The server's reflection, asked by the first call that needs it.
    Reflection(OnceCell<Option<Reflected>>),
    /// The server is known to serve the schemaless service and no other.
    Schemaless,
}

/// A method that was found, and how to speak to it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) path: PathAndQuery,
    pub(crate) codec: JsonCodec,
    /// Nothing but the call itself will tell whether the server has the method.
    pub(crate) guessed: bool,
}

impl Resolver {
    pub(crate) fn by_reflection() -> Self {
        Self::Reflection(OnceCell::new())
    }

    /// Whether its schema, as far as it is known, says that the method of this path may be called more than once.
    pub(crate) fn is_idempotent(&self, path: &str) -> bool {
        let schema = match self {
            Self::Given(schema) => Some(schema),
            Self::Reflection(cell) => match cell.get() {
                Some(Some(reflected)) => Some(&reflected.schema),
                _ => None,
            },
            Self::Schemaless => None,
        };
        let method = schema.and_then(|schema| schema.method_at(path));
        method.is_some_and(|method| method.is_idempotent())
    }

    /// The same, with nothing asked yet.
    pub(crate) fn anew(&self) -> Self {
        match self {
            Self::Given(schema) => Self::Given(schema.clone()),
            Self::Reflection(_) => Self::by_reflection(),
            Self::Schemaless => Self::Schemaless,
        }
    }

    /// Finds the method `name` with that shape. Where the server's reflection has to be asked first, that is
    /// [`Unasked`].
    pub(crate) fn resolve(
        &self,
        name: &str,
        shape: Shape,
    ) -> Result<Result<Target, Error>, Unasked<'_>> {
        let by = |schema: &Schema| typed(schema.method(name)?, shape);
        if is_infrastructure(name) {
            return Ok(by(infrastructure()));
        }
        match self {
            Self::Given(schema) => Ok(by(schema)),
            Self::Schemaless => Ok(Ok(without_schema(name, shape, false))),
            Self::Reflection(cell) => match cell.get() {
                Some(reflected) => Ok(by_reflection(reflected.as_ref(), name, shape)),
                None => Err(Unasked(cell)),
            },
        }
    }
}

/// What the server's reflection has not told yet.
pub(crate) struct Unasked<'a>(&'a OnceCell<Option<Reflected>>);

impl Unasked<'_> {
    /// Finds the method `name` with that shape. `ask` asks the server's reflection, at most once for all calls.
    pub(crate) async fn resolve<F>(
        self,
        name: &str,
        shape: Shape,
        ask: impl Fn() -> F,
    ) -> Result<Target, Error>
    where
        F: Future<Output = Result<Option<Reflected>, Status>>,
    {
        let reflected = self.0.get_or_try_init(ask).await;
        let reflected = reflected.map_err(|status| unreflected(name, &status))?;
        by_reflection(reflected.as_ref(), name, shape)
    }
}

impl Reflected {
    fn is_schemaless(&self) -> bool {
        self.services
            .iter()
            .any(|service| service == schemaless::SERVICE)
    }

    fn knows_no(&self, name: &str) -> bool {
        let name = MethodName::new(name);
        !self
            .schema
            .methods()
            .any(|method| name.names(method.full_name()))
    }
}

/// By what the server's reflection told, if it has any.
fn by_reflection(reflected: Option<&Reflected>, name: &str, shape: Shape) -> Result<Target, Error> {
    let Some(reflected) = reflected else {
        return Ok(without_schema(name, shape, true));
    };
    match reflected.schema.method(name) {
        Ok(method) => typed(method, shape),
        // A name that the server's own schema makes ambiguous is not for the schemaless service either.
        Err(_) if reflected.knows_no(name) && reflected.is_schemaless() => {
            Ok(without_schema(name, shape, false))
        }
        Err(error) => Err(error),
    }
}

fn typed(method: Arc<Method>, shape: Shape) -> Result<Target, Error> {
    if method.shape() != shape {
        let text = format!(
            "{} is {}, and this is a {shape} call: use `Client::{}`",
            method.full_name(),
            method.shape(),
            verb(method.shape())
        );
        return Err(Error::new(Kind::Shape, text));
    }
    Ok(Target {
        path: method.path_and_query().clone(),
        codec: JsonCodec::by_schema(method),
        guessed: false,
    })
}

fn without_schema(name: &str, shape: Shape, guessed: bool) -> Target {
    Target {
        path: PathAndQuery::from_static(schemaless::path(shape)),
        codec: JsonCodec::schemaless(name.to_owned(), shape),
        guessed,
    }
}

fn verb(shape: Shape) -> &'static str {
    match shape {
        Shape::BidiStreaming => "call_bidi_stream",
        Shape::ClientStreaming => "call_client_stream",
        Shape::ServerStreaming => "call_server_stream",
        Shape::Unary => "call",
    }
}

/// Why the name could not be looked up. What is not about reflection comes back as itself.
fn unreflected(name: &str, status: &Status) -> Error {
    if let Some(own) = Error::behind(status).filter(|own| own.status().is_none()) {
        return own.clone();
    }
    let (code, message) = (status::name(status.code()), status.message());
    let text =
        format!("cannot look up `{name}`: the server's reflection failed: {code}: {message}");
    Error::new(Kind::Status, text).with_status(status.clone())
}

/// The path of a method that a caller has written.
pub(crate) fn parse_path(path: &str) -> Result<PathAndQuery, Error> {
    let parsed = PathAndQuery::try_from(path).ok();
    parsed
        .filter(|parsed| parsed.as_str() == path && is_method_path(path))
        .ok_or_else(|| {
            let text =
                format!("`{path}` is not the path of a method, expected `/pkg.Service/Method`");
            Error::new(Kind::UnknownMethod, text)
        })
}

/// Whether it is a slash, a service, a slash and a method.
fn is_method_path(path: &str) -> bool {
    let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    parts.is_some_and(|(service, method)| {
        !service.is_empty() && !method.is_empty() && !method.contains(['/', '?'])
    })
}
