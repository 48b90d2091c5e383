//! `grpc.health.v1.Health`, set by the test.
//!
//! Follows [GRPC Health Checking](https://github.com/grpc/grpc/blob/master/doc/health-checking.md): `Check` of an unknown
//! service is `NOT_FOUND`, `Watch` of one says `SERVICE_UNKNOWN` and goes on watching. (`tonic-health` ends such a watch,
//! and can only be set from async code.)

use crate::health::ServingStatus;
use crate::proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus as Wire, health_server,
};
use crate::schema::{Schema, is_infrastructure};
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tonic::{Request, Response, Status};

/// The name under which the health of every plugin is known
/// ([go-plugin](https://github.com/hashicorp/go-plugin/blob/main/grpc_server.go)).
const PLUGIN: &str = "plugin";

/// The health of each service, `""` for the server.
#[derive(Debug)]
pub(crate) struct Health {
    statuses: Mutex<HashMap<String, watch::Sender<Wire>>>,
}

impl Health {
    /// The server, the plugin and every service of the schema are serving.
    pub(super) fn new(schema: Option<&Schema>) -> Self {
        let services = schema.into_iter().flat_map(Schema::services);
        let own = services.filter(|service| !is_infrastructure(service));
        let serving = own
            .chain([String::new(), PLUGIN.to_owned()])
            .map(|service| (service, watch::Sender::new(Wire::Serving)));
        Self {
            statuses: Mutex::new(serving.collect()),
        }
    }

    pub(crate) fn set(&self, service: &str, status: ServingStatus) {
        self.lock()
            .entry(service.to_owned())
            .or_insert_with(|| watch::Sender::new(Wire::ServiceUnknown))
            .send_replace(status.wire());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Wire>>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        let known = self.lock().get(&service).map(|status| *status.borrow());
        match known {
            None | Some(Wire::ServiceUnknown) => Err(Status::not_found(format!(
                "no health is set for `{service}`"
            ))),
            Some(status) => Ok(Response::new(reply(status))),
        }
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let statuses = self.lock();
        let known = statuses
            .iter()
            .map(|(service, status)| (service.clone(), *status.borrow()))
            .filter(|(_, status)| *status != Wire::ServiceUnknown)
            .map(|(service, status)| (service, reply(status)));
        let statuses = known.collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let mut statuses = self.lock();
        let status = statuses
            .entry(service)
            .or_insert_with(|| watch::Sender::new(Wire::ServiceUnknown));
        let changes = WatchStream::new(status.subscribe());
        Ok(Response::new(Box::pin(
            changes.map(|status| Ok(reply(status))),
        )))
    }
}

fn reply(status: Wire) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}
