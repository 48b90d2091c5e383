"""A stock grpcio client of the mock: `client.py ADDRESS DESCRIPTOR_SET SCENARIO`.

It tells what it saw as lines of JSON, and judges nothing itself. It ends when its stdin closes.
"""

import json
import queue
import sys

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import echo


def tell(value):
    print(json.dumps(value), flush=True)


def wait_to_be_told():
    sys.stdin.readline()


def plain(metadata):
    """Metadata as JSON, binary values in hex, without what grpcio adds itself."""
    return [[key, value.hex() if isinstance(value, bytes) else value] for key, value in metadata]


def failure(call):
    """The status of a call that is expected to fail, and its trailers."""
    return {"code": call.code().name, "details": call.details(), "trailers": plain(call.trailing_metadata())}


def failing(call, *arguments, **options):
    try:
        reply = call(*arguments, **options)
    except grpc.RpcError as error:
        return failure(error)
    raise AssertionError(f"the call succeeded with {reply}")


class Requests:
    """A stream of requests that goes on until it is closed."""

    def __init__(self):
        self.waiting = queue.SimpleQueue()

    def send(self, request):
        self.waiting.put(request)

    def close(self):
        self.waiting.put(None)

    def __iter__(self):
        return iter(self.waiting.get, None)


def shapes(channel, stub, Request):
    full = Request(
        message="héllo",
        times=-3,
        big_number=9007199254740993,
        mood="MOOD_LOUD",
        tags=["a", "", "c"],
        counts={"one": 1, "zero": 0},
        nickname="",
        room=0,
        blob=b"\x00\xff",
        ratio=0.1,
    )
    full.sent_at.FromJsonString("2024-02-29T12:00:00.000000001Z")
    said = stub.Say(full)
    split = [reply.count for reply in stub.Split(Request(message="a b c"))]
    joined = stub.Join(iter([Request(message="x"), Request(message="y"), Request()]))

    # Each request is sent only when the reply to the one before is there: neither side may hold anything back.
    requests, chatted = Requests(), []
    replies = stub.Chat(iter(requests))
    for text in ("one", "two"):
        requests.send(Request(message=text))
        chatted.append(next(replies).message)
    requests.close()
    chatted.extend(reply.message for reply in replies)
    tell({
        "said": [said.message, said.count, said.blob.hex()],
        "split": split,
        "joined": [joined.message, joined.count],
        "chatted": [*chatted, replies.code().name],
    })


def metadata(channel, stub, Request):
    sent = (("x-tag", "one"), ("x-tag", "two, three"), ("x-raw-bin", b"\x00\xff,"), ("x-empty-bin", b""))
    reply, call = stub.Say.with_call(Request(message="hi"), metadata=sent)
    tell({"initial": plain(call.initial_metadata()), "trailing": plain(call.trailing_metadata())})


def status(channel, stub, Request):
    tell(failing(stub.Say, Request(message="refused")))
    replies, received = stub.Split(Request(message="broken off")), []
    try:
        for reply in replies:
            received.append(reply.message)
    except grpc.RpcError:
        tell([*received, failure(replies)])
    unknown = channel.unary_unary("/echo.v1.Echo/Nothing")
    tell(failing(unknown, b""))
    tell(failing(stub.Join, iter([Request(message="nothing is mounted for it")])))


def deadline(channel, stub, Request):
    stub.Say(Request(message="now"), timeout=3600)
    stub.Say(Request(message="now"))
    tell(failing(stub.Say, Request(message="never"), timeout=1))


def cancel(channel, stub, Request):
    waiting = stub.Say.future(Request(message="never"))
    wait_to_be_told()
    waiting.cancel()
    tell(failure(waiting))

    requests = Requests()
    replies = stub.Chat(iter(requests))
    requests.send(Request(message="before"))
    received = next(replies).message
    replies.cancel()
    requests.close()
    tell([received, failure(replies)])


def health(channel, stub, Request):
    service = health_pb2_grpc.HealthStub(channel)

    def name(reply):
        return health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)

    def ask(name):
        return health_pb2.HealthCheckRequest(service=name)

    tell([name(service.Check(ask(""))), name(service.Check(ask("echo.v1.Echo")))])
    tell(failing(service.Check, ask("nobody"))["code"])
    watch = service.Watch(ask("echo.v1.Echo"))
    tell(name(next(watch)))
    tell(name(next(watch)))
    watch.cancel()
    unknown = service.Watch(ask("nobody"))
    tell(name(next(unknown)))
    unknown.cancel()


def reflection(channel, stub, Request):
    database = ProtoReflectionDescriptorDatabase(channel)
    tell(sorted(database.get_services()))
    pool = descriptor_pool.DescriptorPool(database)
    service = pool.FindServiceByName("echo.v1.Echo")
    tell({method.name: echo.shape(method) for method in service.methods})
    request = pool.FindMessageTypeByName("echo.v1.EchoRequest")
    tell({field.name: field.number for field in request.fields})
    # The types that reflection told are good enough to call with.
    tell(echo.Stub(channel, service).Say(echo.message(pool, request.full_name)(message="reflected")).message)


def unknown_symbol(channel, stub, Request):
    try:
        ProtoReflectionDescriptorDatabase(channel).FindFileContainingSymbol("echo.v1.Nothing")
    except KeyError:
        # What grpcio's utility makes of the `error_response` that the reflection protocol asks for.
        tell("unknown")
    except grpc.RpcError as error:
        tell(failure(error))


def megabytes(channel, stub, Request):
    blob = bytes(range(256)) * 12 * 1024
    replies = stub.Chat(Request(blob=blob) for _ in range(4))
    tell([stub.Say(Request(blob=blob)).blob == blob, [reply.blob == blob for reply in replies]])


def compressed(channel, stub, Request):
    tell(failing(stub.Say, Request(message="a" * 1000), compression=grpc.Compression.Gzip))


def main():
    address, descriptor_set, scenario = sys.argv[1:]
    pool = echo.load(descriptor_set)
    # A proxy of the environment is not for a server on this very machine.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = echo.Stub(channel, pool.FindServiceByName("echo.v1.Echo"))
        globals()[scenario](channel, stub, echo.message(pool, "echo.v1.EchoRequest"))
        # What was cancelled is told to the mock in the background: the connection stays until the test has seen it.
        sys.stdin.read()


main()
