//! The system's resolver.

use crate::error::{Error, Kind};
use std::net::IpAddr;
use tokio::net::lookup_host;

/// The addresses of a host, those that the system prefers first
/// ([RFC 6724](https://www.rfc-editor.org/rfc/rfc6724)).
pub(super) async fn addresses(host: &str) -> Result<Vec<IpAddr>, Error> {
    let failed = || {
        let text = format!("the host `{host}` cannot be resolved");
        Error::new(Kind::Discovery, text)
    };
    let found = lookup_host((host, 0)).await;
    let found = found.map_err(|error| failed().caused_by(error))?;
    let found: Vec<_> = found.map(|address| address.ip().to_canonical()).collect();
    match found.is_empty() {
        true => Err(failed().caused_by("it has no addresses")),
        false => Ok(found),
    }
}
