//! `plugin.GRPCController`: a host that tells its plugin to end.

use crate::proto::plugin::{Empty, grpc_controller_server};
use std::{
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
};
use tonic::{Request, Response, Status};

/// What a mock does when its host calls `plugin.GRPCController/Shutdown`. Whatever it is, the call is recorded:
/// `server.calls_to("plugin.GRPCController/Shutdown")`.
///
/// Give it to [`MockServer::on_shutdown`](crate::MockServer::on_shutdown). A host of
/// [go-plugin](https://github.com/hashicorp/go-plugin/blob/main/client.go) waits 2 s for its plugin to exit, and then kills
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnShutdown {
    /// Answers, and stops as by [`MockServer::shutdown`](crate::MockServer::shutdown) with a grace of a second. It can be
    /// [started again](crate::MockServer::restart).
    #[default]
    Obey,
    /// Answers, and goes on.
    Ignore,
    /// Dies without an answer, as by [`MockServer::kill`](crate::MockServer::kill).
    Die,
}

/// The service, and what it has been told.
#[derive(Default)]
pub(crate) struct Controller {
    behaviour: Mutex<OnShutdown>,
    /// What ends the server.
    end: OnceLock<Box<dyn Fn(OnShutdown) + Send + Sync>>,
}

impl Controller {
    pub(crate) fn behave(&self, behaviour: OnShutdown) {
        *self.lock() = behaviour;
    }

    /// How the server ends. The closure must not wait for the call.
    pub(crate) fn ends_by(&self, end: impl Fn(OnShutdown) + Send + Sync + 'static) {
        // It is told once, when the server is made.
        let _ = self.end.set(Box::new(end));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OnShutdown> {
        self.behaviour
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl grpc_controller_server::GrpcController for Controller {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        let behaviour = *self.lock();
        if let Some(end) = self.end.get() {
            end(behaviour);
        }
        if behaviour == OnShutdown::Die {
            // The connection goes, and this with it.
            std::future::pending::<()>().await;
        }
        Ok(Response::new(Empty {}))
    }
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Controller").field(&*self.lock()).finish()
    }
}
