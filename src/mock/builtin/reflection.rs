//! `grpc.reflection.v1` and `v1alpha`, made when they are first asked.
//!
//! Follows [gRPC Server Reflection](https://github.com/grpc/grpc/blob/master/doc/server-reflection.md) over
//! `tonic-reflection`'s messages. (Its own server ends the stream at an unknown symbol, where the protocol has an error
//! response and goes on: `grpcio`'s client breaks by that.)

use crate::mock::backend::Backend;
use crate::proto;
use crate::schema::{Schema, infrastructure};
use prost_reflect::{DescriptorPool, FileDescriptor};
use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Request, Response, Status, Streaming};

/// The reflection services of a schema, or of the schemaless plugin service.
pub(super) struct Reflection {
    schema: Option<Schema>,
    services: OnceLock<(Backend, Backend)>,
}

impl Reflection {
    pub(super) fn new(schema: Option<Schema>) -> Self {
        Self {
            schema,
            services: OnceLock::new(),
        }
    }

    pub(super) fn v1(&self) -> &Backend {
        &self.services().0
    }

    pub(super) fn v1alpha(&self) -> &Backend {
        &self.services().1
    }

    fn services(&self) -> &(Backend, Backend) {
        self.services.get_or_init(|| {
            let known = Arc::new(Known::new(self.schema.as_ref()));
            (v1::service(Arc::clone(&known)), v1alpha::service(known))
        })
    }
}

/// What the server has.
struct Known {
    own: DescriptorPool,
    /// Its names that are listed.
    listed: Vec<String>,
}

impl Known {
    fn new(schema: Option<&Schema>) -> Self {
        let schemaless = || {
            Schema::from_descriptor_set(proto::FILE_DESCRIPTOR_SET)
                .expect("a compiled-in set is valid")
        };
        let schema = schema.cloned().unwrap_or_else(schemaless);
        let plumbing = [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "plugin.GRPCBroker",
            "plugin.GRPCController",
            "plugin.GRPCStdio",
        ];
        let mut listed: Vec<_> = schema
            .services()
            .chain(plumbing.map(str::to_owned))
            .collect();
        listed.sort_unstable();
        listed.dedup();
        Self {
            own: schema.pool().clone(),
            listed,
        }
    }

    /// Looks a thing up in the server's own files, then in those of the plumbing.
    fn find<T>(&self, find: impl Fn(&DescriptorPool) -> Option<T>) -> Option<T> {
        find(&self.own).or_else(|| find(infrastructure().pool()))
    }

    /// The file that declares a symbol: a service, message, enum or extension, or a method, field or value of one.
    fn file_of_symbol(&self, symbol: &str) -> Option<FileDescriptor> {
        let declared = |name: &str| {
            self.find(|pool| {
                let service = pool
                    .get_service_by_name(name)
                    .map(|service| service.parent_file());
                let message = || {
                    pool.get_message_by_name(name)
                        .map(|message| message.parent_file())
                };
                let an_enum = || {
                    pool.get_enum_by_name(name)
                        .map(|an_enum| an_enum.parent_file())
                };
                let extension = || {
                    pool.get_extension_by_name(name)
                        .map(|extension| extension.parent_file())
                };
                service.or_else(message).or_else(an_enum).or_else(extension)
            })
        };
        declared(symbol).or_else(|| {
            let (parent, member) = symbol.rsplit_once('.')?;
            self.has_member(parent, member)
                .then(|| declared(parent))
                .flatten()
        })
    }

    fn has_member(&self, parent: &str, member: &str) -> bool {
        self.find(|pool| {
            let service = pool.get_service_by_name(parent);
            let method = service
                .is_some_and(|service| service.methods().any(|method| method.name() == member));
            let message = pool.get_message_by_name(parent);
            let field = message.is_some_and(|message| message.get_field_by_name(member).is_some());
            let an_enum = pool.get_enum_by_name(parent);
            let value = an_enum.is_some_and(|an_enum| an_enum.get_value_by_name(member).is_some());
            (method || field || value).then_some(())
        })
        .is_some()
    }

    fn file(&self, name: &str) -> Option<FileDescriptor> {
        self.find(|pool| pool.get_file_by_name(name))
    }

    fn file_of_extension(&self, message: &str, number: i32) -> Option<FileDescriptor> {
        let number = u32::try_from(number).ok()?;
        self.find(|pool| {
            Some(
                pool.get_message_by_name(message)?
                    .get_extension(number)?
                    .parent_file(),
            )
        })
    }

    fn extension_numbers(&self, message: &str) -> Option<Vec<i32>> {
        let message = self.find(|pool| pool.get_message_by_name(message))?;
        message
            .extensions()
            .map(|extension| i32::try_from(extension.number()).ok())
            .collect()
    }
}

/// The two versions have the same messages in two packages.
macro_rules! version {
    ($version:ident) => {
        mod $version {
            use super::*;
            use crate::proto::reflection::$version::{
                ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse,
                ListServiceResponse, ServerReflectionRequest, ServerReflectionResponse,
                ServiceResponse,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
                server_reflection_server::{ServerReflection, ServerReflectionServer},
            };

            pub(super) fn service(known: Arc<Known>) -> Backend {
                Backend::tonic(ServerReflectionServer::new(Answering(known)))
            }

            struct Answering(Arc<Known>);

            #[tonic::async_trait]
            impl ServerReflection for Answering {
                type ServerReflectionInfoStream =
                    Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

                async fn server_reflection_info(
                    &self,
                    request: Request<Streaming<ServerReflectionRequest>>,
                ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                    let known = Arc::clone(&self.0);
                    let answers = request
                        .into_inner()
                        .map(move |request| Ok(answer(&known, request?)));
                    Ok(Response::new(Box::pin(answers)))
                }
            }

            fn answer(known: &Known, request: ServerReflectionRequest) -> ServerReflectionResponse {
                let answer = match &request.message_request {
                    Some(MessageRequest::ListServices(_)) => Some(listed(known)),
                    Some(MessageRequest::FileByFilename(name)) => {
                        known.file(name).map(|file| of_file(&file))
                    }
                    Some(MessageRequest::FileContainingSymbol(symbol)) => {
                        known.file_of_symbol(symbol).map(|file| of_file(&file))
                    }
                    Some(MessageRequest::FileContainingExtension(extension)) => known
                        .file_of_extension(&extension.containing_type, extension.extension_number)
                        .map(|file| of_file(&file)),
                    Some(MessageRequest::AllExtensionNumbersOfType(message)) => {
                        known.extension_numbers(message).map(|numbers| {
                            MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
                                base_type_name: message.clone(),
                                extension_number: numbers,
                            })
                        })
                    }
                    None => None,
                };
                ServerReflectionResponse {
                    valid_host: request.host.clone(),
                    message_response: Some(answer.unwrap_or_else(|| unknown(&request))),
                    original_request: Some(request),
                }
            }

            fn listed(known: &Known) -> MessageResponse {
                let names = known.listed.iter().cloned();
                MessageResponse::ListServicesResponse(ListServiceResponse {
                    service: names.map(|name| ServiceResponse { name }).collect(),
                })
            }

            fn of_file(file: &FileDescriptor) -> MessageResponse {
                MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
                    file_descriptor_proto: vec![file.encode_to_vec()],
                })
            }

            fn unknown(request: &ServerReflectionRequest) -> MessageResponse {
                MessageResponse::ErrorResponse(ErrorResponse {
                    error_code: Code::NotFound.into(),
                    error_message: format!("not known here: {:?}", request.message_request),
                })
            }
        }
    };
}

version!(v1);
version!(v1alpha);
