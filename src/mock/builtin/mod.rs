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
use std::sync::Arc;
pub(crate) use stdio::Stdio;

/// The built-in services of one server.
pub(crate) struct Builtin {
    pub(crate) health: Arc<Health>,
    pub(crate) controller: Arc<Controller>,
    pub(crate) stdio: Arc<Stdio>,
    pub(crate) brokered: Arc<Brokered>,
    health_service: Backend,
    controller_service: Backend,
    stdio_service: Backend,
    broker_service: Backend,
    reflection: Reflection,
}

impl Builtin {
    pub(crate) fn new(schema: Option<&Schema>) -> Self {
        let health = Arc::new(Health::new(schema));
        let (controller, stdio) = (Arc::<Controller>::default(), Arc::<Stdio>::default());
        let brokered = Arc::<Brokered>::default();
        let broker = broker::Service(Arc::clone(&brokered));
        Self {
            health_service: Backend::tonic(HealthServer::from_arc(Arc::clone(&health))),
            controller_service: Backend::tonic(GrpcControllerServer::from_arc(Arc::clone(
                &controller,
            ))),
            stdio_service: Backend::tonic(GrpcStdioServer::from_arc(Arc::clone(&stdio))),
            broker_service: Backend::tonic(GrpcBrokerServer::new(broker)),
            reflection: Reflection::new(schema.cloned()),
            health,
            controller,
            stdio,
            brokered,
        }
    }

    /// The service that serves this path.
    pub(crate) fn find(&self, path: &str) -> Option<&Backend> {
        let (service, _) = path.strip_prefix('/')?.split_once('/')?;
        match service {
            "grpc.health.v1.Health" => Some(&self.health_service),
            "grpc.reflection.v1.ServerReflection" => Some(self.reflection.v1()),
            "grpc.reflection.v1alpha.ServerReflection" => Some(self.reflection.v1alpha()),
            "plugin.GRPCBroker" => Some(&self.broker_service),
            "plugin.GRPCController" => Some(&self.controller_service),
            "plugin.GRPCStdio" => Some(&self.stdio_service),
            _ => None,
        }
    }

    /// Ends what would go on for ever: the server is leaving.
    pub(crate) fn leave(&self) {
        self.stdio.dismiss();
        self.brokered.dismiss();
    }
}
