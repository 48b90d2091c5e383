//! The services that every plugin server has: health and reflection.
//!
//! - `health`: `grpc.health.v1.Health`, set by the test.
//! - `reflection`: `grpc.reflection.v1` and `v1alpha`, by `tonic-reflection`.
//! - `service`: any tonic service behind an `h2` stream, recorded.

mod health;
mod reflection;
mod service;

use crate::schema::Schema;
pub(crate) use health::Health;
use reflection::Reflection;
use service::BuiltinService;
use std::sync::Arc;
use tonic_health::pb::health_server::HealthServer;

/// The built-in services of one server.
pub(crate) struct Builtin {
    pub(crate) health: Arc<Health>,
    health_service: BuiltinService,
    reflection: Reflection,
}

impl Builtin {
    pub(crate) fn new(schema: Option<&Schema>) -> Self {
        let health = Arc::new(Health::new(schema));
        Self {
            health_service: BuiltinService::new(HealthServer::from_arc(Arc::clone(&health))),
            reflection: Reflection::new(schema.cloned()),
            health,
        }
    }

    /// The service that serves this path.
    pub(crate) fn find(&self, path: &str) -> Option<&BuiltinService> {
        let (service, _) = path.strip_prefix('/')?.split_once('/')?;
        match service {
            "grpc.health.v1.Health" => Some(&self.health_service),
            "grpc.reflection.v1.ServerReflection" => Some(self.reflection.v1()),
            "grpc.reflection.v1alpha.ServerReflection" => Some(self.reflection.v1alpha()),
            _ => None,
        }
    }
}
