//! placeholder
use crate::client::health_policy::{HealthPolicy, Verdict};
pub(crate) async fn monitor<S>(
    _: S,
    _: &HealthPolicy,
    _: impl FnMut() -> f64,
    _: impl FnMut(Verdict),
) {
}
