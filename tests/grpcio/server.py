"""A stock grpcio server: `server.py BIND DESCRIPTOR_SET [KEY CERTIFICATES [ROOTS]]`, where BIND is `127.0.0.1:0` or
`unix:PATH`.

With a key and a certificate it speaks TLS, and with a file of roots its clients need a certificate.

It prints `ready PORT` when it listens, and ends when its stdin closes.
"""

import sys
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import echo


def tell(line):
    print(line, flush=True)


def wait_for_the_end(context):
    """Never answers: it returns when the client, or its deadline, has ended the call."""
    over = threading.Event()
    # It is not added when the call is over already.
    if context.add_callback(over.set):
        tell("waiting")
        over.wait()
        tell("over")


class Echo:
    """What it does depends on the message, and is otherwise an echo."""

    def __init__(self, pool):
        self.Reply = echo.message(pool, "echo.v1.EchoReply")

    def Say(self, request, context):
        if request.message == "wait":
            wait_for_the_end(context)
            return self.Reply()
        if request.message == "refuse":
            context.set_trailing_metadata((
                ("grpc-status-details-bin", b"opaque \x00\xff"),
                ("x-hint-bin", b"\x00\xff"),
            ))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "zu groß: 150 % 🚫\nzweite Zeile")
        sent = [pair for pair in context.invocation_metadata() if pair.key.startswith("x-")]
        agent = dict(context.invocation_metadata())["user-agent"]
        hours_left = f"{context.time_remaining() / 3600:.1f}"
        names = [("client", name) for name in context.auth_context().get("x509_common_name", ())]
        context.send_initial_metadata((*sent, ("agent", agent), ("hours-left", hours_left), *names))
        context.set_trailing_metadata(sent)
        return self.Reply(message=request.message, count=request.times, blob=request.blob)

    def Split(self, request, context):
        for number in range(request.times):
            yield self.Reply(message=request.message, count=number)
        if request.message == "wait":
            wait_for_the_end(context)
        if request.message == "break off":
            context.set_trailing_metadata((("x-hint", "again"),))
            context.abort(grpc.StatusCode.ABORTED, "that was all")

    def Join(self, requests, context):
        words = [request.message for request in requests]
        return self.Reply(message=" ".join(words), count=len(words))

    def Chat(self, requests, context):
        for number, request in enumerate(requests):
            yield self.Reply(message=request.message.upper(), count=number, blob=request.blob)


def listen(server, bind, files):
    if not files:
        return server.add_insecure_port(bind)
    key, chain, *roots = map(echo.read, files)
    credentials = grpc.ssl_server_credentials([(key, chain)], *roots, require_client_auth=bool(roots))
    return server.add_secure_port(bind, credentials)


def main():
    bind, descriptor_set, *files = sys.argv[1:]
    pool = echo.load(descriptor_set)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    service = pool.FindServiceByName("echo.v1.Echo")
    server.add_generic_rpc_handlers((echo.handlers(service, Echo(pool)),))

    healths = health.HealthServicer()
    healths.set("echo.v1.Parrot", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healths, server)
    names = (service.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, pool=pool)

    port = listen(server, bind, files)
    server.start()
    tell(f"ready {port}")
    sys.stdin.read()
    server.stop(grace=None).wait()


main()
