//! A specification: which calls, and what is answered.

use crate::mock::matcher::Matcher;
use crate::mock::reply::{IntoReply, ReplyFn};
use crate::schema::MethodName;
use std::{fmt, panic::Location};

/// Which calls, and what they get. Mount it with [`MockServer::mount`](crate::MockServer::mount).
///
/// A stub without a reply answers with an empty message.
///
/// ```
/// use rpcplugin_testkit::{Call, Code, Reply, Stub, json};
///
/// Stub::any().reply(|call: &Call| json!({"success": true, "method": call.method()}));
/// Stub::method("Get").when(json!({"key": "a"})).reply(json!({"value": 1}));
/// Stub::method("kv.v1.Store/Put").named("full disk").reply(Reply::status(Code::ResourceExhausted, "disk full"));
/// Stub::method("Slow").reply(|call: Call| async move { json!({"echo": call.request()}) });
/// ```
#[must_use = "a stub does nothing until it is mounted"]
pub struct Stub {
    pub(crate) method: Option<MethodName>,
    pub(crate) matchers: Vec<Box<dyn Matcher>>,
    pub(crate) reply: Option<ReplyFn>,
    name: Option<String>,
    place: &'static Location<'static>,
}

impl Stub {
    /// A stub for every call.
    #[track_caller]
    pub fn any() -> Self {
        Self::new(None)
    }

    /// A stub for a method: `Method`, `Service.Method`, `pkg.Service.Method` or `pkg.Service/Method`.
    #[track_caller]
    pub fn method(name: impl AsRef<str>) -> Self {
        Self::new(Some(MethodName::new(name.as_ref())))
    }

    #[track_caller]
    fn new(method: Option<MethodName>) -> Self {
        Self {
            method,
            matchers: Vec::new(),
            reply: None,
            name: None,
            place: Location::caller(),
        }
    }

    /// Narrows it to calls that the matcher accepts: a closure over the call, or JSON that the request equals. All of
    /// several must accept.
    pub fn when(mut self, matcher: impl Matcher + 'static) -> Self {
        self.matchers.push(Box::new(matcher));
        self
    }

    /// What it answers: JSON, a [`Reply`](crate::Reply), a [`Status`](crate::Status), or a closure; see [`IntoReply`].
    pub fn reply<How>(mut self, reply: impl IntoReply<How>) -> Self {
        self.reply = Some(reply.into_reply());
        self
    }

    /// A name for it, shown in records and messages.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its name, or its method and where it was made.
    pub(crate) fn label(&self) -> String {
        let (name, method, place) = (self.name.as_deref(), self.method.as_ref(), self.place);
        match (name, method) {
            (Some(name), _) => format!("`{name}` ({place})"),
            (None, Some(method)) => format!("Stub::method({:?}) ({place})", method.as_str()),
            (None, None) => format!("Stub::any() ({place})"),
        }
    }
}

impl fmt::Debug for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stub")
            .field("label", &self.label())
            .field("matchers", &self.matchers.len())
            .field("reply", &self.reply)
            .finish()
    }
}
