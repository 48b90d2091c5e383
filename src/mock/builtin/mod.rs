//! The services that every plugin server has: health and reflection, and those by which a host manages its plugin.
//!
//! - `health`: `grpc.health.v1.Health`, set by the test.
//! - `reflection`: `grpc.reflection.v1` and `v1alpha`, by `tonic-reflection`.
//! - `controller`: `plugin.GRPCController`, which ends the server; `stdio`: `plugin.GRPCStdio`, what it says on the way;
//!   `broker`: `plugin.GRPCBroker`, further connections; `knocks`: those that are multiplexed, by a feature.

mod broker;
mod controller;
mod health;
#[cfg(feature = "multiplex")]
mod knocks;
mod reflection;
mod stdio;

use crate::mock::backend::Backend;
use crate::proto::health::health_server::HealthServer;
use crate::proto::plugin::{
    grpc_broker_server::GrpcBrokerServer, grpc_controller_server::GrpcControllerServer,
    grpc_stdio_server::GrpcStdioServer,
};
use crate::schema::Schema;
pub(crate) use broker::Brokered;
pub(crate) use controller::Controller;
pub use controller::OnShutdown;
pub(crate) use health::Health;
use reflection::Reflection;
use std::sync::{Arc, OnceLock};
pub(crate) use stdio::Stdio;

/// The built-in services of one server.
pub(crate) struct Builtin {
    pub(crate) health: Arc<Health>,
    pub(crate) controller: Arc<Controller>,
    pub(crate) stdio: Arc<Stdio>,
    pub(crate) brokered: Arc<Brokered>,
    reflection: Reflection,
    services: Services,
}

/// The others as they are served: each is made when somebody calls it.
#[derive(Default)]
struct Services {
    health: OnceLock<Backend>,
    controller: OnceLock<Backend>,
    stdio: OnceLock<Backend>,
    broker: OnceLock<Backend>,
}

impl Builtin {
    pub(crate) fn new(schema: Option<&Schema>) -> Self {
        Self {
            health: Arc::new(Health::new(schema)),
            controller: Arc::default(),
            stdio: Arc::default(),
            brokered: Arc::default(),
            reflection: Reflection::new(schema.cloned()),
            services: Services::default(),
        }
    }

    /// The service that serves this path.
    pub(crate) fn find(&self, path: &str) -> Option<&Backend> {
        // Every call is asked.
        if !path.starts_with("/grpc.") && !path.starts_with("/plugin.") {
            return None;
        }
        let (service, _) = path[1..].split_once('/')?;
        let Services {
            health,
            controller,
            stdio,
            broker,
        } = &self.services;
        match service {
            "grpc.health.v1.Health" => {
                Some(health.get_or_init(|| {
                    Backend::tonic(HealthServer::from_arc(Arc::clone(&self.health)))
                }))
            }
            "grpc.reflection.v1.ServerReflection" => Some(self.reflection.v1()),
            "grpc.reflection.v1alpha.ServerReflection" => Some(self.reflection.v1alpha()),
            "plugin.GRPCBroker" => Some(broker.get_or_init(|| {
                let service = broker::Service(Arc::clone(&self.brokered));
                Backend::tonic(GrpcBrokerServer::new(service))
            })),
            "plugin.GRPCController" => Some(controller.get_or_init(|| {
                let service = Arc::clone(&self.controller);
                Backend::tonic(GrpcControllerServer::from_arc(service))
            })),
            "plugin.GRPCStdio" => Some(stdio.get_or_init(|| {
                Backend::tonic(GrpcStdioServer::from_arc(Arc::clone(&self.stdio)))
            })),
            _ => None,
        }
    }

    /// Ends what would go on for ever: the server is leaving.
    pub(crate) fn leave(&self) {
        self.stdio.dismiss();
        self.brokered.dismiss();
    }
}
