//! What happens to a connection before it is served.

use crate::mock::fault::{Admission, Effect, Strike};
use crate::net::Shaped;

/// Whether a connection is served.
pub(crate) enum Admitted {
    Yes(Shaped),
    /// It was closed.
    No,
    /// Its TLS handshake is to be failed, by this fault.
    Failed(Shaped, String),
}

/// Lets faults have their way with a connection that has come, one after another.
pub(crate) async fn admit(stream: Shaped, strikes: Vec<Strike>) -> Admitted {
    for strike in strikes {
        let Effect::Admission(admission) = &strike.fault.effect else {
            continue;
        };
        if !strike.come().await {
            continue;
        }
        match admission {
            Admission::Close | Admission::MaxConnections(_) => {
                stream.close(false);
                return Admitted::No;
            }
            Admission::Silence | Admission::TlsStall => strike.fault.barrier.removed().await,
            Admission::Slow(delay) => strike.wait(delay).await,
            Admission::TlsFailure => {
                return Admitted::Failed(stream, strike.fault.label.clone());
            }
        }
    }
    Admitted::Yes(stream)
}
