//! What methods a server has and how their messages look.
//!
//! - `name`: how a written method name matches a full one.
//! - `method`: one method: its path, shape and message types.
//! - `pool`: [`Schema`], all the methods of a descriptor set or of `.proto` files, looked up by name or path.
//! - `schemaless`: where schemaless calls go.
//! - `check`: whether bytes are a message of a type.
//! - `reflection`: a [`Schema`] asked from a server.
//! - `infrastructure`: the services that every server may have.
//! - `json`: JSON ↔ protobuf, and comparing JSON by value.
//! - `partial`: JSON that names some fields of a message.
//! - `path`: the path to a field.
//! - `fuzz`: any JSON and any path, in tests.
//! - `diff`: where two JSON values differ.

mod check;
mod diff;
#[cfg(test)]
mod fuzz;
mod infrastructure;
pub(crate) mod json;
mod method;
mod name;
mod partial;
mod path;
mod pool;
mod reflection;
pub(crate) mod schemaless;

pub(crate) use check::check;
pub(crate) use diff::{Difference, Extent, brief, differences};
pub(crate) use infrastructure::infrastructure;
pub use method::{Method, Shape};
pub(crate) use name::{MethodName, is_infrastructure};
pub(crate) use partial::canonical;
pub(crate) use path::{FieldPath, Leaf};
pub use pool::Schema;
pub(crate) use pool::list;
pub(crate) use reflection::{Reflected, reflect};
