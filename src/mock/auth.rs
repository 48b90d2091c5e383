//! Which callers a mock accepts.

use crate::mock::journal::{Call, Server};
use crate::wire::metadata::can_hold_token;
use http::{HeaderName, header::AUTHORIZATION};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tonic::Status;

/// The tokens that a mock accepts. A call without one of them is answered with `UNAUTHENTICATED`, and one whose token does not
/// allow its method with `PERMISSION_DENIED`; no stub and no service sees it, and it is recorded without its messages.
///
/// Give it to [`MockServer::builder`](crate::MockServer::builder), and keep a clone to issue and revoke tokens: clones share
/// them. Times are tokio's, so that a token ends in paused time too.
///
/// Health and reflection are open to everybody unless [`guard_all`](Self::guard_all) is said, and so is a method that
/// [`login`](Self::login) or [`except`](Self::except) names.
///
/// ```
/// use rpcplugin_testkit::{Auth, Code, Grant, MockServer, Stub, json};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let auth = Auth::bearer("t-1");
/// let server = MockServer::builder().auth(auth.clone()).start().await;
/// server.mount(Stub::method("Get").reply(json!({"value": 1})));
/// let client = server.client().await;
///
/// let get = || client.call("Get", json!({}));
/// assert_eq!(get().await.unwrap_err().code(), Some(Code::Unauthenticated));
/// get().metadata("authorization", "Bearer t-1").await.unwrap();
///
/// auth.revoke("t-1");
/// let error = get().metadata("authorization", "Bearer t-1").await.unwrap_err();
/// assert_eq!(error.status().unwrap().message(), "the token was revoked");
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until a mock is built with it"]
pub struct Auth {
    header: HeaderName,
    /// What stands before the token.
    scheme: Option<String>,
    guards_builtin: bool,
    shared: Arc<Mutex<Shared>>,
    /// What serves the calls that are refused, as the journal tells it.
    server: Arc<Server>,
}

#[derive(Default)]
struct Shared {
    tokens: HashMap<String, Issued>,
    /// The methods that need none.
    open: Vec<String>,
}

struct Issued {
    grant: Grant,
    /// `None` for one that does not end.
    ends_at: Option<Instant>,
    revoked: bool,
}

/// What a token is good for: every method, forever, unless it is told otherwise.
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until a token has it"]
pub struct Grant {
    lifetime: Option<Duration>,
    methods: Option<Vec<String>>,
}

impl Grant {
    /// Every method, forever.
    pub fn new() -> Self {
        Self::default()
    }

    /// It ends so long after it was issued, on tokio's clock.
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// For these methods only, named as in [`Stub::method`](crate::Stub::method). Others are answered with
    /// `PERMISSION_DENIED`.
    pub fn methods<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.methods = Some(names.into_iter().map(Into::into).collect());
        self
    }

    pub(crate) fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }
}

impl Auth {
    /// Bearer tokens (`authorization: Bearer …`), none of which is accepted yet.
    pub fn tokens() -> Self {
        Self {
            header: AUTHORIZATION,
            scheme: Some("Bearer".to_owned()),
            guards_builtin: false,
            shared: Arc::default(),
            server: Arc::new(Server {
                id: u64::MAX,
                name: Some("auth".to_owned()),
                label: "auth".to_owned(),
                secret: true,
            }),
        }
    }

    /// This bearer token: `authorization: Bearer …`.
    pub fn bearer(token: &str) -> Self {
        let auth = Self::tokens();
        auth.accept(token, Grant::new());
        auth
    }

    /// This API key: `x-api-key: …`, or another [header](Self::header).
    pub fn api_key(key: &str) -> Self {
        Self::bearer(key).header("x-api-key")
    }

    /// Looks for the token under this key, with nothing before it.
    ///
    /// # Panics
    ///
    /// When it can be no metadata key.
    #[track_caller]
    pub fn header(mut self, key: &str) -> Self {
        match HeaderName::try_from(key) {
            Ok(header) if can_hold_token(key) => self.header = header,
            _ => panic!("`{key}` cannot be a metadata key"),
        }
        self.scheme = None;
        self
    }

    /// Lets everybody call this method, named as in [`Stub::method`](crate::Stub::method).
    pub fn except(self, method: impl Into<String>) -> Self {
        self.open(method.into());
        self
    }

    /// Guards health and reflection too.
    pub fn guard_all(mut self) -> Self {
        self.guards_builtin = true;
        self
    }

    /// Accepts this token from now on, as it is granted now.
    pub fn accept(&self, token: impl Into<String>, grant: Grant) {
        let now = Instant::now();
        let issued = Issued {
            ends_at: grant
                .lifetime
                .and_then(|lifetime| now.checked_add(lifetime)),
            grant,
            revoked: false,
        };
        self.lock().tokens.insert(token.into(), issued);
    }

    /// Makes a token and accepts it.
    #[must_use]
    pub fn issue(&self, grant: Grant) -> String {
        let token = format!("token-{:032x}", fastrand::u128(..));
        self.accept(token.clone(), grant);
        token
    }

    /// Accepts this token no more. `false`, when it was not accepted before.
    pub fn revoke(&self, token: &str) -> bool {
        let mut shared = self.lock();
        let issued = shared.tokens.get_mut(token);
        issued.is_some_and(|issued| !std::mem::replace(&mut issued.revoked, true))
    }

    /// Accepts no token that was accepted so far.
    pub fn revoke_all(&self) {
        for issued in self.lock().tokens.values_mut() {
            issued.revoked = true;
        }
    }

    pub(crate) fn open(&self, method: String) {
        self.lock().open.push(method);
    }

    /// Where the token is, which is a secret.
    pub(crate) fn key(&self) -> &HeaderName {
        &self.header
    }

    /// Whether a call is let in, or the status that it gets.
    pub(crate) fn admit(&self, call: &Call) -> Result<(), Status> {
        let admitted = self.judge(call);
        if admitted.is_err() {
            call.record_server(Arc::clone(&self.server));
        }
        admitted
    }

    fn judge(&self, call: &Call) -> Result<(), Status> {
        if call.is_builtin() && !self.guards_builtin {
            return Ok(());
        }
        let shared = self.lock();
        if shared.open.iter().any(|method| call.is(method)) {
            return Ok(());
        }
        let refused = |why: &str| Err(Status::unauthenticated(why));
        let header = &self.header;
        let form = self.scheme.as_deref().map_or_else(
            || "the token".to_owned(),
            |scheme| format!("`{scheme} ` and the token"),
        );
        let Some(value) = call.metadata().as_ref().get(header) else {
            return refused(&format!("no `{header}` metadata; expected {form}"));
        };
        let token = value.to_str().ok().and_then(|value| match &self.scheme {
            // The scheme is compared as HTTP does (RFC 9110, 11.1).
            Some(scheme) => value
                .split_once(' ')
                .filter(|(word, _)| word.eq_ignore_ascii_case(scheme))
                .map(|(_, token)| token.trim()),
            None => Some(value),
        });
        let Some(token) = token else {
            return refused(&format!("`{header}` is malformed; expected {form}"));
        };
        let Some(issued) = shared.tokens.get(token) else {
            return refused("the token is not known");
        };
        if issued.revoked {
            return refused("the token was revoked");
        }
        if issued.ends_at.is_some_and(|end| end <= Instant::now()) {
            return refused("the token has expired");
        }
        match &issued.grant.methods {
            Some(methods) if !methods.iter().any(|method| call.is(method)) => {
                let method = call.full_name().trim_start_matches('/');
                let text = format!("the token does not allow {method}");
                Err(Status::permission_denied(text))
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.lock().tokens.len();
        write!(f, "Auth({tokens} tokens, as `{}`)", self.header)
    }
}
