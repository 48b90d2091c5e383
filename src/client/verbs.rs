//! The eight ways to call a method: four shapes, by name with JSON and by path with prost messages.

use crate::client::call::{StreamCall, UnaryCall};
use crate::client::handle::{Args, Client};
use crate::schema::Shape;
use prost::Message;
use serde_json::Value;
use tokio_stream::Stream;

impl Client {
    /// Calls a unary method by name with JSON.
    ///
    /// The name is `pkg.Service/Method`, `pkg.Service.Method`, `Service.Method` or a bare `Method`, when it is unique in
    /// the schema: the one given to the builder, or what the server's reflection tells, asked once. A name that the
    /// server has no schema for goes through its schemaless service, if it has that.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Call, CallStream, MockServer, Reply, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// # let server = MockServer::start().await;
    /// # server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// # let client = server.client().await;
    /// let reply = client.call("Get", json!({"key": "a"})).metadata("x-tenant", "t").await?;
    /// assert_eq!(reply, json!({"value": 1}));
    /// # Ok(())
    /// # }
    /// ```
    pub fn call(&self, method: impl Into<String>, args: Value) -> UnaryCall<Value> {
        UnaryCall::new(method, self.dynamic(Shape::Unary, Args::One(args)))
    }

    /// Calls a server-streaming method by name with JSON.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Call, CallStream, MockServer, Reply, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// # let server = MockServer::start().await;
    /// # server.mount(Stub::method("Watch").reply(Reply::stream([json!({"n": 1})])));
    /// # let client = server.client().await;
    /// let mut changes = client.call_server_stream("Watch", json!({"key": "a"})).await?;
    /// while let Some(change) = changes.message().await? {
    ///     assert_eq!(change, json!({"n": 1}));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn call_server_stream(&self, method: impl Into<String>, args: Value) -> StreamCall<Value> {
        StreamCall::new(
            method,
            self.dynamic(Shape::ServerStreaming, Args::One(args)),
        )
    }

    /// Calls a client-streaming method by name with a stream of JSON.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Call, CallStream, MockServer, Reply, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// # let server = MockServer::start().await;
    /// # server.mount(Stub::method("Sum").reply(|call: &Call| json!({"count": call.requests().len()})));
    /// # let client = server.client().await;
    /// let numbers = tokio_stream::iter([json!({"n": 1}), json!({"n": 2})]);
    /// let reply = client.call_client_stream("Sum", numbers).await?;
    /// assert_eq!(reply, json!({"count": 2}));
    /// # Ok(())
    /// # }
    /// ```
    pub fn call_client_stream(
        &self,
        method: impl Into<String>,
        args: impl Stream<Item = Value> + Send + 'static,
    ) -> UnaryCall<Value> {
        let args = Args::Many(Box::pin(args));
        UnaryCall::new(method, self.dynamic(Shape::ClientStreaming, args))
    }

    /// Calls a bidi-streaming method by name with a stream of JSON.
    ///
    /// Awaiting it gives the stream of replies when the response begins. Some servers, those in Python among them, begin
    /// with their first reply, so have the first request ready.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Call, CallStream, MockServer, Reply, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// # let server = MockServer::start().await;
    /// # server.mount(Stub::method("Chat").reply(|mut stream: CallStream| async move {
    /// #     while let Some(message) = stream.recv().await? {
    /// #         stream.send(message).await?;
    /// #     }
    /// #     Ok(())
    /// # }));
    /// # let client = server.client().await;
    /// let said = tokio_stream::iter([json!({"say": "hello"})]);
    /// let mut replies = client.call_bidi_stream("Chat", said).await?;
    /// assert_eq!(replies.message().await?, Some(json!({"say": "hello"})));
    /// # Ok(())
    /// # }
    /// ```
    pub fn call_bidi_stream(
        &self,
        method: impl Into<String>,
        args: impl Stream<Item = Value> + Send + 'static,
    ) -> StreamCall<Value> {
        let args = Args::Many(Box::pin(args));
        StreamCall::new(method, self.dynamic(Shape::BidiStreaming, args))
    }

    /// Calls a unary method by path (`/pkg.Service/Method`) with prost messages. No schema is needed.
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockServer, Reply, Stub};
    /// use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// # let server = MockServer::start().await;
    /// # let client = server.client().await;
    /// let request = HealthCheckRequest::default();
    /// let reply: HealthCheckResponse = client.unary("/grpc.health.v1.Health/Check", request).await?;
    /// assert_eq!(reply.status, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn unary<Req, Res>(&self, path: impl Into<String>, request: Req) -> UnaryCall<Res>
    where
        Req: Message + 'static,
        Res: Message + Default + 'static,
    {
        self.client_stream(path, tokio_stream::once(request))
    }

    /// Calls a server-streaming method by path with prost messages.
    pub fn server_stream<Req, Res>(&self, path: impl Into<String>, request: Req) -> StreamCall<Res>
    where
        Req: Message + 'static,
        Res: Message + Default + 'static,
    {
        self.bidi_stream(path, tokio_stream::once(request))
    }

    /// Calls a client-streaming method by path with a stream of prost messages.
    pub fn client_stream<Req, Res>(
        &self,
        path: impl Into<String>,
        requests: impl Stream<Item = Req> + Send + 'static,
    ) -> UnaryCall<Res>
    where
        Req: Message + 'static,
        Res: Message + Default + 'static,
    {
        UnaryCall::new(path, self.typed(requests))
    }

    /// Calls a bidi-streaming method by path with a stream of prost messages.
    pub fn bidi_stream<Req, Res>(
        &self,
        path: impl Into<String>,
        requests: impl Stream<Item = Req> + Send + 'static,
    ) -> StreamCall<Res>
    where
        Req: Message + 'static,
        Res: Message + Default + 'static,
    {
        StreamCall::new(path, self.typed(requests))
    }
}
