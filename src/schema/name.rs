//! How a written method name matches a full one.

use std::borrow::Cow;

/// A method name as people write it: `Method`, `Service.Method`, `pkg.Service.Method` or `pkg.Service/Method`.
///
/// It names every method whose full dotted name ends with it at a dot. With a leading slash, as on the wire, it is the
/// full name itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MethodName {
    dotted: String,
    /// With a slash before its last part, as a path has it.
    slashed: String,
    full: bool,
}

impl MethodName {
    pub(crate) fn new(written: &str) -> Self {
        let full = written.starts_with('/') && written[1..].contains('/');
        Self::of(dotted(written), full)
    }

    /// The name of one method and no other.
    pub(crate) fn full(path: &str) -> Self {
        Self::of(dotted(path), true)
    }

    fn of(dotted: Cow<'_, str>, full: bool) -> Self {
        let mut slashed = dotted.clone().into_owned();
        if let Some(dot) = slashed.rfind('.') {
            slashed.replace_range(dot..=dot, "/");
        }
        Self {
            slashed,
            dotted: dotted.into_owned(),
            full,
        }
    }

    /// Whether this names the method `full` (in any of the written forms, with its package).
    pub(crate) fn names(&self, full: &str) -> bool {
        // Without a copy, and as a call has it first: each stub is asked by each call.
        let same =
            |(byte, wanted): (&u8, &u8)| byte == wanted || (is_end(*byte) && *wanted == b'.');
        let (full, wanted) = (without_slash(full).as_bytes(), self.dotted.as_bytes());
        let Some(before) = full.len().checked_sub(wanted.len()) else {
            return false;
        };
        let (before, end) = full.split_at(before);
        let begins = match before.last() {
            None => true,
            Some(byte) => !self.full && is_end(*byte),
        };
        begins && (end == self.slashed.as_bytes() || end.iter().zip(wanted).all(same))
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

/// Whether a part of a full name ends there.
const fn is_end(byte: u8) -> bool {
    matches!(byte, b'.' | b'/')
}

/// `/pkg.Service/Method` as `pkg.Service/Method`.
pub(super) fn without_slash(written: &str) -> &str {
    written.strip_prefix('/').unwrap_or(written)
}

/// `/pkg.Service/Method` as `pkg.Service.Method`.
pub(crate) fn dotted(written: &str) -> Cow<'_, str> {
    let written = without_slash(written);
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
    let full_name = without_slash(full_name);
    let within = |service: &str| {
        let rest = full_name.strip_prefix(service);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
    };
    INFRASTRUCTURE.into_iter().any(within)
}
