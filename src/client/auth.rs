//! What a client is told about authentication.

use crate::error::{Error, Kind};
use crate::wire::metadata::can_hold_token;
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use serde_json::Value;
use std::{error, fmt, pin::Pin, sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// How a client tells its server who it is: a token with every call, as metadata.
///
/// The token is fixed, comes from a closure, or from a login. One that [ends](Token::expires_in) is renewed before it does,
/// and one that the server refuses with `UNAUTHENTICATED` is renewed once, and the call made again. However many calls wait for
/// a token, it is asked for once. A call that has the metadata already is left alone.
///
/// A call is made again only if no more than a megabyte of its request has been sent, and nothing but the status came back; a
/// stream of requests goes on with the second call. A token that is refused later is renewed for the next call.
///
/// Tokens are sent as sensitive metadata, which is not put into HPACK's tables, and are in no `Debug`, log or error. Over
/// plaintext they go to this machine only, unless that is [allowed](Self::allow_plaintext).
///
/// ```
/// use rpcplugin_testkit::{Auth, Client, Grant, MockServer, Stub, TokenAuth, json};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// let auth = Auth::tokens();
/// let server = MockServer::builder().auth(auth.clone()).start().await;
/// server.mount(auth.login("auth.Authenticate", json!({"api_key": "k-1"}), Grant::new()));
/// server.mount(Stub::method("Process").reply(json!({"done": true})));
///
/// let client = Client::builder()
///     .address(server.address())
///     .auth(TokenAuth::login("auth.Authenticate", json!({"api_key": "k-1"})))
///     .connect()
///     .await?;
/// client.call("Process", json!({})).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until a client is built with it"]
pub struct TokenAuth {
    pub(super) source: TokenSource,
    header: HeaderName,
    /// What stands before the token.
    scheme: Option<String>,
    pub(super) allow_plaintext: bool,
    /// The first mistake in building, told when the client is built.
    pub(super) mistake: Option<Error>,
}

/// Where tokens come from.
#[derive(Clone)]
pub(super) enum TokenSource {
    Fixed(Token),
    Login { method: String, args: Value },
    Provider(Arc<dyn Fn() -> Fetching + Send + Sync>),
}

/// A token on its way.
pub(super) type Fetching = Pin<Box<dyn Future<Output = Result<Token, Error>> + Send>>;

/// The key of an API key, unless it is told otherwise.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

impl TokenAuth {
    fn new(source: TokenSource) -> Self {
        Self {
            source,
            header: AUTHORIZATION,
            scheme: Some("Bearer".to_owned()),
            allow_plaintext: false,
            mistake: None,
        }
    }

    /// This token: `authorization: Bearer …` ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)).
    pub fn bearer(token: impl Into<Token>) -> Self {
        Self::new(TokenSource::Fixed(token.into()))
    }

    /// This key: `x-api-key: …`, or another [header](Self::header).
    pub fn api_key(key: impl Into<Token>) -> Self {
        Self::bearer(key).header(API_KEY.as_str())
    }

    /// Whatever an async closure gives: a text, or a [`Token`] that tells when it ends. It is asked for the first call, and
    /// whenever the token ends or is refused.
    ///
    /// ```
    /// use rpcplugin_testkit::{TokenAuth, client::Token};
    /// use std::{io, time::Duration};
    ///
    /// let auth = TokenAuth::provider(|| async {
    ///     let token = tokio::task::spawn_blocking(|| std::fs::read_to_string("/run/secrets/token")).await.unwrap()?;
    ///     Ok::<_, io::Error>(Token::new(token.trim()).expires_in(Duration::from_secs(600)))
    /// });
    /// ```
    pub fn provider<F, Fut, T, E>(provide: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Token>,
        E: Into<Box<dyn error::Error + Send + Sync>>,
    {
        Self::new(TokenSource::Provider(Arc::new(move || {
            let provided = provide();
            Box::pin(async move {
                provided.await.map(Into::into).map_err(|error| {
                    Error::new(Kind::Auth, "the provider of tokens failed").caused_by(error)
                })
            })
        })))
    }

    /// What a call of this method answers: JSON with the `token` and, if it ends, `expires_in` seconds. The call itself has no
    /// token; it is named as in [`Client::call`](crate::Client::call).
    ///
    /// [`ClientBuilder::connect`](crate::client::ClientBuilder::connect) logs in.
    pub fn login(method: impl Into<String>, args: Value) -> Self {
        let method = method.into();
        Self::new(TokenSource::Login { method, args })
    }

    /// Sends the token under this key, and nothing before it.
    pub fn header(mut self, key: &str) -> Self {
        match HeaderName::try_from(key) {
            Ok(header) if can_hold_token(key) => {
                self.header = header;
                self.scheme = None;
            }
            _ => {
                let text = format!("`{key}` cannot be the metadata key of a token");
                self.mistake
                    .get_or_insert_with(|| Error::new(Kind::Config, text));
            }
        }
        self
    }

    /// Sends this word before the token, instead of `Bearer`.
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = Some(scheme.into());
        self
    }

    /// Sends tokens in plaintext to other machines too.
    pub fn allow_plaintext(mut self) -> Self {
        self.allow_plaintext = true;
        self
    }

    pub(super) fn key(&self) -> &HeaderName {
        &self.header
    }

    /// The metadata of a token.
    pub(super) fn value(&self, token: &Token) -> Result<HeaderValue, Error> {
        let text = match &self.scheme {
            Some(scheme) => Zeroizing::new(format!("{scheme} {}", token.secret.as_str())),
            None => token.secret.clone(),
        };
        let visible = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        let value = HeaderValue::try_from(text.as_str()).ok();
        let value = value.filter(|_| visible && !token.secret.trim().is_empty());
        let mut value = value.ok_or_else(|| {
            let text = "the token cannot be metadata: expected visible ASCII characters, and some";
            Error::new(Kind::Auth, text)
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for TokenAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            TokenSource::Fixed(_) => "a fixed token",
            TokenSource::Login { method, .. } => method,
            TokenSource::Provider(_) => "a closure",
        };
        write!(f, "TokenAuth({source}, as `{}`)", self.header)
    }
}

/// A token, and how long it is good. `Debug` does not show it, and it is wiped from memory when it is dropped.
#[derive(Clone)]
pub struct Token {
    secret: Zeroizing<String>,
    pub(super) lifetime: Option<Duration>,
}

impl Token {
    /// A token that is good for as long as the server takes it.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self {
            secret: Zeroizing::new(secret.into()),
            lifetime: None,
        }
    }

    /// It ends so long from now. It is renewed when a tenth of that is left, or 30 s.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }
}

impl From<String> for Token {
    fn from(secret: String) -> Self {
        Self::new(secret)
    }
}

impl From<&str> for Token {
    fn from(secret: &str) -> Self {
        Self::new(secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lifetime {
            Some(lifetime) => write!(f, "Token(good for {lifetime:?})"),
            None => f.write_str("Token"),
        }
    }
}

/// The token of a login's reply. The error never repeats the reply.
pub(super) fn token_of(reply: &Value) -> Result<Token, &'static str> {
    let token = reply.get("token").and_then(Value::as_str);
    let token = token.filter(|token| !token.is_empty());
    let token = token.ok_or("it has no text `token`")?;
    let seconds = ["expires_in", "expiresIn"]
        .into_iter()
        .find_map(|key| reply.get(key))
        .filter(|seconds| !seconds.is_null());
    let Some(seconds) = seconds else {
        return Ok(Token::new(token));
    };
    // An int64 is a text in some JSON.
    let number = seconds
        .as_f64()
        .or_else(|| seconds.as_str()?.trim().parse().ok());
    let lifetime = number.and_then(|number| match Duration::try_from_secs_f64(number) {
        Ok(lifetime) => Some(lifetime),
        // Longer than any clock goes.
        Err(_) if number.is_finite() && number > 0.0 => Some(Duration::MAX),
        Err(_) => None,
    });
    let lifetime = lifetime.ok_or("its `expires_in` is no number of seconds")?;
    // A field of a typed message that was not set.
    if lifetime.is_zero() {
        return Ok(Token::new(token));
    }
    Ok(Token::new(token).expires_in(lifetime))
}
