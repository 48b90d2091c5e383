//! A tonic server over TCP with `TCP_NODELAY`.

use crate::echo::{
    EchoReply, EchoRequest,
    echo_server::{Echo, EchoServer},
    reply_to,
};
use tokio::{net::TcpListener, task::AbortHandle};
use tonic::{
    Request, Response, Status, Streaming,
    codegen::tokio_stream::Empty,
    transport::{Server, server::TcpIncoming},
};

/// Says what it is told.
pub struct Bare;

type Replies = Empty<Result<EchoReply, Status>>;

#[tonic::async_trait]
impl Echo for Bare {
    async fn say(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        Ok(Response::new(reply_to(request.into_inner())))
    }

    type SplitStream = Replies;

    async fn split(&self, _: Request<EchoRequest>) -> Result<Response<Replies>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn join(
        &self,
        _: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<EchoReply>, Status> {
        Err(Status::unimplemented(""))
    }

    type ChatStream = Replies;

    async fn chat(&self, _: Request<Streaming<EchoRequest>>) -> Result<Response<Replies>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A server that stops when it is dropped.
pub struct Serving {
    pub uri: String,
    task: AbortHandle,
}

/// Serves this on a port of its own.
pub async fn serve(service: impl Echo) -> Serving {
    serve_by(Server::builder(), "http", service).await
}

/// The same with what this builder was told.
pub async fn serve_by(mut server: Server, scheme: &str, service: impl Echo) -> Serving {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let router = server.add_service(EchoServer::new(service));
    let task = tokio::spawn(router.serve_with_incoming(incoming));
    Serving {
        uri: format!("{scheme}://{address}"),
        task: task.abort_handle(),
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}
