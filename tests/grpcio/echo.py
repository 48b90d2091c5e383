"""The echo service, made from its descriptor set at run time, so that no generated code is needed."""

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ARITIES = {False: "unary", True: "stream"}


def read(path):
    with open(path, "rb") as file:
        return file.read()


def load(path):
    """The pool of a descriptor set, in which every file comes after its imports."""
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString(read(path))
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def message(pool, name):
    """The class of a message."""
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def shape(method):
    """The name that grpcio has for the shape of a method, such as `unary_stream`."""
    return f"{ARITIES[method.client_streaming]}_{ARITIES[method.server_streaming]}"


class Stub:
    """One attribute for each method of a service, as in the stubs that grpcio-tools generates."""

    def __init__(self, channel, service):
        for method in service.methods:
            multicallable = getattr(channel, shape(method))(
                f"/{service.full_name}/{method.name}",
                request_serializer=message_factory.GetMessageClass(method.input_type).SerializeToString,
                response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
            )
            setattr(self, method.name, multicallable)


def handlers(service, servicer):
    """The handlers of a service: for each method, the servicer's method of that name."""
    return grpc.method_handlers_generic_handler(
        service.full_name,
        {
            method.name: getattr(grpc, f"{shape(method)}_rpc_method_handler")(
                getattr(servicer, method.name),
                request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
                response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
            )
            for method in service.methods
        },
    )
