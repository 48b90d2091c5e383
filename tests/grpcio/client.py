"""A stock grpcio client of the mock: `client.py ADDRESS[#NAME] DESCRIPTOR_SET SCENARIO [ROOTS [KEY CERTIFICATES]]`.

With a file of roots it speaks TLS, and with a key and a certificate mutual TLS. It asks for the server by the name, if there
is one.

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
    """All values of the keys that the tests and the scripts send, binary ones as lists of numbers."""
    values = {}
    for key, value in metadata:
        if key.startswith("x-"):
            values.setdefault(key, []).append(list(value) if isinstance(value, bytes) else value)
    return values


def code(call):
    return call.code().value[0]


def failure(call):
    """The status of a call that failed: its code, its text, its details and its trailers."""
    trailers = call.trailing_metadata()
    details = dict(trailers).get("grpc-status-details-bin", b"")
    return [code(call), call.details(), list(details), plain(trailers)]


def failed(call, *arguments, **options):
    """Makes a call that is expected to fail."""
    try:
        reply = call(*arguments, **options)
    except grpc.RpcError as error:
        return error
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

    blob = bytes(range(256)) * 12 * 1024
    large = [stub.Say(Request(blob=blob)), *stub.Chat(Request(blob=blob) for _ in range(4))]
    tell([
        [said.message, said.count, list(said.blob)],
        split,
        joined.count,
        chatted,
        [reply.blob == blob for reply in large] == 5 * [True],
    ])


def metadata(channel, stub, Request):
    sent = (("x-tag", "one"), ("x-tag", "2, 3"), ("x-raw-bin", b"\x00\xff,"), ("x-empty-bin", b""))
    reply, call = stub.Say.with_call(Request(), metadata=sent)
    tell([plain(call.initial_metadata()), plain(call.trailing_metadata())])


def status(channel, stub, Request):
    replies, received, aborted = stub.Split(Request()), [], None
    try:
        for reply in replies:
            received.append(reply.count)
    except grpc.RpcError as error:
        aborted = failure(error)
    tell([
        received,
        aborted,
        failure(failed(stub.Say, Request())),
        code(failed(channel.unary_unary("/echo.v1.Echo/Nothing"), b"")),
        code(failed(stub.Join, iter([Request()]))),
        code(failed(stub.Say, Request(message="a" * 1000), compression=grpc.Compression.Gzip)),
        code(failed(stub.Say, Request(message="a" * 1000), compression=grpc.Compression.Deflate)),
    ])


def endings(channel, stub, Request):
    stub.Say(Request(message="at once"), timeout=3600)
    stub.Say(Request(message="at once"))

    unanswered = stub.Say.future(Request(message="never"))
    wait_to_be_told()
    unanswered.cancel()

    requests = Requests()
    half_way = stub.Chat(iter(requests))
    requests.send(Request(message="before"))
    received = next(half_way).message
    half_way.cancel()
    requests.close()

    # Long enough for a busy machine to bring the call to the mock well before its deadline.
    late = failed(stub.Say, Request(message="never"), timeout=2)
    tell([code(unanswered), received, code(half_way), code(late)])


def infrastructure(channel, stub, Request):
    health = health_pb2_grpc.HealthStub(channel)

    def ask(service):
        return health_pb2.HealthCheckRequest(service=service)

    def name(reply):
        return health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)

    watch, unknown = health.Watch(ask("echo.v1.Echo")), health.Watch(ask("nobody"))
    tell([
        name(health.Check(ask(""))),
        name(health.Check(ask("echo.v1.Echo"))),
        code(failed(health.Check, ask("nobody"))),
        name(next(unknown)),
        name(next(watch)),
    ])
    tell(name(next(watch)))
    watch.cancel()
    unknown.cancel()

    database = ProtoReflectionDescriptorDatabase(channel)
    services = [name for name in database.get_services() if not name.startswith("grpc.reflection.")]
    # It fetches the files as they are needed, the imported ones too.
    pool = descriptor_pool.DescriptorPool(database)
    reflected = echo.Stub(channel, pool.FindServiceByName("echo.v1.Echo"))
    Reflected = echo.message(pool, "echo.v1.EchoRequest")
    sent_at = Reflected.DESCRIPTOR.fields_by_number[10].name
    tell([sorted(services), sent_at, reflected.Say(Reflected(message="by it")).message])


def refusal(channel, stub, Request):
    error = failed(stub.Say, Request())
    tell([code(error), error.details()])


def connect(address, files):
    # A proxy of the environment is not for a server on this very machine.
    options = [("grpc.enable_http_proxy", 0)]
    if not files:
        return grpc.insecure_channel(address, options)
    credentials = grpc.ssl_channel_credentials(*map(echo.read, files))
    address, _, name = address.partition("#")
    if name:
        options.append(("grpc.ssl_target_name_override", name))
    return grpc.secure_channel(address, credentials, options)


def main():
    address, descriptor_set, scenario, *files = sys.argv[1:]
    pool = echo.load(descriptor_set)
    with connect(address, files) as channel:
        stub = echo.Stub(channel, pool.FindServiceByName("echo.v1.Echo"))
        globals()[scenario](channel, stub, echo.message(pool, "echo.v1.EchoRequest"))
        # What was cancelled is told to the mock in the background: the connection stays until the test has seen it.
        sys.stdin.read()


main()
