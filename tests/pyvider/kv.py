"""The messages of proto/kv/kv.proto without protoc, and what both programs here have in common."""

import os
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "proto.KV"

# The handshake of go-plugin's KV example; pyvider reads it from the environment when it is imported.
COOKIE = {"PLUGIN_MAGIC_COOKIE_KEY": "BASIC_PLUGIN", "PLUGIN_MAGIC_COOKIE_VALUE": "hello"}

_FIELDS = {
    "GetRequest": ("key",),
    "GetResponse": ("value",),
    "PutRequest": ("key", "value"),
    "Empty": (),
}


def _messages():
    field = descriptor_pb2.FieldDescriptorProto
    numbers = {"key": (1, field.TYPE_STRING), "value": (2, field.TYPE_BYTES)}
    file = descriptor_pb2.FileDescriptorProto(name="kv.proto", package="proto", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for position, text in enumerate(fields, 1):
            message.field.add(name=text, number=position, type=numbers[text][1], label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"proto.{name}")) for name in _FIELDS]


GetRequest, GetResponse, PutRequest, Empty = _messages()


def quiet_standard_streams():
    """Takes the standard input and output for itself; whoever else prints, prints to stderr, and reads nothing."""
    script, told = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return script, told


def fail(text):
    sys.exit(f"{sys.argv[0]}: {text}")
