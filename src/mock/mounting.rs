//! Mounting stubs and services.

use crate::mock::backend::Backend;
use crate::mock::handle::{MountedStub, ScopedStub};
use crate::mock::journal::{Journal, Server};
use crate::mock::mounted::Mounted;
use crate::mock::registry::Registry;
use crate::mock::server::MockServer;
use crate::mock::stub::Stub;
use crate::schema::{Method, MethodName, is_infrastructure};
use http::{Request, Response};
use std::{convert::Infallible, panic::Location, sync::Arc};
use tonic::{body::Body, codegen::Service, server::NamedService};

/// What is answered.
impl MockServer {
    /// Mounts a stub, at any time, also while calls run. [`Stub`] tells in which order stubs are asked.
    ///
    /// What it gives back counts the stub's calls and takes it away; it may be ignored.
    ///
    /// # Panics
    ///
    /// When the server has a schema and the stub's method is not in it, or is ambiguous (the candidates are listed), or one
    /// of its matchers can match no call of the method, such as JSON with a field that the request has not; when it expects
    /// a count that it cannot have; and when it is for one of the services that the mock has itself, such as health.
    #[track_caller]
    pub fn mount(&self, stub: Stub) -> MountedStub {
        let registry = &self.service.registry;
        let mounted = self.mount_in(registry, stub);
        let journal = Journal::new(Arc::clone(&self.service.log));
        MountedStub::new(mounted, [Arc::clone(registry)], journal, self.patience)
    }

    /// Mounts a stub in this registry, by this server's schema.
    #[track_caller]
    pub(super) fn mount_in(&self, registry: &Registry, mut stub: Stub) -> Arc<Mounted> {
        let place = Location::caller();
        let method = stub.method.as_ref().and_then(|name| self.resolve(name));
        if let Err(problem) = stub.check(method.as_deref()) {
            panic!("cannot mount {}: {problem}", stub.label(place));
        }
        self.mount_for(registry, stub, method.as_ref(), place)
    }

    /// Mounts a stub until what this gives back is dropped, which also verifies that the stub got
    /// [the calls that it expects](Stub::times).
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockServer, Status, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let client = server.client().await;
    /// {
    ///     let _down = server.mount_scoped(Stub::method("Get").reply(Status::unavailable("down")).times(1));
    ///     client.call("Get", json!({})).await.unwrap_err();
    /// }
    /// client.call("Get", json!({})).await.unwrap();
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`mount`](Self::mount).
    #[track_caller]
    pub fn mount_scoped(&self, stub: Stub) -> ScopedStub {
        ScopedStub(self.mount(stub))
    }

    /// Puts a real tonic service behind the mock: calls to it that no stub takes are served by it and recorded like all
    /// others. A stub in front of it takes single calls from it, or makes it fail.
    ///
    /// Its messages are JSON in the records if the mock has their schema, and bytes if not.
    ///
    /// ```
    /// use rpcplugin_testkit::{MockServer, Status, Stub, json, matchers::field};
    /// use rpcplugin_testkit::proto::rpcplugin::v1::{CallRequest, plugin_server::{Plugin, PluginServer}};
    /// # use tonic::{Request, Response, Streaming, async_trait};
    /// # use prost_types::Struct;
    /// # use std::pin::Pin;
    /// # type Replies = Pin<Box<dyn tokio_stream::Stream<Item = Result<Struct, Status>> + Send>>;
    ///
    /// struct Real;
    ///
    /// #[async_trait]
    /// impl Plugin for Real {
    ///     async fn call(&self, _: Request<CallRequest>) -> Result<Response<Struct>, Status> {
    ///         Ok(Response::new(Struct::default()))
    ///     }
    ///     // …
    /// #   type ServerStreamStream = Replies;
    /// #   async fn server_stream(&self, _: Request<CallRequest>) -> Result<Response<Replies>, Status> { Err(Status::unimplemented("not shown")) }
    /// #   async fn client_stream(&self, _: Request<Streaming<CallRequest>>) -> Result<Response<Struct>, Status> { Err(Status::unimplemented("not shown")) }
    /// #   type BidiStreamStream = Replies;
    /// #   async fn bidi_stream(&self, _: Request<Streaming<CallRequest>>) -> Result<Response<Replies>, Status> { Err(Status::unimplemented("not shown")) }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::builder().descriptor_set(rpcplugin_testkit::proto::FILE_DESCRIPTOR_SET).start().await;
    /// server.mount_service(PluginServer::new(Real));
    /// let full = Stub::method("rpcplugin.v1.Plugin/Call").when(field("method", "Put")).reply(Status::resource_exhausted("full"));
    /// server.mount(full);
    ///
    /// let client = server.client().await;
    /// client.call("rpcplugin.v1.Plugin/Call", json!({"method": "Get"})).await.unwrap();
    /// client.call("rpcplugin.v1.Plugin/Call", json!({"method": "Put"})).await.unwrap_err();
    /// assert_eq!(server.calls().len(), 2);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When it is one of the services that the mock has itself, such as health.
    #[track_caller]
    pub fn mount_service<S>(&self, service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let place = Location::caller();
        // The schemaless service is none of the mock's own where there is a schema.
        let own = is_infrastructure(S::NAME) && !S::NAME.starts_with("rpcplugin.");
        assert!(!own, "`{}` is served by the mock itself", S::NAME);
        let server = Server {
            id: self.service.registry.next_id(),
            name: Some(S::NAME.to_owned()),
            label: format!("service {} ({place})", S::NAME),
            secret: false,
        };
        let backend = Backend::tonic(service).recorded_as(server);
        self.service.backends.add(S::NAME, backend);
    }

    /// Forgets all stubs, services, faults and calls, and what verification would find. Connections stay.
    pub fn reset(&self) {
        self.forget_faults();
        self.service.registry.clear();
        self.service.backends.clear();
        self.service.log.clear();
        self.service.findings.clear();
    }

    /// Mounts a stub that [was checked](Stub::check), for a method of the schema, or of none.
    pub(super) fn mount_for(
        &self,
        registry: &Registry,
        stub: Stub,
        method: Option<&Arc<Method>>,
        place: &Location<'_>,
    ) -> Arc<Mounted> {
        let hashed = method.is_some() || self.service.schema.is_none();
        let method = method.map(|method| MethodName::full(method.full_name()));
        registry.mount(stub, method, hashed, place)
    }

    #[track_caller]
    fn resolve(&self, name: &MethodName) -> Option<Arc<Method>> {
        match self.schema_method(name) {
            Ok(Some(method)) => Some(method),
            _ if is_infrastructure(name.as_str()) => panic!(
                "`{}` is served by the mock itself: use `set_health` for its health",
                name.as_str()
            ),
            Err(error) => panic!("cannot mount the stub: {error}"),
            Ok(None) => None,
        }
    }
}
