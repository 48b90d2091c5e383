//! Asking a server how it is.

use crate::client::handle::Client;
use crate::error::{Error, Kind};
use crate::health::ServingStatus;
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse};

impl Client {
    /// Checks that the server as a whole is serving.
    ///
    /// # Errors
    ///
    /// When it is not serving, does not answer, or has no health service (`UNIMPLEMENTED`).
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockServer, ServingStatus};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// let client = server.client().await;
    /// client.health_check().await.unwrap();
    ///
    /// server.set_health("", ServingStatus::NotServing);
    /// assert!(client.health_check().await.is_err());
    /// # }
    /// ```
    pub async fn health_check(&self) -> Result<(), Error> {
        match self.health("").await? {
            ServingStatus::Serving => Ok(()),
            other => {
                let text = format!("the server at {} is not healthy: {other}", self.target());
                let status = tonic::Status::unavailable("the server is not serving");
                Err(Error::new(Kind::Status, text).with_status(status))
            }
        }
    }

    /// The status of one service, `""` for the server as a whole.
    ///
    /// It asks once, by [`Check`](https://github.com/grpc/grpc/blob/master/doc/health-checking.md), within the client's
    /// timeout.
    ///
    /// # Errors
    ///
    /// When the server does not answer, does not know the service (`NOT_FOUND`), or has no health service
    /// (`UNIMPLEMENTED`).
    pub async fn health(&self, service: &str) -> Result<ServingStatus, Error> {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let check = self.unary::<_, HealthCheckResponse>("/grpc.health.v1.Health/Check", request);
        // A server that refuses a compressed check would seem to have no health service.
        Ok(ServingStatus::of(check.compress(None).await?.status()))
    }
}
