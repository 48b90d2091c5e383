"""The echo service, made from its descriptor set at run time, so that no generated code is needed."""

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# By whether the client streams, and whether the server does.
MULTICALLABLES = {
    (False, False): grpc.Channel.unary_unary,
    (False, True): grpc.Channel.unary_stream,
    (True, False): grpc.Channel.stream_unary,
    (True, True): grpc.Channel.stream_stream,
}
HANDLERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def load(path):
    """The pool of a descriptor set, in which every file comes after its imports."""
    pool = descriptor_pool.DescriptorPool()
    with open(path, "rb") as file:
        files = descriptor_pb2.FileDescriptorSet.FromString(file.read())
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def message(pool, name):
    """The class of a message."""
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def shape(method):
    return (method.client_streaming, method.server_streaming)


class Stub:
    """One attribute for each method of a service, as in the stubs that grpcio-tools generates."""

    def __init__(self, channel, service):
        for method in service.methods:
            multicallable = MULTICALLABLES[shape(method)](
                channel,
                f"/{service.full_name}/{method.name}",
                request_serializer=message_factory.GetMessageClass(method.input_type).SerializeToString,
                response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
            )
            setattr(self, method.name, multicallable)


def handlers(service, servicer):
    """The handlers of a service, of which each method is the servicer's method of that name."""
    return grpc.method_handlers_generic_handler(
        service.full_name,
        {
            method.name: HANDLERS[shape(method)](
                getattr(servicer, method.name),
                request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
                response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
            )
            for method in service.methods
        },
    )
