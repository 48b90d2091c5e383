//! The services that every plugin server has: health and reflection.
//!
//! - `health`: `grpc.health.v1.Health`, set by the test.
//! - `reflection`: `grpc.reflection.v1` and `v1alpha`, by `tonic-reflection`.

mod health;
mod reflection;

use crate::mock::backend::Backend;
use crate::proto::health::health_server::HealthServer;
use crate::schema::Schema;
pub(crate) use health::Health;
use reflection::Reflection;
use std::sync::Arc;

/// The built-in services of one server.
pub(crate) struct Builtin {
    pub(crate) health: Arc<Health>,
    health_service: Backend,
    reflection: Reflection,
}

impl Builtin {
    pub(crate) fn new(schema: Option<&Schema>) -> Self {
        let health = Arc::new(Health::new(schema));
        Self {
            health_service: Backend::tonic(HealthServer::from_arc(Arc::clone(&health))),
            reflection: Reflection::new(schema.cloned()),
            health,
        }
    }

    /// The service that serves this path.
    pub(crate) fn find(&self, path: &str) -> Option<&Backend> {
        let (service, _) = path.strip_prefix('/')?.split_once('/')?;
        match service {
            "grpc.health.v1.Health" => Some(&self.health_service),
            "grpc.reflection.v1.ServerReflection" => Some(self.reflection.v1()),
            "grpc.reflection.v1alpha.ServerReflection" => Some(self.reflection.v1alpha()),
            _ => None,
        }
    }
}
