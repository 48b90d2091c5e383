//! A schema asked from a server's reflection service.
//!
//! Follows [gRPC Server Reflection](https://github.com/grpc/grpc/blob/master/doc/server-reflection.md): v1, and
//! v1alpha for a server that does not know v1.

use crate::schema::name::is_infrastructure;
use crate::schema::pool::Schema;
use bytes::Bytes;
use prost::Message as _;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorProto;
use std::collections::{HashMap, HashSet};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, Streaming, body::Body, client::GrpcService, codegen::StdError};

/// What reflection told.
#[derive(Debug)]
pub(crate) struct Reflected {
    pub(crate) schema: Schema,
    /// Every service the server lists, also those that it could not describe.
    pub(crate) services: Vec<String>,
}

/// Asks for all services. `Ok(None)` when the server has no reflection service.
pub(crate) async fn reflect<T>(service: T) -> Result<Option<Reflected>, Status>
where
    T: GrpcService<Body> + Clone,
    T::Error: Into<StdError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
{
    match v1::Asked::open(service.clone()).await {
        Ok((asked, services)) => return collect(asked, services).await.map(Some),
        Err(status) if status.code() == Code::Unimplemented => {}
        Err(status) => return Err(status),
    }
    match v1alpha::Asked::open(service).await {
        Ok((asked, services)) => collect(asked, services).await.map(Some),
        Err(status) if status.code() == Code::Unimplemented => Ok(None),
        Err(status) => Err(status),
    }
}

/// A reflection stream of either version.
trait Ask {
    /// The files that declare this symbol; `None`, when the server does not know it.
    async fn files_of_symbol(&mut self, symbol: &str) -> Result<Option<Vec<Vec<u8>>>, Status>;
    async fn file(&mut self, name: &str) -> Result<Option<Vec<Vec<u8>>>, Status>;
}

async fn collect(mut asked: impl Ask, services: Vec<String>) -> Result<Reflected, Status> {
    let mut files = Files::default();
    for service in services
        .iter()
        .filter(|service| !is_infrastructure(service))
    {
        if !files.services.contains(service.as_str()) {
            let found = asked.files_of_symbol(service).await?;
            files.add(found.unwrap_or_default())?;
        }
    }
    while let Some(name) = files.wanted.pop() {
        if files.known.contains_key(&name) {
            continue;
        }
        // Some servers do not serve the well-known types, but everybody has them.
        match asked.file(&name).await? {
            Some(found) => files.add(found)?,
            None => files.add_well_known(&name)?,
        }
    }
    let schema = Schema::from_files(files.known.into_values().collect()).map_err(|error| {
        Status::internal(format!(
            "the server's reflection is of no use: {}",
            error.chain()
        ))
    })?;
    Ok(Reflected { schema, services })
}

/// The files so far, and the imports that are still to be asked for.
#[derive(Default)]
struct Files {
    known: HashMap<String, FileDescriptorProto>,
    services: HashSet<String>,
    wanted: Vec<String>,
}

impl Files {
    fn add(&mut self, encoded: Vec<Vec<u8>>) -> Result<(), Status> {
        for bytes in encoded {
            let file = FileDescriptorProto::decode(bytes.as_slice()).map_err(|error| {
                Status::internal(format!(
                    "the server's reflection sent a malformed file: {error}"
                ))
            })?;
            self.insert(file);
        }
        Ok(())
    }

    fn add_well_known(&mut self, name: &str) -> Result<(), Status> {
        let known = DescriptorPool::global().get_file_by_name(name);
        let file = known.ok_or_else(|| {
            Status::internal(format!(
                "the server's reflection lacks the imported file `{name}`"
            ))
        })?;
        self.insert(file.file_descriptor_proto().clone());
        Ok(())
    }

    fn insert(&mut self, file: FileDescriptorProto) {
        let package = file.package().to_owned();
        self.services.extend(file.service.iter().map(|service| {
            if package.is_empty() {
                service.name().to_owned()
            } else {
                format!("{package}.{}", service.name())
            }
        }));
        self.wanted.extend(file.dependency.iter().cloned());
        self.known.insert(file.name().to_owned(), file);
    }
}

/// The two versions have the same messages in two packages.
macro_rules! version {
    ($version:ident) => {
        mod $version {
            use super::*;
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, ServerReflectionResponse,
                server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
            };

            pub(super) struct Asked {
                requests: mpsc::UnboundedSender<ServerReflectionRequest>,
                replies: Streaming<ServerReflectionResponse>,
            }

            impl Asked {
                /// Opens the stream and lists the services, which tells whether this version is served.
                pub(super) async fn open<T>(service: T) -> Result<(Self, Vec<String>), Status>
                where
                    T: GrpcService<Body>,
                    T::Error: Into<StdError>,
                    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
                    <T::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
                {
                    let (requests, sent) = mpsc::unbounded_channel();
                    let list = MessageRequest::ListServices("*".to_owned());
                    // The first request is sent with the headers, for servers that answer only then.
                    let _ = requests.send(wrap(list));
                    let replies = ServerReflectionClient::new(service)
                        .max_decoding_message_size(usize::MAX)
                        .server_reflection_info(UnboundedReceiverStream::new(sent))
                        .await?
                        .into_inner();
                    let mut asked = Self { requests, replies };
                    match asked.reply().await? {
                        MessageResponse::ListServicesResponse(list) => {
                            Ok((asked, list.service.into_iter().map(|s| s.name).collect()))
                        }
                        MessageResponse::ErrorResponse(error) => {
                            Err(Status::new(error.error_code.into(), error.error_message))
                        }
                        _ => Err(unexpected()),
                    }
                }

                async fn reply(&mut self) -> Result<MessageResponse, Status> {
                    let reply = self.replies.message().await?;
                    reply
                        .and_then(|reply| reply.message_response)
                        .ok_or_else(unexpected)
                }

                async fn files(
                    &mut self,
                    wanted: MessageRequest,
                ) -> Result<Option<Vec<Vec<u8>>>, Status> {
                    let _ = self.requests.send(wrap(wanted));
                    match self.reply().await? {
                        MessageResponse::FileDescriptorResponse(files) => {
                            Ok(Some(files.file_descriptor_proto))
                        }
                        MessageResponse::ErrorResponse(_) => Ok(None),
                        _ => Err(unexpected()),
                    }
                }
            }

            impl Ask for Asked {
                async fn files_of_symbol(
                    &mut self,
                    symbol: &str,
                ) -> Result<Option<Vec<Vec<u8>>>, Status> {
                    self.files(MessageRequest::FileContainingSymbol(symbol.to_owned()))
                        .await
                }

                async fn file(&mut self, name: &str) -> Result<Option<Vec<Vec<u8>>>, Status> {
                    self.files(MessageRequest::FileByFilename(name.to_owned()))
                        .await
                }
            }

            fn wrap(request: MessageRequest) -> ServerReflectionRequest {
                ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(request),
                }
            }
        }
    };
}

version!(v1);
version!(v1alpha);

fn unexpected() -> Status {
    Status::internal("the server's reflection broke off or answered something else than was asked")
}
