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

/// Whatever carries calls to the server.
pub(crate) trait Reflecting:
    GrpcService<Body, Error: Into<StdError>, ResponseBody = Self::Replies> + Clone
{
    type Replies: http_body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static;
}

impl<T, B> Reflecting for T
where
    T: GrpcService<Body, Error: Into<StdError>, ResponseBody = B> + Clone,
    B: http_body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    type Replies = B;
}

/// Asks for all services. `Ok(None)` when the server has no reflection service.
pub(crate) async fn reflect(service: impl Reflecting) -> Result<Option<Reflected>, Status> {
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
        // The well-known types are the same everywhere, and some servers do not serve them.
        if files.add_well_known(&name) {
            continue;
        }
        let missing = || {
            Status::internal(format!(
                "the server's reflection lacks the imported file `{name}`"
            ))
        };
        files.add(asked.file(&name).await?.ok_or_else(missing)?)?;
    }
    let schema = Schema::from_files(files.known.into_values().collect()).map_err(|error| {
        Status::internal(format!(
            "the server's reflection is of no use: {}",
            error.chain()
        ))
    })?;
    // A file may declare services that the server does not serve.
    let schema = schema.only(&services);
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

    fn add_well_known(&mut self, name: &str) -> bool {
        let known = DescriptorPool::global().get_file_by_name(name);
        if let Some(file) = &known {
            self.insert(file.file_descriptor_proto().clone());
        }
        known.is_some()
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
            use crate::proto::reflection::$version::{
                ServerReflectionRequest, ServerReflectionResponse,
                server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
            };

            pub(super) struct Asked<T> {
                service: T,
                stream: Conversation,
            }

            struct Conversation {
                requests: mpsc::UnboundedSender<ServerReflectionRequest>,
                replies: Streaming<ServerReflectionResponse>,
            }

            impl<T: Reflecting> Asked<T> {
                /// Opens the stream and lists the services, which tells whether this version is served.
                pub(super) async fn open(service: T) -> Result<(Self, Vec<String>), Status> {
                    let list = MessageRequest::ListServices("*".to_owned());
                    match Conversation::open(service.clone(), list).await? {
                        (stream, MessageResponse::ListServicesResponse(list)) => {
                            let names = list.service.into_iter().map(|service| service.name);
                            Ok((Self { service, stream }, names.collect()))
                        }
                        (_, MessageResponse::ErrorResponse(error)) => {
                            Err(Status::new(error.error_code.into(), error.error_message))
                        }
                        _ => Err(unexpected()),
                    }
                }

                async fn files(
                    &mut self,
                    wanted: MessageRequest,
                ) -> Result<Option<Vec<Vec<u8>>>, Status> {
                    match self.stream.ask(wanted).await {
                        Ok(MessageResponse::FileDescriptorResponse(files)) => {
                            Ok(Some(files.file_descriptor_proto))
                        }
                        Ok(MessageResponse::ErrorResponse(_)) => Ok(None),
                        Ok(_) => Err(unexpected()),
                        // tonic's reflection ends the stream where the protocol has an error response.
                        Err(status) if status.code() == Code::NotFound => {
                            let service = self.service.clone();
                            let list = MessageRequest::ListServices("*".to_owned());
                            self.stream = Conversation::open(service, list).await?.0;
                            Ok(None)
                        }
                        Err(status) => Err(status),
                    }
                }
            }

            impl Conversation {
                /// The first request is sent with the headers, for servers that answer only then.
                async fn open(
                    service: impl Reflecting,
                    first: MessageRequest,
                ) -> Result<(Self, MessageResponse), Status> {
                    let (requests, sent) = mpsc::unbounded_channel();
                    let _ = requests.send(wrap(first));
                    let replies = ServerReflectionClient::new(service)
                        .max_decoding_message_size(usize::MAX)
                        .server_reflection_info(UnboundedReceiverStream::new(sent))
                        .await?
                        .into_inner();
                    let mut conversation = Self { requests, replies };
                    let reply = conversation.reply().await?;
                    Ok((conversation, reply))
                }

                async fn ask(
                    &mut self,
                    request: MessageRequest,
                ) -> Result<MessageResponse, Status> {
                    // It fails when the stream has ended, which the reply tells.
                    let _ = self.requests.send(wrap(request));
                    self.reply().await
                }

                async fn reply(&mut self) -> Result<MessageResponse, Status> {
                    let reply = self.replies.message().await?;
                    reply
                        .and_then(|reply| reply.message_response)
                        .ok_or_else(unexpected)
                }
            }

            impl<T: Reflecting> Ask for Asked<T> {
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
