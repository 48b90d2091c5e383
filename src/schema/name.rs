//! How a written method name matches a full one.

use std::borrow::Cow;

/// A method name as people write it: `Method`, `Service.Method`, `pkg.Service.Method` or `pkg.Service/Method`.
///
/// It names every method whose full dotted name ends with it at a dot. With a leading slash, as on the wire, it is the
/// full name itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MethodName {
    dotted: String,
    full: bool,
}

impl MethodName {
    pub(crate) fn new(written: &str) -> Self {
        Self {
            dotted: dotted(written).into_owned(),
            full: written.starts_with('/') && written[1..].contains('/'),
        }
    }

    /// The name of one method and no other.
    pub(crate) fn full(path: &str) -> Self {
        Self {
            dotted: dotted(path).into_owned(),
            full: true,
        }
    }

    /// Whether this names the method `full` (in any of the written forms, with its package).
    pub(crate) fn names(&self, full: &str) -> bool {
        let full = full.strip_prefix('/').unwrap_or(full).as_bytes();
        let Some(begin) = full.len().checked_sub(self.dotted.len()) else {
            return false;
        };
        let (before, end) = full.split_at(begin);
        // Each stub is asked by each call: no copy is made.
        let as_dot = |byte: &u8| if *byte == b'/' { b'.' } else { *byte };
        let ends = || end.iter().map(as_dot).eq(self.dotted.bytes());
        match before.last().map(as_dot) {
            None => ends(),
            Some(last) => !self.full && last == b'.' && ends(),
        }
    }

    /// The part after the last dot.
    pub(crate) fn bare(&self) -> &str {
        self.dotted
            .rsplit_once('.')
            .map_or(self.dotted.as_str(), |(_, bare)| bare)
    }

    /// The whole name with dots only.
    pub(crate) fn as_str(&self) -> &str {
        &self.dotted
    }
}

/// `/pkg.Service/Method` as `pkg.Service.Method`.
pub(crate) fn dotted(written: &str) -> Cow<'_, str> {
    let written = written.strip_prefix('/').unwrap_or(written);
    if written.contains('/') {
        Cow::Owned(written.replace('/', "."))
    } else {
        Cow::Borrowed(written)
    }
}

/// The packages and services of the plumbing.
const INFRASTRUCTURE: [&str; 6] = [
    "grpc.health",
    "grpc.reflection",
    "plugin.GRPCBroker",
    "plugin.GRPCController",
    "plugin.GRPCStdio",
    "rpcplugin.v1.Plugin",
];

/// Whether the service or method of that full name belongs to the plumbing and not to the plugin.
pub(crate) fn is_infrastructure(full_name: &str) -> bool {
    let full_name = full_name.strip_prefix('/').unwrap_or(full_name);
    let within = |service: &str| {
        let rest = full_name.strip_prefix(service);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
    };
    INFRASTRUCTURE.into_iter().any(within)
}
