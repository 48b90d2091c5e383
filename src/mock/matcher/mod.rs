//! Which calls a stub is for.
//!
//! - `rule`: what a [`Matcher`] is, and why it did not accept.
//! - `request`: JSON, parts of JSON, and closures over the request.
//! - `expect`: values and closures that are expected of a part.
//! - `part`: one field, and the messages of a stream.
//! - `head`: metadata, deadline, peer, the client's certificate.
//! - `combine`: all, any, not.

mod combine;
mod expect;
mod head;
mod part;
mod request;
mod rule;

pub use combine::{MatcherList, all, any, not};
pub use expect::{Expectation, IntoExpectation, how};
pub use head::{
    CertificateExpectation, IntoCertificateExpectation, IntoTextExpectation, TextExpectation,
    client_certificate, connection, deadline, metadata, metadata_bin, no_deadline, no_metadata,
    peer,
};
pub use part::{every_message, field, message, message_count, some_message};
pub use request::{json, json_subset, request, typed};
pub use rule::{Matcher, Mismatch};
