//! placeholder
#![expect(missing_docs, reason = "placeholder")]
use std::fmt;
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthPolicy {}
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    #[default]
    Unknown,
    Serving,
    NotServing,
}
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) health: Health,
    pub(crate) why: String,
}
