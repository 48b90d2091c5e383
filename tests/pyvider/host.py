"""A pyvider host of the KV plugin: `host.py [OPTIONS] [--do ACTION].. [--stdin] -- COMMAND [ARGUMENT..]`.

It takes actions from its options, then with `--stdin` line by line from its standard input (of which the plugin sees
nothing). Each prints one line: `ok [VALUE]` or `error TEXT`, with `\\n` for newlines. A plugin that does not start is told
as `start error TEXT`, with status 1. The log goes to stderr; with `--log debug` it has what the plugin prints.

    put KEY VALUE, get KEY      the plugin's calls
    ping                        the health of `plugin`, which pyvider itself never asks for
    connection                  the network, address and version of the line, and `tls` or `plaintext`
    broker ID ADDRESS           pyvider's knock for a service; it tells of no refusal
    shutdown                    asks the plugin to end
    kill                        ends connection and process
    exited                      whether the plugin's process has ended
    await-exit                  waits until it has
    leave                       ends this program, and not the plugin
"""

import argparse
import asyncio
import os

import kv

options = argparse.ArgumentParser()
options.add_argument("--no-mtls", action="store_true")
options.add_argument("--retry", action="store_true", help="try four times, as pyvider does unless told")
options.add_argument("--start-timeout", default="10", help="seconds for the line")
options.add_argument("--ready-timeout", default="10", help="seconds for the connection")
options.add_argument("--protocol-versions", help="versions to offer; pyvider of itself offers none")
options.add_argument("--log", default="warning")
options.add_argument("--do", action="append", default=[])
options.add_argument("--stdin", action="store_true")
options.add_argument("command", nargs="+")
options = options.parse_args()

script, told = kv.quiet_standard_streams()
os.environ.update(
    kv.COOKIE,
    PLUGIN_AUTO_MTLS="false" if options.no_mtls else "true",
    PLUGIN_CLIENT_RETRY_ENABLED="true" if options.retry else "false",
    PLUGIN_HANDSHAKE_TIMEOUT=options.start_timeout,
    PLUGIN_CHANNEL_READY_TIMEOUT=options.ready_timeout,
    PROVIDE_LOG_LEVEL=options.log.upper(),
)

import grpc  # noqa: E402
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from pyvider.rpcplugin import plugin_client  # noqa: E402


def tell(word, text=""):
    print(f"{word} {text}".rstrip().replace("\n", "\\n"), file=told, flush=True)


class Session:
    def __init__(self, client):
        self.client = client
        # What a call still needs after the client has let go of it.
        self.process, self.channel = client._process, client.grpc_channel

    async def call(self, method, request, response):
        path = f"/{kv.SERVICE}/{method}"
        call = self.channel.unary_unary(path, type(request).SerializeToString, response.FromString)
        return await call(request, timeout=30)

    async def do_put(self, key, value):
        await self.call("Put", kv.PutRequest(key=key, value=value.encode()), kv.Empty)

    async def do_get(self, key, _):
        return (await self.call("Get", kv.GetRequest(key=key), kv.GetResponse)).value.decode(errors="replace")

    async def do_ping(self, *_):
        answer = await health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(service="plugin"))
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    async def do_connection(self, *_):
        client = self.client
        security = "tls" if client._server_cert else "plaintext"
        return f"{client._transport_name} {client._address} {client._protocol_version} {security}"

    async def do_broker(self, service, address):
        await self.client.open_broker_subchannel(int(service), address)

    async def do_shutdown(self, *_):
        await self.client.shutdown_plugin()

    async def do_kill(self, *_):
        await self.client.close()

    async def do_exited(self, *_):
        return "false" if self.process.is_running() else "true"

    async def do_await_exit(self, *_):
        await asyncio.to_thread(self.process.process.wait, 30)

    async def do_leave(self, *_):
        tell("ok")
        os._exit(0)

    async def act(self, line):
        action, first, second, *_ = line.split(" ", 2) + ["", ""]
        try:
            value = await getattr(self, "do_" + action.replace("-", "_"))(first, second)
        except grpc.RpcError as error:
            tell("error", f"{error.code().name}: {error.details()}")
        except Exception as error:
            tell("error", error)
        else:
            tell("ok", value or "")


async def main():
    offered = {"PLUGIN_PROTOCOL_VERSIONS": options.protocol_versions} if options.protocol_versions else {}
    client = plugin_client(options.command, config={"env": offered})
    try:
        await client.start()
    except Exception as error:
        tell("start error", error)
        # A read that pyvider has given up may still wait in a thread, which an orderly end would wait for.
        os._exit(1)
    session = Session(client)
    for action in options.do:
        await session.act(action)
    while options.stdin and (line := await asyncio.to_thread(script.readline)):
        await session.act(line.rstrip("\n"))
    await client.close()
    os._exit(0)


asyncio.run(main())
